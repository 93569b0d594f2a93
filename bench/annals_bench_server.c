#include "annals_bench.h"

#include <annals/macros.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t server_pid;
static char directory[512], log_path[600], address[300];
static bool own_directory;

static void fail(const char *what)
{
	fprintf(stderr, "annals-bench: %s\n", what);
	bench_server_stop();
	exit(1);
}

static void spawn(const struct bench_options *options, const char *data)
{
	server_pid = fork();
	if (server_pid < 0) {
		fail("cannot fork");
	}
	if (server_pid == 0) {
		int log = open(log_path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
		if (log < 0 || dup2(log, STDERR_FILENO) < 0) {
			_exit(126);
		}
		execl(options->annalsd, options->annalsd, "--data-dir", data, "--http",
			"127.0.0.1:0", "--binary", "127.0.0.1:0", (char *)NULL);
		_exit(127);
	}
}

/* Reads the address from the line "... listening protocol=binary address=127.0.0.1:4242 ...". */
static bool find_address(void)
{
	char line[1024];
	bool found = false;
	FILE *log = fopen(log_path, "r");
	while (log && !found && fgets(line, sizeof(line), log)) {
		const char *at = strstr(line, "protocol=binary address=");
		found = at && sscanf(at, "protocol=binary address=%299s", address) == 1;
	}
	if (log) {
		(void)fclose(log);
	}
	return found;
}

void bench_server_start(struct bench_options *options)
{
	if (options->server) {
		snprintf(address, sizeof(address), "%s", options->server);
		return;
	}
	const char *base = options->data_dir  ? options->data_dir
			   : getenv("TMPDIR") ? getenv("TMPDIR")
					      : "/tmp";
	snprintf(directory, sizeof(directory), "%s/annals-bench-XXXXXX", base);
	if (!mkdtemp(directory)) {
		directory[0] = '\0';
		fail("cannot make a directory for the server's data");
	}
	own_directory = true;
	char data[600];
	snprintf(data, sizeof(data), "%s/data", directory);
	snprintf(log_path, sizeof(log_path), "%s/log", directory);
	spawn(options, data);
	for (int tries = 0; tries < 300 && !find_address(); tries++) {
		if (waitpid(server_pid, NULL, WNOHANG) == server_pid) {
			server_pid = 0;
			fail("annalsd did not start; is --annalsd right?");
		}
		usleep(50000);
	}
	if (!address[0]) {
		fail("annalsd did not say where it listens");
	}
}

static int remove_entry(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
	(void)info;
	(void)flag;
	(void)walk;
	return remove(path);
}

void bench_server_stop(void)
{
	if (server_pid > 0) {
		kill(server_pid, SIGTERM);
		(void)waitpid(server_pid, NULL, 0);
		server_pid = 0;
	}
	if (own_directory) {
		(void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
		own_directory = false;
	}
}

const char *bench_server_address(void)
{
	return address;
}

void bench_server_memory(uint64_t *ret_rss_bytes, uint64_t *ret_anonymous_bytes)
{
	char path[64], line[256];
	unsigned long long kib;
	*ret_rss_bytes = *ret_anonymous_bytes = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)server_pid);
	FILE *file = server_pid > 0 ? fopen(path, "r") : NULL;
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "VmRSS: %llu", &kib) == 1) {
			*ret_rss_bytes = kib * 1024;
		} else if (sscanf(line, "RssAnon: %llu", &kib) == 1) {
			*ret_anonymous_bytes = kib * 1024;
		}
	}
	if (file) {
		(void)fclose(file);
	}
}
