#include <annals/block.h>

#include <annals/macros.h>
#include <assert.h>

#define COMMAND_HEADER_BYTES 8u

int block_begin(struct buf *out)
{
	assert(out->size == 0);
	return buf_add_zeros(out, BLOCK_HEADER_BYTES);
}

int block_add(struct buf *out, enum block_command type, size_t bytes, uint8_t **ret_data)
{
	assert(out->size >= BLOCK_HEADER_BYTES && out->size % 8 == 0);
	if (bytes > UINT32_MAX - 8) {
		return ANNALS_E_NO_MEMORY;
	}
	size_t padded = ANNALS_ROUND_UP(bytes, 8);
	int status = buf_reserve(out, COMMAND_HEADER_BYTES + padded);
	if (status < 0) {
		return status;
	}
	uint8_t *command = out->data + out->size;
	store_u16(command, (uint16_t)type);
	store_u16(command + 2, 0);
	store_u32(command + 4, (uint32_t)bytes);
	if (padded > 0) {
		memset(command + COMMAND_HEADER_BYTES + padded - 8, 0, 8);
	}
	out->size += COMMAND_HEADER_BYTES + padded;
	*ret_data = command + COMMAND_HEADER_BYTES;
	return 0;
}

void block_finish(
	struct buf *out, uint32_t command_count, uint64_t time_us, uint64_t first_position)
{
	assert(out->size > BLOCK_HEADER_BYTES && command_count > 0);
	uint8_t *header = out->data;
	store_u32(header, BLOCK_MAGIC);
	store_u16(header + 4, BLOCK_FORMAT);
	store_u16(header + 6, 0);
	store_u32(header + 8, command_count);
	store_u32(header + 12, 0);
	store_u64(header + 16, time_us);
	store_u64(header + 24, first_position);
}

int block_next(struct bytes block, size_t *cursor, uint16_t *ret_type, struct bytes *ret_data)
{
	if (*cursor == block.size) {
		return 0;
	}
	if (*cursor > block.size || block.size - *cursor < COMMAND_HEADER_BYTES) {
		return ANNALS_E_CORRUPT_DATA;
	}
	const uint8_t *command = block.data + *cursor;
	size_t room = block.size - *cursor - COMMAND_HEADER_BYTES;
	uint64_t bytes = load_u32(command + 4);
	uint64_t padded = ANNALS_ROUND_UP(bytes, 8);
	if (load_u16(command + 2) != 0 || padded > room) {
		return ANNALS_E_CORRUPT_DATA;
	}
	for (uint64_t i = bytes; i < padded; i++) {
		if (command[COMMAND_HEADER_BYTES + i] != 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
	}
	*ret_type = load_u16(command);
	*ret_data = bytes_of(command + COMMAND_HEADER_BYTES, (size_t)bytes);
	*cursor += COMMAND_HEADER_BYTES + (size_t)padded;
	return 1;
}

int block_view(struct bytes block, struct block_header *ret, struct error *err)
{
	if (block.size < BLOCK_HEADER_BYTES || block.size > BLOCK_BYTES_MAX) {
		return error_fail(
			err, ANNALS_E_CORRUPT_DATA, "a block cannot have %zu bytes", block.size);
	}
	const uint8_t *header = block.data;
	if (load_u32(header) != BLOCK_MAGIC) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"a block starts with 0x%08x instead of its magic", load_u32(header));
	}
	if (load_u16(header + 4) > BLOCK_FORMAT) {
		return error_fail(err, ANNALS_E_FORMAT_NEWER,
			"a block has format %u, this version reads up to %u", load_u16(header + 4),
			BLOCK_FORMAT);
	}
	uint32_t command_count = load_u32(header + 8);
	if (load_u16(header + 4) == 0 || load_u16(header + 6) != 0 || load_u32(header + 12) != 0 ||
		command_count == 0) {
		return error_fail(
			err, ANNALS_E_CORRUPT_DATA, "the header of a block is impossible");
	}
	size_t cursor = BLOCK_HEADER_BYTES;
	uint32_t found = 0;
	uint16_t type;
	struct bytes data;
	int more;
	while ((more = block_next(block, &cursor, &type, &data)) > 0) {
		found++;
	}
	if (more < 0) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"command %u of a block is cut short or malformed", found);
	}
	if (found != command_count) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"a block holds %u commands where its header says %u", found, command_count);
	}
	ret->command_count = command_count;
	ret->time_us = load_u64(header + 16);
	ret->first_position = load_u64(header + 24);
	return 0;
}
