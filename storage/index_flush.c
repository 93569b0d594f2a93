/*
 * Indexes on their way to LMDB: what memory holds is written as runs, all topics' in one
 * transaction with the watermark; runs are merged, expired and swept a step at a time. The
 * settler's thread.
 */
#include "facts.h"
#include "topic_index.h"

#include <annals/clock.h>
#include <annals/fault.h>
#include <stdlib.h>

#define MERGE_STEP_BYTES (4u << 20)
#define GARBAGE_PAGES 400u
#define EXPIRE_INTERVAL_NS UINT64_C(10000000000)
/* A merged run of ids stays small enough to be dropped whole: a share of the window. */
#define ID_RUN_SHARE 4u
#define DEDUPE_EVENTS_DEFAULT UINT64_C(10000000)

struct index_settling {
	struct run_merge *merge; /* in progress */
	struct topic_state *merge_state;
	uint64_t *first_offsets; /* of its partitions when the merge began */
	uint32_t first_offset_count;
	uint64_t merge_run_id;
	uint64_t last_run_id;
	bool knows_last_run_id;
	uint32_t garbage_cursor; /* UINT32_MAX: nothing to collect */
	uint64_t next_expire_ns;
	uint32_t merge_topic; /* where looking for merges goes on; UINT32_MAX: nobody wants any */
	bool merge_again;     /* then once more from the beginning */
	int merge_kind;       /* the kind that comes first: each has its turn */
	bool knows_crowded;
	uint32_t crowded_topic; /* whose runs must become fewer before the next flush; 0: none */
};

static struct index_settling *settling_of(struct shard *shard)
{
	if (shard->index.settling == NULL) {
		/* At first everything is looked at: a merge may have been cut short. */
		shard->index.settling = calloc(1, sizeof(struct index_settling));
	}
	return shard->index.settling;
}

void index_settle_release(struct shard *shard)
{
	struct index_settling *settling = shard->index.settling;

	if (settling != NULL) {
		run_merge_free(settling->merge);
		topic_state_unref(settling->merge_state);
		free(settling->first_offsets);
		free(settling);
		shard->index.settling = NULL;
	}
}

uint64_t index_keep_block(const struct shard *shard, uint64_t keep)
{
	uint64_t oldest = shard->index.oldest_block;

	if (shard->index.frozen_block != 0) {
		oldest = shard->index.frozen_block;
	}
	return oldest != 0 && oldest < keep ? oldest : keep;
}

bool index_has_work(const struct shard *shard)
{
	return shard->index.oldest_block != 0 &&
	       (shard->index.bytes >= INDEX_FLUSH_BYTES ||
		       shard->tail.journal_bytes - shard->index.written_before >=
			       shard->tail.bytes_max * 4);
}

/* One topic's part of a flush. */
struct flushing {
	struct topic_state *state;
	struct topic_index *index;
};

/* Under the mutex: takes the active tables of every dirty topic. */
static int freeze(struct shard *shard, struct flushing **ret, size_t *ret_count)
{
	struct list_node *node;
	struct flushing *list;
	size_t count = 0;

	LIST_FOR_EACH (node, &shard->index.dirty) {
		count++;
	}
	list = calloc(count + 1, sizeof(*list));
	if (list == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	count = 0;
	while ((node = list_pop(&shard->index.dirty)) != NULL) {
		struct topic_index *index = LIST_ENTRY(node, struct topic_index, dirty);
		list_init(&index->dirty);
		for (int kind = 0; kind < INDEX_KINDS; kind++) {
			index->frozen[kind] = index->active[kind];
			index->active[kind] = (struct memtable){0};
		}
		list[count++] = (struct flushing){topic_state_ref(index->state), index};
	}
	shard->index.frozen_block = shard->index.oldest_block;
	shard->index.oldest_block = 0;
	*ret = list;
	*ret_count = count;
	return 0;
}

/* Under the mutex: puts frozen tables back in front of what came since (a flush failed). */
static int thaw_table(struct memtable *frozen, struct memtable *active)
{
	int status = memtable_reserve(frozen, active->count);

	for (uint32_t i = 0; status == 0 && i < active->count; i++) {
		status = memtable_add(frozen, &active->entries[i].entry);
	}
	if (status == 0) {
		memtable_release(active);
		*active = *frozen;
		*frozen = (struct memtable){0};
	}
	return status;
}

static int thaw(struct shard *shard, struct flushing *list, size_t count)
{
	int status = 0;

	(void)pthread_mutex_lock(&shard->tail.mutex);
	for (size_t i = 0; i < count; i++) {
		struct topic_index *index = list[i].index;
		for (int kind = 0; kind < INDEX_KINDS; kind++) {
			uint64_t before = memtable_bytes(&index->frozen[kind]) +
					  memtable_bytes(&index->active[kind]);
			if (list[i].state->deleted) {
				memtable_release(&index->frozen[kind]);
			} else if (thaw_table(&index->frozen[kind], &index->active[kind]) != 0) {
				status = ANNALS_E_NO_MEMORY;
			}
			shard->index.bytes += memtable_bytes(&index->frozen[kind]) +
					      memtable_bytes(&index->active[kind]) - before;
		}
		if (!list[i].state->deleted && list_is_empty(&index->dirty)) {
			list_add_tail(&shard->index.dirty, &index->dirty);
		}
	}
	shard->index.oldest_block = shard->index.frozen_block;
	shard->index.frozen_block = 0;
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	return status;
}

static int compare_entries(const void *a, const void *b)
{
	return index_entry_compare(a, b);
}

/* One table as a run of level 0. */
static int write_table(struct shard *shard, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	const struct memtable *table, uint64_t first_block, uint64_t last_block, struct error *err)
{
	struct run run = {.id = ++shard->index.settling->last_run_id,
		.first_block = first_block,
		.last_block = last_block};
	struct index_entry *sorted;
	int status;

	if (table->count == 0) {
		return 0;
	}
	sorted = malloc(table->count * sizeof(*sorted));
	if (sorted == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to flush an index");
	}
	for (uint32_t i = 0; i < table->count; i++) {
		sorted[i] = table->entries[i].entry;
	}
	qsort(sorted, table->count, sizeof(*sorted), compare_entries);
	status = run_write(&shard->env, txn, topic_id, kind, &run, sorted, table->count, err);
	free(sorted);
	return status;
}

static int write_tables(struct shard *shard, MDB_txn *txn, const struct flushing *list,
	size_t count, uint64_t first_block, uint64_t last_block, struct error *err)
{
	int status = 0;

	for (size_t i = 0; i < count && status == 0; i++) {
		for (int kind = 0; kind < INDEX_KINDS && status == 0; kind++) {
			status = write_table(shard, txn, list[i].state->id, (enum index_kind)kind,
				&list[i].index->frozen[kind], first_block, last_block, err);
		}
	}
	return status;
}

static int know_last_run_id(struct shard *shard, MDB_txn *txn, struct error *err)
{
	struct index_settling *settling = shard->index.settling;
	int status = 0;

	if (!settling->knows_last_run_id) {
		status = run_last_id(&shard->env, txn, &settling->last_run_id, err);
		settling->knows_last_run_id = status == 0;
	}
	return status;
}

/* The runs and the watermark in one transaction. */
static int commit_flush(struct shard *shard, const struct flushing *list, size_t count,
	uint64_t last_block, struct error *err)
{
	struct meta_row meta = shard->meta;
	uint64_t bytes = 1u << 20;
	MDB_txn *txn;
	int status;

	for (size_t i = 0; i < count; i++) {
		for (int kind = 0; kind < INDEX_KINDS; kind++) {
			uint64_t entries = list[i].index->frozen[kind].count;
			bytes += entries * (INDEX_ENTRY_BYTES + 8) + 32 * ENV_PAGE_BYTES;
		}
	}
	status = env_reserve(&shard->env, bytes, err);
	status = status != 0 ? status : env_begin(&shard->env, &txn, err);
	if (status != 0) {
		return status;
	}
	status = know_last_run_id(shard, txn, err);
	status = status != 0 ? status
			     : write_tables(shard, txn, list, count, shard->index.frozen_block,
				       last_block, err);
	meta.indexed_block = last_block;
	status = status != 0 ? status : table_put_meta(&shard->env, txn, &meta, err);
	if (status != 0) {
		mdb_txn_abort(txn);
		return status;
	}
	ANNALS_FAULT("index.before_commit");
	status = env_commit(txn, err);
	ANNALS_FAULT("index.after_commit");
	return status;
}

static void want_merges(struct index_settling *settling)
{
	settling->merge_again = settling->merge_topic != UINT32_MAX;
	settling->merge_topic = settling->merge_again ? settling->merge_topic : 0;
}

static void drop_frozen(struct shard *shard, struct flushing *list, size_t count, uint64_t block)
{
	(void)pthread_mutex_lock(&shard->tail.mutex);
	for (size_t i = 0; i < count; i++) {
		for (int kind = 0; kind < INDEX_KINDS; kind++) {
			shard->index.bytes -= memtable_bytes(&list[i].index->frozen[kind]);
			memtable_release(&list[i].index->frozen[kind]);
		}
		list[i].index->wants_merge = true;
	}
	shard->meta.indexed_block = block;
	shard->counters.index_flushes++;
	shard->index.frozen_block = 0;
	shard->index.generation++;
	want_merges(shard->index.settling);
	(void)pthread_cond_signal(&shard->tail.less);
	(void)pthread_mutex_unlock(&shard->tail.mutex);
}

static int flush(struct shard *shard, struct error *err)
{
	struct flushing *list;
	uint64_t last_block;
	size_t count;
	int status;

	(void)pthread_mutex_lock(&shard->tail.mutex);
	last_block = shard->last_block;
	status = freeze(shard, &list, &count);
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	if (status != 0) {
		return error_fail(err, status, "no memory to flush the indexes");
	}
	status = commit_flush(shard, list, count, last_block, err);
	if (status == 0) {
		drop_frozen(shard, list, count, last_block);
	} else if (thaw(shard, list, count) != 0) {
		/* Entries would be missed: what memory cannot hold only reopening can rebuild. */
		status = error_fail(err, ANNALS_E_IO, "no memory to take back an index");
	}
	for (size_t i = 0; i < count; i++) {
		topic_state_unref(list[i].state);
	}
	free(list);
	return status == 0 ? 1 : status;
}

/* Entries of trimmed events go, but a stream's newest stays: its version goes on. */
static bool keep_stream(void *arg, const struct index_entry *entry, bool is_newest_of_hash)
{
	const struct index_settling *settling = arg;
	uint32_t partition = index_place_partition(entry->place);

	return is_newest_of_hash || partition >= settling->first_offset_count ||
	       index_place_offset(entry->place) >= settling->first_offsets[partition];
}

static bool keep_query(void *arg, const struct index_entry *entry, bool is_newest_of_hash)
{
	(void)is_newest_of_hash;
	return keep_stream(arg, entry, false);
}

static uint64_t dedupe_events(const struct topic_config *config)
{
	return config->dedupe_events != 0 ? config->dedupe_events : DEDUPE_EVENTS_DEFAULT;
}

static int note_first_offsets(struct shard *shard, struct topic_state *state)
{
	struct index_settling *settling = shard->index.settling;

	free(settling->first_offsets);
	(void)pthread_rwlock_rdlock(&shard->catalog.lock);
	settling->first_offset_count = state->partition_count;
	settling->first_offsets = calloc(state->partition_count, sizeof(*settling->first_offsets));
	for (uint32_t i = 0; i < state->partition_count && settling->first_offsets != NULL; i++) {
		settling->first_offsets[i] = state->partitions[i]->first_offset;
	}
	(void)pthread_rwlock_unlock(&shard->catalog.lock);
	return settling->first_offsets != NULL ? 0 : ANNALS_E_NO_MEMORY;
}

/* Begins a merge in a topic that has something to merge. 1 begun, 0 not. */
static int begin_merge(struct shard *shard, struct topic_state *state, struct error *err)
{
	static bool (*const keep[INDEX_KINDS])(void *, const struct index_entry *, bool) = {
		[INDEX_STREAM] = keep_stream, [INDEX_QUERY] = keep_query};
	struct index_settling *settling = shard->index.settling;
	struct topic *topic = catalog_topic(&shard->catalog, state);
	uint64_t share = dedupe_events(&topic->config) / ID_RUN_SHARE;
	struct snapshot *snapshot;
	int status = env_snapshot_begin(&shard->env, &snapshot, err);

	topic_unref(topic);
	if (status != 0) {
		return status;
	}
	status = know_last_run_id(shard, snapshot->txn, err);
	if (status == 0 && note_first_offsets(shard, state) != 0) {
		status = error_fail(err, ANNALS_E_NO_MEMORY, "no memory to merge an index");
	}
	for (int i = 0; i < INDEX_KINDS && status == 0; i++) {
		int kind = settling->merge_kind;
		settling->merge_kind = (kind + 1) % INDEX_KINDS;
		status = run_merge_begin(&shard->env, snapshot->txn, state->id,
			(enum index_kind)kind, settling->last_run_id + 1,
			kind == INDEX_ID ? share : UINT64_MAX, keep[kind], settling,
			&settling->merge, err);
	}
	env_snapshot_end(&shard->env, snapshot);
	if (status == 1) {
		settling->merge_run_id = ++settling->last_run_id;
		settling->merge_state = topic_state_ref(state);
	}
	return status;
}

static int step_merge(struct shard *shard, struct error *err)
{
	struct index_settling *settling = shard->index.settling;
	MDB_txn *txn;
	int more, status = env_reserve(&shard->env, MERGE_STEP_BYTES * 2 + (1u << 20), err);

	status = status != 0 ? status : env_begin(&shard->env, &txn, err);
	if (status != 0) {
		return status;
	}
	more = settling->merge_state->deleted
		       ? ANNALS_E_NOT_FOUND
		       : run_merge_step(settling->merge, txn, MERGE_STEP_BYTES, err);
	if (more < 0) {
		mdb_txn_abort(txn);
	} else {
		ANNALS_FAULT("index.before_merge_commit");
		status = env_commit(txn, err);
	}
	if (more > 0 && status == 0) {
		return 1;
	}
	shard->counters.index_merges += more == 0 && status == 0 ? 1 : 0;
	run_merge_free(settling->merge);
	settling->merge = NULL;
	topic_state_unref(settling->merge_state);
	settling->merge_state = NULL;
	settling->merge_run_id = 0;
	settling->garbage_cursor = 0;
	/* Inputs that expired in between: what is left is looked at again. */
	return status != 0                                                           ? status
	       : more < 0 && more != ANNALS_E_NOT_FOUND && more != ANNALS_E_CONFLICT ? more
										     : 1;
}

/* The topic with the smallest id from `from` on that may have runs. A reference; NULL: no more. */
static struct topic_state *next_topic(struct shard *shard, uint32_t from)
{
	struct topic_state *best = NULL;

	(void)pthread_rwlock_rdlock(&shard->catalog.lock);
	for (size_t slot = 0; slot < shard->catalog.slots; slot++) {
		struct topic_state *state = shard->catalog.by_id[slot];
		if (state != NULL && state->id >= from && facts_are_needed(&state->topic->config) &&
			(best == NULL || state->id < best->id)) {
			best = state;
		}
	}
	best = best != NULL ? topic_state_ref(best) : NULL;
	(void)pthread_rwlock_unlock(&shard->catalog.lock);
	return best;
}

static int look_for_merge(struct shard *shard, struct error *err)
{
	struct index_settling *settling = shard->index.settling;
	struct topic_state *state;
	int status;

	if (settling->merge_topic == UINT32_MAX) {
		return 0;
	}
	state = next_topic(shard, settling->merge_topic);
	if (state == NULL) {
		settling->merge_topic = settling->merge_again ? 0 : UINT32_MAX;
		settling->merge_again = false;
		return settling->merge_topic == 0;
	}
	status = begin_merge(shard, state, err);
	if (status == 0) {
		settling->merge_topic = state->id + 1;
	}
	topic_state_unref(state);
	return status < 0 ? status : 1;
}

/* Ids that lie outside their topic's window, whole runs at a time. */
static int expire_topic(
	struct shard *shard, MDB_txn *txn, struct topic_state *state, struct error *err)
{
	struct topic *topic = catalog_topic(&shard->catalog, state);
	uint64_t age_us = topic->config.dedupe_age_us, newest_us = shard->last_recorded_us;
	uint64_t wanted = dedupe_events(&topic->config), seen = 0, below;
	struct run_list runs;
	MDB_cursor *cursor;
	int status = 0, code;

	topic_unref(topic);
	if (age_us == 0) {
		return 0;
	}
	code = mdb_cursor_open(txn, shard->env.tables[TABLE_INDEX], &cursor);
	if (code != 0) {
		return env_error(code, err, "cannot open a cursor");
	}
	status = run_list_load(cursor, state->id, INDEX_ID, &runs, err);
	mdb_cursor_close(cursor);
	if (status == ANNALS_E_NO_MEMORY) {
		return 0; /* more runs than a list has: merging comes first */
	}
	below = newest_us > age_us ? newest_us - age_us : 0;
	for (uint32_t i = status == 0 ? runs.count : 0; i > 0; i--) {
		if (seen >= wanted && runs.runs[i - 1].order_last + 1 > below) {
			below = runs.runs[i - 1].order_last + 1;
			break;
		}
		seen += runs.runs[i - 1].count;
	}
	return status != 0 ? status : run_expire(&shard->env, txn, state->id, INDEX_ID, below, err);
}

static int expire(struct shard *shard, struct error *err)
{
	struct topic_state *state;
	uint32_t from = 0;
	int expired = 0, status = env_reserve(&shard->env, 1u << 20, err);
	MDB_txn *txn;

	status = status != 0 ? status : env_begin(&shard->env, &txn, err);
	if (status != 0) {
		return status;
	}
	while (status >= 0 && (state = next_topic(shard, from)) != NULL) {
		status = expire_topic(shard, txn, state, err);
		expired += status > 0 ? status : 0;
		from = state->id + 1;
		topic_state_unref(state);
	}
	if (status < 0 || expired == 0) {
		mdb_txn_abort(txn);
		return status < 0 ? status : 0;
	}
	shard->index.settling->garbage_cursor = 0;
	return env_commit(txn, err);
}

static int collect_garbage(struct shard *shard, struct error *err)
{
	struct index_settling *settling = shard->index.settling;
	MDB_txn *txn;
	int freed, status;

	if (settling->garbage_cursor == UINT32_MAX) {
		return 0;
	}
	status = env_reserve(&shard->env, 1u << 20, err);
	status = status != 0 ? status : env_begin(&shard->env, &txn, err);
	if (status != 0) {
		return status;
	}
	freed = run_collect_garbage(&shard->env, txn, settling->merge_run_id, GARBAGE_PAGES,
		&settling->garbage_cursor, err);
	if (freed <= 0) {
		mdb_txn_abort(txn);
		return freed < 0 ? freed : settling->garbage_cursor != UINT32_MAX;
	}
	status = env_commit(txn, err);
	return status != 0 ? status : 1;
}

/* The topics that a flush would write. */
static int dirty_topics(struct shard *shard, uint32_t **ret_ids, size_t *ret_count)
{
	struct list_node *node;
	size_t count = 0;
	uint32_t *ids;

	(void)pthread_mutex_lock(&shard->tail.mutex);
	LIST_FOR_EACH (node, &shard->index.dirty) {
		count++;
	}
	ids = calloc(count + 1, sizeof(*ids));
	count = 0;
	LIST_FOR_EACH (node, &shard->index.dirty) {
		if (ids != NULL) {
			ids[count++] = LIST_ENTRY(node, struct topic_index, dirty)->state->id;
		}
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	*ret_ids = ids;
	*ret_count = count;
	return ids != NULL ? 0 : ANNALS_E_NO_MEMORY;
}

static int topic_is_crowded(MDB_cursor *cursor, uint32_t topic_id, struct error *err)
{
	struct run_list runs;
	int status = 0;

	for (int kind = 0; kind < INDEX_KINDS && status == 0; kind++) {
		status = run_list_load(cursor, topic_id, (enum index_kind)kind, &runs, err);
		/* No memory: more runs than a list has. */
		status = status == ANNALS_E_NO_MEMORY ? 1
			 : status == 0                ? runs.count >= RUNS_PER_INDEX_CROWDED
						      : status;
	}
	return status;
}

/* Lookups ask every run, and there is a limit: where merging falls behind, flushing waits, memory
 * fills up and the writer waits. */
static int find_crowded(struct shard *shard, struct error *err)
{
	struct index_settling *settling = shard->index.settling;
	struct snapshot *snapshot = NULL;
	MDB_cursor *cursor;
	uint32_t *ids;
	size_t count;
	int status = dirty_topics(shard, &ids, &count);

	if (status != 0) {
		return error_fail(err, status, "no memory to settle indexes");
	}
	settling->crowded_topic = 0;
	status = env_snapshot_begin(&shard->env, &snapshot, err);
	if (status == 0) {
		status = env_snapshot_cursor(&shard->env, snapshot, TABLE_INDEX, &cursor, err);
		for (size_t i = 0; status == 0 && i < count; i++) {
			status = topic_is_crowded(cursor, ids[i], err);
			settling->crowded_topic = status == 1 ? ids[i] : 0;
		}
		env_snapshot_end(&shard->env, snapshot);
	}
	free(ids);
	settling->knows_crowded = status >= 0;
	return ANNALS_MIN(status, 0);
}

/* Merges where a flush waits for it. */
static int merge_crowded(struct shard *shard, struct error *err)
{
	struct index_settling *settling = shard->index.settling;
	int status;

	if (settling->merge == NULL) {
		settling->merge_topic = settling->crowded_topic;
		status = look_for_merge(shard, err);
		if (settling->merge == NULL) {
			settling->crowded_topic = 0; /* it wants no indexes any more */
		}
		return status;
	}
	status = step_merge(shard, err);
	settling->knows_crowded = settling->merge != NULL;
	return status;
}

int index_settle_step(struct shard *shard, struct error *err)
{
	struct index_settling *settling = settling_of(shard);
	uint64_t now = clock_monotonic_ns();
	bool wants_flush;
	int status = 0;

	if (settling == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to settle indexes");
	}
	(void)pthread_mutex_lock(&shard->tail.mutex);
	wants_flush = index_has_work(shard);
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	if (wants_flush) {
		status = settling->knows_crowded ? 0 : find_crowded(shard, err);
		if (status < 0) {
			return status;
		}
		if (settling->crowded_topic == 0) {
			settling->knows_crowded = false;
			return flush(shard, err);
		}
	}
	if (now >= settling->next_expire_ns) {
		settling->next_expire_ns = now + EXPIRE_INTERVAL_NS;
		status = expire(shard, err);
	}
	if (status == 0 && wants_flush) {
		return merge_crowded(shard, err);
	}
	status = status != 0 ? status : collect_garbage(shard, err);
	if (status == 0) {
		status = settling->merge != NULL ? step_merge(shard, err)
						 : look_for_merge(shard, err);
	}
	return status;
}
