#include "cli.h"

#include <annals/cloudevents.h>
#include <annals/parse.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TOPICS_MAX 64
#define CONDITIONS_MAX 64
#define BYTES_MAX (8u << 20) /* of all files: the server takes 4 MiB of events */

/* An event and what it borrows from. */
struct line {
	struct buf text;
	struct cloudevent parsed;
	struct event_room room;
};

struct part {
	char *topic; /* cut out of the argument */
	const char *file;
	struct line **lines;
	struct annals_event *events;
	struct annals_placement *placements;
	size_t count, capacity;
	struct annals_stream_condition streams[CONDITIONS_MAX];
	struct annals_conditions conditions;
};

static void line_free(struct line *line)
{
	cloudevent_release(&line->parsed);
	buf_release(&line->text);
	free(line);
}

static void part_release(struct part *part)
{
	for (size_t i = 0; i < part->count; i++) {
		line_free(part->lines[i]);
	}
	free(part->lines);
	free(part->events);
	free(part->placements);
}

static int make_room(struct part *part)
{
	const size_t capacity = part->capacity == 0 ? 16 : part->capacity * 2;
	if (part->count < part->capacity) {
		return ANNALS_OK;
	}
	struct line **lines = realloc(part->lines, capacity * sizeof(struct line *));
	if (!lines) {
		return ANNALS_E_NO_MEMORY;
	}
	part->lines = lines;
	struct annals_event *events = realloc(part->events, capacity * sizeof(*events));
	if (!events) {
		return ANNALS_E_NO_MEMORY;
	}
	part->events = events;
	part->capacity = capacity;
	return ANNALS_OK;
}

static int add_event(struct part *part, uint64_t number, struct bytes text)
{
	struct error err = {0, ""};
	struct line *line = make_room(part) == ANNALS_OK ? calloc(1, sizeof(*line)) : NULL;
	if (!line) {
		return cli_fail(ANNALS_E_NO_MEMORY, "no memory for the events");
	}
	cloudevent_init(&line->parsed);
	line->text = BUF_INIT;
	int status = buf_add(&line->text, text.data, text.size);
	status = status == ANNALS_OK
			 ? cloudevent_from_json(&line->parsed, buf_bytes(&line->text), &err)
			 : status;
	if (status != ANNALS_OK) {
		line_free(line);
		return cli_fail(status, "%s line %llu: %s", part->file, (unsigned long long)number,
			err.text);
	}
	event_of_record(&line->parsed.record, &line->room, &part->events[part->count]);
	part->lines[part->count++] = line;
	return CLI_OK;
}

static int read_lines(struct part *part, FILE *file, size_t *bytes)
{
	char *text = NULL;
	size_t capacity = 0;
	uint64_t number = 0;
	int code = CLI_OK;
	ssize_t size;
	while (code == CLI_OK && (size = getline(&text, &capacity, file)) >= 0) {
		number++;
		*bytes += (size_t)size;
		while (size > 0 && strchr("\r\n ", text[size - 1])) {
			size--;
		}
		if (*bytes > BYTES_MAX) {
			code = cli_fail(
				ANNALS_E_TOO_LARGE, "more than %u bytes for one commit", BYTES_MAX);
		} else if (size > 0) {
			code = add_event(part, number, bytes_of(text, (size_t)size));
		}
	}
	if (code == CLI_OK && ferror(file)) {
		code = cli_fail(ANNALS_E_IO, "cannot read '%s': %s", part->file, strerror(errno));
	}
	free(text);
	return code;
}

static int read_part(struct part *part, size_t *bytes)
{
	const bool standard = strcmp(part->file, "-") == 0;
	FILE *file = standard ? stdin : fopen(part->file, "r");
	if (!file) {
		return cli_fail(ANNALS_E_IO, "cannot open '%s': %s", part->file, strerror(errno));
	}
	part->file = standard ? "stdin" : part->file;
	int code = read_lines(part, file, bytes);
	if (!standard) {
		(void)fclose(file);
	}
	if (code == CLI_OK && part->count == 0) {
		code = cli_fail(ANNALS_E_INVALID, "'%s' holds no event", part->file);
	}
	part->placements = calloc(part->count + 1, sizeof(*part->placements));
	return code != CLI_OK || part->placements ? code
						  : cli_fail(ANNALS_E_NO_MEMORY, "no memory");
}

/* ---- Conditions ---- */

static bool read_expected(const char *text, struct annals_stream_condition *condition)
{
	condition->expect = strcmp(text, "none") == 0     ? ANNALS_EXPECT_NONE
			    : strcmp(text, "exists") == 0 ? ANNALS_EXPECT_EXISTS
							  : ANNALS_EXPECT_VERSION;
	return condition->expect != ANNALS_EXPECT_VERSION ||
	       parse_u64(bytes_text(text), &condition->version) == ANNALS_OK;
}

/* TOPIC/KEY=VERSION, cut into its parts. */
static int read_condition(char *text, struct part *parts, size_t count)
{
	char *slash = strchr(text, '/');
	char *equals = slash ? strrchr(slash, '=') : NULL;
	if (!equals) {
		fprintf(stderr,
			"annals: '%s' is no condition; it is TOPIC/KEY=VERSION, =none or =exists\n",
			text);
		return CLI_USAGE;
	}
	*slash = *equals = '\0';
	for (size_t i = 0; i < count; i++) {
		struct annals_conditions *conditions = &parts[i].conditions;
		struct annals_stream_condition *stream =
			&parts[i].streams[conditions->stream_count];
		if (strcmp(parts[i].topic, text) != 0) {
			continue;
		}
		if (conditions->stream_count == CONDITIONS_MAX ||
			!read_expected(equals + 1, stream)) {
			fprintf(stderr, "annals: '%s' is neither a version, 'none' nor 'exists'\n",
				equals + 1);
			return CLI_USAGE;
		}
		stream->key = (struct annals_bytes){slash + 1, strlen(slash + 1)};
		conditions->streams = parts[i].streams;
		conditions->stream_count++;
		return CLI_OK;
	}
	fprintf(stderr, "annals: a condition on '%s', to which nothing is appended\n", text);
	return CLI_USAGE;
}

static int read_conditions(char *text, struct part *parts, size_t count)
{
	char *rest = NULL;
	int code = CLI_OK;
	for (char *one = strtok_r(text, ",", &rest); one && code == CLI_OK;
		one = strtok_r(NULL, ",", &rest)) {
		code = read_condition(one, parts, count);
	}
	return code;
}

/* ---- The commit ---- */

static void print_placements(const struct part *part)
{
	for (size_t i = 0; i < part->count; i++) {
		const struct annals_placement *at = &part->placements[i];
		printf("%s partition %u offset %llu", part->topic, at->partition,
			(unsigned long long)at->offset);
		if (at->version != ANNALS_VERSION_NONE) {
			printf(" version %llu", (unsigned long long)at->version);
		}
		printf("%s\n", at->replayed ? " replayed" : "");
	}
}

static int commit(struct cli *cli, struct part *parts, size_t count, const char *key, bool quiet)
{
	struct annals_topic_append appends[TOPICS_MAX];
	struct annals_error error = {0};
	for (size_t i = 0; i < count; i++) {
		appends[i] = (struct annals_topic_append){.topic = parts[i].topic,
			.conditions =
				parts[i].conditions.stream_count > 0 ? &parts[i].conditions : NULL,
			.events = parts[i].events,
			.event_count = parts[i].count,
			.ret_placements = parts[i].placements};
	}
	const int status = annals_transact(cli->client, appends, count,
		(struct annals_bytes){key, key ? strlen(key) : 0}, ANNALS_DURABILITY_TOPIC,
		cli->timeout_ms, NULL, &error);
	if (status != ANNALS_OK) {
		return cli_fail(
			status, "%s%s%s", error.topic, error.topic[0] ? ": " : "", error.text);
	}
	for (size_t i = 0; i < count && !quiet; i++) {
		print_placements(&parts[i]);
	}
	return CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
	const char *key = NULL, *expect = NULL;
	bool quiet = false;
	struct cli_option options[] = {
		{"expect", CLI_TEXT, &expect, NULL, "TOPIC/KEY=VERSION,...",
			"only if the streams are so: at a version, 'none' or 'exists'"},
		{"idempotency-key", CLI_TEXT, &key, NULL, "KEY",
			"a repeat with it gets the first answer, for a day"},
		{"quiet", CLI_FLAG, &quiet, NULL, NULL, "do not print where the events are"},
	};
	const int count =
		cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, TOPICS_MAX);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	struct part *parts = calloc((size_t)count + 1, sizeof(*parts));
	char *conditions = strdup(expect ? expect : "");
	size_t bytes = 0;
	int code = parts && conditions ? CLI_OK : cli_fail(ANNALS_E_NO_MEMORY, "no memory");
	for (int i = 0; i < count && code == CLI_OK; i++) {
		char *equals = strchr(argv[i], '=');
		if (!equals) {
			fprintf(stderr, "annals: '%s' is not TOPIC=FILE\n", argv[i]);
			code = CLI_USAGE;
			break;
		}
		*equals = '\0';
		parts[i].topic = argv[i];
		parts[i].file = equals + 1;
		code = read_part(&parts[i], &bytes);
	}
	code = code == CLI_OK ? read_conditions(conditions, parts, (size_t)count) : code;
	code = code == CLI_OK ? cli_connect(cli) : code;
	code = code == CLI_OK ? commit(cli, parts, (size_t)count, key, quiet) : code;
	for (int i = 0; parts && i < count; i++) {
		part_release(&parts[i]);
	}
	free(parts);
	free(conditions);
	return code;
}

const struct command cmd_transact = {
	.name = "transact",
	.usage = "TOPIC=FILE ... [OPTION ...]",
	.summary = "append events to several topics in one commit, all or none",
	.help = "Each file holds one CloudEvent (JSON) a line; '-' is standard input. Events go to "
		"their keys' partitions. With conditions that do not\n"
		"hold nothing is stored. To be able to repeat a commit whose answer was lost, give "
		"events ids and times, and an idempotency key.\n\n"
		"examples\n"
		"  annals transact orders=placed.ndjson invoices=due.ndjson\n"
		"  annals transact orders=placed.ndjson stock=taken.ndjson --expect "
		"orders/order-7=none,stock/shelf-3=41\n"
		"  annals transact ledger=- --idempotency-key transfer-1812\n",
	.run = run,
};
