/*
 * A chunk: consecutive stored batches of one partition, the value of table `log`. Pure.
 *
 *   at  size  field                                      all little-endian
 *    0   4    magic 0x314b4341 ("ACK1")
 *    4   4    crc: CRC32C of header bytes [8, 48)
 *    8   8    base_offset: that of its first batch, equal to the key's
 *   16   4    count: offsets covered, without a gap
 *   20   4    bytes: of the batches that follow, over all parts
 *   24   8    first_recorded_us
 *   32   8    last_recorded_us
 *   40   4    parts: 1, or more for a single large batch that spans several values
 *   44   4    zero
 *   48   -    stored batches end to end (batch.h), each with its own checksums
 *
 * A batch larger than a value goes alone into parts 0, 1, 2, ...: part 0 starts with the header;
 * the others hold bytes only. Values have at most CHUNK_VALUE_BYTES_MAX bytes, 16 pages of LMDB
 * exactly.
 */
#ifndef ANNALS_STORAGE_CHUNK_H
#define ANNALS_STORAGE_CHUNK_H

#include <annals/bytes.h>
#include <annals/error.h>

#define CHUNK_MAGIC 0x314b4341u
#define CHUNK_HEADER_BYTES 48u
#define CHUNK_VALUE_BYTES_MAX 65520u
#define CHUNK_BATCH_BYTES_MAX (CHUNK_VALUE_BYTES_MAX - CHUNK_HEADER_BYTES)
/* A newest chunk below this grows instead of getting a small neighbour. */
#define CHUNK_MERGE_BYTES 16384u

struct chunk_header {
	uint64_t base_offset;
	uint32_t count, bytes, parts;
	uint64_t first_recorded_us, last_recorded_us;
};

void chunk_header_write(uint8_t out[CHUNK_HEADER_BYTES], const struct chunk_header *header);
/* Reads the header of part 0. ANNALS_E_CORRUPT_DATA. */
int chunk_header_parse(struct bytes value, struct chunk_header *ret) ANNALS_MUST_CHECK;
/* How many values a chunk of so many batch bytes takes. */
uint32_t chunk_parts(uint32_t bytes);

#endif
