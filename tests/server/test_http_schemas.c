/* The schema registry over HTTP: native routes. */
#include "http_fixture.h"
#include "make_descriptor.h"
#include "suite.h"
#include <annals/json.h>
#include <annals/parse.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define VERSIONS "/v1/schemas/quake.Event/versions"

static const struct make_field fields_1[] = {{"id", 1, 9, NULL}, {"depth", 2, 1, NULL}, {0}};
static const struct make_field fields_2[] = {
	{"id", 1, 9, NULL}, {"depth", 2, 1, NULL}, {"place", 3, 9, NULL}, {0}};
static const struct make_field fields_3[] = {{"id", 1, 9, NULL}, {"depth", 2, 9, NULL}, {0}};

/* {"descriptorSet": base64}; the caller frees it. */
static char *json_of(const struct buf *set)
{
	char *text = malloc(set->size * 2 + 64);
	size_t at = (size_t)sprintf(text, "{\"descriptorSet\":\"");
	at += base64_encode(text + at, buf_bytes(set), false);
	memcpy(text + at, "\"}", 3);
	return text;
}

static char *json_of_fields(const struct make_field *fields)
{
	struct buf set = BUF_INIT;
	make_set(&set, "quake.proto", NULL, "quake", "Event", fields);
	char *text = json_of(&set);
	buf_release(&set);
	return text;
}

static const char *post_fields(int status, const char *path, const struct make_field *fields)
{
	char *body = json_of_fields(fields);
	const char *text =
		ask_for(status, "POST", path, "Content-Type: application/json\r\n", body);
	free(body);
	return text;
}

START_TEST(test_http_schemas_register_list_show)
{
	const char *text = post_fields(201, VERSIONS, fields_1);
	ck_assert_uint_eq(json_number(text, "id"), 1);
	ck_assert_ptr_nonnull(find_text(text, "\"message\":\"quake.Event\""));
	post_fields(200, VERSIONS, fields_1);
	post_fields(201, VERSIONS, fields_2);
	text = ask_for(200, "GET", "/v1/schemas", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "versions"), 2);
	ck_assert_uint_eq(json_number(text, "latest"), 2);
	text = ask_for(200, "GET", "/v1/schemas/quake.Event", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"registered\":"), 2);
	text = ask_for(200, "GET", VERSIONS "/latest", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "version"), 2);
	ck_assert_ptr_nonnull(find_text(text, "\"file\":\"quake.proto\""));
	text = ask_for(200, "GET", VERSIONS "/1?format=jsonschema", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "\"quake.Event\""));
	text = ask_for(200, "GET", "/v1/schema-ids/2", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "id"), 2);
	ask_problem(404, "unknown-schema", "version", "GET", VERSIONS "/3", NULL, NULL);
	ask_problem(404, "unknown-schema", "'none'", "GET", "/v1/schemas/none", NULL, NULL);
	ask_problem(404, "unknown-schema", "id", "GET", "/v1/schema-ids/3", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(ask_for(200, "GET", VERSIONS "/1?format=proto", NULL, NULL),
		"syntax = \"proto3\";\npackage quake;\n"));
}
END_TEST

START_TEST(test_http_schemas_incompatible_ones_are_listed)
{
	post_fields(201, VERSIONS, fields_1);
	const char *text = post_fields(409, VERSIONS, fields_3);
	ck_assert_ptr_nonnull(find_text(text, "urn:annals:problem:incompatible-schema"));
	ck_assert_ptr_nonnull(find_text(text, "\"rule\":\"field-type-changed\""));
	ck_assert_ptr_nonnull(find_text(text, "\"path\":\"quake.Event.depth\""));
	ck_assert_ptr_nonnull(find_text(text, "\"compatibility\":\"BACKWARD\""));
	text = post_fields(200, "/v1/schemas/quake.Event/check", fields_3);
	ck_assert_ptr_nonnull(find_text(text, "\"compatible\":false"));
	text = post_fields(200, "/v1/schemas/quake.Event/check?level=none", fields_3);
	ck_assert_ptr_nonnull(find_text(text, "\"compatible\":true"));
	ask_for(200, "PUT", "/v1/schemas/quake.Event/config", NULL, "{\"compatibility\":\"NONE\"}");
	post_fields(201, VERSIONS, fields_3);
	text = ask_for(200, "GET", "/v1/schema-config", NULL, NULL);
	ck_assert_ptr_nonnull(find_text(text, "\"compatibility\":\"BACKWARD\""));
	ask_problem(400, "invalid-argument", "'compatibility'", "PUT", "/v1/schema-config", NULL,
		"{\"compatibility\":\"SOME\"}");
	ask_for(200, "PUT", "/v1/schema-config", NULL, "{\"mode\":\"READONLY\"}");
	post_fields(403, VERSIONS, fields_2);
}
END_TEST

START_TEST(test_http_schemas_readers)
{
	const char *const reader = "/v1/schemas/quake.Event/readers/alarms";
	ask_problem(404, "unknown-schema", "quake.Event", "PUT", reader, NULL, "{}");
	post_fields(201, VERSIONS, fields_1);
	ask_for(204, "PUT", reader, NULL, "{\"version\":1,\"fields\":[\"depth\"]}");
	ask_problem(400, "invalid-argument", "fields", "PUT", reader, NULL, "{\"fields\":[1]}");
	ask_for(200, "PUT", "/v1/schemas/quake.Event/config", NULL, "{\"compatibility\":\"none\"}");
	const char *text = post_fields(409, VERSIONS "?readers=refuse", fields_3);
	ck_assert_uint_eq(json_number(text, "brokenReaders"), 1);
	ck_assert_ptr_nonnull(find_text(text, "\"reader\":\"alarms\""));
	text = post_fields(201, VERSIONS, fields_3);
	ck_assert_uint_eq(json_number(text, "brokenReaders"), 1);
	ask_for(204, "DELETE", reader, NULL, NULL);
	ask_for(404, "DELETE", reader, NULL, NULL);
}
END_TEST

START_TEST(test_http_schemas_check_data)
{
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{}");
	post_fields(201, VERSIONS, fields_1);
	ask_for(200, "POST", "/v1/topics/quakes/events?type=quake.Event",
		"Content-Type: application/x-protobuf\r\nce-id: 1\r\nce-source: a\r\n"
		"ce-type: quake.Event\r\nce-specversion: 1.0\r\n",
		"\n\x02us");
	ask_for(200, "POST", "/v1/topics/quakes/events",
		"Content-Type: application/octet-stream\r\nce-id: 2\r\nce-source: a\r\n"
		"ce-type: quake.Event\r\nce-specversion: 1.0\r\n",
		"\n\x02us\x1a\x01x");
	ask_for(200, "POST", "/v1/topics/quakes/events",
		"Content-Type: application/octet-stream\r\nce-id: 3\r\nce-source: a\r\n"
		"ce-type: quake.Event\r\nce-specversion: 1.0\r\n",
		"\x10\x01");
	ask_for(200, "POST", "/v1/topics/quakes/events",
		"Content-Type: application/octet-stream\r\nce-id: 4\r\nce-source: a\r\n"
		"ce-type: other\r\nce-specversion: 1.0\r\n",
		"\x10\x01");
	const char *text =
		ask_for(200, "POST", "/v1/schemas/quake.Event/check-data?topic=quakes", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "events"), 3);
	ck_assert_uint_eq(json_number(text, "failing"), 1);
	ck_assert_uint_eq(json_number(text, "losingFields"), 1);
	ck_assert_uint_eq(json_number(text, "nextOffset"), 4);
	ck_assert_ptr_nonnull(find_text(text, "\"offset\":1,\"rule\":\"loses-fields\""));
	ck_assert_ptr_nonnull(find_text(text, "\"offset\":2,\"rule\":\"fails\""));
	text = ask_for(200, "POST",
		"/v1/schemas/quake.Event/check-data?topic=quakes&offset=1&limit=1", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "events"), 1);
	ck_assert_uint_eq(json_number(text, "nextOffset"), 2);
	text = post_fields(200, "/v1/schemas/quake.Event/check-data?topic=quakes", fields_2);
	ck_assert_uint_eq(json_number(text, "losingFields"), 0);
	ask_problem(404, "unknown-topic", "none", "POST",
		"/v1/schemas/quake.Event/check-data?topic=none", NULL, NULL);
	ask_problem(404, "unknown-schema", "version", "POST",
		"/v1/schemas/quake.Event/check-data?topic=quakes&version=9", NULL, NULL);
}
END_TEST

START_TEST(test_http_schemas_delete)
{
	post_fields(201, VERSIONS, fields_1);
	post_fields(201, VERSIONS, fields_2);
	ask_problem(409, "conflict", "delete it first", "DELETE", VERSIONS "/1?permanent=true",
		NULL, NULL);
	ask_for(200, "DELETE", VERSIONS "/1", NULL, NULL);
	ask_for(404, "DELETE", VERSIONS "/1", NULL, NULL);
	ask_for(200, "DELETE", "/v1/schemas/quake.Event", NULL, NULL);
	ck_assert_ptr_nonnull(
		find_text(ask_for(200, "GET", "/v1/schemas", NULL, NULL), "\"subjects\":[]"));
	ck_assert_uint_eq(count_of(ask_for(200, "GET", "/v1/schemas?deleted=true", NULL, NULL),
				  "\"subject\":"),
		1);
	ask_for(200, "DELETE", "/v1/schemas/quake.Event?permanent=true", NULL, NULL);
	const char *text = post_fields(201, VERSIONS, fields_1);
	ck_assert_uint_eq(json_number(text, "id"), 1);
	ck_assert_uint_eq(json_number(text, "version"), 3);
}
END_TEST

START_TEST(test_http_schemas_compile_text)
{
	static const char text_1[] = "syntax = \"proto3\"; package quake;\n"
				     "import \"google/protobuf/timestamp.proto\";\n"
				     "import \"annals/options.proto\";\n"
				     "message Event { string id = 1 [(annals.key) = true];\n"
				     "  google.protobuf.Timestamp at = 2; }\n";
	if (access("/usr/bin/protoc", X_OK) != 0) {
		ask_problem(501, "unsupported-operation", "protoc", "POST", VERSIONS,
			"Content-Type: text/plain\r\n", text_1);
		return;
	}
	const char *text = ask_for(201, "POST", VERSIONS "?file=a/quake.proto",
		"Content-Type: text/plain\r\n", text_1);
	ck_assert_ptr_nonnull(find_text(text, "\"message\":\"quake.Event\""));
	ck_assert_str_eq(ask_for(200, "GET", VERSIONS "/1?format=proto", NULL, NULL), text_1);
	ask_for(200, "POST", VERSIONS "?file=a/quake.proto", "Content-Type: text/plain\r\n",
		text_1);
	/* What is missing is named. */
	ask_problem(422, "validation-failed", "none.proto", "POST", VERSIONS,
		"Content-Type: text/plain\r\n",
		"syntax = \"proto3\"; import \"none.proto\"; message Event {}");
	ask_problem(422, "validation-failed", "1:40", "POST", VERSIONS,
		"Content-Type: text/plain\r\n", "syntax = \"proto3\"; message Event { x y z }");
	/* Compiled on top of another subject's version. */
	ask_for(201, "POST", "/v1/schemas/report.Report/versions",
		"Content-Type: application/json\r\n",
		"{\"schema\":\"syntax = \\\"proto3\\\"; package report; import \\\"q.proto\\\"; "
		"message Report { quake.Event event = 1; }\",\"references\":[{\"name\":\"q.proto\","
		"\"subject\":\"quake.Event\",\"version\":1}]}");
	static const char *const names[] = {
		"../x.proto", "/etc/x.proto", "a//b", "-x", "a/../b", "a%20b"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
		char path[100];
		snprintf(path, sizeof(path), VERSIONS "?file=%s", names[i]);
		ask_problem(400, "invalid-argument", ".proto file", "POST", path,
			"Content-Type: text/plain\r\n", text_1);
	}
}
END_TEST

START_TEST(test_http_schemas_without_a_compiler)
{
	/* The tests of one process run one after the other, each in a child of its own. */
	ck_assert_int_eq(setenv("PATH", "/nonexistent", 1), 0);
	ask_problem(501, "unsupported-operation", "FileDescriptorSet", "POST", VERSIONS,
		"Content-Type: text/plain\r\n", "syntax = \"proto3\";");
}
END_TEST

START_TEST(test_http_schemas_asyncapi)
{
	struct json_value value;
	ask_for(201, "PUT", "/v1/topics/quakes", NULL, "{}");
	ask_for(201, "PUT", "/v1/topics/other", NULL, "{}");
	post_fields(201, "/v1/schemas/quakes-value/versions", fields_1);
	post_fields(201, "/v1/schemas/quakes-quake.Event/versions", fields_1);
	post_fields(201, VERSIONS, fields_2);
	const char *text = ask_for(200, "GET", "/asyncapi.json", NULL, NULL);
	ck_assert_int_eq(json_read(bytes_text(text), &value, NULL), 0);
	ck_assert_ptr_nonnull(find_text(text, "\"asyncapi\":\"3.0.0\""));
	ck_assert_ptr_nonnull(find_text(text, "\"quakes\":{\"address\":\"quakes\",\"messages\":{"
					      "\"quake.Event-1\":{\"$ref\":"
					      "\"#/components/messages/quake.Event-1\"}}}"));
	ck_assert_ptr_nonnull(
		find_text(text, "\"other\":{\"address\":\"other\",\"messages\":{\"event\":"));
	ck_assert_ptr_nonnull(find_text(text, "\"append.quakes\":{\"action\":\"receive\""));
	ck_assert_ptr_nonnull(find_text(
		text, "\"$ref\":\"#/components/schemas/quake.Event-2/definitions/quake.Event\""));
	ck_assert_uint_eq(count_of(text, "\"x-schema-id\":"), 2);
}
END_TEST

/* ---- Hostile schemas ---- */

static void refused(int status, const char *type, const char *says, struct buf *set)
{
	char *body = json_of(set);
	ask_problem(
		status, type, says, "POST", VERSIONS, "Content-Type: application/json\r\n", body);
	free(body);
	buf_release(set);
}

START_TEST(test_http_schemas_refuses_hostile_sets)
{
	struct buf set = BUF_INIT;
	static const struct make_field to_b[] = {{"b", 1, 11, ".b.B"}, {0}};
	make_set(&set, "a.proto", "b.proto", "a", "A", to_b);
	make_set(&set, "b.proto", "a.proto", "b", "B", NULL);
	refused(422, "validation-failed", "circle", &set);
	make_set(&set, "a.proto", NULL, "a", "A", NULL);
	make_set(&set, "b.proto", NULL, "a", "A", NULL);
	refused(422, "validation-failed", "a.A", &set);
	make_set(&set, "a.proto", "missing.proto", "a", "A", NULL);
	refused(422, "validation-failed", "missing.proto", &set);
	static const struct make_field zero[] = {{"x", 0, 9, NULL}, {0}};
	make_set(&set, "a.proto", NULL, "a", "A", zero);
	refused(422, "validation-failed", "a.A.x", &set);
	static const struct make_field large[] = {{"x", 1u << 29, 9, NULL}, {0}};
	make_set(&set, "a.proto", NULL, "a", "A", large);
	refused(422, "validation-failed", "a.A.x", &set);
	static const struct make_field twice[] = {{"x", 1, 9, NULL}, {"x", 2, 9, NULL}, {0}};
	make_set(&set, "a.proto", NULL, "a", "A", twice);
	refused(422, "validation-failed", "a.A.x", &set);
	/* A type that holds itself is fine. */
	static const struct make_field itself[] = {{"x", 1, 11, ".a.A"}, {0}};
	make_set(&set, "a.proto", NULL, "a", "A", itself);
	char *body = json_of(&set);
	ask_for(201, "POST", "/v1/schemas/a.A/versions", "Content-Type: application/json\r\n",
		body);
	free(body);
	buf_release(&set);
	ask_problem(400, "malformed", "descriptor", "POST", VERSIONS,
		"Content-Type: application/x-protobuf\r\n", "\x0a\x7fzzz");
	ask_problem(400, "invalid-argument", "base64", "POST", VERSIONS,
		"Content-Type: application/json\r\n", "{\"descriptorSet\":\"*\"}");
	ask_problem(400, "invalid-argument", "needed", "POST", VERSIONS,
		"Content-Type: application/json\r\n", "{}");
	ask_problem(415, "unsupported-media-type", "text/plain", "POST", VERSIONS,
		"Content-Type: application/avro\r\n", "x");
	ask_problem(400, "invalid-argument", "no schema", "POST", VERSIONS, NULL, NULL);
}
END_TEST

START_TEST(test_http_schemas_refuses_sizes)
{
	struct buf set = BUF_INIT, file = BUF_INIT, type = BUF_INIT;
	char name[32];
	/* 10,001 fields. */
	make_bytes(&type, 1, bytes_text("A"));
	for (uint32_t i = 1; i <= 10001; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		const struct make_field field = {name, i < 19000 ? i : i + 1000, 5, NULL};
		make_field(&type, &field);
	}
	make_bytes(&file, 1, bytes_text("a.proto"));
	make_bytes(&file, 4, buf_bytes(&type));
	make_bytes(&file, 12, bytes_text("proto3"));
	make_bytes(&set, 1, buf_bytes(&file));
	refused(413, "too-large", "10000", &set);
	buf_reset(&file);
	buf_reset(&type);
	/* Messages in messages, 100 deep. */
	make_bytes(&type, 1, bytes_text("M"));
	for (int i = 0; i < 100; i++) {
		struct buf outer = BUF_INIT;
		make_bytes(&outer, 1, bytes_text("M"));
		make_bytes(&outer, 3, buf_bytes(&type));
		buf_release(&type);
		type = outer;
	}
	make_bytes(&file, 1, bytes_text("a.proto"));
	make_bytes(&file, 4, buf_bytes(&type));
	make_bytes(&file, 12, bytes_text("proto3"));
	make_bytes(&set, 1, buf_bytes(&file));
	refused(413, "too-large", "32", &set);
	buf_release(&file);
	buf_release(&type);
	/* 10 MB: the limit is named before the body is read. */
	ask_problem(413, "too-large", "schema-body-bytes-max", "POST", VERSIONS,
		"Content-Type: application/x-protobuf\r\nContent-Length: 10000000\r\n", NULL);
}
END_TEST

SUITE_MAIN("http_schemas", server_setup, server_teardown, test_http_schemas_register_list_show,
	test_http_schemas_incompatible_ones_are_listed, test_http_schemas_readers,
	test_http_schemas_check_data, test_http_schemas_delete, test_http_schemas_compile_text,
	test_http_schemas_without_a_compiler, test_http_schemas_asyncapi,
	test_http_schemas_refuses_hostile_sets, test_http_schemas_refuses_sizes)
