/*
 * What the indexes of a topic hold: entries of 40 bytes, sorted by (hash, order).
 *
 * | kind   | hash of                            | order            | place            | extra    |
 * |--------|------------------------------------|------------------|------------------|----------|
 * | stream | the event's key                    | version          | of the event     | position |
 * | id     | source, NUL, id                    | recorded time us | of the event     | version  |
 * | query  | "t" and the type, or "g" and a tag | position         | of the event     | 0        |
 *
 * Hashes have 128 bits and are keyed with the store's UUID (index_hash()), so that two things with
 * one hash are not a case to plan for; whoever reads an event by an index compares what it holds
 * all the same. Among entries of one hash, later blocks have larger orders: an index may be kept as
 * runs in the order of time, and a range of one hash is the concatenation of its parts in the runs.
 */
#ifndef ANNALS_STORAGE_INDEX_ENTRY_H
#define ANNALS_STORAGE_INDEX_ENTRY_H

#include <annals/bytes.h>
#include <stdbool.h>
#include <stdint.h>

enum index_kind { INDEX_STREAM, INDEX_ID, INDEX_QUERY, INDEX_KINDS };

struct index_hash {
	uint64_t high, low;
};

struct index_entry {
	struct index_hash hash;
	uint64_t order;
	uint64_t place; /* index_place() */
	uint64_t extra;
};

#define INDEX_ENTRY_BYTES 40u
#define INDEX_NO_VERSION UINT64_MAX

/* Partition (below 2^16) and offset (below 2^48) in one number. */
static inline uint64_t index_place(uint32_t partition, uint64_t offset)
{
	return (uint64_t)partition << 48 | offset;
}
static inline uint32_t index_place_partition(uint64_t place)
{
	return (uint32_t)(place >> 48);
}
static inline uint64_t index_place_offset(uint64_t place)
{
	return place & (((uint64_t)1 << 48) - 1);
}

/* The hash of `data` in the domain of one letter: 'k' keys, 'i' ids, 't' types, 'g' tags; two
 * SipHash-1-3 under keys made of the store's UUID. It is part of the disk format. Pure. */
struct index_hash index_hash(const uint8_t store_uuid[16], char domain, struct bytes data);

/* All fields little-endian, in the order of the struct. */
void index_entry_write(uint8_t out[INDEX_ENTRY_BYTES], const struct index_entry *entry);
void index_entry_read(const uint8_t in[INDEX_ENTRY_BYTES], struct index_entry *ret);
/* By hash, then order: negative, 0 or positive. */
int index_entry_compare(const struct index_entry *a, const struct index_entry *b);

#endif
