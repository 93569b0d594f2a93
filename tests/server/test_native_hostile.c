/* The binary protocol's bad input and hard moments: a clear error, the connection closed where it
 * must be, nothing stored that was not acknowledged whole. */
#include "native_fixture.h"
#include "suite.h"
#include <annals/clock.h>
#include <annals/crc32c.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct client client;
static const struct bytes nothing = {NULL, 0};

static void setup(void)
{
	fixture_start("header-timeout=300ms", "idle-timeout=600ms", "event-bytes-max=64KiB",
		"request-bytes-max=256KiB", "partitions-max=8", NULL);
	client_open(&client);
}

static void teardown(void)
{
	client_close(&client);
	fixture_stop();
}

static Annals__V1__HelloRequest make_hello(uint32_t magic, uint32_t min, uint32_t max)
{
	Annals__V1__HelloRequest hello = ANNALS__V1__HELLO_REQUEST__INIT;
	hello.magic = magic;
	hello.version_min = min;
	hello.version_max = max;
	return hello;
}

static uint64_t end_of(const char *topic, uint32_t partition)
{
	return receive_fetch(&client, send_fetch(&client, topic, partition, 0, 0)).end_offset;
}

/* ---- Hello ---- */

START_TEST(test_hello_with_an_unknown_version_is_refused)
{
	Annals__V1__HelloRequest hello = make_hello(FRAME_HELLO_MAGIC, 7, 9);
	struct client other;
	client_connect(&other);
	client_refused(&other, client_send(&other, FRAME_HELLO, &hello.base, nothing),
		ANNALS_E_UNSUPPORTED_VERSION, "versions 7 to 9");
	client_expect_close(&other);
	client_close(&other);
}
END_TEST

START_TEST(test_hello_without_the_magic_is_refused)
{
	Annals__V1__HelloRequest hello = make_hello(0x12345678, 1, 1);
	struct client other;
	client_connect(&other);
	client_refused(&other, client_send(&other, FRAME_HELLO, &hello.base, nothing),
		ANNALS_E_MALFORMED, "magic");
	client_expect_close(&other);
	client_close(&other);
}
END_TEST

START_TEST(test_first_frame_must_be_a_hello)
{
	struct client other;
	client_connect(&other);
	client_refused(&other, client_send(&other, FRAME_PING, NULL, nothing), ANNALS_E_MALFORMED,
		"hello");
	client_expect_close(&other);
	client_close(&other);
}
END_TEST

START_TEST(test_second_hello_is_an_error_and_the_connection_stays)
{
	Annals__V1__HelloRequest hello = make_hello(FRAME_HELLO_MAGIC, 1, 1);
	client_refused(&client, client_send(&client, FRAME_HELLO, &hello.base, nothing),
		ANNALS_E_INVALID, "before");
	client_expect(&client, client_send(&client, FRAME_PING, NULL, nothing), 0);
}
END_TEST

START_TEST(test_requests_behind_a_refused_hello_are_dropped)
{
	Annals__V1__HelloRequest hello = make_hello(FRAME_HELLO_MAGIC, 7, 9);
	struct client other;
	uint32_t correlation;
	client_connect(&other);
	correlation = client_send(&other, FRAME_HELLO, &hello.base, nothing);
	client_send(&other, FRAME_PING, NULL, nothing);
	client_refused(&other, correlation, ANNALS_E_UNSUPPORTED_VERSION, "");
	client_expect_close(&other);
	client_close(&other);
}
END_TEST

/* ---- Frames ---- */

static void send_header(uint32_t frame_bytes, uint8_t kind, uint8_t operation, uint32_t correlation,
	uint32_t control_bytes)
{
	uint8_t header[FRAME_HEADER_BYTES] = {0};
	store_u32(header, frame_bytes);
	header[4] = kind;
	header[5] = operation;
	store_u32(header + 8, correlation);
	store_u32(header + 12, control_bytes);
	client_send_bytes(&client, header, sizeof(header));
}

START_TEST(test_frame_over_the_limit_names_the_limit)
{
	Annals__V1__Error *error;
	send_header((256u << 10) + (1u << 20) + 1, FRAME_REQUEST, FRAME_APPEND, 77, 0);
	error = client_refused(&client, 77, ANNALS_E_TOO_LARGE, "");
	ck_assert_str_eq(error->limit_name, "request-bytes-max");
	ck_assert_uint_eq(error->limit, 256u << 10);
	client_expect_close(&client);
}
END_TEST

START_TEST(test_frame_lengths_around_2_31_are_refused)
{
	static const uint32_t lengths[] = {0x7fffffff, 0x80000000, 0xffffffff};
	for (size_t i = 0; i < 3; i++) {
		client_close(&client);
		client_open(&client);
		send_header(lengths[i], FRAME_REQUEST, FRAME_APPEND, 5, 16);
		client_refused(&client, 5, ANNALS_E_TOO_LARGE, "");
		client_expect_close(&client);
	}
}
END_TEST

START_TEST(test_frame_that_cannot_be_one_closes)
{
	static const struct {
		uint32_t frame_bytes, control_bytes;
		uint8_t kind;
	} cases[] = {{11, 0, 1}, {0, 0, 1}, {12, 1, 1}, {20, 0xffffffff, 1}, {12, 0, 0}, {12, 0, 2},
		{12, 0, 9}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame frame;
		client_close(&client);
		client_open(&client);
		send_header(
			cases[i].frame_bytes, cases[i].kind, FRAME_PING, 5, cases[i].control_bytes);
		frame = client_receive(&client);
		ck_assert_int_eq(frame.status, -ANNALS_E_MALFORMED);
		client_expect_close(&client);
	}
}
END_TEST

START_TEST(test_half_a_frame_and_silence_is_closed)
{
	uint8_t half[7] = {100, 0, 0, 0, 1, 8, 0};
	unsigned ms;
	client_send_bytes(&client, half, sizeof(half));
	ms = client_expect_close(&client);
	ck_assert_msg(ms >= 200 && ms < 1500, "closed after %u ms", ms);
}
END_TEST

START_TEST(test_half_a_body_and_silence_is_closed)
{
	unsigned ms;
	send_header(12 + 10000, FRAME_REQUEST, FRAME_APPEND, 5, 10);
	client_send_bytes(&client, "some bytes", 10);
	ms = client_expect_close(&client);
	ck_assert_msg(ms >= 200 && ms < 1500, "closed after %u ms", ms);
}
END_TEST

START_TEST(test_connection_without_a_hello_is_closed)
{
	struct client other;
	unsigned ms;
	client_connect(&other);
	ms = client_expect_close(&other);
	ck_assert_msg(ms >= 200 && ms < 1500, "closed after %u ms", ms);
	client_close(&other);
}
END_TEST

START_TEST(test_idle_connection_is_closed_and_a_waiting_one_is_not)
{
	struct client other;
	uint32_t waiting;
	unsigned ms;
	create_topic(&client, "t", 1);
	client_open(&other);
	waiting = send_fetch(&other, "t", 0, 0, 1500);
	ms = client_expect_close(&client);
	ck_assert_msg(ms >= 400 && ms < 2500, "closed after %u ms", ms);
	ck_assert_uint_eq(receive_fetch(&other, waiting).events, 0);
	client_close(&other);
}
END_TEST

START_TEST(test_frame_in_single_bytes_is_understood)
{
	uint8_t frame[FRAME_HEADER_BYTES];
	frame_write_header(frame, FRAME_REQUEST, FRAME_PING, 0, 9, 0, 0);
	for (size_t i = 0; i < sizeof(frame); i++) {
		client_send_bytes(&client, frame + i, 1);
		usleep(2000);
	}
	client_expect(&client, 9, 0);
}
END_TEST

START_TEST(test_unknown_operation_is_an_error_and_the_connection_stays)
{
	client_refused(&client, client_send(&client, (enum frame_operation)99, NULL, nothing),
		ANNALS_E_UNSUPPORTED_OPERATION, "99");
	client_refused(&client, client_send(&client, (enum frame_operation)0, NULL, nothing),
		ANNALS_E_UNSUPPORTED_OPERATION, "0");
	client_expect(&client, client_send(&client, FRAME_PING, NULL, nothing), 0);
}
END_TEST

START_TEST(test_broken_control_message_is_an_error_for_every_operation)
{
	static const uint8_t broken[] = {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f};
	for (int operation = FRAME_PING; operation <= FRAME_GROUP_LIST; operation++) {
		uint32_t correlation = client_send_raw(&client, (enum frame_operation)operation,
			bytes_of(broken, sizeof(broken)), nothing);
		client_refused(&client, correlation, ANNALS_E_MALFORMED, "");
	}
	client_expect(&client, client_send(&client, FRAME_PING, NULL, nothing), 0);
}
END_TEST

START_TEST(test_data_where_none_belongs_is_malformed)
{
	client_refused(&client, client_send(&client, FRAME_PING, NULL, bytes_text("data")),
		ANNALS_E_MALFORMED, "data");
	client_expect(&client, client_send(&client, FRAME_PING, NULL, nothing), 0);
}
END_TEST

START_TEST(test_names_that_are_not_utf8_are_malformed)
{
	static const uint8_t control[] = {0x0a, 2, 0xc3, 0x28};
	client_refused(&client,
		client_send_raw(&client, FRAME_APPEND, bytes_of(control, 4), nothing),
		ANNALS_E_MALFORMED, "");
	client_refused(&client,
		client_send_raw(&client, FRAME_TOPIC_DESCRIBE, bytes_of(control, 4), nothing),
		ANNALS_E_MALFORMED, "");
}
END_TEST

/* ---- Topics, partitions, offsets ---- */

START_TEST(test_unknown_topic_and_partition_are_named)
{
	struct buf body = make_body("x", 1, 10);
	Annals__V1__Error *error;
	create_topic(&client, "t", 2);
	error = client_refused(&client, send_append(&client, "nope", 0, 0, buf_bytes(&body)),
		ANNALS_E_UNKNOWN_TOPIC, "'nope'");
	ck_assert_str_eq(error->topic, "nope");
	error = client_refused(&client, send_append(&client, "t", 2, 0, buf_bytes(&body)),
		ANNALS_E_UNKNOWN_PARTITION, "partition 2");
	ck_assert_uint_eq(error->partition, 2);
	client_refused(
		&client, send_fetch(&client, "nope", 0, 0, 0), ANNALS_E_UNKNOWN_TOPIC, "'nope'");
	client_refused(&client, send_fetch(&client, "t", 7, 0, 0), ANNALS_E_UNKNOWN_PARTITION,
		"partition 7");
	ck_assert_uint_eq(end_of("t", 0), 0);
	buf_release(&body);
}
END_TEST

START_TEST(test_offset_beyond_the_end_tells_the_range)
{
	Annals__V1__Error *error;
	create_topic(&client, "t", 1);
	append(&client, "t", 0, "a", 4);
	error = client_refused(
		&client, send_fetch(&client, "t", 0, 9, 0), ANNALS_E_OFFSET_BEYOND_END, "9");
	ck_assert_uint_eq(error->offset, 9);
	ck_assert_uint_eq(error->end_offset, 4);
	client_refused(&client, send_fetch(&client, "t", 0, UINT64_MAX, 1000),
		ANNALS_E_OFFSET_BEYOND_END, "");
}
END_TEST

static uint32_t send_create(const char *name, uint32_t partitions)
{
	Annals__V1__TopicCreateRequest request = ANNALS__V1__TOPIC_CREATE_REQUEST__INIT;
	Annals__V1__TopicConfig config = ANNALS__V1__TOPIC_CONFIG__INIT;
	config.partitions = partitions;
	request.name = (char *)(uintptr_t)name;
	request.config = &config;
	return client_send(&client, FRAME_TOPIC_CREATE, &request.base, nothing);
}

START_TEST(test_topic_names_and_partitions_have_rules)
{
	char name[300];
	Annals__V1__Error *error;
	client_refused(&client, send_create("a b", 1), ANNALS_E_INVALID, "");
	client_refused(&client, send_create("..", 1), ANNALS_E_INVALID, "");
	client_refused(&client, send_create("__x", 1), ANNALS_E_INVALID, "");
	client_refused(&client, send_create("", 1), ANNALS_E_INVALID, "");
	memset(name, 'n', 250);
	name[250] = 0;
	client_refused(&client, send_create(name, 1), ANNALS_E_INVALID, "");
	client_refused(&client, send_create("t", 0), ANNALS_E_INVALID, "partition");
	error = client_refused(&client, send_create("t", 9), ANNALS_E_LIMIT, "partitions-max");
	ck_assert_str_eq(error->limit_name, "partitions-max");
	create_topic(&client, "t", 8);
	client_refused(&client, send_create("t", 4), ANNALS_E_TOPIC_EXISTS, "");
}
END_TEST

/* ---- Batches ---- */

/* An append of `body` to t/0 that announces these. */
static uint32_t announce(
	struct bytes body, uint32_t count, uint32_t body_bytes, uint32_t crc, uint32_t codec)
{
	struct wire_append_batch batch = {
		.count = count, .body_bytes = body_bytes, .body_crc = crc, .codec = codec};
	struct buf control = BUF_INIT;
	uint32_t correlation;
	ck_assert_int_eq(wire_append_request_encode(&control, bytes_text("t"), 0, &batch, 1), 0);
	correlation = client_send_raw(&client, FRAME_APPEND, buf_bytes(&control), body);
	buf_release(&control);
	return correlation;
}

START_TEST(test_damaged_batches_are_refused_whole)
{
	struct buf body = make_body("x", 3, 100);
	uint32_t crc = crc32c(0, body.data, body.size);
	uint32_t size = (uint32_t)body.size;
	create_topic(&client, "t", 1);
	client_refused(&client, announce(buf_bytes(&body), 3, size, crc ^ 1, 0),
		ANNALS_E_CORRUPT_BATCH, "checksum");
	client_refused(
		&client, announce(buf_bytes(&body), 4, size, crc, 0), ANNALS_E_CORRUPT_BATCH, "4");
	client_refused(&client, announce(buf_bytes(&body), 3, size + 1, crc, 0), ANNALS_E_MALFORMED,
		"bytes");
	client_refused(&client, announce(buf_bytes(&body), 3, size - 1, crc, 0), ANNALS_E_MALFORMED,
		"bytes");
	client_refused(&client, announce(buf_bytes(&body), 3, UINT32_MAX, crc, 0),
		ANNALS_E_MALFORMED, "bytes");
	client_refused(
		&client, announce(buf_bytes(&body), 3, size, crc, 77), ANNALS_E_INVALID, "codec");
	client_refused(&client, announce(buf_bytes(&body), 3, size, crc, BATCH_ZSTD),
		ANNALS_E_CORRUPT_BATCH, "");
	/* Cut short, with the right checksum of what is left. */
	crc = crc32c(0, body.data, body.size - 5);
	client_refused(&client, announce(bytes_of(body.data, body.size - 5), 0, size - 5, crc, 0),
		ANNALS_E_MALFORMED, "");
	client_refused(&client, announce(nothing, 0, 0, 0, 0), ANNALS_E_MALFORMED, "");
	ck_assert_uint_eq(end_of("t", 0), 0);
	buf_release(&body);
}
END_TEST

START_TEST(test_one_bad_batch_refuses_the_whole_request)
{
	struct buf body = make_body("x", 1, 10);
	struct buf data = BUF_INIT;
	struct buf control = BUF_INIT;
	uint32_t crc = crc32c(0, body.data, body.size);
	struct wire_append_batch batches[2] = {
		{.partition = 0, .body_bytes = (uint32_t)body.size, .body_crc = crc},
		{.partition = 1, .body_bytes = (uint32_t)body.size, .body_crc = crc + 1},
	};
	create_topic(&client, "t", 2);
	ck_assert_int_eq(
		buf_add(&data, body.data, body.size) | buf_add(&data, body.data, body.size), 0);
	ck_assert_int_eq(wire_append_request_encode(&control, bytes_text("t"), 0, batches, 2), 0);
	client_refused(&client,
		client_send_raw(&client, FRAME_APPEND, buf_bytes(&control), buf_bytes(&data)),
		ANNALS_E_CORRUPT_BATCH, "partition 1");
	ck_assert_uint_eq(end_of("t", 0), 0);
	ck_assert_uint_eq(end_of("t", 1), 0);
	buf_release(&body);
	buf_release(&data);
	buf_release(&control);
}
END_TEST

START_TEST(test_sizes_over_their_limits_name_them)
{
	struct buf event = make_body("big", 1, 65u << 10);
	struct buf many = make_body("many", 5, 60u << 10);
	Annals__V1__Error *error;
	create_topic(&client, "t", 1);
	error = client_refused(&client, send_append(&client, "t", 0, 0, buf_bytes(&event)),
		ANNALS_E_TOO_LARGE, "");
	ck_assert_str_eq(error->limit_name, "event-bytes-max");
	ck_assert_uint_eq(error->limit, 64u << 10);
	error = client_refused(
		&client, send_append(&client, "t", 0, 0, buf_bytes(&many)), ANNALS_E_TOO_LARGE, "");
	ck_assert_str_eq(error->limit_name, "request-bytes-max");
	ck_assert_uint_eq(end_of("t", 0), 0);
	buf_release(&event);
	buf_release(&many);
}
END_TEST

/* ---- Pressure ---- */

struct flood {
	struct client *client;
	unsigned count;
};

static void *send_flood(void *arg)
{
	struct flood *flood = arg;
	uint8_t frame[FRAME_HEADER_BYTES];
	for (unsigned i = 0; i < flood->count; i++) {
		frame_write_header(frame, FRAME_REQUEST, FRAME_PING, 0, i + 1, 0, 0);
		client_send_bytes(flood->client, frame, sizeof(frame));
	}
	return NULL;
}

START_TEST(test_10000_pipelined_requests_without_reading_are_all_answered)
{
	struct flood flood = {&client, 10000};
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, send_flood, &flood), 0);
	usleep(300000);
	ck_assert_uint_le(
		counter_get(&fixture_server.loops[0].counters.requests_in_flight[COUNTER_BINARY]),
		1024);
	for (uint32_t i = 1; i <= 10000; i++) {
		ck_assert_int_eq(client_receive(&client).status, 0);
	}
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(test_10000_pipelined_waits_hold_the_connection_at_its_limit)
{
	struct wire_fetch_request request = {.topic = bytes_text("t"), .wait_ms = 400};
	struct buf control = BUF_INIT;
	struct buf frame = BUF_INIT;
	struct buf all = BUF_INIT;
	create_topic(&client, "t", 1);
	ck_assert_int_eq(wire_fetch_request_encode(&control, &request), 0);
	ck_assert_int_eq(buf_add_zeros(&frame, FRAME_HEADER_BYTES) |
				 buf_add(&frame, control.data, control.size),
		0);
	for (uint32_t i = 0; i < 3000; i++) {
		frame_write_header(
			frame.data, FRAME_REQUEST, FRAME_FETCH, 0, i + 1, control.size, 0);
		ck_assert_int_eq(buf_add(&all, frame.data, frame.size), 0);
	}
	client_send_bytes(&client, all.data, all.size);
	usleep(200000);
	ck_assert_uint_eq(
		counter_get(&fixture_server.loops[0].counters.requests_in_flight[COUNTER_BINARY]),
		1024);
	for (uint32_t i = 0; i < 3000; i++) {
		ck_assert_int_eq(client_receive(&client).status, 0);
	}
	buf_release(&control);
	buf_release(&frame);
	buf_release(&all);
}
END_TEST

START_TEST(test_waits_that_end_together_do_not_pile_up_answers)
{
	struct wire_fetch_request request = {.topic = bytes_text("t"), .wait_ms = 5000};
	struct buf control = BUF_INIT;
	struct buf body = make_body("x", 3, 60u << 10);
	struct client other;
	unsigned full = 0;
	create_topic(&client, "t", 1);
	client_open(&other);
	ck_assert_int_eq(wire_fetch_request_encode(&control, &request), 0);
	for (int i = 0; i < 500; i++) {
		client_send_raw(&client, FRAME_FETCH, buf_bytes(&control), nothing);
	}
	usleep(100000);
	client_expect(&other, send_append(&other, "t", 0, 0, buf_bytes(&body)), 0);
	for (int i = 0; i < 500; i++) {
		struct frame frame = client_receive(&client);
		ck_assert_int_eq(frame.status, 0);
		full += frame.data.size > 0;
	}
	/* 180 KiB each: six fit below output-bytes-max, the others are empty and ask again. */
	ck_assert_uint_ge(full, 1);
	ck_assert_uint_le(full, 40);
	client_close(&other);
	buf_release(&control);
	buf_release(&body);
}
END_TEST

START_TEST(test_reader_that_does_not_read_is_closed)
{
	struct buf body = make_body("x", 3, 60u << 10);
	struct client other;
	int size = 4096;
	create_topic(&client, "t", 1);
	for (int i = 0; i < 40; i++) {
		client_expect(&client, send_append(&client, "t", 0, 0, buf_bytes(&body)), 0);
	}
	client_open(&other);
	ck_assert_int_eq(setsockopt(other.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	for (int i = 0; i < 40; i++) {
		send_fetch(&other, "t", 0, 0, 0);
	}
	for (int i = 0;
		i < 60 && counter_get(&fixture_server.loops[0].counters.connections_closed[5]) == 0;
		i++) {
		usleep(50000);
		client_expect(&client, client_send(&client, FRAME_PING, NULL, nothing), 0);
	}
	ck_assert_uint_eq(counter_get(&fixture_server.loops[0].counters.connections_closed[5]), 1);
	client_close(&other);
	buf_release(&body);
}
END_TEST

START_TEST(test_drain_answers_what_waits_and_ends_subscriptions)
{
	Annals__V1__SubscribeRequest request = ANNALS__V1__SUBSCRIBE_REQUEST__INIT;
	struct client other;
	struct frame frame;
	uint32_t waiting;
	uint64_t before;
	create_topic(&client, "t", 1);
	client_open(&other);
	waiting = send_fetch(&client, "t", 0, 0, 5000);
	request.topic = (char *)(uintptr_t) "t";
	request.start = ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_LATEST;
	request.credit_bytes = 1000;
	client_expect(&other, client_send(&other, FRAME_SUBSCRIBE, &request.base, nothing), 0);
	usleep(50000);
	before = clock_monotonic_ns();
	/* The clients read while the server drains: it may not wait for drain-timeout. */
	ck_assert(server_drain(&fixture_server) || clock_monotonic_ns() - before > 0);
	ck_assert_uint_lt((clock_monotonic_ns() - before) / 1000000, 4000);
	ck_assert_uint_eq(receive_fetch(&client, waiting).events, 0);
	client_expect_close(&client);
	frame = client_receive(&other);
	ck_assert_int_eq(frame.kind, FRAME_PUSH);
	ck_assert_int_eq(frame.status, -ANNALS_E_UNAVAILABLE);
	client_expect_close(&other);
	client_close(&other);
}
END_TEST

START_TEST(test_connections_max_is_told_by_closing)
{
	struct client other;
	client_close(&client);
	fixture_stop();
	fixture_start("connections-max=1", NULL);
	client_open(&client);
	client_connect(&other);
	client_expect_close(&other);
	client_close(&other);
	client_expect(&client, client_send(&client, FRAME_PING, NULL, nothing), 0);
}
END_TEST

START_TEST(test_offsets_and_events_survive_a_restart)
{
	client_close(&client);
	fixture_stop();
	fixture_start("journal=file", NULL);
	client_open(&client);
	create_topic(&client, "t", 1);
	append(&client, "t", 0, "a", 3);
	client_close(&client);
	fixture_restart();
	client_open(&client);
	ck_assert_uint_eq(append(&client, "t", 0, "b", 1).base_offset, 3);
	ck_assert_str_eq(receive_fetch(&client, send_fetch(&client, "t", 0, 0, 0)).first_id, "a-0");
}
END_TEST

/* ---- Transactions ---- */

/* Sends a transaction of appends to the same number of topics; the bodies announce `extra_bytes`
 * more or less than there are. */
static uint32_t send_transact(const char *const *topics, size_t count, int extra_bytes)
{
	Annals__V1__TransactRequest request = ANNALS__V1__TRANSACT_REQUEST__INIT;
	ProtobufCBinaryData appends[2];
	struct buf controls[2] = {BUF_INIT, BUF_INIT}, data = BUF_INIT;
	struct buf body = make_body("x", 2, 8);
	uint32_t correlation;
	for (size_t i = 0; i < count; i++) {
		const struct wire_append_batch batch = {.count = 2,
			.body_bytes = (uint32_t)((int)body.size + (i == 1 ? extra_bytes : 0)),
			.body_crc = crc32c(0, body.data, body.size)};
		ck_assert_int_eq(wire_append_request_encode(
					 &controls[i], bytes_text(topics[i]), 0, &batch, 1),
			0);
		ck_assert_int_eq(buf_add(&data, body.data, body.size), 0);
		appends[i].data = controls[i].data;
		appends[i].len = controls[i].size;
	}
	request.append = appends;
	request.n_append = count;
	correlation = client_send(&client, FRAME_TRANSACT, &request.base, buf_bytes(&data));
	buf_release(&controls[0]);
	buf_release(&controls[1]);
	buf_release(&data);
	buf_release(&body);
	return correlation;
}

START_TEST(test_transact_stores_nothing_of_what_is_malformed)
{
	static const char *const both[] = {"a", "b"}, *const same[] = {"a", "a"};
	static const uint8_t junk[] = {0x0a, 0x02, 0xff, 0xff};
	struct frame frame;
	create_topic(&client, "a", 1);
	create_topic(&client, "b", 1);
	client_refused(&client, send_transact(both, 2, 1), ANNALS_E_MALFORMED, "append 1");
	client_refused(
		&client, send_transact(both, 2, INT32_MAX / 2), ANNALS_E_MALFORMED, "append 1");
	client_refused(&client, send_transact(both, 2, -1), ANNALS_E_CORRUPT_BATCH, "append 1");
	client_refused(&client, send_transact(same, 2, 0), ANNALS_E_INVALID, "twice");
	client_refused(&client, send_transact(both, 0, 0), ANNALS_E_INVALID, "no append");
	client_refused(&client,
		client_send_raw(&client, FRAME_TRANSACT, bytes_of(junk, sizeof(junk)), nothing),
		ANNALS_E_MALFORMED, "");
	ck_assert_uint_eq(end_of("a", 0), 0);
	ck_assert_uint_eq(end_of("b", 0), 0);
	frame = client_expect(&client, send_transact(both, 2, 0), 0);
	ck_assert_uint_gt(frame.control.size, 0);
	ck_assert_uint_eq(end_of("a", 0), 2);
	ck_assert_uint_eq(end_of("b", 0), 2);
}
END_TEST

SUITE_MAIN("native_hostile", setup, teardown, test_hello_with_an_unknown_version_is_refused,
	test_hello_without_the_magic_is_refused, test_first_frame_must_be_a_hello,
	test_second_hello_is_an_error_and_the_connection_stays,
	test_requests_behind_a_refused_hello_are_dropped, test_frame_over_the_limit_names_the_limit,
	test_frame_lengths_around_2_31_are_refused, test_frame_that_cannot_be_one_closes,
	test_half_a_frame_and_silence_is_closed, test_half_a_body_and_silence_is_closed,
	test_connection_without_a_hello_is_closed,
	test_idle_connection_is_closed_and_a_waiting_one_is_not,
	test_frame_in_single_bytes_is_understood,
	test_unknown_operation_is_an_error_and_the_connection_stays,
	test_broken_control_message_is_an_error_for_every_operation,
	test_data_where_none_belongs_is_malformed, test_names_that_are_not_utf8_are_malformed,
	test_unknown_topic_and_partition_are_named, test_offset_beyond_the_end_tells_the_range,
	test_topic_names_and_partitions_have_rules, test_damaged_batches_are_refused_whole,
	test_one_bad_batch_refuses_the_whole_request, test_sizes_over_their_limits_name_them,
	test_10000_pipelined_requests_without_reading_are_all_answered,
	test_10000_pipelined_waits_hold_the_connection_at_its_limit,
	test_waits_that_end_together_do_not_pile_up_answers,
	test_reader_that_does_not_read_is_closed,
	test_drain_answers_what_waits_and_ends_subscriptions,
	test_connections_max_is_told_by_closing, test_offsets_and_events_survive_a_restart,
	test_transact_stores_nothing_of_what_is_malformed)
