/*
 * Server-Sent Events (WHATWG HTML, section 9.2): all partitions of a topic, history first and then
 * live, in the order of positions.
 *
 * An id is "<topic id>.<position>" and names the last event seen over all partitions: positions
 * rise in commit order and the tail delivers them in that order (op_tail, merged), so that one
 * number resumes the whole vector of partitions without a gap and without a repeat. The first block
 * holds an id only and pins where the stream starts (none from a time); filtered events move the id
 * on with such blocks too.
 */
#include "http_events.h"
#include "http_tail.h"
#include "proto_http.h"
#include <annals/parse.h>
#include <inttypes.h>
#include <stdlib.h>

#define WRITE_BYTES (32u << 10)
#define HEARTBEAT_NS (15ull * 1000 * 1000 * 1000)
#define RETRY_MS 2000

struct http_sse {
	struct http_tail tail; /* first: http_tail_free() frees it all */
	struct http_request *request;
	struct loop_timer heartbeat;
	struct loop_task again; /* after a long run of filtered events */
	bool waiting;           /* the tail will call */
	bool caught_up_told;    /* once */
	uint64_t told;          /* position of the last id that was sent */
	struct buf out;
};

static void pump(struct http_request *request);

static void free_sse(void *work)
{
	struct http_sse *sse = work;
	loop_timer_stop(http_loop(sse->request), &sse->heartbeat);
	loop_task_cancel(&sse->again);
	buf_release(&sse->out);
	http_tail_release(&sse->tail);
	free(sse);
}

static int write_id(struct http_sse *sse, uint64_t position)
{
	sse->told = position;
	return buf_printf(
		&sse->out, "id: %" PRIu32 ".%" PRIu64 "\n", sse->tail.topic->id, position);
}

static int write_event(struct http_sse *sse, const struct http_walked_event *event)
{
	int status = write_id(sse, event->place.position);
	status = status != 0 ? status : buf_add(&sse->out, "data: ", 6);
	status = status != 0 ? status : http_event_write_json(&sse->out, event);
	return status != 0 ? status : buf_add(&sse->out, "\n\n", 2);
}

/* Sends what was written; false when the request is gone because memory ran out. */
static bool flush(struct http_request *request, int status)
{
	struct http_sse *sse = request->work;
	if (status != 0) {
		http_abort(request);
		return false;
	}
	http_write(request, &sse->out);
	return true;
}

/* An id-only block: a reconnect need not look at the filtered events again. */
static int write_skipped(struct http_sse *sse, uint64_t position)
{
	const int status = write_id(sse, position);
	sse->tail.skipped = 0;
	return status != 0 ? status : buf_add(&sse->out, "\n", 1);
}

/* At the end of what there is: the marker once, then an id-only block when only filtered events
 * came. */
static int write_progress(struct http_sse *sse)
{
	const uint64_t position = ANNALS_MAX(http_tail_position(&sse->tail), sse->told);
	if (!sse->caught_up_told) {
		sse->caught_up_told = true;
		const int status = write_id(sse, position);
		return status != 0
			       ? status
			       : buf_printf(&sse->out,
					 "event: caught-up\ndata: {\"position\":%" PRIu64 "}\n\n",
					 position);
	}
	return sse->tail.skipped > 0 ? write_skipped(sse, position) : 0;
}

/* The tail has ended: the topic was deleted, retention overtook the reader, data is damaged, the
 * server stops. */
static void end_stream(struct http_request *request)
{
	struct http_sse *sse = request->work;
	const struct op *op = request->op;
	struct json_writer writer;
	int status = 0;
	if (op->status == ANNALS_E_UNAVAILABLE) {
		status = buf_printf(&sse->out, "retry: %d\n\n", RETRY_MS);
	} else {
		status = buf_printf(&sse->out, "event: %s\ndata: ",
			op->status == ANNALS_E_OFFSET_GONE ? "truncated" : "error");
		http_problem_open(&writer, &sse->out, op->status, op->error.text, &op->detail);
		json_end_object(&writer);
		status = status != 0 ? status : json_writer_status(&writer);
		status = status != 0 ? status : buf_add(&sse->out, "\n\n", 2);
	}
	if (flush(request, status)) {
		http_finish(request);
	}
}

/* Fills the buffer. 1: go on, HTTP_TAIL_YIELD, 0: nothing now, negative: out of memory or damaged;
 * *ret_ended: the tail has ended. */
static int fill(struct http_request *request, bool *ret_ended)
{
	struct http_sse *sse = request->work;
	struct http_walked_event event;
	while (sse->out.size < WRITE_BYTES) {
		const int more = http_tail_next(&sse->tail, &event);
		if (more < 0) {
			*ret_ended = request->op != NULL && request->op->status != 0;
			return *ret_ended ? 0 : more;
		}
		if (more != 1) {
			return more;
		}
		const int status = write_event(sse, &event);
		if (status != 0) {
			return status;
		}
	}
	return 1;
}

static void pump(struct http_request *request)
{
	struct http_sse *sse = request->work;
	request->resume = pump;
	while (!sse->waiting && request_can_write(&request->base)) {
		bool ended = false;
		int more = fill(request, &ended);
		if (more == 0 && !ended) {
			sse->waiting = true;
			if (!http_tail_is_busy(&sse->tail)) {
				const int status = write_progress(sse);
				more = status != 0 ? status : more;
			}
		}
		if (more == HTTP_TAIL_YIELD) {
			sse->waiting = true;
			loop_defer(http_loop(request), &sse->again);
			more = write_skipped(sse, sse->tail.seen);
		}
		if (!flush(request, more < 0 ? more : 0)) {
			return;
		}
		if (ended) {
			end_stream(request);
			return;
		}
	}
}

static void go_on(struct loop_task *task)
{
	struct http_sse *sse = ANNALS_CONTAINER_OF(task, struct http_sse, again);
	sse->waiting = false;
	pump(sse->request);
}

static void beat(struct loop_timer *timer)
{
	struct http_sse *sse = ANNALS_CONTAINER_OF(timer, struct http_sse, heartbeat);
	struct http_request *request = sse->request;
	if (request_can_write(&request->base)) {
		struct buf comment = BUF_INIT;
		if (buf_add(&comment, ":\n\n", 3) == 0) {
			http_write(request, &comment);
		}
		buf_release(&comment);
	}
	loop_timer_set(http_loop(request), timer, HEARTBEAT_NS);
}

/* The server drains: the browser is told when to come back. */
static void drain(struct http_request *request)
{
	struct http_sse *sse = request->work;
	if (flush(request, buf_printf(&sse->out, "retry: %d\n\n", RETRY_MS))) {
		http_finish(request);
	}
}

/* Partitions whose beginning retention took away, as seen from the position asked for. */
static int write_truncated(struct http_sse *sse, struct store *store, const struct op_tail *op)
{
	int status = 0;
	for (size_t i = 0; i < op->partition_count && status == 0; i++) {
		const struct tail_partition *part = &op->partitions[i];
		struct partition_info info;
		if (store_partition_info(store, sse->tail.topic->id, part->partition, &info) == 0 &&
			info.first_offset > 0 && part->offset <= info.first_offset) {
			status = buf_printf(&sse->out,
				"event: truncated\ndata: {\"partition\":%" PRIu32
				",\"firstAvailable\":%" PRIu64 "}\n\n",
				part->partition, info.first_offset);
		}
	}
	return status;
}

static void stream(struct http_request *request)
{
	struct http_sse *sse = request->work;
	http_begin(request, 200, "text/event-stream; charset=utf-8");
	http_header(request, "Cache-Control", "no-store");
	http_header(request, "X-Accel-Buffering", "no");
	if (!http_begin_stream(request)) {
		return;
	}
	request->held = true;
	conn_hold(request->base.conn);
	request->drain = drain;
	loop_timer_set(http_loop(request), &sse->heartbeat, HEARTBEAT_NS);
	int status = buf_printf(&sse->out, "retry: %d\n", RETRY_MS);
	/* Where a time begins no position says yet: whoever comes back before the first event asks
	 * for the time again. */
	if (status == 0 && sse->tail.start != TAIL_TIME) {
		status = write_id(sse, http_tail_position(&sse->tail));
	}
	status = status != 0 ? status : buf_add(&sse->out, "\n", 1);
	if (status == 0 && sse->tail.start == TAIL_POSITION && !sse->tail.by_index) {
		status = write_truncated(
			sse, http_loop(request)->store, (const struct op_tail *)request->op);
	}
	if (flush(request, status)) {
		pump(request);
	}
}

static void tail_changed(struct http_request *request)
{
	struct http_sse *sse = request->work;
	if (request->started) {
		sse->waiting = false;
		pump(request);
	} else if (request->op->status != 0) {
		http_op_problem(request, request->op);
	} else {
		stream(request);
	}
}

static void start(struct http_request *request)
{
	struct http_sse *sse = request->work;
	sse->tail.is_live = true;
	http_tail_start(&sse->tail, request, tail_changed);
}

void http_get_sse(struct http_request *request, struct topic *topic)
{
	struct http_sse *sse = calloc(1, sizeof(*sse));
	if (sse == NULL) {
		topic_unref(topic);
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	sse->request = request;
	loop_timer_init(&sse->heartbeat, beat);
	loop_task_init(&sse->again, go_on);
	http_tail_init(&sse->tail, topic);
	request->work = sse;
	request->free_work = free_sse;
	if (http_tail_read_params(&sse->tail, request, TAIL_LATEST)) {
		http_when_first(request, start);
	}
}
