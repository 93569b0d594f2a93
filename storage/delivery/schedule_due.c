/*
 * Delayed events that are due: into the log, out of the rows, in one commit.
 *
 * In the order of due times, those of one topic at a time. What the log refuses for good (its id
 * was taken meanwhile by another event, say) is found by trying events alone; it comes again a
 * minute later, so that it is neither lost nor in the way.
 */
#include "schedule_internal.h"

#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/varint.h>
#include <stdlib.h>

#define SCAN_ROWS 500u
#define BODY_BYTES_MAX (1u << 20) /* of one append, about */
#define RETRY_US 100000u
#define POSTPONE_US UINT64_C(60000000)

static void due_batch_reset(struct due_batch *due)
{
	for (size_t i = 0; due->bodies != NULL && i < due->append.part_count; i++) {
		buf_release(&due->bodies[i]);
	}
	free(due->bodies);
	due->bodies = NULL;
	if (due->append.parts != &due->append.one_part) {
		free(due->append.parts);
	}
	append_request_release(&due->append);
	memset(&due->append, 0, sizeof(due->append));
	buf_reset(&due->bytes);
	due->count = 0;
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
};

static int take_row(void *arg, struct bytes key, struct bytes value)
{
	struct due_scan *scan = arg;
	struct due_batch *due = &scan->schedule->due;
	struct due_event *event;
	uint64_t due_us;

	if (key.size != EVENT_KEY_BYTES || value.size <= EVENT_FIXED_BYTES || value.data[0] != 1) {
		return 0; /* damaged: verify tells of it */
	}
	due_us = load_u64_be(key.data + 2);
	if (due_us > scan->now_us || due->count >= scan->schedule->due_max ||
		due->bytes.size > BODY_BYTES_MAX) {
		scan->next_due_us = due_us;
		return 1;
	}
	if (due->count > 0 && load_u32(value.data + 2) != due->events[0].topic_id) {
		due->skipped_us = ANNALS_MIN(due->skipped_us, due_us);
		return 0;
	}
	if (due->count == due->capacity) {
		size_t capacity = due->capacity == 0 ? 64 : due->capacity * 2;
		struct due_event *larger = realloc(due->events, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		due->events = larger;
		due->capacity = capacity;
	}
	event = &due->events[due->count];
	memcpy(event->key, key.data, EVENT_KEY_BYTES);
	event->flags = value.data[1];
	event->topic_id = load_u32(value.data + 2);
	event->partition = load_u32(value.data + 6);
	memcpy(event->id, value.data + 10, 16);
	event->at = due->bytes.size;
	event->size = value.size;
	due->count++;
	return buf_add(&due->bytes, value.data, value.size);
}

static struct bytes encoded_of(const struct due_batch *due, size_t index)
{
	const struct due_event *event = &due->events[index];

	return bytes_of(
		due->bytes.data + event->at + EVENT_FIXED_BYTES, event->size - EVENT_FIXED_BYTES);
}

static uint32_t partition_of(
	const struct due_event *event, struct bytes encoded, const struct topic *topic)
{
	struct record record;

	if ((event->flags & PARTITION_NAMED) == 0 && record_decode(encoded, &record, NULL) == 0 &&
		record.has_key) {
		return record_partition(record.key, topic->config.partitions);
	}
	return event->partition < topic->config.partitions ? event->partition : 0;
}

static int add_to_part(struct due_batch *due, uint32_t partition, struct bytes encoded)
{
	uint8_t head[1 + VARINT_BYTES_MAX] = {0x0a}; /* Batch.event */
	const size_t size = 1 + varint_put(head + 1, encoded.size);
	size_t i = 0;
	int status;

	while (i < due->append.part_count && due->append.parts[i].partition != partition) {
		i++;
	}
	if (i == due->append.part_count) {
		due->append.part_count++;
		due->append.parts[i] = (struct append_part){.partition = partition};
	}
	status = buf_add(&due->bodies[i], head, size);
	return status != 0 ? status : buf_add(&due->bodies[i], encoded.data, encoded.size);
}

/* The parts of the append. */
static int fill_parts(struct due_batch *due, const struct topic *topic)
{
	struct buf scratch = BUF_INIT;
	int status = 0;

	due->append.parts = calloc(due->count, sizeof(*due->append.parts));
	due->bodies = calloc(due->count, sizeof(*due->bodies));
	if (due->append.parts == NULL || due->bodies == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < due->count && status == 0; i++) {
		struct bytes encoded = encoded_of(due, i);
		status = add_to_part(due, partition_of(&due->events[i], encoded, topic), encoded);
	}
	for (size_t i = 0; i < due->append.part_count && status == 0; i++) {
		struct append_part *part = &due->append.parts[i];
		const struct batch_limits limits = {0};
		part->codec = BATCH_PLAIN;
		part->body = buf_bytes(&due->bodies[i]);
		part->body_crc = crc32c(0, part->body.data, part->body.size);
		status = batch_check_body(
			part->body, BATCH_PLAIN, &limits, &scratch, &part->summary, NULL);
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
		schedule_id_key(key, due->events[i].id);
		status = row_batch_add(
			&schedule->rows, bytes_of(due->events[i].key, EVENT_KEY_BYTES), nothing);
		status = status != 0 ? status
				     : row_batch_add(&schedule->rows, bytes_of(key, ID_KEY_BYTES),
					       nothing);
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
		uint8_t key[EVENT_KEY_BYTES], id_key[ID_KEY_BYTES], place[PLACE_BYTES];
		store_u64(place, now_us + POSTPONE_US);
		store_u64(place + 8, number);
		schedule_event_key(key, now_us + POSTPONE_US, number++);
		schedule_id_key(id_key, event->id);
		status = row_batch_add(
			&schedule->rows, bytes_of(event->key, EVENT_KEY_BYTES), bytes_of(NULL, 0));
		status = status != 0
				 ? status
				 : row_batch_add(&schedule->rows, bytes_of(key, EVENT_KEY_BYTES),
					   bytes_of(due->bytes.data + event->at, event->size));
		status = status != 0
				 ? status
				 : row_batch_add(&schedule->rows, bytes_of(id_key, ID_KEY_BYTES),
					   bytes_of(place, sizeof(place)));
	}
	schedule->next_number = number;
	return status != 0 ? status : schedule_add_counts(schedule, schedule->waiting, number);
}

static int submit_rows(struct schedule *schedule, bool with_append)
{
	struct due_batch *due = &schedule->due;
	struct store_request *base = with_append ? &due->append.base : &due->alone.base;
	int status;

	free(schedule->changes);
	schedule->changes = NULL;
	status = row_batch_changes(&schedule->rows, &schedule->changes);
	if (status != 0) {
		return status;
	}
	due->is_alone = !with_append;
	if (with_append) {
		due->append.rows = schedule->changes;
		due->append.row_count = schedule->rows.count;
	} else {
		due->alone = (struct rows_request){
			.changes = schedule->changes, .change_count = schedule->rows.count};
	}
	base->operation = with_append ? STORE_APPEND : STORE_ROWS;
	base->queue = &schedule->completions;
	base->status = 0;
	list_init(&base->node);
	return store_submit(schedule->store, base, NULL);
}

static int start(struct schedule *schedule)
{
	struct due_batch *due = &schedule->due;
	struct topic *topic = store_topic_find_id(schedule->store, due->events[0].topic_id);
	int status = delete_rows(schedule);

	if (status == 0 && topic != NULL) {
		due->append.topic_id = topic->id;
		due->append.durability = DURABILITY_DEFAULT;
		status = fill_parts(due, topic);
	}
	status = status != 0 ? status : submit_rows(schedule, topic != NULL);
	topic_unref(topic);
	return status;
}

bool schedule_start_due(struct schedule *schedule)
{
	static const uint8_t prefix[] = {ROW_SCHEDULE, 'e'};
	struct due_scan scan = {.schedule = schedule, .now_us = clock_wall_us()};
	uint8_t from[EVENT_KEY_BYTES];
	int status;

	if (scan.now_us < schedule->next_due_us ||
		clock_monotonic_ns() / 1000 < schedule->retry_us) {
		return false;
	}
	due_batch_reset(&schedule->due);
	scan.next_due_us = UINT64_MAX;
	schedule_event_key(from, schedule->scan_from_us, 0);
	status = store_row_scan(schedule->store, bytes_of(prefix, sizeof(prefix)),
		bytes_of(from, sizeof(from)), SCAN_ROWS, take_row, &scan, NULL);
	if (status >= 0 && schedule->due.count > 0) {
		status = start(schedule);
		if (status == 0) {
			return true;
		}
	}
	if (status < 0) { /* memory, space or the queue: they come back */
		schedule_pause(schedule, RETRY_US);
	} else {
		schedule->next_due_us = scan.next_due_us;
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

static void done(struct schedule *schedule, uint64_t *counter)
{
	const struct due_batch *due = &schedule->due;

	count(schedule, counter, due->count);
	schedule->waiting -= ANNALS_MIN(schedule->waiting, due->count);
	schedule->scan_from_us =
		ANNALS_MIN(due->skipped_us, load_u64_be(due->events[due->count - 1].key + 2));
	schedule->next_due_us = schedule->waiting == 0 ? UINT64_MAX : schedule->scan_from_us;
	schedule->due_max = SIZE_MAX;
}

int schedule_due_returned(struct schedule *schedule, struct store_request *request)
{
	struct due_batch *due = &schedule->due;
	int status = request->status;

	free(schedule->changes);
	schedule->changes = NULL;
	if (is_for_good(status)) {
		return status;
	}
	if (due->is_alone) {
		if (status != 0) {
			schedule_pause(schedule, RETRY_US);
		} else if (due->postponed) {
			schedule->due_max = SIZE_MAX;
			schedule->next_due_us = 0;
		} else {
			done(schedule, due->append.part_count > 0 ? &schedule->stats.appended_total
								  : &schedule->stats.dropped_total);
		}
		due->postponed = false;
		return 0;
	}
	if (status == 0 && !due->append.replayed) {
		done(schedule, &schedule->stats.appended_total);
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
		schedule->due_max = 1;
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
