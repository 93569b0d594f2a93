/*
 * HTTP/1.1 over the connection layer: what the routes (http_*.c) use. Loop thread only.
 *
 * A request lives from its head to http_send(), http_finish() or http_problem(), after which the
 * pointer is gone, or until its connection dies. Requests of one connection may be worked on at the
 * same time; their answers leave in order. An operation that runs for a request is put into `op`
 * and released with it.
 */
#ifndef SERVER_PROTO_HTTP_H
#define SERVER_PROTO_HTTP_H

#include "loop.h"
#include "net/conn.h"
#include "ops.h"
#include "proto_http_parse.h"
#include "request.h"
#include <annals/json.h>

#define HTTP_PARAMS_MAX 4
#define HTTP_JSON_BODY_BYTES_MAX (1u << 20) /* bodies that are no events */

struct http_route;

struct http_request {
	struct request base;
	const struct http_route *route;
	struct buf head;  /* as sent; method, path and query point into it */
	struct buf texts; /* decoded parts of the target; never moves */
	struct bytes method, path, query;
	struct bytes params[HTTP_PARAMS_MAX]; /* decoded {...} segments of the path */
	bool head_only;                       /* HEAD: an answer without its body */
	bool http10;
	bool expect_continue;
	bool close;   /* the connection ends with this answer */
	bool started; /* the answer's head was written */
	bool chunked;
	bool held;       /* the connection's idle deadline is off */
	struct buf body; /* collected by http_collect() */
	size_t body_bytes_max;
	const char *body_limit_name;
	struct buf out; /* the answer's head being made */
	struct op *op;
	int problem_http_status;       /* 0: the problem's own */
	char etag[48];                 /* of the answer to be sent; "" = none */
	void *work;                    /* the route's own state */
	void (*free_work)(void *work); /* with it; called once */
	void (*piece)(struct http_request *request, struct bytes data); /* a piece of the body */
	void (*body_done)(struct http_request *request);
	void (*resume)(struct http_request *request); /* first in order and room for output */
	void (*drain)(struct http_request *request);  /* a stream should end */
};

static inline struct loop *http_loop(const struct http_request *request)
{
	return request->base.conn->loop;
}

/* ---- Requests ---- */

/* Wants the body whole: `done` is called when it is there. Too much is answered with 413 naming the
 * limit. */
void http_collect(struct http_request *request, size_t bytes_max, const char *limit_name,
	void (*done)(struct http_request *request));
/* Wants the body in pieces. Sends `100 Continue` where it was asked for. */
void http_stream_body(struct http_request *request,
	void (*piece)(struct http_request *request, struct bytes data),
	void (*done)(struct http_request *request));
/* Stops and restarts the pieces; nested in nothing. */
void http_pause_body(struct http_request *request);
void http_resume_body(struct http_request *request);
/* Calls fn now if the request is the connection's first, else as soon as it is. For answers that
 * are large. */
void http_when_first(struct http_request *request, void (*fn)(struct http_request *request));
/* Most of the body is still to come and nobody wants it: the connection had better end with the
 * answer. */
bool http_body_is_unwanted(const struct http_request *request);
/* The head again, parsed. */
void http_head_again(const struct http_request *request, struct http_head *ret);

/*
 * A query parameter, decoded. True with *ret (size 0 and data NULL when absent); false: a problem
 * was sent and the request is gone. Each name may be asked for once.
 */
bool http_param(
	struct http_request *request, const char *name, struct bytes *ret) ANNALS_MUST_CHECK;
bool http_param_u64(struct http_request *request, const char *name, uint64_t initial, uint64_t min,
	uint64_t max, uint64_t *ret) ANNALS_MUST_CHECK;
/* A path parameter as a number; what is none cannot exist and is a 404. */
bool http_path_number(struct http_request *request, unsigned index, uint64_t max,
	uint64_t *ret) ANNALS_MUST_CHECK;
/* The topic named by path parameter `index`: a reference of the caller. NULL: a problem was sent.
 */
struct topic *http_topic(struct http_request *request, unsigned index) ANNALS_MUST_CHECK;
/* The offer that the Accept header prefers, or -1 after a 406. */
int http_choose(
	struct http_request *request, const char *const *types, size_t count) ANNALS_MUST_CHECK;

/* ---- Answers ---- */

/* Starts an answer: status line and common headers. content_type NULL: none. */
void http_begin(struct http_request *request, int http_status, const char *content_type);
/* One more header; the value must hold no CR or LF. */
void http_header(struct http_request *request, const char *name, const char *format, ...)
	ANNALS_PRINTF(3, 4);
/* Sends head and body, whose memory is taken (NULL: no body), and ends the request. */
void http_send(struct http_request *request, struct buf *body);
/* Sends the head of an answer of unknown length. False: it was a HEAD request and is gone. */
bool http_begin_stream(struct http_request *request) ANNALS_MUST_CHECK;
/* A piece of it; the buffer is left empty. */
void http_write(struct http_request *request, struct buf *data);
/* The clean end of it. */
void http_finish(struct http_request *request);
/* The unclean end: the connection is closed, so that nobody takes what was sent for the whole. The
 * request is gone at the end of the turn. */
void http_abort(struct http_request *request);
/* The request is done with; releases everything. */
void http_end(struct http_request *request);

/* ---- Problems (RFC 9457): application/problem+json ---- */

/* Sends a problem and ends the request; when the answer has begun already, http_abort(). detail may
 * be NULL. */
void http_problem(
	struct http_request *request, int status, const char *text, const struct op_detail *detail);
/* The failed operation's. */
void http_op_problem(struct http_request *request, const struct op *op);
/* protocol_ops.refusal: a whole answer, 503 with Retry-After. 0 when there is no memory or room. */
size_t http_refusal(uint8_t *out, size_t room);
/* For problems with members of their own: writes the object's common members; the caller adds more,
 * ends the object and calls http_problem_send(). */
void http_problem_open(struct json_writer *writer, struct buf *body, int status, const char *text,
	const struct op_detail *detail);
/* The same where the status has another code here than everywhere: set
 * request->problem_http_status to it too. */
void http_problem_open_as(struct json_writer *writer, struct buf *body, int status, int http_status,
	const char *text, const struct op_detail *detail);
void http_problem_send(struct http_request *request, int status, struct buf *body);

/* ---- Routes (proto_http_routes.c) ---- */

enum http_body_use { HTTP_NO_BODY, HTTP_JSON_BODY, HTTP_OWN_BODY };
struct http_route {
	const char *method;
	const char *path; /* "/v1/topics/{topic}": braces match one segment, decoded once */
	enum http_body_use body;
	/* Called when the head is there, for HTTP_JSON_BODY when the body is. */
	void (*run)(struct http_request *request);
	const char *summary; /* for /openapi.json */
};
/* Finds the route, decodes the parameters and runs it, or sends the problem. */
void http_dispatch(struct http_request *request);
/* The table, for tests and documents. */
const struct http_route *http_routes(size_t *ret_count);

void http_get_service(struct http_request *request);
void http_get_live(struct http_request *request);
void http_get_ready(struct http_request *request);
void http_get_metrics(struct http_request *request);
void http_get_openapi(struct http_request *request);
void http_list_topics(struct http_request *request);
void http_put_topic(struct http_request *request);
void http_get_topic(struct http_request *request);
void http_patch_topic(struct http_request *request);
void http_delete_topic(struct http_request *request);
void http_post_events(struct http_request *request);
void http_post_partition_events(struct http_request *request);
void http_get_partition_events(struct http_request *request);
void http_get_event(struct http_request *request);
void http_get_events(struct http_request *request);
void http_get_stream(struct http_request *request);
void http_post_stream(struct http_request *request);
void http_get_stream_events(struct http_request *request);
void http_get_query(struct http_request *request);
void http_post_query(struct http_request *request);
void http_post_transaction(struct http_request *request);
void http_list_groups(struct http_request *request);
void http_delete_group(struct http_request *request);
void http_put_group(struct http_request *request);
void http_get_group(struct http_request *request);
void http_post_poll(struct http_request *request);
void http_post_acknowledge(struct http_request *request);
void http_post_refuse(struct http_request *request);
void http_post_extend(struct http_request *request);
void http_post_group_transaction(struct http_request *request);
void http_get_checkpoint(struct http_request *request);
void http_post_seek(struct http_request *request);
void http_get_parked(struct http_request *request);
void http_post_parked_replay(struct http_request *request);
void http_post_parked_drop(struct http_request *request);
void http_get_group_events(struct http_request *request);
void http_get_group_event(struct http_request *request);
void http_post_members(struct http_request *request);
void http_post_heartbeat(struct http_request *request);
void http_delete_member(struct http_request *request);
void http_get_offsets(struct http_request *request);
void http_put_offsets(struct http_request *request);
void http_get_offset(struct http_request *request);
void http_put_offset(struct http_request *request);

#endif
