/*
 * A populated store whose files rot: one damage at a time to a copy, then processes open it, read
 * all of it, append to it, and verify it. Whatever the damage: no process is killed by a signal or
 * hangs, no read gives other bytes than were written or skips some with success, and what cannot be
 * opened says why.
 *
 * usage: test_bitrot [--count N] [--seed S] [--salvage] [--verbose]
 * --salvage: what is intact is written to a new store instead, and that is checked.
 */
#include "store_harness.h"

#include <annals/bytes.h>
#include <annals/crc32c.h>
#include <annals/hash.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define APPENDS 120u
#define TOPICS 2u
#define EVENTS 3u
#define SECONDS_MAX 30u
#define PAGE 4096u

enum damage { FLIP, ZERO_SECTOR, ZERO_PAGE, SWAP_PAGES, STALE_PAGE, TRUNCATE, DAMAGES };
static const char *const damage_names[DAMAGES] = {
	"flip", "zeroed sector", "zeroed page", "swapped pages", "stale page", "truncated"};

struct result {
	uint64_t read_errors, batches_read, problems, holes;
	bool opened;
	char text[256], failure[256];
};

static struct result *result;
static bool is_cut; /* the damage is TRUNCATE */
static struct buf bodies[APPENDS];
static uint32_t body_crcs[APPENDS];
static char good[64], rotten[64], stale[64], saved[64];
static uint64_t expected_ends[TOPICS];
static uint32_t topic_ids[TOPICS];

static void fail(const char *text)
{
	(void)snprintf(result->failure, sizeof(result->failure), "%s", text);
	_exit(1);
}

static void options_of(struct store_options *options, const char *dir)
{
	store_options_init(options);
	options->data_dir = dir;
	options->journal_segment_bytes = 1u << 20;
	options->block_bytes_max = 256u << 10;
	options->map_bytes = 256u << 20;
	options->tail_bytes_max = 3u << 20;
	options->disk_reserve_bytes = 0;
}

static bool make_body(uint32_t i, struct append_part *part)
{
	static uint8_t data[65536];
	struct random random = {i + 1};
	struct buf scratch = BUF_INIT;
	struct batch_limits limits = {0};
	size_t size = i % 10 == 9 ? 60000 : 3000 + i * 100;
	buf_reset(&bodies[i]);
	for (uint32_t event = 0; event < EVENTS; event++) {
		char id[32];
		for (size_t at = 0; at < size; at += 8) {
			store_u64(data + at, random_next(&random));
		}
		(void)snprintf(id, sizeof(id), "%u-%u", i, event);
		struct record record = {.id = bytes_text(id),
			.source = bytes_text("/test"),
			.type = bytes_text("test.happened"),
			.has_data = true,
			.data = bytes_of(data, size)};
		if (record_encode_in_batch(&record, &bodies[i]) != 0) {
			return false;
		}
	}
	part->body = buf_bytes(&bodies[i]);
	part->body_crc = body_crcs[i] = crc32c(0, part->body.data, part->body.size);
	int status =
		batch_check_body(part->body, BATCH_PLAIN, &limits, &scratch, &part->summary, NULL);
	buf_release(&scratch);
	return status == 0;
}

static int run(struct store *store, struct waiter *waiter, struct store_request *request)
{
	request->queue = &waiter->queue;
	int status = store_submit(store, request, &request->error);
	if (status == 0 && waiter_take(waiter, SECONDS_MAX * 500) != request) {
		fail("a request did not come back");
	}
	return status != 0 ? status : request->status;
}

static int append(struct store *store, struct waiter *waiter, uint32_t i)
{
	struct append_request request = {.base.operation = STORE_APPEND, .part_count = 1};
	request.topic_id = topic_ids[i % TOPICS];
	request.parts = &request.one_part;
	if (!make_body(i, &request.one_part)) {
		return -1;
	}
	return run(store, waiter, &request.base);
}

static void copy_dir(const char *from, const char *to)
{
	char command[256];
	(void)snprintf(command, sizeof(command), "rm -rf '%s' && cp -a '%s' '%s'", to, from, to);
	if (system(command) != 0) {
		perror(command);
		exit(2);
	}
}

/* Two halves, with a copy of the first as the source of stale pages. */
static bool populate(void)
{
	struct store_options options;
	struct store *store;
	struct waiter waiter;
	struct error err = {0};
	options_of(&options, good);
	waiter_init(&waiter);
	if (store_open(&options, &store, &err) != 0) {
		return false;
	}
	for (uint32_t t = 0; t < TOPICS; t++) {
		struct topic_request topic = {.base.operation = STORE_TOPIC_CREATE};
		(void)snprintf(topic.name, sizeof(topic.name), "t%u", t);
		topic.config.partitions = 1;
		if (run(store, &waiter, &topic.base) != 0) {
			return false;
		}
		topic_ids[t] = topic.topic->id;
		topic_unref(topic.topic);
	}
	for (uint32_t i = 0; i < APPENDS; i++) {
		if (append(store, &waiter, i) != 0) {
			return false;
		}
		expected_ends[i % TOPICS] += EVENTS;
		if (i == APPENDS * 3 / 4) {
			(void)usleep(300000);
			store_close(store);
			copy_dir(good, stale);
			if (store_open(&options, &store, &err) != 0) {
				return false;
			}
		}
	}
	(void)usleep(300000);
	store_close(store);
	waiter_release(&waiter);
	return true;
}

/* Every batch that is delivered must be the one that was written there. */
static void read_topic(struct store *store, uint32_t t)
{
	uint64_t offset = 0;
	struct partition_info info;
	if (store_partition_info(store, topic_ids[t], 0, &info) != 0) {
		fail("a topic vanished and the store opened all the same");
	}
	if (info.first_offset != 0 || info.end_offset < expected_ends[t]) {
		(void)snprintf(result->failure, sizeof(result->failure),
			"topic %u: offsets [%llu, %llu) instead of [0, %llu)", t,
			(unsigned long long)info.first_offset, (unsigned long long)info.end_offset,
			(unsigned long long)expected_ends[t]);
		_exit(1);
	}
	while (offset < expected_ends[t]) {
		struct read_request page = {.base.operation = STORE_READ,
			.topic_id = topic_ids[t],
			.offset = offset,
			.bytes_max = 256u << 10};
		(void)store_read(store, &page.base, 0);
		if (page.base.status != 0) {
			result->read_errors++;
			if (page.base.error.text[0] == 0) {
				fail("a read failed without a text");
			}
			(void)snprintf(
				result->text, sizeof(result->text), "%s", page.base.error.text);
			buf_release(&page.batches);
			if (page.next_offset <= offset) {
				return;
			}
			offset = page.next_offset;
			continue;
		}
		struct bytes left = buf_bytes(&page.batches);
		if (left.size == 0) {
			fail("a page is empty before the end");
		}
		while (left.size > 0) {
			struct batch batch;
			if (batch_view(left, &batch) != 0 || batch.stamp.base_offset != offset) {
				fail("a page has a gap");
			}
			uint32_t i = (uint32_t)(offset / EVENTS) * TOPICS + t;
			if (i < APPENDS && (batch.stamp.body_crc != body_crcs[i] ||
						   crc32c(0, batch.body.data, batch.body.size) !=
							   body_crcs[i])) {
				fail("other bytes than were written were delivered");
			}
			result->batches_read++;
			offset += batch.stamp.count;
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
		buf_release(&page.batches);
	}
}

static void use_store(void)
{
	struct store_options options;
	struct store *store;
	struct waiter waiter;
	struct error err = {0};
	(void)alarm(SECONDS_MAX);
	options_of(&options, rotten);
	waiter_init(&waiter);
	if (store_open(&options, &store, &err) != 0) {
		(void)snprintf(result->text, sizeof(result->text), "%s", err.text);
		if (err.text[0] == 0) {
			fail("the store does not open and does not say why");
		}
		_exit(0);
	}
	result->opened = true;
	for (uint32_t t = 0; t < TOPICS; t++) {
		read_topic(store, t);
	}
	for (uint32_t i = 0; i < 8; i++) {
		(void)append(store, &waiter, i);
	}
	store_close(store);
	_exit(0);
}

static void note_problem(void *arg, const char *text)
{
	(void)arg;
	result->problems++;
	(void)snprintf(result->text, sizeof(result->text), "%s", text);
}

static void verify_store(void)
{
	struct verify_options verify = {
		.data_dir = rotten, .map_bytes = 256u << 20, .problem = note_problem};
	struct verify_report report;
	struct error err = {0};
	(void)alarm(SECONDS_MAX);
	int status = store_verify(&verify, &report, &err);
	result->problems += status != 0;
	_exit(0);
}

/* ---- Salvage ---- */

/* What was saved is right, in its place, and the rest is holes. */
static void read_saved(struct store *store, uint32_t t)
{
	uint64_t offset = 0;
	struct partition_info info;
	if (store_partition_info(store, topic_ids[t], 0, &info) != 0) {
		fail("a topic was not saved");
	}
	if (info.first_offset != 0) {
		fail("the first offset moved");
	}
	while (offset < info.end_offset) {
		struct read_request page = {.base.operation = STORE_READ,
			.topic_id = topic_ids[t],
			.offset = offset,
			.bytes_max = 256u << 10};
		(void)store_read(store, &page.base, 0);
		if (page.base.status != 0 || page.batches.size == 0) {
			fail("the new store cannot be read");
		}
		struct bytes left = buf_bytes(&page.batches);
		while (left.size > 0) {
			struct batch batch;
			if (batch_view(left, &batch) != 0 || batch.stamp.base_offset != offset) {
				fail("the new store has a gap");
			}
			uint32_t i = (uint32_t)(offset / EVENTS) * TOPICS + t;
			if (batch.stamp.kind == BATCH_HOLE) {
				result->holes += batch.stamp.count;
			} else if (i >= APPENDS || batch.stamp.body_crc != body_crcs[i]) {
				fail("the new store holds something else at an offset");
			} else {
				result->batches_read++;
			}
			offset += batch.stamp.count;
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
		buf_release(&page.batches);
	}
}

static void salvage_store(void)
{
	struct salvage_options salvage = {
		.data_dir = rotten, .new_dir = saved, .map_bytes = 256u << 20};
	struct salvage_report report;
	struct verify_options verify = {
		.data_dir = saved, .map_bytes = 256u << 20, .problem = note_problem};
	struct verify_report checked;
	struct store_options options;
	struct store *store;
	struct error err = {0};
	(void)alarm(SECONDS_MAX);
	if (store_salvage(&salvage, &report, &err) != 0) {
		fail(err.text);
	}
	if (store_verify(&verify, &checked, &err) != 0 || checked.problems > 0) {
		fail(result->text);
	}
	store_options_init(&options);
	options.data_dir = saved;
	options.map_bytes = 256u << 20;
	if (store_open(&options, &store, &err) != 0) {
		fail(err.text);
	}
	for (uint32_t t = 0; t < TOPICS; t++) {
		read_saved(store, t);
	}
	store_close(store);
	/* One damage touches a page or two, unless it cuts a file short. */
	if (report.lost_events != result->holes ||
		(!is_cut && result->batches_read < APPENDS / 2)) {
		fail("more was lost than can be");
	}
	_exit(0);
}

/* ---- Damage ---- */

struct target {
	char path[256], old_path[256];
	uint64_t size;
};
static struct target targets[32];
static size_t target_count;

/* Of data.mdb: the rest is allocated ahead. Meta pages keep the last page's number at byte 136. */
static uint64_t used_bytes(const char *path)
{
	uint8_t last[2][8] = {{0}};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, last[0], 8, 136) != 8 || pread(fd, last[1], 8, PAGE + 136) != 8) {
		exit(2);
	}
	(void)close(fd);
	return (ANNALS_MAX(load_u64(last[0]), load_u64(last[1])) + 1) * PAGE;
}

static void add_target(const char *sub, const char *name, bool is_journal)
{
	struct target *target = &targets[target_count];
	struct stat st;
	(void)snprintf(target->path, sizeof(target->path), "%s/shards/0/%s/%s", rotten, sub, name);
	(void)snprintf(
		target->old_path, sizeof(target->old_path), "%s/shards/0/%s/%s", stale, sub, name);
	if (stat(target->path, &st) == 0 && target_count < 31) {
		target->size = is_journal ? (uint64_t)st.st_size : used_bytes(target->path);
		target_count++;
	}
}

static void find_targets(void)
{
	char dir_path[128];
	struct dirent *entry;
	(void)snprintf(dir_path, sizeof(dir_path), "%s/shards/0/journal", rotten);
	DIR *dir = opendir(dir_path);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (strstr(entry->d_name, ".segment") != NULL ||
			strcmp(entry->d_name, "witness") == 0) {
			add_target("journal", entry->d_name, true);
		}
	}
	if (dir != NULL) {
		(void)closedir(dir);
	}
	add_target("lmdb", "data.mdb", false);
}

/* Does the damage and describes it; false if it changes nothing. */
static bool harm(
	enum damage damage, const struct target *target, struct random *random, char out[256])
{
	uint8_t before[PAGE], after[PAGE], other[PAGE];
	uint64_t pages = target->size / PAGE;
	uint64_t page = random_next(random) % pages, second = random_next(random) % pages;
	unsigned bit = (unsigned)(random_next(random) % (PAGE * 8));
	int fd = open(target->path, O_RDWR | O_CLOEXEC);
	bool changed = false;
	if (fd < 0 || pread(fd, before, PAGE, (off_t)(page * PAGE)) != PAGE) {
		exit(2);
	}
	memcpy(after, before, PAGE);
	(void)snprintf(out, 256, "%s of %s, page %llu bit %u (other page %llu)",
		damage_names[damage], strrchr(target->path, '/') + 1, (unsigned long long)page, bit,
		(unsigned long long)second);
	if (damage == FLIP) {
		after[bit / 8] ^= (uint8_t)(1u << (bit & 7));
	} else if (damage == ZERO_SECTOR) {
		memset(after + bit / 4096 * 512, 0, 512);
	} else if (damage == ZERO_PAGE) {
		memset(after, 0, PAGE);
	} else if (damage == SWAP_PAGES) {
		if (pread(fd, after, PAGE, (off_t)(second * PAGE)) != PAGE ||
			pwrite(fd, before, PAGE, (off_t)(second * PAGE)) != PAGE) {
			exit(2);
		}
	} else if (damage == STALE_PAGE) {
		int old = open(target->old_path, O_RDONLY | O_CLOEXEC);
		if (old < 0 || pread(old, other, PAGE, (off_t)(page * PAGE)) != PAGE) {
			memcpy(other, before, PAGE);
		}
		memcpy(after, other, PAGE);
		(void)(old >= 0 && close(old));
	} else {
		changed = ftruncate(fd, (off_t)(page * PAGE + bit / 8)) == 0;
		memcpy(after, before, PAGE);
	}
	if (memcmp(before, after, PAGE) != 0) {
		changed = pwrite(fd, after, PAGE, (off_t)(page * PAGE)) == PAGE;
	}
	(void)close(fd);
	return changed;
}

/* The exit code, or 256 + the signal. */
static int in_child(void (*fn)(void))
{
	int status = 0;
	pid_t pid = fork();
	if (pid == 0) {
		fn();
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		return -1;
	}
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

struct totals {
	unsigned done, refused, read_failed, verified, silent, signals, wrong, saved, holes;
};

static void save(const char *what, bool verbose, struct totals *totals)
{
	char command[128];
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", saved);
	(void)(system(command) != 0);
	memset(result, 0, sizeof(*result));
	int code = in_child(salvage_store);
	totals->saved += code == 0;
	totals->holes += result->holes > 0;
	if (code != 0) {
		totals->wrong++;
		(void)fprintf(stderr, "FAILED %s: salvage %d: %s\n", what, code, result->failure);
	} else if (verbose) {
		(void)printf("%s: saved %llu batches, %llu offsets are holes\n", what,
			(unsigned long long)result->batches_read,
			(unsigned long long)result->holes);
	}
}

static void one(struct random *random, bool verbose, bool salvages, struct totals *totals)
{
	char what[256];
	enum damage damage = (enum damage)(random_next(random) % DAMAGES);
	/* LMDB's file as often as all segments together. */
	size_t at = random_next(random) % 2 == 0 ? target_count - 1
						 : random_next(random) % target_count;
	copy_dir(good, rotten);
	if (!harm(damage, &targets[at], random, what)) {
		return;
	}
	totals->done++;
	if (salvages) {
		is_cut = damage == TRUNCATE;
		save(what, verbose, totals);
		return;
	}
	memset(result, 0, sizeof(*result));
	int verify_code = in_child(verify_store);
	uint64_t problems = result->problems;
	totals->verified += problems > 0;
	memset(result, 0, sizeof(*result));
	int code = in_child(use_store);
	totals->refused += !result->opened && code == 0;
	totals->read_failed += result->opened && result->read_errors > 0 && code == 0;
	totals->silent += code == 0 && result->opened && result->read_errors == 0;
	totals->signals += code >= 256 || verify_code >= 256;
	totals->wrong += code > 0 && code < 256;
	if (code != 0 || verify_code != 0) {
		(void)fprintf(stderr, "FAILED %s: use %d verify %d: %s\n", what, code, verify_code,
			result->failure);
	} else if (verbose) {
		(void)printf("%s: %s, %llu problems, %llu failed reads: %s\n", what,
			result->opened ? "opened" : "refused", (unsigned long long)problems,
			(unsigned long long)result->read_errors, result->text);
	}
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int main(int argc, char **argv)
{
	unsigned count = 100;
	struct random random = {1};
	bool verbose = false, salvages = false;
	struct totals totals = {0};
	char base[] = "/dev/shm/annals-bitrot-XXXXXX";
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--verbose") == 0) {
			verbose = true;
		} else if (strcmp(argv[i], "--salvage") == 0) {
			salvages = true;
		} else if (strcmp(argv[i], "--count") == 0 && i + 1 < argc) {
			count = (unsigned)atoi(argv[++i]);
		} else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
			random.state = strtoull(argv[++i], NULL, 0);
		}
	}
	result = mmap(
		NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (result == MAP_FAILED || mkdtemp(base) == NULL) {
		return 77;
	}
	(void)snprintf(good, sizeof(good), "%s/good", base);
	(void)snprintf(rotten, sizeof(rotten), "%s/rotten", base);
	(void)snprintf(stale, sizeof(stale), "%s/stale", base);
	(void)snprintf(saved, sizeof(saved), "%s/saved", base);
	if (!populate()) {
		(void)fprintf(stderr, "cannot populate the store\n");
		return 2;
	}
	copy_dir(good, rotten);
	find_targets();
	if (in_child(use_store) != 0 || !result->opened || result->read_errors != 0) {
		(void)fprintf(stderr, "the undamaged store: %s\n", result->failure);
		return 2;
	}
	for (unsigned i = 0; i < count; i++) {
		one(&random, verbose, salvages, &totals);
	}
	(void)printf("%u damages: %u refused at the start, %u failed reads, %u without effect on "
		     "reads; verify found %u; %u signals, %u wrong\n",
		totals.done, totals.refused, totals.read_failed, totals.silent, totals.verified,
		totals.signals, totals.wrong);
	if (salvages) {
		(void)printf("%u salvaged, %u of them with holes\n", totals.saved, totals.holes);
	}
	(void)nftw(base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return totals.signals + totals.wrong == 0 && totals.done > 0 ? 0 : 1;
}
