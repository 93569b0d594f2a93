/*
 * A block's commands, one after the other, given to a sink. The one place that knows what a command
 * means on the way in: publishing, recovery and verify all go through it. Deterministic: no clock,
 * no randomness, no options.
 */
#ifndef ANNALS_STORAGE_APPLY_H
#define ANNALS_STORAGE_APPLY_H

#include <annals/storage.h>

struct offset_row {
	struct bytes group;
	uint32_t topic_id, partition;
	struct bytes encoded; /* the OffsetRecord, as it is kept */
};

struct apply_sink {
	void *arg;
	/* `at`: where the stored batch begins in the block. */
	int (*append)(void *arg, const struct batch *batch, size_t at, struct error *err);
	/* The topic is the callee's, a reference of its own on success. */
	int (*topic)(void *arg, bool created, struct topic *topic, struct bytes encoded,
		struct error *err);
	int (*topic_delete)(void *arg, uint32_t topic_id, struct error *err);
	int (*offset)(void *arg, const struct offset_row *row, struct error *err);
	int (*offset_delete)(void *arg, struct bytes group, uint32_t topic_id, uint32_t partition,
		struct error *err);
	/* Positions of the events below first_offset lie below `position` (0: not noted). */
	int (*trim)(void *arg, uint32_t topic_id, uint32_t partition, uint64_t first_offset,
		uint64_t position, struct error *err);
	/* value.data == NULL deletes. */
	int (*row)(void *arg, struct bytes key, struct bytes value, struct error *err);
};

/* Walks the block; the first non-zero result of the sink stops and is returned.
 * ANNALS_E_CORRUPT_DATA, ANNALS_E_FORMAT_NEWER, ANNALS_E_NO_MEMORY. */
int apply_block(
	struct bytes block, const struct apply_sink *sink, struct error *err) ANNALS_MUST_CHECK;

/* BLOCK_ROWS' data: changes end to end. */
#define ROW_CHANGE_HEADER_BYTES 8u
#define ROW_DELETED UINT32_MAX
size_t row_change_size(struct bytes key, struct bytes value);
/* Writes one change; returns what follows it. value.data == NULL deletes. */
uint8_t *row_change_write(uint8_t *out, struct bytes key, struct bytes value);

/* A TopicRecord as a topic with one reference. ANNALS_E_CORRUPT_DATA, ANNALS_E_NO_MEMORY. */
int topic_decode(struct bytes encoded, struct topic **ret, struct error *err) ANNALS_MUST_CHECK;
/* Appends the TopicRecord. ANNALS_E_NO_MEMORY. */
int topic_encode(const struct topic *topic, struct buf *out) ANNALS_MUST_CHECK;
/* Appends the OffsetRecord. ANNALS_E_NO_MEMORY. */
int offset_encode(
	struct bytes group, const struct offset_entry *entry, struct buf *out) ANNALS_MUST_CHECK;
/* Fills the entry; its metadata goes to ret_metadata (may be NULL: then it is left empty).
 * ANNALS_E_CORRUPT_DATA, ANNALS_E_NO_MEMORY. */
int offset_decode(
	struct bytes encoded, struct offset_entry *ret, struct buf *ret_metadata) ANNALS_MUST_CHECK;

#endif
