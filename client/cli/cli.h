/*
 * The `annals` tool: one file per command, each ending in its entry of the command table; here is
 * what they share.
 *
 * Exit codes: enum cli_exit. Results go to stdout, everything else to stderr. Tables are aligned
 * and coloured on a terminal only (and never with NO_COLOR set); elsewhere they are tab-separated
 * lines under a line of names.
 */
#ifndef ANNALS_CLI_H
#define ANNALS_CLI_H

#include <annals/buf.h>
#include <annals/client.h>
#include <annals/error.h>
#include <annals/macros.h>
#include <annals/record.h>
#include <stdbool.h>
#include <stdio.h>

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_NOT_FOUND = 3,   /* topic, partition, offset, group */
	CLI_CONFLICT = 4,    /* it exists with other settings, or was created again */
	CLI_UNREACHABLE = 5, /* no server answered in time */
	CLI_UNKNOWN = 6,     /* the events may or may not be stored */
	CLI_BAD_INPUT = 7,   /* an event, a line or a file breaks a rule; the message says which */
	CLI_CORRUPT = 8,     /* stored bytes failed their checks */
	CLI_INTERRUPTED = 130, /* Ctrl-C */
};

enum cli_option_kind { CLI_FLAG, CLI_TEXT, CLI_NUMBER, CLI_SIZE, CLI_DURATION_US };

/* One option of a command. Texts borrow from argv. */
struct cli_option {
	const char *name; /* without the dashes */
	enum cli_option_kind kind;
	void *target; /* bool, const char *, uint64_t */
	bool *given;  /* may be NULL */
	const char *placeholder;
	const char *help;
};

struct cli {
	/* what every command takes */
	const char *server, *token;
	uint64_t timeout_us;
	bool help, quiet;
	bool stdout_is_terminal, stderr_is_terminal, colour;
	int timeout_ms;
	struct annals_options *options;
	struct annals_client *client;
	const struct command *command;
};

struct command {
	const char *name;    /* "topic create" */
	const char *usage;   /* what follows the name */
	const char *summary; /* one line */
	const char *help;    /* paragraphs and examples */
	int (*run)(struct cli *cli, int argc,
		char **argv); /* argv after the name; returns enum cli_exit */
};

extern const struct command cmd_append, cmd_dump, cmd_load, cmd_read, cmd_status, cmd_offsets_show,
	cmd_offsets_commit, cmd_offsets_list, cmd_topic_create, cmd_topic_list, cmd_topic_show,
	cmd_topic_update, cmd_topic_delete, cmd_torture, cmd_transact, cmd_stream_show, cmd_query,
	cmd_consume, cmd_group_create, cmd_group_list, cmd_group_show, cmd_group_seek,
	cmd_group_parked, cmd_group_delete, cmd_group_explain, cmd_group_leave, cmd_schema_register,
	cmd_schema_list, cmd_schema_show, cmd_schema_check, cmd_schema_delete, cmd_webhook_create,
	cmd_webhook_list, cmd_webhook_show, cmd_webhook_test, cmd_webhook_pause, cmd_webhook_resume,
	cmd_webhook_delete;

/* --- arguments (args.c) */

/*
 * Parses options from anywhere among the arguments and moves the rest to the front of argv. Returns
 * how many there are, or -1 after a message (CLI_USAGE). With --help it prints the command's help
 * and returns -2 (CLI_OK). "--" ends the options.
 */
int cli_parse(struct cli *cli, const struct cli_option *options, size_t option_count, int argc,
	char **argv, int least, int most);
/* The exit code for a negative result of cli_parse(). */
int cli_parse_exit(int result);
void cli_print_help(const struct cli *cli, const struct command *command,
	const struct cli_option *options, size_t option_count);
int cli_number(const char *what, const char *text, uint64_t most, uint64_t *ret) ANNALS_MUST_CHECK;

/* --- the server (main.c) */

/* Connects once. CLI_OK, or an exit code after a message. */
int cli_connect(struct cli *cli) ANNALS_MUST_CHECK;
/* "annals: ..." on stderr; returns the exit code of the status. */
int cli_fail(int status, const char *format, ...) ANNALS_PRINTF(2, 3);
int cli_exit_of(int status);
/* Ctrl-C was pressed: finish in order. */
bool cli_interrupted(void);

/* --- output (output.c) */

struct table {
	const struct cli *cli;
	size_t columns, cells;
	struct buf text; /* cells, each ended by NUL */
	bool right[16];  /* align to the right */
};
void table_init(struct table *table, const struct cli *cli, size_t columns,
	...); /* names; '>' in front: right */
void table_add(struct table *table, const char *format, ...) ANNALS_PRINTF(2, 3);
/* Prints and releases. */
void table_print(struct table *table, FILE *file);

/* A line that is rewritten in place, on terminals only. total 0: unknown. */
struct progress {
	const struct cli *cli;
	const char *what;
	uint64_t total_bytes, started_ns, shown_ns;
	bool shown;
};
void progress_init(
	struct progress *progress, const struct cli *cli, const char *what, uint64_t total_bytes);
void progress_show(struct progress *progress, uint64_t events, uint64_t bytes);
/* Removes the line. */
void progress_end(struct progress *progress);
/* "1,234,567", "12.5 MiB", "2018-01-31T01:49:59Z": into a ring of 16 buffers. */
const char *text_count(uint64_t number);
const char *text_size(uint64_t bytes);
const char *text_time_us(uint64_t time_us);
const char *text_duration_us(uint64_t duration_us);

/* --- events (events.c) */

struct cloudevent;
struct typed;
/* Room for what an event of a record points to. */
struct event_room {
	struct annals_attribute extensions[RECORD_EXTENSIONS_MAX];
	struct annals_bytes tags[RECORD_TAGS_MAX];
};
/* What was parsed from JSON as an event to append. */
void event_of_record(
	const struct record *record, struct event_room *room, struct annals_event *ret);
/* Appends the event as a line of JSON; typed: its data as JSON by its schema, NULL: as it is
 * stored. 0, ANNALS_E_NO_MEMORY, ANNALS_E_MALFORMED, or what typed_show() returns, after its
 * message. */
int event_to_json(struct buf *out, const struct annals_topic *topic,
	const struct annals_event *event, struct typed *typed) ANNALS_MUST_CHECK;

/*
 * Reads a topic to where it ended when reading began, or on and on.
 */
struct reading {
	struct annals_topic *topic;
	struct annals_consumer *consumer;
	bool follow;
	uint64_t total_events; /* to be read, about; 0 when following */
	uint64_t left;         /* partitions that have not reached their end */
	bool *done;            /* per partition */
};
/* partitions NULL: all. CLI_OK or an exit code after a message; reading_close() in any case. */
int reading_open(struct reading *reading, struct cli *cli, const char *topic,
	const struct annals_start *start, bool follow);
/* 1 with events, 0 at the end (or when interrupted), negative status with *error. */
int reading_next(struct reading *reading, struct annals_event *events, size_t max,
	size_t *ret_count, struct annals_error *error);
void reading_close(struct reading *reading);

#endif
