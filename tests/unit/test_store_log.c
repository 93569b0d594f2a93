/* Reading: pages over tail and LMDB, trims, time, damage. On every journal. */
#include "chunk.h"
#include "store_harness.h"
#include "suite.h"

#include <annals/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct store_harness f;

static void setup(void)
{
	store_harness_init(&f);
}

static void teardown(void)
{
	store_harness_release(&f);
}

static bool has_settled(const struct store_stats *stats)
{
	return stats->settled_bytes > 4u << 20;
}

START_TEST(test_log_reads_across_tail_and_lmdb)
{
	uint32_t topic = store_harness_topic(&f, "t", 3);
	for (unsigned round = 0; round < 10; round++) {
		for (uint32_t p = 0; p < 3; p++) {
			store_harness_fill(&f, topic, p, 30, round * 100 + p * 31);
		}
	}
	ck_assert(store_harness_wait_for(&f, has_settled));
	for (uint32_t p = 0; p < 3; p++) {
		ck_assert_uint_eq(store_harness_read(&f, topic, p, 0, NULL), 3000);
		/* From inside batches and chunks, too. */
		for (uint64_t from = 0; from <= 3000; from += 77) {
			ck_assert_uint_eq(
				store_harness_read(&f, topic, p, from, NULL), 3000 - from);
		}
	}
}
END_TEST

/* Pages backwards from `from`, checked to be dense; returns how many events they hold. */
static uint64_t read_backwards(uint32_t topic, uint32_t partition, uint64_t from)
{
	struct read_request page = {.base.operation = STORE_READ,
		.topic_id = topic,
		.partition = partition,
		.offset = from,
		.bytes_max = 50000,
		.backwards = true};
	uint64_t seen = 0;
	for (;;) {
		buf_reset(&page.batches);
		ck_assert_msg(store_read(f.store, &page.base, 0) == 0 && page.base.status == 0,
			"%s", page.base.error.text);
		struct bytes left = buf_bytes(&page.batches);
		uint64_t next = page.next_offset;
		if (left.size == 0) {
			ck_assert_uint_eq(page.offset, page.first_offset);
			break;
		}
		ck_assert_uint_lt(page.next_offset, page.offset);
		while (left.size > 0) {
			struct batch batch;
			ck_assert_int_eq(batch_view(left, &batch), 0);
			ck_assert_uint_lt(batch.stamp.base_offset, page.offset);
			/* The first batch kept may begin before the first offset kept. */
			ck_assert_uint_le(batch.stamp.base_offset, next);
			next = batch.stamp.base_offset + batch.stamp.count;
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
		ck_assert_uint_ge(next, page.offset);
		seen += page.offset - page.next_offset;
		page.offset = page.next_offset;
	}
	buf_release(&page.batches);
	return seen;
}

START_TEST(test_log_reads_backwards_across_tail_and_lmdb)
{
	uint32_t topic = store_harness_topic(&f, "t", 3);
	for (unsigned round = 0; round < 10; round++) {
		for (uint32_t p = 0; p < 3; p++) {
			store_harness_fill(&f, topic, p, 30, round * 100 + p * 31);
			/* While the settler moves them. */
			ck_assert_uint_eq(
				read_backwards(topic, p, (round + 1) * 300), (round + 1) * 300);
		}
	}
	ck_assert_int_eq(store_harness_append(&f, topic, 1, 2, 200000, 7, NULL), 0);
	ck_assert_uint_eq(read_backwards(topic, 1, 3002), 3002);
	ck_assert(store_harness_wait_for(&f, has_settled));
	for (uint64_t from = 0; from <= 3000; from += 77) {
		ck_assert_uint_eq(read_backwards(topic, 2, from), from);
	}
	ck_assert_int_eq(store_harness_trim(&f, topic, 0, 1234), 0);
	struct partition_info info = store_harness_info(&f, topic, 0);
	ck_assert_uint_eq(read_backwards(topic, 0, 3000), 3000 - info.first_offset);
	struct read_request page = {.base.operation = STORE_READ,
		.topic_id = topic,
		.offset = info.first_offset - 1,
		.backwards = true};
	ck_assert_int_eq(store_read(f.store, &page.base, 0), 0);
	ck_assert_int_eq(page.base.status, ANNALS_E_OFFSET_GONE);
	page.offset = info.end_offset + 1;
	ck_assert_int_eq(store_read(f.store, &page.base, 0), 0);
	ck_assert_int_eq(page.base.status, ANNALS_E_OFFSET_BEYOND_END);
}
END_TEST

START_TEST(test_log_refuses_what_is_out_of_range)
{
	uint32_t topic = store_harness_topic(&f, "t", 1);
	struct read_request page;
	ck_assert_int_eq(store_harness_read_page(&f, topic, 0, 0, &page), 0);
	ck_assert_uint_eq(page.batches.size, 0);
	store_harness_fill(&f, topic, 0, 2, 1);
	ck_assert_int_eq(store_harness_read_page(&f, topic, 0, 20, &page), 0);
	ck_assert_uint_eq(page.next_offset, 20);
	ck_assert_int_eq(
		store_harness_read_page(&f, topic, 0, 21, &page), ANNALS_E_OFFSET_BEYOND_END);
	ck_assert_int_eq(
		store_harness_read_page(&f, topic, 1, 0, &page), ANNALS_E_UNKNOWN_PARTITION);
	ck_assert_int_eq(
		store_harness_read_page(&f, topic + 1, 0, 0, &page), ANNALS_E_UNKNOWN_TOPIC);
}
END_TEST

START_TEST(test_log_page_holds_at_least_one_batch)
{
	uint32_t topic = store_harness_topic(&f, "t", 1);
	struct read_request page = {
		.base.operation = STORE_READ, .topic_id = topic, .bytes_max = 1};
	store_harness_fill(&f, topic, 0, 3, 1);
	ck_assert_int_eq(store_read(f.store, &page.base, 0), 0);
	ck_assert_uint_eq(page.batch_count, 1);
	ck_assert_uint_eq(page.next_offset, 10);
	buf_release(&page.batches);
}
END_TEST

START_TEST(test_log_keeps_batches_larger_than_a_value)
{
	uint32_t topic = store_harness_topic(&f, "t", 1);
	uint32_t before, after;
	uint64_t total = 0;
	for (unsigned i = 0; i < 12; i++) {
		ck_assert_int_eq(
			store_harness_append(&f, topic, 0, 3, 20000 + i * 25000, i, NULL), 0);
		ck_assert_int_eq(store_harness_append(&f, topic, 0, 1, 100, i, NULL), 0);
		total += 4;
	}
	ck_assert_uint_eq(store_harness_read(&f, topic, 0, 0, &before), total);
	store_harness_fill(&f, topic, 0, 600, 1000);
	ck_assert(store_harness_wait_for(&f, has_settled));
	for (uint64_t offset = 0; offset < total;) {
		struct read_request page;
		ck_assert_msg(store_harness_read_page(&f, topic, 0, offset, &page) == 0, "%s",
			page.base.error.text);
		ck_assert_uint_gt(page.next_offset, offset);
		offset = page.next_offset;
		buf_release(&page.batches);
	}
	ck_assert_uint_eq(store_harness_read(&f, topic, 0, 0, &after), total + 6000);
}
END_TEST

struct reader {
	pthread_t thread;
	uint32_t topic;
	atomic_bool *stop;
	uint64_t seen;
	char problem[256];
};

/* Follows the log from the beginning, again and again. */
static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	struct read_request page = {.base.operation = STORE_READ, .topic_id = reader->topic};
	page.bytes_max = 40000;
	uint64_t offset = 0;
	while (reader->problem[0] == 0) {
		buf_reset(&page.batches);
		page.offset = offset;
		(void)store_read(f.store, &page.base, 0);
		if (page.base.status != 0) {
			(void)snprintf(reader->problem, sizeof(reader->problem), "%s",
				page.base.error.text);
			break;
		}
		struct bytes left = buf_bytes(&page.batches);
		while (left.size > 0) {
			struct batch batch;
			if (batch_view(left, &batch) != 0 || batch.stamp.base_offset != offset) {
				(void)snprintf(reader->problem, sizeof(reader->problem),
					"a hole or a repeat at %llu", (unsigned long long)offset);
				break;
			}
			offset += batch.stamp.count;
			reader->seen += batch.stamp.count;
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
		if (page.next_offset != offset) {
			(void)snprintf(
				reader->problem, sizeof(reader->problem), "wrong next offset");
		}
		if (offset == page.end_offset) {
			if (*reader->stop) {
				break;
			}
			if (page.batches.size == 0) {
				offset = 0;
			}
		}
	}
	buf_release(&page.batches);
	return NULL;
}

START_TEST(test_log_has_no_hole_under_a_settler)
{
	atomic_bool stop = false;
	struct reader readers[3] = {0};
	uint32_t topic = store_harness_topic(&f, "t", 1);
	for (size_t i = 0; i < 3; i++) {
		readers[i].topic = topic;
		readers[i].stop = &stop;
		ck_assert_int_eq(
			pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]), 0);
	}
	store_harness_fill(&f, topic, 0, 1500, 1);
	stop = true;
	for (size_t i = 0; i < 3; i++) {
		(void)pthread_join(readers[i].thread, NULL);
		ck_assert_msg(readers[i].problem[0] == 0, "%s", readers[i].problem);
		ck_assert_uint_ge(readers[i].seen, 15000);
	}
}
END_TEST

static bool has_trimmed(const struct store_stats *stats)
{
	return stats->trimmed_chunks > 40 && stats->oldest_reader_age_us == 0;
}

START_TEST(test_log_trims_from_the_front)
{
	uint32_t topic = store_harness_topic(&f, "t", 2);
	struct read_request page;
	store_harness_fill(&f, topic, 0, 600, 1);
	store_harness_fill(&f, topic, 1, 10, 1);
	ck_assert(store_harness_wait_for(&f, has_settled));
	uint64_t bytes = store_harness_info(&f, topic, 0).stored_bytes;
	ck_assert_int_eq(store_harness_trim(&f, topic, 0, 5005), 0);
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).first_offset, 5005);
	ck_assert_int_eq(store_harness_read_page(&f, topic, 0, 5004, &page), ANNALS_E_OFFSET_GONE);
	ck_assert_uint_eq(store_harness_read(&f, topic, 0, 5005, NULL), 995);
	ck_assert(store_harness_wait_for(&f, has_trimmed));
	ck_assert_uint_eq(store_harness_read(&f, topic, 0, 5005, NULL), 995);
	for (int i = 0; i < 500 && store_harness_info(&f, topic, 0).stored_bytes > bytes / 2; i++) {
		(void)nanosleep(&(struct timespec){0, 10000000}, NULL);
	}
	ck_assert_uint_le(store_harness_info(&f, topic, 0).stored_bytes, bytes / 2);
	ck_assert_int_eq(store_harness_trim(&f, topic, 0, 6001), ANNALS_E_OFFSET_BEYOND_END);
	ck_assert_int_eq(store_harness_trim(&f, topic, 0, 100), 0);
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).first_offset, 5005);
	/* Everything, in the tail as well. */
	ck_assert_int_eq(store_harness_trim(&f, topic, 0, 6000), 0);
	ck_assert_int_eq(store_harness_read_page(&f, topic, 0, 6000, &page), 0);
	store_harness_fill(&f, topic, 0, 600, 7);
	ck_assert_uint_eq(store_harness_read(&f, topic, 0, 6000, NULL), 6000);
	if (store_harness_is_durable(&f)) {
		store_harness_reopen(&f);
		ck_assert_uint_eq(store_harness_info(&f, topic, 0).first_offset, 6000);
		ck_assert_uint_eq(store_harness_read(&f, topic, 0, 6000, NULL), 6000);
		ck_assert_uint_eq(store_harness_read(&f, topic, 1, 0, NULL), 100);
	}
}
END_TEST

static atomic_ullong fake_us;

static uint64_t fake_wall(void *arg)
{
	(void)arg;
	return fake_us;
}

static uint64_t real_monotonic(void *arg)
{
	struct timespec now;
	(void)arg;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t find_time(uint32_t topic, uint64_t time_us)
{
	struct find_time_request request = {
		.base.operation = STORE_FIND_TIME, .topic_id = topic, .time_us = time_us};
	ck_assert_int_eq(store_read(f.store, &request.base, 0), 0);
	ck_assert_msg(request.base.status == 0, "%s", request.base.error.text);
	return request.offset;
}

START_TEST(test_log_finds_a_time)
{
	const struct clock_source source = {real_monotonic, fake_wall, NULL};
	store_close(f.store);
	fake_us = 1000000;
	clock_set_source(&source);
	store_harness_open(&f);
	uint32_t topic = store_harness_topic(&f, "t", 1);
	ck_assert_uint_eq(find_time(topic, 5), 0);
	for (unsigned i = 0; i < 700; i++) {
		fake_us = 2000000 + i * 1000;
		store_harness_fill(&f, topic, 0, 1, i);
	}
	fake_us = 5; /* the wall clock jumps back: recorded times do not */
	store_harness_fill(&f, topic, 0, 1, 999);
	ck_assert(store_harness_wait_for(&f, has_settled));
	ck_assert_uint_eq(find_time(topic, 0), 0);
	for (unsigned i = 0; i < 700; i += 13) {
		ck_assert_uint_eq(find_time(topic, 2000000 + i * 1000), i * 10);
		ck_assert_uint_eq(find_time(topic, 2000000 + i * 1000 - 1), i * 10);
	}
	ck_assert_uint_eq(find_time(topic, 2699001), 7010);
	struct find_time_request request = {.base.operation = STORE_FIND_TIME,
		.base.queue = &f.waiter.queue,
		.topic_id = topic,
		.time_us = 2500000};
	if (store_read(f.store, &request.base, STORE_READ_NO_BLOCK) == 1) {
		ck_assert_ptr_eq(waiter_take(&f.waiter, 5000), &request.base);
	}
	ck_assert_uint_eq(request.offset, 5000);
	ck_assert_int_eq(store_harness_trim(&f, topic, 0, 3000), 0);
	ck_assert_uint_eq(find_time(topic, 0), 3000);
	clock_set_source(NULL);
}
END_TEST

/* Flips a byte of the chunk that holds `offset`, at `at` in its value. */
static uint64_t damage(uint32_t topic, uint64_t offset, size_t at, uint64_t *ret_end)
{
	char path[128];
	struct env env;
	MDB_txn *txn;
	uint8_t key[LOG_KEY_BYTES];
	struct chunk_header header;
	(void)snprintf(path, sizeof(path), "%s/shards/0/lmdb", f.dir);
	ck_assert_int_eq(env_open(&env, path, 1u << 30, false, &f.error), 0);
	ck_assert_int_eq(env_begin(&env, &txn, &f.error), 0);
	for (uint64_t base = offset + 1; base-- > 0;) {
		struct bytes value;
		log_key(key, topic, 0, base, 0);
		if (table_get(&env, txn, TABLE_LOG, bytes_of(key, sizeof(key)), &value, NULL) !=
			1) {
			continue;
		}
		ck_assert_int_eq(chunk_header_parse(value, &header), 0);
		uint8_t *copy = malloc(value.size);
		memcpy(copy, value.data, value.size);
		copy[at] ^= 1;
		ck_assert_int_eq(table_put(&env, txn, TABLE_LOG, bytes_of(key, sizeof(key)),
					 bytes_of(copy, value.size), &f.error),
			0);
		free(copy);
		break;
	}
	ck_assert_int_eq(env_commit(txn, &f.error), 0);
	env_close(&env);
	*ret_end = header.base_offset + header.count;
	return header.base_offset;
}

/* Reads [0, end), stepping over damage; returns how many events came. */
static uint64_t read_over_damage(uint32_t topic, uint64_t end, unsigned *ret_errors)
{
	uint64_t offset = 0, events = 0;
	*ret_errors = 0;
	while (offset < end) {
		struct read_request page;
		int status = store_harness_read_page(&f, topic, 0, offset, &page);
		ck_assert_uint_gt(page.next_offset, offset);
		if (status == ANNALS_E_CORRUPT_DATA) {
			++*ret_errors;
			ck_assert_ptr_nonnull(strstr(page.base.error.text, "'t' partition 0"));
		} else {
			ck_assert_int_eq(status, 0);
			events += page.next_offset - offset;
		}
		offset = page.next_offset;
		buf_release(&page.batches);
	}
	return events;
}

START_TEST(test_log_names_damage_and_reads_the_rest)
{
	uint64_t base, end;
	unsigned errors;
	uint32_t topic = store_harness_topic(&f, "t", 1);
	store_harness_fill(&f, topic, 0, 600, 1);
	ck_assert(store_harness_wait_for(&f, has_settled));
	if (!store_harness_is_durable(&f)) {
		return;
	}
	store_close(f.store);
	base = damage(topic, 1000, CHUNK_HEADER_BYTES + 3000, &end);
	store_harness_open(&f);
	struct read_request page;
	ck_assert_int_eq(store_harness_read_page(&f, topic, 0, base, &page), ANNALS_E_CORRUPT_DATA);
	ck_assert_uint_eq(page.next_offset, base + 10);
	ck_assert_uint_eq(read_over_damage(topic, 6000, &errors), 5990);
	ck_assert_uint_eq(errors, 1);
	struct store_stats stats;
	store_stats(f.store, &stats);
	ck_assert_uint_ge(stats.corrupt_reads, 2);
	store_close(f.store);
	/* A header: the whole chunk is skipped. */
	base = damage(topic, 2000, 20, &end);
	store_harness_open(&f);
	ck_assert_uint_eq(read_over_damage(topic, 6000, &errors), 5990 - (end - base));
	ck_assert_uint_eq(errors, 2);
}
END_TEST

SUITE_MAIN("store log", setup, teardown, test_log_reads_across_tail_and_lmdb,
	test_log_reads_backwards_across_tail_and_lmdb, test_log_refuses_what_is_out_of_range,
	test_log_page_holds_at_least_one_batch, test_log_keeps_batches_larger_than_a_value,
	test_log_has_no_hole_under_a_settler, test_log_trims_from_the_front, test_log_finds_a_time,
	test_log_names_damage_and_reads_the_rest)
