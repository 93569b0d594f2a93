/* Members of groups by offset, in the binary protocol. */
#include "proto_native_groups.h"

static int fill_assignment(struct native_request *request, const struct member_request *member,
	struct topic_names *names, Annals__V1__GroupAssignment *response)
{
	struct unpack_arena *arena = &native_loop(request)->arena;
	size_t count = member->assigned_count;
	Annals__V1__GroupAssigned *assigned =
		unpack_arena_alloc(arena, (count + 1) * sizeof(*assigned));
	int status = topic_names_init(names, request);

	response->assigned = unpack_arena_alloc(arena, (count + 1) * sizeof(*response->assigned));
	if (assigned == NULL || response->assigned == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < count && status == 0; i++) {
		annals__v1__group_assigned__init(&assigned[i]);
		assigned[i].topic_id = member->assigned[i].topic_id;
		assigned[i].partition = member->assigned[i].partition;
		response->assigned[i] = &assigned[i];
		status = topic_names_add(names, assigned[i].topic_id);
	}
	response->n_assigned = count;
	return status;
}

static void assignment_done(struct op *op)
{
	struct native_request *request = op->arg;
	struct member_request *member = &((struct op_delivery *)op)->request.member;
	Annals__V1__GroupAssignment response;
	struct topic_names names;

	if (native_group_failed(request, op)) {
		return;
	}
	unpack_arena_reset(&native_loop(request)->arena);
	annals__v1__group_assignment__init(&response);
	if (fill_assignment(request, member, &names, &response) != 0) {
		native_group_no_memory(request, op);
		return;
	}
	response.member = member->member;
	response.generation = member->generation;
	response.pending = member->pending;
	response.topic = names.list;
	response.n_topic = names.count;
	native_group_answer(request, op, &response.base, NULL);
}

void native_group_join(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupJoinRequest *message =
		native_unpack(request, frame, &annals__v1__group_join_request__descriptor);
	struct op_delivery *op =
		message == NULL ? NULL
				: native_group_begin(request, DELIVERY_JOIN, assignment_done);
	struct member_request *member;
	struct error err = {0};
	int status;

	if (op == NULL) {
		return;
	}
	member = &op->request.member;
	status = native_group_copy(message->member, member->member, sizeof(member->member), &err);
	if (message->n_topic > GROUP_TOPICS_MAX) {
		status = error_fail(
			&err, ANNALS_E_LIMIT, "a member has at most %u topics", GROUP_TOPICS_MAX);
	}
	for (size_t i = 0; i < message->n_topic && status == 0; i++) {
		status =
			native_group_topic(request, message->topic[i], &member->topic_ids[i], &err);
	}
	member->topic_count = (uint32_t)message->n_topic;
	member->session_us = message->session_us;
	if (status != 0) {
		native_group_give_up(request, op, status, err.text);
	} else {
		native_group_start(request, op, message->group);
	}
}

void native_group_heartbeat(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupHeartbeatRequest *message =
		native_unpack(request, frame, &annals__v1__group_heartbeat_request__descriptor);
	struct op_delivery *op =
		message == NULL ? NULL
				: native_group_begin(request, DELIVERY_HEARTBEAT, assignment_done);
	struct error err = {0};

	if (op == NULL) {
		return;
	}
	op->request.member.generation = message->generation;
	if (native_group_copy(message->member, op->request.member.member,
		    sizeof(op->request.member.member), &err) != 0) {
		native_group_give_up(request, op, err.code, err.text);
	} else {
		native_group_start(request, op, message->group);
	}
}

static void leave_done(struct op *op)
{
	struct native_request *request = op->arg;
	const struct member_request *member = &((struct op_delivery *)op)->request.member;
	Annals__V1__GroupLeaveResponse response;

	if (!native_group_failed(request, op)) {
		annals__v1__group_leave_response__init(&response);
		response.generation = member->generation;
		response.released = member->released;
		native_group_answer(request, op, &response.base, NULL);
	}
}

void native_group_leave(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupLeaveRequest *message =
		native_unpack(request, frame, &annals__v1__group_leave_request__descriptor);
	struct op_delivery *op =
		message == NULL ? NULL : native_group_begin(request, DELIVERY_LEAVE, leave_done);
	struct error err = {0};

	if (op == NULL) {
		return;
	}
	if (native_group_copy(message->member, op->request.member.member,
		    sizeof(op->request.member.member), &err) != 0) {
		native_group_give_up(request, op, err.code, err.text);
	} else {
		native_group_start(request, op, message->group);
	}
}
