/* Streams, expected versions, dedupe, queries and transactions over HTTP. */
#include "http_fixture.h"
#include "suite.h"

#include <stdio.h>

#define STREAM "/v1/topics/orders/streams/order-1"

static void setup(void)
{
	server_setup();
	ask_for(201, "PUT", "/v1/topics/orders", NULL,
		"{\"partitions\":4,\"streams\":true,\"queryIndex\":true}");
}

/* Appends to the stream under a condition; the answer's body. */
static const char *append(int status, const char *condition)
{
	return ask_for(status, "POST", STREAM "?type=x", condition, "1");
}

static void transact(int status, const char *says, const char *body)
{
	const char *text = ask_for(status, "POST", "/v1/transactions", NULL, body);

	ck_assert_msg(strstr(text, says) != NULL, "'%s' does not say '%s'", text, says);
}

START_TEST(test_http_streams_settings_come_back)
{
	const char *text = ask_for(200, "GET", "/v1/topics/orders", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"streams\":true,\"dedupe\":{\"ageMs\":86400000}"));
	text = ask_for(201, "PUT", "/v1/topics/plain", NULL, "{}");
	ck_assert_ptr_nonnull(strstr(text, "\"streams\":false,\"dedupe\":false"));
	text = ask_for(201, "PUT", "/v1/topics/both", NULL,
		"{\"streams\":true,\"dedupe\":{\"age\":\"1h\",\"events\":1000}}");
	ck_assert_ptr_nonnull(strstr(text, "\"dedupe\":{\"ageMs\":3600000,\"events\":1000}"));
	text = ask_for(201, "PUT", "/v1/topics/off", NULL, "{\"streams\":true,\"dedupe\":false}");
	ck_assert_ptr_nonnull(strstr(text, "\"dedupe\":false"));
	ask_problem(
		409, "conflict", "stays", "PATCH", "/v1/topics/plain", NULL, "{\"streams\":true}");
	ask_problem(409, "conflict", "partitions", "PATCH", "/v1/topics/orders", NULL,
		"{\"partitions\":8}");
	ask_problem(
		400, "invalid-argument", "dedupe", "PUT", "/v1/topics/c", NULL, "{\"dedupe\":7}");
}
END_TEST

START_TEST(test_http_streams_expected_versions)
{
	char etag[1024], header[1100];
	const struct http_response *response;
	ask_problem(404, "not-found", "never", "GET", STREAM, NULL, NULL);
	append(412, "If-Match: *\r\n");
	append(412, "Annals-Expected-Version: 0\r\n");
	ck_assert_uint_eq(json_number(append(200, "If-None-Match: *\r\n"), "version"), 0);
	ck_assert_uint_eq(json_number(append(412, "If-None-Match: *\r\n"), "currentVersion"), 0);
	append(200, "Annals-Expected-Version: exists\r\n");
	append(200, "Annals-Expected-Version: any\r\n");
	response = ask("GET", STREAM, NULL, NULL);
	ck_assert_int_eq(response->status, 200);
	(void)response_header(response, "ETag", etag);
	ck_assert_uint_eq(json_number((const char *)response->body.data, "version"), 2);
	(void)snprintf(header, sizeof(header), "If-Match: %s\r\n", etag);
	ck_assert_uint_eq(json_number(append(200, header), "version"), 3);
	ck_assert_uint_eq(json_number(append(412, header), "currentVersion"), 3);
	append(200, "Annals-Expected-Version: 3\r\n");
	append(200, NULL);
	ask_problem(410, "topic-recreated", "incarnation", "POST", STREAM "?type=x",
		"If-Match: \"999.3\"\r\n", "1");
	ask_problem(400, "invalid-argument", "If-Match", "POST", STREAM "?type=x",
		"If-Match: 3\r\n", "1");
	ask_problem(400, "invalid-argument", "only one", "POST", STREAM "?type=x",
		"If-Match: *\r\nIf-None-Match: *\r\n", "1");
	ask_problem(400, "invalid-argument", "Expected", "POST", STREAM "?type=x",
		"Annals-Expected-Version: x\r\n", "1");
	(void)snprintf(header, sizeof(header), "If-None-Match: %s\r\n", etag);
	ck_assert_int_eq(ask("GET", STREAM, header, NULL)->status, 200);
}
END_TEST

START_TEST(test_http_streams_pages)
{
	const char *text;
	for (int i = 0; i < 5; i++) {
		append(200, NULL);
		ask_for(200, "POST", "/v1/topics/orders/streams/other?type=x", NULL, "1");
	}
	text = ask_for(200, "GET", STREAM "/events", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"partitionkey\":\"order-1\""), 5);
	ck_assert_uint_eq(count_of(text, "\"annalsversion\":"), 5);
	text = ask_for(200, "GET", STREAM "/events?version=3", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "annalsversion"), 3);
	ck_assert_uint_eq(count_of(text, "\n"), 2);
	text = ask_for(200, "GET", STREAM "/events?backwards=true&limit=2", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "annalsversion"), 4);
	ck_assert_uint_eq(count_of(text, "\n"), 2);
	text = ask_for(200, "GET", "/v1/topics/orders/streams/-/events?key64=b3JkZXItMQ&limit=1",
		"Accept: application/json\r\n", NULL);
	ck_assert_ptr_nonnull(strstr(text, "[\n{"));
	ck_assert_ptr_nonnull(strstr(text, "\"partitionkey\":\"order-1\""));
	ask_problem(400, "invalid-argument", "key64", "GET",
		"/v1/topics/orders/streams/-?key64=%21", NULL, NULL);
	ask_problem(
		400, "invalid-argument", "version", "GET", STREAM "/events?version=x", NULL, NULL);
	ask_for(201, "PUT", "/v1/topics/plain", NULL, "{}");
	ask_problem(501, "unsupported-operation", "streams", "GET",
		"/v1/topics/plain/streams/a/events", NULL, NULL);
	ask_problem(501, "unsupported-operation", "streams", "POST",
		"/v1/topics/plain/streams/a?type=x", NULL, "1");
}
END_TEST

START_TEST(test_http_streams_repeats_get_the_first_answer)
{
	const char *event =
		"{\"specversion\":\"1.0\",\"id\":\"e1\",\"source\":\"/s\",\"type\":\"t\","
		"\"partitionkey\":\"k\",\"data\":1}";
	const char *other =
		"{\"specversion\":\"1.0\",\"id\":\"e1\",\"source\":\"/s\",\"type\":\"t\","
		"\"partitionkey\":\"k\",\"data\":2}";
	const char *type = "Content-Type: application/cloudevents+json\r\n";
	const char *text = ask_for(200, "POST", "/v1/topics/orders/events", type, event);
	ck_assert_ptr_null(strstr(text, "replayed"));
	text = ask_for(200, "POST", "/v1/topics/orders/events", type, event);
	ck_assert_ptr_nonnull(strstr(text, "\"version\":0,\"replayed\":true"));
	ask_problem(409, "duplicate-id", "other content", "POST", "/v1/topics/orders/events", type,
		other);
	for (int i = 0; i < 2; i++) {
		text = ask_for(200, "POST", "/v1/topics/orders/events?type=t&key=k2",
			"Idempotency-Key: \"abc\"\r\n", "1");
		ck_assert((strstr(text, "\"replayed\":true") != NULL) == (i == 1));
		ck_assert_uint_eq(json_number(text, "version"), 0);
	}
	ask_problem(422, "idempotency-key-reused", "another request", "POST",
		"/v1/topics/orders/events?type=t&key=k2", "Idempotency-Key: abc\r\n", "2");
	ask_problem(400, "invalid-argument", "atomic", "POST",
		"/v1/topics/orders/events?atomic=false",
		"Idempotency-Key: x\r\nContent-Type: application/x-ndjson\r\n", "");
}
END_TEST

#define SEAT                                                                                       \
	"\"events\":[{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/"                        \
	"s\",\"type\":\"booked\","                                                                 \
	"\"partitionkey\":\"%s\",\"annalstags\":\"seat:7,show:1\"}]"

START_TEST(test_http_streams_transactions)
{
	char body[1000];
	(void)snprintf(body, sizeof(body),
		"{\"topic\":\"orders\"," SEAT
		",\"query\":{\"items\":[{\"tags\":[\"seat:7\"]}],\"after\":0}}",
		"1", "a");
	transact(200, "\"version\":0", body);
	transact(200, "\"replayed\":true", body);
	(void)snprintf(body, sizeof(body),
		"{\"topic\":\"orders\"," SEAT
		",\"query\":{\"items\":[{\"tags\":[\"seat:7\"]}],\"after\":0}}",
		"2", "b");
	transact(409, "\"status\":409", body);
	(void)snprintf(body, sizeof(body),
		"{\"topic\":\"orders\"," SEAT
		",\"conditions\":[{\"key\":\"a\",\"expected\":0},{\"key64\":\"Yg\",\"expected\":"
		"\"none\"}],\"query\":{\"items\":[{\"tags\":[\"seat:7\"]}],\"after\":1}}",
		"3", "b");
	transact(200, "\"version\":0", body);
	(void)snprintf(body, sizeof(body),
		"{\"topic\":\"orders\"," SEAT
		",\"conditions\":[{\"key\":\"b\",\"expected\":\"none\"}]}",
		"4", "b");
	transact(409, "\"currentVersion\":0", body);
	transact(400, "conditions", "{\"topic\":\"orders\",\"events\":[],\"conditions\":1}");
	transact(400, "no member", "{\"topic\":\"orders\",\"events\":[],\"x\":1}");
	transact(400, "topic", "{\"events\":[]}");
	transact(404, "nope", "{\"topic\":\"nope\",\"events\":[]}");
	transact(400, "no event", "{\"topic\":\"orders\",\"events\":[]}");
	transact(400, "event 0", "{\"topic\":\"orders\",\"events\":[{\"specversion\":\"1.0\"}]}");
}
END_TEST

START_TEST(test_http_streams_queries)
{
	char body[1000];
	const char *text;
	for (int i = 0; i < 3; i++) {
		char id[8];
		(void)snprintf(id, sizeof(id), "q%d", i);
		(void)snprintf(body, sizeof(body), "{\"topic\":\"orders\"," SEAT "}", id, "a");
		transact(200, "\"count\":1", body);
		append(200, NULL);
	}
	text = ask_for(200, "GET", "/v1/topics/orders/query?tag=seat:7&tag=show:1", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"annalstags\":\"seat:7,show:1\""), 3);
	text = ask_for(200, "GET", "/v1/topics/orders/query?type=x&limit=2", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\n"), 2);
	text = ask_for(200, "POST", "/v1/topics/orders/query", NULL,
		"{\"items\":[{\"types\":[\"x\"]},{\"tags\":[\"seat:7\"]}],\"after\":2}");
	ck_assert_uint_eq(count_of(text, "\n"), 4);
	ask_problem(400, "invalid-argument", "no type and no tag", "GET", "/v1/topics/orders/query",
		NULL, NULL);
	ask_problem(400, "invalid-argument", "items", "POST", "/v1/topics/orders/query", NULL,
		"{\"items\":[]}");
	ask_for(201, "PUT", "/v1/topics/plain", NULL, "{}");
	ask_problem(501, "unsupported-operation", "query index", "GET",
		"/v1/topics/plain/query?type=x", NULL, NULL);
}
END_TEST

#define PLACED(id)                                                                                 \
	"\"events\":[{\"specversion\":\"1.0\",\"id\":\"" id "\",\"source\":\"/s\",\"type\":"       \
	"\"placed\",\"partitionkey\":\"k\"}]"

START_TEST(test_http_streams_transactions_over_topics)
{
	ask_for(201, "PUT", "/v1/topics/bills", NULL, "{\"streams\":true}");
	ask_for(201, "PUT", "/v1/topics/plain", NULL, "{}");
	const char *body = "{\"appends\":[{\"topic\":\"orders\"," PLACED(
		"1") ",\"conditions\":[{\"key\":\"k\",\"expected\":\"none\"}]},"
		     "{\"topic\":\"bills\"," PLACED("1") ",\"conditions\":[{\"key\":\"k\","
							 "\"expected\":\"none\"}]}]}";
	transact(200, "\"topic\":\"bills\",\"count\":1", body);
	transact(200, "\"replayed\":true", body);
	/* The second topic's condition refuses the first topic's event. */
	const char *late = "{\"appends\":[{\"topic\":\"orders\"," PLACED(
		"2") "},"
		     "{\"topic\":\"bills\"," PLACED("2") ",\"conditions\":[{\"key\":\"k\","
							 "\"expected\":7}]}]}";
	transact(409, "\"topic\":\"bills\"", late);
	transact(409, "\"currentVersion\":0", late);
	transact(409, "\"type\":\"urn:annals:problem:precondition-failed\"", late);
	ck_assert_uint_eq(
		count_of(ask_for(200, "GET", "/v1/topics/orders/events", NULL, NULL), "\n"), 1);
	/* Some are stored already: not with conditions. */
	transact(409, "partial-duplicate",
		"{\"appends\":[{\"topic\":\"orders\"," PLACED(
			"1") "},"
			     "{\"topic\":\"bills\"," PLACED("2") ",\"conditions\":[{\"key\":\"k\","
								 "\"expected\":0}]}]}");
	transact(200, "\"durability\":\"os\"",
		"{\"durability\":\"os\",\"appends\":[{\"topic\":\"plain\"," PLACED(
			"x") "},"
			     "{\"topic\":\"bills\"," PLACED("2") "}]}");
}
END_TEST

START_TEST(test_http_streams_transactions_over_topics_refuse)
{
	static const struct {
		int status;
		const char *says, *body;
	} cases[] = {
		{400, "not both", "{\"topic\":\"orders\",\"appends\":[]}"},
		{400, "holds nothing", "{\"appends\":[]}"},
		{400, "is an array", "{\"appends\":7}"},
		{400, "has no member", "{\"appends\":[{\"durability\":\"os\"}]}"},
		{400, "has no member", "{\"appends\":[{\"appends\":[]}]}"},
		{400, "names its 'topic'", "{\"appends\":[{" PLACED("1") "}]}"},
		{400, "append 0", "{\"appends\":[{\"topic\":\"orders\"}]}"},
		{400, "no event", "{\"appends\":[{\"topic\":\"orders\",\"events\":[]}]}"},
		{404, "unknown-topic",
			"{\"appends\":[{\"topic\":\"orders\"," PLACED(
				"1") "},{\"topic\":\"none\"," PLACED("1") "}]}"},
		{400, "twice",
			"{\"appends\":[{\"topic\":\"orders\"," PLACED(
				"1") "},{\"topic\":\"orders\"," PLACED("2") "}]}"},
		{501, "no query index",
			"{\"appends\":[{\"topic\":\"plain\"," PLACED(
				"1") ",\"query\":{\"items\":[{\"types\":[\"a\"]}]}},"
				     "{\"topic\":\"orders\"," PLACED("1") "}]}"},
	};
	struct buf many = BUF_INIT;
	ask_for(201, "PUT", "/v1/topics/plain", NULL, "{}");
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		transact(cases[i].status, cases[i].says, cases[i].body);
	}
	ck_assert_int_eq(buf_add_text(&many, "{\"appends\":["), 0);
	for (int i = 0; i < 65; i++) {
		ck_assert_int_eq(buf_printf(&many, "%s{\"topic\":\"plain\"," PLACED("1") "}",
					 i > 0 ? "," : ""),
			0);
	}
	ck_assert_int_eq(buf_add_text(&many, "]}"), 0);
	transact(403, "at most 64 topics", buf_text(&many));
	buf_release(&many);
	ck_assert_str_eq(ask_for(200, "GET", "/v1/topics/orders/events", NULL, NULL), "");
	ck_assert_str_eq(ask_for(200, "GET", "/v1/topics/plain/events", NULL, NULL), "");
}
END_TEST

START_TEST(test_http_streams_transactions_over_topics_have_keys)
{
	const char *key = "Idempotency-Key: once\r\n";
	const char *body = "{\"appends\":[{\"topic\":\"plain\"," PLACED(
		"1") "},{\"topic\":\"more\"," PLACED("1") "}]}";
	ask_for(201, "PUT", "/v1/topics/plain", NULL, "{}");
	ask_for(201, "PUT", "/v1/topics/more", NULL, "{}");
	const char *text = ask_for(200, "POST", "/v1/transactions", key, body);
	ck_assert_ptr_null(strstr(text, "replayed\":true"));
	text = ask_for(200, "POST", "/v1/transactions", key, body);
	ck_assert_ptr_nonnull(strstr(text, "\"replayed\":true"));
	ck_assert_uint_eq(
		count_of(ask_for(200, "GET", "/v1/topics/more/events", NULL, NULL), "\n"), 1);
	ask_problem(422, "idempotency-key-reused", "another", "POST", "/v1/transactions", key,
		"{\"appends\":[{\"topic\":\"plain\"," PLACED("5") "}]}");
}
END_TEST

SUITE_MAIN("http_streams", setup, server_teardown, test_http_streams_settings_come_back,
	test_http_streams_expected_versions, test_http_streams_pages,
	test_http_streams_repeats_get_the_first_answer, test_http_streams_transactions,
	test_http_streams_queries, test_http_streams_transactions_over_topics,
	test_http_streams_transactions_over_topics_refuse,
	test_http_streams_transactions_over_topics_have_keys)
