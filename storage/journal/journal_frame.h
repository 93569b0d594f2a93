/*
 * Byte layouts of the file journal: segment header and block frame. Pure; any thread.
 * docs/disk-format.md repeats them.
 *
 * A segment file is a header page of 4,096 bytes and then frames, each beginning on a multiple of
 * 4,096. All numbers are little-endian.
 *
 * Segment header:
 *   at  size  field
 *    0   4    magic 0x31534a41 ("AJS1")
 *    4   4    format = 1
 *    8  16    store uuid
 *   24   8    sequence: 1, 2, 3, ... without a gap
 *   32   8    salt: random, drawn anew each time the file becomes a segment
 *   40   8    segment_bytes: size of the file
 *   48   8    after: durable when the header was written; every block in it is higher
 *   56   4    zero
 *   60   4    CRC32C over bytes [0, 60)
 *   64   -    zeros up to 4,096
 *
 * Frame:
 *    0   4    magic 0x31464a41 ("AJF1")
 *    4   2    format = 1
 *    6   2    zero
 *    8   8    salt of the segment
 *   16   8    sequence of the segment
 *   24   8    number of the block
 *   32   8    durable: the last block known to be synced when this one was written
 *   40   4    chain: `crc` of the frame before, 0 for block 1
 *   44   4    length of the block in bytes, at least 1
 *   48   4    opening: random, drawn anew by each open of the journal
 *   52   4    first four bytes of the store uuid
 *   56   4    header_crc: CRC32C over bytes [0, 56)
 *   60   4    crc: CRC32C over bytes [0, 56) and the block
 *   64   -    the block, then zeros up to a multiple of 4,096
 *
 * What each field is for:
 * - salt and sequence tell a frame of this segment from what the recycled file held before. The
 *   salt never leaves the file, so no event body can contain bytes that pass for a frame.
 * - number and chain let recovery accept only the one frame that was written right after the one
 *   before. `opening` makes two frames of the same block different: a block that is written again
 *   after a crash, with the same bytes at the same place, has another CRC, so a frame that followed
 *   the first one does not continue the second.
 * - durable tells a torn tail from damage. A frame behind a gap that was written before the missing
 *   block was synced is what a power cut leaves when the disk wrote out of order; one that says
 *   `durable >= missing` proves that the missing block was once acknowledged.
 * - crc leaves header_crc out: a CRC over data and the CRC of that data is a constant, so the chain
 *   would not notice another header.
 * - header_crc lets recovery believe `durable` when the block itself is damaged.
 *
 * To change a layout: raise `format`, teach the reader both, and keep magic, format and the place
 * of the header's CRC.
 */
#ifndef ANNALS_JOURNAL_FRAME_H
#define ANNALS_JOURNAL_FRAME_H

#include <annals/bytes.h>
#include <annals/macros.h>

#define JOURNAL_PAGE_BYTES 4096u
#define JOURNAL_SEGMENT_MAGIC 0x31534a41u
#define JOURNAL_FRAME_MAGIC 0x31464a41u
#define JOURNAL_FORMAT 1u
/* What is used of the segment header's page, and the whole header of a frame. */
#define JOURNAL_HEADER_BYTES 64u

struct journal_segment_header {
	uint8_t uuid[16];
	uint64_t sequence, salt, segment_bytes, after;
};

struct journal_frame {
	uint64_t salt, sequence, number, durable;
	uint32_t chain, length, opening, uuid_part, crc;
};

enum journal_check {
	JOURNAL_CHECK_OK,
	JOURNAL_CHECK_ABSENT,  /* no header of ours, or one whose checksum fails */
	JOURNAL_CHECK_NEWER,   /* a header in order, of a format this version does not know */
	JOURNAL_CHECK_DAMAGED, /* the header is in order, the block does not match it */
};

/* Bytes that a block occupies in a segment. */
static inline uint64_t journal_frame_size(uint64_t block_bytes)
{
	return ANNALS_ROUND_UP(JOURNAL_HEADER_BYTES + block_bytes, (uint64_t)JOURNAL_PAGE_BYTES);
}

void journal_segment_header_write(
	uint8_t out[JOURNAL_HEADER_BYTES], const struct journal_segment_header *header);
enum journal_check journal_segment_header_read(
	const uint8_t in[JOURNAL_HEADER_BYTES], struct journal_segment_header *ret);

/* Computes both checksums over the header and `block` (frame->length must be its size), sets
 * frame->crc and writes the 64 bytes. */
void journal_frame_write(
	uint8_t out[JOURNAL_HEADER_BYTES], struct journal_frame *frame, struct bytes block);
/* Checks the header alone: OK, ABSENT or NEWER. Says nothing about the segment it should belong to.
 */
enum journal_check journal_frame_read(
	const uint8_t in[JOURNAL_HEADER_BYTES], struct journal_frame *ret);
/* OK or DAMAGED: does the block match the frame header `in`? */
enum journal_check journal_frame_check(const uint8_t in[JOURNAL_HEADER_BYTES], struct bytes block);

#endif
