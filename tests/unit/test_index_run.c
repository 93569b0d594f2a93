#include "index_fixture.h"
#include "suite.h"

#define TOPIC 7u

static struct index_fixture f;

static void set_up(void)
{
	index_fixture_init(&f);
}

static void tear_down(void)
{
	index_fixture_release(&f);
}

static struct run new_run(uint64_t id)
{
	return (struct run){.id = id, .first_block = id * 10, .last_block = id * 10 + 9};
}

/* The newest entry of a hash among sorted entries; NULL if there is none. */
static const struct index_entry *model_newest(
	const struct index_entry *entries, size_t count, struct index_hash hash)
{
	const struct index_entry wanted = {.hash = hash, .order = UINT64_MAX};
	size_t low = 0, high = count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (index_entry_compare(&entries[middle], &wanted) <= 0) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low > 0 && entries[low - 1].hash.high == hash.high &&
			       entries[low - 1].hash.low == hash.low
		       ? &entries[low - 1]
		       : NULL;
}

static void check_newest(const struct run *run, const struct index_entry *entries, size_t count,
	struct index_hash hash)
{
	const struct index_entry *expected = model_newest(entries, count, hash);
	struct index_entry found;
	int status = run_newest(f.cursor, TOPIC, INDEX_STREAM, run, hash, &found, &f.err);
	ck_assert_int_eq(status, expected != NULL);
	if (expected != NULL) {
		ck_assert(index_entry_equal(&found, expected));
	}
}

static void check_range(const struct run *run, const struct index_entry *entries, size_t count,
	struct index_hash hash, uint64_t from, uint64_t to, bool backwards)
{
	struct index_entry *in = calloc(count, sizeof(*in));
	struct index_expected expected = {.entries = in};
	for (size_t i = 0; i < count; i++) {
		const struct index_entry *e = &entries[backwards ? count - 1 - i : i];
		if (e->hash.high == hash.high && e->hash.low == hash.low && e->order >= from &&
			e->order <= to) {
			in[expected.count++] = *e;
		}
	}
	ck_assert_int_eq(run_range(f.cursor, TOPIC, INDEX_STREAM, run, hash, from, to, backwards,
				 index_expect, &expected, &f.err),
		0);
	ck_assert_uint_eq(expected.seen, expected.count);
	if (expected.count > 1) {
		expected.seen = 0;
		expected.stop_after = 1 + random_below(&f.random, expected.count);
		ck_assert_int_eq(run_range(f.cursor, TOPIC, INDEX_STREAM, run, hash, from, to,
					 backwards, index_expect, &expected, &f.err),
			77);
		ck_assert_uint_eq(expected.seen, expected.stop_after);
	}
	free(in);
}

START_TEST(test_index_hash_depends_on_store_domain_and_data)
{
	uint8_t a[16] = {1, 2, 3}, b[16] = {1, 2, 4};
	struct index_hash one = index_hash(a, 'k', bytes_text("key"));
	struct index_hash again = index_hash(a, 'k', bytes_text("key"));
	const struct index_hash others[] = {index_hash(b, 'k', bytes_text("key")),
		index_hash(a, 'i', bytes_text("key")), index_hash(a, 'k', bytes_text("kez")),
		index_hash(a, 'k', bytes_text(""))};

	ck_assert_uint_eq(one.high, again.high);
	ck_assert_uint_eq(one.low, again.low);
	ck_assert_uint_ne(one.high, one.low);
	for (size_t i = 0; i < ANNALS_COUNT_OF(others); i++) {
		ck_assert_uint_ne(one.high, others[i].high);
		ck_assert_uint_ne(one.low, others[i].low);
	}
	/* Part of the disk format. */
	ck_assert_uint_eq(one.high, UINT64_C(15689440098287210828));
	ck_assert_uint_eq(one.low, UINT64_C(18390161068569420335));
}
END_TEST

START_TEST(test_index_entry_has_fixed_bytes_and_order)
{
	const struct index_entry entry = {{0x0807060504030201, 0x1817161514131211},
		0x2827262524232221, 0x3837363534333231, 0x4847464544434241};
	struct index_entry read, other = entry;
	uint8_t bytes[INDEX_ENTRY_BYTES];

	index_entry_write(bytes, &entry);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		ck_assert_uint_eq(bytes[i], i / 8 * 16 + i % 8 + 1);
	}
	index_entry_read(bytes, &read);
	ck_assert(index_entry_equal(&read, &entry));
	ck_assert_int_eq(index_entry_compare(&entry, &read), 0);
	other.place++;
	ck_assert_int_eq(index_entry_compare(&entry, &other), 0);
	other.order--;
	ck_assert_int_gt(index_entry_compare(&entry, &other), 0);
	other.hash.low++;
	ck_assert_int_lt(index_entry_compare(&entry, &other), 0);
	other.hash.high--;
	ck_assert_int_gt(index_entry_compare(&entry, &other), 0);
}
END_TEST

START_TEST(test_index_run_answers_as_a_sorted_array_does)
{
	/* Sizes around the edges of groups and pages; many hashes, few, one. */
	static const size_t sizes[] = {1, 2, 33, 34, 35, 407, 408, 409, 816, 817, 3000};
	static const uint64_t hashes[] = {1, 3, 50, 100000};

	for (size_t i = 0; i < ANNALS_COUNT_OF(sizes) * ANNALS_COUNT_OF(hashes); i++) {
		size_t count = sizes[i / ANNALS_COUNT_OF(hashes)];
		uint64_t hash_count = hashes[i % ANNALS_COUNT_OF(hashes)];
		struct index_entry *entries = index_fixture_entries(&f, count, hash_count, 100);
		struct run run = new_run(i + 1);
		index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, entries, count);
		ck_assert_uint_eq(run.count, count);
		ck_assert_uint_eq(run.order_first, 100);
		ck_assert_uint_eq(run.order_last, 100 + count - 1);
		for (int k = 0; k < 24; k++) {
			const struct index_entry *some = &entries[random_below(&f.random, count)];
			struct index_hash hash =
				k % 4 == 3 ? index_fixture_hash(1000000 + (uint64_t)k) : some->hash;
			uint64_t from = 90 + random_below(&f.random, count + 20);
			uint64_t to = 90 + random_below(&f.random, count + 20);
			check_newest(&run, entries, count, hash);
			check_range(&run, entries, count, hash, from, to, k % 2 == 0);
			check_range(
				&run, entries, count, hash, some->order, some->order, k % 2 == 1);
			check_range(&run, entries, count, hash, 0, UINT64_MAX, k % 2 == 0);
		}
		struct index_expected all = {.entries = entries, .count = count};
		ck_assert_int_eq(
			run_walk(f.cursor, TOPIC, INDEX_STREAM, &run, index_expect, &all, &f.err),
			0);
		ck_assert_uint_eq(all.seen, count);
		free(entries);
	}
}
END_TEST

START_TEST(test_index_run_finds_the_ends_of_all_numbers)
{
	struct index_entry entries[] = {
		{.hash = {0, 0}, .order = 0, .place = 1},
		{.hash = {0, 0}, .order = UINT64_MAX, .place = 2},
		{.hash = {UINT64_MAX, UINT64_MAX}, .order = 0, .place = 3},
		{.hash = {UINT64_MAX, UINT64_MAX}, .order = UINT64_MAX, .place = 4},
	};
	struct run run = new_run(1);
	index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, entries, 4);
	for (int i = 0; i < 4; i++) {
		check_newest(&run, entries, 4, entries[i].hash);
		check_range(&run, entries, 4, entries[i].hash, 0, UINT64_MAX, i % 2 == 0);
		check_range(&run, entries, 4, entries[i].hash, UINT64_MAX, UINT64_MAX, i % 2 == 0);
		check_range(&run, entries, 4, entries[i].hash, 0, 0, i % 2 == 1);
	}
	check_newest(&run, entries, 4, (struct index_hash){0, 1});
}
END_TEST

START_TEST(test_index_run_keeps_the_last_of_equal_entries)
{
	struct index_entry entries[] = {
		{.hash = {1, 1}, .order = 5, .place = 1},
		{.hash = {1, 1}, .order = 5, .place = 2},
		{.hash = {1, 1}, .order = 5, .place = 3},
		{.hash = {2, 1}, .order = 5, .place = 4},
	};
	struct run run = new_run(1);
	index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, entries, 4);
	ck_assert_uint_eq(run.count, 2);
	ck_assert_uint_eq(run.hashes, 2);
	check_range(&run, entries + 2, 2, entries[0].hash, 0, UINT64_MAX, false);
}
END_TEST

START_TEST(test_index_runs_of_others_are_out_of_sight)
{
	struct index_entry *entries = index_fixture_entries(&f, 1000, 50, 0);
	struct run run = new_run(4), before = new_run(3), after = new_run(5);
	struct run_list list;
	struct index_entry found;

	/* The same entries in neighbours of every kind. */
	index_fixture_write(&f, TOPIC, INDEX_STREAM, &before, entries, 1000);
	index_fixture_write(&f, TOPIC, INDEX_STREAM, &after, entries, 1000);
	index_fixture_write(&f, TOPIC, INDEX_ID, &run, entries, 1000);
	index_fixture_write(&f, TOPIC + 1, INDEX_STREAM, &run, entries, 1000);
	index_fixture_write(&f, TOPIC - 1, INDEX_QUERY, &run, entries, 1000);
	run = new_run(4);
	index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, entries + 400, 200);
	for (size_t i = 0; i < 1000; i += 7) {
		check_newest(&run, entries + 400, 200, entries[i].hash);
		check_range(&run, entries + 400, 200, entries[i].hash, 0, UINT64_MAX, i % 2 == 0);
	}
	index_fixture_load(&f, TOPIC, INDEX_STREAM, &list);
	ck_assert_uint_eq(list.count, 3);
	ck_assert_uint_eq(list.runs[0].id, 3);
	ck_assert_uint_eq(list.runs[1].id, 4);
	ck_assert_uint_eq(list.runs[1].count, 200);
	ck_assert_uint_eq(list.runs[2].id, 5);
	index_fixture_load(&f, TOPIC, INDEX_ID, &list);
	ck_assert_uint_eq(list.count, 1);
	index_fixture_load(&f, TOPIC, INDEX_QUERY, &list);
	ck_assert_uint_eq(list.count, 0);
	/* A run that is in the list of another index has no filter here. */
	ck_assert_int_eq(
		run_newest(f.cursor, TOPIC, INDEX_QUERY, &run, entries[0].hash, &found, &f.err),
		ANNALS_E_CORRUPT_DATA);
	free(entries);
}
END_TEST

START_TEST(test_index_run_filter_passes_few_absent_hashes)
{
	const size_t count = 50000;
	struct index_entry *entries = calloc(count, sizeof(*entries));
	struct run run = new_run(1);
	size_t passed = 0;

	for (size_t i = 0; i < count; i++) {
		entries[i].hash = index_fixture_hash(i);
	}
	qsort(entries, count, sizeof(*entries), index_fixture_compare);
	index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, entries, count);
	/* Without its pages, whatever the filter lets through fails or finds the next run's. */
	for (size_t i = 0; i < count; i++) {
		struct index_hash hash = index_fixture_hash(count + i);
		uint32_t number = run_filter_line(hash, run.filter_lines);
		uint8_t bytes[RUN_FILTER_KEY_BYTES];
		struct bytes part;
		run_filter_key(bytes, TOPIC, INDEX_STREAM, 1, number / RUN_FILTER_PART_LINES);
		ck_assert_int_eq(table_get(&f.env, f.txn, TABLE_INDEX,
					 bytes_of(bytes, sizeof(bytes)), &part, &f.err),
			1);
		passed += run_line_may_have(
			part.data + (size_t)(number % RUN_FILTER_PART_LINES) * RUN_LINE_BYTES,
			hash.low);
	}
	ck_assert_msg(passed < count / 50, "%zu of %zu", passed, count);
	ck_assert_msg(passed > count / 1000, "%zu of %zu is too good to be true", passed, count);
	ck_assert_uint_lt(run.filter_lines * RUN_LINE_BYTES, count * 3 / 2);
	free(entries);
}
END_TEST

START_TEST(test_index_run_filter_is_as_large_as_its_hashes)
{
	struct index_entry *entries = index_fixture_entries(&f, 20000, 10, 0);
	struct run run = new_run(1);
	index_fixture_write(&f, TOPIC, INDEX_QUERY, &run, entries, 20000);
	ck_assert_uint_eq(run.hashes, 10);
	ck_assert_uint_eq(run.filter_lines, 1);
	free(entries);
}
END_TEST

START_TEST(test_index_list_has_a_limit)
{
	struct index_entry entry = {.order = 1};
	struct run_list list;
	for (uint64_t id = 1; id <= RUNS_PER_INDEX_MAX; id++) {
		struct run run = new_run(id);
		index_fixture_write(&f, TOPIC, INDEX_ID, &run, &entry, 1);
	}
	index_fixture_load(&f, TOPIC, INDEX_ID, &list);
	ck_assert_uint_eq(list.count, RUNS_PER_INDEX_MAX);
	for (uint32_t i = 0; i < list.count; i++) {
		ck_assert_uint_eq(list.runs[i].id, i + 1);
		ck_assert_uint_eq(list.runs[i].last_block, (i + 1) * 10 + 9);
	}
	struct run run = new_run(RUNS_PER_INDEX_MAX + 1);
	index_fixture_write(&f, TOPIC, INDEX_ID, &run, &entry, 1);
	ASSERT_FAILS(run_list_load(f.cursor, TOPIC, INDEX_ID, &list, &f.err), ANNALS_E_NO_MEMORY,
		f.err, "more than 64 runs");
	/* Its neighbours do not mind. */
	index_fixture_load(&f, TOPIC, INDEX_QUERY, &list);
	ck_assert_uint_eq(list.count, 0);
}
END_TEST

START_TEST(test_index_snapshot_keeps_its_runs)
{
	struct index_entry *entries = index_fixture_entries(&f, 1000, 50, 0);
	struct run run = new_run(1);
	struct snapshot *old, *new;
	MDB_cursor *cursor;
	struct run_list list;
	struct index_entry found;

	index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, entries, 1000);
	index_fixture_commit(&f);
	ck_assert_int_eq(env_snapshot_begin(&f.env, &old, &f.err), 0);
	while (run_delete_topic(&f.env, f.txn, TOPIC, 5, &f.err) > 0) {
	}
	index_fixture_commit(&f);
	ck_assert_int_eq(env_snapshot_begin(&f.env, &new, &f.err), 0);
	ck_assert_int_eq(env_snapshot_cursor(&f.env, old, TABLE_INDEX, &cursor, &f.err), 0);
	ck_assert_int_eq(run_list_load(cursor, TOPIC, INDEX_STREAM, &list, &f.err), 0);
	ck_assert_uint_eq(list.count, 1);
	ck_assert_int_eq(run_newest(cursor, TOPIC, INDEX_STREAM, &list.runs[0], entries[3].hash,
				 &found, &f.err),
		1);
	ck_assert_int_eq(env_snapshot_cursor(&f.env, new, TABLE_INDEX, &cursor, &f.err), 0);
	ck_assert_int_eq(run_list_load(cursor, TOPIC, INDEX_STREAM, &list, &f.err), 0);
	ck_assert_uint_eq(list.count, 0);
	env_snapshot_end(&f.env, old);
	env_snapshot_end(&f.env, new);
	free(entries);
}
END_TEST

/* ---- Damage ---- */

static int ignore(void *arg, const struct index_entry *entry)
{
	(void)arg;
	(void)entry;
	return 0;
}

/* Changes byte `at` of row number `row` of the table in the transaction, or cuts it off there, or
 * leaves the row out. */
enum damage { FLIP, CUT, DROP, DAMAGES };

static struct run_key damage_row(size_t row, enum damage damage, size_t at_random)
{
	static uint8_t copy[RUN_PAGE_BYTES];
	uint8_t key_copy[RUN_KEY_BYTES_MAX];
	struct run_key parsed;
	MDB_val key, value;
	ck_assert_int_eq(mdb_cursor_get(f.cursor, &key, &value, MDB_FIRST), 0);
	for (size_t i = 0; i < row; i++) {
		ck_assert_int_eq(mdb_cursor_get(f.cursor, &key, &value, MDB_NEXT), 0);
	}
	ck_assert(run_key_parse(bytes_of(key.mv_data, key.mv_size), &parsed));
	memcpy(key_copy, key.mv_data, key.mv_size);
	memcpy(copy, value.mv_data, value.mv_size);
	struct bytes own_key = bytes_of(key_copy, key.mv_size);
	size_t size = value.mv_size, at = at_random % size;
	ck_assert_int_eq(table_delete(&f.env, f.txn, TABLE_INDEX, own_key, &f.err), 0);
	if (damage == FLIP) {
		copy[at] ^= (uint8_t)(1u << at_random % 8);
	} else {
		size = at;
	}
	if (damage != DROP) {
		ck_assert_int_eq(table_put(&f.env, f.txn, TABLE_INDEX, own_key,
					 bytes_of(copy, size), &f.err),
			0);
	}
	return parsed;
}

START_TEST(test_index_damage_is_told_and_never_answers_wrongly)
{
	struct index_entry *entries = index_fixture_entries(&f, 3000, 700, 0);
	struct run run = new_run(1);
	size_t told = 0;

	index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, entries, 3000);
	index_fixture_commit(&f);
	const size_t rows = index_fixture_rows(&f);
	for (size_t i = 0; i < rows * DAMAGES * 8; i++) {
		enum damage damage = (enum damage)(i % DAMAGES);
		struct run_key key =
			damage_row(i / DAMAGES % rows, damage, (size_t)random_next(&f.random));
		struct run_list list;
		struct index_entry found;
		int status = run_list_load(f.cursor, TOPIC, INDEX_STREAM, &list, &f.err);
		if (key.section == RUN_MANIFEST) {
			ck_assert_int_eq(status, damage == DROP ? 0 : ANNALS_E_CORRUPT_DATA);
			told++;
			index_fixture_abort(&f);
			continue;
		}
		ck_assert_int_eq(status, 0);
		for (size_t k = 0; k < 3000; k += 13) {
			bool page_is_gone = damage == DROP && key.section == RUN_PAGES;
			const struct index_entry *right =
				model_newest(entries, 3000, entries[k].hash);
			status = run_newest(f.cursor, TOPIC, INDEX_STREAM, &run, entries[k].hash,
				&found, &f.err);
			if (status == 1) {
				ck_assert(page_is_gone || index_entry_equal(&found, right));
			} else if (!page_is_gone) {
				ck_assert_int_eq(status, ANNALS_E_CORRUPT_DATA);
				told++;
			}
		}
		status = run_walk(f.cursor, TOPIC, INDEX_STREAM, &run, ignore, NULL, &f.err);
		ck_assert_int_eq(status, ANNALS_E_CORRUPT_DATA);
		index_fixture_abort(&f);
	}
	ck_assert_uint_gt(told, 100);
	free(entries);
}
END_TEST

START_TEST(test_index_pages_in_the_wrong_place_are_told)
{
	struct index_entry *entries = index_fixture_entries(&f, 408, 50, 0);
	struct run run = new_run(1), other = new_run(2);
	uint8_t from[RUN_PAGE_KEY_BYTES], to[RUN_PAGE_KEY_BYTES], copy[RUN_PAGE_BYTES];
	struct index_entry found;
	struct bytes value;

	index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, entries, 408);
	index_fixture_write(&f, TOPIC, INDEX_STREAM, &other, entries, 408);
	run_page_key(from, TOPIC, INDEX_STREAM, 1, entries[0].hash, entries[0].order);
	run_page_key(to, TOPIC, INDEX_STREAM, 2, entries[0].hash, entries[0].order);
	ck_assert_int_eq(
		table_get(&f.env, f.txn, TABLE_INDEX, bytes_of(from, sizeof(from)), &value, &f.err),
		1);
	ck_assert_uint_eq(value.size, RUN_PAGE_BYTES);
	memcpy(copy, value.data, value.size);
	ck_assert_int_eq(table_put(&f.env, f.txn, TABLE_INDEX, bytes_of(to, sizeof(to)),
				 bytes_of(copy, sizeof(copy)), &f.err),
		0);
	ck_assert_int_eq(
		run_newest(f.cursor, TOPIC, INDEX_STREAM, &run, entries[9].hash, &found, &f.err),
		1);
	ASSERT_FAILS(
		run_newest(f.cursor, TOPIC, INDEX_STREAM, &other, entries[9].hash, &found, &f.err),
		ANNALS_E_CORRUPT_DATA, f.err, "index of topic id 7, run 2");
	free(entries);
}
END_TEST

START_TEST(test_index_overlapping_runs_are_told)
{
	struct index_entry entry = {.order = 1};
	struct run run = {.id = 1, .first_block = 1, .last_block = 5};
	struct run_list list;
	index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, &entry, 1);
	run = (struct run){.id = 2, .first_block = 5, .last_block = 9};
	index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, &entry, 1);
	ASSERT_FAILS(run_list_load(f.cursor, TOPIC, INDEX_STREAM, &list, &f.err),
		ANNALS_E_CORRUPT_DATA, f.err, "the list of runs");
}
END_TEST

START_TEST(test_index_keys_of_others_are_refused)
{
	struct run_key key;
	uint8_t bytes[RUN_PAGE_KEY_BYTES + 1];
	run_page_key(bytes, TOPIC, INDEX_QUERY, 5, (struct index_hash){1, 2}, 3);
	ck_assert(run_key_parse(bytes_of(bytes, RUN_PAGE_KEY_BYTES), &key));
	ck_assert_uint_eq(key.topic_id, TOPIC);
	ck_assert_uint_eq(key.kind, INDEX_QUERY);
	ck_assert_uint_eq(key.section, RUN_PAGES);
	ck_assert_uint_eq(key.id, 5);
	ck_assert_uint_eq(key.hash.high, 1);
	ck_assert_uint_eq(key.hash.low, 2);
	ck_assert_uint_eq(key.order, 3);
	for (size_t size = 0; size <= sizeof(bytes); size++) {
		ck_assert_int_eq(
			run_key_parse(bytes_of(bytes, size), &key), size == RUN_PAGE_KEY_BYTES);
	}
	bytes[4] = 11; /* no such section */
	ck_assert(!run_key_parse(bytes_of(bytes, RUN_PAGE_KEY_BYTES), &key));
	bytes[4] = 12; /* no such kind */
	ck_assert(!run_key_parse(bytes_of(bytes, RUN_MANIFEST_KEY_BYTES), &key));
}
END_TEST

SUITE_MAIN("index_run", set_up, tear_down, test_index_hash_depends_on_store_domain_and_data,
	test_index_entry_has_fixed_bytes_and_order, test_index_run_answers_as_a_sorted_array_does,
	test_index_run_finds_the_ends_of_all_numbers,
	test_index_run_keeps_the_last_of_equal_entries, test_index_runs_of_others_are_out_of_sight,
	test_index_run_filter_passes_few_absent_hashes,
	test_index_run_filter_is_as_large_as_its_hashes, test_index_list_has_a_limit,
	test_index_snapshot_keeps_its_runs, test_index_damage_is_told_and_never_answers_wrongly,
	test_index_pages_in_the_wrong_place_are_told, test_index_overlapping_runs_are_told,
	test_index_keys_of_others_are_refused)
