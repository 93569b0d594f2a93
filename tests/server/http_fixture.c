#include "http_fixture.h"
#include <annals/log.h>
#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct server test_server;
static struct options options;
static char data_dir[64];
static struct http_response last;

static void replace(char **text, const char *value)
{
	free(*text);
	*text = strdup(value);
	ck_assert_ptr_nonnull(*text);
}

void server_setup_with(void (*change)(struct options *options))
{
	struct error err = {0};
	log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	snprintf(data_dir, sizeof(data_dir), "/tmp/annals-http-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(data_dir));
	ck_assert_int_eq(options_init(&options), 0);
	replace(&options.data_dir, data_dir);
	replace(&options.http, "127.0.0.1:0");
	replace(&options.binary, "127.0.0.1:0");
	replace(&options.journal, "memory");
	options.map_bytes = 256u << 20;
	options.loops = 1;
	if (change != NULL) {
		change(&options);
	}
	const int status = server_start(&test_server, &options, &err);
	ck_assert_msg(status == 0, "%s", err.text);
}

void server_setup(void)
{
	server_setup_with(NULL);
}

static int remove_entry(const char *path, const struct stat *stat ANNALS_UNUSED,
	int type ANNALS_UNUSED, struct FTW *ftw ANNALS_UNUSED)
{
	return remove(path);
}

void server_teardown(void)
{
	response_release(&last);
	server_stop(&test_server);
	options_release(&options);
	(void)nftw(data_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void client_open(struct http_client *client)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(test_server.http_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(client->fd, 0);
	ck_assert_int_eq(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	client->input = BUF_INIT;
}

void client_close(struct http_client *client)
{
	close(client->fd);
	buf_release(&client->input);
}

void client_send(struct http_client *client, const void *data, size_t size)
{
	const uint8_t *at = data;
	while (size > 0) {
		const ssize_t sent = send(client->fd, at, size, MSG_NOSIGNAL);
		if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) {
			return; /* refused early: what the server said can still be read */
		}
		ck_assert_int_gt(sent, 0);
		at += sent;
		size -= (size_t)sent;
	}
}

void client_send_text(struct http_client *client, const char *text)
{
	client_send(client, text, strlen(text));
}

/* Reads something: true, or false at the end of the stream. */
static bool read_some(struct http_client *client, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
	ck_assert_msg(poll(&poll_fd, 1, timeout_ms) == 1, "nothing came");
	ck_assert_int_eq(buf_reserve(&client->input, 65536), 0);
	const ssize_t size = recv(client->fd, client->input.data + client->input.size, 65536, 0);
	if (size > 0) {
		client->input.size += (size_t)size;
	}
	return size > 0;
}

/* strstr() under the address sanitizer looks at all of a long text every time. */
const char *find_text(const char *text, const char *part)
{
	const size_t size = strlen(part);
	for (; *text != 0; text++) {
		if (*text == *part && strncmp(text, part, size) == 0) {
			return text;
		}
	}
	return NULL;
}

const char *client_read_until(struct http_client *client, const char *text)
{
	const size_t size = strlen(text);
	size_t from = 0;
	while (client->input.size == 0 ||
		find_text(buf_text(&client->input) + from, text) == NULL) {
		from = client->input.size > size ? client->input.size - size : 0;
		ck_assert_msg(read_some(client, 10000), "the connection ended before '%s'", text);
	}
	return buf_text(&client->input);
}

bool client_is_closed(struct http_client *client)
{
	struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
	char byte;
	return client->input.size == 0 && poll(&poll_fd, 1, 5000) == 1 &&
	       recv(client->fd, &byte, 1, 0) <= 0;
}

const char *response_header(const struct http_response *response, const char *name, char out[1024])
{
	const size_t size = strlen(name);
	out[0] = 0;
	for (const char *line = strstr(response->head, "\r\n"); line != NULL;
		line = strstr(line + 2, "\r\n")) {
		if (strncasecmp(line + 2, name, size) == 0 && line[2 + size] == ':') {
			snprintf(out, 1024, "%.*s", (int)strcspn(line + size + 4, "\r"),
				line + size + 4);
		}
	}
	return out;
}

static void take(struct http_client *client, struct buf *out, size_t size)
{
	ck_assert_int_eq(buf_add(out, client->input.data, size), 0);
	buf_consume(&client->input, size);
}

/* Waits until so many bytes are there; false at the end of the stream. */
static bool await_bytes(struct http_client *client, size_t size)
{
	while (client->input.size < size) {
		if (!read_some(client, 10000)) {
			return false;
		}
	}
	return true;
}

static void receive_chunks(struct http_client *client, struct http_response *response)
{
	size_t at = 0;
	for (;;) {
		const char *end = NULL;
		while (end == NULL) {
			end = client->input.size > at
				      ? find_text(buf_text(&client->input) + at, "\r\n")
				      : NULL;
			if (end == NULL && !read_some(client, 10000)) {
				return;
			}
		}
		const size_t size = strtoul((const char *)client->input.data + at, NULL, 16);
		at = (size_t)(end - (const char *)client->input.data) + 2;
		if (!await_bytes(client, at + size + 2)) {
			return;
		}
		ck_assert_int_eq(buf_add(&response->body, client->input.data + at, size), 0);
		at += size + 2;
		if (size == 0) {
			buf_consume(&client->input, at);
			response->clean = true;
			return;
		}
	}
}

void client_receive(struct http_client *client, struct http_response *response, bool has_body)
{
	char value[1024];
	response_release(response);
	*response = (struct http_response){.body = BUF_INIT};
	const char *text = client_read_until(client, "\r\n\r\n");
	const size_t head = (size_t)(strstr(text, "\r\n\r\n") - text) + 4;
	ck_assert_uint_lt(head, sizeof(response->head));
	memcpy(response->head, text, head);
	response->head[head] = 0;
	buf_consume(&client->input, head);
	ck_assert_int_eq(sscanf(response->head, "HTTP/1.1 %d ", &response->status), 1);
	response->chunked =
		strcmp(response_header(response, "Transfer-Encoding", value), "chunked") == 0;
	if (has_body && response->chunked) {
		receive_chunks(client, response);
	} else if (has_body && response->status != 204 && response->status != 304) {
		const char *length = response_header(response, "Content-Length", value);
		const size_t size = *length != 0 ? strtoul(length, NULL, 10) : SIZE_MAX;
		while (client->input.size < size && read_some(client, 10000)) {
		}
		response->clean = size == SIZE_MAX || client->input.size >= size;
		take(client, &response->body, ANNALS_MIN(size, client->input.size));
	} else {
		response->clean = true;
	}
	(void)buf_text(&response->body);
}

void response_release(struct http_response *response)
{
	buf_release(&response->body);
}

const struct http_response *ask(
	const char *method, const char *path, const char *headers, const char *body)
{
	struct http_client client;
	struct buf text = BUF_INIT;
	client_open(&client);
	ck_assert_int_eq(buf_printf(&text, "%s %s HTTP/1.1\r\nHost: test\r\n%s", method, path,
				 headers != NULL ? headers : ""),
		0);
	if (body != NULL) {
		ck_assert_int_eq(buf_printf(&text, "Content-Length: %zu\r\n", strlen(body)), 0);
	}
	ck_assert_int_eq(buf_printf(&text, "\r\n%s", body != NULL ? body : ""), 0);
	client_send(&client, text.data, text.size);
	buf_release(&text);
	client_receive(&client, &last, strcmp(method, "HEAD") != 0);
	ck_assert_uint_eq(client.input.size, 0);
	client_close(&client);
	return &last;
}

const char *ask_for(
	int status, const char *method, const char *path, const char *headers, const char *body)
{
	const struct http_response *response = ask(method, path, headers, body);
	const char *text = response->body.size > 0 ? (const char *)response->body.data : "";
	ck_assert_msg(response->status == status, "%s %s: %d instead of %d: %s", method, path,
		response->status, status, text);
	ck_assert(response->clean);
	return text;
}

void ask_problem(int status, const char *type, const char *says, const char *method,
	const char *path, const char *headers, const char *body)
{
	char expected[128], value[1024];
	const char *text = ask_for(status, method, path, headers, body);
	ck_assert_str_eq(response_header(&last, "Content-Type", value), "application/problem+json");
	snprintf(expected, sizeof(expected), "\"type\":\"urn:annals:problem:%s\"", type);
	ck_assert_msg(strstr(text, expected) != NULL, "%s lacks %s", text, expected);
	snprintf(expected, sizeof(expected), "\"status\":%d", status);
	ck_assert_msg(strstr(text, expected) != NULL, "%s lacks %s", text, expected);
	ck_assert_msg(strstr(text, says) != NULL, "%s lacks %s", text, says);
}

uint64_t json_number(const char *text, const char *name)
{
	char key[64];
	snprintf(key, sizeof(key), "\"%s\":", name);
	const char *at = find_text(text, key);
	ck_assert_msg(at != NULL, "no '%s' in %s", name, text);
	return strtoull(at + strlen(key), NULL, 10);
}

size_t count_of(const char *text, const char *part)
{
	size_t count = 0;
	for (const char *at = find_text(text, part); at != NULL;
		at = find_text(at + strlen(part), part)) {
		count++;
	}
	return count;
}
