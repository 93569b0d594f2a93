#include "ops_internal.h"
#include <annals/crc32c.h>
#include <assert.h>
#include <stdlib.h>

#define READ_BYTES_MAX (1u << 20) /* what storage honours */
#define READ_ROUNDS_MAX 4
/* What a filter looks through in one turn: compressed events may be twenty times as many bytes. */
#define FILTER_BYTES_MAX (256u << 10)

/* ---- Decompression for readers who do not take a codec ---- */

static int add_plain(struct loop *loop, const struct batch *batch, struct buf *out)
{
	struct stamp stamp = batch->stamp;
	struct bytes plain;
	size_t size;
	int status = batch_plain_body(batch, &loop->scratch, &plain);
	if (status != 0) {
		return status;
	}
	stamp.codec = BATCH_PLAIN;
	stamp.body_bytes = (uint32_t)plain.size;
	stamp.plain_bytes = (uint32_t)plain.size;
	stamp.body_crc = crc32c(0, plain.data, plain.size);
	size = batch_stored_size(plain.size, batch->columns.size);
	status = buf_reserve(out, size);
	if (status == 0) {
		batch_write(out->data + out->size, &stamp, batch->columns, plain);
		out->size += size;
	}
	return status;
}

static bool takes(uint32_t codecs, const struct batch *batch)
{
	return batch->stamp.codec == BATCH_PLAIN || (codecs >> batch->stamp.codec & 1) != 0;
}

int op_transcode(struct loop *loop, struct buf *batches, uint32_t codecs)
{
	struct buf out = BUF_INIT;
	bool changed = false;
	size_t at = 0;
	int status = 0;

	while (at < batches->size && status == 0) {
		struct batch batch;
		status = batch_view(bytes_of(batches->data + at, batches->size - at), &batch);
		if (status != 0) {
			status = ANNALS_E_CORRUPT_DATA;
			break;
		}
		if (!takes(codecs, &batch)) {
			if (!changed) {
				changed = true;
				status = buf_add(&out, batches->data, at);
			}
			if (status == 0) {
				status = add_plain(loop, &batch, &out);
			}
		} else if (changed) {
			status = buf_add(&out, batch.stored.data, batch.stored.size);
		}
		at += batch.stored.size;
	}
	buf_trim(&loop->scratch, 1u << 20);
	if (status != 0) {
		buf_release(&out);
	} else if (changed) {
		buf_release(batches);
		*batches = out;
	}
	return status;
}

/* ---- Read ---- */

static void on_timer(struct loop_timer *timer);

struct op_read *op_read_new(struct loop *loop)
{
	struct op_read *read = op_new(loop, OP_READ, offsetof(struct op_read, request));
	if (read == NULL) {
		return NULL;
	}
	read->request.batches = BUF_INIT;
	read->request.batch_count = 0;
	read->request.one_batch = false;
	read->request.backwards = false;
	read->request.next_offset = read->request.first_offset = read->request.end_offset = 0;
	loop_timer_init(&read->timer, on_timer);
	list_init(&read->watch.registered);
	read->watch.state = 0;
	read->watching = read->timed_out = read->reading = false;
	return read;
}

static void stop_waiting(struct op_read *read)
{
	if (read->watching) {
		read->watching = false;
		list_remove(&read->op.waiting_node);
		loop_timer_stop(read->op.loop, &read->timer);
		counter_sub(&read->op.loop->counters.waits, 1);
	}
}

/* Registers a wait for more. 1: there is something already, 0: waiting. */
static int wait_for_more(struct op_read *read)
{
	struct op *op = &read->op;
	int status;
	op_prepare(op, &read->watch.base, STORE_WATCH);
	read->watch.topic_id = op->topic->id;
	read->watch.partition = read->partition;
	read->watch.offset = read->offset;
	status = store_watch(op->loop->store, &read->watch);
	if (status != 0) {
		return status;
	}
	op->outstanding++;
	read->watching = true;
	list_add_tail(&op->loop->waiting, &op->waiting_node);
	counter_add(&op->loop->counters.waits, 1);
	loop_timer_set(op->loop, &read->timer, read->deadline_ns - loop_now_ns(op->loop));
	return 0;
}

static int page_done(struct op_read *read)
{
	struct op *op = &read->op;
	int status = op_take_error(op, &read->request.base);
	if (status == 0 && read->filter != NULL) {
		status = event_filter_batches(
			read->filter, &read->request.batches, &op->loop->scratch);
		buf_trim(&op->loop->scratch, 1u << 20);
	}
	if (status == 0) {
		status = op_transcode(op->loop, &read->request.batches, read->codecs);
		counter_add(&op->loop->counters.bytes_delivered, read->request.batches.size);
		if (read->request.next_offset > read->offset) {
			counter_add(&op->loop->counters.events_delivered,
				read->request.next_offset - read->offset);
		}
	} else {
		op->detail.has_partition = op->detail.has_offset = true;
		op->detail.partition = read->partition;
		op->detail.offset = read->offset;
		op->detail.has_range =
			status == ANNALS_E_OFFSET_GONE || status == ANNALS_E_OFFSET_BEYOND_END;
		op->detail.first_offset = read->request.first_offset;
		op->detail.end_offset = read->request.end_offset;
	}
	return status;
}

static bool may_wait(const struct op_read *read)
{
	return read->request.base.status == 0 && read->request.batches.size == 0 &&
	       !read->backwards && !read->timed_out && !read->op.loop->draining &&
	       read->deadline_ns > loop_now_ns(read->op.loop);
}

/* Reads, and waits when there is nothing. OP_PENDING, or OP_DONE with *ret_status. */
static int run(struct op_read *read, bool have_page, int *ret_status)
{
	struct op *op = &read->op;
	for (int round = 0; round < READ_ROUNDS_MAX; round++) {
		int status;
		if (!have_page) {
			buf_reset(&read->request.batches);
			op_prepare(op, &read->request.base, STORE_READ);
			read->request.batch_count = 0;
			if (store_read(op->loop->store, &read->request.base, STORE_READ_NO_BLOCK) ==
				1) {
				op->outstanding++;
				return OP_PENDING;
			}
		}
		have_page = false;
		if (!may_wait(read)) {
			break;
		}
		status = wait_for_more(read);
		if (status == 0) {
			return OP_PENDING;
		}
		if (status < 0) {
			*ret_status = status;
			return OP_DONE;
		}
	}
	*ret_status = page_done(read);
	return OP_DONE;
}

static void go_on(struct op_read *read, bool have_page)
{
	int status = 0;
	if (run(read, have_page, &status) == OP_DONE) {
		op_complete(&read->op, status);
	}
}

int op_read_start(struct op_read *read, struct bytes topic, uint32_t topic_id)
{
	struct op *op = &read->op;
	const struct options *options = op->loop->options;
	uint64_t wait_us = ANNALS_MIN(read->wait_us, options->wait_max_us);
	uint32_t bytes_max = (uint32_t)ANNALS_MIN(options->fetch_bytes_max, READ_BYTES_MAX);
	int status = op_resolve_topic(op, topic, topic_id);
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	if (read->partition >= op->topic->config.partitions) {
		op->detail.has_partition = true;
		op->detail.partition = read->partition;
		return op_done_at_once(
			op, op_fail(op, ANNALS_E_UNKNOWN_PARTITION,
				    "topic '%s' has no partition %u, it has %u", op->topic->name,
				    read->partition, op->topic->config.partitions));
	}
	if (read->backwards && read->offset == UINT64_MAX) {
		struct partition_info info;
		status = store_partition_info(
			op->loop->store, op->topic->id, read->partition, &info);
		if (status != 0) {
			return op_done_at_once(op, status);
		}
		read->offset = info.end_offset;
	}
	if (read->bytes_max != 0 && read->bytes_max < bytes_max) {
		bytes_max = read->bytes_max;
	}
	if (read->filter != NULL) {
		bytes_max = ANNALS_MIN(bytes_max, FILTER_BYTES_MAX);
	}
	read->request.topic_id = op->topic->id;
	read->request.partition = read->partition;
	read->request.offset = read->offset;
	read->request.backwards = read->backwards;
	read->request.bytes_max = bytes_max;
	read->deadline_ns = loop_now_ns(op->loop) + wait_us * 1000;
	if (run(read, false, &status) == OP_PENDING) {
		return op_pending(op);
	}
	return op_done_at_once(op, status);
}

static void read_returned(struct op *op, struct store_request *request)
{
	struct op_read *read = (struct op_read *)op;
	if (request->operation == STORE_READ) {
		go_on(read, true);
		return;
	}
	stop_waiting(read);
	if (request->status != 0) {
		op_complete(op, op_take_error(op, request));
		return;
	}
	if (read->is_crowded != NULL && read->is_crowded(op)) {
		op_complete(op, page_done(read));
		return;
	}
	go_on(read, false);
}

/* Ends a wait with the empty page that was read before it. */
static void give_up_waiting(struct op_read *read)
{
	struct op *op = &read->op;
	read->timed_out = true;
	if (store_watch_cancel(op->loop->store, &read->watch)) {
		op->outstanding--;
		stop_waiting(read);
		op_complete(op, page_done(read));
	}
	/* Otherwise it is on its way here and the answer will hold what it announces. */
}

static void on_timer(struct loop_timer *timer)
{
	give_up_waiting(ANNALS_CONTAINER_OF(timer, struct op_read, timer));
}

static void read_drain(struct op *op)
{
	give_up_waiting((struct op_read *)op);
}

static void read_cancel(struct op *op)
{
	struct op_read *read = (struct op_read *)op;
	if (read->watching) {
		stop_waiting(read);
		if (store_watch_cancel(op->loop->store, &read->watch)) {
			op->outstanding--;
		}
	}
}

static void read_clear(struct op *op)
{
	buf_release(&((struct op_read *)op)->request.batches);
	free(((struct op_read *)op)->filter);
}

const struct op_class op_class_read = {
	.name = "read",
	.size_bytes = sizeof(struct op_read),
	.returned = read_returned,
	.cancel = read_cancel,
	.clear = read_clear,
	.drain = read_drain,
};

/* ---- Offset for a time ---- */

struct op_find_time *op_find_time_new(struct loop *loop)
{
	return op_new(loop, OP_FIND_TIME, sizeof(struct op_find_time));
}

int op_find_time_start(struct op_find_time *find, struct bytes topic)
{
	struct op *op = &find->op;
	int status = op_resolve_topic(op, topic, 0);
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	op->detail.has_partition = true;
	op->detail.partition = find->partition;
	op_prepare(op, &find->request.base, STORE_FIND_TIME);
	find->request.topic_id = op->topic->id;
	find->request.partition = find->partition;
	find->request.time_us = find->time_us;
	if (store_read(op->loop->store, &find->request.base, STORE_READ_NO_BLOCK) == 1) {
		op->outstanding++;
		return op_pending(op);
	}
	return op_done_at_once(op, op_take_error(op, &find->request.base));
}

static void find_time_returned(struct op *op, struct store_request *request)
{
	op_complete(op, op_take_error(op, request));
}

const struct op_class op_class_find_time = {
	.name = "find-time",
	.size_bytes = sizeof(struct op_find_time),
	.returned = find_time_returned,
};
