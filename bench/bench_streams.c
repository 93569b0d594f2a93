/*
 * What streams, dedupe and expected versions cost the store, without a network, with fsync on the
 * file journal:
 *
 *   bench-streams DIR [seconds, default 5] [streams, default 1000000]
 *
 *   plain      batches of 100 events of about 100 bytes, 32 in flight, to a topic without indexes
 *   versions   the same to a topic with streams
 *   expected   one event and the version that its stream must have, 2,000 in flight, against
 *   single     the same without streams
 *   dedupe     batches of 100 events with ids, to a topic that stores each once
 *
 * DIR is created and must not hold a store. Bodies are made while the clock runs, in all of them.
 */
#include <annals/clock.h>
#include <annals/column.h>
#include <annals/crc32c.h>
#include <annals/hash.h>
#include <annals/storage.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS 8u
#define BATCH 100u
#define BATCHES_IN_FLIGHT 32u
#define SINGLES_IN_FLIGHT 2000u
#define DATA_BYTES 56

struct scenario {
	const char *name;
	uint32_t batch, in_flight;
	bool streams, expected, dedupe, ids;
};

/* One append on its way, and its stream when a version is expected. */
struct flight {
	struct append_request request; /* first: the request comes back */
	struct buf body;
	struct stream_condition condition;
	char key[24];
	uint32_t stream;
};

static struct store *store;
static struct completion_queue queue;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static bool notified;
static uint64_t next_id, stream_count;
static uint32_t *versions; /* next of each stream; UINT32_MAX: an append is on its way */
static struct random numbers = {.state = 1};

static void die(const char *what, const struct error *err)
{
	(void)fprintf(stderr, "bench-streams: %s: %s\n", what, err->text);
	exit(1);
}

static void notify(void *arg)
{
	(void)arg;
	(void)pthread_mutex_lock(&mutex);
	notified = true;
	(void)pthread_cond_signal(&filled);
	(void)pthread_mutex_unlock(&mutex);
}

static void wait_some(struct list_node *back)
{
	for (;;) {
		completion_queue_take(&queue, back);
		if (!list_is_empty(back)) {
			return;
		}
		(void)pthread_mutex_lock(&mutex);
		while (!notified) {
			(void)pthread_cond_wait(&filled, &mutex);
		}
		notified = false;
		(void)pthread_mutex_unlock(&mutex);
	}
}

static void add_event(struct buf *body, const struct scenario *scenario, const char *key)
{
	static const uint8_t data[DATA_BYTES];
	char id[24] = "";
	struct record record = {.source = bytes_text("/bench"),
		.type = bytes_text("bench"),
		.has_key = true,
		.key = bytes_text(key),
		.has_data = true,
		.data = bytes_of(data, sizeof(data))};

	if (scenario->ids) {
		(void)snprintf(id, sizeof(id), "%llu", (unsigned long long)next_id++);
	}
	record.id = bytes_text(id);
	if (record_encode_in_batch(&record, body) != 0) {
		exit(1);
	}
}

/* A stream in this partition, with no append on its way when its version matters. */
static uint32_t pick(const struct scenario *scenario, uint32_t partition, char key[24])
{
	for (;;) {
		uint32_t stream = (uint32_t)random_below(&numbers, stream_count);
		(void)snprintf(key, 24, "stream-%u", stream);
		if (record_partition(bytes_text(key), PARTITIONS) == partition &&
			!(scenario->expected && versions[stream] == UINT32_MAX)) {
			return stream;
		}
	}
}

static void submit(const struct scenario *scenario, struct flight *flight, uint32_t topic_id)
{
	struct append_request *request = &flight->request;
	struct batch_limits limits = {0};
	struct buf scratch = BUF_INIT;
	struct error err = {0};
	uint32_t partition = (uint32_t)random_below(&numbers, PARTITIONS);

	append_request_release(request);
	memset(request, 0, sizeof(*request));
	buf_reset(&flight->body);
	for (uint32_t i = 0; i < scenario->batch; i++) {
		flight->stream = pick(scenario, partition, flight->key);
		add_event(&flight->body, scenario, flight->key);
	}
	request->base.operation = STORE_APPEND;
	request->base.queue = &queue;
	request->topic_id = topic_id;
	request->durability = DURABILITY_DEFAULT;
	request->parts = &request->one_part;
	request->part_count = 1;
	request->one_part.partition = partition;
	request->one_part.body = buf_bytes(&flight->body);
	request->one_part.body_crc = crc32c(0, flight->body.data, flight->body.size);
	if (batch_check_body(request->one_part.body, BATCH_PLAIN, &limits, &scratch,
		    &request->one_part.summary, &err) != 0) {
		die("body", &err);
	}
	if (scenario->expected) {
		uint32_t version = versions[flight->stream];
		flight->condition = (struct stream_condition){.key = bytes_text(flight->key),
			.expect = version == 0 ? STREAM_NONE : STREAM_VERSION,
			.version = version == 0 ? 0 : version - 1};
		versions[flight->stream] = UINT32_MAX;
		request->stream_conditions = &flight->condition;
		request->stream_condition_count = 1;
	}
	if (store_submit(store, &request->base, &err) != 0) {
		die("submit", &err);
	}
}

static void note_back(const struct scenario *scenario, struct flight *flight)
{
	if (flight->request.base.status != 0) {
		die(scenario->name, &flight->request.base.error);
	}
	if (scenario->expected) {
		versions[flight->stream] = (uint32_t)flight->request.one_part.first_version + 1;
	}
}

static uint32_t make_topic(const struct scenario *scenario)
{
	struct topic_request request = {.base.operation = STORE_TOPIC_CREATE};
	struct list_node back;

	list_init(&back);
	request.base.queue = &queue;
	request.config.partitions = PARTITIONS;
	request.config.streams = scenario->streams;
	request.config.dedupe_age_us = scenario->dedupe ? UINT64_C(86400000000) : 0;
	(void)snprintf(request.name, sizeof(request.name), "%s", scenario->name);
	if (store_submit(store, &request.base, &request.base.error) != 0) {
		die("topic", &request.base.error);
	}
	wait_some(&back);
	if (request.base.status != 0) {
		die("topic", &request.base.error);
	}
	uint32_t id = request.topic->id;
	topic_unref(request.topic);
	return id;
}

static void run(const struct scenario *scenario, double seconds)
{
	struct flight *flights = calloc(scenario->in_flight, sizeof(*flights));
	uint32_t topic_id = make_topic(scenario), in_flight = scenario->in_flight;
	uint64_t events = 0, start_ns = clock_monotonic_ns(), now_ns = start_ns;
	uint64_t end_ns = start_ns + (uint64_t)(seconds * 1e9), longest_ns = 0, last_ns = start_ns;
	struct store_stats before, after;

	memset(versions, 0, stream_count * sizeof(*versions));
	store_stats(store, &before);
	for (uint32_t i = 0; i < in_flight; i++) {
		submit(scenario, &flights[i], topic_id);
	}
	while (in_flight > 0) {
		struct list_node back, *node;
		list_init(&back);
		wait_some(&back);
		now_ns = clock_monotonic_ns();
		longest_ns = ANNALS_MAX(longest_ns, now_ns - last_ns);
		last_ns = now_ns;
		while ((node = list_pop(&back)) != NULL) {
			struct flight *flight = LIST_ENTRY(node, struct flight, request.base.node);
			note_back(scenario, flight);
			events += scenario->batch;
			if (now_ns < end_ns) {
				submit(scenario, flight, topic_id);
			} else {
				in_flight--;
			}
		}
	}
	store_stats(store, &after);
	(void)printf("%-9s %8.0f events/s, longest wait %4.0f ms, %llu flushes and %llu merges\n",
		scenario->name, (double)events / ((double)(now_ns - start_ns) / 1e9),
		(double)longest_ns / 1e6,
		(unsigned long long)(after.index_flushes - before.index_flushes),
		(unsigned long long)(after.index_merges - before.index_merges));
	(void)fflush(stdout);
	for (uint32_t i = 0; i < scenario->in_flight; i++) {
		append_request_release(&flights[i].request);
		buf_release(&flights[i].body);
	}
	free(flights);
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{.name = "plain", .batch = BATCH, .in_flight = BATCHES_IN_FLIGHT, .ids = true},
		{.name = "versions",
			.batch = BATCH,
			.in_flight = BATCHES_IN_FLIGHT,
			.ids = true,
			.streams = true},
		{.name = "dedupe",
			.batch = BATCH,
			.in_flight = BATCHES_IN_FLIGHT,
			.ids = true,
			.dedupe = true},
		{.name = "single", .batch = 1, .in_flight = SINGLES_IN_FLIGHT, .ids = true},
		{.name = "expected",
			.batch = 1,
			.in_flight = SINGLES_IN_FLIGHT,
			.ids = true,
			.streams = true,
			.expected = true},
	};
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 5;
	struct store_options options;
	struct error err = {0};

	stream_count = argc > 3 ? strtoull(argv[3], NULL, 10) : 1000000;
	if (argc < 2 || seconds <= 0 || stream_count < 10 * SINGLES_IN_FLIGHT ||
		stream_count > 1000000000) {
		(void)fprintf(stderr, "usage: bench-streams DIR [SECONDS] [STREAMS]\n");
		return 2;
	}
	versions = calloc(stream_count, sizeof(*versions));
	completion_queue_init(&queue, notify, NULL);
	store_options_init(&options);
	options.data_dir = argv[1];
	if (versions == NULL || store_open(&options, &store, &err) != 0) {
		die("open", &err);
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(scenarios); i++) {
		if (argc < 5 || strcmp(argv[4], scenarios[i].name) == 0) {
			run(&scenarios[i], seconds);
		}
	}
	store_close(store);
	completion_queue_release(&queue);
	free(versions);
	return 0;
}
