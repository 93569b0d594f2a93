#include "parse.h"
#include "field.h"
#include "model.h"
#include "wire.h"
#include <stdlib.h>

/* Levels of JSON: a message takes two when it is an element of a list or map. */
#define JSON_LEVELS_MAX (2 * PROTOJSON_DEPTH_MAX + 2)

/* Where the frames stand. */
static void find_path(const struct parser *parser, struct model_path *path)
{
	struct bytes key;
	model_path_init(path);
	for (unsigned i = 0; i < parser->depth; i++) {
		const struct parse_frame *frame = &parser->frames[i];
		if (frame->field == NULL) {
			continue;
		}
		if (frame->mode != PARSE_BARE) {
			model_path_add_name(path, bytes_text(frame->field->json_name));
		}
		if (frame->in_run && frame->field->map) {
			key = frame->key.raw;
			if (key.size >= 2) {
				model_path_add_key(path, bytes_of(key.data + 1, key.size - 2));
			}
		} else if (frame->in_run) {
			model_path_add_index(path, frame->count);
		}
	}
}

static int fail_at(struct parser *parser, int status, const char *problem, struct model_path *path,
	const uint8_t *at)
{
	return error_fail(parser->err, status, "%s at '%s', byte %zu", problem,
		model_path_text(path), (size_t)(at - parser->scanner.start));
}

int parse_fail(struct parser *parser, int status, const char *problem, const uint8_t *at)
{
	struct model_path path;
	find_path(parser, &path);
	return fail_at(parser, status, problem, &path, at);
}

int parse_fail_syntax(struct parser *parser)
{
	return json_fail(&parser->scanner, parser->err);
}

static int fail_here(struct parser *parser, const char *problem)
{
	/* What stands here may not even be JSON. */
	struct json_scanner ahead = parser->scanner;
	struct json_value value;
	if (json_scan(&ahead, &value) != 0) {
		return json_fail(&ahead, parser->err);
	}
	return parse_fail(parser, ANNALS_E_VALIDATION, problem, parser->scanner.at);
}

static bool stands(const struct parser *parser, uint8_t byte)
{
	return parser->scanner.at < parser->scanner.end && *parser->scanner.at == byte;
}

static int scan(struct parser *parser, struct json_value *ret)
{
	return json_scan(&parser->scanner, ret) == 0 ? 0 : parse_fail_syntax(parser);
}

static bool test_bit(const struct parser *parser, size_t bit)
{
	return (parser->seen.data[bit / 8] >> bit % 8 & 1) != 0;
}

static void set_bit(struct parser *parser, size_t bit)
{
	parser->seen.data[bit / 8] |= (uint8_t)(1u << bit % 8);
}

static int push(struct parser *parser, const struct descriptor_message *type, enum parse_mode mode,
	unsigned open_base, unsigned level)
{
	if (level > PROTOJSON_DEPTH_MAX || parser->depth == PROTOJSON_DEPTH_MAX) {
		return parse_fail(parser, ANNALS_E_TOO_LARGE, "more than 100 levels of messages",
			parser->scanner.at);
	}
	const size_t bits = type->field_count + type->oneof_count;
	const size_t seen_at = parser->seen.size;
	if (buf_add_zeros(&parser->seen, bits / 8 + 1) != 0) {
		return parse_fail_memory(parser);
	}
	parser->frames[parser->depth++] = (struct parse_frame){.type = type,
		.mode = mode,
		.level = level,
		.open_base = open_base,
		.seen_at = seen_at * 8};
	return 0;
}

static int close_to(struct parser *parser, unsigned open_base)
{
	int status = 0;
	while (status == 0 && parser->open_count > open_base) {
		status = parse_close(parser);
	}
	return status;
}

static int pop(struct parser *parser)
{
	const struct parse_frame *frame = parse_top(parser);
	parser->seen.size = frame->seen_at / 8;
	parser->depth--;
	return close_to(parser, frame->open_base);
}

static int start_message(struct parser *parser, const struct descriptor_message *type,
	unsigned open_base, unsigned level);

/* A list or map that is about to be read by the top frame. */
static void start_run(struct parser *parser, const struct descriptor_field *field)
{
	struct parse_frame *frame = parse_top(parser);
	frame->field = field;
	frame->in_run = true;
	frame->started = false;
	frame->count = 0;
	frame->serial = ++parser->serial;
	frame->key = (struct json_value){0};
}

static int enter(struct parser *parser, bool object)
{
	const int status =
		object ? json_enter_object(&parser->scanner) : json_enter_array(&parser->scanner);
	return status == 0 ? 0 : parse_fail_syntax(parser);
}

static int start_bare(struct parser *parser, const struct descriptor_message *type, bool object,
	unsigned open_base, unsigned level)
{
	if (!stands(parser, object ? '{' : '[')) {
		return fail_here(
			parser, object ? "an object was expected" : "an array was expected");
	}
	int status = push(parser, type, PARSE_BARE, open_base, level);
	status = status == 0 ? enter(parser, object) : status;
	if (status == 0) {
		start_run(parser, descriptor_field_by_number(type, 1));
	}
	return status;
}

/* google.protobuf.Value: the JSON says which member it is. */
static int start_value(struct parser *parser, const struct descriptor_message *type,
	unsigned open_base, unsigned level)
{
	const bool object = stands(parser, '{');
	struct json_value value;
	int status;
	if (object || stands(parser, '[')) {
		const struct descriptor_field *member =
			descriptor_field_by_number(type, object ? 5 : 6);
		status = parse_put_tag(parser, member, WIRE_BYTES);
		status = status == 0 ? parse_open(parser, SIZE_MAX, 0) : status;
		return status == 0
			       ? start_bare(parser, member->message, object, open_base, level + 1)
			       : status;
	}
	status = scan(parser, &value);
	if (status != 0) {
		return status;
	}
	const uint32_t number = value.type == JSON_NULL     ? 1
				: value.type == JSON_NUMBER ? 2
				: value.type == JSON_STRING ? 3
							    : 4;
	status =
		parse_scalar(parser, descriptor_field_by_number(type, number), &value, true, false);
	return status == 0 ? close_to(parser, open_base) : status;
}

/* Finds the "@type" of the object that was just entered, wherever it is. */
static int find_type_url(struct parser *parser, struct json_value *ret, bool *ret_empty)
{
	struct json_scanner ahead = parser->scanner;
	struct json_value name, value;
	int more;
	*ret_empty = true;
	while ((more = json_next_name(&ahead, &name)) == 1) {
		*ret_empty = false;
		if (json_scan(&ahead, &value) != 0) {
			more = ANNALS_E_MALFORMED;
			break;
		}
		if (json_string_is(&name, "@type")) {
			*ret = value;
			return 0;
		}
	}
	if (more < 0) {
		return json_fail(&ahead, parser->err);
	}
	return *ret_empty ? 0
			  : parse_fail(parser, ANNALS_E_VALIDATION, "Any without '@type'",
				    parser->scanner.at);
}

static int put_type_url(struct parser *parser, const struct json_value *url,
	const struct descriptor_message **ret_type)
{
	struct bytes text;
	if (url->type != JSON_STRING) {
		return parse_fail(
			parser, ANNALS_E_VALIDATION, "a string was expected", url->raw.data);
	}
	int status = parse_text(parser, url, &text);
	if (status != 0) {
		return status;
	}
	*ret_type = model_any_type(parser->pool, text);
	if (*ret_type == NULL) {
		return parse_fail(parser, ANNALS_E_VALIDATION, "Any of a type that is not known",
			url->raw.data);
	}
	status = parse_put_varint(parser, FIELD_TAG(1, WIRE_BYTES));
	return status == 0 ? parse_put_bytes(parser, text) : status;
}

static int start_any(struct parser *parser, unsigned open_base, unsigned level)
{
	const struct descriptor_message *embedded = NULL;
	struct json_value url;
	bool empty;
	if (!stands(parser, '{')) {
		return fail_here(parser, "an object was expected");
	}
	int status = enter(parser, true);
	status = status == 0 ? find_type_url(parser, &url, &empty) : status;
	if (status != 0) {
		return status;
	}
	if (empty) {
		return json_next_name(&parser->scanner, &url) == 0 ? close_to(parser, open_base)
								   : parse_fail_syntax(parser);
	}
	status = put_type_url(parser, &url, &embedded);
	const size_t empty_at = parser->out->size;
	status = status == 0 ? parse_put_varint(parser, FIELD_TAG(2, WIRE_BYTES)) : status;
	status = status == 0 ? parse_open(parser, empty_at, 0) : status;
	if (status != 0) {
		return status;
	}
	return wellknown_of(embedded) == WELLKNOWN_NONE
		       ? push(parser, embedded, PARSE_EMBEDDED, open_base, level)
		       : push(parser, embedded, PARSE_ANY, open_base, level);
}

/*
 * Reads the message at the cursor, or pushes the frame that will. Lengths above open_base are
 * closed when it ends.
 */
static int start_message(struct parser *parser, const struct descriptor_message *type,
	unsigned open_base, unsigned level)
{
	const enum wellknown kind = wellknown_of(type);
	struct json_value value;
	int status;
	switch (kind) {
	case WELLKNOWN_NONE:
		if (!stands(parser, '{')) {
			return fail_here(parser, "an object was expected");
		}
		status = push(parser, type, PARSE_OBJECT, open_base, level);
		return status == 0 ? enter(parser, true) : status;
	case WELLKNOWN_ANY:
		return start_any(parser, open_base, level);
	case WELLKNOWN_STRUCT:
		return start_bare(parser, type, true, open_base, level);
	case WELLKNOWN_LIST_VALUE:
		return start_bare(parser, type, false, open_base, level);
	case WELLKNOWN_VALUE:
		return start_value(parser, type, open_base, level);
	default:
		status = scan(parser, &value);
		status = status == 0 ? parse_leaf(parser, kind, type, &value) : status;
		return status == 0 ? close_to(parser, open_base) : status;
	}
}

/* A message with its tag. */
static int start_field(struct parser *parser, const struct descriptor_field *field,
	unsigned open_base, unsigned level)
{
	const unsigned wire_type = field->wire_type;
	int status = parse_put_tag(parser, field, wire_type);
	if (status == 0) {
		status = parse_open(parser, SIZE_MAX, wire_type == WIRE_GROUP ? field->number : 0);
	}
	return status == 0 ? start_message(parser, field->message, open_base, level) : status;
}

/* True when the type has a meaning for null itself. */
static bool takes_null(const struct descriptor_field *field)
{
	return field->message != NULL ? wellknown_of(field->message) == WELLKNOWN_VALUE
				      : model_is_null_value(field);
}

/* A list of numbers in one field; the cursor stands at its bracket. */
static int parse_packed(struct parser *parser, const struct descriptor_field *field)
{
	struct parse_frame *frame = parse_top(parser);
	struct json_value value;
	const size_t empty_at = parser->out->size;
	int more;
	int status = parse_put_tag(parser, field, WIRE_BYTES);
	status = status == 0 ? parse_open(parser, empty_at, 0) : status;
	while (status == 0 && (more = json_next_element(&parser->scanner)) != 0) {
		status = more == 1 ? scan(parser, &value) : parse_fail_syntax(parser);
		status = status == 0 ? parse_scalar(parser, field, &value, false, false) : status;
		frame->count += status == 0;
	}
	frame->in_run = status != 0;
	return status == 0 ? parse_close(parser) : status;
}

/* The list or map behind a member's name. */
static int start_repeated(struct parser *parser, const struct descriptor_field *field)
{
	const bool map = field->map;
	if (!stands(parser, map ? '{' : '[')) {
		return fail_here(parser, map ? "an object was expected" : "an array was expected");
	}
	const int status = enter(parser, map);
	if (status != 0) {
		return status;
	}
	start_run(parser, field);
	return field->packed ? parse_packed(parser, field) : 0;
}

/* Marks the field, and its oneof when it is set. */
static int mark(struct parser *parser, struct parse_frame *frame,
	const struct descriptor_field *field, const struct json_value *name, bool set)
{
	const size_t bit = frame->seen_at + model_order(frame->type, field);
	if (test_bit(parser, bit)) {
		return parse_fail(
			parser, ANNALS_E_VALIDATION, "a member that repeats", name->raw.data);
	}
	set_bit(parser, bit);
	if (!set || model_oneof(frame->type, field) < 0) {
		return 0;
	}
	const size_t oneof =
		frame->seen_at + frame->type->field_count + (size_t)model_oneof(frame->type, field);
	if (test_bit(parser, oneof)) {
		return parse_fail(
			parser, ANNALS_E_VALIDATION, "a second member of a oneof", name->raw.data);
	}
	set_bit(parser, oneof);
	return 0;
}

static int parse_member(struct parser *parser, struct parse_frame *frame,
	const struct descriptor_field *field, const struct json_value *name)
{
	const bool null = stands(parser, 'n') && !(takes_null(field) && !field->repeated);
	struct json_value value;
	frame->field = field;
	frame->next_order = model_order(frame->type, field) + 1;
	int status = mark(parser, frame, field, name, !null);
	if (status != 0) {
		return status;
	}
	if (null) {
		status = scan(parser, &value);
		return status == 0 && field->required && !parser->options->partial
			       ? parse_fail(parser, ANNALS_E_VALIDATION,
					 "a required field that is null", value.raw.data)
			       : status;
	}
	if (field->repeated) {
		return start_repeated(parser, field);
	}
	if (field->message != NULL) {
		return start_field(parser, field, parser->open_count, frame->level + 1);
	}
	status = scan(parser, &value);
	return status == 0 ? parse_scalar(parser, field, &value, true, !field->has_presence)
			   : status;
}

/* A member of an Any that is none of its type. 1 when it was that. */
static int parse_any_member(
	struct parser *parser, struct parse_frame *frame, const struct json_value *name)
{
	struct json_value value;
	if (json_string_is(name, "@type")) {
		if (frame->type_seen) {
			return parse_fail(parser, ANNALS_E_VALIDATION, "a member that repeats",
				name->raw.data);
		}
		frame->type_seen = true;
		const int status = scan(parser, &value);
		return status == 0 ? 1 : status;
	}
	if (frame->mode == PARSE_ANY && json_string_is(name, "value")) {
		if (frame->value_seen) {
			return parse_fail(parser, ANNALS_E_VALIDATION, "a member that repeats",
				name->raw.data);
		}
		frame->value_seen = true;
		const int status =
			start_message(parser, frame->type, parser->open_count, frame->level + 1);
		return status == 0 ? 1 : status;
	}
	return 0;
}

static int skip_unknown(struct parser *parser, const struct json_value *name)
{
	struct json_value value;
	if (!parser->options->ignore_unknown) {
		struct model_path path;
		find_path(parser, &path);
		model_path_add_name(&path, bytes_of(name->raw.data + 1, name->raw.size - 2));
		return fail_at(
			parser, ANNALS_E_VALIDATION, "unknown member", &path, name->raw.data);
	}
	return scan(parser, &value);
}

static int check_required(struct parser *parser, struct parse_frame *frame)
{
	const struct descriptor_message *type = frame->type;
	for (size_t i = 0; type->required_count > 0 && i < type->field_count; i++) {
		if (type->fields[i].required && !test_bit(parser, frame->seen_at + i)) {
			frame->field = &type->fields[i];
			return parse_fail(parser, ANNALS_E_VALIDATION,
				"a required field is missing", parser->scanner.at - 1);
		}
	}
	return 0;
}

static int end_message(struct parser *parser, struct parse_frame *frame)
{
	frame->field = NULL;
	if (frame->mode == PARSE_ANY && !frame->value_seen) {
		return parse_fail(parser, ANNALS_E_VALIDATION,
			"Any of a well-known type without 'value'", parser->scanner.at - 1);
	}
	if (frame->mode != PARSE_ANY && !parser->options->partial) {
		const int status = check_required(parser, frame);
		if (status != 0) {
			return status;
		}
	}
	return pop(parser);
}

/* The field a member name means. */
static const struct descriptor_field *find_field(const struct parse_frame *frame, struct bytes name)
{
	/* Most texts keep the order of the fields. */
	if (frame->next_order < frame->type->field_count) {
		const struct descriptor_field *next = &frame->type->fields[frame->next_order];
		if (bytes_equal(name, bytes_text(next->json_name))) {
			return next;
		}
	}
	return model_field_by_member(frame->type, name);
}

static int next_member(struct parser *parser, struct parse_frame *frame)
{
	struct json_value name;
	struct bytes text;
	const int more = json_next_name(&parser->scanner, &name);
	if (more < 0) {
		return parse_fail_syntax(parser);
	}
	frame->field = NULL;
	if (more == 0) {
		return end_message(parser, frame);
	}
	if (frame->mode != PARSE_OBJECT) {
		const int taken = parse_any_member(parser, frame, &name);
		if (taken != 0) {
			return taken < 0 ? taken : 0;
		}
		if (frame->mode == PARSE_ANY) {
			return skip_unknown(parser, &name);
		}
	}
	const int status = parse_text(parser, &name, &text);
	if (status != 0) {
		return status;
	}
	const struct descriptor_field *field = find_field(frame, text);
	return field != NULL ? parse_member(parser, frame, field, &name)
			     : skip_unknown(parser, &name);
}

/* After the last element. */
static int end_run(struct parser *parser, struct parse_frame *frame)
{
	frame->in_run = false;
	frame->field = NULL;
	return frame->mode == PARSE_BARE ? pop(parser) : 0;
}

static int next_element(struct parser *parser, struct parse_frame *frame)
{
	struct json_value value;
	const int more = json_next_element(&parser->scanner);
	if (more <= 0) {
		return more == 0 ? end_run(parser, frame) : parse_fail_syntax(parser);
	}
	/* The path counts from 0, and only now is there something to name. */
	frame->count = frame->started ? frame->count + 1 : 0;
	frame->started = true;
	if (frame->field->message != NULL) {
		return start_field(parser, frame->field, parser->open_count, frame->level + 1);
	}
	const int status = scan(parser, &value);
	return status == 0 ? parse_scalar(parser, frame->field, &value, true, false) : status;
}

static int next_map_entry(struct parser *parser, struct parse_frame *frame)
{
	const struct descriptor_field *value_field = &frame->field->message->fields[1];
	const unsigned open_base = parser->open_count;
	struct json_value value;
	const int more = json_next_name(&parser->scanner, &frame->key);
	if (more <= 0) {
		return more == 0 ? end_run(parser, frame) : parse_fail_syntax(parser);
	}
	int status = parse_put_tag(parser, frame->field, WIRE_BYTES);
	status = status == 0 ? parse_open(parser, SIZE_MAX, 0) : status;
	status = status == 0 ? parse_map_key(parser, &frame->field->message->fields[0], &frame->key,
				       frame->serial)
			     : status;
	if (status != 0) {
		return status;
	}
	if (value_field->message != NULL) {
		return start_field(parser, value_field, open_base, frame->level + 1);
	}
	status = scan(parser, &value);
	status = status == 0 ? parse_scalar(parser, value_field, &value, true, false) : status;
	return status == 0 ? parse_close(parser) : status;
}

static int step(struct parser *parser)
{
	struct parse_frame *frame = parse_top(parser);
	if (!frame->in_run) {
		return next_member(parser, frame);
	}
	return frame->field->map ? next_map_entry(parser, frame) : next_element(parser, frame);
}

int protojson_parse(const struct descriptor_pool *pool, const struct descriptor_message *type,
	struct bytes text, const struct protojson_parse_options *options, struct buf *out,
	struct error *err)
{
	if (text.size > UINT32_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE, "a text of more than 4294967295 bytes");
	}
	struct parser *parser = malloc(sizeof(*parser));
	if (parser == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	/* The stacks are filled as they grow. */
	memset(parser, 0, offsetof(struct parser, open));
	parser->pool = pool;
	parser->options = options;
	parser->out = out;
	parser->out_start = out->size;
	parser->out_limit = options->output_bytes_max < SIZE_MAX - out->size
				    ? out->size + options->output_bytes_max
				    : SIZE_MAX;
	parser->err = err;
	json_scanner_init(&parser->scanner, text);
	parser->scanner.depth_max = JSON_LEVELS_MAX;
	int status = start_message(parser, type, 0, 1);
	while (status == 0 && parser->depth > 0) {
		status = step(parser);
	}
	if (status == 0 && json_finish(&parser->scanner) != 0) {
		status = parse_fail_syntax(parser);
	}
	if (status != 0) {
		out->size = parser->out_start;
	}
	buf_release(&parser->seen);
	buf_release(&parser->scratch);
	buf_release(&parser->other);
	free(parser->keys);
	free(parser);
	return status;
}
