/*
 * The journal, block by block, over what LMDB holds: the same walk as recovery, with every check
 * that recovery does not need.
 */
#include "verify.h"

#include <stdio.h>

struct replay {
	struct verify *verify;
	uint64_t number;
	uint64_t time_us, next_position;
};

static bool rows_are_settled(const struct replay *replay)
{
	return replay->number <= replay->verify->meta.settled_block;
}

static struct verify_partition *find_partition(struct replay *replay, uint32_t topic_id,
	uint32_t index, const char *what, struct verify_topic **ret_topic)
{
	struct verify_topic *topic = verify_find_topic(replay->verify, topic_id);

	*ret_topic = topic;
	if (topic != NULL && !topic->deleted && index < topic->partition_count) {
		return &topic->partitions[index];
	}
	if (!rows_are_settled(replay)) {
		verify_problem(replay->verify,
			"journal block %llu: %s for topic id %u partition %u, which does not exist",
			(unsigned long long)replay->number, what, topic_id, index);
	}
	return NULL;
}

static int on_append(void *arg, const struct batch *batch, size_t at, struct error *err)
{
	struct replay *replay = arg;
	struct verify *verify = replay->verify;
	const struct stamp *stamp = &batch->stamp;
	struct verify_topic *topic;
	struct verify_partition *partition;
	uint64_t end = stamp->base_offset + stamp->count;
	struct batch checked;
	char where[64];

	(void)at;
	(void)err;
	(void)snprintf(
		where, sizeof(where), "journal block %llu", (unsigned long long)replay->number);
	(void)verify_batch(
		verify, batch->stored, stamp->topic_id, stamp->partition, where, &checked);
	if (stamp->base_position < replay->next_position) {
		verify_problem(verify, "%s: position %llu was given out before", where,
			(unsigned long long)stamp->base_position);
	}
	replay->next_position = stamp->base_position + stamp->count;
	partition = find_partition(replay, stamp->topic_id, stamp->partition, "a batch", &topic);
	if (partition == NULL || end <= partition->row.settled_end) {
		return 0;
	}
	verify_index_batch(verify, partition, batch);
	verify->report->batches++;
	verify->report->events += stamp->count;
	if (stamp->base_offset != partition->end_offset && !partition->gap_is_reported &&
		!partition->row_is_damaged) {
		partition->gap_is_reported = true;
		verify_problem(verify,
			"%s: topic '%s' partition %u goes on at offset %llu, but ends at %llu "
			"before "
			"it",
			where, topic->topic->name, stamp->partition,
			(unsigned long long)stamp->base_offset,
			(unsigned long long)partition->end_offset);
	}
	partition->end_offset = end;
	return 0;
}

static int on_topic(
	void *arg, bool created, struct topic *topic, struct bytes encoded, struct error *err)
{
	struct replay *replay = arg;
	struct verify *verify = replay->verify;
	struct verify_topic *existing = verify_find_topic(verify, topic->id);
	int status;

	(void)encoded;
	if (rows_are_settled(replay)) {
		topic_unref(topic);
		return 0;
	}
	if (created == (existing != NULL)) {
		verify_problem(verify, "journal block %llu: topic '%s' %s",
			(unsigned long long)replay->number, topic->name,
			created ? "is created with an id that is used already"
				: "is changed, but does not exist");
		topic_unref(topic);
		return 0;
	}
	if (created) {
		return verify_add_topic(verify, topic, err);
	}
	status = verify_grow_topic(existing, topic->config.partitions, err);
	if (status == 0) {
		topic_unref(existing->topic);
		existing->topic = topic;
	}
	return status;
}

static int on_topic_delete(void *arg, uint32_t topic_id, struct error *err)
{
	struct replay *replay = arg;
	struct verify_topic *topic = verify_find_topic(replay->verify, topic_id);

	(void)err;
	if (rows_are_settled(replay)) {
		return 0;
	}
	if (topic == NULL || topic->deleted) {
		verify_problem(replay->verify,
			"journal block %llu: topic id %u is deleted, but does not exist",
			(unsigned long long)replay->number, topic_id);
	} else {
		topic->deleted = true;
	}
	return 0;
}

static int on_offset(void *arg, const struct offset_row *row, struct error *err)
{
	struct replay *replay = arg;
	struct verify_topic *topic;
	struct verify_partition *partition;
	struct offset_entry entry;

	(void)err;
	if (offset_decode(row->encoded, &entry, NULL) != 0) {
		verify_problem(replay->verify, "journal block %llu: an offset cannot be read",
			(unsigned long long)replay->number);
		return 0;
	}
	partition = find_partition(replay, row->topic_id, row->partition, "an offset", &topic);
	if (partition != NULL && entry.offset > partition->end_offset) {
		verify_problem(replay->verify,
			"journal block %llu: group '%.*s' commits offset %llu of topic '%s' "
			"partition %u, which ends at %llu",
			(unsigned long long)replay->number, (int)row->group.size,
			(const char *)row->group.data, (unsigned long long)entry.offset,
			topic->topic->name, row->partition,
			(unsigned long long)partition->end_offset);
	}
	return 0;
}

static int on_offset_delete(
	void *arg, struct bytes group, uint32_t topic_id, uint32_t partition, struct error *err)
{
	(void)arg;
	(void)group;
	(void)topic_id;
	(void)partition;
	(void)err;
	return 0; /* deleting what is not there is fine */
}

static int on_trim(void *arg, uint32_t topic_id, uint32_t index, uint64_t first_offset,
	uint64_t position, struct error *err)
{
	struct replay *replay = arg;
	struct verify_topic *topic;
	struct verify_partition *partition =
		find_partition(replay, topic_id, index, "a trim", &topic);

	(void)position;
	(void)err;
	if (partition == NULL) {
		return 0;
	}
	if (first_offset > partition->end_offset && !partition->row_is_damaged) {
		verify_problem(replay->verify,
			"journal block %llu: topic '%s' partition %u is trimmed to offset %llu, "
			"but "
			"ends at %llu",
			(unsigned long long)replay->number, topic->topic->name, index,
			(unsigned long long)first_offset,
			(unsigned long long)partition->end_offset);
	}
	partition->first_offset = ANNALS_MAX(partition->first_offset, first_offset);
	return 0;
}

static int on_row(void *arg, struct bytes key, struct bytes value, struct error *err)
{
	(void)arg;
	(void)key;
	(void)value;
	(void)err;
	return 0; /* what a row means is its owner's */
}

static int check_block(struct replay *replay, struct bytes block, struct error *err)
{
	struct apply_sink sink = {
		.arg = replay,
		.append = on_append,
		.topic = on_topic,
		.topic_delete = on_topic_delete,
		.offset = on_offset,
		.offset_delete = on_offset_delete,
		.trim = on_trim,
		.row = on_row,
	};
	struct block_header header;
	struct error error = {0};
	size_t cursor = BLOCK_HEADER_BYTES;
	struct bytes data;
	uint16_t type;
	uint32_t commands = 0;
	int status = block_view(block, &header, &error);

	if (status == 0) {
		while (block_next(block, &cursor, &type, &data) == 1) {
			commands++;
		}
		if (commands != header.command_count) {
			verify_problem(replay->verify,
				"journal block %llu holds %u commands, its header says %u",
				(unsigned long long)replay->number, commands, header.command_count);
		}
		if (header.time_us < replay->time_us) {
			verify_problem(replay->verify,
				"journal block %llu was recorded before the block before it",
				(unsigned long long)replay->number);
		}
		replay->time_us = header.time_us;
		status = apply_block(block, &sink, &error);
	}
	if (status == ANNALS_E_CORRUPT_DATA || status == ANNALS_E_MALFORMED) {
		verify_problem(replay->verify, "journal block %llu: %s",
			(unsigned long long)replay->number, error.text);
		return 0;
	}
	if (status != 0 && err != NULL) {
		*err = error;
	}
	return status;
}

static void check_ends(struct verify *verify)
{
	for (size_t i = 0; i < verify->topic_count; i++) {
		const struct verify_topic *topic = &verify->topics[i];
		for (uint32_t p = 0; p < topic->partition_count && !topic->deleted; p++) {
			const struct verify_partition *partition = &topic->partitions[p];
			if (partition->first_offset > partition->end_offset &&
				!partition->row_is_damaged) {
				verify_problem(verify,
					"topic '%s' partition %u begins at offset %llu and ends at "
					"%llu",
					topic->topic->name, p,
					(unsigned long long)partition->first_offset,
					(unsigned long long)partition->end_offset);
			}
		}
	}
}

int verify_journal(struct verify *verify, struct error *err)
{
	struct replay replay = {.verify = verify};
	struct buf block = BUF_INIT;
	uint64_t from = 1;
	int status = 0;

	while (status == 0) {
		struct error error = {0};
		uint64_t number = 0;
		enum journal_result result =
			journal_read_block(verify->journal, from, &block, &number, &error);
		if (result == JOURNAL_CORRUPT) {
			verify_problem(verify, "%s", error.text);
			break;
		}
		if (result != JOURNAL_OK) {
			if (err != NULL) {
				*err = error;
			}
			status = error.code;
			break;
		}
		if (number == 0) {
			break;
		}
		replay.number = number;
		status = check_block(&replay, buf_bytes(&block), err);
		verify->report->journal_blocks++;
		verify_progress(verify, block.size);
		from = number + 1;
	}
	buf_release(&block);
	if (status == 0) {
		check_ends(verify);
	}
	return status;
}
