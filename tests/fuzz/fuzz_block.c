/* Blocks: what is accepted can be walked and written again to the same bytes. */
#include <annals/block.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes block = bytes_of(data, size);
	struct block_header header;
	struct error err;
	if (block_view(block, &header, &err) != 0) {
		return 0;
	}
	struct buf again = BUF_INIT;
	struct bytes bytes;
	uint16_t type;
	uint32_t count = 0;
	size_t cursor = BLOCK_HEADER_BYTES;
	int more;
	FUZZ_REQUIRE(block_begin(&again) == 0);
	while ((more = block_next(block, &cursor, &type, &bytes)) == 1) {
		uint8_t *room;
		FUZZ_REQUIRE(block_add(&again, (enum block_command)type, bytes.size, &room) == 0);
		memcpy(room, bytes.data, bytes.size);
		count++;
	}
	FUZZ_REQUIRE(more == 0 && cursor == size && count == header.command_count);
	block_finish(&again, count, header.time_us, header.first_position);
	FUZZ_REQUIRE(bytes_equal(buf_bytes(&again), block));
	buf_release(&again);
	return 0;
}
