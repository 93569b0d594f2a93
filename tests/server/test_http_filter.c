/* Filters on pages of a topic and on server-sent events. */
#include "http_fixture.h"
#include "suite.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Follows the links of a partition's pages to the end; the number of events, and their offsets in
 * turn. Backwards the last page has no link, forwards it leads to itself. */
static size_t read_partition(int partition, const char *parameters, uint64_t *offsets)
{
	char next[1024], link[1024], target[1024];
	size_t total = 0;
	(void)snprintf(next, sizeof(next), "/v1/topics/t/partitions/%d/events?%slimit=4", partition,
		parameters);
	for (int pages = 0; pages < 100; pages++) {
		const struct http_response *page = ask("GET", next, NULL, NULL);
		ck_assert_msg(
			page->status == 200, "%s: %.*s", next, 300, (const char *)page->body.data);
		const char *at = (const char *)page->body.data;
		while (at != NULL && (at = strstr(at, "\"annalsoffset\":")) != NULL) {
			offsets[total++] = strtoull(at + 15, NULL, 10);
			at++;
		}
		link[0] = 0;
		response_header(page, "Link", link);
		if (link[0] == 0) {
			return total;
		}
		(void)snprintf(
			target, sizeof(target), "%.*s", (int)strcspn(link + 1, ">"), link + 1);
		if (strcmp(target, next) == 0) {
			return total;
		}
		(void)snprintf(next, sizeof(next), "%s", target);
	}
	ck_abort_msg("the pages do not end");
}

START_TEST(test_http_filter_on_a_partition_both_ways)
{
	static const struct {
		const char *parameters;
		size_t count;
	} cases[] = {{"", 60}, {"type=order.paid&", 20}, {"typePrefix=order.&", 40},
		{"subject=s1&", 15}, {"key=k2&", 12}, {"key=nobody&", 0},
		{"tag=even&tag=seat%3A4&", 1}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		size_t total = 0;
		for (int partition = 0; partition < 3; partition++) {
			uint64_t rising[64], falling[64];
			char parameters[256];
			const size_t count = read_partition(partition, cases[i].parameters, rising);
			(void)snprintf(parameters, sizeof(parameters), "%sbackwards=true&",
				cases[i].parameters);
			ck_assert_uint_eq(read_partition(partition, parameters, falling), count);
			for (size_t k = 0; k < count; k++) {
				ck_assert_uint_eq(rising[k], falling[count - 1 - k]);
			}
			total += count;
		}
		ck_assert_msg(total == cases[i].count, "%s: %zu", cases[i].parameters, total);
	}
}
END_TEST

START_TEST(test_http_filter_backwards_begins_at_an_offset)
{
	const char *path = "/v1/topics/one/partitions/0/events";
	char text[256];
	ask_for(201, "PUT", "/v1/topics/one", NULL, "{\"partitions\":1}");
	/* Nothing there: an empty page, and nowhere to go on. */
	(void)snprintf(text, sizeof(text), "%s?backwards=true", path);
	ck_assert_str_eq(ask_for(200, "GET", text, NULL, NULL), "");
	ck_assert_str_eq(ask_for(200, "GET", text, "Accept: application/json\r\n", NULL), "[]\n");
	for (int i = 0; i < 5; i++) {
		ask_for(200, "POST", "/v1/topics/one/events?type=t", NULL, "1");
	}
	(void)snprintf(text, sizeof(text), "%s?backwards=true&offset=2", path);
	ck_assert_uint_eq(count_of(ask_for(200, "GET", text, NULL, NULL), "\n"), 3);
	(void)snprintf(text, sizeof(text), "%s?backwards=true&offset=5&limit=1", path);
	ck_assert_ptr_nonnull(strstr(ask_for(200, "GET", text, NULL, NULL), "\"annalsoffset\":4"));
	(void)snprintf(text, sizeof(text), "%s?backwards=true&from=2020-01-01T00:00:00Z", path);
	ck_assert_str_eq(ask_for(200, "GET", text, NULL, NULL), "");
	(void)snprintf(text, sizeof(text), "%s?backwards=true", path);
	ck_assert_uint_eq(count_of(ask_for(200, "GET", text, "Accept: application/json\r\n", NULL),
				  "annalsoffset"),
		5);
	(void)snprintf(text, sizeof(text), "%s?backwards=true&offset=6", path);
	ask_problem(416, "offset-beyond-end", "beyond", "GET", text, NULL, NULL);
	(void)snprintf(text, sizeof(text), "%s?backwards=perhaps", path);
	ask_problem(400, "invalid-argument", "backwards", "GET", text, NULL, NULL);
	(void)snprintf(text, sizeof(text), "%s?type=t&limit=100001", path);
	ask_problem(400, "invalid-argument", "limit", "GET", text, NULL, NULL);
}
END_TEST

SUITE_MAIN("http_filter", setup, server_teardown, test_http_filter_keeps_what_is_asked_for,
	test_http_filter_partitions_make_up_the_topic, test_http_filter_on_server_sent_events,
	test_http_filter_on_a_partition_both_ways, test_http_filter_backwards_begins_at_an_offset)
