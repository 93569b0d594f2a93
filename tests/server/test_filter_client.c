/* The library against a real server: consumers with a filter, which the server applies. */
#include "http_fixture.h"
#include "suite.h"

#include <annals/client.h>
#include <stdio.h>
#include <string.h>

#define WAIT_MS 5000
#define PARTITIONS 3u
#define EVENTS 900u

static struct annals_client *client;
static struct annals_error error;

/* Types a.0 to a.2 and b.0 to b.2, keys k0 to k6, subjects s0 to s4, tags "even" and "n:N". */
static void append_events(uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++) {
		char type[16], key[16], subject[16], tag[16];
		struct annals_event event = {.has_key = 1, .tag_count = i % 2 == 0 ? 2 : 1};
		(void)snprintf(type, sizeof(type), "%c.%u", i / 3 % 2 == 0 ? 'a' : 'b', i % 3);
		(void)snprintf(key, sizeof(key), "k%u", i % 7);
		(void)snprintf(subject, sizeof(subject), "s%u", i % 5);
		(void)snprintf(tag, sizeof(tag), "n:%u", i);
		event.type = annals_text(type);
		event.key = annals_text(key);
		event.subject = annals_text(subject);
		const struct annals_bytes all[] = {annals_text(tag), annals_text("even")};
		event.tags = all;
		ck_assert_msg(annals_append(client, "t", i % PARTITIONS, &event, 1,
				      ANNALS_DURABILITY_OS, WAIT_MS, NULL, NULL, &error) == 0,
			"%s", error.text);
	}
}

static void setup(void)
{
	struct annals_options *options = annals_options_new();
	char address[64];
	server_setup();
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":3}");
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", test_server.binary_port);
	ck_assert_int_eq(annals_options_set_servers(options, address, &error), 0);
	ck_assert_msg(annals_connect(options, WAIT_MS, &client, &error) == 0, "%s", error.text);
	annals_options_free(options);
	append_events(0, EVENTS);
}

static void teardown(void)
{
	annals_client_close(client);
	server_teardown();
}

static struct annals_consumer *open_filtered(const struct annals_filter *filter)
{
	struct annals_consumer *consumer = NULL;
	struct annals_start start = {.kind = ANNALS_START_EARLIEST, .filter = filter};
	int status = annals_consumer_open(client, "t", &start, NULL, WAIT_MS, &consumer, &error);
	ck_assert_msg(status == 0, "%s", error.text);
	return consumer;
}

/* Reads until every partition is read to its end, which no event need tell. */
static uint32_t read_all(const struct annals_filter *filter)
{
	struct annals_consumer *consumer = open_filtered(filter);
	uint32_t count = 0, done = 0;
	for (int polls = 0; done < PARTITIONS && polls < 2000; polls++) {
		struct annals_event events[64];
		size_t got = 0;
		int status = annals_consumer_poll(consumer, 20, events, 64, &got, &error);
		ck_assert_msg(status == 0, "%s", error.text);
		count += (uint32_t)got;
		done = 0;
		for (uint32_t p = 0; p < PARTITIONS; p++) {
			uint64_t position;
			ck_assert_int_eq(annals_consumer_position(consumer, p, &position), 0);
			done += position == EVENTS / PARTITIONS;
		}
	}
	ck_assert_uint_eq(done, PARTITIONS);
	annals_consumer_close(consumer);
	return count;
}

START_TEST(test_filter_client_gets_what_it_asks_for)
{
	static const char *const one[] = {"n:4", "even"}, *const none[] = {"n:5", "even"};
	static const struct {
		struct annals_filter filter;
		uint32_t count;
	} cases[] = {
		{{.type = ""}, EVENTS},
		{{.type = "a.1"}, EVENTS / 6},
		{{.type_prefix = "a."}, EVENTS / 2},
		{{.subject = "s3"}, EVENTS / 5},
		{{.type_prefix = "b.", .subject = "s0"}, EVENTS / 10},
		{{.key = {"k1", 2}, .has_key = 1}, 129},
		{{.key = {NULL, 0}, .has_key = 1}, 0},
		{{.tags = one, .tag_count = 2}, 1},
		{{.tags = none, .tag_count = 2}, 0},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		const uint32_t count = read_all(&cases[i].filter);
		ck_assert_msg(count == cases[i].count, "case %zu: %u", i, count);
	}
}
END_TEST

START_TEST(test_filter_client_follows)
{
	static const char *const late[] = {"n:1000"};
	struct annals_filter filter = {.tags = late, .tag_count = 1};
	struct annals_consumer *consumer = open_filtered(&filter);
	struct annals_event event;
	ck_assert_int_eq(annals_consumer_next(consumer, 100, &event, &error), 0);
	append_events(990, 20);
	ck_assert_int_eq(annals_consumer_next(consumer, WAIT_MS, &event, &error), 1);
	ck_assert_uint_eq(event.partition, 1000 % PARTITIONS);
	ck_assert_uint_eq(event.offset, EVENTS / PARTITIONS + 3);
	ck_assert_int_eq(annals_consumer_next(consumer, 50, &event, &error), 0);
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_filter_client_has_bounded_tags)
{
	const char *tags[33];
	struct annals_filter filter = {.tags = tags, .tag_count = 33};
	struct annals_start start = {.kind = ANNALS_START_EARLIEST, .filter = &filter};
	struct annals_consumer *consumer = NULL;
	for (size_t i = 0; i < 33; i++) {
		tags[i] = "even";
	}
	ck_assert_int_eq(
		annals_consumer_open(client, "t", &start, NULL, WAIT_MS, &consumer, &error),
		ANNALS_E_LIMIT);
	ck_assert_ptr_null(consumer);
}
END_TEST

SUITE_MAIN("filter_client", setup, teardown, test_filter_client_gets_what_it_asks_for,
	test_filter_client_follows, test_filter_client_has_bounded_tags)
