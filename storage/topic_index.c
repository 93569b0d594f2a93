#include "topic_index.h"

#include <stdlib.h>

static uint64_t index_bytes(const struct topic_index *index)
{
	uint64_t bytes = 0;

	for (int kind = 0; kind < INDEX_KINDS; kind++) {
		bytes +=
			memtable_bytes(&index->active[kind]) + memtable_bytes(&index->frozen[kind]);
	}
	return bytes;
}

void topic_index_free(struct topic_index *index)
{
	if (index != NULL) {
		for (int kind = 0; kind < INDEX_KINDS; kind++) {
			memtable_release(&index->active[kind]);
			memtable_release(&index->frozen[kind]);
		}
		free(index);
	}
}

void topic_index_drop(struct shard *shard, struct topic_state *state)
{
	struct topic_index *index = state->index;

	if (index == NULL) {
		return;
	}
	shard->index.bytes -= index_bytes(index);
	list_remove(&index->dirty);
	for (int kind = 0; kind < INDEX_KINDS; kind++) {
		memtable_release(&index->active[kind]);
		/* The settler may be reading the frozen ones: they go with the topic's state. */
		shard->index.bytes += memtable_bytes(&index->frozen[kind]);
	}
}

static struct topic_index *index_of(struct topic_state *state)
{
	if (state->index == NULL) {
		state->index = calloc(1, sizeof(*state->index));
		if (state->index != NULL) {
			list_init(&state->index->dirty);
		}
	}
	return state->index;
}

static struct index_hash hash_at(const uint8_t *bytes)
{
	return (struct index_hash){load_u64(bytes), load_u64(bytes + 8)};
}

static int add_streams(struct topic_index *index, const struct stamp *stamp, struct bytes column)
{
	uint64_t offset = stamp->base_offset, position = stamp->base_position;

	for (size_t at = 0; at < column.size; at += COLUMN_STREAM_ENTRY_BYTES) {
		struct index_entry entry = {.hash = hash_at(column.data + at)};
		uint64_t version = load_u64(column.data + at + 16);
		uint32_t count = load_u32(column.data + at + 24);
		for (uint32_t i = 0; i < count && version != VERSION_NONE; i++) {
			entry.order = version + i;
			entry.place = index_place(stamp->partition, offset + i);
			entry.extra = position + i;
			if (memtable_add(&index->active[INDEX_STREAM], &entry) != 0) {
				return ANNALS_E_NO_MEMORY;
			}
		}
		offset += count;
		position += count;
	}
	return 0;
}

static int add_ids(struct topic_index *index, const struct batch *batch, struct bytes column)
{
	const struct stamp *stamp = &batch->stamp;
	struct batch_versions versions;

	batch_versions_init(&versions, batch);
	for (size_t at = 0; at < column.size; at += COLUMN_ID_ENTRY_BYTES) {
		uint32_t i = (uint32_t)(at / COLUMN_ID_ENTRY_BYTES);
		struct index_entry entry = {
			.hash = hash_at(column.data + at),
			.order = stamp->recorded_us,
			.place = index_place(stamp->partition, stamp->base_offset + i),
			.extra = batch_versions_next(&versions),
		};
		if ((entry.hash.high | entry.hash.low) != 0 &&
			memtable_add(&index->active[INDEX_ID], &entry) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
	}
	return 0;
}

static int add_query(struct topic_index *index, const struct stamp *stamp, struct bytes column)
{
	for (size_t at = 0; at < column.size; at += COLUMN_QUERY_ENTRY_BYTES) {
		uint32_t i = load_u32(column.data + at);
		struct index_entry entry = {
			.hash = hash_at(column.data + at + 8),
			.order = stamp->base_position + i,
			.place = index_place(stamp->partition, stamp->base_offset + i),
		};
		if (memtable_add(&index->active[INDEX_QUERY], &entry) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
	}
	return 0;
}

int topic_index_add_batch(struct shard *shard, struct topic_state *state, const struct batch *batch,
	uint64_t block, struct error *err)
{
	struct topic_index *index;
	uint64_t before;
	int status;

	if (batch->columns.size == 0) {
		return 0;
	}
	if (batch_columns_check(batch) != 0) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"a batch of topic '%s' has impossible columns", state->topic->name);
	}
	index = index_of(state);
	if (index == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a topic's index");
	}
	before = index_bytes(index);
	status = add_streams(index, &batch->stamp, batch_column(batch, COLUMN_STREAM));
	status = status != 0 ? status : add_ids(index, batch, batch_column(batch, COLUMN_ID));
	status = status != 0 ? status
			     : add_query(index, &batch->stamp, batch_column(batch, COLUMN_QUERY));
	shard->index.bytes += index_bytes(index) - before;
	if (list_is_empty(&index->dirty)) {
		list_add_tail(&shard->index.dirty, &index->dirty);
		index->state = state;
	}
	if (shard->index.oldest_block == 0) {
		shard->index.oldest_block = block;
		shard->index.written_before = shard->tail.journal_bytes;
	}
	return status == 0 ? 0
			   : error_fail(err, status, "no memory for the index of topic '%s'",
				     state->topic->name);
}

void index_view_init(struct index_view *view, struct shard *shard, struct topic_state *state)
{
	view->shard = shard;
	view->state = state;
	view->snapshot = NULL;
	view->cache = NULL;
	memset(view->lists, 0, sizeof(view->lists));
}

void index_view_release(struct index_view *view)
{
	env_snapshot_end(&view->shard->env, view->snapshot);
	view->snapshot = NULL;
	for (int kind = 0; kind < INDEX_KINDS; kind++) {
		free(view->lists[kind]);
		view->lists[kind] = NULL;
	}
}

/* A snapshot that is not older than what memory was asked. */
static int view_snapshot(struct index_view *view, uint64_t generation, struct error *err)
{
	int status;

	if (view->snapshot != NULL && view->generation != generation) {
		index_view_release(view);
	}
	if (view->snapshot != NULL) {
		return 0;
	}
	view->generation = generation;
	status = env_snapshot_begin(&view->shard->env, &view->snapshot, err);
	if (status != 0) {
		view->snapshot = NULL;
		return status;
	}
	status = env_snapshot_cursor(
		&view->shard->env, view->snapshot, TABLE_INDEX, &view->cursor, err);
	if (status != 0) {
		index_view_release(view);
	}
	return status;
}

/* The runs of an index in such a snapshot. */
static int view_runs(struct index_view *view, enum index_kind kind, uint64_t generation,
	struct run_list **ret, struct error *err)
{
	struct run_list *list;
	int status = view_snapshot(view, generation, err);

	if (status == 0 && view->lists[kind] == NULL) {
		list = malloc(sizeof(*list));
		if (list == NULL) {
			return error_fail(
				err, ANNALS_E_NO_MEMORY, "no memory to look into an index");
		}
		status = run_list_load(view->cursor, view->state->id, kind, list, err);
		if (status == 0) {
			view->lists[kind] = list;
		} else {
			free(list);
		}
	}
	*ret = view->lists[kind];
	return status;
}

int index_newest(struct index_view *view, enum index_kind kind, struct index_hash hash,
	struct index_entry *ret, struct error *err)
{
	struct shard *shard = view->shard;
	const struct index_entry *found = NULL;
	struct run_list *runs;
	uint64_t generation;
	int status;

	(void)pthread_mutex_lock(&shard->tail.mutex);
	generation = shard->index.generation;
	if (view->state->index != NULL) {
		found = memtable_newest(&view->state->index->active[kind], hash);
		if (found == NULL) {
			found = memtable_newest(&view->state->index->frozen[kind], hash);
		}
		if (found != NULL) {
			*ret = *found;
		}
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	if (found != NULL) {
		return 1;
	}
	if (view->cache != NULL) {
		status = view_snapshot(view, generation, err);
		return status != 0 ? status
				   : run_cache_newest(view->cache, view->cursor, view->state->id,
					     kind, hash, ret, err);
	}
	status = view_runs(view, kind, generation, &runs, err);
	for (uint32_t i = status == 0 ? runs->count : 0; i > 0 && status == 0; i--) {
		status = run_newest(
			view->cursor, view->state->id, kind, &runs->runs[i - 1], hash, ret, err);
	}
	return status;
}

struct collecting {
	struct index_entry *entries;
	size_t count, max;
};

static int collect(void *arg, const struct index_entry *entry)
{
	struct collecting *collecting = arg;

	if (collecting->count == collecting->max) {
		return 1;
	}
	collecting->entries[collecting->count++] = *entry;
	return collecting->count == collecting->max ? 1 : 0;
}

/* One of the two tables in memory, behind what was collected. Under the mutex. */
static void range_memory(struct collecting *collecting, const struct memtable *table,
	struct index_hash hash, uint64_t from, uint64_t to, bool backwards)
{
	collecting->count += memtable_range(table, hash, from, to, backwards,
		collecting->entries + collecting->count, collecting->max - collecting->count);
}

/* What memory had of [from, to], and what is left to ask the runs for. A flush may be committed
 * before it is dropped from memory, and between looking at one and at the other: the runs may hold
 * what memory had, and newer. So they are only asked for what lies on the far side of it. */
static uint64_t ask_memory(struct index_view *view, enum index_kind kind, struct index_hash hash,
	uint64_t *from, uint64_t *to, bool backwards, struct collecting *memory)
{
	struct shard *shard = view->shard;
	const struct topic_index *index;
	uint64_t generation;

	(void)pthread_mutex_lock(&shard->tail.mutex);
	generation = shard->index.generation;
	index = view->state->index;
	if (index != NULL) {
		range_memory(memory, backwards ? &index->active[kind] : &index->frozen[kind], hash,
			*from, *to, backwards);
		range_memory(memory, backwards ? &index->frozen[kind] : &index->active[kind], hash,
			*from, *to, backwards);
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	if (memory->count > 0) {
		uint64_t oldest = memory->entries[backwards ? memory->count - 1 : 0].order;
		if (oldest == 0) {
			*from = 1; /* nothing lies before it */
			*to = 0;
		} else {
			*to = oldest - 1;
		}
	}
	return generation;
}

int index_range(struct index_view *view, enum index_kind kind, struct index_hash hash,
	uint64_t from, uint64_t to, bool backwards, struct index_entry *ret, size_t max,
	size_t *ret_count, struct error *err)
{
	struct collecting memory = {.max = max}, out = {.entries = ret, .max = max};
	struct run_list *runs = NULL;
	uint64_t generation;
	int status = 0;

	*ret_count = 0;
	if (max == 0) {
		return 0;
	}
	memory.entries = malloc(max * sizeof(*memory.entries));
	if (memory.entries == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to read an index");
	}
	generation = ask_memory(view, kind, hash, &from, &to, backwards, &memory);
	if (backwards) {
		out.count = memory.count;
		memcpy(ret, memory.entries, memory.count * sizeof(*ret));
	}
	if (out.count < max && from <= to) {
		status = view_runs(view, kind, generation, &runs, err);
		for (uint32_t i = 0; status == 0 && i < runs->count; i++) {
			const struct run *run = &runs->runs[backwards ? runs->count - 1 - i : i];
			status = run_range(view->cursor, view->state->id, kind, run, hash, from, to,
				backwards, collect, &out, err);
		}
	}
	if (status >= 0 && !backwards) {
		for (size_t i = 0; i < memory.count && out.count < max; i++) {
			out.entries[out.count++] = memory.entries[i];
		}
	}
	free(memory.entries);
	*ret_count = out.count;
	return status < 0 ? status : 0;
}
