/* A server in this process with its journal in memory, and a client that speaks raw HTTP/1.1. One
 * of each per test. */
#ifndef TESTS_HTTP_FIXTURE_H
#define TESTS_HTTP_FIXTURE_H

#include "server.h"
#include <annals/buf.h>
#include <check.h>

extern struct server test_server;

/* Checked fixtures: server_setup() with every default, or server_setup_with() from a test's own
 * setup. */
void server_setup(void);
void server_setup_with(void (*change)(struct options *options));
void server_teardown(void);

struct http_response {
	int status;
	char head[16384];    /* status line and headers, NUL-terminated */
	struct buf body;     /* decoded; NUL-terminated */
	bool chunked, clean; /* clean: the body ended as it should */
};

/* A connection. All functions fail the test when nothing comes for 10 s. */
struct http_client {
	int fd;
	struct buf input;
};
void client_open(struct http_client *client);
void client_close(struct http_client *client);
void client_send(struct http_client *client, const void *data, size_t size);
void client_send_text(struct http_client *client, const char *text);
/* Waits for one response; has_body false for answers to HEAD. */
void client_receive(struct http_client *client, struct http_response *response, bool has_body);
/* Reads until `text` has come; returns everything so far (also past it), NUL-terminated; fails the
 * test after 10 s or at the end. */
const char *client_read_until(struct http_client *client, const char *text);
/* True when the server closes the connection within 5 s without sending more. */
bool client_is_closed(struct http_client *client);
void response_release(struct http_response *response);
/* A header's value into out ("" if there is none). */
const char *response_header(const struct http_response *response, const char *name, char out[1024]);

/* One request on a connection of its own. headers: complete lines with CRLF, or NULL. body NULL:
 * none. The result lies in a static place until the next ask. */
const struct http_response *ask(
	const char *method, const char *path, const char *headers, const char *body);
/* The same and fails the test unless the status is this. */
const char *ask_for(
	int status, const char *method, const char *path, const char *headers, const char *body);
/* The request fails with this status, problem type and a text that says so. */
void ask_problem(int status, const char *type, const char *says, const char *method,
	const char *path, const char *headers, const char *body);

/* The number behind "name": in a JSON text, first occurrence; fails the test if there is none. */
uint64_t json_number(const char *text, const char *name);
/* As strstr(), without its cost under a sanitizer. */
const char *find_text(const char *text, const char *part);
/* How often `part` occurs. */
size_t count_of(const char *text, const char *part);

#endif
