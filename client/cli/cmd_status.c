#include "cli.h"

#include <annals/clock.h>

/* Sums over a topic's partitions. */
static void add_topic(struct cli *cli, struct table *table, const char *name)
{
	struct annals_topic *topic;
	uint64_t events = 0, bytes = 0;
	if (annals_topic_describe(cli->client, name, cli->timeout_ms, &topic, NULL) != ANNALS_OK) {
		return; /* deleted meanwhile */
	}
	for (uint32_t i = 0; i < topic->partition_count; i++) {
		events += topic->partitions[i].end_offset - topic->partitions[i].first_offset;
		bytes += topic->partitions[i].bytes;
	}
	table_add(table, "%s", name);
	table_add(table, "%u", topic->partition_count);
	if (cli->stdout_is_terminal) {
		table_add(table, "%s", text_count(events));
		table_add(table, "%s", text_size(bytes));
	} else { /* plain numbers for programs */
		table_add(table, "%llu", (unsigned long long)events);
		table_add(table, "%llu", (unsigned long long)bytes);
	}
	annals_topic_free(topic);
}

static int run(struct cli *cli, int argc, char **argv)
{
	int count = cli_parse(cli, NULL, 0, argc, argv, 0, 0);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int code = cli_connect(cli);
	if (code != CLI_OK) {
		return code;
	}
	struct annals_error error;
	struct annals_server_info info;
	struct annals_topic **topics;
	size_t topic_count;
	uint64_t before_ns = clock_monotonic_ns(), server_us = 0;
	int status = annals_ping(cli->client, cli->timeout_ms, &server_us, &error);
	uint64_t after_ns = clock_monotonic_ns();
	if (status == ANNALS_OK) {
		status = annals_client_server(cli->client, &info);
	}
	if (status == ANNALS_OK) {
		status = annals_topic_list(
			cli->client, NULL, cli->timeout_ms, &topics, &topic_count, &error);
	}
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot ask the server: %s", annals_status_text(status));
	}
	printf("server   %s %s at %s, protocol %u\n", info.name, info.version, info.address,
		info.protocol_version);
	printf("store    %s\n", info.store_uuid);
	printf("time     %s, answered in %.2f ms\n", text_time_us(server_us),
		(double)(after_ns - before_ns) / 1e6);
	printf("topics   %s\n", text_count(topic_count));
	if (topic_count > 0) {
		struct table table;
		printf("\n");
		table_init(&table, cli, 4, "topic", ">partitions", ">events", ">stored");
		for (size_t i = 0; i < topic_count; i++) {
			add_topic(cli, &table, topics[i]->name);
		}
		table_print(&table, stdout);
	}
	annals_topics_free(topics, topic_count);
	return CLI_OK;
}

const struct command cmd_status = {
	.name = "status",
	.usage = "",
	.summary = "the server and its topics at a glance",
	.help = "Exit code 5 when no server answers: good for scripts that wait for "
		"one.\n\nexamples\n  annals status\n  annals status --server 127.0.0.1:7450 "
		"--timeout 1s\n",
	.run = run,
};
