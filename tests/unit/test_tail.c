/* The tail's index and the overlay, without threads. */
#include "overlay.h"
#include "suite.h"
#include "tail.h"

#include <stdlib.h>

static struct tail tail;
static struct partition_tail partition;
static struct overlay overlay;

static void setup(void)
{
	ck_assert_int_eq(tail_init(&tail, 1u << 20), 0);
	ck_assert_int_eq(overlay_init(&overlay), 0);
	partition_tail_init(&partition);
}

static void teardown(void)
{
	tail_release(&tail);
	overlay_release(&overlay);
	partition_tail_release(&partition);
}

/* A block with `entries` batches of 3 offsets and 1,000 bytes each. */
static void publish(uint64_t number, uint64_t first_offset, unsigned entries)
{
	static const uint8_t bytes[64];
	struct tail_block *block = tail_block_new(number, bytes_of(bytes, sizeof(bytes)));
	ck_assert_ptr_nonnull(block);
	for (unsigned i = 0; i < entries; i++) {
		struct tail_entry entry = {.base_offset = first_offset + i * 3,
			.block = block,
			.bytes = 1000,
			.count = 3};
		ck_assert_int_eq(tail_reserve_entry(&partition), 0);
		tail_add_entry(&tail, &partition, &entry);
	}
	tail_add_block(&tail, block);
}

START_TEST(test_tail_pins_blocks_until_their_last_entry_is_dropped)
{
	publish(5, 0, 2);
	publish(6, 6, 1);
	publish(8, 9, 0); /* nothing in it: gone at once */
	ck_assert_uint_eq(tail.block_count, 2);
	ck_assert_uint_eq(tail_oldest_block(&tail), 5);
	tail_drop_entries(&tail, &partition, 1);
	ck_assert_uint_eq(tail_oldest_block(&tail), 5);
	tail_drop_entries(&tail, &partition, 1);
	ck_assert_uint_eq(tail_oldest_block(&tail), 6);
	tail_drop_entries(&tail, &partition, 1);
	ck_assert_uint_eq(tail_oldest_block(&tail), 0);
	ck_assert_uint_eq(tail.bytes, 0);
	ck_assert(list_is_empty(&tail.waiting));
}
END_TEST

START_TEST(test_tail_finds_entries_round_the_ring)
{
	uint64_t dropped = 0, added = 0;
	for (uint64_t number = 1; number <= 200; number++) {
		publish(number, added * 3, 7);
		added += 7;
		tail_drop_entries(&tail, &partition, number % 9);
		dropped += number % 9;
		for (uint64_t i = dropped; i < added; i++) {
			ck_assert_uint_eq(tail_find(&partition, i * 3), i - dropped);
			ck_assert_uint_eq(tail_find(&partition, i * 3 + 2), i - dropped);
		}
		ck_assert_uint_eq(tail_find(&partition, added * 3), partition.count);
	}
	tail_drop_entries(&tail, &partition, partition.count);
	ck_assert_uint_eq(tail.bytes, 0);
}
END_TEST

START_TEST(test_tail_knows_who_is_ready)
{
	publish(1, 0, 32);
	ck_assert(list_is_empty(&tail.ready));
	publish(2, 96, 1);
	ck_assert(!list_is_empty(&tail.ready));
	ck_assert_uint_eq(tail.ready_bytes, 33000);
	publish(3, 99, 2);
	ck_assert_uint_eq(tail.ready_bytes, 35000);
	tail_drop_entries(&tail, &partition, 20);
	ck_assert(list_is_empty(&tail.ready));
	ck_assert_uint_eq(tail.ready_bytes, 0);
	ck_assert_uint_eq(tail.ready_partitions, 0);
	tail_drop_entries(&tail, &partition, partition.count);
}
END_TEST

static void put(const char *key, const char *value, uint64_t block)
{
	ck_assert_int_eq(overlay_put(&overlay, TABLE_OFFSETS, bytes_text(key),
				 value != NULL ? bytes_text(value) : bytes_of(NULL, 0), block),
		0);
}

START_TEST(test_overlay_keeps_the_newest_and_forgets_the_settled)
{
	put("a", "1", 1);
	put("b", "2", 2);
	put("a", "3", 3);
	put("b", NULL, 4);
	ck_assert_ptr_null(overlay_get(&overlay, TABLE_TOPICS, bytes_text("a")));
	const struct overlay_row *row = overlay_get(&overlay, TABLE_OFFSETS, bytes_text("a"));
	ck_assert(bytes_is(bytes_of(row->value, row->value_size), "3"));
	ck_assert(overlay_get(&overlay, TABLE_OFFSETS, bytes_text("b"))->deleted);
	overlay_settled(&overlay, 2);
	ck_assert_uint_eq(overlay.count, 2);
	overlay_settled(&overlay, 3);
	ck_assert_ptr_null(overlay_get(&overlay, TABLE_OFFSETS, bytes_text("a")));
	overlay_settled(&overlay, 4);
	ck_assert_uint_eq(overlay.count, 0);
	ck_assert_uint_eq(overlay.bytes, 0);
}
END_TEST

START_TEST(test_overlay_grows)
{
	for (uint32_t i = 0; i < 5000; i++) {
		ck_assert_int_eq(overlay_put(&overlay, TABLE_OFFSETS, bytes_of(&i, sizeof(i)),
					 bytes_of(&i, sizeof(i)), i),
			0);
	}
	for (uint32_t i = 0; i < 5000; i++) {
		const struct overlay_row *row =
			overlay_get(&overlay, TABLE_OFFSETS, bytes_of(&i, sizeof(i)));
		ck_assert_uint_eq(load_u32(row->value), i);
	}
	overlay_settled(&overlay, 2499);
	ck_assert_uint_eq(overlay.count, 2500);
}
END_TEST

SUITE_MAIN("tail", setup, teardown, test_tail_pins_blocks_until_their_last_entry_is_dropped,
	test_tail_finds_entries_round_the_ring, test_tail_knows_who_is_ready,
	test_overlay_keeps_the_newest_and_forgets_the_settled, test_overlay_grows)
