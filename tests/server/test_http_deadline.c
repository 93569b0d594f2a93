/* Clients that begin and do not go on. */
#include "http_fixture.h"
#include "suite.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 8u

static void hurry(struct options *options)
{
	options->header_timeout_us = 300000;
	options->idle_timeout_us = 500000;
	options->connections_max = CONNECTIONS_MAX;
}

static void setup(void)
{
	server_setup_with(hurry);
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{}");
}

static void expect_timeout(const char *text)
{
	struct http_client client;
	struct http_response response = {0};
	client_open(&client);
	client_send_text(&client, text);
	client_receive(&client, &response, true);
	ck_assert_int_eq(response.status, 408);
	ck_assert_ptr_nonnull(
		strstr((const char *)response.body.data, "urn:annals:problem:timeout"));
	ck_assert(client_is_closed(&client));
	response_release(&response);
	client_close(&client);
}

START_TEST(test_http_deadline_of_the_head)
{
	expect_timeout("GET /livez HTTP/1.1\r\nHost: a\r\n");
}
END_TEST

START_TEST(test_http_deadline_of_the_body)
{
	expect_timeout("POST /v1/topics/t/events?type=x HTTP/1.1\r\nHost: a\r\nContent-Length: "
		       "100\r\n\r\n12");
	expect_timeout("POST /v1/topics/t/events?atomic=false HTTP/1.1\r\nHost: a\r\nContent-Type: "
		       "application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\n\n");
	ck_assert_str_eq(ask_for(200, "GET", "/v1/topics/t/events", NULL, NULL), "");
}
END_TEST

START_TEST(test_http_deadline_of_an_idle_connection)
{
	struct http_client client;
	client_open(&client);
	ck_assert(client_is_closed(&client));
	client_close(&client);
}
END_TEST

/* A stream and a long poll wait longer than the idle deadline. */
START_TEST(test_http_deadline_does_not_hold_for_waits)
{
	struct http_client client;
	client_open(&client);
	client_send_text(&client,
		"GET /v1/topics/t/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
	(void)client_read_until(&client, "event: caught-up");
	ck_assert_str_eq(
		ask_for(200, "GET", "/v1/topics/t/partitions/0/events?from=latest&wait=1500ms",
			NULL, NULL),
		"");
	ask_for(200, "POST", "/v1/topics/t/events?type=late", NULL, "1");
	(void)client_read_until(&client, "\"type\":\"late\"");
	client_close(&client);
}
END_TEST

#define LARGE_EVENTS 24u

/* A subscriber stops reading for many times the idle deadline, with more to come than the system's
 * buffers hold, and misses nothing. */
START_TEST(test_http_deadline_does_not_hold_for_subscribers)
{
	static char large[1000001], input[65536];
	struct http_client client;
	unsigned seen = 0;
	char wanted[64];
	size_t kept = 0;

	memset(large, 'x', sizeof(large) - 1);
	for (unsigned i = 0; i < LARGE_EVENTS; i++) {
		ask_for(200, "POST", "/v1/topics/t/partitions/0/events?type=large", NULL, large);
	}
	client_open(&client);
	client_send_text(&client, "GET /v1/topics/t/events?from=earliest HTTP/1.1\r\nHost: a\r\n"
				  "Accept: text/event-stream\r\n\r\n");
	usleep(2000000);
	while (seen < LARGE_EVENTS) {
		const char *found;
		ssize_t n = recv(client.fd, input + kept, sizeof(input) - 1 - kept, 0);
		ck_assert_msg(n > 0, "the stream ended after %u events", seen);
		input[kept + (size_t)n] = 0;
		(void)snprintf(wanted, sizeof(wanted), "\"annalsoffset\":%u,", seen);
		found = strstr(input, "\"annalsoffset\":");
		if (found != NULL && strchr(found, ',') != NULL) {
			ck_assert_msg(strncmp(found, wanted, strlen(wanted)) == 0,
				"%.30s came, not %s", found, wanted);
			seen++;
			kept = 0;
		} else {
			/* A name that is cut by the end of the buffer. */
			size_t size = kept + (size_t)n;
			kept = size < 64 ? size : 64;
			memmove(input, input + size - kept, kept);
		}
	}
	client_close(&client);
}
END_TEST

/* A connection above the limit has its answer before it asked. */
START_TEST(test_http_connections_max_is_told)
{
	struct http_client clients[CONNECTIONS_MAX], other;
	struct http_response response = {0};
	char value[1024];

	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		client_open(&clients[i]);
		client_send_text(&clients[i], "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
		client_receive(&clients[i], &response, true);
		ck_assert_int_eq(response.status, 200);
		response_release(&response);
	}
	client_open(&other);
	client_receive(&other, &response, true);
	ck_assert_int_eq(response.status, 503);
	ck_assert_ptr_nonnull(
		strstr((const char *)response.body.data, "urn:annals:problem:overloaded"));
	ck_assert_ptr_nonnull(strstr((const char *)response.body.data, "connections-max"));
	ck_assert_uint_eq(json_number((const char *)response.body.data, "status"), 503);
	ck_assert_str_eq(response_header(&response, "Retry-After", value), "1");
	ck_assert_str_eq(response_header(&response, "Connection", value), "close");
	response_release(&response);
	ck_assert(client_is_closed(&other));
	client_close(&other);
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		client_close(&clients[i]);
	}
}
END_TEST

SUITE_MAIN("http_deadline", setup, server_teardown, test_http_deadline_of_the_head,
	test_http_deadline_of_the_body, test_http_deadline_of_an_idle_connection,
	test_http_deadline_does_not_hold_for_waits,
	test_http_deadline_does_not_hold_for_subscribers, test_http_connections_max_is_told)
