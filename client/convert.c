#include "convert.h"
#include "io.h"

#include <annals/macros.h>
#include <annals/varint.h>

static struct bytes in(struct annals_bytes bytes)
{
	return bytes_of(bytes.data, bytes.size);
}

static struct annals_bytes out(struct bytes bytes)
{
	return (struct annals_bytes){bytes.data, bytes.size};
}

/* The repeated fields of one event in the form that the encoder takes. */
struct repeated {
	struct attribute extensions[RECORD_EXTENSIONS_MAX];
	struct record_header headers[RECORD_HEADERS_MAX];
	struct bytes tags[RECORD_TAGS_MAX];
};

static int repeated_from(const struct annals_event *event, struct repeated *repeated,
	struct record *record, struct error *err)
{
	if (event->extension_count > RECORD_EXTENSIONS_MAX) {
		return error_fail(
			err, ANNALS_E_TOO_LARGE, "more than %d extensions", RECORD_EXTENSIONS_MAX);
	}
	if (event->header_count > RECORD_HEADERS_MAX) {
		return error_fail(
			err, ANNALS_E_TOO_LARGE, "more than %d headers", RECORD_HEADERS_MAX);
	}
	if (event->tag_count > RECORD_TAGS_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE, "more than %d tags", RECORD_TAGS_MAX);
	}
	for (uint32_t i = 0; i < event->extension_count; i++) {
		const struct annals_attribute *from = &event->extensions[i];
		repeated->extensions[i] = (struct attribute){in(from->name),
			(enum attribute_kind)from->kind, from->boolean != 0, from->integer,
			from->timestamp_ns, in(from->value)};
	}
	for (uint32_t i = 0; i < event->header_count; i++) {
		const struct annals_header *from = &event->headers[i];
		repeated->headers[i] = (struct record_header){
			in(from->name), from->has_value != 0, in(from->value)};
	}
	for (uint32_t i = 0; i < event->tag_count; i++) {
		repeated->tags[i] = in(event->tags[i]);
	}
	record->extensions = repeated->extensions;
	record->headers = repeated->headers;
	record->tags = repeated->tags;
	record->extension_count = event->extension_count;
	record->header_count = event->header_count;
	record->tag_count = event->tag_count;
	return ANNALS_OK;
}

static int too_large(size_t size, struct error *err)
{
	return error_fail(err, ANNALS_E_TOO_LARGE,
		"an event of %zu bytes exceeds the limit of a request, %u bytes", size,
		BODY_BYTES_MAX);
}

/* An event that was read goes on as the same bytes. */
static int copy_encoded(const struct annals_event *event, struct buf *body, struct error *err)
{
	struct record checked;
	struct bytes encoded = in(event->encoded);
	int status = record_decode(encoded, &checked, err);
	if (status != ANNALS_OK) {
		return status;
	}
	bool has_key = event->has_key || event->key.size > 0;
	if (checked.has_key != has_key || !bytes_equal(checked.key, in(event->key))) {
		return error_fail(err, ANNALS_E_VALIDATION, "the encoded event has another key");
	}
	size_t before = body->size;
	uint8_t head[1 + VARINT_BYTES_MAX] = {0x0a}; /* Batch.event */
	size_t head_size = 1 + varint_put(head + 1, encoded.size);
	if (buf_add(body, head, head_size) != ANNALS_OK ||
		buf_add(body, encoded.data, encoded.size) != ANNALS_OK) {
		body->size = before;
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for an event of %zu bytes",
			encoded.size);
	}
	return ANNALS_OK;
}

int event_encode(
	const struct annals_event *event, struct bytes id, struct buf *body, struct error *err)
{
	if (event->encoded.size > BODY_BYTES_MAX - 16) {
		return too_large(event->encoded.size, err);
	}
	if (event->encoded.size > 0) {
		return copy_encoded(event, body, err);
	}
	struct record record = {
		.id = event->id.size ? in(event->id) : id,
		.source = in(event->source),
		.type = in(event->type),
		.subject = in(event->subject),
		.datacontenttype = in(event->datacontenttype),
		.dataschema = in(event->dataschema),
		.key = in(event->key),
		.data = in(event->data),
		.has_time = event->has_time != 0,
		.has_key = event->has_key || event->key.size > 0,
		.has_data = event->has_data || event->data.size > 0,
		.time_ns = event->time_ns,
		.schema_version = event->schema_version,
	};
	struct repeated repeated;
	if (event->extension_count | event->header_count | event->tag_count) {
		int status = repeated_from(event, &repeated, &record, err);
		if (status != ANNALS_OK) {
			return status;
		}
	}
	if (record.type.size == 0) {
		return error_fail(err, ANNALS_E_VALIDATION, "the event has no type");
	}
	size_t size = record_encoded_size(&record), before = body->size;
	if (size > BODY_BYTES_MAX - 16) {
		return too_large(size, err);
	}
	if (record_encode_in_batch(&record, body) != ANNALS_OK) {
		body->size = before;
		return error_fail(
			err, ANNALS_E_NO_MEMORY, "no memory for an event of %zu bytes", size);
	}
	struct record checked;
	int status = record_decode(bytes_of(body->data + body->size - size, size), &checked, err);
	if (status != ANNALS_OK) {
		body->size = before;
	}
	return status;
}

void event_from_record(const struct record *record, struct annals_event *ret)
{
	ret->id = out(record->id);
	ret->source = out(record->source);
	ret->type = out(record->type);
	ret->subject = out(record->subject);
	ret->datacontenttype = out(record->datacontenttype);
	ret->dataschema = out(record->dataschema);
	ret->key = out(record->key);
	ret->data = out(record->data);
	ret->has_key = record->has_key;
	ret->has_data = record->has_data;
	ret->has_time = record->has_time;
	ret->schema_version = record->schema_version;
	ret->time_ns = record->time_ns;
	ret->extensions = NULL;
	ret->headers = NULL;
	ret->tags = NULL;
	ret->extension_count = record->extension_count;
	ret->header_count = record->header_count;
	ret->tag_count = record->tag_count;
	ret->encoded = out(record->encoded);
}

/* Enough of a record for the walks. */
static struct record record_of(const struct annals_event *event)
{
	return (struct record){.encoded = in(event->encoded),
		.extension_count = event->extension_count,
		.header_count = event->header_count,
		.tag_count = event->tag_count};
}

int annals_event_next_extension(
	const struct annals_event *event, size_t *cursor, struct annals_attribute *ret)
{
	struct record record = record_of(event);
	struct attribute found;
	if (record_next_extension(&record, cursor, &found) <= 0) {
		return 0;
	}
	*ret = (struct annals_attribute){out(found.name), (enum annals_attribute_kind)found.kind,
		found.boolean, found.integer, found.timestamp_ns, out(found.value)};
	return 1;
}

int annals_event_next_header(
	const struct annals_event *event, size_t *cursor, struct annals_header *ret)
{
	struct record record = record_of(event);
	struct record_header found;
	if (record_next_header(&record, cursor, &found) <= 0) {
		return 0;
	}
	*ret = (struct annals_header){out(found.name), found.has_value, out(found.value)};
	return 1;
}

int annals_event_next_tag(
	const struct annals_event *event, size_t *cursor, struct annals_bytes *ret)
{
	struct record record = record_of(event);
	struct bytes found;
	if (record_next_tag(&record, cursor, &found) <= 0) {
		return 0;
	}
	*ret = out(found);
	return 1;
}

int annals_event_decode(const void *encoded, size_t size, struct annals_event *ret_event,
	struct annals_error *error)
{
	struct record record;
	struct error err = {0, ""};
	int status = record_decode(bytes_of(encoded, size), &record, &err);
	if (status != ANNALS_OK) {
		return client_error_from(error, &err);
	}
	memset(ret_event, 0, sizeof(*ret_event));
	event_from_record(&record, ret_event);
	return ANNALS_OK;
}

uint32_t annals_partition_for_key(const void *key, size_t key_size, uint32_t partitions)
{
	return record_partition(bytes_of(key, key_size), partitions);
}
