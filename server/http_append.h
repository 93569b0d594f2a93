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

/* Takes one NDJSON line: nothing for a blank one, else the event goes into the batcher. err names
 * the line. */
int http_append_line(struct http_append *append, struct cloudevent *event, struct bytes line,
	uint64_t number, struct error *err) ANNALS_MUST_CHECK;
/* Starts an operation for what the batcher holds. OP_DONE, OP_PENDING, or a negative status:
 * nothing was started. */
int http_append_start(struct http_request *request, void (*done)(struct op *op)) ANNALS_MUST_CHECK;
/* "fsync" or "os". */
const char *http_append_durability_name(enum durability durability);

/* NDJSON of any length in segments (http_append_stream.c). */
void http_append_stream_piece(struct http_request *request, struct bytes data);
void http_append_stream_end(struct http_request *request);

#endif
