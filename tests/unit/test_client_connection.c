#include "client_fixture.h"

#include <annals/clock.h>
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

START_TEST(test_client_options_have_ranges)
{
	for (int i = 0; i < ANNALS_OPTION_COUNT_; i++) {
		enum annals_option option = (enum annals_option)i;
		const char *name = annals_option_name(option);
		ck_assert_ptr_nonnull(name);
		ck_assert_int_eq(annals_options_set(options, option,
					 annals_options_get(options, option), &error),
			0);
		ck_assert_int_eq(
			annals_options_set(options, option, UINT64_MAX, &error), ANNALS_E_INVALID);
		ck_assert_ptr_nonnull(strstr(error.text, name));
	}
	ck_assert_ptr_null(annals_option_name(ANNALS_OPTION_COUNT_));
}
END_TEST

START_TEST(test_client_options_refuse_bad_addresses)
{
	static const char *const bad[] = {
		"", "host", "host:", "host:0", "host:70000", "a:1,,b:2", "a:1,"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(
			annals_options_set_servers(options, bad[i], &error) == ANNALS_E_INVALID,
			"'%s'", bad[i]);
	}
	ck_assert_int_eq(
		annals_options_set_servers(options, "localhost:7450,[::1]:7450", &error), 0);
}
END_TEST

START_TEST(test_client_says_who_the_server_is)
{
	struct annals_server_info info;
	uint64_t time_us = 0;
	ck_assert_int_eq(annals_client_server(client, &info), 0);
	ck_assert_str_eq(info.name, "fake");
	ck_assert_uint_eq(info.protocol_version, 1);
	ck_assert_int_eq(annals_ping(client, WAIT_MS, &time_us, &error), 0);
	ck_assert_uint_eq(time_us, 42);
}
END_TEST

START_TEST(test_client_times_out_when_nobody_listens)
{
	struct annals_client *other;
	ck_assert_int_eq(annals_options_set_servers(options, "127.0.0.1:1", &error), 0);
	uint64_t before_ns = clock_monotonic_ns();
	ck_assert_int_eq(annals_connect(options, 100, &other, &error), ANNALS_E_TIMEOUT);
	ck_assert_uint_lt(clock_monotonic_ns() - before_ns, 1000000000u);
	ck_assert_ptr_nonnull(strstr(error.text, "127.0.0.1:1"));
}
END_TEST

START_TEST(test_client_tries_the_next_address)
{
	char servers[64];
	struct annals_client *other;
	snprintf(servers, sizeof(servers), "127.0.0.1:1,127.0.0.1:%u", fake_server_port(server));
	ck_assert_int_eq(annals_options_set_servers(options, servers, &error), 0);
	ck_assert_int_eq(annals_connect(options, WAIT_MS, &other, &error), 0);
	annals_client_close(other);
}
END_TEST

START_TEST(test_client_refused_hello_is_final)
{
	struct annals_client *other;
	atomic_store(&switches->refuse_hello, -ANNALS_E_UNAUTHENTICATED);
	ck_assert_int_eq(
		annals_connect(options, WAIT_MS, &other, &error), ANNALS_E_UNAUTHENTICATED);
	ck_assert_ptr_nonnull(strstr(error.text, "the fake server says no"));
}
END_TEST

START_TEST(test_client_call_times_out_on_a_mute_server)
{
	atomic_store(&switches->mute, 1);
	uint64_t before_ns = clock_monotonic_ns();
	ck_assert_int_eq(annals_ping(client, 50, NULL, &error), ANNALS_E_TIMEOUT);
	ck_assert_uint_lt(clock_monotonic_ns() - before_ns, 1000000000u);
	/* The late answer of a request given up must not be taken for another's. */
	atomic_store(&switches->mute, 0);
	ck_assert_int_eq(annals_ping(client, WAIT_MS, NULL, &error), 0);
}
END_TEST

START_TEST(test_client_reconnects)
{
	for (int i = 0; i < 5; i++) {
		int connections = fake_server_connections(server);
		fake_server_disconnect(server);
		for (int tries = 0; fake_server_connections(server) == connections && tries < 500;
			tries++) {
			usleep(10000);
		}
		ck_assert_int_eq(annals_ping(client, WAIT_MS, NULL, &error), 0);
	}
}
END_TEST

START_TEST(test_client_reads_answers_byte_by_byte)
{
	atomic_store(&switches->byte_by_byte, 1);
	append_numbers(0, 20, 0);
	struct annals_consumer *consumer = consume_earliest();
	expect_numbers(consumer, 0, 20);
	annals_consumer_close(consumer);
}
END_TEST

START_TEST(test_client_refuses_huge_frames)
{
	atomic_store(&switches->huge_frame, 1);
	ck_assert_int_eq(annals_ping(client, WAIT_MS, NULL, &error), ANNALS_E_DISCONNECTED);
	ck_assert_int_eq(annals_ping(client, WAIT_MS, NULL, &error), 0);
}
END_TEST

START_TEST(test_client_pings_and_drops_a_dead_server)
{
	annals_client_close(client);
	set(ANNALS_OPTION_IDLE_PING_MS, 100);
	ck_assert_int_eq(annals_connect(options, WAIT_MS, &client, &error), 0);
	atomic_store(&switches->mute, 1);
	int connections = fake_server_connections(server);
	for (int tries = 0; fake_server_connections(server) == connections && tries < 300;
		tries++) {
		usleep(10000);
	}
	ck_assert_int_gt(fake_server_connections(server), connections);
}
END_TEST

static void count_state(struct annals_client *which, enum annals_state state,
	const struct annals_error *why, void *arg)
{
	(void)which;
	int *counts = arg;
	counts[state]++;
	ck_assert(state != ANNALS_STATE_READY || why == NULL);
}

START_TEST(test_client_external_loop_runs_without_a_thread)
{
	static int counts[3];
	struct annals_client *other;
	set(ANNALS_OPTION_EXTERNAL_LOOP, 1);
	annals_options_on_state(options, count_state, counts);
	ck_assert_int_eq(annals_client_open(options, &other, &error), 0);
	for (int turns = 0; counts[ANNALS_STATE_READY] == 0 && turns < 1000; turns++) {
		struct pollfd pollfd = {
			.fd = annals_client_fd(other), .events = POLLIN, .revents = 0};
		ck_assert_int_ge(poll(&pollfd, 1, WAIT_MS), 0);
		annals_client_process(other);
	}
	ck_assert_int_eq(counts[ANNALS_STATE_READY], 1);
	/* A call with a timeout drives the loop itself. */
	struct annals_event event = event_number(1, "k");
	ck_assert_int_eq(annals_append(other, "t", ANNALS_PARTITION_BY_KEY, &event, 1,
				 ANNALS_DURABILITY_TOPIC, WAIT_MS, NULL, NULL, &error),
		0);
	struct annals_producer *producer;
	ck_assert_int_eq(annals_producer_open(other, "t", options, WAIT_MS, &producer, &error), 0);
	ck_assert_int_eq(annals_producer_send(producer, &event, NULL, 0, &error), 0);
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	annals_client_close(other);
	ck_assert_int_eq(counts[ANNALS_STATE_CLOSED], 1);
}
END_TEST

START_TEST(test_client_append_places_every_event)
{
	struct annals_event events[6];
	struct annals_placement placements[6];
	struct annals_receipt receipt;
	static const char *const keys[] = {"a", "b", "c", "d", "e", "a"};
	for (int i = 0; i < 6; i++) {
		events[i] = event_number(i, keys[i]);
	}
	ck_assert_int_eq(annals_append(client, "t", ANNALS_PARTITION_BY_KEY, events, 6,
				 ANNALS_DURABILITY_FSYNC, WAIT_MS, placements, &receipt, &error),
		0);
	ck_assert_int_eq(receipt.durability, ANNALS_DURABILITY_FSYNC);
	uint64_t next[2] = {0, 0};
	for (int i = 0; i < 6; i++) {
		uint32_t partition = annals_partition_for_key(keys[i], 1, 2);
		ck_assert_uint_eq(placements[i].partition, partition);
		ck_assert_uint_eq(placements[i].offset, next[partition]++);
	}
}
END_TEST

START_TEST(test_client_append_names_the_bad_event)
{
	struct annals_event events[2] = {event_number(0, NULL), event_number(1, NULL)};
	static const char bad[] = {(char)0xff, 0};
	events[1].type = annals_text(bad);
	ck_assert_int_eq(annals_append(client, "t", 0, events, 2, ANNALS_DURABILITY_TOPIC, WAIT_MS,
				 NULL, NULL, &error),
		ANNALS_E_VALIDATION);
	ck_assert_int_eq((int)error.event_index, 1);
	events[1].type = annals_text("");
	ck_assert_int_eq(annals_append(client, "t", 0, events, 2, ANNALS_DURABILITY_TOPIC, WAIT_MS,
				 NULL, NULL, &error),
		ANNALS_E_VALIDATION);
	ck_assert_uint_eq(fake_server_end(server, 0), 0);
	ck_assert_int_eq(annals_append(client, "t", 0, events, 0, ANNALS_DURABILITY_TOPIC, WAIT_MS,
				 NULL, NULL, &error),
		ANNALS_E_INVALID);
	ck_assert_int_eq(annals_append(client, "none", ANNALS_PARTITION_BY_KEY, events, 1,
				 ANNALS_DURABILITY_TOPIC, WAIT_MS, NULL, NULL, &error),
		ANNALS_E_UNKNOWN_TOPIC);
	ck_assert_int_eq(annals_append(client, "t", 9, events, 1, ANNALS_DURABILITY_TOPIC, WAIT_MS,
				 NULL, NULL, &error),
		ANNALS_E_UNKNOWN_PARTITION);
}
END_TEST

START_TEST(test_client_append_over_the_limit_is_refused_here)
{
	struct annals_event event = event_number(0, NULL);
	size_t size = (4u << 20) + 1;
	char *data = calloc(1, size);
	event.data.data = data;
	event.data.size = size;
	ck_assert_int_eq(annals_append(client, "t", 0, &event, 1, ANNALS_DURABILITY_TOPIC, WAIT_MS,
				 NULL, NULL, &error),
		ANNALS_E_TOO_LARGE);
	free(data);
	ck_assert_int_eq(fake_server_appends(server), 0);
}
END_TEST

START_TEST(test_client_append_is_not_retried)
{
	struct annals_event event = event_number(0, NULL);
	atomic_store(&switches->drop_after_append, 1);
	ck_assert_int_eq(annals_append(client, "t", 0, &event, 1, ANNALS_DURABILITY_TOPIC, WAIT_MS,
				 NULL, NULL, &error),
		ANNALS_E_DISCONNECTED);
	ck_assert_ptr_nonnull(strstr(error.text, "had been sent"));
	ck_assert_int_eq(annals_ping(client, WAIT_MS, NULL, &error), 0);
	ck_assert_uint_eq(fake_server_end(server, 0), 1);
}
END_TEST

START_TEST(test_client_offsets_come_back)
{
	struct annals_offset offsets[2] = {{.topic = "t", .partition = 0, .offset = 5},
		{.topic = "t", .partition = 1, .offset = 9}};
	struct annals_offset *found;
	size_t count;
	ck_assert_int_eq(annals_offsets_commit(client, "g", offsets, 2, WAIT_MS, &error), 0);
	ck_assert_int_eq(
		annals_offsets_fetch(client, "g", NULL, WAIT_MS, &found, &count, &error), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(found[1].offset, 9);
	annals_offsets_free(found, count);
	ck_assert_int_eq(
		annals_offsets_fetch(client, "other", NULL, WAIT_MS, &found, &count, &error), 0);
	ck_assert_uint_eq(count, 0);
	annals_offsets_free(found, count);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client_connection");
	TCase *alone = tcase_create("before connecting");
	tcase_add_checked_fixture(alone, setup_server, teardown);
	tcase_set_timeout(alone, 20);
	tcase_add_test(alone, test_client_options_have_ranges);
	tcase_add_test(alone, test_client_options_refuse_bad_addresses);
	tcase_add_test(alone, test_client_times_out_when_nobody_listens);
	tcase_add_test(alone, test_client_tries_the_next_address);
	tcase_add_test(alone, test_client_refused_hello_is_final);
	tcase_add_test(alone, test_client_external_loop_runs_without_a_thread);
	suite_add_tcase(suite, alone);
	TCase *connected = tcase_create("connected");
	tcase_add_checked_fixture(connected, setup, teardown);
	tcase_set_timeout(connected, 20);
	tcase_add_test(connected, test_client_says_who_the_server_is);
	tcase_add_test(connected, test_client_call_times_out_on_a_mute_server);
	tcase_add_test(connected, test_client_reconnects);
	tcase_add_test(connected, test_client_reads_answers_byte_by_byte);
	tcase_add_test(connected, test_client_refuses_huge_frames);
	tcase_add_test(connected, test_client_pings_and_drops_a_dead_server);
	tcase_add_test(connected, test_client_append_places_every_event);
	tcase_add_test(connected, test_client_append_names_the_bad_event);
	tcase_add_test(connected, test_client_append_over_the_limit_is_refused_here);
	tcase_add_test(connected, test_client_append_is_not_retried);
	tcase_add_test(connected, test_client_offsets_come_back);
	suite_add_tcase(suite, connected);
	return run_suite(suite);
}
