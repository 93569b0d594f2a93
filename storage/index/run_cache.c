#include "index/run_cache.h"

#include "index/run_read.h"

#include <stdlib.h>

/* Filters asked at a time: few at first, for what was there lately is often there again. */
#define AHEAD_FIRST 2u
#define AHEAD_MAX 16u

struct cached_index {
	bool loaded;
	uint32_t topic_id;
	enum index_kind kind;
	size_t state; /* LMDB's number of the transaction that made what the list says */
	struct run_list list;
	const uint8_t **parts[RUNS_PER_INDEX_MAX]; /* of each run's filter; NULL: not asked yet */
};

struct run_cache {
	struct cached_index *indexes[RUN_CACHE_INDEXES];
};

struct run_cache *run_cache_new(void)
{
	return calloc(1, sizeof(struct run_cache));
}

static void forget(struct cached_index *index)
{
	for (uint32_t i = 0; i < RUNS_PER_INDEX_MAX; i++) {
		free(index->parts[i]);
		index->parts[i] = NULL;
	}
	index->loaded = false;
	index->list.count = 0;
}

void run_cache_free(struct run_cache *cache)
{
	for (uint32_t i = 0; cache != NULL && i < RUN_CACHE_INDEXES; i++) {
		if (cache->indexes[i] != NULL) {
			forget(cache->indexes[i]);
			free(cache->indexes[i]);
		}
	}
	free(cache);
}

/* Reads the list again; runs that are still in it keep what is known of them. */
static int load(struct cached_index *index, MDB_cursor *cursor, size_t state, struct error *err)
{
	const uint8_t **parts[RUNS_PER_INDEX_MAX] = {NULL};
	struct run_list list;
	uint32_t old = 0;
	int status = run_list_load(cursor, index->topic_id, index->kind, &list, err);

	if (status != 0) {
		forget(index);
		return status;
	}
	/* Merges and expiry leave the order of the others as it is. */
	for (uint32_t i = 0; i < list.count; i++) {
		uint32_t at = old;
		while (at < index->list.count && index->list.runs[at].id != list.runs[i].id) {
			at++;
		}
		if (at < index->list.count) {
			parts[i] = ANNALS_TAKE(index->parts[at]);
			old = at + 1;
		}
	}
	forget(index);
	memcpy(index->parts, parts, sizeof(parts));
	index->list.count = list.count;
	memcpy(index->list.runs, list.runs, list.count * sizeof(list.runs[0]));
	index->state = state;
	index->loaded = true;
	return 0;
}

static int find_index(struct run_cache *cache, MDB_cursor *cursor, uint32_t topic_id,
	enum index_kind kind, struct cached_index **ret, struct error *err)
{
	struct cached_index **slot =
		&cache->indexes[(topic_id * (uint32_t)INDEX_KINDS + (uint32_t)kind) %
				RUN_CACHE_INDEXES];
	size_t state = mdb_txn_id(mdb_cursor_txn(cursor));
	int status = 0;

	if (*slot == NULL) {
		*slot = calloc(1, sizeof(**slot));
		if (*slot == NULL) {
			return error_fail(
				err, ANNALS_E_NO_MEMORY, "no memory to look into an index");
		}
	}
	if ((*slot)->topic_id != topic_id || (*slot)->kind != kind) {
		forget(*slot);
		(*slot)->topic_id = topic_id;
		(*slot)->kind = kind;
	}
	if (!(*slot)->loaded || (*slot)->state != state) {
		status = load(*slot, cursor, state, err);
	}
	*ret = *slot;
	return status;
}

/* The part of the filter of run i where the hash belongs, perhaps as it was before. */
static int find_part(struct cached_index *index, MDB_cursor *cursor, uint32_t i, uint32_t part,
	const uint8_t **ret, struct error *err)
{
	const struct run *run = &index->list.runs[i];
	int status = 0;

	if (index->parts[i] == NULL) {
		index->parts[i] = calloc(
			run->filter_lines / RUN_FILTER_PART_LINES + 1, sizeof(index->parts[i][0]));
		if (index->parts[i] == NULL) {
			return error_fail(
				err, ANNALS_E_NO_MEMORY, "no memory to look into an index");
		}
	}
	if (index->parts[i][part] == NULL) {
		status = run_filter_part(cursor, index->topic_id, index->kind, run, part,
			&index->parts[i][part], err);
	}
	*ret = index->parts[i][part];
	return status;
}

static int ask(struct cached_index *index, MDB_cursor *cursor, uint32_t i, uint32_t part,
	const uint8_t *where, struct index_hash hash, struct error *err)
{
	const struct run *run = &index->list.runs[i];
	int status = run_filter_ask(index->topic_id, run, where, hash, NULL);

	if (status >= 0) {
		return status;
	}
	/* Damage, or it lies elsewhere by now. */
	index->parts[i][part] = NULL;
	status = find_part(index, cursor, i, part, &where, err);
	return status != 0 ? status : run_filter_ask(index->topic_id, run, where, hash, err);
}

int run_cache_newest(struct run_cache *cache, MDB_cursor *cursor, uint32_t topic_id,
	enum index_kind kind, struct index_hash hash, struct index_entry *ret, struct error *err)
{
	const uint8_t *where[AHEAD_MAX];
	uint32_t parts[AHEAD_MAX], ahead = AHEAD_FIRST, end;
	struct cached_index *index = NULL;
	int status = find_index(cache, cursor, topic_id, kind, &index, err);

	/* From the newest run on: fetch the lines of several filters from memory, then look. */
	for (end = status == 0 ? index->list.count : 0; end > 0 && status == 0;) {
		uint32_t begin = end - ANNALS_MIN(end, ahead);
		for (uint32_t i = end; i-- > begin && status == 0;) {
			uint32_t line = run_filter_line(hash, index->list.runs[i].filter_lines);
			parts[i - begin] = line / RUN_FILTER_PART_LINES;
			status = find_part(
				index, cursor, i, parts[i - begin], &where[i - begin], err);
			if (status == 0) {
				__builtin_prefetch(where[i - begin] +
						   line % RUN_FILTER_PART_LINES * RUN_LINE_BYTES);
			}
		}
		for (uint32_t i = end; i-- > begin && status == 0;) {
			status = ask(
				index, cursor, i, parts[i - begin], where[i - begin], hash, err);
			if (status == 1) {
				status = run_pages_newest(cursor, topic_id, kind,
					&index->list.runs[i], hash, ret, err);
			}
		}
		end = begin;
		ahead = ANNALS_MIN(ahead * 4, AHEAD_MAX);
	}
	return status;
}
