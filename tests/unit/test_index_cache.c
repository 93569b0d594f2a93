#include "index/run_cache.h"
#include "index_fixture.h"
#include "suite.h"

#define TOPIC 5u
#define OTHER_TOPIC (TOPIC + RUN_CACHE_INDEXES) /* the cache has one place for both */

static struct index_fixture f;
static struct run_cache *cache;

static void set_up(void)
{
	index_fixture_init(&f);
	cache = run_cache_new();
	ck_assert_ptr_nonnull(cache);
}

static void tear_down(void)
{
	index_fixture_release(&f);
	run_cache_free(cache);
	run_cache_free(NULL);
}

/* Numbers of hashes [first, first + count), one entry each, as a run. */
static void write_numbers(uint32_t topic_id, uint64_t id, uint64_t first, size_t count)
{
	struct index_entry *entries = calloc(count, sizeof(*entries));
	struct run run = {.id = id, .first_block = id, .last_block = id};
	ck_assert_ptr_nonnull(entries);
	for (size_t i = 0; i < count; i++) {
		entries[i] = (struct index_entry){.hash = index_fixture_hash(first + i),
			.order = id * 1000,
			.place = topic_id * 1000 + id};
	}
	qsort(entries, count, sizeof(*entries), index_fixture_compare);
	index_fixture_write(&f, topic_id, INDEX_ID, &run, entries, count);
	free(entries);
}

/* Looks a number up in a snapshot of its own; *ret_place is where it was found. */
static int look_up(uint32_t topic_id, uint64_t number, uint64_t *ret_place)
{
	struct snapshot *snapshot;
	MDB_cursor *cursor;
	struct index_entry entry = {.place = 0};
	int status;
	ck_assert_int_eq(env_snapshot_begin(&f.env, &snapshot, &f.err), 0);
	ck_assert_int_eq(env_snapshot_cursor(&f.env, snapshot, TABLE_INDEX, &cursor, &f.err), 0);
	status = run_cache_newest(
		cache, cursor, topic_id, INDEX_ID, index_fixture_hash(number), &entry, &f.err);
	env_snapshot_end(&f.env, snapshot);
	*ret_place = entry.place;
	return status;
}

static void expect_found(uint32_t topic_id, uint64_t number, uint64_t run_id)
{
	uint64_t place;
	int status = look_up(topic_id, number, &place);
	ck_assert_msg(status == 1, "%d: %s", status, f.err.text);
	ck_assert_uint_eq(place, topic_id * 1000 + run_id);
}

static void expect_absent(uint32_t topic_id, uint64_t number)
{
	uint64_t place;
	ck_assert_int_eq(look_up(topic_id, number, &place), 0);
}

START_TEST(test_index_cache_sees_each_new_state)
{
	expect_absent(TOPIC, 1);
	for (uint64_t id = 1; id <= 30; id++) {
		write_numbers(TOPIC, id, id * 50, 100); /* half of them were in the run before */
		expect_absent(TOPIC, id * 50 + 99);
		index_fixture_commit(&f);
		for (uint64_t older = 1; older <= id; older++) {
			expect_found(TOPIC, older * 50, older);
			expect_found(TOPIC, older * 50 + 99, ANNALS_MIN(older + 1, id));
		}
		expect_absent(TOPIC, 49);
		expect_absent(TOPIC, id * 50 + 100);
	}
	/* The runs up to 10 expire, then their pages go. */
	ck_assert_int_eq(run_expire(&f.env, f.txn, TOPIC, INDEX_ID, 11 * 1000, &f.err), 10);
	index_fixture_commit(&f);
	expect_absent(TOPIC, 500);
	expect_found(TOPIC, 550, 11);
	uint32_t topic = 0;
	while (topic != UINT32_MAX) {
		ck_assert_int_ge(run_collect_garbage(&f.env, f.txn, 0, 1000, &topic, &f.err), 0);
	}
	index_fixture_commit(&f);
	expect_absent(TOPIC, 500);
	expect_found(TOPIC, 550, 11);
}
END_TEST

START_TEST(test_index_cache_keeps_indexes_apart)
{
	write_numbers(TOPIC, 1, 0, 100);
	write_numbers(TOPIC, 3, 300, 100);
	write_numbers(OTHER_TOPIC, 2, 0, 50);
	index_fixture_commit(&f);
	for (int i = 0; i < 3; i++) {
		expect_found(TOPIC, 10, 1);
		expect_found(OTHER_TOPIC, 10, 2);
		expect_absent(OTHER_TOPIC, 60);
		expect_found(TOPIC, 60, 1);
		expect_found(TOPIC, 360, 3);
		expect_absent(TOPIC + 1, 10);
	}
}
END_TEST

static void filter_key(uint8_t key[RUN_FILTER_KEY_BYTES])
{
	run_filter_key(key, TOPIC, INDEX_ID, 1, 0);
}

/* Values stay where they are in LMDB's file. Were one to move, nobody would notice. */
START_TEST(test_index_cache_asks_again_when_a_filter_has_moved)
{
	uint8_t key[RUN_FILTER_KEY_BYTES], copy[RUN_FILTER_PART_BYTES];
	struct bytes value;
	write_numbers(TOPIC, 1, 0, 9000);
	index_fixture_commit(&f);
	expect_found(TOPIC, 10, 1);
	filter_key(key);
	ck_assert_int_eq(
		table_get(&f.env, f.txn, TABLE_INDEX, bytes_of(key, sizeof(key)), &value, &f.err),
		1);
	const uint8_t *before = value.data;
	size_t size = value.size;
	memcpy(copy, value.data, size);
	ck_assert_int_eq(
		table_delete(&f.env, f.txn, TABLE_INDEX, bytes_of(key, sizeof(key)), &f.err), 0);
	index_fixture_commit(&f);
	/* Other values take the pages that it had. */
	for (uint64_t i = 0; i < 50; i++) {
		uint8_t junk[RUN_FILTER_PART_BYTES];
		memset(junk, 0x55, sizeof(junk));
		ck_assert_int_eq(table_put(&f.env, f.txn, TABLE_ROWS, bytes_of(&i, sizeof(i)),
					 bytes_of(junk, sizeof(junk)), &f.err),
			0);
		index_fixture_commit(&f);
	}
	ck_assert_int_eq(table_put(&f.env, f.txn, TABLE_INDEX, bytes_of(key, sizeof(key)),
				 bytes_of(copy, size), &f.err),
		0);
	index_fixture_commit(&f);
	ck_assert_int_eq(
		table_get(&f.env, f.txn, TABLE_INDEX, bytes_of(key, sizeof(key)), &value, &f.err),
		1);
	ck_assert_ptr_ne(value.data, before);
	ck_assert_int_ne(memcmp(before, copy, size), 0);
	for (uint64_t number = 0; number < 9000; number += 100) {
		expect_found(TOPIC, number, 1);
		expect_absent(TOPIC, number + 9000);
	}
}
END_TEST

START_TEST(test_index_cache_tells_damage)
{
	uint8_t key[RUN_FILTER_KEY_BYTES], copy[RUN_FILTER_PART_BYTES];
	struct bytes value;
	uint64_t place;
	write_numbers(TOPIC, 1, 0, 100);
	index_fixture_commit(&f);
	expect_found(TOPIC, 10, 1);
	filter_key(key);
	ck_assert_int_eq(
		table_get(&f.env, f.txn, TABLE_INDEX, bytes_of(key, sizeof(key)), &value, &f.err),
		1);
	size_t size = value.size;
	memcpy(copy, value.data, size);
	for (size_t line = 0; line < size; line += RUN_LINE_BYTES) {
		copy[line + 7] ^= 1;
	}
	ck_assert_int_eq(table_put(&f.env, f.txn, TABLE_INDEX, bytes_of(key, sizeof(key)),
				 bytes_of(copy, size), &f.err),
		0);
	index_fixture_commit(&f);
	run_cache_free(cache);
	cache = run_cache_new();
	for (int i = 0; i < 2; i++) {
		ASSERT_FAILS(look_up(TOPIC, 10, &place), ANNALS_E_CORRUPT_DATA, f.err,
			"a part of the filter fails its checksum");
	}
	ck_assert_int_eq(table_put(&f.env, f.txn, TABLE_INDEX, bytes_of(key, sizeof(key)),
				 bytes_of(copy, size - RUN_LINE_BYTES), &f.err),
		0);
	index_fixture_commit(&f);
	ASSERT_FAILS(look_up(TOPIC, 10, &place), ANNALS_E_CORRUPT_DATA, f.err,
		"a part of the filter is missing");
	/* A list that cannot be read, and then can. */
	struct run_key parsed;
	uint8_t row[RUN_MANIFEST_KEY_BYTES];
	run_key_prefix(row, TOPIC, INDEX_ID, RUN_MANIFEST, 7);
	ck_assert(run_key_parse(bytes_of(row, sizeof(row)), &parsed));
	ck_assert_int_eq(table_put(&f.env, f.txn, TABLE_INDEX, bytes_of(row, sizeof(row)),
				 bytes_text("damaged"), &f.err),
		0);
	index_fixture_commit(&f);
	ASSERT_FAILS(look_up(TOPIC, 10, &place), ANNALS_E_CORRUPT_DATA, f.err, "the list of runs");
	ck_assert_int_eq(
		table_delete(&f.env, f.txn, TABLE_INDEX, bytes_of(row, sizeof(row)), &f.err), 0);
	copy[7] ^= 1;
	for (size_t line = RUN_LINE_BYTES; line < size; line += RUN_LINE_BYTES) {
		copy[line + 7] ^= 1;
	}
	ck_assert_int_eq(table_put(&f.env, f.txn, TABLE_INDEX, bytes_of(key, sizeof(key)),
				 bytes_of(copy, size), &f.err),
		0);
	index_fixture_commit(&f);
	expect_found(TOPIC, 10, 1);
}
END_TEST

SUITE_MAIN("index_cache", set_up, tear_down, test_index_cache_sees_each_new_state,
	test_index_cache_keeps_indexes_apart, test_index_cache_asks_again_when_a_filter_has_moved,
	test_index_cache_tells_damage)
