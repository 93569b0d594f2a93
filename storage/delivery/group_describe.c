/* What groups tell of themselves: to requests, and to other threads. */
#include "delivery_internal.h"

#include <stdlib.h>

#define PUBLISH_US 250000u

static struct group_partition_info describe_partition(struct group_partition *at)
{
	struct progress *progress = &at->progress;
	struct partition_info info = {0};
	struct group_partition_info out = {
		.topic_id = at->topic_id, .partition = at->partition, .epoch = progress->epoch};

	if (store_partition_info(at->group->delivery->store, at->topic_id, at->partition, &info) !=
		0) {
		info.end_offset = progress->cursor; /* the topic is gone */
	}
	out.cursor = progress->cursor;
	out.floor = progress_floor(progress);
	out.end = info.end_offset;
	out.leased = progress->counts[ITEM_LEASED] + progress->counts[ITEM_FINISHING];
	out.ready = progress->counts[ITEM_READY];
	out.delayed = progress->counts[ITEM_DELAYED];
	out.waiting = progress->counts[ITEM_WAITING];
	out.parked = progress->counts[ITEM_PARKED];
	out.gone = progress->gone_events;
	out.lag = (out.end > out.cursor ? out.end - out.cursor : 0) + out.leased + out.ready +
		  out.delayed + out.waiting;
	out.is_full = progress_is_full(progress);
	return out;
}

static void describe(struct group *group, struct group_info *info)
{
	struct list_node *node;

	memset(info, 0, sizeof(*info));
	memcpy(info->name, group->name, sizeof(info->name));
	info->config = group->config;
	info->created_us = group->created_us;
	LIST_FOR_EACH (node, &group->partitions) {
		struct group_partition_info one =
			describe_partition(LIST_ENTRY(node, struct group_partition, node));
		info->lag += one.lag;
		info->leased += one.leased;
		info->ready += one.ready;
		info->delayed += one.delayed;
		info->waiting += one.waiting;
		info->parked += one.parked;
		info->gone += one.gone;
	}
	info->parked_bytes = group->parked_bytes;
	info->is_paused = group->parked_bytes >= group->config.parked_bytes_max;
	info->deliveries = group->deliveries;
	info->redeliveries = group->redeliveries;
	info->acknowledged = group->acknowledged;
	info->refused = group->refused;
	info->expired = group->expired;
	info->parked_total = group->parked_total;
	info->generation = group->generation;
	info->member_count = group->member_count;
	(void)pthread_mutex_lock(&group->delivery->mutex);
	LIST_FOR_EACH (node, &group->polls) {
		info->waiting_polls++;
	}
	(void)pthread_mutex_unlock(&group->delivery->mutex);
}

uint64_t group_partition_lag(struct group_partition *at)
{
	return describe_partition(at).lag;
}

static int describe_one(struct group *group, struct group_describe_request *request)
{
	struct list_node *node;

	request->partitions = calloc(group->partition_count + 1, sizeof(*request->partitions));
	request->members = calloc(group->member_count + 1, sizeof(*request->members));
	if (request->partitions == NULL || request->members == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	LIST_FOR_EACH (node, &group->partitions) {
		struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
		uint64_t age = group_partition_lag_us(at);
		request->partitions[request->partition_count++] = describe_partition(at);
		request->groups[0].lag_us = ANNALS_MAX(request->groups[0].lag_us, age);
	}
	if (group->config.mode == GROUP_BY_OFFSET) {
		struct group_lag lag;
		int status = group_lag_by_offset(group->delivery, bytes_text(group->name), &lag);
		if (status != 0) {
			return status;
		}
		request->groups[0].lag = lag.lag;
		request->groups[0].lag_us = lag.lag_us;
	}
	LIST_FOR_EACH (node, &group->members) {
		struct member *member = LIST_ENTRY(node, struct member, node);
		struct group_member_info *info = &request->members[request->member_count++];
		memcpy(info->member, member->name, sizeof(info->member));
		info->joined_us = member->joined_us;
		info->seen_us = member->seen_us;
		info->partitions = member->partitions;
	}
	return 0;
}

void group_describe(struct delivery *delivery, struct group_describe_request *request)
{
	bool all = request->delivery.operation == DELIVERY_GROUP_LIST;
	struct group *group =
		all ? NULL : group_find(delivery, bytes_text(request->delivery.group));
	struct list_node *node;
	int status = 0;

	if (!all && group == NULL) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_UNKNOWN_GROUP,
			"there is no group '%s'", request->delivery.group);
		return;
	}
	request->groups = calloc(all ? delivery->group_count + 1 : 1, sizeof(*request->groups));
	if (request->groups == NULL) {
		status = ANNALS_E_NO_MEMORY;
	} else if (all) {
		LIST_FOR_EACH (node, &delivery->groups) {
			describe(LIST_ENTRY(node, struct group, node),
				&request->groups[request->group_count++]);
		}
	} else {
		describe(group, &request->groups[0]);
		request->group_count = 1;
		status = describe_one(group, request);
	}
	delivery_answer(delivery, &request->delivery, status, "no memory to describe groups");
}

void group_describe_release(struct group_describe_request *request)
{
	free(request->groups);
	free(request->partitions);
	free(request->members);
	request->groups = NULL;
	request->partitions = NULL;
	request->members = NULL;
	request->group_count = request->partition_count = request->member_count = 0;
}

/* ---- For other threads ---- */

void groups_publish(struct delivery *delivery)
{
	uint64_t now_us = delivery_now_us(delivery);
	struct group_info *infos, *old;
	struct list_node *node;
	size_t count = 0;

	if (now_us < delivery->next_publish_us &&
		delivery->published_count == delivery->group_count) {
		return;
	}
	delivery->next_publish_us = now_us + PUBLISH_US;
	infos = calloc(delivery->group_count + 1, sizeof(*infos));
	if (infos == NULL) {
		return;
	}
	LIST_FOR_EACH (node, &delivery->groups) {
		describe(LIST_ENTRY(node, struct group, node), &infos[count++]);
	}
	(void)pthread_mutex_lock(&delivery->mutex);
	old = delivery->published;
	delivery->published = infos;
	delivery->published_count = count;
	(void)pthread_mutex_unlock(&delivery->mutex);
	free(old);
}

int delivery_stats(
	struct delivery *delivery, int (*fn)(void *arg, const struct group_info *info), void *arg)
{
	struct group_info *copy;
	size_t count;
	int status = 0;

	(void)pthread_mutex_lock(&delivery->mutex);
	count = delivery->published_count;
	copy = malloc((count + 1) * sizeof(*copy));
	if (copy != NULL && count > 0) {
		memcpy(copy, delivery->published, count * sizeof(*copy));
	}
	(void)pthread_mutex_unlock(&delivery->mutex);
	if (copy == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < count && status == 0; i++) {
		status = fn(arg, &copy[i]);
	}
	free(copy);
	return status;
}

int delivery_group_mode(struct delivery *delivery, struct bytes group)
{
	int mode = 0;

	(void)pthread_mutex_lock(&delivery->mutex);
	for (size_t i = 0; i < delivery->published_count && mode == 0; i++) {
		if (bytes_is(group, delivery->published[i].name)) {
			mode = (int)delivery->published[i].config.mode;
		}
	}
	(void)pthread_mutex_unlock(&delivery->mutex);
	return mode;
}
