/* The I/O side of a producer: sealing what lingered, sending, retrying in order, reporting. */
#include "producer.h"

#include <annals/batch.h>
#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/macros.h>
#include <annals/wire.h>
#include <stdio.h>
#include <stdlib.h>

#define SPARE_BATCHES_MAX 16
#define SPARE_BYTES_MAX ((size_t)(1 << 20))
#define RETRY_FIRST_MS 20u
#define RETRY_LAST_MS 2000u

struct annals_producer *producer_of_node(struct list_node *node)
{
	return LIST_ENTRY(node, struct annals_producer, node);
}

static void complete(struct request *request, int status, const struct frame *response,
	const struct annals_error *error);

/* --- what is due */

static bool part_is_free(const struct annals_producer *producer, const struct part *part)
{
	uint64_t most = producer->options->numbers[ANNALS_OPTION_IN_FLIGHT];
	/* The server remembers so many batches to recognise a repeat by. */
	most = producer->producer_id != 0 ? ANNALS_MIN(most, 5u) : most;
	return part->in_flight < most && !(part->drains && part->in_flight > 0);
}

/* Seals the open batches whose time has come, except where earlier ones still wait: those go on
 * filling. Under lock. */
static uint64_t seal_lingering(struct annals_producer *producer, uint64_t now_ns)
{
	uint64_t linger_ns = producer->options->numbers[ANNALS_OPTION_LINGER_US] * 1000u;
	struct list_node *node, *following;
	LIST_FOR_EACH_SAFE (node, following, &producer->lingering) {
		struct part *part = LIST_ENTRY(node, struct part, lingering);
		if (part->open->begun_ns + linger_ns > now_ns) {
			return part->open->begun_ns + linger_ns;
		}
		if (part->open->count > 0 && list_is_empty(&part->ready) &&
			part_is_free(producer, part)) {
			part_seal(producer, part);
		}
	}
	return NO_DEADLINE;
}

/* Moves what may be sent now to `out`. Under lock. */
static uint64_t take_sendable(
	struct annals_producer *producer, uint64_t now_ns, struct list_node *out)
{
	uint64_t next_ns = NO_DEADLINE;
	struct list_node *node, *following;
	LIST_FOR_EACH_SAFE (node, following, &producer->sendable) {
		struct part *part = LIST_ENTRY(node, struct part, sendable);
		if (part->retry_ns > now_ns) {
			next_ns = ANNALS_MIN(next_ns, part->retry_ns);
			continue;
		}
		while (part_is_free(producer, part) && !list_is_empty(&part->ready)) {
			list_add_tail(out, list_pop(&part->ready));
			part->in_flight++;
		}
		if (list_is_empty(&part->ready)) {
			list_remove(&part->sendable);
		}
	}
	return next_ns;
}

/* Compresses and checksums once; retries send the same bytes. */
static int prepare(struct producer_batch *batch)
{
	struct annals_producer *producer = batch->producer;
	struct part *part = batch->part;
	enum batch_codec codec =
		(enum batch_codec)producer->options->numbers[ANNALS_OPTION_COMPRESSION];
	batch->data = buf_bytes(&batch->body);
	if (codec != BATCH_PLAIN) {
		buf_reset(&batch->packed);
		int status = batch_compress(batch->data, codec, 0, &batch->packed);
		if (status != ANNALS_OK) {
			return status;
		}
		if (batch->packed.size < batch->body.size) {
			batch->data = buf_bytes(&batch->packed);
		} else {
			codec = BATCH_PLAIN;
		}
	}
	struct wire_append_batch wire = {
		.partition = batch->part->partition,
		.count = batch->count,
		.body_bytes = (uint32_t)batch->data.size,
		.body_crc = crc32c(0, batch->data.data, batch->data.size),
		.codec = codec,
		.producer_id = producer->producer_id,
		.producer_epoch = producer->producer_epoch,
		.first_sequence = part->next_number,
	};
	part->drains = false;
	batch->number = part->next_number;
	part->next_number += producer->producer_id != 0 ? batch->count : 0;
	if (producer->producer_id == 0) {
		wire.first_sequence = 0;
	}
	struct buf control = batch->request.control;
	request_init(&batch->request, FRAME_APPEND, complete, batch);
	buf_reset(&control);
	batch->request.control = control;
	batch->request.data = &batch->data;
	batch->request.data_count = 1;
	batch->request.deadline_ns =
		batch->begun_ns +
		producer->options->numbers[ANNALS_OPTION_DELIVERY_TIMEOUT_MS] * 1000000u;
	batch->prepared = true;
	return wire_append_request_encode(&batch->request.control, bytes_text(producer->topic),
		(uint32_t)producer->options->numbers[ANNALS_OPTION_DURABILITY], &wire, 1);
}

uint64_t producer_turn(struct annals_producer *producer, uint64_t now_ns)
{
	struct list_node out, *node;
	list_init(&out);
	pthread_mutex_lock(&producer->lock);
	uint64_t linger_ns = seal_lingering(producer, now_ns);
	uint64_t next_ns = take_sendable(producer, now_ns, &out);
	pthread_mutex_unlock(&producer->lock);
	while ((node = list_pop(&out))) {
		struct producer_batch *batch = LIST_ENTRY(node, struct producer_batch, node);
		batch->attempts++;
		int status = batch->prepared ? ANNALS_OK : prepare(batch);
		if (status == ANNALS_OK) {
			request_enqueue(producer->client, &batch->request);
		} else {
			struct annals_error error;
			client_error(&error, status, "cannot prepare a batch: %s",
				annals_status_text(status));
			batch->request.complete = complete;
			batch->request.arg = batch;
			complete(&batch->request, status, NULL, &error);
		}
	}
	return ANNALS_MIN(linger_ns, next_ns);
}

/* --- outcomes */

/* Tells the user, then gives the batch back. */
static void report(struct producer_batch *batch, int status, uint64_t offset,
	enum annals_durability durability, const struct annals_error *error)
{
	struct annals_producer *producer = batch->producer;
	if (producer->options->on_delivery) {
		struct annals_delivery delivery = {.status = status,
			.partition = batch->part->partition,
			.offset = offset,
			.count = batch->count,
			.durability = durability,
			.attempts = batch->attempts,
			.cookies = batch->cookies,
			.error = error};
		producer->options->on_delivery(
			producer, &delivery, producer->options->on_delivery_arg);
	}
	pthread_mutex_lock(&producer->lock);
	batch->part->in_flight--;
	if (status == ANNALS_OK) {
		batch->part->failures = 0;
		producer->stats.events_stored += batch->count;
		producer->stats.batches_stored++;
	} else {
		producer->stats.events_failed += batch->count;
		if (producer->first_error.status == ANNALS_OK) {
			producer->first_error = *error;
		}
	}
	producer->stats.bytes_waiting -= batch->accounted_bytes;
	list_remove(&batch->live);
	bool keep = producer->spare_count < SPARE_BATCHES_MAX;
	if (keep) {
		batch->count = 0;
		batch->accounted_bytes = 0;
		batch->attempts = 0;
		batch->prepared = batch->maybe_stored = false;
		buf_reset(&batch->body);
		buf_trim(&batch->body, SPARE_BYTES_MAX);
		list_add_head(&producer->spare, &batch->node);
		producer->spare_count++;
	}
	pthread_cond_broadcast(&producer->cond);
	pthread_mutex_unlock(&producer->lock);
	if (!keep) {
		producer_batch_free(batch);
	}
}

/* Puts a batch back in front of the later ones of its partition. */
static void retry(struct producer_batch *batch, uint64_t pause_ms)
{
	struct annals_producer *producer = batch->producer;
	struct part *part = batch->part;
	pthread_mutex_lock(&producer->lock);
	part->in_flight--;
	producer->stats.batches_retried++;
	struct list_node *before = part->ready.next;
	while (before != &part->ready &&
		LIST_ENTRY(before, struct producer_batch, node)->sequence < batch->sequence) {
		before = before->next;
	}
	list_add_tail(before, &batch->node);
	if (list_is_empty(&part->sendable)) {
		list_add_tail(&producer->sendable, &part->sendable);
	}
	part->retry_ns = clock_monotonic_ns() + pause_ms * 1000000u;
	pthread_mutex_unlock(&producer->lock);
}

static uint64_t pause_before_retry(
	struct producer_batch *batch, int status, const struct annals_error *error)
{
	if (status == ANNALS_E_DISCONNECTED) {
		return 0; /* reconnecting has its own pauses */
	}
	struct part *part = batch->part;
	uint64_t most_ms =
		ANNALS_MIN(RETRY_FIRST_MS << ANNALS_MIN(part->failures, 10u), RETRY_LAST_MS);
	part->failures++;
	uint64_t pause_ms =
		most_ms / 2 + random_below(&batch->producer->client->jitter, most_ms / 2 + 1);
	return ANNALS_MAX(pause_ms, ANNALS_MIN(error->retry_after_ms, 60000u));
}

/*
 * The server did not expect this number: one before it was refused, or one whose outcome nobody
 * knew is not stored after all. Nothing of this batch is stored, so it can be numbered anew, once
 * all that is in flight has come back.
 */
static bool number_again(struct producer_batch *batch)
{
	struct part *part = batch->part;
	if (part->is_unsure) {
		part->next_number = part->unsure_number;
		part->is_unsure = false;
	} else if (batch->attempts > 8) {
		return false;
	} else if ((int32_t)(batch->number - part->next_number) < 0) {
		part->next_number = batch->number;
	}
	part->drains = true;
	batch->prepared = false;
	return true;
}

/* The batch leaves without being stored for sure: what becomes of its numbers. */
static void give_numbers_back(struct producer_batch *batch)
{
	struct part *part = batch->part;
	if (batch->producer->producer_id == 0 || !batch->prepared) {
		return;
	}
	if (!batch->maybe_stored) {
		if ((int32_t)(batch->number - part->next_number) < 0) {
			part->next_number = batch->number;
		}
		part->drains = true;
	} else if (!part->is_unsure) {
		part->is_unsure = true;
		part->unsure_number = batch->number;
	}
}

static void failed(struct producer_batch *batch, int status, const struct annals_error *error)
{
	struct annals_producer *producer = batch->producer;
	if (status == ANNALS_E_SEQUENCE && !batch->maybe_stored && !producer->closing &&
		clock_monotonic_ns() < batch->request.deadline_ns && number_again(batch)) {
		retry(batch, 0);
		return;
	}
	bool unknown = status == ANNALS_E_OUTCOME_UNKNOWN ||
		       ((status == ANNALS_E_DISCONNECTED || status == ANNALS_E_TIMEOUT) &&
			       batch->request.sent);
	batch->maybe_stored |= unknown;
	bool again = annals_status_retryable(status) && status != ANNALS_E_TIMEOUT &&
		     !producer->closing && clock_monotonic_ns() < batch->request.deadline_ns &&
		     (!unknown || producer->options->numbers[ANNALS_OPTION_RETRY_UNKNOWN]);
	if (again) {
		retry(batch, pause_before_retry(batch, status, error));
		return;
	}
	struct annals_error final = *error;
	give_numbers_back(batch);
	if (batch->maybe_stored) {
		client_error(&final, ANNALS_E_OUTCOME_UNKNOWN,
			"a batch of %u events for partition %u may or may not be stored: %.150s",
			batch->count, batch->part->partition, error->text);
	}
	report(batch, final.status, 0, ANNALS_DURABILITY_TOPIC, &final);
}

/* Runs are cut by stream; a batch lies in one partition, dense unless some of it was stored before.
 */
static bool read_runs(
	const struct wire_append_response *answer, uint32_t count, uint64_t *ret_offset)
{
	struct wire_append_run run;
	size_t cursor = 0;
	uint64_t covered = 0;
	int more;
	while ((more = wire_append_next_run(answer, &cursor, &run)) == 1) {
		if (covered == 0) {
			*ret_offset = run.base_offset;
		}
		covered += run.count;
	}
	return more == 0 && covered == count && count > 0;
}

static void complete(struct request *request, int status, const struct frame *response,
	const struct annals_error *error)
{
	struct producer_batch *batch = request->arg;
	if (status != ANNALS_OK || response == NULL) {
		failed(batch, status, error);
		return;
	}
	struct wire_append_response answer;
	uint64_t offset = 0;
	struct error err = {0, ""};
	if (wire_append_response_decode(response->control, &answer, &err) != ANNALS_OK ||
		!read_runs(&answer, batch->count, &offset)) {
		struct annals_error malformed;
		client_error(&malformed, ANNALS_E_MALFORMED,
			"the server's answer to an append is malformed %s", err.text);
		batch->maybe_stored = true;
		failed(batch, ANNALS_E_MALFORMED, &malformed);
		return;
	}
	batch->part->is_unsure = false;
	report(batch, ANNALS_OK, offset, (enum annals_durability)answer.durability, NULL);
}

void producer_detach(struct annals_client *client, void *arg)
{
	struct annals_producer *producer = arg;
	pthread_mutex_lock(&client->lock);
	list_remove(&producer->node);
	pthread_mutex_unlock(&client->lock);
	struct annals_error error;
	client_error(
		&error, ANNALS_E_CLOSED, "the producer was closed before the batch was answered");
	for (;;) {
		pthread_mutex_lock(&producer->lock);
		struct producer_batch *batch = NULL;
		if (!list_is_empty(&producer->live)) {
			batch = LIST_ENTRY(producer->live.next, struct producer_batch, live);
			struct part *part = batch->part;
			if (part->open == batch) {
				part_seal(producer, part);
			}
		}
		pthread_mutex_unlock(&producer->lock);
		if (!batch) {
			return;
		}
		/* Sealed and waiting here, or with the connection. */
		if (!request_cancel(client, &batch->request, ANNALS_E_CLOSED, error.text)) {
			pthread_mutex_lock(&producer->lock);
			list_remove(&batch->node);
			batch->part->in_flight++;
			pthread_mutex_unlock(&producer->lock);
			failed(batch, ANNALS_E_CLOSED, &error);
		}
	}
}
