/*
 * Admission: everything that can still say no, and the place where offsets, positions and times are
 * given. What is admitted lies in the draft as effects.
 */
#include "completion.h"
#include "shard.h"

#include <annals/clock.h>
#include <annals/hash.h>
#include <annals/parse.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTITIONS_MAX 10000u
#define OFFSET_METADATA_MAX 4096u

void admit_refuse(struct store_request *request, int status, const char *text)
{
	request->status = status;
	(void)error_fail(&request->error, status, "%s", text);
	completion_push(request);
}

static void refuse(struct store_request *request, int status, const char *format, ...)
	ANNALS_PRINTF(3, 4);

static void refuse(struct store_request *request, int status, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	admit_refuse(request, status, text);
}

static int begin_draft(struct shard *shard)
{
	struct draft *draft = &shard->draft;
	uint64_t now = clock_wall_us();

	if (draft->command_count > 0) {
		return 0;
	}
	buf_reset(&draft->bytes);
	draft->time_us = now > shard->last_recorded_us ? now : shard->last_recorded_us;
	draft->first_position = shard->next_position;
	draft->next_position = draft->first_position;
	return block_begin(&draft->bytes);
}

/* Makes room for one command of so many bytes, committing what is there first if it does not fit.
 * False: the request was refused. */
static bool open_draft(struct shard *shard, struct store_request *request, uint64_t bytes)
{
	struct draft *draft = &shard->draft;

	if (bytes > BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES) {
		refuse(request, ANNALS_E_TOO_LARGE,
			"the request takes %llu bytes when stored: the limit is %u",
			(unsigned long long)bytes, BLOCK_BYTES_MAX);
		return false;
	}
	if (draft->command_count > 0 &&
		draft->bytes.size + bytes > shard->options.block_bytes_max) {
		writer_commit(shard);
	}
	if (shard->state == STORE_READ_ONLY) {
		char reason[256];
		(void)shard_state(shard, reason);
		refuse(request, ANNALS_E_UNAVAILABLE, "the store is read-only: %s", reason);
		return false;
	}
	if (begin_draft(shard) != 0 || buf_reserve(&draft->bytes, bytes) != 0) {
		refuse(request, ANNALS_E_NO_MEMORY, "no memory for %llu bytes",
			(unsigned long long)bytes);
		return false;
	}
	return true;
}

static bool remember_touched(struct draft *draft, struct partition *partition)
{
	if (draft->touched_count > 0 && draft->touched[draft->touched_count - 1] == partition) {
		return true;
	}
	if (draft->touched_count == draft->touched_capacity) {
		size_t capacity = draft->touched_capacity == 0 ? 256 : draft->touched_capacity * 2;
		struct partition **larger =
			realloc(draft->touched, capacity * sizeof(struct partition *));
		if (larger == NULL) {
			return false;
		}
		draft->touched = larger;
		draft->touched_capacity = capacity;
	}
	draft->touched[draft->touched_count++] = partition;
	return true;
}

static size_t command_bytes(size_t data_bytes)
{
	return 8 + ANNALS_ROUND_UP(data_bytes, (size_t)8);
}

static void place_part(struct shard *shard, uint32_t topic_id, struct partition *partition,
	struct append_part *part)
{
	struct draft *draft = &shard->draft;
	struct stamp stamp = {
		.codec = (uint8_t)part->codec,
		.body_format = BATCH_FORMAT_EVENTS,
		.kind = BATCH_DATA,
		.body_bytes = (uint32_t)part->body.size,
		.body_crc = part->body_crc,
		.plain_bytes = part->summary.plain_bytes,
		.count = part->summary.count,
		.topic_id = topic_id,
		.partition = part->partition,
		.base_offset = partition->next_offset,
		.base_position = draft->next_position,
		.recorded_us = draft->time_us,
		.first_time_ns = part->summary.first_time_ns,
		.last_time_ns = part->summary.last_time_ns,
		.producer_id = part->producer_id,
		.producer_epoch = part->producer_epoch,
		.first_sequence = part->first_sequence,
	};
	uint8_t *room;

	/* open_draft() reserved the bytes. */
	if (block_add(&draft->bytes, BLOCK_APPEND, batch_stored_size(part->body.size, 0), &room) !=
		0) {
		abort();
	}
	batch_write(room, &stamp, bytes_of(NULL, 0), part->body);
	draft->command_count++;
	part->base_offset = stamp.base_offset;
	part->base_position = stamp.base_position;
	partition->next_offset += stamp.count;
	draft->next_position += stamp.count;
	draft->events += stamp.count;
}

/* What would make a block that cannot be read again must not get into one. */
static bool check_part(
	struct store_request *base, const struct topic_state *state, const struct append_part *part)
{
	if (part->partition >= state->partition_count) {
		refuse(base, ANNALS_E_UNKNOWN_PARTITION,
			"topic '%s' has no partition %u, only 0 to %u", state->topic->name,
			part->partition, state->partition_count - 1);
		return false;
	}
	if (part->body.size == 0 || part->body.size > BATCH_BODY_BYTES_MAX ||
		part->summary.count == 0 || part->summary.plain_bytes > BATCH_BODY_BYTES_MAX ||
		(unsigned)part->codec >= BATCH_CODECS) {
		refuse(base, ANNALS_E_INVALID,
			"a batch of %u events in %zu bytes with codec %d was not checked",
			part->summary.count, part->body.size, (int)part->codec);
		return false;
	}
	return true;
}

static void admit_append(struct shard *shard, struct append_request *request)
{
	struct store_request *base = &request->base;
	struct topic_state *state = catalog_peek_id(&shard->catalog, request->topic_id);
	struct draft *draft = &shard->draft;
	uint64_t bytes = 0, body_bytes = 0;

	if (state == NULL) {
		refuse(base, ANNALS_E_UNKNOWN_TOPIC, "there is no topic with id %u",
			request->topic_id);
		return;
	}
	for (size_t i = 0; i < request->part_count; i++) {
		const struct append_part *part = &request->parts[i];
		if (!check_part(base, state, part)) {
			return;
		}
		bytes += command_bytes(batch_stored_size(part->body.size, 0));
		body_bytes += part->body.size;
	}
	if (request->part_count == 0) {
		refuse(base, ANNALS_E_INVALID, "an append needs at least one batch");
		return;
	}
	if (body_bytes > shard->options.block_bytes_max) {
		refuse(base, ANNALS_E_TOO_LARGE, "an append has %llu bytes: the limit is %llu",
			(unsigned long long)body_bytes,
			(unsigned long long)shard->options.block_bytes_max);
		return;
	}
	if (shard->disk_is_low || (shard->tail_is_stuck && shard->settling_is_blocked)) {
		refuse(base, ANNALS_E_STORAGE_FULL,
			"the disk is full: nothing was stored; free some space");
		return;
	}
	if (!open_draft(shard, base, bytes)) {
		return;
	}
	for (size_t i = 0; i < request->part_count; i++) {
		if (!remember_touched(draft, state->partitions[request->parts[i].partition])) {
			refuse(base, ANNALS_E_NO_MEMORY, "no memory to admit an append");
			return;
		}
	}
	for (size_t i = 0; i < request->part_count; i++) {
		place_part(shard, state->id, state->partitions[request->parts[i].partition],
			&request->parts[i]);
	}
	if (request->durability == DURABILITY_DEFAULT) {
		request->durability = state->topic->config.durability;
	}
	if (request->durability != DURABILITY_OS) {
		request->durability = DURABILITY_FSYNC;
	}
	draft->any_os |= request->durability == DURABILITY_OS;
	request->recorded_us = draft->time_us;
	base->status = 0;
	shard->counters.append_requests++;
	shard->counters.appended_bytes += body_bytes;
	list_add_tail(&draft->requests, &base->node);
}

static bool check_offset_entry(
	struct shard *shard, struct store_request *base, const struct offset_entry *entry)
{
	struct topic_state *state = catalog_peek_id(&shard->catalog, entry->topic_id);
	uint64_t end;

	if (state == NULL) {
		refuse(base, ANNALS_E_UNKNOWN_TOPIC, "there is no topic with id %u",
			entry->topic_id);
		return false;
	}
	if (entry->partition >= state->partition_count) {
		refuse(base, ANNALS_E_UNKNOWN_PARTITION,
			"topic '%s' has no partition %u, only 0 to %u", state->topic->name,
			entry->partition, state->partition_count - 1);
		return false;
	}
	end = state->partitions[entry->partition]->end_offset;
	if (entry->offset > end) {
		refuse(base, ANNALS_E_OFFSET_BEYOND_END,
			"offset %llu of topic '%s' partition %u is beyond the end, %llu",
			(unsigned long long)entry->offset, state->topic->name, entry->partition,
			(unsigned long long)end);
		return false;
	}
	if (!utf8_is_valid(entry->metadata) ||
		(entry->metadata.size > 0 &&
			memchr(entry->metadata.data, 0, entry->metadata.size) != NULL)) {
		refuse(base, ANNALS_E_INVALID, "offset metadata is not text in UTF-8");
		return false;
	}
	if (entry->metadata.size > OFFSET_METADATA_MAX) {
		refuse(base, ANNALS_E_TOO_LARGE, "offset metadata has %zu bytes: the limit is %u",
			entry->metadata.size, OFFSET_METADATA_MAX);
		return false;
	}
	return true;
}

static void admit_offsets(struct shard *shard, struct offset_request *request)
{
	struct store_request *base = &request->base;
	struct bytes group = bytes_text(request->group);
	struct draft *draft = &shard->draft;
	struct buf record = BUF_INIT;
	uint64_t bytes = 0;
	uint8_t *room;
	size_t keep;

	if (group_name_check(group, NULL) != 0) {
		refuse(base, ANNALS_E_INVALID, "'%s' cannot be a group's name", request->group);
		return;
	}
	for (size_t i = 0; i < request->entry_count; i++) {
		if (!check_offset_entry(shard, base, &request->entries[i])) {
			return;
		}
		bytes += command_bytes(group.size + request->entries[i].metadata.size + 64);
	}
	if (request->entry_count == 0) {
		refuse(base, ANNALS_E_INVALID, "a commit needs at least one offset");
		return;
	}
	if (!open_draft(shard, base, bytes)) {
		return;
	}
	keep = draft->bytes.size;
	for (size_t i = 0; i < request->entry_count; i++) {
		request->entries[i].committed_us = draft->time_us;
		buf_reset(&record);
		if (offset_encode(group, &request->entries[i], &record) != 0 ||
			block_add(&draft->bytes, BLOCK_OFFSET_COMMIT, record.size, &room) != 0) {
			draft->bytes.size = keep;
			buf_release(&record);
			refuse(base, ANNALS_E_NO_MEMORY, "no memory to commit offsets");
			return;
		}
		memcpy(room, record.data, record.size);
	}
	draft->command_count += (uint32_t)request->entry_count;
	shard->counters.offset_commits += request->entry_count;
	buf_release(&record);
	base->status = 0;
	list_add_tail(&draft->requests, &base->node);
}

/* One command in a block of its own: commits what is there, then this. */
static void commit_alone(struct shard *shard, struct store_request *request,
	enum block_command type, struct bytes data)
{
	struct draft *draft = &shard->draft;
	uint8_t *room;

	writer_commit(shard);
	if (!open_draft(shard, request, command_bytes(data.size))) {
		return;
	}
	if (block_add(&draft->bytes, type, data.size, &room) != 0) {
		refuse(request, ANNALS_E_NO_MEMORY, "no memory for a command");
		return;
	}
	memcpy(room, data.data, data.size);
	draft->command_count++;
	request->status = 0;
	list_add_tail(&draft->requests, &request->node);
	writer_commit(shard);
}

static bool check_config(struct shard *shard, struct topic_request *request)
{
	const struct topic_config *config = &request->config;

	(void)shard;
	if (config->partitions == 0 || config->partitions > PARTITIONS_MAX) {
		refuse(&request->base, ANNALS_E_INVALID, "a topic has 1 to %u partitions, not %u",
			PARTITIONS_MAX, config->partitions);
		return false;
	}
	if (config->streams) {
		refuse(&request->base, ANNALS_E_UNSUPPORTED_OPERATION,
			"topics with streams are not supported yet");
		return false;
	}
	if (config->durability > DURABILITY_OS) {
		refuse(&request->base, ANNALS_E_INVALID, "durability %d is not known",
			(int)config->durability);
		return false;
	}
	return true;
}

static bool same_config(const struct topic_config *a, const struct topic_config *b)
{
	return a->partitions == b->partitions && a->retention_age_us == b->retention_age_us &&
	       a->retention_bytes == b->retention_bytes &&
	       a->retention_events == b->retention_events && a->durability == b->durability &&
	       a->streams == b->streams && a->event_bytes_max == b->event_bytes_max;
}

static void commit_topic(struct shard *shard, struct topic_request *request,
	enum block_command type, const struct topic *topic)
{
	struct buf record = BUF_INIT;

	if (topic_encode(topic, &record) != 0) {
		refuse(&request->base, ANNALS_E_NO_MEMORY, "no memory for a topic");
	} else {
		commit_alone(shard, &request->base, type, buf_bytes(&record));
	}
	buf_release(&record);
}

static void admit_topic_create(struct shard *shard, struct topic_request *request)
{
	struct topic_state *state = catalog_peek_name(&shard->catalog, bytes_text(request->name));
	struct topic topic = {.id = shard->catalog.next_topic_id, .config = request->config};

	if (topic_name_check(bytes_text(request->name), NULL) != 0) {
		refuse(&request->base, ANNALS_E_INVALID, "'%s' cannot be a topic's name",
			request->name);
		return;
	}
	if (!check_config(shard, request)) {
		return;
	}
	request->created = state == NULL;
	if (state != NULL) {
		if (!same_config(&state->topic->config, &request->config)) {
			refuse(&request->base, ANNALS_E_TOPIC_EXISTS,
				"topic '%s' exists with other settings", request->name);
			return;
		}
		request->topic = topic_ref(state->topic);
		request->base.status = 0;
		completion_push(&request->base);
		return;
	}
	if (shard->catalog.count >= shard->options.topics_max) {
		refuse(&request->base, ANNALS_E_LIMIT, "there are %zu topics: the limit is %u",
			shard->catalog.count, shard->options.topics_max);
		return;
	}
	uuid_new(topic.uuid);
	memcpy(topic.name, request->name, sizeof(topic.name));
	topic.created_us = clock_wall_us();
	commit_topic(shard, request, BLOCK_TOPIC_CREATE, &topic);
}

static void admit_topic_update(struct shard *shard, struct topic_request *request)
{
	struct topic_state *state = catalog_peek_name(&shard->catalog, bytes_text(request->name));
	struct topic topic;

	if (state == NULL) {
		refuse(&request->base, ANNALS_E_UNKNOWN_TOPIC, "there is no topic '%s'",
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
		refuse(&request->base, ANNALS_E_INVALID,
			"topic '%s' has %u partitions: they can be added, not removed",
			request->name, state->partition_count);
		return;
	}
	topic = *state->topic;
	topic.config = request->config;
	commit_topic(shard, request, BLOCK_TOPIC_UPDATE, &topic);
}

static void admit_topic_delete(struct shard *shard, struct topic_request *request)
{
	struct topic_state *state = catalog_peek_name(&shard->catalog, bytes_text(request->name));
	uint8_t data[8] = {0};

	if (state == NULL) {
		refuse(&request->base, ANNALS_E_UNKNOWN_TOPIC, "there is no topic '%s'",
			request->name);
		return;
	}
	store_u32(data, state->id);
	commit_alone(shard, &request->base, BLOCK_TOPIC_DELETE, bytes_of(data, sizeof(data)));
}

static void admit_trim(struct shard *shard, struct trim_request *request)
{
	struct topic_state *state = catalog_peek_id(&shard->catalog, request->topic_id);
	uint8_t data[16];

	if (state == NULL || request->partition >= state->partition_count) {
		refuse(&request->base,
			state == NULL ? ANNALS_E_UNKNOWN_TOPIC : ANNALS_E_UNKNOWN_PARTITION,
			"there is no partition %u of topic id %u", request->partition,
			request->topic_id);
		return;
	}
	/* What this commit would append is not published: the end must not be passed. */
	writer_commit(shard);
	if (request->first_offset > state->partitions[request->partition]->end_offset) {
		refuse(&request->base, ANNALS_E_OFFSET_BEYOND_END,
			"offset %llu is beyond the end, %llu",
			(unsigned long long)request->first_offset,
			(unsigned long long)state->partitions[request->partition]->end_offset);
		return;
	}
	store_u32(data, request->topic_id);
	store_u32(data + 4, request->partition);
	store_u64(data + 8, request->first_offset);
	commit_alone(shard, &request->base, BLOCK_TRIM, bytes_of(data, sizeof(data)));
}

static int collect_entry(void *arg, const struct offset_entry *entry)
{
	struct buf *data = arg;
	uint8_t pair[8];

	store_u32(pair, entry->topic_id);
	store_u32(pair + 4, entry->partition);
	return buf_add(data, pair, sizeof(pair));
}

static void admit_group_delete(struct shard *shard, struct offset_request *request)
{
	struct bytes group = bytes_text(request->group);
	struct buf data = BUF_INIT;
	uint8_t *room;
	int status;

	if (group_name_check(group, NULL) != 0) {
		refuse(&request->base, ANNALS_E_INVALID, "'%s' cannot be a group's name",
			request->group);
		return;
	}
	writer_commit(shard);
	status = buf_add_zeros(&data, 6 + group.size);
	if (status == 0) {
		status =
			group_offset_list(shard, group, collect_entry, &data, &request->base.error);
	}
	if (status != 0) {
		refuse(&request->base, status, "cannot list the offsets of group '%s'",
			request->group);
	} else {
		room = data.data;
		store_u16(room, (uint16_t)group.size);
		memcpy(room + 2, group.data, group.size);
		store_u32(room + 2 + group.size, (uint32_t)((data.size - 6 - group.size) / 8));
		commit_alone(shard, &request->base, BLOCK_GROUP_DELETE, buf_bytes(&data));
	}
	buf_release(&data);
}

void admit_request(struct shard *shard, struct store_request *request)
{
	switch (request->operation) {
	case STORE_APPEND:
		admit_append(shard, (struct append_request *)request);
		return;
	case STORE_OFFSET_COMMIT:
		admit_offsets(shard, (struct offset_request *)request);
		return;
	case STORE_TOPIC_CREATE:
		admit_topic_create(shard, (struct topic_request *)request);
		return;
	case STORE_TOPIC_UPDATE:
		admit_topic_update(shard, (struct topic_request *)request);
		return;
	case STORE_TOPIC_DELETE:
		admit_topic_delete(shard, (struct topic_request *)request);
		return;
	case STORE_GROUP_DELETE:
		admit_group_delete(shard, (struct offset_request *)request);
		return;
	case STORE_TRIM:
		admit_trim(shard, (struct trim_request *)request);
		return;
	case STORE_READ:
	case STORE_FIND_TIME:
	case STORE_WATCH:
	case STORE_OPERATIONS:
		break;
	}
	admit_refuse(request, ANNALS_E_INVALID, "this operation does not write");
}
