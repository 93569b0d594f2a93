/* Consumer groups' offsets: rows, changed ones in the overlay, the rest in LMDB. */
#include "shard.h"

#include <annals/hash.h>
#include <stdlib.h>

/* Rows gathered from both places. The overlay is asked first: what it gives up meanwhile is in the
 * snapshot taken afterwards. */
struct gathered {
	uint8_t key[OFFSET_KEY_BYTES_MAX];
	size_t key_size;
	bool deleted;
	uint8_t *value;
	size_t value_size;
};

struct gathering {
	struct gathered *rows;
	size_t count, capacity;
	size_t from_overlay; /* the first so many, sorted */
};

static void gathering_release(struct gathering *gathering)
{
	for (size_t i = 0; i < gathering->count; i++) {
		free(gathering->rows[i].value);
	}
	free(gathering->rows);
}

static int gather(struct gathering *gathering, struct bytes key, struct bytes value, bool deleted)
{
	struct gathered *row;

	if (gathering->count == gathering->capacity) {
		size_t capacity = gathering->capacity == 0 ? 64 : gathering->capacity * 2;
		struct gathered *larger = realloc(gathering->rows, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		gathering->rows = larger;
		gathering->capacity = capacity;
	}
	row = &gathering->rows[gathering->count];
	memset(row, 0, sizeof(*row));
	row->value = malloc(value.size + 1);
	if (row->value == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	if (value.size > 0) {
		memcpy(row->value, value.data, value.size);
	}
	memcpy(row->key, key.data, key.size);
	row->key_size = key.size;
	row->value_size = value.size;
	row->deleted = deleted;
	gathering->count++;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct gathered *left = a, *right = b;
	size_t size = left->key_size < right->key_size ? left->key_size : right->key_size;
	int order = memcmp(left->key, right->key, size);

	return order != 0 ? order
			  : (left->key_size > right->key_size) - (left->key_size < right->key_size);
}

static bool is_of_group(struct bytes key, struct bytes group)
{
	struct bytes name;
	uint32_t topic_id, partition;

	return offset_key_parse(key, &name, &topic_id, &partition) &&
	       (group.data == NULL || bytes_equal(name, group));
}

static int gather_overlay(struct shard *shard, struct bytes group, struct gathering *gathering)
{
	struct list_node *node;
	int status = 0;

	(void)pthread_mutex_lock(&shard->tail.mutex);
	LIST_FOR_EACH (node, &shard->overlay.rows) {
		const struct overlay_row *row = LIST_ENTRY(node, struct overlay_row, node);
		if (status == 0 && row->table == TABLE_OFFSETS && is_of_group(row->key, group)) {
			status = gather(gathering, row->key, bytes_of(row->value, row->value_size),
				row->deleted);
		}
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	if (gathering->count > 1) {
		qsort(gathering->rows, gathering->count, sizeof(*gathering->rows), compare);
	}
	gathering->from_overlay = gathering->count;
	return status;
}

static bool in_overlay(const struct gathering *gathering, struct bytes key)
{
	struct gathered wanted = {.key_size = key.size};

	if (gathering->from_overlay == 0) {
		return false;
	}
	memcpy(wanted.key, key.data, key.size);
	return bsearch(&wanted, gathering->rows, gathering->from_overlay, sizeof(wanted),
		       compare) != NULL;
}

static int gather_lmdb(
	struct shard *shard, struct bytes group, struct gathering *gathering, struct error *err)
{
	struct snapshot *snapshot;
	MDB_cursor *cursor;
	uint8_t start[OFFSET_KEY_BYTES_MAX];
	MDB_val key = {0}, value;
	int code, status = env_snapshot_begin(&shard->env, &snapshot, err);

	if (status != 0) {
		return status;
	}
	status = env_snapshot_cursor(&shard->env, snapshot, TABLE_OFFSETS, &cursor, err);
	if (status == 0 && group.data != NULL) {
		key = (MDB_val){offset_key(start, group, 0, 0), start};
		code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	} else {
		code = status == 0 ? mdb_cursor_get(cursor, &key, &value, MDB_FIRST) : 0;
	}
	while (status == 0 && code == 0) {
		struct bytes found = bytes_of(key.mv_data, key.mv_size);
		if (!is_of_group(found, group)) {
			break;
		}
		if (!in_overlay(gathering, found)) {
			status = gather(
				gathering, found, bytes_of(value.mv_data, value.mv_size), false);
		}
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	env_snapshot_end(&shard->env, snapshot);
	if (status == 0 && code != 0 && code != MDB_NOTFOUND) {
		status = env_error(code, err, "cannot read offsets");
	}
	return status;
}

/* All rows of a group (of every group if group.data is NULL), sorted by key. */
static int gather_all(
	struct shard *shard, struct bytes group, struct gathering *gathering, struct error *err)
{
	int status = gather_overlay(shard, group, gathering);

	if (status == 0) {
		status = gather_lmdb(shard, group, gathering, err);
	}
	if (status == ANNALS_E_NO_MEMORY) {
		(void)error_fail(err, status, "no memory to list offsets");
	}
	if (status == 0 && gathering->count > 1) {
		qsort(gathering->rows, gathering->count, sizeof(*gathering->rows), compare);
	}
	return status;
}

static bool topic_lives(struct shard *shard, uint32_t topic_id)
{
	struct topic_state *state = catalog_find_id(&shard->catalog, topic_id);

	topic_state_unref(state);
	return state != NULL;
}

int group_offset_list(struct shard *shard, struct bytes group,
	int (*fn)(void *arg, const struct offset_entry *entry), void *arg, struct error *err)
{
	struct gathering gathering = {0};
	struct buf metadata = BUF_INIT;
	int status = gather_all(shard, group, &gathering, err);

	for (size_t i = 0; i < gathering.count && status == 0; i++) {
		const struct gathered *row = &gathering.rows[i];
		struct offset_entry entry;
		if (row->deleted) {
			continue;
		}
		status = offset_decode(bytes_of(row->value, row->value_size), &entry, &metadata);
		if (status != 0) {
			(void)error_fail(err, status,
				"a stored offset of group '%.*s' cannot be read", (int)group.size,
				(const char *)group.data);
		} else if (topic_lives(shard, entry.topic_id)) {
			status = fn(arg, &entry);
		}
	}
	buf_release(&metadata);
	gathering_release(&gathering);
	return status;
}

int group_list(
	struct shard *shard, int (*fn)(void *arg, struct bytes group), void *arg, struct error *err)
{
	struct gathering gathering = {0};
	struct bytes name, last = {0};
	uint32_t topic_id, partition;
	int status = gather_all(shard, bytes_of(NULL, 0), &gathering, err);

	for (size_t i = 0; i < gathering.count && status == 0; i++) {
		const struct gathered *row = &gathering.rows[i];
		if (row->deleted ||
			!offset_key_parse(
				bytes_of(row->key, row->key_size), &name, &topic_id, &partition) ||
			(last.data != NULL && bytes_equal(name, last)) ||
			!topic_lives(shard, topic_id)) {
			continue;
		}
		last = name;
		status = fn(arg, name);
	}
	gathering_release(&gathering);
	return status;
}

int group_offset_get(struct shard *shard, struct bytes group, uint32_t topic_id, uint32_t partition,
	struct offset_entry *ret, struct buf *ret_metadata, struct error *err)
{
	uint8_t bytes[OFFSET_KEY_BYTES_MAX];
	struct bytes key, value;
	const struct overlay_row *row;
	struct snapshot *snapshot;
	int found = -1, status = 0;

	if (group.size == 0 || group.size > GROUP_NAME_MAX) {
		return error_fail(err, ANNALS_E_INVALID, "a group's name has 1 to %d characters",
			GROUP_NAME_MAX);
	}
	key = bytes_of(bytes, offset_key(bytes, group, topic_id, partition));
	(void)pthread_mutex_lock(&shard->tail.mutex);
	row = overlay_get(&shard->overlay, TABLE_OFFSETS, key);
	if (row != NULL) {
		found = row->deleted ? 0 : 1;
		status = found ? offset_decode(
					 bytes_of(row->value, row->value_size), ret, ret_metadata)
			       : 0;
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	if (found >= 0) {
		return status != 0 ? error_fail(err, status, "a stored offset cannot be read")
				   : found;
	}
	status = env_snapshot_begin(&shard->env, &snapshot, err);
	if (status != 0) {
		return status;
	}
	found = table_get(&shard->env, snapshot->txn, TABLE_OFFSETS, key, &value, err);
	if (found == 1) {
		status = offset_decode(value, ret, ret_metadata);
	}
	env_snapshot_end(&shard->env, snapshot);
	return status != 0 ? error_fail(err, status, "a stored offset cannot be read") : found;
}
