/*
 * Options of descriptors as text: those of descriptor.proto by its own descriptor, extensions by
 * where the file and its imports declare them. Options that are messages are left to nobody:
 * ANNALS_E_UNSUPPORTED_OPERATION.
 */
#include "print.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_PACKAGE 2u
#define FILE_EXTENSION 7u
#define FILE_MESSAGE 4u
#define MESSAGE_NESTED 3u
#define MESSAGE_EXTENSION 6u
#define FIELD_NAME 1u
#define FIELD_EXTENDEE 2u
#define FIELD_NUMBER_OF 3u
#define FIELD_TYPE 5u
#define FIELD_TYPE_NAME 6u
#define UNINTERPRETED_OPTION 999u

/* One option: its name as it stands in a file, and its type. */
struct option {
	char name[2 * DESCRIPTOR_NAME_BYTES_MAX + 4];
	int type;
	const struct descriptor_enum *enumeration;
	bool is_enum_unknown; /* an enum that cannot be looked up */
};

static const struct descriptor_message *options_type(
	const struct descriptor_file *file, const char *type)
{
	const char *name = type + strlen("google.protobuf.");
	for (size_t i = 0; i < file->message_count; i++) {
		if (strcmp(file->messages[i]->name, name) == 0) {
			return file->messages[i];
		}
	}
	return NULL;
}

/* ---- Extensions ---- */

/* Files whose declarations count: the file, and what it imports, however far. */
struct closure {
	const struct descriptor_file **files;
	size_t count, capacity;
};

static int closure_add(struct closure *closure, const struct descriptor_file *file)
{
	for (size_t i = 0; i < closure->count; i++) {
		if (closure->files[i] == file) {
			return 0;
		}
	}
	if (closure->count == closure->capacity) {
		const size_t capacity = closure->capacity == 0 ? 16 : closure->capacity * 2;
		const struct descriptor_file **larger =
			realloc(closure->files, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		closure->files = larger;
		closure->capacity = capacity;
	}
	closure->files[closure->count++] = file;
	return 0;
}

static int closure_make(struct closure *closure, const struct descriptor_file *file)
{
	int status = closure_add(closure, file);
	for (size_t i = 0; i < closure->count && status == 0; i++) {
		for (size_t j = 0; j < closure->files[i]->import_count && status == 0; j++) {
			status = closure_add(closure, closure->files[i]->imports[j]);
		}
	}
	return status;
}

static const struct descriptor_enum *enum_named(
	const struct descriptor_enum *const *enums, size_t count, const char *full_name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(enums[i]->full_name, full_name) == 0) {
			return enums[i];
		}
	}
	return NULL;
}

/* Of the top level or of a message of the top level. */
static const struct descriptor_enum *find_enum(const struct closure *closure, struct bytes name)
{
	char text[DESCRIPTOR_NAME_BYTES_MAX + 2];
	const struct descriptor_enum *found = NULL;
	if (name.size == 0 || name.size >= sizeof(text)) {
		return NULL;
	}
	memcpy(text, name.data, name.size);
	text[name.size] = 0;
	const char *full_name = text + (text[0] == '.');
	for (size_t i = 0; i < closure->count && found == NULL; i++) {
		const struct descriptor_file *file = closure->files[i];
		found = enum_named(file->enums, file->enum_count, full_name);
		for (size_t j = 0; j < file->message_count && found == NULL; j++) {
			found = enum_named(
				file->messages[j]->enums, file->messages[j]->enum_count, full_name);
		}
	}
	return found;
}

static bool is_wanted(struct bytes extension, const char *type, uint32_t number)
{
	struct bytes extendee = part_text(extension, FIELD_EXTENDEE);
	if (extendee.size > 0 && extendee.data[0] == '.') {
		extendee = bytes_of(extendee.data + 1, extendee.size - 1);
	}
	return bytes_is(extendee, type) && part_number(extension, FIELD_NUMBER_OF) == number;
}

/* Extensions of one scope: 1 when the wanted one is among them. */
static int find_among(const struct closure *closure, struct bytes scope, uint32_t list,
	const char *prefix, const char *type, uint32_t number, struct option *ret)
{
	struct parts extensions;
	int status = parts_gather(scope, list, &extensions);
	for (size_t i = 0; i < extensions.count && status == 0; i++) {
		const struct bytes extension = extensions.parts[i];
		if (!is_wanted(extension, type, number)) {
			continue;
		}
		const struct bytes name = part_text(extension, FIELD_NAME);
		(void)snprintf(ret->name, sizeof(ret->name), "(.%s%s%.*s)", prefix,
			prefix[0] != 0 ? "." : "", (int)name.size, (const char *)name.data);
		ret->type = (int)part_number(extension, FIELD_TYPE);
		ret->enumeration =
			ret->type == DESCRIPTOR_ENUM
				? find_enum(closure, part_text(extension, FIELD_TYPE_NAME))
				: NULL;
		status = 1;
	}
	parts_release(&extensions);
	return status;
}

/* Of the top level or in a message of the top level. 1 found, 0, negative. */
static int find_in_file(const struct closure *closure, const struct descriptor_file *file,
	const char *type, uint32_t number, struct option *ret)
{
	struct parts messages;
	int status = find_among(
		closure, file->encoded, FILE_EXTENSION, file->package, type, number, ret);
	if (status != 0 || parts_gather(file->encoded, FILE_MESSAGE, &messages) != 0) {
		return status;
	}
	for (size_t i = 0; i < messages.count && status == 0; i++) {
		char scope[2 * DESCRIPTOR_NAME_BYTES_MAX];
		const struct bytes name = part_text(messages.parts[i], FIELD_NAME);
		(void)snprintf(scope, sizeof(scope), "%s%s%.*s", file->package,
			file->package[0] != 0 ? "." : "", (int)name.size, (const char *)name.data);
		status = find_among(
			closure, messages.parts[i], MESSAGE_EXTENSION, scope, type, number, ret);
	}
	parts_release(&messages);
	return status;
}

/* 1 found, 0, negative. */
static int find_option(
	const struct closure *closure, const char *type, uint32_t number, struct option *ret)
{
	int status = 0;
	for (size_t i = 0; i < closure->count && status == 0; i++) {
		const struct descriptor_file *file = closure->files[i];
		if (strcmp(file->name, "google/protobuf/descriptor.proto") == 0) {
			const struct descriptor_message *message = options_type(file, type);
			const struct descriptor_field *field =
				message == NULL ? NULL
						: descriptor_field_by_number(message, number);
			if (field != NULL) {
				(void)snprintf(ret->name, sizeof(ret->name), "%s", field->name);
				ret->type = field->type;
				ret->enumeration = field->enumeration;
				return 1;
			}
		}
		status = find_in_file(closure, file, type, number, ret);
	}
	return status;
}

/* The options of descriptor.proto itself, for files that do not import it. */
static bool find_standard(const char *type, uint32_t number, struct option *ret)
{
	static const struct {
		const char *type, *name;
		uint32_t number;
		int kind;
	} options[] = {
		{"google.protobuf.FileOptions", "java_package", 1, DESCRIPTOR_STRING},
		{"google.protobuf.FileOptions", "java_outer_classname", 8, DESCRIPTOR_STRING},
		{"google.protobuf.FileOptions", "java_multiple_files", 10, DESCRIPTOR_BOOL},
		{"google.protobuf.FileOptions", "go_package", 11, DESCRIPTOR_STRING},
		{"google.protobuf.FileOptions", "cc_generic_services", 16, DESCRIPTOR_BOOL},
		{"google.protobuf.FileOptions", "java_generic_services", 17, DESCRIPTOR_BOOL},
		{"google.protobuf.FileOptions", "py_generic_services", 18, DESCRIPTOR_BOOL},
		{"google.protobuf.FileOptions", "java_generate_equals_and_hash", 20,
			DESCRIPTOR_BOOL},
		{"google.protobuf.FileOptions", "deprecated", 23, DESCRIPTOR_BOOL},
		{"google.protobuf.FileOptions", "java_string_check_utf8", 27, DESCRIPTOR_BOOL},
		{"google.protobuf.FileOptions", "cc_enable_arenas", 31, DESCRIPTOR_BOOL},
		{"google.protobuf.FileOptions", "objc_class_prefix", 36, DESCRIPTOR_STRING},
		{"google.protobuf.FileOptions", "csharp_namespace", 37, DESCRIPTOR_STRING},
		{"google.protobuf.FileOptions", "swift_prefix", 39, DESCRIPTOR_STRING},
		{"google.protobuf.FileOptions", "php_class_prefix", 40, DESCRIPTOR_STRING},
		{"google.protobuf.FileOptions", "php_namespace", 41, DESCRIPTOR_STRING},
		{"google.protobuf.FileOptions", "php_metadata_namespace", 44, DESCRIPTOR_STRING},
		{"google.protobuf.FileOptions", "ruby_package", 45, DESCRIPTOR_STRING},
		{"google.protobuf.MessageOptions", "no_standard_descriptor_accessor", 2,
			DESCRIPTOR_BOOL},
		{"google.protobuf.MessageOptions", "deprecated", 3, DESCRIPTOR_BOOL},
		{"google.protobuf.FieldOptions", "packed", 2, DESCRIPTOR_BOOL},
		{"google.protobuf.FieldOptions", "deprecated", 3, DESCRIPTOR_BOOL},
		{"google.protobuf.FieldOptions", "lazy", 5, DESCRIPTOR_BOOL},
		{"google.protobuf.FieldOptions", "weak", 10, DESCRIPTOR_BOOL},
		{"google.protobuf.EnumOptions", "allow_alias", 2, DESCRIPTOR_BOOL},
		{"google.protobuf.EnumOptions", "deprecated", 3, DESCRIPTOR_BOOL},
		{"google.protobuf.EnumValueOptions", "deprecated", 1, DESCRIPTOR_BOOL},
		{"google.protobuf.ServiceOptions", "deprecated", 33, DESCRIPTOR_BOOL},
		{"google.protobuf.MethodOptions", "deprecated", 33, DESCRIPTOR_BOOL},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(options); i++) {
		if (options[i].number == number && strcmp(options[i].type, type) == 0) {
			(void)snprintf(ret->name, sizeof(ret->name), "%s", options[i].name);
			ret->type = options[i].kind;
			return true;
		}
	}
	return false;
}

/* Those whose values are enums of descriptor.proto: names of the numbers from 0 or 1 on. */
static const char *standard_enum(
	const char *type, uint32_t number, uint64_t value, const char **ret_name)
{
	static const char *const optimize[] = {NULL, "SPEED", "CODE_SIZE", "LITE_RUNTIME"};
	static const char *const ctype[] = {"STRING", "CORD", "STRING_PIECE"};
	static const char *const jstype[] = {"JS_NORMAL", "JS_STRING", "JS_NUMBER"};
	static const char *const idempotency[] = {
		"IDEMPOTENCY_UNKNOWN", "NO_SIDE_EFFECTS", "IDEMPOTENT"};
	static const struct {
		const char *type, *name;
		const char *const *values;
		uint32_t number, count;
	} enums[] = {
		{"google.protobuf.FileOptions", "optimize_for", optimize, 9, 4},
		{"google.protobuf.FieldOptions", "ctype", ctype, 1, 3},
		{"google.protobuf.FieldOptions", "jstype", jstype, 6, 3},
		{"google.protobuf.MethodOptions", "idempotency_level", idempotency, 34, 3},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(enums); i++) {
		if (enums[i].number == number && strcmp(enums[i].type, type) == 0 &&
			value < enums[i].count) {
			*ret_name = enums[i].name;
			return enums[i].values[value];
		}
	}
	return NULL;
}

/* ---- Values ---- */

static void print_double(struct printer *printer, double value)
{
	if (isfinite(value)) {
		print_text(printer, "%.17g", value);
	} else if (printer->status == 0) {
		printer->status = ANNALS_E_UNSUPPORTED_OPERATION; /* no word for it in options */
	}
}

static void print_value(
	struct printer *printer, const struct option *option, const struct field *field)
{
	const uint64_t value = field->value;
	const int64_t zigzag = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
	const uint32_t bits = (uint32_t)value;
	const struct descriptor_enum_value *name;
	double number;
	float single;
	switch (option->type) {
	case DESCRIPTOR_BOOL:
		print_text(printer, value != 0 ? "true" : "false");
		return;
	case DESCRIPTOR_STRING:
	case DESCRIPTOR_BYTES:
		print_quoted(printer, field->bytes);
		return;
	case DESCRIPTOR_DOUBLE:
		memcpy(&number, &value, sizeof(number));
		print_double(printer, number);
		return;
	case DESCRIPTOR_FLOAT:
		memcpy(&single, &bits, sizeof(single));
		print_double(printer, single);
		return;
	case DESCRIPTOR_INT64:
	case DESCRIPTOR_SFIXED64:
		print_text(printer, "%" PRId64, (int64_t)value);
		return;
	case DESCRIPTOR_INT32:
	case DESCRIPTOR_SFIXED32:
		print_text(printer, "%" PRId32, (int32_t)value);
		return;
	case DESCRIPTOR_SINT32:
	case DESCRIPTOR_SINT64:
		print_text(printer, "%" PRId64, zigzag);
		return;
	case DESCRIPTOR_UINT32:
	case DESCRIPTOR_UINT64:
	case DESCRIPTOR_FIXED32:
	case DESCRIPTOR_FIXED64:
		print_text(printer, "%" PRIu64, value);
		return;
	case DESCRIPTOR_ENUM:
		name = option->enumeration == NULL ? NULL
						   : descriptor_enum_value_by_number(
							     option->enumeration, (int32_t)value);
		if (name != NULL) {
			print_text(printer, "%s", name->name);
			return;
		}
		break;
	default:
		break;
	}
	printer->status = printer->status != 0 ? printer->status : ANNALS_E_UNSUPPORTED_OPERATION;
}

/* The wire type that one value of the option has; -1: none that can be printed. */
static int wire_type_of(int type)
{
	switch (type) {
	case DESCRIPTOR_DOUBLE:
	case DESCRIPTOR_FIXED64:
	case DESCRIPTOR_SFIXED64:
		return WIRE_FIXED64;
	case DESCRIPTOR_FLOAT:
	case DESCRIPTOR_FIXED32:
	case DESCRIPTOR_SFIXED32:
		return WIRE_FIXED32;
	case DESCRIPTOR_STRING:
	case DESCRIPTOR_BYTES:
		return WIRE_BYTES;
	case DESCRIPTOR_MESSAGE:
	case DESCRIPTOR_GROUP:
		return -1;
	default:
		return WIRE_VARINT;
	}
}

/* One option after `before`. */
static void print_option(struct printer *printer, const struct closure *closure, const char *type,
	const struct field *field)
{
	struct option option = {.type = 0};
	const uint32_t number = FIELD_NUMBER(field->tag);
	const char *name = NULL, *value;
	int found = find_standard(type, number, &option) ? 1 : 0;
	value = found == 0 ? standard_enum(type, number, field->value, &name) : NULL;
	if (value != NULL) {
		print_text(printer, "%s = %s", name, value);
		return;
	}
	found = found != 0 ? found : find_option(closure, type, number, &option);
	if (found < 0 || (found == 0 && printer->status == 0) ||
		(found == 1 && wire_type_of(option.type) != (int)(field->tag & 7))) {
		printer->status = printer->status != 0 ? printer->status
				  : found < 0          ? found
						       : ANNALS_E_UNSUPPORTED_OPERATION;
		return;
	}
	print_text(printer, "%s = ", option.name);
	print_value(printer, &option, field);
}

/* Calls print_option() for each option, with what stands before and after. */
static void print_each(struct printer *printer, const char *type, struct bytes options,
	bool as_lines, bool *is_first)
{
	struct closure closure = {NULL, 0, 0};
	struct field field;
	size_t cursor = 0;
	int more, status = closure_make(&closure, printer->file);
	printer->status = printer->status != 0 ? printer->status : status;
	while (printer->status == 0 && (more = field_next(options, &cursor, &field)) != 0) {
		if (more < 0) {
			printer->status = ANNALS_E_UNSUPPORTED_OPERATION; /* a group */
			break;
		}
		if (FIELD_NUMBER(field.tag) == UNINTERPRETED_OPTION) {
			continue;
		}
		if (as_lines) {
			print_indent(printer);
			print_text(printer, "option ");
		} else {
			print_text(printer, *is_first ? " [" : ", ");
		}
		*is_first = false;
		print_option(printer, &closure, type, &field);
		if (as_lines) {
			print_text(printer, ";\n");
		}
	}
	free(closure.files);
}

void print_option_lines(struct printer *printer, const char *type, struct bytes options)
{
	bool is_first = true;
	if (options.size > 0) {
		print_each(printer, type, options, true, &is_first);
	}
}

void print_option_list(
	struct printer *printer, const char *type, struct bytes options, struct bytes first)
{
	bool is_first = first.size == 0;
	if (!is_first) {
		print_text(printer, " [%.*s", (int)first.size, (const char *)first.data);
	}
	if (options.size > 0) {
		print_each(printer, type, options, false, &is_first);
	}
	if (!is_first) {
		print_text(printer, "]");
	}
}
