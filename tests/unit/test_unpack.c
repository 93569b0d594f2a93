/* Unpacking control messages that nobody vouches for. */
#include <annals/hash.h>
#include <annals/unpack.h>
#include <stdlib.h>

#include "hex.h"
#include "suite.h"
#include "wire.pb-c.h"

static struct buf out;
static struct error err;
static struct unpack_arena arena;
static ProtobufCMessage *message;

static void setup(void)
{
	out = BUF_INIT;
	err = (struct error){0};
	message = NULL;
	unpack_arena_init(&arena, UNPACK_ARENA_BYTES_MAX);
}

static void teardown(void)
{
	buf_release(&out);
	unpack_arena_release(&arena);
	unpack_arena_release(NULL);
}

static int unpack(const ProtobufCMessageDescriptor *descriptor)
{
	return unpack_message(&arena, descriptor, buf_bytes(&out), &message, &err);
}

static int unpack_hex(const ProtobufCMessageDescriptor *descriptor, const char *text)
{
	buf_reset(&out);
	hex_parse(text, &out);
	return unpack(descriptor);
}

static void pack_create_request(void)
{
	char name[] = "earthquakes";
	Annals__V1__TopicConfig config;
	Annals__V1__TopicCreateRequest request;
	annals__v1__topic_config__init(&config);
	annals__v1__topic_create_request__init(&request);
	config.partitions = 4;
	config.retention_bytes = UINT64_MAX;
	request.name = name;
	request.config = &config;
	ck_assert_int_eq(pack_message(&request.base, &out), 0);
}

START_TEST(test_unpack_round_trip)
{
	pack_create_request();
	ck_assert_int_eq(unpack(&annals__v1__topic_create_request__descriptor), 0);
	const Annals__V1__TopicCreateRequest *request =
		(const Annals__V1__TopicCreateRequest *)message;
	memset(out.data, 0xff, out.size); /* nothing is borrowed */
	ck_assert_str_eq(request->name, "earthquakes");
	ck_assert_uint_eq(request->config->partitions, 4);
	ck_assert_uint_eq(request->config->retention_bytes, UINT64_MAX);
	ck_assert_str_eq(err.text, "");
}
END_TEST

START_TEST(test_unpack_nothing_is_a_message)
{
	ck_assert_int_eq(unpack(&annals__v1__ping_request__descriptor), 0);
	ck_assert_ptr_nonnull(message);
	ck_assert_int_eq(unpack(&annals__v1__topic_create_request__descriptor), 0);
	ck_assert_ptr_null(((Annals__V1__TopicCreateRequest *)message)->config);
}
END_TEST

START_TEST(test_unpack_arena_is_used_again)
{
	pack_create_request();
	ck_assert_int_eq(unpack(&annals__v1__topic_create_request__descriptor), 0);
	size_t total = arena.total_bytes;
	for (int i = 0; i < 10000; i++) {
		unpack_arena_reset(&arena);
		ck_assert_int_eq(unpack(&annals__v1__topic_create_request__descriptor), 0);
	}
	ck_assert_uint_eq(arena.total_bytes, total);
}
END_TEST

START_TEST(test_unpack_arena_alignment_and_growth)
{
	struct random random_source = {1};
	uint8_t *previous = NULL;
	for (int i = 0; i < 1000; i++) {
		size_t bytes = 1 + random_below(&random_source, 3000);
		uint8_t *memory = unpack_arena_alloc(&arena, bytes);
		ck_assert_ptr_nonnull(memory);
		ck_assert_uint_eq((uintptr_t)memory % 16, 0);
		ck_assert_ptr_ne(memory, previous);
		memset(memory, i, bytes);
		previous = memory;
	}
	ck_assert_uint_le(arena.total_bytes, UNPACK_ARENA_BYTES_MAX);
	ck_assert_ptr_null(unpack_arena_alloc(&arena, SIZE_MAX));
	ck_assert_int_eq(arena.failure, ANNALS_E_TOO_LARGE);
	unpack_arena_reset(&arena);
	ck_assert_int_eq(arena.failure, 0);
	ck_assert_uint_eq(arena.total_bytes, 4096);
}
END_TEST

START_TEST(test_unpack_memory_limit)
{
	/* 2 bytes on the wire become a structure: 100,000 empty partitions. */
	for (int i = 0; i < 100000; i++) {
		ck_assert_int_eq(buf_add(&out, "\x32\x00", 2), 0);
	}
	ck_assert_int_eq(unpack(&annals__v1__topic_info__descriptor), 0);
	ck_assert_uint_eq(((Annals__V1__TopicInfo *)message)->n_partition, 100000);
	struct unpack_arena small;
	unpack_arena_init(&small, 65536);
	ASSERT_FAILS(unpack_message(&small, &annals__v1__topic_info__descriptor, buf_bytes(&out),
			     &message, &err),
		ANNALS_E_TOO_LARGE, err, "more memory than the limit, 65536 bytes");
	buf_reset(&out);
	pack_create_request();
	unpack_arena_reset(&small);
	ck_assert_int_eq(unpack_message(&small, &annals__v1__topic_create_request__descriptor,
				 buf_bytes(&out), &message, &err),
		0);
	unpack_arena_release(&small);
}
END_TEST

START_TEST(test_unpack_malformed_bytes)
{
	static const struct {
		const char *hex;
		const char *says;
	} cases[] = {
		{"0a 02 61", "message 'TopicCreateRequest' is malformed"},
		{"0a ff ff ff ff 0f", "malformed"},
		{"0a 80 80 80 80 08", "malformed"},
		{"08 01", "field 'name' of message 'TopicCreateRequest' has the wrong wire type"},
		{"12 02 0a 00", "field 'partitions' of message 'TopicConfig' has the wrong"},
		{"12 02 08 80", "message 'TopicConfig' is malformed"},
		{"0a 01 ff", "field 'name' of message 'TopicCreateRequest' is not valid UTF-8"},
		{"0a 03 61 00 62", "holds a NUL character"},
		{"0b 0c", "malformed"},
		{"00 00", "malformed"},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		ASSERT_FAILS(
			unpack_hex(&annals__v1__topic_create_request__descriptor, cases[i].hex),
			ANNALS_E_MALFORMED, err, cases[i].says);
		ck_assert_ptr_null(message);
	}
}
END_TEST

START_TEST(test_unpack_truncated_at_every_byte)
{
	pack_create_request();
	size_t whole = out.size;
	for (size_t size = 0; size < whole; size++) {
		out.size = size;
		int status = unpack(&annals__v1__topic_create_request__descriptor);
		ck_assert(status == ANNALS_E_MALFORMED || size == 0 || size == 13);
		unpack_arena_reset(&arena);
	}
}
END_TEST

/* No message of ours nests deeply; a descriptor that contains itself stands for those that will. */
START_TEST(test_unpack_depth_limit)
{
	static ProtobufCFieldDescriptor field;
	static ProtobufCMessageDescriptor recursive;
	static const ProtobufCIntRange ranges[] = {{1, 0}, {0, 1}};
	static const unsigned by_name[] = {0};
	field = (ProtobufCFieldDescriptor){.name = "self",
		.id = 1,
		.label = PROTOBUF_C_LABEL_OPTIONAL,
		.type = PROTOBUF_C_TYPE_MESSAGE,
		.descriptor = &recursive};
	recursive = (ProtobufCMessageDescriptor){.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
		.short_name = "Recursive",
		.n_fields = 1,
		.fields = &field,
		.fields_sorted_by_name = by_name,
		.n_field_ranges = 1,
		.field_ranges = ranges};
	for (int depth = 1; depth < 60; depth++) {
		buf_reset(&out);
		for (int i = 0; i < depth - 1; i++) {
			ck_assert_int_eq(buf_add_byte(&out, 0x0a), 0);
			ck_assert_int_eq(buf_add_byte(&out, (uint8_t)(2 * (depth - 2 - i))), 0);
		}
		int status = unpack_check(&recursive, buf_bytes(&out), &err);
		ck_assert_int_eq(status, depth <= UNPACK_DEPTH_MAX ? 0 : ANNALS_E_TOO_LARGE);
	}
	ck_assert_str_eq(err.text, "the message is nested deeper than 16 levels");
}
END_TEST

START_TEST(test_unpack_random_damage)
{
	struct random random_source = {99};
	pack_create_request();
	size_t size = out.size;
	uint8_t before[256];
	ck_assert_uint_le(size, sizeof(before));
	memcpy(before, out.data, size);
	for (int i = 0; i < 20000; i++) {
		memcpy(out.data, before, size);
		for (int j = 0; j < 3; j++) {
			out.data[random_below(&random_source, size)] =
				(uint8_t)random_next(&random_source);
		}
		int status = unpack(&annals__v1__topic_create_request__descriptor);
		ck_assert(status == 0 || status == ANNALS_E_MALFORMED);
		unpack_arena_reset(&arena);
	}
}
END_TEST

SUITE_MAIN("unpack", setup, teardown, test_unpack_round_trip, test_unpack_nothing_is_a_message,
	test_unpack_arena_is_used_again, test_unpack_arena_alignment_and_growth,
	test_unpack_memory_limit, test_unpack_malformed_bytes, test_unpack_truncated_at_every_byte,
	test_unpack_depth_limit, test_unpack_random_damage)
