/*
 * cold: a replay of what is on the disk and not in memory. The server is stopped, the system is
 * told to forget the pages of its files (posix_fadvise, which needs no privilege once nobody maps
 * them), and a plain program reads the data file from end to end; then the same again with a server
 * and a consumer, while another connection pings the server and sees how long the loop is away.
 */
#include "annals_bench.h"

#include <annals/clock.h>
#include <annals/frame.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES (1u << 20)
#define PING_WAIT_MS 10000

/* MB/s of a plain sequential read, or negative after a message. */
static double read_plainly(const char *path)
{
	uint8_t *buffer = malloc(READ_BYTES);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t begin_ns = clock_monotonic_ns(), bytes = 0;
	ssize_t n = buffer && fd >= 0 ? 1 : -1;
	while (n > 0) {
		n = read(fd, buffer, READ_BYTES);
		bytes += n > 0 ? (uint64_t)n : 0;
	}
	double seconds = (double)(clock_monotonic_ns() - begin_ns) / 1e9;
	if (fd >= 0) {
		close(fd);
	}
	free(buffer);
	if (n < 0 || bytes == 0) {
		fprintf(stderr, "annals-bench: cannot read '%s'\n", path);
		return -1;
	}
	return (double)bytes / 1e6 / seconds;
}

struct pinger {
	int fd;
	atomic_bool stop;
	struct histogram latency;
};

/* One request and its answer. */
static int ping(struct pinger *pinger)
{
	uint8_t request[FRAME_HEADER_BYTES], answer[256];
	struct pollfd wait = {.fd = pinger->fd, .events = POLLIN};
	size_t have = 0;
	frame_write_header(request, FRAME_REQUEST, FRAME_PING, 0, 1, 0, 0);
	uint64_t begin_ns = clock_monotonic_ns();
	if (send(pinger->fd, request, sizeof(request), MSG_NOSIGNAL) != (ssize_t)sizeof(request)) {
		return -1;
	}
	while (have < FRAME_HEADER_BYTES) {
		if (poll(&wait, 1, PING_WAIT_MS) != 1) {
			return -1;
		}
		ssize_t n = recv(pinger->fd, answer, sizeof(answer), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			return -1;
		}
		have += n > 0 ? (size_t)n : 0;
	}
	histogram_add(&pinger->latency, clock_monotonic_ns() - begin_ns);
	return 0;
}

static void *ping_thread(void *arg)
{
	struct pinger *pinger = arg;
	while (!atomic_load(&pinger->stop)) {
		if (ping(pinger) != 0) {
			return pinger;
		}
		usleep(1000);
	}
	return NULL;
}

int bench_cold(const struct bench_options *options, struct bench_result *ret)
{
	static struct pinger pinger;
	char path[600];
	pthread_t thread;
	void *failed = NULL;
	double plain;
	if (bench_server_stop_cold(path, sizeof(path)) != 0 || (plain = read_plainly(path)) < 0 ||
		bench_server_start_cold(options) != 0) {
		return -1;
	}
	pinger = (struct pinger){.fd = bench_connect(false)};
	if (pinger.fd < 0 || pthread_create(&thread, NULL, ping_thread, &pinger) != 0) {
		return -1;
	}
	int status = bench_replay(options, ret);
	atomic_store(&pinger.stop, true);
	pthread_join(thread, &failed);
	close(pinger.fd);
	bench_note(ret, "plain_read_mb_per_second", plain);
	bench_note(ret, "other_p50_ms", (double)histogram_percentile(&pinger.latency, 50) / 1e6);
	bench_note(ret, "other_p99_ms", (double)histogram_percentile(&pinger.latency, 99) / 1e6);
	bench_note(ret, "other_max_ms", (double)histogram_percentile(&pinger.latency, 100) / 1e6);
	return failed ? -1 : status;
}
