/*
 * The connection, for every protocol and transport. One loop thread owns it for its whole life.
 *
 * Reading: one growing buffer, allocated when the first byte comes and given up when it is empty,
 * filled until EAGAIN (at most 256 KiB a turn). Bytes go to protocol_ops.input. Reading stops (the
 * kernel then holds the peer back) while input is paused, while requests-in-flight-max requests are
 * open and while output-bytes-max bytes of answers wait.
 *
 * Writing: everything written in one turn of the loop leaves with one writev at its end; after
 * EAGAIN the rest waits for the socket.
 *
 * Deadlines: see conn_set_phase(). A peer that does not read for idle-timeout while output waits is
 * closed.
 */
#ifndef SERVER_NET_CONN_H
#define SERVER_NET_CONN_H

#include "loop.h"
#include "net/output.h"
#include "net/transport.h"
#include "protocol.h"
#include "request.h"
#include <annals/buf.h>
#include <annals/list.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

/* Why a connection was closed: the log, and annals_connections_closed_total{reason}. */
enum conn_close_reason {
	CONN_CLOSE_PEER,        /* the peer closed or reset it */
	CONN_CLOSE_DONE,        /* the protocol was finished with it */
	CONN_CLOSE_PROTOCOL,    /* bytes that cannot be understood */
	CONN_CLOSE_DEADLINE,    /* a request did not arrive in time */
	CONN_CLOSE_IDLE,        /* nothing happened for idle-timeout */
	CONN_CLOSE_SLOW_READER, /* answers were not read for idle-timeout */
	CONN_CLOSE_DRAIN,       /* the server stops */
	CONN_CLOSE_NO_MEMORY,
	CONN_CLOSE_ERROR, /* the socket or TLS failed */
	CONN_CLOSE_LIMIT, /* connections-max */
	CONN_CLOSE_REASONS
};
const char *conn_close_reason_name(enum conn_close_reason reason);

/* What the connection waits for from its peer, and so which deadline holds. */
enum conn_phase {
	CONN_IDLE, /* between requests: idle-timeout, once no request is in flight and nothing holds
		      it (conn_hold()) */
	CONN_HEADER, /* in the middle of a header or a small frame: header-timeout from the moment
			this phase began */
	CONN_BODY,   /* in a body: header-timeout plus one second for each CONN_BODY_RATE_BYTES
			received since the phase began */
	CONN_BUSY,   /* no deadline */
};
#define CONN_BODY_RATE_BYTES 4096u

struct conn {
	struct loop *loop;
	const struct protocol_ops *protocol;
	const struct transport_ops *transport;
	void *transport_state;
	int fd;
	uint64_t id; /* in the log */
	struct sockaddr_storage peer;

	/* Private to conn.c from here on. */
	struct list_node node; /* in loop->conns */
	struct list_node
		turn_node; /* in loop->conns_turn: something to do at the end of the turn */
	struct list_node bulk_node; /* in loop->bulk.conns: waits to go on */
	struct list_node requests;
	unsigned request_count;
	struct event *event;
	struct buf input;
	size_t input_start;
	size_t input_needed;
	struct output output;
	struct loop_timer timer;
	uint64_t phase_since_ns, phase_bytes, active_ns, output_moved_ns;
	unsigned holds;
	unsigned char phase;
	unsigned char close_reason;
	bool readable, writable; /* what the last event said and EAGAIN has not taken back */
	bool input_paused, input_ended, input_end_told;
	bool others_first; /* requests are left that came before this turn */
	bool finishing, shut, closing, draining, wants_low_mark, first_changed;
	bool peer_ended, recv_wants_write, send_wants_read;
	unsigned char counter; /* enum counter_protocol */
	size_t queued_bytes;   /* answers of ordered requests that wait for their turn */
};

/* The protocol's state, state_size bytes. */
void *conn_state(struct conn *conn);

/*
 * Takes over a connected non-blocking socket. 0, ANNALS_E_NO_MEMORY or what protocol_ops.open
 * returned; the socket is closed on errors.
 */
int conn_open(struct loop *loop, int fd, const struct sockaddr_storage *peer,
	const struct protocol_ops *protocol, const struct transport_ops *transport,
	void *transport_state) ANNALS_MUST_CHECK;

/* Writes outside any request: greetings, pushes. As request_write() and request_write_buf(); must
 * not be used inside an ordered answer. */
void conn_write(struct conn *conn, const void *data, size_t size);
void conn_write_buf(struct conn *conn, struct buf *data);
/* Less than output-bytes-max, and less than one turn of the loop may send, wait to be sent. Once it
 * returned false, protocol_ops.writable is called when less than half of that waits. */
bool conn_can_write(struct conn *conn);
/* Bytes waiting to be sent. */
size_t conn_output_bytes(const struct conn *conn);

/* input() needs at least so many bytes before it can go on, counted from the first unconsumed one.
 * Room is made for them; reset by every input() call. */
void conn_need(struct conn *conn, size_t size_bytes);
/* Stops and restarts calls of input() and reading. Resuming offers what is buffered at the end of
 * the turn, never from within. */
void conn_pause_input(struct conn *conn);
void conn_resume_input(struct conn *conn);

void conn_set_phase(struct conn *conn, enum conn_phase phase);
/* While held (subscriptions, streams), the idle deadline does not apply. Counted. */
void conn_hold(struct conn *conn);
void conn_unhold(struct conn *conn);

/*
 * Closes at the end of the turn; open requests are abandoned then. Output that waits is dropped.
 */
void conn_close(struct conn *conn, enum conn_close_reason reason);
/*
 * Ends politely: no further input, requests in flight are answered, output is flushed, the sending
 * side is shut, and what the peer still sends is discarded for at most two seconds, so that the
 * last answer is not lost to a reset. Then closes.
 */
void conn_finish(struct conn *conn, enum conn_close_reason reason);
/* Text of the peer's address and port, "127.0.0.1:51312", in one of a few static buffers per
 * thread. */
const char *conn_peer_text(const struct conn *conn);

/* For request.c: there is something to do at the end of the turn. */
void conn_touch(struct conn *conn);
/* For the loop: sends, closes and resumes whatever the turn has left to do. */
void conn_end_turn(struct loop *loop);
/* For the loop: tells every connection that the server drains; closes the idle ones. */
void conn_drain_all(struct loop *loop);
/* For the loop: closes every connection at once. */
void conn_close_all(struct loop *loop, enum conn_close_reason reason);

#endif
