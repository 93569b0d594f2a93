/*
 * Reads the topic "readings" as the group "example": goes on where it had stopped, commits how far
 * it came, ends when nothing came for a second.
 *
 *   make && ./consumer [HOST:PORT]
 */
#include <annals/client.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUP "example"
#define TOPIC "readings"
#define PARTITIONS_MAX 64

static int fail(const char *what, const struct annals_error *error)
{
	fprintf(stderr, "cannot %s: %s\n", what, error->text);
	return EXIT_FAILURE;
}

/* Where each partition is read from: the committed offset, else the first one kept. */
static int find_start(struct annals_client *client, struct annals_position *positions,
	size_t *ret_count, struct annals_error *error)
{
	struct annals_topic *topic;
	struct annals_offset *offsets;
	size_t count;
	int status = annals_topic_describe(client, TOPIC, 5000, &topic, error);
	if (status != 0) {
		return status;
	}
	*ret_count =
		topic->partition_count < PARTITIONS_MAX ? topic->partition_count : PARTITIONS_MAX;
	for (size_t i = 0; i < *ret_count; i++) {
		positions[i].partition = topic->partitions[i].partition;
		positions[i].offset = topic->partitions[i].first_offset;
	}
	annals_topic_free(topic);
	status = annals_offsets_fetch(client, GROUP, TOPIC, 5000, &offsets, &count, error);
	if (status != 0) {
		return status;
	}
	for (size_t i = 0; i < count; i++) {
		if (offsets[i].partition < *ret_count) {
			positions[offsets[i].partition].offset = offsets[i].offset;
		}
	}
	annals_offsets_free(offsets, count);
	return 0;
}

/* Handles events until none comes for a second. What was handled is committed after each poll: at
 * least once. */
static int consume(
	struct annals_client *client, struct annals_consumer *consumer, struct annals_error *error)
{
	struct annals_event events[100];
	size_t count;
	do {
		int status = annals_consumer_poll(consumer, 1000, events, 100, &count, error);
		if (status != 0) {
			return status;
		}
		for (size_t i = 0; i < count; i++) {
			printf("%u/%llu %.*s %.*s\n", events[i].partition,
				(unsigned long long)events[i].offset, (int)events[i].key.size,
				(const char *)events[i].key.data, (int)events[i].data.size,
				(const char *)events[i].data.data);
		}
		/* All events of one poll come from one partition. */
		if (count > 0) {
			struct annals_offset offset = {.topic = TOPIC,
				.partition = events[0].partition,
				.offset = events[count - 1].offset + 1};
			status = annals_offsets_commit(client, GROUP, &offset, 1, 5000, error);
			if (status != 0) {
				return status;
			}
		}
	} while (count > 0);
	return 0;
}

int main(int argc, char **argv)
{
	struct annals_error error;
	struct annals_client *client;
	struct annals_consumer *consumer;
	struct annals_position positions[PARTITIONS_MAX];
	size_t count;
	struct annals_options *options = annals_options_new();
	if (!options || annals_options_set_servers(
				options, argc > 1 ? argv[1] : "127.0.0.1:7450", &error) != 0) {
		return fail("use the address", &error);
	}
	if (annals_connect(options, 5000, &client, &error) != 0) {
		return fail("connect", &error);
	}
	if (find_start(client, positions, &count, &error) != 0) {
		return fail("find where to start", &error);
	}
	struct annals_start start = {
		.kind = ANNALS_START_OFFSETS, .partitions = positions, .partition_count = count};
	if (annals_consumer_open(client, TOPIC, &start, options, 5000, &consumer, &error) != 0) {
		return fail("open a consumer", &error);
	}
	int status = consume(client, consumer, &error);
	annals_consumer_close(consumer);
	annals_client_close(client);
	annals_options_free(options);
	return status == 0 ? EXIT_SUCCESS : fail("go on", &error);
}
