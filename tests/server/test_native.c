/* The binary protocol as docs/protocol.md tells it: what works. */
#include "native_fixture.h"
#include "suite.h"
#include <annals/crc32c.h>
#include <annals/hash.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct client client;

static void setup(void)
{
	fixture_setup();
	client_open(&client);
}

static void teardown(void)
{
	client_close(&client);
	fixture_stop();
}

static const struct bytes nothing = {NULL, 0};

START_TEST(test_hello_tells_version_store_and_limits)
{
	Annals__V1__HelloRequest hello = ANNALS__V1__HELLO_REQUEST__INIT;
	Annals__V1__HelloResponse *response;
	struct client other;
	struct frame frame;
	bool found = false;
	client_connect(&other);
	hello.magic = FRAME_HELLO_MAGIC;
	hello.version_min = 1;
	hello.version_max = 9;
	frame = client_expect(&other, client_send(&other, FRAME_HELLO, &hello.base, nothing), 0);
	response = client_message(&other, &frame, &annals__v1__hello_response__descriptor);
	ck_assert_uint_eq(response->version, 1);
	ck_assert_str_eq(response->server_name, "annalsd");
	ck_assert_str_eq(response->store_uuid, fixture_server.uuid);
	for (size_t i = 0; i < response->n_limit; i++) {
		if (strcmp(response->limit[i]->name, "request-bytes-max") == 0) {
			ck_assert_uint_eq(response->limit[i]->value, 4u << 20);
			found = true;
		}
	}
	ck_assert(found);
	client_close(&other);
}
END_TEST

START_TEST(test_ping_answers_with_the_time)
{
	Annals__V1__PingRequest ping = ANNALS__V1__PING_REQUEST__INIT;
	struct frame frame =
		client_expect(&client, client_send(&client, FRAME_PING, &ping.base, nothing), 0);
	Annals__V1__PingResponse *response =
		client_message(&client, &frame, &annals__v1__ping_response__descriptor);
	ck_assert_uint_gt(response->time_us, 1500000000ull * 1000000);
}
END_TEST

static Annals__V1__TopicInfo *describe(const char *name)
{
	Annals__V1__TopicDescribeRequest request = ANNALS__V1__TOPIC_DESCRIBE_REQUEST__INIT;
	Annals__V1__TopicDescribeResponse *response;
	struct frame frame;
	request.name = (char *)(uintptr_t)name;
	frame = client_expect(
		&client, client_send(&client, FRAME_TOPIC_DESCRIBE, &request.base, nothing), 0);
	response =
		client_message(&client, &frame, &annals__v1__topic_describe_response__descriptor);
	return response->topic;
}

START_TEST(test_topic_create_is_idempotent)
{
	uint32_t id = create_topic(&client, "quakes", 4);
	ck_assert_uint_eq(create_topic(&client, "quakes", 4), id);
	Annals__V1__TopicInfo *info = describe("quakes");
	ck_assert_uint_eq(info->id, id);
	ck_assert_uint_eq(info->config->partitions, 4);
	ck_assert_uint_eq(info->n_partition, 4);
	ck_assert_uint_eq(info->partition[3]->partition, 3);
	ck_assert_uint_eq(info->partition[3]->end_offset, 0);
}
END_TEST

START_TEST(test_topic_list_takes_a_prefix)
{
	Annals__V1__TopicListRequest request = ANNALS__V1__TOPIC_LIST_REQUEST__INIT;
	Annals__V1__TopicListResponse *response;
	struct frame frame;
	create_topic(&client, "b.two", 1);
	create_topic(&client, "a.one", 1);
	create_topic(&client, "b.one", 1);
	frame = client_expect(
		&client, client_send(&client, FRAME_TOPIC_LIST, &request.base, nothing), 0);
	response = client_message(&client, &frame, &annals__v1__topic_list_response__descriptor);
	ck_assert_uint_eq(response->n_topic, 3);
	ck_assert_str_eq(response->topic[0]->name, "a.one");
	request.prefix = (char *)(uintptr_t) "b.";
	frame = client_expect(
		&client, client_send(&client, FRAME_TOPIC_LIST, &request.base, nothing), 0);
	response = client_message(&client, &frame, &annals__v1__topic_list_response__descriptor);
	ck_assert_uint_eq(response->n_topic, 2);
	ck_assert_str_eq(response->topic[0]->name, "b.one");
}
END_TEST

START_TEST(test_topic_update_changes_named_fields_only)
{
	Annals__V1__TopicUpdateRequest request = ANNALS__V1__TOPIC_UPDATE_REQUEST__INIT;
	Annals__V1__TopicConfig config = ANNALS__V1__TOPIC_CONFIG__INIT;
	Annals__V1__TopicUpdateResponse *response;
	char *fields[] = {(char *)(uintptr_t) "retention_events"};
	struct frame frame;
	create_topic(&client, "t", 2);
	config.retention_events = 1000;
	config.retention_bytes = 77;
	request.name = (char *)(uintptr_t) "t";
	request.config = &config;
	request.n_field = 1;
	request.field = fields;
	frame = client_expect(
		&client, client_send(&client, FRAME_TOPIC_UPDATE, &request.base, nothing), 0);
	response = client_message(&client, &frame, &annals__v1__topic_update_response__descriptor);
	ck_assert_uint_eq(response->topic->config->retention_events, 1000);
	ck_assert_uint_eq(response->topic->config->retention_bytes, 0);
	ck_assert_uint_eq(response->topic->config->partitions, 2);
	fields[0] = (char *)(uintptr_t) "colour";
	client_refused(&client, client_send(&client, FRAME_TOPIC_UPDATE, &request.base, nothing),
		ANNALS_E_INVALID, "colour");
}
END_TEST

START_TEST(test_topic_delete_makes_a_new_identity)
{
	Annals__V1__TopicDeleteRequest request = ANNALS__V1__TOPIC_DELETE_REQUEST__INIT;
	struct wire_fetch_request fetch = {
		.topic = bytes_text("t"), .topic_id = create_topic(&client, "t", 1)};
	struct buf control = BUF_INIT;
	request.name = (char *)(uintptr_t) "t";
	client_expect(&client, client_send(&client, FRAME_TOPIC_DELETE, &request.base, nothing), 0);
	client_refused(&client, send_fetch(&client, "t", 0, 0, 0), ANNALS_E_UNKNOWN_TOPIC, "'t'");
	ck_assert_uint_ne(create_topic(&client, "t", 1), fetch.topic_id);
	ck_assert_int_eq(wire_fetch_request_encode(&control, &fetch), 0);
	client_refused(&client, client_send_raw(&client, FRAME_FETCH, buf_bytes(&control), nothing),
		ANNALS_E_TOPIC_RECREATED, "deleted");
	buf_release(&control);
}
END_TEST

START_TEST(test_append_gives_dense_offsets)
{
	create_topic(&client, "t", 2);
	ck_assert_uint_eq(append(&client, "t", 0, "a", 3).base_offset, 0);
	ck_assert_uint_eq(append(&client, "t", 0, "b", 2).base_offset, 3);
	ck_assert_uint_eq(append(&client, "t", 1, "c", 1).base_offset, 0);
	Annals__V1__TopicInfo *info = describe("t");
	ck_assert_uint_eq(info->partition[0]->end_offset, 5);
	ck_assert_uint_eq(info->partition[1]->end_offset, 1);
}
END_TEST

START_TEST(test_append_of_many_batches_is_one_commit)
{
	struct buf one = make_body("one", 2, 10);
	struct buf two = make_body("two", 3, 10);
	struct buf data = BUF_INIT;
	struct buf control = BUF_INIT;
	struct wire_append_batch batches[2] = {
		{.partition = 1,
			.count = 2,
			.body_bytes = (uint32_t)one.size,
			.body_crc = crc32c(0, one.data, one.size)},
		{.partition = 0,
			.count = 3,
			.body_bytes = (uint32_t)two.size,
			.body_crc = crc32c(0, two.data, two.size)},
	};
	struct wire_append_response response;
	struct wire_append_run run;
	struct frame frame;
	size_t cursor = 0;
	create_topic(&client, "t", 2);
	ck_assert_int_eq(
		buf_add(&data, one.data, one.size) | buf_add(&data, two.data, two.size), 0);
	ck_assert_int_eq(wire_append_request_encode(&control, bytes_text("t"), 0, batches, 2), 0);
	frame = client_expect(&client,
		client_send_raw(&client, FRAME_APPEND, buf_bytes(&control), buf_bytes(&data)), 0);
	ck_assert_int_eq(wire_append_response_decode(frame.control, &response, NULL), 0);
	ck_assert_uint_eq(response.durability, DURABILITY_FSYNC);
	ck_assert_int_eq(wire_append_next_run(&response, &cursor, &run), 1);
	ck_assert_uint_eq(run.partition, 1);
	ck_assert_uint_eq(run.count, 2);
	ck_assert_int_eq(wire_append_next_run(&response, &cursor, &run), 1);
	ck_assert_uint_eq(run.partition, 0);
	ck_assert_uint_eq(run.count, 3);
	ck_assert_int_eq(wire_append_next_run(&response, &cursor, &run), 0);
	ck_assert_uint_eq(receive_fetch(&client, send_fetch(&client, "t", 0, 0, 0)).events, 3);
	buf_release(&one);
	buf_release(&two);
	buf_release(&data);
	buf_release(&control);
}
END_TEST

START_TEST(test_append_pipelined_keeps_the_order_of_a_partition)
{
	struct buf body = make_body("x", 1, 100);
	bool seen[200] = {false};
	uint32_t first = 0;
	create_topic(&client, "t", 1);
	for (int i = 0; i < 200; i++) {
		uint32_t correlation = send_append(&client, "t", 0, 0, buf_bytes(&body));
		first = i == 0 ? correlation : first;
	}
	for (int i = 0; i < 200; i++) {
		struct frame frame = client_receive(&client);
		struct wire_append_response response;
		struct wire_append_run run;
		size_t cursor = 0;
		ck_assert_uint_eq(frame.status, 0);
		ck_assert_int_eq(wire_append_response_decode(frame.control, &response, NULL), 0);
		ck_assert_int_eq(wire_append_next_run(&response, &cursor, &run), 1);
		ck_assert_uint_eq(run.base_offset, frame.correlation - first);
		ck_assert(!seen[run.base_offset]);
		seen[run.base_offset] = true;
	}
	buf_release(&body);
}
END_TEST

START_TEST(test_append_says_which_durability_it_got)
{
	struct buf body = make_body("x", 1, 10);
	struct wire_append_response response;
	struct frame frame;
	create_topic(&client, "t", 1);
	frame = client_expect(
		&client, send_append(&client, "t", 0, DURABILITY_OS, buf_bytes(&body)), 0);
	ck_assert_int_eq(wire_append_response_decode(frame.control, &response, NULL), 0);
	ck_assert_uint_eq(response.durability, DURABILITY_OS);
	client_refused(&client, send_append(&client, "t", 0, 9, buf_bytes(&body)), ANNALS_E_INVALID,
		"durability 9");
	buf_release(&body);
}
END_TEST

/* Delayed events are taken over HTTP: here they would come at once, which is worse than an error.
 */
START_TEST(test_append_refuses_events_that_are_due_later)
{
	struct record record = {.id = bytes_text("1"),
		.source = bytes_text("/t"),
		.type = bytes_text("x"),
		.has_due = true,
		.due_ns = INT64_C(7258118400000000000)};
	struct buf body = BUF_INIT;

	create_topic(&client, "t", 1);
	/* The second one's time has passed: an event like others. */
	for (unsigned i = 0; i < 2; i++) {
		uint32_t correlation;
		buf_reset(&body);
		ck_assert_int_eq(record_encode_in_batch(&record, &body), 0);
		correlation = send_append(&client, "t", 0, 0, buf_bytes(&body));
		if (i == 0) {
			client_refused(&client, correlation, ANNALS_E_INVALID, "over HTTP");
		} else {
			client_expect(&client, correlation, 0);
		}
		record.due_ns = 1;
	}
	ck_assert_uint_eq(receive_fetch(&client, send_fetch(&client, "t", 0, 0, 0)).events, 1);
	buf_release(&body);
}
END_TEST

START_TEST(test_fetch_returns_what_was_appended)
{
	struct fetched fetched;
	create_topic(&client, "t", 1);
	append(&client, "t", 0, "a", 3);
	append(&client, "t", 0, "b", 4);
	fetched = receive_fetch(&client, send_fetch(&client, "t", 0, 0, 0));
	ck_assert_uint_eq(fetched.events, 7);
	ck_assert_uint_eq(fetched.next_offset, 7);
	ck_assert_uint_eq(fetched.end_offset, 7);
	ck_assert_str_eq(fetched.first_id, "a-0");
	fetched = receive_fetch(&client, send_fetch(&client, "t", 0, 5, 0));
	ck_assert_str_eq(fetched.first_id, "b-0");
	ck_assert_uint_eq(fetched.events, 4);
	fetched = receive_fetch(&client, send_fetch(&client, "t", 0, 7, 0));
	ck_assert_uint_eq(fetched.events, 0);
	ck_assert_uint_eq(fetched.next_offset, 7);
}
END_TEST

START_TEST(test_fetch_waits_until_something_comes)
{
	struct client other;
	uint32_t waiting;
	struct fetched fetched;
	create_topic(&client, "t", 1);
	client_open(&other);
	waiting = send_fetch(&other, "t", 0, 0, 5000);
	client_expect_silence(&other, 100);
	append(&client, "t", 0, "a", 1);
	fetched = receive_fetch(&other, waiting);
	ck_assert_uint_eq(fetched.events, 1);
	client_close(&other);
}
END_TEST

START_TEST(test_fetch_wait_ends_with_an_empty_page)
{
	uint32_t waiting;
	struct fetched fetched;
	create_topic(&client, "t", 1);
	append(&client, "t", 0, "a", 2);
	waiting = send_fetch(&client, "t", 0, 2, 150);
	client_expect_silence(&client, 100);
	fetched = receive_fetch(&client, waiting);
	ck_assert_uint_eq(fetched.events, 0);
	ck_assert_uint_eq(fetched.end_offset, 2);
}
END_TEST

START_TEST(test_fetch_of_compressed_batches_for_a_plain_reader)
{
	struct buf plain = make_body("z", 20, 200);
	struct buf packed = BUF_INIT;
	struct buf control = BUF_INIT;
	struct wire_append_batch batch = {.count = 20, .codec = BATCH_ZSTD};
	struct wire_fetch_request fetch = {.topic = bytes_text("t"), .codecs = 1u << BATCH_ZSTD};
	struct frame frame;
	struct batch stored;
	create_topic(&client, "t", 1);
	ck_assert_int_eq(batch_compress(buf_bytes(&plain), BATCH_ZSTD, 0, &packed), 0);
	batch.body_bytes = (uint32_t)packed.size;
	batch.body_crc = crc32c(0, packed.data, packed.size);
	ck_assert_int_eq(wire_append_request_encode(&control, bytes_text("t"), 0, &batch, 1), 0);
	client_expect(&client,
		client_send_raw(&client, FRAME_APPEND, buf_bytes(&control), buf_bytes(&packed)), 0);
	/* Plain for those who ask for nothing, as it came for those who take it. */
	ck_assert_uint_eq(receive_fetch(&client, send_fetch(&client, "t", 0, 0, 0)).events, 20);
	buf_reset(&control);
	ck_assert_int_eq(wire_fetch_request_encode(&control, &fetch), 0);
	frame = client_expect(
		&client, client_send_raw(&client, FRAME_FETCH, buf_bytes(&control), nothing), 0);
	ck_assert_int_eq(batch_view(frame.data, &stored), 0);
	ck_assert_uint_eq(stored.stamp.codec, BATCH_ZSTD);
	ck_assert(bytes_equal(stored.body, buf_bytes(&packed)));
	buf_release(&plain);
	buf_release(&packed);
	buf_release(&control);
}
END_TEST

START_TEST(test_offset_for_time_finds_the_end_of_the_future)
{
	Annals__V1__OffsetForTimeRequest request = ANNALS__V1__OFFSET_FOR_TIME_REQUEST__INIT;
	Annals__V1__OffsetForTimeResponse *response;
	struct frame frame;
	create_topic(&client, "t", 1);
	append(&client, "t", 0, "a", 5);
	request.topic = (char *)(uintptr_t) "t";
	frame = client_expect(
		&client, client_send(&client, FRAME_OFFSET_FOR_TIME, &request.base, nothing), 0);
	response =
		client_message(&client, &frame, &annals__v1__offset_for_time_response__descriptor);
	ck_assert_uint_eq(response->offset, 0);
	request.time_us = 1ull << 62;
	frame = client_expect(
		&client, client_send(&client, FRAME_OFFSET_FOR_TIME, &request.base, nothing), 0);
	response =
		client_message(&client, &frame, &annals__v1__offset_for_time_response__descriptor);
	ck_assert_uint_eq(response->offset, 5);
}
END_TEST

static uint32_t send_commit(const char *group, const char *topic, uint32_t partition,
	uint64_t offset, const char *metadata)
{
	Annals__V1__OffsetCommitRequest request = ANNALS__V1__OFFSET_COMMIT_REQUEST__INIT;
	Annals__V1__OffsetEntry entry = ANNALS__V1__OFFSET_ENTRY__INIT;
	Annals__V1__OffsetEntry *entries[] = {&entry};
	entry.topic = (char *)(uintptr_t)topic;
	entry.partition = partition;
	entry.offset = offset;
	entry.metadata = (char *)(uintptr_t)metadata;
	request.group = (char *)(uintptr_t)group;
	request.n_offset = 1;
	request.offset = entries;
	return client_send(&client, FRAME_OFFSET_COMMIT, &request.base, nothing);
}

START_TEST(test_offsets_are_kept_per_group)
{
	Annals__V1__OffsetFetchRequest fetch = ANNALS__V1__OFFSET_FETCH_REQUEST__INIT;
	Annals__V1__OffsetFetchResponse *response;
	Annals__V1__GroupListRequest list = ANNALS__V1__GROUP_LIST_REQUEST__INIT;
	Annals__V1__GroupListResponse *groups;
	struct frame frame;
	create_topic(&client, "t", 2);
	append(&client, "t", 1, "a", 9);
	client_expect(&client, send_commit("readers", "t", 1, 4, "half-way"), 0);
	fetch.group = (char *)(uintptr_t) "readers";
	frame = client_expect(
		&client, client_send(&client, FRAME_OFFSET_FETCH, &fetch.base, nothing), 0);
	response = client_message(&client, &frame, &annals__v1__offset_fetch_response__descriptor);
	ck_assert_uint_eq(response->n_offset, 1);
	ck_assert_str_eq(response->offset[0]->topic, "t");
	ck_assert_uint_eq(response->offset[0]->partition, 1);
	ck_assert_uint_eq(response->offset[0]->offset, 4);
	ck_assert_uint_eq(response->offset[0]->end_offset, 9);
	ck_assert_str_eq(response->offset[0]->metadata, "half-way");
	frame = client_expect(
		&client, client_send(&client, FRAME_GROUP_LIST, &list.base, nothing), 0);
	groups = client_message(&client, &frame, &annals__v1__group_list_response__descriptor);
	ck_assert_uint_eq(groups->n_group, 1);
	ck_assert_str_eq(groups->group[0], "readers");
	fetch.group = (char *)(uintptr_t) "nobody";
	frame = client_expect(
		&client, client_send(&client, FRAME_OFFSET_FETCH, &fetch.base, nothing), 0);
	response = client_message(&client, &frame, &annals__v1__offset_fetch_response__descriptor);
	ck_assert_uint_eq(response->n_offset, 0);
}
END_TEST

START_TEST(test_offset_commit_errors_name_what_is_wrong)
{
	char *metadata = calloc(1, 5001);
	memset(metadata, 'm', 5000);
	create_topic(&client, "t", 1);
	client_refused(&client, send_commit("g", "t", 0, 1, ""), ANNALS_E_OFFSET_BEYOND_END, "");
	client_refused(&client, send_commit("g", "nope", 0, 0, ""), ANNALS_E_UNKNOWN_TOPIC, "nope");
	client_refused(&client, send_commit("g", "t", 1, 0, ""), ANNALS_E_UNKNOWN_PARTITION,
		"partition 1");
	client_refused(&client, send_commit("a b", "t", 0, 0, ""), ANNALS_E_INVALID, "");
	client_refused(
		&client, send_commit("g", "t", 0, 0, metadata), ANNALS_E_TOO_LARGE, "metadata");
	free(metadata);
}
END_TEST

/* ---- Subscriptions ---- */

static uint64_t subscribe(
	const char *topic, Annals__V1__SubscribeStart start, uint64_t credit_bytes)
{
	Annals__V1__SubscribeRequest request = ANNALS__V1__SUBSCRIBE_REQUEST__INIT;
	Annals__V1__SubscribeResponse *response;
	struct frame frame;
	request.topic = (char *)(uintptr_t)topic;
	request.start = start;
	request.credit_bytes = credit_bytes;
	frame = client_expect(
		&client, client_send(&client, FRAME_SUBSCRIBE, &request.base, nothing), 0);
	response = client_message(&client, &frame, &annals__v1__subscribe_response__descriptor);
	return response->subscription;
}

static struct wire_push receive_push(struct fetched *fetched, size_t *ret_bytes)
{
	struct frame frame = client_receive(&client);
	struct wire_push push;
	ck_assert_int_eq(frame.kind, FRAME_PUSH);
	ck_assert_int_eq(wire_push_decode(frame.control, &push, NULL), 0);
	ck_assert_uint_eq(frame.correlation, (uint32_t)push.subscription);
	memset(fetched, 0, sizeof(*fetched));
	if (frame.status == 0) {
		struct batch batch;
		ck_assert_int_eq(batch_view(frame.data, &batch), 0);
		fetched->events =
			check_batches(frame.data, push.partition, batch.stamp.base_offset, fetched);
	}
	*ret_bytes = frame.data.size;
	return push;
}

START_TEST(test_subscribe_pushes_history_then_what_comes)
{
	struct fetched fetched;
	struct wire_push push;
	struct client other;
	size_t bytes;
	uint64_t id;
	create_topic(&client, "t", 1);
	append(&client, "t", 0, "old", 3);
	id = subscribe("t", ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_EARLIEST, 1u << 20);
	push = receive_push(&fetched, &bytes);
	ck_assert_uint_eq(push.subscription, id);
	ck_assert_uint_eq(fetched.events, 3);
	ck_assert(push.caught_up);
	client_expect_silence(&client, 50);
	client_open(&other);
	append(&other, "t", 0, "new", 2);
	push = receive_push(&fetched, &bytes);
	ck_assert_uint_eq(fetched.events, 2);
	ck_assert_uint_eq(push.next_offset, 5);
	ck_assert_str_eq(fetched.first_id, "new-0");
	client_close(&other);
}
END_TEST

START_TEST(test_subscribe_covers_all_partitions)
{
	struct fetched fetched;
	unsigned events = 0;
	size_t bytes;
	create_topic(&client, "t", 3);
	append(&client, "t", 0, "a", 1);
	append(&client, "t", 1, "b", 2);
	append(&client, "t", 2, "c", 3);
	subscribe("t", ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_EARLIEST, 1u << 20);
	for (int i = 0; i < 3; i++) {
		receive_push(&fetched, &bytes);
		events += fetched.events;
	}
	ck_assert_uint_eq(events, 6);
}
END_TEST

START_TEST(test_subscribe_latest_skips_history)
{
	struct fetched fetched;
	struct client other;
	size_t bytes;
	create_topic(&client, "t", 2);
	append(&client, "t", 0, "old", 3);
	subscribe("t", ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_LATEST, 1u << 20);
	client_expect_silence(&client, 50);
	client_open(&other);
	append(&other, "t", 1, "new", 1);
	receive_push(&fetched, &bytes);
	ck_assert_str_eq(fetched.first_id, "new-0");
	client_close(&other);
}
END_TEST

START_TEST(test_subscribe_stops_without_credit)
{
	Annals__V1__CreditRequest credit = ANNALS__V1__CREDIT_REQUEST__INIT;
	struct fetched fetched;
	unsigned events;
	size_t bytes;
	create_topic(&client, "t", 1);
	for (int i = 0; i < 10; i++) {
		append(&client, "t", 0, "a", 1);
	}
	credit.subscription =
		subscribe("t", ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_EARLIEST, 1);
	receive_push(&fetched, &bytes);
	ck_assert_uint_eq(fetched.events, 1);
	events = 1;
	client_expect_silence(&client, 50);
	/* The push of one batch left the credit at 1 - bytes. */
	credit.credit_bytes = bytes - 1;
	client_expect(&client, client_send(&client, FRAME_CREDIT, &credit.base, nothing), 0);
	client_expect_silence(&client, 50);
	credit.credit_bytes = 1u << 20;
	client_expect(&client, client_send(&client, FRAME_CREDIT, &credit.base, nothing), 0);
	while (events < 10) {
		receive_push(&fetched, &bytes);
		events += fetched.events;
	}
	ck_assert_uint_eq(events, 10);
}
END_TEST

/* A subscriber with all the credit that does not read, for longer than connections may idle and
 * while more comes than sockets hold: it is not dropped, and then gets everything in order. */
START_TEST(test_subscriber_may_be_slow)
{
	enum { BATCHES = 5, EVENTS = 60, DATA_BYTES = 60000 };
	struct buf body = make_body("slow", EVENTS, DATA_BYTES);
	struct fetched fetched;
	struct client other;
	uint64_t offset = 0;
	size_t bytes;
	client_close(&client);
	fixture_stop();
	fixture_start("idle-timeout=300ms", "tail-bytes-max=8MiB", NULL);
	client_open(&client);
	create_topic(&client, "t", 1);
	subscribe("t", ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_EARLIEST, UINT64_C(1) << 40);
	client_open(&other);
	for (unsigned i = 0; i < BATCHES; i++) {
		client_expect(&other, send_append(&other, "t", 0, 0, buf_bytes(&body)), 0);
	}
	buf_release(&body);
	client_close(&other);
	(void)usleep(700 * 1000);
	while (offset < BATCHES * EVENTS) {
		const struct wire_push push = receive_push(&fetched, &bytes);
		ck_assert_uint_eq(push.next_offset, offset + fetched.events);
		offset = push.next_offset;
	}
	ck_assert_uint_eq(offset, BATCHES * EVENTS);
}
END_TEST

START_TEST(test_unsubscribe_ends_the_pushes)
{
	Annals__V1__UnsubscribeRequest request = ANNALS__V1__UNSUBSCRIBE_REQUEST__INIT;
	create_topic(&client, "t", 1);
	request.subscription =
		subscribe("t", ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_LATEST, 1u << 20);
	client_expect(&client, client_send(&client, FRAME_UNSUBSCRIBE, &request.base, nothing), 0);
	append(&client, "t", 0, "a", 1);
	client_expect_silence(&client, 50);
	client_refused(&client, client_send(&client, FRAME_UNSUBSCRIBE, &request.base, nothing),
		ANNALS_E_NOT_FOUND, "");
}
END_TEST

START_TEST(test_subscription_ends_with_its_topic)
{
	Annals__V1__TopicDeleteRequest request = ANNALS__V1__TOPIC_DELETE_REQUEST__INIT;
	struct client other;
	struct frame frame;
	create_topic(&client, "t", 1);
	subscribe("t", ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_LATEST, 1u << 20);
	client_open(&other);
	request.name = (char *)(uintptr_t) "t";
	client_expect(&other, client_send(&other, FRAME_TOPIC_DELETE, &request.base, nothing), 0);
	frame = client_receive(&client);
	ck_assert_int_eq(frame.kind, FRAME_PUSH);
	ck_assert_int_eq(frame.status, -ANNALS_E_UNKNOWN_TOPIC);
	client_close(&other);
}
END_TEST

START_TEST(test_waiting_fetch_does_not_outlive_its_client)
{
	struct client other;
	create_topic(&client, "t", 1);
	client_open(&other);
	send_fetch(&other, "t", 0, 0, 5000);
	usleep(50000);
	ck_assert_uint_eq(counter_get(&fixture_server.loops[0].counters.waits), 1);
	client_close(&other);
	usleep(200000);
	ck_assert_uint_eq(counter_get(&fixture_server.loops[0].counters.waits), 0);
	ck_assert_uint_eq(atomic_load(&fixture_server.connections), 1);
}
END_TEST

START_TEST(test_connection_may_die_with_requests_in_flight)
{
	struct client other;
	struct buf body = make_body("x", 100, 100);
	create_topic(&client, "t", 1);
	for (int i = 0; i < 20; i++) {
		client_open(&other);
		send_append(&other, "t", 0, 0, buf_bytes(&body));
		send_fetch(&other, "t", 0, 1000000000 * (uint64_t)(i % 2), 5000);
		send_fetch(&other, "t", 0, 0, 5000);
		client_close(&other);
	}
	ck_assert_uint_le(append(&client, "t", 0, "a", 1).base_offset, 2000);
	buf_release(&body);
}
END_TEST

static Annals__V1__FetchResponse *fetch(const Annals__V1__FetchRequest *request, size_t *ret_bytes)
{
	struct frame frame = client_expect(
		&client, client_send(&client, FRAME_FETCH, &request->base, bytes_of(NULL, 0)), 0);
	*ret_bytes = frame.data.size;
	return client_message(&client, &frame, &annals__v1__fetch_response__descriptor);
}

START_TEST(test_fetch_goes_backwards)
{
	Annals__V1__FetchRequest request = ANNALS__V1__FETCH_REQUEST__INIT;
	Annals__V1__FetchResponse *response;
	char topic[] = "t";
	size_t bytes;
	create_topic(&client, "t", 1);
	for (int i = 0; i < 3; i++) {
		(void)append(&client, "t", 0, "a", 10);
	}
	request.topic = topic;
	request.backwards = true;
	request.bytes_max = 1;
	request.wait_ms = 60000; /* it never waits */
	request.offset = UINT64_MAX;
	for (uint64_t next = 20;; next -= 10) {
		response = fetch(&request, &bytes);
		ck_assert_uint_gt(bytes, 0);
		ck_assert_uint_le(response->next_offset, next);
		request.offset = response->next_offset;
		if (request.offset == 0) {
			break;
		}
	}
	(void)fetch(&request, &bytes);
	ck_assert_uint_eq(bytes, 0);
	request.offset = 31;
	(void)client_refused(&client,
		client_send(&client, FRAME_FETCH, &request.base, bytes_of(NULL, 0)),
		ANNALS_E_OFFSET_BEYOND_END, "beyond the end");
}
END_TEST

START_TEST(test_fetch_takes_a_filter)
{
	Annals__V1__FetchRequest request = ANNALS__V1__FETCH_REQUEST__INIT;
	Annals__V1__EventFilter filter = ANNALS__V1__EVENT_FILTER__INIT;
	char topic[] = "t", type[] = "no such type";
	char *tags[33];
	size_t bytes, all;
	create_topic(&client, "t", 1);
	(void)append(&client, "t", 0, "a", 10);
	request.topic = topic;
	(void)fetch(&request, &all);
	request.filter = &filter;
	(void)fetch(&request, &bytes);
	ck_assert_uint_eq(bytes, all);
	filter.type = type;
	ck_assert_uint_eq(fetch(&request, &bytes)->next_offset, 10);
	ck_assert_uint_eq(bytes, 0);
	for (size_t i = 0; i < 33; i++) {
		tags[i] = topic;
	}
	filter.tag = tags;
	filter.n_tag = 33;
	(void)client_refused(&client,
		client_send(&client, FRAME_FETCH, &request.base, bytes_of(NULL, 0)), ANNALS_E_LIMIT,
		"at most 32 tags");
	/* Field 8, which must be a message: cut short. */
	(void)client_refused(&client,
		client_send_raw(&client, FRAME_FETCH, bytes_of("\x0a\x01t\x42\x02\x0a\x09", 7),
			bytes_of(NULL, 0)),
		ANNALS_E_MALFORMED, "malformed");
}
END_TEST

SUITE_MAIN("native", setup, teardown, test_hello_tells_version_store_and_limits,
	test_ping_answers_with_the_time, test_topic_create_is_idempotent,
	test_topic_list_takes_a_prefix, test_topic_update_changes_named_fields_only,
	test_topic_delete_makes_a_new_identity, test_append_gives_dense_offsets,
	test_append_of_many_batches_is_one_commit,
	test_append_pipelined_keeps_the_order_of_a_partition,
	test_append_says_which_durability_it_got, test_append_refuses_events_that_are_due_later,
	test_fetch_returns_what_was_appended, test_fetch_waits_until_something_comes,
	test_fetch_wait_ends_with_an_empty_page,
	test_fetch_of_compressed_batches_for_a_plain_reader,
	test_offset_for_time_finds_the_end_of_the_future, test_offsets_are_kept_per_group,
	test_offset_commit_errors_name_what_is_wrong, test_subscribe_pushes_history_then_what_comes,
	test_subscribe_covers_all_partitions, test_subscribe_latest_skips_history,
	test_subscriber_may_be_slow, test_subscribe_stops_without_credit,
	test_unsubscribe_ends_the_pushes, test_subscription_ends_with_its_topic,
	test_connection_may_die_with_requests_in_flight,
	test_waiting_fetch_does_not_outlive_its_client, test_fetch_goes_backwards,
	test_fetch_takes_a_filter)
