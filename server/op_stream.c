/* Reading by index: pages of a stream, and of what matches a query. */
#include "ops_internal.h"
#include <assert.h>
#include <stdlib.h>

struct op_places *op_places_new(struct loop *loop, enum op_kind kind)
{
	struct op_places *places;

	assert(kind == OP_STREAM_READ || kind == OP_QUERY);
	places = op_new(loop, kind, sizeof(*places));
	return places;
}

/* Opens the batch that was read last, once for all its events: where each of them begins. */
static int open_batch(struct op_places *places, const struct batch *batch)
{
	struct bytes encoded;
	size_t cursor = 0;
	int status;

	buf_reset(&places->starts);
	status = batch_plain_body(batch, &places->scratch, &places->plain);
	for (uint32_t i = 0; i <= batch->stamp.count && status == 0; i++) {
		status = buf_add(&places->starts, &cursor, sizeof(cursor));
		if (i < batch->stamp.count && status == 0 &&
			batch_next_event(places->plain, &cursor, &encoded) != 1) {
			status = ANNALS_E_CORRUPT_DATA;
		}
	}
	return status;
}

/* The place's event in the batch that was read last. 1 taken, 0 it is not in there, negative. */
static int take_event(struct op_places *places)
{
	const struct event_place *place = &places->places[places->next];
	struct batch batch;
	size_t ends[2];
	int status = 0;

	if (places->batch.size == 0 || batch_view(buf_bytes(&places->batch), &batch) != 0 ||
		batch.stamp.partition != place->partition ||
		place->offset < batch.stamp.base_offset ||
		place->offset >= batch.stamp.base_offset + batch.stamp.count) {
		return 0;
	}
	if (places->starts.size == 0) {
		status = open_batch(places, &batch);
	}
	if (status == 0) {
		memcpy(ends,
			places->starts.data +
				(place->offset - batch.stamp.base_offset) * sizeof(size_t),
			sizeof(ends));
		status = buf_add(&places->events, places->plain.data + ends[0], ends[1] - ends[0]);
	}
	places->recorded_us[places->next] = batch.stamp.recorded_us;
	if (status == 0 && places->places[places->next].version == VERSION_NONE) {
		places->places[places->next].version =
			batch_version(&batch, (uint32_t)(place->offset - batch.stamp.base_offset));
	}
	return status == 0 ? 1 : status;
}

/* Asks for the batch that holds the next place. As store_read(). */
static int read_batch(struct op_places *places)
{
	const struct event_place *place = &places->places[places->next];

	op_prepare(&places->op, &places->read.base, STORE_READ);
	buf_reset(&places->batch);
	buf_reset(&places->starts);
	places->read.batches = places->batch;
	places->batch = BUF_INIT;
	places->read.batch_count = 0;
	places->read.topic_id = places->op.topic->id;
	places->read.partition = place->partition;
	places->read.offset = place->offset;
	places->read.one_batch = true;
	places->reading = true;
	return store_read(places->op.loop->store, &places->read.base, STORE_READ_NO_BLOCK);
}

/* The batch came. */
static int accept_batch(struct op_places *places)
{
	struct batch batch;
	uint64_t offset = places->read.offset;
	int status;

	places->reading = false;
	places->batch = places->read.batches;
	places->read.batches = BUF_INIT;
	status = op_take_error(&places->op, &places->read.base);
	if (status == 0 && (batch_view(buf_bytes(&places->batch), &batch) != 0 ||
				   offset < batch.stamp.base_offset)) {
		status = op_fail(&places->op, ANNALS_E_OFFSET_GONE,
			"retention removed an event of the page while it was read");
	}
	return status;
}

/* Takes events until one must be waited for. OP_PENDING, or OP_DONE with *ret_status. */
static int run(struct op_places *places, int *ret_status)
{
	struct op *op = &places->op;
	size_t bytes_max = op->loop->options->fetch_bytes_max;

	*ret_status = 0;
	while (places->next < places->place_count) {
		int taken = take_event(places);
		if (taken == 1) {
			places->next++;
			if (places->events.size >= bytes_max &&
				places->next < places->place_count) {
				places->more = true;
				places->place_count = places->next;
			}
			continue;
		}
		if (taken < 0) {
			*ret_status = taken;
			return OP_DONE;
		}
		if (read_batch(places) == 1) {
			op->outstanding++;
			return OP_PENDING;
		}
		*ret_status = accept_batch(places);
		if (*ret_status != 0) {
			return OP_DONE;
		}
	}
	return OP_DONE;
}

/* The index answered. */
static int accept_places(struct op_places *places)
{
	bool stream = places->op.kind == OP_STREAM_READ;
	int status =
		op_take_error(&places->op, stream ? &places->stream.base : &places->found.base);

	places->places = stream ? places->stream.places : places->found.places;
	places->place_count = stream ? places->stream.place_count : places->found.place_count;
	if (status == ANNALS_E_OFFSET_GONE && stream) {
		places->op.detail.has_range = true;
		places->op.detail.first_offset = places->stream.head.first_version;
		places->op.detail.end_offset = places->stream.head.next_version;
	}
	if (status == 0) {
		places->recorded_us = calloc(places->place_count + 1, sizeof(*places->recorded_us));
		status = places->recorded_us != NULL ? 0 : ANNALS_E_NO_MEMORY;
	}
	return status;
}

static int ask_index(struct op_places *places)
{
	struct op *op = &places->op;
	struct store_request *request;

	if (op->kind == OP_STREAM_READ) {
		request = &places->stream.base;
		op_prepare(op, request, STORE_STREAM_READ);
		places->stream.topic_id = op->topic->id;
		places->stream.key = places->key;
		places->stream.version = places->version;
		places->stream.backwards = places->backwards;
		places->stream.limit = ANNALS_MIN(places->limit, PLACES_MAX);
		places->stream.by_position = places->by_position;
		places->stream.after = places->query.after;
	} else {
		request = &places->found.base;
		op_prepare(op, request, STORE_QUERY);
		places->found.topic_id = op->topic->id;
		places->found.query = places->query;
		places->found.from_kept = places->from_kept;
		places->found.limit = ANNALS_MIN(places->limit, PLACES_MAX);
	}
	return store_read(op->loop->store, request, STORE_READ_NO_BLOCK);
}

int op_places_start(struct op_places *places, struct bytes topic, uint32_t topic_id)
{
	struct op *op = &places->op;
	struct bytes key = places->key;
	int status = op_resolve_topic(op, topic, topic_id);

	if (status == 0 && op->kind == OP_STREAM_READ) {
		status = op_texts_copy(&places->texts, key, &places->key);
	} else if (status == 0) {
		struct query_condition given = places->query;
		status = op_texts_copy_query(
			&places->texts, &given, &places->query, &places->items, &op->error);
	}
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	if (ask_index(places) == 1) {
		op->outstanding++;
		return op_pending(op);
	}
	status = accept_places(places);
	if (status == 0 && run(places, &status) == OP_PENDING) {
		return op_pending(op);
	}
	return op_done_at_once(op, status);
}

static void places_returned(struct op *op, struct store_request *request)
{
	struct op_places *places = (struct op_places *)op;
	int status;

	(void)request;
	status = places->reading ? accept_batch(places) : accept_places(places);
	if (status == 0 && run(places, &status) == OP_PENDING) {
		return;
	}
	op_complete(op, status);
}

static void places_clear(struct op *op)
{
	struct op_places *places = (struct op_places *)op;

	free(places->op.kind == OP_STREAM_READ ? places->stream.places : places->found.places);
	free(places->recorded_us);
	free(places->items);
	op_texts_free(places->texts);
	buf_release(&places->events);
	buf_release(&places->batch);
	buf_release(&places->scratch);
	buf_release(&places->starts);
	buf_release(&places->read.batches);
}

const struct op_class op_class_stream_read = {
	.name = "stream-read",
	.size_bytes = sizeof(struct op_places),
	.returned = places_returned,
	.clear = places_clear,
};

const struct op_class op_class_query = {
	.name = "query",
	.size_bytes = sizeof(struct op_places),
	.returned = places_returned,
	.clear = places_clear,
};
