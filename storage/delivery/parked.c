/*
 * Parked events and the record of failed attempts.
 *
 * Copy of a parked event, first part: version u8 = 1, parts u16, bytes of the event u32, parked,
 * position, recorded u64 each, deliveries u32, length of the member u8 and its name, length of the
 * reason u16 and its text, then as much of the event as fits; further parts hold the rest.
 * Attempts: version u8 = 1, count u8, then each: number u32, outcome u8, leased, deadline, ended
 * u64 each, member and reason as above.
 */
#include "delivery_internal.h"

#include <annals/fault.h>
#include <stdlib.h>

#define VERSION 1u
#define PART_BYTES 58000u
#define PARKED_FIXED (1 + 2 + 4 + 8 + 8 + 8 + 4)
#define ATTEMPT_FIXED (4 + 1 + 8 + 8 + 8)
#define COUNT_DEFAULT 10000u

void parked_request_release(struct parked_request *request)
{
	free(request->parked);
	request->parked = NULL;
	request->parked_count = 0;
	buf_release(&request->bytes);
}

struct text_reader {
	const uint8_t *at, *end;
};

/* A text of at most `max` bytes with a length of `width` bytes before it, as a C string. */
static bool read_text(struct text_reader *reader, unsigned width, size_t max, char *ret)
{
	size_t size;

	if ((size_t)(reader->end - reader->at) < width) {
		return false;
	}
	size = width == 1 ? reader->at[0] : load_u16(reader->at);
	reader->at += width;
	if (size > max || (size_t)(reader->end - reader->at) < size) {
		return false;
	}
	memcpy(ret, reader->at, size);
	ret[size] = 0;
	reader->at += size;
	return true;
}

static int add_text(struct buf *out, unsigned width, struct bytes text, size_t max)
{
	uint8_t length[2];

	text.size = ANNALS_MIN(text.size, max);
	store_u16(length, (uint16_t)text.size);
	return buf_add(out, length, width) == 0 && buf_add(out, text.data, text.size) == 0
		       ? 0
		       : ANNALS_E_NO_MEMORY;
}

/* ---- Attempts ---- */

static int read_attempt(struct text_reader *reader, struct attempt_info *ret)
{
	if (reader->end - reader->at < ATTEMPT_FIXED) {
		return ANNALS_E_CORRUPT_DATA;
	}
	ret->number = load_u32(reader->at);
	ret->outcome = (enum attempt_outcome)reader->at[4];
	ret->leased_us = load_u64(reader->at + 5);
	ret->deadline_us = load_u64(reader->at + 13);
	ret->ended_us = load_u64(reader->at + 21);
	reader->at += ATTEMPT_FIXED;
	return read_text(reader, 1, MEMBER_NAME_MAX, ret->member) &&
			       read_text(reader, 2, REASON_BYTES_MAX, ret->reason)
		       ? 0
		       : ANNALS_E_CORRUPT_DATA;
}

static int write_attempt(struct buf *out, const struct attempt_info *attempt)
{
	uint8_t fixed[ATTEMPT_FIXED];
	int status;

	store_u32(fixed, attempt->number);
	fixed[4] = (uint8_t)attempt->outcome;
	store_u64(fixed + 5, attempt->leased_us);
	store_u64(fixed + 13, attempt->deadline_us);
	store_u64(fixed + 21, attempt->ended_us);
	status = buf_add(out, fixed, sizeof(fixed));
	status = status != 0 ? status
			     : add_text(out, 1, bytes_text(attempt->member), MEMBER_NAME_MAX);
	return status != 0 ? status
			   : add_text(out, 2, bytes_text(attempt->reason), REASON_BYTES_MAX);
}

/* Reads them into an array of ATTEMPTS_KEPT; 0 of them is no error. */
static size_t read_attempts(
	const struct group_partition *at, uint64_t offset, struct attempt_info *attempts)
{
	struct row_key key = row_key_place(ROW_ATTEMPTS, at, offset, 0);
	struct buf row = BUF_INIT;
	size_t count = 0;

	if (delivery_row_get(at->group->delivery, &key, &row) == 1 && row.size >= 2 &&
		row.data[0] == VERSION) {
		struct text_reader reader = {row.data + 2, row.data + row.size};
		while (count < ATTEMPTS_KEPT && count < row.data[1] &&
			read_attempt(&reader, &attempts[count]) == 0) {
			count++;
		}
	}
	buf_release(&row);
	return count;
}

static void current_attempt(const struct group *group, const struct item *item,
	enum attempt_outcome outcome, struct attempt_info *ret)
{
	struct bytes member = member_names_text(&group->names, item->member);

	memset(ret, 0, sizeof(*ret));
	ret->number = item->deliveries;
	ret->outcome = outcome;
	ret->deadline_us = item->due_us;
	ret->leased_us = item->due_us - item->lease_ms * UINT64_C(1000);
	ret->ended_us = outcome == ATTEMPT_LEASED ? 0 : delivery_now_us(group->delivery);
	if (member.size > 0) {
		memcpy(ret->member, member.data, ANNALS_MIN(member.size, MEMBER_NAME_MAX));
	}
	if (group->reason.size > 0) {
		memcpy(ret->reason, group->reason.data,
			ANNALS_MIN(group->reason.size, REASON_BYTES_MAX));
	}
}

static void keep_attempt(
	struct group_partition *at, const struct item *item, enum attempt_outcome outcome)
{
	struct attempt_info *attempts = calloc(ATTEMPTS_KEPT + 1, sizeof(*attempts));
	struct row_key key = row_key_place(ROW_ATTEMPTS, at, item->offset, 0);
	struct buf row = BUF_INIT;
	size_t count, first;
	int status;

	if (attempts == NULL) {
		return; /* a record that is missing does no harm */
	}
	count = item->has_history ? read_attempts(at, item->offset, attempts) : 0;
	current_attempt(at->group, item, outcome, &attempts[count++]);
	first = count > ATTEMPTS_KEPT ? 1 : 0;
	status = buf_add_byte(&row, VERSION);
	status = status != 0 ? status : buf_add_byte(&row, (uint8_t)(count - first));
	for (size_t i = first; i < count && status == 0; i++) {
		status = write_attempt(&row, &attempts[i]);
	}
	if (status == 0 && row_batch_add(&at->group->delivery->rows, row_key_bytes(&key),
				   buf_bytes(&row)) == 0) {
		progress_set_history(&at->progress, item->offset);
	}
	buf_release(&row);
	free(attempts);
}

/* ---- Copies ---- */

static int read_head(struct bytes row, struct parked_info *ret, uint32_t *ret_parts,
	uint32_t *ret_bytes, size_t *ret_head)
{
	struct text_reader reader = {row.data + PARKED_FIXED, row.data + row.size};

	if (row.size < PARKED_FIXED || row.data[0] != VERSION) {
		return ANNALS_E_CORRUPT_DATA;
	}
	*ret_parts = load_u16(row.data + 1);
	*ret_bytes = load_u32(row.data + 3);
	ret->parked_us = load_u64(row.data + 7);
	ret->position = load_u64(row.data + 15);
	ret->recorded_us = load_u64(row.data + 23);
	ret->deliveries = load_u32(row.data + 31);
	if (!read_text(&reader, 1, MEMBER_NAME_MAX, ret->member) ||
		!read_text(&reader, 2, REASON_BYTES_MAX, ret->reason)) {
		return ANNALS_E_CORRUPT_DATA;
	}
	*ret_head = (size_t)(reader.at - row.data);
	return 0;
}

int parked_copy_read(const struct group_partition *at, uint64_t offset, struct parked_info *ret,
	struct buf *bytes)
{
	struct delivery *delivery = at->group->delivery;
	struct row_key key = row_key_place(ROW_PARKED, at, offset, 0);
	struct buf row = BUF_INIT;
	uint32_t parts = 0, size = 0;
	size_t head = 0;
	int found = delivery_row_get(delivery, &key, &row);

	memset(ret, 0, sizeof(*ret));
	if (found == 1 && read_head(buf_bytes(&row), ret, &parts, &size, &head) != 0) {
		found = ANNALS_E_CORRUPT_DATA;
	}
	ret->topic_id = at->topic_id;
	ret->partition = at->partition;
	ret->offset = offset;
	ret->at = bytes->size;
	if (found == 1) {
		found = buf_add(bytes, row.data + head, row.size - head) == 0 ? 1
									      : ANNALS_E_NO_MEMORY;
	}
	for (uint32_t i = 1; i < parts && found == 1; i++) {
		key = row_key_place(ROW_PARKED, at, offset, i);
		found = delivery_row_get(delivery, &key, bytes);
	}
	ret->size = bytes->size - ret->at;
	if (found == 1 && ret->size != size) {
		found = ANNALS_E_CORRUPT_DATA;
	}
	buf_release(&row);
	return found == 1 && size == 0 ? 0 : found;
}

static void count_bytes(struct group *group, uint64_t bytes, bool more)
{
	group->parked_bytes = more ? group->parked_bytes + bytes
				   : group->parked_bytes - ANNALS_MIN(group->parked_bytes, bytes);
}

/* A row that stays for want of memory does no harm: its event is over. */
static void drop_row(struct delivery *delivery, const struct row_key *key)
{
	if (row_batch_add(&delivery->rows, row_key_bytes(key), bytes_of(NULL, 0)) != 0) {
		return;
	}
}

static void forget_copy(struct group_partition *at, uint64_t offset)
{
	struct delivery *delivery = at->group->delivery;
	struct row_key key = row_key_place(ROW_PARKED, at, offset, 0);
	struct parked_info info = {0};
	struct buf row = BUF_INIT;
	uint32_t parts, size;
	size_t head;

	if (delivery_row_get(delivery, &key, &row) == 1 &&
		read_head(buf_bytes(&row), &info, &parts, &size, &head) == 0) {
		count_bytes(at->group, size, false);
		for (uint32_t i = 0; i < parts; i++) {
			key = row_key_place(ROW_PARKED, at, offset, i);
			drop_row(delivery, &key);
		}
	}
	buf_release(&row);
}

void attempts_forget(struct group_partition *at, uint64_t offset)
{
	struct row_key key = row_key_place(ROW_ATTEMPTS, at, offset, 0);

	drop_row(at->group->delivery, &key);
}

void parked_forget(struct group_partition *at, uint64_t offset)
{
	attempts_forget(at, offset);
	forget_copy(at, offset);
}

static int write_copy(struct group_partition *at, const struct item *item,
	const struct read_event *event, struct bytes reason)
{
	struct delivery *delivery = at->group->delivery;
	struct bytes data = event->encoded;
	struct buf row = BUF_INIT;
	uint8_t fixed[PARKED_FIXED];
	size_t first = ANNALS_MIN(data.size, PART_BYTES);
	uint32_t parts = 1 + (uint32_t)((data.size - first + PART_BYTES - 1) / PART_BYTES);
	struct row_key key = row_key_place(ROW_PARKED, at, item->offset, 0);
	int status;

	fixed[0] = VERSION;
	store_u16(fixed + 1, (uint16_t)parts);
	store_u32(fixed + 3, (uint32_t)data.size);
	store_u64(fixed + 7, delivery_now_us(delivery));
	store_u64(fixed + 15, event->position);
	store_u64(fixed + 23, event->recorded_us);
	store_u32(fixed + 31, item->deliveries);
	status = buf_add(&row, fixed, sizeof(fixed));
	status = status != 0 ? status
			     : add_text(&row, 1, member_names_text(&at->group->names, item->member),
				       MEMBER_NAME_MAX);
	status = status != 0 ? status : add_text(&row, 2, reason, REASON_BYTES_MAX);
	status = status != 0 ? status : buf_add(&row, data.data, first);
	status = status != 0 ? status
			     : row_batch_add(&delivery->rows, row_key_bytes(&key), buf_bytes(&row));
	for (uint32_t i = 1; i < parts && status == 0; i++) {
		size_t from = (size_t)i * PART_BYTES;
		key = row_key_place(ROW_PARKED, at, item->offset, i);
		status = row_batch_add(&delivery->rows, row_key_bytes(&key),
			bytes_of(data.data + from, ANNALS_MIN(data.size - from, PART_BYTES)));
	}
	buf_release(&row);
	count_bytes(at->group, data.size, true);
	return status;
}

static void keep_copy(struct group_partition *at, const struct item *item)
{
	struct bytes reason = at->group->reason;
	struct read_event event = {.offset = item->offset};
	struct buf scratch = BUF_INIT;

	if (reason.size == 0 && !ANNALS_MUTATION("park_without_reason")) {
		reason = bytes_text("not acknowledged in time, or refused without a reason");
	}
	if (delivery_read_again(at, item->offset, &event, &scratch) != 1) {
		event.encoded = bytes_of(NULL, 0); /* gone, or unreadable: its place remains */
	}
	if (item->has_history) {
		forget_copy(at, item->offset); /* of an earlier time */
	}
	(void)write_copy(at, item, &event, reason);
	buf_release(&scratch);
}

void parked_load(struct group *group)
{
	struct list_node *node;

	LIST_FOR_EACH (node, &group->partitions) {
		struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
		const struct item *item = progress_next_item(&at->progress, 0);
		for (; item != NULL; item = progress_next_item(&at->progress, item->offset + 1)) {
			struct row_key key = row_key_place(ROW_PARKED, at, item->offset, 0);
			struct parked_info info;
			struct buf row = BUF_INIT;
			uint32_t parts, size;
			size_t head;
			if (item->has_history &&
				delivery_row_get(group->delivery, &key, &row) == 1 &&
				read_head(buf_bytes(&row), &info, &parts, &size, &head) == 0) {
				count_bytes(group, size, true);
			}
			buf_release(&row);
		}
	}
}

/* ---- What happens to events ---- */

void group_note(void *arg, enum progress_outcome outcome, const struct item *item)
{
	struct group_partition *at = arg;
	struct group *group = at->group;
	bool keeps = false;

	switch (outcome) {
	case PROGRESS_LEASED:
		group->deliveries++;
		group->redeliveries += item->deliveries > 1 ? 1 : 0;
		return;
	case PROGRESS_REFUSED:
		group->refused++;
		keep_attempt(at, item, ATTEMPT_REFUSED);
		return;
	case PROGRESS_LEASE_ENDED:
		group->expired++;
		keep_attempt(at, item, ATTEMPT_EXPIRED);
		return;
	case PROGRESS_LEFT:
		keep_attempt(at, item, ATTEMPT_LEFT);
		return;
	case PROGRESS_PARKED:
		group->parked_total++;
		keep_copy(at, item);
		return;
	case PROGRESS_REPLAYED:
		return;
	case PROGRESS_ACKNOWLEDGED:
		group->acknowledged++;
		keeps = finished_keep(at, item, ATTEMPT_ACKNOWLEDGED);
		break;
	case PROGRESS_GONE:
		keeps = finished_keep(at, item, ATTEMPT_GONE);
		break;
	case PROGRESS_FENCED:
		keeps = item->state == ITEM_LEASED && finished_keep(at, item, ATTEMPT_FENCED);
		break;
	case PROGRESS_DROPPED:
		break;
	}
	if (item->has_history && keeps) {
		forget_copy(at, item->offset);
	} else if (item->has_history) {
		parked_forget(at, item->offset);
	}
}

/* ---- Requests about parked events ---- */

static struct group *group_of(struct delivery *delivery, struct delivery_request *request)
{
	struct group *group = group_find(delivery, bytes_text(request->group));

	if (group == NULL) {
		delivery_answer(delivery, request, ANNALS_E_UNKNOWN_GROUP, "there is no group '%s'",
			request->group);
	} else if (group->config.mode != GROUP_BY_EVENT) {
		delivery_answer(delivery, request, ANNALS_E_GROUP_MODE,
			"the group '%s' delivers by offset: it has no such events", request->group);
		group = NULL;
	}
	return group;
}

static bool comes_after(const struct group_partition *at, const struct parked_request *request)
{
	return !request->has_place || at->topic_id > request->topic_id ||
	       (at->topic_id == request->topic_id && at->partition >= request->partition);
}

static int list_partition(struct parked_request *request, struct group_partition *at)
{
	bool same = request->has_place && at->topic_id == request->topic_id &&
		    at->partition == request->partition;
	const struct item *item = progress_next_item(&at->progress, same ? request->offset + 1 : 0);

	for (; item != NULL && request->parked_count < request->limit;
		item = progress_next_item(&at->progress, item->offset + 1)) {
		struct parked_info *info = &request->parked[request->parked_count];
		if (item->state != ITEM_PARKED) {
			continue;
		}
		if (request->bytes.size > POLL_BYTES_MAX) {
			request->limit = (uint32_t)request->parked_count;
			break;
		}
		if (parked_copy_read(at, item->offset, info, &request->bytes) ==
			ANNALS_E_NO_MEMORY) {
			return ANNALS_E_NO_MEMORY;
		}
		info->deliveries = item->deliveries;
		request->parked_count++;
	}
	return 0;
}

static void list_parked(
	struct delivery *delivery, struct group *group, struct parked_request *request)
{
	struct list_node *node;
	int status = 0;

	if (request->limit == 0 || request->limit > PARKED_PAGE_MAX) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_INVALID,
			"a page has 1 to %u parked events", PARKED_PAGE_MAX);
		return;
	}
	request->parked = calloc(request->limit, sizeof(*request->parked));
	status = request->parked == NULL ? ANNALS_E_NO_MEMORY : 0;
	request->count = 0;
	LIST_FOR_EACH (node, &group->partitions) {
		struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
		request->count += at->progress.counts[ITEM_PARKED];
		if (status == 0 && at->progress.counts[ITEM_PARKED] > 0 &&
			comes_after(at, request)) {
			status = list_partition(request, at);
		}
	}
	delivery_answer(delivery, &request->delivery, status, "no memory to list parked events");
}

static int change_one(
	struct group_partition *at, uint64_t offset, const struct parked_request *request)
{
	bool finished = false;
	int status;

	if (request->dry_run) {
		return 0;
	}
	status = request->delivery.operation == DELIVERY_PARKED_DROP
			 ? progress_drop(&at->progress, offset)
			 : progress_replay(&at->progress, offset, &finished);
	if (finished) {
		parked_forget(at, offset);
	}
	delivery_mark(at);
	return status;
}

static int change_partition(struct group_partition *at, struct parked_request *request)
{
	const struct item *item =
		progress_next_item(&at->progress, request->has_place ? request->offset : 0);
	uint32_t limit = request->limit == 0 ? COUNT_DEFAULT : request->limit;
	int status = 0;

	while (item != NULL && status == 0 && request->count < limit) {
		uint64_t offset = item->offset;
		if (request->has_place && offset != request->offset) {
			break;
		}
		if (item->state == ITEM_PARKED) {
			status = change_one(at, offset, request);
			request->count += status == 0 ? 1 : 0;
		}
		item = progress_next_item(&at->progress, offset + 1);
	}
	return status;
}

void delivery_parked(struct delivery *delivery, struct parked_request *request)
{
	struct group *group = group_of(delivery, &request->delivery);
	struct list_node *node;
	int status = 0;

	if (group == NULL) {
		return;
	}
	if (request->delivery.operation == DELIVERY_PARKED_LIST) {
		list_parked(delivery, group, request);
		return;
	}
	request->count = 0;
	LIST_FOR_EACH (node, &group->partitions) {
		struct group_partition *at = LIST_ENTRY(node, struct group_partition, node);
		if (status == 0 && at->progress.counts[ITEM_PARKED] > 0 &&
			(request->topic_id == 0 || request->topic_id == at->topic_id) &&
			(!request->has_place || request->partition == at->partition)) {
			status = change_partition(at, request);
		}
	}
	if (status == 0 && request->has_place && request->count == 0) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_NOT_FOUND,
			"the group '%s' has not parked this event", request->delivery.group);
		return;
	}
	delivery_answer(delivery, &request->delivery, status, "no memory for parked events");
	group_serve_polls(group);
}

/* ---- Explaining ---- */

static const enum explain_state explain_states[ITEM_STATES] = {
	[ITEM_READY] = EXPLAIN_READY,
	[ITEM_LEASED] = EXPLAIN_LEASED,
	[ITEM_DELAYED] = EXPLAIN_DELAYED,
	[ITEM_WAITING] = EXPLAIN_WAITING,
	[ITEM_PARKED] = EXPLAIN_PARKED,
	[ITEM_FINISHING] = EXPLAIN_LEASED,
};

static void explain_finished(struct group_partition *at, struct explain_request *request)
{
	const struct finished *finished = finished_find(at, request->offset);
	struct attempt_info *attempt;
	struct bytes member;

	if (finished == NULL) {
		return;
	}
	if (finished->has_history) {
		request->attempt_count = read_attempts(at, request->offset, request->attempts_kept);
	}
	member = member_names_text(&at->group->names, finished->member);
	attempt = &request->attempts_kept[request->attempt_count++];
	*attempt = (struct attempt_info){.number = finished->number,
		.outcome = (enum attempt_outcome)finished->outcome,
		.leased_us = finished->leased_us,
		.deadline_us = finished->deadline_us,
		.ended_us = finished->ended_us};
	if (member.size > 0) {
		memcpy(attempt->member, member.data, ANNALS_MIN(member.size, MEMBER_NAME_MAX));
	}
	request->deliveries = finished->number;
}

void delivery_explain(struct delivery *delivery, struct explain_request *request)
{
	struct group *group = group_of(delivery, &request->delivery);
	struct group_partition *at;
	struct partition_info info;
	const struct item *item;

	if (group == NULL) {
		return;
	}
	at = group_partition_find(group, request->topic_id, request->partition);
	if (at == NULL ||
		store_partition_info(delivery->store, at->topic_id, at->partition, &info) != 0) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_UNKNOWN_PARTITION,
			"the group '%s' takes no events from this partition",
			request->delivery.group);
		return;
	}
	if (request->offset >= info.end_offset) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_OFFSET_BEYOND_END,
			"there is no event at offset %llu yet",
			(unsigned long long)request->offset);
		return;
	}
	item = progress_item(&at->progress, request->offset);
	request->attempt_count = 0;
	if (item == NULL) {
		request->state =
			request->offset < at->progress.cursor ? EXPLAIN_FINISHED : EXPLAIN_UNREAD;
		explain_finished(at, request);
	} else {
		request->state = explain_states[item->state];
		request->due_us = item->state == ITEM_LEASED || item->state == ITEM_DELAYED
					  ? item->due_us
					  : 0;
		request->deliveries = item->deliveries;
		request->attempts = item->attempts;
		if (item->has_history) {
			request->attempt_count =
				read_attempts(at, item->offset, request->attempts_kept);
		}
		if (item->state == ITEM_LEASED || item->state == ITEM_FINISHING) {
			current_attempt(group, item, ATTEMPT_LEASED,
				&request->attempts_kept[request->attempt_count++]);
		}
	}
	delivery_answer(delivery, &request->delivery, 0, NULL);
}
