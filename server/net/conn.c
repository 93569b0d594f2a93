#include "net/conn.h"
#include "server.h"
#include <annals/log.h>
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_STEP_BYTES (64u << 10)
/* What one connection sends and has ready in one turn of the loop: enough to keep a reader busy,
 * and little enough that others wait for it no longer than for a flush. */
#define TURN_BYTES (128u << 10)
/* Answers that wait to be read, above which nothing more is asked for on the peer's behalf. */
#define ANSWERS_BYTES ((uint64_t)256 << 10)
/* ... and this long in handling what it asked, looking at the clock every so many requests. */
#define OFFER_NS 1000000u
#define OFFER_LOOK 32u
#define PIECES_MAX 64
#define LINGER_NS (2ull * 1000 * 1000 * 1000)

static const char *const close_reason_names[CONN_CLOSE_REASONS] = {
	[CONN_CLOSE_PEER] = "peer",
	[CONN_CLOSE_DONE] = "done",
	[CONN_CLOSE_PROTOCOL] = "protocol",
	[CONN_CLOSE_DEADLINE] = "deadline",
	[CONN_CLOSE_IDLE] = "idle",
	[CONN_CLOSE_SLOW_READER] = "slow-reader",
	[CONN_CLOSE_DRAIN] = "drain",
	[CONN_CLOSE_NO_MEMORY] = "no-memory",
	[CONN_CLOSE_ERROR] = "error",
	[CONN_CLOSE_LIMIT] = "limit",
};

const char *conn_close_reason_name(enum conn_close_reason reason)
{
	return close_reason_names[reason];
}

/* The protocol's state lies behind the connection, aligned for anything. */
#define CONN_BYTES ANNALS_ROUND_UP(sizeof(struct conn), 16u)

void *conn_state(struct conn *conn)
{
	return (char *)conn + CONN_BYTES;
}

const char *conn_peer_text(const struct conn *conn)
{
	static _Thread_local char texts[4][INET6_ADDRSTRLEN + 10];
	static _Thread_local unsigned next;
	char *text = texts[next++ % 4];
	char host[INET6_ADDRSTRLEN] = "?";
	if (conn->peer.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 =
			(const struct sockaddr_in6 *)(const void *)&conn->peer;
		(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		(void)snprintf(text, sizeof(texts[0]), "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in =
			(const struct sockaddr_in *)(const void *)&conn->peer;
		(void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		(void)snprintf(text, sizeof(texts[0]), "%s:%u", host, ntohs(in->sin_port));
	}
	return text;
}

/* ---- The turn ---- */

void conn_touch(struct conn *conn)
{
	if (list_is_empty(&conn->turn_node)) {
		list_add_tail(&conn->loop->conns_turn, &conn->turn_node);
	}
}

void conn_close(struct conn *conn, enum conn_close_reason reason)
{
	if (!conn->closing) {
		conn->closing = true;
		if (!conn->finishing) {
			conn->close_reason = (unsigned char)reason;
		}
		conn_touch(conn);
	}
}

void conn_finish(struct conn *conn, enum conn_close_reason reason)
{
	if (!conn->finishing && !conn->closing) {
		conn->finishing = true;
		conn->close_reason = (unsigned char)reason;
		conn_touch(conn);
	}
}

void conn_hold(struct conn *conn)
{
	conn->holds++;
	conn->readable = true; /* a reset may have come with the last bytes: see receive() */
	conn_touch(conn);
}

void conn_unhold(struct conn *conn)
{
	assert(conn->holds > 0);
	conn->holds--;
	conn->active_ns = loop_now_ns(conn->loop);
	conn_touch(conn);
}

/* ---- Deadlines ---- */

static bool accepts_input(const struct conn *conn)
{
	const struct options *options = conn->loop->options;
	return !conn->input_paused && !conn->finishing && !conn->closing &&
	       conn->request_count < options->requests_in_flight_max &&
	       conn_output_bytes(conn) < ANNALS_MIN(options->output_bytes_max, ANSWERS_BYTES);
}

/* When the present state ends by itself; UINT64_MAX: never. */
static uint64_t deadline_of(const struct conn *conn)
{
	const struct options *options = conn->loop->options;
	uint64_t deadline = UINT64_MAX;
	uint64_t phase = UINT64_MAX;

	if (conn->shut) {
		return conn->output_moved_ns + LINGER_NS;
	}
	/* A subscriber may stop reading as long as it likes: what it holds is bounded, and TCP
	 * itself gives up on a peer that does not answer at all. */
	if (conn->output.size_bytes > 0 && conn->holds == 0) {
		deadline = conn->output_moved_ns + options->idle_timeout_us * 1000;
	}
	switch ((enum conn_phase)conn->phase) {
	case CONN_IDLE:
		if (conn->request_count == 0 && conn->holds == 0 && conn->output.size_bytes == 0) {
			phase = conn->active_ns + options->idle_timeout_us * 1000;
		}
		break;
	case CONN_HEADER:
		phase = conn->phase_since_ns + options->header_timeout_us * 1000;
		break;
	case CONN_BODY:
		phase = conn->phase_since_ns + options->header_timeout_us * 1000 +
			conn->phase_bytes / CONN_BODY_RATE_BYTES * 1000000000u;
		break;
	case CONN_BUSY:
		break;
	}
	/* While we do not read, the peer cannot be late. */
	if (conn->phase != CONN_IDLE && !accepts_input(conn)) {
		phase = UINT64_MAX;
	}
	return ANNALS_MIN(deadline, phase);
}

static void arm(struct conn *conn, uint64_t deadline)
{
	uint64_t now = loop_now_ns(conn->loop);
	uint64_t idle = now + conn->loop->options->idle_timeout_us * 1000;
	uint64_t at = ANNALS_MIN(deadline, idle);
	if (!loop_timer_is_set(&conn->timer) || at < conn->timer.deadline_ns) {
		loop_timer_set(conn->loop, &conn->timer, at > now ? at - now : 0);
	}
}

static void on_timer(struct loop_timer *timer)
{
	struct conn *conn = ANNALS_CONTAINER_OF(timer, struct conn, timer);
	uint64_t now = loop_now_ns(conn->loop);
	uint64_t deadline = deadline_of(conn);

	if (conn->closing) {
		return;
	}
	if (now < deadline) {
		arm(conn, deadline);
	} else if (conn->shut) {
		conn_close(conn, CONN_CLOSE_DONE);
	} else if (conn->output.size_bytes > 0 && conn->holds == 0 &&
		   now >= conn->output_moved_ns + conn->loop->options->idle_timeout_us * 1000) {
		conn_close(conn, CONN_CLOSE_SLOW_READER);
	} else if (conn->phase == CONN_IDLE) {
		conn_close(conn, CONN_CLOSE_IDLE);
	} else {
		if (conn->protocol->deadline != NULL) {
			conn->protocol->deadline(conn);
		}
		if (!conn->finishing) {
			conn_close(conn, CONN_CLOSE_DEADLINE);
		}
		/* An answer that waits for its request keeps the connection; look again later. */
		conn->phase = CONN_BUSY;
		arm(conn, UINT64_MAX);
	}
}

void conn_set_phase(struct conn *conn, enum conn_phase phase)
{
	if (conn->phase == (unsigned char)phase) {
		return;
	}
	conn->phase = (unsigned char)phase;
	conn->phase_since_ns = loop_now_ns(conn->loop);
	conn->phase_bytes = 0;
	if (phase == CONN_IDLE) {
		conn->active_ns = conn->phase_since_ns;
	} else if (phase != CONN_BUSY) {
		arm(conn, deadline_of(conn));
	}
}

/* ---- Input ---- */

void conn_need(struct conn *conn, size_t size_bytes)
{
	conn->input_needed = size_bytes;
}

void conn_pause_input(struct conn *conn)
{
	conn->input_paused = true;
}

void conn_resume_input(struct conn *conn)
{
	if (conn->input_paused) {
		conn->input_paused = false;
		conn->phase_since_ns = loop_now_ns(conn->loop);
		conn->phase_bytes = 0;
		conn_touch(conn);
	}
}

/* Offers bytes to the protocol; returns how many it consumed. Thousands of requests that lie there
 * do not go at once: others come first. */
static size_t offer(struct conn *conn, struct bytes input)
{
	const uint64_t begin_ns = input.size > OFFER_LOOK ? clock_monotonic_ns() : 0;
	unsigned offers = 0;
	size_t used = 0;
	while (used < input.size && accepts_input(conn)) {
		ssize_t n;
		if (++offers % OFFER_LOOK == 0 && clock_monotonic_ns() - begin_ns > OFFER_NS) {
			conn->others_first = true;
			conn_touch(conn);
			break;
		}
		conn->input_needed = 0;
		n = conn->protocol->input(conn, bytes_of(input.data + used, input.size - used));
		if (n < 0) {
			conn_close(conn, CONN_CLOSE_PROTOCOL);
			break;
		}
		if (n == 0) {
			break;
		}
		assert((size_t)n <= input.size - used);
		used += (size_t)n;
		conn->input_needed = 0;
	}
	return used;
}

/* Offers what is buffered. */
static void offer_buffered(struct conn *conn)
{
	size_t have = conn->input.size - conn->input_start;
	if (have == 0 || have < conn->input_needed || !accepts_input(conn)) {
		return;
	}
	conn->input_start += offer(conn, bytes_of(conn->input.data + conn->input_start, have));
	if (conn->input_start == conn->input.size) {
		buf_release(&conn->input);
		conn->input_start = 0;
	}
}

/* Room behind the buffered input; the memory follows what has arrived, so that a length alone costs
 * nothing. */
static int make_room(struct conn *conn)
{
	size_t have = conn->input.size - conn->input_start;
	size_t more = ANNALS_MAX((size_t)READ_STEP_BYTES, have);
	if (conn->input_start > 0) {
		buf_consume(&conn->input, conn->input_start);
		conn->input_start = 0;
	}
	if (conn->input_needed > have) {
		more = ANNALS_MIN(more, ANNALS_MAX(conn->input_needed - have, (size_t)4096));
	}
	if (conn->input.capacity - conn->input.size >= more) {
		return 0;
	}
	return buf_reserve(&conn->input, more);
}

static ssize_t receive(struct conn *conn, void *out, size_t room)
{
	unsigned wants = 0;
	ssize_t n = conn->transport->recv(conn->transport_state, conn->fd, out, room, &wants);
	counter_add(&conn->loop->counters.recv_calls, 1);
	if (n > 0) {
		counter_add(&conn->loop->counters.bytes_in, (uint64_t)n);
		conn->phase_bytes += (uint64_t)n;
		conn->active_ns = loop_now_ns(conn->loop);
		/* A reset that comes together with bytes is found by receiving once more. Others
		 * find it when they write; who is held may not write for long. */
		if ((size_t)n < room && conn->transport->short_recv_means_empty &&
			!conn->peer_ended && conn->holds == 0) {
			conn->readable = false;
		}
	} else if (n == 0) {
		conn->input_ended = true;
		conn->readable = false;
	} else if (n == TRANSPORT_AGAIN) {
		conn->readable = false;
		conn->recv_wants_write = (wants & TRANSPORT_WANT_WRITE) != 0;
	} else {
		conn->readable = false;
		conn_close(conn, CONN_CLOSE_PEER);
	}
	return n;
}

/* After the sending side was shut: whatever comes is thrown away. */
static void discard_input(struct conn *conn)
{
	size_t budget = LOOP_READ_BYTES * 4;
	while (conn->readable && budget >= LOOP_READ_BYTES) {
		if (receive(conn, conn->loop->read_buffer, LOOP_READ_BYTES) <= 0) {
			break;
		}
		budget -= LOOP_READ_BYTES;
	}
	if (conn->input_ended) {
		conn_close(conn, CONN_CLOSE_DONE);
	}
}

/* Fresh bytes go to the protocol where they lie; only what it leaves is copied. */
static ssize_t read_fresh(struct conn *conn)
{
	uint8_t *buffer = conn->loop->read_buffer;
	ssize_t n = receive(conn, buffer, LOOP_READ_BYTES);
	size_t used;
	if (n <= 0) {
		return n;
	}
	used = offer(conn, bytes_of(buffer, (size_t)n));
	if (used < (size_t)n && !conn->closing) {
		if (buf_add(&conn->input, buffer + used, (size_t)n - used) != 0) {
			conn_close(conn, CONN_CLOSE_NO_MEMORY);
		}
	}
	return n;
}

static ssize_t read_more(struct conn *conn)
{
	ssize_t n;
	if (make_room(conn) != 0) {
		conn_close(conn, CONN_CLOSE_NO_MEMORY);
		return TRANSPORT_FAILED;
	}
	n = receive(
		conn, conn->input.data + conn->input.size, conn->input.capacity - conn->input.size);
	if (n > 0) {
		conn->input.size += (size_t)n;
		offer_buffered(conn);
	}
	return n;
}

static void read_input(struct conn *conn)
{
	size_t budget = LOOP_READ_BYTES;
	if (conn->shut) {
		discard_input(conn);
		return;
	}
	while (conn->readable && !conn->input_ended && !conn->others_first && accepts_input(conn)) {
		ssize_t n = conn->input.size == 0 ? read_fresh(conn) : read_more(conn);
		if (n <= 0) {
			break;
		}
		if ((size_t)n >= budget) {
			conn_touch(conn); /* others first */
			break;
		}
		budget -= (size_t)n;
	}
}

static void tell_input_end(struct conn *conn)
{
	if (!conn->input_ended || conn->input_end_told || conn->finishing || conn->closing) {
		return;
	}
	/* What is buffered is offered first, as far as limits let it. */
	if (conn->input.size > conn->input_start && (conn->others_first || !accepts_input(conn))) {
		return;
	}
	conn->input_end_told = true;
	if (conn->protocol->input_end != NULL) {
		conn->protocol->input_end(conn);
	} else {
		conn_finish(conn, CONN_CLOSE_PEER);
	}
}

/* Its side may have ended behind input that is not read, or before the stream began. */
static void leave_with_peer(struct conn *conn)
{
	if ((conn->peer_ended || conn->input_ended) && !conn->closing &&
		conn->protocol->is_endless != NULL && conn->protocol->is_endless(conn)) {
		conn_close(conn, CONN_CLOSE_PEER);
	}
}

/* ---- Output ---- */

size_t conn_output_bytes(const struct conn *conn)
{
	return conn->output.size_bytes + conn->queued_bytes;
}

void conn_write(struct conn *conn, const void *data, size_t size)
{
	if (conn->output.size_bytes == 0) {
		conn->output_moved_ns = loop_now_ns(conn->loop);
	}
	if (output_add(&conn->output, conn->loop->output_pool, data, size) != 0) {
		conn_close(conn, CONN_CLOSE_NO_MEMORY);
	}
	conn_touch(conn);
}

void conn_write_buf(struct conn *conn, struct buf *data)
{
	if (conn->output.size_bytes == 0) {
		conn->output_moved_ns = loop_now_ns(conn->loop);
	}
	if (output_add_buf(&conn->output, conn->loop->output_pool, data) != 0) {
		buf_release(data);
		conn_close(conn, CONN_CLOSE_NO_MEMORY);
	}
	conn_touch(conn);
}

static size_t output_limit(const struct conn *conn)
{
	return ANNALS_MIN(conn->loop->options->output_bytes_max, (size_t)TURN_BYTES);
}

bool conn_can_write(struct conn *conn)
{
	if (conn->closing) {
		return false;
	}
	if (conn->output.size_bytes < output_limit(conn)) {
		return true;
	}
	conn->wants_low_mark = true;
	return false;
}

static void send_output(struct conn *conn)
{
	struct iovec pieces[PIECES_MAX];
	size_t budget = TURN_BYTES;

	while (conn->output.size_bytes > 0 && conn->writable && !conn->closing && budget > 0) {
		unsigned wants = 0;
		int count = output_pieces(&conn->output, budget, pieces, PIECES_MAX);
		ssize_t n = conn->transport->send(
			conn->transport_state, conn->fd, pieces, count, &wants);
		counter_add(&conn->loop->counters.send_calls, 1);
		if (n == TRANSPORT_AGAIN) {
			conn->writable = (wants & TRANSPORT_WANT_WRITE) == 0;
			conn->send_wants_read = (wants & TRANSPORT_WANT_READ) != 0;
			arm(conn, deadline_of(conn));
			return;
		}
		if (n < 0) {
			conn_close(conn, CONN_CLOSE_PEER);
			return;
		}
		counter_add(&conn->loop->counters.bytes_out, (uint64_t)n);
		output_consume(&conn->output, conn->loop->output_pool, (size_t)n);
		conn->output_moved_ns = loop_now_ns(conn->loop);
		budget -= ANNALS_MIN(budget, (size_t)n);
	}
	if (conn->output.size_bytes > 0 && conn->writable) {
		conn_touch(conn); /* more than one turn's share: others first */
	}
}

static void tell_writable(struct conn *conn)
{
	bool low = conn->wants_low_mark && conn->output.size_bytes < output_limit(conn) / 2;
	if ((!low && !conn->first_changed) || conn->closing || conn->protocol->writable == NULL) {
		return;
	}
	if (low && !bulk_may_run(conn->loop)) {
		if (list_is_empty(&conn->bulk_node)) {
			bulk_wait(conn->loop, &conn->bulk_node);
		}
		return;
	}
	conn->wants_low_mark = conn->wants_low_mark && !low;
	conn->first_changed = false;
	if (low) {
		const uint64_t begin_ns = clock_monotonic_ns();
		conn->protocol->writable(conn);
		bulk_charge(conn->loop, clock_monotonic_ns() - begin_ns);
	} else {
		conn->protocol->writable(conn);
	}
}

/* ---- Life ---- */

static void on_event(evutil_socket_t fd ANNALS_UNUSED, short what, void *arg)
{
	struct conn *conn = arg;
	if ((what & EV_CLOSED) != 0) {
		conn->peer_ended = true;
		conn->readable = true;
	}
	if ((what & EV_READ) != 0) {
		conn->readable = true;
	}
	if ((what & EV_WRITE) != 0) {
		conn->writable = true;
	}
	if (conn->closing) {
		return;
	}
	if ((conn->recv_wants_write && (what & EV_WRITE) != 0) ||
		(what & (EV_READ | EV_CLOSED)) != 0) {
		conn->readable = true;
		conn->recv_wants_write = false;
		read_input(conn);
	}
	if (conn->send_wants_read) {
		conn->send_wants_read = false;
		conn->writable = true;
	}
	if (conn->output.size_bytes > 0 || conn->input_ended || conn->peer_ended) {
		conn_touch(conn);
	}
}

static void set_socket_options(int fd)
{
	int on = 1;
	int seconds = 60;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
}

static void conn_free(struct conn *conn)
{
	struct loop *loop = conn->loop;
	loop_timer_stop(loop, &conn->timer);
	list_remove(&conn->node);
	list_remove(&conn->turn_node);
	list_remove(&conn->bulk_node);
	if (conn->event != NULL) {
		event_free(conn->event);
	}
	conn->transport->shutdown(conn->transport_state, conn->fd, 1);
	close(conn->fd);
	output_release(&conn->output, loop->output_pool);
	buf_release(&conn->input);
	free(conn);
}

static void destroy(struct conn *conn)
{
	struct loop *loop = conn->loop;
	struct list_node *node;

	while ((node = list_pop(&conn->requests)) != NULL) {
		struct request *request = LIST_ENTRY(node, struct request, node);
		if (!request->ended && conn->protocol->abandon != NULL) {
			conn->protocol->abandon(request);
		}
		output_release(&request->output, loop->output_pool);
		counter_sub(&loop->counters.requests_in_flight[conn->counter], 1);
		loop_free(loop, request, conn->protocol->request_size);
	}
	if (conn->protocol->close != NULL) {
		conn->protocol->close(conn);
	}
	counter_add(&loop->counters.connections_closed[conn->close_reason], 1);
	counter_sub(&loop->counters.connections_open[conn->counter], 1);
	loop->conn_count--;
	atomic_fetch_sub_explicit(&loop->server->connections, 1, memory_order_relaxed);
	log_debug("connection closed", "connection", log_u64(conn->id), "peer",
		conn_peer_text(conn), "reason", conn_close_reason_name(conn->close_reason));
	conn_free(conn);
}

int conn_open(struct loop *loop, int fd, const struct sockaddr_storage *peer,
	const struct protocol_ops *protocol, const struct transport_ops *transport,
	void *transport_state)
{
	struct conn *conn = calloc(1, CONN_BYTES + protocol->state_size);
	int status = ANNALS_E_NO_MEMORY;
	if (conn == NULL) {
		transport->shutdown(transport_state, fd, 1);
		close(fd);
		return status;
	}
	conn->loop = loop;
	conn->protocol = protocol;
	conn->transport = transport;
	conn->transport_state = transport_state;
	conn->fd = fd;
	conn->id = ++loop->next_conn_id * SERVER_LOOPS_MAX + loop->index;
	conn->peer = *peer;
	conn->counter = strcmp(protocol->name, "http") == 0 ? COUNTER_HTTP : COUNTER_BINARY;
	conn->writable = true;
	conn->active_ns = conn->phase_since_ns = conn->output_moved_ns = loop_now_ns(loop);
	list_init(&conn->node);
	list_init(&conn->turn_node);
	list_init(&conn->bulk_node);
	list_init(&conn->requests);
	output_init(&conn->output);
	loop_timer_init(&conn->timer, on_timer);
	set_socket_options(fd);
	conn->event = event_new(loop->base, fd,
		(short)(EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST), on_event, conn);
	if (conn->event == NULL || event_add(conn->event, NULL) != 0) {
		conn_free(conn);
		return status;
	}
	if (protocol->open != NULL && (status = protocol->open(conn)) != 0) {
		conn_free(conn);
		return status;
	}
	list_add_tail(&loop->conns, &conn->node);
	loop->conn_count++;
	counter_add(&loop->counters.connections_accepted[conn->counter], 1);
	counter_add(&loop->counters.connections_open[conn->counter], 1);
	atomic_fetch_add_explicit(&loop->server->connections, 1, memory_order_relaxed);
	arm(conn, deadline_of(conn));
	log_debug("connection opened", "connection", log_u64(conn->id), "protocol", protocol->name,
		"peer", conn_peer_text(conn));
	return 0;
}

static void finish_if_done(struct conn *conn)
{
	if (conn->draining && !conn->finishing && conn->request_count == 0 && conn->holds == 0 &&
		conn->phase == CONN_IDLE) {
		conn_finish(conn, CONN_CLOSE_DRAIN);
	}
	if (!conn->finishing || conn->shut || conn->closing || conn->request_count > 0 ||
		conn->output.size_bytes > 0) {
		return;
	}
	if (conn->input_ended) {
		conn_close(conn, (enum conn_close_reason)conn->close_reason);
		return;
	}
	conn->shut = true;
	conn->output_moved_ns = loop_now_ns(conn->loop);
	conn->transport->shutdown(conn->transport_state, conn->fd, 0);
	buf_release(&conn->input);
	conn->input_start = 0;
	conn->readable = true; /* see what is there to discard */
	arm(conn, deadline_of(conn));
	read_input(conn);
}

static void end_turn_of(struct conn *conn)
{
	bool blocked = false;
	conn->others_first = false;
	if (!conn->closing) {
		offer_buffered(conn);
		if (conn->readable) {
			read_input(conn);
		}
		tell_input_end(conn);
		blocked = !accepts_input(conn);
	}
	if (!conn->closing) {
		send_output(conn);
		tell_writable(conn);
		leave_with_peer(conn); /* a stream may have begun */
		if (blocked && accepts_input(conn)) {
			conn_touch(conn); /* what was held back goes on in the next turn */
		}
		finish_if_done(conn);
	}
	if (conn->closing) {
		destroy(conn);
	}
}

void conn_end_turn(struct loop *loop)
{
	struct list_node conns;
	struct list_node *node;
	list_init(&conns);
	list_splice(&conns, &loop->conns_turn);
	while ((node = list_pop(&conns)) != NULL) {
		end_turn_of(LIST_ENTRY(node, struct conn, turn_node));
	}
}

void conn_drain_all(struct loop *loop)
{
	struct list_node *node;
	LIST_FOR_EACH (node, &loop->conns) {
		struct conn *conn = LIST_ENTRY(node, struct conn, node);
		conn->draining = true;
		if (conn->protocol->drain != NULL) {
			conn->protocol->drain(conn);
		}
		conn_touch(conn);
	}
}

void conn_close_all(struct loop *loop, enum conn_close_reason reason)
{
	struct list_node *node;
	LIST_FOR_EACH (node, &loop->conns) {
		conn_close(LIST_ENTRY(node, struct conn, node), reason);
	}
}
