/* A journal that fails: what is answered, what stays, what goes on. */
#include "journal/journal_fault.h"
#include "store_harness.h"
#include "suite.h"

#include <annals/fault.h>
#include <stdlib.h>
#include <unistd.h>

static struct store_harness f;
static uint32_t topic;

static void setup(void)
{
	ck_assert_int_eq(setenv("ANNALS_TEST_JOURNAL", "fault", 1), 0);
	store_harness_init(&f);
	topic = store_harness_topic(&f, "t", 2);
	ck_assert_int_eq(store_harness_append(&f, topic, 0, 10, 100, 1, NULL), 0);
}

static void teardown(void)
{
	store_harness_release(&f);
}

static void add_fault(enum journal_fault_call call, enum journal_fault_effect effect,
	enum journal_result result, int repeat)
{
	struct journal_fault fault = {
		.call = call, .effect = effect, .result = result, .repeat = repeat};
	journal_fault_add(store_shard(f.store)->journal, &fault);
}

static enum store_state state(void)
{
	struct store_stats stats;
	store_stats(f.store, &stats);
	return stats.state;
}

START_TEST(test_faults_full_journal_refuses_and_resumes)
{
	uint64_t offset;
	add_fault(JOURNAL_FAULT_WRITE, JOURNAL_FAULT_FAIL, JOURNAL_FULL, 1);
	ck_assert_int_eq(
		store_harness_append(&f, topic, 0, 5, 100, 2, NULL), ANNALS_E_STORAGE_FULL);
	ck_assert_int_eq(state(), STORE_FULL);
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).end_offset, 10);
	ck_assert_uint_eq(store_harness_read(&f, topic, 0, 0, NULL), 10);
	/* Offsets may still be committed; that it worked shows that there is room again. */
	ck_assert_int_eq(
		store_harness_append(&f, topic, 0, 5, 100, 2, NULL), ANNALS_E_STORAGE_FULL);
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 0, 3, ""), 0);
	ck_assert_int_eq(state(), STORE_OPEN);
	ck_assert_int_eq(store_harness_append(&f, topic, 0, 5, 100, 2, &offset), 0);
	ck_assert_uint_eq(offset, 10);
	/* And by itself, after a while. */
	add_fault(JOURNAL_FAULT_WRITE, JOURNAL_FAULT_FAIL, JOURNAL_FULL, 1);
	ck_assert_int_eq(
		store_harness_append(&f, topic, 0, 5, 100, 2, NULL), ANNALS_E_STORAGE_FULL);
	(void)usleep(120000);
	ck_assert_int_eq(store_harness_append(&f, topic, 0, 5, 100, 2, &offset), 0);
	ck_assert_uint_eq(offset, 15);
}
END_TEST

static void assert_stopped(void)
{
	struct watch_request watch = {.base.operation = STORE_WATCH,
		.base.queue = &f.waiter.queue,
		.topic_id = topic,
		.offset = 10};
	ck_assert_int_eq(state(), STORE_READ_ONLY);
	ck_assert_int_eq(store_harness_append(&f, topic, 0, 1, 10, 3, NULL), ANNALS_E_UNAVAILABLE);
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 0, 1, ""), ANNALS_E_UNAVAILABLE);
	/* Nothing staged is seen, what was durable is. */
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).end_offset, 10);
	ck_assert_uint_eq(store_harness_read(&f, topic, 0, 0, NULL), 10);
	ck_assert_int_eq(store_watch(f.store, &watch), 0);
	ck_assert(store_watch_cancel(f.store, &watch));
}

START_TEST(test_faults_failed_sync_is_unknown_and_stops)
{
	add_fault(JOURNAL_FAULT_SYNC, JOURNAL_FAULT_FAIL, JOURNAL_UNKNOWN, 1);
	ck_assert_int_eq(
		store_harness_append(&f, topic, 0, 5, 100, 2, NULL), ANNALS_E_OUTCOME_UNKNOWN);
	assert_stopped();
}
END_TEST

START_TEST(test_faults_lost_write_is_unknown_and_stops)
{
	add_fault(JOURNAL_FAULT_WRITE, JOURNAL_FAULT_AFTER, JOURNAL_UNKNOWN, 1);
	ck_assert_int_eq(
		store_harness_append(&f, topic, 0, 5, 100, 2, NULL), ANNALS_E_OUTCOME_UNKNOWN);
	assert_stopped();
}
END_TEST

START_TEST(test_faults_failed_topic_is_not_there)
{
	struct topic_request request = {.base.operation = STORE_TOPIC_CREATE, .name = "other"};
	request.config.partitions = 1;
	add_fault(JOURNAL_FAULT_SYNC, JOURNAL_FAULT_FAIL, JOURNAL_UNKNOWN, 1);
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_OUTCOME_UNKNOWN);
	ck_assert_ptr_null(store_topic_find(f.store, bytes_text("other")));
	assert_stopped();
}
END_TEST

START_TEST(test_faults_nothing_is_visible_before_the_sync)
{
	struct buf body = BUF_INIT;
	struct append_request request = {.base.operation = STORE_APPEND,
		.base.queue = &f.waiter.queue,
		.topic_id = topic,
		.part_count = 1};
	struct journal_fault slow = {.call = JOURNAL_FAULT_SYNC,
		.effect = JOURNAL_FAULT_DELAY,
		.delay_ms = 300,
		.repeat = 1};
	journal_fault_add(store_shard(f.store)->journal, &slow);
	request.parts = &request.one_part;
	store_harness_body(&body, 5, 100, 2);
	store_harness_part(&request.one_part, 0, buf_bytes(&body), 5);
	ck_assert_int_eq(store_submit(f.store, &request.base, &f.error), 0);
	ck_assert_ptr_null(waiter_take(&f.waiter, 100));
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).end_offset, 10);
	ck_assert_ptr_eq(waiter_take(&f.waiter, 5000), &request.base);
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).end_offset, 15);
	buf_release(&body);
}
END_TEST

START_TEST(test_faults_os_durability_is_answered_before_the_sync)
{
	struct buf body = BUF_INIT;
	struct append_request request = {.base.operation = STORE_APPEND,
		.base.queue = &f.waiter.queue,
		.topic_id = topic,
		.durability = DURABILITY_OS,
		.part_count = 1};
	struct journal_fault slow = {.call = JOURNAL_FAULT_SYNC,
		.effect = JOURNAL_FAULT_DELAY,
		.delay_ms = 300,
		.repeat = 1};
	journal_fault_add(store_shard(f.store)->journal, &slow);
	request.parts = &request.one_part;
	store_harness_body(&body, 5, 100, 2);
	store_harness_part(&request.one_part, 0, buf_bytes(&body), 5);
	ck_assert_int_eq(store_submit(f.store, &request.base, &f.error), 0);
	ck_assert_ptr_eq(waiter_take(&f.waiter, 200), &request.base);
	ck_assert_int_eq(request.base.status, 0);
	ck_assert_int_eq(request.durability, DURABILITY_OS);
	ck_assert_uint_eq(request.one_part.base_offset, 10);
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).end_offset, 10);
	/* The next commit comes after that sync. */
	ck_assert_int_eq(store_harness_append(&f, topic, 0, 1, 10, 3, NULL), 0);
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).end_offset, 16);
	buf_release(&body);
}
END_TEST

#ifdef ANNALS_FAULT_INJECTION
static int append_until_refused(void)
{
	for (unsigned i = 0; i < 3000; i++) {
		int status = store_harness_append(&f, topic, 1, 10, 1024, i, NULL);
		if (status != 0) {
			return status;
		}
	}
	return 0;
}

START_TEST(test_faults_no_space_for_lmdb_refuses_and_resumes)
{
	fault_set(NULL, "lmdb.reserve:1:28:0"); /* ENOSPC for ever */
	ck_assert_int_eq(append_until_refused(), ANNALS_E_STORAGE_FULL);
	ck_assert_int_eq(state(), STORE_FULL);
	struct store_stats stats;
	store_stats(f.store, &stats);
	ck_assert_uint_le(stats.tail_bytes, f.options.tail_bytes_max * 2);
	uint64_t end = store_harness_info(&f, topic, 1).end_offset;
	ck_assert_uint_eq(store_harness_read(&f, topic, 1, 0, NULL), end);
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 1, 5, ""), 0);
	fault_set(NULL, NULL);
	for (int i = 0; i < 300 && state() != STORE_OPEN; i++) {
		(void)usleep(10000);
	}
	ck_assert_int_eq(state(), STORE_OPEN);
	uint64_t offset;
	ck_assert_int_eq(store_harness_append(&f, topic, 1, 1, 10, 1, &offset), 0);
	ck_assert_uint_eq(offset, end);
}
END_TEST

START_TEST(test_faults_failed_lmdb_commit_stops_and_reads_go_on)
{
	fault_set(NULL, "lmdb.commit:1:5");
	ck_assert_int_eq(append_until_refused(), ANNALS_E_UNAVAILABLE);
	ck_assert_int_eq(state(), STORE_READ_ONLY);
	uint64_t end = store_harness_info(&f, topic, 1).end_offset;
	ck_assert_uint_eq(store_harness_read(&f, topic, 1, 0, NULL), end);
	fault_set(NULL, NULL);
}
END_TEST
#define INJECTED                                                                                   \
	, test_faults_no_space_for_lmdb_refuses_and_resumes,                                       \
		test_faults_failed_lmdb_commit_stops_and_reads_go_on
#else
#define INJECTED
#endif

SUITE_MAIN("store faults", setup, teardown, test_faults_full_journal_refuses_and_resumes,
	test_faults_failed_sync_is_unknown_and_stops, test_faults_lost_write_is_unknown_and_stops,
	test_faults_failed_topic_is_not_there, test_faults_nothing_is_visible_before_the_sync,
	test_faults_os_durability_is_answered_before_the_sync INJECTED)
