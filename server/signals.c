#include "signals.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

static void fill(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

int signals_open(struct error *err)
{
	sigset_t set;
	struct sigaction ignore;
	int failed;
	memset(&ignore, 0, sizeof(ignore));
	ignore.sa_handler = SIG_IGN;
	if (sigaction(SIGPIPE, &ignore, NULL) != 0) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot ignore SIGPIPE");
	}
	fill(&set);
	failed = pthread_sigmask(SIG_BLOCK, &set, NULL);
	return failed != 0 ? error_errno(err, ANNALS_E_IO, failed, "cannot block signals") : 0;
}

enum signals_event signals_wait(void)
{
	sigset_t set;
	int signal_number;
	fill(&set);
	do {
		signal_number = sigwaitinfo(&set, NULL);
	} while (signal_number < 0 && errno == EINTR);
	return signal_number == SIGHUP ? SIGNALS_RELOAD : SIGNALS_STOP;
}
