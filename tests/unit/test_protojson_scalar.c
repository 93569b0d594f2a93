#include <annals/hash.h>
#include <annals/parse.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "protojson/scalar.h"
#include "suite.h"

static void expect_double(double value, const char *text)
{
	char out[SCALAR_TEXT_MAX];
	const size_t size = scalar_format_double(out, value);
	ck_assert_str_eq(out, text);
	ck_assert_uint_eq(size, strlen(text));
}

START_TEST(test_scalar_doubles_print_short)
{
	expect_double(0.0, "0");
	expect_double(-0.0, "-0.0");
	expect_double(1, "1");
	expect_double(-1.5, "-1.5");
	expect_double(0.1, "0.1");
	expect_double(0.1 + 0.2, "0.30000000000000004");
	expect_double(1.0 / 3, "0.3333333333333333");
	expect_double(100, "100");
	expect_double(123456789012345678.0, "123456789012345680");
	expect_double(1e21, "1e+21");
	expect_double(1e20, "100000000000000000000");
	expect_double(1.5e-6, "0.0000015");
	expect_double(1.5e-7, "1.5e-7");
	expect_double(5e-324, "5e-324");
	expect_double(1.7976931348623157e308, "1.7976931348623157e+308");
	expect_double(2.2250738585072014e-308, "2.2250738585072014e-308");
	expect_double(9007199254740993.0, "9007199254740992");
	expect_double(-38.8231, "-38.8231");
}
END_TEST

START_TEST(test_scalar_doubles_survive_a_round_trip)
{
	struct random random = {7};
	char out[SCALAR_TEXT_MAX], exact[64];
	for (int i = 0; i < 20000; i++) {
		uint64_t bits = random_next(&random);
		double value, back;
		memcpy(&value, &bits, sizeof(value));
		if (i % 3 == 1) {
			value = (double)(int64_t)(bits >> 20) / 1e6;
		} else if (i % 3 == 2) {
			value = (double)(bits >> 11) / 9007199254740992.0;
		}
		if (!isfinite(value)) {
			continue;
		}
		const size_t size = scalar_format_double(out, value);
		ck_assert_msg(strtod(out, NULL) == value, "%s", out);
		ck_assert_int_eq(scalar_parse_double(bytes_of(out, size), &back), 0);
		ck_assert_msg(memcmp(&back, &value, sizeof(back)) == 0, "%s", out);
		/* One digit fewer must not be enough. */
		size_t digits = 0;
		bool leading = true;
		for (const char *next = out; *next != 0 && *next != 'e'; next++) {
			leading = leading && (*next < '1' || *next > '9');
			digits += !leading && *next >= '0' && *next <= '9';
		}
		if (digits > 1 && digits <= 17 && strchr(out, '.') != NULL) {
			snprintf(exact, sizeof(exact), "%.*e", (int)digits - 2, value);
			ck_assert_msg(
				strtod(exact, NULL) != value, "%s not as short as %s", out, exact);
		}
	}
}
END_TEST

START_TEST(test_scalar_floats_survive_a_round_trip)
{
	struct random random = {11};
	char out[SCALAR_TEXT_MAX];
	ck_assert_uint_eq(scalar_format_float(out, 0.1f), 3);
	ck_assert_str_eq(out, "0.1");
	ck_assert_uint_gt(scalar_format_float(out, 3.4028235e38f), 0);
	ck_assert_str_eq(out, "3.4028235e+38");
	ck_assert_uint_gt(scalar_format_float(out, 16777216.0f), 0);
	ck_assert_str_eq(out, "16777216");
	for (int i = 0; i < 20000; i++) {
		uint32_t bits = (uint32_t)random_next(&random);
		float value, back;
		memcpy(&value, &bits, sizeof(value));
		if (i % 2 == 1) {
			value = (float)(bits >> 8) / 1000;
		}
		if (!isfinite(value)) {
			continue;
		}
		const size_t size = scalar_format_float(out, value);
		ck_assert_msg(strtof(out, NULL) == value, "%s", out);
		ck_assert_int_eq(scalar_parse_float(bytes_of(out, size), &back), 0);
		ck_assert_msg(memcmp(&back, &value, sizeof(back)) == 0, "%s", out);
	}
}
END_TEST

START_TEST(test_scalar_numbers_out_of_range_are_refused)
{
	double value;
	float narrow;
	char *digits = malloc(SCALAR_NUMBER_BYTES_MAX + 1);
	ck_assert_ptr_nonnull(digits);
	memset(digits, '1', SCALAR_NUMBER_BYTES_MAX + 1);
	ck_assert_int_ne(scalar_parse_double(bytes_text("1e309"), &value), 0);
	ck_assert_int_ne(scalar_parse_double(bytes_text("-1e999999999999"), &value), 0);
	ck_assert_int_eq(scalar_parse_double(bytes_text("1e-999999999999"), &value), 0);
	ck_assert_msg(value == 0, "%g", value);
	ck_assert_int_ne(scalar_parse_double(bytes_text("nan"), &value), 0);
	ck_assert_int_ne(scalar_parse_double(bytes_text("0x10"), &value), 0);
	ck_assert_int_ne(
		scalar_parse_double(bytes_of(digits, SCALAR_NUMBER_BYTES_MAX + 1), &value), 0);
	digits[1] = '.';
	ck_assert_int_eq(scalar_parse_double(bytes_of(digits, SCALAR_NUMBER_BYTES_MAX), &value), 0);
	ck_assert_int_ne(scalar_parse_float(bytes_text("3.5e38"), &narrow), 0);
	ck_assert_int_eq(scalar_parse_float(bytes_text("3.4028234663852886e38"), &narrow), 0);
	ck_assert_int_eq(scalar_parse_float(bytes_text("1e-60"), &narrow), 0);
	ck_assert_msg(narrow == 0, "%g", (double)narrow);
	/* 1 + 2^-24 and a little more: rounding by way of a double would give 1. */
	ck_assert_int_eq(
		scalar_parse_float(bytes_text("1.000000059604644775390625000001"), &narrow), 0);
	ck_assert_msg(narrow > 1, "rounded twice");
	free(digits);
}
END_TEST

static void expect_integer(const char *text, int status, int64_t expected)
{
	uint64_t value = 42;
	ck_assert_msg(
		scalar_parse_integer(bytes_text(text), INT64_MIN, UINT64_MAX, &value) == status,
		"'%s'", text);
	ck_assert_msg(status != 0 ? value == 42 : value == (uint64_t)expected, "'%s'", text);
}

START_TEST(test_scalar_integers_are_exact)
{
	uint64_t value;
	expect_integer("0", 0, 0);
	expect_integer("-0", 0, 0);
	expect_integer("1e3", 0, 1000);
	expect_integer("1.0", 0, 1);
	expect_integer("12.50e1", 0, 125);
	expect_integer("1000e-3", 0, 1);
	expect_integer("0e999999999999999999999", 0, 0);
	expect_integer("0.000e-5", 0, 0);
	expect_integer("9007199254740993.0", 0, 9007199254740993);
	expect_integer("18446744073709551615", 0, -1);
	expect_integer("1844674407370955161.5e1", 0, -1);
	expect_integer("-9223372036854775808", 0, INT64_MIN);
	expect_integer("18446744073709551616", ANNALS_E_INVALID, 0);
	expect_integer("-9223372036854775809", ANNALS_E_INVALID, 0);
	expect_integer("1e20", ANNALS_E_INVALID, 0);
	expect_integer("1e999999999999999999999", ANNALS_E_INVALID, 0);
	expect_integer("1.5", ANNALS_E_MALFORMED, 0);
	expect_integer("1e-1", ANNALS_E_MALFORMED, 0);
	expect_integer("1e-999999999999999999999", ANNALS_E_MALFORMED, 0);
	static const char *const bad[] = {
		"", "-", "+1", "01", "1.", ".5", "1e", "1e+", " 1", "1 ", "0x1", "1_0", "--1"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		expect_integer(bad[i], ANNALS_E_MALFORMED, 0);
		ck_assert(!scalar_is_number(bytes_text(bad[i])));
	}
	ck_assert_int_eq(
		scalar_parse_integer(bytes_text("-1"), 0, UINT32_MAX, &value), ANNALS_E_INVALID);
	ck_assert_int_eq(scalar_parse_integer(bytes_text("-0"), 0, UINT32_MAX, &value), 0);
	ck_assert_int_eq(
		scalar_parse_integer(bytes_text("-2147483649"), INT32_MIN, INT32_MAX, &value),
		ANNALS_E_INVALID);
}
END_TEST

START_TEST(test_scalar_timestamps)
{
	static const struct {
		const char *text;
		int64_t seconds;
		int32_t nanos;
		const char *again;
	} good[] = {{"1970-01-01T00:00:00Z", 0, 0, NULL},
		{"0001-01-01T00:00:00Z", -62135596800, 0, NULL},
		{"9999-12-31T23:59:59.999999999Z", 253402300799, 999999999, NULL},
		{"1969-12-31T23:59:59.500Z", -1, 500000000, NULL},
		{"2024-02-29T12:00:00.1+02:00", 1709200800, 100000000, "2024-02-29T10:00:00.100Z"},
		{"0001-01-01T01:00:00+01:00", -62135596800, 0, "0001-01-01T00:00:00Z"}};
	static const char *const bad[] = {"", "1970-01-01T00:00:00", "1970-01-01t00:00:00Z",
		"1970-01-01T00:00:00z", "1970-01-01 00:00:00Z", "0000-12-31T23:59:59Z",
		"0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "1970-02-30T00:00:00Z",
		"1970-01-01T24:00:00Z", "1970-01-01T00:00:60Z", "1970-01-01T00:00:00.Z",
		"1970-01-01T00:00:00.1234567890Z", "1970-01-01T00:00:00Zx"};
	char out[SCALAR_TEXT_MAX];
	int64_t seconds;
	int32_t nanos;
	size_t size;
	for (size_t i = 0; i < ANNALS_COUNT_OF(good); i++) {
		ck_assert_msg(
			scalar_parse_timestamp(bytes_text(good[i].text), &seconds, &nanos) == 0,
			"%s", good[i].text);
		ck_assert_int_eq(seconds, good[i].seconds);
		ck_assert_int_eq(nanos, good[i].nanos);
		ck_assert_int_eq(scalar_format_timestamp(out, seconds, nanos, &size), 0);
		ck_assert_str_eq(out, good[i].again != NULL ? good[i].again : good[i].text);
		ck_assert_uint_eq(size, strlen(out));
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(scalar_parse_timestamp(bytes_text(bad[i]), &seconds, &nanos) != 0,
			"%s", bad[i]);
	}
	ck_assert_int_ne(scalar_format_timestamp(out, -62135596801, 0, &size), 0);
	ck_assert_int_ne(scalar_format_timestamp(out, 253402300800, 0, &size), 0);
	ck_assert_int_ne(scalar_format_timestamp(out, 0, -1, &size), 0);
	ck_assert_int_ne(scalar_format_timestamp(out, 0, 1000000000, &size), 0);
}
END_TEST

START_TEST(test_scalar_durations)
{
	static const struct {
		const char *text;
		int64_t seconds;
		int32_t nanos;
		const char *again;
	} good[] = {{"0s", 0, 0, NULL}, {"1.500s", 1, 500000000, NULL},
		{"-0.000000001s", 0, -1, NULL}, {"-3.1s", -3, -100000000, "-3.100s"},
		{"315576000000.999999999s", 315576000000, 999999999, NULL},
		{"-315576000000s", -315576000000, 0, NULL}, {"0.000100s", 0, 100000, NULL},
		{"-0s", 0, 0, "0s"}};
	static const char *const bad[] = {"", "s", "1", "-s", "1.s", ".5s", "+1s", "1.1234567890s",
		"315576000001s", "99999999999999999999999999s", "1 s", "1S", "--1s", "1e3s"};
	char out[SCALAR_TEXT_MAX];
	int64_t seconds;
	int32_t nanos;
	size_t size;
	for (size_t i = 0; i < ANNALS_COUNT_OF(good); i++) {
		ck_assert_msg(
			scalar_parse_duration(bytes_text(good[i].text), &seconds, &nanos) == 0,
			"%s", good[i].text);
		ck_assert_int_eq(seconds, good[i].seconds);
		ck_assert_int_eq(nanos, good[i].nanos);
		ck_assert_int_eq(scalar_format_duration(out, seconds, nanos, &size), 0);
		ck_assert_str_eq(out, good[i].again != NULL ? good[i].again : good[i].text);
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(scalar_parse_duration(bytes_text(bad[i]), &seconds, &nanos) != 0,
			"%s", bad[i]);
	}
	ck_assert_int_ne(scalar_format_duration(out, 315576000001, 0, &size), 0);
	ck_assert_int_ne(scalar_format_duration(out, 1, -1, &size), 0);
	ck_assert_int_ne(scalar_format_duration(out, -1, 1, &size), 0);
	ck_assert_int_ne(scalar_format_duration(out, 0, 1000000000, &size), 0);
	ck_assert_int_ne(scalar_format_duration(out, INT64_MIN, INT32_MIN, &size), 0);
}
END_TEST

START_TEST(test_scalar_masks)
{
	static const char *const bad_snake[] = {"Foo", "foo_", "foo__bar", "foo_1", "a,b", "_"};
	uint8_t out[64];
	size_t size;
	ck_assert_int_eq(scalar_mask_to_camel(out, bytes_text("foo_bar.baz_q1"), &size), 0);
	ck_assert(bytes_is(bytes_of(out, size), "fooBar.bazQ1"));
	ck_assert_int_eq(scalar_mask_to_snake(out, bytes_text("fooBar.bazQ1"), &size), 0);
	ck_assert(bytes_is(bytes_of(out, size), "foo_bar.baz_q1"));
	ck_assert_int_ne(scalar_mask_to_snake(out, bytes_text("foo_bar"), &size), 0);
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad_snake); i++) {
		ck_assert_msg(scalar_mask_to_camel(out, bytes_text(bad_snake[i]), &size) != 0, "%s",
			bad_snake[i]);
	}
}
END_TEST

START_TEST(test_scalar_base64_takes_both_alphabets)
{
	static const char *const good[] = {"+/8=", "+/8", "-_8=", "-_8"};
	static const struct {
		const char *text;
		size_t wrong_at;
	} bad[] = {{"A", 0}, {"AA=", 2}, {"AA===", 4}, {"=", 0}, {"A!==", 1}, {"+_8=", 1},
		{"AB==", 1}, {"AAB", 2}, {"AA A", 2}, {"====", 0}, {"AAAAA", 4}, {"AA=A", 2}};
	uint8_t out[64];
	size_t size, wrong_at;
	for (size_t i = 0; i < ANNALS_COUNT_OF(good); i++) {
		ck_assert_int_eq(
			scalar_parse_base64(out, bytes_text(good[i]), &size, &wrong_at), 0);
		ck_assert_uint_eq(size, 2);
		ck_assert_int_eq(memcmp(out, "\xfb\xff", 2), 0);
	}
	ck_assert_int_eq(scalar_parse_base64(out, bytes_text(""), &size, &wrong_at), 0);
	ck_assert_uint_eq(size, 0);
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(
			scalar_parse_base64(out, bytes_text(bad[i].text), &size, &wrong_at) != 0,
			"%s", bad[i].text);
		ck_assert_msg(wrong_at == bad[i].wrong_at, "%s at %zu", bad[i].text, wrong_at);
	}
	struct random random = {3};
	for (int i = 0; i < 2000; i++) {
		uint8_t data[40];
		char text[64];
		const size_t length = random_below(&random, sizeof(data));
		for (size_t j = 0; j < length; j++) {
			data[j] = (uint8_t)random_next(&random);
		}
		const size_t written = base64_encode(text, bytes_of(data, length), i % 2 == 0);
		ck_assert_int_eq(
			scalar_parse_base64(out, bytes_of(text, written), &size, &wrong_at), 0);
		ck_assert_uint_eq(size, length);
		ck_assert_int_eq(memcmp(out, data, length), 0);
	}
}
END_TEST

SUITE_MAIN("protojson_scalar", NULL, NULL, test_scalar_doubles_print_short,
	test_scalar_doubles_survive_a_round_trip, test_scalar_floats_survive_a_round_trip,
	test_scalar_numbers_out_of_range_are_refused, test_scalar_integers_are_exact,
	test_scalar_timestamps, test_scalar_durations, test_scalar_masks,
	test_scalar_base64_takes_both_alphabets)
