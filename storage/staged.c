#include "staged.h"

#include <annals/hash.h>
#include <stdlib.h>

#define SLOTS_MIN 256u
/* What is larger is given back when it is emptied. */
#define SLOTS_KEPT 16384u

void staged_keys_release(struct staged_keys *staged)
{
	free(staged->slots);
	*staged = (struct staged_keys){0};
}

void staged_keys_reset(struct staged_keys *staged)
{
	if (staged->capacity > SLOTS_KEPT) {
		staged_keys_release(staged);
	} else if (staged->count > 0) {
		memset(staged->slots, 0, staged->capacity * sizeof(*staged->slots));
		staged->count = 0;
	}
}

static uint64_t *key_slot(const struct staged_keys *staged, uint64_t hash)
{
	size_t at = hash & (staged->capacity - 1);

	while (staged->slots[at] != 0 && staged->slots[at] != hash) {
		at = (at + 1) & (staged->capacity - 1);
	}
	return &staged->slots[at];
}

int staged_hash_add(struct staged_keys *staged, uint64_t hash)
{
	uint64_t *slot;

	if ((staged->count + 1) * 2 > staged->capacity) {
		struct staged_keys larger = {
			.capacity = staged->capacity == 0 ? SLOTS_MIN : staged->capacity * 2};
		larger.slots = calloc(larger.capacity, sizeof(*larger.slots));
		if (larger.slots == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		for (size_t i = 0; i < staged->capacity; i++) {
			if (staged->slots[i] != 0) {
				*key_slot(&larger, staged->slots[i]) = staged->slots[i];
			}
		}
		larger.count = staged->count;
		free(staged->slots);
		*staged = larger;
	}
	slot = key_slot(staged, hash);
	staged->count += *slot == 0 ? 1 : 0;
	*slot = hash;
	return 0;
}

bool staged_hash_have(const struct staged_keys *staged, uint64_t hash)
{
	return staged->count > 0 && *key_slot(staged, hash) != 0;
}

int staged_keys_add(struct staged_keys *staged, struct bytes key)
{
	return staged_hash_add(staged, hash_table64(key) | 1);
}

bool staged_keys_have(const struct staged_keys *staged, struct bytes key)
{
	return staged->count > 0 && staged_hash_have(staged, hash_table64(key) | 1);
}

void staged_values_release(struct staged_values *staged)
{
	buf_release(&staged->bytes);
	free(staged->slots);
	*staged = (struct staged_values){0};
}

void staged_values_reset(struct staged_values *staged)
{
	if (staged->capacity > SLOTS_KEPT) {
		staged_values_release(staged);
	} else if (staged->count > 0) {
		memset(staged->slots, 0, staged->capacity * sizeof(*staged->slots));
		buf_reset(&staged->bytes);
		staged->count = 0;
	}
}

static struct staged_value *value_slot(
	const struct staged_values *staged, uint64_t hash, struct bytes key)
{
	size_t at = hash & (staged->capacity - 1);

	for (;; at = (at + 1) & (staged->capacity - 1)) {
		struct staged_value *slot = &staged->slots[at];
		if (slot->hash == 0 ||
			(slot->hash == hash &&
				bytes_equal(
					bytes_of(staged->bytes.data + slot->key_at, slot->key_size),
					key))) {
			return slot;
		}
	}
}

static int grow_values(struct staged_values *staged)
{
	struct staged_values larger = *staged;

	larger.capacity = staged->capacity == 0 ? SLOTS_MIN : staged->capacity * 2;
	larger.slots = calloc(larger.capacity, sizeof(*larger.slots));
	if (larger.slots == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < staged->capacity; i++) {
		const struct staged_value *old = &staged->slots[i];
		if (old->hash != 0) {
			*value_slot(&larger, old->hash,
				bytes_of(staged->bytes.data + old->key_at, old->key_size)) = *old;
		}
	}
	free(staged->slots);
	*staged = larger;
	return 0;
}

int staged_values_put(struct staged_values *staged, struct bytes key, struct bytes value)
{
	uint64_t hash = hash_table64(key) | 1;
	struct staged_value *slot;
	int status = 0;

	if ((staged->count + 1) * 2 > staged->capacity) {
		status = grow_values(staged);
	}
	status = status != 0 ? status : buf_reserve(&staged->bytes, key.size + value.size);
	if (status != 0) {
		return status;
	}
	slot = value_slot(staged, hash, key);
	if (slot->hash == 0) {
		slot->key_at = staged->bytes.size;
		slot->key_size = (uint32_t)key.size;
		memcpy(staged->bytes.data + staged->bytes.size, key.data, key.size);
		staged->bytes.size += key.size;
		slot->hash = hash;
		staged->count++;
	}
	slot->value_at = staged->bytes.size;
	slot->value_size = (uint32_t)value.size;
	return buf_add(&staged->bytes, value.data, value.size);
}

const struct bytes *staged_values_get(struct staged_values *staged, struct bytes key)
{
	const struct staged_value *slot;

	if (staged->count == 0) {
		return NULL;
	}
	slot = value_slot(staged, hash_table64(key) | 1, key);
	if (slot->hash == 0) {
		return NULL;
	}
	staged->found = bytes_of(staged->bytes.data + slot->value_at, slot->value_size);
	return &staged->found;
}
