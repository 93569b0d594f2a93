/*
 * Opening what is there: topics and partitions as LMDB has them, then every block of the journal
 * through the code that publishes; the watermarks say what LMDB holds already.
 */
#include "shard.h"

#include <annals/fault.h>
#include <stdlib.h>

static int load_partition(struct shard *shard, MDB_txn *txn, struct topic_state *state,
	uint32_t index, struct error *err)
{
	struct partition *partition = state->partitions[index];
	struct partition_row row;
	int status = table_get_partition(&shard->env, txn, state->id, index, &row, err);

	if (status != 0) {
		return status;
	}
	partition->first_offset = row.first_offset;
	partition->end_offset = row.settled_end;
	partition->next_offset = row.settled_end;
	partition->stored_bytes = row.log_bytes;
	partition->last_recorded_us = row.last_recorded_us;
	partition->last_position = row.last_position;
	partition->tail.settled_end = row.settled_end;
	partition->trimmed_below = row.trimmed_below;
	if (row.trimmed_below > state->trimmed_below) {
		state->trimmed_below = row.trimmed_below;
	}
	if (row.last_position > state->last_position) {
		state->last_position = row.last_position;
	}
	/* More in the log than is kept: a cleanup was cut short (or a chunk straddles the first
	 * offset). */
	if (row.first_offset > 0 && row.log_events + row.first_offset > row.settled_end) {
		partition->trim_is_queued = true;
		list_add_tail(&shard->trims, &partition->trim_node);
	}
	return 0;
}

int recovery_load_partitions(
	struct shard *shard, struct topic_state *state, uint32_t from, struct error *err)
{
	struct snapshot *snapshot;
	int status = env_snapshot_begin(&shard->env, &snapshot, err);

	if (status != 0) {
		return status;
	}
	for (uint32_t i = from; i < state->partition_count && status == 0; i++) {
		status = load_partition(shard, snapshot->txn, state, i, err);
	}
	env_snapshot_end(&shard->env, snapshot);
	return status;
}

static int load_topic(struct shard *shard, MDB_txn *txn, struct bytes encoded, struct error *err)
{
	struct topic *topic;
	struct topic_state *state;
	int status = topic_decode(encoded, &topic, err);

	if (status != 0) {
		return status;
	}
	status = catalog_add(&shard->catalog, topic);
	if (status != 0) {
		topic_unref(topic);
		return error_fail(err, status, "no memory for the topics");
	}
	state = catalog_peek_id(&shard->catalog, topic->id);
	for (uint32_t i = 0; i < state->partition_count && status == 0; i++) {
		status = load_partition(shard, txn, state, i, err);
	}
	return status;
}

static int load_topics(struct shard *shard, struct snapshot *snapshot, struct error *err)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	int status = env_snapshot_cursor(&shard->env, snapshot, TABLE_TOPICS, &cursor, err);
	int code = status == 0 ? mdb_cursor_get(cursor, &key, &value, MDB_FIRST) : 0;

	while (status == 0 && code == 0) {
		status = load_topic(
			shard, snapshot->txn, bytes_of(value.mv_data, value.mv_size), err);
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	if (status == 0 && code != MDB_NOTFOUND) {
		status = env_error(code, err, "cannot read the topics");
	}
	return status;
}

static int load_deletions(struct shard *shard, struct snapshot *snapshot, struct error *err)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	int status = env_snapshot_cursor(&shard->env, snapshot, TABLE_DELETING, &cursor, err);
	int code = status == 0 ? mdb_cursor_get(cursor, &key, &value, MDB_FIRST) : 0;

	while (status == 0 && code == 0) {
		struct deletion *deletion = calloc(1, sizeof(*deletion));
		if (deletion == NULL) {
			return error_fail(
				err, ANNALS_E_NO_MEMORY, "no memory for the deleted topics");
		}
		deletion->topic_id = load_u32_be(key.mv_data);
		list_add_tail(&shard->deletes, &deletion->node);
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	if (status == 0 && code != MDB_NOTFOUND) {
		status = env_error(code, err, "cannot read the deleted topics");
	}
	return status;
}

static int load_lmdb(struct shard *shard, struct error *err)
{
	struct snapshot *snapshot;
	int status = env_snapshot_begin(&shard->env, &snapshot, err);

	if (status != 0) {
		return status;
	}
	status = table_get_meta(&shard->env, snapshot->txn, &shard->meta, err);
	if (status == 0) {
		if (shard->journal->ops->caps & JOURNAL_CAP_VOLATILE) {
			/* Nothing of the old journal is left: what LMDB holds is all there is. */
			shard->meta.settled_block = 0;
		}
		shard->next_position = shard->meta.next_position;
		shard->last_recorded_us = shard->meta.last_recorded_us;
		shard->catalog.next_topic_id = shard->meta.next_topic_id;
		status = load_topics(shard, snapshot, err);
	}
	if (status == 0) {
		status = load_deletions(shard, snapshot, err);
	}
	env_snapshot_end(&shard->env, snapshot);
	return status;
}

static int replay_journal(struct shard *shard, struct error *err)
{
	struct buf block = BUF_INIT;
	uint64_t number = 0, from = 1;
	int status = 0;

	while (status == 0) {
		enum journal_result result =
			journal_read_block(shard->journal, from, &block, &number, err);
		if (result != JOURNAL_OK) {
			status = result == JOURNAL_CORRUPT ? ANNALS_E_CORRUPT_DATA : ANNALS_E_IO;
			break;
		}
		if (number == 0) {
			break;
		}
		ANNALS_FAULT("recovery.before_block");
		status = publish_block(shard, number, buf_bytes(&block), true, err);
		if (status != 0) {
			error_wrap(err, "journal block %llu", (unsigned long long)number);
		}
		from = number + 1;
	}
	buf_release(&block);
	return status;
}

/* Offsets must go on without a gap in every partition that is still there. */
static int check_dense(struct shard *shard, struct error *err)
{
	for (size_t slot = 0; slot < shard->catalog.slots; slot++) {
		struct topic_state *state = shard->catalog.by_id[slot];
		for (uint32_t i = 0; state != NULL && i < state->partition_count; i++) {
			struct partition *partition = state->partitions[i];
			if (partition->gap_at != UINT64_MAX) {
				return error_fail(err, ANNALS_E_CORRUPT_DATA,
					"topic '%s' partition %u lacks offsets from %llu on: "
					"neither the journal nor LMDB holds them",
					state->topic->name, i,
					(unsigned long long)partition->gap_at);
			}
			if (partition->first_offset > partition->end_offset) {
				return error_fail(err, ANNALS_E_CORRUPT_DATA,
					"topic '%s' partition %u begins at offset %llu and ends at "
					"%llu",
					state->topic->name, i,
					(unsigned long long)partition->first_offset,
					(unsigned long long)partition->end_offset);
			}
		}
	}
	return 0;
}

int recovery_run(struct shard *shard, struct error *err)
{
	int status = load_lmdb(shard, err);

	if (status == 0) {
		status = replay_journal(shard, err);
	}
	if (status == 0 && shard->journal->last_block < shard->meta.settled_block) {
		/* LMDB is only written after the journal was synced: somebody took the journal
		 * away. */
		status = error_fail(err, ANNALS_E_CORRUPT_DATA,
			"the journal ends at block %llu, but LMDB holds block %llu: the journal's "
			"newest files are missing",
			(unsigned long long)shard->journal->last_block,
			(unsigned long long)shard->meta.settled_block);
	}
	shard->last_block = shard->journal->last_block;
	return status != 0 ? status : check_dense(shard, err);
}
