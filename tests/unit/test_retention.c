/* Retention on a real store: by events, bytes and age, settled or not, beside appends and reads. */
#include "store_fixture.h"

#define EVENT_DATA_BYTES 1000u

static struct store_fixture f;

static void set_up(void)
{
	store_fixture_init(&f);
	f.options.tail_bytes_max = 4u << 20;
	f.options.block_bytes_max = 1u << 20;
	f.options.retention_interval_us = 20000;
	store_fixture_open(&f);
}

static void fail_with_problem(void *arg, const char *text)
{
	(void)arg;
	ck_abort_msg("%s", text);
}

static void expect_verified(void)
{
	struct verify_options options = {
		.data_dir = f.dir, .map_bytes = f.options.map_bytes, .problem = fail_with_problem};
	struct verify_report report;
	store_fixture_close(&f);
	ck_assert_int_eq(store_verify(&options, &report, NULL), 0);
	ck_assert_uint_eq(report.problems, 0);
}

static void tear_down(void)
{
	expect_verified();
	store_fixture_release(&f);
}

static void let_retention_run(void)
{
	(void)usleep(300000);
}

static uint64_t kept_events(uint32_t topic_id, uint32_t partitions)
{
	uint64_t events = 0;
	for (uint32_t i = 0; i < partitions; i++) {
		struct partition_info info = store_fixture_info(&f, topic_id, i);
		events += info.end_offset - info.first_offset;
	}
	return events;
}

START_TEST(test_retention_by_events_of_a_small_topic)
{
	struct topic_config config = {.partitions = 1, .retention_events = 10};
	uint32_t id = store_fixture_create_topic(&f, "small", &config);
	for (int i = 0; i < 30; i++) {
		store_fixture_append(&f, id, 0, 1, 10);
	}
	ck_assert(store_fixture_wait_for_first(&f, id, 0, 20));
	let_retention_run();
	struct partition_info info = store_fixture_info(&f, id, 0);
	ck_assert_uint_eq(info.first_offset, 20);
	ck_assert_uint_eq(info.end_offset, 30);
	store_fixture_close(&f);
	store_fixture_open(&f);
	info = store_fixture_info(&f, id, 0);
	ck_assert_uint_eq(info.first_offset, 20);
	ck_assert_uint_eq(info.end_offset, 30);
	ck_assert_uint_eq(store_fixture_append(&f, id, 0, 1, 10), 30);
}
END_TEST

START_TEST(test_retention_by_events_over_partitions)
{
	struct topic_config config = {.partitions = 3, .retention_events = 9};
	uint32_t id = store_fixture_create_topic(&f, "spread", &config);
	for (uint32_t i = 0; i < 30; i++) {
		store_fixture_append(&f, id, i % 3, 1, 10);
	}
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert(store_fixture_wait_for_first(&f, id, i, 7));
	}
	let_retention_run();
	ck_assert_uint_eq(kept_events(id, 3), 9);
}
END_TEST

START_TEST(test_retention_by_bytes_trims_once)
{
	struct topic_config config = {.partitions = 3, .retention_bytes = 2u << 20};
	uint32_t id = store_fixture_create_topic(&f, "bytes", &config);
	for (uint32_t i = 0; i < 600; i++) {
		store_fixture_append(&f, id, i % 3, 20, EVENT_DATA_BYTES);
	}
	for (int i = 0; i < 500 && kept_events(id, 3) * EVENT_DATA_BYTES > 3u << 20; i++) {
		(void)usleep(10000);
	}
	let_retention_run();
	let_retention_run();
	/* The newest 2 MiB are there, and not much more: about 1,060 bytes an event, chunks of 64
	 * KiB. */
	uint64_t kept = kept_events(id, 3);
	ck_assert_uint_ge(kept * 1100, 2u << 20);
	ck_assert_uint_le(kept * EVENT_DATA_BYTES, (2u << 20) + 3 * 65536);
	struct store_stats stats;
	store_stats(f.store, &stats);
	ck_assert_uint_gt(stats.trimmed_chunks, 0);
}
END_TEST

/* Without waiting for the clock: what comes in between two looks must not all be on the disk. */
START_TEST(test_retention_keeps_up_with_a_flood)
{
	struct topic_config config = {.partitions = 1, .retention_bytes = 2u << 20};
	store_fixture_close(&f);
	f.options.retention_interval_us = 3600000000ull;
	store_fixture_open(&f);
	uint32_t id = store_fixture_create_topic(&f, "flood", &config);
	for (uint32_t i = 0; i < 480; i++) {
		store_fixture_append(&f, id, 0, 200, EVENT_DATA_BYTES);
	}
	struct partition_info info = store_fixture_info(&f, id, 0);
	ck_assert_uint_eq(info.end_offset, 96000);
	/* 16 MiB between two looks, and what was on its way when they happened. */
	ck_assert_uint_le((info.end_offset - info.first_offset) * EVENT_DATA_BYTES, 40u << 20);
	struct store_stats stats;
	store_stats(f.store, &stats);
	ck_assert_uint_le(stats.map_used_bytes, 64u << 20);
}
END_TEST

START_TEST(test_retention_by_age)
{
	struct topic_config config = {.partitions = 2, .retention_age_us = 500000};
	uint32_t id = store_fixture_create_topic(&f, "age", &config);
	for (uint32_t i = 0; i < 10; i++) {
		store_fixture_append(&f, id, i % 2, 1, 10);
	}
	ck_assert_uint_eq(kept_events(id, 2), 10);
	ck_assert(store_fixture_wait_for_first(&f, id, 0, 5));
	ck_assert(store_fixture_wait_for_first(&f, id, 1, 5));
	store_fixture_append(&f, id, 0, 1, 10);
	ck_assert_uint_eq(store_fixture_info(&f, id, 0).first_offset, 5);
	ck_assert(store_fixture_wait_for_first(&f, id, 0, 6));
	ck_assert_uint_eq(store_fixture_info(&f, id, 0).end_offset, 6);
}
END_TEST

START_TEST(test_retention_follows_new_settings)
{
	struct topic_config config = {.partitions = 1};
	uint32_t id = store_fixture_create_topic(&f, "later", &config);
	for (int i = 0; i < 30; i++) {
		store_fixture_append(&f, id, 0, 1, 10);
	}
	let_retention_run();
	ck_assert_uint_eq(kept_events(id, 1), 30);
	struct topic_request request = {.base = {.operation = STORE_TOPIC_UPDATE},
		.name = "later",
		.config = {.partitions = 1, .retention_events = 5}};
	ck_assert_int_eq(store_fixture_run(&f, &request.base), 0);
	topic_unref(request.topic);
	ck_assert(store_fixture_wait_for_first(&f, id, 0, 25));
	let_retention_run();
	ck_assert_uint_eq(kept_events(id, 1), 5);
}
END_TEST

START_TEST(test_retention_leaves_other_topics_alone)
{
	struct topic_config limited = {.partitions = 1, .retention_events = 1};
	struct topic_config unlimited = {.partitions = 1};
	uint32_t one = store_fixture_create_topic(&f, "limited", &limited);
	uint32_t other = store_fixture_create_topic(&f, "unlimited", &unlimited);
	for (int i = 0; i < 20; i++) {
		store_fixture_append(&f, one, 0, 1, 10);
		store_fixture_append(&f, other, 0, 1, 10);
	}
	ck_assert(store_fixture_wait_for_first(&f, one, 0, 19));
	let_retention_run();
	ck_assert_uint_eq(kept_events(one, 1), 1);
	ck_assert_uint_eq(kept_events(other, 1), 20);
}
END_TEST

struct reader {
	pthread_t thread;
	uint32_t topic_id;
	atomic_bool stop;
	uint64_t batches;
	int failure;
};

/* Reads from the beginning again and again; the beginning moves meanwhile. */
static void *read_all(void *arg)
{
	struct reader *reader = arg;
	while (!atomic_load(&reader->stop) && reader->failure == 0) {
		struct partition_info info;
		if (store_partition_info(f.store, reader->topic_id, 0, &info) != 0) {
			break;
		}
		struct read_request request = {.base = {.operation = STORE_READ},
			.topic_id = reader->topic_id,
			.offset = info.first_offset,
			.bytes_max = 256u << 10};
		int r = store_read(f.store, &request.base, 0);
		int status = r == 0 ? request.base.status : r;
		if (status != 0 && status != ANNALS_E_OFFSET_GONE) {
			reader->failure = status;
		}
		reader->batches += request.batch_count;
		buf_release(&request.batches);
	}
	return NULL;
}

START_TEST(test_retention_beside_appends_and_reads)
{
	struct topic_config config = {.partitions = 1, .retention_bytes = 1u << 20};
	uint32_t id = store_fixture_create_topic(&f, "busy", &config);
	struct reader reader = {.topic_id = id};
	ck_assert_int_eq(pthread_create(&reader.thread, NULL, read_all, &reader), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		store_fixture_append(&f, id, 0, 20, EVENT_DATA_BYTES);
	}
	atomic_store(&reader.stop, true);
	pthread_join(reader.thread, NULL);
	ck_assert_msg(reader.failure == 0, "%s", annals_status_name(reader.failure));
	ck_assert_uint_gt(reader.batches, 0);
	for (int i = 0; i < 500 && kept_events(id, 1) * EVENT_DATA_BYTES > (1u << 20) + 2 * 65536;
		i++) {
		(void)usleep(10000);
	}
	ck_assert_uint_ge(kept_events(id, 1) * 1100, 1u << 20);
	ck_assert_uint_le(kept_events(id, 1) * EVENT_DATA_BYTES, (1u << 20) + 2 * 65536);
	/* Freed pages are used again: 20 MB went through. */
	struct store_stats stats;
	store_stats(f.store, &stats);
	ck_assert_uint_lt(stats.map_used_bytes, 16u << 20);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("retention");
	TCase *tcase = tcase_create("retention");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, test_retention_by_events_of_a_small_topic);
	tcase_add_test(tcase, test_retention_by_events_over_partitions);
	tcase_add_test(tcase, test_retention_by_bytes_trims_once);
	tcase_add_test(tcase, test_retention_keeps_up_with_a_flood);
	tcase_add_test(tcase, test_retention_by_age);
	tcase_add_test(tcase, test_retention_follows_new_settings);
	tcase_add_test(tcase, test_retention_leaves_other_topics_alone);
	tcase_add_test(tcase, test_retention_beside_appends_and_reads);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
