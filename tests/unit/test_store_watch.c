/* Waiting for data. On every journal. */
#include "store_harness.h"
#include "suite.h"

static struct store_harness f;

static void setup(void)
{
	store_harness_init(&f);
}

static void teardown(void)
{
	store_harness_release(&f);
}

static struct watch_request watch_of(uint32_t topic, uint32_t partition, uint64_t offset)
{
	return (struct watch_request){.base.operation = STORE_WATCH,
		.base.queue = &f.waiter.queue,
		.topic_id = topic,
		.partition = partition,
		.offset = offset};
}

/* Requests come back in the order append, watch or the other way round. */
static void append_beside(struct waiter *waiter, uint32_t topic, uint32_t partition)
{
	struct buf body = BUF_INIT;
	struct append_request request = {
		.base.operation = STORE_APPEND, .topic_id = topic, .part_count = 1};
	request.parts = &request.one_part;
	store_harness_body(&body, 1, 20, 1);
	store_harness_part(&request.one_part, partition, buf_bytes(&body), 1);
	ck_assert_int_eq(store_harness_run(&f, waiter, &request.base), 0);
	buf_release(&body);
}

START_TEST(test_watch_is_satisfied_at_once_by_what_is_there)
{
	uint32_t topic = store_harness_topic(&f, "t", 1);
	store_harness_append(&f, topic, 0, 3, 10, 1, NULL);
	struct watch_request watch = watch_of(topic, 0, 2);
	ck_assert_int_eq(store_watch(f.store, &watch), 1);
	ck_assert(!store_watch_cancel(f.store, &watch));
	watch = watch_of(topic, 0, 3);
	ck_assert_int_eq(store_watch(f.store, &watch), 0);
	ck_assert(store_watch_cancel(f.store, &watch));
	ck_assert(!store_watch_cancel(f.store, &watch));
	watch = watch_of(topic, 1, 0);
	ck_assert_int_eq(store_watch(f.store, &watch), ANNALS_E_UNKNOWN_PARTITION);
	watch = watch_of(topic + 1, 0, 0);
	ck_assert_int_eq(store_watch(f.store, &watch), ANNALS_E_UNKNOWN_TOPIC);
}
END_TEST

START_TEST(test_watch_fires_only_for_its_partition)
{
	uint32_t topic = store_harness_topic(&f, "t", 2);
	struct watch_request first = watch_of(topic, 0, 0), second = watch_of(topic, 1, 0);
	ck_assert_int_eq(store_watch(f.store, &first), 0);
	ck_assert_int_eq(store_watch(f.store, &second), 0);
	append_beside(&f.other, topic, 1);
	ck_assert_ptr_eq(waiter_take(&f.waiter, 5000), &second.base);
	ck_assert_int_eq(second.base.status, 0);
	ck_assert_ptr_null(waiter_take(&f.waiter, 20));
	ck_assert(store_watch_cancel(f.store, &first));
	struct watch_request all =
		watch_of(topic, WATCH_ALL_PARTITIONS, store_topic_position(f.store, topic) + 1);
	ck_assert_int_eq(store_watch(f.store, &all), 0);
	append_beside(&f.other, topic, 0);
	ck_assert_ptr_eq(waiter_take(&f.waiter, 5000), &all.base);
}
END_TEST

START_TEST(test_watch_ends_with_its_topic)
{
	uint32_t topic = store_harness_topic(&f, "t", 2);
	struct watch_request one = watch_of(topic, 1, 0),
			     all = watch_of(topic, WATCH_ALL_PARTITIONS, 1000);
	ck_assert_int_eq(store_watch(f.store, &one), 0);
	ck_assert_int_eq(store_watch(f.store, &all), 0);
	struct topic_request request = {.base.operation = STORE_TOPIC_DELETE, .name = "t"};
	ck_assert_int_eq(store_harness_run(&f, &f.other, &request.base), 0);
	for (int i = 0; i < 2; i++) {
		struct store_request *back = waiter_take(&f.waiter, 5000);
		ck_assert_ptr_nonnull(back);
		ck_assert_int_eq(back->status, ANNALS_E_UNKNOWN_TOPIC);
	}
}
END_TEST

#define ROUNDS 3000

static void *append_main(void *arg)
{
	uint32_t topic = *(uint32_t *)arg;
	for (int i = 0; i < ROUNDS; i++) {
		append_beside(&f.other, topic, 0);
	}
	return NULL;
}

START_TEST(test_watch_never_misses_a_wake_up)
{
	pthread_t thread;
	uint32_t topic = store_harness_topic(&f, "t", 1);
	uint64_t offset = 0;
	ck_assert_int_eq(pthread_create(&thread, NULL, append_main, &topic), 0);
	while (offset < ROUNDS) {
		struct watch_request watch = watch_of(topic, 0, offset);
		int result = store_watch(f.store, &watch);
		ck_assert_int_ge(result, 0);
		if (result == 0) {
			ck_assert_ptr_eq(waiter_take(&f.waiter, 10000), &watch.base);
		}
		uint64_t end = store_harness_info(&f, topic, 0).end_offset;
		ck_assert_uint_gt(end, offset);
		offset = end;
	}
	(void)pthread_join(thread, NULL);
}
END_TEST

SUITE_MAIN("store watch", setup, teardown, test_watch_is_satisfied_at_once_by_what_is_there,
	test_watch_fires_only_for_its_partition, test_watch_ends_with_its_topic,
	test_watch_never_misses_a_wake_up)
