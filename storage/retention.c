/*
 * Retention: age, bytes and count over a whole topic. Looks at the oldest chunks (by recorded time
 * over all partitions) and submits trims, which go through the journal like every change; the time
 * of the decision never reaches apply. Only settled chunks are considered: what is still in the
 * tail is young.
 */
#include "chunk.h"
#include "completion.h"
#include "shard.h"

#include <annals/clock.h>
#include <stdlib.h>

#define CHUNKS_AT_ONCE 4096u

/* A partition's oldest chunk that is still kept, and how far the decision has moved. */
struct front {
	struct partition *partition;
	bool has_chunk;
	bool moved;
	uint64_t first_offset; /* decided */
	struct chunk_header chunk;
};

struct pass {
	struct shard *shard;
	struct topic_state *state;
	struct topic *topic;
	struct front *fronts;
	MDB_cursor *cursor;
	uint64_t bytes, events;  /* of the topic, after what was decided */
	uint64_t oldest_kept_us; /* recorded before: too old */
};

struct trim_out {
	struct trim_request request;
};

/* Requests of this file come back here and are freed. */
struct retention {
	struct completion_queue queue;
	uint32_t in_flight;
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
	struct list_node answers, *node;

	list_init(&answers);
	completion_queue_take(&retention->queue, &answers);
	while ((node = list_pop(&answers)) != NULL) {
		retention->in_flight--;
		free(ANNALS_CONTAINER_OF(node, struct trim_out, request.base.node));
	}
}

/* The first chunk at or after the offset; none is not an error. */
static void load_front(struct pass *pass, struct front *front)
{
	uint8_t bytes[LOG_KEY_BYTES];
	MDB_val key = {sizeof(bytes), bytes}, value;
	uint32_t topic_id, index;
	uint64_t base;
	uint16_t part;

	front->has_chunk = false;
	log_key(bytes, pass->state->id, front->partition->index, front->first_offset, 0);
	if (mdb_cursor_get(pass->cursor, &key, &value, MDB_SET_RANGE) == 0 &&
		log_key_parse(
			bytes_of(key.mv_data, key.mv_size), &topic_id, &index, &base, &part) &&
		topic_id == pass->state->id && index == front->partition->index && part == 0 &&
		chunk_header_parse(bytes_of(value.mv_data, value.mv_size), &front->chunk) == 0) {
		front->has_chunk = true;
	}
}

static bool is_over(const struct pass *pass, const struct front *front)
{
	const struct topic_config *config = &pass->topic->config;

	return (config->retention_age_us > 0 &&
		       front->chunk.last_recorded_us < pass->oldest_kept_us) ||
	       (config->retention_bytes > 0 && pass->bytes > config->retention_bytes) ||
	       (config->retention_events > 0 &&
		       pass->events >= config->retention_events + front->chunk.count);
}

static struct front *oldest_front(struct pass *pass)
{
	struct front *oldest = NULL;

	for (uint32_t i = 0; i < pass->state->partition_count; i++) {
		struct front *front = &pass->fronts[i];
		if (front->has_chunk &&
			(oldest == NULL ||
				front->chunk.last_recorded_us < oldest->chunk.last_recorded_us)) {
			oldest = front;
		}
	}
	return oldest;
}

static void decide(struct pass *pass)
{
	for (uint32_t count = 0; count < CHUNKS_AT_ONCE; count++) {
		struct front *front = oldest_front(pass);
		if (front == NULL || !is_over(pass, front)) {
			return;
		}
		pass->bytes -= ANNALS_MIN(pass->bytes, front->chunk.bytes);
		pass->events -= ANNALS_MIN(pass->events, front->chunk.count);
		front->first_offset = front->chunk.base_offset + front->chunk.count;
		front->moved = true;
		load_front(pass, front);
	}
}

static void submit(struct pass *pass, struct retention *retention, const struct front *front)
{
	struct trim_out *out = calloc(1, sizeof(*out));

	if (out == NULL) {
		return;
	}
	out->request.base.operation = STORE_TRIM;
	out->request.base.queue = &retention->queue;
	out->request.topic_id = pass->state->id;
	out->request.partition = front->partition->index;
	out->request.first_offset = front->first_offset;
	if (writer_submit(pass->shard, &out->request.base, NULL) != 0) {
		/* Overloaded or stopping: the next look decides again. */
		free(out);
		return;
	}
	retention->in_flight++;
}

static void look_at_topic(struct pass *pass, struct retention *retention)
{
	struct snapshot *snapshot;
	uint64_t now = clock_wall_us();

	pass->fronts = calloc(pass->state->partition_count, sizeof(struct front));
	if (pass->fronts == NULL) {
		return;
	}
	if (env_snapshot_begin(&pass->shard->env, &snapshot, NULL) == 0) {
		if (env_snapshot_cursor(
			    &pass->shard->env, snapshot, TABLE_LOG, &pass->cursor, NULL) == 0) {
			pass->oldest_kept_us =
				now - ANNALS_MIN(now, pass->topic->config.retention_age_us);
			for (uint32_t i = 0; i < pass->state->partition_count; i++) {
				struct front *front = &pass->fronts[i];
				front->partition = pass->state->partitions[i];
				front->first_offset = front->partition->first_offset;
				pass->bytes += front->partition->stored_bytes;
				pass->events += front->partition->end_offset - front->first_offset;
				load_front(pass, front);
			}
			decide(pass);
		}
		env_snapshot_end(&pass->shard->env, snapshot);
	}
	for (uint32_t i = 0; i < pass->state->partition_count; i++) {
		if (pass->fronts[i].moved) {
			submit(pass, retention, &pass->fronts[i]);
		}
	}
	free(pass->fronts);
}

static bool has_limit(const struct topic_config *config)
{
	return config->retention_age_us > 0 || config->retention_bytes > 0 ||
	       config->retention_events > 0;
}

/* References to all topics with a limit; the caller frees. */
static size_t collect_topics(struct shard *shard, struct topic_state ***ret)
{
	struct catalog *catalog = &shard->catalog;
	size_t count = 0;

	(void)pthread_rwlock_rdlock(&catalog->lock);
	*ret = calloc(catalog->count + 1, sizeof(struct topic_state *));
	for (size_t slot = 0; slot < catalog->slots && *ret != NULL; slot++) {
		struct topic_state *state = catalog->by_id[slot];
		if (state != NULL && has_limit(&state->topic->config)) {
			(*ret)[count++] = topic_state_ref(state);
		}
	}
	(void)pthread_rwlock_unlock(&catalog->lock);
	return count;
}

void retention_run(struct shard *shard)
{
	struct retention *retention = retention_of(shard);
	struct topic_state **states;
	size_t count;

	if (retention == NULL) {
		return;
	}
	collect_answers(retention);
	if (retention->in_flight > 0 || shard->state == STORE_READ_ONLY) {
		return;
	}
	count = collect_topics(shard, &states);
	for (size_t i = 0; i < count; i++) {
		struct pass pass = {.shard = shard, .state = states[i]};
		pass.topic = catalog_topic(&shard->catalog, states[i]);
		look_at_topic(&pass, retention);
		topic_unref(pass.topic);
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
		free(retention);
		shard->retention = NULL;
	}
}
