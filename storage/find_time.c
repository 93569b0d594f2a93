/* The first offset recorded at or after a time: recorded times never fall within a partition, so
 * both the chunks and the tail can be searched by halves. */
#include "chunk.h"
#include "shard.h"

struct time_search {
	struct shard *shard;
	struct topic_state *state;
	struct partition *partition;
	struct find_time_request *request;
};

/* The chunk at or before `offset`. 1 found, 0 none, negative. Large batches' first parts only. */
static int chunk_at(struct time_search *search, MDB_cursor *cursor, uint64_t offset,
	struct chunk_header *ret, struct bytes *ret_value)
{
	uint8_t bytes[LOG_KEY_BYTES];
	MDB_val key = {sizeof(bytes), bytes}, value;
	uint32_t topic_id, index;
	uint64_t base;
	uint16_t part;
	int code;

	log_key(bytes, search->state->id, search->partition->index, offset, UINT16_MAX);
	code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	code = mdb_cursor_get(cursor, &key, &value, code == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
	while (code == 0) {
		if (!log_key_parse(
			    bytes_of(key.mv_data, key.mv_size), &topic_id, &index, &base, &part) ||
			topic_id != search->state->id || index != search->partition->index) {
			return 0;
		}
		if (part == 0) {
			*ret_value = bytes_of(value.mv_data, value.mv_size);
			return chunk_header_parse(*ret_value, ret) == 0
				       ? 1
				       : error_fail(&search->request->base.error,
						 ANNALS_E_CORRUPT_DATA,
						 "a chunk's header fails its checksum: topic '%s' "
						 "partition %u offset %llu",
						 search->state->topic->name, index,
						 (unsigned long long)base);
		}
		code = mdb_cursor_get(cursor, &key, &value, MDB_PREV);
	}
	return code == MDB_NOTFOUND
		       ? 0
		       : env_error(code, &search->request->base.error, "cannot read the log");
}

/* Within one chunk: the first batch recorded at or after the time; the chunk's last one is. */
static uint64_t first_in_chunk(
	const struct chunk_header *header, struct bytes value, uint64_t time_us)
{
	struct bytes left =
		bytes_of(value.data + CHUNK_HEADER_BYTES, value.size - CHUNK_HEADER_BYTES);
	struct batch batch;

	if (header->parts == 1) {
		while (left.size > 0 && batch_view(left, &batch) == 0) {
			if (batch.stamp.recorded_us >= time_us) {
				return batch.stamp.base_offset;
			}
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
	}
	return header->base_offset;
}

/* Finds the first chunk whose last recorded time reaches the wanted one. 1 found, 0 none. */
static int search_chunks(
	struct time_search *search, MDB_cursor *cursor, uint64_t first, uint64_t end)
{
	uint64_t time_us = search->request->time_us, low = first, high = end;
	struct chunk_header header;
	struct bytes value;
	int found = 0;

	/* Below low all is too early, at or above high lies the answer. */
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		int one = chunk_at(search, cursor, middle, &header, &value);
		if (one < 0) {
			return one;
		}
		if (one == 0) {
			low = middle + 1;
		} else if (header.last_recorded_us >= time_us) {
			search->request->offset = first_in_chunk(&header, value, time_us);
			found = 1;
			high = header.base_offset;
		} else {
			low = header.base_offset + header.count;
		}
	}
	return found;
}

/* 1 found, 0 nothing so late is in the tail; *ret_first is where the tail begins. */
static int search_tail(struct time_search *search, uint64_t *ret_first)
{
	struct tail *tail = &search->shard->tail;
	struct partition_tail *own = &search->partition->tail;
	uint32_t low = 0, high;
	int found = 0;

	(void)pthread_mutex_lock(&tail->mutex);
	high = own->count;
	*ret_first = high > 0 ? tail_entry_at(own, 0)->base_offset : search->partition->end_offset;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (tail_entry_at(own, middle)->recorded_us >= search->request->time_us) {
			high = middle;
		} else {
			low = middle + 1;
		}
	}
	if (low < own->count) {
		search->request->offset = tail_entry_at(own, low)->base_offset;
		found = 1;
	}
	(void)pthread_mutex_unlock(&tail->mutex);
	return found;
}

static int search(struct time_search *search)
{
	struct env *env = &search->shard->env;
	struct error *err = &search->request->base.error;
	struct snapshot *snapshot;
	MDB_cursor *cursor;
	uint64_t tail_first;
	int status, found;

	search->request->offset = search->partition->end_offset;
	(void)search_tail(search, &tail_first);
	status = env_snapshot_begin(env, &snapshot, err);
	if (status != 0) {
		return status;
	}
	status = env_snapshot_cursor(env, snapshot, TABLE_LOG, &cursor, err);
	if (status == 0) {
		found = search_chunks(search, cursor, search->partition->first_offset, tail_first);
		status = found < 0 ? found : 0;
	}
	env_snapshot_end(env, snapshot);
	if (search->request->offset < search->partition->first_offset) {
		search->request->offset = search->partition->first_offset;
	}
	return status;
}

int log_find_time(struct shard *shard, struct find_time_request *request, bool may_block)
{
	struct time_search one = {.shard = shard, .request = request};
	int status = 0;

	if (!may_block) {
		return 1;
	}
	request->base.status = 0;
	one.state = catalog_find_partition(
		&shard->catalog, request->topic_id, request->partition, &one.partition, &status);
	if (one.state == NULL) {
		request->base.status = error_fail(&request->base.error, status,
			"topic id %u has no partition %u", request->topic_id, request->partition);
		return 0;
	}
	request->base.status = search(&one);
	topic_state_unref(one.state);
	return 0;
}
