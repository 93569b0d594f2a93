/* What the two ways of appending over HTTP share. Loop thread only. */
#ifndef SERVER_HTTP_APPEND_H
#define SERVER_HTTP_APPEND_H

#include "http_batcher.h"
#include "proto_http.h"
#include <annals/cloudevents.h>

/* One append request's own state; in request->work. */
struct http_append {
	struct http_batcher batcher;
	enum durability durability;
	bool of_stream; /* POST to a stream: its conditions and its version in the answer */
	bool in_body;   /* conditions stand in the body: 409, not 412 */
	enum stream_expect expect;
	uint64_t expect_version;
	uint32_t expect_incarnation;
	bool has_receipt; /* an Idempotency-Key */
	struct buf receipt_key;
	uint8_t receipt_hash[16];
	/* Adds conditions of the body to the operation; may be NULL. */
	int (*add_conditions)(struct http_append *append, struct op_append *op);
	void *conditions; /* its own */
	void (*free_conditions)(void *conditions);
	/* ?atomic=false only */
	struct buf pending;   /* bytes that are no whole line yet, or whose turn has not come */
	size_t pending_used;  /* of it, handled */
	uint64_t lines;       /* handled */
	uint64_t flight_line; /* the last one in the segment on its way */
	uint64_t committed_line, committed_count, segments;
	struct http_receipt *receipts; /* one per partition that got something */
	size_t receipt_count;
	uint64_t recorded_us;
	enum durability durability_got;
	bool body_ended;
	struct error problem; /* of the line that stopped it; code 0: none */
};

/* Events of one partition that were committed by the segments so far. */
struct http_receipt {
	uint32_t partition;
	uint64_t count, first_offset, last_offset;
};

/* An append of the route to this topic (its reference is taken) begins; NULL after a problem. */
struct http_append *http_append_new(struct http_request *request, struct topic *topic);
/* Reads durability, atomic and Idempotency-Key and goes on by the content type. */
void http_append_begin(struct http_request *request, struct http_append *append);
/* What the batcher holds becomes one append, which answers the request. */
void http_append_run(struct http_request *request);
/* The problem of an operation that failed: conditions of headers with 412, of a body with 409. */
void http_append_failed(struct http_request *request, struct op *op);
/* Reads the Idempotency-Key of a request whose body is there. 0; otherwise a problem was sent. */
int http_append_read_receipt(
	struct http_request *request, struct http_append *append) ANNALS_MUST_CHECK;
/* A problem with the place in the body: `member` is "line" or "event", or NULL. */
void http_append_problem(
	struct http_request *request, const struct error *err, const char *member, uint64_t number);

/* Takes one NDJSON line: nothing for a blank one, else the event goes into the batcher. err names
 * the line. */
int http_append_line(struct http_append *append, struct cloudevent *event, struct bytes line,
	uint64_t number, struct error *err) ANNALS_MUST_CHECK;
/* Starts an operation for what the batcher holds. OP_DONE, OP_PENDING, or a negative status:
 * nothing was started. */
int http_append_start(struct http_request *request, void (*done)(struct op *op)) ANNALS_MUST_CHECK;
/* "fsync" or "os". */
const char *http_append_durability_name(enum durability durability);

/* A query from JSON: {"items":[{"types":[...],"tags":[...]}],"after":N,"limit":N}. Zeroed by init;
 * texts live until release. */
struct http_query {
	struct query_condition condition;
	struct query_item items[QUERY_ITEMS_MAX];
	struct bytes *terms;
	uint32_t term_count;
	uint32_t limit;
	struct buf scratch;
};
void http_query_init(struct http_query *query);
void http_query_release(struct http_query *query);
/* `text` is the JSON object; limit_allowed: "limit" is known. ANNALS_E_MALFORMED, ANNALS_E_INVALID,
 * ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY. */
int http_query_read(struct http_query *query, struct bytes text, bool limit_allowed,
	struct error *err) ANNALS_MUST_CHECK;

/* NDJSON of any length in segments (http_append_stream.c). */
void http_append_stream_piece(struct http_request *request, struct bytes data);
void http_append_stream_end(struct http_request *request);

#endif
