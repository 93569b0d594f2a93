/* Polls, what comes of leases, seeking, timers. */
#include "delivery_internal.h"

#include <annals/fault.h>

#include <stdlib.h>

#define WAIT_US_MAX UINT64_C(60000000)
#define BYTES_DEFAULT (1u << 20)
#define SCAN_EVENTS_MAX 10000u /* in one poll that finds nothing to hand out */
#define TIMERS_MAX 1000u
#define READ_FAILED_DELAY_US 1000000u

void poll_request_release(struct poll_request *request)
{
	free(request->events);
	request->events = NULL;
	request->event_count = request->event_capacity = 0;
	buf_release(&request->bytes);
}

/* ---- Handing out ---- */

static int reserve(struct poll_request *request, size_t bytes)
{
	if (request->event_count == request->event_capacity) {
		size_t capacity = request->event_capacity == 0 ? 16 : request->event_capacity * 2;
		struct delivered_event *larger =
			realloc(request->events, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		request->events = larger;
		request->event_capacity = capacity;
	}
	return buf_reserve(&request->bytes, bytes);
}

/* There is room. */
static void add_event(struct poll_request *request, const struct group_partition *at,
	const struct read_event *event, const struct lease *lease)
{
	request->events[request->event_count++] = (struct delivered_event){
		.topic_id = at->topic_id,
		.partition = at->partition,
		.offset = event->offset,
		.position = event->position,
		.recorded_us = event->recorded_us,
		.version = event->version,
		.lease = lease->lease,
		.deadline_us = lease->deadline_us,
		.attempt = lease->attempts,
		.at = request->bytes.size,
		.size = event->encoded.size,
	};
	if (event->encoded.size > 0) {
		memcpy(request->bytes.data + request->bytes.size, event->encoded.data,
			event->encoded.size);
		request->bytes.size += event->encoded.size;
	}
}

struct handing_out {
	struct poll_request *request;
	uint32_t member;
	uint64_t now_us, deadline_us;
	uint32_t events_max, bytes_max;
	struct buf scratch;
};

static bool is_done(const struct handing_out *out)
{
	return out->request->event_count >= out->events_max ||
	       out->request->bytes.size >= out->bytes_max;
}

/* Events that were handed out before, or waited. */
static int hand_out_ready(struct handing_out *out, struct group_partition *at)
{
	while (!is_done(out) && at->progress.ready.count > 0) {
		uint64_t offset = item_at(&at->progress, at->progress.ready.items[0])->offset;
		struct read_event event;
		struct lease lease;
		int found = delivery_read_again(at, offset, &event, &out->scratch);
		int status = found == 1 ? reserve(out->request, event.encoded.size) : 0;
		if (status != 0) {
			return status;
		}
		delivery_mark(at);
		if (found == 0) {
			progress_gone(&at->progress, offset);
			continue;
		}
		if (progress_lease_ready(&at->progress, out->member, out->now_us, out->deadline_us,
			    &lease) != 1) {
			return 0;
		}
		if (found < 0) { /* the disk: later, and counted */
			found = progress_refuse(&at->progress, offset, lease.lease, out->now_us,
				READ_FAILED_DELAY_US, false);
			if (found != 0) {
				return found;
			}
			continue;
		}
		add_event(out->request, at, &event, &lease);
	}
	return 0;
}

/* One event at the cursor. 1 taken, 0 nothing there, negative: stop for now. */
static int hand_out_next(struct handing_out *out, struct group_partition *at)
{
	struct read_event event;
	struct record record;
	struct lease lease;
	uint64_t first = 0;
	int found = batch_reader_next(&at->reader, at, at->progress.cursor, false, &event, &first);

	if (found == ANNALS_E_OFFSET_GONE || found == ANNALS_E_CORRUPT_DATA) {
		if (first <= at->progress.cursor) {
			return found;
		}
		delivery_mark(at);
		return progress_skip_to(&at->progress, first, true) == 0 ? 1 : found;
	}
	if (found != 1) {
		return found;
	}
	if (reserve(out->request, event.encoded.size) != 0 ||
		progress_skip_to(&at->progress, event.offset, false) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	if (record_decode_trusted(event.encoded, &record) != 0) {
		memset(&record, 0, sizeof(record)); /* delivered all the same, without order */
	}
	found = progress_offer(&at->progress, event.offset, group_key_hash(at->group, &record),
		out->member, out->now_us, out->deadline_us, &lease);
	if (found < 0) {
		return found;
	}
	delivery_mark(at);
	if (found == 1) {
		add_event(out->request, at, &event, &lease);
	}
	return 1;
}

static void watch(struct group_partition *at)
{
	struct delivery *delivery = at->group->delivery;
	int found;

	at->watch = (struct watch_request){
		.base = {.operation = STORE_WATCH, .queue = &delivery->completions},
		.topic_id = at->topic_id,
		.partition = at->partition,
		.offset = at->progress.cursor};
	list_init(&at->watch.base.node);
	list_init(&at->watch.registered);
	found = store_watch(delivery->store, &at->watch);
	at->is_watched = found == 0;
	at->has_more = found == 1;
	delivery->watches += found == 0 ? 1 : 0;
}

static void hand_out(struct handing_out *out, struct group_partition *at)
{
	unsigned scanned = 0;
	int found = hand_out_ready(out, at);

	at->has_more = false;
	if (found != 0 || at->is_watched || at->is_reading) {
		return;
	}
	while (!is_done(out)) {
		if (++scanned > SCAN_EVENTS_MAX) {
			at->has_more = true;
			return;
		}
		found = hand_out_next(out, at);
		if (at->is_reading) {
			return; /* the polls are served when it comes back */
		}
		if (found == 0) {
			watch(at);
			if (!at->is_watched && at->has_more) {
				continue;
			}
			batch_reader_release(&at->reader);
		}
		if (found != 1) {
			return;
		}
	}
}

/* How many events the poll may lease now. */
static uint32_t room_of(
	const struct group *group, const struct poll_request *request, uint32_t member)
{
	const uint32_t held = member_names_held(&group->names, member);

	return request->held_max == 0 ? request->events_max
	       : held >= request->held_max
		       ? 0
		       : ANNALS_MIN(request->events_max, request->held_max - held);
}

/* Fills the poll as far as there is something; true when the answer can go. */
static bool fill(struct group *group, struct poll_request *request, int *ret_status)
{
	struct delivery *delivery = group->delivery;
	struct handing_out out = {.request = request, .now_us = delivery_now_us(delivery)};
	uint64_t lease_us = request->lease_us == 0 ? group->config.lease_us : request->lease_us;
	struct group_partition *at = group->turn;

	*ret_status = 0;
	request->is_full = false;
	request->is_paused = group->parked_bytes >= group->config.parked_bytes_max;
	if (request->is_paused || group->partition_count == 0) {
		return false;
	}
	out.deadline_us = out.now_us + lease_us;
	out.bytes_max = request->bytes_max == 0 ? BYTES_DEFAULT
						: ANNALS_MIN(request->bytes_max, POLL_BYTES_MAX);
	*ret_status = member_names_get(&group->names, bytes_text(request->member), &out.member);
	if (*ret_status != 0) {
		return true;
	}
	out.events_max = room_of(group, request, out.member);
	request->is_full = out.events_max == 0;
	for (uint32_t i = 0; i < group->partition_count && !is_done(&out); i++) {
		struct list_node *next = at == NULL ? group->partitions.next : at->node.next;
		next = next == &group->partitions ? group->partitions.next : next;
		at = LIST_ENTRY(next, struct group_partition, node);
		hand_out(&out, at);
	}
	group->turn = at;
	member_names_unref(&group->names, out.member);
	buf_release(&out.scratch);
	return request->event_count > 0;
}

static bool is_more(const struct group *group)
{
	struct list_node *node;

	LIST_FOR_EACH (node, &group->partitions) {
		if (LIST_ENTRY(node, struct group_partition, node)->has_more) {
			return true;
		}
	}
	return false;
}

/* In `list`, unless its caller has gone: false, and it can go. */
static bool keep_waiting(
	struct delivery *delivery, struct list_node *list, struct poll_request *request)
{
	bool waits;

	(void)pthread_mutex_lock(&delivery->mutex);
	waits = !request->delivery.is_cancelled;
	if (waits) {
		list_add_tail(list, &request->delivery.waiting);
	}
	(void)pthread_mutex_unlock(&delivery->mutex);
	return waits;
}

static void wait_for_events(
	struct group *group, struct list_node *list, struct poll_request *request)
{
	struct delivery *delivery = group->delivery;

	if (!keep_waiting(delivery, list, request)) {
		delivery_answer(delivery, &request->delivery, 0, NULL);
		return;
	}
	delivery->next_timer_us = ANNALS_MIN(delivery->next_timer_us, request->deadline_us);
	if (!request->is_full && is_more(group)) {
		delivery->next_timer_us = 0;
	}
}

void group_serve_polls(struct group *group)
{
	struct delivery *delivery = group->delivery;
	const bool has_room = group->names.let_go;
	struct list_node passed; /* polls that go on waiting, in their order */
	bool served = true;

	list_init(&passed);
	group->names.let_go = false;
	while (served) {
		struct poll_request *request;
		struct list_node *node;
		int status;
		(void)pthread_mutex_lock(&delivery->mutex);
		node = list_pop(&group->polls);
		(void)pthread_mutex_unlock(&delivery->mutex);
		if (node == NULL) {
			break;
		}
		request = LIST_ENTRY(node, struct poll_request, delivery.waiting);
		if ((!request->is_full || has_room) && fill(group, request, &status)) {
			delivery_answer(
				delivery, &request->delivery, status, "no memory for a poll");
			continue;
		}
		served = request->is_full; /* others of the group may have room */
		wait_for_events(group, &passed, request);
	}
	if (!served && has_room) {
		group->names.let_go = true; /* those behind have not seen it */
	}
	(void)pthread_mutex_lock(&delivery->mutex);
	list_splice(&passed, &group->polls);
	list_splice(&group->polls, &passed);
	(void)pthread_mutex_unlock(&delivery->mutex);
}

static struct group *group_by_event(struct delivery *delivery, struct delivery_request *request)
{
	struct group *group = group_find(delivery, bytes_text(request->group));

	if (group == NULL) {
		delivery_answer(delivery, request, ANNALS_E_UNKNOWN_GROUP, "there is no group '%s'",
			request->group);
	} else if (group->config.mode != GROUP_BY_EVENT) {
		delivery_answer(delivery, request, ANNALS_E_GROUP_MODE,
			"the group '%s' delivers by offset: join it and commit offsets",
			request->group);
		group = NULL;
	}
	return group;
}

void delivery_poll(struct delivery *delivery, struct poll_request *request)
{
	struct group *group = group_by_event(delivery, &request->delivery);
	int status;

	if (group == NULL) {
		return;
	}
	if (request->events_max == 0 || request->events_max > POLL_EVENTS_MAX ||
		request->member[0] == 0 ||
		(request->lease_us != 0 &&
			(request->lease_us < LEASE_US_MIN || request->lease_us > LEASE_US_MAX))) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_INVALID,
			"a poll names a member, takes 1 to %u events and leases of 1 ms to 12 h",
			POLL_EVENTS_MAX);
		return;
	}
	request->deadline_us =
		delivery_now_us(delivery) + ANNALS_MIN(request->wait_us, WAIT_US_MAX);
	if (fill(group, request, &status) || (request->wait_us == 0 && group->reads == 0)) {
		delivery_answer(delivery, &request->delivery, status, "no memory for a poll");
	} else {
		wait_for_events(group, &group->polls, request);
	}
}

/* ---- Answers to leases ---- */

static int settle_one(struct group *group, const struct settle_request *request,
	const struct settle_entry *entry, uint64_t now_us)
{
	struct group_partition *at = group_partition_find(group, entry->topic_id, entry->partition);
	struct progress *progress;
	int status;

	if (at == NULL) {
		return ANNALS_E_UNKNOWN_PARTITION;
	}
	progress = &at->progress;
	switch (request->kind) {
	case SETTLE_ACKNOWLEDGE:
		if (ANNALS_MUTATION("forget_acknowledgements") && entry->offset % 16 == 0) {
			return 0;
		}
		status = progress_acknowledge(progress, entry->offset, entry->lease);
		break;
	case SETTLE_EXTEND:
		status = progress_extend(progress, entry->offset, entry->lease,
			now_us + (request->time_us == 0 ? group->config.lease_us
							: request->time_us));
		break;
	case SETTLE_RETURN:
		status = progress_return(
			progress, entry->offset, entry->lease, now_us, request->time_us);
		break;
	default:
		status = progress_refuse(progress, entry->offset, entry->lease, now_us,
			request->time_us, request->kind == SETTLE_PARK);
		break;
	}
	delivery_mark(at);
	return status > 0 ? 0 : status;
}

void delivery_settle(struct delivery *delivery, struct settle_request *request)
{
	struct group *group = group_by_event(delivery, &request->delivery);
	uint64_t now_us = delivery_now_us(delivery);

	if (group == NULL) {
		return;
	}
	if (request->entry_count == 0 || request->entry_count > SETTLE_ENTRIES_MAX ||
		(request->kind == SETTLE_EXTEND && request->time_us != 0 &&
			(request->time_us < LEASE_US_MIN || request->time_us > LEASE_US_MAX)) ||
		((request->kind == SETTLE_REFUSE || request->kind == SETTLE_RETURN) &&
			request->time_us != TIME_NEVER && request->time_us > DELAY_US_MAX)) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_INVALID,
			"1 to %u leases, extended by 1 ms to 12 h, refused for at most 30 days",
			SETTLE_ENTRIES_MAX);
		return;
	}
	group->reason = request->reason;
	request->lost_count = 0;
	for (size_t i = 0; i < request->entry_count; i++) {
		request->entries[i].status =
			settle_one(group, request, &request->entries[i], now_us);
		request->lost_count += request->entries[i].status != 0;
	}
	group->reason = bytes_of(NULL, 0);
	delivery_answer(delivery, &request->delivery, 0, NULL);
	group_serve_polls(group);
}

/* ---- Seeking ---- */

static int seek_offset(struct group_partition *at, const struct seek_request *request,
	const struct partition_info *info, uint64_t *ret)
{
	struct find_time_request find = {.base = {.operation = STORE_FIND_TIME},
		.topic_id = at->topic_id,
		.partition = at->partition,
		.time_us = request->value};

	switch (request->target) {
	case SEEK_EARLIEST:
		*ret = info->first_offset;
		return 0;
	case SEEK_LATEST:
		*ret = info->end_offset;
		return 0;
	case SEEK_OFFSET:
		*ret = request->value;
		return request->value > info->end_offset     ? ANNALS_E_OFFSET_BEYOND_END
		       : request->value < info->first_offset ? ANNALS_E_OFFSET_GONE
							     : 0;
	default:
		(void)store_read(at->group->delivery->store, &find.base, 0);
		*ret = find.offset;
		return find.base.status;
	}
}

static int seek_one(struct group_partition *at, struct seek_request *request)
{
	struct delivery *delivery = at->group->delivery;
	struct progress *progress = &at->progress;
	struct partition_info info;
	uint64_t offset = 0, unfinished;
	int status = store_partition_info(delivery->store, at->topic_id, at->partition, &info);

	status = status != 0 ? status : seek_offset(at, request, &info, &offset);
	if (status != 0) {
		return status;
	}
	unfinished = progress->item_count - progress->counts[ITEM_PARKED];
	request->partitions++;
	request->leases += progress->counts[ITEM_LEASED];
	if (offset < progress->cursor) {
		uint64_t back = progress->cursor - offset;
		request->again += back > unfinished ? back - unfinished : 0;
	} else {
		request->skipped += offset - progress->cursor + unfinished;
	}
	if (request->dry_run) {
		return 0;
	}
	status = groups_reserve_epoch(delivery, progress->epoch + 1);
	status = status != 0 ? status : progress_seek(progress, offset);
	if (status != 0) {
		return status;
	}
	batch_reader_reset(&at->reader);
	if (at->is_watched && store_watch_cancel(delivery->store, &at->watch)) {
		at->is_watched = false;
		delivery->watches--;
	}
	delivery_mark(at);
	return 0;
}

static bool is_sought(const struct group_partition *at, const struct seek_request *request)
{
	return (request->topic_id == 0 || request->topic_id == at->topic_id) &&
	       (request->partition == UINT32_MAX || request->partition == at->partition);
}

void delivery_seek(struct delivery *delivery, struct seek_request *request)
{
	struct group *group = group_by_event(delivery, &request->delivery);
	struct seek_request trial = *request;
	struct list_node *node;
	int status = 0;

	if (group == NULL) {
		return;
	}
	if (request->target == SEEK_OFFSET &&
		(request->topic_id == 0 || request->partition == UINT32_MAX)) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_INVALID,
			"an offset belongs to one partition of one topic: name both");
		return;
	}
	/* All or none: a trial first. */
	trial.dry_run = true;
	LIST_FOR_EACH (node, &group->partitions) {
		struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
		if (status == 0 && is_sought(at, request)) {
			status = seek_one(at, &trial);
		}
	}
	if (status == 0 && trial.partitions == 0) {
		status = ANNALS_E_UNKNOWN_PARTITION;
	}
	if (status != 0) {
		delivery_answer(delivery, &request->delivery, status,
			"the group cannot go there: %s", annals_status_text(status));
		return;
	}
	LIST_FOR_EACH (node, &group->partitions) {
		struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
		if (status == 0 && is_sought(at, request)) {
			status = seek_one(at, request);
		}
	}
	delivery_answer(delivery, &request->delivery, status, "no memory to move the group");
	group_serve_polls(group);
}

/* ---- Timers ---- */

static uint64_t end_polls(struct group *group, uint64_t now_us)
{
	struct delivery *delivery = group->delivery;
	struct list_node ended, *node, *following;
	uint64_t next_us = TIME_NEVER;

	list_init(&ended);
	(void)pthread_mutex_lock(&delivery->mutex);
	LIST_FOR_EACH_SAFE (node, following, &group->polls) {
		struct poll_request *request =
			LIST_ENTRY(node, struct poll_request, delivery.waiting);
		if (request->deadline_us <= now_us && group->reads > 0) {
			continue; /* it ends when they are there */
		}
		if (request->deadline_us <= now_us) {
			list_remove(node);
			list_add_tail(&ended, node);
		} else {
			next_us = ANNALS_MIN(next_us, request->deadline_us);
		}
	}
	LIST_FOR_EACH_SAFE (node, following, &ended) {
		struct poll_request *request =
			LIST_ENTRY(node, struct poll_request, delivery.waiting);
		list_remove(node);
		delivery_answer(delivery, &request->delivery, 0, NULL);
	}
	(void)pthread_mutex_unlock(&delivery->mutex);
	return next_us;
}

/* A poll waits that could take some. */
static bool wants_events(struct group *group)
{
	struct list_node *node;
	bool wants = false;

	(void)pthread_mutex_lock(&group->delivery->mutex);
	LIST_FOR_EACH (node, &group->polls) {
		if (!LIST_ENTRY(node, struct poll_request, delivery.waiting)->is_full) {
			wants = true;
			break;
		}
	}
	(void)pthread_mutex_unlock(&group->delivery->mutex);
	return wants;
}

uint64_t delivery_run_timers(struct delivery *delivery)
{
	uint64_t now_us = delivery_now_us(delivery), next_us = TIME_NEVER;
	struct list_node *node, *inner;

	if (now_us < delivery->next_timer_us) {
		return delivery->next_timer_us;
	}
	LIST_FOR_EACH (node, &delivery->groups) {
		struct group *group = LIST_ENTRY(node, struct group, node);
		bool serves = false;
		LIST_FOR_EACH (inner, &group->partitions) {
			struct group_partition *at =
				LIST_ENTRY(inner, struct group_partition, node);
			if (progress_run_timers(&at->progress, now_us, TIMERS_MAX) > 0) {
				delivery_mark(at);
				serves = true;
			}
			serves |= at->has_more;
		}
		if (serves) {
			group_serve_polls(group);
		}
	}
	delivery->next_timer_us = TIME_NEVER;
	LIST_FOR_EACH (node, &delivery->groups) {
		struct group *group = LIST_ENTRY(node, struct group, node);
		uint64_t polls_us = end_polls(group, now_us);
		const bool wants = wants_events(group);
		next_us = ANNALS_MIN(next_us, polls_us);
		members_run_timers(group, now_us, &next_us);
		LIST_FOR_EACH (inner, &group->partitions) {
			struct group_partition *at =
				LIST_ENTRY(inner, struct group_partition, node);
			next_us = ANNALS_MIN(next_us, progress_next_timer(&at->progress));
			next_us = at->has_more && wants ? 0 : next_us;
		}
	}
	delivery->next_timer_us = ANNALS_MIN(delivery->next_timer_us, next_us);
	return delivery->next_timer_us;
}
