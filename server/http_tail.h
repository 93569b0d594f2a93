/*
 * The merged read of a topic, for SSE and for pages: where it starts, the filter, the walk over its
 * events. Loop thread only.
 *
 * Where the topic has an index that answers the filter (a type or tags with a query index, a key
 * with streams), what is stored is read through it: events that do not match are not touched. A
 * live reader goes on with the log itself where the index has ended. Everything else is read from
 * the log, event by event.
 */
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
	bool is_live;     /* goes on when everything that was there has been read */
	uint64_t skipped; /* events that the filter kept back since the caller set it to 0 */
	uint64_t seen;    /* position of the last event that was looked at */
	/* private */
	struct http_request *request;
	void (*changed)(struct http_request *request);
	bool by_index;       /* request->op is an op_places, else an op_tail */
	bool starting;       /* the op_tail */
	bool finds_time;     /* by_index will be, from the first event of the time on */
	bool is_through;     /* the index is, and that is all */
	uint64_t position;   /* by index: everything up to it was looked at */
	size_t next, cursor; /* of the op_places' events */
	unsigned index_pages, looked;
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
/*
 * Starts as request->op what reads. `changed` is called, perhaps from within, when it has started,
 * when it has failed (request->op->status), and whenever there may be something after
 * http_tail_next() said 0. Without memory a problem was sent.
 */
void http_tail_start(struct http_tail *tail, struct http_request *request,
	void (*changed)(struct http_request *request));
/* Storage works on the next event: `changed` will be called. */
bool http_tail_is_busy(const struct http_tail *tail);
/* Everything up to here was looked at, or lies before the start. */
uint64_t http_tail_position(const struct http_tail *tail);
/* What http_tail_next() says when it has looked at many events and none passed: other work's turn.
 */
#define HTTP_TAIL_YIELD 2
/*
 * 1 with the next event that passes the filter, HTTP_TAIL_YIELD, 0: nothing now, negative: the tail
 * ended (request->op->status is set), what is stored is damaged, or memory ran out (request->op may
 * be NULL).
 */
int http_tail_next(struct http_tail *tail, struct http_walked_event *ret);

void http_get_sse(struct http_request *request, struct topic *topic);
void http_get_merged(struct http_request *request, struct topic *topic, const char *content_type,
	enum http_event_format format);

#endif
