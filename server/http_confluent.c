/* Reading through Confluent's REST interface. */
#include "http_confluent.h"
#include <annals/parse.h>

#define MEDIA_TYPE "application/vnd.schemaregistry.v1+json"

void confluent_send(struct http_request *request, struct json_writer *writer)
{
	if (json_writer_status(writer) != 0) {
		buf_release(writer->out);
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	http_begin(request, 200, MEDIA_TYPE);
	http_send(request, writer->out);
}

void confluent_fail(struct http_request *request, int error_code, const char *text)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_u64(&writer, "error_code", (uint64_t)error_code);
	json_member_cstring(&writer, "message", text);
	json_end_object(&writer);
	http_begin(request, error_code >= 1000 ? error_code / 100 : error_code, MEDIA_TYPE);
	http_send(request, &body);
}

void confluent_op_fail(struct http_request *request, int unknown, int not_found, int conflict)
{
	const struct op *op = request->op;
	char text[sizeof(op->error.text)];
	int code;
	memcpy(text, op->error.text, sizeof(text));
	switch (op->status) {
	case ANNALS_E_UNKNOWN_SCHEMA:
		code = unknown;
		break;
	case ANNALS_E_NOT_FOUND:
		code = not_found;
		break;
	case ANNALS_E_CONFLICT:
		code = conflict;
		break;
	case ANNALS_E_INCOMPATIBLE_SCHEMA:
		code = CONFLUENT_INCOMPATIBLE;
		break;
	case ANNALS_E_INVALID:
	case ANNALS_E_MALFORMED:
	case ANNALS_E_VALIDATION:
	case ANNALS_E_TOO_LARGE:
		code = CONFLUENT_BAD_SCHEMA;
		break;
	case ANNALS_E_FORBIDDEN:
		code = CONFLUENT_NOT_PERMITTED;
		break;
	case ANNALS_E_UNSUPPORTED_OPERATION:
		code = CONFLUENT_NO_COMPILER;
		break;
	case ANNALS_E_TIMEOUT:
		code = CONFLUENT_TIMEOUT;
		break;
	default:
		code = CONFLUENT_STORE;
		break;
	}
	confluent_fail(request, code, text);
}

static void write_schema(struct json_writer *writer, const struct registry_schema *schema)
{
	json_member_cstring(writer, "schemaType", "PROTOBUF");
	if (schema->reference_count > 0) {
		http_schema_write_references(writer, schema);
	}
	http_schema_write_text(writer, "schema", schema);
}

void confluent_write_version(struct json_writer *writer, struct bytes subject, uint32_t version,
	const struct registry_schema *schema)
{
	json_begin_object(writer);
	json_member_text(writer, "subject", subject);
	json_member_u64(writer, "version", version);
	json_member_u64(writer, "id", schema->id);
	write_schema(writer, schema);
	json_end_object(writer);
}

/* A parameter that is true or not there. False: a problem was sent. */
static bool flag(struct http_request *request, const char *name, bool *ret)
{
	struct bytes value;
	if (!http_param(request, name, &value)) {
		return false;
	}
	*ret = bytes_is(value, "true");
	return true;
}

void confluent_get_root(struct http_request *request)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_end_object(&writer);
	confluent_send(request, &writer);
}

void confluent_get_types(struct http_request *request)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_array(&writer);
	json_write_text(&writer, bytes_text("PROTOBUF"));
	json_end_array(&writer);
	confluent_send(request, &writer);
}

/* ---- Subjects ---- */

void confluent_get_subjects(struct http_request *request)
{
	const struct registry_snapshot *now = http_schemas_now(request);
	struct bytes prefix;
	bool deleted, deleted_only;
	if (!http_param(request, "subjectPrefix", &prefix) || !flag(request, "deleted", &deleted) ||
		!flag(request, "deletedOnly", &deleted_only)) {
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_array(&writer);
	for (size_t i = 0; i < now->subject_count; i++) {
		const struct registry_subject *subject = now->subjects[i];
		const bool is_deleted = subject->live_count == 0;
		if (subject->version_count > 0 && (deleted || is_deleted == deleted_only) &&
			subject->name.size >= prefix.size &&
			bytes_equal(bytes_of(subject->name.data, prefix.size), prefix)) {
			json_write_text(&writer, subject->name);
		}
	}
	json_end_array(&writer);
	confluent_send(request, &writer);
}

/* The subject of path parameter 0 with something to show; NULL: 40401 was sent. */
static const struct registry_subject *find_subject(struct http_request *request, bool deleted)
{
	const struct registry_subject *subject =
		registry_subject(http_schemas_now(request), request->params[0]);
	if (subject == NULL || subject->version_count == 0 ||
		(subject->live_count == 0 && !deleted)) {
		confluent_fail(request, CONFLUENT_NO_SUBJECT, "Subject not found.");
		return NULL;
	}
	return subject;
}

/* The version of path parameters 0 and 1; NULL: an error was sent. */
static const struct registry_version *find_version(struct http_request *request)
{
	bool deleted;
	uint32_t number;
	if (!flag(request, "deleted", &deleted)) {
		return NULL;
	}
	const struct registry_subject *subject = find_subject(request, deleted);
	if (subject == NULL) {
		return NULL;
	}
	if (!http_schema_version(request->params[1], &number)) {
		confluent_fail(request, CONFLUENT_BAD_VERSION,
			"The specified version is not a valid version id. Allowed values are "
			"between [1, 2^31-1] and the string \"latest\".");
		return NULL;
	}
	const struct registry_version *version = registry_version(subject, number);
	if (version == NULL && deleted && number == 0) {
		version = &subject->versions[subject->version_count - 1];
	}
	if (version == NULL || (version->state == REGISTRY_VERSION_DELETED && !deleted)) {
		confluent_fail(request, CONFLUENT_NO_VERSION, "Version not found.");
		return NULL;
	}
	return version;
}

void confluent_get_versions(struct http_request *request)
{
	bool deleted;
	if (!flag(request, "deleted", &deleted)) {
		return;
	}
	const struct registry_subject *subject = find_subject(request, deleted);
	if (subject == NULL) {
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_array(&writer);
	for (size_t i = 0; i < subject->version_count; i++) {
		if (deleted || subject->versions[i].state == REGISTRY_VERSION_LIVE) {
			json_write_u64(&writer, subject->versions[i].version);
		}
	}
	json_end_array(&writer);
	confluent_send(request, &writer);
}

/* ?format=serialized: the main file's descriptor as base64. */
static bool wants_serialized(struct http_request *request, bool *ret)
{
	struct bytes format;
	if (!http_param(request, "format", &format)) {
		return false;
	}
	*ret = bytes_is(format, "serialized");
	return true;
}

static void write_serialized(struct json_writer *writer, const struct registry_schema *schema)
{
	json_name(writer, "schema");
	json_write_base64(writer, schema->file->encoded, false);
}

void confluent_get_version(struct http_request *request)
{
	bool serialized;
	if (!wants_serialized(request, &serialized)) {
		return;
	}
	const struct registry_version *version = find_version(request);
	if (version == NULL) {
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	if (!serialized) {
		confluent_write_version(
			&writer, request->params[0], version->version, version->schema);
		confluent_send(request, &writer);
		return;
	}
	json_begin_object(&writer);
	json_member_text(&writer, "subject", request->params[0]);
	json_member_u64(&writer, "version", version->version);
	json_member_u64(&writer, "id", version->schema->id);
	json_member_cstring(&writer, "schemaType", "PROTOBUF");
	if (version->schema->reference_count > 0) {
		http_schema_write_references(&writer, version->schema);
	}
	write_serialized(&writer, version->schema);
	json_end_object(&writer);
	confluent_send(request, &writer);
}

static void send_text(struct http_request *request, const struct registry_schema *schema)
{
	struct buf body = BUF_INIT;
	int status = http_schema_text(schema, &body);
	if (status != 0 && status != ANNALS_E_NO_MEMORY) {
		status = buf_reserve(&body, schema->file->encoded.size * 4 / 3 + 8);
		if (status == 0) {
			body.size = base64_encode((char *)body.data, schema->file->encoded, false);
		}
	}
	if (status != 0) {
		http_problem(request, status, NULL, NULL);
		return;
	}
	http_begin(request, 200, MEDIA_TYPE);
	http_send(request, &body);
}

void confluent_get_version_schema(struct http_request *request)
{
	const struct registry_version *version = find_version(request);
	if (version != NULL) {
		send_text(request, version->schema);
	}
}

static bool refers_to(const struct registry_schema *schema, struct bytes subject, uint32_t version)
{
	for (size_t i = 0; i < schema->reference_count; i++) {
		if (schema->references[i].version == version &&
			bytes_equal(schema->references[i].subject, subject)) {
			return true;
		}
	}
	return false;
}

void confluent_get_referenced_by(struct http_request *request)
{
	const struct registry_version *version = find_version(request);
	if (version == NULL) {
		return;
	}
	const struct registry_snapshot *now = http_schemas_now(request);
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_array(&writer);
	for (size_t i = 0; i < now->schema_count; i++) {
		if (refers_to(now->schemas[i], request->params[0], version->version)) {
			json_write_u64(&writer, now->schemas[i]->id);
		}
	}
	json_end_array(&writer);
	confluent_send(request, &writer);
}

/* ---- Ids ---- */

static const struct registry_schema *find_id(struct http_request *request)
{
	uint64_t id;
	const struct registry_schema *schema = NULL;
	if (parse_u64(request->params[0], &id) == 0 && id <= UINT32_MAX) {
		schema = registry_schema(http_schemas_now(request), (uint32_t)id);
	}
	if (schema == NULL) {
		confluent_fail(request, CONFLUENT_NO_SCHEMA, "Schema not found.");
	}
	return schema;
}

void confluent_get_id(struct http_request *request)
{
	bool serialized;
	if (!wants_serialized(request, &serialized)) {
		return;
	}
	const struct registry_schema *schema = find_id(request);
	if (schema == NULL) {
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	if (serialized) {
		json_member_cstring(&writer, "schemaType", "PROTOBUF");
		if (schema->reference_count > 0) {
			http_schema_write_references(&writer, schema);
		}
		write_serialized(&writer, schema);
	} else {
		write_schema(&writer, schema);
	}
	json_end_object(&writer);
	confluent_send(request, &writer);
}

void confluent_get_id_schema(struct http_request *request)
{
	const struct registry_schema *schema = find_id(request);
	if (schema != NULL) {
		send_text(request, schema);
	}
}

/* Where a schema is registered: subjects, or subjects with versions. */
static void send_uses(struct http_request *request, bool versions)
{
	bool deleted;
	if (!flag(request, "deleted", &deleted)) {
		return;
	}
	const struct registry_schema *schema = find_id(request);
	if (schema == NULL) {
		return;
	}
	const struct registry_snapshot *now = http_schemas_now(request);
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_array(&writer);
	for (size_t i = 0; i < now->subject_count; i++) {
		const struct registry_subject *subject = now->subjects[i];
		for (size_t j = 0; j < subject->version_count; j++) {
			const struct registry_version *version = &subject->versions[j];
			if (version->schema != schema ||
				(version->state == REGISTRY_VERSION_DELETED && !deleted)) {
				continue;
			}
			if (!versions) {
				json_write_text(&writer, subject->name);
				break;
			}
			json_begin_object(&writer);
			json_member_text(&writer, "subject", subject->name);
			json_member_u64(&writer, "version", version->version);
			json_end_object(&writer);
		}
	}
	json_end_array(&writer);
	confluent_send(request, &writer);
}

void confluent_get_id_subjects(struct http_request *request)
{
	send_uses(request, false);
}

void confluent_get_id_versions(struct http_request *request)
{
	send_uses(request, true);
}

/* ---- Settings ---- */

static void send_one(struct http_request *request, const char *name, const char *value)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, name, value);
	json_end_object(&writer);
	confluent_send(request, &writer);
}

void confluent_get_config(struct http_request *request)
{
	const struct registry_snapshot *now = http_schemas_now(request);
	const struct registry_subject *subject = registry_subject(now, request->params[0]);
	bool global;
	if (!flag(request, "defaultToGlobal", &global)) {
		return;
	}
	if (request->params[0].size > 0 && !global &&
		(subject == NULL || subject->level == REGISTRY_LEVEL_INHERITED)) {
		confluent_fail(request, CONFLUENT_NO_SUBJECT_LEVEL,
			"Subject does not have subject-level compatibility configured");
		return;
	}
	send_one(request, "compatibilityLevel", registry_level_name(registry_level(now, subject)));
}

void confluent_get_mode(struct http_request *request)
{
	const struct registry_snapshot *now = http_schemas_now(request);
	const struct registry_subject *subject = registry_subject(now, request->params[0]);
	bool global;
	if (!flag(request, "defaultToGlobal", &global)) {
		return;
	}
	if (request->params[0].size > 0 && !global &&
		(subject == NULL || subject->mode == REGISTRY_MODE_INHERITED)) {
		confluent_fail(request, CONFLUENT_NO_SUBJECT_MODE,
			"Subject does not have subject-level mode configured");
		return;
	}
	send_one(request, "mode",
		registry_mode(now, subject) == REGISTRY_MODE_READONLY ? "READONLY" : "READWRITE");
}
