#include "proto_native.h"
#include "server.h"
#include <annals/build.h>
#include <annals/clock.h>
#include <annals/log.h>
#include <assert.h>
#include <stdio.h>

_Static_assert(sizeof(struct native_request) <= LOOP_POOLS * LOOP_POOL_STEP_BYTES, "pooled");

size_t native_frame_bytes_max(const struct loop *loop)
{
	return loop->options->request_bytes_max + NATIVE_CONTROL_BYTES_MAX;
}

/* ---- Answers ---- */

struct buf *native_reply(struct native_request *request)
{
	struct buf *reply = &request->base.conn->loop->reply;
	buf_reset(reply);
	if (buf_add_zeros(reply, FRAME_HEADER_BYTES) != 0) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
	}
	return reply;
}

static void answer(struct native_request *request, int status, struct buf *data)
{
	struct conn *conn = request->base.conn;
	struct buf *reply = &conn->loop->reply;
	if (reply->size >= FRAME_HEADER_BYTES) {
		frame_write_header(reply->data, FRAME_RESPONSE, request->operation, status,
			request->correlation, reply->size - FRAME_HEADER_BYTES,
			data != NULL ? data->size : 0);
		request_write(&request->base, reply->data, reply->size);
		if (data != NULL) {
			request_write_buf(&request->base, data);
		}
	}
	buf_trim(reply, 64u << 10);
	request_end(&request->base);
}

void native_answer(struct native_request *request, struct buf *data)
{
	answer(request, 0, data);
}

void native_answer_message(struct native_request *request, const ProtobufCMessage *message)
{
	struct buf *reply = native_reply(request);
	if (pack_message(message, reply) != 0) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
	}
	answer(request, 0, NULL);
}

void native_fill_error(
	Annals__V1__Error *error, int status, const char *text, const struct op_detail *detail)
{
	annals__v1__error__init(error);
	error->status = (uint32_t)-status;
	error->name = (char *)(uintptr_t)annals_status_name(status);
	error->detail = (char *)(uintptr_t)text;
	error->retry_after_ms = op_retry_after_ms(status);
	if (detail == NULL) {
		return;
	}
	error->topic = (char *)(uintptr_t)detail->topic;
	error->partition = detail->partition;
	error->offset = detail->offset;
	if (detail->has_range) {
		error->first_offset = detail->first_offset;
		error->end_offset = detail->end_offset;
	}
	if (detail->limit_name != NULL) {
		error->limit_name = (char *)(uintptr_t)detail->limit_name;
		error->limit = detail->limit;
	}
	if (detail->retry_after_ms != 0) {
		error->retry_after_ms = detail->retry_after_ms;
	}
	error->has_event_index = detail->has_event_index;
	error->event_index = detail->event_index;
	error->has_conflict = detail->has_conflict;
	error->condition_index = detail->condition_index;
	error->stream_exists = detail->stream_exists;
	error->stream_version = detail->version;
	error->position = detail->position;
}

void native_fail(struct native_request *request, int status, const char *text,
	const struct op_detail *detail)
{
	struct buf *reply = native_reply(request);
	Annals__V1__Error error;
	assert(status < 0);
	native_fill_error(&error, status, text, detail);
	if (pack_message(&error.base, reply) != 0) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
	}
	answer(request, status, NULL);
}

void native_fail_op(struct native_request *request, struct op *op)
{
	native_fail(request, op->status, op->error.text, &op->detail);
	op_release(op);
}

void *native_unpack(struct native_request *request, const struct frame *frame,
	const ProtobufCMessageDescriptor *descriptor)
{
	struct loop *loop = request->base.conn->loop;
	struct error err = {0};
	ProtobufCMessage *message = NULL;
	int status;
	unpack_arena_reset(&loop->arena);
	status = unpack_message(&loop->arena, descriptor, frame->control, &message, &err);
	if (status != 0) {
		native_fail(request, status, err.text, NULL);
		return NULL;
	}
	return message;
}

/* ---- Hello and ping ---- */

static void fail_and_finish(struct native_request *request, int status, const char *text,
	const struct op_detail *detail)
{
	struct conn *conn = request->base.conn;
	counter_add(&conn->loop->counters.failures[-status], 1);
	native_fail(request, status, text, detail);
	conn_finish(conn, CONN_CLOSE_PROTOCOL);
}

#define LIMITS_MAX 32

static size_t hello_limits(
	const struct loop *loop, Annals__V1__Limit *limits, Annals__V1__Limit **pointers)
{
	size_t def_count;
	const struct option_def *defs = option_defs(&def_count);
	size_t count = 0;
	for (size_t i = 0; i < def_count && count < LIMITS_MAX; i++) {
		if (defs[i].is_limit) {
			annals__v1__limit__init(&limits[count]);
			limits[count].name = (char *)(uintptr_t)defs[i].name;
			limits[count].value = option_number(loop->options, &defs[i]);
			pointers[count] = &limits[count];
			count++;
		}
	}
	return count;
}

static void hello(struct native_request *request, const struct frame *frame)
{
	struct conn *conn = request->base.conn;
	struct native_conn *state = conn_state(conn);
	Annals__V1__HelloRequest *message;
	Annals__V1__HelloResponse response;
	Annals__V1__Limit limits[LIMITS_MAX];
	Annals__V1__Limit *pointers[LIMITS_MAX];
	char text[160];

	if (state->greeted) {
		native_fail(request, ANNALS_E_INVALID, "the hello was said before", NULL);
		return;
	}
	message = native_unpack(request, frame, &annals__v1__hello_request__descriptor);
	if (message == NULL) {
		conn_finish(conn, CONN_CLOSE_PROTOCOL);
		return;
	}
	if (message->magic != FRAME_HELLO_MAGIC) {
		fail_and_finish(request, ANNALS_E_MALFORMED,
			"the hello does not begin with the magic number of this protocol", NULL);
		return;
	}
	if (message->version_min > FRAME_VERSION_MAX || message->version_max < FRAME_VERSION_MIN ||
		message->version_min > message->version_max) {
		(void)snprintf(text, sizeof(text),
			"the client speaks versions %u to %u of the protocol, this server %u to %u",
			message->version_min, message->version_max, FRAME_VERSION_MIN,
			FRAME_VERSION_MAX);
		fail_and_finish(request, ANNALS_E_UNSUPPORTED_VERSION, text, NULL);
		return;
	}
	state->greeted = true;
	annals__v1__hello_response__init(&response);
	response.version = ANNALS_MIN(message->version_max, FRAME_VERSION_MAX);
	response.server_name = (char *)(uintptr_t) "annalsd";
	response.server_version = (char *)(uintptr_t)ANNALS_VERSION;
	response.store_uuid = conn->loop->server->uuid;
	response.n_limit = hello_limits(conn->loop, limits, pointers);
	response.limit = pointers;
	native_answer_message(request, &response.base);
}

static void ping(struct native_request *request, const struct frame *frame)
{
	Annals__V1__PingResponse response;
	if (native_unpack(request, frame, &annals__v1__ping_request__descriptor) == NULL) {
		return;
	}
	annals__v1__ping_response__init(&response);
	response.time_us = clock_wall_us();
	native_answer_message(request, &response.base);
}

/* ---- Input ---- */

static const struct native_handler handlers[] = {
	[FRAME_HELLO] = {"hello", hello, false},
	[FRAME_PING] = {"ping", ping, false},
	[FRAME_TOPIC_CREATE] = {"topic-create", native_topic_create, false},
	[FRAME_TOPIC_LIST] = {"topic-list", native_topic_list, false},
	[FRAME_TOPIC_DESCRIBE] = {"topic-describe", native_topic_describe, false},
	[FRAME_TOPIC_UPDATE] = {"topic-update", native_topic_update, false},
	[FRAME_TOPIC_DELETE] = {"topic-delete", native_topic_delete, false},
	[FRAME_APPEND] = {"append", native_append, true},
	[FRAME_FETCH] = {"fetch", native_fetch, false},
	[FRAME_OFFSET_FOR_TIME] = {"offset-for-time", native_offset_for_time, false},
	[FRAME_SUBSCRIBE] = {"subscribe", native_subscribe, false},
	[FRAME_CREDIT] = {"credit", native_credit, false},
	[FRAME_UNSUBSCRIBE] = {"unsubscribe", native_unsubscribe, false},
	[FRAME_OFFSET_COMMIT] = {"offset-commit", native_offset_commit, false},
	[FRAME_OFFSET_FETCH] = {"offset-fetch", native_offset_fetch, false},
	[FRAME_GROUP_LIST] = {"group-list", native_group_list, false},
	[FRAME_PRODUCER_OPEN] = {"producer-open", native_producer_open, false},
	[FRAME_STREAM_READ] = {"stream-read", native_stream_read, false},
	[FRAME_QUERY] = {"query", native_query, false},
	[FRAME_GROUP_PUT] = {"group-put", native_group_put, false},
	[FRAME_GROUP_DELETE] = {"group-delete", native_group_delete, false},
	[FRAME_GROUP_DESCRIBE] = {"group-describe", native_group_describe, false},
	[FRAME_GROUP_POLL] = {"group-poll", native_group_poll, false},
	[FRAME_GROUP_SETTLE] = {"group-settle", native_group_settle, false},
	[FRAME_GROUP_SEEK] = {"group-seek", native_group_seek, false},
	[FRAME_GROUP_PARKED] = {"group-parked", native_group_parked, false},
	[FRAME_GROUP_JOIN] = {"group-join", native_group_join, false},
	[FRAME_GROUP_HEARTBEAT] = {"group-heartbeat", native_group_heartbeat, false},
	[FRAME_GROUP_LEAVE] = {"group-leave", native_group_leave, false},
	[FRAME_GROUP_TRANSACT] = {"group-transact", native_group_transact, true},
	[FRAME_GROUP_CHECKPOINT] = {"group-checkpoint", native_group_checkpoint, false},
	[FRAME_GROUP_EXPLAIN] = {"group-explain", native_group_explain, false},
	[FRAME_TRANSACT] = {"transact", native_transact, true},
};

static void dispatch(struct native_request *request, const struct frame *frame)
{
	const struct native_conn *state = conn_state(request->base.conn);
	char text[96];
	if (frame->kind != FRAME_REQUEST) {
		fail_and_finish(request, ANNALS_E_MALFORMED,
			"a client sends frames of kind request only", NULL);
	} else if (!state->greeted && frame->operation != FRAME_HELLO) {
		fail_and_finish(
			request, ANNALS_E_MALFORMED, "the first frame must be a hello", NULL);
	} else if (frame->operation >= ANNALS_COUNT_OF(handlers) ||
		   handlers[frame->operation].handle == NULL) {
		(void)snprintf(
			text, sizeof(text), "operation %u is not known here", frame->operation);
		native_fail(request, ANNALS_E_UNSUPPORTED_OPERATION, text, NULL);
	} else if (frame->data.size > 0 && !handlers[frame->operation].takes_data) {
		native_fail(request, ANNALS_E_MALFORMED, "the operation takes no data", NULL);
	} else {
		handlers[frame->operation].handle(request, frame);
	}
}

static struct native_request *begin(struct conn *conn, const struct frame *frame)
{
	struct native_request *request = (struct native_request *)request_begin(conn);
	if (request != NULL) {
		request->correlation = frame->correlation;
		request->operation = frame->operation;
	}
	return request;
}

/* The bytes are not a frame, or not one that may be sent: nothing behind them can be trusted. */
static ssize_t refuse(struct conn *conn, struct bytes input, const struct frame *frame, int status,
	const struct error *err)
{
	struct native_request *request = begin(conn, frame);
	struct op_detail detail;
	memset(&detail, 0, sizeof(detail));
	if (request == NULL) {
		return PROTOCOL_CLOSE;
	}
	if (status == ANNALS_E_TOO_LARGE) {
		detail.limit_name = "request-bytes-max";
		detail.limit = conn->loop->options->request_bytes_max;
	}
	fail_and_finish(request, status, err->text, &detail);
	return (ssize_t)input.size;
}

static ssize_t native_input(struct conn *conn, struct bytes input)
{
	struct native_request *request;
	struct frame frame;
	struct error err = {0};
	size_t needed = 0;
	int found = frame_parse(input, native_frame_bytes_max(conn->loop), &frame, &needed, &err);

	if (found < 0) {
		return refuse(conn, input, &frame, found, &err);
	}
	if (found == 0) {
		conn_need(conn, needed);
		conn_set_phase(conn, input.size >= FRAME_HEADER_BYTES ? CONN_BODY : CONN_HEADER);
		return 0;
	}
	request = begin(conn, &frame);
	if (request == NULL) {
		return PROTOCOL_CLOSE;
	}
	conn_set_phase(conn, CONN_IDLE);
	dispatch(request, &frame);
	return (ssize_t)frame.size;
}

/* ---- Life ---- */

static int native_open(struct conn *conn)
{
	struct native_conn *state = conn_state(conn);
	list_init(&state->subscriptions);
	conn_set_phase(conn, CONN_HEADER); /* the hello must come soon */
	return 0;
}

/* Nobody will ask for more: reads that wait are answered with what they have. */
static void native_input_end(struct conn *conn)
{
	struct list_node *node;
	struct list_node *following;
	LIST_FOR_EACH_SAFE (node, following, &conn->requests) {
		op_stop_waiting(LIST_ENTRY(node, struct native_request, base.node)->op);
	}
	conn_finish(conn, CONN_CLOSE_PEER);
}

static void native_abandon(struct request *base)
{
	struct native_request *request = (struct native_request *)base;
	op_release(ANNALS_TAKE(request->op));
}

static void native_close(struct conn *conn)
{
	native_drop_subscriptions(conn);
}

const struct protocol_ops protocol_native = {
	.name = "binary",
	.state_size = sizeof(struct native_conn),
	.request_size = sizeof(struct native_request),
	.ordered = false,
	.open = native_open,
	.input = native_input,
	.input_end = native_input_end,
	.writable = native_pump_all,
	.abandon = native_abandon,
	.close = native_close,
};
