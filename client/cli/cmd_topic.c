#include "cli.h"

#include <string.h>

#define SETTINGS_COUNT 10

/* What create and update have in common. */
struct settings {
	struct annals_topic_config config;
	uint64_t partitions, event_bytes_max;
	const char *durability, *validation;
	uint64_t dedupe_age_us;
	bool streams, query_index, has_dedupe, has_partitions, has_age, has_bytes, has_events,
		has_durability, has_streams, has_event_bytes, has_validation;
};

static void settings_options(struct settings *settings, struct cli_option options[SETTINGS_COUNT])
{
	options[0] = (struct cli_option){"partitions", CLI_NUMBER, &settings->partitions,
		&settings->has_partitions, "N", "how many partitions (1)"};
	options[1] = (struct cli_option){"retention-age", CLI_DURATION_US,
		&settings->config.retention_age_us, &settings->has_age, "DURATION",
		"forget events older than this (0 = never)"};
	options[2] =
		(struct cli_option){"retention-bytes", CLI_SIZE, &settings->config.retention_bytes,
			&settings->has_bytes, "SIZE", "keep at most about so much (0 = all)"};
	options[3] = (struct cli_option){"retention-events", CLI_NUMBER,
		&settings->config.retention_events, &settings->has_events, "N",
		"keep at most about so many (0 = all)"};
	options[4] = (struct cli_option){"durability", CLI_TEXT, &settings->durability,
		&settings->has_durability, "fsync|os", "for appends that do not choose (fsync)"};
	options[5] = (struct cli_option){"event-bytes-max", CLI_SIZE, &settings->event_bytes_max,
		&settings->has_event_bytes, "SIZE", "largest event (0 = the server's limit)"};
	options[6] = (struct cli_option){"dedupe", CLI_DURATION_US, &settings->dedupe_age_us,
		&settings->has_dedupe, "DURATION",
		"store the same source and id once within this time (24h with --streams; 0 = off)"};
	options[7] = (struct cli_option){"validation", CLI_TEXT, &settings->validation,
		&settings->has_validation, "off|warn|enforce",
		"of data by the schemas of the events' types (off)"};
	options[8] = (struct cli_option){"query-index", CLI_FLAG, &settings->query_index, NULL,
		NULL, "index types and tags, for queries and conditions over them"};
	options[9] = (struct cli_option){"streams", CLI_FLAG, &settings->streams,
		&settings->has_streams, NULL, "events with a key get versions per key"};
}

static const char *const validation_names[] = {"off", "warn", "enforce"};

/* Checks what the options could not. */
static int settings_finish(struct settings *settings)
{
	if (settings->partitions > UINT32_MAX || settings->event_bytes_max > UINT32_MAX) {
		fprintf(stderr, "annals: a number is too large\n");
		return CLI_USAGE;
	}
	settings->config.partitions = (uint32_t)settings->partitions;
	settings->config.event_bytes_max = (uint32_t)settings->event_bytes_max;
	settings->config.streams = settings->streams;
	settings->config.query_index = settings->query_index;
	settings->config.dedupe_age_us = settings->dedupe_age_us;
	settings->config.dedupe_off = settings->has_dedupe && settings->dedupe_age_us == 0;
	if (settings->has_durability) {
		bool fsync = strcmp(settings->durability, "fsync") == 0;
		if (!fsync && strcmp(settings->durability, "os") != 0) {
			fprintf(stderr, "annals: '%s' is no durability; it is fsync or os\n",
				settings->durability);
			return CLI_USAGE;
		}
		settings->config.durability =
			fsync ? ANNALS_DURABILITY_FSYNC : ANNALS_DURABILITY_OS;
	}
	if (settings->has_validation) {
		unsigned i = 0;
		while (i < ANNALS_COUNT_OF(validation_names) &&
			strcmp(settings->validation, validation_names[i]) != 0) {
			i++;
		}
		if (i == ANNALS_COUNT_OF(validation_names)) {
			fprintf(stderr,
				"annals: '%s' is no validation; it is off, warn or enforce\n",
				settings->validation);
			return CLI_USAGE;
		}
		settings->config.validation = (enum annals_validation)i;
	}
	return CLI_OK;
}

static const char *limit_text(uint64_t value, const char *text)
{
	return value ? text : "unlimited";
}

static const char *durability_text(enum annals_durability durability)
{
	return durability == ANNALS_DURABILITY_OS ? "os" : "fsync";
}

static void print_topic(const struct cli *cli, const struct annals_topic *topic)
{
	const struct annals_topic_config *config = &topic->config;
	printf("name              %s\n", topic->name);
	printf("id                %u (%s)\n", topic->id, topic->uuid);
	printf("created           %s\n", text_time_us(topic->created_us));
	printf("partitions        %u\n", config->partitions);
	printf("retention-age     %s\n",
		limit_text(config->retention_age_us, text_duration_us(config->retention_age_us)));
	printf("retention-bytes   %s\n",
		limit_text(config->retention_bytes, text_size(config->retention_bytes)));
	printf("retention-events  %s\n",
		limit_text(config->retention_events, text_count(config->retention_events)));
	printf("durability        %s\n", durability_text(config->durability));
	printf("streams           %s\n", config->streams ? "on" : "off");
	printf("dedupe            %s\n",
		config->dedupe_age_us ? text_duration_us(config->dedupe_age_us) : "off");
	printf("query-index       %s\n", config->query_index ? "on" : "off");
	printf("validation        %s\n",
		(unsigned)config->validation < ANNALS_COUNT_OF(validation_names)
			? validation_names[config->validation]
			: "unknown");
	if (topic->partition_count == 0) {
		return;
	}
	struct table table;
	printf("\n");
	table_init(&table, cli, 5, ">partition", ">first", ">end", ">events", ">bytes");
	for (uint32_t i = 0; i < topic->partition_count; i++) {
		const struct annals_partition *partition = &topic->partitions[i];
		table_add(&table, "%u", partition->partition);
		table_add(&table, "%llu", (unsigned long long)partition->first_offset);
		table_add(&table, "%llu", (unsigned long long)partition->end_offset);
		table_add(&table, "%llu",
			(unsigned long long)(partition->end_offset - partition->first_offset));
		table_add(&table, "%llu", (unsigned long long)partition->bytes);
	}
	table_print(&table, stdout);
}

static int run_create(struct cli *cli, int argc, char **argv)
{
	struct settings settings = {.partitions = 1};
	struct cli_option options[SETTINGS_COUNT];
	settings_options(&settings, options);
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int code = settings_finish(&settings);
	if (code == CLI_OK) {
		code = cli_connect(cli);
	}
	if (code != CLI_OK) {
		return code;
	}
	struct annals_error error;
	struct annals_topic *topic;
	int status = annals_topic_create(
		cli->client, argv[0], &settings.config, cli->timeout_ms, &topic, &error);
	if (status < 0) {
		return cli_fail(status, "cannot create topic '%s': %s", argv[0], error.text);
	}
	if (!cli->quiet) {
		printf("%s topic '%s' with %u partition%s\n",
			status ? "created" : "there was already", argv[0], topic->config.partitions,
			topic->config.partitions == 1 ? "" : "s");
	}
	annals_topic_free(topic);
	return CLI_OK;
}

const struct command cmd_topic_create = {
	.name = "topic create",
	.usage = "TOPIC [OPTION ...]",
	.summary = "make a topic",
	.help = "Doing it again with the same settings is fine; with others it is exit code 4. "
		"Names: letters, digits, '.', '_', '-'.\n\n"
		"examples\n"
		"  annals topic create orders --partitions 4\n"
		"  annals topic create logs --retention-age 7d --retention-bytes 10GiB "
		"--durability os\n",
	.run = run_create,
};

static int run_list(struct cli *cli, int argc, char **argv)
{
	int count = cli_parse(cli, NULL, 0, argc, argv, 0, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int code = cli_connect(cli);
	if (code != CLI_OK) {
		return code;
	}
	struct annals_error error;
	struct annals_topic **topics;
	size_t topic_count;
	int status = annals_topic_list(cli->client, count > 0 ? argv[0] : NULL, cli->timeout_ms,
		&topics, &topic_count, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot list topics: %s", error.text);
	}
	struct table table;
	table_init(&table, cli, 5, "topic", ">partitions", "durability", "retention", "created");
	for (size_t i = 0; i < topic_count; i++) {
		const struct annals_topic_config *config = &topics[i]->config;
		table_add(&table, "%s", topics[i]->name);
		table_add(&table, "%u", config->partitions);
		table_add(&table, "%s", durability_text(config->durability));
		table_add(&table, "%s%s%s",
			config->retention_age_us ? text_duration_us(config->retention_age_us)
			: config->retention_bytes || config->retention_events ? ""
									      : "unlimited",
			config->retention_bytes ? " " : "",
			config->retention_bytes ? text_size(config->retention_bytes) : "");
		table_add(&table, "%s", text_time_us(topics[i]->created_us));
	}
	table_print(&table, stdout);
	annals_topics_free(topics, topic_count);
	return CLI_OK;
}

const struct command cmd_topic_list = {
	.name = "topic list",
	.usage = "[PREFIX]",
	.summary = "the topics, or those whose names begin with PREFIX",
	.help = "examples\n"
		"  annals topic list\n"
		"  annals topic list order | cut -f1        names only: elsewhere than on a "
		"terminal columns are separated by tabs\n",
	.run = run_list,
};

static int run_show(struct cli *cli, int argc, char **argv)
{
	int count = cli_parse(cli, NULL, 0, argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int code = cli_connect(cli);
	if (code != CLI_OK) {
		return code;
	}
	struct annals_error error;
	struct annals_topic *topic;
	int status = annals_topic_describe(cli->client, argv[0], cli->timeout_ms, &topic, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot show topic '%s': %s", argv[0], error.text);
	}
	print_topic(cli, topic);
	annals_topic_free(topic);
	return CLI_OK;
}

const struct command cmd_topic_show = {
	.name = "topic show",
	.usage = "TOPIC",
	.summary = "a topic's settings and partitions",
	.help = "'first' is the first offset kept, 'end' one past the last.\n\nexamples\n  annals "
		"topic show orders\n",
	.run = run_show,
};

static int run_update(struct cli *cli, int argc, char **argv)
{
	struct settings settings = {.partitions = 0};
	struct cli_option options[SETTINGS_COUNT];
	settings_options(&settings, options);
	/* Whether a topic has streams and a query index is settled when it is made. */
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options) - 2, argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int code = settings_finish(&settings);
	const char *fields[SETTINGS_COUNT];
	size_t field_count = 0;
	const struct {
		bool given;
		const char *name;
	} all[] = {{settings.has_partitions, "partitions"}, {settings.has_age, "retention_age_us"},
		{settings.has_bytes, "retention_bytes"}, {settings.has_events, "retention_events"},
		{settings.has_durability, "durability"},
		{settings.has_event_bytes, "event_bytes_max"},
		{settings.has_dedupe, "dedupe_age_us"}, {settings.has_validation, "validation"}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(all); i++) {
		if (all[i].given) {
			fields[field_count++] = all[i].name;
		}
	}
	if (code == CLI_OK && field_count == 0) {
		fprintf(stderr, "annals: nothing to change; see 'annals topic update --help'\n");
		code = CLI_USAGE;
	}
	if (code == CLI_OK) {
		code = cli_connect(cli);
	}
	if (code != CLI_OK) {
		return code;
	}
	struct annals_error error;
	struct annals_topic *topic;
	int status = annals_topic_update(cli->client, argv[0], &settings.config, fields,
		field_count, cli->timeout_ms, &topic, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot update topic '%s': %s", argv[0], error.text);
	}
	if (!cli->quiet) {
		print_topic(cli, topic);
	}
	if (settings.has_partitions) {
		fprintf(stderr, "annals: note: keys move when partitions are added; events already "
				"stored stay where they are\n");
	}
	annals_topic_free(topic);
	return CLI_OK;
}

const struct command cmd_topic_update = {
	.name = "topic update",
	.usage = "TOPIC OPTION ...",
	.summary = "change a topic's settings",
	.help = "Only what is named changes. Partitions can be added, not removed.\n\n"
		"examples\n"
		"  annals topic update logs --retention-age 30d\n"
		"  annals topic update orders --partitions 8\n",
	.run = run_update,
};

static int run_delete(struct cli *cli, int argc, char **argv)
{
	bool yes = false;
	struct cli_option options[] = {{"yes", CLI_FLAG, &yes, NULL, NULL, "do not ask"}};
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	if (!yes) {
		char line[8] = "";
		if (!cli->stdout_is_terminal) {
			fprintf(stderr, "annals: deleting topic '%s' needs --yes\n", argv[0]);
			return CLI_USAGE;
		}
		fprintf(stderr, "Delete topic '%s' with all its events and offsets? [y/N] ",
			argv[0]);
		if (!fgets(line, sizeof(line), stdin) || (line[0] != 'y' && line[0] != 'Y')) {
			return CLI_FAILED;
		}
	}
	int code = cli_connect(cli);
	if (code != CLI_OK) {
		return code;
	}
	struct annals_error error;
	int status = annals_topic_delete(cli->client, argv[0], cli->timeout_ms, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot delete topic '%s': %s", argv[0], error.text);
	}
	if (!cli->quiet) {
		printf("deleted topic '%s'\n", argv[0]);
	}
	return CLI_OK;
}

const struct command cmd_topic_delete = {
	.name = "topic delete",
	.usage = "TOPIC [--yes]",
	.summary = "delete a topic with its events and offsets",
	.help = "There is no way back: 'annals dump' first. Asks on a terminal; elsewhere it needs "
		"--yes.\n\n"
		"examples\n  annals topic delete scratch --yes\n",
	.run = run_delete,
};
