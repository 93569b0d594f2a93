/* Scenarios in which something else goes on beside the appends, or follows them. */
#include "annals_bench.h"

#include <annals/buf.h>
#include <annals/clock.h>
#include <annals/frame.h>
#include <annals/macros.h>
#include <annals/wire.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 10000
#define EVENTS_PER_POLL 1024

static struct bench_load load_of(const struct bench_options *options)
{
	return (struct bench_load){.options = options,
		.connections = options->connections,
		.in_flight = options->in_flight,
		.batch = options->batch,
		.rate = options->rate,
		.duration_us = options->duration_us,
		.warm_up_us = options->warm_up_us};
}

/* Makes the journal's segments before latencies are compared: while a new one is zeroed, flushes
 * wait for the disk, and the first load of two would be spared what the second meets. */
static int warm_journal(const struct bench_options *options)
{
	static struct bench_result unused;
	struct bench_load load = {.options = options,
		.connections = 1,
		.in_flight = 8,
		.batch = 500,
		.events = (UINT64_C(384) << 20) / (options->event_bytes + 12)};
	if (load.batch * (options->event_bytes + 64) >= (4u << 20)) {
		load.batch = 1;
	}
	memset(&unused, 0, sizeof(unused));
	int status = options->run == 1 ? bench_load_run(&load, &unused) : 0;
	usleep(1000000); /* the disk comes to rest */
	return status;
}

int bench_http_append(const struct bench_options *options, struct bench_result *ret)
{
	struct bench_load load = load_of(options);
	load.http = true;
	return bench_load_run(&load, ret);
}

/* --- mixed: replay beside appends */

struct replayer {
	struct annals_client *client;
	uint64_t events;
	atomic_bool stop;
	atomic_ullong replayed;
};

/* Reads the topic once, or until it is to stop. */
static int replay_once(struct replayer *replayer)
{
	static struct annals_event events[EVENTS_PER_POLL];
	struct annals_start start = {ANNALS_START_EARLIEST, 0, NULL, 0, NULL};
	struct annals_consumer *consumer = NULL;
	struct annals_error error;
	int status = annals_consumer_open(
		replayer->client, BENCH_OLD_TOPIC, &start, NULL, WAIT_MS, &consumer, &error);
	for (uint64_t seen = 0;
		status == ANNALS_OK && seen < replayer->events && !atomic_load(&replayer->stop);) {
		size_t count = 0;
		status = annals_consumer_poll(
			consumer, 1000, events, EVENTS_PER_POLL, &count, &error);
		seen += count;
		atomic_fetch_add(&replayer->replayed, count);
	}
	if (status != ANNALS_OK) {
		fprintf(stderr, "annals-bench: %s\n", error.text);
	}
	annals_consumer_close(consumer);
	return status;
}

static void *replay_thread(void *arg)
{
	struct replayer *replayer = arg;
	int status = ANNALS_OK;
	while (status == ANNALS_OK && !atomic_load(&replayer->stop)) {
		status = replay_once(replayer);
	}
	return status == ANNALS_OK ? NULL : replayer;
}

/* The old topic, filled once by way of the topic that the load writes to. */
static int fill_old_topic(const struct bench_options *options, struct annals_client *client)
{
	static struct annals_event events[500];
	struct annals_topic_config config = {.partitions = 1};
	struct annals_error error;
	static uint8_t data[1 << 10];
	size_t size = ANNALS_MIN(options->event_bytes, sizeof(data));
	for (size_t i = 0; i < ANNALS_COUNT_OF(events); i++) {
		events[i] = (struct annals_event){.type = annals_text("b"),
			.data = {(const char *)data, size},
			.has_data = 1};
	}
	(void)annals_topic_delete(client, BENCH_OLD_TOPIC, WAIT_MS, NULL);
	int status = annals_topic_create(client, BENCH_OLD_TOPIC, &config, WAIT_MS, NULL, &error);
	for (uint64_t at = 0; status >= 0 && at < options->events; at += ANNALS_COUNT_OF(events)) {
		struct annals_receipt receipt;
		status = annals_append(client, BENCH_OLD_TOPIC, 0, events, ANNALS_COUNT_OF(events),
			ANNALS_DURABILITY_OS, WAIT_MS, NULL, &receipt, &error);
	}
	if (status < 0) {
		fprintf(stderr, "annals-bench: %s\n", error.text);
	}
	return status < 0 ? -1 : 0;
}

static int run_mixed(
	const struct bench_options *options, struct annals_client *client, struct bench_result *ret)
{
	static struct bench_result alone;
	struct replayer replayer = {.client = client, .events = options->events};
	struct bench_load load = load_of(options);
	pthread_t thread;
	void *failed = NULL;
	memset(&alone, 0, sizeof(alone));
	int status = bench_load_run(&load, &alone);
	if (status != 0 || pthread_create(&thread, NULL, replay_thread, &replayer) != 0) {
		return -1;
	}
	uint64_t begin_ns = clock_monotonic_ns();
	status = bench_load_run(&load, ret);
	uint64_t ns = clock_monotonic_ns() - begin_ns;
	atomic_store(&replayer.stop, true);
	pthread_join(thread, &failed);
	bench_note(ret, "replayed_per_second",
		(double)atomic_load(&replayer.replayed) / ((double)ns / 1e9));
	bench_note(ret, "alone_p50_ms", (double)histogram_percentile(&alone.latency, 50) / 1e6);
	bench_note(ret, "alone_p99_ms", (double)histogram_percentile(&alone.latency, 99) / 1e6);
	return failed ? -1 : status;
}

int bench_mixed(const struct bench_options *options, struct bench_result *ret)
{
	struct annals_options *client_options = annals_options_new();
	struct annals_client *client = bench_client(client_options);
	int status = client ? 0 : -1;
	if (status == 0 && options->run == 1) {
		status = fill_old_topic(options, client);
	}
	if (status == 0) {
		status = warm_journal(options);
	}
	if (status == 0) {
		status = run_mixed(options, client, ret);
	}
	annals_client_close(client);
	annals_options_free(client_options);
	return status;
}

/* --- connections: idle subscribers */

/* Asks for events past the end and is not answered before the server's longest wait. */
static int subscribe(int fd)
{
	const struct wire_fetch_request fetch = {
		.topic = bytes_text(BENCH_OLD_TOPIC), .bytes_max = 1 << 20, .wait_ms = 60000};
	struct buf out = BUF_INIT, control = BUF_INIT;
	int status = wire_fetch_request_encode(&control, &fetch);
	if (status == ANNALS_OK) {
		status = buf_add_zeros(&out, FRAME_HEADER_BYTES);
	}
	if (status == ANNALS_OK) {
		status = buf_add(&out, control.data, control.size);
	}
	if (status == ANNALS_OK) {
		frame_write_header(out.data, FRAME_REQUEST, FRAME_FETCH, 0, 1, control.size, 0);
		status = send(fd, out.data, out.size, MSG_NOSIGNAL) == (ssize_t)out.size ? 0 : -1;
	}
	buf_release(&out);
	buf_release(&control);
	return status;
}

int bench_connections(const struct bench_options *options, struct bench_result *ret)
{
	static struct bench_result alone;
	struct bench_options no_events = *options;
	struct annals_options *client_options = annals_options_new();
	struct annals_client *client = bench_client(client_options);
	struct bench_load load = load_of(options);
	uint64_t rss, before, after, opened = 0;
	int *fds = calloc(options->idle + 1, sizeof(*fds));
	no_events.events = 0;
	memset(&alone, 0, sizeof(alone));
	int status = client && fds ? fill_old_topic(&no_events, client) : -1;
	if (status == 0) {
		status = warm_journal(options);
	}
	if (status == 0) {
		status = bench_load_run(&load, &alone);
	}
	bench_server_memory(&rss, &before);
	for (; status == 0 && opened < options->idle; opened++) {
		fds[opened] = bench_connect(false);
		status = fds[opened] < 0 ? -1 : subscribe(fds[opened]);
		if (opened % 500 == 0) {
			bench_progress(options, "opening connections", 0, opened);
		}
	}
	usleep(300000);
	bench_server_memory(&rss, &after);
	if (status == 0) {
		status = bench_load_run(&load, ret);
	}
	for (uint64_t i = 0; i < opened; i++) {
		if (fds[i] >= 0) {
			close(fds[i]);
		}
	}
	free(fds);
	annals_client_close(client);
	annals_options_free(client_options);
	bench_note(ret, "bytes_each",
		options->idle > 0 && after > before
			? (double)(after - before) / (double)options->idle
			: 0);
	bench_note(ret, "alone_p50_ms", (double)histogram_percentile(&alone.latency, 50) / 1e6);
	bench_note(ret, "alone_p99_ms", (double)histogram_percentile(&alone.latency, 99) / 1e6);
	usleep(500000); /* the server closes its side before the next run counts */
	return status;
}

/* --- recovery, retention */

int bench_recovery(const struct bench_options *options, struct bench_result *ret)
{
	uint64_t ns = 0, data_bytes, journal_bytes;
	bench_server_disk(&data_bytes, &journal_bytes);
	int status = bench_server_restart(options, &ns);
	histogram_add(&ret->latency, ns);
	ret->seconds = (double)ns / 1e9;
	ret->requests = 1;
	bench_note(ret, "start_up_seconds", ret->seconds);
	bench_note(ret, "data_mib", (double)data_bytes / 1048576);
	bench_note(ret, "journal_mib", (double)journal_bytes / 1048576);
	return status;
}

/* What the topic says is stored. */
static uint64_t live_bytes(void)
{
	struct annals_options *client_options = annals_options_new();
	struct annals_client *client = bench_client(client_options);
	struct annals_topic *topic = NULL;
	uint64_t live = 0;
	if (client &&
		annals_topic_describe(client, BENCH_TOPIC, WAIT_MS, &topic, NULL) == ANNALS_OK) {
		for (uint32_t i = 0; i < topic->partition_count; i++) {
			live += topic->partitions[i].bytes;
		}
	}
	annals_topic_free(topic);
	annals_client_close(client);
	annals_options_free(client_options);
	return live;
}

int bench_retention(const struct bench_options *options, struct bench_result *ret)
{
	struct bench_load load = load_of(options);
	uint64_t data_bytes, journal_bytes, live;
	int status = bench_load_run(&load, ret);
	usleep(2500000); /* settle, and two rounds of retention */
	live = live_bytes();
	bench_server_disk(&data_bytes, &journal_bytes);
	bench_note(ret, "live_mib", (double)live / 1048576);
	bench_note(ret, "data_mib", (double)data_bytes / 1048576);
	bench_note(ret, "data_over_live", live > 0 ? (double)data_bytes / (double)live : 0);
	bench_note(ret, "journal_mib", (double)journal_bytes / 1048576);
	return status;
}
