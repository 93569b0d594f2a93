#include "ops_internal.h"
#include "server.h"
#include <annals/parse.h>
#include <assert.h>
#include <stdlib.h>

#define ENTRIES_MAX 10000u
#define METADATA_BYTES_MAX 4096u

struct op_offset_commit *op_offset_commit_new(struct loop *loop, enum op_kind kind)
{
	assert(kind == OP_OFFSET_COMMIT || kind == OP_GROUP_DELETE);
	return op_new(loop, kind, sizeof(struct op_offset_commit));
}

static int grow_entries(struct op_offset_commit *commit)
{
	size_t capacity = commit->entry_capacity == 0 ? 8 : commit->entry_capacity * 2;
	struct offset_entry *entries;
	if (commit->request.entry_count >= ENTRIES_MAX) {
		return op_fail(&commit->op, ANNALS_E_LIMIT, "a commit holds at most %u offsets",
			ENTRIES_MAX);
	}
	entries = realloc(commit->request.entries, capacity * sizeof(*entries));
	if (entries == NULL) {
		return op_fail(&commit->op, ANNALS_E_NO_MEMORY, "out of memory");
	}
	commit->request.entries = entries;
	commit->entry_capacity = capacity;
	return 0;
}

static int check_metadata(struct op *op, struct bytes metadata)
{
	if (metadata.size > METADATA_BYTES_MAX) {
		op->detail.limit_name = "offset metadata";
		op->detail.limit = METADATA_BYTES_MAX;
		return op_fail(op, ANNALS_E_TOO_LARGE,
			"the metadata of an offset has %zu bytes, at most %u are allowed",
			metadata.size, METADATA_BYTES_MAX);
	}
	if (!utf8_is_valid(metadata)) {
		return op_fail(op, ANNALS_E_INVALID, "the metadata of an offset is not UTF-8");
	}
	return 0;
}

int op_offset_commit_add(struct op_offset_commit *commit, struct bytes topic, uint32_t partition,
	uint64_t offset, struct bytes metadata, uint32_t leader_epoch)
{
	struct op *op = &commit->op;
	struct offset_entry *entry;
	struct topic *found;
	uint32_t partitions;
	int status = check_metadata(op, metadata);
	if (status == 0 && commit->request.entry_count == commit->entry_capacity) {
		status = grow_entries(commit);
	}
	if (status != 0) {
		return status;
	}
	found = op_topic_find(op->loop, topic, 0, &op->error, &op->detail);
	if (found == NULL) {
		op->status = op->error.code;
		return op->status;
	}
	entry = &commit->request.entries[commit->request.entry_count];
	memset(entry, 0, sizeof(*entry));
	entry->topic_id = found->id;
	partitions = found->config.partitions;
	topic_unref(found);
	op->detail.has_partition = true;
	op->detail.partition = partition;
	if (partition >= partitions) {
		return op_fail(op, ANNALS_E_UNKNOWN_PARTITION,
			"topic '%s' has no partition %u, it has %u", op->detail.topic, partition,
			partitions);
	}
	entry->partition = partition;
	entry->offset = offset;
	entry->leader_epoch = leader_epoch;
	/* Only the size until start: the buffer may still move. */
	entry->metadata = bytes_of(NULL, metadata.size);
	if (buf_add(&commit->metadata, metadata.data, metadata.size) != 0) {
		return op_fail(op, ANNALS_E_NO_MEMORY, "out of memory");
	}
	commit->request.entry_count++;
	return 0;
}

int op_offset_commit_set_member(
	struct op_offset_commit *commit, struct bytes member, uint32_t generation)
{
	if (member.size > MEMBER_NAME_MAX ||
		(member.size > 0 && memchr(member.data, 0, member.size) != NULL)) {
		return op_fail(&commit->op, ANNALS_E_INVALID,
			"a member's name has at most %u bytes and no NUL", MEMBER_NAME_MAX);
	}
	if (member.size > 0) {
		memcpy(commit->member.member, member.data, member.size);
	}
	commit->member.member[member.size] = 0;
	commit->member.generation = generation;
	return 0;
}

/* By the thread that knows the members. */
static int submit_to_group(struct op_offset_commit *commit)
{
	struct op *op = &commit->op;
	struct delivery_request *request = &commit->member.delivery;
	request->operation = DELIVERY_COMMIT;
	memcpy(request->group, commit->request.group, sizeof(request->group));
	commit->member.commit = &commit->request;
	op_prepare(op, &request->base, STORE_OPERATIONS);
	return delivery_submit(op->loop->server->delivery, request, &op->error);
}

int op_offset_commit_start(struct op_offset_commit *commit, struct bytes group)
{
	struct op *op = &commit->op;
	size_t at = 0;
	const int mode = delivery_group_mode(op->loop->server->delivery, group);
	int status = group_name_check(group, &op->error);
	if (status == 0 && op->kind == OP_OFFSET_COMMIT && commit->request.entry_count == 0) {
		status = op_fail(op, ANNALS_E_INVALID, "the commit holds no offset");
	}
	if (status == 0 && op->kind == OP_OFFSET_COMMIT && mode == GROUP_BY_EVENT) {
		status = op_fail(op, ANNALS_E_GROUP_MODE,
			"the group '%.*s' delivers by event: it has no offsets to commit",
			(int)group.size, (const char *)group.data);
	}
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	for (size_t i = 0; i < commit->request.entry_count; i++) {
		struct offset_entry *entry = &commit->request.entries[i];
		entry->metadata.data = commit->metadata.data + at;
		at += entry->metadata.size;
	}
	memcpy(commit->request.group, group.data, group.size);
	commit->request.group[group.size] = 0;
	if (op->kind == OP_OFFSET_COMMIT &&
		(mode == GROUP_BY_OFFSET || commit->member.member[0] != 0)) {
		status = submit_to_group(commit);
	} else {
		op_prepare(op, &commit->request.base,
			op->kind == OP_GROUP_DELETE ? STORE_GROUP_DELETE : STORE_OFFSET_COMMIT);
		status = store_submit(op->loop->store, &commit->request.base, &op->error);
	}
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	op->outstanding++;
	return op_pending(op);
}

static void commit_returned(struct op *op, struct store_request *request)
{
	op_complete(op, op_take_error(op, request));
}

static void commit_clear(struct op *op)
{
	struct op_offset_commit *commit = (struct op_offset_commit *)op;
	free(commit->request.entries);
	buf_release(&commit->metadata);
}

const struct op_class op_class_offset_commit = {
	.name = "offset-commit",
	.size_bytes = sizeof(struct op_offset_commit),
	.returned = commit_returned,
	.clear = commit_clear,
};
const struct op_class op_class_group_delete = {
	.name = "group-delete",
	.size_bytes = sizeof(struct op_offset_commit),
	.returned = commit_returned,
	.clear = commit_clear,
};

/* ---- Fetch ---- */

struct fetch {
	struct loop *loop;
	struct topic *only;  /* NULL: all */
	struct topic *topic; /* of the last entry: entries come in topic order */
	int (*fn)(void *arg, const struct op_offset *offset);
	void *arg;
};

static int fetch_entry(void *arg, const struct offset_entry *entry)
{
	struct fetch *fetch = arg;
	struct partition_info info;
	struct op_offset offset;
	if (fetch->only != NULL && fetch->only->id != entry->topic_id) {
		return 0;
	}
	if (fetch->topic == NULL || fetch->topic->id != entry->topic_id) {
		topic_unref(fetch->topic);
		fetch->topic = store_topic_find_id(fetch->loop->store, entry->topic_id);
	}
	if (fetch->topic == NULL || store_partition_info(fetch->loop->store, entry->topic_id,
					    entry->partition, &info) != 0) {
		return 0; /* deleted meanwhile */
	}
	offset = (struct op_offset){
		.topic = fetch->topic,
		.partition = entry->partition,
		.leader_epoch = entry->leader_epoch,
		.offset = entry->offset,
		.committed_us = entry->committed_us,
		.first_offset = info.first_offset,
		.end_offset = info.end_offset,
		.metadata = entry->metadata,
	};
	return fetch->fn(fetch->arg, &offset);
}

int op_offset_fetch(struct loop *loop, struct bytes group, struct bytes topic,
	int (*fn)(void *arg, const struct op_offset *offset), void *arg, struct error *err)
{
	struct fetch fetch = {.loop = loop, .fn = fn, .arg = arg};
	struct error local = {0};
	int status = group_name_check(group, err);
	if (status != 0) {
		return status;
	}
	if (topic.size > 0) {
		fetch.only = op_topic_find(loop, topic, 0, &local, NULL);
		if (fetch.only == NULL) {
			return error_fail(err, local.code, "%s", local.text);
		}
	}
	counter_add(&loop->counters.operations[OP_OFFSET_FETCH], 1);
	status = store_offset_list(loop->store, group, fetch_entry, &fetch, err);
	topic_unref(fetch.topic);
	topic_unref(fetch.only);
	return status;
}
