#include "http_text.h"
#include <check.h>
#include <stdlib.h>

static struct buf scratch;

static void setup(void)
{
	buf_init(&scratch);
}

static void teardown(void)
{
	buf_release(&scratch);
}

START_TEST(test_proto_http_text_percent_decoding_is_done_once)
{
	ck_assert_int_eq(http_percent_decode(bytes_text("a%20b%2541+%C3%a9"), &scratch), 0);
	ck_assert_str_eq(buf_text(&scratch), "a b%41+\xc3\xa9");
	static const char *const bad[] = {"%", "%4", "%zz", "a%0", "%00", "%4g"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_int_eq(
			http_percent_decode(bytes_text(bad[i]), &scratch), ANNALS_E_MALFORMED);
	}
}
END_TEST

START_TEST(test_proto_http_text_percent_encoding)
{
	ck_assert_int_eq(http_percent_encode(bytes_text("aZ9._~-/ %\xc3"), &scratch), 0);
	ck_assert_str_eq(buf_text(&scratch), "aZ9._~-%2F%20%25%C3");
}
END_TEST

START_TEST(test_proto_http_text_query_parameters)
{
	const struct bytes query = bytes_text("a=1&&b=x%20y&c&d=&e=1&e=2&f=%ff&g=%");
	struct bytes value;
	struct error err = {0};
	ck_assert_int_eq(buf_reserve(&scratch, 100), 0);
	ck_assert_int_eq(http_query_get(query, "a", &scratch, &value, &err), 1);
	ck_assert(bytes_is(value, "1"));
	ck_assert_int_eq(http_query_get(query, "b", &scratch, &value, &err), 1);
	ck_assert(bytes_is(value, "x y"));
	ck_assert_int_eq(http_query_get(query, "c", &scratch, &value, &err), 1);
	ck_assert_uint_eq(value.size, 0);
	ck_assert_int_eq(http_query_get(query, "z", &scratch, &value, &err), 0);
	ck_assert_int_eq(http_query_get(query, "e", &scratch, &value, &err), ANNALS_E_INVALID);
	ck_assert_ptr_nonnull(strstr(err.text, "'e'"));
	ck_assert_int_eq(http_query_get(query, "f", &scratch, &value, &err), ANNALS_E_MALFORMED);
	ck_assert_int_eq(http_query_get(query, "g", &scratch, &value, &err), ANNALS_E_MALFORMED);
	ck_assert_int_eq(http_query_get(bytes_of(NULL, 0), "a", &scratch, &value, &err), 0);
}
END_TEST

START_TEST(test_proto_http_text_path_segments)
{
	struct bytes segment;
	size_t cursor = 0;
	static const char *const expected[] = {"v1", "topics", "a%2Fb", ""};
	const struct bytes path = bytes_text("/v1/topics/a%2Fb/");
	for (size_t i = 0; i < ANNALS_COUNT_OF(expected); i++) {
		ck_assert_int_eq(http_path_next(path, &cursor, &segment), 1);
		ck_assert_msg(bytes_is(segment, expected[i]), "segment %zu", i);
	}
	ck_assert_int_eq(http_path_next(path, &cursor, &segment), 0);
	cursor = 0;
	ck_assert_int_eq(http_path_next(bytes_text("/"), &cursor, &segment), 1);
	ck_assert_uint_eq(segment.size, 0);
	ck_assert_int_eq(http_path_next(bytes_text("/"), &cursor, &segment), 0);
}
END_TEST

START_TEST(test_proto_http_text_accept)
{
	static const char *const types[] = {
		"application/x-ndjson", "application/json", "text/event-stream"};
	static const struct {
		const char *accept;
		int expected;
	} cases[] = {{"", 0}, {"*/*", 0}, {"application/json", 1}, {"text/event-stream", 2},
		{"image/png", -1}, {"text/*", 2},
		{"application/json;q=0.5, application/x-ndjson;q=0.4", 1},
		{"*/*;q=0.1, application/json", 1}, {"application/x-ndjson;q=0, */*", 1},
		{"APPLICATION/JSON", 1}, {"application/json;q=0", -1},
		{"text/*;q=0.3, */*;q=0.2", 2},
		{"application/*;q=0.9, application/x-ndjson;q=0.1, application/json;q=0.2", 1},
		{",,;q", -1}, {"application/json; charset=utf-8; q=0.001", 1}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		ck_assert_msg(
			http_accept(bytes_text(cases[i].accept), types, 3) == cases[i].expected,
			"%s", cases[i].accept);
	}
}
END_TEST

START_TEST(test_proto_http_text_prefer_wait)
{
	struct bytes seconds;
	ck_assert(http_prefer_wait(bytes_text("respond-async, Wait = 15;x=1"), &seconds));
	ck_assert(bytes_is(seconds, "15"));
	ck_assert(!http_prefer_wait(bytes_text("waiting=1"), &seconds));
	ck_assert(!http_prefer_wait(bytes_of(NULL, 0), &seconds));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto_http_text");
	TCase *tcase = tcase_create("proto_http_text");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_proto_http_text_percent_decoding_is_done_once);
	tcase_add_test(tcase, test_proto_http_text_percent_encoding);
	tcase_add_test(tcase, test_proto_http_text_query_parameters);
	tcase_add_test(tcase, test_proto_http_text_path_segments);
	tcase_add_test(tcase, test_proto_http_text_accept);
	tcase_add_test(tcase, test_proto_http_text_prefer_wait);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
