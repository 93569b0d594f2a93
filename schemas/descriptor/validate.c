/* The walk. Fields with one-byte tags of ordinary types are handled in one loop by the message's
 * actions; all else takes the long way. */
#include <annals/validate.h>
#include <assert.h>
#include <stdio.h>

#include "actions.h"
#include "field.h"

enum { WIRE_GROUP = 3, WIRE_GROUP_END = 4 };

struct frame {
	const struct descriptor_message *type;
	const struct descriptor_field *field; /* that holds it; NULL for the outermost */
	const uint8_t *start, *end;
	uint64_t required; /* marks of those seen; DESCRIPTOR_REQUIRED_MAX fit */
	bool group;        /* ends with a tag */
};

struct walk {
	const struct validate_options *options;
	struct validate_result result;
	struct error *err;
	const uint8_t *input;
	const uint8_t *at; /* what is wrong */
	unsigned depth;    /* of the frame on top; the outermost has 0 */
	unsigned depth_max;
	bool check_enums;
	struct frame frames[VALIDATE_DEPTH_MAX + 1];
};

/* Moves past a varint; NULL when it is not whole, too long or too large. */
static inline const uint8_t *skip_varint(const uint8_t *p, const uint8_t *end)
{
	if (ANNALS_LIKELY(p < end && *p < 0x80)) {
		return p + 1;
	}
	if (ANNALS_LIKELY(end - p >= 8)) {
		const uint64_t stops = ~load_u64(p) & UINT64_C(0x8080808080808080);
		if (ANNALS_LIKELY(stops != 0)) {
			return p + (__builtin_ctzll(stops) >> 3) + 1;
		}
	}
	uint64_t value;
	const size_t used = varint_get(p, (size_t)(end - p), &value);
	return used == 0 ? NULL : p + used;
}

static inline const uint8_t *read_varint(const uint8_t *p, const uint8_t *end, uint64_t *ret_value)
{
	if (ANNALS_LIKELY(end - p >= 2)) {
		if (p[0] < 0x80) {
			*ret_value = p[0];
			return p + 1;
		}
		if (p[1] < 0x80) {
			*ret_value = (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
			return p + 2;
		}
	}
	const size_t used = varint_get(p, (size_t)(end - p), ret_value);
	return used == 0 ? NULL : p + used;
}

/* Reads a length; NULL when it leaves the message. */
static inline const uint8_t *read_length(const uint8_t *p, const uint8_t *end, uint64_t *ret_length)
{
	p = read_varint(p, end, ret_length);
	return p == NULL || *ret_length > (uint64_t)(end - p) ? NULL : p;
}

/* At most 5 bytes, 32 bits, number and wire type possible. */
static const uint8_t *read_tag(const uint8_t *p, const uint8_t *end, uint32_t *ret_tag)
{
	uint64_t tag;
	const uint8_t *next = read_varint(p, end, &tag);
	if (next == NULL || next - p > 5 || tag > UINT32_MAX || FIELD_NUMBER(tag) == 0 ||
		(tag & 7) > WIRE_FIXED32) {
		return NULL;
	}
	*ret_tag = (uint32_t)tag;
	return next;
}

/* Moves past the value of an unknown field. Groups take as many levels as are left. NULL when
 * malformed; *ret_deep when the groups nest too deep. */
static const uint8_t *skip_unknown(
	const uint8_t *p, const uint8_t *end, uint32_t tag, unsigned levels, bool *ret_deep)
{
	uint32_t groups[VALIDATE_DEPTH_MAX + 1];
	unsigned depth = 0;
	for (;;) {
		uint64_t length;
		switch (tag & 7) {
		case WIRE_VARINT:
			p = skip_varint(p, end);
			break;
		case WIRE_FIXED64:
			p = end - p < 8 ? NULL : p + 8;
			break;
		case WIRE_FIXED32:
			p = end - p < 4 ? NULL : p + 4;
			break;
		case WIRE_BYTES:
			p = read_length(p, end, &length);
			p = p == NULL ? NULL : p + length;
			break;
		case WIRE_GROUP:
			if (depth == levels) {
				*ret_deep = true;
				return NULL;
			}
			groups[depth++] = FIELD_NUMBER(tag);
			break;
		default:
			if (depth == 0 || groups[--depth] != FIELD_NUMBER(tag)) {
				return NULL;
			}
			break;
		}
		if (p == NULL || depth == 0) {
			return p;
		}
		p = read_tag(p, end, &tag);
		if (p == NULL) {
			return NULL;
		}
	}
}

/* The how-manieth element of its field a frame is: the fields before it are counted. */
static unsigned index_in(const struct frame *outer, const struct frame *inner)
{
	const uint8_t *p = outer->start;
	unsigned count = 0;
	while (p != NULL && p < inner->start) {
		uint32_t tag;
		bool deep;
		p = read_tag(p, outer->end, &tag);
		if (p != NULL && FIELD_NUMBER(tag) == inner->field->number) {
			count++;
			if (tag == FIELD_TAG(inner->field->number, WIRE_GROUP) &&
				p == inner->start) {
				break;
			}
		}
		p = p == NULL ? NULL : skip_unknown(p, outer->end, tag, VALIDATE_DEPTH_MAX, &deep);
		if (p != NULL && p >= inner->end) {
			break;
		}
	}
	return count == 0 ? 0 : count - 1;
}

/* Sets err to "'path.name', byte N: problem" and returns status. */
static int fail(struct walk *walk, int status, const struct descriptor_field *field,
	uint32_t number, const char *problem)
{
	char path[160] = "";
	size_t used = 0;
	for (unsigned i = 1; i <= walk->depth && used < sizeof(path); i++) {
		const struct frame *frame = &walk->frames[i];
		const char *dot = i == 1 ? "" : ".";
		const int n = frame->field->repeated
				      ? snprintf(path + used, sizeof(path) - used, "%s%s[%u]", dot,
						frame->field->name, index_in(frame - 1, frame))
				      : snprintf(path + used, sizeof(path) - used, "%s%s", dot,
						frame->field->name);
		used += (size_t)n;
	}
	const char *dot = walk->depth == 0 ? "" : ".";
	if (used < sizeof(path) && field != NULL) {
		snprintf(path + used, sizeof(path) - used, "%s%s", dot, field->name);
	} else if (used < sizeof(path) && number != 0) {
		snprintf(path + used, sizeof(path) - used, "%s%u", dot, number);
	}
	return error_fail(walk->err, status, "'%s', byte %zu: %s", path,
		(size_t)(walk->at - walk->input), problem);
}

static int malformed(
	struct walk *walk, const uint8_t *at, const struct descriptor_field *field, uint32_t number)
{
	walk->at = at;
	return fail(walk, ANNALS_E_MALFORMED, field, number,
		"the field is cut short or not protobuf at all");
}

static int push(struct walk *walk, const uint8_t *at, const struct descriptor_field *field,
	const uint8_t *start, const uint8_t *end)
{
	walk->at = at;
	if (walk->depth == walk->depth_max) {
		return fail(walk, ANNALS_E_TOO_LARGE, field, 0, "messages nest too deep");
	}
	struct frame *frame = &walk->frames[++walk->depth];
	frame->type = field->message;
	frame->field = field;
	frame->start = start;
	frame->end = end;
	frame->required = 0;
	frame->group = field->type == DESCRIPTOR_GROUP;
	return 0;
}

/* At the end of the message on top. */
static int check_required(struct walk *walk, const uint8_t *end)
{
	const struct frame *frame = &walk->frames[walk->depth];
	const struct descriptor_message *type = frame->type;
	if (type->required_count == 0 || walk->options->allow_missing_required) {
		return 0;
	}
	for (size_t i = 0; i < type->field_count; i++) {
		const struct descriptor_field *field = &type->fields[i];
		if (!field->required || (frame->required >> field->required_index & 1) != 0) {
			continue;
		}
		walk->at = end;
		return fail(walk, ANNALS_E_VALIDATION, field, 0, "the required field is missing");
	}
	return 0;
}

static bool enum_knows(const struct descriptor_enum *enumeration, uint64_t value)
{
	const int32_t number = (int32_t)(uint32_t)value;
	return (uint32_t)number < enumeration->dense_count ||
	       descriptor_enum_value_by_number(enumeration, number) != NULL;
}

static int unknown_enum(
	struct walk *walk, const uint8_t *at, const struct descriptor_field *field, uint64_t value)
{
	if (enum_knows(field->enumeration, value)) {
		return 0;
	}
	walk->result.unknown_enums++;
	walk->at = at;
	return walk->options->refuse_unknown_enums ? fail(walk, ANNALS_E_VALIDATION, field, 0,
							     "the enum has no value of this number")
						   : 0;
}

static int check_packed(struct walk *walk, const struct descriptor_field *field,
	const uint8_t *start, uint64_t length)
{
	const uint8_t *end = start + length;
	if (field->wire_type != WIRE_VARINT) {
		const unsigned width = field->wire_type == WIRE_FIXED64 ? 8 : 4;
		return length % width == 0 ? 0 : malformed(walk, start, field, 0);
	}
	const bool enums = walk->check_enums && field->type == DESCRIPTOR_ENUM;
	for (const uint8_t *p = start; p < end;) {
		uint64_t value = 0;
		const uint8_t *next = enums ? read_varint(p, end, &value) : skip_varint(p, end);
		if (next == NULL) {
			return malformed(walk, p, field, 0);
		}
		const int status = enums ? unknown_enum(walk, p, field, value) : 0;
		if (status != 0) {
			return status;
		}
		p = next;
	}
	return 0;
}

static int check_unknown(struct walk *walk, const uint8_t *at, const uint8_t **p, uint32_t tag,
	const struct descriptor_field *field)
{
	const uint32_t number = FIELD_NUMBER(tag);
	bool deep = false;
	walk->at = at;
	if (field != NULL && !walk->options->allow_wire_mismatch) {
		return fail(walk, ANNALS_E_VALIDATION, field, number,
			"the wire type is not that of the field's type");
	}
	if (walk->options->refuse_unknown_fields) {
		return fail(walk, ANNALS_E_VALIDATION, NULL, number,
			"the type has no field of this number");
	}
	walk->result.unknown_fields++;
	*p = skip_unknown(
		*p, walk->frames[walk->depth].end, tag, walk->depth_max - walk->depth, &deep);
	if (deep) {
		return fail(walk, ANNALS_E_TOO_LARGE, NULL, number, "groups nest too deep");
	}
	return *p == NULL ? malformed(walk, at, NULL, number) : 0;
}

static void mark_required(struct walk *walk, const struct descriptor_field *field)
{
	walk->frames[walk->depth].required |= UINT64_C(1) << field->required_index;
}

/* A known field with the right wire type. */
static int check_known(struct walk *walk, const uint8_t *at, const uint8_t **p,
	const struct descriptor_field *field, uint32_t wire_type)
{
	const uint8_t *end = walk->frames[walk->depth].end;
	uint64_t value = 0;
	if (field->required && field->type != DESCRIPTOR_ENUM) {
		mark_required(walk, field);
	}
	if (wire_type == WIRE_GROUP) {
		return push(walk, at, field, *p, end);
	}
	if (wire_type == WIRE_BYTES) {
		const uint8_t *start = read_length(*p, end, &value);
		if (start == NULL) {
			return malformed(walk, at, field, 0);
		}
		*p = start + value;
		if (field->wire_type != WIRE_BYTES) {
			return check_packed(walk, field, start, value);
		}
		if (field->type == DESCRIPTOR_MESSAGE) {
			*p = start;
			return push(walk, at, field, start, start + value);
		}
		if (field->utf8 && !field_is_utf8(bytes_of(start, value))) {
			walk->at = start;
			return fail(walk, ANNALS_E_VALIDATION, field, 0, "not UTF-8");
		}
		return 0;
	}
	if (wire_type == WIRE_VARINT) {
		*p = read_varint(*p, end, &value);
	} else {
		const unsigned width = wire_type == WIRE_FIXED64 ? 8 : 4;
		*p = end - *p < (ptrdiff_t)width ? NULL : *p + width;
	}
	if (*p == NULL) {
		return malformed(walk, at, field, 0);
	}
	/* An unknown number of a closed enum is an unknown field to readers. */
	if (field->required && field->type == DESCRIPTOR_ENUM &&
		(!field->enumeration->closed || enum_knows(field->enumeration, value))) {
		mark_required(walk, field);
	}
	return field->type == DESCRIPTOR_ENUM && walk->check_enums
		       ? unknown_enum(walk, at, field, value)
		       : 0;
}

/* One field of the message on top, at *p; moves *p and may push a frame or, at a group's end, pop
 * one. */
static int long_way(struct walk *walk, const uint8_t **p)
{
	const struct frame *frame = &walk->frames[walk->depth];
	const uint8_t *at = *p;
	uint32_t tag;
	*p = read_tag(at, frame->end, &tag);
	if (*p == NULL) {
		return malformed(walk, at, NULL, 0);
	}
	const uint32_t wire_type = tag & 7;
	if (wire_type == WIRE_GROUP_END) {
		if (!frame->group || frame->field->number != FIELD_NUMBER(tag)) {
			return malformed(walk, at, NULL, FIELD_NUMBER(tag));
		}
		const int status = check_required(walk, at);
		walk->depth -= status == 0;
		return status;
	}
	const struct descriptor_field *field =
		descriptor_field_by_number(frame->type, FIELD_NUMBER(tag));
	const bool packed = field != NULL && wire_type == WIRE_BYTES && field->repeated &&
			    descriptor_type_packable(field->type);
	if (field == NULL || (wire_type != field->wire_type && !packed)) {
		return check_unknown(walk, at, p, tag, field);
	}
	return check_known(walk, at, p, field, wire_type);
}

/* Runs of ordinary fields within one message. Stops before what needs the long way, or at the end.
 */
static const uint8_t *short_way(const uint8_t *p, const struct frame *frame, bool check_enums)
{
	const uint8_t *actions = frame->type->actions;
	const uint8_t *end = frame->end;
	while (p < end && *p < 0x80) {
		const uint8_t *next = p + 1;
		uint64_t length;
		switch (actions[*p]) {
		case ACTION_VARINT:
			next = skip_varint(next, end);
			break;
		case ACTION_ENUM:
			if (check_enums) {
				return p;
			}
			next = skip_varint(next, end);
			break;
		case ACTION_FIXED32:
			next = end - next < 4 ? NULL : next + 4;
			break;
		case ACTION_FIXED64:
			next = end - next < 8 ? NULL : next + 8;
			break;
		case ACTION_BYTES:
			next = read_length(next, end, &length);
			next = next == NULL ? NULL : next + length;
			break;
		case ACTION_TEXT:
			next = read_length(next, end, &length);
			if (ANNALS_UNLIKELY(
				    next == NULL || !field_is_utf8(bytes_of(next, length)))) {
				return p;
			}
			next += length;
			break;
		default:
			return p;
		}
		if (ANNALS_UNLIKELY(next == NULL)) {
			return p; /* the long way says what is wrong */
		}
		p = next;
	}
	return p;
}

static int run(struct walk *walk, const uint8_t *p)
{
	for (;;) {
		const struct frame *frame = &walk->frames[walk->depth];
		p = short_way(p, frame, walk->check_enums);
		int status = 0;
		if (p < frame->end) {
			uint64_t length;
			const uint8_t *start;
			if (*p < 0x80 && frame->type->actions[*p] == ACTION_MESSAGE &&
				(start = read_length(p + 1, frame->end, &length)) != NULL) {
				const unsigned place = frame->type->dense[*p >> 3];
				status = push(walk, p, &frame->type->fields[place - 1], start,
					start + length);
				p = start;
			} else {
				status = long_way(walk, &p);
			}
		} else if (frame->group) {
			return malformed(walk, p, NULL, 0);
		} else {
			status = check_required(walk, p);
			if (status == 0 && walk->depth == 0) {
				return 0;
			}
			walk->depth -= status == 0;
		}
		if (status != 0) {
			return status;
		}
	}
}

int validate_message(const struct descriptor_message *type, struct bytes encoded,
	const struct validate_options *options, struct validate_result *ret_result,
	struct error *err)
{
	static const struct validate_options none = {0};
	static const uint8_t empty[1];
	struct walk walk;
	const uint8_t *start = encoded.size == 0 ? empty : encoded.data;
	walk.options = options == NULL ? &none : options;
	walk.result = (struct validate_result){0, 0};
	walk.err = err;
	walk.input = start;
	walk.at = start;
	walk.depth = 0;
	walk.depth_max =
		walk.options->depth_max == 0 ? VALIDATE_DEPTH_MAX : walk.options->depth_max;
	assert(walk.depth_max <= VALIDATE_DEPTH_MAX);
	walk.check_enums = walk.options->refuse_unknown_enums || ret_result != NULL;
	walk.frames[0] = (struct frame){.type = type, .start = start, .end = start + encoded.size};
	const int status = run(&walk, start);
	if (status == 0 && ret_result != NULL) {
		*ret_result = walk.result;
	}
	return status;
}
