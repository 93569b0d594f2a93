#include "index/memtable.h"
#include "index_fixture.h"
#include "suite.h"

static struct memtable table;
static struct random numbers;

static void set_up(void)
{
	table = (struct memtable){0};
	numbers.state = 7;
}

static void tear_down(void)
{
	memtable_release(&table);
}

START_TEST(test_memtable_empty_has_nothing)
{
	struct index_entry entry;
	ck_assert_ptr_null(memtable_newest(&table, index_fixture_hash(1)));
	ck_assert_uint_eq(
		memtable_range(&table, index_fixture_hash(1), 0, UINT64_MAX, false, &entry, 1), 0);
	ck_assert_uint_eq(memtable_bytes(&table), 0);
}
END_TEST

START_TEST(test_memtable_answers_as_an_array_does)
{
	static struct index_entry all[20000], found[64];
	for (size_t i = 0; i < ANNALS_COUNT_OF(all); i++) {
		all[i] = (struct index_entry){
			.hash = index_fixture_hash(random_below(&numbers, 5000)),
			.order = i * 2,
			.place = i};
		/* Half of the hashes share the bits by which they are found. */
		if (all[i].hash.high % 2 == 0) {
			all[i].hash.low = 0x1234;
		}
		ck_assert_int_eq(memtable_add(&table, &all[i]), 0);
		struct index_hash absent = {~all[i].hash.high, all[i].hash.low};
		ck_assert(index_entry_equal(memtable_newest(&table, all[i].hash), &all[i]));
		if (i % 1000 == 0) {
			ck_assert_ptr_null(memtable_newest(&table, absent));
		}
	}
	ck_assert_uint_eq(table.count, ANNALS_COUNT_OF(all));
	for (int round = 0; round < 300; round++) {
		struct index_hash hash = all[random_below(&numbers, ANNALS_COUNT_OF(all))].hash;
		uint64_t from = random_below(&numbers, 40000), to = random_below(&numbers, 40000);
		bool backwards = round % 2 == 0;
		size_t max = 1 + random_below(&numbers, 5), count = 0;
		size_t got = memtable_range(&table, hash, from, to, backwards, found, max);
		for (size_t k = 0; k < ANNALS_COUNT_OF(all) && count < max; k++) {
			const struct index_entry *e =
				&all[backwards ? ANNALS_COUNT_OF(all) - 1 - k : k];
			if (e->hash.high == hash.high && e->hash.low == hash.low &&
				e->order >= from && e->order <= to) {
				ck_assert_uint_lt(count, got);
				ck_assert(index_entry_equal(&found[count], e));
				count++;
			}
		}
		ck_assert_uint_eq(got, count);
	}
}
END_TEST

START_TEST(test_memtable_reserve_makes_room)
{
	ck_assert_int_eq(memtable_reserve(&table, 10000), 0);
	uint64_t bytes = memtable_bytes(&table);
	ck_assert_uint_gt(bytes, 10000 * sizeof(struct memtable_entry));
	for (uint64_t i = 0; i < 10000; i++) {
		struct index_entry entry = {.hash = index_fixture_hash(i), .order = i};
		ck_assert_int_eq(memtable_add(&table, &entry), 0);
	}
	ck_assert_uint_eq(memtable_bytes(&table), bytes);
	ck_assert_int_eq(memtable_reserve(&table, UINT32_MAX), ANNALS_E_NO_MEMORY);
	ck_assert_uint_eq(memtable_newest(&table, index_fixture_hash(77))->order, 77);
}
END_TEST

START_TEST(test_memtable_reset_empties)
{
	for (int round = 0; round < 2; round++) {
		uint64_t count = round == 0 ? 100 : 50000;
		for (uint64_t i = 0; i < count; i++) {
			struct index_entry entry = {.hash = index_fixture_hash(i), .order = i};
			ck_assert_int_eq(memtable_add(&table, &entry), 0);
		}
		memtable_reset(&table);
		ck_assert_uint_eq(table.count, 0);
		ck_assert_ptr_null(memtable_newest(&table, index_fixture_hash(1)));
		/* Small memory stays, large goes. */
		ck_assert_int_eq(memtable_bytes(&table) == 0, round == 1);
	}
}
END_TEST

SUITE_MAIN("memtable", set_up, tear_down, test_memtable_empty_has_nothing,
	test_memtable_answers_as_an_array_does, test_memtable_reserve_makes_room,
	test_memtable_reset_empties)
