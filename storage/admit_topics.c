/* Admission of topics' creation, change and deletion, and of trims. */
#include "admit.h"

#include "completion.h"

#include <annals/clock.h>
#include <annals/hash.h>

#define PARTITIONS_MAX 10000u
#define DEDUPE_EVENTS_MAX 1000000000u

static bool check_config(struct shard *shard, struct topic_request *request)
{
	const struct topic_config *config = &request->config;

	(void)shard;
	if (config->partitions == 0 || config->partitions > PARTITIONS_MAX) {
		admit_refusef(&request->base, ANNALS_E_INVALID,
			"a topic has 1 to %u partitions, not %u", PARTITIONS_MAX,
			config->partitions);
		return false;
	}
	if (config->dedupe_events > DEDUPE_EVENTS_MAX) {
		admit_refusef(&request->base, ANNALS_E_INVALID,
			"dedupe remembers at most %u events, not %llu", DEDUPE_EVENTS_MAX,
			(unsigned long long)config->dedupe_events);
		return false;
	}
	if (config->durability > DURABILITY_OS) {
		admit_refusef(&request->base, ANNALS_E_INVALID, "durability %d is not known",
			(int)config->durability);
		return false;
	}
	if ((unsigned)config->validation > VALIDATION_ENFORCE) {
		admit_refusef(&request->base, ANNALS_E_INVALID, "validation %d is not known",
			(int)config->validation);
		return false;
	}
	return true;
}

static bool same_config(const struct topic_config *a, const struct topic_config *b)
{
	return a->partitions == b->partitions && a->retention_age_us == b->retention_age_us &&
	       a->retention_bytes == b->retention_bytes &&
	       a->retention_events == b->retention_events && a->durability == b->durability &&
	       a->streams == b->streams && a->event_bytes_max == b->event_bytes_max &&
	       a->dedupe_age_us == b->dedupe_age_us && a->dedupe_events == b->dedupe_events &&
	       a->query_index == b->query_index && a->validation == b->validation;
}

static void commit_topic(struct shard *shard, struct topic_request *request,
	enum block_command type, const struct topic *topic)
{
	struct buf record = BUF_INIT;

	if (topic_encode(topic, &record) != 0) {
		admit_refusef(&request->base, ANNALS_E_NO_MEMORY, "no memory for a topic");
	} else {
		admit_alone(shard, &request->base, type, buf_bytes(&record));
	}
	buf_release(&record);
}

void admit_topic_create(struct shard *shard, struct topic_request *request)
{
	struct topic_state *state = catalog_peek_name(&shard->catalog, bytes_text(request->name));
	struct topic topic = {.id = shard->catalog.next_topic_id, .config = request->config};

	if (topic_name_check(bytes_text(request->name), NULL) != 0) {
		admit_refusef(&request->base, ANNALS_E_INVALID, "'%s' cannot be a topic's name",
			request->name);
		return;
	}
	if (!check_config(shard, request)) {
		return;
	}
	request->created = state == NULL;
	if (state != NULL) {
		if (!same_config(&state->topic->config, &request->config)) {
			admit_refusef(&request->base, ANNALS_E_TOPIC_EXISTS,
				"topic '%s' exists with other settings", request->name);
			return;
		}
		request->topic = topic_ref(state->topic);
		request->base.status = 0;
		completion_push(&request->base);
		return;
	}
	if (shard->catalog.count >= shard->options.topics_max) {
		admit_refusef(&request->base, ANNALS_E_LIMIT,
			"there are %zu topics: the limit is %u", shard->catalog.count,
			shard->options.topics_max);
		return;
	}
	uuid_new(topic.uuid);
	memcpy(topic.name, request->name, sizeof(topic.name));
	topic.created_us = clock_wall_us();
	commit_topic(shard, request, BLOCK_TOPIC_CREATE, &topic);
}

void admit_topic_update(struct shard *shard, struct topic_request *request)
{
	struct topic_state *state = catalog_peek_name(&shard->catalog, bytes_text(request->name));
	struct topic topic;

	if (state == NULL) {
		admit_refusef(&request->base, ANNALS_E_UNKNOWN_TOPIC, "there is no topic '%s'",
			request->name);
		return;
	}
	if (request->config.partitions == 0) {
		request->config.partitions = state->partition_count;
	}
	if (!check_config(shard, request)) {
		return;
	}
	if (request->config.partitions < state->partition_count) {
		admit_refusef(&request->base, ANNALS_E_INVALID,
			"topic '%s' has %u partitions: they can be added, not removed",
			request->name, state->partition_count);
		return;
	}
	/* Not the whole struct: others count references to it meanwhile. */
	topic = (struct topic){.id = state->topic->id,
		.created_us = state->topic->created_us,
		.config = state->topic->config};
	memcpy(topic.uuid, state->topic->uuid, sizeof(topic.uuid));
	memcpy(topic.name, state->topic->name, sizeof(topic.name));
	if (request->config.streams != topic.config.streams ||
		request->config.query_index != topic.config.query_index) {
		admit_refusef(&request->base, ANNALS_E_CONFLICT,
			"topic '%s' was created %s streams and %s a query index: that stays",
			request->name, topic.config.streams ? "with" : "without",
			topic.config.query_index ? "with" : "without");
		return;
	}
	if (topic.config.streams && request->config.partitions != state->partition_count) {
		admit_refusef(&request->base, ANNALS_E_CONFLICT,
			"topic '%s' has streams: its %u partitions stay as they are", request->name,
			state->partition_count);
		return;
	}
	topic.config = request->config;
	commit_topic(shard, request, BLOCK_TOPIC_UPDATE, &topic);
}

void admit_topic_delete(struct shard *shard, struct topic_request *request)
{
	struct topic_state *state = catalog_peek_name(&shard->catalog, bytes_text(request->name));
	uint8_t data[8] = {0};

	if (state == NULL) {
		admit_refusef(&request->base, ANNALS_E_UNKNOWN_TOPIC, "there is no topic '%s'",
			request->name);
		return;
	}
	store_u32(data, state->id);
	admit_alone(shard, &request->base, BLOCK_TOPIC_DELETE, bytes_of(data, sizeof(data)));
}

/* Every event that the trim takes has a position below the one returned. 0 where nobody asks. */
static uint64_t position_below(
	struct shard *shard, struct topic_state *state, const struct trim_request *request)
{
	struct read_request read = {.topic_id = request->topic_id,
		.partition = request->partition,
		.offset = request->first_offset,
		.one_batch = true};
	uint64_t position = shard->next_position;
	struct batch batch;

	if (!state->topic->config.query_index) {
		return 0;
	}
	(void)log_read(shard, &read, true);
	if (read.base.status == 0 && batch_view(buf_bytes(&read.batches), &batch) == 0 &&
		batch.stamp.base_offset <= request->first_offset) {
		position = batch.stamp.base_position +
			   (request->first_offset - batch.stamp.base_offset);
	}
	buf_release(&read.batches);
	return position;
}

void admit_trim(struct shard *shard, struct trim_request *request)
{
	struct topic_state *state = catalog_peek_id(&shard->catalog, request->topic_id);
	uint8_t data[24];

	if (state == NULL || request->partition >= state->partition_count) {
		admit_refusef(&request->base,
			state == NULL ? ANNALS_E_UNKNOWN_TOPIC : ANNALS_E_UNKNOWN_PARTITION,
			"there is no partition %u of topic id %u", request->partition,
			request->topic_id);
		return;
	}
	/* What this commit would append is not published: the end must not be passed. */
	writer_commit(shard);
	if (request->first_offset > state->partitions[request->partition]->end_offset) {
		admit_refusef(&request->base, ANNALS_E_OFFSET_BEYOND_END,
			"offset %llu is beyond the end, %llu",
			(unsigned long long)request->first_offset,
			(unsigned long long)state->partitions[request->partition]->end_offset);
		return;
	}
	store_u32(data, request->topic_id);
	store_u32(data + 4, request->partition);
	store_u64(data + 8, request->first_offset);
	store_u64(data + 16, position_below(shard, state, request));
	admit_alone(shard, &request->base, BLOCK_TRIM, bytes_of(data, sizeof(data)));
}
