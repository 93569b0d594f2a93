#include "index/memtable.h"

#include <annals/macros.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MIN 64u
#define ENTRIES_MAX (1u << 31)
/* What a reset table keeps. */
#define ENTRIES_KEPT 16384u

void memtable_release(struct memtable *table)
{
	free(table->entries);
	free(table->slots);
	*table = (struct memtable){0};
}

void memtable_reset(struct memtable *table)
{
	if (table->capacity > ENTRIES_KEPT) {
		memtable_release(table);
		return;
	}
	if (table->hash_count > 0) {
		memset(table->slots, 0, table->slot_count * sizeof(*table->slots));
	}
	table->count = 0;
	table->hash_count = 0;
}

static bool same_hash(struct index_hash a, struct index_hash b)
{
	return a.high == b.high && a.low == b.low;
}

/* The slot of a hash, or the empty one where it would go. */
static struct memtable_slot *slot_of(const struct memtable *table, struct index_hash hash)
{
	const uint32_t tag = (uint32_t)hash.low;
	uint32_t at = tag & (table->slot_count - 1);

	while (table->slots[at].place != 0 &&
		(table->slots[at].tag != tag ||
			!same_hash(table->entries[table->slots[at].place - 1].entry.hash, hash))) {
		at = (at + 1) & (table->slot_count - 1);
	}
	return &table->slots[at];
}

static int grow_slots(struct memtable *table, uint32_t slot_count)
{
	struct memtable_slot *slots = calloc(slot_count, sizeof(*slots));

	if (slots == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (uint32_t i = 0; i < table->slot_count; i++) {
		uint32_t at = table->slots[i].tag & (slot_count - 1);
		if (table->slots[i].place == 0) {
			continue;
		}
		while (slots[at].place != 0) {
			at = (at + 1) & (slot_count - 1);
		}
		slots[at] = table->slots[i];
	}
	free(table->slots);
	table->slots = slots;
	table->slot_count = slot_count;
	return 0;
}

int memtable_reserve(struct memtable *table, uint32_t extra)
{
	uint64_t wanted = (uint64_t)table->count + extra;
	uint64_t hashes = (uint64_t)table->hash_count + extra;

	if (wanted > ENTRIES_MAX) {
		return ANNALS_E_NO_MEMORY;
	}
	if (wanted > table->capacity) {
		uint64_t capacity = ANNALS_MAX(table->capacity, ENTRIES_MIN);
		struct memtable_entry *larger;
		while (capacity < wanted) {
			capacity *= 2;
		}
		larger = realloc(table->entries, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		table->entries = larger;
		table->capacity = (uint32_t)capacity;
	}
	if (hashes * 2 > table->slot_count) {
		uint64_t slots = ANNALS_MAX(table->slot_count, ENTRIES_MIN * 2);
		while (slots < hashes * 2) {
			slots *= 2;
		}
		return grow_slots(table, (uint32_t)slots);
	}
	return 0;
}

int memtable_add(struct memtable *table, const struct index_entry *entry)
{
	struct memtable_entry *added;
	struct memtable_slot *slot;
	int status = memtable_reserve(table, 1);

	if (status != 0) {
		return status;
	}
	slot = slot_of(table, entry->hash);
	added = &table->entries[table->count];
	*added = (struct memtable_entry){.entry = *entry, .previous = slot->place};
	table->hash_count += slot->place == 0 ? 1 : 0;
	slot->place = ++table->count;
	slot->tag = (uint32_t)entry->hash.low;
	return 0;
}

const struct index_entry *memtable_newest(const struct memtable *table, struct index_hash hash)
{
	uint32_t place = table->count == 0 ? 0 : slot_of(table, hash)->place;

	return place == 0 ? NULL : &table->entries[place - 1].entry;
}

/* The newest entry of a hash with order at most `to`, as a place + 1. */
static uint32_t first_at_most(const struct memtable *table, struct index_hash hash, uint64_t to)
{
	uint32_t place = table->count == 0 ? 0 : slot_of(table, hash)->place;

	while (place != 0 && table->entries[place - 1].entry.order > to) {
		place = table->entries[place - 1].previous;
	}
	return place;
}

size_t memtable_range(const struct memtable *table, struct index_hash hash, uint64_t from,
	uint64_t to, bool backwards, struct index_entry *ret, size_t max)
{
	uint32_t start = first_at_most(table, hash, to), place = start;
	size_t inside = 0, count;

	while (place != 0 && table->entries[place - 1].entry.order >= from &&
		!(backwards && inside == max)) {
		place = table->entries[place - 1].previous;
		inside++;
	}
	count = ANNALS_MIN(inside, max);
	place = start;
	for (size_t i = 0; i < inside; i++) {
		/* Newest first; ascending, only the last `count` of them are wanted. */
		size_t at = backwards ? i : inside - 1 - i;
		if (at < count) {
			ret[at] = table->entries[place - 1].entry;
		}
		place = table->entries[place - 1].previous;
	}
	return count;
}

uint64_t memtable_bytes(const struct memtable *table)
{
	return (uint64_t)table->capacity * sizeof(*table->entries) +
	       (uint64_t)table->slot_count * sizeof(*table->slots);
}
