#include "cloudevents_text.h"
#include <annals/cloudevents.h>
#include <annals/parse.h>
#include <strings.h>

static struct bytes media_type(struct bytes content_type)
{
	const uint8_t *semicolon =
		content_type.size > 0 ? memchr(content_type.data, ';', content_type.size) : NULL;
	if (semicolon != NULL) {
		content_type.size = (size_t)(semicolon - content_type.data);
	}
	while (content_type.size > 0 && (content_type.data[content_type.size - 1] == ' ' ||
						content_type.data[content_type.size - 1] == '\t')) {
		content_type.size--;
	}
	while (content_type.size > 0 && (*content_type.data == ' ' || *content_type.data == '\t')) {
		content_type.data++;
		content_type.size--;
	}
	return content_type;
}

bool media_type_is(struct bytes content_type, const char *type)
{
	const struct bytes text = media_type(content_type);
	return text.size == strlen(type) &&
	       strncasecmp((const char *)text.data, type, text.size) == 0;
}

bool media_type_starts(struct bytes content_type, const char *prefix)
{
	const struct bytes text = media_type(content_type);
	const size_t size = strlen(prefix);
	return text.size >= size && strncasecmp((const char *)text.data, prefix, size) == 0;
}

static bool ends(struct bytes text, const char *suffix)
{
	const size_t size = strlen(suffix);
	return text.size >= size &&
	       strncasecmp((const char *)text.data + text.size - size, suffix, size) == 0;
}

bool media_type_is_json(struct bytes content_type)
{
	const struct bytes text = media_type(content_type);
	return text.size == 0 || ends(text, "/json") || ends(text, "+json");
}

bool media_type_is_protobuf(struct bytes content_type)
{
	return content_type.size == 0 ||
	       memmem(content_type.data, content_type.size, "proto", 5) != NULL ||
	       bytes_is(content_type, "application/octet-stream");
}

bool media_type_is_text(struct bytes content_type)
{
	const struct bytes text = media_type(content_type);
	return media_type_starts(text, "text/") || ends(text, "/xml") || ends(text, "+xml") ||
	       ends(text, "/yaml") || ends(text, "+yaml") || ends(text, "/javascript") ||
	       ends(text, "/x-www-form-urlencoded");
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int header_value_decode(struct bytes value, uint8_t *out, size_t *ret_size)
{
	const bool quoted =
		value.size >= 2 && value.data[0] == '"' && value.data[value.size - 1] == '"';
	size_t at = quoted ? 1 : 0;
	const size_t end = value.size - at;
	size_t size = 0;
	while (at < end) {
		uint8_t c = value.data[at++];
		if (quoted && c == '\\') {
			if (at == end) {
				return ANNALS_E_MALFORMED;
			}
			c = value.data[at++];
		} else if (quoted && c == '"') {
			return ANNALS_E_MALFORMED;
		}
		out[size++] = c;
	}
	size_t decoded = 0;
	for (size_t i = 0; i < size; i++) {
		if (out[i] != '%') {
			out[decoded++] = out[i];
			continue;
		}
		const int high = i + 2 < size ? hex_digit(out[i + 1]) : -1;
		const int low = high >= 0 ? hex_digit(out[i + 2]) : -1;
		if (low < 0) {
			return ANNALS_E_MALFORMED;
		}
		out[decoded++] = (uint8_t)(high << 4 | low);
		i += 2;
	}
	if (!utf8_is_valid(bytes_of(out, decoded))) {
		return ANNALS_E_MALFORMED;
	}
	*ret_size = decoded;
	return 0;
}
