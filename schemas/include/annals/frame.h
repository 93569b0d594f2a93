/*
 * Frames of the binary protocol (docs/protocol.md). Pure; any thread.
 *
 *   at  size  field                                      all little-endian
 *    0   4    frame_bytes: bytes after this field, 12 + control + data
 *    4   1    kind (enum frame_kind)
 *    5   1    operation (enum frame_operation)
 *    6   2    status: 0 in requests; else 0 or a status code's positive number (status.h)
 *    8   4    correlation: chosen by the client, echoed in the response; in a push the low 32
 *             bits of the subscription
 *   12   4    control_bytes
 *   16   -    control: the operation's message (wire.proto), Error when status is not 0
 *    -   -    data: raw bytes
 */
#ifndef ANNALS_FRAME_H
#define ANNALS_FRAME_H

#include <annals/bytes.h>
#include <annals/error.h>

#define FRAME_HEADER_BYTES 16u
#define FRAME_HELLO_MAGIC 0x4c4e4e41u
#define FRAME_VERSION_MIN 1u
#define FRAME_VERSION_MAX 1u

enum frame_kind { FRAME_REQUEST = 1, FRAME_RESPONSE = 2, FRAME_PUSH = 3 };
enum frame_operation {
	FRAME_HELLO = 1,
	FRAME_PING = 2,
	FRAME_TOPIC_CREATE = 3,
	FRAME_TOPIC_LIST = 4,
	FRAME_TOPIC_DESCRIBE = 5,
	FRAME_TOPIC_UPDATE = 6,
	FRAME_TOPIC_DELETE = 7,
	FRAME_APPEND = 8,
	FRAME_FETCH = 9,
	FRAME_OFFSET_FOR_TIME = 10,
	FRAME_SUBSCRIBE = 11,
	FRAME_CREDIT = 12,
	FRAME_UNSUBSCRIBE = 13,
	FRAME_OFFSET_COMMIT = 14,
	FRAME_OFFSET_FETCH = 15,
	FRAME_GROUP_LIST = 16,
	FRAME_PRODUCER_OPEN = 17,
	FRAME_STREAM_READ = 18,
	FRAME_QUERY = 19,
	FRAME_GROUP_PUT = 20,
	FRAME_GROUP_DELETE = 21,
	FRAME_GROUP_DESCRIBE = 22,
	FRAME_GROUP_POLL = 23,
	FRAME_GROUP_SETTLE = 24,
	FRAME_GROUP_SEEK = 25,
	FRAME_GROUP_PARKED = 26,
	FRAME_GROUP_JOIN = 27,
	FRAME_GROUP_HEARTBEAT = 28,
	FRAME_GROUP_LEAVE = 29,
	FRAME_GROUP_TRANSACT = 30,
	FRAME_GROUP_CHECKPOINT = 31,
	FRAME_GROUP_EXPLAIN = 32,
	FRAME_TRANSACT = 33,
};

struct frame {
	uint8_t kind, operation;
	uint16_t status;
	uint32_t correlation;
	struct bytes control, data;
	size_t size; /* of the whole frame, its length field included */
};

/*
 * Looks at the start of `input`. Returns 1 with a whole frame (borrowed), 0 when more bytes are
 * needed (*ret_needed: how many in all, at least FRAME_HEADER_BYTES), ANNALS_E_TOO_LARGE when
 * frame_bytes exceeds frame_bytes_max, ANNALS_E_MALFORMED when it cannot be a frame: shorter than
 * its header, control beyond its end, an unknown kind, a request with a status. Unknown operations
 * pass. *ret is always written: without a whole frame it holds zeros or, once the header is there,
 * the header's fields without bytes, so that a refusal can echo kind, operation and correlation
 * (kind 0: the header was not complete). Nothing but the header needs to have arrived for a
 * refusal.
 */
int frame_parse(struct bytes input, size_t frame_bytes_max, struct frame *ret, size_t *ret_needed,
	struct error *err) ANNALS_MUST_CHECK;
/* Writes the header of a frame with so much control and data, each below 2 GiB. status is 0 or
 * ANNALS_E_*. */
void frame_write_header(uint8_t out[16], enum frame_kind kind, enum frame_operation operation,
	int status, uint32_t correlation, size_t control_bytes, size_t data_bytes);

#endif
