/* Streams, expected versions, dedupe, queries, producers and receipts. On every journal. */
#include "store_harness.h"
#include "suite.h"

#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/hash.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PARTITIONS 4u

static struct store_harness f;
static uint32_t topic;

static uint32_t create(const char *name, const struct topic_config *config)
{
	struct topic_request request = {.base.operation = STORE_TOPIC_CREATE, .config = *config};
	uint32_t id;

	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), 0);
	id = request.topic->id;
	topic_unref(request.topic);
	return id;
}

static void setup(void)
{
	struct topic_config config = {.partitions = PARTITIONS,
		.streams = true,
		.dedupe_age_us = UINT64_C(3600) * 1000000,
		.query_index = true};

	store_harness_init(&f);
	topic = create("t", &config);
}

static void teardown(void)
{
	store_harness_release(&f);
}

/* An event for an append. */
struct what {
	const char *key, *id, *data, *type, *tag, *tag2;
};

/* One append of events that share a partition. */
struct sent {
	struct append_request request;
	struct buf body;
};

static void add_event(struct buf *body, const struct what *what)
{
	struct bytes tags[2] = {bytes_text(what->tag != NULL ? what->tag : ""),
		bytes_text(what->tag2 != NULL ? what->tag2 : "")};
	struct record record = {
		.id = bytes_text(what->id != NULL ? what->id : ""),
		.source = bytes_text("/s"),
		.type = bytes_text(what->type != NULL ? what->type : ""),
		.has_key = what->key != NULL,
		.key = bytes_text(what->key != NULL ? what->key : ""),
		.has_data = true,
		.data = bytes_text(what->data != NULL ? what->data : "x"),
		.tags = tags,
		.tag_count = what->tag2 != NULL  ? 2
			     : what->tag != NULL ? 1
						 : 0,
	};

	ck_assert_int_eq(record_encode_in_batch(&record, body), 0);
}

static void prepare(struct sent *sent, const struct what *events, uint32_t count)
{
	uint32_t partition =
		events[0].key != NULL ? record_partition(bytes_text(events[0].key), PARTITIONS) : 0;
	struct append_request *request = &sent->request;

	memset(sent, 0, sizeof(*sent));
	for (uint32_t i = 0; i < count; i++) {
		add_event(&sent->body, &events[i]);
	}
	request->base.operation = STORE_APPEND;
	request->topic_id = topic;
	request->parts = &request->one_part;
	request->part_count = 1;
	store_harness_part(&request->one_part, partition, buf_bytes(&sent->body), count);
}

static int run(struct sent *sent)
{
	return store_harness_run(&f, &f.waiter, &sent->request.base);
}

static void finish(struct sent *sent)
{
	append_request_release(&sent->request);
	buf_release(&sent->body);
}

/* Appends one event, expecting this version of its stream. */
static void append_version(const struct what *what, uint64_t version)
{
	struct sent sent;

	prepare(&sent, what, 1);
	ck_assert_int_eq(run(&sent), 0);
	ck_assert_uint_eq(sent.request.one_part.first_version, version);
	ck_assert(!sent.request.replayed);
	finish(&sent);
}

static int append_expecting(
	const struct what *what, enum stream_expect expect, uint64_t version, struct sent *sent)
{
	struct stream_condition condition = {
		.key = bytes_text(what->key), .expect = expect, .version = version};
	int status;

	prepare(sent, what, 1);
	sent->request.stream_conditions = &condition;
	sent->request.stream_condition_count = 1;
	status = run(sent);
	finish(sent);
	return status;
}

static struct stream_head head_of(const char *key, bool *ret_exists)
{
	struct stream_request request = {
		.base.operation = STORE_STREAM_READ, .topic_id = topic, .key = bytes_text(key)};

	ck_assert_int_eq(store_read(f.store, &request.base, 0), 0);
	ck_assert_int_eq(request.base.status, 0);
	*ret_exists = request.exists;
	return request.head;
}

/* Reads the stream and checks that versions are dense; returns how many events. */
static size_t read_versions(const char *key, uint64_t from, bool backwards, uint32_t limit)
{
	struct stream_request request = {.base.operation = STORE_STREAM_READ,
		.topic_id = topic,
		.key = bytes_text(key),
		.version = from,
		.backwards = backwards,
		.limit = limit};
	size_t count;

	ck_assert_int_eq(store_read(f.store, &request.base, 0), 0);
	ck_assert_msg(request.base.status == 0, "%s", request.base.error.text);
	count = request.place_count;
	for (size_t i = 1; i < count; i++) {
		ck_assert_uint_eq(request.places[i].version,
			request.places[i - 1].version + (backwards ? -1 : 1));
		ck_assert(request.places[i].position != request.places[i - 1].position);
	}
	if (count > 0 && from != UINT64_MAX) {
		ck_assert_uint_eq(request.places[0].version, from);
	}
	free(request.places);
	return count;
}

static bool index_is_flushed(const struct store_stats *stats)
{
	return stats->index_flushes > 0;
}

/* Makes the indexes go to LMDB. */
static void flush(void)
{
	uint32_t other = store_harness_topic(&f, "filler", 1);
	struct store_stats stats;

	for (int i = 0; i < 20; i++) {
		store_harness_fill(&f, other, 0, 200, (uint64_t)i);
		store_stats(f.store, &stats);
		if (stats.index_flushes > 0) {
			break;
		}
	}
	ck_assert(store_harness_wait_for(&f, index_is_flushed));
}

START_TEST(test_streams_count_versions)
{
	bool exists;
	struct stream_head head;
	for (uint64_t i = 0; i < 5; i++) {
		append_version(&(struct what){.key = "a"}, i);
		append_version(&(struct what){.key = "b"}, i);
	}
	head = head_of("a", &exists);
	ck_assert(exists);
	ck_assert_uint_eq(head.next_version, 5);
	ck_assert_uint_eq(head.first_version, 0);
	(void)head_of("c", &exists);
	ck_assert(!exists);
	ck_assert_uint_eq(read_versions("a", 0, false, 100), 5);
	ck_assert_uint_eq(read_versions("a", 2, false, 100), 3);
	ck_assert_uint_eq(read_versions("a", 2, false, 2), 2);
	ck_assert_uint_eq(read_versions("a", UINT64_MAX, true, 3), 3);
	ck_assert_uint_eq(read_versions("a", 3, true, 100), 4);
	ck_assert_uint_eq(read_versions("a", 5, false, 100), 0);
}
END_TEST

START_TEST(test_streams_share_a_batch)
{
	struct what events[] = {{.key = "k1"}, {.key = "k1"}, {.key = NULL}, {.key = NULL},
		{.key = "k1"}, {.key = "k1"}};
	struct sent sent;
	/* A second key of the same partition. */
	static char other[16];
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(other, sizeof(other), "o%d", i);
		if (record_partition(bytes_text(other), PARTITIONS) ==
			record_partition(bytes_text("k1"), PARTITIONS)) {
			break;
		}
	}
	events[3].key = other;
	prepare(&sent, events, 6);
	ck_assert_int_eq(run(&sent), 0);
	ck_assert_uint_eq(sent.request.run_count, 4);
	ck_assert_uint_eq(sent.request.runs[0].count, 2);
	ck_assert_uint_eq(sent.request.runs[0].version, 0);
	ck_assert_uint_eq(sent.request.runs[1].version, VERSION_NONE);
	ck_assert_uint_eq(sent.request.runs[2].version, 0);
	ck_assert_uint_eq(sent.request.runs[3].first_event, 4);
	ck_assert_uint_eq(sent.request.runs[3].version, 2);
	finish(&sent);
	ck_assert_uint_eq(read_versions("k1", 0, false, 100), 4);
	ck_assert_uint_eq(read_versions(other, 0, false, 100), 1);
}
END_TEST

START_TEST(test_streams_refuse_a_wrong_partition)
{
	struct sent sent;
	prepare(&sent, &(struct what){.key = "a"}, 1);
	sent.request.one_part.partition = (sent.request.one_part.partition + 1) % PARTITIONS;
	struct error err = {0};
	sent.request.base.queue = &f.waiter.queue;
	ck_assert_int_eq(store_submit(f.store, &sent.request.base, &err), ANNALS_E_WRONG_PARTITION);
	finish(&sent);
}
END_TEST

START_TEST(test_expected_versions)
{
	struct sent sent;
	struct what a = {.key = "a"};
	ck_assert_int_eq(
		append_expecting(&a, STREAM_EXISTS, 0, &sent), ANNALS_E_PRECONDITION_FAILED);
	ck_assert(!sent.request.conflict.exists);
	ck_assert_int_eq(
		append_expecting(&a, STREAM_VERSION, 0, &sent), ANNALS_E_PRECONDITION_FAILED);
	ck_assert_int_eq(append_expecting(&a, STREAM_NONE, 0, &sent), 0);
	ck_assert_int_eq(append_expecting(&a, STREAM_NONE, 0, &sent), ANNALS_E_PRECONDITION_FAILED);
	ck_assert(sent.request.conflict.exists);
	ck_assert_uint_eq(sent.request.conflict.version, 0);
	ck_assert_int_eq(append_expecting(&a, STREAM_EXISTS, 0, &sent), 0);
	ck_assert_int_eq(append_expecting(&a, STREAM_VERSION, 1, &sent), 0);
	ck_assert_int_eq(
		append_expecting(&a, STREAM_VERSION, 1, &sent), ANNALS_E_PRECONDITION_FAILED);
	ck_assert_uint_eq(sent.request.conflict.version, 2);
	ck_assert_int_eq(append_expecting(&a, STREAM_ANY, 0, &sent), 0);
	flush();
	ck_assert_int_eq(
		append_expecting(&a, STREAM_VERSION, 1, &sent), ANNALS_E_PRECONDITION_FAILED);
	ck_assert_uint_eq(sent.request.conflict.version, 3);
	ck_assert_int_eq(append_expecting(&a, STREAM_VERSION, 3, &sent), 0);
	if (store_harness_is_durable(&f)) {
		store_harness_reopen(&f);
		ck_assert_int_eq(append_expecting(&a, STREAM_VERSION, 3, &sent),
			ANNALS_E_PRECONDITION_FAILED);
		ck_assert_int_eq(append_expecting(&a, STREAM_VERSION, 4, &sent), 0);
		ck_assert_uint_eq(read_versions("a", 0, false, 100), 6);
	}
}
END_TEST

/* Many that expect the same version, in one draft: one wins, each of the others hears the truth. */
START_TEST(test_expected_versions_race)
{
	enum { COUNT = 64 };
	static struct sent sent[COUNT];
	static struct stream_condition condition;
	for (uint64_t round = 0; round < 20; round++) {
		unsigned won = 0;
		condition = (struct stream_condition){.key = bytes_text("seat"),
			.expect = round == 0 ? STREAM_NONE : STREAM_VERSION,
			.version = round - 1};
		for (unsigned i = 0; i < COUNT; i++) {
			prepare(&sent[i], &(struct what){.key = "seat"}, 1);
			sent[i].request.stream_conditions = &condition;
			sent[i].request.stream_condition_count = 1;
			sent[i].request.base.queue = &f.waiter.queue;
			ck_assert_int_eq(
				store_submit_quietly(f.store, &sent[i].request.base, &f.error), 0);
		}
		store_wake_writer(f.store);
		for (unsigned i = 0; i < COUNT; i++) {
			struct append_request *back =
				(struct append_request *)waiter_take(&f.waiter, 5000);
			ck_assert_ptr_nonnull(back);
			if (back->base.status == 0) {
				won++;
				ck_assert_uint_eq(back->one_part.first_version, round);
			} else {
				ck_assert_int_eq(back->base.status, ANNALS_E_PRECONDITION_FAILED);
				ck_assert_uint_eq(back->conflict.version, round);
			}
		}
		ck_assert_uint_eq(won, 1);
		for (unsigned i = 0; i < COUNT; i++) {
			finish(&sent[i]);
		}
	}
}
END_TEST

START_TEST(test_ids_are_stored_once)
{
	struct sent first, again;
	struct what event = {.key = "a", .id = "e1", .data = "one"};
	for (int round = 0; round < 3; round++) {
		if (round == 0) {
			prepare(&first, &event, 1);
			ck_assert_int_eq(run(&first), 0);
		} else if (round == 1) {
			flush();
		} else if (store_harness_is_durable(&f)) {
			store_harness_reopen(&f);
		}
		prepare(&again, &event, 1);
		ck_assert_int_eq(run(&again), 0);
		ck_assert(again.request.replayed);
		ck_assert_uint_eq(again.request.run_count, 1);
		ck_assert(again.request.runs[0].replayed);
		ck_assert_uint_eq(again.request.runs[0].offset, first.request.one_part.base_offset);
		ck_assert_uint_eq(again.request.runs[0].version, 0);
		ck_assert_uint_eq(
			again.request.runs[0].position, first.request.one_part.base_position);
		finish(&again);
		event.data = "two";
		prepare(&again, &event, 1);
		ck_assert_int_eq(run(&again), ANNALS_E_DUPLICATE_ID);
		finish(&again);
		event.data = "one";
	}
	finish(&first);
	ck_assert_uint_eq(read_versions("a", 0, false, 100), 1);
}
END_TEST

START_TEST(test_ids_known_in_part)
{
	struct what events[] = {{.key = "a", .id = "1"}, {.key = "a", .id = "2"},
		{.key = "a", .id = "3"}, {.key = "a", .id = "4"}};
	struct stream_condition condition = {.key = bytes_text("a"), .expect = STREAM_ANY};
	struct sent sent;
	prepare(&sent, events + 1, 1);
	ck_assert_int_eq(run(&sent), 0);
	finish(&sent);
	prepare(&sent, events, 4);
	sent.request.stream_conditions = &condition;
	sent.request.stream_condition_count = 1;
	ck_assert_int_eq(run(&sent), ANNALS_E_PARTIAL_DUPLICATE);
	ck_assert_uint_eq(sent.request.conflict_event, 1);
	finish(&sent);
	prepare(&sent, events, 4);
	ck_assert_int_eq(run(&sent), 0);
	ck_assert(!sent.request.replayed);
	ck_assert_uint_eq(sent.request.run_count, 3);
	ck_assert(!sent.request.runs[0].replayed && sent.request.runs[1].replayed &&
		  !sent.request.runs[2].replayed);
	ck_assert_uint_eq(sent.request.runs[0].version, 1);
	ck_assert_uint_eq(sent.request.runs[1].version, 0);
	ck_assert_uint_eq(sent.request.runs[2].version, 2);
	ck_assert_uint_eq(sent.request.runs[2].count, 2);
	finish(&sent);
	ck_assert_uint_eq(read_versions("a", 0, false, 100), 4);
	events[3].id = "3";
	prepare(&sent, events + 2, 2);
	ck_assert_int_eq(run(&sent), ANNALS_E_DUPLICATE_ID);
	finish(&sent);
}
END_TEST

/* The same events many times in one draft are stored once. */
START_TEST(test_ids_repeated_within_one_commit)
{
	enum { COUNT = 30 };
	static struct sent sent[COUNT];
	unsigned fresh = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		prepare(&sent[i], &(struct what){.key = "a", .id = "same"}, 1);
		sent[i].request.base.queue = &f.waiter.queue;
		ck_assert_int_eq(store_submit_quietly(f.store, &sent[i].request.base, &f.error), 0);
	}
	store_wake_writer(f.store);
	for (unsigned i = 0; i < COUNT; i++) {
		struct append_request *back = (struct append_request *)waiter_take(&f.waiter, 5000);
		ck_assert_ptr_nonnull(back);
		ck_assert_int_eq(back->base.status, 0);
		fresh += back->replayed ? 0 : 1;
		ck_assert_uint_eq(back->runs[0].version, 0);
	}
	ck_assert_uint_eq(fresh, 1);
	for (unsigned i = 0; i < COUNT; i++) {
		finish(&sent[i]);
	}
}
END_TEST

static int append_unless(const struct query_item *item, uint64_t after, const struct what *what,
	struct append_conflict *ret)
{
	struct query_condition query = {.items = item, .item_count = 1, .after = after};
	struct sent sent;
	int status;

	prepare(&sent, what, 1);
	sent.request.query = &query;
	status = run(&sent);
	*ret = sent.request.conflict;
	finish(&sent);
	return status;
}

static size_t query(const struct query_item *items, uint32_t count, uint64_t after)
{
	struct query_request request = {.base.operation = STORE_QUERY,
		.topic_id = topic,
		.query = {.items = items, .item_count = count, .after = after},
		.limit = 100};
	uint64_t last = after;

	ck_assert_int_eq(store_read(f.store, &request.base, 0), 0);
	ck_assert_msg(request.base.status == 0, "%s", request.base.error.text);
	for (size_t i = 0; i < request.place_count; i++) {
		ck_assert_uint_gt(request.places[i].position, last);
		last = request.places[i].position;
	}
	free(request.places);
	return request.place_count;
}

START_TEST(test_queries_and_conditions_over_them)
{
	struct bytes seat = bytes_text("seat:7"), show = bytes_text("show:1");
	struct bytes both[] = {seat, show}, booked = bytes_text("booked"),
		     freed = bytes_text("freed");
	struct query_item by_tag = {.tags = &seat, .tag_count = 1};
	struct query_item by_both = {.tags = both, .tag_count = 2};
	struct query_item by_type = {.types = &booked, .type_count = 1};
	struct query_item typed_tag = {
		.types = &freed, .type_count = 1, .tags = &seat, .tag_count = 1};
	struct append_conflict conflict = {0};
	struct what event = {.key = "a", .type = "booked", .tag = "seat:7"};
	uint64_t position;
	ck_assert_int_eq(append_unless(&by_tag, 0, &event, &conflict), 0);
	ck_assert_int_eq(
		append_unless(&by_tag, 0, &event, &conflict), ANNALS_E_PRECONDITION_FAILED);
	ck_assert(conflict.is_query);
	position = conflict.position;
	ck_assert_int_eq(append_unless(&by_both, 0, &event, &conflict), 0);
	ck_assert_int_eq(append_unless(&typed_tag, 0, &event, &conflict), 0);
	ck_assert_int_eq(
		append_unless(&by_type, position, &event, &conflict), ANNALS_E_PRECONDITION_FAILED);
	event.tag2 = "show:1";
	event.type = "freed";
	ck_assert_int_eq(append_unless(&by_both, 0, &event, &conflict), 0);
	for (int round = 0; round < 2; round++) {
		ck_assert_int_eq(append_unless(&by_both, 0, &event, &conflict),
			ANNALS_E_PRECONDITION_FAILED);
		ck_assert_int_eq(append_unless(&typed_tag, 0, &event, &conflict),
			ANNALS_E_PRECONDITION_FAILED);
		ck_assert_uint_eq(query(&by_tag, 1, 0), 4);
		ck_assert_uint_eq(query(&by_tag, 1, position), 3);
		ck_assert_uint_eq(query(&by_both, 1, 0), 1);
		ck_assert_uint_eq(query(&by_type, 1, 0), 3);
		ck_assert_uint_eq(
			query((struct query_item[]){by_both, by_type, typed_tag}, 3, 0), 4);
		if (round == 0) {
			flush();
		}
	}
}
END_TEST

START_TEST(test_queries_know_what_retention_took)
{
	struct bytes tag = bytes_text("x");
	struct query_item item = {.tags = &tag, .tag_count = 1};
	struct append_conflict conflict;
	struct what event = {.key = "a", .tag = "x"};
	uint32_t partition = record_partition(bytes_text("a"), PARTITIONS);
	bool exists;
	for (int i = 0; i < 3; i++) {
		append_version(&event, (uint64_t)i);
	}
	ck_assert_int_eq(store_harness_trim(&f, topic, partition, 2), 0);
	ck_assert_int_eq(append_unless(&item, 0, &event, &conflict), ANNALS_E_OFFSET_GONE);
	ck_assert_int_eq(append_unless(&item, 2, &event, &conflict), ANNALS_E_PRECONDITION_FAILED);
	ck_assert_int_eq(append_unless(&item, 3, &event, &conflict), 0);
	ck_assert_uint_eq(head_of("a", &exists).first_version, 2);
	ck_assert_int_eq(store_harness_trim(&f, topic, partition, 4), 0);
	ck_assert_uint_eq(head_of("a", &exists).first_version, 4);
	ck_assert_uint_eq(head_of("a", &exists).next_version, 4);
	append_version(&event, 4);
	flush();
	append_version(&event, 5);
	if (store_harness_is_durable(&f)) {
		store_harness_reopen(&f);
		ck_assert_int_eq(append_unless(&item, 2, &event, &conflict), ANNALS_E_OFFSET_GONE);
		ck_assert_uint_eq(head_of("a", &exists).next_version, 6);
	}
}
END_TEST

static int produce(
	uint64_t id, uint16_t epoch, uint32_t sequence, uint64_t *ret_offset, bool *ret_replayed)
{
	struct sent sent;
	int status;

	prepare(&sent, &(struct what){.key = "a"}, 1);
	sent.request.one_part.producer_id = id;
	sent.request.one_part.producer_epoch = epoch;
	sent.request.one_part.first_sequence = sequence;
	status = run(&sent);
	*ret_offset = sent.request.one_part.base_offset;
	*ret_replayed = sent.request.replayed;
	finish(&sent);
	return status;
}

START_TEST(test_producers_are_stored_once_and_fenced)
{
	struct producer_request open = {.base.operation = STORE_PRODUCER_OPEN, .name = "p"};
	uint64_t offset, first, id;
	bool replayed;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &open.base), 0);
	id = open.producer_id;
	ck_assert_uint_eq(open.epoch, 0);
	ck_assert_int_eq(produce(id, 0, 0, &first, &replayed), 0);
	ck_assert_int_eq(produce(id, 0, 1, &offset, &replayed), 0);
	ck_assert_int_eq(produce(id, 0, 0, &offset, &replayed), 0);
	ck_assert(replayed);
	ck_assert_uint_eq(offset, first);
	ck_assert_int_eq(produce(id, 0, 3, &offset, &replayed), ANNALS_E_SEQUENCE);
	if (store_harness_is_durable(&f)) {
		store_harness_reopen(&f);
		ck_assert_int_eq(produce(id, 0, 1, &offset, &replayed), 0);
		ck_assert(replayed);
	}
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &open.base), 0);
	ck_assert_uint_eq(open.producer_id, id);
	ck_assert_uint_eq(open.epoch, 1);
	ck_assert_int_eq(produce(id, 0, 2, &offset, &replayed), ANNALS_E_FENCED);
	ck_assert_int_eq(produce(id, 1, 0, &offset, &replayed), 0);
	ck_assert(!replayed);
	ck_assert_int_eq(produce(id + 77, 0, 0, &offset, &replayed), ANNALS_E_FENCED);
	open.name[0] = 0;
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &open.base), 0);
	ck_assert_uint_ne(open.producer_id, id);
}
END_TEST

/* Batches in flight behind each other follow each other's sequence within one draft. */
START_TEST(test_producers_pipeline)
{
	enum { COUNT = 20 };
	static struct sent sent[COUNT];
	struct producer_request open = {.base.operation = STORE_PRODUCER_OPEN};
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &open.base), 0);
	for (unsigned i = 0; i < COUNT; i++) {
		prepare(&sent[i], &(struct what){.key = "a"}, 1);
		sent[i].request.one_part.producer_id = open.producer_id;
		sent[i].request.one_part.first_sequence = i;
		sent[i].request.base.queue = &f.waiter.queue;
		ck_assert_int_eq(store_submit_quietly(f.store, &sent[i].request.base, &f.error), 0);
	}
	store_wake_writer(f.store);
	for (unsigned i = 0; i < COUNT; i++) {
		struct store_request *back = waiter_take(&f.waiter, 5000);
		ck_assert_ptr_nonnull(back);
		ck_assert_msg(back->status == 0, "%s", back->error.text);
	}
	ck_assert_uint_eq(read_versions("a", 0, false, 100), COUNT);
	for (unsigned i = 0; i < COUNT; i++) {
		finish(&sent[i]);
	}
}
END_TEST

START_TEST(test_receipts_answer_repeats)
{
	struct sent sent;
	uint64_t offset = 0;
	for (int round = 0; round < 3; round++) {
		prepare(&sent, &(struct what){.key = "a"}, 1);
		sent.request.receipt_key = bytes_text("me POST /x 1234");
		memset(sent.request.receipt_hash, 7, 16);
		ck_assert_int_eq(run(&sent), 0);
		ck_assert(sent.request.replayed == (round > 0));
		ck_assert_uint_eq(sent.request.one_part.first_version, 0);
		ck_assert(round == 0 || sent.request.one_part.base_offset == offset);
		offset = sent.request.one_part.base_offset;
		finish(&sent);
		if (round == 1 && store_harness_is_durable(&f)) {
			store_harness_reopen(&f);
		}
	}
	prepare(&sent, &(struct what){.key = "a"}, 1);
	sent.request.receipt_key = bytes_text("me POST /x 1234");
	ck_assert_int_eq(run(&sent), ANNALS_E_IDEMPOTENCY);
	finish(&sent);
	ck_assert_uint_eq(read_versions("a", 0, false, 100), 1);
}
END_TEST

/* A clock that a test moves. */
static _Atomic uint64_t clock_shift_us;

static uint64_t shifted_monotonic_ns(void *arg)
{
	struct timespec now;
	(void)arg;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + clock_shift_us * 1000;
}

static uint64_t shifted_wall_us(void *arg)
{
	struct timespec now;
	(void)arg;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000 + clock_shift_us;
}

static int count_row(void *arg, struct bytes key, struct bytes value)
{
	(void)key;
	(void)value;
	(*(unsigned *)arg)++;
	return 0;
}

static unsigned receipt_rows(void)
{
	unsigned count = 0;
	ck_assert_int_eq(store_row_scan(f.store, bytes_text("i"), bytes_text(""), 0, count_row,
				 &count, &f.error),
		0);
	return count;
}

START_TEST(test_receipts_expire_after_a_day)
{
	static const struct clock_source shifted = {
		.monotonic_ns = shifted_monotonic_ns, .wall_us = shifted_wall_us};
	struct sent sent;
	clock_set_source(&shifted);
	for (int round = 0; round < 2; round++) {
		prepare(&sent, &(struct what){.key = "a"}, 1);
		sent.request.receipt_key = bytes_text("once");
		ck_assert_int_eq(run(&sent), 0);
		ck_assert(!sent.request.replayed);
		ck_assert_uint_eq(sent.request.one_part.first_version, (uint64_t)round * 2);
		finish(&sent);
		ck_assert_uint_eq(receipt_rows(), 2);
		clock_shift_us += UINT64_C(25) * 3600 * 1000000;
		append_version(&(struct what){.key = "a"}, (uint64_t)round * 2 + 1);
		for (int tries = 0; receipt_rows() > 0 && tries < 1000; tries++) {
			(void)usleep(10000);
		}
		ck_assert_uint_eq(receipt_rows(), 0);
	}
	clock_set_source(NULL);
}
END_TEST

START_TEST(test_appends_carry_rows)
{
	struct row_change row = {.key = bytes_text("gcheckpoint"),
		.value = bytes_text("1"),
		.expect = ROW_EXPECT_ABSENT};
	struct buf value = BUF_INIT;
	struct sent sent;
	prepare(&sent, &(struct what){.key = "a"}, 1);
	sent.request.rows = &row;
	sent.request.row_count = 1;
	ck_assert_int_eq(run(&sent), 0);
	finish(&sent);
	ck_assert_int_eq(store_row_get(f.store, row.key, &value, &f.error), 1);
	ck_assert(bytes_is(buf_bytes(&value), "1"));
	buf_release(&value);
	prepare(&sent, &(struct what){.key = "a"}, 1);
	sent.request.rows = &row;
	sent.request.row_count = 1;
	ck_assert_int_eq(run(&sent), ANNALS_E_CONFLICT);
	finish(&sent);
	ck_assert_uint_eq(read_versions("a", 0, false, 100), 1);
}
END_TEST

/* Against a model, with flushes, merges and reopening in between. */
START_TEST(test_streams_by_model)
{
	enum { KEYS = 300, STEPS = 60 };
	static uint64_t versions[KEYS];
	struct random random = {_i + 1};
	for (int step = 0; step < STEPS; step++) {
		for (int i = 0; i < 40; i++) {
			char key[16];
			uint64_t k = random_below(&random, KEYS);
			(void)snprintf(key, sizeof(key), "k%llu", (unsigned long long)k);
			append_version(&(struct what){.key = key}, versions[k]++);
		}
		if (step % 6 == 0) {
			store_harness_fill(&f, store_harness_topic(&f, "filler", 1), 0, 300, 1);
		}
		if (step % 20 == 19 && store_harness_is_durable(&f)) {
			store_harness_reopen(&f);
		}
	}
	for (unsigned k = 0; k < KEYS; k++) {
		char key[16];
		(void)snprintf(key, sizeof(key), "k%u", k);
		ck_assert_uint_eq(read_versions(key, 0, false, 1000), versions[k]);
		ck_assert_uint_eq(read_versions(key, UINT64_MAX, true, 1000), versions[k]);
	}
}
END_TEST

SUITE_MAIN("store streams", setup, teardown, test_streams_count_versions,
	test_streams_share_a_batch, test_streams_refuse_a_wrong_partition, test_expected_versions,
	test_expected_versions_race, test_ids_are_stored_once, test_ids_known_in_part,
	test_ids_repeated_within_one_commit, test_queries_and_conditions_over_them,
	test_queries_know_what_retention_took, test_producers_are_stored_once_and_fenced,
	test_producers_pipeline, test_receipts_answer_repeats, test_receipts_expire_after_a_day,
	test_appends_carry_rows, test_streams_by_model)
