#include "http_fields.h"
#include <annals/parse.h>

static int read_ms(const struct json_value *value, struct buf *scratch, uint64_t *ret)
{
	struct bytes text;
	uint64_t ms;
	if (json_u64(value, &ms) == 0 && ms <= UINT64_MAX / 2000) {
		*ret = ms * 1000;
		return 0;
	}
	return json_string(value, scratch, &text) == 0 ? parse_duration_us(text, ret)
						       : ANNALS_E_INVALID;
}

static int read_field(const struct http_field *field, const struct json_value *value, void *out,
	struct buf *scratch, struct error *err)
{
	void *at = (char *)out + field->offset;
	uint64_t number;
	switch (field->kind) {
	case HTTP_FIELD_TEXT:
		if (json_string(value, scratch, at) != 0) {
			return error_fail(err, ANNALS_E_INVALID, "'%s' is no text", field->name);
		}
		return 0;
	case HTTP_FIELD_U64:
		if (json_u64(value, &number) != 0 || number > field->max) {
			return error_fail(err, ANNALS_E_INVALID, "'%s' is no number from 0 to %llu",
				field->name, (unsigned long long)field->max);
		}
		memcpy(at, &number, sizeof(number));
		return 0;
	case HTTP_FIELD_MS:
		if (read_ms(value, scratch, &number) != 0 || number > field->max) {
			return error_fail(err, ANNALS_E_INVALID,
				"'%s' is no duration in milliseconds, nor such as \"15s\", up to "
				"%llu ms",
				field->name, (unsigned long long)(field->max / 1000));
		}
		memcpy(at, &number, sizeof(number));
		return 0;
	case HTTP_FIELD_BOOL:
		return json_bool(value, at) == 0
			       ? 0
			       : error_fail(err, ANNALS_E_INVALID, "'%s' is neither true nor false",
					 field->name);
	case HTTP_FIELD_VALUE:
		memcpy(at, value, sizeof(*value));
		return 0;
	case HTTP_FIELD_IGNORED:
		break;
	}
	return 0;
}

int http_fields_read(struct bytes text, const struct http_field *fields, size_t count, void *out,
	struct buf *scratch, struct error *err)
{
	struct json_scanner scanner;
	struct json_value name, value;
	int more;
	if (text.size == 0) {
		return 0;
	}
	if (buf_reserve(scratch, text.size) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	json_scanner_init(&scanner, text);
	if (json_enter_object(&scanner) != 0) {
		return json_fail(&scanner, err);
	}
	while ((more = json_next_name(&scanner, &name)) == 1) {
		size_t i = 0;
		if (json_scan(&scanner, &value) != 0) {
			return json_fail(&scanner, err);
		}
		while (i < count && !json_string_is(&name, fields[i].name)) {
			i++;
		}
		if (i == count) {
			return error_fail(err, ANNALS_E_INVALID, "there is no member %.*s",
				(int)ANNALS_MIN(name.raw.size, 64), (const char *)name.raw.data);
		}
		if (value.type == JSON_NULL) {
			continue;
		}
		const int status = read_field(&fields[i], &value, out, scratch, err);
		if (status != 0) {
			return status;
		}
	}
	return more < 0 || json_finish(&scanner) != 0 ? json_fail(&scanner, err) : 0;
}

int http_fields_each(const struct json_value *array, const char *name,
	int (*fn)(void *arg, const struct json_value *element, struct error *err), void *arg,
	struct error *err)
{
	struct json_scanner scanner;
	struct json_value element;
	int more;
	if (array->raw.size == 0) {
		return 0;
	}
	json_scanner_init(&scanner, array->raw);
	if (json_enter_array(&scanner) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "'%s' is no array", name);
	}
	while ((more = json_next_element(&scanner)) == 1) {
		if (json_scan(&scanner, &element) != 0) {
			return json_fail(&scanner, err);
		}
		const int status = fn(arg, &element, err);
		if (status != 0) {
			return status;
		}
	}
	return more < 0 ? json_fail(&scanner, err) : 0;
}
