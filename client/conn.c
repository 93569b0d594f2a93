/* The connection's life: losing it, reconnecting with back-off, events and time. All on the I/O
 * side. */
#include "conn_internal.h"

#include <annals/clock.h>
#include <annals/macros.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int conn_init(struct conn *conn)
{
	memset(conn, 0, sizeof(*conn));
	conn->fd = -1;
	list_init(&conn->waiting);
	list_init(&conn->flying);
	conn->requests_deadline_ns = NO_DEADLINE;
	conn->in = malloc(IN_BYTES);
	for (unsigned i = 0; i < SLOT_COUNT; i++) {
		conn->free_slots[i] = (uint16_t)i;
	}
	conn->free_slot_count = SLOT_COUNT;
	return conn->in ? ANNALS_OK : ANNALS_E_NO_MEMORY;
}

void conn_release(struct conn *conn)
{
	if (conn->fd >= 0) {
		close(conn->fd);
		conn->fd = -1;
	}
	free(conn->page);
	free(conn->in);
	conn->page = NULL;
	conn->in = NULL;
}

static uint64_t backoff_ns(struct annals_client *client)
{
	uint64_t min_ms = client->options->numbers[ANNALS_OPTION_RECONNECT_MIN_MS];
	uint64_t max_ms = client->options->numbers[ANNALS_OPTION_RECONNECT_MAX_MS];
	unsigned failures = client->conn.failures;
	/* The other addresses are tried before any pause. */
	if (failures == 0 || failures % client->server_count != 0) {
		return 0;
	}
	unsigned doublings = ANNALS_MIN(failures / client->server_count - 1, 20u);
	uint64_t pause_us = ANNALS_MIN(min_ms << doublings, ANNALS_MAX(max_ms, min_ms)) * 1000u;
	return (pause_us / 2 + random_below(&client->jitter, pause_us / 2 + 1)) * 1000u;
}

void conn_lost(struct annals_client *client, int status, const char *format, ...)
{
	struct conn *conn = &client->conn;
	char text[200];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	struct annals_error error;
	client_error(&error, status, "%s: %s", client->servers[conn->server], text);

	if (conn->fd >= 0) {
		close(conn->fd);
		conn->fd = -1;
	}
	bool was_ready = conn->state == CONN_READY;
	conn->epoll_events = 0;
	conn->state = CONN_DOWN;
	conn->in_start = conn->in_end = 0;
	page_free(&client->pages, conn->page);
	conn->page = NULL;
	conn->failures = was_ready ? 0 : conn->failures + 1;
	conn->server = (conn->server + 1) % client->server_count;
	/* One that just worked is tried again at once, but not in a tight loop. */
	conn->deadline_ns = clock_monotonic_ns() + (was_ready ? 1000000u : backoff_ns(client));

	pthread_mutex_lock(&client->lock);
	client->fatal = status == ANNALS_E_UNAUTHENTICATED || status == ANNALS_E_FORBIDDEN ||
					status == ANNALS_E_UNSUPPORTED_VERSION
				? status
				: 0;
	pthread_mutex_unlock(&client->lock);

	if (conn->hello) {
		struct request *hello = conn->hello;
		conn->hello = NULL;
		list_remove(&hello->node);
		conn_slot_release(conn, hello);
		request_release(hello);
		free(hello);
	}
	char lost[256];
	snprintf(lost, sizeof(lost), "the connection was lost: %.220s", error.text);
	while (!list_is_empty(&conn->flying)) {
		conn_fail_request(conn, LIST_ENTRY(conn->flying.next, struct request, node),
			ANNALS_E_DISCONNECTED, lost);
	}
	struct list_node *node, *following;
	LIST_FOR_EACH_SAFE (node, following, &conn->waiting) {
		struct request *request = LIST_ENTRY(node, struct request, node);
		if (request->sent) {
			conn_fail_request(conn, request, ANNALS_E_DISCONNECTED, lost);
		} else if (request->correlation != 0) {
			conn_slot_release(conn, request);
			request->correlation = 0;
		}
	}
	LIST_FOR_EACH_SAFE (node, following, &client->consumers) {
		consumer_connection_lost(consumer_of_node(node));
	}
	client_set_state(client, ANNALS_STATE_CONNECTING, &error);
}

void conn_events(struct annals_client *client, uint32_t events, uint64_t now_ns)
{
	struct conn *conn = &client->conn;
	if (conn->state == CONN_CONNECTING) {
		int failed = 0;
		socklen_t size = sizeof(failed);
		if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0) {
			failed = errno;
		}
		if (failed) {
			conn_lost(client, ANNALS_E_DISCONNECTED, "cannot connect: %s",
				strerror(failed));
			return;
		}
		if (!(events & EPOLLOUT)) {
			return;
		}
		conn_send_hello(client, now_ns);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		conn_read_input(client, now_ns);
	}
}

static void ping_complete(struct request *request, int status, const struct frame *response,
	const struct annals_error *error)
{
	(void)status;
	(void)response;
	(void)error;
	request_release(request);
	free(request);
}

static void keep_alive(struct annals_client *client, uint64_t now_ns)
{
	struct conn *conn = &client->conn;
	uint64_t idle_ns = client->options->numbers[ANNALS_OPTION_IDLE_PING_MS] * 1000000u;
	if (conn->state != CONN_READY || now_ns < conn->heard_ns + idle_ns) {
		return;
	}
	if (conn->ping_sent) {
		if (now_ns >= conn->heard_ns + 2 * idle_ns) {
			conn_lost(
				client, ANNALS_E_DISCONNECTED, "the server does not answer pings");
		}
		return;
	}
	struct request *ping = malloc(sizeof(*ping));
	if (ping) {
		request_init(ping, FRAME_PING, ping_complete, NULL);
		request_enqueue(client, ping);
		conn->ping_sent = true;
	}
}

void conn_turn(struct annals_client *client, uint64_t now_ns)
{
	struct conn *conn = &client->conn;
	if (conn->state == CONN_DOWN && now_ns >= conn->deadline_ns) {
		conn_start(client, now_ns);
	} else if ((conn->state == CONN_CONNECTING || conn->state == CONN_HELLO) &&
		   now_ns >= conn->deadline_ns) {
		conn_lost(client, ANNALS_E_TIMEOUT, "no answer within %llu ms",
			(unsigned long long)
				client->options->numbers[ANNALS_OPTION_CONNECT_TIMEOUT_MS]);
	}
	keep_alive(client, now_ns);
	if (now_ns >= conn->requests_deadline_ns) {
		conn->requests_deadline_ns = NO_DEADLINE;
		if (conn_expire(conn, now_ns)) {
			conn_lost(client, ANNALS_E_TIMEOUT, "the server stopped reading");
			conn->requests_deadline_ns = now_ns;
		}
	}
}

uint64_t conn_deadline(const struct annals_client *client)
{
	const struct conn *conn = &client->conn;
	uint64_t idle_ns = client->options->numbers[ANNALS_OPTION_IDLE_PING_MS] * 1000000u;
	uint64_t own_ns = conn->state != CONN_READY
				  ? conn->deadline_ns
				  : conn->heard_ns + (conn->ping_sent ? 2 * idle_ns : idle_ns);
	return ANNALS_MIN(own_ns, conn->requests_deadline_ns);
}
