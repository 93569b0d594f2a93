/*
 * Every state in which a power cut can leave a store: records a workload (workload.c, record.c),
 * makes the disk images that are possible at each point of the trace (image.c), opens each with the
 * real recovery path, and compares it with what was promised by then (promise.c).
 *
 *   states [--states N] [--rounds N] [--seed N] [--jobs N] [--dir DIR] [--seconds N]
 *   states --trace FILE --point N --state N [--seed N]     one state again, of a trace that was
 * kept
 *
 * --indexed: with a topic that has streams, exact dedupe and a query index; each state takes
 * several times as long then.
 * --no-trace: do not keep the trace of a round in which something was found.
 * --states counts over all rounds; each round records a new trace. 0: every state there is.
 * Exit code 0: nothing wrong; 1: something was; the trace is then kept and named. A life or a state
 * that does not end is a problem too: it is named, with where its threads stand.
 */
#include "image.h"
#include "promise.h"
#include "record.h"
#include "workload.h"

#include <annals/clock.h>
#include <annals/hash.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX 64u
#define LIVES 3u
#define PROBLEMS_SHOWN 10u
#define BUDGET_AFTER_FAILURE 200u
#define LIFE_SECONDS_MAX 120u /* a life takes a few seconds, a few more under a sanitizer */
#define STATE_SECONDS_MAX 60u /* a state takes far less than one */

struct settings {
	uint64_t states, seed, seconds;
	unsigned rounds, jobs, point, every;
	uint64_t state;
	bool one, drop_trace, indexed;
	const char *trace, *dir;
};

/* Shared by the processes. */
struct progress {
	struct {
		unsigned point;
		uint64_t state;
		uint64_t checked;
		uint64_t steps; /* points passed and states begun */
	} job[JOBS_MAX];
	unsigned problems;
	uint64_t deadline_ns;
};

static struct settings settings = {.states = 5000, .rounds = 1, .jobs = 2, .every = 1};
static struct progress *progress;

static void die(const char *what)
{
	(void)fprintf(stderr, "states: %s: %s\n", what, strerror(errno));
	exit(2);
}

__attribute__((format(printf, 2, 3))) static void make_path(
	char out[PATH_MAX], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (vsnprintf(out, PATH_MAX, format, args) >= PATH_MAX) {
		die("too long a path");
	}
	va_end(args);
}

/* ---- Children ---- */

static pid_t start_child(void)
{
	pid_t child;

	(void)fflush(stdout);
	child = fork();
	if (child < 0) {
		die("cannot fork");
	}
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody waits for it then */
	}
	return child;
}

/* One line of a file of the kernel's about a thread, in quotes. */
static void print_line_of(pid_t child, const char *thread, const char *name)
{
	char path[PATH_MAX], line[256];
	FILE *file;

	make_path(path, "/proc/%d/task/%s/%s", (int)child, thread, name);
	file = fopen(path, "re");
	if (file == NULL) {
		return;
	}
	if (fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = 0;
		(void)printf(" %s '%s'", name, line);
	}
	(void)fclose(file);
}

/* Where each thread of a child waits, and in which call. */
static void print_threads(pid_t child)
{
	char path[PATH_MAX];
	DIR *dir;
	const struct dirent *entry;

	make_path(path, "/proc/%d/task", (int)child);
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.') {
			continue;
		}
		(void)printf("  process %d thread %s:", (int)child, entry->d_name);
		print_line_of(child, entry->d_name, "comm");
		print_line_of(child, entry->d_name, "wchan");
		print_line_of(child, entry->d_name, "syscall");
		(void)printf("\n");
	}
	if (dir != NULL) {
		(void)closedir(dir);
	}
}

static void end_child(pid_t child)
{
	int status;

	(void)kill(child, SIGKILL);
	(void)waitpid(child, &status, 0);
}

static void pause_shortly(void)
{
	const struct timespec pause = {0, 10000000};

	(void)nanosleep(&pause, NULL);
}

/* ---- Recording ---- */

/* False: it did not end in time, and was killed. */
static bool wait_for_life(pid_t child, unsigned life, int *ret_status)
{
	uint64_t limit = clock_monotonic_ns() + LIFE_SECONDS_MAX * UINT64_C(1000000000);
	pid_t ended;

	while ((ended = waitpid(child, ret_status, WNOHANG)) == 0) {
		if (clock_monotonic_ns() > limit) {
			(void)printf("PROBLEM: the workload's life %u hangs: no end after %u s\n",
				life, LIFE_SECONDS_MAX);
			print_threads(child);
			end_child(child);
			return false;
		}
		pause_shortly();
	}
	if (ended != child) {
		die("cannot wait");
	}
	return true;
}

/* False: the life ended as it should not. */
static bool record_life(const char *dir, const char *trace, unsigned life, uint64_t seed)
{
	struct random random = {seed * 7 + life};
	char data_dir[PATH_MAX];
	struct workload workload = {
		.data_dir = data_dir, .seed = seed, .life = life, .indexed = settings.indexed};
	int status;

	make_path(data_dir, "%s/data", dir);
	workload.requests = 250;
	workload.end_after = life < LIVES ? 800 + (unsigned)random_below(&random, 3500) : 0;
	pid_t child = start_child();
	if (child == 0) {
		record_start(dir, trace);
		workload_run(&workload);
		_exit(0);
	}
	if (!wait_for_life(child, life, &status)) {
		progress->problems++;
		return false;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		(void)printf("PROBLEM: the workload's life %u ended with %s %d\n", life,
			WIFEXITED(status) ? "exit code" : "signal",
			WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
		progress->problems++;
		return false;
	}
	return true;
}

/* ---- Checking ---- */

static void on_problem(void *arg, const char *text)
{
	verdict_problem(arg, "verify: %s", text);
}

static void verify(const char *data_dir, struct verdict *verdict, bool may_be_unfinished)
{
	struct verify_options options = {
		.data_dir = data_dir, .map_bytes = UINT64_C(256) << 20, .problem = on_problem};
	struct verify_report report;
	struct error err = {0};
	int status;

	options.arg = verdict;
	status = store_verify(&options, &report, &err);
	if (status != 0 && !may_be_unfinished) {
		verdict_problem(verdict, "verify: %s", err.text);
	}
}

static struct store *open_store(const char *data_dir, const char *which, struct verdict *verdict)
{
	struct store_options options;
	struct store *store = NULL;
	struct error err = {0};

	workload_options(&options, data_dir);
	if (store_open(&options, &store, &err) != 0) {
		verdict_problem(verdict, "%s: %s", which, err.text);
		return NULL;
	}
	return store;
}

/* One image, from the first look to the first append. */
static void check(struct promises *promises, const char *data_dir, uint64_t state, bool is_old,
	struct verdict *verdict)
{
	uint64_t first_digest = 0, digest;
	struct store *store;

	if (is_old) {
		verify(data_dir, verdict, !promises_are_any(promises));
	}
	store = open_store(data_dir, "open", verdict);
	if (store == NULL) {
		return;
	}
	promises_judge(promises, store, verdict, &first_digest);
	store_close(store);
	store = open_store(data_dir, "open again", verdict);
	if (store == NULL) {
		return;
	}
	digest = promises_digest(promises, store, verdict);
	if (digest != first_digest) {
		verdict_problem(verdict, "opened again, it holds something else");
	}
	promises_go_on(promises, store, verdict);
	store_close(store);
	if (state % 4 == 0) {
		verify(data_dir, verdict, false);
	}
}

static void take_mark(void *arg, const struct mark *mark)
{
	promises_take(arg, mark);
}

static void report(const struct image *image, uint64_t state, const struct verdict *verdict)
{
	char text[256];

	image_describe(image, text, sizeof(text));
	if (__atomic_add_fetch(&progress->problems, 1, __ATOMIC_SEQ_CST) <= PROBLEMS_SHOWN) {
		(void)printf("PROBLEM: point %u (record %" PRIu64 ") state %" PRIu64
			     " [%s]: %s%s\n",
			image_point(image), image_record(image), state, text, verdict->text,
			verdict->problems > 1 ? " (and more)" : "");
		(void)fflush(stdout);
	}
}

/* `wanted` of `total` states: the first two and then evenly, from a place that the seed draws. */
static uint64_t pick(uint64_t index, uint64_t wanted, uint64_t total, uint64_t seed)
{
	struct random random = {seed};

	if (wanted >= total || index < 2) {
		return index;
	}
	return 2 + (random_below(&random, total) + (index - 2) * (total - 2) / (wanted - 2)) %
			   (total - 2);
}

/* The parent looks for these: a job that makes none for a minute hangs. */
static void step(unsigned job)
{
	(void)__atomic_add_fetch(&progress->job[job].steps, 1, __ATOMIC_RELAXED);
}

static void check_point(struct image *image, struct promises *promises, const char *dir,
	unsigned job, uint64_t wanted, uint64_t *number)
{
	uint64_t total = image_states(image);
	uint64_t count = wanted < total ? wanted : total;
	char data_dir[PATH_MAX];

	make_path(data_dir, "%s/store/data", dir);
	for (uint64_t index = 0; index < count; index++) {
		uint64_t state = settings.one ? settings.state
					      : pick(index, count, total,
							settings.seed + image_point(image) * 1000);
		struct verdict verdict = {.problems = 0};
		if (!settings.one && (*number)++ % settings.jobs != job) {
			continue;
		}
		progress->job[job].point = image_point(image);
		progress->job[job].state = state;
		step(job);
		image_build(image, state, settings.seed * 1000003 + image_point(image));
		image_begin_use(image);
		check(promises, data_dir, state, access(data_dir, F_OK) == 0, &verdict);
		image_end_use(image);
		progress->job[job].checked++;
		if (verdict.problems > 0) {
			report(image, state, &verdict);
		}
		if (settings.one || progress->problems >= PROBLEMS_SHOWN ||
			clock_monotonic_ns() > progress->deadline_ns) {
			return;
		}
	}
}

static void run_job(const char *trace, const char *dir, unsigned job, uint64_t wanted)
{
	char own[PATH_MAX];
	struct promises *promises = promises_new();
	struct image *image;
	uint64_t number = 0;

	make_path(own, "%s/job-%u", dir, job);
	if (mkdir(own, 0700) != 0) {
		die("cannot make a directory");
	}
	image = image_open(trace, own);
	while (image_next(image, take_mark, promises)) {
		step(job);
		if (settings.one ? image_point(image) == settings.point
				 : image_point(image) % settings.every == 0) {
			check_point(image, promises, own, job, wanted, &number);
		}
		if (progress->problems >= PROBLEMS_SHOWN ||
			clock_monotonic_ns() > progress->deadline_ns) {
			break;
		}
	}
	image_close(image);
	promises_free(promises);
}

static void ignore_mark(void *arg, const struct mark *mark)
{
	(void)arg;
	(void)mark;
}

/* How many states of each point are to be looked at so that it makes about `budget` in all; with
 * fewer than two for each point, only every so manyth point is looked at. */
static uint64_t share_out(const char *trace, const char *dir, uint64_t budget)
{
	static uint64_t counts[1u << 17];
	struct image *image = image_open(trace, dir);
	unsigned points = 0;
	uint64_t total = 0, wanted = 2;

	while (image_next(image, ignore_mark, NULL) && points < sizeof(counts) / sizeof(*counts)) {
		counts[points] = image_states(image);
		total += counts[points++];
	}
	image_close(image);
	settings.every = budget == 0 || budget >= 2 * points ? 1 : 2 * points / (unsigned)budget;
	for (uint64_t sum = 0; budget > 2 * points && sum < budget && sum < total; wanted++) {
		sum = 0;
		for (unsigned i = 0; i < points; i++) {
			sum += counts[i] < wanted ? counts[i] : wanted;
		}
	}
	(void)printf("%u points with %" PRIu64 " states counted out\n", points, total);
	(void)fflush(stdout);
	return budget == 0 ? UINT64_MAX : wanted;
}

/* ---- Rounds ---- */

static void remove_tree(const char *path)
{
	char name[PATH_MAX];
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
			continue;
		}
		make_path(name, "%s/%s", path, entry->d_name);
		if (unlink(name) != 0) {
			remove_tree(name);
		}
	}
	if (dir != NULL) {
		(void)closedir(dir);
	}
	(void)rmdir(path);
}

static uint64_t checked(void)
{
	uint64_t sum = 0;

	for (unsigned job = 0; job < JOBS_MAX; job++) {
		sum += progress->job[job].checked;
	}
	return sum;
}

static void judge_end(unsigned job, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		return;
	}
	(void)printf("PROBLEM: point %u state %" PRIu64 ": ended with %s %d\n",
		progress->job[job].point, progress->job[job].state,
		WIFEXITED(status) ? "exit code" : "signal",
		WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	progress->problems++;
}

/* Says where all jobs stand, and ends them. */
static void give_up(pid_t *jobs, unsigned hanging)
{
	(void)printf(
		"PROBLEM: job %u hangs: nothing happened for %u s\n", hanging, STATE_SECONDS_MAX);
	for (unsigned job = 0; job < settings.jobs; job++) {
		if (jobs[job] == 0) {
			continue;
		}
		(void)printf(" job %u: point %u state %" PRIu64 ", %" PRIu64 " checked\n", job,
			progress->job[job].point, progress->job[job].state,
			progress->job[job].checked);
		print_threads(jobs[job]);
	}
	for (unsigned job = 0; job < settings.jobs; job++) {
		if (jobs[job] != 0) {
			end_child(jobs[job]);
			jobs[job] = 0;
		}
	}
	progress->problems++;
}

static void wait_for_jobs(pid_t *jobs)
{
	struct {
		uint64_t step, since_ns;
	} last[JOBS_MAX] = {{0}};
	unsigned running = settings.jobs;

	for (unsigned job = 0; job < settings.jobs; job++) {
		last[job].since_ns = clock_monotonic_ns();
	}
	while (running > 0) {
		for (unsigned job = 0; job < settings.jobs; job++) {
			int status;
			uint64_t step =
				__atomic_load_n(&progress->job[job].steps, __ATOMIC_RELAXED);
			if (jobs[job] == 0) {
				continue;
			}
			if (waitpid(jobs[job], &status, WNOHANG) != 0) {
				judge_end(job, status);
				jobs[job] = 0;
				running--;
			} else if (step != last[job].step) {
				last[job].step = step;
				last[job].since_ns = clock_monotonic_ns();
			} else if (clock_monotonic_ns() - last[job].since_ns >
				   STATE_SECONDS_MAX * UINT64_C(1000000000)) {
				give_up(jobs, job);
				return;
			}
		}
		pause_shortly();
	}
}

static void check_trace(const char *trace, const char *dir, uint64_t budget)
{
	uint64_t wanted = settings.one ? 1 : share_out(trace, dir, budget);
	uint64_t before = checked(), started = clock_monotonic_ns();
	pid_t jobs[JOBS_MAX];

	for (unsigned job = 0; job < settings.jobs; job++) {
		jobs[job] = start_child();
		if (jobs[job] == 0) {
			run_job(trace, dir, job, wanted);
			exit(0);
		}
	}
	wait_for_jobs(jobs);
	uint64_t count = checked() - before, took = clock_monotonic_ns() - started;
	(void)printf("%" PRIu64 " checked, %.0f states/s, %u problems\n", count,
		(double)count * 1e9 / (double)(took + 1), progress->problems);
}

static void make_directory(char out[PATH_MAX])
{
	const char *base = settings.dir;

	if (base == NULL) {
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	}
	make_path(out, "%s/annals-states-XXXXXX", base);
	if (mkdtemp(out) == NULL) {
		die("cannot make a directory for the images");
	}
}

/* One recording and its states. */
static void run_round(uint64_t budget)
{
	char dir[PATH_MAX], watched[PATH_MAX], trace[PATH_MAX];

	make_directory(dir);
	make_path(watched, "%s/recorded", dir);
	make_path(trace, "%s/trace", dir);
	if (mkdir(watched, 0700) != 0) {
		die("cannot make a directory");
	}
	if (settings.trace != NULL) {
		make_path(trace, "%s", settings.trace);
	} else {
		for (unsigned life = 1; life <= LIVES; life++) {
			if (!record_life(watched, trace, life, settings.seed)) {
				budget = BUDGET_AFTER_FAILURE; /* still worth a look */
				break;
			}
		}
	}
	(void)printf("seed %" PRIu64 ": ", settings.seed);
	check_trace(trace, dir, budget);
	if (progress->problems > 0 && settings.trace == NULL && !settings.drop_trace) {
		char kept[PATH_MAX];
		make_path(kept, "/tmp/annals-states-%d.trace", (int)getpid());
		(void)remove(kept);
		if (rename(trace, kept) != 0) {
			char command[2 * PATH_MAX + 16];
			(void)snprintf(command, sizeof(command), "cp '%s' '%s'", trace, kept);
			if (system(command) != 0) {
				(void)puts("the trace could not be kept");
			}
		}
		(void)printf("The trace is kept: --trace %s --seed %" PRIu64
			     " --point POINT --state STATE\n",
			kept, settings.seed);
	}
	remove_tree(dir);
}

static uint64_t number_of(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*end != 0 || end == text) {
		(void)fprintf(stderr, "states: '%s' is not a number\n", text);
		exit(2);
	}
	return value;
}

static void read_arguments(int argc, char **argv)
{
	static const struct option options[] = {{"states", 1, NULL, 's'}, {"rounds", 1, NULL, 'r'},
		{"seed", 1, NULL, 'e'}, {"jobs", 1, NULL, 'j'}, {"dir", 1, NULL, 'd'},
		{"seconds", 1, NULL, 't'}, {"trace", 1, NULL, 'f'}, {"point", 1, NULL, 'p'},
		{"state", 1, NULL, 'n'}, {"no-trace", 0, NULL, 'x'}, {"indexed", 0, NULL, 'i'},
		{NULL, 0, NULL, 0}};
	int option;

	settings.seed = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			settings.states = number_of(optarg);
			break;
		case 'r':
			settings.rounds = (unsigned)number_of(optarg);
			break;
		case 'e':
			settings.seed = number_of(optarg);
			break;
		case 'j':
			settings.jobs = (unsigned)number_of(optarg);
			break;
		case 'd':
			settings.dir = optarg;
			break;
		case 't':
			settings.seconds = number_of(optarg);
			break;
		case 'f':
			settings.trace = optarg;
			break;
		case 'p':
			settings.point = (unsigned)number_of(optarg);
			break;
		case 'n':
			settings.state = number_of(optarg);
			settings.one = true;
			settings.jobs = 1;
			break;
		case 'i':
			settings.indexed = true;
			break;
		case 'x':
			settings.drop_trace = true;
			break;
		default:
			exit(2);
		}
	}
	if (settings.jobs == 0 || settings.jobs > JOBS_MAX || settings.rounds == 0) {
		(void)fprintf(stderr, "states: 1 to %u jobs, 1 or more rounds\n", JOBS_MAX);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	read_arguments(argc, argv);
	progress = mmap(
		NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (progress == MAP_FAILED) {
		die("no memory");
	}
	progress->deadline_ns = settings.seconds == 0
					? UINT64_MAX
					: clock_monotonic_ns() + settings.seconds * 1000000000u;
	for (unsigned round = 0; round < settings.rounds && progress->problems == 0 &&
				 clock_monotonic_ns() < progress->deadline_ns;
		round++) {
		run_round(settings.states / settings.rounds);
		settings.seed++;
	}
	(void)printf("%" PRIu64 " states checked, %u problems\n", checked(), progress->problems);
	return progress->problems == 0 ? 0 : 1;
}
