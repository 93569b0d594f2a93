/* Confluent's interface of the schema registry: endpoints, error codes, one id for one schema. */
#include "http_fixture.h"
#include "make_descriptor.h"
#include "suite.h"
#include <annals/parse.h>
#include <stdio.h>
#include <stdlib.h>

#define R "/schema-registry"
#define VERSIONS R "/subjects/quakes-value/versions"
#define HEADERS "Content-Type: application/vnd.schemaregistry.v1+json\r\n"

static const struct make_field fields_1[] = {{"id", 1, 9, NULL}, {"depth", 2, 1, NULL}, {0}};
static const struct make_field fields_2[] = {
	{"id", 1, 9, NULL}, {"depth", 2, 1, NULL}, {"place", 3, 9, NULL}, {0}};
static const struct make_field fields_3[] = {{"id", 1, 9, NULL}, {"depth", 2, 9, NULL}, {0}};

/* What serializers send: the FileDescriptorProto as base64. */
static const char *post(int status, const char *path, const struct make_field *fields)
{
	struct buf file = BUF_INIT;
	char body[2048], base64[1024];
	make_file(&file, "quake.proto", NULL, "quake", "Event", fields);
	base64[base64_encode(base64, buf_bytes(&file), false)] = 0;
	buf_release(&file);
	snprintf(body, sizeof(body),
		"{\"schema\":\"%s\",\"schemaType\":\"PROTOBUF\",\"references\":[],\"metadata\":"
		"null,"
		"\"ruleSet\":{\"domainRules\":[]}}",
		base64);
	return ask_for(status, "POST", path, HEADERS, body);
}

static void fails(int code, const char *method, const char *path, const char *body)
{
	const char *text = ask_for(code >= 1000 ? code / 100 : code, method, path, HEADERS, body);
	ck_assert_msg(
		json_number(text, "error_code") == (uint64_t)code, "%s %s: %s", method, path, text);
	ck_assert_ptr_nonnull(find_text(text, "\"message\":\""));
}

static void says(const char *method, const char *path, const char *body, const char *wanted)
{
	ck_assert_str_eq(ask_for(200, method, path, HEADERS, body), wanted);
}

START_TEST(test_http_confluent_registers_and_reads)
{
	char value[1024];
	says("GET", R, NULL, "{}");
	says("GET", R "/", NULL, "{}");
	says("GET", R "/schemas/types", NULL, "[\"PROTOBUF\"]");
	says("GET", R "/subjects", NULL, "[]");
	ck_assert_uint_eq(json_number(post(200, VERSIONS, fields_1), "id"), 1);
	ck_assert_uint_eq(json_number(post(200, VERSIONS "?normalize=true", fields_1), "id"), 1);
	ck_assert_uint_eq(json_number(post(200, VERSIONS, fields_2), "id"), 2);
	post(200, R "/subjects/other-value/versions", fields_1);
	says("GET", R "/subjects", NULL, "[\"other-value\",\"quakes-value\"]");
	says("GET", R "/subjects?subjectPrefix=q", NULL, "[\"quakes-value\"]");
	says("GET", VERSIONS, NULL, "[1,2]");
	const char *text = ask_for(200, "GET", VERSIONS "/latest", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "version"), 2);
	ck_assert_ptr_nonnull(find_text(text, "\"schemaType\":\"PROTOBUF\""));
	says("GET", R "/schemas/ids/1/versions", NULL,
		"[{\"subject\":\"other-value\",\"version\":1},{\"subject\":\"quakes-value\","
		"\"version\":1}]");
	says("GET", R "/schemas/ids/2/subjects", NULL, "[\"quakes-value\"]");
	text = post(200, R "/subjects/quakes-value", fields_1);
	ck_assert_uint_eq(json_number(text, "version"), 1);
	post(404, R "/subjects/quakes-value", fields_3);
	const struct http_response *response =
		ask("GET", R "/schemas/ids/1?format=serialized", NULL, NULL);
	ck_assert_str_eq(response_header(response, "Content-Type", value),
		"application/vnd.schemaregistry.v1+json");
	says("GET", VERSIONS "/1/referencedby", NULL, "[]");
}
END_TEST

START_TEST(test_http_confluent_error_codes)
{
	static const char avro[] = "{\"schema\":\"\\\"string\\\"\"}";
	fails(40401, "GET", VERSIONS, NULL);
	fails(40401, "GET", VERSIONS "/1", NULL);
	fails(40401, "DELETE", R "/subjects/none", NULL);
	fails(40403, "GET", R "/schemas/ids/1", NULL);
	fails(40403, "GET", R "/schemas/ids/x", NULL);
	fails(42201, "POST", VERSIONS, avro);
	fails(42201, "POST", VERSIONS, "{\"schema\":\"{}\",\"schemaType\":\"JSON\"}");
	fails(42201, "POST", VERSIONS, "{\"schema\":\"AAAA\",\"schemaType\":\"PROTOBUF\"}");
	fails(42201, "POST", VERSIONS, "{\"schema\":\"\",\"schemaType\":\"PROTOBUF\"}");
	fails(42201, "POST", VERSIONS, "nonsense");
	fails(42201, "POST", VERSIONS,
		"{\"schema\":\"CgdhLnByb3Rv\",\"schemaType\":\"PROTOBUF\",\"references\":[{"
		"\"name\":"
		"\"x\",\"subject\":\"none\",\"version\":1}]}");
	post(200, VERSIONS, fields_1);
	fails(42202, "GET", VERSIONS "/zero", NULL);
	fails(42202, "GET", VERSIONS "/0", NULL);
	fails(40402, "GET", VERSIONS "/2", NULL);
	post(409, VERSIONS, fields_3);
	fails(42203, "PUT", R "/config", "{\"compatibility\":\"SOME\"}");
	fails(42204, "PUT", R "/mode", "{\"mode\":\"IMPORT\"}");
	fails(40408, "GET", R "/config/quakes-value", NULL);
	fails(40409, "GET", R "/mode/quakes-value", NULL);
	says("PUT", R "/mode/quakes-value", "{\"mode\":\"READONLY\"}", "{\"mode\":\"READONLY\"}");
	const char *text = post(422, VERSIONS, fields_2);
	ck_assert_uint_eq(json_number(text, "error_code"), 42205);
}
END_TEST

START_TEST(test_http_confluent_compatibility)
{
	const char *const check = R "/compatibility/subjects/quakes-value/versions";
	post(200, VERSIONS, fields_1);
	ck_assert_str_eq(post(200, check, fields_2), "{\"is_compatible\":true}");
	const char *text =
		post(200, R "/compatibility/subjects/quakes-value/versions?verbose=true", fields_3);
	ck_assert_ptr_nonnull(find_text(text, "\"is_compatible\":false"));
	ck_assert_ptr_nonnull(find_text(text, "quake.Event.depth"));
	post(200, R "/compatibility/subjects/quakes-value/versions/latest", fields_2);
	text = post(404, R "/compatibility/subjects/quakes-value/versions/9", fields_2);
	ck_assert_uint_eq(json_number(text, "error_code"), 40402);
	text = post(404, R "/compatibility/subjects/none/versions/1", fields_2);
	ck_assert_uint_eq(json_number(text, "error_code"), 40401);
	says("GET", R "/config", NULL, "{\"compatibilityLevel\":\"BACKWARD\"}");
	says("PUT", R "/config", "{\"compatibility\":\"FULL_TRANSITIVE\"}",
		"{\"compatibility\":\"FULL_TRANSITIVE\"}");
	says("GET", R "/config/quakes-value?defaultToGlobal=true", NULL,
		"{\"compatibilityLevel\":\"FULL_TRANSITIVE\"}");
	says("PUT", R "/config/quakes-value", "{\"compatibility\":\"none\"}",
		"{\"compatibility\":\"NONE\"}");
	says("GET", R "/config/quakes-value", NULL, "{\"compatibilityLevel\":\"NONE\"}");
	post(200, VERSIONS, fields_3);
	says("DELETE", R "/config/quakes-value", NULL,
		"{\"compatibilityLevel\":\"FULL_TRANSITIVE\"}");
	says("DELETE", R "/config", NULL, "{\"compatibilityLevel\":\"BACKWARD\"}");
}
END_TEST

START_TEST(test_http_confluent_deletes)
{
	post(200, VERSIONS, fields_1);
	post(200, VERSIONS, fields_2);
	fails(40407, "DELETE", VERSIONS "/1?permanent=true", NULL);
	says("DELETE", VERSIONS "/1", NULL, "1");
	fails(40406, "DELETE", VERSIONS "/1", NULL);
	says("GET", VERSIONS, NULL, "[2]");
	says("GET", VERSIONS "?deleted=true", NULL, "[1,2]");
	fails(40402, "GET", VERSIONS "/1", NULL);
	says("DELETE", VERSIONS "/1?permanent=true", NULL, "1");
	fails(40405, "DELETE", R "/subjects/quakes-value?permanent=true", NULL);
	says("DELETE", R "/subjects/quakes-value", NULL, "[2]");
	fails(40404, "DELETE", R "/subjects/quakes-value", NULL);
	fails(40401, "GET", VERSIONS, NULL);
	says("GET", R "/subjects", NULL, "[]");
	says("GET", R "/subjects?deleted=true", NULL, "[\"quakes-value\"]");
	says("GET", R "/subjects?deletedOnly=true", NULL, "[\"quakes-value\"]");
	says("DELETE", R "/subjects/quakes-value?permanent=true", NULL, "[2]");
	fails(40401, "DELETE", R "/subjects/quakes-value?permanent=true", NULL);
	/* The id stays what it was. */
	ck_assert_uint_eq(json_number(post(200, VERSIONS, fields_1), "id"), 1);
	says("GET", VERSIONS, NULL, "[3]");
}
END_TEST

SUITE_MAIN("http_confluent", server_setup, server_teardown, test_http_confluent_registers_and_reads,
	test_http_confluent_error_codes, test_http_confluent_compatibility,
	test_http_confluent_deletes)
