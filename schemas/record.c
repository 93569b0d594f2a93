/* Decoding and walking events; record_encode.c writes them. */
#include <annals/record.h>

#include <annals/hash.h>
#include <assert.h>

#include "field.h"
#include "record_fields.h"

/* Names that an extension must not take: CloudEvents 1.0's own attributes, and the one that `key`
 * stands for. */
static bool is_reserved_name(struct bytes name)
{
	static const char *const reserved[] = {"id", "source", "type", "subject", "time", "data",
		"specversion", "datacontenttype", "dataschema", "partitionkey"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(reserved); i++) {
		if (bytes_is(name, reserved[i])) {
			return true;
		}
	}
	return false;
}

static int check_text(struct bytes text, const char *name, struct error *err)
{
	if (text.size > RECORD_TEXT_BYTES_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"field '%s' has %zu bytes, the limit is %d", name, text.size,
			RECORD_TEXT_BYTES_MAX);
	}
	if (!field_is_utf8(text)) {
		return error_fail(err, ANNALS_E_VALIDATION, "field '%s' is not valid UTF-8", name);
	}
	return 0;
}

static int check_time(int64_t time_ns, const char *name, struct error *err)
{
	if (time_ns < RECORD_TIME_NS_MIN || time_ns > RECORD_TIME_NS_MAX) {
		return error_fail(err, ANNALS_E_VALIDATION,
			"field '%s' is a time outside the years 1678 to 2261", name);
	}
	return 0;
}

static int parse_attribute(struct bytes encoded, struct attribute *ret)
{
	struct attribute attribute = {.kind = ATTRIBUTE_NONE};
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(encoded, &cursor, &field)) > 0) {
		switch (field.tag) {
		case FIELD_TAG(1, WIRE_BYTES):
			attribute.name = field.bytes;
			continue;
		case FIELD_TAG(ATTRIBUTE_BOOLEAN, WIRE_VARINT):
			attribute.boolean = field.value != 0;
			break;
		case FIELD_TAG(ATTRIBUTE_INTEGER, WIRE_VARINT): {
			uint32_t zigzag = (uint32_t)field.value;
			attribute.integer = (int32_t)(zigzag >> 1 ^ (0u - (zigzag & 1)));
			break;
		}
		case FIELD_TAG(ATTRIBUTE_TEXT, WIRE_BYTES):
		case FIELD_TAG(ATTRIBUTE_BINARY, WIRE_BYTES):
		case FIELD_TAG(ATTRIBUTE_URI, WIRE_BYTES):
		case FIELD_TAG(ATTRIBUTE_URI_REFERENCE, WIRE_BYTES):
			attribute.value = field.bytes;
			break;
		case FIELD_TAG(ATTRIBUTE_TIMESTAMP, WIRE_FIXED64):
			attribute.timestamp_ns = (int64_t)field.value;
			break;
		default:
			if (FIELD_NUMBER(field.tag) <= ATTRIBUTE_TIMESTAMP) {
				return ANNALS_E_MALFORMED;
			}
			continue;
		}
		attribute.kind = (enum attribute_kind)FIELD_NUMBER(field.tag);
	}
	if (more < 0) {
		return more;
	}
	*ret = attribute;
	return 0;
}

static int parse_header(struct bytes encoded, struct record_header *ret)
{
	struct record_header header = {.has_value = false};
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(encoded, &cursor, &field)) > 0) {
		if (field.tag == FIELD_TAG(1, WIRE_BYTES)) {
			header.name = field.bytes;
		} else if (field.tag == FIELD_TAG(2, WIRE_BYTES)) {
			header.value = field.bytes;
			header.has_value = true;
		} else if (FIELD_NUMBER(field.tag) <= 2) {
			return ANNALS_E_MALFORMED;
		}
	}
	if (more < 0) {
		return more;
	}
	*ret = header;
	return 0;
}

static int check_attribute(const struct attribute *attribute, struct error *err)
{
	struct bytes name = attribute->name;
	if (name.size == 0 || name.size > RECORD_ATTRIBUTE_NAME_MAX) {
		return error_fail(err, ANNALS_E_VALIDATION,
			"the name of an extension has %zu characters instead of 1 to %d", name.size,
			RECORD_ATTRIBUTE_NAME_MAX);
	}
	for (size_t i = 0; i < name.size; i++) {
		uint8_t c = name.data[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) {
			return error_fail(err, ANNALS_E_VALIDATION,
				"the name of an extension has a character outside [a-z0-9]");
		}
	}
	const char *text = (const char *)name.data;
	if (is_reserved_name(name)) {
		return error_fail(err, ANNALS_E_VALIDATION,
			"extension '%.*s' has the name of a field", (int)name.size, text);
	}
	bool is_text = attribute->kind == ATTRIBUTE_TEXT || attribute->kind == ATTRIBUTE_URI ||
		       attribute->kind == ATTRIBUTE_URI_REFERENCE;
	if (is_text && !field_is_utf8(attribute->value)) {
		return error_fail(err, ANNALS_E_VALIDATION, "extension '%.*s' is not valid UTF-8",
			(int)name.size, text);
	}
	if (attribute->kind == ATTRIBUTE_TIMESTAMP &&
		(attribute->timestamp_ns < RECORD_TIME_NS_MIN ||
			attribute->timestamp_ns > RECORD_TIME_NS_MAX)) {
		return error_fail(err, ANNALS_E_VALIDATION,
			"extension '%.*s' is a time outside the years 1678 to 2261", (int)name.size,
			text);
	}
	return 0;
}

static int too_many(const char *what, int limit, struct error *err)
{
	return error_fail(err, ANNALS_E_TOO_LARGE, "the event has more than %d %s", limit, what);
}

static int malformed(const char *what, struct error *err)
{
	return error_fail(err, ANNALS_E_MALFORMED, "%s", what);
}

static int add_extension(
	struct record *record, struct bytes encoded, bool checked, struct error *err)
{
	struct attribute attribute;
	if (parse_attribute(encoded, &attribute) < 0) {
		return malformed("an extension is malformed", err);
	}
	if (checked) {
		if (record->extension_count == RECORD_EXTENSIONS_MAX) {
			return too_many("extensions", RECORD_EXTENSIONS_MAX, err);
		}
		int status = check_attribute(&attribute, err);
		if (status < 0) {
			return status;
		}
	}
	record->extension_count++;
	return 0;
}

static int add_header(struct record *record, struct bytes encoded, bool checked, struct error *err)
{
	struct record_header header;
	if (parse_header(encoded, &header) < 0) {
		return malformed("a header is malformed", err);
	}
	if (checked) {
		if (record->header_count == RECORD_HEADERS_MAX) {
			return too_many("headers", RECORD_HEADERS_MAX, err);
		}
		int status = check_text(header.name, "header.name", err);
		if (status < 0) {
			return status;
		}
	}
	record->header_count++;
	return 0;
}

static int add_tag(struct record *record, struct bytes tag, bool checked, struct error *err)
{
	if (checked) {
		if (record->tag_count == RECORD_TAGS_MAX) {
			return too_many("tags", RECORD_TAGS_MAX, err);
		}
		int status = check_text(tag, "tag", err);
		if (status < 0) {
			return status;
		}
	}
	record->tag_count++;
	return 0;
}

/* Extensions are a map: no name may be there twice. They are few. */
static int check_names_differ(const struct record *record, struct error *err)
{
	struct bytes names[RECORD_EXTENSIONS_MAX];
	struct attribute attribute;
	size_t cursor = 0;
	for (uint32_t count = 0; count < RECORD_EXTENSIONS_MAX; count++) {
		if (record_next_extension(record, &cursor, &attribute) == 0) {
			break;
		}
		for (uint32_t i = 0; i < count; i++) {
			if (bytes_equal(names[i], attribute.name)) {
				return error_fail(err, ANNALS_E_VALIDATION,
					"extension '%.*s' occurs twice", (int)attribute.name.size,
					(const char *)attribute.name.data);
			}
		}
		names[count] = attribute.name;
	}
	return 0;
}

/* Inlined twice, so that the trusted form carries no checks at all. */
static inline __attribute__((always_inline)) int decode(
	struct bytes encoded, struct record *record, bool checked, struct error *err)
{
	struct field field;
	size_t cursor = 0;
	int more;
	int status = 0;
	while ((more = field_next(encoded, &cursor, &field)) > 0) {
		switch (field.tag) {
#define TEXT_FIELD(member)                                                                         \
	case FIELD_TAG(EVENT_##member, WIRE_BYTES):                                                \
		record->member = field.bytes;                                                      \
		status = checked ? check_text(field.bytes, #member, err) : 0;                      \
		break;
			TEXT_FIELD(id)
			TEXT_FIELD(source)
			TEXT_FIELD(type)
			TEXT_FIELD(subject)
			TEXT_FIELD(datacontenttype)
			TEXT_FIELD(dataschema)
#undef TEXT_FIELD
		case FIELD_TAG(EVENT_time_ns, WIRE_FIXED64):
			record->has_time = true;
			record->time_ns = (int64_t)field.value;
			status = checked ? check_time(record->time_ns, "time_ns", err) : 0;
			break;
		case FIELD_TAG(EVENT_due_ns, WIRE_FIXED64):
			record->has_due = true;
			record->due_ns = (int64_t)field.value;
			status = checked ? check_time(record->due_ns, "due_ns", err) : 0;
			break;
		case FIELD_TAG(EVENT_key, WIRE_BYTES):
			record->has_key = true;
			record->key = field.bytes;
			if (checked && field.bytes.size > RECORD_KEY_BYTES_MAX) {
				return error_fail(err, ANNALS_E_TOO_LARGE,
					"field 'key' has %zu bytes, the limit is %d",
					field.bytes.size, RECORD_KEY_BYTES_MAX);
			}
			break;
		case FIELD_TAG(EVENT_data, WIRE_BYTES):
			record->has_data = true;
			record->data = field.bytes;
			break;
		case FIELD_TAG(EVENT_schema_version, WIRE_VARINT):
			record->schema_version = (uint32_t)field.value;
			break;
		case FIELD_TAG(EVENT_extension, WIRE_BYTES):
			status = add_extension(record, field.bytes, checked, err);
			break;
		case FIELD_TAG(EVENT_header, WIRE_BYTES):
			status = add_header(record, field.bytes, checked, err);
			break;
		case FIELD_TAG(EVENT_tag, WIRE_BYTES):
			status = add_tag(record, field.bytes, checked, err);
			break;
		default:
			if (FIELD_NUMBER(field.tag) <= EVENT_FIELD_LAST) {
				return error_fail(err, ANNALS_E_MALFORMED,
					"field %u of the event has the wrong wire type",
					FIELD_NUMBER(field.tag));
			}
		}
		if (ANNALS_UNLIKELY(status < 0)) {
			return status;
		}
	}
	if (more < 0) {
		return error_fail(
			err, ANNALS_E_MALFORMED, "the event is malformed at byte %zu", cursor);
	}
	record->encoded = encoded;
	return checked && record->extension_count > 1 ? check_names_differ(record, err) : 0;
}

int record_decode(struct bytes encoded, struct record *ret_record, struct error *err)
{
	struct record record = {.has_time = false};
	int status = decode(encoded, &record, true, err);
	if (status == 0) {
		*ret_record = record;
	}
	return status;
}

int record_decode_trusted(struct bytes encoded, struct record *ret_record)
{
	struct record record = {.has_time = false};
	int status = decode(encoded, &record, false, NULL);
	if (status == 0) {
		*ret_record = record;
	}
	return status;
}

static bool next_of(const struct record *record, size_t *cursor, uint32_t number, struct bytes *ret)
{
	struct field field;
	while (field_next(record->encoded, cursor, &field) > 0) {
		if (field.tag == FIELD_TAG(number, WIRE_BYTES)) {
			*ret = field.bytes;
			return true;
		}
	}
	return false;
}

int record_next_extension(const struct record *record, size_t *cursor, struct attribute *ret)
{
	struct bytes encoded;
	return next_of(record, cursor, EVENT_extension, &encoded) &&
	       parse_attribute(encoded, ret) == 0;
}

int record_next_header(const struct record *record, size_t *cursor, struct record_header *ret)
{
	struct bytes encoded;
	return next_of(record, cursor, EVENT_header, &encoded) && parse_header(encoded, ret) == 0;
}

int record_next_tag(const struct record *record, size_t *cursor, struct bytes *ret)
{
	return next_of(record, cursor, EVENT_tag, ret);
}

uint32_t record_partition(struct bytes key, uint32_t partitions)
{
	assert(partitions > 0);
	return (hash_murmur2(key) & 0x7fffffffu) % partitions;
}
