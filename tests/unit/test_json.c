#include <annals/json.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static void expect_valid(const char *text)
{
	ck_assert_msg(json_is_valid(bytes_text(text)), "refused: %s", text);
}

static void expect_error(const char *text, size_t position)
{
	struct json_value value;
	struct error err = {0};
	ck_assert_int_eq(json_read(bytes_text(text), &value, &err), ANNALS_E_MALFORMED);
	char expected[32];
	snprintf(expected, sizeof(expected), "at byte %zu", position);
	ck_assert_msg(strstr(err.text, expected) != NULL, "%s: '%s' lacks '%s'", text, err.text,
		expected);
}

START_TEST(test_json_accepts_what_rfc_8259_allows)
{
	static const char *const texts[] = {"null", " true ", "false", "0", "-0", "-12.5e+10",
		"1E3", "\"\"", "\"a\\u00e9\\n\\/\\\\\\\"\"", "\"\\ud83d\\ude00\"",
		"\"\xc3\xa9\xf0\x9f\x98\x80\"", "[]", "[ ]", "{}", "{ }", "[1,[2,{\"a\":[]}],{}]",
		"{\"a\":{\"b\":[true,null]},\"c\":1}", "\t\r\n{\"a\" : 1 , \"b\" : [ 1 , 2 ] }\n"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(texts); i++) {
		expect_valid(texts[i]);
	}
}
END_TEST

START_TEST(test_json_refuses_with_the_position)
{
	static const struct {
		const char *text;
		size_t position;
	} cases[] = {{"", 0}, {"  ", 2}, {"nul", 0}, {"tru", 0}, {"01", 1}, {"-", 1}, {"1.", 2},
		{"1e", 2}, {"+1", 0}, {".5", 0}, {"1 2", 2}, {"\"a", 2}, {"\"\\x\"", 1},
		{"\"\\u12g4\"", 1}, {"\"\\ud800\"", 1}, {"\"\\udc00\"", 1},
		{"\"\\ud800\\u0041\"", 1}, {"\"a\nb\"", 2}, {"\"\xc0\xaf\"", 1},
		{"\"\xed\xa0\x80\"", 1}, {"\"\xf4\x90\x80\x80\"", 1}, {"\"\xe2\x82\"", 1},
		{"[1,]", 3}, {"[1 2]", 3}, {"[", 1}, {"[1", 2}, {"{\"a\"}", 4}, {"{\"a\":}", 5},
		{"{\"a\":1,}", 7}, {"{a:1}", 1}, {"{\"a\":1]", 6}, {"[1}", 2}, {"{'a':1}", 1},
		{"[1]]", 3}, {"/**/1", 0}, {"NaN", 0}, {"{\"a\":1 \"b\":2}", 7}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		expect_error(cases[i].text, cases[i].position);
	}
}
END_TEST

/* Every length moves the special byte through the vector, word and byte steps of the string scan.
 */
START_TEST(test_json_string_scan_at_every_alignment)
{
	static const struct {
		const char *special;
		bool valid;
	} cases[] = {{"\\n", true}, {"\xc3\xa9", true}, {"\x01", false}, {"\x80", false},
		{"\x9f", false}, {"\xff", false}, {"\\", false}, {"\x7f", true}, {"!", true},
		{"[", true}};
	char text[128];
	for (int before = 0; before < 40; before++) {
		for (int after = 0; after < 40; after++) {
			for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
				char *exact;
				const int size = snprintf(text, sizeof(text), "\"%.*s%s%.*s\"",
					before, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQR",
					cases[i].special, after,
					"zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJI");
				exact = malloc((size_t)size);
				memcpy(exact, text, (size_t)size);
				ck_assert_msg(json_is_valid(bytes_of(exact, (size_t)size)) ==
						      cases[i].valid,
					"%s", text);
				free(exact);
			}
		}
	}
}
END_TEST

START_TEST(test_json_depth_is_limited)
{
	char text[300];
	for (size_t depth = 63; depth <= 66; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		ck_assert_int_eq(json_is_valid(bytes_of(text, 2 * depth)), depth <= JSON_DEPTH_MAX);
	}
	/* Levels entered by the caller count as well. */
	struct json_scanner scanner;
	struct json_value value;
	memset(text, '[', 65);
	memset(text + 65, ']', 65);
	json_scanner_init(&scanner, bytes_of(text, 130));
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(json_enter_array(&scanner), 0);
		ck_assert_int_eq(json_next_element(&scanner), 1);
	}
	ck_assert_int_eq(json_scan(&scanner, &value), ANNALS_E_MALFORMED);
	ck_assert_str_eq(scanner.problem, "more than 64 levels");
}
END_TEST

START_TEST(test_json_objects_and_arrays_mix_in_the_bit_stack)
{
	expect_valid("[{\"a\":[{\"b\":[[{\"c\":{}}]]}]},[{}],{\"d\":[]}]");
	expect_error("[{\"a\":[{\"b\":[[{\"c\":{}]]]}]}]", 21);
}
END_TEST

START_TEST(test_json_walks_members_in_order)
{
	struct json_scanner scanner;
	struct json_value name, value;
	int64_t number;
	json_scanner_init(&scanner, bytes_text("{\"a\":1,\"b\":[true,{\"x\":null}],\"c\":-9}"));
	ck_assert_int_eq(json_enter_object(&scanner), 0);
	ck_assert_int_eq(json_next_name(&scanner, &name), 1);
	ck_assert(json_string_is(&name, "a"));
	ck_assert_int_eq(json_scan(&scanner, &value), 0);
	ck_assert_int_eq(json_next_name(&scanner, &name), 1);
	ck_assert(json_string_is(&name, "b"));
	ck_assert_int_eq(json_enter_array(&scanner), 0);
	ck_assert_int_eq(json_next_element(&scanner), 1);
	ck_assert_int_eq(json_scan(&scanner, &value), 0);
	ck_assert_int_eq(value.type, JSON_TRUE);
	ck_assert_int_eq(json_next_element(&scanner), 1);
	ck_assert_int_eq(json_scan(&scanner, &value), 0);
	ck_assert(bytes_is(value.raw, "{\"x\":null}"));
	ck_assert_int_eq(json_next_element(&scanner), 0);
	ck_assert_int_eq(json_next_name(&scanner, &name), 1);
	ck_assert_int_eq(json_scan(&scanner, &value), 0);
	ck_assert_int_eq(json_i64(&value, &number), 0);
	ck_assert_int_eq(number, -9);
	ck_assert_int_eq(json_next_name(&scanner, &name), 0);
	ck_assert_int_eq(json_finish(&scanner), 0);
}
END_TEST

START_TEST(test_json_errors_stick)
{
	struct json_scanner scanner;
	struct json_value value;
	json_scanner_init(&scanner, bytes_text("[1;2]"));
	ck_assert_int_eq(json_enter_object(&scanner), ANNALS_E_MALFORMED);
	ck_assert_int_eq(json_enter_array(&scanner), ANNALS_E_MALFORMED);
	ck_assert_int_eq(json_scan(&scanner, &value), ANNALS_E_MALFORMED);
	ck_assert_int_eq(json_finish(&scanner), ANNALS_E_MALFORMED);
	ck_assert_uint_eq(json_position(&scanner), 0);
}
END_TEST

START_TEST(test_json_string_unescapes)
{
	struct json_value value;
	struct bytes text;
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	ck_assert_int_eq(
		json_read(bytes_text("\"a\\u00e9\\ud83d\\ude00\\b\\f\\n\\r\\t\\/\\u20ac\""), &value,
			NULL),
		0);
	ck_assert_int_eq(json_string(&value, &scratch, &text), 0);
	ck_assert(bytes_is(text, "a\xc3\xa9\xf0\x9f\x98\x80\b\f\n\r\t/\xe2\x82\xac"));
	ck_assert_int_eq(json_read(bytes_text("\"plain\""), &value, NULL), 0);
	buf_reset(&scratch);
	ck_assert_int_eq(json_string(&value, &scratch, &text), 0);
	ck_assert(bytes_is(text, "plain"));
	ck_assert_uint_eq(scratch.size, 0);
	ck_assert_int_eq(json_read(bytes_text("1"), &value, NULL), 0);
	ck_assert_int_eq(json_string(&value, &scratch, &text), ANNALS_E_INVALID);
}
END_TEST

START_TEST(test_json_integers_are_strict)
{
	struct json_value value;
	uint64_t u;
	int64_t i;
	ck_assert_int_eq(json_read(bytes_text("18446744073709551615"), &value, NULL), 0);
	ck_assert_int_eq(json_u64(&value, &u), 0);
	ck_assert(u == UINT64_MAX);
	ck_assert_int_eq(json_i64(&value, &i), ANNALS_E_INVALID);
	ck_assert_int_eq(json_read(bytes_text("-9223372036854775808"), &value, NULL), 0);
	ck_assert_int_eq(json_i64(&value, &i), 0);
	ck_assert(i == INT64_MIN);
	ck_assert_int_eq(json_u64(&value, &u), ANNALS_E_INVALID);
	static const char *const others[] = {
		"18446744073709551616", "1.0", "1e2", "-1", "true", "\"1\""};
	for (size_t n = 0; n < ANNALS_COUNT_OF(others); n++) {
		ck_assert_int_eq(json_read(bytes_text(others[n]), &value, NULL), 0);
		ck_assert_int_eq(json_u64(&value, &u), ANNALS_E_INVALID);
	}
}
END_TEST

START_TEST(test_json_writer_separates_and_escapes)
{
	ANNALS_CLEANUP(buf_release) struct buf out = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &out);
	json_begin_object(&writer);
	json_member_cstring(&writer, "a", "x\"\\\n\x01\x7f");
	json_member_u64(&writer, "b", UINT64_MAX);
	json_name(&writer, "c");
	json_begin_array(&writer);
	json_write_i64(&writer, INT64_MIN);
	json_write_null(&writer);
	json_begin_object(&writer);
	json_end_object(&writer);
	json_end_array(&writer);
	json_member_bool(&writer, "d", false);
	json_name(&writer, "e");
	json_write_raw(&writer, bytes_text("[1,\r\n 2]"));
	json_name(&writer, "f");
	json_write_base64(&writer, bytes_text("ab"), false);
	json_end_object(&writer);
	ck_assert_int_eq(json_writer_status(&writer), 0);
	ck_assert_str_eq(buf_text(&out),
		"{\"a\":\"x\\\"\\\\\\n\\u0001\x7f\",\"b\":18446744073709551615,\"c\":[-"
		"9223372036854775808,null,{}],"
		"\"d\":false,\"e\":[1,   2],\"f\":\"YWI=\"}");
	ck_assert(json_is_valid(buf_bytes(&out)));
}
END_TEST

START_TEST(test_json_writer_replaces_what_is_no_utf8)
{
	ANNALS_CLEANUP(buf_release) struct buf out = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &out);
	json_write_text(&writer, bytes_text("a\xff\xc3\xa9\xe2\x82"));
	ck_assert_str_eq(buf_text(&out), "\"a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\"");
}
END_TEST

/* Random bytes and cut texts: no read outside the input (the sanitizers watch), and whatever is
 * accepted is accepted again as a slice. */
START_TEST(test_json_survives_mutations)
{
	static const char seed_text[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\n\",{\"b\":null}],\"c\":"
					"\"\xc3\xa9 long enough text\",\"d\":true}";
	uint64_t state = 1;
	for (int round = 0; round < 20000; round++) {
		const size_t size = sizeof(seed_text) - 1;
		uint8_t *text = malloc(size);
		memcpy(text, seed_text, size);
		for (int i = 0; i < 3; i++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			text[(state >> 33) % size] = (uint8_t)(state >> 24);
		}
		const size_t cut = (state >> 20) % (size + 1);
		struct json_value value;
		if (json_read(bytes_of(text, cut), &value, NULL) == 0) {
			ck_assert(json_is_valid(value.raw));
		}
		free(text);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("json");
	TCase *tcase = tcase_create("json");
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_json_accepts_what_rfc_8259_allows);
	tcase_add_test(tcase, test_json_refuses_with_the_position);
	tcase_add_test(tcase, test_json_string_scan_at_every_alignment);
	tcase_add_test(tcase, test_json_depth_is_limited);
	tcase_add_test(tcase, test_json_objects_and_arrays_mix_in_the_bit_stack);
	tcase_add_test(tcase, test_json_walks_members_in_order);
	tcase_add_test(tcase, test_json_errors_stick);
	tcase_add_test(tcase, test_json_string_unescapes);
	tcase_add_test(tcase, test_json_integers_are_strict);
	tcase_add_test(tcase, test_json_writer_separates_and_escapes);
	tcase_add_test(tcase, test_json_writer_replaces_what_is_no_utf8);
	tcase_add_test(tcase, test_json_survives_mutations);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
