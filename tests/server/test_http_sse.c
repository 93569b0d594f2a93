/* Server-Sent Events: order, resuming, filters, markers. */
#include "http_fixture.h"
#include "suite.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STREAM(query, headers)                                                                     \
	"GET /v1/topics/t/events" query                                                            \
	" HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n" headers "\r\n"
#define LINES "Content-Type: application/x-ndjson\r\n"

static void setup(void)
{
	server_setup();
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":4}");
}

/* Appends `count` events of type t<i % 2> with id i and key k<i % 13>, in requests of `step`. */
static void append(unsigned first, unsigned count, unsigned step)
{
	for (unsigned i = first; i < first + count; i += step) {
		struct http_client client;
		struct http_response response = {0};
		struct buf text = BUF_INIT;
		char head[200];
		for (unsigned n = i; n < i + step && n < first + count; n++) {
			ck_assert_int_eq(
				buf_printf(&text,
					"{\"specversion\":\"1.0\",\"id\":\"%u\",\"source\":\"/"
					"s\",\"type\":\"t%u\",\"partitionkey\":\"k%u\"}\n",
					n, n % 2, n % 13),
				0);
		}
		snprintf(head, sizeof(head),
			"POST /v1/topics/t/events HTTP/1.1\r\nHost: a\r\n" LINES
			"Content-Length: %zu\r\n\r\n",
			text.size);
		client_open(&client);
		client_send_text(&client, head);
		client_send(&client, text.data, text.size);
		client_receive(&client, &response, true);
		ck_assert_int_eq(response.status, 200);
		response_release(&response);
		client_close(&client);
		buf_release(&text);
	}
}

START_TEST(test_http_sse_head_and_first_block)
{
	struct http_client client;
	client_open(&client);
	client_send_text(&client, STREAM("", ""));
	const char *text = client_read_until(&client, "event: caught-up\n");
	ck_assert_ptr_nonnull(strstr(text, "Content-Type: text/event-stream"));
	ck_assert_ptr_nonnull(strstr(text, "Cache-Control: no-store\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "X-Accel-Buffering: no\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "retry: 2000\nid: 1.0\n\n"));
	client_close(&client);
}
END_TEST

START_TEST(test_http_sse_live_events_follow_the_marker)
{
	struct http_client client;
	append(0, 5, 5);
	client_open(&client);
	client_send_text(&client, STREAM("", ""));
	(void)client_read_until(&client, "event: caught-up\n");
	append(5, 3, 1);
	const char *text = client_read_until(&client, "\"id\":\"7\"");
	ck_assert_ptr_null(strstr(text, "\"id\":\"4\""));
	ck_assert_uint_eq(count_of(text, "\ndata: {\"specversion\""), 3);
	ck_assert_ptr_nonnull(strstr(text, "id: 1.6\ndata: {\"specversion\""));
	client_close(&client);
}
END_TEST

START_TEST(test_http_sse_filter_moves_the_id_on)
{
	struct http_client client;
	append(0, 10, 10);
	client_open(&client);
	client_send_text(&client, STREAM("?from=earliest&type=t1", ""));
	const char *text = client_read_until(&client, "event: caught-up\n");
	ck_assert_uint_eq(count_of(text, "\"type\":\"t1\""), 5);
	ck_assert_uint_eq(count_of(text, "\"type\":\"t0\""), 0);
	append(10, 1, 1);
	(void)client_read_until(&client, "id: 1.11\n\n");
	client_close(&client);
}
END_TEST

START_TEST(test_http_sse_errors)
{
	ask_problem(410, "topic-recreated", "deleted", "GET", "/v1/topics/t/events",
		"Accept: text/event-stream\r\nLast-Event-ID: 7.1\r\n", NULL);
	ask_problem(400, "invalid-argument", "last event id", "GET",
		"/v1/topics/t/events?lastEventId=1", "Accept: text/event-stream\r\n", NULL);
	ask_problem(400, "invalid-argument", "'from'", "GET", "/v1/topics/t/events?from=now",
		"Accept: text/event-stream\r\n", NULL);
	ask_problem(404, "unknown-topic", "'none'", "GET", "/v1/topics/none/events",
		"Accept: text/event-stream\r\n", NULL);
	ask_problem(406, "not-acceptable", "text/event-stream", "GET", "/v1/topics/t/events",
		"Accept: text/html\r\n", NULL);
	const struct http_response *head =
		ask("HEAD", "/v1/topics/t/events", "Accept: text/event-stream\r\n", NULL);
	ck_assert_int_eq(head->status, 200);
}
END_TEST

START_TEST(test_http_sse_ends_when_the_topic_is_deleted)
{
	struct http_client client;
	client_open(&client);
	client_send_text(&client, STREAM("", ""));
	(void)client_read_until(&client, "event: caught-up\n");
	ask_for(204, "DELETE", "/v1/topics/t", NULL, NULL);
	const char *text = client_read_until(&client, "0\r\n\r\n");
	ck_assert_ptr_nonnull(
		strstr(text, "event: error\ndata: {\"type\":\"urn:annals:problem:unknown-topic\""));
	client_close(&client);
}
END_TEST

static void *append_all(void *arg ANNALS_UNUSED)
{
	append(0, 3000, 7);
	return NULL;
}

/* Reads until at least `wanted` more bytes of events came or the last event is there, then hangs
 * up; returns the events of whole blocks. */
static void take_part(const char *last_id, size_t wanted, struct buf *events)
{
	struct http_client client;
	struct buf request = BUF_INIT;
	client_open(&client);
	ck_assert_int_eq(buf_printf(&request,
				 "GET /v1/topics/t/events?from=earliest HTTP/1.1\r\nHost: a\r\n"
				 "Accept: text/event-stream\r\n%s%s%s\r\n",
				 last_id[0] != 0 ? "Last-Event-ID: " : "", last_id,
				 last_id[0] != 0 ? "\r\n" : ""),
		0);
	client_send(&client, request.data, request.size);
	buf_release(&request);
	const char *text = client_read_until(&client, "retry: 2000\n");
	while (client.input.size < wanted && strstr(text, "\"id\":\"2999\"") == NULL) {
		struct buf *input = &client.input;
		ck_assert_int_eq(buf_reserve(input, 4096), 0);
		const ssize_t size = read(client.fd, input->data + input->size, 4096);
		ck_assert_int_gt(size, 0);
		input->size += (size_t)size;
		text = buf_text(input);
	}
	ck_assert_int_eq(buf_add_text(events, text), 0);
	client_close(&client);
}

/* While a writer appends to all partitions, a reader hangs up again and again in the middle: no
 * gap, no repeat, order of positions. */
START_TEST(test_http_sse_resume_is_exact)
{
	pthread_t writer;
	char last_id[64] = "";
	unsigned *seen = calloc(3000, sizeof(*seen));
	unsigned total = 0, rounds = 0;
	uint64_t last_position = 0;
	ck_assert_int_eq(pthread_create(&writer, NULL, append_all, NULL), 0);
	while (total < 3000) {
		struct buf events = BUF_INIT;
		take_part(last_id, 3000 + rounds * 1777 % 20000, &events);
		rounds++;
		/* Chunk framing falls between blocks: each write ends after one. */
		for (const char *at = find_text(buf_text(&events), "\ndata: {\"specversion\"");
			at != NULL; at = find_text(at + 1, "\ndata: {\"specversion\"")) {
			if (find_text(at + 1, "}\n\n") == NULL) {
				break; /* cut off: it was not seen */
			}
			const unsigned id =
				(unsigned)strtoul(find_text(at, "\"id\":\"") + 6, NULL, 10);
			const uint64_t position = json_number(at, "annalsposition");
			ck_assert_uint_lt(id, 3000);
			ck_assert_msg(seen[id]++ == 0, "event %u came twice", id);
			ck_assert_uint_gt(position, last_position);
			last_position = position;
			total++;
		}
		snprintf(last_id, sizeof(last_id), "1.%llu", (unsigned long long)last_position);
		buf_release(&events);
	}
	ck_assert_int_eq(pthread_join(writer, NULL), 0);
	ck_assert_uint_gt(rounds, 10);
	ck_assert_uint_eq(last_position, 3000);
	free(seen);
}
END_TEST

/* A reader that stops reading is not dropped and misses nothing. */
START_TEST(test_http_sse_slow_reader_gets_everything)
{
	struct http_client client;
	client_open(&client);
	client_send_text(&client, STREAM("?from=earliest", ""));
	(void)client_read_until(&client, "event: caught-up\n");
	for (unsigned i = 0; i < 10; i++) {
		append(i * 5000, 5000, 5000);
	}
	usleep(200000);
	const char *text = client_read_until(&client, "\"id\":\"49999\"");
	ck_assert_uint_eq(count_of(text, "data: {\"specversion\""), 50000);
	client_close(&client);
}
END_TEST

/* A client that leaves is noticed at once, not at the next heartbeat, though it has sent requests
 * behind its stream. */
START_TEST(test_http_sse_notices_who_leaves)
{
	static const char *const streams[] = {STREAM("", ""), STREAM("?from=earliest", "")};
	static const char request[] = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
	static const unsigned behind[] = {0, 1, 40};
	for (unsigned i = 0; i < 12; i++) {
		struct http_client client;
		client_open(&client);
		client_send_text(&client, streams[i % 2]);
		if (i >= 6) { /* else it is gone before the stream has begun */
			(void)client_read_until(&client, "event: caught-up\n");
		}
		for (unsigned k = 0; k < behind[i % 3]; k++) {
			client_send_text(&client, request);
		}
		client_close(&client);
		for (unsigned waited = 0; atomic_load(&test_server.connections) > 0; waited++) {
			ck_assert_uint_lt(waited, 1000);
			usleep(10000);
		}
	}
}
END_TEST

START_TEST(test_http_sse_drain_says_goodbye)
{
	struct http_client client;
	client_open(&client);
	client_send_text(&client, STREAM("", ""));
	(void)client_read_until(&client, "event: caught-up\n");
	ck_assert(server_drain(&test_server));
	const char *text = client_read_until(&client, "0\r\n\r\n");
	ck_assert_uint_eq(count_of(text, "retry: 2000\n"), 2);
	client_close(&client);
}
END_TEST

SUITE_MAIN("http_sse", setup, server_teardown, test_http_sse_head_and_first_block,
	test_http_sse_live_events_follow_the_marker, test_http_sse_filter_moves_the_id_on,
	test_http_sse_errors, test_http_sse_ends_when_the_topic_is_deleted,
	test_http_sse_resume_is_exact, test_http_sse_slow_reader_gets_everything,
	test_http_sse_notices_who_leaves, test_http_sse_drain_says_goodbye)
