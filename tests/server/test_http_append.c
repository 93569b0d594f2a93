/* Appending: the CloudEvents modes, NDJSON, protobuf, receipts, errors with their place, segments.
 */
#include "http_fixture.h"
#include "suite.h"
#include <stdio.h>
#include <stdlib.h>

#define EVENTS "/v1/topics/t/events"
#define STRUCTURED "Content-Type: application/cloudevents+json; charset=utf-8\r\n"
#define BATCH "Content-Type: application/cloudevents-batch+json\r\n"
#define LINES "Content-Type: application/x-ndjson\r\n"
#define EVENT(id, more)                                                                            \
	"{\"specversion\":\"1.0\",\"id\":\"" id "\",\"source\":\"/s\",\"type\":\"x\"" more "}"

static void setup(void)
{
	server_setup();
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":4}");
}

static const char *all_events(void)
{
	return ask_for(200, "GET", EVENTS "?limit=100000", NULL, NULL);
}

START_TEST(test_http_append_binary_mode)
{
	const char *text = ask_for(200, "POST", EVENTS,
		"CE-ID: a%20b\r\nce-source: /s\r\nce-type: x.y\r\nce-specversion: 1.0\r\nce-time: "
		"2018-01-31T01:49:59.65Z\r\n"
		"ce-partitionkey: k\r\nce-mine: \"q\"\r\nContent-Type: application/json\r\n",
		"{\"a\":1}");
	ck_assert_uint_eq(json_number(text, "count"), 1);
	ck_assert_uint_eq(json_number(text, "offset"), 0);
	ck_assert_ptr_nonnull(strstr(text, "\"durability\":\"fsync\""));
	text = all_events();
	ck_assert_ptr_nonnull(strstr(text,
		"{\"specversion\":\"1.0\",\"id\":\"a "
		"b\",\"source\":\"/s\",\"type\":\"x.y\",\"time\":\"2018-01-31T01:49:59.650Z\","
		"\"datacontenttype\":\"application/json\",\"partitionkey\":\"k\",\"mine\":\"q\","));
	ck_assert_ptr_nonnull(strstr(text, "\"data\":{\"a\":1}}\n"));
}
END_TEST

START_TEST(test_http_append_binary_mode_invalid_json_is_kept_as_bytes)
{
	ask_for(200, "POST", EVENTS,
		"ce-id: 1\r\nce-source: /s\r\nce-type: x\r\nce-specversion: 1.0\r\nContent-Type: "
		"application/json\r\n",
		"{no");
	ck_assert_ptr_nonnull(strstr(all_events(), "\"data_base64\":\"e25v\"}"));
}
END_TEST

START_TEST(test_http_append_binary_mode_names_what_is_wrong)
{
	ask_problem(400, "malformed", "'source'", "POST", EVENTS,
		"ce-id: 1\r\nce-type: x\r\nce-specversion: 1.0\r\n", "1");
	ask_problem(400, "malformed", "'specversion'", "POST", EVENTS,
		"ce-id: 1\r\nce-type: x\r\nce-specversion: 0.3\r\n", "1");
	ask_problem(400, "malformed", "ce-datacontenttype", "POST", EVENTS,
		"ce-datacontenttype: a/b\r\n", "1");
	ask_problem(400, "malformed", "'id'", "POST", EVENTS, "ce-id: %C0%A0\r\n", "1");
	ck_assert_str_eq(all_events(), "");
}
END_TEST

START_TEST(test_http_append_structured_mode)
{
	const char *text =
		ask_for(200, "POST", EVENTS, STRUCTURED, EVENT("1", ",\"data\":[1, 2.0]"));
	ck_assert_uint_eq(count_of(text, "\"position\":1}"), 1);
	ck_assert_ptr_nonnull(strstr(all_events(), "\"data\":[1, 2.0]}"));
	ask_problem(400, "malformed", "'type'", "POST", EVENTS, STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\"}");
	ask_problem(400, "malformed", "at byte", "POST", EVENTS, STRUCTURED, "{");
	ask_problem(415, "unsupported-media-type", "application/cloudevents+avro", "POST", EVENTS,
		"Content-Type: application/cloudevents+avro\r\n", "x");
}
END_TEST

START_TEST(test_http_append_batched_mode_is_atomic)
{
	const char *text = ask_for(200, "POST", EVENTS, BATCH,
		"[" EVENT("1", ",\"partitionkey\":\"a\"") ", " EVENT("2",
			",\"partitionkey\":\"b\"") "," EVENT("3", ",\"partitionkey\":\"a\"") "]");
	ck_assert_uint_eq(json_number(text, "count"), 3);
	ask_problem(400, "malformed", "\"event\":1", "POST", EVENTS, BATCH,
		"[" EVENT("4", "") ",{\"id\":\"5\"}]");
	ask_problem(400, "malformed", "an array", "POST", EVENTS, BATCH, "{}");
	ask_problem(400, "invalid-argument", "no event", "POST", EVENTS, BATCH, "[]");
	ask_problem(415, "unsupported-media-type", "batch+protobuf", "POST", EVENTS,
		"Content-Type: application/cloudevents-batch+protobuf\r\n", "x");
	ck_assert_uint_eq(count_of(all_events(), "\n"), 3);
}
END_TEST

START_TEST(test_http_append_lines_give_runs_in_request_order)
{
	const char *text = ask_for(200, "POST", EVENTS, LINES,
		EVENT("1", ",\"partitionkey\":\"21\"") "\n" EVENT(
			"2", ",\"partitionkey\":\"21\"") "\r\n\n" EVENT("3",
			",\"partitionkey\":\"foobar\"") "\n" EVENT("4",
			",\"partitionkey\":\"21\""));
	/* murmur2 sends "21" to 0 and "foobar" to 2 of 4. */
	ck_assert_uint_eq(count_of(text, "\"partition\":"), 3);
	ck_assert_ptr_nonnull(strstr(text, "\"offset\":0,\"count\":2"));
	ck_assert_ptr_nonnull(strstr(text, "\"offset\":2,\"count\":1"));
	ck_assert_uint_eq(json_number(text, "count"), 4);
}
END_TEST

START_TEST(test_http_append_lines_name_the_bad_line)
{
	ask_problem(400, "malformed", "\"line\":3", "POST", EVENTS, LINES,
		EVENT("1", "") "\n\n{\"x\":}\n" EVENT("2", ""));
	ask_problem(400, "malformed", "line 1: ", "POST", EVENTS, LINES, "nonsense");
	ask_problem(400, "malformed", "invalid UTF-8", "POST", EVENTS, LINES, EVENT("\xff", ""));
	ask_problem(400, "invalid-argument", "no event", "POST", EVENTS, LINES, "\n \n");
	ck_assert_str_eq(all_events(), "");
}
END_TEST

START_TEST(test_http_append_plain_body_with_query)
{
	ask_for(200, "POST", EVENTS "?type=x&key=k%2F1&id=%C3%A9&subject=s",
		"Content-Type: text/plain\r\n", "hello");
	const char *text = all_events();
	ck_assert_ptr_nonnull(strstr(text, "\"id\":\"\xc3\xa9\",\"source\":\"urn:annals:topic:t\","
					   "\"type\":\"x\",\"subject\":\"s\""));
	ck_assert_ptr_nonnull(strstr(text, "\"partitionkey\":\"k/1\""));
	ck_assert_ptr_nonnull(strstr(text, "\"data\":\"hello\"}"));
	ask_problem(415, "unsupported-media-type", "application/json", "POST", EVENTS,
		"Content-Type: application/json\r\n", "{}");
	ask_problem(400, "invalid-argument", "'type' is given twice", "POST",
		EVENTS "?type=x&type=y", NULL, "{}");
}
END_TEST

START_TEST(test_http_append_to_an_explicit_partition)
{
	const char *text = ask_for(200, "POST", "/v1/topics/t/partitions/3/events", LINES,
		EVENT("1", "") "\n" EVENT("2", ""));
	ck_assert_uint_eq(json_number(text, "partition"), 3);
	ask_problem(404, "unknown-partition", "\"partition\":4", "POST",
		"/v1/topics/t/partitions/4/events", LINES, EVENT("1", ""));
	ask_problem(404, "not-found", "'x'", "POST", "/v1/topics/t/partitions/x/events", LINES,
		EVENT("1", ""));
}
END_TEST

START_TEST(test_http_append_durability_by_query_and_header)
{
	ck_assert_ptr_nonnull(
		strstr(ask_for(200, "POST", EVENTS "?type=x&durability=os", NULL, "1"),
			"\"durability\":\"os\""));
	ck_assert_ptr_nonnull(
		strstr(ask_for(200, "POST", EVENTS "?type=x", "Annals-Durability: os\r\n", "1"),
			"\"durability\":\"os\""));
	ck_assert_ptr_nonnull(strstr(ask_for(200, "POST", EVENTS "?type=x&durability=fsync",
					     "Annals-Durability: os\r\n", "1"),
		"\"durability\":\"fsync\""));
	ask_problem(400, "invalid-argument", "'fsync' nor 'os'", "POST",
		EVENTS "?type=x&durability=none", NULL, "1");
}
END_TEST

START_TEST(test_http_append_event_over_its_limit)
{
	ask_for(201, "PUT", "/v1/topics/small", NULL, "{\"eventBytesMax\":100}");
	char body[400];
	memset(body, '1', sizeof(body) - 1);
	body[sizeof(body) - 1] = 0;
	ask_problem(413, "too-large", "\"limitName\":\"event-bytes-max\",\"limit\":100", "POST",
		"/v1/topics/small/events?type=x", NULL, body);
	memset(body, 0, sizeof(body));
	snprintf(body, sizeof(body), EVENT("1", "") "\n" EVENT("2", ",\"data\":\"%0200d\""), 0);
	ask_problem(413, "too-large", "\"line\":2", "POST", "/v1/topics/small/events", LINES, body);
	ck_assert_str_eq(ask_for(200, "GET", "/v1/topics/small/events", NULL, NULL), "");
}
END_TEST

START_TEST(test_http_append_what_was_read_can_be_appended_again)
{
	ask_for(200, "POST", EVENTS, LINES,
		EVENT("1", ",\"partitionkey\":\"a\",\"ext\":5,\"data\":{\"x\":1}"));
	char first[2048], second[2048];
	snprintf(first, sizeof(first), "%s", all_events());
	ask_for(201, "PUT", "/v1/topics/copy", NULL, NULL);
	ask_for(200, "POST", "/v1/topics/copy/events", LINES, first);
	snprintf(second, sizeof(second), "%s",
		ask_for(200, "GET", "/v1/topics/copy/events", NULL, NULL));
	ck_assert_int_eq(
		strncmp(first, second, (size_t)(strstr(first, "\"annalspartition\"") - first)), 0);
	ck_assert_str_eq(strstr(first, "\"data\""), strstr(second, "\"data\""));
}
END_TEST

START_TEST(test_http_append_protobuf_round_trip)
{
	struct http_client client;
	struct http_response response = {0};
	ask_for(200, "POST", "/v1/topics/t/partitions/0/events", LINES,
		EVENT("1", ",\"data\":1") "\n" EVENT("2", ",\"data\":2"));
	const struct http_response *read = ask("GET", "/v1/topics/t/partitions/0/events",
		"Accept: application/x-protobuf\r\n", NULL);
	ck_assert_int_eq(read->status, 200);
	char head[200];
	snprintf(head, sizeof(head),
		"POST /v1/topics/t/partitions/1/events HTTP/1.1\r\nHost: a\r\n"
		"Content-Type: application/x-protobuf\r\nContent-Length: %zu\r\n\r\n",
		read->body.size);
	client_open(&client);
	client_send_text(&client, head);
	client_send(&client, read->body.data, read->body.size);
	client_receive(&client, &response, true);
	ck_assert_int_eq(response.status, 200);
	ck_assert_uint_eq(json_number((const char *)response.body.data, "count"), 2);
	response_release(&response);
	client_close(&client);
	ck_assert_uint_eq(
		count_of(ask_for(200, "GET", "/v1/topics/t/partitions/1/events", NULL, NULL),
			"\"data\":"),
		2);
	ask_problem(400, "malformed", "annals.v1.Batch", "POST", "/v1/topics/t/partitions/1/events",
		"Content-Type: application/x-protobuf\r\n", "\x0a\x7f");
}
END_TEST

/* Sends `lines` valid lines, `bad` after them if not NULL, in chunks of odd sizes. */
static void stream_lines(struct http_response *response, unsigned lines, const char *bad)
{
	struct http_client client;
	struct buf text = BUF_INIT;
	for (unsigned i = 0; i < lines; i++) {
		ck_assert_int_eq(
			buf_printf(&text,
				EVENT("%u", ",\"partitionkey\":\"k%u\",\"data\":\"%0100u\"") "\n",
				i, i % 50, i),
			0);
	}
	ck_assert_int_eq(buf_add_text(&text, bad != NULL ? bad : ""), 0);
	client_open(&client);
	client_send_text(&client, "POST " EVENTS "?atomic=false HTTP/1.1\r\nHost: a\r\n" LINES
				  "Transfer-Encoding: chunked\r\n\r\n");
	for (size_t at = 0; at < text.size; at += 70001) {
		const size_t size = ANNALS_MIN(text.size - at, (size_t)70001);
		char line[24];
		snprintf(line, sizeof(line), "%zx\r\n", size);
		client_send_text(&client, line);
		client_send(&client, text.data + at, size);
		client_send_text(&client, "\r\n");
	}
	client_send_text(&client, "0\r\n\r\n");
	client_receive(&client, response, true);
	buf_release(&text);
	client_close(&client);
}

START_TEST(test_http_append_stream_in_segments)
{
	struct http_response response = {0};
	stream_lines(&response, 40000, NULL);
	const char *text = (const char *)response.body.data;
	ck_assert_msg(response.status == 200, "%s", text);
	ck_assert_uint_eq(json_number(text, "committedLine"), 40000);
	ck_assert_uint_eq(json_number(text, "count"), 40000);
	ck_assert_uint_ge(json_number(text, "segments"), 5);
	response_release(&response);
	/* Every key's events in order, none lost. */
	uint64_t total = 0;
	for (unsigned partition = 0; partition < 4; partition++) {
		char path[80];
		snprintf(path, sizeof(path), "/v1/topics/t/partitions/%u/events?limit=100000",
			partition);
		const char *events = ask_for(200, "GET", path, NULL, NULL);
		long last[50];
		for (int i = 0; i < 50; i++) {
			last[i] = -1;
		}
		for (const char *at = find_text(events, "\"id\":\""); at != NULL;
			at = find_text(at + 1, "\"id\":\"")) {
			const long id = strtol(at + 6, NULL, 10);
			ck_assert_int_lt(last[id % 50], id);
			last[id % 50] = id;
			total++;
		}
	}
	ck_assert_uint_eq(total, 40000);
}
END_TEST

START_TEST(test_http_append_stream_stops_at_the_bad_line)
{
	struct http_response response = {0};
	stream_lines(&response, 12345, "{\"specversion\":\"1.0\"}\n" EVENT("after", "") "\n");
	const char *text = (const char *)response.body.data;
	ck_assert_int_eq(response.status, 400);
	ck_assert_uint_eq(json_number(text, "line"), 12346);
	ck_assert_uint_eq(json_number(text, "committedLine"), 12345);
	ck_assert_uint_eq(json_number(text, "count"), 12345);
	response_release(&response);
	ck_assert_ptr_null(strstr(
		ask_for(200, "GET", EVENTS "?limit=100000", NULL, NULL), "\"id\":\"after\""));
}
END_TEST

START_TEST(test_http_append_stream_wants_lines)
{
	ask_problem(400, "invalid-argument", "application/x-ndjson", "POST", EVENTS "?atomic=false",
		STRUCTURED, EVENT("1", ""));
	ask_problem(400, "invalid-argument", "'atomic'", "POST", EVENTS "?atomic=maybe", LINES,
		EVENT("1", ""));
	const char *text = ask_for(200, "POST", EVENTS "?atomic=false", LINES, "");
	ck_assert_uint_eq(json_number(text, "count"), 0);
}
END_TEST

SUITE_MAIN("http_append", setup, server_teardown, test_http_append_binary_mode,
	test_http_append_binary_mode_invalid_json_is_kept_as_bytes,
	test_http_append_binary_mode_names_what_is_wrong, test_http_append_structured_mode,
	test_http_append_batched_mode_is_atomic, test_http_append_lines_give_runs_in_request_order,
	test_http_append_lines_name_the_bad_line, test_http_append_plain_body_with_query,
	test_http_append_to_an_explicit_partition, test_http_append_durability_by_query_and_header,
	test_http_append_event_over_its_limit, test_http_append_what_was_read_can_be_appended_again,
	test_http_append_protobuf_round_trip, test_http_append_stream_in_segments,
	test_http_append_stream_stops_at_the_bad_line, test_http_append_stream_wants_lines)
