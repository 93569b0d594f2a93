/* Topics, the service document, health and metrics. */
#include "http_fixture.h"
#include "proto_http.h"
#include "suite.h"

START_TEST(test_http_topics_put_is_idempotent)
{
	const char *text = ask_for(201, "PUT", "/v1/topics/a.b-c_d", NULL,
		"{\"partitions\":3,\"retention\":{\"age\":\"7d\",\"bytes\":\"1GiB\",\"events\":"
		"1000},\"durability\":\"os\"}");
	ck_assert_uint_eq(json_number(text, "partitionCount"), 3);
	ck_assert_uint_eq(json_number(text, "ageMs"), 604800000);
	ck_assert_uint_eq(json_number(text, "bytes"), 1u << 30);
	ck_assert_uint_eq(json_number(text, "events"), 1000);
	ck_assert_ptr_nonnull(strstr(text, "\"durability\":\"os\""));
	const uint64_t id = json_number(text, "id");
	text = ask_for(200, "PUT", "/v1/topics/a.b-c_d", NULL,
		"{\"durability\":\"os\",\"retention\":{\"ageMs\":604800000,\"bytes\":1073741824,"
		"\"events\":1000},\"partitions\":3}");
	ck_assert_uint_eq(json_number(text, "id"), id);
	ask_problem(409, "topic-exists", "a.b-c_d", "PUT", "/v1/topics/a.b-c_d", NULL,
		"{\"partitions\":4}");
	text = ask_for(200, "GET", "/v1/topics/a.b-c_d", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"endOffset\":0"), 3);
}
END_TEST

START_TEST(test_http_topics_without_a_body_get_one_partition)
{
	ck_assert_uint_eq(
		json_number(ask_for(201, "PUT", "/v1/topics/t", NULL, NULL), "partitionCount"), 1);
}
END_TEST

START_TEST(test_http_topics_list_by_prefix)
{
	ask_for(201, "PUT", "/v1/topics/orders.b", NULL, "{}");
	ask_for(201, "PUT", "/v1/topics/orders.a", NULL, "{}");
	ask_for(201, "PUT", "/v1/topics/users", NULL, "{}");
	ck_assert_uint_eq(count_of(ask_for(200, "GET", "/v1/topics", NULL, NULL), "\"topic\":"), 3);
	const char *text = ask_for(200, "GET", "/v1/topics?prefix=orders%2E", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"topic\":"), 2);
	ck_assert(strstr(text, "orders.a") < strstr(text, "orders.b"));
}
END_TEST

START_TEST(test_http_topics_patch_changes_what_is_given)
{
	ask_for(201, "PUT", "/v1/topics/t", NULL,
		"{\"partitions\":2,\"retention\":{\"bytes\":5000}}");
	const char *text = ask_for(200, "PATCH", "/v1/topics/t",
		"Content-Type: application/merge-patch+json\r\n",
		"{\"retention\":{\"age\":\"1h\"},\"durability\":\"os\"}");
	ck_assert_uint_eq(json_number(text, "ageMs"), 3600000);
	ck_assert_uint_eq(json_number(text, "bytes"), 5000);
	ck_assert_ptr_nonnull(strstr(text, "\"durability\":\"os\""));
	text = ask_for(200, "PATCH", "/v1/topics/t", NULL, "{\"retention\":null,\"partitions\":3}");
	ck_assert_ptr_nonnull(strstr(text, "\"retention\":{}"));
	ck_assert_uint_eq(json_number(text, "partitionCount"), 3);
	ask_problem(404, "unknown-topic", "'none'", "PATCH", "/v1/topics/none", NULL, "{}");
}
END_TEST

START_TEST(test_http_topics_delete_and_recreate)
{
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{}");
	const uint64_t id = json_number(ask_for(200, "GET", "/v1/topics/t", NULL, NULL), "id");
	ask_for(200, "POST", "/v1/topics/t/events?type=x", NULL, "1");
	ask_for(204, "DELETE", "/v1/topics/t", NULL, NULL);
	ask_problem(404, "unknown-topic", "\"topic\":\"t\"", "GET", "/v1/topics/t", NULL, NULL);
	ask_problem(404, "unknown-topic", "'t'", "DELETE", "/v1/topics/t", NULL, NULL);
	ask_problem(404, "unknown-topic", "'t'", "POST", "/v1/topics/t/events?type=x", NULL, "1");
	const char *text = ask_for(201, "PUT", "/v1/topics/t", NULL, "{}");
	ck_assert_uint_ne(json_number(text, "id"), id);
	ck_assert_uint_eq(json_number(text, "endOffset"), 0);
}
END_TEST

START_TEST(test_http_topics_refuses_bad_settings)
{
	static const struct {
		const char *body, *type, *says;
		int status;
	} cases[] = {
		{"{\"partitions\":0}", "invalid-argument", "at least 1 partition", 400},
		{"{\"partitions\":1.5}", "invalid-argument", "'partitions'", 400},
		{"{\"partitions\":\"4\"}", "invalid-argument", "'partitions'", 400},
		{"{\"partitions\":10001}", "limit-reached", "10000", 403},
		{"{\"retention\":5}", "invalid-argument", "'retention'", 400},
		{"{\"retention\":{\"age\":\"soon\"}}", "invalid-argument", "'retention.age'", 400},
		{"{\"retention\":{\"age\":-1}}", "invalid-argument", "'retention.age'", 400},
		{"{\"retention\":{\"size\":1}}", "invalid-argument", "size", 400},
		{"{\"durability\":\"none\"}", "invalid-argument", "'durability'", 400},
		{"{\"colour\":1}", "invalid-argument", "colour", 400},
		{"{\"partitions\":1", "malformed", "byte 15", 400},
		{"[]", "malformed", "object", 400},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		ask_problem(cases[i].status, cases[i].type, cases[i].says, "PUT", "/v1/topics/t",
			NULL, cases[i].body);
	}
	ask_problem(415, "unsupported-media-type", "application/json", "PUT", "/v1/topics/t",
		"Content-Type: text/plain\r\n", "{}");
	ask_problem(404, "unknown-topic", "'t'", "GET", "/v1/topics/t", NULL, NULL);
}
END_TEST

START_TEST(test_http_topics_refuses_bad_names)
{
	static const char *const names[] = {"__x", "a%20b", "%C3%A9", "..", "a%2Fb"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
		char path[64];
		snprintf(path, sizeof(path), "/v1/topics/%s", names[i]);
		ask_problem(400, "invalid-argument", "topic name", "PUT", path, NULL, "{}");
	}
	ask_problem(400, "malformed", "percent", "GET", "/v1/topics/%zz", NULL, NULL);
	ask_problem(400, "malformed", "percent", "GET", "/v1/topics/a%00b", NULL, NULL);
}
END_TEST

START_TEST(test_http_topics_wrong_addresses_and_methods)
{
	char value[1024];
	static const char *const nowhere[] = {"/x", "/v1", "/v1/topics/", "/v1/topics/a/",
		"/v1/topics/a/events/", "//", "/livez/", "/V1/topics"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(nowhere); i++) {
		ask_problem(404, "not-found", "no such resource", "GET", nowhere[i], NULL, NULL);
	}
	ask_problem(405, "method-not-allowed", "GET, HEAD, PUT, PATCH, DELETE", "POST",
		"/v1/topics/t", NULL, "{}");
	ask_problem(405, "method-not-allowed", "GET", "get", "/", NULL, NULL);
	const struct http_response *response = ask("OPTIONS", "/v1/topics", NULL, NULL);
	ck_assert_int_eq(response->status, 204);
	ck_assert_str_eq(response_header(response, "Allow", value), "GET, HEAD");
}
END_TEST

START_TEST(test_http_topics_service_document_names_limits)
{
	const char *text = ask_for(200, "GET", "/", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "request-bytes-max"), 4194304);
	ck_assert_uint_eq(json_number(text, "event-bytes-max"), 1048576);
	ck_assert_uint_eq(json_number(text, "http"), test_server.http_port);
	ck_assert_ptr_nonnull(strstr(text, test_server.uuid));
	const struct http_response *head = ask("HEAD", "/", NULL, NULL);
	ck_assert_int_eq(head->status, 200);
	ck_assert_uint_eq(head->body.size, 0);
}
END_TEST

START_TEST(test_http_topics_health_and_metrics)
{
	ck_assert_str_eq(ask_for(200, "GET", "/livez", NULL, NULL), "ok\n");
	ck_assert_str_eq(ask_for(200, "GET", "/healthz", NULL, NULL), "ok\n");
	ck_assert_str_eq(ask_for(200, "GET", "/readyz", NULL, NULL), "ok\n");
	ck_assert_ptr_nonnull(
		strstr(ask_for(200, "GET", "/readyz?verbose", NULL, NULL), "[+]storage ok\n"));
	ck_assert_ptr_null(
		strstr(ask_for(200, "GET", "/readyz?verbose&exclude=storage", NULL, NULL),
			"[+]storage ok\n"));
	ck_assert_ptr_nonnull(
		strstr(ask_for(200, "GET", "/metrics", NULL, NULL), "annals_build_info{"));
}
END_TEST

START_TEST(test_http_topics_openapi_has_every_route)
{
	const char *text = ask_for(200, "GET", "/openapi.json", NULL, NULL);
	size_t routes;
	(void)http_routes(&routes);
	ck_assert_uint_eq(count_of(text, "\"summary\":"), routes);
	ck_assert_ptr_nonnull(
		strstr(text, "\"/v1/groups/{group}/offsets/{topic}/{partition}\":{\"get\":{"));
	/* Partition, event, topic, stream, query (twice), poll, parked. */
	ck_assert_uint_eq(count_of(text, "\"name\":\"schemaVersion\""), 9);
}
END_TEST

SUITE_MAIN("http_topics", server_setup, server_teardown, test_http_topics_put_is_idempotent,
	test_http_topics_without_a_body_get_one_partition, test_http_topics_list_by_prefix,
	test_http_topics_patch_changes_what_is_given, test_http_topics_delete_and_recreate,
	test_http_topics_refuses_bad_settings, test_http_topics_refuses_bad_names,
	test_http_topics_wrong_addresses_and_methods,
	test_http_topics_service_document_names_limits, test_http_topics_health_and_metrics,
	test_http_topics_openapi_has_every_route)
