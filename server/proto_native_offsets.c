#include "proto_native.h"
#include "server.h"
#include <stdlib.h>

/* ---- Commit ---- */

static void commit_done(struct op *op)
{
	struct native_request *request = op->arg;
	Annals__V1__OffsetCommitResponse response;
	request->op = NULL;
	if (op->status != 0) {
		native_fail_op(request, op);
		return;
	}
	annals__v1__offset_commit_response__init(&response);
	native_answer_message(request, &response.base);
	op_release(op);
}

void native_offset_commit(struct native_request *request, const struct frame *frame)
{
	Annals__V1__OffsetCommitRequest *message =
		native_unpack(request, frame, &annals__v1__offset_commit_request__descriptor);
	struct op_offset_commit *commit;
	if (message == NULL) {
		return;
	}
	commit = op_offset_commit_new(request->base.conn->loop, OP_OFFSET_COMMIT);
	if (commit == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		return;
	}
	if (op_offset_commit_set_member(commit, bytes_text(message->member), message->generation) !=
		0) {
		native_fail_op(request, &commit->op);
		return;
	}
	for (size_t i = 0; i < message->n_offset; i++) {
		const Annals__V1__OffsetEntry *entry = message->offset[i];
		if (op_offset_commit_add(commit, bytes_text(entry->topic), entry->partition,
			    entry->offset, bytes_text(entry->metadata), entry->leader_epoch) != 0) {
			native_fail_op(request, &commit->op);
			return;
		}
	}
	commit->op.arg = request;
	commit->op.done = commit_done;
	request->op = &commit->op;
	if (op_offset_commit_start(commit, bytes_text(message->group)) == OP_DONE) {
		commit_done(&commit->op);
	}
}

/* ---- Fetch and list: the answer is built in the arena ---- */

/* A growing array of pointers in an arena. */
struct pointers {
	struct unpack_arena *arena;
	void **items;
	size_t count, capacity;
};

static int add_pointer(struct pointers *pointers, void *item)
{
	if (pointers->count == pointers->capacity) {
		size_t capacity = ANNALS_MAX(pointers->capacity * 2, (size_t)16);
		void **items = unpack_arena_alloc(pointers->arena, capacity * sizeof(*items));
		if (items == NULL) {
			return ANNALS_E_TOO_LARGE;
		}
		if (pointers->count > 0) {
			memcpy(items, pointers->items, pointers->count * sizeof(*items));
		}
		pointers->items = items;
		pointers->capacity = capacity;
	}
	pointers->items[pointers->count++] = item;
	return 0;
}

static char *arena_text(struct unpack_arena *arena, struct bytes text)
{
	char *copy = unpack_arena_alloc(arena, text.size + 1);
	if (copy != NULL) {
		if (text.size > 0) {
			memcpy(copy, text.data, text.size);
		}
		copy[text.size] = 0;
	}
	return copy;
}

static int add_offset(void *arg, const struct op_offset *offset)
{
	struct pointers *pointers = arg;
	Annals__V1__OffsetEntry *entry = unpack_arena_alloc(pointers->arena, sizeof(*entry));
	if (entry == NULL) {
		return ANNALS_E_TOO_LARGE;
	}
	annals__v1__offset_entry__init(entry);
	entry->topic = arena_text(pointers->arena, bytes_text(offset->topic->name));
	entry->metadata = arena_text(pointers->arena, offset->metadata);
	entry->partition = offset->partition;
	entry->offset = offset->offset;
	entry->leader_epoch = offset->leader_epoch;
	entry->committed_us = offset->committed_us;
	entry->first_offset = offset->first_offset;
	entry->end_offset = offset->end_offset;
	if (entry->topic == NULL || entry->metadata == NULL) {
		return ANNALS_E_TOO_LARGE;
	}
	return add_pointer(pointers, entry);
}

void native_offset_fetch(struct native_request *request, const struct frame *frame)
{
	struct loop *loop = request->base.conn->loop;
	Annals__V1__OffsetFetchRequest *message =
		native_unpack(request, frame, &annals__v1__offset_fetch_request__descriptor);
	Annals__V1__OffsetFetchResponse response;
	struct pointers pointers = {.arena = &loop->arena};
	struct error err = {0};
	int status;
	if (message == NULL) {
		return;
	}
	status = op_offset_fetch(loop, bytes_text(message->group), bytes_text(message->topic),
		add_offset, &pointers, &err);
	if (status != 0) {
		native_fail(request, status,
			err.text[0] != 0 ? err.text : annals_status_text(status), NULL);
		return;
	}
	annals__v1__offset_fetch_response__init(&response);
	response.n_offset = pointers.count;
	response.offset = (Annals__V1__OffsetEntry **)pointers.items;
	native_answer_message(request, &response.base);
}

struct group_names {
	struct pointers pointers;
	struct delivery *delivery;
};

static int add_name(struct group_names *names, struct bytes group)
{
	char *text = arena_text(names->pointers.arena, group);
	return text == NULL ? ANNALS_E_TOO_LARGE : add_pointer(&names->pointers, text);
}

static int add_group(void *arg, struct bytes group)
{
	struct group_names *names = arg;
	return delivery_group_mode(names->delivery, group) == 0 ? add_name(names, group) : 0;
}

static int add_kept_group(void *arg, const struct group_info *info)
{
	return add_name(arg, bytes_text(info->name));
}

void native_group_list(struct native_request *request, const struct frame *frame)
{
	struct loop *loop = request->base.conn->loop;
	Annals__V1__GroupListResponse response;
	struct group_names names = {{.arena = &loop->arena}, loop->server->delivery};
	struct error err = {0};
	int status;
	if (native_unpack(request, frame, &annals__v1__group_list_request__descriptor) == NULL) {
		return;
	}
	status = store_group_list(loop->store, add_group, &names, &err);
	status = status != 0 ? status : delivery_stats(names.delivery, add_kept_group, &names);
	if (status != 0) {
		native_fail(request, status,
			err.text[0] != 0 ? err.text : annals_status_text(status), NULL);
		return;
	}
	counter_add(&loop->counters.operations[OP_GROUP_LIST], 1);
	annals__v1__group_list_response__init(&response);
	response.n_group = names.pointers.count;
	response.group = (char **)names.pointers.items;
	native_answer_message(request, &response.base);
}
