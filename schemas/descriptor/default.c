/* [default = ...] of proto2, as protoc writes it, and what holds without one. */
#include <annals/parse.h>
#include <stdlib.h>

#include "build.h"

static int fail(struct builder *builder, const struct descriptor_field *field, struct bytes text)
{
	return builder_fail(builder, ANNALS_E_VALIDATION, field->parent->file, field->full_name,
		"'%.*s' is no default value for %s", (int)ANNALS_MIN(text.size, 60u),
		(const char *)text.data, descriptor_type_name(field->type));
}

static uint64_t double_bits(double value)
{
	uint64_t bits;
	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* Decimal with an optional minus sign, within [min, max]. */
static bool read_integer(struct bytes text, uint64_t negative_max, uint64_t max, uint64_t *ret)
{
	const bool negative = text.size > 0 && text.data[0] == '-';
	uint64_t value;
	if (parse_u64(bytes_of(text.data + negative, text.size - negative), &value) != 0 ||
		value > (negative ? negative_max : max)) {
		return false;
	}
	*ret = negative ? 0 - value : value;
	return true;
}

static bool read_double(struct bytes text, bool single, uint64_t *ret)
{
	char copy[64];
	char *end;
	if (text.size == 0 || text.size >= sizeof(copy)) {
		return false;
	}
	memcpy(copy, text.data, text.size);
	copy[text.size] = '\0';
	const double value = strtod(copy, &end);
	*ret = double_bits(single ? (double)(float)value : value);
	return *end == '\0' && end != copy && copy[0] != ' ';
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* C escapes, as protoc writes bytes. Returns the character after; NULL for a wrong one. */
static const uint8_t *unescape(const uint8_t *at, const uint8_t *end, uint8_t *ret)
{
	static const char plain[] = "abfnrtv\\?'\"";
	static const char meaning[] = "\a\b\f\n\r\t\v\\?'\"";
	if (at == end) {
		return NULL;
	}
	const char *found = *at == 0 ? NULL : strchr(plain, *at);
	if (found != NULL) {
		*ret = (uint8_t)meaning[found - plain];
		return at + 1;
	}
	unsigned value = 0;
	unsigned digits = 0;
	if (*at == 'x' || *at == 'X') {
		for (at++; at < end && digits < 2 && hex_digit(*at) >= 0; at++, digits++) {
			value = value * 16 + (unsigned)hex_digit(*at);
		}
	} else {
		for (; at < end && digits < 3 && *at >= '0' && *at <= '7'; at++, digits++) {
			value = value * 8 + (unsigned)(*at - '0');
		}
	}
	*ret = (uint8_t)value;
	return digits == 0 || value > 255 ? NULL : at;
}

static int read_bytes(struct builder *builder, struct descriptor_field *field, struct bytes text)
{
	uint8_t *out = arena_alloc(&builder->pool->arena, text.size, 1);
	if (out == NULL) {
		return builder_no_memory(builder);
	}
	const uint8_t *at = text.data;
	const uint8_t *end = text.data + text.size;
	size_t size = 0;
	while (at < end) {
		if (*at != '\\') {
			out[size++] = *at++;
			continue;
		}
		at = unescape(at + 1, end, &out[size++]);
		if (at == NULL) {
			return fail(builder, field, text);
		}
	}
	field->default_bytes = bytes_of(out, size);
	return 0;
}

static int read_default(struct builder *builder, struct descriptor_field *field, struct bytes text)
{
	const struct descriptor_enum_value *value;
	bool good = false;
	switch (field->type) {
	case DESCRIPTOR_DOUBLE:
	case DESCRIPTOR_FLOAT:
		good = read_double(text, field->type == DESCRIPTOR_FLOAT, &field->default_value);
		break;
	case DESCRIPTOR_INT32:
	case DESCRIPTOR_SINT32:
	case DESCRIPTOR_SFIXED32:
		good = read_integer(
			text, (uint64_t)INT32_MAX + 1, INT32_MAX, &field->default_value);
		break;
	case DESCRIPTOR_INT64:
	case DESCRIPTOR_SINT64:
	case DESCRIPTOR_SFIXED64:
		good = read_integer(
			text, (uint64_t)INT64_MAX + 1, INT64_MAX, &field->default_value);
		break;
	case DESCRIPTOR_UINT32:
	case DESCRIPTOR_FIXED32:
		good = read_integer(text, 0, UINT32_MAX, &field->default_value);
		break;
	case DESCRIPTOR_UINT64:
	case DESCRIPTOR_FIXED64:
		good = read_integer(text, 0, UINT64_MAX, &field->default_value);
		break;
	case DESCRIPTOR_BOOL:
		good = bytes_is(text, "true") || bytes_is(text, "false");
		field->default_value = bytes_is(text, "true");
		break;
	case DESCRIPTOR_ENUM:
		value = descriptor_enum_value_by_name(field->enumeration, text);
		good = value != NULL;
		field->default_value = good ? (uint64_t)(int64_t)value->number : 0;
		break;
	case DESCRIPTOR_STRING:
		field->default_bytes = text;
		good = true;
		break;
	case DESCRIPTOR_BYTES:
		return read_bytes(builder, field, text);
	default:
		break;
	}
	return good ? 0 : fail(builder, field, text);
}

int builder_default(
	struct builder *builder, struct descriptor_field *field, const struct raw_field *raw)
{
	field->default_bytes = bytes_of("", 0);
	field->has_default = raw->has_default;
	if (raw->has_default) {
		return field->repeated ? fail(builder, field, raw->default_value)
				       : read_default(builder, field, raw->default_value);
	}
	if (field->enumeration != NULL && !field->repeated) {
		field->default_value = (uint64_t)(int64_t)field->enumeration->values[0].number;
	}
	return 0;
}
