/* The log table: every value, every batch in it, and what the partitions' rows say about them. */
#include "verify.h"

#include <stdio.h>
#include <stdlib.h>

/* A chunk being put together from its parts. */
struct assembly {
	bool open;
	uint32_t topic_id, index;
	uint64_t base_offset;
	struct chunk_header header;
	uint32_t next_part;
	struct verify_topic *topic;
	struct buf bytes;
	uint32_t unknown_topic; /* reported already */
};

static void describe(const struct assembly *assembly, char out[384])
{
	(void)snprintf(out, 384, "topic '%s' partition %u, chunk at offset %llu",
		assembly->topic->topic->name, assembly->index,
		(unsigned long long)assembly->base_offset);
}

/* Offsets between chunks: only what lies below the first offset may be missing. */
static void check_continues(
	struct verify *verify, const struct assembly *assembly, struct verify_partition *partition)
{
	uint64_t expected =
		partition->log_chunks == 0 ? partition->row.first_offset : partition->log_end;

	if (partition->row_is_damaged) {
		return;
	}
	if (partition->log_chunks > 0 && assembly->base_offset < expected) {
		verify_problem(verify,
			"topic '%s' partition %u: the chunk at offset %llu begins before the one "
			"before it ends, at %llu",
			assembly->topic->topic->name, assembly->index,
			(unsigned long long)assembly->base_offset, (unsigned long long)expected);
	} else if (assembly->base_offset > expected &&
		   assembly->base_offset > partition->row.first_offset) {
		verify_problem(verify,
			"topic '%s' partition %u: offsets %llu to %llu are missing from the log",
			assembly->topic->topic->name, assembly->index,
			(unsigned long long)ANNALS_MAX(expected, partition->row.first_offset),
			(unsigned long long)assembly->base_offset - 1);
	}
}

static void check_batches(struct verify *verify, const struct assembly *assembly)
{
	const struct chunk_header *header = &assembly->header;
	struct bytes left = buf_bytes(&assembly->bytes);
	uint64_t next = header->base_offset, recorded_us = header->first_recorded_us;
	bool in_order = true, first = true;
	struct batch batch;
	char where[384];

	describe(assembly, where);
	while (left.size > 0) {
		if (verify_batch(verify, left, assembly->topic_id, assembly->index, where,
			    &batch) == 0) {
			return;
		}
		verify->report->batches++;
		verify->report->events += batch.stamp.count;
		verify_index_batch(verify, &assembly->topic->partitions[assembly->index], &batch);
		in_order = in_order && batch.stamp.base_offset == next &&
			   batch.stamp.recorded_us >= recorded_us &&
			   (!first || batch.stamp.recorded_us == header->first_recorded_us);
		first = false;
		next = batch.stamp.base_offset + batch.stamp.count;
		recorded_us = batch.stamp.recorded_us;
		left = bytes_of(left.data + batch.stored.size, left.size - batch.stored.size);
	}
	if (!in_order || next != header->base_offset + header->count ||
		recorded_us != header->last_recorded_us) {
		verify_problem(verify,
			"%s: offsets or times of its batches do not fit together and with its "
			"header",
			where);
	}
}

static void finish_chunk(struct verify *verify, struct assembly *assembly)
{
	const struct chunk_header *header = &assembly->header;
	struct verify_partition *partition;

	if (!assembly->open) {
		return;
	}
	assembly->open = false;
	partition = &assembly->topic->partitions[assembly->index];
	if (assembly->next_part != header->parts || assembly->bytes.size != header->bytes) {
		verify_problem(verify,
			"topic '%s' partition %u, chunk at offset %llu: %u of %u parts and %zu of "
			"%u "
			"bytes are there",
			assembly->topic->topic->name, assembly->index,
			(unsigned long long)assembly->base_offset, assembly->next_part,
			header->parts, assembly->bytes.size, header->bytes);
	} else {
		check_batches(verify, assembly);
	}
	check_continues(verify, assembly, partition);
	partition->log_chunks++;
	partition->log_bytes += header->bytes;
	partition->log_events += header->count;
	partition->log_end = header->base_offset + header->count;
	partition->last_chunk = *header;
	verify->report->chunks++;
}

/* False: chunks of this topic are not looked at (and that was reported where it is wrong). */
static bool find_owner(struct verify *verify, struct assembly *assembly)
{
	assembly->topic = verify_find_topic(verify, assembly->topic_id);
	if (assembly->topic != NULL && assembly->index < assembly->topic->partition_count) {
		return true;
	}
	if (assembly->unknown_topic != assembly->topic_id &&
		!verify_is_deleting(verify, assembly->topic_id)) {
		verify_problem(verify,
			"the log holds a chunk of topic id %u partition %u, which does not exist",
			assembly->topic_id, assembly->index);
	}
	assembly->unknown_topic = assembly->topic_id;
	return false;
}

static void begin_chunk(struct verify *verify, struct assembly *assembly, struct bytes value)
{
	char where[384];

	if (!find_owner(verify, assembly)) {
		return;
	}
	if (chunk_header_parse(value, &assembly->header) != 0 ||
		assembly->header.base_offset != assembly->base_offset) {
		describe(assembly, where);
		verify_problem(verify, "%s: its header fails its checks", where);
		return;
	}
	assembly->open = true;
	assembly->next_part = 0;
	buf_reset(&assembly->bytes);
}

static int take_value(
	struct verify *verify, struct assembly *assembly, struct bytes key, struct bytes value)
{
	uint32_t topic_id, index;
	uint64_t base;
	uint16_t part;
	size_t skip;

	verify_progress(verify, value.size);
	if (!log_key_parse(key, &topic_id, &index, &base, &part)) {
		verify_problem(verify, "table 'log' has a key of %zu bytes", key.size);
		return 0;
	}
	if (part == 0) {
		finish_chunk(verify, assembly);
		assembly->topic_id = topic_id;
		assembly->index = index;
		assembly->base_offset = base;
		begin_chunk(verify, assembly, value);
	} else if (assembly->open && (topic_id != assembly->topic_id || index != assembly->index ||
					     base != assembly->base_offset)) {
		finish_chunk(verify, assembly);
	}
	if (!assembly->open) {
		if (part != 0 && verify_find_topic(verify, topic_id) != NULL &&
			(topic_id != assembly->topic_id || index != assembly->index ||
				base != assembly->base_offset)) {
			verify_problem(verify,
				"topic id %u partition %u: part %u of a chunk at offset %llu has "
				"no "
				"beginning",
				topic_id, index, part, (unsigned long long)base);
		}
		return 0;
	}
	if (part == assembly->next_part) {
		skip = part == 0 ? CHUNK_HEADER_BYTES : 0;
		assembly->next_part++;
		return buf_add(&assembly->bytes, value.data + skip, value.size - skip);
	}
	return 0; /* finish_chunk() finds the wrong number of parts */
}

static void check_row(struct verify *verify, const struct verify_topic *topic, uint32_t index)
{
	const struct verify_partition *partition = &topic->partitions[index];
	const struct partition_row *row = &partition->row;

	if (partition->row_is_damaged) {
		return;
	}
	if (row->log_bytes != partition->log_bytes || row->log_events != partition->log_events) {
		verify_problem(verify,
			"topic '%s' partition %u: its row counts %llu bytes and %llu events, the "
			"log "
			"holds %llu and %llu",
			topic->topic->name, index, (unsigned long long)row->log_bytes,
			(unsigned long long)row->log_events,
			(unsigned long long)partition->log_bytes,
			(unsigned long long)partition->log_events);
	}
	/* Batches that were trimmed before they were settled never reached the log. */
	if (partition->log_end > row->settled_end ||
		(partition->log_end < row->settled_end && row->settled_end > row->first_offset)) {
		verify_problem(verify,
			"topic '%s' partition %u: its row says that the log ends at offset %llu, "
			"it "
			"ends at %llu",
			topic->topic->name, index, (unsigned long long)row->settled_end,
			(unsigned long long)partition->log_end);
	}
	if (row->last_chunk_bytes > 0 &&
		(partition->log_chunks == 0 ||
			row->last_chunk_base != partition->last_chunk.base_offset ||
			row->last_chunk_bytes != partition->last_chunk.bytes ||
			row->last_chunk_count != partition->last_chunk.count)) {
		verify_problem(verify,
			"topic '%s' partition %u: its row describes another newest chunk than the "
			"log's, at offset %llu",
			topic->topic->name, index, (unsigned long long)row->last_chunk_base);
	}
	if (partition->log_chunks > 0 && partition->log_end == row->settled_end &&
		row->last_recorded_us != partition->last_chunk.last_recorded_us) {
		verify_problem(verify,
			"topic '%s' partition %u: its row and its newest chunk disagree about the "
			"newest recorded time",
			topic->topic->name, index);
	}
}

int verify_log(struct verify *verify, struct error *err)
{
	struct assembly assembly = {.unknown_topic = 0};
	MDB_cursor *cursor;
	MDB_val key, value;
	int status = 0, code = mdb_cursor_open(verify->txn, verify->env.tables[TABLE_LOG], &cursor);

	if (code != 0) {
		return env_error(code, err, "cannot read table 'log'");
	}
	code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
	while (code == 0 && status == 0) {
		status = take_value(verify, &assembly, bytes_of(key.mv_data, key.mv_size),
			bytes_of(value.mv_data, value.mv_size));
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	finish_chunk(verify, &assembly);
	buf_release(&assembly.bytes);
	if (status != 0) {
		return error_fail(err, status, "no memory for a chunk");
	}
	if (code != MDB_NOTFOUND) {
		verify_problem(verify, "cannot read table 'log': %s", mdb_strerror(code));
	}
	for (size_t i = 0; i < verify->topic_count; i++) {
		for (uint32_t p = 0; p < verify->topics[i].partition_count; p++) {
			check_row(verify, &verify->topics[i], p);
		}
	}
	return 0;
}
