#include "torture.h"

#include <inttypes.h>

static int print_points(const struct torture_report *report, struct buf *out)
{
	const char *separator = "; not reached: ";
	size_t struck = 0;
	int status;

	for (size_t i = 0; i < report->point_count; i++) {
		struck += report->points[i].struck;
	}
	status = buf_printf(
		out, "points    %zu known, %zu killed the server", report->point_count, struck);
	for (size_t i = 0; status == 0 && struck < report->point_count && i < report->point_count;
		i++) {
		if (!report->points[i].struck) {
			status = buf_printf(out, "%s%s", separator, report->points[i].name);
			separator = ", ";
		}
	}
	return status == 0 ? buf_add_text(out, "\n") : status;
}

static int print_counts(const struct torture_report *report, struct buf *out)
{
	uint64_t ready = report->starts > 0 ? report->starts : 1;

	return buf_printf(out,
		"run       seed %" PRIu64 ", %" PRIu64 " rounds in %" PRIu64 " s, %" PRIu64
		" histories of %.1f MiB\n"
		"server    %" PRIu64 " starts (ready after %" PRIu64 " ms, at most %" PRIu64
		"), %" PRIu64 " SIGKILL (%" PRIu64 " of them while starting), %" PRIu64
		" SIGTERM, %" PRIu64 " SIGSTOP\n"
		"appends   %" PRIu64 " requests: %" PRIu64 " done, %" PRIu64
		" in conflict, %" PRIu64 " refused, %" PRIu64 " unknown; %" PRIu64 " were retries\n"
		"events    %" PRIu64 " acknowledged, %" PRIu64 " stored, %" PRIu64
		" read by clients\n"
		"clients   %" PRIu64 " reads, %" PRIu64 " commits, %" PRIu64 " fetches, %" PRIu64
		" deliveries, %" PRIu64 " settlements\n"
		"of them   %" PRIu64 " batches of named producers, %" PRIu64
		" transactions, %" PRIu64 " delayed events, %" PRIu64 " pages backwards, %" PRIu64
		" seeks of groups\n"
		"judged    %" PRIu64 " times (at most %" PRIu64 " ms), annalsd verify %" PRIu64
		" times\n",
		report->seed, report->rounds, report->seconds, report->eras,
		(double)report->history_bytes / 1048576.0, report->starts,
		report->start_ms_sum / ready, report->start_ms_max, report->kills,
		report->kills_in_start, report->terminations, report->pauses, report->appends,
		report->appends_done, report->appends_conflict, report->appends_refused,
		report->appends_unknown, report->retries, report->events_acknowledged,
		report->events_known, report->events_read, report->reads, report->commits,
		report->fetches, report->deliveries, report->settlements, report->sequenced,
		report->transactions, report->delayed, report->backwards, report->seeks,
		report->checks, report->check_ms_max, report->verifications);
}

static int print_verdict(const struct torture_report *report, struct buf *out)
{
	if (report->problem_count == 0) {
		return buf_printf(out,
			"\nPASSED: %u invariants hold, every dead store was verified clean\n",
			(unsigned)CHECKER_INVARIANT_COUNT);
	}
	return buf_printf(out, "\nFAILED: %" PRIu64 " problem%s, %" PRIu64 " violations\n",
		report->problem_count, report->problem_count == 1 ? "" : "s", report->violations);
}

int torture_print(const struct torture_report *report, struct buf *out)
{
	int status = print_counts(report, out);

	if (status == 0 && report->point_count > 0) {
		status = print_points(report, out);
	}
	for (size_t i = 0; status == 0 && i < report->problem_count && i < TORTURE_PROBLEMS_MAX;
		i++) {
		status = buf_printf(out, "\nPROBLEM   %s\n", report->problems[i]);
	}
	if (status == 0) {
		status = print_verdict(report, out);
	}
	if (status == 0 && report->kept) {
		status = buf_printf(out,
			"kept      %s: data, log, history-* (annals-check reads them)\n",
			report->dir);
	}
	return status;
}
