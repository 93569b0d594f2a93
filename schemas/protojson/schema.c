/* JSON Schema of messages: definitions are found breadth first and written as they are found. */
#include "model.h"
#include "wellknown.h"
#include <annals/jsonschema.h>
#include <stdlib.h>

/* A message or an enum. */
struct definition {
	const struct descriptor_message *message;
	const struct descriptor_enum *enumeration;
};

struct definitions {
	struct json_writer *writer;
	const char *prefix;
	size_t start, output_bytes_max;
	struct error *err;
	/* in the order found */
	struct definition *list;
	size_t count, room;
	/* open addressing by address: place in list plus one */
	uint32_t *table;
	size_t table_room;
};

static int no_memory(struct definitions *definitions)
{
	return error_fail(definitions->err, ANNALS_E_NO_MEMORY, "out of memory");
}

static const void *address_of(const struct definition *definition)
{
	return definition->message != NULL ? (const void *)definition->message
					   : (const void *)definition->enumeration;
}

static size_t slot_of(const struct definitions *definitions, const struct definition *definition)
{
	const void *type = address_of(definition);
	const uint64_t address = (uint64_t)(uintptr_t)type;
	const size_t mask = definitions->table_room - 1;
	size_t at = (size_t)(address * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;
	while (definitions->table[at] != 0 &&
		address_of(&definitions->list[definitions->table[at] - 1]) != type) {
		at = (at + 1) & mask;
	}
	return at;
}

static int grow(struct definitions *definitions)
{
	const size_t room = definitions->room == 0 ? 32 : definitions->room * 2;
	struct definition *list = reallocarray(definitions->list, room, sizeof(*list));
	if (list == NULL) {
		return no_memory(definitions);
	}
	definitions->list = list;
	definitions->room = room;
	uint32_t *table = calloc(room * 2, sizeof(*table));
	if (table == NULL) {
		return no_memory(definitions);
	}
	free(definitions->table);
	definitions->table = table;
	definitions->table_room = room * 2;
	for (size_t i = 0; i < definitions->count; i++) {
		table[slot_of(definitions, &list[i])] = (uint32_t)i + 1;
	}
	return 0;
}

/* Sees to it that the type will be defined. */
static int need(struct definitions *definitions, struct definition definition)
{
	if (definitions->count == definitions->room) {
		const int status = grow(definitions);
		if (status != 0) {
			return status;
		}
	}
	const size_t at = slot_of(definitions, &definition);
	if (definitions->table[at] == 0) {
		definitions->list[definitions->count++] = definition;
		definitions->table[at] = (uint32_t)definitions->count;
	}
	return 0;
}

static void write_type(struct json_writer *writer, const char *type)
{
	json_member_cstring(writer, "type", type);
}

static void write_member_i64(struct json_writer *writer, const char *name, int64_t value)
{
	json_name(writer, name);
	json_write_i64(writer, value);
}

static void write_range(struct json_writer *writer, int64_t minimum, int64_t maximum)
{
	write_type(writer, "integer");
	write_member_i64(writer, "minimum", minimum);
	write_member_i64(writer, "maximum", maximum);
}

static void write_pattern(struct json_writer *writer, const char *pattern, const char *format)
{
	write_type(writer, "string");
	json_member_cstring(writer, "pattern", pattern);
	if (format != NULL) {
		json_member_cstring(writer, "format", format);
	}
}

/* A number, or the text of one that is none. */
static void write_floating(struct json_writer *writer)
{
	json_name(writer, "oneOf");
	json_begin_array(writer);
	json_begin_object(writer);
	write_type(writer, "number");
	json_end_object(writer);
	json_begin_object(writer);
	json_name(writer, "enum");
	json_begin_array(writer);
	json_write_text(writer, bytes_text("NaN"));
	json_write_text(writer, bytes_text("Infinity"));
	json_write_text(writer, bytes_text("-Infinity"));
	json_end_array(writer);
	json_end_object(writer);
	json_end_array(writer);
}

/* The names of the values, or a number: any for an open enum. */
static void write_enum(struct json_writer *writer, const struct descriptor_enum *enumeration)
{
	json_name(writer, "oneOf");
	json_begin_array(writer);
	json_begin_object(writer);
	json_name(writer, "enum");
	json_begin_array(writer);
	for (size_t i = 0; i < enumeration->value_count; i++) {
		json_write_text(writer, bytes_text(enumeration->values[i].name));
	}
	json_end_array(writer);
	json_end_object(writer);
	json_begin_object(writer);
	if (enumeration->closed) {
		json_name(writer, "enum");
		json_begin_array(writer);
		for (size_t i = 0; i < enumeration->value_count; i++) {
			const struct descriptor_enum_value *value = &enumeration->values[i];
			/* Of aliases one. */
			if (descriptor_enum_value_by_number(enumeration, value->number) == value) {
				json_write_i64(writer, value->number);
			}
		}
		json_end_array(writer);
	} else {
		write_range(writer, INT32_MIN, INT32_MAX);
	}
	json_end_object(writer);
	json_end_array(writer);
}

/* The members of the schema of a value that is no message. */
static void write_scalar(struct json_writer *writer, const struct descriptor_field *field)
{
	switch (field->type) {
	case DESCRIPTOR_DOUBLE:
	case DESCRIPTOR_FLOAT:
		write_floating(writer);
		break;
	case DESCRIPTOR_INT32:
	case DESCRIPTOR_SINT32:
	case DESCRIPTOR_SFIXED32:
		write_range(writer, INT32_MIN, INT32_MAX);
		break;
	case DESCRIPTOR_UINT32:
	case DESCRIPTOR_FIXED32:
		write_range(writer, 0, UINT32_MAX);
		break;
	case DESCRIPTOR_INT64:
	case DESCRIPTOR_SINT64:
	case DESCRIPTOR_SFIXED64:
		write_pattern(writer, "^-?[0-9]{1,19}$", "int64");
		break;
	case DESCRIPTOR_UINT64:
	case DESCRIPTOR_FIXED64:
		write_pattern(writer, "^[0-9]{1,20}$", "uint64");
		break;
	case DESCRIPTOR_BOOL:
		write_type(writer, "boolean");
		break;
	case DESCRIPTOR_BYTES:
		write_type(writer, "string");
		json_member_cstring(writer, "contentEncoding", "base64");
		break;
	case DESCRIPTOR_ENUM:
		/* NullValue; others are definitions. */
		write_type(writer, "null");
		break;
	default:
		write_type(writer, "string");
		break;
	}
}

/* The members of the schema of a well-known type. */
static void write_wellknown(
	struct json_writer *writer, enum wellknown kind, const struct descriptor_message *type)
{
	switch (kind) {
	case WELLKNOWN_ANY:
		write_type(writer, "object");
		json_name(writer, "properties");
		json_begin_object(writer);
		json_name(writer, "@type");
		json_begin_object(writer);
		write_type(writer, "string");
		json_end_object(writer);
		json_end_object(writer);
		break;
	case WELLKNOWN_DURATION:
		write_pattern(writer, "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s$", NULL);
		break;
	case WELLKNOWN_TIMESTAMP:
		write_type(writer, "string");
		json_member_cstring(writer, "format", "date-time");
		break;
	case WELLKNOWN_FIELD_MASK:
		write_type(writer, "string");
		break;
	case WELLKNOWN_STRUCT:
		write_type(writer, "object");
		break;
	case WELLKNOWN_LIST_VALUE:
		write_type(writer, "array");
		break;
	case WELLKNOWN_WRAPPER:
		write_scalar(writer, &type->fields[0]);
		break;
	default:
		/* A Value is anything. */
		break;
	}
}

/* A reference to what gets a definition of its own. */
static int write_reference(
	struct definitions *definitions, struct definition definition, const char *full_name)
{
	ANNALS_CLEANUP(buf_release) struct buf reference = BUF_INIT;
	if (buf_add_text(&reference, definitions->prefix) != 0 ||
		buf_add_text(&reference, full_name) != 0) {
		return no_memory(definitions);
	}
	json_member_text(definitions->writer, "$ref", buf_bytes(&reference));
	return need(definitions, definition);
}

/* The members of the schema of one value of the field. */
static int write_value(struct definitions *definitions, const struct descriptor_field *field)
{
	if (field->enumeration != NULL && !model_is_null_value(field)) {
		return write_reference(definitions,
			(struct definition){.enumeration = field->enumeration},
			field->enumeration->full_name);
	}
	if (field->message == NULL) {
		write_scalar(definitions->writer, field);
		return 0;
	}
	const enum wellknown kind = wellknown_of(field->message);
	if (kind != WELLKNOWN_NONE) {
		write_wellknown(definitions->writer, kind, field->message);
		return 0;
	}
	return write_reference(definitions, (struct definition){.message = field->message},
		field->message->full_name);
}

/* What the names of a map's entries look like. */
static void write_key_pattern(struct json_writer *writer, const struct descriptor_field *key)
{
	const char *pattern = NULL;
	switch (key->type) {
	case DESCRIPTOR_STRING:
		return;
	case DESCRIPTOR_BOOL:
		pattern = "^(true|false)$";
		break;
	case DESCRIPTOR_UINT32:
	case DESCRIPTOR_FIXED32:
	case DESCRIPTOR_UINT64:
	case DESCRIPTOR_FIXED64:
		pattern = "^[0-9]{1,20}$";
		break;
	default:
		pattern = "^-?[0-9]{1,19}$";
		break;
	}
	json_name(writer, "propertyNames");
	json_begin_object(writer);
	json_member_cstring(writer, "pattern", pattern);
	json_end_object(writer);
}

static int write_field(struct definitions *definitions, const struct descriptor_field *field)
{
	struct json_writer *writer = definitions->writer;
	json_begin_object(writer);
	if (field->deprecated) {
		json_member_bool(writer, "deprecated", true);
	}
	int status;
	if (field->map) {
		write_type(writer, "object");
		write_key_pattern(writer, &field->message->fields[0]);
		json_name(writer, "additionalProperties");
		json_begin_object(writer);
		status = write_value(definitions, &field->message->fields[1]);
		json_end_object(writer);
	} else if (field->repeated) {
		write_type(writer, "array");
		json_name(writer, "items");
		json_begin_object(writer);
		status = write_value(definitions, field);
		json_end_object(writer);
	} else {
		status = write_value(definitions, field);
	}
	json_end_object(writer);
	return status;
}

/* A member name may need escapes, which json_name_bytes() does not make. */
static int write_name(struct definitions *definitions, const char *name)
{
	ANNALS_CLEANUP(buf_release) struct buf quoted = BUF_INIT;
	struct json_writer escaped;
	json_writer_init(&escaped, &quoted);
	json_write_text(&escaped, bytes_text(name));
	if (json_writer_status(&escaped) != 0) {
		return no_memory(definitions);
	}
	json_name_bytes(definitions->writer, bytes_of(quoted.data + 1, quoted.size - 2));
	return 0;
}

static void write_required(struct json_writer *writer, const struct descriptor_message *type)
{
	if (type->required_count == 0) {
		return;
	}
	json_name(writer, "required");
	json_begin_array(writer);
	for (size_t i = 0; i < type->field_count; i++) {
		if (type->fields[i].required) {
			json_write_text(writer, bytes_text(type->fields[i].json_name));
		}
	}
	json_end_array(writer);
}

/* Writes {"required": [NAME]}, for each member of the oneof, into the array that is open. */
static void write_members(struct json_writer *writer, const struct descriptor_oneof *oneof)
{
	for (size_t i = 0; i < oneof->parent->field_count; i++) {
		const struct descriptor_field *field = &oneof->parent->fields[i];
		if (field->oneof == oneof) {
			json_begin_object(writer);
			json_name(writer, "required");
			json_begin_array(writer);
			json_write_text(writer, bytes_text(field->json_name));
			json_end_array(writer);
			json_end_object(writer);
		}
	}
}

/* Of the members of each oneof one or none. */
static void write_oneofs(struct json_writer *writer, const struct descriptor_message *type)
{
	if (type->oneof_count == 0) {
		return;
	}
	json_name(writer, "allOf");
	json_begin_array(writer);
	for (size_t i = 0; i < type->oneof_count; i++) {
		json_begin_object(writer);
		json_name(writer, "oneOf");
		json_begin_array(writer);
		write_members(writer, &type->oneofs[i]);
		json_begin_object(writer);
		json_name(writer, "not");
		json_begin_object(writer);
		json_name(writer, "anyOf");
		json_begin_array(writer);
		write_members(writer, &type->oneofs[i]);
		json_end_array(writer);
		json_end_object(writer);
		json_end_object(writer);
		json_end_array(writer);
		json_end_object(writer);
	}
	json_end_array(writer);
}

/* Whether the limit still holds and memory sufficed. */
static int check(const struct definitions *definitions)
{
	if (json_writer_status(definitions->writer) != 0) {
		return error_fail(definitions->err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	return definitions->writer->out->size - definitions->start <= definitions->output_bytes_max
		       ? 0
		       : error_fail(definitions->err, ANNALS_E_TOO_LARGE,
				 "the JSON Schema would take more than %zu bytes",
				 definitions->output_bytes_max);
}

static int write_properties(struct definitions *definitions, const struct descriptor_message *type)
{
	struct json_writer *writer = definitions->writer;
	json_name(writer, "properties");
	json_begin_object(writer);
	for (size_t i = 0; i < type->field_count; i++) {
		int status = write_name(definitions, type->fields[i].json_name);
		status = status == 0 ? write_field(definitions, &type->fields[i]) : status;
		status = status == 0 ? check(definitions) : status;
		if (status != 0) {
			return status;
		}
	}
	json_end_object(writer);
	return 0;
}

/* "FULL.NAME": {schema} */
static int write_definition(struct definitions *definitions, struct definition definition)
{
	struct json_writer *writer = definitions->writer;
	const struct descriptor_message *type = definition.message;
	int status = 0;
	json_name(writer, type != NULL ? type->full_name : definition.enumeration->full_name);
	json_begin_object(writer);
	if (type == NULL) {
		json_member_cstring(writer, "title", definition.enumeration->name);
		write_enum(writer, definition.enumeration);
	} else if (wellknown_of(type) != WELLKNOWN_NONE) {
		/* Only when it was asked for itself. */
		write_wellknown(writer, wellknown_of(type), type);
	} else {
		json_member_cstring(writer, "title", type->name);
		if (type->deprecated) {
			json_member_bool(writer, "deprecated", true);
		}
		write_type(writer, "object");
		status = write_properties(definitions, type);
		write_required(writer, type);
		write_oneofs(writer, type);
	}
	json_end_object(writer);
	return status == 0 ? check(definitions) : status;
}

int jsonschema_write_definitions(struct json_writer *writer,
	const struct descriptor_message *const *types, size_t count, const char *prefix,
	size_t output_bytes_max, struct error *err)
{
	struct definitions definitions = {.writer = writer,
		.prefix = prefix,
		.start = writer->out->size,
		.output_bytes_max = output_bytes_max,
		.err = err};
	int status = 0;
	for (size_t i = 0; status == 0 && i < count; i++) {
		status = need(&definitions, (struct definition){.message = types[i]});
	}
	for (size_t i = 0; status == 0 && i < definitions.count; i++) {
		status = write_definition(&definitions, definitions.list[i]);
	}
	free(definitions.list);
	free(definitions.table);
	return status;
}

int jsonschema_print(const struct descriptor_message *type, size_t output_bytes_max,
	struct buf *out, struct error *err)
{
	const size_t start = out->size;
	struct json_writer writer;
	json_writer_init(&writer, out);
	json_begin_object(&writer);
	json_member_cstring(&writer, "$schema", "https://json-schema.org/draft/2020-12/schema");
	ANNALS_CLEANUP(buf_release) struct buf reference = BUF_INIT;
	int status = buf_printf(&reference, "#/$defs/%s", type->full_name);
	json_member_text(&writer, "$ref", buf_bytes(&reference));
	json_name(&writer, "$defs");
	json_begin_object(&writer);
	if (status == 0) {
		status = jsonschema_write_definitions(
			&writer, &type, 1, "#/$defs/", output_bytes_max, err);
	}
	json_end_object(&writer);
	json_end_object(&writer);
	if (status == 0 && json_writer_status(&writer) != 0) {
		status = error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	if (status == 0 && out->size - start > output_bytes_max) {
		status = error_fail(err, ANNALS_E_TOO_LARGE,
			"the JSON Schema would take more than %zu bytes", output_bytes_max);
	}
	if (status != 0) {
		out->size = start;
	}
	return status;
}
