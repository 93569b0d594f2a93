/* annals schema: the schema registry, over HTTP. */
#include "http.h"

#include <errno.h>
#include <string.h>

#define HTTP_OPTION                                                                                \
	{                                                                                          \
		"http", CLI_TEXT, &http.address, NULL, "HOST:PORT",                                \
			"where the server speaks HTTP ($ANNALS_HTTP, 127.0.0.1:7480)"              \
	}
#define SCHEMA_BYTES_MAX (16u << 20)

static int out_of_memory(struct cli_http *http)
{
	cli_http_release(http);
	return cli_fail(ANNALS_E_NO_MEMORY, "out of memory");
}

static int read_file(const char *path, struct buf *out)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
	size_t got = 1;
	if (file == NULL) {
		return cli_fail(ANNALS_E_INVALID, "cannot open '%s': %s", path, strerror(errno));
	}
	while (got > 0 && out->size <= SCHEMA_BYTES_MAX && buf_reserve(out, 65536) == 0) {
		got = fread(out->data + out->size, 1, 65536, file);
		out->size += got;
	}
	const bool failed = ferror(file) != 0 || got > 0;
	if (file != stdin) {
		(void)fclose(file);
	}
	return failed ? cli_fail(ANNALS_E_INVALID, "cannot read '%s', or it is too large", path)
		      : CLI_OK;
}

static bool is_text(const char *path)
{
	const size_t size = strlen(path);
	return size > 6 && strcmp(path + size - 6, ".proto") == 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

/* Sends the file's schema to http->path and prints the problem there is. */
static int send_schema(struct cli *cli, struct cli_http *http, const char *path, const char *what)
{
	ANNALS_CLEANUP(buf_release) struct buf schema = BUF_INIT;
	int code = read_file(path, &schema);
	if (code == CLI_OK) {
		code = cli_http_exchange(cli, http, "POST",
			is_text(path) ? "text/plain" : "application/x-protobuf",
			buf_bytes(&schema));
	}
	if (code == CLI_OK && http->status >= 300) {
		code = cli_http_problem(http, what);
		cli_print_violations(cli, http->body, stderr);
	}
	return code;
}

/* ---- register ---- */

static int run_register(struct cli *cli, int argc, char **argv)
{
	struct cli_http http = {0};
	const char *file = NULL;
	bool refuse = false;
	const struct cli_option options[] = {HTTP_OPTION,
		{"file", CLI_TEXT, &file, NULL, "NAME",
			"the main file: of a text its name, of a set which one"},
		{"refuse-broken-readers", CLI_FLAG, &refuse, NULL, NULL,
			"not when a declared reader would break"}};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 2, 2);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	if (file == NULL && is_text(argv[1])) {
		file = base_name(argv[1]);
	}
	if (cli_http_path(&http, "/v1/schemas/", argv[0]) != 0 ||
		cli_http_path(&http, refuse ? "/versions?readers=refuse" : "/versions", NULL) !=
			0 ||
		(file != NULL && cli_http_path(&http, refuse ? "&file=" : "?file=", file) != 0)) {
		return out_of_memory(&http);
	}
	const int code = send_schema(cli, &http, argv[1], "not registered");
	if (code == CLI_OK && !cli->quiet) {
		ANNALS_CLEANUP(buf_release) struct buf version = BUF_INIT, id = BUF_INIT;
		ANNALS_CLEANUP(buf_release) struct buf broken = BUF_INIT;
		printf("%s version %s of '%s', schema id %s\n",
			http.status == 201 ? "registered" : "there was already",
			cli_json_text(http.body, "version", &version), argv[0],
			cli_json_text(http.body, "id", &id));
		if (strcmp(cli_json_text(http.body, "brokenReaders", &broken), "0") != 0) {
			fprintf(stderr, "annals: note: %s declared readers break\n",
				cli_json_text(http.body, "brokenReaders", &broken));
			cli_print_violations(cli, http.body, stderr);
		}
	}
	cli_http_release(&http);
	return code;
}

const struct command cmd_schema_register = {
	.name = "schema register",
	.usage = "SUBJECT FILE [OPTION ...]",
	.summary = "register a schema as the next version of a subject",
	.help = "FILE is .proto text, which the server compiles if it has protoc, or else a "
		"FileDescriptorSet. The subject of a type is the message's full name.\n\n"
		"examples\n"
		"  annals schema register quake.Event quake.proto\n"
		"  protoc --include_imports --descriptor_set_out=quake.pb quake.proto\n"
		"  annals schema register quake.Event quake.pb\n",
	.run = run_register,
};

/* ---- list ---- */

static int print_rows(const struct cli *cli, struct bytes object, const char *array_name,
	const char *const *names, size_t count)
{
	struct json_value array, one;
	struct json_scanner scanner;
	struct table table;
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	if (!cli_json_member(object, array_name, &array)) {
		return cli_fail(ANNALS_E_MALFORMED, "the answer has no '%s'", array_name);
	}
	json_scanner_init(&scanner, array.raw);
	if (json_enter_array(&scanner) != 0) {
		return cli_fail(ANNALS_E_MALFORMED, "the answer's '%s' is no array", array_name);
	}
	table_init(&table, cli, count, names[0], names[1], names[2], names[3], names[4]);
	while (json_next_element(&scanner) == 1 && json_scan(&scanner, &one) == 0) {
		for (size_t i = 0; i < count; i++) {
			const char *name = names[i][0] == '>' ? names[i] + 1 : names[i];
			table_add(&table, "%s", cli_json_text(one.raw, name, &text));
		}
	}
	table_print(&table, stdout);
	return CLI_OK;
}

static int run_list(struct cli *cli, int argc, char **argv)
{
	struct cli_http http = {0};
	bool deleted = false;
	const struct cli_option options[] = {HTTP_OPTION,
		{"deleted", CLI_FLAG, &deleted, NULL, NULL, "those that are deleted too"}};
	static const char *const names[] = {
		"subject", ">latest", ">id", "message", "compatibility"};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 0, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	if (cli_http_path(&http, "/v1/schemas?prefix=", count > 0 ? argv[0] : "") != 0 ||
		(deleted && cli_http_path(&http, "&deleted=true", NULL) != 0)) {
		return out_of_memory(&http);
	}
	int code = cli_http_exchange(cli, &http, "GET", NULL, bytes_of(NULL, 0));
	if (code == CLI_OK) {
		code = http.status == 200 ? print_rows(cli, http.body, "subjects", names, 5)
					  : cli_http_problem(&http, "cannot list schemas");
	}
	cli_http_release(&http);
	return code;
}

const struct command cmd_schema_list = {
	.name = "schema list",
	.usage = "[PREFIX]",
	.summary = "the subjects of the schema registry",
	.help = "examples\n  annals schema list\n  annals schema list quake.\n",
	.run = run_list,
};

/* ---- show ---- */

static int run_show(struct cli *cli, int argc, char **argv)
{
	struct cli_http http = {0};
	const char *format = NULL;
	const struct cli_option options[] = {
		HTTP_OPTION, {"format", CLI_TEXT, &format, NULL, "json|proto|set|jsonschema",
				     "what to print of a version (json)"}};
	static const char *const names[] = {">version", ">id", "message", "registered", "deleted"};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 2);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	if (cli_http_path(&http, "/v1/schemas/", argv[0]) != 0 ||
		(count > 1 && cli_http_path(&http, "/versions/", argv[1]) != 0) ||
		(count > 1 && format != NULL && cli_http_path(&http, "?format=", format) != 0)) {
		return out_of_memory(&http);
	}
	int code = cli_http_exchange(cli, &http, "GET", NULL, bytes_of(NULL, 0));
	if (code == CLI_OK && http.status != 200) {
		code = cli_http_problem(&http, "cannot show the schema");
	} else if (code == CLI_OK && count == 1) {
		code = print_rows(cli, http.body, "versions", names, 5);
	} else if (code == CLI_OK) {
		(void)fwrite(http.body.data, 1, http.body.size, stdout);
	}
	cli_http_release(&http);
	return code;
}

const struct command cmd_schema_show = {
	.name = "schema show",
	.usage = "SUBJECT [VERSION|latest]",
	.summary = "a subject's versions, or one of them",
	.help = "'set' is the FileDescriptorSet, 'proto' the text that was registered, "
		"'jsonschema' describes the message's JSON.\n\n"
		"examples\n"
		"  annals schema show quake.Event\n"
		"  annals schema show quake.Event latest --format proto\n",
	.run = run_show,
};

/* ---- check ---- */

static int print_verdict(struct cli *cli, const struct cli_http *http, const char *subject)
{
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	const bool good = strcmp(cli_json_text(http->body, "compatible", &text), "true") == 0;
	const bool breaks = strcmp(cli_json_text(http->body, "brokenReaders", &text), "0") != 0 &&
			    text.size > 0;
	if (!cli->quiet) {
		cli_print_violations(cli, http->body, stdout);
		fprintf(stderr, "annals: %s with '%s'%s\n", good ? "compatible" : "not compatible",
			subject, breaks ? ", but declared readers break" : "");
		const char *events = cli_json_text(http->body, "events", &text);
		if (events[0] != 0) {
			fprintf(stderr, "annals: looked at %s events", events);
			fprintf(stderr, " up to offset %s\n",
				cli_json_text(http->body, "nextOffset", &text));
		}
	}
	return good ? CLI_OK : CLI_CONFLICT;
}

static int run_check(struct cli *cli, int argc, char **argv)
{
	struct cli_http http = {0};
	const char *level = NULL, *topic = NULL;
	uint64_t partition = 0, offset = 0;
	const struct cli_option options[] = {HTTP_OPTION,
		{"level", CLI_TEXT, &level, NULL, "LEVEL",
			"another than the subject's: none, backward, forward, full, ..."},
		{"topic", CLI_TEXT, &topic, NULL, "TOPIC",
			"against this topic's events instead of versions"},
		{"partition", CLI_NUMBER, &partition, NULL, "N", "of the topic (0)"},
		{"offset", CLI_NUMBER, &offset, NULL, "N", "from where on (0)"}};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 2, 2);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int status = cli_http_path(&http, "/v1/schemas/", argv[0]);
	if (topic != NULL) {
		status = status != 0 ? status : cli_http_path(&http, "/check-data?topic=", topic);
		status = status != 0 ? status
				     : buf_printf(&http.path,
					       "&limit=100000&partition=%llu&offset=%llu",
					       (unsigned long long)partition,
					       (unsigned long long)offset);
	} else {
		status = status != 0 ? status
				     : cli_http_path(&http,
					       level != NULL ? "/check?level=" : "/check", level);
	}
	if (status == 0 && is_text(argv[1])) {
		status = cli_http_path(&http,
			topic != NULL || level != NULL ? "&file=" : "?file=", base_name(argv[1]));
	}
	if (status != 0) {
		return out_of_memory(&http);
	}
	int code = send_schema(cli, &http, argv[1], "cannot check");
	if (code == CLI_OK) {
		code = print_verdict(cli, &http, argv[0]);
	}
	cli_http_release(&http);
	return code;
}

const struct command cmd_schema_check = {
	.name = "schema check",
	.usage = "SUBJECT FILE [OPTION ...]",
	.summary = "what registering a schema would say, without doing it",
	.help = "Lists every difference and whom it breaks; exit code 4 when it is not compatible. "
		"With --topic: events that it would fail on or lose fields of, at most 100,000 at "
		"a time.\n\n"
		"examples\n"
		"  annals schema check quake.Event quake.proto\n"
		"  annals schema check quake.Event quake.proto --topic quakes --partition 0\n",
	.run = run_check,
};

/* ---- delete ---- */

static int run_delete(struct cli *cli, int argc, char **argv)
{
	struct cli_http http = {0};
	bool permanent = false, yes = false;
	const struct cli_option options[] = {HTTP_OPTION,
		{"permanent", CLI_FLAG, &permanent, NULL, NULL,
			"what is deleted already, for good"},
		{"yes", CLI_FLAG, &yes, NULL, NULL, "do it"}};
	const int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 2);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	if (!yes) {
		fprintf(stderr, "annals: deleting from '%s' needs --yes\n", argv[0]);
		return CLI_USAGE;
	}
	if (cli_http_path(&http, "/v1/schemas/", argv[0]) != 0 ||
		(count > 1 && cli_http_path(&http, "/versions/", argv[1]) != 0) ||
		(permanent && cli_http_path(&http, "?permanent=true", NULL) != 0)) {
		return out_of_memory(&http);
	}
	int code = cli_http_exchange(cli, &http, "DELETE", NULL, bytes_of(NULL, 0));
	if (code == CLI_OK && http.status >= 300) {
		code = cli_http_problem(&http, "not deleted");
	} else if (code == CLI_OK && !cli->quiet) {
		ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
		printf("deleted versions %s of '%s'%s\n",
			cli_json_text(http.body, "versions", &text), argv[0],
			permanent ? " for good" : "");
	}
	cli_http_release(&http);
	return code;
}

const struct command cmd_schema_delete = {
	.name = "schema delete",
	.usage = "SUBJECT [VERSION] --yes [--permanent]",
	.summary = "delete a version, or all of a subject",
	.help = "A deleted version is no longer the latest and still decodes old events; then "
		"--permanent takes its number away. Schema ids stay.\n\n"
		"examples\n"
		"  annals schema delete quake.Event 2 --yes\n"
		"  annals schema delete quake.Event 2 --yes --permanent\n",
	.run = run_delete,
};
