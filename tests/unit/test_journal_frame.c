#include "journal/journal_frame.h"

#include <annals/crc32c.h>
#include <check.h>
#include <stdlib.h>

static const struct journal_segment_header segment = {
	.uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	.sequence = 0x1122334455667788,
	.salt = 0x99aabbccddeeff01,
	.segment_bytes = 64u << 20,
	.after = 42,
};

static struct journal_frame make_frame(uint8_t out[JOURNAL_HEADER_BYTES], struct bytes block)
{
	struct journal_frame frame = {
		.salt = 1,
		.sequence = 2,
		.number = 3,
		.durable = 2,
		.chain = 5,
		.length = (uint32_t)block.size,
		.opening = 6,
		.uuid_part = 7,
	};
	journal_frame_write(out, &frame, block);
	return frame;
}

START_TEST(test_journal_frame_segment_header_reads_back)
{
	uint8_t bytes[JOURNAL_HEADER_BYTES];
	struct journal_segment_header read;
	memset(&read, 0, sizeof(read));
	journal_segment_header_write(bytes, &segment);
	ck_assert_int_eq(journal_segment_header_read(bytes, &read), JOURNAL_CHECK_OK);
	ck_assert_mem_eq(read.uuid, segment.uuid, sizeof(read.uuid));
	ck_assert_uint_eq(read.sequence, segment.sequence);
	ck_assert_uint_eq(read.salt, segment.salt);
	ck_assert_uint_eq(read.segment_bytes, segment.segment_bytes);
	ck_assert_uint_eq(read.after, segment.after);
}
END_TEST

/* The bytes on the disk are a promise: this is what docs/disk-format.md says. */
START_TEST(test_journal_frame_bytes_are_as_documented)
{
	uint8_t bytes[JOURNAL_HEADER_BYTES];
	journal_segment_header_write(bytes, &segment);
	ck_assert_mem_eq(bytes, "AJS1\1\0\0\0\1\2\3\4", 12);
	ck_assert_uint_eq(load_u64(bytes + 24), segment.sequence);
	ck_assert_uint_eq(load_u64(bytes + 40), segment.segment_bytes);
	ck_assert_uint_eq(load_u32(bytes + 60), crc32c(0, bytes, 60));
	struct journal_frame frame = make_frame(bytes, bytes_text("hello"));
	ck_assert_mem_eq(bytes, "AJF1\1\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0", 28);
	ck_assert_uint_eq(load_u32(bytes + 40), 5);
	ck_assert_uint_eq(load_u32(bytes + 44), 5);
	ck_assert_uint_eq(load_u32(bytes + 56), crc32c(0, bytes, 56));
	ck_assert_uint_eq(load_u32(bytes + 60), crc32c(crc32c(0, bytes, 56), "hello", 5));
	ck_assert_uint_eq(load_u32(bytes + 60), frame.crc);
}
END_TEST

START_TEST(test_journal_frame_every_flipped_bit_of_a_header_is_found)
{
	uint8_t bytes[JOURNAL_HEADER_BYTES];
	struct journal_segment_header read;
	struct journal_frame frame;
	struct bytes block = bytes_text("a block");
	for (unsigned bit = 0; bit < JOURNAL_HEADER_BYTES * 8; bit++) {
		journal_segment_header_write(bytes, &segment);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(journal_segment_header_read(bytes, &read), JOURNAL_CHECK_ABSENT);
		make_frame(bytes, block);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (bit / 8 < 60) {
			ck_assert_int_eq(journal_frame_read(bytes, &frame), JOURNAL_CHECK_ABSENT);
		}
		if (bit / 8 < 56 || bit / 8 >= 60) {
			ck_assert_int_eq(journal_frame_check(bytes, block), JOURNAL_CHECK_DAMAGED);
		}
	}
}
END_TEST

START_TEST(test_journal_frame_every_flipped_bit_of_a_block_is_found)
{
	uint8_t header[JOURNAL_HEADER_BYTES], block[100];
	memset(block, 0x5a, sizeof(block));
	make_frame(header, bytes_of(block, sizeof(block)));
	ck_assert_int_eq(
		journal_frame_check(header, bytes_of(block, sizeof(block))), JOURNAL_CHECK_OK);
	for (unsigned bit = 0; bit < sizeof(block) * 8; bit++) {
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(journal_frame_check(header, bytes_of(block, sizeof(block))),
			JOURNAL_CHECK_DAMAGED);
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_int_eq(journal_frame_check(header, bytes_of(block, sizeof(block) - 1)),
		JOURNAL_CHECK_DAMAGED);
}
END_TEST

/* The chain leans on this: two frames of the same block with different headers have different
 * checksums. */
START_TEST(test_journal_frame_checksum_depends_on_the_header)
{
	uint8_t header[JOURNAL_HEADER_BYTES];
	struct bytes block = bytes_text("a block");
	struct journal_frame frame = make_frame(header, block);
	uint32_t crc = frame.crc;
	frame.opening++;
	journal_frame_write(header, &frame, block);
	ck_assert_uint_ne(frame.crc, crc);
}
END_TEST

START_TEST(test_journal_frame_newer_formats_are_named)
{
	uint8_t bytes[JOURNAL_HEADER_BYTES];
	struct journal_segment_header read;
	struct journal_frame frame;
	journal_segment_header_write(bytes, &segment);
	store_u32(bytes + 4, JOURNAL_FORMAT + 1);
	store_u32(bytes + 60, crc32c(0, bytes, 60));
	ck_assert_int_eq(journal_segment_header_read(bytes, &read), JOURNAL_CHECK_NEWER);
	make_frame(bytes, bytes_text("x"));
	store_u16(bytes + 4, JOURNAL_FORMAT + 1);
	store_u32(bytes + 56, crc32c(0, bytes, 56));
	ck_assert_int_eq(journal_frame_read(bytes, &frame), JOURNAL_CHECK_NEWER);
}
END_TEST

START_TEST(test_journal_frame_sizes_are_whole_pages)
{
	ck_assert_uint_eq(journal_frame_size(1), 4096);
	ck_assert_uint_eq(journal_frame_size(4096 - 64), 4096);
	ck_assert_uint_eq(journal_frame_size(4096 - 63), 8192);
	ck_assert_uint_eq(journal_frame_size(UINT32_MAX), (UINT64_C(1) << 32) + 4096);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal_frame");
	TCase *tcase = tcase_create("journal_frame");
	tcase_add_test(tcase, test_journal_frame_segment_header_reads_back);
	tcase_add_test(tcase, test_journal_frame_bytes_are_as_documented);
	tcase_add_test(tcase, test_journal_frame_every_flipped_bit_of_a_header_is_found);
	tcase_add_test(tcase, test_journal_frame_every_flipped_bit_of_a_block_is_found);
	tcase_add_test(tcase, test_journal_frame_checksum_depends_on_the_header);
	tcase_add_test(tcase, test_journal_frame_newer_formats_are_named);
	tcase_add_test(tcase, test_journal_frame_sizes_are_whole_pages);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
