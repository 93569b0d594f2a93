/* Blocks of commands, as a journal carries them. */
#include <annals/block.h>
#include <stdlib.h>

#include "hex.h"
#include "suite.h"

static const char golden[] = "41 42 4b 31 01 00 00 00 02 00 00 00 00 00 00 00"
			     "00 40 1e 18 24 0a 06 00 2a 00 00 00 00 00 00 00"
			     "04 00 00 00 08 00 00 00 07 00 00 00 00 00 00 00"
			     "07 00 00 00 03 00 00 00 67 72 70 00 00 00 00 00";

static struct buf out;
static struct error err;
static struct block_header header;

static void setup(void)
{
	out = BUF_INIT;
	err = (struct error){0};
}

static void teardown(void)
{
	buf_release(&out);
}

static void add(enum block_command type, const void *data, size_t size)
{
	uint8_t *room;
	ck_assert_int_eq(block_add(&out, type, size, &room), 0);
	memcpy(room, data, size);
}

static void make_golden(void)
{
	ck_assert_int_eq(block_begin(&out), 0);
	add(BLOCK_TOPIC_DELETE, "\7\0\0\0\0\0\0\0", 8);
	add(BLOCK_GROUP_DELETE, "grp", 3);
	block_finish(&out, 2, 1700000000000000, 42);
}

static int view(void)
{
	return block_view(buf_bytes(&out), &header, &err);
}

START_TEST(test_block_golden_bytes)
{
	make_golden();
	ck_assert(hex_is(buf_bytes(&out), golden));
	ck_assert_int_eq(view(), 0);
	ck_assert_uint_eq(header.command_count, 2);
	ck_assert_uint_eq(header.time_us, 1700000000000000);
	ck_assert_uint_eq(header.first_position, 42);
	size_t cursor = BLOCK_HEADER_BYTES;
	uint16_t type;
	struct bytes data;
	ck_assert_int_eq(block_next(buf_bytes(&out), &cursor, &type, &data), 1);
	ck_assert_uint_eq(type, BLOCK_TOPIC_DELETE);
	ck_assert_uint_eq(data.size, 8);
	ck_assert_int_eq(block_next(buf_bytes(&out), &cursor, &type, &data), 1);
	ck_assert_uint_eq(type, BLOCK_GROUP_DELETE);
	ck_assert(bytes_is(data, "grp"));
	ck_assert_int_eq(block_next(buf_bytes(&out), &cursor, &type, &data), 0);
}
END_TEST

/* Sizes around the padding, in a buffer whose memory was dirty before. */
START_TEST(test_block_padding_is_zero)
{
	ck_assert_int_eq(buf_reserve(&out, 4096), 0);
	memset(out.data, 0xee, 4096);
	ck_assert_int_eq(block_begin(&out), 0);
	for (size_t size = 0; size <= 17; size++) {
		add(BLOCK_APPEND, "0123456789abcdefg", size);
	}
	block_finish(&out, 18, UINT64_MAX, UINT64_MAX);
	ck_assert_int_eq(view(), 0);
	ck_assert_uint_eq(header.time_us, UINT64_MAX);
	ck_assert_uint_eq(header.first_position, UINT64_MAX);
	size_t cursor = BLOCK_HEADER_BYTES;
	for (size_t size = 0; size <= 17; size++) {
		uint16_t type;
		struct bytes data;
		ck_assert_int_eq(block_next(buf_bytes(&out), &cursor, &type, &data), 1);
		ck_assert(bytes_equal(data, bytes_of("0123456789abcdefg", size)));
		ck_assert_uint_eq(cursor % 8, 0);
	}
}
END_TEST

START_TEST(test_block_truncated_at_every_byte)
{
	make_golden();
	for (size_t size = 0; size < out.size; size++) {
		uint8_t *exact = malloc(size + 1);
		ck_assert_ptr_nonnull(exact);
		memcpy(exact + 1, out.data, size);
		ck_assert_int_eq(block_view(bytes_of(exact + 1, size), &header, &err),
			ANNALS_E_CORRUPT_DATA);
		free(exact);
	}
	ck_assert_int_eq(buf_add_zeros(&out, 8), 0); /* and with bytes behind it */
	ASSERT_FAILS(view(), ANNALS_E_CORRUPT_DATA, err, "3 commands where its header says 2");
}
END_TEST

static void expect_changed(size_t at, uint8_t byte, int code, const char *says)
{
	uint8_t before = out.data[at];
	out.data[at] = byte;
	ASSERT_FAILS(view(), code, err, says);
	out.data[at] = before;
}

START_TEST(test_block_impossible_headers)
{
	make_golden();
	expect_changed(0, 'X', ANNALS_E_CORRUPT_DATA, "instead of its magic");
	expect_changed(4, 2, ANNALS_E_FORMAT_NEWER, "format 2, this version reads up to 1");
	expect_changed(5, 1, ANNALS_E_FORMAT_NEWER, "format 257");
	expect_changed(4, 0, ANNALS_E_CORRUPT_DATA, "impossible");
	expect_changed(6, 1, ANNALS_E_CORRUPT_DATA, "impossible");
	expect_changed(12, 1, ANNALS_E_CORRUPT_DATA, "impossible");
	expect_changed(8, 0, ANNALS_E_CORRUPT_DATA, "impossible");
	expect_changed(8, 1, ANNALS_E_CORRUPT_DATA, "2 commands where its header says 1");
	expect_changed(8, 3, ANNALS_E_CORRUPT_DATA, "2 commands where its header says 3");
	expect_changed(11, 0x80, ANNALS_E_CORRUPT_DATA, "2 commands where");
}
END_TEST

START_TEST(test_block_impossible_commands)
{
	make_golden();
	expect_changed(34, 1, ANNALS_E_CORRUPT_DATA, "command 0");    /* not zero */
	expect_changed(36, 9, ANNALS_E_CORRUPT_DATA, "command 0");    /* swallows a header */
	expect_changed(39, 0x7f, ANNALS_E_CORRUPT_DATA, "command 0"); /* 2^31 */
	expect_changed(39, 0xff, ANNALS_E_CORRUPT_DATA, "command 0");
	expect_changed(63, 1, ANNALS_E_CORRUPT_DATA, "command 1"); /* padding */
	memset(out.data + 36, 0xff, 4);                            /* 2^32 - 1 */
	ASSERT_FAILS(view(), ANNALS_E_CORRUPT_DATA, err, "command 0");
}
END_TEST

START_TEST(test_block_unknown_commands_are_the_appliers_business)
{
	ck_assert_int_eq(block_begin(&out), 0);
	add((enum block_command)999, "x", 1);
	block_finish(&out, 1, 0, 0);
	ck_assert_int_eq(view(), 0);
}
END_TEST

START_TEST(test_block_too_large)
{
	uint8_t *room;
	ck_assert_int_eq(block_begin(&out), 0);
	ck_assert_int_eq(
		block_add(&out, BLOCK_APPEND, BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES - 8, &room), 0);
	block_finish(&out, 1, 0, 0);
	ck_assert_int_eq(view(), 0);
	ck_assert_int_eq(block_add(&out, BLOCK_APPEND, 0, &room), 0);
	block_finish(&out, 2, 0, 0);
	ASSERT_FAILS(view(), ANNALS_E_CORRUPT_DATA, err, "cannot have 8388616 bytes");
	size_t before = out.size;
	ck_assert_int_eq(block_add(&out, BLOCK_APPEND, SIZE_MAX, &room), ANNALS_E_NO_MEMORY);
	ck_assert_int_eq(block_add(&out, BLOCK_APPEND, UINT32_MAX, &room), ANNALS_E_NO_MEMORY);
	ck_assert_uint_eq(out.size, before);
}
END_TEST

SUITE_MAIN("block", setup, teardown, test_block_golden_bytes, test_block_padding_is_zero,
	test_block_truncated_at_every_byte, test_block_impossible_headers,
	test_block_impossible_commands, test_block_unknown_commands_are_the_appliers_business,
	test_block_too_large)
