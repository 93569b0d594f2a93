/*
 * Reads one page of a partition. Order matters: the tail first, and only when the offset lies below
 * it an LMDB snapshot, taken afterwards. What the tail had dropped by then is in that snapshot, so
 * there is no hole and no repeat.
 */
#include "chunk.h"
#include "shard.h"

#include <annals/fault.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES_MAX (1u << 20)
#define ENTRIES_AT_ONCE 256u

/* A page under construction. */
struct page {
	struct shard *shard;
	struct topic_state *state;
	struct partition *partition;
	struct read_request *request;
	uint64_t offset; /* wanted next */
	uint64_t stop;   /* no batch from here on */
	uint32_t bytes_max;
	size_t start; /* size of the buffer before */
	bool full;
};

static int fail_corrupt(struct page *page, uint64_t at, uint64_t next, const char *what)
{
	struct read_request *request = page->request;

	page->shard->counters.corrupt_reads++;
	request->next_offset = next;
	return error_fail(&request->base.error, ANNALS_E_CORRUPT_DATA,
		"%s: topic '%s' partition %u offset %llu; reading can go on at offset %llu", what,
		page->state->topic->name, page->partition->index, (unsigned long long)at,
		(unsigned long long)next);
}

/* Checks a stored batch and appends it to the page. 1 when the page is full and it was not taken.
 */
static int take_batch(struct page *page, struct bytes stored)
{
	struct read_request *request = page->request;
	struct batch batch;
	size_t used = request->batches.size - page->start;

	if (batch_view(stored, &batch) != 0) {
		return fail_corrupt(
			page, page->offset, page->offset + 1, "a stored batch cannot be read");
	}
	if ((request->batch_count > 0 && used + batch.stored.size > page->bytes_max) ||
		batch.stamp.base_offset >= page->stop) {
		page->full = true;
		return 1;
	}
	if (batch_verify(&batch, NULL) != 0 || batch.stamp.topic_id != page->state->id ||
		batch.stamp.partition != page->partition->index ||
		batch.stamp.base_offset + batch.stamp.count <= page->offset) {
		uint64_t next = page->offset + 1;
		if (batch.stamp.topic_id == page->state->id &&
			batch.stamp.partition == page->partition->index &&
			batch.stamp.base_offset + batch.stamp.count > page->offset &&
			batch.stamp.base_offset + batch.stamp.count <=
				page->partition->end_offset) {
			next = batch.stamp.base_offset + batch.stamp.count;
		}
		return fail_corrupt(page, page->offset, next, "a stored batch fails its checksum");
	}
	if (buf_add(&request->batches, batch.stored.data, batch.stored.size) != 0) {
		return error_fail(&request->base.error, ANNALS_E_NO_MEMORY, "no memory for a page");
	}
	request->batch_count++;
	page->offset = batch.stamp.base_offset + batch.stamp.count;
	return 0;
}

/* A page that already holds batches is returned whole; the damage is met again by the next read. */
static int end_page(struct page *page, int status)
{
	struct read_request *request = page->request;

	if (status < 0 && request->batch_count > 0) {
		status = 0;
	}
	if (status >= 0) {
		request->next_offset = page->offset;
		status = 0;
	}
	return status;
}

/* Copies references to entries from the wanted offset on. Sets *ret_below when the offset lies
 * below the tail. */
static uint32_t copy_entries(struct page *page, struct tail_entry *entries, bool *ret_below)
{
	struct tail *tail = &page->shard->tail;
	struct partition_tail *own = &page->partition->tail;
	uint32_t count = 0, index;
	uint64_t bytes = 0;

	(void)pthread_mutex_lock(&tail->mutex);
	*ret_below = own->count == 0 || tail_entry_at(own, 0)->base_offset > page->offset;
	if (!*ret_below) {
		for (index = tail_find(own, page->offset);
			index < own->count && count < ENTRIES_AT_ONCE && bytes <= page->bytes_max;
			index++) {
			entries[count] = *tail_entry_at(own, index);
			bytes += entries[count].bytes;
			(void)atomic_fetch_add_explicit(
				&entries[count].block->references, 1, memory_order_relaxed);
			count++;
		}
	}
	(void)pthread_mutex_unlock(&tail->mutex);
	return count;
}

/* 0: the page is as full as it gets; 1: the offset lies below the tail. */
static int read_tail(struct page *page)
{
	struct tail_entry entries[ENTRIES_AT_ONCE];
	bool below = false;
	int status = 0;

	while (status == 0 && !page->full) {
		uint32_t count = copy_entries(page, entries, &below);
		if (count == 0) {
			return below && page->request->batch_count == 0 ? 1 : 0;
		}
		for (uint32_t i = 0; i < count; i++) {
			struct tail_block *block = entries[i].block;
			if (status == 0) {
				status = take_batch(page,
					bytes_of(block->data + entries[i].at, entries[i].bytes));
			}
			tail_block_unref(block);
		}
	}
	return status < 0 ? status : 0;
}

/* True when every page of the value is in memory. Nothing of it is touched. */
static bool is_resident(const MDB_val *value)
{
	uintptr_t first = (uintptr_t)value->mv_data & ~(uintptr_t)(ENV_PAGE_BYTES - 1);
	size_t length = (uintptr_t)value->mv_data + value->mv_size - first;
	unsigned char pages[CHUNK_VALUE_BYTES_MAX / ENV_PAGE_BYTES + 2];

	if (length > (sizeof(pages) - 1) * ENV_PAGE_BYTES ||
		mincore((void *)first, length, pages) !=
			0) { /* NOLINT(performance-no-int-to-ptr) */
		return true;
	}
	for (size_t i = 0; i < (length + ENV_PAGE_BYTES - 1) / ENV_PAGE_BYTES; i++) {
		if ((pages[i] & 1) == 0) {
			return false;
		}
	}
	return true;
}

/* Moves to the chunk that holds the offset, or the first one after it. 0, or MDB_NOTFOUND, or an
 * error. */
static int seek_chunk(struct page *page, MDB_cursor *cursor, MDB_val *key, MDB_val *value)
{
	uint8_t bytes[LOG_KEY_BYTES];
	uint32_t topic_id, index;
	uint64_t base;
	uint16_t part;
	int code;

	log_key(bytes, page->state->id, page->partition->index, page->offset, UINT16_MAX);
	*key = (MDB_val){sizeof(bytes), bytes};
	code = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
	code = mdb_cursor_get(cursor, key, value, code == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
	/* Back over the parts of a large batch to its first. */
	while (code == 0 &&
		log_key_parse(
			bytes_of(key->mv_data, key->mv_size), &topic_id, &index, &base, &part) &&
		topic_id == page->state->id && index == page->partition->index && part > 0) {
		code = mdb_cursor_get(cursor, key, value, MDB_PREV);
	}
	return code;
}

/* True while the cursor is at a chunk of this partition. */
static bool at_own_chunk(struct page *page, const MDB_val *key, uint64_t *ret_base)
{
	uint32_t topic_id, index;
	uint16_t part;

	return log_key_parse(
		       bytes_of(key->mv_data, key->mv_size), &topic_id, &index, ret_base, &part) &&
	       topic_id == page->state->id && index == page->partition->index && part == 0;
}

/* A batch that spans several values, put together. The cursor is at part 0 and stays on the last
 * part. */
static int take_large(struct page *page, MDB_cursor *cursor, const struct chunk_header *header,
	const MDB_val *first)
{
	struct buf whole = BUF_INIT;
	MDB_val key, value = *first;
	int status = buf_add(&whole, (const uint8_t *)value.mv_data + CHUNK_HEADER_BYTES,
		value.mv_size - CHUNK_HEADER_BYTES);

	for (uint32_t part = 1; part < header->parts && status == 0; part++) {
		if (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) != 0) {
			break;
		}
		status = buf_add(&whole, value.mv_data, value.mv_size);
	}
	if (status != 0) {
		status = error_fail(
			&page->request->base.error, ANNALS_E_NO_MEMORY, "no memory for a page");
	} else if (whole.size != header->bytes) {
		status = fail_corrupt(page, page->offset, header->base_offset + header->count,
			"a large batch lacks a part");
	} else {
		status = take_batch(page, buf_bytes(&whole));
	}
	buf_release(&whole);
	return status;
}

static int take_chunk(struct page *page, MDB_cursor *cursor, const struct chunk_header *header,
	const MDB_val *value)
{
	struct bytes left = bytes_of((const uint8_t *)value->mv_data + CHUNK_HEADER_BYTES,
		value->mv_size - CHUNK_HEADER_BYTES);
	int status = 0;

	if (header->parts > 1) {
		return take_large(page, cursor, header, value);
	}
	while (left.size > 0 && status == 0) {
		struct batch batch;
		if (batch_view(left, &batch) != 0) {
			return fail_corrupt(page, page->offset, header->base_offset + header->count,
				"a stored batch cannot be read");
		}
		if (batch.stamp.base_offset + batch.stamp.count > page->offset) {
			if (batch.stamp.base_offset > page->offset) {
				return fail_corrupt(page, page->offset,
					header->base_offset + header->count, "a chunk has a gap");
			}
			status = take_batch(page, batch.stored);
		}
		left = bytes_of(left.data + batch.stored.size, left.size - batch.stored.size);
	}
	return status;
}

/* Chunks from the cursor on, until the page is full or the log in this snapshot ends. */
static int take_chunks(
	struct page *page, MDB_cursor *cursor, MDB_val *key, MDB_val *value, bool may_block)
{
	uint64_t base;
	int status = 0, code = 0;

	while (status == 0 && code == 0 && at_own_chunk(page, key, &base)) {
		struct chunk_header header;
		if (!may_block && !is_resident(value)) {
			return page->request->batch_count > 0 ? 0 : 1;
		}
		if (chunk_header_parse(bytes_of(value->mv_data, value->mv_size), &header) != 0 ||
			header.base_offset != base) {
			MDB_val next_key, next_value;
			uint64_t next = page->offset + 1;
			if (mdb_cursor_get(cursor, &next_key, &next_value, MDB_NEXT) == 0 &&
				at_own_chunk(page, &next_key, &base) && base > next) {
				next = base;
			}
			return fail_corrupt(
				page, page->offset, next, "a chunk's header fails its checksum");
		}
		if (base > page->offset) {
			return fail_corrupt(page, page->offset, base, "the log has a gap");
		}
		if (base + header.count > page->offset) {
			status = take_chunk(page, cursor, &header, value);
		}
		if (page->request->batches.size - page->start >= page->bytes_max) {
			page->full = true;
		}
		if (status != 0 || page->full) {
			break;
		}
		code = mdb_cursor_get(cursor, key, value, MDB_NEXT);
	}
	return status < 0 ? status : 0;
}

/* 1 when it would wait for the disk. */
static int read_lmdb(struct page *page, bool may_block)
{
	struct env *env = &page->shard->env;
	struct error *err = &page->request->base.error;
	struct snapshot *snapshot;
	MDB_cursor *cursor;
	MDB_val key, value;
	int status = env_snapshot_begin(env, &snapshot, err);

	if (status != 0) {
		return status;
	}
	status = env_snapshot_cursor(env, snapshot, TABLE_LOG, &cursor, err);
	if (status == 0) {
		int code = seek_chunk(page, cursor, &key, &value);
		uint64_t base;
		/* What was found may be the end of the log before: then the next one, if it is
		 * ours, comes after the offset. */
		if (code == 0 && !at_own_chunk(page, &key, &base)) {
			code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
		} else if (code == MDB_NOTFOUND) {
			code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
		}
		if (code == 0) {
			status = take_chunks(page, cursor, &key, &value, may_block);
		} else if (code != MDB_NOTFOUND) {
			status = env_error(code, err, "cannot read the log");
		}
	}
	env_snapshot_end(env, snapshot);
	return status;
}

static int read_page(struct page *page, bool may_block)
{
	struct read_request *request = page->request;
	int status = read_tail(page);

	if (status != 1) {
		return end_page(page, status);
	}
	/* Retention may have passed the offset meanwhile. */
	status = read_lmdb(page, may_block);
	if (status == 1) {
		return 1;
	}
	if (page->state->deleted) {
		request->batches.size = page->start;
		request->batch_count = 0;
		return error_fail(&request->base.error, ANNALS_E_UNKNOWN_TOPIC,
			"topic '%s' was deleted", page->state->topic->name);
	}
	if (page->partition->first_offset > request->offset) {
		request->batches.size = page->start;
		request->batch_count = 0;
		return error_fail(&request->base.error, ANNALS_E_OFFSET_GONE,
			"offset %llu of topic '%s' partition %u is gone: the first one kept is "
			"%llu",
			(unsigned long long)request->offset, page->state->topic->name,
			page->partition->index, (unsigned long long)page->partition->first_offset);
	}
	if (status == 0 && request->batch_count == 0) {
		/* The snapshot ends below the offset although the tail begins above it. */
		status = fail_corrupt(
			page, page->offset, page->offset + 1, "the log lacks an offset");
	}
	return end_page(page, status);
}

/* ---- Backwards ---- */

/* Where to begin so that a page ends with the batch before `offset`: as many batches of the tail as
 * a page holds. False: the offset before lies below the tail. */
static bool find_begin_in_tail(struct page *page, uint64_t offset, uint64_t *ret_begin)
{
	struct tail *tail = &page->shard->tail;
	struct partition_tail *own = &page->partition->tail;
	uint64_t bytes = 0;
	bool found;

	(void)pthread_mutex_lock(&tail->mutex);
	found = own->count > 0 && tail_entry_at(own, 0)->base_offset < offset;
	for (uint32_t i = found ? tail_find(own, offset - 1) + 1 : 0, taken = 0;
		i > 0 && taken < ENTRIES_AT_ONCE; i--, taken++) {
		const struct tail_entry *entry = tail_entry_at(own, i - 1);
		bytes += entry->bytes;
		if (taken > 0 && bytes > page->bytes_max) {
			break;
		}
		*ret_begin = entry->base_offset;
	}
	(void)pthread_mutex_unlock(&tail->mutex);
	return found;
}

/* The same in LMDB: the chunk that holds the offset before. */
static int find_begin_in_log(struct page *page, uint64_t *ret_begin)
{
	struct env *env = &page->shard->env;
	struct error *err = &page->request->base.error;
	struct snapshot *snapshot;
	MDB_cursor *cursor;
	MDB_val key, value;
	int status = env_snapshot_begin(env, &snapshot, err);

	if (status != 0) {
		return status;
	}
	status = env_snapshot_cursor(env, snapshot, TABLE_LOG, &cursor, err);
	if (status == 0) {
		int code = seek_chunk(page, cursor, &key, &value);
		if (code != 0 && code != MDB_NOTFOUND) {
			status = env_error(code, err, "cannot read the log");
		} else if (code != 0 || !at_own_chunk(page, &key, ret_begin)) {
			/* Retention took it, or reading forwards from here names the damage. */
			*ret_begin = page->offset;
		}
	}
	env_snapshot_end(env, snapshot);
	return status;
}

/* [begin, stop) read forwards; several rounds when the settler moved some of it meanwhile. 1 when
 * it would wait for the disk. */
static int read_between(struct page *page, uint64_t begin, uint64_t stop, bool may_block)
{
	struct read_request *request = page->request;
	uint32_t count = 0;
	int status = 0;

	page->offset = begin;
	page->stop = stop;
	page->bytes_max = UINT32_MAX;
	while (status == 0 && page->offset < stop) {
		/* Each round begins as a read of its own: one that takes nothing is an error. */
		request->offset = page->offset;
		request->batch_count = 0;
		page->full = false;
		status = read_page(page, may_block);
		count += request->batch_count;
	}
	request->batch_count = count;
	return status;
}

/* The batches up to the one that holds the offset before request->offset. 1 when it would wait for
 * the disk. */
static int read_backwards(struct page *page, bool may_block)
{
	struct read_request *request = page->request;
	const uint64_t stop = request->offset;
	const uint32_t bytes_max = page->bytes_max;
	uint64_t begin = 0;
	int status;

	do {
		page->bytes_max = bytes_max;
		page->offset = stop - 1;
		status = find_begin_in_tail(page, stop, &begin) ? 0
								: find_begin_in_log(page, &begin);
		begin = ANNALS_MAX(begin, request->first_offset);
		status = status != 0 ? status : read_between(page, begin, stop, may_block);
		request->offset = stop;
		if (status != 0) {
			request->batches.size = page->start;
			request->batch_count = 0;
		}
		request->first_offset = page->partition->first_offset;
		/* Retention passed the beginning meanwhile, but not the end. */
	} while (status == ANNALS_E_OFFSET_GONE && begin < request->first_offset &&
		 request->first_offset < stop);
	request->next_offset = begin;
	return status;
}

static int check_range(struct page *page)
{
	struct read_request *request = page->request;

	/* The end first: it never shrinks, and the first offset never passes it. */
	request->end_offset = page->partition->end_offset;
	request->first_offset = page->partition->first_offset;
	request->next_offset = request->offset;
	if (request->offset < request->first_offset) {
		return error_fail(&request->base.error, ANNALS_E_OFFSET_GONE,
			"offset %llu of topic '%s' partition %u is gone: the first one kept is "
			"%llu",
			(unsigned long long)request->offset, page->state->topic->name,
			page->partition->index, (unsigned long long)request->first_offset);
	}
	if (request->offset > request->end_offset) {
		return error_fail(&request->base.error, ANNALS_E_OFFSET_BEYOND_END,
			"offset %llu of topic '%s' partition %u is beyond the end, %llu",
			(unsigned long long)request->offset, page->state->topic->name,
			page->partition->index, (unsigned long long)request->end_offset);
	}
	return 0;
}

int log_read(struct shard *shard, struct read_request *request, bool may_block)
{
	struct page page = {
		.shard = shard, .request = request, .offset = request->offset, .stop = UINT64_MAX};
	int status = 0;

	request->batch_count = 0;
	request->base.status = 0;
	page.start = request->batches.size;
	page.bytes_max = request->one_batch ? 0 : ANNALS_MIN(request->bytes_max, PAGE_BYTES_MAX);
	page.state = catalog_find_partition(
		&shard->catalog, request->topic_id, request->partition, &page.partition, &status);
	if (page.state == NULL) {
		request->base.status = error_fail(&request->base.error, status,
			"topic id %u has no partition %u", request->topic_id, request->partition);
		return 0;
	}
	status = check_range(&page);
	if (status == 0 && request->backwards) {
		status = request->offset > request->first_offset ? read_backwards(&page, may_block)
								 : 0;
	} else if (status == 0 && request->offset < request->end_offset) {
		status = read_page(&page, may_block);
	}
	topic_state_unref(page.state);
	if (status == 1) {
		return 1;
	}
	shard->counters.read_requests++;
	shard->counters.read_bytes += request->batches.size - page.start;
	request->base.status = status;
	return 0;
}
