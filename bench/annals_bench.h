/* The bench tool: what its scenarios share. bench/README.md says how a number is taken. */
#ifndef ANNALS_BENCH_H
#define ANNALS_BENCH_H

#include <annals/client.h>
#include <annals/histogram.h>
#include <stdbool.h>
#include <stdint.h>

#define BENCH_RUNS_MAX 64
#define BENCH_TOPIC "bench"

struct bench_options {
	const char *scenario, *server, *annalsd, *data_dir, *output, *durability_name;
	uint64_t connections, in_flight, batch, event_bytes, partitions, keys, rate, runs, events;
	uint64_t duration_us, warm_up_us;
	uint32_t durability;
	uint64_t run; /* the one being measured, from 1; 0 while preparing */
};

/* What one run came to. */
struct bench_result {
	double seconds;
	uint64_t requests, events, bytes, failed;
	struct histogram latency;                /* empty where there is none */
	uint64_t rss_bytes, rss_anonymous_bytes; /* of our own server, else 0 */
};

/* --- the server (annals_bench_server.c) */

/* Starts annalsd on a directory of its own, or takes the one named. Exits after a message when it
 * cannot. */
void bench_server_start(struct bench_options *options);
/* Stops what was started and removes its directory. */
void bench_server_stop(void);
const char *bench_server_address(void);
void bench_server_memory(uint64_t *ret_rss_bytes, uint64_t *ret_anonymous_bytes);

/* --- load (annals_bench_load.c) */

struct bench_load {
	const struct bench_options *options;
	uint64_t connections, in_flight, batch;
	uint64_t rate;   /* requests a second; 0 = as fast as answers come */
	uint64_t events; /* stop after so many; 0 = after the time */
	uint64_t duration_us, warm_up_us;
	bool stamp; /* the data begins with the time it was meant to be sent, nanoseconds */
	volatile bool *stop; /* may be NULL */
};
/* Appends with raw sockets in one thread. 0 or negative after a message. */
int bench_load_run(const struct bench_load *load, struct bench_result *ret);

/* --- scenarios (annals_bench_scenarios.c) */

int bench_append(const struct bench_options *options, struct bench_result *ret);
int bench_produce(const struct bench_options *options, struct bench_result *ret);
int bench_replay(const struct bench_options *options, struct bench_result *ret);
int bench_tail(const struct bench_options *options, struct bench_result *ret);
/* Makes the topic anew and, for replay, fills it. */
int bench_prepare(struct bench_options *options);

/* One line that rewrites itself on a terminal. */
void bench_progress(
	const struct bench_options *options, const char *what, double seconds, uint64_t events);
void bench_progress_end(void);

#endif
