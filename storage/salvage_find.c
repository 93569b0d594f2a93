/* What was found so far, in order. */
#include "salvage.h"

#include "store_files.h"

#include <annals/hash.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Room for one more element. */
static int grow(void **array, size_t count, size_t *capacity, size_t element_size)
{
	size_t larger = *capacity == 0 ? 256 : *capacity * 2;
	void *grown;

	if (count < *capacity) {
		return 0;
	}
	grown = reallocarray(*array, larger, element_size);
	if (grown == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	*array = grown;
	*capacity = larger;
	return 0;
}

static struct salvage_topic *find_topic(struct salvage *salvage, uint32_t id)
{
	for (size_t i = 0; i < salvage->topic_count; i++) {
		if (salvage->topics[i].topic->id == id) {
			return &salvage->topics[i];
		}
	}
	return NULL;
}

int salvage_add_topic(struct salvage *salvage, struct topic *topic)
{
	struct salvage_topic *existing = find_topic(salvage, topic->id);

	if (existing != NULL) {
		/* Partitions only grow: an older copy of the row has fewer. */
		if (topic->config.partitions >= existing->topic->config.partitions) {
			topic_unref(existing->topic);
			existing->topic = topic;
		} else {
			topic_unref(topic);
		}
		return 0;
	}
	if (grow((void **)&salvage->topics, salvage->topic_count, &salvage->topic_capacity,
		    sizeof(*salvage->topics)) != 0) {
		topic_unref(topic);
		return ANNALS_E_NO_MEMORY;
	}
	salvage->topics[salvage->topic_count++] = (struct salvage_topic){.topic = topic};
	return 0;
}

void salvage_remove_topic(struct salvage *salvage, uint32_t topic_id)
{
	struct salvage_topic *topic = find_topic(salvage, topic_id);

	if (topic != NULL) {
		topic_unref(topic->topic);
		*topic = salvage->topics[--salvage->topic_count];
	}
}

static int add_piece(struct salvage *salvage, const struct batch *batch, const uint8_t *at)
{
	const struct stamp *stamp = &batch->stamp;

	if (grow((void **)&salvage->pieces, salvage->piece_count, &salvage->piece_capacity,
		    sizeof(*salvage->pieces)) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	salvage->pieces[salvage->piece_count++] =
		(struct salvage_piece){.topic_id = stamp->topic_id,
			.partition = stamp->partition,
			.count = stamp->count,
			.size = (uint32_t)batch->stored.size,
			.base_offset = stamp->base_offset,
			.position = stamp->base_position,
			.at = at};
	return 0;
}

int salvage_add_batches(struct salvage *salvage, struct bytes bytes)
{
	size_t at = 0;
	int status = 0;

	while (status == 0 && at < bytes.size) {
		struct bytes left = bytes_of(bytes.data + at, bytes.size - at);
		struct batch batch;
		if (batch_view(left, &batch) == 0 && batch_verify(&batch, NULL) == 0) {
			status = add_piece(salvage, &batch, left.data);
			at += batch.stored.size;
		} else {
			at += 8; /* batches begin at multiples of 8 */
		}
	}
	return status;
}

int salvage_add_part(struct salvage *salvage, const struct salvage_part *part)
{
	if (grow((void **)&salvage->parts, salvage->part_count, &salvage->part_capacity,
		    sizeof(*salvage->parts)) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	salvage->parts[salvage->part_count++] = *part;
	return 0;
}

int salvage_add_row(struct salvage *salvage, enum block_command command, struct bytes key,
	struct bytes data, uint64_t order)
{
	struct salvage_row *row;

	if (grow((void **)&salvage->rows, salvage->row_count, &salvage->row_capacity,
		    sizeof(*salvage->rows)) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	row = &salvage->rows[salvage->row_count];
	*row = (struct salvage_row){.command = command,
		.key = malloc(key.size + 1),
		.data = data.data == NULL ? NULL : malloc(data.size + 1),
		.key_size = key.size,
		.size = data.size,
		.order = order};
	if (row->key == NULL || (row->data == NULL && data.data != NULL)) {
		free(row->key);
		free(row->data);
		return ANNALS_E_NO_MEMORY;
	}
	memcpy(row->key, key.data, key.size);
	if (row->data != NULL && data.size > 0) {
		memcpy(row->data, data.data, data.size);
	}
	salvage->row_count++;
	return 0;
}

int salvage_add_limit(struct salvage *salvage, const struct salvage_limit *limit)
{
	if (grow((void **)&salvage->limits, salvage->limit_count, &salvage->limit_capacity,
		    sizeof(*salvage->limits)) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	salvage->limits[salvage->limit_count++] = *limit;
	return 0;
}

/* ---- Order ---- */

#define PARTITIONS_MAX 10000u
#define COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

static int compare_topics(const void *a, const void *b)
{
	const struct salvage_topic *one = a, *other = b;
	return COMPARE(one->topic->id, other->topic->id);
}

static int compare_places(uint32_t topic_a, uint32_t partition_a, uint64_t offset_a,
	uint32_t topic_b, uint32_t partition_b, uint64_t offset_b)
{
	int order = COMPARE(topic_a, topic_b);
	order = order != 0 ? order : COMPARE(partition_a, partition_b);
	return order != 0 ? order : COMPARE(offset_a, offset_b);
}

static int compare_pieces(const void *a, const void *b)
{
	const struct salvage_piece *one = a, *other = b;
	return compare_places(one->topic_id, one->partition, one->base_offset, other->topic_id,
		other->partition, other->base_offset);
}

static int compare_parts(const void *a, const void *b)
{
	const struct salvage_part *one = a, *other = b;
	int order = compare_places(one->topic_id, one->partition, one->base_offset, other->topic_id,
		other->partition, other->base_offset);
	return order != 0 ? order : COMPARE(one->part, other->part);
}

static int compare_rows(const void *a, const void *b)
{
	const struct salvage_row *one = a, *other = b;
	size_t size = ANNALS_MIN(one->key_size, other->key_size);
	int order = COMPARE(one->command, other->command);
	order = order != 0 ? order : memcmp(one->key, other->key, size);
	order = order != 0 ? order : COMPARE(one->key_size, other->key_size);
	return order != 0 ? order : COMPARE(one->order, other->order);
}

static int compare_positions(const void *a, const void *b, void *arg)
{
	const struct salvage_piece *pieces = arg;
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
	return COMPARE(pieces[one].position, pieces[other].position);
}

/* Puts the parts from `first` on together as far as they follow each other; 1 if they are a whole
 * batch. */
static int assemble(struct salvage *salvage, size_t first, struct batch *ret_batch)
{
	const struct salvage_part *head = &salvage->parts[first];
	uint16_t part = 0;

	buf_reset(&salvage->scratch);
	for (size_t i = first; i < salvage->part_count; i++) {
		const struct salvage_part *next = &salvage->parts[i];
		if (next->topic_id != head->topic_id || next->partition != head->partition ||
			next->base_offset != head->base_offset) {
			break;
		}
		if (next->part != part) {
			continue; /* an older copy */
		}
		if (buf_add(&salvage->scratch, next->at, next->size) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
		part++;
	}
	return batch_view(buf_bytes(&salvage->scratch), ret_batch) == 0 &&
	       batch_verify(ret_batch, NULL) == 0;
}

static int add_large_batches(struct salvage *salvage)
{
	int status = 0;

	if (salvage->part_count > 1) {
		qsort(salvage->parts, salvage->part_count, sizeof(*salvage->parts), compare_parts);
	}
	for (size_t i = 0; i < salvage->part_count && status >= 0; i++) {
		struct batch batch;
		if (salvage->parts[i].part != 0) {
			continue;
		}
		status = assemble(salvage, i, &batch);
		if (status == 1) {
			status = add_piece(salvage, &batch, NULL);
		}
	}
	return status < 0 ? status : 0;
}

int salvage_piece_bytes(struct salvage *salvage, const struct salvage_piece *piece,
	struct bytes *ret_stored, struct error *err)
{
	struct salvage_part wanted = {.topic_id = piece->topic_id,
		.partition = piece->partition,
		.base_offset = piece->base_offset};
	const struct salvage_part *found;
	struct batch batch;

	if (piece->at != NULL) {
		*ret_stored = bytes_of(piece->at, piece->size);
		return 0;
	}
	found = bsearch(&wanted, salvage->parts, salvage->part_count, sizeof(*salvage->parts),
		compare_parts);
	if (found == NULL || assemble(salvage, (size_t)(found - salvage->parts), &batch) != 1) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA, "a large batch cannot be read again");
	}
	*ret_stored = batch.stored;
	return 0;
}

struct salvage_partition *salvage_find_partition(
	struct salvage *salvage, uint32_t topic_id, uint32_t partition)
{
	size_t low = 0, high = salvage->topic_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct topic *topic = salvage->topics[middle].topic;
		if (topic->id == topic_id) {
			return partition < topic->config.partitions
				       ? &salvage->partitions[salvage->topics[middle]
								      .first_partition +
							      partition]
				       : NULL;
		}
		if (topic->id < topic_id) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return NULL;
}

/* A topic whose row is lost, as its batches tell of it. */
static int invent_topic(struct salvage *salvage, uint32_t id)
{
	struct topic *topic = calloc(1, sizeof(*topic));
	char text[TOPIC_NAME_MAX + 128];

	if (topic == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	topic->references = 1;
	topic->id = id;
	uuid_new(topic->uuid);
	(void)snprintf(topic->name, sizeof(topic->name), "salvaged-topic-%u", id);
	topic->config.durability = DURABILITY_FSYNC;
	topic->config.partitions = 1;
	for (size_t i = 0; i < salvage->piece_count; i++) {
		const struct salvage_piece *piece = &salvage->pieces[i];
		if (piece->topic_id == id && piece->partition < PARTITIONS_MAX) {
			topic->config.partitions =
				ANNALS_MAX(topic->config.partitions, piece->partition + 1);
		}
	}
	if (salvage->options->lost != NULL) {
		(void)snprintf(text, sizeof(text),
			"name and settings of topic id %u: it is called '%s' now", id, topic->name);
		salvage->options->lost(salvage->options->arg, text);
	}
	return salvage_add_topic(salvage, topic);
}

static int invent_topics(struct salvage *salvage)
{
	uint32_t last = 0;
	int status = 0;

	for (size_t i = 0; i < salvage->piece_count && status == 0; i++) {
		uint32_t id = salvage->pieces[i].topic_id;
		if (id != last && find_topic(salvage, id) == NULL) {
			status = invent_topic(salvage, id);
		}
		last = id;
	}
	return status;
}

static int make_partitions(struct salvage *salvage)
{
	size_t count = 0;

	if (salvage->topic_count > 1) {
		qsort(salvage->topics, salvage->topic_count, sizeof(*salvage->topics),
			compare_topics);
	}
	for (size_t i = 0; i < salvage->topic_count; i++) {
		salvage->topics[i].first_partition = count;
		count += salvage->topics[i].topic->config.partitions;
	}
	salvage->partitions = calloc(count + 1, sizeof(*salvage->partitions));
	if (salvage->partitions == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	salvage->partition_count = count;
	for (size_t i = 0; i < salvage->topic_count; i++) {
		const struct salvage_topic *topic = &salvage->topics[i];
		for (uint32_t p = 0; p < topic->topic->config.partitions; p++) {
			salvage->partitions[topic->first_partition + p] =
				(struct salvage_partition){.topic = topic, .index = p};
		}
	}
	for (size_t i = 0; i < salvage->limit_count; i++) {
		const struct salvage_limit *limit = &salvage->limits[i];
		struct salvage_partition *partition =
			salvage_find_partition(salvage, limit->topic_id, limit->partition);
		if (partition != NULL) {
			partition->first_offset =
				ANNALS_MAX(partition->first_offset, limit->first_offset);
			partition->end_offset =
				ANNALS_MAX(partition->end_offset, limit->end_offset);
		}
	}
	return 0;
}

/* Keeps of the sorted pieces those that have a place, once each. */
static void keep_pieces(struct salvage *salvage)
{
	size_t kept = 0;

	for (size_t i = 0; i < salvage->piece_count; i++) {
		const struct salvage_piece *piece = &salvage->pieces[i];
		struct salvage_partition *partition =
			salvage_find_partition(salvage, piece->topic_id, piece->partition);
		uint64_t end = piece->base_offset + piece->count;
		if (partition == NULL || end <= partition->first_offset ||
			(partition->piece_count > 0 && piece->base_offset < partition->written)) {
			continue;
		}
		if (partition->piece_count == 0) {
			partition->first_piece = kept;
		}
		partition->piece_count++;
		partition->written = end;
		partition->end_offset = ANNALS_MAX(partition->end_offset, end);
		salvage->pieces[kept++] = *piece;
	}
	salvage->piece_count = kept;
	for (size_t i = 0; i < salvage->partition_count; i++) {
		salvage->partitions[i].written = 0;
		salvage->partitions[i].next_piece = salvage->partitions[i].first_piece;
	}
}

static void keep_rows(struct salvage *salvage)
{
	size_t kept = 0;

	if (salvage->row_count > 1) {
		qsort(salvage->rows, salvage->row_count, sizeof(*salvage->rows), compare_rows);
	}
	for (size_t i = 0; i < salvage->row_count; i++) {
		struct salvage_row *row = &salvage->rows[i];
		bool is_last = i + 1 == salvage->row_count || row->command != row[1].command ||
			       row->key_size != row[1].key_size ||
			       memcmp(row->key, row[1].key, row->key_size) != 0;
		if (is_last && row->data != NULL) {
			salvage->rows[kept++] = *row;
		} else {
			free(row->key);
			free(row->data);
		}
	}
	salvage->row_count = kept;
}

int salvage_settle(struct salvage *salvage, struct error *err)
{
	int status = add_large_batches(salvage);

	/* While LMDB's tree is sound, a batch without a topic is one of a deleted topic. */
	if (status == 0 && salvage->report->database_is_damaged) {
		status = invent_topics(salvage);
	}
	status = status != 0 ? status : make_partitions(salvage);
	if (status == 0 && salvage->piece_count > 1) {
		qsort(salvage->pieces, salvage->piece_count, sizeof(*salvage->pieces),
			compare_pieces);
	}
	if (status == 0) {
		keep_pieces(salvage);
		keep_rows(salvage);
		salvage->by_position =
			calloc(salvage->piece_count + 1, sizeof(*salvage->by_position));
		status = salvage->by_position == NULL ? ANNALS_E_NO_MEMORY : 0;
	}
	if (status != 0) {
		return error_fail(err, status, "no memory for what was found");
	}
	for (size_t i = 0; i < salvage->piece_count; i++) {
		salvage->by_position[i] = i;
	}
	if (salvage->piece_count > 1) {
		qsort_r(salvage->by_position, salvage->piece_count, sizeof(*salvage->by_position),
			compare_positions, salvage->pieces);
	}
	salvage->report->topics = salvage->topic_count;
	return 0;
}

void salvage_lost(struct salvage *salvage, const struct salvage_partition *partition, uint64_t from,
	uint64_t until)
{
	char text[400];

	salvage->report->lost_ranges++;
	salvage->report->lost_events += until - from;
	if (salvage->options->lost != NULL) {
		(void)snprintf(text, sizeof(text), "topic '%s' partition %u: offsets %llu to %llu",
			partition->topic->topic->name, partition->index, (unsigned long long)from,
			(unsigned long long)until - 1);
		salvage->options->lost(salvage->options->arg, text);
	}
}

void salvage_release(struct salvage *salvage)
{
	for (size_t i = 0; i < salvage->topic_count; i++) {
		topic_unref(salvage->topics[i].topic);
	}
	for (size_t i = 0; i < salvage->row_count; i++) {
		free(salvage->rows[i].key);
		free(salvage->rows[i].data);
	}
	if (salvage->txn != NULL) {
		mdb_txn_abort(salvage->txn);
	}
	env_close(&salvage->env);
	for (size_t i = 0; i < salvage->map_count; i++) {
		(void)munmap(salvage->maps[i].at, salvage->maps[i].size);
	}
	free(salvage->maps);
	free(salvage->topics);
	free(salvage->partitions);
	free(salvage->pieces);
	free(salvage->by_position);
	free(salvage->parts);
	free(salvage->rows);
	free(salvage->limits);
	buf_release(&salvage->scratch);
}

int store_salvage(
	const struct salvage_options *options, struct salvage_report *ret, struct error *err)
{
	struct salvage_report report = {0};
	struct salvage_options own = *options;
	struct salvage salvage = {.options = &own, .report = &report};
	struct store_options defaults;
	char shard_dir[4000];
	uint8_t uuid[16];
	int lock_fd = -1, status;

	store_options_init(&defaults);
	own.map_bytes = own.map_bytes != 0 ? own.map_bytes : defaults.map_bytes;
	if ((size_t)snprintf(shard_dir, sizeof(shard_dir), "%s/shards/0", options->data_dir) >=
		sizeof(shard_dir)) {
		return error_fail(
			err, ANNALS_E_INVALID, "the path of the data directory is too long");
	}
	status = store_files_lock(options->data_dir, false, &lock_fd, err);
	status = status != 0 ? status : store_files_format(options->data_dir, false, uuid, err);
	status = status != 0 ? status : salvage_scan(&salvage, shard_dir, uuid, err);
	status = status != 0 ? status : salvage_settle(&salvage, err);
	status = status != 0 ? status : salvage_write(&salvage, options->new_dir, err);
	salvage_release(&salvage);
	if (lock_fd >= 0) {
		(void)close(lock_fd);
	}
	if (status == 0) {
		*ret = report;
	}
	return status;
}
