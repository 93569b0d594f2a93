#include "options.h"
#include <annals/log.h>
#include <annals/parse.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)
#define MS 1000ull
#define SECOND (1000 * MS)
#define HOUR (3600 * SECOND)

#define TEXT(member, option_name, group, value, reload, text)                                      \
	{                                                                                          \
		.name = option_name, .section = group, .type = OPTION_TEXT,                        \
		.place = offsetof(struct options, member), .initial = value, .reloadable = reload, \
		.help = text                                                                       \
	}
#define CHOICE(member, option_name, group, value, what, reload, text)                              \
	{                                                                                          \
		.name = option_name, .section = group, .type = OPTION_CHOICE,                      \
		.place = offsetof(struct options, member), .initial = value, .choices = what,      \
		.reloadable = reload, .help = text                                                 \
	}
#define NUMBER(member, option_name, group, kind, low, high, value, reload, limit, text)            \
	{                                                                                          \
		.name = option_name, .section = group, .type = kind,                               \
		.place = offsetof(struct options, member), .min = low, .max = high,                \
		.initial = value, .reloadable = reload, .is_limit = limit, .help = text            \
	}

static const struct option_def defs[] = {
	TEXT(data_dir, "data-dir", "Data", "./annals-data", false,
		"where everything is kept; made if it is missing"),
	CHOICE(journal, "journal", "Data", "file", "file|memory", false,
		"where commits become durable; 'memory' forgets everything and is for tests"),
	NUMBER(journal_segment_bytes, "journal-segment-bytes", "Data", OPTION_SIZE, 16 * MIB,
		4 * GIB, "64MiB", false, false, "size of one preallocated journal file"),
	NUMBER(map_bytes, "map-bytes", "Data", OPTION_SIZE, 64 * MIB, 64 * TIB, "1TiB", false,
		false,
		"address space of the LMDB map, not memory: the largest size that the settled data "
		"may reach"),
	NUMBER(tail_bytes_max, "tail-bytes-max", "Data", OPTION_SIZE, 8 * MIB, 16 * GIB, "64MiB",
		false, false,
		"memory for events that are durable in the journal and not yet in LMDB"),
	NUMBER(queue_bytes_max, "queue-bytes-max", "Data", OPTION_SIZE, 4 * MIB, 16 * GIB, "64MiB",
		false, true,
		"bytes waiting to be committed; above, appends are refused with 'overloaded'"),
	NUMBER(disk_reserve_bytes, "disk-reserve-bytes", "Data", OPTION_SIZE, 0, 1 * TIB, "64MiB",
		false, false, "disk space kept free for offset commits and deletes"),
	NUMBER(retention_interval_us, "retention-interval", "Data", OPTION_DURATION, 10 * MS, HOUR,
		"1s", false, false, "how often old events are looked for"),

	TEXT(http, "http", "Network", "127.0.0.1:7480", false,
		"address of HTTP; port 0 picks a free one and logs it, 'off' turns it off"),
	TEXT(binary, "binary", "Network", "127.0.0.1:7450", false,
		"address of the binary protocol; port 0 picks a free one and logs it, 'off' turns "
		"it off"),
	NUMBER(loops, "loops", "Network", OPTION_COUNT, 1, 64, "1", false, false,
		"event loops, each a thread; one serves two cores best, because storage has "
		"threads of its own"),
	NUMBER(connections_max, "connections-max", "Network", OPTION_COUNT, 1, 1000000, "20000",
		true, true, "open connections; more are told so and closed"),
	TEXT(tls_cert, "tls-cert", "Network", "", false,
		"PEM file with the certificate chain; turns TLS on for both protocols"),
	TEXT(tls_key, "tls-key", "Network", "", false, "PEM file with the key of the certificate"),

	NUMBER(event_bytes_max, "event-bytes-max", "Limits", OPTION_SIZE, 1 * KIB, 4 * MIB, "1MiB",
		true, true, "size of one encoded event"),
	NUMBER(request_bytes_max, "request-bytes-max", "Limits", OPTION_SIZE, 4 * KIB, 4 * MIB,
		"4MiB", true, true, "size of one request, which is one commit"),
	NUMBER(header_bytes_max, "header-bytes-max", "Limits", OPTION_SIZE, 1 * KIB, 1 * MIB,
		"16KiB", true, true, "size of the head of an HTTP request"),
	NUMBER(fetch_bytes_max, "fetch-bytes-max", "Limits", OPTION_SIZE, 4 * KIB, 1 * MIB, "1MiB",
		true, true,
		"bytes that one read answers with at most, unless a single batch is larger"),
	NUMBER(output_bytes_max, "output-bytes-max", "Limits", OPTION_SIZE, 64 * KIB, 1 * GIB,
		"1MiB", true, true,
		"bytes waiting to be sent on one connection; above, nothing more is read from it "
		"or produced for it"),
	NUMBER(requests_in_flight_max, "requests-in-flight-max", "Limits", OPTION_COUNT, 1, 100000,
		"1024", true, true,
		"unanswered requests of one connection; above, nothing more is read from it"),
	NUMBER(partitions_max, "partitions-max", "Limits", OPTION_COUNT, 1, 10000, "10000", true,
		true, "partitions of one topic"),
	NUMBER(topics_max, "topics-max", "Limits", OPTION_COUNT, 1, 1000000, "100000", false, true,
		"topics of the server"),
	NUMBER(header_timeout_us, "header-timeout", "Limits", OPTION_DURATION, 10 * MS, HOUR, "10s",
		true, true,
		"time for the head of a request, or a small frame, to arrive; bodies get a second "
		"more for each 4 KiB"),
	NUMBER(idle_timeout_us, "idle-timeout", "Limits", OPTION_DURATION, 10 * MS, 24 * HOUR,
		"60s", true, true,
		"a connection without requests, or whose peer does not read, is closed after this "
		"time"),
	NUMBER(wait_max_us, "wait-max", "Limits", OPTION_DURATION, 0, HOUR, "60s", true, true,
		"longest wait of a read for events to come"),

	NUMBER(webhooks_max, "webhooks-max", "Webhooks", OPTION_COUNT, 0, 10000, "1000", false,
		true, "webhooks of the server"),
	NUMBER(webhook_requests_max, "webhook-requests-max", "Webhooks", OPTION_COUNT, 1, 10000,
		"256", false, true, "requests to receivers of webhooks under way, of all together"),
	TEXT(webhook_origin, "webhook-origin", "Webhooks", "annals", false,
		"name by which receivers know this server: the WebHook-Request-Origin of the "
		"handshake and of each delivery"),
	CHOICE(webhook_private_addresses, "webhook-private-addresses", "Webhooks", "refuse",
		"refuse|allow", false,
		"whether webhooks may go to addresses that are not public (this host, private and "
		"link-local networks), judged after the name was resolved"),
	TEXT(webhook_ca_file, "webhook-ca-file", "Webhooks", "", false,
		"PEM file with the authorities that receivers' certificates are checked with, "
		"instead of the system's"),

	NUMBER(drain_timeout_us, "drain-timeout", "Running", OPTION_DURATION, 0, HOUR, "10s", true,
		false, "on SIGTERM, time for requests in flight to finish"),
	TEXT(pid_file, "pid-file", "Running", "", false,
		"file that holds the process id while the server runs"),
	CHOICE(log_level, "log-level", "Running", "info", "error|warning|info|debug", true,
		"which lines are logged"),
	CHOICE(log_format, "log-format", "Running", "text", "text|json", true,
		"how a log line looks"),
	TEXT(config, "config", "Running", "", false,
		"file with one 'name = value' a line; '#' starts a comment; SIGHUP reads it again"),
};

const struct option_def *option_defs(size_t *ret_count)
{
	*ret_count = ANNALS_COUNT_OF(defs);
	return defs;
}

static const struct option_def *find_def(struct bytes name)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(defs); i++) {
		if (bytes_is(name, defs[i].name)) {
			return &defs[i];
		}
	}
	return NULL;
}

static bool is_text(const struct option_def *def)
{
	return def->type == OPTION_TEXT || def->type == OPTION_CHOICE;
}

static char **text_place(struct options *options, const struct option_def *def)
{
	return (char **)(void *)((char *)options + def->place);
}

static uint64_t *number_place(struct options *options, const struct option_def *def)
{
	return (uint64_t *)(void *)((char *)options + def->place);
}

uint64_t option_number(const struct options *options, const struct option_def *def)
{
	return *number_place((struct options *)(uintptr_t)options, def);
}

const char *option_text(const struct options *options, const struct option_def *def)
{
	return *text_place((struct options *)(uintptr_t)options, def);
}

/* ---- Values as people write them ---- */

static int format_scaled(uint64_t value, const struct option_def *def, struct buf *out)
{
	static const struct {
		uint64_t factor;
		const char *unit;
	} sizes[] = {{TIB, "TiB"}, {GIB, "GiB"}, {MIB, "MiB"}, {KIB, "KiB"}, {1, ""}},
	  times[] = {{HOUR, "h"}, {60 * SECOND, "m"}, {SECOND, "s"}, {MS, "ms"}, {1, "us"}};
	for (size_t i = 0; i < 5; i++) {
		uint64_t factor = def->type == OPTION_SIZE ? sizes[i].factor : times[i].factor;
		const char *unit = def->type == OPTION_SIZE ? sizes[i].unit : times[i].unit;
		/* "60s" reads better than "1m". */
		if (def->type == OPTION_DURATION && factor > SECOND && value < 10 * factor) {
			continue;
		}
		if (value >= factor && value % factor == 0) {
			return buf_printf(
				out, "%llu%s", (unsigned long long)(value / factor), unit);
		}
	}
	return buf_add_text(out, "0");
}

static int format_number(uint64_t value, const struct option_def *def, struct buf *out)
{
	if (def->type == OPTION_COUNT) {
		return buf_printf(out, "%llu", (unsigned long long)value);
	}
	return format_scaled(value, def, out);
}

int option_format(const struct options *options, const struct option_def *def, struct buf *out)
{
	if (is_text(def)) {
		return buf_add_text(out, option_text(options, def));
	}
	return format_number(option_number(options, def), def, out);
}

static int parse_number(const struct option_def *def, struct bytes text, uint64_t *ret)
{
	switch (def->type) {
	case OPTION_SIZE:
		return parse_size(text, ret);
	case OPTION_DURATION:
		return parse_duration_us(text, ret);
	default:
		return parse_u64(text, ret);
	}
}

static bool choice_allows(const char *choices, const char *value)
{
	size_t size = strlen(value);
	const char *at = choices;
	while (size > 0 && at != NULL) {
		const char *end = strchrnul(at, '|');
		if ((size_t)(end - at) == size && memcmp(at, value, size) == 0) {
			return true;
		}
		at = *end == 0 ? NULL : end + 1;
	}
	return false;
}

/* Sets one option; where says where the value came from: "on the command line", "in 'file' line 3".
 */
static int set_value(struct options *options, const struct option_def *def, const char *value,
	const char *where, struct error *err)
{
	if (def->type == OPTION_CHOICE && !choice_allows(def->choices, value)) {
		return error_fail(err, ANNALS_E_INVALID, "%s '%s' %s is not allowed: choose %s",
			def->name, value, where, def->choices);
	}
	if (is_text(def)) {
		char *copy = strdup(value);
		if (copy == NULL) {
			return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
		}
		free(*text_place(options, def));
		*text_place(options, def) = copy;
	} else {
		uint64_t number = 0;
		bool parsed = parse_number(def, bytes_text(value), &number) == 0;
		if (!parsed || number < def->min || number > def->max) {
			struct buf low = BUF_INIT;
			struct buf high = BUF_INIT;
			int status = ANNALS_E_NO_MEMORY;
			if (format_number(def->min, def, &low) == 0 &&
				format_number(def->max, def, &high) == 0) {
				status = error_fail(err, ANNALS_E_INVALID,
					"%s '%s' %s is %s: from %s to %s is allowed", def->name,
					value, where, parsed ? "out of range" : "not understood",
					buf_text(&low), buf_text(&high));
			}
			buf_release(&low);
			buf_release(&high);
			return status;
		}
		*number_place(options, def) = number;
	}
	return 0;
}

/* ---- Sources ---- */

static int unknown_option(struct bytes name, const char *where, struct error *err)
{
	return error_fail(err, ANNALS_E_INVALID,
		"option '%.*s' %s is not known; see annalsd --help",
		(int)ANNALS_MIN(name.size, (size_t)64), (const char *)name.data, where);
}

static char *trim(char *text)
{
	char *end;
	while (isspace((unsigned char)*text)) {
		text++;
	}
	end = text + strlen(text);
	while (end > text && isspace((unsigned char)end[-1])) {
		end--;
	}
	*end = 0;
	return text;
}

static int load_line(struct options *options, char *line, const char *where, struct error *err)
{
	char *comment = strchr(line, '#');
	char *equals;
	const struct option_def *def;
	struct bytes name;
	if (comment != NULL && (comment == line || isspace((unsigned char)comment[-1]))) {
		*comment = 0;
	}
	line = trim(line);
	if (*line == 0) {
		return 0;
	}
	equals = strchr(line, '=');
	if (equals == NULL) {
		return error_fail(err, ANNALS_E_INVALID,
			"'%.64s' %s is not understood: write name = value", line, where);
	}
	*equals = 0;
	name = bytes_text(trim(line));
	def = find_def(name);
	if (def == NULL || strcmp(def->name, "config") == 0) {
		return unknown_option(name, where, err);
	}
	return set_value(options, def, trim(equals + 1), where, err);
}

static int load_file(struct options *options, const char *path, struct error *err)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t capacity = 0;
	int status = 0;
	if (file == NULL) {
		return error_errno(
			err, ANNALS_E_NOT_FOUND, errno, "cannot read the config file '%s'", path);
	}
	for (unsigned number = 1; status == 0 && getline(&line, &capacity, file) >= 0; number++) {
		char where[160];
		(void)snprintf(where, sizeof(where), "in '%.120s' line %u", path, number);
		status = load_line(options, line, where, err);
	}
	free(line);
	(void)fclose(file);
	return status;
}

/* ANNALS_DATA_DIR for data-dir. */
static void environment_name(const struct option_def *def, char out[64])
{
	int size = snprintf(out, 64, "ANNALS_%s", def->name);
	for (int i = 0; i < size && i < 63; i++) {
		out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
	}
}

static const char *environment_value(char *const *environment, const struct option_def *def)
{
	char name[64];
	size_t size;
	environment_name(def, name);
	size = strlen(name);
	for (char *const *entry = environment; entry != NULL && *entry != NULL; entry++) {
		if (strncmp(*entry, name, size) == 0 && (*entry)[size] == '=') {
			return *entry + size + 1;
		}
	}
	return NULL;
}

static int load_environment(struct options *options, char *const *environment, struct error *err)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(defs); i++) {
		const char *value = environment_value(environment, &defs[i]);
		if (value != NULL) {
			int status = set_value(options, &defs[i], value, "in the environment", err);
			if (status != 0) {
				return status;
			}
		}
	}
	return 0;
}

static int take_word(
	int argc, char *const *argv, int *index, struct options_request *request, struct error *err)
{
	const char *word = argv[*index];
	if (request->command != OPTIONS_RUN) {
		return error_fail(err, ANNALS_E_INVALID,
			"'%.64s' on the command line is not understood", word);
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		request->command = OPTIONS_HELP;
	} else if (strcmp(word, "--version") == 0) {
		request->command = OPTIONS_VERSION;
	} else if (strncmp(word, "--print-options=", 16) == 0) {
		request->command = OPTIONS_PRINT;
		request->argument = word + 16;
	} else if (strcmp(word, "verify") == 0) {
		if (*index + 1 >= argc) {
			return error_fail(err, ANNALS_E_INVALID, "write annalsd verify DIR");
		}
		request->command = OPTIONS_VERIFY;
		request->argument = argv[++*index];
	} else if (strcmp(word, "repair") == 0) {
		if (*index + 3 >= argc || strcmp(argv[*index + 1], "--salvage") != 0) {
			return error_fail(err, ANNALS_E_INVALID,
				"write annalsd repair --salvage NEW_DIR DIR");
		}
		request->command = OPTIONS_SALVAGE;
		request->second = argv[*index + 2];
		request->argument = argv[*index + 3];
		*index += 3;
	} else {
		return unknown_option(bytes_text(word), "on the command line", err);
	}
	return 0;
}

static int load_arguments(int argc, char *const *argv, struct options *options,
	struct options_request *request, struct error *err)
{
	for (int i = 1; i < argc; i++) {
		const char *equals = strchr(argv[i], '=');
		const struct option_def *def = NULL;
		const char *value;
		int status;
		if (strncmp(argv[i], "--", 2) == 0) {
			const char *name = argv[i] + 2;
			def = find_def(bytes_of(
				name, equals != NULL ? (size_t)(equals - name) : strlen(name)));
		}
		if (def == NULL) {
			status = take_word(argc, argv, &i, request, err);
		} else if (equals == NULL && i + 1 >= argc) {
			return error_fail(err, ANNALS_E_INVALID,
				"--%s on the command line needs a value", def->name);
		} else {
			value = equals != NULL ? equals + 1 : argv[++i];
			status = set_value(options, def, value, "on the command line", err);
		}
		if (status != 0) {
			return status;
		}
	}
	return 0;
}

int options_init(struct options *options)
{
	memset(options, 0, sizeof(*options));
	for (size_t i = 0; i < ANNALS_COUNT_OF(defs); i++) {
		int status = set_value(options, &defs[i], defs[i].initial, "by default", NULL);
		if (status != 0) {
			options_release(options);
			return status;
		}
	}
	return 0;
}

void options_release(struct options *options)
{
	if (options == NULL) {
		return;
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(defs); i++) {
		if (is_text(&defs[i])) {
			free(*text_place(options, &defs[i]));
			*text_place(options, &defs[i]) = NULL;
		}
	}
}

/* Rules over several options. */
static int check_together(const struct options *options, struct error *err)
{
	if ((options->tls_cert[0] == 0) != (options->tls_key[0] == 0)) {
		return error_fail(err, ANNALS_E_INVALID, "tls-cert and tls-key need each other");
	}
	if (options->event_bytes_max > options->request_bytes_max) {
		return error_fail(err, ANNALS_E_INVALID,
			"event-bytes-max (%llu) is above request-bytes-max (%llu), in which an "
			"event has to fit",
			(unsigned long long)options->event_bytes_max,
			(unsigned long long)options->request_bytes_max);
	}
	if (options->data_dir[0] == 0) {
		return error_fail(err, ANNALS_E_INVALID, "data-dir is empty");
	}
	return 0;
}

int options_load(int argc, char *const *argv, char *const *environment, struct options *ret,
	struct options_request *ret_request, struct error *err)
{
	struct options_request request = {.command = OPTIONS_RUN};
	struct options_request ignored = {.command = OPTIONS_RUN};
	int status = options_init(ret);
	if (status != 0) {
		return error_fail(err, status, "out of memory");
	}
	/* A first look finds the config file; the second puts the stronger sources on top. */
	status = load_environment(ret, environment, err);
	if (status == 0) {
		status = load_arguments(argc, argv, ret, &request, err);
	}
	if (status == 0 && ret->config[0] != 0) {
		status = load_file(ret, ret->config, err);
		if (status == 0) {
			status = load_environment(ret, environment, err);
		}
		if (status == 0) {
			status = load_arguments(argc, argv, ret, &ignored, err);
		}
	}
	if (status == 0) {
		status = check_together(ret, err);
	}
	if (status != 0) {
		options_release(ret);
		return status;
	}
	*ret_request = request;
	return 0;
}
