/*
 * The inside of a client: requests, the connection, and the I/O side that moves both.
 *
 * Two sides. User threads submit requests and wake the I/O side; the I/O side (one thread, or
 * whoever calls annals_client_process()) owns the socket, every request from its submission to its
 * completion, and runs all callbacks, holding no lock. client->lock guards the fields marked so.
 * Lock order: a producer's or consumer's lock, then client->lock; never two of the same kind.
 */
#ifndef ANNALS_CLIENT_IO_H
#define ANNALS_CLIENT_IO_H

#include <annals/buf.h>
#include <annals/client.h>
#include <annals/error.h>
#include <annals/frame.h>
#include <annals/hash.h>
#include <annals/list.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define SLOT_BITS 10u
#define SLOT_COUNT (1u << SLOT_BITS) /* requests in flight; the server's limit is the same */
#define SERVERS_MAX 16
#define NO_DEADLINE UINT64_MAX

struct annals_options {
	uint64_t numbers[ANNALS_OPTION_COUNT_];
	char *servers, *client_name, *token, *producer_name; /* NULL = the default */
	annals_state_fn *on_state;
	void *on_state_arg;
	annals_delivery_fn *on_delivery;
	void *on_delivery_arg;
};
/* A deep copy; options NULL = defaults. ANNALS_E_NO_MEMORY. */
int options_copy(
	const struct annals_options *options, struct annals_options **ret) ANNALS_MUST_CHECK;

struct request;
/* Runs on the I/O side, once, without locks. response is NULL when status is not 0; error is NULL
 * when it is. The request may be freed inside. */
typedef void request_fn(struct request *request, int status, const struct frame *response,
	const struct annals_error *error);

/* One request, owned by its maker; the I/O side holds it from request_submit() to `complete`, and
 * borrows `data` as long. */
struct request {
	struct list_node node;
	enum frame_operation operation;
	struct buf control;
	const struct bytes *data;
	size_t data_count;
	uint64_t deadline_ns;
	request_fn *complete;
	void *arg;
	/* of the I/O side */
	uint8_t header[FRAME_HEADER_BYTES];
	size_t frame_bytes, written;
	uint32_t correlation;
	bool sent; /* bytes of it may have reached the server */
};

/* A frame of pushed batches, read straight from the socket. */
struct page {
	struct list_node node;
	size_t capacity, size; /* of the whole frame, at bytes[] */
	size_t room;           /* bytes there are at bytes[] */
	struct bytes data;     /* the batches, inside bytes[] */
	uint32_t partition;
	uint64_t next_offset;
	uint8_t bytes[];
};

/* Pages that were read, for the next ones: fresh memory costs a fault for each 4 KiB. Any thread.
 */
#define PAGES_SPARE_MAX 8u
struct pages {
	pthread_mutex_t lock;
	struct list_node spares;
	unsigned spare_count;
};
void pages_init(struct pages *pages);
void pages_release(struct pages *pages);
/* Room for a frame of so many bytes, zeroed but for bytes[]; NULL without memory. */
struct page *page_new(struct pages *pages, size_t capacity);
/* NULL is fine. */
void page_free(struct pages *pages, struct page *page);

enum conn_state { CONN_DOWN, CONN_CONNECTING, CONN_HELLO, CONN_READY };

struct conn {
	enum conn_state state;
	int fd;
	uint32_t epoll_events;
	uint64_t deadline_ns; /* DOWN: try again then; CONNECTING, HELLO: give up then */
	unsigned server;      /* index into servers[] */
	unsigned failures;    /* since the last READY */
	uint64_t heard_ns;    /* last bytes from the server */
	bool ping_sent;
	uint8_t *in; /* IN_BYTES */
	size_t in_start, in_end;
	struct page *page;        /* a frame too large for `in`, filling up */
	struct list_node waiting; /* requests not in the socket yet, in order */
	struct list_node flying;  /* requests without an answer */
	struct request *slots[SLOT_COUNT];
	uint16_t free_slots[SLOT_COUNT];
	unsigned free_slot_count;
	uint32_t generation;
	uint64_t requests_deadline_ns; /* no request expires before */
	struct request *hello;
};

struct topic_cache {
	struct list_node node;
	uint32_t partitions;
	char name[];
};

struct annals_client {
	struct annals_options *options; /* never changed */
	char servers[SERVERS_MAX][264];
	unsigned server_count;
	bool external;
	int epoll_fd, wake_fd, timer_fd;
	atomic_bool woken;
	pthread_t thread;
	bool has_thread;
	bool processing; /* external: inside annals_client_process() */

	pthread_mutex_t lock;
	pthread_cond_t cond; /* CLOCK_MONOTONIC; state, finished calls */
	/* under lock */
	struct list_node submitted;
	struct list_node calls; /* functions to run on the I/O side */
	struct list_node new_producers, new_consumers;
	struct list_node topics; /* struct topic_cache */
	enum annals_state state;
	int fatal; /* the server refuses us for good */
	struct annals_error last_error;
	struct annals_server_info server;
	bool closing;

	struct pages pages;

	/* of the I/O side */
	struct conn conn;
	struct list_node producers, consumers;
	uint64_t timer_ns;
	struct random jitter;
};

/* --- requests (request.c) */

void request_init(
	struct request *request, enum frame_operation operation, request_fn *complete, void *arg);
void request_release(struct request *request);
/* Any thread. Completes with ANNALS_E_CLOSED at once when the client is closing. */
void request_submit(struct annals_client *client, struct request *request);
/* I/O side only: the same without the detour. */
void request_enqueue(struct annals_client *client, struct request *request);
/*
 * I/O side only: completes a request with the status before its answer. False when it is not with
 * the connection. One that is half in the socket costs the connection.
 */
bool request_cancel(
	struct annals_client *client, struct request *request, int status, const char *text);

/*
 * Sends one request and waits for its answer: control and data are copied to *ret_control and
 * *ret_data (may be NULL). body
 * (may be empty) is taken over. ANNALS_E_TIMEOUT, ANNALS_E_DISCONNECTED, ANNALS_E_CLOSED,
 * ANNALS_E_NO_MEMORY and what the server answers.
 */
int request_call_data(struct annals_client *client, enum frame_operation operation,
	struct buf *control, struct buf *body, int timeout_ms, struct buf *ret_control,
	struct buf *ret_data, struct annals_error *error);
/*
 * The same in two steps, so that several are under way at once. After a start that succeeded the
 * call must be finished, once; nothing else releases it. Calls of one thread reach the server in
 * the order of their starts, as long as the connection holds.
 */
struct call;
int request_call_start(struct annals_client *client, enum frame_operation operation,
	struct buf *control, struct buf *body, int timeout_ms, struct call **ret,
	struct annals_error *error) ANNALS_MUST_CHECK;
int request_call_finish(struct annals_client *client, struct call *call, struct buf *ret_control,
	struct buf *ret_data, struct annals_error *error) ANNALS_MUST_CHECK;
/* Without data in the answer. */
int request_call(struct annals_client *client, enum frame_operation operation, struct buf *control,
	struct buf *body, int timeout_ms, struct buf *ret_control,
	struct annals_error *error) ANNALS_MUST_CHECK;
/* Reads an Error message. Returns the negative status. */
int request_error_decode(const struct frame *frame, struct annals_error *ret);

/* --- errors (client.c) */

int client_error(struct annals_error *error, int status, const char *format, ...)
	ANNALS_PRINTF(3, 4);
int client_error_from(struct annals_error *error, const struct error *from);

/* --- the I/O side (client.c, conn*.c) */

void client_wake(struct annals_client *client);
/* True on the I/O thread itself, where nothing may wait. */
bool client_on_io_side(const struct annals_client *client);
uint64_t deadline_after_ms(int timeout_ms);
/*
 * One step of waiting: releases lock, waits for cond (or drives the client when it is external),
 * takes the lock again. False when the deadline has passed or waiting is impossible here.
 */
bool client_wait_step(struct annals_client *client, pthread_mutex_t *lock, pthread_cond_t *cond,
	uint64_t deadline_ns);
/* Runs function(client, arg) on the I/O side and waits until it has run. */
void client_run(
	struct annals_client *client, void (*function)(struct annals_client *, void *), void *arg);
int cond_init_monotonic(pthread_cond_t *cond) ANNALS_MUST_CHECK;

int conn_init(struct conn *conn) ANNALS_MUST_CHECK;
void conn_release(struct conn *conn);
/* Socket events. */
void conn_events(struct annals_client *client, uint32_t events, uint64_t now_ns);
/* Reconnects, pings, expires requests. */
void conn_turn(struct annals_client *client, uint64_t now_ns);
/* Writes what is waiting, as far as the socket takes it. */
void conn_flush(struct annals_client *client);
/* When conn_turn() wants to run next. */
uint64_t conn_deadline(const struct annals_client *client);
void conn_lost(struct annals_client *client, int status, const char *format, ...)
	ANNALS_PRINTF(3, 4);
/* Completes every request with the status. */
void conn_fail_all(struct annals_client *client, int status, const char *text);
/* Sets the state that others see and calls the user's function. */
void client_set_state(
	struct annals_client *client, enum annals_state state, const struct annals_error *error);

/* --- topics (topics.c) */

/* The number of partitions, asked for once per topic and client. */
int topic_partitions(struct annals_client *client, const char *topic, int timeout_ms,
	uint32_t *ret_partitions, struct annals_error *error) ANNALS_MUST_CHECK;
void topic_forget(struct annals_client *client, const char *topic);

/* --- hooks of the I/O side (producer_io.c, consumer_io.c) */

/* Sends what is due; returns when it wants to run next. */
uint64_t producer_turn(struct annals_producer *producer, uint64_t now_ns);
uint64_t consumer_turn(struct annals_consumer *consumer, uint64_t now_ns);
/* A push for one of the consumers; *page is taken over when it is set to NULL. frame borrows from
 * it. */
int consumer_push(struct annals_client *client, const struct frame *frame, struct page **page,
	struct error *err) ANNALS_MUST_CHECK;
void consumer_connection_lost(struct annals_consumer *consumer);
struct annals_producer *producer_of_node(struct list_node *node);
struct annals_consumer *consumer_of_node(struct list_node *node);
/* The client is closing: what waits ends with ANNALS_E_CLOSED. */
void consumer_client_closed(struct annals_consumer *consumer);

#endif
