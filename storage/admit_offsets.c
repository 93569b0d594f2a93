/* Admission of committed offsets, and of deleting a group's. */
#include "admit.h"
#include <annals/fault.h>

#include <annals/parse.h>

#define OFFSET_METADATA_MAX 4096u

static bool check_offset_entry(
	struct shard *shard, struct store_request *base, const struct offset_entry *entry)
{
	struct topic_state *state = catalog_peek_id(&shard->catalog, entry->topic_id);
	uint64_t end;

	if (state == NULL) {
		admit_refusef(base, ANNALS_E_UNKNOWN_TOPIC, "there is no topic with id %u",
			entry->topic_id);
		return false;
	}
	if (entry->partition >= state->partition_count) {
		admit_refusef(base, ANNALS_E_UNKNOWN_PARTITION,
			"topic '%s' has no partition %u, only 0 to %u", state->topic->name,
			entry->partition, state->partition_count - 1);
		return false;
	}
	end = state->partitions[entry->partition]->end_offset;
	if (entry->offset > end) {
		admit_refusef(base, ANNALS_E_OFFSET_BEYOND_END,
			"offset %llu of topic '%s' partition %u is beyond the end, %llu",
			(unsigned long long)entry->offset, state->topic->name, entry->partition,
			(unsigned long long)end);
		return false;
	}
	if (!utf8_is_valid(entry->metadata) ||
		(entry->metadata.size > 0 &&
			memchr(entry->metadata.data, 0, entry->metadata.size) != NULL)) {
		admit_refusef(base, ANNALS_E_INVALID, "offset metadata is not text in UTF-8");
		return false;
	}
	if (entry->metadata.size > OFFSET_METADATA_MAX) {
		admit_refusef(base, ANNALS_E_TOO_LARGE,
			"offset metadata has %zu bytes: the limit is %u", entry->metadata.size,
			OFFSET_METADATA_MAX);
		return false;
	}
	return true;
}

void admit_offsets(struct shard *shard, struct offset_request *request)
{
	struct store_request *base = &request->base;
	struct bytes group = bytes_text(request->group);
	struct draft *draft = &shard->draft;
	struct buf record = BUF_INIT;
	uint64_t bytes = 0;
	uint8_t *room;
	size_t keep;

	if (group_name_check(group, NULL) != 0) {
		admit_refusef(
			base, ANNALS_E_INVALID, "'%s' cannot be a group's name", request->group);
		return;
	}
	for (size_t i = 0; i < request->entry_count; i++) {
		if (!check_offset_entry(shard, base, &request->entries[i])) {
			return;
		}
		bytes += admit_command_bytes(group.size + request->entries[i].metadata.size + 64);
	}
	if (request->entry_count == 0) {
		admit_refusef(base, ANNALS_E_INVALID, "a commit needs at least one offset");
		return;
	}
	if (!admit_open_draft(shard, base, bytes)) {
		return;
	}
	keep = draft->bytes.size;
	for (size_t i = 0; i < request->entry_count; i++) {
		request->entries[i].committed_us = draft->time_us;
		buf_reset(&record);
		if (ANNALS_MUTATION("commit_other_offsets")) {
			request->entries[i].offset /= 2;
		}
		if (offset_encode(group, &request->entries[i], &record) != 0 ||
			block_add(&draft->bytes, BLOCK_OFFSET_COMMIT, record.size, &room) != 0) {
			draft->bytes.size = keep;
			buf_release(&record);
			admit_refusef(base, ANNALS_E_NO_MEMORY, "no memory to commit offsets");
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

static int collect_entry(void *arg, const struct offset_entry *entry)
{
	struct buf *data = arg;
	uint8_t pair[8];

	store_u32(pair, entry->topic_id);
	store_u32(pair + 4, entry->partition);
	return buf_add(data, pair, sizeof(pair));
}

void admit_group_delete(struct shard *shard, struct offset_request *request)
{
	struct bytes group = bytes_text(request->group);
	struct buf data = BUF_INIT;
	uint8_t *room;
	int status;

	if (group_name_check(group, NULL) != 0) {
		admit_refusef(&request->base, ANNALS_E_INVALID, "'%s' cannot be a group's name",
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
		admit_refusef(&request->base, status, "cannot list the offsets of group '%s'",
			request->group);
	} else {
		room = data.data;
		store_u16(room, (uint16_t)group.size);
		memcpy(room + 2, group.data, group.size);
		store_u32(room + 2 + group.size, (uint32_t)((data.size - 6 - group.size) / 8));
		admit_alone(shard, &request->base, BLOCK_GROUP_DELETE, buf_bytes(&data));
	}
	buf_release(&data);
}
