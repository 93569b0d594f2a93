#include "ops_internal.h"
#include <assert.h>
#include <stdlib.h>

/*
 * How a merged tail keeps the order of positions: a round takes the position of the last durable
 * event as its bound before it reads anything. Everything at or below the bound can be read by
 * then, so that the smallest unread position over all partitions is the next one, as long as it
 * does not exceed the bound.
 */

#define PAGE_BYTES_MAX (256u << 10)
#define MERGED_PAGE_BYTES_MAX (64u << 10)
#define MERGED_PAGE_BYTES_MIN (4u << 10)
#define MERGED_BYTES (1u << 20) /* all pages of a merged tail together, about */

enum { NEXT_AGAIN = 2 };

static void call_later(struct loop_task *task);

struct op_tail *op_tail_new(struct loop *loop)
{
	struct op_tail *tail = op_new(loop, OP_TAIL, sizeof(struct op_tail));
	if (tail != NULL) {
		loop_task_init(&tail->task, call_later);
		list_init(&tail->watch.registered);
	}
	return tail;
}

static uint64_t topic_position(const struct op_tail *tail)
{
	return store_topic_position(tail->op.loop->store, tail->op.topic->id);
}

/* ---- Start ---- */

static int set_partitions(
	struct op_tail *tail, const struct tail_partition *partitions, size_t count)
{
	struct op *op = &tail->op;
	uint32_t total = op->topic->config.partitions;
	size_t wanted = partitions != NULL ? count : total;
	tail->partitions = calloc(ANNALS_MAX(wanted, (size_t)1), sizeof(*tail->partitions));
	if (tail->partitions == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	tail->partition_count = wanted;
	for (size_t i = 0; i < wanted; i++) {
		struct tail_partition *to = &tail->partitions[i];
		to->partition = partitions != NULL ? partitions[i].partition : (uint32_t)i;
		to->offset = partitions != NULL ? partitions[i].offset : 0;
		if (to->partition >= total) {
			op->detail.has_partition = true;
			op->detail.partition = to->partition;
			return op_fail(op, ANNALS_E_UNKNOWN_PARTITION,
				"topic '%s' has no partition %u, it has %u", op->topic->name,
				to->partition, total);
		}
	}
	return 0;
}

static int compare_partitions(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a;
	uint32_t right = *(const uint32_t *)b;
	return left < right ? -1 : left > right;
}

static int check_distinct(struct op_tail *tail)
{
	uint32_t *numbers;
	int status = 0;
	if (tail->partition_count < 2) {
		return 0;
	}
	numbers = malloc(tail->partition_count * sizeof(*numbers));
	if (numbers == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < tail->partition_count; i++) {
		numbers[i] = tail->partitions[i].partition;
	}
	qsort(numbers, tail->partition_count, sizeof(*numbers), compare_partitions);
	for (size_t i = 1; i < tail->partition_count && status == 0; i++) {
		if (numbers[i] == numbers[i - 1]) {
			status = op_fail(&tail->op, ANNALS_E_INVALID, "partition %u is named twice",
				numbers[i]);
		}
	}
	free(numbers);
	return status;
}

static int range_error(struct op_tail *tail, const struct tail_partition *part, int status,
	uint64_t offset, uint64_t first, uint64_t end)
{
	struct op *op = &tail->op;
	op->detail.has_partition = op->detail.has_offset = op->detail.has_range = true;
	op->detail.partition = part->partition;
	op->detail.offset = offset;
	op->detail.first_offset = first;
	op->detail.end_offset = end;
	return op_fail(op, status,
		"offset %llu of partition %u lies outside of what is kept, %llu to %llu",
		(unsigned long long)offset, part->partition, (unsigned long long)first,
		(unsigned long long)end);
}

/* Asks storage for one page; 0 done, 1 on its way. */
static int read_page(
	struct op_tail *tail, struct tail_partition *part, uint64_t offset, uint32_t bytes_max)
{
	op_prepare(&tail->op, &tail->read.base, STORE_READ);
	tail->read.topic_id = tail->op.topic->id;
	tail->read.partition = part->partition;
	tail->read.offset = offset;
	tail->read.bytes_max = bytes_max;
	tail->read.batch_count = 0;
	buf_reset(&tail->read.batches);
	if (store_read(tail->op.loop->store, &tail->read.base, STORE_READ_NO_BLOCK) == 1) {
		tail->op.outstanding++;
		tail->busy = true;
		return 1;
	}
	return 0;
}

/* One step of the search for the first batch that ends after the position: a page was read in the
 * middle. */
static int narrow(struct op_tail *tail, struct tail_partition *part)
{
	struct batch batch;
	if (tail->read.base.status != 0) {
		return op_take_error(&tail->op, &tail->read.base);
	}
	if (tail->read.batches.size == 0) {
		part->search_high = part->search_low;
		return 0;
	}
	if (batch_view(buf_bytes(&tail->read.batches), &batch) != 0) {
		return ANNALS_E_CORRUPT_DATA;
	}
	if (batch.stamp.base_position + batch.stamp.count - 1 <= tail->start_value) {
		part->search_low = batch.stamp.base_offset + batch.stamp.count;
	} else if (batch.stamp.base_offset > part->search_low &&
		   batch.stamp.base_offset < part->search_high) {
		part->search_high = batch.stamp.base_offset;
	} else {
		part->search_high = part->search_low;
	}
	return 0;
}

/* Finds where one partition starts. 0 found, 1 storage was asked, negative failed. */
static int place(struct op_tail *tail, struct tail_partition *part)
{
	struct op *op = &tail->op;
	struct partition_info info;
	int status = store_partition_info(op->loop->store, op->topic->id, part->partition, &info);
	if (status != 0) {
		return status;
	}
	part->end_offset = info.end_offset;
	switch (tail->start) {
	case TAIL_EARLIEST:
		part->offset = info.first_offset;
		break;
	case TAIL_LATEST:
		part->offset = info.end_offset;
		break;
	case TAIL_OFFSETS:
		if (part->offset < info.first_offset || part->offset > info.end_offset) {
			return range_error(tail, part,
				part->offset > info.end_offset ? ANNALS_E_OFFSET_BEYOND_END
							       : ANNALS_E_OFFSET_GONE,
				part->offset, info.first_offset, info.end_offset);
		}
		break;
	case TAIL_TIME:
		op_prepare(op, &tail->find.base, STORE_FIND_TIME);
		tail->find.topic_id = op->topic->id;
		tail->find.partition = part->partition;
		tail->find.time_us = tail->start_value;
		if (store_read(op->loop->store, &tail->find.base, STORE_READ_NO_BLOCK) == 1) {
			op->outstanding++;
			tail->busy = true;
			return 1;
		}
		part->offset = tail->find.offset;
		return op_take_error(op, &tail->find.base);
	case TAIL_POSITION:
		part->search_low = info.first_offset;
		part->search_high = info.end_offset;
		break;
	}
	return 0;
}

/* Goes on with the search of a partition by position. 0 found, 1 storage was asked. */
static int search(struct op_tail *tail, struct tail_partition *part)
{
	while (part->search_low < part->search_high) {
		uint64_t middle = part->search_low + (part->search_high - part->search_low) / 2;
		int status;
		if (read_page(tail, part, middle, 1) == 1) {
			return 1;
		}
		status = narrow(tail, part);
		if (status != 0) {
			return status;
		}
	}
	part->offset = part->search_low;
	return 0;
}

/* Places partition after partition, from tail->current on. */
static int place_all(struct op_tail *tail)
{
	while (tail->current < tail->partition_count) {
		struct tail_partition *part = &tail->partitions[tail->current];
		int status = place(tail, part);
		if (status == 0 && tail->start == TAIL_POSITION) {
			status = search(tail, part);
		}
		if (status != 0) {
			return status;
		}
		part->read_offset = part->offset;
		tail->current++;
	}
	tail->current = 0;
	tail->started = true;
	counter_add(&tail->op.loop->counters.subscriptions, 1);
	return 0;
}

int op_tail_start(struct op_tail *tail, struct bytes topic, uint32_t topic_id,
	const struct tail_partition *partitions, size_t count)
{
	struct op *op = &tail->op;
	int status = op_resolve_topic(op, topic, topic_id);
	if (status == 0) {
		status = set_partitions(tail, partitions, count);
	}
	if (status == 0) {
		status = check_distinct(tail);
	}
	if (status == 0) {
		tail->position =
			tail->start == TAIL_POSITION ? tail->start_value : topic_position(tail);
		tail->bound = 0;
		status = place_all(tail);
	}
	if (status == 1) {
		return op_pending(op);
	}
	if (status == 0 && tail->start != TAIL_LATEST && tail->start != TAIL_POSITION) {
		tail->position = 0;
	}
	return op_done_at_once(op, status);
}

/* ---- Waiting ---- */

static void end_tail(struct op_tail *tail, int status)
{
	tail->ended = true;
	tail->op.status = status;
	if (tail->op.error.text[0] == 0) {
		error_fail(&tail->op.error, status, "%s", annals_status_text(status));
	}
}

static void call(struct op_tail *tail)
{
	if (tail->wants_call) {
		tail->wants_call = false;
		tail->op.done(&tail->op);
	}
}

static void call_later(struct loop_task *task)
{
	call(ANNALS_CONTAINER_OF(task, struct op_tail, task));
}

static void stop_watching(struct op_tail *tail)
{
	if (tail->watching) {
		tail->watching = false;
		list_remove(&tail->op.waiting_node);
	}
}

static bool something_new(struct op_tail *tail)
{
	for (size_t i = 0; i < tail->partition_count; i++) {
		struct tail_partition *part = &tail->partitions[i];
		struct partition_info info;
		if (part->page_used < part->page.size ||
			store_partition_info(tail->op.loop->store, tail->op.topic->id,
				part->partition, &info) != 0 ||
			info.end_offset > part->read_offset) {
			return true;
		}
	}
	return false;
}

/* Nothing is left: asks to be called when there is. Negative when the tail ends. */
static int wait_for_more(struct op_tail *tail)
{
	struct op *op = &tail->op;
	int status;
	tail->wants_call = true;
	if (op->loop->draining) {
		end_tail(tail, op_fail(op, ANNALS_E_UNAVAILABLE, "the server is stopping"));
		return op->status;
	}
	if (tail->watching) {
		return 0;
	}
	op_prepare(op, &tail->watch.base, STORE_WATCH);
	tail->watch.topic_id = op->topic->id;
	if (tail->partition_count == 1) {
		tail->watch.partition = tail->partitions[0].partition;
		tail->watch.offset = tail->partitions[0].read_offset;
	} else {
		tail->watch.partition = WATCH_ALL_PARTITIONS;
		tail->watch.offset = topic_position(tail) + 1;
	}
	status = store_watch(op->loop->store, &tail->watch);
	if (status < 0) {
		end_tail(tail, status);
		return status;
	}
	if (status == 0) {
		op->outstanding++;
		tail->watching = true;
		list_add_tail(&op->loop->waiting, &op->waiting_node);
		if (!something_new(tail)) {
			return 0;
		}
		/* It came between the last look and the registration. */
		if (store_watch_cancel(op->loop->store, &tail->watch)) {
			op->outstanding--;
			stop_watching(tail);
		} else {
			return 0;
		}
	}
	/* One look per turn of the loop: other work goes on in between. */
	loop_defer(op->loop, &tail->task);
	return 0;
}

/* ---- Items ---- */

/* The page that was read belongs to this partition now. */
static int keep_page(struct op_tail *tail, struct tail_partition *part)
{
	struct buf empty;
	int status = tail->read.base.status;
	if (status != 0) {
		(void)op_take_error(&tail->op, &tail->read.base);
		if (status == ANNALS_E_OFFSET_GONE || status == ANNALS_E_OFFSET_BEYOND_END) {
			return range_error(tail, part, status, tail->read.offset,
				tail->read.first_offset, tail->read.end_offset);
		}
		tail->op.detail.has_partition = tail->op.detail.has_offset = true;
		tail->op.detail.partition = part->partition;
		tail->op.detail.offset = tail->read.offset;
		return status;
	}
	status = op_transcode(tail->op.loop, &tail->read.batches, tail->codecs);
	if (status != 0) {
		return status;
	}
	empty = part->page;
	part->page = tail->read.batches;
	tail->read.batches = empty;
	buf_reset(&tail->read.batches);
	part->page_used = 0;
	part->read_offset = tail->read.next_offset;
	part->end_offset = tail->read.end_offset;
	return 0;
}

/*
 * Makes sure that a partition has a page if there is anything. 1: it has one, 0: it is at its end,
 * NEXT_AGAIN: storage was asked, negative: failed.
 */
static int fill(struct op_tail *tail, struct tail_partition *part, uint32_t bytes_max)
{
	struct partition_info info;
	int status;
	if (part->page_used < part->page.size) {
		return 1;
	}
	status = store_partition_info(
		tail->op.loop->store, tail->op.topic->id, part->partition, &info);
	if (status != 0) {
		return op_fail(&tail->op, status, "topic '%s' was deleted", tail->op.topic->name);
	}
	if (part->read_offset >= info.end_offset) {
		buf_release(&part->page);
		part->page_used = 0;
		return 0;
	}
	if (read_page(tail, part, part->read_offset, bytes_max) == 1) {
		return NEXT_AGAIN;
	}
	status = keep_page(tail, part);
	if (status != 0) {
		return status;
	}
	return part->page.size > 0;
}

static void count_item(struct op_tail *tail, const struct tail_item *item, uint64_t events)
{
	counter_add(&tail->op.loop->counters.events_delivered, events);
	counter_add(&tail->op.loop->counters.bytes_delivered, item->batches.size);
}

static int next_page(struct op_tail *tail, size_t bytes_max, struct tail_item *ret)
{
	uint32_t page_bytes =
		(uint32_t)ANNALS_MIN(ANNALS_MAX(bytes_max, (size_t)1), PAGE_BYTES_MAX);
	for (size_t i = 0; i < tail->partition_count; i++) {
		struct tail_partition *part = &tail->partitions[tail->current];
		int status = fill(tail, part, page_bytes);
		if (status == NEXT_AGAIN || status < 0) {
			return status;
		}
		tail->last = tail->current;
		tail->current = (tail->current + 1) % tail->partition_count;
		if (status == 1) {
			ret->partition = part->partition;
			ret->batches = buf_bytes(&part->page);
			ret->next_offset = part->read_offset;
			ret->end_offset = part->end_offset;
			ret->last_position = 0;
			ret->caught_up = part->read_offset >= part->end_offset;
			part->page_used = part->page.size;
			count_item(tail, ret, part->read_offset - part->offset);
			part->offset = part->read_offset;
			return 1;
		}
	}
	return 0;
}

void op_tail_take(struct op_tail *tail, struct buf *ret_batches)
{
	struct tail_partition *part = &tail->partitions[tail->last];
	assert(!tail->merged && part->page_used == part->page.size);
	*ret_batches = part->page;
	part->page = BUF_INIT;
	part->page_used = 0;
}

static int take_batch(struct op_tail *tail, struct tail_partition *part, struct tail_item *ret)
{
	struct batch batch;
	int status = batch_view(
		bytes_of(part->page.data + part->page_used, part->page.size - part->page_used),
		&batch);
	if (status != 0) {
		return ANNALS_E_CORRUPT_DATA;
	}
	part->page_used += batch.stored.size;
	part->offset = batch.stamp.base_offset + batch.stamp.count;
	ret->partition = part->partition;
	ret->batches = batch.stored;
	ret->next_offset = part->offset;
	ret->end_offset = part->end_offset;
	ret->last_position = batch.stamp.base_position + batch.stamp.count - 1;
	ret->caught_up = part->offset >= part->end_offset;
	tail->position = ANNALS_MAX(tail->position, ret->last_position);
	count_item(tail, ret, batch.stamp.count);
	return 1;
}

static int next_merged(struct op_tail *tail, struct tail_item *ret)
{
	uint32_t page_bytes = (uint32_t)ANNALS_MIN(MERGED_PAGE_BYTES_MAX,
		ANNALS_MAX(MERGED_PAGE_BYTES_MIN,
			MERGED_BYTES / ANNALS_MAX(tail->partition_count, (size_t)1)));
	for (int round = 0; round < 2; round++) {
		struct tail_partition *best = NULL;
		uint64_t best_position = UINT64_MAX;
		for (size_t i = 0; i < tail->partition_count; i++) {
			struct tail_partition *part = &tail->partitions[i];
			struct batch batch;
			int status;
			tail->current = i;
			status = fill(tail, part, page_bytes);
			if (status == NEXT_AGAIN || status < 0) {
				return status;
			}
			if (status == 0) {
				continue;
			}
			if (batch_view(bytes_of(part->page.data + part->page_used,
					       part->page.size - part->page_used),
				    &batch) != 0) {
				return ANNALS_E_CORRUPT_DATA;
			}
			if (batch.stamp.base_position < best_position) {
				best_position = batch.stamp.base_position;
				best = part;
			}
		}
		if (best != NULL && best_position <= tail->bound) {
			return take_batch(tail, best, ret);
		}
		tail->position = ANNALS_MAX(tail->position, tail->bound);
		if (topic_position(tail) == tail->bound) {
			return 0;
		}
		tail->bound = topic_position(tail);
	}
	return 0;
}

int op_tail_next(struct op_tail *tail, size_t bytes_max, struct tail_item *ret)
{
	int status;
	assert(tail->started || tail->ended);
	tail->wants_call = false;
	if (tail->ended) {
		return tail->op.status;
	}
	if (tail->busy) {
		tail->wants_call = true;
		return 0;
	}
	status = tail->merged ? next_merged(tail, ret) : next_page(tail, bytes_max, ret);
	if (status == NEXT_AGAIN) {
		tail->wants_call = true;
		return 0;
	}
	if (status < 0) {
		end_tail(tail, status);
		return status;
	}
	return status == 0 ? wait_for_more(tail) : 1;
}

/* ---- Storage answers ---- */

/* Goes on placing after storage answered for tail->current. */
static void go_on_starting(struct op_tail *tail, const struct store_request *request)
{
	struct tail_partition *part = &tail->partitions[tail->current];
	int status;
	if (request->operation == STORE_FIND_TIME) {
		status = op_take_error(&tail->op, request);
		part->offset = part->read_offset = tail->find.offset;
		tail->current++;
	} else {
		status = narrow(tail, part);
		if (status == 0) {
			status = search(tail, part);
		}
		if (status == 0) {
			part->read_offset = part->offset;
			tail->current++;
		}
	}
	if (status == 0) {
		status = place_all(tail);
	}
	if (status != 1) {
		if (status == 0 && tail->start == TAIL_TIME) {
			tail->position = 0;
		}
		op_complete(&tail->op, status);
	}
}

static void tail_returned(struct op *op, struct store_request *request)
{
	struct op_tail *tail = (struct op_tail *)op;
	if (request->operation == STORE_WATCH) {
		stop_watching(tail);
		if (request->status != 0 && !tail->ended) {
			end_tail(tail, op_take_error(op, request));
		}
		call(tail);
		return;
	}
	tail->busy = false;
	if (!tail->started) {
		go_on_starting(tail, request);
		return;
	}
	if (!tail->ended) {
		int status = keep_page(tail, &tail->partitions[tail->current]);
		if (status != 0) {
			end_tail(tail, status);
		}
	}
	call(tail);
}

static void tail_drain(struct op *op)
{
	struct op_tail *tail = (struct op_tail *)op;
	if (store_watch_cancel(op->loop->store, &tail->watch)) {
		op->outstanding--;
	}
	stop_watching(tail);
	end_tail(tail, op_fail(op, ANNALS_E_UNAVAILABLE, "the server is stopping"));
	call(tail);
}

static void tail_cancel(struct op *op)
{
	struct op_tail *tail = (struct op_tail *)op;
	loop_task_cancel(&tail->task);
	if (tail->watching) {
		stop_watching(tail);
		if (store_watch_cancel(op->loop->store, &tail->watch)) {
			op->outstanding--;
		}
	}
	if (tail->started) {
		tail->started = false;
		counter_sub(&op->loop->counters.subscriptions, 1);
	}
}

static void tail_clear(struct op *op)
{
	struct op_tail *tail = (struct op_tail *)op;
	for (size_t i = 0; i < tail->partition_count; i++) {
		buf_release(&tail->partitions[i].page);
	}
	free(tail->partitions);
	buf_release(&tail->read.batches);
}

const struct op_class op_class_tail = {
	.name = "tail",
	.size_bytes = sizeof(struct op_tail),
	.returned = tail_returned,
	.cancel = tail_cancel,
	.clear = tail_clear,
	.drain = tail_drain,
};
