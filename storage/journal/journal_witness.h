/*
 * The journal's witness: a small file that says which block was the last durable one when the
 * journal was closed or opened. Each block vouches for the one before it, but nobody does for the
 * newest: if its bytes rot, it looks like a torn write. The witness tells the two apart. For
 * journal_*.c only.
 *
 * It is written after the journal was opened (when all that was read is durable) and when it is
 * closed, never while blocks are written, so appending costs what it did. What it says stays true
 * for ever: a journal whose last block is below it, or has that number and another checksum, is
 * damaged. One that goes on behind it is not: the chain vouches up to its last block.
 *
 * File "witness" in the journal's directory, two slots, each at the begin of a page of 4,096 bytes,
 * of which it uses 64:
 *
 *    0   4    magic 0x31574a41 ("AJW1")
 *    4   4    format = 1
 *    8   16   store uuid
 *   24   8    number of the block; 0: the journal is new
 *   32   8    sequence of the segment that holds it
 *   40   8    byte in the segment where its frame begins
 *   48   4    crc of its frame
 *   52   8    zero
 *   60   4    CRC32C over bytes [0, 60)
 *
 * The slot with the higher number counts. The other one is overwritten, in place and then synced:
 * a power cut leaves at least one, and a full disk needs no new space. A slot that does not match
 * its checksum is no slot: perhaps its write was torn. So a rotten witness loses no event and stops
 * nothing; it only no longer vouches.
 */
#ifndef ANNALS_JOURNAL_WITNESS_H
#define ANNALS_JOURNAL_WITNESS_H

#include <annals/error.h>
#include <stdint.h>

#define JOURNAL_WITNESS_NAME "witness"

struct journal_witness {
	uint64_t number; /* 0: of no block */
	uint64_t sequence, offset;
	uint32_t crc;
};

/*
 * Reads what counts. *ret_slot: the one it is in, -1: there is none (*ret is zeroed then).
 * ANNALS_E_IO, ANNALS_E_FORMAT_NEWER.
 */
int journal_witness_read(int dir_fd, const uint8_t uuid[16], struct journal_witness *ret,
	int *ret_slot, struct error *err) ANNALS_MUST_CHECK;
/*
 * Writes it beside the one that counts and syncs it; makes the file where it is missing. Does
 * nothing where the same is written already. `witness` must be durable. ANNALS_E_STORAGE_FULL,
 * ANNALS_E_IO: what counted before still counts, or this does; both are true.
 */
int journal_witness_write(int dir_fd, const uint8_t uuid[16], const struct journal_witness *witness,
	struct error *err) ANNALS_MUST_CHECK;

#endif
