/*
 * Would a journal gain from several blocks in flight? Threads take turns at the next place of a
 * zeroed, recycled file in DIR, write a block there and sync it, up to 1, 2 and 4 at the same time;
 * prints blocks and MB a second. docs/performance.md has the figures.
 *
 *   bench_journal_flights DIR [SECONDS per case, default 1]
 */
#include <annals/clock.h>
#include <annals/macros.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES (64u << 20)
#define FLIGHTS_MAX 4

struct run {
	int fd;
	size_t block_bytes;
	uint64_t end_ns;
	const uint8_t *data;
	_Atomic uint64_t next; /* where the next block goes */
	_Atomic uint64_t done; /* blocks */
};

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_journal_flights: cannot %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *fly(void *arg)
{
	struct run *run = arg;

	while (clock_monotonic_ns() < run->end_ns) {
		uint64_t at = atomic_fetch_add(&run->next, run->block_bytes) % FILE_BYTES;
		if (pwrite(run->fd, run->data, run->block_bytes, (off_t)at) !=
				(ssize_t)run->block_bytes ||
			fdatasync(run->fd) != 0) {
			die("write");
		}
		(void)atomic_fetch_add(&run->done, 1);
	}
	return NULL;
}

static void measure(int fd, const uint8_t *data, size_t block_bytes, int flights, uint64_t limit_ns)
{
	struct run run = {.fd = fd, .block_bytes = block_bytes, .data = data};
	pthread_t threads[FLIGHTS_MAX];
	uint64_t begin_ns = clock_monotonic_ns();
	double seconds;

	run.end_ns = begin_ns + limit_ns;
	for (int i = 0; i < flights; i++) {
		if (pthread_create(&threads[i], NULL, fly, &run) != 0) {
			die("make a thread");
		}
	}
	for (int i = 0; i < flights; i++) {
		(void)pthread_join(threads[i], NULL);
	}
	seconds = (double)(clock_monotonic_ns() - begin_ns) / 1e9;
	(void)printf("%9d %10zu %12.0f %10.0f\n", flights, block_bytes, (double)run.done / seconds,
		(double)(run.done * block_bytes) / seconds / 1e6);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {4096, 65536, 524288, 4194304};
	static const int flights[] = {1, 2, FLIGHTS_MAX};
	char path[4096];
	uint8_t *data = calloc(1, sizes[3]);
	uint64_t limit_ns = (uint64_t)((argc > 2 ? strtod(argv[2], NULL) : 1) * 1e9);
	int fd;

	if (argc < 2) {
		(void)fprintf(stderr, "usage: bench_journal_flights DIR [SECONDS]\n");
		return 2;
	}
	(void)snprintf(path, sizeof(path), "%s/journal-flights.%d", argv[1], (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (data == NULL || fd < 0 || unlink(path) != 0) {
		die("create the file");
	}
	for (uint64_t at = 0; at < FILE_BYTES; at += sizes[3]) {
		if (pwrite(fd, data, sizes[3], (off_t)at) != (ssize_t)sizes[3]) {
			die("write");
		}
	}
	if (fsync(fd) != 0) {
		die("sync");
	}
	memset(data, 0x5a, sizes[3]);
	(void)printf("in flight      bytes     blocks/s       MB/s\n");
	for (size_t i = 0; i < ANNALS_COUNT_OF(sizes); i++) {
		for (size_t j = 0; j < ANNALS_COUNT_OF(flights); j++) {
			measure(fd, data, sizes[i], flights[j], limit_ns);
		}
	}
	(void)close(fd);
	free(data);
	return 0;
}
