/*
 * The REST interface of Confluent's schema registry under /schema-registry, for serializers that
 * exist: endpoints, media type, error codes (docs.confluent.io, Schema Registry API). Errors are
 * {"error_code": n, "message": text}; only what fails before a route runs is a problem document.
 * Loop thread only.
 */
#ifndef SERVER_HTTP_CONFLUENT_H
#define SERVER_HTTP_CONFLUENT_H

#include "http_schemas.h"

/* Error codes; the HTTP status is the first three digits. */
enum confluent_error {
	CONFLUENT_NO_SUBJECT = 40401,
	CONFLUENT_NO_VERSION = 40402,
	CONFLUENT_NO_SCHEMA = 40403,
	CONFLUENT_SUBJECT_SOFT_DELETED = 40404,
	CONFLUENT_SUBJECT_NOT_DELETED = 40405,
	CONFLUENT_VERSION_SOFT_DELETED = 40406,
	CONFLUENT_VERSION_NOT_DELETED = 40407,
	CONFLUENT_NO_SUBJECT_LEVEL = 40408,
	CONFLUENT_NO_SUBJECT_MODE = 40409,
	CONFLUENT_INCOMPATIBLE = 409,
	CONFLUENT_BAD_SCHEMA = 42201,
	CONFLUENT_BAD_VERSION = 42202,
	CONFLUENT_BAD_LEVEL = 42203,
	CONFLUENT_BAD_MODE = 42204,
	CONFLUENT_NOT_PERMITTED = 42205,
	CONFLUENT_REFERENCED = 42206,
	CONFLUENT_NO_COMPILER = 501,
	CONFLUENT_STORE = 50001,
	CONFLUENT_TIMEOUT = 50002
};

/* Ends the request with what was written. */
void confluent_send(struct http_request *request, struct json_writer *writer);
void confluent_fail(struct http_request *request, int error_code, const char *text);
/* The failed operation's: `unknown` stands for ANNALS_E_UNKNOWN_SCHEMA, `not_found` for
 * ANNALS_E_NOT_FOUND and `conflict` for ANNALS_E_CONFLICT. */
void confluent_op_fail(struct http_request *request, int unknown, int not_found, int conflict);
/* {"subject", "version", "id", "schemaType", "references", "schema"} */
void confluent_write_version(struct json_writer *writer, struct bytes subject, uint32_t version,
	const struct registry_schema *schema);

void confluent_get_root(struct http_request *request);
void confluent_get_types(struct http_request *request);
void confluent_get_subjects(struct http_request *request);
void confluent_get_versions(struct http_request *request);
void confluent_get_version(struct http_request *request);
void confluent_get_version_schema(struct http_request *request);
void confluent_get_referenced_by(struct http_request *request);
void confluent_get_id(struct http_request *request);
void confluent_get_id_schema(struct http_request *request);
void confluent_get_id_subjects(struct http_request *request);
void confluent_get_id_versions(struct http_request *request);
void confluent_get_config(struct http_request *request);
void confluent_get_mode(struct http_request *request);
void confluent_post_version(struct http_request *request);
void confluent_post_subject(struct http_request *request);
void confluent_post_compatibility(struct http_request *request);
void confluent_delete_subject(struct http_request *request);
void confluent_delete_version(struct http_request *request);
void confluent_put_config(struct http_request *request);
void confluent_delete_config(struct http_request *request);
void confluent_put_mode(struct http_request *request);
void confluent_delete_mode(struct http_request *request);

#endif
