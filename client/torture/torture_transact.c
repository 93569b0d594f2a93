/*
 * Handlers: members of a group by event, over the binary protocol, that acknowledge what they were
 * given together with an append to the second topic, in one commit. An event may be handed out many
 * times; its output must be there once.
 */
#include "torture_clients.h"

#include <annals/clock.h>
#include <inttypes.h>
#include <stdlib.h>

#define POLL_EVENTS 8u
#define POLL_WAIT_MS 50u
#define LEASE_US 1000000u
#define GROUP_NUMBER UINT64_C(2000000)
#define DATA_BYTES_MAX 200u

struct handler {
	struct worker *worker;
	char group[32], member[16];
	unsigned era; /* in which the group was made; 0: in none */
	struct buf scratch;
};

static bool make_group(struct handler *handler)
{
	const struct torture *torture = handler->worker->torture;
	const char *topic = torture->topic;
	struct annals_group_settings settings = {.mode = ANNALS_GROUP_BY_EVENT,
		.topics = &topic,
		.topic_count = 1,
		.lease_us = LEASE_US,
		.attempts_unlimited = 1,
		.backoff_none = 1};

	(void)snprintf(handler->group, sizeof(handler->group), "handlers-%u", torture->era);
	if (annals_group_put(handler->worker->client, handler->group, &settings, TORTURE_CALL_MS,
		    NULL, NULL) != 0) {
		return false;
	}
	handler->era = torture->era;
	return true;
}

static void finish(struct handler *handler, struct history_op *op, int status)
{
	op->return_ns = clock_monotonic_ns();
	op->outcome = torture_outcome(status);
	op->status = status;
	op->mask |= status != 0 ? HISTORY_OP_STATUS : 0;
	torture_record(handler->worker->torture, op);
}

/* Acknowledges the leases and appends one event, both or neither. */
static void transact(struct handler *handler, const struct annals_lease *leases, uint32_t count)
{
	struct worker *worker = handler->worker;
	uint64_t number = ++worker->next_request;
	struct history_op append = worker_begin(worker, HISTORY_APPEND, number);
	struct history_op acknowledge = append;
	struct history_part output = {.topic = TORTURE_SECOND,
				    .count = 1,
				    .mask = HISTORY_PART_COUNT | HISTORY_PART_VALUES},
			    parts[POLL_EVENTS];
	struct annals_placement placement = {0};
	uint8_t data[DATA_BYTES_MAX], value[8];
	char id[48], key[16];
	struct annals_event event = {.source = annals_text("/torture"),
		.type = annals_text("torture.output"),
		.has_key = 1,
		.has_data = 1,
		.data = {data, 1 + random_below(&worker->random, DATA_BYTES_MAX - 1)}};

	for (size_t i = 0; i < event.data.size; i++) {
		data[i] = (uint8_t)random_next(&worker->random);
	}
	(void)snprintf(id, sizeof(id), "%u-%u-%" PRIu64, worker->torture->era, worker->number,
		++worker->next_event);
	(void)snprintf(key, sizeof(key), "key-%u", (unsigned)random_below(&worker->random, 50));
	event.id = annals_text(id);
	event.key = annals_text(key);
	store_u64(value, torture_value(&event, &handler->scratch));
	output.values = value;
	output.partition =
		annals_partition_for_key(event.key.data, event.key.size, TORTURE_PARTITIONS);
	for (uint32_t i = 0; i < count; i++) {
		parts[i] = (struct history_part){.partition = leases[i].partition,
			.offset = leases[i].offset,
			.count = 1,
			.mask = HISTORY_PART_OFFSET | HISTORY_PART_COUNT};
	}
	int status = annals_group_transact(worker->client, handler->group, leases, count,
		worker->torture->second, &event, 1, "last", event.key, TORTURE_CALL_MS, &placement,
		NULL);
	if (status == 0) {
		output.mask |= HISTORY_PART_OFFSET;
		output.partition = placement.partition;
		output.offset = placement.offset;
	}
	append.mask |= HISTORY_OP_TRANSACTION;
	append.parts = &output;
	append.part_count = 1;
	finish(handler, &append, status);
	acknowledge.kind = HISTORY_ACKNOWLEDGE;
	acknowledge.mask |= HISTORY_OP_TRANSACTION | HISTORY_OP_GROUP;
	acknowledge.group = GROUP_NUMBER + handler->era;
	acknowledge.parts = parts;
	acknowledge.part_count = count;
	finish(handler, &acknowledge, status);
}

static void record_deliveries(struct handler *handler, struct history_op *op,
	const struct annals_deliveries *deliveries, struct annals_lease *leases)
{
	struct history_part parts[POLL_EVENTS];
	uint8_t values[POLL_EVENTS][8];

	for (size_t i = 0; i < deliveries->count; i++) {
		const struct annals_delivered_event *delivery = &deliveries->deliveries[i];
		leases[i] = delivery->lease;
		store_u64(values[i], torture_value(&delivery->event, &handler->scratch));
		parts[i] = (struct history_part){.partition = delivery->lease.partition,
			.offset = delivery->lease.offset,
			.delivery = delivery->attempt,
			.count = 1,
			.values = values[i],
			.mask = HISTORY_PART_OFFSET | HISTORY_PART_COUNT | HISTORY_PART_VALUES |
				HISTORY_PART_DELIVERY};
	}
	op->mask |= HISTORY_OP_GROUP;
	op->group = GROUP_NUMBER + handler->era;
	op->parts = parts;
	op->part_count = (uint32_t)deliveries->count;
	finish(handler, op, 0);
	op->parts = NULL;
}

static void handle(struct handler *handler)
{
	struct worker *worker = handler->worker;
	struct history_op op = worker_begin(worker, HISTORY_DELIVER, ++worker->next_request);
	struct annals_deliveries deliveries = {0};
	struct annals_lease leases[POLL_EVENTS];
	uint32_t count, first;

	if (annals_group_poll(worker->client, handler->group, handler->member, POLL_EVENTS, 0,
		    POLL_WAIT_MS, TORTURE_CALL_MS, &deliveries, NULL) != 0) {
		torture_sleep_ms(5);
		return;
	}
	count = (uint32_t)ANNALS_MIN(deliveries.count, POLL_EVENTS);
	if (count > 0) {
		record_deliveries(handler, &op, &deliveries, leases);
	}
	annals_deliveries_release(&deliveries);
	/* Two transactions; now and then the second is forgotten, or waits for the leases' end. */
	first = (uint32_t)random_below(&worker->random, count + 1);
	if (first > 0) {
		transact(handler, leases, first);
	}
	if (first < count && random_below(&worker->random, 16) > 0) {
		if (random_below(&worker->random, 64) == 0) {
			torture_sleep_ms(LEASE_US / 1000);
		}
		transact(handler, leases + first, count - first);
	}
}

void handler_run(struct worker *worker)
{
	struct handler *handler = calloc(1, sizeof(*handler));

	if (handler == NULL) {
		torture_problem(worker->torture, "no memory for a handler");
		return;
	}
	handler->worker = worker;
	(void)snprintf(handler->member, sizeof(handler->member), "h%u", worker->number);
	while (worker_gate(worker)) {
		if (handler->era != worker->torture->era && !make_group(handler)) {
			torture_sleep_ms(10);
			continue;
		}
		handle(handler);
	}
	buf_release(&handler->scratch);
	free(handler);
}
