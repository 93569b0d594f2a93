/* One schema: its stored form and what is linked from it. */
#include "registry_internal.h"

#include <stdlib.h>

#define STORED_VERSION 1u

/* A schema with what it owns. */
struct owned_schema {
	struct registry_schema schema; /* first */
	uint8_t *stored;
	struct registry_reference *references;
};

static int add_u32(struct buf *out, uint32_t value)
{
	uint8_t bytes[4];
	store_u32(bytes, value);
	return buf_add(out, bytes, sizeof(bytes));
}

static int add_text(struct buf *out, struct bytes text)
{
	const int status = add_u32(out, (uint32_t)text.size);
	return status != 0 || text.size == 0 ? status : buf_add(out, text.data, text.size);
}

int registry_parts_encode(const struct registry_parts *parts, struct buf *out)
{
	uint8_t head[16] = {STORED_VERSION};
	store_u64(head + 4, parts->registered_us);
	store_u32(head + 12, (uint32_t)parts->reference_count);
	int status = buf_add(out, head, sizeof(head));
	for (size_t i = 0; i < parts->reference_count && status == 0; i++) {
		const struct registry_reference *reference = &parts->references[i];
		status = add_u32(out, reference->version);
		status = status != 0 ? status : add_text(out, reference->name);
		status = status != 0 ? status : add_text(out, reference->subject);
	}
	status = status != 0 ? status : add_text(out, parts->file);
	status = status != 0 ? status : add_text(out, parts->text);
	return status != 0 ? status : add_text(out, parts->set);
}

static bool take_u32(struct bytes *rest, uint32_t *ret)
{
	if (rest->size < 4) {
		return false;
	}
	*ret = load_u32(rest->data);
	*rest = bytes_of(rest->data + 4, rest->size - 4);
	return true;
}

static bool take_text(struct bytes *rest, struct bytes *ret)
{
	uint32_t size;
	if (!take_u32(rest, &size) || size > rest->size) {
		return false;
	}
	*ret = bytes_of(rest->data, size);
	*rest = bytes_of(rest->data + size, rest->size - size);
	return true;
}

static int decode(struct owned_schema *owned, struct bytes stored, struct bytes *ret_file)
{
	struct registry_schema *schema = &owned->schema;
	uint32_t count;
	if (stored.size < 16 || stored.data[0] != STORED_VERSION) {
		return ANNALS_E_CORRUPT_DATA;
	}
	schema->registered_us = load_u64(stored.data + 4);
	count = load_u32(stored.data + 12);
	if (count > REGISTRY_REFERENCES_MAX) {
		return ANNALS_E_CORRUPT_DATA;
	}
	owned->references = calloc(count + 1, sizeof(*owned->references));
	if (owned->references == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	stored = bytes_of(stored.data + 16, stored.size - 16);
	for (uint32_t i = 0; i < count; i++) {
		struct registry_reference *reference = &owned->references[i];
		if (!take_u32(&stored, &reference->version) ||
			!take_text(&stored, &reference->name) ||
			!take_text(&stored, &reference->subject)) {
			return ANNALS_E_CORRUPT_DATA;
		}
	}
	schema->references = owned->references;
	schema->reference_count = count;
	return take_text(&stored, ret_file) && take_text(&stored, &schema->text) &&
			       take_text(&stored, &schema->set) && stored.size == 0
		       ? 0
		       : ANNALS_E_CORRUPT_DATA;
}

int registry_schema_new(struct descriptor_pool *builtin, uint32_t id, struct buf *stored,
	struct descriptor_pool *pool, struct registry_schema **ret, struct error *err)
{
	struct owned_schema *owned = calloc(1, sizeof(*owned));
	struct error inner = {0};
	struct bytes file = {NULL, 0};
	size_t size = 0;
	int status;
	if (owned == NULL) {
		buf_release(stored);
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a schema");
	}
	owned->stored = buf_detach(stored, &size);
	owned->schema.id = id;
	status = decode(owned, bytes_of(owned->stored, size), &file);
	if (status == 0 && pool != NULL) {
		owned->schema.pool = descriptor_pool_ref(pool);
	} else if (status == 0 && owned->schema.set.size == 0) {
		/* Nothing but what is built in, such as descriptor.proto itself. */
		owned->schema.pool = descriptor_pool_ref(builtin);
	} else if (status == 0) {
		status = descriptor_pool_build(
			builtin, owned->schema.set, &owned->schema.pool, &inner);
	}
	if (status == 0) {
		owned->schema.file = descriptor_pool_find_file(owned->schema.pool, file);
		status = owned->schema.file != NULL ? 0 : ANNALS_E_CORRUPT_DATA;
	}
	if (status != 0) {
		registry_schema_free(&owned->schema);
		status = status == ANNALS_E_NO_MEMORY ? status : ANNALS_E_CORRUPT_DATA;
		return error_fail(err, status, "cannot load the schema with the id %u: %s", id,
			inner.text[0] != 0 ? inner.text : annals_status_text(status));
	}
	*ret = &owned->schema;
	return 0;
}

void registry_schema_free(struct registry_schema *schema)
{
	if (schema == NULL) {
		return;
	}
	struct owned_schema *owned = ANNALS_CONTAINER_OF(schema, struct owned_schema, schema);
	descriptor_pool_unref(schema->pool);
	free(owned->references);
	free(owned->stored);
	free(owned);
}

uint64_t registry_schema_memory(const struct registry_schema *schema)
{
	return sizeof(struct owned_schema) + schema->text.size + schema->set.size +
	       descriptor_pool_memory_bytes(schema->pool);
}

bool registry_schema_is(const struct registry_schema *schema, const struct registry_parts *parts)
{
	if (!bytes_equal(schema->text, parts->text) ||
		schema->reference_count != parts->reference_count ||
		!bytes_is(parts->file, schema->file->name) ||
		(schema->text.size == 0 && !bytes_equal(schema->set, parts->set))) {
		return false;
	}
	for (size_t i = 0; i < parts->reference_count; i++) {
		const struct registry_reference *a = &schema->references[i];
		const struct registry_reference *b = &parts->references[i];
		if (a->version != b->version || !bytes_equal(a->name, b->name) ||
			!bytes_equal(a->subject, b->subject)) {
			return false;
		}
	}
	return true;
}

/* ---- Which message ---- */

static const struct descriptor_message *find_in_file(
	const struct registry_schema *schema, struct bytes full_name)
{
	const struct descriptor_message *message =
		descriptor_pool_find_message(schema->pool, full_name);
	return message != NULL && message->file == schema->file && !message->map_entry ? message
										       : NULL;
}

const struct descriptor_message *registry_named_message(
	const struct registry_schema *schema, struct bytes subject)
{
	const struct descriptor_message *message = find_in_file(schema, subject);
	for (size_t i = 0; i < subject.size && message == NULL; i++) {
		if (subject.data[i] == '-') {
			message = find_in_file(
				schema, bytes_of(subject.data + i + 1, subject.size - i - 1));
		}
	}
	return message;
}

const struct descriptor_message *registry_main_message(
	const struct registry_schema *schema, struct bytes subject)
{
	const struct descriptor_message *message = registry_named_message(schema, subject);
	if (message != NULL) {
		return message;
	}
	return schema->file->message_count > 0 ? schema->file->messages[0] : NULL;
}
