#include "client_fixture.h"

#include <pthread.h>

/* What the delivery callback saw. */
static struct {
	pthread_mutex_t lock;
	unsigned stored, failed, batches, attempts_max;
	int last_status;
	int last_cookie; /* cookies rise within a partition */
	bool disorder;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int cookies[100000];

static void on_delivery(
	struct annals_producer *producer, const struct annals_delivery *delivery, void *arg)
{
	(void)producer;
	(void)arg;
	pthread_mutex_lock(&seen.lock);
	seen.batches++;
	seen.attempts_max =
		delivery->attempts > seen.attempts_max ? delivery->attempts : seen.attempts_max;
	for (uint32_t i = 0; i < delivery->count; i++) {
		int number = (int)((int *)delivery->cookies[i] - cookies);
		seen.disorder |= number < seen.last_cookie;
		seen.last_cookie = number;
	}
	if (delivery->status == 0) {
		seen.stored += delivery->count;
	} else {
		seen.failed += delivery->count;
		seen.last_status = delivery->status;
	}
	pthread_mutex_unlock(&seen.lock);
}

static struct annals_producer *open_producer(void)
{
	struct annals_producer *producer = NULL;
	annals_options_on_delivery(options, on_delivery, NULL);
	int status = annals_producer_open(client, "t", options, WAIT_MS, &producer, &error);
	ck_assert_msg(status == 0, "%s", error.text);
	return producer;
}

static void send_numbers(struct annals_producer *producer, int from, int to)
{
	for (int i = from; i < to; i++) {
		struct annals_event event = event_number(i, NULL);
		int status =
			annals_producer_send_to(producer, 0, &event, &cookies[i], WAIT_MS, &error);
		ck_assert_msg(status == 0, "%s", error.text);
	}
}

static void expect_in_order(int count)
{
	struct annals_consumer *consumer = consume_earliest();
	expect_numbers(consumer, 0, count);
	annals_consumer_close(consumer);
}

START_TEST(test_producer_stores_everything_in_order)
{
	static const uint64_t codecs[] = {
		ANNALS_COMPRESSION_NONE, ANNALS_COMPRESSION_ZSTD, ANNALS_COMPRESSION_LZ4};
	set(ANNALS_OPTION_COMPRESSION, codecs[_i]);
	set(ANNALS_OPTION_BATCH_EVENTS, 100);
	struct annals_producer *producer = open_producer();
	send_numbers(producer, 0, 5000);
	ck_assert_int_eq(annals_producer_flush(producer, WAIT_MS, &error), 0);
	ck_assert_uint_eq(seen.stored, 5000);
	ck_assert(!seen.disorder);
	struct annals_producer_stats stats;
	annals_producer_stats(producer, &stats);
	ck_assert_uint_eq(stats.events_stored, 5000);
	ck_assert_uint_eq(stats.bytes_waiting, 0);
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	expect_in_order(5000);
}
END_TEST

START_TEST(test_producer_lingers_then_sends)
{
	set(ANNALS_OPTION_LINGER_US, 300000);
	struct annals_producer *producer = open_producer();
	send_numbers(producer, 0, 10);
	for (int tries = 0; fake_server_end(server, 0) < 10 && tries < 500; tries++) {
		usleep(1000);
	}
	ck_assert_uint_eq(fake_server_end(server, 0), 10);
	ck_assert_int_eq(fake_server_appends(server), 1);
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
}
END_TEST

START_TEST(test_producer_partitions_by_key_and_gives_ids)
{
	struct annals_producer *producer = open_producer();
	static const char *const keys[] = {"a", "b", "c", "d", "e"};
	for (int i = 0; i < 50; i++) {
		struct annals_event event = event_number(i, keys[i % 5]);
		ck_assert_int_eq(
			annals_producer_send(producer, &event, &cookies[0], WAIT_MS, &error), 0);
	}
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	struct annals_consumer *consumer = consume_earliest();
	int next[5] = {0, 1, 2, 3, 4};
	for (int i = 0; i < 50; i++) {
		struct annals_event event;
		ck_assert_int_eq(annals_consumer_next(consumer, WAIT_MS, &event, &error), 1);
		int number = number_of(&event);
		ck_assert_int_eq(number, next[number % 5]);
		next[number % 5] += 5;
		ck_assert_uint_eq(event.partition,
			annals_partition_for_key(event.key.data, event.key.size, 2));
		ck_assert_uint_gt(event.id.size, 17);
	}
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_producer_retries_refusals_in_order)
{
	set(ANNALS_OPTION_BATCH_EVENTS, 10);
	atomic_store(&switches->refuse_status, -ANNALS_E_OVERLOADED);
	atomic_store(&switches->refuse_appends, 3);
	struct annals_producer *producer = open_producer();
	send_numbers(producer, 0, 200);
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	ck_assert_uint_eq(seen.attempts_max, 4);
	ck_assert(!seen.disorder);
	expect_in_order(200);
	ck_assert_uint_eq(fake_server_end(server, 0), 200);
}
END_TEST

START_TEST(test_producer_survives_lost_connections)
{
	set(ANNALS_OPTION_BATCH_EVENTS, 10);
	struct annals_producer *producer = open_producer();
	for (int round = 0; round < 10; round++) {
		atomic_store(&switches->drop_before_append, 2);
		send_numbers(producer, round * 100, round * 100 + 100);
		ck_assert_int_eq(annals_producer_flush(producer, WAIT_MS, &error), 0);
	}
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	expect_in_order(1000);
}
END_TEST

START_TEST(test_producer_retry_after_unknown_repeats_the_same_ids)
{
	atomic_store(&switches->drop_after_append, 1);
	struct annals_producer *producer = open_producer();
	send_numbers(producer, 0, 1);
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	ck_assert_uint_eq(fake_server_end(server, 0), 2);
	struct annals_consumer *consumer = consume_earliest();
	struct annals_event event;
	char id[64] = "";
	ck_assert_int_eq(annals_consumer_next(consumer, WAIT_MS, &event, &error), 1);
	memcpy(id, event.id.data, event.id.size);
	ck_assert_int_eq(annals_consumer_next(consumer, WAIT_MS, &event, &error), 1);
	ck_assert_uint_eq(event.id.size, strlen(id));
	ck_assert_mem_eq(event.id.data, id, event.id.size);
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_producer_can_report_unknown_instead)
{
	set(ANNALS_OPTION_RETRY_UNKNOWN, 0);
	atomic_store(&switches->drop_after_append, 1);
	struct annals_producer *producer = open_producer();
	send_numbers(producer, 0, 1);
	ck_assert_int_eq(
		annals_producer_flush(producer, WAIT_MS, &error), ANNALS_E_OUTCOME_UNKNOWN);
	ck_assert_int_eq(seen.last_status, ANNALS_E_OUTCOME_UNKNOWN);
	/* Said once. */
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	ck_assert_uint_eq(fake_server_end(server, 0), 1);
}
END_TEST

START_TEST(test_producer_gives_up_what_can_never_work)
{
	/* One batch, however slow the machine is: only the flush sends it. */
	set(ANNALS_OPTION_LINGER_US, 10000000);
	atomic_store(&switches->refuse_status, -ANNALS_E_TOO_LARGE);
	atomic_store(&switches->refuse_appends, 1);
	struct annals_producer *producer = open_producer();
	send_numbers(producer, 0, 5);
	ck_assert_int_eq(annals_producer_flush(producer, WAIT_MS, &error), ANNALS_E_TOO_LARGE);
	ck_assert_uint_eq(seen.failed, 5);
	send_numbers(producer, 5, 10);
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	ck_assert_uint_eq(seen.stored, 5);
}
END_TEST

START_TEST(test_producer_delivery_timeout_ends_retries)
{
	set(ANNALS_OPTION_DELIVERY_TIMEOUT_MS, 100);
	atomic_store(&switches->refuse_status, -ANNALS_E_STORAGE_FULL);
	atomic_store(&switches->refuse_appends, 1000000);
	struct annals_producer *producer = open_producer();
	send_numbers(producer, 0, 1);
	ck_assert_int_lt(annals_producer_flush(producer, WAIT_MS, &error), 0);
	ck_assert_uint_eq(seen.failed, 1);
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
}
END_TEST

START_TEST(test_producer_memory_is_bounded)
{
	set(ANNALS_OPTION_BUFFER_BYTES, 65536);
	atomic_store(&switches->mute, 0);
	struct annals_producer *producer = open_producer();
	atomic_store(&switches->mute, 1);
	int status = 0, taken = 0;
	while (taken < 100000) {
		struct annals_event event = event_number(taken, NULL);
		status = annals_producer_send(producer, &event, &cookies[taken], 0, &error);
		if (status) {
			break;
		}
		taken++;
	}
	ck_assert_int_eq(status, ANNALS_E_OVERLOADED);
	ck_assert_ptr_nonnull(strstr(error.text, "buffer-bytes"));
	struct annals_producer_stats stats;
	annals_producer_stats(producer, &stats);
	ck_assert_uint_le(stats.bytes_waiting, 65536);
	ck_assert_int_eq(annals_producer_flush(producer, 50, &error), ANNALS_E_TIMEOUT);
	ck_assert_int_eq(annals_producer_close(producer, 0), ANNALS_E_TIMEOUT);
	ck_assert_uint_eq(seen.failed, (unsigned)taken);
}
END_TEST

START_TEST(test_producer_waits_for_room)
{
	set(ANNALS_OPTION_BUFFER_BYTES, 65536);
	set(ANNALS_OPTION_BATCH_BYTES, 4096);
	struct annals_producer *producer = open_producer();
	send_numbers(producer, 0, 20000);
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	ck_assert_uint_eq(seen.stored, 20000);
}
END_TEST

START_TEST(test_producer_refuses_bad_events_and_partitions)
{
	struct annals_producer *producer = open_producer();
	struct annals_event event = event_number(1, NULL);
	char key[2000];
	memset(key, 'k', sizeof(key));
	ck_assert_int_eq(annals_producer_send_to(producer, 2, &event, NULL, 0, &error),
		ANNALS_E_UNKNOWN_PARTITION);
	event.key.data = key;
	event.key.size = sizeof(key);
	ck_assert_int_eq(
		annals_producer_send(producer, &event, NULL, 0, &error), ANNALS_E_TOO_LARGE);
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	struct annals_producer *none;
	ck_assert_int_eq(annals_producer_open(client, "none", options, WAIT_MS, &none, &error),
		ANNALS_E_UNKNOWN_TOPIC);
}
END_TEST

struct sender {
	struct annals_producer *producer;
	int from, to;
};

static void *send_range(void *arg)
{
	struct sender *sender = arg;
	for (int i = sender->from; i < sender->to; i++) {
		struct annals_event event;
		char text[16];
		memset(&event, 0, sizeof(event));
		snprintf(text, sizeof(text), "%d", i);
		event.type = annals_text("test.number");
		event.data = annals_text(text);
		if (annals_producer_send(sender->producer, &event, &cookies[0], WAIT_MS, NULL) !=
			0) {
			return sender;
		}
	}
	return NULL;
}

START_TEST(test_producer_many_threads)
{
	struct annals_producer *producer = open_producer();
	pthread_t threads[4];
	struct sender senders[4];
	for (int i = 0; i < 4; i++) {
		senders[i] = (struct sender){producer, i * 5000, i * 5000 + 5000};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, send_range, &senders[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		void *failed;
		ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
		ck_assert_ptr_null(failed);
	}
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	ck_assert_uint_eq(fake_server_end(server, 0) + fake_server_end(server, 1), 20000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client_producer");
	TCase *tcase = tcase_create("producer");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 30);
	tcase_add_loop_test(tcase, test_producer_stores_everything_in_order, 0, 3);
	tcase_add_test(tcase, test_producer_lingers_then_sends);
	tcase_add_test(tcase, test_producer_partitions_by_key_and_gives_ids);
	tcase_add_test(tcase, test_producer_retries_refusals_in_order);
	tcase_add_test(tcase, test_producer_survives_lost_connections);
	tcase_add_test(tcase, test_producer_retry_after_unknown_repeats_the_same_ids);
	tcase_add_test(tcase, test_producer_can_report_unknown_instead);
	tcase_add_test(tcase, test_producer_gives_up_what_can_never_work);
	tcase_add_test(tcase, test_producer_delivery_timeout_ends_retries);
	tcase_add_test(tcase, test_producer_memory_is_bounded);
	tcase_add_test(tcase, test_producer_waits_for_room);
	tcase_add_test(tcase, test_producer_refuses_bad_events_and_partitions);
	tcase_add_test(tcase, test_producer_many_threads);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
