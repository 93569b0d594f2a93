#include "proto_native.h"
#include <annals/hash.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Topic messages ---- */

static void fill_config(Annals__V1__TopicConfig *to, const struct topic_config *from)
{
	annals__v1__topic_config__init(to);
	to->partitions = from->partitions;
	to->retention_age_us = from->retention_age_us;
	to->retention_bytes = from->retention_bytes;
	to->retention_events = from->retention_events;
	to->durability = (Annals__V1__Durability)from->durability;
	to->streams = from->streams;
	to->event_bytes_max = from->event_bytes_max;
	to->dedupe_age_us = from->dedupe_age_us;
	to->dedupe_events = from->dedupe_events;
	to->dedupe_off = from->dedupe_age_us == 0;
	to->query_index = from->query_index;
	to->validation = (Annals__V1__Validation)from->validation;
}

static struct topic_config read_config(const Annals__V1__TopicConfig *from)
{
	struct topic_config config;
	memset(&config, 0, sizeof(config));
	if (from != NULL) {
		config.partitions = from->partitions;
		config.retention_age_us = from->retention_age_us;
		config.retention_bytes = from->retention_bytes;
		config.retention_events = from->retention_events;
		config.durability = (enum durability)from->durability;
		config.streams = from->streams != 0;
		config.event_bytes_max = from->event_bytes_max;
		config.dedupe_age_us = from->dedupe_off           ? 0
				       : from->dedupe_age_us != 0 ? from->dedupe_age_us
				       : config.streams           ? OP_DEDUPE_AGE_US
								  : 0;
		config.dedupe_events = from->dedupe_events;
		config.query_index = from->query_index != 0;
		config.validation = (enum validation)from->validation;
	}
	return config;
}

struct topic_message {
	Annals__V1__TopicInfo info;
	Annals__V1__TopicConfig config;
	char uuid[37];
};

static void fill_topic(struct topic_message *to, struct topic *topic)
{
	annals__v1__topic_info__init(&to->info);
	fill_config(&to->config, &topic->config);
	uuid_format(to->uuid, topic->uuid);
	to->info.name = topic->name;
	to->info.id = topic->id;
	to->info.uuid = to->uuid;
	to->info.config = &to->config;
	to->info.created_us = topic->created_us;
}

/* Adds the state of the partitions, in memory of the arena. */
static int fill_partitions(struct loop *loop, struct topic_message *to, const struct topic *topic)
{
	uint32_t count = topic->config.partitions;
	Annals__V1__PartitionInfo *infos = unpack_arena_alloc(&loop->arena, count * sizeof(*infos));
	Annals__V1__PartitionInfo **pointers =
		unpack_arena_alloc(&loop->arena, count * sizeof(*pointers));
	if (infos == NULL || pointers == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct partition_info state;
		int status = store_partition_info(loop->store, topic->id, i, &state);
		if (status != 0) {
			return status;
		}
		annals__v1__partition_info__init(&infos[i]);
		infos[i].partition = i;
		infos[i].first_offset = state.first_offset;
		infos[i].end_offset = state.end_offset;
		infos[i].bytes = state.stored_bytes;
		pointers[i] = &infos[i];
	}
	to->info.n_partition = count;
	to->info.partition = pointers;
	return 0;
}

/* ---- Create, update, delete ---- */

static void topic_done(struct op *op)
{
	struct native_request *request = op->arg;
	struct loop *loop = op->loop;
	struct topic_message message;
	int status = 0;
	request->op = NULL;
	if (op->status != 0) {
		native_fail_op(request, op);
		return;
	}
	unpack_arena_reset(&loop->arena);
	if (op->topic != NULL) {
		fill_topic(&message, op->topic);
		status = fill_partitions(loop, &message, op->topic);
	}
	if (status != 0) {
		op_fail(op, status, "%s", annals_status_text(status));
		native_fail_op(request, op);
		return;
	}
	if (op->kind == OP_TOPIC_CREATE) {
		Annals__V1__TopicCreateResponse response;
		annals__v1__topic_create_response__init(&response);
		response.topic = &message.info;
		response.created = ((struct op_topic *)op)->request.created;
		native_answer_message(request, &response.base);
	} else if (op->kind == OP_TOPIC_UPDATE) {
		Annals__V1__TopicUpdateResponse response;
		annals__v1__topic_update_response__init(&response);
		response.topic = &message.info;
		native_answer_message(request, &response.base);
	} else {
		Annals__V1__TopicDeleteResponse response;
		annals__v1__topic_delete_response__init(&response);
		native_answer_message(request, &response.base);
	}
	op_release(op);
}

static void start_topic(struct native_request *request, enum op_kind kind, const char *name,
	const struct topic_config *config)
{
	struct op_topic *topic = op_topic_new(request->base.conn->loop, kind);
	if (topic == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		return;
	}
	topic->op.arg = request;
	topic->op.done = topic_done;
	request->op = &topic->op;
	if (op_topic_start(topic, bytes_text(name), config) == OP_DONE) {
		topic_done(&topic->op);
	}
}

void native_topic_create(struct native_request *request, const struct frame *frame)
{
	Annals__V1__TopicCreateRequest *message =
		native_unpack(request, frame, &annals__v1__topic_create_request__descriptor);
	struct topic_config config;
	if (message != NULL) {
		config = read_config(message->config);
		start_topic(request, OP_TOPIC_CREATE, message->name, &config);
	}
}

/* Copies one named setting. */
static bool set_field(
	struct topic_config *config, const char *name, const struct topic_config *from)
{
	if (strcmp(name, "partitions") == 0) {
		config->partitions = from->partitions;
	} else if (strcmp(name, "retention_age_us") == 0) {
		config->retention_age_us = from->retention_age_us;
	} else if (strcmp(name, "retention_bytes") == 0) {
		config->retention_bytes = from->retention_bytes;
	} else if (strcmp(name, "retention_events") == 0) {
		config->retention_events = from->retention_events;
	} else if (strcmp(name, "durability") == 0) {
		config->durability = from->durability;
	} else if (strcmp(name, "streams") == 0) {
		config->streams = from->streams;
	} else if (strcmp(name, "dedupe_age_us") == 0 || strcmp(name, "dedupe_off") == 0) {
		config->dedupe_age_us = from->dedupe_age_us;
	} else if (strcmp(name, "dedupe_events") == 0) {
		config->dedupe_events = from->dedupe_events;
	} else if (strcmp(name, "query_index") == 0) {
		config->query_index = from->query_index;
	} else if (strcmp(name, "validation") == 0) {
		config->validation = from->validation;
	} else if (strcmp(name, "event_bytes_max") == 0) {
		config->event_bytes_max = from->event_bytes_max;
	} else {
		return false;
	}
	return true;
}

void native_topic_update(struct native_request *request, const struct frame *frame)
{
	struct loop *loop = request->base.conn->loop;
	Annals__V1__TopicUpdateRequest *message =
		native_unpack(request, frame, &annals__v1__topic_update_request__descriptor);
	struct topic_config config;
	struct topic_config wanted;
	struct error err = {0};
	struct op_detail detail;
	struct topic *topic;
	if (message == NULL) {
		return;
	}
	memset(&detail, 0, sizeof(detail));
	topic = op_topic_find(loop, bytes_text(message->name), 0, &err, &detail);
	if (topic == NULL) {
		native_fail(request, err.code, err.text, &detail);
		return;
	}
	config = topic->config;
	topic_unref(topic);
	wanted = read_config(message->config);
	for (size_t i = 0; i < message->n_field; i++) {
		if (!set_field(&config, message->field[i], &wanted)) {
			/* Whole or not at all: the text must stay UTF-8. */
			error_fail(&err, ANNALS_E_INVALID, "a topic has no setting '%s'",
				strlen(message->field[i]) <= 100 ? message->field[i] : "...");
			native_fail(request, ANNALS_E_INVALID, err.text, &detail);
			return;
		}
	}
	start_topic(request, OP_TOPIC_UPDATE, message->name, &config);
}

void native_topic_delete(struct native_request *request, const struct frame *frame)
{
	Annals__V1__TopicDeleteRequest *message =
		native_unpack(request, frame, &annals__v1__topic_delete_request__descriptor);
	if (message != NULL) {
		start_topic(request, OP_TOPIC_DELETE, message->name, NULL);
	}
}

/* ---- List and describe ---- */

void native_topic_describe(struct native_request *request, const struct frame *frame)
{
	struct loop *loop = request->base.conn->loop;
	Annals__V1__TopicDescribeRequest *message =
		native_unpack(request, frame, &annals__v1__topic_describe_request__descriptor);
	Annals__V1__TopicDescribeResponse response;
	struct topic_message info;
	struct error err = {0};
	struct op_detail detail;
	struct topic *topic;
	int status;
	if (message == NULL) {
		return;
	}
	memset(&detail, 0, sizeof(detail));
	topic = op_topic_find(loop, bytes_text(message->name), 0, &err, &detail);
	if (topic == NULL) {
		native_fail(request, err.code, err.text, &detail);
		return;
	}
	counter_add(&loop->counters.operations[OP_TOPIC_DESCRIBE], 1);
	unpack_arena_reset(&loop->arena);
	fill_topic(&info, topic);
	status = fill_partitions(loop, &info, topic);
	if (status != 0) {
		native_fail(request, status, annals_status_text(status), &detail);
	} else {
		annals__v1__topic_describe_response__init(&response);
		response.topic = &info.info;
		native_answer_message(request, &response.base);
	}
	topic_unref(topic);
}

static void answer_topics(
	struct native_request *request, struct topic **topics, size_t count, const char *prefix)
{
	struct loop *loop = request->base.conn->loop;
	size_t prefix_size = strlen(prefix);
	struct topic_message *infos = calloc(count + 1, sizeof(*infos));
	Annals__V1__TopicInfo **pointers = calloc(count + 1, sizeof(*pointers));
	Annals__V1__TopicListResponse response;
	if (infos == NULL || pointers == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
	} else {
		annals__v1__topic_list_response__init(&response);
		for (size_t i = 0; i < count; i++) {
			if (strncmp(topics[i]->name, prefix, prefix_size) == 0) {
				fill_topic(&infos[i], topics[i]);
				pointers[response.n_topic++] = &infos[i].info;
			}
		}
		response.topic = pointers;
		counter_add(&loop->counters.operations[OP_TOPIC_LIST], 1);
		native_answer_message(request, &response.base);
	}
	free(infos);
	free(pointers);
}

void native_topic_list(struct native_request *request, const struct frame *frame)
{
	Annals__V1__TopicListRequest *message =
		native_unpack(request, frame, &annals__v1__topic_list_request__descriptor);
	struct topic **topics = NULL;
	size_t count = 0;
	if (message == NULL) {
		return;
	}
	if (store_topic_list(request->base.conn->loop->store, &topics, &count) != 0) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		return;
	}
	answer_topics(request, topics, count, message->prefix);
	for (size_t i = 0; i < count; i++) {
		topic_unref(topics[i]);
	}
	free(topics);
}
