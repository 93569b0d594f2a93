/* Streams, queries and producers in the binary protocol. */
#include "proto_native.h"
#include <annals/crc32c.h>
#include <annals/hash.h>
#include <stdlib.h>

/* ---- Queries as messages ---- */

static struct bytes text_of(const char *text)
{
	return bytes_text(text);
}

/* Terms as the arena can hold them. */
static int read_terms(struct unpack_arena *arena, char **from, size_t count,
	const struct bytes **ret, uint32_t *ret_count)
{
	struct bytes *terms = unpack_arena_alloc(arena, (count + 1) * sizeof(*terms));

	if (terms == NULL) {
		return ANNALS_E_TOO_LARGE;
	}
	for (size_t i = 0; i < count; i++) {
		terms[i] = text_of(from[i]);
	}
	*ret = terms;
	*ret_count = (uint32_t)ANNALS_MIN(count, (size_t)UINT32_MAX);
	return 0;
}

static int read_query(struct unpack_arena *arena, const Annals__V1__QueryCondition *from,
	struct query_condition *ret)
{
	struct query_item *items;
	int status = 0;

	*ret = (struct query_condition){0};
	if (from == NULL) {
		return 0;
	}
	items = unpack_arena_alloc(arena, (from->n_item + 1) * sizeof(*items));
	if (items == NULL) {
		return ANNALS_E_TOO_LARGE;
	}
	for (size_t i = 0; i < from->n_item && status == 0; i++) {
		const Annals__V1__QueryItem *item = from->item[i];
		status = read_terms(
			arena, item->type, item->n_type, &items[i].types, &items[i].type_count);
		status = status != 0 ? status
				     : read_terms(arena, item->tag, item->n_tag, &items[i].tags,
					       &items[i].tag_count);
	}
	*ret = (struct query_condition){
		items, (uint32_t)ANNALS_MIN(from->n_item, (size_t)UINT32_MAX), from->after};
	return status;
}

/* ---- Conditions of an append ---- */

/* The same request: its control message and its data. */
static void hash_request(uint8_t out[16], const struct frame *frame)
{
	static const uint64_t keys[2][2] = {{1, 2}, {3, 4}};

	store_u64(out, hash_siphash13(keys[0], frame->control) ^
			       hash_siphash13(keys[0], frame->data) * 31);
	store_u64(out + 8, hash_siphash13(keys[1], frame->control) ^
				   hash_siphash13(keys[1], frame->data) * 31);
}

/* Messages keep all that was sent, so the scope is part of the key: protocol and operation. */
int native_append_receipt(struct op_append *append, const char *operation,
	const ProtobufCBinaryData *key, const struct frame *frame)
{
	struct buf whole = BUF_INIT;
	uint8_t hash[16];
	int status = buf_printf(&whole, "binary %s ", operation);

	hash_request(hash, frame);
	status = status != 0 ? status : buf_add(&whole, key->data, key->len);
	status = status != 0 ? status : op_append_receipt(append, buf_bytes(&whole), hash);
	buf_release(&whole);
	return status;
}

int native_append_conditions(
	struct native_request *request, struct op_append *append, const struct frame *frame)
{
	struct loop *loop = request->base.conn->loop;
	Annals__V1__AppendRequest *message;
	ProtobufCMessage *unpacked = NULL;
	struct query_condition query;
	int status;

	unpack_arena_reset(&loop->arena);
	status = unpack_message(&loop->arena, &annals__v1__append_request__descriptor,
		frame->control, &unpacked, &append->op.error);
	if (status != 0) {
		return status;
	}
	message = (Annals__V1__AppendRequest *)unpacked;
	for (size_t i = 0; i < message->n_stream_condition && status == 0; i++) {
		const Annals__V1__StreamCondition *condition = message->stream_condition[i];
		if ((unsigned)condition->expect > STREAM_VERSION) {
			return op_fail(&append->op, ANNALS_E_INVALID,
				"condition %zu expects %u, which is not known", i,
				(unsigned)condition->expect);
		}
		status = op_append_expect(append, bytes_of(condition->key.data, condition->key.len),
			(enum stream_expect)condition->expect, condition->version,
			condition->incarnation);
	}
	if (status == 0 && message->query != NULL) {
		status = read_query(&loop->arena, message->query, &query);
		status = status != 0 ? status : op_append_unless(append, &query);
	}
	if (status == 0 && message->idempotency_key.len > 0) {
		status = native_append_receipt(append, "append", &message->idempotency_key, frame);
	}
	return status;
}

/* ---- Places ---- */

static Annals__V1__EventPlace **fill_places(
	struct unpack_arena *arena, const struct op_places *done)
{
	Annals__V1__EventPlace **pointers =
		unpack_arena_alloc(arena, (done->place_count + 1) * sizeof(*pointers));
	Annals__V1__EventPlace *places =
		unpack_arena_alloc(arena, (done->place_count + 1) * sizeof(*places));

	if (pointers == NULL || places == NULL) {
		return NULL;
	}
	for (size_t i = 0; i < done->place_count; i++) {
		const struct event_place *place = &done->places[i];
		pointers[i] = &places[i];
		annals__v1__event_place__init(&places[i]);
		places[i].partition = place->partition;
		places[i].offset = place->offset;
		places[i].position = place->position;
		places[i].has_version = place->version != VERSION_NONE;
		places[i].version = place->version != VERSION_NONE ? place->version : 0;
		places[i].recorded_us = done->recorded_us[i];
	}
	return pointers;
}

static void send_places(
	struct native_request *request, struct op_places *done, ProtobufCMessage *message)
{
	struct buf *reply = native_reply(request);

	if (pack_message(message, reply) != 0) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
	}
	native_answer(request, &done->events);
	op_release(&done->op);
}

static void stream_done(struct op *op)
{
	struct native_request *request = op->arg;
	struct op_places *done = (struct op_places *)op;
	struct unpack_arena *arena = &request->base.conn->loop->arena;
	Annals__V1__StreamReadResponse response;

	request->op = NULL;
	if (op->status != 0) {
		native_fail_op(request, op);
		return;
	}
	unpack_arena_reset(arena);
	annals__v1__stream_read_response__init(&response);
	response.topic_id = op->topic->id;
	response.exists = done->stream.exists;
	response.incarnation = op->topic->id;
	response.next_version = done->stream.head.next_version;
	response.first_version = done->stream.head.first_version;
	response.n_place = done->place_count;
	response.place = fill_places(arena, done);
	if (response.place == NULL) {
		op_fail(op, ANNALS_E_NO_MEMORY, "no memory for a page");
		native_fail_op(request, op);
		return;
	}
	send_places(request, done, &response.base);
}

void native_stream_read(struct native_request *request, const struct frame *frame)
{
	Annals__V1__StreamReadRequest *message =
		native_unpack(request, frame, &annals__v1__stream_read_request__descriptor);
	struct op_places *places;

	if (message == NULL) {
		return;
	}
	places = op_places_new(request->base.conn->loop, OP_STREAM_READ);
	if (places == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		return;
	}
	places->op.arg = request;
	places->op.done = stream_done;
	places->key = bytes_of(message->key.data, message->key.len);
	places->backwards = message->backwards;
	places->version =
		message->backwards && message->from_newest ? UINT64_MAX : message->version;
	places->limit = message->limit;
	request->op = &places->op;
	if (op_places_start(places, text_of(message->topic), message->topic_id) == OP_DONE) {
		stream_done(&places->op);
	}
}

static void query_done(struct op *op)
{
	struct native_request *request = op->arg;
	struct op_places *done = (struct op_places *)op;
	struct unpack_arena *arena = &request->base.conn->loop->arena;
	Annals__V1__QueryResponse response;

	request->op = NULL;
	if (op->status != 0) {
		native_fail_op(request, op);
		return;
	}
	unpack_arena_reset(arena);
	annals__v1__query_response__init(&response);
	response.topic_id = op->topic->id;
	response.up_to =
		done->more ? done->places[done->place_count - 1].position : done->found.up_to;
	response.n_place = done->place_count;
	response.place = fill_places(arena, done);
	if (response.place == NULL) {
		op_fail(op, ANNALS_E_NO_MEMORY, "no memory for a page");
		native_fail_op(request, op);
		return;
	}
	send_places(request, done, &response.base);
}

void native_query(struct native_request *request, const struct frame *frame)
{
	Annals__V1__QueryRequest *message =
		native_unpack(request, frame, &annals__v1__query_request__descriptor);
	struct loop *loop = request->base.conn->loop;
	struct op_places *places;
	int status;

	if (message == NULL) {
		return;
	}
	places = op_places_new(loop, OP_QUERY);
	if (places == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		return;
	}
	places->op.arg = request;
	places->op.done = query_done;
	places->limit = message->limit == 0 ? PLACES_MAX : message->limit;
	status = read_query(&loop->arena, message->query, &places->query);
	if (status != 0) {
		op_fail(&places->op, status, "the query is too large");
		native_fail_op(request, &places->op);
		return;
	}
	request->op = &places->op;
	if (op_places_start(places, text_of(message->topic), message->topic_id) == OP_DONE) {
		query_done(&places->op);
	}
}

/* ---- Producers ---- */

static void producer_done(struct op *op)
{
	struct native_request *request = op->arg;
	const struct op_producer *done = (const struct op_producer *)op;
	Annals__V1__ProducerOpenResponse response;

	request->op = NULL;
	if (op->status != 0) {
		native_fail_op(request, op);
		return;
	}
	annals__v1__producer_open_response__init(&response);
	response.producer_id = done->request.producer_id;
	response.epoch = done->request.epoch;
	native_answer_message(request, &response.base);
	op_release(op);
}

void native_producer_open(struct native_request *request, const struct frame *frame)
{
	Annals__V1__ProducerOpenRequest *message =
		native_unpack(request, frame, &annals__v1__producer_open_request__descriptor);
	struct op_producer *producer;

	if (message == NULL) {
		return;
	}
	producer = op_producer_new(request->base.conn->loop);
	if (producer == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		return;
	}
	producer->op.arg = request;
	producer->op.done = producer_done;
	request->op = &producer->op;
	if (op_producer_start(producer, text_of(message->name)) == OP_DONE) {
		producer_done(&producer->op);
	}
}
