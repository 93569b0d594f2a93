/* Rows: durable state beside the events. On every journal. */
#include "store_harness.h"
#include "suite.h"

#include <stdio.h>

static struct store_harness f;
static uint32_t topic;

static void setup(void)
{
	store_harness_init(&f);
	topic = store_harness_topic(&f, "t", 1);
}

static void teardown(void)
{
	store_harness_release(&f);
}

static int change(const struct row_change *changes, size_t count, size_t *ret_index)
{
	struct rows_request request = {
		.base.operation = STORE_ROWS, .changes = changes, .change_count = count};
	int status = store_harness_run(&f, &f.waiter, &request.base);

	if (ret_index != NULL) {
		*ret_index = request.conflict_index;
	}
	return status;
}

static int put(const char *key, const char *value)
{
	struct row_change one = {.key = bytes_text(key), .value = bytes_text(value)};

	return change(&one, 1, NULL);
}

static int delete (const char *key)
{
	struct row_change one = {.key = bytes_text(key)};

	return change(&one, 1, NULL);
}

static bool has_settled_rows(const struct store_stats *stats)
{
	return stats->settle_commits > 0 && stats->tail_bytes < 3u << 20;
}

static void settle(void)
{
	store_harness_fill(&f, topic, 0, 500, 99);
	ck_assert(store_harness_wait_for(&f, has_settled_rows));
}

/* The row is there with this value; NULL: it is not there. */
static void expect(const char *key, const char *value)
{
	struct buf found = BUF_INIT;
	int status = store_row_get(f.store, bytes_text(key), &found, &f.error);

	ck_assert_int_eq(status, value != NULL ? 1 : 0);
	if (value != NULL) {
		ck_assert(bytes_is(buf_bytes(&found), value));
	}
	buf_release(&found);
}

static int note(void *arg, struct bytes key, struct bytes value)
{
	struct buf *list = arg;

	ck_assert_int_eq(buf_add(list, key.data, key.size), 0);
	ck_assert_int_eq(buf_add_text(list, "="), 0);
	ck_assert_int_eq(buf_add(list, value.data, value.size), 0);
	return buf_add_text(list, " ");
}

static void expect_scan(
	const char *prefix, const char *from, size_t count_max, const char *expected)
{
	struct buf list = BUF_INIT;

	ck_assert_int_eq(store_row_scan(f.store, bytes_text(prefix), bytes_text(from), count_max,
				 note, &list, &f.error),
		0);
	ck_assert_msg(bytes_is(buf_bytes(&list), expected), "'%.*s' is not '%s'", (int)list.size,
		(const char *)list.data, expected);
	buf_release(&list);
}

START_TEST(test_rows_are_kept_and_deleted)
{
	expect("ga", NULL);
	ck_assert_int_eq(put("ga", "1"), 0);
	ck_assert_int_eq(put("gb", ""), 0);
	expect("ga", "1");
	expect("gb", "");
	settle();
	expect("ga", "1");
	ck_assert_int_eq(put("ga", "2"), 0);
	ck_assert_int_eq(delete ("gb"), 0);
	expect("ga", "2");
	expect("gb", NULL);
	settle();
	expect("ga", "2");
	expect("gb", NULL);
	if (store_harness_is_durable(&f)) {
		ck_assert_int_eq(put("gc", "3"), 0);
		store_harness_reopen(&f);
		expect("ga", "2");
		expect("gb", NULL);
		expect("gc", "3");
	}
}
END_TEST

START_TEST(test_rows_scan_in_order_over_both_places)
{
	ck_assert_int_eq(put("ga", "1"), 0);
	ck_assert_int_eq(put("gc", "3"), 0);
	ck_assert_int_eq(put("ge", "5"), 0);
	ck_assert_int_eq(put("sa", "x"), 0);
	settle();
	ck_assert_int_eq(put("gb", "2"), 0);
	ck_assert_int_eq(put("gc", "33"), 0);
	ck_assert_int_eq(delete ("ge"), 0);
	ck_assert_int_eq(put("gf", "6"), 0);
	expect_scan("g", "", 0, "ga=1 gb=2 gc=33 gf=6 ");
	expect_scan("g", "gb", 2, "gb=2 gc=33 ");
	expect_scan("g", "gbb", 0, "gc=33 gf=6 ");
	expect_scan("gc", "", 0, "gc=33 ");
	expect_scan("x", "", 0, "");
}
END_TEST

/* Of the rows that changed a scan copies as many as it was asked for: which they are must not
 * show. */
START_TEST(test_rows_scan_limits_agree)
{
	char key[8], value[8], expected[1024] = "";
	size_t ends[41] = {0}, count = 0;

	for (unsigned i = 0; i < 40; i += 3) { /* in the log's table */
		(void)snprintf(key, sizeof(key), "g%02u", i);
		ck_assert_int_eq(put(key, "old"), 0);
	}
	settle();
	for (unsigned i = 0; i < 40; i++) { /* changed since, from both ends by turns */
		const unsigned n = i % 2 == 0 ? i / 2 : 39 - i / 2;
		(void)snprintf(key, sizeof(key), "g%02u", n);
		(void)snprintf(value, sizeof(value), "%u", n);
		if (n % 4 == 1) {
			ck_assert_int_eq(put(key, value), 0);
		} else if (n % 9 == 0) {
			ck_assert_int_eq(delete (key), 0);
		}
	}
	for (unsigned i = 0; i < 40; i++) {
		const size_t at = strlen(expected);
		if (i % 4 == 1) {
			(void)snprintf(expected + at, sizeof(expected) - at, "g%02u=%u ", i, i);
		} else if (i % 3 == 0 && i % 9 != 0) {
			(void)snprintf(expected + at, sizeof(expected) - at, "g%02u=old ", i);
		}
		if (strlen(expected) > at) {
			ends[++count] = strlen(expected);
		}
	}
	for (size_t limit = count; limit > 0; limit--) {
		expected[ends[limit]] = 0;
		expect_scan("g", "", limit, expected);
	}
}
END_TEST

START_TEST(test_rows_change_all_or_none_by_expectation)
{
	struct row_change changes[] = {
		{.key = bytes_text("ga"), .value = bytes_text("1"), .expect = ROW_EXPECT_ABSENT},
		{.key = bytes_text("gb"),
			.value = bytes_text("1"),
			.expect = ROW_EXPECT_VALUE,
			.expected_value = bytes_text("0")},
	};
	size_t index = 99;
	ck_assert_int_eq(change(changes, 2, &index), ANNALS_E_CONFLICT);
	ck_assert_uint_eq(index, 1);
	expect("ga", NULL);
	ck_assert_int_eq(put("gb", "0"), 0);
	ck_assert_int_eq(change(changes, 2, &index), 0);
	expect("gb", "1");
	ck_assert_int_eq(change(changes, 2, &index), ANNALS_E_CONFLICT);
	ck_assert_uint_eq(index, 0);
	changes[0].expect = ROW_EXPECT_VALUE;
	changes[0].expected_value = bytes_text("1");
	changes[0].keep = true;
	changes[0].value = bytes_text("changed");
	changes[1].expect = ROW_EXPECT_ANYTHING;
	changes[1].value = bytes_text("2");
	ck_assert_int_eq(change(changes, 2, &index), 0);
	expect("ga", "1");
	expect("gb", "2");
	ck_assert_int_eq(change(changes, 1, &index), 0); /* an expectation alone */
}
END_TEST

/* Of many that expect the row to be absent, submitted at once, exactly one gets it. */
START_TEST(test_rows_expectations_within_one_commit)
{
	enum { COUNT = 50 };
	static struct rows_request requests[COUNT];
	static struct row_change changes[COUNT];
	unsigned won = 0;

	for (unsigned i = 0; i < COUNT; i++) {
		changes[i] = (struct row_change){.key = bytes_text("gseat"),
			.value = bytes_text("taken"),
			.expect = ROW_EXPECT_ABSENT};
		requests[i] = (struct rows_request){
			.base = {.operation = STORE_ROWS, .queue = &f.waiter.queue},
			.changes = &changes[i],
			.change_count = 1};
		ck_assert_int_eq(store_submit_quietly(f.store, &requests[i].base, &f.error), 0);
	}
	store_wake_writer(f.store);
	for (unsigned i = 0; i < COUNT; i++) {
		struct store_request *back = waiter_take(&f.waiter, 5000);
		ck_assert_ptr_nonnull(back);
		ck_assert(back->status == 0 || back->status == ANNALS_E_CONFLICT);
		won += back->status == 0 ? 1 : 0;
	}
	ck_assert_uint_eq(won, 1);
}
END_TEST

START_TEST(test_rows_limits)
{
	static uint8_t bytes[ROW_VALUE_BYTES_MAX + 1];
	struct row_change one = {.key = bytes_of(bytes, ROW_KEY_BYTES_MAX),
		.value = bytes_of(bytes, ROW_VALUE_BYTES_MAX)};

	memset(bytes, 'g', sizeof(bytes));
	ck_assert_int_eq(change(&one, 1, NULL), 0);
	settle();
	one.value.size++;
	ck_assert_int_eq(change(&one, 1, NULL), ANNALS_E_TOO_LARGE);
	one.value.size = 1;
	one.key.size++;
	ck_assert_int_eq(change(&one, 1, NULL), ANNALS_E_INVALID);
	one.key.size = 0;
	ck_assert_int_eq(change(&one, 1, NULL), ANNALS_E_INVALID);
	ck_assert_int_eq(change(&one, 0, NULL), ANNALS_E_INVALID);
}
END_TEST

SUITE_MAIN("store rows", setup, teardown, test_rows_are_kept_and_deleted,
	test_rows_scan_in_order_over_both_places, test_rows_scan_limits_agree,
	test_rows_change_all_or_none_by_expectation, test_rows_expectations_within_one_commit,
	test_rows_limits)
