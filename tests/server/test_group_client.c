/* The library against a real server: members that share partitions, and transactions. */
#include "http_fixture.h"
#include "suite.h"

#include <annals/client.h>
#include <annals/clock.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WAIT_MS 5000
#define PARTITIONS 6
#define EVENTS 600

static struct annals_client *client, *other;
static struct annals_error error;

static struct annals_client *connect_one(void)
{
	struct annals_options *options = annals_options_new();
	struct annals_client *made = NULL;
	char address[64];
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", test_server.binary_port);
	ck_assert_int_eq(annals_options_set_servers(options, address, &error), 0);
	ck_assert_msg(annals_connect(options, WAIT_MS, &made, &error) == 0, "%s", error.text);
	annals_options_free(options);
	return made;
}

static void setup(void)
{
	server_setup();
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":6}");
	ask_for(201, "PUT", "/v1/topics/u", NULL, "{\"partitions\":1}");
	ask_for(201, "PUT", "/v1/topics/out", NULL, "{\"partitions\":1}");
	client = connect_one();
	other = connect_one();
}

static void teardown(void)
{
	annals_client_close(client);
	annals_client_close(other);
	server_teardown();
}

static void append_one(const char *topic, uint32_t partition, const char *id)
{
	struct annals_event event;
	memset(&event, 0, sizeof(event));
	event.id = annals_text(id);
	event.type = annals_text("x");
	event.source = annals_text("/test");
	event.data = annals_text(id);
	event.has_data = 1;
	int status = annals_append(client, topic, partition, &event, 1, ANNALS_DURABILITY_FSYNC,
		WAIT_MS, NULL, NULL, &error);
	ck_assert_msg(status == 0, "%s", error.text);
}

static void append_all(void)
{
	for (unsigned i = 0; i < EVENTS; i++) {
		char id[32];
		(void)snprintf(id, sizeof(id), "e%u", i);
		append_one("t", i % PARTITIONS, id);
	}
}

static const char *const topics[] = {"t", "u"};

static struct annals_group_consumer *open_member(
	struct annals_client *on, const char *member, enum annals_start_kind start)
{
	struct annals_group_consumer *consumer;
	int status = annals_group_consumer_open(
		on, "g", member, topics, 2, start, 1000, NULL, WAIT_MS, &consumer, &error);
	ck_assert_msg(status == 0, "%s", error.text);
	return consumer;
}

/* Takes a few events and counts each. */
static size_t take(struct annals_group_consumer *consumer, uint8_t *seen, size_t max, int wait_ms)
{
	struct annals_event events[16];
	const char *topic = NULL;
	size_t count = 0;
	int status = annals_group_consumer_poll(
		consumer, wait_ms, WAIT_MS, &topic, events, ANNALS_MIN(max, 16), &count, &error);
	ck_assert_msg(status == 0, "%s", error.text);
	for (size_t i = 0; i < count && strcmp(topic, "t") == 0; i++) {
		char text[16] = "";
		memcpy(text, events[i].data.data, ANNALS_MIN(events[i].data.size, 15));
		unsigned long number = strtoul(text + 1, NULL, 10);
		ck_assert_uint_lt(number, EVENTS);
		seen[number]++;
	}
	return count;
}

/* Members come and go without a crash: every event exactly once, though nobody commits by hand. */
START_TEST(test_group_client_rebalances_exactly)
{
	static uint8_t seen[EVENTS];
	struct annals_group_consumer *members[3] = {NULL};
	uint64_t end_ns = clock_monotonic_ns() + UINT64_C(8000000000);
	size_t total = 0;
	unsigned turn = 0;
	memset(seen, 0, sizeof(seen));
	append_all();
	append_one("u", 0, "u0");
	members[0] = open_member(client, "m0", ANNALS_START_EARLIEST);
	ck_assert_uint_eq(annals_group_consumer_partitions(members[0]), 7);
	while (total < EVENTS + 1 && clock_monotonic_ns() < end_ns) {
		for (unsigned i = 0; i < 3; i++) {
			total += members[i] == NULL ? 0 : take(members[i], seen, 3, 1);
		}
		turn++;
		if (turn == 10) {
			members[1] = open_member(other, "m1", ANNALS_START_EARLIEST);
		} else if (turn == 25) {
			members[2] = open_member(other, NULL, ANNALS_START_EARLIEST);
		} else if (turn == 60) {
			ck_assert_int_eq(
				annals_group_consumer_close(members[0], WAIT_MS, &error), 0);
			members[0] = NULL;
		}
	}
	ck_assert_uint_eq(total, EVENTS + 1);
	for (unsigned i = 0; i < EVENTS; i++) {
		ck_assert_msg(seen[i] == 1, "event %u came %u times", i, seen[i]);
	}
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(annals_group_consumer_close(members[i], WAIT_MS, &error), 0);
	}
	ck_assert_ptr_nonnull(
		strstr(ask_for(200, "GET", "/v1/groups/g", NULL, NULL), "\"members\":[]"));
}
END_TEST

/* A member that is gone without a word: what it committed does not come again, the rest does. */
START_TEST(test_group_client_takes_over)
{
	static uint8_t seen[EVENTS], before[EVENTS];
	struct annals_group_consumer *first, *second;
	size_t total = 0;
	uint64_t end_ns;
	memset(seen, 0, sizeof(seen));
	append_all();
	first = open_member(client, "m0", ANNALS_START_EARLIEST);
	while (total < 100) {
		total += take(first, seen, 10, 100);
	}
	ck_assert_int_eq(annals_group_consumer_commit(first, WAIT_MS, &error), 0);
	memcpy(before, seen, sizeof(seen));
	ck_assert_uint_gt(take(first, seen, 10, 100), 0); /* not committed */
	ck_assert_int_eq(annals_group_consumer_close(first, 0, &error), 0);
	second = open_member(other, "m1", ANNALS_START_EARLIEST);
	end_ns = clock_monotonic_ns() + UINT64_C(6000000000);
	while (total < EVENTS && clock_monotonic_ns() < end_ns) {
		total += take(second, before, 16, 20);
	}
	for (unsigned i = 0; i < EVENTS; i++) {
		ck_assert_uint_eq(before[i], 1);
	}
	ck_assert_int_eq(annals_group_consumer_close(second, WAIT_MS, &error), 0);
}
END_TEST

/* Handling takes longer than the session; a member that comes meanwhile gets its share only then,
 * and nothing twice. */
START_TEST(test_group_client_heartbeats_while_it_handles)
{
	static uint8_t seen[EVENTS];
	struct annals_group_consumer *first, *second;
	size_t total = 0;
	uint64_t end_ns;
	memset(seen, 0, sizeof(seen));
	append_all();
	ck_assert_int_eq(annals_group_consumer_open(client, "g", "m0", topics, 1,
				 ANNALS_START_EARLIEST, 2000, NULL, WAIT_MS, &first, &error),
		0);
	total = take(first, seen, 10, 5000);
	ck_assert_uint_gt(total, 0);
	const uint32_t generation = annals_group_consumer_generation(first);
	end_ns = clock_monotonic_ns() + UINT64_C(2500000000);
	while (clock_monotonic_ns() < end_ns) {
		ck_assert_int_eq(annals_group_consumer_heartbeat(first, WAIT_MS, &error), 0);
		usleep(5000);
	}
	second = open_member(other, "m1", ANNALS_START_EARLIEST);
	ck_assert_uint_eq(annals_group_consumer_partitions(second), 1); /* the other topic's */
	ck_assert_int_eq(annals_group_consumer_heartbeat(first, WAIT_MS, &error), 0);
	ck_assert_uint_eq(annals_group_consumer_generation(first), generation);
	while (total < EVENTS) {
		total += take(first, seen, 16, 20);
		total += take(second, seen, 16, 20);
	}
	for (unsigned i = 0; i < EVENTS; i++) {
		ck_assert_uint_eq(seen[i], 1);
	}
	/* Out all the same: it is told, and joins again. */
	ck_assert_int_eq(annals_group_consumer_commit(first, WAIT_MS, &error), 0);
	ck_assert_int_eq(annals_group_leave(other, "g", "m0", WAIT_MS, NULL, &error), 0);
	int status = 0;
	for (unsigned i = 0; i < 1000 && status == 0; i++) {
		status = annals_group_consumer_heartbeat(first, WAIT_MS, &error);
		usleep(5000);
	}
	ck_assert_int_eq(status, ANNALS_E_UNKNOWN_MEMBER);
	ck_assert_uint_eq(take(first, seen, 16, 1), 0);
	ck_assert_int_eq(annals_group_consumer_heartbeat(first, WAIT_MS, &error), 0);
	ck_assert_int_eq(annals_group_consumer_close(first, WAIT_MS, &error), 0);
	ck_assert_int_eq(annals_group_consumer_close(second, WAIT_MS, &error), 0);
}
END_TEST

static int commit_as(const char *member, uint32_t generation, uint32_t partition, uint64_t offset)
{
	const struct annals_offset entry = {.topic = "t", .partition = partition, .offset = offset};
	return annals_offsets_commit_as(
		client, "g", member, generation, &entry, 1, WAIT_MS, &error);
}

static bool has(const struct annals_assignment *assignment, uint32_t partition)
{
	for (size_t i = 0; i < assignment->count; i++) {
		if (assignment->partitions[i].partition == partition) {
			return true;
		}
	}
	return false;
}

START_TEST(test_group_client_fences)
{
	struct annals_assignment first, second, again;
	uint32_t moving = 0;
	ck_assert_int_eq(
		annals_group_join(client, "g", "a", topics, 1, 0, WAIT_MS, &first, &error), 0);
	ck_assert_uint_eq(first.count, 6);
	ck_assert_uint_eq(first.pending, 0);
	ck_assert_int_eq(
		annals_group_join(other, "g", NULL, topics, 1, 0, WAIT_MS, &second, &error), 0);
	ck_assert_uint_eq(second.count, 0); /* "a" holds them all */
	ck_assert_uint_eq(second.pending, 3);
	ck_assert_int_eq(commit_as("a", first.generation, 5, 0), 0);
	ck_assert_int_eq(
		annals_group_heartbeat(client, "g", "a", first.generation, WAIT_MS, &again, &error),
		0);
	ck_assert_uint_eq(again.count, 3);
	while (has(&again, moving)) {
		moving++;
	}
	/* It knows, and has not let go: it still commits, nobody else does. */
	ck_assert_int_eq(commit_as("a", again.generation, moving, 0), 0);
	ck_assert_int_eq(commit_as(second.member, second.generation, moving, 0), ANNALS_E_FENCED);
	annals_assignment_release(&first);
	ck_assert_int_eq(
		annals_group_heartbeat(client, "g", "a", again.generation, WAIT_MS, &first, &error),
		0);
	ck_assert_int_eq(commit_as("a", first.generation, moving, 0), ANNALS_E_FENCED);
	ck_assert_int_eq(commit_as(second.member, second.generation, moving, 0), 0);
	ck_assert_int_eq(commit_as(NULL, 0, moving, 0), ANNALS_E_FENCED);
	ck_assert_int_eq(commit_as("nobody", 1, moving, 0), ANNALS_E_UNKNOWN_MEMBER);
	/* A process that joins with the same name fences the earlier one. */
	annals_assignment_release(&again);
	ck_assert_int_eq(
		annals_group_join(other, "g", "a", topics, 1, 0, WAIT_MS, &again, &error), 0);
	for (uint32_t i = 0; i < PARTITIONS; i++) {
		ck_assert_int_eq(commit_as("a", first.generation, i, 0), ANNALS_E_FENCED);
	}
	ck_assert_int_eq(commit_as("a", again.generation, again.partitions[0].partition, 0), 0);
	ck_assert_int_eq(annals_group_leave(client, "g", "a", WAIT_MS, NULL, &error), 0);
	ck_assert_int_eq(annals_group_leave(client, "g", "a", WAIT_MS, NULL, &error),
		ANNALS_E_UNKNOWN_MEMBER);
	ck_assert_int_eq(annals_group_leave(client, "g", second.member, WAIT_MS, NULL, &error), 0);
	ck_assert_int_eq(commit_as(NULL, 0, moving, 0), 0); /* nobody is there to be hurt */
	annals_assignment_release(&first);
	annals_assignment_release(&second);
	annals_assignment_release(&again);
	ck_assert_int_eq(annals_group_join(client, "g", "a", (const char *[]){"none"}, 1, 0,
				 WAIT_MS, &first, &error),
		ANNALS_E_UNKNOWN_TOPIC);
	ck_assert_int_eq(
		annals_group_join(client, "g", "a", topics, 1, 10, WAIT_MS, &first, &error),
		ANNALS_E_INVALID);
	ck_assert_int_eq(annals_group_join(client, "g", "a", topics, 0, 0, WAIT_MS, &first, &error),
		ANNALS_E_INVALID);
}
END_TEST

static void poll_all(struct annals_deliveries *ret, uint32_t max)
{
	ck_assert_int_eq(annals_group_poll(client, "q", "w", max, 0, 0, WAIT_MS, ret, &error), 0);
}

START_TEST(test_group_client_transacts)
{
	const struct annals_group_settings settings = {.mode = ANNALS_GROUP_BY_EVENT,
		.topics = topics,
		.topic_count = 1,
		.backoff_none = 1};
	struct annals_deliveries events;
	struct annals_placement places[2];
	struct annals_event output[2];
	struct annals_explanation explanation;
	struct annals_lease lease;
	void *value;
	size_t size;
	ck_assert_int_eq(annals_group_put(client, "q", &settings, WAIT_MS, NULL, &error), 0);
	append_one("t", 0, "a");
	append_one("t", 0, "b");
	poll_all(&events, 2);
	ck_assert_uint_eq(events.count, 2);
	lease = events.deliveries[0].lease;
	for (unsigned i = 0; i < 2; i++) {
		memset(&output[i], 0, sizeof(output[i]));
		output[i].type = annals_text("y");
		output[i].id = annals_text(i == 0 ? "a" : "b");
	}
	ck_assert_int_eq(annals_group_transact(client, "q", &lease, 1, "out", output, 2, "sum",
				 annals_text("41"), WAIT_MS, places, &error),
		0);
	ck_assert_uint_eq(places[1].offset, 1);
	/* The lease is used up: nothing of a second one is done. */
	ck_assert_int_eq(annals_group_transact(client, "q", &lease, 1, "out", output, 2, "sum",
				 annals_text("43"), WAIT_MS, NULL, &error),
		ANNALS_E_LEASE_LOST);
	lease = events.deliveries[1].lease;
	ck_assert_int_eq(annals_group_transact(client, "q", &lease, 1, "none", output, 1, NULL,
				 annals_text(""), WAIT_MS, NULL, &error),
		ANNALS_E_UNKNOWN_TOPIC);
	ck_assert_int_eq(annals_group_transact(client, "q", NULL, 0, NULL, NULL, 0, NULL,
				 annals_text(""), WAIT_MS, NULL, &error),
		ANNALS_E_INVALID);
	ck_assert_int_eq(annals_group_transact(client, "q", &lease, 1, NULL, NULL, 0, "sum",
				 annals_text("42"), WAIT_MS, NULL, &error),
		0);
	ck_assert_int_eq(
		annals_group_checkpoint(client, "q", "sum", WAIT_MS, &value, &size, &error), 0);
	ck_assert_str_eq(value, "42");
	ck_assert_uint_eq(size, 2);
	free(value);
	ck_assert_int_eq(
		annals_group_checkpoint(client, "q", "none", WAIT_MS, &value, &size, &error),
		ANNALS_E_NOT_FOUND);
	ck_assert_int_eq(
		annals_group_explain(client, "q", "t", 0, 0, WAIT_MS, &explanation, &error), 0);
	ck_assert_str_eq(explanation.state, "finished");
	ck_assert_uint_eq(explanation.history_count, 1);
	ck_assert_str_eq(explanation.history[0].member, "w");
	ck_assert_str_eq(explanation.history[0].outcome, "acknowledged");
	annals_explanation_release(&explanation);
	ck_assert_int_eq(
		annals_group_explain(client, "q", "t", 0, 99, WAIT_MS, &explanation, &error),
		ANNALS_E_OFFSET_BEYOND_END);
	annals_deliveries_release(&events);
}
END_TEST

START_TEST(test_group_client_acknowledges_and_polls_at_once)
{
	const struct annals_group_settings settings = {
		.mode = ANNALS_GROUP_BY_EVENT, .topics = topics, .topic_count = 2};
	struct annals_deliveries events;
	struct annals_group_status status;
	struct annals_lease lease;
	size_t lost = 7;

	for (unsigned i = 0; i < 4; i++) {
		append_one("u", 0, "e");
	}
	ck_assert_int_eq(annals_group_put(client, "w", &settings, WAIT_MS, NULL, &error), 0);
	ck_assert_int_eq(
		annals_group_poll(client, "w", "m", 1, 0, 100, WAIT_MS, &events, &error), 0);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(events.count, 1);
		ck_assert_uint_eq(events.deliveries[0].event.offset, i);
		lease = events.deliveries[0].lease;
		annals_deliveries_release(&events);
		ck_assert_int_eq(annals_group_acknowledge_and_poll(client, "w", &lease, 1, "m", 1,
					 0, 100, WAIT_MS, &lost, &events, &error),
			0);
		ck_assert_uint_eq(lost, 0);
	}
	annals_deliveries_release(&events);
	lease.offset++; /* the one that is in work, by a number that is not its own */
	lease.lease += 7;
	/* A lease that is not held keeps nobody from the next events. */
	ck_assert_int_eq(annals_group_acknowledge_and_poll(client, "w", &lease, 1, "m", 1, 0, 0,
				 WAIT_MS, &lost, &events, &error),
		0);
	ck_assert_uint_eq(lost, 1);
	ck_assert_uint_eq(events.count, 0); /* the last one is leased */
	annals_deliveries_release(&events);
	ck_assert_int_eq(annals_group_describe(client, "w", WAIT_MS, &status, &error), 0);
	ck_assert_uint_eq(status.in_flight, 1);
	ck_assert_uint_eq(status.lag, 1);
	annals_group_status_release(&status);
	ck_assert_int_eq(annals_group_acknowledge_and_poll(client, "none", &lease, 1, "m", 1, 0, 0,
				 WAIT_MS, &lost, &events, &error),
		ANNALS_E_UNKNOWN_GROUP);
	ck_assert_int_eq(annals_group_acknowledge_and_poll(client, "w", &lease, 1, "m", 2000, 0, 0,
				 WAIT_MS, &lost, &events, &error),
		ANNALS_E_INVALID);
}
END_TEST

/* The outputs were stored before by somebody else: the acknowledgement and the checkpoint hold all
 * the same. */
START_TEST(test_group_client_transacts_known_outputs)
{
	const struct annals_group_settings settings = {
		.mode = ANNALS_GROUP_BY_EVENT, .topics = topics, .topic_count = 1};
	struct annals_deliveries events;
	struct annals_placement place = {.offset = 99};
	struct annals_event output;
	void *value;
	size_t size;
	ask_for(201, "PUT", "/v1/topics/once", NULL, "{\"partitions\":1,\"dedupe\":true}");
	ck_assert_int_eq(annals_group_put(client, "q", &settings, WAIT_MS, NULL, &error), 0);
	append_one("t", 0, "a");
	append_one("once", 0, "same");
	poll_all(&events, 2);
	ck_assert_uint_eq(events.count, 1);
	memset(&output, 0, sizeof(output));
	output.id = annals_text("same");
	output.type = annals_text("x");
	output.source = annals_text("/test");
	output.data = annals_text("same");
	output.has_data = 1;
	int status = annals_group_transact(client, "q", &events.deliveries[0].lease, 1, "once",
		&output, 1, "place", annals_text("7"), WAIT_MS, &place, &error);
	ck_assert_msg(status == 0, "%s", error.text);
	ck_assert_int_eq(place.replayed, 1);
	ck_assert_uint_eq(place.offset, 0);
	ck_assert_int_eq(
		annals_group_checkpoint(client, "q", "place", WAIT_MS, &value, &size, &error), 0);
	ck_assert_str_eq(value, "7");
	free(value);
	annals_deliveries_release(&events);
	poll_all(&events, 2);
	ck_assert_uint_eq(events.count, 0);
	annals_deliveries_release(&events);
}
END_TEST

/* A topic that is made again shares nothing with the one before. */
START_TEST(test_group_client_begins_anew_with_the_topic)
{
	struct annals_group_consumer *consumer;
	struct annals_event event;
	const char *topic;
	size_t count = 0;
	const struct annals_offset beyond = {.topic = "t", .partition = 0, .offset = 1};
	append_one("t", 0, "a");
	ck_assert_int_eq(annals_offsets_commit(client, "g", &beyond, 1, WAIT_MS, &error), 0);
	ask_for(204, "DELETE", "/v1/topics/t", NULL, NULL);
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":1}");
	append_one("t", 0, "b");
	consumer = open_member(client, "m", ANNALS_START_EARLIEST);
	ck_assert_int_eq(annals_group_consumer_poll(
				 consumer, 1000, WAIT_MS, &topic, &event, 1, &count, &error),
		0);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(event.offset, 0);
	ck_assert_int_eq(annals_group_consumer_close(consumer, WAIT_MS, &error), 0);
}
END_TEST

static void trimmed(void *arg)
{
	atomic_bool *done = arg;
	*done = true;
}

static void trim(uint32_t topic_id, uint32_t partition, uint64_t first_offset)
{
	struct completion_queue queue;
	atomic_bool done = false;
	struct trim_request request = {.base.operation = STORE_TRIM,
		.topic_id = topic_id,
		.partition = partition,
		.first_offset = first_offset};
	struct list_node list;
	struct error err = {0};
	completion_queue_init(&queue, trimmed, &done);
	request.base.queue = &queue;
	list_init(&request.base.node);
	list_init(&list);
	ck_assert_int_eq(store_submit(test_server.store, &request.base, &err), 0);
	while (!done) {
		usleep(1000);
	}
	completion_queue_take(&queue, &list);
	ck_assert_int_eq(request.base.status, 0);
	completion_queue_release(&queue);
}

/* Offsets below what retention has left: an error that names the range, never a silent jump; then
 * a way on. */
START_TEST(test_group_client_names_the_lost_range)
{
	struct annals_group_consumer *consumer;
	struct annals_topic *found;
	struct annals_event event;
	struct annals_offset place = {.topic = "u", .partition = 0, .offset = 2};
	const char *topic;
	size_t count = 0;
	int status;
	for (unsigned i = 0; i < 8; i++) {
		append_one("u", 0, "e");
	}
	ck_assert_int_eq(annals_offsets_commit(client, "g", &place, 1, WAIT_MS, &error), 0);
	ck_assert_int_eq(annals_topic_describe(client, "u", WAIT_MS, &found, &error), 0);
	trim(found->id, 0, 6);
	annals_topic_free(found);
	consumer = open_member(client, "m", ANNALS_START_EARLIEST);
	for (unsigned i = 0; i < 2; i++) { /* it says so as long as nobody decides */
		do {
			status = annals_group_consumer_poll(
				consumer, 500, WAIT_MS, &topic, &event, 1, &count, &error);
		} while (status == 0 && count == 0);
		ck_assert_int_eq(status, ANNALS_E_OFFSET_GONE);
		ck_assert_uint_eq(error.first_offset, 6);
		ck_assert_msg(strstr(error.text, "2") && strstr(error.text, "6"), "%s", error.text);
	}
	place.offset = error.first_offset;
	ck_assert_int_eq(
		annals_offsets_commit_as(client, "g", "m",
			annals_group_consumer_generation(consumer), &place, 1, WAIT_MS, &error),
		0);
	do {
		ck_assert_int_eq(annals_group_consumer_poll(
					 consumer, 500, WAIT_MS, &topic, &event, 1, &count, &error),
			0);
	} while (count == 0);
	ck_assert_uint_eq(event.offset, 6);
	ck_assert_int_eq(annals_group_consumer_close(consumer, WAIT_MS, &error), 0);
}
END_TEST

SUITE_MAIN("group_client", setup, teardown, test_group_client_rebalances_exactly,
	test_group_client_takes_over, test_group_client_heartbeats_while_it_handles,
	test_group_client_fences, test_group_client_transacts,
	test_group_client_transacts_known_outputs, test_group_client_names_the_lost_range,
	test_group_client_begins_anew_with_the_topic,
	test_group_client_acknowledges_and_polls_at_once)
