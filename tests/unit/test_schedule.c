/* Delayed events over a real store. */
#include "store_harness.h"

#include <annals/clock.h>
#include <annals/schedule.h>
#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BASE_US UINT64_C(1800000000000000)
#define SECOND_US UINT64_C(1000000)

static struct store_harness f;
static struct schedule *schedule;
static uint32_t topic_id;
static _Atomic uint64_t wall_us; /* stepped by the tests */

static uint64_t stepped_wall_us(void *arg)
{
	(void)arg;
	return atomic_load(&wall_us);
}

static uint64_t real_monotonic_ns(void *arg)
{
	struct timespec now;

	(void)arg;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
static const struct clock_source stepped = {
	.monotonic_ns = real_monotonic_ns, .wall_us = stepped_wall_us};

static void open_schedule(void)
{
	struct error err = {0, ""};

	ck_assert_msg(schedule_open(f.store, &schedule, &err) == 0, "%s", err.text);
}

static void setup(void)
{
	atomic_store(&wall_us, BASE_US);
	clock_set_source(&stepped);
	store_harness_init(&f);
	topic_id = store_harness_topic(&f, "reminders", 2);
	open_schedule();
}

static void teardown(void)
{
	schedule_close(schedule);
	store_harness_release(&f);
	clock_set_source(NULL);
}

static void reopen(void)
{
	schedule_close(schedule);
	store_harness_reopen(&f);
	open_schedule();
}

static void encode(struct buf *out, const char *id, const char *key, const char *data)
{
	struct record record = {.id = bytes_text(id),
		.source = bytes_text("/test"),
		.type = bytes_text("test"),
		.has_key = true,
		.key = bytes_text(key),
		.has_data = true,
		.data = bytes_text(data)};

	ck_assert_int_eq(record_encode(&record, out), 0);
}

static int keep(const char *id, const char *data, uint64_t due_us, struct scheduled_event *ret)
{
	struct buf bytes = BUF_INIT;
	struct schedule_request request = {
		.base = {.queue = &f.waiter.queue}, .topic_id = topic_id, .event_count = 1};
	int status;

	encode(&bytes, id, "k", data);
	*ret = (struct scheduled_event){.encoded = buf_bytes(&bytes),
		.source = bytes_text("/test"),
		.id = bytes_text(id),
		.due_us = due_us};
	request.events = ret;
	status = schedule_submit(schedule, &request, &f.error);
	if (status == 0) {
		ck_assert_ptr_eq(waiter_take(&f.waiter, 10000), &request.base);
		status = request.base.status;
	}
	buf_release(&bytes);
	return status;
}

static uint64_t stored(void)
{
	return store_harness_info(&f, topic_id, 0).end_offset +
	       store_harness_info(&f, topic_id, 1).end_offset;
}

static bool comes_to(uint64_t count)
{
	for (unsigned i = 0; i < 500 && stored() != count; i++) {
		(void)usleep(10000);
	}
	return stored() == count;
}

START_TEST(test_schedule_appends_when_due)
{
	struct scheduled_event event;
	struct schedule_stats stats;

	ck_assert_int_eq(keep("1", "a", BASE_US + 60 * SECOND_US, &event), 0);
	ck_assert_int_eq(keep("2", "b", BASE_US + 30 * SECOND_US, &event), 0);
	(void)usleep(700000);
	ck_assert_uint_eq(stored(), 0);
	schedule_stats(schedule, &stats);
	ck_assert_uint_eq(stats.waiting, 2);
	ck_assert_uint_eq(stats.next_due_us, BASE_US + 30 * SECOND_US);
	atomic_store(&wall_us, BASE_US + 30 * SECOND_US);
	ck_assert(comes_to(1));
	(void)usleep(700000);
	ck_assert_uint_eq(stored(), 1);
	atomic_store(&wall_us, BASE_US + 61 * SECOND_US);
	ck_assert(comes_to(2));
}
END_TEST

START_TEST(test_schedule_takes_an_id_once)
{
	struct scheduled_event first, again;

	ck_assert_int_eq(keep("1", "a", BASE_US + 60 * SECOND_US, &first), 0);
	ck_assert(!first.replayed);
	ck_assert_int_eq(keep("1", "a", BASE_US + 60 * SECOND_US, &again), 0);
	ck_assert(again.replayed);
	ck_assert_mem_eq(first.schedule_id, again.schedule_id, 16);
	ck_assert_int_eq(
		keep("1", "other", BASE_US + 60 * SECOND_US, &again), ANNALS_E_DUPLICATE_ID);
	atomic_store(&wall_us, BASE_US + 61 * SECOND_US);
	ck_assert(comes_to(1));
	(void)usleep(700000);
	ck_assert_uint_eq(stored(), 1);
}
END_TEST

START_TEST(test_schedule_survives_reopening)
{
	struct scheduled_event event;
	struct schedule_stats stats;
	char id[16];

	if (!store_harness_is_durable(&f)) {
		return;
	}
	for (unsigned i = 0; i < 1200; i++) {
		(void)snprintf(id, sizeof(id), "%u", i);
		ck_assert_int_eq(keep(id, "a", BASE_US + (10 + i % 7) * SECOND_US, &event), 0);
	}
	reopen();
	schedule_stats(schedule, &stats);
	ck_assert_uint_eq(stats.waiting, 1200);
	ck_assert_uint_eq(stored(), 0);
	atomic_store(&wall_us, BASE_US + 60 * SECOND_US);
	ck_assert(comes_to(1200));
	reopen();
	(void)usleep(700000);
	ck_assert_uint_eq(stored(), 1200);
	schedule_stats(schedule, &stats);
	ck_assert_uint_eq(stats.waiting, 0);
}
END_TEST

START_TEST(test_schedule_drops_events_of_deleted_topics)
{
	struct scheduled_event event;
	struct schedule_stats stats;

	ck_assert_int_eq(keep("1", "a", BASE_US + 10 * SECOND_US, &event), 0);
	ck_assert_int_eq(store_harness_delete_topic(&f, "reminders"), 0);
	topic_id = store_harness_topic(&f, "reminders", 2);
	ck_assert_int_eq(keep("1", "a", BASE_US + 11 * SECOND_US, &event), 0);
	ck_assert(!event.replayed);
	atomic_store(&wall_us, BASE_US + 60 * SECOND_US);
	ck_assert(comes_to(1));
	for (unsigned i = 0; i < 500; i++) {
		schedule_stats(schedule, &stats);
		if (stats.waiting == 0) {
			break;
		}
		(void)usleep(10000);
	}
	ck_assert_uint_eq(stats.waiting, 0);
	ck_assert_uint_eq(stats.dropped_total, 1);
	ck_assert_uint_eq(stats.appended_total, 1);
}
END_TEST

START_TEST(test_schedule_names_its_limits)
{
	struct schedule_request request = {.base = {.queue = &f.waiter.queue}};
	struct scheduled_event event = {.encoded = bytes_of("", SCHEDULED_EVENT_BYTES_MAX + 1)};

	ck_assert_int_eq(schedule_submit(schedule, &request, &f.error), ANNALS_E_LIMIT);
	request.event_count = SCHEDULED_EVENTS_MAX + 1;
	ck_assert_int_eq(schedule_submit(schedule, &request, &f.error), ANNALS_E_LIMIT);
	request.events = &event;
	request.event_count = 1;
	ck_assert_int_eq(schedule_submit(schedule, &request, &f.error), ANNALS_E_TOO_LARGE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("schedule");
	TCase *tests = tcase_create("schedule");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, test_schedule_appends_when_due);
	tcase_add_test(tests, test_schedule_takes_an_id_once);
	tcase_add_test(tests, test_schedule_survives_reopening);
	tcase_add_test(tests, test_schedule_drops_events_of_deleted_topics);
	tcase_add_test(tests, test_schedule_names_its_limits);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
