/*
 * The settler: folds the tail into LMDB, in commits of up to SETTLE_BYTES.
 *
 * What goes first: partitions with enough pending for a good chunk, once there is a commit's worth
 * of them. When the tail nears its limit (or the journal behind it grows long), a sweep settles
 * partitions in key order, going on where the last one stopped, and the changed rows with it:
 * settling the same small tails again and again is what multiplies writes. Nothing is settled
 * because of its age alone. Only after LMDB's commit returned, which is after its sync, are entries
 * dropped and journal segments given back.
 */
#include "chunk.h"
#include "receipts.h"
#include "shard.h"
#include "topic_index.h"

#include <annals/clock.h>
#include <annals/fault.h>
#include <annals/thread.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

#define SETTLE_BYTES (4u << 20)
#define SETTLE_START_BYTES (2u << 20)
#define SETTLE_ENTRIES_MAX 65536u
#define SETTLE_PARTITIONS_MAX 4096u
#define USAGE_INTERVAL_NS 1000000000u
/* Retention looks once more after so much was settled: the log must not outgrow its limit by all
 * that comes in one interval. */
#define RETENTION_SETTLED_BYTES (16u << 20)
/* A settle commit writes up to SETTLE_BYTES and a step of cleanup frees less than half of that:
 * space must come free at least as fast as it is used. */
#define CLEANUP_STEPS 4u
#define BLOCKED_RETRY_NS 500000000u

/* One partition's part of a settle commit. */
struct portion {
	struct topic_state *state; /* a reference */
	struct partition *partition;
	struct tail_entry *entries; /* copies, in the run's array */
	uint32_t count;
	struct partition_row row;
	uint64_t skipped_bytes; /* trimmed before they were settled */
};

struct settling {
	struct shard *shard;
	MDB_txn *txn;
	struct portion *portions;
	size_t portion_count;
	struct tail_entry *entries;
	size_t entry_count;
	uint64_t bytes;
	bool with_rows;
	uint64_t rows_up_to; /* block */
	struct meta_row meta;
};

static bool wants_sweep(struct shard *shard)
{
	struct tail *tail = &shard->tail;

	return tail->bytes + shard->overlay.bytes >= tail->bytes_max / 4 * 3 ||
	       tail_journal_span(tail) >= tail->bytes_max * 2;
}

bool settler_has_work(struct shard *shard)
{
	struct tail *tail = &shard->tail;

	return tail->ready_bytes >= SETTLE_START_BYTES || wants_sweep(shard) ||
	       !list_is_empty(&shard->trims) || !list_is_empty(&shard->deletes) ||
	       index_has_work(shard);
}

void settler_wake(struct shard *shard)
{
	if (shard->settler_sleeps && settler_has_work(shard)) {
		(void)pthread_cond_signal(&shard->settle);
	}
}

/* Copies as many of the partition's first entries as fit the commit. Under the mutex. */
static void take_portion(struct settling *run, struct partition *partition)
{
	struct portion *portion = &run->portions[run->portion_count];
	struct partition_tail *tail = &partition->tail;
	uint32_t count = 0;

	portion->entries = run->entries + run->entry_count;
	while (count < tail->count && run->bytes < SETTLE_BYTES &&
		run->entry_count < SETTLE_ENTRIES_MAX) {
		run->entries[run->entry_count] = *tail_entry_at(tail, count);
		(void)atomic_fetch_add_explicit(
			&run->entries[run->entry_count].block->references, 1, memory_order_relaxed);
		run->bytes += run->entries[run->entry_count].bytes;
		run->entry_count++;
		count++;
	}
	if (count == 0) {
		return;
	}
	portion->partition = partition;
	portion->count = count;
	portion->state = topic_state_ref(partition->topic);
	run->portion_count++;
}

static bool is_full(const struct settling *run)
{
	return run->bytes >= SETTLE_BYTES || run->entry_count >= SETTLE_ENTRIES_MAX ||
	       run->portion_count >= SETTLE_PARTITIONS_MAX;
}

static void choose_ready(struct settling *run)
{
	struct list_node *node;

	LIST_FOR_EACH (node, &run->shard->tail.ready) {
		if (is_full(run)) {
			return;
		}
		take_portion(run, ANNALS_CONTAINER_OF(node, struct partition, tail.ready));
	}
}

static int compare_partitions(const void *a, const void *b)
{
	const struct partition *left = *(struct partition *const *)a,
			       *right = *(struct partition *const *)b;

	if (left->topic->id != right->topic->id) {
		return left->topic->id < right->topic->id ? -1 : 1;
	}
	return (left->index > right->index) - (left->index < right->index);
}

static bool is_after_sweep(const struct shard *shard, const struct partition *partition)
{
	return partition->topic->id > shard->sweep_topic ||
	       (partition->topic->id == shard->sweep_topic &&
		       partition->index > shard->sweep_partition);
}

/* Partitions with anything pending, in key order from where the last sweep stopped, round once. */
static void choose_sweep(struct settling *run)
{
	struct shard *shard = run->shard;
	struct list_node *node;
	struct partition **waiting;
	size_t count = 0, start = 0;

	LIST_FOR_EACH (node, &shard->tail.waiting) {
		count++;
	}
	waiting = malloc((count + 1) * sizeof(struct partition *));
	if (waiting == NULL) {
		return;
	}
	count = 0;
	LIST_FOR_EACH (node, &shard->tail.waiting) {
		waiting[count++] = ANNALS_CONTAINER_OF(node, struct partition, tail.waiting);
	}
	qsort(waiting, count, sizeof(struct partition *), compare_partitions);
	while (start < count && !is_after_sweep(shard, waiting[start])) {
		start++;
	}
	for (size_t i = 0; i < count && !is_full(run); i++) {
		struct partition *partition = waiting[(start + i) % count];
		take_portion(run, partition);
		shard->sweep_topic = partition->topic->id;
		shard->sweep_partition = partition->index;
	}
	free(waiting);
}

/* A chunk being filled. */
struct filling {
	uint32_t first, count; /* entries */
	uint32_t old_bytes;    /* of the newest chunk that is being enlarged */
	struct chunk_header header;
};

/* The newest chunk, if it is small enough to grow: its bytes go before the new batches. */
static int load_small_chunk(struct settling *run, const struct portion *portion, struct buf *old,
	struct chunk_header *ret, struct error *err)
{
	uint8_t key[LOG_KEY_BYTES];
	struct bytes value;
	int found;

	log_key(key, portion->state->id, portion->partition->index, portion->row.last_chunk_base,
		0);
	found = table_get(
		&run->shard->env, run->txn, TABLE_LOG, bytes_of(key, sizeof(key)), &value, err);
	if (found < 0) {
		return found;
	}
	if (found == 0 || chunk_header_parse(value, ret) != 0 || ret->parts != 1 ||
		ret->base_offset + ret->count != portion->row.settled_end) {
		/* Trimmed meanwhile, or damaged: leave it alone. */
		*ret = (struct chunk_header){0};
		return 0;
	}
	buf_reset(old);
	if (buf_add(old, value.data + CHUNK_HEADER_BYTES, value.size - CHUNK_HEADER_BYTES) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to settle");
	}
	return 1;
}

static int put_large(struct settling *run, const struct portion *portion,
	const struct tail_entry *entry, const struct chunk_header *header, struct error *err)
{
	const uint8_t *next = entry->block->data + entry->at;
	uint32_t left = entry->bytes;
	uint8_t key[LOG_KEY_BYTES], *room;

	for (uint32_t part = 0; part < header->parts; part++) {
		uint32_t skip = part == 0 ? CHUNK_HEADER_BYTES : 0;
		uint32_t take = ANNALS_MIN(left, CHUNK_VALUE_BYTES_MAX - skip);
		int status;
		log_key(key, portion->state->id, portion->partition->index, header->base_offset,
			(uint16_t)part);
		status = table_put_reserve(&run->shard->env, run->txn, TABLE_LOG,
			bytes_of(key, sizeof(key)), (size_t)skip + take, &room, err);
		if (status != 0) {
			return status;
		}
		if (part == 0) {
			chunk_header_write(room, header);
		}
		memcpy(room + skip, next, take);
		next += take;
		left -= take;
	}
	return 0;
}

/* Writes the batches of entries [filling->first, +count) as one chunk, behind the old bytes. */
static int put_chunk(struct settling *run, struct portion *portion, struct filling *filling,
	const struct buf *old, struct error *err)
{
	const struct tail_entry *entries = portion->entries + filling->first;
	struct chunk_header *header = &filling->header;
	uint8_t key[LOG_KEY_BYTES], *room;
	int status;

	header->parts = chunk_parts(header->bytes);
	if (header->parts > 1) {
		status = put_large(run, portion, entries, header, err);
	} else {
		log_key(key, portion->state->id, portion->partition->index, header->base_offset, 0);
		status = table_put_reserve(&run->shard->env, run->txn, TABLE_LOG,
			bytes_of(key, sizeof(key)), (size_t)CHUNK_HEADER_BYTES + header->bytes,
			&room, err);
		if (status == 0) {
			chunk_header_write(room, header);
			room += CHUNK_HEADER_BYTES;
			if (filling->old_bytes > 0) {
				memcpy(room, old->data, filling->old_bytes);
				room += filling->old_bytes;
			}
			for (uint32_t i = 0; i < filling->count; i++) {
				memcpy(room, entries[i].block->data + entries[i].at,
					entries[i].bytes);
				room += entries[i].bytes;
			}
		}
	}
	portion->row.last_chunk_base = header->base_offset;
	portion->row.last_chunk_bytes = header->parts == 1 ? header->bytes : 0;
	portion->row.last_chunk_count = header->count;
	return status;
}

static void start_filling(struct filling *filling, const struct tail_entry *entry, uint32_t index)
{
	*filling = (struct filling){
		.first = index,
		.header = {.base_offset = entry->base_offset,
			.first_recorded_us = entry->recorded_us},
	};
}

/* Lays a portion's batches into chunks and brings the row up to date. */
static int settle_portion(
	struct settling *run, struct portion *portion, struct buf *old, struct error *err)
{
	struct partition_row *row = &portion->row;
	uint64_t first_offset = portion->partition->first_offset;
	struct filling filling = {0};
	uint32_t index = 0;
	int status = table_get_partition(&run->shard->env, run->txn, portion->state->id,
		portion->partition->index, row, err);

	if (status != 0) {
		return status;
	}
	/* Trimmed before it was settled: it never reaches the log. */
	while (index < portion->count &&
		portion->entries[index].base_offset + portion->entries[index].count <=
			first_offset) {
		row->last_chunk_bytes = 0;
		portion->skipped_bytes += portion->entries[index].bytes;
		index++;
	}
	if (index < portion->count && row->last_chunk_bytes > 0 &&
		row->last_chunk_bytes < CHUNK_MERGE_BYTES) {
		status = load_small_chunk(run, portion, old, &filling.header, err);
		if (status < 0) {
			return status;
		}
		filling.first = index;
		filling.old_bytes = status == 1 ? filling.header.bytes : 0;
		status = 0;
	}
	for (; index < portion->count && status == 0; index++) {
		const struct tail_entry *entry = &portion->entries[index];
		if (filling.header.count > 0 &&
			filling.header.bytes + entry->bytes > CHUNK_BATCH_BYTES_MAX) {
			status =
				filling.count > 0 ? put_chunk(run, portion, &filling, old, err) : 0;
			filling.header.count = 0;
		}
		if (filling.header.count == 0) {
			start_filling(&filling, entry, index);
		}
		filling.count++;
		filling.header.count += entry->count;
		filling.header.bytes += entry->bytes;
		filling.header.last_recorded_us = entry->recorded_us;
		row->log_bytes += entry->bytes;
		row->log_events += entry->count;
	}
	if (status == 0 && filling.count > 0) {
		status = put_chunk(run, portion, &filling, old, err);
	}
	if (status == 0) {
		const struct tail_entry *last = &portion->entries[portion->count - 1];
		struct batch batch;
		row->first_offset = first_offset;
		row->settled_end = last->base_offset + last->count;
		row->settled_block = last->block->number;
		row->last_recorded_us = last->recorded_us;
		if (batch_view(bytes_of(last->block->data + last->at, last->bytes), &batch) == 0) {
			row->last_position = batch.stamp.base_position + batch.stamp.count - 1;
		}
		status = table_put_partition(&run->shard->env, run->txn, portion->state->id,
			portion->partition->index, row, err);
	}
	return status;
}

/* A changed row that was copied out of the overlay, to be written without the mutex. */
struct changed_row {
	enum table table;
	struct buf key, value;
	bool deleted;
};

struct changed_rows {
	struct changed_row *rows;
	size_t count;
};

static void changed_rows_release(struct changed_rows *changed)
{
	for (size_t i = 0; i < changed->count; i++) {
		buf_release(&changed->rows[i].key);
		buf_release(&changed->rows[i].value);
	}
	free(changed->rows);
}

/* Under the mutex: everything that was published so far. */
static int copy_changed_rows(struct settling *run, struct changed_rows *changed)
{
	struct shard *shard = run->shard;
	struct list_node *node;
	int status = 0;

	run->rows_up_to = shard->last_block;
	run->meta = (struct meta_row){
		.settled_block = shard->last_block,
		.indexed_block = shard->meta.indexed_block,
		.next_position = shard->next_position,
		.last_recorded_us = shard->last_recorded_us,
		.next_topic_id = shard->catalog.next_topic_id,
	};
	changed->rows = calloc(shard->overlay.count + 1, sizeof(struct changed_row));
	if (changed->rows == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	LIST_FOR_EACH (node, &shard->overlay.rows) {
		const struct overlay_row *row = LIST_ENTRY(node, struct overlay_row, node);
		struct changed_row *copy = &changed->rows[changed->count++];
		copy->table = row->table;
		copy->deleted = row->deleted;
		status = status != 0 ? status : buf_add(&copy->key, row->key.data, row->key.size);
		status = status != 0 ? status : buf_add(&copy->value, row->value, row->value_size);
	}
	return status;
}

/* first_offset of partitions that were trimmed, in the same transaction that moves the rows'
 * watermark. */
static int put_trimmed_partitions(struct settling *run, struct error *err)
{
	struct shard *shard = run->shard;
	struct list_node *node;
	int status = 0;

	(void)pthread_mutex_lock(&shard->tail.mutex);
	LIST_FOR_EACH (node, &shard->trims) {
		struct partition *partition = LIST_ENTRY(node, struct partition, trim_node);
		struct partition_row row;
		/* Trimmed since the rows were copied: its topic may be newer than they are. */
		if (status != 0 || !partition->row_is_dirty ||
			partition->trimmed_block > run->rows_up_to) {
			continue;
		}
		status = table_get_partition(
			&shard->env, run->txn, partition->topic->id, partition->index, &row, err);
		if (status == 0) {
			row.first_offset = partition->first_offset;
			row.trimmed_below = partition->trimmed_below;
			status = table_put_partition(&shard->env, run->txn, partition->topic->id,
				partition->index, &row, err);
		}
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	return status;
}

static int settle_rows(struct settling *run, const struct changed_rows *changed, struct error *err)
{
	int status = put_trimmed_partitions(run, err);

	for (size_t i = 0; i < changed->count && status == 0; i++) {
		const struct changed_row *row = &changed->rows[i];
		status = row->deleted ? table_delete(&run->shard->env, run->txn, row->table,
						buf_bytes(&row->key), err)
				      : table_put(&run->shard->env, run->txn, row->table,
						buf_bytes(&row->key), buf_bytes(&row->value), err);
	}
	return status != 0 ? status : table_put_meta(&run->shard->env, run->txn, &run->meta, err);
}

/* After the commit: memory gives up what LMDB has. */
static void release_settled(struct settling *run)
{
	struct shard *shard = run->shard;
	struct tail *tail = &shard->tail;
	struct list_node *node, *following;
	uint64_t keep;

	(void)pthread_mutex_lock(&tail->mutex);
	for (size_t i = 0; i < run->portion_count; i++) {
		struct portion *portion = &run->portions[i];
		struct partition_tail *own = &portion->partition->tail;
		/* A deleted topic's entries are gone already. */
		if (!portion->state->deleted && own->count >= portion->count) {
			own->settled_end = portion->row.settled_end;
			tail_drop_entries(tail, own, portion->count);
			portion->partition->stored_bytes -= portion->skipped_bytes;
		}
	}
	if (run->with_rows) {
		overlay_settled(&shard->overlay, run->rows_up_to);
		LIST_FOR_EACH_SAFE (node, following, &tail->blocks) {
			struct tail_block *block = LIST_ENTRY(node, struct tail_block, node);
			if (block->number > run->rows_up_to) {
				break;
			}
			if (block->changes_rows) {
				block->changes_rows = false;
				tail_unpin(tail, block);
			}
		}
		shard->meta = run->meta;
	}
	keep = tail_oldest_block(tail);
	keep = keep != 0 ? keep : shard->last_block;
	keep = ANNALS_MUTATION("trim_unsettled") ? shard->last_block
						 : index_keep_block(shard, keep);
	(void)pthread_cond_signal(&tail->less);
	(void)pthread_mutex_unlock(&tail->mutex);
	shard->counters.settle_commits++;
	shard->counters.settled_bytes += run->bytes;
	/* Rows between their watermark and `keep` are pinned by their blocks, so this passes none.
	 */
	ANNALS_FAULT("settler.before_trim");
	if (keep > 0) {
		struct error err = {0};
		enum journal_result result = journal_trim(shard->journal, keep, &err);
		if (result != JOURNAL_OK && result != JOURNAL_FULL) {
			shard_fail(shard, err.text);
		}
	}
	ANNALS_FAULT("settler.after_trim");
}

static int fill_transaction(
	struct settling *run, const struct changed_rows *changed, struct error *err)
{
	struct buf old = BUF_INIT;
	int status = 0;

	for (size_t i = 0; i < run->portion_count && status == 0; i++) {
		status = settle_portion(run, &run->portions[i], &old, err);
	}
	buf_release(&old);
	if (status == 0 && run->with_rows) {
		status = settle_rows(run, changed, err);
	}
	return status;
}

static int commit_run(struct settling *run, const struct changed_rows *changed, struct error *err)
{
	uint64_t worst = run->bytes * 2 + run->portion_count * 8 * ENV_PAGE_BYTES +
			 changed->count * 2 * ENV_PAGE_BYTES + (1u << 20);
	int status = env_reserve(&run->shard->env, worst, err);

	if (status != 0) {
		return status;
	}
	status = env_begin(&run->shard->env, &run->txn, err);
	if (status != 0) {
		return status;
	}
	ANNALS_FAULT("settler.before_fill");
	if (run->with_rows && ANNALS_MUTATION("watermark_outside")) {
		status = table_put_meta(&run->shard->env, run->txn, &run->meta, err);
		status = status != 0 ? status : env_commit(run->txn, err);
		status = status != 0 ? status : env_begin(&run->shard->env, &run->txn, err);
		if (status != 0) {
			return status;
		}
	}
	status = fill_transaction(run, changed, err);
	if (status != 0) {
		mdb_txn_abort(run->txn);
		return status;
	}
	ANNALS_FAULT("settler.before_commit");
	return env_commit(run->txn, err);
}

/* One settle commit. 1 when something was settled, 0 when there was nothing to do. */
static int settle_once(struct shard *shard, struct error *err)
{
	struct settling run = {.shard = shard};
	struct changed_rows changed = {0};
	int status = 0;

	run.portions = calloc(SETTLE_PARTITIONS_MAX, sizeof(*run.portions));
	run.entries = malloc(SETTLE_ENTRIES_MAX * sizeof(*run.entries));
	if (run.portions == NULL || run.entries == NULL) {
		free(run.portions);
		free(run.entries);
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to settle");
	}
	(void)pthread_mutex_lock(&shard->tail.mutex);
	run.with_rows = wants_sweep(shard) || !list_is_empty(&shard->trims) ||
			!list_is_empty(&shard->deletes);
	if (wants_sweep(shard)) {
		choose_sweep(&run);
	} else if (shard->tail.ready_bytes >= SETTLE_START_BYTES) {
		choose_ready(&run);
	}
	/* A partition's row without its topic's would be lost on recovery (the topic is then made
	 * anew from the journal, with empty partitions, and its batches would be settled twice):
	 * topics go with the first of their batches. */
	run.with_rows = run.with_rows ||
			(run.portion_count > 0 && overlay_has(&shard->overlay, TABLE_TOPICS));
	if (run.with_rows) {
		status = copy_changed_rows(&run, &changed);
		run.with_rows = run.rows_up_to > shard->meta.settled_block;
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	if (status != 0) {
		(void)error_fail(err, status, "no memory to settle rows");
	} else if (run.portion_count > 0 || run.with_rows) {
		status = commit_run(&run, &changed, err);
		if (status == 0) {
			release_settled(&run);
			shard->unlooked_bytes += run.bytes;
			status = 1;
		}
	}
	for (size_t i = 0; i < run.portion_count; i++) {
		topic_state_unref(run.portions[i].state);
	}
	for (size_t i = 0; i < run.entry_count; i++) {
		tail_block_unref(run.entries[i].block);
	}
	changed_rows_release(&changed);
	free(run.portions);
	free(run.entries);
	return status;
}

/* What the operator and admission want to know about the disk. */
static void look_at_disk(struct shard *shard)
{
	struct statvfs disk;
	uint64_t used, free_pages;

	if (statvfs(shard->dir, &disk) == 0) {
		uint64_t available = (uint64_t)disk.f_bavail * disk.f_frsize;
		shard->counters.disk_free_bytes = available;
		shard->disk_is_low = available < shard->options.disk_reserve_bytes;
	}
	if (env_usage(&shard->env, &used, &free_pages) == 0) {
		shard->counters.map_used_bytes = used;
		shard->counters.free_pages = free_pages;
	}
}

static void wait_until(struct shard *shard, uint64_t wait_ns, bool for_work)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(wait_ns / 1000000000u);
	until.tv_nsec += (long)(wait_ns % 1000000000u);
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void)pthread_mutex_lock(&shard->tail.mutex);
	if (!shard->settler_stops && !(for_work && settler_has_work(shard))) {
		shard->settler_sleeps = for_work;
		(void)pthread_cond_timedwait(&shard->settle, &shard->tail.mutex, &until);
		shard->settler_sleeps = false;
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
}

/* Housekeeping that runs by the clock; returns how long until the next. */
static uint64_t housekeeping(struct shard *shard)
{
	uint64_t now = clock_monotonic_ns(), next;

	if (now >= shard->next_usage_ns) {
		look_at_disk(shard);
		shard->next_usage_ns = now + USAGE_INTERVAL_NS;
	}
	if (now >= shard->next_retention_ns || shard->unlooked_bytes >= RETENTION_SETTLED_BYTES) {
		shard->unlooked_bytes = 0;
		retention_run(shard);
		receipts_run(shard);
		shard->next_retention_ns = now + shard->options.retention_interval_us * 1000;
	}
	next = ANNALS_MIN(shard->next_usage_ns, shard->next_retention_ns);
	now = clock_monotonic_ns();
	return next > now ? next - now : 1000000;
}

/* 1: there may be more to give back; 0: nothing is left; negative as cleanup_step(). */
static int clean_up(struct shard *shard, struct error *err)
{
	int more = 1;
	for (unsigned i = 0; i < CLEANUP_STEPS && more > 0; i++) {
		more = cleanup_step(shard, err);
	}
	return more;
}

uint64_t settler_turn(struct shard *shard, bool *ret_for_work)
{
	struct error err = {0};
	uint64_t wait_ns = housekeeping(shard);
	int status = shard->state == STORE_READ_ONLY ? 0 : settle_once(shard, &err);

	if (status >= 0 && shard->state != STORE_READ_ONLY) {
		int more = clean_up(shard, &err);
		status = more < 0 ? more : status + more;
		more = status < 0 ? 0 : index_settle_step(shard, &err);
		status = more < 0 ? more : status + more;
	}
	*ret_for_work = shard->state != STORE_READ_ONLY;
	if (status == ANNALS_E_STORAGE_FULL || status == ANNALS_E_NO_MEMORY) {
		/* The tail and the journal keep what is waiting; appends stop when they are
		 * full. */
		shard->settling_is_blocked = true;
		*ret_for_work = false;
		return BLOCKED_RETRY_NS;
	}
	if (status < 0) {
		shard_fail(shard, err.text);
		return 0;
	}
	shard->settling_is_blocked = false;
	return status == 0 ? wait_ns : 0;
}

void *settler_main(void *arg)
{
	struct shard *shard = arg;
	bool stops = false;

	thread_set_name("annals-settler");
	while (!stops) {
		bool for_work;
		uint64_t wait_ns = settler_turn(shard, &for_work);
		if (wait_ns > 0) {
			wait_until(shard, wait_ns, for_work);
		}
		(void)pthread_mutex_lock(&shard->tail.mutex);
		stops = shard->settler_stops;
		(void)pthread_mutex_unlock(&shard->tail.mutex);
	}
	return NULL;
}
