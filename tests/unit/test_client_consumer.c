#include "client_fixture.h"

START_TEST(test_consumer_reads_what_was_there_and_what_comes)
{
	append_numbers(0, 10, 0);
	struct annals_consumer *consumer = consume_earliest();
	expect_numbers(consumer, 0, 10);
	struct annals_event event;
	ck_assert_int_eq(annals_consumer_next(consumer, 20, &event, &error), 0);
	append_numbers(10, 20, 0);
	expect_numbers(consumer, 10, 20);
	uint64_t position;
	ck_assert_int_eq(annals_consumer_position(consumer, 0, &position), 0);
	ck_assert_uint_eq(position, 20);
	ck_assert_int_eq(
		annals_consumer_position(consumer, 5, &position), ANNALS_E_UNKNOWN_PARTITION);
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_consumer_starts_in_the_middle_of_a_batch)
{
	struct annals_event events[10];
	for (int i = 0; i < 10; i++) {
		events[i] = event_number(i, NULL);
	}
	ck_assert_int_eq(annals_append(client, "t", 1, events, 10, ANNALS_DURABILITY_TOPIC, WAIT_MS,
				 NULL, NULL, &error),
		0);
	struct annals_position from = {1, 7};
	struct annals_start start = {ANNALS_START_OFFSETS, 0, &from, 1, NULL};
	struct annals_consumer *consumer;
	ck_assert_int_eq(
		annals_consumer_open(client, "t", &start, NULL, WAIT_MS, &consumer, &error), 0);
	struct annals_event event;
	ck_assert_int_eq(annals_consumer_next(consumer, WAIT_MS, &event, &error), 1);
	ck_assert_int_eq(number_of(&event), 7);
	ck_assert_uint_eq(event.offset, 7);
	ck_assert_uint_eq(event.partition, 1);
	expect_numbers(consumer, 8, 10);
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_consumer_latest_sees_only_new_events)
{
	append_numbers(0, 10, 0);
	struct annals_start start = {ANNALS_START_LATEST, 0, NULL, 0, NULL};
	struct annals_consumer *consumer;
	ck_assert_int_eq(
		annals_consumer_open(client, "t", &start, NULL, WAIT_MS, &consumer, &error), 0);
	append_numbers(10, 12, 0);
	expect_numbers(consumer, 10, 12);
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_consumer_refused_starts)
{
	struct annals_consumer *consumer;
	struct annals_start start = {ANNALS_START_EARLIEST, 0, NULL, 0, NULL};
	ck_assert_int_eq(
		annals_consumer_open(client, "none", &start, NULL, WAIT_MS, &consumer, &error),
		ANNALS_E_UNKNOWN_TOPIC);
	struct annals_position beyond = {0, 5};
	start = (struct annals_start){ANNALS_START_OFFSETS, 0, &beyond, 1, NULL};
	ck_assert_int_eq(
		annals_consumer_open(client, "t", &start, NULL, WAIT_MS, &consumer, &error),
		ANNALS_E_OFFSET_BEYOND_END);
	start.partition_count = 0;
	ck_assert_int_eq(
		annals_consumer_open(client, "t", &start, NULL, WAIT_MS, &consumer, &error),
		ANNALS_E_INVALID);
	atomic_store(&switches->mute, 1);
	start.kind = ANNALS_START_EARLIEST;
	ck_assert_int_eq(annals_consumer_open(client, "t", &start, NULL, 50, &consumer, &error),
		ANNALS_E_TIMEOUT);
}
END_TEST

/* Fills a partition with big batches, so that pages are larger than the input buffer. */
static void append_many(int count)
{
	struct annals_producer *producer;
	ck_assert_int_eq(annals_producer_open(client, "t", options, WAIT_MS, &producer, &error), 0);
	for (int i = 0; i < count; i++) {
		struct annals_event event = event_number(i, NULL);
		ck_assert_int_eq(
			annals_producer_send_to(producer, 0, &event, NULL, WAIT_MS, &error), 0);
	}
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
}

START_TEST(test_consumer_polls_many_at_once)
{
	static const uint64_t codecs[] = {
		ANNALS_COMPRESSION_NONE, ANNALS_COMPRESSION_ZSTD, ANNALS_COMPRESSION_LZ4};
	set(ANNALS_OPTION_COMPRESSION, codecs[_i]);
	set(ANNALS_OPTION_READ_AHEAD_BYTES, 262144);
	append_many(40000);
	struct annals_consumer *consumer = consume_earliest();
	struct annals_event events[64];
	int next = 0;
	while (next < 40000) {
		size_t count;
		ck_assert_int_eq(
			annals_consumer_poll(consumer, WAIT_MS, events, 64, &count, &error), 0);
		ck_assert_uint_gt(count, 0);
		for (size_t i = 0; i < count; i++) {
			ck_assert_uint_eq(events[i].offset, (uint64_t)next);
			ck_assert_int_eq(number_of(&events[i]), next++);
		}
	}
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_consumer_goes_on_after_lost_connections)
{
	set(ANNALS_OPTION_READ_AHEAD_BYTES, 65536);
	append_many(20000);
	struct annals_consumer *consumer = consume_earliest();
	for (int i = 0; i < 20000; i++) {
		if (i % 2000 == 100) {
			fake_server_disconnect(server);
		}
		if (i % 5000 == 200) {
			atomic_store(&switches->cut_push, 1);
		}
		expect_numbers(consumer, i, i + 1);
	}
	annals_consumer_close(consumer);
	ck_assert_int_gt(fake_server_connections(server), 3);
}
END_TEST

START_TEST(test_consumer_reports_damage_and_goes_on)
{
	append_numbers(0, 3, 0);
	atomic_store(&switches->damage_push, 1);
	struct annals_consumer *consumer = consume_earliest();
	expect_numbers(consumer, 0, 2);
	struct annals_event event;
	ck_assert_int_eq(
		annals_consumer_next(consumer, WAIT_MS, &event, &error), ANNALS_E_CORRUPT_DATA);
	ck_assert_ptr_nonnull(strstr(error.text, "topic 't' partition 0 offset 2"));
	append_numbers(3, 5, 0);
	expect_numbers(consumer, 3, 5);
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_consumer_hands_out_good_events_before_the_damage)
{
	append_numbers(0, 3, 0);
	atomic_store(&switches->damage_push, 1);
	struct annals_consumer *consumer = consume_earliest();
	struct annals_event events[8];
	size_t count;
	ck_assert_int_eq(annals_consumer_poll(consumer, WAIT_MS, events, 8, &count, &error), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_int_eq(annals_consumer_poll(consumer, WAIT_MS, events, 8, &count, &error),
		ANNALS_E_CORRUPT_DATA);
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_consumer_ended_subscription_stays_ended)
{
	append_numbers(0, 3, 0);
	atomic_store(&switches->end_subscription, 1);
	struct annals_consumer *consumer = consume_earliest();
	struct annals_event event;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(annals_consumer_next(consumer, WAIT_MS, &event, &error),
			ANNALS_E_OFFSET_GONE);
		ck_assert_uint_eq(error.first_offset, 5);
	}
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_consumer_ends_with_its_client)
{
	struct annals_consumer *consumer = consume_earliest();
	annals_consumer_close(consumer);
	consumer = consume_earliest();
	annals_consumer_close(consumer);
	ck_assert_int_eq(annals_ping(client, WAIT_MS, NULL, &error), 0);
}
END_TEST

static void count_ready(struct annals_consumer *consumer, void *arg)
{
	(void)consumer;
	atomic_fetch_add((atomic_int *)arg, 1);
}

START_TEST(test_consumer_tells_when_something_came)
{
	static atomic_int ready;
	struct annals_consumer *consumer = consume_earliest();
	annals_consumer_on_ready(consumer, count_ready, &ready);
	append_numbers(0, 1, 0);
	for (int tries = 0; atomic_load(&ready) == 0 && tries < 500; tries++) {
		usleep(10000);
	}
	ck_assert_int_eq(atomic_load(&ready), 1);
	expect_numbers(consumer, 0, 1);
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_consumer_event_keeps_every_field)
{
	struct annals_attribute extensions[2] = {
		{.name = annals_text("count"), .kind = ANNALS_ATTRIBUTE_INTEGER, .integer = -7},
		{.name = annals_text("note"),
			.kind = ANNALS_ATTRIBUTE_TEXT,
			.value = annals_text("hello")}};
	struct annals_header header = {annals_text("h"), 1, annals_text("v")};
	struct annals_bytes tag = annals_text("tag");
	struct annals_event sent = {.id = annals_text("id"),
		.source = annals_text("/s"),
		.type = annals_text("ty"),
		.subject = annals_text("su"),
		.datacontenttype = annals_text("text/plain"),
		.dataschema = annals_text("urn:x"),
		.key = annals_text("k"),
		.data = annals_text("d"),
		.has_key = 1,
		.has_data = 1,
		.has_time = 1,
		.schema_version = 3,
		.time_ns = 123,
		.extensions = extensions,
		.headers = &header,
		.tags = &tag,
		.extension_count = 2,
		.header_count = 1,
		.tag_count = 1};
	ck_assert_int_eq(annals_append(client, "t", 0, &sent, 1, ANNALS_DURABILITY_TOPIC, WAIT_MS,
				 NULL, NULL, &error),
		0);
	struct annals_consumer *consumer = consume_earliest();
	struct annals_event got, again;
	ck_assert_int_eq(annals_consumer_next(consumer, WAIT_MS, &got, &error), 1);
	ck_assert_int_eq(
		annals_event_decode(got.encoded.data, got.encoded.size, &again, &error), 0);
	ck_assert_uint_eq(again.subject.size, 2);
	ck_assert_uint_eq(got.schema_version, 3);
	ck_assert_int_eq(got.time_ns, 123);
	ck_assert_uint_eq(got.recorded_us, 1000000);
	size_t cursor = 0;
	struct annals_attribute attribute;
	ck_assert_int_eq(annals_event_next_extension(&got, &cursor, &attribute), 1);
	ck_assert_int_eq(attribute.integer, -7);
	ck_assert_int_eq(annals_event_next_extension(&got, &cursor, &attribute), 1);
	ck_assert_mem_eq(attribute.value.data, "hello", 5);
	ck_assert_int_eq(annals_event_next_extension(&got, &cursor, &attribute), 0);
	struct annals_header header_got;
	cursor = 0;
	ck_assert_int_eq(annals_event_next_header(&got, &cursor, &header_got), 1);
	ck_assert_mem_eq(header_got.value.data, "v", 1);
	struct annals_bytes tag_got;
	cursor = 0;
	ck_assert_int_eq(annals_event_next_tag(&got, &cursor, &tag_got), 1);
	ck_assert_mem_eq(tag_got.data, "tag", 3);
	annals_consumer_close(consumer);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client_consumer");
	TCase *tcase = tcase_create("consumer");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, test_consumer_reads_what_was_there_and_what_comes);
	tcase_add_test(tcase, test_consumer_starts_in_the_middle_of_a_batch);
	tcase_add_test(tcase, test_consumer_latest_sees_only_new_events);
	tcase_add_test(tcase, test_consumer_refused_starts);
	tcase_add_loop_test(tcase, test_consumer_polls_many_at_once, 0, 3);
	tcase_add_test(tcase, test_consumer_goes_on_after_lost_connections);
	tcase_add_test(tcase, test_consumer_reports_damage_and_goes_on);
	tcase_add_test(tcase, test_consumer_hands_out_good_events_before_the_damage);
	tcase_add_test(tcase, test_consumer_ended_subscription_stays_ended);
	tcase_add_test(tcase, test_consumer_ends_with_its_client);
	tcase_add_test(tcase, test_consumer_tells_when_something_came);
	tcase_add_test(tcase, test_consumer_event_keeps_every_field);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
