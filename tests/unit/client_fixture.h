/* A fake server with two partitions and a client connected to it. */
#ifndef TESTS_CLIENT_FIXTURE_H
#define TESTS_CLIENT_FIXTURE_H

#include "fake_server.h"

#include <annals/client.h>
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct fake_server *server;
static struct fake_switches *switches;
static struct annals_options *options;
static struct annals_client *client;
static struct annals_error error;

#define WAIT_MS 5000

static inline void point_at_server(void)
{
	char address[64];
	snprintf(address, sizeof(address), "127.0.0.1:%u", fake_server_port(server));
	ck_assert_int_eq(annals_options_set_servers(options, address, &error), 0);
}

static inline void set(enum annals_option option, uint64_t value)
{
	ck_assert_int_eq(annals_options_set(options, option, value, &error), 0);
}

static inline void setup_server(void)
{
	server = fake_server_start(2, 0);
	switches = fake_server_switches(server);
	options = annals_options_new();
	point_at_server();
	set(ANNALS_OPTION_RECONNECT_MIN_MS, 1);
	set(ANNALS_OPTION_RECONNECT_MAX_MS, 20);
	set(ANNALS_OPTION_LINGER_US, 500);
}

static inline void setup(void)
{
	setup_server();
	int status = annals_connect(options, WAIT_MS, &client, &error);
	ck_assert_msg(status == 0, "%s", error.text);
}

static inline void teardown(void)
{
	annals_client_close(client);
	client = NULL;
	annals_options_free(options);
	fake_server_stop(server);
}

/* An event whose data is the number as text; the text lives until 64 more are made. */
static inline struct annals_event event_number(int number, const char *key)
{
	static char texts[64][16];
	static unsigned next;
	char *text = texts[next++ % 64];
	snprintf(text, sizeof(texts[0]), "%d", number);
	struct annals_event event;
	memset(&event, 0, sizeof(event));
	event.type = annals_text("test.number");
	event.data = annals_text(text);
	event.key = annals_text(key);
	event.has_key = key != NULL;
	return event;
}

static inline int number_of(const struct annals_event *event)
{
	char text[16] = "";
	ck_assert_uint_lt(event->data.size, sizeof(text));
	memcpy(text, event->data.data, event->data.size);
	return atoi(text);
}

static inline void append_numbers(int from, int to, uint32_t partition)
{
	for (int i = from; i < to; i++) {
		struct annals_event event = event_number(i, NULL);
		int status = annals_append(client, "t", partition, &event, 1,
			ANNALS_DURABILITY_TOPIC, WAIT_MS, NULL, NULL, &error);
		ck_assert_msg(status == 0, "%s", error.text);
	}
}

static inline struct annals_consumer *consume_earliest(void)
{
	struct annals_start start = {ANNALS_START_EARLIEST, 0, NULL, 0, NULL};
	struct annals_consumer *consumer = NULL;
	int status = annals_consumer_open(client, "t", &start, options, WAIT_MS, &consumer, &error);
	ck_assert_msg(status == 0, "%s", error.text);
	return consumer;
}

/* Reads numbers from..to-1 of one partition in order. */
static inline void expect_numbers(struct annals_consumer *consumer, int from, int to)
{
	for (int i = from; i < to; i++) {
		struct annals_event event;
		int got = annals_consumer_next(consumer, WAIT_MS, &event, &error);
		ck_assert_msg(got == 1, "number %d: %d %s", i, got,
			got < 0 ? error.text : "nothing came");
		ck_assert_int_eq(number_of(&event), i);
	}
}

static inline int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}

#endif
