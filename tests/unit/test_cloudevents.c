#include <annals/cloudevents.h>
#include <annals/parse.h>
#include <check.h>
#include <stdlib.h>

static struct cloudevent event;
static struct buf encoded;
static struct buf line;
static const uint8_t topic_uuid[16] = {0x01, 0x8f, 0xaa};
static const struct cloudevent_place place = {
	"orders", topic_uuid, 3, 42, 1042, 1517363399650000u, VERSION_NONE};

static void setup(void)
{
	cloudevent_init(&event);
	buf_init(&encoded);
	buf_init(&line);
}

static void teardown(void)
{
	cloudevent_release(&event);
	buf_release(&encoded);
	buf_release(&line);
}

static void read_ok(const char *text)
{
	struct error err = {0};
	const int status = cloudevent_from_json(&event, bytes_text(text), &err);
	ck_assert_msg(status == 0, "%s: %s", text, err.text);
}

static void read_fails(const char *text, int status, const char *names)
{
	struct error err = {0};
	ck_assert_int_eq(cloudevent_from_json(&event, bytes_text(text), &err), status);
	ck_assert_msg(strstr(err.text, names) != NULL, "'%s' does not name '%s'", err.text, names);
}

/* Encodes what was read, decodes it as storage would hand it out, and writes it. */
static const char *written(void)
{
	struct record record;
	struct error err = {0};
	buf_reset(&encoded);
	buf_reset(&line);
	ck_assert_int_eq(record_encode(&event.record, &encoded), 0);
	ck_assert_msg(record_decode(buf_bytes(&encoded), &record, &err) == 0, "%s", err.text);
	ck_assert_int_eq(cloudevent_to_json(&line, &record, &place), 0);
	ck_assert(json_is_valid(buf_bytes(&line)));
	return buf_text(&line);
}

#define REQUIRED "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""
#define PLACED                                                                                     \
	"\"annalspartition\":3,\"annalsoffset\":42,\"annalsposition\":1042,\"recordedtime\":"      \
	"\"2018-01-31T01:49:59.650Z\""

START_TEST(test_cloudevents_round_trip_keeps_everything)
{
	read_ok("{ \"data\": {\"a\": [1,2.50, "
		"\"\\u00e9\"]},\"specversion\":\"1.0\",\"id\":\"a-\\\"1\\\"\",\"source\":\"https://"
		"x/y\","
		"\"type\":\"com.example.t\",\"subject\":\"s\\u00fc\",\"time\":\"2018-01-31T02:49:"
		"59.650+01:00\","
		"\"datacontenttype\":\"application/json; "
		"charset=utf-8\",\"dataschema\":\"urn:x\",\"partitionkey\":\"k1\","
		"\"schemaversion\":3,\"textext\":\"v\",\"boolext\":true,\"intext\":-7,\"nullext\":"
		"null}");
	ck_assert(bytes_is(event.record.id, "a-\"1\""));
	ck_assert(event.record.has_time && event.record.time_ns == 1517363399650000000);
	ck_assert(event.record.has_key && bytes_is(event.record.key, "k1"));
	ck_assert_uint_eq(event.record.schema_version, 3);
	ck_assert_uint_eq(event.record.extension_count, 3);
	ck_assert(bytes_is(event.record.data, "{\"a\": [1,2.50, \"\\u00e9\"]}"));
	ck_assert_str_eq(written(),
		"{\"specversion\":\"1.0\",\"id\":\"a-\\\"1\\\"\",\"source\":\"https://x/"
		"y\",\"type\":\"com.example.t\","
		"\"subject\":\"s\xc3\xbc\",\"time\":\"2018-01-31T01:49:59.650Z\","
		"\"datacontenttype\":\"application/json; "
		"charset=utf-8\",\"dataschema\":\"urn:x\",\"partitionkey\":\"k1\","
		"\"schemaversion\":3,\"textext\":\"v\",\"boolext\":true,\"intext\":-7," PLACED ","
		"\"data\":{\"a\": [1,2.50, \"\\u00e9\"]}}");
}
END_TEST

START_TEST(test_cloudevents_missing_attribute_is_named)
{
	read_fails("{\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}", ANNALS_E_MALFORMED,
		"'specversion'");
	read_fails("{\"specversion\":\"1.0\",\"source\":\"/s\",\"type\":\"t\"}", ANNALS_E_MALFORMED,
		"'id'");
	read_fails("{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"t\"}", ANNALS_E_MALFORMED,
		"'source'");
	read_fails("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\"}", ANNALS_E_MALFORMED,
		"'type'");
	read_fails("{\"specversion\":\"1.0\",\"id\":null,\"source\":\"/s\",\"type\":\"t\"}",
		ANNALS_E_MALFORMED, "'id'");
}
END_TEST

START_TEST(test_cloudevents_wrong_attributes_are_named)
{
	static const struct {
		const char *text;
		int status;
		const char *names;
	} cases[] = {
		{"{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}",
			ANNALS_E_MALFORMED, "'specversion'"},
		{"{" REQUIRED ",\"time\":\"yesterday\"}", ANNALS_E_MALFORMED, "'time'"},
		{"{" REQUIRED ",\"time\":1}", ANNALS_E_MALFORMED, "'time'"},
		{"{" REQUIRED ",\"subject\":\"\"}", ANNALS_E_MALFORMED, "'subject'"},
		{"{" REQUIRED ",\"id\":\"2\"}", ANNALS_E_MALFORMED, "'id' appears twice"},
		{"{" REQUIRED ",\"x\":1,\"x\":2}", ANNALS_E_MALFORMED, "'x' appears twice"},
		{"{" REQUIRED ",\"x\":\"1\",\"\\u0078\":2}", ANNALS_E_MALFORMED,
			"'x' appears twice"},
		{"{" REQUIRED ",\"data\":1,\"data\":2}", ANNALS_E_MALFORMED,
			"'data' appears twice"},
		{"{" REQUIRED ",\"Big\":1}", ANNALS_E_MALFORMED, "'Big'"},
		{"{" REQUIRED ",\"\":1}", ANNALS_E_MALFORMED, "empty name"},
		{"{" REQUIRED ",\"abcdefghijklmnopqrstu\":1}", ANNALS_E_TOO_LARGE, "20"},
		{"{" REQUIRED ",\"x\":1.5}", ANNALS_E_MALFORMED, "'x'"},
		{"{" REQUIRED ",\"x\":2147483648}", ANNALS_E_MALFORMED, "'x'"},
		{"{" REQUIRED ",\"x\":{}}", ANNALS_E_MALFORMED, "'x'"},
		{"{" REQUIRED ",\"schemaversion\":-1}", ANNALS_E_MALFORMED, "'schemaversion'"},
		{"{" REQUIRED ",\"data\":1,\"data_base64\":\"YQ==\"}", ANNALS_E_MALFORMED,
			"data_base64"},
		{"{" REQUIRED ",\"data_base64\":\"Y\"}", ANNALS_E_MALFORMED, "'data_base64'"},
		{"{" REQUIRED ",\"data_base64\":1}", ANNALS_E_MALFORMED, "'data_base64'"},
		{"{" REQUIRED ",\"datacontenttype\":\"text/plain\",\"data\":1}", ANNALS_E_MALFORMED,
			"text/plain"},
		{"{" REQUIRED ",\"annalskey64\":\"+\"}", ANNALS_E_MALFORMED, "'annalskey64'"},
		{"{" REQUIRED ",\"annalskey64\":\"YQ\",\"partitionkey\":\"a\"}", ANNALS_E_MALFORMED,
			"both"},
		{"{" REQUIRED, ANNALS_E_MALFORMED, "byte"},
		{"{" REQUIRED "} x", ANNALS_E_MALFORMED, "follows"},
		{"[1]", ANNALS_E_MALFORMED, "object"},
		{"\xff", ANNALS_E_MALFORMED, "byte 0"},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		read_fails(cases[i].text, cases[i].status, cases[i].names);
	}
}
END_TEST

START_TEST(test_cloudevents_limits_are_named)
{
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	static const struct {
		const char *name;
		int size;
		const char *limit;
	} cases[] = {{"subject", 4097, "4096"}, {"partitionkey", 1025, "1024"}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		buf_reset(&text);
		ck_assert_int_eq(buf_printf(&text, "{" REQUIRED ",\"%s\":\"%0*d\"}", cases[i].name,
					 cases[i].size, 0),
			0);
		read_fails(buf_text(&text), ANNALS_E_TOO_LARGE, cases[i].limit);
	}
	buf_reset(&text);
	ck_assert_int_eq(buf_printf(&text, "{" REQUIRED), 0);
	for (int i = 0; i < RECORD_EXTENSIONS_MAX + 1; i++) {
		ck_assert_int_eq(buf_printf(&text, ",\"x%d\":1", i), 0);
	}
	ck_assert_int_eq(buf_printf(&text, "}"), 0);
	read_fails(buf_text(&text), ANNALS_E_TOO_LARGE, "64");
}
END_TEST

START_TEST(test_cloudevents_what_the_server_adds_is_dropped)
{
	read_ok("{" REQUIRED "," PLACED ",\"annalsversion\":9}");
	ck_assert_uint_eq(event.record.extension_count, 0);
	ck_assert_str_eq(
		written(), "{" REQUIRED ",\"time\":\"2018-01-31T01:49:59.650Z\"," PLACED "}");
}
END_TEST

START_TEST(test_cloudevents_data_by_content_type)
{
	static const struct {
		const char *given, *data, *out;
	} cases[] = {
		{"\"data\":null", "null", "\"data\":null}"},
		{"\"data\": \"x\\n\" ", "\"x\\n\"", "\"data\":\"x\\n\"}"},
		{"\"datacontenttype\":\"text/plain\",\"data\":\"x\\ny\"", "x\ny",
			"\"data\":\"x\\ny\"}"},
		{"\"datacontenttype\":\"Text/XML;q\",\"data\":\"<a/>\"", "<a/>",
			"\"data\":\"<a/>\"}"},
		{"\"datacontenttype\":\"image/png\",\"data\":\"x\"", "x",
			"\"data_base64\":\"eA==\"}"},
		{"\"datacontenttype\":\"text/plain\",\"data_base64\":\"/w==\"", "\xff",
			"\"data_base64\":\"/w==\"}"},
		{"\"data_base64\":\"bm8ganNvbg==\"", "no json",
			"\"data_base64\":\"bm8ganNvbg==\"}"},
		{"\"data_base64\":\"WzFd\"", "[1]", "\"data\":[1]}"},
		{"\"datacontenttype\":\"application/vnd.x+json\",\"data\":[1,\n2]", "[1,\n2]",
			"\"data\":[1, 2]}"},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
		ck_assert_int_eq(buf_printf(&text, "{" REQUIRED ",%s}", cases[i].given), 0);
		read_ok(buf_text(&text));
		ck_assert(bytes_is(event.record.data, cases[i].data));
		const char *out = written();
		ck_assert_msg(strstr(out, cases[i].out) != NULL, "%s lacks %s", out, cases[i].out);
	}
}
END_TEST

START_TEST(test_cloudevents_keys_that_are_no_text)
{
	read_ok("{" REQUIRED ",\"annalskey64\":\"_wA\"}");
	ck_assert(event.record.has_key && bytes_equal(event.record.key, bytes_of("\xff\0", 2)));
	ck_assert_ptr_nonnull(strstr(written(), "\"annalskey64\":\"_wA\""));
	read_ok("{" REQUIRED ",\"partitionkey\":\"\"}");
	ck_assert(event.record.has_key);
	ck_assert_uint_eq(event.record.key.size, 0);
}
END_TEST

START_TEST(test_cloudevents_schemaversion_as_text)
{
	read_ok("{" REQUIRED ",\"schemaversion\":\"12\"}");
	ck_assert_uint_eq(event.record.schema_version, 12);
	read_ok("{" REQUIRED ",\"schemaversion\":\"v2.1\"}");
	ck_assert_uint_eq(event.record.schema_version, 0);
	ck_assert_ptr_nonnull(strstr(written(), "\"schemaversion\":\"v2.1\""));
}
END_TEST

START_TEST(test_cloudevents_derives_what_is_missing)
{
	struct record record = {0};
	ck_assert_int_eq(record_decode(bytes_of("", 0), &record, NULL), 0);
	ck_assert_int_eq(cloudevent_to_json(&line, &record, &place), 0);
	ck_assert_str_eq(buf_text(&line),
		"{\"specversion\":\"1.0\",\"id\":\"018faa00-0000-0000-0000-000000000000-3-42\","
		"\"source\":\"urn:annals:topic:orders\",\"type\":\"annals.event\",\"time\":\"2018-"
		"01-31T01:49:59.650Z\"," PLACED "}");
}
END_TEST

START_TEST(test_cloudevents_writes_every_extension_type)
{
	static const struct attribute extensions[] = {
		{.name = {(const uint8_t *)"bin", 3},
			.kind = ATTRIBUTE_BINARY,
			.value = {(const uint8_t *)"\xff", 1}},
		{.name = {(const uint8_t *)"uri", 3},
			.kind = ATTRIBUTE_URI,
			.value = {(const uint8_t *)"urn:x", 5}},
		{.name = {(const uint8_t *)"ts", 2},
			.kind = ATTRIBUTE_TIMESTAMP,
			.timestamp_ns = 0},
		{.name = {(const uint8_t *)"recordedtime", 12},
			.kind = ATTRIBUTE_TEXT,
			.value = {(const uint8_t *)"x", 1}},
	};
	ck_assert_int_eq(cloudevent_begin(&event, 0), 0);
	event.record.extensions = extensions;
	event.record.extension_count = ANNALS_COUNT_OF(extensions);
	const char *out = written();
	ck_assert_ptr_nonnull(strstr(out,
		"\"bin\":\"/"
		"w==\",\"uri\":\"urn:x\",\"ts\":\"1970-01-01T00:00:00Z\",\"annalspartition\""));
}
END_TEST

static int header(const char *name, const char *value)
{
	return cloudevent_add_header(&event, bytes_text(name), bytes_text(value), NULL);
}

START_TEST(test_cloudevents_binary_mode)
{
	ck_assert_int_eq(cloudevent_begin(&event, 1000), 0);
	ck_assert_int_eq(header("specversion", "1.0"), 0);
	ck_assert_int_eq(header("ID", "\"quoted \\\" %25\""), 0);
	ck_assert_int_eq(header("source", "/a%20b%c3%A9"), 0);
	ck_assert_int_eq(header("Type", "t"), 0);
	ck_assert_int_eq(header("time", "2018-01-31T01:49:59Z"), 0);
	ck_assert_int_eq(header("PartitionKey", "k"), 0);
	ck_assert_int_eq(header("other", "%2525"), 0);
	struct error err = {0};
	ck_assert_int_eq(
		cloudevent_finish(&event, bytes_text("text/plain"), bytes_text("body"), true, &err),
		0);
	ck_assert(bytes_is(event.record.id, "quoted \" %"));
	ck_assert(bytes_is(event.record.source, "/a b\xc3\xa9"));
	ck_assert(bytes_is(event.record.key, "k"));
	ck_assert(bytes_is(event.extensions[0].name, "other"));
	ck_assert(bytes_is(event.extensions[0].value, "%25"));
	ck_assert(bytes_is(event.record.data, "body"));
	ck_assert(bytes_is(event.record.datacontenttype, "text/plain"));
}
END_TEST

START_TEST(test_cloudevents_binary_mode_refuses)
{
	static const struct {
		const char *name, *value;
	} cases[] = {{"datacontenttype", "text/plain"}, {"id", "%C0%A0"}, {"id", "%4"},
		{"id", "%zz"}, {"id", "\xff"}, {"id", ""}, {"id", "\"a\\\""}, {"data", "x"},
		{"x_y", "1"}, {"time", "now"}, {"specversion", "2.0"}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		ck_assert_int_eq(cloudevent_begin(&event, 1000), 0);
		ck_assert_msg(header(cases[i].name, cases[i].value) == ANNALS_E_MALFORMED, "%s: %s",
			cases[i].name, cases[i].value);
	}
	struct error err = {0};
	ck_assert_int_eq(cloudevent_begin(&event, 1000), 0);
	ck_assert_int_eq(header("specversion", "1.0"), 0);
	ck_assert_int_eq(header("id", "1"), 0);
	ck_assert_int_eq(header("id", "1"), ANNALS_E_MALFORMED);
	ck_assert_int_eq(
		cloudevent_finish(&event, bytes_of(NULL, 0), bytes_of(NULL, 0), true, &err),
		ANNALS_E_MALFORMED);
	ck_assert_ptr_nonnull(strstr(err.text, "'source'"));
	ck_assert_int_eq(
		cloudevent_finish(&event, bytes_of(NULL, 0), bytes_of(NULL, 0), false, &err),
		ANNALS_E_MALFORMED);
	ck_assert_ptr_nonnull(strstr(err.text, "'type'"));
}
END_TEST

/* What is unescaped first must still be there when later members were unescaped: more than one
 * growth step of text. */
START_TEST(test_cloudevents_long_escaped_texts_do_not_move)
{
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	ck_assert_int_eq(buf_add_text(&text, "[{" REQUIRED ",\"subject\":\"\\u0041bc\""), 0);
	for (int i = 0; i < 60; i++) {
		ck_assert_int_eq(buf_printf(&text, ",\"x%d\":\"\\n%0200d\"", i, i), 0);
	}
	ck_assert_int_eq(buf_add_text(&text, "},{" REQUIRED "}]"), 0);
	struct json_scanner scanner;
	json_scanner_init(&scanner, buf_bytes(&text));
	ck_assert_int_eq(json_enter_array(&scanner), 0);
	ck_assert_int_eq(json_next_element(&scanner), 1);
	ck_assert_int_eq(cloudevent_scan(&event, &scanner, NULL), 0);
	ck_assert(bytes_is(event.record.subject, "Abc"));
	ck_assert_uint_eq(event.record.extension_count, 60);
	ck_assert_uint_eq(event.extensions[0].value.size, 201);
	ck_assert_int_eq(json_next_element(&scanner), 1);
	ck_assert_int_eq(cloudevent_scan(&event, &scanner, NULL), 0);
	ck_assert_uint_eq(event.record.extension_count, 0);
	ck_assert_int_eq(json_next_element(&scanner), 0);
}
END_TEST

START_TEST(test_cloudevents_media_types)
{
	ck_assert(
		media_type_is(bytes_text(" Application/JSON ; charset=utf-8"), "application/json"));
	ck_assert(!media_type_is(bytes_text("application/jsonx"), "application/json"));
	ck_assert(media_type_starts(
		bytes_text("application/cloudevents+json"), "application/cloudevents"));
	ck_assert(media_type_is_json(bytes_of(NULL, 0)));
	ck_assert(media_type_is_json(bytes_text("application/ld+json;x")));
	ck_assert(!media_type_is_json(bytes_text("text/plain; a=+json")));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cloudevents");
	TCase *tcase = tcase_create("cloudevents");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_cloudevents_round_trip_keeps_everything);
	tcase_add_test(tcase, test_cloudevents_missing_attribute_is_named);
	tcase_add_test(tcase, test_cloudevents_wrong_attributes_are_named);
	tcase_add_test(tcase, test_cloudevents_limits_are_named);
	tcase_add_test(tcase, test_cloudevents_what_the_server_adds_is_dropped);
	tcase_add_test(tcase, test_cloudevents_data_by_content_type);
	tcase_add_test(tcase, test_cloudevents_keys_that_are_no_text);
	tcase_add_test(tcase, test_cloudevents_schemaversion_as_text);
	tcase_add_test(tcase, test_cloudevents_derives_what_is_missing);
	tcase_add_test(tcase, test_cloudevents_writes_every_extension_type);
	tcase_add_test(tcase, test_cloudevents_binary_mode);
	tcase_add_test(tcase, test_cloudevents_binary_mode_refuses);
	tcase_add_test(tcase, test_cloudevents_long_escaped_texts_do_not_move);
	tcase_add_test(tcase, test_cloudevents_media_types);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
