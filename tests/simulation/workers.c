#include "workers.h"

#include "delivery/delivery_internal.h"
#include "shard.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUP "simulated-work"
#define PARTITIONS 2u
#define EVENTS_MAX 2048u /* of a log; later ones are not polled for */
#define MEMBERS 3u
#define ASKED_MAX 4u
#define HELD_MAX 16u
#define LEASE_US UINT64_C(400000)
#define ATTEMPTS_MAX 5u

enum known {
	KNOWN_OPEN,
	KNOWN_MAYBE, /* an acknowledgement or a parking whose outcome nobody knows */
	KNOWN_ACKNOWLEDGED,
	KNOWN_PARKED,
};

struct event {
	uint64_t hash, lease, deadline_us; /* deadline: 0 when its holder gave it up */
	uint32_t attempt;
	uint32_t asked; /* answers about it that have not come */
	enum known known;
	bool may_be_parked; /* somebody asked for it, or its attempts may be used up */
};

enum asking { ASKING_NOTHING, ASKING_POLL, ASKING_SETTLE };

struct asked {
	enum asking what;
	struct poll_request poll;
	struct settle_request settle;
	struct settle_entry entry;
	unsigned log;
};

/* A lease that a member remembers. */
struct held {
	unsigned log;
	uint64_t offset, lease;
};

static struct {
	struct workers_host host;
	struct delivery *delivery;
	struct completion_queue queue;
	struct asked asked[ASKED_MAX];
	struct held held[HELD_MAX];
	size_t held_count;
	struct event events[WORKERS_LOGS][EVENTS_MAX];
	bool works; /* the group is there and delivery has not stopped */
} all;

static uint64_t draw(uint64_t bound)
{
	return random_below(all.host.random, bound);
}

static uint64_t hash_of(struct bytes bytes)
{
	static const uint64_t key[2] = {3, 4};

	return hash_siphash13(key, bytes);
}

static unsigned log_of(uint32_t topic_id, uint32_t partition)
{
	for (unsigned i = 0; i < 2; i++) {
		if (all.host.topic_ids[i] == topic_id && partition < PARTITIONS) {
			return i * PARTITIONS + partition;
		}
	}
	all.host.fail("I6: an event of topic %u, partition %u", topic_id, partition);
}

static struct event *event_at(unsigned log, uint64_t offset)
{
	if (offset >= EVENTS_MAX) {
		all.host.fail("log %u has too many events", log);
	}
	return &all.events[log][offset];
}

static bool is_excused(unsigned log, uint64_t offset)
{
	return offset < all.host.trim_asked(log);
}

/* ---- Answers ---- */

static void take_event(const struct poll_request *poll, const struct delivered_event *got)
{
	unsigned log = log_of(got->topic_id, got->partition);
	struct event *event = event_at(log, got->offset);
	uint64_t hash = hash_of(bytes_of(poll->bytes.data + got->at, got->size));
	struct partition_info info;

	if (store_partition_info(all.host.store, got->topic_id, got->partition, &info) != 0 ||
		got->offset >= info.end_offset) {
		all.host.fail("I6: log %u offset %" PRIu64 " is handed out and not visible", log,
			got->offset);
	}
	if (event->known == KNOWN_ACKNOWLEDGED || event->known == KNOWN_PARKED) {
		all.host.fail("I13: log %u offset %" PRIu64 " comes again after it was %s", log,
			got->offset, event->known == KNOWN_PARKED ? "parked" : "acknowledged");
	}
	if (event->hash != 0 && event->hash != hash) {
		all.host.fail("I2: log %u offset %" PRIu64 " has other bytes", log, got->offset);
	}
	/* Leases end by wall clock, whatever happened to the server meanwhile. */
	if (event->asked == 0 && event->deadline_us > all.host.now_us()) {
		all.host.fail(
			"I14: log %u offset %" PRIu64 " has a second holder", log, got->offset);
	}
	if (got->attempt <= event->attempt || got->lease == event->lease) {
		all.host.fail("I11: log %u offset %" PRIu64 ": attempt %u after %u", log,
			got->offset, got->attempt, event->attempt);
	}
	event->known = KNOWN_OPEN;
	event->hash = hash;
	event->lease = got->lease;
	event->attempt = got->attempt;
	event->deadline_us = got->deadline_us;
	event->may_be_parked |= got->attempt >= ATTEMPTS_MAX - 1;
	all.held[all.held_count < HELD_MAX ? all.held_count++ : draw(HELD_MAX)] =
		(struct held){log, got->offset, got->lease};
}

static void take_poll(struct asked *asked)
{
	if (asked->poll.delivery.base.status == 0) {
		for (size_t i = 0; i < asked->poll.event_count; i++) {
			take_event(&asked->poll, &asked->poll.events[i]);
		}
	}
	poll_request_release(&asked->poll);
}

static void take_done(struct event *event, const struct asked *asked)
{
	switch (asked->settle.kind) {
	case SETTLE_ACKNOWLEDGE:
		event->known = KNOWN_ACKNOWLEDGED;
		break;
	case SETTLE_PARK:
		event->known = KNOWN_PARKED;
		break;
	case SETTLE_EXTEND:
		event->deadline_us = all.host.now_us() + 1; /* at least the turn it came in */
		return;
	case SETTLE_REFUSE:
	case SETTLE_RETURN:
		break;
	}
	event->deadline_us = 0;
}

static void take_settle(struct asked *asked)
{
	struct event *event = event_at(asked->log, asked->entry.offset);
	bool is_current = event->lease == asked->entry.lease;
	int status = asked->settle.delivery.base.status;

	event->asked--;
	if (status == ANNALS_E_UNAVAILABLE) {
		return; /* nothing has happened */
	}
	if (status != 0) {
		event->deadline_us = is_current ? 0 : event->deadline_us;
		if (event->known == KNOWN_OPEN && asked->settle.kind != SETTLE_EXTEND) {
			event->known = KNOWN_MAYBE;
		}
		return;
	}
	if (asked->entry.status == 0) {
		if (is_current) {
			take_done(event, asked);
		} else if (event->known == KNOWN_OPEN && event->asked == 0 &&
			   !is_excused(asked->log, asked->entry.offset)) {
			/* When the event was finished before, the answer to that counts. */
			all.host.fail("I14: log %u offset %" PRIu64 ": an old lease is believed",
				asked->log, asked->entry.offset);
		}
	} else if (is_current && event->asked == 0 && event->known == KNOWN_OPEN &&
		   event->deadline_us > all.host.now_us() &&
		   !is_excused(asked->log, asked->entry.offset)) {
		all.host.fail("I14: log %u offset %" PRIu64 ": the lease of its holder is lost",
			asked->log, asked->entry.offset);
	}
}

static void take_answers(void)
{
	struct list_node back, *node;

	list_init(&back);
	completion_queue_take(&all.queue, &back);
	while ((node = list_pop(&back)) != NULL) {
		struct store_request *base = LIST_ENTRY(node, struct store_request, node);
		struct asked *asked = base->arg;
		if (asked == NULL) {
			base->arg = base; /* somebody waits for it */
			continue;
		}
		if (asked->what == ASKING_POLL) {
			take_poll(asked);
		} else {
			take_settle(asked);
		}
		asked->what = ASKING_NOTHING;
	}
}

/* ---- Asking ---- */

static void prepare(struct delivery_request *request, enum delivery_operation operation, void *arg)
{
	request->operation = operation;
	request->base.queue = &all.queue;
	request->base.arg = arg;
	(void)snprintf(request->group, sizeof(request->group), "%s", GROUP);
}

static bool submit(struct asked *asked, struct delivery_request *request, enum asking what)
{
	struct error err = {0};

	if (delivery_submit(all.delivery, request, &err) != 0) {
		return false;
	}
	asked->what = what;
	return true;
}

static void ask_poll(struct asked *asked, uint32_t events_max)
{
	memset(&asked->poll, 0, sizeof(asked->poll));
	prepare(&asked->poll.delivery, DELIVERY_POLL, asked);
	(void)snprintf(asked->poll.member, sizeof(asked->poll.member), "member-%u",
		(unsigned)draw(MEMBERS));
	asked->poll.events_max = events_max;
	asked->poll.wait_us = draw(3) == 0 ? 50000 : 0;
	(void)submit(asked, &asked->poll.delivery, ASKING_POLL);
}

static void ask_settle(struct asked *asked, enum settle_kind kind, const struct held *held)
{
	struct event *event = event_at(held->log, held->offset);

	memset(&asked->settle, 0, sizeof(asked->settle));
	prepare(&asked->settle.delivery, DELIVERY_SETTLE, asked);
	asked->log = held->log;
	asked->entry = (struct settle_entry){.topic_id = all.host.topic_ids[held->log / PARTITIONS],
		.partition = held->log % PARTITIONS,
		.offset = held->offset,
		.lease = held->lease};
	asked->settle.kind = kind;
	asked->settle.entries = &asked->entry;
	asked->settle.entry_count = 1;
	asked->settle.time_us = kind == SETTLE_REFUSE ? draw(50000) : 0;
	asked->settle.reason = draw(2) == 0 ? bytes_of(NULL, 0) : bytes_text("simulated");
	if (submit(asked, &asked->settle.delivery, ASKING_SETTLE)) {
		event->asked++;
		event->may_be_parked |= kind == SETTLE_PARK;
	}
}

void workers_ask(void)
{
	static const enum settle_kind kinds[] = {SETTLE_ACKNOWLEDGE, SETTLE_ACKNOWLEDGE,
		SETTLE_ACKNOWLEDGE, SETTLE_REFUSE, SETTLE_PARK, SETTLE_EXTEND};
	struct asked *asked = &all.asked[draw(ASKED_MAX)];

	if (asked->what != ASKING_NOTHING) {
		return;
	}
	if (all.held_count == 0 || draw(3) == 0) {
		ask_poll(asked, 1 + (uint32_t)draw(3));
		return;
	}
	size_t at = draw(all.held_count);
	struct held held = all.held[at];
	if (draw(4) != 0) { /* otherwise it asks twice */
		all.held[at] = all.held[--all.held_count];
	}
	if (draw(6) != 0) { /* otherwise it forgets */
		ask_settle(asked, kinds[draw(sizeof(kinds) / sizeof(kinds[0]))], &held);
	}
}

void workers_turn(void)
{
	(void)delivery_turn(all.delivery);
	take_answers();
}

/* True: it was answered. */
static bool wait_for(struct delivery_request *request, enum delivery_operation operation)
{
	struct error err = {0};

	prepare(request, operation, NULL);
	if (delivery_submit(all.delivery, request, &err) != 0) {
		return false;
	}
	for (unsigned i = 0; request->base.arg == NULL; i++) {
		if (i == 1000) {
			all.host.fail("delivery does not answer");
		}
		workers_turn();
		(void)writer_turn(store_shard(all.host.store));
		all.host.advance_us(i > 10 ? 10000 : 1);
	}
	return true;
}

/* ---- Lives ---- */

void workers_init(const struct workers_host *host)
{
	memset(&all, 0, sizeof(all));
	all.host = *host;
	completion_queue_init(&all.queue, NULL, NULL);
}

void workers_release(void)
{
	completion_queue_release(&all.queue);
}

static void make_group(void)
{
	struct group_put_request put = {.start = GROUP_START_EARLIEST};

	group_config_init(&put.config, GROUP_BY_EVENT);
	put.config.topic_count = 2;
	memcpy(put.config.topic_ids, all.host.topic_ids, sizeof(all.host.topic_ids));
	put.config.lease_us = LEASE_US;
	put.config.attempts_max = ATTEMPTS_MAX;
	put.config.backoff_first_us = 1000;
	put.config.backoff_max_us = 100000;
	if (!wait_for(&put.delivery, DELIVERY_GROUP_PUT) || put.delivery.base.status != 0) {
		all.host.fail("no group: %s", put.delivery.base.error.text);
	}
}

void workers_open(struct store *store, bool is_first)
{
	struct error err = {0};

	all.host.store = store;
	if (delivery_open(store, &all.delivery, &err) != 0) {
		all.host.fail("delivery does not open: %s", err.text);
	}
	if (is_first) {
		make_group();
	}
}

void workers_close(void)
{
	delivery_close(all.delivery);
	all.delivery = NULL;
	take_answers();
}

/* ---- Comparing ---- */

static void judge_parked(const struct parked_request *list, const struct parked_info *info)
{
	unsigned log = log_of(info->topic_id, info->partition);
	struct event *event = event_at(log, info->offset);

	if (event->known == KNOWN_ACKNOWLEDGED) {
		all.host.fail("I13: log %u offset %" PRIu64 " is parked and was acknowledged", log,
			info->offset);
	}
	/* One that was handed out by an answer that never came may be parked unseen. */
	if (!event->may_be_parked && event->attempt > 0 && info->deliveries < ATTEMPTS_MAX) {
		all.host.fail("I11: log %u offset %" PRIu64 " is parked and nobody gave it up", log,
			info->offset);
	}
	if (info->reason[0] == 0) {
		all.host.fail("I11: log %u offset %" PRIu64 " is parked without a reason", log,
			info->offset);
	}
	if (info->size > 0 && event->hash != 0 &&
		event->hash != hash_of(bytes_of(list->bytes.data + info->at, info->size))) {
		all.host.fail("I2: log %u offset %" PRIu64 " has other bytes as a parked event",
			log, info->offset);
	}
	event->known = KNOWN_PARKED;
	event->deadline_us = 0;
}

void workers_judge(void)
{
	struct parked_request list = {.limit = PARKED_PAGE_MAX};
	size_t parked = 0;

	if (!wait_for(&list.delivery, DELIVERY_PARKED_LIST)) {
		return;
	}
	if (list.delivery.base.status == 0) {
		for (size_t i = 0; i < list.parked_count; i++) {
			judge_parked(&list, &list.parked[i]);
		}
		for (unsigned log = 0; log < WORKERS_LOGS; log++) {
			for (unsigned i = 0; i < EVENTS_MAX; i++) {
				parked += all.events[log][i].known == KNOWN_PARKED;
			}
		}
		if (parked != list.parked_count) {
			all.host.fail("I1: %zu events are parked, %zu were known to be",
				list.parked_count, parked);
		}
	}
	parked_request_release(&list);
}

static void judge_finished(void)
{
	for (unsigned log = 0; log < WORKERS_LOGS; log++) {
		struct partition_info info;
		if (store_partition_info(all.host.store, all.host.topic_ids[log / PARTITIONS],
			    log % PARTITIONS, &info) != 0) {
			all.host.fail("I1: log %u is not there", log);
		}
		for (uint64_t i = all.host.trim_asked(log); i < info.end_offset; i++) {
			const struct event *event = event_at(log, i);
			if (event->attempt == 0 && event->known == KNOWN_OPEN) {
				all.host.fail("I1: log %u offset %" PRIu64 " was never handed out",
					log, i);
			}
			if (event->known == KNOWN_OPEN) {
				all.host.fail("I1: log %u offset %" PRIu64
					      " was handed out, was not handled, and comes no more",
					log, i);
			}
		}
	}
}

void workers_drain(void)
{
	struct shard *shard = store_shard(all.host.store);
	unsigned empty = 0;

	all.held_count = 0;
	while (empty < 4) {
		struct poll_request poll = {.events_max = POLL_EVENTS_MAX, .member = "member-0"};
		(void)writer_turn(shard);
		workers_turn();
		all.host.advance_us(LEASE_US + 1000);
		if (!wait_for(&poll.delivery, DELIVERY_POLL) || poll.delivery.base.status != 0) {
			all.host.fail("no events: %s", poll.delivery.base.error.text);
		}
		empty = poll.event_count == 0 ? empty + 1 : 0;
		for (size_t i = 0; i < poll.event_count; i++) {
			struct held held;
			struct settle_request settle = {
				.kind = SETTLE_ACKNOWLEDGE, .entry_count = 1};
			struct settle_entry entry;
			take_event(&poll, &poll.events[i]);
			held = (struct held){
				log_of(poll.events[i].topic_id, poll.events[i].partition),
				poll.events[i].offset, poll.events[i].lease};
			entry = (struct settle_entry){.topic_id = poll.events[i].topic_id,
				.partition = poll.events[i].partition,
				.offset = held.offset,
				.lease = held.lease};
			settle.entries = &entry;
			if (!wait_for(&settle.delivery, DELIVERY_SETTLE) ||
				settle.delivery.base.status != 0) {
				all.host.fail(
					"not acknowledged: %s", settle.delivery.base.error.text);
			}
			if (entry.status != 0 && !is_excused(held.log, held.offset)) {
				all.host.fail("I14: log %u offset %" PRIu64
					      ": the lease of its holder is lost",
					held.log, held.offset);
			}
			event_at(held.log, held.offset)->known = KNOWN_ACKNOWLEDGED;
		}
		poll_request_release(&poll);
	}
	workers_judge();
	judge_finished();
}
