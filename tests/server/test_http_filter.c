/* Filters on pages of a topic and on server-sent events. */
#include "http_fixture.h"
#include "suite.h"
#include <stdio.h>

#define EVENTS "/v1/topics/t/events"
#define LINES "Content-Type: application/x-ndjson\r\n"

/* 60 events: types order.placed, order.paid, customer.moved in turns; subjects s0 to s3; keys k0 to
 * k4; the tag "even" on every second one, "seat:N" on each. */
static void setup(void)
{
	static const char *const types[] = {"order.placed", "order.paid", "customer.moved"};
	struct buf text = BUF_INIT;
	server_setup();
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":3}");
	for (unsigned i = 0; i < 60; i++) {
		ck_assert_int_eq(
			buf_printf(&text,
				"{\"specversion\":\"1.0\",\"id\":\"%u\",\"source\":\"/s\","
				"\"type\":\"%s\",\"subject\":\"s%u\",\"partitionkey\":\"k%u\","
				"\"annalstags\":\"seat:%u%s\"}\n",
				i, types[i % 3], i % 4, i % 5, i, i % 2 == 0 ? ",even" : ""),
			0);
	}
	ask_for(200, "POST", EVENTS, LINES, buf_text(&text));
	buf_release(&text);
}

/* Follows the links from `path` to the end; how many events came over all pages. */
static size_t read_all(const char *path)
{
	char next[1024], link[1024];
	size_t total = 0;
	(void)snprintf(next, sizeof(next), "%s", path);
	for (int pages = 0; pages < 100; pages++) {
		const struct http_response *page = ask("GET", next, NULL, NULL);
		ck_assert_int_eq(page->status, 200);
		const size_t count = count_of((const char *)page->body.data, "\n");
		if (count == 0) {
			return total;
		}
		total += count;
		response_header(page, "Link", link);
		(void)snprintf(next, sizeof(next), "%.*s", (int)strcspn(link + 1, ">"), link + 1);
	}
	ck_abort_msg("the pages do not end");
}

START_TEST(test_http_filter_keeps_what_is_asked_for)
{
	static const struct {
		const char *parameters;
		size_t count;
	} cases[] = {
		{"", 60},
		{"type=order.paid&", 20},
		{"typePrefix=order.&", 40},
		{"typePrefix=order.paid.&", 0},
		{"subject=s1&", 15},
		{"key=k2&", 12},
		{"key=nobody&", 0},
		{"tag=even&", 30},
		{"tag=even&tag=seat%3A4&", 1},
		{"tag=even&tag=seat:5&", 0},
		{"typePrefix=order.&subject=s0&tag=even&", 10},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		char path[256];
		(void)snprintf(path, sizeof(path), EVENTS "?%slimit=7", cases[i].parameters);
		ck_assert_msg(read_all(path) == cases[i].count, "%s", cases[i].parameters);
	}
}
END_TEST

START_TEST(test_http_filter_partitions_make_up_the_topic)
{
	size_t total = 0;
	for (int i = 0; i < 3; i++) {
		char path[256];
		(void)snprintf(path, sizeof(path), EVENTS "?partition=%d&limit=5", i);
		total += read_all(path);
	}
	ck_assert_uint_eq(total, 60);
	ask_problem(404, "unknown-partition", "3", "GET", EVENTS "?partition=3", NULL, NULL);
	ask_problem(400, "invalid-argument", "partition", "GET", EVENTS "?partition=x", NULL, NULL);
	ask_problem(400, "invalid-argument", "twice", "GET", EVENTS "?key=a&key=b", NULL, NULL);
	ask_problem(400, "malformed", "subject", "GET", EVENTS "?subject=%ff", NULL, NULL);
}
END_TEST

START_TEST(test_http_filter_on_server_sent_events)
{
	struct http_client client;
	client_open(&client);
	client_send_text(&client, "GET " EVENTS "?from=earliest&tag=even&typePrefix=customer. "
				  "HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
	const char *text = client_read_until(&client, "event: caught-up");
	ck_assert_uint_eq(count_of(text, "customer.moved"), 10);
	ck_assert_uint_eq(count_of(text, "order."), 0);
	/* What comes later is filtered too, and ids move on past what is kept back. */
	ask_for(200, "POST", EVENTS "?type=order.placed&key=a", NULL, "1");
	ask_for(200, "POST", EVENTS, LINES,
		"{\"specversion\":\"1.0\",\"id\":\"last\",\"source\":\"/s\","
		"\"type\":\"customer.left\",\"annalstags\":\"even\"}\n");
	text = client_read_until(&client, "customer.left");
	ck_assert_uint_eq(count_of(text, "order."), 0);
	client_close(&client);
}
END_TEST

SUITE_MAIN("http_filter", setup, server_teardown, test_http_filter_keeps_what_is_asked_for,
	test_http_filter_partitions_make_up_the_topic, test_http_filter_on_server_sent_events)
