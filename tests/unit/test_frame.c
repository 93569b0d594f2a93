/* Frames of the binary protocol. */
#include <annals/frame.h>
#include <stdlib.h>

#include "hex.h"
#include "suite.h"

#define FRAME_BYTES_MAX 1000

static struct buf out;
static struct error err;
static struct frame frame;
static size_t needed;

static void setup(void)
{
	out = BUF_INIT;
	err = (struct error){0};
	needed = 0;
}

static void teardown(void)
{
	buf_release(&out);
}

/* Parses from memory that ends where the input ends. */
static int parse(struct bytes input, size_t frame_bytes_max)
{
	uint8_t *exact = malloc(input.size + 1);
	ck_assert_ptr_nonnull(exact);
	memcpy(exact + 1, input.data, input.size);
	int status = frame_parse(
		bytes_of(exact + 1, input.size), frame_bytes_max, &frame, &needed, &err);
	free(exact);
	return status;
}

static int parse_hex(const char *text)
{
	buf_reset(&out);
	hex_parse(text, &out);
	return parse(buf_bytes(&out), FRAME_BYTES_MAX);
}

static void make(enum frame_kind kind, size_t control_bytes, size_t data_bytes)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_write_header(header, kind, FRAME_APPEND, 0, 7, control_bytes, data_bytes);
	buf_reset(&out);
	ck_assert_int_eq(buf_add(&out, header, sizeof(header)), 0);
	ck_assert_int_eq(buf_add_zeros(&out, control_bytes + data_bytes), 0);
}

START_TEST(test_frame_golden_bytes)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_write_header(
		header, FRAME_RESPONSE, FRAME_FETCH, ANNALS_E_OFFSET_BEYOND_END, 0xdeadbeef, 2, 3);
	ck_assert_int_eq(buf_add(&out, header, sizeof(header)), 0);
	ck_assert_int_eq(buf_add_text(&out, "\x08\x01xyz"), 0);
	ck_assert(hex_is(buf_bytes(&out), "11 00 00 00 02 09 0a 00 ef be ad de 02 00 00 00"
					  "08 01 78 79 7a"));
	ck_assert_int_eq(frame_parse(buf_bytes(&out), FRAME_BYTES_MAX, &frame, &needed, &err), 1);
	ck_assert_uint_eq(frame.kind, FRAME_RESPONSE);
	ck_assert_uint_eq(frame.operation, FRAME_FETCH);
	ck_assert_uint_eq(frame.status, 10);
	ck_assert_uint_eq(frame.correlation, 0xdeadbeef);
	ck_assert(bytes_is(frame.control, "\x08\x01"));
	ck_assert(bytes_is(frame.data, "xyz"));
	ck_assert_uint_eq(frame.size, 21);
}
END_TEST

START_TEST(test_frame_every_prefix_asks_for_more)
{
	make(FRAME_REQUEST, 20, 30);
	for (size_t size = 0; size < out.size; size++) {
		ck_assert_int_eq(parse(bytes_of(out.data, size), FRAME_BYTES_MAX), 0);
		ck_assert_uint_eq(
			needed, size < FRAME_HEADER_BYTES ? FRAME_HEADER_BYTES : out.size);
		ck_assert_uint_eq(frame.size, 0);
	}
	ck_assert_int_eq(parse(buf_bytes(&out), FRAME_BYTES_MAX), 1);
}
END_TEST

START_TEST(test_frame_following_bytes_are_left)
{
	make(FRAME_REQUEST, 1, 2);
	size_t first = out.size;
	ck_assert_int_eq(buf_add_text(&out, "next"), 0);
	ck_assert_int_eq(parse(buf_bytes(&out), FRAME_BYTES_MAX), 1);
	ck_assert_uint_eq(frame.size, first);
	ck_assert_uint_eq(frame.control.size, 1);
	ck_assert_uint_eq(frame.data.size, 2);
}
END_TEST

START_TEST(test_frame_empty_and_largest)
{
	make(FRAME_PUSH, 0, 0);
	ck_assert_int_eq(parse(buf_bytes(&out), 12), 1);
	ck_assert_uint_eq(frame.size, FRAME_HEADER_BYTES);
	make(FRAME_REQUEST, 0, FRAME_BYTES_MAX - 12);
	ck_assert_int_eq(parse(buf_bytes(&out), FRAME_BYTES_MAX), 1);
	make(FRAME_REQUEST, 0, FRAME_BYTES_MAX - 11);
	ASSERT_FAILS(parse(buf_bytes(&out), FRAME_BYTES_MAX), ANNALS_E_TOO_LARGE, err,
		"the frame has 1001 bytes, the limit is 1000");
}
END_TEST

START_TEST(test_frame_hostile_lengths)
{
	static const char *const sizes[] = {"ff ff ff 7f", "00 00 00 80", "ff ff ff ff"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(sizes); i++) {
		char text[80];
		/* Refused as soon as the header is there, and not before. */
		ck_assert_int_eq(parse_hex(sizes[i]), 0);
		ck_assert_uint_eq(needed, FRAME_HEADER_BYTES);
		snprintf(text, sizeof(text), "%s 01 08 00 00 2a 00 00 00 00 00 00 00", sizes[i]);
		ASSERT_FAILS(parse_hex(text), ANNALS_E_TOO_LARGE, err, "the limit is 1000");
		ck_assert_uint_eq(frame.kind, FRAME_REQUEST);
		ck_assert_uint_eq(frame.operation, FRAME_APPEND);
		ck_assert_uint_eq(frame.correlation, 42);
		ck_assert_uint_eq(frame.control.size, 0);
		/* Control beyond the frame. */
		snprintf(text, sizeof(text), "0c 00 00 00 01 08 00 00 2a 00 00 00 %s", sizes[i]);
		ASSERT_FAILS(parse_hex(text), ANNALS_E_MALFORMED, err, "does not fit the frame");
		ck_assert_uint_eq(frame.correlation, 42);
	}
	ASSERT_FAILS(parse_hex("0c 00 00 00 01 08 00 00 2a 00 00 00 01 00 00 00"),
		ANNALS_E_MALFORMED, err, "1 bytes does not fit");
}
END_TEST

START_TEST(test_frame_shorter_than_its_header)
{
	for (int bytes = 0; bytes < 12; bytes++) {
		char text[80];
		snprintf(text, sizeof(text), "%02x 00 00 00", (unsigned)bytes);
		ASSERT_FAILS(parse_hex(text), ANNALS_E_MALFORMED, err, "fewer than its header");
		ck_assert_uint_eq(frame.kind, 0);
	}
}
END_TEST

START_TEST(test_frame_unknown_kind_and_status_in_a_request)
{
	ASSERT_FAILS(parse_hex("0c 00 00 00 00 08 00 00 2a 00 00 00 00 00 00 00"),
		ANNALS_E_MALFORMED, err, "unknown kind 0");
	ASSERT_FAILS(parse_hex("0c 00 00 00 04 08 00 00 2a 00 00 00 00 00 00 00"),
		ANNALS_E_MALFORMED, err, "unknown kind 4");
	ASSERT_FAILS(parse_hex("0c 00 00 00 01 08 01 00 2a 00 00 00 00 00 00 00"),
		ANNALS_E_MALFORMED, err, "carries a status");
	ck_assert_uint_eq(frame.correlation, 42);
}
END_TEST

START_TEST(test_frame_unknown_operations_pass)
{
	ck_assert_int_eq(parse_hex("0c 00 00 00 01 ff 00 00 2a 00 00 00 00 00 00 00"), 1);
	ck_assert_uint_eq(frame.operation, 255);
}
END_TEST

SUITE_MAIN("frame", setup, teardown, test_frame_golden_bytes, test_frame_every_prefix_asks_for_more,
	test_frame_following_bytes_are_left, test_frame_empty_and_largest,
	test_frame_hostile_lengths, test_frame_shorter_than_its_header,
	test_frame_unknown_kind_and_status_in_a_request, test_frame_unknown_operations_pass)
