/*
 * Server-Sent Events (WHATWG HTML, section 9.2) of a group by event: its events are leased to the
 * connection and pushed; they are acknowledged over the group's other routes.
 *
 * The connection is a member of the group. It holds at most ?max= leases; as long as so many are
 * neither acknowledged nor refused nor run out, nothing comes, so a handler that is slow is waited
 * for. When the connection ends its leases are given back and do not count as attempts. What comes
 * after a reconnect is the group's business: an id names the event, "<topic id>.<position>", and
 * Last-Event-ID is not looked at.
 */
#include "http_delivery.h"
#include "server.h"
#include <annals/hash.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define HEARTBEAT_NS (15ull * 1000 * 1000 * 1000)
#define RETRY_MS 2000
#define HELD_DEFAULT 16
#define BYTES_MAX (256u << 10)
#define WAIT_US 15000000u
#define FULL_WAIT_US 1000000u

struct group_stream {
	struct http_request *request;
	struct loop_timer heartbeat;
	struct http_typed_reader typed;
	bool as_json;
	bool caught_up_told, paused_told;
	uint64_t wait_us; /* of the next poll */
	uint32_t held_max;
	uint64_t lease_us;
	char group[GROUP_NAME_MAX + 1];
	char member[MEMBER_NAME_MAX + 1];
	struct buf out;
};

static void poll_next(struct http_request *request);

/* Gives back what the member holds. The request's poll is released already: it takes nothing more.
 */
static void leave(struct group_stream *stream, struct loop *loop)
{
	struct op_delivery *op = op_delivery_new(loop, DELIVERY_LEAVE);
	if (op == NULL) {
		return; /* the leases run out */
	}
	memcpy(op->request.member.member, stream->member, sizeof(stream->member));
	(void)op_delivery_start(op, bytes_text(stream->group));
	op_release(&op->op);
}

static void free_stream(void *work)
{
	struct group_stream *stream = work;
	struct http_request *request = stream->request;
	loop_timer_stop(http_loop(request), &stream->heartbeat);
	if (request->started) {
		leave(stream, http_loop(request));
	}
	http_typed_reader_release(&stream->typed);
	buf_release(&stream->out);
	free(stream);
}

/* Sends what was written; false when the request is gone because memory ran out. */
static bool flush(struct http_request *request, int status)
{
	struct group_stream *stream = request->work;
	if (status != 0) {
		http_abort(request);
		return false;
	}
	if (stream->out.size > 0) {
		http_write(request, &stream->out);
	}
	return true;
}

static int write_event(struct group_stream *stream, const struct poll_request *poll,
	const struct delivered_event *event)
{
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	struct json_writer writer;
	int status = buf_printf(&stream->out,
		"id: %" PRIu32 ".%" PRIu64 "\ndata: ", event->topic_id, event->position);
	json_writer_init(&writer, &text);
	http_delivery_write_delivered(
		stream->request, &writer, poll, event, stream->as_json ? &stream->typed : NULL);
	status = status != 0 ? status : json_writer_status(&writer);
	status = status != 0 ? status : buf_add(&stream->out, text.data, text.size);
	return status != 0 ? status : buf_add(&stream->out, "\n\n", 2);
}

/* What the stream says beside events: once that it has come to the end, and each time that parked
 * events stop the group, and that they no longer do. */
static int write_state(struct group_stream *stream, const struct poll_request *poll)
{
	int status = 0;
	if (poll->is_paused != stream->paused_told) {
		stream->paused_told = poll->is_paused;
		status = buf_printf(&stream->out, "event: %s\ndata: {}\n\n",
			poll->is_paused ? "paused" : "resumed");
	}
	if (status == 0 && poll->event_count == 0 && !poll->is_full && !poll->is_paused &&
		!stream->caught_up_told) {
		stream->caught_up_told = true;
		status = buf_printf(&stream->out, "event: caught-up\ndata: {}\n\n");
	}
	return status;
}

static int write_poll(struct group_stream *stream, const struct poll_request *poll)
{
	int status = 0;
	for (size_t i = 0; i < poll->event_count && status == 0; i++) {
		status = write_event(stream, poll, &poll->events[i]);
	}
	return status != 0 ? status : write_state(stream, poll);
}

/* The group was deleted, storage failed, the server stops. */
static void end_stream(struct http_request *request, const struct op *op)
{
	struct group_stream *stream = request->work;
	struct json_writer writer;
	int status;
	if (op->status == ANNALS_E_UNAVAILABLE) {
		status = buf_printf(&stream->out, "retry: %d\n\n", RETRY_MS);
	} else {
		status = buf_printf(&stream->out, "event: error\ndata: ");
		http_problem_open(&writer, &stream->out, op->status, op->error.text, &op->detail);
		json_end_object(&writer);
		status = status != 0 ? status : json_writer_status(&writer);
		status = status != 0 ? status : buf_add(&stream->out, "\n\n", 2);
	}
	if (flush(request, status)) {
		http_finish(request);
	}
}

/* The server drains: the browser is told when to come back. */
static void drain(struct http_request *request)
{
	struct group_stream *stream = request->work;
	if (flush(request, buf_printf(&stream->out, "retry: %d\n\n", RETRY_MS))) {
		http_finish(request);
	}
}

static bool begin(struct http_request *request)
{
	struct group_stream *stream = request->work;
	http_begin(request, 200, "text/event-stream; charset=utf-8");
	http_header(request, "Cache-Control", "no-store");
	http_header(request, "X-Accel-Buffering", "no");
	http_header(request, "Annals-Member", "%s", stream->member);
	if (!http_begin_stream(request)) {
		return false;
	}
	request->held = true;
	conn_hold(request->base.conn);
	request->drain = drain;
	loop_timer_set(http_loop(request), &stream->heartbeat, HEARTBEAT_NS);
	return flush(request, buf_printf(&stream->out, "retry: %d\n\n", RETRY_MS));
}

static void polled(struct op *op)
{
	struct http_request *request = op->arg;
	struct group_stream *stream = request->work;
	const struct poll_request *poll = &((struct op_delivery *)op)->request.poll;
	if (op->status != 0) {
		if (request->started) {
			end_stream(request, op);
		} else {
			http_op_problem(request, op);
		}
		return;
	}
	if (!request->started && !begin(request)) {
		return;
	}
	const int status = write_poll(stream, poll);
	/* The end is told when a poll that does not wait for events finds none. */
	stream->wait_us = stream->caught_up_told             ? WAIT_US
			  : poll->is_full || poll->is_paused ? FULL_WAIT_US
							     : 0;
	if (flush(request, status)) {
		poll_next(request);
	}
}

/* Another poll, as soon as what was sent is on its way. */
static void poll_next(struct http_request *request)
{
	struct group_stream *stream = request->work;
	struct op_delivery *op;
	if (request->started && !request_can_write(&request->base)) {
		request->resume = poll_next;
		return;
	}
	request->resume = NULL;
	op_release(request->op);
	op = op_delivery_new(http_loop(request), DELIVERY_POLL);
	request->op = op == NULL ? NULL : &op->op;
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	op->op.done = polled;
	op->op.arg = request;
	memcpy(op->request.poll.member, stream->member, sizeof(stream->member));
	op->request.poll.events_max = stream->held_max;
	op->request.poll.held_max = stream->held_max;
	op->request.poll.bytes_max = BYTES_MAX;
	op->request.poll.lease_us = stream->lease_us;
	op->request.poll.wait_us = stream->wait_us;
	if (op_delivery_start(op, bytes_text(stream->group)) == OP_DONE) {
		polled(&op->op);
	}
}

static void beat(struct loop_timer *timer)
{
	struct group_stream *stream = ANNALS_CONTAINER_OF(timer, struct group_stream, heartbeat);
	struct http_request *request = stream->request;
	if (request_can_write(&request->base)) {
		struct buf comment = BUF_INIT;
		if (buf_add(&comment, ":\n\n", 3) == 0) {
			http_write(request, &comment);
		}
		buf_release(&comment);
	}
	loop_timer_set(http_loop(request), timer, HEARTBEAT_NS);
}

/* A name that no other member has. */
static void name_member(struct group_stream *stream)
{
	uint64_t number;
	random_bytes(&number, sizeof(number));
	(void)snprintf(stream->member, sizeof(stream->member), "sse-%016" PRIx64, number);
}

/* False: a problem was sent. */
static bool read_params(struct http_request *request, struct group_stream *stream)
{
	struct bytes member;
	struct error err = {0};
	uint64_t held_max, lease_ms;
	int status;
	if (!http_param(request, "member", &member) ||
		!http_param_u64(request, "max", HELD_DEFAULT, 1, POLL_EVENTS_MAX, &held_max) ||
		!http_param_u64(request, "leaseMs", 0, 0, LEASE_US_MAX / 1000, &lease_ms)) {
		return false;
	}
	status = http_delivery_copy("member", member, stream->member, sizeof(stream->member), &err);
	status = status != 0 ? status
			     : http_delivery_copy("group", request->params[0], stream->group,
				       sizeof(stream->group), &err);
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return false;
	}
	if (stream->member[0] == 0) {
		name_member(stream);
	}
	stream->held_max = (uint32_t)held_max;
	stream->lease_us = lease_ms * 1000;
	return http_delivery_read_data(request, &stream->typed, &stream->as_json);
}

void http_get_group_events(struct http_request *request)
{
	static const char *const types[] = {"text/event-stream"};
	struct group_stream *stream;
	if (http_choose(request, types, ANNALS_COUNT_OF(types)) < 0) {
		return;
	}
	if (request->head_only && delivery_group_mode(http_loop(request)->server->delivery,
					  request->params[0]) == GROUP_BY_EVENT) {
		http_begin(request, 200, "text/event-stream; charset=utf-8"); /* leases nothing */
		http_send(request, NULL);
		return;
	}
	stream = calloc(1, sizeof(*stream));
	if (stream == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	stream->request = request;
	loop_timer_init(&stream->heartbeat, beat);
	request->work = stream;
	request->free_work = free_stream;
	if (read_params(request, stream)) {
		http_when_first(request, poll_next);
	}
}
