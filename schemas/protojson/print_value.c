/* Values and their texts. */
#include "field.h"
#include "json_plain.h"
#include "model.h"
#include "print.h"
#include "scalar.h"
#include <annals/parse.h>
#include <math.h>

/* Room for `size` more bytes. */
static int reserve(struct printer *printer, size_t size)
{
	struct buf *out = printer->out;
	if (ANNALS_UNLIKELY(size > printer->out_limit - out->size)) {
		return error_fail(printer->err, ANNALS_E_TOO_LARGE,
			"the JSON would take more than %zu bytes",
			printer->out_limit - printer->out_start);
	}
	if (ANNALS_LIKELY(size <= out->capacity - out->size)) {
		return 0;
	}
	return buf_reserve(out, size) == 0
		       ? 0
		       : error_fail(printer->err, ANNALS_E_NO_MEMORY, "out of memory");
}

int print_raw(struct printer *printer, const void *text, size_t size)
{
	const int status = reserve(printer, size);
	if (status == 0 && size > 0) {
		memcpy(printer->out->data + printer->out->size, text, size);
		printer->out->size += size;
	}
	return status;
}

static int print_escape(struct printer *printer, uint8_t byte)
{
	static const char hex[] = "0123456789abcdef";
	static const char letters[] = "btn\0fr"; /* 8 to 13, but for 11 */
	char text[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
	size_t size = 2;
	if (byte == '"' || byte == '\\') {
		text[1] = (char)byte;
	} else if (byte >= 8 && byte <= 13 && byte != 11) {
		text[1] = letters[byte - 8];
	} else {
		size = 6;
	}
	return print_raw(printer, text, size);
}

int print_string(struct printer *printer, struct bytes text)
{
	if (!field_is_utf8(text)) {
		return print_fail(printer, ANNALS_E_VALIDATION, "text that is not UTF-8");
	}
	int status = reserve(printer, text.size + 2);
	if (status != 0) {
		return status;
	}
	printer->out->data[printer->out->size++] = '"';
	const uint8_t *at = text.data;
	const uint8_t *end = text.size > 0 ? at + text.size : at;
	while (at < end) {
		const uint8_t *plain = at;
		for (at = json_skip_plain(at, end); at < end && *at >= 0x80;
			at = json_skip_plain(at, end)) {
			while (at < end && *at >= 0x80) {
				at++;
			}
		}
		status = print_raw(printer, plain, (size_t)(at - plain));
		if (status == 0 && at < end) {
			status = print_escape(printer, *at++);
		}
		if (status != 0) {
			return status;
		}
	}
	return print_raw(printer, "\"", 1);
}

static int print_i64(struct printer *printer, int64_t value)
{
	char text[SCALAR_TEXT_MAX];
	return print_raw(printer, text, scalar_format_i64(text, value));
}

int print_quoted_i64(struct printer *printer, int64_t value)
{
	char text[SCALAR_TEXT_MAX + 2];
	const size_t size = scalar_format_i64(text + 1, value);
	text[0] = '"';
	text[size + 1] = '"';
	return print_raw(printer, text, size + 2);
}

int print_quoted_u64(struct printer *printer, uint64_t value)
{
	char text[SCALAR_TEXT_MAX + 2];
	const size_t size = scalar_format_u64(text + 1, value);
	text[0] = '"';
	text[size + 1] = '"';
	return print_raw(printer, text, size + 2);
}

static int print_special(struct printer *printer, double value)
{
	if (isnan(value)) {
		return print_raw(printer, "\"NaN\"", 5);
	}
	return value > 0 ? print_raw(printer, "\"Infinity\"", 10)
			 : print_raw(printer, "\"-Infinity\"", 11);
}

int print_double(struct printer *printer, double value)
{
	char text[SCALAR_TEXT_MAX];
	if (!isfinite(value)) {
		return print_special(printer, value);
	}
	return print_raw(printer, text, scalar_format_double(text, value));
}

static int print_float(struct printer *printer, uint32_t bits)
{
	char text[SCALAR_TEXT_MAX];
	float value;
	memcpy(&value, &bits, sizeof(value));
	if (!isfinite(value)) {
		return print_special(printer, (double)value);
	}
	return print_raw(printer, text, scalar_format_float(text, value));
}

static int print_base64(struct printer *printer, struct bytes data)
{
	const size_t size = data.size / 3 * 4 + (data.size % 3 > 0 ? 4 : 0);
	const int status = reserve(printer, size + 2);
	if (status != 0) {
		return status;
	}
	struct buf *out = printer->out;
	out->data[out->size] = '"';
	(void)base64_encode((char *)out->data + out->size + 1, data, false);
	out->data[out->size + 1 + size] = '"';
	out->size += size + 2;
	return 0;
}

static int32_t zigzag32(uint64_t value)
{
	const uint32_t low = (uint32_t)value;
	return (int32_t)(low >> 1 ^ (0 - (low & 1)));
}

static int64_t zigzag64(uint64_t value)
{
	return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

static int print_enum(struct printer *printer, const struct descriptor_field *field, int32_t number)
{
	if (printer->options->enum_numbers) {
		return print_i64(printer, number);
	}
	if (model_is_null_value(field)) {
		return print_raw(printer, "null", 4);
	}
	const struct descriptor_enum_value *value =
		descriptor_enum_value_by_number(field->enumeration, number);
	return value != NULL ? print_string(printer, bytes_text(value->name))
			     : print_i64(printer, number);
}

bool print_enum_known(const struct descriptor_field *field, uint64_t value)
{
	return !field->enumeration->closed ||
	       descriptor_enum_value_by_number(field->enumeration, (int32_t)value) != NULL;
}

int print_scalar(struct printer *printer, const struct descriptor_field *field, uint64_t value,
	struct bytes text)
{
	double number;
	switch (field->type) {
	case DESCRIPTOR_DOUBLE:
		memcpy(&number, &value, sizeof(number));
		return print_double(printer, number);
	case DESCRIPTOR_FLOAT:
		return print_float(printer, (uint32_t)value);
	case DESCRIPTOR_INT32:
	case DESCRIPTOR_SFIXED32:
		return print_i64(printer, (int32_t)value);
	case DESCRIPTOR_SINT32:
		return print_i64(printer, zigzag32(value));
	case DESCRIPTOR_UINT32:
	case DESCRIPTOR_FIXED32:
		return print_i64(printer, (uint32_t)value);
	case DESCRIPTOR_INT64:
	case DESCRIPTOR_SFIXED64:
		return print_quoted_i64(printer, (int64_t)value);
	case DESCRIPTOR_SINT64:
		return print_quoted_i64(printer, zigzag64(value));
	case DESCRIPTOR_UINT64:
	case DESCRIPTOR_FIXED64:
		return print_quoted_u64(printer, value);
	case DESCRIPTOR_BOOL:
		return print_raw(printer, value != 0 ? "true" : "false", value != 0 ? 4 : 5);
	case DESCRIPTOR_ENUM:
		return print_enum(printer, field, (int32_t)value);
	case DESCRIPTOR_BYTES:
		return print_base64(printer, text);
	default:
		return print_string(printer, text);
	}
}

int print_map_key(struct printer *printer, const struct descriptor_field *field, uint64_t value,
	struct bytes text)
{
	switch (field->type) {
	case DESCRIPTOR_INT32:
	case DESCRIPTOR_SFIXED32:
		return print_quoted_i64(printer, (int32_t)value);
	case DESCRIPTOR_SINT32:
		return print_quoted_i64(printer, zigzag32(value));
	case DESCRIPTOR_UINT32:
	case DESCRIPTOR_FIXED32:
		return print_quoted_u64(printer, (uint32_t)value);
	case DESCRIPTOR_BOOL:
		return print_raw(
			printer, value != 0 ? "\"true\"" : "\"false\"", value != 0 ? 6 : 7);
	default:
		/* 64 bits are quoted anyway. */
		return print_scalar(printer, field, value, text);
	}
}

int print_packed_next(
	const struct descriptor_field *field, struct bytes in, size_t *cursor, uint64_t *ret_value)
{
	const size_t left = in.size - *cursor;
	if (left == 0) {
		return 0;
	}
	switch (field->wire_type) {
	case WIRE_VARINT:
		return field_varint(in, cursor, ret_value) == 0 ? 1 : ANNALS_E_MALFORMED;
	case WIRE_FIXED32:
		if (left < 4) {
			return ANNALS_E_MALFORMED;
		}
		*ret_value = load_u32(in.data + *cursor);
		*cursor += 4;
		return 1;
	default:
		if (left < 8) {
			return ANNALS_E_MALFORMED;
		}
		*ret_value = load_u64(in.data + *cursor);
		*cursor += 8;
		return 1;
	}
}
