/*
 * Giving space back, in steps that free at most CLEANUP_PAGES pages of LMDB: chunks wholly below a
 * partition's first offset, and all that a deleted topic leaves. Larger steps make the next commits
 * slow (the free list of one transaction grows beyond a page), and after a full disk only several
 * small transactions make freed pages usable.
 */
#include "chunk.h"
#include "shard.h"

#include <annals/fault.h>
#include <assert.h>
#include <stdlib.h>

#define CLEANUP_PAGES 400u

struct step {
	struct shard *shard;
	MDB_txn *txn;
	uint32_t pages; /* freed so far */
	bool done;
};

static uint32_t pages_of(size_t value_bytes)
{
	return (uint32_t)(value_bytes / ENV_PAGE_BYTES) + 1;
}

static int begin(struct step *step, struct shard *shard, struct error *err)
{
	int status = env_reserve(&shard->env, 1u << 20, err);

	step->shard = shard;
	return status != 0 ? status : env_begin(&shard->env, &step->txn, err);
}

/* Deletes chunks from the front of a partition's log while they lie wholly below `below`. */
static int delete_chunks(struct step *step, uint32_t topic_id, uint32_t index, uint64_t below,
	struct partition_row *row, struct error *err)
{
	struct env *env = &step->shard->env;
	uint8_t bytes[LOG_KEY_BYTES];
	MDB_cursor *cursor;
	MDB_val key = {sizeof(bytes), bytes}, value;
	int code = mdb_cursor_open(step->txn, env->tables[TABLE_LOG], &cursor);
	bool part_of_deleted = false;

	if (code != 0) {
		return env_error(code, err, "cannot open a cursor");
	}
	log_key(bytes, topic_id, index, 0, 0);
	code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	step->done = true;
	while (code == 0) {
		uint32_t own_topic, own_index;
		uint64_t base;
		uint16_t part;
		struct chunk_header header;
		if (!log_key_parse(bytes_of(key.mv_data, key.mv_size), &own_topic, &own_index,
			    &base, &part) ||
			own_topic != topic_id || own_index != index) {
			break;
		}
		if (part == 0) {
			if (chunk_header_parse(bytes_of(value.mv_data, value.mv_size), &header) !=
				0) {
				/* A damaged header says nothing about its end; the key says that it
				 * begins below. */
				header = (struct chunk_header){.base_offset = base, .count = 1};
			}
			if (header.base_offset + header.count > below) {
				break;
			}
			if (step->pages >= CLEANUP_PAGES) {
				step->done = false;
				break;
			}
			row->log_bytes -= ANNALS_MIN(row->log_bytes, header.bytes);
			row->log_events -= ANNALS_MIN(row->log_events, header.count);
			step->shard->counters.trimmed_chunks++;
			part_of_deleted = true;
			if (base == row->last_chunk_base) {
				row->last_chunk_bytes = 0;
			}
		} else if (!part_of_deleted) {
			break;
		}
		step->pages += pages_of(value.mv_size);
		code = mdb_cursor_del(cursor, 0);
		code = code != 0 ? code : mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	return code == 0 || code == MDB_NOTFOUND ? 0
						 : env_error(code, err, "cannot delete a chunk");
}

/* Writes the partition's row and commits. */
static int commit_trim(struct shard *shard, struct step *step, struct topic_state *state,
	struct partition *partition, struct partition_row *row, uint64_t first_offset,
	struct error *err)
{
	int status;

	row->first_offset = first_offset;
	(void)pthread_mutex_lock(&shard->tail.mutex);
	row->trimmed_below = partition->trimmed_below;
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	status = table_put_partition(&shard->env, step->txn, state->id, partition->index, row, err);
	if (status != 0) {
		mdb_txn_abort(step->txn);
		return status;
	}
	ANNALS_FAULT("cleanup.before_commit");
	status = env_commit(step->txn, err);
	ANNALS_FAULT("cleanup.after_commit");
	return status;
}

/* One partition whose first offset moved. */
static int trim_step(struct shard *shard, struct topic_state *state, struct partition *partition,
	struct error *err)
{
	struct step step = {0};
	struct partition_row row;
	uint64_t bytes_before, first_offset = partition->first_offset;
	int status = begin(&step, shard, err);

	if (status != 0) {
		return status;
	}
	status = table_get_partition(&shard->env, step.txn, state->id, partition->index, &row, err);
	bytes_before = row.log_bytes;
	if (status == 0) {
		status = delete_chunks(&step, state->id, partition->index, first_offset, &row, err);
	}
	if (status != 0 || (step.pages == 0 && row.first_offset == first_offset)) {
		mdb_txn_abort(step.txn);
	} else {
		status = commit_trim(shard, &step, state, partition, &row, first_offset, err);
	}
	if (status != 0) {
		return status;
	}
	partition->stored_bytes -= bytes_before - row.log_bytes;
	if (step.done) {
		(void)pthread_mutex_lock(&shard->tail.mutex);
		if (partition->first_offset == first_offset && partition->trim_is_queued) {
			list_remove(&partition->trim_node);
			partition->trim_is_queued = false;
			partition->row_is_dirty = false;
		}
		(void)pthread_mutex_unlock(&shard->tail.mutex);
	}
	return 1;
}

/* Deletes rows of a table whose key begins with the prefix. */
static int delete_prefix(
	struct step *step, enum table table, struct bytes prefix, struct error *err)
{
	uint8_t start[16];
	MDB_cursor *cursor;
	MDB_val key = {prefix.size, start}, value;
	int code = mdb_cursor_open(step->txn, step->shard->env.tables[table], &cursor);

	if (code != 0) {
		return env_error(code, err, "cannot open a cursor");
	}
	assert(prefix.size <= sizeof(start));
	memcpy(start, prefix.data, prefix.size);
	step->done = true;
	code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	while (code == 0 && key.mv_size >= prefix.size &&
		memcmp(key.mv_data, prefix.data, prefix.size) == 0) {
		if (step->pages >= CLEANUP_PAGES) {
			step->done = false;
			break;
		}
		step->pages += pages_of(value.mv_size);
		code = mdb_cursor_del(cursor, 0);
		code = code != 0 ? code : mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	return code == 0 || code == MDB_NOTFOUND ? 0 : env_error(code, err, "cannot delete rows");
}

/* Deletes the offsets that groups committed for the topic: their keys begin with the group, so all
 * are looked at. */
static int delete_offsets(struct step *step, uint32_t topic_id, struct error *err)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	struct bytes group;
	uint32_t own_topic, partition;
	int code = mdb_cursor_open(step->txn, step->shard->env.tables[TABLE_OFFSETS], &cursor);

	if (code != 0) {
		return env_error(code, err, "cannot open a cursor");
	}
	code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
	while (code == 0) {
		if (offset_key_parse(
			    bytes_of(key.mv_data, key.mv_size), &group, &own_topic, &partition) &&
			own_topic == topic_id) {
			if (step->pages >= CLEANUP_PAGES) {
				step->done = false;
				break;
			}
			step->pages++;
			code = mdb_cursor_del(cursor, 0);
			code = code != 0 ? code : mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
		} else {
			code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
		}
	}
	mdb_cursor_close(cursor);
	return code == 0 || code == MDB_NOTFOUND ? 0
						 : env_error(code, err, "cannot delete offsets");
}

/* Storage's own rows of the topic: receipts, and what producers sent to it. */
static int delete_rows(struct step *step, uint32_t topic_id, struct error *err)
{
	uint8_t receipts[5] = {ROW_RECEIPT}, producers[6] = {ROW_PRODUCER, 's'};
	int status;

	store_u32_be(receipts + 1, topic_id);
	store_u32_be(producers + 2, topic_id);
	status = delete_prefix(step, TABLE_ROWS, bytes_of(receipts, sizeof(receipts)), err);
	return status == 0 && step->done ? delete_prefix(step, TABLE_ROWS,
						   bytes_of(producers, sizeof(producers)), err)
					 : status;
}

static int delete_step(struct shard *shard, struct deletion *deletion, struct error *err)
{
	static const enum table tables[] = {TABLE_LOG, TABLE_PARTITIONS, TABLE_INDEX};
	struct step step = {0};
	uint8_t key[TOPIC_KEY_BYTES];
	int status = begin(&step, shard, err);

	if (status != 0) {
		return status;
	}
	step.done = true;
	topic_key(key, deletion->topic_id);
	for (size_t i = 0; i < ANNALS_COUNT_OF(tables) && status == 0 && step.done; i++) {
		status = delete_prefix(&step, tables[i], bytes_of(key, sizeof(key)), err);
	}
	if (status == 0 && step.done) {
		status = delete_rows(&step, deletion->topic_id, err);
	}
	if (status == 0 && step.done) {
		status = delete_offsets(&step, deletion->topic_id, err);
	}
	if (status == 0 && step.done) {
		status = table_delete(
			&shard->env, step.txn, TABLE_DELETING, bytes_of(key, sizeof(key)), err);
	}
	if (status != 0) {
		mdb_txn_abort(step.txn);
		return status;
	}
	ANNALS_FAULT("cleanup.before_delete_commit");
	status = env_commit(step.txn, err);
	if (status != 0) {
		return status;
	}
	if (step.done) {
		(void)pthread_mutex_lock(&shard->tail.mutex);
		list_remove(&deletion->node);
		(void)pthread_mutex_unlock(&shard->tail.mutex);
		free(deletion);
	}
	return 1;
}

int cleanup_step(struct shard *shard, struct error *err)
{
	struct topic_state *state = NULL;
	struct partition *partition = NULL;
	struct deletion *deletion = NULL;
	int status = 0;

	(void)pthread_mutex_lock(&shard->tail.mutex);
	/* Topics first, see settle_once(): the next settling takes their rows along. */
	if (!list_is_empty(&shard->trims) && !overlay_has(&shard->overlay, TABLE_TOPICS)) {
		partition = LIST_ENTRY(shard->trims.next, struct partition, trim_node);
		state = topic_state_ref(partition->topic);
		/* The next step takes another partition. */
		list_remove(&partition->trim_node);
		list_add_tail(&shard->trims, &partition->trim_node);
	}
	if (!list_is_empty(&shard->deletes)) {
		deletion = LIST_ENTRY(shard->deletes.next, struct deletion, node);
		deletion = deletion->block <= shard->meta.settled_block ? deletion : NULL;
	}
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	if (state != NULL) {
		status = trim_step(shard, state, partition, err);
		topic_state_unref(state);
	}
	if (status >= 0 && deletion != NULL) {
		int deleted = delete_step(shard, deletion, err);
		status = deleted < 0 ? deleted : 1;
	}
	return status;
}
