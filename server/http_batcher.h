/*
 * Gathers the events of one append, in request order, into one batch per partition. Loop thread
 * only.
 */
#ifndef SERVER_HTTP_BATCHER_H
#define SERVER_HTTP_BATCHER_H

#include "ops.h"
#include <annals/json.h>

struct http_batcher_part {
	uint32_t partition;
	uint32_t count;
	struct buf body;
};

/* Consecutive events that went to the same partition. */
struct http_batcher_run {
	uint32_t part;
	uint32_t count;
};

struct http_batcher {
	struct loop *loop;
	struct topic *topic; /* a reference */
	bool fixed;          /* every event goes to `partition` */
	uint32_t partition;
	bool has_key; /* every event is of this stream; those without a key get it */
	struct bytes key;
	uint32_t event_bytes_max;
	bool too_large; /* an event exceeded it */
	struct http_batcher_part *parts;
	size_t part_count, part_capacity;
	uint32_t *slots; /* by partition: index of its part + 1; 0 = none */
	struct http_batcher_run *runs;
	size_t run_count, run_capacity;
	uint64_t count;
	size_t size_bytes;              /* of all bodies */
	struct http_typed_event *typed; /* for the events of typed topics; NULL: none so far */
};

/* Takes the topic's reference. */
void http_batcher_init(struct http_batcher *batcher, struct loop *loop, struct topic *topic);
void http_batcher_release(struct http_batcher *batcher);
/* Forgets the events, keeps the topic. */
void http_batcher_reset(struct http_batcher *batcher);
/* Encodes one event. In typed topics JSON data becomes protobuf, with the errors of
 * http_typed_take(). ANNALS_E_TOO_LARGE (names the limit), ANNALS_E_NO_MEMORY. */
int http_batcher_add(struct http_batcher *batcher, const struct record *record,
	struct error *err) ANNALS_MUST_CHECK;
/* The same for an event that is encoded already; `record` is what record_decode() made of it. */
int http_batcher_add_encoded(struct http_batcher *batcher, const struct record *record,
	struct bytes encoded, struct error *err) ANNALS_MUST_CHECK;
/* Moves the bodies into the operation. Parts and runs stay for the answer. ANNALS_E_NO_MEMORY,
 * ANNALS_E_LIMIT. */
int http_batcher_fill(struct http_batcher *batcher, struct op_append *append) ANNALS_MUST_CHECK;
/* Writes the runs of a finished append, in request order, as an array of
 * {"partition","offset","count","position","version","replayed"}. */
void http_batcher_write_runs(const struct http_batcher *batcher, const struct op_append *append,
	struct json_writer *writer);

#endif
