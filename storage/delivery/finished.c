/*
 * The last events of a group that ended: acknowledged, gone, or taken back by a seek. A ring, also
 * in rows, so that their story can be told after a restart.
 *
 * Row of a block of 16 neighbours in the ring: version u8 = 1, count of names u8, count of events
 * u8, `next` u64 (how many had ended when it was written), the names (length u8, bytes), then of
 * each event: topic u32, partition u32, offset, leased, deadline, ended u64 each, number u32,
 * outcome u8, its place in the ring u16, index of the member's name + 1 u8 (0: none), has history
 * u8. Changed blocks are written once per commit, so a commit writes at most the ring.
 */
#include "delivery_internal.h"

#include <stdlib.h>

#define VERSION 1u
#define HEAD_BYTES (3 + 8)
#define EVENT_BYTES (4 + 4 + 8 + 8 + 8 + 8 + 4 + 1 + 2 + 1 + 1)

static_assert(FINISHED_KEPT % (FINISHED_BLOCK * 64) == 0, "one bit for each block");

static int make_ring(struct group *group)
{
	if (group->finished == NULL) {
		group->finished = calloc(FINISHED_KEPT, sizeof(*group->finished));
	}
	return group->finished == NULL ? ANNALS_E_NO_MEMORY : 0;
}

void finished_release(struct group *group)
{
	for (uint32_t i = 0; group->finished != NULL && i < FINISHED_KEPT; i++) {
		member_names_unref(&group->names, group->finished[i].member);
	}
	free(group->finished);
	group->finished = NULL;
}

void finished_forget_partition(struct group *group, const struct group_partition *at)
{
	for (uint32_t i = 0; group->finished != NULL && i < FINISHED_KEPT; i++) {
		if (group->finished[i].at == at) {
			group->finished[i].at = NULL;
		}
	}
}

/* The attempts of the event that leaves the ring, unless it is in work again. */
static void drop_history(const struct finished *finished)
{
	const struct item *item;

	if (finished->at != NULL && finished->has_history) {
		item = progress_item(&finished->at->progress, finished->offset);
		if (item == NULL || !item->has_history) {
			attempts_forget(finished->at, finished->offset);
		}
	}
}

bool finished_keep(struct group_partition *at, const struct item *item, uint8_t outcome)
{
	struct group *group = at->group;
	struct finished *finished;
	uint32_t place = (uint32_t)(group->finished_next % FINISHED_KEPT);

	if (make_ring(group) != 0) {
		return false;
	}
	finished = &group->finished[place];
	drop_history(finished);
	member_names_unref(&group->names, finished->member);
	if (item->member != 0) {
		member_names_ref(&group->names, item->member);
	}
	*finished = (struct finished){.at = at,
		.offset = item->offset,
		.leased_us = item->due_us - item->lease_ms * UINT64_C(1000),
		.deadline_us = item->due_us,
		.ended_us = delivery_now_us(group->delivery),
		.member = item->member,
		.number = item->deliveries,
		.outcome = outcome,
		.has_history = item->has_history};
	group->finished_next++;
	group->finished_dirty[place / FINISHED_BLOCK / 64] |= UINT64_C(1)
							      << (place / FINISHED_BLOCK % 64);
	return true;
}

const struct finished *finished_find(const struct group_partition *at, uint64_t offset)
{
	const struct group *group = at->group;

	for (uint32_t i = 0; group->finished != NULL && i < FINISHED_KEPT; i++) {
		const struct finished *finished =
			&group->finished[(group->finished_next - 1 - i) % FINISHED_KEPT];
		if (finished->at == at && finished->offset == offset) {
			return finished;
		}
	}
	return NULL;
}

/* ---- Rows ---- */

/* The index of a member among the names of a block, plus 1. */
static uint8_t name_index(uint32_t *names, uint8_t *count, uint32_t member)
{
	for (uint8_t i = 0; i < *count; i++) {
		if (names[i] == member) {
			return i + 1;
		}
	}
	names[(*count)++] = member;
	return *count;
}

static int add_event(struct buf *out, const struct finished *finished, uint32_t place, uint8_t name)
{
	uint8_t bytes[EVENT_BYTES];

	store_u32(bytes, finished->at->topic_id);
	store_u32(bytes + 4, finished->at->partition);
	store_u64(bytes + 8, finished->offset);
	store_u64(bytes + 16, finished->leased_us);
	store_u64(bytes + 24, finished->deadline_us);
	store_u64(bytes + 32, finished->ended_us);
	store_u32(bytes + 40, finished->number);
	bytes[44] = finished->outcome;
	store_u16(bytes + 45, (uint16_t)place);
	bytes[47] = name;
	bytes[48] = finished->has_history;
	return buf_add(out, bytes, sizeof(bytes));
}

static int write_block(struct group *group, uint32_t block, struct buf *row, struct buf *events)
{
	uint32_t names[FINISHED_BLOCK];
	uint8_t head[HEAD_BYTES], name_count = 0, event_count = 0, number[4];
	struct row_key key;
	int status = 0;

	buf_reset(row);
	buf_reset(events);
	for (uint32_t i = 0; i < FINISHED_BLOCK && status == 0; i++) {
		uint32_t place = block * FINISHED_BLOCK + i;
		const struct finished *finished = &group->finished[place];
		if (finished->at != NULL) {
			uint8_t name = finished->member == 0
					       ? 0
					       : name_index(names, &name_count, finished->member);
			status = add_event(events, finished, place, name);
			event_count++;
		}
	}
	head[0] = VERSION;
	head[1] = name_count;
	head[2] = event_count;
	store_u64(head + 3, group->finished_next);
	status = status != 0 ? status : buf_add(row, head, sizeof(head));
	for (uint8_t i = 0; i < name_count && status == 0; i++) {
		struct bytes text = member_names_text(&group->names, names[i]);
		status = buf_add_byte(row, (uint8_t)text.size);
		status = status != 0 ? status : buf_add(row, text.data, text.size);
	}
	status = status != 0 ? status : buf_add(row, events->data, events->size);
	if (status == 0) {
		store_u32_be(number, block);
		key = row_key_group(ROW_FINISHED, group->id, bytes_of(number, 4));
		status = row_batch_add(&group->delivery->rows, row_key_bytes(&key), buf_bytes(row));
	}
	return status;
}

int finished_write(struct group *group)
{
	struct buf row = BUF_INIT, events = BUF_INIT;
	int status = 0;

	for (uint32_t i = 0; i < ANNALS_COUNT_OF(group->finished_dirty); i++) {
		uint64_t *dirty = &group->finished_dirty[i];
		while (*dirty != 0 && status == 0) {
			status = write_block(
				group, i * 64 + (uint32_t)__builtin_ctzll(*dirty), &row, &events);
			if (status == 0) {
				*dirty &= *dirty - 1;
			}
		}
	}
	buf_release(&row);
	buf_release(&events);
	return status;
}

static int load_event(
	struct group *group, const uint8_t *bytes, const struct bytes *names, uint8_t name_count)
{
	uint32_t place = load_u16(bytes + 45);
	uint8_t name = bytes[47];
	struct finished *finished;
	uint32_t member = 0;
	int status;

	if (place >= FINISHED_KEPT || name > name_count) {
		return ANNALS_E_CORRUPT_DATA;
	}
	finished = &group->finished[place];
	if (name > 0) {
		status = member_names_get(&group->names, names[name - 1], &member);
		if (status != 0) {
			return status;
		}
	}
	member_names_unref(&group->names, finished->member);
	*finished = (struct finished){
		.at = group_partition_find(group, load_u32(bytes), load_u32(bytes + 4)),
		.offset = load_u64(bytes + 8),
		.leased_us = load_u64(bytes + 16),
		.deadline_us = load_u64(bytes + 24),
		.ended_us = load_u64(bytes + 32),
		.member = member,
		.number = load_u32(bytes + 40),
		.outcome = bytes[44],
		.has_history = bytes[48] != 0};
	return 0;
}

int finished_load_row(void *arg, struct bytes key, struct bytes value)
{
	struct group *group = arg;
	struct bytes names[FINISHED_BLOCK];
	size_t at = HEAD_BYTES;
	uint8_t name_count, event_count;
	int status = make_ring(group);

	(void)key;
	if (status != 0) {
		return status;
	}
	if (value.size < HEAD_BYTES || value.data[0] != VERSION || value.data[1] > FINISHED_BLOCK ||
		value.data[2] > FINISHED_BLOCK) {
		return ANNALS_E_CORRUPT_DATA;
	}
	name_count = value.data[1];
	event_count = value.data[2];
	group->finished_next = ANNALS_MAX(group->finished_next, load_u64(value.data + 3));
	for (uint8_t i = 0; i < name_count; i++) {
		if (value.size - at < 1 || value.size - at - 1 < value.data[at] ||
			value.data[at] > MEMBER_NAME_MAX || value.data[at] == 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		names[i] = bytes_of(value.data + at + 1, value.data[at]);
		at += 1 + names[i].size;
	}
	if (value.size - at != (size_t)event_count * EVENT_BYTES) {
		return ANNALS_E_CORRUPT_DATA;
	}
	for (uint8_t i = 0; i < event_count && status == 0; i++) {
		status = load_event(
			group, value.data + at + (size_t)i * EVENT_BYTES, names, name_count);
	}
	return status;
}
