/* What the connection sees: bad requests, pipelining, bodies, limits. */
#include "http_fixture.h"
#include "suite.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST "POST /v1/topics/t/events HTTP/1.1\r\nHost: a\r\n"

struct bad_request {
	const char *text;
	size_t size;
	int status;
};
#define BAD(text, status)                                                                          \
	{                                                                                          \
		text, sizeof(text) - 1, status                                                     \
	}

static const struct bad_request bad_requests[] = {
	BAD("GET / HTTP/1.1\nHost: a\n\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\r\n\nX", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
	BAD("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400),
	BAD("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
	BAD(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
	BAD(POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
	BAD(POST "Content-Length: 3, 3\r\n\r\nabc", 400),
	BAD(POST "Content-Length: +3\r\n\r\nabc", 400),
	BAD(POST "Content-Length: 0x3\r\n\r\nabc", 400),
	BAD(POST "Content-Length: 99999999999999999999\r\n\r\nabc", 400),
	BAD(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
	BAD(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", 400),
	/* Two lengths, in any order and spelling. */
	BAD(POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
	BAD(POST "content-length: 3\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n", 400),
	BAD(POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
	BAD(POST "Content-Length: \r\n\r\nabc", 400),
	BAD(POST "Content-Length: -1\r\n\r\nabc", 400),
	BAD(POST "Content-Length: 3 3\r\n\r\nabc", 400),
	BAD(POST "Content-Length: 18446744073709551619\r\n\r\nabc", 400),
	/* Codings that one side may overlook. */
	BAD(POST "Transfer-Encoding: identity\r\n\r\nabc", 400),
	BAD(POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
	BAD(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
	BAD(POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
	BAD(POST "Transfer-Encoding: \r\n\r\n0\r\n\r\n", 400),
	BAD(POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
	BAD(POST " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
	BAD(POST "Transfer-Encoding:\x0b"
		 "chunked\r\n\r\n0\r\n\r\n",
		400),
	BAD("POST /v1/topics/t/events HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		400),
	/* Chunks and trailers. */
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n000000003\r\nabc\r\n0\r\n\r\n",
		400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n: x\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\nb\r\n\r\n", 400),
	BAD(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: \0\r\n\r\n", 400),
	/* Heads: line ends, controls, targets, hosts. */
	BAD("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
	BAD("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
	BAD("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("GET livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("GET http:///livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400),
	BAD("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
	BAD("GET /\r\nHost: a\r\n\r\n", 400),
	BAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\r\nX\xc3: b\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
	BAD("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 400),
	BAD("THISMETHODISTOOLONG / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
};

static void setup(void)
{
	server_setup();
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":2}");
}

START_TEST(test_http_framing_refuses_and_closes)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad_requests); i++) {
		struct http_client client;
		struct http_response response = {0};
		char value[1024];
		client_open(&client);
		client_send(&client, bad_requests[i].text, bad_requests[i].size);
		/* A second request must never be seen. */
		client_send_text(&client, GET("/livez"));
		client_receive(&client, &response, true);
		ck_assert_msg(response.status == bad_requests[i].status, "%s: %d",
			bad_requests[i].text, response.status);
		ck_assert_str_eq(response_header(&response, "Connection", value), "close");
		ck_assert_str_eq(response_header(&response, "Content-Type", value),
			"application/problem+json");
		ck_assert_msg(
			client_is_closed(&client), "still open after: %s", bad_requests[i].text);
		response_release(&response);
		client_close(&client);
	}
}
END_TEST

/* Sends head + a run of 'a' + tail, expects the status and the name of the limit, then the end. */
static void expect_too_long(
	const char *head, size_t run, const char *tail, int status, const char *limit)
{
	struct http_client client;
	struct http_response response = {0};
	char *filler = malloc(run);
	memset(filler, 'a', run);
	client_open(&client);
	client_send_text(&client, head);
	client_send(&client, filler, run);
	client_send_text(&client, tail);
	free(filler);
	client_receive(&client, &response, true);
	ck_assert_int_eq(response.status, status);
	ck_assert_ptr_nonnull(strstr((const char *)response.body.data, limit));
	ck_assert(client_is_closed(&client));
	response_release(&response);
	client_close(&client);
}

START_TEST(test_http_framing_limits_close)
{
	expect_too_long("GET /", 9000, " HTTP/1.1\r\nHost: a\r\n\r\n", 414, "8192");
	expect_too_long("GET / HTTP/1.1\r\nHost: a\r\nX: ", 17000, "\r\n\r\n", 431, "16384");
	expect_too_long(POST "ce-id: 1\r\nContent-Length: 5000000\r\n\r\n", 100000, "", 413,
		"request-bytes-max");
}
END_TEST

START_TEST(test_http_framing_trailers_are_bounded)
{
	expect_too_long(POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", 20000,
		"\r\n\r\n", 431, "trailers");
}
END_TEST

/* Bytes behind a good request are a request of their own: answered, never part of the first. */
START_TEST(test_http_framing_garbage_behind_a_request)
{
	static const char *const garbage[] = {
		"0\r\n\r\n", "GARBAGE\r\n\r\n", "\x16\x03\x01\r\n\r\n", "\r\n\r\n\r\n"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(garbage); i++) {
		struct http_client client;
		struct http_response response = {0};
		client_open(&client);
		client_send_text(&client, GET("/livez"));
		client_send_text(&client, garbage[i]);
		client_send_text(&client, GET("/livez"));
		client_receive(&client, &response, true);
		ck_assert_int_eq(response.status, 200);
		client_receive(&client, &response, true);
		ck_assert_int_eq(response.status, 400);
		ck_assert_msg(client_is_closed(&client), "still open after garbage %zu", i);
		response_release(&response);
		client_close(&client);
	}
}
END_TEST

START_TEST(test_http_framing_chunked_body_over_the_limit)
{
	struct http_client client;
	struct http_response response = {0};
	char *filler = malloc(1u << 20);
	memset(filler, 'a', 1u << 20);
	client_open(&client);
	client_send_text(&client, POST "ce-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 5; i++) {
		client_send_text(&client, "100000\r\n");
		client_send(&client, filler, 1u << 20);
		client_send_text(&client, "\r\n");
	}
	client_receive(&client, &response, true);
	ck_assert_int_eq(response.status, 413);
	ck_assert_uint_eq(json_number((const char *)response.body.data, "limit"), 4194304);
	ck_assert(client_is_closed(&client));
	free(filler);
	response_release(&response);
	client_close(&client);
}
END_TEST

START_TEST(test_http_framing_pipelined_answers_in_order)
{
	struct http_client client;
	struct http_response response = {0};
	client_open(&client);
	client_send_text(&client,
		"POST /v1/topics/t/events?type=x HTTP/1.1\r\nHost: a\r\nContent-Length: "
		"2\r\n\r\n17" GET("/nope")
			GET("/v1/topics/t/partitions/0/events") "HEAD /livez HTTP/1.1\r\nHost: "
								"a\r\n\r\n" GET("/livez"));
	static const int statuses[] = {200, 404, 200, 200, 200};
	for (size_t i = 0; i < ANNALS_COUNT_OF(statuses); i++) {
		client_receive(&client, &response, i != 3);
		ck_assert_msg(
			response.status == statuses[i], "answer %zu is %d", i, response.status);
	}
	ck_assert_str_eq((const char *)response.body.data, "ok\n");
	response_release(&response);
	client_close(&client);
}
END_TEST

START_TEST(test_http_framing_every_byte_alone)
{
	static const char text[] = "POST /v1/topics/t/events?type=x HTTP/1.1\r\nHost: "
				   "a\r\nTransfer-Encoding: chunked\r\n\r\n"
				   "1\r\n4\r\n1\r\n2\r\n0\r\n\r\n";
	struct http_client client;
	struct http_response response = {0};
	client_open(&client);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		client_send(&client, text + i, 1);
		usleep(200);
	}
	client_receive(&client, &response, true);
	ck_assert_int_eq(response.status, 200);
	response_release(&response);
	client_close(&client);
	const char *events = ask_for(200, "GET", "/v1/topics/t/events", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(events, "\"data\":42}"));
}
END_TEST

START_TEST(test_http_framing_keep_alive_and_close)
{
	struct http_client client;
	struct http_response response = {0};
	client_open(&client);
	for (int i = 0; i < 3; i++) {
		client_send_text(&client, GET("/livez"));
		client_receive(&client, &response, true);
		ck_assert_int_eq(response.status, 200);
	}
	client_send_text(&client, "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	client_receive(&client, &response, true);
	ck_assert(client_is_closed(&client));
	client_close(&client);

	client_open(&client);
	client_send_text(&client, "GET /livez HTTP/1.0\r\n\r\n");
	client_receive(&client, &response, true);
	ck_assert_int_eq(response.status, 200);
	ck_assert(client_is_closed(&client));
	client_close(&client);
	response_release(&response);
}
END_TEST

START_TEST(test_http_framing_http_1_0_gets_no_chunks)
{
	struct http_client client;
	struct http_response response = {0};
	ask_for(200, "POST", "/v1/topics/t/partitions/0/events?type=x", NULL, "1");
	client_open(&client);
	client_send_text(&client, "GET /v1/topics/t/partitions/0/events HTTP/1.0\r\n\r\n");
	client_receive(&client, &response, true);
	ck_assert(!response.chunked);
	ck_assert_uint_eq(count_of((const char *)response.body.data, "\n"), 1);
	response_release(&response);
	client_close(&client);
}
END_TEST

START_TEST(test_http_framing_expect_continue)
{
	struct http_client client;
	struct http_response response = {0};
	client_open(&client);
	client_send_text(&client,
		"POST /v1/topics/t/events?type=x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
		"Expect: 100-continue\r\n\r\n");
	client_receive(&client, &response, false);
	ck_assert_int_eq(response.status, 100);
	client_send_text(&client, "7");
	client_receive(&client, &response, true);
	ck_assert_int_eq(response.status, 200);
	/* Refused before the body: no 100, and the end, because whether a body comes is not known.
	 */
	client_send_text(&client,
		"POST /v1/topics/none/events?type=x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
		"Expect: 100-continue\r\n\r\n");
	client_receive(&client, &response, true);
	ck_assert_int_eq(response.status, 404);
	ck_assert(client_is_closed(&client));
	response_release(&response);
	client_close(&client);
}
END_TEST

START_TEST(test_http_framing_small_unwanted_body_keeps_the_connection)
{
	struct http_client client;
	struct http_response response = {0};
	client_open(&client);
	client_send_text(&client, "POST /v1/topics/none/events HTTP/1.1\r\nHost: "
				  "a\r\nContent-Length: 5\r\n\r\nhello" GET("/livez"));
	client_receive(&client, &response, true);
	ck_assert_int_eq(response.status, 404);
	client_receive(&client, &response, true);
	ck_assert_int_eq(response.status, 200);
	response_release(&response);
	client_close(&client);
}
END_TEST

static size_t resident_bytes(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%*u %lu", &pages), 1);
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* 10,000 requests for pages of 200 KB that nobody reads: the server stops reading instead of
 * growing. */
START_TEST(test_http_framing_pipelining_without_reading_is_bounded)
{
	static const char request[] = GET("/v1/topics/t/partitions/0/events");
	struct http_client client;
	char *body = malloc(200001);
	memset(body, '1', 200000);
	body[200000] = 0;
	ask_for(200, "POST", "/v1/topics/t/partitions/0/events?type=x", NULL, body);
	free(body);
	client_open(&client);
	const size_t before = resident_bytes();
	size_t sent = 0;
	for (int i = 0; i < 10000; i++) {
		const ssize_t size =
			send(client.fd, request, sizeof(request) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (size < 0) {
			struct pollfd poll_fd = {.fd = client.fd, .events = POLLOUT};
			if (poll(&poll_fd, 1, 500) == 0) {
				break;
			}
			continue;
		}
		sent += (size_t)size;
	}
	usleep(300000);
	ck_assert_uint_gt(sent, 100 * sizeof(request));
	/* Not under a sanitizer's allocator, whose quarantine grows by itself. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	ck_assert_uint_lt(resident_bytes(), before + (24u << 20));
#else
	(void)before;
#endif
	/* The server still serves others. */
	ask_for(200, "GET", "/livez", NULL, NULL);
	client_close(&client);
}
END_TEST

START_TEST(test_http_framing_a_reader_that_leaves_in_the_middle)
{
	char body[20001];
	memset(body, '1', 20000);
	body[20000] = 0;
	for (int i = 0; i < 100; i++) {
		ask_for(200, "POST", "/v1/topics/t/partitions/0/events?type=x", NULL, body);
	}
	for (int i = 0; i < 20; i++) {
		struct http_client client;
		client_open(&client);
		client_send_text(&client, GET("/v1/topics/t/partitions/0/events")
						  GET("/v1/topics/t/partitions/0/events"));
		(void)client_read_until(&client, "200 OK");
		client_close(&client);
	}
	ask_for(200, "GET", "/livez", NULL, NULL);
}
END_TEST

START_TEST(test_http_framing_half_a_body_stores_nothing)
{
	struct http_client client;
	client_open(&client);
	client_send_text(&client, "POST /v1/topics/t/events?type=x HTTP/1.1\r\nHost: "
				  "a\r\nContent-Length: 100\r\n\r\n12");
	client_close(&client);
	usleep(100000);
	ck_assert_str_eq(ask_for(200, "GET", "/v1/topics/t/events", NULL, NULL), "");
}
END_TEST

SUITE_MAIN("http_framing", setup, server_teardown, test_http_framing_refuses_and_closes,
	test_http_framing_limits_close, test_http_framing_trailers_are_bounded,
	test_http_framing_garbage_behind_a_request, test_http_framing_chunked_body_over_the_limit,
	test_http_framing_pipelined_answers_in_order, test_http_framing_every_byte_alone,
	test_http_framing_keep_alive_and_close, test_http_framing_http_1_0_gets_no_chunks,
	test_http_framing_expect_continue,
	test_http_framing_small_unwanted_body_keeps_the_connection,
	test_http_framing_pipelining_without_reading_is_bounded,
	test_http_framing_a_reader_that_leaves_in_the_middle,
	test_http_framing_half_a_body_stores_nothing)
