/*
 * What the store does without a network, with fsync on the file journal:
 *
 *   bench-storage DIR [seconds]
 *
 *   closed loop   64 threads, one append of one 100-byte event in flight each
 *   pipelined     one thread, batches of 500 x 100 bytes, 16 in flight
 *   scattered     64 one-event appends per request over 1,000 partitions against 1
 *   replay        one reader, pages of 256 KiB: from the tail, and from LMDB
 *
 * DIR is created and must not hold a store. Bodies are made before the clock starts;
 * batch_check_body() is not part of it.
 */
#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/histogram.h>
#include <annals/storage.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA_BYTES 64 /* with id, source and type an event of 100 bytes */
#define THREADS_MAX 64
#define DEPTH_MAX 16

static struct store *store;
static atomic_bool stop;

struct worker {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool notified;
	struct completion_queue queue;
	uint32_t topic_id, partitions, parts, batch, depth;
	uint64_t events;
	struct histogram latency;
};

static void die(const char *what, const struct error *err)
{
	(void)fprintf(stderr, "%s: %s\n", what, err->text);
	exit(1);
}

static void notify(void *arg)
{
	struct worker *worker = arg;
	(void)pthread_mutex_lock(&worker->mutex);
	worker->notified = true;
	(void)pthread_cond_signal(&worker->cond);
	(void)pthread_mutex_unlock(&worker->mutex);
}

static void worker_init(struct worker *worker)
{
	memset(worker, 0, sizeof(*worker));
	(void)pthread_mutex_init(&worker->mutex, NULL);
	(void)pthread_cond_init(&worker->cond, NULL);
	completion_queue_init(&worker->queue, notify, worker);
}

static void wait_some(struct worker *worker, struct list_node *back)
{
	for (;;) {
		completion_queue_take(&worker->queue, back);
		if (!list_is_empty(back)) {
			return;
		}
		(void)pthread_mutex_lock(&worker->mutex);
		while (!worker->notified) {
			(void)pthread_cond_wait(&worker->cond, &worker->mutex);
		}
		worker->notified = false;
		(void)pthread_mutex_unlock(&worker->mutex);
	}
}

static void make_body(struct buf *body, uint32_t count, struct batch_summary *ret)
{
	struct batch_limits limits = {0};
	struct buf scratch = BUF_INIT;
	struct error err = {0};
	uint8_t data[DATA_BYTES];
	memset(data, 'x', sizeof(data));
	for (uint32_t i = 0; i < count; i++) {
		char id[16];
		(void)snprintf(id, sizeof(id), "%010u", i);
		struct record record = {.id = bytes_text(id),
			.source = bytes_text("/bench"),
			.type = bytes_text("bench.event"),
			.has_data = true,
			.data = bytes_of(data, sizeof(data))};
		if (record_encode_in_batch(&record, body) != 0) {
			exit(1);
		}
	}
	if (batch_check_body(buf_bytes(body), BATCH_PLAIN, &limits, &scratch, ret, &err) != 0) {
		die("body", &err);
	}
	buf_release(&scratch);
}

struct flight {
	struct append_request request; /* first: the request comes back */
	struct append_part *parts;
	uint64_t start_ns;
};

static void submit(struct worker *worker, struct flight *flight, uint64_t *next)
{
	struct error err = {0};
	struct append_request *request = &flight->request;
	request->base.operation = STORE_APPEND;
	request->base.queue = &worker->queue;
	request->topic_id = worker->topic_id;
	request->durability = DURABILITY_DEFAULT;
	for (uint32_t i = 0; i < worker->parts; i++) {
		flight->parts[i].partition = (uint32_t)((*next)++ * 617 % worker->partitions);
	}
	flight->start_ns = clock_monotonic_ns();
	if (store_submit(store, &request->base, &err) != 0) {
		die("submit", &err);
	}
}

static void *append_main(void *arg)
{
	struct worker *worker = arg;
	struct flight *flights = calloc(worker->depth, sizeof(*flights));
	struct buf body = BUF_INIT;
	struct batch_summary summary;
	uint64_t next = (uint64_t)(uintptr_t)worker % 1009;
	uint32_t in_flight = 0;
	make_body(&body, worker->batch, &summary);
	uint32_t crc = crc32c(0, body.data, body.size);
	for (uint32_t d = 0; d < worker->depth; d++) {
		struct flight *flight = &flights[d];
		flight->parts = calloc(worker->parts, sizeof(*flight->parts));
		flight->request.parts = flight->parts;
		flight->request.part_count = worker->parts;
		for (uint32_t i = 0; i < worker->parts; i++) {
			flight->parts[i] = (struct append_part){
				.body = buf_bytes(&body), .body_crc = crc, .summary = summary};
		}
		submit(worker, flight, &next);
		in_flight++;
	}
	while (in_flight > 0) {
		struct list_node back, *node;
		list_init(&back);
		wait_some(worker, &back);
		while ((node = list_pop(&back)) != NULL) {
			struct flight *flight = LIST_ENTRY(node, struct flight, request.base.node);
			if (flight->request.base.status != 0) {
				die("append", &flight->request.base.error);
			}
			histogram_add(&worker->latency, clock_monotonic_ns() - flight->start_ns);
			worker->events += (uint64_t)worker->batch * worker->parts;
			if (stop) {
				in_flight--;
			} else {
				submit(worker, flight, &next);
			}
		}
	}
	for (uint32_t d = 0; d < worker->depth; d++) {
		free(flights[d].parts);
	}
	free(flights);
	buf_release(&body);
	return NULL;
}

static uint32_t make_topic(const char *name, uint32_t partitions)
{
	static struct worker worker;
	struct topic_request request = {.base.operation = STORE_TOPIC_CREATE};
	struct list_node back;
	worker_init(&worker);
	list_init(&back);
	request.base.queue = &worker.queue;
	request.config.partitions = partitions;
	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	if (store_submit(store, &request.base, &request.base.error) != 0) {
		die("topic", &request.base.error);
	}
	wait_some(&worker, &back);
	if (request.base.status != 0) {
		die("topic", &request.base.error);
	}
	uint32_t id = request.topic->id;
	topic_unref(request.topic);
	return id;
}

static long private_kib(void)
{
	long size = 0, resident = 0, shared = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (file != NULL) {
		if (fscanf(file, "%ld %ld %ld", &size, &resident, &shared) != 3) {
			resident = shared = 0;
		}
		(void)fclose(file);
	}
	return (resident - shared) * 4;
}

static uint32_t run(const char *name, uint32_t threads, uint32_t depth, uint32_t batch,
	uint32_t parts, uint32_t partitions, unsigned seconds)
{
	static struct worker workers[THREADS_MAX];
	static struct histogram latency;
	struct store_stats before, after;
	uint32_t topic_id = make_topic(name, partitions);
	uint64_t events = 0;
	memset(&latency, 0, sizeof(latency));
	stop = false;
	store_stats(store, &before);
	uint64_t start_ns = clock_monotonic_ns();
	for (uint32_t i = 0; i < threads; i++) {
		struct worker *worker = &workers[i];
		worker_init(worker);
		worker->topic_id = topic_id;
		worker->partitions = partitions;
		worker->parts = parts;
		worker->batch = batch;
		worker->depth = depth;
		if (pthread_create(&worker->thread, NULL, append_main, worker) != 0) {
			exit(1);
		}
	}
	(void)sleep(seconds);
	stop = true;
	for (uint32_t i = 0; i < threads; i++) {
		(void)pthread_join(workers[i].thread, NULL);
		events += workers[i].events;
		histogram_merge(&latency, &workers[i].latency);
	}
	double elapsed = (double)(clock_monotonic_ns() - start_ns) / 1e9;
	store_stats(store, &after);
	uint64_t commits = after.commits - before.commits;
	(void)printf("%-12s %9.0f events/s  %7.0f requests/s  p50 %6.2f ms  p99 %6.2f ms  "
		     "%5.0f commits/s  sync %4.0f us  tail %2llu MiB  private %ld MiB\n",
		name, (double)events / elapsed, (double)latency.total / elapsed,
		(double)histogram_percentile(&latency, 50) / 1e6,
		(double)histogram_percentile(&latency, 99) / 1e6, (double)commits / elapsed,
		(double)(after.sync_ns_total - before.sync_ns_total) / 1e3 /
			(double)(commits ? commits : 1),
		(unsigned long long)(after.tail_bytes >> 20), private_kib() >> 10);
	return topic_id;
}

static void replay(const char *name, uint32_t topic_id, uint64_t from, uint64_t to)
{
	struct read_request page = {
		.base.operation = STORE_READ, .topic_id = topic_id, .bytes_max = 256u << 10};
	uint64_t offset = from, bytes = 0, start_ns = clock_monotonic_ns();
	while (offset < to) {
		buf_reset(&page.batches);
		page.offset = offset;
		(void)store_read(store, &page.base, 0);
		if (page.base.status != 0) {
			die("read", &page.base.error);
		}
		offset = page.next_offset;
		bytes += page.batches.size;
	}
	double elapsed = (double)(clock_monotonic_ns() - start_ns) / 1e9;
	(void)printf("%-12s %9.0f events/s  %7.0f MB/s  (%llu events)\n", name,
		(double)(offset - from) / elapsed, (double)bytes / elapsed / 1e6,
		(unsigned long long)(offset - from));
	buf_release(&page.batches);
}

int main(int argc, char **argv)
{
	struct store_options options;
	struct partition_info info;
	struct error err = {0};
	unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 3;
	if (argc < 2) {
		(void)fprintf(stderr, "usage: bench-storage DIR [seconds]\n");
		return 2;
	}
	store_options_init(&options);
	options.data_dir = argv[1];
	if (store_open(&options, &store, &err) != 0) {
		die("open", &err);
	}
	(void)run("closed-loop", 64, 1, 1, 1, 1, seconds);
	(void)run("over-1000", 1, 4, 1, 64, 1000, seconds);
	(void)run("over-1", 1, 4, 1, 64, 1, seconds);
	uint32_t topic_id = run("pipelined", 1, DEPTH_MAX, 500, 1, 1, seconds);
	if (store_partition_info(store, topic_id, 0, &info) != 0) {
		return 1;
	}
	uint64_t tail = ANNALS_MIN(info.end_offset, 100000);
	for (int i = 0; i < 2; i++) {
		replay("from-tail", topic_id, info.end_offset - tail, info.end_offset);
		replay("from-lmdb", topic_id, 0, info.end_offset / 2);
	}
	store_close(store);
	return 0;
}
