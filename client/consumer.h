/*
 * The inside of a consumer. The I/O side subscribes, keeps credit flowing and queues pushed pages
 * (consumer_io.c); the caller's thread checks and decodes them (consumer.c).
 *
 * Credit: the server may push `granted` more bytes; `held` bytes are queued or being read. Both
 * together stay at the read-ahead; a grant is sent when a quarter of it has become free.
 */
#ifndef ANNALS_CLIENT_CONSUMER_H
#define ANNALS_CLIENT_CONSUMER_H

#include "io.h"

#include <annals/batch.h>
#include <annals/column.h>
#include <annals/filter.h>

enum subscription_state {
	SUBSCRIPTION_NONE, /* to be made when connected and retry_ns has come */
	SUBSCRIPTION_ASKED,
	SUBSCRIPTION_ACTIVE,
	SUBSCRIPTION_ENDED, /* for good */
};

struct consumer_part {
	uint32_t partition;
	uint64_t received; /* next offset to come from the server; of the I/O side */
	uint64_t position; /* next offset for the caller; of the caller's thread */
};

struct annals_consumer {
	struct list_node node; /* client->consumers */
	struct annals_client *client;
	char *topic;
	int64_t read_ahead_bytes;
	struct annals_start start;   /* partitions are our own copy; no filter */
	struct event_filter *filter; /* our own; NULL: all events */

	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* under lock */
	struct list_node pages;
	int64_t held, granted;
	struct annals_error end; /* status 0: goes on */
	bool opened;             /* parts are there and stay */
	annals_consumer_fn *on_ready;
	void *on_ready_arg;
	/* set once, before `opened` */
	struct consumer_part *parts; /* by partition */
	size_t part_count;
	uint32_t topic_id;

	/* of the I/O side */
	enum subscription_state state;
	uint64_t subscription, retry_ns;
	unsigned failures;
	struct request *request;

	/* of the caller's thread */
	struct page *page;
	struct consumer_part *page_part;
	size_t page_at; /* of the next batch in page->data */
	struct batch batch;
	struct batch_versions versions;
	struct bytes body;
	size_t body_at;
	uint64_t batch_next; /* offset of the next event in the body */
	bool in_batch, in_scratch;
	struct buf scratch;
};

struct consumer_part *consumer_part_find(struct annals_consumer *consumer, uint32_t partition);
/* I/O side: leaves the client. */
void consumer_detach(struct annals_client *client, void *consumer);

#endif
