/* The caller's side of a consumer: checking pushed batches and handing out their events. */
#include "consumer.h"

#include "filter.h"

#include "convert.h"
#include <annals/clock.h>
#include <annals/macros.h>
#include <stdlib.h>

/* --- pages and batches */

static void drop_page(struct annals_consumer *consumer)
{
	struct page *page = consumer->page;
	if (!page) {
		return;
	}
	consumer->page = NULL;
	if (consumer->filter) {
		/* What came after the last batch was looked at and not wanted. */
		struct consumer_part *part = consumer->page_part;
		part->position = ANNALS_MAX(part->position, page->next_offset);
	}
	pthread_mutex_lock(&consumer->lock);
	consumer->held -= (int64_t)page->data.size;
	int64_t room = consumer->read_ahead_bytes - consumer->held - consumer->granted;
	bool wake = room >= consumer->read_ahead_bytes / 4;
	pthread_mutex_unlock(&consumer->lock);
	page_free(&consumer->client->pages, page);
	if (wake) {
		client_wake(consumer->client);
	}
}

/* Takes the next page: 1, or 0 when none came in time, or the error that ended the subscription. */
static int next_page(
	struct annals_consumer *consumer, uint64_t deadline_ns, struct annals_error *error)
{
	drop_page(consumer);
	int status = 0;
	pthread_mutex_lock(&consumer->lock);
	for (;;) {
		struct list_node *node = list_pop(&consumer->pages);
		if (node) {
			consumer->page = LIST_ENTRY(node, struct page, node);
			status = 1;
			break;
		}
		if (consumer->end.status != ANNALS_OK) {
			status = consumer->end.status;
			if (error) {
				*error = consumer->end;
			}
			break;
		}
		if (!client_wait_step(
			    consumer->client, &consumer->lock, &consumer->cond, deadline_ns)) {
			/* An external client's last turn may have brought something. */
			if (list_is_empty(&consumer->pages)) {
				break;
			}
		}
	}
	pthread_mutex_unlock(&consumer->lock);
	if (status == 1) {
		consumer->page_at = 0;
		consumer->page_part = consumer_part_find(consumer, consumer->page->partition);
	}
	return status;
}

/* Damage: said once, stepped over. */
static int damaged(struct annals_consumer *consumer, uint64_t go_on_at, const char *what,
	struct annals_error *error)
{
	struct consumer_part *part = consumer->page_part;
	int status = client_error(error, ANNALS_E_CORRUPT_DATA,
		"topic '%.100s' partition %u offset %llu: %s", consumer->topic, part->partition,
		(unsigned long long)part->position, what);
	part->position =
		ANNALS_MAX(part->position, ANNALS_MIN(go_on_at, consumer->page->next_offset));
	return status;
}

/* Opens the batch at the cursor: 1, 0 when it holds nothing for the caller, or an error. */
static int open_batch(struct annals_consumer *consumer, struct annals_error *error)
{
	struct consumer_part *part = consumer->page_part;
	struct bytes data = consumer->page->data;
	struct batch *batch = &consumer->batch;
	struct bytes left = bytes_of(data.data + consumer->page_at, data.size - consumer->page_at);
	if (batch_view(left, batch) != ANNALS_OK) {
		consumer->page_at = data.size;
		return damaged(consumer, consumer->page->next_offset,
			"a batch is cut short or not one", error);
	}
	consumer->page_at += batch->stored.size;
	uint64_t base = batch->stamp.base_offset, next = base + batch->stamp.count;
	struct error err = {0, ""};
	if (batch_verify(batch, &err) != ANNALS_OK) {
		return damaged(consumer, next, err.text, error);
	}
	if (batch->stamp.topic_id != consumer->topic_id ||
		batch->stamp.partition != part->partition) {
		return damaged(consumer, next, "a batch of another topic or partition", error);
	}
	if (next <= part->position) {
		return 0;
	}
	if (base > part->position && consumer->filter) {
		part->position = base; /* not wanted */
	}
	if (base > part->position) {
		int status = damaged(consumer, base, "offsets are missing", error);
		consumer->page_at -= batch->stored.size;
		return status;
	}
	if (batch->stamp.kind != BATCH_DATA) {
		part->position = next;
		return 0;
	}
	int status = batch_plain_body(batch, &consumer->scratch, &consumer->body);
	if (status == ANNALS_E_NO_MEMORY) {
		consumer->page_at -= batch->stored.size;
		return client_error(error, status, "no memory to decompress a batch");
	}
	if (status != ANNALS_OK) {
		return damaged(consumer, next, "a batch does not decompress", error);
	}
	consumer->in_scratch = consumer->body.data == consumer->scratch.data;
	consumer->in_batch = true;
	batch_versions_init(&consumer->versions, &consumer->batch);
	consumer->body_at = 0;
	consumer->batch_next = base;
	return 1;
}

/* Hands out events of the open batch. Returns how many, or an error when the body is damaged. */
static int fill(struct annals_consumer *consumer, struct annals_event *events, size_t max,
	size_t *ret_count, struct annals_error *error)
{
	struct consumer_part *part = consumer->page_part;
	const struct stamp *stamp = &consumer->batch.stamp;
	size_t count = 0;
	while (count < max) {
		struct bytes encoded;
		struct record record;
		int got = batch_next_event(consumer->body, &consumer->body_at, &encoded);
		if (got > 0 && consumer->batch_next >= stamp->base_offset + stamp->count) {
			got = ANNALS_E_MALFORMED;
		}
		if (got > 0 && consumer->batch_next < part->position) {
			(void)batch_versions_next(&consumer->versions);
			consumer->batch_next++;
			continue;
		}
		if (got > 0) {
			got = record_decode_trusted(encoded, &record) == ANNALS_OK
				      ? 1
				      : ANNALS_E_MALFORMED;
		}
		if (got <= 0) {
			bool whole = got == 0 &&
				     consumer->batch_next == stamp->base_offset + stamp->count;
			consumer->in_batch = false;
			if (whole || count > 0) {
				/* What is wrong is reported when nothing good is in the way. */
				consumer->in_batch = !whole;
				consumer->body_at = whole ? consumer->body_at : consumer->body.size;
				break;
			}
			return damaged(consumer, stamp->base_offset + stamp->count,
				"a batch holds other events than it says", error);
		}
		if (consumer->filter && !event_filter_takes(consumer->filter, &record)) {
			(void)batch_versions_next(&consumer->versions);
			part->position = ++consumer->batch_next;
			continue;
		}
		struct annals_event *event = &events[count++];
		event_from_record(&record, event);
		event->partition = part->partition;
		event->offset = consumer->batch_next;
		event->position =
			stamp->base_position + (consumer->batch_next - stamp->base_offset);
		event->recorded_us = stamp->recorded_us;
		event->version = batch_versions_next(&consumer->versions);
		part->position = ++consumer->batch_next;
	}
	*ret_count = count;
	return ANNALS_OK;
}

int annals_consumer_poll(struct annals_consumer *consumer, int timeout_ms,
	struct annals_event *events, size_t max, size_t *ret_count, struct annals_error *error)
{
	uint64_t deadline_ns = 0;
	size_t count = 0;
	while (max > 0) {
		if (consumer->in_batch) {
			size_t more = 0;
			int status = fill(consumer, events + count, max - count, &more, error);
			count += more;
			if (status != ANNALS_OK && count == 0) {
				return status;
			}
			/* Decompressed events live until the next batch is opened. */
			if (count == max || status != ANNALS_OK || consumer->in_batch ||
				(count > 0 && consumer->in_scratch)) {
				break;
			}
			continue;
		}
		if (consumer->page && consumer->page_at < consumer->page->data.size) {
			/* An error would hide the events gathered so far. */
			if (count > 0 &&
				consumer->page_at + BATCH_STAMP_BYTES <=
					consumer->page->data.size &&
				consumer->page->data.data[consumer->page_at + 9] != BATCH_PLAIN) {
				break;
			}
			size_t page_at = consumer->page_at;
			uint64_t position = consumer->page_part->position;
			int got = open_batch(consumer, count > 0 ? NULL : error);
			if (got < 0 && count > 0) {
				consumer->page_at = page_at;
				consumer->page_part->position = position;
				break;
			}
			if (got < 0) {
				return got;
			}
			continue;
		}
		if (count > 0) {
			break; /* the page must stay while its events are borrowed */
		}
		if (deadline_ns == 0) {
			deadline_ns = deadline_after_ms(timeout_ms);
		}
		int got = next_page(consumer, deadline_ns, error);
		if (got < 0) {
			return got;
		}
		if (got == 0) {
			break;
		}
	}
	*ret_count = count;
	return ANNALS_OK;
}

int annals_consumer_next(struct annals_consumer *consumer, int timeout_ms,
	struct annals_event *ret_event, struct annals_error *error)
{
	size_t count = 0;
	int status = annals_consumer_poll(consumer, timeout_ms, ret_event, 1, &count, error);
	return status == ANNALS_OK ? (int)count : status;
}

int annals_consumer_position(
	struct annals_consumer *consumer, uint32_t partition, uint64_t *ret_offset)
{
	const struct consumer_part *part = consumer_part_find(consumer, partition);
	if (!part) {
		return ANNALS_E_UNKNOWN_PARTITION;
	}
	*ret_offset = part->position;
	return ANNALS_OK;
}

void annals_consumer_on_ready(
	struct annals_consumer *consumer, annals_consumer_fn *function, void *arg)
{
	pthread_mutex_lock(&consumer->lock);
	consumer->on_ready = function;
	consumer->on_ready_arg = arg;
	pthread_mutex_unlock(&consumer->lock);
}

/* --- opening and closing */

static void consumer_free(struct annals_consumer *consumer)
{
	struct list_node *node;
	while ((node = list_pop(&consumer->pages))) {
		free(LIST_ENTRY(node, struct page, node));
	}
	free(consumer->page);
	buf_release(&consumer->scratch);
	pthread_cond_destroy(&consumer->cond);
	pthread_mutex_destroy(&consumer->lock);
	free((void *)(uintptr_t)consumer->start.partitions);
	free(consumer->filter);
	free(consumer->parts);
	free(consumer->topic);
	free(consumer);
}

/* False without memory. */
static bool copy_filter(const struct annals_filter *from, struct event_filter **ret)
{
	struct event_filter filter;
	if (filter_read(from, &filter, NULL) != ANNALS_OK || event_filter_is_empty(&filter)) {
		return true;
	}
	*ret = event_filter_copy(&filter);
	return *ret != NULL;
}

static struct annals_consumer *consumer_new(struct annals_client *client, const char *topic,
	const struct annals_start *start, const struct annals_options *options)
{
	struct annals_consumer *consumer = calloc(1, sizeof(*consumer));
	if (!consumer) {
		return NULL;
	}
	list_init(&consumer->node);
	list_init(&consumer->pages);
	(void)pthread_mutex_init(&consumer->lock, NULL);
	consumer->client = client;
	consumer->start = *start;
	consumer->topic = strdup(topic);
	struct annals_position *copy = calloc(start->partition_count + 1, sizeof(*copy));
	consumer->start.partitions = copy;
	consumer->start.filter = NULL;
	if (!copy_filter(start->filter, &consumer->filter) ||
		cond_init_monotonic(&consumer->cond) != ANNALS_OK || !consumer->topic || !copy) {
		consumer_free(consumer);
		return NULL;
	}
	if (start->partition_count > 0) {
		memcpy(copy, start->partitions, start->partition_count * sizeof(*copy));
	}
	consumer->read_ahead_bytes = (int64_t)(options ? options : client->options)
					     ->numbers[ANNALS_OPTION_READ_AHEAD_BYTES];
	return consumer;
}

static int check_start(const struct annals_start *start, struct annals_error *error)
{
	if ((unsigned)start->kind > ANNALS_START_OFFSETS) {
		return client_error(
			error, ANNALS_E_INVALID, "there is no kind of start %d", (int)start->kind);
	}
	if (start->filter && start->filter->tag_count > EVENT_FILTER_TAGS_MAX) {
		return client_error(error, ANNALS_E_LIMIT, "a filter has at most %u tags",
			EVENT_FILTER_TAGS_MAX);
	}
	if (start->kind == ANNALS_START_OFFSETS && start->partition_count == 0) {
		return client_error(
			error, ANNALS_E_INVALID, "starting at offsets needs a list of partitions");
	}
	return ANNALS_OK;
}

int annals_consumer_open(struct annals_client *client, const char *topic,
	const struct annals_start *start, const struct annals_options *options, int timeout_ms,
	struct annals_consumer **ret_consumer, struct annals_error *error)
{
	uint64_t deadline_ns = deadline_after_ms(timeout_ms);
	int status = check_start(start, error);
	if (status != ANNALS_OK) {
		return status;
	}
	struct annals_consumer *consumer = consumer_new(client, topic, start, options);
	if (!consumer) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a consumer");
	}
	pthread_mutex_lock(&client->lock);
	list_add_tail(&client->new_consumers, &consumer->node);
	pthread_mutex_unlock(&client->lock);
	client_wake(client);
	pthread_mutex_lock(&consumer->lock);
	while (!consumer->opened && consumer->end.status == ANNALS_OK) {
		if (!client_wait_step(client, &consumer->lock, &consumer->cond, deadline_ns)) {
			break;
		}
	}
	if (!consumer->opened) {
		status = consumer->end.status;
		if (status == ANNALS_OK) {
			status = client_error(error, ANNALS_E_TIMEOUT,
				"the server did not accept the subscription within %d ms",
				timeout_ms);
		} else if (error) {
			*error = consumer->end;
		}
	}
	pthread_mutex_unlock(&consumer->lock);
	if (status != ANNALS_OK) {
		annals_consumer_close(consumer);
		return status;
	}
	*ret_consumer = consumer;
	return ANNALS_OK;
}

void annals_consumer_close(struct annals_consumer *consumer)
{
	if (!consumer) {
		return;
	}
	client_run(consumer->client, consumer_detach, consumer);
	consumer_free(consumer);
}
