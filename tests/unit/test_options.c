#include "options.h"
#include "suite.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct options options;
static struct options_request request;
static struct error err;
static char config_file[64];
static const char *documents[2]; /* docs/options.md and docs/annalsd.8, from the command line */

static void setup(void)
{
	memset(&options, 0, sizeof(options));
	memset(&err, 0, sizeof(err));
	config_file[0] = 0;
}

static void teardown(void)
{
	options_release(&options);
	if (config_file[0] != 0) {
		(void)unlink(config_file);
	}
}

static const char *write_config(const char *text)
{
	static char argument[96];
	int fd;
	(void)snprintf(config_file, sizeof(config_file), "/tmp/annals-options-XXXXXX");
	fd = mkstemp(config_file);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	(void)snprintf(argument, sizeof(argument), "--config=%s", config_file);
	return argument;
}

static int load(const char *one, const char *two, const char *variable)
{
	char *argv[4] = {(char *)(uintptr_t) "annalsd"};
	char *environment[2] = {(char *)(uintptr_t)variable, NULL};
	int argc = 1;
	if (one != NULL) {
		argv[argc++] = (char *)(uintptr_t)one;
	}
	if (two != NULL) {
		argv[argc++] = (char *)(uintptr_t)two;
	}
	return options_load(argc, argv, environment, &options, &request, &err);
}

START_TEST(test_options_defaults_are_those_of_the_design)
{
	ck_assert_int_eq(load(NULL, NULL, NULL), 0);
	ck_assert_int_eq(request.command, OPTIONS_RUN);
	ck_assert_str_eq(options.http, "127.0.0.1:7480");
	ck_assert_str_eq(options.binary, "127.0.0.1:7450");
	ck_assert_str_eq(options.data_dir, "./annals-data");
	ck_assert_uint_eq(options.event_bytes_max, 1u << 20);
	ck_assert_uint_eq(options.request_bytes_max, 4u << 20);
	ck_assert_uint_eq(options.connections_max, 20000);
	ck_assert_uint_eq(options.header_timeout_us, 10000000);
}
END_TEST

START_TEST(test_options_both_spellings_on_the_command_line)
{
	ck_assert_int_eq(load("--idle-timeout", "250ms", NULL), 0);
	ck_assert_uint_eq(options.idle_timeout_us, 250000);
	options_release(&options);
	ck_assert_int_eq(load("--idle-timeout=5m", NULL, NULL), 0);
	ck_assert_uint_eq(options.idle_timeout_us, 300000000);
}
END_TEST

START_TEST(test_options_precedence_is_command_line_environment_file_default)
{
	const char *config =
		write_config("# a comment\n\n connections-max = 3 # three\nhttp=off\n");
	ck_assert_int_eq(load(config, NULL, NULL), 0);
	ck_assert_uint_eq(options.connections_max, 3);
	ck_assert_str_eq(options.http, "off");
	options_release(&options);
	ck_assert_int_eq(load(config, NULL, "ANNALS_CONNECTIONS_MAX=4"), 0);
	ck_assert_uint_eq(options.connections_max, 4);
	options_release(&options);
	ck_assert_int_eq(load(config, "--connections-max=5", "ANNALS_CONNECTIONS_MAX=4"), 0);
	ck_assert_uint_eq(options.connections_max, 5);
}
END_TEST

START_TEST(test_options_errors_name_option_value_source_and_range)
{
	ASSERT_FAILS(load("--loops=99", NULL, NULL), ANNALS_E_INVALID, err,
		"loops '99' on the command line");
	ck_assert_ptr_nonnull(strstr(err.text, "from 1 to 64"));
	ASSERT_FAILS(load("--idle-timeout=soon", NULL, NULL), ANNALS_E_INVALID, err, "'soon'");
	ASSERT_FAILS(load("--journal=tape", NULL, NULL), ANNALS_E_INVALID, err, "file|memory");
	ASSERT_FAILS(load("--colour=red", NULL, NULL), ANNALS_E_INVALID, err, "colour");
	ASSERT_FAILS(load("--loops", NULL, NULL), ANNALS_E_INVALID, err, "needs a value");
	ASSERT_FAILS(
		load(NULL, NULL, "ANNALS_LOOPS=0"), ANNALS_E_INVALID, err, "in the environment");
	ASSERT_FAILS(load("--tls-cert=x.pem", NULL, NULL), ANNALS_E_INVALID, err, "tls-key");
	ASSERT_FAILS(load("--event-bytes-max=4MiB", "--request-bytes-max=1MiB", NULL),
		ANNALS_E_INVALID, err, "event-bytes-max");
	ASSERT_FAILS(load("--config=/nowhere/annals.conf", NULL, NULL), ANNALS_E_NOT_FOUND, err,
		"/nowhere/annals.conf");
	ASSERT_FAILS(load("stray", NULL, NULL), ANNALS_E_INVALID, err, "stray");
}
END_TEST

START_TEST(test_options_errors_name_the_line_of_the_file)
{
	const char *config = write_config("loops = 1\n\nfetch-bytes-max = 1\n");
	ASSERT_FAILS(load(config, NULL, NULL), ANNALS_E_INVALID, err, "line 3");
	ck_assert_ptr_nonnull(strstr(err.text, "fetch-bytes-max"));
	teardown();
	setup();
	config = write_config("loops 1\n");
	ASSERT_FAILS(load(config, NULL, NULL), ANNALS_E_INVALID, err, "line 1");
}
END_TEST

START_TEST(test_options_commands)
{
	ck_assert_int_eq(load("verify", "/some/dir", NULL), 0);
	ck_assert_int_eq(request.command, OPTIONS_VERIFY);
	ck_assert_str_eq(request.argument, "/some/dir");
	options_release(&options);
	ck_assert_int_eq(load("--help", NULL, NULL), 0);
	ck_assert_int_eq(request.command, OPTIONS_HELP);
	options_release(&options);
	ck_assert_int_eq(load("--version", NULL, NULL), 0);
	ck_assert_int_eq(request.command, OPTIONS_VERSION);
	options_release(&options);
	ASSERT_FAILS(load("verify", NULL, NULL), ANNALS_E_INVALID, err, "verify DIR");
}
END_TEST

START_TEST(test_options_every_row_is_whole_and_its_default_allowed)
{
	size_t count;
	const struct option_def *defs = option_defs(&count);
	struct buf help = BUF_INIT;
	ck_assert_int_eq(options_init(&options), 0);
	ck_assert_int_eq(options_print_help(&help), 0);
	for (size_t i = 0; i < count; i++) {
		struct buf text = BUF_INIT;
		char name[64];
		ck_assert_ptr_nonnull(defs[i].help);
		(void)snprintf(name, sizeof(name), "--%s ", defs[i].name);
		ck_assert_msg(
			strstr(buf_text(&help), name) != NULL, "--help lacks %s", defs[i].name);
		for (size_t j = 0; j < i; j++) {
			ck_assert_str_ne(defs[i].name, defs[j].name);
			ck_assert_uint_ne(defs[i].place, defs[j].place);
		}
		/* What is printed is what was written. */
		ck_assert_int_eq(option_format(&options, &defs[i], &text), 0);
		ck_assert_str_eq(text.size > 0 ? buf_text(&text) : "", defs[i].initial);
		buf_release(&text);
	}
	buf_release(&help);
}
END_TEST

static void compare(const char *path, int (*print)(struct buf *out))
{
	struct buf printed = BUF_INIT;
	struct buf stored = BUF_INIT;
	FILE *file = fopen(path, "re");
	int c;
	ck_assert_ptr_nonnull(file);
	while ((c = getc(file)) != EOF) {
		ck_assert_int_eq(buf_add_byte(&stored, (uint8_t)c), 0);
	}
	fclose(file);
	ck_assert_int_eq(print(&printed), 0);
	ck_assert_msg(bytes_equal(buf_bytes(&printed), buf_bytes(&stored)),
		"'%s' is stale: write it again with annalsd --print-options=markdown (or man)",
		path);
	buf_release(&printed);
	buf_release(&stored);
}

START_TEST(test_options_documents_are_up_to_date)
{
	compare(documents[0], options_print_markdown);
	compare(documents[1], options_print_man);
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {test_options_defaults_are_those_of_the_design,
		test_options_both_spellings_on_the_command_line,
		test_options_precedence_is_command_line_environment_file_default,
		test_options_errors_name_option_value_source_and_range,
		test_options_errors_name_the_line_of_the_file, test_options_commands,
		test_options_every_row_is_whole_and_its_default_allowed,
		test_options_documents_are_up_to_date};
	if (argc != 3) {
		return 2;
	}
	documents[0] = argv[1];
	documents[1] = argv[2];
	return suite_run("options", setup, teardown, tests, sizeof(tests) / sizeof(tests[0]), 30);
}
