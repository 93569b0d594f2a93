/*
 * Counters of one loop. Written by its thread only, read by whoever answers /metrics: relaxed
 * atomics, no locks.
 */
#ifndef SERVER_COUNTERS_H
#define SERVER_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

enum counter_protocol { COUNTER_BINARY, COUNTER_HTTP, COUNTER_PROTOCOLS };
#define COUNTERS_STATUSES 64
#define COUNTERS_OPERATIONS 32
#define COUNTERS_CLOSE_REASONS 16
#define COUNTERS_LATENCY_BUCKETS 24

struct counters {
	atomic_uint_fast64_t turns, wakes; /* loop turns; completion wake-ups */
	atomic_uint_fast64_t bytes_in, bytes_out, recv_calls, send_calls;
	atomic_uint_fast64_t connections_accepted[COUNTER_PROTOCOLS];
	atomic_uint_fast64_t connections_open[COUNTER_PROTOCOLS];
	atomic_uint_fast64_t connections_refused; /* connections-max, or no descriptor left */
	atomic_uint_fast64_t connections_closed[COUNTERS_CLOSE_REASONS];
	atomic_uint_fast64_t requests[COUNTER_PROTOCOLS];
	atomic_uint_fast64_t requests_in_flight[COUNTER_PROTOCOLS];
	atomic_uint_fast64_t operations[COUNTERS_OPERATIONS]; /* by enum op_kind */
	atomic_uint_fast64_t failures[COUNTERS_STATUSES]; /* by positive status number; 0 unused */
	atomic_uint_fast64_t http_responses[6];           /* by class: [2] is 2xx */
	atomic_uint_fast64_t invalid_events[2]; /* [0] stored with a warning, [1] refused */
	atomic_uint_fast64_t events_delivered, bytes_delivered;
	atomic_uint_fast64_t subscriptions,
		waits; /* now open: subscriptions and SSE tails; long polls */
	/* Appends from arrival to answer; bucket i counts those below 2^(i+14) ns, not cumulative,
	 * the last holds the rest. */
	atomic_uint_fast64_t append_latency[COUNTERS_LATENCY_BUCKETS];
	atomic_uint_fast64_t append_latency_ns_total;
};

static inline void counter_add(atomic_uint_fast64_t *counter, uint64_t value)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value,
		memory_order_relaxed);
}
static inline void counter_sub(atomic_uint_fast64_t *counter, uint64_t value)
{
	counter_add(counter, 0 - value);
}
static inline uint64_t counter_get(const atomic_uint_fast64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
