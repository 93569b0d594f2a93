/* The callers' side of a producer: taking events into batches, flushing, closing. */
#include "producer.h"

#include "control.h"

#include "convert.h"
#include <annals/clock.h>
#include <annals/macros.h>
#include <stdio.h>
#include <stdlib.h>

#define COOKIES_FIRST 64

void producer_batch_free(struct producer_batch *batch)
{
	if (!batch) {
		return;
	}
	buf_release(&batch->body);
	buf_release(&batch->packed);
	request_release(&batch->request);
	free(batch->cookies);
	free(batch);
}

void part_seal(struct annals_producer *producer, struct part *part)
{
	struct producer_batch *batch = part->open;
	part->open = NULL;
	list_remove(&part->lingering);
	list_add_tail(&part->ready, &batch->node);
	if (list_is_empty(&part->sendable)) {
		list_add_tail(&producer->sendable, &part->sendable);
	}
	if (part->partition == producer->sticky) {
		producer->sticky =
			(uint32_t)random_below(&producer->random, producer->partition_count);
	}
}

/* The batch that is being filled for a partition; a new one when there is none. */
static struct producer_batch *open_batch(
	struct annals_producer *producer, struct part *part, bool *ret_wake)
{
	if (part->open) {
		return part->open;
	}
	struct list_node *node = list_pop(&producer->spare);
	struct producer_batch *batch;
	if (node) {
		batch = LIST_ENTRY(node, struct producer_batch, node);
		producer->spare_count--;
	} else {
		batch = calloc(1, sizeof(*batch));
		if (!batch) {
			return NULL;
		}
		list_init(&batch->node);
		list_init(&batch->live);
		list_init(&batch->request.node);
		batch->producer = producer;
	}
	batch->part = part;
	batch->sequence = producer->next_sequence++;
	batch->begun_ns = clock_monotonic_ns();
	part->open = batch;
	*ret_wake = true;
	list_add_tail(&producer->lingering, &part->lingering);
	list_add_tail(&producer->live, &batch->live);
	return batch;
}

static int keep_cookie(struct producer_batch *batch, void *cookie)
{
	if (batch->count == batch->cookie_capacity) {
		size_t capacity =
			batch->cookie_capacity ? 2 * batch->cookie_capacity : COOKIES_FIRST;
		void **grown = realloc(batch->cookies, capacity * sizeof(*grown));
		if (!grown) {
			return ANNALS_E_NO_MEMORY;
		}
		batch->cookies = grown;
		batch->cookie_capacity = capacity;
	}
	batch->cookies[batch->count] = cookie;
	return ANNALS_OK;
}

/* Takes a batch back that got no event. Under lock. */
static void discard_if_empty(struct part *part)
{
	struct producer_batch *batch = part->open;
	if (batch && batch->count == 0) {
		part->open = NULL;
		list_remove(&part->lingering);
		list_remove(&batch->live);
		producer_batch_free(batch);
	}
}

static int add_event(struct annals_producer *producer, struct producer_batch *batch,
	const struct annals_event *event, void *cookie, struct error *err)
{
	char id[40];
	int id_size = 0;
	if (producer->options->numbers[ANNALS_OPTION_GENERATE_IDS] && event->id.size == 0) {
		id_size = snprintf(id, sizeof(id), "%016llx-%llx",
			(unsigned long long)producer->id_prefix,
			(unsigned long long)producer->next_id++);
	}
	if (keep_cookie(batch, cookie) != ANNALS_OK) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a batch");
	}
	size_t before = batch->body.size;
	int status = event_encode(event, bytes_of(id, (size_t)id_size), &batch->body, err);
	if (status != ANNALS_OK) {
		return status;
	}
	size_t bytes = batch->body.size - before + sizeof(void *);
	batch->count++;
	batch->accounted_bytes += bytes;
	producer->stats.bytes_waiting += bytes;
	producer->stats.events_taken++;
	return ANNALS_OK;
}

/* Adds the event to its partition's batch. Under lock. */
static int take(struct annals_producer *producer, struct part *part,
	const struct annals_event *event, void *cookie, bool *ret_wake, struct error *err)
{
	const uint64_t *numbers = producer->options->numbers;
	struct producer_batch *batch = open_batch(producer, part, ret_wake);
	if (!batch) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a batch");
	}
	int status = add_event(producer, batch, event, cookie, err);
	if (status != ANNALS_OK) {
		discard_if_empty(part);
		return status;
	}
	if (batch->body.size >= numbers[ANNALS_OPTION_BATCH_BYTES] ||
		batch->count >= numbers[ANNALS_OPTION_BATCH_EVENTS]) {
		part_seal(producer, part);
		*ret_wake = true;
	}
	return ANNALS_OK;
}

/* An upper bound of what the event takes, fields' tags included. */
static size_t event_bytes(const struct annals_event *event)
{
	size_t bytes = 128 + event->id.size + event->source.size + event->type.size +
		       event->subject.size + event->datacontenttype.size + event->dataschema.size +
		       event->key.size + event->data.size;
	for (uint32_t i = 0; i < event->extension_count; i++) {
		bytes += 32 + event->extensions[i].name.size + event->extensions[i].value.size;
	}
	for (uint32_t i = 0; i < event->header_count; i++) {
		bytes += 16 + event->headers[i].name.size + event->headers[i].value.size;
	}
	for (uint32_t i = 0; i < event->tag_count; i++) {
		bytes += 8 + event->tags[i].size;
	}
	return bytes;
}

/* Waits until `bytes` fit. Under lock. */
static int wait_for_room(struct annals_producer *producer, size_t bytes, uint64_t deadline_ns,
	struct annals_error *error)
{
	uint64_t limit = producer->options->numbers[ANNALS_OPTION_BUFFER_BYTES];
	while (!producer->closing && producer->stats.bytes_waiting > 0 &&
		producer->stats.bytes_waiting + bytes > limit) {
		client_wake(producer->client);
		if (!client_wait_step(
			    producer->client, &producer->lock, &producer->cond, deadline_ns)) {
			return client_error(error, ANNALS_E_OVERLOADED,
				"%llu bytes wait to be sent; the limit 'buffer-bytes' is %llu",
				(unsigned long long)producer->stats.bytes_waiting,
				(unsigned long long)limit);
		}
	}
	return producer->closing
		       ? client_error(error, ANNALS_E_CLOSED, "the producer is being closed")
		       : ANNALS_OK;
}

/* Full when the event would take the body over what a request may hold. */
static void seal_if_full(struct annals_producer *producer, struct part *part, size_t bytes)
{
	if (part->open && part->open->count > 0 && part->open->body.size + bytes > BODY_BYTES_MAX) {
		part_seal(producer, part);
	}
}

static int send_locked(struct annals_producer *producer, uint32_t partition,
	const struct annals_event *event, void *cookie, int timeout_ms, bool *ret_wake,
	struct annals_error *error)
{
	size_t bytes = event_bytes(event);
	if (producer->closing || producer->stats.bytes_waiting + bytes >
					 producer->options->numbers[ANNALS_OPTION_BUFFER_BYTES]) {
		int status = wait_for_room(producer, bytes, deadline_after_ms(timeout_ms), error);
		if (status != ANNALS_OK) {
			return status;
		}
	}
	if (partition == ANNALS_PARTITION_BY_KEY) {
		partition = event->has_key || event->key.size > 0
				    ? annals_partition_for_key(event->key.data, event->key.size,
					      producer->partition_count)
				    : producer->sticky;
	}
	struct part *part = &producer->parts[partition];
	seal_if_full(producer, part, bytes);
	struct error err = {0, ""};
	int status = take(producer, part, event, cookie, ret_wake, &err);
	return status == ANNALS_OK ? status : client_error_from(error, &err);
}

int annals_producer_send_to(struct annals_producer *producer, uint32_t partition,
	const struct annals_event *event, void *cookie, int timeout_ms, struct annals_error *error)
{
	if (partition != ANNALS_PARTITION_BY_KEY && partition >= producer->partition_count) {
		return client_error(error, ANNALS_E_UNKNOWN_PARTITION,
			"topic '%s' has %u partitions, so there is no %u", producer->topic,
			producer->partition_count, partition);
	}
	bool wake = false;
	pthread_mutex_lock(&producer->lock);
	int status = send_locked(producer, partition, event, cookie, timeout_ms, &wake, error);
	pthread_mutex_unlock(&producer->lock);
	if (wake) {
		client_wake(producer->client);
	}
	return status;
}

int annals_producer_send(struct annals_producer *producer, const struct annals_event *event,
	void *cookie, int timeout_ms, struct annals_error *error)
{
	return annals_producer_send_to(
		producer, ANNALS_PARTITION_BY_KEY, event, cookie, timeout_ms, error);
}

int annals_producer_flush(
	struct annals_producer *producer, int timeout_ms, struct annals_error *error)
{
	uint64_t deadline_ns = deadline_after_ms(timeout_ms);
	int status = ANNALS_OK;
	pthread_mutex_lock(&producer->lock);
	while (!list_is_empty(&producer->lingering)) {
		struct part *part = LIST_ENTRY(producer->lingering.next, struct part, lingering);
		part_seal(producer, part);
	}
	uint64_t end = producer->next_sequence;
	client_wake(producer->client);
	while (!list_is_empty(&producer->live) &&
		LIST_ENTRY(producer->live.next, struct producer_batch, live)->sequence < end) {
		if (!client_wait_step(
			    producer->client, &producer->lock, &producer->cond, deadline_ns)) {
			status = client_error(error, ANNALS_E_TIMEOUT,
				"%llu bytes are still on their way after %d ms",
				(unsigned long long)producer->stats.bytes_waiting, timeout_ms);
			break;
		}
	}
	if (status == ANNALS_OK && producer->first_error.status != ANNALS_OK) {
		status = producer->first_error.status;
		if (error) {
			*error = producer->first_error;
		}
		producer->first_error.status = ANNALS_OK;
	}
	pthread_mutex_unlock(&producer->lock);
	return status;
}

void annals_producer_stats(struct annals_producer *producer, struct annals_producer_stats *ret)
{
	pthread_mutex_lock(&producer->lock);
	*ret = producer->stats;
	pthread_mutex_unlock(&producer->lock);
}

static void producer_free(struct annals_producer *producer)
{
	struct list_node *node;
	while ((node = list_pop(&producer->spare))) {
		producer_batch_free(LIST_ENTRY(node, struct producer_batch, node));
	}
	pthread_cond_destroy(&producer->cond);
	pthread_mutex_destroy(&producer->lock);
	annals_options_free(producer->options);
	free(producer->parts);
	free(producer->topic);
	free(producer);
}

static struct annals_producer *producer_new(struct annals_client *client, const char *topic,
	const struct annals_options *options, uint32_t partitions)
{
	struct annals_producer *producer = calloc(1, sizeof(*producer));
	if (!producer) {
		return NULL;
	}
	list_init(&producer->node);
	list_init(&producer->sendable);
	list_init(&producer->lingering);
	list_init(&producer->live);
	list_init(&producer->spare);
	(void)pthread_mutex_init(&producer->lock, NULL);
	producer->client = client;
	producer->partition_count = partitions;
	producer->topic = strdup(topic);
	producer->parts = calloc(partitions, sizeof(*producer->parts));
	if (cond_init_monotonic(&producer->cond) != ANNALS_OK || !producer->topic ||
		!producer->parts || options_copy(options, &producer->options) != ANNALS_OK) {
		producer_free(producer);
		return NULL;
	}
	for (uint32_t i = 0; i < partitions; i++) {
		struct part *part = &producer->parts[i];
		list_init(&part->sendable);
		list_init(&part->lingering);
		list_init(&part->ready);
		part->partition = i;
	}
	random_bytes(&producer->id_prefix, sizeof(producer->id_prefix));
	random_bytes(&producer->random, sizeof(producer->random));
	producer->sticky = (uint32_t)random_below(&producer->random, partitions);
	return producer;
}

/* The identity under which batches are numbered. An older server knows none: then there is none. */
static int open_numbers(struct annals_client *client, struct annals_producer *producer,
	int timeout_ms, struct annals_error *error)
{
	Annals__V1__ProducerOpenRequest request = ANNALS__V1__PRODUCER_OPEN_REQUEST__INIT;
	ProtobufCMessage *answer = NULL;
	int status;
	request.name = control_text(producer->options->producer_name);
	status = control_call(client, FRAME_PRODUCER_OPEN, &request.base,
		&annals__v1__producer_open_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_E_UNSUPPORTED_OPERATION && request.name[0] == 0) {
		return ANNALS_OK;
	}
	if (status == ANNALS_OK) {
		const Annals__V1__ProducerOpenResponse *opened =
			(const Annals__V1__ProducerOpenResponse *)answer;
		producer->producer_id = opened->producer_id;
		producer->producer_epoch = (uint16_t)opened->epoch;
		protobuf_c_message_free_unpacked(answer, NULL);
	}
	return status;
}

int annals_producer_open(struct annals_client *client, const char *topic,
	const struct annals_options *options, int timeout_ms, struct annals_producer **ret_producer,
	struct annals_error *error)
{
	uint32_t partitions;
	topic_forget(client, topic);
	int status = topic_partitions(client, topic, timeout_ms, &partitions, error);
	if (status != ANNALS_OK) {
		return status;
	}
	struct annals_producer *producer = producer_new(client, topic, options, partitions);
	if (!producer) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a producer");
	}
	if (producer->options->numbers[ANNALS_OPTION_IDEMPOTENCE]) {
		status = open_numbers(client, producer, timeout_ms, error);
		if (status != ANNALS_OK) {
			producer_free(producer);
			return status;
		}
	}
	pthread_mutex_lock(&client->lock);
	list_add_tail(&client->new_producers, &producer->node);
	pthread_mutex_unlock(&client->lock);
	*ret_producer = producer;
	return ANNALS_OK;
}

int annals_producer_close(struct annals_producer *producer, int timeout_ms)
{
	if (!producer) {
		return ANNALS_OK;
	}
	int status = annals_producer_flush(producer, timeout_ms, NULL);
	pthread_mutex_lock(&producer->lock);
	producer->closing = true;
	pthread_cond_broadcast(&producer->cond);
	pthread_mutex_unlock(&producer->lock);
	client_run(producer->client, producer_detach, producer);
	producer_free(producer);
	return status;
}
