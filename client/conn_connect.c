/* Making a connection: names, sockets, hello. All on the I/O side. */
#include "conn_internal.h"

#include "control.h"

#include <annals/build.h>
#include <annals/parse.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

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

void conn_send_hello(struct annals_client *client, uint64_t now_ns)
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

void conn_start(struct annals_client *client, uint64_t now_ns)
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
	conn_want_events(client, EPOLLIN | EPOLLOUT);
}
