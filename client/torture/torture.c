/* The rounds. */
#include "torture_state.h"

#include <annals/clock.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* After so many events or rounds the clients go on with a new topic, with streams or without, and a
 * new history: judging all of it after each round stays cheap. */
#define ERA_EVENTS_MAX 600000u
#define ERA_ROUNDS_MAX 10u
#define CATCH_UP_MS_MAX 60000u
#define POINT_LIFE_MS 1500u
#define POINT_NTH_MAX 8u

void torture_options_init(struct torture_options *options)
{
	*options = (struct torture_options){.rounds = 20,
		.producers = 6,
		.readers = 2,
		.tails = 2,
		.committers = 2,
		.writers = 3,
		.members = 2,
		.sequencers = 2,
		.browsers = 1,
		.mixers = 2,
		.handlers = 2};
}

/* ---- the workers as a whole ---- */

static void add_workers(struct torture *torture, enum worker_kind kind, uint64_t count)
{
	for (uint64_t i = 0; i < count && torture->worker_count < TORTURE_WORKERS_MAX; i++) {
		struct worker *worker = &torture->workers[torture->worker_count];
		*worker = (struct worker){.torture = torture,
			.kind = kind,
			.number = ++torture->worker_count,
			.random = {random_next(&torture->random)}};
		torture->tail_count += kind == WORKER_TAIL || kind == WORKER_COMMITTER;
	}
}

static int start_workers(struct torture *torture, struct error *err)
{
	const struct torture_options *options = torture->options;

	add_workers(torture, WORKER_PRODUCER, options->producers);
	add_workers(torture, WORKER_READER, options->readers);
	add_workers(torture, WORKER_TAIL, options->tails);
	add_workers(torture, WORKER_COMMITTER, options->committers);
	add_workers(torture, WORKER_WRITER, options->writers);
	add_workers(torture, WORKER_MEMBER, options->members);
	add_workers(torture, WORKER_SEQUENCER, options->sequencers);
	add_workers(torture, WORKER_BROWSER, options->browsers);
	add_workers(torture, WORKER_MIXER, options->mixers);
	add_workers(torture, WORKER_HANDLER, options->handlers);
	add_workers(torture, WORKER_GARDENER, 1);
	add_workers(torture, WORKER_REGISTRAR, 1);
	for (unsigned i = 0; i < torture->worker_count; i++) {
		if (pthread_create(&torture->workers[i].thread, NULL, worker_main,
			    &torture->workers[i]) != 0) {
			torture->worker_count = i;
			return error_fail(err, ANNALS_E_NO_MEMORY, "cannot start a thread");
		}
	}
	return 0;
}

static void set_phase(struct torture *torture, enum torture_phase phase)
{
	(void)pthread_mutex_lock(&torture->mutex);
	torture->phase = phase;
	(void)pthread_cond_broadcast(&torture->cond);
	(void)pthread_mutex_unlock(&torture->mutex);
}

/* Waits until so many workers wait; false after the time. */
static bool wait_idle(struct torture *torture, unsigned wanted)
{
	struct timespec until;
	int status = 0;
	bool reached;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += CATCH_UP_MS_MAX / 1000;
	(void)pthread_mutex_lock(&torture->mutex);
	while (torture->idle < wanted && status == 0) {
		status = pthread_cond_timedwait(&torture->cond, &torture->mutex, &until);
	}
	reached = torture->idle >= wanted;
	(void)pthread_mutex_unlock(&torture->mutex);
	return reached;
}

static bool has_problem(struct torture *torture)
{
	bool has;

	(void)pthread_mutex_lock(&torture->mutex);
	has = torture->report->problem_count > 0 || torture->report->violations > 0;
	(void)pthread_mutex_unlock(&torture->mutex);
	return has;
}

/* ---- judging ---- */

static void add_counts(struct torture_report *report, const struct checker_report *judged)
{
	report->appends += judged->appends;
	report->appends_done += judged->appends_done;
	report->appends_conflict += judged->appends_conflict;
	report->appends_refused += judged->appends_refused;
	report->appends_unknown += judged->appends_unknown;
	report->reads += judged->reads;
	report->commits += judged->commits;
	report->fetches += judged->fetches;
	report->deliveries += judged->deliveries;
	report->settlements += judged->settlements;
	report->sequenced += judged->sequenced;
	report->transactions += judged->transactions;
	report->delayed += judged->delayed;
	report->backwards += judged->backwards;
	report->seeks += judged->seeks;
	report->events_acknowledged += judged->events_acknowledged;
	report->events_read += judged->events_read;
	report->events_known += judged->events_known;
	report->history_bytes += judged->history_bytes;
}

static void add_violations(struct torture *torture, const struct checker_report *judged)
{
	for (unsigned i = 0; i < CHECKER_INVARIANT_COUNT; i++) {
		if (judged->invariants[i].violations > 0) {
			torture_problem(torture,
				"%s violated %" PRIu64 " times (%s). The smallest case:\n  %s",
				checker_invariant_name((enum checker_invariant)i),
				judged->invariants[i].violations,
				checker_invariant_text((enum checker_invariant)i),
				judged->invariants[i].example);
		}
	}
	torture->report->violations += judged->violations;
}

/* Judges the era's whole history. */
static int judge(struct torture *torture, struct checker_report *judged, struct error *err)
{
	uint64_t started_ns = clock_monotonic_ns(), took_ms;
	struct checker *checker = checker_new();
	uint8_t *data = NULL;
	size_t size = 0;
	int status = history_flush(&torture->writer, err);

	if (checker == NULL) {
		status = error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the checker");
	}
	if (status == 0) {
		status = history_load(torture->history, &data, &size, err);
	}
	if (status == 0) {
		status = checker_add(checker, bytes_of(data, size), err);
	}
	if (status == 0) {
		status = checker_judge(checker, judged, err);
	}
	checker_free(checker);
	free(data);
	if (status == 0) {
		add_violations(torture, judged);
		took_ms = (clock_monotonic_ns() - started_ns) / 1000000;
		torture->report->check_ms_max = ANNALS_MAX(torture->report->check_ms_max, took_ms);
		torture->report->checks++;
	}
	return status;
}

/* ---- eras ---- */

static int open_history(struct torture *torture, struct error *err)
{
	struct history_part part = {.count = TORTURE_PARTITIONS, .mask = HISTORY_PART_COUNT};
	struct history_op op = {.kind = HISTORY_TOPIC,
		.attempt = 1,
		.mask = HISTORY_OP_TEXT,
		.parts = &part,
		.part_count = 1};

	torture->era++;
	torture->report->eras++;
	torture->has_streams = torture->era % 2 == 1;
	torture->era_rounds = 0;
	(void)snprintf(torture->topic, sizeof(torture->topic), "torture-%u", torture->era);
	(void)snprintf(torture->second, sizeof(torture->second), "%s-second", torture->topic);
	(void)snprintf(torture->history, sizeof(torture->history), "%s/history-%u", torture->dir,
		torture->era);
	torture->history_fd =
		open(torture->history, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	if (torture->history_fd < 0) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot create '%s'", torture->history);
	}
	history_writer_init(&torture->writer, torture->history_fd);
	op.text = bytes_text(torture->topic);
	op.invoke_ns = op.return_ns = clock_monotonic_ns();
	torture_record(torture, &op);
	part.topic = TORTURE_SECOND;
	op.text = bytes_text(torture->second);
	torture_record(torture, &op);
	return 0;
}

static void close_history(struct torture *torture)
{
	if (torture->history_fd >= 0) {
		struct error err = {0};
		if (history_flush(&torture->writer, &err) != 0) {
			torture_problem(torture, "%s", err.text);
		}
		history_writer_release(&torture->writer);
		(void)close(torture->history_fd);
		torture->history_fd = -1;
	}
}

/* Also after kills in the middle of it. */
static int create_topic(
	struct annals_client *client, const char *name, bool has_streams, struct error *err)
{
	struct annals_topic_config config = {
		.partitions = TORTURE_PARTITIONS, .streams = has_streams};
	struct annals_error error = {0};
	int status = annals_topic_create(client, name, &config, 30000, NULL, &error);

	return status >= 0 ? 0
			   : error_fail(err, ANNALS_E_IO, "cannot create topic '%s': %s", name,
				     error.text);
}

static int create_topics(struct torture *torture, struct annals_client *client, struct error *err)
{
	int status = create_topic(client, torture->topic, torture->has_streams, err);

	return status == 0 ? create_topic(client, torture->second, false, err) : status;
}

/* All workers wait. The old topics go: its deletion is work for the store. */
static int next_era(struct torture *torture, struct annals_client *client, struct error *err)
{
	char old_topic[sizeof(torture->topic)], old_second[sizeof(torture->second)],
		old_history[sizeof(torture->history)];
	int status;

	memcpy(old_topic, torture->topic, sizeof(old_topic));
	memcpy(old_second, torture->second, sizeof(old_second));
	memcpy(old_history, torture->history, sizeof(old_history));
	close_history(torture);
	memset(torture->ends, 0, sizeof(torture->ends));
	status = open_history(torture, err);
	if (status == 0) {
		status = create_topics(torture, client, err);
	}
	if (status == 0) {
		(void)annals_topic_delete(client, old_topic, 5000, NULL);
		(void)annals_topic_delete(client, old_second, 5000, NULL);
		(void)unlink(old_history);
	}
	return status;
}

/* ---- a round ---- */

static void show(struct torture *torture)
{
	if (torture->options->progress != NULL) {
		torture->report->seconds =
			(clock_monotonic_ns() - torture->started_ns) / 1000000000;
		torture->options->progress(torture->options->arg, torture->report);
	}
}

static bool is_interrupted(const struct torture *torture)
{
	return torture->options->interrupted != NULL &&
	       torture->options->interrupted(torture->options->arg);
}

static void let_run(struct torture *torture, unsigned ms)
{
	while (ms > 0 && !is_interrupted(torture)) {
		unsigned step = ANNALS_MIN(ms, 100);
		torture_sleep_ms(step);
		ms -= step;
		show(torture);
	}
}

/* Something bad happens to the server; it runs again, or not, afterwards. */
static void strike(struct torture *torture)
{
	unsigned kind = (unsigned)random_below(&torture->random, 20);

	if (kind < 3) {
		server_terminate(torture);
	} else if (kind < 6) {
		server_pause(torture, 50 + (unsigned)random_below(&torture->random, 1000));
	} else if (kind == 6) {
		/* Killed while it is stopped: answers are under way on both sides. */
		server_pause(torture, (unsigned)random_below(&torture->random, 300));
		server_kill(torture);
	} else {
		server_kill(torture);
	}
}

/* Quiet, then everything is read back and judged. */
static int settle_and_judge(struct torture *torture, struct annals_client *client,
	struct checker_report *judged, struct error *err)
{
	uint64_t ends[TORTURE_PARTITIONS] = {0};

	set_phase(torture, TORTURE_DRAIN);
	if (!wait_idle(torture, torture->worker_count - torture->tail_count)) {
		torture_problem(torture, "the clients did not finish within a minute");
	}
	torture_audit(torture, client, ends);
	(void)pthread_mutex_lock(&torture->mutex);
	memcpy(torture->ends, ends, sizeof(ends));
	(void)pthread_mutex_unlock(&torture->mutex);
	set_phase(torture, TORTURE_CATCH_UP);
	if (!wait_idle(torture, torture->worker_count)) {
		torture_problem(torture, "a tail did not reach the end of the log within a minute");
		return 0;
	}
	return judge(torture, judged, err);
}

/* After a kill: the dead store is verified and the server started again. */
static int bring_back(struct torture *torture, struct error *err)
{
	if (torture->server.pid != 0) {
		return 0;
	}
	server_verify(torture);
	return server_start(torture, err);
}

static int end_round(
	struct torture *torture, struct annals_client *client, bool is_last, struct error *err)
{
	struct checker_report *judged = calloc(1, sizeof(*judged));
	int status = judged == NULL ? error_fail(err, ANNALS_E_NO_MEMORY, "no memory")
				    : settle_and_judge(torture, client, judged, err);

	torture->report->rounds++;
	torture->era_rounds++;
	if (status == 0 &&
		(is_last || has_problem(torture) || torture->era_rounds >= ERA_ROUNDS_MAX ||
			judged->events_known > ERA_EVENTS_MAX)) {
		add_counts(torture->report, judged);
		if (!is_last && !has_problem(torture)) {
			status = next_era(torture, client, err);
		}
	}
	free(judged);
	if (status == 0 && !is_last && !has_problem(torture)) {
		set_phase(torture, TORTURE_RUN);
	}
	show(torture);
	return status;
}

static bool is_over(const struct torture *torture)
{
	const struct torture_options *options = torture->options;
	uint64_t seconds = (clock_monotonic_ns() - torture->started_ns) / 1000000000;

	return is_interrupted(torture) || (options->seconds > 0 && seconds >= options->seconds) ||
	       (options->rounds > 0 && torture->report->rounds + 1 >= options->rounds);
}

static int run_rounds(struct torture *torture, struct annals_client *client, struct error *err)
{
	bool is_last = false;
	int status = 0;

	while (status == 0 && !is_last && !has_problem(torture)) {
		let_run(torture, 50 + (unsigned)random_below(&torture->random, 800));
		strike(torture);
		is_last = is_over(torture);
		status = bring_back(torture, err);
		if (status == 0) {
			status = end_round(torture, client, is_last, err);
		}
	}
	return status;
}

/* ---- kill points ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_tree(const char *path)
{
	(void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(
		((const struct torture_point *)a)->name, ((const struct torture_point *)b)->name);
}

/* One life that notes the points it passes, from the store's making to its orderly end. */
static int list_points(struct torture *torture, struct error *err)
{
	struct torture_report *report = torture->report;
	FILE *file;

	let_run(torture, 4 * POINT_LIFE_MS);
	server_terminate(torture);
	torture->server.list_points = false;
	file = fopen(torture->points, "re");
	while (file != NULL && report->point_count < TORTURE_POINTS_MAX &&
		fscanf(file, "%63s", report->points[report->point_count].name) == 1) {
		report->point_count++;
	}
	if (file != NULL) {
		(void)fclose(file);
	}
	if (report->point_count == 0) {
		return error_fail(err, ANNALS_E_NOT_FOUND,
			"'%s' has no kill points: build it with -Dfault_injection=true",
			torture->options->annalsd);
	}
	qsort(report->points, report->point_count, sizeof(report->points[0]), compare_names);
	return server_start(torture, err);
}

/* One life with the trigger set, from its start to its orderly end. */
static int live_with(
	struct torture *torture, const struct torture_point *point, unsigned nth, struct error *err)
{
	struct server *server = &torture->server;
	int status;

	(void)snprintf(server->kill_at, sizeof(server->kill_at), "%s:%u", point->name, nth);
	server->struck = false;
	status = server_start(torture, err);
	if (status == 0 && !server->struck && !server_wait_struck(torture, POINT_LIFE_MS) &&
		server->pid != 0) {
		server_terminate(torture);
	}
	server->kill_at[0] = 0;
	return status;
}

/* Some points are passed only while a store is made: by one beside, which nobody uses. */
static int live_anew(struct torture *torture, const struct torture_point *point, struct error *err)
{
	char data_dir[sizeof(torture->data_dir)];
	struct server server = torture->server;
	int status;

	/* At another address: the clients are not to meet it. */
	torture->server.address[0] = torture->server.http[0] = 0;
	memcpy(data_dir, torture->data_dir, sizeof(data_dir));
	(void)snprintf(torture->data_dir, sizeof(torture->data_dir), "%s/new", torture->dir);
	status = live_with(torture, point, 1, err);
	server_kill(torture);
	server_verify(torture);
	remove_tree(torture->data_dir);
	memcpy(torture->data_dir, data_dir, sizeof(data_dir));
	memcpy(torture->server.address, server.address, sizeof(server.address));
	memcpy(torture->server.http, server.http, sizeof(server.http));
	return status;
}

static int strike_point(struct torture *torture, struct torture_point *point, struct error *err)
{
	unsigned nth = 1 + (unsigned)random_below(&torture->random, POINT_NTH_MAX);
	int status;

	server_kill(torture);
	server_verify(torture);
	status = live_with(torture, point, nth, err);
	if (status == 0 && !torture->server.struck && nth > 1 && !has_problem(torture)) {
		server_kill(torture);
		status = live_with(torture, point, 1, err);
	}
	if (status == 0 && !torture->server.struck && !has_problem(torture)) {
		server_kill(torture);
		status = live_anew(torture, point, err);
	}
	point->struck = torture->server.struck;
	return status;
}

static int run_points(struct torture *torture, struct annals_client *client, struct error *err)
{
	int status = list_points(torture, err);

	for (size_t i = 0; status == 0 && i < torture->report->point_count; i++) {
		struct torture_point *point = &torture->report->points[i];
		bool is_last = i + 1 == torture->report->point_count || is_interrupted(torture);
		status = strike_point(torture, point, err);
		if (status == 0) {
			status = bring_back(torture, err);
		}
		if (status == 0) {
			status = end_round(torture, client, is_last, err);
		}
		if (is_last || has_problem(torture)) {
			break;
		}
	}
	size_t struck = 0;
	for (size_t i = 0; i < torture->report->point_count; i++) {
		struck += torture->report->points[i].struck;
	}
	if (status == 0 && struck < TORTURE_POINTS_MIN && !is_interrupted(torture)) {
		torture_problem(torture,
			"only %zu kill points were reached, at least %u were to be", struck,
			TORTURE_POINTS_MIN);
	}
	return status;
}

/* ---- the run ---- */

static int make_dir(struct torture *torture, struct error *err)
{
	const char *parent = torture->options->dir;

	if (parent == NULL) {
		parent = getenv("TMPDIR");
	}
	if (parent == NULL || parent[0] == 0) {
		parent = "/tmp";
	}
	if ((size_t)snprintf(torture->dir, sizeof(torture->dir), "%s/annals-torture-XXXXXX",
		    parent) >= sizeof(torture->dir)) {
		return error_fail(err, ANNALS_E_INVALID, "the directory's name is too long");
	}
	if (mkdtemp(torture->dir) == NULL) {
		int code = errno;
		torture->dir[0] = 0;
		return error_errno(
			err, ANNALS_E_IO, code, "cannot make a directory in '%s'", parent);
	}
	(void)snprintf(torture->data_dir, sizeof(torture->data_dir), "%s/data", torture->dir);
	(void)snprintf(torture->log, sizeof(torture->log), "%s/log", torture->dir);
	(void)snprintf(torture->points, sizeof(torture->points), "%s/points", torture->dir);
	memcpy(torture->report->dir, torture->dir, sizeof(torture->report->dir));
	return 0;
}

static void stop_workers(struct torture *torture)
{
	set_phase(torture, TORTURE_STOP);
	for (unsigned i = 0; i < torture->worker_count; i++) {
		(void)pthread_join(torture->workers[i].thread, NULL);
	}
}

static int run(struct torture *torture, struct error *err)
{
	struct annals_client *client = NULL;
	int status = make_dir(torture, err);

	if (status == 0) {
		status = open_history(torture, err);
	}
	torture->server.list_points = torture->options->kill_points;
	if (status == 0) {
		status = server_start(torture, err);
	}
	if (status == 0) {
		client = torture_connect(torture);
		status = client != NULL ? create_topics(torture, client, err)
					: error_fail(err, ANNALS_E_NO_MEMORY, "no memory");
	}
	if (status == 0) {
		status = start_workers(torture, err);
	}
	if (status == 0) {
		status = (torture->options->kill_points ? run_points : run_rounds)(
			torture, client, err);
	}
	stop_workers(torture);
	annals_client_close(client);
	if (status == 0) {
		server_terminate(torture);
		server_verify(torture);
	} else {
		server_kill(torture);
	}
	close_history(torture);
	return status;
}

int torture_run(
	const struct torture_options *options, struct torture_report *ret, struct error *err)
{
	struct torture *torture = calloc(1, sizeof(*torture));
	int status;

	if (torture == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory");
	}
	*ret = (struct torture_report){.seed = options->seed};
	if (ret->seed == 0) {
		random_bytes(&ret->seed, sizeof(ret->seed));
		ret->seed >>= 16; /* short enough to be typed */
	}
	if (access(options->annalsd, X_OK) != 0) {
		free(torture);
		return error_errno(
			err, ANNALS_E_NOT_FOUND, errno, "cannot run '%s'", options->annalsd);
	}
	torture->options = options;
	torture->report = ret;
	torture->random.state = ret->seed;
	torture->history_fd = -1;
	torture->started_ns = clock_monotonic_ns();
	(void)pthread_mutex_init(&torture->mutex, NULL);
	(void)pthread_cond_init(&torture->cond, NULL);
	status = run(torture, err);
	ret->retries = atomic_load(&torture->retries);
	ret->seconds = (clock_monotonic_ns() - torture->started_ns) / 1000000000;
	ret->kept = torture->dir[0] != 0 && (options->keep || status != 0 || has_problem(torture));
	if (torture->dir[0] != 0 && !ret->kept) {
		remove_tree(torture->dir);
	}
	(void)pthread_cond_destroy(&torture->cond);
	(void)pthread_mutex_destroy(&torture->mutex);
	free(torture);
	return status;
}
