#include "scalar.h"
#include <annals/parse.h>
#include <annals/status.h>

#define NANOS_PER_SECOND 1000000000
#define TIMESTAMP_SECONDS_MIN (-62135596800)
#define TIMESTAMP_SECONDS_MAX 253402300799
#define DURATION_SECONDS_MAX 315576000000

int scalar_format_timestamp(char *out, int64_t seconds, int32_t nanos, size_t *ret_size)
{
	if (seconds < TIMESTAMP_SECONDS_MIN || seconds > TIMESTAMP_SECONDS_MAX || nanos < 0 ||
		nanos >= NANOS_PER_SECOND) {
		return ANNALS_E_INVALID;
	}
	*ret_size = format_rfc3339(out, seconds, (uint32_t)nanos);
	return 0;
}

int scalar_parse_timestamp(struct bytes text, int64_t *ret_seconds, int32_t *ret_nanos)
{
	int64_t seconds;
	uint32_t nanos;
	/* The mapping has no lower-case letters and no blank. */
	if (text.size < 20 || text.data[10] != 'T' || text.data[text.size - 1] == 'z' ||
		parse_rfc3339(text, &seconds, &nanos) != 0 || seconds < TIMESTAMP_SECONDS_MIN ||
		seconds > TIMESTAMP_SECONDS_MAX) {
		return ANNALS_E_INVALID;
	}
	*ret_seconds = seconds;
	*ret_nanos = (int32_t)nanos;
	return 0;
}

int scalar_format_duration(char *out, int64_t seconds, int32_t nanos, size_t *ret_size)
{
	if (seconds < -DURATION_SECONDS_MAX || seconds > DURATION_SECONDS_MAX ||
		nanos <= -NANOS_PER_SECOND || nanos >= NANOS_PER_SECOND ||
		(seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0)) {
		return ANNALS_E_INVALID;
	}
	size_t size = 0;
	if (seconds < 0 || nanos < 0) {
		out[size++] = '-';
		seconds = -seconds;
		nanos = -nanos;
	}
	size += scalar_format_u64(out + size, (uint64_t)seconds);
	if (nanos != 0) {
		unsigned digits = 9;
		while (digits > 3 && nanos % 1000 == 0) {
			nanos /= 1000;
			digits -= 3;
		}
		out[size++] = '.';
		for (unsigned i = digits; i > 0; i--) {
			out[size + i - 1] = (char)('0' + nanos % 10);
			nanos /= 10;
		}
		size += digits;
	}
	out[size++] = 's';
	out[size] = 0;
	*ret_size = size;
	return 0;
}

int scalar_parse_duration(struct bytes text, int64_t *ret_seconds, int32_t *ret_nanos)
{
	int64_t seconds = 0;
	int32_t nanos = 0;
	size_t at = 0;
	bool negative = false;
	if (text.size < 2 || text.data[text.size - 1] != 's') {
		return ANNALS_E_INVALID;
	}
	text.size--;
	if (text.data[0] == '-') {
		negative = true;
		at = 1;
	}
	const size_t whole = at;
	for (; at < text.size && text.data[at] >= '0' && text.data[at] <= '9'; at++) {
		seconds = seconds * 10 + (text.data[at] - '0');
		if (seconds > DURATION_SECONDS_MAX) {
			return ANNALS_E_INVALID;
		}
	}
	if (at == whole) {
		return ANNALS_E_INVALID;
	}
	if (at < text.size && text.data[at] == '.') {
		int32_t unit = NANOS_PER_SECOND / 10;
		const size_t fraction = ++at;
		for (; at < text.size && text.data[at] >= '0' && text.data[at] <= '9'; at++) {
			if (at - fraction == 9) {
				return ANNALS_E_INVALID;
			}
			nanos += (text.data[at] - '0') * unit;
			unit /= 10;
		}
		if (at == fraction) {
			return ANNALS_E_INVALID;
		}
	}
	if (at != text.size) {
		return ANNALS_E_INVALID;
	}
	*ret_seconds = negative ? -seconds : seconds;
	*ret_nanos = negative ? -nanos : nanos;
	return 0;
}

static bool is_lower(uint8_t c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_upper(uint8_t c)
{
	return c >= 'A' && c <= 'Z';
}

int scalar_mask_to_camel(uint8_t *out, struct bytes path, size_t *ret_size)
{
	size_t size = 0;
	for (size_t i = 0; i < path.size; i++) {
		uint8_t c = path.data[i];
		if (c == '_') {
			if (++i == path.size || !is_lower(path.data[i])) {
				return ANNALS_E_INVALID;
			}
			c = (uint8_t)(path.data[i] - 'a' + 'A');
		} else if (is_upper(c) || c == ',') {
			return ANNALS_E_INVALID;
		}
		out[size++] = c;
	}
	*ret_size = size;
	return 0;
}

int scalar_mask_to_snake(uint8_t *out, struct bytes path, size_t *ret_size)
{
	size_t size = 0;
	for (size_t i = 0; i < path.size; i++) {
		const uint8_t c = path.data[i];
		if (c == '_') {
			return ANNALS_E_INVALID;
		}
		if (is_upper(c)) {
			out[size++] = '_';
			out[size++] = (uint8_t)(c - 'A' + 'a');
		} else {
			out[size++] = c;
		}
	}
	*ret_size = size;
	return 0;
}

/* Values of both alphabets: 62 and 63 carry a bit that says which one they are of. */
enum { OF_STANDARD = 0x100, OF_URL = 0x200, NO_DIGIT = 0x400 };

static unsigned base64_value(uint8_t c)
{
	if (is_upper(c)) {
		return c - (unsigned)'A';
	}
	if (is_lower(c)) {
		return c - (unsigned)'a' + 26;
	}
	if (c >= '0' && c <= '9') {
		return c - (unsigned)'0' + 52;
	}
	switch (c) {
	case '+':
		return 62 | OF_STANDARD;
	case '/':
		return 63 | OF_STANDARD;
	case '-':
		return 62 | OF_URL;
	case '_':
		return 63 | OF_URL;
	default:
		return NO_DIGIT;
	}
}

/* Takes valid padding off; false when what stands there is none. */
static bool strip_padding(struct bytes *text)
{
	size_t padding = 0;
	while (padding < 2 && padding < text->size && text->data[text->size - padding - 1] == '=') {
		padding++;
	}
	if (padding > 0 && text->size % 4 != 0) {
		return false;
	}
	text->size -= padding;
	return true;
}

int scalar_parse_base64(uint8_t *out, struct bytes text, size_t *ret_size, size_t *ret_wrong_at)
{
	unsigned group = 0, bits = 0, seen = 0;
	size_t written = 0;
	if (!strip_padding(&text) || text.size % 4 == 1) {
		*ret_wrong_at = text.size == 0 ? 0 : text.size - 1;
		return ANNALS_E_INVALID;
	}
	for (size_t i = 0; i < text.size; i++) {
		const unsigned value = base64_value(text.data[i]);
		seen |= value;
		if ((seen & NO_DIGIT) != 0 ||
			(seen & (OF_STANDARD | OF_URL)) == (OF_STANDARD | OF_URL)) {
			*ret_wrong_at = i;
			return ANNALS_E_INVALID;
		}
		group = group << 6 | (value & 63);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[written++] = (uint8_t)(group >> bits);
		}
	}
	if ((group & ((1u << bits) - 1)) != 0) {
		*ret_wrong_at = text.size - 1;
		return ANNALS_E_INVALID;
	}
	*ret_size = written;
	return 0;
}
