/*
 * The store while the n-th call of a kind fails: each cell (call, effect, n) is a process that
 * opens a store, appends, commits offsets, reads and closes, with one fault. What it was told is in
 * shared memory; another process opens the store afterwards and holds the store to it.
 *
 * usage: test_store_calls [--every K] [--seed S] [--last N] [--only CALL] [--verbose]
 * --every K runs one in K cells, chosen by the seed; n goes up to N (200).
 */
#include "shim.h"
#include "store_harness.h"

#include <annals/crc32c.h>
#include <annals/hash.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define APPENDS 72u
#define PARTITIONS 2u
#define EVENTS 4u
#define EVENT_BYTES 10000u
#define SECONDS_MAX 60u
#define NOT_ASKED 1

/* What the first process was told; shared. */
struct history {
	struct shim_control shim; /* for the dry run's counts */
	int append_status[APPENDS];
	uint64_t append_offset[APPENDS];
	int topic_status;
	uint32_t topic_id;
	uint64_t committed_least, committed_most; /* the group's offset lies between */
	uint32_t fired, unknown, refused, opens_failed;
	bool finished;
	char failure[512];
	char last_error[256];
};

struct cell {
	enum shim_call call;
	int effect;
	uint32_t n, times;
};

static struct history *history;
static struct buf bodies[APPENDS];
static uint32_t body_crcs[APPENDS];
static struct append_part parts[APPENDS];

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...)
{
	va_list arguments;
	shim_exempt(1);
	va_start(arguments, format);
	(void)vsnprintf(history->failure, sizeof(history->failure), format, arguments);
	va_end(arguments);
	_exit(1);
}

#define REQUIRE(condition, ...)                                                                    \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fail(__VA_ARGS__);                                                         \
		}                                                                                  \
	} while (0)

static void options_of(struct store_options *options, const char *dir)
{
	store_options_init(options);
	options->data_dir = dir;
	options->journal_segment_bytes = 256u << 10;
	options->block_bytes_max = 64u << 10;
	options->map_bytes = 64u << 20;
	options->tail_bytes_max = 4u << 20;
	options->disk_reserve_bytes = 0;
	options->retention_interval_us = 20000;
}

/* Opens at the second attempt at the latest: one fault has passed by then. */
static struct store *open_store(const struct store_options *options, uint32_t attempts)
{
	struct store *store = NULL;
	struct error err = {0};
	int status = -1;
	for (uint32_t i = 0; i < attempts && status != 0; i++) {
		shim_exempt(-1);
		status = store_open(options, &store, &err);
		shim_exempt(1);
		if (status != 0) {
			history->opens_failed++;
			(void)snprintf(
				history->last_error, sizeof(history->last_error), "%s", err.text);
			REQUIRE(err.text[0] != 0, "the store did not open and does not say why");
		}
	}
	REQUIRE(status == 0, "the store does not open after the fault: %s", err.text);
	return store;
}

static int run(struct store *store, struct waiter *waiter, struct store_request *request)
{
	int status;
	request->queue = &waiter->queue;
	shim_exempt(-1);
	status = store_submit(store, request, &request->error);
	shim_exempt(1);
	if (status == 0) {
		REQUIRE(waiter_take(waiter, SECONDS_MAX * 500) == request,
			"a request did not come back");
		status = request->status;
	}
	REQUIRE(status == 0 || request->error.text[0] != 0, "status %d without a text", status);
	return status;
}

/* A sync of the journal failed since the store was opened: from then on nothing may be
 * acknowledged. */
static bool is_poisoned(uint32_t fired_at_open)
{
	const struct shim_control *shim = shim_control();
	return shim->fired > fired_at_open &&
	       (shim->call == SHIM_FDATASYNC || shim->call == SHIM_FSYNC) &&
	       strstr(shim->fired_path, ".segment") != NULL;
}

/* Does the armed call serve reading as well? */
static bool may_hit_reads(void)
{
	int call = shim_control()->call;
	return call == SHIM_OPEN || call == SHIM_READ || call == SHIM_MMAP || call == SHIM_ALLOC;
}

static void read_something(struct store *store, uint32_t partition)
{
	struct read_request page = {.base.operation = STORE_READ,
		.topic_id = history->topic_id,
		.partition = partition,
		.bytes_max = 65536};
	shim_exempt(-1);
	int waits = store_read(store, &page.base, 0);
	shim_exempt(1);
	REQUIRE(waits == 0, "a read that may block was handed over");
	if (page.base.status == 0 && page.batches.size > 0) {
		struct batch batch;
		bool known = false;
		REQUIRE(batch_view(buf_bytes(&page.batches), &batch) == 0, "a read batch is bad");
		for (uint32_t i = 0; i < APPENDS; i++) {
			known |= body_crcs[i] == batch.stamp.body_crc;
		}
		REQUIRE(known, "a read returned what nobody wrote");
	}
	/* Only what the fault itself hit may fail, and a failed write or sync hits no read. */
	REQUIRE(page.base.status == 0 || (shim_control()->fired > 0 && may_hit_reads()),
		"a read failed: %s", page.base.error.text);
	buf_release(&page.batches);
}

static void workload(const char *dir, const struct cell *cell)
{
	struct store_options options;
	struct waiter waiter;
	struct topic_request topic = {.base.operation = STORE_TOPIC_CREATE, .name = "t"};
	uint32_t fired_at_open;
	bool stopped = false;
	(void)alarm(SECONDS_MAX);
	options_of(&options, dir);
	waiter_init(&waiter);
	shim_exempt(1);
	if (cell != NULL) {
		shim_arm(shim_control(), cell->call, cell->effect, cell->n, cell->times);
	}
	struct store *store = open_store(&options, cell == NULL ? 1 : cell->times + 1);
	fired_at_open = shim_control()->fired;
	topic.config.partitions = PARTITIONS;
	for (uint32_t tries = 0; tries < 3; tries++) {
		history->topic_status = run(store, &waiter, &topic.base);
		if (history->topic_status == ANNALS_E_OUTCOME_UNKNOWN ||
			history->topic_status == ANNALS_E_UNAVAILABLE) {
			store_close(store);
			store = open_store(&options, 1);
			fired_at_open = shim_control()->fired;
		} else if (history->topic_status == 0) {
			break;
		}
		(void)usleep(150000);
	}
	REQUIRE(history->topic_status == 0, "no topic: %s", topic.base.error.text);
	history->topic_id = topic.topic->id;
	topic_unref(topic.topic);
	for (uint32_t i = 0; i < APPENDS; i++) {
		struct append_request append = {.base.operation = STORE_APPEND,
			.topic_id = history->topic_id,
			.part_count = 1,
			.one_part = parts[i]};
		bool poisoned = is_poisoned(fired_at_open);
		append.parts = &append.one_part;
		int status = run(store, &waiter, &append.base);
		history->append_status[i] = status;
		history->append_offset[i] = append.one_part.base_offset;
		REQUIRE(status != 0 || !poisoned, "append %u acknowledged after a failed sync", i);
		REQUIRE(status != 0 || !stopped, "append %u acknowledged after an unknown one", i);
		stopped |= status == ANNALS_E_OUTCOME_UNKNOWN;
		history->unknown += status == ANNALS_E_OUTCOME_UNKNOWN;
		history->refused += status != 0 && status != ANNALS_E_OUTCOME_UNKNOWN;
		if (status == 0 && i % 8 == 7) {
			struct offset_entry entry = {
				.topic_id = history->topic_id, .partition = i % PARTITIONS};
			struct offset_request commit = {.base.operation = STORE_OFFSET_COMMIT,
				.entries = &entry,
				.entry_count = 1};
			(void)snprintf(commit.group, sizeof(commit.group), "g");
			entry.offset = append.one_part.base_offset + 1;
			history->committed_most = entry.offset;
			status = run(store, &waiter, &commit.base);
			history->committed_least =
				status == 0 ? entry.offset : history->committed_least;
			REQUIRE(status != 0 || !is_poisoned(fired_at_open) || !poisoned,
				"a commit acknowledged after a failed sync");
		}
		if (i % 6 == 0) {
			read_something(store, i / 6 % PARTITIONS);
		}
		if (stopped || status == ANNALS_E_UNAVAILABLE) {
			read_something(store, 0);
			shim_exempt(-1);
			store_close(store);
			shim_exempt(1);
			store = open_store(&options, cell == NULL ? 1 : cell->times + 1);
			fired_at_open = shim_control()->fired;
			stopped = false;
		}
	}
	shim_exempt(-1);
	store_close(store);
	shim_exempt(1);
	waiter_release(&waiter);
	history->fired = shim_control()->fired;
	memcpy(&history->shim, shim_control(), sizeof(history->shim));
	history->finished = true;
	_exit(0);
}

/* ---- Afterwards ---- */

static void note_problem(void *arg, const char *text)
{
	(void)arg;
	fail("verify: %s", text);
}

static void check_batch(const struct batch *batch, uint32_t partition, bool seen[APPENDS])
{
	for (uint32_t i = 0; i < APPENDS; i++) {
		if (body_crcs[i] != batch->stamp.body_crc) {
			continue;
		}
		REQUIRE(parts[i].partition == partition, "append %u is in another partition", i);
		REQUIRE(batch->body.size == bodies[i].size &&
				memcmp(batch->body.data, bodies[i].data, bodies[i].size) == 0,
			"the bytes of append %u changed", i);
		REQUIRE(!seen[i], "append %u is there twice", i);
		REQUIRE(history->append_status[i] == 0 ||
				history->append_status[i] == ANNALS_E_OUTCOME_UNKNOWN,
			"append %u was refused with %d and is there", i, history->append_status[i]);
		REQUIRE(history->append_status[i] != 0 ||
				history->append_offset[i] == batch->stamp.base_offset,
			"append %u is at another offset", i);
		seen[i] = true;
		return;
	}
	fail("the store holds what nobody wrote");
}

static void check_partition(struct store *store, uint32_t partition, bool seen[APPENDS])
{
	uint64_t offset = 0;
	for (;;) {
		struct read_request page = {.base.operation = STORE_READ,
			.topic_id = history->topic_id,
			.partition = partition,
			.offset = offset,
			.bytes_max = 1u << 20};
		(void)store_read(store, &page.base, 0);
		REQUIRE(page.base.status == 0, "cannot read back: %s", page.base.error.text);
		struct bytes left = buf_bytes(&page.batches);
		bool ended = left.size == 0;
		while (left.size > 0) {
			struct batch batch;
			REQUIRE(batch_view(left, &batch) == 0, "a batch is bad");
			REQUIRE(batch.stamp.base_offset == offset, "offsets are not dense");
			offset += batch.stamp.count;
			check_batch(&batch, partition, seen);
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
		buf_release(&page.batches);
		if (ended) {
			return;
		}
	}
}

static void afterwards(const char *dir)
{
	struct verify_options verify = {
		.data_dir = dir, .map_bytes = 64u << 20, .problem = note_problem};
	struct verify_report report;
	struct store_options options;
	struct error err = {0};
	bool seen[APPENDS] = {false};
	struct offset_entry entry = {0};
	(void)alarm(SECONDS_MAX);
	shim_exempt(1);
	REQUIRE(store_verify(&verify, &report, &err) == 0, "cannot verify: %s", err.text);
	options_of(&options, dir);
	struct store *store = open_store(&options, 1);
	for (uint32_t i = 0; i < PARTITIONS; i++) {
		check_partition(store, i, seen);
	}
	for (uint32_t i = 0; i < APPENDS; i++) {
		REQUIRE(seen[i] || history->append_status[i] != 0,
			"append %u was acknowledged and is lost", i);
	}
	for (uint32_t i = 0; i < PARTITIONS; i++) {
		int found = store_offset_get(
			store, bytes_text("g"), history->topic_id, i, &entry, NULL, &err);
		REQUIRE(found >= 0, "cannot read the group's offset: %s", err.text);
		REQUIRE(found == 0 || entry.offset <= history->committed_most,
			"the group's offset was never committed");
		if (i == 1) {
			uint64_t offset = found == 0 ? 0 : entry.offset;
			REQUIRE(offset >= history->committed_least, "a committed offset is lost");
		}
	}
	store_close(store);
	_exit(0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static bool ended_well(pid_t pid, const char *what, const struct cell *cell)
{
	int status = 0;
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		return false;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		return true;
	}
	(void)fprintf(stderr, "FAILED %s=%s n=%u times=%u, %s: %s%s (last error: %s) at %s\n",
		cell != NULL ? shim_call_name(cell->call) : "none",
		cell != NULL ? shim_effect_name(cell->effect) : "none", cell != NULL ? cell->n : 0,
		cell != NULL ? cell->times : 0, what,
		WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "", history->failure,
		history->last_error, shim_control()->fired_path);
	return false;
}

/* One cell, from an empty directory to an empty directory. */
static bool run_cell(const struct cell *cell, bool verbose)
{
	char dir[] = "/dev/shm/annals-calls-XXXXXX";
	char fallback[] = "/tmp/annals-calls-XXXXXX";
	char *made = mkdtemp(dir);
	made = made != NULL ? made : mkdtemp(fallback);
	if (made == NULL) {
		perror("mkdtemp");
		return false;
	}
	memset(history, 0, sizeof(*history));
	for (uint32_t i = 0; i < APPENDS; i++) {
		history->append_status[i] = NOT_ASKED;
	}
	pid_t pid = fork();
	if (pid == 0) {
		workload(made, cell);
	}
	bool good = ended_well(pid, "workload", cell);
	if (good) {
		pid = fork();
		if (pid == 0) {
			afterwards(made);
		}
		good = ended_well(pid, "afterwards", cell);
	}
	if (verbose && cell != NULL) {
		(void)printf("%s %s %u x%u: fired %u, unknown %u, refused %u, opens failed %u %s\n",
			shim_call_name(cell->call), shim_effect_name(cell->effect), cell->n,
			cell->times, history->fired, history->unknown, history->refused,
			history->opens_failed, history->last_error);
	}
	(void)nftw(made, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return good;
}

static const struct {
	enum shim_call call;
	int effects[5];
} matrix[] = {
	{SHIM_OPEN, {EIO, ENOSPC, EMFILE, ENOMEM}},
	{SHIM_READ, {EIO, EINTR, SHIM_SHORT}},
	{SHIM_WRITE, {EIO, ENOSPC, EINTR, SHIM_SHORT}},
	{SHIM_PWRITE, {EIO, ENOSPC, EINTR, SHIM_SHORT}},
	{SHIM_WRITEV, {EIO, ENOSPC, EINTR, SHIM_SHORT}},
	{SHIM_PWRITEV, {EIO, ENOSPC, EINTR, SHIM_SHORT}},
	{SHIM_FSYNC, {EIO, ENOSPC}},
	{SHIM_FDATASYNC, {EIO, ENOSPC}},
	{SHIM_FTRUNCATE, {EIO, ENOSPC}},
	{SHIM_FALLOCATE, {EIO, ENOSPC, EINTR, EOPNOTSUPP}},
	{SHIM_RENAME, {EIO, ENOSPC}},
	{SHIM_UNLINK, {EIO}},
	{SHIM_MMAP, {ENOMEM}},
	{SHIM_ALLOC, {ENOMEM}},
};

static bool prepare_append(uint32_t i)
{
	static uint8_t data[EVENT_BYTES];
	struct random random = {i + 1};
	struct buf scratch = BUF_INIT;
	struct batch_limits limits = {0};
	struct append_part *part = &parts[i];
	for (uint32_t event = 0; event < EVENTS; event++) {
		char id[32];
		for (size_t at = 0; at < sizeof(data); at += 8) {
			store_u64(data + at, random_next(&random));
		}
		(void)snprintf(id, sizeof(id), "%u-%u", i, event);
		struct record record = {.id = bytes_text(id),
			.source = bytes_text("/test"),
			.type = bytes_text("test.happened"),
			.has_data = true,
			.data = bytes_of(data, sizeof(data))};
		if (record_encode_in_batch(&record, &bodies[i]) != 0) {
			return false;
		}
	}
	part->partition = i % PARTITIONS;
	part->body = buf_bytes(&bodies[i]);
	part->body_crc = crc32c(0, part->body.data, part->body.size);
	body_crcs[i] = part->body_crc;
	int status =
		batch_check_body(part->body, BATCH_PLAIN, &limits, &scratch, &part->summary, NULL);
	buf_release(&scratch);
	return status == 0;
}

static bool prepare(void)
{
	history = mmap(
		NULL, sizeof(*history), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (history == MAP_FAILED) {
		return false;
	}
	for (uint32_t i = 0; i < APPENDS; i++) {
		if (!prepare_append(i)) {
			return false;
		}
	}
	return true;
}

struct totals {
	unsigned cells, fired, failed;
};

static void run_row(size_t row, const uint32_t counts[SHIM_CALLS], uint32_t every, uint32_t seed,
	uint32_t last, bool verbose, struct totals *totals)
{
	for (size_t e = 0; e < 5 && matrix[row].effects[e] != 0; e++) {
		uint32_t calls = counts[matrix[row].call];
		for (uint32_t n = 1; n <= last && n <= calls + calls / 4 + 2; n++) {
			struct cell cell = {matrix[row].call, matrix[row].effects[e], n, 1};
			/* Spread over the series, so that each is met early and late. */
			if ((n * 7 + e * 3 + row * 5) % every != seed % every) {
				continue;
			}
			totals->cells++;
			totals->failed += !run_cell(&cell, verbose);
			totals->fired += history->fired > 0;
		}
	}
}

int main(int argc, char **argv)
{
	uint32_t every = 1, seed = 1, last = 200;
	const char *only = NULL;
	bool verbose = false;
	uint32_t counts[SHIM_CALLS];
	struct totals totals = {0};
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "0";
		if (strcmp(argv[i], "--verbose") == 0) {
			verbose = true;
			continue;
		}
		every = strcmp(argv[i], "--every") == 0 ? (uint32_t)atoi(value) : every;
		seed = strcmp(argv[i], "--seed") == 0 ? (uint32_t)atoi(value) : seed;
		last = strcmp(argv[i], "--last") == 0 ? (uint32_t)atoi(value) : last;
		only = strcmp(argv[i], "--only") == 0 ? value : only;
		i++;
	}
	if (every == 0 || !prepare() || !run_cell(NULL, verbose)) {
		return 2;
	}
	for (size_t i = 0; i < SHIM_CALLS; i++) {
		counts[i] = history->shim.counts[i];
	}
	for (size_t row = 0; row < sizeof(matrix) / sizeof(matrix[0]); row++) {
		if (only == NULL || strcmp(only, shim_call_name(matrix[row].call)) == 0) {
			run_row(row, counts, every, seed, last, verbose, &totals);
		}
	}
	(void)printf("%u cells run, in %u the fault was met, %u failed\n", totals.cells,
		totals.fired, totals.failed);
	for (uint32_t i = 0; i < APPENDS; i++) {
		buf_release(&bodies[i]);
	}
	return totals.failed == 0 && totals.fired > 0 ? 0 : 1;
}
