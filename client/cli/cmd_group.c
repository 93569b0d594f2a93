#include "cli.h"

#include <annals/parse.h>
#include <stdlib.h>
#include <string.h>

#define TOPICS_MAX 64

static int connect_for(struct cli *cli, const struct cli_option *options, size_t option_count,
	int argc, char **argv, int least, int most, int *ret_count)
{
	*ret_count = cli_parse(cli, options, option_count, argc, argv, least, most);
	return *ret_count < 0 ? cli_parse_exit(*ret_count) : cli_connect(cli);
}

/* ---- create ---- */

static int run_create(struct cli *cli, int argc, char **argv)
{
	struct annals_group_settings settings = {.mode = ANNALS_GROUP_BY_EVENT};
	const char *topics[TOPICS_MAX];
	uint64_t attempts = 0;
	bool latest = false, pass = false, no_backoff = false, unlimited = false;
	struct cli_option options[] = {
		{"lease", CLI_DURATION_US, &settings.lease_us, NULL, "DURATION",
			"how long a member may work on an event (30s)"},
		{"attempts", CLI_NUMBER, &attempts, NULL, "N",
			"deliveries before an event is parked (10)"},
		{"unlimited", CLI_FLAG, &unlimited, NULL, NULL, "never park for attempts"},
		{"backoff", CLI_DURATION_US, &settings.backoff_first_us, NULL, "DURATION",
			"before a refused event comes again, doubling (1s)"},
		{"no-backoff", CLI_FLAG, &no_backoff, NULL, NULL, "refused events come at once"},
		{"backoff-max", CLI_DURATION_US, &settings.backoff_max_us, NULL, "DURATION",
			"where doubling ends (5m)"},
		{"pass", CLI_FLAG, &pass, NULL, NULL,
			"deliver later events of a parked key instead of keeping them back"},
		{"latest", CLI_FLAG, &latest, NULL, NULL, "begin at the end of the topics"}};
	struct annals_error error;
	int count, created, status;
	int code = connect_for(
		cli, options, ANNALS_COUNT_OF(options), argc, argv, 2, TOPICS_MAX + 1, &count);
	if (code != CLI_OK || count < 0) {
		return code;
	}
	for (int i = 1; i < count; i++) {
		topics[i - 1] = argv[i];
	}
	settings.topics = topics;
	settings.topic_count = (size_t)count - 1;
	settings.attempts_max = (uint32_t)ANNALS_MIN(attempts, UINT32_MAX);
	settings.attempts_unlimited = unlimited;
	settings.backoff_none = no_backoff;
	settings.parked_pass = pass;
	settings.from_latest = latest;
	status = annals_group_put(
		cli->client, argv[0], &settings, cli->timeout_ms, &created, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot create group '%s': %s", argv[0], error.text);
	}
	if (!cli->quiet) {
		printf("group '%s' %s\n", argv[0], created ? "created" : "changed");
	}
	return CLI_OK;
}

const struct command cmd_group_create = {
	.name = "group create",
	.usage = "GROUP TOPIC [TOPIC ...]",
	.summary = "make a work queue over topics, or change one",
	.help = "Members of the group share the events; each is handed out to one of them with a "
		"lease,\nand again when it is not acknowledged in time. What failed too often is "
		"parked.\n\nexamples\n"
		"  annals group create billing orders --lease 1m --attempts 5\n",
	.run = run_create,
};

/* ---- list, delete ---- */

static int run_list(struct cli *cli, int argc, char **argv)
{
	struct annals_error error;
	char **groups;
	size_t group_count;
	int count;
	int code = connect_for(cli, NULL, 0, argc, argv, 0, 0, &count);
	if (code != CLI_OK || count < 0) {
		return code;
	}
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

const struct command cmd_group_list = {
	.name = "group list",
	.usage = "",
	.summary = "all consumer groups",
	.help = "examples\n  annals group list\n",
	.run = run_list,
};

static int run_delete(struct cli *cli, int argc, char **argv)
{
	struct annals_error error;
	bool yes = false;
	struct cli_option options[] = {
		{"yes", CLI_FLAG, &yes, NULL, NULL, "it is meant: leases and parked events go"}};
	int count;
	int code = connect_for(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 1, &count);
	if (code != CLI_OK || count < 0) {
		return code;
	}
	if (!yes) {
		fputs("annals: say --yes: the group's place, leases and parked events are lost\n",
			stderr);
		return CLI_USAGE;
	}
	int status = annals_group_delete(cli->client, argv[0], cli->timeout_ms, &error);
	return status == ANNALS_OK
		       ? CLI_OK
		       : cli_fail(status, "cannot delete group '%s': %s", argv[0], error.text);
}

const struct command cmd_group_delete = {
	.name = "group delete",
	.usage = "GROUP --yes",
	.summary = "forget a group",
	.help = "examples\n  annals group delete billing --yes\n",
	.run = run_delete,
};

/* ---- show ---- */

static int run_show(struct cli *cli, int argc, char **argv)
{
	struct annals_group_status group;
	struct annals_error error;
	struct table table;
	int count;
	int code = connect_for(cli, NULL, 0, argc, argv, 1, 1, &count);
	if (code != CLI_OK || count < 0) {
		return code;
	}
	int status = annals_group_describe(cli->client, argv[0], cli->timeout_ms, &group, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot show group '%s': %s", argv[0], error.text);
	}
	if (group.mode == ANNALS_GROUP_BY_OFFSET) {
		printf("by offset, generation %u, %u members\n", group.generation, group.members);
	} else {
		printf("by event, lag %llu (%s), in flight %llu, parked %llu (%s)%s\n",
			(unsigned long long)group.lag, text_duration_us(group.lag_us),
			(unsigned long long)group.in_flight, (unsigned long long)group.parked,
			text_size(group.parked_bytes),
			group.paused ? ", PAUSED: too much is parked" : "");
		table_init(&table, cli, 10, "topic", ">partition", ">floor", ">cursor", ">end",
			">lag", ">in flight", ">delayed", ">waiting", ">parked");
		for (size_t i = 0; i < group.partition_count; i++) {
			const struct annals_group_partition *part = &group.partitions[i];
			const uint64_t numbers[] = {part->floor, part->cursor, part->end_offset,
				part->lag, part->in_flight, part->delayed, part->waiting,
				part->parked};
			table_add(&table, "%s", part->topic);
			table_add(&table, "%u", part->partition);
			for (size_t k = 0; k < ANNALS_COUNT_OF(numbers); k++) {
				table_add(&table, "%llu", (unsigned long long)numbers[k]);
			}
		}
		table_print(&table, stdout);
	}
	annals_group_status_release(&group);
	return CLI_OK;
}

const struct command cmd_group_show = {
	.name = "group show",
	.usage = "GROUP",
	.summary = "a group's lag, leases and parked events, by partition",
	.help = "'floor': everything below is finished or parked; 'cursor': everything from there "
		"on "
		"was never\nhanded out.\n\nexamples\n  annals group show billing\n",
	.run = run_show,
};

/* ---- seek ---- */

static int read_place(const char *to, struct annals_group_seek *seek)
{
	int64_t time_ns;
	if (strcmp(to, "earliest") == 0) {
		seek->target = ANNALS_SEEK_EARLIEST;
		return CLI_OK;
	}
	if (strcmp(to, "latest") == 0) {
		seek->target = ANNALS_SEEK_LATEST;
		return CLI_OK;
	}
	if (strchr(to, 'T') != NULL && parse_rfc3339_ns(bytes_text(to), &time_ns) == 0 &&
		time_ns >= 0) {
		seek->target = ANNALS_SEEK_TIME;
		seek->value = (uint64_t)time_ns / 1000;
		return CLI_OK;
	}
	seek->target = ANNALS_SEEK_OFFSET;
	return cli_number("place", to, INT64_MAX, &seek->value);
}

static int run_seek(struct cli *cli, int argc, char **argv)
{
	struct annals_group_seek seek = {.partition = -1};
	struct annals_error error;
	uint64_t partition = 0;
	bool has_partition = false, dry_run = false;
	struct cli_option options[] = {
		{"topic", CLI_TEXT, &seek.topic, NULL, "TOPIC", "only this topic"},
		{"partition", CLI_NUMBER, &partition, &has_partition, "N", "only this partition"},
		{"dry-run", CLI_FLAG, &dry_run, NULL, NULL, "say what would happen"}};
	int count;
	int code = connect_for(cli, options, ANNALS_COUNT_OF(options), argc, argv, 2, 2, &count);
	if (code != CLI_OK || count < 0) {
		return code;
	}
	code = read_place(argv[1], &seek);
	if (code != CLI_OK) {
		return code;
	}
	seek.partition = has_partition ? (int64_t)ANNALS_MIN(partition, UINT32_MAX) : -1;
	seek.dry_run = dry_run;
	int status = annals_group_seek(cli->client, argv[0], &seek, cli->timeout_ms, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot move group '%s': %s", argv[0], error.text);
	}
	printf("%s %llu partitions: %llu leases end, about %llu events come again, %llu are "
	       "skipped\n",
		dry_run ? "would move" : "moved", (unsigned long long)seek.partitions,
		(unsigned long long)seek.leases_ended, (unsigned long long)seek.delivered_again,
		(unsigned long long)seek.skipped);
	return CLI_OK;
}

const struct command cmd_group_seek = {
	.name = "group seek",
	.usage = "GROUP earliest|latest|TIME|OFFSET",
	.summary = "move a group, while it works; its leases end",
	.help = "TIME is RFC 3339; an OFFSET needs --topic and --partition. Parked events "
		"stay.\n\nexamples\n"
		"  annals group seek billing 2026-01-31T00:00:00Z --dry-run\n"
		"  annals group seek billing 1500 --topic orders --partition 0\n",
	.run = run_seek,
};

/* ---- parked ---- */

static int list_parked(struct cli *cli, const char *group)
{
	struct annals_deliveries parked;
	struct annals_error error;
	struct table table;
	int status = annals_group_parked(
		cli->client, group, NULL, 0, 0, 1000, cli->timeout_ms, &parked, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot list parked events of '%s': %s", group, error.text);
	}
	table_init(&table, cli, 7, "topic", ">partition", ">offset", ">attempts", "parked",
		"member", "reason");
	for (size_t i = 0; i < parked.count; i++) {
		const struct annals_delivered_event *event = &parked.deliveries[i];
		table_add(&table, "%s", event->topic);
		table_add(&table, "%u", event->event.partition);
		table_add(&table, "%llu", (unsigned long long)event->event.offset);
		table_add(&table, "%u", event->attempt);
		table_add(&table, "%s", text_time_us(event->parked_us));
		table_add(&table, "%s", event->member);
		table_add(&table, "%s", event->reason);
	}
	table_print(&table, stdout);
	if (parked.count < parked.total && !cli->quiet) {
		printf("%s of %s\n", text_count(parked.count), text_count(parked.total));
	}
	annals_deliveries_release(&parked);
	return CLI_OK;
}

static int run_parked(struct cli *cli, int argc, char **argv)
{
	struct annals_error error;
	uint64_t partition = 0, offset = 0, changed = 0;
	bool dry_run = false, drop;
	struct cli_option options[] = {{"dry-run", CLI_FLAG, &dry_run, NULL, NULL, "only count"}};
	int count;
	int code = connect_for(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 5, &count);
	if (code != CLI_OK || count < 0) {
		return code;
	}
	if (count == 1) {
		return list_parked(cli, argv[0]);
	}
	drop = strcmp(argv[1], "drop") == 0;
	if ((!drop && strcmp(argv[1], "replay") != 0) || count == 4) {
		fputs("annals: say 'replay' or 'drop', then nothing, TOPIC, or TOPIC PARTITION "
		      "OFFSET\n",
			stderr);
		return CLI_USAGE;
	}
	if (count == 5) {
		code = cli_number("partition", argv[3], UINT32_MAX, &partition);
		code = code != CLI_OK ? code : cli_number("offset", argv[4], INT64_MAX, &offset);
	}
	if (code != CLI_OK) {
		return code;
	}
	int status = annals_group_parked_change(cli->client, argv[0], drop,
		count > 2 ? argv[2] : NULL, count == 5 ? (int64_t)partition : -1, offset, dry_run,
		cli->timeout_ms, &changed, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot %s parked events of '%s': %s", argv[1], argv[0],
			error.text);
	}
	printf("%s%s %llu\n", dry_run ? "would " : "", argv[1], (unsigned long long)changed);
	return CLI_OK;
}

const struct command cmd_group_parked = {
	.name = "group parked",
	.usage = "GROUP [replay|drop [TOPIC [PARTITION OFFSET]]]",
	.summary = "events that failed too often: list, replay, drop",
	.help = "examples\n  annals group parked billing\n"
		"  annals group parked billing replay --dry-run\n"
		"  annals group parked billing drop orders 0 1742\n",
	.run = run_parked,
};

/* ---- explain, leave ---- */

static int run_explain(struct cli *cli, int argc, char **argv)
{
	struct annals_explanation explanation;
	struct annals_error error;
	uint64_t partition, offset;
	struct table table;
	int count;
	int code = connect_for(cli, NULL, 0, argc, argv, 4, 4, &count);
	if (code != CLI_OK || count < 0) {
		return code;
	}
	code = cli_number("partition", argv[2], UINT32_MAX, &partition);
	code = code != CLI_OK ? code : cli_number("offset", argv[3], INT64_MAX, &offset);
	if (code != CLI_OK) {
		return code;
	}
	int status = annals_group_explain(cli->client, argv[0], argv[1], (uint32_t)partition,
		offset, cli->timeout_ms, &explanation, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot explain offset %s: %s", argv[3], error.text);
	}
	printf("%s, delivered %u times", explanation.state, explanation.deliveries);
	if (explanation.due_us > 0) {
		printf(", until %s", text_time_us(explanation.due_us));
	}
	printf("\n");
	table_init(&table, cli, 6, ">delivery", "outcome", "member", "leased", "ended", "reason");
	for (size_t i = 0; i < explanation.history_count; i++) {
		const struct annals_attempt *attempt = &explanation.history[i];
		table_add(&table, "%u", attempt->delivery);
		table_add(&table, "%s", attempt->outcome);
		table_add(&table, "%s", attempt->member);
		table_add(&table, "%s", text_time_us(attempt->leased_us));
		table_add(&table, "%s",
			attempt->ended_us == 0 ? "" : text_time_us(attempt->ended_us));
		table_add(&table, "%s", attempt->reason);
	}
	table_print(&table, stdout);
	annals_explanation_release(&explanation);
	return CLI_OK;
}

const struct command cmd_group_explain = {
	.name = "group explain",
	.usage = "GROUP TOPIC PARTITION OFFSET",
	.summary = "what happened to one event: every delivery, its member and its end",
	.help = "The last 16 deliveries of an event are kept, and those of the last 4,096 events "
		"that ended.\n\nexamples\n  annals group explain billing orders 0 1742\n",
	.run = run_explain,
};

static int run_leave(struct cli *cli, int argc, char **argv)
{
	struct annals_error error;
	uint64_t released;
	int count;
	int code = connect_for(cli, NULL, 0, argc, argv, 2, 2, &count);
	if (code != CLI_OK || count < 0) {
		return code;
	}
	int status = annals_group_leave(
		cli->client, argv[0], argv[1], cli->timeout_ms, &released, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "member '%s' cannot leave group '%s': %s", argv[1], argv[0],
			error.text);
	}
	if (!cli->quiet) {
		printf("member '%s' left: %llu leases given back\n", argv[1],
			(unsigned long long)released);
	}
	return CLI_OK;
}

const struct command cmd_group_leave = {
	.name = "group leave",
	.usage = "GROUP MEMBER",
	.summary = "take a member out: its events or partitions go to others at once",
	.help = "For a worker that is gone, instead of waiting for its leases or its session to "
		"end.\n\nexamples\n  annals group leave billing worker-1\n",
	.run = run_leave,
};
