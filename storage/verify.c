/* store_verify(): opening without changing anything, the order of the checks, and what they share.
 */
#include "verify.h"

#include "store_files.h"

#include <annals/clock.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRESS_INTERVAL_NS 100000000u

void verify_problem(struct verify *verify, const char *format, ...)
{
	char text[512];
	va_list args;

	verify->report->problems++;
	if (verify->options->problem != NULL) {
		va_start(args, format);
		(void)vsnprintf(text, sizeof(text), format, args);
		va_end(args);
		verify->options->problem(verify->options->arg, text);
	}
}

void verify_progress(struct verify *verify, uint64_t bytes)
{
	uint64_t now;

	verify->report->bytes += bytes;
	verify->done_bytes = ANNALS_MIN(verify->done_bytes + bytes, verify->total_bytes);
	if (verify->options->progress == NULL) {
		return;
	}
	now = clock_monotonic_ns();
	if (now >= verify->next_progress_ns) {
		verify->options->progress(
			verify->options->arg, verify->done_bytes, verify->total_bytes);
		verify->next_progress_ns = now + PROGRESS_INTERVAL_NS;
	}
}

struct verify_topic *verify_find_topic(struct verify *verify, uint32_t id)
{
	size_t low = 0, high = verify->topic_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (verify->topics[middle].topic->id < id) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low < verify->topic_count && verify->topics[low].topic->id == id
		       ? &verify->topics[low]
		       : NULL;
}

int verify_grow_topic(struct verify_topic *topic, uint32_t partitions, struct error *err)
{
	struct verify_partition *grown;

	if (partitions <= topic->partition_count) {
		return 0;
	}
	grown = realloc(topic->partitions, partitions * sizeof(*grown));
	if (grown == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the partitions");
	}
	memset(grown + topic->partition_count, 0,
		(partitions - topic->partition_count) * sizeof(*grown));
	topic->partitions = grown;
	topic->partition_count = partitions;
	return 0;
}

int verify_add_topic(struct verify *verify, struct topic *topic, struct error *err)
{
	struct verify_topic *added;
	size_t at = verify->topic_count;
	int status;

	if (verify->topic_count == verify->topic_capacity) {
		size_t capacity = verify->topic_capacity == 0 ? 64 : verify->topic_capacity * 2;
		struct verify_topic *topics = realloc(verify->topics, capacity * sizeof(*topics));
		if (topics == NULL) {
			return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the topics");
		}
		verify->topics = topics;
		verify->topic_capacity = capacity;
	}
	/* Ids rise, so this is the end unless something is wrong. */
	while (at > 0 && verify->topics[at - 1].topic->id > topic->id) {
		verify->topics[at] = verify->topics[at - 1];
		at--;
	}
	added = &verify->topics[at];
	*added = (struct verify_topic){.topic = topic};
	verify->topic_count++;
	status = verify_grow_topic(added, topic->config.partitions, err);
	if (status != 0) {
		verify->topic_count--;
		memmove(added, added + 1, (verify->topic_count - at) * sizeof(*added));
	}
	return status;
}

bool verify_is_deleting(const struct verify *verify, uint32_t topic_id)
{
	for (size_t i = 0; i < verify->deleting_count; i++) {
		if (verify->deleting[i] == topic_id) {
			return true;
		}
	}
	return false;
}

/* The number of events in the body against what the stamp says. */
static void check_count(struct verify *verify, const struct batch *batch, const char *where)
{
	struct bytes body, event;
	size_t cursor = 0;
	uint32_t count = 0;
	int more = 1;

	if (batch->stamp.kind != BATCH_DATA || batch->stamp.body_format != BATCH_FORMAT_EVENTS) {
		return;
	}
	if (batch_plain_body(batch, &verify->scratch, &body) != 0) {
		verify_problem(verify, "%s: the body of the batch at offset %llu cannot be opened",
			where, (unsigned long long)batch->stamp.base_offset);
		return;
	}
	while ((more = batch_next_event(body, &cursor, &event)) == 1) {
		count++;
	}
	if (more < 0 || count != batch->stamp.count) {
		verify_problem(verify,
			"%s: the batch at offset %llu holds %u events%s, its stamp says %u", where,
			(unsigned long long)batch->stamp.base_offset, count,
			more < 0 ? " and then damage" : "", batch->stamp.count);
	}
}

int verify_batch(struct verify *verify, struct bytes stored, uint32_t topic_id, uint32_t partition,
	const char *where, struct batch *ret_batch)
{
	struct error error = {0};

	if (batch_view(stored, ret_batch) != 0) {
		verify_problem(verify, "%s: a batch cannot be read", where);
		return 0;
	}
	if (batch_verify(ret_batch, &error) != 0) {
		verify_problem(verify, "%s: %s", where, error.text);
	} else if (ret_batch->stamp.topic_id != topic_id ||
		   ret_batch->stamp.partition != partition) {
		verify_problem(verify,
			"%s: a batch says that it belongs to topic id %u partition %u", where,
			ret_batch->stamp.topic_id, ret_batch->stamp.partition);
	} else {
		check_count(verify, ret_batch, where);
	}
	return 1;
}

/* ---- Opening ---- */

/* 1: open. 0: it is damaged, reported. */
static int open_journal(
	struct verify *verify, const char *shard_dir, const uint8_t uuid[16], struct error *err)
{
	char dir[4096];
	struct error error = {0};
	struct journal_options options = {.dir = dir, .read_only = true};
	enum journal_result result;

	(void)snprintf(dir, sizeof(dir), "%s/journal", shard_dir);
	memcpy(options.store_uuid, uuid, 16);
	result = journal_open("file", &options, &verify->journal, &error);
	if (result == JOURNAL_OK) {
		struct journal_stats stats;
		journal_stats(verify->journal, &stats);
		verify->report->journal_segments = stats.segments;
		verify->total_bytes += stats.bytes;
		return 1;
	}
	verify->journal = NULL;
	if (error.code == ANNALS_E_CORRUPT_DATA || error.code == ANNALS_E_INVALID) {
		verify_problem(verify, "%s", error.text);
		return 0;
	}
	if (err != NULL) {
		*err = error;
	}
	return error.code;
}

/* 1: open, with a transaction. 0: it is damaged, reported. */
static int open_lmdb(struct verify *verify, const char *shard_dir, struct error *err)
{
	char dir[4096];
	struct error error = {0};
	MDB_stat stat;
	int status, code;

	(void)snprintf(dir, sizeof(dir), "%s/lmdb", shard_dir);
	status = env_open(&verify->env, dir, verify->options->map_bytes, true, &error);
	if (status == ANNALS_E_CORRUPT_DATA) {
		verify_problem(verify, "%s", error.text);
		return 0;
	}
	if (status != 0) {
		if (err != NULL) {
			*err = error;
		}
		return status;
	}
	code = mdb_txn_begin(verify->env.mdb, NULL, MDB_RDONLY, &verify->txn);
	if (code != 0) {
		verify->txn = NULL;
		return env_error(code, err, "cannot begin a transaction");
	}
	if (mdb_stat(verify->txn, verify->env.tables[TABLE_INDEX], &stat) == 0) {
		verify->total_bytes += (uint64_t)stat.ms_overflow_pages * ENV_PAGE_BYTES;
	}
	if (mdb_stat(verify->txn, verify->env.tables[TABLE_LOG], &stat) == 0) {
		verify->total_bytes += (uint64_t)stat.ms_overflow_pages * ENV_PAGE_BYTES +
				       (uint64_t)stat.ms_leaf_pages * ENV_PAGE_BYTES;
	}
	return 1;
}

static void verify_release(struct verify *verify)
{
	for (size_t i = 0; i < verify->topic_count; i++) {
		topic_unref(verify->topics[i].topic);
		free(verify->topics[i].partitions);
	}
	free(verify->topics);
	free(verify->deleting);
	buf_release(&verify->scratch);
	verify_index_end(verify);
	if (verify->txn != NULL) {
		mdb_txn_abort(verify->txn);
	}
	env_close(&verify->env);
	journal_close(verify->journal);
}

static int run_checks(
	struct verify *verify, const char *shard_dir, const uint8_t uuid[16], struct error *err)
{
	int lmdb_is_open, status;
	int journal_is_open = open_journal(verify, shard_dir, uuid, err);

	memcpy(verify->store_uuid, uuid, sizeof(verify->store_uuid));
	if (journal_is_open < 0) {
		return journal_is_open;
	}
	lmdb_is_open = open_lmdb(verify, shard_dir, err);
	if (lmdb_is_open <= 0) {
		return lmdb_is_open; /* a journal alone has nothing to be compared with */
	}
	status = verify_tables(verify, err);
	status = status != 0 ? status : verify_index_begin(verify, err);
	status = status != 0 ? status : verify_log(verify, err);
	if (status == 0 && journal_is_open == 1) {
		status = verify_journal(verify, err);
		status = status != 0 ? status : verify_offsets(verify, err);
		status = status != 0 ? status : verify_index(verify, err);
	}
	return status;
}

int store_verify(const struct verify_options *options, struct verify_report *ret, struct error *err)
{
	struct verify_report report = {0};
	struct verify verify = {.options = options, .report = &report};
	struct store_options defaults;
	struct verify_options own = *options;
	char shard_dir[4000];
	uint8_t uuid[16];
	int lock_fd = -1, status;

	store_options_init(&defaults);
	own.map_bytes = own.map_bytes != 0 ? own.map_bytes : defaults.map_bytes;
	verify.options = &own;
	if ((size_t)snprintf(shard_dir, sizeof(shard_dir), "%s/shards/0", options->data_dir) >=
		sizeof(shard_dir)) {
		return error_fail(
			err, ANNALS_E_INVALID, "the path of the data directory is too long");
	}
	status = store_files_lock(options->data_dir, false, &lock_fd, err);
	if (status == 0) {
		struct error error = {0};
		status = store_files_format(options->data_dir, false, uuid, &error);
		if (status == ANNALS_E_CORRUPT_DATA) {
			/* Without the uuid nothing else can be told to belong here. */
			verify_problem(&verify, "%s", error.text);
			status = 0;
		} else if (status != 0) {
			if (err != NULL) {
				*err = error;
			}
		} else {
			status = run_checks(&verify, shard_dir, uuid, err);
		}
	}
	verify_release(&verify);
	if (lock_fd >= 0) {
		(void)close(lock_fd);
	}
	if (status != 0) {
		return status;
	}
	if (own.progress != NULL) {
		own.progress(own.arg, verify.total_bytes, verify.total_bytes);
	}
	*ret = report;
	return 0;
}
