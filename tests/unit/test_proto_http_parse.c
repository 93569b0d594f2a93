#include "proto_http_parse.h"
#include <check.h>
#include <stdlib.h>

#define HEAD_BYTES_MAX 16384

/* Scans and parses; the result of whichever fails first, else 0. */
static int parse(const char *text, size_t size, struct http_head *head, struct error *err)
{
	struct http_head_scan scan = {0};
	size_t head_bytes = 0;
	const int found =
		http_head_scan(&scan, bytes_of(text, size), HEAD_BYTES_MAX, &head_bytes, err);
	if (found < 0) {
		return found;
	}
	ck_assert_msg(found == 1, "no end of the head in: %s", text);
	return http_head_parse(bytes_of(text, head_bytes), head, err);
}

struct bad_head {
	const char *text;
	size_t size;
	int status;
};
#define BAD(text, status)                                                                          \
	{                                                                                          \
		text, sizeof(text) - 1, status                                                     \
	}
#define HOST "Host: a\r\n"

static const struct bad_head bad_heads[] = {
	BAD("GET / HTTP/1.1\nHost: a\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a\r\n\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a\r\nX: a\x01\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\n Host: a\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost : a\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\n: a\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nX\xc3\xa9: a\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nX(: a\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\n" HOST HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("GET  / HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.1 \r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET /  HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD(" GET / HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET\t/\tHTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET /\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GE(T / HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET x HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET http:///x HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET http://a HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET /a#b HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET / http/1.1\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/1.10\r\n" HOST "\r\n", ANNALS_E_MALFORMED),
	BAD("GET / HTTP/2.0\r\n" HOST "\r\n", ANNALS_E_UNSUPPORTED_VERSION),
	BAD("GET / HTTP/1.2\r\n" HOST "\r\n", ANNALS_E_UNSUPPORTED_VERSION),
	BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
		ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
		ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
		ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5 5\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 9999999999999999999\r\n\r\n",
		ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n",
		ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n",
		ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n",
		ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;q=1\r\n\r\n",
		ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST
	    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", ANNALS_E_MALFORMED),
	BAD("POST / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", ANNALS_E_MALFORMED),
};

START_TEST(test_proto_http_parse_refuses_bad_heads)
{
	const struct bad_head *bad = &bad_heads[_i];
	struct http_head head;
	struct error err = {0};
	ck_assert_msg(parse(bad->text, bad->size, &head, &err) == bad->status, "%s", bad->text);
	ck_assert_int_eq(err.code, bad->status);
	ck_assert(err.text[0] != 0);
}
END_TEST

START_TEST(test_proto_http_parse_reads_a_request)
{
	static const char text[] =
		"POST /v1/topics/a%20b/events?x=1&y HTTP/1.1\r\nHost: "
		"localhost:7480\r\nContent-Length:  12 \r\n"
		"X-Empty:\r\nexpect: 100-Continue\r\nConnection: keep-alive, close\r\n\r\n";
	struct http_head head;
	ck_assert_int_eq(parse(text, sizeof(text) - 1, &head, NULL), 0);
	ck_assert(bytes_is(head.method, "POST"));
	ck_assert(bytes_is(head.path, "/v1/topics/a%20b/events"));
	ck_assert(bytes_is(head.query, "x=1&y"));
	ck_assert_uint_eq(head.minor, 1);
	ck_assert_uint_eq(head.content_length, 12);
	ck_assert(head.has_body && head.expect_continue && !head.chunked && !head.keep_alive);
	ck_assert_uint_eq(head.header_count, 5);
	ck_assert(bytes_is(http_head_value(&head, "HOST"), "localhost:7480"));
	ck_assert(http_head_find(&head, "x-empty") != NULL);
	ck_assert_uint_eq(http_head_value(&head, "x-empty").size, 0);
	ck_assert_ptr_null(http_head_find(&head, "x-none"));
}
END_TEST

START_TEST(test_proto_http_parse_keep_alive_by_version)
{
	struct http_head head;
	static const struct {
		const char *text;
		bool keep_alive;
	} cases[] = {{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true}, {"GET / HTTP/1.0\r\n\r\n", false},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: CLOSE\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n", true},
		{"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", true}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		ck_assert_int_eq(parse(cases[i].text, strlen(cases[i].text), &head, NULL), 0);
		ck_assert_int_eq(head.keep_alive, cases[i].keep_alive);
		ck_assert(!head.has_body);
	}
}
END_TEST

START_TEST(test_proto_http_parse_absolute_form)
{
	struct http_head head;
	static const char text[] = "GET HTTP://other:1/a/b?c HTTP/1.1\r\nHost: a\r\n\r\n";
	ck_assert_int_eq(parse(text, sizeof(text) - 1, &head, NULL), 0);
	ck_assert(bytes_is(head.path, "/a/b"));
	ck_assert(bytes_is(head.query, "c"));
	static const char star[] = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
	ck_assert_int_eq(parse(star, sizeof(star) - 1, &head, NULL), 0);
	ck_assert(bytes_is(head.path, "*"));
}
END_TEST

START_TEST(test_proto_http_parse_scan_continues_at_every_byte)
{
	static const char text[] = "GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nrest";
	struct http_head_scan scan = {0};
	size_t head_bytes = 0;
	for (size_t size = 0; size < sizeof(text) - 1 - 4; size++) {
		ck_assert_int_eq(http_head_scan(&scan, bytes_of(text, size), HEAD_BYTES_MAX,
					 &head_bytes, NULL),
			0);
	}
	ck_assert_int_eq(http_head_scan(&scan, bytes_of(text, sizeof(text) - 1), HEAD_BYTES_MAX,
				 &head_bytes, NULL),
		1);
	ck_assert_uint_eq(head_bytes, sizeof(text) - 1 - 4);
}
END_TEST

START_TEST(test_proto_http_parse_limits_name_themselves)
{
	static char text[40000];
	struct http_head_scan scan = {0};
	struct error err = {0};
	size_t head_bytes;
	memset(text, 'a', sizeof(text));
	ck_assert_int_eq(http_head_scan(&scan, bytes_of(text, sizeof(text)), HEAD_BYTES_MAX,
				 &head_bytes, &err),
		ANNALS_E_URI_TOO_LONG);
	ck_assert_ptr_nonnull(strstr(err.text, "8192"));

	memcpy(text, "GET / HTTP/1.1\r\n", 16);
	memset(&scan, 0, sizeof(scan));
	ck_assert_int_eq(http_head_scan(&scan, bytes_of(text, sizeof(text)), HEAD_BYTES_MAX,
				 &head_bytes, &err),
		ANNALS_E_HEADERS_TOO_LARGE);
	ck_assert_ptr_nonnull(strstr(err.text, "16384"));

	size_t size = 16;
	for (int i = 0; i < 102; i++) {
		memcpy(text + size, "x: y\r\n", 6);
		size += 6;
	}
	memset(&scan, 0, sizeof(scan));
	ck_assert_int_eq(
		http_head_scan(&scan, bytes_of(text, size), HEAD_BYTES_MAX, &head_bytes, &err),
		ANNALS_E_HEADERS_TOO_LARGE);
	ck_assert_ptr_nonnull(strstr(err.text, "100"));
}
END_TEST

/* Feeds a body in pieces of `step` bytes; collects the data into out. Returns the last result and
 * how much was left unread. */
static int feed(const char *text, size_t size, size_t step, struct http_head *head, char *out,
	size_t *ret_size, size_t *ret_left)
{
	struct http_body body;
	size_t at = 0;
	size_t available = 0;
	http_body_init(&body, head);
	*ret_size = 0;
	for (;;) {
		struct bytes data;
		size_t consumed;
		const int result = http_body_next(
			&body, bytes_of(text + at, available - at), &consumed, &data, NULL);
		at += consumed;
		if (result == HTTP_BODY_DATA) {
			memcpy(out + *ret_size, data.data, data.size);
			*ret_size += data.size;
		} else if (result != HTTP_BODY_NEED_MORE || available == size) {
			*ret_left = size - at;
			return result;
		} else {
			available = available + step < size ? available + step : size;
		}
	}
}

START_TEST(test_proto_http_parse_bodies_in_pieces)
{
	struct http_head chunked = {.chunked = true};
	struct http_head sized = {.content_length = 11};
	static const char chunks[] = "5\r\nhello\r\n00000006\r\n world\r\n0\r\nX: y\r\n\r\nNEXT";
	char out[64];
	size_t size, left;
	for (size_t step = 1; step < sizeof(chunks); step++) {
		ck_assert_int_eq(
			feed(chunks, sizeof(chunks) - 1, step, &chunked, out, &size, &left),
			HTTP_BODY_END);
		ck_assert(bytes_is(bytes_of(out, size), "hello world"));
		ck_assert_uint_eq(left, 4);
		ck_assert_int_eq(feed("hello worldNEXT", 15, step, &sized, out, &size, &left),
			HTTP_BODY_END);
		ck_assert(bytes_is(bytes_of(out, size), "hello world"));
		ck_assert_uint_eq(left, 4);
	}
}
END_TEST

START_TEST(test_proto_http_parse_refuses_bad_chunks)
{
	static const char *const bodies[] = {"0x5\r\nhello\r\n0\r\n\r\n",
		"+5\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n",
		"5;a=b\r\nhello\r\n0\r\n\r\n", "\r\n", "5\nhello\r\n0\r\n\r\n",
		"5\r\nhello\n0\r\n\r\n", "5\r\nhellox\r\n0\r\n\r\n", "5\r\nhello\rx0",
		"123456789\r\n", "-1\r\n", "g\r\n", "5\rhello", "0\r\n x: y\r\n\r\n",
		"0\r\nx: \x01\r\n\r\n", "0\r\nx: y\n\r\n", "0\r\nx: y\rz"};
	struct http_head chunked = {.chunked = true};
	char out[64];
	size_t size, left;
	for (size_t i = 0; i < ANNALS_COUNT_OF(bodies); i++) {
		for (size_t step = 1; step < 20; step += 6) {
			ck_assert_msg(feed(bodies[i], strlen(bodies[i]), step, &chunked, out, &size,
					      &left) == ANNALS_E_MALFORMED,
				"%s", bodies[i]);
		}
	}
}
END_TEST

START_TEST(test_proto_http_parse_trailers_are_limited)
{
	static char text[8192];
	struct http_head chunked = {.chunked = true};
	char out[8];
	size_t size, left;
	memset(text, 'a', sizeof(text));
	memcpy(text, "0\r\n", 3);
	ck_assert_int_eq(feed(text, sizeof(text), 100, &chunked, out, &size, &left),
		ANNALS_E_HEADERS_TOO_LARGE);
}
END_TEST

START_TEST(test_proto_http_parse_survives_mutations)
{
	static const char seed_text[] =
		"POST /v1/topics/a/events?x=%20 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n"
		"Content-Type: application/json\r\nConnection: close\r\n\r\n";
	uint64_t state = 7;
	for (int round = 0; round < 50000; round++) {
		char *text = malloc(sizeof(seed_text) - 1);
		memcpy(text, seed_text, sizeof(seed_text) - 1);
		for (int i = 0; i < 2; i++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			text[(state >> 33) % (sizeof(seed_text) - 1)] = (char)(state >> 24);
		}
		struct http_head_scan scan = {0};
		struct http_head head;
		size_t head_bytes;
		if (http_head_scan(&scan, bytes_of(text, sizeof(seed_text) - 1), HEAD_BYTES_MAX,
			    &head_bytes, NULL) == 1 &&
			http_head_parse(bytes_of(text, head_bytes), &head, NULL) == 0) {
			ck_assert(head.path.size > 0);
		}
		free(text);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto_http_parse");
	TCase *tcase = tcase_create("proto_http_parse");
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(
		tcase, test_proto_http_parse_refuses_bad_heads, 0, (int)ANNALS_COUNT_OF(bad_heads));
	tcase_add_test(tcase, test_proto_http_parse_reads_a_request);
	tcase_add_test(tcase, test_proto_http_parse_keep_alive_by_version);
	tcase_add_test(tcase, test_proto_http_parse_absolute_form);
	tcase_add_test(tcase, test_proto_http_parse_scan_continues_at_every_byte);
	tcase_add_test(tcase, test_proto_http_parse_limits_name_themselves);
	tcase_add_test(tcase, test_proto_http_parse_bodies_in_pieces);
	tcase_add_test(tcase, test_proto_http_parse_refuses_bad_chunks);
	tcase_add_test(tcase, test_proto_http_parse_trailers_are_limited);
	tcase_add_test(tcase, test_proto_http_parse_survives_mutations);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
