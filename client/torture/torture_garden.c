/*
 * The gardener: topics that come, are filled, lose their oldest events to retention, go, and come
 * again under the same name. Each life of a topic is a topic of its own in the history: nothing of
 * an earlier one may be seen in it.
 */
#include "torture_clients.h"

#include <annals/clock.h>
#include <inttypes.h>
#include <stdlib.h>

#define NAMES 3u
#define PARTITIONS 2u
#define EVENTS_MAX 8u
#define DATA_BYTES_MAX 900u
#define RETENTION_EVENTS 200u
#define APPENDS_MAX 60u
#define POLL_EVENTS 64u

struct gardener {
	struct worker *worker;
	char name[32];
	uint32_t topic;
	uint64_t session;
	struct buf scratch;
};

static void finish(struct gardener *gardener, struct history_op *op, int status)
{
	op->return_ns = clock_monotonic_ns();
	op->outcome = torture_outcome(status);
	op->status = status;
	op->mask |= status != 0 ? HISTORY_OP_STATUS : 0;
	torture_record(gardener->worker->torture, op);
}

/* Until there is no topic of the name, and then until there is one. False: the end of the run. */
static bool replant(struct gardener *gardener, bool with_retention)
{
	struct worker *worker = gardener->worker;
	struct annals_topic_config config = {.partitions = PARTITIONS,
		.retention_events = with_retention ? RETENTION_EVENTS : 0};
	struct history_part part = {
		.topic = gardener->topic, .count = PARTITIONS, .mask = HISTORY_PART_COUNT};
	struct history_op op;
	int status = 0;

	while (status != ANNALS_E_UNKNOWN_TOPIC) {
		status = annals_topic_delete(worker->client, gardener->name, TORTURE_CALL_MS, NULL);
		if (worker_is_stopping(worker)) {
			return false;
		}
	}
	op = worker_begin(worker, HISTORY_TOPIC, 0);
	do {
		status = annals_topic_create(
			worker->client, gardener->name, &config, TORTURE_CALL_MS, NULL, NULL);
		if (worker_is_stopping(worker)) {
			return false;
		}
	} while (status < 0);
	op.attempt = with_retention ? 2 : 1;
	op.mask = HISTORY_OP_TEXT;
	op.text = bytes_text(gardener->name);
	op.parts = &part;
	op.part_count = 1;
	finish(gardener, &op, 0);
	return true;
}

static void append(struct gardener *gardener)
{
	struct worker *worker = gardener->worker;
	struct annals_event events[EVENTS_MAX];
	struct annals_placement placements[EVENTS_MAX];
	uint8_t data[DATA_BYTES_MAX], values[EVENTS_MAX * 8];
	char ids[EVENTS_MAX][48];
	struct history_op op = worker_begin(worker, HISTORY_APPEND, ++worker->next_request);
	struct history_part part = {.topic = gardener->topic,
		.partition = (uint32_t)random_below(&worker->random, PARTITIONS),
		.count = 1 + (uint32_t)random_below(&worker->random, EVENTS_MAX),
		.values = values,
		.mask = HISTORY_PART_COUNT | HISTORY_PART_VALUES};
	int status;

	for (size_t i = 0; i < sizeof(data); i++) {
		data[i] = (uint8_t)random_next(&worker->random);
	}
	for (uint32_t i = 0; i < part.count; i++) {
		(void)snprintf(ids[i], sizeof(ids[i]), "%u-%u-%" PRIu64, worker->torture->era,
			worker->number, ++worker->next_event);
		events[i] = (struct annals_event){.id = annals_text(ids[i]),
			.type = annals_text("torture.side"),
			.has_data = 1,
			.data = {data, 1 + random_below(&worker->random, sizeof(data) - 1)}};
		store_u64(values + (size_t)i * 8, torture_value(&events[i], &gardener->scratch));
	}
	op.invoke_ns = clock_monotonic_ns();
	status = annals_append(worker->client, gardener->name, part.partition, events, part.count,
		ANNALS_DURABILITY_FSYNC, TORTURE_CALL_MS, placements, NULL, NULL);
	if (status == 0) {
		part.mask |= HISTORY_PART_OFFSET;
		part.offset = placements[0].offset;
	}
	op.parts = &part;
	op.part_count = 1;
	finish(gardener, &op, status);
}

/* Where the topic begins and ends. */
static void look(struct gardener *gardener)
{
	struct history_op op = worker_begin(gardener->worker, HISTORY_READ, ++gardener->session);
	struct history_part parts[PARTITIONS];
	struct annals_topic *topic = NULL;

	if (annals_topic_describe(
		    gardener->worker->client, gardener->name, TORTURE_CALL_MS, &topic, NULL) != 0) {
		return;
	}
	for (uint32_t i = 0; i < PARTITIONS && i < topic->partition_count; i++) {
		parts[i] = (struct history_part){.topic = gardener->topic,
			.partition = i,
			.start = topic->partitions[i].first_offset,
			.end = topic->partitions[i].end_offset,
			.mask = HISTORY_PART_START | HISTORY_PART_END};
	}
	annals_topic_free(topic);
	op.parts = parts;
	op.part_count = PARTITIONS;
	finish(gardener, &op, 0);
}

/* From its start on, a few polls; retention may end it. */
static void read_on(struct gardener *gardener)
{
	static const struct annals_start start = {.kind = ANNALS_START_EARLIEST};
	struct worker *worker = gardener->worker;
	struct annals_consumer *consumer = NULL;
	struct annals_event events[POLL_EVENTS];
	uint8_t values[POLL_EVENTS * 8];

	gardener->session++;
	if (annals_consumer_open(worker->client, gardener->name, &start, NULL, TORTURE_CALL_MS,
		    &consumer, NULL) != 0) {
		return;
	}
	for (unsigned i = 0; i < 8; i++) {
		struct history_op op = worker_begin(worker, HISTORY_READ, gardener->session);
		struct history_part part = {.topic = gardener->topic,
			.values = values,
			.mask = HISTORY_PART_OFFSET | HISTORY_PART_COUNT | HISTORY_PART_VALUES};
		size_t count = 0;
		if (annals_consumer_poll(consumer, 20, events, POLL_EVENTS, &count, NULL) != 0 ||
			count == 0) {
			break;
		}
		part.partition = events[0].partition;
		part.offset = events[0].offset;
		for (size_t k = 0; k < count; k++) {
			store_u64(values + k * 8, torture_value(&events[k], &gardener->scratch));
			if (events[k].partition != part.partition ||
				events[k].offset != part.offset + k) {
				torture_problem(worker->torture,
					"client %u: one poll of '%s' goes from offset %" PRIu64
					" to %" PRIu64,
					worker->number, gardener->name, events[k - 1].offset,
					events[k].offset);
				count = k;
			}
		}
		part.count = (uint32_t)count;
		op.parts = &part;
		op.part_count = 1;
		finish(gardener, &op, 0);
	}
	annals_consumer_close(consumer);
}

void gardener_run(struct worker *worker)
{
	struct gardener *gardener = calloc(1, sizeof(*gardener));

	if (gardener == NULL) {
		torture_problem(worker->torture, "no memory for the gardener");
		return;
	}
	gardener->worker = worker;
	gardener->topic = TORTURE_SECOND;
	while (worker_gate(worker)) {
		unsigned name = (unsigned)random_below(&worker->random, NAMES);
		/* Numbers that no other topic of the history has. */
		gardener->topic++;
		(void)snprintf(gardener->name, sizeof(gardener->name), "side-%u", name);
		if (!replant(gardener, name > 0)) {
			continue;
		}
		look(gardener);
		for (uint64_t i = 1 + random_below(&worker->random, APPENDS_MAX); i > 0; i--) {
			append(gardener);
			if (random_below(&worker->random, 8) == 0) {
				look(gardener);
			}
			if (random_below(&worker->random, 16) == 0) {
				read_on(gardener);
			}
		}
		look(gardener);
		read_on(gardener);
		torture_sleep_ms(20);
	}
	buf_release(&gardener->scratch);
	free(gardener);
}
