/* Appends to several topics in one commit, by the library against a real server. */
#include "http_fixture.h"
#include "suite.h"

#include <annals/client.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_MS 5000

static struct annals_client *client;
static struct annals_error error;

static void setup(void)
{
	struct annals_options *options = annals_options_new();
	char address[64];
	server_setup();
	ask_for(201, "PUT", "/v1/topics/a", NULL, "{\"partitions\":3,\"streams\":true}");
	ask_for(201, "PUT", "/v1/topics/b", NULL, "{\"partitions\":1}");
	ask_for(201, "PUT", "/v1/topics/c", NULL, "{\"partitions\":1,\"dedupe\":true}");
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", test_server.binary_port);
	ck_assert_int_eq(annals_options_set_servers(options, address, &error), 0);
	ck_assert_msg(annals_connect(options, WAIT_MS, &client, &error) == 0, "%s", error.text);
	annals_options_free(options);
}

static void teardown(void)
{
	annals_client_close(client);
	server_teardown();
}

static struct annals_event event_of(const char *id, const char *key)
{
	struct annals_event event;
	memset(&event, 0, sizeof(event));
	event.id = annals_text(id);
	event.source = annals_text("/test");
	event.type = annals_text("x");
	event.key = annals_text(key);
	event.has_key = 1;
	event.has_time = 1;
	event.time_ns = 1;
	return event;
}

static uint64_t end_of(const char *topic)
{
	struct annals_topic *found;
	uint64_t end = 0;
	ck_assert_int_eq(annals_topic_describe(client, topic, WAIT_MS, &found, &error), 0);
	for (uint32_t i = 0; i < found->partition_count; i++) {
		end += found->partitions[i].end_offset;
	}
	annals_topic_free(found);
	return end;
}

/* What most of the tests append: two events to 'a', one to each of the others. */
struct commit {
	struct annals_event a[2], b, c;
	struct annals_placement in_a[2], in_b, in_c;
	struct annals_conditions conditions;
	struct annals_stream_condition expected;
	struct annals_topic_append appends[3];
};

static void make_commit(struct commit *commit, const char *id)
{
	memset(commit, 0, sizeof(*commit));
	commit->a[0] = event_of(id, "k1");
	commit->a[1] = event_of(id, "k2");
	commit->a[1].source = annals_text("/test/2");
	commit->b = commit->c = commit->a[0];
	commit->conditions.streams = &commit->expected;
	commit->conditions.stream_count = 1;
	commit->expected.key = annals_text("k1");
	commit->appends[0] = (struct annals_topic_append){"a", NULL, commit->a, 2, commit->in_a};
	commit->appends[1] = (struct annals_topic_append){"b", NULL, &commit->b, 1, &commit->in_b};
	commit->appends[2] = (struct annals_topic_append){"c", NULL, &commit->c, 1, &commit->in_c};
}

static int run(struct commit *commit, const char *key, struct annals_receipt *ret_receipt)
{
	return annals_transact(client, commit->appends, 3, annals_text(key),
		ANNALS_DURABILITY_TOPIC, WAIT_MS, ret_receipt, &error);
}

START_TEST(test_transact_client_stores_in_all_topics)
{
	struct annals_receipt receipt;
	struct commit commit;
	for (unsigned i = 0; i < 2; i++) {
		make_commit(&commit, i == 0 ? "one" : "two");
		ck_assert_msg(run(&commit, NULL, &receipt) == 0, "%s", error.text);
		ck_assert_uint_eq(commit.in_a[0].version, i);
		ck_assert_uint_eq(commit.in_a[1].version, i);
		ck_assert_uint_eq(commit.in_b.offset, i);
		ck_assert_uint_eq(commit.in_c.offset, i);
		ck_assert_uint_gt(receipt.recorded_us, 0);
		ck_assert_int_eq(receipt.durability, ANNALS_DURABILITY_FSYNC);
	}
	ck_assert_uint_eq(end_of("a"), 4);
}
END_TEST

/* One condition does not hold: the others' topics have nothing either. */
START_TEST(test_transact_client_stores_nothing_when_refused)
{
	struct commit commit;
	make_commit(&commit, "one");
	ck_assert_int_eq(run(&commit, NULL, NULL), 0);
	make_commit(&commit, "two");
	commit.expected.expect = ANNALS_EXPECT_NONE;
	commit.appends[0].conditions = &commit.conditions;
	ck_assert_int_eq(run(&commit, "key", NULL), ANNALS_E_PRECONDITION_FAILED);
	ck_assert_str_eq(error.topic, "a");
	ck_assert_uint_eq(error.conflict.version, 0);
	make_commit(&commit, "two");
	commit.appends[1].topic = "none";
	ck_assert_int_eq(run(&commit, "key", NULL), ANNALS_E_UNKNOWN_TOPIC);
	ck_assert_uint_eq(end_of("a"), 2);
	ck_assert_uint_eq(end_of("b"), 1);
	ck_assert_uint_eq(end_of("c"), 1);
	/* No receipt was kept of what was refused. */
	make_commit(&commit, "two");
	ck_assert_int_eq(run(&commit, "key", NULL), 0);
	ck_assert_int_eq(commit.in_b.replayed, 0);
}
END_TEST

START_TEST(test_transact_client_repeats_get_the_first_answer)
{
	struct annals_receipt first_receipt, receipt;
	struct commit first, again;
	make_commit(&first, "one");
	first.expected.expect = ANNALS_EXPECT_NONE;
	first.appends[0].conditions = &first.conditions;
	ck_assert_int_eq(run(&first, "key", &first_receipt), 0);
	make_commit(&again, "one");
	again.expected.expect = ANNALS_EXPECT_NONE;
	again.appends[0].conditions = &again.conditions;
	ck_assert_msg(run(&again, "key", &receipt) == 0, "%s", error.text);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(again.in_a[i].replayed, 1);
		ck_assert_uint_eq(again.in_a[i].partition, first.in_a[i].partition);
		ck_assert_uint_eq(again.in_a[i].offset, first.in_a[i].offset);
		ck_assert_uint_eq(again.in_a[i].version, 0);
	}
	ck_assert_int_eq(again.in_b.replayed, 1);
	ck_assert_uint_eq(again.in_b.offset, first.in_b.offset);
	ck_assert_int_eq(again.in_c.replayed, 1);
	ck_assert_uint_eq(receipt.recorded_us, first_receipt.recorded_us);
	ck_assert_uint_eq(end_of("a") + end_of("b") + end_of("c"), 4);
	make_commit(&again, "other");
	ck_assert_int_eq(run(&again, "key", NULL), ANNALS_E_IDEMPOTENCY);
	ck_assert_uint_eq(end_of("b"), 1);
}
END_TEST

START_TEST(test_transact_client_limits)
{
	struct annals_topic_append many[65];
	struct annals_conditions conditions = {.idempotency_key = {"k", 1}};
	struct commit commit;
	make_commit(&commit, "one");
	for (unsigned i = 0; i < 65; i++) {
		many[i] = commit.appends[1];
	}
	ck_assert_int_eq(annals_transact(client, many, 65, annals_text(NULL),
				 ANNALS_DURABILITY_TOPIC, WAIT_MS, NULL, &error),
		ANNALS_E_LIMIT);
	ck_assert_int_eq(annals_transact(client, many, 2, annals_text(NULL),
				 ANNALS_DURABILITY_TOPIC, WAIT_MS, NULL, &error),
		ANNALS_E_INVALID);
	ck_assert_int_eq(annals_transact(client, many, 0, annals_text(NULL),
				 ANNALS_DURABILITY_TOPIC, WAIT_MS, NULL, &error),
		ANNALS_E_INVALID);
	/* The key is that of the whole. */
	commit.appends[1].conditions = &conditions;
	ck_assert_int_eq(run(&commit, NULL, NULL), ANNALS_E_INVALID);
	ck_assert_int_eq(run(&commit, "key", NULL), ANNALS_E_INVALID);
	commit.appends[1].conditions = NULL;
	commit.appends[1].event_count = 0;
	ck_assert_int_eq(run(&commit, NULL, NULL), ANNALS_E_INVALID);
	ck_assert_uint_eq(end_of("a") + end_of("b") + end_of("c"), 0);
}
END_TEST

/* Consume, produce into several topics, acknowledge: all of it or nothing. */
START_TEST(test_transact_client_acknowledges_with_several_topics)
{
	static const char *const topics[] = {"in"};
	const struct annals_group_settings settings = {
		.mode = ANNALS_GROUP_BY_EVENT, .topics = topics, .topic_count = 1};
	struct annals_event input = event_of("i", "k");
	struct annals_deliveries polled;
	struct commit commit;
	void *value;
	size_t size;
	ask_for(201, "PUT", "/v1/topics/in", NULL, "{\"partitions\":1}");
	ck_assert_int_eq(annals_group_put(client, "g", &settings, WAIT_MS, NULL, &error), 0);
	ck_assert_int_eq(annals_append(client, "in", 0, &input, 1, ANNALS_DURABILITY_TOPIC, WAIT_MS,
				 NULL, NULL, &error),
		0);
	ck_assert_int_eq(
		annals_group_poll(client, "g", "w", 1, 0, 1000, WAIT_MS, &polled, &error), 0);
	ck_assert_uint_eq(polled.count, 1);
	make_commit(&commit, "one");
	commit.expected.expect = ANNALS_EXPECT_EXISTS;
	commit.appends[0].conditions = &commit.conditions;
	ck_assert_int_eq(annals_group_transact_topics(client, "g", &polled.deliveries[0].lease, 1,
				 commit.appends, 3, "at", annals_text("1"), WAIT_MS, &error),
		ANNALS_E_PRECONDITION_FAILED);
	ck_assert_uint_eq(end_of("a") + end_of("b") + end_of("c"), 0);
	commit.appends[0].conditions = NULL;
	ck_assert_msg(annals_group_transact_topics(client, "g", &polled.deliveries[0].lease, 1,
			      commit.appends, 3, "at", annals_text("2"), WAIT_MS, &error) == 0,
		"%s", error.text);
	ck_assert_uint_eq(end_of("a"), 2);
	ck_assert_uint_eq(end_of("b"), 1);
	ck_assert_uint_eq(commit.in_c.offset, 0);
	ck_assert_int_eq(annals_group_transact_topics(client, "g", &polled.deliveries[0].lease, 1,
				 commit.appends, 3, "at", annals_text("3"), WAIT_MS, &error),
		ANNALS_E_LEASE_LOST);
	ck_assert_uint_eq(end_of("a") + end_of("b") + end_of("c"), 4);
	ck_assert_int_eq(
		annals_group_checkpoint(client, "g", "at", WAIT_MS, &value, &size, &error), 0);
	ck_assert_str_eq(value, "2");
	free(value);
	annals_deliveries_release(&polled);
}
END_TEST

SUITE_MAIN("transact_client", setup, teardown, test_transact_client_stores_in_all_topics,
	test_transact_client_stores_nothing_when_refused,
	test_transact_client_repeats_get_the_first_answer, test_transact_client_limits,
	test_transact_client_acknowledges_with_several_topics)
