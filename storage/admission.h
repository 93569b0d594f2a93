/*
 * One append on its way through admission, for the files admit_append.c, admit_known.c,
 * admit_conditions.c, admit_place.c. The writer's thread only.
 *
 * Steps return ADMISSION_GO_ON; ADMISSION_AGAIN after they committed the draft, because their
 * answer depended on it: what is not durable must not be told, so the append is looked at afresh;
 * ADMISSION_ANSWERED when the request is on its way back.
 */
#ifndef ANNALS_STORAGE_ADMISSION_H
#define ANNALS_STORAGE_ADMISSION_H

#include "admit.h"
#include "facts.h"
#include "topic_index.h"

enum admission_step { ADMISSION_GO_ON, ADMISSION_AGAIN, ADMISSION_ANSWERED };

/* An event that is stored already. */
struct known_event {
	bool known;
	uint64_t place, version, position;
};

/* By what all of an append is known to be stored before. */
enum stored_by { STORED_BY_NOTHING, STORED_BY_RECEIPT, STORED_BY_SEQUENCE, STORED_BY_IDS };

struct admission {
	struct shard *shard;
	struct append_request *request;
	struct topic_state *state;
	struct append_facts *facts; /* NULL where the topic needs none */
	struct index_view view;
	struct known_event *known; /* per event; NULL while none is known */
	uint32_t known_count;
	enum stored_by stored_by;
	struct buf columns, body; /* scratch */
};

/* admit_known.c: receipts, producers' sequences, event ids. */
enum admission_step admission_check_receipt(struct admission *admission);
enum admission_step admission_check_producers(struct admission *admission);
enum admission_step admission_check_ids(struct admission *admission);
/* Answers with where all events of the request were stored before. */
enum admission_step admission_answer_known(struct admission *admission);

/* admit_conditions.c */
enum admission_step admission_check_conditions(struct admission *admission);
/* The version that the stream's next event gets, drafted appends counted. *ret_exists: it ever had
 * one. *ret_drafted: the answer comes from the draft. 0 or negative with the text in the request.
 */
int admission_next_version(
	struct admission *admission, struct index_hash key, uint64_t *ret_next, bool *ret_drafted);

/* admit_place.c: the parts' bytes at most, and putting those of one or several appends into the
 * draft, which has room for that. Of one that was stored before only the receipt and the rows are
 * placed. Negative: nothing was placed. */
uint64_t admission_bytes(const struct admission *admission);
int admission_place(struct admission *const *admissions, size_t count);

/* admit_append.c: an append takes its topic and its facts, or was answered (false); all checks in
 * their order; and letting go of what they gathered, to check again or for good. */
bool admission_begin(
	struct admission *admission, struct shard *shard, struct append_request *request);
enum admission_step admission_check(struct admission *admission);
void admission_forget(struct admission *admission);
void admission_end(struct admission *admission);
/* admit_chain.c: an append that others come with. */
void admit_chain(struct shard *shard, struct append_request *first);

/* Refuses with a text made like printf. */
enum admission_step admission_refuse(
	struct admission *admission, int status, const char *format, ...) ANNALS_PRINTF(3, 4);
/* Commits what is drafted, so that the next look sees it. */
enum admission_step admission_commit_first(struct admission *admission);
/* Adds to request->runs what one more event got, joining it to the last run where it follows.
 * ANNALS_E_NO_MEMORY. */
int admission_add_run(struct append_request *request, const struct append_run *run);
/* How the draft notes ids, types and tags of a topic. */
uint64_t admission_mix(const struct topic_state *state, struct index_hash hash);

/* The row of a producer's sequences in one partition. */
struct producer_state {
	uint16_t epoch;
	uint32_t count; /* of `last` */
	struct producer_batch {
		uint32_t first_sequence, count;
		uint64_t base_offset, base_position, first_version;
	} last[5]; /* newest last */
};
#define PRODUCER_KEY_BYTES 18u
void producer_key(uint8_t out[PRODUCER_KEY_BYTES], uint64_t producer_id, uint32_t topic_id,
	uint32_t partition);
#define PRODUCER_ROW_BYTES_MAX 192u
size_t producer_row_write(uint8_t out[PRODUCER_ROW_BYTES_MAX], const struct producer_state *state);
int producer_row_parse(struct bytes value, struct producer_state *ret) ANNALS_MUST_CHECK;
/* Notes a placed batch in the producer's state, and the row in the draft. ANNALS_E_NO_MEMORY. */
int admission_note_producer(struct admission *admission, const struct append_part *part);

#endif
