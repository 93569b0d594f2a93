#include "annals_bench.h"

#include <annals/clock.h>
#include <annals/macros.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WAIT_MS 10000
#define EVENTS_PER_POLL 1024

struct annals_client *bench_client(struct annals_options *options)
{
	struct annals_client *client = NULL;
	struct annals_error error;
	if (annals_options_set_servers(options, bench_server_address(), &error) != ANNALS_OK ||
		annals_connect(options, WAIT_MS, &client, &error) != ANNALS_OK) {
		fprintf(stderr, "annals-bench: %s\n", error.text);
		return NULL;
	}
	return client;
}

static int fail(const struct annals_error *error)
{
	fprintf(stderr, "annals-bench: %s\n", error->text);
	return -1;
}

/* Makes each stream with one event, its version 0. */
static int make_streams(const struct bench_options *options)
{
	static struct annals_event events[500];
	static char keys[500][16];
	struct annals_error error;
	struct annals_options *client_options = annals_options_new();
	struct annals_client *client = bench_client(client_options);
	int status = client ? ANNALS_OK : -1;
	for (uint64_t at = 0; status == ANNALS_OK && at < options->streams;) {
		size_t count = 0;
		for (; count < ANNALS_COUNT_OF(events) && at < options->streams; count++, at++) {
			snprintf(keys[count], sizeof(keys[count]), "s%07u", (unsigned)at);
			events[count] = (struct annals_event){.type = annals_text("b"),
				.key = annals_text(keys[count]),
				.has_key = 1};
		}
		struct annals_receipt receipt;
		status = annals_append(client, BENCH_TOPIC, 0, events, count, ANNALS_DURABILITY_OS,
			WAIT_MS, NULL, &receipt, &error);
		if (status != ANNALS_OK) {
			(void)fail(&error);
		}
	}
	annals_client_close(client);
	annals_options_free(client_options);
	return status;
}

int bench_prepare(struct bench_options *options)
{
	struct annals_error error;
	struct annals_options *client_options = annals_options_new();
	struct annals_client *client = bench_client(client_options);
	if (!client) {
		return -1;
	}
	struct annals_topic_config config = {.partitions = (uint32_t)options->partitions,
		.retention_bytes = options->retention_bytes,
		.streams = options->streams > 0};
	(void)annals_topic_delete(client, BENCH_TOPIC, WAIT_MS, NULL);
	int status = annals_topic_create(client, BENCH_TOPIC, &config, WAIT_MS, NULL, &error);
	annals_client_close(client);
	annals_options_free(client_options);
	if (status < 0) {
		return fail(&error);
	}
	if (options->streams > 0 && make_streams(options) != 0) {
		return -1;
	}
	if (options->events == 0 || strcmp(options->scenario, "mixed") == 0) {
		return 0;
	}
	struct bench_result filled = {0};
	/* Where appends are measured afterwards, the log comes about quickly whatever their size.
	 */
	const bool quick = strcmp(options->scenario, "append") == 0;
	struct bench_load load = {.options = options,
		.connections = 1,
		.in_flight = quick ? 8 : options->in_flight,
		.batch = quick ? 500 : options->batch,
		.events = options->events};
	return bench_load_run(&load, &filled);
}

int bench_append(const struct bench_options *options, struct bench_result *ret)
{
	static struct bench_streams streams;
	if (options->expected_versions && !streams.versions) {
		streams.count = options->streams;
		streams.versions = calloc(streams.count, sizeof(*streams.versions));
		if (!streams.versions) {
			return -1;
		}
	}
	struct bench_load load = {.options = options,
		.connections = options->connections,
		.in_flight = options->in_flight,
		.batch = options->batch,
		.rate = options->rate,
		.duration_us = options->duration_us,
		.warm_up_us = options->warm_up_us,
		.streams = options->expected_versions ? &streams : NULL};
	return bench_load_run(&load, ret);
}

/* --- produce: the library's background producer */

static atomic_ullong stored, given_up;

static void on_delivery(
	struct annals_producer *producer, const struct annals_delivery *delivery, void *arg)
{
	(void)producer;
	(void)arg;
	atomic_fetch_add(delivery->status == ANNALS_OK ? &stored : &given_up, delivery->count);
}

static int produce(const struct bench_options *options, struct annals_producer *producer,
	struct bench_result *ret)
{
	struct annals_error error;
	char *data = calloc(1, options->event_bytes + 1), key[32];
	if (!data) {
		return -1;
	}
	memset(data, 'x', options->event_bytes);
	struct annals_event event = {
		.type = annals_text("b"), .data = {data, options->event_bytes}, .has_data = 1};
	uint64_t begin_ns = clock_monotonic_ns(),
		 measure_ns = begin_ns + options->warm_up_us * 1000,
		 end_ns = measure_ns + options->duration_us * 1000;
	uint64_t now_ns = begin_ns, stored_before = 0, shown_ns = begin_ns;
	bool measuring = false;
	int status = ANNALS_OK;
	for (uint64_t i = 0; status == ANNALS_OK && now_ns < end_ns; i++) {
		if (options->keys > 0) {
			snprintf(
				key, sizeof(key), "k%llu", (unsigned long long)(i % options->keys));
			event.key = annals_text(key);
			event.has_key = 1;
		}
		status = annals_producer_send(producer, &event, NULL, WAIT_MS, &error);
		if (i % 256 == 0) {
			now_ns = clock_monotonic_ns();
			if (!measuring && now_ns >= measure_ns) {
				measuring = true;
				measure_ns = now_ns;
				stored_before = atomic_load(&stored);
			}
			if (now_ns - shown_ns > 200000000u) {
				shown_ns = now_ns;
				bench_progress(options, "producing",
					(double)(now_ns - begin_ns) / 1e9, atomic_load(&stored));
			}
		}
	}
	ret->events = atomic_load(&stored) - stored_before;
	ret->seconds = (double)(now_ns - measure_ns) / 1e9;
	free(data);
	return status == ANNALS_OK ? 0 : fail(&error);
}

int bench_produce(const struct bench_options *options, struct bench_result *ret)
{
	struct annals_error error;
	struct annals_producer *producer = NULL;
	struct annals_options *client_options = annals_options_new();
	annals_options_on_delivery(client_options, on_delivery, NULL);
	(void)annals_options_set(
		client_options, ANNALS_OPTION_DURABILITY, options->durability, NULL);
	(void)annals_options_set(client_options, ANNALS_OPTION_GENERATE_IDS, 0, NULL);
	(void)annals_options_set(client_options, ANNALS_OPTION_IN_FLIGHT,
		ANNALS_MAX(options->in_flight, 1u), &error);
	struct annals_client *client = bench_client(client_options);
	int status = client ? annals_producer_open(client, BENCH_TOPIC, client_options, WAIT_MS,
				      &producer, &error)
			    : -1;
	if (status == ANNALS_OK) {
		status = produce(options, producer, ret);
		bench_progress_end();
		(void)annals_producer_close(producer, WAIT_MS);
		ret->failed = atomic_load(&given_up);
		ret->requests = ret->events;
		ret->bytes = ret->events * options->event_bytes;
	} else if (client) {
		status = fail(&error);
	}
	annals_client_close(client);
	annals_options_free(client_options);
	return status;
}

/* --- replay */

static int replay(const struct bench_options *options, struct annals_consumer *consumer,
	struct bench_result *ret)
{
	static struct annals_event events[EVENTS_PER_POLL];
	struct annals_error error;
	uint64_t begin_ns = clock_monotonic_ns(), shown_ns = begin_ns, expected = options->events;
	while (ret->events < expected) {
		size_t count;
		int status = annals_consumer_poll(
			consumer, WAIT_MS, events, EVENTS_PER_POLL, &count, &error);
		if (status != ANNALS_OK) {
			return fail(&error);
		}
		if (count == 0) {
			fprintf(stderr, "annals-bench: only %llu events came\n",
				(unsigned long long)ret->events);
			return -1;
		}
		for (size_t i = 0; i < count; i++) {
			ret->bytes += events[i].data.size;
		}
		ret->events += count;
		if ((ret->events & 0xffff) < count) {
			uint64_t now_ns = clock_monotonic_ns();
			if (now_ns - shown_ns > 200000000u) {
				shown_ns = now_ns;
				bench_progress(options, "replaying",
					(double)(now_ns - begin_ns) / 1e9, ret->events);
			}
		}
	}
	ret->seconds = (double)(clock_monotonic_ns() - begin_ns) / 1e9;
	ret->requests = ret->events;
	return 0;
}

int bench_replay(const struct bench_options *options, struct bench_result *ret)
{
	struct annals_error error;
	struct annals_consumer *consumer = NULL;
	struct annals_start start = {ANNALS_START_EARLIEST, 0, NULL, 0, NULL};
	struct annals_options *client_options = annals_options_new();
	struct annals_client *client = bench_client(client_options);
	int status = client ? annals_consumer_open(client, BENCH_TOPIC, &start, client_options,
				      WAIT_MS, &consumer, &error)
			    : -1;
	if (status == ANNALS_OK) {
		status = replay(options, consumer, ret);
		bench_progress_end();
	} else if (client) {
		status = fail(&error);
	}
	annals_consumer_close(consumer);
	annals_client_close(client);
	annals_options_free(client_options);
	return status;
}

/* --- tail: from the moment an append was due to its delivery to a consumer */

struct tail {
	struct annals_consumer *consumer;
	struct histogram *latency;
	uint64_t measure_ns, received;
	volatile bool stop;
};

static void *tail_thread(void *arg)
{
	struct tail *tail = arg;
	struct annals_event events[64];
	size_t count;
	while (!tail->stop) {
		if (annals_consumer_poll(tail->consumer, 100, events, 64, &count, NULL) !=
			ANNALS_OK) {
			return tail;
		}
		uint64_t now_ns = clock_monotonic_ns();
		for (size_t i = 0; i < count; i++) {
			uint64_t due_ns;
			memcpy(&due_ns, events[i].data.data, sizeof(due_ns));
			if (due_ns >= tail->measure_ns) {
				histogram_add(tail->latency, now_ns - due_ns);
				tail->received++;
			}
		}
	}
	return NULL;
}

static int tail_run(const struct bench_options *options, struct annals_consumer *consumer,
	struct bench_result *ret)
{
	struct bench_result sent = {0};
	struct tail tail = {.consumer = consumer,
		.latency = &ret->latency,
		.measure_ns = clock_monotonic_ns() + options->warm_up_us * 1000};
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
	if (pthread_create(&thread, NULL, tail_thread, &tail) != 0) {
		return -1;
	}
	int status = bench_load_run(&load, &sent);
	usleep(300000);
	tail.stop = true;
	pthread_join(thread, &failed);
	ret->seconds = sent.seconds;
	ret->requests = ret->events = tail.received;
	ret->bytes = ret->events * options->event_bytes;
	ret->failed = sent.failed;
	return failed ? -1 : status;
}

int bench_tail(const struct bench_options *options, struct bench_result *ret)
{
	struct annals_error error;
	struct annals_consumer *consumer = NULL;
	struct annals_start start = {ANNALS_START_LATEST, 0, NULL, 0, NULL};
	struct annals_options *client_options = annals_options_new();
	struct annals_client *client = bench_client(client_options);
	int status = client ? annals_consumer_open(client, BENCH_TOPIC, &start, client_options,
				      WAIT_MS, &consumer, &error)
			    : -1;
	if (status == ANNALS_OK) {
		status = tail_run(options, consumer, ret);
	} else if (client) {
		status = fail(&error);
	}
	annals_consumer_close(consumer);
	annals_client_close(client);
	annals_options_free(client_options);
	return status;
}
