/*
 * What the parts of the connection share: conn.c (its life), conn_connect.c (making one),
 * conn_requests.c (frames out) and conn_receive.c (frames in). All on the I/O side.
 */
#ifndef ANNALS_CLIENT_CONN_INTERNAL_H
#define ANNALS_CLIENT_CONN_INTERNAL_H

#include "io.h"

#define IN_BYTES ((size_t)(64 << 10)) /* of conn->in */

/* --- conn_connect.c */

/* Opens a socket to the current server and begins to connect. May block while a name is resolved.
 */
void conn_start(struct annals_client *client, uint64_t now_ns);
/* Puts the hello in front of everything that waits; its answer makes the connection ready. */
void conn_send_hello(struct annals_client *client, uint64_t now_ns);

/* --- conn_requests.c */

void conn_want_events(struct annals_client *client, uint32_t events);
/* A request that has no slot is fine. */
void conn_slot_release(struct conn *conn, struct request *request);
/* Completes one request with the status; its maker may free it inside. */
void conn_fail_request(struct conn *conn, struct request *request, int status, const char *text);
/* Gives up the requests whose time is over. True when one of them was half in the socket: the
 * connection is of no use any more. */
bool conn_expire(struct conn *conn, uint64_t now_ns);

/* --- conn_receive.c */

/* Reads until the socket is empty or enough was read for one turn. */
void conn_read_input(struct annals_client *client, uint64_t now_ns);

#endif
