#include "chunk.h"

#include <annals/crc32c.h>

void chunk_header_write(uint8_t out[CHUNK_HEADER_BYTES], const struct chunk_header *header)
{
	store_u32(out, CHUNK_MAGIC);
	store_u64(out + 8, header->base_offset);
	store_u32(out + 16, header->count);
	store_u32(out + 20, header->bytes);
	store_u64(out + 24, header->first_recorded_us);
	store_u64(out + 32, header->last_recorded_us);
	store_u32(out + 40, header->parts);
	store_u32(out + 44, 0);
	store_u32(out + 4, crc32c(0, out + 8, CHUNK_HEADER_BYTES - 8));
}

int chunk_header_parse(struct bytes value, struct chunk_header *ret)
{
	if (value.size < CHUNK_HEADER_BYTES || load_u32(value.data) != CHUNK_MAGIC ||
		load_u32(value.data + 4) != crc32c(0, value.data + 8, CHUNK_HEADER_BYTES - 8)) {
		return ANNALS_E_CORRUPT_DATA;
	}
	ret->base_offset = load_u64(value.data + 8);
	ret->count = load_u32(value.data + 16);
	ret->bytes = load_u32(value.data + 20);
	ret->first_recorded_us = load_u64(value.data + 24);
	ret->last_recorded_us = load_u64(value.data + 32);
	ret->parts = load_u32(value.data + 40);
	if (ret->count == 0 || ret->parts != chunk_parts(ret->bytes) ||
		(ret->parts == 1 && value.size != CHUNK_HEADER_BYTES + ret->bytes) ||
		(ret->parts > 1 && value.size != CHUNK_VALUE_BYTES_MAX)) {
		return ANNALS_E_CORRUPT_DATA;
	}
	return 0;
}

uint32_t chunk_parts(uint32_t bytes)
{
	return (CHUNK_HEADER_BYTES + bytes + CHUNK_VALUE_BYTES_MAX - 1) / CHUNK_VALUE_BYTES_MAX;
}
