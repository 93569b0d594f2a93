/*
 * A member of a group by offset that reads what it is assigned.
 *
 * All of it happens in calls of the member's thread. One consumer per topic reads the partitions
 * held there; when they change it is opened anew where it was. A partition that is taken away is
 * committed first, and let go with the next heartbeat, so that its next holder goes on exactly
 * there.
 */
#include "io.h"

#include <annals/clock.h>
#include <annals/macros.h>
#include <stdlib.h>
#include <time.h>

#define SESSION_MS_DEFAULT 30000u
#define BEAT_MS_MIN 50u
#define BEAT_MS_MAX 3000u
#define PENDING_BEAT_MS 50u
#define SLICE_MS 2 /* several topics: how long one is waited for */

struct held {
	uint32_t partition;
	uint64_t position, committed;
	bool is_new, is_lost;
};

struct group_topic {
	char *name;
	struct held *held; /* by partition */
	size_t held_count;
	struct annals_consumer *consumer; /* NULL: to be opened */
};

struct annals_group_consumer {
	struct annals_client *client;
	const struct annals_options *options;
	char *group, *member;
	struct group_topic *topics;
	size_t topic_count, turn;
	enum annals_start_kind start;
	uint32_t session_ms, generation, pending;
	uint64_t next_beat_ns, rebalances;
	bool is_behind; /* a heartbeat has told of changes that the next poll follows */
};

static void update_positions(struct annals_group_consumer *consumer)
{
	for (size_t i = 0; i < consumer->topic_count; i++) {
		struct group_topic *topic = &consumer->topics[i];
		for (size_t k = 0; topic->consumer && k < topic->held_count; k++) {
			(void)annals_consumer_position(topic->consumer, topic->held[k].partition,
				&topic->held[k].position);
		}
	}
}

static int commit(
	struct annals_group_consumer *consumer, int timeout_ms, struct annals_error *error)
{
	size_t count = 0, used = 0;
	update_positions(consumer);
	for (size_t i = 0; i < consumer->topic_count; i++) {
		count += consumer->topics[i].held_count;
	}
	struct annals_offset *offsets = calloc(count + 1, sizeof(*offsets));
	if (!offsets) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a commit");
	}
	for (size_t i = 0; i < consumer->topic_count; i++) {
		const struct group_topic *topic = &consumer->topics[i];
		for (size_t k = 0; k < topic->held_count; k++) {
			const struct held *held = &topic->held[k];
			if (held->position != held->committed) {
				offsets[used++] = (struct annals_offset){.topic = topic->name,
					.partition = held->partition,
					.offset = held->position};
			}
		}
	}
	int status = used == 0 ? ANNALS_OK
			       : annals_offsets_commit_as(consumer->client, consumer->group,
					 consumer->member, consumer->generation, offsets, used,
					 timeout_ms, error);
	for (size_t i = 0; status == ANNALS_OK && i < consumer->topic_count; i++) {
		struct group_topic *topic = &consumer->topics[i];
		for (size_t k = 0; k < topic->held_count; k++) {
			topic->held[k].committed = topic->held[k].position;
		}
	}
	free(offsets);
	return status;
}

/* ---- Following the assignment ---- */

static struct held *find_held(const struct group_topic *topic, uint32_t partition)
{
	for (size_t i = 0; i < topic->held_count; i++) {
		if (topic->held[i].partition == partition) {
			return &topic->held[i];
		}
	}
	return NULL;
}

/* Where new partitions begin: what the group has committed, else the start that was asked for. */
static int find_places(struct annals_group_consumer *consumer, struct group_topic *topic,
	int timeout_ms, struct annals_error *error)
{
	struct annals_offset *offsets;
	struct annals_topic *found;
	size_t count;
	int status =
		annals_topic_describe(consumer->client, topic->name, timeout_ms, &found, error);
	if (status != ANNALS_OK) {
		return status;
	}
	status = annals_offsets_fetch(consumer->client, consumer->group, topic->name, timeout_ms,
		&offsets, &count, error);
	if (status != ANNALS_OK) {
		annals_topic_free(found);
		return status;
	}
	for (size_t i = 0; i < topic->held_count; i++) {
		struct held *held = &topic->held[i];
		if (!held->is_new) {
			continue;
		}
		for (uint32_t k = 0; k < found->partition_count; k++) {
			const struct annals_partition *partition = &found->partitions[k];
			if (partition->partition == held->partition) {
				held->position = consumer->start == ANNALS_START_LATEST
							 ? partition->end_offset
							 : partition->first_offset;
			}
		}
		held->committed = UINT64_MAX;
		for (size_t k = 0; k < count; k++) {
			if (offsets[k].partition == held->partition) {
				held->position = held->committed = offsets[k].offset;
			}
		}
		held->is_new = false;
	}
	annals_offsets_free(offsets, count);
	annals_topic_free(found);
	return ANNALS_OK;
}

/* After an error about offsets the next poll asks anew what is committed. */
static void forget_places(struct group_topic *topic)
{
	annals_consumer_close(topic->consumer);
	topic->consumer = NULL;
	for (size_t i = 0; i < topic->held_count; i++) {
		topic->held[i].is_new |= topic->held[i].position == topic->held[i].committed;
	}
}

static int open_topic(struct annals_group_consumer *consumer, struct group_topic *topic,
	int timeout_ms, struct annals_error *error)
{
	int status = ANNALS_OK;
	bool any_new = false;
	for (size_t i = 0; i < topic->held_count; i++) {
		any_new |= topic->held[i].is_new;
	}
	if (any_new) {
		status = find_places(consumer, topic, timeout_ms, error);
	}
	struct annals_position *positions = calloc(topic->held_count + 1, sizeof(*positions));
	if (status == ANNALS_OK && !positions) {
		status = client_error(error, ANNALS_E_NO_MEMORY, "no memory for positions");
	}
	for (size_t i = 0; status == ANNALS_OK && i < topic->held_count; i++) {
		positions[i] =
			(struct annals_position){topic->held[i].partition, topic->held[i].position};
	}
	if (status == ANNALS_OK) {
		const struct annals_start start = {.kind = ANNALS_START_OFFSETS,
			.partitions = positions,
			.partition_count = topic->held_count};
		status = annals_consumer_open(consumer->client, topic->name, &start,
			consumer->options, timeout_ms, &topic->consumer, error);
	}
	free(positions);
	if (status == ANNALS_OK && any_new && consumer->start == ANNALS_START_LATEST) {
		/* "Latest" is now, also for who comes next. */
		status = commit(consumer, timeout_ms, error);
	}
	if (status != ANNALS_OK) {
		forget_places(topic);
	}
	return status;
}

/* Takes over what is held now; true when something is lost. */
static int follow_topic(
	struct group_topic *topic, const struct annals_assignment *assignment, bool *ret_lost)
{
	struct held *held = calloc(assignment->count + 1, sizeof(*held));
	size_t count = 0, kept = 0;
	if (!held) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < assignment->count; i++) {
		const struct annals_assigned *assigned = &assignment->partitions[i];
		if (strcmp(assigned->topic, topic->name) != 0) {
			continue;
		}
		const struct held *before = find_held(topic, assigned->partition);
		kept += before ? 1 : 0;
		held[count++] =
			before ? *before
			       : (struct held){.partition = assigned->partition, .is_new = true};
	}
	*ret_lost |= kept < topic->held_count;
	if (kept < topic->held_count || count > kept) {
		annals_consumer_close(topic->consumer);
		topic->consumer = NULL;
	}
	free(topic->held);
	topic->held = held;
	topic->held_count = count;
	return ANNALS_OK;
}

static void schedule(struct annals_group_consumer *consumer)
{
	uint32_t beat_ms = ANNALS_MIN(consumer->session_ms / 10, BEAT_MS_MAX);
	beat_ms = consumer->pending > 0 ? PENDING_BEAT_MS : ANNALS_MAX(beat_ms, BEAT_MS_MIN);
	consumer->next_beat_ns = clock_monotonic_ns() + beat_ms * UINT64_C(1000000);
}

static int follow(struct annals_group_consumer *consumer,
	const struct annals_assignment *assignment, struct annals_error *error)
{
	bool lost = false;
	for (size_t i = 0; i < consumer->topic_count; i++) {
		if (follow_topic(&consumer->topics[i], assignment, &lost) != ANNALS_OK) {
			return client_error(error, ANNALS_E_NO_MEMORY, "no memory to follow");
		}
	}
	consumer->rebalances += consumer->generation != assignment->generation;
	consumer->generation = assignment->generation;
	consumer->pending = assignment->pending;
	schedule(consumer);
	if (lost) {
		consumer->next_beat_ns = 0; /* it says that they were let go */
	}
	return ANNALS_OK;
}

/* Begins anew: what was not committed may be another member's by now. */
static int join(struct annals_group_consumer *consumer, int timeout_ms, struct annals_error *error)
{
	const char **names = calloc(consumer->topic_count + 1, sizeof(*names));
	struct annals_assignment assignment;
	if (!names) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory to join");
	}
	for (size_t i = 0; i < consumer->topic_count; i++) {
		struct group_topic *topic = &consumer->topics[i];
		names[i] = topic->name;
		annals_consumer_close(topic->consumer);
		topic->consumer = NULL;
		topic->held_count = 0;
	}
	int status = annals_group_join(consumer->client, consumer->group, consumer->member, names,
		consumer->topic_count, consumer->session_ms, timeout_ms, &assignment, error);
	free(names);
	if (status != ANNALS_OK) {
		return status;
	}
	if (!consumer->member) {
		consumer->member = strdup(assignment.member);
	}
	status = consumer->member ? follow(consumer, &assignment, error)
				  : client_error(error, ANNALS_E_NO_MEMORY, "no memory to join");
	annals_assignment_release(&assignment);
	return status;
}

static bool is_out(int status)
{
	return status == ANNALS_E_UNKNOWN_MEMBER || status == ANNALS_E_FENCED ||
	       status == ANNALS_E_UNKNOWN_GROUP;
}

static int beat(struct annals_group_consumer *consumer, int timeout_ms, struct annals_error *error)
{
	struct annals_assignment assignment;
	int status = annals_group_heartbeat(consumer->client, consumer->group, consumer->member,
		consumer->generation, timeout_ms, &assignment, error);
	consumer->is_behind = false;
	if (status == ANNALS_OK) {
		if (assignment.generation != consumer->generation ||
			assignment.pending != consumer->pending) {
			status = commit(consumer, timeout_ms, error);
			status =
				status != ANNALS_OK ? status : follow(consumer, &assignment, error);
		} else {
			schedule(consumer);
		}
		annals_assignment_release(&assignment);
	}
	return is_out(status) ? join(consumer, timeout_ms, error) : status;
}

/* ---- The interface ---- */

static int prepare(struct annals_group_consumer *consumer, const char *group, const char *member,
	const char *const *topics, size_t topic_count)
{
	consumer->group = strdup(group);
	consumer->topics = calloc(topic_count + 1, sizeof(*consumer->topics));
	if (!consumer->group || !consumer->topics) {
		return ANNALS_E_NO_MEMORY;
	}
	if (member) {
		consumer->member = strdup(member);
		if (!consumer->member) {
			return ANNALS_E_NO_MEMORY;
		}
	}
	for (size_t i = 0; i < topic_count; i++) {
		consumer->topics[consumer->topic_count].name = strdup(topics[i]);
		if (!consumer->topics[consumer->topic_count++].name) {
			return ANNALS_E_NO_MEMORY;
		}
	}
	return ANNALS_OK;
}

static void consumer_free(struct annals_group_consumer *consumer)
{
	for (size_t i = 0; i < consumer->topic_count; i++) {
		annals_consumer_close(consumer->topics[i].consumer);
		free(consumer->topics[i].held);
		free(consumer->topics[i].name);
	}
	free(consumer->topics);
	free(consumer->group);
	free(consumer->member);
	free(consumer);
}

int annals_group_consumer_open(struct annals_client *client, const char *group, const char *member,
	const char *const *topics, size_t topic_count, enum annals_start_kind start,
	uint32_t session_ms, const struct annals_options *options, int timeout_ms,
	struct annals_group_consumer **ret_consumer, struct annals_error *error)
{
	if (start != ANNALS_START_EARLIEST && start != ANNALS_START_LATEST) {
		return client_error(error, ANNALS_E_INVALID,
			"a group without offsets begins at the earliest or the latest event");
	}
	struct annals_group_consumer *consumer = calloc(1, sizeof(*consumer));
	if (!consumer) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a consumer");
	}
	consumer->client = client;
	consumer->options = options;
	consumer->start = start;
	consumer->session_ms = session_ms == 0 ? SESSION_MS_DEFAULT : session_ms;
	int status = prepare(consumer, group, member, topics, topic_count);
	status = status == ANNALS_OK ? join(consumer, timeout_ms, error)
				     : client_error(error, status, "no memory for a consumer");
	if (status != ANNALS_OK) {
		consumer_free(consumer);
		return status;
	}
	*ret_consumer = consumer;
	return ANNALS_OK;
}

static int poll_topic(struct annals_group_consumer *consumer, struct group_topic *topic,
	int wait_ms, int timeout_ms, struct annals_event *events, size_t max, size_t *ret_count,
	struct annals_error *error)
{
	if (topic->held_count == 0) {
		return ANNALS_OK;
	}
	if (!topic->consumer) {
		int status = open_topic(consumer, topic, timeout_ms, error);
		if (status != ANNALS_OK) {
			return status;
		}
	}
	int status = annals_consumer_poll(topic->consumer, wait_ms, events, max, ret_count, error);
	if (status == ANNALS_E_OFFSET_GONE || status == ANNALS_E_OFFSET_BEYOND_END) {
		update_positions(consumer);
		forget_places(topic);
	}
	return status;
}

static void nap(int wait_ms)
{
	const struct timespec time = {wait_ms / 1000, wait_ms % 1000 * 1000000L};
	(void)nanosleep(&time, NULL);
}

int annals_group_consumer_poll(struct annals_group_consumer *consumer, int wait_ms, int timeout_ms,
	const char **ret_topic, struct annals_event *events, size_t max, size_t *ret_count,
	struct annals_error *error)
{
	const uint64_t end_ns = clock_monotonic_ns() + (uint64_t)ANNALS_MAX(wait_ms, 0) * 1000000u;
	size_t count = 0;
	for (;;) {
		uint64_t now_ns = clock_monotonic_ns();
		size_t holding = 0;
		if (now_ns >= consumer->next_beat_ns || consumer->is_behind) {
			int status = beat(consumer, timeout_ms, error);
			if (status != ANNALS_OK) {
				return status;
			}
			continue;
		}
		for (size_t i = 0; i < consumer->topic_count; i++) {
			holding += consumer->topics[i].held_count > 0;
		}
		uint64_t until_ns = ANNALS_MIN(end_ns, consumer->next_beat_ns);
		int left_ms = until_ns > now_ns ? (int)((until_ns - now_ns) / 1000000u) + 1 : 0;
		int step_ms = holding > 1 ? ANNALS_MIN(left_ms, SLICE_MS) : left_ms;
		for (size_t i = 0; i < consumer->topic_count; i++) {
			struct group_topic *topic =
				&consumer->topics[consumer->turn++ % consumer->topic_count];
			int status = poll_topic(consumer, topic, now_ns >= end_ns ? 0 : step_ms,
				timeout_ms, events, max, &count, error);
			if (status != ANNALS_OK) {
				return status;
			}
			if (count > 0) {
				*ret_topic = topic->name;
				*ret_count = count;
				return ANNALS_OK;
			}
		}
		if (now_ns >= end_ns) {
			*ret_count = 0;
			return ANNALS_OK;
		}
		if (holding == 0) {
			nap(left_ms);
		}
	}
}

int annals_group_consumer_commit(
	struct annals_group_consumer *consumer, int timeout_ms, struct annals_error *error)
{
	int status = commit(consumer, timeout_ms, error);
	if (is_out(status)) {
		consumer->next_beat_ns = 0; /* the next poll finds out what is left */
	}
	return status;
}

int annals_group_consumer_heartbeat(
	struct annals_group_consumer *consumer, int timeout_ms, struct annals_error *error)
{
	struct annals_assignment assignment;
	if (clock_monotonic_ns() < consumer->next_beat_ns) {
		return ANNALS_OK;
	}
	/* It names the generation whose partitions are still held: nothing is let go. */
	int status = annals_group_heartbeat(consumer->client, consumer->group, consumer->member,
		consumer->generation, timeout_ms, &assignment, error);
	schedule(consumer);
	if (status == ANNALS_OK) {
		consumer->is_behind |= assignment.generation != consumer->generation ||
				       assignment.pending != consumer->pending;
		annals_assignment_release(&assignment);
	} else {
		consumer->is_behind |= is_out(status);
	}
	return status;
}

uint32_t annals_group_consumer_generation(const struct annals_group_consumer *consumer)
{
	return consumer->generation;
}

size_t annals_group_consumer_partitions(const struct annals_group_consumer *consumer)
{
	size_t count = 0;
	for (size_t i = 0; i < consumer->topic_count; i++) {
		count += consumer->topics[i].held_count;
	}
	return count;
}

int annals_group_consumer_close(
	struct annals_group_consumer *consumer, int timeout_ms, struct annals_error *error)
{
	if (!consumer) {
		return ANNALS_OK;
	}
	int status = timeout_ms > 0 ? commit(consumer, timeout_ms, error) : ANNALS_OK;
	if (timeout_ms > 0) {
		int left = annals_group_leave(consumer->client, consumer->group, consumer->member,
			timeout_ms, NULL, status == ANNALS_OK ? error : NULL);
		status = status != ANNALS_OK ? status : left;
	}
	consumer_free(consumer);
	return status;
}
