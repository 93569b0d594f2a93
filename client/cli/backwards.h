/* Reading a topic from its end. */
#ifndef CLI_BACKWARDS_H
#define CLI_BACKWARDS_H

#include "cli.h"

struct backwards {
	const char *topic;
	bool has_partition; /* else all, merged by position */
	uint32_t partition;
	uint64_t before; /* with a partition: events below this offset; ANNALS_NEWEST: all */
	const struct annals_filter *filter;
	uint64_t limit;
	/* Takes an event, newest first; borrowed for the call. 0, or an exit code that ends it. */
	int (*take)(void *arg, const struct annals_topic *topic, const struct annals_event *event);
	void *arg;
};
/* CLI_OK, an exit code after a message, or what take() returned. */
int read_backwards(struct cli *cli, const struct backwards *how);

#endif
