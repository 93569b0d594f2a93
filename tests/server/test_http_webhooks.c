/* Webhooks over HTTP: settings, states and every refusal. Deliveries are tested from outside
 * (tests/e2e/webhooks.py). */
#include "http_fixture.h"
#include "suite.h"
#include <unistd.h>

static void change(struct options *options)
{
	options->webhooks_max = 3;
}

static void setup(void)
{
	server_setup_with(change);
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":1}");
	ask_for(201, "PUT", "/v1/groups/g", NULL, "{\"topics\":[\"t\"]}");
	ask_for(200, "POST", "/v1/groups/m/members", NULL, "{\"topics\":[\"t\"]}");
}

/* Nobody answers there, and the address is refused before that. */
#define URL "\"url\":\"http://127.0.0.1:9/h\""
#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

START_TEST(test_http_webhooks_life)
{
	const char *text = ask_for(201, "PUT", "/v1/webhooks/w", NULL,
		"{" URL ",\"topics\":[\"t\"],\"secrets\":[\"" SECRET "\"],"
		"\"filter\":{\"type\":\"x\",\"subject\":\"s\",\"key\":\"k\",\"tags\":[\"a\"]}}");
	ck_assert_ptr_nonnull(strstr(text, "\"name\":\"w\""));
	ck_assert_ptr_nonnull(strstr(text, "\"state\":\"waiting\""));
	ck_assert_ptr_nonnull(strstr(text, "\"group\":\"webhook.w\""));
	ck_assert_ptr_nonnull(strstr(text, "\"filter\":{\"type\":\"x\",\"subject\":\"s\",\"key\":"
					   "\"k\",\"tags\":[\"a\"]}"));
	ck_assert_uint_eq(json_number(text, "signatures"), 1);
	ck_assert_uint_eq(json_number(text, "concurrency"), 4);
	ck_assert_ptr_null(strstr(text, "MfKQ9r8G"));
	text = ask_for(200, "GET", "/v1/groups/webhook.w", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "leaseMs"), 40000);
	ck_assert_uint_eq(json_number(text, "attemptsMax"), 20);
	text = ask_for(200, "PUT", "/v1/webhooks/w", NULL,
		"{" URL
		",\"topic\":\"t\",\"handshake\":\"off\",\"secrets\":[],\"timeoutMs\":5000}");
	ck_assert_ptr_nonnull(strstr(text, "\"state\":\"enabled\""));
	ck_assert_uint_eq(json_number(text, "signatures"), 0);
	ck_assert_ptr_null(strstr(text, "\"filter\":"));
	text = ask_for(200, "GET", "/v1/groups/webhook.w", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "leaseMs"), 35000);
	text = ask_for(200, "POST", "/v1/webhooks/w/pause", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"state\":\"disabled\""));
	ck_assert_ptr_nonnull(strstr(text, "\"reason\":\"paused\""));
	text = ask_for(200, "POST", "/v1/webhooks/w/resume", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"state\":\"enabled\""));
	text = ask_for(200, "POST", "/v1/webhooks/w/test", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"delivered\":false"));
	ck_assert_ptr_nonnull(strstr(text, "webhook-private-addresses"));
	ask_for(201, "PUT", "/v1/webhooks/v", NULL, "{" URL ",\"group\":\"g\"}");
	text = ask_for(200, "GET", "/v1/webhooks", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"name\":"), 2);
	ck_assert_ptr_nonnull(strstr(text, "\"group\":\"g\""));
	ck_assert_ptr_null(strstr(text, "\"after\":"));
	text = ask_for(200, "GET", "/v1/webhooks?limit=1", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"name\":"), 1);
	ck_assert_ptr_nonnull(strstr(text, "\"after\":\"v\""));
	text = ask_for(200, "GET", "/v1/webhooks?limit=1&after=v", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"name\":\"w\""));
	ck_assert_ptr_null(strstr(text, "\"after\":"));
	ask_problem(400, "invalid-argument", "limit", "GET", "/v1/webhooks?limit=1001", NULL, NULL);
	ask_problem(400, "invalid-argument", "name", "GET", "/v1/webhooks?after=%20", NULL, NULL);
	ask_for(204, "DELETE", "/v1/webhooks/w", NULL, NULL);
	ask_problem(404, "unknown-group", "webhook.w", "GET", "/v1/groups/webhook.w", NULL, NULL);
	ask_for(204, "DELETE", "/v1/webhooks/v", NULL, NULL);
	ask_for(200, "GET", "/v1/groups/g", NULL, NULL);
	text = ask_for(200, "GET", "/v1/webhooks", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"name\":"), 0);
}
END_TEST

START_TEST(test_http_webhooks_private_address_is_refused)
{
	ask_for(200, "POST", "/v1/topics/t/events?type=x&key=k", NULL, "1");
	ask_for(201, "PUT", "/v1/webhooks/w", NULL,
		"{" URL ",\"topics\":[\"t\"],\"handshake\":\"off\",\"attemptsMax\":1}");
	for (unsigned i = 0; i < 500; i++) {
		const char *text = ask_for(200, "GET", "/v1/groups/webhook.w/parked", NULL, NULL);
		if (json_number(text, "count") == 1) {
			ck_assert_ptr_nonnull(strstr(text, "webhook-private-addresses"));
			return;
		}
		usleep(10000);
	}
	ck_abort_msg("the event was not parked");
}
END_TEST

START_TEST(test_http_webhooks_refusals)
{
	static const struct {
		int status;
		const char *type, *says, *body;
	} cases[] = {
		{400, "invalid-argument", "'url' is missing", "{\"topics\":[\"t\"]}"},
		{400, "invalid-argument", "absolute", "{\"url\":\"/h\",\"topics\":[\"t\"]}"},
		{400, "invalid-argument", "absolute", "{\"url\":\"http://\",\"topics\":[\"t\"]}"},
		{400, "invalid-argument", "https://", "{\"url\":\"ftp://a/h\",\"topics\":[\"t\"]}"},
		{400, "invalid-argument", "https://",
			"{\"url\":\"file:///etc/passwd\",\"topics\":[\"t\"]}"},
		{400, "invalid-argument", "https://",
			"{\"url\":\"gopher://a/h\",\"topics\":[\"t\"]}"},
		{400, "invalid-argument", "password",
			"{\"url\":\"https://u:p@a/h\",\"topics\":[\"t\"]}"},
		{400, "invalid-argument", "fragment",
			"{\"url\":\"https://a/h#f\",\"topics\":[\"t\"]}"},
		{400, "invalid-argument", "absolute",
			"{\"url\":\"http://a/\\r\\nX: 1\",\"topics\":[\"t\"]}"},
		{400, "invalid-argument", "NUL",
			"{\"url\":\"http://a/\\u0000\",\"topics\":[\"t\"]}"},
		{400, "invalid-argument", "'topics', or", "{" URL "}"},
		{400, "invalid-argument", "not both",
			"{" URL ",\"topics\":[\"t\"],\"group\":\"g\"}"},
		{400, "invalid-argument", "'topics' are names", "{" URL ",\"topics\":[1]}"},
		{400, "invalid-argument", "topic name", "{" URL ",\"topics\":[\"a b\"]}"},
		{404, "unknown-topic", "none", "{" URL ",\"topics\":[\"none\"]}"},
		{404, "unknown-group", "there is no group 'none'", "{" URL ",\"group\":\"none\"}"},
		{409, "group-mode", "by event", "{" URL ",\"group\":\"m\"}"},
		{400, "invalid-argument", "group name", "{" URL ",\"group\":\"a b\"}"},
		{400, "invalid-argument", "'secrets' are",
			"{" URL ",\"topics\":[\"t\"],\"secrets\":[\"abc\"]}"},
		{400, "invalid-argument", "'secrets' are",
			"{" URL ",\"topics\":[\"t\"],\"secrets\":[7]}"},
		{403, "limit-reached", "2 secrets",
			"{" URL ",\"topics\":[\"t\"],\"secrets\":[\"" SECRET "\",\"" SECRET
			"\",\"" SECRET "\"]}"},
		{400, "invalid-argument", "'authorization' has",
			"{" URL ",\"topics\":[\"t\"],\"authorization\":\"a\\r\\nX: 1\"}"},
		{400, "invalid-argument", "'mode' is",
			"{" URL ",\"topics\":[\"t\"],\"mode\":\"x\"}"},
		{400, "invalid-argument", "'handshake' is",
			"{" URL ",\"topics\":[\"t\"],\"handshake\":\"maybe\"}"},
		{400, "invalid-argument", "'from' is",
			"{" URL ",\"topics\":[\"t\"],\"from\":\"now\"}"},
		{400, "invalid-argument", "'filter': there is no member",
			"{" URL ",\"topics\":[\"t\"],\"filter\":{\"color\":\"red\"}}"},
		{400, "malformed", "'filter'", "{" URL ",\"topics\":[\"t\"],\"filter\":7}"},
		{400, "invalid-argument", "'tags' are",
			"{" URL ",\"topics\":[\"t\"],\"filter\":{\"tags\":[\"\"]}}"},
		{400, "invalid-argument", "from 0 to 100",
			"{" URL ",\"topics\":[\"t\"],\"concurrency\":101}"},
		{400, "invalid-argument", "at least 1",
			"{" URL ",\"topics\":[\"t\"],\"concurrency\":0}"},
		{400, "invalid-argument", "60000 ms",
			"{" URL ",\"topics\":[\"t\"],\"timeoutMs\":60001}"},
		{400, "invalid-argument", "'timeoutMs' is at least",
			"{" URL ",\"topics\":[\"t\"],\"timeoutMs\":0}"},
		{400, "invalid-argument", "'backoffMs'",
			"{" URL ",\"topics\":[\"t\"],\"backoffMs\":\"31d\"}"},
		{400, "invalid-argument", "there is no member",
			"{" URL ",\"topics\":[\"t\"],\"secret\":\"x\"}"},
		{400, "malformed", "byte", "{" URL ",}"},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		ask_problem(cases[i].status, cases[i].type, cases[i].says, "PUT", "/v1/webhooks/w",
			NULL, cases[i].body);
	}
	ask_problem(400, "invalid-argument", "webhook name", "PUT", "/v1/webhooks/a%20b", NULL,
		"{" URL ",\"topics\":[\"t\"]}");
	ask_problem(400, "invalid-argument", "webhook name", "GET", "/v1/webhooks/__x", NULL, NULL);
	static const char *const absent[][2] = {{"GET", "/v1/webhooks/none"},
		{"DELETE", "/v1/webhooks/none"}, {"POST", "/v1/webhooks/none/pause"},
		{"POST", "/v1/webhooks/none/resume"}, {"POST", "/v1/webhooks/none/test"}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(absent); i++) {
		ask_problem(404, "not-found", "there is no webhook 'none'", absent[i][0],
			absent[i][1], NULL, NULL);
	}
	ask_problem(405, "method-not-allowed", "", "PATCH", "/v1/webhooks/w", NULL, NULL);
	const char *text = ask_for(200, "GET", "/v1/webhooks", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"name\":"), 0);
}
END_TEST

START_TEST(test_http_webhooks_limits_and_conflicts)
{
	char name[256], path[320], body[3000];
	memset(name, 'n', sizeof(name));
	snprintf(path, sizeof(path), "/v1/webhooks/%.200s", name);
	ask_for(201, "PUT", path, NULL, "{" URL ",\"topics\":[\"t\"]}");
	snprintf(path, sizeof(path), "/v1/webhooks/%.201s", name);
	ask_problem(400, "invalid-argument", "the limit is 200", "PUT", path, NULL,
		"{" URL ",\"topics\":[\"t\"]}");
	ask_for(201, "PUT", "/v1/webhooks/a", NULL, "{" URL ",\"topics\":[\"t\"]}");
	ask_problem(409, "conflict", "cannot be changed", "PUT", "/v1/webhooks/a", NULL,
		"{" URL ",\"group\":\"g\"}");
	ask_for(201, "PUT", "/v1/webhooks/b", NULL, "{" URL ",\"topics\":[\"t\"]}");
	ask_problem(403, "limit-reached", "webhooks-max", "PUT", "/v1/webhooks/c", NULL,
		"{" URL ",\"topics\":[\"t\"]}");
	ask_for(200, "PUT", "/v1/webhooks/b", NULL, "{" URL ",\"topics\":[\"t\"]}");
	char filler[2100];
	memset(filler, 'x', sizeof(filler));
	snprintf(body, sizeof(body), "{\"url\":\"http://a/%.2040s\",\"topics\":[\"t\"]}", filler);
	ask_problem(400, "invalid-argument", "2048 bytes", "PUT", "/v1/webhooks/b", NULL, body);
	snprintf(body, sizeof(body),
		"{" URL ",\"topics\":[\"t\"],\"filter\":{\"type\":\"%.1025s\"}}", filler);
	ask_problem(413, "too-large", "1024", "PUT", "/v1/webhooks/b", NULL, body);
}
END_TEST

/* Many at the same time: never more than may be. */
START_TEST(test_http_webhooks_limit_holds_for_requests_at_once)
{
	static const char body[] = "{" URL ",\"topics\":[\"t\"]}";
	struct http_client client;
	unsigned made = 0;
	client_open(&client);
	for (unsigned i = 0; i < 12; i++) {
		char request[400];
		snprintf(request, sizeof(request),
			"PUT /v1/webhooks/w%u HTTP/1.1\r\nHost: a\r\nContent-Type: "
			"application/json\r\nContent-Length: %zu\r\n\r\n%s",
			i, sizeof(body) - 1, body);
		client_send_text(&client, request);
	}
	for (unsigned i = 0; i < 12; i++) {
		struct http_response response = {0};
		client_receive(&client, &response, true);
		ck_assert(response.status == 201 || response.status == 403);
		made += response.status == 201;
		response_release(&response);
	}
	client_close(&client);
	/* One that is done and not yet forgotten counts twice for a moment. */
	ck_assert(made >= 1 && made <= 3);
	const char *text = ask_for(200, "GET", "/v1/webhooks", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"name\":"), made);
	ask_for(204, "DELETE", "/v1/webhooks/w0", NULL, NULL); /* nothing stays counted */
	ask_for(201, "PUT", "/v1/webhooks/late", NULL, body);
}
END_TEST

START_TEST(test_http_webhooks_are_documented)
{
	const char *text = ask_for(200, "GET", "/openapi.json", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "\"/v1/webhooks/{webhook}/resume\""));
	text = ask_for(200, "GET", "/", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "webhooks-max"), 3);
	ck_assert_uint_eq(json_number(text, "webhook-requests-max"), 256);
	ck_assert_ptr_nonnull(find_text(text, "\"webhooks\":\"/v1/webhooks\""));
	ask_for(201, "PUT", "/v1/webhooks/w", NULL, "{" URL ",\"topics\":[\"t\"]}");
	for (unsigned i = 0; i < 500; i++) {
		text = ask_for(200, "GET", "/metrics", NULL, NULL);
		if (find_text(text, "annals_webhook_state{webhook=\"w\",state=\"waiting\"} 1") !=
			NULL) {
			return;
		}
		usleep(10000);
	}
	ck_abort_msg("the webhook is not in the metrics");
}
END_TEST

SUITE_MAIN("http_webhooks", setup, server_teardown, test_http_webhooks_life,
	test_http_webhooks_private_address_is_refused, test_http_webhooks_refusals,
	test_http_webhooks_limits_and_conflicts,
	test_http_webhooks_limit_holds_for_requests_at_once, test_http_webhooks_are_documented)
