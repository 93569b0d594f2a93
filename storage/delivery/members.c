/*
 * Groups by offset: members, their partitions, and the generation that fences.
 *
 * Each change of members or partitions makes a new generation, whose number is kept so that it
 * rises over restarts too. Sharing out, topic by topic: everybody gets as many partitions as
 * everybody else, or one more; a partition stays with its member as long as that has no more than
 * its share; the rest goes to those with fewest, in the order of joining. So as few as possible
 * move, and the same members and history give the same shares.
 *
 * A partition that moves stays with its holder until that lets go of it: with a heartbeat that
 * names a generation in which it is not the member's any more, by leaving, or when the time of its
 * session has passed since. So the holder finishes and commits what it has begun, the next one
 * goes on exactly there, and never do two members have one partition.
 */
#include "completion.h"
#include "delivery_internal.h"

#include <annals/fault.h>
#include <annals/hash.h>
#include <stdio.h>
#include <stdlib.h>

#define MEMBERS_MAX 10000u
#define ASSIGNMENTS_MAX 100000u

void member_request_release(struct member_request *request)
{
	free(request->assigned);
	request->assigned = NULL;
	request->assigned_count = 0;
}

void members_release(struct group *group)
{
	struct list_node *node;

	while ((node = list_pop(&group->members)) != NULL) {
		free(LIST_ENTRY(node, struct member, node));
	}
	free(group->assignments);
	group->assignments = NULL;
	group->assignment_count = 0;
	group->member_count = 0;
}

static struct member *member_find(struct group *group, const char *name)
{
	struct list_node *node;

	LIST_FOR_EACH (node, &group->members) {
		struct member *member = LIST_ENTRY(node, struct member, node);
		if (strcmp(member->name, name) == 0) {
			return member;
		}
	}
	return NULL;
}

static bool wants(const struct member *member, uint32_t topic_id)
{
	for (uint32_t i = 0; i < member->topic_count; i++) {
		if (member->topic_ids[i] == topic_id) {
			return true;
		}
	}
	return false;
}

/* ---- Sharing out ---- */

static int compare_assignments(const void *a, const void *b)
{
	const struct assignment *left = a, *right = b;

	if (left->topic_id != right->topic_id) {
		return left->topic_id < right->topic_id ? -1 : 1;
	}
	return left->partition < right->partition ? -1 : left->partition > right->partition;
}

/* All partitions of all topics that somebody wants, with whom they were. */
static int list_partitions(struct group *group, struct assignment **ret, size_t *ret_count)
{
	struct assignment *list = NULL;
	struct list_node *node;
	size_t count = 0;

	LIST_FOR_EACH (node, &group->members) {
		struct member *member = LIST_ENTRY(node, struct member, node);
		for (uint32_t i = 0; i < member->topic_count; i++) {
			uint32_t id = member->topic_ids[i], partitions;
			struct topic *topic = store_topic_find_id(group->delivery->store, id);
			struct assignment *larger;
			bool known = topic == NULL;
			for (size_t k = 0; k < count && !known; k++) {
				known = list[k].topic_id == id;
			}
			partitions = known ? 0 : topic->config.partitions;
			topic_unref(topic);
			if (partitions == 0 || count + partitions > ASSIGNMENTS_MAX) {
				continue;
			}
			larger = realloc(list, (count + partitions) * sizeof(*list));
			if (larger == NULL) {
				free(list);
				return ANNALS_E_NO_MEMORY;
			}
			list = larger;
			for (uint32_t k = 0; k < partitions; k++) {
				list[count++] = (struct assignment){.topic_id = id, .partition = k};
			}
		}
	}
	if (count > 1) {
		qsort(list, count, sizeof(*list), compare_assignments);
	}
	for (size_t i = 0; i < count && group->assignment_count > 0; i++) {
		const struct assignment *was = bsearch(&list[i], group->assignments,
			group->assignment_count, sizeof(*list), compare_assignments);
		if (was != NULL) {
			struct member *stays = was->member != NULL ? was->member : was->holder;
			list[i] = *was;
			list[i].member =
				stays != NULL && wants(stays, list[i].topic_id) ? stays : NULL;
		}
	}
	*ret = list;
	*ret_count = count;
	return 0;
}

static void share_topic(struct group *group, struct assignment *list, size_t count)
{
	struct list_node *node;
	uint32_t takers = 0, share, extra;

	LIST_FOR_EACH (node, &group->members) {
		struct member *member = LIST_ENTRY(node, struct member, node);
		takers += wants(member, list[0].topic_id);
		member->partitions = 0;
	}
	if (takers == 0) {
		return;
	}
	share = (uint32_t)(count / takers);
	extra = (uint32_t)(count % takers);
	for (size_t i = 0; i < count; i++) {
		struct member *member = list[i].member;
		if (member == NULL) {
			continue;
		}
		if (member->partitions < share || (member->partitions == share && extra > 0)) {
			extra -= member->partitions == share ? 1 : 0;
			member->partitions++;
		} else {
			list[i].member = NULL;
		}
	}
	for (size_t i = 0; i < count; i++) {
		struct member *least = NULL;
		if (list[i].member != NULL) {
			continue;
		}
		LIST_FOR_EACH (node, &group->members) {
			struct member *member = LIST_ENTRY(node, struct member, node);
			if (wants(member, list[i].topic_id) &&
				(least == NULL || member->partitions < least->partitions)) {
				least = member;
			}
		}
		list[i].member = least;
		list[i].moved = group->generation + 1;
		list[i].moved_us = delivery_now_us(group->delivery);
		least->partitions++;
	}
}

static bool is_moving(const struct assignment *assignment)
{
	return assignment->holder != assignment->member;
}

static void hand_over(struct assignment *assignment, uint32_t generation)
{
	assignment->holder = assignment->member;
	assignment->since = generation;
}

static bool is_same(const struct group *group, const struct assignment *list, size_t count)
{
	if (count != group->assignment_count) {
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		if (compare_assignments(&list[i], &group->assignments[i]) != 0 ||
			list[i].member != group->assignments[i].member) {
			return false;
		}
	}
	return true;
}

/* A new generation, if anything is different (or `force`). */
static int rebalance(struct group *group, bool force)
{
	struct row_key key = row_key_group(ROW_GENERATION, group->id, bytes_of(NULL, 0));
	struct assignment *list = NULL;
	struct list_node *node;
	uint8_t generation[4];
	size_t count = 0;
	int status = list_partitions(group, &list, &count);

	if (status != 0) {
		return status;
	}
	for (size_t i = 0, end; i < count; i = end) {
		for (end = i; end < count && list[end].topic_id == list[i].topic_id; end++) {
		}
		share_topic(group, list + i, end - i);
	}
	LIST_FOR_EACH (node, &group->members) {
		LIST_ENTRY(node, struct member, node)->partitions = 0;
	}
	for (size_t i = 0; i < count; i++) {
		list[i].member->partitions++;
		if (list[i].holder == NULL) {
			hand_over(&list[i], group->generation + 1);
		}
	}
	if (!force && is_same(group, list, count)) {
		free(list);
		return 0;
	}
	store_u32(generation, group->generation + 1);
	status =
		row_batch_add(&group->delivery->rows, row_key_bytes(&key), bytes_of(generation, 4));
	if (status != 0) {
		free(list);
		return status;
	}
	group->generation++;
	free(group->assignments);
	group->assignments = list;
	group->assignment_count = count;
	return 0;
}

/* What it holds and shall not have any more since a generation up to this one. `all`: it begins
 * anew, so that an earlier process of its name is fenced. */
static void let_go(struct group *group, struct member *member, uint32_t generation, bool all)
{
	for (size_t i = 0; i < group->assignment_count; i++) {
		struct assignment *assignment = &group->assignments[i];
		if (assignment->holder != member) {
			continue;
		}
		if (all) {
			assignment->holder = NULL;
		} else if (is_moving(assignment) && assignment->moved <= generation) {
			hand_over(assignment, group->generation);
		}
	}
}

static void remove_member(struct group *group, struct member *member)
{
	for (size_t i = 0; i < group->assignment_count; i++) {
		struct assignment *assignment = &group->assignments[i];
		assignment->member = assignment->member == member ? NULL : assignment->member;
		assignment->holder = assignment->holder == member ? NULL : assignment->holder;
	}
	list_remove(&member->node);
	group->member_count--;
	free(member);
}

void members_run_timers(struct group *group, uint64_t now_us, uint64_t *ret_next_us)
{
	struct list_node *node, *following;
	bool left = false;

	LIST_FOR_EACH_SAFE (node, following, &group->members) {
		struct member *member = LIST_ENTRY(node, struct member, node);
		uint64_t end_us = member->seen_us + member->session_us;
		if (end_us <= now_us) {
			remove_member(group, member);
			left = true;
		} else {
			*ret_next_us = ANNALS_MIN(*ret_next_us, end_us);
		}
	}
	if (left) {
		(void)rebalance(group, true);
	}
	for (size_t i = 0; i < group->assignment_count; i++) {
		struct assignment *assignment = &group->assignments[i];
		if (is_moving(assignment) && assignment->holder != NULL) {
			uint64_t end_us = assignment->moved_us + assignment->holder->session_us;
			if (end_us <= now_us) {
				hand_over(assignment, group->generation);
			} else {
				*ret_next_us = ANNALS_MIN(*ret_next_us, end_us);
			}
		}
	}
}

/* ---- Requests ---- */

static int answer_assignment(
	struct group *group, const struct member *member, struct member_request *request)
{
	request->generation = group->generation;
	request->assigned_count = 0;
	request->pending = 0;
	request->assigned = calloc(member->partitions + 1, sizeof(*request->assigned));
	if (request->assigned == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < group->assignment_count; i++) {
		const struct assignment *assignment = &group->assignments[i];
		if (assignment->member == member && is_moving(assignment)) {
			request->pending++;
		} else if (assignment->member == member) {
			request->assigned[request->assigned_count++] = (struct assigned_partition){
				assignment->topic_id, assignment->partition};
		}
	}
	return 0;
}

static int join(struct group *group, struct member_request *request, struct member **ret)
{
	struct member *member;
	uint64_t now_us = delivery_now_us(group->delivery);

	if (request->member[0] == 0) {
		uint8_t uuid[16];
		uuid_new(uuid);
		uuid_format(request->member, uuid);
	}
	member = member_find(group, request->member);
	if (member == NULL) {
		if (group->member_count >= MEMBERS_MAX) {
			return ANNALS_E_LIMIT;
		}
		member = calloc(1, sizeof(*member));
		if (member == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		memcpy(member->name, request->member, sizeof(member->name));
		member->joined_us = now_us;
		list_add_tail(&group->members, &member->node);
		group->member_count++;
	}
	member->seen_us = now_us;
	member->session_us =
		request->session_us == 0 ? group->config.session_us : request->session_us;
	memcpy(member->topic_ids, request->topic_ids, sizeof(member->topic_ids));
	member->topic_count = request->topic_count;
	group->delivery->next_timer_us =
		ANNALS_MIN(group->delivery->next_timer_us, member->seen_us + member->session_us);
	*ret = member;
	let_go(group, member, 0, true);
	return rebalance(group, true);
}

static void leave_by_event(
	struct delivery *delivery, struct group *group, struct member_request *request)
{
	uint32_t member = member_names_find(&group->names, bytes_text(request->member));
	struct list_node *node;

	request->released = 0;
	LIST_FOR_EACH (node, &group->partitions) {
		struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
		uint32_t count = member == 0 ? 0 : progress_leave(&at->progress, member);
		request->released += count;
		if (count > 0) {
			delivery_mark(at);
		}
		/* The last reference may be gone. */
		member = member_names_find(&group->names, bytes_text(request->member));
	}
	delivery_answer(delivery, &request->delivery, 0, NULL);
	group_serve_polls(group);
}

static const char *join_problem(struct delivery *delivery, const struct member_request *request)
{
	if (request->topic_count == 0 || request->topic_count > GROUP_TOPICS_MAX) {
		return "a member names 1 to 64 topics";
	}
	if (request->session_us != 0 &&
		(request->session_us < 1000000 || request->session_us > UINT64_C(3600000000))) {
		return "a session has 1 s to 1 h";
	}
	for (uint32_t i = 0; i < request->topic_count; i++) {
		struct topic *topic = store_topic_find_id(delivery->store, request->topic_ids[i]);
		if (topic == NULL) {
			return "one of the topics does not exist";
		}
		topic_unref(topic);
	}
	return NULL;
}

static int run_member(
	struct delivery *delivery, struct group *group, struct member_request *request)
{
	struct member *member = member_find(group, request->member);
	int status;

	if (request->delivery.operation == DELIVERY_JOIN) {
		status = join(group, request, &member);
		return status != 0 ? status : answer_assignment(group, member, request);
	}
	if (member == NULL) {
		return ANNALS_E_UNKNOWN_MEMBER;
	}
	if (request->delivery.operation == DELIVERY_LEAVE) {
		remove_member(group, member);
		status = rebalance(group, true);
		request->generation = group->generation;
		return status;
	}
	member->seen_us = delivery_now_us(delivery);
	let_go(group, member, request->generation == 0 ? group->generation : request->generation,
		false);
	status = rebalance(group, false); /* topics may have gained partitions */
	return status != 0 ? status : answer_assignment(group, member, request);
}

void delivery_member(struct delivery *delivery, struct member_request *request)
{
	struct group *group = group_find(delivery, bytes_text(request->delivery.group));
	bool joins = request->delivery.operation == DELIVERY_JOIN;
	const char *problem = joins ? join_problem(delivery, request) : NULL;
	struct group_config config;
	int status = 0;

	if (problem != NULL ||
		(group == NULL &&
			group_name_check(bytes_text(request->delivery.group), NULL) != 0)) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_INVALID, "%s",
			problem != NULL ? problem : "this cannot be a group's name");
		return;
	}
	if (group == NULL && joins) {
		group_config_init(&config, GROUP_BY_OFFSET);
		status = group_make(delivery, request->delivery.group, &config, &group);
	}
	if (group == NULL) {
		delivery_answer(delivery, &request->delivery,
			status != 0 ? status : ANNALS_E_UNKNOWN_GROUP, "there is no group '%s'",
			request->delivery.group);
	} else if (group->config.mode == GROUP_BY_EVENT &&
		   request->delivery.operation == DELIVERY_LEAVE) {
		leave_by_event(delivery, group, request);
	} else if (group->config.mode != GROUP_BY_OFFSET) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_GROUP_MODE,
			"the group '%s' delivers by event: poll it, without joining",
			request->delivery.group);
	} else {
		status = run_member(delivery, group, request);
		delivery_answer(delivery, &request->delivery, status, "%s '%s': %s",
			status == ANNALS_E_UNKNOWN_MEMBER ? "no member" : "member", request->member,
			annals_status_text(status));
	}
}

static int check_owner(const struct group *group, const struct member *member, uint32_t generation,
	const struct offset_entry *entry)
{
	struct assignment wanted = {.topic_id = entry->topic_id, .partition = entry->partition};
	const struct assignment *have =
		group->assignment_count == 0
			? NULL
			: bsearch(&wanted, group->assignments, group->assignment_count,
				  sizeof(wanted), compare_assignments);

	return have != NULL && have->holder == member && have->since <= generation &&
			       generation <= group->generation
		       ? 0
		       : ANNALS_E_FENCED;
}

void delivery_member_commit(struct delivery *delivery, struct member_commit_request *request)
{
	struct group *group = group_find(delivery, bytes_text(request->delivery.group));
	struct store_request *base = &request->commit->base;
	struct member *member;
	struct error err = {0, ""};
	int status = 0;

	if (group == NULL || group->config.mode != GROUP_BY_OFFSET) {
		delivery_answer(delivery, &request->delivery,
			group == NULL ? ANNALS_E_UNKNOWN_GROUP : ANNALS_E_GROUP_MODE,
			"no group '%s' that delivers by offset", request->delivery.group);
		return;
	}
	member = member_find(group, request->member);
	if (member == NULL && request->member[0] == 0 && group->member_count > 0) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_FENCED,
			"the group '%s' has members: only they commit, with their generation",
			request->delivery.group);
		return;
	}
	if (member == NULL && request->member[0] != 0) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_UNKNOWN_MEMBER,
			"the group '%s' has no member '%s': join again", request->delivery.group,
			request->member);
		return;
	}
	if (member != NULL) {
		member->seen_us = delivery_now_us(delivery);
	}
	for (size_t i = 0; member != NULL && i < request->commit->entry_count && status == 0; i++) {
		status = check_owner(
			group, member, request->generation, &request->commit->entries[i]);
	}
	if (status != 0) {
		delivery_answer(delivery, &request->delivery, status,
			"the partition belongs to another member since generation %u",
			group->generation);
		return;
	}
	/* The writer takes requests of this thread in order: a new generation comes after. */
	memcpy(request->commit->group, group->name, sizeof(group->name));
	base->operation = STORE_OFFSET_COMMIT;
	base->queue = &delivery->completions;
	base->arg = request;
	list_init(&base->node);
	ANNALS_FAULT("members.before_commit");
	status = store_submit(delivery->store, base, &err);
	if (status != 0) {
		delivery_answer(delivery, &request->delivery, status, "%s", err.text);
	} else {
		delivery->passed_on++;
	}
}
