/* How a pool is made. Private to schemas/descriptor. */
#ifndef SCHEMAS_DESCRIPTOR_POOL_H
#define SCHEMAS_DESCRIPTOR_POOL_H

#include <annals/descriptor.h>
#include <stdatomic.h>

/* What a pool may hold in all; the limits of single things keep ordinary schemas far below. */
#define POOL_MEMORY_BYTES_MAX (192u * 1024 * 1024)

/* Memory that goes away all at once; always aligned to 8 and zeroed. */
struct arena {
	struct arena_chunk *chunks;
	size_t used;    /* of the first chunk */
	size_t total;   /* all chunks */
	bool exhausted; /* an allocation failed for POOL_MEMORY_BYTES_MAX */
};
/* NULL without memory or beyond the limit. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);
/* A NUL-terminated copy; NULL as above. */
char *arena_text(struct arena *arena, struct bytes text);
void arena_release(struct arena *arena);

enum symbol_kind {
	SYMBOL_FILE,
	SYMBOL_PACKAGE,
	SYMBOL_MESSAGE,
	SYMBOL_ENUM,
	SYMBOL_FIELD,
	SYMBOL_ONEOF,
	SYMBOL_ENUM_VALUE,
	SYMBOL_EXTENSION,
	SYMBOL_EXTENSION_NUMBER,
	SYMBOL_SERVICE,
	SYMBOL_METHOD
};

struct symbol {
	uint64_t hash;
	struct bytes name; /* size 0: a free slot */
	enum symbol_kind kind;
	const void *object; /* struct descriptor_message or descriptor_enum; else NULL */
	const struct descriptor_file *file;
};

/* Open addressing, at most half full. */
struct symbols {
	struct symbol *slots;
	size_t slot_count, count;
};
const struct symbol *symbols_find(const struct symbols *symbols, struct bytes name);
/* The name must not be there. 0 or ANNALS_E_NO_MEMORY. */
int symbols_add(struct symbols *symbols, const struct symbol *symbol) ANNALS_MUST_CHECK;
void symbols_release(struct symbols *symbols);

struct descriptor_pool {
	atomic_uint references;
	struct descriptor_pool *base;
	struct arena arena;
	struct symbols names; /* of types and all else that has a full name */
	struct symbols file_names;
	struct descriptor_file **files;
	size_t file_count;
	size_t files_below; /* of base and its bases */
};

/* In the pool, then in its base; what a file of the pool has replaced is not seen. */
const struct symbol *pool_find(const struct descriptor_pool *pool, struct bytes full_name);

/* FileDescriptorSet, generated while building. */
extern const uint8_t descriptor_builtin_set[];
extern const size_t descriptor_builtin_set_bytes;

#endif
