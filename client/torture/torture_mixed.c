/*
 * Appends that are more than a batch to a topic, over HTTP: to two topics at once, all or nothing,
 * and of events that are due later.
 */
#include "torture_clients.h"
#include "torture_http.h"

#include <annals/clock.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define EVENTS_MAX 4u /* of each topic */
#define TOPICS 2u
#define DATA_BYTES_MAX 160u
#define DELAY_MS_MAX 300u
#define RETRIES_MAX 100u

struct planned {
	char id[48], key[16], data[DATA_BYTES_MAX + 1];
	uint32_t topic;
	uint64_t value;
};
struct mixer {
	struct worker *worker;
	struct http_connection http;
	struct planned events[TOPICS * EVENTS_MAX];
	uint32_t count;
	struct history_part parts[TOPICS * EVENTS_MAX];
	uint8_t values[TOPICS * EVENTS_MAX][TOPICS * EVENTS_MAX * 8];
	struct buf body, scratch;
};

static void plan_event(struct mixer *mixer, uint32_t topic)
{
	static const char digits[] = "0123456789abcdef";
	struct worker *worker = mixer->worker;
	struct planned *planned = &mixer->events[mixer->count++];
	size_t size = 1 + random_below(&worker->random, DATA_BYTES_MAX - 1);
	struct annals_event event;

	*planned = (struct planned){.topic = topic};
	for (size_t i = 0; i < size; i++) {
		planned->data[i] = digits[random_below(&worker->random, 16)];
	}
	(void)snprintf(planned->id, sizeof(planned->id), "%u-%u-%" PRIu64, worker->torture->era,
		worker->number, ++worker->next_event);
	(void)snprintf(planned->key, sizeof(planned->key), "key-%u",
		(unsigned)random_below(&worker->random, 50));
	event = (struct annals_event){.id = annals_text(planned->id),
		.type = annals_text("torture.mixed"),
		.key = annals_text(planned->key),
		.data = annals_text(planned->data)};
	planned->value = torture_value(&event, &mixer->scratch);
}

static int add_event(struct buf *body, const struct planned *planned, const char *due)
{
	return buf_printf(body,
		"{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/torture\",\"type\":"
		"\"torture.mixed\",\"partitionkey\":\"%s\",%s%s%s\"datacontenttype\":\"text/plain\""
		",\"data\":\"%s\"}",
		planned->id, planned->key, due != NULL ? "\"annalsdue\":\"" : "",
		due != NULL ? due : "", due != NULL ? "\"," : "", planned->data);
}

/* The parts: one for each partition of each topic; with the answer's runs, which cover the events
 * in their order, with offsets. False when the answer does not fit. */
static bool make_parts(struct mixer *mixer, const char *answer, uint32_t *ret_count)
{
	uint64_t partition = 0, offset = 0, left = 0;
	uint32_t count = 0;

	for (uint32_t i = 0; i < mixer->count; i++, left--, offset++) {
		const struct planned *planned = &mixer->events[i];
		uint32_t at = 0;
		if (answer == NULL) {
			partition = annals_partition_for_key(
				planned->key, strlen(planned->key), TORTURE_PARTITIONS);
			left = 1;
		} else if (left == 0) {
			answer = strstr(answer, "{\"partition\":");
			if (answer == NULL || !http_json_number(answer, "partition", &partition) ||
				!http_json_number(answer, "offset", &offset) ||
				!http_json_number(answer, "count", &left) || left == 0) {
				return false;
			}
			answer++;
		}
		while (at < count && (mixer->parts[at].topic != planned->topic ||
					     mixer->parts[at].partition != partition)) {
			at++;
		}
		struct history_part *part = &mixer->parts[at];
		if (at == count) {
			count++;
			*part = (struct history_part){.topic = planned->topic,
				.partition = (uint32_t)partition,
				.offset = offset,
				.values = mixer->values[at],
				.mask = HISTORY_PART_COUNT | HISTORY_PART_VALUES |
					(answer != NULL ? HISTORY_PART_OFFSET : 0)};
		} else if (answer != NULL && part->offset + part->count != offset) {
			return false;
		}
		store_u64(mixer->values[at] + (size_t)part->count++ * 8, planned->value);
	}
	*ret_count = count;
	return true;
}

static void record(struct mixer *mixer, struct history_op *op, const char *answer)
{
	op->return_ns = clock_monotonic_ns();
	op->parts = mixer->parts;
	if (!make_parts(mixer, answer, &op->part_count)) {
		torture_problem(mixer->worker->torture,
			"client %u: an answer to an append cannot be read: %.300s",
			mixer->worker->number, answer);
		return;
	}
	torture_record(mixer->worker->torture, op);
}

/* To both topics in one commit. */
static void append_to_both(struct mixer *mixer)
{
	struct worker *worker = mixer->worker;
	const struct torture *torture = worker->torture;
	const char *answer = "";
	char head[120];
	uint32_t at = 0, attempt = 0;
	int status = 0;

	buf_reset(&mixer->body);
	mixer->count = 0;
	for (uint32_t topic = 0; topic < TOPICS; topic++) {
		uint64_t count = 1 + random_below(&worker->random, EVENTS_MAX);
		status |= buf_printf(&mixer->body, "%s{\"topic\":\"%s\",\"events\":[",
			topic == 0 ? "{\"appends\":[" : ",",
			topic == TORTURE_SECOND ? torture->second : torture->topic);
		for (uint64_t i = 0; i < count; i++) {
			plan_event(mixer, topic);
			status |= i > 0 ? buf_add_text(&mixer->body, ",") : 0;
			status |= add_event(&mixer->body, &mixer->events[at++], NULL);
		}
		status |= buf_add_text(&mixer->body, "]}");
	}
	status |= buf_add_text(&mixer->body, "]}");
	(void)snprintf(head, sizeof(head),
		"Content-Type: application/json\r\nIdempotency-Key: \"%u-%u-%" PRIu64 "\"\r\n",
		torture->era, worker->number, ++worker->next_request);
	if (status != 0) {
		return;
	}
	for (bool again = true; again && attempt < RETRIES_MAX;) {
		struct history_op op = worker_begin(worker, HISTORY_APPEND, worker->next_request);
		op.attempt = ++attempt;
		op.mask = HISTORY_OP_IDEMPOTENT;
		status = http_ask(&mixer->http, "POST", "/v1/transactions", head,
			bytes_of(mixer->body.data, mixer->body.size), &answer);
		op.outcome = http_outcome(status, answer);
		record(mixer, &op, op.outcome == HISTORY_DONE ? answer : NULL);
		again = op.outcome == HISTORY_UNKNOWN || op.outcome == HISTORY_REFUSED;
		if (again) {
			atomic_fetch_add(&worker->torture->retries, 1);
			torture_sleep_ms(5);
		}
	}
}

/* RFC 3339, so many microseconds from now. */
static void due_text(uint64_t delay_us, char *ret, size_t size)
{
	uint64_t due_us = clock_wall_us() + delay_us;
	time_t seconds = (time_t)(due_us / 1000000);
	struct tm time;
	char text[32];

	(void)gmtime_r(&seconds, &time);
	(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &time);
	(void)snprintf(ret, size, "%s.%06uZ", text, (unsigned)(due_us % 1000000));
}

/* One event that is due later. Where ids are known it is sent until it is taken. */
static void append_later(struct mixer *mixer)
{
	struct worker *worker = mixer->worker;
	struct torture *torture = worker->torture;
	uint64_t delay_us = (20 + random_below(&worker->random, DELAY_MS_MAX)) * 1000;
	uint64_t due_ns = clock_monotonic_ns() + delay_us * 1000;
	char due[48], path[64];
	const char *answer = "";
	uint32_t attempt = 0;

	due_text(delay_us, due, sizeof(due));
	(void)snprintf(path, sizeof(path), "/v1/topics/%s/events", torture->topic);
	buf_reset(&mixer->body);
	mixer->count = 0;
	plan_event(mixer, 0);
	worker->next_request++;
	if (add_event(&mixer->body, &mixer->events[0], due) != 0) {
		return;
	}
	for (bool again = true; again && attempt < RETRIES_MAX;) {
		struct history_op op = worker_begin(worker, HISTORY_APPEND, worker->next_request);
		int status = http_ask(&mixer->http, "POST", path,
			"Content-Type: application/cloudevents+json\r\n",
			bytes_of(mixer->body.data, mixer->body.size), &answer);
		bool stored = status == 200; /* it was due already */
		op.attempt = ++attempt;
		op.outcome = http_outcome(status == 202 ? 200 : status, answer);
		op.mask = (torture->has_streams ? HISTORY_OP_IDEMPOTENT : 0) |
			  (stored ? 0 : HISTORY_OP_DELAYED);
		op.return_ns = clock_monotonic_ns();
		op.parts = mixer->parts;
		if (!make_parts(mixer, stored ? answer : NULL, &op.part_count)) {
			torture_problem(torture, "client %u: an answer cannot be read: %.300s",
				worker->number, answer);
			return;
		}
		mixer->parts[0].start = due_ns;
		mixer->parts[0].mask |= stored ? 0 : HISTORY_PART_START;
		mixer->parts[0].mask |= stored && strstr(answer, "\"replayed\":true") != NULL
						? HISTORY_PART_REPLAYED
						: 0;
		torture_record(torture, &op);
		again = torture->has_streams && op.outcome != HISTORY_DONE;
		if (op.outcome == HISTORY_CONFLICT) {
			torture_problem(torture,
				"client %u: a repeat of a delayed event got %.300s", worker->number,
				answer);
			return;
		}
		if (again) {
			atomic_fetch_add(&torture->retries, 1);
			torture_sleep_ms(5);
		}
	}
}

void mixer_run(struct worker *worker)
{
	struct mixer *mixer = calloc(1, sizeof(*mixer));

	if (mixer == NULL) {
		torture_problem(worker->torture, "no memory for a client");
		return;
	}
	mixer->worker = worker;
	http_connection_init(&mixer->http, worker->torture->server.http);
	while (worker_gate(worker)) {
		if (random_below(&worker->random, 3) == 0) {
			append_later(mixer);
		} else {
			append_to_both(mixer);
		}
	}
	http_connection_release(&mixer->http);
	buf_release(&mixer->body);
	buf_release(&mixer->scratch);
	free(mixer);
}

void torture_wait_for_delayed(struct torture *torture, unsigned timeout_ms)
{
	uint64_t until_ns = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	struct http_connection http;
	const char *answer = "", *line;
	uint64_t waiting = UINT64_MAX;

	http_connection_init(&http, torture->server.http);
	while (waiting > 0 && clock_monotonic_ns() < until_ns) {
		if (http_ask(&http, "GET", "/metrics", "", bytes_of(NULL, 0), &answer) == 200 &&
			(line = strstr(answer, "\nannals_delayed_events ")) != NULL) {
			waiting = strtoull(line + strlen("\nannals_delayed_events "), NULL, 10);
		}
		if (waiting > 0) {
			torture_sleep_ms(10);
		}
	}
	http_connection_release(&http);
	if (waiting == UINT64_MAX) {
		torture_problem(torture, "/metrics does not say how many events wait");
	} else if (waiting > 0) {
		torture_problem(torture,
			"%" PRIu64 " delayed events still waited %u ms after they were due",
			waiting, timeout_ms);
	}
}
