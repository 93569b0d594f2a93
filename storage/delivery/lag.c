/* How far groups are behind, in events and in time: all of them, also those by offset that only
 * commit. Looked at now and then by the delivery's thread, for others to ask. */
#include "delivery_internal.h"

#include <annals/clock.h>
#include <stdlib.h>

#define LOOK_US UINT64_C(5000000)
#define SHARE 20u           /* looking takes at most so small a part of the thread's time */
#define READS_MAX 16u       /* partitions of a group whose oldest event is looked at */
#define READS_ROUND 2048u   /* the same of a round */
#define OFFSET_GROUPS 1000u /* groups by offset of a round */

/* Age of the first event at or after `offset`, 0 if there is none. */
static uint64_t age_of(struct group_partition *at, uint64_t offset)
{
	struct batch_reader reader = {0};
	struct read_event event;
	struct partition_info info;
	uint64_t first, age = 0, now_us = delivery_now_us(at->group->delivery);

	if (store_partition_info(at->group->delivery->store, at->topic_id, at->partition, &info) ==
			0 &&
		offset < info.end_offset) {
		offset = ANNALS_MAX(offset, info.first_offset);
		batch_reader_reset(&reader);
		if (batch_reader_next(&reader, at, offset, true, &event, &first) == 1 &&
			event.recorded_us < now_us) {
			age = now_us - event.recorded_us;
		}
		batch_reader_release(&reader);
	}
	return age;
}

uint64_t group_partition_lag_us(struct group_partition *at)
{
	return age_of(at, progress_floor(&at->progress));
}

/* ---- By offset ---- */

struct looking {
	struct delivery *delivery;
	struct group stand_in; /* of a group that nobody keeps: all that reading asks for */
	struct group_lag *lag;
	unsigned reads_left;
};

static int look_at_offset(void *arg, const struct offset_entry *entry)
{
	struct looking *looking = arg;
	struct partition_info info;
	struct group_partition at = {.group = &looking->stand_in,
		.topic_id = entry->topic_id,
		.partition = entry->partition};

	if (store_partition_info(
		    looking->delivery->store, entry->topic_id, entry->partition, &info) != 0 ||
		entry->offset >= info.end_offset) {
		return 0;
	}
	looking->lag->lag += info.end_offset - entry->offset;
	if (looking->reads_left > 0) {
		uint64_t age = age_of(&at, entry->offset);
		looking->reads_left--;
		looking->lag->lag_us = ANNALS_MAX(looking->lag->lag_us, age);
	}
	return 0;
}

static int look_by_offset(
	struct delivery *delivery, struct bytes group, unsigned *reads_left, struct group_lag *ret)
{
	struct looking *looking = calloc(1, sizeof(*looking));
	const unsigned reads = ANNALS_MIN(READS_MAX, *reads_left);
	struct error err;
	int status;

	if (looking == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	looking->delivery = looking->stand_in.delivery = delivery;
	looking->lag = ret;
	looking->reads_left = reads;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->name, group.data, ANNALS_MIN(group.size, GROUP_NAME_MAX));
	status = store_offset_list(delivery->store, group, look_at_offset, looking, &err);
	*reads_left -= reads - looking->reads_left;
	free(looking);
	return status;
}

int group_lag_by_offset(struct delivery *delivery, struct bytes group, struct group_lag *ret)
{
	unsigned reads_left = READS_MAX;

	return look_by_offset(delivery, group, &reads_left, ret);
}

/* ---- All of them ---- */

struct lag_list {
	struct delivery *delivery;
	struct group_lag *lags;
	size_t count, capacity, by_offset;
	unsigned reads_left;
};

static int add(struct lag_list *list, struct group_lag **ret)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
		struct group_lag *larger = realloc(list->lags, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		list->lags = larger;
		list->capacity = capacity;
	}
	*ret = &list->lags[list->count++];
	memset(*ret, 0, sizeof(**ret));
	return 0;
}

static int add_by_event(struct lag_list *list, struct group *group)
{
	struct group_lag *lag;
	struct list_node *node;
	unsigned reads = ANNALS_MIN(READS_MAX, list->reads_left);
	int status = add(list, &lag);

	if (status != 0) {
		return status;
	}
	memcpy(lag->name, group->name, sizeof(lag->name));
	LIST_FOR_EACH (node, &group->partitions) {
		struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
		uint64_t events = group_partition_lag(at);
		lag->lag += events;
		if (events > 0 && reads > 0) {
			reads--;
			list->reads_left--;
			uint64_t age = group_partition_lag_us(at);
			lag->lag_us = ANNALS_MAX(lag->lag_us, age);
		}
	}
	return 0;
}

static int add_by_offset(void *arg, struct bytes name)
{
	struct lag_list *list = arg;
	struct group_lag *lag;
	int status;

	if (list->by_offset++ == OFFSET_GROUPS) {
		return 1; /* enough */
	}
	status = add(list, &lag);
	status =
		status != 0 ? status : look_by_offset(list->delivery, name, &list->reads_left, lag);
	return status;
}

void groups_look_at_lag(struct delivery *delivery)
{
	struct lag_list list = {.delivery = delivery, .reads_left = READS_ROUND};
	const uint64_t begin_ns = clock_monotonic_ns(), now_us = delivery_now_us(delivery);
	struct list_node *node;
	struct error err;
	int status = 0;

	if (delivery->stepped || now_us < delivery->next_lag_us) {
		return;
	}
	LIST_FOR_EACH (node, &delivery->groups) {
		struct group *group = LIST_ENTRY(node, struct group, node);
		if (status == 0 && group->config.mode == GROUP_BY_EVENT) {
			status = add_by_event(&list, group);
		}
	}
	status = status != 0 ? status
			     : store_group_list(delivery->store, add_by_offset, &list, &err);
	delivery->next_lag_us =
		now_us + ANNALS_MAX(LOOK_US, (clock_monotonic_ns() - begin_ns) / 1000 * SHARE);
	if (status < 0) {
		free(list.lags); /* what was known stays */
		return;
	}
	(void)pthread_mutex_lock(&delivery->mutex);
	free(delivery->lags);
	delivery->lags = list.lags;
	delivery->lag_count = list.count;
	(void)pthread_mutex_unlock(&delivery->mutex);
}

int delivery_lags(
	struct delivery *delivery, int (*fn)(void *arg, const struct group_lag *lag), void *arg)
{
	struct group_lag *copy;
	size_t count;
	int status = 0;

	(void)pthread_mutex_lock(&delivery->mutex);
	count = delivery->lag_count;
	copy = malloc((count + 1) * sizeof(*copy));
	if (copy != NULL && count > 0) {
		memcpy(copy, delivery->lags, count * sizeof(*copy));
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
