#include "http.h"
#include "typed.h"

#include <annals/clock.h>
#include <annals/cloudevents.h>
#include <annals/parse.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LINE_BYTES_MAX (8u << 20)

struct append {
	struct cli *cli;
	const char *topic;
	struct annals_producer *producer;
	struct progress progress;
	struct cloudevent parsed;
	struct typed *typed; /* with --json */
	struct event_room room;
	const char *http_address;
	uint64_t events, bytes;
	uint64_t later; /* of events: due later */
	uint32_t partition;
	/* of the delivery callback, under lock */
	pthread_mutex_t lock;
	int failed;
	uint64_t stored;
	char text[256];
};

static void on_delivery(
	struct annals_producer *producer, const struct annals_delivery *delivery, void *arg)
{
	struct append *append = arg;
	(void)producer;
	pthread_mutex_lock(&append->lock);
	if (delivery->status == ANNALS_OK) {
		append->stored += delivery->count;
	} else if (!append->failed) {
		append->failed = delivery->status;
		snprintf(append->text, sizeof(append->text), "%s", delivery->error->text);
	}
	pthread_mutex_unlock(&append->lock);
}

static int failure(struct append *append)
{
	pthread_mutex_lock(&append->lock);
	int failed = append->failed;
	pthread_mutex_unlock(&append->lock);
	return failed;
}

static bool is_due_later(const struct record *record)
{
	return record->has_due && record->due_ns > 0 &&
	       (uint64_t)record->due_ns / 1000 > clock_wall_us();
}

/* A line whose event is due later: the schedule is behind HTTP only, and takes what it reads. */
static int append_later(struct append *append, const char *name, uint64_t line, struct bytes text)
{
	struct cli_http http = {.address = append->http_address};
	char what[64], number[16];
	int status, code;

	(void)snprintf(what, sizeof(what), "%.30s line %llu", name, (unsigned long long)line);
	if (append->typed != NULL) {
		return cli_fail(
			ANNALS_E_INVALID, "%s: an event that is due later takes no --json", what);
	}
	status = cli_http_path(&http, "/v1/topics/", append->topic);
	if (status == 0 && append->partition != ANNALS_PARTITION_BY_KEY) {
		(void)snprintf(number, sizeof(number), "%u", append->partition);
		status = cli_http_path(&http, "/partitions/", number);
	}
	status = status != 0 ? status : cli_http_path(&http, "/events", NULL);
	code = status != 0 ? cli_fail(status, "no memory")
			   : cli_http_exchange(append->cli, &http, "POST",
				     "application/cloudevents+json", text);
	if (code == CLI_OK && http.status / 100 != 2) {
		code = cli_http_problem(&http, what);
	} else if (code == CLI_OK) {
		append->events++;
		append->later++;
		progress_show(&append->progress, append->events, append->bytes);
	}
	cli_http_release(&http);
	return code;
}

/* One line of a file. CLI_OK or an exit code after a message. */
static int append_line(struct append *append, const char *name, uint64_t line, struct bytes text)
{
	struct error err = {0, ""};
	struct annals_error error;
	struct annals_event event;
	while (text.size > 0 &&
		(text.data[text.size - 1] == '\n' || text.data[text.size - 1] == '\r' ||
			text.data[text.size - 1] == ' ')) {
		text.size--;
	}
	if (text.size == 0) {
		return CLI_OK;
	}
	int status = cloudevent_from_json(&append->parsed, text, &err);
	if (status != ANNALS_OK) {
		return cli_fail(
			status, "%s line %llu: %s", name, (unsigned long long)line, err.text);
	}
	if (is_due_later(&append->parsed.record)) {
		return append_later(append, name, line, text);
	}
	if (append->typed != NULL) {
		char what[64];
		(void)snprintf(
			what, sizeof(what), "%.30s line %llu", name, (unsigned long long)line);
		const int code = typed_take(append->typed, &append->parsed.record, what);
		if (code != CLI_OK) {
			return code;
		}
	}
	event_of_record(&append->parsed.record, &append->room, &event);
	status = annals_producer_send_to(
		append->producer, append->partition, &event, NULL, append->cli->timeout_ms, &error);
	if (status != ANNALS_OK) {
		return cli_fail(
			status, "%s line %llu: %s", name, (unsigned long long)line, error.text);
	}
	append->events++;
	progress_show(&append->progress, append->events, append->bytes);
	return CLI_OK;
}

static int append_file(struct append *append, const char *name, FILE *file)
{
	char *line = NULL;
	size_t capacity = 0;
	uint64_t number = 0;
	int code = CLI_OK;
	ssize_t size;
	while (code == CLI_OK && !cli_interrupted() && !failure(append) &&
		(size = getline(&line, &capacity, file)) >= 0) {
		number++;
		append->bytes += (uint64_t)size;
		code = (size_t)size > LINE_BYTES_MAX
			       ? cli_fail(ANNALS_E_TOO_LARGE,
					 "%s line %llu: a line of more than %u bytes", name,
					 (unsigned long long)number, LINE_BYTES_MAX)
			       : append_line(append, name, number, bytes_of(line, (size_t)size));
	}
	if (code == CLI_OK && ferror(file)) {
		code = cli_fail(ANNALS_E_IO, "cannot read '%s': %s", name, strerror(errno));
	}
	free(line);
	return code;
}

static int append_files(struct append *append, char **names, int count)
{
	int code = CLI_OK;
	for (int i = 0; i < count && code == CLI_OK; i++) {
		bool standard = strcmp(names[i], "-") == 0;
		FILE *file = standard ? stdin : fopen(names[i], "r");
		if (!file) {
			return cli_fail(
				ANNALS_E_IO, "cannot open '%s': %s", names[i], strerror(errno));
		}
		code = append_file(append, standard ? "stdin" : names[i], file);
		if (!standard) {
			(void)fclose(file);
		}
	}
	return code;
}

static uint64_t total_size(char **names, int count)
{
	uint64_t total = 0;
	struct stat info;
	for (int i = 0; i < count; i++) {
		if (strcmp(names[i], "-") == 0 || stat(names[i], &info) != 0 ||
			!S_ISREG(info.st_mode)) {
			return 0;
		}
		total += (uint64_t)info.st_size;
	}
	return total;
}

/* Flushes and says how it went. What is stored stays stored, also when a later line was bad. */
static int finish(struct append *append, int code)
{
	struct annals_error error = {0};
	int status;
	do {
		status = annals_producer_flush(append->producer, 200, &error);
		progress_show(&append->progress, append->events, append->bytes);
	} while (status == ANNALS_E_TIMEOUT && !cli_interrupted());
	progress_end(&append->progress);
	uint64_t nanoseconds = clock_monotonic_ns() - append->progress.started_ns;
	annals_producer_close(append->producer, 0);
	if (append->failed) {
		code = cli_fail(append->failed, "cannot append to topic '%s': %s", append->topic,
			append->text);
	}
	if (!append->cli->quiet || code != CLI_OK) {
		fprintf(code == CLI_OK ? stdout : stderr, "%s %s event%s to '%s' in %.2f s\n",
			code == CLI_OK ? "appended" : "annals: appended only",
			text_count(append->stored + append->later),
			append->stored + append->later == 1 ? "" : "s", append->topic,
			(double)nanoseconds / 1e9);
		if (append->later > 0) {
			fprintf(code == CLI_OK ? stdout : stderr, "%s of them wait until due\n",
				text_count(append->later));
		}
	}
	return code;
}

static int append_many(struct append *append, char **names, int count)
{
	static char *standard[] = {(char *)(uintptr_t) "-"};
	struct annals_error error;
	if (count == 0) {
		names = standard;
		count = 1;
	}
	progress_init(&append->progress, append->cli, "appending", total_size(names, count));
	annals_options_on_delivery(append->cli->options, on_delivery, append);
	int status = annals_producer_open(append->cli->client, append->topic, append->cli->options,
		append->cli->timeout_ms, &append->producer, &error);
	if (status != ANNALS_OK) {
		return cli_fail(
			status, "cannot append to topic '%s': %s", append->topic, error.text);
	}
	cloudevent_init(&append->parsed);
	int code = append_files(append, names, count);
	cloudevent_release(&append->parsed);
	return finish(append, code);
}

/* The events named by arguments: one request, all or none. */
static int append_one(struct append *append, struct annals_event *event, const char *const *data,
	size_t data_count)
{
	struct annals_error error;
	size_t count = ANNALS_MAX(data_count, 1u);
	struct annals_event *events = calloc(count, sizeof(*events));
	struct annals_placement *placements = calloc(count, sizeof(*placements));
	if (!events || !placements) {
		free(events);
		free(placements);
		return cli_fail(ANNALS_E_NO_MEMORY, "no memory");
	}
	for (size_t i = 0; i < count; i++) {
		events[i] = *event;
		if (data_count > 0) {
			events[i].data = annals_text(data[i]);
			events[i].has_data = 1;
		}
	}
	int status = annals_append(append->cli->client, append->topic, append->partition, events,
		count, ANNALS_DURABILITY_TOPIC, append->cli->timeout_ms, placements, NULL, &error);
	int code = CLI_OK;
	if (status != ANNALS_OK) {
		code = cli_fail(
			status, "cannot append to topic '%s': %s", append->topic, error.text);
	}
	for (size_t i = 0; i < count && status == ANNALS_OK && !append->cli->quiet; i++) {
		printf("partition %u offset %llu\n", placements[i].partition,
			(unsigned long long)placements[i].offset);
	}
	free(events);
	free(placements);
	return code;
}

/* JSON from arguments as what its schema says. */
static int take_typed(struct append *append, struct annals_event *event, const char *data)
{
	struct record record = {.type = bytes_of(event->type.data, event->type.size),
		.subject = bytes_of(event->subject.data, event->subject.size),
		.key = bytes_of(event->key.data, event->key.size),
		.has_key = event->has_key != 0,
		.has_time = event->has_time != 0,
		.time_ns = event->time_ns,
		.datacontenttype = bytes_text("application/json"),
		.has_data = true,
		.data = bytes_text(data)};
	const struct annals_bytes id = event->id, source = event->source;
	const int code = typed_take(append->typed, &record, "the data");

	if (code == CLI_OK) {
		event_of_record(&record, &append->room, event);
		event->id = id;
		event->source = source;
	}
	return code;
}

#define DATA_MAX 1000

static int run(struct cli *cli, int argc, char **argv)
{
	const char *type = NULL, *source = NULL, *key = NULL, *id = NULL, *subject = NULL,
		   *content_type = NULL, *data = NULL, *time = NULL;
	bool has_partition = false, has_data = false, as_json = false;
	struct typed typed = {.cli = cli};
	uint64_t partition = 0;
	struct cli_option options[] = {
		{"type", CLI_TEXT, &type, NULL, "TYPE", "an event from arguments: its type"},
		{"source", CLI_TEXT, &source, NULL, "URI", "... where it comes from"},
		{"key", CLI_TEXT, &key, NULL, "TEXT",
			"... its key: same key, same partition, in order"},
		{"data", CLI_TEXT, &data, &has_data, "TEXT",
			"... its data; more data as further arguments: one event each"},
		{"content-type", CLI_TEXT, &content_type, NULL, "TYPE",
			"... its data's media type (application/json if it looks like it)"},
		{"id", CLI_TEXT, &id, NULL, "TEXT", "... its id"},
		{"subject", CLI_TEXT, &subject, NULL, "TEXT", "... its subject"},
		{"time", CLI_TEXT, &time, NULL, "TIME",
			"... when it happened: 2018-01-31T01:49:59Z"},
		{"partition", CLI_NUMBER, &partition, &has_partition, "N",
			"into this partition instead of the key's"},
		{"json", CLI_FLAG, &as_json, NULL, NULL,
			"JSON data becomes protobuf by the schema of the event's type"},
		{"http", CLI_TEXT, &typed.http_address, NULL, "HOST:PORT",
			"where HTTP is spoken, for schemas and delayed events ($ANNALS_HTTP, "
			"127.0.0.1:7480)"},
	};
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, DATA_MAX);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	struct append append = {.cli = cli,
		.topic = argv[0],
		.partition = has_partition ? (uint32_t)ANNALS_MIN(partition, UINT32_MAX - 1)
					   : ANNALS_PARTITION_BY_KEY,
		.lock = PTHREAD_MUTEX_INITIALIZER};
	struct annals_event event = {.id = annals_text(id),
		.source = annals_text(source),
		.type = annals_text(type),
		.subject = annals_text(subject),
		.key = annals_text(key),
		.has_key = key != NULL};
	bool looks_like_json = data && strchr("{[\"", data[0]) != NULL && data[0];
	event.datacontenttype = annals_text(content_type      ? content_type
					    : looks_like_json ? "application/json"
					    : has_data        ? "text/plain"
							      : NULL);
	if (time) {
		event.has_time = 1;
		if (parse_rfc3339_ns(bytes_text(time), &event.time_ns) != ANNALS_OK) {
			fprintf(stderr, "annals: '%s' is no time like 2018-01-31T01:49:59Z\n",
				time);
			return CLI_USAGE;
		}
	}
	if (!type && (source || key || has_data || id || subject || time)) {
		fprintf(stderr, "annals: an event from arguments needs --type\n");
		return CLI_USAGE;
	}
	if (as_json && type && (!has_data || count > 1)) {
		fprintf(stderr, "annals: --json with --type takes one --data\n");
		return CLI_USAGE;
	}
	append.typed = as_json ? &typed : NULL;
	append.http_address = typed.http_address;
	int code = cli_connect(cli);
	if (code != CLI_OK) {
		return code;
	}
	if (!type) {
		code = append_many(&append, argv + 1, count - 1);
		typed_release(&typed);
		return code;
	}
	if (as_json) {
		code = take_typed(&append, &event, data);
		code = code != CLI_OK ? code : append_one(&append, &event, NULL, 0);
		typed_release(&typed);
		return code;
	}
	const char *all[DATA_MAX];
	size_t data_count = 0;
	if (has_data) {
		all[data_count++] = data;
	}
	for (int i = 1; i < count; i++) {
		all[data_count++] = argv[i];
	}
	return append_one(&append, &event, all, data_count);
}

const struct command cmd_append = {
	.name = "append",
	.usage = "TOPIC [FILE ...] | TOPIC --type TYPE [OPTION ...]",
	.summary = "append events",
	.help = "Without --type it reads NDJSON: one CloudEvent (JSON format) a line, from the "
		"files or from stdin ('-'). It stops at the first line that\n"
		"is wrong and names it (exit code 7); the lines before it are stored. Attributes "
		"that only Annals sets (annalsoffset ...) are ignored, so what\n"
		"'annals read' printed can be appended again. 'partitionkey' is the key. "
		"Events whose 'annalsdue' lies in the future are kept by the server\n"
		"until then; they go over HTTP (--http).\n"
		"With --json the data is JSON of the type's schema and is stored as protobuf, with "
		"the key, subject, time and tags that the schema's options\n"
		"take from it (docs/schemas.md).\n"
		"After a lost connection batches are sent again, so an event may be stored twice: "
		"drop repeats by source and id.\n\n"
		"examples\n"
		"  annals append earthquakes earthquakes.ndjson\n"
		"  annals append quakes --json --type quake.Event --source /usgs --data "
		"'{\"quakeId\":\"us1\"}'\n"
		"  tail -f events.ndjson | annals append logs\n"
		"  annals append orders --type order.placed --source /shop --key 4711 --data "
		"'{\"total\":12}'\n",
	.run = run,
};
