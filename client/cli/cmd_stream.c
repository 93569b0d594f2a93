#include "cli.h"

#include <string.h>

#define PAGE_EVENTS 500u

/* Prints a page as NDJSON. */
static int print_events(
	const struct annals_topic *topic, const struct annals_page *page, uint64_t *left)
{
	struct buf line ANNALS_CLEANUP(buf_release) = BUF_INIT;
	for (size_t i = 0; i<page->count && * left> 0; i++, (*left)--) {
		buf_reset(&line);
		int status = event_to_json(&line, topic, &page->events[i], NULL);
		if (status != ANNALS_OK) {
			return cli_fail(status, "cannot print an event");
		}
		(void)fwrite(line.data, 1, line.size, stdout);
		(void)putchar('\n');
	}
	return CLI_OK;
}

struct walk {
	const char *topic_name;
	struct annals_bytes key;
	uint64_t version;
	bool backwards;
	uint64_t left;
};

/* Page after page. */
static int walk_stream(struct cli *cli, struct walk *walk, const struct annals_topic *topic)
{
	int code = CLI_OK;
	while (code == CLI_OK && walk->left > 0) {
		struct annals_page page = {0};
		struct annals_error error;
		uint32_t limit = (uint32_t)ANNALS_MIN(walk->left, (uint64_t)PAGE_EVENTS);
		int status = annals_stream_read(cli->client, walk->topic_name, walk->key,
			walk->version, walk->backwards, limit, cli->timeout_ms, &page, &error);
		if (status != ANNALS_OK) {
			return cli_fail(status, "cannot read the stream: %s", error.text);
		}
		if (!page.exists) {
			annals_page_release(&page);
			return cli_fail(ANNALS_E_NOT_FOUND, "the stream has never had an event");
		}
		code = print_events(topic, &page, &walk->left);
		bool more = page.count > 0 && walk->left > 0;
		uint64_t last = page.count > 0 ? page.events[page.count - 1].version : 0;
		more = more &&
		       (walk->backwards ? last > page.first_version : last + 1 < page.next_version);
		walk->version = walk->backwards ? last - 1 : last + 1;
		annals_page_release(&page);
		if (!more) {
			break;
		}
	}
	return code;
}

static int describe(struct cli *cli, const char *name, struct annals_topic **ret)
{
	struct annals_error error;
	int status = annals_topic_describe(cli->client, name, cli->timeout_ms, ret, &error);
	return status == ANNALS_OK ? CLI_OK : cli_fail(status, "%s", error.text);
}

static int run_show(struct cli *cli, int argc, char **argv)
{
	bool has_from = false, has_limit = false;
	struct walk walk = {.left = UINT64_MAX};
	struct cli_option options[] = {
		{"from", CLI_NUMBER, &walk.version, &has_from, "VERSION",
			"begin at this version (the first; backwards: the newest)"},
		{"limit", CLI_NUMBER, &walk.left, &has_limit, "N", "print at most so many"},
		{"backwards", CLI_FLAG, &walk.backwards, NULL, NULL, "newest first"},
	};
	struct annals_topic *topic;
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 2, 2);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int code = cli_connect(cli);
	code = code != CLI_OK ? code : describe(cli, argv[0], &topic);
	if (code != CLI_OK) {
		return code;
	}
	walk.topic_name = argv[0];
	walk.key = (struct annals_bytes){argv[1], strlen(argv[1])};
	if (!has_from) {
		walk.version = walk.backwards ? ANNALS_NEWEST : 0;
	}
	code = walk_stream(cli, &walk, topic);
	annals_topic_free(topic);
	return code;
}

const struct command cmd_stream_show = {
	.name = "stream show",
	.usage = "TOPIC KEY [OPTION ...]",
	.summary = "one entity's history: the events of a key with their versions",
	.help = "Prints one event per line (NDJSON). The topic needs streams "
		"('annals topic create T --streams').\n\nexamples\n"
		"  annals stream show orders order-1\n"
		"  annals stream show orders order-1 --backwards --limit 1\n",
	.run = run_show,
};

/* ---- query */

#define TERMS_MAX 32u

static int run_query(struct cli *cli, int argc, char **argv)
{
	struct annals_bytes types[TERMS_MAX], tags[TERMS_MAX];
	struct annals_query_item item = {.types = types, .tags = tags};
	struct annals_query query = {.items = &item, .item_count = 1};
	const char *type_list = NULL, *tag_list = NULL;
	uint64_t left = UINT64_MAX;
	struct cli_option options[] = {
		{"type", CLI_TEXT, &type_list, NULL, "A,B", "any of these types"},
		{"tag", CLI_TEXT, &tag_list, NULL, "A,B", "all of these tags"},
		{"after", CLI_NUMBER, &query.after, NULL, "POSITION", "only events above it (0)"},
		{"limit", CLI_NUMBER, &left, NULL, "N", "print at most so many"},
	};
	struct annals_topic *topic;
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	const struct {
		const char *list;
		struct annals_bytes *terms;
		size_t *count;
	} lists[] = {{type_list, types, &item.type_count}, {tag_list, tags, &item.tag_count}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(lists); i++) {
		const char *at = lists[i].list;
		while (at != NULL && *at != 0 && *lists[i].count < TERMS_MAX) {
			size_t size = strcspn(at, ",");
			lists[i].terms[(*lists[i].count)++] = (struct annals_bytes){at, size};
			at += size + (at[size] == ',');
		}
	}
	if (item.type_count + item.tag_count == 0) {
		fprintf(stderr, "annals: a query needs --type or --tag\n");
		return CLI_USAGE;
	}
	int code = cli_connect(cli);
	code = code != CLI_OK ? code : describe(cli, argv[0], &topic);
	if (code != CLI_OK) {
		return code;
	}
	while (code == CLI_OK && left > 0) {
		struct annals_page page = {0};
		struct annals_error error;
		int status = annals_query_read(cli->client, argv[0], &query,
			(uint32_t)ANNALS_MIN(left, (uint64_t)PAGE_EVENTS), cli->timeout_ms, &page,
			&error);
		if (status != ANNALS_OK) {
			code = cli_fail(status, "cannot query topic '%s': %s", argv[0], error.text);
			break;
		}
		code = print_events(topic, &page, &left);
		bool more = page.up_to > query.after && page.count > 0;
		query.after = page.up_to;
		annals_page_release(&page);
		if (!more) {
			break;
		}
	}
	annals_topic_free(topic);
	return code;
}

const struct command cmd_query = {
	.name = "query",
	.usage = "TOPIC [OPTION ...]",
	.summary = "events by type and tag, through the index, in the order of positions",
	.help = "Prints one event per line (NDJSON). The topic needs a query index "
		"('annals topic create T --query-index').\n\nexamples\n"
		"  annals query bookings --tag seat:7,show:1\n"
		"  annals query bookings --type booked --after 1200\n",
	.run = run_query,
};
