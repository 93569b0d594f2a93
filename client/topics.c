/* Topics: create, describe, list, update, delete, and the number of partitions remembered per
 * topic. */
#include "control.h"
#include <stdlib.h>

int annals_ping(struct annals_client *client, int timeout_ms, uint64_t *ret_time_us,
	struct annals_error *error)
{
	Annals__V1__PingRequest request = ANNALS__V1__PING_REQUEST__INIT;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_PING, &request.base,
		&annals__v1__ping_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_OK) {
		if (ret_time_us) {
			*ret_time_us = ((Annals__V1__PingResponse *)(void *)answer)->time_us;
		}
		protobuf_c_message_free_unpacked(answer, NULL);
	}
	return status;
}

/* --- topics in memory: one allocation each */

static struct annals_topic *topic_from(const Annals__V1__TopicInfo *info)
{
	static const Annals__V1__TopicConfig no_config = ANNALS__V1__TOPIC_CONFIG__INIT;
	const Annals__V1__TopicConfig *config = info->config ? info->config : &no_config;
	size_t name_size = strlen(info->name) + 1, uuid_size = strlen(info->uuid) + 1;
	size_t list_size = info->n_partition * sizeof(struct annals_partition);
	struct annals_topic *topic = calloc(1, sizeof(*topic) + list_size + name_size + uuid_size);
	if (!topic) {
		return NULL;
	}
	struct annals_partition *partitions = (struct annals_partition *)(void *)(topic + 1);
	char *name = (char *)(partitions + info->n_partition), *uuid = name + name_size;
	memcpy(name, info->name, name_size);
	memcpy(uuid, info->uuid, uuid_size);
	topic->name = name;
	topic->uuid = uuid;
	topic->id = info->id;
	topic->created_us = info->created_us;
	topic->config.partitions = config->partitions;
	topic->config.retention_age_us = config->retention_age_us;
	topic->config.retention_bytes = config->retention_bytes;
	topic->config.retention_events = config->retention_events;
	topic->config.durability = (enum annals_durability)config->durability;
	topic->config.streams = config->streams;
	topic->config.event_bytes_max = config->event_bytes_max;
	topic->config.dedupe_age_us = config->dedupe_age_us;
	topic->config.dedupe_events = config->dedupe_events;
	topic->config.dedupe_off = config->dedupe_off;
	topic->config.query_index = config->query_index;
	topic->config.validation = (enum annals_validation)config->validation;
	topic->partition_count = (uint32_t)info->n_partition;
	topic->partitions = partitions;
	for (size_t i = 0; i < info->n_partition; i++) {
		const Annals__V1__PartitionInfo *from = info->partition[i];
		partitions[i] = (struct annals_partition){
			from->partition, from->first_offset, from->end_offset, from->bytes};
	}
	return topic;
}

static int take_topic(
	const Annals__V1__TopicInfo *info, struct annals_topic **ret, struct annals_error *error)
{
	if (!ret) {
		return ANNALS_OK;
	}
	if (!info) {
		return client_error(
			error, ANNALS_E_MALFORMED, "the server's answer holds no topic");
	}
	struct annals_topic *topic = topic_from(info);
	if (!topic) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a topic");
	}
	*ret = topic;
	return ANNALS_OK;
}

void annals_topic_free(struct annals_topic *topic)
{
	free(topic);
}

void annals_topics_free(struct annals_topic **topics, size_t count)
{
	for (size_t i = 0; topics && i < count; i++) {
		free(topics[i]);
	}
	free(topics);
}

static void config_to(const struct annals_topic_config *from, Annals__V1__TopicConfig *to)
{
	to->partitions = from->partitions;
	to->retention_age_us = from->retention_age_us;
	to->retention_bytes = from->retention_bytes;
	to->retention_events = from->retention_events;
	to->durability = (Annals__V1__Durability)from->durability;
	to->streams = from->streams != 0;
	to->event_bytes_max = from->event_bytes_max;
	to->dedupe_age_us = from->dedupe_age_us;
	to->dedupe_events = from->dedupe_events;
	to->dedupe_off = from->dedupe_off != 0;
	to->query_index = from->query_index != 0;
	to->validation = (Annals__V1__Validation)from->validation;
}

int annals_topic_create(struct annals_client *client, const char *name,
	const struct annals_topic_config *config, int timeout_ms, struct annals_topic **ret_topic,
	struct annals_error *error)
{
	Annals__V1__TopicConfig sent = ANNALS__V1__TOPIC_CONFIG__INIT;
	Annals__V1__TopicCreateRequest request = ANNALS__V1__TOPIC_CREATE_REQUEST__INIT;
	config_to(config, &sent);
	request.name = control_text(name);
	request.config = &sent;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_TOPIC_CREATE, &request.base,
		&annals__v1__topic_create_response__descriptor, timeout_ms, &answer, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__TopicCreateResponse *response = (const void *)answer;
	bool created = response->created;
	status = take_topic(response->topic, ret_topic, error);
	protobuf_c_message_free_unpacked(answer, NULL);
	topic_forget(client, name);
	return status == ANNALS_OK ? created : status;
}

int annals_topic_describe(struct annals_client *client, const char *name, int timeout_ms,
	struct annals_topic **ret_topic, struct annals_error *error)
{
	Annals__V1__TopicDescribeRequest request = ANNALS__V1__TOPIC_DESCRIBE_REQUEST__INIT;
	request.name = control_text(name);
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_TOPIC_DESCRIBE, &request.base,
		&annals__v1__topic_describe_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_OK) {
		status = take_topic(
			((const Annals__V1__TopicDescribeResponse *)(const void *)answer)->topic,
			ret_topic, error);
		protobuf_c_message_free_unpacked(answer, NULL);
	}
	return status;
}

int annals_topic_list(struct annals_client *client, const char *prefix, int timeout_ms,
	struct annals_topic ***ret_topics, size_t *ret_count, struct annals_error *error)
{
	Annals__V1__TopicListRequest request = ANNALS__V1__TOPIC_LIST_REQUEST__INIT;
	request.prefix = control_text(prefix);
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_TOPIC_LIST, &request.base,
		&annals__v1__topic_list_response__descriptor, timeout_ms, &answer, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__TopicListResponse *response = (const void *)answer;
	struct annals_topic **topics = calloc(response->n_topic + 1, sizeof(struct annals_topic *));
	if (!topics) {
		status = client_error(error, ANNALS_E_NO_MEMORY, "no memory for the topics");
	}
	for (size_t i = 0; status == ANNALS_OK && i < response->n_topic; i++) {
		status = take_topic(response->topic[i], &topics[i], error);
	}
	if (status == ANNALS_OK) {
		*ret_topics = topics;
		*ret_count = response->n_topic;
	} else {
		annals_topics_free(topics, response->n_topic);
	}
	protobuf_c_message_free_unpacked(answer, NULL);
	return status;
}

int annals_topic_update(struct annals_client *client, const char *name,
	const struct annals_topic_config *config, const char *const *fields, size_t field_count,
	int timeout_ms, struct annals_topic **ret_topic, struct annals_error *error)
{
	char *names[16];
	if (field_count > ANNALS_COUNT_OF(names)) {
		return client_error(error, ANNALS_E_INVALID, "more fields than a topic has");
	}
	Annals__V1__TopicConfig sent = ANNALS__V1__TOPIC_CONFIG__INIT;
	Annals__V1__TopicUpdateRequest request = ANNALS__V1__TOPIC_UPDATE_REQUEST__INIT;
	config_to(config, &sent);
	for (size_t i = 0; i < field_count; i++) {
		names[i] = control_text(fields[i]);
	}
	request.name = control_text(name);
	request.config = &sent;
	request.field = names;
	request.n_field = field_count;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_TOPIC_UPDATE, &request.base,
		&annals__v1__topic_update_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_OK) {
		status = take_topic(
			((const Annals__V1__TopicUpdateResponse *)(const void *)answer)->topic,
			ret_topic, error);
		protobuf_c_message_free_unpacked(answer, NULL);
		topic_forget(client, name);
	}
	return status;
}

int annals_topic_delete(
	struct annals_client *client, const char *name, int timeout_ms, struct annals_error *error)
{
	Annals__V1__TopicDeleteRequest request = ANNALS__V1__TOPIC_DELETE_REQUEST__INIT;
	request.name = control_text(name);
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_TOPIC_DELETE, &request.base,
		&annals__v1__topic_delete_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_OK) {
		protobuf_c_message_free_unpacked(answer, NULL);
		topic_forget(client, name);
	}
	return status;
}

/* --- remembered partition counts */

static struct topic_cache *find(struct annals_client *client, const char *topic)
{
	struct list_node *node;
	LIST_FOR_EACH (node, &client->topics) {
		struct topic_cache *cached = LIST_ENTRY(node, struct topic_cache, node);
		if (strcmp(cached->name, topic) == 0) {
			return cached;
		}
	}
	return NULL;
}

void topic_forget(struct annals_client *client, const char *topic)
{
	pthread_mutex_lock(&client->lock);
	struct topic_cache *cached = find(client, topic);
	if (cached) {
		list_remove(&cached->node);
	}
	pthread_mutex_unlock(&client->lock);
	free(cached);
}

int topic_partitions(struct annals_client *client, const char *topic, int timeout_ms,
	uint32_t *ret_partitions, struct annals_error *error)
{
	pthread_mutex_lock(&client->lock);
	struct topic_cache *cached = find(client, topic);
	uint32_t partitions = cached ? cached->partitions : 0;
	pthread_mutex_unlock(&client->lock);
	if (partitions > 0) {
		*ret_partitions = partitions;
		return ANNALS_OK;
	}
	struct annals_topic *described;
	int status = annals_topic_describe(client, topic, timeout_ms, &described, error);
	if (status != ANNALS_OK) {
		return status;
	}
	partitions = described->config.partitions;
	annals_topic_free(described);
	if (partitions == 0) {
		return client_error(
			error, ANNALS_E_MALFORMED, "topic '%s' has no partitions", topic);
	}
	cached = malloc(sizeof(*cached) + strlen(topic) + 1);
	if (cached) {
		memcpy(cached->name, topic, strlen(topic) + 1);
		cached->partitions = partitions;
		topic_forget(client, topic);
		pthread_mutex_lock(&client->lock);
		list_add_head(&client->topics, &cached->node);
		pthread_mutex_unlock(&client->lock);
	}
	*ret_partitions = partitions;
	return ANNALS_OK;
}
