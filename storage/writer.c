/*
 * The writer: group commit. Takes everything that waits, admits it into one block, writes and syncs
 * it once, publishes, answers.
 */
#include "completion.h"
#include "facts.h"
#include "rows.h"
#include "shard.h"
#include "topic_index.h"

#include <annals/clock.h>
#include <annals/fault.h>
#include <annals/thread.h>
#include <assert.h>
#include <errno.h>
#include <time.h>

/* How long appends are refused after the disk was found full, before one may try again. */
#define FULL_PROBE_NS 100000000u

static uint64_t request_bytes(const struct store_request *request)
{
	const struct append_request *append;
	const struct offset_request *offsets;
	uint64_t bytes = sizeof(*append);

	if (request->operation == STORE_APPEND) {
		for (append = (const struct append_request *)request; append != NULL;
			append = append->next) {
			for (size_t i = 0; i < append->part_count; i++) {
				bytes += append->parts[i].body.size;
			}
		}
	} else if (request->operation == STORE_OFFSET_COMMIT) {
		offsets = (const struct offset_request *)request;
		for (size_t i = 0; i < offsets->entry_count; i++) {
			bytes += sizeof(*offsets->entries) + offsets->entries[i].metadata.size;
		}
	} else if (request->operation == STORE_ROWS) {
		const struct rows_request *rows = (const struct rows_request *)request;
		bytes += row_changes_size(rows->changes, rows->change_count);
	}
	return bytes;
}

static int refuse_append_now(struct shard *shard, struct error *err)
{
	if (shard->disk_is_low) {
		shard->counters.refused_full++;
		return error_fail(err, ANNALS_E_STORAGE_FULL,
			"less than disk-reserve (%llu bytes) is free on the disk: free some space",
			(unsigned long long)shard->options.disk_reserve_bytes);
	}
	if (shard->journal_is_full && clock_monotonic_ns() < shard->full_probe_ns) {
		shard->counters.refused_full++;
		return error_fail(err, ANNALS_E_STORAGE_FULL,
			"the disk has no room for the journal: free some space");
	}
	return 0;
}

/* What the topic must know of the events, gathered in the thread that submits. */
static int gather_facts(struct shard *shard, struct append_request *request, struct error *err)
{
	struct topic_state *state = catalog_find_id(&shard->catalog, request->topic_id);
	struct topic *topic;
	int status = 0;

	request->facts = NULL;
	request->replayed = false;
	if (state == NULL) {
		return 0; /* admission says so */
	}
	topic = catalog_topic(&shard->catalog, state);
	if (facts_are_needed(&topic->config)) {
		status = facts_gather(request, &topic->config, shard->uuid, &request->facts, err);
	}
	topic_unref(topic);
	topic_state_unref(state);
	return status;
}

static int gather_all_facts(struct shard *shard, struct append_request *first, struct error *err)
{
	uint32_t count = 0;
	int status = 0;

	for (struct append_request *request = first; request != NULL; request = request->next) {
		request->facts = NULL;
		request->refused = NULL;
		if (++count > APPEND_TOPICS_MAX) {
			status = error_fail(err, ANNALS_E_LIMIT,
				"a commit appends to at most %u topics", APPEND_TOPICS_MAX);
		}
	}
	for (struct append_request *request = first; request != NULL && status == 0;
		request = request->next) {
		status = gather_facts(shard, request, err);
		if (status != 0) {
			first->refused = first->next != NULL ? request : NULL;
		}
	}
	if (status != 0) {
		facts_drop(first);
	}
	return status;
}

int writer_submit(struct shard *shard, struct store_request *request, bool wake, struct error *err)
{
	uint64_t bytes = request_bytes(request);
	int status = 0;

	if (shard->state == STORE_READ_ONLY) {
		char reason[256];
		(void)shard_state(shard, reason);
		return error_fail(err, ANNALS_E_UNAVAILABLE, "the store is read-only: %s", reason);
	}
	if (request->operation == STORE_APPEND) {
		status = refuse_append_now(shard, err);
		status = status != 0
				 ? status
				 : gather_all_facts(shard, (struct append_request *)request, err);
		if (status != 0) {
			return status;
		}
	}
	(void)pthread_mutex_lock(&shard->queue.mutex);
	if (shard->queue.closing) {
		status = error_fail(err, ANNALS_E_UNAVAILABLE, "the store is closing");
	} else if (shard->queue.count >= shard->options.queue_requests_max ||
		   (shard->queue.count > 0 &&
			   shard->queue.bytes + bytes > shard->options.queue_bytes_max)) {
		shard->counters.refused_overloaded++;
		status = error_fail(err, ANNALS_E_OVERLOADED,
			"%u requests with %llu bytes wait for the writer: the limit is %u requests "
			"or %llu bytes",
			shard->queue.count, (unsigned long long)shard->queue.bytes,
			shard->options.queue_requests_max,
			(unsigned long long)shard->options.queue_bytes_max);
	} else {
		list_add_tail(&shard->queue.requests, &request->node);
		shard->queue.bytes += bytes;
		shard->queue.count++;
		if (wake && shard->queue.writer_sleeps) {
			shard->queue.writer_sleeps = false;
			(void)pthread_cond_signal(&shard->queue.filled);
		}
	}
	(void)pthread_mutex_unlock(&shard->queue.mutex);
	if (status != 0 && request->operation == STORE_APPEND) {
		facts_drop((struct append_request *)request);
	}
	return status;
}

void writer_wake(struct shard *shard)
{
	(void)pthread_mutex_lock(&shard->queue.mutex);
	if (shard->queue.writer_sleeps && !list_is_empty(&shard->queue.requests)) {
		shard->queue.writer_sleeps = false;
		(void)pthread_cond_signal(&shard->queue.filled);
	}
	(void)pthread_mutex_unlock(&shard->queue.mutex);
}

/* Waits for work, but in a stepped store. What was taken before is answered by now and counts no
 * longer. False when the store closes and nothing is left. */
static bool take_requests(struct shard *shard, struct list_node *requests)
{
	struct shard_queue *queue = &shard->queue;

	(void)pthread_mutex_lock(&queue->mutex);
	queue->bytes -= queue->taken_bytes;
	queue->count -= queue->taken_count;
	while (list_is_empty(&queue->requests) && !queue->closing && !shard->options.stepped) {
		queue->writer_sleeps = true;
		(void)pthread_cond_wait(&queue->filled, &queue->mutex);
	}
	queue->writer_sleeps = false;
	list_splice(requests, &queue->requests);
	queue->taken_bytes = queue->bytes;
	queue->taken_count = queue->count;
	(void)pthread_mutex_unlock(&queue->mutex);
	return !list_is_empty(requests);
}

/* Memory is bounded: with the tail at its limit the writer waits for the settler, unless the disk
 * is what the settler waits for. */
static void wait_for_room(struct shard *shard)
{
	struct tail *tail = &shard->tail;

	(void)pthread_mutex_lock(&tail->mutex);
	while ((tail->bytes + shard->overlay.bytes >= tail->bytes_max ||
		       shard->index.bytes >= INDEX_BYTES_MAX) &&
		!shard->settling_is_blocked && shard->state != STORE_READ_ONLY &&
		!shard->settler_stops && !shard->options.stepped) {
		struct timespec until;
		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += 50000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		settler_wake(shard);
		(void)pthread_cond_timedwait(&tail->less, &tail->mutex, &until);
	}
	shard->tail_is_stuck =
		shard->settling_is_blocked && tail->bytes + shard->overlay.bytes >= tail->bytes_max;
	(void)pthread_mutex_unlock(&tail->mutex);
}

static void reset_draft(struct draft *draft)
{
	buf_trim(&draft->bytes, BLOCK_BYTES_MAX);
	draft->command_count = 0;
	draft->events = 0;
	draft->any_os = false;
	draft->touched_count = 0;
	draft->generation++;
	staged_keys_reset(&draft->staged_rows);
	staged_keys_reset(&draft->staged_facts);
	memtable_reset(&draft->staged_streams);
	staged_values_reset(&draft->staged_producers);
}

static void roll_back(struct draft *draft)
{
	for (size_t i = 0; i < draft->touched_count && !ANNALS_MUTATION("keep_staged_effects");
		i++) {
		draft->touched[i]->next_offset = draft->touched[i]->end_offset;
	}
}

static void refuse_draft(struct shard *shard, int status, const char *text)
{
	struct list_node *node;

	roll_back(&shard->draft);
	LIST_FOR_EACH (node, &shard->draft.requests) {
		struct store_request *request = LIST_ENTRY(node, struct store_request, node);
		request->status = status;
		(void)error_fail(&request->error, status, "%s", text);
	}
	completion_push_all(&shard->draft.requests);
	reset_draft(&shard->draft);
}

/* Appends with durability `os` are answered after the write; the answer says so. */
static void answer_os(struct draft *draft)
{
	struct list_node *node, *following, answered;

	list_init(&answered);
	LIST_FOR_EACH_SAFE (node, following, &draft->requests) {
		struct store_request *request = LIST_ENTRY(node, struct store_request, node);
		/* NOLINTNEXTLINE(misc-redundant-expression): both are false but in mutated builds
		 */
		const bool early = ANNALS_MUTATION("acknowledge_before_sync") ||
				   ANNALS_MUTATION("acknowledge_before_write");
		if (request->operation == STORE_APPEND &&
			(early ||
				((struct append_request *)request)->durability == DURABILITY_OS)) {
			list_remove(node);
			list_add_tail(&answered, node);
		}
	}
	completion_push_all(&answered);
}

static unsigned bucket_of(uint64_t value, unsigned lowest_bit)
{
	unsigned bits = value == 0 ? 0 : 64u - (unsigned)__builtin_clzll(value);

	bits = bits > lowest_bit ? bits - lowest_bit : 0;
	return bits < 23 ? bits : 23;
}

static void count_commit(struct shard *shard, uint64_t sync_ns)
{
	struct counters *counters = &shard->counters;

	counters->commits++;
	counters->commit_bytes += shard->draft.bytes.size;
	counters->sync_ns_total += sync_ns;
	if (sync_ns > counters->sync_ns_max) {
		counters->sync_ns_max = sync_ns;
	}
	counters->sync_buckets[bucket_of(sync_ns, 10)]++;
	counters->commit_events_buckets[bucket_of(shard->draft.events, 0)]++;
	counters->appended_events += shard->draft.events;
}

/* Topic requests leave with a reference to what was published. */
static void fill_results(struct shard *shard)
{
	struct list_node *node;

	LIST_FOR_EACH (node, &shard->draft.requests) {
		struct store_request *request = LIST_ENTRY(node, struct store_request, node);
		if (request->operation == STORE_TOPIC_CREATE ||
			request->operation == STORE_TOPIC_UPDATE) {
			struct topic_request *topic = (struct topic_request *)request;
			struct topic_state *state =
				catalog_peek_name(&shard->catalog, bytes_text(topic->name));
			assert(state != NULL);
			topic->topic = topic_ref(state->topic);
		}
	}
}

/* The write failed before anything reached the journal, or it did not: says so to everybody in the
 * draft. */
static void write_failed(struct shard *shard, enum journal_result result, const struct error *err)
{
	switch (result) {
	case JOURNAL_OK:
		return;
	case JOURNAL_FULL:
		shard->journal_is_full = true;
		shard->full_probe_ns = clock_monotonic_ns() + FULL_PROBE_NS;
		shard->counters.refused_full++;
		refuse_draft(shard, ANNALS_E_STORAGE_FULL,
			"the disk has no room for the journal: nothing was stored; free some "
			"space");
		return;
	case JOURNAL_FAILED:
		refuse_draft(shard, ANNALS_E_IO, err->text);
		return;
	case JOURNAL_CONFLICT:
	case JOURNAL_CORRUPT:
		shard_fail(shard, err->text);
		refuse_draft(shard, ANNALS_E_UNAVAILABLE, err->text);
		return;
	case JOURNAL_UNKNOWN:
		shard_fail(shard, err->text);
		refuse_draft(shard, ANNALS_E_OUTCOME_UNKNOWN, err->text);
		return;
	}
}

void writer_commit(struct shard *shard)
{
	struct draft *draft = &shard->draft;
	enum journal_result result;
	struct error err = {0};
	uint64_t number, started;

	if (draft->command_count == 0) {
		return;
	}
	wait_for_room(shard);
	block_finish(&draft->bytes, draft->command_count, draft->time_us, draft->first_position);
	if (ANNALS_MUTATION("acknowledge_before_write")) {
		answer_os(draft);
	}
	ANNALS_FAULT("writer.before_write");
	result = journal_write_block(
		shard->journal, shard->last_block, buf_bytes(&draft->bytes), &number, &err);
	if (result != JOURNAL_OK) {
		write_failed(shard, result, &err);
		return;
	}
	shard->journal_is_full = false;
	ANNALS_FAULT("writer.after_write");
	if (draft->any_os || ANNALS_MUTATION("acknowledge_before_sync")) {
		answer_os(draft);
	}
	started = clock_monotonic_ns();
	if (!ANNALS_MUTATION("publish_before_sync")) {
		result = journal_sync(shard->journal, &err);
	}
	if (result != JOURNAL_OK) {
		/* Never tried again: what the disk holds now only reopening can tell. */
		shard_fail(shard, err.text);
		refuse_draft(shard, ANNALS_E_OUTCOME_UNKNOWN, err.text);
		return;
	}
	count_commit(shard, clock_monotonic_ns() - started);
	ANNALS_FAULT("writer.after_sync");
	if (publish_block(shard, number, buf_bytes(&draft->bytes), false, &err) != 0) {
		shard_fail(shard, err.text);
		refuse_draft(shard, ANNALS_E_OUTCOME_UNKNOWN, err.text);
		return;
	}
	if (ANNALS_MUTATION("publish_before_sync")) {
		result = journal_sync(shard->journal, &err);
	}
	ANNALS_FAULT("writer.before_answer");
	fill_results(shard);
	completion_push_all(&draft->requests);
	ANNALS_FAULT("writer.after_answer");
	reset_draft(draft);
}

void writer_discard_notes(struct shard *shard)
{
	if (shard->draft.command_count > 0) {
		writer_commit(shard);
	} else {
		reset_draft(&shard->draft);
	}
}

bool writer_turn(struct shard *shard)
{
	struct list_node requests, *node;

	list_init(&requests);
	if (!take_requests(shard, &requests)) {
		return false;
	}
	while ((node = list_pop(&requests)) != NULL) {
		admit_request(shard, LIST_ENTRY(node, struct store_request, node));
	}
	writer_commit(shard);
	return true;
}

void *writer_main(void *arg)
{
	struct shard *shard = arg;

	thread_set_name("annals-writer");
	thread_set_slice(THREAD_SLICE_WRITER_NS);
	while (writer_turn(shard)) {
	}
	return NULL;
}
