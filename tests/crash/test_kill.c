/*
 * kill -9: a child appends from several threads and tells its parent, after each answer, what was
 * acknowledged. The parent kills it at a random time, or the child dies at a named fault point;
 * then the parent opens the store and asks for every acknowledged batch: same offset, same bytes,
 * offsets dense, and nothing twice.
 *
 *   test_kill [rounds]           50 rounds at random times, and one or more for every fault point
 * that a life passes
 *
 * The page cache survives kill -9, so this proves ordering and recovery, not the disk's promises.
 */
#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/fault.h>
#include <annals/hash.h>
#include <annals/storage.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PARTITIONS 4u
#define THREADS 4
#define LIFE_MS 400
#define POINTS_MAX 128

/* One acknowledged batch, through the pipe; smaller than PIPE_BUF, so whole or not at all. */
struct receipt {
	uint32_t topic_id, partition;
	uint64_t base_offset, recorded_us;
	uint32_t count, body_crc;
};

static char dir[] = "/tmp/annals-crash-XXXXXX";
static struct store *store;
static int pipe_fd;

#define DIE(...)                                                                                   \
	do {                                                                                       \
		(void)fprintf(stderr, __VA_ARGS__);                                                \
		(void)fprintf(stderr, "\n");                                                       \
		exit(1);                                                                           \
	} while (0)

static void open_store(void)
{
	struct store_options options;
	struct error err = {0};
	store_options_init(&options);
	options.data_dir = dir;
	options.journal_segment_bytes = 16u << 20;
	options.map_bytes = UINT64_C(4) << 30;
	options.tail_bytes_max = 1u << 20;
	options.disk_reserve_bytes = 0;
	options.retention_interval_us = 20000;
	if (store_open(&options, &store, &err) != 0) {
		DIE("cannot open: %s", err.text);
	}
}

/* ---- The child ---- */

struct worker {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool notified;
	struct completion_queue queue;
	uint64_t seed;
};

static void notify(void *arg)
{
	struct worker *worker = arg;
	(void)pthread_mutex_lock(&worker->mutex);
	worker->notified = true;
	(void)pthread_cond_signal(&worker->cond);
	(void)pthread_mutex_unlock(&worker->mutex);
}

static int run(struct worker *worker, struct store_request *request)
{
	struct list_node back;
	list_init(&back);
	request->queue = &worker->queue;
	int status = store_submit(store, request, &request->error);
	if (status != 0) {
		return status;
	}
	while (list_is_empty(&back)) {
		completion_queue_take(&worker->queue, &back);
		(void)pthread_mutex_lock(&worker->mutex);
		while (list_is_empty(&back) && !worker->notified) {
			(void)pthread_cond_wait(&worker->cond, &worker->mutex);
		}
		worker->notified = false;
		(void)pthread_mutex_unlock(&worker->mutex);
	}
	(void)list_pop(&back);
	return request->status;
}

static void make_body(struct random *random, struct buf *body, struct append_part *part)
{
	struct error err = {0};
	struct buf scratch = BUF_INIT;
	struct batch_limits limits = {0};
	static _Thread_local uint8_t data[90000];
	uint32_t count = 1 + (uint32_t)random_below(random, 12);
	bool large = random_below(random, 40) == 0;
	buf_reset(body);
	for (uint32_t i = 0; i < count; i++) {
		size_t size = random_below(random, large ? sizeof(data) : 400);
		for (size_t at = 0; at + 8 <= size; at += 8) {
			store_u64(data + at, random_next(random));
		}
		struct record record = {.id = bytes_text("x"),
			.source = bytes_text("/crash"),
			.type = bytes_text("crash.test"),
			.has_data = true,
			.data = bytes_of(data, size)};
		if (record_encode_in_batch(&record, body) != 0) {
			DIE("no memory");
		}
	}
	memset(part, 0, sizeof(*part));
	if (batch_check_body(
		    buf_bytes(body), BATCH_PLAIN, &limits, &scratch, &part->summary, &err) != 0) {
		DIE("body: %s", err.text);
	}
	buf_release(&scratch);
	part->body = buf_bytes(body);
	part->body_crc = crc32c(0, body->data, body->size);
}

static void acknowledge(const struct append_request *request)
{
	for (size_t i = 0; i < request->part_count; i++) {
		const struct append_part *part = &request->parts[i];
		struct receipt receipt = {request->topic_id, part->partition, part->base_offset,
			request->recorded_us, part->summary.count, part->body_crc};
		if (write(pipe_fd, &receipt, sizeof(receipt)) != (ssize_t)sizeof(receipt)) {
			_exit(0);
		}
	}
}

static uint32_t topic_of(struct worker *worker, const char *name)
{
	struct topic_request request = {.base.operation = STORE_TOPIC_CREATE};
	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	request.config.partitions = PARTITIONS;
	if (run(worker, &request.base) != 0) {
		DIE("topic: %s", request.base.error.text);
	}
	uint32_t id = request.topic->id;
	topic_unref(request.topic);
	return id;
}

/* Beside the appends: topics that come and go, trims of a topic that nobody checks, offsets. */
static void disturb(struct worker *worker, struct random *random)
{
	char name[32];
	(void)snprintf(name, sizeof(name), "passing-%llu", (unsigned long long)worker->seed % 3);
	uint32_t id = topic_of(worker, name);
	struct partition_info info;
	if (store_partition_info(store, id, 0, &info) != 0) {
		return;
	}
	struct offset_entry entry = {.topic_id = id, .offset = info.end_offset};
	struct offset_request commit = {.base.operation = STORE_OFFSET_COMMIT,
		.group = "g",
		.entries = &entry,
		.entry_count = 1};
	(void)run(worker, &commit.base);
	struct buf body = BUF_INIT;
	struct append_request append = {
		.base.operation = STORE_APPEND, .topic_id = id, .part_count = 1};
	append.parts = &append.one_part;
	make_body(random, &body, &append.one_part);
	(void)run(worker, &append.base);
	struct trim_request trim = {.base.operation = STORE_TRIM,
		.topic_id = id,
		.first_offset = info.end_offset - info.end_offset / 4};
	(void)run(worker, &trim.base);
	if (random_below(random, 4) == 0) {
		struct topic_request gone = {.base.operation = STORE_TOPIC_DELETE};
		(void)snprintf(gone.name, sizeof(gone.name), "%s", name);
		(void)run(worker, &gone.base);
	}
	buf_release(&body);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct random random = {worker->seed};
	struct buf bodies[2] = {BUF_INIT, BUF_INIT};
	uint32_t id = topic_of(worker, "kept");
	for (;;) {
		struct append_part parts[2];
		struct append_request request = {.base.operation = STORE_APPEND,
			.topic_id = id,
			.parts = parts,
			.part_count = 1 + random_below(&random, 2)};
		for (size_t i = 0; i < request.part_count; i++) {
			make_body(&random, &bodies[i], &parts[i]);
			parts[i].partition = (uint32_t)random_below(&random, PARTITIONS);
		}
		if (random_below(&random, 4) == 0) {
			request.durability = DURABILITY_OS; /* survives kill -9 as well */
		}
		int status = run(worker, &request.base);
		if (status == 0) {
			acknowledge(&request);
		} else if (status != ANNALS_E_OVERLOADED) {
			DIE("append: %s", request.base.error.text);
		}
		if (random_below(&random, 10) == 0) {
			disturb(worker, &random);
		}
	}
	return NULL;
}

static void child(uint64_t seed, const char *kill_at, const char *list_path)
{
	static struct worker workers[THREADS];
#ifdef ANNALS_FAULT_INJECTION
	fault_set(kill_at, NULL);
	if (list_path != NULL) {
		(void)setenv("ANNALS_FAULT_LIST", list_path, 1);
	}
#else
	(void)kill_at;
#endif
	open_store();
	for (int i = 0; i < THREADS; i++) {
		struct worker *worker = &workers[i];
		worker->seed = seed * 1000 + (uint64_t)i;
		(void)pthread_mutex_init(&worker->mutex, NULL);
		(void)pthread_cond_init(&worker->cond, NULL);
		completion_queue_init(&worker->queue, notify, worker);
		(void)pthread_create(&worker->thread, NULL, worker_main, worker);
	}
	if (list_path != NULL) {
		(void)usleep(LIFE_MS * 3000);
#ifdef ANNALS_FAULT_INJECTION
		fault_list_at_exit();
#endif
		_exit(0);
	}
	for (;;) {
		(void)pause();
	}
}

/* ---- The parent ---- */

static struct receipt *receipts;
static size_t receipt_count, receipt_capacity;

static void read_receipts(int fd)
{
	struct receipt receipt;
	size_t have = 0;
	for (;;) {
		ssize_t got = read(fd, (char *)&receipt + have, sizeof(receipt) - have);
		if (got < 0 && errno == EINTR) {
			continue;
		}
		if (got <= 0) {
			return;
		}
		have += (size_t)got;
		if (have < sizeof(receipt)) {
			continue;
		}
		have = 0;
		if (receipt_count == receipt_capacity) {
			receipt_capacity = receipt_capacity ? receipt_capacity * 2 : 4096;
			receipts = realloc(receipts, receipt_capacity * sizeof(*receipts));
		}
		receipts[receipt_count++] = receipt;
	}
}

static void *receipts_main(void *arg)
{
	read_receipts(*(int *)arg);
	return NULL;
}

/* One life; returns how it ended. */
static int live(uint64_t seed, unsigned life_ms, const char *kill_at, const char *list_path)
{
	int fds[2], status;
	pthread_t thread;
	if (pipe(fds) != 0) {
		DIE("pipe");
	}
	pid_t pid = fork();
	if (pid == 0) {
		(void)close(fds[0]);
		pipe_fd = fds[1];
		child(seed, kill_at, list_path);
	}
	(void)close(fds[1]);
	(void)pthread_create(&thread, NULL, receipts_main, &fds[0]);
	uint64_t until = clock_monotonic_ns() + (uint64_t)life_ms * 1000000;
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (clock_monotonic_ns() >= until) {
			(void)kill(pid, SIGKILL);
			(void)waitpid(pid, &status, 0);
			break;
		}
		(void)usleep(500);
	}
	(void)pthread_join(thread, NULL);
	(void)close(fds[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
		DIE("the child failed (seed %llu, %s)", (unsigned long long)seed,
			kill_at != NULL ? kill_at : "random");
	}
	return status;
}

static int compare(const void *a, const void *b)
{
	const struct receipt *left = a, *right = b;
	if (left->partition != right->partition) {
		return left->partition < right->partition ? -1 : 1;
	}
	return (left->base_offset > right->base_offset) - (left->base_offset < right->base_offset);
}

/* Every receipt against the log; the log itself dense and verified from 0. */
static uint64_t check(const char *what)
{
	struct topic *topic = store_topic_find(store, bytes_text("kept"));
	uint64_t events = 0;
	size_t next = 0;
	if (topic == NULL) {
		if (receipt_count > 0) {
			DIE("%s: the topic is gone", what);
		}
		return 0;
	}
	qsort(receipts, receipt_count, sizeof(*receipts), compare);
	for (uint32_t p = 0; p < PARTITIONS; p++) {
		struct read_request page = {.base.operation = STORE_READ,
			.topic_id = topic->id,
			.partition = p,
			.bytes_max = 256u << 10};
		do {
			buf_reset(&page.batches);
			(void)store_read(store, &page.base, 0);
			if (page.base.status != 0) {
				DIE("%s: %s", what, page.base.error.text);
			}
			struct bytes left = buf_bytes(&page.batches);
			while (left.size > 0) {
				struct batch batch;
				if (batch_view(left, &batch) != 0 ||
					batch.stamp.base_offset != page.offset) {
					DIE("%s: partition %u is not dense at %llu", what, p,
						(unsigned long long)page.offset);
				}
				if (next < receipt_count && receipts[next].partition == p &&
					receipts[next].base_offset == page.offset) {
					if (receipts[next].count != batch.stamp.count ||
						receipts[next].body_crc != batch.stamp.body_crc) {
						DIE("%s: partition %u offset %llu holds another "
						    "batch",
							what, p, (unsigned long long)page.offset);
					}
					next++;
				}
				page.offset += batch.stamp.count;
				events += batch.stamp.count;
				left = bytes_of(left.data + batch.stored.size,
					left.size - batch.stored.size);
			}
		} while (page.batches.size > 0);
		if (next < receipt_count && receipts[next].partition == p) {
			DIE("%s: partition %u lost the acknowledged offset %llu (ends at %llu)",
				what, p, (unsigned long long)receipts[next].base_offset,
				(unsigned long long)page.offset);
		}
		buf_release(&page.batches);
	}
	topic_unref(topic);
	return events;
}

static void print_problem(void *arg, const char *text)
{
	(void)fprintf(stderr, "%s: verify: %s\n", (const char *)arg, text);
}

/* The whole store as the dead process left it. */
static void verify(const char *what)
{
	char name[96];
	struct error err = {0};
	struct verify_report report;
	(void)snprintf(name, sizeof(name), "%s", what);
	struct verify_options options = {.data_dir = dir,
		.map_bytes = UINT64_C(4) << 30,
		.problem = print_problem,
		.arg = name};
	int status = store_verify(&options, &report, &err);
	/* A life may end before there is a store. */
	if (status == ANNALS_E_NOT_FOUND) {
		return;
	}
	if (status != 0 || report.problems > 0) {
		DIE("%s: verify: %s, %llu problems", what, err.text,
			(unsigned long long)report.problems);
	}
}

static void reopen_and_check(const char *what)
{
	verify(what);
	open_store();
	(void)check(what);
	store_close(store);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void start_over(void)
{
	(void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	receipt_count = 0;
}

#ifdef ANNALS_FAULT_INJECTION
/* Names of the points that one life passes. */
static size_t list_points(char points[POINTS_MAX][64])
{
	char path[128];
	size_t count = 0;
	(void)snprintf(path, sizeof(path), "%s.points", dir);
	(void)live(1, 60000, NULL, path);
	FILE *file = fopen(path, "re");
	while (file != NULL && count < POINTS_MAX && fscanf(file, "%63s", points[count]) == 1) {
		count++;
	}
	if (file != NULL) {
		(void)fclose(file);
	}
	(void)unlink(path);
	return count;
}

static void kill_at_every_point(void)
{
	static char points[POINTS_MAX][64];
	size_t count = list_points(points), struck = 0;
	for (size_t i = 0; i < count; i++) {
		for (unsigned n = 1; n <= 7; n += 3) {
			char kill_at[80];
			(void)snprintf(kill_at, sizeof(kill_at), "%s:%u", points[i], n);
			if (i % 8 == 0 && n == 1) {
				start_over();
			}
			int status = live(100 + i, LIFE_MS * 2, kill_at, NULL);
			struck += WIFSIGNALED(status);
			reopen_and_check(kill_at);
		}
	}
	(void)printf("%zu fault points, killed %zu times, %zu receipts in the last store\n", count,
		struck, receipt_count);
	if (count < 15) {
		DIE("only %zu fault points were passed", count);
	}
}
#endif

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 50;
	struct random random = {clock_monotonic_ns()};
	size_t total = 0;
	if (mkdtemp(dir) == NULL) {
		DIE("mkdtemp");
	}
	for (unsigned round = 0; round < rounds; round++) {
		char what[64];
		uint64_t seed = random_next(&random) % 1000000;
		(void)snprintf(what, sizeof(what), "round %u (seed %llu)", round,
			(unsigned long long)seed);
		if (round % 10 == 0) {
			start_over();
		}
		(void)live(seed, 20 + (unsigned)random_below(&random, LIFE_MS), NULL, NULL);
		reopen_and_check(what);
		total = receipt_count > total ? receipt_count : total;
	}
	(void)printf("%u rounds killed at random times, up to %zu receipts in one store\n", rounds,
		total);
#ifdef ANNALS_FAULT_INJECTION
	kill_at_every_point();
#endif
	start_over();
	(void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(receipts);
	return 0;
}
