/* What peer-load has to know of each system's protocol. */
#ifndef ANNALS_BENCH_PEERS_H
#define ANNALS_BENCH_PEERS_H

#include <annals/buf.h>
#include <stdbool.h>
#include <stdint.h>

struct peer {
	const char *name;
	bool one_ask; /* one ask() brings everything */
	/* After connecting, blocking. 0, or -1 with errno. */
	int (*greet)(int fd);
	/* A request for this connection that appends `batch` events of so many bytes. 0 or
	 * ANNALS_E_NO_MEMORY. */
	int (*build)(struct buf *out, int fd, uint64_t batch, uint64_t bytes);
	uint64_t (*answers_per_request)(uint64_t batch);
	/* Counts whole answers in `text`; -1 when one of them is an error. */
	int (*count_answers)(
		const uint8_t *text, size_t size, size_t *ret_used, uint64_t *ret_answers);
	/* A request for `count` events from `from` on, of `total`. */
	int (*ask)(struct buf *out, int fd, uint64_t from, uint64_t count, uint64_t total);
	/* As count_answers, of events read. */
	int (*count_events)(
		const uint8_t *text, size_t size, size_t *ret_used, uint64_t *ret_events);
};

/* NULL when there is none of that name. */
const struct peer *peer_find(const char *name);

#endif
