/*
 * The control messages of the hot path, encoded and decoded by hand so that no append and no fetch
 * allocates. The bytes are exactly the protobuf messages of wire.proto; tests hold both against
 * protobuf-c. All other control messages go through protobuf-c (wire.pb-c.h). Views borrow from the
 * input. Pure; any thread. Decoders: ANNALS_E_MALFORMED with what was wrong; unknown fields are
 * skipped; strings must be UTF-8.
 */
#ifndef ANNALS_WIRE_H
#define ANNALS_WIRE_H

#include <annals/buf.h>
#include <annals/error.h>

enum durability { DURABILITY_DEFAULT = 0, DURABILITY_FSYNC = 1, DURABILITY_OS = 2 };

struct wire_append_batch {
	uint32_t partition, count, body_bytes, body_crc, codec;
	uint64_t producer_id;
	uint32_t producer_epoch, first_sequence;
};
struct wire_append_request {
	struct bytes topic;
	uint32_t durability;
	uint32_t batch_count;
	bool has_more;        /* conditions or an idempotency key: unpack annals.v1.AppendRequest */
	struct bytes encoded; /* for the walk */
};
int wire_append_request_decode(
	struct bytes control, struct wire_append_request *ret, struct error *err) ANNALS_MUST_CHECK;
/* *cursor starts at 0; 1 with the next batch, 0 at the end, ANNALS_E_MALFORMED. */
int wire_append_next_batch(
	const struct wire_append_request *request, size_t *cursor, struct wire_append_batch *ret);
int wire_append_request_encode(struct buf *out, struct bytes topic, uint32_t durability,
	const struct wire_append_batch *batches, size_t count) ANNALS_MUST_CHECK;

struct wire_append_run {
	uint32_t partition, count;
	uint64_t base_offset, base_position, first_version;
	bool replayed, has_version;
};
struct wire_append_response {
	uint32_t topic_id, durability, run_count;
	uint64_t recorded_us;
	struct bytes encoded;
};
int wire_append_response_encode(struct buf *out, uint32_t topic_id, uint64_t recorded_us,
	uint32_t durability, const struct wire_append_run *runs, size_t count) ANNALS_MUST_CHECK;
int wire_append_response_decode(struct bytes control, struct wire_append_response *ret,
	struct error *err) ANNALS_MUST_CHECK;
int wire_append_next_run(
	const struct wire_append_response *response, size_t *cursor, struct wire_append_run *ret);

struct wire_fetch_request {
	struct bytes topic;
	uint32_t partition, bytes_max, wait_ms, codecs, topic_id;
	uint64_t offset;
	struct bytes filter; /* an encoded EventFilter; empty: all events */
	bool backwards;
};
int wire_fetch_request_decode(
	struct bytes control, struct wire_fetch_request *ret, struct error *err) ANNALS_MUST_CHECK;
int wire_fetch_request_encode(
	struct buf *out, const struct wire_fetch_request *request) ANNALS_MUST_CHECK;

struct wire_fetch_response {
	uint32_t topic_id;
	uint64_t first_offset, end_offset, next_offset;
};
int wire_fetch_response_decode(
	struct bytes control, struct wire_fetch_response *ret, struct error *err) ANNALS_MUST_CHECK;
int wire_fetch_response_encode(
	struct buf *out, const struct wire_fetch_response *response) ANNALS_MUST_CHECK;

struct wire_push {
	uint64_t subscription, next_offset, end_offset;
	uint32_t partition;
	bool caught_up;
	struct bytes error; /* encoded Error, empty if none */
};
int wire_push_decode(
	struct bytes control, struct wire_push *ret, struct error *err) ANNALS_MUST_CHECK;
int wire_push_encode(struct buf *out, const struct wire_push *push) ANNALS_MUST_CHECK;

#endif
