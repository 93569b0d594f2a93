/* Reading a partition, one event, and the merged pages of a topic. */
#include "http_fixture.h"
#include "suite.h"
#include <annals/clock.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PARTITION "/v1/topics/t/partitions/0/events"
#define LINES "Content-Type: application/x-ndjson\r\n"

static void append(const char *path, unsigned first, unsigned count, const char *more)
{
	struct buf text = BUF_INIT;
	for (unsigned i = first; i < first + count; i++) {
		ck_assert_int_eq(buf_printf(&text,
					 "{\"specversion\":\"1.0\",\"id\":\"%u\",\"source\":\"/"
					 "s\",\"type\":\"t%u\"%s}\n",
					 i, i % 2, more),
			0);
	}
	ask_for(200, "POST", path, LINES, buf_text(&text));
	buf_release(&text);
}

static void setup(void)
{
	server_setup();
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":3}");
}

START_TEST(test_http_read_pages_follow_the_link)
{
	char path[256] = PARTITION "?offset=0&limit=40";
	char value[1024];
	unsigned total = 0, pages = 0;
	append(PARTITION, 0, 100, "");
	for (;;) {
		const struct http_response *page = ask("GET", path, NULL, NULL);
		ck_assert_int_eq(page->status, 200);
		ck_assert_str_eq(
			response_header(page, "Content-Type", value), "application/x-ndjson");
		const unsigned count = (unsigned)count_of((const char *)page->body.data, "\n");
		if (count == 0) {
			break;
		}
		ck_assert_uint_eq(
			json_number((const char *)page->body.data, "annalsoffset"), total);
		total += count;
		pages++;
		response_header(page, "Link", value);
		ck_assert_ptr_nonnull(strstr(value, ">; rel=\"next\""));
		snprintf(path, sizeof(path), "%.*s", (int)strcspn(value + 1, ">"), value + 1);
	}
	ck_assert_uint_eq(total, 100);
	ck_assert_uint_eq(pages, 3);
}
END_TEST

START_TEST(test_http_read_starts_where_it_is_asked_to)
{
	append(PARTITION, 0, 10, "");
	usleep(3000);
	char now[64], path[160];
	const uint64_t us = clock_wall_us();
	usleep(3000);
	append(PARTITION, 10, 5, "");
	const time_t seconds = (time_t)(us / 1000000);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(path, sizeof(path), PARTITION "?from=%s.%06uZ", now, (unsigned)(us % 1000000));
	ck_assert_uint_eq(json_number(ask_for(200, "GET", path, NULL, NULL), "annalsoffset"), 10);
	ck_assert_uint_eq(json_number(ask_for(200, "GET", PARTITION "?from=earliest", NULL, NULL),
				  "annalsoffset"),
		0);
	ck_assert_uint_eq(
		json_number(ask_for(200, "GET", PARTITION "?offset=7", NULL, NULL), "annalsoffset"),
		7);
	ck_assert_str_eq(ask_for(200, "GET", PARTITION "?from=latest", NULL, NULL), "");
	ck_assert_str_eq(ask_for(200, "GET", PARTITION "?offset=15", NULL, NULL), "");
	ck_assert_str_eq(
		ask_for(200, "GET", PARTITION "?from=2100-01-01T00:00:00Z", NULL, NULL), "");
}
END_TEST

START_TEST(test_http_read_formats)
{
	char value[1024];
	append(PARTITION, 0, 3, ",\"data\":{\"n\":1}");
	const struct http_response *page = ask("GET", PARTITION "?limit=2",
		"Accept: application/cloudevents-batch+json\r\n", NULL);
	ck_assert_str_eq(
		response_header(page, "Content-Type", value), "application/cloudevents-batch+json");
	ck_assert_int_eq(page->body.data[0], '[');
	ck_assert_uint_eq(count_of((const char *)page->body.data, "\"specversion\""), 2);
	ck_assert_ptr_nonnull(strstr((const char *)page->body.data, "}},\n{"));
	page = ask("GET", PARTITION "?offset=3", "Accept: application/json\r\n", NULL);
	ck_assert_str_eq(response_header(page, "Content-Type", value), "application/json");
	ck_assert_str_eq((const char *)page->body.data, "[]\n");
	page = ask(
		"GET", PARTITION "?limit=2", "Accept: application/x-protobuf, */*;q=0.1\r\n", NULL);
	ck_assert_str_eq(response_header(page, "Content-Type", value), "application/x-protobuf");
	ck_assert_int_eq(page->body.data[0], 0x0a);
	page = ask("HEAD", PARTITION, NULL, NULL);
	ck_assert_int_eq(page->status, 200);
	ck_assert_str_eq(response_header(page, "Annals-End-Offset", value), "3");
	ask_problem(406, "not-acceptable", "application/x-ndjson", "GET", PARTITION,
		"Accept: image/png\r\n", NULL);
}
END_TEST

START_TEST(test_http_read_data_with_line_breaks_stays_on_one_line)
{
	ask_for(200, "POST", PARTITION, "Content-Type: application/cloudevents+json\r\n",
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/"
		"s\",\"type\":\"x\",\"data\":{\r\n\"a\":\n1}}");
	const char *text = ask_for(200, "GET", PARTITION, NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\n"), 1);
	ck_assert_ptr_nonnull(strstr(text, "\"data\":{  \"a\": 1}}\n"));
}
END_TEST

START_TEST(test_http_read_errors)
{
	append(PARTITION, 0, 3, "");
	ask_problem(416, "offset-beyond-end", "\"endOffset\":3", "GET", PARTITION "?offset=4", NULL,
		NULL);
	ask_problem(404, "unknown-partition", "\"partition\":3", "GET",
		"/v1/topics/t/partitions/3/events", NULL, NULL);
	ask_problem(404, "unknown-partition", "\"partition\":3", "GET",
		"/v1/topics/t/partitions/3/events?offset=0", NULL, NULL);
	ask_problem(404, "not-found", "'x'", "GET", "/v1/topics/t/partitions/x/events", NULL, NULL);
	ask_problem(404, "not-found", "'4294967296'", "GET",
		"/v1/topics/t/partitions/4294967296/events", NULL, NULL);
	ask_problem(404, "unknown-topic", "'none'", "GET", "/v1/topics/none/partitions/0/events",
		NULL, NULL);
	ask_problem(400, "invalid-argument", "'limit'", "GET", PARTITION "?limit=0", NULL, NULL);
	ask_problem(
		400, "invalid-argument", "1000000", "GET", PARTITION "?limit=1000001", NULL, NULL);
	ask_problem(400, "invalid-argument", "'offset'", "GET", PARTITION "?offset=-1", NULL, NULL);
	ask_problem(400, "invalid-argument", "'offset'", "GET",
		PARTITION "?offset=18446744073709551615", NULL, NULL);
	ask_problem(400, "invalid-argument", "both", "GET", PARTITION "?offset=1&from=latest", NULL,
		NULL);
	ask_problem(
		400, "invalid-argument", "'from'", "GET", PARTITION "?from=yesterday", NULL, NULL);
	ask_problem(400, "invalid-argument", "duration", "GET", PARTITION "?wait=long", NULL, NULL);
	ask_problem(400, "malformed", "'offset'", "GET", PARTITION "?offset=%zz", NULL, NULL);
}
END_TEST

START_TEST(test_http_read_one_event)
{
	char value[1024];
	append(PARTITION, 0, 3, "");
	const struct http_response *event = ask("GET", PARTITION "/1", NULL, NULL);
	ck_assert_int_eq(event->status, 200);
	ck_assert_str_eq(
		response_header(event, "Content-Type", value), "application/cloudevents+json");
	ck_assert_ptr_nonnull(strstr((const char *)event->body.data, "\"id\":\"1\""));
	char header[1100];
	snprintf(header, sizeof(header), "If-None-Match: %s\r\n",
		response_header(event, "ETag", value));
	ask_for(304, "GET", PARTITION "/1", header, NULL);
	ask_for(200, "GET", PARTITION "/2", header, NULL);
	ask_problem(404, "not-found", "\"offset\":3", "GET", PARTITION "/3", NULL, NULL);
	ask_problem(404, "not-found", "\"offset\":4", "GET", PARTITION "/4", NULL, NULL);
	ask_problem(404, "not-found", "'x'", "GET", PARTITION "/x", NULL, NULL);
}
END_TEST

START_TEST(test_http_read_full_pages_have_a_tag)
{
	char value[1024], header[1100];
	append(PARTITION, 0, 10, "");
	const struct http_response *page = ask("GET", PARTITION "?offset=2&limit=3", NULL, NULL);
	snprintf(header, sizeof(header), "If-None-Match: %s\r\n",
		response_header(page, "ETag", value));
	ck_assert_str_ne(value, "");
	append(PARTITION, 10, 1, "");
	ask_for(304, "GET", PARTITION "?offset=2&limit=3", header, NULL);
	page = ask("GET", PARTITION "?offset=2&limit=300", NULL, NULL);
	ck_assert_str_eq(response_header(page, "ETag", value), "");
}
END_TEST

static void *append_later(void *arg ANNALS_UNUSED)
{
	struct http_client client;
	struct http_response response = {0};
	usleep(200000);
	client_open(&client);
	client_send_text(&client,
		"POST " PARTITION "?type=late HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1");
	client_receive(&client, &response, true);
	response_release(&response);
	client_close(&client);
	return NULL;
}

static uint64_t wait_for_late(const char *path, const char *headers)
{
	pthread_t thread;
	const uint64_t start = clock_monotonic_ns();
	ck_assert_int_eq(pthread_create(&thread, NULL, append_later, NULL), 0);
	ck_assert_ptr_nonnull(
		strstr(ask_for(200, "GET", path, headers, NULL), "\"type\":\"late\""));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	return (clock_monotonic_ns() - start) / 1000000;
}

START_TEST(test_http_read_long_poll)
{
	uint64_t ms = wait_for_late(PARTITION "?from=latest&wait=5s", NULL);
	ck_assert(ms >= 150 && ms < 2000);
	ms = wait_for_late(PARTITION "?from=latest", "Prefer: wait=5\r\n");
	ck_assert(ms >= 150 && ms < 2000);
	const uint64_t start = clock_monotonic_ns();
	ck_assert_str_eq(ask_for(200, "GET", PARTITION "?from=latest&wait=300ms", NULL, NULL), "");
	ms = (clock_monotonic_ns() - start) / 1000000;
	ck_assert(ms >= 290 && ms < 2000);
}
END_TEST

/* Everything is there, in order and once, when it comes in many slices through a full output
 * buffer. */
START_TEST(test_http_read_large_pages_with_a_slow_reader)
{
	struct http_client client;
	struct http_response response = {0};
	char more[2048];
	snprintf(more, sizeof(more), ",\"data\":\"%01500d\"", 0);
	for (unsigned i = 0; i < 5; i++) {
		append(PARTITION, i * 2000, 2000, more);
	}
	client_open(&client);
	client_send_text(&client, "GET " PARTITION "?limit=9999 HTTP/1.1\r\nHost: a\r\n\r\n");
	usleep(300000);
	client_receive(&client, &response, true);
	ck_assert(response.clean && response.chunked);
	uint64_t offset = 0;
	for (const char *line = (const char *)response.body.data; *line != 0;
		line = strchr(line, '\n') + 1) {
		ck_assert_uint_eq(json_number(line, "annalsoffset"), offset);
		offset++;
	}
	ck_assert_uint_eq(offset, 9999);
	response_release(&response);
	client_close(&client);
}
END_TEST

START_TEST(test_http_read_merged_pages_follow_positions)
{
	char path[256] = "/v1/topics/t/events?limit=7";
	char value[1024];
	unsigned total = 0;
	uint64_t last = 0;
	for (unsigned i = 0; i < 20; i++) {
		char partition[64];
		snprintf(partition, sizeof(partition), "/v1/topics/t/partitions/%u/events", i % 3);
		append(partition, i * 3, 3, "");
	}
	for (;;) {
		const struct http_response *page = ask("GET", path, NULL, NULL);
		ck_assert_int_eq(page->status, 200);
		const char *line = page->body.size > 0 ? (const char *)page->body.data : "";
		const unsigned before = total;
		for (; *line != 0; line = strchr(line, '\n') + 1) {
			const uint64_t position = json_number(line, "annalsposition");
			ck_assert_uint_gt(position, last);
			last = position;
			total++;
		}
		if (total == before) {
			break;
		}
		response_header(page, "Annals-Next-Token", value);
		snprintf(path, sizeof(path), "/v1/topics/t/events?limit=7&after=%.100s", value);
	}
	ck_assert_uint_eq(total, 60);
	ck_assert_uint_eq(
		count_of(ask_for(200, "GET", "/v1/topics/t/events?type=t1", NULL, NULL), "\n"), 30);
	ck_assert_str_eq(ask_for(200, "GET", "/v1/topics/t/events?from=latest",
				 "Accept: application/json\r\n", NULL),
		"[]\n");
	ask_problem(410, "topic-recreated", "deleted", "GET", "/v1/topics/t/events?after=999.1",
		NULL, NULL);
	ask_problem(400, "invalid-argument", "<topic id>.<position>", "GET",
		"/v1/topics/t/events?after=x", NULL, NULL);
}
END_TEST

static void trimmed(void *arg)
{
	atomic_store((atomic_bool *)arg, true);
}

/* What retention does: everything below the offset is forgotten. */
static void trim(uint64_t first_offset)
{
	atomic_bool done = false;
	struct completion_queue queue;
	struct trim_request request = {.base.operation = STORE_TRIM,
		.topic_id = 1,
		.partition = 0,
		.first_offset = first_offset};
	struct list_node requests;
	completion_queue_init(&queue, trimmed, &done);
	request.base.queue = &queue;
	ck_assert_int_eq(store_submit(test_server.store, &request.base, NULL), 0);
	while (!atomic_load(&done)) {
		usleep(1000);
	}
	list_init(&requests);
	completion_queue_take(&queue, &requests);
	ck_assert_int_eq(request.base.status, 0);
	completion_queue_release(&queue);
}

START_TEST(test_http_read_below_the_first_kept_offset)
{
	char path[160];
	for (unsigned i = 0; i < 10; i++) {
		append(PARTITION, i, 1, "");
	}
	trim(6);
	ask_problem(410, "offset-gone", "\"firstAvailable\":6", "GET", PARTITION "?offset=5", NULL,
		NULL);
	ask_problem(410, "offset-gone", "\"firstAvailable\":6", "GET", PARTITION "/2", NULL, NULL);
	ck_assert_uint_eq(
		json_number(ask_for(200, "GET", PARTITION, NULL, NULL), "annalsoffset"), 6);
	ck_assert_uint_eq(
		json_number(ask_for(200, "GET", "/v1/topics/t/events", NULL, NULL), "annalsoffset"),
		6);
	/* A stream that resumes below it is told, and goes on with what is left. */
	struct http_client client;
	client_open(&client);
	snprintf(path, sizeof(path),
		"GET /v1/topics/t/events?lastEventId=1.2 HTTP/1.1\r\nHost: a\r\nAccept: "
		"text/event-stream\r\n\r\n");
	client_send_text(&client, path);
	const char *text = client_read_until(&client, "event: caught-up");
	ck_assert_ptr_nonnull(
		strstr(text, "event: truncated\ndata: {\"partition\":0,\"firstAvailable\":6}\n\n"));
	ck_assert_uint_eq(count_of(text, "data: {\"specversion\""), 4);
	client_close(&client);
}
END_TEST

SUITE_MAIN("http_read", setup, server_teardown, test_http_read_pages_follow_the_link,
	test_http_read_starts_where_it_is_asked_to, test_http_read_formats,
	test_http_read_data_with_line_breaks_stays_on_one_line, test_http_read_errors,
	test_http_read_one_event, test_http_read_below_the_first_kept_offset,
	test_http_read_full_pages_have_a_tag, test_http_read_long_poll,
	test_http_read_large_pages_with_a_slow_reader, test_http_read_merged_pages_follow_positions)
