#include "checker_state.h"

#include <annals/hash.h>
#include <stdlib.h>

void *list_grow_(void *at, size_t count, size_t *ret_capacity, size_t item_bytes)
{
	size_t capacity = *ret_capacity * 2 > 1024 ? *ret_capacity * 2 : 1024;
	void *grown;

	/* Indexes have 32 bits; the largest is CHECKER_NONE. */
	if (count >= CHECKER_NONE - 1) {
		return NULL;
	}
	grown = realloc(at, capacity * item_bytes);
	if (grown != NULL) {
		*ret_capacity = capacity;
	}
	return grown;
}

static uint64_t mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
	return value ^ (value >> 31);
}

static struct map_entry *find(const struct map *map, uint64_t a, uint64_t b)
{
	size_t at = mix(a + mix(b ^ map->secret)) & (map->capacity - 1);

	while (map->entries[at].value != CHECKER_NONE &&
		(map->entries[at].a != a || map->entries[at].b != b)) {
		at = (at + 1) & (map->capacity - 1);
	}
	return &map->entries[at];
}

uint32_t map_find(const struct map *map, uint64_t a, uint64_t b)
{
	return map->capacity == 0 ? CHECKER_NONE : find(map, a, b)->value;
}

static int grow(struct map *map)
{
	struct map old = *map;

	map->capacity = old.capacity == 0 ? 256 : old.capacity * 2;
	map->entries = malloc(map->capacity * sizeof(*map->entries));
	if (map->entries == NULL) {
		*map = old;
		return ANNALS_E_NO_MEMORY;
	}
	if (map->secret == 0) {
		random_bytes(&map->secret, sizeof(map->secret));
	}
	for (size_t i = 0; i < map->capacity; i++) {
		map->entries[i].value = CHECKER_NONE;
	}
	for (size_t i = 0; i < old.capacity; i++) {
		if (old.entries[i].value != CHECKER_NONE) {
			*find(map, old.entries[i].a, old.entries[i].b) = old.entries[i];
		}
	}
	free(old.entries);
	return 0;
}

uint32_t *map_put(struct map *map, uint64_t a, uint64_t b)
{
	struct map_entry *entry;

	if (map->count * 3 >= map->capacity * 2 && grow(map) != 0) {
		return NULL;
	}
	entry = find(map, a, b);
	if (entry->value == CHECKER_NONE) {
		entry->a = a;
		entry->b = b;
		map->count++;
	}
	return &entry->value;
}

void map_release(struct map *map)
{
	free(map->entries);
	*map = (struct map){0};
}

int sort_items(struct sort_item *items, size_t count)
{
	struct sort_item *from = items, *to, *other;
	uint64_t all_or = 0, all_and = UINT64_MAX;
	bool sorted = true;

	for (size_t i = 0; i < count; i++) {
		all_or |= items[i].key;
		all_and &= items[i].key;
		sorted = sorted && (i == 0 || items[i - 1].key <= items[i].key);
	}
	if (sorted) {
		return 0;
	}
	other = malloc(count * sizeof(*other));
	if (other == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	to = other;
	for (unsigned shift = 0; shift < 64; shift += 8) {
		size_t starts[257] = {0};
		if (((all_or ^ all_and) >> shift & 0xff) == 0) {
			continue;
		}
		for (size_t i = 0; i < count; i++) {
			starts[(from[i].key >> shift & 0xff) + 1]++;
		}
		for (size_t i = 1; i < 257; i++) {
			starts[i] += starts[i - 1];
		}
		for (size_t i = 0; i < count; i++) {
			to[starts[from[i].key >> shift & 0xff]++] = from[i];
		}
		struct sort_item *swap = from;
		from = to;
		to = swap;
	}
	if (from != items) {
		memcpy(items, from, count * sizeof(*items));
	}
	free(other);
	return 0;
}
