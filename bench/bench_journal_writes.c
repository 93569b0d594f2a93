/*
 * How should a journal write? Appends blocks of 4 KiB, 64 KiB and 1 MiB durably to a file in DIR in
 * several ways and prints p50, p99 and MB/s of each. The figures decide
 * docs/decisions/0004-journal-writes.md.
 *
 *   bench_journal_writes DIR [SECONDS per case, default 1]
 */
#include <annals/clock.h>
#include <annals/macros.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES (64u << 20)
#define SAMPLES_MAX 200000u

struct way {
	const char *name;
	bool allocate, zero, recycle;
	int flags;
};

static const struct way ways[] = {
	{"growing file, fdatasync", false, false, false, 0},
	{"fallocate, fdatasync", true, false, false, 0},
	{"zeroed, fdatasync", true, true, false, 0},
	{"zeroed and recycled, fdatasync", true, true, true, 0},
	{"zeroed and recycled, O_DSYNC", true, true, true, O_DSYNC},
	{"zeroed and recycled, O_DIRECT + fdatasync", true, true, true, O_DIRECT},
	{"zeroed and recycled, O_DIRECT + O_DSYNC", true, true, true, O_DIRECT | O_DSYNC},
};

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_journal_writes: cannot %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_at(int fd, const uint8_t *data, size_t size, uint64_t at)
{
	if (pwrite(fd, data, size, (off_t)at) != (ssize_t)size) {
		die("write");
	}
}

/* A fresh file, prepared as the way wants it. */
static int prepare(const char *path, const struct way *way, const uint8_t *zeros, size_t zero_bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		die("create the file");
	}
	if (way->allocate && posix_fallocate(fd, 0, FILE_BYTES) != 0) {
		die("allocate");
	}
	for (uint64_t at = 0; way->zero && at < FILE_BYTES; at += zero_bytes) {
		write_at(fd, zeros, zero_bytes, at);
	}
	if (fsync(fd) < 0 || close(fd) < 0) {
		die("sync");
	}
	fd = open(path, O_RDWR | O_CLOEXEC | way->flags);
	if (fd < 0) {
		die("open the file");
	}
	return fd;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;
	return (*left > *right) - (*left < *right);
}

static void measure(const char *path, const struct way *way, size_t size, uint64_t limit_ns,
	const uint8_t *data, const uint8_t *zeros, uint64_t *samples)
{
	int fd = prepare(path, way, zeros, 1u << 20);
	size_t count = 0;
	uint64_t at = 0, busy_ns = 0, start = clock_monotonic_ns();
	while (count < SAMPLES_MAX && clock_monotonic_ns() - start < limit_ns) {
		if (at + size > FILE_BYTES) {
			at = 0;
			if (!way->recycle) { /* making the next file is not part of the write */
				uint64_t before = clock_monotonic_ns();
				(void)close(fd);
				fd = prepare(path, way, zeros, 1u << 20);
				start += clock_monotonic_ns() - before;
			}
		}
		uint64_t before = clock_monotonic_ns();
		write_at(fd, data, size, at);
		if ((way->flags & O_DSYNC) != O_DSYNC && fdatasync(fd) < 0) {
			die("sync");
		}
		samples[count] = clock_monotonic_ns() - before;
		busy_ns += samples[count++];
		at += size;
	}
	(void)close(fd);
	(void)unlink(path);
	qsort(samples, count, sizeof(samples[0]), compare);
	(void)printf("%-44s %8zu %10.0f %10.0f %10.0f\n", way->name, size,
		(double)samples[count / 2] / 1e3, (double)samples[count * 99 / 100] / 1e3,
		(double)(count * size) / ((double)busy_ns / 1e9) / 1e6);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {4096, 65536, 1 << 20};
	char path[4096];
	if (argc < 2) {
		(void)fprintf(stderr, "usage: bench_journal_writes DIR [SECONDS]\n");
		return 2;
	}
	uint64_t limit_ns = (uint64_t)((argc > 2 ? atof(argv[2]) : 1) * 1e9);
	(void)snprintf(path, sizeof(path), "%s/journal-writes.%d", argv[1], (int)getpid());
	uint8_t *data = aligned_alloc(4096, 1 << 20), *zeros = aligned_alloc(4096, 1 << 20);
	uint64_t *samples = malloc(SAMPLES_MAX * sizeof(*samples));
	if (data == NULL || zeros == NULL || samples == NULL) {
		die("get memory");
	}
	memset(data, 0x5a, 1 << 20);
	memset(zeros, 0, 1 << 20);
	(void)printf("%-44s %8s %10s %10s %10s\n", "way", "bytes", "p50 us", "p99 us", "MB/s");
	for (size_t i = 0; i < ANNALS_COUNT_OF(ways); i++) {
		for (size_t j = 0; j < ANNALS_COUNT_OF(sizes); j++) {
			measure(path, &ways[i], sizes[j], limit_ns, data, zeros, samples);
		}
	}
	free(data);
	free(zeros);
	free(samples);
	return 0;
}
