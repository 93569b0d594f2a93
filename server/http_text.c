#include "http_text.h"
#include <annals/parse.h>
#include <strings.h>

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int http_percent_decode(struct bytes text, struct buf *out)
{
	const int status = buf_reserve(out, text.size);
	if (status != 0) {
		return status;
	}
	uint8_t *to = out->data + out->size;
	for (size_t i = 0; i < text.size; i++) {
		uint8_t c = text.data[i];
		if (c == '%') {
			const int high = i + 2 < text.size ? hex_digit(text.data[i + 1]) : -1;
			const int low = high >= 0 ? hex_digit(text.data[i + 2]) : -1;
			if (low < 0) {
				return ANNALS_E_MALFORMED;
			}
			c = (uint8_t)(high << 4 | low);
			i += 2;
		}
		if (c == 0) {
			return ANNALS_E_MALFORMED;
		}
		*to++ = c;
	}
	if (text.size > 0) {
		out->size = (size_t)(to - out->data);
	}
	return 0;
}

int http_percent_encode(struct bytes text, struct buf *out)
{
	static const char hex[] = "0123456789ABCDEF";
	const int status = buf_reserve(out, text.size * 3);
	if (status != 0) {
		return status;
	}
	for (size_t i = 0; i < text.size; i++) {
		const uint8_t c = text.data[i];
		const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
				   (c >= 'a' && c <= 'z') || c == '.' || c == '_' || c == '~' ||
				   c == '-';
		uint8_t *to = out->data + out->size;
		if (plain) {
			*to = c;
			out->size++;
		} else {
			to[0] = '%';
			to[1] = (uint8_t)hex[c >> 4];
			to[2] = (uint8_t)hex[c & 15];
			out->size += 3;
		}
	}
	return 0;
}

/* Cuts text at the first `separator`; *text becomes what follows it, empty if there is none. */
static struct bytes cut(struct bytes *text, char separator)
{
	const uint8_t *at = text->size > 0 ? memchr(text->data, separator, text->size) : NULL;
	const struct bytes whole = *text;
	if (at == NULL) {
		*text = bytes_of(NULL, 0);
		return whole;
	}
	const size_t size = (size_t)(at - whole.data);
	*text = bytes_of(at + 1, whole.size - size - 1);
	return bytes_of(whole.data, size);
}

static struct bytes trim(struct bytes text)
{
	while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
		text.data++;
		text.size--;
	}
	while (text.size > 0 &&
		(text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t')) {
		text.size--;
	}
	return text;
}

int http_query_next(
	struct bytes query, size_t *cursor, struct bytes *ret_name, struct bytes *ret_value)
{
	while (*cursor < query.size) {
		struct bytes rest = bytes_of(query.data + *cursor, query.size - *cursor);
		struct bytes pair = cut(&rest, '&');
		*cursor += pair.size + 1;
		if (pair.size > 0) {
			*ret_name = cut(&pair, '=');
			*ret_value = pair;
			return 1;
		}
	}
	return 0;
}

int http_query_get(struct bytes query, const char *name, struct buf *scratch, struct bytes *ret,
	struct error *err)
{
	size_t cursor = 0;
	struct bytes raw_name, raw_value, found = {NULL, 0};
	bool any = false;
	while (http_query_next(query, &cursor, &raw_name, &raw_value) == 1) {
		if (!bytes_is(raw_name, name)) {
			continue;
		}
		if (any) {
			return error_fail(
				err, ANNALS_E_INVALID, "parameter '%s' is given twice", name);
		}
		any = true;
		found = raw_value;
	}
	if (!any) {
		return 0;
	}
	const size_t start = scratch->size;
	const int status = http_percent_decode(found, scratch);
	if (status == ANNALS_E_NO_MEMORY) {
		return error_fail(err, status, "out of memory");
	}
	const struct bytes value = bytes_of(
		scratch->data != NULL ? scratch->data + start : NULL, scratch->size - start);
	if (status != 0 || !utf8_is_valid(value)) {
		return error_fail(err, ANNALS_E_MALFORMED,
			"parameter '%s' is no percent-encoded UTF-8", name);
	}
	*ret = value;
	return 1;
}

int http_path_next(struct bytes path, size_t *cursor, struct bytes *ret_segment)
{
	if (*cursor >= path.size) {
		return 0;
	}
	struct bytes rest = bytes_of(path.data + *cursor + 1, path.size - *cursor - 1);
	*ret_segment = cut(&rest, '/');
	*cursor += ret_segment->size + 1;
	return 1;
}

/* "q=0.8" in thousandths; 1000 without or when it is malformed. */
static unsigned quality(struct bytes parameters)
{
	while (parameters.size > 0) {
		const struct bytes parameter = trim(cut(&parameters, ';'));
		if (parameter.size < 3 || (parameter.data[0] | 0x20) != 'q' ||
			parameter.data[1] != '=') {
			continue;
		}
		unsigned value = 0;
		unsigned scale = 1000;
		for (size_t i = 2; i < parameter.size && scale > 0; i++) {
			const uint8_t c = parameter.data[i];
			if (c == '.' && i == 3) {
				continue;
			}
			if (c < '0' || c > '9') {
				return 1000;
			}
			value += (unsigned)(c - '0') * scale;
			scale /= 10;
		}
		return ANNALS_MIN(value, 1000u);
	}
	return 1000;
}

/* How closely a media range names a type: 3 exactly, 2 by its first half, 1 by any, 0 not at all.
 */
static unsigned match(struct bytes range, const char *type)
{
	const struct bytes text = bytes_text(type);
	if (bytes_is(range, "*/*")) {
		return 1;
	}
	if (range.size == text.size &&
		strncasecmp((const char *)range.data, type, range.size) == 0) {
		return 3;
	}
	const size_t half = range.size > 2 ? range.size - 1 : 0;
	if (half > 0 && range.data[half] == '*' && range.data[half - 1] == '/' &&
		half < text.size && strncasecmp((const char *)range.data, type, half) == 0) {
		return 2;
	}
	return 0;
}

static unsigned accepted(struct bytes accept, const char *type)
{
	unsigned best_match = 0;
	unsigned best_quality = 0;
	while (accept.size > 0) {
		struct bytes parameters = cut(&accept, ',');
		const struct bytes range = trim(cut(&parameters, ';'));
		const unsigned closeness = match(range, type);
		const unsigned q = quality(parameters);
		if (closeness > best_match || (closeness == best_match && q > best_quality)) {
			best_match = closeness;
			best_quality = closeness > 0 ? q : 0;
		}
	}
	return best_quality;
}

int http_accept(struct bytes accept, const char *const *types, size_t count)
{
	int best = -1;
	unsigned best_quality = 0;
	if (trim(accept).size == 0) {
		return count > 0 ? 0 : -1;
	}
	for (size_t i = 0; i < count; i++) {
		const unsigned q = accepted(accept, types[i]);
		if (q > best_quality) {
			best = (int)i;
			best_quality = q;
		}
	}
	return best;
}

bool http_prefer_wait(struct bytes prefer, struct bytes *ret_seconds)
{
	while (prefer.size > 0) {
		struct bytes preference = trim(cut(&prefer, ','));
		struct bytes first = cut(&preference, ';');
		const struct bytes name = trim(cut(&first, '='));
		if (name.size == 4 && strncasecmp((const char *)name.data, "wait", 4) == 0) {
			*ret_seconds = trim(first);
			return true;
		}
	}
	return false;
}
