/* The merged read of a topic, for SSE and for pages: where it starts, the filter, the walk over its
 * events. Loop thread only. */
#ifndef SERVER_HTTP_TAIL_H
#define SERVER_HTTP_TAIL_H

#include "http_events.h"
#include "http_filter.h"
#include "http_typed.h"
#include "proto_http.h"

struct http_tail {
	struct topic *topic; /* a reference */
	enum tail_start start;
	uint64_t start_value;
	struct http_filter filter;
	uint64_t skipped; /* events that the filter kept back since the caller set it to 0 */
	uint64_t seen;    /* position of the last event that was looked at */
	struct http_event_walk walk;
	struct http_typed_reader typed;
};

/* Takes the topic's reference. */
void http_tail_init(struct http_tail *tail, struct topic *topic);
void http_tail_release(struct http_tail *tail);
/*
 * Reads Last-Event-ID, ?lastEventId=, ?after= (a token "<topic id>.<position>"), ?from=, ?data= and
 * the filter.
 * False: a problem was sent. A token of another topic of that name is ANNALS_E_TOPIC_RECREATED.
 */
bool http_tail_read_params(struct http_tail *tail, struct http_request *request,
	enum tail_start initial) ANNALS_MUST_CHECK;
/* Starts an op_tail as request->op. OP_DONE (done was not called), OP_PENDING, or OP_DONE with a
 * status. */
int http_tail_start(
	struct http_tail *tail, struct http_request *request, void (*done)(struct op *op));
/* What http_tail_next() says when it has looked at many events and none passed: other work's turn.
 */
#define HTTP_TAIL_YIELD 2
/*
 * 1 with the next event that passes the filter, HTTP_TAIL_YIELD, 0: nothing now (op_tail_next()
 * said so), negative: the tail ended (op->op.status is set) or what is stored is damaged.
 */
int http_tail_next(struct http_tail *tail, struct op_tail *op, struct http_walked_event *ret);

void http_get_sse(struct http_request *request, struct topic *topic);
void http_get_merged(struct http_request *request, struct topic *topic, const char *content_type,
	enum http_event_format format);

#endif
