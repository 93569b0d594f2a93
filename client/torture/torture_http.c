#include "torture_http.h"

#include <annals/clock.h>
#include <annals/parse.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (4u << 20)
#define CALL_MS 500u

void http_connection_init(struct http_connection *connection, const char *address)
{
	*connection = (struct http_connection){.fd = -1};
	(void)snprintf(connection->address, sizeof(connection->address), "%s", address);
}

static void drop(struct http_connection *connection)
{
	if (connection->fd >= 0) {
		(void)close(connection->fd);
	}
	connection->fd = -1;
}

void http_connection_release(struct http_connection *connection)
{
	drop(connection);
	buf_release(&connection->request);
	buf_release(&connection->answer);
}

/* Waits until the socket can be used; false at the deadline. */
static bool wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd wait = {.fd = fd, .events = events};
	uint64_t now_ns = clock_monotonic_ns();
	int ready;

	do {
		int left_ms =
			deadline_ns > now_ns ? (int)((deadline_ns - now_ns) / 1000000) + 1 : 0;
		ready = poll(&wait, 1, left_ms);
		now_ns = clock_monotonic_ns();
	} while (ready < 0 && errno == EINTR);
	return ready > 0;
}

static int dial(struct http_connection *connection, uint64_t deadline_ns)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	char host[256];
	uint16_t port;
	int one = 1, error = 0;
	socklen_t size = sizeof(error);

	if (parse_host_port(bytes_text(connection->address), host, &port) != 0 ||
		inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		return ANNALS_E_UNAVAILABLE;
	}
	address.sin_port = htons(port);
	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0) {
		return ANNALS_E_UNAVAILABLE;
	}
	(void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(connection->fd, (struct sockaddr *)&address, sizeof(address)) < 0 &&
		(errno != EINPROGRESS || !wait_for(connection->fd, POLLOUT, deadline_ns) ||
			getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 ||
			error != 0)) {
		drop(connection);
		return ANNALS_E_UNAVAILABLE;
	}
	return 0;
}

static int send_all(struct http_connection *connection, uint64_t deadline_ns)
{
	size_t done = 0;

	while (done < connection->request.size) {
		ssize_t sent = send(connection->fd, connection->request.data + done,
			connection->request.size - done, MSG_NOSIGNAL);
		if (sent > 0) {
			done += (size_t)sent;
		} else if (errno != EINTR && errno != EAGAIN) {
			return ANNALS_E_DISCONNECTED;
		} else if (errno == EAGAIN && !wait_for(connection->fd, POLLOUT, deadline_ns)) {
			return ANNALS_E_TIMEOUT;
		}
	}
	return 0;
}

/* The bytes of the whole answer once its head is there, else 0. */
static size_t answer_size(const struct http_connection *connection, const char **ret_body)
{
	const char *text = (const char *)connection->answer.data;
	const char *end = strstr(text, "\r\n\r\n");
	const char *length = strcasestr(text, "\r\ncontent-length:");

	if (end == NULL) {
		return 0;
	}
	*ret_body = end + 4;
	return (size_t)(end + 4 - text) +
	       (length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

static int receive(struct http_connection *connection, uint64_t deadline_ns, const char **ret_body)
{
	struct buf *answer = &connection->answer;

	buf_reset(answer);
	for (;;) {
		if (answer->size > ANSWER_BYTES_MAX || buf_reserve(answer, 16384) != 0) {
			return ANNALS_E_DISCONNECTED;
		}
		ssize_t got = recv(connection->fd, answer->data + answer->size,
			answer->capacity - answer->size - 1, 0);
		if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) {
			return ANNALS_E_DISCONNECTED;
		}
		if (got < 0) {
			if (errno == EAGAIN && !wait_for(connection->fd, POLLIN, deadline_ns)) {
				return ANNALS_E_TIMEOUT;
			}
			continue;
		}
		answer->size += (size_t)got;
		answer->data[answer->size] = 0;
		size_t size = answer_size(connection, ret_body);
		if (size > 0 && answer->size >= size) {
			break;
		}
	}
	return strncmp((const char *)answer->data, "HTTP/1.1 ", 9) == 0
		       ? (int)strtol((const char *)answer->data + 9, NULL, 10)
		       : ANNALS_E_DISCONNECTED;
}

int http_exchange(struct http_connection *connection, unsigned timeout_ms, const char **ret_body)
{
	uint64_t deadline_ns = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	int status = connection->fd >= 0 ? 0 : dial(connection, deadline_ns);

	if (status == 0) {
		status = send_all(connection, deadline_ns);
	}
	if (status == 0) {
		status = receive(connection, deadline_ns, ret_body);
	}
	if (status < 0) {
		drop(connection);
	}
	return status;
}

int http_ask(struct http_connection *connection, const char *method, const char *path,
	const char *head, struct bytes body, const char **ret_body)
{
	struct buf *request = &connection->request;

	buf_reset(request);
	if (buf_printf(request, "%s %s HTTP/1.1\r\nHost: torture\r\nContent-Length: %zu\r\n%s\r\n",
		    method, path, body.size, head) != 0 ||
		(body.size > 0 && buf_add(request, body.data, body.size) != 0)) {
		return ANNALS_E_UNAVAILABLE;
	}
	return http_exchange(connection, CALL_MS, ret_body);
}

bool http_header_number(const struct http_connection *connection, const char *name, uint64_t *ret)
{
	const char *text = (const char *)connection->answer.data;
	const char *end = strstr(text, "\r\n\r\n");
	char line[80];
	const char *found;

	(void)snprintf(line, sizeof(line), "\r\n%s: ", name);
	found = strcasestr(text, line);
	if (end == NULL || found == NULL || found > end) {
		return false;
	}
	*ret = strtoull(found + strlen(line), NULL, 10);
	return true;
}

enum history_outcome http_outcome(int status, const char *body)
{
	if (status == 200) {
		return HISTORY_DONE;
	}
	if (status == 412 || status == 409) {
		return HISTORY_CONFLICT;
	}
	if (status == ANNALS_E_UNAVAILABLE) {
		return HISTORY_REFUSED;
	}
	if (status < 0 || status == 500 || strstr(body, "outcome-unknown") != NULL) {
		return HISTORY_UNKNOWN;
	}
	return HISTORY_REFUSED;
}

bool http_json_number(const char *json, const char *name, uint64_t *ret)
{
	char quoted[40];
	const char *found;

	(void)snprintf(quoted, sizeof(quoted), "\"%s\":", name);
	found = strstr(json, quoted);
	if (found == NULL) {
		return false;
	}
	*ret = strtoull(found + strlen(quoted), NULL, 10);
	return true;
}

struct annals_bytes http_json_text(const char *line, const char *name)
{
	char quoted[40];
	const char *found;

	(void)snprintf(quoted, sizeof(quoted), "\"%s\":\"", name);
	found = strstr(line, quoted);
	if (found == NULL) {
		return annals_text("");
	}
	found += strlen(quoted);
	return (struct annals_bytes){found, strcspn(found, "\"")};
}
