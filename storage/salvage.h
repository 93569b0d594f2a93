/*
 * Insides of store_salvage(): what was found in the old store (salvage_scan.c gathers it,
 * salvage_find.c keeps it in order), and writing it (salvage.c). One thread. Bytes are borrowed
 * from maps of the old files, which stay until the end.
 */
#ifndef ANNALS_STORAGE_SALVAGE_H
#define ANNALS_STORAGE_SALVAGE_H

#include "apply.h"
#include "journal/journal.h"
#include "lmdb/env.h"
#include "lmdb/tables.h"

struct salvage_topic {
	struct topic *topic;
	size_t first_partition; /* in salvage.partitions */
};

struct salvage_partition {
	const struct salvage_topic *topic;
	uint32_t index;
	uint64_t first_offset, end_offset; /* as rows, trims and batches say */
	uint64_t first_piece, piece_count; /* in salvage.pieces */
	uint64_t written, next_piece;      /* while writing */
};

/* A batch that passed its checks. */
struct salvage_piece {
	uint32_t topic_id, partition, count, size;
	uint64_t base_offset, position;
	const uint8_t *at; /* NULL: the batch lies in the parts of a chunk */
};

/* A part of a chunk with several. */
struct salvage_part {
	uint32_t topic_id, partition, size;
	uint16_t part;
	uint64_t base_offset;
	const uint8_t *at;
};

struct salvage_row {
	enum block_command command; /* BLOCK_OFFSET_COMMIT or BLOCK_ROWS */
	uint8_t *key, *data;        /* data NULL: deleted */
	size_t key_size, size;
	uint64_t order; /* of two with the same key the higher one counts */
};

/* A partition's row, or what a trim says, before the topics are known. */
struct salvage_limit {
	uint32_t topic_id, partition;
	uint64_t first_offset, end_offset;
};

struct salvage_map {
	void *at;
	size_t size;
};

struct salvage {
	const struct salvage_options *options;
	struct salvage_report *report;
	struct salvage_map *maps;
	size_t map_count, map_capacity;
	struct env env; /* open while its tree is sound */
	MDB_txn *txn;
	uint64_t settled_block;
	uint64_t order;
	struct salvage_topic *topics; /* by id */
	size_t topic_count, topic_capacity;
	struct salvage_partition *partitions; /* by topic, index */
	size_t partition_count;
	struct salvage_piece *pieces; /* by topic, partition, offset */
	size_t piece_count, piece_capacity;
	uint64_t *by_position;
	struct salvage_part *parts;
	size_t part_count, part_capacity;
	struct salvage_row *rows;
	size_t row_count, row_capacity;
	struct salvage_limit *limits;
	size_t limit_count, limit_capacity;
	struct buf scratch;
};

/* salvage_scan.c: everything from LMDB and the journal below `shard_dir`. */
int salvage_scan(struct salvage *salvage, const char *shard_dir, const uint8_t uuid[16],
	struct error *err) ANNALS_MUST_CHECK;

/* salvage_find.c. Adding copies what is not in a map; ANNALS_E_NO_MEMORY. */
int salvage_add_topic(struct salvage *salvage, struct topic *topic) ANNALS_MUST_CHECK;
void salvage_remove_topic(struct salvage *salvage, uint32_t topic_id);
/* Takes every batch in the bytes that is whole; of which topic and partition it says itself. */
int salvage_add_batches(struct salvage *salvage, struct bytes bytes) ANNALS_MUST_CHECK;
int salvage_add_part(struct salvage *salvage, const struct salvage_part *part) ANNALS_MUST_CHECK;
int salvage_add_row(struct salvage *salvage, enum block_command command, struct bytes key,
	struct bytes data, uint64_t order) ANNALS_MUST_CHECK;
int salvage_add_limit(struct salvage *salvage, const struct salvage_limit *limit) ANNALS_MUST_CHECK;
/* Sorts, drops what is twice or has no topic, finds the partitions' ends. */
int salvage_settle(struct salvage *salvage, struct error *err) ANNALS_MUST_CHECK;
/* NULL if there is no such partition. After salvage_settle(). */
struct salvage_partition *salvage_find_partition(
	struct salvage *salvage, uint32_t topic_id, uint32_t partition);
/* The stored batch; borrows until the next call. */
int salvage_piece_bytes(struct salvage *salvage, const struct salvage_piece *piece,
	struct bytes *ret_stored, struct error *err) ANNALS_MUST_CHECK;
void salvage_lost(struct salvage *salvage, const struct salvage_partition *partition, uint64_t from,
	uint64_t until);
void salvage_release(struct salvage *salvage);

/* salvage.c: writes all of it to a new store in `dir`. */
int salvage_write(struct salvage *salvage, const char *dir, struct error *err) ANNALS_MUST_CHECK;

#endif
