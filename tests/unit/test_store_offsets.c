/* Consumer groups' offsets. On every journal. */
#include "store_harness.h"
#include "suite.h"

#include <stdio.h>

static struct store_harness f;
static uint32_t topic;

static void setup(void)
{
	store_harness_init(&f);
	topic = store_harness_topic(&f, "t", 3);
	for (uint32_t p = 0; p < 3; p++) {
		store_harness_append(&f, topic, p, 10, 10, p, NULL);
	}
}

static void teardown(void)
{
	store_harness_release(&f);
}

/* The committed offset, or -1. */
static int64_t get(const char *group, uint32_t partition)
{
	struct offset_entry entry;
	int found = store_offset_get(
		f.store, bytes_text(group), topic, partition, &entry, NULL, &f.error);
	ck_assert_int_ge(found, 0);
	return found == 1 ? (int64_t)entry.offset : -1;
}

static bool has_settled_rows(const struct store_stats *stats)
{
	return stats->settle_commits > 0 && stats->tail_bytes < 3u << 20;
}

/* Makes the rows go to LMDB. */
static void settle(void)
{
	store_harness_fill(&f, topic, 2, 500, 99);
	ck_assert(store_harness_wait_for(&f, has_settled_rows));
}

START_TEST(test_offsets_are_kept_with_metadata)
{
	struct offset_entry entry;
	struct buf metadata = BUF_INIT;
	ck_assert_int_eq(get("g", 0), -1);
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 0, 4, "h\xc3\xa9re"), 0);
	ck_assert_int_eq(
		store_offset_get(f.store, bytes_text("g"), topic, 0, &entry, &metadata, &f.error),
		1);
	ck_assert_uint_eq(entry.offset, 4);
	ck_assert_uint_gt(entry.committed_us, 0);
	ck_assert(bytes_is(buf_bytes(&metadata), "h\xc3\xa9re"));
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 0, 2, ""), 0);
	ck_assert_int_eq(get("g", 0), 2);
	settle();
	ck_assert_int_eq(get("g", 0), 2);
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 0, 9, ""), 0);
	ck_assert_int_eq(get("g", 0), 9);
	if (store_harness_is_durable(&f)) {
		store_harness_reopen(&f);
		ck_assert_int_eq(get("g", 0), 9);
	}
	buf_release(&metadata);
}
END_TEST

START_TEST(test_offsets_commit_all_or_none)
{
	struct offset_entry entries[2] = {{.topic_id = topic, .partition = 0, .offset = 5},
		{.topic_id = topic, .partition = 1, .offset = 11}};
	struct offset_request request = {.base.operation = STORE_OFFSET_COMMIT,
		.group = "g",
		.entries = entries,
		.entry_count = 2};
	ck_assert_int_eq(
		store_harness_run(&f, &f.waiter, &request.base), ANNALS_E_OFFSET_BEYOND_END);
	ck_assert_int_eq(get("g", 0), -1);
	entries[1].offset = 10;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), 0);
	ck_assert_int_eq(get("g", 0), 5);
	ck_assert_int_eq(get("g", 1), 10);
}
END_TEST

START_TEST(test_offsets_refuse_bad_requests)
{
	static char large[4200];
	memset(large, 'x', sizeof(large) - 1);
	ck_assert_int_eq(store_harness_commit(&f, "", topic, 0, 1, ""), ANNALS_E_INVALID);
	ck_assert_int_eq(store_harness_commit(&f, "a b", topic, 0, 1, ""), ANNALS_E_INVALID);
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 0, 1, "\xff"), ANNALS_E_INVALID);
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 0, 1, large), ANNALS_E_TOO_LARGE);
	ck_assert_int_eq(
		store_harness_commit(&f, "g", topic, 3, 1, ""), ANNALS_E_UNKNOWN_PARTITION);
	ck_assert_int_eq(
		store_harness_commit(&f, "g", topic + 1, 0, 1, ""), ANNALS_E_UNKNOWN_TOPIC);
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 0, 1, ""), 0);
}
END_TEST

static int append_text(void *arg, const struct offset_entry *entry)
{
	char text[32];
	(void)snprintf(text, sizeof(text), "%u:%llu ", entry->partition,
		(unsigned long long)entry->offset);
	return buf_add_text(arg, text);
}

static int append_group(void *arg, struct bytes group)
{
	return buf_add(arg, group.data, group.size) == 0 ? buf_add_text(arg, " ") : -1;
}

static void assert_lists(const char *group, const char *expected)
{
	struct buf text = BUF_INIT;
	ck_assert_int_eq(
		store_offset_list(f.store, bytes_text(group), append_text, &text, &f.error), 0);
	ck_assert_msg(bytes_is(buf_bytes(&text), expected), "'%s' is not '%s'", buf_text(&text),
		expected);
	buf_release(&text);
}

static void assert_groups(const char *expected)
{
	struct buf text = BUF_INIT;
	ck_assert_int_eq(store_group_list(f.store, append_group, &text, &f.error), 0);
	ck_assert_msg(bytes_is(buf_bytes(&text), expected), "'%s' is not '%s'", buf_text(&text),
		expected);
	buf_release(&text);
}

START_TEST(test_offsets_list_and_delete_groups)
{
	store_harness_commit(&f, "beta", topic, 1, 3, "");
	store_harness_commit(&f, "beta", topic, 0, 2, "");
	store_harness_commit(&f, "alpha", topic, 0, 1, "");
	settle();
	store_harness_commit(&f, "beta", topic, 1, 4, "");
	store_harness_commit(&f, "beta", topic, 2, 5, "");
	assert_lists("beta", "0:2 1:4 2:5 ");
	assert_lists("bet", "");
	assert_groups("alpha beta ");
	struct offset_request request = {.base.operation = STORE_GROUP_DELETE, .group = "beta"};
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), 0);
	assert_lists("beta", "");
	assert_groups("alpha ");
	store_harness_commit(&f, "beta", topic, 2, 6, "");
	assert_lists("beta", "2:6 ");
	settle();
	assert_lists("beta", "2:6 ");
	if (store_harness_is_durable(&f)) {
		store_harness_reopen(&f);
		assert_lists("beta", "2:6 ");
		assert_groups("alpha beta ");
	}
	ck_assert_int_eq(store_harness_delete_topic(&f, "t"), 0);
	assert_lists("beta", "");
	assert_groups("");
}
END_TEST

SUITE_MAIN("store offsets", setup, teardown, test_offsets_are_kept_with_metadata,
	test_offsets_commit_all_or_none, test_offsets_refuse_bad_requests,
	test_offsets_list_and_delete_groups)
