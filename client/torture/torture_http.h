/*
 * The least of an HTTP/1.1 client that a torture run needs: one connection, one request at a time,
 * answers with a Content-Length. It tells apart what was surely not sent from what may have
 * arrived.
 */
#ifndef CLIENT_TORTURE_HTTP_H
#define CLIENT_TORTURE_HTTP_H

#include "history.h"

#include <annals/buf.h>
#include <annals/client.h>

struct http_connection {
	int fd; /* -1: none */
	char address[64];
	struct buf request, answer; /* answer: head and body, NUL-terminated */
};
/* The address is copied: "127.0.0.1:7480". */
void http_connection_init(struct http_connection *connection, const char *address);
void http_connection_release(struct http_connection *connection);
/*
 * Sends connection->request and reads the answer. Returns the HTTP status and sets *ret_body (in
 * connection->answer, valid until the next call); ANNALS_E_UNAVAILABLE when the request was surely
 * not sent, ANNALS_E_DISCONNECTED or ANNALS_E_TIMEOUT when it may have been carried out. After an
 * error the connection is made anew.
 */
int http_exchange(struct http_connection *connection, unsigned timeout_ms,
	const char **ret_body) ANNALS_MUST_CHECK;

/* http_exchange() of a request made of these; `head` holds whole lines. ANNALS_E_UNAVAILABLE also
 * without memory. */
int http_ask(struct http_connection *connection, const char *method, const char *path,
	const char *head, struct bytes body, const char **ret_body) ANNALS_MUST_CHECK;
/* A number in the head of the last answer. */
bool http_header_number(const struct http_connection *connection, const char *name, uint64_t *ret);

/* What an answer to a request that changes something means. */
enum history_outcome http_outcome(int status, const char *body);
/* The number behind the first "name": of a JSON text. */
bool http_json_number(const char *json, const char *name, uint64_t *ret);
/* The text behind the first "name":" up to the next quote, empty if there is none: what torture
 * clients put there holds no escapes. */
struct annals_bytes http_json_text(const char *json, const char *name);

#endif
