/*
 * What index runs cost: writes RUNS runs of ENTRIES entries into an environment in DIR, looks up
 * hashes that are there and hashes that are not, in all runs as an append would, merges the runs
 * and looks up again.
 *
 *   bench-index DIR [ENTRIES, default 250000] [RUNS, default 10]
 */
#include "index/run.h"
#include "index/run_cache.h"

#include <annals/clock.h>
#include <annals/hash.h>
#include <stdio.h>
#include <stdlib.h>

#define TOPIC 1u
#define LOOKUPS 300000u
#define STEP_BYTES (4u << 20)

static struct env env;
static struct error err;

static void must(int status)
{
	if (status < 0) {
		(void)fprintf(stderr, "bench-index: %s\n", err.text);
		exit(1);
	}
}

static struct index_hash hash_of(uint64_t number)
{
	struct random random = {.state = number << 20};
	uint64_t high = random_next(&random);
	return (struct index_hash){high, random_next(&random)};
}

static int compare(const void *a, const void *b)
{
	return index_entry_compare(a, b);
}

static double seconds_since(uint64_t start_ns)
{
	return (double)(clock_monotonic_ns() - start_ns) / 1e9;
}

static void write_runs(size_t count, uint64_t runs)
{
	struct index_entry *entries = calloc(count, sizeof(*entries));
	double seconds = 0;
	must(entries == NULL ? ANNALS_E_NO_MEMORY : 0);
	for (uint64_t r = 0; r < runs; r++) {
		struct run run = {.id = r + 1, .first_block = r + 1, .last_block = r + 1};
		MDB_txn *txn;
		for (size_t i = 0; i < count; i++) {
			entries[i] = (struct index_entry){
				.hash = hash_of(r * count + i), .order = r * count + i};
		}
		qsort(entries, count, sizeof(*entries), compare);
		uint64_t start_ns = clock_monotonic_ns();
		must(env_begin(&env, &txn, &err));
		must(run_write(&env, txn, TOPIC, INDEX_STREAM, &run, entries, count, &err));
		must(env_commit(txn, &err));
		seconds += seconds_since(start_ns);
	}
	(void)printf("write: %.0f MB/s, %.2f M entries/s\n",
		(double)(runs * count * INDEX_ENTRY_BYTES) / seconds / 1e6,
		(double)(runs * count) / seconds / 1e6);
	free(entries);
}

/* In all runs; a snapshot for 1,000 lookups, as a slice of work. */
static void look_up(const char *what, uint64_t first, uint64_t numbers)
{
	struct random random = {.state = 1};
	struct run_list list = {.count = 0};
	struct run_cache *cache = run_cache_new();
	struct snapshot *snapshot = NULL;
	MDB_cursor *cursor = NULL;
	must(cache == NULL ? ANNALS_E_NO_MEMORY : 0);
	uint64_t found = 0, start_ns = clock_monotonic_ns();
	for (uint32_t i = 0; i < LOOKUPS; i++) {
		struct index_entry entry;
		if (i % 1000 == 0) {
			env_snapshot_end(&env, snapshot);
			must(env_snapshot_begin(&env, &snapshot, &err));
			must(env_snapshot_cursor(&env, snapshot, TABLE_INDEX, &cursor, &err));
			must(run_list_load(cursor, TOPIC, INDEX_STREAM, &list, &err));
		}
		struct index_hash hash = hash_of(first + random_below(&random, numbers));
		int status =
			run_cache_newest(cache, cursor, TOPIC, INDEX_STREAM, hash, &entry, &err);
		must(status);
		found += (uint64_t)status;
	}
	double seconds = seconds_since(start_ns);
	env_snapshot_end(&env, snapshot);
	run_cache_free(cache);
	(void)printf("look up, %s, %u runs: %.2f M/s, %.2f us each (%llu of %u found)\n", what,
		list.count, LOOKUPS / seconds / 1e6, seconds * 1e6 / LOOKUPS,
		(unsigned long long)found, LOOKUPS);
}

static void merge_runs(uint64_t entries)
{
	struct run_merge *merge;
	MDB_txn *txn;
	uint64_t start_ns = clock_monotonic_ns(), longest_ns = 0;
	uint32_t topic = 0;
	int status, steps = 0;
	must(env_begin(&env, &txn, &err));
	status = run_merge_begin(
		&env, txn, TOPIC, INDEX_STREAM, 1000, UINT64_MAX, NULL, NULL, &merge, &err);
	must(status);
	mdb_txn_abort(txn);
	if (status == 0) {
		return;
	}
	while (status == 1) {
		uint64_t step_ns = clock_monotonic_ns();
		must(env_begin(&env, &txn, &err));
		status = run_merge_step(merge, txn, STEP_BYTES, &err);
		must(status);
		must(env_commit(txn, &err));
		step_ns = clock_monotonic_ns() - step_ns;
		longest_ns = ANNALS_MAX(longest_ns, step_ns);
		steps++;
	}
	run_merge_free(merge);
	double seconds = seconds_since(start_ns);
	(void)printf("merge: %.0f MB/s, %.2f M entries/s; %d steps, the longest %.1f ms\n",
		(double)(entries * INDEX_ENTRY_BYTES) / seconds / 1e6,
		(double)entries / seconds / 1e6, steps, (double)longest_ns / 1e6);
	start_ns = clock_monotonic_ns();
	uint64_t pages = 0;
	while (topic != UINT32_MAX) {
		must(env_begin(&env, &txn, &err));
		status = run_collect_garbage(&env, txn, 0, 400, &topic, &err);
		must(status);
		must(env_commit(txn, &err));
		pages += (uint64_t)status;
	}
	(void)printf("garbage: %llu pages in %.2f s\n", (unsigned long long)pages,
		seconds_since(start_ns));
	start_ns = clock_monotonic_ns();
	must(env_begin(&env, &txn, &err));
	topic = 0;
	must(run_collect_garbage(&env, txn, 0, 400, &topic, &err));
	mdb_txn_abort(txn);
	(void)printf("garbage, when there is none: %.0f us\n", seconds_since(start_ns) * 1e6);
}

int main(int argc, char **argv)
{
	uint64_t entries = argc > 2 ? strtoull(argv[2], NULL, 10) : 250000;
	uint64_t runs = argc > 3 ? strtoull(argv[3], NULL, 10) : 10;
	if (argc < 2 || entries == 0 || runs == 0 || runs > RUNS_PER_INDEX_MAX ||
		entries > 100000000) {
		(void)fprintf(stderr, "usage: bench-index DIR [ENTRIES] [RUNS]\n");
		return 2;
	}
	must(env_open(&env, argv[1], UINT64_C(64) << 30, false, &err));
	write_runs(entries, runs);
	look_up("present", 0, entries * runs);
	look_up("absent", entries * runs, entries * runs);
	merge_runs(entries * runs);
	look_up("present", 0, entries * runs);
	look_up("absent", entries * runs, entries * runs);
	env_close(&env);
	return 0;
}
