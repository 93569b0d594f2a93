#include "cloudevents_text.h"
#include <annals/cloudevents.h>
#include <annals/hash.h>
#include <annals/parse.h>
#include <inttypes.h>
#include <stdio.h>

static void write_time(struct json_writer *writer, const char *name, int64_t ns)
{
	char text[32];
	const size_t size = format_rfc3339_ns(text, ns);
	json_member_text(writer, name, bytes_of(text, size));
}

static void write_id(struct json_writer *writer, const struct record *record,
	const struct cloudevent_place *place)
{
	if (record->id.size > 0) {
		json_member_text(writer, "id", record->id);
		return;
	}
	char uuid[37];
	char text[80];
	uuid_format(uuid, place->topic_uuid);
	snprintf(text, sizeof(text), "%s-%" PRIu32 "-%" PRIu64, uuid, place->partition,
		place->offset);
	json_member_cstring(writer, "id", text);
}

static void write_source(struct json_writer *writer, const struct record *record,
	const struct cloudevent_place *place)
{
	if (record->source.size > 0) {
		json_member_text(writer, "source", record->source);
		return;
	}
	char text[300];
	snprintf(text, sizeof(text), "urn:annals:topic:%s", place->topic);
	json_member_cstring(writer, "source", text);
}

static void write_optional(struct json_writer *writer, const char *name, struct bytes text)
{
	if (text.size > 0) {
		json_member_text(writer, name, text);
	}
}

static void write_key(struct json_writer *writer, const struct record *record)
{
	if (!record->has_key) {
		return;
	}
	if (utf8_is_valid(record->key)) {
		json_member_text(writer, "partitionkey", record->key);
	} else {
		json_name(writer, "annalskey64");
		json_write_base64(writer, record->key, true);
	}
}

static void write_extension(struct json_writer *writer, const struct attribute *attribute)
{
	char time[32];
	json_name_bytes(writer, attribute->name);
	switch (attribute->kind) {
	case ATTRIBUTE_BOOLEAN:
		json_write_bool(writer, attribute->boolean);
		break;
	case ATTRIBUTE_INTEGER:
		json_write_i64(writer, attribute->integer);
		break;
	case ATTRIBUTE_BINARY:
		json_write_base64(writer, attribute->value, false);
		break;
	case ATTRIBUTE_TIMESTAMP:
		json_write_text(
			writer, bytes_of(time, format_rfc3339_ns(time, attribute->timestamp_ns)));
		break;
	case ATTRIBUTE_NONE:
	case ATTRIBUTE_TEXT:
	case ATTRIBUTE_URI:
	case ATTRIBUTE_URI_REFERENCE:
		json_write_text(writer, attribute->value);
		break;
	}
}

/* Names the server writes itself, and those that would collide with the event's own members. */
static bool is_reserved(struct bytes name)
{
	static const char *const names[] = {"specversion", "id", "source", "type", "subject",
		"time", "datacontenttype", "dataschema", "data", "partitionkey", "annalskey64",
		"annalspartition", "annalsoffset", "annalsposition", "annalsversion", "annalstopic",
		"recordedtime", "annalstags", "annalsdue", "annalslost"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
		if (bytes_is(name, names[i])) {
			return true;
		}
	}
	return false;
}

static void write_extensions(struct json_writer *writer, const struct record *record)
{
	size_t cursor = 0;
	struct attribute attribute;
	while (record_next_extension(record, &cursor, &attribute) == 1) {
		const bool twice =
			record->schema_version != 0 && bytes_is(attribute.name, "schemaversion");
		if (!twice && !is_reserved(attribute.name)) {
			write_extension(writer, &attribute);
		}
	}
}

/* Joined by commas; a tag that has one itself is left out of this form. */
static void write_tags(struct json_writer *writer, const struct record *record)
{
	ANNALS_CLEANUP(buf_release) struct buf joined = BUF_INIT;
	size_t cursor = 0;
	struct bytes tag;
	while (record_next_tag(record, &cursor, &tag) == 1) {
		if (tag.size == 0 || memchr(tag.data, ',', tag.size) != NULL) {
			continue;
		}
		if ((joined.size > 0 && buf_add_byte(&joined, ',') != 0) ||
			buf_add(&joined, tag.data, tag.size) != 0) {
			writer->status = ANNALS_E_NO_MEMORY;
			return;
		}
	}
	if (joined.size > 0) {
		json_member_text(writer, "annalstags", buf_bytes(&joined));
	}
}

static void write_data(struct json_writer *writer, const struct record *record)
{
	if (!record->has_data) {
		return;
	}
	if (media_type_is_json(record->datacontenttype)) {
		struct json_value value;
		if (json_read(record->data, &value, NULL) == 0) {
			json_name(writer, "data");
			json_write_raw(writer, value.raw);
			return;
		}
	} else if (media_type_is_text(record->datacontenttype) && utf8_is_valid(record->data)) {
		json_member_text(writer, "data", record->data);
		return;
	}
	json_name(writer, "data_base64");
	json_write_base64(writer, record->data, false);
}

int cloudevent_to_json(
	struct buf *out, const struct record *record, const struct cloudevent_place *place)
{
	const int64_t recorded_ns = (int64_t)(place->recorded_us * 1000);
	const size_t start = out->size;
	struct json_writer writer;
	json_writer_init(&writer, out);
	json_begin_object(&writer);
	json_member_cstring(&writer, "specversion", "1.0");
	write_id(&writer, record, place);
	write_source(&writer, record, place);
	json_member_text(
		&writer, "type", record->type.size > 0 ? record->type : bytes_text("annals.event"));
	write_optional(&writer, "subject", record->subject);
	write_time(&writer, "time", record->has_time ? record->time_ns : recorded_ns);
	write_optional(&writer, "datacontenttype", record->datacontenttype);
	write_optional(&writer, "dataschema", record->dataschema);
	write_key(&writer, record);
	if (record->schema_version != 0) {
		json_member_u64(&writer, "schemaversion", record->schema_version);
	}
	write_extensions(&writer, record);
	write_tags(&writer, record);
	if (record->has_due) {
		write_time(&writer, "annalsdue", record->due_ns);
	}
	json_member_u64(&writer, "annalspartition", place->partition);
	json_member_u64(&writer, "annalsoffset", place->offset);
	json_member_u64(&writer, "annalsposition", place->position);
	if (place->version != VERSION_NONE) {
		json_member_u64(&writer, "annalsversion", place->version);
	}
	write_time(&writer, "recordedtime", recorded_ns);
	write_data(&writer, record);
	json_end_object(&writer);
	if (writer.status != 0) {
		out->size = start;
	}
	return writer.status;
}
