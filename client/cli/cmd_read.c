#include "backwards.h"
#include "typed.h"

#include <annals/clock.h>
#include <annals/parse.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_PER_POLL 512
#define TABLE_DATA_MAX 60
#define TAGS_MAX 32
#define LAST_MAX 100000u

struct read {
	struct cli *cli;
	const char *topic, *from, *key, *tags, *output;
	uint64_t partition, limit, last;
	struct buf lines, starts; /* --last: what will be printed, and where each begins */
	bool backwards, has_last;
	bool follow, has_partition, has_limit, header_printed;
	struct annals_position position;
	struct annals_filter filter;
	char *tag_texts; /* a copy of `tags`, cut */
	const char *tag_list[TAGS_MAX];
	struct annals_start start;
	struct buf line;
	uint64_t printed;
	struct typed typed;
	bool as_json;
	enum { OUTPUT_NDJSON, OUTPUT_TABLE, OUTPUT_RAW } format;
};

static bool is_number(const char *text)
{
	return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* earliest, latest, an offset, a time, or so long ago. */
static int parse_from(struct read *read)
{
	const char *from = read->from;
	int64_t time_ns;
	uint64_t ago_us;
	if (strcmp(from, "earliest") == 0) {
		read->start.kind = ANNALS_START_EARLIEST;
	} else if (strcmp(from, "latest") == 0) {
		read->start.kind = ANNALS_START_LATEST;
	} else if (is_number(from)) {
		if (!read->has_partition) {
			fprintf(stderr, "annals: an offset needs --partition\n");
			return CLI_USAGE;
		}
		read->start.kind = ANNALS_START_OFFSETS;
		return cli_number("offset", from, UINT64_MAX, &read->position.offset);
	} else if (from[0] == '-' &&
		   parse_duration_us(bytes_text(from + 1), &ago_us) == ANNALS_OK) {
		uint64_t now_us = clock_wall_us();
		read->start.kind = ANNALS_START_TIME;
		read->start.time_us = now_us > ago_us ? now_us - ago_us : 0;
	} else if (parse_rfc3339_ns(bytes_text(from), &time_ns) == ANNALS_OK && time_ns >= 0) {
		read->start.kind = ANNALS_START_TIME;
		read->start.time_us = (uint64_t)time_ns / 1000;
	} else {
		fprintf(stderr,
			"annals: '%s' is no start; it is earliest, latest, an offset, a time like "
			"2018-01-31T01:49:59Z, or -15m\n",
			from);
		return CLI_USAGE;
	}
	return CLI_OK;
}

/* The server looks for what is wanted. Tags stand between commas, as in annalstags. */
static int parse_filter(struct read *read)
{
	if (read->key) {
		read->filter.has_key = 1;
		read->filter.key = (struct annals_bytes){read->key, strlen(read->key)};
	}
	read->tag_texts = strdup(read->tags ? read->tags : "");
	if (!read->tag_texts) {
		return cli_fail(ANNALS_E_NO_MEMORY, "no memory");
	}
	char *rest = NULL;
	for (char *tag = strtok_r(read->tag_texts, ",", &rest); tag;
		tag = strtok_r(NULL, ",", &rest)) {
		if (read->filter.tag_count == TAGS_MAX) {
			fprintf(stderr, "annals: at most %d tags can be asked for\n", TAGS_MAX);
			return CLI_USAGE;
		}
		read->tag_list[read->filter.tag_count++] = tag;
	}
	read->filter.tags = read->tag_list;
	read->start.filter = &read->filter;
	return CLI_OK;
}

/* Bytes as one line of printable text, cut at so many. */
static int add_printable(struct buf *out, struct annals_bytes bytes, size_t most)
{
	const uint8_t *data = bytes.data;
	size_t size = ANNALS_MIN(bytes.size, most);
	bool text = utf8_is_valid(bytes_of(data, bytes.size));
	while (text && size < bytes.size && size > 0 && (data[size] & 0xc0) == 0x80) {
		size--;
	}
	if (buf_reserve(out, size + 3) != ANNALS_OK) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < size; i++) {
		bool hidden = !text && data[i] >= 0x80;
		out->data[out->size++] = data[i] < 0x20 || data[i] == 0x7f ? ' '
					 : hidden                          ? '.'
									   : data[i];
	}
	return size < bytes.size ? buf_add_text(out, "...") : ANNALS_OK;
}

static void print_header(const struct read *read)
{
	const char *bold = read->cli->colour ? "\033[1m" : "",
		   *plain = read->cli->colour ? "\033[0m" : "";
	if (read->cli->stdout_is_terminal) {
		printf("%s%9s  %10s  %-24s  %-28s  %-16s  %s%s\n", bold, "partition", "offset",
			"recorded", "type", "key", "data", plain);
	} else {
		printf("partition\toffset\trecorded\ttype\tkey\tdata\n");
	}
}

/* Rows as they come: fixed widths, since the rest is not known. */
static int table_line(struct read *read, const struct annals_event *event)
{
	struct buf *line = &read->line;
	bool pretty = read->cli->stdout_is_terminal;
	if (!read->header_printed) {
		read->header_printed = true;
		print_header(read);
	}
	unsigned long long offset = event->offset;
	const char *time = text_time_us(event->recorded_us);
	int status =
		pretty ? buf_printf(line, "%9u  %10llu  %-24s  ", event->partition, offset, time)
		       : buf_printf(line, "%u\t%llu\t%s\t", event->partition, offset, time);
	const struct {
		struct annals_bytes text;
		size_t width;
	} columns[] = {{event->type, 28}, {event->key, 16}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(columns) && status == ANNALS_OK; i++) {
		size_t before = line->size;
		status = add_printable(line, columns[i].text, pretty ? columns[i].width - 3 : 4096);
		while (status == ANNALS_OK && pretty && line->size - before < columns[i].width) {
			status = buf_add_byte(line, ' ');
		}
		if (status == ANNALS_OK) {
			status = buf_add_text(line, pretty ? "  " : "\t");
		}
	}
	return status == ANNALS_OK
		       ? add_printable(line, event->data, pretty ? TABLE_DATA_MAX : SIZE_MAX - 8)
		       : status;
}

/* The event as a line, in read->line. */
static int format_line(
	struct read *read, const struct annals_topic *topic, const struct annals_event *event)
{
	int status = ANNALS_OK;
	buf_reset(&read->line);
	switch (read->format) {
	case OUTPUT_NDJSON:
		status = event_to_json(
			&read->line, topic, event, read->as_json ? &read->typed : NULL);
		break;
	case OUTPUT_RAW:
		status = event->data.size ? buf_add(&read->line, event->data.data, event->data.size)
					  : ANNALS_OK;
		break;
	case OUTPUT_TABLE:
		status = table_line(read, event);
		break;
	}
	return status == ANNALS_OK ? buf_add_byte(&read->line, '\n') : status;
}

static int print(
	struct read *read, const struct annals_topic *topic, const struct annals_event *event)
{
	const int status = format_line(read, topic, event);
	return status == ANNALS_OK && fwrite(read->line.data, 1, read->line.size, stdout) !=
					      read->line.size
		       ? ANNALS_E_IO
		       : status;
}

static int print_failed(const struct annals_event *event, int status)
{
	return cli_fail(status, "cannot print partition %u offset %llu: %s", event->partition,
		(unsigned long long)event->offset, annals_status_text(status));
}

static int print_all(struct read *read, struct reading *reading)
{
	static struct annals_event events[EVENTS_PER_POLL];
	struct annals_error error;
	size_t count;
	int got = 0;
	while ((!read->has_limit || read->printed < read->limit) &&
		(got = reading_next(reading, events, EVENTS_PER_POLL, &count, &error)) == 1) {
		for (size_t i = 0; i < count && (!read->has_limit || read->printed < read->limit);
			i++) {
			int status = print(read, reading->topic, &events[i]);
			if (status == ANNALS_E_IO && errno == EPIPE) {
				return CLI_OK; /* the reader has seen enough */
			}
			if (status != ANNALS_OK) {
				return print_failed(&events[i], status);
			}
			read->printed++;
		}
		if (read->follow) {
			(void)fflush(stdout);
		}
	}
	return got < 0 ? cli_fail(got, "%s", error.text) : CLI_OK;
}

/* ---- From the end ---- */

#define READER_HAS_ENOUGH (-1)

static int take_newest(
	void *arg, const struct annals_topic *topic, const struct annals_event *event)
{
	struct read *read = arg;
	const size_t start = read->lines.size;
	int status;
	if (!read->has_last) {
		status = print(read, topic, event);
		return status == ANNALS_OK                       ? CLI_OK
		       : status == ANNALS_E_IO && errno == EPIPE ? READER_HAS_ENOUGH
								 : print_failed(event, status);
	}
	status = format_line(read, topic, event);
	status = status != ANNALS_OK ? status
				     : buf_add(&read->lines, read->line.data, read->line.size);
	status = status != ANNALS_OK ? status : buf_add(&read->starts, &start, sizeof(start));
	return status == ANNALS_OK ? CLI_OK : print_failed(event, status);
}

/* The lines that were kept, the last one first: so that the oldest event comes first. */
static void print_turned(const struct read *read)
{
	size_t end = read->lines.size;
	for (size_t at = read->starts.size; at > 0; at -= sizeof(size_t)) {
		size_t start;
		memcpy(&start, read->starts.data + at - sizeof(start), sizeof(start));
		(void)fwrite(read->lines.data + start, 1, end - start, stdout);
		end = start;
	}
}

static int print_from_end(struct cli *cli, struct read *read)
{
	const struct backwards how = {.topic = read->topic,
		.has_partition = read->has_partition,
		.partition = (uint32_t)read->partition,
		.before = read->start.kind == ANNALS_START_OFFSETS ? read->position.offset + 1
								   : ANNALS_NEWEST,
		.filter = &read->filter,
		.limit = read->has_last    ? read->last
			 : read->has_limit ? read->limit
					   : UINT64_MAX,
		.take = take_newest,
		.arg = read};
	int code = read_backwards(cli, &how);
	code = code == READER_HAS_ENOUGH ? CLI_OK : code;
	if (code == CLI_OK) {
		print_turned(read);
	}
	buf_release(&read->lines);
	buf_release(&read->starts);
	return code;
}

/* CLI_OK, or CLI_USAGE after a message. */
static int check_from_end(struct read *read, bool has_from)
{
	const char *wrong = NULL;
	read->backwards = read->backwards || read->has_last;
	if (!read->backwards) {
		return CLI_OK;
	}
	if (read->follow) {
		wrong = "--follow goes forwards";
	} else if (read->has_last && (has_from || read->has_limit)) {
		wrong = "--last N are the newest events: without --from and --limit";
	} else if (read->has_last && read->last > LAST_MAX) {
		wrong = "--last keeps at most 100000 events: use --backwards";
	} else if (has_from && !is_number(read->from) && strcmp(read->from, "latest") != 0) {
		wrong = "--backwards begins at the newest event or, with --partition, at an offset";
	}
	if (wrong) {
		fprintf(stderr, "annals: %s\n", wrong);
		return CLI_USAGE;
	}
	read->from = has_from ? read->from : "latest";
	return CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct read read = {.cli = cli, .typed.cli = cli};
	uint64_t version = 0;
	struct cli_option options[] = {
		{"from", CLI_TEXT, &read.from, NULL, "PLACE",
			"earliest, latest, an offset (with --partition), a time, or -15m "
			"(earliest; latest with --follow)"},
		{"partition", CLI_NUMBER, &read.partition, &read.has_partition, "N",
			"only this partition"},
		{"follow", CLI_FLAG, &read.follow, NULL, NULL,
			"wait for new events until interrupted"},
		{"limit", CLI_NUMBER, &read.limit, &read.has_limit, "N",
			"stop after so many events"},
		{"last", CLI_NUMBER, &read.last, &read.has_last, "N",
			"the newest N events, oldest first"},
		{"backwards", CLI_FLAG, &read.backwards, NULL, NULL,
			"newest first, to the beginning or --limit"},
		{"type", CLI_TEXT, &read.filter.type, NULL, "TYPE", "only events of this type"},
		{"type-prefix", CLI_TEXT, &read.filter.type_prefix, NULL, "TEXT",
			"only events whose type begins so"},
		{"subject", CLI_TEXT, &read.filter.subject, NULL, "SUBJECT",
			"only events of this subject"},
		{"key", CLI_TEXT, &read.key, NULL, "KEY", "only events with this key"},
		{"tag", CLI_TEXT, &read.tags, NULL, "TAG,...", "only events with all these tags"},
		{"output", CLI_TEXT, &read.output, NULL, "FORMAT",
			"ndjson, table or raw (ndjson; table on a terminal)"},
		{"json", CLI_FLAG, &read.as_json, NULL, NULL,
			"ndjson with protobuf data as JSON, by the schemas of the events' types"},
		{"schema-version", CLI_NUMBER, &version, NULL, "N",
			"... as this version of their schemas"},
		{"http", CLI_TEXT, &read.typed.http_address, NULL, "HOST:PORT",
			"... from the server that speaks HTTP there ($ANNALS_HTTP, "
			"127.0.0.1:7480)"},
	};
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	read.topic = argv[0];
	if (check_from_end(&read, read.from != NULL) != CLI_OK) {
		return CLI_USAGE;
	}
	read.from = read.from ? read.from : read.follow ? "latest" : "earliest";
	read.output = read.output                                ? read.output
		      : cli->stdout_is_terminal && !read.as_json ? "table"
								 : "ndjson";
	static const char *const formats[] = {"ndjson", "table", "raw"};
	size_t format = 0;
	while (format < ANNALS_COUNT_OF(formats) && strcmp(read.output, formats[format]) != 0) {
		format++;
	}
	if (format == ANNALS_COUNT_OF(formats) || read.partition > UINT32_MAX) {
		fprintf(stderr, "annals: '%s' is no output format; it is ndjson, table or raw\n",
			read.output);
		return CLI_USAGE;
	}
	if (read.as_json && formats[format] != formats[0]) {
		fprintf(stderr, "annals: --json is ndjson\n");
		return CLI_USAGE;
	}
	if (version > UINT32_MAX || (version > 0 && !read.as_json)) {
		fprintf(stderr, "annals: --schema-version is a version's number, with --json\n");
		return CLI_USAGE;
	}
	read.typed.version = (uint32_t)version;
	read.format = (int)format;
	read.position.partition = (uint32_t)read.partition;
	int code = parse_from(&read);
	if (read.has_partition) {
		read.start.partitions = &read.position;
		read.start.partition_count = 1;
	}
	code = code == CLI_OK ? parse_filter(&read) : code;
	if (code == CLI_OK) {
		code = cli_connect(cli);
	}
	if (code != CLI_OK) {
		free(read.tag_texts);
		return code;
	}
	if (read.backwards) {
		code = print_from_end(cli, &read);
	} else {
		struct reading reading;
		code = reading_open(&reading, cli, read.topic, &read.start, read.follow);
		if (code == CLI_OK) {
			code = print_all(&read, &reading);
		}
		reading_close(&reading);
	}
	buf_release(&read.line);
	free(read.tag_texts);
	typed_release(&read.typed);
	return code;
}

const struct command cmd_read = {
	.name = "read",
	.usage = "TOPIC [OPTION ...]",
	.summary = "print events, from the beginning or as they come",
	.help = "Without --follow it ends where the topic ended when it began. ndjson prints one "
		"CloudEvent a line, with annalspartition, annalsoffset,\n"
		"annalsposition and recordedtime; raw prints the data alone. Events of a partition "
		"come in order.\n"
		"With --json what --schema-version could not keep is listed as 'annalslost' "
		"(docs/schemas.md).\n"
		"An event that fails its checksum is reported with its place, and reading ends "
		"with exit code 8.\n\n"
		"examples\n"
		"  annals read orders --limit 10 --output table\n"
		"  annals read orders --follow --from earliest\n"
		"  annals read orders --partition 2 --from 1500\n"
		"  annals read orders --last 20\n"
		"  annals read orders --backwards --type order.cancelled --limit 1\n"
		"  annals read orders --from -15m --type order.cancelled\n"
		"  annals read orders --type-prefix order. --tag seat:7,show:1\n"
		"  annals read quakes --json --schema-version 1\n"
		"  annals read orders --output raw | jq .total\n",
	.run = run,
};
