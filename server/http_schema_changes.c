/* Schemas over HTTP, changing and checking. docs/schemas.md. */
#include "http_json.h"
#include "http_schemas.h"
#include "http_text.h"
#include <annals/cloudevents.h>
#include <annals/parse.h>
#include <stdlib.h>

/* ---- Problems of a schema ---- */

static void write_breaks(struct json_writer *writer, unsigned breaks)
{
	json_name(writer, "breaks");
	json_begin_array(writer);
	if ((breaks & COMPAT_BACKWARD) != 0) {
		json_write_text(writer, bytes_text("backward"));
	}
	if ((breaks & COMPAT_FORWARD) != 0) {
		json_write_text(writer, bytes_text("forward"));
	}
	json_end_array(writer);
}

static void write_problems(struct json_writer *writer, const struct registry_request *result)
{
	json_name(writer, "violations");
	json_begin_array(writer);
	for (size_t i = 0; i < result->problem_count; i++) {
		const struct registry_problem *problem = &result->problems[i];
		json_begin_object(writer);
		if (problem->kind == REGISTRY_PROBLEM_DATA) {
			json_member_u64(writer, "partition", problem->partition);
			json_member_u64(writer, "offset", problem->offset);
		} else {
			json_member_u64(writer, "version", problem->version);
		}
		if (problem->kind == REGISTRY_PROBLEM_READER) {
			json_member_text(writer, "reader", problem->group);
		}
		json_member_cstring(writer, "rule", problem->rule);
		write_breaks(writer, problem->breaks);
		json_member_text(writer, "path", problem->path);
		json_member_text(writer, "detail", problem->sentence);
		json_end_object(writer);
	}
	json_end_array(writer);
	if (result->problems_truncated) {
		json_member_bool(writer, "violationsTruncated", true);
	}
}

static void send_failure(struct http_request *request)
{
	struct op_schema *op = http_schema_op(request);
	const int status = op->op.status;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	http_problem_open(&writer, &body, status, op->op.error.text, NULL);
	if (op->request.subject.size > 0) {
		json_member_text(&writer, "subject", op->request.subject);
	}
	if (status == ANNALS_E_INCOMPATIBLE_SCHEMA) {
		json_member_cstring(
			&writer, "compatibility", registry_level_name(op->request.result_level));
		json_member_u64(&writer, "brokenReaders", op->request.broken_readers);
		write_problems(&writer, &op->request);
	}
	if (op->request.output.size > 0) {
		json_member_text(&writer, "output", buf_bytes(&op->request.output));
	}
	json_end_object(&writer);
	http_problem_send(request, status, &body);
}

/* ---- The candidate ---- */

struct candidate_fields {
	struct bytes schema, set, file;
	struct json_value references;
};

static int read_json(struct op_schema *op, struct error *err)
{
	struct candidate_fields given = {.references.raw.size = 0};
	static const struct http_field fields[] = {
		{"schema", HTTP_FIELD_TEXT, offsetof(struct candidate_fields, schema), 0},
		{"descriptorSet", HTTP_FIELD_TEXT, offsetof(struct candidate_fields, set), 0},
		{"file", HTTP_FIELD_TEXT, offsetof(struct candidate_fields, file), 0},
		{"references", HTTP_FIELD_VALUE, offsetof(struct candidate_fields, references), 0},
	};
	struct registry_request *request = &op->request;
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	int status = http_fields_read(
		buf_bytes(&op->body), fields, ANNALS_COUNT_OF(fields), &given, &scratch, err);
	if (status == 0 && (given.schema.size > 0) == (given.set.size > 0)) {
		return error_fail(err, ANNALS_E_INVALID,
			"one of 'schema' (.proto text) and 'descriptorSet' (base64) is needed");
	}
	if (status == 0 && given.set.size > 0) {
		size_t size = 0;
		if (buf_reserve(&op->decoded, given.set.size) != 0) {
			return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
		}
		if (base64_decode(op->decoded.data, given.set, false, &size) != 0) {
			return error_fail(err, ANNALS_E_INVALID, "'descriptorSet' is no base64");
		}
		op->decoded.size = size;
		request->form = REGISTRY_FORM_SET;
		request->schema = buf_bytes(&op->decoded);
	} else if (status == 0) {
		request->form = REGISTRY_FORM_TEXT;
		status = op_schema_text(op, given.schema, &request->schema);
	}
	if (status == 0 && given.file.size > 0) {
		status = op_schema_text(op, given.file, &request->file);
	}
	return status != 0 ? status : http_schema_references(op, &given.references, err);
}

/* By the content type; without one by the first byte, which is 0x0a in every set. */
static int read_candidate(struct http_request *request, struct error *err)
{
	struct op_schema *op = http_schema_op(request);
	struct http_head head;
	http_head_again(request, &head);
	const struct bytes type = http_head_value(&head, "Content-Type");
	op->body = request->body;
	request->body = BUF_INIT;
	if (op->body.size == 0) {
		return error_fail(err, ANNALS_E_INVALID, "the body holds no schema");
	}
	if (media_type_is_json(type)) {
		return read_json(op, err);
	}
	op->request.schema = buf_bytes(&op->body);
	if (media_type_is(type, "application/x-protobuf") ||
		media_type_is(type, "application/protobuf") ||
		media_type_is(type, "application/octet-stream")) {
		op->request.form = REGISTRY_FORM_SET;
	} else if (media_type_is(type, "text/plain") || media_type_is(type, "text/x-protobuf")) {
		op->request.form = REGISTRY_FORM_TEXT;
	} else if (type.size == 0 || media_type_is(type, "application/x-www-form-urlencoded")) {
		op->request.form =
			op->body.data[0] == 0x0a ? REGISTRY_FORM_SET : REGISTRY_FORM_TEXT;
	} else {
		return error_fail(err, ANNALS_E_UNSUPPORTED_MEDIA,
			"a schema is text/plain (.proto), application/x-protobuf (a "
			"FileDescriptorSet) or application/json");
	}
	return 0;
}

/* ?file=, ?level=, ?version=, ?readers=refuse. False: a problem was sent. */
static bool read_params(struct http_request *request)
{
	struct op_schema *op = http_schema_op(request);
	struct bytes file, level, version, readers;
	if (!http_param(request, "file", &file) || !http_param(request, "level", &level) ||
		!http_param(request, "version", &version) ||
		!http_param(request, "readers", &readers)) {
		return false;
	}
	const char *problem = NULL;
	int status = file.size > 0 ? op_schema_text(op, file, &op->request.file) : 0;
	if (level.size > 0 && registry_level_parse(level, &op->request.level) != 0) {
		problem = "parameter 'level' is none of NONE, BACKWARD, FORWARD, FULL, "
			  "BACKWARD_TRANSITIVE, FORWARD_TRANSITIVE, FULL_TRANSITIVE";
	} else if (version.size > 0 && !http_schema_version(version, &op->request.version)) {
		problem = "parameter 'version' is neither a version nor \"latest\"";
	} else if (readers.size > 0 && !bytes_is(readers, "refuse")) {
		problem = "parameter 'readers' is not \"refuse\"";
	}
	op->request.refuse_broken_readers = readers.size > 0;
	status = problem != NULL ? ANNALS_E_INVALID : status;
	if (status != 0) {
		http_problem(request, status, problem, NULL);
	}
	return status == 0;
}

static void start_with_body(struct http_request *request)
{
	struct error err = {0};
	int status = read_candidate(request, &err);
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return;
	}
	http_schema_start(request);
}

static void collect(struct http_request *request, void (*done)(struct http_request *request))
{
	http_collect(request, HTTP_SCHEMA_BODY_BYTES_MAX, "schema-body-bytes-max", done);
}

/* ---- Registering and checking ---- */

static void registered(struct op *op)
{
	struct http_request *request = op->arg;
	const struct registry_request *result = &http_schema_op(request)->request;
	if (op->status != 0) {
		send_failure(request);
		return;
	}
	const struct descriptor_message *message =
		registry_main_message(result->result_schema, result->subject);
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_text(&writer, "subject", result->subject);
	json_member_u64(&writer, "version", result->result_version);
	json_member_u64(&writer, "id", result->result_schema->id);
	if (message != NULL) {
		json_member_cstring(&writer, "message", message->full_name);
	}
	json_member_bool(&writer, "created", result->created);
	json_member_u64(&writer, "brokenReaders", result->broken_readers);
	write_problems(&writer, result);
	json_end_object(&writer);
	http_json_send(request, result->created ? 201 : 200, &writer);
}

void http_post_schema(struct http_request *request)
{
	if (http_schema_new(request, REGISTRY_REGISTER, registered) != NULL &&
		read_params(request)) {
		collect(request, start_with_body);
	}
}

static void checked(struct op *op)
{
	struct http_request *request = op->arg;
	const struct registry_request *result = &http_schema_op(request)->request;
	if (op->status != 0) {
		send_failure(request);
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_bool(&writer, "compatible", result->is_compatible);
	json_member_cstring(&writer, "compatibility", registry_level_name(result->result_level));
	json_member_u64(&writer, "brokenReaders", result->broken_readers);
	write_problems(&writer, result);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

void http_post_schema_check(struct http_request *request)
{
	if (http_schema_new(request, REGISTRY_CHECK, checked) != NULL && read_params(request)) {
		collect(request, start_with_body);
	}
}

static void data_was_checked(struct op *op)
{
	struct http_request *request = op->arg;
	const struct registry_request *result = &http_schema_op(request)->request;
	if (op->status != 0) {
		send_failure(request);
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_bool(&writer, "compatible", result->is_compatible);
	json_member_u64(&writer, "events", result->events_read);
	json_member_u64(&writer, "failing", result->events_failed);
	json_member_u64(&writer, "losingFields", result->events_losing);
	json_member_u64(&writer, "nextOffset", result->next_offset);
	json_member_u64(&writer, "endOffset", result->end_offset);
	write_problems(&writer, result);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

/* Without a body: a version that is registered already. */
static void start_data_check(struct http_request *request)
{
	struct op_schema *op = http_schema_op(request);
	if (request->body.size > 0) {
		start_with_body(request);
		return;
	}
	const struct registry_subject *subject =
		registry_subject(http_schemas_now(request), op->request.subject);
	const struct registry_version *version =
		subject == NULL ? NULL : registry_version(subject, op->request.version);
	if (version == NULL) {
		http_problem(request, ANNALS_E_UNKNOWN_SCHEMA,
			"there is no schema in the body and the subject has no such version", NULL);
		return;
	}
	/* Schemas live as long as the registry. */
	op->request.form = REGISTRY_FORM_SET;
	op->request.schema = version->schema->set;
	op->request.file = bytes_text(version->schema->file->name);
	op->request.version = 0;
	http_schema_start(request);
}

void http_post_schema_check_data(struct http_request *request)
{
	struct op_schema *op = http_schema_new(request, REGISTRY_CHECK_DATA, data_was_checked);
	struct bytes topic_name, type;
	uint64_t partition, events;
	struct error err = {0};
	if (op == NULL || !read_params(request) || !http_param(request, "topic", &topic_name) ||
		!http_param(request, "type", &type) ||
		!http_param_u64(request, "partition", 0, 0, UINT32_MAX, &partition) ||
		!http_param_u64(request, "offset", 0, 0, UINT64_MAX, &op->request.offset) ||
		!http_param_u64(request, "limit", 10000, 1, REGISTRY_DATA_EVENTS_MAX, &events)) {
		return;
	}
	struct topic *topic = op_topic_find(http_loop(request), topic_name, 0, &err, NULL);
	if (topic == NULL) {
		http_problem(request, err.code, err.text, NULL);
		return;
	}
	op->request.topic_id = topic->id;
	topic_unref(topic);
	op->request.partition = (uint32_t)partition;
	op->request.events_max = (uint32_t)events;
	if (op_schema_text(op, type, &op->request.event_type) != 0) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	collect(request, start_data_check);
}

/* ---- Settings, readers, deleting ---- */

static void done_without_words(struct op *op)
{
	struct http_request *request = op->arg;
	if (op->status != 0) {
		send_failure(request);
		return;
	}
	http_begin(request, 204, NULL);
	http_send(request, NULL);
}

static void configured(struct op *op)
{
	if (op->status != 0) {
		send_failure(op->arg);
	} else {
		http_get_schema_config(op->arg);
	}
}

static int read_config(
	struct http_request *request, struct registry_request *config, struct error *err)
{
	struct {
		struct bytes level, mode;
	} given = {.level.size = 0};
	static const struct http_field fields[] = {{"compatibility", HTTP_FIELD_TEXT, 0, 0},
		{"mode", HTTP_FIELD_TEXT, sizeof(struct bytes), 0}};
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	const int status = http_fields_read(
		buf_bytes(&request->body), fields, ANNALS_COUNT_OF(fields), &given, &scratch, err);
	if (status != 0) {
		return status;
	}
	if (given.level.data != NULL && !bytes_is(given.level, "INHERITED") &&
		registry_level_parse(given.level, &config->level) != 0) {
		return error_fail(err, ANNALS_E_INVALID,
			"'compatibility' is none of NONE, BACKWARD, FORWARD, FULL, their "
			"_TRANSITIVE forms and INHERITED");
	}
	if (bytes_is(given.mode, "READONLY")) {
		config->mode = REGISTRY_MODE_READONLY;
	} else if (bytes_is(given.mode, "READWRITE")) {
		config->mode = REGISTRY_MODE_READWRITE;
	} else if (given.mode.data != NULL && !bytes_is(given.mode, "INHERITED")) {
		return error_fail(err, ANNALS_E_INVALID,
			"'mode' is none of READWRITE, READONLY and INHERITED");
	}
	config->sets_level = given.level.data != NULL;
	config->sets_mode = given.mode.data != NULL;
	return config->sets_level || config->sets_mode
		       ? 0
		       : error_fail(err, ANNALS_E_INVALID, "'compatibility' or 'mode' is needed");
}

void http_put_schema_config(struct http_request *request)
{
	struct error err = {0};
	struct op_schema *op = http_schema_new(request, REGISTRY_CONFIGURE, configured);
	if (op == NULL) {
		return;
	}
	const int status = read_config(request, &op->request, &err);
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return;
	}
	http_schema_start(request);
}

static void deleted(struct op *op)
{
	struct http_request *request = op->arg;
	const struct registry_request *result = &http_schema_op(request)->request;
	if (op->status != 0) {
		send_failure(request);
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_text(&writer, "subject", result->subject);
	json_name(&writer, "versions");
	json_begin_array(&writer);
	for (size_t i = 0; i < result->version_count; i++) {
		json_write_u64(&writer, result->versions[i]);
	}
	json_end_array(&writer);
	json_member_bool(&writer, "permanently", result->permanently);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

static void start_delete(struct http_request *request, enum registry_operation operation)
{
	struct bytes permanent;
	struct op_schema *op = http_schema_new(request, operation, deleted);
	if (op == NULL || !http_param(request, "permanent", &permanent)) {
		return;
	}
	op->request.permanently = bytes_is(permanent, "true");
	if (operation == REGISTRY_DELETE_VERSION &&
		(!http_schema_version(request->params[1], &op->request.version) ||
			op->request.version == 0)) {
		http_problem(request, ANNALS_E_UNKNOWN_SCHEMA, "a version is deleted by its number",
			NULL);
		return;
	}
	http_schema_start(request);
}

void http_delete_schema(struct http_request *request)
{
	start_delete(request, REGISTRY_DELETE_SUBJECT);
}

void http_delete_schema_version(struct http_request *request)
{
	start_delete(request, REGISTRY_DELETE_VERSION);
}

static int read_field_name(void *arg, const struct json_value *element, struct error *err)
{
	struct op_schema *op = arg;
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	struct bytes text;
	if (op->request.field_count == REGISTRY_READER_FIELDS_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE, "a reader declares at most %u fields",
			REGISTRY_READER_FIELDS_MAX);
	}
	if (json_string(element, &scratch, &text) != 0 || text.size == 0) {
		return error_fail(
			err, ANNALS_E_INVALID, "'fields' holds something that is no path");
	}
	const int status = op_schema_text(op, text, &op->fields[op->request.field_count]);
	op->request.field_count += status == 0;
	return status;
}

static int read_reader(struct http_request *request, struct op_schema *op, struct error *err)
{
	struct {
		uint64_t version;
		struct json_value fields;
	} given = {.version = 0};
	static const struct http_field fields[] = {{"version", HTTP_FIELD_U64, 0, INT32_MAX},
		{"fields", HTTP_FIELD_VALUE, sizeof(uint64_t), 0}};
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	int status = http_fields_read(
		buf_bytes(&request->body), fields, ANNALS_COUNT_OF(fields), &given, &scratch, err);
	op->fields = calloc(REGISTRY_READER_FIELDS_MAX, sizeof(*op->fields));
	if (status == 0 && op->fields == NULL) {
		status = error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	if (status == 0 && given.fields.raw.size > 0) {
		status = http_fields_each(&given.fields, "fields", read_field_name, op, err);
	}
	op->request.fields = op->fields;
	op->request.version = (uint32_t)given.version;
	return status;
}

void http_put_schema_reader(struct http_request *request)
{
	struct error err = {0};
	struct op_schema *op = http_schema_new(request, REGISTRY_READER_PUT, done_without_words);
	if (op == NULL) {
		return;
	}
	int status = op_schema_text(op, request->params[1], &op->request.group);
	status = status != 0 ? status : read_reader(request, op, &err);
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return;
	}
	http_schema_start(request);
}

void http_delete_schema_reader(struct http_request *request)
{
	struct op_schema *op = http_schema_new(request, REGISTRY_READER_DELETE, done_without_words);
	if (op == NULL) {
		return;
	}
	if (op_schema_text(op, request->params[1], &op->request.group) != 0) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	http_schema_start(request);
}
