#include "http_typed.h"

#include "server.h"
#include <annals/cloudevents.h>
#include <annals/extract_event.h>
#include <annals/project.h>
#include <annals/protojson.h>
#include <annals/validate.h>
#include <stdio.h>
#include <stdlib.h>

static const struct registry_version *version_of(struct loop *loop, const struct record *record)
{
	return registry_find(registry_view_get(loop->server->registry, &loop->schemas),
		record->type, record->schema_version);
}

static bool is_json(const struct record *record)
{
	return record->datacontenttype.size > 0
		       ? media_type_is_json(record->datacontenttype)
		       : record->data.size > 0 && record->data.data[0] == '{';
}

struct http_typed_event {
	struct buf protobuf;
	struct extract_event extract;
};

void http_typed_event_free(struct http_typed_event *event)
{
	if (event != NULL) {
		buf_release(&event->protobuf);
		extract_event_release(&event->extract);
		free(event);
	}
}

static int convert(const struct registry_version *version, struct record *record,
	struct buf *protobuf, struct error *err)
{
	const struct protojson_parse_options options = {.output_bytes_max = BATCH_BODY_BYTES_MAX};
	int status;

	if (version == NULL) {
		const bool shown = record->type.size > 0 && record->type.size <= 80;
		return error_fail(err, ANNALS_E_VALIDATION,
			"there is no schema for the type '%.*s' of JSON data",
			shown ? (int)record->type.size : 0,
			shown ? (const char *)record->type.data : "");
	}
	buf_reset(protobuf);
	status = protojson_parse(
		version->schema->pool, version->message, record->data, &options, protobuf, err);
	if (status == 0) {
		record->data = protobuf->size > 0 ? buf_bytes(protobuf) : bytes_text("");
		record->datacontenttype = bytes_text("application/protobuf");
	}
	return status;
}

static int extract(struct http_typed_event *event, const struct descriptor_message *type,
	struct record *record, struct error *err)
{
	/* What is wrong with the data is validation's to say, with the place. */
	if (validate_message(type, record->data, NULL, NULL, NULL) != 0) {
		return 0;
	}
	return extract_event_fill(&event->extract, type, record, err);
}

int http_typed_take(struct http_typed_event **event, struct loop *loop, const struct topic *topic,
	struct record *record, struct error *err)
{
	const struct registry_version *version = version_of(loop, record);
	struct record taken = *record;
	int status = 0;

	if (!record->has_data) {
		return 0;
	}
	if (*event == NULL && (*event = calloc(1, sizeof(**event))) == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for an event");
	}
	if (is_json(record)) {
		status = convert(version, &taken, &(*event)->protobuf, err);
	}
	if (status == 0 && version != NULL && extract_wanted(version->message) &&
		media_type_is_protobuf(taken.datacontenttype)) {
		status = extract(*event, version->message, &taken, err);
	}
	if (status == 0) {
		*record = taken;
		return 0;
	}
	return status == ANNALS_E_NO_MEMORY || topic->config.validation == VALIDATION_ENFORCE
		       ? status
		       : 0;
}

bool http_typed_reader_read(
	struct http_typed_reader *reader, struct http_request *request, bool *ret_wanted)
{
	struct bytes text;
	uint64_t version;

	if (!http_param(request, "data", &text) ||
		!http_param_u64(request, "schemaVersion", 0, 0, UINT32_MAX, &version)) {
		return false;
	}
	if (text.data != NULL && !bytes_is(text, "json") && !bytes_is(text, "stored")) {
		http_problem(request, ANNALS_E_INVALID, "'data' is neither json nor stored", NULL);
		return false;
	}
	reader->loop = http_loop(request);
	if (version != 0 && !bytes_is(text, "json")) {
		http_problem(request, ANNALS_E_INVALID, "'schemaVersion' needs data=json", NULL);
		return false;
	}
	reader->version = (uint32_t)version;
	*ret_wanted = bytes_is(text, "json");
	return true;
}

void http_typed_reader_release(struct http_typed_reader *reader)
{
	buf_release(&reader->json);
	buf_release(&reader->projected);
}

/* The data as the version that was asked for: *version and *data change, or both stay. */
static int project(struct http_typed_reader *reader, const struct record *record,
	const struct registry_version **version, struct bytes *data,
	char lost[HTTP_TYPED_LOST_BYTES])
{
	const struct registry_version *wanted = registry_find(
		registry_view_get(reader->loop->server->registry, &reader->loop->schemas),
		record->type, reader->version);
	struct project_report report;
	int status;

	if (wanted == NULL) {
		return 0;
	}
	buf_reset(&reader->projected);
	status = project_message((*version)->message, wanted->message, *data,
		4 * (size_t)BATCH_BODY_BYTES_MAX, &reader->projected, &report, NULL);
	if (status != 0) {
		return status == ANNALS_E_NO_MEMORY ? status : 0;
	}
	project_report_text(&report, lost);
	*version = wanted;
	*data = reader->projected.size > 0 ? buf_bytes(&reader->projected) : bytes_text("");
	return 0;
}

int http_typed_to_json(struct http_typed_reader *reader, struct record *record,
	char ret_lost[HTTP_TYPED_LOST_BYTES])
{
	const struct protojson_print_options options = {
		.output_bytes_max = 4 * (size_t)BATCH_BODY_BYTES_MAX};
	const struct registry_version *version;
	struct bytes data = record->data;
	int status = 0;

	ret_lost[0] = 0;
	if (!record->has_data || !media_type_is_protobuf(record->datacontenttype)) {
		return 0;
	}
	version = version_of(reader->loop, record);
	if (version == NULL) {
		return 0;
	}
	if (reader->version != 0) {
		status = project(reader, record, &version, &data, ret_lost);
	}
	if (status != 0) {
		return status;
	}
	buf_reset(&reader->json);
	status = protojson_print(
		version->schema->pool, version->message, data, &options, &reader->json, NULL);
	if (status == 0) {
		record->data = buf_bytes(&reader->json);
		record->datacontenttype = bytes_text("application/json");
	} else {
		ret_lost[0] = 0;
	}
	return status == ANNALS_E_NO_MEMORY ? status : 0;
}
