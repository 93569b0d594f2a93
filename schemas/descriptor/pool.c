/* Memory, names and lifetime of pools. */
#include "pool.h"

#include <annals/hash.h>
#include <assert.h>
#include <stdlib.h>

#define CHUNK_BYTES 32768u

struct arena_chunk {
	struct arena_chunk *next;
	size_t size;
	uint64_t data[];
};

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes) || bytes > POOL_MEMORY_BYTES_MAX) {
		arena->exhausted = true;
		return NULL;
	}
	bytes = ANNALS_ROUND_UP(bytes + (bytes == 0), 8u);
	if (arena->chunks == NULL || arena->chunks->size - arena->used < bytes) {
		const size_t data = ANNALS_MAX(bytes, CHUNK_BYTES - sizeof(struct arena_chunk));
		if (arena->total + data > POOL_MEMORY_BYTES_MAX) {
			arena->exhausted = true;
			return NULL;
		}
		struct arena_chunk *chunk = calloc(1, sizeof(*chunk) + data);
		if (chunk == NULL) {
			return NULL;
		}
		chunk->size = data;
		chunk->next = arena->chunks;
		arena->chunks = chunk;
		arena->used = 0;
		arena->total += sizeof(*chunk) + data;
	}
	void *result = (uint8_t *)arena->chunks->data + arena->used;
	arena->used += bytes;
	return result;
}

char *arena_text(struct arena *arena, struct bytes text)
{
	char *copy = arena_alloc(arena, text.size + 1, 1);
	if (copy != NULL && text.size > 0) {
		memcpy(copy, text.data, text.size);
	}
	return copy;
}

void arena_release(struct arena *arena)
{
	struct arena_chunk *chunk = arena->chunks;
	while (chunk != NULL) {
		struct arena_chunk *next = chunk->next;
		free(chunk);
		chunk = next;
	}
	*arena = (struct arena){0};
}

static struct symbol *slot_of(const struct symbols *symbols, struct bytes name, uint64_t hash)
{
	size_t i = hash & (symbols->slot_count - 1);
	while (symbols->slots[i].name.size > 0 &&
		(symbols->slots[i].hash != hash || !bytes_equal(symbols->slots[i].name, name))) {
		i = (i + 1) & (symbols->slot_count - 1);
	}
	return &symbols->slots[i];
}

const struct symbol *symbols_find(const struct symbols *symbols, struct bytes name)
{
	if (symbols->count == 0 || name.size == 0) {
		return NULL;
	}
	const struct symbol *slot = slot_of(symbols, name, hash_table64(name));
	return slot->name.size == 0 ? NULL : slot;
}

static int grow(struct symbols *symbols)
{
	struct symbols bigger = {.slot_count = ANNALS_MAX(symbols->slot_count * 2, 64u)};
	bigger.slots = calloc(bigger.slot_count, sizeof(*bigger.slots));
	if (bigger.slots == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < symbols->slot_count; i++) {
		const struct symbol *old = &symbols->slots[i];
		if (old->name.size > 0) {
			*slot_of(&bigger, old->name, old->hash) = *old;
		}
	}
	bigger.count = symbols->count;
	free(symbols->slots);
	*symbols = bigger;
	return 0;
}

int symbols_add(struct symbols *symbols, const struct symbol *symbol)
{
	assert(symbol->name.size > 0);
	if (symbols->count * 2 >= symbols->slot_count && grow(symbols) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	const uint64_t hash = hash_table64(symbol->name);
	struct symbol *slot = slot_of(symbols, symbol->name, hash);
	assert(slot->name.size == 0);
	*slot = *symbol;
	slot->hash = hash;
	symbols->count++;
	return 0;
}

void symbols_release(struct symbols *symbols)
{
	free(symbols->slots);
	*symbols = (struct symbols){0};
}

const struct symbol *pool_find(const struct descriptor_pool *pool, struct bytes full_name)
{
	for (const struct descriptor_pool *at = pool; at != NULL; at = at->base) {
		const struct symbol *symbol = symbols_find(&at->names, full_name);
		if (symbol != NULL &&
			(at == pool || symbol->file == NULL ||
				descriptor_pool_find_file(pool, bytes_text(symbol->file->name)) ==
					symbol->file)) {
			return symbol;
		}
	}
	return NULL;
}

int descriptor_pool_builtin(struct descriptor_pool **ret_pool, struct error *err)
{
	return descriptor_pool_build(NULL,
		bytes_of(descriptor_builtin_set, descriptor_builtin_set_bytes), ret_pool, err);
}

struct descriptor_pool *descriptor_pool_ref(struct descriptor_pool *pool)
{
	atomic_fetch_add_explicit(&pool->references, 1, memory_order_relaxed);
	return pool;
}

void descriptor_pool_unref(struct descriptor_pool *pool)
{
	while (pool != NULL &&
		atomic_fetch_sub_explicit(&pool->references, 1, memory_order_acq_rel) == 1) {
		struct descriptor_pool *base = pool->base;
		symbols_release(&pool->names);
		symbols_release(&pool->file_names);
		arena_release(&pool->arena);
		free(pool);
		pool = base;
	}
}

size_t descriptor_pool_file_count(const struct descriptor_pool *pool)
{
	return pool->file_count;
}

const struct descriptor_file *descriptor_pool_file(const struct descriptor_pool *pool, size_t i)
{
	return i < pool->file_count ? pool->files[i] : NULL;
}

size_t descriptor_pool_memory_bytes(const struct descriptor_pool *pool)
{
	return sizeof(*pool) + pool->arena.total +
	       (pool->names.slot_count + pool->file_names.slot_count) * sizeof(struct symbol);
}

const struct descriptor_file *descriptor_pool_find_file(
	const struct descriptor_pool *pool, struct bytes name)
{
	for (; pool != NULL; pool = pool->base) {
		const struct symbol *symbol = symbols_find(&pool->file_names, name);
		if (symbol != NULL) {
			return symbol->file;
		}
	}
	return NULL;
}

const struct descriptor_message *descriptor_pool_find_message(
	const struct descriptor_pool *pool, struct bytes full_name)
{
	const struct symbol *symbol = pool_find(pool, full_name);
	return symbol != NULL && symbol->kind == SYMBOL_MESSAGE ? symbol->object : NULL;
}

const struct descriptor_enum *descriptor_pool_find_enum(
	const struct descriptor_pool *pool, struct bytes full_name)
{
	const struct symbol *symbol = pool_find(pool, full_name);
	return symbol != NULL && symbol->kind == SYMBOL_ENUM ? symbol->object : NULL;
}
