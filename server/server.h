/*
 * The server: a store, N loops, their listeners. Main thread, unless a comment says otherwise.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "loop.h"
#include "options.h"
#include <annals/delivery.h>
#include <annals/error.h>
#include <annals/registry.h>
#include <annals/schedule.h>
#include <annals/storage.h>
#include <stdatomic.h>

#define SERVER_LOOPS_MAX 64u

enum server_state { SERVER_STARTING, SERVER_READY, SERVER_DRAINING, SERVER_STOPPED };

struct server {
	const struct options *options; /* main thread's copy; loops have their own pointer */
	struct store *store;
	struct delivery *delivery;
	struct schedule *schedule;
	struct registry *registry;
	struct webhooks *webhooks;
	struct loop *loops;
	unsigned loop_count;
	atomic_int state;                /* enum server_state; any thread reads */
	atomic_uint connections;         /* open on all loops, against connections-max */
	atomic_uint webhooks_begun;      /* by requests under way, against webhooks-max */
	uint64_t started_us;             /* wall clock */
	char uuid[37];                   /* of the store; constant once started */
	uint16_t http_port, binary_port; /* where it really listens; 0 = not */
	void *tls;                       /* shared TLS context, NULL without --tls-cert */
};

/*
 * Opens the store, starts the loops, listens. Everything is undone on errors. The options must
 * outlive the server. ANNALS_E_* of store_open(), ANNALS_E_IO (cannot listen, with the address).
 */
int server_start(
	struct server *server, const struct options *options, struct error *err) ANNALS_MUST_CHECK;
/*
 * Drains: state DRAINING (readyz answers 503), listeners closed, idle connections closed, requests
 * in flight finished, at most drain-timeout. True when everything in flight was finished.
 */
bool server_drain(struct server *server);
/* Stops loops and store and frees everything. After server_drain() or without it. NULL and
 * half-started servers are fine. */
void server_stop(struct server *server);
/* Gives all loops a new set of options, which must outlive the server. */
void server_publish_options(struct server *server, const struct options *options);

/* Any thread. */
static inline enum server_state server_state(const struct server *server)
{
	return (enum server_state)atomic_load_explicit(
		&((struct server *)(uintptr_t)server)->state, memory_order_acquire);
}

#endif
