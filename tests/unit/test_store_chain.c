/* One commit that appends to several topics: all or nothing. On every journal. */
#include "store_harness.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOPICS 3u

static struct store_harness f;
static uint32_t topics[TOPICS]; /* the last without streams or dedupe */

struct link {
	struct append_request request;
	struct buf body;
	struct stream_condition condition;
};

static struct link links[APPEND_TOPICS_MAX + 1];

static void setup(void)
{
	store_harness_init(&f);
	for (uint32_t i = 0; i < TOPICS; i++) {
		const bool plain = i == TOPICS - 1;
		struct topic_request request = {.base.operation = STORE_TOPIC_CREATE,
			.config = {.partitions = 1,
				.streams = !plain,
				.dedupe_age_us = plain ? 0 : UINT64_C(3600) * 1000000}};
		(void)snprintf(request.name, sizeof(request.name), "t%u", i);
		ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), 0);
		topics[i] = request.topic->id;
		topic_unref(request.topic);
	}
}

static void teardown(void)
{
	store_harness_release(&f);
}

/* One event with a key and an id for a topic, expecting a version unless it is UINT64_MAX. */
static void link_event(uint32_t index, uint32_t topic, const char *id, uint64_t expected)
{
	struct link *link = &links[index];
	struct record record = {.id = bytes_text(id),
		.source = bytes_text("/s"),
		.type = bytes_text("t"),
		.has_key = true,
		.key = bytes_text("k"),
		.has_data = true,
		.data = bytes_text("x")};

	append_request_release(&link->request);
	buf_release(&link->body);
	memset(link, 0, sizeof(*link));
	ck_assert_int_eq(record_encode_in_batch(&record, &link->body), 0);
	link->request.base.operation = STORE_APPEND;
	link->request.topic_id = topic;
	link->request.parts = &link->request.one_part;
	link->request.part_count = 1;
	store_harness_part(&link->request.one_part, 0, buf_bytes(&link->body), 1);
	if (expected != UINT64_MAX) {
		link->condition = (struct stream_condition){.key = bytes_text("k"),
			.expect = expected == 0 ? STREAM_NONE : STREAM_VERSION,
			.version = expected - 1};
		link->request.stream_conditions = &link->condition;
		link->request.stream_condition_count = 1;
	}
	if (index > 0) {
		links[index - 1].request.next = &link->request;
	}
}

static int run(void)
{
	return store_harness_run(&f, &f.waiter, &links[0].request.base);
}

static uint64_t end_of(uint32_t topic)
{
	return store_harness_info(&f, topics[topic], 0).end_offset;
}

static void release_links(void)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(links); i++) {
		append_request_release(&links[i].request);
		buf_release(&links[i].body);
		memset(&links[i], 0, sizeof(links[i]));
	}
}

START_TEST(test_chain_is_stored_in_all_topics)
{
	link_event(0, topics[0], "a", 0);
	link_event(1, topics[1], "a", 0);
	link_event(2, topics[2], "a", UINT64_MAX);
	ck_assert_msg(run() == 0, "%s", links[0].request.base.error.text);
	for (uint32_t i = 0; i < TOPICS; i++) {
		const struct append_request *request = &links[i].request;
		ck_assert_uint_eq(end_of(i), 1);
		ck_assert_uint_eq(request->one_part.base_offset, 0);
		ck_assert_uint_eq(request->recorded_us, links[0].request.recorded_us);
		ck_assert_int_eq(request->durability, DURABILITY_FSYNC);
		ck_assert_uint_eq(request->one_part.base_position,
			links[0].request.one_part.base_position + i);
	}
	if (store_harness_is_durable(&f)) {
		store_harness_reopen(&f);
		for (uint32_t i = 0; i < TOPICS; i++) {
			ck_assert_uint_eq(store_harness_read(&f, topics[i], 0, 0, NULL), 1);
		}
	}
	release_links();
}
END_TEST

START_TEST(test_chain_is_refused_as_a_whole)
{
	for (uint32_t refused = 0; refused < 2; refused++) {
		link_event(0, topics[0], "a", refused == 0 ? 5 : 0);
		link_event(1, topics[1], "a", refused == 1 ? 5 : 0);
		link_event(2, topics[2], "a", UINT64_MAX);
		ck_assert_int_eq(run(), ANNALS_E_PRECONDITION_FAILED);
		ck_assert_ptr_eq(links[0].request.refused, &links[refused].request);
		ck_assert(!links[refused].request.conflict.exists);
		ck_assert_str_ne(links[0].request.base.error.text, "");
	}
	link_event(0, topics[0], "a", UINT64_MAX);
	link_event(1, topics[1] + 100, "a", UINT64_MAX);
	link_event(2, topics[1], "a", UINT64_MAX);
	ck_assert_int_eq(run(), ANNALS_E_UNKNOWN_TOPIC);
	ck_assert_ptr_eq(links[0].request.refused, &links[1].request);
	link_event(1, topics[0], "b", UINT64_MAX);
	link_event(2, topics[1], "a", UINT64_MAX);
	ck_assert_int_eq(run(), ANNALS_E_INVALID);
	for (uint32_t i = 0; i <= APPEND_TOPICS_MAX; i++) {
		link_event(i, topics[0], "a", UINT64_MAX);
	}
	struct error err;
	ck_assert_int_eq(store_submit(f.store, &links[0].request.base, &err), ANNALS_E_LIMIT);
	for (uint32_t i = 0; i < TOPICS; i++) {
		ck_assert_uint_eq(end_of(i), 0);
	}
	release_links();
	/* The versions that were looked at are as they were. */
	link_event(0, topics[0], "a", 0);
	link_event(1, topics[1], "a", 0);
	ck_assert_int_eq(run(), 0);
	release_links();
}
END_TEST

START_TEST(test_chain_gives_repeats_their_first_answer)
{
	for (int round = 0; round < 2; round++) {
		link_event(0, topics[0], "a", 0);
		link_event(1, topics[1], "a", 0);
		ck_assert_int_eq(run(), 0);
		ck_assert(links[0].request.replayed == (round == 1));
		ck_assert_uint_eq(links[1].request.one_part.base_offset, 0);
	}
	/* Some known: skipped without conditions, refused with one anywhere. */
	link_event(0, topics[0], "a", UINT64_MAX);
	link_event(1, topics[1], "b", 1);
	ck_assert_int_eq(run(), ANNALS_E_PARTIAL_DUPLICATE);
	ck_assert_ptr_eq(links[0].request.refused, &links[0].request);
	link_event(0, topics[0], "a", UINT64_MAX);
	link_event(1, topics[1], "b", UINT64_MAX);
	ck_assert_int_eq(run(), 0);
	ck_assert(!links[0].request.replayed);
	ck_assert(links[0].request.one_part.replayed);
	ck_assert(!links[1].request.one_part.replayed);
	ck_assert_uint_eq(end_of(0), 1);
	ck_assert_uint_eq(end_of(1), 2);
	release_links();
}
END_TEST

START_TEST(test_chain_keeps_receipts_and_rows)
{
	const struct row_change row = {.key = bytes_text("wtest"), .value = bytes_text("v")};
	struct buf value = BUF_INIT;
	struct error err;
	for (int round = 0; round < 2; round++) {
		link_event(0, topics[0], "", UINT64_MAX);
		link_event(1, topics[2], "", UINT64_MAX);
		for (int i = 0; i < 2; i++) {
			links[i].request.receipt_key = bytes_text("me POST /x 1");
			memset(links[i].request.receipt_hash, 7, 16);
		}
		ck_assert_int_eq(run(), 0);
		ck_assert(links[0].request.replayed == (round == 1));
	}
	links[1].request.receipt_hash[0] = 8;
	links[0].request.receipt_key = bytes_of(NULL, 0);
	ck_assert_int_eq(run(), ANNALS_E_IDEMPOTENCY);
	ck_assert_uint_eq(end_of(0), 1);
	ck_assert_uint_eq(end_of(2), 1);
	/* Rows of a first append that was stored before go with the others. */
	link_event(0, topics[0], "id", UINT64_MAX);
	link_event(1, topics[2], "", UINT64_MAX);
	ck_assert_int_eq(run(), 0);
	link_event(0, topics[0], "id", UINT64_MAX);
	link_event(1, topics[2], "", UINT64_MAX);
	links[0].request.rows = &row;
	links[0].request.row_count = 1;
	ck_assert_int_eq(run(), 0);
	ck_assert_int_eq(store_row_get(f.store, row.key, &value, &err), 1);
	ck_assert_uint_eq(end_of(0), 2);
	ck_assert_uint_eq(end_of(2), 3);
	buf_release(&value);
	release_links();
}
END_TEST

static void set_receipts(uint8_t hash)
{
	for (int i = 0; i < 2; i++) {
		links[i].request.receipt_key = bytes_text("me POST /x 2");
		memset(links[i].request.receipt_hash, hash, 16);
	}
}

/* The ids of one topic are forgotten soon: the receipt holds longer, though that topic's events had
 * been stored before the request came first. */
START_TEST(test_chain_keeps_receipts_of_what_was_known)
{
	struct topic_request topic = {.base.operation = STORE_TOPIC_CREATE,
		.config = {.partitions = 1, .dedupe_age_us = 1},
		.name = "short"};
	uint32_t id;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &topic.base), 0);
	id = topic.topic->id;
	topic_unref(topic.topic);
	link_event(0, id, "a", UINT64_MAX);
	ck_assert_int_eq(run(), 0);
	for (int round = 0; round < 2; round++) {
		link_event(0, id, "a", UINT64_MAX);
		link_event(1, topics[2], "a", UINT64_MAX);
		set_receipts(7);
		ck_assert_int_eq(run(), 0);
		ck_assert(links[0].request.one_part.replayed);
		ck_assert_uint_eq(links[0].request.one_part.base_offset, 0);
		ck_assert(links[0].request.replayed == (round == 1));
		ck_assert_uint_eq(end_of(2), 1);
		ck_assert_uint_eq(store_harness_info(&f, id, 0).end_offset, 1);
		/* Time passes. */
		usleep(1000);
		link_event(0, topics[1], round == 0 ? "b" : "c", UINT64_MAX);
		ck_assert_int_eq(run(), 0);
	}
	release_links();
}
END_TEST

/* A repeat finds one of its topics made anew: half of it must not be stored again. */
START_TEST(test_chain_is_not_repeated_by_halves)
{
	struct topic_request topic = {.base.operation = STORE_TOPIC_DELETE, .name = "t2"};
	for (uint32_t half = 0; half < 2; half++) {
		link_event(half, topics[0], "", UINT64_MAX);
		link_event(1 - half, topics[2], "", UINT64_MAX);
		links[0].request.next = &links[1].request;
		links[1].request.next = NULL;
		set_receipts((uint8_t)(7 + half));
		links[0].request.receipt_key = links[1].request.receipt_key =
			half == 0 ? bytes_text("k1") : bytes_text("k2");
		ck_assert_int_eq(run(), 0);
	}
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &topic.base), 0);
	topic = (struct topic_request){
		.base.operation = STORE_TOPIC_CREATE, .config = {.partitions = 1}, .name = "t2"};
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &topic.base), 0);
	topics[2] = topic.topic->id;
	topic_unref(topic.topic);
	for (uint32_t half = 0; half < 2; half++) {
		link_event(half, topics[0], "", UINT64_MAX);
		link_event(1 - half, topics[2], "", UINT64_MAX);
		links[0].request.next = &links[1].request;
		links[1].request.next = NULL;
		set_receipts((uint8_t)(7 + half));
		links[0].request.receipt_key = links[1].request.receipt_key =
			half == 0 ? bytes_text("k1") : bytes_text("k2");
		ck_assert_int_eq(run(), ANNALS_E_IDEMPOTENCY);
		ck_assert_ptr_eq(links[0].request.refused, &links[half].request);
	}
	ck_assert_uint_eq(end_of(0), 2);
	ck_assert_uint_eq(end_of(2), 0);
	release_links();
}
END_TEST

SUITE_MAIN("store chain", setup, teardown, test_chain_is_stored_in_all_topics,
	test_chain_is_refused_as_a_whole, test_chain_gives_repeats_their_first_answer,
	test_chain_keeps_receipts_and_rows, test_chain_keeps_receipts_of_what_was_known,
	test_chain_is_not_repeated_by_halves)
