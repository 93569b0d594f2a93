#include "overlay.h"

#include <annals/hash.h>
#include <annals/status.h>
#include <stdlib.h>

#define BUCKETS_MIN 256

int overlay_init(struct overlay *overlay)
{
	memset(overlay, 0, sizeof(*overlay));
	list_init(&overlay->rows);
	overlay->bucket_count = BUCKETS_MIN;
	overlay->buckets = calloc(overlay->bucket_count, sizeof(struct overlay_row *));
	return overlay->buckets != NULL ? 0 : ANNALS_E_NO_MEMORY;
}

static void row_free(struct overlay_row *row)
{
	free(row->value);
	free(row);
}

void overlay_release(struct overlay *overlay)
{
	struct list_node *node;

	while ((node = list_pop(&overlay->rows)) != NULL) {
		row_free(LIST_ENTRY(node, struct overlay_row, node));
	}
	free(overlay->buckets);
	overlay->buckets = NULL;
}

static uint64_t hash_of(enum table table, struct bytes key)
{
	return hash_table64(key) + (uint64_t)table * 0x9e3779b97f4a7c15u;
}

static struct overlay_row *find(
	const struct overlay *overlay, enum table table, struct bytes key, uint64_t hash)
{
	struct overlay_row *row = overlay->buckets[hash & (overlay->bucket_count - 1)];

	while (row != NULL &&
		(row->hash != hash || row->table != table || !bytes_equal(row->key, key))) {
		row = row->next;
	}
	return row;
}

const struct overlay_row *overlay_get(
	const struct overlay *overlay, enum table table, struct bytes key)
{
	return find(overlay, table, key, hash_of(table, key));
}

/* Without memory the chains just get longer. */
static void grow(struct overlay *overlay)
{
	size_t bucket_count = overlay->bucket_count * 2;
	struct overlay_row **buckets = calloc(bucket_count, sizeof(struct overlay_row *));
	struct list_node *node;

	if (buckets == NULL) {
		return;
	}
	LIST_FOR_EACH (node, &overlay->rows) {
		struct overlay_row *row = LIST_ENTRY(node, struct overlay_row, node);
		struct overlay_row **bucket = &buckets[row->hash & (bucket_count - 1)];
		row->next = *bucket;
		*bucket = row;
	}
	free(overlay->buckets);
	overlay->buckets = buckets;
	overlay->bucket_count = bucket_count;
}

static struct overlay_row *add(
	struct overlay *overlay, enum table table, struct bytes key, uint64_t hash)
{
	struct overlay_row *row = calloc(1, sizeof(*row) + key.size);
	struct overlay_row **bucket;
	uint8_t *copy;

	if (row == NULL) {
		return NULL;
	}
	if (overlay->count >= overlay->bucket_count) {
		grow(overlay);
	}
	copy = (uint8_t *)(row + 1);
	memcpy(copy, key.data, key.size);
	row->key = bytes_of(copy, key.size);
	row->hash = hash;
	row->table = table;
	bucket = &overlay->buckets[hash & (overlay->bucket_count - 1)];
	row->next = *bucket;
	*bucket = row;
	list_add_tail(&overlay->rows, &row->node);
	overlay->count++;
	overlay->bytes += sizeof(*row) + key.size;
	return row;
}

int overlay_put(struct overlay *overlay, enum table table, struct bytes key, struct bytes value,
	uint64_t block)
{
	uint64_t hash = hash_of(table, key);
	struct overlay_row *row = find(overlay, table, key, hash);
	uint8_t *copy = NULL;

	if (value.data != NULL) {
		copy = malloc(value.size + 1);
		if (copy == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		memcpy(copy, value.data, value.size);
	}
	if (row == NULL) {
		row = add(overlay, table, key, hash);
		if (row == NULL) {
			free(copy);
			return ANNALS_E_NO_MEMORY;
		}
	}
	overlay->bytes += value.size;
	overlay->bytes -= row->value_size;
	free(row->value);
	row->value = copy;
	row->value_size = value.data != NULL ? value.size : 0;
	row->deleted = value.data == NULL;
	row->block = block;
	return 0;
}

bool overlay_has(const struct overlay *overlay, enum table table)
{
	struct list_node *node;

	LIST_FOR_EACH (node, &overlay->rows) {
		if (LIST_ENTRY(node, struct overlay_row, node)->table == table) {
			return true;
		}
	}
	return false;
}

void overlay_settled(struct overlay *overlay, uint64_t block)
{
	struct list_node *node, *following;

	LIST_FOR_EACH_SAFE (node, following, &overlay->rows) {
		struct overlay_row *row = LIST_ENTRY(node, struct overlay_row, node);
		struct overlay_row **link;
		if (row->block > block) {
			continue;
		}
		link = &overlay->buckets[row->hash & (overlay->bucket_count - 1)];
		while (*link != row) {
			link = &(*link)->next;
		}
		*link = row->next;
		list_remove(node);
		overlay->count--;
		overlay->bytes -= sizeof(*row) + row->key.size + row->value_size;
		row_free(row);
	}
}
