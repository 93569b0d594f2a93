#include "request.h"
#include "net/conn.h"
#include <assert.h>

struct request *request_begin(struct conn *conn)
{
	struct request *request = loop_alloc(conn->loop, conn->protocol->request_size);
	if (request == NULL) {
		return NULL;
	}
	assert(conn->protocol->request_size >= sizeof(*request));
	memset(request, 0, conn->protocol->request_size);
	request->conn = conn;
	request->started_ns = loop_now_ns(conn->loop);
	output_init(&request->output);
	list_init(&request->node);
	list_add_tail(&conn->requests, &request->node);
	conn->request_count++;
	counter_add(&conn->loop->counters.requests[conn->counter], 1);
	counter_add(&conn->loop->counters.requests_in_flight[conn->counter], 1);
	return request;
}

struct request *request_first(const struct conn *conn)
{
	return list_is_empty(&conn->requests)
		       ? NULL
		       : LIST_ENTRY(conn->requests.next, struct request, node);
}

static bool leaves_at_once(const struct request *request)
{
	return !request->conn->protocol->ordered || request_first(request->conn) == request;
}

void request_write(struct request *request, const void *data, size_t size)
{
	struct conn *conn = request->conn;
	if (leaves_at_once(request)) {
		conn_write(conn, data, size);
	} else if (output_add(&request->output, conn->loop->output_pool, data, size) != 0) {
		conn_close(conn, CONN_CLOSE_NO_MEMORY);
	} else {
		conn->queued_bytes += size;
	}
}

void request_write_buf(struct request *request, struct buf *data)
{
	struct conn *conn = request->conn;
	size_t size = data->size;
	if (leaves_at_once(request)) {
		conn_write_buf(conn, data);
	} else if (output_add_buf(&request->output, conn->loop->output_pool, data) != 0) {
		buf_release(data);
		conn_close(conn, CONN_CLOSE_NO_MEMORY);
	} else {
		conn->queued_bytes += size;
	}
}

bool request_can_write(const struct request *request)
{
	return leaves_at_once(request) && conn_can_write(request->conn);
}

static void request_free(struct request *request)
{
	struct conn *conn = request->conn;
	list_remove(&request->node);
	output_release(&request->output, conn->loop->output_pool);
	conn->request_count--;
	counter_sub(&conn->loop->counters.requests_in_flight[conn->counter], 1);
	loop_free(conn->loop, request, conn->protocol->request_size);
}

/* The answers that waited behind an ended request leave now, as far as they are complete. */
static void promote(struct conn *conn)
{
	struct request *request;
	while ((request = request_first(conn)) != NULL) {
		size_t size = request->output.size_bytes;
		if (conn->output.size_bytes == 0) {
			conn->output_moved_ns = loop_now_ns(conn->loop);
		}
		conn->queued_bytes -= size;
		output_move(&conn->output, &request->output);
		if (!request->ended) {
			conn->first_changed = true;
			return;
		}
		request_free(request);
	}
}

void request_end(struct request *request)
{
	struct conn *conn = request->conn;
	assert(!request->ended);
	conn->active_ns = loop_now_ns(conn->loop);
	conn_touch(conn);
	if (!leaves_at_once(request)) {
		request->ended = true;
		return;
	}
	request_free(request);
	if (conn->protocol->ordered) {
		promote(conn);
	}
}
