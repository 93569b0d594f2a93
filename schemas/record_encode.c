/* Encoding events: measured first, then written into room that is known to suffice. */
#include <annals/record.h>

#include <assert.h>

#include "field.h"
#include "record_fields.h"

#define BATCH_FIELD_EVENT 1

static size_t text_size(struct bytes text)
{
	return text.size == 0 ? 0 : field_bytes_size(text.size);
}

static uint8_t *put_text(uint8_t *out, uint32_t number, struct bytes text)
{
	return text.size == 0 ? out : field_put_bytes(out, number, text);
}

static uint32_t zigzag(int32_t value)
{
	return (uint32_t)value << 1 ^ (value < 0 ? UINT32_MAX : 0);
}

static size_t attribute_size(const struct attribute *attribute)
{
	size_t size = text_size(attribute->name);
	switch (attribute->kind) {
	case ATTRIBUTE_NONE:
		return size;
	case ATTRIBUTE_BOOLEAN:
		return size + 2;
	case ATTRIBUTE_INTEGER:
		return size + field_number_size(zigzag(attribute->integer));
	case ATTRIBUTE_TIMESTAMP:
		return size + 9;
	case ATTRIBUTE_TEXT:
	case ATTRIBUTE_BINARY:
	case ATTRIBUTE_URI:
	case ATTRIBUTE_URI_REFERENCE:
		break;
	}
	return size + field_bytes_size(attribute->value.size);
}

static uint8_t *put_attribute(uint8_t *out, const struct attribute *attribute)
{
	out = put_text(out, 1, attribute->name);
	switch (attribute->kind) {
	case ATTRIBUTE_NONE:
		return out;
	case ATTRIBUTE_BOOLEAN:
		return field_put_number(out, ATTRIBUTE_BOOLEAN, attribute->boolean);
	case ATTRIBUTE_INTEGER:
		return field_put_number(out, ATTRIBUTE_INTEGER, zigzag(attribute->integer));
	case ATTRIBUTE_TIMESTAMP:
		return field_put_fixed64(
			out, ATTRIBUTE_TIMESTAMP, (uint64_t)attribute->timestamp_ns);
	case ATTRIBUTE_TEXT:
	case ATTRIBUTE_BINARY:
	case ATTRIBUTE_URI:
	case ATTRIBUTE_URI_REFERENCE:
		break;
	}
	return field_put_bytes(out, attribute->kind, attribute->value);
}

static size_t header_size(const struct record_header *header)
{
	return text_size(header->name) +
	       (header->has_value ? field_bytes_size(header->value.size) : 0);
}

static uint8_t *put_header(uint8_t *out, const struct record_header *header)
{
	out = put_text(out, 1, header->name);
	return header->has_value ? field_put_bytes(out, 2, header->value) : out;
}

size_t record_encoded_size(const struct record *record)
{
	size_t size = text_size(record->id) + text_size(record->source) + text_size(record->type) +
		      text_size(record->subject) + text_size(record->datacontenttype) +
		      text_size(record->dataschema);
	size += record->has_time ? 9 : 0;
	size += record->has_due ? 9 : 0;
	size += record->has_key ? field_bytes_size(record->key.size) : 0;
	size += record->has_data ? field_bytes_size(record->data.size) : 0;
	size += record->schema_version == 0 ? 0 : field_number_size(record->schema_version);
	for (uint32_t i = 0; i < record->extension_count; i++) {
		size += field_bytes_size(attribute_size(&record->extensions[i]));
	}
	for (uint32_t i = 0; i < record->header_count; i++) {
		size += field_bytes_size(header_size(&record->headers[i]));
	}
	for (uint32_t i = 0; i < record->tag_count; i++) {
		size += field_bytes_size(record->tags[i].size);
	}
	return size;
}

static uint8_t *put_submessage(uint8_t *out, uint32_t number, size_t size)
{
	out = field_put_varint(out, FIELD_TAG(number, WIRE_BYTES));
	return field_put_varint(out, size);
}

static uint8_t *put_record(uint8_t *out, const struct record *record)
{
	out = put_text(out, EVENT_id, record->id);
	out = put_text(out, EVENT_source, record->source);
	out = put_text(out, EVENT_type, record->type);
	out = put_text(out, EVENT_subject, record->subject);
	if (record->has_time) {
		out = field_put_fixed64(out, EVENT_time_ns, (uint64_t)record->time_ns);
	}
	out = put_text(out, EVENT_datacontenttype, record->datacontenttype);
	out = put_text(out, EVENT_dataschema, record->dataschema);
	if (record->has_key) {
		out = field_put_bytes(out, EVENT_key, record->key);
	}
	if (record->has_data) {
		out = field_put_bytes(out, EVENT_data, record->data);
	}
	if (record->schema_version != 0) {
		out = field_put_number(out, EVENT_schema_version, record->schema_version);
	}
	for (uint32_t i = 0; i < record->extension_count; i++) {
		const struct attribute *extension = &record->extensions[i];
		out = put_submessage(out, EVENT_extension, attribute_size(extension));
		out = put_attribute(out, extension);
	}
	for (uint32_t i = 0; i < record->header_count; i++) {
		const struct record_header *header = &record->headers[i];
		out = put_submessage(out, EVENT_header, header_size(header));
		out = put_header(out, header);
	}
	for (uint32_t i = 0; i < record->tag_count; i++) {
		out = field_put_bytes(out, EVENT_tag, record->tags[i]);
	}
	if (record->has_due) {
		out = field_put_fixed64(out, EVENT_due_ns, (uint64_t)record->due_ns);
	}
	return out;
}

int record_encode(const struct record *record, struct buf *out)
{
	size_t size = record_encoded_size(record);
	int status = buf_reserve(out, size);
	if (status < 0) {
		return status;
	}
	if (size > 0) {
		uint8_t *end = put_record(out->data + out->size, record);
		assert(end == out->data + out->size + size);
		out->size += size;
	}
	return 0;
}

int record_encode_in_batch(const struct record *record, struct buf *out)
{
	size_t size = record_encoded_size(record);
	size_t whole = field_bytes_size(size);
	int status = buf_reserve(out, whole);
	if (status < 0) {
		return status;
	}
	uint8_t *p = put_submessage(out->data + out->size, BATCH_FIELD_EVENT, size);
	p = put_record(p, record);
	assert(p == out->data + out->size + whole);
	out->size += whole;
	return 0;
}
