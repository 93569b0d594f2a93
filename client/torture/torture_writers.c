/*
 * Conditional writers, over HTTP: rivals that append to a few streams, each event under the
 * condition that the stream is what the writer last knew. A request whose outcome is unknown is
 * sent again with the same event id, and must get the first answer.
 */
#include "torture_clients.h"
#include "torture_http.h"

#include <annals/clock.h>
#include <inttypes.h>
#include <stdlib.h>

#define PAGE_EVENTS_MAX 50u
#define DATA_BYTES_MAX 240u
#define RETRIES_MAX 100u

struct writer {
	struct worker *worker;
	struct http_connection http;
	uint64_t next[TORTURE_STREAMS]; /* as last known */
	struct buf scratch;
	uint64_t session;
};

/* One event on its way, and the condition. */
struct attempt {
	char id[48], key[16], data[DATA_BYTES_MAX + 1], condition[64];
	uint64_t value, expected;
	uint32_t stream, number;
	bool expects, exists;
};

static int ask(struct writer *writer, const char *method, const char *path, const char *head,
	const char *data, const char **ret_body)
{
	struct buf *request = &writer->http.request;
	size_t size = data != NULL ? strlen(data) : 0;

	buf_reset(request);
	if (buf_printf(request,
		    "%s /v1/topics/%s/streams/%s HTTP/1.1\r\nHost: torture\r\n"
		    "Content-Length: %zu\r\n%s\r\n%s",
		    method, writer->worker->torture->topic, path, size, head,
		    data != NULL ? data : "") != 0) {
		return ANNALS_E_UNAVAILABLE;
	}
	return http_exchange(&writer->http, TORTURE_CALL_MS, ret_body);
}

static void plan(struct writer *writer, struct attempt *attempt)
{
	static const char digits[] = "0123456789abcdef";
	struct random *random = &writer->worker->random;
	/* Never none: then the line of an event would have no data. */
	size_t size = 1 + random_below(random, DATA_BYTES_MAX - 1);
	unsigned kind = (unsigned)random_below(random, 8);

	*attempt = (struct attempt){.stream = (uint32_t)random_below(random, TORTURE_STREAMS)};
	attempt->expected = writer->next[attempt->stream];
	for (size_t i = 0; i < size; i++) {
		attempt->data[i] = digits[random_below(random, 16)];
	}
	(void)snprintf(attempt->key, sizeof(attempt->key), TORTURE_STREAM_KEY, attempt->stream);
	(void)snprintf(attempt->id, sizeof(attempt->id), "%u-%u-%" PRIu64,
		writer->worker->torture->era, writer->worker->number, ++writer->worker->next_event);
	if (kind == 0) {
		return; /* without a condition */
	}
	attempt->exists = kind == 1;
	attempt->expects = kind > 1;
	if (attempt->exists) {
		(void)snprintf(attempt->condition, sizeof(attempt->condition),
			"Annals-Expected-Version: exists\r\n");
	} else if (attempt->expected == 0) {
		(void)snprintf(
			attempt->condition, sizeof(attempt->condition), "If-None-Match: *\r\n");
	} else {
		(void)snprintf(attempt->condition, sizeof(attempt->condition),
			"Annals-Expected-Version: %" PRIu64 "\r\n", attempt->expected - 1);
	}
	return;
}

/* What the answer says, into the record and into what the writer knows. */
static void learn(struct writer *writer, const struct attempt *attempt, const char *body,
	enum history_outcome outcome, struct history_part *part)
{
	uint64_t version;

	if (outcome == HISTORY_DONE && http_json_number(body, "offset", &part->offset) &&
		http_json_number(body, "version", &part->version)) {
		part->mask |= HISTORY_PART_OFFSET | HISTORY_PART_VERSION;
		part->mask |= strstr(body, "\"replayed\":true") ? HISTORY_PART_REPLAYED : 0;
		writer->next[attempt->stream] = part->version + 1;
	} else if (outcome == HISTORY_CONFLICT) {
		version = 0;
		if (http_json_number(body, "currentVersion", &version)) {
			version++;
		}
		part->version = version;
		part->mask |= HISTORY_PART_VERSION;
		writer->next[attempt->stream] = version;
	}
}

static enum history_outcome send_once(struct writer *writer, struct attempt *attempt)
{
	uint8_t value[8];
	char head[400];
	const char *body = "";
	struct history_op op =
		worker_begin(writer->worker, HISTORY_APPEND, writer->worker->next_request);
	struct history_part part = {.partition = annals_partition_for_key(
					    attempt->key, strlen(attempt->key), TORTURE_PARTITIONS),
		.stream = history_stream(attempt->key, strlen(attempt->key)),
		.expected = attempt->expected,
		.count = 1,
		.values = value,
		.mask = HISTORY_PART_STREAM | HISTORY_PART_VALUES | HISTORY_PART_COUNT |
			(attempt->expects ? HISTORY_PART_EXPECTED : 0) |
			(attempt->exists ? HISTORY_PART_EXISTS : 0)};
	int status;

	(void)snprintf(head, sizeof(head),
		"ce-specversion: 1.0\r\nce-id: %s\r\nce-source: /torture\r\nce-type: torture\r\n"
		"Content-Type: text/plain\r\n%s",
		attempt->id, attempt->condition);
	store_u64(value, attempt->value);
	status = ask(writer, "POST", attempt->key, head, attempt->data, &body);
	op.attempt = ++attempt->number;
	op.mask |= HISTORY_OP_IDEMPOTENT;
	op.outcome = http_outcome(status, body);
	op.parts = &part;
	op.part_count = 1;
	learn(writer, attempt, body, op.outcome, &part);
	op.return_ns = clock_monotonic_ns();
	torture_record(writer->worker->torture, &op);
	return op.outcome;
}

static void append(struct writer *writer)
{
	struct attempt attempt;
	struct annals_event event;
	enum history_outcome outcome;

	plan(writer, &attempt);
	event = (struct annals_event){.id = annals_text(attempt.id),
		.type = annals_text("torture"),
		.key = annals_text(attempt.key),
		.data = annals_text(attempt.data)};
	attempt.value = torture_value(&event, &writer->scratch);
	writer->worker->next_request++;
	outcome = send_once(writer, &attempt);
	while (outcome != HISTORY_DONE && outcome != HISTORY_CONFLICT &&
		attempt.number < RETRIES_MAX) {
		torture_sleep_ms(5);
		atomic_fetch_add(&writer->worker->torture->retries, 1);
		outcome = send_once(writer, &attempt);
	}
}

/* The stream's head: where it ends. */
static void look(struct writer *writer, uint32_t stream)
{
	struct history_op op = worker_begin(writer->worker, HISTORY_READ, ++writer->session);
	struct history_part part = {.mask = HISTORY_PART_STREAM | HISTORY_PART_END};
	const char *body = "";
	char key[16];
	int status;

	(void)snprintf(key, sizeof(key), TORTURE_STREAM_KEY, stream);
	status = ask(writer, "GET", key, "", NULL, &body);
	if (status == 200 && http_json_number(body, "version", &part.end)) {
		part.end++;
	} else if (status != 404 || strstr(body, "never had an event") == NULL) {
		return;
	}
	part.partition = annals_partition_for_key(key, strlen(key), TORTURE_PARTITIONS);
	part.stream = history_stream(key, strlen(key));
	op.parts = &part;
	op.part_count = 1;
	op.return_ns = clock_monotonic_ns();
	torture_record(writer->worker->torture, &op);
	writer->next[stream] = part.end;
}

/* A page of a stream somewhere in its past. */
static void read_page(struct writer *writer, uint32_t stream)
{
	struct history_op op = worker_begin(writer->worker, HISTORY_READ, ++writer->session);
	struct history_part part = {.mask = HISTORY_PART_STREAM | HISTORY_PART_VERSION |
					    HISTORY_PART_VALUES | HISTORY_PART_COUNT};
	uint8_t values[PAGE_EVENTS_MAX * 8];
	const char *body = "";
	char path[64], key[16];

	(void)snprintf(key, sizeof(key), TORTURE_STREAM_KEY, stream);
	part.version = random_below(&writer->worker->random, writer->next[stream] + 1);
	(void)snprintf(path, sizeof(path), "%s/events?version=%" PRIu64 "&limit=%u", key,
		part.version, PAGE_EVENTS_MAX);
	if (ask(writer, "GET", path, "", NULL, &body) != 200) {
		return;
	}
	for (const char *line = body; *line != 0 && part.count < PAGE_EVENTS_MAX;) {
		struct annals_event event = {.id = http_json_text(line, "id"),
			.type = http_json_text(line, "type"),
			.key = http_json_text(line, "partitionkey"),
			.data = http_json_text(line, "data")};
		uint64_t version = 0;
		if (!http_json_number(line, "annalsversion", &version) ||
			version != part.version + part.count) {
			torture_problem(writer->worker->torture,
				"client %u: a page of stream %s holds version %" PRIu64
				" where %" PRIu64 " belongs",
				writer->worker->number, key, version, part.version + part.count);
			return;
		}
		store_u64(
			values + (size_t)part.count++ * 8, torture_value(&event, &writer->scratch));
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	part.partition = annals_partition_for_key(key, strlen(key), TORTURE_PARTITIONS);
	part.stream = history_stream(key, strlen(key));
	part.values = values;
	op.parts = &part;
	op.part_count = 1;
	op.return_ns = clock_monotonic_ns();
	torture_record(writer->worker->torture, &op);
}

void writer_run(struct worker *worker)
{
	struct writer *writer = calloc(1, sizeof(*writer));
	unsigned era = worker->torture->era;

	if (writer == NULL) {
		torture_problem(worker->torture, "no memory for a writer");
		return;
	}
	writer->worker = worker;
	http_connection_init(&writer->http, worker->torture->server.http);
	while (worker_gate(worker)) {
		uint32_t stream = (uint32_t)random_below(&worker->random, TORTURE_STREAMS);
		if (era != worker->torture->era) {
			era = worker->torture->era;
			memset(writer->next, 0, sizeof(writer->next));
		}
		if (!worker->torture->has_streams) {
			torture_sleep_ms(20);
		} else if (random_below(&worker->random, 20) == 0) {
			look(writer, stream);
		} else if (random_below(&worker->random, 20) == 0) {
			read_page(writer, stream);
		} else {
			append(writer);
		}
	}
	http_connection_release(&writer->http);
	buf_release(&writer->scratch);
	free(writer);
}
