/*
 * JSON Schema (2020-12) of protobuf messages as the canonical JSON mapping writes and reads them
 * (annals/protojson.h): for documents that describe an interface, AsyncAPI and OpenAPI.
 *
 * Every message and enum that the type holds becomes a definition of its own, named by its full
 * name, and is referred to by "$ref"; so types may hold themselves. The well-known types stand
 * where they are used. The schema accepts what protojson_print() writes; of the other spellings
 * that protojson_parse() reads it accepts enum numbers and nothing more. Extra members are allowed,
 * for versions to come.
 *
 * Pure; any thread, the pool must not change meanwhile. Nothing recurses.
 */
#ifndef ANNALS_JSONSCHEMA_H
#define ANNALS_JSONSCHEMA_H

#include <annals/descriptor.h>
#include <annals/json.h>

/*
 * Appends one document: {"$schema": ..., "$ref": "#/$defs/TYPE", "$defs": {...}}.
 * ANNALS_E_TOO_LARGE above output_bytes_max, ANNALS_E_NO_MEMORY. On failure out is as before.
 */
int jsonschema_print(const struct descriptor_message *type, size_t output_bytes_max,
	struct buf *out, struct error *err) ANNALS_MUST_CHECK;

/*
 * The definitions of several types and of what they hold, each once, for a document that keeps
 * them elsewhere: members "FULL.NAME": {schema}, written into the object that the writer is in.
 * `prefix` goes before the full name in "$ref", "#/components/schemas/" for instance, and must need
 * no escape. ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY; what was written then is no whole object.
 */
int jsonschema_write_definitions(struct json_writer *writer,
	const struct descriptor_message *const *types, size_t count, const char *prefix,
	size_t output_bytes_max, struct error *err) ANNALS_MUST_CHECK;

#endif
