#include <annals/jsonschema.h>
#include <check.h>

#include "../schema/sample_set.h"
#include "suite.h"

static struct descriptor_pool *pool;
static struct buf text;
static struct error err;

static void setup(void)
{
	ck_assert_int_eq(
		descriptor_pool_build(NULL, bytes_of(sample_set, sizeof(sample_set)), &pool, &err),
		0);
}

static void teardown(void)
{
	descriptor_pool_unref(pool);
	buf_release(&text);
}

static const struct descriptor_message *type_of(const char *name)
{
	const struct descriptor_message *type =
		descriptor_pool_find_message(pool, bytes_text(name));
	ck_assert_ptr_nonnull(type);
	return type;
}

static const char *print(const char *name)
{
	buf_reset(&text);
	ck_assert_int_eq(jsonschema_print(type_of(name), 1 << 20, &text, &err), 0);
	ck_assert(json_is_valid(buf_bytes(&text)));
	return buf_text(&text);
}

static void expect(const char *document, const char *part)
{
	ck_assert_msg(strstr(document, part) != NULL, "no %s in %s", part, document);
}

START_TEST(test_jsonschema_of_proto2_is_whole)
{
	ck_assert_str_eq(print("sample.Old"),
		"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
		"\"$ref\":\"#/$defs/sample.Old\",\"$defs\":{"
		"\"sample.Old\":{\"title\":\"Old\",\"type\":\"object\",\"properties\":{"
		"\"id\":{\"type\":\"integer\",\"minimum\":-2147483648,\"maximum\":2147483647},"
		"\"name\":{\"type\":\"string\"},"
		"\"closed\":{\"$ref\":\"#/$defs/sample.Closed\"},"
		"\"many\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/sample.Closed\"}},"
		"\"part\":{\"$ref\":\"#/$defs/sample.Old.Part\"},"
		"\"parts\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/sample.Old.Parts\"}},"
		"\"child\":{\"$ref\":\"#/$defs/sample.Old\"}},\"required\":[\"id\"]},"
		"\"sample.Closed\":{\"title\":\"Closed\",\"oneOf\":["
		"{\"enum\":[\"CLOSED_TWO\",\"CLOSED_ONE\"]},{\"enum\":[2,1]}]},"
		"\"sample.Old.Part\":{\"title\":\"Part\",\"type\":\"object\",\"properties\":{"
		"\"inner\":{\"type\":\"integer\",\"minimum\":-2147483648,\"maximum\":2147483647},"
		"\"old\":{\"$ref\":\"#/$defs/sample.Old\"}}},"
		"\"sample.Old.Parts\":{\"title\":\"Parts\",\"type\":\"object\",\"properties\":{"
		"\"inner\":{\"type\":\"integer\",\"minimum\":-2147483648,\"maximum\":2147483647}}}}"
		"}");
}
END_TEST

START_TEST(test_jsonschema_of_every_kind_of_field)
{
	const char *document = print("sample.All");
	expect(document, "\"int64\":{\"type\":\"string\",\"pattern\":\"^-?[0-9]{1,19}$\","
			 "\"format\":\"int64\"}");
	expect(document, "\"fixed32\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":4294967295}");
	expect(document, "\"double\":{\"oneOf\":[{\"type\":\"number\"},"
			 "{\"enum\":[\"NaN\",\"Infinity\",\"-Infinity\"]}]}");
	expect(document, "\"bytes\":{\"type\":\"string\",\"contentEncoding\":\"base64\"}");
	expect(document, "\"byBool\":{\"type\":\"object\",\"propertyNames\":"
			 "{\"pattern\":\"^(true|false)$\"},\"additionalProperties\":"
			 "{\"$ref\":\"#/$defs/sample.Color\"}}");
	expect(document, "\"bySigned\":{\"type\":\"object\",\"propertyNames\":"
			 "{\"pattern\":\"^-?[0-9]{1,19}$\"},\"additionalProperties\":{}}");
	expect(document, "\"other-name\":{\"type\":\"string\"}");
	expect(document, "\"time\":{\"type\":\"string\",\"format\":\"date-time\"}");
	expect(document, "\"int64Value\":{\"type\":\"string\"");
	expect(document, "\"value\":{}");
	expect(document, "\"nullValues\":{\"type\":\"array\",\"items\":{\"type\":\"null\"}}");
	expect(document, "\"allOf\":[{\"oneOf\":[{\"required\":[\"choiceNumber\"]},");
	expect(document, "{\"not\":{\"anyOf\":[{\"required\":[\"choiceNumber\"]},");
	expect(document,
		"\"sample.Color\":{\"title\":\"Color\",\"oneOf\":[{\"enum\":[\"COLOR_NONE\","
		"\"COLOR_RED\",\"COLOR_ROT\",\"COLOR_BLACK\"]},{\"type\":\"integer\"");
	/* A well-known type that is asked for itself. */
	expect(print("google.protobuf.Duration"),
		"\"google.protobuf.Duration\":{\"type\":\"string\",\"pattern\":");
}
END_TEST

START_TEST(test_jsonschema_definitions_are_written_once)
{
	const struct descriptor_message *types[] = {
		type_of("sample.Quake"), type_of("sample.Old"), type_of("sample.Old")};
	struct json_writer writer;
	json_writer_init(&writer, &text);
	json_begin_object(&writer);
	ck_assert_int_eq(jsonschema_write_definitions(
				 &writer, types, 3, "#/components/schemas/", 1 << 20, &err),
		0);
	json_end_object(&writer);
	ck_assert(json_is_valid(buf_bytes(&text)));
	const char *document = buf_text(&text);
	expect(document, "{\"$ref\":\"#/components/schemas/sample.Old.Part\"}");
	const char *first = strstr(document, "\"sample.Old\":{");
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_null(strstr(first + 1, "\"sample.Old\":{"));
}
END_TEST

START_TEST(test_jsonschema_output_is_limited)
{
	const size_t size = strlen(print("sample.All"));
	for (size_t limit = 0; limit <= size; limit += limit + 7 < size ? 7 : 1) {
		buf_reset(&text);
		ck_assert_int_eq(jsonschema_print(type_of("sample.All"), limit, &text, &err),
			limit < size ? ANNALS_E_TOO_LARGE : 0);
		ck_assert_uint_eq(text.size, limit < size ? 0 : size);
	}
}
END_TEST

SUITE_MAIN("jsonschema", setup, teardown, test_jsonschema_of_proto2_is_whole,
	test_jsonschema_of_every_kind_of_field, test_jsonschema_definitions_are_written_once,
	test_jsonschema_output_is_limited)
