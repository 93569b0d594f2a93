/* Scenarios of delivery: groups by event, and server-sent events. */
#include "annals_bench.h"

#include <annals/buf.h>
#include <annals/clock.h>
#include <annals/macros.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 10000
#define WORKERS_MAX 256
#define LONG_LEASE_US UINT64_C(3600000000)

static int fail(const struct annals_error *error)
{
	fprintf(stderr, "annals-bench: %s\n", error->text);
	return -1;
}

/* A group of its own for each run. */
static int make_group(struct annals_client *client, const struct bench_options *options,
	int from_latest, char ret_name[32])
{
	static const char *const topics[] = {BENCH_TOPIC};
	const struct annals_group_settings settings = {.mode = ANNALS_GROUP_BY_EVENT,
		.topics = topics,
		.topic_count = 1,
		.from_latest = from_latest};
	struct annals_error error;
	snprintf(ret_name, 32, "bench-%llu", (unsigned long long)options->run);
	(void)annals_group_delete(client, ret_name, WAIT_MS, NULL);
	return annals_group_put(client, ret_name, &settings, WAIT_MS, NULL, &error) == ANNALS_OK
		       ? 0
		       : fail(&error);
}

/* --- deliver: workers lease and acknowledge what is there */

struct workers {
	const struct bench_options *options;
	char group[32];
	atomic_ullong acknowledged, polls;
	atomic_bool failed;
};

static bool goes_on(const struct workers *workers)
{
	return !workers->failed && workers->acknowledged < workers->options->events;
}

/* With --in-flight 1 a request after the other, else an acknowledgement and the next poll at once.
 */
static int work(struct workers *workers, struct annals_client *client, const char *member)
{
	const uint32_t batch = (uint32_t)workers->options->batch;
	struct annals_lease *leases = calloc(batch, sizeof(*leases));
	struct annals_error error;
	size_t count = 0;
	int status = leases ? ANNALS_OK : ANNALS_E_NO_MEMORY;
	while (status == ANNALS_OK && (count > 0 || goes_on(workers))) {
		struct annals_deliveries events = {0};
		size_t lost = 0;
		const bool at_once = workers->options->in_flight > 1 && goes_on(workers);
		if (count == 0) {
			status = annals_group_poll(client, workers->group, member, batch, 0, 10,
				WAIT_MS, &events, &error);
		} else if (at_once) {
			status = annals_group_acknowledge_and_poll(client, workers->group, leases,
				count, member, batch, 0, 10, WAIT_MS, &lost, &events, &error);
		} else {
			status = annals_group_acknowledge(
				client, workers->group, leases, count, WAIT_MS, &lost, &error);
		}
		if (status != ANNALS_OK) {
			break;
		}
		atomic_fetch_add(&workers->acknowledged, count - lost);
		atomic_fetch_add(&workers->polls, count > 0 ? 1 : 0);
		for (size_t i = 0; i < events.count; i++) {
			leases[i] = events.deliveries[i].lease;
		}
		count = events.count;
		annals_deliveries_release(&events);
	}
	free(leases);
	return status == ANNALS_OK ? 0 : fail(&error);
}

static void *worker_thread(void *arg)
{
	struct workers *workers = arg;
	struct annals_options *client_options = annals_options_new();
	struct annals_client *client = bench_client(client_options);
	char member[32];
	snprintf(member, sizeof(member), "w%p", (void *)client);
	if (!client || work(workers, client, member) != 0) {
		workers->failed = true;
	}
	annals_client_close(client);
	annals_options_free(client_options);
	return NULL;
}

int bench_deliver(const struct bench_options *options, struct bench_result *ret)
{
	static pthread_t threads[WORKERS_MAX];
	struct workers workers = {.options = options};
	struct annals_options *client_options = annals_options_new();
	struct annals_client *client = bench_client(client_options);
	const size_t count = ANNALS_MIN(options->connections, WORKERS_MAX);
	size_t started = 0;
	int status = client ? make_group(client, options, 0, workers.group) : -1;
	const uint64_t begin_ns = clock_monotonic_ns();
	for (; status == 0 && started < count; started++) {
		status = pthread_create(&threads[started], NULL, worker_thread, &workers) ? -1 : 0;
	}
	for (size_t i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
	}
	ret->seconds = (double)(clock_monotonic_ns() - begin_ns) / 1e9;
	ret->events = workers.acknowledged;
	ret->requests = workers.polls * 2;
	ret->bytes = ret->events * options->event_bytes;
	annals_client_close(client);
	annals_options_free(client_options);
	return workers.failed ? -1 : status;
}

/* --- leases: what one in flight costs in memory */

int bench_leases(const struct bench_options *options, struct bench_result *ret)
{
	struct annals_options *client_options = annals_options_new();
	struct annals_client *client = bench_client(client_options);
	uint64_t rss, before, after;
	struct annals_error error;
	char group[32];
	int status = client ? make_group(client, options, 0, group) : -1;
	usleep(2000000); /* what the preparation took is given back */
	const uint64_t begin_ns = clock_monotonic_ns();
	bench_server_memory(&rss, &before);
	while (status == 0 && ret->events < options->events) {
		struct annals_deliveries events;
		if (annals_group_poll(client, group, "w", (uint32_t)options->batch, LONG_LEASE_US,
			    1000, WAIT_MS, &events, &error) != ANNALS_OK) {
			status = fail(&error);
			break;
		}
		ret->events += events.count;
		ret->requests++;
		const bool is_all = events.count == 0; /* the rest waits behind its keys */
		annals_deliveries_release(&events);
		if (is_all) {
			break;
		}
	}
	ret->seconds = (double)(clock_monotonic_ns() - begin_ns) / 1e9;
	bench_server_memory(&rss, &after);
	bench_note(ret, "bytes_each",
		ret->events > 0 && after > before ? (double)(after - before) / (double)ret->events
						  : 0);
	annals_client_close(client);
	annals_options_free(client_options);
	return status;
}

/* --- deliver-tail, sse-tail: from the moment an append was due to its delivery */

struct tail {
	const struct bench_options *options;
	struct annals_client *client;
	char group[32];
	int fd;
	struct histogram *latency;
	uint64_t measure_ns, received;
	volatile bool stop;
};

static void note_due(struct tail *tail, uint64_t now_ns, uint64_t due_ns)
{
	if (due_ns >= tail->measure_ns && due_ns <= now_ns) {
		histogram_add(tail->latency, now_ns - due_ns);
		tail->received++;
	}
}

static void *group_tail_thread(void *arg)
{
	struct tail *tail = arg;
	while (!tail->stop) {
		struct annals_lease leases[100];
		struct annals_deliveries events;
		if (annals_group_poll(tail->client, tail->group, "w", 100, 0, 100, WAIT_MS, &events,
			    NULL) != ANNALS_OK) {
			return tail;
		}
		uint64_t now_ns = clock_monotonic_ns();
		const size_t count = events.count;
		for (size_t i = 0; i < count; i++) {
			uint64_t due_ns;
			leases[i] = events.deliveries[i].lease;
			memcpy(&due_ns, events.deliveries[i].event.data.data, sizeof(due_ns));
			note_due(tail, now_ns, due_ns);
		}
		annals_deliveries_release(&events);
		if (count > 0 && annals_group_acknowledge(tail->client, tail->group, leases, count,
					 WAIT_MS, NULL, NULL) != ANNALS_OK) {
			return tail;
		}
	}
	return NULL;
}

/* The first eight bytes of a base64 text, little-endian. */
static uint64_t decode_due(const char *text)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t bytes[9] = {0};
	uint64_t due_ns;
	for (unsigned i = 0; i < 12; i++) {
		const char *digit = strchr(digits, text[i]);
		uint32_t value = digit ? (uint32_t)(digit - digits) : 0;
		for (unsigned bit = 0; bit < 6; bit++) {
			unsigned at = i * 6 + bit;
			bytes[at / 8] |= (uint8_t)((value >> (5 - bit) & 1) << (7 - at % 8));
		}
	}
	memcpy(&due_ns, bytes, sizeof(due_ns));
	return due_ns;
}

static void *sse_tail_thread(void *arg)
{
	static const char mark[] = "\"data_base64\":\"";
	struct tail *tail = arg;
	static char text[1 << 16];
	size_t size = 0;
	while (!tail->stop) {
		struct pollfd ready = {tail->fd, POLLIN, 0};
		if (poll(&ready, 1, 100) == 0) {
			continue;
		}
		ssize_t got = recv(tail->fd, text + size, sizeof(text) - 1 - size, 0);
		if (got <= 0) {
			return tail;
		}
		uint64_t now_ns = clock_monotonic_ns();
		size += (size_t)got;
		text[size] = 0;
		const char *at = text;
		for (;;) {
			const char *found = strstr(at, mark);
			if (!found || (size_t)(text + size - found) < sizeof(mark) + 12) {
				at = found ? found : at;
				break;
			}
			note_due(tail, now_ns, decode_due(found + sizeof(mark) - 1));
			at = found + sizeof(mark) - 1;
		}
		/* What may be the start of the next mark stays. */
		size_t keep = (size_t)(text + size - at);
		keep = strncmp(at, mark, sizeof(mark) - 1) == 0 ? keep
								: ANNALS_MIN(keep, sizeof(mark));
		memmove(text, text + size - keep, keep);
		size = keep;
	}
	return NULL;
}

static int run_tail(const struct bench_options *options, struct tail *tail,
	void *(*thread_function)(void *arg), struct bench_result *ret)
{
	struct bench_result sent = {0};
	struct bench_load load = {.options = options,
		.connections = options->connections,
		.in_flight = options->in_flight,
		.batch = 1,
		.rate = options->rate ? options->rate : 1000,
		.duration_us = options->duration_us,
		.warm_up_us = options->warm_up_us,
		.stamp = true};
	pthread_t thread;
	void *failed = NULL;
	tail->options = options;
	tail->latency = &ret->latency;
	tail->measure_ns = clock_monotonic_ns() + options->warm_up_us * 1000;
	if (pthread_create(&thread, NULL, thread_function, tail) != 0) {
		return -1;
	}
	int status = bench_load_run(&load, &sent);
	usleep(300000);
	tail->stop = true;
	pthread_join(thread, &failed);
	ret->seconds = sent.seconds;
	ret->requests = ret->events = tail->received;
	ret->bytes = ret->events * options->event_bytes;
	ret->failed = sent.failed;
	return failed ? -1 : status;
}

int bench_deliver_tail(const struct bench_options *options, struct bench_result *ret)
{
	struct annals_options *client_options = annals_options_new();
	struct tail tail = {.client = bench_client(client_options)};
	int status = tail.client ? make_group(tail.client, options, 1, tail.group) : -1;
	status = status != 0 ? status : run_tail(options, &tail, group_tail_thread, ret);
	annals_client_close(tail.client);
	annals_options_free(client_options);
	return status;
}

int bench_sse_tail(const struct bench_options *options, struct bench_result *ret)
{
	static const char request[] =
		"GET /v1/topics/" BENCH_TOPIC "/events?from=latest HTTP/1.1\r\n"
		"Host: bench\r\nAccept: text/event-stream\r\n\r\n";
	struct tail tail = {.fd = bench_connect(true)};
	if (tail.fd < 0) {
		return -1;
	}
	int status = send(tail.fd, request, sizeof(request) - 1, 0) == (ssize_t)sizeof(request) - 1
			     ? 0
			     : -1;
	usleep(100000);
	status = status != 0 ? status : run_tail(options, &tail, sse_tail_thread, ret);
	close(tail.fd);
	return status;
}
