/*
 * Control messages other than the hot ones, through protobuf-c, from bytes that nobody vouches for.
 *
 * protobuf-c 1.4 allocates once per message and field, has no depth limit, does not check UTF-8 and
 * hands out strings that end at the first NUL. So the bytes are walked first against the message's
 * descriptor, with an explicit stack, and only then unpacked, into an arena that is thrown away as
 * a whole:
 *
 *   struct unpack_arena arena;
 *   unpack_arena_init(&arena, UNPACK_ARENA_BYTES_MAX);
 *   ProtobufCMessage *message;
 *   status = unpack_message(&arena, &annals__v1__ping_request__descriptor, control, &message, err);
 *   Annals__V1__PingRequest *request = (Annals__V1__PingRequest *)message;
 *   ...
 *   unpack_arena_reset(&arena);          (or release; never protobuf_c_message_free_unpacked())
 *
 * Not thread-safe: an arena belongs to one thread.
 */
#ifndef ANNALS_UNPACK_H
#define ANNALS_UNPACK_H

#include <annals/buf.h>
#include <annals/error.h>
#include <protobuf-c/protobuf-c.h>

#define UNPACK_DEPTH_MAX 16 /* messages within messages; Annals' own need 4 */
#define UNPACK_ARENA_BYTES_MAX (16u << 20)

/*
 * Memory that grows in chunks and is freed at once: a bump allocator, as in any arena since Hanson,
 * "Fast Allocation and Deallocation of Memory Based on Object Lifetimes" (1990). Allocations are
 * aligned to 16 bytes.
 */
struct unpack_arena {
	struct unpack_chunk *chunks; /* newest first */
	size_t used_bytes;           /* of the newest chunk */
	size_t total_bytes;          /* of all chunks */
	size_t bytes_max;
	int failure;                  /* why the last failed allocation failed, 0 if none did */
	ProtobufCAllocator allocator; /* for protobuf-c: alloc bumps, free does nothing */
};

/* Allocates nothing yet. The structure must not move afterwards. */
void unpack_arena_init(struct unpack_arena *arena, size_t bytes_max);
/* Forgets everything that was unpacked and keeps the first chunk (a few KiB) for the next message.
 */
void unpack_arena_reset(struct unpack_arena *arena);
/* Frees all memory; the arena can go on being used. NULL is a no-op. */
void unpack_arena_release(struct unpack_arena *arena);
/* bytes > 0, uninitialised; NULL without memory (failure: ANNALS_E_NO_MEMORY) or
 * beyond the limit (ANNALS_E_TOO_LARGE). */
void *unpack_arena_alloc(struct unpack_arena *arena, size_t bytes);

/*
 * Checks `encoded` against the descriptor and unpacks it. The message lives until the arena is
 * reset or released and borrows nothing from `encoded`. ANNALS_E_MALFORMED (protobuf syntax, a
 * known field of the wrong wire type, a string that is not UTF-8 or holds a NUL; err names the
 * field), ANNALS_E_TOO_LARGE (deeper than UNPACK_DEPTH_MAX, or more memory than the arena may
 * take), ANNALS_E_NO_MEMORY. Unknown fields are kept as protobuf-c does.
 */
int unpack_message(struct unpack_arena *arena, const ProtobufCMessageDescriptor *descriptor,
	struct bytes encoded, ProtobufCMessage **ret_message, struct error *err) ANNALS_MUST_CHECK;

/* The checks of unpack_message() alone; allocates nothing. */
int unpack_check(const ProtobufCMessageDescriptor *descriptor, struct bytes encoded,
	struct error *err) ANNALS_MUST_CHECK;

/* Appends the encoded message. 0 or ANNALS_E_NO_MEMORY. */
int pack_message(const ProtobufCMessage *message, struct buf *out) ANNALS_MUST_CHECK;

#endif
