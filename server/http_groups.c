/* Consumer groups: settings, members, seeking. */
#include "http_delivery.h"
#include "http_events.h"
#include "server.h"
#include <annals/cloudevents.h>
#include <annals/parse.h>
#include <stdio.h>

/* ---- What the routes share ---- */

static void delivery_done(struct op *op)
{
	struct http_request *request = op->arg;
	void (*answer)(struct http_request * request) =
		(void (*)(struct http_request *))(uintptr_t)request->work;
	if (op->status != 0) {
		http_op_problem(request, op);
	} else {
		answer(request);
	}
}

struct op_delivery *http_delivery_new(struct http_request *request,
	enum delivery_operation operation, void (*answer)(struct http_request *request))
{
	struct op_delivery *op = op_delivery_new(http_loop(request), operation);
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return NULL;
	}
	op->op.done = delivery_done;
	op->op.arg = request;
	request->op = &op->op;
	request->work = (void *)(uintptr_t)answer;
	return op;
}

void http_delivery_start(struct http_request *request)
{
	struct op_delivery *op = http_delivery_op(request);
	if (op_delivery_start(op, request->params[0]) == OP_DONE) {
		delivery_done(&op->op);
	}
}

int http_delivery_topic(
	struct http_request *request, struct bytes name, uint32_t *ret, struct error *err)
{
	struct topic *topic = op_topic_find(http_loop(request), name, 0, err, NULL);
	if (topic == NULL) {
		return err->code;
	}
	*ret = topic->id;
	topic_unref(topic);
	return 0;
}

void http_delivery_write_topic(
	struct http_request *request, struct json_writer *writer, uint32_t topic_id)
{
	struct topic *topic = store_topic_find_id(http_loop(request)->store, topic_id);
	json_name(writer, "topic");
	if (topic == NULL) {
		json_write_null(writer);
	} else {
		json_write_text(writer, bytes_text(topic->name));
	}
	topic_unref(topic);
}

void http_delivery_write_event(struct http_request *request, struct json_writer *writer,
	const char *name, struct bytes encoded, const struct delivered_event *place,
	struct http_typed_reader *typed)
{
	struct topic *topic = store_topic_find_id(http_loop(request)->store, place->topic_id);
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	struct http_walked_event event = {.encoded = encoded, .typed = typed};
	event.place = (struct cloudevent_place){.topic = topic == NULL ? "" : topic->name,
		.topic_uuid = topic == NULL ? (const uint8_t *)"0123456789abcdef" : topic->uuid,
		.partition = place->partition,
		.offset = place->offset,
		.position = place->position,
		.recorded_us = place->recorded_us,
		.version = place->version};
	json_name(writer, name);
	if (http_event_write_json(&text, &event) == 0) {
		json_write_raw(writer, buf_bytes(&text));
	} else {
		json_write_null(writer);
	}
	topic_unref(topic);
}

int http_delivery_copy(
	const char *name, struct bytes text, char *ret, size_t size, struct error *err)
{
	if (text.size >= size || (text.size > 0 && memchr(text.data, 0, text.size) != NULL)) {
		return error_fail(err, ANNALS_E_INVALID, "'%s' has at most %zu bytes and no NUL",
			name, size - 1);
	}
	if (text.size > 0) {
		memcpy(ret, text.data, text.size);
	}
	ret[text.size] = 0;
	return 0;
}

void http_delivery_write_lease(struct json_writer *writer, const char *name, uint32_t topic_id,
	uint32_t partition, uint64_t offset, uint64_t lease)
{
	char text[80];
	(void)snprintf(text, sizeof(text), "%u.%u.%llu.%llu", topic_id, partition,
		(unsigned long long)offset, (unsigned long long)lease);
	json_member_cstring(writer, name, text);
}

static int read_lease(void *arg, const struct json_value *element, struct error *err)
{
	struct op_delivery *op = arg;
	struct settle_entry entry = {0};
	uint64_t numbers[4];
	struct bytes text;
	size_t at = 0;
	if (json_string(element, &op->texts, &text) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "a lease is a text");
	}
	for (size_t i = 0; i < 4; i++) {
		size_t end = at;
		while (end < text.size && text.data[end] != '.') {
			end++;
		}
		if (parse_u64(bytes_of(text.data + at, end - at), &numbers[i]) != 0 ||
			(i < 2 && numbers[i] > UINT32_MAX) || (i < 3) != (end < text.size)) {
			return error_fail(err, ANNALS_E_INVALID,
				"'%.*s' is no lease: give it back as it came",
				(int)ANNALS_MIN(text.size, 80), (const char *)text.data);
		}
		at = end + 1;
	}
	entry.topic_id = (uint32_t)numbers[0];
	entry.partition = (uint32_t)numbers[1];
	entry.offset = numbers[2];
	entry.lease = numbers[3];
	return op_delivery_add_lease(op, &entry) == 0
		       ? 0
		       : error_fail(err, op->op.error.code, "%s", op->op.error.text);
}

int http_delivery_read_leases(
	struct op_delivery *op, const struct json_value *leases, struct error *err)
{
	return http_fields_each(leases, "leases", read_lease, op, err);
}

/* ---- Settings ---- */

static void write_config(
	struct http_request *request, struct json_writer *writer, const struct group_config *config)
{
	json_member_cstring(writer, "mode", config->mode == GROUP_BY_EVENT ? "event" : "offset");
	if (config->mode == GROUP_BY_OFFSET) {
		json_member_u64(writer, "sessionMs", config->session_us / 1000);
		return;
	}
	json_name(writer, "topics");
	json_begin_array(writer);
	for (uint32_t i = 0; i < config->topic_count; i++) {
		struct topic *topic =
			store_topic_find_id(http_loop(request)->store, config->topic_ids[i]);
		if (topic != NULL) {
			json_write_text(writer, bytes_text(topic->name));
		}
		topic_unref(topic);
	}
	json_end_array(writer);
	json_member_u64(writer, "leaseMs", config->lease_us / 1000);
	json_member_u64(writer, "attemptsMax", config->attempts_max);
	json_member_u64(writer, "backoffMs", config->backoff_first_us / 1000);
	json_member_u64(writer, "backoffMaxMs", config->backoff_max_us / 1000);
	json_member_cstring(writer, "parked", config->parked_pass ? "pass" : "wait");
	json_member_u64(writer, "parkedBytesMax", config->parked_bytes_max);
}

static void write_partitions(struct http_request *request, struct json_writer *writer,
	const struct group_describe_request *describe)
{
	json_name(writer, "partitions");
	json_begin_array(writer);
	for (size_t i = 0; i < describe->partition_count; i++) {
		const struct group_partition_info *info = &describe->partitions[i];
		json_begin_object(writer);
		http_delivery_write_topic(request, writer, info->topic_id);
		json_member_u64(writer, "partition", info->partition);
		json_member_u64(writer, "floor", info->floor);
		json_member_u64(writer, "cursor", info->cursor);
		json_member_u64(writer, "endOffset", info->end);
		json_member_u64(writer, "lag", info->lag);
		json_member_u64(writer, "inFlight", info->leased);
		json_member_u64(writer, "ready", info->ready);
		json_member_u64(writer, "delayed", info->delayed);
		json_member_u64(writer, "waiting", info->waiting);
		json_member_u64(writer, "parkedEvents", info->parked);
		json_member_u64(writer, "expired", info->gone);
		json_member_bool(writer, "windowFull", info->is_full);
		json_end_object(writer);
	}
	json_end_array(writer);
}

static void write_members(struct json_writer *writer, const struct group_describe_request *describe)
{
	json_name(writer, "members");
	json_begin_array(writer);
	for (size_t i = 0; i < describe->member_count; i++) {
		const struct group_member_info *info = &describe->members[i];
		json_begin_object(writer);
		json_member_cstring(writer, "member", info->member);
		http_json_time(writer, "joined", info->joined_us);
		http_json_time(writer, "seen", info->seen_us);
		json_member_u64(writer, "partitions", info->partitions);
		json_end_object(writer);
	}
	json_end_array(writer);
}

static void group_described(struct http_request *request)
{
	const struct group_describe_request *describe =
		&http_delivery_op(request)->request.describe;
	const struct group_info *info = &describe->groups[0];
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "group", info->name);
	write_config(request, &writer, &info->config);
	http_json_time(&writer, "created", info->created_us);
	if (info->config.mode == GROUP_BY_OFFSET) {
		json_member_u64(&writer, "generation", info->generation);
		json_member_u64(&writer, "lag", info->lag);
		json_member_u64(&writer, "lagMs", info->lag_us / 1000);
		write_members(&writer, describe);
	} else {
		json_member_u64(&writer, "lag", info->lag);
		json_member_u64(&writer, "lagMs", info->lag_us / 1000);
		json_member_u64(&writer, "inFlight", info->leased);
		json_member_u64(&writer, "delayed", info->delayed);
		json_member_u64(&writer, "waiting", info->waiting);
		json_member_u64(&writer, "parkedEvents", info->parked);
		json_member_u64(&writer, "parkedBytes", info->parked_bytes);
		json_member_u64(&writer, "expired", info->gone);
		json_member_bool(&writer, "paused", info->is_paused);
		write_partitions(request, &writer, describe);
	}
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

void http_get_group(struct http_request *request)
{
	if (http_delivery_new(request, DELIVERY_GROUP_DESCRIBE, group_described) != NULL) {
		http_delivery_start(request);
	}
}

static void group_was_put(struct http_request *request)
{
	const struct group_put_request *put = &http_delivery_op(request)->request.put;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "group", put->delivery.group);
	write_config(request, &writer, &put->config);
	json_end_object(&writer);
	http_json_send(request, put->created ? 201 : 200, &writer);
}

struct put_fields {
	struct bytes mode, from, parked;
	struct json_value topics;
	uint64_t lease_us, attempts_max, backoff_us, backoff_max_us, parked_bytes_max, session_us;
};

struct topic_list {
	struct http_request *request;
	struct buf *scratch;
	uint32_t *ids;
	uint32_t count;
};

static int read_topic(void *arg, const struct json_value *element, struct error *err)
{
	struct topic_list *list = arg;
	struct bytes name;
	int status;
	if (json_string(element, list->scratch, &name) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "'topics' are names");
	}
	if (list->count == GROUP_TOPICS_MAX) {
		return error_fail(
			err, ANNALS_E_LIMIT, "a group has at most %u topics", GROUP_TOPICS_MAX);
	}
	status = http_delivery_topic(list->request, name, &list->ids[list->count], err);
	list->count += status == 0 ? 1 : 0;
	return status;
}

static int read_choice(const char *name, struct bytes text, const char *first, const char *second,
	bool *ret_second, struct error *err)
{
	if (text.size == 0) {
		return 0;
	}
	*ret_second = bytes_is(text, second);
	return *ret_second || bytes_is(text, first)
		       ? 0
		       : error_fail(err, ANNALS_E_INVALID, "'%s' is \"%s\" or \"%s\"", name, first,
				 second);
}

static int read_put(struct http_request *request, struct group_put_request *put,
	struct buf *scratch, struct error *err)
{
	static const struct http_field fields[] = {
		{"mode", HTTP_FIELD_TEXT, offsetof(struct put_fields, mode), 0},
		{"from", HTTP_FIELD_TEXT, offsetof(struct put_fields, from), 0},
		{"parked", HTTP_FIELD_TEXT, offsetof(struct put_fields, parked), 0},
		{"topics", HTTP_FIELD_VALUE, offsetof(struct put_fields, topics), 0},
		{"leaseMs", HTTP_FIELD_MS, offsetof(struct put_fields, lease_us), LEASE_US_MAX},
		{"attemptsMax", HTTP_FIELD_U64, offsetof(struct put_fields, attempts_max), 10000},
		{"backoffMs", HTTP_FIELD_MS, offsetof(struct put_fields, backoff_us), DELAY_US_MAX},
		{"backoffMaxMs", HTTP_FIELD_MS, offsetof(struct put_fields, backoff_max_us),
			DELAY_US_MAX},
		{"parkedBytesMax", HTTP_FIELD_U64, offsetof(struct put_fields, parked_bytes_max),
			UINT64_C(1) << 40},
		{"sessionMs", HTTP_FIELD_MS, offsetof(struct put_fields, session_us),
			UINT64_C(3600000000)},
		{"group", HTTP_FIELD_IGNORED, 0, 0},
	};
	struct put_fields given = {.session_us = 0};
	struct topic_list topics = {request, scratch, put->config.topic_ids, 0};
	bool by_offset = false, latest = false, pass = false;
	int status;
	group_config_init(&put->config, GROUP_BY_EVENT);
	given.lease_us = put->config.lease_us;
	given.attempts_max = put->config.attempts_max;
	given.backoff_us = put->config.backoff_first_us;
	given.backoff_max_us = put->config.backoff_max_us;
	given.parked_bytes_max = put->config.parked_bytes_max;
	given.session_us = put->config.session_us;
	status = http_fields_read(
		buf_bytes(&request->body), fields, ANNALS_COUNT_OF(fields), &given, scratch, err);
	status = status != 0 ? status
			     : read_choice("mode", given.mode, "event", "offset", &by_offset, err);
	status = status != 0 ? status
			     : read_choice("from", given.from, "earliest", "latest", &latest, err);
	status = status != 0 ? status
			     : read_choice("parked", given.parked, "wait", "pass", &pass, err);
	status = status != 0 ? status
			     : http_fields_each(&given.topics, "topics", read_topic, &topics, err);
	put->config.mode = by_offset ? GROUP_BY_OFFSET : GROUP_BY_EVENT;
	put->config.topic_count = topics.count;
	put->config.lease_us = given.lease_us;
	put->config.attempts_max = (uint32_t)given.attempts_max;
	put->config.backoff_first_us = given.backoff_us;
	put->config.backoff_max_us = ANNALS_MAX(given.backoff_max_us, given.backoff_us);
	put->config.parked_pass = pass;
	put->config.parked_bytes_max = given.parked_bytes_max;
	put->config.session_us = given.session_us;
	put->start = latest ? GROUP_START_LATEST : GROUP_START_EARLIEST;
	return status;
}

void http_put_group(struct http_request *request)
{
	struct error err = {0};
	struct op_delivery *op = http_delivery_new(request, DELIVERY_GROUP_PUT, group_was_put);
	if (op == NULL) {
		return;
	}
	if (read_put(request, &op->request.put, &op->texts, &err) != 0) {
		http_problem(request, err.code, err.text, NULL);
	} else {
		http_delivery_start(request);
	}
}

/* ---- Seeking ---- */

static void group_was_moved(struct http_request *request)
{
	const struct seek_request *seek = &http_delivery_op(request)->request.seek;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_bool(&writer, "dryRun", seek->dry_run);
	json_member_u64(&writer, "partitions", seek->partitions);
	json_member_u64(&writer, "leasesEnded", seek->leases);
	json_member_u64(&writer, "deliveredAgain", seek->again);
	json_member_u64(&writer, "skipped", seek->skipped);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

struct seek_fields {
	struct bytes to, topic, time;
	uint64_t partition, offset;
	bool dry_run;
};

static int read_target(
	const struct seek_fields *given, struct seek_request *seek, struct error *err)
{
	int64_t time_ns;
	const int targets =
		(given->to.size > 0) + (given->time.size > 0) + (given->offset != UINT64_MAX);
	if (targets != 1) {
		return error_fail(err, ANNALS_E_INVALID,
			"a place is one of 'to' (\"earliest\", \"latest\"), 'time' and 'offset'");
	}
	seek->value = given->offset;
	seek->target = SEEK_OFFSET;
	if (given->to.size > 0) {
		bool latest = false;
		seek->target = SEEK_EARLIEST;
		const int status = read_choice("to", given->to, "earliest", "latest", &latest, err);
		seek->target = latest ? SEEK_LATEST : SEEK_EARLIEST;
		return status;
	}
	if (given->time.size > 0) {
		seek->target = SEEK_TIME;
		if (parse_rfc3339_ns(given->time, &time_ns) != 0 || time_ns < 0) {
			return error_fail(err, ANNALS_E_INVALID, "'time' is no time of RFC 3339");
		}
		seek->value = (uint64_t)time_ns / 1000;
	}
	return 0;
}

void http_post_seek(struct http_request *request)
{
	static const struct http_field fields[] = {
		{"to", HTTP_FIELD_TEXT, offsetof(struct seek_fields, to), 0},
		{"time", HTTP_FIELD_TEXT, offsetof(struct seek_fields, time), 0},
		{"topic", HTTP_FIELD_TEXT, offsetof(struct seek_fields, topic), 0},
		{"partition", HTTP_FIELD_U64, offsetof(struct seek_fields, partition), UINT32_MAX},
		{"offset", HTTP_FIELD_U64, offsetof(struct seek_fields, offset), INT64_MAX},
		{"dryRun", HTTP_FIELD_BOOL, offsetof(struct seek_fields, dry_run), 0},
	};
	struct seek_fields given = {.partition = UINT32_MAX, .offset = UINT64_MAX};
	struct error err = {0};
	struct op_delivery *op = http_delivery_new(request, DELIVERY_SEEK, group_was_moved);
	int status;
	if (op == NULL) {
		return;
	}
	status = http_fields_read(buf_bytes(&request->body), fields, ANNALS_COUNT_OF(fields),
		&given, &op->texts, &err);
	status = status != 0 ? status : read_target(&given, &op->request.seek, &err);
	if (status == 0 && given.topic.size > 0) {
		status =
			http_delivery_topic(request, given.topic, &op->request.seek.topic_id, &err);
	}
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return;
	}
	op->request.seek.partition = (uint32_t)given.partition;
	op->request.seek.dry_run = given.dry_run;
	http_delivery_start(request);
}

/* ---- Members ---- */

static void member_answered(struct http_request *request)
{
	const struct member_request *member = &http_delivery_op(request)->request.member;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	if (member->delivery.operation == DELIVERY_LEAVE) {
		http_begin(request, 204, NULL);
		http_send(request, NULL);
		return;
	}
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "member", member->member);
	json_member_u64(&writer, "generation", member->generation);
	json_member_u64(&writer, "pending", member->pending);
	json_name(&writer, "assigned");
	json_begin_array(&writer);
	for (size_t i = 0; i < member->assigned_count; i++) {
		json_begin_object(&writer);
		http_delivery_write_topic(request, &writer, member->assigned[i].topic_id);
		json_member_u64(&writer, "partition", member->assigned[i].partition);
		json_end_object(&writer);
	}
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

struct join_fields {
	struct bytes member;
	struct json_value topics;
	uint64_t session_us;
};

void http_post_members(struct http_request *request)
{
	static const struct http_field fields[] = {
		{"member", HTTP_FIELD_TEXT, offsetof(struct join_fields, member), 0},
		{"topics", HTTP_FIELD_VALUE, offsetof(struct join_fields, topics), 0},
		{"sessionMs", HTTP_FIELD_MS, offsetof(struct join_fields, session_us),
			UINT64_C(3600000000)},
	};
	struct join_fields given = {.session_us = 0};
	struct error err = {0};
	struct op_delivery *op = http_delivery_new(request, DELIVERY_JOIN, member_answered);
	struct member_request *member;
	int status;
	if (op == NULL) {
		return;
	}
	member = &op->request.member;
	struct topic_list topics = {request, &op->texts, member->topic_ids, 0};
	status = http_fields_read(buf_bytes(&request->body), fields, ANNALS_COUNT_OF(fields),
		&given, &op->texts, &err);
	status = status != 0 ? status
			     : http_delivery_copy("member", given.member, member->member,
				       sizeof(member->member), &err);
	status = status != 0 ? status
			     : http_fields_each(&given.topics, "topics", read_topic, &topics, &err);
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return;
	}
	member->topic_count = topics.count;
	member->session_us = given.session_us;
	http_delivery_start(request);
}

static void start_member(
	struct http_request *request, enum delivery_operation operation, uint32_t generation)
{
	struct error err = {0};
	struct op_delivery *op = http_delivery_new(request, operation, member_answered);
	if (op == NULL) {
		return;
	}
	op->request.member.generation = generation;
	if (http_delivery_copy("member", request->params[1], op->request.member.member,
		    sizeof(op->request.member.member), &err) != 0) {
		http_problem(request, err.code, err.text, NULL);
	} else {
		http_delivery_start(request);
	}
}

void http_post_heartbeat(struct http_request *request)
{
	uint64_t generation;
	if (http_param_u64(request, "generation", 0, 0, UINT32_MAX, &generation)) {
		start_member(request, DELIVERY_HEARTBEAT, (uint32_t)generation);
	}
}

void http_delete_member(struct http_request *request)
{
	start_member(request, DELIVERY_LEAVE, 0);
}
