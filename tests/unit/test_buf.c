#include <annals/buf.h>

#include "suite.h"
#include <stdlib.h>

START_TEST(test_buf_grows_and_keeps_its_bytes)
{
	struct buf buf = BUF_INIT;

	for (int i = 0; i < 100000; i++) {
		ck_assert_int_eq(buf_add_byte(&buf, (uint8_t)i), 0);
	}
	ck_assert_uint_eq(buf.size, 100000);
	for (int i = 0; i < 100000; i++) {
		ck_assert_uint_eq(buf.data[i], (uint8_t)i);
	}
	buf_release(&buf);
	ck_assert_ptr_null(buf.data);
	buf_release(&buf);
	buf_release(NULL);
}
END_TEST

START_TEST(test_buf_refuses_impossible_sizes_and_stays_as_it_was)
{
	struct buf buf = BUF_INIT;

	ck_assert_int_eq(buf_add_text(&buf, "abc"), 0);
	ck_assert_int_eq(buf_reserve(&buf, SIZE_MAX - 1), ANNALS_E_NO_MEMORY);
	ck_assert_int_eq(buf_reserve(&buf, SIZE_MAX / 2), ANNALS_E_NO_MEMORY);
	ck_assert_str_eq(buf_text(&buf), "abc");
	buf_release(&buf);
}
END_TEST

START_TEST(test_buf_prints_zeros_and_consumes)
{
	struct buf buf = BUF_INIT;

	ck_assert_int_eq(buf_printf(&buf, "%s-%d", "offset", 41), 0);
	ck_assert_str_eq(buf_text(&buf), "offset-41");
	ck_assert_uint_eq(buf.size, 9);
	buf_consume(&buf, 7);
	ck_assert_str_eq(buf_text(&buf), "41");
	buf_consume(&buf, 0);
	ck_assert_int_eq(buf_add_zeros(&buf, 3), 0);
	ck_assert_mem_eq(buf.data, "41\0\0\0", 5);
	buf_consume(&buf, 5);
	ck_assert_uint_eq(buf.size, 0);
	buf_release(&buf);
}
END_TEST

START_TEST(test_buf_detach_and_trim)
{
	struct buf buf = BUF_INIT;
	size_t size;
	uint8_t *data;

	ck_assert_int_eq(buf_add_text(&buf, "hand over"), 0);
	data = buf_detach(&buf, &size);
	ck_assert_uint_eq(size, 9);
	ck_assert_mem_eq(data, "hand over", 9);
	ck_assert_ptr_null(buf.data);
	free(data);
	ck_assert_int_eq(buf_add_zeros(&buf, 1000), 0);
	buf_trim(&buf, 4096);
	ck_assert_ptr_nonnull(buf.data);
	buf_trim(&buf, 100);
	ck_assert_ptr_null(buf.data);
}
END_TEST

SUITE_MAIN("buf", NULL, NULL, test_buf_grows_and_keeps_its_bytes,
	test_buf_refuses_impossible_sizes_and_stays_as_it_was, test_buf_prints_zeros_and_consumes,
	test_buf_detach_and_trim)
