/*
 * A request: a place in a connection's order of answers. Loop thread only. It lives from
 * request_begin() to request_end() or until its connection dies (protocol_ops.abandon); operations
 * (ops.h) are what outlives connections.
 */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include "net/output.h"
#include <annals/buf.h>
#include <annals/list.h>
#include <stdbool.h>
#include <stdint.h>

struct conn;

struct request {
	struct list_node node; /* in conn->requests, in order of arrival */
	struct conn *conn;
	uint64_t started_ns;
	struct output output; /* ordered protocols: what waits for its turn */
	bool ended;
};

/*
 * Opens a request. The memory (protocol_ops.request_size bytes) is zeroed behind struct request and
 * comes from a pool. NULL when memory ran out: close the connection.
 */
struct request *request_begin(struct conn *conn);

/*
 * Appends to the answer. Bytes leave at the end of the loop turn, together with all others of the
 * connection. Never fails: when memory runs out the connection is closed at the end of the turn.
 */
void request_write(struct request *request, const void *data, size_t size);
/* The same without a copy: takes the buffer's memory and leaves it empty. Small contents are copied
 * all the same. */
void request_write_buf(struct request *request, struct buf *data);

/*
 * True while a producer of a long answer should go on: the request is the connection's first (or
 * the protocol is not ordered) and less than output-bytes-max wait. When false, stop;
 * protocol_ops.writable says when to go on. Short answers need not ask.
 */
bool request_can_write(const struct request *request);

/* The answer is complete (or there is none). The request is gone for the caller. Reading goes on if
 * the limit of requests had stopped it. */
void request_end(struct request *request);

/* The oldest open request, the one whose bytes leave at once in an ordered protocol; NULL if there
 * is none. */
struct request *request_first(const struct conn *conn);

#endif
