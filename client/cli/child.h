/* A command of the user's that is given a text on its standard input. One thread. */
#ifndef ANNALS_CLI_CHILD_H
#define ANNALS_CLI_CHILD_H

#include <annals/bytes.h>
#include <stdbool.h>
#include <sys/types.h>

struct child {
	pid_t pid;
	int input;         /* -1: closed */
	struct bytes text; /* what is left of it; borrowed */
};

/*
 * Starts `sh -c command`, with these NAME, value pairs (up to a NULL) in its environment. The text
 * must stay until the command has ended; how much of it the command reads is its business. Every
 * child that was started must be waited for until child_wait() says that it has ended. 0, or a
 * negative errno.
 */
int child_start(struct child *child, const char *command, const char *const *environment,
	struct bytes text);
/* Feeds it and waits, about wait_ms. True when it has ended: *ret_result is its exit code, 128 and
 * the signal, or 127. */
bool child_wait(struct child *child, int wait_ms, int *ret_result);

#endif
