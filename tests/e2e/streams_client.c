/*
 * Streams, conditions, queries and producers with libannals against a running server:
 * streams_client SERVER TOPIC. The topic has streams and a query index and is empty. Exits 0, or 1
 * after a sentence that says what is wrong.
 */
#include <annals/client.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 10000
#define WRITERS 8
#define ROUNDS 50

static const char *topic;
static struct annals_error error;

#define CHECK(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);            \
			fprintf(stderr, __VA_ARGS__);                                              \
			fprintf(stderr, "\n");                                                     \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static struct annals_client *connect_to(const char *server)
{
	struct annals_options *options = annals_options_new();
	struct annals_client *client = NULL;
	CHECK(annals_options_set_servers(options, server, &error) == 0, "%s", error.text);
	CHECK(annals_connect(options, WAIT_MS, &client, &error) == 0, "%s", error.text);
	annals_options_free(options);
	return client;
}

static int append(struct annals_client *client, const char *key, const char *id, const char *tag,
	const struct annals_conditions *conditions, struct annals_placement *ret,
	struct annals_error *err)
{
	struct annals_bytes tags[] = {annals_text(tag)};
	struct annals_event event = {.type = annals_text("t"),
		.id = annals_text(id),
		.source = annals_text("/test"),
		.key = annals_text(key),
		.has_key = 1,
		.tags = tags,
		.tag_count = tag != NULL ? 1 : 0};
	return annals_append_if(client, topic, conditions, &event, 1, ANNALS_DURABILITY_TOPIC,
		WAIT_MS, ret, NULL, err);
}

static void expected_versions(struct annals_client *client)
{
	struct annals_stream_condition stream = {
		.key = annals_text("order-1"), .expect = ANNALS_EXPECT_NONE};
	struct annals_conditions conditions = {.streams = &stream, .stream_count = 1};
	struct annals_placement placement;
	struct annals_page page = {0};
	int status = append(client, "order-1", "o1", NULL, &conditions, &placement, &error);
	CHECK(status == 0 && placement.version == 0 && !placement.replayed, "%s", error.text);
	status = append(client, "order-1", "o1", NULL, &conditions, &placement, &error);
	CHECK(status == 0 && placement.replayed, "a repeat is answered: %s", error.text);
	status = append(client, "order-1", "o2", NULL, &conditions, &placement, &error);
	CHECK(status == ANNALS_E_PRECONDITION_FAILED && error.conflict.stream_exists &&
			error.conflict.version == 0,
		"%d %s", status, error.text);
	stream.expect = ANNALS_EXPECT_VERSION;
	status = append(client, "order-1", "o2", NULL, &conditions, &placement, &error);
	CHECK(status == 0 && placement.version == 1, "%s", error.text);
	status = annals_stream_read(client, topic, annals_text("order-1"), ANNALS_NEWEST, 1, 10,
		WAIT_MS, &page, &error);
	CHECK(status == 0 && page.exists && page.next_version == 2 && page.count == 2 &&
			page.events[0].version == 1 && page.events[1].version == 0,
		"%s", error.text);
	annals_page_release(&page);
	status = annals_stream_read(
		client, topic, annals_text("nobody"), 0, 0, 10, WAIT_MS, &page, &error);
	CHECK(status == 0 && !page.exists && page.count == 0, "%s", error.text);
	annals_page_release(&page);
}

/* Writers race for the next version of one stream; each version has one winner. */
struct writer {
	pthread_t thread;
	struct annals_client *client;
	unsigned index, won;
};

static void *race(void *arg)
{
	struct writer *writer = arg;
	struct annals_error err = {0};
	uint64_t next = 0;
	while (next < ROUNDS) {
		struct annals_stream_condition stream = {.key = annals_text("race"),
			.expect = next == 0 ? ANNALS_EXPECT_NONE : ANNALS_EXPECT_VERSION,
			.version = next - 1};
		struct annals_conditions conditions = {.streams = &stream, .stream_count = 1};
		struct annals_placement placement;
		char id[32];
		snprintf(id, sizeof(id), "r%u-%llu", writer->index, (unsigned long long)next);
		int status =
			append(writer->client, "race", id, NULL, &conditions, &placement, &err);
		if (status == 0) {
			CHECK(placement.version == next, "version %llu",
				(unsigned long long)placement.version);
			writer->won++;
			next++;
		} else {
			CHECK(status == ANNALS_E_PRECONDITION_FAILED, "%s", err.text);
			CHECK(err.conflict.version >= next, "the conflict names an older version");
			next = err.conflict.version + 1;
		}
	}
	return NULL;
}

static void racing_writers(const char *server)
{
	static struct writer writers[WRITERS];
	unsigned won = 0;
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i].client = connect_to(server);
		writers[i].index = i;
		CHECK(pthread_create(&writers[i].thread, NULL, race, &writers[i]) == 0, "threads");
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		pthread_join(writers[i].thread, NULL);
		annals_client_close(writers[i].client);
		won += writers[i].won;
	}
	CHECK(won == ROUNDS, "%u winners of %u versions", won, ROUNDS);
}

static void queries(struct annals_client *client)
{
	struct annals_bytes tag = annals_text("seat:7");
	struct annals_query_item item = {.tags = &tag, .tag_count = 1};
	struct annals_query query = {.items = &item, .item_count = 1};
	struct annals_conditions conditions = {.query = &query};
	struct annals_placement placement;
	struct annals_page page = {0};
	int status = append(client, "a", "s1", "seat:7", &conditions, &placement, &error);
	CHECK(status == 0, "%s", error.text);
	status = append(client, "b", "s2", "seat:7", &conditions, &placement, &error);
	CHECK(status == ANNALS_E_PRECONDITION_FAILED && error.conflict.position > 0, "%s",
		error.text);
	status = annals_query_read(client, topic, &query, 10, WAIT_MS, &page, &error);
	CHECK(status == 0 && page.count == 1 && page.events[0].version == 0 &&
			page.up_to >= page.events[0].position,
		"%s", error.text);
	annals_page_release(&page);
	conditions.query = NULL;
	conditions.idempotency_key = annals_text("once");
	status = append(client, "c", "", NULL, &conditions, &placement, &error);
	CHECK(status == 0 && !placement.replayed, "%s", error.text);
	status = append(client, "c", "", NULL, &conditions, &placement, &error);
	CHECK(status == 0 && placement.replayed && placement.version == 0, "%s", error.text);
	status = append(client, "c", "x", NULL, &conditions, &placement, &error);
	CHECK(status == ANNALS_E_IDEMPOTENCY, "%d %s", status, error.text);
}

static struct annals_producer *open_producer(struct annals_client *client, const char *name)
{
	struct annals_options *options = annals_options_new();
	struct annals_producer *producer = NULL;
	CHECK(annals_options_set_producer_name(options, name) == 0, "a name");
	CHECK(annals_producer_open(client, topic, options, WAIT_MS, &producer, &error) == 0, "%s",
		error.text);
	annals_options_free(options);
	return producer;
}

static void fenced_producers(struct annals_client *client)
{
	struct annals_event event = {
		.type = annals_text("p"), .key = annals_text("producer"), .has_key = 1};
	struct annals_producer *first = open_producer(client, "worker"), *second;
	for (int i = 0; i < 1000; i++) {
		CHECK(annals_producer_send(first, &event, NULL, WAIT_MS, &error) == 0, "%s",
			error.text);
	}
	CHECK(annals_producer_flush(first, WAIT_MS, &error) == 0, "%s", error.text);
	second = open_producer(client, "worker");
	CHECK(annals_producer_send(second, &event, NULL, WAIT_MS, &error) == 0, "%s", error.text);
	CHECK(annals_producer_flush(second, WAIT_MS, &error) == 0, "%s", error.text);
	CHECK(annals_producer_send(first, &event, NULL, WAIT_MS, &error) == 0, "%s", error.text);
	CHECK(annals_producer_flush(first, WAIT_MS, &error) == ANNALS_E_FENCED,
		"the first producer is fenced: %s", error.text);
	annals_producer_close(first, WAIT_MS);
	annals_producer_close(second, WAIT_MS);
}

int main(int argc, char **argv)
{
	CHECK(argc == 3, "usage: streams_client SERVER TOPIC");
	topic = argv[2];
	struct annals_client *client = connect_to(argv[1]);
	expected_versions(client);
	racing_writers(argv[1]);
	queries(client);
	fenced_producers(client);
	annals_client_close(client);
	return 0;
}
