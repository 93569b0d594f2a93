/* The bench tool: what its scenarios share. bench/README.md says how a number is taken. */
#ifndef ANNALS_BENCH_H
#define ANNALS_BENCH_H

#include <annals/client.h>
#include <annals/histogram.h>
#include <stdbool.h>
#include <stdint.h>

#define BENCH_RUNS_MAX 64
#define BENCH_TOPIC "bench"
#define BENCH_OLD_TOPIC "bench-old"
#define BENCH_NOTES_MAX 4

struct bench_options {
	const char *scenario, *server, *annalsd, *data_dir, *output, *durability_name;
	uint64_t connections, in_flight, batch, event_bytes, partitions, keys, rate, runs, events;
	uint64_t streams, expected_versions, idle, retention_bytes;
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
	/* What only this scenario tells; the names come in the same order in each run. */
	struct bench_note {
		const char *name;
		double value;
	} notes[BENCH_NOTES_MAX];
	size_t note_count;
};
void bench_note(struct bench_result *result, const char *name, double value);

/* --- the server (annals_bench_server.c) */

/* Starts annalsd on a directory of its own, or takes the one named. Exits after a message when it
 * cannot. */
void bench_server_start(struct bench_options *options);
/* Stops what was started and removes its directory. */
void bench_server_stop(void);
/* kill -9 and start again on the same data; the time until it listens. Negative after a message. */
int bench_server_restart(const struct bench_options *options, uint64_t *ret_ns);
/* Stops it and lets the system forget what it has of its files in memory; the path of the data
 * file. Negative after a message. */
int bench_server_stop_cold(char *ret_data_file, size_t size);
/* Starts it again, with nothing of its files in memory. */
int bench_server_start_cold(const struct bench_options *options);
const char *bench_server_address(void);
const char *bench_server_http_address(void);
/* Bytes of disk that the server's data file and its journal take. */
void bench_server_disk(uint64_t *ret_data_bytes, uint64_t *ret_journal_bytes);
void bench_server_memory(uint64_t *ret_rss_bytes, uint64_t *ret_anonymous_bytes);

/* --- load (annals_bench_load.c) */

/* The versions that --expected-versions holds against the streams' own. */
struct bench_streams {
	uint64_t count, next;
	uint64_t *versions;
};
struct bench_load {
	const struct bench_options *options;
	uint64_t connections, in_flight, batch;
	uint64_t rate;   /* requests a second; 0 = as fast as answers come */
	uint64_t events; /* stop after so many; 0 = after the time */
	uint64_t duration_us, warm_up_us;
	bool http;                     /* a CloudEvent a request, or NDJSON of `batch` lines */
	struct bench_streams *streams; /* conditions on them; NULL: none */
	bool stamp; /* the data begins with the time it was meant to be sent, nanoseconds */
	volatile bool *stop; /* may be NULL */
};
/* Appends with raw sockets in one thread. 0 or negative after a message. */
int bench_load_run(const struct bench_load *load, struct bench_result *ret);
/* A connection to the server's binary address after its hello, or to its HTTP address; or -1 after
 * a message. */
int bench_connect(bool http);

/* --- scenarios (annals_bench_scenarios.c) */

int bench_append(const struct bench_options *options, struct bench_result *ret);
int bench_produce(const struct bench_options *options, struct bench_result *ret);
int bench_replay(const struct bench_options *options, struct bench_result *ret);
int bench_tail(const struct bench_options *options, struct bench_result *ret);
/* --- scenarios with a second part (annals_bench_more.c) */
int bench_http_append(const struct bench_options *options, struct bench_result *ret);
int bench_mixed(const struct bench_options *options, struct bench_result *ret);
int bench_connections(const struct bench_options *options, struct bench_result *ret);
int bench_recovery(const struct bench_options *options, struct bench_result *ret);
int bench_retention(const struct bench_options *options, struct bench_result *ret);
/* --- annals_bench_cold.c */
int bench_cold(const struct bench_options *options, struct bench_result *ret);
/* --- scenarios of delivery (annals_bench_groups.c) */
int bench_deliver(const struct bench_options *options, struct bench_result *ret);
int bench_deliver_tail(const struct bench_options *options, struct bench_result *ret);
int bench_sse_tail(const struct bench_options *options, struct bench_result *ret);
int bench_leases(const struct bench_options *options, struct bench_result *ret);
struct annals_client *bench_client(struct annals_options *options);
/* Makes the topic anew and, for replay, fills it. */
int bench_prepare(struct bench_options *options);

/* One line that rewrites itself on a terminal. */
void bench_progress(
	const struct bench_options *options, const char *what, double seconds, uint64_t events);
void bench_progress_end(void);

#endif
