/*
 * annals torture: a server of its own on a directory, clients that append, read, follow and commit
 * all the time, and somebody who kills, stops and restarts the server with other options; after
 * each such round everything that the clients did and saw is judged (client/history/checker.h), the
 * dead store is verified, and the log is read back from the start.
 *
 * Everything follows from a seed but the threads' timing, so a seed repeats the pressure, not the
 * exact run; the history it leaves is what is judged and kept.
 */
#ifndef CLIENT_TORTURE_H
#define CLIENT_TORTURE_H

#include "checker.h"

#define TORTURE_POINTS_MAX 256
#define TORTURE_POINTS_MIN 25 /* a run over kill points that strikes fewer has failed */
#define TORTURE_PROBLEMS_MAX 16
#define TORTURE_PATH_MAX 512

struct torture_report;

struct torture_options {
	const char *annalsd; /* the server's program */
	const char *dir;     /* where to make a directory for the run; NULL: $TMPDIR or /tmp */
	uint64_t seed;       /* 0: drawn */
	uint64_t rounds;     /* 0: as many as fit into the time */
	uint64_t seconds;    /* 0: no limit */
	uint64_t producers, readers, tails, committers, writers, members;
	uint64_t sequencers, browsers, mixers, handlers;
	bool keep;        /* leave the directory there though all is well */
	bool kill_points; /* one round for each named kill point of a fault-injection build */
	/* Called about every 100 ms on the thread of torture_run(); both may be NULL. True from
	 * interrupted ends the run after its round. */
	bool (*interrupted)(void *arg);
	void (*progress)(void *arg, const struct torture_report *report);
	void *arg;
};

struct torture_point {
	char name[64];
	bool struck;
};

struct torture_report {
	uint64_t seed, rounds, seconds, eras;
	uint64_t starts, kills, kills_in_start, terminations, pauses, verifications;
	uint64_t start_ms_max, start_ms_sum; /* from the program's start until it is ready */
	/* Over all histories that were judged to their end. */
	uint64_t appends, appends_done, appends_conflict, appends_refused, appends_unknown;
	uint64_t retries, reads, commits, fetches, deliveries, settlements;
	uint64_t sequenced, transactions, delayed, backwards, seeks;
	uint64_t events_acknowledged, events_read, events_known, history_bytes;
	uint64_t checks, check_ms_max;
	struct torture_point points[TORTURE_POINTS_MAX];
	size_t point_count;
	uint64_t violations; /* of invariants */
	char problems[TORTURE_PROBLEMS_MAX][CHECKER_EXAMPLE_BYTES];
	uint64_t problem_count; /* all, also those that found no room */
	char dir[TORTURE_PATH_MAX];
	bool kept; /* the directory is still there */
};

/* Defaults: 6 producers, 2 readers, 2 tails, 2 committers, 3 writers, 2 members, 2 sequencers, 1
 * browser, 2 mixers, 2 handlers, 20 rounds. */
void torture_options_init(struct torture_options *options);
/*
 * Runs to the end, or to the first problem. 0 also when there are problems: *ret (large: not for
 * small stacks) says so. ANNALS_E_IO when the directory or the server cannot be made to work at
 * all, ANNALS_E_NOT_FOUND when annalsd is not there or has no kill points, ANNALS_E_NO_MEMORY.
 */
int torture_run(const struct torture_options *options, struct torture_report *ret,
	struct error *err) ANNALS_MUST_CHECK;
/* The report for people. */
int torture_print(const struct torture_report *report, struct buf *out) ANNALS_MUST_CHECK;

#endif
