/* Members of groups by offset: single calls. */
#include "control.h"

#include <stdlib.h>

void annals_assignment_release(struct annals_assignment *assignment)
{
	if (assignment && assignment->memory) {
		protobuf_c_message_free_unpacked(assignment->memory, NULL);
		free(assignment->partitions);
		memset(assignment, 0, sizeof(*assignment));
	}
}

static const char *topic_name(const Annals__V1__GroupAssignment *from, uint32_t id)
{
	for (size_t i = 0; i < from->n_topic; i++) {
		if (from->topic[i]->id == id) {
			return from->topic[i]->name;
		}
	}
	return "";
}

/* Takes the message. */
static int fill(
	struct annals_assignment *ret, ProtobufCMessage *message, struct annals_error *error)
{
	const Annals__V1__GroupAssignment *from = (const void *)message;
	struct annals_assigned *partitions = calloc(from->n_assigned + 1, sizeof(*partitions));
	if (!partitions) {
		protobuf_c_message_free_unpacked(message, NULL);
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for an assignment");
	}
	for (size_t i = 0; i < from->n_assigned; i++) {
		partitions[i] =
			(struct annals_assigned){topic_name(from, from->assigned[i]->topic_id),
				from->assigned[i]->partition};
	}
	*ret = (struct annals_assignment){.member = from->member,
		.generation = from->generation,
		.pending = from->pending,
		.partitions = partitions,
		.count = from->n_assigned,
		.memory = message};
	return ANNALS_OK;
}

int annals_group_join(struct annals_client *client, const char *group, const char *member,
	const char *const *topics, size_t topic_count, uint32_t session_ms, int timeout_ms,
	struct annals_assignment *ret_assignment, struct annals_error *error)
{
	Annals__V1__GroupJoinRequest request = ANNALS__V1__GROUP_JOIN_REQUEST__INIT;
	char **list = calloc(topic_count + 1, sizeof(char *));
	if (!list) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a request");
	}
	for (size_t i = 0; i < topic_count; i++) {
		list[i] = control_text(topics[i]);
	}
	request.group = control_text(group);
	request.member = control_text(member);
	request.topic = list;
	request.n_topic = topic_count;
	request.session_us = (uint64_t)session_ms * 1000;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_JOIN, &request.base,
		&annals__v1__group_assignment__descriptor, timeout_ms, &answer, error);
	free(list);
	return status != ANNALS_OK ? status : fill(ret_assignment, answer, error);
}

int annals_group_heartbeat(struct annals_client *client, const char *group, const char *member,
	uint32_t generation, int timeout_ms, struct annals_assignment *ret_assignment,
	struct annals_error *error)
{
	Annals__V1__GroupHeartbeatRequest request = ANNALS__V1__GROUP_HEARTBEAT_REQUEST__INIT;
	request.group = control_text(group);
	request.member = control_text(member);
	request.generation = generation;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_HEARTBEAT, &request.base,
		&annals__v1__group_assignment__descriptor, timeout_ms, &answer, error);
	return status != ANNALS_OK ? status : fill(ret_assignment, answer, error);
}

int annals_group_leave(struct annals_client *client, const char *group, const char *member,
	int timeout_ms, uint64_t *ret_released, struct annals_error *error)
{
	Annals__V1__GroupLeaveRequest request = ANNALS__V1__GROUP_LEAVE_REQUEST__INIT;
	request.group = control_text(group);
	request.member = control_text(member);
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_LEAVE, &request.base,
		&annals__v1__group_leave_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_OK) {
		if (ret_released) {
			*ret_released =
				((const Annals__V1__GroupLeaveResponse *)(const void *)answer)
					->released;
		}
		protobuf_c_message_free_unpacked(answer, NULL);
	}
	return status;
}
