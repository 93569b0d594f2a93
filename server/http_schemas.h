/* What the routes of the schema registry share: native (http_schemas.c, http_schema_changes.c) and
 * those of Confluent's (http_schema_registry.c). Loop thread only. */
#ifndef SERVER_HTTP_SCHEMAS_H
#define SERVER_HTTP_SCHEMAS_H

#include "http_fields.h"
#include "op_schema.h"
#include "proto_http.h"

#define HTTP_SCHEMA_BODY_BYTES_MAX (4u << 20)

/* The registry as it is now; borrowed for this call of the loop. */
const struct registry_snapshot *http_schemas_now(struct http_request *request);
/* An operation of this request, its subject from path parameter 0 (none: ""). done is called with
 * the request when it is over. NULL: a problem was sent. */
struct op_schema *http_schema_new(struct http_request *request, enum registry_operation operation,
	void (*done)(struct op *op)) ANNALS_MUST_CHECK;
/* Starts it; done may have been called when it returns. */
void http_schema_start(struct http_request *request);
static inline struct op_schema *http_schema_op(const struct http_request *request)
{
	return (struct op_schema *)request->op;
}
/* [{"name":..., "subject":..., "version":1}] into the operation. ANNALS_E_INVALID,
 * ANNALS_E_MALFORMED, ANNALS_E_NO_MEMORY. */
int http_schema_references(
	struct op_schema *op, const struct json_value *array, struct error *err) ANNALS_MUST_CHECK;
/* "latest", "-1" or a number of 1 and more; 0 is the latest. False: none of these. */
bool http_schema_version(struct bytes text, uint32_t *ret) ANNALS_MUST_CHECK;
/* Array "references" of a schema. */
void http_schema_write_references(struct json_writer *writer, const struct registry_schema *schema);
/* Appends the .proto source: as it was registered, or made from the descriptors. What
 * descriptor_print() answers. */
int http_schema_text(const struct registry_schema *schema, struct buf *ret) ANNALS_MUST_CHECK;
/* The schema as text: its source, or its main file's descriptor as base64. */
void http_schema_write_text(
	struct json_writer *writer, const char *name, const struct registry_schema *schema);

void http_get_asyncapi(struct http_request *request);
void http_list_schemas(struct http_request *request);
void http_get_schema(struct http_request *request);
void http_get_schema_version(struct http_request *request);
void http_get_schema_id(struct http_request *request);
void http_get_schema_config(struct http_request *request);
void http_post_schema(struct http_request *request);
void http_post_schema_check(struct http_request *request);
void http_post_schema_check_data(struct http_request *request);
void http_put_schema_config(struct http_request *request);
void http_delete_schema(struct http_request *request);
void http_delete_schema_version(struct http_request *request);
void http_put_schema_reader(struct http_request *request);
void http_delete_schema_reader(struct http_request *request);

#endif
