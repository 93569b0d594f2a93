#include "backwards.h"

#include <stdlib.h>

#define PAGE_EVENTS 500u

/* One partition's place: events from `next` on in its page, then those below page.before. */
struct part {
	uint32_t partition;
	struct annals_page page;
	size_t next;
	bool is_through;
};

static const struct annals_event *head(const struct part *part)
{
	return part->next < part->page.count ? &part->page.events[part->next] : NULL;
}

/* The next page, until there is an event or the beginning. */
static int refill(struct cli *cli, const struct backwards *how, struct part *part)
{
	const uint32_t limit = (uint32_t)ANNALS_MIN(how->limit, (uint64_t)PAGE_EVENTS);
	while (!head(part) && !part->is_through) {
		struct annals_error error;
		const uint64_t before = part->page.before;
		annals_page_release(&part->page);
		const int status = annals_read_backwards(cli->client, how->topic, part->partition,
			before, how->filter, limit, cli->timeout_ms, &part->page, &error);
		if (status != ANNALS_OK) {
			return cli_fail(status, "cannot read partition %u backwards: %s",
				part->partition, error.text);
		}
		part->next = 0;
		part->is_through = part->page.before <= part->page.first_offset;
	}
	return CLI_OK;
}

/* The partition whose newest event that is left is the newest of all; NULL: there is none. */
static int newest(struct cli *cli, const struct backwards *how, struct part *parts, size_t count,
	struct part **ret)
{
	*ret = NULL;
	for (size_t i = 0; i < count; i++) {
		const int code = refill(cli, how, &parts[i]);
		if (code != CLI_OK) {
			return code;
		}
		if (head(&parts[i]) &&
			(!*ret || head(&parts[i])->position > head(*ret)->position)) {
			*ret = &parts[i];
		}
	}
	return CLI_OK;
}

static int walk(struct cli *cli, const struct backwards *how, const struct annals_topic *topic,
	struct part *parts, size_t count)
{
	for (uint64_t taken = 0; taken < how->limit; taken++) {
		struct part *part;
		int code = newest(cli, how, parts, count, &part);
		if (code != CLI_OK || !part) {
			return code;
		}
		code = how->take(how->arg, topic, head(part));
		if (code != CLI_OK) {
			return code;
		}
		part->next++;
	}
	return CLI_OK;
}

int read_backwards(struct cli *cli, const struct backwards *how)
{
	struct annals_error error;
	struct annals_topic *topic;
	int code;
	int status =
		annals_topic_describe(cli->client, how->topic, cli->timeout_ms, &topic, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "%s", error.text);
	}
	const size_t count = how->has_partition ? 1 : topic->partition_count;
	struct part *parts = calloc(count + 1, sizeof(*parts));
	if (!parts) {
		code = cli_fail(ANNALS_E_NO_MEMORY, "no memory");
	} else {
		for (size_t i = 0; i < count; i++) {
			parts[i].partition = how->has_partition ? how->partition : (uint32_t)i;
			parts[i].page.before = how->has_partition ? how->before : ANNALS_NEWEST;
		}
		code = walk(cli, how, topic, parts, count);
		for (size_t i = 0; i < count; i++) {
			annals_page_release(&parts[i].page);
		}
	}
	free(parts);
	annals_topic_free(topic);
	return code;
}
