/*
 * Publishing: what a durable block means for memory. The same code runs after a commit and in
 * recovery; there, what LMDB holds already is skipped by the watermarks.
 *
 * Everything that can fail for lack of memory is done before anything becomes visible where that is
 * possible; where it is not, the caller stops the shard: the journal has the block, and reopening
 * applies it.
 */
#include "shard.h"
#include "topic_index.h"

#include <annals/fault.h>
#include <assert.h>
#include <stdlib.h>

struct publication {
	struct shard *shard;
	struct tail_block *block;
	bool recovering;
	struct partition *touched_inline[64];
	struct partition **touched; /* whose end moved, each once or more */
	size_t touched_count, touched_capacity;
	struct topic_state *deleted;
};

static int remember_touched(struct publication *publication, struct partition *partition)
{
	struct partition **larger;

	if (publication->touched_count > 0 &&
		publication->touched[publication->touched_count - 1] == partition) {
		return 0;
	}
	if (publication->touched_count == publication->touched_capacity) {
		assert(publication->touched_capacity > 0);
		larger = malloc(publication->touched_capacity * 2 * sizeof(struct partition *));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		memcpy(larger, publication->touched,
			publication->touched_count * sizeof(struct partition *));
		if (publication->touched != publication->touched_inline) {
			free(publication->touched);
		}
		publication->touched = larger;
		publication->touched_capacity *= 2;
	}
	publication->touched[publication->touched_count++] = partition;
	return 0;
}

/* Recovery: true when LMDB holds the batch already. Notes offsets that do not continue the log. */
static bool is_settled(struct partition *partition, const struct stamp *stamp)
{
	if (stamp->base_offset + stamp->count <= partition->tail.settled_end) {
		return true;
	}
	if (stamp->base_offset != partition->end_offset && partition->gap_at == UINT64_MAX) {
		partition->gap_at = partition->end_offset;
	}
	return false;
}

static bool rows_are_settled(const struct publication *publication)
{
	return publication->recovering &&
	       publication->block->number <= publication->shard->meta.settled_block;
}

static int on_append(void *arg, const struct batch *batch, size_t at, struct error *err)
{
	struct publication *publication = arg;
	const struct stamp *stamp = &batch->stamp;
	struct topic_state *state = catalog_peek_id(&publication->shard->catalog, stamp->topic_id);
	struct partition *partition;
	struct tail_entry entry;

	if (stamp->base_position + stamp->count > publication->shard->next_position) {
		publication->shard->next_position = stamp->base_position + stamp->count;
	}
	if (state == NULL && rows_are_settled(publication)) {
		return 0; /* LMDB knows already that a later block deleted the topic */
	}
	if (state == NULL || stamp->partition >= state->partition_count) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"a batch belongs to topic id %u partition %u, which does not exist",
			stamp->topic_id, stamp->partition);
	}
	partition = state->partitions[stamp->partition];
	if (!publication->recovering ||
		publication->block->number > publication->shard->meta.indexed_block) {
		int status = topic_index_add_batch(
			publication->shard, state, batch, publication->block->number, err);
		if (status != 0) {
			return status;
		}
	}
	if (publication->recovering && is_settled(partition, stamp)) {
		return 0;
	}
	if (tail_reserve_entry(&partition->tail) != 0 ||
		remember_touched(publication, partition) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the tail");
	}
	entry = (struct tail_entry){
		.base_offset = stamp->base_offset,
		.recorded_us = stamp->recorded_us,
		.block = publication->block,
		.at = (uint32_t)at,
		.bytes = (uint32_t)batch->stored.size,
		.count = stamp->count,
	};
	tail_add_entry(&publication->shard->tail, &partition->tail, &entry);
	partition->stored_bytes += entry.bytes;
	partition->last_recorded_us = stamp->recorded_us;
	partition->last_position = stamp->base_position + stamp->count - 1;
	partition->next_offset = stamp->base_offset + stamp->count;
	partition->end_offset = partition->next_offset;
	if (state->last_position < partition->last_position) {
		state->last_position = partition->last_position;
	}
	return 0;
}

static int put_row(struct publication *publication, enum table table, struct bytes key,
	struct bytes value, struct error *err)
{
	if (overlay_put(&publication->shard->overlay, table, key, value,
		    publication->block->number) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a changed row");
	}
	publication->block->changes_rows = true;
	return 0;
}

static int on_topic(
	void *arg, bool created, struct topic *topic, struct bytes encoded, struct error *err)
{
	struct publication *publication = arg;
	struct catalog *catalog = &publication->shard->catalog;
	struct topic_state *state = catalog_peek_id(catalog, topic->id);
	uint32_t id = topic->id, partitions = state == NULL ? 0 : state->partition_count;
	uint8_t key[TOPIC_KEY_BYTES];
	int status;

	if (rows_are_settled(publication)) {
		topic_unref(topic);
		return 0;
	}
	topic_key(key, topic->id);
	status = put_row(publication, TABLE_TOPICS, bytes_of(key, sizeof(key)), encoded, err);
	if (status != 0) {
		return status;
	}
	if (created != (state == NULL)) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA, "topic '%s' is %s", topic->name,
			created ? "created twice" : "changed without being there");
	}
	if (created) {
		if (topic->id >= catalog->next_topic_id) {
			catalog->next_topic_id = topic->id + 1;
		}
		status = catalog_add(catalog, topic);
	} else {
		status = catalog_replace(catalog, state, topic);
	}
	if (status != 0) {
		return error_fail(err, status, "cannot take over topic '%s'", topic->name);
	}
	if (publication->recovering) {
		state = catalog_peek_id(catalog, id);
		status = recovery_load_partitions(publication->shard, state, partitions, err);
		if (status != 0) {
			(void)topic_ref(topic); /* the catalog has the caller's reference */
		}
	}
	return status;
}

static int on_topic_delete(void *arg, uint32_t topic_id, struct error *err)
{
	struct publication *publication = arg;
	struct shard *shard = publication->shard;
	struct topic_state *state = catalog_peek_id(&shard->catalog, topic_id);
	struct deletion *deletion;
	uint8_t key[TOPIC_KEY_BYTES];
	int status;

	if (rows_are_settled(publication) || state == NULL) {
		return 0;
	}
	deletion = calloc(1, sizeof(*deletion));
	if (deletion == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to delete a topic");
	}
	topic_key(key, topic_id);
	status = put_row(
		publication, TABLE_TOPICS, bytes_of(key, sizeof(key)), bytes_of(NULL, 0), err);
	status = status != 0 ? status
			     : put_row(publication, TABLE_DELETING, bytes_of(key, sizeof(key)),
				       bytes_of("", 0), err);
	if (status != 0) {
		free(deletion);
		return status;
	}
	deletion->topic_id = topic_id;
	deletion->block = publication->block->number;
	list_add_tail(&shard->deletes, &deletion->node);
	state->deleted = true; /* before its entries go: readers must not take that for damage */
	for (uint32_t i = 0; i < state->partition_count; i++) {
		struct partition *partition = state->partitions[i];
		tail_drop_entries(&shard->tail, &partition->tail, partition->tail.count);
		if (partition->trim_is_queued) {
			list_remove(&partition->trim_node);
			partition->trim_is_queued = false;
		}
		partition->row_is_dirty = false;
	}
	topic_index_drop(shard, state);
	publication->deleted = state;
	return 0;
}

static int on_offset(void *arg, const struct offset_row *row, struct error *err)
{
	struct publication *publication = arg;
	uint8_t key[OFFSET_KEY_BYTES_MAX];
	size_t size;

	if (rows_are_settled(publication)) {
		return 0;
	}
	size = offset_key(key, row->group, row->topic_id, row->partition);
	return put_row(publication, TABLE_OFFSETS, bytes_of(key, size), row->encoded, err);
}

static int on_offset_delete(
	void *arg, struct bytes group, uint32_t topic_id, uint32_t partition, struct error *err)
{
	struct publication *publication = arg;
	uint8_t key[OFFSET_KEY_BYTES_MAX];
	size_t size;

	if (rows_are_settled(publication)) {
		return 0;
	}
	size = offset_key(key, group, topic_id, partition);
	return put_row(publication, TABLE_OFFSETS, bytes_of(key, size), bytes_of(NULL, 0), err);
}

static int on_trim(void *arg, uint32_t topic_id, uint32_t index, uint64_t first_offset,
	uint64_t position, struct error *err)
{
	struct publication *publication = arg;
	struct shard *shard = publication->shard;
	struct topic_state *state = catalog_peek_id(&shard->catalog, topic_id);
	struct partition *partition;

	(void)err;
	if (rows_are_settled(publication) || state == NULL || index >= state->partition_count) {
		return 0;
	}
	partition = state->partitions[index];
	if (first_offset <= partition->first_offset) {
		return 0;
	}
	shard->counters.trimmed_events += first_offset - partition->first_offset;
	partition->first_offset = first_offset;
	partition->trimmed_below = ANNALS_MAX(partition->trimmed_below, position);
	if (state->trimmed_below < position) {
		state->trimmed_below = position;
	}
	partition->row_is_dirty = true;
	partition->trimmed_block = publication->block->number;
	publication->block->changes_rows = true;
	if (!partition->trim_is_queued) {
		partition->trim_is_queued = true;
		list_add_tail(&shard->trims, &partition->trim_node);
	}
	return 0;
}

static int on_row(void *arg, struct bytes key, struct bytes value, struct error *err)
{
	struct publication *publication = arg;

	if (publication->recovering && ANNALS_MUTATION("forget_rows")) {
		return 0;
	}
	return rows_are_settled(publication) ? 0
					     : put_row(publication, TABLE_ROWS, key, value, err);
}

static void announce(struct publication *publication)
{
	struct shard *shard = publication->shard;

	for (size_t i = 0; i < publication->touched_count; i++) {
		watch_fire(&shard->watches, publication->touched[i]);
	}
}

int publish_block(struct shard *shard, uint64_t number, struct bytes block, bool recovering,
	struct error *err)
{
	struct publication publication = {.shard = shard, .recovering = recovering};
	struct apply_sink sink = {
		.arg = &publication,
		.append = on_append,
		.topic = on_topic,
		.topic_delete = on_topic_delete,
		.offset = on_offset,
		.offset_delete = on_offset_delete,
		.trim = on_trim,
		.row = on_row,
	};
	struct block_header header;
	int status = block_view(block, &header, err);

	if (status != 0) {
		return status;
	}
	publication.touched = publication.touched_inline;
	publication.touched_capacity = ANNALS_COUNT_OF(publication.touched_inline);
	publication.block = tail_block_new(number, block);
	if (publication.block == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to publish block %llu",
			(unsigned long long)number);
	}
	ANNALS_FAULT("publish.before");
	(void)pthread_mutex_lock(&shard->tail.mutex);
	publication.block->written_before = shard->tail.journal_bytes;
	if (header.first_position > shard->next_position) {
		shard->next_position = header.first_position;
	}
	status =
		apply_block(bytes_of(publication.block->data, publication.block->size), &sink, err);
	shard->tail.journal_bytes += block.size;
	if (publication.block->changes_rows) {
		publication.block->pending++;
	}
	tail_add_block(&shard->tail, publication.block);
	/* Under the mutex: the settler's watermark must name every block whose rows it sees. */
	shard->last_block = number;
	shard->last_recorded_us = header.time_us;
	settler_wake(shard);
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	ANNALS_FAULT("publish.after");
	if (publication.deleted != NULL) {
		struct topic_state *state = topic_state_ref(publication.deleted);
		catalog_remove(&shard->catalog, state);
		watch_fail_topic(&shard->watches, state, ANNALS_E_UNKNOWN_TOPIC);
		topic_state_unref(state);
	}
	announce(&publication);
	if (publication.touched != publication.touched_inline) {
		free(publication.touched);
	}
	return status;
}
