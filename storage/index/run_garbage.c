/* What manifest rows no longer name: expired runs, merged ones, runs that were never finished. */
#include "index/run_read.h"
#include "index/run_write.h"

#include <stdlib.h>

/* Values up to about half a page lie in leaves. */
static uint32_t pages_of(size_t value_bytes)
{
	return value_bytes < ENV_PAGE_BYTES / 2
		       ? 1
		       : (uint32_t)((value_bytes + 16 + ENV_PAGE_BYTES - 1) / ENV_PAGE_BYTES);
}

static int open_cursor(struct env *env, MDB_txn *txn, MDB_cursor **ret, struct error *err)
{
	int code = mdb_cursor_open(txn, env->tables[TABLE_INDEX], ret);

	return code == 0 ? 0 : env_error(code, err, "cannot open a cursor");
}

/* To the first key from this place on: 1, or 0 at the end of the table. */
static int seek(MDB_cursor *cursor, uint32_t topic_id, uint8_t section, uint64_t id,
	struct bytes *ret_key, struct error *err)
{
	uint8_t bytes[RUN_MANIFEST_KEY_BYTES];
	MDB_val key = {sizeof(bytes), bytes}, value;
	int code;

	store_u32_be(bytes, topic_id);
	bytes[4] = section;
	store_u64_be(bytes + 5, id);
	code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	if (code == MDB_NOTFOUND) {
		return 0;
	}
	if (code != 0) {
		return env_error(code, err, "cannot read an index");
	}
	*ret_key = bytes_of(key.mv_data, key.mv_size);
	return 1;
}

/* Deletes from the cursor on while keys begin with the first `prefix_size` bytes of the one that it
 * is at, and while the pages last. Returns the pages freed. */
static int delete_prefix(
	MDB_cursor *cursor, size_t prefix_size, uint32_t pages_max, struct error *err)
{
	uint8_t prefix[RUN_MANIFEST_KEY_BYTES];
	uint32_t pages = 0;
	MDB_val key, value;
	int code = mdb_cursor_get(cursor, &key, &value, MDB_GET_CURRENT);

	prefix_size = code == 0 ? ANNALS_MIN(prefix_size, key.mv_size) : 0;
	if (code == 0) {
		memcpy(prefix, key.mv_data, prefix_size);
	}
	while (code == 0 && pages < pages_max && key.mv_size >= prefix_size &&
		memcmp(key.mv_data, prefix, prefix_size) == 0) {
		pages += pages_of(value.mv_size);
		code = mdb_cursor_del(cursor, 0);
		/* The cursor is at the next one already, and NEXT knows. */
		code = code != 0 ? code : mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	return code == 0 || code == MDB_NOTFOUND
		       ? (int)pages
		       : env_error(code, err, "cannot delete of an index");
}

int run_expire(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	uint64_t order, struct error *err)
{
	struct run_list list;
	MDB_cursor *cursor;
	int deleted = 0, status = open_cursor(env, txn, &cursor, err);

	if (status != 0) {
		return status;
	}
	status = run_list_load_oldest(cursor, topic_id, kind, &list, err);
	mdb_cursor_close(cursor);
	for (uint32_t i = 0; status == 0 && i < list.count; i++) {
		if (list.runs[i].order_last < order) {
			status = run_manifest_delete(
				env, txn, topic_id, kind, list.runs[i].first_block, err);
			deleted++;
		}
	}
	return status != 0 ? status : deleted;
}

struct collection {
	MDB_cursor *cursor;
	uint64_t building;
	uint32_t pages_left;
	struct run_list list; /* of the index that is being looked at */
};

static bool is_named(const struct collection *collection, uint64_t run_id)
{
	for (uint32_t i = 0; i < collection->list.count; i++) {
		if (collection->list.runs[i].id == run_id) {
			return true;
		}
	}
	return run_id == collection->building;
}

/* One section of one index. Returns the pages freed. */
static int collect_section(struct collection *collection, uint32_t topic_id, enum index_kind kind,
	enum run_section section, struct error *err)
{
	const uint8_t wanted = run_section_byte(kind, section);
	uint32_t freed = 0;
	uint64_t next_id = 0;
	struct bytes key = {0};

	while (collection->pages_left > 0) {
		uint64_t run_id;
		int status = seek(collection->cursor, topic_id, wanted, next_id, &key, err);
		if (status < 0) {
			return status;
		}
		if (status == 0 || key.size < RUN_MANIFEST_KEY_BYTES ||
			load_u32_be(key.data) != topic_id || key.data[4] != wanted) {
			break;
		}
		run_id = load_u64_be(key.data + 5);
		if (!is_named(collection, run_id)) {
			status = delete_prefix(collection->cursor, RUN_MANIFEST_KEY_BYTES,
				collection->pages_left, err);
			if (status < 0) {
				return status;
			}
			freed += (uint32_t)status;
			collection->pages_left -=
				ANNALS_MIN(collection->pages_left, (uint32_t)status);
		}
		if (run_id == UINT64_MAX) {
			break;
		}
		next_id = run_id + 1;
	}
	return (int)freed;
}

static int collect_topic(struct collection *collection, uint32_t topic_id, struct error *err)
{
	uint32_t freed = 0;

	for (uint32_t kind = 0; kind < INDEX_KINDS && collection->pages_left > 0; kind++) {
		int status = run_list_load(collection->cursor, topic_id, (enum index_kind)kind,
			&collection->list, err);
		if (status == ANNALS_E_CORRUPT_DATA || status == ANNALS_E_NO_MEMORY) {
			/* Without the whole list nothing may be judged; readers report it. */
			continue;
		}
		for (int section = RUN_FILTER; section <= RUN_PAGES && status >= 0; section++) {
			status = collect_section(collection, topic_id, (enum index_kind)kind,
				(enum run_section)section, err);
			freed += status > 0 ? (uint32_t)status : 0;
		}
		if (status < 0) {
			return status;
		}
	}
	return (int)freed;
}

int run_collect_garbage(struct env *env, MDB_txn *txn, uint64_t building, uint32_t pages_max,
	uint32_t *cursor_topic, struct error *err)
{
	struct collection collection = {
		.building = building, .pages_left = ANNALS_MIN(pages_max, (uint32_t)INT32_MAX / 2)};
	uint32_t topics = 0, freed = 0, topic_id = *cursor_topic;
	struct bytes key = {0};
	int status = open_cursor(env, txn, &collection.cursor, err);

	if (status != 0) {
		return status;
	}
	while (topic_id != UINT32_MAX && topics < RUN_GARBAGE_TOPICS_PER_STEP) {
		status = seek(collection.cursor, topic_id, 0, 0, &key, err);
		if (status <= 0 || key.size < sizeof(uint32_t)) {
			topic_id = UINT32_MAX;
			break;
		}
		topic_id = load_u32_be(key.data);
		topics++;
		status = collect_topic(&collection, topic_id, err);
		if (status < 0) {
			break;
		}
		freed += (uint32_t)status;
		if (collection.pages_left == 0) {
			break; /* this topic may have more */
		}
		topic_id++;
	}
	mdb_cursor_close(collection.cursor);
	if (status < 0) {
		return status;
	}
	*cursor_topic = topic_id;
	return (int)freed;
}

int run_delete_topic(
	struct env *env, MDB_txn *txn, uint32_t topic_id, uint32_t pages_max, struct error *err)
{
	MDB_cursor *cursor;
	struct bytes key = {0};
	int status = open_cursor(env, txn, &cursor, err);

	if (status != 0) {
		return status;
	}
	status = seek(cursor, topic_id, 0, 0, &key, err);
	if (status == 1) {
		status = key.size >= sizeof(topic_id) && load_u32_be(key.data) == topic_id
				 ? delete_prefix(cursor, sizeof(topic_id),
					   ANNALS_MIN(pages_max, (uint32_t)INT32_MAX / 2), err)
				 : 0;
	}
	mdb_cursor_close(cursor);
	return status;
}

int run_last_id(struct env *env, MDB_txn *txn, uint64_t *ret, struct error *err)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	uint64_t last = 0;
	int code, status = open_cursor(env, txn, &cursor, err);

	if (status != 0) {
		return status;
	}
	code = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
	/* The last key of each section names its largest run; then to the section before. */
	while (code == 0) {
		const uint8_t *data = key.mv_data;
		struct bytes found;
		uint8_t section;
		if (key.mv_size < RUN_MANIFEST_KEY_BYTES) {
			status = error_fail(err, ANNALS_E_CORRUPT_DATA,
				"table 'index' has a key of %zu bytes", key.mv_size);
			break;
		}
		section = data[4];
		if (section % RUN_SECTIONS != RUN_MANIFEST) {
			last = ANNALS_MAX(last, load_u64_be(data + 5));
		}
		status = seek(cursor, load_u32_be(data), section, 0, &found, err);
		if (status < 0) {
			break;
		}
		code = mdb_cursor_get(cursor, &key, &value, MDB_PREV);
	}
	mdb_cursor_close(cursor);
	if (status < 0) {
		return status;
	}
	if (code != 0 && code != MDB_NOTFOUND) {
		return env_error(code, err, "cannot read an index");
	}
	*ret = last;
	return 0;
}
