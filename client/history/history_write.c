#include "history.h"

#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/hash.h>
#include <annals/varint.h>
#include <errno.h>
#include <unistd.h>

#define BLOCK_BYTES_AIM (256u << 10)
#define RECORD_HEAD_BYTES_MAX (14u * VARINT_BYTES_MAX)
#define PART_BYTES_MAX (10u * VARINT_BYTES_MAX + 8u)

uint64_t history_value(const void *data, size_t size)
{
	static const uint64_t key[2] = {UINT64_C(0x736c616e6e61), UINT64_C(0x79726f74736968)};

	return hash_siphash13(key, bytes_of(data, size));
}

void history_writer_init(struct history_writer *writer, int fd)
{
	*writer = (struct history_writer){.fd = fd};
	(void)pthread_mutex_init(&writer->mutex, NULL);
	random_bytes(&writer->recorder, sizeof(writer->recorder));
}

void history_writer_release(struct history_writer *writer)
{
	buf_release(&writer->buf);
	(void)pthread_mutex_destroy(&writer->mutex);
}

static uint8_t *put(uint8_t *out, uint64_t value)
{
	return out + varint_put(out, value);
}

static uint8_t *put_u64(uint8_t *out, uint64_t value)
{
	store_u64(out, value);
	return out + 8;
}

static uint8_t *put_part(uint8_t *out, const struct history_part *part)
{
	uint32_t mask = part->mask;

	out = put(out, mask);
	out = put(out, part->topic);
	out = put(out, (uint64_t)(uint32_t)(part->partition + 1));
	out = mask & HISTORY_PART_STREAM ? put_u64(out, part->stream) : out;
	out = mask & HISTORY_PART_OFFSET ? put(out, part->offset) : out;
	out = mask & HISTORY_PART_COUNT ? put(out, part->count) : out;
	out = mask & HISTORY_PART_VERSION ? put(out, part->version) : out;
	out = mask & HISTORY_PART_EXPECTED ? put(out, part->expected) : out;
	out = mask & HISTORY_PART_START ? put(out, part->start) : out;
	out = mask & HISTORY_PART_END ? put(out, part->end) : out;
	out = mask & HISTORY_PART_DELIVERY ? put(out, part->delivery) : out;
	if (mask & HISTORY_PART_VALUES) {
		memcpy(out, part->values, (size_t)part->count * 8);
		out += (size_t)part->count * 8;
	}
	return out;
}

/* The most that a record can need. */
static uint64_t record_bound(const struct history_op *op)
{
	uint64_t bytes = RECORD_HEAD_BYTES_MAX + op->text.size;

	for (uint32_t i = 0; i < op->part_count; i++) {
		bytes += PART_BYTES_MAX;
		if (op->parts[i].mask & HISTORY_PART_VALUES) {
			bytes += (uint64_t)op->parts[i].count * 8;
		}
	}
	return bytes;
}

static uint8_t *put_body(
	const struct history_writer *writer, uint8_t *out, const struct history_op *op)
{
	int64_t delta = (int64_t)(op->invoke_ns - writer->base_ns);

	out = put(out, op->client);
	out = put(out, op->number);
	out = put(out, op->attempt);
	*out++ = (uint8_t)op->outcome;
	out = put(out, op->mask);
	out = put(out, ((uint64_t)delta << 1) ^ (delta < 0 ? UINT64_MAX : 0));
	out = put(out, op->return_ns - op->invoke_ns);
	if (op->mask & HISTORY_OP_PRODUCER) {
		out = put(out, op->producer_id);
		out = put(out, op->producer_epoch);
		out = put(out, op->producer_sequence);
	}
	if (op->mask & HISTORY_OP_GROUP) {
		out = put(out, op->group);
		out = put(out, op->generation);
	}
	if (op->mask & HISTORY_OP_TEXT) {
		out = put(out, op->text.size);
		if (op->text.size > 0) {
			memcpy(out, op->text.data, op->text.size);
		}
		out += op->text.size;
	}
	if (op->mask & HISTORY_OP_STATUS) {
		out = put(out, (uint64_t)-op->status);
	}
	out = put(out, op->part_count);
	for (uint32_t i = 0; i < op->part_count; i++) {
		out = put_part(out, &op->parts[i]);
	}
	return out;
}

static int flush_locked(struct history_writer *writer, struct error *err)
{
	uint8_t *data = writer->buf.data;
	size_t size = writer->buf.size, done = 0;

	if (writer->records == 0) {
		return 0;
	}
	store_u32(data, UINT32_C(0x48484e41));
	store_u16(data + 4, HISTORY_VERSION);
	store_u16(data + 6, 0);
	store_u64(data + 8, writer->recorder);
	store_u64(data + 16, writer->base_ns);
	store_u32(data + 24, writer->sequence++);
	store_u32(data + 28, writer->records);
	store_u32(data + 32, (uint32_t)(size - HISTORY_BLOCK_HEADER_BYTES));
	store_u32(data + 36,
		crc32c(0, data + HISTORY_BLOCK_HEADER_BYTES, size - HISTORY_BLOCK_HEADER_BYTES));
	store_u32(data + 40, 0);
	store_u32(data + 44, crc32c(0, data, 44));
	while (done < size) {
		ssize_t written = write(writer->fd, data + done, size - done);
		if (written < 0 && errno == EINTR) {
			continue;
		}
		if (written <= 0) {
			return error_errno(err, ANNALS_E_IO, errno, "cannot write the history");
		}
		done += (size_t)written;
	}
	writer->bytes_written += size;
	writer->records_written += writer->records;
	writer->records = 0;
	buf_reset(&writer->buf);
	return 0;
}

static int write_locked(
	struct history_writer *writer, const struct history_op *op, struct error *err)
{
	uint64_t bound = record_bound(op);
	int status = 0;

	if (bound > HISTORY_BLOCK_BYTES_MAX) {
		return error_fail(err, ANNALS_E_INVALID, "the record is larger than a block");
	}
	if (writer->buf.size + bound > HISTORY_BLOCK_BYTES_MAX) {
		status = flush_locked(writer, err);
	}
	if (status == 0 && writer->records == 0) {
		buf_reset(&writer->buf);
		writer->base_ns = op->invoke_ns;
		status = buf_add_zeros(&writer->buf, HISTORY_BLOCK_HEADER_BYTES);
	}
	if (status == 0) {
		status = buf_reserve(&writer->buf, bound);
	}
	if (status != 0) {
		return status;
	}
	uint8_t *out = writer->buf.data + writer->buf.size;
	/* The length stands in front of the body: write that where a length of the most bytes would
	 * end, then close the gap. */
	uint8_t *body = out + 1 + VARINT_BYTES_MAX;
	size_t body_bytes = (size_t)(put_body(writer, body, op) - body);
	*out++ = (uint8_t)op->kind;
	out = put(out, body_bytes);
	memmove(out, body, body_bytes);
	writer->buf.size = (size_t)(out + body_bytes - writer->buf.data);
	writer->records++;
	return writer->buf.size >= BLOCK_BYTES_AIM ? flush_locked(writer, err) : 0;
}

int history_write(struct history_writer *writer, const struct history_op *op, struct error *err)
{
	int status;

	if (op->return_ns < op->invoke_ns || op->part_count > HISTORY_PARTS_MAX) {
		return error_fail(err, ANNALS_E_INVALID,
			"a record returns before it begins or has too many parts");
	}
	(void)pthread_mutex_lock(&writer->mutex);
	status = write_locked(writer, op, err);
	(void)pthread_mutex_unlock(&writer->mutex);
	return status;
}

int history_flush(struct history_writer *writer, struct error *err)
{
	int status;

	(void)pthread_mutex_lock(&writer->mutex);
	status = flush_locked(writer, err);
	(void)pthread_mutex_unlock(&writer->mutex);
	return status;
}
