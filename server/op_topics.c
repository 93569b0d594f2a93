#include "ops_internal.h"
#include <assert.h>

struct op_topic *op_topic_new(struct loop *loop, enum op_kind kind)
{
	assert(kind == OP_TOPIC_CREATE || kind == OP_TOPIC_UPDATE || kind == OP_TOPIC_DELETE);
	return op_new(loop, kind, sizeof(struct op_topic));
}

static int check_config(struct op *op, const struct topic_config *config)
{
	const struct options *options = op->loop->options;
	if (config->partitions == 0 && op->kind == OP_TOPIC_CREATE) {
		return op_fail(op, ANNALS_E_INVALID, "a topic has at least 1 partition");
	}
	if (config->partitions > options->partitions_max) {
		op->detail.limit_name = "partitions-max";
		op->detail.limit = options->partitions_max;
		return op_fail(op, ANNALS_E_LIMIT,
			"%u partitions are more than partitions-max allows (%llu)",
			config->partitions, (unsigned long long)options->partitions_max);
	}
	if (config->event_bytes_max > options->event_bytes_max) {
		op->detail.limit_name = "event-bytes-max";
		op->detail.limit = options->event_bytes_max;
		return op_fail(op, ANNALS_E_INVALID,
			"event_bytes_max %u is above the server's event-bytes-max (%llu)",
			config->event_bytes_max, (unsigned long long)options->event_bytes_max);
	}
	if (config->durability > DURABILITY_OS) {
		return op_fail(op, ANNALS_E_INVALID, "durability %u is not known",
			(unsigned)config->durability);
	}
	return 0;
}

int op_topic_start(struct op_topic *topic, struct bytes name, const struct topic_config *config)
{
	static const enum store_operation operations[OP_KINDS] = {
		[OP_TOPIC_CREATE] = STORE_TOPIC_CREATE,
		[OP_TOPIC_UPDATE] = STORE_TOPIC_UPDATE,
		[OP_TOPIC_DELETE] = STORE_TOPIC_DELETE,
	};
	struct op *op = &topic->op;
	size_t size = ANNALS_MIN(name.size, (size_t)TOPIC_NAME_MAX);
	int status;

	memcpy(op->detail.topic, name.data, size);
	op->detail.topic[size] = 0;
	status = topic_name_check(name, &op->error);
	if (status == 0 && config != NULL) {
		status = check_config(op, config);
	}
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	op_prepare(op, &topic->request.base, operations[op->kind]);
	memcpy(topic->request.name, op->detail.topic, sizeof(topic->request.name));
	if (config != NULL) {
		topic->request.config = *config;
	}
	status = store_submit(op->loop->store, &topic->request.base, &op->error);
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	op->outstanding++;
	return op_pending(op);
}

static void topic_returned(struct op *op, struct store_request *request)
{
	struct op_topic *topic = (struct op_topic *)op;
	op->topic = ANNALS_TAKE(topic->request.topic);
	op_complete(op, op_take_error(op, request));
}

static void topic_clear(struct op *op)
{
	topic_unref(((struct op_topic *)op)->request.topic);
}

#define TOPIC_CLASS(suffix, text)                                                                  \
	const struct op_class op_class_topic_##suffix = {                                          \
		.name = text,                                                                      \
		.size_bytes = sizeof(struct op_topic),                                             \
		.returned = topic_returned,                                                        \
		.clear = topic_clear,                                                              \
	}
TOPIC_CLASS(create, "topic-create");
TOPIC_CLASS(update, "topic-update");
TOPIC_CLASS(delete, "topic-delete");
