/* Batches: the stored form, the check on the way in, and compressed bodies. */
#include <annals/batch.h>
#include <annals/crc32c.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <zstd.h>

#include "hex.h"
#include "random_record.h"
#include "suite.h"

#define SEED 7

static const char golden[] = "41 53 42 31 8e c0 0e 4e 01 00 01 00 70 00 00 00"
			     "07 00 00 00 34 ce ac b0 07 00 00 00 01 00 00 00"
			     "04 03 02 01 05 00 00 00 88 77 66 55 44 33 22 11"
			     "99 00 00 00 00 00 00 00 00 40 1e 18 24 0a 06 00"
			     "00 e0 79 8b 09 5b 0f 15 00 e0 79 8b 09 5b 0f 15"
			     "09 00 00 00 00 00 00 00 03 00 00 00 fe ff ff ff"
			     "07 00 00 00 03 00 00 00 61 62 63 00 00 00 00 00"
			     "0a 05 0a 03 41 2d 31 00";

static struct buf body, out, scratch;
static struct error err;
static struct batch batch;
static struct batch_summary summary;
static struct batch_limits limits;
static struct random random_source;
static struct random_record made;

static void setup(void)
{
	body = BUF_INIT;
	out = BUF_INIT;
	scratch = BUF_INIT;
	err = (struct error){0};
	limits = (struct batch_limits){0};
	random_source = (struct random){SEED};
}

static void teardown(void)
{
	buf_release(&body);
	buf_release(&out);
	buf_release(&scratch);
}

static struct stamp golden_stamp(void)
{
	return (struct stamp){
		.codec = BATCH_PLAIN,
		.body_format = BATCH_FORMAT_EVENTS,
		.kind = BATCH_DATA,
		.body_bytes = 7,
		.body_crc = 0xb0acce34,
		.plain_bytes = 7,
		.count = 1,
		.topic_id = 0x01020304,
		.partition = 5,
		.base_offset = 0x1122334455667788,
		.base_position = 0x99,
		.recorded_us = 1700000000000000,
		.first_time_ns = 1517531696000000000,
		.last_time_ns = 1517531696000000000,
		.producer_id = 9,
		.producer_epoch = 3,
		.first_sequence = 0xfffffffe,
	};
}

static void store(const struct stamp *stamp, struct bytes columns, struct bytes bytes)
{
	size_t size = batch_stored_size(bytes.size, columns.size);
	buf_reset(&out);
	ck_assert_int_eq(buf_reserve(&out, size), 0);
	memset(out.data, 0xee, size);
	out.size = size;
	batch_write(out.data, stamp, columns, bytes);
}

static const uint8_t golden_columns[] = {7, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c', 0, 0, 0, 0, 0};

static void store_golden(void)
{
	struct stamp stamp = golden_stamp();
	store(&stamp, bytes_of(golden_columns, sizeof(golden_columns)),
		bytes_text("\x0a\x05\x0a\x03"
			   "A-1"));
}

static void add_event(const struct record *record)
{
	ck_assert_int_eq(record_encode_in_batch(record, &body), 0);
}

static void add_random_events(int count)
{
	for (int i = 0; i < count; i++) {
		random_record_make(&made, &random_source);
		add_event(&made.record);
	}
}

static int check_body(enum batch_codec codec)
{
	return batch_check_body(buf_bytes(&body), codec, &limits, &scratch, &summary, &err);
}

START_TEST(test_batch_golden_bytes)
{
	store_golden();
	ck_assert(hex_is(buf_bytes(&out), golden));
	ck_assert_int_eq(batch_view(buf_bytes(&out), &batch), 0);
	struct stamp stamp = golden_stamp();
	ck_assert_uint_eq(batch.stamp.codec, stamp.codec);
	ck_assert_uint_eq(batch.stamp.body_format, stamp.body_format);
	ck_assert_uint_eq(batch.stamp.kind, stamp.kind);
	ck_assert_uint_eq(batch.stamp.flags, stamp.flags);
	ck_assert_uint_eq(batch.stamp.body_bytes, stamp.body_bytes);
	ck_assert_uint_eq(batch.stamp.body_crc, stamp.body_crc);
	ck_assert_uint_eq(batch.stamp.plain_bytes, stamp.plain_bytes);
	ck_assert_uint_eq(batch.stamp.count, stamp.count);
	ck_assert_uint_eq(batch.stamp.topic_id, stamp.topic_id);
	ck_assert_uint_eq(batch.stamp.partition, stamp.partition);
	ck_assert_uint_eq(batch.stamp.base_offset, stamp.base_offset);
	ck_assert_uint_eq(batch.stamp.base_position, stamp.base_position);
	ck_assert_uint_eq(batch.stamp.recorded_us, stamp.recorded_us);
	ck_assert_int_eq(batch.stamp.first_time_ns, stamp.first_time_ns);
	ck_assert_int_eq(batch.stamp.last_time_ns, stamp.last_time_ns);
	ck_assert_uint_eq(batch.stamp.producer_id, stamp.producer_id);
	ck_assert_uint_eq(batch.stamp.producer_epoch, stamp.producer_epoch);
	ck_assert_uint_eq(batch.stamp.first_sequence, stamp.first_sequence);
	ck_assert(bytes_equal(batch.columns, bytes_of(golden_columns, sizeof(golden_columns))));
	ck_assert_uint_eq(batch.body.size, 7);
	ck_assert_uint_eq(batch.stored.size, out.size);
	ck_assert_int_eq(batch_verify(&batch, &err), 0);
}
END_TEST

START_TEST(test_batch_extremes_survive)
{
	struct stamp stamp = golden_stamp();
	stamp.count = UINT32_MAX;
	stamp.base_offset = UINT64_MAX - UINT32_MAX;
	stamp.base_position = UINT64_MAX - UINT32_MAX;
	stamp.recorded_us = UINT64_MAX;
	stamp.first_time_ns = INT64_MAX;
	stamp.last_time_ns = INT64_MIN;
	stamp.producer_id = UINT64_MAX;
	stamp.producer_epoch = UINT16_MAX;
	stamp.flags = UINT16_MAX;
	stamp.topic_id = UINT32_MAX;
	stamp.partition = UINT32_MAX;
	stamp.kind = BATCH_HOLE;
	stamp.body_bytes = stamp.plain_bytes = stamp.body_crc = 0;
	store(&stamp, bytes_of(NULL, 0), bytes_of(NULL, 0));
	ck_assert_uint_eq(out.size, BATCH_STAMP_BYTES);
	ck_assert_int_eq(batch_view(buf_bytes(&out), &batch), 0);
	ck_assert_int_eq(batch_verify(&batch, &err), 0);
	ck_assert_uint_eq(batch.stamp.base_offset, stamp.base_offset);
	ck_assert_uint_eq(batch.stamp.flags, UINT16_MAX);
	ck_assert_int_eq(batch.stamp.first_time_ns, INT64_MAX);
	ck_assert_int_eq(batch.stamp.last_time_ns, INT64_MIN);
	stamp.base_offset++; /* the end offset would not fit */
	store(&stamp, bytes_of(NULL, 0), bytes_of(NULL, 0));
	ck_assert_int_eq(batch_view(buf_bytes(&out), &batch), ANNALS_E_MALFORMED);
	stamp.base_offset--;
	stamp.base_position++;
	store(&stamp, bytes_of(NULL, 0), bytes_of(NULL, 0));
	ck_assert_int_eq(batch_view(buf_bytes(&out), &batch), ANNALS_E_MALFORMED);
}
END_TEST

START_TEST(test_batch_sizes_are_multiples_of_8)
{
	for (size_t size = 0; size < 20; size++) {
		ck_assert_uint_eq(batch_stored_size(size, 8), 104 + (size + 7) / 8 * 8);
	}
}
END_TEST

START_TEST(test_batch_laid_end_to_end)
{
	struct buf all = BUF_INIT;
	for (int i = 0; i < 50; i++) {
		buf_reset(&body);
		add_random_events(1 + i % 3);
		struct stamp stamp = golden_stamp();
		stamp.body_bytes = stamp.plain_bytes = (uint32_t)body.size;
		stamp.body_crc = crc32c(0, body.data, body.size);
		stamp.base_offset = (uint64_t)i;
		store(&stamp, bytes_of(NULL, 0), buf_bytes(&body));
		ck_assert_int_eq(buf_add(&all, out.data, out.size), 0);
	}
	struct bytes left = buf_bytes(&all);
	for (uint64_t i = 0; i < 50; i++) {
		ck_assert_int_eq(batch_view(left, &batch), 0);
		ck_assert_int_eq(batch_verify(&batch, &err), 0);
		ck_assert_uint_eq(batch.stamp.base_offset, i);
		left = bytes_of(left.data + batch.stored.size, left.size - batch.stored.size);
	}
	ck_assert_uint_eq(left.size, 0);
	buf_release(&all);
}
END_TEST

START_TEST(test_batch_view_truncated_at_every_byte)
{
	store_golden();
	for (size_t size = 0; size < out.size; size++) {
		uint8_t *exact = malloc(size + 1);
		ck_assert_ptr_nonnull(exact);
		memcpy(exact + 1, out.data, size);
		ck_assert_int_eq(batch_view(bytes_of(exact + 1, size), &batch), ANNALS_E_MALFORMED);
		free(exact);
	}
}
END_TEST

/* Whatever bit flips, either the stamp becomes impossible or a checksum fails. */
START_TEST(test_batch_every_flipped_bit_is_found)
{
	store_golden();
	for (size_t bit = 0; bit < out.size * 8; bit++) {
		out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		int status = batch_view(buf_bytes(&out), &batch);
		if (status == 0) {
			status = batch_verify(&batch, &err);
			ck_assert_int_eq(status, ANNALS_E_CORRUPT_DATA);
		} else {
			ck_assert_int_eq(status, ANNALS_E_MALFORMED);
		}
		out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_int_eq(batch_view(buf_bytes(&out), &batch), 0);
	ck_assert_int_eq(batch_verify(&batch, &err), 0);
}
END_TEST

START_TEST(test_batch_verify_names_the_place)
{
	store_golden();
	out.data[out.size - 2] ^= 1;
	ck_assert_int_eq(batch_view(buf_bytes(&out), &batch), 0);
	ASSERT_FAILS(batch_verify(&batch, &err), ANNALS_E_CORRUPT_DATA, err,
		"wrong checksum of the body of the batch at topic id 16909060, partition 5, "
		"offset 1234605616436508552");
	out.data[out.size - 2] ^= 1;
	out.data[60] ^= 1;
	ck_assert_int_eq(batch_view(buf_bytes(&out), &batch), 0);
	ASSERT_FAILS(batch_verify(&batch, &err), ANNALS_E_CORRUPT_DATA, err, "in the stamp");
}
END_TEST

START_TEST(test_batch_impossible_stamps)
{
	static const struct {
		size_t at;
		uint32_t value;
	} cases[] = {
		{12, 0}, {12, 88}, {12, 97}, {12, 0x80000000}, {12, 0xffffffff}, {12, 0xfffffff8},
		{12, 120},                                            /* stamp_bytes */
		{16, 0x80000000}, {16, 0xffffffff}, {16, 6}, {16, 9}, /* body_bytes */
		{24, 0xffffffff}, {24, 8}, /* plain_bytes of a plain body */
		{28, 0},                   /* count */
		{96, 0x00010007}, {100, 0x7fffffff}, {100, 0x80000000}, {100, 0xffffffff},
		{100, 9}, /* columns */
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		store_golden();
		store_u32(out.data + cases[i].at, cases[i].value);
		ck_assert_msg(batch_view(buf_bytes(&out), &batch) == ANNALS_E_MALFORMED,
			"u32 at %zu = %u", cases[i].at, cases[i].value);
	}
	static const size_t bytes_at[] = {8, 9, 11}; /* version, codec, kind */
	for (size_t i = 0; i < ANNALS_COUNT_OF(bytes_at); i++) {
		store_golden();
		out.data[bytes_at[i]] = 3;
		ck_assert_int_eq(batch_view(buf_bytes(&out), &batch), ANNALS_E_MALFORMED);
	}
}
END_TEST

START_TEST(test_batch_walk)
{
	add_random_events(20);
	struct bytes event;
	size_t cursor = 0;
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(batch_next_event(buf_bytes(&body), &cursor, &event), 1);
		struct record record;
		ck_assert_int_eq(record_decode(event, &record, &err), 0);
	}
	ck_assert_int_eq(batch_next_event(buf_bytes(&body), &cursor, &event), 0);
	ck_assert_uint_eq(cursor, body.size);
}
END_TEST

START_TEST(test_batch_check_counts)
{
	uint32_t largest = 0;
	for (int i = 0; i < 100; i++) {
		size_t before = body.size;
		random_record_make(&made, &random_source);
		made.record.has_time = i != 3;
		made.record.time_ns = i * 1000 - 5000;
		made.record.has_key = i == 50;
		add_event(&made.record);
		uint32_t size = (uint32_t)record_encoded_size(&made.record);
		ck_assert_uint_gt(body.size - before, size);
		largest = ANNALS_MAX(largest, size);
	}
	ck_assert_int_eq(check_body(BATCH_PLAIN), 0);
	ck_assert_uint_eq(summary.count, 100);
	ck_assert_uint_eq(summary.plain_bytes, body.size);
	ck_assert_uint_eq(summary.largest_event_bytes, largest);
	ck_assert_int_eq(summary.first_time_ns, -5000);
	ck_assert_int_eq(summary.last_time_ns, 94000);
	ck_assert(summary.any_key);
	ck_assert_str_eq(err.text, "");
}
END_TEST

START_TEST(test_batch_check_without_times_and_keys)
{
	const struct record record = {.id = bytes_text("a")};
	add_event(&record);
	ck_assert_int_eq(check_body(BATCH_PLAIN), 0);
	ck_assert_int_eq(summary.first_time_ns, INT64_MAX);
	ck_assert_int_eq(summary.last_time_ns, INT64_MIN);
	ck_assert(!summary.any_key);
}
END_TEST

START_TEST(test_batch_check_refuses_what_is_no_batch)
{
	static const struct {
		const char *hex;
		const char *says;
	} cases[] = {
		{"", "holds no event"},
		{"0a", "event 0: the batch is malformed at byte 0"},
		{"0a 00 0a 01", "event 1: the batch is malformed at byte 2"},
		{"0a 00 12 00", "event 1: the batch is malformed"},
		{"08 01", "event 0: the batch is malformed"},
		{"8a 00 00", "event 0: the batch is malformed"}, /* an overlong tag */
		{"0a ff ff ff ff 07", "event 0"},
		{"0a 80 80 80 80 08", "event 0"},
		{"0a ff ff ff ff 0f", "event 0"},
		{"0a ff ff ff ff ff ff ff ff ff 01", "event 0"},
		{"0a ff ff ff ff ff ff ff ff ff 02", "event 0"},
		{"0a 80 80 80 80 80 80 80 80 80 80 00", "event 0"},
		{"0a 00 0a 02 0a 05", "event 1: the event is malformed"},
		{"0a 02 08 01", "event 0: field 1 of the event has the wrong wire type"},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		buf_reset(&body);
		hex_parse(cases[i].hex, &body);
		summary.count = 77;
		ASSERT_FAILS(check_body(BATCH_PLAIN), ANNALS_E_MALFORMED, err, cases[i].says);
		ck_assert_uint_eq(summary.count, 77);
	}
}
END_TEST

START_TEST(test_batch_check_truncated_at_every_byte)
{
	add_random_events(2);
	size_t size = body.size;
	size_t first;
	size_t cursor = 0;
	struct bytes event;
	ck_assert_int_eq(batch_next_event(buf_bytes(&body), &cursor, &event), 1);
	first = cursor;
	for (size_t at = 0; at < size; at++) {
		uint8_t *exact = malloc(at + 1);
		ck_assert_ptr_nonnull(exact);
		memcpy(exact + 1, body.data, at);
		int status = batch_check_body(
			bytes_of(exact + 1, at), BATCH_PLAIN, &limits, &scratch, &summary, &err);
		ck_assert_int_eq(status, at == first ? 0 : ANNALS_E_MALFORMED);
		free(exact);
	}
}
END_TEST

START_TEST(test_batch_check_bad_text_names_event_and_field)
{
	hex_parse("0a 00 0a 03 22 01 ff", &body);
	ASSERT_FAILS(check_body(BATCH_PLAIN), ANNALS_E_VALIDATION, err,
		"event 1: field 'subject' is not valid UTF-8");
	ck_assert_int_eq(
		batch_check_body(buf_bytes(&body), BATCH_PLAIN, &limits, &scratch, &summary, NULL),
		ANNALS_E_VALIDATION);
}
END_TEST

START_TEST(test_batch_check_limits_are_named)
{
	static const uint8_t zeros[100];
	const struct record record = {.has_data = true, .data = bytes_of(zeros, 100)};
	add_event(&record);
	add_event(&record);
	uint32_t event_bytes = (uint32_t)record_encoded_size(&record);
	limits.event_bytes_max = event_bytes;
	limits.events_max = 2;
	limits.body_bytes_max = (uint32_t)body.size;
	ck_assert_int_eq(check_body(BATCH_PLAIN), 0);
	limits.event_bytes_max = event_bytes - 1;
	ASSERT_FAILS(check_body(BATCH_PLAIN), ANNALS_E_TOO_LARGE, err,
		"event 0: it has 102 bytes, the limit is 101");
	limits.event_bytes_max = 0;
	limits.events_max = 1;
	ASSERT_FAILS(check_body(BATCH_PLAIN), ANNALS_E_TOO_LARGE, err,
		"the batch has more events than the limit, 1");
	limits.events_max = 0;
	limits.body_bytes_max = (uint32_t)body.size - 1;
	ASSERT_FAILS(check_body(BATCH_PLAIN), ANNALS_E_TOO_LARGE, err,
		"the body has 208 bytes, the limit is 207");
}
END_TEST

START_TEST(test_batch_check_tells_programs_the_problem)
{
	struct batch_problem problem = {BATCH_LIMIT_EVENTS, true, 9};
	limits.problem = &problem;
	hex_parse("0a 00 0a 03 22 01 61 0a 03 22 01 ff", &body);
	ck_assert_int_eq(check_body(BATCH_PLAIN), ANNALS_E_VALIDATION);
	ck_assert(problem.has_event_index && problem.limit == BATCH_LIMIT_NONE);
	ck_assert_uint_eq(problem.event_index, 2);
	limits.event_bytes_max = 2;
	ck_assert_int_eq(check_body(BATCH_PLAIN), ANNALS_E_TOO_LARGE);
	ck_assert(problem.has_event_index && problem.limit == BATCH_LIMIT_EVENT);
	ck_assert_uint_eq(problem.event_index, 1);
	limits.events_max = 1;
	ck_assert_int_eq(check_body(BATCH_PLAIN), ANNALS_E_TOO_LARGE);
	ck_assert(!problem.has_event_index && problem.limit == BATCH_LIMIT_EVENTS);
	limits.body_bytes_max = 3;
	ck_assert_int_eq(check_body(BATCH_PLAIN), ANNALS_E_TOO_LARGE);
	ck_assert(!problem.has_event_index && problem.limit == BATCH_LIMIT_BODY);
	ck_assert_int_eq(check_body(BATCH_ZSTD), ANNALS_E_TOO_LARGE);
	limits.body_bytes_max = 0;
	ck_assert_int_eq(check_body(BATCH_ZSTD), ANNALS_E_CORRUPT_BATCH);
	ck_assert(!problem.has_event_index && problem.limit == BATCH_LIMIT_NONE);
}
END_TEST

START_TEST(test_batch_check_body_limit_is_never_above_the_format)
{
	limits.body_bytes_max = UINT32_MAX;
	ck_assert_int_eq(buf_add_zeros(&body, BATCH_BODY_BYTES_MAX + 1), 0);
	ASSERT_FAILS(check_body(BATCH_PLAIN), ANNALS_E_TOO_LARGE, err, "the limit is 4194304");
}
END_TEST

START_TEST(test_batch_check_keys_belong_to_the_partition)
{
	struct record record = {.has_key = true, .key = bytes_text("foobar")};
	const struct record keyless = {.id = bytes_text("a")};
	add_event(&keyless);
	add_event(&record);
	limits.partitions = 10;
	limits.partition = record_partition(record.key, 10);
	ck_assert_int_eq(check_body(BATCH_PLAIN), 0);
	limits.partition = 9;
	ASSERT_FAILS(check_body(BATCH_PLAIN), ANNALS_E_WRONG_PARTITION, err,
		"event 1: its key belongs to partition 6 of 10, not 9");
	limits.partitions = 0;
	ck_assert_int_eq(check_body(BATCH_PLAIN), 0);
	buf_reset(&body); /* an empty key is a key */
	record.key = bytes_of(NULL, 0);
	add_event(&record);
	limits.partitions = 1000;
	limits.partition = record_partition(record.key, 1000);
	ck_assert_int_eq(check_body(BATCH_PLAIN), 0);
	limits.partition++;
	ck_assert_int_eq(check_body(BATCH_PLAIN), ANNALS_E_WRONG_PARTITION);
}
END_TEST

START_TEST(test_batch_compressed_round_trip)
{
	add_random_events(200);
	for (int codec = BATCH_PLAIN; codec < BATCH_CODECS; codec++) {
		struct buf packed = BUF_INIT;
		ck_assert_int_eq(batch_compress(buf_bytes(&body), codec, 0, &packed), 0);
		ck_assert_int_eq(batch_check_body(buf_bytes(&packed), codec, &limits, &scratch,
					 &summary, &err),
			0);
		ck_assert_uint_eq(summary.count, 200);
		ck_assert_uint_eq(summary.plain_bytes, body.size);
		struct stamp stamp = golden_stamp();
		stamp.codec = (uint8_t)codec;
		stamp.body_bytes = (uint32_t)packed.size;
		stamp.plain_bytes = (uint32_t)body.size;
		stamp.body_crc = crc32c(0, packed.data, packed.size);
		store(&stamp, bytes_of(NULL, 0), buf_bytes(&packed));
		ck_assert_int_eq(batch_view(buf_bytes(&out), &batch), 0);
		ck_assert_int_eq(batch_verify(&batch, &err), 0);
		struct bytes plain;
		ck_assert_int_eq(batch_plain_body(&batch, &scratch, &plain), 0);
		ck_assert(bytes_equal(plain, buf_bytes(&body)));
		buf_release(&packed);
	}
}
END_TEST

START_TEST(test_batch_plain_body_must_have_the_stamped_size)
{
	add_random_events(3);
	struct buf packed = BUF_INIT;
	ck_assert_int_eq(batch_compress(buf_bytes(&body), BATCH_ZSTD, 0, &packed), 0);
	for (int delta = -1; delta <= 1; delta++) {
		struct stamp stamp = golden_stamp();
		stamp.codec = BATCH_ZSTD;
		stamp.body_bytes = (uint32_t)packed.size;
		stamp.plain_bytes = (uint32_t)((int)body.size + delta);
		stamp.body_crc = crc32c(0, packed.data, packed.size);
		store(&stamp, bytes_of(NULL, 0), buf_bytes(&packed));
		ck_assert_int_eq(batch_view(buf_bytes(&out), &batch), 0);
		struct bytes plain;
		ck_assert_int_eq(batch_plain_body(&batch, &scratch, &plain),
			delta == 0 ? 0 : ANNALS_E_CORRUPT_DATA);
	}
	buf_release(&packed);
}
END_TEST

/* Cut, changed or followed by something, a frame is refused or, where it has no checksum, yields
 * something of bounded size. */
START_TEST(test_batch_damaged_frames)
{
	const struct record record = {.id = bytes_text("an id"), .source = bytes_text("/source")};
	for (int i = 0; i < 30; i++) {
		add_event(&record);
	}
	for (int codec = BATCH_ZSTD; codec < BATCH_CODECS; codec++) {
		struct buf packed = BUF_INIT;
		ck_assert_int_eq(batch_compress(buf_bytes(&body), codec, 0, &packed), 0);
		for (size_t size = 0; size < packed.size; size++) {
			buf_reset(&scratch);
			uint8_t *exact = malloc(size + 1);
			ck_assert_ptr_nonnull(exact);
			memcpy(exact + 1, packed.data, size);
			ck_assert_int_eq(
				batch_decompress(bytes_of(exact + 1, size), codec, 10000, &scratch),
				ANNALS_E_CORRUPT_BATCH);
			ck_assert_uint_eq(scratch.size, 0);
			free(exact);
		}
		for (size_t bit = 0; bit < packed.size * 8; bit++) {
			buf_reset(&scratch);
			packed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
			int status = batch_decompress(buf_bytes(&packed), codec, 10000, &scratch);
			ck_assert(status == 0 || status == ANNALS_E_CORRUPT_BATCH ||
				  status == ANNALS_E_TOO_LARGE);
			ck_assert_uint_le(scratch.size, 10000);
			packed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		/* A byte, or the same frame again, behind it. */
		size_t one = packed.size;
		ck_assert_int_eq(buf_add_byte(&packed, 0), 0);
		buf_reset(&scratch);
		ck_assert_int_eq(batch_decompress(buf_bytes(&packed), codec, 10000, &scratch),
			ANNALS_E_CORRUPT_BATCH);
		packed.size = one;
		ck_assert_int_eq(buf_reserve(&packed, one), 0);
		ck_assert_int_eq(buf_add(&packed, packed.data, one), 0);
		ck_assert_int_eq(batch_decompress(buf_bytes(&packed), codec, 10000, &scratch),
			ANNALS_E_CORRUPT_BATCH);
		/* And before it a skippable frame (RFC 8878, 3.1.2; the same for LZ4). */
		buf_reset(&scratch);
		buf_reset(&out);
		hex_parse("50 2a 4d 18 01 00 00 00 ff", &out);
		ck_assert_int_eq(buf_add(&out, packed.data, one), 0);
		ck_assert_int_eq(batch_decompress(buf_bytes(&out), codec, 10000, &scratch),
			ANNALS_E_CORRUPT_BATCH);
		buf_release(&packed);
	}
}
END_TEST

/* zstd with what the simple interface does not offer. */
static void pack_zstd(struct bytes plain, bool declares_size, int window_log, bool has_checksum)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();
	ck_assert_ptr_nonnull(context);
	ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, declares_size);
	ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, has_checksum);
	if (window_log != 0) {
		ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
	}
	buf_reset(&out);
	ck_assert_int_eq(buf_reserve(&out, ZSTD_compressBound(plain.size) + 100), 0);
	ZSTD_outBuffer output = {out.data, out.capacity, 0};
	/* In two steps, so that the library cannot learn the size beforehand. */
	ZSTD_inBuffer half = {plain.data, declares_size ? 0 : plain.size / 2, 0};
	ZSTD_inBuffer whole = {plain.data, plain.size, half.size};
	if (!declares_size) {
		ck_assert(!ZSTD_isError(
			ZSTD_compressStream2(context, &output, &half, ZSTD_e_continue)));
	} else {
		ck_assert(!ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(context, plain.size)));
	}
	ck_assert_uint_eq(ZSTD_compressStream2(context, &output, &whole, ZSTD_e_end), 0);
	out.size = output.pos;
	ZSTD_freeCCtx(context);
}

START_TEST(test_batch_zstd_without_a_declared_size)
{
	ck_assert_int_eq(buf_add_zeros(&body, 1 << 20), 0);
	pack_zstd(buf_bytes(&body), false, 0, true);
	ck_assert_uint_eq(ZSTD_getFrameContentSize(out.data, out.size), ZSTD_CONTENTSIZE_UNKNOWN);
	ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_ZSTD, 1 << 20, &scratch), 0);
	ck_assert(bytes_equal(buf_bytes(&scratch), buf_bytes(&body)));
	buf_reset(&scratch);
	ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_ZSTD, (1 << 20) - 1, &scratch),
		ANNALS_E_TOO_LARGE);
	ck_assert_uint_eq(scratch.size, 0);
}
END_TEST

START_TEST(test_batch_zstd_window_limit)
{
	ck_assert_int_eq(buf_add_zeros(&body, 100000), 0);
	pack_zstd(buf_bytes(&body), false, 23, false);
	ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_ZSTD, 1 << 20, &scratch), 0);
	pack_zstd(buf_bytes(&body), false, 24, false);
	ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_ZSTD, 1 << 20, &scratch),
		ANNALS_E_CORRUPT_BATCH);
	pack_zstd(buf_bytes(&body), true, 27,
		false); /* the size is declared, the window shrinks to it */
	ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_ZSTD, 1 << 20, &scratch), 0);
}
END_TEST

START_TEST(test_batch_zstd_checksum_and_dictionary)
{
	ck_assert_int_eq(buf_add_zeros(&body, 1000), 0);
	pack_zstd(buf_bytes(&body), true, 0, true);
	ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_ZSTD, 1000, &scratch), 0);
	out.data[out.size - 1] ^= 1;
	ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_ZSTD, 1000, &scratch),
		ANNALS_E_CORRUPT_BATCH);
	/* One raw block "abc" behind a header with a dictionary id of one byte: 0 means none. */
	buf_reset(&scratch);
	buf_reset(&out);
	hex_parse("28 b5 2f fd 21 00 03 19 00 00 61 62 63", &out);
	ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_ZSTD, 1000, &scratch), 0);
	ck_assert(bytes_is(buf_bytes(&scratch), "abc"));
	out.data[5] = 1;
	ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_ZSTD, 1000, &scratch),
		ANNALS_E_CORRUPT_BATCH);
}
END_TEST

static void pack_lz4(struct bytes plain, const LZ4F_preferences_t *preferences)
{
	buf_reset(&out);
	ck_assert_int_eq(buf_reserve(&out, LZ4F_compressFrameBound(plain.size, preferences)), 0);
	out.size = LZ4F_compressFrame(out.data, out.capacity, plain.data, plain.size, preferences);
	ck_assert(!LZ4F_isError(out.size));
}

START_TEST(test_batch_lz4_sizes_and_checksums)
{
	LZ4F_preferences_t preferences = {
		.frameInfo = {.contentChecksumFlag = LZ4F_contentChecksumEnabled}};
	ck_assert_int_eq(buf_add_zeros(&body, 1 << 20), 0);
	for (int block = LZ4F_max64KB; block <= LZ4F_max4MB; block++) {
		for (int declares = 0; declares < 2; declares++) {
			preferences.frameInfo.blockSizeID = (LZ4F_blockSizeID_t)block;
			preferences.frameInfo.contentSize = declares ? body.size : 0;
			pack_lz4(buf_bytes(&body), &preferences);
			buf_reset(&scratch);
			ck_assert_int_eq(
				batch_decompress(buf_bytes(&out), BATCH_LZ4, 1 << 20, &scratch), 0);
			ck_assert(bytes_equal(buf_bytes(&scratch), buf_bytes(&body)));
			buf_reset(&scratch);
			ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_LZ4, (1 << 20) - 1,
						 &scratch),
				ANNALS_E_TOO_LARGE);
			out.data[out.size - 1] ^= 1;
			ck_assert_int_eq(
				batch_decompress(buf_bytes(&out), BATCH_LZ4, 1 << 20, &scratch),
				ANNALS_E_CORRUPT_BATCH);
		}
	}
}
END_TEST

START_TEST(test_batch_lz4_dictionary)
{
	LZ4F_preferences_t preferences = {.frameInfo = {.dictID = 5}};
	ck_assert_int_eq(buf_add_zeros(&body, 100), 0);
	pack_lz4(buf_bytes(&body), &preferences);
	ck_assert_int_eq(batch_decompress(buf_bytes(&out), BATCH_LZ4, 1000, &scratch),
		ANNALS_E_CORRUPT_BATCH);
}
END_TEST

/* 1 GiB of zeros in a few KiB: refused at the cap, in little memory. */
START_TEST(test_batch_bombs_stop_at_the_cap)
{
	const size_t bomb_bytes = (size_t)64 << 20;
	ck_assert_int_eq(buf_add_zeros(&body, bomb_bytes), 0);
	for (int codec = BATCH_ZSTD; codec < BATCH_CODECS; codec++) {
		LZ4F_preferences_t preferences = {.frameInfo = {.blockSizeID = LZ4F_max4MB}};
		if (codec == BATCH_ZSTD) {
			pack_zstd(buf_bytes(&body), false, 20, false);
		} else {
			pack_lz4(buf_bytes(&body), &preferences);
		}
		ck_assert_uint_lt(out.size, BATCH_BODY_BYTES_MAX);
		ASSERT_FAILS(
			batch_check_body(buf_bytes(&out), codec, &limits, &scratch, &summary, &err),
			ANNALS_E_TOO_LARGE, err, "more than the limit, 4194304 bytes");
		ck_assert_uint_le(scratch.capacity, (size_t)16 << 20);
		buf_release(&scratch);
	}
	/* One that declares 1 TiB is refused by its header. */
	hex_parse("28 b5 2f fd e0 00 00 00 00 00 01 00 00 01 00 00", (buf_reset(&out), &out));
	buf_reset(&scratch);
	int status = batch_decompress(buf_bytes(&out), BATCH_ZSTD, 1000, &scratch);
	ck_assert(status == ANNALS_E_TOO_LARGE || status == ANNALS_E_CORRUPT_BATCH);
	ck_assert_uint_eq(scratch.capacity, 0);
}
END_TEST

START_TEST(test_batch_frame_of_nothing_holds_no_event)
{
	for (int codec = BATCH_ZSTD; codec < BATCH_CODECS; codec++) {
		buf_reset(&out);
		ck_assert_int_eq(batch_compress(bytes_of("", 0), codec, 0, &out), 0);
		ASSERT_FAILS(
			batch_check_body(buf_bytes(&out), codec, &limits, &scratch, &summary, &err),
			ANNALS_E_MALFORMED, err, "holds no event");
	}
}
END_TEST

START_TEST(test_batch_not_a_frame)
{
	const struct record record = {.id = bytes_text("plain")};
	add_event(&record);
	ASSERT_FAILS(check_body(BATCH_ZSTD), ANNALS_E_CORRUPT_BATCH, err,
		"not one whole frame of codec 'zstd'");
	ASSERT_FAILS(check_body(BATCH_LZ4), ANNALS_E_CORRUPT_BATCH, err, "codec 'lz4'");
	ASSERT_FAILS(check_body((enum batch_codec)3), ANNALS_E_INVALID, err, "codec 3 is unknown");
	ck_assert_int_eq(batch_compress(buf_bytes(&body), BATCH_CODECS, 0, &out), ANNALS_E_INVALID);
}
END_TEST

START_TEST(test_batch_output_is_appended)
{
	struct buf packed = BUF_INIT;
	ck_assert_int_eq(buf_add_text(&body, "hello hello hello hello"), 0);
	for (int codec = BATCH_PLAIN; codec < BATCH_CODECS; codec++) {
		buf_reset(&packed);
		ck_assert_int_eq(batch_compress(buf_bytes(&body), codec, 0, &packed), 0);
		buf_reset(&scratch);
		ck_assert_int_eq(buf_add_text(&scratch, "before"), 0);
		ck_assert_int_eq(batch_decompress(buf_bytes(&packed), codec, 100, &scratch), 0);
		ck_assert(bytes_is(buf_bytes(&scratch), "beforehello hello hello hello"));
		ck_assert_int_eq(batch_decompress(buf_bytes(&packed), codec, 5, &scratch),
			ANNALS_E_TOO_LARGE);
		ck_assert(bytes_is(buf_bytes(&scratch), "beforehello hello hello hello"));
	}
	buf_release(&packed);
}
END_TEST

START_TEST(test_batch_codec_names)
{
	for (int i = 0; i < BATCH_CODECS; i++) {
		enum batch_codec codec = BATCH_CODECS;
		ck_assert_int_eq(batch_codec_parse(bytes_text(batch_codec_name(i)), &codec), 0);
		ck_assert_int_eq(codec, i);
	}
	enum batch_codec codec = BATCH_ZSTD;
	ck_assert_int_eq(batch_codec_parse(bytes_text("gzip"), &codec), ANNALS_E_INVALID);
	ck_assert_int_eq(batch_codec_parse(bytes_text(""), &codec), ANNALS_E_INVALID);
	ck_assert_int_eq(codec, BATCH_ZSTD);
	ck_assert_str_eq(batch_codec_name(BATCH_CODECS), "unknown");
}
END_TEST

SUITE_MAIN("batch", setup, teardown, test_batch_golden_bytes, test_batch_extremes_survive,
	test_batch_sizes_are_multiples_of_8, test_batch_laid_end_to_end,
	test_batch_view_truncated_at_every_byte, test_batch_every_flipped_bit_is_found,
	test_batch_verify_names_the_place, test_batch_impossible_stamps, test_batch_walk,
	test_batch_check_counts, test_batch_check_without_times_and_keys,
	test_batch_check_refuses_what_is_no_batch, test_batch_check_truncated_at_every_byte,
	test_batch_check_bad_text_names_event_and_field, test_batch_check_limits_are_named,
	test_batch_check_tells_programs_the_problem,
	test_batch_check_body_limit_is_never_above_the_format,
	test_batch_check_keys_belong_to_the_partition, test_batch_compressed_round_trip,
	test_batch_plain_body_must_have_the_stamped_size, test_batch_damaged_frames,
	test_batch_zstd_without_a_declared_size, test_batch_zstd_window_limit,
	test_batch_zstd_checksum_and_dictionary, test_batch_lz4_sizes_and_checksums,
	test_batch_lz4_dictionary, test_batch_bombs_stop_at_the_cap,
	test_batch_frame_of_nothing_holds_no_event, test_batch_not_a_frame,
	test_batch_output_is_appended, test_batch_codec_names)
