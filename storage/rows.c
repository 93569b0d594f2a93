#include "rows.h"

#include <stdlib.h>

int row_get(struct shard *shard, struct bytes key, struct buf *ret_value, struct error *err)
{
	const struct overlay_row *row;
	struct snapshot *snapshot;
	struct bytes value;
	int found = -1, status = 0;

	(void)pthread_mutex_lock(&shard->tail.mutex);
	row = overlay_get(&shard->overlay, TABLE_ROWS, key);
	if (row != NULL) {
		found = row->deleted ? 0 : 1;
		status = found ? buf_add(ret_value, row->value, row->value_size) : 0;
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	if (found < 0) {
		status = env_snapshot_begin(&shard->env, &snapshot, err);
		if (status != 0) {
			return status;
		}
		found = table_get(&shard->env, snapshot->txn, TABLE_ROWS, key, &value, err);
		if (found == 1) {
			status = buf_add(ret_value, value.data, value.size);
		}
		env_snapshot_end(&shard->env, snapshot);
	}
	return status != 0 ? error_fail(err, status, "no memory for a row") : found;
}

/* Rows gathered from both places; key and value lie behind each other in `bytes`. */
struct found_row {
	size_t key_at, key_size, value_size;
	bool deleted;
};
struct found {
	struct buf bytes;
	struct found_row *rows;
	size_t count, capacity;
};

static struct bytes found_key(const struct found *found, const struct found_row *row)
{
	return bytes_of(found->bytes.data + row->key_at, row->key_size);
}

static int found_add(struct found *found, struct bytes key, struct bytes value, bool deleted)
{
	struct found_row *row;
	int status;

	if (found->count == found->capacity) {
		size_t capacity = found->capacity == 0 ? 64 : found->capacity * 2;
		struct found_row *larger = realloc(found->rows, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		found->rows = larger;
		found->capacity = capacity;
	}
	row = &found->rows[found->count];
	*row = (struct found_row){found->bytes.size, key.size, value.size, deleted};
	status = buf_add(&found->bytes, key.data, key.size);
	status = status != 0 ? status : buf_add(&found->bytes, value.data, value.size);
	found->count += status == 0 ? 1 : 0;
	return status;
}

static int bytes_compare(struct bytes a, struct bytes b)
{
	size_t size = a.size < b.size ? a.size : b.size;
	int order = size > 0 ? memcmp(a.data, b.data, size) : 0;

	return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_found(const void *a, const void *b, void *arg)
{
	return bytes_compare(found_key(arg, a), found_key(arg, b));
}

static bool is_wanted(struct bytes key, struct bytes prefix, struct bytes from)
{
	return key.size >= prefix.size && memcmp(key.data, prefix.data, prefix.size) == 0 &&
	       bytes_compare(key, from) >= 0;
}

/* The first `capacity` of the rows in the order of their keys: a heap, the last one on top. */
struct first_rows {
	const struct overlay_row **rows;
	size_t count, capacity;
};

static void swap_rows(struct first_rows *first, size_t a, size_t b)
{
	const struct overlay_row *row = first->rows[a];

	first->rows[a] = first->rows[b];
	first->rows[b] = row;
}

static bool is_later(const struct first_rows *first, size_t a, size_t b)
{
	return bytes_compare(first->rows[a]->key, first->rows[b]->key) > 0;
}

static void first_rows_sink(struct first_rows *first)
{
	size_t at = 0;

	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= first->count) {
			break;
		}
		child += child + 1 < first->count && is_later(first, child + 1, child) ? 1 : 0;
		if (!is_later(first, child, at)) {
			break;
		}
		swap_rows(first, child, at);
		at = child;
	}
}

static void first_rows_add(struct first_rows *first, const struct overlay_row *row)
{
	size_t at = first->count;

	if (at == first->capacity) {
		if (bytes_compare(row->key, first->rows[0]->key) < 0) {
			first->rows[0] = row;
			first_rows_sink(first);
		}
		return;
	}
	first->rows[first->count++] = row;
	while (at > 0 && is_later(first, at, (at - 1) / 2)) {
		swap_rows(first, at, (at - 1) / 2);
		at = (at - 1) / 2;
	}
}

/* Those that are deleted, and of the others count_max: a walk meets no more of them. */
static int find_in_overlay(struct shard *shard, struct bytes prefix, struct bytes from,
	size_t count_max, struct found *found)
{
	struct first_rows first = {.capacity = count_max};
	struct list_node *node;
	int status = 0;

	if (count_max > 0) {
		first.rows = malloc(count_max * sizeof(struct overlay_row *));
		if (first.rows == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
	}
	(void)pthread_mutex_lock(&shard->tail.mutex);
	LIST_FOR_EACH (node, &shard->overlay.rows) {
		const struct overlay_row *row = LIST_ENTRY(node, struct overlay_row, node);
		if (status != 0 || row->table != TABLE_ROWS || !is_wanted(row->key, prefix, from)) {
			continue;
		}
		if (first.rows != NULL && !row->deleted) {
			first_rows_add(&first, row);
			continue;
		}
		status = found_add(
			found, row->key, bytes_of(row->value, row->value_size), row->deleted);
	}
	for (size_t i = 0; i < first.count && status == 0; i++) {
		const struct overlay_row *row = first.rows[i];
		status = found_add(found, row->key, bytes_of(row->value, row->value_size), false);
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	free(first.rows);
	if (found->count > 1) {
		qsort_r(found->rows, found->count, sizeof(*found->rows), compare_found, found);
	}
	return status;
}

/* A walk through LMDB that meets the overlay's rows on its way, both in key order. */
struct scan {
	const struct found *found;
	size_t next; /* in found */
	size_t left;
	int (*fn)(void *arg, struct bytes key, struct bytes value);
	void *arg;
	struct found *out;
};

static int scan_take(struct scan *scan, struct bytes key, struct bytes value)
{
	int status = scan->left == 0 ? 1 : found_add(scan->out, key, value, false);

	scan->left -= status == 0 ? 1 : 0;
	return status;
}

/* The overlay's rows below `key` (all if key.data is NULL); sets *ret_shadowed when it has the key
 * itself. */
static int scan_overlay_up_to(struct scan *scan, struct bytes key, bool *ret_shadowed)
{
	int status = 0;

	*ret_shadowed = false;
	while (status == 0 && scan->next < scan->found->count) {
		const struct found_row *row = &scan->found->rows[scan->next];
		struct bytes own = found_key(scan->found, row);
		int order = key.data == NULL ? -1 : bytes_compare(own, key);
		if (order > 0) {
			break;
		}
		*ret_shadowed = order == 0;
		if (!row->deleted) {
			status = scan_take(
				scan, own, bytes_of(own.data + own.size, row->value_size));
		}
		scan->next++;
	}
	return status;
}

static int scan_lmdb(struct shard *shard, struct scan *scan, struct bytes prefix, struct bytes from,
	struct error *err)
{
	struct snapshot *snapshot;
	MDB_cursor *cursor;
	MDB_val key, value;
	uint8_t start[ROW_KEY_BYTES_MAX];
	bool shadowed;
	int code = MDB_NOTFOUND, status = env_snapshot_begin(&shard->env, &snapshot, err);

	if (status != 0) {
		return status;
	}
	status = env_snapshot_cursor(&shard->env, snapshot, TABLE_ROWS, &cursor, err);
	if (status == 0) {
		memcpy(start, from.data, from.size);
		key = (MDB_val){from.size, start};
		code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	}
	while (status == 0 && code == 0) {
		struct bytes own = bytes_of(key.mv_data, key.mv_size);
		if (!is_wanted(own, prefix, from)) {
			break;
		}
		status = scan_overlay_up_to(scan, own, &shadowed);
		if (status == 0 && !shadowed) {
			status = scan_take(scan, own, bytes_of(value.mv_data, value.mv_size));
		}
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	env_snapshot_end(&shard->env, snapshot);
	if (status == 0 && code != 0 && code != MDB_NOTFOUND) {
		return env_error(code, err, "cannot read rows");
	}
	if (status == 0) {
		status = scan_overlay_up_to(scan, bytes_of(NULL, 0), &shadowed);
	}
	return status < 0 ? error_fail(err, status, "no memory to list rows") : 0;
}

int row_scan(struct shard *shard, struct bytes prefix, struct bytes from, size_t count_max,
	int (*fn)(void *arg, struct bytes key, struct bytes value), void *arg, struct error *err)
{
	struct found changed = {0}, all = {0};
	struct scan scan = {.found = &changed,
		.left = count_max == 0 ? SIZE_MAX : count_max,
		.fn = fn,
		.arg = arg,
		.out = &all};
	int status;

	from = from.size == 0 ? prefix : from;
	if (prefix.size == 0 || prefix.size > ROW_KEY_BYTES_MAX || from.size > ROW_KEY_BYTES_MAX) {
		return error_fail(err, ANNALS_E_INVALID, "a row's prefix has 1 to %u bytes",
			ROW_KEY_BYTES_MAX);
	}
	status = find_in_overlay(shard, prefix, from, count_max, &changed);
	if (status != 0) {
		(void)error_fail(err, status, "no memory to list rows");
	} else {
		status = scan_lmdb(shard, &scan, prefix, from, err);
	}
	for (size_t i = 0; i < all.count && status == 0; i++) {
		struct bytes key = found_key(&all, &all.rows[i]);
		status = fn(arg, key, bytes_of(key.data + key.size, all.rows[i].value_size));
	}
	buf_release(&changed.bytes);
	buf_release(&all.bytes);
	free(changed.rows);
	free(all.rows);
	return status;
}

int row_changes_check(const struct row_change *changes, size_t count, struct error *err)
{
	if (count > ROWS_PER_REQUEST_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"a request changes %zu rows: the limit is %u", count, ROWS_PER_REQUEST_MAX);
	}
	for (size_t i = 0; i < count; i++) {
		if (changes[i].key.size == 0 || changes[i].key.size > ROW_KEY_BYTES_MAX) {
			return error_fail(err, ANNALS_E_INVALID,
				"a row's key has %zu bytes: 1 to %u are allowed",
				changes[i].key.size, ROW_KEY_BYTES_MAX);
		}
		if (!changes[i].keep && changes[i].value.data != NULL &&
			changes[i].value.size > ROW_VALUE_BYTES_MAX) {
			return error_fail(err, ANNALS_E_TOO_LARGE,
				"a row has %zu bytes: the limit is %u", changes[i].value.size,
				ROW_VALUE_BYTES_MAX);
		}
	}
	return 0;
}

int row_changes_expected(struct shard *shard, const struct row_change *changes, size_t count,
	size_t *ret_index, struct error *err)
{
	struct buf value = BUF_INIT;
	int status = 0;

	for (size_t i = 0; i < count && status == 0; i++) {
		bool holds;
		int found;
		if (changes[i].expect == ROW_EXPECT_ANYTHING) {
			continue;
		}
		buf_reset(&value);
		found = row_get(shard, changes[i].key, &value, err);
		if (found < 0) {
			status = found;
			break;
		}
		holds = changes[i].expect == ROW_EXPECT_ABSENT
				? found == 0
				: found == 1 &&
					  bytes_equal(buf_bytes(&value), changes[i].expected_value);
		if (!holds) {
			*ret_index = i;
			status = error_fail(err, ANNALS_E_CONFLICT,
				"row %zu of the request is not as it was expected", i);
		}
	}
	buf_release(&value);
	return status;
}

size_t row_changes_size(const struct row_change *changes, size_t count)
{
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++) {
		bytes += changes[i].keep ? 0 : row_change_size(changes[i].key, changes[i].value);
	}
	return bytes;
}

void row_changes_write(uint8_t *out, const struct row_change *changes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!changes[i].keep) {
			out = row_change_write(out, changes[i].key, changes[i].value);
		}
	}
}
