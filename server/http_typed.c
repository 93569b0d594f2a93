#include "http_typed.h"

#include "op_validate.h"
#include "server.h"
#include <annals/cloudevents.h>
#include <annals/protojson.h>

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

static int convert(struct loop *loop, struct record *record, struct buf *scratch, struct error *err)
{
	const struct protojson_parse_options options = {.output_bytes_max = BATCH_BODY_BYTES_MAX};
	const struct registry_version *version = version_of(loop, record);

	if (version == NULL) {
		const bool shown = record->type.size > 0 && record->type.size <= 80;
		return error_fail(err, ANNALS_E_VALIDATION,
			"there is no schema for the type '%.*s' of JSON data",
			shown ? (int)record->type.size : 0,
			shown ? (const char *)record->type.data : "");
	}
	buf_reset(scratch);
	return protojson_parse(
		version->schema->pool, version->message, record->data, &options, scratch, err);
}

int http_typed_from_json(struct loop *loop, const struct topic *topic, struct record *record,
	struct buf *scratch, struct error *err)
{
	int status;

	if (topic->config.validation == VALIDATION_OFF || !record->has_data || !is_json(record)) {
		return 0;
	}
	status = convert(loop, record, scratch, err);
	if (status == 0) {
		record->data = scratch->size > 0 ? buf_bytes(scratch) : bytes_text("");
		record->datacontenttype = bytes_text("application/protobuf");
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

	if (!http_param(request, "data", &text)) {
		return false;
	}
	if (text.data != NULL && !bytes_is(text, "json") && !bytes_is(text, "stored")) {
		http_problem(request, ANNALS_E_INVALID, "'data' is neither json nor stored", NULL);
		return false;
	}
	reader->loop = http_loop(request);
	*ret_wanted = bytes_is(text, "json");
	return true;
}

void http_typed_reader_release(struct http_typed_reader *reader)
{
	buf_release(&reader->json);
}

int http_typed_to_json(struct http_typed_reader *reader, struct record *record)
{
	const struct protojson_print_options options = {
		.output_bytes_max = 4 * (size_t)BATCH_BODY_BYTES_MAX};
	const struct registry_version *version;
	int status;

	if (!record->has_data || !op_validate_is_protobuf(record->datacontenttype)) {
		return 0;
	}
	version = version_of(reader->loop, record);
	if (version == NULL) {
		return 0;
	}
	buf_reset(&reader->json);
	status = protojson_print(version->schema->pool, version->message, record->data, &options,
		&reader->json, NULL);
	if (status == 0) {
		record->data = buf_bytes(&reader->json);
		record->datacontenttype = bytes_text("application/json");
	}
	return status == ANNALS_E_NO_MEMORY ? status : 0;
}
