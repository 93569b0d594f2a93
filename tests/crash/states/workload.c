#include "workload.h"

#include "record.h"

#include <annals/crc32c.h>
#include <annals/hash.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PRODUCERS 4u
#define GROUP "readers"
#define BODY_BYTES_MAX 70000u

struct client {
	pthread_t thread;
	const struct workload *workload;
	unsigned number;
	struct random random;
	struct completion_queue queue;
	pthread_mutex_t mutex;
	pthread_cond_t answered;
	bool done;
	struct mark mark;   /* what the answer means; put when it comes back with status 0 */
	struct mark failed; /* put when it does not; type 0: nothing */
	uint64_t next_request;
};

/* A reader of one partition. */
struct observer {
	struct completion_queue queue;
	struct watch_request watch;
	uint32_t topic, partition;
	uint64_t next;
	struct buf scratch;
	bool running;
};

static struct store *store;
static uint32_t kept, trimmed, indexed; /* topics */

static void die(const char *what, const char *text)
{
	(void)fprintf(stderr, "workload: %s: %s\n", what, text);
	exit(3);
}

uint64_t workload_hash(struct bytes body)
{
	static const uint64_t key[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};

	return hash_siphash13(key, body);
}

void workload_options(struct store_options *options, const char *data_dir)
{
	store_options_init(options);
	options->data_dir = data_dir;
	options->block_bytes_max = 80000;
	options->journal_segment_bytes = 384u << 10;
	options->map_bytes = UINT64_C(256) << 20;
	options->tail_bytes_max = 1u << 20;
	options->reader_threads = 1;
	options->disk_reserve_bytes = 0;
}

/* ---- Requests that wait ---- */

static void on_answer(void *arg)
{
	struct client *client = arg;
	struct list_node back, *node;

	list_init(&back);
	completion_queue_take(&client->queue, &back);
	node = list_pop(&back);
	if (node == NULL) {
		return;
	}
	struct store_request *request = LIST_ENTRY(node, struct store_request, node);
	if (request->status == 0 && request->operation == STORE_APPEND) {
		const struct append_request *append = (const struct append_request *)request;
		for (uint32_t i = 0; i < client->mark.part_count; i++) {
			bool has_runs = append->runs != NULL; /* one part, one stream: one run */
			client->mark.parts[i].offset =
				has_runs ? append->runs[i].offset : append->parts[i].base_offset;
			client->mark.parts[i].position = has_runs ? append->runs[i].position
								  : append->parts[i].base_position;
		}
		/* What the operating system has is promised to nobody here. */
		if (append->durability == DURABILITY_OS) {
			client->mark.type = 0;
		}
	}
	if (request->status == 0 && request->operation == STORE_TOPIC_CREATE) {
		client->mark.topic = ((const struct topic_request *)request)->topic->id;
	}
	const struct mark *mark = request->status == 0 ? &client->mark : &client->failed;
	if (mark->type != 0 && request->status != ANNALS_E_OUTCOME_UNKNOWN) {
		record_mark(mark);
	}
	(void)pthread_mutex_lock(&client->mutex);
	client->done = true;
	(void)pthread_cond_signal(&client->answered);
	(void)pthread_mutex_unlock(&client->mutex);
}

static void client_init(struct client *client, const struct workload *workload, unsigned number)
{
	memset(client, 0, sizeof(*client));
	client->workload = workload;
	client->number = number;
	client->random.state = workload->seed * 1000 + workload->life * 100 + number;
	client->next_request = (uint64_t)workload->life << 40 | (uint64_t)number << 32 | 1;
	completion_queue_init(&client->queue, on_answer, client);
	(void)pthread_mutex_init(&client->mutex, NULL);
	(void)pthread_cond_init(&client->answered, NULL);
}

static int run(struct client *client, struct store_request *request)
{
	int status;

	client->done = false;
	request->queue = &client->queue;
	status = store_submit(store, request, &request->error);
	if (status != 0) {
		if (client->failed.type != 0) {
			record_mark(&client->failed);
		}
		return status;
	}
	(void)pthread_mutex_lock(&client->mutex);
	while (!client->done) {
		(void)pthread_cond_wait(&client->answered, &client->mutex);
	}
	(void)pthread_mutex_unlock(&client->mutex);
	return request->status;
}

/* ---- Appends ---- */

static size_t draw_size(struct random *random)
{
	uint64_t kind = random_below(random, 40);

	if (kind == 0) {
		return 5000 + random_below(random, 20000);
	}
	return kind < 8 ? 400 + random_below(random, 3600) : 1 + random_below(random, 400);
}

/* key NULL: none. */
static void make_part(struct client *client, const char *key, struct buf *body,
	struct append_part *part, struct mark_part *mark)
{
	static _Thread_local uint8_t data[BODY_BYTES_MAX];
	struct batch_limits limits = {0};
	struct buf scratch = BUF_INIT;
	struct error err = {0};
	uint32_t count = 1 + (uint32_t)random_below(&client->random, 3);

	buf_reset(body);
	for (uint32_t i = 0; i < count; i++) {
		size_t size = draw_size(&client->random);
		char id[48];
		for (size_t at = 0; at < size; at += 8) {
			store_u64(data + at, random_next(&client->random));
		}
		(void)snprintf(
			id, sizeof(id), "%llx-%u", (unsigned long long)client->next_request, i);
		struct record record = {.id = bytes_text(id),
			.source = bytes_text("/states"),
			.type = bytes_text("state.test"),
			.has_key = key != NULL,
			.key = bytes_text(key != NULL ? key : ""),
			.has_data = true,
			.data = bytes_of(data, size)};
		if (record_encode_in_batch(&record, body) != 0) {
			die("body", "no memory");
		}
	}
	memset(part, 0, sizeof(*part));
	if (batch_check_body(
		    buf_bytes(body), BATCH_PLAIN, &limits, &scratch, &part->summary, &err) != 0) {
		die("body", err.text);
	}
	buf_release(&scratch);
	part->body = buf_bytes(body);
	part->body_crc = crc32c(0, body->data, body->size);
	mark->count = count;
	mark->hash = workload_hash(part->body);
}

/* Returns the status; *ret_end: one past the last offset in its first partition. */
static int append(struct client *client, uint32_t topic, uint32_t partitions, uint64_t *ret_end)
{
	struct buf bodies[WORKLOAD_PARTITIONS] = {BUF_INIT, BUF_INIT, BUF_INIT};
	struct append_part parts[WORKLOAD_PARTITIONS];
	struct append_request request = {
		.base.operation = STORE_APPEND, .topic_id = topic, .parts = parts};
	struct mark mark = {.type = MARK_APPEND, .topic = topic, .request = client->next_request++};
	char key[32];
	uint32_t first = (uint32_t)random_below(&client->random, partitions);
	int status;

	request.part_count = random_below(&client->random, 4) == 0
				     ? 1 + (size_t)random_below(&client->random, partitions)
				     : 1;
	if (topic == indexed) {
		/* A stream is written by one client, which knows its version. */
		(void)snprintf(key, sizeof(key), "stream-%u-%u", client->number,
			(unsigned)random_below(&client->random, 4));
		first = record_partition(bytes_text(key), partitions);
		request.part_count = 1;
	}
	mark.part_count = (uint32_t)request.part_count;
	for (uint32_t i = 0; i < mark.part_count; i++) {
		make_part(client, topic == indexed ? key : NULL, &bodies[i], &parts[i],
			&mark.parts[i]);
		parts[i].partition = (first + i) % partitions;
		mark.parts[i].partition = parts[i].partition;
	}
	if (random_below(&client->random, 6) == 0) {
		request.durability = DURABILITY_OS;
	}
	record_mark(&mark);
	client->failed = mark;
	client->failed.type = MARK_APPEND_REFUSED;
	client->mark = mark;
	client->mark.type = MARK_APPEND_DONE;
	status = run(client, &request.base);
	if (status == 0 && ret_end != NULL) {
		*ret_end = parts[0].base_offset + parts[0].summary.count;
	}
	append_request_release(&request);
	for (uint32_t i = 0; i < WORKLOAD_PARTITIONS; i++) {
		buf_release(&bodies[i]);
	}
	return status;
}

/* ---- Rows ---- */

static void change_rows(struct client *client)
{
	uint8_t keys[WORKLOAD_ROWS][2], value[8];
	struct row_change changes[WORKLOAD_ROWS];
	struct rows_request request = {
		.base.operation = STORE_ROWS, .changes = changes, .change_count = WORKLOAD_ROWS};
	struct mark mark = {.type = MARK_ROWS, .value = client->next_request++};

	memset(changes, 0, sizeof(changes));
	store_u64(value, mark.value);
	for (uint32_t i = 0; i < WORKLOAD_ROWS; i++) {
		keys[i][0] = WORKLOAD_ROW_OWNER;
		keys[i][1] = (uint8_t)i;
		changes[i].key = bytes_of(keys[i], sizeof(keys[i]));
		changes[i].value = bytes_of(value, sizeof(value));
	}
	record_mark(&mark);
	client->failed.type = 0;
	client->mark = mark;
	client->mark.type = MARK_ROWS_DONE;
	(void)run(client, &request.base);
}

/* ---- Topics, trims, offsets ---- */

static uint32_t create_topic(struct client *client, const char *name, uint32_t partitions)
{
	bool is_indexed = strcmp(name, WORKLOAD_INDEXED) == 0;
	struct topic_request request = {.base.operation = STORE_TOPIC_CREATE,
		.config = {.partitions = partitions,
			.streams = is_indexed,
			.query_index = is_indexed,
			.dedupe_age_us = is_indexed ? UINT64_C(86400) * 1000000 : 0}};
	struct mark mark = {
		.type = MARK_TOPIC_CREATE, .value = partitions, .request = client->next_request++};
	uint32_t id;

	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	(void)snprintf(mark.name, sizeof(mark.name), "%s", name);
	record_mark(&mark);
	client->failed.type = 0;
	client->mark = mark;
	client->mark.type = MARK_TOPIC_CREATED;
	while (run(client, &request.base) != 0) {
		if (request.base.status != ANNALS_E_STORAGE_FULL) {
			die("topic", request.base.error.text);
		}
		(void)usleep(20000);
	}
	id = request.topic->id;
	topic_unref(request.topic);
	return id;
}

static void delete_topic(struct client *client, const char *name, uint32_t topic)
{
	struct topic_request request = {.base.operation = STORE_TOPIC_DELETE};
	struct mark mark = {.type = MARK_TOPIC_DELETE, .topic = topic};

	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	record_mark(&mark);
	client->failed.type = 0;
	client->mark = mark;
	client->mark.type = MARK_TOPIC_DELETED;
	(void)run(client, &request.base);
}

static void trim(struct client *client, uint32_t topic, uint32_t partition, uint64_t first_offset)
{
	struct trim_request request = {.base.operation = STORE_TRIM,
		.topic_id = topic,
		.partition = partition,
		.first_offset = first_offset};
	struct mark mark = {
		.type = MARK_TRIM, .topic = topic, .partition = partition, .value = first_offset};
	struct partition_info info;

	record_mark(&mark);
	client->failed.type = 0;
	client->mark.type = 0;
	if (run(client, &request.base) == 0 &&
		store_partition_info(store, topic, partition, &info) == 0) {
		mark.type = MARK_FIRST;
		mark.value = info.first_offset;
		record_mark(&mark);
	}
}

static void commit(struct client *client, uint32_t topic, uint32_t partition)
{
	struct partition_info info;
	struct offset_entry entry = {.topic_id = topic, .partition = partition};
	struct offset_request request = {.base.operation = STORE_OFFSET_COMMIT,
		.group = GROUP,
		.entries = &entry,
		.entry_count = 1};
	struct mark mark = {
		.type = MARK_COMMIT, .topic = topic, .partition = partition, .name = GROUP};

	if (store_partition_info(store, topic, partition, &info) != 0) {
		return;
	}
	entry.offset = info.end_offset;
	mark.value = entry.offset;
	record_mark(&mark);
	client->failed.type = 0;
	client->mark = mark;
	client->mark.type = MARK_COMMITTED;
	(void)run(client, &request.base);
}

/* ---- Reading what becomes visible ---- */

static void observe(struct observer *observer)
{
	for (;;) {
		struct read_request read = {.base.operation = STORE_READ,
			.topic_id = observer->topic,
			.partition = observer->partition,
			.offset = observer->next,
			.bytes_max = 1u << 20};
		struct batch batch;
		(void)store_read(store, &read.base, 0);
		if (read.base.status != 0) {
			die("observer", read.base.error.text);
		}
		struct bytes left = buf_bytes(&read.batches);
		for (uint32_t i = 0; i < read.batch_count && batch_view(left, &batch) == 0; i++) {
			struct mark mark = {.type = MARK_SEEN,
				.topic = observer->topic,
				.part_count = 1,
				.parts = {{.partition = observer->partition,
					.count = batch.stamp.count,
					.hash = workload_hash(batch.body),
					.offset = batch.stamp.base_offset,
					.position = batch.stamp.base_position}}};
			record_mark(&mark);
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
		buf_release(&read.batches);
		observer->next = read.next_offset;
		observer->watch.offset = observer->next;
		int status = store_watch(store, &observer->watch);
		if (status != 1) {
			observer->running = status == 0;
			return;
		}
	}
}

static void on_watch(void *arg)
{
	struct observer *observer = arg;
	struct list_node back;

	list_init(&back);
	completion_queue_take(&observer->queue, &back);
	if (!list_is_empty(&back) && observer->watch.base.status == 0) {
		observe(observer);
	}
}

static void observer_start(struct observer *observer, uint32_t topic, uint32_t partition)
{
	memset(observer, 0, sizeof(*observer));
	observer->topic = topic;
	observer->partition = partition;
	completion_queue_init(&observer->queue, on_watch, observer);
	observer->watch = (struct watch_request){
		.base = {.operation = STORE_WATCH, .queue = &observer->queue},
		.topic_id = topic,
		.partition = partition};
	observe(observer);
}

/* ---- The threads ---- */

static void *producer_main(void *arg)
{
	struct client *client = arg;

	for (unsigned i = 0; i < client->workload->requests; i++) {
		uint64_t end = 0;
		uint64_t where = random_below(&client->random, 8);
		uint32_t topic = where < 2 ? kept : where < 4 && indexed != 0 ? indexed : trimmed;
		int status = append(client, topic, WORKLOAD_PARTITIONS, &end);
		if (status == ANNALS_E_STORAGE_FULL) {
			(void)usleep(20000);
		} else if (status != 0 && status != ANNALS_E_OVERLOADED) {
			die("append", "failed");
		}
		/* The disk is full for one write. */
		if (client->number == 0 && i % 97 == 50) {
			record_fail_write(1, ENOSPC);
		}
	}
	return NULL;
}

static void *meddler_main(void *arg)
{
	struct client *client = arg;
	unsigned rounds = client->workload->requests / 4;

	for (unsigned i = 0; i < rounds; i++) {
		uint32_t partition = (uint32_t)random_below(&client->random, WORKLOAD_PARTITIONS);
		struct partition_info info;
		struct timespec pause = {0, 3000000};
		(void)nanosleep(&pause, NULL);
		commit(client, random_below(&client->random, 2) ? kept : trimmed, partition);
		change_rows(client);
		if (random_below(&client->random, 3) == 0 &&
			store_partition_info(store, trimmed, partition, &info) == 0 &&
			info.end_offset > 20) {
			trim(client, trimmed, partition,
				info.end_offset - 20 - random_below(&client->random, 20) % 20);
		}
		if (random_below(&client->random, 8) == 0) {
			uint32_t topic = create_topic(client, "passing", 2);
			unsigned appends = (unsigned)random_below(&client->random, 6);
			for (unsigned k = 0; k < appends; k++) {
				(void)append(client, topic, 2, NULL);
			}
			if (random_below(&client->random, 4) != 0) {
				delete_topic(client, "passing", topic);
			}
		}
	}
	return NULL;
}

void workload_run(const struct workload *workload)
{
	static struct client clients[PRODUCERS + 1];
	static struct observer observers[WORKLOAD_PARTITIONS];
	struct store_options options;
	struct error err = {0};

	workload_options(&options, workload->data_dir);
	if (workload->end_after > 0) {
		record_end_after(workload->end_after);
	}
	if (store_open(&options, &store, &err) != 0) {
		die("open", err.text);
	}
	for (unsigned i = 0; i <= PRODUCERS; i++) {
		client_init(&clients[i], workload, i);
	}
	kept = create_topic(&clients[0], "kept", WORKLOAD_PARTITIONS);
	trimmed = create_topic(&clients[0], "trimmed", WORKLOAD_PARTITIONS);
	indexed = workload->indexed
			  ? create_topic(&clients[0], WORKLOAD_INDEXED, WORKLOAD_PARTITIONS)
			  : 0;
	for (uint32_t i = 0; i < WORKLOAD_PARTITIONS; i++) {
		observer_start(&observers[i], kept, i);
	}
	for (unsigned i = 0; i <= PRODUCERS; i++) {
		(void)pthread_create(&clients[i].thread, NULL,
			i < PRODUCERS ? producer_main : meddler_main, &clients[i]);
	}
	for (unsigned i = 0; i <= PRODUCERS; i++) {
		(void)pthread_join(clients[i].thread, NULL);
	}
	store_close(store);
}
