#include "dumpfile.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct load {
	struct cli *cli;
	const char *topic, *file_name;
	uint64_t partitions;
	bool resume, has_partitions;
	struct annals_producer *producer;
	uint64_t *skip; /* per partition: events of the file that are there already */
	uint32_t partition_count;
	uint64_t events, skipped;
};

/* A file without a header says how many partitions there were by its events. */
static int count_partitions(struct load *load)
{
	struct dumpfile file;
	struct annals_event event;
	int code = dumpfile_open(&file, load->file_name), got = 0;
	load->partitions = ANNALS_MAX(file.partitions, 1u);
	while (code == CLI_OK && !file.binary && (got = dumpfile_next(&file, &event)) == 1) {
		load->partitions = ANNALS_MAX(load->partitions, (uint64_t)event.partition + 1);
	}
	dumpfile_close(&file);
	return got < 0 ? cli_exit_of(got) : code;
}

/* Finds the topic, or makes it as the file has it. */
static int find_topic(struct load *load, struct annals_topic **ret)
{
	struct annals_error error;
	struct annals_client *client = load->cli->client;
	int status = annals_topic_describe(client, load->topic, load->cli->timeout_ms, ret, &error);
	if (status == ANNALS_E_UNKNOWN_TOPIC) {
		int code = load->has_partitions ? CLI_OK : count_partitions(load);
		if (code != CLI_OK) {
			return code;
		}
		struct annals_topic_config config = {
			.partitions = (uint32_t)ANNALS_MIN(load->partitions, UINT32_MAX)};
		status = annals_topic_create(
			client, load->topic, &config, load->cli->timeout_ms, NULL, &error);
		if (status >= 0) {
			status = annals_topic_describe(
				client, load->topic, load->cli->timeout_ms, ret, &error);
		}
	}
	return status == ANNALS_OK ? CLI_OK
				   : cli_fail(status, "cannot load into topic '%s': %s",
					     load->topic, error.text);
}

static int prepare(struct load *load)
{
	struct annals_topic *topic;
	int code = find_topic(load, &topic);
	if (code != CLI_OK) {
		return code;
	}
	load->partition_count = topic->partition_count;
	load->skip = calloc(topic->partition_count + 1, sizeof(*load->skip));
	for (uint32_t i = 0; load->skip && i < topic->partition_count; i++) {
		load->skip[i] = topic->partitions[i].end_offset;
		if (load->skip[i] > 0 && !load->resume) {
			code = cli_fail(ANNALS_E_CONFLICT,
				"topic '%s' is not empty; --resume continues a load that was "
				"interrupted",
				load->topic);
			break;
		}
	}
	annals_topic_free(topic);
	return load->skip ? code : cli_fail(ANNALS_E_NO_MEMORY, "no memory");
}

static int send(struct load *load, const struct annals_event *event)
{
	struct annals_error error;
	if (event->partition >= load->partition_count) {
		return cli_fail(ANNALS_E_UNKNOWN_PARTITION,
			"'%s' holds partition %u; topic '%s' has %u partitions", load->file_name,
			event->partition, load->topic, load->partition_count);
	}
	if (load->skip[event->partition] > 0) {
		load->skip[event->partition]--;
		load->skipped++;
		return CLI_OK;
	}
	int status = annals_producer_send_to(
		load->producer, event->partition, event, NULL, load->cli->timeout_ms, &error);
	load->events++;
	return status == ANNALS_OK ? CLI_OK
				   : cli_fail(status, "cannot load into topic '%s': %s",
					     load->topic, error.text);
}

static int load_all(struct load *load)
{
	struct annals_error error;
	struct dumpfile file;
	struct annals_event event;
	struct progress progress;
	struct stat info;
	int got = 0;
	int code = dumpfile_open(&file, load->file_name);
	progress_init(&progress, load->cli, "loading",
		stat(load->file_name, &info) == 0 ? (uint64_t)info.st_size : 0);
	if (code == CLI_OK) {
		int status = annals_producer_open(load->cli->client, load->topic,
			load->cli->options, load->cli->timeout_ms, &load->producer, &error);
		code = status == ANNALS_OK ? CLI_OK
					   : cli_fail(status, "cannot load into topic '%s': %s",
						     load->topic, error.text);
	}
	while (code == CLI_OK && !cli_interrupted() && (got = dumpfile_next(&file, &event)) == 1) {
		code = send(load, &event);
		progress_show(&progress, load->events + load->skipped, file.bytes);
	}
	dumpfile_close(&file);
	if (load->producer) {
		int status = annals_producer_flush(load->producer, 120000, &error);
		progress_end(&progress);
		if (status != ANNALS_OK) {
			code = cli_fail(
				status, "cannot load into topic '%s': %s", load->topic, error.text);
		}
		annals_producer_close(load->producer, 0);
	}
	return got < 0 ? cli_exit_of(got) : code;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct load load = {.cli = cli};
	struct cli_option options[] = {
		{"partitions", CLI_NUMBER, &load.partitions, &load.has_partitions, "N",
			"when the topic is made: how many (as in the file)"},
		{"resume", CLI_FLAG, &load.resume, NULL, NULL,
			"continue: skip as many events of each partition as the topic holds"},
	};
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 2, 2);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	load.topic = argv[0];
	load.file_name = argv[1];
	int code = cli_connect(cli);
	if (code == CLI_OK) {
		code = prepare(&load);
	}
	if (code == CLI_OK) {
		code = load_all(&load);
	}
	if (code == CLI_OK && !cli->quiet) {
		printf("loaded %s events into '%s'", text_count(load.events), load.topic);
		if (load.skipped > 0) {
			printf(", skipped %s that were there", text_count(load.skipped));
		}
		printf("\n");
	}
	free(load.skip);
	return code;
}

const struct command cmd_load = {
	.name = "load",
	.usage = "TOPIC FILE [OPTION ...]",
	.summary = "append what 'annals dump' wrote",
	.help = "Events keep their partitions and their order; the topic is made when it does not "
		"exist. Both formats are recognised.\n"
		"--resume trusts that the topic holds nothing but the beginning of this "
		"file.\n\nexamples\n"
		"  annals load orders-copy orders.dump\n"
		"  annals load orders-copy orders.dump --resume\n",
	.run = run,
};
