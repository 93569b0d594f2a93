/* Reading the log for a group: events at its cursor, and again for redeliveries. */
#include "delivery_internal.h"

#include <annals/hash.h>

#define PAGE_BYTES (256u << 10)
#define NO_BATCH UINT64_MAX

void batch_reader_release(struct batch_reader *reader)
{
	buf_release(&reader->page);
	buf_release(&reader->plain);
	batch_reader_reset(reader);
}

void batch_reader_reset(struct batch_reader *reader)
{
	buf_trim(&reader->page, PAGE_BYTES);
	buf_trim(&reader->plain, PAGE_BYTES);
	reader->page_used = 0;
	reader->next_offset = NO_BATCH;
	reader->batch_end = 0;
}

/* Opens the next batch of the page that reaches `offset`. 1, 0 when the page is used up. */
static int open_batch(struct batch_reader *reader, uint64_t offset)
{
	while (reader->page_used < reader->page.size) {
		struct bytes rest = bytes_of(reader->page.data + reader->page_used,
			reader->page.size - reader->page_used);
		int status = batch_view(rest, &reader->batch);
		if (status != 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		reader->page_used += reader->batch.stored.size;
		reader->batch_end = reader->batch.stamp.base_offset + reader->batch.stamp.count;
		if (reader->batch.stamp.kind != BATCH_DATA || reader->batch_end <= offset) {
			continue;
		}
		buf_reset(&reader->plain);
		status = batch_plain_body(&reader->batch, &reader->plain, &reader->body);
		if (status != 0) {
			return status;
		}
		reader->body_used = 0;
		batch_versions_init(&reader->versions, &reader->batch);
		reader->next_offset = reader->batch.stamp.base_offset;
		return 1;
	}
	reader->next_offset = NO_BATCH;
	return 0;
}

/* What came of a read. */
static int use_page(struct batch_reader *reader, struct read_request *read, uint64_t *ret_first)
{
	int status = read->base.status;

	reader->page = read->batches;
	read->batches = BUF_INIT;
	if (status == ANNALS_E_OFFSET_GONE) {
		*ret_first = read->first_offset;
	} else if (status == ANNALS_E_CORRUPT_DATA) {
		*ret_first = read->next_offset;
		if (reader->page.size > 0) {
			return 1; /* what lies before the damage */
		}
	}
	return status != 0 ? status : reader->page.size > 0;
}

static struct read_request make_read(
	struct batch_reader *reader, const struct group_partition *at, uint64_t offset)
{
	struct read_request read = {.base = {.operation = STORE_READ},
		.topic_id = at->topic_id,
		.partition = at->partition,
		.offset = offset,
		.bytes_max = PAGE_BYTES};

	batch_reader_reset(reader);
	read.batches = reader->page;
	reader->page = BUF_INIT;
	return read;
}

static int read_again(struct batch_reader *reader, struct group_partition *at, uint64_t offset,
	uint64_t *ret_first)
{
	struct read_request read = make_read(reader, at, offset);

	read.one_batch = true;
	(void)store_read(at->group->delivery->store, &read.base, 0);
	return use_page(reader, &read, ret_first);
}

/* The next page at the cursor. What is not in memory is read by another thread, so that other
 * groups need not wait for the disk: 0 with at->is_reading. */
static int read_page(struct batch_reader *reader, struct group_partition *at, uint64_t offset,
	uint64_t *ret_first)
{
	struct delivery *delivery = at->group->delivery;

	if (at->has_read) {
		at->has_read = false;
		if (at->read.offset == offset) {
			buf_release(&reader->page);
			batch_reader_reset(reader);
			return use_page(reader, &at->read, ret_first);
		}
		buf_release(&at->read.batches); /* the group went elsewhere meanwhile */
	}
	at->read = make_read(reader, at, offset);
	at->read.base.queue = &delivery->completions;
	list_init(&at->read.base.node);
	if (store_read(delivery->store, &at->read.base, STORE_READ_NO_BLOCK) == 1) {
		at->is_reading = true;
		delivery->reads++;
		at->group->reads++;
		return 0;
	}
	return use_page(reader, &at->read, ret_first);
}

int batch_reader_next(struct batch_reader *reader, struct group_partition *at, uint64_t offset,
	bool one_batch, struct read_event *ret, uint64_t *ret_first)
{
	int found;

	/* Going back, or out of the page: read anew. */
	if (reader->next_offset != NO_BATCH && reader->next_offset > offset) {
		batch_reader_reset(reader);
	}
	for (;;) {
		struct bytes encoded;
		if (reader->next_offset == NO_BATCH || reader->next_offset >= reader->batch_end) {
			found = open_batch(reader, offset);
			if (found == 0) {
				found = one_batch ? read_again(reader, at, offset, ret_first)
						  : read_page(reader, at, offset, ret_first);
				found = found == 1 ? open_batch(reader, offset) : found;
				if (found == 0 && reader->page.size > 0 && !one_batch) {
					offset = reader->batch_end; /* holes only */
					continue;
				}
			}
			if (found != 1) {
				batch_reader_reset(reader);
				return found;
			}
		}
		if (batch_next_event(reader->body, &reader->body_used, &encoded) != 1) {
			*ret_first = reader->batch_end;
			batch_reader_reset(reader);
			return ANNALS_E_CORRUPT_DATA;
		}
		const uint64_t version = batch_versions_next(&reader->versions);
		if (reader->next_offset++ < offset) {
			continue;
		}
		*ret = (struct read_event){.offset = reader->next_offset - 1,
			.position = reader->batch.stamp.base_position +
				    (reader->next_offset - 1 - reader->batch.stamp.base_offset),
			.recorded_us = reader->batch.stamp.recorded_us,
			.version = version,
			.encoded = encoded};
		return 1;
	}
}

int delivery_read_again(
	struct group_partition *at, uint64_t offset, struct read_event *ret, struct buf *scratch)
{
	struct delivery *delivery = at->group->delivery;
	struct parked_info parked;
	uint64_t first = 0;
	int found;

	if (delivery->again_at != at) {
		batch_reader_reset(&delivery->again);
		delivery->again_at = at;
	}
	found = batch_reader_next(&delivery->again, at, offset, true, ret, &first);
	if (found == 1 && ret->offset == offset) {
		return 1;
	}
	if (found < 0 && found != ANNALS_E_OFFSET_GONE && found != ANNALS_E_CORRUPT_DATA) {
		return found;
	}
	buf_reset(scratch);
	found = parked_copy_read(at, offset, &parked, scratch);
	if (found == 1) {
		*ret = (struct read_event){.offset = offset,
			.position = parked.position,
			.recorded_us = parked.recorded_us,
			.version = VERSION_NONE,
			.encoded = bytes_of(scratch->data + parked.at, parked.size)};
	}
	return found;
}

uint64_t group_key_hash(const struct group *group, const struct record *record)
{
	uint64_t key[2], hash;

	if (!record->has_key) {
		return 0;
	}
	memcpy(key, group->hash_key, sizeof(key));
	hash = hash_siphash13(key, record->key);
	return hash == 0 ? 1 : hash;
}
