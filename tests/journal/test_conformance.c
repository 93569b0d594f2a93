/* What every journal must do. The argument names the journal. */
#include "journal/journal.h"

#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SEGMENT_BYTES 65536u

static const char *journal_name;

struct fixture {
	char dir[64];
	struct journal_options options;
	struct journal *journal;
	struct error error;
};
static struct fixture fixture;

static void remove_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir != NULL) {
		(void)closedir(dir);
	}
	(void)rmdir(path);
}

static void open_journal(void)
{
	ck_assert_msg(journal_open(journal_name, &fixture.options, &fixture.journal,
			      &fixture.error) == JOURNAL_OK,
		"%s", fixture.error.text);
}

static void set_up(void)
{
	(void)snprintf(fixture.dir, sizeof(fixture.dir), "/tmp/annals-conformance-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fixture.dir));
	fixture.options = (struct journal_options){
		.dir = fixture.dir, .segment_bytes = SEGMENT_BYTES, .store_uuid = {1, 2, 3}};
	open_journal();
}

static void tear_down(void)
{
	journal_close(fixture.journal);
	remove_dir(fixture.dir);
}

static bool is_volatile(void)
{
	return (fixture.journal->ops->caps & JOURNAL_CAP_VOLATILE) != 0;
}

/* The bytes of block `number` are a function of number and size. */
static void fill(uint8_t *out, uint64_t number, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		out[i] = (uint8_t)(number * 31 + i * 7 + (i >> 8));
	}
}

static uint64_t write_one(uint64_t prev, size_t size)
{
	uint8_t *bytes = malloc(size);
	uint64_t number = 0;
	fill(bytes, prev + 1, size);
	enum journal_result result = journal_write_block(
		fixture.journal, prev, bytes_of(bytes, size), &number, &fixture.error);
	free(bytes);
	ck_assert_msg(result == JOURNAL_OK, "%d %s", result, fixture.error.text);
	return number;
}

static void sync_all(void)
{
	ck_assert_int_eq(journal_sync(fixture.journal, &fixture.error), JOURNAL_OK);
}

static uint64_t read_one(uint64_t from, struct buf *out)
{
	uint64_t number = 12345;
	enum journal_result result =
		journal_read_block(fixture.journal, from, out, &number, &fixture.error);
	ck_assert_msg(result == JOURNAL_OK, "%d %s", result, fixture.error.text);
	return number;
}

static void expect_block(uint64_t number, size_t size)
{
	struct buf out = BUF_INIT;
	ck_assert_uint_eq(read_one(number, &out), number);
	ck_assert_uint_eq(out.size, size);
	uint8_t *bytes = malloc(size);
	fill(bytes, number, size);
	ck_assert_mem_eq(out.data, bytes, size);
	free(bytes);
	buf_release(&out);
}

static size_t size_of_block(uint64_t number)
{
	return 1 + (size_t)(number * 977 % 9000);
}

START_TEST(test_journal_is_empty_at_first)
{
	struct buf out = BUF_INIT;
	struct journal_stats stats;
	ck_assert_uint_eq(fixture.journal->first_block, 0);
	ck_assert_uint_eq(fixture.journal->last_block, 0);
	ck_assert_uint_eq(read_one(0, &out), 0);
	ck_assert_uint_eq(read_one(1, &out), 0);
	journal_stats(fixture.journal, &stats);
	ck_assert_uint_eq(stats.first_block, 0);
	ck_assert_uint_eq(stats.last_block, 0);
	sync_all();
	buf_release(&out);
}
END_TEST

START_TEST(test_journal_numbers_blocks_from_one)
{
	ck_assert_uint_eq(write_one(0, 10), 1);
	ck_assert_uint_eq(write_one(1, 10), 2);
	sync_all();
	ck_assert_uint_eq(write_one(2, 10), 3);
}
END_TEST

START_TEST(test_journal_returns_what_was_written)
{
	uint64_t last = 0;
	for (int i = 0; i < 60; i++) {
		last = write_one(last, size_of_block(last + 1));
		expect_block(last, size_of_block(last)); /* before the sync too */
	}
	sync_all();
	for (uint64_t number = 1; number <= last; number++) {
		expect_block(number, size_of_block(number));
	}
	struct journal_stats stats;
	journal_stats(fixture.journal, &stats);
	ck_assert_uint_eq(stats.first_block, 1);
	ck_assert_uint_eq(stats.last_block, last);
	ck_assert_uint_gt(stats.segments, 0);
	ck_assert_uint_gt(stats.bytes, 0);
}
END_TEST

START_TEST(test_journal_read_replaces_the_buffer)
{
	struct buf out = BUF_INIT;
	ck_assert_int_eq(buf_add(&out, "left over", 9), 0);
	write_one(0, 3);
	ck_assert_uint_eq(read_one(0, &out), 1);
	ck_assert_uint_eq(out.size, 3);
	ck_assert_uint_eq(read_one(2, &out), 0);
	ck_assert_uint_eq(out.size, 0);
	buf_release(&out);
}
END_TEST

START_TEST(test_journal_refuses_a_stale_prev)
{
	uint64_t number = 77;
	write_one(0, 10);
	ck_assert_int_eq(
		journal_write_block(fixture.journal, 0, bytes_text("x"), &number, &fixture.error),
		JOURNAL_CONFLICT);
	ck_assert_int_eq(
		journal_write_block(fixture.journal, 5, bytes_text("x"), &number, &fixture.error),
		JOURNAL_CONFLICT);
	ck_assert_uint_eq(number, 77);
	ck_assert_int_ne(fixture.error.text[0], 0);
	ck_assert_uint_eq(write_one(1, 10), 2); /* and goes on */
}
END_TEST

START_TEST(test_journal_trim_keeps_the_last_block)
{
	uint64_t last = 0;
	for (int i = 0; i < 100; i++) {
		last = write_one(last, 3000);
	}
	sync_all();
	ck_assert_int_eq(journal_trim(fixture.journal, UINT64_MAX, &fixture.error), JOURNAL_OK);
	ck_assert_int_eq(journal_trim(fixture.journal, UINT64_MAX, &fixture.error), JOURNAL_OK);
	expect_block(last, 3000);
	struct journal_stats stats;
	journal_stats(fixture.journal, &stats);
	ck_assert_uint_eq(stats.last_block, last);
	ck_assert_uint_gt(stats.first_block, 1); /* it did forget some */
	ck_assert_uint_eq(write_one(last, 10), last + 1);
}
END_TEST

START_TEST(test_journal_trim_keeps_what_is_asked)
{
	uint64_t last = 0;
	struct buf out = BUF_INIT;
	for (int i = 0; i < 100; i++) {
		last = write_one(last, 3000);
	}
	sync_all();
	for (uint64_t keep = 0; keep < last; keep += 7) {
		ck_assert_int_eq(journal_trim(fixture.journal, keep, &fixture.error), JOURNAL_OK);
		uint64_t first = read_one(0, &out);
		ck_assert_uint_gt(first, 0);
		ck_assert_uint_le(first, ANNALS_MAX(keep, 1));
		for (uint64_t number = keep; number <= last; number += 11) {
			expect_block(ANNALS_MAX(number, 1), 3000);
		}
	}
	buf_release(&out);
}
END_TEST

struct racer {
	pthread_t thread;
	atomic_ullong last;
	atomic_bool stop;
	bool failed;
};

static void *read_on(void *arg)
{
	struct racer *racer = arg;
	struct buf out = BUF_INIT;
	uint8_t expected[2000];
	while (!atomic_load(&racer->stop) && !racer->failed) {
		uint64_t number = 0;
		uint64_t from = atomic_load(&racer->last);
		from = from > 20 ? from - 20 : 0;
		racer->failed = journal_read_block(fixture.journal, from, &out, &number, NULL) !=
				JOURNAL_OK;
		if (!racer->failed && number != 0) {
			fill(expected, number, sizeof(expected));
			racer->failed = out.size != sizeof(expected) ||
					memcmp(out.data, expected, sizeof(expected)) != 0;
		}
	}
	buf_release(&out);
	return NULL;
}

static void *trim_on(void *arg)
{
	struct racer *racer = arg;
	while (!atomic_load(&racer->stop) && !racer->failed) {
		uint64_t last = atomic_load(&racer->last);
		racer->failed = journal_trim(fixture.journal, last > 40 ? last - 40 : 0, NULL) !=
				JOURNAL_OK;
	}
	return NULL;
}

START_TEST(test_journal_reads_and_trims_beside_the_writer)
{
	struct racer reader = {.failed = false}, trimmer = {.failed = false};
	ck_assert_int_eq(pthread_create(&reader.thread, NULL, read_on, &reader), 0);
	ck_assert_int_eq(pthread_create(&trimmer.thread, NULL, trim_on, &trimmer), 0);
	uint64_t last = 0;
	for (int i = 0; i < 400; i++) {
		last = write_one(last, 2000);
		if (i % 4 == 0) {
			sync_all();
		}
		atomic_store(&reader.last, last);
		atomic_store(&trimmer.last, last);
	}
	atomic_store(&reader.stop, true);
	atomic_store(&trimmer.stop, true);
	pthread_join(reader.thread, NULL);
	pthread_join(trimmer.thread, NULL);
	ck_assert(!reader.failed);
	ck_assert(!trimmer.failed);
}
END_TEST

START_TEST(test_journal_survives_closing)
{
	if (is_volatile()) {
		return;
	}
	uint64_t last = 0;
	for (int round = 0; round < 12; round++) {
		for (int i = 0; i < 9; i++) {
			last = write_one(last, size_of_block(last + 1));
		}
		sync_all();
		journal_close(fixture.journal);
		open_journal();
		ck_assert_uint_eq(fixture.journal->first_block, 1);
		ck_assert_uint_eq(fixture.journal->last_block, last);
		for (uint64_t number = 1; number <= last; number++) {
			expect_block(number, size_of_block(number));
		}
	}
}
END_TEST

START_TEST(test_journal_survives_closing_after_a_trim)
{
	if (is_volatile()) {
		return;
	}
	uint64_t last = 0;
	for (int round = 0; round < 12; round++) {
		for (int i = 0; i < 40; i++) {
			last = write_one(last, size_of_block(last + 1));
		}
		sync_all();
		uint64_t keep = last - 10;
		ck_assert_int_eq(journal_trim(fixture.journal, keep, &fixture.error), JOURNAL_OK);
		journal_close(fixture.journal);
		open_journal();
		ck_assert_uint_gt(fixture.journal->first_block, 0);
		ck_assert_uint_le(fixture.journal->first_block, keep);
		ck_assert_uint_eq(fixture.journal->last_block, last);
		for (uint64_t number = keep; number <= last; number++) {
			expect_block(number, size_of_block(number));
		}
	}
}
END_TEST

START_TEST(test_journal_read_only_changes_nothing)
{
	if (is_volatile()) {
		return;
	}
	write_one(0, 5000);
	sync_all();
	journal_close(fixture.journal);
	fixture.options.read_only = true;
	open_journal();
	uint64_t number = 0;
	expect_block(1, 5000);
	ck_assert_int_eq(
		journal_write_block(fixture.journal, 1, bytes_text("x"), &number, &fixture.error),
		JOURNAL_FAILED);
	ck_assert_int_eq(journal_trim(fixture.journal, 1, &fixture.error), JOURNAL_FAILED);
}
END_TEST

START_TEST(test_journal_unknown_name_fails)
{
	struct journal *journal = NULL;
	ck_assert_int_eq(journal_open("no such", &fixture.options, &journal, &fixture.error),
		JOURNAL_FAILED);
	ck_assert_int_eq(fixture.error.code, ANNALS_E_INVALID);
	ck_assert_ptr_null(journal);
	journal_close(NULL);
}
END_TEST

int main(int argc, char **argv)
{
	journal_name = argc > 1 ? argv[1] : "memory";
	Suite *suite = suite_create(journal_name);
	TCase *tcase = tcase_create("conformance");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, test_journal_is_empty_at_first);
	tcase_add_test(tcase, test_journal_numbers_blocks_from_one);
	tcase_add_test(tcase, test_journal_returns_what_was_written);
	tcase_add_test(tcase, test_journal_read_replaces_the_buffer);
	tcase_add_test(tcase, test_journal_refuses_a_stale_prev);
	tcase_add_test(tcase, test_journal_trim_keeps_the_last_block);
	tcase_add_test(tcase, test_journal_trim_keeps_what_is_asked);
	tcase_add_test(tcase, test_journal_reads_and_trims_beside_the_writer);
	tcase_add_test(tcase, test_journal_survives_closing);
	tcase_add_test(tcase, test_journal_survives_closing_after_a_trim);
	tcase_add_test(tcase, test_journal_read_only_changes_nothing);
	tcase_add_test(tcase, test_journal_unknown_name_fails);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
