/* annals webhook: events to URLs, over HTTP. */
#include "http.h"

#include <errno.h>
#include <string.h>

#define HTTP_OPTION                                                                                \
	{                                                                                          \
		"http", CLI_TEXT, &http.address, NULL, "HOST:PORT",                                \
			"where the server speaks HTTP ($ANNALS_HTTP, 127.0.0.1:7480)"              \
	}
#define SECRET_FILE_BYTES_MAX 4096u

/* Asks with the path /v1/webhooks/NAME and what follows. What the answer says is left in http. */
static int exchange(struct cli *cli, struct cli_http *http, const char *method, const char *name,
	const char *rest, struct bytes body, const char *what)
{
	if (cli_http_path(http, "/v1/webhooks/", name) != 0 ||
		cli_http_path(http, rest, NULL) != 0) {
		return cli_fail(ANNALS_E_NO_MEMORY, "out of memory");
	}
	const int code = cli_http_exchange(
		cli, http, method, body.size > 0 ? "application/json" : NULL, body);
	return code == CLI_OK && http->status >= 300 ? cli_http_problem(http, what) : code;
}

/* ---- create ---- */

struct create {
	const char *group, *type, *type_prefix, *subject, *key, *tag, *secret_file;
	uint64_t timeout_us, concurrency, rate, attempts, backoff_us, backoff_max_us;
	bool has_attempts, has_backoff, binary, no_handshake, latest;
};

/* A line for each secret: not on the command line, where others see it. */
static int write_secrets(struct json_writer *writer, const char *path)
{
	char text[SECRET_FILE_BYTES_MAX + 1], *rest = text, *line;
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	if (file == NULL) {
		return cli_fail(ANNALS_E_INVALID, "cannot open '%s': %s", path, strerror(errno));
	}
	const size_t size = fread(text, 1, SECRET_FILE_BYTES_MAX, file);
	const bool failed = ferror(file) != 0;
	if (file != stdin) {
		(void)fclose(file);
	}
	if (failed) {
		return cli_fail(ANNALS_E_INVALID, "cannot read '%s'", path);
	}
	text[size] = 0;
	json_name(writer, "secrets");
	json_begin_array(writer);
	while ((line = strsep(&rest, "\r\n")) != NULL) {
		if (line[0] != 0) {
			json_write_text(writer, bytes_text(line));
		}
	}
	json_end_array(writer);
	explicit_bzero(text, sizeof(text));
	return CLI_OK;
}

static void write_filter(struct json_writer *writer, const struct create *given)
{
	const struct {
		const char *name, *text;
	} texts[] = {{"type", given->type}, {"typePrefix", given->type_prefix},
		{"subject", given->subject}, {"key", given->key}};
	json_name(writer, "filter");
	json_begin_object(writer);
	for (size_t i = 0; i < ANNALS_COUNT_OF(texts); i++) {
		if (texts[i].text != NULL) {
			json_member_cstring(writer, texts[i].name, texts[i].text);
		}
	}
	if (given->tag != NULL) {
		json_name(writer, "tags");
		json_begin_array(writer);
		json_write_text(writer, bytes_text(given->tag));
		json_end_array(writer);
	}
	json_end_object(writer);
}

static void write_number(
	struct json_writer *writer, const char *name, bool is_given, uint64_t value)
{
	if (is_given) {
		json_member_u64(writer, name, value);
	}
}

/* argv: the URL and the topics. */
static int write_settings(struct buf *out, const struct create *given, int count, char *const *argv)
{
	struct json_writer writer;
	int code = CLI_OK;
	json_writer_init(&writer, out);
	json_begin_object(&writer);
	json_member_cstring(&writer, "url", argv[0]);
	if (given->group != NULL) {
		json_member_cstring(&writer, "group", given->group);
	}
	if (count > 1) {
		json_name(&writer, "topics");
		json_begin_array(&writer);
		for (int i = 1; i < count; i++) {
			json_write_text(&writer, bytes_text(argv[i]));
		}
		json_end_array(&writer);
	}
	write_filter(&writer, given);
	json_member_cstring(&writer, "mode", given->binary ? "binary" : "structured");
	json_member_cstring(&writer, "handshake", given->no_handshake ? "off" : "required");
	json_member_cstring(&writer, "from", given->latest ? "latest" : "earliest");
	write_number(&writer, "timeoutMs", given->timeout_us > 0, given->timeout_us / 1000);
	write_number(&writer, "concurrency", given->concurrency > 0, given->concurrency);
	write_number(&writer, "ratePerMinute", given->rate > 0, given->rate);
	write_number(&writer, "attemptsMax", given->has_attempts, given->attempts);
	write_number(&writer, "backoffMs", given->has_backoff, given->backoff_us / 1000);
	write_number(
		&writer, "backoffMaxMs", given->backoff_max_us > 0, given->backoff_max_us / 1000);
	if (given->secret_file != NULL) {
		code = write_secrets(&writer, given->secret_file);
	}
	json_end_object(&writer);
	if (json_writer_status(&writer) != 0) {
		return cli_fail(ANNALS_E_NO_MEMORY, "out of memory");
	}
	return code;
}

static int run_create(struct cli *cli, int argc, char **argv)
{
	struct cli_http http = {0};
	struct create given = {.group = NULL};
	ANNALS_CLEANUP(buf_release) struct buf body = BUF_INIT;
	ANNALS_CLEANUP(buf_release) struct buf state = BUF_INIT;
	const struct cli_option options[] = {HTTP_OPTION,
		{"group", CLI_TEXT, &given.group, NULL, "GROUP",
			"take from this group by event, instead of TOPICs"},
		{"secret-file", CLI_TEXT, &given.secret_file, NULL, "FILE",
			"the secret to sign with, two lines while they are exchanged; '-': input"},
		{"no-handshake", CLI_FLAG, &given.no_handshake, NULL, NULL,
			"the receiver need not agree first"},
		{"type", CLI_TEXT, &given.type, NULL, "TYPE", "only events of this type"},
		{"type-prefix", CLI_TEXT, &given.type_prefix, NULL, "TEXT",
			"only of types that begin so"},
		{"subject", CLI_TEXT, &given.subject, NULL, "SUBJECT", "only with this subject"},
		{"key", CLI_TEXT, &given.key, NULL, "KEY", "only with this key"},
		{"tag", CLI_TEXT, &given.tag, NULL, "TAG", "only with this tag"},
		{"binary", CLI_FLAG, &given.binary, NULL, NULL,
			"attributes as ce- headers, the data as body"},
		{"timeout-each", CLI_DURATION_US, &given.timeout_us, NULL, "DURATION",
			"for one request (10s)"},
		{"concurrency", CLI_NUMBER, &given.concurrency, NULL, "N", "requests at once (4)"},
		{"rate", CLI_NUMBER, &given.rate, NULL, "N", "requests a minute at most"},
		{"attempts", CLI_NUMBER, &given.attempts, &given.has_attempts, "N",
			"deliveries before an event is parked (20), 0: no limit"},
		{"backoff", CLI_DURATION_US, &given.backoff_us, &given.has_backoff, "DURATION",
			"before an event comes again, doubling (1s)"},
		{"backoff-max", CLI_DURATION_US, &given.backoff_max_us, NULL, "DURATION",
			"where doubling ends (1h)"},
		{"latest", CLI_FLAG, &given.latest, NULL, NULL, "begin at the end of the topics"}};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 2, 66);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int code = write_settings(&body, &given, count - 1, argv + 1);
	if (code == CLI_OK) {
		code = exchange(cli, &http, "PUT", argv[0], "", buf_bytes(&body),
			"the webhook was not created");
	}
	if (code == CLI_OK && !cli->quiet) {
		printf("webhook '%s' %s, %s\n", argv[0], http.status == 201 ? "created" : "changed",
			cli_json_text(http.body, "state", &state));
	}
	if (body.size > 0) {
		explicit_bzero(body.data, body.size);
	}
	cli_http_release(&http);
	return code;
}

const struct command cmd_webhook_create = {
	.name = "webhook create",
	.usage = "NAME URL [TOPIC ...] [OPTION ...]",
	.summary = "POST events to a URL, or change where and how",
	.help = "The URL gets each event of the topics, in order per key, again until it answers "
		"2xx. It must agree\nfirst (CloudEvents' handshake), and requests are signed "
		"(Standard "
		"Webhooks) when there is a secret.\nWithout --secret-file a webhook keeps the "
		"secrets it "
		"has; all else is replaced.\n\nexamples\n"
		"  annals webhook create ship https://receiver.example/annals orders --type-prefix "
		"order. --secret-file ship.secret\n",
	.run = run_create,
};

/* ---- list, show ---- */

static int add_rows(struct table *table, struct bytes answer)
{
	static const char *const names[] = {"name", "state", "group", "url"};
	struct json_value array, one, delivery;
	struct json_scanner scanner;
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	if (!cli_json_member(answer, "webhooks", &array)) {
		return cli_fail(ANNALS_E_MALFORMED, "the answer has no 'webhooks'");
	}
	json_scanner_init(&scanner, array.raw);
	if (json_enter_array(&scanner) != 0) {
		return cli_fail(ANNALS_E_MALFORMED, "the answer's 'webhooks' is no array");
	}
	while (json_next_element(&scanner) == 1 && json_scan(&scanner, &one) == 0) {
		for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
			table_add(table, "%s", cli_json_text(one.raw, names[i], &text));
		}
		if (!cli_json_member(one.raw, "delivery", &delivery)) {
			delivery.raw = bytes_text("{}");
		}
		table_add(table, "%s", cli_json_text(delivery.raw, "delivered", &text));
		table_add(table, "%s", cli_json_text(delivery.raw, "failed", &text));
		const bool is_disabled =
			strcmp(cli_json_text(one.raw, "state", &text), "disabled") == 0;
		table_add(table, "%s",
			is_disabled ? cli_json_text(one.raw, "reason", &text)
				    : cli_json_text(delivery.raw, "lastFailure", &text));
	}
	return CLI_OK;
}

/* The page after the name. */
static int add_page(struct cli *cli, struct table *table, struct cli_http *http, const char *after)
{
	buf_reset(&http->path);
	buf_reset(&http->answer);
	if (cli_http_path(http, "/v1/webhooks", NULL) != 0 ||
		(after[0] != 0 && cli_http_path(http, "?after=", after) != 0)) {
		return cli_fail(ANNALS_E_NO_MEMORY, "out of memory");
	}
	const int code = cli_http_exchange(cli, http, "GET", NULL, bytes_of(NULL, 0));
	if (code != CLI_OK) {
		return code;
	}
	return http->status == 200 ? add_rows(table, http->body)
				   : cli_http_problem(http, "cannot list webhooks");
}

static int run_list(struct cli *cli, int argc, char **argv)
{
	struct cli_http http = {0};
	struct table table;
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	const char *after = "";
	const struct cli_option options[] = {HTTP_OPTION};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 0, 0);
	int code;
	if (count < 0) {
		return cli_parse_exit(count);
	}
	table_init(&table, cli, 7, "name", "state", "group", "url", ">delivered", ">failed", "why");
	do {
		code = add_page(cli, &table, &http, after);
		after = code == CLI_OK ? cli_json_text(http.body, "after", &text) : "";
	} while (after[0] != 0);
	if (code == CLI_OK) {
		table_print(&table, stdout);
	} else {
		buf_release(&table.text);
	}
	cli_http_release(&http);
	return code;
}

const struct command cmd_webhook_list = {
	.name = "webhook list",
	.usage = "",
	.summary = "all webhooks: states, figures, and what went wrong last",
	.help = "examples\n  annals webhook list\n",
	.run = run_list,
};

static int run_show(struct cli *cli, int argc, char **argv)
{
	struct cli_http http = {0};
	const struct cli_option options[] = {HTTP_OPTION};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	const int code = exchange(
		cli, &http, "GET", argv[0], "", bytes_of(NULL, 0), "cannot show the webhook");
	if (code == CLI_OK) {
		(void)fwrite(http.body.data, 1, http.body.size, stdout);
	}
	cli_http_release(&http);
	return code;
}

const struct command cmd_webhook_show = {
	.name = "webhook show",
	.usage = "NAME",
	.summary = "a webhook's settings, state and figures, as JSON",
	.help = "Its lag and parked events are those of its group: annals group show "
		"webhook.NAME.\n\nexamples\n  annals webhook show ship\n",
	.run = run_show,
};

/* ---- test ---- */

static int run_test(struct cli *cli, int argc, char **argv)
{
	struct cli_http http = {0};
	ANNALS_CLEANUP(buf_release) struct buf answer = BUF_INIT, taken = BUF_INIT;
	ANNALS_CLEANUP(buf_release) struct buf duration = BUF_INIT;
	const struct cli_option options[] = {HTTP_OPTION};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int code = exchange(cli, &http, "POST", argv[0], "/test", bytes_of(NULL, 0), "not tried");
	if (code == CLI_OK) {
		printf("%s (%s ms)\n", cli_json_text(http.body, "answer", &answer),
			cli_json_text(http.body, "durationMs", &duration));
		code = strcmp(cli_json_text(http.body, "delivered", &taken), "true") == 0
			       ? CLI_OK
			       : CLI_FAILED;
	}
	cli_http_release(&http);
	return code;
}

const struct command cmd_webhook_test = {
	.name = "webhook test",
	.usage = "NAME",
	.summary = "send the receiver an event of no topic, and show its answer",
	.help = "The event's type is annals.webhook.test. Exit code 1 unless the answer is "
		"2xx.\n\nexamples\n  annals webhook test ship\n",
	.run = run_test,
};

/* ---- pause, resume, delete ---- */

static int run_post(struct cli *cli, int argc, char **argv, const char *rest, const char *what)
{
	struct cli_http http = {0};
	ANNALS_CLEANUP(buf_release) struct buf state = BUF_INIT;
	const struct cli_option options[] = {HTTP_OPTION};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	const int code = exchange(cli, &http, "POST", argv[0], rest, bytes_of(NULL, 0), what);
	if (code == CLI_OK && !cli->quiet) {
		printf("webhook '%s' is %s\n", argv[0], cli_json_text(http.body, "state", &state));
	}
	cli_http_release(&http);
	return code;
}

static int run_pause(struct cli *cli, int argc, char **argv)
{
	return run_post(cli, argc, argv, "/pause", "not paused");
}

static int run_resume(struct cli *cli, int argc, char **argv)
{
	return run_post(cli, argc, argv, "/resume", "not resumed");
}

const struct command cmd_webhook_pause = {
	.name = "webhook pause",
	.usage = "NAME",
	.summary = "deliver nothing until it is resumed",
	.help = "examples\n  annals webhook pause ship\n",
	.run = run_pause,
};

const struct command cmd_webhook_resume = {
	.name = "webhook resume",
	.usage = "NAME",
	.summary = "deliver again: after a pause, or a receiver that was gone (410)",
	.help = "A receiver that has to agree is asked at once.\n\nexamples\n  annals webhook "
		"resume ship\n",
	.run = run_resume,
};

static int run_delete(struct cli *cli, int argc, char **argv)
{
	struct cli_http http = {0};
	bool yes = false;
	const struct cli_option options[] = {HTTP_OPTION,
		{"yes", CLI_FLAG, &yes, NULL, NULL, "it is meant: its place and parked events go"}};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	if (!yes) {
		fputs("annals: say --yes: the webhook's place and parked events are lost\n",
			stderr);
		return CLI_USAGE;
	}
	const int code =
		exchange(cli, &http, "DELETE", argv[0], "", bytes_of(NULL, 0), "not deleted");
	cli_http_release(&http);
	return code;
}

const struct command cmd_webhook_delete = {
	.name = "webhook delete",
	.usage = "NAME --yes",
	.summary = "delete a webhook with the group of its own",
	.help = "examples\n  annals webhook delete ship --yes\n",
	.run = run_delete,
};
