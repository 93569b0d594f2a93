/*
 * The tail: published blocks that LMDB does not hold yet, in memory, bounded.
 *
 * An ordered list of immutable, reference-counted blocks; for each partition a queue of entries
 * (offset -> block, byte). The writer publishes under the mutex, the settler takes what it folded
 * away, readers copy entries out under the mutex and the bytes without it.
 *
 * A block is pinned while something of it is not in LMDB: `pending` counts its unsettled batches,
 * plus one if it changed rows or topics. The oldest pinned block is where the journal may be
 * trimmed to.
 */
#ifndef ANNALS_STORAGE_TAIL_H
#define ANNALS_STORAGE_TAIL_H

#include <annals/list.h>
#include <annals/schemas.h>
#include <pthread.h>
#include <stdatomic.h>

struct partition;

struct tail_block {
	struct list_node node; /* in order of number, while pinned */
	atomic_uint references;
	uint32_t pending; /* under the mutex */
	bool changes_rows;
	uint64_t number;
	uint64_t written_before; /* journal bytes written before it */
	size_t size;
	uint8_t data[];
};

struct tail_entry {
	uint64_t base_offset;
	uint64_t recorded_us;
	struct tail_block *block;
	uint32_t at; /* of the stored batch in the block */
	uint32_t bytes;
	uint32_t count;
	uint32_t unused;
};

/* A partition's part of the tail: a ring of entries in offset order. */
struct partition_tail {
	struct tail_entry *entries;
	uint32_t head, count, capacity; /* capacity is a power of two */
	uint64_t pending_bytes;
	uint64_t settled_end;     /* offsets below are in LMDB (or trimmed) */
	struct list_node ready;   /* on tail.ready: enough pending to be worth a chunk */
	struct list_node waiting; /* on tail.waiting: has entries */
};

struct tail {
	pthread_mutex_t mutex;
	pthread_cond_t less; /* signalled when bytes went down; the writer waits here when the tail
				is full */
	struct list_node blocks;
	struct list_node ready;
	struct list_node waiting;
	uint64_t bytes, bytes_max; /* of pinned blocks and their entries */
	uint64_t block_count;
	uint64_t ready_bytes; /* pending bytes of partitions on `ready` */
	uint64_t ready_partitions;
	uint64_t journal_bytes; /* written since the start, for the journal's span */
};

/* A partition with at least so much pending is settled without waiting for a sweep. */
#define TAIL_READY_BYTES (32u << 10)

/* A condition whose timed waits run by the monotonic clock. ANNALS_E_NO_MEMORY. */
int tail_cond_init(pthread_cond_t *cond);
int tail_init(struct tail *tail, uint64_t bytes_max) ANNALS_MUST_CHECK;
void tail_release(struct tail *tail);
void partition_tail_init(struct partition_tail *tail);
void partition_tail_release(struct partition_tail *tail);

/* Copies the bytes into a new block with one reference, the tail's. NULL without memory. */
struct tail_block *tail_block_new(uint64_t number, struct bytes bytes);
void tail_block_unref(struct tail_block *block);

/* All below: the caller holds the mutex. */

/* Makes room for one more entry, so that tail_add_entry() cannot fail. ANNALS_E_NO_MEMORY. */
int tail_reserve_entry(struct partition_tail *partition) ANNALS_MUST_CHECK;
void tail_add_entry(
	struct tail *tail, struct partition_tail *partition, const struct tail_entry *entry);
/* Links a block that has something pending; frees it otherwise. Takes the reference. */
void tail_add_block(struct tail *tail, struct tail_block *block);
/* Forgets the first `count` entries: they are in LMDB, or their topic is gone. */
void tail_drop_entries(struct tail *tail, struct partition_tail *partition, uint32_t count);
/* One thing of the block is settled. */
void tail_unpin(struct tail *tail, struct tail_block *block);
/* The number of the oldest pinned block; 0 if none is. */
uint64_t tail_oldest_block(const struct tail *tail);
/* Journal bytes from the oldest pinned block on. */
uint64_t tail_journal_span(const struct tail *tail);
/* Index (from the head) of the entry that holds the offset, or of the first one after it; count if
 * there is none. */
uint32_t tail_find(const struct partition_tail *partition, uint64_t offset);
static inline struct tail_entry *tail_entry_at(
	const struct partition_tail *partition, uint32_t index)
{
	return &partition->entries[(partition->head + index) & (partition->capacity - 1)];
}

#endif
