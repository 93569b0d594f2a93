#include <annals/unpack.h>

#include <annals/macros.h>
#include <assert.h>
#include <stdlib.h>

#include "field.h"

#define CHUNK_BYTES_MIN 4096u
#define ALIGNMENT 16u

struct unpack_chunk {
	struct unpack_chunk *older;
	size_t bytes; /* of data */
	_Alignas(ALIGNMENT) uint8_t data[];
};

static void *allocator_alloc(void *data, size_t bytes)
{
	return unpack_arena_alloc(data, ANNALS_MAX(bytes, 1));
}

static void allocator_free(void *data, void *pointer)
{
	(void)data;
	(void)pointer;
}

void unpack_arena_init(struct unpack_arena *arena, size_t bytes_max)
{
	*arena = (struct unpack_arena){.bytes_max = bytes_max};
	arena->allocator = (ProtobufCAllocator){
		.alloc = allocator_alloc, .free = allocator_free, .allocator_data = arena};
}

/* Frees all chunks down to the oldest `keep` (0 or 1). */
static void free_chunks(struct unpack_arena *arena, bool keep_oldest)
{
	while (arena->chunks != NULL && !(keep_oldest && arena->chunks->older == NULL)) {
		struct unpack_chunk *chunk = arena->chunks;
		arena->chunks = chunk->older;
		arena->total_bytes -= chunk->bytes;
		free(chunk);
	}
	arena->used_bytes = 0;
	arena->failure = 0;
}

void unpack_arena_reset(struct unpack_arena *arena)
{
	bool is_small = arena->chunks == NULL || arena->total_bytes <= arena->bytes_max / 2;
	free_chunks(arena, is_small);
}

void unpack_arena_release(struct unpack_arena *arena)
{
	if (arena != NULL) {
		free_chunks(arena, false);
	}
}

static bool add_chunk(struct unpack_arena *arena, size_t bytes)
{
	/* Each chunk is as large as all before it together, so that there are few. */
	size_t wanted = ANNALS_MAX(ANNALS_MAX(arena->total_bytes, CHUNK_BYTES_MIN), bytes);
	size_t left = arena->bytes_max - arena->total_bytes;
	wanted = ANNALS_MIN(wanted, left);
	if (wanted < bytes) {
		arena->failure = ANNALS_E_TOO_LARGE;
		return false;
	}
	struct unpack_chunk *chunk = malloc(sizeof(*chunk) + wanted);
	if (chunk == NULL) {
		arena->failure = ANNALS_E_NO_MEMORY;
		return false;
	}
	chunk->older = arena->chunks;
	chunk->bytes = wanted;
	arena->chunks = chunk;
	arena->total_bytes += wanted;
	arena->used_bytes = 0;
	return true;
}

void *unpack_arena_alloc(struct unpack_arena *arena, size_t bytes)
{
	assert(bytes > 0);
	if (bytes > arena->bytes_max) {
		arena->failure = ANNALS_E_TOO_LARGE;
		return NULL;
	}
	size_t rounded = ANNALS_ROUND_UP(bytes, ALIGNMENT);
	if (arena->chunks == NULL || arena->chunks->bytes - arena->used_bytes < rounded) {
		if (!add_chunk(arena, rounded)) {
			return NULL;
		}
	}
	void *result = arena->chunks->data + arena->used_bytes;
	arena->used_bytes += rounded;
	return result;
}

struct level {
	const ProtobufCMessageDescriptor *descriptor;
	struct bytes encoded;
	size_t cursor;
};

static uint32_t wire_type_of(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return WIRE_FIXED32;
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return WIRE_FIXED64;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return WIRE_BYTES;
	default:
		return WIRE_VARINT;
	}
}

static int field_fail(const struct level *level, const ProtobufCFieldDescriptor *known,
	const char *what, struct error *err)
{
	return error_fail(err, ANNALS_E_MALFORMED, "field '%s' of message '%s' %s", known->name,
		level->descriptor->short_name, what);
}

/* Checks one field; a message is pushed on the stack. */
static int check_field(
	struct level *stack, size_t *depth, const struct field *field, struct error *err)
{
	struct level *level = &stack[*depth - 1];
	const ProtobufCFieldDescriptor *known = protobuf_c_message_descriptor_get_field(
		level->descriptor, FIELD_NUMBER(field->tag));
	if (known == NULL) {
		return 0;
	}
	if ((field->tag & 7) != wire_type_of(known)) {
		bool is_packed =
			(field->tag & 7) == WIRE_BYTES && known->label == PROTOBUF_C_LABEL_REPEATED;
		return is_packed ? 0 : field_fail(level, known, "has the wrong wire type", err);
	}
	if (known->type == PROTOBUF_C_TYPE_STRING) {
		if (!field_is_utf8(field->bytes)) {
			return field_fail(level, known, "is not valid UTF-8", err);
		}
		if (field->bytes.size > 0 &&
			memchr(field->bytes.data, 0, field->bytes.size) != NULL) {
			return field_fail(level, known, "holds a NUL character", err);
		}
	}
	if (known->type == PROTOBUF_C_TYPE_MESSAGE) {
		if (*depth == UNPACK_DEPTH_MAX) {
			return error_fail(err, ANNALS_E_TOO_LARGE,
				"the message is nested deeper than %d levels", UNPACK_DEPTH_MAX);
		}
		stack[(*depth)++] = (struct level){known->descriptor, field->bytes, 0};
	}
	return 0;
}

int unpack_check(
	const ProtobufCMessageDescriptor *descriptor, struct bytes encoded, struct error *err)
{
	struct level stack[UNPACK_DEPTH_MAX];
	size_t depth = 1;
	stack[0] = (struct level){descriptor, encoded, 0};
	while (depth > 0) {
		struct level *level = &stack[depth - 1];
		struct field field;
		int more = field_next(level->encoded, &level->cursor, &field);
		if (more < 0) {
			return error_fail(err, ANNALS_E_MALFORMED, "message '%s' is malformed",
				level->descriptor->short_name);
		}
		if (more == 0) {
			depth--;
			continue;
		}
		int status = check_field(stack, &depth, &field, err);
		if (status < 0) {
			return status;
		}
	}
	return 0;
}

int unpack_message(struct unpack_arena *arena, const ProtobufCMessageDescriptor *descriptor,
	struct bytes encoded, ProtobufCMessage **ret_message, struct error *err)
{
	static const uint8_t nothing;
	int status = unpack_check(descriptor, encoded, err);
	if (status < 0) {
		return status;
	}
	arena->failure = 0;
	ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &arena->allocator,
		encoded.size, encoded.size == 0 ? &nothing : encoded.data);
	if (message != NULL) {
		*ret_message = message;
		return 0;
	}
	switch (arena->failure) {
	case ANNALS_E_TOO_LARGE:
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"message '%s' takes more memory than the limit, %zu bytes",
			descriptor->short_name, arena->bytes_max);
	case ANNALS_E_NO_MEMORY:
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to unpack message '%s'",
			descriptor->short_name);
	default:
		/* Syntax that only protobuf-c looks at: packed fields that do not add up. */
		return error_fail(err, ANNALS_E_MALFORMED, "message '%s' cannot be unpacked",
			descriptor->short_name);
	}
}

int pack_message(const ProtobufCMessage *message, struct buf *out)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	int status = buf_reserve(out, size + 1);
	if (status < 0) {
		return status;
	}
	size_t written = protobuf_c_message_pack(message, out->data + out->size);
	assert(written == size);
	out->size += written;
	return 0;
}
