/*
 * How far a group that takes events one by one has come in one partition: a pure state machine.
 * No clock, no disk, no randomness: events, times and answers are arguments, and what must be kept
 * comes out as rows. One thread.
 *
 * Everything below `cursor` was looked at once, and of that everything is finished that has no
 * item. An item is an event that is not finished:
 *
 *   READY     can be handed out
 *   LEASED    somebody works on it until `due_us`
 *   DELAYED   it was refused and comes back at `due_us`
 *   WAITING   an earlier event of its key is not finished
 *   PARKED    it failed too often, or somebody said so; it waits for people
 *   FINISHING acknowledged by a request whose commit is under way; leases cannot run out meanwhile
 *
 * Order per key: items of a key form a chain in the order of their offsets; only its head is ever
 * READY, LEASED or DELAYED. A parked event either stays in the chain (what comes later waits) or
 * leaves it (what comes later passes), as the group's settings say. After seeking back, a parked
 * event lies ahead of the cursor: it is out of the chains until the cursor passes it again.
 *
 * Rows: items of 64 consecutive offsets share a row (a slice); cursor and epoch have one of their
 * own. A slice without items has no row. So the acknowledgement of a whole run deletes a row for
 * every 64 events, and one of a single event rewrites a row of at most a kilobyte, once for all
 * changes of a commit.
 *
 * A lease is the number (epoch << 32 | deliveries): seeking raises the epoch, each delivery the
 * second half, and neither ever goes back, so a lease is never given twice. A group's first epoch
 * is its number, which is above every epoch that was ever used: no lease of a deleted group is one
 * of the group that has its name now.
 */
#ifndef STORAGE_DELIVERY_PROGRESS_H
#define STORAGE_DELIVERY_PROGRESS_H

#include "member_names.h"

#include <annals/buf.h>

/* Distance between the oldest event in work and the newest, and number of items. */
#define PROGRESS_WINDOW 1000000u
#define SLICE_EVENTS 64u
#define ITEM_CHUNK 1024u /* the first chunk begins small */
#define TIME_NEVER UINT64_MAX

enum item_state {
	ITEM_FREE,
	ITEM_READY,
	ITEM_LEASED,
	ITEM_DELAYED,
	ITEM_WAITING,
	ITEM_PARKED,
	ITEM_FINISHING,
	ITEM_STATES
};

struct item { /* 48 bytes, and 4 in its slice, 4 in a heap, about 16 for its key */
	uint64_t offset;
	uint64_t key_hash; /* 0: no key */
	uint64_t due_us;
	uint32_t next;    /* in the chain of its key, or of free items */
	uint32_t heap_at; /* its place in the heap of its state */
	uint32_t member;  /* LEASED, FINISHING: whose; READY: whose lease ran out, or 0 */
	uint32_t deliveries;
	uint32_t lease_ms; /* LEASED: it began so long before due_us */
	uint16_t attempts; /* since it was last replayed */
	uint8_t state;
	bool chained : 1;
	bool has_history : 1; /* its failures have a row of their own; the owner's */
};

struct slice {
	uint64_t base; /* offset of items[0], a multiple of SLICE_EVENTS */
	uint32_t items[SLICE_EVENTS];
	uint32_t count;
	bool stored; /* there is a row */
	bool dirty;
	struct slice *dirty_next;
};

struct item_heap {
	uint32_t *items;
	uint32_t count, capacity;
};

struct chain {
	uint32_t head, tail; /* 0: the place is free */
};

/* What happened to an event, for histories and counters. */
enum progress_outcome {
	PROGRESS_LEASED,
	PROGRESS_ACKNOWLEDGED,
	PROGRESS_REFUSED,
	PROGRESS_LEASE_ENDED, /* the deadline passed */
	PROGRESS_PARKED,      /* follows REFUSED or LEASE_ENDED */
	PROGRESS_REPLAYED,
	PROGRESS_DROPPED,
	PROGRESS_FENCED, /* by seeking; also events that nobody had */
	PROGRESS_GONE,   /* retention removed it */
	PROGRESS_LEFT,   /* its member gave it back */
};

struct progress_settings {
	uint32_t attempts_max; /* 0: no limit */
	uint64_t backoff_first_us, backoff_max_us;
	bool parked_pass; /* later events of a parked key are delivered */
};

struct progress {
	const struct progress_settings *settings; /* borrowed */
	struct member_names *members;             /* borrowed */
	/* Told what happens, before the item changes. May be NULL. It may call
	 * progress_set_history() and nothing else. */
	void (*note)(void *arg, enum progress_outcome outcome, const struct item *item);
	void *arg;
	uint64_t cursor;
	uint32_t epoch;
	uint64_t gone_events; /* retention removed them before they were handled */
	bool head_dirty;
	/* private */
	struct item **chunks; /* of ITEM_CHUNK each, so that growing moves and wastes nothing; item
				 0 is nobody */
	uint32_t item_capacity, item_used, item_free;
	uint32_t counts[ITEM_STATES];
	uint32_t item_count;
	uint64_t active_from;  /* no item below is anything but parked, or behind a parked one */
	struct slice **slices; /* by base */
	uint32_t slice_first, slice_count, slice_capacity;
	struct slice *dirty;
	uint32_t dirty_count;
	struct item_heap timers, ready; /* LEASED and DELAYED by time; READY by offset */
	struct chain *chains;           /* open addressing by key_hash */
	uint32_t chain_count, chain_capacity;
};

static inline struct item *item_at(const struct progress *progress, uint32_t index)
{
	return &progress->chunks[index / ITEM_CHUNK][index % ITEM_CHUNK];
}

void progress_init(struct progress *progress, const struct progress_settings *settings,
	struct member_names *members, uint64_t cursor, uint32_t epoch);
void progress_release(struct progress *progress);

/* One delivery. */
struct lease {
	uint64_t offset, lease;
	uint32_t attempts; /* with this one */
	uint64_t deadline_us;
};

/*
 * The next event of the log (offset >= cursor; what lies between is holes): leased to `member`
 * (reference taken) until deadline_us (1), or kept for later behind its key (0; also for a parked
 * one that the cursor passes again). ANNALS_E_LIMIT: the window is full, nothing changed.
 * ANNALS_E_NO_MEMORY: nothing changed.
 */
int progress_offer(struct progress *progress, uint64_t offset, uint64_t key_hash, uint32_t member,
	uint64_t now_us, uint64_t deadline_us, struct lease *ret) ANNALS_MUST_CHECK;
/* Leases the ready item with the lowest offset. 1, or 0 when there is none. */
int progress_lease_ready(struct progress *progress, uint32_t member, uint64_t now_us,
	uint64_t deadline_us, struct lease *ret) ANNALS_MUST_CHECK;
/* What lies between the cursor and `offset` is not there (holes). `gone`: retention took it. */
int progress_skip_to(struct progress *progress, uint64_t offset, bool gone) ANNALS_MUST_CHECK;

/* Takes leases that ran out and delays that are over to their next state; at most `max` items.
 * Returns how many. */
uint32_t progress_run_timers(struct progress *progress, uint64_t now_us, uint32_t max);
/* When to call it next; TIME_NEVER. */
uint64_t progress_next_timer(const struct progress *progress);

/* Of everything that names a lease: ANNALS_E_LEASE_LOST when it is not the event's current one. An
 * event whose lease ran out and that nobody else got can still be acknowledged. */
/* 0, or 1: it was finished before, by a lease of the same epoch. */
int progress_acknowledge(
	struct progress *progress, uint64_t offset, uint64_t lease) ANNALS_MUST_CHECK;
/* delay_us TIME_NEVER: the settings' back-off. `park`: at once, whatever the limit of attempts. */
int progress_refuse(struct progress *progress, uint64_t offset, uint64_t lease, uint64_t now_us,
	uint64_t delay_us, bool park) ANNALS_MUST_CHECK;
/* As refusing, but the delivery is no attempt and nothing is parked. */
int progress_return(struct progress *progress, uint64_t offset, uint64_t lease, uint64_t now_us,
	uint64_t delay_us) ANNALS_MUST_CHECK;
int progress_extend(struct progress *progress, uint64_t offset, uint64_t lease,
	uint64_t deadline_us) ANNALS_MUST_CHECK;

/* An acknowledgement in two steps, for one that is part of a larger commit: begin, then end it one
 * way or the other. Rows written in between have the event as finished. */
int progress_finish_begin(
	struct progress *progress, uint64_t offset, uint64_t lease) ANNALS_MUST_CHECK;
void progress_finish_end(struct progress *progress, uint64_t offset, bool done);
/* The item's failures got a row of their own. */
void progress_set_history(struct progress *progress, uint64_t offset);

/* Gives back what the member holds, as if never delivered but for the count. Returns how many. */
uint32_t progress_leave(struct progress *progress, uint32_t member);
/* Moves to another place, ends all leases and attempts; parked events stay. ANNALS_E_NO_MEMORY
 * (when nothing changed). */
int progress_seek(struct progress *progress, uint64_t offset) ANNALS_MUST_CHECK;
/* A parked event becomes deliverable with fresh attempts (replay) or finished (drop).
 * ANNALS_E_NOT_FOUND. *ret_finished: it has no item any more. One that seeking back has put ahead
 * of the cursor comes again either way when the cursor gets there. */
int progress_replay(
	struct progress *progress, uint64_t offset, bool *ret_finished) ANNALS_MUST_CHECK;
int progress_drop(struct progress *progress, uint64_t offset) ANNALS_MUST_CHECK;
/* The event cannot be read any more: it is finished. No item: no-op. */
void progress_gone(struct progress *progress, uint64_t offset);
/* After `parked_pass` was changed. */
void progress_settings_changed(struct progress *progress);

/* The item of an event, or NULL; valid until the next call that changes something. */
const struct item *progress_item(const struct progress *progress, uint64_t offset);
/* The first item at or after an offset, or NULL. */
const struct item *progress_next_item(const struct progress *progress, uint64_t offset);
/* The lowest offset that is not finished and not parked (nor behind a parked one). */
uint64_t progress_floor(struct progress *progress);
/* The next event of the log would exceed the window. */
bool progress_is_full(struct progress *progress);
size_t progress_memory_bytes(const struct progress *progress);

/* ---- Rows (progress_rows.c) ---- */

/*
 * Calls fn for each slice that changed since the last call, with its row as it is now (size 0: it
 * has none any more) and forgets that it changed. Stops at what fn returns unless 0; that slice and
 * the rest stay marked. ANNALS_E_NO_MEMORY.
 */
int progress_write_slices(struct progress *progress,
	int (*fn)(void *arg, uint64_t base, struct bytes row), void *arg) ANNALS_MUST_CHECK;
/* The same for the slice of one offset, which stays marked; no-op if it has none. */
int progress_write_slice(struct progress *progress, uint64_t offset,
	int (*fn)(void *arg, uint64_t base, struct bytes row), void *arg) ANNALS_MUST_CHECK;
/* Appends the row of cursor and epoch. */
int progress_write_head(const struct progress *progress, struct buf *out) ANNALS_MUST_CHECK;
/* Reads it into a fresh progress. ANNALS_E_CORRUPT_DATA. */
int progress_load_head(struct progress *progress, struct bytes row) ANNALS_MUST_CHECK;
/* Adds a slice's items; by rising base, after the head; then end. ANNALS_E_CORRUPT_DATA,
 * ANNALS_E_NO_MEMORY. */
int progress_load_slice(
	struct progress *progress, uint64_t base, struct bytes row) ANNALS_MUST_CHECK;
void progress_load_end(struct progress *progress);

/* ---- Private to progress*.c ---- */

int progress_item_add(struct progress *progress, uint64_t offset, uint64_t key_hash,
	enum item_state state, uint32_t *ret) ANNALS_MUST_CHECK;
void progress_item_free(struct progress *progress, uint32_t index);
struct slice *progress_slice_find(const struct progress *progress, uint64_t base);
int progress_slice_make(
	struct progress *progress, uint64_t base, struct slice **ret) ANNALS_MUST_CHECK;
void progress_slice_remove(struct progress *progress, struct slice *slice);
void progress_mark(struct progress *progress, struct slice *slice);
void progress_set_state(struct progress *progress, uint32_t index, enum item_state state);
/* Room for one more item, slice, heap entry and chain. */
int progress_reserve(struct progress *progress) ANNALS_MUST_CHECK;
void chain_add(struct progress *progress, uint32_t index);
/* Takes the item out of its chain and lets the next one go. */
void chain_remove(struct progress *progress, uint32_t index);
/* Takes all items out of all chains; wakes nobody. */
void chains_clear(struct progress *progress);
struct chain *chain_find(const struct progress *progress, uint64_t key_hash);

#endif
