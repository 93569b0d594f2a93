#include "member_names.h"

#include <annals/hash.h>
#include <annals/status.h>
#include <assert.h>
#include <stdlib.h>

#define BUCKETS_MIN 16u

void member_names_init(struct member_names *names)
{
	memset(names, 0, sizeof(*names));
}

void member_names_release(struct member_names *names)
{
	for (uint32_t i = 1; i < names->count; i++) {
		free(names->names[i].text);
	}
	free(names->names);
	free(names->buckets);
	member_names_init(names);
}

static int grow_names(struct member_names *names)
{
	uint32_t capacity = names->capacity == 0 ? 16 : names->capacity * 2;
	struct member_name *larger = realloc(names->names, capacity * sizeof(*larger));

	if (larger == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	memset(larger + names->capacity, 0, (capacity - names->capacity) * sizeof(*larger));
	names->names = larger;
	names->capacity = capacity;
	names->count = names->count == 0 ? 1 : names->count;
	return 0;
}

static int grow_buckets(struct member_names *names)
{
	uint32_t count = names->bucket_count == 0 ? BUCKETS_MIN : names->bucket_count * 2;
	uint32_t *buckets = calloc(count, sizeof(*buckets));

	if (buckets == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (uint32_t i = 1; i < names->count; i++) {
		struct member_name *name = &names->names[i];
		if (name->references > 0) {
			name->following = buckets[name->hash & (count - 1)];
			buckets[name->hash & (count - 1)] = i;
		}
	}
	free(names->buckets);
	names->buckets = buckets;
	names->bucket_count = count;
	return 0;
}

static uint32_t find_hashed(const struct member_names *names, struct bytes text, uint64_t hash)
{
	uint32_t i =
		names->bucket_count == 0 ? 0 : names->buckets[hash & (names->bucket_count - 1)];

	while (i != 0 &&
		(names->names[i].hash != hash || !bytes_equal(member_names_text(names, i), text))) {
		i = names->names[i].following;
	}
	return i;
}

uint32_t member_names_find(const struct member_names *names, struct bytes name)
{
	return find_hashed(names, name, hash_table64(name));
}

int member_names_get(struct member_names *names, struct bytes text, uint32_t *ret)
{
	uint64_t hash = hash_table64(text);
	uint32_t i = find_hashed(names, text, hash);
	struct member_name *name;
	uint8_t *copy;

	if (i != 0) {
		names->names[i].references++;
		*ret = i;
		return 0;
	}
	if (names->used * 2 >= names->bucket_count && grow_buckets(names) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	if (names->free == 0 && names->count >= names->capacity && grow_names(names) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	copy = malloc(text.size + 1);
	if (copy == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	if (text.size > 0) {
		memcpy(copy, text.data, text.size);
	}
	if (names->free != 0) {
		i = names->free;
		names->free = names->names[i].following;
	} else {
		i = names->count++;
	}
	name = &names->names[i];
	*name = (struct member_name){.text = copy,
		.size = (uint32_t)text.size,
		.references = 1,
		.hash = hash,
		.following = names->buckets[hash & (names->bucket_count - 1)]};
	names->buckets[hash & (names->bucket_count - 1)] = i;
	names->used++;
	*ret = i;
	return 0;
}

void member_names_ref(struct member_names *names, uint32_t member)
{
	assert(member > 0 && member < names->count && names->names[member].references > 0);
	names->names[member].references++;
}

void member_names_unref(struct member_names *names, uint32_t member)
{
	struct member_name *name;
	uint32_t *at;

	if (member == 0) {
		return;
	}
	assert(member < names->count && names->names[member].references > 0);
	name = &names->names[member];
	if (--name->references > 0) {
		return;
	}
	at = &names->buckets[name->hash & (names->bucket_count - 1)];
	while (*at != member) {
		at = &names->names[*at].following;
	}
	*at = name->following;
	free(name->text);
	name->text = NULL;
	name->size = 0;
	name->following = names->free;
	names->free = member;
	names->used--;
}

void member_names_hold(struct member_names *names, uint32_t member)
{
	assert(member > 0 && member < names->count && names->names[member].references > 0);
	names->names[member].held++;
}

void member_names_let_go(struct member_names *names, uint32_t member)
{
	assert(member > 0 && member < names->count && names->names[member].held > 0);
	names->names[member].held--;
	names->let_go = true;
}

uint32_t member_names_held(const struct member_names *names, uint32_t member)
{
	return member == 0 || member >= names->count ? 0 : names->names[member].held;
}

struct bytes member_names_text(const struct member_names *names, uint32_t member)
{
	return member == 0 || member >= names->count
		       ? bytes_of(NULL, 0)
		       : bytes_of(names->names[member].text, names->names[member].size);
}
