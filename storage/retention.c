/*
 * Retention: turns the age, bytes and count limits of topics into trims through the journal. The
 * rules are in retention_plan.h; here is what they look at. Settler's thread, so nothing is settled
 * or deleted meanwhile.
 *
 * The clock is read here and nowhere below: what comes out is a command with an offset in it.
 * Nothing waits for the trims (the writer may be waiting for the settler); while some are in flight
 * nothing new is decided, so that none is decided twice.
 */
#include "chunk.h"
#include "completion.h"
#include "retention_plan.h"
#include "shard.h"

#include <annals/clock.h>
#include <annals/fault.h>
#include <stdlib.h>

#define TRIMS_MAX 256u   /* in flight at once: each is a block of its own */
#define PIECES_MAX 4096u /* dropped of one topic in one look */

/* When a topic with a maximum age has to be looked at again. */
struct due_topic {
	uint32_t id;
	uint64_t age_us; /* the limit that next_due_us was computed from */
	uint64_t next_due_us;
};

struct retention {
	struct completion_queue queue;
	struct trim_request requests[TRIMS_MAX];
	uint32_t in_flight, used;               /* requests are used anew when all have come back */
	struct retention_trim trims[TRIMS_MAX]; /* of the plan being carried out */
	struct due_topic *due;                  /* in order of id */
	size_t due_count;
	size_t start; /* index of the topic that the next look begins with */
};

/* One topic being looked at. */
struct subject {
	struct shard *shard;
	struct topic_state *state;
	struct topic *topic;           /* a reference */
	struct partition **partitions; /* a copy of the array */
	uint64_t *first_offsets;
	uint32_t partition_count;
	uint64_t bytes, events;
	struct snapshot *snapshot;
	MDB_cursor *cursor; /* of the log table */
};

static struct retention *retention_of(struct shard *shard)
{
	struct retention *retention = shard->retention;

	if (retention == NULL) {
		retention = calloc(1, sizeof(*retention));
		if (retention != NULL) {
			completion_queue_init(&retention->queue, NULL, NULL);
			shard->retention = retention;
		}
	}
	return retention;
}

static void collect_answers(struct retention *retention)
{
	struct list_node answers;

	list_init(&answers);
	completion_queue_take(&retention->queue, &answers);
	while (list_pop(&answers) != NULL) {
		retention->in_flight--;
	}
	if (retention->in_flight == 0) {
		retention->used = 0;
	}
}

/* ---- Pieces ---- */

/* Moves to the chunk that holds `from` or is the first one after it: 1 with its header, 0 if there
 * is none. A damaged header counts as none: what cannot be read is left alone. */
static int find_chunk(
	struct subject *subject, uint32_t index, uint64_t from, struct chunk_header *ret)
{
	uint8_t bytes[LOG_KEY_BYTES];
	MDB_val key, value;
	uint64_t base = from;
	uint32_t topic_id, partition;
	uint16_t part = 0;

	/* The chunk before may hold `from`. */
	for (int step = 0; step < 2; step++) {
		log_key(bytes, subject->state->id, index, base, 0);
		key = (MDB_val){sizeof(bytes), bytes};
		int code = mdb_cursor_get(subject->cursor, &key, &value, MDB_SET_RANGE);
		if (step == 0) {
			code = mdb_cursor_get(subject->cursor, &key, &value,
				code == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
		}
		bool own = code == 0 &&
			   log_key_parse(bytes_of(key.mv_data, key.mv_size), &topic_id, &partition,
				   &base, &part) &&
			   topic_id == subject->state->id && partition == index;
		if (step == 0) {
			base = own ? base : from;
			continue;
		}
		for (; own && (part != 0 ||
				      chunk_header_parse(
					      bytes_of(value.mv_data, value.mv_size), ret) != 0 ||
				      ret->base_offset + ret->count <= from);) {
			own = mdb_cursor_get(subject->cursor, &key, &value, MDB_NEXT) == 0 &&
			      log_key_parse(bytes_of(key.mv_data, key.mv_size), &topic_id,
				      &partition, &base, &part) &&
			      topic_id == subject->state->id && partition == index;
		}
		return own ? 1 : 0;
	}
	return 0;
}

/* The batches of the tail that one block brought to the partition: they have the same age. */
static int find_tail_piece(
	struct subject *subject, uint32_t index, uint64_t from, struct retention_piece *ret)
{
	struct tail *tail = &subject->shard->tail;
	struct partition_tail *own = &subject->partitions[index]->tail;
	uint32_t at;

	*ret = (struct retention_piece){0};
	(void)pthread_mutex_lock(&tail->mutex);
	at = tail_find(own, from);
	if (at < own->count) {
		const struct tail_block *block = tail_entry_at(own, at)->block;
		uint64_t begin = ANNALS_MAX(from, tail_entry_at(own, at)->base_offset);
		for (; at < own->count && tail_entry_at(own, at)->block == block; at++) {
			const struct tail_entry *entry = tail_entry_at(own, at);
			ret->bytes += entry->bytes;
			ret->end_offset = entry->base_offset + entry->count;
			ret->last_recorded_us = entry->recorded_us;
		}
		ret->events = ret->end_offset - begin;
	}
	(void)pthread_mutex_unlock(&tail->mutex);
	return ret->end_offset > from ? 1 : 0;
}

static int next_piece(void *arg, uint32_t index, uint64_t from, struct retention_piece *ret)
{
	struct subject *subject = arg;
	struct chunk_header chunk;
	uint64_t begin;

	if (find_chunk(subject, index, from, &chunk) == 0) {
		return find_tail_piece(subject, index, from, ret);
	}
	begin = ANNALS_MAX(from, chunk.base_offset);
	*ret = (struct retention_piece){
		.end_offset = chunk.base_offset + chunk.count,
		.bytes = chunk.bytes,
		.events = chunk.base_offset + chunk.count - begin,
		.last_recorded_us = chunk.last_recorded_us,
	};
	return 1;
}

/* ---- One topic ---- */

/* Copies what the catalog may change. */
static int subject_init(struct subject *subject, struct shard *shard, struct topic_state *state)
{
	*subject = (struct subject){.shard = shard, .state = state};
	(void)pthread_rwlock_rdlock(&shard->catalog.lock);
	subject->topic = topic_ref(state->topic);
	subject->partition_count = state->partition_count;
	subject->partitions = calloc(state->partition_count, sizeof(struct partition *));
	subject->first_offsets = calloc(state->partition_count, sizeof(uint64_t));
	if (subject->partitions != NULL) {
		memcpy(subject->partitions, state->partitions,
			state->partition_count * sizeof(struct partition *));
	}
	(void)pthread_rwlock_unlock(&shard->catalog.lock);
	return subject->partitions == NULL || subject->first_offsets == NULL ? ANNALS_E_NO_MEMORY
									     : 0;
}

static void subject_release(struct subject *subject)
{
	topic_unref(subject->topic);
	free(subject->partitions);
	free(subject->first_offsets);
}

static void count_about(struct subject *subject)
{
	for (uint32_t i = 0; i < subject->partition_count; i++) {
		const struct partition *partition = subject->partitions[i];
		uint64_t first = partition->first_offset, end = partition->end_offset;

		subject->first_offsets[i] = first;
		subject->events += end - ANNALS_MIN(first, end);
		subject->bytes += partition->stored_bytes;
	}
}

/*
 * partition.stored_bytes goes on counting what was trimmed until it is deleted, so the decision
 * needs a closer look. 1: subject->bytes is what is kept, 0: chunks wait to be deleted; their
 * bytes say nothing yet.
 */
static int count_bytes(struct subject *subject)
{
	struct tail *tail = &subject->shard->tail;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < subject->partition_count; i++) {
		struct partition *partition = subject->partitions[i];
		struct partition_row row;
		bool cleaning;
		uint32_t kept_from;

		(void)pthread_mutex_lock(&tail->mutex);
		cleaning = partition->trim_is_queued;
		kept_from = tail_find(&partition->tail, subject->first_offsets[i]);
		bytes += partition->tail.pending_bytes;
		for (uint32_t at = 0; at < kept_from; at++) {
			bytes -= tail_entry_at(&partition->tail, at)->bytes;
		}
		(void)pthread_mutex_unlock(&tail->mutex);
		if (cleaning) {
			return 0;
		}
		int found = table_get_partition(&subject->shard->env, subject->snapshot->txn,
			subject->state->id, i, &row, NULL);
		if (found < 0) {
			return found;
		}
		bytes += row.log_bytes;
	}
	subject->bytes = bytes;
	return 1;
}

static void submit(struct subject *subject, struct retention *retention, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct trim_request *request = &retention->requests[retention->used];

		*request = (struct trim_request){
			.base = {.operation = STORE_TRIM, .queue = &retention->queue},
			.topic_id = subject->state->id,
			.partition = retention->trims[i].partition,
			.first_offset = retention->trims[i].first_offset,
		};
		ANNALS_FAULT("retention.before_trim");
		if (writer_submit(subject->shard, &request->base, true, NULL) != 0) {
			return; /* overloaded or stopping: the next look decides again */
		}
		retention->used++;
		retention->in_flight++;
	}
}

/* Makes the plan for a topic and submits its trims. Returns when to look again. */
static uint64_t plan_subject(struct subject *subject, struct retention *retention, uint64_t now_us)
{
	struct topic_config config = subject->topic->config;
	struct retention_input input = {
		.config = &config,
		.now_us = now_us,
		.first_offsets = subject->first_offsets,
		.bytes = subject->bytes,
		.events = subject->events,
		.trims_max = TRIMS_MAX - retention->used,
		.pieces_max = PIECES_MAX,
		.next_piece = next_piece,
		.arg = subject,
	};
	struct retention_answer answer = {.trims = retention->trims};

	config.partitions = subject->partition_count;
	if (retention_exceeded(&config, subject->bytes, 0)) {
		input.bytes = count_bytes(subject) == 1 ? subject->bytes : 0;
	}
	if (retention_plan(&input, &answer) != 0) {
		return 0;
	}
	submit(subject, retention, answer.trim_count);
	return answer.more ? 0 : answer.next_due_us;
}

static uint64_t plan_in_snapshot(
	struct subject *subject, struct retention *retention, uint64_t now_us)
{
	struct env *env = &subject->shard->env;
	uint64_t next_due_us = 0;

	if (env_snapshot_begin(env, &subject->snapshot, NULL) != 0) {
		return 0;
	}
	if (env_snapshot_cursor(env, subject->snapshot, TABLE_LOG, &subject->cursor, NULL) == 0) {
		next_due_us = plan_subject(subject, retention, now_us);
	}
	env_snapshot_end(env, subject->snapshot);
	return next_due_us;
}

/* What an earlier look found; 0: nothing is known, look now. */
static uint64_t due_of(const struct retention *retention, uint32_t topic_id, uint64_t age_us)
{
	size_t low = 0, high = retention->due_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (retention->due[middle].id < topic_id) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	if (low == retention->due_count || retention->due[low].id != topic_id ||
		retention->due[low].age_us != age_us) {
		return 0;
	}
	return retention->due[low].next_due_us;
}

static void look_at_topic(struct shard *shard, struct retention *retention,
	struct topic_state *state, uint64_t now_us, struct due_topic *ret_due)
{
	struct subject subject;

	*ret_due = (struct due_topic){.id = state->id};
	if (subject_init(&subject, shard, state) == 0 && !state->deleted) {
		const struct topic_config *config = &subject.topic->config;
		uint64_t age_us = config->retention_age_us;
		uint64_t due_us = age_us > 0 ? due_of(retention, state->id, age_us) : UINT64_MAX;

		count_about(&subject);
		if (now_us > due_us || retention_exceeded(config, subject.bytes, subject.events)) {
			due_us = plan_in_snapshot(&subject, retention, now_us);
		}
		ret_due->age_us = age_us;
		ret_due->next_due_us = due_us;
	}
	subject_release(&subject);
}

/* ---- All topics ---- */

static bool has_limit(const struct topic_config *config)
{
	return config->retention_age_us > 0 || config->retention_bytes > 0 ||
	       config->retention_events > 0;
}

static int compare_states(const void *a, const void *b)
{
	const struct topic_state *left = *(struct topic_state *const *)a,
				 *right = *(struct topic_state *const *)b;

	return (left->id > right->id) - (left->id < right->id);
}

/* References to all topics with a limit, in order of id; the caller frees. NULL without memory. */
static struct topic_state **collect_topics(struct shard *shard, size_t *ret_count)
{
	struct catalog *catalog = &shard->catalog;
	struct topic_state **states;
	size_t count = 0;

	(void)pthread_rwlock_rdlock(&catalog->lock);
	states = calloc(catalog->count + 1, sizeof(struct topic_state *));
	for (size_t slot = 0; slot < catalog->slots && states != NULL; slot++) {
		struct topic_state *state = catalog->by_id[slot];
		if (state != NULL && has_limit(&state->topic->config)) {
			states[count++] = topic_state_ref(state);
		}
	}
	(void)pthread_rwlock_unlock(&catalog->lock);
	if (states != NULL) {
		qsort(states, count, sizeof(struct topic_state *), compare_states);
	}
	*ret_count = count;
	return states;
}

static void look_at_all(
	struct shard *shard, struct retention *retention, struct topic_state **states, size_t count)
{
	struct due_topic *due = calloc(count + 1, sizeof(*due));
	uint64_t now_us = clock_wall_us();
	size_t start = retention->start;

	for (size_t i = 0; i < count && due != NULL; i++) {
		size_t at = (start + i) % count;
		bool room = retention->used < TRIMS_MAX;
		look_at_topic(shard, retention, states[at], now_us, &due[at]);
		if (room && retention->used == TRIMS_MAX) {
			retention->start = at; /* the others come first next time */
		}
	}
	if (due != NULL) {
		free(retention->due);
		retention->due = due;
		retention->due_count = count;
	}
}

void retention_run(struct shard *shard)
{
	struct retention *retention = retention_of(shard);
	struct topic_state **states;
	size_t count = 0;

	ANNALS_FAULT("retention.before_run");
	if (retention == NULL) {
		return;
	}
	collect_answers(retention);
	if (retention->in_flight > 0 || shard->state == STORE_READ_ONLY) {
		return;
	}
	states = collect_topics(shard, &count);
	if (states != NULL) {
		look_at_all(shard, retention, states, count);
	}
	for (size_t i = 0; i < count; i++) {
		topic_state_unref(states[i]);
	}
	free(states);
}

void retention_release(struct shard *shard)
{
	struct retention *retention = shard->retention;

	if (retention != NULL) {
		collect_answers(retention);
		completion_queue_release(&retention->queue);
		free(retention->due);
		free(retention);
		shard->retention = NULL;
	}
}
