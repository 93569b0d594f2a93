/* Schemas over HTTP, reading: subjects, versions, ids. docs/schemas.md. */
#include "http_schemas.h"
#include "http_json.h"
#include "server.h"
#include <annals/jsonschema.h>
#include <annals/parse.h>
#include <stdio.h>
#include <stdlib.h>

const struct registry_snapshot *http_schemas_now(struct http_request *request)
{
	struct loop *loop = http_loop(request);
	return registry_view_get(loop->server->registry, &loop->schemas);
}

struct op_schema *http_schema_new(struct http_request *request, enum registry_operation operation,
	void (*done)(struct op *op))
{
	struct op_schema *op = op_schema_new(http_loop(request), operation);
	if (op == NULL || op_schema_text(op, request->params[0], &op->request.subject) != 0) {
		op_release(op == NULL ? NULL : &op->op);
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return NULL;
	}
	op->op.done = done;
	op->op.arg = request;
	request->op = &op->op;
	return op;
}

void http_schema_start(struct http_request *request)
{
	struct op_schema *op = http_schema_op(request);
	if (op_schema_start(op) == OP_DONE) {
		op->op.done(&op->op);
	}
}

struct referencing {
	struct op_schema *op;
	size_t capacity;
};

static int read_reference(void *arg, const struct json_value *element, struct error *err)
{
	struct referencing *reading = arg;
	struct op_schema *op = reading->op;
	struct {
		struct bytes name, subject;
		uint64_t version;
	} given = {.version = 0};
	static const struct http_field fields[] = {{"name", HTTP_FIELD_TEXT, 0, 0},
		{"subject", HTTP_FIELD_TEXT, sizeof(struct bytes), 0},
		{"version", HTTP_FIELD_U64, 2 * sizeof(struct bytes), UINT32_MAX}};
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	if (op->request.reference_count == REGISTRY_REFERENCES_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE, "a schema has at most %u references",
			REGISTRY_REFERENCES_MAX);
	}
	int status = http_fields_read(
		element->raw, fields, ANNALS_COUNT_OF(fields), &given, &scratch, err);
	if (status == 0 && (given.name.size == 0 || given.subject.size == 0)) {
		status = error_fail(
			err, ANNALS_E_INVALID, "a reference has 'name', 'subject' and 'version'");
	}
	if (status == 0 && op->references == NULL) {
		op->references = calloc(REGISTRY_REFERENCES_MAX, sizeof(*op->references));
		status = op->references == NULL ? ANNALS_E_NO_MEMORY : 0;
	}
	if (status != 0) {
		return status;
	}
	struct registry_reference *reference = &op->references[op->request.reference_count];
	reference->version = (uint32_t)given.version;
	status = op_schema_text(op, given.name, &reference->name);
	status = status != 0 ? status : op_schema_text(op, given.subject, &reference->subject);
	op->request.references = op->references;
	op->request.reference_count += status == 0;
	return status;
}

int http_schema_references(struct op_schema *op, const struct json_value *array, struct error *err)
{
	struct referencing reading = {.op = op};
	if (array->raw.size == 0) {
		return 0;
	}
	const int status = http_fields_each(array, "references", read_reference, &reading, err);
	return status == ANNALS_E_NO_MEMORY ? error_fail(err, status, "out of memory") : status;
}

bool http_schema_version(struct bytes text, uint32_t *ret)
{
	uint64_t number;
	if (bytes_is(text, "latest") || bytes_is(text, "-1")) {
		*ret = 0;
		return true;
	}
	if (parse_u64(text, &number) != 0 || number == 0 || number > INT32_MAX) {
		return false;
	}
	*ret = (uint32_t)number;
	return true;
}

/* ---- Writing ---- */

void http_schema_write_references(struct json_writer *writer, const struct registry_schema *schema)
{
	json_name(writer, "references");
	json_begin_array(writer);
	for (size_t i = 0; i < schema->reference_count; i++) {
		const struct registry_reference *reference = &schema->references[i];
		json_begin_object(writer);
		json_member_text(writer, "name", reference->name);
		json_member_text(writer, "subject", reference->subject);
		json_member_u64(writer, "version", reference->version);
		json_end_object(writer);
	}
	json_end_array(writer);
}

int http_schema_text(const struct registry_schema *schema, struct buf *ret)
{
	return schema->text.size > 0 ? buf_add(ret, schema->text.data, schema->text.size)
				     : descriptor_print(schema->file, ret);
}

void http_schema_write_text(
	struct json_writer *writer, const char *name, const struct registry_schema *schema)
{
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	if (http_schema_text(schema, &text) == 0) {
		json_member_text(writer, name, buf_bytes(&text));
		return;
	}
	json_name(writer, name);
	json_write_base64(writer, schema->file->encoded, false);
}

static void write_level(struct json_writer *writer, const struct registry_snapshot *now,
	const struct registry_subject *subject)
{
	json_member_cstring(
		writer, "compatibility", registry_level_name(registry_level(now, subject)));
	json_member_cstring(writer, "mode",
		registry_mode(now, subject) == REGISTRY_MODE_READONLY ? "READONLY" : "READWRITE");
}

static void write_version_line(struct json_writer *writer, const struct registry_version *version)
{
	json_begin_object(writer);
	json_member_u64(writer, "version", version->version);
	json_member_u64(writer, "id", version->schema->id);
	if (version->message != NULL) {
		json_member_cstring(writer, "message", version->message->full_name);
	}
	http_json_time(writer, "registered", version->schema->registered_us);
	if (version->state == REGISTRY_VERSION_DELETED) {
		json_member_bool(writer, "deleted", true);
	}
	json_end_object(writer);
}

static void write_readers(struct json_writer *writer, const struct registry_subject *subject)
{
	json_name(writer, "readers");
	json_begin_array(writer);
	for (size_t i = 0; i < subject->reader_count; i++) {
		const struct registry_reader *reader = &subject->readers[i];
		json_begin_object(writer);
		json_member_text(writer, "group", reader->group);
		if (reader->version != 0) {
			json_member_u64(writer, "version", reader->version);
		}
		json_name(writer, "fields");
		json_begin_array(writer);
		for (size_t j = 0; j < reader->field_count; j++) {
			json_write_text(writer, reader->fields[j]);
		}
		json_end_array(writer);
		json_end_object(writer);
	}
	json_end_array(writer);
}

/* ---- Routes ---- */

void http_list_schemas(struct http_request *request)
{
	const struct registry_snapshot *now = http_schemas_now(request);
	struct bytes prefix, deleted;
	if (!http_param(request, "prefix", &prefix) || !http_param(request, "deleted", &deleted)) {
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	write_level(&writer, now, NULL);
	json_name(&writer, "subjects");
	json_begin_array(&writer);
	for (size_t i = 0; i < now->subject_count; i++) {
		const struct registry_subject *subject = now->subjects[i];
		const struct registry_version *latest = subject->latest;
		if ((latest == NULL &&
			    (!bytes_is(deleted, "true") || subject->version_count == 0)) ||
			subject->name.size < prefix.size ||
			!bytes_equal(bytes_of(subject->name.data, prefix.size), prefix)) {
			continue;
		}
		json_begin_object(&writer);
		json_member_text(&writer, "subject", subject->name);
		json_member_u64(&writer, "versions", subject->live_count);
		if (latest != NULL) {
			json_member_u64(&writer, "latest", latest->version);
			json_member_u64(&writer, "id", latest->schema->id);
		}
		if (latest != NULL && latest->message != NULL) {
			json_member_cstring(&writer, "message", latest->message->full_name);
		}
		write_level(&writer, now, subject);
		json_end_object(&writer);
	}
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

/* The subject of path parameter 0; NULL: a problem was sent. */
static const struct registry_subject *find_subject(struct http_request *request)
{
	char text[320];
	const struct registry_subject *subject =
		registry_subject(http_schemas_now(request), request->params[0]);
	if (subject == NULL) {
		(void)snprintf(text, sizeof(text), "no subject '%.*s'",
			(int)ANNALS_MIN(request->params[0].size, 250),
			(const char *)request->params[0].data);
		http_problem(request, ANNALS_E_UNKNOWN_SCHEMA, text, NULL);
	}
	return subject;
}

void http_get_schema(struct http_request *request)
{
	const struct registry_subject *subject = find_subject(request);
	if (subject == NULL) {
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_text(&writer, "subject", subject->name);
	write_level(&writer, http_schemas_now(request), subject);
	json_name(&writer, "versions");
	json_begin_array(&writer);
	for (size_t i = 0; i < subject->version_count; i++) {
		write_version_line(&writer, &subject->versions[i]);
	}
	json_end_array(&writer);
	write_readers(&writer, subject);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

/* ?format=set: the FileDescriptorSet; jsonschema: of the message's JSON; else a document. */
static void send_schema(struct http_request *request, const struct registry_schema *schema,
	const struct registry_subject *subject, const struct registry_version *version)
{
	struct bytes format;
	struct error err = {0};
	struct buf body = BUF_INIT;
	if (!http_param(request, "format", &format)) {
		return;
	}
	const struct descriptor_message *message =
		version != NULL ? version->message
				: registry_main_message(schema, bytes_of(NULL, 0));
	if (bytes_is(format, "set") || bytes_is(format, "proto")) {
		const bool is_set = bytes_is(format, "set");
		const int status = is_set ? buf_add(&body, schema->set.data, schema->set.size)
					  : http_schema_text(schema, &body);
		if (status != 0) {
			buf_release(&body);
			http_problem(request,
				status == ANNALS_E_NO_MEMORY ? status : ANNALS_E_NOT_FOUND,
				status == ANNALS_E_NO_MEMORY
					? NULL
					: "the descriptors have groups or options that no "
					  "text can be made of",
				NULL);
			return;
		}
		http_begin(request, 200,
			is_set ? "application/x-protobuf" : "text/plain; charset=utf-8");
		http_send(request, &body);
		return;
	}
	if (bytes_is(format, "jsonschema")) {
		const int status =
			message == NULL
				? error_fail(&err, ANNALS_E_NOT_FOUND, "the schema has no message")
				: jsonschema_print(message, 4u << 20, &body, &err);
		if (status != 0) {
			http_problem(request, status, err.text, NULL);
			return;
		}
		http_begin(request, 200, "application/schema+json");
		http_send(request, &body);
		return;
	}
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	if (version != NULL) {
		json_member_text(&writer, "subject", subject->name);
		json_member_u64(&writer, "version", version->version);
		json_member_bool(&writer, "deleted", version->state == REGISTRY_VERSION_DELETED);
	}
	json_member_u64(&writer, "id", schema->id);
	if (message != NULL) {
		json_member_cstring(&writer, "message", message->full_name);
	}
	json_member_cstring(&writer, "file", schema->file->name);
	http_json_time(&writer, "registered", schema->registered_us);
	http_schema_write_references(&writer, schema);
	struct buf text = BUF_INIT;
	if (http_schema_text(schema, &text) == 0) {
		json_member_text(&writer, "schema", buf_bytes(&text));
	}
	buf_release(&text);
	json_name(&writer, "descriptorSet");
	json_write_base64(&writer, schema->set, false);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

void http_get_schema_version(struct http_request *request)
{
	uint32_t number;
	const struct registry_subject *subject = find_subject(request);
	if (subject == NULL) {
		return;
	}
	const struct registry_version *version = http_schema_version(request->params[1], &number)
							 ? registry_version(subject, number)
							 : NULL;
	if (version == NULL) {
		http_problem(
			request, ANNALS_E_UNKNOWN_SCHEMA, "the subject has no such version", NULL);
		return;
	}
	send_schema(request, version->schema, subject, version);
}

void http_get_schema_id(struct http_request *request)
{
	uint64_t id;
	if (!http_path_number(request, 0, UINT32_MAX, &id)) {
		return;
	}
	const struct registry_schema *schema =
		registry_schema(http_schemas_now(request), (uint32_t)id);
	if (schema == NULL) {
		http_problem(request, ANNALS_E_UNKNOWN_SCHEMA, "no schema has this id", NULL);
		return;
	}
	send_schema(request, schema, NULL, NULL);
}

void http_get_schema_config(struct http_request *request)
{
	const struct registry_snapshot *now = http_schemas_now(request);
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	write_level(&writer, now, registry_subject(now, request->params[0]));
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}
