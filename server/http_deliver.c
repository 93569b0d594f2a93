/* Events to members of groups by event and back: polls and leases. */
#include "http_delivery.h"
#include <annals/parse.h>

/* ---- What routes that show events share ---- */

bool http_delivery_read_data(
	struct http_request *request, struct http_typed_reader *typed, bool *ret_as_json)
{
	const size_t used = request->texts.size;
	if (!http_typed_reader_read(typed, request, ret_as_json)) {
		return false;
	}
	request->texts.size = used; /* the texts that other parameters point to stay in place */
	return true;
}

bool http_delivery_check_data(struct http_request *request)
{
	ANNALS_CLEANUP(http_typed_reader_release) struct http_typed_reader typed = {0};
	bool as_json;
	return http_delivery_read_data(request, &typed, &as_json);
}

void http_delivery_write_delivered(struct http_request *request, struct json_writer *writer,
	const struct poll_request *poll, const struct delivered_event *event,
	struct http_typed_reader *typed)
{
	json_begin_object(writer);
	http_delivery_write_lease(
		writer, "lease", event->topic_id, event->partition, event->offset, event->lease);
	http_json_time(writer, "deadline", event->deadline_us);
	json_member_u64(writer, "attempt", event->attempt);
	http_delivery_write_topic(request, writer, event->topic_id);
	json_member_u64(writer, "partition", event->partition);
	json_member_u64(writer, "offset", event->offset);
	http_delivery_write_event(request, writer, "event",
		bytes_of(poll->bytes.data + event->at, event->size), event, typed);
	json_end_object(writer);
}

/* ---- Polls ---- */

static void polled(struct http_request *request)
{
	const struct poll_request *poll = &http_delivery_op(request)->request.poll;
	ANNALS_CLEANUP(http_typed_reader_release) struct http_typed_reader typed = {0};
	bool as_json;
	if (!http_delivery_read_data(request, &typed, &as_json)) {
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_bool(&writer, "paused", poll->is_paused);
	json_name(&writer, "events");
	json_begin_array(&writer);
	for (size_t i = 0; i < poll->event_count; i++) {
		http_delivery_write_delivered(
			request, &writer, poll, &poll->events[i], as_json ? &typed : NULL);
	}
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

/* False: a problem was sent. */
struct poll_fields {
	struct bytes member;
	uint64_t max, bytes_max, lease_us, wait_us;
};

void http_post_poll(struct http_request *request)
{
	static const struct http_field fields[] = {
		{"member", HTTP_FIELD_TEXT, offsetof(struct poll_fields, member), 0},
		{"max", HTTP_FIELD_U64, offsetof(struct poll_fields, max), POLL_EVENTS_MAX},
		{"bytesMax", HTTP_FIELD_U64, offsetof(struct poll_fields, bytes_max),
			POLL_BYTES_MAX},
		{"leaseMs", HTTP_FIELD_MS, offsetof(struct poll_fields, lease_us), LEASE_US_MAX},
		{"waitMs", HTTP_FIELD_MS, offsetof(struct poll_fields, wait_us), 60000000},
	};
	struct poll_fields given = {.member = bytes_text("http"), .max = 1};
	struct error err = {0};
	struct op_delivery *op;
	int status;
	if (!http_delivery_check_data(request)) {
		return;
	}
	op = http_delivery_new(request, DELIVERY_POLL, polled);
	if (op == NULL) {
		return;
	}
	status = http_fields_read(buf_bytes(&request->body), fields, ANNALS_COUNT_OF(fields),
		&given, &op->texts, &err);
	status = status != 0 ? status
			     : http_delivery_copy("member", given.member, op->request.poll.member,
				       sizeof(op->request.poll.member), &err);
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return;
	}
	op->request.poll.events_max = (uint32_t)given.max;
	op->request.poll.bytes_max = (uint32_t)given.bytes_max;
	op->request.poll.lease_us = given.lease_us;
	op->request.poll.wait_us = given.wait_us;
	http_delivery_start(request);
}

/* ---- Leases ---- */

static void write_lost(struct json_writer *writer, const struct settle_request *settle)
{
	json_member_u64(writer, "settled", settle->entry_count - settle->lost_count);
	json_name(writer, "lost");
	json_begin_array(writer);
	for (size_t i = 0; i < settle->entry_count; i++) {
		const struct settle_entry *entry = &settle->entries[i];
		if (entry->status != 0) {
			json_begin_object(writer);
			http_delivery_write_lease(writer, "lease", entry->topic_id,
				entry->partition, entry->offset, entry->lease);
			json_member_cstring(writer, "reason", annals_status_name(entry->status));
			json_end_object(writer);
		}
	}
	json_end_array(writer);
	json_end_object(writer);
}

static void settled(struct http_request *request)
{
	const struct settle_request *settle = &http_delivery_op(request)->request.settle;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	if (settle->lost_count == settle->entry_count) {
		http_problem_open(&writer, &body, ANNALS_E_LEASE_LOST,
			"none of the leases is held any more", NULL);
		write_lost(&writer, settle);
		http_problem_send(request, ANNALS_E_LEASE_LOST, &body);
		return;
	}
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	write_lost(&writer, settle);
	http_json_send(request, 200, &writer);
}

struct settle_fields {
	struct json_value leases;
	struct bytes reason;
	uint64_t time_us;
	bool park;
};

static void settle(struct http_request *request, enum settle_kind kind,
	const struct http_field *fields, size_t field_count, uint64_t time_us)
{
	struct settle_fields given = {.time_us = time_us};
	struct error err = {0};
	struct op_delivery *op = http_delivery_new(request, DELIVERY_SETTLE, settled);
	int status;
	if (op == NULL) {
		return;
	}
	status = http_fields_read(
		buf_bytes(&request->body), fields, field_count, &given, &op->texts, &err);
	status = status != 0 ? status : http_delivery_read_leases(op, &given.leases, &err);
	if (status == 0 && op->entry_count == 0) {
		status = error_fail(&err, ANNALS_E_INVALID, "'leases' names no lease");
	}
	if (status == 0 && given.reason.size > 0) {
		/* The body goes before the operation does. */
		const size_t start = op->texts.size;
		const size_t size = ANNALS_MIN(given.reason.size, REASON_BYTES_MAX);
		const bool inside = given.reason.data >= op->texts.data &&
				    given.reason.data < op->texts.data + op->texts.size;
		if (inside) {
			op->request.settle.reason = bytes_of(given.reason.data, size);
		} else {
			status = buf_add(&op->texts, given.reason.data, size);
			op->request.settle.reason = bytes_of(op->texts.data + start, size);
		}
	}
	if (status != 0) {
		http_problem(request, status, err.code != 0 ? err.text : NULL, NULL);
		return;
	}
	op->request.settle.kind = given.park ? SETTLE_PARK : kind;
	op->request.settle.time_us = given.time_us;
	http_delivery_start(request);
}

void http_post_acknowledge(struct http_request *request)
{
	static const struct http_field fields[] = {
		{"leases", HTTP_FIELD_VALUE, offsetof(struct settle_fields, leases), 0}};
	settle(request, SETTLE_ACKNOWLEDGE, fields, ANNALS_COUNT_OF(fields), 0);
}

void http_post_refuse(struct http_request *request)
{
	static const struct http_field fields[] = {
		{"leases", HTTP_FIELD_VALUE, offsetof(struct settle_fields, leases), 0},
		{"reason", HTTP_FIELD_TEXT, offsetof(struct settle_fields, reason), 0},
		{"delayMs", HTTP_FIELD_MS, offsetof(struct settle_fields, time_us), DELAY_US_MAX},
		{"park", HTTP_FIELD_BOOL, offsetof(struct settle_fields, park), 0},
	};
	settle(request, SETTLE_REFUSE, fields, ANNALS_COUNT_OF(fields), UINT64_MAX);
}

void http_post_extend(struct http_request *request)
{
	static const struct http_field fields[] = {
		{"leases", HTTP_FIELD_VALUE, offsetof(struct settle_fields, leases), 0},
		{"leaseMs", HTTP_FIELD_MS, offsetof(struct settle_fields, time_us), LEASE_US_MAX},
	};
	settle(request, SETTLE_EXTEND, fields, ANNALS_COUNT_OF(fields), 0);
}
