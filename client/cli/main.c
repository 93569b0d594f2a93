#include "cli.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {&cmd_append, &cmd_transact, &cmd_read,
	&cmd_topic_create, &cmd_topic_list, &cmd_topic_show, &cmd_topic_update, &cmd_topic_delete,
	&cmd_offsets_show, &cmd_offsets_commit, &cmd_offsets_list, &cmd_dump, &cmd_load,
	&cmd_status, &cmd_torture, &cmd_stream_show, &cmd_query, &cmd_consume, &cmd_group_create,
	&cmd_group_list, &cmd_group_show, &cmd_group_seek, &cmd_group_parked, &cmd_group_delete,
	&cmd_group_explain, &cmd_group_leave, &cmd_schema_register, &cmd_schema_list,
	&cmd_schema_show, &cmd_schema_check, &cmd_schema_delete, &cmd_webhook_create,
	&cmd_webhook_list, &cmd_webhook_show, &cmd_webhook_test, &cmd_webhook_pause,
	&cmd_webhook_resume, &cmd_webhook_delete};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	/* The second one does what it always does. */
	interrupted = 1;
	signal(number, SIG_DFL);
}

bool cli_interrupted(void)
{
	return interrupted != 0;
}

int cli_exit_of(int status)
{
	static const struct {
		int status, code;
	} codes[] = {{ANNALS_OK, CLI_OK}, {ANNALS_E_UNKNOWN_TOPIC, CLI_NOT_FOUND},
		{ANNALS_E_UNKNOWN_PARTITION, CLI_NOT_FOUND}, {ANNALS_E_NOT_FOUND, CLI_NOT_FOUND},
		{ANNALS_E_UNKNOWN_GROUP, CLI_NOT_FOUND}, {ANNALS_E_GROUP_MODE, CLI_CONFLICT},
		{ANNALS_E_LEASE_LOST, CLI_CONFLICT}, {ANNALS_E_OFFSET_BEYOND_END, CLI_NOT_FOUND},
		{ANNALS_E_OFFSET_GONE, CLI_NOT_FOUND}, {ANNALS_E_TOPIC_EXISTS, CLI_CONFLICT},
		{ANNALS_E_TOPIC_RECREATED, CLI_CONFLICT}, {ANNALS_E_CONFLICT, CLI_CONFLICT},
		{ANNALS_E_PRECONDITION_FAILED, CLI_CONFLICT}, {ANNALS_E_TIMEOUT, CLI_UNREACHABLE},
		{ANNALS_E_DISCONNECTED, CLI_UNREACHABLE}, {ANNALS_E_UNAVAILABLE, CLI_UNREACHABLE},
		{ANNALS_E_OUTCOME_UNKNOWN, CLI_UNKNOWN}, {ANNALS_E_INVALID, CLI_BAD_INPUT},
		{ANNALS_E_MALFORMED, CLI_BAD_INPUT}, {ANNALS_E_VALIDATION, CLI_BAD_INPUT},
		{ANNALS_E_TOO_LARGE, CLI_BAD_INPUT}, {ANNALS_E_CORRUPT_BATCH, CLI_BAD_INPUT},
		{ANNALS_E_CORRUPT_DATA, CLI_CORRUPT}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(codes); i++) {
		if (codes[i].status == status) {
			return codes[i].code;
		}
	}
	return CLI_FAILED;
}

int cli_fail(int status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("annals: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	return cli_exit_of(status);
}

int cli_connect(struct cli *cli)
{
	struct annals_error error;
	const char *server = cli->server ? cli->server : getenv("ANNALS_SERVER");
	const char *token = cli->token ? cli->token : getenv("ANNALS_TOKEN");
	cli->timeout_ms = (int)ANNALS_MIN(cli->timeout_us / 1000, (uint64_t)86400000);
	int status = annals_options_set_servers(
		cli->options, server && server[0] ? server : "127.0.0.1:7450", &error);
	if (status != ANNALS_OK) {
		cli_fail(status, "%s", error.text);
		return CLI_USAGE;
	}
	if ((token && annals_options_set_token(cli->options, token) != ANNALS_OK) ||
		annals_options_set_client_name(cli->options, "annals") != ANNALS_OK) {
		return cli_fail(ANNALS_E_INVALID, "the token is too long");
	}
	status = annals_connect(cli->options, cli->timeout_ms, &cli->client, &error);
	return status == ANNALS_OK ? CLI_OK
				   : cli_fail(status,
					     "%s; is annalsd running there? (--server HOST:PORT or "
					     "ANNALS_SERVER)",
					     error.text);
}

static void print_overview(FILE *file)
{
	fputs("usage: annals COMMAND [ARGUMENT ...]\n\n"
	      "Works with a server of Annals, a durable append-only event store.\n\n"
	      "commands\n",
		file);
	for (size_t i = 0; i < ANNALS_COUNT_OF(commands); i++) {
		fprintf(file, "  %-16s %s\n", commands[i]->name, commands[i]->summary);
	}
	fputs("\n'annals COMMAND --help' teaches each with examples. To begin:\n\n"
	      "  annals topic create orders --partitions 4\n"
	      "  annals append orders --type order.placed --source /shop --key 4711 --data "
	      "'{\"total\":12}'\n"
	      "  annals read orders --follow --from earliest\n\n"
	      "The server is --server HOST:PORT, or $ANNALS_SERVER, or 127.0.0.1:7450.\n\n"
	      "exit codes\n"
	      "  0 done   1 failed   2 wrong usage   3 no such topic, partition, offset or group\n"
	      "  4 exists with other settings   5 no server answered in time   6 the outcome is "
	      "unknown\n"
	      "  7 bad input (an event, a line, a file)   8 stored bytes failed their checks   130 "
	      "interrupted\n",
		file);
}

/* The command whose words the arguments begin with; *ret_words says how many. */
static const struct command *find(int argc, char **argv, int *ret_words)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(commands); i++) {
		const char *space = strchr(commands[i]->name, ' ');
		size_t first =
			space ? (size_t)(space - commands[i]->name) : strlen(commands[i]->name);
		if (strlen(argv[0]) != first || memcmp(argv[0], commands[i]->name, first) != 0) {
			continue;
		}
		if (!space || (argc > 1 && strcmp(argv[1], space + 1) == 0)) {
			*ret_words = space ? 2 : 1;
			return commands[i];
		}
	}
	return NULL;
}

/* "annals topic" alone: what there is under that word. */
static int print_group(const char *word)
{
	size_t size = strlen(word), shown = 0;
	for (size_t i = 0; i < ANNALS_COUNT_OF(commands); i++) {
		if (strncmp(commands[i]->name, word, size) == 0 && commands[i]->name[size] == ' ') {
			fprintf(stderr, "%s  %-16s %s\n", shown++ ? "" : "annals: say what to do\n",
				commands[i]->name, commands[i]->summary);
		}
	}
	if (shown == 0) {
		fprintf(stderr, "annals: there is no command '%s'\nTry 'annals --help'.\n", word);
	}
	return CLI_USAGE;
}

int main(int argc, char **argv)
{
	struct cli cli = {.timeout_us = 10000000};
	int words = 0;
	if (argc < 2) {
		print_overview(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
		strcmp(argv[1], "help") == 0) {
		print_overview(stdout);
		return CLI_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("annals %s\n", annals_version());
		return CLI_OK;
	}
	cli.command = find(argc - 1, argv + 1, &words);
	if (!cli.command) {
		return print_group(argv[1]);
	}
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	cli.stdout_is_terminal = isatty(STDOUT_FILENO);
	cli.stderr_is_terminal = isatty(STDERR_FILENO);
	cli.colour = cli.stdout_is_terminal && !(no_colour && no_colour[0]) &&
		     !(term && strcmp(term, "dumb") == 0);
	cli.options = annals_options_new();
	if (!cli.options) {
		return cli_fail(ANNALS_E_NO_MEMORY, "no memory");
	}
	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
	signal(SIGPIPE, SIG_IGN);
	int code = cli.command->run(&cli, argc - 1 - words, argv + 1 + words);
	annals_client_close(cli.client);
	annals_options_free(cli.options);
	if (fflush(stdout) != 0 && code == CLI_OK) {
		code = CLI_FAILED;
	}
	return code == CLI_OK && interrupted ? CLI_INTERRUPTED : code;
}
