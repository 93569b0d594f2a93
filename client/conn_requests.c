/* Requests on the connection: their slots, frames out, deadlines. All on the I/O side. */
#include "conn_internal.h"

#include <annals/macros.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define IOV_COUNT 64

void request_enqueue(struct annals_client *client, struct request *request)
{
	struct conn *conn = &client->conn;
	request->written = 0;
	request->sent = false;
	request->correlation = 0;
	list_add_tail(&conn->waiting, &request->node);
	conn->requests_deadline_ns = ANNALS_MIN(conn->requests_deadline_ns, request->deadline_ns);
}

void conn_slot_release(struct conn *conn, struct request *request)
{
	unsigned slot = request->correlation & (SLOT_COUNT - 1);
	if (request->correlation != 0 && conn->slots[slot] == request) {
		conn->slots[slot] = NULL;
		conn->free_slots[conn->free_slot_count++] = (uint16_t)slot;
	}
}

void conn_fail_request(struct conn *conn, struct request *request, int status, const char *text)
{
	struct annals_error error;
	client_error(
		&error, status, "%s%s", text, request->sent ? "; the request had been sent" : "");
	list_remove(&request->node);
	conn_slot_release(conn, request);
	request->complete(request, status, NULL, &error);
}

void conn_fail_all(struct annals_client *client, int status, const char *text)
{
	struct conn *conn = &client->conn;
	while (!list_is_empty(&conn->flying)) {
		conn_fail_request(
			conn, LIST_ENTRY(conn->flying.next, struct request, node), status, text);
	}
	while (!list_is_empty(&conn->waiting)) {
		conn_fail_request(
			conn, LIST_ENTRY(conn->waiting.next, struct request, node), status, text);
	}
}

bool request_cancel(
	struct annals_client *client, struct request *request, int status, const char *text)
{
	if (list_is_empty(&request->node)) {
		return false;
	}
	if (request->written > 0 && request->written < request->frame_bytes) {
		conn_lost(client, ANNALS_E_DISCONNECTED,
			"a request was given up while it was being sent");
		return true; /* completed with the connection */
	}
	conn_fail_request(&client->conn, request, status, text);
	return true;
}

/* Gives up the requests of one list whose time is over. True when one of them was half in the
 * socket. */
static bool expire_list(struct conn *conn, struct list_node *list, uint64_t now_ns)
{
	struct list_node *node, *following;
	LIST_FOR_EACH_SAFE (node, following, list) {
		struct request *request = LIST_ENTRY(node, struct request, node);
		if (request->deadline_ns > now_ns) {
			conn->requests_deadline_ns =
				ANNALS_MIN(conn->requests_deadline_ns, request->deadline_ns);
			continue;
		}
		if (request->written > 0 && request->written < request->frame_bytes) {
			return true;
		}
		conn_fail_request(conn, request, ANNALS_E_TIMEOUT,
			conn->state == CONN_READY ? "no answer in time" : "no connection in time");
		/* The callback may have changed the list: begin again. */
		following = list->next;
	}
	return false;
}

bool conn_expire(struct conn *conn, uint64_t now_ns)
{
	return expire_list(conn, &conn->flying, now_ns) ||
	       expire_list(conn, &conn->waiting, now_ns);
}

/* Gives the request a correlation and its header. False when too many are in flight. */
static bool prepare(struct conn *conn, struct request *request)
{
	if (request->correlation != 0) {
		return true;
	}
	if (conn->free_slot_count == 0) {
		return false;
	}
	unsigned slot = conn->free_slots[--conn->free_slot_count];
	size_t data_bytes = 0;
	for (size_t i = 0; i < request->data_count; i++) {
		data_bytes += request->data[i].size;
	}
	/* The generation tells a late answer from the answer to the slot's next request; never 0.
	 */
	conn->generation =
		conn->generation + 1 >= (1u << (32 - SLOT_BITS)) ? 1 : conn->generation + 1;
	request->correlation = conn->generation << SLOT_BITS | slot;
	request->frame_bytes = FRAME_HEADER_BYTES + request->control.size + data_bytes;
	frame_write_header(request->header, FRAME_REQUEST, request->operation, 0,
		request->correlation, request->control.size, data_bytes);
	conn->slots[slot] = request;
	return true;
}

/* Adds what is left of one run of bytes; *skip counts bytes already written. */
static int add_iov(struct iovec *iov, int count, const void *data, size_t size, size_t *skip)
{
	if (*skip >= size) {
		*skip -= size;
		return count;
	}
	iov[count].iov_base = (uint8_t *)(uintptr_t)data + *skip;
	iov[count].iov_len = size - *skip;
	*skip = 0;
	return count + 1;
}

/* Gathers as many waiting requests as fit into one writev. */
static int gather(struct conn *conn, struct iovec *iov)
{
	int count = 0;
	struct list_node *node;
	LIST_FOR_EACH (node, &conn->waiting) {
		struct request *request = LIST_ENTRY(node, struct request, node);
		if (conn->state != CONN_READY && request != conn->hello) {
			break;
		}
		if (count + 2 + (int)request->data_count > IOV_COUNT || !prepare(conn, request)) {
			break;
		}
		size_t skip = request->written;
		count = add_iov(iov, count, request->header, FRAME_HEADER_BYTES, &skip);
		count = add_iov(iov, count, request->control.data, request->control.size, &skip);
		for (size_t i = 0; i < request->data_count; i++) {
			count = add_iov(
				iov, count, request->data[i].data, request->data[i].size, &skip);
		}
	}
	return count;
}

/* Accounts for written bytes: whole requests fly. */
static void written(struct conn *conn, size_t bytes)
{
	while (bytes > 0) {
		struct request *request = LIST_ENTRY(conn->waiting.next, struct request, node);
		size_t left = request->frame_bytes - request->written;
		request->sent = true;
		if (bytes < left) {
			request->written += bytes;
			return;
		}
		request->written = request->frame_bytes;
		bytes -= left;
		list_remove(&request->node);
		list_add_tail(&conn->flying, &request->node);
	}
}

void conn_want_events(struct annals_client *client, uint32_t events)
{
	struct conn *conn = &client->conn;
	if (conn->fd < 0 || conn->epoll_events == events) {
		return;
	}
	struct epoll_event event = {.events = events, .data = {.fd = conn->fd}};
	if (epoll_ctl(client->epoll_fd, conn->epoll_events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
		    conn->fd, &event) == 0) {
		conn->epoll_events = events;
	}
}

void conn_flush(struct annals_client *client)
{
	struct conn *conn = &client->conn;
	struct iovec iov[IOV_COUNT];
	while (conn->state >= CONN_HELLO) {
		int count = gather(conn, iov);
		if (count == 0) {
			conn_want_events(client, EPOLLIN);
			return;
		}
		struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
		ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0) {
			written(conn, (size_t)sent);
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			conn_want_events(client, EPOLLIN | EPOLLOUT);
			return;
		} else if (errno != EINTR) {
			conn_lost(client, ANNALS_E_DISCONNECTED, "sending failed: %s",
				strerror(errno));
			return;
		}
	}
}
