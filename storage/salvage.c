/*
 * store_salvage(): what is intact in a damaged store, written to a new one.
 *
 * Found (salvage_scan.c): every batch whose checksums and place are right, the topics, the rows of
 * partitions, the offsets of groups. Written here: the same batches in the order of their positions
 * into the new store's journal, in rounds that are settled in between. A lost range of offsets
 * becomes one or more batches of kind hole; holes take positions that nothing else has, which are
 * there because the lost events had them.
 */
#include "salvage.h"

#include "lmdb/tables.h"
#include "store_files.h"

#include <annals/clock.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_TARGET_BYTES (1u << 20)
#define ROUND_BYTES (24u << 20)

/* A range of offsets that is missing, until it is written as holes. */
struct gap {
	struct salvage_partition *partition;
	uint64_t offset, left, deadline; /* position of the batch that comes after it */
};

struct writing {
	struct salvage *salvage;
	struct store_options options;
	char journal_dir[4096];
	uint8_t uuid[16];
	struct journal *journal;
	struct buf block;
	uint32_t commands;
	uint64_t last_block, round_bytes, next_position, first_position, time_us, written_bytes,
		total_bytes;
	uint64_t next_progress_ns;
	struct gap *gaps;
	size_t gap_count;
};

static int open_journal(struct writing *w, struct error *err)
{
	struct journal_options options = {
		.dir = w->journal_dir, .segment_bytes = w->options.journal_segment_bytes};
	enum journal_result result;

	memcpy(options.store_uuid, w->uuid, sizeof(w->uuid));
	result = journal_open("file", &options, &w->journal, err);
	w->last_block = result == JOURNAL_OK ? w->journal->last_block : 0;
	return result == JOURNAL_OK     ? 0
	       : result == JOURNAL_FULL ? ANNALS_E_STORAGE_FULL
					: ANNALS_E_IO;
}

/* Opening the store replays the journal into memory; closing it after a while leaves little of it.
 */
static int settle(struct writing *w, struct error *err)
{
	struct store *store;
	struct store_stats stats;
	int status;

	journal_close(w->journal);
	w->journal = NULL;
	status = store_open(&w->options, &store, err);
	if (status != 0) {
		error_wrap(err, "the new store");
		return status;
	}
	do {
		(void)usleep(1000);
		store_stats(store, &stats);
	} while (stats.state == STORE_OPEN && stats.tail_bytes > (8u << 20));
	store_close(store);
	if (stats.state != STORE_OPEN) {
		return error_fail(err, ANNALS_E_STORAGE_FULL, "the new store stopped: %s",
			stats.state_reason);
	}
	w->round_bytes = 0;
	return open_journal(w, err);
}

static int end_block(struct writing *w, struct error *err)
{
	enum journal_result result;
	uint64_t number = 0;

	if (w->commands == 0) {
		return 0;
	}
	block_finish(&w->block, w->commands, w->time_us, w->first_position);
	result = journal_write_block(w->journal, w->last_block, buf_bytes(&w->block), &number, err);
	result = result == JOURNAL_OK ? journal_sync(w->journal, err) : result;
	if (result != JOURNAL_OK) {
		return result == JOURNAL_FULL ? ANNALS_E_STORAGE_FULL : ANNALS_E_IO;
	}
	w->last_block = number;
	w->round_bytes += w->block.size;
	w->commands = 0;
	buf_reset(&w->block);
	return w->round_bytes >= ROUND_BYTES ? settle(w, err) : 0;
}

static int add_command(struct writing *w, enum block_command type, size_t bytes, uint8_t **ret_room,
	struct error *err)
{
	int status = 0;

	if (w->commands > 0 && w->block.size + bytes > BLOCK_TARGET_BYTES) {
		status = end_block(w, err);
	}
	if (status == 0 && w->commands == 0) {
		w->first_position = w->next_position;
		buf_reset(&w->block);
		status = block_begin(&w->block);
	}
	status = status != 0 ? status : block_add(&w->block, type, bytes, ret_room);
	w->commands += status == 0 ? 1 : 0;
	return status == ANNALS_E_NO_MEMORY
		       ? error_fail(err, status, "no memory for a block of the new store")
		       : status;
}

static int add_bytes(
	struct writing *w, enum block_command type, struct bytes data, struct error *err)
{
	uint8_t *room;
	int status = add_command(w, type, data.size, &room, err);

	if (status == 0) {
		memcpy(room, data.data, data.size);
	}
	return status;
}

/* ---- Holes ---- */

static int write_hole(struct writing *w, struct gap *gap, uint64_t count, struct error *err)
{
	struct stamp stamp = {.codec = BATCH_PLAIN,
		.body_format = BATCH_FORMAT_EVENTS,
		.kind = BATCH_HOLE,
		.count = (uint32_t)count,
		.topic_id = gap->partition->topic->topic->id,
		.partition = gap->partition->index,
		.base_offset = gap->offset,
		.base_position = w->next_position,
		.recorded_us = w->time_us};
	uint8_t *room;
	int status = add_command(w, BLOCK_APPEND, batch_stored_size(0, 0), &room, err);

	if (status == 0) {
		batch_write(room, &stamp, bytes_of(NULL, 0), bytes_of(NULL, 0));
		w->next_position += count;
		gap->offset += count;
		gap->left -= count;
	}
	return status;
}

/* Hands the positions below `until` to the gaps, the most urgent first: a way to place them all is
 * known to exist where the positions of the lost events are free. */
static int fill_gaps(struct writing *w, uint64_t until, struct error *err)
{
	int status = 0;

	while (status == 0 && w->gap_count > 0 && w->next_position < until) {
		struct gap *urgent = &w->gaps[0];
		uint64_t count;
		for (size_t i = 1; i < w->gap_count; i++) {
			urgent = w->gaps[i].deadline < urgent->deadline ? &w->gaps[i] : urgent;
		}
		count = ANNALS_MIN(urgent->left, until - w->next_position);
		status = write_hole(w, urgent, ANNALS_MIN(count, (uint64_t)UINT32_MAX), err);
		if (status == 0 && urgent->left == 0) {
			w->gap_count--;
			*urgent = w->gaps[w->gap_count];
		}
	}
	return status;
}

/* Opens the gap between `partition->written` and `offset`, if there is one. */
static void open_gap(
	struct writing *w, struct salvage_partition *partition, uint64_t offset, uint64_t deadline)
{
	if (offset <= partition->written) {
		return;
	}
	w->gaps[w->gap_count++] =
		(struct gap){partition, partition->written, offset - partition->written, deadline};
	if (partition->written >= partition->first_offset) {
		salvage_lost(w->salvage, partition, partition->written, offset);
	} else if (offset > partition->first_offset) {
		salvage_lost(w->salvage, partition, partition->first_offset, offset);
	}
	partition->written = offset;
}

/* ---- The order of things ---- */

static int write_topics(struct writing *w, struct error *err)
{
	struct buf encoded = BUF_INIT;
	int status = 0;

	for (size_t i = 0; i < w->salvage->topic_count && status == 0; i++) {
		buf_reset(&encoded);
		status = topic_encode(w->salvage->topics[i].topic, &encoded);
		status = status != 0 ? error_fail(err, status, "no memory for a topic")
				     : add_bytes(w, BLOCK_TOPIC_CREATE, buf_bytes(&encoded), err);
	}
	buf_release(&encoded);
	return status;
}

/* The gap in front of each partition's next piece opens when the piece before was written. */
static void open_next_gap(struct writing *w, struct salvage_partition *partition)
{
	const struct salvage *salvage = w->salvage;
	uint64_t next = partition->next_piece;

	if (next < partition->first_piece + partition->piece_count) {
		const struct salvage_piece *piece = &salvage->pieces[next];
		open_gap(w, partition, piece->base_offset, piece->position);
	} else {
		open_gap(w, partition, partition->end_offset, UINT64_MAX);
	}
}

static int write_piece(struct writing *w, const struct salvage_piece *piece, struct error *err)
{
	struct salvage_partition *partition =
		salvage_find_partition(w->salvage, piece->topic_id, piece->partition);
	struct bytes stored;
	struct batch batch;
	int status = fill_gaps(w, piece->position, err);

	for (size_t i = 0; i < w->gap_count && status == 0; i++) {
		if (w->gaps[i].partition == partition) {
			return error_fail(err, ANNALS_E_CORRUPT_DATA,
				"topic '%s' partition %u: the positions do not leave room for the "
				"events lost before offset %llu",
				partition->topic->topic->name, partition->index,
				(unsigned long long)piece->base_offset);
		}
	}
	status = status != 0 ? status : salvage_piece_bytes(w->salvage, piece, &stored, err);
	if (status != 0 || batch_view(stored, &batch) != 0) {
		return status != 0 ? status
				   : error_fail(err, ANNALS_E_CORRUPT_DATA, "a batch changed");
	}
	w->time_us = ANNALS_MAX(w->time_us, batch.stamp.recorded_us);
	w->next_position = ANNALS_MAX(w->next_position, piece->position);
	status = add_bytes(w, BLOCK_APPEND, stored, err);
	w->next_position = piece->position + piece->count;
	w->written_bytes += stored.size;
	w->salvage->report->batches++;
	w->salvage->report->events += piece->count;
	partition->written = piece->base_offset + piece->count;
	partition->next_piece++;
	open_next_gap(w, partition);
	if (w->salvage->options->progress != NULL && clock_monotonic_ns() >= w->next_progress_ns) {
		w->salvage->options->progress(
			w->salvage->options->arg, w->written_bytes, w->total_bytes);
		w->next_progress_ns = clock_monotonic_ns() + 100000000u;
	}
	return status;
}

static int write_pieces(struct writing *w, struct error *err)
{
	struct salvage *salvage = w->salvage;
	int status = 0;

	w->gaps = calloc(salvage->partition_count + 1, sizeof(*w->gaps));
	if (w->gaps == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the gaps");
	}
	w->next_position = 1;
	for (size_t i = 0; i < salvage->partition_count; i++) {
		open_next_gap(w, &salvage->partitions[i]);
	}
	for (size_t i = 0; i < salvage->piece_count && status == 0; i++) {
		status = write_piece(w, &salvage->pieces[salvage->by_position[i]], err);
	}
	status = status != 0 ? status : fill_gaps(w, UINT64_MAX, err);
	free(w->gaps);
	return status;
}

static int write_rest(struct writing *w, struct error *err)
{
	struct salvage *salvage = w->salvage;
	int status = 0;

	for (size_t i = 0; i < salvage->partition_count && status == 0; i++) {
		const struct salvage_partition *partition = &salvage->partitions[i];
		uint8_t trim[16];
		if (partition->first_offset == 0) {
			continue;
		}
		store_u32(trim, partition->topic->topic->id);
		store_u32(trim + 4, partition->index);
		store_u64(trim + 8, partition->first_offset);
		status = add_bytes(w, BLOCK_TRIM, bytes_of(trim, sizeof(trim)), err);
	}
	for (size_t i = 0; i < salvage->row_count && status == 0; i++) {
		status = add_bytes(w, salvage->rows[i].command,
			bytes_of(salvage->rows[i].data, salvage->rows[i].size), err);
		salvage->report->offsets += salvage->rows[i].command == BLOCK_OFFSET_COMMIT;
	}
	status = status != 0 ? status : end_block(w, err);
	return status != 0 ? status : settle(w, err);
}

static int make_store(struct writing *w, const char *dir, struct error *err)
{
	struct store *store;
	int status;

	if (access(dir, F_OK) == 0 && rmdir(dir) != 0) {
		return error_fail(
			err, ANNALS_E_INVALID, "'%s' exists and is not an empty directory", dir);
	}
	store_options_init(&w->options);
	w->options.data_dir = dir;
	w->options.map_bytes = w->salvage->options->map_bytes;
	w->options.disk_reserve_bytes = 0;
	w->options.retention_interval_us = UINT64_C(3600) * 1000000;
	if ((size_t)snprintf(w->journal_dir, sizeof(w->journal_dir), "%s/shards/0/journal", dir) >=
		sizeof(w->journal_dir)) {
		return error_fail(err, ANNALS_E_INVALID, "the path '%s' is too long", dir);
	}
	status = store_open(&w->options, &store, err);
	if (status != 0) {
		return status;
	}
	store_uuid(store, w->uuid);
	store_close(store);
	return open_journal(w, err);
}

int salvage_write(struct salvage *salvage, const char *dir, struct error *err)
{
	struct writing w = {.salvage = salvage, .next_position = 1};
	int status;

	for (size_t i = 0; i < salvage->piece_count; i++) {
		w.total_bytes += salvage->pieces[i].size;
	}
	status = make_store(&w, dir, err);
	status = status != 0 ? status : write_topics(&w, err);
	status = status != 0 ? status : write_pieces(&w, err);
	status = status != 0 ? status : write_rest(&w, err);
	if (status == 0 && salvage->options->progress != NULL) {
		salvage->options->progress(salvage->options->arg, w.total_bytes, w.total_bytes);
	}
	journal_close(w.journal);
	buf_release(&w.block);
	return status;
}
