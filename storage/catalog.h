/*
 * The topics of a shard and the state of their partitions, by name and by id.
 *
 * Only the writer's thread (recovery before it starts) changes the catalog, under its write lock;
 * it may read without one. Everybody else looks up under the read lock and leaves with a reference:
 * a topic's state lives until the last reference is gone, also after the topic was deleted.
 */
#ifndef ANNALS_STORAGE_CATALOG_H
#define ANNALS_STORAGE_CATALOG_H

#include "tail.h"

#include <annals/storage.h>

/* One partition's log as memory knows it. */
struct partition {
	struct topic_state *topic;
	uint32_t index;
	uint64_t next_offset; /* writer: the next to assign; equals end_offset between blocks */
	/* Published: everything in [first_offset, end_offset) is durable and readable. */
	_Atomic uint64_t first_offset;
	_Atomic uint64_t end_offset;
	_Atomic uint64_t stored_bytes;
	_Atomic uint64_t last_recorded_us;
	_Atomic uint64_t last_position;
	struct partition_tail tail; /* under the tail's mutex */
	uint64_t trimmed_below; /* positions of trimmed events lie below it; under the tail's mutex
				 */
	/* settler */
	bool row_is_dirty;      /* first_offset was moved; under the tail's mutex */
	uint64_t trimmed_block; /* by which block, the last time; under the tail's mutex */
	bool trim_is_queued; /* on the settler's list of partitions with chunks to delete; under the
				tail's mutex */
	struct list_node trim_node;
	/* recovery */
	uint64_t gap_at; /* the offset that did not continue the log; UINT64_MAX if none */
	/* under the watch registry's mutex */
	struct list_node watches;
};

struct topic_state {
	atomic_uint references;
	uint32_t id;
	struct topic *topic; /* the current snapshot; swapped under the catalog's write lock */
	struct partition **partitions;
	uint32_t partition_count;
	atomic_bool deleted;
	_Atomic uint64_t last_position; /* of the newest event in any partition */
	/* Events with a position below it may have been removed by retention. */
	_Atomic uint64_t trimmed_below;
	struct topic_index *index; /* under the tail's mutex; NULL while nothing is indexed */
	struct list_node watches;  /* on all partitions; under the watch registry's mutex */
};

struct catalog {
	pthread_rwlock_t lock;
	struct topic_state **by_name,
		**by_id; /* open addressing, power of two, at most half full */
	size_t slots;
	size_t count;
	uint64_t partition_count;
	uint32_t next_topic_id;
	_Atomic uint64_t removed; /* topics, since it was opened */
};

int catalog_init(struct catalog *catalog) ANNALS_MUST_CHECK;
void catalog_release(struct catalog *catalog);

/* References; NULL if there is none. Any thread. */
struct topic_state *catalog_find_name(struct catalog *catalog, struct bytes name);
struct topic_state *catalog_find_id(struct catalog *catalog, uint32_t id);
/* The topic's current settings, a reference. Any thread. */
struct topic *catalog_topic(struct catalog *catalog, struct topic_state *state);
/* A reference and the partition, or NULL. A pointer to a partition is good as long as the
 * reference. Any thread. */
struct topic_state *catalog_find_partition(struct catalog *catalog, uint32_t id, uint32_t index,
	struct partition **ret, int *ret_status);
struct topic_state *topic_state_ref(struct topic_state *state);
void topic_state_unref(struct topic_state *state);

/* For the writer's thread only: no lock, no reference. */
struct topic_state *catalog_peek_id(struct catalog *catalog, uint32_t id);
struct topic_state *catalog_peek_name(struct catalog *catalog, struct bytes name);
/* Takes the reference to `topic` on success. ANNALS_E_NO_MEMORY. */
int catalog_add(struct catalog *catalog, struct topic *topic) ANNALS_MUST_CHECK;
/* New settings; may add partitions. Takes the reference on success. ANNALS_E_NO_MEMORY. */
int catalog_replace(
	struct catalog *catalog, struct topic_state *state, struct topic *topic) ANNALS_MUST_CHECK;
void catalog_remove(struct catalog *catalog, struct topic_state *state);

#endif
