/*
 * Looks at every byte of the old store that may hold something: the tables through LMDB while its
 * tree is sound, else every page of data.mdb that has the shape of a leaf page; then every frame of
 * every journal segment, whether or not the chain reaches it.
 */
#include "salvage.h"

#include "chunk.h"
#include "journal/journal_segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_HEADER 16u
#define NODE_HEADER 8u
#define LEAF_FLAGS 2u
#define NODE_BIG 1u
/* What the journal says counts more than what tables say. */
#define JOURNAL_ORDER (UINT64_C(1) << 63)

/* 1 with the file's bytes, 0 if it is empty or absent. */
static int map_file(struct salvage *salvage, const char *path, struct bytes *ret, struct error *err)
{
	struct stat st;
	void *at;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		return errno == ENOENT
			       ? 0
			       : error_errno(err, ANNALS_E_IO, errno, "cannot open '%s'", path);
	}
	if (salvage->map_count == salvage->map_capacity) {
		size_t capacity = salvage->map_capacity == 0 ? 64 : salvage->map_capacity * 2;
		struct salvage_map *maps = realloc(salvage->maps, capacity * sizeof(*maps));
		if (maps == NULL) {
			(void)close(fd);
			return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the files");
		}
		salvage->maps = maps;
		salvage->map_capacity = capacity;
	}
	if (fstat(fd, &st) != 0 || st.st_size == 0) {
		(void)close(fd);
		return 0;
	}
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	(void)close(fd);
	if (at == MAP_FAILED) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot map '%s'", path);
	}
	salvage->maps[salvage->map_count++] = (struct salvage_map){at, (size_t)st.st_size};
	*ret = bytes_of(at, (size_t)st.st_size);
	return 1;
}

/* ---- Rows of LMDB ---- */

static int take_topic(struct salvage *salvage, struct bytes value, uint32_t id)
{
	struct topic *topic;
	int status = topic_decode(value, &topic, NULL);

	if (status == ANNALS_E_NO_MEMORY) {
		return status;
	}
	if (status != 0) {
		return 0;
	}
	if (id != 0 && topic->id != id) {
		topic_unref(topic);
		return 0;
	}
	return salvage_add_topic(salvage, topic);
}

static int take_partition(struct salvage *salvage, struct bytes key, struct bytes value)
{
	struct salvage_limit limit = {0};
	struct partition_row row;

	if (!partition_key_parse(key, &limit.topic_id, &limit.partition) ||
		partition_row_parse(value, &row) != 0) {
		return 0;
	}
	limit.first_offset = row.first_offset;
	limit.end_offset = row.settled_end;
	return salvage_add_limit(salvage, &limit);
}

static int take_chunk(struct salvage *salvage, struct bytes key, struct bytes value)
{
	struct salvage_part part = {0};
	struct chunk_header header;
	size_t skip = 0;

	if (!log_key_parse(key, &part.topic_id, &part.partition, &part.base_offset, &part.part)) {
		return 0;
	}
	if (part.part == 0) {
		skip = ANNALS_MIN(value.size, (size_t)CHUNK_HEADER_BYTES);
		if (chunk_header_parse(value, &header) != 0 || header.parts <= 1) {
			return salvage_add_batches(
				salvage, bytes_of(value.data + skip, value.size - skip));
		}
	}
	part.at = value.data + skip;
	part.size = (uint32_t)(value.size - skip);
	return salvage_add_part(salvage, &part);
}

static int take_offset(
	struct salvage *salvage, struct bytes key, struct bytes value, uint64_t order)
{
	struct bytes group;
	struct offset_entry entry;
	uint32_t topic_id, partition;

	if (!offset_key_parse(key, &group, &topic_id, &partition) ||
		offset_decode(value, &entry, NULL) != 0 || entry.topic_id != topic_id ||
		entry.partition != partition) {
		return 0;
	}
	/* Of several copies from pages the highest offset: groups go forward. */
	return salvage_add_row(salvage, BLOCK_OFFSET_COMMIT, key, value,
		order != 0 ? order : ANNALS_MIN(entry.offset, JOURNAL_ORDER - 1));
}

static int take_row(struct salvage *salvage, struct bytes key, struct bytes value, uint64_t order)
{
	uint8_t *change;
	size_t size = value.data == NULL ? 0 : row_change_size(key, value);
	int status;

	if (value.data == NULL) {
		return salvage_add_row(salvage, BLOCK_ROWS, key, value, order);
	}
	change = malloc(size);
	if (change == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	(void)row_change_write(change, key, value);
	status = salvage_add_row(salvage, BLOCK_ROWS, key, bytes_of(change, size), order);
	free(change);
	return status;
}

static int take_table_row(
	struct salvage *salvage, enum table table, struct bytes key, struct bytes value)
{
	struct meta_row meta;

	switch (table) {
	case TABLE_META:
		if (meta_row_parse(value, &meta) == 0) {
			salvage->settled_block = meta.settled_block;
		}
		return 0;
	case TABLE_TOPICS:
		return key.size == TOPIC_KEY_BYTES
			       ? take_topic(salvage, value, load_u32_be(key.data))
			       : 0;
	case TABLE_PARTITIONS:
		return take_partition(salvage, key, value);
	case TABLE_LOG:
		return take_chunk(salvage, key, value);
	case TABLE_OFFSETS:
		return take_offset(salvage, key, value, 1);
	case TABLE_ROWS:
		return take_row(salvage, key, value, 1);
	default:
		return 0; /* indexes are made again */
	}
}

static int take_tables(struct salvage *salvage, struct error *err)
{
	int status = 0, code = mdb_txn_begin(salvage->env.mdb, NULL, MDB_RDONLY, &salvage->txn);

	if (code != 0) {
		salvage->txn = NULL;
		return env_error(code, err, "cannot begin a transaction");
	}
	for (int table = 0; table < TABLE_COUNT && status == 0; table++) {
		MDB_cursor *cursor;
		MDB_val key, value;
		code = mdb_cursor_open(salvage->txn, salvage->env.tables[table], &cursor);
		if (code != 0) {
			return env_error(code, err, "cannot read a table");
		}
		while (status == 0 && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
			status = take_table_row(salvage, (enum table)table,
				bytes_of(key.mv_data, key.mv_size),
				bytes_of(value.mv_data, value.mv_size));
		}
		mdb_cursor_close(cursor);
	}
	return status == 0 ? 0 : error_fail(err, status, "no memory for the tables");
}

/* ---- Pages, without their tree ---- */

/* A node whose table nobody knows: its key and value tell. Rows of the table `rows` do not. */
static int take_node(struct salvage *salvage, struct bytes key, struct bytes value)
{
	if (key.size == LOG_KEY_BYTES && value.size >= CHUNK_HEADER_BYTES) {
		return take_chunk(salvage, key, value);
	}
	if (key.size == PARTITION_KEY_BYTES && value.size == PARTITION_ROW_BYTES) {
		return take_partition(salvage, key, value);
	}
	if (key.size == TOPIC_KEY_BYTES && load_u32_be(key.data) != 0) {
		return take_topic(salvage, value, load_u32_be(key.data));
	}
	return key.size > PARTITION_KEY_BYTES ? take_offset(salvage, key, value, 0) : 0;
}

static int take_leaf(struct salvage *salvage, struct bytes file, const uint8_t *page)
{
	uint32_t lower = load_u16(page + 12);
	int status = 0;

	if (load_u16(page + 10) != LEAF_FLAGS || lower < PAGE_HEADER || lower > ENV_PAGE_BYTES) {
		return 0;
	}
	for (uint32_t at = PAGE_HEADER; at + 2 <= lower && status == 0; at += 2) {
		uint32_t node_at = load_u16(page + at);
		const uint8_t *node = page + node_at;
		struct bytes key, value;
		if (node_at + NODE_HEADER > ENV_PAGE_BYTES ||
			node_at + NODE_HEADER + load_u16(node + 6) > ENV_PAGE_BYTES) {
			continue;
		}
		key = bytes_of(node + NODE_HEADER, load_u16(node + 6));
		value.size = load_u16(node) | (size_t)load_u16(node + 2) << 16;
		value.data = key.data + key.size;
		if (load_u16(node + 4) == NODE_BIG) {
			uint64_t begin;
			if (value.data + 8 > page + ENV_PAGE_BYTES) {
				continue;
			}
			begin = load_u64(value.data);
			if (begin >= file.size / ENV_PAGE_BYTES) {
				continue;
			}
			begin = begin * ENV_PAGE_BYTES + PAGE_HEADER;
			value = bytes_of(file.data + begin,
				ANNALS_MIN(value.size, file.size - (size_t)begin));
		} else if (load_u16(node + 4) != 0 ||
			   value.size > (size_t)(page + ENV_PAGE_BYTES - value.data)) {
			continue;
		}
		status = take_node(salvage, key, value);
	}
	return status;
}

static int take_pages(struct salvage *salvage, const char *path, struct error *err)
{
	struct bytes file;
	int status = map_file(salvage, path, &file, err);

	salvage->report->database_is_damaged = true;
	if (status <= 0) {
		return status;
	}
	status = 0;
	for (size_t at = 0; at + ENV_PAGE_BYTES <= file.size && status == 0; at += ENV_PAGE_BYTES) {
		status = take_leaf(salvage, file, file.data + at);
		/* A chunk whose leaf page is gone. */
		if (status == 0 && load_u32(file.data + at + PAGE_HEADER) == CHUNK_MAGIC) {
			size_t begin = at + PAGE_HEADER + CHUNK_HEADER_BYTES;
			status = salvage_add_batches(
				salvage, bytes_of(file.data + begin,
						 ANNALS_MIN(file.size - begin,
							 (size_t)CHUNK_BATCH_BYTES_MAX)));
		}
	}
	return status == 0 ? 0 : error_fail(err, status, "no memory for what was found");
}

/* ---- The journal ---- */

struct found_block {
	uint64_t number;
	struct bytes block;
};
struct journal_scan {
	struct salvage *salvage;
	struct found_block *blocks;
	size_t count, capacity;
	bool rows_count; /* this block is newer than the tables */
};

static int on_append(void *arg, const struct batch *batch, size_t at, struct error *err)
{
	struct journal_scan *scan = arg;
	(void)at;
	(void)err;
	return salvage_add_batches(scan->salvage, batch->stored);
}

static int on_topic(
	void *arg, bool created, struct topic *topic, struct bytes encoded, struct error *err)
{
	struct journal_scan *scan = arg;
	(void)created;
	(void)encoded;
	(void)err;
	if (!scan->rows_count) {
		topic_unref(topic);
		return 0;
	}
	return salvage_add_topic(scan->salvage, topic);
}

static int on_topic_delete(void *arg, uint32_t topic_id, struct error *err)
{
	struct journal_scan *scan = arg;
	(void)err;
	if (scan->rows_count) {
		salvage_remove_topic(scan->salvage, topic_id);
	}
	return 0;
}

static int on_offset(void *arg, const struct offset_row *row, struct error *err)
{
	struct journal_scan *scan = arg;
	uint8_t key[OFFSET_KEY_BYTES_MAX];
	(void)err;
	return !scan->rows_count ? 0
				 : salvage_add_row(scan->salvage, BLOCK_OFFSET_COMMIT,
					   bytes_of(key, offset_key(key, row->group, row->topic_id,
								 row->partition)),
					   row->encoded, JOURNAL_ORDER + scan->salvage->order++);
}

static int on_offset_delete(
	void *arg, struct bytes group, uint32_t topic_id, uint32_t partition, struct error *err)
{
	struct journal_scan *scan = arg;
	uint8_t key[OFFSET_KEY_BYTES_MAX];
	(void)err;
	return !scan->rows_count
		       ? 0
		       : salvage_add_row(scan->salvage, BLOCK_OFFSET_COMMIT,
				 bytes_of(key, offset_key(key, group, topic_id, partition)),
				 bytes_of(NULL, 0), JOURNAL_ORDER + scan->salvage->order++);
}

static int on_trim(void *arg, uint32_t topic_id, uint32_t partition, uint64_t first_offset,
	uint64_t position, struct error *err)
{
	struct journal_scan *scan = arg;
	struct salvage_limit limit = {topic_id, partition, first_offset, first_offset};
	(void)position;
	(void)err;
	return salvage_add_limit(scan->salvage, &limit);
}

static int on_row(void *arg, struct bytes key, struct bytes value, struct error *err)
{
	struct journal_scan *scan = arg;
	(void)err;
	return !scan->rows_count ? 0
				 : take_row(scan->salvage, key, value,
					   JOURNAL_ORDER + scan->salvage->order++);
}

static int note_block(struct journal_scan *scan, uint64_t number, struct bytes block)
{
	if (scan->count == scan->capacity) {
		size_t capacity = scan->capacity == 0 ? 256 : scan->capacity * 2;
		struct found_block *blocks = reallocarray(scan->blocks, capacity, sizeof(*blocks));
		if (blocks == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		scan->blocks = blocks;
		scan->capacity = capacity;
	}
	scan->blocks[scan->count++] = (struct found_block){number, block};
	return 0;
}

/* Every frame of the segment, or what is left of it. */
static int take_segment(struct journal_scan *scan, struct bytes file, const uint8_t uuid[16])
{
	struct journal_segment_header header;
	bool has_header = file.size >= JOURNAL_PAGE_BYTES &&
			  journal_segment_header_read(file.data, &header) == JOURNAL_CHECK_OK;
	size_t at = JOURNAL_PAGE_BYTES;
	int status = 0;

	if (has_header && memcmp(header.uuid, uuid, 16) != 0) {
		return 0;
	}
	while (status == 0 && at + JOURNAL_HEADER_BYTES < file.size) {
		struct journal_frame frame;
		struct bytes block;
		size_t begin = at + JOURNAL_HEADER_BYTES;
		if (journal_frame_read(file.data + at, &frame) != JOURNAL_CHECK_OK ||
			frame.uuid_part != load_u32(uuid) ||
			(has_header &&
				(frame.salt != header.salt || frame.sequence != header.sequence))) {
			at += JOURNAL_PAGE_BYTES;
			continue;
		}
		block = bytes_of(
			file.data + begin, ANNALS_MIN((size_t)frame.length, file.size - begin));
		if (block.size == frame.length &&
			journal_frame_check(file.data + at, block) == JOURNAL_CHECK_OK) {
			status = note_block(scan, frame.number, block);
			at += (size_t)journal_frame_size(frame.length);
		} else {
			/* Its header is in order: what is whole in it counts. */
			scan->salvage->report->damaged_frames++;
			status = salvage_add_batches(scan->salvage, block);
			at += JOURNAL_PAGE_BYTES;
		}
	}
	return status;
}

static int compare_blocks(const void *a, const void *b)
{
	const struct found_block *one = a, *other = b;
	return (one->number > other->number) - (one->number < other->number);
}

static int take_blocks(struct journal_scan *scan)
{
	struct apply_sink sink = {
		.arg = scan,
		.append = on_append,
		.topic = on_topic,
		.topic_delete = on_topic_delete,
		.offset = on_offset,
		.offset_delete = on_offset_delete,
		.trim = on_trim,
		.row = on_row,
	};
	int status = 0;

	if (scan->count > 1) {
		qsort(scan->blocks, scan->count, sizeof(*scan->blocks), compare_blocks);
	}
	for (size_t i = 0; i < scan->count && status != ANNALS_E_NO_MEMORY; i++) {
		scan->rows_count = scan->blocks[i].number > scan->salvage->settled_block;
		status = apply_block(scan->blocks[i].block, &sink, NULL);
		scan->salvage->report->journal_blocks++;
	}
	return status == ANNALS_E_NO_MEMORY ? status : 0;
}

static int take_journal(
	struct salvage *salvage, const char *dir_path, const uint8_t uuid[16], struct error *err)
{
	struct journal_scan scan = {.salvage = salvage};
	struct dirent *entry;
	DIR *dir = opendir(dir_path);
	int status = 0;

	while (dir != NULL && status == 0 && (entry = readdir(dir)) != NULL) {
		char path[4400];
		uint64_t sequence;
		struct bytes file;
		if (segment_name_parse(entry->d_name, &sequence) != SEGMENT_NAME_SEGMENT) {
			continue;
		}
		(void)snprintf(path, sizeof(path), "%s/%s", dir_path, entry->d_name);
		status = map_file(salvage, path, &file, err);
		status = status == 1 ? take_segment(&scan, file, uuid) : status;
	}
	if (dir != NULL) {
		(void)closedir(dir);
	}
	status = status != 0 ? status : take_blocks(&scan);
	free(scan.blocks);
	return status == ANNALS_E_NO_MEMORY ? error_fail(err, status, "no memory for the journal")
					    : status;
}

int salvage_scan(
	struct salvage *salvage, const char *shard_dir, const uint8_t uuid[16], struct error *err)
{
	char dir[4096], path[4120];
	int status;

	(void)snprintf(dir, sizeof(dir), "%s/lmdb", shard_dir);
	status = env_open(&salvage->env, dir, salvage->options->map_bytes, true, NULL);
	if (status == 0) {
		status = take_tables(salvage, err);
	} else {
		(void)snprintf(path, sizeof(path), "%s/data.mdb", dir);
		status = take_pages(salvage, path, err);
	}
	if (status != 0) {
		return status;
	}
	(void)snprintf(dir, sizeof(dir), "%s/journal", shard_dir);
	return take_journal(salvage, dir, uuid, err);
}
