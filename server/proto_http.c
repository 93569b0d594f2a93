#include "proto_http.h"
#include "http_text.h"
#include "server.h"
#include <assert.h>

/* What may be left of a body nobody wants for the connection to be kept; more is cheaper to cut
 * off. */
#define DROPPED_BODY_BYTES_MAX 65536u

struct http_conn {
	struct http_head_scan scan;
	struct http_body body;          /* of the request being received */
	struct http_request *receiving; /* whose head is being handled or whose body comes; NULL:
					   the body is dropped */
	bool in_body;
	bool paused;
	size_t dropped_bytes;
};

static void release(struct http_request *request)
{
	op_release(request->op);
	request->op = NULL;
	if (request->free_work != NULL) {
		request->free_work(request->work);
		request->free_work = NULL;
	}
	buf_release(&request->head);
	buf_release(&request->texts);
	buf_release(&request->body);
	buf_release(&request->out);
	if (request->held) {
		request->held = false;
		conn_unhold(request->base.conn);
	}
}

/* Detaches the connection's receiving side from a request that is going. */
static void detach(struct http_request *request)
{
	struct http_conn *state = conn_state(request->base.conn);
	if (state->receiving == request) {
		state->receiving = NULL;
	}
}

void http_end(struct http_request *request)
{
	struct conn *conn = request->base.conn;
	struct http_conn *state = conn_state(conn);
	const bool receiving = state->receiving == request;
	const bool close = request->close;
	detach(request);
	release(request);
	request_end(&request->base);
	if (close) {
		conn_finish(conn, CONN_CLOSE_DONE);
	} else if (receiving && state->paused) {
		state->paused = false;
		conn_resume_input(conn);
	}
}

void http_abort(struct http_request *request)
{
	conn_close(request->base.conn, CONN_CLOSE_DONE);
}

/* ---- Receiving ---- */

void http_stream_body(struct http_request *request,
	void (*piece)(struct http_request *request, struct bytes data),
	void (*done)(struct http_request *request))
{
	request->piece = piece;
	request->body_done = done;
	if (request->expect_continue) {
		static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
		request->expect_continue = false;
		request_write(&request->base, text, sizeof(text) - 1);
	}
}

static void too_large(struct http_request *request)
{
	char text[128];
	struct op_detail detail = {
		.limit_name = request->body_limit_name, .limit = request->body_bytes_max};
	snprintf(text, sizeof(text), "the request body is larger than %s, %zu bytes",
		request->body_limit_name, request->body_bytes_max);
	http_problem(request, ANNALS_E_TOO_LARGE, text, &detail);
}

static void collect_piece(struct http_request *request, struct bytes data)
{
	if (data.size > request->body_bytes_max - request->body.size) {
		too_large(request);
	} else if (buf_add(&request->body, data.data, data.size) != 0) {
		http_problem(request, ANNALS_E_NO_MEMORY, "out of memory", NULL);
	}
}

void http_collect(struct http_request *request, size_t bytes_max, const char *limit_name,
	void (*done)(struct http_request *request))
{
	const struct http_conn *state = conn_state(request->base.conn);
	request->body_bytes_max = bytes_max;
	request->body_limit_name = limit_name;
	if (state->in_body && state->body.state == HTTP_BODY_LENGTH &&
		state->body.left > bytes_max) {
		too_large(request);
		return;
	}
	http_stream_body(request, collect_piece, done);
}

void http_pause_body(struct http_request *request)
{
	struct http_conn *state = conn_state(request->base.conn);
	if (!state->paused && state->receiving == request) {
		state->paused = true;
		conn_pause_input(request->base.conn);
		conn_set_phase(request->base.conn, CONN_BUSY);
	}
}

void http_resume_body(struct http_request *request)
{
	struct http_conn *state = conn_state(request->base.conn);
	if (state->paused && state->receiving == request) {
		state->paused = false;
		conn_set_phase(request->base.conn, CONN_BODY);
		conn_resume_input(request->base.conn);
	}
}

bool http_body_is_unwanted(const struct http_request *request)
{
	const struct http_conn *state = conn_state(request->base.conn);
	return state->receiving == request && state->in_body &&
	       (request->expect_continue || state->body.state != HTTP_BODY_LENGTH ||
		       state->body.left > DROPPED_BODY_BYTES_MAX);
}

void http_when_first(struct http_request *request, void (*fn)(struct http_request *request))
{
	if (request_first(request->base.conn) == &request->base) {
		request->resume = NULL;
		fn(request);
	} else {
		request->resume = fn;
	}
}

void http_head_again(const struct http_request *request, struct http_head *ret)
{
	const int status = http_head_parse(buf_bytes(&request->head), ret, NULL);
	assert(status == 0);
	(void)status;
}

/* A request whose head cannot be understood: one answer, then the end of the connection. */
static void refuse(struct conn *conn, int status, const struct error *err)
{
	struct http_request *request = (struct http_request *)request_begin(conn);
	if (request == NULL) {
		conn_close(conn, CONN_CLOSE_NO_MEMORY);
		return;
	}
	request->close = true;
	http_problem(request, status, err->text, NULL);
	conn_finish(conn, CONN_CLOSE_PROTOCOL);
}

/* Copies what the routes need out of the parsed head. */
static int take_head(
	struct http_request *request, struct bytes text, struct http_head *head, struct error *err)
{
	if (buf_add(&request->head, text.data, text.size) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	const int status = http_head_parse(buf_bytes(&request->head), head, err);
	if (status != 0) {
		return status;
	}
	if (buf_reserve(&request->texts, head->path.size + head->query.size + 1) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	request->method = head->method;
	request->path = head->path;
	request->query = head->query;
	request->http10 = head->minor == 0;
	request->close = !head->keep_alive;
	request->expect_continue = head->expect_continue && head->has_body;
	request->head_only = bytes_is(head->method, "HEAD");
	return 0;
}

static void end_of_body(struct conn *conn)
{
	struct http_conn *state = conn_state(conn);
	struct http_request *request = state->receiving;
	state->in_body = false;
	state->receiving = NULL;
	conn_set_phase(conn, CONN_IDLE);
	if (request != NULL) {
		const bool close = request->close;
		if (request->body_done != NULL) {
			request->body_done(request);
		}
		if (close) {
			conn_finish(conn, CONN_CLOSE_DONE);
		}
	}
}

static void begin_request(struct conn *conn, struct bytes text)
{
	struct http_conn *state = conn_state(conn);
	struct http_head head;
	struct error err = {0};
	struct http_request *request = (struct http_request *)request_begin(conn);
	if (request == NULL) {
		conn_close(conn, CONN_CLOSE_NO_MEMORY);
		return;
	}
	const int status = take_head(request, text, &head, &err);
	if (status != 0) {
		request->close = true;
		http_problem(request, status, err.text, NULL);
		return;
	}
	http_body_init(&state->body, &head);
	state->in_body = head.has_body;
	state->receiving = request;
	state->dropped_bytes = 0;
	http_dispatch(request);
	if (!state->in_body) {
		end_of_body(conn);
	}
}

static ssize_t input_head(struct conn *conn, struct bytes input)
{
	struct http_conn *state = conn_state(conn);
	struct error err = {0};
	size_t head_bytes;
	const int found = http_head_scan(
		&state->scan, input, conn->loop->options->header_bytes_max, &head_bytes, &err);
	if (found < 0) {
		refuse(conn, found, &err);
		return (ssize_t)input.size;
	}
	if (found == 0) {
		conn_set_phase(conn, CONN_HEADER);
		return 0;
	}
	memset(&state->scan, 0, sizeof(state->scan));
	begin_request(conn, bytes_of(input.data, head_bytes));
	return (ssize_t)head_bytes;
}

static void take_piece(struct conn *conn, struct bytes data)
{
	struct http_conn *state = conn_state(conn);
	if (state->receiving != NULL && state->receiving->piece != NULL) {
		state->receiving->piece(state->receiving, data);
		return;
	}
	state->dropped_bytes += data.size;
	if (state->dropped_bytes > DROPPED_BODY_BYTES_MAX) {
		conn_finish(conn, CONN_CLOSE_DONE);
	}
}

static ssize_t input_body(struct conn *conn, struct bytes input)
{
	struct http_conn *state = conn_state(conn);
	struct error err = {0};
	struct bytes data;
	size_t consumed = 0;
	const int result = http_body_next(&state->body, input, &consumed, &data, &err);
	if (result < 0) {
		if (state->receiving != NULL) {
			state->receiving->close = true;
			http_problem(state->receiving, result, err.text, NULL);
		}
		conn_finish(conn, CONN_CLOSE_PROTOCOL);
		return (ssize_t)input.size;
	}
	if (result == HTTP_BODY_DATA) {
		conn_set_phase(conn, CONN_BODY);
		take_piece(conn, data);
	}
	if (state->body.state == HTTP_BODY_DONE) {
		end_of_body(conn);
	}
	return (ssize_t)consumed;
}

static ssize_t http_input(struct conn *conn, struct bytes input)
{
	const struct http_conn *state = conn_state(conn);
	return state->in_body ? input_body(conn, input) : input_head(conn, input);
}

/* ---- The rest of the protocol ---- */

static bool http_is_endless(const struct conn *conn)
{
	const struct http_request *first = (const struct http_request *)request_first(conn);
	return first != NULL && first->drain != NULL;
}

static void http_input_end(struct conn *conn)
{
	const struct http_conn *state = conn_state(conn);
	if (state->in_body || http_is_endless(conn)) {
		conn_close(conn, CONN_CLOSE_PEER);
	} else {
		conn_finish(conn, CONN_CLOSE_PEER);
	}
}

static void http_writable(struct conn *conn)
{
	struct http_request *request = (struct http_request *)request_first(conn);
	if (request != NULL && request->resume != NULL) {
		/* Once: a producer that wants to be called again says so again. */
		void (*const resume)(struct http_request *) = request->resume;
		request->resume = NULL;
		resume(request);
	}
}

static void http_deadline(struct conn *conn)
{
	struct http_conn *state = conn_state(conn);
	struct error err = {0};
	if (state->in_body && state->receiving != NULL) {
		state->receiving->close = true;
		http_problem(state->receiving, ANNALS_E_TIMEOUT,
			"the request body did not arrive in time", NULL);
	} else if (!state->in_body && state->scan.at > 0) {
		error_fail(&err, ANNALS_E_TIMEOUT, "the request head did not arrive in time");
		refuse(conn, ANNALS_E_TIMEOUT, &err);
	}
	conn_finish(conn, CONN_CLOSE_DEADLINE);
}

static void http_drain(struct conn *conn)
{
	struct http_request *request = (struct http_request *)request_first(conn);
	if (request != NULL && request->drain != NULL) {
		request->close = true;
		request->drain(request);
	}
	conn_finish(conn, CONN_CLOSE_DRAIN);
}

static void http_abandon(struct request *base)
{
	struct http_request *request = (struct http_request *)base;
	detach(request);
	release(request);
}

static enum protocol_match http_match(struct bytes first)
{
	/* A method: capital letters, then a blank. The binary protocol's first four bytes are a
	 * small number. */
	for (size_t i = 0; i < first.size && i < 8; i++) {
		if (first.data[i] == ' ' && i > 0) {
			return PROTOCOL_YES;
		}
		if (first.data[i] < 'A' || first.data[i] > 'Z') {
			return PROTOCOL_NO;
		}
	}
	return first.size < 8 ? PROTOCOL_MAYBE : PROTOCOL_NO;
}

const struct protocol_ops protocol_http = {
	.name = "http",
	.state_size = sizeof(struct http_conn),
	.request_size = sizeof(struct http_request),
	.ordered = true,
	.match = http_match,
	.input = http_input,
	.input_end = http_input_end,
	.is_endless = http_is_endless,
	.writable = http_writable,
	.deadline = http_deadline,
	.drain = http_drain,
	.abandon = http_abandon,
	.refusal = http_refusal,
};
