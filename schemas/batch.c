/* Stored batches: writing, viewing, verifying and walking them. The layout is in <annals/batch.h>.
 */
#include <annals/batch.h>

#include <annals/crc32c.h>
#include <annals/macros.h>
#include <assert.h>

#include "field.h"

#define BATCH_VERSION 1u
#define COLUMN_HEADER_BYTES 8u

size_t batch_stored_size(size_t body_bytes, size_t columns_bytes)
{
	return BATCH_STAMP_BYTES + columns_bytes + ANNALS_ROUND_UP(body_bytes, 8);
}

void batch_write(uint8_t *out, const struct stamp *stamp, struct bytes columns, struct bytes body)
{
	uint32_t stamp_bytes = BATCH_STAMP_BYTES + (uint32_t)columns.size;
	assert(stamp->body_bytes == body.size && stamp->count > 0);
	assert(columns.size % 8 == 0 && columns.size <= BATCH_STAMP_BYTES_MAX - BATCH_STAMP_BYTES);
	store_u32(out, BATCH_MAGIC);
	out[8] = BATCH_VERSION;
	out[9] = stamp->codec;
	out[10] = stamp->body_format;
	out[11] = stamp->kind;
	store_u32(out + 12, stamp_bytes);
	store_u32(out + 16, stamp->body_bytes);
	store_u32(out + 20, stamp->body_crc);
	store_u32(out + 24, stamp->plain_bytes);
	store_u32(out + 28, stamp->count);
	store_u32(out + 32, stamp->topic_id);
	store_u32(out + 36, stamp->partition);
	store_u64(out + 40, stamp->base_offset);
	store_u64(out + 48, stamp->base_position);
	store_u64(out + 56, stamp->recorded_us);
	store_u64(out + 64, (uint64_t)stamp->first_time_ns);
	store_u64(out + 72, (uint64_t)stamp->last_time_ns);
	store_u64(out + 80, stamp->producer_id);
	store_u16(out + 88, stamp->producer_epoch);
	store_u16(out + 90, stamp->flags);
	store_u32(out + 92, stamp->first_sequence);
	if (columns.size > 0) {
		memcpy(out + BATCH_STAMP_BYTES, columns.data, columns.size);
	}
	store_u32(out + 4, crc32c(0, out + 8, stamp_bytes - 8));
	if (body.size > 0) {
		memcpy(out + stamp_bytes, body.data, body.size);
	}
	memset(out + stamp_bytes + body.size, 0, ANNALS_ROUND_UP(body.size, 8) - body.size);
}

static bool columns_are_possible(struct bytes columns)
{
	size_t at = 0;
	while (at < columns.size) { /* both are multiples of 8 */
		uint64_t bytes = load_u32(columns.data + at + 4);
		if (load_u16(columns.data + at + 2) != 0 ||
			ANNALS_ROUND_UP(bytes, 8) > columns.size - at - COLUMN_HEADER_BYTES) {
			return false;
		}
		at += COLUMN_HEADER_BYTES + (size_t)ANNALS_ROUND_UP(bytes, 8);
	}
	return true;
}

static void read_stamp(const uint8_t *in, struct stamp *ret)
{
	*ret = (struct stamp){
		.codec = in[9],
		.body_format = in[10],
		.kind = in[11],
		.flags = load_u16(in + 90),
		.body_bytes = load_u32(in + 16),
		.body_crc = load_u32(in + 20),
		.plain_bytes = load_u32(in + 24),
		.count = load_u32(in + 28),
		.topic_id = load_u32(in + 32),
		.partition = load_u32(in + 36),
		.base_offset = load_u64(in + 40),
		.base_position = load_u64(in + 48),
		.recorded_us = load_u64(in + 56),
		.first_time_ns = (int64_t)load_u64(in + 64),
		.last_time_ns = (int64_t)load_u64(in + 72),
		.producer_id = load_u64(in + 80),
		.producer_epoch = load_u16(in + 88),
		.first_sequence = load_u32(in + 92),
	};
}

static bool stamp_is_possible(const struct stamp *stamp)
{
	return stamp->codec < BATCH_CODECS && stamp->kind <= BATCH_HOLE && stamp->count > 0 &&
	       stamp->body_bytes <= BATCH_BODY_BYTES_MAX &&
	       stamp->plain_bytes <= BATCH_BODY_BYTES_MAX &&
	       (stamp->codec != BATCH_PLAIN || stamp->plain_bytes == stamp->body_bytes) &&
	       stamp->base_offset <= UINT64_MAX - stamp->count &&
	       stamp->base_position <= UINT64_MAX - stamp->count;
}

int batch_view(struct bytes stored, struct batch *ret)
{
	if (stored.size < BATCH_STAMP_BYTES || load_u32(stored.data) != BATCH_MAGIC ||
		stored.data[8] != BATCH_VERSION) {
		return ANNALS_E_MALFORMED;
	}
	uint32_t stamp_bytes = load_u32(stored.data + 12);
	struct stamp stamp;
	read_stamp(stored.data, &stamp);
	if (stamp_bytes < BATCH_STAMP_BYTES || stamp_bytes > BATCH_STAMP_BYTES_MAX ||
		stamp_bytes % 8 != 0 || stamp_bytes > stored.size || !stamp_is_possible(&stamp)) {
		return ANNALS_E_MALFORMED;
	}
	size_t size = batch_stored_size(stamp.body_bytes, stamp_bytes - BATCH_STAMP_BYTES);
	struct bytes columns =
		bytes_of(stored.data + BATCH_STAMP_BYTES, stamp_bytes - BATCH_STAMP_BYTES);
	if (size > stored.size || !columns_are_possible(columns)) {
		return ANNALS_E_MALFORMED;
	}
	ret->stamp = stamp;
	ret->columns = columns;
	ret->body = bytes_of(stored.data + stamp_bytes, stamp.body_bytes);
	ret->stored = bytes_of(stored.data, size);
	return 0;
}

static int corrupt(const struct batch *batch, const char *what, struct error *err)
{
	return error_fail(err, ANNALS_E_CORRUPT_DATA,
		"%s of the batch at topic id %u, partition %u, offset %llu", what,
		batch->stamp.topic_id, batch->stamp.partition,
		(unsigned long long)batch->stamp.base_offset);
}

int batch_verify(const struct batch *batch, struct error *err)
{
	const uint8_t *stored = batch->stored.data;
	size_t stamp_bytes = BATCH_STAMP_BYTES + batch->columns.size;
	if (crc32c(0, stored + 8, stamp_bytes - 8) != load_u32(stored + 4)) {
		return corrupt(batch, "wrong checksum in the stamp", err);
	}
	if (crc32c(0, batch->body.data, batch->body.size) != batch->stamp.body_crc) {
		return corrupt(batch, "wrong checksum of the body", err);
	}
	for (size_t i = stamp_bytes + batch->body.size; i < batch->stored.size; i++) {
		if (stored[i] != 0) {
			return corrupt(batch, "padding that is not zero", err);
		}
	}
	return 0;
}

int batch_plain_body(const struct batch *batch, struct buf *scratch, struct bytes *ret_body)
{
	if (batch->stamp.codec == BATCH_PLAIN) {
		*ret_body = batch->body;
		return 0;
	}
	buf_reset(scratch);
	int status = batch_decompress(batch->body, (enum batch_codec)batch->stamp.codec,
		batch->stamp.plain_bytes, scratch);
	if (status == ANNALS_E_NO_MEMORY) {
		return status;
	}
	if (status < 0 || scratch->size != batch->stamp.plain_bytes) {
		return ANNALS_E_CORRUPT_DATA;
	}
	*ret_body = buf_bytes(scratch);
	return 0;
}

int batch_next_event(struct bytes plain_body, size_t *cursor, struct bytes *ret_event)
{
	if (*cursor >= plain_body.size) {
		return 0;
	}
	if (plain_body.data[*cursor] != FIELD_TAG(1, WIRE_BYTES)) {
		return ANNALS_E_MALFORMED;
	}
	size_t at = *cursor + 1;
	if (field_length_delimited(plain_body, &at, ret_event) < 0) {
		return ANNALS_E_MALFORMED;
	}
	*cursor = at;
	return 1;
}
