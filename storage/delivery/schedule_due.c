/*
 * Delayed events that are due: into the log, out of the rows, in one commit.
 *
 * In the order of due times, whatever their topics. What the log refuses for good (its id was taken
 * meanwhile by another event, say) is found by halving what is tried; it comes again a minute
 * later, so that it is neither lost nor in the way.
 */
#include "schedule_internal.h"

#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/fault.h>
#include <annals/varint.h>
#include <stdlib.h>

#define SCAN_ROWS 4000u
#define BODY_BYTES_MAX (1u << 20) /* of one commit, about */
#define RETRY_US 100000u
#define REST_US_MAX 100000u
#define POSTPONE_US UINT64_C(60000000)

static void due_batch_reset(struct due_batch *due)
{
	for (size_t i = 0; i < due->part_count; i++) {
		buf_release(&due->bodies[i]);
	}
	free(due->bodies);
	free(due->parts);
	due->bodies = NULL;
	due->parts = NULL;
	for (size_t i = 0; i < due->append_count; i++) {
		append_request_release(&due->appends[i]);
	}
	buf_reset(&due->bytes);
	due->count = due->part_count = due->append_count = due->dropped = 0;
	due->topic_count = 0;
	due->is_alone = false;
	due->skipped_us = UINT64_MAX;
}

void due_batch_release(struct due_batch *due)
{
	due_batch_reset(due);
	buf_release(&due->bytes);
	free(due->events);
	due->events = NULL;
	due->capacity = 0;
}

struct due_scan {
	struct schedule *schedule;
	uint64_t now_us;
	uint64_t next_due_us; /* of the first event that was not taken */
	size_t looked_at;
	uint64_t last_us; /* when the last row that was looked at is due */
};

/* The topic's place in the batch; APPEND_TOPICS_MAX: there is none left. */
static uint32_t slot_of(struct due_batch *due, uint32_t topic_id)
{
	uint32_t slot = due->count > 0 ? due->events[due->count - 1].slot : 0;

	if (slot < due->topic_count && due->topic_ids[slot] == topic_id) {
		return slot;
	}
	for (slot = 0; slot < due->topic_count && due->topic_ids[slot] != topic_id; slot++) {
	}
	if (slot == due->topic_count && slot < APPEND_TOPICS_MAX) {
		due->topic_ids[due->topic_count++] = topic_id;
	}
	return slot;
}

static int add_due(struct due_batch *due, uint32_t slot, struct bytes key, struct bytes value)
{
	struct due_event *event;

	if (due->count == due->capacity) {
		size_t capacity = due->capacity == 0 ? 64 : due->capacity * 2;
		struct due_event *larger = realloc(due->events, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		due->events = larger;
		due->capacity = capacity;
	}
	event = &due->events[due->count++];
	memcpy(event->key, key.data, EVENT_KEY_BYTES);
	event->flags = value.data[1];
	event->has_id = true;
	event->slot = slot;
	event->partition = load_u32(value.data + 6);
	memcpy(event->id, value.data + 10, 16);
	event->at = due->bytes.size;
	event->size = value.size;
	due->last_due_us = load_u64_be(key.data + 2);
	return buf_add(&due->bytes, value.data, value.size);
}

static int take_row(void *arg, struct bytes key, struct bytes value)
{
	struct due_scan *scan = arg;
	struct due_batch *due = &scan->schedule->due;
	uint64_t due_us;
	uint32_t slot;

	scan->looked_at++;
	if (key.size != EVENT_KEY_BYTES) {
		return 0; /* damaged: verify tells of it */
	}
	due_us = scan->last_us = load_u64_be(key.data + 2);
	if (due_us > scan->now_us || due->count >= scan->schedule->due_max ||
		due->bytes.size > BODY_BYTES_MAX) {
		scan->next_due_us = due_us;
		return 1;
	}
	if (value.size <= EVENT_FIXED_BYTES || value.data[0] != 1) {
		return 0; /* likewise */
	}
	slot = slot_of(due, load_u32(value.data + 2));
	if (slot == APPEND_TOPICS_MAX) {
		due->skipped_us = ANNALS_MIN(due->skipped_us, due_us);
		return 0;
	}
	return add_due(due, slot, key, value);
}

/* Where it goes, and whether it has an id. */
static void place(const struct due_batch *due, struct due_event *event, const struct topic *topic)
{
	const struct bytes encoded = bytes_of(
		due->bytes.data + event->at + EVENT_FIXED_BYTES, event->size - EVENT_FIXED_BYTES);
	struct record record;

	if (record_decode(encoded, &record, NULL) == 0) {
		event->has_id = record.id.size > 0;
		if ((event->flags & PARTITION_NAMED) == 0 && record.has_key && topic != NULL) {
			event->partition = record_partition(record.key, topic->config.partitions);
		}
	}
	if (topic != NULL && event->partition >= topic->config.partitions) {
		event->partition = 0;
	}
}

static int compare_places(const void *a, const void *b)
{
	const struct due_event *first = a, *second = b;

	if (first->slot != second->slot) {
		return first->slot < second->slot ? -1 : 1;
	}
	if (first->partition != second->partition) {
		return first->partition < second->partition ? -1 : 1;
	}
	return first->at < second->at ? -1 : 1; /* as they were scanned */
}

static int add_to_body(struct due_batch *due, const struct due_event *event)
{
	struct buf *body = &due->bodies[due->part_count - 1];
	uint8_t head[1 + VARINT_BYTES_MAX] = {0x0a}; /* Batch.event */
	const size_t bytes = event->size - EVENT_FIXED_BYTES;
	const size_t size = 1 + varint_put(head + 1, bytes);
	int status = buf_add(body, head, size);

	return status != 0 ? status
			   : buf_add(body, due->bytes.data + event->at + EVENT_FIXED_BYTES, bytes);
}

/* The chain of appends from the sorted events. */
static int chain(struct due_batch *due, struct topic *const topics[])
{
	const struct due_event *last = NULL;
	int status = 0;

	for (size_t i = 0; i < due->count && status == 0; i++) {
		const struct due_event *event = &due->events[i];
		struct append_request *append;
		if (topics[event->slot] == NULL) {
			due->dropped++;
			continue;
		}
		if (last == NULL || last->slot != event->slot) {
			append = &due->appends[due->append_count++];
			*append = (struct append_request){.topic_id = topics[event->slot]->id,
				.durability = DURABILITY_DEFAULT,
				.parts = &due->parts[due->part_count]};
			if (due->append_count > 1) {
				append[-1].next = append;
			}
		}
		append = &due->appends[due->append_count - 1];
		if (last == NULL || last->slot != event->slot ||
			last->partition != event->partition) {
			due->parts[due->part_count++].partition = event->partition;
			append->part_count++;
		}
		status = add_to_body(due, event);
		last = event;
	}
	return status;
}

static int fill(struct schedule *schedule)
{
	struct due_batch *due = &schedule->due;
	struct topic *topics[APPEND_TOPICS_MAX] = {NULL};
	struct buf scratch = BUF_INIT;
	int status;

	for (uint32_t i = 0; i < due->topic_count; i++) {
		topics[i] = store_topic_find_id(schedule->store, due->topic_ids[i]);
	}
	for (size_t i = 0; i < due->count; i++) {
		place(due, &due->events[i], topics[due->events[i].slot]);
	}
	qsort(due->events, due->count, sizeof(*due->events), compare_places);
	due->parts = calloc(due->count, sizeof(*due->parts));
	due->bodies = calloc(due->count, sizeof(*due->bodies));
	status =
		due->parts != NULL && due->bodies != NULL ? chain(due, topics) : ANNALS_E_NO_MEMORY;
	for (size_t i = 0; i < due->part_count && status == 0; i++) {
		struct append_part *part = &due->parts[i];
		const struct batch_limits limits = {0};
		part->codec = BATCH_PLAIN;
		part->body = buf_bytes(&due->bodies[i]);
		part->body_crc = crc32c(0, part->body.data, part->body.size);
		status = batch_check_body(
			part->body, BATCH_PLAIN, &limits, &scratch, &part->summary, NULL);
	}
	for (uint32_t i = 0; i < due->topic_count; i++) {
		topic_unref(topics[i]);
	}
	buf_release(&scratch);
	return status;
}

static int delete_rows(struct schedule *schedule)
{
	struct due_batch *due = &schedule->due;
	const struct bytes nothing = bytes_of(NULL, 0);
	uint64_t left = schedule->waiting - ANNALS_MIN(schedule->waiting, due->count);
	int status = 0;

	row_batch_reset(&schedule->rows);
	for (size_t i = 0; i < due->count && status == 0; i++) {
		uint8_t key[ID_KEY_BYTES];
		status = row_batch_add(
			&schedule->rows, bytes_of(due->events[i].key, EVENT_KEY_BYTES), nothing);
		if (status == 0 && due->events[i].has_id) {
			schedule_id_key(key, due->events[i].id);
			status = row_batch_add(
				&schedule->rows, bytes_of(key, ID_KEY_BYTES), nothing);
		}
	}
	return status != 0 ? status : schedule_add_counts(schedule, left, schedule->next_number);
}

/* The same events later, in place of now. */
static int postpone_rows(struct schedule *schedule, uint64_t now_us)
{
	const struct due_batch *due = &schedule->due;
	uint64_t number = schedule->next_number;
	int status = 0;

	row_batch_reset(&schedule->rows);
	for (size_t i = 0; i < due->count && status == 0; i++) {
		const struct due_event *event = &due->events[i];
		uint8_t key[EVENT_KEY_BYTES], id_key[ID_KEY_BYTES], at[PLACE_BYTES];
		store_u64(at, now_us + POSTPONE_US);
		store_u64(at + 8, number);
		schedule_event_key(key, now_us + POSTPONE_US, number++);
		schedule_id_key(id_key, event->id);
		status = row_batch_add(
			&schedule->rows, bytes_of(event->key, EVENT_KEY_BYTES), bytes_of(NULL, 0));
		status = status != 0
				 ? status
				 : row_batch_add(&schedule->rows, bytes_of(key, EVENT_KEY_BYTES),
					   bytes_of(due->bytes.data + event->at, event->size));
		if (status == 0 && event->has_id) {
			status = row_batch_add(&schedule->rows, bytes_of(id_key, ID_KEY_BYTES),
				bytes_of(at, sizeof(at)));
		}
	}
	schedule->next_number = number;
	return status != 0 ? status : schedule_add_counts(schedule, schedule->waiting, number);
}

static int submit_rows(struct schedule *schedule, bool with_append)
{
	struct due_batch *due = &schedule->due;
	struct store_request *base = with_append ? &due->appends[0].base : &due->alone.base;
	int status;

	free(schedule->changes);
	schedule->changes = NULL;
	status = row_batch_changes(&schedule->rows, &schedule->changes);
	if (status != 0) {
		return status;
	}
	due->is_alone = !with_append;
	if (with_append) {
		due->appends[0].rows = schedule->changes;
		due->appends[0].row_count = schedule->rows.count;
	} else {
		due->alone = (struct rows_request){
			.changes = schedule->changes, .change_count = schedule->rows.count};
	}
	base->operation = with_append ? STORE_APPEND : STORE_ROWS;
	base->queue = &schedule->completions;
	base->status = 0;
	list_init(&base->node);
	ANNALS_FAULT("schedule.before_append");
	return store_submit(schedule->store, base, NULL);
}

/* Everything that is due up to a commit's size. Returns what the scan returned. */
static int look(struct schedule *schedule, struct due_scan *scan)
{
	static const uint8_t prefix[] = {ROW_SCHEDULE, 'e'};
	const uint64_t begin_ns = clock_monotonic_ns();
	uint8_t from[EVENT_KEY_BYTES];
	int status;

	due_batch_reset(&schedule->due);
	schedule_event_key(from, schedule->scan_from_us, 0);
	status = store_row_scan(schedule->store, bytes_of(prefix, sizeof(prefix)),
		bytes_of(from, sizeof(from)), SCAN_ROWS, take_row, scan, NULL);
	if (status == 0 && scan->looked_at == SCAN_ROWS) { /* there may be more */
		scan->next_due_us = ANNALS_MIN(scan->next_due_us, scan->last_us);
	}
	schedule->after_due_us = scan->next_due_us;
	/* A backlog is worth each look. */
	schedule->rest_us =
		scan->next_due_us > scan->now_us
			? ANNALS_MIN((clock_monotonic_ns() - begin_ns) / 1000 * 4, REST_US_MAX)
			: 0;
	return status;
}

bool schedule_start_due(struct schedule *schedule)
{
	struct due_scan scan = {
		.schedule = schedule, .now_us = clock_wall_us(), .next_due_us = UINT64_MAX};
	int status;

	if (scan.now_us < schedule->next_due_us ||
		clock_monotonic_ns() / 1000 < schedule->retry_us) {
		return false;
	}
	status = look(schedule, &scan);
	if (status >= 0 && schedule->due.count > 0) {
		status = fill(schedule);
		status = status != 0 ? status : delete_rows(schedule);
		status = status != 0 ? status
				     : submit_rows(schedule, schedule->due.append_count > 0);
		if (status == 0) {
			return true;
		}
	}
	if (status < 0) { /* memory, space or the queue: they come back */
		schedule_pause(schedule, RETRY_US);
	} else {
		schedule->next_due_us = scan.next_due_us;
		if (scan.next_due_us <= scan.now_us) { /* nothing but damaged rows so far */
			schedule->scan_from_us = scan.last_us;
			schedule->rest_us = RETRY_US;
		}
		schedule_pause(schedule, schedule->rest_us);
	}
	return false;
}

static bool is_for_good(int status)
{
	return status == ANNALS_E_OUTCOME_UNKNOWN || status == ANNALS_E_UNAVAILABLE;
}

static void count(struct schedule *schedule, uint64_t *counter, uint64_t events)
{
	(void)pthread_mutex_lock(&schedule->mutex);
	*counter += events;
	(void)pthread_mutex_unlock(&schedule->mutex);
}

static void done(struct schedule *schedule)
{
	const struct due_batch *due = &schedule->due;

	count(schedule, &schedule->stats.appended_total, due->count - due->dropped);
	count(schedule, &schedule->stats.dropped_total, due->dropped);
	schedule->waiting -= ANNALS_MIN(schedule->waiting, due->count);
	schedule->scan_from_us = ANNALS_MIN(due->skipped_us, due->last_due_us);
	schedule->next_due_us = ANNALS_MIN(due->skipped_us, schedule->after_due_us);
	schedule->due_max = ANNALS_MIN(schedule->due_max, SCAN_ROWS) * 2;
	schedule_pause(schedule, schedule->rest_us);
}

int schedule_due_returned(struct schedule *schedule, struct store_request *request)
{
	struct due_batch *due = &schedule->due;
	int status = request->status;

	ANNALS_FAULT("schedule.after_append");
	free(schedule->changes);
	schedule->changes = NULL;
	if (is_for_good(status)) {
		return status;
	}
	if (due->is_alone) {
		if (status != 0) {
			schedule_pause(schedule, RETRY_US);
		} else if (due->postponed) {
			schedule->due_max = 2; /* who was tried with it is next */
			schedule->next_due_us = 0;
		} else {
			done(schedule);
		}
		due->postponed = false;
		return 0;
	}
	if (status == 0 && !due->appends[0].replayed) {
		done(schedule);
		return 0;
	}
	if (status == 0) { /* all of them are in the log already, and nothing was changed */
		status = delete_rows(schedule);
		status = status != 0 ? status : submit_rows(schedule, false);
		schedule->in_flight = status == 0;
	} else if (status == ANNALS_E_OVERLOADED || status == ANNALS_E_STORAGE_FULL ||
		   status == ANNALS_E_NO_MEMORY || status == ANNALS_E_UNKNOWN_TOPIC) {
		schedule_pause(schedule, RETRY_US); /* a topic that is gone is gone next time */
	} else if (due->count > 1) {
		schedule->due_max = due->count / 2;
		return 0;
	} else {
		count(schedule, &schedule->stats.refused_total, 1);
		status = postpone_rows(schedule, clock_wall_us());
		status = status != 0 ? status : submit_rows(schedule, false);
		schedule->in_flight = due->postponed = status == 0;
	}
	if (status != 0) {
		schedule_pause(schedule, RETRY_US);
	}
	return is_for_good(status) ? status : 0;
}
