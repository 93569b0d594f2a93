/*
 * Admission, for its own files: everything that can still say no, and the place where offsets,
 * versions, positions and times are given. What is admitted lies in the draft as effects. The
 * writer's thread only.
 */
#ifndef ANNALS_STORAGE_ADMIT_H
#define ANNALS_STORAGE_ADMIT_H

#include "shard.h"

/* Answers a request that was not written, with a text made like printf. */
void admit_refusef(struct store_request *request, int status, const char *format, ...)
	ANNALS_PRINTF(3, 4);
/* Makes room for commands of so many bytes in all, committing what is there first if it does not
 * fit. False: the request was refused. Adding that much to the draft cannot fail afterwards. */
bool admit_open_draft(struct shard *shard, struct store_request *request, uint64_t bytes);
/* One command in a block of its own: commits what is there, then this. */
void admit_alone(struct shard *shard, struct store_request *request, enum block_command type,
	struct bytes data);
/* What a command takes in a block. */
size_t admit_command_bytes(size_t data_bytes);

/* admit_rows.c: row changes as a part of a request. Check before anything is placed: 0, or a status
 * whose text is in base->error. May commit the draft. Place after admit_open_draft() counted
 * admit_rows_bytes(); ANNALS_E_NO_MEMORY with nothing placed. */
int admit_rows_check(struct shard *shard, struct store_request *base,
	const struct row_change *changes, size_t count, size_t *ret_index) ANNALS_MUST_CHECK;
size_t admit_rows_bytes(const struct row_change *changes, size_t count);
int admit_rows_place(
	struct shard *shard, const struct row_change *changes, size_t count) ANNALS_MUST_CHECK;

/* admit_append.c, admit_rows.c, admit_offsets.c, admit_topics.c */
void admit_append(struct shard *shard, struct append_request *request);
void admit_rows(struct shard *shard, struct rows_request *request);
void admit_producer(struct shard *shard, struct producer_request *request);
void admit_offsets(struct shard *shard, struct offset_request *request);
void admit_group_delete(struct shard *shard, struct offset_request *request);
void admit_topic_create(struct shard *shard, struct topic_request *request);
void admit_topic_update(struct shard *shard, struct topic_request *request);
void admit_topic_delete(struct shard *shard, struct topic_request *request);
void admit_trim(struct shard *shard, struct trim_request *request);

#endif
