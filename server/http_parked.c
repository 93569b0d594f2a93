/* Parked events of groups, and what a group did with one event. */
#include "http_delivery.h"
#include <annals/parse.h>

static void parked_listed(struct http_request *request)
{
	const struct parked_request *parked = &http_delivery_op(request)->request.parked;
	ANNALS_CLEANUP(http_typed_reader_release) struct http_typed_reader typed = {0};
	struct buf body = BUF_INIT;
	struct json_writer writer;
	bool as_json;
	if (!http_delivery_read_data(request, &typed, &as_json)) {
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
			.recorded_us = info->recorded_us,
			.version = VERSION_NONE};
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
	if (!http_delivery_check_data(request) ||
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
