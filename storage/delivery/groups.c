/*
 * Groups: their settings, their partitions, loading them.
 *
 * Row of a group: version u8 = 1, id u32, mode u8, flags u8 (bit 0: parked events let others pass),
 * attempts_max u32, created, lease, first and last back-off, parked bytes, session u64 each, key of
 * its hash of keys 16 bytes, count of topics u32, ids u32 each.
 */
#include "delivery_internal.h"

#include <annals/hash.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define VERSION 1u
#define FIXED_BYTES (1 + 4 + 1 + 1 + 4 + 6 * 8 + 16 + 4)
#define CHECK_US 500000u

void group_config_init(struct group_config *config, enum group_mode mode)
{
	*config = (struct group_config){
		.mode = mode,
		.lease_us = 30000000,
		.attempts_max = 10,
		.backoff_first_us = 1000000,
		.backoff_max_us = 300000000,
		.parked_bytes_max = 64u << 20,
		.session_us = 30000000,
	};
}

/* ---- Finding ---- */

struct group *group_find(struct delivery *delivery, struct bytes name)
{
	struct list_node *node;

	LIST_FOR_EACH (node, &delivery->groups) {
		struct group *group = LIST_ENTRY(node, struct group, node);
		if (bytes_is(name, group->name)) {
			return group;
		}
	}
	return NULL;
}

struct group_partition *group_partition_find(
	const struct group *group, uint32_t topic_id, uint32_t partition)
{
	struct list_node *node;

	LIST_FOR_EACH (node, &group->partitions) {
		struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
		if (at->topic_id == topic_id && at->partition == partition) {
			return at;
		}
	}
	return NULL;
}

/* ---- Making ---- */

static struct group *group_new(struct delivery *delivery, const char *name)
{
	struct group *group = calloc(1, sizeof(*group));

	if (group == NULL) {
		return NULL;
	}
	group->delivery = delivery;
	(void)snprintf(group->name, sizeof(group->name), "%s", name);
	member_names_init(&group->names);
	list_init(&group->node);
	list_init(&group->partitions);
	list_init(&group->polls);
	list_init(&group->members);
	return group;
}

void group_use_config(struct group *group, const struct group_config *config)
{
	group->config = *config;
	group->settings = (struct progress_settings){config->attempts_max, config->backoff_first_us,
		config->backoff_max_us, config->parked_pass};
}

static bool comes_before(const struct group_partition *a, const struct group_partition *b)
{
	return a->topic_id != b->topic_id ? a->topic_id < b->topic_id : a->partition < b->partition;
}

int group_partition_make(struct group *group, uint32_t topic_id, uint32_t partition,
	uint64_t cursor, struct group_partition **ret)
{
	struct group_partition *at = calloc(1, sizeof(*at));
	struct list_node *before;

	if (at == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	at->group = group;
	at->topic_id = topic_id;
	at->partition = partition;
	list_init(&at->dirty_node);
	progress_init(&at->progress, &group->settings, &group->names, cursor, group->id);
	at->progress.note = group_note;
	at->progress.arg = at;
	batch_reader_reset(&at->reader);
	/* In order, so that lists of parked events can be read page by page. */
	before = group->partitions.prev;
	while (before != &group->partitions &&
		comes_before(at, LIST_ENTRY(before, struct group_partition, node))) {
		before = before->prev;
	}
	list_add_head(before, &at->node);
	group->partition_count++;
	*ret = at;
	return 0;
}

void group_partition_free(struct group_partition *at)
{
	progress_release(&at->progress);
	batch_reader_release(&at->reader);
	buf_release(&at->read.batches);
	free(at);
}

/* Out of everything; its memory goes when nobody outside refers to it any more. */
static void partition_remove(struct group_partition *at)
{
	struct group *group = at->group;
	struct delivery *delivery = group->delivery;

	list_remove(&at->node);
	list_remove(&at->dirty_node);
	at->dirty = true; /* nobody may list it again */
	group->partition_count--;
	group->turn = group->turn == at ? NULL : group->turn;
	finished_forget_partition(group, at);
	if (delivery->again_at == at) {
		batch_reader_reset(&delivery->again);
		delivery->again_at = NULL;
	}
	if (at->is_watched && store_watch_cancel(delivery->store, &at->watch)) {
		at->is_watched = false;
		delivery->watches--;
	}
	group->reads -= at->is_reading;
	if (at->is_watched || at->is_reading) {
		at->is_removed = true; /* it is on its way back */
		progress_release(&at->progress);
	} else {
		group_partition_free(at);
	}
}

void group_free(struct group *group)
{
	while (!list_is_empty(&group->partitions)) {
		partition_remove(LIST_ENTRY(group->partitions.next, struct group_partition, node));
	}
	members_release(group);
	finished_release(group);
	member_names_release(&group->names);
	list_remove(&group->node);
	free(group);
}

void groups_release(struct delivery *delivery)
{
	while (!list_is_empty(&delivery->groups)) {
		group_free(LIST_ENTRY(delivery->groups.next, struct group, node));
	}
}

int group_write(struct group *group)
{
	const struct group_config *config = &group->config;
	uint8_t row[FIXED_BYTES + 4 * GROUP_TOPICS_MAX], *at = row;
	const uint64_t numbers[] = {group->created_us, config->lease_us, config->backoff_first_us,
		config->backoff_max_us, config->parked_bytes_max, config->session_us};
	struct row_key key = row_key_group(ROW_CONFIG, 0, bytes_text(group->name));

	*at++ = VERSION;
	store_u32(at, group->id);
	at[4] = (uint8_t)config->mode;
	at[5] = config->parked_pass ? 1 : 0;
	store_u32(at + 6, config->attempts_max);
	at += 10;
	for (size_t i = 0; i < ANNALS_COUNT_OF(numbers); i++, at += 8) {
		store_u64(at, numbers[i]);
	}
	memcpy(at, group->hash_key, sizeof(group->hash_key));
	store_u32(at + 16, config->topic_count);
	at += 20;
	for (uint32_t i = 0; i < config->topic_count; i++, at += 4) {
		store_u32(at, config->topic_ids[i]);
	}
	return row_batch_add(
		&group->delivery->rows, row_key_bytes(&key), bytes_of(row, (size_t)(at - row)));
}

static int group_read(struct group *group, struct bytes row)
{
	struct group_config config = {0};
	const uint8_t *at = row.data;
	uint64_t numbers[6];

	if (row.size < FIXED_BYTES || at[0] != VERSION) {
		return ANNALS_E_CORRUPT_DATA;
	}
	group->id = load_u32(at + 1);
	config.mode = (enum group_mode)at[5];
	config.parked_pass = (at[6] & 1) != 0;
	config.attempts_max = load_u32(at + 7);
	at += 11;
	for (size_t i = 0; i < ANNALS_COUNT_OF(numbers); i++, at += 8) {
		numbers[i] = load_u64(at);
	}
	group->created_us = numbers[0];
	config.lease_us = numbers[1];
	config.backoff_first_us = numbers[2];
	config.backoff_max_us = numbers[3];
	config.parked_bytes_max = numbers[4];
	config.session_us = numbers[5];
	memcpy(group->hash_key, at, sizeof(group->hash_key));
	config.topic_count = load_u32(at + 16);
	at += 20;
	if (config.topic_count > GROUP_TOPICS_MAX ||
		row.size < FIXED_BYTES + 4 * (size_t)config.topic_count ||
		(config.mode != GROUP_BY_EVENT && config.mode != GROUP_BY_OFFSET)) {
		return ANNALS_E_CORRUPT_DATA;
	}
	for (uint32_t i = 0; i < config.topic_count; i++, at += 4) {
		config.topic_ids[i] = load_u32(at);
	}
	group_use_config(group, &config);
	return 0;
}

static int write_next_id(struct delivery *delivery, uint32_t id)
{
	struct row_key key = row_key_group(ROW_NEXT_ID, 0, bytes_of(NULL, 0));
	uint8_t value[4];

	store_u32(value, id);
	return row_batch_add(&delivery->rows, row_key_bytes(&key), bytes_of(value, sizeof(value)));
}

int groups_reserve_epoch(struct delivery *delivery, uint32_t epoch)
{
	int status = 0;

	if (epoch > delivery->next_group_id) {
		status = write_next_id(delivery, epoch);
		delivery->next_group_id = status == 0 ? epoch : delivery->next_group_id;
	}
	return status;
}

int group_make(struct delivery *delivery, const char *name, const struct group_config *config,
	struct group **ret)
{
	struct group *group;
	int status;

	if (delivery->group_count >= GROUPS_MAX) {
		return ANNALS_E_LIMIT;
	}
	group = group_new(delivery, name);
	if (group == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	group->id = delivery->next_group_id + 1;
	group->created_us = delivery_now_us(delivery);
	random_bytes(group->hash_key, sizeof(group->hash_key));
	group_use_config(group, config);
	status = write_next_id(delivery, group->id);
	status = status != 0 ? status : group_write(group);
	if (status != 0) {
		group_free(group);
		return status;
	}
	delivery->next_group_id = group->id;
	delivery->group_count++;
	list_add_tail(&delivery->groups, &group->node);
	*ret = group;
	return 0;
}

/* ---- Loading ---- */

static int load_group(void *arg, struct bytes key, struct bytes value)
{
	struct delivery *delivery = arg;
	struct group *group;
	char name[GROUP_NAME_MAX + 1];
	int status;

	if (key.size < 3 || key.size - 2 > GROUP_NAME_MAX) {
		return ANNALS_E_CORRUPT_DATA;
	}
	memcpy(name, key.data + 2, key.size - 2);
	name[key.size - 2] = 0;
	group = group_new(delivery, name);
	if (group == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	status = group_read(group, value);
	if (status != 0) {
		group_free(group);
		return status;
	}
	delivery->next_group_id = ANNALS_MAX(delivery->next_group_id, group->id);
	delivery->group_count++;
	list_add_tail(&delivery->groups, &group->node);
	return 0;
}

static int load_head(void *arg, struct bytes key, struct bytes value)
{
	struct group *group = arg;
	struct group_partition *at;
	uint32_t topic_id;
	int status;

	if (key.size != 14) {
		return ANNALS_E_CORRUPT_DATA;
	}
	topic_id = load_u32_be(key.data + 6);
	status = group_partition_make(group, topic_id, load_u32_be(key.data + 10), 0, &at);
	status = status != 0 ? status : progress_load_head(&at->progress, value);
	if (status == 0) {
		group->delivery->next_group_id =
			ANNALS_MAX(group->delivery->next_group_id, at->progress.epoch);
	}
	return status;
}

static int load_slice(void *arg, struct bytes key, struct bytes value)
{
	struct group *group = arg;
	struct group_partition *at;

	if (key.size != PLACE_KEY_BYTES) {
		return ANNALS_E_CORRUPT_DATA;
	}
	/* The rows of a partition follow each other. */
	at = group->turn;
	if (at == NULL || at->topic_id != load_u32_be(key.data + 6) ||
		at->partition != load_u32_be(key.data + 10)) {
		at = group_partition_find(
			group, load_u32_be(key.data + 6), load_u32_be(key.data + 10));
		group->turn = at;
	}
	return at == NULL ? ANNALS_E_CORRUPT_DATA
			  : progress_load_slice(&at->progress, load_u64_be(key.data + 14), value);
}

static int load_next_id(void *arg, struct bytes key, struct bytes value)
{
	struct delivery *delivery = arg;

	(void)key;
	if (value.size == 4) {
		delivery->next_group_id = ANNALS_MAX(delivery->next_group_id, load_u32(value.data));
	}
	return 0;
}

static int load_generation(void *arg, struct bytes key, struct bytes value)
{
	struct group *group = arg;

	(void)key;
	group->generation = value.size == 4 ? load_u32(value.data) : 0;
	return 0;
}

static int scan_group(struct group *group, enum row_kind kind,
	int (*fn)(void *arg, struct bytes key, struct bytes value), struct error *err)
{
	struct row_key key = row_key_group(kind, group->id, bytes_of(NULL, 0));

	return store_row_scan(
		group->delivery->store, row_key_bytes(&key), bytes_of(NULL, 0), 0, fn, group, err);
}

int groups_load(struct delivery *delivery, struct error *err)
{
	struct row_key configs = row_key_group(ROW_CONFIG, 0, bytes_of(NULL, 0));
	struct row_key next = row_key_group(ROW_NEXT_ID, 0, bytes_of(NULL, 0));
	struct list_node *node, *inner;
	int status = store_row_scan(delivery->store, row_key_bytes(&configs), bytes_of(NULL, 0), 0,
		load_group, delivery, err);

	status = status != 0 ? status
			     : store_row_scan(delivery->store, row_key_bytes(&next),
				       bytes_of(NULL, 0), 0, load_next_id, delivery, err);
	for (node = delivery->groups.next; node != &delivery->groups && status == 0;
		node = node->next) {
		struct group *group = LIST_ENTRY(node, struct group, node);
		status = scan_group(group, ROW_HEAD, load_head, err);
		status = status != 0 ? status : scan_group(group, ROW_SLICE, load_slice, err);
		status = status != 0 ? status
				     : scan_group(group, ROW_GENERATION, load_generation, err);
		group->turn = NULL;
		LIST_FOR_EACH (inner, &group->partitions) {
			progress_load_end(
				&LIST_ENTRY(inner, struct group_partition, node)->progress);
		}
		status = status != 0 ? status
				     : scan_group(group, ROW_FINISHED, finished_load_row, err);
		if (status == 0) {
			parked_load(group);
		}
	}
	if (status == ANNALS_E_CORRUPT_DATA) {
		(void)error_fail(err, status, "stored rows of consumer groups cannot be read");
	}
	return status;
}

/* ---- Partitions that come and go ---- */

struct row_deletion {
	struct delivery *delivery;
	size_t count;
};

static int delete_row(void *arg, struct bytes key, struct bytes value)
{
	struct row_deletion *deletion = arg;

	(void)value;
	deletion->count++;
	return row_batch_add(&deletion->delivery->rows, key, bytes_of(NULL, 0));
}

static const enum row_kind kinds_by_place[] = {ROW_HEAD, ROW_SLICE, ROW_PARKED, ROW_ATTEMPTS};

/* Rows of a group, or of one of its topics. */
int group_delete_rows(struct delivery *delivery, uint32_t group_id, const uint32_t *topic_id)
{
	struct row_deletion deletion = {delivery, 0};
	uint8_t topic[4];
	int status = 0;

	if (topic_id != NULL) {
		store_u32_be(topic, *topic_id);
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(kinds_by_place) && status == 0; i++) {
		struct row_key key = row_key_group(kinds_by_place[i], group_id,
			topic_id == NULL ? bytes_of(NULL, 0) : bytes_of(topic, 4));
		status = store_row_scan(delivery->store, row_key_bytes(&key), bytes_of(NULL, 0), 0,
			delete_row, &deletion, NULL);
	}
	return status;
}

void group_delete_all_rows(struct delivery *delivery, uint32_t group_id)
{
	static const enum row_kind others[] = {ROW_CHECKPOINT, ROW_GENERATION, ROW_FINISHED};

	(void)group_delete_rows(delivery, group_id, NULL);
	for (size_t i = 0; i < ANNALS_COUNT_OF(others); i++) {
		struct row_deletion deletion = {delivery, 0};
		struct row_key key = row_key_group(others[i], group_id, bytes_of(NULL, 0));
		if (store_row_scan(delivery->store, row_key_bytes(&key), bytes_of(NULL, 0), 0,
			    delete_row, &deletion, NULL) != 0) {
			break;
		}
	}
}

static void check_topic(struct group *group, uint32_t topic_id)
{
	struct topic *topic = store_topic_find_id(group->delivery->store, topic_id);
	struct list_node *node;
	struct group_partition *at;
	uint32_t have = 0;

	LIST_FOR_EACH (node, &group->partitions) {
		have += LIST_ENTRY(node, struct group_partition, node)->topic_id == topic_id;
	}
	if (topic != NULL) {
		for (; have < topic->config.partitions &&
			group_partition_make(group, topic_id, have, 0, &at) == 0;
			have++) {
			delivery_mark(at);
		}
	}
	topic_unref(topic);
}

/* Partitions of topics that are gone. False: something is left of them. */
static bool remove_gone(struct group *group)
{
	struct delivery *delivery = group->delivery;
	struct list_node *node, *following;
	uint32_t known = 0; /* the partitions of a topic follow each other, mostly */
	bool removed = false;

	LIST_FOR_EACH_SAFE (node, following, &group->partitions) {
		struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
		struct topic *topic = at->topic_id == known
					      ? NULL
					      : store_topic_find_id(delivery->store, at->topic_id);
		bool is_there = at->topic_id == known || topic != NULL;
		known = is_there ? at->topic_id : known;
		topic_unref(topic);
		if (is_there) {
			continue;
		}
		/* Rows that are on their way would come after their deletion. */
		if (delivery->transactions_in_flight > 0 || delivery->commit_in_flight ||
			group_delete_rows(delivery, group->id, &at->topic_id) != 0) {
			return false;
		}
		partition_remove(at);
		removed = true;
	}
	if (removed) {
		group->parked_bytes = 0; /* count what is left */
		parked_load(group);
	}
	return true;
}

bool groups_check(struct delivery *delivery)
{
	uint64_t now_us = delivery_now_us(delivery);
	uint64_t removed = store_topics_removed(delivery->store);
	struct list_node *node;
	bool all = true;

	if (now_us < delivery->next_check_us && removed == delivery->topics_removed) {
		return true;
	}
	LIST_FOR_EACH (node, &delivery->groups) {
		struct group *group = LIST_ENTRY(node, struct group, node);
		all &= remove_gone(group);
		for (uint32_t i = 0; i < group->config.topic_count; i++) {
			check_topic(group, group->config.topic_ids[i]);
		}
	}
	if (all) {
		delivery->next_check_us = now_us + CHECK_US;
		delivery->topics_removed = removed;
	}
	return all;
}
