#include "scalar.h"
#include <annals/status.h>
#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Powers of ten that a double holds exactly. */
static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
	1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define POWER_MAX 22

static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
				  "25262728293031323334353637383940414243444546474849"
				  "50515253545556575859606162636465666768697071727374"
				  "75767778798081828384858687888990919293949596979899";

size_t scalar_format_u64(char *out, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);
	while (value >= 100) {
		at -= 2;
		memcpy(digits + at, digit_pairs + 2 * (value % 100), 2);
		value /= 100;
	}
	if (value >= 10) {
		at -= 2;
		memcpy(digits + at, digit_pairs + 2 * value, 2);
	} else {
		digits[--at] = (char)('0' + value);
	}
	const size_t size = sizeof(digits) - at;
	memcpy(out, digits + at, size);
	out[size] = 0;
	return size;
}

size_t scalar_format_i64(char *out, int64_t value)
{
	if (value >= 0) {
		return scalar_format_u64(out, (uint64_t)value);
	}
	out[0] = '-';
	/* The digits and their NUL fit: 1 + 20 + 1 bytes. */
	return 1 + scalar_format_u64(out + 1, 0 - (uint64_t)value);
}

/* Writes 0.DIGITS * 10^point as ECMAScript's Number::toString does. */
static size_t put_decimal(char *out, const char *digits, int count, int point)
{
	char *next = out;
	if (point > 21 || point < -5) {
		*next++ = digits[0];
		if (count > 1) {
			*next++ = '.';
			memcpy(next, digits + 1, (size_t)count - 1);
			next += count - 1;
		}
		*next++ = 'e';
		*next++ = point > 0 ? '+' : '-';
		next += scalar_format_u64(next, (uint64_t)abs(point - 1));
	} else if (point <= 0) {
		memcpy(next, "0.", 2);
		memset(next + 2, '0', (size_t)-point);
		next += 2 - point;
		memcpy(next, digits, (size_t)count);
		next += count;
	} else if (count <= point) {
		memcpy(next, digits, (size_t)count);
		memset(next + count, '0', (size_t)(point - count));
		next += point;
	} else {
		memcpy(next, digits, (size_t)point);
		next[point] = '.';
		memcpy(next + point + 1, digits + point, (size_t)(count - point));
		next += count + 1;
	}
	*next = 0;
	return (size_t)(next - out);
}

/* The slow way that is always right: more digits until the value comes back. */
static size_t format_by_trial(char *out, double magnitude, bool is_float)
{
	char text[SCALAR_TEXT_MAX];
	char digits[20];
	/* So many digits always come back, but of subnormals fewer are meant. */
	int precision = is_float ? 6 : 15;
	const int precision_max = is_float ? 9 : 17;
	if (magnitude < (is_float ? (double)FLT_MIN : DBL_MIN)) {
		precision = 1;
	}
	for (;; precision++) {
		(void)snprintf(text, sizeof(text), "%.*e", precision - 1, magnitude);
		const bool same = is_float ? strtof(text, NULL) == (float)magnitude
					   : strtod(text, NULL) == magnitude;
		if (same || precision == precision_max) {
			break;
		}
	}
	int count = 0;
	const char *next = text;
	for (; *next != 'e'; next++) {
		if (*next >= '0' && *next <= '9') {
			digits[count++] = *next;
		}
	}
	const int point = (int)strtol(next + 1, NULL, 10) + 1;
	while (count > 1 && digits[count - 1] == '0') {
		count--;
	}
	return put_decimal(out, digits, count, point);
}

/*
 * n / 10^k for the smallest k that gives the value back. Both are exact doubles, so the division
 * rounds once, as reading the decimal would. With at most 15 digits no other decimal as short reads
 * as this double; with 9 the nearest of a float is found. Returns 0 when there is none.
 */
static size_t format_by_division(char *out, double magnitude, bool is_float)
{
	const double limit = is_float ? 1e9 : 1e15;
	for (int k = 0; k <= POWER_MAX; k++) {
		const double scaled = magnitude * powers[k];
		if (scaled >= limit) {
			return 0;
		}
		uint64_t n = (uint64_t)(scaled + 0.5);
		/* Halfway, the even one, as printf. */
		n -= (n & 1) != 0 && (double)n - scaled == 0.5;
		if (is_float && k == 0 && n > 1 << 24) {
			/* Whole, but fewer digits may do. */
			return 0;
		}
		const double back = (double)n / powers[k];
		if (n == 0) {
			continue;
		}
		if (is_float) {
			uint64_t bits;
			memcpy(&bits, &back, sizeof(bits));
			/* Halfway between two floats: rounding twice could go wrong. */
			if ((float)back != (float)magnitude || (bits & 0x1fffffff) == 0x10000000) {
				continue;
			}
		} else if (back != magnitude) {
			continue;
		}
		char digits[SCALAR_TEXT_MAX];
		int count = (int)scalar_format_u64(digits, n);
		const int point = count - k;
		while (count > 1 && digits[count - 1] == '0') {
			count--;
		}
		return put_decimal(out, digits, count, point);
	}
	return 0;
}

static size_t format(char *out, double value, bool is_float)
{
	assert(isfinite(value));
	char *next = out;
	if (signbit(value)) {
		*next++ = '-';
		value = -value;
	}
	if (value == 0) {
		/* "-0" would read as the integer 0 in some readers. */
		const size_t size = next > out ? 3 : 1;
		memcpy(next, "0.0", size + 1);
		next[size] = 0;
		return (size_t)(next - out) + size;
	}
	size_t size = format_by_division(next, value, is_float);
	if (size == 0) {
		size = format_by_trial(next, value, is_float);
	}
	return (size_t)(next - out) + size;
}

size_t scalar_format_double(char *out, double value)
{
	return format(out, value, false);
}

size_t scalar_format_float(char *out, float value)
{
	return format(out, (double)value, true);
}

static size_t digit_run(struct bytes text, size_t at)
{
	const size_t start = at;
	while (at < text.size && text.data[at] >= '0' && text.data[at] <= '9') {
		at++;
	}
	return at - start;
}

/* Where the parts of a number lie. */
struct parts {
	bool negative;
	struct bytes whole, fraction;
	int64_t exponent; /* kept within +-10^9 */
};

static bool split(struct bytes text, struct parts *ret)
{
	struct parts parts = {0};
	size_t at = text.size > 0 && text.data[0] == '-';
	parts.negative = at == 1;
	parts.whole = bytes_of(text.data + at, digit_run(text, at));
	if (parts.whole.size == 0 || (parts.whole.size > 1 && parts.whole.data[0] == '0')) {
		return false;
	}
	at += parts.whole.size;
	if (at < text.size && text.data[at] == '.') {
		at++;
		parts.fraction = bytes_of(text.data + at, digit_run(text, at));
		if (parts.fraction.size == 0) {
			return false;
		}
		at += parts.fraction.size;
	}
	if (at < text.size && (text.data[at] | 0x20) == 'e') {
		at++;
		const bool down = at < text.size && text.data[at] == '-';
		at += at < text.size && (text.data[at] == '-' || text.data[at] == '+');
		const size_t digits = digit_run(text, at);
		if (digits == 0) {
			return false;
		}
		for (size_t i = 0; i < digits && parts.exponent < 1000000000; i++) {
			parts.exponent = parts.exponent * 10 + (text.data[at + i] - '0');
		}
		parts.exponent = ANNALS_MIN(parts.exponent, 1000000000);
		parts.exponent = down ? -parts.exponent : parts.exponent;
		at += digits;
	}
	if (at != text.size) {
		return false;
	}
	*ret = parts;
	return true;
}

bool scalar_is_number(struct bytes text)
{
	struct parts parts;
	return split(text, &parts);
}

static uint64_t add_digits(uint64_t value, struct bytes digits)
{
	for (size_t i = 0; i < digits.size; i++) {
		value = value * 10 + (digits.data[i] - '0');
	}
	return value;
}

/* Small numbers by one exact operation (William D. Clinger, "How to Read Floating Point Numbers
 * Accurately", 1990). */
static bool parse_exactly(const struct parts *parts, double *ret)
{
	if (parts->whole.size + parts->fraction.size > 18) {
		return false;
	}
	const uint64_t mantissa = add_digits(add_digits(0, parts->whole), parts->fraction);
	const int64_t exponent = parts->exponent - (int64_t)parts->fraction.size;
	if (mantissa > UINT64_C(1) << 53 || exponent > POWER_MAX || exponent < -POWER_MAX) {
		return false;
	}
	const double value = exponent < 0 ? (double)mantissa / powers[-exponent]
					  : (double)mantissa * powers[exponent];
	*ret = parts->negative ? -value : value;
	return true;
}

/* A terminated copy for the C library. */
static bool copy_number(struct bytes number, char text[SCALAR_NUMBER_BYTES_MAX + 1])
{
	if (number.size > SCALAR_NUMBER_BYTES_MAX) {
		return false;
	}
	memcpy(text, number.data, number.size);
	text[number.size] = 0;
	return true;
}

int scalar_parse_double(struct bytes number, double *ret)
{
	char text[SCALAR_NUMBER_BYTES_MAX + 1];
	char *end;
	struct parts parts;
	if (!split(number, &parts)) {
		return ANNALS_E_INVALID;
	}
	if (parse_exactly(&parts, ret)) {
		return 0;
	}
	if (!copy_number(number, text)) {
		return ANNALS_E_INVALID;
	}
	const double value = strtod(text, &end);
	if (end != text + number.size || isinf(value)) {
		return ANNALS_E_INVALID;
	}
	*ret = value;
	return 0;
}

int scalar_parse_float(struct bytes number, float *ret)
{
	char text[SCALAR_NUMBER_BYTES_MAX + 1];
	char *end;
	double value;
	uint64_t bits;
	if (scalar_parse_double(number, &value) != 0 || fabs(value) > (double)FLT_MAX) {
		return ANNALS_E_INVALID;
	}
	memcpy(&bits, &value, sizeof(bits));
	const bool subnormal = fabs(value) < (double)FLT_MIN;
	if (!subnormal && (bits & 0x1fffffff) != 0x10000000) {
		*ret = (float)value;
		return 0;
	}
	/* Halfway between two floats, or few bits: rounding twice could go wrong. */
	if (!copy_number(number, text)) {
		return ANNALS_E_INVALID;
	}
	*ret = strtof(text, &end);
	return 0;
}

/* digits * 10^exponent, digits without zeros at its end. */
static int scale_integer(
	const struct parts *parts, size_t digits, int64_t exponent, uint64_t *ret_magnitude)
{
	uint64_t value = 0;
	for (size_t i = 0; i < digits; i++) {
		const uint8_t digit = i < parts->whole.size
					      ? parts->whole.data[i]
					      : parts->fraction.data[i - parts->whole.size];
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(digit - '0'), &value)) {
			return ANNALS_E_INVALID;
		}
	}
	for (; exponent > 0; exponent--) {
		if (__builtin_mul_overflow(value, 10, &value)) {
			return ANNALS_E_INVALID;
		}
	}
	*ret_magnitude = value;
	return 0;
}

int scalar_parse_integer(struct bytes number, int64_t minimum, uint64_t maximum, uint64_t *ret)
{
	struct parts parts;
	uint64_t magnitude = 0;
	if (!split(number, &parts)) {
		return ANNALS_E_MALFORMED;
	}
	size_t digits = parts.whole.size + parts.fraction.size;
	int64_t exponent = parts.exponent - (int64_t)parts.fraction.size;
	while (digits > 0 &&
		(digits > parts.whole.size ? parts.fraction.data[digits - parts.whole.size - 1]
					   : parts.whole.data[digits - 1]) == '0') {
		digits--;
		exponent++;
	}
	if (digits > 0) {
		if (exponent < 0) {
			return ANNALS_E_MALFORMED;
		}
		const int status = scale_integer(&parts, digits, exponent, &magnitude);
		if (status != 0) {
			return status;
		}
	}
	if (parts.negative ? magnitude > 0 - (uint64_t)minimum : magnitude > maximum) {
		return ANNALS_E_INVALID;
	}
	*ret = parts.negative ? 0 - magnitude : magnitude;
	return 0;
}
