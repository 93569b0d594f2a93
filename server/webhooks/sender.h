/*
 * The thread that delivers webhooks: polls the group of each for leases, POSTs the events to the
 * receiver and settles the leases by what it answers. One thread with a libevent base of its own
 * does it all; receivers may be slow, it never waits for one.
 *
 * What is configured lies in rows (webhook.h). Whoever changes one calls webhooks_reload()
 * afterwards; the thread changes a row itself, on the condition that nobody else did, when a
 * receiver agreed (handshake) or is gone (410).
 *
 * At least once: a lease is acknowledged after the receiver's 2xx. When the server dies in between,
 * the leases of its webhooks are given back at the next start, and their events come again.
 */
#ifndef SERVER_WEBHOOKS_SENDER_H
#define SERVER_WEBHOOKS_SENDER_H

#include "options.h"
#include "webhooks/webhook.h"

struct webhooks;

/* Reads the rows and starts the thread. The store and delivery must outlive it.
 * ANNALS_E_NO_MEMORY, ANNALS_E_IO. */
int webhooks_open(struct store *store, struct delivery *delivery, const struct options *options,
	struct webhooks **ret, struct error *err) ANNALS_MUST_CHECK;
/* Ends what is under way, unfinished, and joins the thread. Before delivery_close(). NULL is a
 * no-op. */
void webhooks_close(struct webhooks *webhooks);
/* Any thread: rows have changed. */
void webhooks_reload(struct webhooks *webhooks);
/* Any thread: no new deliveries; those under way are finished and settled. NULL is a no-op. */
void webhooks_drain(struct webhooks *webhooks);
/* Any thread: everything is finished after webhooks_drain(); true for NULL. */
bool webhooks_is_drained(const struct webhooks *webhooks);

enum webhook_outcome {
	WEBHOOK_OUTCOME_DELIVERED,
	WEBHOOK_OUTCOME_FAILED,
	WEBHOOK_OUTCOME_THROTTLED,
	WEBHOOK_OUTCOME_GONE,
	WEBHOOK_OUTCOME_FILTERED, /* acknowledged without being sent */
	WEBHOOK_OUTCOMES
};
const char *webhook_outcome_name(enum webhook_outcome outcome);

/* Since the server started. */
struct webhook_status {
	uint64_t outcomes[WEBHOOK_OUTCOMES];
	uint64_t in_flight;
	uint64_t delivered_us, failed_us; /* the last time; 0: never */
	uint64_t paused_until_us;         /* the receiver asked for it; 0: not */
	char text[256];                   /* the last failure; "" */
};
#define WEBHOOK_LATENCY_BUCKETS 24u
struct webhooks_latency {
	uint64_t buckets[WEBHOOK_LATENCY_BUCKETS]; /* [i]: below 2^(i+14) ns, not cumulative */
	uint64_t total_ns;
};

/* An event of no topic for a receiver, sent at once, whatever the state but `waiting`. */
struct webhook_trial {
	struct store_request base; /* as in storage.h; base.operation is not used */
	char name[WEBHOOK_NAME_MAX + 1];
	/* results */
	unsigned http_status; /* 0: no answer */
	uint64_t duration_us;
	char text[256]; /* "HTTP 200", or why there was none */
};
/*
 * Any thread: hands a trial over; it comes back through base.queue, exactly once. Not taken:
 * ANNALS_E_UNAVAILABLE (closing). Comes back with 0, ANNALS_E_NOT_FOUND, CONFLICT (the receiver has
 * not agreed), OVERLOADED (webhook-requests-max), UNAVAILABLE, NO_MEMORY.
 */
int webhooks_try(struct webhooks *webhooks, struct webhook_trial *trial,
	struct error *err) ANNALS_MUST_CHECK;

/* Any thread: copies a webhook's status; zeroes when the thread does not know it (yet). */
void webhooks_status(struct webhooks *webhooks, const char *name, struct webhook_status *ret);
/* Any thread: calls fn for each webhook; what it returns but 0 ends it. fn must be quick. */
int webhooks_each(struct webhooks *webhooks,
	int (*fn)(void *arg, const char *name, enum webhook_state state,
		const struct webhook_status *status),
	void *arg) ANNALS_MUST_CHECK;
void webhooks_latency(struct webhooks *webhooks, struct webhooks_latency *ret);

#endif
