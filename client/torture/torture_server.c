/* The server's process: started, killed, stopped, verified. */
#include "torture_state.h"

#include <annals/clock.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS_MAX 60000u
#define END_MS_MAX 30000u
#define STARTS_MAX 8u

/* What is drawn for each start. The names are annalsd's. */
static const struct {
	const char *name;
	const char *values[4];
} drawn[] = {{"--loops", {"1", "2", "3", "4"}},
	{"--journal-segment-bytes", {"16MiB", "16MiB", "32MiB", "64MiB"}},
	{"--tail-bytes-max", {"8MiB", "8MiB", "16MiB", "64MiB"}},
	{"--queue-bytes-max", {"4MiB", "8MiB", "16MiB", "64MiB"}},
	{"--fetch-bytes-max", {"4KiB", "64KiB", "256KiB", "1MiB"}},
	{"--output-bytes-max", {"64KiB", "256KiB", "1MiB", "16MiB"}},
	{"--requests-in-flight-max", {"2", "64", "1024", "1024"}},
	{"--retention-interval", {"10ms", "50ms", "200ms", "1s"}}};

#define ARGUMENTS_MAX (ANNALS_COUNT_OF(drawn) * 2 + 12)

/* In the child: never returns. */
static void run_program(const struct torture *torture, const char *const *arguments, bool is_server)
{
	int fd = open(torture->log, O_CREAT | O_WRONLY | O_APPEND, 0600);
	char *copies[ARGUMENTS_MAX] = {NULL};

	/* execv's prototype is older than const. */
	for (size_t i = 0; arguments[i] != NULL; i++) {
		memcpy(&copies[i], &arguments[i], sizeof(copies[i]));
	}

	/* Not ours to outlive, and not to be ended by the terminal's Ctrl-C. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setpgid(0, 0);
	(void)dup2(fd, STDOUT_FILENO);
	(void)dup2(fd, STDERR_FILENO);
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)setenv("ANNALS_MAP_BYTES", "8GiB", 0);
	if (is_server && torture->server.kill_at[0] != 0) {
		(void)setenv("ANNALS_KILL_AT", torture->server.kill_at, 1);
	} else {
		(void)unsetenv("ANNALS_KILL_AT");
	}
	if (is_server && torture->server.list_points) {
		(void)setenv("ANNALS_FAULT_LIST", torture->points, 1);
	}
	(void)execv(torture->options->annalsd, copies);
	_exit(127);
}

static void start_process(struct torture *torture)
{
	const char *arguments[ARGUMENTS_MAX];
	char text[160] = "started with";
	size_t count = 0, used = strlen(text);
	pid_t pid;

	arguments[count++] = torture->options->annalsd;
	arguments[count++] = "--data-dir";
	arguments[count++] = torture->data_dir;
	arguments[count++] = "--http";
	arguments[count++] = torture->server.http[0] != 0 ? torture->server.http : "127.0.0.1:0";
	arguments[count++] = "--binary";
	arguments[count++] =
		torture->server.address[0] != 0 ? torture->server.address : "127.0.0.1:0";
	for (size_t i = 0; i < ANNALS_COUNT_OF(drawn); i++) {
		const char *value = drawn[i].values[random_below(&torture->random, 4)];
		arguments[count++] = drawn[i].name;
		arguments[count++] = value;
		if (used < sizeof(text)) {
			used += (size_t)snprintf(text + used, sizeof(text) - used, " %s %s",
				drawn[i].name + 2, value);
		}
	}
	arguments[count] = NULL;
	torture_record_server(torture, "%s", text);
	pid = fork();
	if (pid == 0) {
		run_program(torture, arguments, true);
	}
	torture->server.pid = pid > 0 ? pid : 0;
	torture->report->starts++;
}

/* The address that a line of the log says a protocol listens at. */
static void take_address(const char *line, const char *protocol, char *ret, size_t size)
{
	const char *found = strstr(line, protocol);

	found = found != NULL ? strstr(found, "address=") : NULL;
	if (found != NULL) {
		found += strlen("address=");
		(void)snprintf(ret, size, "%.*s", (int)strcspn(found, " \n"), found);
	}
}

/* Reads the log from `from` on: the addresses, and whether it is ready. */
static bool read_log(struct torture *torture, long from)
{
	char line[1024], address[64] = "", http[64] = "";
	bool ready = false;
	FILE *log = fopen(torture->log, "re");

	if (log == NULL) {
		return false;
	}
	(void)fseek(log, from, SEEK_SET);
	while (fgets(line, sizeof(line), log) != NULL) {
		take_address(line, "protocol=binary", address, sizeof(address));
		take_address(line, "protocol=http", http, sizeof(http));
		ready |= strstr(line, " info ready ") != NULL;
	}
	(void)fclose(log);
	/* Later starts take the same ports: the clients have the addresses by then. */
	if (ready && torture->server.address[0] == 0) {
		memcpy(torture->server.address, address, sizeof(address));
		memcpy(torture->server.http, http, sizeof(http));
	}
	return ready;
}

static long log_size(const struct torture *torture)
{
	FILE *log = fopen(torture->log, "re");
	long size = 0;

	if (log != NULL) {
		(void)fseek(log, 0, SEEK_END);
		size = ftell(log);
		(void)fclose(log);
	}
	return size;
}

/* The last line of the log, for messages. */
static void last_line(const struct torture *torture, char *ret, size_t size)
{
	FILE *log = fopen(torture->log, "re");
	char line[512] = "";

	ret[0] = 0;
	while (log != NULL && fgets(line, sizeof(line), log) != NULL) {
		(void)snprintf(ret, size, "%s", line);
	}
	if (log != NULL) {
		(void)fclose(log);
	}
	ret[strcspn(ret, "\n")] = 0;
}

/* Waits at most so long; true when the process has ended. */
static bool wait_end(pid_t pid, unsigned timeout_ms, int *ret_status)
{
	uint64_t until_ns = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;

	for (;;) {
		pid_t ended = waitpid(pid, ret_status, WNOHANG);
		if (ended == pid || (ended < 0 && errno == ECHILD)) {
			return true;
		}
		if (clock_monotonic_ns() >= until_ns) {
			return false;
		}
		torture_sleep_ms(2);
	}
}

/* Died through ANNALS_KILL_AT: then it is not to strike again. */
static bool take_strike(struct torture *torture, int status)
{
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL ||
		torture->server.kill_at[0] == 0) {
		return false;
	}
	torture_record_server(torture, "killed itself at %s", torture->server.kill_at);
	torture->server.pid = 0;
	torture->server.kill_at[0] = 0;
	torture->server.struck = true;
	torture->report->kills++;
	return true;
}

/* 1: it died at its kill point; try again. */
static int start_once(struct torture *torture, struct error *err)
{
	uint64_t started_ns = clock_monotonic_ns(), took_ms;
	long from = log_size(torture);
	char line[200];
	int status = 0;

	start_process(torture);
	if (torture->server.pid == 0) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot start a process");
	}
	while (!read_log(torture, from)) {
		if (wait_end(torture->server.pid, 5, &status)) {
			if (take_strike(torture, status)) {
				return 1;
			}
			torture->server.pid = 0;
			last_line(torture, line, sizeof(line));
			return error_fail(err, ANNALS_E_IO,
				"annalsd ended while starting (wait status %d): %s", status, line);
		}
		if (clock_monotonic_ns() - started_ns > START_MS_MAX * UINT64_C(1000000)) {
			server_kill(torture);
			return error_fail(err, ANNALS_E_IO, "annalsd was not ready after %u s",
				START_MS_MAX / 1000);
		}
	}
	took_ms = (clock_monotonic_ns() - started_ns) / 1000000;
	torture->report->start_ms_sum += took_ms;
	torture->report->start_ms_max = ANNALS_MAX(torture->report->start_ms_max, took_ms);
	return 0;
}

int server_start(struct torture *torture, struct error *err)
{
	for (unsigned i = 0; i < STARTS_MAX; i++) {
		int status;
		/* Sometimes a kill in the middle of recovery. */
		if (torture->server.kill_at[0] == 0 && torture->server.address[0] != 0 &&
			!torture->server.list_points && random_below(&torture->random, 6) == 0) {
			start_process(torture);
			torture_sleep_ms((unsigned)random_below(&torture->random, 60));
			server_kill(torture);
			torture->report->kills_in_start++;
		}
		status = start_once(torture, err);
		if (status <= 0) {
			return status;
		}
	}
	return error_fail(err, ANNALS_E_IO, "annalsd died in every start");
}

void server_kill(struct torture *torture)
{
	int status;

	if (torture->server.pid > 0) {
		torture_record_server(torture, "killed (SIGKILL)");
		(void)kill(torture->server.pid, SIGKILL);
		(void)waitpid(torture->server.pid, &status, 0);
		torture->server.pid = 0;
		torture->report->kills++;
	}
}

void server_terminate(struct torture *torture)
{
	int status = 0;
	char line[200];

	if (torture->server.pid == 0) {
		return;
	}
	torture_record_server(torture, "asked to end (SIGTERM)");
	(void)kill(torture->server.pid, SIGTERM);
	torture->report->terminations++;
	if (!wait_end(torture->server.pid, END_MS_MAX, &status)) {
		torture_problem(
			torture, "annalsd did not end within %u s of SIGTERM", END_MS_MAX / 1000);
		server_kill(torture);
		return;
	}
	if (!take_strike(torture, status) && status != 0) {
		last_line(torture, line, sizeof(line));
		torture_problem(torture, "annalsd ended with wait status %d after SIGTERM: %s",
			status, line);
	}
	torture->server.pid = 0;
}

void server_pause(struct torture *torture, unsigned pause_ms)
{
	torture_record_server(torture, "stopped for %u ms (SIGSTOP)", pause_ms);
	(void)kill(torture->server.pid, SIGSTOP);
	torture_sleep_ms(pause_ms);
	(void)kill(torture->server.pid, SIGCONT);
	torture->report->pauses++;
}

bool server_wait_struck(struct torture *torture, unsigned timeout_ms)
{
	int status = 0;
	char line[200];

	if (torture->server.pid == 0 || !wait_end(torture->server.pid, timeout_ms, &status)) {
		return false;
	}
	if (!take_strike(torture, status)) {
		last_line(torture, line, sizeof(line));
		torture->server.pid = 0;
		torture_problem(
			torture, "annalsd ended by itself (wait status %d): %s", status, line);
		return false;
	}
	return true;
}

void server_verify(struct torture *torture)
{
	const char *arguments[] = {torture->options->annalsd, "verify", torture->data_dir, NULL};
	char line[200];
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		run_program(torture, arguments, false);
	}
	torture->report->verifications++;
	if (pid < 0 || !wait_end(pid, 600000, &status) || status != 0) {
		last_line(torture, line, sizeof(line));
		torture_problem(torture, "annalsd verify found problems (wait status %d): %s",
			status, line);
	}
}
