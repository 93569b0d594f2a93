/* Consumer groups that the server keeps: settings, deliveries, parked events. */
#include "control.h"
#include "convert.h"
#include <annals/batch.h>
#include <stdlib.h>

static int call_start(struct annals_client *client, enum frame_operation operation,
	const ProtobufCMessage *request, int timeout_ms, struct call **ret,
	struct annals_error *error)
{
	struct buf control = BUF_INIT;
	if (buf_reserve(&control, protobuf_c_message_get_packed_size(request) + 1) != ANNALS_OK) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a request");
	}
	control.size = protobuf_c_message_pack(request, control.data);
	int status = request_call_start(client, operation, &control, NULL, timeout_ms, ret, error);
	buf_release(&control);
	return status;
}

static int call_finish(struct annals_client *client, struct call *call,
	const ProtobufCMessageDescriptor *answer, ProtobufCMessage **ret, struct buf *ret_data,
	struct annals_error *error)
{
	struct buf result ANNALS_CLEANUP(buf_release) = BUF_INIT;
	int status = request_call_finish(client, call, &result, ret_data, error);
	if (status != ANNALS_OK) {
		return status;
	}
	*ret = protobuf_c_message_unpack(answer, NULL, result.size, result.data);
	return *ret ? ANNALS_OK
		    : client_error(error, ANNALS_E_MALFORMED, "the server's answer is malformed");
}

static int call(struct annals_client *client, enum frame_operation operation,
	const ProtobufCMessage *request, const ProtobufCMessageDescriptor *answer, int timeout_ms,
	ProtobufCMessage **ret, struct buf *ret_data, struct annals_error *error)
{
	struct call *started;
	int status = call_start(client, operation, request, timeout_ms, &started, error);
	return status != ANNALS_OK ? status
				   : call_finish(client, started, answer, ret, ret_data, error);
}

/* ---- Settings ---- */

int annals_group_put(struct annals_client *client, const char *group,
	const struct annals_group_settings *settings, int timeout_ms, int *ret_created,
	struct annals_error *error)
{
	Annals__V1__GroupPutRequest request = ANNALS__V1__GROUP_PUT_REQUEST__INIT;
	char **topics = calloc(settings->topic_count + 1, sizeof(char *));
	if (!topics) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a request");
	}
	for (size_t i = 0; i < settings->topic_count; i++) {
		topics[i] = control_text(settings->topics[i]);
	}
	request.group = control_text(group);
	request.mode = (Annals__V1__GroupMode)settings->mode;
	request.topic = topics;
	request.n_topic = settings->topic_count;
	request.lease_us = settings->lease_us;
	request.attempts_max = settings->attempts_max;
	request.attempts_unlimited = settings->attempts_unlimited != 0;
	request.backoff_none = settings->backoff_none != 0;
	request.backoff_first_us = settings->backoff_first_us;
	request.backoff_max_us = settings->backoff_max_us;
	request.parked_pass = settings->parked_pass != 0;
	request.parked_bytes_max = settings->parked_bytes_max;
	request.from_latest = settings->from_latest != 0;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_PUT, &request.base,
		&annals__v1__group_put_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_OK) {
		if (ret_created) {
			*ret_created = ((const Annals__V1__GroupPutResponse *)(const void *)answer)
					       ->created;
		}
		protobuf_c_message_free_unpacked(answer, NULL);
	}
	free(topics);
	return status;
}

int annals_group_delete(
	struct annals_client *client, const char *group, int timeout_ms, struct annals_error *error)
{
	Annals__V1__GroupDeleteRequest request = ANNALS__V1__GROUP_DELETE_REQUEST__INIT;
	request.group = control_text(group);
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_DELETE, &request.base,
		&annals__v1__group_delete_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_OK) {
		protobuf_c_message_free_unpacked(answer, NULL);
	}
	return status;
}

static const char *topic_name(Annals__V1__GroupTopic **topics, size_t count, uint32_t id)
{
	for (size_t i = 0; i < count; i++) {
		if (topics[i]->id == id) {
			return topics[i]->name;
		}
	}
	return "";
}

void annals_group_status_release(struct annals_group_status *status)
{
	if (status && status->memory) {
		protobuf_c_message_free_unpacked(status->memory, NULL);
		free(status->partitions);
		memset(status, 0, sizeof(*status));
	}
}

int annals_group_describe(struct annals_client *client, const char *group, int timeout_ms,
	struct annals_group_status *ret_status, struct annals_error *error)
{
	Annals__V1__GroupDescribeRequest request = ANNALS__V1__GROUP_DESCRIBE_REQUEST__INIT;
	request.group = control_text(group);
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_DESCRIBE, &request.base,
		&annals__v1__group_describe_response__descriptor, timeout_ms, &answer, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__GroupDescribeResponse *from = (const void *)answer;
	struct annals_group_partition *partitions =
		calloc(from->n_partition + 1, sizeof(*partitions));
	if (!partitions) {
		protobuf_c_message_free_unpacked(answer, NULL);
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a group");
	}
	for (size_t i = 0; i < from->n_partition; i++) {
		const Annals__V1__GroupPartition *part = from->partition[i];
		partitions[i] = (struct annals_group_partition){
			topic_name(from->topic, from->n_topic, part->topic_id), part->partition,
			part->floor, part->cursor, part->end_offset, part->lag, part->in_flight,
			part->delayed, part->waiting, part->parked, part->expired};
	}
	*ret_status = (struct annals_group_status){.mode = (int)from->mode,
		.lease_us = from->lease_us,
		.lag = from->lag,
		.lag_us = from->lag_us,
		.in_flight = from->in_flight,
		.delayed = from->delayed,
		.waiting = from->waiting,
		.parked = from->parked,
		.parked_bytes = from->parked_bytes,
		.attempts_max = from->attempts_max,
		.generation = from->generation,
		.members = from->members,
		.paused = from->paused,
		.partitions = partitions,
		.partition_count = from->n_partition,
		.memory = answer};
	return ANNALS_OK;
}

/* ---- Deliveries ---- */

struct memory {
	ProtobufCMessage *message;
	struct buf data;
};

void annals_deliveries_release(struct annals_deliveries *deliveries)
{
	if (deliveries && deliveries->memory) {
		struct memory *memory = deliveries->memory;
		protobuf_c_message_free_unpacked(memory->message, NULL);
		buf_release(&memory->data);
		free(memory);
		free(deliveries->deliveries);
		memset(deliveries, 0, sizeof(*deliveries));
	}
}

static int fill_one(struct annals_delivered_event *to, const Annals__V1__GroupEvent *from,
	const struct buf *data, size_t *cursor)
{
	struct record record;
	struct bytes encoded;
	to->has_event = from->has_data;
	if (from->has_data) {
		if (batch_next_event(buf_bytes(data), cursor, &encoded) != 1 ||
			record_decode(encoded, &record, NULL) != 0) {
			return ANNALS_E_MALFORMED;
		}
		event_from_record(&record, &to->event);
	}
	to->event.partition = from->partition;
	to->event.offset = from->offset;
	to->event.position = from->position;
	to->event.recorded_us = from->recorded_us;
	to->event.version = from->has_version ? from->version : ANNALS_VERSION_NONE;
	to->lease =
		(struct annals_lease){from->topic_id, from->partition, from->offset, from->lease};
	to->deadline_us = from->deadline_us;
	to->attempt = from->attempt;
	to->reason = from->reason;
	to->member = from->member;
	to->parked_us = from->parked_us;
	return 0;
}

/* Takes the message and the data. */
static int fill(struct annals_deliveries *ret, ProtobufCMessage *message,
	Annals__V1__GroupEvent **events, size_t count, Annals__V1__GroupTopic **topics,
	size_t topic_count, struct buf *data, struct annals_error *error)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct annals_delivered_event *list = calloc(count + 1, sizeof(*list));
	size_t cursor = 0;
	if (!memory || !list) {
		free(memory);
		free(list);
		protobuf_c_message_free_unpacked(message, NULL);
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for deliveries");
	}
	*memory = (struct memory){message, *data};
	*data = BUF_INIT;
	*ret = (struct annals_deliveries){.deliveries = list, .count = count, .memory = memory};
	for (size_t i = 0; i < count; i++) {
		if (fill_one(&list[i], events[i], &memory->data, &cursor) != 0) {
			annals_deliveries_release(ret);
			return client_error(error, ANNALS_E_MALFORMED,
				"the server's answer holds other events than it says");
		}
		list[i].topic = topic_name(topics, topic_count, events[i]->topic_id);
	}
	return ANNALS_OK;
}

static int poll_start(struct annals_client *client, const char *group, const char *member,
	uint32_t max, uint64_t lease_us, uint32_t wait_ms, int timeout_ms, struct call **ret,
	struct annals_error *error)
{
	Annals__V1__GroupPollRequest request = ANNALS__V1__GROUP_POLL_REQUEST__INIT;
	request.group = control_text(group);
	request.member = control_text(member);
	request.events_max = max;
	request.lease_us = lease_us;
	request.wait_us = (uint64_t)wait_ms * 1000;
	return call_start(client, FRAME_GROUP_POLL, &request.base, timeout_ms, ret, error);
}

static int poll_finish(struct annals_client *client, struct call *call,
	struct annals_deliveries *ret_deliveries, struct annals_error *error)
{
	struct buf data ANNALS_CLEANUP(buf_release) = BUF_INIT;
	ProtobufCMessage *answer;
	int status = call_finish(
		client, call, &annals__v1__group_poll_response__descriptor, &answer, &data, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__GroupPollResponse *from = (const void *)answer;
	const bool paused = from->paused;
	status = fill(ret_deliveries, answer, from->event, from->n_event, from->topic,
		from->n_topic, &data, error);
	if (status == ANNALS_OK) {
		ret_deliveries->paused = paused;
	}
	return status;
}

int annals_group_poll(struct annals_client *client, const char *group, const char *member,
	uint32_t max, uint64_t lease_us, uint32_t wait_ms, int timeout_ms,
	struct annals_deliveries *ret_deliveries, struct annals_error *error)
{
	struct call *call;
	int status =
		poll_start(client, group, member, max, lease_us, wait_ms, timeout_ms, &call, error);
	return status != ANNALS_OK ? status : poll_finish(client, call, ret_deliveries, error);
}

/* ---- Answers to deliveries ---- */

static int settle_start(struct annals_client *client, Annals__V1__GroupSettleRequest *request,
	const struct annals_lease *leases, size_t count, int timeout_ms, struct call **ret,
	struct annals_error *error)
{
	Annals__V1__GroupLease *list = calloc(count + 1, sizeof(*list));
	request->lease = calloc(count + 1, sizeof(Annals__V1__GroupLease *));
	int status = list && request->lease ? ANNALS_OK
					    : client_error(error, ANNALS_E_NO_MEMORY,
						      "no memory for %zu leases", count);
	for (size_t i = 0; status == ANNALS_OK && i < count; i++) {
		annals__v1__group_lease__init(&list[i]);
		list[i].topic_id = leases[i].topic_id;
		list[i].partition = leases[i].partition;
		list[i].offset = leases[i].offset;
		list[i].lease = leases[i].lease;
		request->lease[i] = &list[i];
	}
	request->n_lease = count;
	if (status == ANNALS_OK) {
		status = call_start(
			client, FRAME_GROUP_SETTLE, &request->base, timeout_ms, ret, error);
	}
	free(request->lease);
	free(list);
	return status;
}

static int settle_finish(struct annals_client *client, struct call *call, size_t count,
	size_t *ret_lost, struct annals_error *error)
{
	ProtobufCMessage *answer;
	int status = call_finish(
		client, call, &annals__v1__group_settle_response__descriptor, &answer, NULL, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const size_t lost = ((const Annals__V1__GroupSettleResponse *)(const void *)answer)->n_lost;
	if (ret_lost) {
		*ret_lost = lost;
	}
	protobuf_c_message_free_unpacked(answer, NULL);
	return lost < count ? ANNALS_OK
			    : client_error(error, ANNALS_E_LEASE_LOST,
				      "none of the leases is held any more");
}

static int settle(struct annals_client *client, Annals__V1__GroupSettleRequest *request,
	const struct annals_lease *leases, size_t count, int timeout_ms, size_t *ret_lost,
	struct annals_error *error)
{
	struct call *call;
	int status = settle_start(client, request, leases, count, timeout_ms, &call, error);
	return status != ANNALS_OK ? status : settle_finish(client, call, count, ret_lost, error);
}

int annals_group_acknowledge_and_poll(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t count, const char *member, uint32_t max,
	uint64_t lease_us, uint32_t wait_ms, int timeout_ms, size_t *ret_lost,
	struct annals_deliveries *ret_deliveries, struct annals_error *error)
{
	Annals__V1__GroupSettleRequest request = ANNALS__V1__GROUP_SETTLE_REQUEST__INIT;
	struct annals_deliveries deliveries;
	struct call *settling, *polling;
	size_t lost = 0;
	request.group = control_text(group);
	int status = settle_start(client, &request, leases, count, timeout_ms, &settling, error);
	if (status != ANNALS_OK) {
		return status;
	}
	status = poll_start(
		client, group, member, max, lease_us, wait_ms, timeout_ms, &polling, error);
	if (status != ANNALS_OK) {
		struct annals_error ignored;
		(void)settle_finish(client, settling, count, NULL, &ignored);
		return status;
	}
	status = settle_finish(client, settling, count, &lost, error);
	if (status != ANNALS_OK && status != ANNALS_E_LEASE_LOST) {
		struct annals_error ignored;
		if (poll_finish(client, polling, &deliveries, &ignored) == ANNALS_OK) {
			annals_deliveries_release(&deliveries);
		}
		return status;
	}
	status = poll_finish(client, polling, &deliveries, error);
	if (status == ANNALS_OK) {
		*ret_deliveries = deliveries;
		if (ret_lost) {
			*ret_lost = lost;
		}
	}
	return status;
}

int annals_group_acknowledge(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t count, int timeout_ms, size_t *ret_lost,
	struct annals_error *error)
{
	Annals__V1__GroupSettleRequest request = ANNALS__V1__GROUP_SETTLE_REQUEST__INIT;
	request.group = control_text(group);
	return settle(client, &request, leases, count, timeout_ms, ret_lost, error);
}

int annals_group_refuse(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t count, uint64_t delay_us, int park,
	const char *reason, int timeout_ms, size_t *ret_lost, struct annals_error *error)
{
	Annals__V1__GroupSettleRequest request = ANNALS__V1__GROUP_SETTLE_REQUEST__INIT;
	request.group = control_text(group);
	request.kind = park ? ANNALS__V1__GROUP_SETTLE_KIND__GROUP_SETTLE_PARK
			    : ANNALS__V1__GROUP_SETTLE_KIND__GROUP_SETTLE_REFUSE;
	request.has_delay = delay_us != UINT64_MAX;
	request.time_us = request.has_delay ? delay_us : 0;
	request.reason = control_text(reason);
	return settle(client, &request, leases, count, timeout_ms, ret_lost, error);
}

int annals_group_extend(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t count, uint64_t lease_us, int timeout_ms,
	size_t *ret_lost, struct annals_error *error)
{
	Annals__V1__GroupSettleRequest request = ANNALS__V1__GROUP_SETTLE_REQUEST__INIT;
	request.group = control_text(group);
	request.kind = ANNALS__V1__GROUP_SETTLE_KIND__GROUP_SETTLE_EXTEND;
	request.time_us = lease_us;
	return settle(client, &request, leases, count, timeout_ms, ret_lost, error);
}

/* ---- Seeking, parked events ---- */

int annals_group_seek(struct annals_client *client, const char *group,
	struct annals_group_seek *seek, int timeout_ms, struct annals_error *error)
{
	Annals__V1__GroupSeekRequest request = ANNALS__V1__GROUP_SEEK_REQUEST__INIT;
	request.group = control_text(group);
	request.target = (Annals__V1__GroupSeekTarget)seek->target;
	request.value = seek->value;
	request.topic = control_text(seek->topic);
	request.one_partition = seek->partition >= 0;
	request.partition = seek->partition >= 0 ? (uint32_t)seek->partition : 0;
	request.dry_run = seek->dry_run != 0;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_SEEK, &request.base,
		&annals__v1__group_seek_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_OK) {
		const Annals__V1__GroupSeekResponse *from = (const void *)answer;
		seek->partitions = from->partitions;
		seek->leases_ended = from->leases_ended;
		seek->delivered_again = from->delivered_again;
		seek->skipped = from->skipped;
		protobuf_c_message_free_unpacked(answer, NULL);
	}
	return status;
}

int annals_group_parked(struct annals_client *client, const char *group, const char *after_topic,
	uint32_t after_partition, uint64_t after_offset, uint32_t max, int timeout_ms,
	struct annals_deliveries *ret_parked, struct annals_error *error)
{
	Annals__V1__GroupParkedRequest request = ANNALS__V1__GROUP_PARKED_REQUEST__INIT;
	struct buf data ANNALS_CLEANUP(buf_release) = BUF_INIT;
	request.group = control_text(group);
	request.topic = control_text(after_topic);
	request.has_place = after_topic != NULL;
	request.partition = after_partition;
	request.offset = after_offset;
	request.limit = max;
	ProtobufCMessage *answer;
	int status = call(client, FRAME_GROUP_PARKED, &request.base,
		&annals__v1__group_parked_response__descriptor, timeout_ms, &answer, &data, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__GroupParkedResponse *from = (const void *)answer;
	const uint64_t total = from->count;
	status = fill(ret_parked, answer, from->event, from->n_event, from->topic, from->n_topic,
		&data, error);
	if (status == ANNALS_OK) {
		ret_parked->total = total;
	}
	return status;
}

int annals_group_parked_change(struct annals_client *client, const char *group, int drop,
	const char *topic, int64_t partition, uint64_t offset, int dry_run, int timeout_ms,
	uint64_t *ret_count, struct annals_error *error)
{
	Annals__V1__GroupParkedRequest request = ANNALS__V1__GROUP_PARKED_REQUEST__INIT;
	request.group = control_text(group);
	request.kind = drop ? ANNALS__V1__GROUP_PARKED_KIND__GROUP_PARKED_DROP
			    : ANNALS__V1__GROUP_PARKED_KIND__GROUP_PARKED_REPLAY;
	request.topic = control_text(topic);
	request.has_place = topic != NULL && partition >= 0;
	request.partition = partition >= 0 ? (uint32_t)partition : 0;
	request.offset = offset;
	request.dry_run = dry_run != 0;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_PARKED, &request.base,
		&annals__v1__group_parked_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_OK) {
		*ret_count = ((const Annals__V1__GroupParkedResponse *)(const void *)answer)->count;
		protobuf_c_message_free_unpacked(answer, NULL);
	}
	return status;
}
