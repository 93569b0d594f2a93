#include <annals/crc32c.h>
#include <annals/hash.h>
#include <stdlib.h>
#include <unistd.h>

#include "history_sim.h"
#include "history_text.h"
#include "suite.h"

static char path[] = "/tmp/annals-history-XXXXXX";
static int fd;
static uint8_t *data;
static size_t size;

static void setup(void)
{
	memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	data = NULL;
}

static void teardown(void)
{
	free(data);
	(void)close(fd);
	(void)unlink(path);
}

static void load(void)
{
	free(data);
	ck_assert_int_eq(history_load(path, &data, &size, NULL), 0);
}

struct seen {
	unsigned records;
	struct history_op op;
	struct history_part parts[2];
};

static int keep(void *arg, const struct history_op *op, struct error *err)
{
	struct seen *seen = arg;
	(void)err;
	seen->records++;
	seen->op = *op;
	for (uint32_t i = 0; i < op->part_count && i < 2; i++) {
		seen->parts[i] = op->parts[i];
	}
	return 0;
}

START_TEST(test_history_keeps_every_field)
{
	uint8_t values[16];
	struct history_writer writer;
	struct history_stats stats;
	struct seen seen = {0};
	store_u64(values, UINT64_C(0x0123456789abcdef));
	store_u64(values + 8, 7);
	struct history_part parts[2] = {{.mask = HISTORY_PART_KNOWN,
						.topic = 3,
						.partition = 9,
						.count = 2,
						.stream = UINT64_MAX,
						.offset = 1u << 30,
						.version = 5,
						.expected = 6,
						.start = 7,
						.end = 8,
						.delivery = 9,
						.values = values},
		{.mask = 0, .topic = 1, .partition = HISTORY_NO_PARTITION}};
	struct history_op op = {.kind = HISTORY_APPEND,
		.outcome = HISTORY_CONFLICT,
		.mask = HISTORY_OP_KNOWN,
		.client = 4000000000u,
		.attempt = 2,
		.number = UINT64_MAX,
		.invoke_ns = 5000,
		.return_ns = 6000,
		.producer_id = 1,
		.producer_epoch = 2,
		.producer_sequence = 3,
		.group = UINT64_MAX,
		.generation = 4,
		.status = ANNALS_E_CONFLICT,
		.text = bytes_text("text"),
		.parts = parts,
		.part_count = 2};
	history_writer_init(&writer, fd);
	op.invoke_ns = 9000;
	op.return_ns = 9000;
	ck_assert_int_eq(history_write(&writer, &op, NULL), 0);
	/* Earlier than the block's base. */
	op.invoke_ns = 5000;
	op.return_ns = 6000;
	ck_assert_int_eq(history_write(&writer, &op, NULL), 0);
	op.return_ns = 4999;
	ck_assert_int_eq(history_write(&writer, &op, NULL), ANNALS_E_INVALID);
	ck_assert_int_eq(history_flush(&writer, NULL), 0);
	history_writer_release(&writer);
	load();
	ck_assert_int_eq(history_read(bytes_of(data, size), keep, &seen, &stats, NULL), 0);
	ck_assert_uint_eq(seen.records, 2);
	ck_assert_uint_eq(stats.records, 2);
	ck_assert_uint_eq(stats.blocks, 1);
	ck_assert_uint_eq(seen.op.invoke_ns, 5000);
	ck_assert_uint_eq(seen.op.return_ns, 6000);
	ck_assert_uint_eq(seen.op.client, 4000000000u);
	ck_assert_uint_eq(seen.op.number, UINT64_MAX);
	ck_assert_uint_eq(seen.op.attempt, 2);
	ck_assert_int_eq(seen.op.outcome, HISTORY_CONFLICT);
	ck_assert_uint_eq(seen.op.producer_sequence, 3);
	ck_assert_uint_eq(seen.op.group, UINT64_MAX);
	ck_assert_uint_eq(seen.op.generation, 4);
	ck_assert_int_eq(seen.op.status, ANNALS_E_CONFLICT);
	ck_assert(bytes_is(seen.op.text, "text"));
	ck_assert_uint_eq(seen.parts[0].partition, 9);
	ck_assert_uint_eq(seen.parts[0].stream, UINT64_MAX);
	ck_assert_uint_eq(seen.parts[0].offset, 1u << 30);
	ck_assert_uint_eq(seen.parts[0].delivery, 9);
	ck_assert_int_eq(memcmp(seen.parts[0].values, values, 16), 0);
	ck_assert_uint_eq(seen.parts[1].partition, HISTORY_NO_PARTITION);
	ck_assert_uint_eq(seen.parts[1].count, 0);
}
END_TEST

START_TEST(test_history_joins_recorders_and_leaves_a_cut_block_out)
{
	struct history_stats stats;
	struct seen seen = {0};
	history_from_text("1 10-20 append p0 @0 1 2\n", fd);
	history_from_text("2 10-20 append p0 @2 3 4\n2 30-40 read p0 @0 1 2 3 4\n", fd);
	load();
	ck_assert_int_eq(history_read(bytes_of(data, size), keep, &seen, &stats, NULL), 0);
	ck_assert_uint_eq(stats.blocks, 2);
	ck_assert_uint_eq(stats.records, 3);
	for (size_t cut = 1; cut < 40; cut++) {
		ck_assert_int_eq(
			history_read(bytes_of(data, size - cut), keep, &seen, &stats, NULL), 0);
		ck_assert_uint_eq(stats.blocks, 1);
		ck_assert_uint_gt(stats.cut_bytes, 0);
	}
}
END_TEST

START_TEST(test_history_refuses_every_changed_byte)
{
	struct history_stats stats;
	struct seen seen = {0};
	history_from_text("1 10-20 append p0 @0 key3 ver0 1 2\n2 30-40 read p0 @0 1 2\n", fd);
	load();
	for (size_t i = 0; i < size; i++) {
		data[i] ^= 0x10;
		ck_assert_msg(history_read(bytes_of(data, size), keep, &seen, &stats, NULL) < 0,
			"byte %zu", i);
		data[i] ^= 0x10;
	}
	ck_assert_int_eq(history_read(bytes_of(data, size), keep, &seen, &stats, NULL), 0);
}
END_TEST

/* Random changes under valid checksums: an error or a history, never a crash. */
START_TEST(test_history_survives_hostile_records)
{
	struct random random = {42};
	history_simulate(7, 60, fd);
	load();
	for (unsigned round = 0; round < 20000; round++) {
		uint8_t *copy = malloc(size);
		struct checker *checker = checker_new();
		static struct checker_report report;
		memcpy(copy, data, size);
		uint32_t bytes = load_u32(copy + 32);
		ck_assert_uint_eq(bytes + HISTORY_BLOCK_HEADER_BYTES, size);
		for (unsigned i = 0; i <= random_below(&random, 4); i++) {
			copy[HISTORY_BLOCK_HEADER_BYTES + random_below(&random, bytes)] =
				(uint8_t)random_next(&random);
		}
		store_u32(copy + 36, crc32c(0, copy + HISTORY_BLOCK_HEADER_BYTES, bytes));
		store_u32(copy + 44, crc32c(0, copy, 44));
		if (checker_add(checker, bytes_of(copy, size), NULL) == 0) {
			ck_assert_int_eq(checker_judge(checker, &report, NULL), 0);
		}
		checker_free(checker);
		free(copy);
	}
}
END_TEST

START_TEST(test_history_misses_a_lost_block)
{
	struct history_stats stats;
	struct seen seen = {0};
	struct error err = {0};
	struct history_writer writer;
	struct history_op op = {.kind = HISTORY_SERVER};
	history_writer_init(&writer, fd);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(history_write(&writer, &op, NULL), 0);
		ck_assert_int_eq(history_flush(&writer, NULL), 0);
	}
	history_writer_release(&writer);
	load();
	size_t block = size / 3;
	memmove(data + block, data + 2 * block, block);
	ASSERT_FAILS(history_read(bytes_of(data, 2 * block), keep, &seen, &stats, &err),
		ANNALS_E_CORRUPT_DATA, err, "block 1 is missing");
}
END_TEST

START_TEST(test_history_value_differs)
{
	ck_assert_uint_ne(history_value("a", 1), history_value("b", 1));
	ck_assert_uint_ne(history_value("a", 1), history_value("a\0", 2));
	/* Part of the format. */
	ck_assert_uint_eq(history_value("annals", 6), history_value("annals", 6));
}
END_TEST

SUITE_MAIN("history", setup, teardown, test_history_keeps_every_field,
	test_history_joins_recorders_and_leaves_a_cut_block_out,
	test_history_refuses_every_changed_byte, test_history_survives_hostile_records,
	test_history_misses_a_lost_block, test_history_value_differs)
