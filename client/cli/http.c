#include "http.h"

#include <annals/clock.h>
#include <annals/parse.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (32u << 20)

void cli_http_release(struct cli_http *http)
{
	buf_release(&http->path);
	buf_release(&http->answer);
}

int cli_http_path(struct cli_http *http, const char *text, const char *encoded)
{
	int status = buf_add_text(&http->path, text);
	for (const char *at = encoded; at != NULL && *at != 0 && status == 0; at++) {
		const bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
				   (*at >= '0' && *at <= '9') || strchr("._~-", *at) != NULL;
		status = plain ? buf_add_byte(&http->path, (uint8_t)*at)
			       : buf_printf(&http->path, "%%%02X", (unsigned)(uint8_t)*at);
	}
	return status;
}

static bool wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd wait = {.fd = fd, .events = events};
	for (;;) {
		const uint64_t now_ns = clock_monotonic_ns();
		if (now_ns >= deadline_ns) {
			return false;
		}
		const int ready = poll(&wait, 1, (int)((deadline_ns - now_ns) / 1000000 + 1));
		if (ready > 0 || (ready < 0 && errno != EINTR)) {
			return ready > 0;
		}
	}
}

static int dial_one(const struct addrinfo *at, uint64_t deadline_ns)
{
	int error = 0;
	socklen_t size = sizeof(error);
	const int fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -1;
	}
	if (connect(fd, at->ai_addr, at->ai_addrlen) < 0 &&
		(errno != EINPROGRESS || !wait_for(fd, POLLOUT, deadline_ns) ||
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static int dial(const char *address, uint64_t deadline_ns)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *all = NULL;
	char host[256], service[8];
	uint16_t port;
	int fd = -1;
	if (parse_host_port(bytes_text(address), host, &port) != 0) {
		return -1;
	}
	(void)snprintf(service, sizeof(service), "%u", (unsigned)port);
	if (getaddrinfo(host, service, &hints, &all) != 0) {
		return -1;
	}
	for (const struct addrinfo *at = all; at != NULL && fd < 0; at = at->ai_next) {
		fd = dial_one(at, deadline_ns);
	}
	freeaddrinfo(all);
	return fd;
}

static bool send_all(int fd, const struct buf *request, uint64_t deadline_ns)
{
	size_t done = 0;
	while (done < request->size) {
		const ssize_t sent =
			send(fd, request->data + done, request->size - done, MSG_NOSIGNAL);
		if (sent > 0) {
			done += (size_t)sent;
		} else if (errno == EAGAIN ? !wait_for(fd, POLLOUT, deadline_ns) : errno != EINTR) {
			return false;
		}
	}
	return true;
}

/* Until the server closes. */
static bool receive_all(int fd, struct buf *answer, uint64_t deadline_ns)
{
	while (answer->size <= ANSWER_BYTES_MAX && buf_reserve(answer, 65536) == 0) {
		const ssize_t got = recv(fd, answer->data + answer->size, 65535, 0);
		if (got == 0) {
			return true;
		}
		if (got > 0) {
			answer->size += (size_t)got;
		} else if (errno == EAGAIN ? !wait_for(fd, POLLIN, deadline_ns) : errno != EINTR) {
			return false;
		}
	}
	return false;
}

/* Status and body; the body is as long as the answer says. */
static bool parse_answer(struct cli_http *http)
{
	const char *text = buf_text(&http->answer);
	const char *end = text == NULL ? NULL : strstr(text, "\r\n\r\n");
	if (end == NULL || strncmp(text, "HTTP/1.1 ", 9) != 0) {
		return false;
	}
	const char *length = strcasestr(text, "\r\nContent-Length:");
	const size_t left = http->answer.size - (size_t)(end + 4 - text);
	http->status = (int)strtol(text + 9, NULL, 10);
	http->body = bytes_of(end + 4, left);
	return length == NULL || length > end || strtoul(length + 17, NULL, 10) == left;
}

static int make_request(const struct cli *cli, const struct cli_http *http, const char *address,
	const char *method, const char *content_type, struct bytes body, struct buf *out)
{
	const char *token = cli->token != NULL ? cli->token : getenv("ANNALS_TOKEN");
	int status = buf_printf(out, "%s %.*s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n",
		method, (int)http->path.size, (const char *)http->path.data, address);
	if (status == 0 && token != NULL && strpbrk(token, "\r\n") == NULL) {
		status = buf_printf(out, "Authorization: Bearer %s\r\n", token);
	}
	if (status == 0 && content_type != NULL) {
		status = buf_printf(out, "Content-Type: %s\r\n", content_type);
	}
	status = status != 0 ? status : buf_printf(out, "Content-Length: %zu\r\n\r\n", body.size);
	return status != 0 || body.size == 0 ? status : buf_add(out, body.data, body.size);
}

int cli_http_exchange(struct cli *cli, struct cli_http *http, const char *method,
	const char *content_type, struct bytes body)
{
	ANNALS_CLEANUP(buf_release) struct buf request = BUF_INIT;
	const char *variable = getenv("ANNALS_HTTP");
	const char *address = http->address != NULL                  ? http->address
			      : variable != NULL && variable[0] != 0 ? variable
								     : "127.0.0.1:7480";
	const uint64_t deadline_ns = clock_monotonic_ns() + cli->timeout_us * 1000;
	if (make_request(cli, http, address, method, content_type, body, &request) != 0) {
		return cli_fail(ANNALS_E_NO_MEMORY, "out of memory");
	}
	buf_reset(&http->answer);
	const int fd = dial(address, deadline_ns);
	const bool done = fd >= 0 && send_all(fd, &request, deadline_ns) &&
			  receive_all(fd, &http->answer, deadline_ns) && parse_answer(http);
	if (fd >= 0) {
		(void)close(fd);
	}
	return done ? CLI_OK
		    : cli_fail(ANNALS_E_UNAVAILABLE,
			      "no whole answer from '%s'; does annalsd serve HTTP there? (--http "
			      "HOST:PORT or ANNALS_HTTP)",
			      address);
}

/* ---- Answers ---- */

bool cli_json_member(struct bytes object, const char *name, struct json_value *ret)
{
	struct json_scanner scanner;
	struct json_value found;
	json_scanner_init(&scanner, object);
	if (json_enter_object(&scanner) != 0) {
		return false;
	}
	while (json_next_name(&scanner, &found) == 1 && json_scan(&scanner, ret) == 0) {
		if (json_string_is(&found, name)) {
			return true;
		}
	}
	return false;
}

const char *cli_json_text(struct bytes object, const char *name, struct buf *out)
{
	struct json_value value;
	struct bytes text = {NULL, 0};
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	buf_reset(out);
	if (cli_json_member(object, name, &value)) {
		text = value.raw;
		if (value.type == JSON_STRING && json_string(&value, &scratch, &text) != 0) {
			return "";
		}
	}
	if (text.size > 0 && buf_add(out, text.data, text.size) != 0) {
		return "";
	}
	const char *result = buf_text(out);
	return result != NULL ? result : "";
}

void cli_print_violations(const struct cli *cli, struct bytes object, FILE *file)
{
	static const char *const names[] = {
		"version", "offset", "reader", "rule", "path", "detail"};
	struct json_value array;
	struct json_scanner scanner;
	struct table table;
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	size_t count = 0;
	if (!cli_json_member(object, "violations", &array)) {
		return;
	}
	json_scanner_init(&scanner, array.raw);
	if (json_enter_array(&scanner) != 0) {
		return;
	}
	table_init(&table, cli, 7, ">version", ">offset", "reader", "rule", "path", "detail",
		"breaks");
	while (json_next_element(&scanner) == 1) {
		struct json_value one, breaks;
		if (json_scan(&scanner, &one) != 0) {
			break;
		}
		for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
			table_add(&table, "%s", cli_json_text(one.raw, names[i], &text));
		}
		const bool has = cli_json_member(one.raw, "breaks", &breaks);
		const bool backward =
			has && memmem(breaks.raw.data, breaks.raw.size, "backward", 8) != NULL;
		const bool forward =
			has && memmem(breaks.raw.data, breaks.raw.size, "forward", 7) != NULL;
		table_add(&table, "%s",
			backward && forward ? "both"
			: backward          ? "backward"
			: forward           ? "forward"
					    : "-");
		count++;
	}
	if (count > 0) {
		table_print(&table, file);
	} else {
		buf_release(&table.text);
	}
}

int cli_http_problem(const struct cli_http *http, const char *what)
{
	ANNALS_CLEANUP(buf_release) struct buf detail = BUF_INIT;
	(void)cli_json_text(http->body, "detail", &detail);
	fprintf(stderr, "annals: %s: %s\n", what,
		detail.size > 0 ? (const char *)detail.data : "the server refused");
	switch (http->status) {
	case 404:
	case 410:
		return CLI_NOT_FOUND;
	case 409:
		return CLI_CONFLICT;
	case 503:
		return CLI_UNREACHABLE;
	case 400:
	case 413:
	case 415:
	case 422:
		return CLI_BAD_INPUT;
	default:
		return CLI_FAILED;
	}
}
