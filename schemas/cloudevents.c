#include "cloudevents_text.h"
#include <annals/cloudevents.h>
#include <annals/parse.h>
#include <assert.h>

enum attribute_class {
	CLASS_TEXT, /* one of the record's texts */
	CLASS_SPECVERSION,
	CLASS_TIME,
	CLASS_DATA,
	CLASS_DATA_BASE64,
	CLASS_KEY,
	CLASS_KEY64,
	CLASS_SCHEMA_VERSION,
	CLASS_TAGS,
	CLASS_DUE,
	CLASS_SERVER,
};

/* Up to this size room for unescaping is made without looking for the event's end first. */
#define SHORT_EVENT_BYTES 4096

struct attribute_def {
	const char *name;
	uint8_t name_size;
	uint8_t bit;
	uint8_t class;
	uint16_t offset; /* of the struct bytes in struct record */
};

#define TEXT(name, bit)                                                                            \
	{                                                                                          \
#name, sizeof(#name) - 1, bit, CLASS_TEXT, offsetof(struct record, name)           \
	}
#define OTHER(name, bit, class)                                                                    \
	{                                                                                          \
#name, sizeof(#name) - 1, bit, class, 0                                            \
	}
enum {
	BIT_SPECVERSION,
	BIT_ID,
	BIT_SOURCE,
	BIT_TYPE,
	BIT_DATA = 7,
	BIT_DATA_BASE64,
	BIT_KEY = 10,
	BIT_KEY64
};
static const struct attribute_def attribute_defs[] = {
	OTHER(specversion, BIT_SPECVERSION, CLASS_SPECVERSION),
	TEXT(id, BIT_ID),
	TEXT(source, BIT_SOURCE),
	TEXT(type, BIT_TYPE),
	TEXT(subject, 4),
	TEXT(datacontenttype, 5),
	TEXT(dataschema, 6),
	OTHER(data, BIT_DATA, CLASS_DATA),
	OTHER(data_base64, BIT_DATA_BASE64, CLASS_DATA_BASE64),
	OTHER(time, 9, CLASS_TIME),
	OTHER(partitionkey, BIT_KEY, CLASS_KEY),
	OTHER(annalskey64, BIT_KEY64, CLASS_KEY64),
	OTHER(schemaversion, 12, CLASS_SCHEMA_VERSION),
	OTHER(annalspartition, 13, CLASS_SERVER),
	OTHER(annalsoffset, 14, CLASS_SERVER),
	OTHER(annalsposition, 15, CLASS_SERVER),
	OTHER(annalsversion, 16, CLASS_SERVER),
	OTHER(annalstopic, 17, CLASS_SERVER),
	OTHER(recordedtime, 18, CLASS_SERVER),
	OTHER(annalstags, 19, CLASS_TAGS),
	OTHER(annalsdue, 20, CLASS_DUE),
};

static const struct attribute_def *find_def(struct bytes name)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(attribute_defs); i++) {
		const struct attribute_def *def = &attribute_defs[i];
		if (def->name_size == name.size && memcmp(def->name, name.data, name.size) == 0) {
			return def;
		}
	}
	return NULL;
}

static int malformed(struct error *err, struct bytes name, const char *problem)
{
	return error_fail(err, ANNALS_E_MALFORMED, "attribute '%.*s' %s",
		(int)ANNALS_MIN(name.size, 64), (const char *)name.data, problem);
}

static int too_long(struct error *err, struct bytes name, size_t limit)
{
	return error_fail(err, ANNALS_E_TOO_LARGE, "attribute '%.*s' is longer than %zu bytes",
		(int)ANNALS_MIN(name.size, 64), (const char *)name.data, limit);
}

void cloudevent_init(struct cloudevent *event)
{
	memset(&event->record, 0, sizeof(event->record));
	buf_init(&event->scratch);
	event->seen = 0;
}

void cloudevent_release(struct cloudevent *event)
{
	if (event != NULL) {
		buf_release(&event->scratch);
	}
}

int cloudevent_begin(struct cloudevent *event, size_t header_bytes_max)
{
	memset(&event->record, 0, sizeof(event->record));
	event->seen = 0;
	buf_reset(&event->scratch);
	/* What was decoded must not move. Each text is written at most once unescaped, never longer
	 * than it was, and a base64 text once more in three quarters of that. */
	if (header_bytes_max > SIZE_MAX / 4) {
		return ANNALS_E_NO_MEMORY;
	}
	return buf_reserve(&event->scratch, header_bytes_max * 2 + 16);
}

static int set_base64(struct cloudevent *event, struct bytes name, struct bytes text, bool url,
	struct bytes *ret, struct error *err)
{
	struct buf *scratch = &event->scratch;
	size_t size;
	const int reserved = buf_reserve(scratch, text.size / 4 * 3 + 3);
	if (reserved != 0) {
		return error_fail(err, reserved, "out of memory");
	}
	uint8_t *out = scratch->data + scratch->size;
	if (base64_decode(out, text, url, &size) != 0) {
		return malformed(err, name, url ? "is no base64url" : "is no base64");
	}
	scratch->size += size;
	*ret = bytes_of(out, size);
	return 0;
}

static int set_key(struct record *record, struct bytes name, struct bytes key, struct error *err)
{
	if (key.size > RECORD_KEY_BYTES_MAX) {
		return too_long(err, name, RECORD_KEY_BYTES_MAX);
	}
	record->has_key = true;
	record->key = key;
	return 0;
}

static int add_extension(struct cloudevent *event, struct attribute attribute, struct error *err)
{
	struct record *record = &event->record;
	if (attribute.name.size == 0) {
		return error_fail(err, ANNALS_E_MALFORMED, "an attribute has an empty name");
	}
	if (attribute.name.size > RECORD_ATTRIBUTE_NAME_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"attribute name '%.*s' is longer than %d characters",
			(int)ANNALS_MIN(attribute.name.size, 64), (const char *)attribute.name.data,
			RECORD_ATTRIBUTE_NAME_MAX);
	}
	for (size_t i = 0; i < attribute.name.size; i++) {
		const uint8_t c = attribute.name.data[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) {
			return malformed(err, attribute.name, "has a name outside [a-z0-9]");
		}
	}
	for (uint32_t i = 0; i < record->extension_count; i++) {
		if (bytes_equal(event->extensions[i].name, attribute.name)) {
			return malformed(err, attribute.name, "appears twice");
		}
	}
	if (record->extension_count == RECORD_EXTENSIONS_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE, "more than %d extension attributes",
			RECORD_EXTENSIONS_MAX);
	}
	event->extensions[record->extension_count++] = attribute;
	record->extensions = event->extensions;
	return 0;
}

static int set_schema_version(struct cloudevent *event, struct bytes name, struct bytes text,
	enum attribute_kind kind, struct error *err)
{
	uint64_t version;
	if (parse_u64(text, &version) == 0 && version <= UINT32_MAX) {
		event->record.schema_version = (uint32_t)version;
		return 0;
	}
	if (kind != ATTRIBUTE_TEXT) {
		return malformed(err, name, "is no number from 0 to 4294967295");
	}
	return add_extension(event,
		(struct attribute){.name = name, .kind = ATTRIBUTE_TEXT, .value = text}, err);
}

/* "a,b": tags have no comma in this form. */
static int set_tags(
	struct cloudevent *event, struct bytes name, struct bytes text, struct error *err)
{
	struct record *record = &event->record;

	while (text.size > 0) {
		const uint8_t *comma = memchr(text.data, ',', text.size);
		const size_t size = comma != NULL ? (size_t)(comma - text.data) : text.size;
		if (size == 0) {
			return malformed(err, name, "holds an empty tag");
		}
		if (size > RECORD_TEXT_BYTES_MAX) {
			return too_long(err, name, RECORD_TEXT_BYTES_MAX);
		}
		if (record->tag_count == RECORD_TAGS_MAX) {
			return error_fail(err, ANNALS_E_TOO_LARGE, "an event has more than %d tags",
				RECORD_TAGS_MAX);
		}
		event->tags[record->tag_count++] = bytes_of(text.data, size);
		text = bytes_of(
			text.data + size + (comma != NULL), text.size - size - (comma != NULL));
	}
	record->tags = event->tags;
	return 0;
}

/* One of attribute_defs with its text; `data` and what is dropped are the caller's business. */
static int set_text(struct cloudevent *event, const struct attribute_def *def, struct bytes name,
	struct bytes text, struct error *err)
{
	struct record *record = &event->record;
	switch ((enum attribute_class)def->class) {
	case CLASS_TEXT:
		if (text.size == 0) {
			return malformed(err, name, "is empty");
		}
		if (text.size > RECORD_TEXT_BYTES_MAX) {
			return too_long(err, name, RECORD_TEXT_BYTES_MAX);
		}
		memcpy((char *)record + def->offset, &text, sizeof(text));
		return 0;
	case CLASS_SPECVERSION:
		return bytes_is(text, "1.0") ? 0 : malformed(err, name, "is not '1.0'");
	case CLASS_TIME:
		record->has_time = true;
		return parse_rfc3339_ns(text, &record->time_ns) == 0
			       ? 0
			       : malformed(err, name, "is no RFC 3339 time");
	case CLASS_KEY:
		return set_key(record, name, text, err);
	case CLASS_KEY64: {
		struct bytes key = {NULL, 0};
		const int status = set_base64(event, name, text, true, &key, err);
		return status != 0 ? status : set_key(record, name, key, err);
	}
	case CLASS_SCHEMA_VERSION:
		return set_schema_version(event, name, text, ATTRIBUTE_TEXT, err);
	case CLASS_DATA_BASE64:
		record->has_data = true;
		return set_base64(event, name, text, false, &record->data, err);
	case CLASS_TAGS:
		return set_tags(event, name, text, err);
	case CLASS_DUE:
		record->has_due = true;
		return parse_rfc3339_ns(text, &record->due_ns) == 0
			       ? 0
			       : malformed(err, name, "is no RFC 3339 time");
	case CLASS_DATA:
	case CLASS_SERVER:
		break;
	}
	return 0;
}

static int mark_seen(struct cloudevent *event, const struct attribute_def *def, struct error *err)
{
	const uint32_t bit = 1u << def->bit;
	if (event->seen & bit) {
		return malformed(err, bytes_text(def->name), "appears twice");
	}
	event->seen |= bit;
	return 0;
}

static bool seen(const struct cloudevent *event, unsigned bit)
{
	return (event->seen >> bit & 1) != 0;
}

static int set_extension_value(struct cloudevent *event, struct bytes name,
	const struct json_value *value, struct error *err)
{
	struct attribute attribute = {.name = name, .kind = ATTRIBUTE_TEXT};
	int64_t integer;
	switch (value->type) {
	case JSON_STRING:
		if (json_string(value, &event->scratch, &attribute.value) != 0) {
			return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
		}
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		attribute.kind = ATTRIBUTE_BOOLEAN;
		attribute.boolean = value->type == JSON_TRUE;
		break;
	case JSON_NUMBER:
		if (json_i64(value, &integer) != 0 || integer < INT32_MIN || integer > INT32_MAX) {
			return malformed(err, name, "is no integer of 32 bits");
		}
		attribute.kind = ATTRIBUTE_INTEGER;
		attribute.integer = (int32_t)integer;
		break;
	default:
		return malformed(err, name, "is neither a text, an integer nor a boolean");
	}
	return add_extension(event, attribute, err);
}

static int set_member(struct cloudevent *event, struct bytes name, const struct json_value *value,
	struct error *err)
{
	const struct attribute_def *def = find_def(name);
	if (def == NULL) {
		/* A member that is null is an attribute that is not set. */
		return value->type == JSON_NULL ? 0 : set_extension_value(event, name, value, err);
	}
	const int status = mark_seen(event, def, err);
	if (status != 0 || def->class == CLASS_SERVER) {
		return status;
	}
	if (def->class == CLASS_DATA) {
		event->data = *value;
		return 0;
	}
	if (value->type == JSON_NULL) {
		event->seen &= ~(1u << def->bit);
		return 0;
	}
	if (def->class == CLASS_SCHEMA_VERSION && value->type == JSON_NUMBER) {
		return set_schema_version(event, name, value->raw, ATTRIBUTE_INTEGER, err);
	}
	struct bytes text;
	if (value->type != JSON_STRING) {
		return malformed(err, name, "is not a text");
	}
	if (json_string(value, &event->scratch, &text) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	return set_text(event, def, name, text, err);
}

static int check_whole(const struct cloudevent *event, struct error *err)
{
	static const char *const required[] = {"specversion", "id", "source", "type"};
	for (unsigned bit = 0; bit < ANNALS_COUNT_OF(required); bit++) {
		if (!seen(event, bit)) {
			return error_fail(err, ANNALS_E_MALFORMED,
				"the required attribute '%s' is missing", required[bit]);
		}
	}
	return 0;
}

static int check_key(const struct cloudevent *event, struct error *err)
{
	return seen(event, BIT_KEY) && seen(event, BIT_KEY64)
		       ? error_fail(err, ANNALS_E_MALFORMED,
				 "attributes 'partitionkey' and 'annalskey64' are both given")
		       : 0;
}

static int set_json_data(struct cloudevent *event, struct error *err)
{
	struct record *record = &event->record;
	if (!seen(event, BIT_DATA)) {
		return 0;
	}
	if (seen(event, BIT_DATA_BASE64)) {
		return error_fail(
			err, ANNALS_E_MALFORMED, "members 'data' and 'data_base64' are both given");
	}
	if (media_type_is_json(record->datacontenttype)) {
		record->has_data = true;
		record->data = event->data.raw;
		return 0;
	}
	if (event->data.type == JSON_NULL) {
		return 0;
	}
	if (event->data.type != JSON_STRING) {
		return error_fail(err, ANNALS_E_MALFORMED,
			"member 'data' is not a text although datacontenttype is '%.*s'",
			(int)ANNALS_MIN(record->datacontenttype.size, 64),
			(const char *)record->datacontenttype.data);
	}
	record->has_data = true;
	return json_string(&event->data, &event->scratch, &record->data);
}

int cloudevent_scan(struct cloudevent *event, struct json_scanner *scanner, struct error *err)
{
	const size_t left = (size_t)(scanner->end - scanner->at);
	size_t room = left;
	if (left > SHORT_EVENT_BYTES) {
		/* What is unescaped must not move, and what is left may be a whole batch: look
		 * where this event ends. */
		struct json_scanner ahead = *scanner;
		struct json_value whole;
		if (json_scan(&ahead, &whole) != 0) {
			return json_fail(&ahead, err);
		}
		room = whole.raw.size;
	}
	int status = cloudevent_begin(event, room);
	if (status != 0) {
		return error_fail(err, status, "out of memory");
	}
	if (json_enter_object(scanner) != 0) {
		return json_fail(scanner, err);
	}
	struct json_value name, value;
	int more;
	while ((more = json_next_name(scanner, &name)) == 1) {
		struct bytes text;
		if (json_scan(scanner, &value) != 0) {
			return json_fail(scanner, err);
		}
		status = json_string(&name, &event->scratch, &text);
		status = status != 0 ? status : set_member(event, text, &value, err);
		if (status != 0) {
			return status;
		}
	}
	if (more < 0) {
		return json_fail(scanner, err);
	}
	status = check_whole(event, err);
	status = status != 0 ? status : check_key(event, err);
	return status != 0 ? status : set_json_data(event, err);
}

int cloudevent_from_json(struct cloudevent *event, struct bytes text, struct error *err)
{
	struct json_scanner scanner;
	json_scanner_init(&scanner, text);
	const int status = cloudevent_scan(event, &scanner, err);
	if (status != 0) {
		return status;
	}
	return json_finish(&scanner) == 0 ? 0 : json_fail(&scanner, err);
}

int cloudevent_add_text(
	struct cloudevent *event, struct bytes name, struct bytes text, struct error *err)
{
	const struct attribute_def *def = find_def(name);
	if (def == NULL) {
		return add_extension(event,
			(struct attribute){.name = name, .kind = ATTRIBUTE_TEXT, .value = text},
			err);
	}
	if (def->class == CLASS_DATA || def->class == CLASS_DATA_BASE64) {
		return malformed(err, name, "is no attribute but the body");
	}
	const int status = mark_seen(event, def, err);
	return status != 0 ? status : set_text(event, def, name, text, err);
}

int cloudevent_add_header(
	struct cloudevent *event, struct bytes name, struct bytes value, struct error *err)
{
	struct buf *scratch = &event->scratch;
	if (buf_reserve(scratch, name.size + value.size) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	uint8_t *lower = scratch->data + scratch->size;
	for (size_t i = 0; i < name.size; i++) {
		const uint8_t c = name.data[i];
		lower[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
	}
	scratch->size += name.size;
	name = bytes_of(lower, name.size);
	if (bytes_is(name, "datacontenttype")) {
		return error_fail(err, ANNALS_E_MALFORMED,
			"header 'ce-datacontenttype' must not be sent: the content type says it");
	}
	uint8_t *out = scratch->data + scratch->size;
	size_t size;
	if (header_value_decode(value, out, &size) != 0) {
		return malformed(err, name, "is no percent-encoded UTF-8");
	}
	scratch->size += size;
	return cloudevent_add_text(event, name, bytes_of(out, size), err);
}

int cloudevent_finish(struct cloudevent *event, struct bytes content_type, struct bytes data,
	bool whole, struct error *err)
{
	struct record *record = &event->record;
	int status = whole ? check_whole(event, err) : 0;
	if (status == 0 && !seen(event, BIT_TYPE)) {
		status = error_fail(
			err, ANNALS_E_MALFORMED, "the required attribute 'type' is missing");
	}
	status = status != 0 ? status : check_key(event, err);
	if (status != 0) {
		return status;
	}
	if (content_type.size > RECORD_TEXT_BYTES_MAX) {
		return too_long(err, bytes_text("datacontenttype"), RECORD_TEXT_BYTES_MAX);
	}
	record->datacontenttype = content_type;
	record->has_data = data.size > 0;
	record->data = data;
	return 0;
}
