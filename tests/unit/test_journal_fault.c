#include "journal/journal_fault.h"

#include <annals/clock.h>
#include <check.h>
#include <stdlib.h>

static struct journal *journal;
static struct error error;

static void set_up(void)
{
	struct journal_options options = {.dir = NULL};
	ck_assert_int_eq(journal_fault_open("memory", &options, &journal, &error), JOURNAL_OK);
}

static void tear_down(void)
{
	journal_close(journal);
}

static enum journal_result write_after(uint64_t prev)
{
	uint64_t number = 0;
	enum journal_result result =
		journal_write_block(journal, prev, bytes_text("block"), &number, &error);
	if (result == JOURNAL_OK) {
		ck_assert_uint_eq(number, prev + 1);
	}
	return result;
}

static uint64_t read_from(uint64_t from)
{
	struct buf out = BUF_INIT;
	uint64_t number = 0;
	ck_assert_int_eq(journal_read_block(journal, from, &out, &number, &error), JOURNAL_OK);
	buf_release(&out);
	return number;
}

START_TEST(test_journal_fault_counts_down_and_repeats)
{
	journal_fault_add(journal, &(struct journal_fault){.call = JOURNAL_FAULT_WRITE,
					   .effect = JOURNAL_FAULT_FAIL,
					   .result = JOURNAL_FULL,
					   .countdown = 2,
					   .repeat = 2});
	ck_assert_int_eq(write_after(0), JOURNAL_OK);
	ck_assert_int_eq(write_after(1), JOURNAL_OK);
	ck_assert_int_eq(write_after(2), JOURNAL_FULL);
	ck_assert_int_eq(error.code, ANNALS_E_STORAGE_FULL);
	ck_assert_int_eq(write_after(2), JOURNAL_FULL);
	ck_assert_int_eq(write_after(2), JOURNAL_OK);
}
END_TEST

START_TEST(test_journal_fault_unknown_write_is_final)
{
	journal_fault_add(journal, &(struct journal_fault){.call = JOURNAL_FAULT_WRITE,
					   .effect = JOURNAL_FAULT_AFTER,
					   .result = JOURNAL_UNKNOWN,
					   .repeat = 1});
	ck_assert_int_eq(write_after(0), JOURNAL_UNKNOWN);
	ck_assert_int_eq(error.code, ANNALS_E_OUTCOME_UNKNOWN);
	/* The call was made: the block is there, but nobody may write any more. */
	ck_assert_uint_eq(read_from(1), 1);
	ck_assert_int_eq(write_after(1), JOURNAL_UNKNOWN);
	ck_assert_int_eq(journal_sync(journal, &error), JOURNAL_UNKNOWN);
}
END_TEST

START_TEST(test_journal_fault_failed_sync_is_final)
{
	journal_fault_add(journal, &(struct journal_fault){.call = JOURNAL_FAULT_SYNC,
					   .effect = JOURNAL_FAULT_FAIL,
					   .result = JOURNAL_UNKNOWN,
					   .repeat = 1});
	ck_assert_int_eq(write_after(0), JOURNAL_OK);
	ck_assert_int_eq(journal_sync(journal, &error), JOURNAL_UNKNOWN);
	ck_assert_int_eq(journal_sync(journal, &error), JOURNAL_UNKNOWN);
	ck_assert_int_eq(write_after(1), JOURNAL_UNKNOWN);
	ck_assert_uint_eq(read_from(1), 1);
}
END_TEST

START_TEST(test_journal_fault_cut_loses_what_was_not_synced)
{
	ck_assert_int_eq(write_after(0), JOURNAL_OK);
	ck_assert_int_eq(journal_sync(journal, &error), JOURNAL_OK);
	ck_assert_int_eq(write_after(1), JOURNAL_OK);
	ck_assert_uint_eq(read_from(2), 2);
	journal_fault_add(journal,
		&(struct journal_fault){
			.call = JOURNAL_FAULT_SYNC, .effect = JOURNAL_FAULT_CUT, .repeat = 1});
	ck_assert_int_eq(journal_sync(journal, &error), JOURNAL_UNKNOWN);
	ck_assert_uint_eq(read_from(1), 1);
	ck_assert_uint_eq(read_from(2), 0);
}
END_TEST

START_TEST(test_journal_fault_read_and_trim_fail)
{
	struct buf out = BUF_INIT;
	uint64_t number = 9;
	ck_assert_int_eq(write_after(0), JOURNAL_OK);
	journal_fault_add(journal, &(struct journal_fault){.call = JOURNAL_FAULT_READ,
					   .effect = JOURNAL_FAULT_FAIL,
					   .result = JOURNAL_CORRUPT,
					   .repeat = -1});
	journal_fault_add(journal, &(struct journal_fault){.call = JOURNAL_FAULT_TRIM,
					   .effect = JOURNAL_FAULT_FAIL,
					   .result = JOURNAL_FAILED,
					   .repeat = -1});
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(
			journal_read_block(journal, 1, &out, &number, &error), JOURNAL_CORRUPT);
		ck_assert_int_eq(journal_trim(journal, 1, &error), JOURNAL_FAILED);
	}
	ck_assert_uint_eq(number, 9);
	journal_fault_clear(journal);
	ck_assert_uint_eq(read_from(1), 1);
	ck_assert_int_eq(journal_trim(journal, 1, &error), JOURNAL_OK);
	buf_release(&out);
}
END_TEST

START_TEST(test_journal_fault_delay_waits)
{
	journal_fault_add(journal, &(struct journal_fault){.call = JOURNAL_FAULT_SYNC,
					   .effect = JOURNAL_FAULT_DELAY,
					   .delay_ms = 30,
					   .repeat = 1});
	uint64_t before = clock_monotonic_ns();
	ck_assert_int_eq(write_after(0), JOURNAL_OK);
	ck_assert_int_eq(journal_sync(journal, &error), JOURNAL_OK);
	ck_assert_uint_ge(clock_monotonic_ns() - before, 30000000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal_fault");
	TCase *tcase = tcase_create("journal_fault");
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, test_journal_fault_counts_down_and_repeats);
	tcase_add_test(tcase, test_journal_fault_unknown_write_is_final);
	tcase_add_test(tcase, test_journal_fault_failed_sync_is_final);
	tcase_add_test(tcase, test_journal_fault_cut_loses_what_was_not_synced);
	tcase_add_test(tcase, test_journal_fault_read_and_trim_fail);
	tcase_add_test(tcase, test_journal_fault_delay_waits);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
