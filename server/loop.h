/*
 * An event loop: one thread, one libevent base without locks, and everything that hangs off it:
 * connections, requests, operations, timers, pools.
 *
 * Other threads may call loop_post() and nothing else. Storage gives requests back through
 * `completions`, whose notify writes an eventfd once per batch. A turn: libevent waits and runs the
 * callbacks of one wake-up; then deferred tasks run and every connection that has output sends it.
 */
#ifndef SERVER_LOOP_H
#define SERVER_LOOP_H

#include "counters.h"
#include "net/bulk.h"
#include "options.h"
#include <annals/buf.h>
#include <annals/clock.h>
#include <annals/error.h>
#include <annals/list.h>
#include <annals/registry.h>
#include <annals/storage.h>
#include <annals/unpack.h>
#include <event2/event.h>
#include <pthread.h>

struct server;
struct loop;
struct output_pool;

/* Work for a loop; caller-owned, embedded, in one list at a time. */
struct loop_task {
	struct list_node node;
	void (*run)(struct loop_task *task);
};

/* A coarse timer: fires within 16 ms after its deadline. Moving one costs O(1). */
struct loop_timer {
	struct list_node node;
	uint64_t deadline_ns;
	void (*fire)(struct loop_timer *timer);
};

#define LOOP_POOLS 16u
#define LOOP_POOL_STEP_BYTES 256u
#define LOOP_READ_BYTES (256u << 10)
#define LOOP_WHEEL_SLOTS 1024u
#define LOOP_WHEEL_TICK_NS (16u * 1000 * 1000)

struct loop {
	struct server *server;
	unsigned index;
	const struct options *options; /* immutable; replaced by a reload through loop_post() */
	struct store *store;
	struct registry_view schemas; /* for registry_view_get() with server->registry */
	struct event_base *base;
	struct completion_queue completions;
	struct counters counters;
	struct buf reply;          /* an answer under construction, for the duration of one call */
	struct unpack_arena arena; /* control messages, for the duration of one call */
	struct buf scratch;        /* for the duration of one call */
	struct output_pool *output_pool;
	struct {
		void *spare;
		unsigned count;
	} pools[LOOP_POOLS];  /* private to loop_alloc() */
	uint8_t *read_buffer; /* LOOP_READ_BYTES; what recv() fills first */

	/* Private to loop.c and conn.c. */
	pthread_t thread;
	bool started, stopping, draining;
	bool submitted; /* appends were handed to storage in this turn: the writer is to be woken */
	uint64_t now_ns; /* of this turn; 0: not asked for yet */
	int control_fd, completion_fd;
	struct event *control_event, *completion_event, *tick_event;
	pthread_mutex_t posted_mutex;
	struct list_node posted;
	struct list_node deferred;
	struct list_node conns, conns_turn;
	struct loop_bulk bulk;
	unsigned conn_count;
	uint64_t next_conn_id;
	struct list_node wheel[LOOP_WHEEL_SLOTS];
	uint64_t wheel_tick; /* the last tick that was run */
	uint64_t wheel_armed_tick;
	unsigned wheel_count;
	struct list_node listeners;
	struct list_node waiting; /* operations that wait for events to come: a drain ends them */
};

/* Makes the base and its eventfds; nothing runs yet. ANNALS_E_NO_MEMORY, ANNALS_E_IO. */
int loop_open(struct loop *loop, struct server *server, unsigned index,
	struct error *err) ANNALS_MUST_CHECK;
/* Starts the thread. ANNALS_E_IO. */
int loop_start(struct loop *loop, struct error *err) ANNALS_MUST_CHECK;
/* Any thread but the loop's: asks the loop to end and joins it. Connections are closed, operations
 * released. */
void loop_stop(struct loop *loop);
/* After the store is closed: frees the rest. Half-built loops are fine. */
void loop_close(struct loop *loop);

/* Any thread: runs task->run on the loop soon. The task is the loop's until then. */
void loop_post(struct loop *loop, struct loop_task *task);
/* Loop thread: runs at the end of this turn. A task that is already waiting stays where it is.
 * Initialise with loop_task_init(). */
void loop_defer(struct loop *loop, struct loop_task *task);
void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *task));
/* Takes a deferred task back; harmless when it does not wait. */
void loop_task_cancel(struct loop_task *task);

/* Monotonic time of this turn. Loop thread. */
static inline uint64_t loop_now_ns(struct loop *loop)
{
	if (loop->now_ns == 0) {
		loop->now_ns = clock_monotonic_ns();
	}
	return loop->now_ns;
}

void loop_timer_init(struct loop_timer *timer, void (*fire)(struct loop_timer *timer));
/* (Re)starts it; fires once. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns);
/* Harmless when it does not run. */
void loop_timer_stop(struct loop *loop, struct loop_timer *timer);
bool loop_timer_is_set(const struct loop_timer *timer);

/*
 * Memory of short-lived objects from the loop's free lists, for sizes up to 4 KiB (larger: malloc).
 * Not zeroed. NULL when memory ran out.
 */
void *loop_alloc(struct loop *loop, size_t size);
void loop_free(struct loop *loop, void *memory, size_t size);

#endif
