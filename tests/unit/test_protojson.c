#include <annals/protojson.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "../schema/sample_set.h"
#include "hex.h"
#include "suite.h"

static struct descriptor_pool *pool;
static struct buf text, encoded;
static struct error err;

static void setup(void)
{
	ck_assert_msg(descriptor_pool_build(
			      NULL, bytes_of(sample_set, sizeof(sample_set)), &pool, &err) == 0,
		"%s", err.text);
}

static void teardown(void)
{
	descriptor_pool_unref(pool);
	buf_release(&text);
	buf_release(&encoded);
}

static const struct descriptor_message *type_of(const char *name)
{
	const struct descriptor_message *type =
		descriptor_pool_find_message(pool, bytes_text(name));
	ck_assert_ptr_nonnull(type);
	return type;
}

static int parse(const char *type, struct bytes json)
{
	const struct protojson_parse_options options = {.output_bytes_max = 1 << 20};
	buf_reset(&encoded);
	return protojson_parse(pool, type_of(type), json, &options, &encoded, &err);
}

static int print(const char *type, struct bytes message)
{
	const struct protojson_print_options options = {.output_bytes_max = 1 << 20};
	buf_reset(&text);
	return protojson_print(pool, type_of(type), message, &options, &text, &err);
}

/* Parses and prints again. */
static void expect_as(const char *type, const char *json, const char *again)
{
	ck_assert_msg(parse(type, bytes_text(json)) == 0, "%s: %s", json, err.text);
	ck_assert_msg(print(type, buf_bytes(&encoded)) == 0, "%s: %s", json, err.text);
	ck_assert_str_eq(buf_text(&text), again);
}

static void expect(const char *json)
{
	expect_as("sample.All", json, json);
}

static void refuse(const char *type, const char *json, const char *says)
{
	ck_assert_msg(parse(type, bytes_text(json)) == ANNALS_E_VALIDATION, "%s", json);
	ck_assert_msg(
		strstr(err.text, says) != NULL, "%s: '%s' does not say '%s'", json, err.text, says);
	ck_assert_uint_eq(encoded.size, 0);
}

static void expect_bytes(const char *type, const char *json, const char *hex)
{
	struct buf wanted = BUF_INIT;
	hex_parse(hex, &wanted);
	ck_assert_msg(parse(type, bytes_text(json)) == 0, "%s: %s", json, err.text);
	ck_assert_msg(bytes_equal(buf_bytes(&encoded), buf_bytes(&wanted)), "%s", json);
	buf_release(&wanted);
}

static void expect_print(const char *type, const char *hex, const char *json)
{
	struct buf message = BUF_INIT;
	hex_parse(hex, &message);
	ck_assert_msg(print(type, buf_bytes(&message)) == 0, "%s: %s", hex, err.text);
	ck_assert_str_eq(buf_text(&text), json);
	buf_release(&message);
}

static void refuse_print(const char *type, const char *hex, int code, const char *says)
{
	struct buf message = BUF_INIT;
	hex_parse(hex, &message);
	ck_assert_int_eq(print(type, buf_bytes(&message)), code);
	ck_assert_msg(
		strstr(err.text, says) != NULL, "%s: '%s' does not say '%s'", hex, err.text, says);
	ck_assert_uint_eq(text.size, 0);
	buf_release(&message);
}

START_TEST(test_protojson_maps_every_scalar)
{
	expect("{}");
	expect("{\"int32\":-2147483648,\"int64\":\"-9223372036854775808\",\"uint32\":4294967295,"
	       "\"uint64\":\"18446744073709551615\",\"sint32\":-2147483648,"
	       "\"sint64\":\"-9223372036854775808\",\"fixed32\":4294967295,"
	       "\"fixed64\":\"18446744073709551615\",\"sfixed32\":-1,\"sfixed64\":\"-1\","
	       "\"float\":0.1,\"double\":0.1,\"bool\":true,\"string\":\"h\xc3\xa9\\n\\\"\","
	       "\"bytes\":\"+/8=\",\"color\":\"COLOR_RED\"}");
	expect("{\"float\":\"NaN\",\"double\":\"-Infinity\"}");
	expect("{\"double\":-0.0,\"color\":7}");
	expect_as("sample.All",
		"{\"int32\":0,\"int64\":\"0\",\"bool\":false,\"string\":\"\","
		"\"bytes\":\"\",\"color\":0,\"double\":0}",
		"{}");
	expect_as("sample.All",
		"{\"int32\":\"1e3\",\"int64\":1.0,\"double\":\"1.5\",\"bytes\":\"-_8\","
		"\"color\":\"COLOR_ROT\"}",
		"{\"int32\":1000,\"int64\":\"1\",\"double\":1.5,\"bytes\":\"+/8=\","
		"\"color\":\"COLOR_RED\"}");
}
END_TEST

START_TEST(test_protojson_refuses_values_with_their_place)
{
	refuse("sample.All", "{\"int32\":1.5}", "not an integer at 'int32', byte 9");
	refuse("sample.All", "{\"int32\":\"x\"}", "not an integer");
	refuse("sample.All", "{\"int32\":true}", "a number was expected");
	refuse("sample.All", "{\"int32\":2147483648}", "integer out of range");
	refuse("sample.All", "{\"uint32\":-1}", "integer out of range");
	refuse("sample.All", "{\"uint64\":\"18446744073709551616\"}", "integer out of range");
	refuse("sample.All", "{\"float\":3.5e38}", "number out of range");
	refuse("sample.All", "{\"double\":1e309}", "number out of range");
	refuse("sample.All", "{\"double\":\"nan\"}", "not a number");
	refuse("sample.All", "{\"bool\":\"true\"}", "true or false was expected");
	refuse("sample.All", "{\"string\":1}", "a string was expected");
	refuse("sample.All", "{\"bytes\":\"A!==\"}", "invalid base64 at 'bytes', byte 11");
	refuse("sample.All", "{\"color\":\"COLOR_BLUE\"}", "not a value of the enum");
	refuse("sample.All", "{\"color\":1.5}", "not a value of the enum");
	refuse("sample.All", "{\"color\":2147483648}", "integer out of range");
	refuse("sample.All", "{\"child\":[]}", "an object was expected at 'child', byte 9");
	refuse("sample.All", "{\"numbers\":1}", "an array was expected");
	refuse("sample.All", "{\"numbers\":[1,2,null]}",
		"a number was expected at 'numbers[2]', byte 16");
	refuse("sample.All", "{\"children\":[{},{\"int32\":[]}]}",
		"a number was expected at 'children[1].int32', byte 25");
	refuse("sample.All", "{\"byText\":{\"a\":{}}}", "a number was expected at 'byText[\"a\"]'");
	refuse("sample.All", "{\"by_number\":{\"5\":{\"texts\":[\"\",2]}}}",
		"a string was expected at 'byNumber[\"5\"].texts[1]'");
	refuse("sample.All", "[]", "an object was expected at '(root)', byte 0");
	refuse("sample.All", "null", "an object was expected");
	ck_assert_int_eq(parse("sample.All", bytes_text("{\"int32\":1")), ANNALS_E_MALFORMED);
	ck_assert_int_eq(parse("sample.All", bytes_text("{\"int32\":01}")), ANNALS_E_MALFORMED);
	ck_assert_int_eq(parse("sample.All", bytes_text("{} x")), ANNALS_E_MALFORMED);
	ck_assert_int_eq(parse("sample.All", bytes_text("")), ANNALS_E_MALFORMED);
	ck_assert_int_eq(
		parse("sample.All", bytes_text("{\"string\":\"\\ud800\"}")), ANNALS_E_MALFORMED);
	ck_assert_int_eq(
		parse("sample.All", bytes_text("{\"string\":\"\xff\"}")), ANNALS_E_MALFORMED);
}
END_TEST

START_TEST(test_protojson_lists_and_maps)
{
	expect("{\"numbers\":[1,0,-1],\"texts\":[\"\",\"a\"],\"children\":[{},{\"int32\":1}],"
	       "\"unpacked\":[1,2],\"colors\":[\"COLOR_NONE\",5]}");
	expect("{\"byText\":{\"\":0,\"a\\n\":1},\"byNumber\":{\"-5\":{},\"6\":{\"int32\":1}},"
	       "\"byBool\":{\"true\":\"COLOR_RED\",\"false\":\"COLOR_NONE\"},"
	       "\"byFixed\":{\"4294967295\":\"x\"},\"bySigned\":{\"-3\":null,\"4\":[1]}}");
	expect_as("sample.All", "{\"numbers\":[],\"byText\":{},\"texts\":null}", "{}");
	expect_bytes("sample.All", "{\"numbers\":[1,300]}", "920103 01ac02");
	expect_bytes("sample.All", "{\"unpacked\":[1,300]}", "a80101 a801ac02");
	refuse("sample.All", "{\"byText\":{\"a\":1,\"\\u0061\":2}}", "a key that repeats");
	refuse("sample.All", "{\"byNumber\":{\"1\":{},\"1e0\":{}}}", "a key that repeats");
	refuse("sample.All", "{\"byBool\":{\"1\":0}}", "true or false was expected");
	refuse("sample.All", "{\"byFixed\":{\"-1\":\"\"}}", "integer out of range");
	/* The same key in two maps is fine. */
	expect("{\"byNumber\":{\"1\":{\"byNumber\":{\"1\":{}}},\"2\":{\"byNumber\":{\"1\":{}}}}}");
}
END_TEST

START_TEST(test_protojson_names_and_unknown_members)
{
	const struct protojson_parse_options ignoring = {
		.output_bytes_max = 1000, .ignore_unknown = true};
	const struct protojson_print_options original = {
		.output_bytes_max = 1000, .original_names = true, .enum_numbers = true};
	expect_as("sample.All", "{\"renamed_field\":\"a\"}", "{\"other-name\":\"a\"}");
	refuse("sample.All", "{\"renamed_field\":\"a\",\"other-name\":\"a\"}",
		"a member that repeats at 'other-name', byte 21");
	refuse("sample.All", "{\"int32\":1,\"int32\":1}", "a member that repeats");
	refuse("sample.All", "{\"child\":{\"nope\":1}}", "unknown member at 'child.nope', byte 10");
	buf_reset(&encoded);
	ck_assert_int_eq(protojson_parse(pool, type_of("sample.All"),
				 bytes_text("{\"nope\":{\"a\":[{}]},\"byNumber\":{\"1\":{\"x\":2}},"
					    "\"color\":\"COLOR_RED\",\"renamed_field\":\"b\"}"),
				 &ignoring, &encoded, &err),
		0);
	buf_reset(&text);
	ck_assert_int_eq(protojson_print(pool, type_of("sample.All"), buf_bytes(&encoded),
				 &original, &text, &err),
		0);
	ck_assert_str_eq(
		buf_text(&text), "{\"color\":1,\"by_number\":{\"1\":{}},\"renamed_field\":\"b\"}");
}
END_TEST

START_TEST(test_protojson_presence_oneofs_and_null)
{
	expect("{\"choiceNumber\":0,\"maybe\":0}");
	expect("{\"choiceNull\":null}");
	expect("{\"choiceChild\":{}}");
	expect_as("sample.All", "{\"choiceNumber\":null,\"choiceText\":\"a\",\"maybe\":null}",
		"{\"choiceText\":\"a\"}");
	refuse("sample.All", "{\"choiceNumber\":0,\"choiceText\":\"\"}",
		"a second member of a oneof at 'choiceText', byte 18");
	refuse("sample.All", "{\"choiceNull\":null,\"choiceText\":\"\"}", "a second member");
	expect_as("sample.All", "{\"child\":null,\"duration\":null,\"nullValue\":null}", "{}");
	expect("{\"nullValues\":[null,null],\"value\":null,\"values\":[null,1]}");
	refuse("sample.All", "{\"children\":[null]}", "an object was expected at 'children[0]'");
}
END_TEST

START_TEST(test_protojson_well_known_types)
{
	expect("{\"duration\":\"-1.500s\",\"empty\":{},\"mask\":\"aB,c.dE\","
	       "\"struct\":{\"a\":{\"b\":[1,\"x\",true,null,{}]}},\"value\":{\"k\":-2.5},"
	       "\"list\":[[],{}],\"time\":\"2018-01-31T01:49:59.650Z\"}");
	expect("{\"boolValue\":false,\"bytesValue\":\"\",\"doubleValue\":0,\"floatValue\":\"NaN\","
	       "\"int32Value\":0,\"int64Value\":\"0\",\"stringValue\":\"\",\"uint32Value\":1,"
	       "\"uint64Value\":\"1\"}");
	refuse("sample.All", "{\"time\":\"2018-01-31\"}", "not a Timestamp at 'time', byte 8");
	refuse("sample.All", "{\"duration\":\"1\"}", "not a Duration");
	refuse("sample.All", "{\"mask\":\"a_b\"}", "FieldMask path with an underscore");
	refuse("sample.All", "{\"value\":1e999}", "number out of range");
	refuse("sample.All", "{\"struct\":[]}", "an object was expected");
	refuse("sample.All", "{\"struct\":{\"a\":1,\"a\":2}}", "a key that repeats");
	refuse("sample.All", "{\"list\":{}}", "an array was expected");
	refuse("sample.All", "{\"time\":5}", "a string was expected");
	expect_as("google.protobuf.Value", " null ", "null");
	expect_as("google.protobuf.Int64Value", "5", "\"5\"");
	expect_as("google.protobuf.Timestamp", "\"1970-01-01T01:00:00+01:00\"",
		"\"1970-01-01T00:00:00Z\"");
	refuse_print("sample.All", "fa0208 0880e8f1b7f5f501", ANNALS_E_VALIDATION,
		"Timestamp out of range at 'time'");
	refuse_print("sample.All", "ca020d 0801 10ffffffffffffffffff01", ANNALS_E_VALIDATION,
		"Duration out of range at 'duration'");
}
END_TEST

START_TEST(test_protojson_any)
{
	expect("{\"any\":{\"@type\":\"type.googleapis.com/sample.All\",\"int32\":1}}");
	expect("{\"any\":{\"@type\":\"a/b/google.protobuf.Duration\",\"value\":\"1s\"}}");
	expect("{\"any\":{\"@type\":\"/google.protobuf.Any\",\"value\":{\"@type\":\"/"
	       "sample.All\"}}}");
	expect("{\"any\":{\"@type\":\"/google.protobuf.Value\",\"value\":{\"a\":[null]}}}");
	expect("{\"any\":{\"@type\":\"/google.protobuf.Empty\"}}");
	expect("{\"any\":{}}");
	expect_as("sample.All", "{\"any\":{\"int32\":1,\"@type\":\"/sample.All\"},\"maybe\":2}",
		"{\"maybe\":2,\"any\":{\"@type\":\"/sample.All\",\"int32\":1}}");
	expect_bytes("sample.All", "{\"any\":{\"@type\":\"/sample.All\"}}",
		"c2020d 0a0b 2f73616d706c652e416c6c");
	refuse("sample.All", "{\"any\":{\"int32\":1}}", "Any without '@type' at 'any', byte 8");
	refuse("sample.All", "{\"any\":{\"@type\":\"/sample.None\"}}",
		"Any of a type that is not known at 'any', byte 16");
	refuse("sample.All", "{\"any\":{\"@type\":\"sample.All\"}}", "not known");
	refuse("sample.All", "{\"any\":{\"@type\":1}}", "a string was expected");
	refuse("sample.All", "{\"any\":{\"@type\":\"/google.protobuf.Duration\"}}",
		"without 'value'");
	refuse("sample.All", "{\"any\":{\"@type\":\"/sample.All\",\"@type\":\"/sample.All\"}}",
		"a member that repeats");
	refuse("sample.All",
		"{\"any\":{\"@type\":\"/google.protobuf.Duration\",\"value\":\"1s\",\"x\":1}}",
		"unknown member");
	refuse_print("sample.All", "c20204 0a022f78", ANNALS_E_VALIDATION,
		"Any of a type that is not known at 'any'");
}
END_TEST

START_TEST(test_protojson_prints_what_parsers_would_read)
{
	/* The last of a singular field, in any order; zero without presence is nothing. */
	expect_print("sample.All", "1005 0801 0802", "{\"int32\":2,\"int64\":\"5\"}");
	expect_print("sample.All", "0801 0800", "{}");
	/* Messages that come in pieces are merged. */
	expect_print("sample.All", "8a01020801 10 05 8a01021006",
		"{\"int64\":\"5\",\"child\":{\"int32\":1,\"int64\":\"6\"}}");
	/* Lists too, packed or not. */
	expect_print("sample.All", "900101 92010202 03 0805 900104",
		"{\"int32\":5,\"numbers\":[1,2,3,4]}");
	/* Of a oneof the last; its message is merged only as long as none comes between. */
	expect_print("sample.All", "e00101 f2010161", "{\"choiceText\":\"a\"}");
	expect_print("sample.All", "ea01020801 e00101 ea01021002",
		"{\"choiceChild\":{\"int64\":\"2\"}}");
	expect_print("sample.All", "ea01020801 ea01021002",
		"{\"choiceChild\":{\"int32\":1,\"int64\":\"2\"}}");
	/* Of a key the last; key and value may be missing. */
	expect_print("sample.All", "ba01050a01611001 ba0100 ba01050a01611002",
		"{\"byText\":{\"\":0,\"a\":2}}");
	/* Unknown fields, groups, other wire types. */
	expect_print("sample.All", "a03e01 0d01000000 c33e0801c43e 0801", "{\"int32\":1}");
	/* 64 bits where 32 are meant. */
	expect_print("sample.All", "0881808080 10", "{\"int32\":1}");
	refuse_print("sample.All", "08", ANNALS_E_MALFORMED, "malformed message");
	refuse_print("sample.All", "8a0105", ANNALS_E_MALFORMED, "malformed message");
	refuse_print("sample.All", "8a01021208", ANNALS_E_MALFORMED, "malformed");
	refuse_print("sample.All", "c33e0801", ANNALS_E_MALFORMED, "malformed");
	refuse_print("sample.All", "c33e0801cc3e", ANNALS_E_MALFORMED, "malformed");
	refuse_print("sample.All", "92010180", ANNALS_E_MALFORMED, "");
	refuse_print(
		"sample.All", "7201ff", ANNALS_E_VALIDATION, "text that is not UTF-8 at 'string'");
	refuse_print("sample.All", "ea02 09 11 000000000000f07f", ANNALS_E_VALIDATION,
		"Value that is not finite at 'value'");
}
END_TEST

START_TEST(test_protojson_unknown_fields_can_be_refused)
{
	const struct protojson_print_options refusing = {
		.output_bytes_max = 1000, .refuse_unknown = true};
	buf_reset(&text);
	ASSERT_FAILS(protojson_print(pool, type_of("sample.All"),
			     bytes_of("\x8a\x01\x03\xa0\x3e\x01", 6), &refusing, &text, &err),
		ANNALS_E_VALIDATION, err, "unknown field at 'child', byte 3");
}
END_TEST

START_TEST(test_protojson_prints_defaults_on_demand)
{
	const struct protojson_print_options defaults = {
		.output_bytes_max = 1000, .print_defaults = true};
	buf_reset(&text);
	ck_assert_int_eq(protojson_print(pool, type_of("sample.Quake"), bytes_of("\x60\x01", 2),
				 &defaults, &text, &err),
		0);
	ck_assert_str_eq(buf_text(&text),
		"{\"id\":\"\",\"latitude\":0,\"longitude\":0,\"depthKm\":0,\"magnitude\":0,"
		"\"magnitudeType\":\"\",\"place\":\"\",\"network\":\"\",\"updatedMs\":\"0\","
		"\"stations\":0,\"reviewed\":true,\"sources\":[],\"tags\":{},\"intensities\":[]}");
}
END_TEST

START_TEST(test_protojson_proto2)
{
	const struct protojson_parse_options partial = {.output_bytes_max = 100, .partial = true};
	expect_as("sample.Old",
		"{\"id\":0,\"name\":\"\",\"closed\":\"CLOSED_ONE\",\"many\":[1,\"2\"],"
		"\"part\":{\"inner\":3,\"old\":{\"id\":1}},\"parts\":[{},{\"inner\":0}]}",
		"{\"id\":0,\"name\":\"\",\"closed\":\"CLOSED_ONE\","
		"\"many\":[\"CLOSED_ONE\",\"CLOSED_TWO\"],\"part\":{\"inner\":3,\"old\":{\"id\":1}}"
		","
		"\"parts\":[{},{\"inner\":0}]}");
	expect_bytes("sample.Old", "{\"id\":1,\"part\":{\"inner\":3}}", "0801 2b08032c");
	refuse("sample.Old", "{}", "a required field is missing at 'id', byte 1");
	refuse("sample.Old", "{\"id\":1,\"child\":{}}",
		"a required field is missing at 'child.id'");
	refuse("sample.Old", "{\"id\":null}", "a required field that is null");
	refuse("sample.Old", "{\"id\":1,\"closed\":3}", "not a value of the enum");
	buf_reset(&encoded);
	ck_assert_int_eq(protojson_parse(pool, type_of("sample.Old"), bytes_text("{\"id\":null}"),
				 &partial, &encoded, &err),
		0);
	/* Numbers a closed enum does not know are unknown fields. */
	expect_print("sample.Old", "1801 1807 2203 010702",
		"{\"closed\":\"CLOSED_ONE\","
		"\"many\":[\"CLOSED_ONE\",\"CLOSED_TWO\"]}");
	expect_print("sample.Old", "1807 2201 07", "{}");
}
END_TEST

START_TEST(test_protojson_depth_is_limited)
{
	struct buf json = BUF_INIT;
	for (int levels = 100; levels <= 101; levels++) {
		buf_reset(&json);
		for (int i = 1; i < levels; i++) {
			ck_assert_int_eq(buf_add_text(&json, "{\"child\":"), 0);
		}
		ck_assert_int_eq(buf_add_text(&json, "{"), 0);
		for (int i = 0; i < levels; i++) {
			ck_assert_int_eq(buf_add_text(&json, "}"), 0);
		}
		ck_assert_int_eq(parse("sample.All", buf_bytes(&json)),
			levels > 100 ? ANNALS_E_TOO_LARGE : 0);
		if (levels == 100) {
			ck_assert_int_eq(print("sample.All", buf_bytes(&encoded)), 0);
			ck_assert(bytes_equal(buf_bytes(&text), buf_bytes(&json)));
		}
	}
	ck_assert_msg(strstr(err.text, "more than 100 levels of messages at '...") != NULL, "%s",
		err.text);
	/* One level more on the wire. */
	struct buf message = BUF_INIT;
	for (int i = 0; i < 100; i++) {
		uint8_t head[8] = {0x8a, 0x01};
		size_t size = 2;
		size_t length = message.size;
		for (; length >= 0x80; length >>= 7) {
			head[size++] = (uint8_t)(length | 0x80);
		}
		head[size++] = (uint8_t)length;
		struct buf outer = BUF_INIT;
		ck_assert_int_eq(buf_add(&outer, head, size), 0);
		ck_assert_int_eq(buf_add(&outer, message.data, message.size), 0);
		buf_release(&message);
		message = outer;
	}
	ck_assert_int_eq(print("sample.All", buf_bytes(&message)), ANNALS_E_TOO_LARGE);
	/* A hundred thousand brackets. */
	buf_reset(&json);
	ck_assert_int_eq(buf_add_text(&json, "{\"value\":"), 0);
	for (int i = 0; i < 100000; i++) {
		ck_assert_int_eq(buf_add_byte(&json, '['), 0);
	}
	ck_assert_int_eq(parse("sample.All", buf_bytes(&json)), ANNALS_E_TOO_LARGE);
	buf_release(&json);
	buf_release(&message);
}
END_TEST

START_TEST(test_protojson_output_is_limited)
{
	const char *json = "{\"string\":\"0123456789\",\"child\":{\"int32\":1}}";
	ck_assert_int_eq(parse("sample.All", bytes_text(json)), 0);
	const size_t size = encoded.size;
	struct buf message = encoded;
	encoded = BUF_INIT;
	for (size_t limit = 0; limit <= size; limit++) {
		const struct protojson_parse_options options = {.output_bytes_max = limit};
		buf_reset(&encoded);
		ck_assert_int_eq(buf_add_text(&encoded, "kept"), 0);
		ck_assert_int_eq(protojson_parse(pool, type_of("sample.All"), bytes_text(json),
					 &options, &encoded, &err),
			limit < size ? ANNALS_E_TOO_LARGE : 0);
		ck_assert_uint_eq(encoded.size, 4 + (limit < size ? 0 : size));
	}
	for (size_t limit = 0; limit <= strlen(json); limit++) {
		const struct protojson_print_options options = {.output_bytes_max = limit};
		buf_reset(&text);
		ck_assert_int_eq(protojson_print(pool, type_of("sample.All"), buf_bytes(&message),
					 &options, &text, &err),
			limit < strlen(json) ? ANNALS_E_TOO_LARGE : 0);
		ck_assert_uint_eq(text.size, limit < strlen(json) ? 0 : strlen(json));
	}
	buf_release(&message);
}
END_TEST

/* Lengths that need more bytes than the one that was kept for them. */
START_TEST(test_protojson_long_messages)
{
	struct buf json = BUF_INIT;
	ck_assert_int_eq(buf_add_text(&json, "{\"child\":{\"child\":{\"texts\":["), 0);
	for (int i = 0; i < 3000; i++) {
		ck_assert_int_eq(buf_printf(&json, "%s\"%0*d\"", i > 0 ? "," : "", i % 150, i), 0);
	}
	ck_assert_int_eq(buf_add_text(&json, "],\"byText\":{"), 0);
	for (int i = 0; i < 3000; i++) {
		ck_assert_int_eq(buf_printf(&json, "%s\"k%d\":%d", i > 0 ? "," : "", i, i), 0);
	}
	ck_assert_int_eq(buf_add_text(&json, "}}}}"), 0);
	expect(buf_text(&json));
	buf_release(&json);
}
END_TEST

SUITE_MAIN("protojson", setup, teardown, test_protojson_maps_every_scalar,
	test_protojson_refuses_values_with_their_place, test_protojson_lists_and_maps,
	test_protojson_names_and_unknown_members, test_protojson_presence_oneofs_and_null,
	test_protojson_well_known_types, test_protojson_any,
	test_protojson_prints_what_parsers_would_read, test_protojson_unknown_fields_can_be_refused,
	test_protojson_prints_defaults_on_demand, test_protojson_proto2,
	test_protojson_depth_is_limited, test_protojson_output_is_limited,
	test_protojson_long_messages)
