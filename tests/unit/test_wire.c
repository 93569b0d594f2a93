/* The hand-written control messages against protobuf-c. */
#include <annals/hash.h>
#include <annals/wire.h>
#include <stdlib.h>

#include "hex.h"
#include "suite.h"
#include "wire.pb-c.h"

#define ROUNDS 500
#define ITEMS_MAX 6

static struct buf out, packed;
static struct error err;
static struct random random_source;

static void setup(void)
{
	out = BUF_INIT;
	packed = BUF_INIT;
	err = (struct error){0};
	random_source = (struct random){42};
}

static void teardown(void)
{
	buf_release(&out);
	buf_release(&packed);
}

/* Zero, small, large or the largest. */
static uint64_t any_u64(void)
{
	uint64_t value = random_next(&random_source);
	switch (random_below(&random_source, 5)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX;
	case 2:
		return value & 0xff;
	default:
		return value >> random_below(&random_source, 64);
	}
}

static uint32_t any_u32(void)
{
	return (uint32_t)any_u64();
}

/* The bytes that protobuf-c makes of the message are those of `out`. */
static void assert_packs_to_out(const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	buf_reset(&packed);
	ck_assert_int_eq(buf_reserve(&packed, size + 1), 0);
	packed.size = protobuf_c_message_pack(message, packed.data);
	ck_assert_uint_eq(packed.size, size);
	ck_assert_uint_eq(out.size, size);
	ck_assert(bytes_equal(buf_bytes(&packed), buf_bytes(&out)));
}

static void assert_batch(const struct wire_append_batch *a, const struct wire_append_batch *b)
{
	ck_assert_uint_eq(a->partition, b->partition);
	ck_assert_uint_eq(a->count, b->count);
	ck_assert_uint_eq(a->body_bytes, b->body_bytes);
	ck_assert_uint_eq(a->body_crc, b->body_crc);
	ck_assert_uint_eq(a->codec, b->codec);
	ck_assert_uint_eq(a->producer_id, b->producer_id);
	ck_assert_uint_eq(a->producer_epoch, b->producer_epoch);
	ck_assert_uint_eq(a->first_sequence, b->first_sequence);
}

START_TEST(test_wire_append_request)
{
	char topic[] = "earthquakes";
	for (int i = 0; i < ROUNDS; i++) {
		struct wire_append_batch batches[ITEMS_MAX];
		Annals__V1__AppendBatch messages[ITEMS_MAX];
		Annals__V1__AppendBatch *pointers[ITEMS_MAX];
		size_t count = random_below(&random_source, ITEMS_MAX + 1);
		for (size_t j = 0; j < count; j++) {
			batches[j] = (struct wire_append_batch){any_u32(), any_u32(), any_u32(),
				any_u32(), any_u32(), any_u64(), any_u32(), any_u32()};
			batches[j].codec &= INT32_MAX; /* protobuf-c keeps enums as int */
			annals__v1__append_batch__init(&messages[j]);
			messages[j].partition = batches[j].partition;
			messages[j].count = batches[j].count;
			messages[j].body_bytes = batches[j].body_bytes;
			messages[j].body_crc = batches[j].body_crc;
			messages[j].codec = (Annals__V1__Codec)batches[j].codec;
			messages[j].producer_id = batches[j].producer_id;
			messages[j].producer_epoch = batches[j].producer_epoch;
			messages[j].first_sequence = batches[j].first_sequence;
			pointers[j] = &messages[j];
		}
		uint32_t durability = (uint32_t)random_below(&random_source, 4);
		Annals__V1__AppendRequest message;
		annals__v1__append_request__init(&message);
		message.topic = topic;
		message.durability = (Annals__V1__Durability)durability;
		message.n_batch = count;
		message.batch = pointers;
		buf_reset(&out);
		ck_assert_int_eq(wire_append_request_encode(
					 &out, bytes_text(topic), durability, batches, count),
			0);
		assert_packs_to_out(&message.base);

		struct wire_append_request request;
		ck_assert_int_eq(wire_append_request_decode(buf_bytes(&packed), &request, &err), 0);
		ck_assert(bytes_is(request.topic, topic));
		ck_assert_uint_eq(request.durability, durability);
		ck_assert_uint_eq(request.batch_count, count);
		struct wire_append_batch batch;
		size_t cursor = 0;
		for (size_t j = 0; j < count; j++) {
			ck_assert_int_eq(wire_append_next_batch(&request, &cursor, &batch), 1);
			assert_batch(&batch, &batches[j]);
		}
		ck_assert_int_eq(wire_append_next_batch(&request, &cursor, &batch), 0);
	}
}
END_TEST

START_TEST(test_wire_append_response)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct wire_append_run runs[ITEMS_MAX];
		Annals__V1__AppendRun messages[ITEMS_MAX];
		Annals__V1__AppendRun *pointers[ITEMS_MAX];
		size_t count = random_below(&random_source, ITEMS_MAX + 1);
		for (size_t j = 0; j < count; j++) {
			runs[j] = (struct wire_append_run){any_u32(), any_u32(), any_u64(),
				any_u64(), any_u64(), random_below(&random_source, 2) == 1,
				random_below(&random_source, 2) == 1};
			annals__v1__append_run__init(&messages[j]);
			messages[j].partition = runs[j].partition;
			messages[j].count = runs[j].count;
			messages[j].base_offset = runs[j].base_offset;
			messages[j].base_position = runs[j].base_position;
			messages[j].first_version = runs[j].first_version;
			messages[j].replayed = runs[j].replayed;
			messages[j].has_version = runs[j].has_version;
			pointers[j] = &messages[j];
		}
		Annals__V1__AppendResponse message;
		annals__v1__append_response__init(&message);
		message.topic_id = any_u32();
		message.recorded_us = any_u64();
		message.durability = ANNALS__V1__DURABILITY__DURABILITY_OS;
		message.n_run = count;
		message.run = pointers;
		buf_reset(&out);
		ck_assert_int_eq(wire_append_response_encode(&out, message.topic_id,
					 message.recorded_us, DURABILITY_OS, runs, count),
			0);
		assert_packs_to_out(&message.base);

		struct wire_append_response response;
		ck_assert_int_eq(
			wire_append_response_decode(buf_bytes(&packed), &response, &err), 0);
		ck_assert_uint_eq(response.topic_id, message.topic_id);
		ck_assert_uint_eq(response.recorded_us, message.recorded_us);
		ck_assert_uint_eq(response.durability, DURABILITY_OS);
		ck_assert_uint_eq(response.run_count, count);
		struct wire_append_run run;
		size_t cursor = 0;
		for (size_t j = 0; j < count; j++) {
			ck_assert_int_eq(wire_append_next_run(&response, &cursor, &run), 1);
			ck_assert_uint_eq(run.partition, runs[j].partition);
			ck_assert_uint_eq(run.count, runs[j].count);
			ck_assert_uint_eq(run.base_offset, runs[j].base_offset);
			ck_assert_uint_eq(run.base_position, runs[j].base_position);
			ck_assert_uint_eq(run.first_version, runs[j].first_version);
			ck_assert_int_eq(run.replayed, runs[j].replayed);
		}
		ck_assert_int_eq(wire_append_next_run(&response, &cursor, &run), 0);
	}
}
END_TEST

START_TEST(test_wire_fetch_request)
{
	char topic[] = "caf\xc3\xa9";
	for (int i = 0; i < ROUNDS; i++) {
		struct wire_fetch_request request = {.topic = bytes_text(topic),
			.partition = any_u32(),
			.offset = any_u64(),
			.bytes_max = any_u32(),
			.wait_ms = any_u32(),
			.codecs = any_u32(),
			.topic_id = any_u32()};
		Annals__V1__FetchRequest message;
		annals__v1__fetch_request__init(&message);
		message.topic = topic;
		message.partition = request.partition;
		message.offset = request.offset;
		message.bytes_max = request.bytes_max;
		message.wait_ms = request.wait_ms;
		message.codecs = request.codecs;
		message.topic_id = request.topic_id;
		buf_reset(&out);
		ck_assert_int_eq(wire_fetch_request_encode(&out, &request), 0);
		assert_packs_to_out(&message.base);
		struct wire_fetch_request found;
		ck_assert_int_eq(wire_fetch_request_decode(buf_bytes(&packed), &found, &err), 0);
		ck_assert(bytes_is(found.topic, topic));
		ck_assert_uint_eq(found.partition, request.partition);
		ck_assert_uint_eq(found.offset, request.offset);
		ck_assert_uint_eq(found.bytes_max, request.bytes_max);
		ck_assert_uint_eq(found.wait_ms, request.wait_ms);
		ck_assert_uint_eq(found.codecs, request.codecs);
		ck_assert_uint_eq(found.topic_id, request.topic_id);
	}
}
END_TEST

START_TEST(test_wire_fetch_response)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct wire_fetch_response response = {any_u32(), any_u64(), any_u64(), any_u64()};
		Annals__V1__FetchResponse message;
		annals__v1__fetch_response__init(&message);
		message.topic_id = response.topic_id;
		message.first_offset = response.first_offset;
		message.end_offset = response.end_offset;
		message.next_offset = response.next_offset;
		buf_reset(&out);
		ck_assert_int_eq(wire_fetch_response_encode(&out, &response), 0);
		assert_packs_to_out(&message.base);
		struct wire_fetch_response found;
		ck_assert_int_eq(wire_fetch_response_decode(buf_bytes(&packed), &found, &err), 0);
		ck_assert_uint_eq(found.topic_id, response.topic_id);
		ck_assert_uint_eq(found.first_offset, response.first_offset);
		ck_assert_uint_eq(found.end_offset, response.end_offset);
		ck_assert_uint_eq(found.next_offset, response.next_offset);
	}
}
END_TEST

START_TEST(test_wire_push)
{
	for (int i = 0; i < ROUNDS; i++) {
		Annals__V1__Push message;
		Annals__V1__Error error_message;
		annals__v1__push__init(&message);
		annals__v1__error__init(&error_message);
		message.subscription = any_u64();
		message.partition = any_u32();
		message.next_offset = any_u64();
		message.end_offset = any_u64();
		message.caught_up = random_below(&random_source, 2) == 1;
		uint8_t encoded[32];
		struct wire_push push = {message.subscription, message.next_offset,
			message.end_offset, message.partition, message.caught_up, {NULL, 0}};
		if (i % 2 == 0) {
			error_message.status = 1 + any_u32() % 40;
			message.error = &error_message;
			push.error =
				bytes_of(encoded, annals__v1__error__pack(&error_message, encoded));
		}
		buf_reset(&out);
		ck_assert_int_eq(wire_push_encode(&out, &push), 0);
		assert_packs_to_out(&message.base);
		struct wire_push found;
		ck_assert_int_eq(wire_push_decode(buf_bytes(&packed), &found, &err), 0);
		ck_assert_uint_eq(found.subscription, push.subscription);
		ck_assert_uint_eq(found.partition, push.partition);
		ck_assert_uint_eq(found.next_offset, push.next_offset);
		ck_assert_uint_eq(found.end_offset, push.end_offset);
		ck_assert_int_eq(found.caught_up, push.caught_up);
		ck_assert(bytes_equal(found.error, push.error));
	}
}
END_TEST

/* Every decoder, as one: decodes and walks. */
static int decode(int which, struct bytes bytes)
{
	struct wire_append_request append;
	struct wire_append_response appended;
	struct wire_append_batch batch;
	struct wire_append_run run;
	struct wire_fetch_request fetch;
	struct wire_fetch_response fetched;
	struct wire_push push;
	size_t cursor = 0;
	int status;
	switch (which) {
	case 0:
		status = wire_append_request_decode(bytes, &append, &err);
		while (status == 0 &&
			(status = wire_append_next_batch(&append, &cursor, &batch)) > 0) {
			status = 0;
		}
		if (status == 0 && append.has_more) {
			/* Conditions: whoever wants them unpacks the whole message. */
			Annals__V1__AppendRequest *whole =
				annals__v1__append_request__unpack(NULL, bytes.size, bytes.data);
			status = whole == NULL ? ANNALS_E_MALFORMED : 0;
			annals__v1__append_request__free_unpacked(whole, NULL);
		}
		return status;
	case 1:
		status = wire_append_response_decode(bytes, &appended, &err);
		while (status == 0 &&
			(status = wire_append_next_run(&appended, &cursor, &run)) > 0) {
			status = 0;
		}
		return status;
	case 2:
		return wire_fetch_request_decode(bytes, &fetch, &err);
	case 3:
		return wire_fetch_response_decode(bytes, &fetched, &err);
	default:
		return wire_push_decode(bytes, &push, &err);
	}
}

static const ProtobufCMessageDescriptor *const descriptors[] = {
	&annals__v1__append_request__descriptor, &annals__v1__append_response__descriptor,
	&annals__v1__fetch_request__descriptor, &annals__v1__fetch_response__descriptor,
	&annals__v1__push__descriptor};

static int decode_hex(int which, const char *text)
{
	buf_reset(&out);
	hex_parse(text, &out);
	return decode(which, buf_bytes(&out));
}

START_TEST(test_wire_malformed_bytes)
{
	static const char *const cases[] = {"0a", "0a 02 61", "0a ff ff ff ff 07",
		"0a 80 80 80 80 08", "0a ff ff ff ff 0f", "0a ff ff ff ff ff ff ff ff ff 01",
		"10 ff ff ff ff ff ff ff ff ff 02", "18", "20 80", "00 00", "0b 0c", "7b 7c", "0f",
		"7a ff ff ff ff 0f", "09 00 00 00 00 00 00 00 00", "0d 00 00 00 00"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		for (int which = 0; which < 5; which++) {
			ck_assert_msg(decode_hex(which, cases[i]) == ANNALS_E_MALFORMED,
				"decoder %d: %s", which, cases[i]);
		}
	}
	/* Inside a batch and a run. */
	ck_assert_int_eq(decode_hex(0, "1a 02 22 00"), ANNALS_E_MALFORMED);
	ck_assert_int_eq(decode_hex(0, "1a 01 08"), ANNALS_E_MALFORMED);
	ck_assert_int_eq(decode_hex(1, "22 02 0a 00"), ANNALS_E_MALFORMED);
}
END_TEST

START_TEST(test_wire_bad_text_names_the_field)
{
	ASSERT_FAILS(decode_hex(0, "0a 01 ff"), ANNALS_E_MALFORMED, err, "field 'topic'");
	ASSERT_FAILS(decode_hex(2, "0a 02 c0 80"), ANNALS_E_MALFORMED, err, "field 'topic'");
}
END_TEST

START_TEST(test_wire_unknown_fields_are_skipped)
{
	for (int which = 0; which < 5; which++) {
		ck_assert_int_eq(
			decode_hex(which, "7a 02 00 ff  7d 01 02 03 04  fa ff ff ff 0f 00"), 0);
	}
	ck_assert_int_eq(decode_hex(0, "1a 07 08 05 7a 03 61 62 63"), 0);
}
END_TEST

/* Random damage: what protobuf-c refuses is refused; nothing crashes. */
START_TEST(test_wire_accepts_no_more_than_protobuf_c)
{
	static const char *const seeds[] = {
		"0a 01 61 10 01 1a 10 08 01 10 02 18 80 02 25 01 02 03 04 28 01 30 05 1a 00",
		"08 07 10 80 80 a0 01 18 01 22 0c 08 01 10 80 01 18 03 20 09 28 01 30 01",
		"0a 03 61 62 63 10 01 18 80 80 01 20 90 4e 28 e8 07 30 06 38 01",
		"08 01 10 80 01 18 80 02 20 ff 01",
		"08 01 10 02 18 80 04 20 ff ff 03 28 01 32 02 08 06",
	};
	struct buf seed = BUF_INIT;
	for (int i = 0; i < 20000; i++) {
		int which = i % 5;
		buf_reset(&seed);
		hex_parse(seeds[which], &seed);
		seed.size -= random_below(&random_source, 3);
		seed.data[random_below(&random_source, seed.size)] ^=
			(uint8_t)(1u << random_below(&random_source, 8));
		int status = decode(which, buf_bytes(&seed));
		ProtobufCMessage *message =
			protobuf_c_message_unpack(descriptors[which], NULL, seed.size, seed.data);
		ck_assert(message != NULL || status == ANNALS_E_MALFORMED || which == 4);
		if (message != NULL) {
			protobuf_c_message_free_unpacked(message, NULL);
		}
	}
	buf_release(&seed);
}
END_TEST

SUITE_MAIN("wire", setup, teardown, test_wire_append_request, test_wire_append_response,
	test_wire_fetch_request, test_wire_fetch_response, test_wire_push,
	test_wire_malformed_bytes, test_wire_bad_text_names_the_field,
	test_wire_unknown_fields_are_skipped, test_wire_accepts_no_more_than_protobuf_c)
