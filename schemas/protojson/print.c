#include "print.h"
#include "field.h"
#include "model.h"
#include "scalar.h"
#include <math.h>
#include <stdlib.h>

static int no_memory(struct printer *printer)
{
	return error_fail(printer->err, ANNALS_E_NO_MEMORY, "out of memory");
}

int print_fail(struct printer *printer, int status, const char *problem)
{
	struct model_path path;
	model_path_init(&path);
	for (unsigned i = 0; i < printer->depth; i++) {
		const struct print_frame *frame = &printer->frames[i];
		if (frame->field == NULL) {
			continue;
		}
		if (frame->mode == PRINT_OBJECT) {
			model_path_add_name(&path, bytes_text(frame->field->json_name));
		}
		if (frame->field->map) {
			model_path_add_key(&path, frame->key);
		} else if (frame->field->repeated) {
			model_path_add_index(&path, frame->count);
		}
	}
	/* Pieces that were merged have left the input. */
	const uintptr_t at = (uintptr_t)printer->at;
	const uintptr_t start = (uintptr_t)printer->input.data;
	if (at >= start && at <= start + printer->input.size) {
		return error_fail(printer->err, status, "%s at '%s', byte %zu", problem,
			model_path_text(&path), (size_t)(at - start));
	}
	return error_fail(printer->err, status, "%s at '%s'", problem, model_path_text(&path));
}

static int start_message(
	struct printer *printer, const struct descriptor_message *type, struct bytes in);

static void pop(struct printer *printer)
{
	struct print_frame *frame = print_top(printer);
	printer->entries.size = frame->entry_first * sizeof(uint64_t);
	printer->oneofs.size = frame->oneof_first * sizeof(struct print_oneof);
	buf_release(&frame->merged);
	printer->depth--;
}

static int push(struct printer *printer, const struct descriptor_message *type, struct bytes in,
	enum print_mode mode)
{
	if (printer->depth == PROTOJSON_DEPTH_MAX) {
		return print_fail(printer, ANNALS_E_TOO_LARGE, "more than 100 levels of messages");
	}
	struct print_frame *frame = &printer->frames[printer->depth++];
	*frame = (struct print_frame){.type = type, .in = in, .mode = mode};
	frame->entry_first = printer->entries.size / sizeof(uint64_t);
	frame->entry_next = frame->entry_end = frame->entry_first;
	frame->oneof_first = printer->oneofs.size / sizeof(struct print_oneof);
	return mode == PRINT_ANY ? 0 : print_index(printer, frame);
}

/* Struct, ListValue and Value: their field's value stands for them. */
static int start_bare(struct printer *printer, const struct descriptor_message *type,
	struct bytes in, const char *empty)
{
	const int status = push(printer, type, in, PRINT_BARE);
	if (status != 0) {
		return status;
	}
	const struct print_frame *frame = print_top(printer);
	if (frame->entry_first == frame->entry_end) {
		pop(printer);
		return print_raw(printer, empty, strlen(empty));
	}
	return 0;
}

static int start_any(
	struct printer *printer, const struct descriptor_message *type, struct bytes in)
{
	struct bytes url = {NULL, 0};
	struct bytes value = {NULL, 0};
	struct wire_field wire;
	size_t cursor = 0;
	int more;
	while ((more = wire_field_next(in, &cursor, &wire)) == 1) {
		if (wire.type == WIRE_BYTES && wire.number == 1) {
			url = wire.bytes;
		} else if (wire.type == WIRE_BYTES && wire.number == 2) {
			value = wire.bytes;
		}
	}
	if (more < 0) {
		return print_fail(printer, more, "malformed message");
	}
	if (url.size == 0 && value.size == 0) {
		return print_raw(printer, "{}", 2);
	}
	const struct descriptor_message *embedded =
		url.size > 0 ? model_any_type(printer->pool, url) : NULL;
	if (embedded == NULL) {
		return print_fail(printer, ANNALS_E_VALIDATION, "Any of a type that is not known");
	}
	int status = print_raw(printer, "{\"@type\":", 9);
	status = status == 0 ? print_string(printer, url) : status;
	if (status != 0) {
		return status;
	}
	if (wellknown_of(embedded) == WELLKNOWN_NONE) {
		status = push(printer, embedded, value, PRINT_OBJECT);
		if (status == 0) {
			print_top(printer)->comma = true;
		}
		return status;
	}
	status = print_raw(printer, ",\"value\":", 9);
	status = status == 0 ? push(printer, type, in, PRINT_ANY) : status;
	return status == 0 ? start_message(printer, embedded, value) : status;
}

/* Prints the message, or pushes the frame that will. */
static int start_message(
	struct printer *printer, const struct descriptor_message *type, struct bytes in)
{
	printer->at = in.data;
	const enum wellknown kind = wellknown_of(type);
	switch (kind) {
	case WELLKNOWN_NONE: {
		const int status = print_raw(printer, "{", 1);
		return status == 0 ? push(printer, type, in, PRINT_OBJECT) : status;
	}
	case WELLKNOWN_ANY:
		return start_any(printer, type, in);
	case WELLKNOWN_STRUCT:
		return start_bare(printer, type, in, "{}");
	case WELLKNOWN_LIST_VALUE:
		return start_bare(printer, type, in, "[]");
	case WELLKNOWN_VALUE:
		return start_bare(printer, type, in, "null");
	default:
		return print_leaf(printer, kind, type, in);
	}
}

/* The member's comma and name. */
static int print_name(
	struct printer *printer, struct print_frame *frame, const struct descriptor_field *field)
{
	if (frame->mode == PRINT_BARE) {
		return 0;
	}
	const struct bytes name = printer->options->original_names ? bytes_text(field->name)
								   : bytes_text(field->json_name);
	int status = frame->comma ? print_raw(printer, ",", 1) : 0;
	frame->comma = true;
	status = status == 0 ? print_string(printer, name) : status;
	return status == 0 ? print_raw(printer, ":", 1) : status;
}

/* The value of a field without presence that is not set. */
static int print_default(
	struct printer *printer, struct print_frame *frame, const struct descriptor_field *field)
{
	if (!printer->options->print_defaults || frame->mode != PRINT_OBJECT ||
		field->has_presence) {
		return 0;
	}
	const int status = print_name(printer, frame, field);
	if (status != 0) {
		return status;
	}
	if (field->map) {
		return print_raw(printer, "{}", 2);
	}
	return field->repeated ? print_raw(printer, "[]", 2)
			       : print_scalar(printer, field, 0, bytes_of(NULL, 0));
}

/* Gives the fields before `order` their defaults. */
static int print_defaults_before(struct printer *printer, struct print_frame *frame, uint32_t order)
{
	for (; printer->options->print_defaults && frame->default_at < order; frame->default_at++) {
		const int status =
			print_default(printer, frame, &frame->type->fields[frame->default_at]);
		if (status != 0) {
			return status;
		}
	}
	return 0;
}

/* Reads the field of an entry. */
static int read_entry(struct printer *printer, const struct print_frame *frame, size_t index,
	struct wire_field *ret)
{
	size_t cursor = (uint32_t)print_entry(printer, index);
	printer->at = frame->in.data + cursor;
	return wire_field_next(frame->in, &cursor, ret) == 1
		       ? 0
		       : print_fail(printer, ANNALS_E_MALFORMED, "malformed message");
}

/* Starts a message whose bytes were put together; its frame keeps them. */
static int start_merged(
	struct printer *printer, const struct descriptor_message *type, struct buf *merged)
{
	const unsigned depth = printer->depth;
	const int status = start_message(printer, type, buf_bytes(merged));
	if (status == 0 && printer->depth > depth) {
		printer->frames[depth].merged = *merged;
		*merged = BUF_INIT;
	}
	return status;
}

/* A singular message that came in pieces: protobuf merges them, which is what reading the
 * concatenation gives. */
static int start_pieces(struct printer *printer, struct print_frame *frame)
{
	ANNALS_CLEANUP(buf_release) struct buf merged = BUF_INIT;
	for (size_t i = frame->entry_next; i < frame->run_end; i++) {
		struct wire_field wire;
		const int status = read_entry(printer, frame, i, &wire);
		if (status != 0) {
			return status;
		}
		if (buf_add(&merged, wire.bytes.data, wire.bytes.size) != 0) {
			return no_memory(printer);
		}
	}
	frame->entry_next = frame->run_end;
	return start_merged(printer, frame->field->message, &merged);
}

/* The same within one map entry. */
static int start_map_pieces(
	struct printer *printer, const struct descriptor_field *value, struct bytes entry)
{
	ANNALS_CLEANUP(buf_release) struct buf merged = BUF_INIT;
	struct wire_field wire;
	size_t cursor = 0;
	while (wire_field_next(entry, &cursor, &wire) == 1) {
		if (wire.number == 2 && wire.type == WIRE_BYTES &&
			buf_add(&merged, wire.bytes.data, wire.bytes.size) != 0) {
			return no_memory(printer);
		}
	}
	return start_merged(printer, value->message, &merged);
}

static int print_singular(struct printer *printer, struct print_frame *frame)
{
	const struct descriptor_field *field = frame->field;
	struct wire_field wire;
	int status = read_entry(printer, frame, frame->run_end - 1, &wire);
	if (status != 0) {
		return status;
	}
	if (field->message != NULL) {
		status = print_name(printer, frame, field);
		if (status != 0) {
			return status;
		}
		if (frame->run_end - frame->entry_next > 1) {
			return start_pieces(printer, frame);
		}
		frame->entry_next = frame->run_end;
		return start_message(printer, field->message, wire.bytes);
	}
	frame->entry_next = frame->run_end;
	const bool is_text = wire.type == WIRE_BYTES;
	if (!field->has_presence && frame->mode == PRINT_OBJECT &&
		(is_text ? wire.bytes.size == 0 : model_normal_value(field, wire.value) == 0)) {
		return print_default(printer, frame, field);
	}
	if (frame->mode == PRINT_BARE && field->type == DESCRIPTOR_DOUBLE) {
		double number;
		memcpy(&number, &wire.value, sizeof(number));
		if (!isfinite(number)) {
			return print_fail(printer, ANNALS_E_VALIDATION, "Value that is not finite");
		}
	}
	if (frame->mode == PRINT_BARE && model_is_null_value(field)) {
		return print_raw(printer, "null", 4);
	}
	status = print_name(printer, frame, field);
	return status == 0 ? print_scalar(printer, field, wire.value, wire.bytes) : status;
}

/* Goes to the next run of entries, or closes the message. */
static int next_field(struct printer *printer, struct print_frame *frame)
{
	if (frame->entry_next == frame->entry_end) {
		int status = 0;
		if (frame->mode == PRINT_OBJECT) {
			status = print_defaults_before(printer, frame, frame->type->field_count);
		}
		if (status == 0 && frame->mode != PRINT_BARE) {
			status = print_raw(printer, "}", 1);
		}
		if (status == 0) {
			pop(printer);
		}
		return status;
	}
	const uint32_t order = (uint32_t)(print_entry(printer, frame->entry_next) >> 32);
	int status = print_defaults_before(printer, frame, order);
	if (status != 0) {
		return status;
	}
	frame->default_at = order + 1;
	frame->field = &frame->type->fields[order];
	frame->run_end = frame->entry_next + 1;
	while (frame->run_end < frame->entry_end &&
		print_entry(printer, frame->run_end) >> 32 == order) {
		frame->run_end++;
	}
	if (!frame->field->repeated) {
		return print_singular(printer, frame);
	}
	frame->mark = printer->out->size;
	frame->count = 0;
	const bool comma = frame->comma;
	status = print_name(printer, frame, frame->field);
	if (status != 0) {
		return status;
	}
	frame->run_comma = comma;
	status = print_raw(printer, frame->field->map ? "{" : "[", 1);
	if (status == 0 && frame->field->map) {
		status = print_map_unique(printer, frame);
	}
	return status;
}

/* Closes a list or map; one without elements is as if it had not been there. */
static int end_run(struct printer *printer, struct print_frame *frame)
{
	const struct descriptor_field *field = frame->field;
	frame->field = NULL;
	if (frame->count == 0 && frame->mode == PRINT_OBJECT) {
		printer->out->size = frame->mark;
		frame->comma = frame->run_comma;
		return print_default(printer, frame, field);
	}
	return print_raw(printer, field->map ? "}" : "]", 1);
}

static int next_map_entry(struct printer *printer, struct print_frame *frame)
{
	const struct descriptor_field *value = &frame->field->message->fields[1];
	struct wire_field wire;
	struct map_entry entry;
	while (frame->entry_next < frame->run_end &&
		print_entry(printer, frame->entry_next) == PRINT_ENTRY_DROPPED) {
		frame->entry_next++;
	}
	if (frame->entry_next == frame->run_end) {
		return end_run(printer, frame);
	}
	int status = read_entry(printer, frame, frame->entry_next++, &wire);
	if (status != 0) {
		return status;
	}
	status = print_map_read(printer, frame->field, wire.bytes, &entry);
	if (status < 0) {
		return status;
	}
	frame->key = entry.key_text;
	status = frame->count++ > 0 ? print_raw(printer, ",", 1) : 0;
	status = status == 0 ? print_map_key(printer, &frame->field->message->fields[0],
				       entry.key_number, entry.key_text)
			     : status;
	status = status == 0 ? print_raw(printer, ":", 1) : status;
	if (status != 0) {
		return status;
	}
	if (value->message == NULL) {
		return print_scalar(printer, value, entry.value, entry.value_bytes);
	}
	return entry.in_pieces ? start_map_pieces(printer, value, wire.bytes)
			       : start_message(printer, value->message, entry.value_bytes);
}

static int print_element(
	struct printer *printer, struct print_frame *frame, uint64_t value, struct bytes text)
{
	if (frame->field->type == DESCRIPTOR_ENUM && !print_enum_known(frame->field, value)) {
		return 0;
	}
	const int status = frame->count > 0 ? print_raw(printer, ",", 1) : 0;
	if (status != 0) {
		return status;
	}
	const int printed = print_scalar(printer, frame->field, value, text);
	frame->count++;
	return printed;
}

static int print_packed(struct printer *printer, struct print_frame *frame, struct bytes in)
{
	size_t cursor = 0;
	uint64_t value;
	int more;
	while ((more = print_packed_next(frame->field, in, &cursor, &value)) == 1) {
		const int status = print_element(printer, frame, value, bytes_of(NULL, 0));
		if (status != 0) {
			return status;
		}
	}
	printer->at = in.data + cursor;
	return more < 0 ? print_fail(printer, more, "malformed packed field") : 0;
}

/* One entry of a list: an element, or the elements packed into it. */
static int next_element(struct printer *printer, struct print_frame *frame)
{
	struct wire_field wire;
	if (frame->entry_next == frame->run_end) {
		return end_run(printer, frame);
	}
	int status = read_entry(printer, frame, frame->entry_next++, &wire);
	if (status != 0) {
		return status;
	}
	if (frame->field->message != NULL) {
		status = frame->count++ > 0 ? print_raw(printer, ",", 1) : 0;
		return status == 0 ? start_message(printer, frame->field->message, wire.bytes)
				   : status;
	}
	return wire.type == WIRE_BYTES && frame->field->wire_type != WIRE_BYTES
		       ? print_packed(printer, frame, wire.bytes)
		       : print_element(printer, frame, wire.value, wire.bytes);
}

static int step(struct printer *printer)
{
	struct print_frame *frame = print_top(printer);
	if (frame->field == NULL || !frame->field->repeated) {
		return next_field(printer, frame);
	}
	return frame->field->map ? next_map_entry(printer, frame) : next_element(printer, frame);
}

int protojson_print(const struct descriptor_pool *pool, const struct descriptor_message *type,
	struct bytes encoded, const struct protojson_print_options *options, struct buf *out,
	struct error *err)
{
	if (encoded.size > UINT32_MAX) {
		return error_fail(
			err, ANNALS_E_TOO_LARGE, "a message of more than 4294967295 bytes");
	}
	struct printer *printer = malloc(sizeof(*printer));
	if (printer == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	/* The stacks are filled as they grow. */
	memset(printer, 0, offsetof(struct printer, frames));
	printer->pool = pool;
	printer->options = options;
	printer->out = out;
	printer->out_start = out->size;
	printer->out_limit = options->output_bytes_max < SIZE_MAX - out->size
				     ? out->size + options->output_bytes_max
				     : SIZE_MAX;
	printer->err = err;
	printer->input = encoded;
	int status = start_message(printer, type, encoded);
	while (status == 0 && printer->depth > 0) {
		status = step(printer);
	}
	while (printer->depth > 0) {
		pop(printer);
	}
	if (status != 0) {
		out->size = printer->out_start;
	}
	buf_release(&printer->entries);
	buf_release(&printer->oneofs);
	buf_release(&printer->map_keys);
	free(printer);
	return status;
}
