/*
 * What each table of the environment holds, byte for byte. Keys are big-endian, so that they sort
 * as numbers; values are little-endian.
 *
 * meta: "store" -> struct meta_row, 64 bytes. It holds the watermarks settled_block and
 *   indexed_block.
 * topics: topic id u32 -> annals.v1.TopicRecord. Up to meta.settled_block.
 * partitions: topic id u32, partition u32 -> struct partition_row, 88 bytes. Each has its own
 *   watermark, settled_end.
 * log: topic id u32, partition u32, base offset u64, part u16 -> chunk (chunk.h). Up to the
 *   partition's settled_end.
 * offsets: group name, NUL, topic id u32, partition u32 -> annals.v1.OffsetRecord. Up to
 *   meta.settled_block.
 * deleting: topic id u32 -> empty. Up to meta.settled_block.
 * rows: a byte that names the owner, then what the owner likes -> the owner's bytes (see
 *   store_row_get() in <annals/storage.h>). Up to meta.settled_block.
 * index: topic id u32, section u8, ... -> runs of the topic's indexes (index/run.h). Up to
 *   meta.indexed_block.
 *
 * Steps for a change: a new table or longer row needs STORE_FORMAT raised (store_files.h), code
 * that reads both, a directory of the old format under tests/compat.
 */
#ifndef ANNALS_STORAGE_TABLES_H
#define ANNALS_STORAGE_TABLES_H

#include "lmdb/env.h"

#include <annals/bytes.h>

#define META_ROW_BYTES 64u
#define PARTITION_ROW_BYTES 88u
#define LOG_KEY_BYTES 18u
#define PARTITION_KEY_BYTES 8u
#define TOPIC_KEY_BYTES 4u
#define OFFSET_KEY_BYTES_MAX (249u + 1 + 8)

/* The state of the row tables: everything up to settled_block is in them. */
struct meta_row {
	uint64_t settled_block;
	uint64_t indexed_block; /* index runs hold the entries of all blocks up to it */
	uint64_t next_position; /* of the first event after settled_block */
	uint64_t last_recorded_us;
	uint32_t next_topic_id;
};

struct partition_row {
	uint64_t first_offset;  /* the first kept */
	uint64_t settled_end;   /* offsets below are in `log` (or trimmed) */
	uint64_t settled_block; /* the block that held the last settled batch */
	uint64_t log_bytes;     /* stored bytes of batches in `log` */
	uint64_t log_events;    /* offsets covered by chunks in `log` */
	uint64_t last_position; /* of the last settled event */
	uint64_t last_recorded_us;
	uint64_t
		last_chunk_base; /* key of the newest chunk; meaningful when last_chunk_bytes > 0 */
	uint32_t last_chunk_bytes; /* its batches' bytes; 0 if there is none or it must not grow */
	uint32_t last_chunk_count;
	uint64_t trimmed_below; /* events below first_offset have positions below it */
};

void log_key(uint8_t out[LOG_KEY_BYTES], uint32_t topic_id, uint32_t partition,
	uint64_t base_offset, uint16_t part);
/* False if the bytes are no log key. */
bool log_key_parse(struct bytes key, uint32_t *topic_id, uint32_t *partition, uint64_t *base_offset,
	uint16_t *part);
void partition_key(uint8_t out[PARTITION_KEY_BYTES], uint32_t topic_id, uint32_t partition);
bool partition_key_parse(struct bytes key, uint32_t *topic_id, uint32_t *partition);
void topic_key(uint8_t out[TOPIC_KEY_BYTES], uint32_t topic_id);
/* Returns the key's size. group has at most 249 bytes. */
size_t offset_key(uint8_t out[OFFSET_KEY_BYTES_MAX], struct bytes group, uint32_t topic_id,
	uint32_t partition);
bool offset_key_parse(
	struct bytes key, struct bytes *group, uint32_t *topic_id, uint32_t *partition);

/* Rows carry a CRC32C in their first four bytes. Parsers return 0 or ANNALS_E_CORRUPT_DATA. */
void meta_row_write(uint8_t out[META_ROW_BYTES], const struct meta_row *row);
int meta_row_parse(struct bytes value, struct meta_row *ret) ANNALS_MUST_CHECK;
void partition_row_write(uint8_t out[PARTITION_ROW_BYTES], const struct partition_row *row);
int partition_row_parse(struct bytes value, struct partition_row *ret) ANNALS_MUST_CHECK;

/* 1 found, 0 absent, negative. `txn` is any transaction; *ret_value borrows until it ends or
 * writes. */
int table_get(struct env *env, MDB_txn *txn, enum table table, struct bytes key,
	struct bytes *ret_value, struct error *err) ANNALS_MUST_CHECK;
int table_put(struct env *env, MDB_txn *txn, enum table table, struct bytes key, struct bytes value,
	struct error *err) ANNALS_MUST_CHECK;
/* Room for a value of so many bytes, to be filled before anything else is done with the
 * transaction. */
int table_put_reserve(struct env *env, MDB_txn *txn, enum table table, struct bytes key,
	size_t value_bytes, uint8_t **ret_room, struct error *err) ANNALS_MUST_CHECK;
/* Deleting what is absent is fine. */
int table_delete(struct env *env, MDB_txn *txn, enum table table, struct bytes key,
	struct error *err) ANNALS_MUST_CHECK;

/* The meta row; a store that never settled has an empty one. 0 or negative. */
int table_get_meta(
	struct env *env, MDB_txn *txn, struct meta_row *ret, struct error *err) ANNALS_MUST_CHECK;
int table_put_meta(struct env *env, MDB_txn *txn, const struct meta_row *row,
	struct error *err) ANNALS_MUST_CHECK;
/* A partition's row; zeros if there is none. */
int table_get_partition(struct env *env, MDB_txn *txn, uint32_t topic_id, uint32_t partition,
	struct partition_row *ret, struct error *err) ANNALS_MUST_CHECK;
int table_put_partition(struct env *env, MDB_txn *txn, uint32_t topic_id, uint32_t partition,
	const struct partition_row *row, struct error *err) ANNALS_MUST_CHECK;

#endif
