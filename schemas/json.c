#include <annals/json.h>
#include <annals/parse.h>
#include <assert.h>

#include "json_plain.h"

/* Length of the well-formed UTF-8 sequence at `at` (Unicode 15, table 3-7), 0 if there is none. */
static size_t utf8_sequence(const uint8_t *at, const uint8_t *end)
{
	const size_t left = (size_t)(end - at);
	const uint8_t b = at[0];
	if (b < 0x80) {
		return 1;
	}
	if (b < 0xc2 || b > 0xf4 || left < 2 || (at[1] & 0xc0) != 0x80) {
		return 0;
	}
	if (b < 0xe0) {
		return 2;
	}
	if (left < 3 || (at[2] & 0xc0) != 0x80) {
		return 0;
	}
	if (b < 0xf0) {
		return (b == 0xe0 && at[1] < 0xa0) || (b == 0xed && at[1] > 0x9f) ? 0 : 3;
	}
	if (left < 4 || (at[3] & 0xc0) != 0x80) {
		return 0;
	}
	return (b == 0xf0 && at[1] < 0x90) || (b == 0xf4 && at[1] > 0x8f) ? 0 : 4;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The code unit of four hex digits, or -1. */
static int32_t hex4(const uint8_t *at, const uint8_t *end)
{
	int32_t value = 0;
	if (end - at < 4) {
		return -1;
	}
	for (int i = 0; i < 4; i++) {
		const int digit = hex_digit(at[i]);
		if (digit < 0) {
			return -1;
		}
		value = value << 4 | digit;
	}
	return value;
}

/*
 * Reads the escape at `at` (a backslash). Returns the bytes it takes and the code point, or 0 when
 * it is none.
 */
static size_t read_escape(const uint8_t *at, const uint8_t *end, uint32_t *ret_code_point)
{
	static const char simple[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
	if (end - at < 2) {
		return 0;
	}
	if (at[1] != 'u') {
		for (size_t i = 0; i < sizeof(simple) - 1; i += 2) {
			if (at[1] == (uint8_t)simple[i]) {
				*ret_code_point = (uint8_t)simple[i + 1];
				return 2;
			}
		}
		return 0;
	}
	const int32_t unit = hex4(at + 2, end);
	if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff)) {
		return 0;
	}
	if (unit < 0xd800 || unit > 0xdbff) {
		*ret_code_point = (uint32_t)unit;
		return 6;
	}
	if (end - at < 12 || at[6] != '\\' || at[7] != 'u') {
		return 0;
	}
	const int32_t low = hex4(at + 8, end);
	if (low < 0xdc00 || low > 0xdfff) {
		return 0;
	}
	*ret_code_point = 0x10000u + ((uint32_t)(unit - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
	return 12;
}

static int fail(struct json_scanner *scanner, const uint8_t *at, const char *problem)
{
	scanner->at = at;
	scanner->problem = problem;
	return ANNALS_E_MALFORMED;
}

static int fail_depth(struct json_scanner *scanner)
{
	return fail(scanner, scanner->at,
		scanner->depth_max > JSON_DEPTH_MAX ? "too many levels" : "more than 64 levels");
}

static const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end)
{
	while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
		at++;
	}
	return at;
}

/* Skips the string whose opening quote is at scanner->at. */
static int scan_string(struct json_scanner *scanner, bool *ret_escaped)
{
	const uint8_t *at = scanner->at + 1;
	const uint8_t *end = scanner->end;
	bool escaped = false;
	for (;;) {
		at = json_skip_plain(at, end);
		if (at == end) {
			return fail(scanner, at, "the text ends inside a string");
		}
		if (*at == '"') {
			break;
		}
		if (*at == '\\') {
			uint32_t code_point;
			const size_t used = read_escape(at, end, &code_point);
			if (used == 0) {
				return fail(scanner, at, "invalid escape in a string");
			}
			escaped = true;
			at += used;
		} else if (*at < 0x20) {
			return fail(scanner, at, "unescaped control character in a string");
		} else {
			const size_t used = utf8_sequence(at, end);
			if (used == 0) {
				return fail(scanner, at, "invalid UTF-8 in a string");
			}
			at += used;
		}
	}
	scanner->at = at + 1;
	*ret_escaped = escaped;
	return 0;
}

static const uint8_t *skip_digits(const uint8_t *at, const uint8_t *end)
{
	while (at < end && *at >= '0' && *at <= '9') {
		at++;
	}
	return at;
}

static int scan_number(struct json_scanner *scanner)
{
	const uint8_t *at = scanner->at;
	const uint8_t *end = scanner->end;
	if (*at == '-') {
		at++;
	}
	if (at < end && *at == '0') {
		at++;
	} else {
		const uint8_t *digits = at;
		at = skip_digits(at, end);
		if (at == digits) {
			return fail(scanner, at, "invalid number");
		}
	}
	if (at < end && *at == '.') {
		const uint8_t *digits = ++at;
		at = skip_digits(at, end);
		if (at == digits) {
			return fail(scanner, at, "invalid number");
		}
	}
	if (at < end && (*at == 'e' || *at == 'E')) {
		at++;
		if (at < end && (*at == '+' || *at == '-')) {
			at++;
		}
		const uint8_t *digits = at;
		at = skip_digits(at, end);
		if (at == digits) {
			return fail(scanner, at, "invalid number");
		}
	}
	scanner->at = at;
	return 0;
}

static int scan_literal(struct json_scanner *scanner, const char *literal)
{
	const size_t size = strlen(literal);
	if ((size_t)(scanner->end - scanner->at) < size ||
		memcmp(scanner->at, literal, size) != 0) {
		return fail(scanner, scanner->at, "a value was expected");
	}
	scanner->at += size;
	return 0;
}

/* A string, a number or a literal at scanner->at, which is before the end. */
static int scan_scalar(struct json_scanner *scanner, enum json_type *ret_type, bool *ret_escaped)
{
	*ret_escaped = false;
	switch (*scanner->at) {
	case '"':
		*ret_type = JSON_STRING;
		return scan_string(scanner, ret_escaped);
	case 't':
		*ret_type = JSON_TRUE;
		return scan_literal(scanner, "true");
	case 'f':
		*ret_type = JSON_FALSE;
		return scan_literal(scanner, "false");
	case 'n':
		*ret_type = JSON_NULL;
		return scan_literal(scanner, "null");
	default:
		if (*scanner->at == '-' || (*scanner->at >= '0' && *scanner->at <= '9')) {
			*ret_type = JSON_NUMBER;
			return scan_number(scanner);
		}
		return fail(scanner, scanner->at, "a value was expected");
	}
}

/* A member's name and its colon; leaves the cursor at the value. */
static int scan_name(struct json_scanner *scanner, struct json_value *ret)
{
	const uint8_t *start = scanner->at;
	bool escaped;
	if (start == scanner->end || *start != '"') {
		return fail(scanner, start, "a member name was expected");
	}
	const int status = scan_string(scanner, &escaped);
	if (status != 0) {
		return status;
	}
	*ret = (struct json_value){
		JSON_STRING, escaped, bytes_of(start, (size_t)(scanner->at - start))};
	scanner->at = skip_blanks(scanner->at, scanner->end);
	if (scanner->at == scanner->end || *scanner->at != ':') {
		return fail(scanner, scanner->at, "a colon was expected");
	}
	scanner->at = skip_blanks(scanner->at + 1, scanner->end);
	return 0;
}

/*
 * After a value on the innermost of `depth` levels: closes every level that ends here. Returns with
 * the cursor at the next value, or with *depth == 0.
 */
static int close_levels(struct json_scanner *scanner, uint64_t *objects, unsigned *depth)
{
	while (*depth > 0) {
		const bool object = *objects & 1;
		scanner->at = skip_blanks(scanner->at, scanner->end);
		if (scanner->at == scanner->end) {
			return fail(scanner, scanner->at,
				object ? "the text ends inside an object"
				       : "the text ends inside an array");
		}
		const uint8_t c = *scanner->at;
		if (c == ',') {
			scanner->at = skip_blanks(scanner->at + 1, scanner->end);
			struct json_value name;
			return object ? scan_name(scanner, &name) : 0;
		}
		if (c != (object ? '}' : ']')) {
			return fail(scanner, scanner->at,
				object ? "a comma or a closing brace was expected"
				       : "a comma or a closing bracket was expected");
		}
		scanner->at++;
		*objects >>= 1;
		(*depth)--;
	}
	return 0;
}

/* Skips the object or array at scanner->at; one bit per open level says which. */
static int scan_nested(struct json_scanner *scanner)
{
	uint64_t objects = 0;
	unsigned depth = 0;
	do {
		if (scanner->at == scanner->end) {
			return fail(scanner, scanner->at, "a value was expected");
		}
		const uint8_t c = *scanner->at;
		int status;
		if (c == '{' || c == '[') {
			if (scanner->depth + depth == scanner->depth_max || depth == 64) {
				return fail_depth(scanner);
			}
			depth++;
			objects = objects << 1 | (c == '{');
			scanner->at = skip_blanks(scanner->at + 1, scanner->end);
			const bool empty = scanner->at < scanner->end && *scanner->at == c + 2;
			if (!empty) {
				struct json_value name;
				status = c == '{' ? scan_name(scanner, &name) : 0;
				if (status != 0) {
					return status;
				}
				continue;
			}
		} else {
			enum json_type type;
			bool escaped;
			status = scan_scalar(scanner, &type, &escaped);
			if (status != 0) {
				return status;
			}
		}
		status = close_levels(scanner, &objects, &depth);
		if (status != 0) {
			return status;
		}
	} while (depth > 0);
	return 0;
}

void json_scanner_init(struct json_scanner *scanner, struct bytes text)
{
	*scanner = (struct json_scanner){
		text.data, text.data, text.data, 0, JSON_DEPTH_MAX, true, NULL};
	if (text.size > 0) {
		scanner->end += text.size;
		scanner->at = skip_blanks(scanner->at, scanner->end);
	}
}

int json_scan(struct json_scanner *scanner, struct json_value *ret)
{
	if (scanner->problem != NULL) {
		return ANNALS_E_MALFORMED;
	}
	const uint8_t *start = scanner->at;
	if (start == scanner->end) {
		return fail(scanner, start, "a value was expected");
	}
	struct json_value value = {.type = *start == '{' ? JSON_OBJECT : JSON_ARRAY};
	const int status = *start == '{' || *start == '['
				   ? scan_nested(scanner)
				   : scan_scalar(scanner, &value.type, &value.escaped);
	if (status != 0) {
		return status;
	}
	value.raw = bytes_of(start, (size_t)(scanner->at - start));
	*ret = value;
	return 0;
}

static int enter(struct json_scanner *scanner, uint8_t opening, const char *problem)
{
	if (scanner->problem != NULL) {
		return ANNALS_E_MALFORMED;
	}
	if (scanner->at == scanner->end || *scanner->at != opening) {
		return fail(scanner, scanner->at, problem);
	}
	if (scanner->depth == scanner->depth_max) {
		return fail_depth(scanner);
	}
	scanner->depth++;
	scanner->first = true;
	scanner->at++;
	return 0;
}

int json_enter_object(struct json_scanner *scanner)
{
	return enter(scanner, '{', "an object was expected");
}

int json_enter_array(struct json_scanner *scanner)
{
	return enter(scanner, '[', "an array was expected");
}

/* To the next member or element: 1, or 0 when the level closed. */
static int advance(struct json_scanner *scanner, uint8_t closing, const char *problem)
{
	if (scanner->problem != NULL) {
		return ANNALS_E_MALFORMED;
	}
	assert(scanner->depth > 0);
	scanner->at = skip_blanks(scanner->at, scanner->end);
	if (scanner->at < scanner->end && *scanner->at == closing) {
		scanner->at++;
		scanner->depth--;
		scanner->first = false;
		return 0;
	}
	if (!scanner->first) {
		if (scanner->at == scanner->end || *scanner->at != ',') {
			return fail(scanner, scanner->at, problem);
		}
		scanner->at = skip_blanks(scanner->at + 1, scanner->end);
	}
	scanner->first = false;
	return 1;
}

int json_next_name(struct json_scanner *scanner, struct json_value *ret_name)
{
	const int more = advance(scanner, '}', "a comma or a closing brace was expected");
	if (more != 1) {
		return more;
	}
	const int status = scan_name(scanner, ret_name);
	return status == 0 ? 1 : status;
}

int json_next_element(struct json_scanner *scanner)
{
	return advance(scanner, ']', "a comma or a closing bracket was expected");
}

int json_finish(struct json_scanner *scanner)
{
	if (scanner->problem != NULL) {
		return ANNALS_E_MALFORMED;
	}
	scanner->at = skip_blanks(scanner->at, scanner->end);
	return scanner->at == scanner->end
		       ? 0
		       : fail(scanner, scanner->at, "something follows the value");
}

size_t json_position(const struct json_scanner *scanner)
{
	return (size_t)(scanner->at - scanner->start);
}

int json_fail(const struct json_scanner *scanner, struct error *err)
{
	return error_fail(err, ANNALS_E_MALFORMED, "%s at byte %zu",
		scanner->problem != NULL ? scanner->problem : "invalid JSON",
		json_position(scanner));
}

bool json_is_valid(struct bytes text)
{
	struct json_scanner scanner;
	struct json_value value;
	json_scanner_init(&scanner, text);
	return json_scan(&scanner, &value) == 0 && json_finish(&scanner) == 0;
}

int json_read(struct bytes text, struct json_value *ret, struct error *err)
{
	struct json_scanner scanner;
	struct json_value value;
	json_scanner_init(&scanner, text);
	if (json_scan(&scanner, &value) != 0 || json_finish(&scanner) != 0) {
		return json_fail(&scanner, err);
	}
	*ret = value;
	return 0;
}

static size_t put_utf8(uint8_t *out, uint32_t code_point)
{
	if (code_point < 0x80) {
		out[0] = (uint8_t)code_point;
		return 1;
	}
	if (code_point < 0x800) {
		out[0] = (uint8_t)(0xc0 | code_point >> 6);
		out[1] = (uint8_t)(0x80 | (code_point & 0x3f));
		return 2;
	}
	if (code_point < 0x10000) {
		out[0] = (uint8_t)(0xe0 | code_point >> 12);
		out[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (code_point & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | code_point >> 18);
	out[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (code_point & 0x3f));
	return 4;
}

int json_string(const struct json_value *value, struct buf *scratch, struct bytes *ret)
{
	if (value->type != JSON_STRING) {
		return ANNALS_E_INVALID;
	}
	const uint8_t *at = value->raw.data + 1;
	const uint8_t *end = value->raw.data + value->raw.size - 1;
	if (!value->escaped) {
		*ret = bytes_of(at, (size_t)(end - at));
		return 0;
	}
	/* No escape is shorter than what it stands for. */
	const int status = buf_reserve(scratch, (size_t)(end - at));
	if (status != 0) {
		return status;
	}
	uint8_t *start = scratch->data + scratch->size;
	uint8_t *out = start;
	while (at < end) {
		const uint8_t *backslash = memchr(at, '\\', (size_t)(end - at));
		const size_t plain = (size_t)((backslash != NULL ? backslash : end) - at);
		memcpy(out, at, plain);
		out += plain;
		at += plain;
		if (at < end) {
			uint32_t code_point;
			const size_t used = read_escape(at, end, &code_point);
			assert(used > 0);
			out += put_utf8(out, code_point);
			at += used;
		}
	}
	scratch->size += (size_t)(out - start);
	*ret = bytes_of(start, (size_t)(out - start));
	return 0;
}

int json_u64(const struct json_value *value, uint64_t *ret)
{
	return value->type == JSON_NUMBER ? parse_u64(value->raw, ret) : ANNALS_E_INVALID;
}

int json_i64(const struct json_value *value, int64_t *ret)
{
	if (value->type != JSON_NUMBER) {
		return ANNALS_E_INVALID;
	}
	const bool negative = value->raw.data[0] == '-';
	uint64_t magnitude;
	const int status = parse_u64(
		bytes_of(value->raw.data + negative, value->raw.size - negative), &magnitude);
	if (status != 0 || magnitude > (uint64_t)INT64_MAX + negative) {
		return ANNALS_E_INVALID;
	}
	*ret = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
	return 0;
}

int json_bool(const struct json_value *value, bool *ret)
{
	if (value->type != JSON_TRUE && value->type != JSON_FALSE) {
		return ANNALS_E_INVALID;
	}
	*ret = value->type == JSON_TRUE;
	return 0;
}

bool json_string_is(const struct json_value *value, const char *text)
{
	if (value->type != JSON_STRING) {
		return false;
	}
	const size_t size = strlen(text);
	if (!value->escaped) {
		return value->raw.size == size + 2 && memcmp(value->raw.data + 1, text, size) == 0;
	}
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	struct bytes plain;
	return json_string(value, &scratch, &plain) == 0 && bytes_is(plain, text);
}
