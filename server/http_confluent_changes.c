/* Registering, checking, deleting and settings through Confluent's REST interface. */
#include "http_confluent.h"
#include <annals/parse.h>
#include <stdio.h>

/* ---- The candidate: {"schema", "schemaType", "references"} ---- */

struct candidate_fields {
	struct bytes schema, type;
	struct json_value references;
};

/* Members of newer versions of the interface are passed over, as it does itself. */
static int read_members(
	struct bytes text, struct candidate_fields *ret, struct buf *scratch, struct error *err)
{
	struct json_scanner scanner;
	struct json_value name, value;
	int more;
	if (buf_reserve(scratch, text.size) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	json_scanner_init(&scanner, text);
	if (json_enter_object(&scanner) != 0) {
		return json_fail(&scanner, err);
	}
	while ((more = json_next_name(&scanner, &name)) == 1) {
		int status = json_scan(&scanner, &value);
		if (status != 0) {
			return json_fail(&scanner, err);
		}
		if (value.type == JSON_NULL) {
			continue;
		}
		if (json_string_is(&name, "schema")) {
			status = json_string(&value, scratch, &ret->schema);
		} else if (json_string_is(&name, "schemaType")) {
			status = json_string(&value, scratch, &ret->type);
		} else if (json_string_is(&name, "references")) {
			ret->references = value;
		}
		if (status != 0) {
			return error_fail(err, ANNALS_E_MALFORMED, "a member is no text");
		}
	}
	return more < 0 || json_finish(&scanner) != 0 ? json_fail(&scanner, err) : 0;
}

/* A file descriptor as base64, or text: text has characters that base64 has not. */
static int take_schema(struct op_schema *op, struct bytes schema)
{
	size_t size = 0;
	if (buf_reserve(&op->decoded, schema.size + 4) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	if (base64_decode(op->decoded.data, schema, false, &size) == 0) {
		op->decoded.size = size;
		op->request.form = REGISTRY_FORM_FILE;
		op->request.schema = buf_bytes(&op->decoded);
		return 0;
	}
	op->request.form = REGISTRY_FORM_TEXT;
	return op_schema_text(op, schema, &op->request.schema);
}

static int read_candidate(struct http_request *request, struct error *err)
{
	struct op_schema *op = http_schema_op(request);
	struct candidate_fields given = {.schema.size = 0};
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	int status = read_members(buf_bytes(&request->body), &given, &scratch, err);
	if (status != 0) {
		return status;
	}
	if (given.type.size == 0) {
		given.type = bytes_text("AVRO");
	}
	if (!bytes_is(given.type, "PROTOBUF")) {
		return error_fail(err, ANNALS_E_VALIDATION,
			"Invalid schema of type %.*s: only PROTOBUF is supported (no schemaType "
			"means AVRO)",
			(int)ANNALS_MIN(given.type.size, 20), (const char *)given.type.data);
	}
	if (given.schema.size == 0) {
		return error_fail(err, ANNALS_E_VALIDATION, "Empty schema");
	}
	status = take_schema(op, given.schema);
	if (status != 0) {
		return error_fail(err, status, "out of memory");
	}
	return http_schema_references(op, &given.references, err);
}

static void start_with_body(struct http_request *request)
{
	struct error err = {0};
	const int status = read_candidate(request, &err);
	if (status == ANNALS_E_NO_MEMORY) {
		confluent_fail(request, CONFLUENT_STORE, err.text);
	} else if (status != 0) {
		confluent_fail(request, CONFLUENT_BAD_SCHEMA, err.text);
	} else {
		http_schema_start(request);
	}
}

static void collect(struct http_request *request, void (*done)(struct http_request *request))
{
	http_collect(request, HTTP_SCHEMA_BODY_BYTES_MAX, "schema-body-bytes-max", done);
}

/* ---- Registering and looking up ---- */

static void registered(struct op *op)
{
	struct http_request *request = op->arg;
	const struct registry_request *result = &http_schema_op(request)->request;
	if (op->status != 0) {
		confluent_op_fail(
			request, CONFLUENT_BAD_SCHEMA, CONFLUENT_BAD_SCHEMA, CONFLUENT_STORE);
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_u64(&writer, "id", result->result_schema->id);
	json_member_u64(&writer, "version", result->result_version);
	json_end_object(&writer);
	confluent_send(request, &writer);
}

void confluent_post_version(struct http_request *request)
{
	if (http_schema_new(request, REGISTRY_REGISTER, registered) != NULL) {
		collect(request, start_with_body);
	}
}

static void looked_up(struct op *op)
{
	struct http_request *request = op->arg;
	const struct registry_request *result = &http_schema_op(request)->request;
	if (op->status != 0) {
		confluent_op_fail(
			request, CONFLUENT_NO_SUBJECT, CONFLUENT_NO_SCHEMA, CONFLUENT_STORE);
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	confluent_write_version(
		&writer, request->params[0], result->result_version, result->result_schema);
	confluent_send(request, &writer);
}

void confluent_post_subject(struct http_request *request)
{
	struct bytes deleted;
	struct op_schema *op = http_schema_new(request, REGISTRY_LOOKUP, looked_up);
	if (op != NULL && http_param(request, "deleted", &deleted)) {
		op->request.include_deleted = bytes_is(deleted, "true");
		collect(request, start_with_body);
	}
}

/* ---- Compatibility ---- */

static void write_messages(struct json_writer *writer, const struct registry_request *result)
{
	json_name(writer, "messages");
	json_begin_array(writer);
	for (size_t i = 0; i < result->problem_count; i++) {
		const struct registry_problem *problem = &result->problems[i];
		char text[600];
		if (problem->kind != REGISTRY_PROBLEM_RULE ||
			(problem->breaks & registry_level_modes(result->result_level)) == 0) {
			continue;
		}
		(void)snprintf(text, sizeof(text), "%s at %.*s, against version %u: %.*s",
			problem->rule, (int)ANNALS_MIN(problem->path.size, 250),
			(const char *)problem->path.data, problem->version,
			(int)ANNALS_MIN(problem->sentence.size, 250),
			(const char *)problem->sentence.data);
		json_write_text(writer, bytes_text(text));
	}
	json_end_array(writer);
}

static void checked(struct op *op)
{
	struct http_request *request = op->arg;
	const struct registry_request *result = &http_schema_op(request)->request;
	struct bytes verbose;
	if (op->status != 0) {
		const bool has_subject =
			registry_subject(http_schemas_now(request), result->subject) != NULL;
		confluent_op_fail(request,
			result->reference_count > 0 ? CONFLUENT_BAD_SCHEMA
			: has_subject               ? CONFLUENT_NO_VERSION
						    : CONFLUENT_NO_SUBJECT,
			CONFLUENT_NO_SCHEMA, CONFLUENT_STORE);
		return;
	}
	if (!http_param(request, "verbose", &verbose)) {
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_bool(&writer, "is_compatible", result->is_compatible);
	if (bytes_is(verbose, "true")) {
		write_messages(&writer, result);
	}
	json_end_object(&writer);
	confluent_send(request, &writer);
}

/* "latest" is the latest one alone, as a number is; without a version the level decides. */
void confluent_post_compatibility(struct http_request *request)
{
	struct op_schema *op = http_schema_new(request, REGISTRY_CHECK, checked);
	if (op == NULL) {
		return;
	}
	if (request->params[1].data != NULL) {
		if (!http_schema_version(request->params[1], &op->request.version)) {
			confluent_fail(request, CONFLUENT_BAD_VERSION,
				"The specified version is not a valid version id.");
			return;
		}
		const struct registry_subject *subject =
			registry_subject(http_schemas_now(request), op->request.subject);
		if (op->request.version == 0 && subject != NULL && subject->latest != NULL) {
			op->request.version = subject->latest->version;
		}
	}
	collect(request, start_with_body);
}

/* ---- Deleting ---- */

static void subject_was_deleted(struct op *op)
{
	struct http_request *request = op->arg;
	const struct registry_request *result = &http_schema_op(request)->request;
	if (op->status != 0) {
		const struct registry_subject *subject =
			registry_subject(http_schemas_now(request), result->subject);
		const bool is_live =
			result->permanently && subject != NULL && subject->live_count > 0;
		confluent_op_fail(request, CONFLUENT_NO_SUBJECT, CONFLUENT_SUBJECT_SOFT_DELETED,
			is_live ? CONFLUENT_SUBJECT_NOT_DELETED : CONFLUENT_REFERENCED);
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_array(&writer);
	for (size_t i = 0; i < result->version_count; i++) {
		json_write_u64(&writer, result->versions[i]);
	}
	json_end_array(&writer);
	confluent_send(request, &writer);
}

void confluent_delete_subject(struct http_request *request)
{
	struct bytes permanent;
	struct op_schema *op =
		http_schema_new(request, REGISTRY_DELETE_SUBJECT, subject_was_deleted);
	if (op != NULL && http_param(request, "permanent", &permanent)) {
		op->request.permanently = bytes_is(permanent, "true");
		http_schema_start(request);
	}
}

static void version_was_deleted(struct op *op)
{
	struct http_request *request = op->arg;
	const struct registry_request *result = &http_schema_op(request)->request;
	const uint32_t number = result->version;
	if (op->status != 0) {
		const struct registry_subject *subject =
			registry_subject(http_schemas_now(request), result->subject);
		const struct registry_version *version =
			subject == NULL ? NULL : registry_version(subject, number);
		const bool is_live = result->permanently && version != NULL &&
				     version->state == REGISTRY_VERSION_LIVE;
		confluent_op_fail(request,
			subject == NULL || subject->version_count == 0 ? CONFLUENT_NO_SUBJECT
								       : CONFLUENT_NO_VERSION,
			CONFLUENT_VERSION_SOFT_DELETED,
			is_live ? CONFLUENT_VERSION_NOT_DELETED : CONFLUENT_REFERENCED);
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_write_u64(&writer, number);
	confluent_send(request, &writer);
}

void confluent_delete_version(struct http_request *request)
{
	struct bytes permanent;
	struct op_schema *op =
		http_schema_new(request, REGISTRY_DELETE_VERSION, version_was_deleted);
	if (op == NULL || !http_param(request, "permanent", &permanent)) {
		return;
	}
	if (!http_schema_version(request->params[1], &op->request.version)) {
		confluent_fail(request, CONFLUENT_BAD_VERSION,
			"The specified version is not a valid version id.");
		return;
	}
	const struct registry_subject *subject =
		registry_subject(http_schemas_now(request), op->request.subject);
	if (op->request.version == 0 && subject != NULL && subject->latest != NULL) {
		op->request.version = subject->latest->version;
	}
	op->request.permanently = bytes_is(permanent, "true");
	http_schema_start(request);
}

/* ---- Settings ---- */

static void send_setting(struct http_request *request, const char *name, const char *value)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, name, value);
	json_end_object(&writer);
	confluent_send(request, &writer);
}

static const char *mode_name(enum registry_mode mode)
{
	return mode == REGISTRY_MODE_READONLY ? "READONLY" : "READWRITE";
}

/* What is in force now; a DELETE answers the same. */
static void configured(struct op *op)
{
	struct http_request *request = op->arg;
	const struct registry_request *result = &http_schema_op(request)->request;
	const struct registry_snapshot *now = http_schemas_now(request);
	const struct registry_subject *subject = registry_subject(now, result->subject);
	const bool is_put = bytes_is(request->method, "PUT");
	if (op->status != 0) {
		confluent_op_fail(
			request, CONFLUENT_NO_SUBJECT, CONFLUENT_NO_SUBJECT, CONFLUENT_STORE);
	} else if (result->sets_level) {
		send_setting(request, is_put ? "compatibility" : "compatibilityLevel",
			registry_level_name(registry_level(now, subject)));
	} else {
		send_setting(request, "mode", mode_name(registry_mode(now, subject)));
	}
}

/* The text of one member; others are passed over. */
static struct bytes read_setting(struct bytes body, const char *wanted, struct buf *scratch)
{
	struct json_scanner scanner;
	struct json_value name, value;
	struct bytes found = {NULL, 0};
	json_scanner_init(&scanner, body);
	if (json_enter_object(&scanner) != 0) {
		return found;
	}
	while (json_next_name(&scanner, &name) == 1 && json_scan(&scanner, &value) == 0) {
		if (json_string_is(&name, wanted) && json_string(&value, scratch, &found) == 0) {
			return found;
		}
	}
	return found;
}

void confluent_put_config(struct http_request *request)
{
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	struct op_schema *op = http_schema_new(request, REGISTRY_CONFIGURE, configured);
	if (op == NULL) {
		return;
	}
	op->request.sets_level = true;
	if (registry_level_parse(read_setting(buf_bytes(&request->body), "compatibility", &scratch),
		    &op->request.level) != 0) {
		confluent_fail(request, CONFLUENT_BAD_LEVEL,
			"Invalid compatibility level. Valid values are none, backward, forward, "
			"full, backward_transitive, forward_transitive, and full_transitive");
		return;
	}
	http_schema_start(request);
}

void confluent_put_mode(struct http_request *request)
{
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	struct op_schema *op = http_schema_new(request, REGISTRY_CONFIGURE, configured);
	if (op == NULL) {
		return;
	}
	const struct bytes mode = read_setting(buf_bytes(&request->body), "mode", &scratch);
	op->request.sets_mode = true;
	if (bytes_is(mode, "READONLY")) {
		op->request.mode = REGISTRY_MODE_READONLY;
	} else if (bytes_is(mode, "READWRITE")) {
		op->request.mode = REGISTRY_MODE_READWRITE;
	} else {
		confluent_fail(request, CONFLUENT_BAD_MODE,
			"Invalid mode. Valid values are READWRITE and READONLY");
		return;
	}
	http_schema_start(request);
}

void confluent_delete_config(struct http_request *request)
{
	struct op_schema *op = http_schema_new(request, REGISTRY_CONFIGURE, configured);
	if (op != NULL) {
		op->request.sets_level = true;
		http_schema_start(request);
	}
}

void confluent_delete_mode(struct http_request *request)
{
	struct op_schema *op = http_schema_new(request, REGISTRY_CONFIGURE, configured);
	if (op != NULL) {
		op->request.sets_mode = true;
		http_schema_start(request);
	}
}
