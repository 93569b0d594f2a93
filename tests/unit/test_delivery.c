/* Groups over a real store: what members see, and what is left after reopening. */
#include "store_harness.h"

#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/delivery.h>
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
	struct store_harness store;
	struct delivery *delivery;
	uint32_t topic_id, output_id;
};
static struct fixture f;

static void open_delivery(void)
{
	struct error err = {0, ""};
	ck_assert_msg(delivery_open(f.store.store, &f.delivery, &err) == 0, "%s", err.text);
}

static void setup(void)
{
	memset(&f, 0, sizeof(f));
	store_harness_init(&f.store);
	f.topic_id = store_harness_topic(&f.store, "orders", 1);
	f.output_id = store_harness_topic(&f.store, "invoices", 1);
	open_delivery();
}

static void teardown(void)
{
	delivery_close(f.delivery);
	store_harness_release(&f.store);
}

/* False where nothing survives. */
static bool reopen(void)
{
	if (!store_harness_is_durable(&f.store)) {
		return false;
	}
	delivery_close(f.delivery);
	store_harness_reopen(&f.store);
	open_delivery();
	return true;
}

static int run(struct delivery_request *request, enum delivery_operation operation)
{
	struct error err = {0, ""};
	int status;

	request->operation = operation;
	if (request->group[0] == 0) {
		(void)snprintf(request->group, sizeof(request->group), "workers");
	}
	request->base.queue = &f.store.waiter.queue;
	status = delivery_submit(f.delivery, request, &err);
	if (status != 0) {
		return status;
	}
	ck_assert_ptr_eq(waiter_take(&f.store.waiter, 10000), &request->base);
	return request->base.status;
}

static struct group_put_request put_defaults(void)
{
	struct group_put_request put = {0};
	group_config_init(&put.config, GROUP_BY_EVENT);
	put.config.topic_count = 1;
	put.config.topic_ids[0] = f.topic_id;
	return put;
}

static void make_group(void)
{
	struct group_put_request put = put_defaults();
	put.config.attempts_max = 2;
	put.config.backoff_first_us = 0;
	ck_assert_int_eq(run(&put.delivery, DELIVERY_GROUP_PUT), 0);
	ck_assert(put.created);
}

/* One event with a key. */
static void append_keyed(uint32_t topic_id, const char *key, const char *data)
{
	struct buf body = BUF_INIT;
	struct record record = {.id = bytes_text(data),
		.source = bytes_text("/test"),
		.type = bytes_text("test"),
		.has_key = true,
		.key = bytes_text(key),
		.has_data = true,
		.data = bytes_text(data)};
	struct append_request append = {
		.base = {.operation = STORE_APPEND}, .topic_id = topic_id, .part_count = 1};

	ck_assert_int_eq(record_encode_in_batch(&record, &body), 0);
	append.parts = &append.one_part;
	store_harness_part(&append.one_part, 0, buf_bytes(&body), 1);
	ck_assert_int_eq(store_harness_run(&f.store, &f.store.waiter, &append.base), 0);
	append_request_release(&append);
	buf_release(&body);
}

static size_t poll_some(struct poll_request *poll, const char *member, uint32_t max)
{
	memset(poll, 0, sizeof(*poll));
	(void)snprintf(poll->member, sizeof(poll->member), "%s", member);
	poll->events_max = max;
	ck_assert_msg(
		run(&poll->delivery, DELIVERY_POLL) == 0, "%s", poll->delivery.base.error.text);
	return poll->event_count;
}

static int settle(const struct delivered_event *event, enum settle_kind kind, uint64_t time_us)
{
	struct settle_entry entry = {
		event->topic_id, event->partition, event->offset, event->lease, 0};
	struct settle_request request = {.kind = kind,
		.time_us = time_us,
		.reason = bytes_text("no stock"),
		.entries = &entry,
		.entry_count = 1};

	ck_assert_int_eq(run(&request.delivery, DELIVERY_SETTLE), 0);
	return entry.status;
}

static struct group_info describe(void)
{
	struct group_describe_request request = {0};
	struct group_info info;

	ck_assert_int_eq(run(&request.delivery, DELIVERY_GROUP_DESCRIBE), 0);
	info = request.groups[0];
	group_describe_release(&request);
	return info;
}

START_TEST(test_delivery_hands_out_and_remembers)
{
	struct poll_request poll, again;
	uint64_t offset;

	make_group();
	ck_assert_int_eq(store_harness_append(&f.store, f.topic_id, 0, 100, 20, 1, &offset), 0);
	ck_assert_uint_eq(poll_some(&poll, "a", 60), 60);
	ck_assert_uint_eq(poll.events[59].offset, 59);
	ck_assert_uint_eq(poll.events[0].attempt, 1);
	for (size_t i = 0; i < 60; i++) {
		if (i != 7) {
			ck_assert_int_eq(settle(&poll.events[i], SETTLE_ACKNOWLEDGE, 0), 0);
		}
	}
	ck_assert_uint_eq(describe().lag, 41);
	if (reopen()) {
		ck_assert_uint_eq(describe().leased, 1);
		ck_assert_uint_eq(describe().lag, 41);
	}
	ck_assert_int_eq(settle(&poll.events[7], SETTLE_ACKNOWLEDGE, 0), 0);
	ck_assert_int_eq(settle(&poll.events[7], SETTLE_ACKNOWLEDGE, 0), 0);
	ck_assert_uint_eq(poll_some(&again, "b", 1000), 40);
	ck_assert_uint_eq(again.events[0].offset, 60);
	poll_request_release(&poll);
	poll_request_release(&again);
}
END_TEST

START_TEST(test_delivery_parks_and_replays)
{
	struct poll_request poll, other;
	struct parked_request parked = {.limit = 10};
	struct explain_request explain = {.topic_id = f.topic_id};

	make_group();
	append_keyed(f.topic_id, "k", "one");
	append_keyed(f.topic_id, "k", "two");
	for (unsigned attempt = 1; attempt <= 2; attempt++) {
		ck_assert_uint_eq(poll_some(&poll, "a", 10), 1);
		ck_assert_uint_eq(poll.events[0].attempt, attempt);
		ck_assert_int_eq(settle(&poll.events[0], SETTLE_REFUSE, 0), 0);
		poll_request_release(&poll);
	}
	ck_assert_uint_eq(poll_some(&poll, "a", 10), 0); /* the second waits */
	poll_request_release(&poll);
	for (unsigned round = 0; round < 2; round++) {
		ck_assert_int_eq(run(&parked.delivery, DELIVERY_PARKED_LIST), 0);
		ck_assert_uint_eq(parked.parked_count, 1);
		ck_assert_str_eq(parked.parked[0].reason, "no stock");
		ck_assert_str_eq(parked.parked[0].member, "a");
		ck_assert_uint_gt(parked.parked[0].size, 0);
		ck_assert_uint_gt(describe().parked_bytes, 0);
		parked_request_release(&parked);
		ck_assert_int_eq(run(&explain.delivery, DELIVERY_EXPLAIN), 0);
		ck_assert_int_eq(explain.state, EXPLAIN_PARKED);
		ck_assert_uint_eq(explain.attempt_count, 2);
		ck_assert_int_eq(explain.attempts_kept[1].outcome, ATTEMPT_REFUSED);
		ck_assert_str_eq(explain.attempts_kept[1].reason, "no stock");
		if (!reopen()) {
			break;
		}
	}
	/* Retention takes it from the log, but not from here. */
	append_keyed(f.topic_id, "z", "three");
	ck_assert_int_eq(store_harness_trim(&f.store, f.topic_id, 0, 1), 0);
	parked = (struct parked_request){.dry_run = true};
	ck_assert_int_eq(run(&parked.delivery, DELIVERY_PARKED_REPLAY), 0);
	ck_assert_uint_eq(parked.count, 1);
	parked = (struct parked_request){
		.has_place = true, .topic_id = f.topic_id, .partition = 0, .offset = 0};
	ck_assert_int_eq(run(&parked.delivery, DELIVERY_PARKED_REPLAY), 0);
	ck_assert_uint_eq(parked.count, 1);
	ck_assert_uint_eq(poll_some(&poll, "b", 1), 1);
	ck_assert_uint_eq(poll.events[0].offset, 0);
	ck_assert_uint_gt(poll.events[0].size, 0);
	ck_assert_int_eq(settle(&poll.events[0], SETTLE_PARK, 0), 0);
	parked.delivery.group[0] = 0;
	ck_assert_int_eq(run(&parked.delivery, DELIVERY_PARKED_DROP), 0);
	ck_assert_uint_eq(parked.count, 1);
	ck_assert_int_eq(run(&parked.delivery, DELIVERY_PARKED_DROP), ANNALS_E_NOT_FOUND);
	ck_assert_uint_eq(describe().parked_bytes, 0);
	ck_assert_uint_eq(poll_some(&other, "b", 5), 2);
	ck_assert_uint_eq(other.events[0].offset, 1);
	poll_request_release(&poll);
	poll_request_release(&other);
}
END_TEST

START_TEST(test_delivery_poll_waits)
{
	struct poll_request poll = {.events_max = 5, .wait_us = 8000000, .member = "a"};
	struct poll_request none = {.events_max = 5, .wait_us = 50000, .member = "a"};
	struct error err = {0, ""};
	struct list_node list;
	uint64_t started_ns;

	make_group();
	started_ns = clock_monotonic_ns();
	ck_assert_int_eq(run(&none.delivery, DELIVERY_POLL), 0);
	ck_assert_uint_eq(none.event_count, 0);
	ck_assert_uint_ge(clock_monotonic_ns() - started_ns, 50000000);
	if (getenv("ANNALS_TEST_VERBOSE") != NULL) {
		(void)printf("a poll of 50 ms ended after %llu us\n",
			(unsigned long long)((clock_monotonic_ns() - started_ns) / 1000));
	}
	poll.delivery.operation = DELIVERY_POLL;
	poll.delivery.base.queue = &f.store.other.queue;
	(void)snprintf(poll.delivery.group, sizeof(poll.delivery.group), "workers");
	ck_assert_int_eq(delivery_submit(f.delivery, &poll.delivery, &err), 0);
	list_init(&list);
	append_keyed(f.topic_id, "k", "one");
	ck_assert_ptr_eq(waiter_take(&f.store.other, 5000), &poll.delivery.base);
	ck_assert_uint_eq(poll.event_count, 1);
	poll_request_release(&poll);
}
END_TEST

/* Submits a poll of at most held_max leases that waits. */
static void poll_held(struct poll_request *poll, const char *member, uint32_t held_max)
{
	struct error err = {0, ""};

	*poll = (struct poll_request){.events_max = 10, .wait_us = 8000000, .held_max = held_max};
	(void)snprintf(poll->member, sizeof(poll->member), "%s", member);
	(void)snprintf(poll->delivery.group, sizeof(poll->delivery.group), "workers");
	poll->delivery.operation = DELIVERY_POLL;
	poll->delivery.base.queue = &f.store.other.queue;
	ck_assert_int_eq(delivery_submit(f.delivery, &poll->delivery, &err), 0);
}

/* A member that holds as many leases as it may gets no more until one ends, whichever way; others
 * who poll behind it are served meanwhile. */
START_TEST(test_delivery_held_max)
{
	static const enum settle_kind kinds[] = {SETTLE_ACKNOWLEDGE, SETTLE_REFUSE, SETTLE_PARK};
	struct poll_request poll, full, behind;
	char key[8];

	make_group();
	for (unsigned i = 0; i < 8; i++) {
		(void)snprintf(key, sizeof(key), "k%u", i);
		append_keyed(f.topic_id, key, key);
	}
	poll_held(&poll, "a", 2);
	ck_assert_ptr_eq(waiter_take(&f.store.other, 5000), &poll.delivery.base);
	ck_assert_uint_eq(poll.event_count, 2);
	for (unsigned i = 0; i < ANNALS_COUNT_OF(kinds); i++) {
		poll_held(&full, "a", 2);
		poll_held(&behind, "b", i + 1);
		ck_assert_ptr_eq(waiter_take(&f.store.other, 5000), &behind.delivery.base);
		ck_assert_uint_eq(behind.event_count, 1);
		ck_assert_int_eq(settle(&poll.events[0], kinds[i], 0), 0);
		ck_assert_ptr_eq(waiter_take(&f.store.other, 5000), &full.delivery.base);
		ck_assert_uint_eq(full.event_count, 1);
		ck_assert(!full.is_full);
		poll.events[0] = full.events[0];
		poll_request_release(&full);
		poll_request_release(&behind);
	}
	poll_held(&full, "a", 2);
	ck_assert(delivery_cancel(f.delivery, &full.delivery) ||
		  waiter_take(&f.store.other, 5000) == &full.delivery.base);
	ck_assert_uint_eq(full.event_count, 0);
	poll_request_release(&full);
	poll_request_release(&poll);
	if (reopen()) { /* what it holds is known after a restart */
		poll = (struct poll_request){.events_max = 10, .held_max = 2, .member = "a"};
		ck_assert_int_eq(run(&poll.delivery, DELIVERY_POLL), 0);
		ck_assert_uint_eq(poll.event_count, 0);
		ck_assert(poll.is_full);
		poll_request_release(&poll);
	}
}
END_TEST

START_TEST(test_delivery_leases_run_out)
{
	struct poll_request poll = {.events_max = 5, .lease_us = 30000, .member = "a"};
	struct poll_request again = {.events_max = 5, .wait_us = 5000000, .member = "b"};
	struct poll_request none;

	make_group();
	append_keyed(f.topic_id, "k", "one");
	ck_assert_int_eq(run(&poll.delivery, DELIVERY_POLL), 0);
	ck_assert_uint_eq(poll.event_count, 1);
	ck_assert_uint_eq(poll_some(&none, "b", 5), 0);
	ck_assert_int_eq(run(&again.delivery, DELIVERY_POLL), 0);
	ck_assert_uint_eq(again.event_count, 1);
	ck_assert_uint_eq(again.events[0].attempt, 2);
	ck_assert_int_eq(settle(&poll.events[0], SETTLE_ACKNOWLEDGE, 0), ANNALS_E_LEASE_LOST);
	ck_assert_int_eq(settle(&again.events[0], SETTLE_EXTEND, 60000000), 0);
	ck_assert_int_eq(settle(&again.events[0], SETTLE_ACKNOWLEDGE, 0), 0);
	poll_request_release(&poll);
	poll_request_release(&again);
	poll_request_release(&none);
}
END_TEST

START_TEST(test_delivery_seeks)
{
	struct poll_request poll, again;
	struct seek_request seek = {.target = SEEK_OFFSET,
		.value = 3,
		.topic_id = f.topic_id,
		.partition = 0,
		.dry_run = true};
	uint64_t offset;

	make_group();
	ck_assert_int_eq(store_harness_append(&f.store, f.topic_id, 0, 10, 20, 1, &offset), 0);
	ck_assert_uint_eq(poll_some(&poll, "a", 6), 6);
	ck_assert_int_eq(settle(&poll.events[0], SETTLE_ACKNOWLEDGE, 0), 0);
	ck_assert_int_eq(run(&seek.delivery, DELIVERY_SEEK), 0);
	ck_assert_uint_eq(seek.leases, 5);
	ck_assert_uint_eq(describe().leased, 5);
	seek.dry_run = false;
	seek.partitions = 0;
	ck_assert_int_eq(run(&seek.delivery, DELIVERY_SEEK), 0);
	ck_assert_int_eq(settle(&poll.events[5], SETTLE_ACKNOWLEDGE, 0), ANNALS_E_LEASE_LOST);
	(void)reopen();
	ck_assert_uint_eq(poll_some(&again, "a", 100), 7);
	ck_assert_uint_eq(again.events[0].offset, 3);
	ck_assert_uint_eq(again.events[0].attempt, 1);
	seek.value = 11;
	ck_assert_int_eq(run(&seek.delivery, DELIVERY_SEEK), ANNALS_E_OFFSET_BEYOND_END);
	poll_request_release(&poll);
	poll_request_release(&again);
}
END_TEST

static int transact(struct poll_request *poll, size_t count, struct append_request *append)
{
	struct settle_entry *entries = calloc(count, sizeof(*entries));
	struct transact_request request = {.entries = entries,
		.entry_count = count,
		.checkpoint_name = bytes_text("sum"),
		.checkpoint = bytes_text("42"),
		.append = append};
	int status;

	for (size_t i = 0; i < count; i++) {
		entries[i] =
			(struct settle_entry){poll->events[i].topic_id, poll->events[i].partition,
				poll->events[i].offset, poll->events[i].lease, 0};
	}
	status = run(&request.delivery, DELIVERY_TRANSACT);
	free(entries);
	return status;
}

START_TEST(test_delivery_transacts)
{
	struct buf body = BUF_INIT;
	struct append_request append = {.topic_id = f.output_id, .part_count = 1};
	struct checkpoint_request checkpoint = {.name = bytes_text("sum")};
	struct poll_request poll, again;
	uint64_t offset;

	make_group();
	ck_assert_int_eq(store_harness_append(&f.store, f.topic_id, 0, 10, 20, 1, &offset), 0);
	store_harness_body(&body, 3, 20, 9);
	append.parts = &append.one_part;
	store_harness_part(&append.one_part, 0, buf_bytes(&body), 3);
	ck_assert_int_eq(run(&checkpoint.delivery, DELIVERY_CHECKPOINT_GET), ANNALS_E_NOT_FOUND);
	ck_assert_uint_eq(poll_some(&poll, "a", 6), 6);
	/* Refused by storage: the leases stay. */
	append.one_part.partition = 9;
	ck_assert_int_eq(transact(&poll, 6, &append), ANNALS_E_UNKNOWN_PARTITION);
	ck_assert_uint_eq(describe().leased, 6);
	append.one_part.partition = 0;
	ck_assert_int_eq(transact(&poll, 6, &append), 0);
	ck_assert_uint_eq(describe().leased, 0);
	ck_assert_uint_eq(store_harness_info(&f.store, f.output_id, 0).end_offset, 3);
	/* Again: the leases are over, nothing is appended. */
	ck_assert_int_eq(transact(&poll, 6, &append), ANNALS_E_LEASE_LOST);
	ck_assert_uint_eq(store_harness_info(&f.store, f.output_id, 0).end_offset, 3);
	(void)reopen();
	ck_assert_uint_eq(describe().lag, 4);
	ck_assert_int_eq(run(&checkpoint.delivery, DELIVERY_CHECKPOINT_GET), 0);
	ck_assert(bytes_is(buf_bytes(&checkpoint.value), "42"));
	ck_assert_uint_eq(poll_some(&again, "a", 100), 4);
	buf_release(&checkpoint.value);
	buf_release(&body);
	append_request_release(&append);
	poll_request_release(&poll);
	poll_request_release(&again);
}
END_TEST

START_TEST(test_delivery_keeps_modes_apart)
{
	struct group_put_request put = put_defaults();
	struct member_request join = {.topic_count = 1, .topic_ids = {f.topic_id}};
	struct poll_request poll = {.events_max = 1, .member = "a"};

	ck_assert_int_eq(run(&poll.delivery, DELIVERY_POLL), ANNALS_E_UNKNOWN_GROUP);
	make_group();
	ck_assert_int_eq(run(&join.delivery, DELIVERY_JOIN), ANNALS_E_GROUP_MODE);
	put.config.mode = GROUP_BY_OFFSET;
	put.config.topic_count = 0;
	ck_assert_int_eq(run(&put.delivery, DELIVERY_GROUP_PUT), ANNALS_E_GROUP_MODE);
	put = put_defaults();
	put.config.topic_count = 0;
	ck_assert_int_eq(run(&put.delivery, DELIVERY_GROUP_PUT), ANNALS_E_INVALID);
	put = put_defaults();
	ck_assert_int_eq(run(&put.delivery, DELIVERY_GROUP_PUT), 0);
	ck_assert(!put.created);
	poll.events_max = 0;
	ck_assert_int_eq(run(&poll.delivery, DELIVERY_POLL), ANNALS_E_INVALID);
}
END_TEST

START_TEST(test_delivery_deletes_groups)
{
	struct group_describe_request request = {0}, list = {0};
	struct poll_request poll;

	make_group();
	append_keyed(f.topic_id, "k", "one");
	ck_assert_uint_eq(poll_some(&poll, "a", 1), 1);
	poll_request_release(&poll);
	ck_assert_int_eq(run(&request.delivery, DELIVERY_GROUP_DELETE), 0);
	ck_assert_int_eq(run(&request.delivery, DELIVERY_GROUP_DELETE), ANNALS_E_UNKNOWN_GROUP);
	(void)reopen();
	ck_assert_int_eq(run(&list.delivery, DELIVERY_GROUP_LIST), 0);
	ck_assert_uint_eq(list.group_count, 0);
	group_describe_release(&list);
	make_group();
	ck_assert_uint_eq(poll_some(&poll, "a", 1), 1);
	ck_assert_uint_eq(poll.events[0].attempt, 1);
	poll_request_release(&poll);
}
END_TEST

/* A lease of a group that is gone means nothing to the next group of its name, however often
 * either went back, and whether or not the event is finished there. */
START_TEST(test_delivery_tells_namesakes_apart)
{
	struct poll_request old[3], now;
	struct group_describe_request request;

	append_keyed(f.topic_id, "k", "one");
	for (unsigned life = 0; life < 4; life++) {
		make_group();
		for (unsigned seeks = 0; seeks < (_i == 0 ? 0 : 3 - life); seeks++) {
			struct seek_request seek = {
				.target = SEEK_EARLIEST, .topic_id = f.topic_id, .partition = 0};
			ck_assert_int_eq(run(&seek.delivery, DELIVERY_SEEK), 0);
		}
		ck_assert_uint_eq(poll_some(life < 3 ? &old[life] : &now, "a", 1), 1);
		for (unsigned before = 0; before < life; before++) {
			ck_assert_int_eq(settle(&old[before].events[0], SETTLE_ACKNOWLEDGE, 0),
				ANNALS_E_LEASE_LOST);
		}
		if (life < 3) {
			memset(&request, 0, sizeof(request));
			ck_assert_int_eq(run(&request.delivery, DELIVERY_GROUP_DELETE), 0);
			(void)reopen();
		}
	}
	ck_assert_int_eq(transact(&old[2], 1, NULL), ANNALS_E_LEASE_LOST);
	ck_assert_int_eq(settle(&now.events[0], SETTLE_ACKNOWLEDGE, 0), 0);
	for (unsigned before = 0; before < 3; before++) {
		ck_assert_int_eq(
			settle(&old[before].events[0], SETTLE_ACKNOWLEDGE, 0), ANNALS_E_LEASE_LOST);
		poll_request_release(&old[before]);
	}
	poll_request_release(&now);
}
END_TEST

/* What happened to events that are over can still be told after a restart, with what failed before,
 * for the last FINISHED_KEPT of them. */
START_TEST(test_delivery_remembers_how_events_ended)
{
	struct poll_request poll;
	struct explain_request explain = {.topic_id = f.topic_id};
	struct seek_request seek = {.partition = UINT32_MAX, .target = SEEK_EARLIEST};

	make_group();
	append_keyed(f.topic_id, "k", "one");
	append_keyed(f.topic_id, "k", "two");
	ck_assert_uint_eq(poll_some(&poll, "a", 1), 1);
	ck_assert_int_eq(settle(&poll.events[0], SETTLE_REFUSE, 0), 0);
	poll_request_release(&poll);
	ck_assert_uint_eq(poll_some(&poll, "b", 1), 1);
	ck_assert_int_eq(settle(&poll.events[0], SETTLE_ACKNOWLEDGE, 0), 0);
	poll_request_release(&poll);
	for (unsigned round = 0; round < 2; round++) {
		explain = (struct explain_request){.topic_id = f.topic_id};
		ck_assert_int_eq(run(&explain.delivery, DELIVERY_EXPLAIN), 0);
		ck_assert_int_eq(explain.state, EXPLAIN_FINISHED);
		ck_assert_uint_eq(explain.deliveries, 2);
		ck_assert_uint_eq(explain.attempt_count, 2);
		ck_assert_int_eq(explain.attempts_kept[0].outcome, ATTEMPT_REFUSED);
		ck_assert_str_eq(explain.attempts_kept[0].member, "a");
		ck_assert_str_eq(explain.attempts_kept[0].reason, "no stock");
		ck_assert_int_eq(explain.attempts_kept[1].outcome, ATTEMPT_ACKNOWLEDGED);
		ck_assert_str_eq(explain.attempts_kept[1].member, "b");
		ck_assert_uint_gt(explain.attempts_kept[1].ended_us, 0);
		if (!reopen()) {
			break;
		}
	}
	/* A lease that a seek ends is part of the story, too. */
	ck_assert_uint_eq(poll_some(&poll, "c", 1), 1);
	ck_assert_uint_eq(poll.events[0].offset, 1);
	poll_request_release(&poll);
	ck_assert_int_eq(run(&seek.delivery, DELIVERY_SEEK), 0);
	explain = (struct explain_request){.topic_id = f.topic_id, .offset = 1};
	ck_assert_int_eq(run(&explain.delivery, DELIVERY_EXPLAIN), 0);
	ck_assert_int_eq(explain.state, EXPLAIN_UNREAD);
	ck_assert_uint_eq(explain.attempt_count, 1);
	ck_assert_int_eq(explain.attempts_kept[0].outcome, ATTEMPT_FENCED);
	ck_assert_str_eq(explain.attempts_kept[0].member, "c");
	/* More events than are kept: the first is forgotten, the last is not. */
	for (unsigned i = 0; i < FINISHED_KEPT / 2 + 1; i++) {
		ck_assert_uint_eq(poll_some(&poll, "d", 2), 1);
		ck_assert_int_eq(settle(&poll.events[0], SETTLE_ACKNOWLEDGE, 0), 0);
		poll_request_release(&poll);
		ck_assert_uint_eq(poll_some(&poll, "d", 2), 1);
		ck_assert_int_eq(settle(&poll.events[0], SETTLE_ACKNOWLEDGE, 0), 0);
		poll_request_release(&poll);
		if (i == FINISHED_KEPT / 2) {
			break;
		}
		seek = (struct seek_request){.partition = UINT32_MAX, .target = SEEK_EARLIEST};
		ck_assert_int_eq(run(&seek.delivery, DELIVERY_SEEK), 0);
		if (i == 40 && store_harness_is_durable(&f.store)) {
			break; /* each commit on a disk takes its time */
		}
	}
	(void)reopen();
	explain = (struct explain_request){.topic_id = f.topic_id, .offset = 1};
	ck_assert_int_eq(run(&explain.delivery, DELIVERY_EXPLAIN), 0);
	ck_assert_str_eq(explain.attempts_kept[0].member, "d");
}
END_TEST

/* A topic that is deleted takes its part of the group along at once; one of the same name begins
 * with nothing. */
START_TEST(test_delivery_forgets_deleted_topics)
{
	struct group_put_request put = put_defaults();
	struct parked_request parked = {.limit = 10};
	struct poll_request poll;
	struct group_info info;

	put.config.topic_count = 2;
	put.config.topic_ids[1] = f.output_id;
	ck_assert_int_eq(run(&put.delivery, DELIVERY_GROUP_PUT), 0);
	append_keyed(f.topic_id, "k", "one");
	append_keyed(f.topic_id, "k", "two");
	append_keyed(f.topic_id, "z", "three");
	ck_assert_uint_eq(poll_some(&poll, "a", 2), 2);
	ck_assert_int_eq(settle(&poll.events[0], SETTLE_PARK, 0), 0);
	ck_assert_uint_eq(describe().parked, 1);
	ck_assert_int_eq(store_harness_delete_topic(&f.store, "orders"), 0);
	info = describe();
	ck_assert_uint_eq(info.parked, 0);
	ck_assert_uint_eq(info.leased, 0);
	ck_assert_uint_eq(info.lag, 0);
	ck_assert_uint_eq(info.parked_bytes, 0);
	ck_assert_int_eq(
		settle(&poll.events[1], SETTLE_ACKNOWLEDGE, 0), ANNALS_E_UNKNOWN_PARTITION);
	ck_assert_int_eq(run(&parked.delivery, DELIVERY_PARKED_LIST), 0);
	ck_assert_uint_eq(parked.count, 0);
	parked_request_release(&parked);
	poll_request_release(&poll);
	f.topic_id = store_harness_topic(&f.store, "orders", 1);
	put = put_defaults();
	put.config.topic_count = 2;
	put.config.topic_ids[1] = f.output_id;
	ck_assert_int_eq(run(&put.delivery, DELIVERY_GROUP_PUT), 0);
	append_keyed(f.topic_id, "k", "again");
	for (unsigned round = 0; round < 2; round++) {
		info = describe();
		ck_assert_uint_eq(info.lag, 1);
		ck_assert_uint_eq(info.parked, 0);
		if (!reopen()) {
			break;
		}
	}
	ck_assert_uint_eq(poll_some(&poll, "a", 5), 1);
	ck_assert_uint_eq(poll.events[0].offset, 0);
	ck_assert_uint_eq(poll.events[0].attempt, 1);
	poll_request_release(&poll);
}
END_TEST

static int forget_file(
	const char *path, const struct stat *stat ANNALS_UNUSED, int type, struct FTW *ftw)
{
	int fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	(void)ftw;
	if (fd >= 0) {
		(void)fsync(fd);
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		(void)close(fd);
	}
	return 0;
}

/* What is not in memory is read by another thread; polls do not end with nothing meanwhile, also
 * those that do not want to wait. */
START_TEST(test_delivery_reads_cold_logs)
{
	struct group_put_request put = put_defaults();
	struct poll_request poll;
	struct seek_request seek = {.partition = UINT32_MAX, .target = SEEK_EARLIEST};
	uint64_t next = 0;

	ck_assert_int_eq(run(&put.delivery, DELIVERY_GROUP_PUT), 0);
	for (unsigned i = 0; i < 100; i++) {
		struct append_request append = {.base = {.operation = STORE_APPEND},
			.topic_id = f.topic_id,
			.part_count = 1};
		struct buf body = BUF_INIT;
		store_harness_body(&body, 50, 1000, i);
		append.parts = &append.one_part;
		store_harness_part(&append.one_part, 0, buf_bytes(&body), 50);
		ck_assert_int_eq(store_harness_run(&f.store, &f.store.waiter, &append.base), 0);
		append_request_release(&append);
		buf_release(&body);
	}
	delivery_close(f.delivery);
	if (store_harness_is_durable(&f.store)) {
		store_harness_reopen(&f.store);
	}
	/* The system is asked to forget what it has of the files. */
	ck_assert_int_eq(nftw(f.store.dir, forget_file, 16, FTW_PHYS), 0);
	open_delivery();
	if (!store_harness_is_durable(&f.store)) {
		ck_assert_int_eq(run(&put.delivery, DELIVERY_GROUP_PUT), 0);
	}
	for (unsigned round = 0; round < 2; round++) {
		for (next = 0; next < 5000;) {
			size_t count = poll_some(&poll, "a", 100);
			ck_assert_uint_gt(count, 0);
			for (size_t i = 0; i < count; i++) {
				ck_assert_uint_eq(poll.events[i].offset, next++);
			}
			poll_request_release(&poll);
		}
		seek = (struct seek_request){.partition = UINT32_MAX, .target = SEEK_EARLIEST};
		ck_assert_int_eq(run(&seek.delivery, DELIVERY_SEEK), 0);
	}
}
END_TEST

static int commit_as(const char *member, uint32_t generation, uint64_t offset)
{
	struct offset_entry entry = {.topic_id = f.output_id, .partition = 0, .offset = offset};
	struct offset_request commit = {.entries = &entry, .entry_count = 1};
	struct member_commit_request request = {.generation = generation, .commit = &commit};

	(void)snprintf(request.member, sizeof(request.member), "%s", member);
	return run(&request.delivery, DELIVERY_COMMIT);
}

START_TEST(test_delivery_shares_partitions)
{
	uint32_t many = store_harness_topic(&f.store, "many", 7), generation;
	struct member_request members[3], heartbeat;
	size_t total = 0, kept = 0;

	for (unsigned i = 0; i < 3; i++) {
		members[i] =
			(struct member_request){.topic_count = 2, .topic_ids = {many, f.output_id}};
		(void)snprintf(members[i].member, sizeof(members[i].member), "m%u", i);
		ck_assert_int_eq(run(&members[i].delivery, DELIVERY_JOIN), 0);
	}
	ck_assert_uint_eq(members[0].assigned_count, 8);
	ck_assert_int_eq(commit_as("m0", members[0].generation, 0), 0);
	for (unsigned i = 0; i < 3; i++) {
		heartbeat = (struct member_request){.topic_count = 0};
		memcpy(heartbeat.member, members[i].member, sizeof(heartbeat.member));
		ck_assert_int_eq(run(&heartbeat.delivery, DELIVERY_HEARTBEAT), 0);
		total += heartbeat.assigned_count;
		for (size_t k = 0; k < heartbeat.assigned_count && i == 0; k++) {
			kept += heartbeat.assigned[k].topic_id == many;
		}
		generation = heartbeat.generation;
		member_request_release(&heartbeat);
	}
	ck_assert_uint_eq(total, 8);
	ck_assert_uint_ge(kept, 2);
	ck_assert_uint_le(kept, 3);
	/* Everything that m0 keeps it had before. */
	ck_assert_int_eq(commit_as("m0", generation, 0), 0);
	ck_assert_int_eq(commit_as("m1", generation, 0), ANNALS_E_FENCED);
	ck_assert_int_eq(commit_as("m0", generation + 1, 0), ANNALS_E_FENCED);
	ck_assert_int_eq(commit_as("m9", generation, 0), ANNALS_E_UNKNOWN_MEMBER);
	heartbeat = (struct member_request){.topic_count = 0, .member = "m0"};
	ck_assert_int_eq(run(&heartbeat.delivery, DELIVERY_LEAVE), 0);
	ck_assert_uint_gt(heartbeat.generation, generation);
	ck_assert_int_eq(run(&heartbeat.delivery, DELIVERY_HEARTBEAT), ANNALS_E_UNKNOWN_MEMBER);
	if (reopen()) { /* members come again, generations go on */
		member_request_release(&members[1]);
		generation = heartbeat.generation;
		ck_assert_int_eq(run(&members[1].delivery, DELIVERY_JOIN), 0);
		ck_assert_uint_gt(members[1].generation, generation);
		ck_assert_uint_eq(members[1].assigned_count, 8);
	}
	for (unsigned i = 0; i < 3; i++) {
		member_request_release(&members[i]);
	}
}
END_TEST

START_TEST(test_delivery_rate)
{
	/* Not a benchmark: 16 workers' worth of leases and acknowledgements must not crawl. */
	enum { EVENTS = 20000, PAGE = 100 };
	struct settle_entry entries[PAGE];
	uint64_t offset, started = clock_monotonic_ns();
	size_t done = 0;

	make_group();
	for (unsigned i = 0; i < EVENTS / 1000; i++) {
		ck_assert_int_eq(
			store_harness_append(&f.store, f.topic_id, 0, 1000, 100, i * 1000, &offset),
			0);
	}
	while (done < EVENTS) {
		struct poll_request poll;
		struct settle_request request = {.entries = entries};
		request.entry_count = poll_some(&poll, "a", PAGE);
		ck_assert_uint_gt(request.entry_count, 0);
		for (size_t i = 0; i < request.entry_count; i++) {
			entries[i] = (struct settle_entry){poll.events[i].topic_id, 0,
				poll.events[i].offset, poll.events[i].lease, 0};
		}
		ck_assert_int_eq(run(&request.delivery, DELIVERY_SETTLE), 0);
		ck_assert_uint_eq(request.lost_count, 0);
		done += request.entry_count;
		poll_request_release(&poll);
	}
	ck_assert_uint_eq(describe().lag, 0);
	if (getenv("ANNALS_TEST_VERBOSE") != NULL) {
		(void)printf("%d deliveries in %llu ms\n", EVENTS,
			(unsigned long long)((clock_monotonic_ns() - started) / 1000000));
	}
}
END_TEST

/* ---- Members: random schedules against what must always hold ---- */

#define WALK_MEMBERS 5u
#define WALK_PARTITIONS 7u
struct walker {
	bool is_in;
	uint32_t generation; /* of its last answer */
	bool has[WALK_PARTITIONS];
};
struct walk {
	struct walker walkers[WALK_MEMBERS];
	uint64_t state;
	uint32_t topic_id, generation;
};

static uint32_t walk_below(struct walk *walk, uint32_t limit)
{
	walk->state = walk->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(walk->state >> 33) % limit;
}

static void walk_name(struct member_request *request, uint32_t number)
{
	(void)snprintf(request->member, sizeof(request->member), "m%u", number);
}

/* Takes over an answer: nobody else may have what it lists. */
static void walk_take(struct walk *walk, uint32_t number, struct member_request *answer)
{
	struct walker *walker = &walk->walkers[number];

	memset(walker->has, 0, sizeof(walker->has));
	ck_assert_uint_ge(answer->generation, walk->generation);
	walker->generation = walk->generation = answer->generation;
	for (size_t i = 0; i < answer->assigned_count; i++) {
		walker->has[answer->assigned[i].partition] = true;
	}
	member_request_release(answer);
	for (uint32_t i = 0; i < WALK_MEMBERS; i++) {
		for (uint32_t k = 0; k < WALK_PARTITIONS && i != number; k++) {
			ck_assert_msg(!walk->walkers[i].is_in || !walk->walkers[i].has[k] ||
					      !walker->has[k],
				"members %u and %u both have partition %u", i, number, k);
		}
	}
}

static void walk_beat(struct walk *walk, uint32_t number)
{
	struct member_request request = {.generation = walk->walkers[number].generation};

	walk_name(&request, number);
	ck_assert_int_eq(run(&request.delivery, DELIVERY_HEARTBEAT),
		walk->walkers[number].is_in ? 0 : ANNALS_E_UNKNOWN_MEMBER);
	if (walk->walkers[number].is_in) {
		walk_take(walk, number, &request);
	}
}

static void walk_step(struct walk *walk)
{
	uint32_t number = walk_below(walk, WALK_MEMBERS), choice = walk_below(walk, 10);
	struct walker *walker = &walk->walkers[number];
	struct member_request request = {
		.topic_count = 1, .topic_ids = {walk->topic_id}, .session_us = 3600000000};
	uint32_t partition = walk_below(walk, WALK_PARTITIONS);

	walk_name(&request, number);
	if (choice < 2) {
		memset(walker->has, 0, sizeof(walker->has)); /* it begins anew */
		ck_assert_int_eq(run(&request.delivery, DELIVERY_JOIN), 0);
		walker->is_in = true;
		walk_take(walk, number, &request);
	} else if (choice < 3) {
		int status = run(&request.delivery, DELIVERY_LEAVE);
		ck_assert_int_eq(status, walker->is_in ? 0 : ANNALS_E_UNKNOWN_MEMBER);
		walker->is_in = false;
	} else if (choice < 7) {
		walk_beat(walk, number);
	} else {
		/* Who believes to have a partition has it, or knows better after its next beat. */
		struct offset_entry entry = {.topic_id = walk->topic_id, .partition = partition};
		struct offset_request commit = {.entries = &entry, .entry_count = 1};
		struct member_commit_request as = {
			.generation = walker->generation, .commit = &commit};
		(void)snprintf(as.member, sizeof(as.member), "m%u", number);
		int status = run(&as.delivery, DELIVERY_COMMIT);
		if (!walker->is_in) {
			ck_assert_int_eq(status, ANNALS_E_UNKNOWN_MEMBER);
		} else if (walker->has[partition]) {
			ck_assert_int_eq(status, 0); /* nobody took it without being told */
		}
		for (uint32_t i = 0; i < WALK_MEMBERS && status == 0; i++) {
			ck_assert(i == number || !walk->walkers[i].is_in ||
				  !walk->walkers[i].has[partition]);
		}
	}
}

/* When all have said what they know, everybody has a fair share and nothing is left over. */
static void walk_settle(struct walk *walk)
{
	uint32_t least = UINT32_MAX, most = 0, total = 0, count = 0;

	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < WALK_MEMBERS; i++) {
			walk_beat(walk, i);
		}
	}
	for (uint32_t i = 0; i < WALK_MEMBERS; i++) {
		uint32_t mine = 0;
		for (uint32_t k = 0; k < WALK_PARTITIONS; k++) {
			mine += walk->walkers[i].has[k];
		}
		if (walk->walkers[i].is_in) {
			least = ANNALS_MIN(least, mine);
			most = ANNALS_MAX(most, mine);
			total += mine;
			count++;
		}
	}
	ck_assert_uint_eq(total, count == 0 ? 0 : WALK_PARTITIONS);
	ck_assert(count == 0 || most - least <= 1);
}

START_TEST(test_delivery_members_random_schedules)
{
	struct walk walk = {.state = (uint64_t)_i + 1};

	walk.topic_id = store_harness_topic(&f.store, "walked", WALK_PARTITIONS);
	struct member_request first = {
		.topic_count = 1, .topic_ids = {walk.topic_id}, .session_us = 3600000000};
	walk_name(&first, 0);
	ck_assert_int_eq(run(&first.delivery, DELIVERY_JOIN), 0);
	walk.walkers[0].is_in = true;
	walk_take(&walk, 0, &first);
	for (unsigned i = 0; i < (store_harness_is_durable(&f.store) ? 3u : 20u); i++) {
		for (unsigned step = 0; step < 25; step++) {
			walk_step(&walk);
		}
		walk_settle(&walk);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("delivery");
	TCase *tests = tcase_create("delivery");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, test_delivery_hands_out_and_remembers);
	tcase_add_test(tests, test_delivery_remembers_how_events_ended);
	tcase_add_test(tests, test_delivery_forgets_deleted_topics);
	tcase_add_test(tests, test_delivery_reads_cold_logs);
	tcase_add_loop_test(tests, test_delivery_members_random_schedules, 0, 10);
	tcase_add_test(tests, test_delivery_parks_and_replays);
	tcase_add_test(tests, test_delivery_poll_waits);
	tcase_add_test(tests, test_delivery_held_max);
	tcase_add_test(tests, test_delivery_leases_run_out);
	tcase_add_test(tests, test_delivery_seeks);
	tcase_add_test(tests, test_delivery_transacts);
	tcase_add_test(tests, test_delivery_keeps_modes_apart);
	tcase_add_loop_test(tests, test_delivery_tells_namesakes_apart, 0, 2);
	tcase_add_test(tests, test_delivery_deletes_groups);
	tcase_add_test(tests, test_delivery_shares_partitions);
	tcase_add_test(tests, test_delivery_rate);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
