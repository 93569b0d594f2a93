/* The I/O side of a consumer: subscribing, again after every loss, credit, and pushed pages. */
#include "consumer.h"

#include "control.h"
#include "filter.h"
#include <annals/clock.h>
#include <annals/macros.h>
#include <annals/wire.h>
#include <stdlib.h>

#define CODECS_TAKEN ((1u << BATCH_PLAIN) | (1u << BATCH_ZSTD) | (1u << BATCH_LZ4))
#define RETRY_FIRST_MS 20u
#define RETRY_LAST_MS 2000u

struct annals_consumer *consumer_of_node(struct list_node *node)
{
	return LIST_ENTRY(node, struct annals_consumer, node);
}

struct consumer_part *consumer_part_find(struct annals_consumer *consumer, uint32_t partition)
{
	if (partition < consumer->part_count && consumer->parts[partition].partition == partition) {
		return &consumer->parts[partition];
	}
	for (size_t i = 0; i < consumer->part_count; i++) {
		if (consumer->parts[i].partition == partition) {
			return &consumer->parts[i];
		}
	}
	return NULL;
}

/* Wakes the caller. */
static void signal_ready(struct annals_consumer *consumer, bool was_empty)
{
	pthread_mutex_lock(&consumer->lock);
	annals_consumer_fn *function = was_empty ? consumer->on_ready : NULL;
	void *arg = consumer->on_ready_arg;
	pthread_cond_broadcast(&consumer->cond);
	pthread_mutex_unlock(&consumer->lock);
	if (function) {
		function(consumer, arg);
	}
}

static void end(struct annals_consumer *consumer, const struct annals_error *error)
{
	consumer->state = SUBSCRIPTION_ENDED;
	pthread_mutex_lock(&consumer->lock);
	consumer->end = *error;
	pthread_mutex_unlock(&consumer->lock);
	signal_ready(consumer, true);
}

/* Ends for good, or tries again later when that may help. */
static void end_or_retry(
	struct annals_consumer *consumer, int status, const struct annals_error *error)
{
	if (!annals_status_retryable(status)) {
		end(consumer, error);
		return;
	}
	uint64_t pause_ms =
		status == ANNALS_E_DISCONNECTED
			? 0
			: ANNALS_MIN(RETRY_FIRST_MS << ANNALS_MIN(consumer->failures, 10u),
				  RETRY_LAST_MS);
	consumer->failures++;
	consumer->state = SUBSCRIPTION_NONE;
	consumer->retry_ns =
		clock_monotonic_ns() +
		ANNALS_MAX(pause_ms, ANNALS_MIN(error->retry_after_ms, 60000u)) * 1000000u;
}

/* --- requests */

static void ignore_complete(struct request *request, int status, const struct frame *response,
	const struct annals_error *error)
{
	(void)status;
	(void)response;
	(void)error;
	request_release(request);
	free(request);
}

/* Packs and sends; the completion frees the request. False without memory. */
static struct request *send_message(struct annals_client *client, enum frame_operation operation,
	const ProtobufCMessage *message, request_fn *complete, void *arg)
{
	struct request *request = malloc(sizeof(*request));
	if (!request) {
		return NULL;
	}
	request_init(request, operation, complete, arg);
	if (buf_reserve(&request->control, protobuf_c_message_get_packed_size(message) + 1) !=
		ANNALS_OK) {
		free(request);
		return NULL;
	}
	request->control.size = protobuf_c_message_pack(message, request->control.data);
	request_enqueue(client, request);
	return request;
}

static int compare_parts(const void *a, const void *b)
{
	uint32_t x = ((const struct consumer_part *)a)->partition;
	uint32_t y = ((const struct consumer_part *)b)->partition;
	return x < y ? -1 : x > y;
}

/* The first answer says which partitions there are and where each begins. */
static int learn_parts(
	struct annals_consumer *consumer, const Annals__V1__SubscribeResponse *response)
{
	struct consumer_part *parts = calloc(response->n_partition + 1, sizeof(*parts));
	if (!parts) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < response->n_partition; i++) {
		uint64_t offset = response->partition[i]->offset;
		parts[i] =
			(struct consumer_part){response->partition[i]->partition, offset, offset};
	}
	qsort(parts, response->n_partition, sizeof(*parts), compare_parts);
	pthread_mutex_lock(&consumer->lock);
	consumer->parts = parts;
	consumer->part_count = response->n_partition;
	consumer->topic_id = response->topic_id;
	consumer->opened = true;
	pthread_cond_broadcast(&consumer->cond);
	pthread_mutex_unlock(&consumer->lock);
	return ANNALS_OK;
}

static void subscribe_complete(struct request *request, int status, const struct frame *frame,
	const struct annals_error *error)
{
	struct annals_consumer *consumer = request->arg;
	consumer->request = NULL;
	request_release(request);
	free(request);
	if (status != ANNALS_OK) {
		end_or_retry(consumer, status, error);
		return;
	}
	Annals__V1__SubscribeResponse *response = annals__v1__subscribe_response__unpack(
		NULL, frame->control.size, frame->control.data);
	struct annals_error failed;
	client_error(&failed, ANNALS_E_MALFORMED, "the answer to a subscription is malformed");
	if (response && !consumer->opened) {
		status = learn_parts(consumer, response);
		if (status != ANNALS_OK) {
			client_error(&failed, ANNALS_E_NO_MEMORY, "no memory for the partitions");
		}
	}
	if (!response || status != ANNALS_OK) {
		end(consumer, &failed);
	} else {
		consumer->subscription = response->subscription;
		consumer->state = SUBSCRIPTION_ACTIVE;
		consumer->failures = 0;
	}
	annals__v1__subscribe_response__free_unpacked(response, NULL);
}

/* What to ask for: at first what the caller said, later where each partition is. */
static void subscribe(struct annals_consumer *consumer, uint64_t credit_bytes)
{
	Annals__V1__SubscribeRequest message = ANNALS__V1__SUBSCRIBE_REQUEST__INIT;
	Annals__V1__EventFilter filter;
	char *tags[EVENT_FILTER_TAGS_MAX];
	size_t count = consumer->opened ? consumer->part_count : consumer->start.partition_count;
	Annals__V1__SubscribePartition *parts = calloc(count + 1, sizeof(*parts));
	Annals__V1__SubscribePartition **list =
		calloc(count + 1, sizeof(Annals__V1__SubscribePartition *));
	if (parts && list) {
		for (size_t i = 0; i < count; i++) {
			annals__v1__subscribe_partition__init(&parts[i]);
			parts[i].partition = consumer->opened
						     ? consumer->parts[i].partition
						     : consumer->start.partitions[i].partition;
			parts[i].offset = consumer->opened ? consumer->parts[i].received
							   : consumer->start.partitions[i].offset;
			list[i] = &parts[i];
		}
		static const Annals__V1__SubscribeStart kinds[] = {
			[ANNALS_START_EARLIEST] =
				ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_EARLIEST,
			[ANNALS_START_LATEST] = ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_LATEST,
			[ANNALS_START_TIME] = ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_TIME,
			[ANNALS_START_OFFSETS] =
				ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_OFFSET,
		};
		message.topic = consumer->topic;
		message.partition = list;
		message.n_partition = count;
		message.start = consumer->opened ? kinds[ANNALS_START_OFFSETS]
						 : kinds[consumer->start.kind];
		message.start_time_us = consumer->start.time_us;
		message.credit_bytes = credit_bytes;
		message.codecs = CODECS_TAKEN;
		message.topic_id = consumer->topic_id;
		if (consumer->filter) {
			filter_message(consumer->filter, &filter, tags);
			message.filter = &filter;
		}
		consumer->request = send_message(consumer->client, FRAME_SUBSCRIBE, &message.base,
			subscribe_complete, consumer);
	}
	free(list);
	free(parts);
	if (consumer->request) {
		consumer->state = SUBSCRIPTION_ASKED;
	} else {
		consumer->retry_ns = clock_monotonic_ns() + RETRY_LAST_MS * 1000000u;
	}
}

uint64_t consumer_turn(struct annals_consumer *consumer, uint64_t now_ns)
{
	bool may_ask =
		consumer->state == SUBSCRIPTION_NONE && consumer->client->conn.state == CONN_READY;
	if (may_ask && now_ns < consumer->retry_ns) {
		return consumer->retry_ns;
	}
	if (!may_ask && consumer->state != SUBSCRIPTION_ACTIVE) {
		return NO_DEADLINE;
	}
	pthread_mutex_lock(&consumer->lock);
	if (may_ask) {
		consumer->granted = 0;
	}
	int64_t room = consumer->read_ahead_bytes - consumer->held - consumer->granted;
	bool enough = room >= consumer->read_ahead_bytes / 4;
	if (enough) {
		consumer->granted += room;
	}
	pthread_mutex_unlock(&consumer->lock);
	if (!enough) {
		return NO_DEADLINE;
	}
	if (may_ask) {
		subscribe(consumer, (uint64_t)room);
		return consumer->state == SUBSCRIPTION_NONE ? consumer->retry_ns : NO_DEADLINE;
	}
	Annals__V1__CreditRequest message = ANNALS__V1__CREDIT_REQUEST__INIT;
	message.subscription = consumer->subscription;
	message.credit_bytes = (uint64_t)room;
	if (!send_message(consumer->client, FRAME_CREDIT, &message.base, ignore_complete, NULL)) {
		pthread_mutex_lock(&consumer->lock);
		consumer->granted -= room;
		pthread_mutex_unlock(&consumer->lock);
		return now_ns + RETRY_LAST_MS * 1000000u;
	}
	return NO_DEADLINE;
}

void consumer_connection_lost(struct annals_consumer *consumer)
{
	if (consumer->state == SUBSCRIPTION_ACTIVE) {
		consumer->state = SUBSCRIPTION_NONE;
		consumer->retry_ns = 0;
	}
}

void consumer_client_closed(struct annals_consumer *consumer)
{
	struct annals_error error;
	client_error(&error, ANNALS_E_CLOSED, "the client was closed");
	end(consumer, &error);
}

/* --- pushes */

static struct annals_consumer *find_subscription(
	struct annals_client *client, uint64_t subscription)
{
	struct list_node *node;
	LIST_FOR_EACH (node, &client->consumers) {
		struct annals_consumer *consumer = consumer_of_node(node);
		if (consumer->state == SUBSCRIPTION_ACTIVE &&
			consumer->subscription == subscription) {
			return consumer;
		}
	}
	return NULL;
}

/* A push without data: how far the server looked. Goes with the last page of the partition that the
 * caller has not taken yet. False when there is none. */
static bool move_on(struct annals_consumer *consumer, const struct wire_push *push)
{
	bool found = false;
	struct list_node *node;
	pthread_mutex_lock(&consumer->lock);
	for (node = consumer->pages.prev; node != &consumer->pages && !found; node = node->prev) {
		struct page *page = LIST_ENTRY(node, struct page, node);
		found = page->partition == push->partition;
		if (found) {
			page->next_offset = push->next_offset;
		}
	}
	pthread_mutex_unlock(&consumer->lock);
	return found;
}

static int queue_page(struct annals_consumer *consumer, const struct frame *frame,
	const struct wire_push *push, struct page **page, struct error *err)
{
	struct page *queued = *page;
	if (queued) {
		queued->data = frame->data; /* it lies in the page already */
		*page = NULL;
	} else {
		queued = page_new(&consumer->client->pages, frame->data.size);
		if (!queued) {
			return error_fail(err, ANNALS_E_NO_MEMORY,
				"no memory for a page of %zu bytes", frame->data.size);
		}
		if (frame->data.size > 0) {
			memcpy(queued->bytes, frame->data.data, frame->data.size);
		}
		queued->data = bytes_of(queued->bytes, frame->data.size);
	}
	queued->partition = push->partition;
	queued->next_offset = push->next_offset;
	pthread_mutex_lock(&consumer->lock);
	bool was_empty = list_is_empty(&consumer->pages);
	list_add_tail(&consumer->pages, &queued->node);
	consumer->held += (int64_t)queued->data.size;
	/* As the server counts: a batch larger than what is left uses it up. */
	consumer->granted = ANNALS_MAX(consumer->granted - (int64_t)queued->data.size, 0);
	pthread_mutex_unlock(&consumer->lock);
	signal_ready(consumer, was_empty);
	return ANNALS_OK;
}

int consumer_push(struct annals_client *client, const struct frame *frame, struct page **page,
	struct error *err)
{
	struct wire_push push;
	int status = wire_push_decode(frame->control, &push, err);
	if (status != ANNALS_OK) {
		return error_wrap(err, "a push is malformed");
	}
	struct annals_consumer *consumer = find_subscription(client, push.subscription);
	if (!consumer) {
		return ANNALS_OK; /* it was given up already */
	}
	if (frame->status != 0) {
		struct frame inner = *frame;
		struct annals_error error;
		inner.control = push.error;
		status = request_error_decode(&inner, &error);
		end_or_retry(consumer, status, &error);
		return ANNALS_OK;
	}
	struct consumer_part *part = consumer_part_find(consumer, push.partition);
	if (!part) {
		return error_fail(err, ANNALS_E_MALFORMED,
			"a push for partition %u, which was not asked for", push.partition);
	}
	if (frame->data.size > 0 || (consumer->filter && push.next_offset > part->received &&
					    !move_on(consumer, &push))) {
		status = queue_page(consumer, frame, &push, page, err);
	}
	if (status == ANNALS_OK && push.next_offset > part->received) {
		part->received = push.next_offset;
	}
	return status;
}

void consumer_detach(struct annals_client *client, void *arg)
{
	struct annals_consumer *consumer = arg;
	pthread_mutex_lock(&client->lock);
	list_remove(&consumer->node);
	pthread_mutex_unlock(&client->lock);
	if (consumer->state == SUBSCRIPTION_ACTIVE) {
		Annals__V1__UnsubscribeRequest message = ANNALS__V1__UNSUBSCRIBE_REQUEST__INIT;
		message.subscription = consumer->subscription;
		(void)send_message(client, FRAME_UNSUBSCRIBE, &message.base, ignore_complete, NULL);
	}
	consumer->state = SUBSCRIPTION_ENDED;
	if (consumer->request) {
		(void)request_cancel(
			client, consumer->request, ANNALS_E_CLOSED, "the consumer was closed");
	}
}
