/* Types of fields, extensions and services: found by name, seen through imports, put in place. */
#include <stdio.h>
#include <stdlib.h>

#include "actions.h"
#include "build.h"
#include "field.h"

struct linker {
	struct builder *builder;
	const struct descriptor_file *file; /* being linked */
	uint32_t *seen;                     /* by file id: file->id + 1 of who sees it */
	const struct descriptor_file **work;
	size_t file_count;
	bool annals_options;
};

/* Marks what the file sees: itself, its imports, and what those import publicly. */
static void see_imports(struct linker *linker, const struct descriptor_file *file)
{
	const uint32_t mark = file->id + 1;
	size_t work_count = 0;
	linker->file = file;
	linker->annals_options = false;
	linker->seen[file->id] = mark;
	for (size_t i = 0; i < file->import_count; i++) {
		if (linker->seen[file->imports[i]->id] != mark) {
			linker->seen[file->imports[i]->id] = mark;
			linker->work[work_count++] = file->imports[i];
		}
	}
	while (work_count > 0) {
		const struct descriptor_file *at = linker->work[--work_count];
		linker->annals_options |= strcmp(at->name, "annals/options.proto") == 0;
		for (size_t i = 0; i < at->import_count; i++) {
			if (at->import_public[i] && linker->seen[at->imports[i]->id] != mark) {
				linker->seen[at->imports[i]->id] = mark;
				linker->work[work_count++] = at->imports[i];
			}
		}
	}
}

/* ".a.b" is absolute; "a.b" is looked for in the scope and in each one around it. */
static const struct symbol *find_type(
	const struct linker *linker, const char *scope, struct bytes name)
{
	const struct descriptor_pool *pool = linker->builder->pool;
	if (name.size > 0 && name.data[0] == '.') {
		return pool_find(pool, bytes_of(name.data + 1, name.size - 1));
	}
	char full[2 * DESCRIPTOR_NAME_BYTES_MAX + 2];
	if (name.size == 0 || name.size > DESCRIPTOR_NAME_BYTES_MAX) {
		return NULL;
	}
	size_t size = strlen(scope);
	for (;;) {
		/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): more follows */
		memcpy(full, scope, size);
		full[size] = '.';
		memcpy(full + size + (size > 0), name.data, name.size);
		const struct symbol *symbol =
			pool_find(pool, bytes_of(full, size + (size > 0) + name.size));
		if (symbol != NULL &&
			(symbol->kind == SYMBOL_MESSAGE || symbol->kind == SYMBOL_ENUM)) {
			return symbol;
		}
		if (size == 0) {
			return NULL;
		}
		do {
			size--;
		} while (size > 0 && scope[size] != '.');
	}
}

static int resolve(struct linker *linker, const char *scope, const char *subject, struct bytes name,
	const struct symbol **ret_symbol)
{
	const struct symbol *symbol = find_type(linker, scope, name);
	const int shown = (int)ANNALS_MIN(name.size, 100u);
	if (symbol == NULL || (symbol->kind != SYMBOL_MESSAGE && symbol->kind != SYMBOL_ENUM)) {
		return builder_fail(linker->builder, ANNALS_E_VALIDATION, linker->file, subject,
			"the type '%.*s' is not defined", shown, (const char *)name.data);
	}
	if (linker->seen[symbol->file->id] != linker->file->id + 1) {
		return builder_fail(linker->builder, ANNALS_E_VALIDATION, linker->file, subject,
			"the type '%.*s' is defined in '%.60s', which is not imported", shown,
			(const char *)name.data, symbol->file->name);
	}
	*ret_symbol = symbol;
	return 0;
}

/* Type, label and what they point to. */
static int link_type(struct linker *linker, struct descriptor_field *field, const char *scope,
	const struct raw_field *raw)
{
	struct builder *builder = linker->builder;
	const struct symbol *symbol = NULL;
	int type = raw->type;
	if (raw->has_type_name) {
		const int status =
			resolve(linker, scope, field->full_name, raw->type_name, &symbol);
		if (status != 0) {
			return status;
		}
		if (type == 0) {
			type = symbol->kind == SYMBOL_ENUM ? DESCRIPTOR_ENUM : DESCRIPTOR_MESSAGE;
		}
	}
	const bool wants_message = type == DESCRIPTOR_MESSAGE || type == DESCRIPTOR_GROUP;
	const bool has_message = symbol != NULL && symbol->kind == SYMBOL_MESSAGE;
	const bool has_enum = symbol != NULL && symbol->kind == SYMBOL_ENUM;
	if (type < 1 || type > 18 || wants_message != has_message ||
		(type == DESCRIPTOR_ENUM) != has_enum) {
		return builder_fail(builder, ANNALS_E_VALIDATION, linker->file, field->full_name,
			"the type %d (%s) does not fit the type name '%.*s'", type,
			descriptor_type_name(type), (int)ANNALS_MIN(raw->type_name.size, 80u),
			(const char *)raw->type_name.data);
	}
	if (raw->label < 1 || raw->label > 3) {
		return builder_fail(builder, ANNALS_E_VALIDATION, linker->file, field->full_name,
			"the label %d is unknown", raw->label);
	}
	field->type = (uint8_t)type;
	field->required = raw->label == 2;
	field->repeated = raw->label == 3;
	field->message = has_message ? symbol->object : NULL;
	field->enumeration = has_enum ? symbol->object : NULL;
	field->map = field->repeated && type == DESCRIPTOR_MESSAGE && field->message->map_entry;
	return 0;
}

static int link_oneof(struct linker *linker, const struct message_build *build,
	struct descriptor_field *field, const struct raw_field *raw)
{
	if (raw->proto3_optional) {
		field->proto3_optional = true;
		if (!linker->file->proto3 || !raw->has_oneof || field->repeated) {
			return builder_fail(linker->builder, ANNALS_E_VALIDATION, linker->file,
				field->full_name,
				"proto3_optional needs proto3, a single value and a oneof of its "
				"own");
		}
	}
	if (!raw->has_oneof) {
		return 0;
	}
	if (raw->oneof_index < 0 || (size_t)raw->oneof_index >= build->oneof_declared ||
		raw->label != 1) {
		return builder_fail(linker->builder, ANNALS_E_VALIDATION, linker->file,
			field->full_name,
			"the oneof %d does not exist, or the field is repeated or required",
			raw->oneof_index);
	}
	/* Until all are counted, places hold: members, and 1 << 30 if one is proto3 optional. */
	build->oneof_places[raw->oneof_index] += raw->proto3_optional ? 1 + (1 << 30) : 1;
	return 0;
}

/* Real oneofs move together; places become positions. */
static int settle_oneofs(struct linker *linker, struct message_build *build)
{
	struct descriptor_message *message = build->message;
	message->oneofs = build->oneofs;
	for (size_t i = 0; i < build->oneof_declared; i++) {
		const int32_t members = build->oneof_places[i];
		if (members == 0 || members > 1 + (1 << 30)) {
			return builder_fail(linker->builder, ANNALS_E_VALIDATION, linker->file,
				message->full_name,
				members == 0 ? "the oneof '%.80s' has no fields"
					     : "proto3_optional shares the oneof '%.80s'",
				build->oneofs[i].name);
		}
		build->oneof_places[i] = -1;
		if (members < (1 << 30)) {
			build->oneof_places[i] = (int32_t)message->oneof_count;
			build->oneofs[message->oneof_count] = build->oneofs[i];
			build->oneofs[message->oneof_count++].field_count = (size_t)members;
		}
	}
	return 0;
}

static int compare_by_name(const void *a, const void *b)
{
	return strcmp((*(const struct descriptor_field *const *)a)->name,
		(*(const struct descriptor_field *const *)b)->name);
}

static int compare_by_json_name(const void *a, const void *b)
{
	const struct descriptor_field *x = *(const struct descriptor_field *const *)a;
	const struct descriptor_field *y = *(const struct descriptor_field *const *)b;
	const int order = strcmp(x->json_name, y->json_name);
	return order != 0 ? order : (x > y) - (x < y);
}

/* The validator counts required fields, so it asks for those. */
static void set_action(uint8_t *actions, const struct descriptor_field *field)
{
	static const uint8_t by_wire_type[] = {ACTION_VARINT, ACTION_FIXED64, ACTION_BYTES,
		ACTION_ASK, ACTION_ASK, ACTION_FIXED32};
	uint8_t action = by_wire_type[field->wire_type];
	if (field->required) {
		action = ACTION_ASK;
	} else if (field->type == DESCRIPTOR_ENUM) {
		action = ACTION_ENUM;
	} else if (field->type == DESCRIPTOR_MESSAGE) {
		action = ACTION_MESSAGE;
	} else if (field->utf8) {
		action = ACTION_TEXT;
	}
	actions[FIELD_TAG(field->number, field->wire_type)] = action;
}

static int index_fields(struct linker *linker, struct descriptor_message *message)
{
	struct arena *arena = &linker->builder->pool->arena;
	const size_t count = message->field_count;
	const uint32_t last = count == 0 ? 0 : message->fields[count - 1].number;
	const uint32_t dense_count = ANNALS_MIN(last + 1, (uint32_t)(4 * count + 64));
	const struct descriptor_field **by_name = arena_alloc(arena, count, sizeof(*by_name));
	const struct descriptor_field **by_json = arena_alloc(arena, count, sizeof(*by_json));
	uint16_t *dense = arena_alloc(arena, dense_count, sizeof(*dense));
	uint8_t *actions = arena_alloc(arena, 128, 1);
	if (by_name == NULL || by_json == NULL || dense == NULL || actions == NULL) {
		return builder_no_memory(linker->builder);
	}
	for (size_t i = 0; i < count; i++) {
		by_name[i] = by_json[i] = &message->fields[i];
		if (message->fields[i].number < dense_count) {
			dense[message->fields[i].number] = (uint16_t)(i + 1);
		}
		if (message->fields[i].number < 16) {
			set_action(actions, &message->fields[i]);
		}
	}
	qsort(by_name, count, sizeof(*by_name), compare_by_name);
	qsort(by_json, count, sizeof(*by_json), compare_by_json_name);
	message->by_name = by_name;
	message->by_json_name = by_json;
	message->dense = dense;
	message->dense_count = dense_count;
	message->actions = actions;
	for (size_t i = 1; i < count && linker->file->proto3; i++) {
		if (strcmp(by_json[i - 1]->json_name, by_json[i]->json_name) == 0) {
			return builder_fail(linker->builder, ANNALS_E_VALIDATION, linker->file,
				message->full_name,
				"the fields '%.60s' and '%.60s' have the same JSON name",
				by_json[i - 1]->name, by_json[i]->name);
		}
	}
	return 0;
}

static int check_extraction(struct linker *linker, struct descriptor_message *message)
{
	unsigned keys = 0;
	unsigned times = 0;
	unsigned subjects = 0;
	for (size_t i = 0; i < message->field_count; i++) {
		keys += message->fields[i].is_key;
		times += message->fields[i].is_time;
		subjects += message->fields[i].is_subject;
		message->extracts |= message->fields[i].tag != NULL;
	}
	message->extracts |= keys + times + subjects > 0;
	if (keys > 1 || times > 1 || subjects > 1) {
		return builder_fail(linker->builder, ANNALS_E_VALIDATION, linker->file,
			message->full_name, "more than one field is the %s",
			keys > 1    ? "key"
			: times > 1 ? "time"
				    : "subject");
	}
	return 0;
}

static int link_message(struct linker *linker, struct message_build *build)
{
	struct descriptor_message *message = build->message;
	struct builder *builder = linker->builder;
	struct raw_field raw;
	int status = 0;
	for (size_t i = 0; i < message->field_count && status == 0; i++) {
		struct descriptor_field *field = &build->fields[i];
		if (raw_field_parse(build->encoded_fields[i], &raw) != 0) {
			return builder_malformed(
				builder, linker->file, field->full_name, "FieldDescriptorProto");
		}
		status = link_type(linker, field, message->full_name, &raw);
		status = status == 0 ? link_oneof(linker, build, field, &raw) : status;
		status = status == 0
				 ? builder_check_field(builder, field, &raw, linker->annals_options)
				 : status;
		field->required_index = (uint32_t)message->required_count;
		message->required_count += field->required;
	}
	if (status == 0 && message->required_count > DESCRIPTOR_REQUIRED_MAX) {
		return builder_fail(builder, ANNALS_E_TOO_LARGE, linker->file, message->full_name,
			"more than %u required fields", DESCRIPTOR_REQUIRED_MAX);
	}
	status = status == 0 ? settle_oneofs(linker, build) : status;
	for (size_t i = 0; i < message->field_count && status == 0; i++) {
		if (raw_field_parse(build->encoded_fields[i], &raw) != 0) {
			return ANNALS_E_MALFORMED; /* it was read above */
		}
		const int32_t place = raw.has_oneof ? build->oneof_places[raw.oneof_index] : -1;
		build->fields[i].oneof = place < 0 ? NULL : &message->oneofs[place];
	}
	status = status == 0 ? index_fields(linker, message) : status;
	return status == 0 ? check_extraction(linker, message) : status;
}

/* The number of an extension is taken once: a name says so that no identifier can have. */
static int declare_extension_number(struct linker *linker,
	const struct descriptor_message *extendee, const struct descriptor_field *field)
{
	char name[DESCRIPTOR_NAME_BYTES_MAX + 16];
	const int size = snprintf(name, sizeof(name), "%u %s", field->number, extendee->full_name);
	const char *copy = arena_text(&linker->builder->pool->arena, bytes_of(name, (size_t)size));
	if (copy == NULL) {
		return builder_no_memory(linker->builder);
	}
	return builder_declare(linker->builder, linker->file, copy, SYMBOL_EXTENSION_NUMBER, NULL);
}

static int link_extension(struct linker *linker, const struct extension_build *extension)
{
	struct builder *builder = linker->builder;
	struct raw_field raw;
	const struct symbol *extendee;
	struct descriptor_field field = {0};
	if (raw_field_parse(extension->encoded, &raw) != 0) {
		return builder_malformed(
			builder, linker->file, extension->scope, "FieldDescriptorProto");
	}
	int status = builder_full_name(
		builder, linker->file, extension->scope, raw.name, "extension", &field.full_name);
	status = status == 0 ? builder_declare(builder, linker->file, field.full_name,
				       SYMBOL_EXTENSION, NULL)
			     : status;
	status = status == 0 ? resolve(linker, extension->scope, field.full_name, raw.extendee,
				       &extendee)
			     : status;
	status = status == 0 ? link_type(linker, &field, extension->scope, &raw) : status;
	if (status != 0) {
		return status;
	}
	const struct descriptor_message *message = extendee->object;
	field.number = (uint32_t)raw.number;
	if (extendee->kind != SYMBOL_MESSAGE || field.required || field.map || raw.has_oneof ||
		!ranges_hold(message->extensions, message->extension_count, raw.number)) {
		return builder_fail(builder, ANNALS_E_VALIDATION, linker->file, field.full_name,
			"'%.*s' has no extension range with the number %d, or the extension is "
			"required, a map or in a oneof",
			(int)ANNALS_MIN(raw.extendee.size, 80u), (const char *)raw.extendee.data,
			raw.number);
	}
	return declare_extension_number(linker, message, &field);
}

static int link_method(struct linker *linker, const char *service, struct bytes encoded)
{
	struct bytes parts[4] = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
	struct builder *builder = linker->builder;
	const char *full_name = NULL;
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(encoded, &cursor, &field)) == 1) {
		const uint32_t number = FIELD_NUMBER(field.tag);
		if (number < ANNALS_COUNT_OF(parts) && (field.tag & 7) == WIRE_BYTES) {
			parts[number] = field.bytes;
		}
	}
	if (more < 0) {
		return builder_malformed(builder, linker->file, service, "MethodDescriptorProto");
	}
	int status =
		builder_full_name(builder, linker->file, service, parts[1], "method", &full_name);
	status = status == 0
			 ? builder_declare(builder, linker->file, full_name, SYMBOL_METHOD, NULL)
			 : status;
	for (unsigned i = 2; i <= 3 && status == 0; i++) {
		const struct symbol *symbol;
		status = resolve(linker, service, full_name, parts[i], &symbol);
		if (status == 0 && symbol->kind != SYMBOL_MESSAGE) {
			return builder_fail(builder, ANNALS_E_VALIDATION, linker->file, full_name,
				"'%.*s' is no message", (int)ANNALS_MIN(parts[i].size, 80u),
				(const char *)parts[i].data);
		}
	}
	return status;
}

static int link_service(struct linker *linker, struct bytes encoded)
{
	struct builder *builder = linker->builder;
	struct bytes name = {NULL, 0};
	const char *full_name = NULL;
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(encoded, &cursor, &field)) == 1) {
		if (field.tag == FIELD_TAG(1, WIRE_BYTES)) {
			name = field.bytes;
		}
	}
	if (more < 0) {
		return builder_malformed(builder, linker->file, NULL, "ServiceDescriptorProto");
	}
	int status = builder_full_name(
		builder, linker->file, linker->file->package, name, "service", &full_name);
	status = status == 0
			 ? builder_declare(builder, linker->file, full_name, SYMBOL_SERVICE, NULL)
			 : status;
	cursor = 0;
	while (status == 0 && field_next(encoded, &cursor, &field) == 1) {
		if (field.tag == FIELD_TAG(2, WIRE_BYTES)) {
			status = link_method(linker, full_name, field.bytes);
		}
	}
	return status;
}

/* Messages and extensions are in the order of their files, as declare.c made them. */
static int link_all(struct linker *linker)
{
	struct builder *builder = linker->builder;
	size_t message_count;
	struct message_build *messages = builder_messages(builder, &message_count);
	const struct extension_build *extensions = (const void *)builder->extensions.data;
	const size_t extension_count = builder->extensions.size / sizeof(*extensions);
	size_t message = 0;
	size_t extension = 0;
	int status = 0;
	for (size_t i = 0; i < builder->pool->file_count && status == 0; i++) {
		const struct descriptor_file *file = builder->pool->files[i];
		struct field field;
		size_t cursor = 0;
		see_imports(linker, file);
		while (status == 0 && message < message_count &&
			messages[message].message->file == file) {
			status = link_message(linker, &messages[message++]);
		}
		while (status == 0 && extension < extension_count &&
			extensions[extension].file == file) {
			status = link_extension(linker, &extensions[extension++]);
		}
		while (status == 0 && field_next(file->encoded, &cursor, &field) == 1) {
			if (field.tag == FIELD_TAG(6, WIRE_BYTES)) {
				status = link_service(linker, field.bytes);
			}
		}
	}
	return status;
}

int builder_link(struct builder *builder)
{
	struct linker linker = {.builder = builder};
	linker.file_count = builder->pool->files_below + builder->pool->file_count;
	linker.seen = calloc(linker.file_count + 1, sizeof(*linker.seen));
	linker.work = calloc(linker.file_count + 1, sizeof(*linker.work));
	const int status = linker.seen == NULL || linker.work == NULL ? builder_no_memory(builder)
								      : link_all(&linker);
	free(linker.seen);
	free(linker.work);
	return status;
}
