#include "progress.h"

#include <annals/fault.h>

#include <assert.h>

#define SLICE_BASE(offset) ((offset) & ~(uint64_t)(SLICE_EVENTS - 1))

/* ---- Finding ---- */

static uint32_t find(const struct progress *progress, uint64_t offset)
{
	const struct slice *slice = progress_slice_find(progress, SLICE_BASE(offset));

	return slice == NULL ? 0 : slice->items[offset % SLICE_EVENTS];
}

const struct item *progress_item(const struct progress *progress, uint64_t offset)
{
	uint32_t index = find(progress, offset);

	return index == 0 ? NULL : item_at(progress, index);
}

static uint32_t find_next(const struct progress *progress, uint64_t offset)
{
	uint32_t low = 0, high = progress->slice_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (progress->slices[progress->slice_first + middle]->base < SLICE_BASE(offset)) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	for (; low < progress->slice_count; low++) {
		const struct slice *slice = progress->slices[progress->slice_first + low];
		for (uint32_t k = 0; k < SLICE_EVENTS && slice->count > 0; k++) {
			if (slice->items[k] != 0 && slice->base + k >= offset) {
				return slice->items[k];
			}
		}
	}
	return 0;
}

const struct item *progress_next_item(const struct progress *progress, uint64_t offset)
{
	uint32_t index = find_next(progress, offset);

	return index == 0 ? NULL : item_at(progress, index);
}

static bool is_passive(const struct progress *progress, const struct item *item)
{
	const struct chain *chain;

	if (item->state == ITEM_PARKED) {
		return true;
	}
	if (item->state != ITEM_WAITING) {
		return false;
	}
	chain = chain_find(progress, item->key_hash);
	return item_at(progress, chain->head)->state == ITEM_PARKED;
}

uint64_t progress_floor(struct progress *progress)
{
	for (;;) {
		const struct item *item = progress_next_item(progress, progress->active_from);
		if (item == NULL || item->offset >= progress->cursor) {
			progress->active_from = progress->cursor;
			return progress->cursor;
		}
		progress->active_from = item->offset;
		if (!is_passive(progress, item)) {
			return item->offset;
		}
		progress->active_from++;
	}
}

bool progress_is_full(struct progress *progress)
{
	return progress->item_count >= PROGRESS_WINDOW ||
	       (progress->cursor - progress->active_from >= PROGRESS_WINDOW &&
		       progress->cursor - progress_floor(progress) >= PROGRESS_WINDOW);
}

/* ---- Changing ---- */

static void tell(struct progress *progress, enum progress_outcome outcome, uint32_t index)
{
	if (progress->note != NULL) {
		progress->note(progress->arg, outcome, item_at(progress, index));
	}
}

static void touch(struct progress *progress, uint32_t index)
{
	progress_mark(progress,
		progress_slice_find(progress, SLICE_BASE(item_at(progress, index)->offset)));
}

static void drop_member(struct progress *progress, struct item *item)
{
	member_names_unref(progress->members, item->member);
	item->member = 0;
}

static void move_cursor(struct progress *progress, uint64_t offset)
{
	progress->cursor = offset;
	progress->head_dirty = true;
}

static uint32_t lease_ms(uint64_t from_us, uint64_t to_us)
{
	uint64_t ms = to_us > from_us ? (to_us - from_us) / 1000 : 0;

	return (uint32_t)ANNALS_MIN(ms, UINT32_MAX);
}

static void lease_item(struct progress *progress, uint32_t index, uint32_t member, uint64_t now_us,
	uint64_t deadline_us, struct lease *ret)
{
	struct item *item = item_at(progress, index);

	member_names_ref(progress->members, member);
	drop_member(progress, item);
	item->member = member;
	item->deliveries++;
	item->attempts += item->attempts < UINT16_MAX ? 1 : 0;
	item->due_us = deadline_us;
	item->lease_ms = lease_ms(now_us, deadline_us);
	progress_set_state(progress, index, ITEM_LEASED);
	touch(progress, index);
	*ret = (struct lease){item->offset, (uint64_t)progress->epoch << 32 | item->deliveries,
		item->attempts, deadline_us};
	tell(progress, PROGRESS_LEASED, index);
}

/* A parked event that the cursor passes again after seeking back takes its place in its chain. */
static int pass_parked(struct progress *progress, uint32_t index)
{
	struct item *item = item_at(progress, index);

	if (item->key_hash != 0 && !item->chained && !progress->settings->parked_pass) {
		int status = progress_reserve(progress);
		if (status != 0) {
			return status;
		}
		chain_add(progress, index);
		touch(progress, index);
	}
	return 0;
}

int progress_offer(struct progress *progress, uint64_t offset, uint64_t key_hash, uint32_t member,
	uint64_t now_us, uint64_t deadline_us, struct lease *ret)
{
	uint32_t index = find(progress, offset);
	bool waits;
	int status;

	assert(offset >= progress->cursor);
	if (index != 0) {
		status = pass_parked(progress, index);
		if (status == 0) {
			move_cursor(progress, offset + 1);
		}
		return status;
	}
	if (progress_is_full(progress)) {
		return ANNALS_E_LIMIT;
	}
	waits = key_hash != 0 && chain_find(progress, key_hash) != NULL;
	status = progress_item_add(
		progress, offset, key_hash, waits ? ITEM_WAITING : ITEM_READY, &index);
	if (status != 0) {
		return status;
	}
	if (key_hash != 0) {
		chain_add(progress, index);
	}
	move_cursor(progress, offset + 1);
	if (waits) {
		return 0;
	}
	lease_item(progress, index, member, now_us, deadline_us, ret);
	return 1;
}

int progress_lease_ready(struct progress *progress, uint32_t member, uint64_t now_us,
	uint64_t deadline_us, struct lease *ret)
{
	if (progress->ready.count == 0) {
		return 0;
	}
	lease_item(progress, progress->ready.items[0], member, now_us, deadline_us, ret);
	return 1;
}

int progress_skip_to(struct progress *progress, uint64_t offset, bool gone)
{
	uint64_t from = progress->cursor, parked = 0;

	if (offset <= from) {
		return 0;
	}
	for (uint32_t index = find_next(progress, from);
		index != 0 && item_at(progress, index)->offset < offset;
		index = find_next(progress, item_at(progress, index)->offset + 1)) {
		int status = pass_parked(progress, index);
		if (status != 0) {
			return status;
		}
		parked++;
	}
	if (gone) {
		progress->gone_events += offset - from - parked;
	}
	move_cursor(progress, offset);
	return 0;
}

static void finish(struct progress *progress, uint32_t index)
{
	progress_item_free(progress, index);
}

static void park(struct progress *progress, uint32_t index)
{
	tell(progress, PROGRESS_PARKED, index);
	progress_set_state(progress, index, ITEM_PARKED);
	drop_member(progress, item_at(progress, index));
	if (item_at(progress, index)->chained && progress->settings->parked_pass) {
		chain_remove(progress, index);
	}
	touch(progress, index);
}

static bool attempts_used_up(const struct progress *progress, const struct item *item)
{
	return progress->settings->attempts_max != 0 &&
	       item->attempts >= progress->settings->attempts_max;
}

uint32_t progress_run_timers(struct progress *progress, uint64_t now_us, uint32_t max)
{
	uint32_t done = 0;

	while (progress->timers.count > 0 && done < max) {
		uint32_t index = progress->timers.items[0];
		struct item *item = item_at(progress, index);
		if (item->due_us > now_us) {
			break;
		}
		done++;
		if (item->state == ITEM_LEASED) {
			tell(progress, PROGRESS_LEASE_ENDED, index);
			if (attempts_used_up(progress, item)) {
				park(progress, index);
				continue;
			}
		}
		progress_set_state(progress, index, ITEM_READY);
		touch(progress, index);
	}
	return done;
}

uint64_t progress_next_timer(const struct progress *progress)
{
	return progress->timers.count == 0 ? TIME_NEVER
					   : item_at(progress, progress->timers.items[0])->due_us;
}

/* The item that this lease holds (or held last, if it ran out and nobody else got it); 0: lost. */
static uint32_t find_lease(const struct progress *progress, uint64_t offset, uint64_t lease)
{
	uint32_t index = find(progress, offset);
	const struct item *item = index == 0 ? NULL : item_at(progress, index);

	if (item == NULL || lease >> 32 != progress->epoch ||
		((uint32_t)lease != item->deliveries && !ANNALS_MUTATION("believe_old_leases"))) {
		return 0;
	}
	return item->member != 0 ? index : 0;
}

int progress_acknowledge(struct progress *progress, uint64_t offset, uint64_t lease)
{
	uint32_t index = find_lease(progress, offset, lease);

	if (index == 0 || item_at(progress, index)->state == ITEM_FINISHING) {
		bool finished = lease >> 32 == progress->epoch && offset < progress->cursor &&
				find(progress, offset) == 0;
		return finished ? 1 : ANNALS_E_LEASE_LOST;
	}
	tell(progress, PROGRESS_ACKNOWLEDGED, index);
	finish(progress, index);
	return 0;
}

static uint64_t backoff_us(const struct progress_settings *settings, uint32_t attempts)
{
	uint64_t delay = settings->backoff_first_us;

	for (uint32_t i = 1; i < attempts && delay < settings->backoff_max_us; i++) {
		delay = delay > settings->backoff_max_us / 2 ? settings->backoff_max_us : delay * 2;
	}
	return ANNALS_MIN(delay, settings->backoff_max_us);
}

/* It is nobody's until the delay is over. */
static void put_back(struct progress *progress, uint32_t index, uint64_t now_us, uint64_t delay_us)
{
	struct item *item = item_at(progress, index);

	delay_us =
		delay_us == TIME_NEVER ? backoff_us(progress->settings, item->attempts) : delay_us;
	progress_set_state(progress, index, ITEM_READY);
	drop_member(progress, item);
	if (delay_us > 0) {
		item->due_us = now_us + ANNALS_MIN(delay_us, TIME_NEVER - 1 - now_us);
		progress_set_state(progress, index, ITEM_DELAYED);
	}
	touch(progress, index);
}

int progress_return(struct progress *progress, uint64_t offset, uint64_t lease, uint64_t now_us,
	uint64_t delay_us)
{
	uint32_t index = find_lease(progress, offset, lease);
	struct item *item = index == 0 ? NULL : item_at(progress, index);

	if (item == NULL || item->state != ITEM_LEASED) {
		return ANNALS_E_LEASE_LOST;
	}
	tell(progress, PROGRESS_LEFT, index);
	item->attempts -= item->attempts > 0 ? 1 : 0;
	put_back(progress, index, now_us, delay_us);
	return 0;
}

int progress_refuse(struct progress *progress, uint64_t offset, uint64_t lease, uint64_t now_us,
	uint64_t delay_us, bool at_once)
{
	uint32_t index = find_lease(progress, offset, lease);
	struct item *item = index == 0 ? NULL : item_at(progress, index);

	if (item == NULL || item->state != ITEM_LEASED) {
		return ANNALS_E_LEASE_LOST;
	}
	tell(progress, PROGRESS_REFUSED, index);
	if (at_once || attempts_used_up(progress, item)) {
		park(progress, index);
		return 0;
	}
	put_back(progress, index, now_us, delay_us);
	return 0;
}

int progress_extend(
	struct progress *progress, uint64_t offset, uint64_t lease, uint64_t deadline_us)
{
	uint32_t index = find_lease(progress, offset, lease);
	struct item *item;

	if (index == 0 || item_at(progress, index)->state != ITEM_LEASED) {
		return ANNALS_E_LEASE_LOST;
	}
	/* Out of the heap while its place in it changes. */
	progress_set_state(progress, index, ITEM_FINISHING);
	item = item_at(progress, index);
	item->lease_ms = lease_ms(item->due_us - item->lease_ms * UINT64_C(1000), deadline_us);
	item->due_us = deadline_us;
	progress_set_state(progress, index, ITEM_LEASED);
	touch(progress, index);
	return 0;
}

int progress_finish_begin(struct progress *progress, uint64_t offset, uint64_t lease)
{
	uint32_t index = find_lease(progress, offset, lease);

	if (index == 0 || item_at(progress, index)->state != ITEM_LEASED) {
		return ANNALS_E_LEASE_LOST;
	}
	progress_set_state(progress, index, ITEM_FINISHING);
	touch(progress, index);
	return 0;
}

void progress_finish_end(struct progress *progress, uint64_t offset, bool done)
{
	uint32_t index = find(progress, offset);

	assert(index != 0 && item_at(progress, index)->state == ITEM_FINISHING);
	if (done) {
		tell(progress, PROGRESS_ACKNOWLEDGED, index);
		finish(progress, index);
	} else {
		progress_set_state(progress, index, ITEM_LEASED);
		touch(progress, index);
	}
}

void progress_set_history(struct progress *progress, uint64_t offset)
{
	uint32_t index = find(progress, offset);

	if (index != 0 && !item_at(progress, index)->has_history) {
		item_at(progress, index)->has_history = true;
		touch(progress, index);
	}
}

uint32_t progress_leave(struct progress *progress, uint32_t member)
{
	uint32_t count = 0;

	for (uint32_t i = 1; i < progress->item_used; i++) {
		struct item *item = item_at(progress, i);
		if (item->state == ITEM_LEASED && item->member == member) {
			tell(progress, PROGRESS_LEFT, i);
			item->attempts--;
			progress_set_state(progress, i, ITEM_READY);
			drop_member(progress, item);
			touch(progress, i);
			count++;
		}
	}
	return count;
}

/* ---- Seeking and parked events ---- */

static void unchain_parked(struct progress *progress)
{
	for (uint32_t i = 1; i < progress->item_used; i++) {
		if (item_at(progress, i)->state == ITEM_PARKED && item_at(progress, i)->chained) {
			chain_remove(progress, i);
			touch(progress, i);
		}
	}
}

/* Parked events below the cursor hold up their keys again. */
static void chain_parked(struct progress *progress)
{
	for (uint32_t index = find_next(progress, 0);
		index != 0 && item_at(progress, index)->offset < progress->cursor;
		index = find_next(progress, item_at(progress, index)->offset + 1)) {
		struct item *item = item_at(progress, index);
		if (item->state == ITEM_PARKED && !item->chained && item->key_hash != 0 &&
			!progress->settings->parked_pass && progress_reserve(progress) == 0) {
			chain_add(progress, index);
			touch(progress, index);
		}
	}
}

int progress_seek(struct progress *progress, uint64_t offset)
{
	int status = progress_reserve(progress);

	if (status != 0) {
		return status;
	}
	chains_clear(progress);
	for (uint32_t i = 1; i < progress->item_used; i++) {
		struct item *item = item_at(progress, i);
		if (item->state == ITEM_PARKED) {
			touch(progress, i);
		}
		if (item->state == ITEM_FREE || item->state == ITEM_PARKED) {
			continue;
		}
		tell(progress, PROGRESS_FENCED, i);
		finish(progress, i);
	}
	progress->epoch++;
	move_cursor(progress, offset);
	progress->active_from = ANNALS_MIN(progress->active_from, offset);
	chain_parked(progress);
	return 0;
}

void progress_settings_changed(struct progress *progress)
{
	if (progress->settings->parked_pass) {
		unchain_parked(progress);
	}
}

int progress_replay(struct progress *progress, uint64_t offset, bool *ret_finished)
{
	uint32_t index = find(progress, offset);
	struct item *item = index == 0 ? NULL : item_at(progress, index);

	if (item == NULL || item->state != ITEM_PARKED) {
		return ANNALS_E_NOT_FOUND;
	}
	*ret_finished = false;
	tell(progress, PROGRESS_REPLAYED, index);
	progress->active_from = ANNALS_MIN(progress->active_from, offset);
	item->attempts = 0;
	if (offset >= progress->cursor) { /* the cursor has yet to come by */
		*ret_finished = true;
		finish(progress, index);
		return 0;
	}
	if (item->key_hash != 0 && !item->chained) {
		int status = progress_reserve(progress);
		if (status != 0) {
			return status;
		}
		item = item_at(progress, index);
		progress_set_state(progress, index,
			chain_find(progress, item->key_hash) != NULL ? ITEM_WAITING : ITEM_READY);
		chain_add(progress, index);
	} else if (item->key_hash != 0 && chain_find(progress, item->key_hash)->head != index) {
		progress_set_state(progress, index, ITEM_WAITING);
	} else {
		progress_set_state(progress, index, ITEM_READY);
	}
	touch(progress, index);
	return 0;
}

int progress_drop(struct progress *progress, uint64_t offset)
{
	uint32_t index = find(progress, offset);

	if (index == 0 || item_at(progress, index)->state != ITEM_PARKED) {
		return ANNALS_E_NOT_FOUND;
	}
	tell(progress, PROGRESS_DROPPED, index);
	progress->active_from = ANNALS_MIN(progress->active_from, offset);
	finish(progress, index);
	return 0;
}

void progress_gone(struct progress *progress, uint64_t offset)
{
	uint32_t index = find(progress, offset);

	if (index != 0) {
		tell(progress, PROGRESS_GONE, index);
		progress->gone_events++;
		finish(progress, index);
	}
}
