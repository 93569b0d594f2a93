#include "typed.h"

#include <annals/cloudevents.h>
#include <annals/parse.h>
#include <annals/project.h>
#include <annals/protojson.h>
#include <stdlib.h>
#include <string.h>

#define DATA_BYTES_MAX (16u << 20)

static void release_schema(struct typed_schema *schema)
{
	buf_release(&schema->type);
	descriptor_pool_unref(schema->pool);
	memset(schema, 0, sizeof(*schema));
}

void typed_release(struct typed *typed)
{
	for (size_t i = 0; i < typed->schema_count; i++) {
		release_schema(&typed->schemas[i]);
	}
	descriptor_pool_unref(typed->builtin);
	buf_release(&typed->data);
	buf_release(&typed->projected);
	extract_event_release(&typed->extract);
	memset(typed, 0, sizeof(*typed));
}

/* The pool and the message of an answer with "descriptorSet" and "message". */
static int build(struct typed *typed, struct bytes answer, struct typed_schema *schema)
{
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	ANNALS_CLEANUP(buf_release) struct buf set = BUF_INIT;
	struct error err = {0};
	const size_t length = strlen(cli_json_text(answer, "descriptorSet", &text));
	int status = buf_reserve(&set, length / 4 * 3 + 3);

	if (status == 0 && typed->builtin == NULL) {
		status = descriptor_pool_builtin(&typed->builtin, &err);
	}
	if (status == 0) {
		status = base64_decode(set.data, bytes_of(text.data, length), false, &set.size);
	}
	if (status == 0 && set.size == 0) {
		schema->pool = descriptor_pool_ref(typed->builtin); /* google.protobuf's own */
	} else if (status == 0) {
		status =
			descriptor_pool_build(typed->builtin, buf_bytes(&set), &schema->pool, &err);
	}
	if (status == 0) {
		schema->message = descriptor_pool_find_message(
			schema->pool, bytes_text(cli_json_text(answer, "message", &text)));
		status = schema->message != NULL ? 0 : ANNALS_E_MALFORMED;
	}
	return status == 0 ? CLI_OK
			   : cli_fail(status, "cannot use the server's answer as a schema%s%s",
				     err.text[0] != 0 ? ": " : "", err.text);
}

static int fetch(
	struct typed *typed, const char *type, uint32_t version, struct typed_schema *schema)
{
	struct cli_http http = {.address = typed->http_address};
	char number[16] = "latest";
	int code;

	if (version != 0) {
		(void)snprintf(number, sizeof(number), "%u", version);
	}
	if (cli_http_path(&http, "/v1/schemas/", type) != 0 ||
		cli_http_path(&http, "/versions/", number) != 0) {
		cli_http_release(&http);
		return cli_fail(ANNALS_E_NO_MEMORY, "out of memory");
	}
	code = cli_http_exchange(typed->cli, &http, "GET", NULL, bytes_of(NULL, 0));
	if (code == CLI_OK && http.status != 404) {
		code = http.status == 200 ? build(typed, http.body, schema)
					  : cli_http_problem(&http, "cannot get a schema");
	}
	cli_http_release(&http);
	return code;
}

/* *ret is NULL when there is no such schema. CLI_OK or an exit code after a message. */
static int find(
	struct typed *typed, struct bytes type, uint32_t version, const struct typed_schema **ret)
{
	struct typed_schema *schema;
	struct typed_schema fresh = {.version = version};
	int code;

	*ret = NULL;
	for (size_t i = 0; i < typed->schema_count; i++) {
		schema = &typed->schemas[i];
		if (schema->version == version && bytes_equal(buf_bytes(&schema->type), type)) {
			*ret = schema->pool != NULL ? schema : NULL;
			return CLI_OK;
		}
	}
	if (type.size == 0 || memchr(type.data, 0, type.size) != NULL) {
		return CLI_OK;
	}
	if (buf_add(&fresh.type, type.data, type.size) != 0 || buf_text(&fresh.type) == NULL) {
		release_schema(&fresh);
		return cli_fail(ANNALS_E_NO_MEMORY, "out of memory");
	}
	code = fetch(typed, buf_text(&fresh.type), version, &fresh);
	if (code != CLI_OK) {
		release_schema(&fresh);
		return code;
	}
	if (typed->schema_count < TYPED_SCHEMAS_MAX) {
		schema = &typed->schemas[typed->schema_count++];
	} else {
		/* In turn: what was found just before stays. */
		schema = &typed->schemas[typed->replaced++ % TYPED_SCHEMAS_MAX];
		release_schema(schema);
	}
	*schema = fresh;
	*ret = schema->pool != NULL ? schema : NULL;
	return CLI_OK;
}

static bool is_json(const struct record *record)
{
	return record->datacontenttype.size > 0
		       ? media_type_is_json(record->datacontenttype)
		       : record->data.size > 0 && record->data.data[0] == '{';
}

int typed_take(struct typed *typed, struct record *record, const char *what)
{
	const struct protojson_parse_options options = {.output_bytes_max = DATA_BYTES_MAX};
	const struct typed_schema *schema;
	struct error err = {0};
	const bool json = record->has_data && is_json(record);
	int code, status = 0;

	if (!record->has_data || (!json && !media_type_is_protobuf(record->datacontenttype))) {
		return CLI_OK;
	}
	code = find(typed, record->type, record->schema_version, &schema);
	if (code != CLI_OK || (schema == NULL && !json)) {
		return code;
	}
	if (schema == NULL) {
		return cli_fail(ANNALS_E_VALIDATION, "%s: there is no schema for its type", what);
	}
	if (json) {
		buf_reset(&typed->data);
		status = protojson_parse(
			schema->pool, schema->message, record->data, &options, &typed->data, &err);
		record->data = typed->data.size > 0 ? buf_bytes(&typed->data) : bytes_text("");
		record->datacontenttype = bytes_text("application/protobuf");
	}
	if (status == 0 && extract_wanted(schema->message)) {
		status = extract_event_fill(&typed->extract, schema->message, record, &err);
	}
	return status == 0 ? CLI_OK
			   : cli_fail(status, "%s: %s", what,
				     err.text[0] != 0 ? err.text : annals_status_text(status));
}

static int project(struct typed *typed, const struct record *record,
	const struct typed_schema **schema, struct bytes *data, char lost[TYPED_LOST_BYTES])
{
	const struct typed_schema *wanted;
	const struct descriptor_message *from = (*schema)->message;
	struct project_report report;
	int status;

	if (typed->version == 0) {
		return 0;
	}
	if (find(typed, record->type, typed->version, &wanted) != CLI_OK) {
		return ANNALS_E_DISCONNECTED;
	}
	if (wanted == NULL) {
		return 0;
	}
	buf_reset(&typed->projected);
	status = project_message(
		from, wanted->message, *data, DATA_BYTES_MAX, &typed->projected, &report, NULL);
	if (status == 0) {
		project_report_text(&report, lost);
		*schema = wanted;
		*data = typed->projected.size > 0 ? buf_bytes(&typed->projected) : bytes_text("");
	}
	return status == ANNALS_E_NO_MEMORY ? status : 0;
}

int typed_show(struct typed *typed, struct record *record, char lost[TYPED_LOST_BYTES])
{
	const struct protojson_print_options options = {.output_bytes_max = DATA_BYTES_MAX};
	const struct typed_schema *schema;
	struct bytes data = record->data;
	int status;

	lost[0] = 0;
	if (!record->has_data || !media_type_is_protobuf(record->datacontenttype)) {
		return 0;
	}
	if (find(typed, record->type, record->schema_version, &schema) != CLI_OK) {
		return ANNALS_E_DISCONNECTED;
	}
	if (schema == NULL) {
		return 0;
	}
	status = project(typed, record, &schema, &data, lost);
	if (status != 0) {
		return status;
	}
	buf_reset(&typed->data);
	status = protojson_print(schema->pool, schema->message, data, &options, &typed->data, NULL);
	if (status == 0) {
		record->data = buf_bytes(&typed->data);
		record->datacontenttype = bytes_text("application/json");
	} else {
		lost[0] = 0;
	}
	return status == ANNALS_E_NO_MEMORY ? status : 0;
}
