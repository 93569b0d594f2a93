/* Consume, produce, acknowledge in one commit; the checkpoints that such commits keep. */
#include "http_append.h"
#include "http_delivery.h"
#include <annals/cloudevents.h>

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
