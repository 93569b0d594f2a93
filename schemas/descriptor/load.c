/* The files of a set: split, named, compared with the base, their imports resolved and ordered. */
#include <annals/parse.h>
#include <stdlib.h>

#include "build.h"
#include "field.h"

#define ANNALS_OPTIONS_FILE "annals/options.proto"

/* FileDescriptorProto without source_code_info, in the arena. */
static int copy_file(struct builder *builder, struct bytes encoded, struct bytes *ret_copy)
{
	struct field field;
	size_t cursor = 0;
	size_t start = 0;
	int more;
	builder->scratch.size = 0;
	while ((more = field_next(encoded, &cursor, &field)) == 1) {
		if (FIELD_NUMBER(field.tag) != 9 &&
			buf_add(&builder->scratch, encoded.data + start, cursor - start) != 0) {
			return builder_no_memory(builder);
		}
		start = cursor;
	}
	if (more < 0) {
		return error_fail(builder->err, ANNALS_E_MALFORMED,
			"the bytes are no FileDescriptorSet: a file in it cannot be read");
	}
	const char *copy = arena_text(&builder->pool->arena, buf_bytes(&builder->scratch));
	if (copy == NULL) {
		return builder_no_memory(builder);
	}
	*ret_copy = bytes_of(copy, builder->scratch.size);
	return 0;
}

static int check_file_name(struct builder *builder, struct bytes name)
{
	if (name.size == 0 || !utf8_is_valid(name)) {
		return error_fail(builder->err, ANNALS_E_VALIDATION,
			"a file of the descriptor set has no name, or one that is not UTF-8");
	}
	for (size_t i = 0; i < name.size; i++) {
		if (name.data[i] < 0x20 || name.data[i] == 0x7f) {
			return error_fail(builder->err, ANNALS_E_VALIDATION,
				"a file name of the descriptor set has control characters");
		}
	}
	if (name.size > DESCRIPTOR_NAME_BYTES_MAX) {
		return error_fail(builder->err, ANNALS_E_TOO_LARGE,
			"the file name '%.60s...' is longer than %u bytes", (const char *)name.data,
			DESCRIPTOR_NAME_BYTES_MAX);
	}
	return 0;
}

/* What the file says of itself, but for what it declares. */
static int read_header(struct builder *builder, struct file_build *build)
{
	struct descriptor_file *file = build->file;
	struct bytes package = {NULL, 0};
	struct bytes syntax = bytes_text("proto2");
	struct field field;
	size_t cursor = 0;
	size_t imports = 0;
	bool editions = false;
	while (field_next(file->encoded, &cursor, &field) == 1) {
		if (field.tag == FIELD_TAG(2, WIRE_BYTES)) {
			package = field.bytes;
		} else if (field.tag == FIELD_TAG(3, WIRE_BYTES)) {
			imports++;
		} else if (field.tag == FIELD_TAG(8, WIRE_BYTES)) {
			file->options = field.bytes;
		} else if (field.tag == FIELD_TAG(12, WIRE_BYTES)) {
			syntax = field.bytes;
		} else if (FIELD_NUMBER(field.tag) == 14) {
			editions = true;
		}
	}
	file->proto3 = bytes_is(syntax, "proto3");
	if (editions || (!file->proto3 && !bytes_is(syntax, "proto2"))) {
		return builder_fail(builder, ANNALS_E_VALIDATION, file, NULL,
			"the syntax '%.*s' is not supported; proto2 and proto3 are",
			(int)ANNALS_MIN(syntax.size, 40u), syntax.data);
	}
	struct arena *arena = &builder->pool->arena;
	file->package = arena_text(arena, package);
	build->imports = arena_alloc(arena, imports, sizeof(*build->imports));
	build->import_public = arena_alloc(arena, imports, 1);
	if (file->package == NULL || build->imports == NULL || build->import_public == NULL) {
		return builder_no_memory(builder);
	}
	if (package.size > DESCRIPTOR_NAME_BYTES_MAX || strlen(file->package) != package.size) {
		return builder_fail(builder, ANNALS_E_VALIDATION, file, NULL,
			"the package's name is too long or contains a zero byte");
	}
	file->imports = build->imports;
	file->import_public = build->import_public;
	file->import_count = imports;
	return 0;
}

/* True when the base has the file and it is to be taken from there. */
static bool base_has(struct builder *builder, struct bytes name, struct bytes encoded)
{
	const struct descriptor_file *other = descriptor_pool_find_file(builder->pool->base, name);
	return other != NULL &&
	       (bytes_is(name, ANNALS_OPTIONS_FILE) || bytes_equal(other->encoded, encoded));
}

static int add_file(struct builder *builder, struct bytes given)
{
	struct bytes encoded;
	struct bytes name = {NULL, 0};
	struct field field;
	size_t cursor = 0;
	int status = copy_file(builder, given, &encoded);
	if (status != 0) {
		return status;
	}
	while (field_next(encoded, &cursor, &field) == 1) {
		if (field.tag == FIELD_TAG(1, WIRE_BYTES)) {
			name = field.bytes;
		}
	}
	status = check_file_name(builder, name);
	if (status != 0 || base_has(builder, name, encoded)) {
		return status;
	}
	struct descriptor_pool *pool = builder->pool;
	struct file_build build = {
		.file = arena_alloc(&pool->arena, 1, sizeof(struct descriptor_file))};
	if (build.file == NULL) {
		return builder_no_memory(builder);
	}
	build.file->encoded = encoded;
	build.file->name = arena_text(&pool->arena, name);
	if (build.file->name == NULL) {
		return builder_no_memory(builder);
	}
	name = bytes_text(build.file->name);
	if (symbols_find(&pool->file_names, name) != NULL) {
		return error_fail(builder->err, ANNALS_E_VALIDATION,
			"the file '%.100s' is in the descriptor set twice", build.file->name);
	}
	if (pool->file_names.count == DESCRIPTOR_FILES_MAX) {
		return error_fail(builder->err, ANNALS_E_TOO_LARGE,
			"the descriptor set has more than %u files", DESCRIPTOR_FILES_MAX);
	}
	const struct symbol symbol = {.name = name, .kind = SYMBOL_FILE, .file = build.file};
	if (symbols_add(&pool->file_names, &symbol) != 0 ||
		buf_add(&builder->files, &build, sizeof(build)) != 0) {
		return builder_no_memory(builder);
	}
	return 0;
}

static int resolve_imports(struct builder *builder, struct file_build *build)
{
	struct descriptor_file *file = build->file;
	uint8_t *import_public = (uint8_t *)(uintptr_t)build->import_public;
	struct field field;
	size_t cursor = 0;
	size_t count = 0;
	while (field_next(file->encoded, &cursor, &field) == 1) {
		if (field.tag != FIELD_TAG(3, WIRE_BYTES)) {
			continue;
		}
		const struct descriptor_file *import =
			descriptor_pool_find_file(builder->pool, field.bytes);
		if (import == NULL) {
			return builder_fail(builder, ANNALS_E_VALIDATION, file, NULL,
				"the import '%.*s' is missing",
				(int)ANNALS_MIN(field.bytes.size, 100u), field.bytes.data);
		}
		build->imports[count++] = import;
	}
	cursor = 0;
	while (field_next(file->encoded, &cursor, &field) == 1) {
		if (field.tag == FIELD_TAG(10, WIRE_VARINT) && field.value < count) {
			import_public[field.value] = 1;
		} else if (FIELD_NUMBER(field.tag) == 10) {
			return builder_fail(builder, ANNALS_E_VALIDATION, file, NULL,
				"a public import is not among the imports");
		}
	}
	return 0;
}

/* The file's place in builder->files; NULL for one of the base. */
static struct file_build *build_of(struct file_build *files, size_t count,
	const struct descriptor_file *file, const struct descriptor_pool *pool)
{
	const size_t place = (size_t)file->id - pool->files_below;
	return file->id >= pool->files_below && place < count ? &files[place] : NULL;
}

/* Appends the file and all it imports to pool->files, each after its imports. */
static int order_from(struct builder *builder, struct file_build *first, struct file_build **stack)
{
	size_t count;
	size_t depth = 0;
	struct file_build *files = builder_files(builder, &count);
	struct descriptor_pool *pool = builder->pool;
	stack[depth++] = first;
	first->state = FILE_OPEN;
	while (depth > 0) {
		struct file_build *top = stack[depth - 1];
		if (top->next == top->file->import_count) {
			top->state = FILE_DONE;
			pool->files[pool->file_count++] = top->file;
			depth--;
			continue;
		}
		const struct descriptor_file *import = top->imports[top->next++];
		struct file_build *build = build_of(files, count, import, pool);
		if (build == NULL || build->state == FILE_DONE) {
			continue;
		}
		if (build->state == FILE_OPEN) {
			return builder_fail(builder, ANNALS_E_VALIDATION, build->file, NULL,
				build == top ? "the file '%.80s' imports itself"
					     : "the imports form a circle through '%.80s'",
				top->file->name);
		}
		build->state = FILE_OPEN;
		stack[depth++] = build;
	}
	return 0;
}

int builder_load(struct builder *builder, struct bytes set)
{
	struct field field;
	size_t cursor = 0;
	int more;
	int status = 0;
	while ((more = field_next(set, &cursor, &field)) == 1) {
		if (field.tag == FIELD_TAG(1, WIRE_BYTES)) {
			status = add_file(builder, field.bytes);
		}
		if (status != 0) {
			return status;
		}
	}
	if (more < 0 || set.size == 0) {
		return error_fail(builder->err, ANNALS_E_MALFORMED,
			"the bytes are no FileDescriptorSet: byte %zu cannot be read", cursor);
	}
	size_t count;
	struct file_build *files = builder_files(builder, &count);
	struct descriptor_pool *pool = builder->pool;
	for (size_t i = 0; i < count && status == 0; i++) {
		files[i].file->id = (uint32_t)(pool->files_below + i);
		status = read_header(builder, &files[i]);
		status = status == 0 ? resolve_imports(builder, &files[i]) : status;
	}
	if (status != 0) {
		return status;
	}
	pool->files = arena_alloc(&pool->arena, count, sizeof(struct descriptor_file *));
	struct file_build **stack = calloc(count + 1, sizeof(struct file_build *));
	if (pool->files == NULL || stack == NULL) {
		free(stack);
		return builder_no_memory(builder);
	}
	for (size_t i = 0; i < count && status == 0; i++) {
		status = files[i].state == FILE_NEW ? order_from(builder, &files[i], stack) : 0;
	}
	free(stack);
	return status;
}
