#include "ops_internal.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static const struct op_class op_class_topic_list = {.name = "topic-list"};
static const struct op_class op_class_topic_describe = {.name = "topic-describe"};
static const struct op_class op_class_offset_fetch = {.name = "offset-fetch"};
static const struct op_class op_class_group_list = {.name = "group-list"};

static const struct op_class *const classes[OP_KINDS] = {
	[OP_APPEND] = &op_class_append,
	[OP_READ] = &op_class_read,
	[OP_FIND_TIME] = &op_class_find_time,
	[OP_TAIL] = &op_class_tail,
	[OP_TOPIC_CREATE] = &op_class_topic_create,
	[OP_TOPIC_UPDATE] = &op_class_topic_update,
	[OP_TOPIC_DELETE] = &op_class_topic_delete,
	[OP_TOPIC_LIST] = &op_class_topic_list,
	[OP_TOPIC_DESCRIBE] = &op_class_topic_describe,
	[OP_OFFSET_COMMIT] = &op_class_offset_commit,
	[OP_OFFSET_FETCH] = &op_class_offset_fetch,
	[OP_GROUP_DELETE] = &op_class_group_delete,
	[OP_GROUP_LIST] = &op_class_group_list,
	[OP_DELIVERY] = &op_class_delivery,
	[OP_SCHEMA] = &op_class_schema,
	[OP_ROWS] = &op_class_rows,
	[OP_WEBHOOK] = &op_class_webhook,
	[OP_PRODUCER_OPEN] = &op_class_producer,
	[OP_STREAM_READ] = &op_class_stream_read,
	[OP_QUERY] = &op_class_query,
};
_Static_assert((int)OP_KINDS <= COUNTERS_OPERATIONS, "a counter for each operation");

const char *op_kind_name(enum op_kind kind)
{
	return classes[kind]->name;
}

void *op_new(struct loop *loop, enum op_kind kind, size_t zero_bytes)
{
	size_t size = classes[kind]->size_bytes;
	struct op *op = loop_alloc(loop, size);
	if (op == NULL) {
		return NULL;
	}
	assert(zero_bytes >= sizeof(*op) && zero_bytes <= size);
	/* The texts are large and rarely used: only their first byte is set. */
	op->loop = loop;
	op->kind = kind;
	op->pending = op->released = false;
	op->done = NULL;
	op->arg = NULL;
	op->started_ns = loop_now_ns(loop);
	op->status = 0;
	op->error.code = 0;
	op->error.text[0] = 0;
	op->detail.topic[0] = 0;
	memset(&op->detail.has_partition, 0,
		sizeof(op->detail) - offsetof(struct op_detail, has_partition));
	op->topic = NULL;
	op->outstanding = 0;
	list_init(&op->waiting_node);
	memset(op + 1, 0, zero_bytes - sizeof(*op));
	return op;
}

static void op_free(struct op *op)
{
	const struct op_class *class = classes[op->kind];
	list_remove(&op->waiting_node);
	if (class->clear != NULL) {
		class->clear(op);
	}
	topic_unref(op->topic);
	loop_free(op->loop, op, class->size_bytes);
}

void op_release(struct op *op)
{
	if (op == NULL) {
		return;
	}
	assert(!op->released);
	op->released = true;
	list_remove(&op->waiting_node);
	if (classes[op->kind]->cancel != NULL) {
		classes[op->kind]->cancel(op);
	}
	if (op->outstanding == 0) {
		op_free(op);
	}
}

void op_drain_all(struct loop *loop)
{
	struct list_node waiting;
	struct list_node *node;
	list_init(&waiting);
	list_splice(&waiting, &loop->waiting);
	while ((node = list_pop(&waiting)) != NULL) {
		struct op *op = LIST_ENTRY(node, struct op, waiting_node);
		classes[op->kind]->drain(op);
	}
}

void op_stop_waiting(struct op *op)
{
	if (op != NULL && !list_is_empty(&op->waiting_node)) {
		list_remove(&op->waiting_node);
		classes[op->kind]->drain(op);
	}
}

static void count(struct op *op)
{
	struct counters *counters = &op->loop->counters;
	counter_add(&counters->operations[op->kind], 1);
	if (op->status < 0 && -op->status < COUNTERS_STATUSES) {
		counter_add(&counters->failures[-op->status], 1);
	}
}

static void set_status(struct op *op, int status)
{
	op->status = status;
	if (status != 0) {
		op->error.code = status;
		if (op->error.text[0] == 0) {
			(void)snprintf(op->error.text, sizeof(op->error.text), "%s",
				annals_status_text(status));
		}
		if (op->detail.retry_after_ms == 0) {
			op->detail.retry_after_ms = op_retry_after_ms(status);
		}
	}
}

int op_done_at_once(struct op *op, int status)
{
	set_status(op, status);
	count(op);
	return OP_DONE;
}

int op_pending(struct op *op)
{
	op->pending = true;
	return OP_PENDING;
}

void op_complete(struct op *op, int status)
{
	set_status(op, status);
	count(op);
	op->pending = false;
	op->done(op);
}

void op_prepare(struct op *op, struct store_request *request, enum store_operation operation)
{
	list_init(&request->node);
	request->operation = operation;
	request->queue = &op->loop->completions;
	request->arg = op;
	request->status = 0;
	request->error.code = 0;
	request->error.text[0] = 0;
}

void op_returned(struct store_request *request)
{
	struct op *op = request->arg;
	assert(op->outstanding > 0);
	op->outstanding--;
	if (!op->released) {
		classes[op->kind]->returned(op, request);
	} else if (op->outstanding == 0) {
		op_free(op);
	}
}

int op_take_error(struct op *op, const struct store_request *request)
{
	if (request->status != 0 && request->error.text[0] != 0) {
		op->error = request->error;
	}
	if (request->status != 0 && op->topic != NULL && op->detail.topic[0] == 0) {
		memcpy(op->detail.topic, op->topic->name, sizeof(op->detail.topic));
	}
	return request->status;
}

int op_fail(struct op *op, int status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(op->error.text, sizeof(op->error.text), format, args);
	va_end(args);
	op->error.code = status;
	op->status = status;
	return status;
}

uint64_t op_retry_after_ms(int status)
{
	switch (status) {
	case ANNALS_E_OVERLOADED:
		return 100;
	case ANNALS_E_STORAGE_FULL:
		return 5000;
	default:
		return annals_status_retryable(status) ? 1000 : 0;
	}
}

struct topic *op_topic_find(struct loop *loop, struct bytes name, uint32_t topic_id,
	struct error *err, struct op_detail *detail)
{
	struct topic *topic;
	if (name.size == 0 && topic_id != 0) {
		topic = store_topic_find_id(loop->store, topic_id);
		if (topic == NULL) {
			error_fail(err, ANNALS_E_UNKNOWN_TOPIC, "no topic has the id %u", topic_id);
		}
		return topic;
	}
	if (topic_name_check(name, err) != 0) {
		return NULL;
	}
	if (detail !=
		NULL) { /* never a name that is none: cut to size it may end inside a character */
		memcpy(detail->topic, name.data, name.size);
		detail->topic[name.size] = 0;
	}
	topic = store_topic_find(loop->store, name);
	if (topic == NULL) {
		error_fail(err, ANNALS_E_UNKNOWN_TOPIC, "no topic '%.*s'", (int)name.size,
			(const char *)name.data);
	} else if (topic_id != 0 && topic->id != topic_id) {
		error_fail(err, ANNALS_E_TOPIC_RECREATED,
			"the topic '%s' with the id %u was deleted; the topic of this name now has "
			"the id %u",
			topic->name, topic_id, topic->id);
		topic_unref(topic);
		topic = NULL;
	}
	return topic;
}

int op_resolve_topic(struct op *op, struct bytes name, uint32_t topic_id)
{
	struct error err = {0};
	op->topic = op_topic_find(op->loop, name, topic_id, &err, &op->detail);
	if (op->topic == NULL) {
		op->error = err;
		return err.code;
	}
	return 0;
}
