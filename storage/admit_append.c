/* Admission of appends. */
#include "admit.h"

#include <stdlib.h>

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

	/* admit_open_draft() reserved the bytes. */
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
		admit_refusef(base, ANNALS_E_UNKNOWN_PARTITION,
			"topic '%s' has no partition %u, only 0 to %u", state->topic->name,
			part->partition, state->partition_count - 1);
		return false;
	}
	if (part->body.size == 0 || part->body.size > BATCH_BODY_BYTES_MAX ||
		part->summary.count == 0 || part->summary.plain_bytes > BATCH_BODY_BYTES_MAX ||
		(unsigned)part->codec >= BATCH_CODECS) {
		admit_refusef(base, ANNALS_E_INVALID,
			"a batch of %u events in %zu bytes with codec %d was not checked",
			part->summary.count, part->body.size, (int)part->codec);
		return false;
	}
	return true;
}

void admit_append(struct shard *shard, struct append_request *request)
{
	struct store_request *base = &request->base;
	struct topic_state *state = catalog_peek_id(&shard->catalog, request->topic_id);
	struct draft *draft = &shard->draft;
	uint64_t bytes = 0, body_bytes = 0;

	if (state == NULL) {
		admit_refusef(base, ANNALS_E_UNKNOWN_TOPIC, "there is no topic with id %u",
			request->topic_id);
		return;
	}
	for (size_t i = 0; i < request->part_count; i++) {
		const struct append_part *part = &request->parts[i];
		if (!check_part(base, state, part)) {
			return;
		}
		bytes += admit_command_bytes(batch_stored_size(part->body.size, 0));
		body_bytes += part->body.size;
	}
	if (request->part_count == 0) {
		admit_refusef(base, ANNALS_E_INVALID, "an append needs at least one batch");
		return;
	}
	if (body_bytes > shard->options.block_bytes_max) {
		admit_refusef(base, ANNALS_E_TOO_LARGE,
			"an append has %llu bytes: the limit is %llu",
			(unsigned long long)body_bytes,
			(unsigned long long)shard->options.block_bytes_max);
		return;
	}
	if (shard->disk_is_low || (shard->tail_is_stuck && shard->settling_is_blocked)) {
		admit_refusef(base, ANNALS_E_STORAGE_FULL,
			"the disk is full: nothing was stored; free some space");
		return;
	}
	if (!admit_open_draft(shard, base, bytes)) {
		return;
	}
	for (size_t i = 0; i < request->part_count; i++) {
		if (!remember_touched(draft, state->partitions[request->parts[i].partition])) {
			admit_refusef(base, ANNALS_E_NO_MEMORY, "no memory to admit an append");
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
