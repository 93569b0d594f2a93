/* What the files of the sender share. Its thread only, but for what `mutex` guards and what is
 * atomic. */
#ifndef SERVER_WEBHOOKS_SENDER_INTERNAL_H
#define SERVER_WEBHOOKS_SENDER_INTERNAL_H

#include "webhooks/exchange.h"
#include "webhooks/message.h"
#include "webhooks/sender.h"
#include <annals/list.h>
#include <pthread.h>
#include <stdatomic.h>

struct hook;

/* A request that delivery or storage has. base.arg points here. */
struct hook_call {
	struct hook *hook;
	void (*returned)(struct hook_call *call);
};

/* An event that is leased. */
struct hook_item {
	struct list_node node; /* in hook->ready, until it is sent */
	struct hook *hook;
	struct settle_entry lease;
	uint32_t attempt;
	uint64_t position, recorded_us, version;
	uint64_t deadline_ns; /* of the lease, monotonic */
	bool extending;
	struct exchange exchange;
	struct webhook_message message;
	size_t size;
	uint8_t encoded[];
};

struct hook {
	struct list_node node;    /* webhooks->hooks */
	struct list_node blocked; /* in webhooks->blocked: waits for room among all requests */
	struct webhooks *webhooks;
	struct webhook config;
	struct buf row;  /* as it is stored, as far as is known */
	bool is_seen;    /* while reloading */
	bool is_retired; /* its row is gone: it ends when nothing is under way */
	struct event *timer;
	unsigned calls;               /* under way */
	struct webhook_status status; /* written under webhooks->mutex */

	/* Events. */
	struct list_node ready;
	unsigned poll_events;   /* at least so many in the next poll */
	unsigned held, sending; /* items there are; of them sent and not settled yet */
	uint64_t paused_until_ns, next_send_ns, next_poll_ns;
	struct hook_call poll_call, leave_call, store_call;
	bool polling, leaving, storing;
	struct poll_request poll;
	struct member_request leave;

	/* The handshake. */
	bool asking;
	unsigned refusals;
	uint64_t next_ask_ns;
	struct exchange ask;
	struct webhook_message ask_message;

	/* A change of the row. */
	bool must_store;
	uint64_t next_store_ns;
	struct rows_request store;
	struct row_change change;
	struct webhook_key key;
	struct buf value, expected;
};

struct webhooks {
	struct store *store;
	struct delivery *delivery;
	char *origin, *ca_file; /* of the options, which a reload replaces */
	unsigned requests_max;
	pthread_t thread;
	bool started;
	int wake_fd;
	struct event_base *base;
	struct event *wake_event;
	struct completion_queue completions;
	struct exchanger exchanger;
	atomic_bool must_reload, draining, drained, stopping;
	pthread_mutex_t mutex; /* the list of hooks and their status, latency, trials */
	struct list_node hooks;
	struct list_node trials; /* not taken up yet; under the mutex */
	struct webhooks_latency latency;
	struct list_node blocked;
	unsigned calls; /* of all hooks */
};

/* sender.c */
/* Hands a request of the hook's group over; *ret_status as delivery_submit(). */
void webhooks_submit(struct hook *hook, struct delivery_request *request, struct hook_call *call,
	void (*returned)(struct hook_call *call), int *ret_status);
void hook_free(struct hook *hook);
/* An exchange has ended: those that wait for room go on. */
void webhooks_use_room(struct webhooks *webhooks);

/* hook.c */
/* Does whatever can be done now and sets the timer for the rest. May free the hook. */
void hook_run(struct hook *hook);
/* After its row: true when all that was leased is to be given back. */
bool hook_is_stopped(const struct hook *hook);
/* Gives back what an earlier life of the server had leased; polls begin afterwards. */
void hook_leave(struct hook *hook);
/* Writes a new state to the row. */
void hook_change_state(struct hook *hook, enum webhook_state state, const char *reason);

/* trial.c */
/* Answers it at once, or when the receiver has. */
void hook_try(struct hook *hook, struct webhook_trial *request);

/* hook_items.c */
/* The events of a poll that came back. */
void hook_take_events(struct hook *hook);
/* Sends what may be sent; extends leases that wait. Returns when to come again, monotonic. */
uint64_t hook_send(struct hook *hook, uint64_t now_ns);
/* Refuses, without delay, all that is not sent yet. */
void hook_give_back(struct hook *hook, const char *reason);

static inline uint64_t us_to_ns(uint64_t us)
{
	return us * 1000;
}

#endif
