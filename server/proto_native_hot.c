#include "proto_native.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- Append ---- */

#define RUNS_ON_STACK 16

static struct wire_append_run plain_run(const struct append_part *part)
{
	return (struct wire_append_run){
		.partition = part->partition,
		.count = part->summary.count,
		.base_offset = part->base_offset,
		.base_position = part->base_position,
	};
}

static struct wire_append_run indexed_run(const struct append_run *run)
{
	return (struct wire_append_run){
		.partition = run->partition,
		.count = run->count,
		.base_offset = run->offset,
		.base_position = run->position,
		.has_version = run->version != VERSION_NONE,
		.first_version = run->version != VERSION_NONE ? run->version : 0,
		.replayed = run->replayed,
	};
}

int native_append_encode(struct buf *out, const struct op_append *append)
{
	const struct append_request *stored = &append->request;
	struct wire_append_run few[RUNS_ON_STACK] = {0};
	struct wire_append_run *runs = few;
	size_t count = stored->runs != NULL ? stored->run_count : stored->part_count;
	int status;
	if (count > RUNS_ON_STACK) {
		runs = calloc(count, sizeof(*runs));
		if (runs == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
	}
	for (size_t i = 0; i < count; i++) {
		runs[i] = stored->runs != NULL ? indexed_run(&stored->runs[i])
					       : plain_run(&stored->parts[i]);
	}
	status = wire_append_response_encode(out, stored->topic_id, stored->recorded_us,
		(uint32_t)stored->durability, runs, count);
	if (runs != few) {
		free(runs);
	}
	return status;
}

static void append_done(struct op *op)
{
	struct native_request *request = op->arg;
	struct conn *conn = request->base.conn;
	request->op = NULL;
	if (op->status != 0) {
		native_fail_op(request, op);
		return;
	}
	if (native_append_encode(native_reply(request), (struct op_append *)op) != 0) {
		conn_close(conn, CONN_CLOSE_NO_MEMORY);
	}
	op_release(op);
	native_answer(request, NULL);
}

/* One part for each batch announced; together they are the frame's data. */
static int add_parts(
	struct op_append *append, const struct wire_append_request *wire, struct bytes data)
{
	struct op *op = &append->op;
	struct wire_append_batch batch;
	size_t cursor = 0;
	size_t left = data.size;
	int more = 0;
	int status = buf_add(&append->body, data.data, data.size);
	while (status == 0 && (more = wire_append_next_batch(wire, &cursor, &batch)) == 1) {
		struct append_part *part;
		if (batch.body_bytes > left) {
			return op_fail(op, ANNALS_E_MALFORMED,
				"the batch for partition %u announces %u bytes but only %zu are "
				"there",
				batch.partition, batch.body_bytes, left);
		}
		left -= batch.body_bytes;
		status = op_append_add_part(append, batch.partition,
			(enum batch_codec)ANNALS_MIN(batch.codec, (uint32_t)BATCH_CODECS),
			batch.body_bytes, batch.count, &batch.body_crc);
		if (status == 0) {
			part = &append->request.parts[append->request.part_count - 1];
			part->producer_id = batch.producer_id;
			part->producer_epoch = (uint16_t)batch.producer_epoch;
			part->first_sequence = batch.first_sequence;
		}
	}
	if (status == 0 && more < 0) {
		return op_fail(op, more, "the list of batches is malformed");
	}
	if (status == 0 && left > 0) {
		return op_fail(
			op, ANNALS_E_MALFORMED, "%zu bytes of data belong to no batch", left);
	}
	return status;
}

int native_append_read(struct native_request *request, struct op_append *append,
	const struct frame *frame, struct bytes *ret_topic)
{
	struct wire_append_request wire;
	int status = wire_append_request_decode(frame->control, &wire, &append->op.error);
	if (status == 0) {
		append->durability = (enum durability)wire.durability;
		status = add_parts(append, &wire, frame->data);
	}
	if (status == 0 && wire.has_more) {
		status = native_append_conditions(request, append, frame);
	}
	*ret_topic = status == 0 ? wire.topic : bytes_of(NULL, 0);
	return status;
}

void native_append(struct native_request *request, const struct frame *frame)
{
	struct op_append *append = op_append_new(request->base.conn->loop);
	struct bytes topic;
	int status;
	if (append == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		return;
	}
	append->op.arg = request;
	append->op.done = append_done;
	status = native_append_read(request, append, frame, &topic);
	if (status != 0) {
		append->op.status = status;
		native_fail_op(request, &append->op);
		return;
	}
	request->op = &append->op;
	if (op_append_start(append, topic) == OP_DONE) {
		append_done(&append->op);
	}
}

/* ---- Filters ---- */

/* Texts that are empty ask for nothing. */
static struct bytes text_of(const char *text)
{
	return text[0] == 0 ? bytes_of(NULL, 0) : bytes_text(text);
}

int native_filter_read(
	const Annals__V1__EventFilter *message, struct event_filter **ret, struct error *err)
{
	struct event_filter filter = {.tag_count = 0};

	*ret = NULL;
	if (message == NULL) {
		return 0;
	}
	if (message->n_tag > EVENT_FILTER_TAGS_MAX) {
		return error_fail(
			err, ANNALS_E_LIMIT, "a filter has at most %u tags", EVENT_FILTER_TAGS_MAX);
	}
	filter.type = text_of(message->type);
	filter.type_prefix = text_of(message->type_prefix);
	filter.subject = text_of(message->subject);
	if (message->has_key) {
		filter.key = message->key.len == 0 ? bytes_of("", 0)
						   : bytes_of(message->key.data, message->key.len);
	}
	for (size_t i = 0; i < message->n_tag; i++) {
		filter.tags[filter.tag_count++] = bytes_text(message->tag[i]);
	}
	if (event_filter_is_empty(&filter)) {
		return 0;
	}
	*ret = event_filter_copy(&filter);
	return *ret != NULL ? 0 : error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
}

/* The same for an encoded message, empty when there is none. */
static int filter_decode(struct bytes encoded, struct event_filter **ret, struct error *err)
{
	Annals__V1__EventFilter *message;
	int status;

	*ret = NULL;
	if (encoded.size == 0) {
		return 0;
	}
	message = annals__v1__event_filter__unpack(NULL, encoded.size, encoded.data);
	if (message == NULL) {
		return error_fail(err, ANNALS_E_MALFORMED, "the filter is malformed");
	}
	status = native_filter_read(message, ret, err);
	annals__v1__event_filter__free_unpacked(message, NULL);
	return status;
}

/* ---- Fetch ---- */

static void fetch_done(struct op *op)
{
	struct native_request *request = op->arg;
	struct op_read *read = (struct op_read *)op;
	struct wire_fetch_response response;
	request->op = NULL;
	if (op->status != 0) {
		native_fail_op(request, op);
		return;
	}
	response = (struct wire_fetch_response){
		.topic_id = op->topic->id,
		.first_offset = read->request.first_offset,
		.end_offset = read->request.end_offset,
		.next_offset = read->request.next_offset,
	};
	if (wire_fetch_response_encode(native_reply(request), &response) != 0) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
	}
	native_answer(request, &read->request.batches);
	op_release(op);
}

/* A thousand waiting fetches that one commit ends must not all become answers at once. */
static bool fetch_is_crowded(struct op *op)
{
	struct native_request *request = op->arg;
	struct conn *conn = request->base.conn;
	return conn_output_bytes(conn) >= conn->loop->options->output_bytes_max;
}

void native_fetch(struct native_request *request, const struct frame *frame)
{
	struct op_read *read;
	struct wire_fetch_request wire;
	struct error err = {0};
	int status = wire_fetch_request_decode(frame->control, &wire, &err);
	if (status != 0) {
		native_fail(request, status, err.text, NULL);
		return;
	}
	read = op_read_new(request->base.conn->loop);
	if (read == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		return;
	}
	status = filter_decode(wire.filter, &read->filter, &err);
	if (status != 0) {
		op_release(&read->op);
		native_fail(request, status, err.text, NULL);
		return;
	}
	read->backwards = wire.backwards;
	read->op.arg = request;
	read->op.done = fetch_done;
	read->is_crowded = fetch_is_crowded;
	read->partition = wire.partition;
	read->offset = wire.offset;
	read->bytes_max = wire.bytes_max;
	read->wait_us = (uint64_t)wire.wait_ms * 1000;
	read->codecs = wire.codecs;
	request->op = &read->op;
	if (op_read_start(read, wire.topic, wire.topic_id) == OP_DONE) {
		fetch_done(&read->op);
	}
}

/* ---- Offset for a time ---- */

static void find_time_done(struct op *op)
{
	struct native_request *request = op->arg;
	Annals__V1__OffsetForTimeResponse response;
	request->op = NULL;
	if (op->status != 0) {
		native_fail_op(request, op);
		return;
	}
	annals__v1__offset_for_time_response__init(&response);
	response.offset = ((struct op_find_time *)op)->request.offset;
	response.topic_id = op->topic->id;
	native_answer_message(request, &response.base);
	op_release(op);
}

void native_offset_for_time(struct native_request *request, const struct frame *frame)
{
	struct op_find_time *find;
	Annals__V1__OffsetForTimeRequest *message =
		native_unpack(request, frame, &annals__v1__offset_for_time_request__descriptor);
	if (message == NULL) {
		return;
	}
	find = op_find_time_new(request->base.conn->loop);
	if (find == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		return;
	}
	find->op.arg = request;
	find->op.done = find_time_done;
	find->partition = message->partition;
	find->time_us = message->time_us;
	request->op = &find->op;
	if (op_find_time_start(find, bytes_text(message->topic)) == OP_DONE) {
		find_time_done(&find->op);
	}
}
