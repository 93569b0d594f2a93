/* Control messages. The first byte chooses one: those of the hot path are compared with protobuf-c,
 * the others go through unpack_message(). */
#include <annals/unpack.h>
#include <annals/wire.h>

#include "fuzz.h"
#include "meta.pb-c.h"
#include "wire.pb-c.h"

static int decode_append(struct bytes bytes)
{
	struct wire_append_request request;
	struct wire_append_batch batch;
	struct error err;
	size_t cursor = 0;
	uint32_t count = 0;
	int status = wire_append_request_decode(bytes, &request, &err);
	if (status != 0) {
		return status;
	}
	while ((status = wire_append_next_batch(&request, &cursor, &batch)) == 1) {
		count++;
	}
	FUZZ_REQUIRE(status < 0 || count == request.batch_count);
	return status;
}

static int decode_appended(struct bytes bytes)
{
	struct wire_append_response response;
	struct wire_append_run run;
	struct error err;
	size_t cursor = 0;
	uint32_t count = 0;
	int status = wire_append_response_decode(bytes, &response, &err);
	if (status != 0) {
		return status;
	}
	while ((status = wire_append_next_run(&response, &cursor, &run)) == 1) {
		count++;
	}
	FUZZ_REQUIRE(status < 0 || count == response.run_count);
	return status;
}

static int decode_fetch(struct bytes bytes)
{
	struct wire_fetch_request request, again;
	struct error err;
	int status = wire_fetch_request_decode(bytes, &request, &err);
	if (status == 0) {
		struct buf out = BUF_INIT;
		FUZZ_REQUIRE(wire_fetch_request_encode(&out, &request) == 0);
		FUZZ_REQUIRE(wire_fetch_request_decode(buf_bytes(&out), &again, &err) == 0);
		FUZZ_REQUIRE(bytes_equal(request.topic, again.topic) &&
			     request.offset == again.offset && request.codecs == again.codecs);
		buf_release(&out);
	}
	return status;
}

static int decode_fetched(struct bytes bytes)
{
	struct wire_fetch_response response;
	struct error err;
	return wire_fetch_response_decode(bytes, &response, &err);
}

static int decode_push(struct bytes bytes)
{
	struct wire_push push;
	struct error err;
	return wire_push_decode(bytes, &push, &err);
}

static const struct {
	int (*decode)(struct bytes bytes);
	const ProtobufCMessageDescriptor *descriptor;
} messages[] = {
	{decode_append, &annals__v1__append_request__descriptor},
	{decode_appended, &annals__v1__append_response__descriptor},
	{decode_fetch, &annals__v1__fetch_request__descriptor},
	{decode_fetched, &annals__v1__fetch_response__descriptor},
	{decode_push, &annals__v1__push__descriptor},
	{NULL, &annals__v1__hello_request__descriptor},
	{NULL, &annals__v1__hello_response__descriptor},
	{NULL, &annals__v1__topic_create_request__descriptor},
	{NULL, &annals__v1__topic_update_request__descriptor},
	{NULL, &annals__v1__topic_list_response__descriptor},
	{NULL, &annals__v1__subscribe_request__descriptor},
	{NULL, &annals__v1__offset_commit_request__descriptor},
	{NULL, &annals__v1__error__descriptor},
	{NULL, &annals__v1__topic_record__descriptor},
	{NULL, &annals__v1__offset_record__descriptor},
};

/* What is accepted packs to something that is accepted and packs to the same. */
static void fuzz_unpack(const ProtobufCMessageDescriptor *descriptor, struct bytes bytes)
{
	struct unpack_arena arena;
	struct buf first = BUF_INIT;
	struct buf second = BUF_INIT;
	ProtobufCMessage *message;
	struct error err;
	unpack_arena_init(&arena, 1 << 20);
	int status = unpack_message(&arena, descriptor, bytes, &message, &err);
	FUZZ_REQUIRE(arena.total_bytes <= 1 << 20);
	if (status == 0) {
		FUZZ_REQUIRE(unpack_check(descriptor, bytes, &err) == 0);
		FUZZ_REQUIRE(pack_message(message, &first) == 0);
		unpack_arena_reset(&arena);
		status = unpack_message(&arena, descriptor, buf_bytes(&first), &message, &err);
		FUZZ_REQUIRE(status == 0 || status == ANNALS_E_TOO_LARGE);
		if (status == 0) {
			FUZZ_REQUIRE(pack_message(message, &second) == 0);
			FUZZ_REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
		}
	}
	buf_release(&first);
	buf_release(&second);
	unpack_arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0) {
		return 0;
	}
	struct bytes rest = bytes_of(data + 1, size - 1);
	size_t which = data[0] % ANNALS_COUNT_OF(messages);
	if (messages[which].decode != NULL) {
		/* The hot decoders accept no more than protobuf-c does; Push leaves its Error
		 * unread. */
		int status = messages[which].decode(rest);
		ProtobufCMessage *message = protobuf_c_message_unpack(
			messages[which].descriptor, NULL, rest.size, rest.data);
		FUZZ_REQUIRE(status == ANNALS_E_MALFORMED || message != NULL ||
			     messages[which].decode == decode_push);
		if (message != NULL) {
			protobuf_c_message_free_unpacked(message, NULL);
		}
	}
	fuzz_unpack(messages[which].descriptor, rest);
	return 0;
}
