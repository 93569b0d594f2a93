/* The small tables: meta, topics, partition rows, topics being deleted, offsets. */
#include "verify.h"

#include "registry/registry_internal.h"
#include <stdlib.h>

/* Calls fn for every row; the first non-zero result stops. */
static int for_each_row(struct verify *verify, enum table table,
	int (*fn)(struct verify *verify, struct bytes key, struct bytes value, struct error *err),
	const char *what, struct error *err)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	int status = 0, code = mdb_cursor_open(verify->txn, verify->env.tables[table], &cursor);

	if (code != 0) {
		return env_error(code, err, what);
	}
	code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
	while (code == 0 && status == 0) {
		status = fn(verify, bytes_of(key.mv_data, key.mv_size),
			bytes_of(value.mv_data, value.mv_size), err);
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (status == 0 && code != MDB_NOTFOUND) {
		verify_problem(verify, "%s: %s", what, mdb_strerror(code));
	}
	return status;
}

static int check_deleting(
	struct verify *verify, struct bytes key, struct bytes value, struct error *err)
{
	(void)value;
	if (key.size != TOPIC_KEY_BYTES) {
		verify_problem(verify, "table 'deleting' has a key of %zu bytes", key.size);
		return 0;
	}
	if (verify->deleting_count == verify->deleting_capacity) {
		size_t capacity =
			verify->deleting_capacity == 0 ? 16 : verify->deleting_capacity * 2;
		uint32_t *ids = realloc(verify->deleting, capacity * sizeof(*ids));
		if (ids == NULL) {
			return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the topics");
		}
		verify->deleting = ids;
		verify->deleting_capacity = capacity;
	}
	verify->deleting[verify->deleting_count++] = load_u32_be(key.data);
	return 0;
}

static int check_topic(
	struct verify *verify, struct bytes key, struct bytes value, struct error *err)
{
	struct topic *topic;
	struct error error = {0};
	uint32_t id = key.size == TOPIC_KEY_BYTES ? load_u32_be(key.data) : 0;
	int status = topic_decode(value, &topic, &error);

	if (status == ANNALS_E_NO_MEMORY) {
		return error_fail(err, status, "%s", error.text);
	}
	if (status != 0 || topic->id != id) {
		verify_problem(verify, "the row of topic id %u cannot be read", id);
		if (status == 0) {
			topic_unref(topic);
		}
		return 0;
	}
	if (topic_name_check(bytes_text(topic->name), NULL) != 0) {
		verify_problem(verify, "topic id %u has an impossible name", id);
	}
	if (id >= verify->meta.next_topic_id) {
		verify_problem(verify, "topic '%s' has id %u, but the next one to be given is %u",
			topic->name, id, verify->meta.next_topic_id);
	}
	if (verify_is_deleting(verify, id)) {
		verify_problem(verify, "topic '%s' is there and being deleted", topic->name);
	}
	status = verify_add_topic(verify, topic, err);
	if (status != 0) {
		topic_unref(topic);
	}
	return status;
}

static int check_partition(
	struct verify *verify, struct bytes key, struct bytes value, struct error *err)
{
	uint32_t id, index;
	struct verify_topic *topic;
	struct verify_partition *partition;

	(void)err;
	if (!partition_key_parse(key, &id, &index)) {
		verify_problem(verify, "table 'partitions' has a key of %zu bytes", key.size);
		return 0;
	}
	topic = verify_find_topic(verify, id);
	if (topic == NULL || index >= topic->partition_count) {
		if (!verify_is_deleting(verify, id)) {
			verify_problem(verify,
				"there is a row for topic id %u partition %u, which does not exist",
				id, index);
		}
		return 0;
	}
	partition = &topic->partitions[index];
	if (partition_row_parse(value, &partition->row) != 0) {
		verify_problem(verify, "the row of topic '%s' partition %u fails its checksum",
			topic->topic->name, index);
		partition->row = (struct partition_row){0};
		partition->row_is_damaged = true;
		return 0;
	}
	partition->first_offset = partition->row.first_offset;
	partition->end_offset = partition->row.settled_end;
	if (verify->journal != NULL && partition->row.settled_block > verify->journal->last_block) {
		verify_problem(verify,
			"topic '%s' partition %u holds what block %llu brought, but the journal "
			"ends "
			"with block %llu",
			topic->topic->name, index, (unsigned long long)partition->row.settled_block,
			(unsigned long long)verify->journal->last_block);
	}
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	const struct topic *left = *(struct topic *const *)a, *right = *(struct topic *const *)b;

	return strcmp(left->name, right->name);
}

static int check_names(struct verify *verify, struct error *err)
{
	struct topic **topics = calloc(verify->topic_count + 1, sizeof(struct topic *));

	if (topics == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the topics");
	}
	for (size_t i = 0; i < verify->topic_count; i++) {
		topics[i] = verify->topics[i].topic;
	}
	qsort(topics, verify->topic_count, sizeof(struct topic *), compare_names);
	for (size_t i = 1; i < verify->topic_count; i++) {
		if (strcmp(topics[i - 1]->name, topics[i]->name) == 0) {
			verify_problem(verify, "topic ids %u and %u have the same name, '%s'",
				topics[i - 1]->id, topics[i]->id, topics[i]->name);
		}
	}
	free(topics);
	return 0;
}

static int scan_rows(void *arg, struct bytes prefix,
	int (*fn)(void *arg, struct bytes key, struct bytes value), void *fn_arg, struct error *err)
{
	struct verify *verify = arg;
	MDB_cursor *cursor;
	MDB_val key = {prefix.size, (void *)(uintptr_t)prefix.data}, value;
	int status = 0,
	    code = mdb_cursor_open(verify->txn, verify->env.tables[TABLE_ROWS], &cursor);

	if (code != 0) {
		return env_error(code, err, "cannot read table 'rows'");
	}
	code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	while (code == 0 && status == 0 && key.mv_size >= prefix.size &&
		memcmp(key.mv_data, prefix.data, prefix.size) == 0) {
		status = fn(fn_arg, bytes_of(key.mv_data, key.mv_size),
			bytes_of(value.mv_data, value.mv_size));
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	return status != 0 || code == 0 || code == MDB_NOTFOUND
		       ? status
		       : env_error(code, err, "cannot read table 'rows'");
}

static int check_registry(struct verify *verify, struct error *err)
{
	struct error error = {0};
	const int status = registry_rows_check(scan_rows, verify, &error);

	if (status == ANNALS_E_CORRUPT_DATA) {
		verify_problem(verify, "schema registry: %s", error.text);
		return 0;
	}
	return status == 0 ? 0 : error_fail(err, status, "%s", error.text);
}

int verify_tables(struct verify *verify, struct error *err)
{
	struct error error = {0};
	int status = table_get_meta(&verify->env, verify->txn, &verify->meta, &error);

	if (status < 0) {
		verify_problem(verify, "%s", error.text);
		/* So that the rest can be looked at. */
		verify->meta = (struct meta_row){.next_topic_id = UINT32_MAX};
	} else if (verify->journal != NULL &&
		   verify->meta.settled_block > verify->journal->last_block) {
		verify_problem(verify,
			"LMDB holds everything up to block %llu, but the journal ends with block "
			"%llu",
			(unsigned long long)verify->meta.settled_block,
			(unsigned long long)verify->journal->last_block);
	}
	status = for_each_row(
		verify, TABLE_DELETING, check_deleting, "cannot read table 'deleting'", err);
	status = status != 0 ? status
			     : for_each_row(verify, TABLE_TOPICS, check_topic,
				       "cannot read table 'topics'", err);
	status = status != 0 ? status
			     : for_each_row(verify, TABLE_PARTITIONS, check_partition,
				       "cannot read table 'partitions'", err);
	status = status != 0 ? status : check_names(verify, err);
	return status != 0 ? status : check_registry(verify, err);
}

static int check_offset(
	struct verify *verify, struct bytes key, struct bytes value, struct error *err)
{
	struct bytes group;
	struct offset_entry entry;
	uint32_t id, index;
	struct verify_topic *topic;

	(void)err;
	if (!offset_key_parse(key, &group, &id, &index)) {
		verify_problem(verify, "table 'offsets' has a key that cannot be read");
		return 0;
	}
	if (offset_decode(value, &entry, NULL) != 0 || entry.topic_id != id ||
		entry.partition != index) {
		verify_problem(verify,
			"the offset of group '%.*s' for topic id %u partition %u cannot be read",
			(int)group.size, (const char *)group.data, id, index);
		return 0;
	}
	topic = verify_find_topic(verify, id);
	if (topic == NULL ? verify_is_deleting(verify, id) : topic->deleted) {
		return 0; /* on its way out */
	}
	if (topic == NULL || index >= topic->partition_count) {
		verify_problem(verify,
			"group '%.*s' has an offset for topic id %u partition %u, which does not "
			"exist",
			(int)group.size, (const char *)group.data, id, index);
	} else if (entry.offset > topic->partitions[index].end_offset) {
		verify_problem(verify,
			"group '%.*s' has committed offset %llu of topic '%s' partition %u, which "
			"ends at %llu",
			(int)group.size, (const char *)group.data, (unsigned long long)entry.offset,
			topic->topic->name, index,
			(unsigned long long)topic->partitions[index].end_offset);
	}
	return 0;
}

int verify_offsets(struct verify *verify, struct error *err)
{
	return for_each_row(
		verify, TABLE_OFFSETS, check_offset, "cannot read table 'offsets'", err);
}
