/*
 * The storage engine, step by step in one thread: a seed decides who submits what, when the writer
 * and the settler have their turns, how time goes on, at which call the disk fails and what it
 * forgets, and at which call LMDB's file is cut off; after each crash the store recovers and
 * everything readable is compared with a model of what was promised (I1-I7, I11, I12 of
 * docs/durability.md; for delivery: workers.h). The engine is the real one, with
 * struct store_options.stepped; only the journal's disk (disk.c) and the clock are simulated.
 *
 *   simulate [--seeds N] [--seed FIRST] [--jobs N]
 *
 * Exit code 0: nothing wrong; 1: a seed failed and was named; simulate --seed N --seeds 1 is that
 * life again, step for step.
 */
#include "disk.h"
#include "lmdb_cut.h"
#include "shard.h"
#include "workers.h"

#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/hash.h>
#include <annals/storage.h>
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOPICS 2u
#define PARTITIONS 2u
#define LOGS (TOPICS * PARTITIONS)
#define REQUESTS_MAX 400u
#define LIVES 5u
#define STEPS_MAX 100u
#define ROW_KEY "simulated/lease"
#define GROUP "simulated"

enum fate {
	FATE_WAITING,
	FATE_STORED,  /* acknowledged */
	FATE_REFUSED, /* nothing was stored */
	FATE_MAYBE,   /* nobody knows */
};

/* An append, with the one row it changes or none. */
struct request {
	struct append_request append;
	struct append_part parts[PARTITIONS];
	struct buf bodies[PARTITIONS];
	struct row_change change;
	char value[24];
	uint64_t hashes[PARTITIONS];
	uint32_t counts[PARTITIONS];
	uint64_t offsets[PARTITIONS];
	uint32_t seen; /* parts met in the log that is being read */
	uint32_t topic;
	enum fate fate;
	bool with_row;
	bool was_unknown; /* before the store was opened again */
	bool is_repeat;   /* of one that was found: it is there already */
};

/* What was promised of one partition. */
struct promised {
	uint64_t first_acked, first_asked;   /* trims */
	uint64_t offset_acked, offset_asked; /* of the group */
	uint64_t end;                        /* one past the last offset anybody was shown */
};

struct trimming {
	struct trim_request request;
	unsigned log;
};

struct committing {
	struct offset_request request;
	struct offset_entry entry;
	unsigned log;
};

static struct {
	uint64_t seed, monotonic_ns;
	struct random random;
	char dir[96];
	struct store *store;
	uint32_t topic_ids[TOPICS];
	struct completion_queue queue;
	struct request *requests[REQUESTS_MAX];
	size_t request_count, row_request; /* row_request: index + 1 of the one whose row waits */
	struct promised logs[LOGS];
	struct trimming trim;
	struct committing commit;
	bool trim_waits, commit_waits;
	unsigned life, step;
} sim;

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
	va_list args;

	(void)printf("PROBLEM: seed %" PRIu64 " life %u step %u: ", sim.seed, sim.life, sim.step);
	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	(void)printf("\n");
	(void)fflush(stdout);
	_exit(1);
}

static uint64_t draw(uint64_t bound)
{
	return random_below(&sim.random, bound);
}

static uint64_t simulated_monotonic(void *arg)
{
	(void)arg;
	return sim.monotonic_ns;
}

static uint64_t simulated_wall(void *arg)
{
	(void)arg;
	return UINT64_C(1700000000000000) + sim.monotonic_ns / 1000;
}

static uint64_t hash_of(struct bytes body)
{
	static const uint64_t key[2] = {1, 2};

	return hash_siphash13(key, body);
}

/* ---- Opening ---- */

static uint64_t trim_asked(unsigned log)
{
	return sim.logs[log].first_asked;
}

static uint64_t now_us(void)
{
	return simulated_wall(NULL);
}

static void advance_us(uint64_t us)
{
	sim.monotonic_ns += us * 1000;
}

static void open_store(void)
{
	struct store_options options;
	struct error err = {0};

	store_options_init(&options);
	options.data_dir = sim.dir;
	options.journal = "simulated";
	options.map_bytes = 64u << 20;
	options.tail_bytes_max = 8u << 10;
	options.disk_reserve_bytes = 0;
	options.stepped = true;
	if (store_open(&options, &sim.store, &err) != 0) {
		fail("I1: it does not open: %s", err.text);
	}
}

static void create_topics(void)
{
	for (uint32_t i = 0; i < TOPICS; i++) {
		struct topic_request request = {.base.operation = STORE_TOPIC_CREATE,
			.base.queue = &sim.queue,
			.config = {.partitions = PARTITIONS}};
		struct list_node back;
		request.config.dedupe_age_us = i == 1 ? UINT64_C(3600000000) : 0;
		(void)snprintf(request.name, sizeof(request.name), "topic-%u", i);
		list_init(&back);
		if (store_submit(sim.store, &request.base, &request.base.error) != 0 ||
			!writer_turn(store_shard(sim.store))) {
			fail("no topic: %s", request.base.error.text);
		}
		completion_queue_take(&sim.queue, &back);
		if (list_is_empty(&back) || request.base.status != 0) {
			fail("no topic: %s", request.base.error.text);
		}
		sim.topic_ids[i] = request.topic->id;
		topic_unref(request.topic);
	}
}

/* ---- Answers ---- */

static enum fate fate_of(int status)
{
	switch (status) {
	case 0:
		return FATE_STORED;
	case ANNALS_E_OUTCOME_UNKNOWN:
		return FATE_MAYBE;
	default:
		return FATE_REFUSED;
	}
}

static void take_append(struct request *request)
{
	if (request->is_repeat) {
		if (request->append.base.status == 0 && !request->append.replayed) {
			fail("I5: a request that was stored was stored again");
		}
		return;
	}
	request->fate = fate_of(request->append.base.status);
	if (request->fate == FATE_STORED) {
		for (size_t i = 0; i < request->append.part_count; i++) {
			request->offsets[i] = request->parts[i].base_offset;
		}
		/* What the operating system has is promised to nobody. */
		if (request->append.durability == DURABILITY_OS) {
			request->fate = FATE_MAYBE;
		}
	}
	if (request->with_row && sim.row_request > 0 &&
		sim.requests[sim.row_request - 1] == request) {
		sim.row_request = 0;
	}
}

static void take_answers(void)
{
	struct list_node back, *node;

	list_init(&back);
	completion_queue_take(&sim.queue, &back);
	while ((node = list_pop(&back)) != NULL) {
		struct store_request *base = LIST_ENTRY(node, struct store_request, node);
		if (base->operation == STORE_APPEND) {
			take_append((struct request *)(void *)base);
		} else if (base->operation == STORE_TRIM) {
			struct promised *log = &sim.logs[sim.trim.log];
			sim.trim_waits = false;
			if (base->status == 0 && log->first_acked < sim.trim.request.first_offset) {
				log->first_acked = sim.trim.request.first_offset;
			}
		} else {
			sim.commit_waits = false;
			if (base->status == 0) {
				sim.logs[sim.commit.log].offset_acked = sim.commit.entry.offset;
			}
		}
	}
}

/* ---- Requests ---- */

static void make_body(struct request *request, size_t part)
{
	uint8_t data[1024];
	size_t size = 8 + draw(900);
	struct buf *body = &request->bodies[part];
	struct batch_limits limits = {0};
	struct buf scratch = BUF_INIT;
	struct error err = {0};

	request->counts[part] = 1 + (uint32_t)draw(3);
	for (uint32_t i = 0; i < request->counts[part]; i++) {
		char id[48];
		for (size_t at = 0; at < size; at += 8) {
			store_u64(data + at, random_next(&sim.random));
		}
		(void)snprintf(id, sizeof(id), "%zu-%zu-%u", sim.request_count, part, i);
		struct record record = {.id = bytes_text(id),
			.source = bytes_text("/simulation"),
			.type = bytes_text("step.made"),
			.has_data = true,
			.data = bytes_of(data, size)};
		if (record_encode_in_batch(&record, body) != 0) {
			fail("no memory");
		}
	}
	if (batch_check_body(buf_bytes(body), BATCH_PLAIN, &limits, &scratch,
		    &request->parts[part].summary, &err) != 0) {
		fail("body: %s", err.text);
	}
	buf_release(&scratch);
}

static void make_parts(struct request *request)
{
	uint32_t first = (uint32_t)draw(PARTITIONS);

	for (size_t i = 0; i < request->append.part_count; i++) {
		struct append_part *part = &request->parts[i];
		make_body(request, i);
		part->partition = (first + (uint32_t)i) % PARTITIONS;
		part->body = buf_bytes(&request->bodies[i]);
		part->body_crc = crc32c(0, part->body.data, part->body.size);
		request->hashes[i] = hash_of(part->body);
	}
}

static void submit_append(struct request *request)
{
	struct store_request *base = &request->append.base;

	request->is_repeat = request->fate == FATE_STORED;
	request->fate = request->is_repeat ? FATE_STORED : FATE_WAITING;
	base->queue = &sim.queue;
	if (store_submit(sim.store, base, &base->error) != 0 && !request->is_repeat) {
		request->fate = FATE_REFUSED;
		if (request->with_row) {
			sim.row_request = 0;
		}
	}
}

static void append(void)
{
	struct request *request;

	if (sim.request_count == REQUESTS_MAX) {
		return;
	}
	request = calloc(1, sizeof(*request));
	if (request == NULL) {
		fail("no memory");
	}
	request->topic = (uint32_t)draw(TOPICS);
	request->append.base.operation = STORE_APPEND;
	request->append.topic_id = sim.topic_ids[request->topic];
	request->append.parts = request->parts;
	request->append.part_count = 1 + draw(PARTITIONS);
	request->append.durability = draw(6) == 0 ? DURABILITY_OS : DURABILITY_FSYNC;
	make_parts(request);
	sim.requests[sim.request_count++] = request;
	/* One lease at a time: the next holder is known by the order of its events. */
	if (sim.row_request == 0 && draw(3) == 0) {
		(void)snprintf(request->value, sizeof(request->value), "%zu", sim.request_count);
		request->change = (struct row_change){
			.key = bytes_text(ROW_KEY), .value = bytes_text(request->value)};
		request->append.rows = &request->change;
		request->append.row_count = 1;
		request->with_row = true;
		sim.row_request = sim.request_count;
	}
	submit_append(request);
}

static void trim(void)
{
	unsigned log = (unsigned)draw(LOGS);
	struct promised *promised = &sim.logs[log];

	if (sim.trim_waits || promised->end < 6) {
		return;
	}
	memset(&sim.trim, 0, sizeof(sim.trim));
	sim.trim.log = log;
	sim.trim.request = (struct trim_request){.base.operation = STORE_TRIM,
		.base.queue = &sim.queue,
		.topic_id = sim.topic_ids[log / PARTITIONS],
		.partition = log % PARTITIONS,
		.first_offset = promised->end - 1 - draw(5)};
	if (store_submit(sim.store, &sim.trim.request.base, &sim.trim.request.base.error) == 0) {
		sim.trim_waits = true;
		if (promised->first_asked < sim.trim.request.first_offset) {
			promised->first_asked = sim.trim.request.first_offset;
		}
	}
}

static void commit(void)
{
	unsigned log = (unsigned)draw(LOGS);
	struct promised *promised = &sim.logs[log];

	if (sim.commit_waits || promised->end == 0) {
		return;
	}
	memset(&sim.commit, 0, sizeof(sim.commit));
	sim.commit.log = log;
	sim.commit.entry = (struct offset_entry){.topic_id = sim.topic_ids[log / PARTITIONS],
		.partition = log % PARTITIONS,
		.offset = promised->end};
	sim.commit.request = (struct offset_request){.base.operation = STORE_OFFSET_COMMIT,
		.base.queue = &sim.queue,
		.group = GROUP,
		.entries = &sim.commit.entry,
		.entry_count = 1};
	if (store_submit(sim.store, &sim.commit.request.base, &sim.commit.request.base.error) ==
		0) {
		sim.commit_waits = true;
		promised->offset_asked = promised->end;
	}
}

/* ---- Comparing ---- */

static struct request *find_request(uint64_t hash, size_t *ret_part)
{
	for (size_t i = 0; i < sim.request_count; i++) {
		for (size_t part = 0; part < sim.requests[i]->append.part_count; part++) {
			if (sim.requests[i]->hashes[part] == hash) {
				*ret_part = part;
				return sim.requests[i];
			}
		}
	}
	return NULL;
}

static void judge_batch(unsigned log, const struct batch *batch)
{
	size_t part = 0;
	struct request *request = find_request(hash_of(batch->body), &part);
	uint64_t offset = batch->stamp.base_offset;

	if (request == NULL || request->topic != log / PARTITIONS ||
		request->parts[part].partition != log % PARTITIONS) {
		fail("I6: log %u offset %" PRIu64 " holds what nobody appended", log, offset);
	}
	if (request->fate == FATE_REFUSED) {
		fail("I6: log %u offset %" PRIu64 " holds what was refused", log, offset);
	}
	if ((request->seen & 1u << part) != 0) {
		fail("I5: log %u offset %" PRIu64 " holds a batch for the second time", log,
			offset);
	}
	if (request->fate == FATE_STORED && request->offsets[part] != offset) {
		fail("I2: log %u offset %" PRIu64 " holds what was promised at %" PRIu64, log,
			offset, request->offsets[part]);
	}
	request->seen |= 1u << part;
	request->offsets[part] = offset;
}

/* What the log holds from `first` on; everything kept has to be there. */
static void judge_log(unsigned log)
{
	struct promised *promised = &sim.logs[log];
	uint32_t topic_id = sim.topic_ids[log / PARTITIONS];
	struct partition_info info;
	uint64_t next;

	if (store_partition_info(sim.store, topic_id, log % PARTITIONS, &info) != 0) {
		fail("I1: log %u is not there", log);
	}
	if (info.first_offset < promised->first_acked ||
		info.first_offset > promised->first_asked) {
		fail("I12: log %u begins at %" PRIu64 ", trimmed to %" PRIu64
		     ", asked for %" PRIu64,
			log, info.first_offset, promised->first_acked, promised->first_asked);
	}
	promised->first_acked = info.first_offset;
	if (info.end_offset < promised->end) {
		fail("I1: log %u ends at %" PRIu64 ", was seen up to %" PRIu64, log,
			info.end_offset, promised->end);
	}
	promised->end = info.end_offset;
	next = info.first_offset;
	while (next < info.end_offset) {
		struct read_request read = {.base.operation = STORE_READ,
			.topic_id = topic_id,
			.partition = log % PARTITIONS,
			.offset = next,
			.bytes_max = 1u << 20};
		struct batch batch;
		if (store_read(sim.store, &read.base, 0) != 0 || read.base.status != 0) {
			fail("I1: log %u offset %" PRIu64 ": %s", log, next, read.base.error.text);
		}
		struct bytes left = buf_bytes(&read.batches);
		for (uint32_t i = 0; i < read.batch_count && batch_view(left, &batch) == 0; i++) {
			if (batch.stamp.base_offset > next) {
				fail("I3: log %u has a gap at %" PRIu64, log, next);
			}
			judge_batch(log, &batch);
			next = batch.stamp.base_offset + batch.stamp.count;
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
		if (read.batch_count == 0) {
			fail("I3: log %u ends at %" PRIu64 " for readers", log, next);
		}
		buf_release(&read.batches);
	}
}

/* Whether a part must be in what was read: it does not lie below the first kept offset. */
static bool is_kept(const struct request *request, size_t part)
{
	unsigned log = request->topic * PARTITIONS + request->parts[part].partition;

	return request->offsets[part] + request->counts[part] > sim.logs[log].first_acked;
}

static void judge_requests(void)
{
	for (size_t i = 0; i < sim.request_count; i++) {
		struct request *request = sim.requests[i];
		for (size_t part = 0; part < request->append.part_count; part++) {
			bool is_seen = (request->seen & 1u << part) != 0;
			if (request->fate == FATE_STORED && !is_seen && is_kept(request, part)) {
				fail("I1: request %zu was acknowledged at %" PRIu64
				     " and is not there",
					i, request->offsets[part]);
			}
		}
	}
	for (size_t i = 0; i < sim.request_count; i++) {
		struct request *request = sim.requests[i];
		uint32_t all = (1u << request->append.part_count) - 1;
		if (request->seen != 0 && request->fate != FATE_STORED) {
			/* The others may have been trimmed away since. */
			bool trimmed = sim.logs[request->topic * PARTITIONS].first_acked > 0 ||
				       sim.logs[request->topic * PARTITIONS + 1].first_acked > 0;
			if (request->seen != all && !trimmed) {
				fail("I7: request %zu is there in part", i);
			}
			if (request->seen == all) {
				request->fate = FATE_STORED; /* seen once: it has to stay */
			}
		}
	}
}

/* The lease is its last holder's: rows and events of one request are one. */
static void judge_row(void)
{
	struct buf value = BUF_INIT;
	struct error err = {0};
	size_t holder = 0, acked = 0;
	int found = store_row_get(sim.store, bytes_text(ROW_KEY), &value, &err);

	if (found < 0) {
		fail("row: %s", err.text);
	}
	for (size_t i = 0; found == 1 && i < value.size; i++) {
		holder = holder * 10 + (size_t)(value.data[i] - '0');
	}
	buf_release(&value);
	for (size_t i = 0; i < sim.request_count; i++) {
		if (sim.requests[i]->with_row && sim.requests[i]->fate == FATE_STORED) {
			acked = i + 1;
		}
	}
	if (holder < acked) {
		fail("I1: the row of request %zu is lost, it is that of %zu", acked, holder);
	}
	if (holder > 0 && (holder > sim.request_count || !sim.requests[holder - 1]->with_row ||
				  sim.requests[holder - 1]->fate == FATE_REFUSED)) {
		fail("I6: the row is that of request %zu, which did not change it", holder);
	}
}

static void judge_offsets(void)
{
	for (unsigned log = 0; log < LOGS; log++) {
		struct promised *promised = &sim.logs[log];
		struct offset_entry entry = {0};
		struct error err = {0};
		int found = store_offset_get(sim.store, bytes_text(GROUP),
			sim.topic_ids[log / PARTITIONS], log % PARTITIONS, &entry, NULL, &err);
		uint64_t offset = found == 1 ? entry.offset : 0;
		if (found < 0) {
			fail("offset: %s", err.text);
		}
		if (offset < promised->offset_acked || offset > promised->offset_asked ||
			offset > promised->end) {
			fail("I11: log %u: committed %" PRIu64 ", acknowledged %" PRIu64
			     ", asked for %" PRIu64 ", end %" PRIu64,
				log, offset, promised->offset_acked, promised->offset_asked,
				promised->end);
		}
		promised->offset_acked = offset;
	}
}

static void judge(void)
{
	for (size_t i = 0; i < sim.request_count; i++) {
		sim.requests[i]->seen = 0;
	}
	for (unsigned log = 0; log < LOGS; log++) {
		judge_log(log);
	}
	judge_requests();
	judge_row();
	judge_offsets();
	workers_judge();
}

/* ---- A life ---- */

static void step(void)
{
	struct shard *shard = store_shard(sim.store);
	bool for_work;

	sim.monotonic_ns += 1000 + draw(20000000);
	switch (draw(18)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		append();
		break;
	case 5:
		trim();
		break;
	case 6:
		commit();
		break;
	case 7:
		(void)settler_turn(shard, &for_work);
		break;
	case 8:
		judge();
		break;
	case 9:
	case 10:
	case 11:
		workers_ask();
		break;
	case 12:
	case 13:
	case 14:
		workers_turn();
		break;
	default:
		(void)writer_turn(shard);
	}
	take_answers();
}

static void crash(void)
{
	/* What delivery still waits for is answered, and not written. */
	disk_strike(DISK_WRITE_LOST, 0);
	workers_close();
	store_close(sim.store);
	sim.store = NULL;
	lmdb_cut_disarm();
	take_answers();
	for (size_t i = 0; i < sim.request_count; i++) {
		sim.requests[i]->was_unknown = sim.requests[i]->fate == FATE_MAYBE;
	}
	disk_cut(draw(3));
}

/* After a restart a client asks again for what it does not know: where ids are told apart it may.
 */
static void retry(void)
{
	for (size_t i = 0; i < sim.request_count; i++) {
		struct request *request = sim.requests[i];
		bool again = request->was_unknown && request->topic == 1 && !request->with_row &&
			     draw(2) == 0;
		request->was_unknown = false;
		if (again) {
			append_request_release(&request->append);
			request->append.durability = DURABILITY_FSYNC;
			submit_append(request);
		}
	}
	(void)writer_turn(store_shard(sim.store));
	take_answers();
}

static void live(void)
{
	unsigned steps = 5 + (unsigned)draw(STEPS_MAX);

	open_store();
	if (sim.life == 0) {
		create_topics();
		workers_init(&(struct workers_host){.random = &sim.random,
			.topic_ids = {sim.topic_ids[0], sim.topic_ids[1]},
			.trim_asked = trim_asked,
			.now_us = now_us,
			.advance_us = advance_us,
			.fail = fail});
	}
	workers_open(sim.store, sim.life == 0);
	judge();
	if (sim.life > 0) {
		retry();
		judge();
	}
	if (draw(4) != 0) {
		disk_strike((enum disk_fault)draw(DISK_FAULTS), (unsigned)draw(8));
	}
	if (draw(3) == 0) {
		lmdb_cut_arm((unsigned)draw(24), draw(2) == 0);
	}
	for (sim.step = 0; sim.step < steps; sim.step++) {
		char reason[256];
		step();
		if (shard_state(store_shard(sim.store), reason) == STORE_READ_ONLY) {
			if (draw(2) == 0 && !lmdb_cut_is_dead()) {
				judge(); /* reads go on */
			}
			break;
		}
	}
	crash();
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* Holds the directories of all seeds: what a seed that failed or crashed leaves goes with it. */
static char all_dir[64];

static void run_seed(uint64_t seed)
{
	memset(&sim, 0, sizeof(sim));
	sim.seed = seed;
	sim.random.state = seed * 0x9e3779b97f4a7c15u + 1;
	(void)snprintf(sim.dir, sizeof(sim.dir), "%s/seed-XXXXXX", all_dir);
	if (mkdtemp(sim.dir) == NULL) {
		fail("no directory: %s", strerror(errno));
	}
	completion_queue_init(&sim.queue, NULL, NULL);
	disk_init();
	for (sim.life = 0; sim.life < LIVES; sim.life++) {
		live();
	}
	sim.step = 0;
	open_store();
	workers_open(sim.store, false);
	judge();
	workers_drain();
	workers_close();
	store_close(sim.store);
	workers_release();
	completion_queue_release(&sim.queue);
	for (size_t i = 0; i < sim.request_count; i++) {
		append_request_release(&sim.requests[i]->append);
		for (size_t part = 0; part < PARTITIONS; part++) {
			buf_release(&sim.requests[i]->bodies[part]);
		}
		free(sim.requests[i]);
	}
	disk_release();
	(void)nftw(sim.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- Many ---- */

static uint64_t number_of(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*end != 0 || end == text) {
		(void)fprintf(stderr, "simulate: '%s' is not a number\n", text);
		exit(2);
	}
	return value;
}

static void run_job(uint64_t first, uint64_t seeds, uint64_t job, uint64_t jobs)
{
	static const struct clock_source source = {simulated_monotonic, simulated_wall, NULL};

	clock_set_source(&source);
	for (uint64_t i = job; i < seeds; i += jobs) {
		run_seed(first + i);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seeds", 1, NULL, 'n'}, {"seed", 1, NULL, 's'},
		{"jobs", 1, NULL, 'j'}, {NULL, 0, NULL, 0}};
	uint64_t seeds = 2000, first = 1, jobs = 2;
	int option, failed = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'n':
			seeds = number_of(optarg);
			break;
		case 's':
			first = number_of(optarg);
			break;
		case 'j':
			jobs = number_of(optarg);
			break;
		default:
			return 2;
		}
	}
	if (jobs == 0 || jobs > 64) {
		(void)fprintf(stderr, "simulate: 1 to 64 jobs\n");
		return 2;
	}
	(void)snprintf(all_dir, sizeof(all_dir), "%s/annals-simulate-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(all_dir) == NULL) {
		perror("simulate: no directory");
		return 2;
	}
	for (uint64_t job = 0; job < jobs; job++) {
		pid_t child = fork();
		if (child == 0) {
			run_job(first, seeds, job, jobs);
			exit(0);
		}
		if (child < 0) {
			perror("simulate: cannot fork");
			return 2;
		}
	}
	for (uint64_t job = 0; job < jobs; job++) {
		int status;
		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			if (WIFSIGNALED(status)) {
				(void)printf(
					"PROBLEM: a job ended with signal %d\n", WTERMSIG(status));
			}
			failed++;
		}
	}
	(void)nftw(all_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	(void)printf("%" PRIu64 " seeds from %" PRIu64 ": %s\n", seeds, first,
		failed == 0 ? "no problem" : "PROBLEMS");
	return failed == 0 ? 0 : 1;
}
