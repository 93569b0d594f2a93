/*
 * The options of annalsd: one table (options.c) says name, type, bounds, default, whether a reload
 * may change it, and the help text. The command line
 * (--name VALUE, --name=VALUE), the environment (ANNALS_NAME), the config file (name = value),
 * --help, GET /, docs/options.md and the man page are all made from it. Precedence: command line,
 * environment, file, default.
 *
 * Parsing happens on the main thread; afterwards a struct options is immutable and any thread may
 * read it.
 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include <annals/buf.h>
#include <annals/error.h>
#include <stdbool.h>
#include <stdint.h>

/* Times are microseconds in every *_us field. Texts are owned by the structure; "" means not set.
 */
struct options {
	char *config, *data_dir, *http, *binary, *pid_file, *journal, *log_level, *log_format;
	char *tls_cert, *tls_key;
	char *webhook_origin, *webhook_private_addresses, *webhook_ca_file;
	uint64_t webhooks_max, webhook_requests_max;
	uint64_t loops;
	uint64_t journal_segment_bytes, map_bytes, tail_bytes_max, queue_bytes_max,
		disk_reserve_bytes;
	uint64_t retention_interval_us;
	uint64_t event_bytes_max, request_bytes_max, header_bytes_max, fetch_bytes_max,
		output_bytes_max;
	uint64_t requests_in_flight_max, connections_max, partitions_max, topics_max;
	uint64_t header_timeout_us, idle_timeout_us, wait_max_us, drain_timeout_us;
};

enum option_type { OPTION_TEXT, OPTION_CHOICE, OPTION_SIZE, OPTION_COUNT, OPTION_DURATION };

/* One row of the table. */
struct option_def {
	const char *name;    /* "request-bytes-max" */
	const char *section; /* "Limits": the group in --help */
	enum option_type type;
	size_t place;        /* offsetof(struct options, ...) */
	uint64_t min, max;   /* numbers; durations in microseconds */
	const char *choices; /* OPTION_CHOICE: "text|json" */
	const char *initial; /* the default, as a person writes it */
	bool reloadable;     /* by SIGHUP */
	bool is_limit;       /* shown in GET / and in the binary hello */
	const char *help;    /* one sentence or two */
};
/* The table, for those who print it. */
const struct option_def *option_defs(size_t *ret_count);
/* The value of a numeric row. */
uint64_t option_number(const struct options *options, const struct option_def *def);
const char *option_text(const struct options *options, const struct option_def *def);
/* Writes a value as a person writes it: "4MiB", "60s", "127.0.0.1:7480". */
int option_format(const struct options *options, const struct option_def *def,
	struct buf *out) ANNALS_MUST_CHECK;

/* What the command line asked for besides options. */
enum options_command {
	OPTIONS_RUN,
	OPTIONS_HELP,
	OPTIONS_VERSION,
	OPTIONS_PRINT,
	OPTIONS_VERIFY,
	OPTIONS_SALVAGE
};
struct options_request {
	enum options_command command;
	const char *argument; /* verify, salvage: the directory; print: the format. Borrowed from
				 argv. */
	const char *second;   /* salvage: the new directory */
};

/*
 * Fills *ret from defaults, the config file, environ and argv. ANNALS_E_INVALID with a sentence
 * that names the option, the value, where it came from and what is allowed; ANNALS_E_NOT_FOUND when
 * the config file cannot be read; ANNALS_E_NO_MEMORY. On errors *ret needs no release.
 */
int options_load(int argc, char *const *argv, char *const *environment, struct options *ret,
	struct options_request *ret_request, struct error *err) ANNALS_MUST_CHECK;
/* Frees the texts. NULL and zeroed structures are fine. */
void options_release(struct options *options);
/* Defaults only, for tests. */
int options_init(struct options *options) ANNALS_MUST_CHECK;

/* The text of --help. */
int options_print_help(struct buf *out) ANNALS_MUST_CHECK;
/* docs/options.md and the roff of annalsd(8). */
int options_print_markdown(struct buf *out) ANNALS_MUST_CHECK;
int options_print_man(struct buf *out) ANNALS_MUST_CHECK;

#endif
