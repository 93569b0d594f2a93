#include "net/listener.h"
#include "net/conn.h"
#include "net/tls.h"
#include "server.h"
#include <annals/log.h>
#include <annals/parse.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define ACCEPTS_PER_TURN 64
#define RETRY_NS (100ull * 1000 * 1000)

static int open_socket(const struct addrinfo *info, bool reuse_port)
{
	int on = 1;
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -1;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (reuse_port) {
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	}
	if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
		int saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static int socket_port(int fd, uint16_t *ret_port)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
		return -1;
	}
	*ret_port = ntohs(address.ss_family == AF_INET6
				  ? ((struct sockaddr_in6 *)(void *)&address)->sin6_port
				  : ((struct sockaddr_in *)(void *)&address)->sin_port);
	return 0;
}

int listener_bind(const char *address, uint16_t port_override, bool shared, int *ret_fd,
	uint16_t *ret_port, struct error *err)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *info = NULL;
	char host[256];
	char service[8];
	uint16_t port;
	int failed;
	int fd;

	if (parse_host_port(bytes_text(address), host, &port) != 0) {
		return error_fail(
			err, ANNALS_E_INVALID, "'%s' is not an address: write host:port", address);
	}
	port = port_override != 0 ? port_override : port;
	(void)snprintf(service, sizeof(service), "%u", port);
	failed = getaddrinfo(host[0] != 0 ? host : NULL, service, &hints, &info);
	if (failed != 0) {
		return error_fail(
			err, ANNALS_E_IO, "cannot resolve '%s': %s", host, gai_strerror(failed));
	}
	/* Without SO_REUSEPORT first: another server on this port must be an error, not a partner.
	 */
	fd = port_override == 0 ? open_socket(info, false) : -1;
	if (shared && (fd >= 0 || port_override != 0)) {
		if (fd >= 0) {
			(void)socket_port(fd, &port);
			close(fd);
			((struct sockaddr_in *)(void *)info->ai_addr)->sin_port = htons(port);
		}
		fd = open_socket(info, true);
	}
	failed = errno;
	freeaddrinfo(info);
	if (fd < 0 && failed == EADDRINUSE) {
		return error_fail(err, ANNALS_E_IO,
			"cannot listen on '%s': the port is in use; stop the other program or "
			"choose another port",
			address);
	}
	if (fd < 0) {
		return error_errno(err, ANNALS_E_IO, failed, "cannot listen on '%s'", address);
	}
	if (socket_port(fd, ret_port) != 0) {
		close(fd);
		return error_errno(
			err, ANNALS_E_IO, errno, "cannot ask for the port of '%s'", address);
	}
	*ret_fd = fd;
	return 0;
}

static void refuse(struct listener *listener, int fd)
{
	uint8_t text[1024];
	struct loop *loop = listener->loop;
	counter_add(&loop->counters.connections_refused, 1);
	if (listener->protocol->refusal != NULL && loop->server->tls == NULL) {
		size_t size = listener->protocol->refusal(text, sizeof(text));
		ssize_t n = send(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)n;
	}
	/* Reading what has come keeps the close from resetting the connection under the answer. */
	(void)shutdown(fd, SHUT_WR);
	(void)!recv(fd, text, sizeof(text), MSG_DONTWAIT);
	close(fd);
}

static void on_retry(struct loop_timer *timer)
{
	struct listener *listener = ANNALS_CONTAINER_OF(timer, struct listener, retry);
	if (event_add(listener->event, NULL) != 0) {
		loop_timer_set(listener->loop, &listener->retry, RETRY_NS);
		return;
	}
	listener->paused = false;
}

static void pause_accepting(struct listener *listener)
{
	int failed = errno;
	counter_add(&listener->loop->counters.connections_refused, 1);
	log_warning("cannot accept a connection, trying again shortly", "protocol",
		listener->protocol->name, "error", strerror(failed), "hint",
		"raise the limit of open files (ulimit -n)");
	listener->paused = true;
	(void)event_del(listener->event);
	loop_timer_set(listener->loop, &listener->retry, RETRY_NS);
}

static void accepted(struct listener *listener, int fd, const struct sockaddr_storage *peer)
{
	struct loop *loop = listener->loop;
	const struct transport_ops *transport = &transport_plain;
	void *state = NULL;
	unsigned open = atomic_load_explicit(&loop->server->connections, memory_order_relaxed);

	if (open >= loop->options->connections_max) {
		refuse(listener, fd);
		return;
	}
	if (loop->server->tls != NULL) {
		transport = &transport_tls;
		state = tls_state_new(loop->server->tls, fd);
		if (state == NULL) {
			close(fd);
			return;
		}
	}
	if (conn_open(loop, fd, peer, listener->protocol, transport, state) != 0) {
		counter_add(&loop->counters.connections_refused, 1);
	}
}

static void on_accept(evutil_socket_t fd, short what ANNALS_UNUSED, void *arg)
{
	struct listener *listener = arg;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		struct sockaddr_storage peer;
		socklen_t size = sizeof(peer);
		int accepted_fd;
		memset(&peer, 0, sizeof(peer));
		accepted_fd =
			accept4(fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (accepted_fd >= 0) {
			accepted(listener, accepted_fd, &peer);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			pause_accepting(listener);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

int listener_open(struct loop *loop, int fd, const struct protocol_ops *protocol)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	if (listener == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	listener->loop = loop;
	listener->fd = fd;
	listener->protocol = protocol;
	loop_timer_init(&listener->retry, on_retry);
	listener->event =
		event_new(loop->base, fd, (short)(EV_READ | EV_PERSIST), on_accept, listener);
	if (listener->event == NULL || event_add(listener->event, NULL) != 0) {
		if (listener->event != NULL) {
			event_free(listener->event);
		}
		free(listener);
		return ANNALS_E_NO_MEMORY;
	}
	list_add_tail(&loop->listeners, &listener->node);
	return 0;
}

void listener_close_all(struct loop *loop)
{
	struct list_node *node;
	while ((node = list_pop(&loop->listeners)) != NULL) {
		struct listener *listener = LIST_ENTRY(node, struct listener, node);
		loop_timer_stop(loop, &listener->retry);
		event_free(listener->event);
		close(listener->fd);
		free(listener);
	}
}
