/*
 * Rows of a progress. All numbers are little-endian or varints.
 *
 * Head:  version u8 = 1, epoch u32, cursor u64, gone events u64.
 * Slice: version u8 = 1; count of names u8, each: size u8, text; then for each item:
 *        place in the slice u8 (bit 7: chained, bit 6: has history), state u8 (bit 7: due time as
 *        before, bit 6: has a key, bit 5: has a member), deliveries varint, attempts varint, key
 *        hash u64 if it has one; due time u64 unless as before (LEASED, DELAYED); length of the
 * lease in ms varint (LEASED); number of the member's name u8 if it has one.
 */
#include "progress.h"

#include <annals/fault.h>

#include <annals/varint.h>
#include <stdlib.h>

#define VERSION 1u
#define HEAD_BYTES 21u
#define BIT_CHAINED 0x80u
#define BIT_HISTORY 0x40u
#define BIT_SAME_DUE 0x80u
#define BIT_KEY 0x40u
#define BIT_MEMBER 0x20u
#define STATE_MASK 0x1fu
#define ITEM_BYTES_MAX (2 + 5 + 3 + 8 + 8 + 5 + 1)

/* What is written of a state: an event whose end is under way is over. */
static enum item_state written_state(const struct item *item)
{
	return item->state == ITEM_FINISHING ? ITEM_FREE : (enum item_state)item->state;
}

struct slice_names {
	uint32_t members[SLICE_EVENTS];
	uint32_t count;
};

static uint8_t name_number(struct slice_names *names, uint32_t member)
{
	for (uint32_t i = names->count; i > 0; i--) {
		if (names->members[i - 1] == member) {
			return (uint8_t)(i - 1);
		}
	}
	names->members[names->count++] = member;
	return (uint8_t)(names->count - 1);
}

static uint8_t *write_item(
	uint8_t *at, const struct item *item, struct slice_names *names, uint64_t *due_us)
{
	bool timed = item->state == ITEM_LEASED || item->state == ITEM_DELAYED;
	uint8_t state = (uint8_t)item->state;

	state |= timed && item->due_us == *due_us ? BIT_SAME_DUE : 0;
	state |= item->key_hash != 0 ? BIT_KEY : 0;
	state |= item->member != 0 ? BIT_MEMBER : 0;
	*at++ = (uint8_t)(item->offset % SLICE_EVENTS) | (item->chained ? BIT_CHAINED : 0) |
		(item->has_history ? BIT_HISTORY : 0);
	*at++ = state;
	at += varint_put(at, item->deliveries);
	at += varint_put(at, item->attempts);
	if (item->key_hash != 0) {
		store_u64(at, item->key_hash);
		at += 8;
	}
	if (timed && (state & BIT_SAME_DUE) == 0) {
		store_u64(at, item->due_us);
		at += 8;
		*due_us = item->due_us;
	}
	if (item->state == ITEM_LEASED) {
		at += varint_put(at, item->lease_ms);
	}
	if (item->member != 0) {
		*at++ = name_number(names, item->member);
	}
	return at;
}

static int write_slice(const struct progress *progress, const struct slice *slice, struct buf *out)
{
	uint8_t items[SLICE_EVENTS * ITEM_BYTES_MAX];
	uint8_t *at = items;
	struct slice_names names = {.count = 0};
	uint64_t due_us = 0;
	int status;

	for (uint32_t k = 0; k < SLICE_EVENTS; k++) {
		const struct item *item = item_at(progress, slice->items[k]);
		if (slice->items[k] != 0 && written_state(item) != ITEM_FREE) {
			at = write_item(at, item, &names, &due_us);
		}
	}
	if (at == items) {
		return 0;
	}
	status = buf_add_byte(out, VERSION);
	status = status != 0 ? status : buf_add_byte(out, (uint8_t)names.count);
	for (uint32_t i = 0; i < names.count && status == 0; i++) {
		struct bytes name = member_names_text(progress->members, names.members[i]);
		status = buf_add_byte(out, (uint8_t)name.size);
		status = status != 0 ? status : buf_add(out, name.data, name.size);
	}
	return status != 0 ? status : buf_add(out, items, (size_t)(at - items));
}

int progress_write_slices(
	struct progress *progress, int (*fn)(void *arg, uint64_t base, struct bytes row), void *arg)
{
	struct buf row = BUF_INIT;
	int status = 0;

	while (progress->dirty != NULL && status == 0) {
		struct slice *slice = progress->dirty;
		buf_reset(&row);
		status = write_slice(progress, slice, &row);
		if (status == 0 && (row.size > 0 || slice->stored)) {
			status = fn(arg, slice->base, buf_bytes(&row));
		}
		if (status == 0) {
			slice->stored = row.size > 0;
			slice->dirty = false;
			progress->dirty = slice->dirty_next;
			progress->dirty_count--;
			if (slice->count == 0) {
				progress_slice_remove(progress, slice);
			}
		}
	}
	buf_release(&row);
	return status;
}

int progress_write_slice(struct progress *progress, uint64_t offset,
	int (*fn)(void *arg, uint64_t base, struct bytes row), void *arg)
{
	struct slice *slice = progress_slice_find(progress, offset & ~(uint64_t)(SLICE_EVENTS - 1));
	struct buf row = BUF_INIT;
	int status = 0;

	if (slice != NULL) {
		status = write_slice(progress, slice, &row);
		status = status != 0 ? status : fn(arg, slice->base, buf_bytes(&row));
		slice->stored = true; /* perhaps; deleting what is not there does no harm */
		progress_mark(progress, slice);
	}
	buf_release(&row);
	return status;
}

int progress_write_head(const struct progress *progress, struct buf *out)
{
	uint8_t row[HEAD_BYTES];

	row[0] = VERSION;
	store_u32(row + 1, progress->epoch);
	store_u64(row + 5, progress->cursor);
	store_u64(row + 13, progress->gone_events);
	return buf_add(out, row, sizeof(row));
}

int progress_load_head(struct progress *progress, struct bytes row)
{
	if (row.size < HEAD_BYTES || row.data[0] != VERSION) {
		return ANNALS_E_CORRUPT_DATA;
	}
	progress->epoch = load_u32(row.data + 1);
	progress->cursor = load_u64(row.data + 5);
	progress->gone_events = load_u64(row.data + 13);
	progress->active_from = progress->cursor;
	progress->head_dirty = false;
	return 0;
}

/* ---- Reading ---- */

struct reader {
	const uint8_t *at, *end;
	bool failed;
};

static struct bytes take(struct reader *reader, size_t size)
{
	struct bytes bytes = bytes_of(reader->at, size);

	if (reader->failed || (size_t)(reader->end - reader->at) < size) {
		reader->failed = true;
		return bytes_of(NULL, 0);
	}
	reader->at += size;
	return bytes;
}

static uint8_t take_u8(struct reader *reader)
{
	struct bytes bytes = take(reader, 1);

	return bytes.size == 0 ? 0 : bytes.data[0];
}

static uint64_t take_u64(struct reader *reader)
{
	struct bytes bytes = take(reader, 8);

	return bytes.size == 0 ? 0 : load_u64(bytes.data);
}

static uint32_t take_varint(struct reader *reader)
{
	uint64_t value = 0;
	size_t size = varint_get(reader->at, (size_t)(reader->end - reader->at), &value);

	if (reader->failed || size == 0 || value > UINT32_MAX) {
		reader->failed = true;
		return 0;
	}
	reader->at += size;
	return (uint32_t)value;
}

static int read_item(struct progress *progress, struct reader *reader, uint64_t base,
	const struct bytes *names, uint32_t name_count, uint64_t *due_us)
{
	uint8_t place = take_u8(reader), bits = take_u8(reader), name;
	enum item_state state = (enum item_state)(bits & STATE_MASK);
	bool timed = state == ITEM_LEASED || state == ITEM_DELAYED;
	struct item loaded = {.offset = base + place % SLICE_EVENTS};
	uint32_t index, attempts;
	int status;

	loaded.deliveries = take_varint(reader);
	attempts = take_varint(reader);
	loaded.attempts = (uint16_t)ANNALS_MIN(attempts, UINT16_MAX);
	loaded.key_hash = (bits & BIT_KEY) != 0 ? take_u64(reader) : 0;
	if (timed && (bits & BIT_SAME_DUE) == 0) {
		*due_us = take_u64(reader);
	}
	loaded.lease_ms = state == ITEM_LEASED ? take_varint(reader) : 0;
	if ((bits & BIT_MEMBER) != 0) {
		name = take_u8(reader);
		if (reader->failed || name >= name_count) {
			return ANNALS_E_CORRUPT_DATA;
		}
		status = member_names_get(progress->members, names[name], &loaded.member);
		if (status != 0) {
			return status;
		}
	}
	if (reader->failed || state == ITEM_FREE || state >= ITEM_FINISHING ||
		progress_item(progress, loaded.offset) != NULL ||
		(state == ITEM_LEASED && loaded.member == 0) ||
		((bits & BIT_KEY) == 0 && (place & BIT_CHAINED) != 0)) {
		member_names_unref(progress->members, loaded.member);
		return ANNALS_E_CORRUPT_DATA;
	}
	if (loaded.offset >= progress->cursor && state != ITEM_PARKED) {
		/* Written by a commit that did not move the cursor: nobody was told. */
		member_names_unref(progress->members, loaded.member);
		return 0;
	}
	if (ANNALS_MUTATION("forget_leases") && state == ITEM_LEASED) {
		state = ITEM_READY;
	}
	/* The timer must be known before the item takes its place in a heap. */
	status =
		progress_item_add(progress, loaded.offset, loaded.key_hash, ITEM_FINISHING, &index);
	if (status != 0) {
		member_names_unref(progress->members, loaded.member);
		return status;
	}
	item_at(progress, index)->due_us = timed ? *due_us : 0;
	item_at(progress, index)->deliveries = loaded.deliveries;
	item_at(progress, index)->attempts = loaded.attempts;
	item_at(progress, index)->lease_ms = loaded.lease_ms;
	item_at(progress, index)->member = loaded.member;
	item_at(progress, index)->has_history = (place & BIT_HISTORY) != 0;
	progress_set_state(progress, index, state);
	if ((place & BIT_CHAINED) != 0) {
		chain_add(progress, index);
	}
	return 0;
}

int progress_load_slice(struct progress *progress, uint64_t base, struct bytes row)
{
	struct reader reader = {row.data, row.data + row.size, false};
	struct bytes names[SLICE_EVENTS];
	uint64_t due_us = 0;
	uint32_t name_count;
	int status = 0;

	if (take_u8(&reader) != VERSION || base % SLICE_EVENTS != 0) {
		return ANNALS_E_CORRUPT_DATA;
	}
	name_count = take_u8(&reader);
	if (name_count > SLICE_EVENTS) {
		return ANNALS_E_CORRUPT_DATA;
	}
	for (uint32_t i = 0; i < name_count; i++) {
		names[i] = take(&reader, take_u8(&reader));
	}
	if (reader.failed) {
		return ANNALS_E_CORRUPT_DATA;
	}
	while (status == 0 && reader.at < reader.end) {
		status = read_item(progress, &reader, base, names, name_count, &due_us);
	}
	return status;
}

void progress_load_end(struct progress *progress)
{
	/* What was loaded is what is stored. */
	while (progress->dirty != NULL) {
		struct slice *slice = progress->dirty;
		progress->dirty = slice->dirty_next;
		slice->dirty = false;
		slice->stored = true;
	}
	progress->dirty_count = 0;
	for (uint32_t i = 0; i < progress->chain_capacity; i++) {
		uint32_t head = progress->chains[i].head;
		if (head != 0 && item_at(progress, head)->state == ITEM_WAITING) {
			progress_set_state(progress, head, ITEM_READY);
		}
	}
}
