#include <annals/hash.h>
#include <annals/parse.h>

#include "suite.h"

START_TEST(test_parse_u64)
{
	static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x10", "1_000",
		"18446744073709551616", "99999999999999999999", "000000000000000000001", "1\n",
		"٣"};
	uint64_t value = 7;

	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(parse_u64(bytes_text(bad[i]), &value) == ANNALS_E_INVALID,
			"'%s' passed", bad[i]);
		ck_assert_uint_eq(value, 7);
	}
	ck_assert_int_eq(parse_u64(bytes_text("18446744073709551615"), &value), 0);
	ck_assert_uint_eq(value, UINT64_MAX);
	ck_assert_int_eq(parse_u64(bytes_text("007"), &value), 0);
	ck_assert_uint_eq(value, 7);
}
END_TEST

START_TEST(test_parse_sizes)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0}, {"4096", 4096}, {"12B", 12}, {"64KiB", 65536}, {"1GiB", 1 << 30},
		{"2TiB", 2ull << 40}, {"3KB", 3000}, {"1MB", 1000000}, {"5GB", 5000000000u}};
	static const char *const bad[] = {
		"", "KiB", "1 KiB", "1kib", "1.5GiB", "-1", "1KiBs", "99999999999TiB"};
	uint64_t value = 1;

	for (size_t i = 0; i < ANNALS_COUNT_OF(good); i++) {
		ck_assert_int_eq(parse_size(bytes_text(good[i].text), &value), 0);
		ck_assert_uint_eq(value, good[i].bytes);
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(parse_size(bytes_text(bad[i]), &value) == ANNALS_E_INVALID,
			"'%s' passed", bad[i]);
	}
}
END_TEST

START_TEST(test_parse_durations_and_booleans)
{
	uint64_t us;
	bool yes;

	ck_assert_int_eq(parse_duration_us(bytes_text("250ms"), &us), 0);
	ck_assert_uint_eq(us, 250000);
	ck_assert_int_eq(parse_duration_us(bytes_text("15"), &us), 0);
	ck_assert_uint_eq(us, 15000000);
	ck_assert_int_eq(parse_duration_us(bytes_text("7d"), &us), 0);
	ck_assert_uint_eq(us, 7ull * 86400 * 1000000);
	ck_assert_int_eq(parse_duration_us(bytes_text("1w"), &us), ANNALS_E_INVALID);
	ck_assert_int_eq(parse_duration_us(bytes_text("999999999999d"), &us), ANNALS_E_INVALID);
	ck_assert_int_eq(parse_bool(bytes_text("on"), &yes), 0);
	ck_assert(yes);
	ck_assert_int_eq(parse_bool(bytes_text("0"), &yes), 0);
	ck_assert(!yes);
	ck_assert_int_eq(parse_bool(bytes_text("maybe"), &yes), ANNALS_E_INVALID);
}
END_TEST

START_TEST(test_parse_addresses)
{
	static const char *const bad[] = {
		"", "host", "host:", "host:65536", "host:1x", "::1:80", "a:b:1", "[::1]"};
	char host[256], long_name[300];
	uint16_t port;

	ck_assert_int_eq(parse_host_port(bytes_text("127.0.0.1:7480"), host, &port), 0);
	ck_assert_str_eq(host, "127.0.0.1");
	ck_assert_uint_eq(port, 7480);
	ck_assert_int_eq(parse_host_port(bytes_text("[::1]:0"), host, &port), 0);
	ck_assert_str_eq(host, "::1");
	ck_assert_uint_eq(port, 0);
	ck_assert_int_eq(parse_host_port(bytes_text(":80"), host, &port), 0);
	ck_assert_str_eq(host, "");
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(parse_host_port(bytes_text(bad[i]), host, &port) != 0, "'%s' passed",
			bad[i]);
	}
	memset(long_name, 'h', sizeof(long_name));
	memcpy(long_name + 297, ":1", 3);
	ck_assert_int_eq(parse_host_port(bytes_text(long_name), host, &port), ANNALS_E_INVALID);
}
END_TEST

START_TEST(test_parse_times)
{
	static const struct {
		const char *text, *again;
	} good[] = {
		{"2018-01-31T01:49:59.650Z", "2018-01-31T01:49:59.650Z"},
		{"1970-01-01t00:00:00z", "1970-01-01T00:00:00Z"},
		{"2024-02-29T23:59:59.000001+05:30", "2024-02-29T18:29:59.000001Z"},
		{"1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z"},
		{"2000-01-01 00:00:00-00:01", "2000-01-01T00:01:00Z"},
		{"1678-01-01T00:00:00Z", "1678-01-01T00:00:00Z"},
		{"2261-12-31T23:59:59Z", "2261-12-31T23:59:59Z"},
	};
	static const char *const bad[] = {"", "2018-01-31", "2018-01-31T01:49:59",
		"2018-13-01T00:00:00Z", "2018-00-01T00:00:00Z", "2023-02-29T00:00:00Z",
		"1900-02-29T00:00:00Z", "2018-01-32T00:00:00Z", "2018-01-31T24:00:00Z",
		"2018-01-31T23:60:00Z", "2018-01-31T23:59:60Z", "2018-01-31T01:49:59.Z",
		"2018-01-31T01:49:59.1234567890Z", "2018-01-31T01:49:59+24:00",
		"2018-01-31T01:49:59+0100", "2018-01-31T01:49:59Zx", "1677-12-31T00:00:00Z",
		"2262-01-01T00:00:00Z", "18-01-31T01:49:59Z"};
	char text[32];
	int64_t ns;

	for (size_t i = 0; i < ANNALS_COUNT_OF(good); i++) {
		ck_assert_msg(parse_rfc3339_ns(bytes_text(good[i].text), &ns) == 0, "'%s' failed",
			good[i].text);
		ck_assert_uint_eq(format_rfc3339_ns(text, ns), strlen(good[i].again));
		ck_assert_str_eq(text, good[i].again);
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(
			parse_rfc3339_ns(bytes_text(bad[i]), &ns) != 0, "'%s' passed", bad[i]);
	}
	ck_assert_int_eq(parse_rfc3339_ns(bytes_text("2001-09-09T01:46:40Z"), &ns), 0);
	ck_assert_int_eq(ns, 1000000000ll * 1000000000ll);
}
END_TEST

START_TEST(test_parse_times_survive_a_round_trip)
{
	struct random random = {1};

	char text[32];

	(void)format_rfc3339_ns(text, INT64_MIN);
	ck_assert_str_eq(text, "1677-09-21T00:12:43.145224192Z");
	(void)format_rfc3339_ns(text, INT64_MAX);
	ck_assert_str_eq(text, "2262-04-11T23:47:16.854775807Z");
	for (int i = 0; i < 20000; i++) {
		int64_t ns = (int64_t)random_next(&random) / 100 * 99, again;
		size_t size = format_rfc3339_ns(text, ns);
		ck_assert_msg(
			parse_rfc3339_ns(bytes_of(text, size), &again) == 0, "'%s' failed", text);
		ck_assert_int_eq(again, ns);
	}
}
END_TEST

START_TEST(test_parse_utf8)
{
	static const char *const good[] = {"", "plain", "grüße", "日本語", "\xf0\x9f\x8c\x8b",
		"\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", "12345678grüße12345678"};
	static const char *const bad[] = {"\x80", "\xc0\xa0", "\xc1\xbf", "\xe0\x80\x80",
		"\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
		"\xe2\x82", "\xff", "12345678\xc3", "12345678\xc3(", "1234567\x80"};

	for (size_t i = 0; i < ANNALS_COUNT_OF(good); i++) {
		ck_assert_msg(utf8_is_valid(bytes_text(good[i])), "good text %zu failed", i);
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(!utf8_is_valid(bytes_text(bad[i])), "bad text %zu passed", i);
	}
	ck_assert(utf8_is_valid(bytes_of("a\0b", 3)));
}
END_TEST

START_TEST(test_parse_base64_vectors_of_rfc_4648)
{
	static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
	static const char *const packed[] = {
		"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
	static const char *const bad[] = {"Z", "Zg", "Zg=", "Zg==Zg==", "Zh==", "Zm9=", "Zm9v\n",
		"Zm9-", "====", "Z===", " Zg="};
	char text[16];
	uint8_t bytes[16];
	size_t size;

	for (size_t i = 0; i < ANNALS_COUNT_OF(plain); i++) {
		size = base64_encode(text, bytes_text(plain[i]), false);
		ck_assert(bytes_is(bytes_of(text, size), packed[i]));
		ck_assert_int_eq(base64_decode(bytes, bytes_text(packed[i]), false, &size), 0);
		ck_assert(bytes_is(bytes_of(bytes, size), plain[i]));
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(base64_decode(bytes, bytes_text(bad[i]), false, &size) != 0,
			"'%s' passed", bad[i]);
	}
	size = base64_encode(text, bytes_of("\xfb\xff\xfe\xff", 4), true);
	ck_assert(bytes_is(bytes_of(text, size), "-__-_w"));
	ck_assert_int_eq(base64_decode(bytes, bytes_text("-__-_w"), true, &size), 0);
	ck_assert_uint_eq(size, 4);
	ck_assert_int_eq(
		base64_decode(bytes, bytes_text("-__-_w=="), true, &size), ANNALS_E_INVALID);
}
END_TEST

SUITE_MAIN("parse", NULL, NULL, test_parse_u64, test_parse_sizes, test_parse_durations_and_booleans,
	test_parse_addresses, test_parse_times, test_parse_times_survive_a_round_trip,
	test_parse_utf8, test_parse_base64_vectors_of_rfc_4648)
