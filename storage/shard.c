#include "shard.h"
#include "facts.h"
#include "receipts.h"
#include "rows.h"
#include "topic_index.h"

#include "completion.h"
#include "store_files.h"

#include <annals/clock.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int make_directory(const char *parent, const char *name, char **ret, struct error *err)
{
	char *path = NULL;

	if (asprintf(&path, "%s/%s", parent, name) < 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a path");
	}
	if (mkdir(path, 0750) != 0 && errno != EEXIST) {
		int status = error_errno(err, ANNALS_E_IO, errno, "cannot create '%s'", path);
		free(path);
		return status;
	}
	*ret = path;
	return 0;
}

static int init_memory(struct shard *shard)
{
	int status = tail_init(&shard->tail, shard->options.tail_bytes_max);

	status = status != 0 ? status : overlay_init(&shard->overlay);
	status = status != 0 ? status : catalog_init(&shard->catalog);
	status = status != 0 ? status : watch_registry_init(&shard->watches);
	if (status != 0) {
		return status;
	}
	list_init(&shard->queue.requests);
	list_init(&shard->readers.requests);
	list_init(&shard->draft.requests);
	list_init(&shard->index.dirty);
	list_init(&shard->trims);
	list_init(&shard->deletes);
	(void)pthread_mutex_init(&shard->queue.mutex, NULL);
	(void)pthread_cond_init(&shard->queue.filled, NULL);
	(void)pthread_mutex_init(&shard->readers.mutex, NULL);
	(void)pthread_cond_init(&shard->readers.filled, NULL);
	(void)pthread_mutex_init(&shard->state_mutex, NULL);
	tail_cond_init(&shard->settle);
	return 0;
}

static int open_lmdb(struct shard *shard, struct error *err)
{
	char *path;
	int status = make_directory(shard->dir, "lmdb", &path, err);

	if (status == 0) {
		status = env_open(&shard->env, path, shard->options.map_bytes, false, err);
		free(path);
		if (status == 0) {
			env_on_damage(&shard->env, shard->options.damaged);
		}
	}
	return status;
}

static int open_journal(struct shard *shard, struct error *err)
{
	struct journal_options options = {.segment_bytes = shard->options.journal_segment_bytes};
	enum journal_result result;
	char *path;
	int status = make_directory(shard->dir, "journal", &path, err);

	if (status != 0) {
		return status;
	}
	options.dir = path;
	memcpy(options.store_uuid, shard->uuid, sizeof(options.store_uuid));
	result = journal_open(shard->options.journal, &options, &shard->journal, err);
	free(path);
	switch (result) {
	case JOURNAL_OK:
		return 0;
	case JOURNAL_CORRUPT:
		return ANNALS_E_CORRUPT_DATA;
	case JOURNAL_FULL:
		return ANNALS_E_STORAGE_FULL;
	case JOURNAL_CONFLICT:
	case JOURNAL_UNKNOWN:
	case JOURNAL_FAILED:
		break;
	}
	return err != NULL && err->code < 0 ? err->code : ANNALS_E_IO;
}

static int start_threads(struct shard *shard, struct error *err)
{
	int status = readers_start(shard, err);

	if (status != 0) {
		return status;
	}
	if (pthread_create(&shard->writer_thread, NULL, writer_main, shard) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "cannot start the writer thread");
	}
	shard->writer_started = true;
	if (pthread_create(&shard->settler_thread, NULL, settler_main, shard) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "cannot start the settler thread");
	}
	shard->settler_started = true;
	return 0;
}

int shard_open(struct shard **ret, const struct store_options *options, const char *dir,
	const uint8_t uuid[16], struct error *err)
{
	struct shard *shard = calloc(1, sizeof(*shard));
	int status;

	if (shard == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a shard");
	}
	shard->options = *options;
	memcpy(shard->uuid, uuid, sizeof(shard->uuid));
	shard->dir = strdup(dir);
	status = shard->dir == NULL ? ANNALS_E_NO_MEMORY : init_memory(shard);
	if (status != 0) {
		free(shard->dir);
		free(shard);
		return error_fail(err, status, "no memory for a shard");
	}
	status = open_lmdb(shard, err);
	status = status != 0 ? status : open_journal(shard, err);
	/* The names of both, which may just have been made. */
	status = status != 0 ? status : store_files_sync_dir(dir, err);
	status = status != 0 ? status : recovery_run(shard, err);
	if (status == 0 && !options->stepped) {
		status = start_threads(shard, err);
	}
	if (status != 0) {
		shard_close(shard);
		return status;
	}
	*ret = shard;
	return 0;
}

/* What no writer will ever take: a stepped store's requests. */
static void refuse_waiting(struct shard *shard)
{
	struct list_node *node;

	while ((node = list_pop(&shard->queue.requests)) != NULL) {
		struct store_request *request = LIST_ENTRY(node, struct store_request, node);
		if (request->operation == STORE_APPEND) {
			facts_drop((struct append_request *)request);
		}
		admit_refuse(request, ANNALS_E_UNAVAILABLE, "the store closed first");
	}
}

static void stop_writer(struct shard *shard)
{
	(void)pthread_mutex_lock(&shard->queue.mutex);
	shard->queue.closing = true;
	(void)pthread_cond_signal(&shard->queue.filled);
	(void)pthread_mutex_unlock(&shard->queue.mutex);
	if (shard->writer_started) {
		(void)pthread_join(shard->writer_thread, NULL);
	}
	refuse_waiting(shard);
}

static void stop_settler(struct shard *shard)
{
	(void)pthread_mutex_lock(&shard->tail.mutex);
	shard->settler_stops = true;
	(void)pthread_cond_signal(&shard->settle);
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	if (shard->settler_started) {
		(void)pthread_join(shard->settler_thread, NULL);
	}
}

static void fail_watches(struct shard *shard)
{
	watch_close(&shard->watches);
	for (size_t slot = 0; slot < shard->catalog.slots; slot++) {
		if (shard->catalog.by_id[slot] != NULL) {
			watch_fail_topic(
				&shard->watches, shard->catalog.by_id[slot], ANNALS_E_UNAVAILABLE);
		}
	}
}

void shard_close(struct shard *shard)
{
	struct list_node *node;

	if (shard == NULL) {
		return;
	}
	/* The settler first: its trims must find the writer. */
	stop_settler(shard);
	stop_writer(shard);
	readers_stop(shard);
	fail_watches(shard);
	retention_release(shard);
	receipts_release(shard);
	journal_close(shard->journal);
	env_close(&shard->env);
	catalog_release(&shard->catalog);
	overlay_release(&shard->overlay);
	tail_release(&shard->tail);
	watch_registry_release(&shard->watches);
	while ((node = list_pop(&shard->deletes)) != NULL) {
		free(LIST_ENTRY(node, struct deletion, node));
	}
	buf_release(&shard->draft.bytes);
	free(shard->draft.touched);
	staged_keys_release(&shard->draft.staged_rows);
	staged_keys_release(&shard->draft.staged_facts);
	memtable_release(&shard->draft.staged_streams);
	index_settle_release(shard);
	run_cache_free(shard->index.cache);
	staged_values_release(&shard->draft.staged_producers);
	(void)pthread_cond_destroy(&shard->settle);
	(void)pthread_cond_destroy(&shard->queue.filled);
	(void)pthread_cond_destroy(&shard->readers.filled);
	(void)pthread_mutex_destroy(&shard->queue.mutex);
	(void)pthread_mutex_destroy(&shard->readers.mutex);
	(void)pthread_mutex_destroy(&shard->state_mutex);
	free(shard->dir);
	free(shard);
}

void shard_fail(struct shard *shard, const char *reason)
{
	(void)pthread_mutex_lock(&shard->state_mutex);
	if (shard->state != STORE_READ_ONLY) {
		(void)snprintf(shard->state_reason, sizeof(shard->state_reason), "%s", reason);
		shard->state = STORE_READ_ONLY;
	}
	(void)pthread_mutex_unlock(&shard->state_mutex);
}

enum store_state shard_state(struct shard *shard, char reason[256])
{
	enum store_state state;

	reason[0] = 0;
	(void)pthread_mutex_lock(&shard->state_mutex);
	state = (enum store_state)shard->state;
	if (state == STORE_READ_ONLY) {
		memcpy(reason, shard->state_reason, sizeof(shard->state_reason));
	} else if (shard->disk_is_low || shard->journal_is_full || shard->settling_is_blocked) {
		state = STORE_FULL;
		(void)snprintf(reason, 256, "%s",
			shard->disk_is_low ? "the disk is almost full"
			: shard->journal_is_full
				? "the disk has no room for the journal"
				: "neither the disk nor the map has room for the database");
	}
	(void)pthread_mutex_unlock(&shard->state_mutex);
	return state;
}

void shard_stats(struct shard *shard, struct store_stats *ret)
{
	struct counters *counters = &shard->counters;
	struct journal_stats journal;

	memset(ret, 0, sizeof(*ret));
	ret->state = shard_state(shard, ret->state_reason);
	ret->appended_events = counters->appended_events;
	ret->appended_bytes = counters->appended_bytes;
	ret->append_requests = counters->append_requests;
	ret->commits = counters->commits;
	ret->commit_bytes = counters->commit_bytes;
	ret->sync_ns_total = counters->sync_ns_total;
	ret->sync_ns_max = counters->sync_ns_max;
	ret->offset_commits = counters->offset_commits;
	ret->refused_overloaded = counters->refused_overloaded;
	ret->refused_full = counters->refused_full;
	ret->settled_bytes = counters->settled_bytes;
	ret->settle_commits = counters->settle_commits;
	ret->read_requests = counters->read_requests;
	ret->read_bytes = counters->read_bytes;
	ret->cold_reads = counters->cold_reads;
	ret->corrupt_reads = counters->corrupt_reads;
	ret->index_flushes = counters->index_flushes;
	ret->index_merges = counters->index_merges;
	ret->replayed_appends = counters->replayed_appends;
	ret->conflicts = counters->conflicts;
	ret->trimmed_events = counters->trimmed_events;
	ret->trimmed_chunks = counters->trimmed_chunks;
	ret->map_used_bytes = counters->map_used_bytes;
	ret->free_pages = counters->free_pages;
	ret->disk_free_bytes = counters->disk_free_bytes;
	for (size_t i = 0; i < ANNALS_COUNT_OF(counters->sync_buckets); i++) {
		ret->sync_buckets[i] = counters->sync_buckets[i];
		ret->commit_events_buckets[i] = counters->commit_events_buckets[i];
	}
	(void)pthread_mutex_lock(&shard->queue.mutex);
	ret->queue_requests = shard->queue.count;
	ret->queue_bytes = shard->queue.bytes;
	(void)pthread_mutex_unlock(&shard->queue.mutex);
	(void)pthread_mutex_lock(&shard->tail.mutex);
	ret->tail_bytes = shard->tail.bytes;
	ret->tail_blocks = shard->tail.block_count;
	ret->index_bytes = shard->index.bytes;
	ret->settle_backlog_partitions = shard->tail.ready_partitions;
	(void)pthread_mutex_unlock(&shard->tail.mutex);
	(void)pthread_rwlock_rdlock(&shard->catalog.lock);
	ret->topics = shard->catalog.count;
	ret->partitions = shard->catalog.partition_count;
	(void)pthread_rwlock_unlock(&shard->catalog.lock);
	journal_stats(shard->journal, &journal);
	ret->journal_bytes = journal.bytes;
	ret->journal_segments = journal.segments;
	ret->last_block = shard->last_block;
	ret->last_position = shard->next_position - 1;
	ret->oldest_reader_age_us = env_oldest_reader_ns(&shard->env, clock_monotonic_ns()) / 1000;
	ret->watches = shard->watches.count;
}
