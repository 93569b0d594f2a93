#include "annals_bench.h"

#include <annals/clock.h>
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
static char directory[512], log_path[600], address[300], http_address[300];
static char data_path[600];
static bool own_directory;

static void fail(const char *what)
{
	fprintf(stderr, "annals-bench: %s\n", what);
	bench_server_stop();
	exit(1);
}

static void spawn(const struct bench_options *options)
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
		execl(options->annalsd, options->annalsd, "--data-dir", data_path, "--http",
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
		const char *http = strstr(line, "protocol=http address=");
		if (at) {
			(void)sscanf(at, "protocol=binary address=%299s", address);
		}
		if (http) {
			(void)sscanf(http, "protocol=http address=%299s", http_address);
		}
		found = address[0] && http_address[0];
	}
	if (log) {
		(void)fclose(log);
	}
	return found;
}

/* Spawns it and waits until it listens. */
static int start(const struct bench_options *options)
{
	spawn(options);
	for (int tries = 0; tries < 60000 && !find_address(); tries++) {
		if (waitpid(server_pid, NULL, WNOHANG) == server_pid) {
			server_pid = 0;
			fprintf(stderr, "annals-bench: annalsd ended; its log is in '%s'\n",
				log_path);
			return -1;
		}
		usleep(1000);
	}
	return address[0] ? 0 : -1;
}

void bench_server_start(struct bench_options *options)
{
	if (options->server) {
		snprintf(address, sizeof(address), "%s", options->server);
		snprintf(http_address, sizeof(http_address), "%s", options->server);
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
	snprintf(data_path, sizeof(data_path), "%s/data", directory);
	snprintf(log_path, sizeof(log_path), "%s/log", directory);
	if (start(options) != 0) {
		fail("annalsd did not start; is --annalsd right?");
	}
}

int bench_server_restart(const struct bench_options *options, uint64_t *ret_ns)
{
	if (server_pid <= 0) {
		fprintf(stderr, "annals-bench: only a server started here can be killed\n");
		return -1;
	}
	kill(server_pid, SIGKILL);
	(void)waitpid(server_pid, NULL, 0);
	server_pid = 0;
	address[0] = http_address[0] = '\0';
	(void)unlink(log_path);
	uint64_t begin_ns = clock_monotonic_ns();
	int status = start(options);
	*ret_ns = clock_monotonic_ns() - begin_ns;
	return status;
}

static int forget_entry(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
	(void)info;
	(void)walk;
	int fd = flag == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		(void)fsync(fd);
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
	return 0;
}

int bench_server_stop_cold(char *ret_data_file, size_t size)
{
	if (server_pid <= 0) {
		fprintf(stderr, "annals-bench: only a server started here can be stopped\n");
		return -1;
	}
	kill(server_pid, SIGTERM);
	(void)waitpid(server_pid, NULL, 0);
	server_pid = 0;
	(void)nftw(data_path, forget_entry, 16, FTW_PHYS);
	(void)snprintf(ret_data_file, size, "%s/shards/0/lmdb/data.mdb", data_path);
	return 0;
}

int bench_server_start_cold(const struct bench_options *options)
{
	address[0] = http_address[0] = '\0';
	(void)unlink(log_path);
	(void)nftw(data_path, forget_entry, 16, FTW_PHYS);
	return start(options);
}

static uint64_t data_bytes, journal_bytes;

static int add_entry(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
	if (flag == FTW_F) {
		bool data = strcmp(path + walk->base, "data.mdb") == 0;
		*(data ? &data_bytes : &journal_bytes) += (uint64_t)info->st_blocks * 512;
	}
	return 0;
}

void bench_server_disk(uint64_t *ret_data_bytes, uint64_t *ret_journal_bytes)
{
	data_bytes = journal_bytes = 0;
	if (own_directory) {
		(void)nftw(data_path, add_entry, 16, FTW_PHYS);
	}
	*ret_data_bytes = data_bytes;
	*ret_journal_bytes = journal_bytes;
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

const char *bench_server_http_address(void)
{
	return http_address;
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
