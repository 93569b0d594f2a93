#include "index/run_cache.h"
#include "index_fixture.h"
#include "suite.h"

#define TOPIC 7u
#define KIND INDEX_STREAM

static struct index_fixture f;
static struct run_cache *cache; /* lives through flushes, merges and garbage */

static void set_up(void)
{
	index_fixture_init(&f);
}

static void tear_down(void)
{
	run_cache_free(cache);
	index_fixture_release(&f);
}

/* All entries that runs hold, in order of time and then sorted. */
struct model {
	struct index_entry *entries;
	size_t count, capacity;
	uint64_t next_order, next_id, next_block;
};

/* Ids begin anew, so the cache does, too. */
static struct model model_new(void)
{
	run_cache_free(cache);
	cache = run_cache_new();
	ck_assert_ptr_nonnull(cache);
	return (struct model){.next_id = 1, .next_block = 1, .next_order = 1000};
}

static void flush_run(struct model *model, uint32_t topic_id, size_t count, uint64_t hashes)
{
	struct index_entry *entries = index_fixture_entries(&f, count, hashes, model->next_order);
	struct run run = {.id = model->next_id++,
		.first_block = model->next_block,
		.last_block = model->next_block + 4};
	index_fixture_write(&f, topic_id, KIND, &run, entries, count);
	model->next_block += 5;
	model->next_order += count;
	model->entries = realloc(model->entries, (model->count + count) * sizeof(*model->entries));
	ck_assert_ptr_nonnull(model->entries);
	memcpy(model->entries + model->count, entries, count * sizeof(*entries));
	model->count += count;
	qsort(model->entries, model->count, sizeof(*entries), index_fixture_compare);
	free(entries);
}

/* Steps until the end, each in a transaction of its own. Returns how many. */
static int merge_all(struct run_merge *merge, uint64_t step_bytes)
{
	int steps = 0, status = 1;
	while (status == 1) {
		status = run_merge_step(merge, f.txn, step_bytes, &f.err);
		ck_assert_msg(status >= 0, "%s", f.err.text);
		index_fixture_commit(&f);
		steps++;
	}
	return steps;
}

static int begin_merge(struct model *model, uint64_t count_max,
	bool (*keep)(void *arg, const struct index_entry *entry, bool is_newest_of_hash), void *arg,
	struct run_merge **ret)
{
	return run_merge_begin(
		&f.env, f.txn, TOPIC, KIND, model->next_id++, count_max, keep, arg, ret, &f.err);
}

static void collect_all(uint32_t pages_max)
{
	uint32_t topic = 0;
	while (topic != UINT32_MAX) {
		int freed = run_collect_garbage(&f.env, f.txn, 0, pages_max, &topic, &f.err);
		ck_assert_int_ge(freed, 0);
		/* A value is deleted whole. */
		ck_assert_int_le(freed, (int)pages_max + 3);
		index_fixture_commit(&f);
	}
}

/* What the runs of the topic hold together is what the model does. */
static void check_holds(const struct model *model)
{
	struct run_list list;
	struct index_entry found;
	struct snapshot *snapshot;
	MDB_cursor *cursor;
	uint64_t total = 0;
	index_fixture_commit(&f);
	index_fixture_load(&f, TOPIC, KIND, &list);
	for (uint32_t i = 0; i < list.count; i++) {
		total += list.runs[i].count;
	}
	ck_assert_uint_eq(total, model->count);
	ck_assert_int_eq(env_snapshot_begin(&f.env, &snapshot, &f.err), 0);
	ck_assert_int_eq(env_snapshot_cursor(&f.env, snapshot, TABLE_INDEX, &cursor, &f.err), 0);
	for (size_t i = 0; i < model->count; i++) {
		struct index_hash hash = model->entries[i].hash, absent = {~hash.high, hash.low};
		if (i + 1 < model->count && model->entries[i + 1].hash.high == hash.high) {
			continue;
		}
		ck_assert_int_eq(
			run_cache_newest(cache, cursor, TOPIC, KIND, hash, &found, &f.err), 1);
		ck_assert(index_entry_equal(&found, &model->entries[i]));
		ck_assert_int_eq(
			run_cache_newest(cache, cursor, TOPIC, KIND, absent, &found, &f.err), 0);
	}
	env_snapshot_end(&f.env, snapshot);
	if (list.count == 1) {
		struct index_expected all = {model->entries, model->count, 0, 0};
		ck_assert_int_eq(
			run_walk(f.cursor, TOPIC, KIND, &list.runs[0], index_expect, &all, &f.err),
			0);
		ck_assert_uint_eq(all.seen, model->count);
	}
}

START_TEST(test_index_merge_makes_one_run_of_many)
{
	/* From many small steps to one large one. */
	static const uint64_t step_bytes[] = {0, 1, 20000, 100000, UINT64_C(1) << 40};

	for (size_t i = 0; i < ANNALS_COUNT_OF(step_bytes); i++) {
		struct model model = model_new();
		struct run_merge *merge;
		struct run_list list;
		for (int r = 0; r < 7; r++) {
			flush_run(&model, TOPIC, 1 + random_below(&f.random, 2500),
				1 + random_below(&f.random, 3000));
		}
		index_fixture_commit(&f);
		ck_assert_int_eq(begin_merge(&model, UINT64_MAX, NULL, NULL, &merge), 1);
		int steps = merge_all(merge, step_bytes[i]);
		ck_assert_int_eq(steps == 1, i == ANNALS_COUNT_OF(step_bytes) - 1);
		run_merge_free(merge);
		check_holds(&model);
		index_fixture_load(&f, TOPIC, KIND, &list);
		ck_assert_uint_eq(list.count, 1);
		ck_assert_uint_eq(list.runs[0].id, 8);
		ck_assert_uint_eq(list.runs[0].level, 1);
		ck_assert_uint_eq(list.runs[0].first_block, 1);
		ck_assert_uint_eq(list.runs[0].last_block, 35);
		ck_assert_uint_eq(list.runs[0].order_first, 1000);
		ck_assert_uint_eq(list.runs[0].order_last, model.next_order - 1);
		collect_all(9);
		check_holds(&model);
		while (run_delete_topic(&f.env, f.txn, TOPIC, 50, &f.err) > 0) {
		}
		ck_assert_uint_eq(index_fixture_rows(&f), 0);
		free(model.entries);
	}
}
END_TEST

START_TEST(test_index_merge_of_runs_of_one_entry)
{
	struct model model = model_new();
	struct run_merge *merge;
	for (int r = 0; r < 64; r++) {
		flush_run(&model, TOPIC, 1 + (size_t)(r % 2) * 408, 3);
	}
	ck_assert_int_eq(begin_merge(&model, UINT64_MAX, NULL, NULL, &merge), 1);
	merge_all(merge, 4096);
	run_merge_free(merge);
	check_holds(&model);
	free(model.entries);
}
END_TEST

START_TEST(test_index_merge_chooses_the_lowest_level_and_what_fits)
{
	struct model model = model_new();
	struct run_merge *merge;
	struct run_list list;

	for (int r = 0; r < 5; r++) {
		flush_run(&model, TOPIC, 10, 10);
	}
	ck_assert_int_eq(begin_merge(&model, UINT64_MAX, NULL, NULL, &merge), 0);
	flush_run(&model, TOPIC, 10, 10);
	ck_assert_int_eq(begin_merge(&model, 59, NULL, NULL, &merge), 0);
	/* Six runs of level 1, then ten of level 0 of which eight fit. */
	for (int level1 = 0; level1 < 6; level1++) {
		while (index_fixture_load(&f, TOPIC, KIND, &list),
			list.count < 6 + (uint32_t)level1) {
			flush_run(&model, TOPIC, 10, 10);
		}
		ck_assert_int_eq(begin_merge(&model, 60, NULL, NULL, &merge), 1);
		merge_all(merge, 4096);
		run_merge_free(merge);
	}
	for (int r = 0; r < 10; r++) {
		flush_run(&model, TOPIC, 10, 10);
	}
	ck_assert_int_eq(begin_merge(&model, 85, NULL, NULL, &merge), 1);
	merge_all(merge, 4096);
	run_merge_free(merge);
	index_fixture_load(&f, TOPIC, KIND, &list);
	ck_assert_uint_eq(list.count, 9);
	for (uint32_t i = 0; i < 7; i++) {
		ck_assert_uint_eq(list.runs[i].level, 1);
		ck_assert_uint_eq(list.runs[i].count, i < 6 ? 60 : 80);
	}
	ck_assert_uint_eq(list.runs[8].level, 0);
	check_holds(&model);
	ck_assert_int_eq(begin_merge(&model, 359, NULL, NULL, &merge), 0);
	ck_assert_int_eq(begin_merge(&model, UINT64_MAX, NULL, NULL, &merge), 1);
	merge_all(merge, 4096);
	run_merge_free(merge);
	index_fixture_load(&f, TOPIC, KIND, &list);
	ck_assert_uint_eq(list.count, 3);
	ck_assert_uint_eq(list.runs[0].level, 2);
	ck_assert_uint_eq(list.runs[0].count, 440);
	check_holds(&model);
	free(model.entries);
}
END_TEST

START_TEST(test_index_merge_of_a_crowded_index_always_begins)
{
	struct model model = model_new();
	struct run_merge *merge;
	struct run_list list;

	/* Nothing fits, and more runs than a list has. */
	for (uint32_t r = 0; r < RUNS_PER_INDEX_MAX + 10; r++) {
		flush_run(&model, TOPIC, 10 + r % 7, 30);
		if (r + 1 < RUNS_PER_INDEX_CROWDED) {
			ck_assert_int_eq(begin_merge(&model, 20, NULL, NULL, &merge), 0);
		}
	}
	ck_assert_int_eq(run_list_load(f.cursor, TOPIC, KIND, &list, &f.err), ANNALS_E_NO_MEMORY);
	ck_assert_int_eq(run_expire(&f.env, f.txn, TOPIC, KIND, 0, &f.err), 0);
	collect_all(100);
	int merges = 0;
	while (begin_merge(&model, 20, NULL, NULL, &merge) == 1) {
		merge_all(merge, 4096);
		run_merge_free(merge);
		merges++;
	}
	ck_assert_int_eq(merges, 7);
	index_fixture_load(&f, TOPIC, KIND, &list);
	ck_assert_uint_eq(list.count, RUNS_PER_INDEX_MAX + 10 - 7 * (RUN_MERGE_WIDTH - 1));
	collect_all(100);
	check_holds(&model);
	/* The smallest neighbours were taken: nobody grew out of proportion. */
	for (uint32_t i = 0; i < list.count; i++) {
		ck_assert_uint_le(list.runs[i].count, 16 * RUN_MERGE_WIDTH);
	}
	free(model.entries);
}
END_TEST

/* Keeps the newest of each hash and whatever has an even order. */
static bool keep_some(void *arg, const struct index_entry *entry, bool is_newest_of_hash)
{
	++*(size_t *)arg;
	return is_newest_of_hash || entry->order % 2 == 0;
}

static bool keep_none(void *arg, const struct index_entry *entry, bool is_newest_of_hash)
{
	(void)arg;
	(void)entry;
	(void)is_newest_of_hash;
	return false;
}

START_TEST(test_index_merge_leaves_out_what_is_not_kept)
{
	struct model model = model_new();
	struct run_merge *merge;
	size_t asked = 0, kept = 0;

	for (int r = 0; r < 6; r++) {
		flush_run(&model, TOPIC, 1000, 200);
	}
	ck_assert_int_eq(begin_merge(&model, UINT64_MAX, keep_some, &asked, &merge), 1);
	merge_all(merge, 10000);
	run_merge_free(merge);
	ck_assert_uint_eq(asked, model.count);
	for (size_t i = 0; i < model.count; i++) {
		const struct index_entry *e = &model.entries[i];
		bool is_newest = i + 1 == model.count || e[1].hash.high != e->hash.high;
		if (is_newest || e->order % 2 == 0) {
			model.entries[kept++] = *e;
		}
	}
	ck_assert_uint_lt(kept, model.count);
	model.count = kept;
	check_holds(&model);
	free(model.entries);
}
END_TEST

START_TEST(test_index_merge_that_keeps_nothing_leaves_nothing)
{
	struct model model = model_new();
	struct run_merge *merge;
	struct run_list list;
	int steps;

	for (int r = 0; r < 6; r++) {
		flush_run(&model, TOPIC, 5000, 200);
	}
	ck_assert_int_eq(begin_merge(&model, UINT64_MAX, keep_none, NULL, &merge), 1);
	steps = merge_all(merge, 20000);
	/* Reading counts as work, too. */
	ck_assert_int_gt(steps, 5);
	run_merge_free(merge);
	index_fixture_load(&f, TOPIC, KIND, &list);
	ck_assert_uint_eq(list.count, 0);
	collect_all(1000);
	ck_assert_uint_eq(index_fixture_rows(&f), 0);
	free(model.entries);
}
END_TEST

START_TEST(test_index_merge_takes_the_later_of_equal_entries)
{
	struct model model = model_new();
	struct run_merge *merge;
	struct run_list list;
	struct index_entry found, entry = {.hash = {5, 6}, .order = 9};

	for (uint64_t r = 1; r <= 6; r++) {
		struct run run = {.id = model.next_id++, .first_block = r, .last_block = r};
		entry.place = r;
		index_fixture_write(&f, TOPIC, KIND, &run, &entry, 1);
	}
	ck_assert_int_eq(begin_merge(&model, UINT64_MAX, NULL, NULL, &merge), 1);
	merge_all(merge, 4096);
	run_merge_free(merge);
	index_fixture_load(&f, TOPIC, KIND, &list);
	ck_assert_uint_eq(list.count, 1);
	ck_assert_uint_eq(list.runs[0].count, 1);
	ck_assert_int_eq(
		run_newest(f.cursor, TOPIC, KIND, &list.runs[0], entry.hash, &found, &f.err), 1);
	ck_assert_uint_eq(found.place, 6);
}
END_TEST

START_TEST(test_index_merge_goes_on_while_runs_are_flushed)
{
	struct model model = model_new();
	struct run_merge *merge;
	struct run_list list;
	int status = 1, steps = 0;

	for (int r = 0; r < 6; r++) {
		flush_run(&model, TOPIC, 2000, 500);
	}
	index_fixture_commit(&f);
	ck_assert_int_eq(begin_merge(&model, UINT64_MAX, NULL, NULL, &merge), 1);
	while (status == 1) {
		status = run_merge_step(merge, f.txn, 50000, &f.err);
		ck_assert_int_ge(status, 0);
		if (status == 1) {
			flush_run(&model, TOPIC, 10, 500);
		}
		index_fixture_commit(&f);
		check_holds(&model);
		steps++;
	}
	ck_assert_int_gt(steps, 5);
	run_merge_free(merge);
	index_fixture_load(&f, TOPIC, KIND, &list);
	ck_assert_uint_eq(list.count, (uint32_t)steps);
	free(model.entries);
}
END_TEST

START_TEST(test_index_merge_ends_when_an_input_is_gone)
{
	struct model model = model_new();
	struct run_merge *merge;
	struct run_list list;

	for (int r = 0; r < 8; r++) {
		flush_run(&model, TOPIC, 2000, 500);
	}
	index_fixture_commit(&f);
	ck_assert_int_eq(begin_merge(&model, UINT64_MAX, NULL, NULL, &merge), 1);
	ck_assert_int_eq(run_merge_step(merge, f.txn, 50000, &f.err), 1);
	index_fixture_commit(&f);
	ck_assert_int_eq(run_expire(&f.env, f.txn, TOPIC, KIND, 1000 + 4000, &f.err), 2);
	index_fixture_commit(&f);
	ASSERT_FAILS(
		run_merge_step(merge, f.txn, 50000, &f.err), ANNALS_E_CONFLICT, f.err, "is gone");
	run_merge_free(merge);
	index_fixture_abort(&f);
	collect_all(100);
	index_fixture_load(&f, TOPIC, KIND, &list);
	ck_assert_uint_eq(list.count, 6);
	/* What is left can be merged. */
	ck_assert_int_eq(begin_merge(&model, UINT64_MAX, NULL, NULL, &merge), 1);
	merge_all(merge, 50000);
	run_merge_free(merge);
	index_fixture_load(&f, TOPIC, KIND, &list);
	ck_assert_uint_eq(list.count, 1);
	ck_assert_uint_eq(list.runs[0].count, 12000);
	free(model.entries);
}
END_TEST

START_TEST(test_index_garbage_of_an_abandoned_merge_goes)
{
	struct model model = model_new(), others = model_new();
	struct run_merge *merge;
	uint32_t topic = 0;
	uint64_t last_id;

	for (int r = 0; r < 6; r++) {
		flush_run(&model, TOPIC, 3000, 100000);
		flush_run(&others, TOPIC + 3, 10, 10);
	}
	index_fixture_commit(&f);
	size_t rows = index_fixture_rows(&f);
	ck_assert_int_eq(begin_merge(&model, UINT64_MAX, NULL, NULL, &merge), 1);
	uint64_t building = model.next_id - 1;
	for (int step = 0; step < 3; step++) {
		ck_assert_int_eq(run_merge_step(merge, f.txn, 100000, &f.err), 1);
		index_fixture_commit(&f);
	}
	ck_assert_uint_gt(index_fixture_rows(&f), rows);
	ck_assert_int_eq(run_last_id(&f.env, f.txn, &last_id, &f.err), 0);
	ck_assert_uint_eq(last_id, building);
	/* While it is being built it is nobody's garbage. */
	rows = index_fixture_rows(&f);
	ck_assert_int_eq(run_collect_garbage(&f.env, f.txn, building, 1000, &topic, &f.err), 0);
	ck_assert_uint_eq(topic, UINT32_MAX);
	ck_assert_uint_eq(index_fixture_rows(&f), rows);
	run_merge_free(merge);
	collect_all(5);
	check_holds(&model);
	ck_assert_uint_lt(index_fixture_rows(&f), rows);
	/* Nothing is left to do. */
	topic = 0;
	ck_assert_int_eq(run_collect_garbage(&f.env, f.txn, 0, 1000, &topic, &f.err), 0);
	free(model.entries);
	free(others.entries);
}
END_TEST

START_TEST(test_index_garbage_visits_many_topics_in_turns)
{
	struct index_entry entry = {.order = 1};
	uint32_t topic = 0;
	int turns = 0;

	for (uint32_t t = 1; t <= 200; t++) {
		struct run run = {.id = t, .first_block = 1, .last_block = 1};
		index_fixture_write(&f, t * 5, INDEX_QUERY, &run, &entry, 1);
		if (t == 200) {
			ck_assert_int_eq(
				run_expire(&f.env, f.txn, t * 5, INDEX_QUERY, 1, &f.err), 0);
			ck_assert_int_eq(
				run_expire(&f.env, f.txn, t * 5, INDEX_QUERY, 2, &f.err), 1);
		}
	}
	while (topic != UINT32_MAX) {
		int freed = run_collect_garbage(&f.env, f.txn, 0, 100, &topic, &f.err);
		ck_assert_int_eq(freed, topic == UINT32_MAX ? 2 : 0);
		turns++;
	}
	ck_assert_int_eq(turns, 4);
	ck_assert_uint_eq(index_fixture_rows(&f), 199 * 3);
}
END_TEST

START_TEST(test_index_last_id_is_the_largest_of_all)
{
	struct index_entry entry = {.order = 1};
	static const struct {
		uint32_t topic_id;
		enum index_kind kind;
		uint64_t id;
	} runs[] = {{0, INDEX_STREAM, 4}, {0, INDEX_QUERY, 40}, {3, INDEX_ID, 300},
		{UINT32_MAX, INDEX_QUERY, 20}, {3, INDEX_STREAM, 2}};
	uint64_t last = 99, expected = 0;

	ck_assert_int_eq(run_last_id(&f.env, f.txn, &last, &f.err), 0);
	ck_assert_uint_eq(last, 0);
	for (size_t i = 0; i < ANNALS_COUNT_OF(runs); i++) {
		struct run run = {.id = runs[i].id, .first_block = 1, .last_block = 1};
		index_fixture_write(&f, runs[i].topic_id, runs[i].kind, &run, &entry, 1);
		expected = ANNALS_MAX(expected, runs[i].id);
		ck_assert_int_eq(run_last_id(&f.env, f.txn, &last, &f.err), 0);
		ck_assert_uint_eq(last, expected);
	}
	/* Also of garbage. */
	ck_assert_int_eq(run_expire(&f.env, f.txn, 3, INDEX_ID, 100, &f.err), 1);
	ck_assert_int_eq(run_last_id(&f.env, f.txn, &last, &f.err), 0);
	ck_assert_uint_eq(last, 300);
	ck_assert_int_eq(table_put(&f.env, f.txn, TABLE_INDEX, bytes_text("\xff\xff\xff\xff\xff"),
				 bytes_text("x"), &f.err),
		0);
	ASSERT_FAILS(run_last_id(&f.env, f.txn, &last, &f.err), ANNALS_E_CORRUPT_DATA, f.err,
		"table 'index'");
}
END_TEST

START_TEST(test_index_topic_deletion_leaves_others)
{
	struct model model = model_new(), others = model_new();
	int steps = 0, freed;

	flush_run(&model, TOPIC, 5000, 300);
	flush_run(&model, TOPIC, 5000, 300);
	size_t rows = index_fixture_rows(&f);
	flush_run(&others, TOPIC - 1, 1000, 300);
	flush_run(&others, TOPIC + 1, 1000, 300);
	size_t all = index_fixture_rows(&f);
	while ((freed = run_delete_topic(&f.env, f.txn, TOPIC + 1, 8, &f.err)) > 0) {
		ck_assert_int_le(freed, 8 + 3);
		index_fixture_commit(&f);
		steps++;
	}
	ck_assert_int_eq(freed, 0);
	ck_assert_int_gt(steps, 1);
	check_holds(&model);
	while (run_delete_topic(&f.env, f.txn, TOPIC - 1, 8, &f.err) > 0) {
	}
	ck_assert_uint_eq(index_fixture_rows(&f), rows);
	ck_assert_uint_gt(all, rows);
	check_holds(&model);
	free(model.entries);
	free(others.entries);
}
END_TEST

/* Bits flipped at random in what is merged: told, or harmless, never a wrong run. */
START_TEST(test_index_merge_tells_damage)
{
	struct model model = model_new();
	uint8_t copy[RUN_PAGE_BYTES], key_copy[RUN_PAGE_KEY_BYTES];
	int told = 0;

	for (int r = 0; r < 6; r++) {
		flush_run(&model, TOPIC, 900, 500);
	}
	index_fixture_commit(&f);
	const size_t rows = index_fixture_rows(&f);
	for (size_t i = 0; i < rows; i++) {
		struct run_merge *merge;
		struct run_key parsed;
		MDB_val key, value;
		ck_assert_int_eq(mdb_cursor_get(f.cursor, &key, &value, MDB_FIRST), 0);
		for (size_t k = 0; k < i; k++) {
			ck_assert_int_eq(mdb_cursor_get(f.cursor, &key, &value, MDB_NEXT), 0);
		}
		struct bytes own_key = bytes_of(key_copy, key.mv_size);
		size_t size = value.mv_size;
		memcpy(key_copy, key.mv_data, key.mv_size);
		memcpy(copy, value.mv_data, size);
		ck_assert(run_key_parse(own_key, &parsed));
		copy[random_below(&f.random, size)] ^= 4;
		size -= i % 2 == 0 ? 0 : 4;
		ck_assert_int_eq(table_delete(&f.env, f.txn, TABLE_INDEX, own_key, &f.err), 0);
		ck_assert_int_eq(table_put(&f.env, f.txn, TABLE_INDEX, own_key,
					 bytes_of(copy, size), &f.err),
			0);
		int status = begin_merge(&model, UINT64_MAX, NULL, NULL, &merge);
		if (parsed.section == RUN_MANIFEST) {
			ck_assert_int_eq(status, ANNALS_E_CORRUPT_DATA);
		} else {
			ck_assert_int_eq(status, 1);
			while ((status = run_merge_step(merge, f.txn, 20000, &f.err)) == 1) {
			}
			ck_assert_int_eq(
				status, parsed.section == RUN_PAGES ? ANNALS_E_CORRUPT_DATA : 0);
			run_merge_free(merge);
		}
		told += status < 0;
		index_fixture_abort(&f);
	}
	ck_assert_int_ge(told, 6 + 18);
	check_holds(&model);
	free(model.entries);
}
END_TEST

SUITE_MAIN("index_merge", set_up, tear_down, test_index_merge_makes_one_run_of_many,
	test_index_merge_of_runs_of_one_entry,
	test_index_merge_chooses_the_lowest_level_and_what_fits,
	test_index_merge_of_a_crowded_index_always_begins,
	test_index_merge_leaves_out_what_is_not_kept,
	test_index_merge_that_keeps_nothing_leaves_nothing,
	test_index_merge_takes_the_later_of_equal_entries,
	test_index_merge_goes_on_while_runs_are_flushed,
	test_index_merge_ends_when_an_input_is_gone, test_index_merge_tells_damage,
	test_index_garbage_of_an_abandoned_merge_goes,
	test_index_garbage_visits_many_topics_in_turns, test_index_last_id_is_the_largest_of_all,
	test_index_topic_deletion_leaves_others)
