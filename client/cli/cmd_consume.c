#include "child.h"
#include "cli.h"

#include <annals/clock.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 2000u
#define KEEP_MS 20
#define LEASE_US_DEFAULT UINT64_C(30000000)

struct consuming {
	struct cli *cli;
	const char *group, *command;
	char member[128];
	uint64_t lease_us;
	bool by_offset;
	struct annals_group_consumer *consumer; /* by offset */
	const struct annals_lease *lease;       /* by event: of the event at hand */
	uint64_t extend_ns;
	bool is_lost;               /* the event at hand is another's */
	struct annals_topic *topic; /* of the last event */
	uint64_t done, refused;
};

/* ---- Staying who one is while the command runs ---- */

/* By event: asks for more time. */
static int keep_lease(struct consuming *consuming, struct annals_error *error)
{
	if (clock_monotonic_ns() < consuming->extend_ns) {
		return ANNALS_OK;
	}
	int status = annals_group_extend(consuming->cli->client, consuming->group, consuming->lease,
		1, consuming->lease_us, consuming->cli->timeout_ms, NULL, error);
	/* After a failure soon again, as long as there is time. */
	consuming->extend_ns =
		clock_monotonic_ns() + consuming->lease_us * (status == ANNALS_OK ? 500 : 50);
	return status;
}

static bool is_lost(int status)
{
	return status == ANNALS_E_LEASE_LOST || status == ANNALS_E_UNKNOWN_MEMBER ||
	       status == ANNALS_E_FENCED || status == ANNALS_E_UNKNOWN_GROUP;
}

/* What the command has begun it finishes, whoever has the event now; the answer finds out. */
static void keep(struct consuming *consuming, const struct annals_delivered_event *event)
{
	struct annals_error error;
	int status;
	if (consuming->is_lost) {
		return;
	}
	status = consuming->consumer != NULL ? annals_group_consumer_heartbeat(consuming->consumer,
						       consuming->cli->timeout_ms, &error)
					     : keep_lease(consuming, &error);
	if (is_lost(status)) {
		consuming->is_lost = true;
		fprintf(stderr, "annals: offset %llu was lost while the command ran: %s\n",
			(unsigned long long)event->event.offset, error.text);
	}
}

/* ---- One event ---- */

/* The event as JSON on the command's standard input; its place in the environment. */
static int run_command(struct consuming *consuming, const struct annals_delivered_event *event,
	struct bytes text, int *ret_result)
{
	char partition[24], offset[24], attempt[24];
	const char *const environment[] = {"ANNALS_TOPIC", event->topic, "ANNALS_PARTITION",
		partition, "ANNALS_OFFSET", offset, "ANNALS_ATTEMPT", attempt, NULL};
	struct child child;
	int status;
	(void)snprintf(partition, sizeof(partition), "%u", event->event.partition);
	(void)snprintf(offset, sizeof(offset), "%llu", (unsigned long long)event->event.offset);
	(void)snprintf(attempt, sizeof(attempt), "%u", event->attempt);
	status = child_start(&child, consuming->command, environment, text);
	if (status != 0) {
		return cli_fail(ANNALS_E_IO, "cannot start '%s': %s", consuming->command,
			strerror(-status));
	}
	consuming->is_lost = false;
	consuming->lease = &event->lease;
	consuming->extend_ns = clock_monotonic_ns() + consuming->lease_us * 500;
	while (!child_wait(&child, KEEP_MS, ret_result)) {
		keep(consuming, event);
	}
	return CLI_OK;
}

static int event_text(
	struct consuming *consuming, const struct annals_delivered_event *event, struct buf *out)
{
	struct annals_error error;
	if (consuming->topic == NULL || strcmp(consuming->topic->name, event->topic) != 0) {
		annals_topic_free(consuming->topic);
		consuming->topic = NULL;
		int status = annals_topic_describe(consuming->cli->client, event->topic,
			consuming->cli->timeout_ms, &consuming->topic, &error);
		if (status != ANNALS_OK) {
			return cli_fail(
				status, "cannot find topic '%s': %s", event->topic, error.text);
		}
	}
	if (event_to_json(out, consuming->topic, &event->event, NULL) != 0 ||
		buf_add_byte(out, '\n') != 0) {
		return cli_fail(ANNALS_E_NO_MEMORY, "no memory for an event");
	}
	return CLI_OK;
}

/* Prints it or runs the command, whose exit code is *ret_result. */
static int work(
	struct consuming *consuming, const struct annals_delivered_event *event, int *ret_result)
{
	struct buf text ANNALS_CLEANUP(buf_release) = BUF_INIT;
	int code = event_text(consuming, event, &text);
	*ret_result = 0;
	if (code != CLI_OK) {
		return code;
	}
	if (consuming->command == NULL) {
		(void)fwrite(text.data, 1, text.size, stdout);
		if (fflush(stdout) != 0) {
			return cli_fail(ANNALS_E_IO, "cannot write the event");
		}
	} else {
		code = run_command(consuming, event, buf_bytes(&text), ret_result);
	}
	return code;
}

static int handle(struct consuming *consuming, const struct annals_delivered_event *event)
{
	struct annals_error error;
	char reason[64];
	int status, result;
	int code = work(consuming, event, &result);
	if (code != CLI_OK) {
		return code;
	}
	if (result == 0) {
		status = annals_group_acknowledge(consuming->cli->client, consuming->group,
			&event->lease, 1, consuming->cli->timeout_ms, NULL, &error);
		consuming->done += status == ANNALS_OK ? 1 : 0;
	} else {
		(void)snprintf(reason, sizeof(reason), "the command ended with %d", result);
		status =
			annals_group_refuse(consuming->cli->client, consuming->group, &event->lease,
				1, UINT64_MAX, 0, reason, consuming->cli->timeout_ms, NULL, &error);
		consuming->refused++;
	}
	if (status == ANNALS_E_LEASE_LOST && consuming->is_lost) {
		status = ANNALS_OK; /* told already */
	} else if (status == ANNALS_E_LEASE_LOST) {
		fprintf(stderr,
			"annals: offset %llu took longer than its lease and was given to another\n",
			(unsigned long long)event->event.offset);
		status = ANNALS_OK;
	}
	return status == ANNALS_OK ? CLI_OK
				   : cli_fail(status, "cannot answer for offset %llu: %s",
					     (unsigned long long)event->event.offset, error.text);
}

static int consume(struct consuming *consuming, uint64_t limit, bool drain)
{
	struct cli *cli = consuming->cli;
	int code = CLI_OK;
	while (code == CLI_OK && !cli_interrupted() &&
		(limit == 0 || consuming->done + consuming->refused < limit)) {
		struct annals_deliveries events;
		struct annals_error error;
		int status = annals_group_poll(cli->client, consuming->group, consuming->member, 1,
			consuming->lease_us, drain ? 0 : WAIT_MS, cli->timeout_ms + (int)WAIT_MS,
			&events, &error);
		if (status != ANNALS_OK) {
			return cli_interrupted() ? CLI_OK
						 : cli_fail(status, "cannot poll group '%s': %s",
							   consuming->group, error.text);
		}
		if (events.count == 0 && drain) {
			annals_deliveries_release(&events);
			break;
		}
		for (size_t i = 0; i < events.count && code == CLI_OK; i++) {
			code = handle(consuming, &events.deliveries[i]);
		}
		annals_deliveries_release(&events);
	}
	return code;
}

/* ---- By offset: partitions in order ---- */

static int handle_in_order(
	struct consuming *consuming, const char *topic, const struct annals_event *event)
{
	const struct annals_delivered_event delivered = {
		.event = *event, .topic = topic, .attempt = 1};
	int result;
	int code = work(consuming, &delivered, &result);
	if (code == CLI_OK && result != 0) {
		/* What comes after it may not be handled before it. */
		code = cli_fail(ANNALS_E_INVALID,
			"offset %llu of partition %u: the command ended "
			"with %d; nothing after it was handled",
			(unsigned long long)event->offset, event->partition, result);
	}
	consuming->done += code == CLI_OK;
	return code;
}

/* All of its partition before the event was handled, and nothing of what comes after. */
static void commit_before(struct consuming *consuming, const char *topic,
	const struct annals_event *event, uint32_t generation)
{
	const struct annals_offset offset = {
		.topic = topic, .partition = event->partition, .offset = event->offset};
	/* When it fails the events since the last commit come again. */
	(void)annals_offsets_commit_as(consuming->cli->client, consuming->group, consuming->member,
		generation, &offset, 1, consuming->cli->timeout_ms, NULL);
}

static int consume_in_order(struct consuming *consuming, const char *topic, uint64_t limit,
	bool drain, struct annals_group_consumer *consumer)
{
	struct cli *cli = consuming->cli;
	int code = CLI_OK;
	while (code == CLI_OK && !cli_interrupted() && (limit == 0 || consuming->done < limit)) {
		struct annals_event event;
		struct annals_error error;
		size_t count;
		/* One at a time: the next poll says that it was handled. */
		int status = annals_group_consumer_poll(
			consumer, (int)WAIT_MS, cli->timeout_ms, &topic, &event, 1, &count, &error);
		if (status != ANNALS_OK) {
			return cli_interrupted()
				       ? CLI_OK
				       : cli_fail(status, "cannot read for group '%s': %s",
						 consuming->group, error.text);
		}
		if (count == 0 && drain && annals_group_consumer_partitions(consumer) > 0) {
			break;
		}
		code = count == 0 ? CLI_OK : handle_in_order(consuming, topic, &event);
		if (code != CLI_OK) {
			commit_before(consuming, topic, &event,
				annals_group_consumer_generation(consumer));
		}
		if (code == CLI_OK && count > 0 && consuming->done % 100 == 0) {
			status = annals_group_consumer_commit(consumer, cli->timeout_ms, &error);
			/* Fenced: the next poll finds out what is left. */
			code = status == ANNALS_OK || status == ANNALS_E_FENCED ||
					       status == ANNALS_E_UNKNOWN_MEMBER
				       ? CLI_OK
				       : cli_fail(status, "cannot commit: %s", error.text);
		}
	}
	return code;
}

static int run_in_order(struct consuming *consuming, const char *topic, uint64_t limit, bool drain)
{
	struct cli *cli = consuming->cli;
	struct annals_group_consumer *consumer;
	struct annals_error error;
	int status = annals_group_consumer_open(cli->client, consuming->group, consuming->member,
		&topic, 1, ANNALS_START_EARLIEST, (uint32_t)(consuming->lease_us / 1000), NULL,
		cli->timeout_ms, &consumer, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot join group '%s': %s", consuming->group, error.text);
	}
	consuming->consumer = consumer;
	int code = consume_in_order(consuming, topic, limit, drain, consumer);
	consuming->consumer = NULL;
	if (code != CLI_OK) {
		/* The last event was not handled: what was committed before stands. */
		(void)annals_group_consumer_close(consumer, 0, NULL);
		(void)annals_group_leave(cli->client, consuming->group, consuming->member,
			cli->timeout_ms, NULL, NULL);
		return code;
	}
	status = annals_group_consumer_close(consumer, cli->timeout_ms, &error);
	return status == ANNALS_OK ? code : cli_fail(status, "cannot commit: %s", error.text);
}

static int prepare_group(struct consuming *consuming, const char *topic)
{
	struct annals_group_settings settings = {.mode = ANNALS_GROUP_BY_EVENT,
		.topics = &topic,
		.topic_count = 1,
		.lease_us = consuming->lease_us};
	struct cli *cli = consuming->cli;
	struct annals_group_status group;
	struct annals_error error;
	int status = annals_group_describe(
		cli->client, consuming->group, cli->timeout_ms, &group, &error);
	if (status == ANNALS_OK) {
		annals_group_status_release(&group);
	} else if (status == ANNALS_E_UNKNOWN_GROUP) {
		status = annals_group_put(
			cli->client, consuming->group, &settings, cli->timeout_ms, NULL, &error);
	}
	return status == ANNALS_OK ? CLI_OK
				   : cli_fail(status, "cannot use group '%s': %s", consuming->group,
					     error.text);
}

static int run_consume(struct cli *cli, int argc, char **argv)
{
	struct consuming consuming = {.cli = cli, .lease_us = LEASE_US_DEFAULT};
	const char *member = NULL;
	uint64_t limit = 0;
	bool drain = false;
	struct cli_option options[] = {{"group", CLI_TEXT, &consuming.group, NULL, "GROUP",
					       "whose work it is; made for TOPIC if there is none"},
		{"exec", CLI_TEXT, &consuming.command, NULL, "COMMAND",
			"run for each event, which is JSON on its standard input"},
		{"member", CLI_TEXT, &member, NULL, "NAME", "this worker's name (host.pid)"},
		{"lease", CLI_DURATION_US, &consuming.lease_us, NULL, "DURATION",
			"how long until others get the event if this process dies (30s)"},
		{"limit", CLI_NUMBER, &limit, NULL, "N", "stop after so many events"},
		{"drain", CLI_FLAG, &drain, NULL, NULL, "stop when nothing is there"},
		{"by-offset", CLI_FLAG, &consuming.by_offset, NULL, NULL,
			"share partitions, each read in order, instead of single events"}};
	int count = cli_parse(cli, options, ANNALS_COUNT_OF(options), argc, argv, 1, 1);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	if (consuming.group == NULL) {
		fputs("annals: say --group GROUP\n", stderr);
		return CLI_USAGE;
	}
	int code = cli_connect(cli);
	if (code != CLI_OK) {
		return code;
	}
	char host[64] = "";
	(void)gethostname(host, sizeof(host) - 1);
	(void)snprintf(
		consuming.member, sizeof(consuming.member), "%s", member != NULL ? member : "");
	if (member == NULL) {
		(void)snprintf(
			consuming.member, sizeof(consuming.member), "%s.%d", host, (int)getpid());
	}
	if (consuming.by_offset) {
		code = run_in_order(&consuming, argv[0], limit, drain);
	} else {
		code = prepare_group(&consuming, argv[0]);
		code = code != CLI_OK ? code : consume(&consuming, limit, drain);
	}
	annals_topic_free(consuming.topic);
	if (!cli->quiet && consuming.command != NULL) {
		fprintf(stderr, "annals: %llu acknowledged, %llu refused\n",
			(unsigned long long)consuming.done, (unsigned long long)consuming.refused);
	}
	return code;
}

const struct command cmd_consume = {
	.name = "consume",
	.usage = "TOPIC --group GROUP [--exec COMMAND]",
	.summary = "work on a group's events, one after the other",
	.help = "Each event is leased, handed to COMMAND, and acknowledged when COMMAND ends with "
		"0; "
		"else it is\nrefused and comes again after a while, to this worker or another. "
		"What "
		"failed too often is\nparked ('annals group parked'). ANNALS_TOPIC, "
		"ANNALS_PARTITION, ANNALS_OFFSET and ANNALS_ATTEMPT\nare in COMMAND's environment. "
		"Without --exec events are printed and acknowledged.\n\n"
		"With --by-offset the members of GROUP share the partitions of TOPIC and read them "
		"in order; what\nwas handled is committed every 100 events, when a partition goes "
		"to another member, and at the\nend. A COMMAND that fails ends it.\n\nexamples\n"
		"  annals consume orders --group billing --exec ./bill.sh\n"
		"  annals consume orders --group audit --drain\n"
		"  annals consume orders --group search --by-offset --exec ./index.sh\n",
	.run = run_consume,
};
