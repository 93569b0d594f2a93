/*
 * The inside of a producer. User threads fill open batches and seal full ones (producer.c); the I/O
 * side seals those that lingered, sends, retries and reports (producer_io.c).
 *
 * Per partition there is at most one open batch and a queue of sealed ones, oldest first. A batch
 * is in one of three places: `open`, `ready`, or in flight (only the I/O side has it then).
 */
#ifndef ANNALS_CLIENT_PRODUCER_H
#define ANNALS_CLIENT_PRODUCER_H

#include "io.h"

struct part;

struct producer_batch {
	struct list_node node; /* part->ready */
	struct list_node live; /* producer->live, in the order of their beginning */
	struct annals_producer *producer;
	struct part *part;
	uint64_t sequence;
	struct buf body;
	void **cookies;
	size_t cookie_capacity;
	uint32_t count;
	size_t accounted_bytes;
	uint64_t begun_ns;
	/* of the I/O side, once sealed */
	bool prepared, maybe_stored;
	uint32_t number; /* of its first event, once prepared */
	uint32_t attempts;
	struct buf packed;
	struct bytes data;
	struct request request;
	struct annals_error last_error;
};

struct part {
	struct list_node sendable;  /* producer->sendable while something is ready */
	struct list_node lingering; /* producer->lingering while a batch is open */
	struct list_node ready;
	struct producer_batch *open;
	uint32_t partition, in_flight;
	unsigned failures;
	uint64_t retry_ns; /* nothing is sent before */
	/* Idempotence. Numbers of events; a batch that was refused gives its numbers back, so what
	 * is in flight behind it is refused as well and numbered again. */
	uint32_t next_number;
	uint32_t unsure_number; /* of a batch that may or may not be stored */
	bool is_unsure;
	bool drains; /* nothing is sent until all in flight has come back */
};

struct annals_producer {
	struct list_node node; /* client->producers */
	struct annals_client *client;
	struct annals_options *options;
	char *topic;
	uint32_t partition_count;
	uint64_t id_prefix;
	uint64_t producer_id; /* 0: not idempotent */
	uint16_t producer_epoch;

	pthread_mutex_t lock;
	pthread_cond_t cond; /* room in the buffer, batches finished */
	/* under lock */
	struct part *parts;
	struct list_node sendable, lingering, live, spare;
	unsigned spare_count;
	uint32_t sticky;
	struct random random;
	uint64_t next_sequence, next_id;
	atomic_bool closing;
	struct annals_error first_error; /* since the last flush; status 0 if none */
	struct annals_producer_stats stats;
};

/* Moves the open batch to the ready queue. Under lock. */
void part_seal(struct annals_producer *producer, struct part *part);
/* I/O side: gives up every batch and leaves the client. */
void producer_detach(struct annals_client *client, void *producer);
void producer_batch_free(struct producer_batch *batch);

#endif
