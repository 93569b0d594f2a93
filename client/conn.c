/* The connection: addresses, hello, reconnecting with back-off, frames in and out. All on the I/O
 * side. */
#include "io.h"

#include "control.h"
#include <annals/build.h>
#include <annals/clock.h>
#include <annals/macros.h>
#include <annals/parse.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define IN_BYTES ((size_t)(64 << 10))
#define READ_BYTES_PER_TURN ((size_t)(8 << 20))
#define IOV_COUNT 64

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

/* --- requests */

void request_enqueue(struct annals_client *client, struct request *request)
{
	struct conn *conn = &client->conn;
	request->written = 0;
	request->sent = false;
	request->correlation = 0;
	list_add_tail(&conn->waiting, &request->node);
	conn->requests_deadline_ns = ANNALS_MIN(conn->requests_deadline_ns, request->deadline_ns);
}

static void give_slot_back(struct conn *conn, struct request *request)
{
	unsigned slot = request->correlation & (SLOT_COUNT - 1);
	if (request->correlation != 0 && conn->slots[slot] == request) {
		conn->slots[slot] = NULL;
		conn->free_slots[conn->free_slot_count++] = (uint16_t)slot;
	}
}

static void fail_request(struct conn *conn, struct request *request, int status, const char *text)
{
	struct annals_error error;
	client_error(
		&error, status, "%s%s", text, request->sent ? "; the request had been sent" : "");
	list_remove(&request->node);
	give_slot_back(conn, request);
	request->complete(request, status, NULL, &error);
}

void conn_fail_all(struct annals_client *client, int status, const char *text)
{
	struct conn *conn = &client->conn;
	while (!list_is_empty(&conn->flying)) {
		fail_request(
			conn, LIST_ENTRY(conn->flying.next, struct request, node), status, text);
	}
	while (!list_is_empty(&conn->waiting)) {
		fail_request(
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
	fail_request(&client->conn, request, status, text);
	return true;
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

static void want_events(struct annals_client *client, uint32_t events)
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
			want_events(client, EPOLLIN);
			return;
		}
		struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
		ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0) {
			written(conn, (size_t)sent);
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			want_events(client, EPOLLIN | EPOLLOUT);
			return;
		} else if (errno != EINTR) {
			conn_lost(client, ANNALS_E_DISCONNECTED, "sending failed: %s",
				strerror(errno));
			return;
		}
	}
}

/* --- losing and making the connection */

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
		give_slot_back(conn, hello);
		request_release(hello);
		free(hello);
	}
	char lost[256];
	snprintf(lost, sizeof(lost), "the connection was lost: %.220s", error.text);
	while (!list_is_empty(&conn->flying)) {
		fail_request(conn, LIST_ENTRY(conn->flying.next, struct request, node),
			ANNALS_E_DISCONNECTED, lost);
	}
	struct list_node *node, *following;
	LIST_FOR_EACH_SAFE (node, following, &conn->waiting) {
		struct request *request = LIST_ENTRY(node, struct request, node);
		if (request->sent) {
			fail_request(conn, request, ANNALS_E_DISCONNECTED, lost);
		} else if (request->correlation != 0) {
			give_slot_back(conn, request);
			request->correlation = 0;
		}
	}
	LIST_FOR_EACH_SAFE (node, following, &client->consumers) {
		consumer_connection_lost(consumer_of_node(node));
	}
	client_set_state(client, ANNALS_STATE_CONNECTING, &error);
}

static void hello_complete(struct request *request, int status, const struct frame *response,
	const struct annals_error *error)
{
	struct annals_client *client = request->arg;
	struct conn *conn = &client->conn;
	conn->hello = NULL;
	request_release(request);
	free(request);
	if (status != ANNALS_OK) {
		conn_lost(client, status, "%s", error->text);
		return;
	}
	Annals__V1__HelloResponse *message = annals__v1__hello_response__unpack(
		NULL, response->control.size, response->control.data);
	if (!message) {
		conn_lost(client, ANNALS_E_MALFORMED, "the hello answer is malformed");
		return;
	}
	pthread_mutex_lock(&client->lock);
	struct annals_server_info *info = &client->server;
	snprintf(info->name, sizeof(info->name), "%s", message->server_name);
	snprintf(info->version, sizeof(info->version), "%s", message->server_version);
	snprintf(info->store_uuid, sizeof(info->store_uuid), "%s", message->store_uuid);
	snprintf(info->address, sizeof(info->address), "%s", client->servers[conn->server]);
	info->protocol_version = message->version;
	pthread_mutex_unlock(&client->lock);
	annals__v1__hello_response__free_unpacked(message, NULL);
	conn->state = CONN_READY;
	conn->failures = 0;
	conn->ping_sent = false;
	client_set_state(client, ANNALS_STATE_READY, NULL);
}

static void send_hello(struct annals_client *client, uint64_t now_ns)
{
	struct conn *conn = &client->conn;
	const struct annals_options *options = client->options;
	Annals__V1__HelloRequest message = ANNALS__V1__HELLO_REQUEST__INIT;
	message.magic = FRAME_HELLO_MAGIC;
	message.version_min = FRAME_VERSION_MIN;
	message.version_max = FRAME_VERSION_MAX;
	/* protobuf-c wants writable texts and does not write. */
	message.client_name =
		(char *)(uintptr_t)(options->client_name ? options->client_name : "libannals");
	message.client_version = (char *)(uintptr_t)ANNALS_VERSION;
	message.token = (char *)(uintptr_t)(options->token ? options->token : "");
	struct request *hello = malloc(sizeof(*hello));
	size_t size = annals__v1__hello_request__get_packed_size(&message);
	if (hello) {
		request_init(hello, FRAME_HELLO, hello_complete, client);
	}
	if (!hello || buf_reserve(&hello->control, size) != ANNALS_OK) {
		free(hello);
		conn_lost(client, ANNALS_E_NO_MEMORY, "no memory for the hello request");
		return;
	}
	hello->control.size = annals__v1__hello_request__pack(&message, hello->control.data);
	conn->hello = hello;
	conn->state = CONN_HELLO;
	conn->heard_ns = now_ns;
	list_add_head(&conn->waiting, &hello->node);
}

/* One socket for one address; names may take a while. */
static int open_socket(const char *server, int *ret_fd, struct error *err)
{
	char host[256], service[8];
	uint16_t port;
	if (parse_host_port(bytes_text(server), host, &port) != ANNALS_OK) {
		return error_fail(err, ANNALS_E_INVALID, "'%s' is no server address", server);
	}
	snprintf(service, sizeof(service), "%u", port);
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
				.ai_socktype = SOCK_STREAM,
				.ai_flags = AI_NUMERICHOST},
			*found;
	int failed = getaddrinfo(host, service, &hints, &found);
	if (failed == EAI_NONAME) {
		hints.ai_flags = AI_ADDRCONFIG;
		failed = getaddrinfo(host, service, &hints, &found);
	}
	if (failed) {
		return error_fail(err, ANNALS_E_DISCONNECTED, "cannot resolve '%s': %s", host,
			gai_strerror(failed));
	}
	int fd = -1, last = 0;
	for (struct addrinfo *each = found; each && fd < 0; each = each->ai_next) {
		fd = socket(each->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, each->ai_addr, each->ai_addrlen) != 0 &&
			errno != EINPROGRESS) {
			last = errno;
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(found);
	if (fd < 0) {
		return error_errno(err, ANNALS_E_DISCONNECTED, last, "cannot connect");
	}
	int one = 1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*ret_fd = fd;
	return ANNALS_OK;
}

static void start_connecting(struct annals_client *client, uint64_t now_ns)
{
	struct conn *conn = &client->conn;
	struct error err = {0, ""};
	int status = open_socket(client->servers[conn->server], &conn->fd, &err);
	if (status != ANNALS_OK) {
		conn_lost(client, status, "%s", err.text);
		return;
	}
	conn->state = CONN_CONNECTING;
	conn->deadline_ns =
		now_ns + client->options->numbers[ANNALS_OPTION_CONNECT_TIMEOUT_MS] * 1000000u;
	want_events(client, EPOLLIN | EPOLLOUT);
}

/* --- frames in */

static int dispatch(struct annals_client *client, const struct frame *frame, struct page **page,
	struct error *err)
{
	struct conn *conn = &client->conn;
	if (frame->kind == FRAME_PUSH) {
		return consumer_push(client, frame, page, err);
	}
	if (frame->kind != FRAME_RESPONSE) {
		return error_fail(
			err, ANNALS_E_MALFORMED, "the server sent a frame of kind %u", frame->kind);
	}
	struct request *request = conn->slots[frame->correlation & (SLOT_COUNT - 1)];
	if (frame->correlation == 0 && conn->hello && frame->status != 0) {
		request = conn->hello; /* refused before the hello was understood */
	} else if (!request || request->correlation != frame->correlation) {
		return ANNALS_OK; /* the answer to a request that was given up */
	}
	list_remove(&request->node);
	give_slot_back(conn, request);
	if (frame->status != 0) {
		struct annals_error error;
		int status = request_error_decode(frame, &error);
		request->complete(request, status, NULL, &error);
	} else {
		request->complete(request, ANNALS_OK, frame, NULL);
	}
	return ANNALS_OK;
}

/* Handles every whole frame in the buffer; a large one that is not whole gets a page of its own. */
static int parse_input(struct annals_client *client, struct error *err)
{
	struct conn *conn = &client->conn;
	size_t frame_bytes_max = client->options->numbers[ANNALS_OPTION_FRAME_BYTES_MAX];
	while (conn->in_end > conn->in_start) {
		struct frame frame;
		size_t needed = 0, have = conn->in_end - conn->in_start;
		int got = frame_parse(bytes_of(conn->in + conn->in_start, have), frame_bytes_max,
			&frame, &needed, err);
		if (got < 0) {
			return got;
		}
		if (got == 0) {
			if (needed <= IN_BYTES / 2) {
				break;
			}
			conn->page = page_new(&client->pages, needed);
			if (!conn->page) {
				return error_fail(err, ANNALS_E_NO_MEMORY,
					"no memory for a frame of %zu bytes", needed);
			}
			memcpy(conn->page->bytes, conn->in + conn->in_start, have);
			conn->page->size = have;
			conn->in_start = conn->in_end = 0;
			return ANNALS_OK;
		}
		struct page *none = NULL;
		conn->in_start += frame.size;
		got = dispatch(client, &frame, &none, err);
		if (got < 0) {
			return got;
		}
		if (conn->fd < 0) {
			return ANNALS_OK; /* the connection ended inside */
		}
	}
	if (conn->in_start > 0) {
		conn->in_end -= conn->in_start;
		memmove(conn->in, conn->in + conn->in_start, conn->in_end);
		conn->in_start = 0;
	}
	return ANNALS_OK;
}

static int finish_page(struct annals_client *client, struct error *err)
{
	struct conn *conn = &client->conn;
	struct page *page = conn->page;
	if (!page || page->size < page->capacity) {
		return ANNALS_OK;
	}
	conn->page = NULL;
	struct frame frame;
	size_t needed;
	int got = frame_parse(bytes_of(page->bytes, page->size),
		client->options->numbers[ANNALS_OPTION_FRAME_BYTES_MAX], &frame, &needed, err);
	if (got == 0) {
		got = error_fail(err, ANNALS_E_MALFORMED, "a frame changed its size");
	}
	if (got > 0) {
		got = dispatch(client, &frame, &page, err);
	}
	page_free(&client->pages, page);
	return got;
}

/* Reads until the socket is empty or enough was read for one turn. */
static void read_input(struct annals_client *client, uint64_t now_ns)
{
	struct conn *conn = &client->conn;
	size_t total = 0;
	while (conn->fd >= 0 && total < READ_BYTES_PER_TURN) {
		struct iovec iov[2];
		int count = 0;
		struct page *page = conn->page;
		size_t page_left = page ? page->capacity - page->size : 0;
		if (page) {
			iov[count++] = (struct iovec){page->bytes + page->size, page_left};
		}
		iov[count++] = (struct iovec){conn->in + conn->in_end, IN_BYTES - conn->in_end};
		ssize_t got = readv(conn->fd, iov, count);
		if (got < 0 && errno == EINTR) {
			continue;
		}
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			return;
		}
		if (got <= 0) {
			conn_lost(client, ANNALS_E_DISCONNECTED, "%s",
				got == 0 ? "the server closed the connection" : strerror(errno));
			return;
		}
		conn->heard_ns = now_ns;
		conn->ping_sent = false;
		total += (size_t)got;
		if (page) {
			size_t into_page = ANNALS_MIN((size_t)got, page_left);
			page->size += into_page;
			conn->in_end += (size_t)got - into_page;
		} else {
			conn->in_end += (size_t)got;
		}
		struct error err = {0, ""};
		int status = finish_page(client, &err);
		if (status >= 0 && conn->fd >= 0 && !conn->page) {
			status = parse_input(client, &err);
		}
		if (status < 0) {
			conn_lost(client, ANNALS_E_MALFORMED, "%s", err.text);
		}
	}
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
		send_hello(client, now_ns);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		read_input(client, now_ns);
	}
}

/* --- time */

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

/* Gives up the requests of one list whose time is over. True when one of them was half in the
 * socket. */
static bool expire(struct conn *conn, struct list_node *list, uint64_t now_ns)
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
		fail_request(conn, request, ANNALS_E_TIMEOUT,
			conn->state == CONN_READY ? "no answer in time" : "no connection in time");
		/* The callback may have changed the list: begin again. */
		following = list->next;
	}
	return false;
}

void conn_turn(struct annals_client *client, uint64_t now_ns)
{
	struct conn *conn = &client->conn;
	if (conn->state == CONN_DOWN && now_ns >= conn->deadline_ns) {
		start_connecting(client, now_ns);
	} else if ((conn->state == CONN_CONNECTING || conn->state == CONN_HELLO) &&
		   now_ns >= conn->deadline_ns) {
		conn_lost(client, ANNALS_E_TIMEOUT, "no answer within %llu ms",
			(unsigned long long)
				client->options->numbers[ANNALS_OPTION_CONNECT_TIMEOUT_MS]);
	}
	keep_alive(client, now_ns);
	if (now_ns >= conn->requests_deadline_ns) {
		conn->requests_deadline_ns = NO_DEADLINE;
		if (expire(conn, &conn->flying, now_ns) || expire(conn, &conn->waiting, now_ns)) {
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
