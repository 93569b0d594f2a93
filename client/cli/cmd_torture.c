#include "cli.h"
#include "torture.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static bool interrupted(void *arg)
{
	(void)arg;
	return cli_interrupted();
}

static void progress(void *arg, const struct torture_report *report)
{
	const struct cli *cli = arg;

	if (cli->stderr_is_terminal && !cli->quiet) {
		fprintf(stderr,
			"\r\033[K%" PRIu64 " s  round %" PRIu64 "  %" PRIu64 " starts  %" PRIu64
			" kills  judged %" PRIu64 " times  seed %" PRIu64,
			report->seconds, report->rounds + 1, report->starts, report->kills,
			report->checks, report->seed);
	}
}

/* Beside this program, where the build has it, or in PATH. */
static bool find_annalsd(char *ret, size_t size)
{
	static const char *const places[] = {"", "../server/", "../sbin/"};
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *path = getenv("PATH");
	char *copy, *rest = NULL;
	bool found = false;

	self[length > 0 ? length : 0] = 0;
	char *slash = strrchr(self, '/');
	for (size_t i = 0; slash != NULL && i < ANNALS_COUNT_OF(places); i++) {
		(void)snprintf(ret, size, "%.*s/%sannalsd", (int)(slash - self), self, places[i]);
		if (access(ret, X_OK) == 0) {
			return true;
		}
	}
	copy = strdup(path != NULL ? path : "");
	for (char *dir = copy != NULL ? strtok_r(copy, ":", &rest) : NULL; dir != NULL && !found;
		dir = strtok_r(NULL, ":", &rest)) {
		(void)snprintf(ret, size, "%s/annalsd", dir);
		found = access(ret, X_OK) == 0;
	}
	free(copy);
	return found;
}

static int report_and_exit(const struct torture_report *report)
{
	struct buf text = BUF_INIT;
	int status = torture_print(report, &text);

	if (status == 0) {
		fwrite(text.data, 1, text.size, stdout);
	}
	buf_release(&text);
	return status != 0 || report->problem_count > 0 ? CLI_FAILED : CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
	static struct torture_report report;
	struct torture_options options;
	struct error err = {0};
	char annalsd[PATH_MAX];
	bool rounds_given = false, seconds_given = false;
	torture_options_init(&options);
	const struct cli_option list[] = {{"dir", CLI_TEXT, &options.dir, NULL, "DIR",
						  "where to make the run's directory ($TMPDIR, "
						  "else /tmp): the disk to be tested"},
		{"annalsd", CLI_TEXT, &options.annalsd, NULL, "FILE",
			"the server (found beside this program, then in PATH)"},
		{"rounds", CLI_NUMBER, &options.rounds, &rounds_given, "N",
			"how often the server is struck (20)"},
		{"seconds", CLI_NUMBER, &options.seconds, &seconds_given, "N",
			"begin no round after so long"},
		{"seed", CLI_NUMBER, &options.seed, NULL, "N", "repeat a run's pressure (random)"},
		{"producers", CLI_NUMBER, &options.producers, NULL, "N",
			"half of them retry until acknowledged (6)"},
		{"readers", CLI_NUMBER, &options.readers, NULL, "N", "read from the past (2)"},
		{"tails", CLI_NUMBER, &options.tails, NULL, "N", "follow the end (2)"},
		{"committers", CLI_NUMBER, &options.committers, NULL, "N",
			"follow the end and commit offsets (2)"},
		{"writers", CLI_NUMBER, &options.writers, NULL, "N",
			"append to streams under conditions, over HTTP (3)"},
		{"members", CLI_NUMBER, &options.members, NULL, "N",
			"lease and settle events as members of a group by event (2)"},
		{"sequencers", CLI_NUMBER, &options.sequencers, NULL, "N",
			"named producers that fence each other (2)"},
		{"browsers", CLI_NUMBER, &options.browsers, NULL, "N",
			"read pages backwards and filtered, over HTTP (1)"},
		{"mixers", CLI_NUMBER, &options.mixers, NULL, "N",
			"append to two topics at once, and events due later, over HTTP (2)"},
		{"handlers", CLI_NUMBER, &options.handlers, NULL, "N",
			"acknowledge and append in one commit (2)"},
		{"kill-points", CLI_FLAG, &options.kill_points, NULL, NULL,
			"one round for each kill point compiled in (-Dfault_injection=true)"},
		{"keep", CLI_FLAG, &options.keep, NULL, NULL,
			"leave the directory there though all is well"}};
	int count = cli_parse(cli, list, ANNALS_COUNT_OF(list), argc, argv, 0, 0);
	if (count < 0) {
		return cli_parse_exit(count);
	}
	if (seconds_given && !rounds_given) {
		options.rounds = 0;
	}
	if (options.producers + options.readers + options.tails + options.committers +
			options.writers + options.members + options.sequencers + options.browsers +
			options.mixers + options.handlers >
		60) {
		return cli_fail(ANNALS_E_LIMIT, "at most 60 clients");
	}
	if (options.annalsd == NULL) {
		if (!find_annalsd(annalsd, sizeof(annalsd))) {
			return cli_fail(ANNALS_E_NOT_FOUND,
				"cannot find annalsd; name it with --annalsd FILE");
		}
		options.annalsd = annalsd;
	}
	options.interrupted = interrupted;
	options.progress = progress;
	options.arg = cli;
	int status = torture_run(&options, &report, &err);
	if (cli->stderr_is_terminal && !cli->quiet) {
		fprintf(stderr, "\r\033[K");
	}
	if (status != 0) {
		(void)report_and_exit(&report);
		return cli_fail(status, "%s (seed %" PRIu64 ")", err.text, report.seed);
	}
	return report_and_exit(&report);
}

const struct command cmd_torture = {
	.name = "torture",
	.usage = "[--dir DIR] [--rounds N] [--seconds N] [--seed N]",
	.summary = "kill a server under load on this machine and prove that nothing is lost",
	.help = "Starts annalsd on a new directory, lets clients append, read, follow and commit, "
		"and "
		"kills,\nstops and restarts the server with other options again and again. After "
		"each "
		"round all that\nthe clients were told is judged against what can be read back "
		"(annals-check --help lists the\ninvariants) and 'annalsd verify' checks the dead "
		"store. Exit code 0 only if all is well;\notherwise the directory is kept, with "
		"the "
		"history of everything.\n\nkill -9 leaves the page cache intact: it proves the "
		"server, not the disk's flushes.\n\nexamples\n  annals torture\n  annals torture "
		"--dir /srv/data --seconds 3600\n  annals torture --seed 42 --rounds 100\n",
	.run = run,
};
