/*
 * A file descriptor as .proto source: the language of proto2 and proto3 (protobuf.dev, language
 * specifications). Works on the bytes that were checked when the pool was built. Nesting is walked
 * with a stack of its own.
 */
#include "print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of descriptor.proto. */
enum {
	FILE_PACKAGE = 2,
	FILE_DEPENDENCY = 3,
	FILE_MESSAGE = 4,
	FILE_ENUM = 5,
	FILE_SERVICE = 6,
	FILE_EXTENSION = 7,
	FILE_OPTIONS = 8,
	FILE_PUBLIC = 10,
	FILE_WEAK = 11,
	MESSAGE_FIELD = 2,
	MESSAGE_NESTED = 3,
	MESSAGE_ENUM = 4,
	MESSAGE_RANGE = 5,
	MESSAGE_EXTENSION = 6,
	MESSAGE_OPTIONS = 7,
	MESSAGE_ONEOF = 8,
	MESSAGE_RESERVED = 9,
	MESSAGE_RESERVED_NAME = 10,
	MESSAGE_OPTIONS_MAP_ENTRY = 7,
	FIELD_EXTENDEE = 2,
	FIELD_NUMBER_OF = 3,
	FIELD_LABEL = 4,
	FIELD_TYPE = 5,
	FIELD_TYPE_NAME = 6,
	FIELD_DEFAULT = 7,
	FIELD_OPTIONS = 8,
	FIELD_ONEOF = 9,
	FIELD_JSON_NAME = 10,
	FIELD_PROTO3_OPTIONAL = 17,
	ENUM_VALUE = 2,
	ENUM_OPTIONS = 3,
	ENUM_RESERVED = 4,
	ENUM_RESERVED_NAME = 5,
	SERVICE_METHOD = 2,
	SERVICE_OPTIONS = 3,
	NAME = 1,
	NUMBER = 2,
	VALUE_OPTIONS = 3,
	METHOD_INPUT = 2,
	METHOD_OUTPUT = 3,
	METHOD_OPTIONS = 4,
	METHOD_CLIENT_STREAMING = 5,
	METHOD_SERVER_STREAMING = 6,
	LABEL_REQUIRED = 2,
	LABEL_REPEATED = 3
};

/* ---- Parts ---- */

int parts_gather(struct bytes in, uint32_t number, struct parts *ret)
{
	struct field field;
	size_t cursor = 0, capacity = 0;
	*ret = (struct parts){NULL, 0};
	while (field_next(in, &cursor, &field) == 1) {
		if (field.tag != FIELD_TAG(number, WIRE_BYTES)) {
			continue;
		}
		if (ret->count == capacity) {
			capacity = capacity == 0 ? 8 : capacity * 2;
			struct bytes *larger = realloc(ret->parts, capacity * sizeof(*larger));
			if (larger == NULL) {
				parts_release(ret);
				return ANNALS_E_NO_MEMORY;
			}
			ret->parts = larger;
		}
		ret->parts[ret->count++] = field.bytes;
	}
	return 0;
}

void parts_release(struct parts *parts)
{
	free(parts->parts);
	*parts = (struct parts){NULL, 0};
}

bool part_find(struct bytes in, uint32_t number, struct field *ret)
{
	struct field field;
	size_t cursor = 0;
	bool found = false;
	while (field_next(in, &cursor, &field) == 1) {
		if (FIELD_NUMBER(field.tag) == number) {
			*ret = field;
			found = true;
		}
	}
	return found;
}

struct bytes part_text(struct bytes in, uint32_t number)
{
	struct field field;
	return part_find(in, number, &field) ? field.bytes : bytes_of("", 0);
}

uint64_t part_number(struct bytes in, uint32_t number)
{
	struct field field;
	return part_find(in, number, &field) ? field.value : 0;
}

/* ---- Text ---- */

void print_text(struct printer *printer, const char *format, ...)
{
	char text[4 * DESCRIPTOR_NAME_BYTES_MAX];
	va_list args;
	va_start(args, format);
	const int size = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (printer->status == 0) {
		printer->status = size < 0 || (size_t)size >= sizeof(text)
					  ? ANNALS_E_TOO_LARGE
					  : buf_add(printer->out, text, (size_t)size);
	}
}

void print_indent(struct printer *printer)
{
	print_text(printer, "%*s", (int)printer->indent * 2, "");
}

static void print_bytes(struct printer *printer, struct bytes text)
{
	if (printer->status == 0) {
		printer->status = buf_add(printer->out, text.data, text.size);
	}
}

void print_quoted(struct printer *printer, struct bytes text)
{
	print_text(printer, "\"");
	for (size_t i = 0; i < text.size && printer->status == 0; i++) {
		const uint8_t byte = text.data[i];
		if (byte == '"' || byte == '\\') {
			print_text(printer, "\\%c", byte);
		} else if (byte < 0x20 || byte >= 0x7f) {
			print_text(printer, "\\%03o", byte);
		} else {
			printer->status = buf_add_byte(printer->out, byte);
		}
	}
	print_text(printer, "\"");
}

/* ---- Ranges and reserved names ---- */

static void print_range(struct printer *printer, int32_t first, int32_t last, int32_t max)
{
	if (first == last) {
		print_text(printer, "%" PRId32, first);
	} else if (last >= max) {
		print_text(printer, "%" PRId32 " to max", first);
	} else {
		print_text(printer, "%" PRId32 " to %" PRId32, first, last);
	}
}

/* `past`: 1 where the end is not included. */
static void print_ranges(
	struct printer *printer, const char *word, struct bytes in, uint32_t list, int past)
{
	const int32_t max = past == 1 ? (int32_t)DESCRIPTOR_FIELD_NUMBER_MAX : INT32_MAX;
	struct parts ranges;
	printer->status = printer->status != 0 ? printer->status : parts_gather(in, list, &ranges);
	if (printer->status != 0) {
		return;
	}
	for (size_t i = 0; i < ranges.count; i++) {
		const int32_t first = (int32_t)part_number(ranges.parts[i], 1);
		const int32_t last = (int32_t)part_number(ranges.parts[i], 2) - past;
		print_indent(printer);
		print_text(printer, "%s ", word);
		print_range(printer, first, last, max);
		if (past == 1) {
			print_option_list(printer, "google.protobuf.ExtensionRangeOptions",
				part_text(ranges.parts[i], 3), bytes_of("", 0));
		}
		print_text(printer, ";\n");
	}
	parts_release(&ranges);
}

static void print_reserved_names(struct printer *printer, struct bytes in, uint32_t list)
{
	struct parts names;
	printer->status = printer->status != 0 ? printer->status : parts_gather(in, list, &names);
	if (printer->status != 0) {
		return;
	}
	for (size_t i = 0; i < names.count; i++) {
		print_indent(printer);
		print_text(printer, "reserved ");
		print_quoted(printer, names.parts[i]);
		print_text(printer, ";\n");
	}
	parts_release(&names);
}

/* ---- Enums ---- */

static void print_enum(struct printer *printer, struct bytes in)
{
	struct parts values;
	printer->status =
		printer->status != 0 ? printer->status : parts_gather(in, ENUM_VALUE, &values);
	if (printer->status != 0) {
		return;
	}
	print_indent(printer);
	print_text(printer, "enum ");
	print_bytes(printer, part_text(in, NAME));
	print_text(printer, " {\n");
	printer->indent++;
	print_option_lines(printer, "google.protobuf.EnumOptions", part_text(in, ENUM_OPTIONS));
	for (size_t i = 0; i < values.count; i++) {
		print_indent(printer);
		print_bytes(printer, part_text(values.parts[i], NAME));
		print_text(printer, " = %" PRId32, (int32_t)part_number(values.parts[i], NUMBER));
		print_option_list(printer, "google.protobuf.EnumValueOptions",
			part_text(values.parts[i], VALUE_OPTIONS), bytes_of("", 0));
		print_text(printer, ";\n");
	}
	print_ranges(printer, "reserved", in, ENUM_RESERVED, 0);
	print_reserved_names(printer, in, ENUM_RESERVED_NAME);
	printer->indent--;
	print_indent(printer);
	print_text(printer, "}\n");
	parts_release(&values);
}

static void print_enums(struct printer *printer, struct bytes in, uint32_t list)
{
	struct parts enums;
	printer->status = printer->status != 0 ? printer->status : parts_gather(in, list, &enums);
	if (printer->status != 0) {
		return;
	}
	for (size_t i = 0; i < enums.count; i++) {
		print_enum(printer, enums.parts[i]);
	}
	parts_release(&enums);
}

/* ---- Fields ---- */

/* The JSON name that a field has by itself. */
static bool is_derived_json_name(struct bytes name, struct bytes json_name)
{
	size_t at = 0;
	bool upper = false;
	for (size_t i = 0; i < name.size; i++) {
		uint8_t byte = name.data[i];
		if (byte == '_') {
			upper = true;
			continue;
		}
		if (upper && byte >= 'a' && byte <= 'z') {
			byte = (uint8_t)(byte - 'a' + 'A');
		}
		upper = false;
		if (at >= json_name.size || json_name.data[at++] != byte) {
			return false;
		}
	}
	return at == json_name.size;
}

/* What stands first in the brackets behind a field: default and JSON name. */
static void make_first(
	struct printer *printer, struct bytes field, bool is_extension, struct buf *ret)
{
	struct printer inner = {printer->file, ret, 0, printer->status};
	const int type = (int)part_number(field, FIELD_TYPE);
	const struct bytes json_name = part_text(field, FIELD_JSON_NAME);
	struct field given;
	if (part_find(field, FIELD_DEFAULT, &given)) {
		print_text(&inner, "default = ");
		if (type == DESCRIPTOR_STRING) {
			print_quoted(&inner, given.bytes);
		} else if (type == DESCRIPTOR_BYTES) { /* escaped already */
			print_text(&inner, "\"");
			print_bytes(&inner, given.bytes);
			print_text(&inner, "\"");
		} else {
			print_bytes(&inner, given.bytes);
		}
	}
	if (!is_extension && json_name.size > 0 &&
		!is_derived_json_name(part_text(field, NAME), json_name)) {
		print_text(&inner, "%sjson_name = ", ret->size > 0 ? ", " : "");
		print_quoted(&inner, json_name);
	}
	printer->status = inner.status;
}

static void print_type(struct printer *printer, struct bytes field)
{
	const struct bytes name = part_text(field, FIELD_TYPE_NAME);
	if (name.size > 0) {
		print_bytes(printer, name);
	} else {
		print_text(
			printer, "%s", descriptor_type_name((int)part_number(field, FIELD_TYPE)));
	}
}

/* entry: the nested message of a map; size 0: it is none. */
static void print_field(
	struct printer *printer, struct bytes field, struct bytes entry, bool in_oneof)
{
	struct buf first ANNALS_CLEANUP(buf_release) = BUF_INIT;
	const struct bytes name = part_text(field, NAME);
	const uint64_t label = part_number(field, FIELD_LABEL);
	const bool is_extension = part_text(field, FIELD_EXTENDEE).size > 0;
	print_indent(printer);
	if (entry.size > 0) {
		struct parts sides;
		printer->status = printer->status != 0 ? printer->status
						       : parts_gather(entry, MESSAGE_FIELD, &sides);
		if (printer->status != 0) {
			return;
		}
		print_text(printer, "map<");
		for (size_t i = 0; i < sides.count; i++) {
			print_text(printer, "%s", i > 0 ? ", " : "");
			print_type(printer, sides.parts[i]);
		}
		print_text(printer, ">");
		parts_release(&sides);
	} else {
		if (label == LABEL_REPEATED) {
			print_text(printer, "repeated ");
		} else if (label == LABEL_REQUIRED) {
			print_text(printer, "required ");
		} else if (!in_oneof && (!printer->file->proto3 ||
						part_number(field, FIELD_PROTO3_OPTIONAL) != 0)) {
			print_text(printer, "optional ");
		}
		if (part_number(field, FIELD_TYPE) == DESCRIPTOR_GROUP) {
			printer->status = printer->status != 0 ? printer->status
							       : ANNALS_E_UNSUPPORTED_OPERATION;
		}
		print_type(printer, field);
	}
	print_text(printer, " ");
	print_bytes(printer, name);
	print_text(printer, " = %" PRIu64, part_number(field, FIELD_NUMBER_OF));
	make_first(printer, field, is_extension, &first);
	print_option_list(printer, "google.protobuf.FieldOptions", part_text(field, FIELD_OPTIONS),
		buf_bytes(&first));
	print_text(printer, ";\n");
}

static void print_extensions(struct printer *printer, struct bytes in, uint32_t list)
{
	struct parts extensions;
	printer->status =
		printer->status != 0 ? printer->status : parts_gather(in, list, &extensions);
	if (printer->status != 0) {
		return;
	}
	for (size_t i = 0; i < extensions.count; i++) {
		print_indent(printer);
		print_text(printer, "extend ");
		print_bytes(printer, part_text(extensions.parts[i], FIELD_EXTENDEE));
		print_text(printer, " {\n");
		printer->indent++;
		print_field(printer, extensions.parts[i], bytes_of("", 0), false);
		printer->indent--;
		print_indent(printer);
		print_text(printer, "}\n");
	}
	parts_release(&extensions);
}

/* ---- Messages ---- */

/* A message whose fields and nested messages are being printed. */
struct frame {
	struct bytes body;
	struct parts fields, nested, oneofs;
	bool *done; /* fields of a oneof that was printed */
	size_t next_field, next_nested;
};

static bool is_map_entry(struct bytes message)
{
	return part_number(part_text(message, MESSAGE_OPTIONS), MESSAGE_OPTIONS_MAP_ENTRY) != 0;
}

static bool ends_with_name(struct bytes type_name, struct bytes name)
{
	return type_name.size > name.size &&
	       type_name.data[type_name.size - name.size - 1] == '.' &&
	       memcmp(type_name.data + type_name.size - name.size, name.data, name.size) == 0;
}

/* The map entry that a field has, or nothing. */
static struct bytes entry_of(const struct frame *frame, struct bytes field)
{
	const struct bytes type_name = part_text(field, FIELD_TYPE_NAME);
	if (part_number(field, FIELD_LABEL) != LABEL_REPEATED ||
		part_number(field, FIELD_TYPE) != DESCRIPTOR_MESSAGE) {
		return bytes_of("", 0);
	}
	for (size_t i = 0; i < frame->nested.count; i++) {
		const struct bytes message = frame->nested.parts[i];
		if (is_map_entry(message) && ends_with_name(type_name, part_text(message, NAME))) {
			return message;
		}
	}
	return bytes_of("", 0);
}

/* The place of the oneof that somebody wrote; -1: none. */
static int oneof_of(struct bytes field)
{
	struct field place;
	return part_number(field, FIELD_PROTO3_OPTIONAL) == 0 &&
			       part_find(field, FIELD_ONEOF, &place)
		       ? (int)place.value
		       : -1;
}

static void print_oneof(struct printer *printer, struct frame *frame, int oneof)
{
	if ((size_t)oneof >= frame->oneofs.count) {
		printer->status = ANNALS_E_MALFORMED;
		return;
	}
	const struct bytes part = frame->oneofs.parts[oneof];
	print_indent(printer);
	print_text(printer, "oneof ");
	print_bytes(printer, part_text(part, NAME));
	print_text(printer, " {\n");
	printer->indent++;
	print_option_lines(printer, "google.protobuf.OneofOptions", part_text(part, 2));
	for (size_t i = frame->next_field; i < frame->fields.count; i++) {
		if (oneof_of(frame->fields.parts[i]) == oneof) {
			print_field(printer, frame->fields.parts[i], bytes_of("", 0), true);
			frame->done[i] = true;
		}
	}
	printer->indent--;
	print_indent(printer);
	print_text(printer, "}\n");
}

/* Fields in their order, up to and with the one whose map entry this is (all, when it is empty). */
static void print_fields(struct printer *printer, struct frame *frame, struct bytes up_to)
{
	while (frame->next_field < frame->fields.count && printer->status == 0) {
		const struct bytes field = frame->fields.parts[frame->next_field];
		const struct bytes entry = entry_of(frame, field);
		const int oneof = oneof_of(field);
		if (oneof >= 0 && !frame->done[frame->next_field]) {
			print_oneof(printer, frame, oneof);
		} else if (oneof < 0) {
			print_field(printer, field, entry, false);
		}
		frame->next_field++;
		if (up_to.size > 0 && entry.data == up_to.data) {
			return;
		}
	}
}

static int frame_open(struct printer *printer, struct frame *frame, struct bytes body)
{
	*frame = (struct frame){.body = body};
	int status = parts_gather(body, MESSAGE_FIELD, &frame->fields);
	status = status != 0 ? status : parts_gather(body, MESSAGE_NESTED, &frame->nested);
	status = status != 0 ? status : parts_gather(body, MESSAGE_ONEOF, &frame->oneofs);
	frame->done = calloc(frame->fields.count + 1, sizeof(*frame->done));
	status = status != 0 ? status : frame->done == NULL ? ANNALS_E_NO_MEMORY : 0;
	print_indent(printer);
	print_text(printer, "message ");
	print_bytes(printer, part_text(body, NAME));
	print_text(printer, " {\n");
	printer->indent++;
	print_option_lines(
		printer, "google.protobuf.MessageOptions", part_text(body, MESSAGE_OPTIONS));
	return status;
}

static void frame_release(struct frame *frame)
{
	parts_release(&frame->fields);
	parts_release(&frame->nested);
	parts_release(&frame->oneofs);
	free(frame->done);
}

/* What stands behind the nested messages. */
static void frame_close(struct printer *printer, struct frame *frame)
{
	print_fields(printer, frame, bytes_of("", 0));
	print_enums(printer, frame->body, MESSAGE_ENUM);
	print_ranges(printer, "extensions", frame->body, MESSAGE_RANGE, 1);
	print_extensions(printer, frame->body, MESSAGE_EXTENSION);
	print_ranges(printer, "reserved", frame->body, MESSAGE_RESERVED, 1);
	print_reserved_names(printer, frame->body, MESSAGE_RESERVED_NAME);
	printer->indent--;
	print_indent(printer);
	print_text(printer, "}\n");
}

static void print_message(struct printer *printer, struct bytes body)
{
	struct frame frames[DESCRIPTOR_NESTING_MAX + 2];
	size_t depth = 1;
	if (printer->status != 0) {
		return;
	}
	printer->status = frame_open(printer, &frames[0], body);
	while (depth > 0) {
		struct frame *frame = &frames[depth - 1];
		if (printer->status != 0 || frame->next_nested == frame->nested.count) {
			if (printer->status == 0) {
				frame_close(printer, frame);
			}
			frame_release(frame);
			depth--;
			continue;
		}
		const struct bytes nested = frame->nested.parts[frame->next_nested++];
		if (is_map_entry(nested)) {
			print_fields(printer, frame, nested);
		} else if (depth == ANNALS_COUNT_OF(frames)) {
			printer->status = ANNALS_E_TOO_LARGE;
		} else {
			printer->status = frame_open(printer, &frames[depth++], nested);
		}
	}
}

/* ---- Services and files ---- */

static void print_service(struct printer *printer, struct bytes in)
{
	struct parts methods;
	printer->status =
		printer->status != 0 ? printer->status : parts_gather(in, SERVICE_METHOD, &methods);
	if (printer->status != 0) {
		return;
	}
	print_text(printer, "service ");
	print_bytes(printer, part_text(in, NAME));
	print_text(printer, " {\n");
	printer->indent++;
	print_option_lines(
		printer, "google.protobuf.ServiceOptions", part_text(in, SERVICE_OPTIONS));
	for (size_t i = 0; i < methods.count; i++) {
		const struct bytes method = methods.parts[i];
		struct field options;
		print_indent(printer);
		print_text(printer, "rpc ");
		print_bytes(printer, part_text(method, NAME));
		print_text(printer, "(%s",
			part_number(method, METHOD_CLIENT_STREAMING) != 0 ? "stream " : "");
		print_bytes(printer, part_text(method, METHOD_INPUT));
		print_text(printer, ") returns (%s",
			part_number(method, METHOD_SERVER_STREAMING) != 0 ? "stream " : "");
		print_bytes(printer, part_text(method, METHOD_OUTPUT));
		if (!part_find(method, METHOD_OPTIONS, &options)) {
			print_text(printer, ");\n");
			continue;
		}
		print_text(printer, ") {\n");
		printer->indent++;
		print_option_lines(printer, "google.protobuf.MethodOptions", options.bytes);
		printer->indent--;
		print_indent(printer);
		print_text(printer, "}\n");
	}
	printer->indent--;
	print_text(printer, "}\n");
	parts_release(&methods);
}

/* True when a list of numbers of the file, packed or not, has this one. */
static bool has_number(struct bytes in, uint32_t list, uint64_t number)
{
	struct field field;
	size_t cursor = 0;
	while (field_next(in, &cursor, &field) == 1) {
		if (FIELD_NUMBER(field.tag) == list && (field.tag & 7) == WIRE_VARINT &&
			field.value == number) {
			return true;
		}
		size_t at = 0;
		uint64_t value;
		while (field.tag == FIELD_TAG(list, WIRE_BYTES) && at < field.bytes.size &&
			field_varint(field.bytes, &at, &value) == 0) {
			if (value == number) {
				return true;
			}
		}
	}
	return false;
}

static void print_imports(struct printer *printer, struct bytes file)
{
	struct parts imports;
	printer->status = printer->status != 0 ? printer->status
					       : parts_gather(file, FILE_DEPENDENCY, &imports);
	if (printer->status != 0) {
		return;
	}
	for (size_t i = 0; i < imports.count; i++) {
		print_text(printer, "import %s",
			has_number(file, FILE_PUBLIC, i) ? "public "
			: has_number(file, FILE_WEAK, i) ? "weak "
							 : "");
		print_quoted(printer, imports.parts[i]);
		print_text(printer, ";\n");
	}
	parts_release(&imports);
}

int descriptor_print(const struct descriptor_file *file, struct buf *out)
{
	struct printer printer = {.file = file, .out = out};
	const struct bytes encoded = file->encoded;
	const size_t start = out->size;
	struct parts messages, services;
	print_text(&printer, "syntax = \"%s\";\n", file->proto3 ? "proto3" : "proto2");
	if (file->package[0] != 0) {
		print_text(&printer, "package %s;\n", file->package);
	}
	print_imports(&printer, encoded);
	print_option_lines(
		&printer, "google.protobuf.FileOptions", part_text(encoded, FILE_OPTIONS));
	if (printer.status == 0) {
		printer.status = parts_gather(encoded, FILE_MESSAGE, &messages);
	}
	if (printer.status != 0) {
		out->size = start;
		return printer.status;
	}
	for (size_t i = 0; i < messages.count; i++) {
		print_text(&printer, "\n");
		print_message(&printer, messages.parts[i]);
	}
	parts_release(&messages);
	print_enums(&printer, encoded, FILE_ENUM);
	print_extensions(&printer, encoded, FILE_EXTENSION);
	printer.status = printer.status != 0 ? printer.status
					     : parts_gather(encoded, FILE_SERVICE, &services);
	if (printer.status == 0) {
		for (size_t i = 0; i < services.count; i++) {
			print_service(&printer, services.parts[i]);
		}
		parts_release(&services);
	}
	if (printer.status != 0) {
		out->size = start;
	}
	return printer.status;
}
