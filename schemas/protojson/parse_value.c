/* Values that are no messages, and the well-known types that are written as one value. */
#include "field.h"
#include "model.h"
#include "parse.h"
#include "scalar.h"
#include <math.h>

int parse_text(struct parser *parser, const struct json_value *value, struct bytes *ret)
{
	buf_reset(&parser->scratch);
	return json_string(value, &parser->scratch, ret) == 0 ? 0 : parse_fail_memory(parser);
}

static int invalid(struct parser *parser, const struct json_value *value, const char *problem)
{
	return parse_fail(parser, ANNALS_E_VALIDATION, problem, value->raw.data);
}

/* The text of a number, written bare or in quotes. */
static int number_text(struct parser *parser, const struct json_value *value, struct bytes *ret)
{
	if (value->type == JSON_NUMBER) {
		*ret = value->raw;
		return 0;
	}
	if (value->type != JSON_STRING) {
		return invalid(parser, value, "a number was expected");
	}
	return parse_text(parser, value, ret);
}

static int parse_integer(struct parser *parser, const struct json_value *value, int64_t minimum,
	uint64_t maximum, uint64_t *ret)
{
	struct bytes text;
	int status = number_text(parser, value, &text);
	if (status != 0) {
		return status;
	}
	status = scalar_parse_integer(text, minimum, maximum, ret);
	if (status == ANNALS_E_MALFORMED) {
		return invalid(parser, value, "not an integer");
	}
	return status == 0 ? 0 : invalid(parser, value, "integer out of range");
}

/* "NaN", "Infinity" and "-Infinity". */
static bool parse_special(const struct json_value *value, double *ret)
{
	if (value->type != JSON_STRING || value->escaped) {
		return false;
	}
	const struct bytes text = bytes_of(value->raw.data + 1, value->raw.size - 2);
	if (bytes_is(text, "NaN")) {
		*ret = (double)NAN;
	} else if (bytes_is(text, "Infinity")) {
		*ret = (double)INFINITY;
	} else if (bytes_is(text, "-Infinity")) {
		*ret = -(double)INFINITY;
	} else {
		return false;
	}
	return true;
}

static int parse_double(struct parser *parser, const struct json_value *value, uint64_t *ret_bits)
{
	struct bytes text;
	double number;
	if (!parse_special(value, &number)) {
		const int status = number_text(parser, value, &text);
		if (status != 0) {
			return status;
		}
		if (!scalar_is_number(text)) {
			return invalid(parser, value, "not a number");
		}
		if (scalar_parse_double(text, &number) != 0) {
			return invalid(parser, value, "number out of range");
		}
	}
	memcpy(ret_bits, &number, sizeof(number));
	return 0;
}

static int parse_float(struct parser *parser, const struct json_value *value, uint64_t *ret_bits)
{
	struct bytes text;
	uint32_t bits;
	double special;
	float number;
	if (parse_special(value, &special)) {
		number = (float)special;
	} else {
		const int status = number_text(parser, value, &text);
		if (status != 0) {
			return status;
		}
		if (!scalar_is_number(text)) {
			return invalid(parser, value, "not a number");
		}
		if (scalar_parse_float(text, &number) != 0) {
			return invalid(parser, value, "number out of range");
		}
	}
	memcpy(&bits, &number, sizeof(bits));
	*ret_bits = bits;
	return 0;
}

static int parse_enum(struct parser *parser, const struct descriptor_field *field,
	const struct json_value *value, uint64_t *ret)
{
	struct bytes text = value->raw;
	if (value->type == JSON_NULL && model_is_null_value(field)) {
		*ret = 0;
		return 0;
	}
	if (value->type != JSON_STRING && value->type != JSON_NUMBER) {
		return invalid(parser, value, "the name or number of an enum value was expected");
	}
	if (value->type == JSON_STRING) {
		const int status = parse_text(parser, value, &text);
		if (status != 0) {
			return status;
		}
		const struct descriptor_enum_value *known =
			descriptor_enum_value_by_name(field->enumeration, text);
		if (known != NULL) {
			*ret = (uint64_t)(int64_t)known->number;
			return 0;
		}
	}
	const int status = scalar_parse_integer(text, INT32_MIN, INT32_MAX, ret);
	if (status == ANNALS_E_INVALID) {
		return invalid(parser, value, "integer out of range");
	}
	if (status != 0 ||
		(field->enumeration->closed && descriptor_enum_value_by_number(field->enumeration,
						       (int32_t)*ret) == NULL)) {
		return invalid(parser, value, "not a value of the enum");
	}
	return 0;
}

static int parse_boolean(struct parser *parser, const struct json_value *value, uint64_t *ret)
{
	if (value->type != JSON_TRUE && value->type != JSON_FALSE) {
		return invalid(parser, value, "true or false was expected");
	}
	*ret = value->type == JSON_TRUE;
	return 0;
}

static uint64_t zigzag(uint64_t value)
{
	return value << 1 ^ (0 - (value >> 63));
}

/* Everything but text: the bits as they go on the wire. */
static int parse_number(struct parser *parser, const struct descriptor_field *field,
	const struct json_value *value, uint64_t *ret)
{
	int status;
	switch (field->type) {
	case DESCRIPTOR_DOUBLE:
		return parse_double(parser, value, ret);
	case DESCRIPTOR_FLOAT:
		return parse_float(parser, value, ret);
	case DESCRIPTOR_BOOL:
		return parse_boolean(parser, value, ret);
	case DESCRIPTOR_ENUM:
		return parse_enum(parser, field, value, ret);
	case DESCRIPTOR_INT32:
	case DESCRIPTOR_SFIXED32:
		return parse_integer(parser, value, INT32_MIN, INT32_MAX, ret);
	case DESCRIPTOR_SINT32:
		status = parse_integer(parser, value, INT32_MIN, INT32_MAX, ret);
		break;
	case DESCRIPTOR_UINT32:
	case DESCRIPTOR_FIXED32:
		return parse_integer(parser, value, 0, UINT32_MAX, ret);
	case DESCRIPTOR_INT64:
	case DESCRIPTOR_SFIXED64:
		return parse_integer(parser, value, INT64_MIN, INT64_MAX, ret);
	case DESCRIPTOR_SINT64:
		status = parse_integer(parser, value, INT64_MIN, INT64_MAX, ret);
		break;
	default:
		return parse_integer(parser, value, 0, UINT64_MAX, ret);
	}
	if (status == 0) {
		*ret = zigzag(*ret);
	}
	return status;
}

static int put_number(
	struct parser *parser, const struct descriptor_field *field, uint64_t bits, bool tagged)
{
	const unsigned wire_type = field->wire_type;
	uint8_t bytes[8];
	const int status = tagged ? parse_put_tag(parser, field, wire_type) : 0;
	if (status != 0) {
		return status;
	}
	if (wire_type == WIRE_VARINT) {
		return parse_put_varint(parser, bits);
	}
	store_u64(bytes, bits);
	return parse_put(parser, bytes, wire_type == WIRE_FIXED32 ? 4 : 8);
}

static int parse_base64(struct parser *parser, const struct json_value *value, struct bytes *ret)
{
	struct bytes text;
	size_t size, wrong_at;
	const int status = parse_text(parser, value, &text);
	if (status != 0) {
		return status;
	}
	buf_reset(&parser->other);
	if (buf_reserve(&parser->other, text.size / 4 * 3 + 3) != 0) {
		return parse_fail_memory(parser);
	}
	if (scalar_parse_base64(parser->other.data, text, &size, &wrong_at) != 0) {
		/* With escapes the place in the input is not known. */
		return parse_fail(parser, ANNALS_E_VALIDATION, "invalid base64",
			value->raw.data + (value->escaped ? 0 : 1 + wrong_at));
	}
	*ret = bytes_of(parser->other.data, size);
	return 0;
}

int parse_scalar(struct parser *parser, const struct descriptor_field *field,
	const struct json_value *value, bool tagged, bool skip_zero)
{
	struct bytes text;
	uint64_t bits;
	int status;
	if (field->wire_type != WIRE_BYTES) {
		status = parse_number(parser, field, value, &bits);
		if (status != 0 || (skip_zero && bits == 0)) {
			return status;
		}
		return put_number(parser, field, bits, tagged);
	}
	if (value->type != JSON_STRING) {
		return invalid(parser, value, "a string was expected");
	}
	status = field->type == DESCRIPTOR_BYTES ? parse_base64(parser, value, &text)
						 : parse_text(parser, value, &text);
	if (status != 0 || (skip_zero && text.size == 0)) {
		return status;
	}
	status = parse_put_tag(parser, field, WIRE_BYTES);
	return status == 0 ? parse_put_bytes(parser, text) : status;
}

/* Seconds as field 1 and nanoseconds as field 2. */
static int put_time(struct parser *parser, int64_t seconds, int32_t nanos)
{
	int status = 0;
	if (seconds != 0) {
		status = parse_put_varint(parser, FIELD_TAG(1, WIRE_VARINT));
		status = status == 0 ? parse_put_varint(parser, (uint64_t)seconds) : status;
	}
	if (status == 0 && nanos != 0) {
		status = parse_put_varint(parser, FIELD_TAG(2, WIRE_VARINT));
		status = status == 0 ? parse_put_varint(parser, (uint64_t)(int64_t)nanos) : status;
	}
	return status;
}

/* Paths between commas, each as field 1. */
static int put_mask(struct parser *parser, const struct json_value *value, struct bytes text)
{
	size_t start = 0;
	size_t size;
	for (size_t i = 0; text.size > 0 && i <= text.size; i++) {
		if (i < text.size && text.data[i] != ',') {
			continue;
		}
		const struct bytes path = bytes_of(text.data + start, i - start);
		buf_reset(&parser->other);
		if (buf_reserve(&parser->other, 2 * path.size + 1) != 0) {
			return parse_fail_memory(parser);
		}
		if (scalar_mask_to_snake(parser->other.data, path, &size) != 0) {
			return invalid(parser, value, "FieldMask path with an underscore");
		}
		int status = parse_put_varint(parser, FIELD_TAG(1, WIRE_BYTES));
		status = status == 0 ? parse_put_bytes(parser, bytes_of(parser->other.data, size))
				     : status;
		if (status != 0) {
			return status;
		}
		start = i + 1;
	}
	return 0;
}

int parse_leaf(struct parser *parser, enum wellknown kind, const struct descriptor_message *type,
	const struct json_value *value)
{
	struct bytes text;
	int64_t seconds;
	int32_t nanos;
	if (kind == WELLKNOWN_WRAPPER) {
		return parse_scalar(parser, descriptor_field_by_number(type, 1), value, true, true);
	}
	if (value->type != JSON_STRING) {
		return invalid(parser, value, "a string was expected");
	}
	const int status = parse_text(parser, value, &text);
	if (status != 0) {
		return status;
	}
	if (kind == WELLKNOWN_FIELD_MASK) {
		return put_mask(parser, value, text);
	}
	if (kind == WELLKNOWN_TIMESTAMP) {
		return scalar_parse_timestamp(text, &seconds, &nanos) == 0
			       ? put_time(parser, seconds, nanos)
			       : invalid(parser, value, "not a Timestamp");
	}
	return scalar_parse_duration(text, &seconds, &nanos) == 0
		       ? put_time(parser, seconds, nanos)
		       : invalid(parser, value, "not a Duration");
}
