#include "net/output.h"
#include "suite.h"
#include <stdlib.h>

static struct output_pool *pool;
static struct output output;
static uint8_t bytes[100000];

static void setup(void)
{
	pool = output_pool_new();
	ck_assert_ptr_nonnull(pool);
	output_init(&output);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	}
}

static void teardown(void)
{
	output_release(&output, pool);
	output_pool_free(pool);
}

/* Takes everything out, `step` bytes at a time, and compares it with bytes[from..]. */
static void expect_bytes(size_t from, size_t step)
{
	while (output.size_bytes > 0) {
		struct iovec pieces[4];
		int count = output_pieces(&output, SIZE_MAX, pieces, 4);
		size_t taken = 0;
		ck_assert_int_gt(count, 0);
		for (int i = 0; i < count && taken < step; i++) {
			size_t part = ANNALS_MIN(pieces[i].iov_len, step - taken);
			ck_assert_mem_eq(pieces[i].iov_base, bytes + from + taken, part);
			taken += part;
		}
		output_consume(&output, pool, taken);
		from += taken;
	}
	ck_assert_int_eq(output_pieces(&output, SIZE_MAX, (struct iovec[1]){{NULL, 0}}, 1), 0);
}

START_TEST(test_output_small_pieces_share_chunks)
{
	struct iovec pieces[8];
	for (size_t i = 0; i < 100; i++) {
		ck_assert_int_eq(output_add(&output, pool, bytes + i * 30, 30), 0);
	}
	ck_assert_uint_eq(output.size_bytes, 3000);
	ck_assert_int_eq(output_pieces(&output, SIZE_MAX, pieces, 8), 1);
	expect_bytes(0, 777);
}
END_TEST

START_TEST(test_output_large_contents_are_cut_and_kept_in_order)
{
	ck_assert_int_eq(output_add(&output, pool, bytes, 10), 0);
	ck_assert_int_eq(output_add(&output, pool, bytes + 10, sizeof(bytes) - 10), 0);
	expect_bytes(0, 3001);
}
END_TEST

START_TEST(test_output_takes_large_buffers_without_a_copy)
{
	struct buf data = BUF_INIT;
	struct iovec pieces[4];
	const uint8_t *memory;
	ck_assert_int_eq(buf_add(&data, bytes + 5, 50000), 0);
	memory = data.data;
	ck_assert_int_eq(output_add(&output, pool, bytes, 5), 0);
	ck_assert_int_eq(output_add_buf(&output, pool, &data), 0);
	ck_assert_ptr_null(data.data);
	ck_assert_int_eq(output_add(&output, pool, bytes + 50005, 5), 0);
	ck_assert_int_eq(output_pieces(&output, SIZE_MAX, pieces, 4), 3);
	ck_assert_ptr_eq(pieces[1].iov_base, memory);
	expect_bytes(0, 40000);
}
END_TEST

START_TEST(test_output_small_and_empty_buffers_are_copied)
{
	struct buf data = BUF_INIT;
	ck_assert_int_eq(output_add_buf(&output, pool, &data), 0);
	ck_assert_uint_eq(output.size_bytes, 0);
	ck_assert_int_eq(buf_add(&data, bytes, 100), 0);
	ck_assert_int_eq(output_add_buf(&output, pool, &data), 0);
	ck_assert_ptr_null(data.data);
	expect_bytes(0, 100);
}
END_TEST

START_TEST(test_output_moves_to_another_queue)
{
	struct output other;
	output_init(&other);
	ck_assert_int_eq(output_add(&output, pool, bytes, 5000), 0);
	ck_assert_int_eq(output_add(&other, pool, bytes + 5000, 6000), 0);
	output_move(&output, &other);
	ck_assert_uint_eq(other.size_bytes, 0);
	ck_assert_uint_eq(output.size_bytes, 11000);
	expect_bytes(0, 4096);
}
END_TEST

SUITE_MAIN("output", setup, teardown, test_output_small_pieces_share_chunks,
	test_output_large_contents_are_cut_and_kept_in_order,
	test_output_takes_large_buffers_without_a_copy,
	test_output_small_and_empty_buffers_are_copied, test_output_moves_to_another_queue)
