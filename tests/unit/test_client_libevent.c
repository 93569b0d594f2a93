/* First: its parameters have the names of the fixture's variables. */
#include <annals/client_libevent.h>

#include "client_fixture.h"

/* One libevent loop and no thread: produce, consume, end when everything has come round. */
static struct event_base *base;
static unsigned stored;
static int received;

static void on_delivery(
	struct annals_producer *producer, const struct annals_delivery *delivery, void *arg)
{
	(void)producer;
	(void)arg;
	ck_assert_int_eq(delivery->status, 0);
	stored += delivery->count;
}

static void on_ready(struct annals_consumer *consumer, void *arg)
{
	struct annals_event events[16];
	size_t count;
	(void)arg;
	do {
		ck_assert_int_eq(annals_consumer_poll(consumer, 0, events, 16, &count, &error), 0);
		for (size_t i = 0; i < count; i++) {
			ck_assert_int_eq(number_of(&events[i]), received++);
		}
	} while (count > 0);
	if (received == 1000) {
		event_base_loopbreak(base);
	}
}

START_TEST(test_libevent_loop_drives_everything)
{
	struct annals_libevent glue;
	struct annals_producer *producer;
	struct timeval limit = {10, 0};
	base = event_base_new();
	set(ANNALS_OPTION_EXTERNAL_LOOP, 1);
	annals_options_on_delivery(options, on_delivery, NULL);
	ck_assert_int_eq(annals_client_open(options, &client, &error), 0);
	struct annals_consumer *consumer = consume_earliest();
	annals_consumer_on_ready(consumer, on_ready, NULL);
	ck_assert_int_eq(annals_producer_open(client, "t", options, WAIT_MS, &producer, &error), 0);
	ck_assert_int_eq(annals_libevent_attach(&glue, base, client), 0);
	for (int i = 0; i < 1000; i++) {
		struct annals_event event = event_number(i, NULL);
		ck_assert_int_eq(annals_producer_send_to(producer, 1, &event, NULL, 0, &error), 0);
	}
	event_base_loopexit(base, &limit);
	event_base_dispatch(base);
	ck_assert_int_eq(received, 1000);
	ck_assert_uint_eq(stored, 1000);
	annals_libevent_detach(&glue);
	ck_assert_int_eq(annals_producer_close(producer, WAIT_MS), 0);
	annals_consumer_close(consumer);
	event_base_free(base);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client_libevent");
	TCase *tcase = tcase_create("libevent");
	tcase_add_checked_fixture(tcase, setup_server, teardown);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, test_libevent_loop_drives_everything);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
