/* Topics, appends, limits, opening. On every journal. */
#include "store_harness.h"
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct store_harness f;

static void setup(void)
{
	store_harness_init(&f);
}

static void teardown(void)
{
	store_harness_release(&f);
}

START_TEST(test_store_assigns_dense_offsets)
{
	uint32_t topic = store_harness_topic(&f, "t", 2);
	uint64_t offset, expected[2] = {0, 0};
	for (uint64_t i = 0; i < 50; i++) {
		uint32_t partition = i % 3 == 0, count = 1 + (uint32_t)(i % 7);
		ck_assert_int_eq(
			store_harness_append(&f, topic, partition, count, 20, i, &offset), 0);
		ck_assert_uint_eq(offset, expected[partition]);
		expected[partition] += count;
	}
	for (uint32_t p = 0; p < 2; p++) {
		ck_assert_uint_eq(store_harness_info(&f, topic, p).end_offset, expected[p]);
		ck_assert_uint_eq(store_harness_read(&f, topic, p, 0, NULL), expected[p]);
	}
}
END_TEST

START_TEST(test_store_appends_all_parts_or_none)
{
	uint32_t topic = store_harness_topic(&f, "t", 2);
	struct buf body = BUF_INIT;
	struct append_part parts[3];
	struct append_request request = {
		.base.operation = STORE_APPEND, .topic_id = topic, .parts = parts, .part_count = 3};
	store_harness_body(&body, 5, 50, 1);
	for (uint32_t i = 0; i < 3; i++) {
		store_harness_part(&parts[i], i % 2, buf_bytes(&body), 5);
	}
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), 0);
	ck_assert_uint_eq(parts[0].base_offset, 0);
	ck_assert_uint_eq(parts[1].base_offset, 0);
	ck_assert_uint_eq(parts[2].base_offset, 5);
	ck_assert_uint_eq(parts[1].base_position, parts[0].base_position + 5);
	ck_assert_uint_eq(parts[2].base_position, parts[1].base_position + 5);
	ck_assert_int_eq(request.durability, DURABILITY_FSYNC);
	ck_assert_uint_gt(request.recorded_us, 0);

	parts[2].partition = 2;
	ck_assert_int_eq(
		store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_UNKNOWN_PARTITION);
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).end_offset, 10);
	ck_assert_uint_eq(store_harness_info(&f, topic, 1).end_offset, 5);
	buf_release(&body);
}
END_TEST

START_TEST(test_store_refuses_what_cannot_be_read_again)
{
	uint32_t topic = store_harness_topic(&f, "t", 1);
	struct buf body = BUF_INIT;
	struct append_request request = {
		.base.operation = STORE_APPEND, .topic_id = topic, .part_count = 1};
	store_harness_body(&body, 1, 10, 1);
	request.parts = &request.one_part;
	store_harness_part(&request.one_part, 0, buf_bytes(&body), 1);
	request.one_part.summary.count = 0;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_INVALID);
	store_harness_part(&request.one_part, 0, buf_bytes(&body), 1);
	request.one_part.codec = BATCH_CODECS;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_INVALID);
	store_harness_part(&request.one_part, 0, buf_bytes(&body), 1);
	request.one_part.body.size = 0;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_INVALID);
	request.part_count = 0;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_INVALID);
	request.topic_id = 77;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_UNKNOWN_TOPIC);
	ck_assert_int_eq(store_harness_append(&f, topic, 0, 1, 10, 1, NULL), 0);
	buf_release(&body);
}
END_TEST

START_TEST(test_store_takes_the_largest_append_and_no_larger)
{
	uint32_t topic = store_harness_topic(&f, "t", 1);
	ck_assert_int_eq(store_harness_append(&f, topic, 0, 4, (1u << 20) - 100, 1, NULL), 0);
	ck_assert_uint_eq(store_harness_read(&f, topic, 0, 0, NULL), 4);

	struct buf body = BUF_INIT;
	struct append_part parts[2];
	struct append_request request = {
		.base.operation = STORE_APPEND, .topic_id = topic, .parts = parts, .part_count = 2};
	store_harness_body(&body, 1, 2100000, 2);
	store_harness_part(&parts[0], 0, buf_bytes(&body), 1);
	store_harness_part(&parts[1], 0, buf_bytes(&body), 1);
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_TOO_LARGE);
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).end_offset, 4);
	buf_release(&body);
}
END_TEST

static int make_topic(const char *name, uint32_t partitions, struct topic_request *request)
{
	memset(request, 0, sizeof(*request));
	request->base.operation = STORE_TOPIC_CREATE;
	(void)snprintf(request->name, sizeof(request->name), "%s", name);
	request->config.partitions = partitions;
	return store_harness_run(&f, &f.waiter, &request->base);
}

START_TEST(test_store_creates_topics_idempotently)
{
	struct topic_request request;
	ck_assert_int_eq(make_topic("orders", 3, &request), 0);
	ck_assert(request.created);
	uint32_t id = request.topic->id;
	topic_unref(request.topic);
	ck_assert_int_eq(make_topic("orders", 3, &request), 0);
	ck_assert(!request.created);
	ck_assert_uint_eq(request.topic->id, id);
	topic_unref(request.topic);
	ck_assert_int_eq(make_topic("orders", 4, &request), ANNALS_E_TOPIC_EXISTS);
	ck_assert_int_eq(make_topic("", 1, &request), ANNALS_E_INVALID);
	ck_assert_int_eq(make_topic("a/b", 1, &request), ANNALS_E_INVALID);
	ck_assert_int_eq(make_topic("x", 0, &request), ANNALS_E_INVALID);
	ck_assert_int_eq(make_topic("x", 10001, &request), ANNALS_E_INVALID);
	struct topic **topics;
	size_t count;
	store_harness_topic(&f, "alpha", 1);
	ck_assert_int_eq(store_topic_list(f.store, &topics, &count), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_str_eq(topics[0]->name, "alpha");
	ck_assert_str_eq(topics[1]->name, "orders");
	topic_unref(topics[0]);
	topic_unref(topics[1]);
	free(topics);
}
END_TEST

START_TEST(test_store_updates_topics_and_adds_partitions)
{
	uint32_t topic = store_harness_topic(&f, "t", 2);
	struct topic_request request = {.base.operation = STORE_TOPIC_UPDATE, .name = "t"};
	request.config.partitions = 5;
	request.config.retention_bytes = 12345;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), 0);
	ck_assert_uint_eq(request.topic->config.retention_bytes, 12345);
	topic_unref(request.topic);
	ck_assert_int_eq(store_harness_append(&f, topic, 4, 1, 10, 1, NULL), 0);
	request.config.partitions = 1;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_INVALID);
	(void)snprintf(request.name, sizeof(request.name), "nothing");
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_UNKNOWN_TOPIC);
	if (store_harness_is_durable(&f)) {
		store_harness_reopen(&f);
		ck_assert_uint_eq(store_harness_info(&f, topic, 4).end_offset, 1);
	}
}
END_TEST

START_TEST(test_store_topic_recreated_shares_nothing)
{
	uint32_t old = store_harness_topic(&f, "t", 1);
	store_harness_fill(&f, old, 0, 600, 1);
	ck_assert_int_eq(store_harness_commit(&f, "g", old, 0, 10, ""), 0);
	ck_assert_int_eq(store_harness_delete_topic(&f, "t"), 0);
	ck_assert_ptr_null(store_topic_find(f.store, bytes_text("t")));
	ck_assert_int_eq(store_harness_delete_topic(&f, "t"), ANNALS_E_UNKNOWN_TOPIC);
	uint32_t fresh = store_harness_topic(&f, "t", 1);
	ck_assert_uint_ne(fresh, old);
	ck_assert_uint_eq(store_harness_info(&f, fresh, 0).end_offset, 0);
	struct offset_entry entry;
	ck_assert_int_eq(
		store_offset_get(f.store, bytes_text("g"), fresh, 0, &entry, NULL, &f.error), 0);
	struct read_request page;
	ck_assert_int_eq(store_harness_read_page(&f, old, 0, 0, &page), ANNALS_E_UNKNOWN_TOPIC);
	store_harness_fill(&f, fresh, 0, 10, 5);
	if (store_harness_is_durable(&f)) {
		store_harness_reopen(&f);
	}
	ck_assert_uint_eq(store_harness_read(&f, fresh, 0, 0, NULL), 100);
	ck_assert_int_eq(store_harness_read_page(&f, old, 0, 0, &page), ANNALS_E_UNKNOWN_TOPIC);
}
END_TEST

START_TEST(test_store_limits_what_waits)
{
	store_close(f.store);
	f.options.queue_requests_max = 4;
	store_harness_open(&f);
	uint32_t topic = store_harness_topic(&f, "t", 1);
	struct buf body = BUF_INIT;
	static struct append_request requests[2000];
	unsigned taken = 0, refused = 0;
	store_harness_body(&body, 1, 100, 1);
	for (size_t i = 0; i < 2000; i++) {
		requests[i] = (struct append_request){.base.operation = STORE_APPEND,
			.base.queue = &f.waiter.queue,
			.topic_id = topic,
			.part_count = 1};
		requests[i].parts = &requests[i].one_part;
		store_harness_part(&requests[i].one_part, 0, buf_bytes(&body), 1);
		int status = store_submit(f.store, &requests[i].base, &f.error);
		taken += status == 0;
		refused += status == ANNALS_E_OVERLOADED;
	}
	ck_assert_uint_eq(taken + refused, 2000);
	ck_assert_uint_gt(refused, 0);
	for (unsigned i = 0; i < taken; i++) {
		ck_assert_ptr_nonnull(waiter_take(&f.waiter, 5000));
	}
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).end_offset, taken);
	buf_release(&body);
}
END_TEST

START_TEST(test_store_closes_with_requests_waiting)
{
	uint32_t topic = store_harness_topic(&f, "t", 1);
	struct buf body = BUF_INIT;
	static struct append_request requests[200];
	store_harness_body(&body, 1, 100, 1);
	for (size_t i = 0; i < 200; i++) {
		requests[i] = (struct append_request){.base.operation = STORE_APPEND,
			.base.queue = &f.waiter.queue,
			.topic_id = topic,
			.part_count = 1};
		requests[i].parts = &requests[i].one_part;
		store_harness_part(&requests[i].one_part, 0, buf_bytes(&body), 1);
		ck_assert_int_eq(store_submit(f.store, &requests[i].base, &f.error), 0);
	}
	struct watch_request watch = {.base.operation = STORE_WATCH,
		.base.queue = &f.waiter.queue,
		.topic_id = topic,
		.offset = 100000};
	ck_assert_int_eq(store_watch(f.store, &watch), 0);
	store_close(f.store);
	f.store = NULL;
	for (size_t i = 0; i < 200; i++) {
		ck_assert_int_eq(waiter_take(&f.waiter, 0)->status, 0);
	}
	ck_assert_ptr_eq(waiter_take(&f.waiter, 0), &watch.base);
	ck_assert_int_eq(watch.base.status, ANNALS_E_UNAVAILABLE);
	ck_assert_ptr_null(waiter_take(&f.waiter, 0));
	buf_release(&body);
}
END_TEST

START_TEST(test_store_refuses_a_locked_directory)
{
	struct store *other;
	ASSERT_FAILS(store_open(&f.options, &other, &f.error), ANNALS_E_LOCKED, f.error, f.dir);
}
END_TEST

static void write_format(const char *text)
{
	char path[128];
	(void)snprintf(path, sizeof(path), "%s/format", f.dir);
	FILE *file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

START_TEST(test_store_refuses_other_formats)
{
	struct store *other;
	store_close(f.store);
	f.store = NULL;
	write_format("annals store\nformat 2\nuuid 00000000-0000-4000-8000-000000000000\n");
	ASSERT_FAILS(store_open(&f.options, &other, &f.error), ANNALS_E_FORMAT_NEWER, f.error,
		"format 2");
	write_format("something else\n");
	ck_assert_int_eq(store_open(&f.options, &other, &f.error), ANNALS_E_CORRUPT_DATA);
	write_format("annals store\nformat 1\nuuid xyz\n");
	ck_assert_int_eq(store_open(&f.options, &other, &f.error), ANNALS_E_CORRUPT_DATA);
}
END_TEST

START_TEST(test_store_checks_directory_and_options)
{
	struct store *other;
	struct store_options options = f.options;
	options.data_dir = "/nonexistent/parent/store";
	ASSERT_FAILS(store_open(&options, &other, &f.error), ANNALS_E_IO, f.error, "/nonexistent");
	options = f.options;
	options.data_dir = "/dev/null";
	ck_assert_int_lt(store_open(&options, &other, &f.error), 0);
	options = f.options;
	options.tail_bytes_max = 0;
	ck_assert_int_eq(store_open(&options, &other, &f.error), ANNALS_E_INVALID);
	options = f.options;
	options.journal_segment_bytes = 0;
	ck_assert_int_eq(store_open(&options, &other, &f.error), ANNALS_E_INVALID);
	if (geteuid() != 0) {
		store_close(f.store);
		f.store = NULL;
		ck_assert_int_eq(chmod(f.dir, 0), 0);
		ck_assert_int_eq(store_open(&f.options, &other, &f.error), ANNALS_E_IO);
		ck_assert_int_eq(chmod(f.dir, 0700), 0);
	}
}
END_TEST

SUITE_MAIN("store", setup, teardown, test_store_assigns_dense_offsets,
	test_store_appends_all_parts_or_none, test_store_refuses_what_cannot_be_read_again,
	test_store_takes_the_largest_append_and_no_larger, test_store_creates_topics_idempotently,
	test_store_updates_topics_and_adds_partitions, test_store_topic_recreated_shares_nothing,
	test_store_limits_what_waits, test_store_closes_with_requests_waiting,
	test_store_refuses_a_locked_directory, test_store_refuses_other_formats,
	test_store_checks_directory_and_options)
