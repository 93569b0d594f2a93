/*
 * Appends numbered readings of three sensors in the background and prints where each batch went.
 *
 *   make && ./producer [HOST:PORT]
 */
#include <annals/client.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs on the library's thread: one call per batch, stored or given up. */
static void on_delivery(
	struct annals_producer *producer, const struct annals_delivery *delivery, void *arg)
{
	(void)producer;
	(void)arg;
	if (delivery->status == ANNALS_OK) {
		printf("stored %u events in partition %u from offset %llu\n", delivery->count,
			delivery->partition, (unsigned long long)delivery->offset);
	} else {
		fprintf(stderr, "lost %u events: %s\n", delivery->count, delivery->error->text);
	}
}

static int fail(const char *what, const struct annals_error *error)
{
	fprintf(stderr, "cannot %s: %s\n", what, error->text);
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct annals_error error;
	struct annals_client *client;
	struct annals_producer *producer;
	struct annals_options *options = annals_options_new();
	if (!options || annals_options_set_servers(
				options, argc > 1 ? argv[1] : "127.0.0.1:7450", &error) != 0) {
		return fail("use the address", &error);
	}
	annals_options_on_delivery(options, on_delivery, NULL);
	if (annals_connect(options, 5000, &client, &error) != 0) {
		return fail("connect", &error);
	}
	struct annals_topic_config config = {.partitions = 3};
	if (annals_topic_create(client, "readings", &config, 5000, NULL, &error) < 0) {
		return fail("create the topic", &error);
	}
	if (annals_producer_open(client, "readings", options, 5000, &producer, &error) != 0) {
		return fail("open a producer", &error);
	}
	for (int i = 0; i < 300; i++) {
		char key[16], data[64];
		snprintf(key, sizeof(key), "sensor-%d", i % 3);
		snprintf(data, sizeof(data), "{\"number\":%d,\"celsius\":%.1f}", i, 20.0 + i % 7);
		struct annals_event event = {
			.source = annals_text("/examples/producer"),
			.type = annals_text("reading"),
			.datacontenttype = annals_text("application/json"),
			.key = annals_text(key), /* same key, same partition: order per sensor */
			.data = annals_text(data),
			.has_key = 1,
			.has_data = 1,
		};
		/* Waits up to a second when too much is unanswered; the event is copied. */
		if (annals_producer_send(producer, &event, NULL, 1000, &error) != 0) {
			return fail("send", &error);
		}
	}
	int status = annals_producer_close(producer, 10000);
	annals_client_close(client);
	annals_options_free(options);
	return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
