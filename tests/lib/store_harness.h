/*
 * A store in a temporary directory, and requests that wait for their answer. The journal is the one
 * that ANNALS_TEST_JOURNAL names ("file" without it). One thread per struct waiter.
 */
#ifndef ANNALS_TEST_STORE_HARNESS_H
#define ANNALS_TEST_STORE_HARNESS_H

#include "shard.h"

#include <annals/storage.h>

/* Waits for requests to come back. */
struct waiter {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool notified;
	unsigned notifications;
	struct completion_queue queue;
};
void waiter_init(struct waiter *waiter);
void waiter_release(struct waiter *waiter);
/* The next request that comes back; NULL after timeout_ms. */
struct store_request *waiter_take(struct waiter *waiter, unsigned timeout_ms);

struct store_harness {
	char dir[64];
	struct store_options options;
	struct store *store;
	struct waiter waiter; /* of the test's own thread */
	struct waiter other;  /* of another thread, or another kind of request; a queue outlives the
				 store */
	struct buf scratch;
	struct error error;
};

/* Small tail, no reserve, so that settling happens within a test. */
void store_harness_init(struct store_harness *f);
void store_harness_release(struct store_harness *f); /* closes, removes the directory */
void store_harness_open(struct store_harness *f);
void store_harness_reopen(struct store_harness *f);
/* False with a journal that forgets. */
bool store_harness_is_durable(const struct store_harness *f);

/* Submits and waits; returns the request's status. */
int store_harness_run(
	struct store_harness *f, struct waiter *waiter, struct store_request *request);
/* A new topic's id. */
uint32_t store_harness_topic(struct store_harness *f, const char *name, uint32_t partitions);
int store_harness_delete_topic(struct store_harness *f, const char *name);
int store_harness_trim(
	struct store_harness *f, uint32_t topic_id, uint32_t partition, uint64_t first_offset);
int store_harness_commit(struct store_harness *f, const char *group, uint32_t topic_id,
	uint32_t partition, uint64_t offset, const char *metadata);

/* A body of `count` events with `data_bytes` each that follow from `seed`, into out. */
void store_harness_body(struct buf *out, uint32_t count, size_t data_bytes, uint64_t seed);
/* Fills a part; the body must outlive the request. */
void store_harness_part(
	struct append_part *part, uint32_t partition, struct bytes body, uint32_t count);
/* One batch. Returns the status; *ret_offset on success. */
int store_harness_append(struct store_harness *f, uint32_t topic_id, uint32_t partition,
	uint32_t count, size_t data_bytes, uint64_t seed, uint64_t *ret_offset);
/* So many batches of 10 events with 1 KiB each, seeds from `seed` on. */
void store_harness_fill(struct store_harness *f, uint32_t topic_id, uint32_t partition,
	unsigned batches, uint64_t seed);

/* Reads [from, end) page by page, checks that offsets are dense; returns the number of events and
 * their CRC. */
uint64_t store_harness_read(struct store_harness *f, uint32_t topic_id, uint32_t partition,
	uint64_t from, uint32_t *ret_crc);
int store_harness_read_page(struct store_harness *f, uint32_t topic_id, uint32_t partition,
	uint64_t offset, struct read_request *ret);
struct partition_info store_harness_info(
	struct store_harness *f, uint32_t topic_id, uint32_t partition);
/* Waits up to 10 s for a condition on the statistics. */
bool store_harness_wait_for(
	struct store_harness *f, bool (*is_met)(const struct store_stats *stats));

#endif
