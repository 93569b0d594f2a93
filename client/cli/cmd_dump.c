#include "dumpfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVENTS_PER_POLL 512

struct dump {
	struct cli *cli;
	const char *topic, *file_name, *format;
	bool resume, binary;
	FILE *file;
	struct annals_position *positions;
	uint32_t partitions;
	uint64_t events;
};

/* Where each partition begins. */
static int plan(struct dump *dump)
{
	struct annals_error error;
	struct annals_topic *topic;
	int status = annals_topic_describe(
		dump->cli->client, dump->topic, dump->cli->timeout_ms, &topic, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot dump topic '%s': %s", dump->topic, error.text);
	}
	dump->partitions = topic->partition_count;
	dump->positions = calloc(topic->partition_count + 1, sizeof(*dump->positions));
	for (uint32_t i = 0; dump->positions && i < topic->partition_count; i++) {
		dump->positions[i] = (struct annals_position){
			topic->partitions[i].partition, topic->partitions[i].first_offset};
	}
	annals_topic_free(topic);
	return dump->positions ? CLI_OK : cli_fail(ANNALS_E_NO_MEMORY, "no memory");
}

/* Reads what an interrupted dump left, goes on behind its last whole event. */
static int resume(struct dump *dump)
{
	struct dumpfile old;
	struct annals_event event;
	int code = dumpfile_open(&old, dump->file_name), got = 0;
	while (code == CLI_OK && (got = dumpfile_next(&old, &event)) == 1) {
		if (event.partition < dump->partitions) {
			dump->positions[event.partition].offset = event.offset + 1;
		}
	}
	uint64_t bytes = old.bytes;
	bool same = old.binary == dump->binary;
	dumpfile_close(&old);
	if (code != CLI_OK || got < 0) {
		return code != CLI_OK ? code : cli_exit_of(got);
	}
	if (!same && bytes > 0) {
		fprintf(stderr, "annals: '%s' has the other format\n", dump->file_name);
		return CLI_USAGE;
	}
	if (truncate(dump->file_name, (off_t)bytes) != 0) {
		return cli_fail(ANNALS_E_IO, "cannot cut '%s' behind its last whole event: %s",
			dump->file_name, strerror(errno));
	}
	return CLI_OK;
}

static int open_file(struct dump *dump)
{
	bool resuming = dump->resume && access(dump->file_name, F_OK) == 0;
	if (resuming) {
		int code = resume(dump);
		if (code != CLI_OK) {
			return code;
		}
	}
	dump->file = strcmp(dump->file_name, "-") == 0
			     ? stdout
			     : fopen(dump->file_name, resuming ? "ab" : "wbx");
	if (!dump->file) {
		return errno == EEXIST
			       ? cli_fail(ANNALS_E_CONFLICT, "'%s' exists; --resume continues it",
					 dump->file_name)
			       : cli_fail(ANNALS_E_IO, "cannot open '%s': %s", dump->file_name,
					 strerror(errno));
	}
	if (dump->binary && (!resuming || ftello(dump->file) == 0) &&
		dumpfile_write_header(dump->file, dump->partitions) != ANNALS_OK) {
		return cli_fail(
			ANNALS_E_IO, "cannot write '%s': %s", dump->file_name, strerror(errno));
	}
	return CLI_OK;
}

static int write_one(struct dump *dump, const struct annals_topic *topic,
	const struct annals_event *event, struct buf *line)
{
	if (dump->binary) {
		return dumpfile_write(dump->file, event);
	}
	buf_reset(line);
	int status = event_to_json(line, topic, event, NULL);
	if (status == ANNALS_OK) {
		status = buf_add_byte(line, '\n');
	}
	return status == ANNALS_OK && fwrite(line->data, 1, line->size, dump->file) != line->size
		       ? ANNALS_E_IO
		       : status;
}

static int copy(struct dump *dump, struct reading *reading)
{
	static struct annals_event events[EVENTS_PER_POLL];
	struct buf line ANNALS_CLEANUP(buf_release) = BUF_INIT;
	struct annals_error error;
	struct progress progress;
	size_t count;
	int got;
	progress_init(&progress, dump->cli, "dumping", reading->total_events);
	while ((got = reading_next(reading, events, EVENTS_PER_POLL, &count, &error)) == 1) {
		for (size_t i = 0; i < count; i++) {
			int status = write_one(dump, reading->topic, &events[i], &line);
			if (status != ANNALS_OK) {
				progress_end(&progress);
				return cli_fail(status, "cannot write '%s': %s", dump->file_name,
					status == ANNALS_E_IO ? strerror(errno)
							      : annals_status_text(status));
			}
		}
		dump->events += count;
		progress_show(&progress, dump->events, dump->events);
	}
	progress_end(&progress);
	return got < 0 ? cli_fail(got, "%s", error.text) : CLI_OK;
}

static int dump_all(struct dump *dump)
{
	struct reading reading;
	struct annals_start start = {
		ANNALS_START_OFFSETS, 0, dump->positions, dump->partitions, NULL};
	int code = reading_open(&reading, dump->cli, dump->topic, &start, false);
	if (code == CLI_OK) {
		code = copy(dump, &reading);
	}
	reading_close(&reading);
	bool closed = (dump->file == stdout ? fflush(stdout)
					    : fsync(fileno(dump->file)) | fclose(dump->file)) == 0;
	if (!closed && code == CLI_OK) {
		code = cli_fail(
			ANNALS_E_IO, "cannot finish '%s': %s", dump->file_name, strerror(errno));
	}
	if (!dump->cli->quiet) {
		fprintf(stderr, "dumped %s events of '%s' to '%s'%s\n", text_count(dump->events),
			dump->topic, dump->file_name,
			cli_interrupted() ? "; --resume continues" : "");
	}
	return code;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct dump dump = {.cli = cli};
	struct cli_option options[] = {
		{"format", CLI_TEXT, &dump.format, NULL, "FORMAT",
			"ndjson or binary (binary keeps every byte; ndjson for stdout)"},
		{"resume", CLI_FLAG, &dump.resume, NULL, NULL,
			"continue an interrupted dump, or add what came since"},
	};
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 2);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	dump.topic = argv[0];
	dump.file_name = count > 1 ? argv[1] : "-";
	dump.binary = dump.format ? strcmp(dump.format, "binary") == 0 : count > 1;
	if (dump.format && !dump.binary && strcmp(dump.format, "ndjson") != 0) {
		fprintf(stderr, "annals: '%s' is no dump format; it is ndjson or binary\n",
			dump.format);
		return CLI_USAGE;
	}
	int code = cli_connect(cli);
	if (code == CLI_OK) {
		code = plan(&dump);
	}
	if (code == CLI_OK) {
		code = open_file(&dump);
	}
	if (code == CLI_OK) {
		code = dump_all(&dump);
	}
	free(dump.positions);
	return code;
}

const struct command cmd_dump = {
	.name = "dump",
	.usage = "TOPIC [FILE] [OPTION ...]",
	.summary = "copy a topic to a file or stdout",
	.help = "Each event with its partition and offset. Interrupted or repeated later, --resume "
		"goes on behind what the file holds.\n\nexamples\n"
		"  annals dump orders orders.dump\n"
		"  annals dump orders orders.dump --resume\n"
		"  annals dump orders --format ndjson | gzip > orders.ndjson.gz\n",
	.run = run,
};
