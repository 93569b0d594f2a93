/* Delayed events over HTTP: what is taken, what is refused and how, when and in which order they
 * come. */
#include "http_fixture.h"
#include "suite.h"

#include <annals/clock.h>
#include <annals/parse.h>
#include <annals/schedule.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVENTS "/v1/topics/reminders/events"
#define CLOUDEVENT "Content-Type: application/cloudevents+json\r\n"
#define NDJSON "Content-Type: application/x-ndjson\r\n"
#define FAR "2200-01-01T00:00:00Z"
#define DEADLINE_S 20

static void setup(void)
{
	server_setup();
	ask_for(201, "PUT", "/v1/topics/reminders", NULL, "{\"partitions\":1}");
}

/* A structured CloudEvent; due NULL: none. The result lies in a static place. */
static const char *event_of(const char *id, const char *due, const char *data)
{
	static char text[512];

	(void)snprintf(text, sizeof(text),
		"{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/t\",\"type\":\"x\","
		"\"partitionkey\":\"k\",%s%s%s\"data\":\"%s\"}",
		id, due != NULL ? "\"annalsdue\":\"" : "", due != NULL ? due : "",
		due != NULL ? "\"," : "", data);
	return text;
}

static const char *after_ms(unsigned ms)
{
	static char text[32];

	(void)format_rfc3339_ns(text, (int64_t)(clock_wall_us() + (uint64_t)ms * 1000) * 1000);
	return text;
}

static uint64_t metric(const char *name)
{
	char line[128];
	const char *found;

	(void)snprintf(line, sizeof(line), "\n%s ", name);
	found = strstr(ask_for(200, "GET", "/metrics", NULL, NULL), line);
	ck_assert_msg(found != NULL, "no metric '%s'", name);
	return strtoull(found + strlen(line), NULL, 10);
}

static uint64_t stored(void)
{
	return count_of(ask_for(200, "GET", EVENTS "?limit=1000", NULL, NULL), "\n");
}

static void comes_to(uint64_t count)
{
	const uint64_t deadline_ns = clock_monotonic_ns() + DEADLINE_S * UINT64_C(1000000000);

	while (stored() < count && clock_monotonic_ns() < deadline_ns) {
		(void)usleep(20000);
	}
	ck_assert_uint_eq(stored(), count);
}

START_TEST(test_http_delayed_comes_when_due)
{
	const uint64_t before_us = clock_wall_us();
	const char *text;
	uint64_t took_us;

	text = ask_for(202, "POST", EVENTS, CLOUDEVENT, event_of("a", after_ms(600), "later"));
	ck_assert_uint_eq(json_number(text, "count"), 1);
	ck_assert_ptr_nonnull(strstr(text, "\"delayed\":[{\"schedule\":\""));
	ck_assert_ptr_null(strstr(text, "offset"));
	if (clock_wall_us() < before_us + 400000) { /* else the machine is too slow to tell */
		ck_assert_uint_eq(stored(), 0);
	}
	comes_to(1);
	took_us = clock_wall_us() - before_us;
	ck_assert_uint_ge(took_us, 600000);
	text = ask_for(200, "GET", EVENTS, NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"id\":\"a\""));
	ck_assert_ptr_nonnull(strstr(text, "\"annalsoffset\":0"));
	ck_assert_uint_eq(metric("annals_delayed_appended_total"), 1);
	ck_assert_uint_eq(metric("annals_delayed_events"), 0);
	ck_assert_uint_eq(metric("annals_delayed_next_due_timestamp_seconds"), 0);
}
END_TEST

START_TEST(test_http_delayed_are_counted_while_they_wait)
{
	ask_for(202, "POST", EVENTS, CLOUDEVENT, event_of("far", FAR, "f"));
	ask_for(202, "POST", EVENTS, CLOUDEVENT, event_of("further", "2261-01-01T00:00:00Z", "f"));
	ck_assert_uint_eq(metric("annals_delayed_events"), 2);
	ck_assert_uint_eq(metric("annals_delayed_next_due_timestamp_seconds"), 7258118400);
	ck_assert_uint_eq(stored(), 0);
}
END_TEST

START_TEST(test_http_delayed_past_is_appended_at_once)
{
	const char *text = ask_for(
		200, "POST", EVENTS, CLOUDEVENT, event_of("old", "2001-01-01T00:00:00Z", "o"));

	ck_assert_uint_eq(json_number(text, "offset"), 0);
	ask_for(200, "POST", EVENTS, CLOUDEVENT, event_of("older", "1960-01-01T00:00:00Z", "o"));
	ck_assert_uint_eq(metric("annals_delayed_events"), 0);
	ck_assert_uint_eq(stored(), 2);
}
END_TEST

START_TEST(test_http_delayed_of_one_time_keep_their_order)
{
	char due[32], id[16], place[64];
	struct buf body = BUF_INIT;
	const char *at, *text;

	(void)snprintf(due, sizeof(due), "%s", after_ms(2500));
	for (unsigned i = 0; i < 40; i++) { /* two requests: arrival orders those of one time */
		(void)snprintf(id, sizeof(id), "n%u", i);
		text = event_of(id, due, "d");
		ck_assert_int_eq(buf_add(&body, text, strlen(text)), 0);
		ck_assert_int_eq(buf_add(&body, "\n", 1), 0);
		if (i % 20 == 19) {
			ck_assert_int_eq(buf_add(&body, "", 1), 0);
			ask_for(202, "POST", EVENTS, NDJSON, (const char *)body.data);
			buf_reset(&body);
		}
	}
	/* One that is due earlier overtakes all of them. */
	ask_for(202, "POST", EVENTS, CLOUDEVENT, event_of("first", after_ms(100), "d"));
	comes_to(41);
	at = ask_for(200, "GET", EVENTS "?limit=100", NULL, NULL);
	at = strstr(at, "\"id\":\"first\"");
	ck_assert_ptr_nonnull(at);
	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(place, sizeof(place), "\"id\":\"n%u\"", i);
		at = strstr(at, place);
		ck_assert_msg(at != NULL, "'%s' is not where it belongs", place);
	}
	buf_release(&body);
}
END_TEST

START_TEST(test_http_delayed_id_is_taken_once)
{
	char first[37], again[37];
	const char *text;

	text = ask_for(202, "POST", EVENTS, CLOUDEVENT, event_of("a", FAR, "one"));
	ck_assert_ptr_null(strstr(text, "replayed"));
	(void)snprintf(first, sizeof(first), "%s", strstr(text, "\"schedule\":\"") + 12);
	text = ask_for(202, "POST", EVENTS, CLOUDEVENT, event_of("a", FAR, "one"));
	ck_assert_ptr_nonnull(strstr(text, "\"replayed\":true"));
	(void)snprintf(again, sizeof(again), "%s", strstr(text, "\"schedule\":\"") + 12);
	ck_assert_str_eq(first, again);
	ask_problem(409, "duplicate-id", "waits already", "POST", EVENTS, CLOUDEVENT,
		event_of("a", FAR, "two"));
	ask_problem(409, "duplicate-id", "waits already", "POST", EVENTS, CLOUDEVENT,
		event_of("a", "2199-01-01T00:00:00Z", "one"));
	ck_assert_uint_eq(metric("annals_delayed_events"), 1);
}
END_TEST

START_TEST(test_http_delayed_id_stays_taken_in_the_log)
{
	static const char path[] = "/v1/topics/strict/events";
	char text[512];

	ask_for(201, "PUT", "/v1/topics/strict", NULL, "{\"partitions\":1,\"streams\":true}");
	(void)snprintf(text, sizeof(text), "%s", event_of("a", after_ms(300), "one"));
	ask_for(202, "POST", path, CLOUDEVENT, text);
	for (unsigned i = 0; i < DEADLINE_S * 50 && metric("annals_delayed_appended_total") < 1;
		i++) {
		(void)usleep(20000);
	}
	ck_assert_uint_eq(metric("annals_delayed_appended_total"), 1);
	/* The time has passed: the same request is an append of what is stored. */
	ck_assert_ptr_nonnull(
		strstr(ask_for(200, "POST", path, CLOUDEVENT, text), "\"replayed\":true"));
	/* Taken by another event: refused when due, kept, in nobody's way. */
	ask_for(200, "POST", path, CLOUDEVENT, event_of("b", NULL, "direct"));
	ask_for(202, "POST", path, CLOUDEVENT, event_of("b", after_ms(1500), "delayed"));
	ask_for(202, "POST", path, CLOUDEVENT, event_of("c", after_ms(1500), "behind it"));
	for (unsigned i = 0; i < DEADLINE_S * 50 && metric("annals_delayed_appended_total") < 2;
		i++) {
		(void)usleep(20000);
	}
	ck_assert_uint_eq(metric("annals_delayed_appended_total"), 2);
	ck_assert_uint_eq(metric("annals_delayed_refused_total"), 1);
	ck_assert_uint_eq(metric("annals_delayed_events"), 1);
}
END_TEST

START_TEST(test_http_delayed_needs_a_request_of_its_own)
{
	struct buf body = BUF_INIT;
	const char *text = event_of("now", NULL, "n");

	ck_assert_int_eq(buf_add(&body, text, strlen(text)), 0);
	ck_assert_int_eq(buf_add(&body, "\n", 1), 0);
	text = event_of("later", FAR, "l");
	ck_assert_int_eq(buf_add(&body, text, strlen(text) + 1), 0);
	ask_problem(400, "invalid-argument", "requests of their own", "POST", EVENTS, NDJSON,
		(const char *)body.data);
	ask_problem(400, "invalid-argument", "Idempotency-Key", "POST", EVENTS,
		CLOUDEVENT "Idempotency-Key: \"7\"\r\n", event_of("a", FAR, "l"));
	ask_problem(400, "invalid-argument", "due later", "POST", EVENTS "?atomic=false", NDJSON,
		event_of("a", FAR, "l"));
	ask_for(201, "PUT", "/v1/topics/orders", NULL, "{\"streams\":true}");
	ask_problem(400, "invalid-argument", "conditions", "POST", "/v1/topics/orders/streams/k",
		CLOUDEVENT "If-None-Match: *\r\n", event_of("a", FAR, "l"));
	ask_problem(404, "unknown-topic", "nowhere", "POST", "/v1/topics/nowhere/events",
		CLOUDEVENT, event_of("a", FAR, "l"));
	ask_problem(400, "malformed", "annalsdue", "POST", EVENTS, CLOUDEVENT,
		event_of("a", "tomorrow", "l"));
	ask_problem(400, "malformed", "annalsdue", "POST", EVENTS, CLOUDEVENT,
		event_of("a", "9999-12-31T23:59:59Z", "l"));
	ck_assert_uint_eq(metric("annals_delayed_events"), 0);
	ck_assert_uint_eq(stored(), 0);
	buf_release(&body);
}
END_TEST

START_TEST(test_http_delayed_refuses_transactions)
{
	ask_problem(400, "invalid-argument", "due later", "POST", "/v1/transactions", NULL,
		"{\"appends\":[{\"topic\":\"reminders\",\"events\":[{\"id\":\"a\",\"source\":"
		"\"/t\",\"type\":\"x\",\"specversion\":\"1.0\",\"annalsdue\":\"" FAR "\"}]}]}");
	ck_assert_uint_eq(metric("annals_delayed_events"), 0);
}
END_TEST

START_TEST(test_http_delayed_names_its_limits)
{
	const size_t large = SCHEDULED_EVENT_BYTES_MAX;
	char id[16];
	char *data = malloc(large + 1), *one = malloc(large + 512);
	struct buf body = BUF_INIT;

	ck_assert_ptr_nonnull(data);
	ck_assert_ptr_nonnull(one);
	memset(data, 'x', large);
	data[large] = 0;
	(void)snprintf(one, large + 512,
		"{\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"/t\",\"type\":\"x\","
		"\"annalsdue\":\"" FAR "\",\"data\":\"%s\"}",
		data);
	ask_problem(413, "too-large", "at most 59000 bytes", "POST", EVENTS, CLOUDEVENT, one);
	for (unsigned i = 0; i <= SCHEDULED_EVENTS_MAX; i++) {
		const char *text;
		(void)snprintf(id, sizeof(id), "%u", i);
		text = event_of(id, FAR, "d");
		ck_assert_int_eq(buf_add(&body, text, strlen(text)), 0);
		ck_assert_int_eq(buf_add(&body, "\n", 1), 0);
	}
	ck_assert_int_eq(buf_add(&body, "", 1), 0);
	ask_problem(403, "limit-reached", "at most 10000 events", "POST", EVENTS, NDJSON,
		(const char *)body.data);
	*strrchr((char *)body.data, '{') = 0; /* without the last one */
	ck_assert_uint_eq(
		json_number(ask_for(202, "POST", EVENTS, NDJSON, (const char *)body.data), "count"),
		SCHEDULED_EVENTS_MAX);
	ck_assert_uint_eq(metric("annals_delayed_events"), SCHEDULED_EVENTS_MAX);
	buf_release(&body);
	free(data);
	free(one);
}
END_TEST

START_TEST(test_http_delayed_go_with_their_topic)
{
	ask_for(202, "POST", EVENTS, CLOUDEVENT, event_of("a", after_ms(700), "gone"));
	ask_for(204, "DELETE", "/v1/topics/reminders", NULL, NULL);
	ask_for(201, "PUT", "/v1/topics/reminders", NULL, "{\"partitions\":1}");
	for (unsigned i = 0; i < DEADLINE_S * 50 && metric("annals_delayed_dropped_total") < 1;
		i++) {
		(void)usleep(20000);
	}
	ck_assert_uint_eq(metric("annals_delayed_dropped_total"), 1);
	ck_assert_uint_eq(metric("annals_delayed_events"), 0);
	ck_assert_uint_eq(stored(), 0);
}
END_TEST

START_TEST(test_http_delayed_comes_to_groups_when_due)
{
	const char *text;

	ask_for(201, "PUT", "/v1/groups/g", NULL, "{\"topics\":[\"reminders\"]}");
	ask_for(202, "POST", EVENTS, CLOUDEVENT, event_of("a", after_ms(500), "work"));
	text = ask_for(200, "POST", "/v1/groups/g/poll", NULL,
		"{\"member\":\"m\",\"max\":10,\"waitMs\":9000}");
	ck_assert_uint_eq(count_of(text, "\"lease\""), 1);
	ck_assert_ptr_nonnull(strstr(text, "\"id\":\"a\""));
}
END_TEST

SUITE_MAIN("http_delayed", setup, server_teardown, test_http_delayed_comes_when_due,
	test_http_delayed_are_counted_while_they_wait, test_http_delayed_past_is_appended_at_once,
	test_http_delayed_of_one_time_keep_their_order, test_http_delayed_id_is_taken_once,
	test_http_delayed_id_stays_taken_in_the_log, test_http_delayed_needs_a_request_of_its_own,
	test_http_delayed_refuses_transactions, test_http_delayed_names_its_limits,
	test_http_delayed_go_with_their_topic, test_http_delayed_comes_to_groups_when_due)
