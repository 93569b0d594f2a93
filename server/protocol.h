/*
 * A protocol: a const table over the connection layer (net/conn.h). Everything runs on the
 * connection's loop thread.
 *
 * A protocol has two halves, a pure parser and the glue that fills this table. The glue parses in
 * input(), begins a request (request.h) for each thing that wants an answer, runs an operation
 * (ops.h), writes the answer with request_write() and ends the request.
 */
#ifndef SERVER_PROTOCOL_H
#define SERVER_PROTOCOL_H

#include <annals/bytes.h>
#include <stdbool.h>
#include <sys/types.h>

struct conn;
struct request;

enum protocol_match { PROTOCOL_NO, PROTOCOL_MAYBE, PROTOCOL_YES };

/* input() results below 0. */
#define PROTOCOL_CLOSE (-1) /* close at once */

struct protocol_ops {
	const char *name;    /* in logs, metrics, options: "binary", "http" */
	size_t state_size;   /* allocated with the connection, zeroed; conn_state() */
	size_t request_size; /* bytes of the protocol's request structure, whose first member is
				struct request */
	/* True: answers leave in the order of request_begin(), whatever order they are written in.
	 * False: at once, they carry ids. */
	bool ordered;
	/* Recognises the protocol by the first bytes on a shared port. NULL: never shared. */
	enum protocol_match (*match)(struct bytes first);
	/* A connection was accepted. Non-zero closes it. May be NULL. */
	int (*open)(struct conn *conn);
	/*
	 * Unconsumed input. Returns how many bytes were consumed; 0: more are needed (conn_need()
	 * says how many, if known); PROTOCOL_CLOSE. Called again at once while it consumes
	 * something and bytes are left, so one call may handle one request or many. Not called
	 * while input is paused, while requests-in-flight-max requests are open, or while too much
	 * output waits. The bytes are gone when it returns.
	 */
	ssize_t (*input)(struct conn *conn, struct bytes input);
	/*
	 * The peer will send nothing more (it may still read) and all input was offered. NULL:
	 * requests in flight are answered, then the connection is closed. Set it to give up a
	 * stream that nobody reads: conn_close().
	 */
	void (*input_end)(struct conn *conn);
	/*
	 * The answer being sent ends only when the peer leaves: nothing behind it will ever be
	 * answered, so that a peer that has ended its side has left, whatever input is unread.
	 * NULL: there are no such answers.
	 */
	bool (*is_endless)(const struct conn *conn);
	/*
	 * Output fell below the low mark (conn_can_write() turned true), or another request became
	 * the first of an ordered connection. Producers of long answers go on here: request_first()
	 * and request_can_write().
	 */
	void (*writable)(struct conn *conn);
	/* A deadline passed (conn_set_phase()). May write a last answer and conn_finish(). NULL:
	 * the connection is closed. */
	void (*deadline)(struct conn *conn);
	/* The server drains: no new work from now on, say goodbye where the protocol has words for
	 * it. NULL: closed as soon as nothing is in flight. */
	void (*drain)(struct conn *conn);
	/* The connection dies with this request open: release what it holds (op_release()), write
	 * nothing. The layer frees the request afterwards. */
	void (*abandon)(struct request *request);
	/* Last call: release what the state holds. Every request was abandoned before. May be NULL.
	 */
	void (*close)(struct conn *conn);
	/* Writes what a connection over connections-max is told before it is closed; returns the
	 * size, at most `room`. May be NULL. */
	size_t (*refusal)(uint8_t *out, size_t room);
};

extern const struct protocol_ops protocol_native;
extern const struct protocol_ops protocol_http;

#endif
