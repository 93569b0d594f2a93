/* annals-check: judges histories. Exit codes: 0 all invariants hold, 1 violations, 2 wrong usage, 3
 * a history cannot be read. */
#include "checker.h"

#include <annals/clock.h>
#include <inttypes.h>
#include <stdlib.h>

#define FILES_MAX 1024

static void print_usage(FILE *file)
{
	fputs("usage: annals-check [--quiet] HISTORY ...\n\n"
	      "Judges what the clients of an event store did and saw: was anything acknowledged\n"
	      "lost, changed, doubled, torn, reordered or made up? 'annals torture' records such\n"
	      "histories; several files are judged as one. The invariants:\n\n",
		file);
	for (unsigned i = 0; i < CHECKER_INVARIANT_COUNT; i++) {
		fprintf(file, "  %-4s %s\n", checker_invariant_name((enum checker_invariant)i),
			checker_invariant_text((enum checker_invariant)i));
	}
	fputs("\noptions\n"
	      "  --quiet    only what is violated\n"
	      "  --help     this text\n"
	      "  --version  the version\n\n"
	      "exit codes\n"
	      "  0 all hold   1 something is violated   2 wrong usage   3 a history cannot be "
	      "read\n",
		file);
}

static int judge(struct checker *checker, bool quiet, uint64_t started_ns)
{
	static struct checker_report report;
	struct error err;
	struct buf text = BUF_INIT;
	double seconds;

	if (checker_judge(checker, &report, &err) != 0 || checker_print(&report, &text) != 0) {
		fprintf(stderr, "annals-check: no memory to judge the history\n");
		buf_release(&text);
		return 3;
	}
	seconds = (double)(clock_monotonic_ns() - started_ns) / 1e9;
	if (!quiet || report.violations > 0) {
		fwrite(text.data, 1, text.size, stdout);
	}
	if (!quiet) {
		uint64_t events = report.events_acknowledged + report.events_read;
		printf("%.2f s, %.1f million events/s, %.1f bytes of history per event\n", seconds,
			(double)events / 1e6 / (seconds > 0 ? seconds : 1),
			(double)report.history_bytes / (double)(events > 0 ? events : 1));
	}
	buf_release(&text);
	return report.violations == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	uint8_t *histories[FILES_MAX];
	struct checker *checker = NULL;
	uint64_t started_ns = clock_monotonic_ns();
	int files = 0, code = 0;
	bool quiet = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			print_usage(stdout);
			return 0;
		}
		if (strcmp(argv[i], "--version") == 0) {
			printf("annals-check %s\n", CHECK_VERSION);
			return 0;
		}
		if (strcmp(argv[i], "--quiet") == 0) {
			quiet = true;
		} else if (argv[i][0] == '-') {
			fprintf(stderr, "annals-check: there is no option '%s'\n", argv[i]);
			return 2;
		} else {
			argv[++files] = argv[i];
		}
	}
	if (files == 0 || files > FILES_MAX) {
		print_usage(stderr);
		return 2;
	}
	checker = checker_new();
	if (checker == NULL) {
		code = 3;
	}
	int loaded = 0;
	for (; loaded < files && code == 0; loaded++) {
		struct error err = {0};
		size_t size = 0;
		histories[loaded] = NULL;
		if (history_load(argv[loaded + 1], &histories[loaded], &size, &err) != 0 ||
			checker_add(checker, bytes_of(histories[loaded], size), &err) != 0) {
			fprintf(stderr, "annals-check: %s: %s\n", argv[loaded + 1], err.text);
			code = 3;
		}
	}
	if (code == 0) {
		code = judge(checker, quiet, started_ns);
	}
	checker_free(checker);
	for (int i = 0; i < loaded; i++) {
		free(histories[i]);
	}
	return code;
}
