/* Those who use the server all the time: each a thread with a connection of its own. */
#include "torture_clients.h"

#include <annals/clock.h>
#include <inttypes.h>
#include <stdlib.h>

#define POLL_EVENTS 256u
#define ATTEMPTS_MAX 200u
#define DELAYED_MS_MAX 30000u

struct annals_client *torture_connect(const struct torture *torture)
{
	struct annals_options *options = annals_options_new();
	struct annals_client *client = NULL;

	if (options != NULL &&
		annals_options_set_servers(options, torture->server.address, NULL) == 0 &&
		annals_options_set(options, ANNALS_OPTION_RECONNECT_MIN_MS, 5, NULL) == 0 &&
		annals_options_set(options, ANNALS_OPTION_RECONNECT_MAX_MS, 50, NULL) == 0) {
		(void)annals_client_open(options, &client, NULL);
	}
	annals_options_free(options);
	return client;
}

bool worker_gate(struct worker *worker)
{
	struct torture *torture = worker->torture;
	bool go;

	(void)pthread_mutex_lock(&torture->mutex);
	if (torture->phase != TORTURE_RUN) {
		torture->idle++;
		(void)pthread_cond_broadcast(&torture->cond);
		while (torture->phase == TORTURE_DRAIN || torture->phase == TORTURE_CATCH_UP) {
			(void)pthread_cond_wait(&torture->cond, &torture->mutex);
		}
		torture->idle--;
	}
	go = torture->phase != TORTURE_STOP;
	(void)pthread_mutex_unlock(&torture->mutex);
	return go;
}

bool worker_is_stopping(struct worker *worker)
{
	struct torture *torture = worker->torture;
	bool stopping;

	(void)pthread_mutex_lock(&torture->mutex);
	stopping = torture->phase == TORTURE_STOP;
	(void)pthread_mutex_unlock(&torture->mutex);
	return stopping;
}

struct history_op worker_begin(const struct worker *worker, enum history_kind kind, uint64_t number)
{
	return (struct history_op){.kind = kind,
		.client = worker->number,
		.number = number,
		.attempt = 1,
		.invoke_ns = clock_monotonic_ns()};
}

static void end(struct worker *worker, struct history_op *op, int status)
{
	op->return_ns = clock_monotonic_ns();
	op->outcome = torture_outcome(status);
	if (status != 0) {
		op->status = status;
		op->mask |= HISTORY_OP_STATUS;
	}
	torture_record(worker->torture, op);
}

/* ---- producers ---- */

struct plan {
	struct annals_event events[TORTURE_EVENTS_MAX];
	char ids[TORTURE_EVENTS_MAX][48], keys[TORTURE_EVENTS_MAX][16];
	uint64_t values[TORTURE_EVENTS_MAX];
	uint32_t count, partition; /* or ANNALS_PARTITION_BY_KEY */
	enum annals_durability durability;
	struct buf data, scratch;
	struct history_part parts[TORTURE_EVENTS_MAX];
	uint8_t part_values[TORTURE_EVENTS_MAX][TORTURE_EVENTS_MAX * 8];
};

/* Small events as a rule, now and then one that fills chunks. */
static size_t data_size(struct random *random)
{
	return random_below(random, 200) == 0 ? random_below(random, TORTURE_EVENT_BYTES_MAX)
					      : random_below(random, 400);
}

static bool plan_request(struct worker *worker, struct plan *plan)
{
	struct random *random = &worker->random;
	size_t sizes[TORTURE_EVENTS_MAX], at = 0;

	plan->count = 1 + (uint32_t)random_below(random, TORTURE_EVENTS_MAX);
	plan->partition = random_below(random, 4) == 0
				  ? ANNALS_PARTITION_BY_KEY
				  : (uint32_t)random_below(random, TORTURE_PARTITIONS);
	plan->durability =
		random_below(random, 8) == 0 ? ANNALS_DURABILITY_OS : ANNALS_DURABILITY_FSYNC;
	buf_reset(&plan->data);
	for (uint32_t i = 0; i < plan->count; i++) {
		sizes[i] = data_size(random);
		if (buf_add_zeros(&plan->data, sizes[i] + 8) != 0) {
			return false;
		}
	}
	for (uint32_t i = 0; i < plan->count; i++) {
		struct annals_event *event = &plan->events[i];
		uint8_t *data = plan->data.data + at;
		for (size_t k = 0; k < sizes[i]; k += 8) {
			store_u64(data + k, random_next(random));
		}
		at += sizes[i] + 8;
		(void)snprintf(plan->ids[i], sizeof(plan->ids[i]), "%u-%u-%" PRIu64,
			worker->torture->era, worker->number, ++worker->next_event);
		*event = (struct annals_event){.id = annals_text(plan->ids[i]),
			.source = annals_text("/torture"),
			/* Some are found by a filter. */
			.type = annals_text(
				random_below(random, 4) == 0 ? "torture.some" : "torture"),
			.has_data = 1,
			.data = {data, sizes[i]}};
		if (plan->partition == ANNALS_PARTITION_BY_KEY) {
			(void)snprintf(plan->keys[i], sizeof(plan->keys[i]), "key-%u",
				(unsigned)random_below(random, 50));
			event->has_key = 1;
			event->key = annals_text(plan->keys[i]);
		}
		plan->values[i] = torture_value(event, &plan->scratch);
	}
	return true;
}

/* The request's parts: with the answer as the server placed them, else by what is known before. */
static uint32_t plan_parts(struct plan *plan, const struct annals_placement *placements)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < plan->count; i++) {
		uint32_t partition = plan->partition, at;
		if (placements != NULL) {
			partition = placements[i].partition;
		} else if (partition == ANNALS_PARTITION_BY_KEY) {
			partition = annals_partition_for_key(plan->events[i].key.data,
				plan->events[i].key.size, TORTURE_PARTITIONS);
		}
		for (at = 0; at < count; at++) {
			const struct history_part *part = &plan->parts[at];
			if (part->partition == partition &&
				(placements == NULL ||
					part->offset + part->count == placements[i].offset)) {
				break;
			}
		}
		struct history_part *part = &plan->parts[at];
		if (at == count) {
			count++;
			*part = (struct history_part){.partition = partition,
				.values = plan->part_values[at],
				.mask = HISTORY_PART_VALUES | HISTORY_PART_COUNT};
			if (placements != NULL) {
				part->mask |= HISTORY_PART_OFFSET;
				part->offset = placements[i].offset;
			}
		}
		store_u64(plan->part_values[at] + (size_t)part->count++ * 8, plan->values[i]);
	}
	return count;
}

/* One attempt; true when it need not be sent again. */
static bool send_once(struct worker *worker, struct plan *plan, uint32_t attempt)
{
	struct annals_placement placements[TORTURE_EVENTS_MAX];
	struct annals_error error = {0};
	struct history_op op = worker_begin(worker, HISTORY_APPEND, worker->next_request);
	int status =
		annals_append(worker->client, worker->torture->topic, plan->partition, plan->events,
			plan->count, plan->durability, TORTURE_CALL_MS, placements, NULL, &error);

	op.attempt = attempt;
	op.mask |= plan->durability == ANNALS_DURABILITY_OS ? HISTORY_OP_OS : 0;
	/* Topics with streams know their events' ids for a day. */
	op.mask |= worker->torture->has_streams ? HISTORY_OP_IDEMPOTENT : 0;
	op.part_count = plan_parts(plan, status == 0 ? placements : NULL);
	op.parts = plan->parts;
	end(worker, &op, status);
	return status == 0;
}

/* Every second producer sends a request again, with the same event ids, until it is acknowledged;
 * the others go on with the next. */
static void produce(struct worker *worker)
{
	struct plan *plan = calloc(1, sizeof(*plan));

	while (plan != NULL && worker_gate(worker)) {
		uint32_t attempt = 0;
		if (!plan_request(worker, plan)) {
			torture_problem(worker->torture, "no memory for a producer");
			break;
		}
		worker->next_request++;
		while (!send_once(worker, plan, ++attempt) && worker->number % 2 == 0 &&
			attempt < ATTEMPTS_MAX) {
			atomic_fetch_add(&worker->torture->retries, 1);
		}
	}
	if (plan != NULL) {
		buf_release(&plan->data);
		buf_release(&plan->scratch);
	}
	free(plan);
}

/* ---- readers ---- */

/* Where a follower stands, and the record of what it was given. */
struct follower {
	struct annals_consumer *consumer;
	uint64_t session;
	uint64_t next[TORTURE_PARTITIONS];
	struct annals_event events[POLL_EVENTS];
	uint8_t values[POLL_EVENTS * 8];
	struct buf scratch;
	uint64_t uncommitted;
	uint32_t topic; /* 0, TORTURE_SECOND */
	unsigned era;
};

/* Of the streams that the conditional writers append to: their versions are judged. */
static bool is_of_writers(const struct annals_event *event)
{
	return event->has_key && event->version != ANNALS_VERSION_NONE && event->key.size > 7 &&
	       memcmp(event->key.data, TORTURE_STREAM_KEY, 7) == 0;
}

/* Polls once and records what came. Negative: the subscription is over. */
static int follow(
	struct worker *worker, struct follower *follower, int timeout_ms, size_t *ret_count)
{
	struct history_op op = worker_begin(worker, HISTORY_READ, follower->session);
	struct history_part parts[POLL_EVENTS];
	struct annals_error error = {0};
	uint32_t part_count = 0;
	size_t count = 0;
	int status = annals_consumer_poll(
		follower->consumer, timeout_ms, follower->events, POLL_EVENTS, &count, &error);

	if (status != 0) {
		torture_problem(worker->torture, "client %u: a reader got '%s': %s", worker->number,
			annals_status_name(status), error.text);
		return status;
	}
	*ret_count = count;
	for (size_t i = 0; i < count; i++) {
		const struct annals_event *event = &follower->events[i];
		struct history_part *part = part_count > 0 ? &parts[part_count - 1] : NULL;
		bool has_stream = is_of_writers(event);
		store_u64(follower->values + i * 8, torture_value(event, &follower->scratch));
		if (part == NULL || has_stream || (part->mask & HISTORY_PART_STREAM) != 0 ||
			part->partition != event->partition ||
			part->offset + part->count != event->offset) {
			part = &parts[part_count++];
			*part = (struct history_part){.topic = follower->topic,
				.partition = event->partition,
				.offset = event->offset,
				.mask = HISTORY_PART_OFFSET | HISTORY_PART_COUNT |
					HISTORY_PART_VALUES,
				.values = follower->values + i * 8};
		}
		if (has_stream) {
			part->mask |= HISTORY_PART_STREAM | HISTORY_PART_VERSION;
			part->stream = history_stream(event->key.data, event->key.size);
			part->version = event->version;
		}
		part->count++;
		if (event->partition < TORTURE_PARTITIONS) {
			follower->next[event->partition] = event->offset + 1;
		}
	}
	if (count > 0) {
		op.parts = parts;
		op.part_count = part_count;
		end(worker, &op, 0);
	}
	return 0;
}

static const char *topic_name(const struct torture *torture, uint32_t topic)
{
	return topic == TORTURE_SECOND ? torture->second : torture->topic;
}

static int open_follower(
	struct worker *worker, struct follower *follower, const struct annals_start *start)
{
	struct annals_error error = {0};
	int status;

	do {
		status = annals_consumer_open(worker->client,
			topic_name(worker->torture, follower->topic), start, NULL, TORTURE_CALL_MS,
			&follower->consumer, &error);
	} while (status != 0 && torture_outcome(status) == HISTORY_UNKNOWN &&
		 !worker_is_stopping(worker));
	if (status != 0) {
		follower->consumer = NULL;
		torture_problem(
			worker->torture, "client %u: cannot read: %s", worker->number, error.text);
	}
	follower->session++;
	follower->era = worker->torture->era;
	memset(follower->next, 0, sizeof(follower->next));
	return status;
}

int torture_describe(struct worker *worker, uint32_t number, uint64_t *ret_first,
	uint64_t *ret_ends, int timeout_ms)
{
	struct history_op op = worker_begin(worker, HISTORY_READ, 0);
	struct history_part parts[TORTURE_PARTITIONS];
	struct annals_topic *topic = NULL;
	struct annals_error error = {0};
	int status = annals_topic_describe(
		worker->client, topic_name(worker->torture, number), timeout_ms, &topic, &error);

	if (status != 0) {
		return status;
	}
	for (uint32_t i = 0; i < topic->partition_count && i < TORTURE_PARTITIONS; i++) {
		ret_first[i] = topic->partitions[i].first_offset;
		ret_ends[i] = topic->partitions[i].end_offset;
		parts[i] = (struct history_part){.topic = number,
			.partition = i,
			.start = ret_first[i],
			.end = ret_ends[i],
			.mask = HISTORY_PART_START | HISTORY_PART_END};
	}
	op.parts = parts;
	op.part_count = TORTURE_PARTITIONS;
	annals_topic_free(topic);
	end(worker, &op, 0);
	return 0;
}

/* From a place in the past, a few pages. */
static void replay(struct worker *worker, struct follower *follower)
{
	uint64_t first[TORTURE_PARTITIONS], ends[TORTURE_PARTITIONS];
	struct annals_position position = {
		.partition = (uint32_t)random_below(&worker->random, TORTURE_PARTITIONS)};
	struct annals_start start = {
		.kind = ANNALS_START_OFFSETS, .partitions = &position, .partition_count = 1};

	if (torture_describe(worker, 0, first, ends, TORTURE_CALL_MS) != 0 ||
		ends[position.partition] == first[position.partition]) {
		torture_sleep_ms(10);
		return;
	}
	position.offset =
		first[position.partition] +
		random_below(&worker->random, ends[position.partition] - first[position.partition]);
	if (open_follower(worker, follower, &start) != 0) {
		return;
	}
	follower->next[position.partition] = position.offset;
	for (unsigned i = 0;
		i < 20 && follower->next[position.partition] < ends[position.partition]; i++) {
		size_t count;
		if (follow(worker, follower, 100, &count) != 0) {
			break;
		}
	}
	annals_consumer_close(follower->consumer);
	follower->consumer = NULL;
}

static void read_pages(struct worker *worker)
{
	struct follower *follower = calloc(1, sizeof(*follower));

	while (follower != NULL && worker_gate(worker)) {
		replay(worker, follower);
	}
	if (follower != NULL) {
		buf_release(&follower->scratch);
	}
	free(follower);
}

/* ---- tails and committers ---- */

/* In CATCH_UP, once everything was read, they wait as well. False: the end. */
static bool tail_gate(struct worker *worker, const struct follower *follower)
{
	struct torture *torture = worker->torture;
	bool caught_up = true;

	(void)pthread_mutex_lock(&torture->mutex);
	for (uint32_t i = 0; i < TORTURE_PARTITIONS; i++) {
		caught_up = caught_up && follower->next[i] >= torture->ends[i];
	}
	enum torture_phase phase = torture->phase;
	(void)pthread_mutex_unlock(&torture->mutex);
	if (phase == TORTURE_STOP || (phase == TORTURE_CATCH_UP && caught_up)) {
		return worker_gate(worker);
	}
	return true;
}

static void commit(struct worker *worker, struct follower *follower)
{
	struct annals_offset offsets[TORTURE_PARTITIONS] = {0};
	struct history_part parts[TORTURE_PARTITIONS];
	char group[32];
	struct history_op op;
	int status;

	(void)snprintf(group, sizeof(group), "group-%u", worker->number);
	for (uint32_t i = 0; i < TORTURE_PARTITIONS; i++) {
		offsets[i] = (struct annals_offset){.topic = worker->torture->topic,
			.partition = i,
			.offset = follower->next[i]};
		parts[i] = (struct history_part){
			.partition = i, .offset = follower->next[i], .mask = HISTORY_PART_OFFSET};
	}
	op = worker_begin(worker, HISTORY_COMMIT, ++worker->next_request);
	op.mask = HISTORY_OP_GROUP;
	op.group = worker->number;
	op.parts = parts;
	op.part_count = TORTURE_PARTITIONS;
	status = annals_offsets_commit(
		worker->client, group, offsets, TORTURE_PARTITIONS, TORTURE_CALL_MS, NULL);
	end(worker, &op, status);
	follower->uncommitted = 0;
}

static void fetch_offsets(struct worker *worker, uint32_t number)
{
	struct history_part parts[TORTURE_PARTITIONS];
	struct annals_offset *offsets = NULL;
	struct history_op op;
	char group[32];
	size_t count = 0;

	(void)snprintf(group, sizeof(group), "group-%u", number);
	op = worker_begin(worker, HISTORY_FETCH, ++worker->next_request);
	if (annals_offsets_fetch(worker->client, group, worker->torture->topic, TORTURE_CALL_MS,
		    &offsets, &count, NULL) != 0) {
		return;
	}
	for (uint32_t i = 0; i < TORTURE_PARTITIONS; i++) {
		parts[i] = (struct history_part){.partition = i};
		for (size_t k = 0; k < count; k++) {
			if (offsets[k].partition == i) {
				parts[i].mask = HISTORY_PART_OFFSET;
				parts[i].offset = offsets[k].offset;
			}
		}
	}
	annals_offsets_free(offsets, count);
	op.mask = HISTORY_OP_GROUP;
	op.group = number;
	op.parts = parts;
	op.part_count = TORTURE_PARTITIONS;
	end(worker, &op, 0);
}

/* Follows the end of the log through everything; a committer also writes down how far it is. */
static void tail(struct worker *worker)
{
	static const struct annals_start start = {.kind = ANNALS_START_EARLIEST};
	struct follower *follower = calloc(1, sizeof(*follower));

	while (follower != NULL && tail_gate(worker, follower)) {
		size_t count = 0;
		if (follower->consumer == NULL || follower->era != worker->torture->era) {
			annals_consumer_close(follower->consumer);
			if (open_follower(worker, follower, &start) != 0) {
				break;
			}
		}
		if (follow(worker, follower, 50, &count) != 0) {
			break;
		}
		follower->uncommitted += count;
		if (worker->kind == WORKER_COMMITTER && follower->uncommitted > 100) {
			commit(worker, follower);
			if (random_below(&worker->random, 3) == 0) {
				fetch_offsets(worker, worker->number);
			}
		}
	}
	if (follower != NULL) {
		annals_consumer_close(follower->consumer);
		buf_release(&follower->scratch);
	}
	free(follower);
	/* A tail that ended early must not hold the others up. */
	while (worker_gate(worker)) {
		torture_sleep_ms(5);
	}
}

void *worker_main(void *arg)
{
	struct worker *worker = arg;

	worker->client = torture_connect(worker->torture);
	if (worker->client == NULL) {
		torture_problem(worker->torture, "no memory for a client");
		return NULL;
	}
	switch (worker->kind) {
	case WORKER_PRODUCER:
		produce(worker);
		break;
	case WORKER_READER:
		read_pages(worker);
		break;
	case WORKER_WRITER:
		writer_run(worker);
		break;
	case WORKER_MEMBER:
		member_run(worker);
		break;
	case WORKER_SEQUENCER:
		sequencer_run(worker);
		break;
	case WORKER_BROWSER:
		browser_run(worker);
		break;
	case WORKER_MIXER:
		mixer_run(worker);
		break;
	case WORKER_HANDLER:
		handler_run(worker);
		break;
	case WORKER_REGISTRAR:
		registrar_run(worker);
		break;
	case WORKER_GARDENER:
		gardener_run(worker);
		break;
	default:
		tail(worker);
		break;
	}
	annals_client_close(worker->client);
	return NULL;
}

/* Every event of a topic from the start; its ends. */
static void audit_topic(
	struct worker *worker, struct follower *follower, uint32_t topic, uint64_t *ret_ends)
{
	static const struct annals_start start = {.kind = ANNALS_START_EARLIEST};
	uint64_t first[TORTURE_PARTITIONS], read = 0, wanted = 0;
	uint64_t until_ns = clock_monotonic_ns() + UINT64_C(60000000000);
	int status = torture_describe(worker, topic, first, ret_ends, 30000);

	if (status != 0) {
		torture_problem(worker->torture, "the topic cannot be described: %s",
			annals_status_text(status));
		return;
	}
	for (uint32_t i = 0; i < TORTURE_PARTITIONS; i++) {
		wanted += ret_ends[i] - first[i];
	}
	follower->topic = topic;
	follower->session = clock_monotonic_ns(); /* unlike any before it */
	if (open_follower(worker, follower, &start) != 0) {
		return;
	}
	while (read < wanted) {
		size_t count = 0;
		if (follow(worker, follower, 1000, &count) != 0) {
			break;
		}
		read += count;
		if (clock_monotonic_ns() > until_ns) {
			torture_problem(worker->torture,
				"only %" PRIu64 " of %" PRIu64
				" events could be read back in a minute",
				read, wanted);
			break;
		}
	}
	annals_consumer_close(follower->consumer);
	follower->consumer = NULL;
}

void torture_audit(struct torture *torture, struct annals_client *client, uint64_t *ret_ends)
{
	struct worker worker = {.torture = torture, .number = 999, .client = client};
	struct follower *follower = calloc(1, sizeof(*follower));
	uint64_t ends[TORTURE_PARTITIONS];

	if (follower == NULL) {
		torture_problem(torture, "no memory to read the log back");
		return;
	}
	torture_wait_for_delayed(torture, DELAYED_MS_MAX);
	audit_topic(&worker, follower, 0, ret_ends);
	audit_topic(&worker, follower, TORTURE_SECOND, ends);
	for (uint32_t i = 0; i < torture->worker_count; i++) {
		if (torture->workers[i].kind == WORKER_COMMITTER) {
			fetch_offsets(&worker, torture->workers[i].number);
		}
	}
	buf_release(&follower->scratch);
	free(follower);
}
