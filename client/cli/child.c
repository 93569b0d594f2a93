#include "child.h"

#include <annals/clock.h>
#include <annals/macros.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP_NS_MIN 200000u
#define STEP_NS_MAX 5000000u

static void run(const char *command, const char *const *environment, const int ends[2])
{
	(void)signal(SIGINT, SIG_IGN); /* what was begun is finished */
	(void)dup2(ends[0], STDIN_FILENO);
	(void)close(ends[0]);
	(void)close(ends[1]);
	for (; environment[0] != NULL; environment += 2) {
		(void)setenv(environment[0], environment[1], 1);
	}
	(void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

static void close_input(struct child *child)
{
	if (child->input >= 0) {
		(void)close(child->input);
		child->input = -1;
	}
}

int child_start(
	struct child *child, const char *command, const char *const *environment, struct bytes text)
{
	int ends[2], failed;
	if (pipe(ends) != 0) {
		return -errno;
	}
	/* Only this end of the pipe: a command that does not read is not waited for. */
	(void)fcntl(ends[1], F_SETFL, O_NONBLOCK);
	child->pid = fork();
	if (child->pid == 0) {
		run(command, environment, ends);
	}
	failed = errno;
	(void)close(ends[0]);
	if (child->pid < 0) {
		(void)close(ends[1]);
		return -failed;
	}
	child->input = ends[1];
	child->text = text;
	return 0;
}

/* True when it took some. */
static bool feed(struct child *child)
{
	bool fed = false;
	while (child->input >= 0 && child->text.size > 0) {
		const ssize_t wrote = write(child->input, child->text.data, child->text.size);
		if (wrote > 0) {
			child->text = bytes_of(
				child->text.data + wrote, child->text.size - (size_t)wrote);
			fed = true;
		} else if (wrote < 0 && errno == EAGAIN) {
			return fed;
		} else if (wrote == 0 || errno != EINTR) {
			break; /* it wants no more */
		}
	}
	close_input(child);
	return fed;
}

static bool has_ended(struct child *child, int *ret_result)
{
	int result = 0;
	const pid_t ended = waitpid(child->pid, &result, WNOHANG);
	if (ended == 0 || (ended < 0 && errno == EINTR)) {
		return false;
	}
	close_input(child);
	*ret_result = ended < 0           ? 127
		      : WIFEXITED(result) ? WEXITSTATUS(result)
					  : 128 + WTERMSIG(result);
	return true;
}

bool child_wait(struct child *child, int wait_ms, int *ret_result)
{
	const uint64_t end_ns = clock_monotonic_ns() + (uint64_t)wait_ms * 1000000u;
	uint64_t step_ns = STEP_NS_MIN;
	for (;;) {
		const bool fed = feed(child);
		if (has_ended(child, ret_result)) {
			return true;
		}
		if (clock_monotonic_ns() >= end_ns) {
			return false;
		}
		step_ns = fed ? STEP_NS_MIN : ANNALS_MIN(step_ns * 2, STEP_NS_MAX);
		const struct timespec step = {.tv_nsec = (long)step_ns};
		if (child->input >= 0) {
			struct pollfd room = {.fd = child->input, .events = POLLOUT};
			(void)ppoll(&room, 1, &step, NULL);
		} else {
			(void)nanosleep(&step, NULL);
		}
	}
}
