/* Making, changing and deleting groups. */
#include "delivery_internal.h"

static const char *config_problem(struct delivery *delivery, const struct group_config *config)
{
	if (config->mode != GROUP_BY_EVENT && config->mode != GROUP_BY_OFFSET) {
		return "a group delivers by event or by offset";
	}
	if (config->mode == GROUP_BY_EVENT &&
		(config->topic_count == 0 || config->topic_count > GROUP_TOPICS_MAX)) {
		return "a group by event has 1 to 64 topics";
	}
	if (config->mode == GROUP_BY_OFFSET && config->topic_count != 0) {
		return "members of a group by offset name its topics when they join";
	}
	if (config->lease_us < LEASE_US_MIN || config->lease_us > LEASE_US_MAX) {
		return "a lease has 1 ms to 12 h";
	}
	if (config->backoff_first_us > DELAY_US_MAX || config->backoff_max_us > DELAY_US_MAX ||
		config->backoff_first_us > config->backoff_max_us) {
		return "the back-off rises from its first to its last value, at most 30 days";
	}
	if (config->attempts_max > 10000) {
		return "an event is parked after at most 10,000 attempts";
	}
	if (config->session_us < 1000000 || config->session_us > UINT64_C(3600000000)) {
		return "a session has 1 s to 1 h";
	}
	for (uint32_t i = 0; i < config->topic_count; i++) {
		struct topic *topic = store_topic_find_id(delivery->store, config->topic_ids[i]);
		if (topic == NULL) {
			return "one of the group's topics does not exist";
		}
		topic_unref(topic);
		for (uint32_t k = 0; k < i; k++) {
			if (config->topic_ids[k] == config->topic_ids[i]) {
				return "a topic is named twice";
			}
		}
	}
	return NULL;
}

/* Places the group at the start of topics that it did not have. */
static int add_topics(struct group *group, enum group_start start)
{
	int status = 0;

	for (uint32_t i = 0; i < group->config.topic_count && status == 0; i++) {
		uint32_t topic_id = group->config.topic_ids[i];
		struct topic *topic = store_topic_find_id(group->delivery->store, topic_id);
		uint32_t count = topic == NULL ? 0 : topic->config.partitions;
		topic_unref(topic);
		for (uint32_t k = 0; k < count && status == 0; k++) {
			struct partition_info info = {0};
			struct group_partition *at = group_partition_find(group, topic_id, k);
			if (at != NULL || store_partition_info(group->delivery->store, topic_id, k,
						  &info) != 0) {
				continue;
			}
			status = group_partition_make(group, topic_id, k,
				start == GROUP_START_LATEST ? info.end_offset : info.first_offset,
				&at);
			if (status == 0) {
				delivery_mark(at);
			}
		}
	}
	return status;
}

void group_put(struct delivery *delivery, struct group_put_request *request)
{
	struct delivery_request *base = &request->delivery;
	struct group *group = group_find(delivery, bytes_text(base->group));
	const char *problem = config_problem(delivery, &request->config);
	struct error err = {0, ""};
	struct list_node *node;
	int status = 0;

	request->created = group == NULL;
	if (group_name_check(bytes_text(base->group), &err) != 0) {
		delivery_answer(delivery, base, ANNALS_E_INVALID, "%s", err.text);
		return;
	}
	if (problem != NULL) {
		delivery_answer(delivery, base, ANNALS_E_INVALID, "%s", problem);
		return;
	}
	if (group != NULL && group->config.mode != request->config.mode) {
		delivery_answer(delivery, base, ANNALS_E_GROUP_MODE,
			"the group '%s' delivers by %s: that cannot be changed", base->group,
			group->config.mode == GROUP_BY_EVENT ? "event" : "offset");
		return;
	}
	if (group == NULL) {
		status = group_make(delivery, base->group, &request->config, &group);
	} else {
		for (uint32_t i = 0; i < group->config.topic_count; i++) {
			bool kept = false;
			for (uint32_t k = 0; k < request->config.topic_count; k++) {
				kept |= request->config.topic_ids[k] == group->config.topic_ids[i];
			}
			struct topic *topic =
				store_topic_find_id(delivery->store, group->config.topic_ids[i]);
			if (!kept && topic != NULL) {
				problem = topic->name;
			}
			topic_unref(topic);
		}
		if (problem != NULL) {
			delivery_answer(delivery, base, ANNALS_E_INVALID,
				"topics can be added to the group '%s', not taken away",
				base->group);
			return;
		}
		group_use_config(group, &request->config);
		LIST_FOR_EACH (node, &group->partitions) {
			struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
			progress_settings_changed(&at->progress);
			delivery_mark(at);
		}
		status = group_write(group);
	}
	status = status != 0 ? status : add_topics(group, request->start);
	if (status == ANNALS_E_LIMIT) {
		delivery_answer(delivery, base, status, "there are %u groups: that is the limit",
			GROUPS_MAX);
	} else if (status != 0) {
		delivery_answer(delivery, base, status, "no memory for a group");
	} else {
		delivery_answer(delivery, base, 0, NULL);
	}
}

void group_delete(struct delivery *delivery, struct group_describe_request *request)
{
	struct group *group = group_find(delivery, bytes_text(request->delivery.group));
	struct row_key key;
	struct list_node *node;
	uint32_t id;

	if (group == NULL) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_UNKNOWN_GROUP,
			"there is no group '%s'", request->delivery.group);
		return;
	}
	for (;;) {
		(void)pthread_mutex_lock(&delivery->mutex);
		node = list_pop(&group->polls);
		(void)pthread_mutex_unlock(&delivery->mutex);
		if (node == NULL) {
			break;
		}
		delivery_answer(delivery,
			&LIST_ENTRY(node, struct poll_request, delivery.waiting)->delivery,
			ANNALS_E_UNKNOWN_GROUP, "the group '%s' was deleted", group->name);
	}
	id = group->id;
	key = row_key_group(ROW_CONFIG, 0, bytes_text(group->name));
	/* Without its settings the group is gone; rows of a number that nobody has are dust. */
	if (row_batch_add(&delivery->rows, row_key_bytes(&key), bytes_of(NULL, 0)) != 0) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_NO_MEMORY, "no memory");
		return;
	}
	delivery->group_count--;
	group_free(group);
	group_delete_all_rows(delivery, id);
	delivery_answer(delivery, &request->delivery, 0, NULL);
}
