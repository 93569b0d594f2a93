/* Indexes in order have no problems; whatever they lack or say too much is found and named. */
#include "store_fixture.h"

#include "chunk.h"
#include "index/run.h"
#include "index/run_format.h"
#include "index/run_write.h"
#include "lmdb/env.h"
#include "suite.h"

#include <annals/column.h>

#define EVENTS 40u
#define FLUSHES 3u

static struct store_fixture f;
static uint32_t topic, filler;
static uint64_t next_event;

static struct verify_report report;
static struct error error;
static char problems[65536];

static void note_problem(void *arg, const char *text)
{
	(void)arg;
	size_t used = strlen(problems);
	(void)snprintf(problems + used, sizeof(problems) - used, "%s\n", text);
}

static void verify(void)
{
	struct verify_options options = {
		.data_dir = f.dir, .map_bytes = f.options.map_bytes, .problem = note_problem};
	problems[0] = 0;
	ck_assert_msg(store_verify(&options, &report, &error) == 0, "%s", error.text);
}

static void expect_good(void)
{
	verify();
	ck_assert_msg(report.problems == 0, "%s", problems);
}

static void expect_problem(const char *word)
{
	verify();
	ck_assert_msg(report.problems > 0, "nothing was found, not even '%s'", word);
	ck_assert_msg(strstr(problems, word) != NULL, "'%s' is not in:\n%s", word, problems);
}

/* Events of 50 streams, with a tag each, some without a key or an id. */
static void append_events(uint32_t count)
{
	struct buf body = BUF_INIT, scratch = BUF_INIT;
	struct batch_limits limits = {
		.body_bytes_max = 4u << 20, .event_bytes_max = 4u << 20, .events_max = 100000};
	struct append_request request = {
		.base = {.operation = STORE_APPEND}, .topic_id = topic, .part_count = 1};
	for (uint32_t i = 0; i < count; i++, next_event++) {
		char id[32], key[32], tag[32];
		struct bytes tags[1] = {bytes_of(tag, 0)};
		(void)snprintf(id, sizeof(id), "id-%llu", (unsigned long long)next_event);
		(void)snprintf(key, sizeof(key), "key-%llu", (unsigned long long)next_event % 50);
		(void)snprintf(tag, sizeof(tag), "tag-%llu", (unsigned long long)next_event % 7);
		tags[0] = bytes_text(tag);
		struct record record = {.id = bytes_text(id),
			.source = bytes_text("/test"),
			.type = bytes_text(next_event % 3 == 0 ? "type.a" : "type.b"),
			.has_key = next_event % 11 != 0,
			.key = bytes_text(next_event % 11 != 0 ? key : ""),
			.tags = tags,
			.tag_count = 1,
			.has_data = true,
			.data = bytes_text("data")};
		ck_assert_int_eq(record_encode_in_batch(&record, &body), 0);
	}
	request.parts = &request.one_part;
	request.one_part.body = buf_bytes(&body);
	request.one_part.body_crc = crc32c(0, body.data, body.size);
	ck_assert_int_eq(batch_check_body(buf_bytes(&body), BATCH_PLAIN, &limits, &scratch,
				 &request.one_part.summary, NULL),
		0);
	ck_assert_msg(store_fixture_run(&f, &request.base) == 0, "%s", request.base.error.text);
	append_request_release(&request);
	buf_release(&body);
	buf_release(&scratch);
}

/* What the journal keeps for the indexes becomes too much. */
static void flush(void)
{
	struct store_stats before, now;
	store_stats(f.store, &before);
	now = before;
	for (int i = 0; i < 40 && now.index_flushes == before.index_flushes; i++) {
		store_fixture_append(&f, filler, 0, 4, 250000);
		store_stats(f.store, &now);
	}
	for (int i = 0; i < 2000 && now.index_flushes == before.index_flushes; i++) {
		(void)usleep(5000);
		store_stats(f.store, &now);
	}
	ck_assert_uint_gt(now.index_flushes, before.index_flushes);
}

static void set_up(void)
{
	struct topic_config config = {.partitions = 1};
	next_event = 0;
	store_fixture_init(&f);
	f.options.tail_bytes_max = 2u << 20;
	f.options.block_bytes_max = 1u << 20;
	f.options.journal_segment_bytes = 4u << 20;
	store_fixture_open(&f);
	filler = store_fixture_create_topic(&f, "filler", &config);
	config.streams = true;
	config.query_index = true;
	config.dedupe_age_us = UINT64_C(3600000000);
	topic = store_fixture_create_topic(&f, "indexed", &config);
	for (uint32_t i = 0; i < FLUSHES; i++) {
		append_events(EVENTS);
		append_events(EVENTS);
		flush();
	}
	append_events(EVENTS); /* stay in memory */
	store_fixture_close(&f);
}

static void tear_down(void)
{
	store_fixture_release(&f);
}

START_TEST(test_verify_index_finds_nothing_wrong)
{
	expect_good();
	ck_assert_uint_eq(report.index_runs, FLUSHES * INDEX_KINDS);
	/* Each event's id, type and tag, and most events' versions. */
	ck_assert_uint_gt(report.index_lookups, FLUSHES * 2 * EVENTS * 3);
}
END_TEST

START_TEST(test_verify_index_accepts_trims_merges_and_restarts)
{
	struct store_stats stats = {.index_merges = 0};
	store_fixture_open(&f);
	ck_assert_int_eq(store_fixture_trim(&f, topic, 0, 3 * EVENTS + 5), 0);
	for (uint32_t i = 0; i < RUN_MERGE_WIDTH; i++) {
		append_events(EVENTS);
		flush();
	}
	for (int i = 0; i < 2000 && stats.index_merges < INDEX_KINDS; i++) {
		(void)usleep(5000);
		store_stats(f.store, &stats);
	}
	ck_assert_uint_ge(stats.index_merges, INDEX_KINDS);
	ck_assert_int_eq(store_fixture_trim(&f, topic, 0, 7 * EVENTS), 0);
	append_events(EVENTS);
	store_fixture_close(&f);
	expect_good();
	ck_assert_uint_gt(report.index_runs, 0);
	store_fixture_open(&f);
	append_events(EVENTS);
	struct topic_request request = {
		.base = {.operation = STORE_TOPIC_DELETE}, .name = "indexed"};
	ck_assert_int_eq(store_fixture_run(&f, &request.base), 0);
	(void)usleep(100000);
	store_fixture_close(&f);
	expect_good();
}
END_TEST

/* ---- Damage ---- */

struct change {
	struct env env;
	MDB_txn *txn;
	MDB_cursor *cursor;
	struct run_list lists[INDEX_KINDS];
};

static void change_begin(struct change *change)
{
	char dir[128];
	(void)snprintf(dir, sizeof(dir), "%s/shards/0/lmdb", f.dir);
	ck_assert_int_eq(env_open(&change->env, dir, f.options.map_bytes, false, &error), 0);
	ck_assert_int_eq(env_begin(&change->env, &change->txn, &error), 0);
	ck_assert_int_eq(
		mdb_cursor_open(change->txn, change->env.tables[TABLE_INDEX], &change->cursor), 0);
	for (int kind = 0; kind < INDEX_KINDS; kind++) {
		ck_assert_int_eq(run_list_load(change->cursor, topic, (enum index_kind)kind,
					 &change->lists[kind], &error),
			0);
		ck_assert_uint_eq(change->lists[kind].count, FLUSHES);
	}
}

static void change_end(struct change *change)
{
	mdb_cursor_close(change->cursor);
	ck_assert_int_eq(env_commit(change->txn, &error), 0);
	env_close(&change->env);
}

static void put(struct change *change, struct bytes key, struct bytes value)
{
	ck_assert_int_eq(table_put(&change->env, change->txn, TABLE_INDEX, key, value, &error), 0);
}

/* The first row of a section of an index: one byte changed, or the row gone. */
static void damage(enum index_kind kind, enum run_section section, bool drop, size_t at)
{
	struct change change;
	uint8_t prefix[RUN_MANIFEST_KEY_BYTES], key_copy[RUN_KEY_BYTES_MAX];
	static uint8_t copy[RUN_PAGE_BYTES];
	MDB_val key = {sizeof(prefix), prefix}, value;
	change_begin(&change);
	run_key_prefix(prefix, topic, kind, section, 0);
	ck_assert_int_eq(mdb_cursor_get(change.cursor, &key, &value, MDB_SET_RANGE), 0);
	memcpy(key_copy, key.mv_data, key.mv_size);
	memcpy(copy, value.mv_data, value.mv_size);
	struct bytes own = bytes_of(key_copy, key.mv_size);
	copy[at] ^= 0x10;
	if (drop) {
		ck_assert_int_eq(
			table_delete(&change.env, change.txn, TABLE_INDEX, own, &error), 0);
	} else {
		put(&change, own, bytes_of(copy, value.mv_size));
	}
	change_end(&change);
}

START_TEST(test_verify_index_finds_damaged_pages)
{
	damage(INDEX_ID, RUN_PAGES, false, 100);
	expect_problem("topic 'indexed', index of ids: index of topic id");
	expect_problem("a page of entries fails its checks");
}
END_TEST

START_TEST(test_verify_index_finds_missing_pages)
{
	damage(INDEX_STREAM, RUN_PAGES, true, 0);
	expect_problem("index of streams: index of topic id");
	expect_problem("its entries are not those that it counts");
	expect_problem("is missing from the index of streams");
}
END_TEST

START_TEST(test_verify_index_finds_damaged_filters)
{
	damage(INDEX_QUERY, RUN_FILTER, false, 61);
	expect_problem("index of types and tags");
	expect_problem("a part of the filter fails its checksum");
}
END_TEST

START_TEST(test_verify_index_finds_missing_filters)
{
	damage(INDEX_QUERY, RUN_FILTER, true, 0);
	expect_problem("a part of the filter is missing");
}
END_TEST

START_TEST(test_verify_index_finds_damaged_manifests)
{
	damage(INDEX_ID, RUN_MANIFEST, false, 20);
	expect_problem("index of ids: the list of runs");
}
END_TEST

START_TEST(test_verify_index_finds_missing_runs)
{
	struct change change;
	change_begin(&change);
	/* The oldest ids may have expired; not what came between. */
	for (int kind = 0; kind < INDEX_KINDS; kind++) {
		ck_assert_int_eq(
			run_manifest_delete(&change.env, change.txn, topic, (enum index_kind)kind,
				change.lists[kind].runs[1].first_block, &error),
			0);
	}
	change_end(&change);
	expect_problem("partition 0: the event at offset 159 is missing from the index of");
}
END_TEST

START_TEST(test_verify_index_lets_the_oldest_ids_expire)
{
	struct change change;
	change_begin(&change);
	ck_assert_int_eq(run_manifest_delete(&change.env, change.txn, topic, INDEX_ID,
				 change.lists[INDEX_ID].runs[0].first_block, &error),
		0);
	change_end(&change);
	expect_good();
}
END_TEST

/* Replaces the newest run of an index by one of this entry. */
static void replace_run(enum index_kind kind, const struct index_entry *entry, uint64_t last_block)
{
	struct change change;
	change_begin(&change);
	struct run run = change.lists[kind].runs[FLUSHES - 1];
	run.id = 1000;
	run.last_block = last_block != 0 ? last_block : run.last_block;
	ck_assert_int_eq(
		run_write(&change.env, change.txn, topic, kind, &run, entry, 1, &error), 0);
	change_end(&change);
}

START_TEST(test_verify_index_finds_places_that_do_not_exist)
{
	struct index_entry entry = {.hash = {1, 2}, .place = index_place(0, 7 * EVENTS)};
	replace_run(INDEX_STREAM, &entry, 0);
	expect_problem(
		"index of streams, run 1000: 1 entries point at events that do not exist, the "
		"first at partition 0 offset 280");
	entry.place = index_place(1, 0);
	replace_run(INDEX_QUERY, &entry, 0);
	expect_problem("index of types and tags, run 1000: 1 entries");
}
END_TEST

START_TEST(test_verify_index_finds_blocks_beyond_the_journal)
{
	struct index_entry entry = {.hash = {1, 2}, .place = 0};
	replace_run(INDEX_ID, &entry, UINT64_C(1) << 40);
	expect_problem("index of ids, run 1000 holds what block 1099511627776 brought");
}
END_TEST

START_TEST(test_verify_index_finds_strange_keys)
{
	struct change change;
	struct run run = {.id = 1000, .first_block = 1, .last_block = 1};
	struct index_entry entry = {.hash = {1, 2}};
	change_begin(&change);
	put(&change, bytes_text("key"), bytes_text("value"));
	ck_assert_int_eq(
		run_write(&change.env, change.txn, 4711, INDEX_ID, &run, &entry, 1, &error), 0);
	change_end(&change);
	expect_problem("table 'index' has a key of 3 bytes");
	expect_problem("there is an index of topic id 4711, which does not exist");
	ck_assert_uint_eq(report.problems, 2);
}
END_TEST

/* Changes a byte of the first batch's column in the log, and its stamp's checksum with it. */
static void change_column(enum batch_column type, size_t at)
{
	struct change change;
	static uint8_t copy[CHUNK_VALUE_BYTES_MAX];
	uint8_t bytes[LOG_KEY_BYTES];
	MDB_cursor *cursor;
	MDB_val key = {sizeof(bytes), bytes}, value;
	struct batch batch;
	change_begin(&change);
	log_key(bytes, topic, 0, 0, 0);
	ck_assert_int_eq(mdb_cursor_open(change.txn, change.env.tables[TABLE_LOG], &cursor), 0);
	ck_assert_int_eq(mdb_cursor_get(cursor, &key, &value, MDB_SET), 0);
	memcpy(copy, value.mv_data, value.mv_size);
	uint8_t *stored = copy + CHUNK_HEADER_BYTES;
	ck_assert_int_eq(
		batch_view(bytes_of(stored, value.mv_size - CHUNK_HEADER_BYTES), &batch), 0);
	struct bytes column = batch_column(&batch, type);
	ck_assert_uint_gt(column.size, at);
	stored[(size_t)(column.data - stored) + at] ^= 1;
	store_u32(stored + 4, crc32c(0, stored + 8, BATCH_STAMP_BYTES + batch.columns.size - 8));
	ck_assert_int_eq(
		table_put(&change.env, change.txn, TABLE_LOG, bytes_of(bytes, sizeof(bytes)),
			bytes_of(copy, value.mv_size), &error),
		0);
	mdb_cursor_close(cursor);
	change_end(&change);
}

START_TEST(test_verify_index_finds_columns_that_do_not_fit)
{
	static const struct {
		enum batch_column column;
		size_t at;
		const char *word;
	} changes[] = {
		{COLUMN_ID, 3 * COLUMN_ID_ENTRY_BYTES + 2, "do not fit its event at offset 3"},
		{COLUMN_STREAM, COLUMN_STREAM_ENTRY_BYTES, "do not fit its event at offset 1"},
		{COLUMN_QUERY, 3 * COLUMN_QUERY_ENTRY_BYTES + 8, "fit its event at offset 1"},
		{COLUMN_STREAM, 24, "the batch at offset 0 has impossible columns"},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(changes); i++) {
		change_column(changes[i].column, changes[i].at);
		expect_problem(changes[i].word);
		change_column(changes[i].column, changes[i].at);
	}
	expect_good();
}
END_TEST

/* A version that is not the one in the index. */
START_TEST(test_verify_index_finds_other_versions)
{
	change_column(COLUMN_STREAM, COLUMN_STREAM_ENTRY_BYTES + 16);
	expect_problem("the event at offset 1 is missing from the index of");
}
END_TEST

SUITE_MAIN("verify_index", set_up, tear_down, test_verify_index_finds_nothing_wrong,
	test_verify_index_accepts_trims_merges_and_restarts, test_verify_index_finds_damaged_pages,
	test_verify_index_finds_missing_pages, test_verify_index_finds_damaged_filters,
	test_verify_index_finds_missing_filters, test_verify_index_finds_damaged_manifests,
	test_verify_index_finds_missing_runs, test_verify_index_lets_the_oldest_ids_expire,
	test_verify_index_finds_places_that_do_not_exist,
	test_verify_index_finds_columns_that_do_not_fit, test_verify_index_finds_other_versions,
	test_verify_index_finds_blocks_beyond_the_journal, test_verify_index_finds_strange_keys)
