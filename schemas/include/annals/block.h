/*
 * A block: the commands of one commit, in order, with everything resolved (effects, not wishes). It
 * is what a journal carries.
 *
 *   at  size  field                                      all little-endian
 *    0   4    magic 0x314b4241 ("ABK1")
 *    4   2    format = 1
 *    6   2    zero
 *    8   4    command_count, at least 1
 *   12   4    zero
 *   16   8    time_us: the shard's recorded time of this block; never below the previous block's
 *   24   8    first_position: position of the first event appended in it
 *   32   -    commands
 *
 * Command: type u16, zero u16, bytes u32 (of what follows, without padding), then that many bytes
 * and zeros up to a multiple of 8. The block has no checksum of its own: the journal frames it with
 * number, chain and CRC32C. Steps for a new command: add it to enum block_command, to
 * storage/apply.c, to verify and to docs/disk-format.md; an older server refuses a block with a
 * command it does not know (ANNALS_E_FORMAT_NEWER).
 */
#ifndef ANNALS_BLOCK_H
#define ANNALS_BLOCK_H

#include <annals/buf.h>
#include <annals/error.h>

#define BLOCK_MAGIC 0x314b4241u
#define BLOCK_FORMAT 1u
#define BLOCK_HEADER_BYTES 32u
#define BLOCK_BYTES_MAX (8u << 20) /* the limit for one request is 4 MiB; stamps come on top */

enum block_command {
	BLOCK_APPEND = 1,        /* a stored batch (batch.h) */
	BLOCK_TOPIC_CREATE = 2,  /* annals.v1.TopicRecord (meta.proto) */
	BLOCK_TOPIC_UPDATE = 3,  /* annals.v1.TopicRecord, the new one */
	BLOCK_TOPIC_DELETE = 4,  /* topic id u32, zero u32 */
	BLOCK_OFFSET_COMMIT = 5, /* annals.v1.OffsetRecord */
	BLOCK_TRIM = 6,          /* topic id u32, partition u32, first kept offset u64, and
				    (optional) a position u64 that all events below it lie below */
	BLOCK_GROUP_DELETE = 7,  /* u16 name size, name, u32 count, count times topic id u32,
				    partition u32 */
	BLOCK_ROWS = 8, /* row changes, one after the other: key size u16, zero u16, value size u32
			   (0xffffffff: deleted), key, value */
};

struct block_header {
	uint32_t command_count;
	uint64_t time_us;
	uint64_t first_position;
};

/* Writing: block_begin() on an empty buffer, commands, block_finish() sets the counts.
 * ANNALS_E_NO_MEMORY. */
int block_begin(struct buf *out) ANNALS_MUST_CHECK;
/* Appends a command header and room for `bytes`; *ret_data points at the room, valid until the
 * buffer grows. Padding is zeroed. */
int block_add(struct buf *out, enum block_command type, size_t bytes,
	uint8_t **ret_data) ANNALS_MUST_CHECK;
void block_finish(
	struct buf *out, uint32_t command_count, uint64_t time_us, uint64_t first_position);

/*
 * Reading. `block` is exactly one block. Walks the command headers once, so that their number and
 * sizes are known to be right; what the commands hold is not looked at. ANNALS_E_CORRUPT_DATA
 * (impossible), ANNALS_E_FORMAT_NEWER. Pure.
 */
int block_view(struct bytes block, struct block_header *ret, struct error *err) ANNALS_MUST_CHECK;
/* *cursor starts at BLOCK_HEADER_BYTES. 1 with the next command, 0 exactly at the end,
 * ANNALS_E_CORRUPT_DATA. *ret_data borrows. */
int block_next(struct bytes block, size_t *cursor, uint16_t *ret_type, struct bytes *ret_data);

#endif
