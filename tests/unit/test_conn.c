/* The connection layer under a small protocol of its own: lines. Answers are in order: "e TEXT"
 * echoes, "l" answers later, "b N" answers N bytes. */
#include "net/conn.h"
#include "server.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct line_conn {
	struct request *later;
	size_t produce; /* bytes of the long answer that are left */
	struct request *producer;
};

static struct server server;
static struct options options;
static struct loop loop;
static int peer;
static atomic_uint opened, closed, abandoned;
static size_t output_seen_max;

/* ---- The protocol ---- */

static void produce(struct conn *conn)
{
	struct line_conn *state = conn_state(conn);
	static const char filler[1024] = {0};
	while (state->producer != NULL && request_can_write(state->producer)) {
		size_t size = ANNALS_MIN(state->produce, sizeof(filler));
		request_write(state->producer, filler, size);
		state->produce -= size;
		output_seen_max = ANNALS_MAX(output_seen_max, conn_output_bytes(conn));
		if (state->produce == 0) {
			request_end(ANNALS_TAKE(state->producer));
		}
	}
}

static ssize_t line_input(struct conn *conn, struct bytes input)
{
	struct line_conn *state = conn_state(conn);
	const uint8_t *end = memchr(input.data, '\n', input.size);
	struct request *request;
	if (end == NULL) {
		conn_set_phase(conn, CONN_HEADER);
		return 0;
	}
	conn_set_phase(conn, CONN_IDLE);
	if (input.data[0] == 'x') {
		return PROTOCOL_CLOSE;
	}
	if (input.data[0] == 'q') {
		conn_finish(conn, CONN_CLOSE_DONE);
		return end + 1 - input.data;
	}
	request = request_begin(conn);
	ck_assert_ptr_nonnull(request);
	if (input.data[0] == 'l') {
		state->later = request;
	} else if (input.data[0] == 'b') {
		state->producer = request;
		state->produce = (size_t)atol((const char *)input.data + 2);
		produce(conn);
	} else {
		request_write(request, input.data, (size_t)(end + 1 - input.data));
		request_end(request);
		if (input.data[0] == 'n' && state->later != NULL) { /* now */
			request_write(state->later, "later\n", 6);
			request_end(ANNALS_TAKE(state->later));
		}
	}
	return end + 1 - input.data;
}

static int line_open(struct conn *conn)
{
	(void)conn;
	atomic_fetch_add(&opened, 1);
	return 0;
}

static void line_close(struct conn *conn)
{
	(void)conn;
	atomic_fetch_add(&closed, 1);
}

static void line_abandon(struct request *request)
{
	(void)request;
	atomic_fetch_add(&abandoned, 1);
}

static const struct protocol_ops line_protocol = {
	.name = "line",
	.state_size = sizeof(struct line_conn),
	.request_size = sizeof(struct request),
	.ordered = true,
	.open = line_open,
	.input = line_input,
	.writable = produce,
	.abandon = line_abandon,
	.close = line_close,
};

/* ---- Fixture ---- */

static int fds[2];

static void open_conn(struct loop_task *task)
{
	struct sockaddr_storage address = {.ss_family = AF_INET};
	(void)task;
	ck_assert_int_eq(
		conn_open(&loop, fds[0], &address, &line_protocol, &transport_plain, NULL), 0);
}

static void setup(void)
{
	static struct loop_task task;
	output_seen_max = 0;
	ck_assert_int_eq(options_init(&options), 0);
	options.header_timeout_us = 200000;
	options.idle_timeout_us = 400000;
	options.requests_in_flight_max = 4;
	options.output_bytes_max = 64 << 10;
	server.options = &options;
	ck_assert_int_eq(loop_open(&loop, &server, 0, NULL), 0);
	ck_assert_int_eq(loop_start(&loop, NULL), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	peer = fds[1];
	loop_task_init(&task, open_conn);
	loop_post(&loop, &task);
}

static void teardown(void)
{
	close(peer);
	loop_stop(&loop);
	ck_assert_uint_eq(atomic_load(&opened), atomic_load(&closed));
	loop_close(&loop);
	options_release(&options);
}

static void say(const char *text)
{
	ck_assert_int_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

static void expect(const char *text)
{
	char got[256] = {0};
	size_t size = 0;
	while (size < strlen(text)) {
		struct pollfd wait = {.fd = peer, .events = POLLIN};
		ssize_t n;
		ck_assert_msg(poll(&wait, 1, 2000) == 1, "got '%s', not '%s'", got, text);
		n = read(peer, got + size, strlen(text) - size);
		ck_assert_int_gt(n, 0);
		size += (size_t)n;
	}
	ck_assert_str_eq(got, text);
}

static void expect_silence(void)
{
	struct pollfd wait = {.fd = peer, .events = POLLIN};
	ck_assert_int_eq(poll(&wait, 1, 50), 0);
}

static void expect_end(int timeout_ms)
{
	struct pollfd wait = {.fd = peer, .events = POLLIN};
	char byte;
	ck_assert_int_eq(poll(&wait, 1, timeout_ms), 1);
	ck_assert_int_le(read(peer, &byte, 1), 0);
}

/* ---- Tests ---- */

START_TEST(test_conn_answers_in_pieces_and_in_bulk)
{
	say("e on");
	expect_silence();
	say("e\ne two\ne thr");
	expect("e one\ne two\n");
	say("ee\n");
	expect("e three\n");
}
END_TEST

START_TEST(test_conn_keeps_the_order_of_answers)
{
	say("e 1\nl\ne 2\ne 3\n");
	expect("e 1\n");
	expect_silence();
	say("n\n");
	expect("later\ne 2\ne 3\nn\n");
}
END_TEST

START_TEST(test_conn_stops_reading_at_the_limit_of_requests)
{
	/* Four are open: the one that would end the first is not read. */
	say("l\ne 2\ne 3\ne 4\nn\n");
	expect_silence();
}
END_TEST

START_TEST(test_conn_long_answers_wait_for_the_reader)
{
	size_t total = 0;
	char got[8192];
	say("b 10000000\ne after\n");
	usleep(50000);
	while (total < 10000000) {
		ssize_t n = read(peer, got, ANNALS_MIN(sizeof(got), 10000000 - total));
		ck_assert_int_gt(n, 0);
		total += (size_t)n;
	}
	expect("e after\n");
	ck_assert_uint_le(output_seen_max, (64u << 10) + 2048);
}
END_TEST

START_TEST(test_conn_waits_for_a_full_socket_without_turning)
{
	uint64_t turns;
	say("b 10000000\n");
	usleep(50000);
	say("e more\n");
	usleep(20000);
	turns = counter_get(&loop.counters.turns);
	usleep(100000);
	ck_assert_uint_lt(counter_get(&loop.counters.turns) - turns, 20);
}
END_TEST

START_TEST(test_conn_closes_on_protocol_errors_at_once)
{
	say("x\n");
	expect_end(1000);
}
END_TEST

START_TEST(test_conn_finish_sends_what_is_there_first)
{
	say("e bye\nq\ne ignored\n");
	expect("e bye\n");
	expect_end(1000);
}
END_TEST

START_TEST(test_conn_half_close_gets_its_answers)
{
	say("e 1\ne 2\n");
	ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
	expect("e 1\ne 2\n");
	expect_end(1000);
}
END_TEST

START_TEST(test_conn_half_a_header_has_a_deadline)
{
	say("e hal");
	expect_end(1000);
}
END_TEST

START_TEST(test_conn_idle_has_a_deadline_but_waiting_has_none)
{
	say("l\n");
	usleep(700000);
	expect_silence();
	say("n\n");
	expect("later\nn\n");
	expect_end(2000);
}
END_TEST

START_TEST(test_conn_that_dies_abandons_its_requests)
{
	say("l\n");
	usleep(50000);
	close(peer);
	peer = -1;
	loop_stop(&loop);
	ck_assert_uint_eq(atomic_load(&abandoned), 1);
}
END_TEST

SUITE_MAIN("conn", setup, teardown, test_conn_answers_in_pieces_and_in_bulk,
	test_conn_keeps_the_order_of_answers, test_conn_stops_reading_at_the_limit_of_requests,
	test_conn_long_answers_wait_for_the_reader,
	test_conn_waits_for_a_full_socket_without_turning,
	test_conn_closes_on_protocol_errors_at_once, test_conn_finish_sends_what_is_there_first,
	test_conn_half_close_gets_its_answers, test_conn_half_a_header_has_a_deadline,
	test_conn_idle_has_a_deadline_but_waiting_has_none,
	test_conn_that_dies_abandons_its_requests)
