/* The public face: a data directory, its lock, its shard. Everything else lives in the shard. */
#include "completion.h"
#include "lmdb/map.h"
#include "rows.h"
#include "shard.h"
#include "store_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct store {
	int lock_fd;
	uint8_t uuid[16];
	struct shard *shard;
};

void store_options_init(struct store_options *options)
{
	*options = (struct store_options){
		.journal = "file",
		.journal_segment_bytes = 64u << 20,
		.map_bytes = (uint64_t)1 << 40,
		.tail_bytes_max = 64u << 20,
		.queue_bytes_max = 64u << 20,
		.queue_requests_max = 65536,
		.block_bytes_max = 4u << 20,
		.reader_threads = 2,
		.retention_interval_us = 1000000,
		.disk_reserve_bytes = 64u << 20,
		.topics_max = 100000,
	};
}

static int check_options(const struct store_options *options, struct error *err)
{
	if (options->data_dir == NULL || options->data_dir[0] == 0) {
		return error_fail(err, ANNALS_E_INVALID, "a store needs a data directory");
	}
	if (options->block_bytes_max == 0 || options->block_bytes_max > BLOCK_BYTES_MAX) {
		return error_fail(
			err, ANNALS_E_INVALID, "a block has at most %u bytes", BLOCK_BYTES_MAX);
	}
	if (options->journal_segment_bytes < 4 * options->block_bytes_max ||
		options->journal_segment_bytes < (256u << 10)) {
		return error_fail(err, ANNALS_E_INVALID,
			"a journal segment has at least 256 KiB, and four times the largest "
			"block");
	}
	if ((options->tail_bytes_max < (1u << 20) && !options->stepped) ||
		options->reader_threads == 0 || options->queue_requests_max == 0) {
		return error_fail(err, ANNALS_E_INVALID,
			"the tail has at least 1 MiB, and there is at least one reader thread and "
			"one place in the queue");
	}
	return 0;
}

static int make_directories(const char *dir, char shard_dir[4096], struct error *err)
{
	if (mkdir(dir, 0750) != 0 && errno != EEXIST) {
		return error_errno(
			err, ANNALS_E_IO, errno, "cannot create the data directory '%s'", dir);
	}
	if (access(dir, R_OK | W_OK | X_OK) != 0) {
		return error_errno(
			err, ANNALS_E_IO, errno, "cannot use the data directory '%s'", dir);
	}
	if ((size_t)snprintf(shard_dir, 4096, "%s/shards/0", dir) >= 4096) {
		return error_fail(
			err, ANNALS_E_INVALID, "the path of the data directory is too long");
	}
	return 0;
}

/* The data directory's own name. Who made it could read its parent; who was given it need not be
 * able to. */
static int sync_parent(const char *dir, struct error *err)
{
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/..", dir);
	return access(path, R_OK) == 0 ? store_files_sync_dir(path, err) : 0;
}

static int make_shard_directory(const char *dir, const char *shard_dir, struct error *err)
{
	char path[4096];
	int status;

	(void)snprintf(path, sizeof(path), "%s/shards", dir);
	if ((mkdir(path, 0750) != 0 && errno != EEXIST) ||
		(mkdir(shard_dir, 0750) != 0 && errno != EEXIST)) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot create '%s'", shard_dir);
	}
	status = store_files_sync_dir(path, err);
	status = status != 0 ? status : store_files_sync_dir(dir, err);
	return status != 0 ? status : sync_parent(dir, err);
}

int store_open(const struct store_options *options, struct store **ret, struct error *err)
{
	struct store *store;
	char shard_dir[4096];
	int status = check_options(options, err);

	status = status != 0 ? status : make_directories(options->data_dir, shard_dir, err);
	if (status != 0) {
		return status;
	}
	store = calloc(1, sizeof(*store));
	if (store == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a store");
	}
	store->lock_fd = -1;
	status = store_files_lock(options->data_dir, true, &store->lock_fd, err);
	status = status != 0 ? status
			     : store_files_format(options->data_dir, true, store->uuid, err);
	status = status != 0 ? status : make_shard_directory(options->data_dir, shard_dir, err);
	status = status != 0 ? status
			     : shard_open(&store->shard, options, shard_dir, store->uuid, err);
	if (status != 0) {
		store_close(store);
		return status;
	}
	*ret = store;
	return 0;
}

void store_close(struct store *store)
{
	if (store == NULL) {
		return;
	}
	shard_close(store->shard);
	if (store->lock_fd >= 0) {
		(void)close(store->lock_fd);
	}
	free(store);
}

struct shard *store_shard(struct store *store)
{
	return store->shard;
}

void store_uuid(const struct store *store, uint8_t ret_uuid[16])
{
	memcpy(ret_uuid, store->uuid, 16);
}

int store_find_map(struct store *store, struct store_map *ret)
{
	return env_find_map(&store->shard->env, ret);
}

static struct topic *topic_of(struct store *store, struct topic_state *state)
{
	struct topic *topic;

	if (state == NULL) {
		return NULL;
	}
	topic = catalog_topic(&store->shard->catalog, state);
	topic_state_unref(state);
	return topic;
}

struct topic *store_topic_find(struct store *store, struct bytes name)
{
	return topic_of(store, catalog_find_name(&store->shard->catalog, name));
}

struct topic *store_topic_find_id(struct store *store, uint32_t id)
{
	return topic_of(store, catalog_find_id(&store->shard->catalog, id));
}

uint64_t store_topics_removed(struct store *store)
{
	return store->shard->catalog.removed;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp((*(struct topic *const *)a)->name, (*(struct topic *const *)b)->name);
}

int store_topic_list(struct store *store, struct topic ***ret_topics, size_t *ret_count)
{
	struct catalog *catalog = &store->shard->catalog;
	struct topic **topics;
	size_t count = 0;

	(void)pthread_rwlock_rdlock(&catalog->lock);
	topics = calloc(catalog->count + 1, sizeof(struct topic *));
	for (size_t slot = 0; slot < catalog->slots && topics != NULL; slot++) {
		if (catalog->by_id[slot] != NULL) {
			topics[count++] = topic_ref(catalog->by_id[slot]->topic);
		}
	}
	(void)pthread_rwlock_unlock(&catalog->lock);
	if (topics == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	qsort(topics, count, sizeof(struct topic *), compare_names);
	*ret_topics = topics;
	*ret_count = count;
	return 0;
}

int store_partition_info(
	struct store *store, uint32_t topic_id, uint32_t partition, struct partition_info *ret)
{
	struct partition *found;
	int status = 0;
	struct topic_state *state = catalog_find_partition(
		&store->shard->catalog, topic_id, partition, &found, &status);

	if (state == NULL) {
		return status;
	}
	ret->first_offset = found->first_offset;
	ret->end_offset = found->end_offset;
	ret->stored_bytes = found->stored_bytes;
	ret->last_recorded_us = found->last_recorded_us;
	topic_state_unref(state);
	return 0;
}

uint64_t store_topic_position(struct store *store, uint32_t topic_id)
{
	struct topic_state *state = catalog_find_id(&store->shard->catalog, topic_id);
	uint64_t position = 0;

	if (state != NULL) {
		position = state->last_position;
		topic_state_unref(state);
	}
	return position;
}

int store_submit(struct store *store, struct store_request *request, struct error *err)
{
	return writer_submit(store->shard, request, true, err);
}

int store_submit_quietly(struct store *store, struct store_request *request, struct error *err)
{
	return writer_submit(store->shard, request, false, err);
}

void store_wake_writer(struct store *store)
{
	writer_wake(store->shard);
}

int store_read(struct store *store, struct store_request *request, unsigned flags)
{
	bool may_block = (flags & STORE_READ_NO_BLOCK) == 0;
	int waits = readers_run(store->shard, request, may_block || store->shard->options.stepped);

	if (waits == 1) {
		readers_submit(store->shard, request);
	}
	return waits;
}

int store_watch(struct store *store, struct watch_request *watch)
{
	struct partition *partition = NULL;
	struct topic_state *state;
	int result = ANNALS_E_UNKNOWN_TOPIC;

	if (watch->partition == WATCH_ALL_PARTITIONS) {
		state = catalog_find_id(&store->shard->catalog, watch->topic_id);
	} else {
		state = catalog_find_partition(&store->shard->catalog, watch->topic_id,
			watch->partition, &partition, &result);
	}
	if (state == NULL) {
		return result;
	}
	result = watch_register(&store->shard->watches, state, partition, watch);
	topic_state_unref(state);
	return result;
}

bool store_watch_cancel(struct store *store, struct watch_request *watch)
{
	return watch_cancel(&store->shard->watches, watch);
}

int store_offset_get(struct store *store, struct bytes group, uint32_t topic_id, uint32_t partition,
	struct offset_entry *ret, struct buf *ret_metadata, struct error *err)
{
	return group_offset_get(store->shard, group, topic_id, partition, ret, ret_metadata, err);
}

int store_row_get(struct store *store, struct bytes key, struct buf *ret_value, struct error *err)
{
	return row_get(store->shard, key, ret_value, err);
}

int store_row_scan(struct store *store, struct bytes prefix, struct bytes from, size_t count_max,
	int (*fn)(void *arg, struct bytes key, struct bytes value), void *arg, struct error *err)
{
	return row_scan(store->shard, prefix, from, count_max, fn, arg, err);
}

int store_offset_list(struct store *store, struct bytes group,
	int (*fn)(void *arg, const struct offset_entry *entry), void *arg, struct error *err)
{
	return group_offset_list(store->shard, group, fn, arg, err);
}

int store_group_list(
	struct store *store, int (*fn)(void *arg, struct bytes group), void *arg, struct error *err)
{
	return group_list(store->shard, fn, arg, err);
}

void store_stats(struct store *store, struct store_stats *ret)
{
	shard_stats(store->shard, ret);
}
