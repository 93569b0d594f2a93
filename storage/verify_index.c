/*
 * The indexes, both ways: every run by itself and every place that it names; and for every event of
 * the log and the journal that its batch's columns say what is in it, and that the runs which
 * should know them do.
 */
#include "facts.h"
#include "index/run_format.h"
#include "verify.h"

#include <annals/column.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kind_names[INDEX_KINDS] = {
	[INDEX_STREAM] = "streams", [INDEX_ID] = "ids", [INDEX_QUERY] = "types and tags"};

/* The lists of runs of the topic that was asked for last. */
struct verify_runs {
	MDB_cursor *cursor;
	bool loaded;
	uint32_t topic_id;
	bool usable[INDEX_KINDS]; /* a list that cannot be read is reported once, by verify_index()
				   */
	struct run_list lists[INDEX_KINDS];
};

/* Events below this position are in the runs: the journal goes on from there. */
static uint64_t indexed_position(struct verify *verify)
{
	struct buf block = BUF_INIT;
	struct block_header header;
	uint64_t number = 0, position = UINT64_MAX;

	if (journal_read_block(verify->journal, verify->meta.indexed_block + 1, &block, &number,
		    NULL) != JOURNAL_OK) {
		position = 0; /* damage, which verify_journal() reports */
	} else if (number != 0) {
		position = block_view(buf_bytes(&block), &header, NULL) == 0 ? header.first_position
									     : 0;
	}
	buf_release(&block);
	return position;
}

int verify_index_begin(struct verify *verify, struct error *err)
{
	int code;

	verify->runs = calloc(1, sizeof(*verify->runs));
	if (verify->runs == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the runs of indexes");
	}
	code = mdb_cursor_open(verify->txn, verify->env.tables[TABLE_INDEX], &verify->runs->cursor);
	if (code != 0) {
		verify->runs->cursor = NULL;
		return env_error(code, err, "cannot read table 'index'");
	}
	verify->indexed_position = verify->journal != NULL ? indexed_position(verify) : 0;
	return 0;
}

void verify_index_end(struct verify *verify)
{
	if (verify->runs != NULL && verify->runs->cursor != NULL) {
		mdb_cursor_close(verify->runs->cursor);
	}
	free(verify->runs);
	verify->runs = NULL;
}

static struct verify_runs *runs_of(struct verify *verify, uint32_t topic_id)
{
	struct verify_runs *runs = verify->runs;

	for (int kind = 0; kind < INDEX_KINDS && (!runs->loaded || runs->topic_id != topic_id);
		kind++) {
		runs->usable[kind] = run_list_load(runs->cursor, topic_id, (enum index_kind)kind,
					     &runs->lists[kind], NULL) == 0;
	}
	runs->loaded = true;
	runs->topic_id = topic_id;
	return runs;
}

static struct index_hash hash_at(const uint8_t *bytes)
{
	return (struct index_hash){load_u64(bytes), load_u64(bytes + 8)};
}

/* ---- The columns, against the events ---- */

/* How far in the columns the events before it go. */
struct columns {
	struct bytes stream, id, query;
	size_t stream_at, query_at;
	uint32_t stream_given;
};

static bool hash_is(const uint8_t *bytes, struct index_hash hash)
{
	return load_u64(bytes) == hash.high && load_u64(bytes + 8) == hash.low;
}

static bool stream_fits(
	struct columns *columns, const struct record *record, const uint8_t store_uuid[16])
{
	const uint8_t *entry = columns->stream.data + columns->stream_at;
	struct index_hash hash = {0, 0};

	if (columns->stream.size == 0) {
		return true;
	}
	if (record->has_key) {
		hash = index_hash(store_uuid, 'k', record->key);
	}
	if (!hash_is(entry, hash) || (load_u64(entry + 16) == VERSION_NONE) == record->has_key) {
		return false;
	}
	if (++columns->stream_given == load_u32(entry + 24)) {
		columns->stream_at += COLUMN_STREAM_ENTRY_BYTES;
		columns->stream_given = 0;
	}
	return true;
}

static bool id_fits(const struct columns *columns, uint32_t event, const struct record *record,
	const uint8_t store_uuid[16])
{
	struct index_hash hash = {0, 0};

	if (record->id.size > 0) {
		hash = facts_hash_id(store_uuid, record->source, record->id);
	}
	return columns->id.size == 0 ||
	       hash_is(columns->id.data + (size_t)event * COLUMN_ID_ENTRY_BYTES, hash);
}

static bool take_query(struct columns *columns, uint32_t event, struct index_hash hash)
{
	const uint8_t *entry = columns->query.data + columns->query_at;

	if (columns->query_at == columns->query.size || load_u32(entry) != event ||
		!hash_is(entry + 8, hash)) {
		return false;
	}
	columns->query_at += COLUMN_QUERY_ENTRY_BYTES;
	return true;
}

static bool query_fits(struct columns *columns, uint32_t event, const struct record *record,
	const uint8_t store_uuid[16])
{
	size_t cursor = 0;
	struct bytes tag;

	if (columns->query.size == 0) {
		return true;
	}
	if (record->type.size > 0 &&
		!take_query(columns, event, facts_hash_type(store_uuid, record->type))) {
		return false;
	}
	while (record_next_tag(record, &cursor, &tag) == 1) {
		if (!take_query(columns, event, facts_hash_tag(store_uuid, tag))) {
			return false;
		}
	}
	return true;
}

/* False with the first event that the columns say something else about. Their sizes were checked;
 * the body was opened before. */
static bool columns_fit(struct verify *verify, const struct batch *batch, uint32_t *ret_event)
{
	struct columns columns = {.stream = batch_column(batch, COLUMN_STREAM),
		.id = batch_column(batch, COLUMN_ID),
		.query = batch_column(batch, COLUMN_QUERY)};
	struct bytes body, encoded;
	size_t cursor = 0;
	uint32_t event = 0;

	if (batch_plain_body(batch, &verify->scratch, &body) != 0) {
		return true; /* reported */
	}
	while (event < batch->stamp.count && batch_next_event(body, &cursor, &encoded) == 1) {
		struct record record;
		if (record_decode(encoded, &record, NULL) != 0 ||
			!stream_fits(&columns, &record, verify->store_uuid) ||
			!id_fits(&columns, event, &record, verify->store_uuid) ||
			!query_fits(&columns, event, &record, verify->store_uuid)) {
			*ret_event = event;
			return false;
		}
		event++;
	}
	*ret_event = event;
	return columns.query_at == columns.query.size;
}

/* ---- From the events to the runs ---- */

static int is_wanted(void *arg, const struct index_entry *entry)
{
	const struct index_entry *wanted = arg;

	return entry->place == wanted->place && entry->extra == wanted->extra ? 1 : 2;
}

static void check_known(struct verify *verify, struct verify_runs *runs,
	struct verify_partition *partition, enum index_kind kind, struct index_entry *wanted)
{
	const struct run_list *list = &runs->lists[kind];
	uint64_t end = index_place_offset(wanted->place) + 1;

	if (!runs->usable[kind]) {
		return;
	}
	/* Ids expire by whole runs, the oldest first. */
	if (kind == INDEX_ID && (list->count == 0 || wanted->order <= list->runs[0].order_first)) {
		return;
	}
	verify->report->index_lookups++;
	for (uint32_t i = list->count; i-- > 0;) {
		int status = run_range(runs->cursor, runs->topic_id, kind, &list->runs[i],
			wanted->hash, wanted->order, wanted->order, false, is_wanted, wanted, NULL);
		if (status == 1 || status < 0) {
			return; /* damage is reported by verify_index() */
		}
	}
	if (end > partition->unindexed_end) {
		partition->unindexed_end = end;
		partition->unindexed_kind = kind;
	}
}

static void check_streams(struct verify *verify, struct verify_runs *runs,
	struct verify_partition *partition, const struct batch *batch)
{
	struct bytes column = batch_column(batch, COLUMN_STREAM);
	const struct stamp *stamp = &batch->stamp;
	uint64_t event = 0;

	for (size_t at = 0; at < column.size; at += COLUMN_STREAM_ENTRY_BYTES) {
		uint64_t version = load_u64(column.data + at + 16);
		uint32_t count = load_u32(column.data + at + 24);
		for (uint32_t i = 0; i < count; i++, event++) {
			struct index_entry wanted = {.hash = hash_at(column.data + at),
				.order = version + i,
				.place = index_place(stamp->partition, stamp->base_offset + event),
				.extra = stamp->base_position + event};
			if (version != VERSION_NONE) {
				check_known(verify, runs, partition, INDEX_STREAM, &wanted);
			}
		}
	}
}

static void check_ids(struct verify *verify, struct verify_runs *runs,
	struct verify_partition *partition, const struct batch *batch)
{
	struct bytes column = batch_column(batch, COLUMN_ID);
	const struct stamp *stamp = &batch->stamp;
	struct batch_versions versions;

	batch_versions_init(&versions, batch);
	for (uint32_t i = 0; i < column.size / COLUMN_ID_ENTRY_BYTES; i++) {
		struct index_entry wanted = {
			.hash = hash_at(column.data + (size_t)i * COLUMN_ID_ENTRY_BYTES),
			.order = stamp->recorded_us,
			.place = index_place(stamp->partition, stamp->base_offset + i),
			.extra = batch_versions_next(&versions)};
		if ((wanted.hash.high | wanted.hash.low) != 0) {
			check_known(verify, runs, partition, INDEX_ID, &wanted);
		}
	}
}

static void check_query(struct verify *verify, struct verify_runs *runs,
	struct verify_partition *partition, const struct batch *batch)
{
	struct bytes column = batch_column(batch, COLUMN_QUERY);
	const struct stamp *stamp = &batch->stamp;

	for (size_t at = 0; at < column.size; at += COLUMN_QUERY_ENTRY_BYTES) {
		uint32_t i = load_u32(column.data + at);
		struct index_entry wanted = {.hash = hash_at(column.data + at + 8),
			.order = stamp->base_position + i,
			.place = index_place(stamp->partition, stamp->base_offset + i)};
		check_known(verify, runs, partition, INDEX_QUERY, &wanted);
	}
}

void verify_index_batch(
	struct verify *verify, struct verify_partition *partition, const struct batch *batch)
{
	struct verify_runs *runs;
	uint32_t event;

	if (batch->columns.size == 0) {
		return;
	}
	if (batch_columns_check(batch) != 0) {
		verify_problem(verify,
			"topic id %u partition %u: the batch at offset %llu has impossible columns",
			batch->stamp.topic_id, batch->stamp.partition,
			(unsigned long long)batch->stamp.base_offset);
		return;
	}
	if (!columns_fit(verify, batch, &event)) {
		verify_problem(verify,
			"topic id %u partition %u: the columns of the batch at offset %llu do not "
			"fit its event at offset %llu",
			batch->stamp.topic_id, batch->stamp.partition,
			(unsigned long long)batch->stamp.base_offset,
			(unsigned long long)batch->stamp.base_offset + event);
		return;
	}
	if (batch->stamp.base_position >= verify->indexed_position) {
		return; /* in memory only, when the store is open */
	}
	runs = runs_of(verify, batch->stamp.topic_id);
	check_streams(verify, runs, partition, batch);
	check_ids(verify, runs, partition, batch);
	check_query(verify, runs, partition, batch);
}

/* ---- From the runs to the events ---- */

struct places {
	const struct verify_topic *topic;
	uint64_t wrong;
	struct index_entry first_wrong;
};

static int check_place(void *arg, const struct index_entry *entry)
{
	struct places *places = arg;
	uint32_t partition = index_place_partition(entry->place);

	if (partition >= places->topic->partition_count ||
		(index_place_offset(entry->place) >=
				places->topic->partitions[partition].end_offset &&
			!places->topic->partitions[partition].row_is_damaged)) {
		places->first_wrong = places->wrong == 0 ? *entry : places->first_wrong;
		places->wrong++;
	}
	return 0;
}

static int check_run(struct verify *verify, MDB_cursor *cursor, const struct verify_topic *topic,
	enum index_kind kind, const struct run *run, struct error *err)
{
	struct places places = {.topic = topic};
	struct error error = {0};
	int status = run_walk(cursor, topic->topic->id, kind, run, check_place, &places, &error);

	verify->report->index_runs++;
	verify_progress(verify, run->count * INDEX_ENTRY_BYTES);
	if (status == ANNALS_E_CORRUPT_DATA) {
		verify_problem(verify, "topic '%s', index of %s: %s", topic->topic->name,
			kind_names[kind], error.text);
		status = 0;
	} else if (status != 0) {
		return error_fail(err, status, "%s", error.text);
	}
	if (places.wrong > 0) {
		verify_problem(verify,
			"topic '%s', index of %s, run %llu: %llu entries point at events that do "
			"not exist, the first at partition %u offset %llu",
			topic->topic->name, kind_names[kind], (unsigned long long)run->id,
			(unsigned long long)places.wrong,
			index_place_partition(places.first_wrong.place),
			(unsigned long long)index_place_offset(places.first_wrong.place));
	}
	if (run->last_block > verify->journal->last_block) {
		verify_problem(verify,
			"topic '%s', index of %s, run %llu holds what block %llu brought, but the "
			"journal ends with block %llu",
			topic->topic->name, kind_names[kind], (unsigned long long)run->id,
			(unsigned long long)run->last_block,
			(unsigned long long)verify->journal->last_block);
	}
	return status;
}

static int check_topic(struct verify *verify, const struct verify_topic *topic, struct error *err)
{
	MDB_cursor *cursor = verify->runs->cursor;
	struct run_list list;
	int status = 0;

	for (int kind = 0; kind < INDEX_KINDS && status == 0; kind++) {
		struct error error = {0};
		int loaded = run_list_load(
			cursor, topic->topic->id, (enum index_kind)kind, &list, &error);
		if (loaded != 0) {
			verify_problem(verify, "topic '%s', index of %s: %s", topic->topic->name,
				kind_names[kind], error.text);
			continue;
		}
		for (uint32_t i = 0; i < list.count && status == 0; i++) {
			status = check_run(
				verify, cursor, topic, (enum index_kind)kind, &list.runs[i], err);
		}
	}
	for (uint32_t p = 0; p < topic->partition_count; p++) {
		const struct verify_partition *partition = &topic->partitions[p];
		/* Merges leave out what was trimmed. */
		if (partition->unindexed_end > partition->first_offset) {
			verify_problem(verify,
				"topic '%s' partition %u: the event at offset %llu is missing from "
				"the index of %s",
				topic->topic->name, p,
				(unsigned long long)partition->unindexed_end - 1,
				kind_names[partition->unindexed_kind]);
		}
	}
	return status;
}

/* Keys that no index has, and topics that there are not. */
static int check_keys(struct verify *verify, struct error *err)
{
	MDB_cursor *cursor = verify->runs->cursor;
	MDB_val key, value;
	struct run_key parsed;
	uint32_t unknown_topic = 0;
	int code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);

	for (; code == 0; code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		if (!run_key_parse(bytes_of(key.mv_data, key.mv_size), &parsed)) {
			verify_problem(verify,
				"table 'index' has a key of %zu bytes that is none of its own",
				key.mv_size);
		} else if (parsed.topic_id != unknown_topic &&
			   verify_find_topic(verify, parsed.topic_id) == NULL &&
			   !verify_is_deleting(verify, parsed.topic_id)) {
			verify_problem(verify,
				"there is an index of topic id %u, which does not exist",
				parsed.topic_id);
			unknown_topic = parsed.topic_id;
		}
	}
	return code == MDB_NOTFOUND ? 0 : env_error(code, err, "cannot read table 'index'");
}

int verify_index(struct verify *verify, struct error *err)
{
	int status = check_keys(verify, err);

	for (size_t i = 0; i < verify->topic_count && status == 0; i++) {
		if (!verify->topics[i].deleted) {
			status = check_topic(verify, &verify->topics[i], err);
		}
	}
	return status;
}
