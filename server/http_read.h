/* The state of a read of one partition, for http_read.c and http_search.c. Loop thread only. */
#ifndef SERVER_HTTP_READ_H
#define SERVER_HTTP_READ_H

#include "http_events.h"
#include "http_filter.h"
#include "http_typed.h"
#include "proto_http.h"

/* Stored bytes per look into storage; what a slow client can make a page hold in memory. */
#define HTTP_READ_SLICE_BYTES (256u << 10)

enum read_from { FROM_OFFSET, FROM_EARLIEST, FROM_LATEST, FROM_TIME };

struct http_read {
	struct topic *topic;
	uint32_t partition;
	enum read_from from;
	enum http_event_format format;
	uint64_t offset; /* the next one to write; backwards: one above it */
	uint64_t end;    /* one past the last to write, once the first slice came */
	uint64_t limit, wait_us;
	int64_t time_us;
	const char *content_type;
	bool any; /* something was written */
	struct buf batches;
	uint64_t next_offset; /* behind the batches */
	struct http_event_walk walk;
	struct http_typed_reader typed;
	struct buf out;
	/* backwards or filtered: http_search.c */
	bool searches, backwards;
	struct http_filter filter;
	uint64_t first_offset, end_offset; /* as the last slice said */
	uint64_t count;                    /* events in `out` */
	uint32_t slices;                   /* looked at */
	struct buf text;                   /* events of one batch */
	struct http_request *request;
	struct loop_task again; /* the next slice, after others had their turn */
};

/* Asks for the next slice. 1: it is there already, 0: `done` will be called or the request is gone.
 */
int http_read_ask(struct http_request *request, void (*done)(struct op *op), uint32_t bytes_max,
	uint64_t wait_us);
/* Takes the result over and lets go of the operation. */
void http_read_take(struct http_request *request);

/*
 * A page that is filtered or goes backwards, made whole before its head is sent, which says where
 * to go on: it ends with `limit` events, 512 KiB, or 16 looks into storage.
 */
void http_search_start(struct http_request *request);
/* Stops a search that waits for its turn; harmless for all others. */
void http_search_stop(struct http_read *read);

#endif
