#include "lmdb/tables.h"

#include <annals/crc32c.h>
#include <annals/status.h>

void log_key(uint8_t out[LOG_KEY_BYTES], uint32_t topic_id, uint32_t partition,
	uint64_t base_offset, uint16_t part)
{
	store_u32_be(out, topic_id);
	store_u32_be(out + 4, partition);
	store_u64_be(out + 8, base_offset);
	out[16] = (uint8_t)(part >> 8);
	out[17] = (uint8_t)part;
}

bool log_key_parse(struct bytes key, uint32_t *topic_id, uint32_t *partition, uint64_t *base_offset,
	uint16_t *part)
{
	if (key.size != LOG_KEY_BYTES) {
		return false;
	}
	*topic_id = load_u32_be(key.data);
	*partition = load_u32_be(key.data + 4);
	*base_offset = load_u64_be(key.data + 8);
	*part = (uint16_t)(key.data[16] << 8 | key.data[17]);
	return true;
}

void partition_key(uint8_t out[PARTITION_KEY_BYTES], uint32_t topic_id, uint32_t partition)
{
	store_u32_be(out, topic_id);
	store_u32_be(out + 4, partition);
}

bool partition_key_parse(struct bytes key, uint32_t *topic_id, uint32_t *partition)
{
	if (key.size != PARTITION_KEY_BYTES) {
		return false;
	}
	*topic_id = load_u32_be(key.data);
	*partition = load_u32_be(key.data + 4);
	return true;
}

void topic_key(uint8_t out[TOPIC_KEY_BYTES], uint32_t topic_id)
{
	store_u32_be(out, topic_id);
}

size_t offset_key(uint8_t out[OFFSET_KEY_BYTES_MAX], struct bytes group, uint32_t topic_id,
	uint32_t partition)
{
	memcpy(out, group.data, group.size);
	out[group.size] = 0;
	store_u32_be(out + group.size + 1, topic_id);
	store_u32_be(out + group.size + 5, partition);
	return group.size + 9;
}

bool offset_key_parse(
	struct bytes key, struct bytes *group, uint32_t *topic_id, uint32_t *partition)
{
	size_t name_size = key.size - 9;

	if (key.size < 10 || key.size > OFFSET_KEY_BYTES_MAX || key.data[name_size] != 0) {
		return false;
	}
	*group = bytes_of(key.data, name_size);
	*topic_id = load_u32_be(key.data + name_size + 1);
	*partition = load_u32_be(key.data + name_size + 5);
	return true;
}

/*
 * Meta row: crc u32, version u32 = 1, settled_block u64, next_position u64, last_recorded_us u64,
 * next_topic_id u32, zero u32, indexed_block u64, zeros.
 */
void meta_row_write(uint8_t out[META_ROW_BYTES], const struct meta_row *row)
{
	memset(out, 0, META_ROW_BYTES);
	store_u32(out + 4, 1);
	store_u64(out + 8, row->settled_block);
	store_u64(out + 16, row->next_position);
	store_u64(out + 24, row->last_recorded_us);
	store_u32(out + 32, row->next_topic_id);
	store_u64(out + 40, row->indexed_block);
	store_u32(out, crc32c(0, out + 4, META_ROW_BYTES - 4));
}

static bool row_is_whole(struct bytes value, size_t size)
{
	return value.size == size && load_u32(value.data) == crc32c(0, value.data + 4, size - 4) &&
	       load_u32(value.data + 4) == 1;
}

int meta_row_parse(struct bytes value, struct meta_row *ret)
{
	if (!row_is_whole(value, META_ROW_BYTES)) {
		return ANNALS_E_CORRUPT_DATA;
	}
	ret->settled_block = load_u64(value.data + 8);
	ret->next_position = load_u64(value.data + 16);
	ret->last_recorded_us = load_u64(value.data + 24);
	ret->next_topic_id = load_u32(value.data + 32);
	ret->indexed_block = load_u64(value.data + 40);
	return 0;
}

/*
 * Partition row: crc u32, version u32 = 1, then first_offset, settled_end, settled_block,
 * log_bytes, log_events, last_position, last_recorded_us, last_chunk_base, all u64,
 * last_chunk_bytes u32, last_chunk_count u32, trimmed_below u64.
 */
void partition_row_write(uint8_t out[PARTITION_ROW_BYTES], const struct partition_row *row)
{
	memset(out, 0, PARTITION_ROW_BYTES);
	store_u32(out + 4, 1);
	store_u64(out + 8, row->first_offset);
	store_u64(out + 16, row->settled_end);
	store_u64(out + 24, row->settled_block);
	store_u64(out + 32, row->log_bytes);
	store_u64(out + 40, row->log_events);
	store_u64(out + 48, row->last_position);
	store_u64(out + 56, row->last_recorded_us);
	store_u64(out + 64, row->last_chunk_base);
	store_u32(out + 72, row->last_chunk_bytes);
	store_u32(out + 76, row->last_chunk_count);
	store_u64(out + 80, row->trimmed_below);
	store_u32(out, crc32c(0, out + 4, PARTITION_ROW_BYTES - 4));
}

int partition_row_parse(struct bytes value, struct partition_row *ret)
{
	if (!row_is_whole(value, PARTITION_ROW_BYTES)) {
		return ANNALS_E_CORRUPT_DATA;
	}
	ret->first_offset = load_u64(value.data + 8);
	ret->settled_end = load_u64(value.data + 16);
	ret->settled_block = load_u64(value.data + 24);
	ret->log_bytes = load_u64(value.data + 32);
	ret->log_events = load_u64(value.data + 40);
	ret->last_position = load_u64(value.data + 48);
	ret->last_recorded_us = load_u64(value.data + 56);
	ret->last_chunk_base = load_u64(value.data + 64);
	ret->last_chunk_bytes = load_u32(value.data + 72);
	ret->last_chunk_count = load_u32(value.data + 76);
	ret->trimmed_below = load_u64(value.data + 80);
	return 0;
}
