/* The control messages of the hot path, by hand; field numbers as in wire.proto. */
#include <annals/wire.h>

#include <assert.h>

#include "field.h"

static int malformed(const char *message, struct error *err)
{
	return error_fail(err, ANNALS_E_MALFORMED, "the message '%s' is malformed", message);
}

static int bad_text(const char *field, struct error *err)
{
	return error_fail(err, ANNALS_E_MALFORMED, "field '%s' is not valid UTF-8", field);
}

/* A number that is left out when it is 0, as proto3 has it. */
static size_t number_size(uint64_t value)
{
	return value == 0 ? 0 : field_number_size(value);
}

static uint8_t *put_number(uint8_t *out, uint32_t number, uint64_t value)
{
	return value == 0 ? out : field_put_number(out, number, value);
}

static uint8_t *put_fixed32(uint8_t *out, uint32_t number, uint32_t value)
{
	if (value == 0) {
		return out;
	}
	out = field_put_varint(out, FIELD_TAG(number, WIRE_FIXED32));
	store_u32(out, value);
	return out + 4;
}

static size_t bytes_size(struct bytes bytes)
{
	return bytes.size == 0 ? 0 : field_bytes_size(bytes.size);
}

static uint8_t *put_bytes(uint8_t *out, uint32_t number, struct bytes bytes)
{
	return bytes.size == 0 ? out : field_put_bytes(out, number, bytes);
}

/* Moves *cursor behind the next submessage `number` of a message that was decoded before. 1, 0 at
 * the end, ANNALS_E_MALFORMED. */
static int next_submessage(struct bytes encoded, size_t *cursor, uint32_t number, struct bytes *ret)
{
	struct field field;
	int more;
	while ((more = field_next(encoded, cursor, &field)) > 0) {
		if (field.tag == FIELD_TAG(number, WIRE_BYTES)) {
			*ret = field.bytes;
			return 1;
		}
	}
	return more;
}

#define NUMBER(number, member)                                                                     \
	case FIELD_TAG(number, WIRE_VARINT):                                                       \
		message.member = (__typeof__(message.member))field.value;                          \
		break;
#define TRUTH(number, member)                                                                      \
	case FIELD_TAG(number, WIRE_VARINT):                                                       \
		message.member = field.value != 0;                                                 \
		break;
#define BYTES(number, member)                                                                      \
	case FIELD_TAG(number, WIRE_BYTES):                                                        \
		message.member = field.bytes;                                                      \
		break;
/* Ends the switch: a known field of another type is an error, an unknown field is skipped. */
#define OTHERS(number_last)                                                                        \
	default:                                                                                   \
		if (FIELD_NUMBER(field.tag) <= (number_last)) {                                    \
			more = ANNALS_E_MALFORMED;                                                 \
			goto done;                                                                 \
		}

int wire_append_request_decode(
	struct bytes control, struct wire_append_request *ret, struct error *err)
{
	struct wire_append_request message = {.encoded = control};
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(control, &cursor, &field)) > 0) {
		switch (field.tag) {
			BYTES(1, topic)
			NUMBER(2, durability)
		case FIELD_TAG(3, WIRE_BYTES):
			message.batch_count++;
			break;
		case FIELD_TAG(4, WIRE_BYTES):
		case FIELD_TAG(5, WIRE_BYTES):
		case FIELD_TAG(6, WIRE_BYTES):
			message.has_more = true;
			break;
			OTHERS(6)
		}
	}
done:
	if (more < 0) {
		return malformed("AppendRequest", err);
	}
	if (!field_is_utf8(message.topic)) {
		return bad_text("topic", err);
	}
	*ret = message;
	return 0;
}

int wire_append_next_batch(
	const struct wire_append_request *request, size_t *cursor, struct wire_append_batch *ret)
{
	struct wire_append_batch message = {0};
	struct bytes encoded;
	int more = next_submessage(request->encoded, cursor, 3, &encoded);
	if (more <= 0) {
		return more;
	}
	struct field field;
	size_t at = 0;
	while ((more = field_next(encoded, &at, &field)) > 0) {
		switch (field.tag) {
			NUMBER(1, partition)
			NUMBER(2, count)
			NUMBER(3, body_bytes)
		case FIELD_TAG(4, WIRE_FIXED32):
			message.body_crc = (uint32_t)field.value;
			break;
			NUMBER(5, codec)
			NUMBER(6, producer_id)
			NUMBER(7, producer_epoch)
			NUMBER(8, first_sequence)
			OTHERS(8)
		}
	}
done:
	if (more < 0) {
		return more;
	}
	*ret = message;
	return 1;
}

static size_t append_batch_size(const struct wire_append_batch *batch)
{
	return number_size(batch->partition) + number_size(batch->count) +
	       number_size(batch->body_bytes) + (batch->body_crc == 0 ? 0 : 5) +
	       number_size(batch->codec) + number_size(batch->producer_id) +
	       number_size(batch->producer_epoch) + number_size(batch->first_sequence);
}

int wire_append_request_encode(struct buf *out, struct bytes topic, uint32_t durability,
	const struct wire_append_batch *batches, size_t count)
{
	size_t size = bytes_size(topic) + number_size(durability);
	for (size_t i = 0; i < count; i++) {
		size += field_bytes_size(append_batch_size(&batches[i]));
	}
	int status = buf_reserve(out, size + 1);
	if (status < 0) {
		return status;
	}
	uint8_t *p = out->data + out->size;
	p = put_bytes(p, 1, topic);
	p = put_number(p, 2, durability);
	for (size_t i = 0; i < count; i++) {
		const struct wire_append_batch *batch = &batches[i];
		p = field_put_varint(p, FIELD_TAG(3, WIRE_BYTES));
		p = field_put_varint(p, append_batch_size(batch));
		p = put_number(p, 1, batch->partition);
		p = put_number(p, 2, batch->count);
		p = put_number(p, 3, batch->body_bytes);
		p = put_fixed32(p, 4, batch->body_crc);
		p = put_number(p, 5, batch->codec);
		p = put_number(p, 6, batch->producer_id);
		p = put_number(p, 7, batch->producer_epoch);
		p = put_number(p, 8, batch->first_sequence);
	}
	assert(p == out->data + out->size + size);
	out->size += size;
	return 0;
}

static size_t append_run_size(const struct wire_append_run *run)
{
	return number_size(run->partition) + number_size(run->base_offset) +
	       number_size(run->count) + number_size(run->base_position) +
	       number_size(run->first_version) + number_size(run->replayed) +
	       number_size(run->has_version);
}

int wire_append_response_encode(struct buf *out, uint32_t topic_id, uint64_t recorded_us,
	uint32_t durability, const struct wire_append_run *runs, size_t count)
{
	size_t size = number_size(topic_id) + number_size(recorded_us) + number_size(durability);
	for (size_t i = 0; i < count; i++) {
		size += field_bytes_size(append_run_size(&runs[i]));
	}
	int status = buf_reserve(out, size + 1);
	if (status < 0) {
		return status;
	}
	uint8_t *p = out->data + out->size;
	p = put_number(p, 1, topic_id);
	p = put_number(p, 2, recorded_us);
	p = put_number(p, 3, durability);
	for (size_t i = 0; i < count; i++) {
		const struct wire_append_run *run = &runs[i];
		p = field_put_varint(p, FIELD_TAG(4, WIRE_BYTES));
		p = field_put_varint(p, append_run_size(run));
		p = put_number(p, 1, run->partition);
		p = put_number(p, 2, run->base_offset);
		p = put_number(p, 3, run->count);
		p = put_number(p, 4, run->base_position);
		p = put_number(p, 5, run->first_version);
		p = put_number(p, 6, run->replayed);
		p = put_number(p, 7, run->has_version);
	}
	assert(p == out->data + out->size + size);
	out->size += size;
	return 0;
}

int wire_append_response_decode(
	struct bytes control, struct wire_append_response *ret, struct error *err)
{
	struct wire_append_response message = {.encoded = control};
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(control, &cursor, &field)) > 0) {
		switch (field.tag) {
			NUMBER(1, topic_id)
			NUMBER(2, recorded_us)
			NUMBER(3, durability)
		case FIELD_TAG(4, WIRE_BYTES):
			message.run_count++;
			break;
			OTHERS(4)
		}
	}
done:
	if (more < 0) {
		return malformed("AppendResponse", err);
	}
	*ret = message;
	return 0;
}

int wire_append_next_run(
	const struct wire_append_response *response, size_t *cursor, struct wire_append_run *ret)
{
	struct wire_append_run message = {0};
	struct bytes encoded;
	int more = next_submessage(response->encoded, cursor, 4, &encoded);
	if (more <= 0) {
		return more;
	}
	struct field field;
	size_t at = 0;
	while ((more = field_next(encoded, &at, &field)) > 0) {
		switch (field.tag) {
			NUMBER(1, partition)
			NUMBER(2, base_offset)
			NUMBER(3, count)
			NUMBER(4, base_position)
			NUMBER(5, first_version)
			TRUTH(6, replayed)
			TRUTH(7, has_version)
			OTHERS(7)
		}
	}
done:
	if (more < 0) {
		return more;
	}
	*ret = message;
	return 1;
}

int wire_fetch_request_decode(
	struct bytes control, struct wire_fetch_request *ret, struct error *err)
{
	struct wire_fetch_request message = {.partition = 0};
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(control, &cursor, &field)) > 0) {
		switch (field.tag) {
			BYTES(1, topic)
			NUMBER(2, partition)
			NUMBER(3, offset)
			NUMBER(4, bytes_max)
			NUMBER(5, wait_ms)
			NUMBER(6, codecs)
			NUMBER(7, topic_id)
			BYTES(8, filter)
			TRUTH(9, backwards)
			OTHERS(9)
		}
	}
done:
	if (more < 0) {
		return malformed("FetchRequest", err);
	}
	if (!field_is_utf8(message.topic)) {
		return bad_text("topic", err);
	}
	*ret = message;
	return 0;
}

int wire_fetch_request_encode(struct buf *out, const struct wire_fetch_request *request)
{
	int status = buf_reserve(out, bytes_size(request->topic) + bytes_size(request->filter) +
					      7 * (1 + VARINT_BYTES_MAX));
	if (status < 0) {
		return status;
	}
	uint8_t *p = out->data + out->size;
	p = put_bytes(p, 1, request->topic);
	p = put_number(p, 2, request->partition);
	p = put_number(p, 3, request->offset);
	p = put_number(p, 4, request->bytes_max);
	p = put_number(p, 5, request->wait_ms);
	p = put_number(p, 6, request->codecs);
	p = put_number(p, 7, request->topic_id);
	p = put_bytes(p, 8, request->filter);
	p = put_number(p, 9, request->backwards);
	out->size = (size_t)(p - out->data);
	return 0;
}

int wire_fetch_response_decode(
	struct bytes control, struct wire_fetch_response *ret, struct error *err)
{
	struct wire_fetch_response message = {0};
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(control, &cursor, &field)) > 0) {
		switch (field.tag) {
			NUMBER(1, topic_id)
			NUMBER(2, first_offset)
			NUMBER(3, end_offset)
			NUMBER(4, next_offset)
			OTHERS(4)
		}
	}
done:
	if (more < 0) {
		return malformed("FetchResponse", err);
	}
	*ret = message;
	return 0;
}

int wire_fetch_response_encode(struct buf *out, const struct wire_fetch_response *response)
{
	int status = buf_reserve(out, 4 * (1 + VARINT_BYTES_MAX));
	if (status < 0) {
		return status;
	}
	uint8_t *p = out->data + out->size;
	p = put_number(p, 1, response->topic_id);
	p = put_number(p, 2, response->first_offset);
	p = put_number(p, 3, response->end_offset);
	p = put_number(p, 4, response->next_offset);
	out->size = (size_t)(p - out->data);
	return 0;
}

int wire_push_decode(struct bytes control, struct wire_push *ret, struct error *err)
{
	struct wire_push message = {0};
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(control, &cursor, &field)) > 0) {
		switch (field.tag) {
			NUMBER(1, subscription)
			NUMBER(2, partition)
			NUMBER(3, next_offset)
			NUMBER(4, end_offset)
			TRUTH(5, caught_up)
			BYTES(6, error)
			OTHERS(6)
		}
	}
done:
	if (more < 0) {
		return malformed("Push", err);
	}
	*ret = message;
	return 0;
}

int wire_push_encode(struct buf *out, const struct wire_push *push)
{
	int status = buf_reserve(out, bytes_size(push->error) + 5 * (1 + VARINT_BYTES_MAX));
	if (status < 0) {
		return status;
	}
	uint8_t *p = out->data + out->size;
	p = put_number(p, 1, push->subscription);
	p = put_number(p, 2, push->partition);
	p = put_number(p, 3, push->next_offset);
	p = put_number(p, 4, push->end_offset);
	p = put_number(p, 5, push->caught_up);
	p = put_bytes(p, 6, push->error);
	out->size = (size_t)(p - out->data);
	return 0;
}
