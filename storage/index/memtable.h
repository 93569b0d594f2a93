/*
 * The newest entries of an index, in memory: in the order they came, found by hash. Among entries
 * of one hash the order rises. Not thread-safe: the caller's lock (the tail's mutex) or thread.
 */
#ifndef ANNALS_STORAGE_INDEX_MEMTABLE_H
#define ANNALS_STORAGE_INDEX_MEMTABLE_H

#include "index/entry.h"

#include <annals/error.h>

struct memtable_entry {
	struct index_entry entry;
	uint32_t previous; /* place + 1 of the entry before it with this hash; 0 = none */
	uint32_t unused;
};

/* Open addressing. Most of what is looked for and absent is told by the tag, without a look at an
 * entry, and growing needs none either. */
struct memtable_slot {
	uint32_t place; /* + 1, of a hash's newest entry; 0: empty */
	uint32_t tag;   /* the low half of hash.low, whose low bits are the slot to begin at */
};

struct memtable {
	struct memtable_entry *entries;
	struct memtable_slot *slots;
	uint32_t count, capacity;
	uint32_t slot_count, hash_count;
};

/* A zeroed one is empty. */
void memtable_release(struct memtable *table);
/* Empties, and gives back what is large. */
void memtable_reset(struct memtable *table);
/* ANNALS_E_NO_MEMORY with nothing changed; also when 2^31 entries are reached. */
int memtable_add(struct memtable *table, const struct index_entry *entry) ANNALS_MUST_CHECK;
/* Makes room so that `extra` adds cannot fail. */
int memtable_reserve(struct memtable *table, uint32_t extra) ANNALS_MUST_CHECK;
/* The newest entry of a hash; NULL if there is none. Valid until the table changes. */
const struct index_entry *memtable_newest(const struct memtable *table, struct index_hash hash);
/*
 * Copies up to `max` entries of a hash with order in [from, to], ascending from the smallest, or
 * descending from the largest when `backwards`; returns how many. Costs a walk over all the hash's
 * entries above `from`.
 */
size_t memtable_range(const struct memtable *table, struct index_hash hash, uint64_t from,
	uint64_t to, bool backwards, struct index_entry *ret, size_t max);
uint64_t memtable_bytes(const struct memtable *table);

#endif
