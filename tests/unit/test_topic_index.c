/* What a topic's index answers from its two halves: entries in memory, and runs in LMDB. */
#include "index_fixture.h"
#include "suite.h"
#include "topic_index.h"

#include <annals/macros.h>

#define TOPIC 3u
#define ENTRIES 64u

static struct index_fixture f;
static struct shard *shard;
static struct topic_state state;
static struct index_hash stream, other;

static void set_up(void)
{
	index_fixture_init(&f);
	shard = calloc(1, sizeof(*shard));
	ck_assert_ptr_nonnull(shard);
	ck_assert_int_eq(pthread_mutex_init(&shard->tail.mutex, NULL), 0);
	shard->env = f.env; /* it has no snapshots yet */
	memset(&state, 0, sizeof(state));
	state.id = TOPIC;
	state.index = calloc(1, sizeof(*state.index));
	ck_assert_ptr_nonnull(state.index);
	stream = index_fixture_hash(1);
	other = index_fixture_hash(2);
}

static void tear_down(void)
{
	f.env = shard->env;
	topic_index_free(state.index);
	free(shard);
	index_fixture_release(&f);
}

static struct index_entry entry_of(struct index_hash hash, uint64_t order)
{
	return (struct index_entry){.hash = hash, .order = order, .place = 1000 + order};
}

static void remember(struct memtable *table, uint64_t first, uint64_t end)
{
	for (uint64_t order = first; order < end; order++) {
		struct index_entry mine = entry_of(stream, order), his = entry_of(other, order);
		ck_assert_int_eq(memtable_add(table, &mine), 0);
		ck_assert_int_eq(memtable_add(table, &his), 0);
	}
}

static void write_run(uint64_t id, uint64_t first, uint64_t end)
{
	struct index_entry entries[2 * ENTRIES];
	struct run run = {.id = id, .first_block = id, .last_block = id};
	size_t count = 0;
	for (uint64_t order = first; order < end; order++) {
		entries[count++] = entry_of(stream, order);
		entries[count++] = entry_of(other, order);
	}
	qsort(entries, count, sizeof(entries[0]), index_fixture_compare);
	index_fixture_write(&f, TOPIC, INDEX_STREAM, &run, entries, count);
	index_fixture_commit(&f);
}

/* Every range in both directions holds each entry of [first, end) that is in it, once. */
static void expect_ranges(uint64_t first, uint64_t end)
{
	for (uint64_t from = 0; from <= end + 1; from++) {
		for (size_t max = 0; max <= ENTRIES; max += max < 4 ? 1 : 15) {
			struct index_entry got[ENTRIES];
			struct index_view view;
			size_t count = 0, wanted;
			uint64_t begin = ANNALS_MAX(first, from);

			index_view_init(&view, shard, &state);
			ck_assert_int_eq(index_range(&view, INDEX_STREAM, stream, from, UINT64_MAX,
						 false, got, max, &count, &f.err),
				0);
			wanted = begin < end ? ANNALS_MIN(end - begin, max) : 0;
			ck_assert_uint_eq(count, wanted);
			for (size_t i = 0; i < count; i++) {
				ck_assert_uint_eq(got[i].order, begin + i);
			}
			ck_assert_int_eq(index_range(&view, INDEX_STREAM, stream, 0, from, true,
						 got, max, &count, &f.err),
				0);
			begin = ANNALS_MIN(end, from + 1);
			wanted = begin > first ? ANNALS_MIN(begin - first, max) : 0;
			ck_assert_uint_eq(count, wanted);
			for (size_t i = 0; i < count; i++) {
				ck_assert_uint_eq(got[i].order, begin - 1 - i);
				ck_assert_uint_eq(got[i].place, 1000 + got[i].order);
			}
			index_view_release(&view);
		}
	}
}

START_TEST(test_topic_index_joins_memory_and_runs)
{
	write_run(1, 0, 10);
	write_run(2, 10, 20);
	expect_ranges(0, 20);
	remember(&state.index->frozen[INDEX_STREAM], 20, 27);
	expect_ranges(0, 27);
	remember(&state.index->active[INDEX_STREAM], 27, 33);
	expect_ranges(0, 33);
}
END_TEST

/* A flush is committed before memory lets go of it, and a reader looks at memory first: what is in
 * both is one entry. */
START_TEST(test_topic_index_takes_once_what_is_in_both)
{
	write_run(1, 0, 20);
	remember(&state.index->frozen[INDEX_STREAM], 20, 27);
	remember(&state.index->active[INDEX_STREAM], 27, 33);
	write_run(2, 20, 27);
	expect_ranges(0, 33);
}
END_TEST

START_TEST(test_topic_index_takes_once_what_is_only_in_memory_first)
{
	remember(&state.index->frozen[INDEX_STREAM], 0, 5);
	expect_ranges(0, 5);
	write_run(1, 0, 5);
	expect_ranges(0, 5);
}
END_TEST

SUITE_MAIN("topic_index", set_up, tear_down, test_topic_index_joins_memory_and_runs,
	test_topic_index_takes_once_what_is_in_both,
	test_topic_index_takes_once_what_is_only_in_memory_first)
