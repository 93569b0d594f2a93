/* Events to members of groups and back: polls, leases, parked events, explanations. */
#include "http_append.h"
#include "http_delivery.h"
#include <annals/cloudevents.h>
#include <annals/parse.h>

/* ---- Polls ---- */

/*
 * How data is shown: ?data= and ?schemaVersion=. Read when the request begins, so that nothing is
 * leased for an answer that cannot be given, and again for the answer, when a problem is want of
 * memory. False: a problem was sent.
 */
static bool read_data(
	struct http_request *request, struct http_typed_reader *typed, bool *ret_as_json)
{
	const size_t used = request->texts.size;
	if (!http_typed_reader_read(typed, request, ret_as_json)) {
		return false;
	}
	request->texts.size = used; /* the texts that other parameters point to stay in place */
	return true;
}

static void polled(struct http_request *request)
{
	const struct poll_request *poll = &http_delivery_op(request)->request.poll;
	ANNALS_CLEANUP(http_typed_reader_release) struct http_typed_reader typed = {0};
	bool as_json;
	if (!read_data(request, &typed, &as_json)) {
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
		const struct delivered_event *event = &poll->events[i];
		json_begin_object(&writer);
		http_delivery_write_lease(&writer, "lease", event->topic_id, event->partition,
			event->offset, event->lease);
		http_json_time(&writer, "deadline", event->deadline_us);
		json_member_u64(&writer, "attempt", event->attempt);
		http_delivery_write_topic(request, &writer, event->topic_id);
		json_member_u64(&writer, "partition", event->partition);
		json_member_u64(&writer, "offset", event->offset);
		http_delivery_write_event(request, &writer, "event",
			bytes_of(poll->bytes.data + event->at, event->size), event,
			as_json ? &typed : NULL);
		json_end_object(&writer);
	}
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

/* False: a problem was sent. */
static bool check_data(struct http_request *request)
{
	ANNALS_CLEANUP(http_typed_reader_release) struct http_typed_reader typed = {0};
	bool as_json;
	return read_data(request, &typed, &as_json);
}

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
	if (!check_data(request)) {
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

/* ---- Consume, produce, acknowledge ---- */

struct transact_fields {
	struct json_value leases, events, appends;
	struct bytes topic, checkpoint_name, checkpoint;
};

struct gathering {
	struct http_batcher batcher;
	struct cloudevent event;
	unsigned count;
};

static int gather_event(void *arg, const struct json_value *element, struct error *err)
{
	struct gathering *gathering = arg;
	int status = cloudevent_from_json(&gathering->event, element->raw, err);
	status = status != 0 ? status
			     : http_batcher_add(&gathering->batcher, &gathering->event.record, err);
	gathering->count++;
	return status == 0 ? 0 : error_wrap(err, "event %u", gathering->count - 1);
}

/* An append of the events, ready to be part of the commit; with those that are there already. */
static int prepare_append(struct http_request *request, struct op_delivery *op,
	const struct transact_fields *given, struct error *err)
{
	struct gathering gathering = {.count = 0};
	struct op_append *append = NULL;
	struct topic *topic = op_topic_find(http_loop(request), given->topic, 0, err, NULL);
	int status;
	if (topic == NULL) {
		return err->code;
	}
	http_batcher_init(&gathering.batcher, http_loop(request), topic);
	cloudevent_init(&gathering.event);
	status = http_fields_each(&given->events, "events", gather_event, &gathering, err);
	if (status == 0) {
		append = op_append_new(http_loop(request));
		status = append == NULL ? ANNALS_E_NO_MEMORY
					: http_batcher_fill(&gathering.batcher, append);
	}
	status = status != 0 ? status : op_append_prepare(append, given->topic);
	if (status != 0 && err->code == 0) {
		(void)error_fail(err, status, "%s",
			append != NULL && append->op.error.text[0] != 0
				? append->op.error.text
				: annals_status_text(status));
	}
	if (status != 0) {
		op_release(append != NULL ? &append->op : NULL);
	} else if (op->append != NULL) {
		op_append_join(op->append, append);
	} else {
		op->append = append;
	}
	cloudevent_release(&gathering.event);
	http_batcher_release(&gathering.batcher);
	return status;
}

struct appending {
	struct http_request *request;
	struct op_delivery *op;
	unsigned count;
};

/* One of several appends, each to a topic of its own. */
static int prepare_one(void *arg, const struct json_value *element, struct error *err)
{
	static const struct http_field fields[] = {
		{"topic", HTTP_FIELD_TEXT, offsetof(struct transact_fields, topic), 0},
		{"events", HTTP_FIELD_VALUE, offsetof(struct transact_fields, events), 0},
	};
	struct appending *appending = arg;
	struct transact_fields given = {.topic = {NULL, 0}};
	int status;
	if (appending->count++ == APPEND_TOPICS_MAX) {
		return error_fail(err, ANNALS_E_LIMIT, "a commit appends to at most %u topics",
			APPEND_TOPICS_MAX);
	}
	status = http_fields_read(
		element->raw, fields, ANNALS_COUNT_OF(fields), &given, &appending->op->texts, err);
	status = status != 0 ? status
			     : prepare_append(appending->request, appending->op, &given, err);
	return status == 0 ? 0 : error_wrap(err, "append %u", appending->count - 1);
}

static int prepare_several(struct http_request *request, struct op_delivery *op,
	const struct transact_fields *given, struct error *err)
{
	struct appending appending = {request, op, 0};
	if (given->events.raw.size > 0 || given->topic.size > 0) {
		return error_fail(err, ANNALS_E_INVALID,
			"a commit has 'appends', or 'topic' and 'events', not both");
	}
	return http_fields_each(&given->appends, "appends", prepare_one, &appending, err);
}

static void write_appended(struct json_writer *writer, const struct op_append *append)
{
	for (size_t i = 0; i < append->request.part_count; i++) {
		const struct append_part *part = &append->request.parts[i];
		json_begin_object(writer);
		json_member_cstring(writer, "topic", append->op.topic->name);
		json_member_u64(writer, "partition", part->partition);
		json_member_u64(writer, "offset", part->base_offset);
		json_member_u64(writer, "count", part->summary.count);
		json_member_u64(writer, "position", part->base_position);
		json_end_object(writer);
	}
}

static void transacted(struct http_request *request)
{
	const struct op_delivery *op = http_delivery_op(request);
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_u64(&writer, "settled", op->request.transact.entry_count);
	json_name(&writer, "appended");
	json_begin_array(&writer);
	for (const struct op_append *append = op->append; append != NULL; append = append->next) {
		write_appended(&writer, append);
	}
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

/* Into the operation's own memory: the body goes before. */
static int keep_text(struct op_delivery *op, struct bytes *text)
{
	uint8_t *room = op->texts.data + op->texts.size;
	if (text->size == 0) {
		return 0;
	}
	if (op->texts.capacity - op->texts.size < text->size) {
		return ANNALS_E_NO_MEMORY;
	}
	memcpy(room, text->data, text->size);
	op->texts.size += text->size;
	text->data = room;
	return 0;
}

void http_post_group_transaction(struct http_request *request)
{
	static const struct http_field fields[] = {
		{"leases", HTTP_FIELD_VALUE, offsetof(struct transact_fields, leases), 0},
		{"events", HTTP_FIELD_VALUE, offsetof(struct transact_fields, events), 0},
		{"appends", HTTP_FIELD_VALUE, offsetof(struct transact_fields, appends), 0},
		{"topic", HTTP_FIELD_TEXT, offsetof(struct transact_fields, topic), 0},
		{"checkpointName", HTTP_FIELD_TEXT,
			offsetof(struct transact_fields, checkpoint_name), 0},
		{"checkpoint", HTTP_FIELD_TEXT, offsetof(struct transact_fields, checkpoint), 0},
	};
	struct transact_fields given = {.topic = {NULL, 0}};
	struct error err = {0};
	struct op_delivery *op = http_delivery_new(request, DELIVERY_TRANSACT, transacted);
	int status;
	if (op == NULL) {
		return;
	}
	/* Twice: texts are kept behind what was unescaped. */
	status = buf_reserve(&op->texts, request->body.size * 2);
	status = status != 0 ? status
			     : http_fields_read(buf_bytes(&request->body), fields,
				       ANNALS_COUNT_OF(fields), &given, &op->texts, &err);
	status = status != 0 ? status : http_delivery_read_leases(op, &given.leases, &err);
	if (status == 0 && given.appends.raw.size > 0) {
		status = prepare_several(request, op, &given, &err);
	} else if (status == 0 && given.events.raw.size > 0) {
		status = prepare_append(request, op, &given, &err);
	}
	status = status != 0 ? status : keep_text(op, &given.checkpoint_name);
	status = status != 0 ? status : keep_text(op, &given.checkpoint);
	if (status != 0) {
		http_problem(request, status, err.code != 0 ? err.text : NULL, NULL);
		return;
	}
	op->request.transact.checkpoint_name = given.checkpoint_name;
	op->request.transact.checkpoint = given.checkpoint;
	http_delivery_start(request);
}

static void checkpoint_read(struct http_request *request)
{
	const struct checkpoint_request *checkpoint =
		&http_delivery_op(request)->request.checkpoint;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_text(&writer, "checkpointName", checkpoint->name);
	json_member_text(&writer, "checkpoint", buf_bytes(&checkpoint->value));
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

void http_get_checkpoint(struct http_request *request)
{
	struct op_delivery *op =
		http_delivery_new(request, DELIVERY_CHECKPOINT_GET, checkpoint_read);
	if (op == NULL) {
		return;
	}
	if (buf_add(&op->texts, request->params[1].data, request->params[1].size) != 0) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	op->request.checkpoint.name = buf_bytes(&op->texts);
	http_delivery_start(request);
}

/* ---- Parked events ---- */

static void parked_listed(struct http_request *request)
{
	const struct parked_request *parked = &http_delivery_op(request)->request.parked;
	ANNALS_CLEANUP(http_typed_reader_release) struct http_typed_reader typed = {0};
	struct buf body = BUF_INIT;
	struct json_writer writer;
	bool as_json;
	if (!read_data(request, &typed, &as_json)) {
		return;
	}
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_u64(&writer, "count", parked->count);
	json_name(&writer, "parked");
	json_begin_array(&writer);
	for (size_t i = 0; i < parked->parked_count; i++) {
		const struct parked_info *info = &parked->parked[i];
		const struct delivered_event place = {.topic_id = info->topic_id,
			.partition = info->partition,
			.offset = info->offset,
			.position = info->position,
			.recorded_us = info->recorded_us};
		json_begin_object(&writer);
		http_delivery_write_topic(request, &writer, info->topic_id);
		json_member_u64(&writer, "partition", info->partition);
		json_member_u64(&writer, "offset", info->offset);
		json_member_cstring(&writer, "reason", info->reason);
		json_member_cstring(&writer, "member", info->member);
		json_member_u64(&writer, "deliveries", info->deliveries);
		http_json_time(&writer, "parked", info->parked_us);
		http_delivery_write_event(request, &writer, "event",
			bytes_of(parked->bytes.data + info->at, info->size), &place,
			as_json ? &typed : NULL);
		json_end_object(&writer);
	}
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

/* ?after=partition.offset of ?topic= */
static int read_after(struct parked_request *parked, struct bytes after)
{
	uint64_t partition, offset;
	size_t at = 0;
	while (at < after.size && after.data[at] != '.') {
		at++;
	}
	if (at == after.size || parse_u64(bytes_of(after.data, at), &partition) != 0 ||
		partition > UINT32_MAX ||
		parse_u64(bytes_of(after.data + at + 1, after.size - at - 1), &offset) != 0) {
		return ANNALS_E_INVALID;
	}
	parked->has_place = true;
	parked->partition = (uint32_t)partition;
	parked->offset = offset;
	return 0;
}

void http_get_parked(struct http_request *request)
{
	struct bytes topic, after;
	uint64_t limit;
	struct error err = {0};
	struct op_delivery *op;
	int status = 0;
	if (!check_data(request) ||
		!http_param_u64(request, "limit", 100, 1, PARKED_PAGE_MAX, &limit) ||
		!http_param(request, "topic", &topic) || !http_param(request, "after", &after)) {
		return;
	}
	op = http_delivery_new(request, DELIVERY_PARKED_LIST, parked_listed);
	if (op == NULL) {
		return;
	}
	op->request.parked.limit = (uint32_t)limit;
	if (topic.size > 0) {
		status = http_delivery_topic(request, topic, &op->request.parked.topic_id, &err);
	}
	if (status == 0 && after.size > 0 &&
		(topic.size == 0 || read_after(&op->request.parked, after) != 0)) {
		status = error_fail(&err, ANNALS_E_INVALID,
			"'after' is partition.offset of the topic that 'topic' names");
	}
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
	} else {
		http_delivery_start(request);
	}
}

static void parked_changed(struct http_request *request)
{
	const struct parked_request *parked = &http_delivery_op(request)->request.parked;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_bool(&writer, "dryRun", parked->dry_run);
	json_member_u64(&writer, "count", parked->count);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

struct parked_fields {
	struct bytes topic;
	uint64_t partition, offset, limit;
	bool dry_run;
};

static void change_parked(struct http_request *request, enum delivery_operation operation)
{
	static const struct http_field fields[] = {
		{"topic", HTTP_FIELD_TEXT, offsetof(struct parked_fields, topic), 0},
		{"partition", HTTP_FIELD_U64, offsetof(struct parked_fields, partition),
			UINT32_MAX},
		{"offset", HTTP_FIELD_U64, offsetof(struct parked_fields, offset), INT64_MAX},
		{"limit", HTTP_FIELD_U64, offsetof(struct parked_fields, limit), 10000},
		{"dryRun", HTTP_FIELD_BOOL, offsetof(struct parked_fields, dry_run), 0},
	};
	struct parked_fields given = {.partition = UINT64_MAX, .offset = UINT64_MAX};
	struct error err = {0};
	struct op_delivery *op = http_delivery_new(request, operation, parked_changed);
	struct parked_request *parked;
	int status;
	if (op == NULL) {
		return;
	}
	parked = &op->request.parked;
	status = http_fields_read(buf_bytes(&request->body), fields, ANNALS_COUNT_OF(fields),
		&given, &op->texts, &err);
	if (status == 0 && given.topic.size > 0) {
		status = http_delivery_topic(request, given.topic, &parked->topic_id, &err);
	}
	parked->has_place = given.offset != UINT64_MAX;
	if (status == 0 && (parked->has_place != (given.partition != UINT64_MAX) ||
				   (parked->has_place && given.topic.size == 0))) {
		status = error_fail(&err, ANNALS_E_INVALID,
			"one event is named by 'topic', 'partition' and 'offset' together");
	}
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return;
	}
	parked->partition = (uint32_t)given.partition;
	parked->offset = given.offset;
	parked->limit = (uint32_t)given.limit;
	parked->dry_run = given.dry_run;
	http_delivery_start(request);
}

void http_post_parked_replay(struct http_request *request)
{
	change_parked(request, DELIVERY_PARKED_REPLAY);
}

void http_post_parked_drop(struct http_request *request)
{
	change_parked(request, DELIVERY_PARKED_DROP);
}

/* ---- Explaining ---- */

static void explained(struct http_request *request)
{
	static const char *const states[] = {
		"unread", "ready", "leased", "delayed", "waiting", "parked", "finished"};
	static const char *const outcomes[] = {
		"leased", "acknowledged", "refused", "expired", "fenced", "gone", "left"};
	const struct explain_request *explain = &http_delivery_op(request)->request.explain;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "state", states[explain->state]);
	json_member_u64(&writer, "deliveries", explain->deliveries);
	json_member_u64(&writer, "attempts", explain->attempts);
	if (explain->due_us > 0) {
		http_json_time(&writer, "due", explain->due_us);
	}
	json_name(&writer, "history");
	json_begin_array(&writer);
	for (size_t i = 0; i < explain->attempt_count; i++) {
		const struct attempt_info *attempt = &explain->attempts_kept[i];
		json_begin_object(&writer);
		json_member_u64(&writer, "delivery", attempt->number);
		json_member_cstring(&writer, "member", attempt->member);
		json_member_cstring(&writer, "outcome",
			(size_t)attempt->outcome < ANNALS_COUNT_OF(outcomes)
				? outcomes[attempt->outcome]
				: "unknown");
		http_json_time(&writer, "leased", attempt->leased_us);
		http_json_time(&writer, "deadline", attempt->deadline_us);
		if (attempt->ended_us > 0) {
			http_json_time(&writer, "ended", attempt->ended_us);
		}
		if (attempt->reason[0] != 0) {
			json_member_cstring(&writer, "reason", attempt->reason);
		}
		json_end_object(&writer);
	}
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

void http_get_group_event(struct http_request *request)
{
	uint64_t partition, offset;
	struct error err = {0};
	struct op_delivery *op;
	if (!http_path_number(request, 2, UINT32_MAX, &partition) ||
		!http_path_number(request, 3, INT64_MAX, &offset)) {
		return;
	}
	op = http_delivery_new(request, DELIVERY_EXPLAIN, explained);
	if (op == NULL) {
		return;
	}
	if (http_delivery_topic(request, request->params[1], &op->request.explain.topic_id, &err) !=
		0) {
		http_problem(request, err.code, err.text, NULL);
		return;
	}
	op->request.explain.partition = (uint32_t)partition;
	op->request.explain.offset = offset;
	http_delivery_start(request);
}
