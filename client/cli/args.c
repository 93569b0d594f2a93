#include "cli.h"

#include <annals/parse.h>
#include <string.h>

static int usage_error(const struct cli *cli, const char *what, const char *argument)
{
	fprintf(stderr, "annals: %s '%s'\nTry 'annals %s --help'.\n", what, argument,
		cli->command->name);
	return -1;
}

static const struct cli_option *find(
	const struct cli_option *options, size_t count, const char *name, size_t size)
{
	for (size_t i = 0; i < count; i++) {
		if (strlen(options[i].name) == size && memcmp(options[i].name, name, size) == 0) {
			return &options[i];
		}
	}
	return NULL;
}

static int set(const struct cli *cli, const struct cli_option *option, const char *value)
{
	struct bytes text = bytes_text(value ? value : "");
	int status = ANNALS_OK;
	switch (option->kind) {
	case CLI_FLAG:
		*(bool *)option->target = true;
		break;
	case CLI_TEXT:
		*(const char **)option->target = value;
		break;
	case CLI_NUMBER:
		status = parse_u64(text, option->target);
		break;
	case CLI_SIZE:
		status = parse_size(text, option->target);
		break;
	case CLI_DURATION_US:
		status = parse_duration_us(text, option->target);
		break;
	}
	if (status != ANNALS_OK) {
		char what[64];
		snprintf(what, sizeof(what), "option --%s does not take", option->name);
		return usage_error(cli, what, value);
	}
	if (option->given) {
		*option->given = true;
	}
	return 0;
}

static struct cli_option common[5];

static size_t common_options(struct cli *cli)
{
	common[0] = (struct cli_option){"server", CLI_TEXT, &cli->server, NULL, "HOST:PORT",
		"where the server is; else $ANNALS_SERVER, else 127.0.0.1:7450"};
	common[1] = (struct cli_option){"token", CLI_TEXT, &cli->token, NULL, "TEXT",
		"a secret for servers that ask for one; else $ANNALS_TOKEN"};
	common[2] = (struct cli_option){"timeout", CLI_DURATION_US, &cli->timeout_us, NULL,
		"DURATION", "how long to wait for the server (10s)"};
	common[3] = (struct cli_option){
		"quiet", CLI_FLAG, &cli->quiet, NULL, NULL, "no progress and no closing line"};
	common[4] = (struct cli_option){"help", CLI_FLAG, &cli->help, NULL, NULL, "this text"};
	return ANNALS_COUNT_OF(common);
}

static void print_options(const struct cli_option *options, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char left[64];
		snprintf(left, sizeof(left), "--%s%s%s", options[i].name,
			options[i].placeholder ? " " : "",
			options[i].placeholder ? options[i].placeholder : "");
		printf("  %-24s %s\n", left, options[i].help);
	}
}

void cli_print_help(const struct cli *cli, const struct command *command,
	const struct cli_option *options, size_t option_count)
{
	const char *bold = cli->colour ? "\033[1m" : "", *plain = cli->colour ? "\033[0m" : "";
	printf("%susage:%s annals %s%s%s\n\n%s.\n", bold, plain, command->name,
		command->usage[0] ? " " : "", command->usage, command->summary);
	if (option_count > 0) {
		printf("\n%soptions%s\n", bold, plain);
		print_options(options, option_count);
	}
	printf("\n%soptions of every command%s\n", bold, plain);
	print_options(common, ANNALS_COUNT_OF(common));
	printf("\n%s", command->help);
}

int cli_parse(struct cli *cli, const struct cli_option *options, size_t option_count, int argc,
	char **argv, int least, int most)
{
	size_t common_count = common_options(cli);
	int kept = 0;
	bool only_arguments = false;
	for (int i = 0; i < argc; i++) {
		const char *argument = argv[i];
		if (strcmp(argument, "-h") == 0 && !only_arguments) {
			argument = "--help";
		}
		if (only_arguments || strncmp(argument, "--", 2) != 0) {
			argv[kept++] = argv[i];
			continue;
		}
		if (argument[2] == '\0') {
			only_arguments = true;
			continue;
		}
		const char *name = argument + 2, *equals = strchr(name, '=');
		size_t size = equals ? (size_t)(equals - name) : strlen(name);
		const struct cli_option *option = find(options, option_count, name, size);
		if (!option) {
			option = find(common, common_count, name, size);
		}
		if (!option) {
			return usage_error(cli, "there is no option", argument);
		}
		const char *value = equals ? equals + 1 : NULL;
		if (option->kind == CLI_FLAG && value) {
			return usage_error(cli, "this option takes no value:", argument);
		}
		if (option->kind != CLI_FLAG && !value) {
			if (i + 1 >= argc) {
				return usage_error(cli, "a value is missing after", argument);
			}
			value = argv[++i];
		}
		if (set(cli, option, value) != 0) {
			return -1;
		}
	}
	if (cli->help) {
		cli_print_help(cli, cli->command, options, option_count);
		return -2;
	}
	if (kept < least || kept > most) {
		fprintf(stderr, "annals: %s\nusage: annals %s %s\nTry 'annals %s --help'.\n",
			kept < least ? "arguments are missing" : "too many arguments",
			cli->command->name, cli->command->usage, cli->command->name);
		return -1;
	}
	return kept;
}

int cli_parse_exit(int result)
{
	return result == -2 ? CLI_OK : CLI_USAGE;
}

int cli_number(const char *what, const char *text, uint64_t most, uint64_t *ret)
{
	uint64_t value;
	if (parse_u64(bytes_text(text), &value) != ANNALS_OK || value > most) {
		fprintf(stderr, "annals: '%s' is no %s\n", text, what);
		return CLI_USAGE;
	}
	*ret = value;
	return CLI_OK;
}
