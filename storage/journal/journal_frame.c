#include "journal_frame.h"

#include <annals/crc32c.h>
#include <assert.h>

#define FORMAT_AT 4
#define HEADER_CRC_AT 56
#define CRC_AT 60

void journal_segment_header_write(
	uint8_t out[JOURNAL_HEADER_BYTES], const struct journal_segment_header *header)
{
	memset(out, 0, JOURNAL_HEADER_BYTES);
	store_u32(out, JOURNAL_SEGMENT_MAGIC);
	store_u32(out + FORMAT_AT, JOURNAL_FORMAT);
	memcpy(out + 8, header->uuid, sizeof(header->uuid));
	store_u64(out + 24, header->sequence);
	store_u64(out + 32, header->salt);
	store_u64(out + 40, header->segment_bytes);
	store_u64(out + 48, header->after);
	store_u32(out + CRC_AT, crc32c(0, out, CRC_AT));
}

enum journal_check journal_segment_header_read(
	const uint8_t in[JOURNAL_HEADER_BYTES], struct journal_segment_header *ret)
{
	if (load_u32(in) != JOURNAL_SEGMENT_MAGIC ||
		load_u32(in + CRC_AT) != crc32c(0, in, CRC_AT)) {
		return JOURNAL_CHECK_ABSENT;
	}
	if (load_u32(in + FORMAT_AT) > JOURNAL_FORMAT) {
		return JOURNAL_CHECK_NEWER;
	}
	memcpy(ret->uuid, in + 8, sizeof(ret->uuid));
	ret->sequence = load_u64(in + 24);
	ret->salt = load_u64(in + 32);
	ret->segment_bytes = load_u64(in + 40);
	ret->after = load_u64(in + 48);
	return JOURNAL_CHECK_OK;
}

void journal_frame_write(
	uint8_t out[JOURNAL_HEADER_BYTES], struct journal_frame *frame, struct bytes block)
{
	assert(frame->length == block.size);
	store_u32(out, JOURNAL_FRAME_MAGIC);
	store_u16(out + FORMAT_AT, JOURNAL_FORMAT);
	store_u16(out + 6, 0);
	store_u64(out + 8, frame->salt);
	store_u64(out + 16, frame->sequence);
	store_u64(out + 24, frame->number);
	store_u64(out + 32, frame->durable);
	store_u32(out + 40, frame->chain);
	store_u32(out + 44, frame->length);
	store_u32(out + 48, frame->opening);
	store_u32(out + 52, frame->uuid_part);
	store_u32(out + HEADER_CRC_AT, crc32c(0, out, HEADER_CRC_AT));
	frame->crc = crc32c(crc32c(0, out, HEADER_CRC_AT), block.data, block.size);
	store_u32(out + CRC_AT, frame->crc);
}

enum journal_check journal_frame_read(
	const uint8_t in[JOURNAL_HEADER_BYTES], struct journal_frame *ret)
{
	if (load_u32(in) != JOURNAL_FRAME_MAGIC ||
		load_u32(in + HEADER_CRC_AT) != crc32c(0, in, HEADER_CRC_AT)) {
		return JOURNAL_CHECK_ABSENT;
	}
	if (load_u16(in + FORMAT_AT) > JOURNAL_FORMAT) {
		return JOURNAL_CHECK_NEWER;
	}
	ret->salt = load_u64(in + 8);
	ret->sequence = load_u64(in + 16);
	ret->number = load_u64(in + 24);
	ret->durable = load_u64(in + 32);
	ret->chain = load_u32(in + 40);
	ret->length = load_u32(in + 44);
	ret->opening = load_u32(in + 48);
	ret->uuid_part = load_u32(in + 52);
	ret->crc = load_u32(in + CRC_AT);
	return JOURNAL_CHECK_OK;
}

enum journal_check journal_frame_check(const uint8_t in[JOURNAL_HEADER_BYTES], struct bytes block)
{
	uint32_t crc = crc32c(crc32c(0, in, HEADER_CRC_AT), block.data, block.size);
	return crc == load_u32(in + CRC_AT) ? JOURNAL_CHECK_OK : JOURNAL_CHECK_DAMAGED;
}
