#include "index/run_write.h"

#include <assert.h>
#include <stdlib.h>

static bool hash_equal(struct index_hash a, struct index_hash b)
{
	return a.high == b.high && a.low == b.low;
}

void run_writer_init(struct run_writer *writer, struct env *env, uint32_t topic_id,
	enum index_kind kind, const struct run *run, uint64_t hashes_max)
{
	writer->env = env;
	writer->topic_id = topic_id;
	writer->kind = kind;
	writer->run = (struct run){.id = run->id,
		.first_block = run->first_block,
		.last_block = run->last_block,
		.level = run->level,
		.order_first = UINT64_MAX,
		.filter_lines = run_filter_lines(hashes_max)};
	writer->written_bytes = 0;
	writer->part = 0;
	writer->page_count = 0;
	memset(writer->filter, 0, sizeof(writer->filter));
}

static int put_page(struct run_writer *writer, MDB_txn *txn, struct error *err)
{
	uint8_t key[RUN_PAGE_KEY_BYTES], value[RUN_PAGE_BYTES];
	size_t size = run_page_write(value, writer->run.id, writer->page, writer->page_count);

	run_page_key(key, writer->topic_id, writer->kind, writer->run.id, writer->page[0].hash,
		writer->page[0].order);
	writer->page_count = 0;
	writer->written_bytes += size;
	return table_put(writer->env, txn, TABLE_INDEX, bytes_of(key, sizeof(key)),
		bytes_of(value, size), err);
}

/* Seals the lines of the current part and begins the next one. */
static int put_filter_part(struct run_writer *writer, MDB_txn *txn, struct error *err)
{
	uint32_t first = writer->part * RUN_FILTER_PART_LINES;
	uint32_t lines = ANNALS_MIN(writer->run.filter_lines - first, RUN_FILTER_PART_LINES);
	uint8_t key[RUN_FILTER_KEY_BYTES];
	int status;

	for (uint32_t i = 0; i < lines; i++) {
		run_line_seal(
			writer->filter + (size_t)i * RUN_LINE_BYTES, writer->run.id, first + i);
	}
	run_filter_key(key, writer->topic_id, writer->kind, writer->run.id, writer->part);
	status = table_put(writer->env, txn, TABLE_INDEX, bytes_of(key, sizeof(key)),
		bytes_of(writer->filter, (size_t)lines * RUN_LINE_BYTES), err);
	memset(writer->filter, 0, sizeof(writer->filter));
	writer->part++;
	writer->written_bytes += (uint64_t)lines * RUN_LINE_BYTES;
	return status;
}

static int add_to_filter(
	struct run_writer *writer, MDB_txn *txn, struct index_hash hash, struct error *err)
{
	uint32_t line = run_filter_line(hash, writer->run.filter_lines);
	uint32_t part = line / RUN_FILTER_PART_LINES;

	while (writer->part < part) {
		int status = put_filter_part(writer, txn, err);
		if (status != 0) {
			return status;
		}
	}
	run_line_add(
		writer->filter + (size_t)(line % RUN_FILTER_PART_LINES) * RUN_LINE_BYTES, hash.low);
	return 0;
}

int run_writer_add(
	struct run_writer *writer, MDB_txn *txn, const struct index_entry *entry, struct error *err)
{
	struct run *run = &writer->run;
	int status = 0;

	assert(run->count == 0 || index_entry_compare(&writer->last, entry) < 0);
	if (run->count == 0 || !hash_equal(writer->last.hash, entry->hash)) {
		run->hashes++;
		status = add_to_filter(writer, txn, entry->hash, err);
	}
	if (status == 0 && writer->page_count == RUN_PAGE_ENTRIES) {
		status = put_page(writer, txn, err);
	}
	if (status != 0) {
		return status;
	}
	writer->page[writer->page_count++] = *entry;
	writer->last = *entry;
	run->count++;
	run->order_first = ANNALS_MIN(run->order_first, entry->order);
	run->order_last = ANNALS_MAX(run->order_last, entry->order);
	return 0;
}

int run_writer_finish(struct run_writer *writer, MDB_txn *txn, struct error *err)
{
	int status;

	assert(writer->page_count > 0);
	status = put_page(writer, txn, err);
	while (status == 0 &&
		(uint64_t)writer->part * RUN_FILTER_PART_LINES < writer->run.filter_lines) {
		status = put_filter_part(writer, txn, err);
	}
	return status;
}

int run_manifest_put(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	const struct run *run, struct error *err)
{
	uint8_t key[RUN_MANIFEST_KEY_BYTES], value[RUN_MANIFEST_BYTES];

	run_key_prefix(key, topic_id, kind, RUN_MANIFEST, run->first_block);
	run_manifest_write(value, bytes_of(key, sizeof(key)), run);
	return table_put(env, txn, TABLE_INDEX, bytes_of(key, sizeof(key)),
		bytes_of(value, sizeof(value)), err);
}

int run_manifest_delete(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	uint64_t first_block, struct error *err)
{
	uint8_t key[RUN_MANIFEST_KEY_BYTES];

	run_key_prefix(key, topic_id, kind, RUN_MANIFEST, first_block);
	return table_delete(env, txn, TABLE_INDEX, bytes_of(key, sizeof(key)), err);
}

int run_write(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	struct run *run, const struct index_entry *entries, size_t count, struct error *err)
{
	struct run_writer *writer;
	uint64_t hashes = 1;
	int status = 0;

	assert(count > 0 && run->first_block <= run->last_block);
	writer = malloc(sizeof(*writer));
	if (writer == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to write an index");
	}
	for (size_t i = 1; i < count; i++) {
		hashes += !hash_equal(entries[i - 1].hash, entries[i].hash);
	}
	run_writer_init(writer, env, topic_id, kind, run, hashes);
	for (size_t i = 0; i < count && status == 0; i++) {
		if (i + 1 < count && index_entry_compare(&entries[i], &entries[i + 1]) == 0) {
			continue;
		}
		status = run_writer_add(writer, txn, &entries[i], err);
	}
	status = status != 0 ? status : run_writer_finish(writer, txn, err);
	status = status != 0 ? status
			     : run_manifest_put(env, txn, topic_id, kind, &writer->run, err);
	if (status == 0) {
		*run = writer->run;
	}
	free(writer);
	return status;
}
