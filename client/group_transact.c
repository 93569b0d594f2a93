/* Consume, produce, acknowledge in one commit; checkpoints; the story of one event. */
#include "control.h"
#include "transact.h"

#include <stdlib.h>

/* ---- Transactions ---- */

static int add_leases(Annals__V1__GroupTransactRequest *request, const struct annals_lease *leases,
	size_t count, Annals__V1__GroupLease **ret_memory)
{
	Annals__V1__GroupLease *list = calloc(count + 1, sizeof(*list));
	*ret_memory = list;
	request->lease = calloc(count + 1, sizeof(Annals__V1__GroupLease *));
	if (!list || !request->lease) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < count; i++) {
		annals__v1__group_lease__init(&list[i]);
		list[i].topic_id = leases[i].topic_id;
		list[i].partition = leases[i].partition;
		list[i].offset = leases[i].offset;
		list[i].lease = leases[i].lease;
		request->lease[i] = &list[i];
	}
	request->n_lease = count;
	return ANNALS_OK;
}

static int call(struct annals_client *client, const Annals__V1__GroupTransactRequest *request,
	struct transact *transact, uint64_t deadline_ns, struct annals_error *error)
{
	struct buf control ANNALS_CLEANUP(buf_release) = BUF_INIT;
	struct buf answer ANNALS_CLEANUP(buf_release) = BUF_INIT;
	if (buf_reserve(&control, annals__v1__group_transact_request__get_packed_size(request) +
					  1) != ANNALS_OK) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a request");
	}
	control.size = annals__v1__group_transact_request__pack(request, control.data);
	int status = request_call(client, FRAME_GROUP_TRANSACT, &control, &transact->body,
		left_ms(deadline_ns), &answer, error);
	if (status != ANNALS_OK || transact->count == 0) {
		return status;
	}
	Annals__V1__GroupTransactResponse *message =
		annals__v1__group_transact_response__unpack(NULL, answer.size, answer.data);
	if (!message ||
		transact_place(transact, message->append, message->n_append, NULL) != ANNALS_OK) {
		status = client_error(
			error, ANNALS_E_MALFORMED, "it is done, but its answer is malformed");
	}
	annals__v1__group_transact_response__free_unpacked(message, NULL);
	return status;
}

int annals_group_transact_topics(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t lease_count,
	const struct annals_topic_append *appends, size_t append_count, const char *checkpoint_name,
	struct annals_bytes checkpoint, int timeout_ms, struct annals_error *error)
{
	const uint64_t deadline_ns = deadline_after_ms(timeout_ms);
	Annals__V1__GroupTransactRequest request = ANNALS__V1__GROUP_TRANSACT_REQUEST__INIT;
	Annals__V1__GroupLease *memory = NULL;
	struct transact transact = {0};
	request.group = control_text(group);
	request.checkpoint_name = control_text(checkpoint_name);
	request.checkpoint.data = (uint8_t *)(uintptr_t)checkpoint.data;
	request.checkpoint.len = checkpoint.size;
	int status = add_leases(&request, leases, lease_count, &memory);
	if (status != ANNALS_OK) {
		client_error(error, status, "no memory for %zu leases", lease_count);
	} else {
		status = transact_make(&transact, client, appends, append_count,
			ANNALS_DURABILITY_FSYNC, deadline_ns, error);
	}
	if (status == ANNALS_OK) {
		request.append = transact.controls;
		request.n_append = append_count;
		status = call(client, &request, &transact, deadline_ns, error);
	}
	transact_release(&transact);
	free(request.lease);
	free(memory);
	return status;
}

int annals_group_transact(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t lease_count, const char *topic,
	const struct annals_event *events, size_t event_count, const char *checkpoint_name,
	struct annals_bytes checkpoint, int timeout_ms, struct annals_placement *ret_placements,
	struct annals_error *error)
{
	const struct annals_topic_append append = {.topic = topic,
		.events = events,
		.event_count = event_count,
		.ret_placements = ret_placements};
	return annals_group_transact_topics(client, group, leases, lease_count, &append,
		event_count > 0 ? 1 : 0, checkpoint_name, checkpoint, timeout_ms, error);
}

int annals_group_checkpoint(struct annals_client *client, const char *group, const char *name,
	int timeout_ms, void **ret_value, size_t *ret_size, struct annals_error *error)
{
	Annals__V1__GroupCheckpointRequest request = ANNALS__V1__GROUP_CHECKPOINT_REQUEST__INIT;
	request.group = control_text(group);
	request.name = control_text(name);
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_CHECKPOINT, &request.base,
		&annals__v1__group_checkpoint_response__descriptor, timeout_ms, &answer, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__GroupCheckpointResponse *from = (const void *)answer;
	void *value = malloc(from->value.len + 1);
	if (value) {
		memcpy(value, from->value.len > 0 ? from->value.data : (const uint8_t *)"",
			from->value.len);
		((uint8_t *)value)[from->value.len] = 0;
		*ret_value = value;
		*ret_size = from->value.len;
	} else {
		status = client_error(error, ANNALS_E_NO_MEMORY, "no memory for a checkpoint");
	}
	protobuf_c_message_free_unpacked(answer, NULL);
	return status;
}

/* ---- Explaining ---- */

void annals_explanation_release(struct annals_explanation *explanation)
{
	if (explanation && explanation->memory) {
		protobuf_c_message_free_unpacked(explanation->memory, NULL);
		free(explanation->history);
		memset(explanation, 0, sizeof(*explanation));
	}
}

int annals_group_explain(struct annals_client *client, const char *group, const char *topic,
	uint32_t partition, uint64_t offset, int timeout_ms,
	struct annals_explanation *ret_explanation, struct annals_error *error)
{
	static const char *const states[] = {
		"unread", "ready", "leased", "delayed", "waiting", "parked", "finished"};
	static const char *const outcomes[] = {
		"leased", "acknowledged", "refused", "expired", "fenced", "gone", "left"};
	Annals__V1__GroupExplainRequest request = ANNALS__V1__GROUP_EXPLAIN_REQUEST__INIT;
	request.group = control_text(group);
	request.topic = control_text(topic);
	request.partition = partition;
	request.offset = offset;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_EXPLAIN, &request.base,
		&annals__v1__group_explain_response__descriptor, timeout_ms, &answer, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__GroupExplainResponse *from = (const void *)answer;
	struct annals_attempt *history = calloc(from->n_attempt + 1, sizeof(*history));
	if (!history) {
		protobuf_c_message_free_unpacked(answer, NULL);
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a history");
	}
	for (size_t i = 0; i < from->n_attempt; i++) {
		const Annals__V1__GroupAttempt *attempt = from->attempt[i];
		const unsigned outcome = (unsigned)attempt->outcome;
		history[i] = (struct annals_attempt){.delivery = attempt->number,
			.outcome =
				outcome < ANNALS_COUNT_OF(outcomes) ? outcomes[outcome] : "unknown",
			.leased_us = attempt->leased_us,
			.deadline_us = attempt->deadline_us,
			.ended_us = attempt->ended_us,
			.member = attempt->member,
			.reason = attempt->reason};
	}
	const unsigned state = (unsigned)from->state;
	*ret_explanation = (struct annals_explanation){
		.state = state < ANNALS_COUNT_OF(states) ? states[state] : "unknown",
		.due_us = from->due_us,
		.deliveries = from->deliveries,
		.attempts = from->attempts,
		.history = history,
		.history_count = from->n_attempt,
		.memory = answer};
	return ANNALS_OK;
}
