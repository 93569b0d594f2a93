#include "proto_native.h"
#include <stdlib.h>

/* What a filter may keep back before others have their turn. */
#define SKIPPED_BYTES_MAX (128u << 10)
#define PUSH_BYTES_MAX (256u << 10)
#define CREDIT_MAX (1ll << 62)

struct subscription {
	struct list_node node;
	struct conn *conn;
	uint64_t id;
	int64_t credit_bytes; /* the last push may have made it negative */
	struct op_tail *tail;
	struct native_request *starting; /* until the subscribe is answered */
	struct event_filter *filter;     /* or NULL */
	struct loop_task again;          /* after a long run of what the filter keeps back */
};

static void drop(struct subscription *subscription)
{
	struct native_conn *state = conn_state(subscription->conn);
	list_remove(&subscription->node);
	state->subscription_count--;
	conn_unhold(subscription->conn);
	loop_task_cancel(&subscription->again);
	op_release(&subscription->tail->op);
	free(subscription->filter);
	free(subscription);
}

static struct subscription *find(struct conn *conn, uint64_t id)
{
	struct native_conn *state = conn_state(conn);
	struct list_node *node;
	LIST_FOR_EACH (node, &state->subscriptions) {
		struct subscription *subscription = LIST_ENTRY(node, struct subscription, node);
		if (subscription->id == id && subscription->starting == NULL) {
			return subscription;
		}
	}
	return NULL;
}

static void push(struct subscription *subscription, const struct wire_push *wire, int status,
	struct buf *data)
{
	struct conn *conn = subscription->conn;
	struct buf *reply = &conn->loop->reply;
	buf_reset(reply);
	if (buf_add_zeros(reply, FRAME_HEADER_BYTES) != 0 || wire_push_encode(reply, wire) != 0) {
		conn_close(conn, CONN_CLOSE_NO_MEMORY);
		return;
	}
	frame_write_header(reply->data, FRAME_PUSH, FRAME_SUBSCRIBE, status,
		(uint32_t)subscription->id, reply->size - FRAME_HEADER_BYTES,
		data != NULL ? data->size : 0);
	conn_write(conn, reply->data, reply->size);
	if (data != NULL) {
		conn_write_buf(conn, data);
	}
}

/* The tail has ended: the last push says why. */
static void push_end(struct subscription *subscription)
{
	struct op *op = &subscription->tail->op;
	struct wire_push wire = {
		.subscription = subscription->id, .partition = op->detail.partition};
	struct buf encoded = BUF_INIT;
	Annals__V1__Error error;
	native_fill_error(&error, op->status, op->error.text, &op->detail);
	if (pack_message(&error.base, &encoded) == 0) {
		wire.error = buf_bytes(&encoded);
		push(subscription, &wire, op->status, NULL);
	} else {
		conn_close(subscription->conn, CONN_CLOSE_NO_MEMORY);
	}
	buf_release(&encoded);
	drop(subscription);
}

/* Takes out what the filter keeps back. A push without data is the mark of how far it looked. */
static int keep_wanted(struct subscription *subscription, struct buf *data, size_t *skipped)
{
	const size_t size = data->size;
	int status = 0;
	if (subscription->filter != NULL) {
		struct buf *scratch = &subscription->conn->loop->scratch;
		status = event_filter_batches(subscription->filter, data, scratch);
		buf_trim(scratch, 1u << 20);
		*skipped += size - data->size;
	}
	return status;
}

static void pump(struct subscription *subscription)
{
	size_t skipped = 0;
	while (subscription->credit_bytes > 0 && conn_can_write(subscription->conn)) {
		struct tail_item item;
		struct wire_push wire;
		struct buf data = BUF_INIT;
		size_t bytes_max = (size_t)ANNALS_MIN(subscription->credit_bytes, PUSH_BYTES_MAX);
		int status = op_tail_next(subscription->tail, bytes_max, &item);
		if (status == 0) {
			return;
		}
		if (status < 0) {
			push_end(subscription);
			return;
		}
		wire = (struct wire_push){
			.subscription = subscription->id,
			.partition = item.partition,
			.next_offset = item.next_offset,
			.end_offset = item.end_offset,
			.caught_up = item.caught_up,
		};
		op_tail_take(subscription->tail, &data);
		if (keep_wanted(subscription, &data, &skipped) != 0) {
			buf_release(&data);
			conn_close(subscription->conn, CONN_CLOSE_NO_MEMORY);
			return;
		}
		subscription->credit_bytes -= (int64_t)data.size;
		push(subscription, &wire, 0, &data);
		if (skipped >= SKIPPED_BYTES_MAX) {
			loop_defer(subscription->conn->loop, &subscription->again);
			return;
		}
	}
}

static void go_on(struct loop_task *task)
{
	pump(ANNALS_CONTAINER_OF(task, struct subscription, again));
}

void native_pump_all(struct conn *conn)
{
	struct native_conn *state = conn_state(conn);
	struct list_node *node;
	struct list_node *following;
	LIST_FOR_EACH_SAFE (node, following, &state->subscriptions) {
		struct subscription *subscription = LIST_ENTRY(node, struct subscription, node);
		if (subscription->starting == NULL) {
			pump(subscription);
		}
	}
}

void native_drop_subscriptions(struct conn *conn)
{
	struct native_conn *state = conn_state(conn);
	struct list_node *node;
	struct list_node *following;
	LIST_FOR_EACH_SAFE (node, following, &state->subscriptions) {
		drop(LIST_ENTRY(node, struct subscription, node));
	}
}

static void add_credit(struct subscription *subscription, uint64_t bytes)
{
	int64_t more = (int64_t)ANNALS_MIN(bytes, (uint64_t)CREDIT_MAX);
	subscription->credit_bytes = subscription->credit_bytes > CREDIT_MAX - more
					     ? CREDIT_MAX
					     : subscription->credit_bytes + more;
}

/* ---- Subscribe ---- */

static void answer_start(struct subscription *subscription, struct native_request *request)
{
	struct loop *loop = subscription->conn->loop;
	struct op_tail *tail = subscription->tail;
	Annals__V1__SubscribeResponse response;
	Annals__V1__SubscribePartition *parts;
	Annals__V1__SubscribePartition **pointers;
	unpack_arena_reset(&loop->arena);
	parts = unpack_arena_alloc(&loop->arena, (tail->partition_count + 1) * sizeof(*parts));
	pointers =
		unpack_arena_alloc(&loop->arena, (tail->partition_count + 1) * sizeof(*pointers));
	if (parts == NULL || pointers == NULL) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		drop(subscription);
		return;
	}
	for (size_t i = 0; i < tail->partition_count; i++) {
		annals__v1__subscribe_partition__init(&parts[i]);
		parts[i].partition = tail->partitions[i].partition;
		parts[i].offset = tail->partitions[i].offset;
		pointers[i] = &parts[i];
	}
	annals__v1__subscribe_response__init(&response);
	response.subscription = subscription->id;
	response.topic_id = tail->op.topic->id;
	response.n_partition = tail->partition_count;
	response.partition = pointers;
	native_answer_message(request, &response.base);
	pump(subscription);
}

static void tail_done(struct op *op)
{
	struct subscription *subscription = op->arg;
	struct native_request *request = ANNALS_TAKE(subscription->starting);
	if (request == NULL) {
		pump(subscription);
	} else if (op->status != 0) {
		native_fail(request, op->status, op->error.text, &op->detail);
		drop(subscription);
	} else {
		answer_start(subscription, request);
	}
}

static int read_start(Annals__V1__SubscribeStart start, enum tail_start *ret)
{
	switch (start) {
	case ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_OFFSET:
		*ret = TAIL_OFFSETS;
		return 0;
	case ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_EARLIEST:
		*ret = TAIL_EARLIEST;
		return 0;
	case ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_LATEST:
		*ret = TAIL_LATEST;
		return 0;
	case ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_TIME:
		*ret = TAIL_TIME;
		return 0;
	default:
		return ANNALS_E_INVALID;
	}
}

static struct subscription *subscription_new(struct native_request *request)
{
	struct conn *conn = request->base.conn;
	struct native_conn *state = conn_state(conn);
	struct subscription *subscription = calloc(1, sizeof(*subscription));
	if (subscription == NULL) {
		return NULL;
	}
	subscription->tail = op_tail_new(conn->loop);
	if (subscription->tail == NULL) {
		free(subscription);
		return NULL;
	}
	loop_task_init(&subscription->again, go_on);
	subscription->conn = conn;
	subscription->id = ++state->last_subscription;
	subscription->starting = request;
	subscription->tail->op.arg = subscription;
	subscription->tail->op.done = tail_done;
	list_add_tail(&state->subscriptions, &subscription->node);
	state->subscription_count++;
	conn_hold(conn);
	return subscription;
}

/* Takes the filter. */
static void start(struct native_request *request, const Annals__V1__SubscribeRequest *message,
	enum tail_start from, struct event_filter *filter)
{
	struct subscription *subscription = subscription_new(request);
	struct tail_partition *partitions = NULL;
	struct op_tail *tail;
	if (subscription != NULL && message->n_partition > 0) {
		partitions = calloc(message->n_partition, sizeof(*partitions));
	}
	if (subscription == NULL || (message->n_partition > 0 && partitions == NULL)) {
		native_fail(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
		if (subscription != NULL) {
			drop(subscription);
		}
		free(filter);
		return;
	}
	subscription->filter = filter;
	for (size_t i = 0; i < message->n_partition; i++) {
		partitions[i].partition = message->partition[i]->partition;
		partitions[i].offset = message->partition[i]->offset;
	}
	tail = subscription->tail;
	tail->start = from;
	tail->start_value = message->start_time_us;
	tail->codecs = message->codecs;
	add_credit(subscription, message->credit_bytes);
	if (op_tail_start(tail, bytes_text(message->topic), message->topic_id, partitions,
		    message->n_partition) == OP_DONE) {
		tail_done(&tail->op);
	}
	free(partitions);
}

void native_subscribe(struct native_request *request, const struct frame *frame)
{
	struct conn *conn = request->base.conn;
	struct native_conn *state = conn_state(conn);
	Annals__V1__SubscribeRequest *message =
		native_unpack(request, frame, &annals__v1__subscribe_request__descriptor);
	enum tail_start from;
	struct event_filter *filter;
	struct error err = {0};
	int status;
	if (message == NULL) {
		return;
	}
	if (state->subscription_count >= conn->loop->options->requests_in_flight_max) {
		struct op_detail detail;
		memset(&detail, 0, sizeof(detail));
		detail.limit_name = "requests-in-flight-max";
		detail.limit = conn->loop->options->requests_in_flight_max;
		native_fail(request, ANNALS_E_LIMIT,
			"the connection holds requests-in-flight-max subscriptions", &detail);
	} else if (read_start(message->start, &from) != 0) {
		native_fail(request, ANNALS_E_INVALID, "the start of the subscription is not known",
			NULL);
	} else if ((status = native_filter_read(message->filter, &filter, &err)) != 0) {
		native_fail(request, status, err.text, NULL);
	} else if (from == TAIL_OFFSETS && message->n_partition == 0) {
		/* No partition, no offset: all of everything. */
		start(request, message, TAIL_EARLIEST, filter);
	} else {
		start(request, message, from, filter);
	}
}

/* ---- Credit, unsubscribe ---- */

void native_credit(struct native_request *request, const struct frame *frame)
{
	struct conn *conn = request->base.conn;
	Annals__V1__CreditRequest *message =
		native_unpack(request, frame, &annals__v1__credit_request__descriptor);
	Annals__V1__CreditResponse response;
	struct subscription *subscription;
	if (message == NULL) {
		return;
	}
	subscription = find(conn, message->subscription);
	if (subscription == NULL) {
		native_fail(request, ANNALS_E_NOT_FOUND, "the connection has no such subscription",
			NULL);
		return;
	}
	add_credit(subscription, message->credit_bytes);
	annals__v1__credit_response__init(&response);
	native_answer_message(request, &response.base);
	pump(subscription);
}

void native_unsubscribe(struct native_request *request, const struct frame *frame)
{
	struct conn *conn = request->base.conn;
	Annals__V1__UnsubscribeRequest *message =
		native_unpack(request, frame, &annals__v1__unsubscribe_request__descriptor);
	Annals__V1__UnsubscribeResponse response;
	struct subscription *subscription;
	if (message == NULL) {
		return;
	}
	subscription = find(conn, message->subscription);
	if (subscription == NULL) {
		native_fail(request, ANNALS_E_NOT_FOUND, "the connection has no such subscription",
			NULL);
		return;
	}
	drop(subscription);
	annals__v1__unsubscribe_response__init(&response);
	native_answer_message(request, &response.base);
}
