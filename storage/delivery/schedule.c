/* Delayed events: taking them in, and the thread. */
#include "schedule_internal.h"

#include "completion.h"
#include "index/entry.h"

#include <annals/clock.h>
#include <annals/fault.h>
#include <annals/hash.h>
#include <annals/thread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define INBOX_MAX 65536u
#define CHECK_US 500000u            /* how soon a wall clock that was set is noticed */
#define COMMIT_BYTES_MAX (2u << 20) /* requests share a commit up to here */
#define ROWS_MAX 60000u

static void wake(void *arg)
{
	struct schedule *schedule = arg;

	(void)pthread_mutex_lock(&schedule->mutex);
	schedule->woken = true;
	(void)pthread_cond_signal(&schedule->wake);
	(void)pthread_mutex_unlock(&schedule->mutex);
}

void schedule_event_key(uint8_t out[EVENT_KEY_BYTES], uint64_t due_us, uint64_t number)
{
	out[0] = ROW_SCHEDULE;
	out[1] = 'e';
	store_u64_be(out + 2, due_us);
	store_u64_be(out + 10, number);
}

void schedule_id_key(uint8_t out[ID_KEY_BYTES], const uint8_t id[16])
{
	out[0] = ROW_SCHEDULE;
	out[1] = 'i';
	memcpy(out + 2, id, 16);
}

int schedule_add_counts(struct schedule *schedule, uint64_t waiting, uint64_t next_number)
{
	static const uint8_t key[] = {ROW_SCHEDULE, 'n'};
	uint8_t value[PLACE_BYTES];

	store_u64(value, waiting);
	store_u64(value + 8, next_number);
	return row_batch_add(
		&schedule->rows, bytes_of(key, sizeof(key)), bytes_of(value, sizeof(value)));
}

void schedule_pause(struct schedule *schedule, uint64_t us)
{
	schedule->retry_us = clock_monotonic_ns() / 1000 + us;
}

int schedule_submit(struct schedule *schedule, struct schedule_request *request, struct error *err)
{
	int status = 0;

	if (request->event_count == 0 || request->event_count > SCHEDULED_EVENTS_MAX) {
		return error_fail(err, ANNALS_E_LIMIT, "a request delays 1 to %u events",
			SCHEDULED_EVENTS_MAX);
	}
	for (size_t i = 0; i < request->event_count; i++) {
		if (request->events[i].encoded.size > SCHEDULED_EVENT_BYTES_MAX) {
			return error_fail(err, ANNALS_E_TOO_LARGE,
				"a delayed event has at most %u bytes, not %zu",
				SCHEDULED_EVENT_BYTES_MAX, request->events[i].encoded.size);
		}
	}
	list_init(&request->base.node);
	request->base.status = 0;
	request->base.error = (struct error){0, ""};
	(void)pthread_mutex_lock(&schedule->mutex);
	if (schedule->stopping || schedule->failed) {
		status = error_fail(err, ANNALS_E_UNAVAILABLE, "the schedule is %s",
			schedule->stopping ? "closing" : "stopped: storage failed");
	} else if (schedule->inbox_count >= INBOX_MAX) {
		status = error_fail(err, ANNALS_E_OVERLOADED,
			"%u requests wait for the schedule: that is the limit", INBOX_MAX);
	} else {
		list_add_tail(&schedule->inbox, &request->base.node);
		schedule->inbox_count++;
		schedule->woken = true;
		(void)pthread_cond_signal(&schedule->wake);
	}
	(void)pthread_mutex_unlock(&schedule->mutex);
	return status;
}

void schedule_stats(struct schedule *schedule, struct schedule_stats *ret)
{
	(void)pthread_mutex_lock(&schedule->mutex);
	*ret = schedule->stats;
	(void)pthread_mutex_unlock(&schedule->mutex);
}

/* ---- Taking events in ---- */

/* An id of its own, or one that every repeat gets too. */
static int make_id(struct schedule *schedule, uint32_t topic_id, struct scheduled_event *event)
{
	struct buf text = BUF_INIT;
	uint8_t fixed[12];
	struct index_hash hash;
	int status;

	if (event->id.size == 0) {
		uuid_new(event->schedule_id);
		return 0;
	}
	store_u32(fixed, topic_id);
	store_u64(fixed + 4, event->source.size);
	status = buf_add(&text, fixed, sizeof(fixed));
	status = status != 0 ? status : buf_add(&text, event->source.data, event->source.size);
	status = status != 0 ? status : buf_add(&text, event->id.data, event->id.size);
	if (status == 0) {
		hash = index_hash(schedule->uuid, 'd', buf_bytes(&text));
		memcpy(event->schedule_id, &hash, sizeof(event->schedule_id));
	}
	buf_release(&text);
	return status;
}

/* The value of a row as it will be after the rows gathered. 1, 0 or an error. */
static int get(struct schedule *schedule, struct bytes key, struct buf *ret)
{
	const struct row_batch *rows = &schedule->rows;

	buf_reset(ret);
	for (size_t i = staged_keys_have(&schedule->staged_ids, key) ? rows->count : 0; i > 0;
		i--) {
		const struct row_place *place = &rows->places[i - 1];
		if (bytes_equal(key, bytes_of(rows->bytes.data + place->key_at, place->key_size))) {
			return buf_add(ret, rows->bytes.data + place->value_at,
				       place->value_size) == 0
				       ? 1
				       : ANNALS_E_NO_MEMORY;
		}
	}
	return store_row_get(schedule->store, key, ret, NULL);
}

/* 1: the same event waits already; ANNALS_E_DUPLICATE_ID: another one of its id. */
static int find_known(
	struct schedule *schedule, const struct scheduled_event *event, struct buf *scratch)
{
	uint8_t key[EVENT_KEY_BYTES];
	int found;

	if (event->id.size == 0) {
		return 0;
	}
	schedule_id_key(key, event->schedule_id);
	found = get(schedule, bytes_of(key, ID_KEY_BYTES), scratch);
	if (found == 1 && scratch->size == PLACE_BYTES) {
		schedule_event_key(key, load_u64(scratch->data), load_u64(scratch->data + 8));
		found = get(schedule, bytes_of(key, EVENT_KEY_BYTES), scratch);
	}
	if (found == 1) {
		const struct bytes value = buf_bytes(scratch);
		found = value.size > EVENT_FIXED_BYTES &&
					bytes_equal(event->encoded,
						bytes_of(value.data + EVENT_FIXED_BYTES,
							value.size - EVENT_FIXED_BYTES))
				? 1
				: ANNALS_E_DUPLICATE_ID;
	}
	return found;
}

static int add_event(struct schedule *schedule, const struct schedule_request *request,
	const struct scheduled_event *event, uint64_t number, struct buf *scratch)
{
	uint8_t key[EVENT_KEY_BYTES], place[PLACE_BYTES], fixed[EVENT_FIXED_BYTES];
	int status;

	fixed[0] = 1;
	fixed[1] = request->partition_named ? PARTITION_NAMED : 0;
	store_u32(fixed + 2, request->topic_id);
	store_u32(fixed + 6, event->partition);
	memcpy(fixed + 10, event->schedule_id, 16);
	buf_reset(scratch);
	status = buf_add(scratch, fixed, sizeof(fixed));
	status = status != 0 ? status : buf_add(scratch, event->encoded.data, event->encoded.size);
	schedule_event_key(key, event->due_us, number);
	status = status != 0
			 ? status
			 : staged_keys_add(&schedule->staged_ids, bytes_of(key, EVENT_KEY_BYTES));
	status = status != 0 ? status
			     : row_batch_add(&schedule->rows, bytes_of(key, EVENT_KEY_BYTES),
				       buf_bytes(scratch));
	if (status == 0 && event->id.size > 0) {
		store_u64(place, event->due_us);
		store_u64(place + 8, number);
		schedule_id_key(key, event->schedule_id);
		status = row_batch_add(&schedule->rows, bytes_of(key, ID_KEY_BYTES),
			bytes_of(place, sizeof(place)));
		status = status != 0 ? status
				     : staged_keys_add(
					       &schedule->staged_ids, bytes_of(key, ID_KEY_BYTES));
	}
	return status;
}

static int add_request(
	struct schedule *schedule, struct schedule_request *request, struct buf *scratch)
{
	uint64_t waiting = schedule->committing_waiting, number = schedule->committing_number;
	uint64_t due_us = schedule->committing_due_us;
	const size_t bytes = schedule->rows.bytes.size, count = schedule->rows.count;
	int status = 0;

	for (size_t i = 0; i < request->event_count && status == 0; i++) {
		struct scheduled_event *event = &request->events[i];
		int known;
		status = make_id(schedule, request->topic_id, event);
		known = status != 0 ? status : find_known(schedule, event, scratch);
		event->replayed = known == 1;
		status = known < 0 ? known : 0;
		if (known == 0) {
			status = add_event(schedule, request, event, number++, scratch);
			waiting++;
			due_us = ANNALS_MIN(due_us, event->due_us);
		}
		request->conflict = i;
	}
	if (status != 0) { /* as if it had not been looked at */
		schedule->rows.bytes.size = bytes;
		schedule->rows.count = count;
		return status;
	}
	schedule->committing_waiting = waiting;
	schedule->committing_number = number;
	schedule->committing_due_us = due_us;
	return 0;
}

static void answer(struct store_request *request, int status, const char *text)
{
	struct list_node one;

	request->status = status;
	if (status != 0) {
		(void)error_fail(&request->error, status, "%s", text);
	}
	list_init(&one);
	list_add_tail(&one, &request->node);
	completion_push_all(&one);
}

static void answer_all(struct list_node *requests, int status, const char *text)
{
	struct list_node *node;

	while ((node = list_pop(requests)) != NULL) {
		answer(LIST_ENTRY(node, struct store_request, node), status, text);
	}
}

static void gather(struct schedule *schedule)
{
	struct buf scratch = BUF_INIT;

	row_batch_reset(&schedule->rows);
	staged_keys_reset(&schedule->staged_ids);
	schedule->committing_waiting = schedule->waiting;
	schedule->committing_number = schedule->next_number;
	schedule->committing_due_us = UINT64_MAX;
	while (!list_is_empty(&schedule->requests)) {
		struct schedule_request *request =
			LIST_ENTRY(schedule->requests.next, struct schedule_request, base.node);
		size_t bytes = 0;
		int status;
		for (size_t i = 0; i < request->event_count; i++) {
			bytes += request->events[i].encoded.size + 128;
		}
		if (schedule->rows.count > 0 &&
			(schedule->rows.bytes.size + bytes > COMMIT_BYTES_MAX ||
				schedule->rows.count + 2 * request->event_count > ROWS_MAX)) {
			break;
		}
		list_remove(&request->base.node);
		status = add_request(schedule, request, &scratch);
		if (status != 0) {
			answer(&request->base, status,
				status == ANNALS_E_DUPLICATE_ID
					? "another event of this source and id waits already"
					: "the event could not be kept");
		} else {
			list_add_tail(&schedule->committing, &request->base.node);
		}
	}
	buf_release(&scratch);
}

/* True when a commit is on its way. */
static bool start_requests(struct schedule *schedule)
{
	struct error err = {0, ""};
	int status;

	if (list_is_empty(&schedule->requests)) {
		return false;
	}
	gather(schedule);
	if (list_is_empty(&schedule->committing)) {
		return false;
	}
	if (schedule->rows.count == 0) { /* all were kept before */
		answer_all(&schedule->committing, 0, NULL);
		return false;
	}
	status = schedule_add_counts(
		schedule, schedule->committing_waiting, schedule->committing_number);
	status = status != 0 ? status : row_batch_changes(&schedule->rows, &schedule->changes);
	if (status == 0) {
		schedule->commit = (struct rows_request){
			.base = {.operation = STORE_ROWS, .queue = &schedule->completions},
			.changes = schedule->changes,
			.change_count = schedule->rows.count};
		list_init(&schedule->commit.base.node);
		ANNALS_FAULT("schedule.before_keep");
		status = store_submit(schedule->store, &schedule->commit.base, &err);
	}
	if (status != 0) {
		answer_all(&schedule->committing, status,
			err.text[0] != 0 ? err.text : "no memory for delayed events");
		free(schedule->changes);
		schedule->changes = NULL;
		return false;
	}
	return true;
}

static int requests_returned(struct schedule *schedule)
{
	const int status = schedule->commit.base.status;

	ANNALS_FAULT("schedule.after_keep");
	free(schedule->changes);
	schedule->changes = NULL;
	if (status == 0) {
		schedule->waiting = schedule->committing_waiting;
		schedule->next_number = schedule->committing_number;
		schedule->next_due_us =
			ANNALS_MIN(schedule->next_due_us, schedule->committing_due_us);
		schedule->scan_from_us =
			ANNALS_MIN(schedule->scan_from_us, schedule->committing_due_us);
	}
	answer_all(&schedule->committing, status, schedule->commit.base.error.text);
	return status == ANNALS_E_OUTCOME_UNKNOWN || status == ANNALS_E_UNAVAILABLE ? status : 0;
}

/* ---- The thread ---- */

static void publish(struct schedule *schedule)
{
	schedule->stats.waiting = schedule->waiting;
	schedule->stats.next_due_us = schedule->waiting == 0 || schedule->next_due_us == UINT64_MAX
					      ? 0
					      : schedule->next_due_us;
}

/* Returns whether the schedule closes: nothing new is started then. */
static bool wait_for_work(struct schedule *schedule)
{
	const uint64_t wall_us = clock_wall_us(), now_us = clock_monotonic_ns() / 1000;
	uint64_t wait_us = CHECK_US;
	struct timespec at;
	bool stopping;

	if (!schedule->in_flight) {
		uint64_t until_us =
			schedule->next_due_us > wall_us ? schedule->next_due_us - wall_us : 0;
		if (!list_is_empty(&schedule->requests)) {
			until_us = 0;
		} else if (schedule->retry_us > now_us) {
			until_us = ANNALS_MAX(until_us, schedule->retry_us - now_us);
		}
		wait_us = ANNALS_MIN(wait_us, until_us);
	}
	(void)pthread_mutex_lock(&schedule->mutex);
	publish(schedule);
	if (!schedule->woken && !schedule->stopping && wait_us > 0) {
		(void)clock_gettime(CLOCK_MONOTONIC, &at);
		at.tv_nsec += (long)(wait_us % 1000000) * 1000;
		at.tv_sec += (time_t)(wait_us / 1000000) + at.tv_nsec / 1000000000;
		at.tv_nsec %= 1000000000;
		(void)pthread_cond_timedwait(&schedule->wake, &schedule->mutex, &at);
	}
	schedule->woken = false;
	list_splice(&schedule->requests, &schedule->inbox);
	schedule->inbox_count = 0;
	stopping = schedule->stopping;
	(void)pthread_mutex_unlock(&schedule->mutex);
	return stopping;
}

static void take_completions(struct schedule *schedule)
{
	struct list_node list, *node;

	list_init(&list);
	completion_queue_take(&schedule->completions, &list);
	while ((node = list_pop(&list)) != NULL) {
		struct store_request *request = LIST_ENTRY(node, struct store_request, node);
		int status;
		schedule->in_flight = false;
		status = request == &schedule->commit.base
				 ? requests_returned(schedule)
				 : schedule_due_returned(schedule, request);
		if (status != 0) {
			(void)pthread_mutex_lock(&schedule->mutex);
			schedule->failed = true;
			(void)pthread_mutex_unlock(&schedule->mutex);
		}
	}
}

static void *run(void *arg)
{
	struct schedule *schedule = arg;

	thread_set_name("annals-schedule");
	for (;;) {
		const bool stopping = wait_for_work(schedule);
		if (stopping && !schedule->in_flight) {
			break;
		}
		take_completions(schedule);
		if (schedule->failed) {
			answer_all(&schedule->requests, ANNALS_E_UNAVAILABLE,
				"the schedule is stopped: storage failed");
			schedule->next_due_us = UINT64_MAX;
			continue;
		}
		if (schedule->in_flight || stopping) {
			continue;
		}
		/* In turn, so that neither starves. */
		if (schedule->due_was_last) {
			schedule->in_flight = start_requests(schedule);
			schedule->due_was_last = false;
		}
		if (!schedule->in_flight) {
			schedule->in_flight = schedule_start_due(schedule);
			schedule->due_was_last = schedule->in_flight;
		}
		if (!schedule->in_flight) {
			schedule->in_flight = start_requests(schedule);
		}
	}
	answer_all(&schedule->requests, ANNALS_E_UNAVAILABLE, "the schedule is closing");
	return NULL;
}

static void release(struct schedule *schedule)
{
	row_batch_release(&schedule->rows);
	staged_keys_release(&schedule->staged_ids);
	free(schedule->changes);
	due_batch_release(&schedule->due);
	completion_queue_release(&schedule->completions);
	(void)pthread_cond_destroy(&schedule->wake);
	(void)pthread_mutex_destroy(&schedule->mutex);
	free(schedule);
}

static int load_counts(struct schedule *schedule, struct error *err)
{
	static const uint8_t key[] = {ROW_SCHEDULE, 'n'};
	struct buf value = BUF_INIT;
	int found = store_row_get(schedule->store, bytes_of(key, sizeof(key)), &value, err);

	if (found == 1 && value.size != PLACE_BYTES) {
		found = error_fail(err, ANNALS_E_CORRUPT_DATA,
			"the count of delayed events has %zu bytes", value.size);
	} else if (found == 1) {
		schedule->waiting = load_u64(value.data);
		schedule->next_number = load_u64(value.data + 8);
	}
	/* The first look tells when the first is due. */
	schedule->next_due_us = schedule->waiting > 0 ? 0 : UINT64_MAX;
	buf_release(&value);
	return found < 0 ? found : 0;
}

int schedule_open(struct store *store, struct schedule **ret, struct error *err)
{
	struct schedule *schedule = calloc(1, sizeof(*schedule));
	pthread_condattr_t attributes;
	int status;

	if (schedule == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the schedule");
	}
	schedule->store = store;
	schedule->due_max = SIZE_MAX;
	store_uuid(store, schedule->uuid);
	(void)pthread_mutex_init(&schedule->mutex, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&schedule->wake, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	completion_queue_init(&schedule->completions, wake, schedule);
	list_init(&schedule->inbox);
	list_init(&schedule->requests);
	list_init(&schedule->committing);
	status = load_counts(schedule, err);
	publish(schedule);
	if (status == 0 && pthread_create(&schedule->thread, NULL, run, schedule) != 0) {
		status = error_fail(err, ANNALS_E_IO, "cannot start the thread of the schedule");
	}
	if (status != 0) {
		release(schedule);
		return status;
	}
	*ret = schedule;
	return 0;
}

void schedule_close(struct schedule *schedule)
{
	if (schedule == NULL) {
		return;
	}
	(void)pthread_mutex_lock(&schedule->mutex);
	schedule->stopping = true;
	(void)pthread_cond_signal(&schedule->wake);
	(void)pthread_mutex_unlock(&schedule->mutex);
	(void)pthread_join(schedule->thread, NULL);
	release(schedule);
}
