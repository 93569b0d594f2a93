#include "index/run_read.h"
#include "index/run_write.h"

#include <stdlib.h>

/* One run that is merged, a copy of one page at a time: what LMDB hands out does not outlive a
 * write. */
struct input {
	struct run run;
	uint64_t taken; /* entries */
	uint32_t at;    /* of the page */
	struct run_page page;
	struct index_entry head; /* the next one, unless `ended` */
	bool ended;
	uint8_t data[RUN_PAGE_BYTES];
};

struct run_merge {
	bool (*keep)(void *arg, const struct index_entry *entry, bool is_newest_of_hash);
	void *arg;
	uint64_t read_bytes;
	bool is_primed;   /* heads are there */
	bool has_pending; /* waits until it is known whether it is the newest of its hash */
	struct index_entry pending;
	struct run_writer writer;
	uint32_t heap[RUNS_PER_INDEX_MAX]; /* inputs by head, smallest first */
	uint32_t heap_count;
	uint32_t input_count;
	struct input inputs[];
};

/* ---- Choosing ---- */

/* The oldest of a stretch of runs of one level that fit together. */
static uint32_t fitting(const struct run *runs, uint32_t count, uint64_t count_max)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		if (runs[i].count > count_max - sum) {
			return i;
		}
		sum += runs[i].count;
	}
	return count;
}

/* Where the RUN_MERGE_WIDTH adjacent runs with the fewest entries begin. */
static uint32_t smallest_window(const struct run_list *list)
{
	uint64_t smallest = UINT64_MAX;
	uint32_t best = 0;

	for (uint32_t first = 0; first + RUN_MERGE_WIDTH <= list->count; first++) {
		uint64_t sum = 0;
		for (uint32_t i = first; i < first + RUN_MERGE_WIDTH; i++) {
			sum += ANNALS_MIN(list->runs[i].count, UINT64_MAX / RUN_MERGE_WIDTH);
		}
		if (sum < smallest) {
			smallest = sum;
			best = first;
		}
	}
	return best;
}

/* Returns how many runs from *ret_first on; 0 for none. */
static uint32_t choose(const struct run_list *list, uint64_t count_max, uint32_t *ret_first)
{
	uint32_t chosen = 0, chosen_level = UINT32_MAX, first = 0;

	while (first < list->count) {
		uint32_t level = list->runs[first].level, next = first + 1, count;
		while (next < list->count && list->runs[next].level == level) {
			next++;
		}
		count = fitting(list->runs + first, next - first, count_max);
		if (count >= RUN_MERGE_WIDTH && level < chosen_level) {
			chosen = count;
			chosen_level = level;
			*ret_first = first;
		}
		first = next;
	}
	if (chosen == 0 && list->count >= RUNS_PER_INDEX_CROWDED) {
		*ret_first = smallest_window(list);
		chosen = RUN_MERGE_WIDTH;
	}
	return chosen;
}

/* Of runs of one level the next; otherwise the highest among them. */
static uint32_t level_of(const struct run *runs, uint32_t count)
{
	uint32_t level = runs[0].level;
	bool same = true;

	for (uint32_t i = 1; i < count; i++) {
		same = same && runs[i].level == runs[0].level;
		level = ANNALS_MAX(level, runs[i].level);
	}
	return same ? level + 1 : level;
}

static int load_list(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	struct run_list *ret, struct error *err)
{
	MDB_cursor *cursor;
	int status, code = mdb_cursor_open(txn, env->tables[TABLE_INDEX], &cursor);

	if (code != 0) {
		return env_error(code, err, "cannot open a cursor");
	}
	status = run_list_load_oldest(cursor, topic_id, kind, ret, err);
	mdb_cursor_close(cursor);
	return status;
}

int run_merge_begin(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	uint64_t new_run_id, uint64_t count_max,
	bool (*keep)(void *arg, const struct index_entry *entry, bool is_newest_of_hash), void *arg,
	struct run_merge **ret, struct error *err)
{
	struct run_list list;
	struct run_merge *merge;
	struct run run = {.id = new_run_id};
	uint64_t hashes = 0;
	uint32_t first = 0, count;
	int status = load_list(env, txn, topic_id, kind, &list, err);

	count = status == 0 ? choose(&list, count_max, &first) : 0;
	if (count == 0) {
		return status;
	}
	merge = calloc(1, sizeof(*merge) + count * sizeof(merge->inputs[0]));
	if (merge == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to merge an index");
	}
	merge->keep = keep;
	merge->arg = arg;
	merge->input_count = count;
	for (uint32_t i = 0; i < count; i++) {
		merge->inputs[i].run = list.runs[first + i];
		hashes += list.runs[first + i].hashes;
	}
	run.first_block = list.runs[first].first_block;
	run.last_block = list.runs[first + count - 1].last_block;
	run.level = level_of(&list.runs[first], count);
	run_writer_init(&merge->writer, env, topic_id, kind, &run, hashes);
	*ret = merge;
	return 1;
}

void run_merge_free(struct run_merge *merge)
{
	free(merge);
}

/* ---- Reading the inputs ---- */

static int corrupt_input(
	const struct run_merge *merge, const struct input *input, struct error *err)
{
	return error_fail(err, ANNALS_E_CORRUPT_DATA,
		"index of topic id %u, run %llu: a page of entries fails its checks",
		merge->writer.topic_id, (unsigned long long)input->run.id);
}

/* Copies the page that follows the head, or ends the input. */
static int next_page(
	struct run_merge *merge, MDB_cursor *cursor, struct input *input, struct error *err)
{
	uint8_t bytes[RUN_PAGE_KEY_BYTES];
	MDB_val key = {sizeof(bytes), bytes}, value;
	int code;

	run_page_key(bytes, merge->writer.topic_id, merge->writer.kind, input->run.id,
		input->head.hash, input->head.order);
	code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	if (code == 0 && input->taken > 0 && key.mv_size == sizeof(bytes) &&
		memcmp(key.mv_data, bytes, sizeof(bytes)) == 0) {
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT); /* a page of one entry */
	}
	if (code != 0 && code != MDB_NOTFOUND) {
		return env_error(code, err, "cannot read an index");
	}
	/* The same section and run: all before the hash. */
	if (code == MDB_NOTFOUND || key.mv_size < RUN_MANIFEST_KEY_BYTES ||
		memcmp(key.mv_data, bytes, RUN_MANIFEST_KEY_BYTES) != 0) {
		input->ended = true;
		return input->taken == input->run.count ? 0 : corrupt_input(merge, input, err);
	}
	if (value.mv_size > sizeof(input->data)) {
		return corrupt_input(merge, input, err);
	}
	memcpy(input->data, value.mv_data, value.mv_size);
	input->at = 0;
	merge->read_bytes += value.mv_size;
	return run_page_open(bytes_of(key.mv_data, key.mv_size),
		       bytes_of(input->data, value.mv_size), &input->page) == 0
		       ? 0
		       : corrupt_input(merge, input, err);
}

/* Puts the next entry into the head. */
static int advance(
	struct run_merge *merge, MDB_cursor *cursor, struct input *input, struct error *err)
{
	struct index_entry before = input->head;
	int status;

	if (input->at == input->page.count) {
		status = next_page(merge, cursor, input, err);
		if (status != 0 || input->ended) {
			return status;
		}
	}
	if (run_page_entry(&input->page, input->at, &input->head) != 0 ||
		(input->taken > 0 && index_entry_compare(&before, &input->head) >= 0) ||
		input->taken == input->run.count) {
		return corrupt_input(merge, input, err);
	}
	input->at++;
	input->taken++;
	return 0;
}

/* ---- The heap ---- */

/* Of equal ones the older run's comes first, so that the later one replaces it. */
static bool comes_before(const struct run_merge *merge, uint32_t a, uint32_t b)
{
	int order = index_entry_compare(&merge->inputs[a].head, &merge->inputs[b].head);

	return order != 0 ? order < 0 : a < b;
}

static void sift_down(struct run_merge *merge, uint32_t at)
{
	uint32_t moving = merge->heap[at];

	for (;;) {
		uint32_t child = 2 * at + 1;
		if (child + 1 < merge->heap_count &&
			comes_before(merge, merge->heap[child + 1], merge->heap[child])) {
			child++;
		}
		if (child >= merge->heap_count ||
			!comes_before(merge, merge->heap[child], moving)) {
			break;
		}
		merge->heap[at] = merge->heap[child];
		at = child;
	}
	merge->heap[at] = moving;
}

static int prime(struct run_merge *merge, MDB_cursor *cursor, struct error *err)
{
	for (uint32_t i = 0; i < merge->input_count; i++) {
		int status = advance(merge, cursor, &merge->inputs[i], err);
		if (status != 0) {
			return status;
		}
		merge->heap[merge->heap_count++] = i;
	}
	for (uint32_t at = merge->heap_count / 2; at-- > 0;) {
		sift_down(merge, at);
	}
	merge->is_primed = true;
	return 0;
}

/* ---- A step ---- */

static int settle_pending(
	struct run_merge *merge, MDB_txn *txn, bool is_newest_of_hash, struct error *err)
{
	if (!merge->has_pending) {
		return 0;
	}
	merge->has_pending = false;
	if (merge->keep != NULL && !merge->keep(merge->arg, &merge->pending, is_newest_of_hash)) {
		return 0;
	}
	return run_writer_add(&merge->writer, txn, &merge->pending, err);
}

static int take_smallest(
	struct run_merge *merge, MDB_txn *txn, MDB_cursor *cursor, struct error *err)
{
	struct input *input = &merge->inputs[merge->heap[0]];
	const struct index_entry *entry = &input->head;
	const struct index_entry *pending = &merge->pending;
	int status = 0;

	/* An equal one is replaced. */
	if (merge->has_pending && index_entry_compare(pending, entry) != 0) {
		status = settle_pending(merge, txn,
			pending->hash.high != entry->hash.high ||
				pending->hash.low != entry->hash.low,
			err);
	}
	if (status != 0) {
		return status;
	}
	merge->pending = *entry;
	merge->has_pending = true;
	status = advance(merge, cursor, input, err);
	if (status != 0) {
		return status;
	}
	if (input->ended) {
		merge->heap[0] = merge->heap[--merge->heap_count];
	}
	if (merge->heap_count > 0) {
		sift_down(merge, 0);
	}
	return 0;
}

/* Expiry and deletion take manifest rows away between steps, and the pages may be gone with them.
 */
static int check_inputs(struct run_merge *merge, MDB_txn *txn, struct error *err)
{
	const struct run_writer *writer = &merge->writer;
	struct run_list list;
	uint32_t first = 0;
	int status = load_list(writer->env, txn, writer->topic_id, writer->kind, &list, err);

	if (status != 0) {
		return status;
	}
	while (first < list.count && list.runs[first].id != merge->inputs[0].run.id) {
		first++;
	}
	for (uint32_t i = 0; i < merge->input_count; i++) {
		if (first + i >= list.count || list.runs[first + i].id != merge->inputs[i].run.id) {
			return error_fail(err, ANNALS_E_CONFLICT,
				"a run of topic id %u that is being merged is gone",
				writer->topic_id);
		}
	}
	return 0;
}

static int replace_inputs(struct run_merge *merge, MDB_txn *txn, struct error *err)
{
	struct run_writer *writer = &merge->writer;
	int status = 0;

	for (uint32_t i = 0; i < merge->input_count && status == 0; i++) {
		status = run_manifest_delete(writer->env, txn, writer->topic_id, writer->kind,
			merge->inputs[i].run.first_block, err);
	}
	if (status != 0 || writer->run.count == 0) {
		return status;
	}
	status = run_writer_finish(writer, txn, err);
	return status != 0 ? status
			   : run_manifest_put(writer->env, txn, writer->topic_id, writer->kind,
				     &writer->run, err);
}

int run_merge_step(struct run_merge *merge, MDB_txn *txn, uint64_t step_bytes, struct error *err)
{
	struct run_writer *writer = &merge->writer;
	uint64_t written_before = writer->written_bytes, read_before = merge->read_bytes;
	MDB_cursor *cursor;
	int code, status = check_inputs(merge, txn, err);

	if (status != 0) {
		return status;
	}
	code = mdb_cursor_open(txn, writer->env->tables[TABLE_INDEX], &cursor);
	if (code != 0) {
		return env_error(code, err, "cannot open a cursor");
	}
	status = merge->is_primed ? 0 : prime(merge, cursor, err);
	/* What is read counts too: keep() may drop nearly all of it. */
	while (status == 0 && merge->heap_count > 0 &&
		writer->written_bytes - written_before <= step_bytes &&
		merge->read_bytes - read_before <=
			2 * step_bytes + merge->input_count * (uint64_t)RUN_PAGE_BYTES) {
		status = take_smallest(merge, txn, cursor, err);
	}
	mdb_cursor_close(cursor);
	if (status != 0) {
		return status;
	}
	if (merge->heap_count > 0) {
		return 1;
	}
	status = settle_pending(merge, txn, true, err);
	return status != 0 ? status : replace_inputs(merge, txn, err);
}
