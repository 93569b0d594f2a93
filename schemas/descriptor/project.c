/* Projection: a walk over pairs of types that copies what the new one can read. */
#include <annals/project.h>

#include <stdio.h>

#include "compare.h"
#include "field.h"
#include "protojson/wire.h"

struct level {
	const struct descriptor_message
		*old_type; /* NULL: the field is new, there is no old type */
	const struct descriptor_message *new_type;
	const struct descriptor_field *field; /* that holds it in the new type */
	struct bytes in;
	size_t cursor;
	size_t start;      /* of its content in out */
	uint64_t required; /* marks of those seen */
};

struct project {
	struct level levels[PROJECT_DEPTH_MAX + 1];
	unsigned depth;
	struct buf *out;
	size_t out_start, out_max;
	struct project_report *report;
	struct error *err;
};

static void mark(struct project *project, enum project_loss loss, uint32_t number,
	const struct descriptor_field *field)
{
	struct project_report *report = project->report;
	const char *message = project->levels[project->depth].new_type->full_name;
	for (size_t i = 0; i < report->mark_count; i++) {
		const struct project_mark *other = &report->marks[i];
		if (other->loss == loss && other->number == number && other->message == message) {
			return;
		}
	}
	if (report->mark_count == PROJECT_MARKS_MAX) {
		report->truncated = true;
		return;
	}
	report->marks[report->mark_count++] = (struct project_mark){
		loss, number, message, field == NULL ? NULL : field->full_name};
}

static int write_bytes(struct project *project, const void *data, size_t size)
{
	if (size > project->out_max - (project->out->size - project->out_start)) {
		return error_fail(project->err, ANNALS_E_TOO_LARGE,
			"the projected message has more than %zu bytes", project->out_max);
	}
	return buf_add(project->out, data, size) != 0
		       ? error_fail(project->err, ANNALS_E_NO_MEMORY, "out of memory")
		       : 0;
}

static int write_varint(struct project *project, uint64_t value)
{
	uint8_t bytes[VARINT_BYTES_MAX];
	return write_bytes(project, bytes, varint_put(bytes, value));
}

static int write_tag(struct project *project, uint32_t number, unsigned wire_type)
{
	return write_varint(project, FIELD_TAG(number, wire_type));
}

/* One field that is no known message, as it was. */
static int write_field(struct project *project, const struct wire_field *wire)
{
	int status = write_tag(project, wire->number, wire->type);
	if (status != 0) {
		return status;
	}
	switch (wire->type) {
	case WIRE_VARINT:
		return write_varint(project, wire->value);
	case WIRE_BYTES:
		status = write_varint(project, wire->bytes.size);
		return status == 0 ? write_bytes(project, wire->bytes.data, wire->bytes.size)
				   : status;
	default:
		return write_bytes(project, &wire->value, wire->type == WIRE_FIXED64 ? 8 : 4);
	}
}

static bool enum_takes(const struct descriptor_field *field, uint64_t value)
{
	return field->enumeration == NULL || !field->enumeration->closed ||
	       descriptor_enum_value_by_number(field->enumeration, (int32_t)(uint32_t)value) !=
		       NULL;
}

/* Packed values, one by one: for a closed enum, and for a single field, which takes the last. */
static int write_packed(struct project *project, const struct descriptor_field *field,
	const struct wire_field *wire)
{
	const struct bytes in = wire->bytes;
	const size_t width = field->wire_type == WIRE_FIXED64 ? 8 : 4;
	struct wire_field one = {.number = wire->number, .type = field->wire_type};
	size_t cursor = 0;
	size_t count = 0;
	int status = 0;
	while (status == 0 && cursor < in.size) {
		if (field->wire_type == WIRE_VARINT) {
			status = field_varint(in, &cursor, &one.value);
		} else if (in.size - cursor < width) {
			status = ANNALS_E_MALFORMED;
		} else {
			one.value = width == 8 ? load_u64(in.data + cursor)
					       : load_u32(in.data + cursor);
			cursor += width;
		}
		if (status != 0) {
			return error_fail(project->err, ANNALS_E_MALFORMED,
				"the packed values of field %u are cut short", wire->number);
		}
		if (!enum_takes(field, one.value)) {
			mark(project, PROJECT_ENUM, wire->number, field);
		} else {
			count++;
			status = write_field(project, &one);
		}
	}
	if (count > 1 && !field->repeated) {
		mark(project, PROJECT_CARDINALITY, wire->number, field);
	}
	return status;
}

static int push(struct project *project, const struct descriptor_message *old_type,
	const struct descriptor_field *field, const struct wire_field *wire)
{
	if (project->depth == PROJECT_DEPTH_MAX) {
		return error_fail(project->err, ANNALS_E_TOO_LARGE, "messages nest deeper than %u",
			PROJECT_DEPTH_MAX);
	}
	const int status = write_tag(project, wire->number, wire->type);
	project->levels[++project->depth] = (struct level){.old_type = old_type,
		.new_type = field->message,
		.field = field,
		.in = wire->bytes,
		.start = project->out->size};
	return status;
}

static int take_field(struct project *project, struct level *level, const struct wire_field *wire)
{
	const struct descriptor_field *new_field =
		descriptor_field_by_number(level->new_type, wire->number);
	const struct descriptor_field *old_field =
		level->old_type == NULL ? NULL
					: descriptor_field_by_number(level->old_type, wire->number);
	if (new_field == NULL) {
		mark(project, PROJECT_UNKNOWN, wire->number, old_field);
		return 0;
	}
	const bool packed = wire->type == WIRE_BYTES && descriptor_type_packable(new_field->type) &&
			    (new_field->repeated || (old_field != NULL && old_field->repeated));
	if ((wire->type != new_field->wire_type && !packed) ||
		(old_field != NULL &&
			(compare_type_class(old_field) != compare_type_class(new_field) ||
				old_field->map != new_field->map)) ||
		(new_field->utf8 && !field_is_utf8(wire->bytes))) {
		mark(project, PROJECT_UNREADABLE, wire->number, new_field);
		return 0;
	}
	if (new_field->required &&
		(packed || new_field->message != NULL || enum_takes(new_field, wire->value))) {
		level->required |= UINT64_C(1) << new_field->required_index;
	}
	if (new_field->message != NULL) {
		return push(
			project, old_field == NULL ? NULL : old_field->message, new_field, wire);
	}
	if (packed && (!new_field->repeated ||
			      (new_field->enumeration != NULL && new_field->enumeration->closed))) {
		return write_packed(project, new_field, wire);
	}
	if (!packed && !enum_takes(new_field, wire->value)) {
		mark(project, PROJECT_ENUM, wire->number, new_field);
		return 0;
	}
	return write_field(project, wire);
}

static uint64_t wire_default(const struct descriptor_field *field)
{
	double real;
	float single;
	uint32_t bits;
	switch (field->type) {
	case DESCRIPTOR_FLOAT:
		memcpy(&real, &field->default_value, sizeof(real));
		single = (float)real;
		memcpy(&bits, &single, sizeof(bits));
		return bits;
	case DESCRIPTOR_SINT32:
	case DESCRIPTOR_SINT64:
		return field->default_value << 1 ^ (0 - (field->default_value >> 63));
	default:
		return field->default_value;
	}
}

/* Required fields that the old version did not write. A required message is added empty. */
static int add_required(struct project *project, const struct level *level)
{
	const struct descriptor_message *type = level->new_type;
	int status = 0;
	for (size_t i = 0; type->required_count > 0 && i < type->field_count && status == 0; i++) {
		const struct descriptor_field *field = &type->fields[i];
		if (!field->required || (level->required >> field->required_index & 1) != 0) {
			continue;
		}
		mark(project, PROJECT_REQUIRED, field->number, field);
		struct wire_field wire = {.number = field->number,
			.type = field->wire_type,
			.value = wire_default(field),
			.bytes = field->default_bytes};
		if (field->message != NULL) {
			wire.bytes = bytes_of("", 0);
		}
		if (wire.type == WIRE_GROUP) {
			status = write_tag(project, wire.number, WIRE_GROUP);
			status = status == 0 ? write_tag(project, wire.number, WIRE_GROUP_END)
					     : status;
		} else {
			status = write_field(project, &wire);
		}
	}
	return status;
}

/* Puts the length before what was written, or the group's end behind it. */
static int pop(struct project *project)
{
	const struct level *level = &project->levels[project->depth];
	int status = add_required(project, level);
	if (status != 0 || project->depth == 0) {
		return status;
	}
	project->depth--;
	if (level->field->type == DESCRIPTOR_GROUP) {
		return write_tag(project, level->field->number, WIRE_GROUP_END);
	}
	uint8_t length[VARINT_BYTES_MAX];
	const size_t size = project->out->size - level->start;
	const size_t used = varint_put(length, size);
	status = write_bytes(project, length, used);
	if (status == 0) {
		uint8_t *content = project->out->data + level->start;
		memmove(content + used, content, size);
		memcpy(content, length, used);
	}
	return status;
}

static int run(struct project *project)
{
	for (;;) {
		struct level *level = &project->levels[project->depth];
		struct wire_field wire;
		const int more = wire_field_next(level->in, &level->cursor, &wire);
		if (more < 0) {
			return error_fail(project->err, ANNALS_E_MALFORMED,
				"byte %zu of the '%s' is not protobuf", level->cursor,
				level->new_type->name);
		}
		const bool last = more == 0 && project->depth == 0;
		const int status = more == 1 ? take_field(project, level, &wire) : pop(project);
		if (status != 0 || last) {
			return status;
		}
	}
}

int project_message(const struct descriptor_message *old_type,
	const struct descriptor_message *new_type, struct bytes encoded, size_t output_bytes_max,
	struct buf *out, struct project_report *ret_report, struct error *err)
{
	struct project project;
	project.depth = 0;
	project.out = out;
	project.out_start = out->size;
	project.out_max = output_bytes_max;
	project.report = ret_report;
	project.err = err;
	project.levels[0] =
		(struct level){.old_type = old_type, .new_type = new_type, .in = encoded};
	*ret_report = (struct project_report){.mark_count = 0};
	const int status = run(&project);
	if (status != 0) {
		out->size = project.out_start;
	}
	return status;
}

const char *project_loss_name(enum project_loss loss)
{
	static const char *const names[] = {"unknown-field", "unreadable-field",
		"unknown-enum-value", "one-of-many", "required-default"};
	return (unsigned)loss < PROJECT_LOSS_COUNT ? names[loss] : "unknown-loss";
}

void project_report_text(const struct project_report *report, char out[PROJECT_REPORT_TEXT_BYTES])
{
	size_t used = 0;

	out[0] = 0;
	for (size_t i = 0; i < report->mark_count; i++) {
		used += (size_t)snprintf(out + used, PROJECT_REPORT_TEXT_BYTES - used, "%s%s %u",
			i > 0 ? "," : "", project_loss_name(report->marks[i].loss),
			report->marks[i].number);
	}
	if (report->truncated) {
		(void)snprintf(out + used, PROJECT_REPORT_TEXT_BYTES - used, ",...");
	}
}
