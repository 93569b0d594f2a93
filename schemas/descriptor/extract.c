/* Values of the annals options. */
#include <annals/extract.h>
#include <annals/parse.h>
#include <stdio.h>

#include "field.h"
#include "protojson/wire.h"

/* A field with an option and its value on the wire. */
struct value {
	const struct descriptor_field *field; /* NULL: displaced */
	uint64_t number;
	struct bytes bytes;
};

struct state {
	struct value values[EXTRACT_VALUES_MAX];
	size_t count;
	int64_t seconds, nanos; /* of the Timestamp; pieces of it merge */
	struct error *err;
};

static bool is_extracted(const struct descriptor_field *field)
{
	return field->is_key || field->is_time || field->is_subject || field->tag != NULL;
}

/* What a new value takes the place of: that of the same single field, or of the same oneof. */
static void displace(struct state *state, const struct descriptor_field *field)
{
	for (size_t i = 0; i < state->count; i++) {
		const struct descriptor_field *other = state->values[i].field;
		if (other != NULL &&
			((other == field && !field->repeated) ||
				(field->oneof != NULL && other->oneof == field->oneof))) {
			state->values[i].field = NULL;
			if (other != field && other->is_time) {
				state->seconds = state->nanos = 0;
			}
		}
	}
}

static int malformed(const struct state *state, const struct descriptor_field *field)
{
	return error_fail(state->err, ANNALS_E_MALFORMED, "the bytes%s%s%s are not protobuf",
		field != NULL ? " of '" : "", field != NULL ? field->name : "",
		field != NULL ? "'" : "");
}

static int add(struct state *state, const struct descriptor_field *field, uint64_t number,
	struct bytes bytes)
{
	size_t i = 0;
	while (i < state->count && state->values[i].field != NULL) {
		i++;
	}
	if (i == EXTRACT_VALUES_MAX) {
		return error_fail(state->err, ANNALS_E_TOO_LARGE,
			"'%s': more than %u keys, tags, times and subjects", field->name,
			EXTRACT_VALUES_MAX);
	}
	/* A free place before the end would change the order of tags. */
	if (i < state->count) {
		memmove(&state->values[i], &state->values[i + 1],
			(state->count - i - 1) * sizeof(state->values[0]));
		state->count--;
	}
	state->values[state->count++] = (struct value){field, number, bytes};
	return 0;
}

/* Repeated numbers in one field. */
static int add_packed(struct state *state, const struct descriptor_field *field, struct bytes in)
{
	size_t cursor = 0;
	int status = 0;
	while (status == 0 && cursor < in.size) {
		uint64_t number = 0;
		if (field->wire_type == WIRE_VARINT) {
			status = field_varint(in, &cursor, &number);
		} else {
			const size_t width = field->wire_type == WIRE_FIXED64 ? 8 : 4;
			if (in.size - cursor < width) {
				return malformed(state, field);
			}
			number = width == 8 ? load_u64(in.data + cursor)
					    : load_u32(in.data + cursor);
			cursor += width;
		}
		if (status != 0) {
			return malformed(state, field);
		}
		status = add(state, field, number, bytes_of(NULL, 0));
	}
	return status;
}

static int merge_timestamp(
	struct state *state, const struct descriptor_field *field, struct bytes in)
{
	struct wire_field wire;
	size_t cursor = 0;
	int more;
	while ((more = wire_field_next(in, &cursor, &wire)) == 1) {
		if (wire.type == WIRE_VARINT && wire.number == 1) {
			state->seconds = (int64_t)wire.value;
		} else if (wire.type == WIRE_VARINT && wire.number == 2) {
			state->nanos = (int32_t)(uint32_t)wire.value;
		}
	}
	return more < 0 ? malformed(state, field) : 0;
}

static int collect(struct state *state, const struct descriptor_message *type, struct bytes encoded)
{
	struct wire_field wire;
	size_t cursor = 0;
	int more;
	int status = 0;
	while (status == 0 && (more = wire_field_next(encoded, &cursor, &wire)) != 0) {
		if (more < 0) {
			return malformed(state, NULL);
		}
		const struct descriptor_field *field =
			descriptor_field_by_number(type, wire.number);
		const bool packed = field != NULL && wire.type == WIRE_BYTES && field->repeated &&
				    descriptor_type_packable(field->type);
		if (field == NULL || (wire.type != field->wire_type && !packed)) {
			continue;
		}
		const bool closed = field->enumeration != NULL && field->enumeration->closed;
		if (closed && !packed &&
			descriptor_enum_value_by_number(
				field->enumeration, (int32_t)(uint32_t)wire.value) == NULL) {
			continue; /* to readers an unknown field */
		}
		displace(state, field);
		if (!is_extracted(field)) {
			continue;
		}
		if (field->message != NULL) {
			status = merge_timestamp(state, field, wire.bytes);
		}
		if (status == 0) {
			status = packed ? add_packed(state, field, wire.bytes)
					: add(state, field, wire.value, wire.bytes);
		}
	}
	return status;
}

static int64_t unzigzag(uint64_t value)
{
	return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

/* The value as text; numbers are written to room. */
static struct bytes text_of(const struct value *value, char room[24])
{
	const struct descriptor_field *field = value->field;
	const uint32_t low = (uint32_t)value->number;
	int64_t number = (int64_t)value->number;
	switch (field->type) {
	case DESCRIPTOR_STRING:
	case DESCRIPTOR_BYTES:
		return value->bytes;
	case DESCRIPTOR_BOOL:
		return bytes_text(value->number != 0 ? "true" : "false");
	case DESCRIPTOR_UINT64:
	case DESCRIPTOR_FIXED64:
		return bytes_of(room,
			(size_t)snprintf(room, 24, "%llu", (unsigned long long)value->number));
	case DESCRIPTOR_UINT32:
	case DESCRIPTOR_FIXED32:
		number = low;
		break;
	case DESCRIPTOR_INT32:
	case DESCRIPTOR_SFIXED32:
	case DESCRIPTOR_ENUM:
		number = (int32_t)low;
		break;
	case DESCRIPTOR_SINT32:
		number = (int32_t)unzigzag(low);
		break;
	case DESCRIPTOR_SINT64:
		number = unzigzag(value->number);
		break;
	default:
		break;
	}
	if (field->enumeration != NULL) {
		const struct descriptor_enum_value *named =
			descriptor_enum_value_by_number(field->enumeration, (int32_t)number);
		if (named != NULL) {
			return bytes_text(named->name);
		}
	}
	return bytes_of(room, (size_t)snprintf(room, 24, "%lld", (long long)number));
}

static int set_time(const struct state *state, const struct value *value, int64_t *ret_ns)
{
	const struct descriptor_field *field = value->field;
	const int64_t milliseconds = (int64_t)value->number;
	bool good;
	if (field->message != NULL) {
		good = state->nanos >= 0 && state->nanos <= 999999999 &&
		       !__builtin_mul_overflow(state->seconds, INT64_C(1000000000), ret_ns) &&
		       !__builtin_add_overflow(*ret_ns, state->nanos, ret_ns);
	} else if (field->type == DESCRIPTOR_STRING) {
		good = parse_rfc3339_ns(value->bytes, ret_ns) == 0;
	} else {
		good = (field->type != DESCRIPTOR_UINT64 || milliseconds >= 0) &&
		       !__builtin_mul_overflow(milliseconds, INT64_C(1000000), ret_ns);
	}
	return good ? 0
		    : error_fail(state->err, ANNALS_E_VALIDATION,
			      "'%s': no time, or one outside the years 1678 to 2261", field->name);
}

int extract_message(const struct descriptor_message *type, struct bytes encoded,
	struct extract *ret_extract, struct error *err)
{
	struct state state;
	state.count = 0;
	state.seconds = state.nanos = 0;
	state.err = err;
	struct extract *out = ret_extract;
	out->has_key = out->has_time = out->has_subject = false;
	out->tag_count = 0;
	int status = type->extracts ? collect(&state, type, encoded) : 0;
	for (size_t i = 0; i < state.count && status == 0; i++) {
		const struct descriptor_field *field = state.values[i].field;
		if (field == NULL) {
			continue;
		}
		if (field->is_time) {
			status = set_time(&state, &state.values[i], &out->time_ns);
			out->has_time = status == 0;
		}
		if (field->message != NULL) {
			continue;
		}
		const struct bytes text = text_of(&state.values[i], out->text[i]);
		if (field->is_key) {
			out->key = text;
			out->has_key = true;
		}
		if (field->is_subject) {
			out->subject = text;
			out->has_subject = true;
		}
		if (field->tag != NULL) {
			out->tags[out->tag_count++] = (struct extract_tag){field->tag, text};
		}
	}
	return status;
}
