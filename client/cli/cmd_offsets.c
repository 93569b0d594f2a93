#include "cli.h"

#include <string.h>

static int run_show(struct cli *cli, int argc, char **argv)
{
	int count = cli_parse(cli, NULL, 0, argc, argv, 1, 2);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int code = cli_connect(cli);
	if (code != CLI_OK) {
		return code;
	}
	struct annals_error error;
	struct annals_offset *offsets;
	size_t offset_count;
	int status = annals_offsets_fetch(cli->client, argv[0], count > 1 ? argv[1] : NULL,
		cli->timeout_ms, &offsets, &offset_count, &error);
	if (status != ANNALS_OK) {
		return cli_fail(
			status, "cannot read the offsets of group '%s': %s", argv[0], error.text);
	}
	if (offset_count == 0) {
		annals_offsets_free(offsets, offset_count);
		return cli_fail(ANNALS_E_NOT_FOUND, "group '%s' has committed nothing%s%s", argv[0],
			count > 1 ? " for topic " : "", count > 1 ? argv[1] : "");
	}
	struct table table;
	table_init(&table, cli, 7, "topic", ">partition", ">offset", ">end", ">lag", "committed",
		"metadata");
	for (size_t i = 0; i < offset_count; i++) {
		const struct annals_offset *offset = &offsets[i];
		table_add(&table, "%s", offset->topic);
		table_add(&table, "%u", offset->partition);
		table_add(&table, "%llu", (unsigned long long)offset->offset);
		table_add(&table, "%llu", (unsigned long long)offset->end_offset);
		table_add(&table, "%llu",
			(unsigned long long)(offset->end_offset > offset->offset
						     ? offset->end_offset - offset->offset
						     : 0));
		table_add(&table, "%s", text_time_us(offset->committed_us));
		table_add(&table, "%s", offset->metadata);
	}
	table_print(&table, stdout);
	annals_offsets_free(offsets, offset_count);
	return CLI_OK;
}

const struct command cmd_offsets_show = {
	.name = "offsets show",
	.usage = "GROUP [TOPIC]",
	.summary = "how far a group has come, and its lag",
	.help = "'offset' is the next event the group reads; 'lag' is how many it has not read "
		"yet.\n\nexamples\n  annals offsets show billing\n  annals offsets show billing "
		"orders\n",
	.run = run_show,
};

static int run_commit(struct cli *cli, int argc, char **argv)
{
	const char *metadata = NULL;
	struct cli_option options[] = {{"metadata", CLI_TEXT, &metadata, NULL, "TEXT",
		"a note kept with the offset, at most 4 KiB"}};
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 4, 4);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	uint64_t partition, offset;
	int code = cli_number("partition", argv[2], UINT32_MAX, &partition);
	if (code == CLI_OK) {
		code = cli_number("offset", argv[3], UINT64_MAX, &offset);
	}
	if (code == CLI_OK) {
		code = cli_connect(cli);
	}
	if (code != CLI_OK) {
		return code;
	}
	struct annals_error error;
	struct annals_offset entry = {.topic = argv[1],
		.partition = (uint32_t)partition,
		.offset = offset,
		.metadata = metadata};
	int status =
		annals_offsets_commit(cli->client, argv[0], &entry, 1, cli->timeout_ms, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status,
			"cannot commit offset %s of topic '%s' partition %s for group '%s': %s",
			argv[3], argv[1], argv[2], argv[0], error.text);
	}
	if (!cli->quiet) {
		printf("group '%s' continues '%s' partition %llu at offset %llu\n", argv[0],
			argv[1], (unsigned long long)partition, (unsigned long long)offset);
	}
	return CLI_OK;
}

const struct command cmd_offsets_commit = {
	.name = "offsets commit",
	.usage = "GROUP TOPIC PARTITION OFFSET",
	.summary = "set how far a group has come",
	.help = "OFFSET is the next event to read: 0 begins anew, the end skips "
		"everything.\n\nexamples\n"
		"  annals offsets commit billing orders 0 1500\n",
	.run = run_commit,
};

static int run_list(struct cli *cli, int argc, char **argv)
{
	int count = cli_parse(cli, NULL, 0, argc, argv, 0, 0);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	int code = cli_connect(cli);
	if (code != CLI_OK) {
		return code;
	}
	struct annals_error error;
	char **groups;
	size_t group_count;
	int status =
		annals_groups_list(cli->client, cli->timeout_ms, &groups, &group_count, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot list groups: %s", error.text);
	}
	for (size_t i = 0; i < group_count; i++) {
		printf("%s\n", groups[i]);
	}
	annals_groups_free(groups, group_count);
	return CLI_OK;
}

const struct command cmd_offsets_list = {
	.name = "offsets list",
	.usage = "",
	.summary = "the groups that have committed offsets",
	.help = "examples\n  annals offsets list\n",
	.run = run_list,
};
