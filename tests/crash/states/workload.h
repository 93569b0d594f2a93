/*
 * The workload: one life of a store, recorded. Topics that stay and topics that come and go, one
 * with streams, exact dedupe and a query index, appends of all sizes to one or several partitions,
 * trims, group offsets, rows (what groups, leases, schemas and webhooks are made of), readers that
 * are woken by what becomes visible, and disks that are full for a moment. Marks say what was asked
 * for and what was promised; they are put by the thread that answers, so their place among the
 * calls is exact.
 */
#ifndef ANNALS_TEST_WORKLOAD_H
#define ANNALS_TEST_WORKLOAD_H

#include <annals/storage.h>

#define WORKLOAD_PARTITIONS 3u
/* Events of this topic have keys, versions and ids that are known again. */
#define WORKLOAD_INDEXED "indexed"
/* Rows that are always changed together: their keys are the owner and a number of one byte. */
#define WORKLOAD_ROWS 3u
#define WORKLOAD_ROW_OWNER ((uint8_t)'z')

struct workload {
	const char *data_dir;
	uint64_t seed;
	unsigned life;      /* makes request numbers unique */
	unsigned requests;  /* of each thread */
	bool indexed;       /* with a topic that has streams, exact dedupe and a query index */
	unsigned end_after; /* records until the process ends by itself, 0 = a clean close */
};

/* Runs in the calling process, which should be a child. Exits on what must not happen. */
void workload_run(const struct workload *workload);
/* The options with which the store is opened, here and by the judges. */
void workload_options(struct store_options *options, const char *data_dir);
/* What a body is known by. */
uint64_t workload_hash(struct bytes body);

#endif
