/* Events that are due later: an append becomes a request to the schedule. */
#include "ops_internal.h"
#include <annals/clock.h>
#include <stdlib.h>

void op_delayed_free(struct schedule_request *delayed)
{
	if (delayed != NULL) {
		free(delayed->events);
		free(delayed);
	}
}

static int read_event(struct op_append *append, const struct append_part *part,
	struct bytes encoded, uint64_t now_us)
{
	struct schedule_request *delayed = append->delayed;
	struct record record;
	const int status = record_decode(encoded, &record, &append->op.error);
	if (status != 0) {
		return status;
	}
	if (!record.has_due || record.due_ns <= 0 || (uint64_t)record.due_ns / 1000 < now_us) {
		return op_fail(&append->op, ANNALS_E_INVALID,
			"some events are due later and some are not: they need requests of their "
			"own");
	}
	delayed->events[delayed->event_count++] = (struct scheduled_event){.encoded = encoded,
		.source = record.source,
		.id = record.id,
		.due_us = (uint64_t)record.due_ns / 1000 + (record.due_ns % 1000 > 0 ? 1 : 0),
		.partition = part->partition};
	return 0;
}

static int check(struct op_append *append, size_t count)
{
	if (append->request.refusal != 0) {
		return op_fail(
			&append->op, append->request.refusal, "%s", append->request.refusal_text);
	}
	if (append->condition_count > 0 || append->request.query != NULL ||
		append->request.receipt_key.size > 0 || append->request.row_count > 0) {
		return op_fail(&append->op, ANNALS_E_INVALID,
			"delayed events have no conditions and no Idempotency-Key: their ids keep "
			"them from being taken twice");
	}
	if (count > SCHEDULED_EVENTS_MAX) {
		return op_fail(&append->op, ANNALS_E_LIMIT, "a request delays at most %u events",
			SCHEDULED_EVENTS_MAX);
	}
	return 0;
}

int op_append_read_delayed(struct op_append *append)
{
	const uint64_t now_us = clock_wall_us();
	size_t count = 0;
	int status;
	for (size_t i = 0; i < append->request.part_count; i++) {
		count += append->request.parts[i].summary.count;
		if (append->request.parts[i].codec != BATCH_PLAIN) {
			return op_fail(&append->op, ANNALS_E_INVALID,
				"delayed events are taken in plain batches");
		}
	}
	status = check(append, count);
	if (status != 0) {
		return status;
	}
	append->delayed = calloc(1, sizeof(*append->delayed));
	if (append->delayed == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	append->delayed->events = calloc(count + 1, sizeof(*append->delayed->events));
	if (append->delayed->events == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	append->delayed->topic_id = append->op.topic->id;
	append->delayed->partition_named = append->partition_named;
	for (size_t i = 0; i < append->request.part_count && status == 0; i++) {
		const struct append_part *part = &append->request.parts[i];
		struct bytes encoded;
		size_t cursor = 0;
		while (status == 0 && batch_next_event(part->body, &cursor, &encoded) == 1) {
			status = read_event(append, part, encoded, now_us);
		}
	}
	return status;
}
