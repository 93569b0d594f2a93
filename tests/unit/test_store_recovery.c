/* Opening again: the same state comes back, from journal and LMDB in any mixture. */
#include "store_harness.h"
#include "suite.h"

#include <annals/hash.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct store_harness f;

static void setup(void)
{
	ck_assert_int_eq(setenv("ANNALS_TEST_JOURNAL", "file", 1), 0);
	store_harness_init(&f);
}

static void teardown(void)
{
	store_harness_release(&f);
}

static int add_offset(void *arg, const struct offset_entry *entry)
{
	struct buf *out = arg;
	char text[128];
	(void)snprintf(text, sizeof(text), "%u/%u=%llu@%llu ", entry->topic_id, entry->partition,
		(unsigned long long)entry->offset, (unsigned long long)entry->committed_us);
	return buf_add_text(out, text);
}

static int add_group(void *arg, struct bytes group)
{
	struct buf *out = arg;
	ck_assert_int_eq(buf_add(out, group.data, group.size), 0);
	return store_offset_list(f.store, group, add_offset, out, NULL);
}

/* Everything a reader can see, as text. */
static void describe(struct buf *out)
{
	struct topic **topics;
	size_t count;
	buf_reset(out);
	ck_assert_int_eq(store_topic_list(f.store, &topics, &count), 0);
	for (size_t i = 0; i < count; i++) {
		char uuid[37];
		uuid_format(uuid, topics[i]->uuid);
		ck_assert_int_eq(
			buf_printf(out, "%s %u %s %llu %llu last %llu\n", topics[i]->name,
				topics[i]->id, uuid, (unsigned long long)topics[i]->created_us,
				(unsigned long long)topics[i]->config.retention_events,
				(unsigned long long)store_topic_position(f.store, topics[i]->id)),
			0);
		for (uint32_t p = 0; p < topics[i]->config.partitions; p++) {
			struct partition_info info = store_harness_info(&f, topics[i]->id, p);
			uint32_t crc;
			uint64_t events =
				store_harness_read(&f, topics[i]->id, p, info.first_offset, &crc);
			ck_assert_int_eq(buf_printf(out, "  %u: %llu to %llu at %llu, %llu %08x\n",
						 p, (unsigned long long)info.first_offset,
						 (unsigned long long)info.end_offset,
						 (unsigned long long)info.last_recorded_us,
						 (unsigned long long)events, crc),
				0);
		}
		topic_unref(topics[i]);
	}
	free(topics);
	ck_assert_int_eq(store_group_list(f.store, add_group, out, NULL), 0);
	struct store_stats stats;
	store_stats(f.store, &stats);
	ck_assert_int_eq(
		buf_printf(out, "block %llu position %llu\n", (unsigned long long)stats.last_block,
			(unsigned long long)stats.last_position),
		0);
}

static void assert_same_after_reopen(void)
{
	struct buf before = BUF_INIT, after = BUF_INIT;
	describe(&before);
	for (int i = 0; i < 2; i++) {
		store_harness_reopen(&f);
		describe(&after);
		ck_assert_str_eq(buf_text(&before), buf_text(&after));
	}
	buf_release(&before);
	buf_release(&after);
}

/* Many things in one store: topics that come, grow and go, groups, trims. */
static void work(unsigned rounds)
{
	uint32_t a = store_harness_topic(&f, "a", 3), b = store_harness_topic(&f, "b", 1);
	struct random random = {rounds};
	for (unsigned i = 0; i < rounds; i++) {
		uint32_t partition = (uint32_t)random_below(&random, 3);
		uint32_t count = 1 + (uint32_t)random_below(&random, 20);
		ck_assert_int_eq(store_harness_append(&f, a, partition, count,
					 random_below(&random, 600), i, NULL),
			0);
		ck_assert_int_eq(store_harness_append(&f, b, 0, 2, 30, i, NULL), 0);
		if (i % 5 == 0) {
			struct partition_info info = store_harness_info(&f, a, partition);
			ck_assert_int_eq(store_harness_commit(&f, i % 2 ? "odd" : "even", a,
						 partition, info.end_offset, "x"),
				0);
		}
		if (i % 97 == 50) {
			char name[16];
			(void)snprintf(name, sizeof(name), "c%u", i);
			uint32_t c = store_harness_topic(&f, name, 2);
			store_harness_fill(&f, c, 1, 8, i);
			ck_assert_int_eq(store_harness_commit(&f, "even", c, 1, 5, ""), 0);
			if (i % 2 == 1) {
				ck_assert_int_eq(store_harness_delete_topic(&f, name), 0);
			}
		}
		if (i % 61 == 60) {
			struct partition_info info = store_harness_info(&f, a, 1);
			ck_assert_int_eq(store_harness_trim(&f, a, 1,
						 info.first_offset +
							 (info.end_offset - info.first_offset) / 3),
				0);
		}
	}
	struct topic_request update = {.base.operation = STORE_TOPIC_UPDATE, .name = "b"};
	update.config.partitions = 4;
	update.config.retention_events = 1u << 30;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &update.base), 0);
	topic_unref(update.topic);
	store_harness_fill(&f, b, 3, 3, 5);
	struct offset_request gone = {.base.operation = STORE_GROUP_DELETE, .group = "odd"};
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &gone.base), 0);
}

START_TEST(test_recovery_of_an_empty_store)
{
	assert_same_after_reopen();
}
END_TEST

START_TEST(test_recovery_from_the_journal_alone)
{
	work(100);
	assert_same_after_reopen();
}
END_TEST

START_TEST(test_recovery_from_journal_and_lmdb)
{
	store_close(f.store);
	f.options.tail_bytes_max = 1u << 20;
	store_harness_open(&f);
	work(800);
	assert_same_after_reopen();
	store_harness_fill(&f, store_harness_topic(&f, "later", 1), 0, 300, 4);
	assert_same_after_reopen();
}
END_TEST

START_TEST(test_recovery_is_deterministic)
{
	/* The journal alone, applied to an empty LMDB, gives what journal and LMDB together gave.
	 */
	struct buf before = BUF_INIT, after = BUF_INIT;
	char path[128];
	store_close(f.store);
	f.options.tail_bytes_max = 64u << 20;
	store_harness_open(&f);
	work(300);
	describe(&before);
	store_close(f.store);
	for (int i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/shards/0/lmdb/%s", f.dir,
			i == 0 ? "data.mdb" : "lock.mdb");
		ck_assert_int_eq(unlink(path), 0);
	}
	store_harness_open(&f);
	describe(&after);
	ck_assert_str_eq(buf_text(&before), buf_text(&after));
	buf_release(&before);
	buf_release(&after);
}
END_TEST

START_TEST(test_recovery_misses_a_journal_that_was_taken_away)
{
	char command[160];
	struct store *other;
	store_harness_fill(&f, store_harness_topic(&f, "t", 1), 0, 1000, 1);
	/* The rows go to LMDB with a trim, and with them the watermark. */
	ck_assert_int_eq(store_harness_trim(&f, 1, 0, 10), 0);
	(void)usleep(300000);
	store_close(f.store);
	f.store = NULL;
	(void)snprintf(command, sizeof(command), "rm -r %s/shards/0/journal", f.dir);
	ck_assert_int_eq(system(command), 0);
	ASSERT_FAILS(store_open(&f.options, &other, &f.error), ANNALS_E_CORRUPT_DATA, f.error,
		"journal");
}
END_TEST

SUITE_MAIN("store recovery", setup, teardown, test_recovery_of_an_empty_store,
	test_recovery_from_the_journal_alone, test_recovery_from_journal_and_lmdb,
	test_recovery_is_deterministic, test_recovery_misses_a_journal_that_was_taken_away)
