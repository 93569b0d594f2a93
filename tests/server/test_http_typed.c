/* Topics whose events must be what their schemas say. */
#include "../schema/quake_sets.h"
#include "http_fixture.h"
#include "make_descriptor.h"
#include "suite.h"
#include <annals/parse.h>
#include <annals/record.h>
#include <stdio.h>
#include <stdlib.h>

#define EVENTS "/v1/topics/quakes/events"
#define STRUCTURED "Content-Type: application/cloudevents+json\r\n"

static void register_version(const uint8_t *set, size_t size)
{
	char *body = malloc(size * 2 + 64);
	size_t at = (size_t)sprintf(body, "{\"descriptorSet\":\"");
	at += base64_encode(body + at, bytes_of(set, size), false);
	memcpy(body + at, "\"}", 3);
	ask_for(201, "POST", "/v1/schemas/quake.Event/versions",
		"Content-Type: application/json\r\n", body);
	free(body);
}

static void typed_setup(void)
{
	server_setup();
	register_version(quake_set1, sizeof(quake_set1));
	register_version(quake_set2, sizeof(quake_set2));
}

/* An event with this type and protobuf data in base64. */
static const char *event(const char *type, const char *id, const char *base64)
{
	static char text[512];
	(void)snprintf(text, sizeof(text),
		"{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/s\",\"type\":\"%s\","
		"\"datacontenttype\":\"application/protobuf\",\"data_base64\":\"%s\"}",
		id, type, base64);
	return text;
}

#define GOOD "CgN1czE6A0ZpeQ==" /* quake_id "us1", place "Fiy" */
#define BAD "CgN1czE6Af8="      /* place 0xff */

START_TEST(test_http_typed_enforce_refuses_whole_appends)
{
	char both[1200];
	const char *text =
		ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{\"validation\":\"enforce\"}");
	ck_assert_ptr_nonnull(find_text(text, "\"validation\":\"enforce\""));
	ask_for(200, "POST", EVENTS, STRUCTURED, event("quake.Event", "1", GOOD));
	ask_problem(422, "validation-failed", "'place'", "POST", EVENTS, STRUCTURED,
		event("quake.Event", "2", BAD));
	ask_problem(422, "validation-failed", "byte", "POST", EVENTS, STRUCTURED,
		event("quake.Event", "2", BAD));
	ask_problem(422, "validation-failed", "no schema for the type 'quake.Other'", "POST",
		EVENTS, STRUCTURED, event("quake.Other", "2", GOOD));
	int at = snprintf(both, sizeof(both), "[%s,", event("quake.Event", "2", GOOD));
	(void)snprintf(both + at, sizeof(both) - (size_t)at, "%s]", event("quake.Event", "3", BAD));
	text = ask_for(
		422, "POST", EVENTS, "Content-Type: application/cloudevents-batch+json\r\n", both);
	ck_assert_ptr_nonnull(find_text(text, "event 1 of the batch for partition 0"));
	ck_assert_uint_eq(json_number(text, "event"), 1);
	text = ask_for(200, "GET", "/v1/topics/quakes", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "endOffset"), 1);
	text = ask_for(200, "GET", "/metrics", NULL, NULL);
	ck_assert_ptr_nonnull(
		find_text(text, "annals_events_invalid_total{validation=\"enforce\"} 4"));
}
END_TEST

START_TEST(test_http_typed_data_must_be_protobuf)
{
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{\"validation\":\"enforce\"}");
	ask_problem(422, "validation-failed", "'text/plain', not protobuf", "POST", EVENTS,
		STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"quake.Event\","
		"\"datacontenttype\":\"text/plain\",\"data\":\"x\"}");
	/* Without data there is nothing to be wrong. */
	ask_for(200, "POST", EVENTS, STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/"
		"s\",\"type\":\"quake.Event\"}");
}
END_TEST

START_TEST(test_http_typed_warn_stores_and_counts)
{
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{\"validation\":\"warn\"}");
	ask_for(200, "POST", EVENTS, STRUCTURED, event("quake.Event", "1", BAD));
	ask_for(200, "POST", EVENTS, STRUCTURED, event("quake.Event", "2", GOOD));
	const char *text = ask_for(200, "GET", "/metrics", NULL, NULL);
	ck_assert_ptr_nonnull(
		find_text(text, "annals_events_invalid_total{validation=\"warn\"} 1"));
	text = ask_for(200, "GET", "/v1/topics/quakes", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "endOffset"), 2);
}
END_TEST

START_TEST(test_http_typed_repeats_get_their_first_answer)
{
	const char *headers = STRUCTURED "Idempotency-Key: \"k\"\r\n";
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{}");
	const char *text = ask_for(200, "GET", "/v1/topics/quakes", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "\"validation\":\"off\""));
	ask_for(200, "POST", EVENTS, headers, event("quake.Event", "1", BAD));
	text = ask_for(200, "PATCH", "/v1/topics/quakes", NULL, "{\"validation\":\"enforce\"}");
	ck_assert_ptr_nonnull(find_text(text, "\"validation\":\"enforce\""));
	ask_for(200, "POST", EVENTS, headers, event("quake.Event", "1", BAD));
	ask_for(422, "POST", EVENTS, STRUCTURED, event("quake.Event", "1", BAD));
	text = ask_for(200, "GET", "/v1/topics/quakes", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "endOffset"), 1);
}
END_TEST

START_TEST(test_http_typed_json_is_kept_as_protobuf)
{
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{\"validation\":\"enforce\"}");
	ask_for(200, "POST", EVENTS,
		"Content-Type: application/json\r\nce-specversion: 1.0\r\nce-id: 1\r\n"
		"ce-source: /s\r\nce-type: quake.Event\r\n",
		"{\"quakeId\":\"us1\",\"place\":\"Fiy\"}");
	ask_for(200, "POST", EVENTS, STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/s\",\"type\":\"quake.Event\","
		"\"data\":{\"quake_id\":\"us1\",\"place\":\"Fiy\"}}");
	ask_for(200, "POST", EVENTS, "Content-Type: application/x-ndjson\r\n",
		"{\"specversion\":\"1.0\",\"id\":\"3\",\"source\":\"/s\",\"type\":\"quake.Event\","
		"\"datacontenttype\":\"application/json\","
		"\"data\":{\"quakeId\":\"us1\",\"place\":\"Fiy\"}}\n");
	const char *text = ask_for(
		200, "GET", "/v1/topics/quakes/partitions/0/events?from=earliest", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"data_base64\":\"" GOOD "\""), 3);
	ck_assert_uint_eq(count_of(text, "\"datacontenttype\":\"application/protobuf\""), 3);
	ask_problem(422, "validation-failed", "depthKm", "POST", EVENTS, STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"4\",\"source\":\"/s\",\"type\":\"quake.Event\","
		"\"data\":{\"depthKm\":\"deep\"}}");
	ask_problem(422, "validation-failed", "unknown member", "POST", EVENTS, STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"4\",\"source\":\"/s\",\"type\":\"quake.Event\","
		"\"data\":{\"depht\":1}}");
	ask_problem(422, "validation-failed", "'none' of JSON data", "POST", EVENTS, STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"4\",\"source\":\"/s\",\"type\":\"none\","
		"\"data\":{}}");
}
END_TEST

START_TEST(test_http_typed_is_read_as_json)
{
	static const char shown[] = "\"data\":{\"quakeId\":\"us1\",\"place\":\"Fiy\"}";
	const struct http_response *response;
	struct http_client client;
	char value[1024];
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{\"validation\":\"warn\"}");
	ask_for(200, "POST", EVENTS, STRUCTURED, event("quake.Event", "1", GOOD));
	ask_for(200, "POST", EVENTS, STRUCTURED, event("quake.Event", "2", BAD));
	ask_for(200, "POST", EVENTS, STRUCTURED, event("none", "3", GOOD));
	response =
		ask("GET", "/v1/topics/quakes/partitions/0/events?from=earliest&limit=3&data=json",
			NULL, NULL);
	ck_assert_int_eq(response->status, 200);
	const char *text = (const char *)response->body.data;
	/* What has no JSON form, for want of a schema or of UTF-8, is as it is stored. */
	ck_assert_uint_eq(count_of(text, shown), 1);
	ck_assert_uint_eq(count_of(text, "\"datacontenttype\":\"application/json\""), 1);
	ck_assert_uint_eq(count_of(text, "data_base64"), 2);
	ck_assert_ptr_nonnull(strstr(response_header(response, "Link", value), "data=json"));
	ck_assert_str_eq(response_header(response, "ETag", value), "");
	ck_assert_str_eq(response_header(response, "Cache-Control", value), "no-store");
	text = ask_for(200, "GET", "/v1/topics/quakes/partitions/0/events/0?data=json", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, shown));
	text = ask_for(
		200, "GET", "/v1/topics/quakes/partitions/0/events/0?data=stored", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "\"data_base64\":\"" GOOD "\""));
	response = ask("GET", EVENTS "?from=earliest&data=json", NULL, NULL);
	ck_assert_uint_eq(count_of((const char *)response->body.data, shown), 1);
	ck_assert_ptr_nonnull(strstr(response_header(response, "Link", value), "data=json"));
	ask_problem(400, "invalid-argument", "'data'", "GET", EVENTS "?data=xml", NULL, NULL);
	client_open(&client);
	client_send_text(&client, "GET " EVENTS "?from=earliest&data=json HTTP/1.1\r\nHost: x\r\n"
				  "Accept: text/event-stream\r\n\r\n");
	ck_assert_ptr_nonnull(client_read_until(&client, shown));
	client_close(&client);
}
END_TEST

START_TEST(test_http_typed_options_say_key_subject_time_and_tags)
{
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{\"validation\":\"enforce\"}");
	ask_for(200, "POST", EVENTS, STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"quake.Event\","
		"\"subject\":\"forged\",\"annalstags\":\"network:us,own:1\",\"data\":{"
		"\"quakeId\":\"us1\",\"place\":\"Fiy\",\"originTime\":\"2018-01-31T01:49:59.650Z\","
		"\"status\":\"STATUS_REVIEWED\",\"networks\":[\"us\",\"ak\"]}}");
	const char *text =
		ask_for(200, "GET", "/v1/topics/quakes/partitions/0/events/0", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "\"partitionkey\":\"us1\""));
	ck_assert_ptr_nonnull(find_text(text, "\"subject\":\"Fiy\""));
	ck_assert_ptr_nonnull(find_text(text, "\"time\":\"2018-01-31T01:49:59.65"));
	ck_assert_ptr_nonnull(
		find_text(text, "\"network:us,own:1,status:STATUS_REVIEWED,network:ak\""));
	/* Protobuf alike. */
	ask_for(200, "POST", EVENTS, STRUCTURED, event("quake.Event", "2", GOOD));
	text = ask_for(200, "GET", "/v1/topics/quakes/partitions/0/events/1", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "\"partitionkey\":\"us1\""));
	ck_assert_ptr_nonnull(find_text(text, "\"subject\":\"Fiy\""));
	/* A time outside the years that a store keeps. */
	ask_problem(422, "validation-failed", "origin_time", "POST", EVENTS, STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"quake.Event\","
		"\"data\":{\"originTime\":\"0001-01-01T00:00:00Z\"}}");
}
END_TEST

START_TEST(test_http_typed_is_read_as_another_version)
{
	const struct http_response *response;
	char value[1024];
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{\"validation\":\"enforce\"}");
	ask_for(200, "POST", EVENTS, STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"quake.Event\","
		"\"annalslost\":\"forged\",\"data\":{\"quakeId\":\"us1\",\"status\":\"STATUS_"
		"REVIEWED\","
		"\"networks\":[\"us\",\"ak\"]}}");
	response = ask("GET",
		"/v1/topics/quakes/partitions/0/events?from=earliest&data=json&schemaVersion=1",
		NULL, NULL);
	const char *text = (const char *)response->body.data;
	ck_assert_ptr_nonnull(find_text(text, "\"data\":{\"quakeId\":\"us1\"}"));
	ck_assert_ptr_nonnull(
		find_text(text, "\"annalslost\":\"unknown-field 8,unknown-field 9\"}\n"));
	ck_assert_ptr_nonnull(strstr(response_header(response, "Link", value), "&schemaVersion=1"));
	ck_assert_uint_eq(count_of(text, "annalslost"), 1);
	text = ask_for(200, "GET", EVENTS "?data=json&schemaVersion=2", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "\"status\":\"STATUS_REVIEWED\""));
	ck_assert_ptr_null(find_text(text, "annalslost"));
	/* A version that does not exist: as what it is. */
	text = ask_for(200, "GET", EVENTS "?data=json&schemaVersion=9", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "\"status\":\"STATUS_REVIEWED\""));
	ask_problem(
		400, "invalid-argument", "data=json", "GET", EVENTS "?schemaVersion=1", NULL, NULL);
}
END_TEST

START_TEST(test_http_typed_warned_json_keeps_its_bytes)
{
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{\"validation\":\"warn\"}");
	ask_for(200, "POST", EVENTS, STRUCTURED,
		"{\"specversion\":\"1.0\",\"id\":\"4\",\"source\":\"/s\",\"type\":\"quake.Event\","
		"\"datacontenttype\":\"application/json\",\"data\":{\"depht\": 1}}");
	const char *text = ask_for(
		200, "GET", "/v1/topics/quakes/partitions/0/events?from=earliest", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "{\"depht\": 1}"));
	text = ask_for(200, "GET", "/metrics", NULL, NULL);
	ck_assert_ptr_nonnull(
		find_text(text, "annals_events_invalid_total{validation=\"warn\"} 1"));
}
END_TEST

/* Events in protobuf's own encoding: the bytes that the binary protocol carries. */
static const struct http_response *post_records(const struct record *records, size_t count)
{
	static struct http_response response;
	struct buf body = BUF_INIT, head = BUF_INIT;
	struct http_client client;
	for (size_t i = 0; i < count; i++) {
		ck_assert_int_eq(record_encode_in_batch(&records[i], &body), 0);
	}
	ck_assert_int_eq(buf_printf(&head,
				 "POST " EVENTS " HTTP/1.1\r\nHost: test\r\n"
				 "Content-Type: application/x-protobuf\r\n"
				 "Content-Length: %zu\r\n\r\n",
				 body.size),
		0);
	client_open(&client);
	client_send(&client, head.data, head.size);
	client_send(&client, body.data, body.size);
	client_receive(&client, &response, true);
	client_close(&client);
	buf_release(&head);
	buf_release(&body);
	return &response;
}

static void records_refused(const struct record *record, const char *says)
{
	const struct http_response *response = post_records(record, 1);
	ck_assert_int_eq(response->status, 422);
	ck_assert_ptr_nonnull(find_text((const char *)response->body.data, "validation-failed"));
	ck_assert_msg(strstr((const char *)response->body.data, says) != NULL, "%s lacks %s",
		(const char *)response->body.data, says);
}

/* us1, 1970-01-01T00:00:01.000000005Z, Fiy, STATUS_REVIEWED, us */
#define FULL "\n\003us1\022\004\010\001\020\005:\003Fiy@\002J\002us"

START_TEST(test_http_typed_protobuf_must_say_what_its_data_say)
{
	const struct bytes tags[] = {bytes_text("own:1"), bytes_text("network:us"),
		bytes_text("status:STATUS_REVIEWED")};
	const struct record right = {.type = bytes_text("quake.Event"),
		.data = bytes_text(FULL),
		.has_data = true,
		.has_key = true,
		.key = bytes_text("us1"),
		.subject = bytes_text("Fiy"),
		.has_time = true,
		.time_ns = 1000000005,
		.tags = tags,
		.tag_count = 3};
	struct record wrong = right;
	const char *text;
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{\"validation\":\"enforce\"}");
	ck_assert_int_eq(post_records(&right, 1)->status, 200);
	wrong.has_key = false;
	records_refused(&wrong, "the event's key is not what its data say");
	wrong.has_key = true;
	wrong.key = bytes_text("us2");
	records_refused(&wrong, "the event's key is not what its data say");
	wrong = right;
	wrong.subject = bytes_text("forged");
	records_refused(&wrong, "the event's subject is not what its data say");
	wrong = right;
	wrong.time_ns++;
	records_refused(&wrong, "the event's time is not what its data say");
	wrong.has_time = false;
	records_refused(&wrong, "the event's time is not what its data say");
	wrong = right;
	wrong.tag_count = 2;
	records_refused(&wrong, "lacks the tag 'status:STATUS_REVIEWED'");
	/* What is not set says nothing. */
	wrong = right;
	wrong.data = bytes_text("");
	wrong.key = bytes_text("any");
	ck_assert_int_eq(post_records(&wrong, 1)->status, 200);
	/* All or nothing, and the event is named. */
	struct record both[] = {right, right};
	both[1].key = bytes_text("us2");
	text = (const char *)post_records(both, 2)->body.data;
	ck_assert_ptr_nonnull(find_text(text, "event 1 of the batch"));
	text = ask_for(200, "GET", "/v1/topics/quakes", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "endOffset"), 2);
	/* With warn it is counted. */
	ask_for(200, "PATCH", "/v1/topics/quakes", NULL, "{\"validation\":\"warn\"}");
	ck_assert_int_eq(post_records(&both[1], 1)->status, 200);
	text = ask_for(200, "GET", "/metrics", NULL, NULL);
	ck_assert_ptr_nonnull(
		find_text(text, "annals_events_invalid_total{validation=\"warn\"} 1"));
}
END_TEST

START_TEST(test_http_typed_streams_queries_and_groups_show_json)
{
	static const char shown[] = "\"data\":{\"quakeId\":\"us1\",\"place\":\"Fiy\"}";
	const struct http_response *response;
	char value[1024];
	ask_for(201, "PUT", "/v1/topics/quakes", NULL,
		"{\"validation\":\"enforce\",\"streams\":true,\"queryIndex\":true}");
	ask_for(201, "PUT", "/v1/groups/g", NULL,
		"{\"topics\":[\"quakes\"],\"attemptsMax\":1,\"backoffMs\":0}");
	ask_for(200, "POST", EVENTS, STRUCTURED, event("quake.Event", "1", GOOD));
	ask_for(200, "POST", EVENTS, STRUCTURED, event("quake.Event", "2", GOOD));
	response =
		ask("GET", "/v1/topics/quakes/streams/us1/events?limit=1&data=json&schemaVersion=1",
			NULL, NULL);
	ck_assert_int_eq(response->status, 200);
	ck_assert_uint_eq(count_of((const char *)response->body.data, shown), 1);
	ck_assert_ptr_nonnull(
		strstr(response_header(response, "Link", value), "&data=json&schemaVersion=1>"));
	ck_assert_str_eq(response_header(response, "ETag", value), "");
	response = ask("GET", "/v1/topics/quakes/streams/us1/events", NULL, NULL);
	ck_assert_uint_eq(count_of((const char *)response->body.data, GOOD), 2);
	ck_assert_str_ne(response_header(response, "ETag", value), "");
	ask_problem(400, "invalid-argument", "'data'", "GET",
		"/v1/topics/quakes/streams/us1/events?data=xml", NULL, NULL);

	response = ask("GET", "/v1/topics/quakes/query?type=quake.Event&data=json", NULL, NULL);
	ck_assert_uint_eq(count_of((const char *)response->body.data, shown), 2);
	ck_assert_ptr_nonnull(strstr(response_header(response, "Link", value), "&data=json>"));
	response = ask("POST", "/v1/topics/quakes/query?data=json", NULL,
		"{\"items\":[{\"types\":[\"quake.Event\"]}]}");
	ck_assert_uint_eq(count_of((const char *)response->body.data, shown), 2);

	/* Nothing is leased for an answer that cannot be given. */
	ask_problem(400, "invalid-argument", "'data'", "POST", "/v1/groups/g/poll?data=xml", NULL,
		"{}");
	const char *text =
		ask_for(200, "POST", "/v1/groups/g/poll?data=json&schemaVersion=1", NULL, "{}");
	ck_assert_uint_eq(json_number(text, "attempt"), 1);
	ck_assert_ptr_nonnull(find_text(text, shown));
	const char *lease = strstr(text, "\"lease\":");
	ck_assert_ptr_nonnull(lease);
	(void)snprintf(value, sizeof(value), "{\"leases\":[%.*s]}",
		(int)(strchr(lease + 9, '"') + 1 - (lease + 8)), lease + 8);
	ask_for(200, "POST", "/v1/groups/g/refuse", NULL, value);
	text = ask_for(200, "GET", "/v1/groups/g/parked?data=json", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "count"), 1);
	ck_assert_ptr_nonnull(find_text(text, shown));
	ask_problem(400, "invalid-argument", "'data'", "GET", "/v1/groups/g/parked?data=xml", NULL,
		NULL);
}
END_TEST

/* ---- Hostile data ---- */

/* h.N {string text = 1; int32 small = 2; uint64 large = 3; bytes raw = 4; N next = 5;} */
static void register_hostile(void)
{
	static const struct make_field fields[] = {{"text", 1, 9, NULL}, {"small", 2, 5, NULL},
		{"large", 3, 4, NULL}, {"raw", 4, 12, NULL}, {"next", 5, 11, ".h.N"}, {0}};
	struct buf set = BUF_INIT;
	char body[1024];
	make_set(&set, "h.proto", NULL, "h", "N", fields);
	size_t at = (size_t)sprintf(body, "{\"descriptorSet\":\"");
	at += base64_encode(body + at, buf_bytes(&set), false);
	memcpy(body + at, "\"}", 3);
	buf_release(&set);
	ask_for(201, "POST", "/v1/schemas/h.N/versions", "Content-Type: application/json\r\n",
		body);
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{\"validation\":\"enforce\"}");
}

#define BINARY_JSON                                                                                \
	"Content-Type: application/json\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\n"   \
	"ce-type: h.N\r\n"

START_TEST(test_http_typed_refuses_hostile_json)
{
	static const struct {
		const char *json, *says;
	} cases[] = {
		{"{\"text\":\"a\",\"text\":\"b\"}", "'text'"},
		{"{\"next\":{\"small\":1,\"small\":2}}", "'next.small'"},
		{"{\"small\":2147483648}", "'small'"},
		{"{\"small\":-2147483649}", "'small'"},
		{"{\"small\":1.5}", "'small'"},
		{"{\"small\":1e99999}", "'small'"},
		{"{\"next\":{\"large\":\"18446744073709551616\"}}", "'next.large'"},
		{"{\"large\":-1}", "'large'"},
		{"{\"raw\":\"*\"}", "'raw'"},
		{"{\"raw\":\"QQ=\"}", "'raw'"},
		{"{\"raw\":\"QR==\"}", "'raw'"},
		{"{\"next\":{\"text\":\"\xc0\x80\"}}", "UTF-8"},
		{"{\"text\":\"\\ud800\"}", "escape"},
		{"{\"none\":1}", "unknown member"},
	};
	register_hostile();
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		const struct http_response *response =
			ask("POST", EVENTS, BINARY_JSON, cases[i].json);
		const char *text = (const char *)response->body.data;
		ck_assert_msg(response->status == 422 || response->status == 400, "%s: %d %s",
			cases[i].json, response->status, text);
		ck_assert_msg(strstr(text, "urn:annals:problem:") != NULL &&
				      strstr(text, cases[i].says) != NULL,
			"%s: %s", cases[i].json, text);
	}
	const char *text = ask_for(200, "GET", "/v1/topics/quakes", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "endOffset"), 0);
}
END_TEST

#define DEEP 100000u

START_TEST(test_http_typed_refuses_depth)
{
	struct buf json = BUF_INIT;
	uint8_t *sizes = malloc((size_t)DEEP * 5);
	size_t at = (size_t)DEEP * 5, size = 0;
	register_hostile();
	for (unsigned i = 0; i < DEEP; i++) {
		ck_assert_int_eq(buf_add_text(&json, "{\"next\":"), 0);
	}
	ck_assert_int_eq(buf_add_text(&json, "{}"), 0);
	for (unsigned i = 0; i < DEEP; i++) {
		ck_assert_int_eq(buf_add_byte(&json, '}'), 0);
	}
	ck_assert_int_eq(buf_add_byte(&json, 0), 0);
	const struct http_response *response =
		ask("POST", EVENTS, BINARY_JSON, (const char *)json.data);
	ck_assert_int_ge(response->status, 400);
	ck_assert_int_lt(response->status, 500);
	ck_assert_ptr_nonnull(find_text((const char *)response->body.data, "100"));
	/* The same in protobuf, from the innermost outwards. */
	for (unsigned i = 0; i < DEEP; i++) {
		uint8_t head[1 + VARINT_BYTES_MAX] = {5 << 3 | 2};
		const size_t head_size = 1 + varint_put(head + 1, size);
		at -= head_size;
		memcpy(sizes + at, head, head_size);
		size += head_size;
	}
	const struct record deep = {
		.type = bytes_text("h.N"), .has_data = true, .data = bytes_of(sizes + at, size)};
	records_refused(&deep, "nest too deep");
	/* Where nobody looks it is stored, and shown as what is stored. */
	ask_for(200, "PATCH", "/v1/topics/quakes", NULL, "{\"validation\":\"off\"}");
	ck_assert_int_eq(post_records(&deep, 1)->status, 200);
	const char *text =
		ask_for(200, "GET", EVENTS "?from=earliest&data=json&schemaVersion=1", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "data_base64"));
	free(sizes);
	buf_release(&json);
}
END_TEST

START_TEST(test_http_typed_settings_are_checked)
{
	ask_problem(400, "invalid-argument", "'validation'", "PUT", "/v1/topics/quakes", NULL,
		"{\"validation\":\"on\"}");
	ask_problem(400, "invalid-argument", "'validation'", "PUT", "/v1/topics/quakes", NULL,
		"{\"validation\":true}");
}
END_TEST

SUITE_MAIN("http_typed", typed_setup, server_teardown,
	test_http_typed_enforce_refuses_whole_appends, test_http_typed_data_must_be_protobuf,
	test_http_typed_warn_stores_and_counts, test_http_typed_repeats_get_their_first_answer,
	test_http_typed_protobuf_must_say_what_its_data_say,
	test_http_typed_streams_queries_and_groups_show_json, test_http_typed_refuses_hostile_json,
	test_http_typed_refuses_depth, test_http_typed_json_is_kept_as_protobuf,
	test_http_typed_warned_json_keeps_its_bytes, test_http_typed_is_read_as_another_version,
	test_http_typed_is_read_as_json, test_http_typed_options_say_key_subject_time_and_tags,
	test_http_typed_settings_are_checked)
