/* Consumer groups that the server keeps, in the binary protocol. */
#include "proto_native_groups.h"
#include <annals/varint.h>
#include <stdlib.h>

struct loop *native_loop(struct native_request *request)
{
	return request->base.conn->loop;
}

/* ---- Starting ---- */

struct op_delivery *native_group_begin(struct native_request *request,
	enum delivery_operation operation, void (*done)(struct op *op))
{
	struct op_delivery *op = op_delivery_new(native_loop(request), operation);

	if (op == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		return NULL;
	}
	op->op.arg = request;
	op->op.done = done;
	return op;
}

void native_group_start(struct native_request *request, struct op_delivery *op, const char *group)
{
	request->op = &op->op;
	if (op_delivery_start(op, bytes_text(group)) == OP_DONE) {
		op->op.done(&op->op);
	}
}

void native_group_give_up(
	struct native_request *request, struct op_delivery *op, int status, const char *text)
{
	op_release(&op->op);
	native_fail(request, status, text, NULL);
}

int native_group_topic(
	struct native_request *request, const char *name, uint32_t *ret, struct error *err)
{
	struct topic *topic = op_topic_find(native_loop(request), bytes_text(name), 0, err, NULL);

	if (topic == NULL) {
		return err->code;
	}
	*ret = topic->id;
	topic_unref(topic);
	return 0;
}

int native_group_copy(const char *from, char *ret, size_t size, struct error *err)
{
	size_t length = strlen(from);

	if (length >= size) {
		return error_fail(
			err, ANNALS_E_INVALID, "a member's name has at most %zu bytes", size - 1);
	}
	memcpy(ret, from, length + 1);
	return 0;
}

/* ---- Answers ---- */

bool native_group_failed(struct native_request *request, struct op *op)
{
	request->op = NULL;
	if (op->status == 0) {
		return false;
	}
	native_fail_op(request, op);
	return true;
}

void native_group_answer(struct native_request *request, struct op *op,
	const ProtobufCMessage *message, struct buf *data)
{
	if (pack_message(message, native_reply(request)) != 0) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
	}
	native_answer(request, data);
	op_release(op);
}

void native_group_no_memory(struct native_request *request, struct op *op)
{
	op_fail(op, ANNALS_E_NO_MEMORY, "no memory for an answer");
	native_fail_op(request, op);
}

int topic_names_init(struct topic_names *names, struct native_request *request)
{
	names->arena = &native_loop(request)->arena;
	names->store = native_loop(request)->store;
	names->count = 0;
	names->list = unpack_arena_alloc(names->arena, GROUP_TOPICS_MAX * sizeof(*names->list));
	return names->list == NULL ? ANNALS_E_NO_MEMORY : 0;
}

int topic_names_add(struct topic_names *names, uint32_t id)
{
	Annals__V1__GroupTopic *topic;
	struct topic *found;
	char *name;

	for (size_t i = names->count; i > 0; i--) {
		if (names->list[i - 1]->id == id) {
			return 0;
		}
	}
	if (names->count == GROUP_TOPICS_MAX) {
		return 0;
	}
	found = store_topic_find_id(names->store, id);
	topic = unpack_arena_alloc(names->arena, sizeof(*topic));
	name = unpack_arena_alloc(names->arena, TOPIC_NAME_MAX + 1);
	if (topic == NULL || name == NULL) {
		topic_unref(found);
		return ANNALS_E_NO_MEMORY;
	}
	annals__v1__group_topic__init(topic);
	memcpy(name, found == NULL ? "" : found->name, found == NULL ? 1 : sizeof(found->name));
	topic_unref(found);
	topic->id = id;
	topic->name = name;
	names->list[names->count++] = topic;
	return 0;
}

static int add_to_batch(struct buf *data, struct bytes encoded)
{
	uint8_t head[1 + VARINT_BYTES_MAX] = {0x0a};
	int status = buf_add(data, head, 1 + varint_put(head + 1, encoded.size));

	return status != 0 ? status : buf_add(data, encoded.data, encoded.size);
}

/* ---- Settings ---- */

static void put_done(struct op *op)
{
	struct native_request *request = op->arg;
	Annals__V1__GroupPutResponse response;

	if (!native_group_failed(request, op)) {
		annals__v1__group_put_response__init(&response);
		response.created = ((struct op_delivery *)op)->request.put.created;
		native_group_answer(request, op, &response.base, NULL);
	}
}

static void read_settings(const Annals__V1__GroupPutRequest *message, struct group_config *config)
{
	group_config_init(config, (enum group_mode)message->mode);
	config->lease_us = message->lease_us != 0 ? message->lease_us : config->lease_us;
	config->attempts_max = message->attempts_unlimited  ? 0
			       : message->attempts_max != 0 ? message->attempts_max
							    : config->attempts_max;
	if (message->backoff_none) {
		config->backoff_first_us = config->backoff_max_us = 0;
	}
	if (message->backoff_first_us != 0) {
		config->backoff_first_us = message->backoff_first_us;
		config->backoff_max_us =
			ANNALS_MAX(config->backoff_max_us, config->backoff_first_us);
	}
	config->backoff_max_us =
		message->backoff_max_us != 0 ? message->backoff_max_us : config->backoff_max_us;
	config->parked_pass = message->parked_pass;
	config->parked_bytes_max = message->parked_bytes_max != 0 ? message->parked_bytes_max
								  : config->parked_bytes_max;
	config->session_us = message->session_us != 0 ? message->session_us : config->session_us;
}

void native_group_put(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupPutRequest *message =
		native_unpack(request, frame, &annals__v1__group_put_request__descriptor);
	struct op_delivery *op;
	struct group_put_request *put;
	struct error err = {0};
	int status = 0;

	if (message == NULL) {
		return;
	}
	op = native_group_begin(request, DELIVERY_GROUP_PUT, put_done);
	if (op == NULL) {
		return;
	}
	put = &op->request.put;
	read_settings(message, &put->config);
	put->start = message->from_latest ? GROUP_START_LATEST : GROUP_START_EARLIEST;
	if (message->n_topic > GROUP_TOPICS_MAX) {
		native_group_give_up(request, op, ANNALS_E_LIMIT, "a group has at most 64 topics");
		return;
	}
	for (size_t i = 0; i < message->n_topic && status == 0; i++) {
		status = native_group_topic(
			request, message->topic[i], &put->config.topic_ids[i], &err);
	}
	put->config.topic_count = (uint32_t)message->n_topic;
	if (status != 0) {
		native_group_give_up(request, op, status, err.text);
	} else {
		native_group_start(request, op, message->group);
	}
}

static void delete_done(struct op *op)
{
	struct native_request *request = op->arg;
	Annals__V1__GroupDeleteResponse response;

	if (!native_group_failed(request, op)) {
		annals__v1__group_delete_response__init(&response);
		native_group_answer(request, op, &response.base, NULL);
	}
}

void native_group_delete(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupDeleteRequest *message =
		native_unpack(request, frame, &annals__v1__group_delete_request__descriptor);
	struct op_delivery *op =
		message == NULL ? NULL
				: native_group_begin(request, DELIVERY_GROUP_DELETE, delete_done);

	if (op != NULL) {
		native_group_start(request, op, message->group);
	}
}

static int fill_partitions(struct native_request *request,
	const struct group_describe_request *describe, Annals__V1__GroupDescribeResponse *response)
{
	struct unpack_arena *arena = &native_loop(request)->arena;
	size_t count = describe->partition_count;
	Annals__V1__GroupPartition *partitions =
		unpack_arena_alloc(arena, (count + 1) * sizeof(*partitions));

	response->partition = unpack_arena_alloc(arena, (count + 1) * sizeof(*response->partition));
	if (partitions == NULL || response->partition == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < count; i++) {
		const struct group_partition_info *info = &describe->partitions[i];
		Annals__V1__GroupPartition *to = &partitions[i];
		annals__v1__group_partition__init(to);
		to->topic_id = info->topic_id;
		to->partition = info->partition;
		to->floor = info->floor;
		to->cursor = info->cursor;
		to->end_offset = info->end;
		to->lag = info->lag;
		to->in_flight = info->leased;
		to->delayed = info->delayed;
		to->waiting = info->waiting;
		to->parked = info->parked;
		to->expired = info->gone;
		response->partition[i] = to;
	}
	response->n_partition = count;
	return 0;
}

static void describe_done(struct op *op)
{
	struct native_request *request = op->arg;
	const struct group_describe_request *describe =
		&((struct op_delivery *)op)->request.describe;
	Annals__V1__GroupDescribeResponse response;
	const struct group_info *info;
	struct topic_names names;
	int status;

	if (native_group_failed(request, op)) {
		return;
	}
	unpack_arena_reset(&native_loop(request)->arena);
	annals__v1__group_describe_response__init(&response);
	info = &describe->groups[0];
	status = topic_names_init(&names, request);
	for (uint32_t i = 0; i < info->config.topic_count && status == 0; i++) {
		status = topic_names_add(&names, info->config.topic_ids[i]);
	}
	status = status != 0 ? status : fill_partitions(request, describe, &response);
	if (status != 0) {
		native_group_no_memory(request, op);
		return;
	}
	response.mode = (Annals__V1__GroupMode)info->config.mode;
	response.topic = names.list;
	response.n_topic = names.count;
	response.lease_us = info->config.lease_us;
	response.attempts_max = info->config.attempts_max;
	response.lag = info->lag;
	response.lag_us = info->lag_us;
	response.in_flight = info->leased;
	response.delayed = info->delayed;
	response.waiting = info->waiting;
	response.parked = info->parked;
	response.parked_bytes = info->parked_bytes;
	response.paused = info->is_paused;
	response.generation = info->generation;
	response.members = info->member_count;
	native_group_answer(request, op, &response.base, NULL);
}

void native_group_describe(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupDescribeRequest *message =
		native_unpack(request, frame, &annals__v1__group_describe_request__descriptor);
	struct op_delivery *op = message == NULL ? NULL
						 : native_group_begin(request,
							   DELIVERY_GROUP_DESCRIBE, describe_done);

	if (op != NULL) {
		native_group_start(request, op, message->group);
	}
}

/* ---- Polls ---- */

static void poll_done(struct op *op)
{
	struct native_request *request = op->arg;
	const struct poll_request *poll = &((struct op_delivery *)op)->request.poll;
	struct unpack_arena *arena = &native_loop(request)->arena;
	Annals__V1__GroupPollResponse response;
	Annals__V1__GroupEvent *events;
	struct topic_names names;
	struct buf data = BUF_INIT;
	int status;

	if (native_group_failed(request, op)) {
		return;
	}
	unpack_arena_reset(arena);
	annals__v1__group_poll_response__init(&response);
	events = unpack_arena_alloc(arena, (poll->event_count + 1) * sizeof(*events));
	response.event =
		unpack_arena_alloc(arena, (poll->event_count + 1) * sizeof(*response.event));
	status = events == NULL || response.event == NULL ? ANNALS_E_NO_MEMORY
							  : topic_names_init(&names, request);
	for (size_t i = 0; i < poll->event_count && status == 0; i++) {
		const struct delivered_event *from = &poll->events[i];
		annals__v1__group_event__init(&events[i]);
		events[i].topic_id = from->topic_id;
		events[i].partition = from->partition;
		events[i].offset = from->offset;
		events[i].position = from->position;
		events[i].recorded_us = from->recorded_us;
		events[i].has_version = from->version != VERSION_NONE;
		events[i].version = events[i].has_version ? from->version : 0;
		events[i].lease = from->lease;
		events[i].deadline_us = from->deadline_us;
		events[i].attempt = from->attempt;
		events[i].has_data = true;
		response.event[i] = &events[i];
		status = add_to_batch(&data, bytes_of(poll->bytes.data + from->at, from->size));
		status = status != 0 ? status : topic_names_add(&names, from->topic_id);
	}
	if (status != 0) {
		buf_release(&data);
		native_group_no_memory(request, op);
		return;
	}
	response.n_event = poll->event_count;
	response.topic = names.list;
	response.n_topic = names.count;
	response.paused = poll->is_paused;
	native_group_answer(request, op, &response.base, &data);
}

void native_group_poll(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupPollRequest *message =
		native_unpack(request, frame, &annals__v1__group_poll_request__descriptor);
	struct error err = {0};
	struct op_delivery *op =
		message == NULL ? NULL : native_group_begin(request, DELIVERY_POLL, poll_done);

	if (op == NULL) {
		return;
	}
	if (native_group_copy(message->member, op->request.poll.member,
		    sizeof(op->request.poll.member), &err) != 0) {
		native_group_give_up(request, op, err.code, err.text);
		return;
	}
	op->request.poll.events_max = message->events_max;
	op->request.poll.bytes_max = message->bytes_max;
	op->request.poll.lease_us = message->lease_us;
	op->request.poll.wait_us = message->wait_us;
	native_group_start(request, op, message->group);
}

/* ---- Leases ---- */

static void settle_done(struct op *op)
{
	struct native_request *request = op->arg;
	const struct settle_request *settle = &((struct op_delivery *)op)->request.settle;
	Annals__V1__GroupSettleResponse response;
	uint32_t lost[SETTLE_ENTRIES_MAX];

	if (native_group_failed(request, op)) {
		return;
	}
	annals__v1__group_settle_response__init(&response);
	response.lost = lost;
	for (size_t i = 0; i < settle->entry_count; i++) {
		if (settle->entries[i].status != 0) {
			lost[response.n_lost++] = (uint32_t)i;
		}
	}
	native_group_answer(request, op, &response.base, NULL);
}

void native_group_settle(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupSettleRequest *message =
		native_unpack(request, frame, &annals__v1__group_settle_request__descriptor);
	struct op_delivery *op =
		message == NULL ? NULL : native_group_begin(request, DELIVERY_SETTLE, settle_done);
	struct settle_request *settle;
	int status = 0;

	if (op == NULL) {
		return;
	}
	settle = &op->request.settle;
	settle->kind = (enum settle_kind)message->kind;
	settle->time_us = settle->kind == SETTLE_REFUSE && !message->has_delay ? UINT64_MAX
									       : message->time_us;
	for (size_t i = 0; i < message->n_lease && status == 0; i++) {
		const struct settle_entry entry = {.topic_id = message->lease[i]->topic_id,
			.partition = message->lease[i]->partition,
			.offset = message->lease[i]->offset,
			.lease = message->lease[i]->lease};
		status = op_delivery_add_lease(op, &entry);
	}
	status = status != 0 ? status : buf_add_text(&op->texts, message->reason);
	if (status == 0 && (unsigned)message->kind > SETTLE_PARK) {
		status = op_fail(&op->op, ANNALS_E_INVALID, "leases are not settled this way");
	}
	if (status != 0) {
		native_fail_op(request, &op->op);
		return;
	}
	settle->reason = buf_bytes(&op->texts);
	native_group_start(request, op, message->group);
}

/* ---- Seeking ---- */

static void seek_done(struct op *op)
{
	struct native_request *request = op->arg;
	const struct seek_request *seek = &((struct op_delivery *)op)->request.seek;
	Annals__V1__GroupSeekResponse response;

	if (native_group_failed(request, op)) {
		return;
	}
	annals__v1__group_seek_response__init(&response);
	response.partitions = seek->partitions;
	response.leases_ended = seek->leases;
	response.delivered_again = seek->again;
	response.skipped = seek->skipped;
	native_group_answer(request, op, &response.base, NULL);
}

void native_group_seek(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupSeekRequest *message =
		native_unpack(request, frame, &annals__v1__group_seek_request__descriptor);
	struct op_delivery *op =
		message == NULL ? NULL : native_group_begin(request, DELIVERY_SEEK, seek_done);
	struct seek_request *seek;
	struct error err = {0};
	int status = 0;

	if (op == NULL) {
		return;
	}
	seek = &op->request.seek;
	if ((unsigned)message->target > SEEK_TIME) {
		native_group_give_up(
			request, op, ANNALS_E_INVALID, "a group does not seek this way");
		return;
	}
	seek->target = (enum seek_target)message->target;
	seek->value = message->value;
	seek->partition = message->one_partition ? message->partition : UINT32_MAX;
	seek->dry_run = message->dry_run;
	if (message->topic[0] != 0) {
		status = native_group_topic(request, message->topic, &seek->topic_id, &err);
	}
	if (status != 0) {
		native_group_give_up(request, op, status, err.text);
	} else {
		native_group_start(request, op, message->group);
	}
}

/* ---- Parked events ---- */

static int fill_parked(struct native_request *request, struct parked_request *parked,
	Annals__V1__GroupParkedResponse *response, struct topic_names *names, struct buf *data)
{
	struct unpack_arena *arena = &native_loop(request)->arena;
	Annals__V1__GroupEvent *events =
		unpack_arena_alloc(arena, (parked->parked_count + 1) * sizeof(*events));
	int status = 0;

	response->event =
		unpack_arena_alloc(arena, (parked->parked_count + 1) * sizeof(*response->event));
	if (events == NULL || response->event == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < parked->parked_count && status == 0; i++) {
		struct parked_info *from = &parked->parked[i];
		annals__v1__group_event__init(&events[i]);
		events[i].topic_id = from->topic_id;
		events[i].partition = from->partition;
		events[i].offset = from->offset;
		events[i].position = from->position;
		events[i].recorded_us = from->recorded_us;
		events[i].attempt = from->deliveries;
		events[i].reason = from->reason;
		events[i].member = from->member;
		events[i].parked_us = from->parked_us;
		events[i].has_data = from->size > 0;
		response->event[i] = &events[i];
		status = from->size == 0
				 ? 0
				 : add_to_batch(data,
					   bytes_of(parked->bytes.data + from->at, from->size));
		status = status != 0 ? status : topic_names_add(names, from->topic_id);
	}
	response->n_event = parked->parked_count;
	return status;
}

static void parked_done(struct op *op)
{
	struct native_request *request = op->arg;
	struct parked_request *parked = &((struct op_delivery *)op)->request.parked;
	Annals__V1__GroupParkedResponse response;
	struct topic_names names;
	struct buf data = BUF_INIT;
	int status;

	if (native_group_failed(request, op)) {
		return;
	}
	unpack_arena_reset(&native_loop(request)->arena);
	annals__v1__group_parked_response__init(&response);
	status = topic_names_init(&names, request);
	status = status != 0 ? status : fill_parked(request, parked, &response, &names, &data);
	if (status != 0) {
		buf_release(&data);
		native_group_no_memory(request, op);
		return;
	}
	response.count = parked->count;
	response.topic = names.list;
	response.n_topic = names.count;
	native_group_answer(request, op, &response.base, &data);
}

void native_group_parked(struct native_request *request, const struct frame *frame)
{
	static const enum delivery_operation operations[] = {
		DELIVERY_PARKED_LIST, DELIVERY_PARKED_REPLAY, DELIVERY_PARKED_DROP};
	Annals__V1__GroupParkedRequest *message =
		native_unpack(request, frame, &annals__v1__group_parked_request__descriptor);
	struct op_delivery *op;
	struct parked_request *parked;
	struct error err = {0};
	int status = 0;

	if (message == NULL) {
		return;
	}
	if ((size_t)message->kind >= ANNALS_COUNT_OF(operations)) {
		native_fail(request, ANNALS_E_INVALID, "parked events are not treated so", NULL);
		return;
	}
	op = native_group_begin(request, operations[message->kind], parked_done);
	if (op == NULL) {
		return;
	}
	parked = &op->request.parked;
	parked->has_place = message->has_place;
	parked->partition = message->partition;
	parked->offset = message->offset;
	parked->limit = message->limit == 0 && message->kind == 0 ? 100 : message->limit;
	parked->dry_run = message->dry_run;
	if (message->topic[0] != 0) {
		status = native_group_topic(request, message->topic, &parked->topic_id, &err);
	} else if (message->has_place) {
		status = error_fail(&err, ANNALS_E_INVALID, "a place needs its topic");
	}
	if (status != 0) {
		native_group_give_up(request, op, status, err.text);
	} else {
		native_group_start(request, op, message->group);
	}
}
