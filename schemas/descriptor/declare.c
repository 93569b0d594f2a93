/* Messages, their fields and oneofs, and every other name: made and entered, not yet linked. */
#include <annals/parse.h>
#include <stdlib.h>

#include "build.h"
#include "field.h"

/* How many of each a DescriptorProto or FileDescriptorProto declares. */
struct counts {
	size_t fields, messages, enums, oneofs;
	struct bytes name, options;
};

/* The numbers of the same things in the two kinds of message; 0: none. */
struct numbers {
	uint32_t name, fields, messages, enums, extensions, oneofs, options, services;
};
static const struct numbers message_numbers = {1, 2, 3, 4, 6, 8, 7, 0};
static const struct numbers file_numbers = {0, 0, 4, 5, 7, 0, 0, 6};

static int count_contents(
	struct bytes encoded, const struct numbers *numbers, struct counts *ret_counts)
{
	struct counts counts = {0};
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(encoded, &cursor, &field)) == 1) {
		const uint32_t number = FIELD_NUMBER(field.tag);
		if ((field.tag & 7) != WIRE_BYTES) {
			continue;
		}
		counts.fields += number == numbers->fields;
		counts.messages += number == numbers->messages;
		counts.enums += number == numbers->enums;
		counts.oneofs += number == numbers->oneofs;
		if (number == numbers->name) {
			counts.name = field.bytes;
		} else if (number == numbers->options) {
			counts.options = field.bytes;
		}
	}
	*ret_counts = counts;
	return more;
}

static int fail_name(struct builder *builder, const struct descriptor_message *message,
	const char *format, const char *name)
{
	return builder_fail(builder, ANNALS_E_VALIDATION, message->file, message->full_name,
		"the field '%.80s' %s", name, format);
}

static int check_number(struct builder *builder, const struct descriptor_message *message,
	const struct descriptor_field *field, const struct raw_field *raw)
{
	const int64_t number = raw->number;
	if (!raw->has_number || number < 1 || number > (int64_t)DESCRIPTOR_FIELD_NUMBER_MAX) {
		return builder_fail(builder, ANNALS_E_VALIDATION, message->file, field->full_name,
			"the field number %lld is outside 1 to %u", (long long)number,
			DESCRIPTOR_FIELD_NUMBER_MAX);
	}
	if (number >= 19000 && number <= 19999) {
		return builder_fail(builder, ANNALS_E_VALIDATION, message->file, field->full_name,
			"the field numbers 19000 to 19999 belong to protobuf itself");
	}
	if (ranges_hold(message->reserved, message->reserved_count, (int32_t)number)) {
		return fail_name(builder, message, "uses a reserved number", field->name);
	}
	if (ranges_hold(message->extensions, message->extension_count, (int32_t)number)) {
		return fail_name(
			builder, message, "uses a number of an extension range", field->name);
	}
	if (names_hold(message->reserved_names, message->reserved_name_count, field->name)) {
		return fail_name(builder, message, "uses a reserved name", field->name);
	}
	return 0;
}

/* A field and its bytes, together while they are sorted. */
struct sortable {
	struct descriptor_field field;
	struct bytes encoded;
};

static int compare_sortables(const void *a, const void *b)
{
	const struct sortable *x = a;
	const struct sortable *y = b;
	return (x->field.number > y->field.number) - (x->field.number < y->field.number);
}

static int make_field(struct builder *builder, const struct descriptor_message *message,
	struct bytes encoded, uint32_t declared, struct sortable *ret)
{
	struct raw_field raw;
	if (raw_field_parse(encoded, &raw) != 0) {
		return builder_malformed(
			builder, message->file, message->full_name, "FieldDescriptorProto");
	}
	struct descriptor_field *field = &ret->field;
	const int status = builder_full_name(
		builder, message->file, message->full_name, raw.name, "field", &field->full_name);
	if (status != 0) {
		return status;
	}
	field->name = field->full_name + strlen(field->full_name) - raw.name.size;
	field->number = (uint32_t)raw.number;
	field->parent = message;
	field->declared = declared;
	ret->encoded = encoded;
	return check_number(builder, message, field, &raw);
}

/* Sorted fields move into the arena; numbers are unique and names are entered. */
static int store_fields(struct builder *builder, struct message_build *build,
	const struct sortable *sorted, size_t count)
{
	struct descriptor_message *message = build->message;
	struct arena *arena = &builder->pool->arena;
	build->fields = arena_alloc(arena, count, sizeof(*build->fields));
	build->encoded_fields = arena_alloc(arena, count, sizeof(*build->encoded_fields));
	if (build->fields == NULL || build->encoded_fields == NULL) {
		return builder_no_memory(builder);
	}
	message->fields = build->fields;
	message->field_count = count;
	int status = 0;
	for (size_t i = 0; i < count && status == 0; i++) {
		build->fields[i] = sorted[i].field;
		build->encoded_fields[i] = sorted[i].encoded;
		if (i > 0 && sorted[i - 1].field.number == sorted[i].field.number) {
			return builder_fail(builder, ANNALS_E_VALIDATION, message->file,
				message->full_name,
				"the fields '%.60s' and '%.60s' have the same number %u",
				sorted[i - 1].field.name, sorted[i].field.name,
				sorted[i].field.number);
		}
		status = builder_declare(
			builder, message->file, sorted[i].field.full_name, SYMBOL_FIELD, NULL);
	}
	return status;
}

static int add_fields(
	struct builder *builder, struct message_build *build, const struct counts *counts)
{
	struct descriptor_message *message = build->message;
	builder->fields_total += counts->fields;
	if (counts->fields > DESCRIPTOR_FIELDS_MAX ||
		builder->fields_total > DESCRIPTOR_FIELDS_TOTAL_MAX) {
		return builder_fail(builder, ANNALS_E_TOO_LARGE, message->file, message->full_name,
			"more than %u fields in a message or %u in the set", DESCRIPTOR_FIELDS_MAX,
			DESCRIPTOR_FIELDS_TOTAL_MAX);
	}
	struct sortable *sorted = calloc(counts->fields + 1, sizeof(*sorted));
	if (sorted == NULL) {
		return builder_no_memory(builder);
	}
	struct field field;
	size_t cursor = 0;
	uint32_t count = 0;
	int status = 0;
	while (status == 0 && field_next(build->encoded, &cursor, &field) == 1) {
		if (field.tag == FIELD_TAG(2, WIRE_BYTES)) {
			status = make_field(builder, message, field.bytes, count, &sorted[count]);
			count++;
		}
	}
	if (status == 0) {
		qsort(sorted, count, sizeof(*sorted), compare_sortables);
		status = store_fields(builder, build, sorted, count);
	}
	free(sorted);
	return status;
}

static int add_oneofs(
	struct builder *builder, struct message_build *build, const struct counts *counts)
{
	struct descriptor_message *message = build->message;
	struct arena *arena = &builder->pool->arena;
	build->oneofs = arena_alloc(arena, counts->oneofs, sizeof(*build->oneofs));
	build->oneof_places = arena_alloc(arena, counts->oneofs, sizeof(*build->oneof_places));
	if (build->oneofs == NULL || build->oneof_places == NULL) {
		return builder_no_memory(builder);
	}
	struct field field;
	size_t cursor = 0;
	int status = 0;
	while (status == 0 && field_next(build->encoded, &cursor, &field) == 1) {
		if (field.tag != FIELD_TAG(8, WIRE_BYTES)) {
			continue;
		}
		struct counts oneof;
		if (count_contents(field.bytes, &message_numbers, &oneof) < 0) {
			return builder_malformed(
				builder, message->file, message->full_name, "OneofDescriptorProto");
		}
		const char *full_name;
		status = builder_full_name(builder, message->file, message->full_name, oneof.name,
			"oneof", &full_name);
		status = status == 0 ? builder_declare(builder, message->file, full_name,
					       SYMBOL_ONEOF, NULL)
				     : status;
		if (status == 0) {
			struct descriptor_oneof *made = &build->oneofs[build->oneof_declared++];
			made->name = full_name + strlen(full_name) - oneof.name.size;
			made->parent = message;
		}
	}
	return status;
}

static int add_extensions(struct builder *builder, const struct descriptor_file *file,
	const char *scope, struct bytes encoded, uint32_t number)
{
	struct field field;
	size_t cursor = 0;
	while (field_next(encoded, &cursor, &field) == 1) {
		if (field.tag == FIELD_TAG(number, WIRE_BYTES)) {
			const struct extension_build extension = {file, scope, field.bytes};
			if (++builder->fields_total > DESCRIPTOR_FIELDS_TOTAL_MAX) {
				return builder_fail(builder, ANNALS_E_TOO_LARGE, file, scope,
					"more than %u fields in the set",
					DESCRIPTOR_FIELDS_TOTAL_MAX);
			}
			if (buf_add(&builder->extensions, &extension, sizeof(extension)) != 0) {
				return builder_no_memory(builder);
			}
		}
	}
	return 0;
}

/* Makes an array of what is declared inside: enums at once, messages as builds to be filled. */
static int add_nested(struct builder *builder, const struct descriptor_file *file,
	struct descriptor_message *parent, struct bytes encoded, const struct numbers *numbers,
	const struct descriptor_message **messages, const struct descriptor_enum **enums)
{
	struct field field;
	size_t cursor = 0;
	uint32_t message_count = 0;
	size_t enum_count = 0;
	int status = 0;
	while (status == 0 && field_next(encoded, &cursor, &field) == 1) {
		if (field.tag == FIELD_TAG(numbers->enums, WIRE_BYTES)) {
			status = builder_declare_enum(
				builder, file, parent, field.bytes, &enums[enum_count++]);
		} else if (field.tag == FIELD_TAG(numbers->messages, WIRE_BYTES)) {
			struct descriptor_message *message =
				arena_alloc(&builder->pool->arena, 1, sizeof(*message));
			const struct message_build build = {
				.message = message, .encoded = field.bytes};
			if (message == NULL ||
				buf_add(&builder->messages, &build, sizeof(build)) != 0) {
				return builder_no_memory(builder);
			}
			message->file = file;
			message->parent = parent;
			message->index = message_count;
			message->nesting = parent == NULL ? 0 : parent->nesting + 1;
			messages[message_count++] = message;
		}
	}
	return status;
}

static int read_message_options(
	struct builder *builder, struct descriptor_message *message, struct bytes options)
{
	struct field field;
	size_t cursor = 0;
	int more;
	message->options = options;
	while ((more = field_next(options, &cursor, &field)) == 1) {
		if (field.tag == FIELD_TAG(1, WIRE_VARINT) && field.value != 0) {
			return builder_fail(builder, ANNALS_E_VALIDATION, message->file,
				message->full_name, "message_set_wire_format is not supported");
		}
		if (field.tag == FIELD_TAG(3, WIRE_VARINT)) {
			message->deprecated = field.value != 0;
		} else if (field.tag == FIELD_TAG(7, WIRE_VARINT)) {
			message->map_entry = field.value != 0;
		}
	}
	return more < 0 ? builder_malformed(
				  builder, message->file, message->full_name, "MessageOptions")
			: 0;
}

static int name_message(
	struct builder *builder, struct descriptor_message *message, const struct counts *counts)
{
	const char *scope =
		message->parent != NULL ? message->parent->full_name : message->file->package;
	int status = builder_full_name(
		builder, message->file, scope, counts->name, "message", &message->full_name);
	if (status != 0) {
		return status;
	}
	message->name = message->full_name + strlen(message->full_name) - counts->name.size;
	if (message->nesting >= DESCRIPTOR_NESTING_MAX ||
		++builder->types_total > DESCRIPTOR_MESSAGES_MAX) {
		return builder_fail(builder, ANNALS_E_TOO_LARGE, message->file, message->full_name,
			"messages nest deeper than %u, or the set has more than %u types",
			DESCRIPTOR_NESTING_MAX, DESCRIPTOR_MESSAGES_MAX);
	}
	status = builder_declare(
		builder, message->file, message->full_name, SYMBOL_MESSAGE, message);
	return status == 0 ? read_message_options(builder, message, counts->options) : status;
}

/* place: in builder->messages, which grows meanwhile. */
static int declare_message(struct builder *builder, size_t place)
{
	static const struct range_numbers reserved = {9, 10, false, 1, INT32_MAX};
	static const struct range_numbers extensions = {5, 0, false, 1, INT32_MAX - 1};
	size_t count;
	struct message_build build = builder_messages(builder, &count)[place];
	struct descriptor_message *message = build.message;
	struct counts counts;
	if (count_contents(build.encoded, &message_numbers, &counts) < 0) {
		return builder_malformed(builder, message->file,
			message->parent != NULL ? message->parent->full_name : NULL,
			"DescriptorProto");
	}
	struct arena *arena = &builder->pool->arena;
	const struct descriptor_message **messages =
		arena_alloc(arena, counts.messages, sizeof(*messages));
	const struct descriptor_enum **enums = arena_alloc(arena, counts.enums, sizeof(*enums));
	if (messages == NULL || enums == NULL) {
		return builder_no_memory(builder);
	}
	message->messages = messages;
	message->message_count = counts.messages;
	message->enums = enums;
	message->enum_count = counts.enums;
	int status = name_message(builder, message, &counts);
	status = status == 0
			 ? builder_ranges(builder, message->file, message->full_name, build.encoded,
				   &reserved, &message->reserved, &message->reserved_count,
				   &message->reserved_names, &message->reserved_name_count)
			 : status;
	status = status == 0 ? builder_ranges(builder, message->file, message->full_name,
				       build.encoded, &extensions, &message->extensions,
				       &message->extension_count, NULL, NULL)
			     : status;
	status = status == 0 ? add_fields(builder, &build, &counts) : status;
	status = status == 0 ? add_oneofs(builder, &build, &counts) : status;
	status = status == 0 ? add_extensions(builder, message->file, message->full_name,
				       build.encoded, message_numbers.extensions)
			     : status;
	status = status == 0 ? add_nested(builder, message->file, message, build.encoded,
				       &message_numbers, messages, enums)
			     : status;
	builder_messages(builder, &count)[place] = build;
	return status;
}

static int declare_package(struct builder *builder, const struct descriptor_file *file)
{
	const char *package = file->package;
	const char *scope = "";
	int status = 0;
	while (status == 0 && *package != '\0') {
		const size_t part = strcspn(package, ".");
		const char *full_name;
		status = builder_full_name(
			builder, file, scope, bytes_of(package, part), "package", &full_name);
		status = status == 0
				 ? builder_declare(builder, file, full_name, SYMBOL_PACKAGE, NULL)
				 : status;
		scope = full_name;
		package += part;
		if (*package == '.' && *++package == '\0') {
			return builder_fail(builder, ANNALS_E_VALIDATION, file, NULL,
				"the package's name ends in a dot");
		}
	}
	return status;
}

static int declare_file(struct builder *builder, struct descriptor_file *file)
{
	struct counts counts;
	if (count_contents(file->encoded, &file_numbers, &counts) < 0) {
		return builder_malformed(builder, file, NULL, "FileDescriptorProto");
	}
	struct arena *arena = &builder->pool->arena;
	const struct descriptor_message **messages =
		arena_alloc(arena, counts.messages, sizeof(*messages));
	const struct descriptor_enum **enums = arena_alloc(arena, counts.enums, sizeof(*enums));
	if (messages == NULL || enums == NULL) {
		return builder_no_memory(builder);
	}
	file->messages = messages;
	file->message_count = counts.messages;
	file->enums = enums;
	file->enum_count = counts.enums;
	size_t place;
	size_t count;
	(void)builder_messages(builder, &place);
	int status = declare_package(builder, file);
	status = status == 0 ? add_nested(builder, file, NULL, file->encoded, &file_numbers,
				       messages, enums)
			     : status;
	status = status == 0 ? add_extensions(builder, file, file->package, file->encoded,
				       file_numbers.extensions)
			     : status;
	/* Each message appends those inside it: breadth first, without recursion. */
	for (; status == 0; place++) {
		(void)builder_messages(builder, &count);
		if (place == count) {
			break;
		}
		status = declare_message(builder, place);
	}
	return status;
}

int builder_declare_files(struct builder *builder)
{
	int status = 0;
	for (size_t i = 0; i < builder->pool->file_count && status == 0; i++) {
		status = declare_file(builder, builder->pool->files[i]);
	}
	return status;
}
