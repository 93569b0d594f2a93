/* UTF-8 validity (Unicode 15, table 3-7) and base64 (RFC 4648). */
#include <annals/parse.h>
#include <annals/status.h>

/* Length of the well-formed sequence at the start, 0 if there is none. */
static size_t utf8_sequence(const uint8_t *next, size_t left)
{
	uint8_t lead = next[0], low = 0x80, high = 0xbf;
	size_t length;

	if (lead < 0x80) {
		return 1;
	}
	if (lead >= 0xc2 && lead <= 0xdf) {
		length = 2;
	} else if (lead >= 0xe0 && lead <= 0xef) {
		length = 3;
		low = lead == 0xe0 ? 0xa0 : 0x80;
		high = lead == 0xed ? 0x9f : 0xbf;
	} else if (lead >= 0xf0 && lead <= 0xf4) {
		length = 4;
		low = lead == 0xf0 ? 0x90 : 0x80;
		high = lead == 0xf4 ? 0x8f : 0xbf;
	} else {
		return 0;
	}
	if (left < length || next[1] < low || next[1] > high) {
		return 0;
	}
	for (size_t i = 2; i < length; i++) {
		if ((next[i] & 0xc0) != 0x80) {
			return 0;
		}
	}
	return length;
}

bool utf8_is_valid(struct bytes text)
{
	const uint8_t *next = text.data;
	size_t left = text.size;

	while (left > 0) {
		size_t length;
		while (left >= 8 && (load_u64(next) & 0x8080808080808080u) == 0) {
			next += 8;
			left -= 8;
		}
		if (left == 0) {
			break;
		}
		length = utf8_sequence(next, left);
		if (length == 0) {
			return false;
		}
		next += length;
		left -= length;
	}
	return true;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static char digit_of(unsigned value, bool url)
{
	if (value < 62) {
		return alphabet[value];
	}
	return value == 62 ? (url ? '-' : '+') : (url ? '_' : '/');
}

static int value_of(uint8_t digit, bool url)
{
	if (digit >= 'A' && digit <= 'Z') {
		return digit - 'A';
	}
	if (digit >= 'a' && digit <= 'z') {
		return digit - 'a' + 26;
	}
	if (digit >= '0' && digit <= '9') {
		return digit - '0' + 52;
	}
	if (digit == (url ? '-' : '+')) {
		return 62;
	}
	return digit == (url ? '_' : '/') ? 63 : -1;
}

size_t base64_encode(char *out, struct bytes data, bool url)
{
	char *next = out;

	for (size_t i = 0; i < data.size; i += 3) {
		size_t left = data.size - i;
		unsigned group = (unsigned)data.data[i] << 16;
		group |= left > 1 ? (unsigned)data.data[i + 1] << 8 : 0;
		group |= left > 2 ? data.data[i + 2] : 0;
		*next++ = digit_of(group >> 18, url);
		*next++ = digit_of(group >> 12 & 63, url);
		if (left > 1) {
			*next++ = digit_of(group >> 6 & 63, url);
		} else if (!url) {
			*next++ = '=';
		}
		if (left > 2) {
			*next++ = digit_of(group & 63, url);
		} else if (!url) {
			*next++ = '=';
		}
	}
	return (size_t)(next - out);
}

int base64_decode(uint8_t *out, struct bytes text, bool url, size_t *ret_size)
{
	size_t size = text.size, written = 0;
	unsigned group = 0, bits = 0;

	if (!url) {
		if (size % 4 != 0) {
			return ANNALS_E_INVALID;
		}
		if (size > 0 && text.data[size - 1] == '=') {
			size -= text.data[size - 2] == '=' ? 2 : 1;
		}
	}
	if (size % 4 == 1) {
		return ANNALS_E_INVALID;
	}
	for (size_t i = 0; i < size; i++) {
		int value = value_of(text.data[i], url);
		if (value < 0) {
			return ANNALS_E_INVALID;
		}
		group = group << 6 | (unsigned)value;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[written++] = (uint8_t)(group >> bits);
		}
	}
	if ((group & ((1u << bits) - 1)) != 0) {
		return ANNALS_E_INVALID;
	}
	*ret_size = written;
	return 0;
}
