/* descriptor_pool_build() and what its steps share. */
#include "build.h"

#include <annals/parse.h>
#include <stdio.h>
#include <stdlib.h>

#include "field.h"

int builder_fail(struct builder *builder, int status, const struct descriptor_file *file,
	const char *name, const char *format, ...)
{
	char text[sizeof(builder->err->text)];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* Long names are cut at the front, so that the sentence stays whole. */
	const size_t name_size = name == NULL ? 0 : strlen(name);
	const char *tail = name_size > 100 ? name + name_size - 100 : name;
	return error_fail(builder->err, status, "%.80s: %s%s%s%s", file->name,
		name_size > 100 ? "..." : "", name_size > 0 ? tail : "", name_size > 0 ? ": " : "",
		text);
}

int builder_no_memory(struct builder *builder)
{
	if (builder->pool->arena.exhausted) {
		return error_fail(builder->err, ANNALS_E_TOO_LARGE,
			"the schema needs more than %u bytes of memory", POOL_MEMORY_BYTES_MAX);
	}
	return error_fail(builder->err, ANNALS_E_NO_MEMORY, "out of memory");
}

int builder_malformed(struct builder *builder, const struct descriptor_file *file, const char *name,
	const char *message)
{
	return builder_fail(
		builder, ANNALS_E_MALFORMED, file, name, "the bytes are no %s", message);
}

static bool is_identifier(struct bytes name)
{
	for (size_t i = 0; i < name.size; i++) {
		const uint8_t c = name.data[i];
		const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
		if (!letter && (i == 0 || c < '0' || c > '9')) {
			return false;
		}
	}
	return name.size > 0;
}

int builder_full_name(struct builder *builder, const struct descriptor_file *file,
	const char *scope, struct bytes name, const char *what, const char **ret_full_name)
{
	if (!is_identifier(name)) {
		return builder_fail(builder, ANNALS_E_VALIDATION, file, scope,
			"'%.*s' is no name for a %s", (int)ANNALS_MIN(name.size, 60u), name.data,
			what);
	}
	const size_t scope_size = strlen(scope);
	const size_t size = scope_size + (scope_size > 0) + name.size;
	if (size > DESCRIPTOR_NAME_BYTES_MAX) {
		return builder_fail(builder, ANNALS_E_TOO_LARGE, file, scope,
			"the full name of a %s is longer than %u bytes", what,
			DESCRIPTOR_NAME_BYTES_MAX);
	}
	char *full = arena_alloc(&builder->pool->arena, size + 1, 1);
	if (full == NULL) {
		return builder_no_memory(builder);
	}
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): more follows */
	memcpy(full, scope, scope_size);
	if (scope_size > 0) {
		full[scope_size] = '.';
	}
	memcpy(full + size - name.size, name.data, name.size);
	*ret_full_name = full;
	return 0;
}

int builder_declare(struct builder *builder, const struct descriptor_file *file,
	const char *full_name, enum symbol_kind kind, const void *object)
{
	const struct symbol symbol = {
		.name = bytes_text(full_name), .kind = kind, .object = object, .file = file};
	const struct symbol *other = pool_find(builder->pool, symbol.name);
	if (other != NULL && kind == SYMBOL_PACKAGE && other->kind == SYMBOL_PACKAGE) {
		/* Packages are shared; one entry in each pool keeps them from hiding. */
		return 0;
	}
	if (other != NULL) {
		return builder_fail(builder, ANNALS_E_VALIDATION, file, full_name,
			"the name is already taken in '%.80s'", other->file->name);
	}
	return symbols_add(&builder->pool->names, &symbol) != 0 ? builder_no_memory(builder) : 0;
}

static void set_bytes(struct bytes *to, const struct field *field, bool *has)
{
	*to = field->bytes;
	if (has != NULL) {
		*has = true;
	}
}

int raw_field_parse(struct bytes encoded, struct raw_field *ret_field)
{
	struct raw_field raw = {.label = 1};
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(encoded, &cursor, &field)) == 1) {
		switch (field.tag) {
		case FIELD_TAG(1, WIRE_BYTES):
			set_bytes(&raw.name, &field, NULL);
			break;
		case FIELD_TAG(2, WIRE_BYTES):
			set_bytes(&raw.extendee, &field, NULL);
			break;
		case FIELD_TAG(3, WIRE_VARINT):
			raw.number = (int32_t)(uint32_t)field.value;
			raw.has_number = true;
			break;
		case FIELD_TAG(4, WIRE_VARINT):
			raw.label = (int32_t)(uint32_t)field.value;
			break;
		case FIELD_TAG(5, WIRE_VARINT):
			raw.type = (int32_t)(uint32_t)field.value;
			break;
		case FIELD_TAG(6, WIRE_BYTES):
			set_bytes(&raw.type_name, &field, &raw.has_type_name);
			break;
		case FIELD_TAG(7, WIRE_BYTES):
			set_bytes(&raw.default_value, &field, &raw.has_default);
			break;
		case FIELD_TAG(8, WIRE_BYTES):
			set_bytes(&raw.options, &field, NULL);
			break;
		case FIELD_TAG(9, WIRE_VARINT):
			raw.oneof_index = (int32_t)(uint32_t)field.value;
			raw.has_oneof = true;
			break;
		case FIELD_TAG(10, WIRE_BYTES):
			set_bytes(&raw.json_name, &field, &raw.has_json_name);
			break;
		case FIELD_TAG(17, WIRE_VARINT):
			raw.proto3_optional = field.value != 0;
			break;
		default:
			break;
		}
	}
	if (more < 0) {
		return ANNALS_E_MALFORMED;
	}
	*ret_field = raw;
	return 0;
}

int descriptor_pool_build(struct descriptor_pool *base, struct bytes set,
	struct descriptor_pool **ret_pool, struct error *err)
{
	if (set.size > DESCRIPTOR_SET_BYTES_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"the descriptor set has %zu bytes; the limit is %u", set.size,
			DESCRIPTOR_SET_BYTES_MAX);
	}
	struct builder builder = {.err = err, .pool = calloc(1, sizeof(*builder.pool))};
	if (builder.pool == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	atomic_init(&builder.pool->references, 1);
	if (base != NULL) {
		builder.pool->base = descriptor_pool_ref(base);
		builder.pool->files_below = base->files_below + base->file_count;
	}
	int status = builder_load(&builder, set);
	status = status == 0 ? builder_declare_files(&builder) : status;
	status = status == 0 ? builder_link(&builder) : status;
	buf_release(&builder.files);
	buf_release(&builder.messages);
	buf_release(&builder.extensions);
	buf_release(&builder.scratch);
	if (status != 0) {
		descriptor_pool_unref(builder.pool);
		return status;
	}
	*ret_pool = builder.pool;
	return 0;
}
