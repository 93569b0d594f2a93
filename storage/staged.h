/*
 * What the draft changes before it is durable: sets and small maps that are emptied with it. Asked
 * whether an answer would depend on the draft; if so it is committed first. One thread.
 */
#ifndef ANNALS_STORAGE_STAGED_H
#define ANNALS_STORAGE_STAGED_H

#include <annals/buf.h>
#include <annals/error.h>
#include <stdbool.h>

/* A set of hashes: may say true for what is not there, never false for what is. Zeroed = empty. */
struct staged_keys {
	uint64_t *slots; /* open addressing; 0 = empty */
	size_t capacity, count;
};
void staged_keys_reset(struct staged_keys *staged);
void staged_keys_release(struct staged_keys *staged);
int staged_keys_add(struct staged_keys *staged, struct bytes key) ANNALS_MUST_CHECK;
bool staged_keys_have(const struct staged_keys *staged, struct bytes key);
/* The same with a hash of the caller's, not 0. */
int staged_hash_add(struct staged_keys *staged, uint64_t hash) ANNALS_MUST_CHECK;
bool staged_hash_have(const struct staged_keys *staged, uint64_t hash);

/* Keys with values; exact. Zeroed = empty. */
struct staged_value {
	size_t key_at;
	uint32_t key_size, value_size;
	size_t value_at;
	uint64_t hash;
};
struct staged_values {
	struct buf bytes;
	struct staged_value *slots; /* open addressing; hash 0 = empty */
	size_t capacity, count;
	struct bytes found; /* what the last get returned */
};
void staged_values_reset(struct staged_values *staged);
void staged_values_release(struct staged_values *staged);
/* Sets or replaces. ANNALS_E_NO_MEMORY. */
int staged_values_put(
	struct staged_values *staged, struct bytes key, struct bytes value) ANNALS_MUST_CHECK;
/* NULL if it is not there; valid until the next call. */
const struct bytes *staged_values_get(struct staged_values *staged, struct bytes key);

#endif
