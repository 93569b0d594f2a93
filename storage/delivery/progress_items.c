/* The memory of a progress: items, slices, chains of keys, heaps. What the items mean is in
 * progress.c. */
#include "progress.h"

#include <assert.h>
#include <stdlib.h>

#define CAPACITY_MIN 64u

/* ---- Heaps: each knows where its items are ---- */

static bool comes_before(
	const struct progress *progress, const struct item_heap *heap, uint32_t a, uint32_t b)
{
	const struct item *left = item_at(progress, a), *right = item_at(progress, b);

	if (heap == &progress->timers && left->due_us != right->due_us) {
		return left->due_us < right->due_us;
	}
	return left->offset < right->offset;
}

static void heap_put(struct progress *progress, struct item_heap *heap, uint32_t at, uint32_t index)
{
	heap->items[at] = index;
	item_at(progress, index)->heap_at = at;
}

static void heap_up(struct progress *progress, struct item_heap *heap, uint32_t at)
{
	uint32_t index = heap->items[at];

	while (at > 0 && comes_before(progress, heap, index, heap->items[(at - 1) / 2])) {
		heap_put(progress, heap, at, heap->items[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_put(progress, heap, at, index);
}

static void heap_down(struct progress *progress, struct item_heap *heap, uint32_t at)
{
	uint32_t index = heap->items[at];

	for (;;) {
		uint32_t child = 2 * at + 1;
		if (child + 1 < heap->count &&
			comes_before(progress, heap, heap->items[child + 1], heap->items[child])) {
			child++;
		}
		if (child >= heap->count ||
			!comes_before(progress, heap, heap->items[child], index)) {
			break;
		}
		heap_put(progress, heap, at, heap->items[child]);
		at = child;
	}
	heap_put(progress, heap, at, index);
}

static void heap_add(struct progress *progress, struct item_heap *heap, uint32_t index)
{
	assert(heap->count < heap->capacity);
	heap->items[heap->count] = index;
	heap_up(progress, heap, heap->count++);
}

static void heap_remove(struct progress *progress, struct item_heap *heap, uint32_t index)
{
	uint32_t at = item_at(progress, index)->heap_at;
	uint32_t last = heap->items[--heap->count];

	assert(at <= heap->count);
	if (last != index) {
		heap_put(progress, heap, at, last);
		heap_up(progress, heap, at);
		heap_down(progress, heap, item_at(progress, last)->heap_at);
	}
}

static struct item_heap *heap_of(struct progress *progress, enum item_state state)
{
	switch (state) {
	case ITEM_READY:
		return &progress->ready;
	case ITEM_LEASED:
	case ITEM_DELAYED:
		return &progress->timers;
	default:
		return NULL;
	}
}

void progress_set_state(struct progress *progress, uint32_t index, enum item_state state)
{
	struct item *item = item_at(progress, index);
	struct item_heap *heap = heap_of(progress, (enum item_state)item->state);

	if (heap != NULL) {
		heap_remove(progress, heap, index);
	}
	if (item->state == ITEM_LEASED) {
		member_names_let_go(progress->members, item->member);
	}
	if (state == ITEM_LEASED) {
		member_names_hold(progress->members, item->member);
	}
	progress->counts[item->state]--;
	progress->counts[state]++;
	item->state = (uint8_t)state;
	heap = heap_of(progress, state);
	if (heap != NULL) {
		heap_add(progress, heap, index);
	}
	if (state != ITEM_PARKED && item->offset < progress->active_from) {
		progress->active_from = item->offset;
	}
}

/* ---- Slices: a sorted array; the oldest go first ---- */

/* The place of the first slice whose base is at least this. */
static uint32_t slice_place(const struct progress *progress, uint64_t base)
{
	uint32_t low = 0, high = progress->slice_count;

	if (high > 0 && progress->slices[progress->slice_first + high - 1]->base < base) {
		return high;
	}
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (progress->slices[progress->slice_first + middle]->base < base) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

struct slice *progress_slice_find(const struct progress *progress, uint64_t base)
{
	uint32_t place = slice_place(progress, base);
	struct slice *slice = place < progress->slice_count
				      ? progress->slices[progress->slice_first + place]
				      : NULL;

	return slice != NULL && slice->base == base ? slice : NULL;
}

int progress_slice_make(struct progress *progress, uint64_t base, struct slice **ret)
{
	uint32_t place = slice_place(progress, base);
	struct slice **slices =
		progress->slices == NULL ? NULL : progress->slices + progress->slice_first;
	struct slice *slice;

	if (place < progress->slice_count && slices[place]->base == base) {
		*ret = slices[place];
		return 0;
	}
	if (progress->slice_first + progress->slice_count == progress->slice_capacity) {
		if (progress->slice_first > progress->slice_capacity / 2) {
			memmove(progress->slices, slices, progress->slice_count * sizeof(*slices));
		} else {
			uint32_t capacity = ANNALS_MAX(CAPACITY_MIN, progress->slice_capacity * 2);
			struct slice **larger = malloc(capacity * sizeof(struct slice *));
			if (larger == NULL) {
				return ANNALS_E_NO_MEMORY;
			}
			if (progress->slice_count > 0) {
				memcpy(larger, slices,
					progress->slice_count * sizeof(struct slice *));
			}
			free(progress->slices);
			progress->slices = larger;
			progress->slice_capacity = capacity;
		}
		progress->slice_first = 0;
		slices = progress->slices;
	}
	slice = calloc(1, sizeof(*slice));
	if (slice == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	slice->base = base;
	memmove(slices + place + 1, slices + place,
		(progress->slice_count - place) * sizeof(struct slice *));
	slices[place] = slice;
	progress->slice_count++;
	*ret = slice;
	return 0;
}

/* It is empty and not marked. */
void progress_slice_remove(struct progress *progress, struct slice *slice)
{
	uint32_t place = slice_place(progress, slice->base);
	struct slice **slices = progress->slices + progress->slice_first;

	assert(slice->count == 0 && slices[place] == slice);
	if (place == 0) {
		progress->slice_first++;
	} else {
		memmove(slices + place, slices + place + 1,
			(progress->slice_count - place - 1) * sizeof(struct slice *));
	}
	if (--progress->slice_count == 0) {
		progress->slice_first = 0;
	}
	free(slice);
}

void progress_mark(struct progress *progress, struct slice *slice)
{
	if (!slice->dirty) {
		slice->dirty = true;
		slice->dirty_next = progress->dirty;
		progress->dirty = slice;
		progress->dirty_count++;
	}
}

/* ---- Chains ---- */

struct chain *chain_find(const struct progress *progress, uint64_t key_hash)
{
	uint32_t mask = progress->chain_capacity - 1, at;

	if (progress->chain_capacity == 0) {
		return NULL;
	}
	for (at = (uint32_t)key_hash & mask; progress->chains[at].head != 0; at = (at + 1) & mask) {
		if (item_at(progress, progress->chains[at].head)->key_hash == key_hash) {
			return &progress->chains[at];
		}
	}
	return NULL;
}

static struct chain *chain_slot(
	const struct progress *progress, struct chain *chains, uint32_t capacity, uint64_t key_hash)
{
	uint32_t at = (uint32_t)key_hash & (capacity - 1);

	while (chains[at].head != 0 && item_at(progress, chains[at].head)->key_hash != key_hash) {
		at = (at + 1) & (capacity - 1);
	}
	return &chains[at];
}

static int grow_chains(struct progress *progress)
{
	uint32_t capacity = ANNALS_MAX(CAPACITY_MIN, progress->chain_capacity * 2);
	struct chain *chains = calloc(capacity, sizeof(*chains));

	if (chains == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (uint32_t i = 0; i < progress->chain_capacity; i++) {
		uint32_t head = progress->chains[i].head;
		if (head != 0) {
			*chain_slot(progress, chains, capacity, item_at(progress, head)->key_hash) =
				progress->chains[i];
		}
	}
	free(progress->chains);
	progress->chains = chains;
	progress->chain_capacity = capacity;
	return 0;
}

/* Empties a place and moves back what probing would no longer find (Knuth, The Art of Computer
 * Programming 6.4, algorithm R). */
static void chain_free(struct progress *progress, struct chain *chain)
{
	uint32_t mask = progress->chain_capacity - 1;
	uint32_t hole = (uint32_t)(chain - progress->chains), at = hole;

	progress->chains[hole].head = 0;
	progress->chain_count--;
	for (;;) {
		uint32_t home, head;
		at = (at + 1) & mask;
		head = progress->chains[at].head;
		if (head == 0) {
			return;
		}
		home = (uint32_t)item_at(progress, head)->key_hash & mask;
		if (((at - home) & mask) >= ((at - hole) & mask)) {
			progress->chains[hole] = progress->chains[at];
			progress->chains[at].head = 0;
			hole = at;
		}
	}
}

void chain_add(struct progress *progress, uint32_t index)
{
	struct item *item = item_at(progress, index);
	struct chain *chain;

	assert(item->key_hash != 0 && !item->chained &&
		progress->chain_count * 2 < progress->chain_capacity);
	chain = chain_slot(progress, progress->chains, progress->chain_capacity, item->key_hash);
	item->next = 0;
	item->chained = true;
	if (chain->head == 0) {
		chain->head = chain->tail = index;
		progress->chain_count++;
	} else if (item->state != ITEM_WAITING && item->state != ITEM_PARKED &&
		   item_at(progress, chain->head)->state == ITEM_WAITING) { /* only when loading */
		item->next = chain->head;
		chain->head = index;
	} else {
		item_at(progress, chain->tail)->next = index;
		chain->tail = index;
	}
}

void chain_remove(struct progress *progress, uint32_t index)
{
	struct item *item = item_at(progress, index);
	struct chain *chain = chain_find(progress, item->key_hash);
	uint32_t before = 0, at;

	assert(item->chained && chain != NULL);
	item->chained = false;
	if (chain->head == index && item->next == 0) {
		chain_free(progress, chain);
		return;
	}
	for (at = chain->head; at != index; at = item_at(progress, at)->next) {
		before = at;
	}
	if (before != 0) {
		item_at(progress, before)->next = item->next;
		chain->tail = chain->tail == index ? before : chain->tail;
		return;
	}
	chain->head = item->next;
	if (item_at(progress, chain->head)->state == ITEM_WAITING) {
		progress_set_state(progress, chain->head, ITEM_READY);
		progress_mark(progress,
			progress_slice_find(progress, item_at(progress, chain->head)->offset &
							      ~(uint64_t)(SLICE_EVENTS - 1)));
	}
}

void chains_clear(struct progress *progress)
{
	for (uint32_t i = 1; i < progress->item_used; i++) {
		item_at(progress, i)->chained = false;
	}
	if (progress->chain_capacity > 0) {
		memset(progress->chains, 0, progress->chain_capacity * sizeof(struct chain));
	}
	progress->chain_count = 0;
}

/* ---- Items ---- */

static int grow_items(struct progress *progress)
{
	uint32_t chunk = progress->item_capacity / ITEM_CHUNK;
	uint32_t before = progress->item_capacity % ITEM_CHUNK; /* only the first one grows */
	uint32_t capacity = chunk > 0 ? ITEM_CHUNK : ANNALS_MAX(CAPACITY_MIN, before * 2);
	struct item *items;

	if ((chunk & (chunk - 1)) == 0 && before == 0) {
		size_t count = chunk == 0 ? 1 : chunk * 2;
		struct item **chunks = realloc(progress->chunks, count * sizeof(struct item *));
		if (chunks == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		progress->chunks = chunks;
	}
	items = realloc(before == 0 ? NULL : progress->chunks[chunk], capacity * sizeof(*items));
	if (items == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	progress->chunks[chunk] = items;
	progress->item_capacity += capacity - before;
	if (progress->item_used == 0) {
		memset(&items[0], 0, sizeof(items[0]));
		progress->item_used = 1;
	}
	return 0;
}

static int grow_heap(struct item_heap *heap, uint32_t count)
{
	uint32_t capacity = ANNALS_MAX(CAPACITY_MIN, heap->capacity * 2);
	uint32_t *items;

	if (count < heap->capacity) {
		return 0;
	}
	items = realloc(heap->items, capacity * sizeof(*items));
	if (items == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	heap->items = items;
	heap->capacity = capacity;
	return 0;
}

int progress_reserve(struct progress *progress)
{
	int status = 0;

	if (progress->item_free == 0 && progress->item_used >= progress->item_capacity) {
		status = grow_items(progress);
	}
	if (status == 0 && (progress->chain_count + 1) * 2 >= progress->chain_capacity) {
		status = grow_chains(progress);
	}
	status = status != 0 ? status : grow_heap(&progress->timers, progress->item_count);
	return status != 0 ? status : grow_heap(&progress->ready, progress->item_count);
}

int progress_item_add(struct progress *progress, uint64_t offset, uint64_t key_hash,
	enum item_state state, uint32_t *ret)
{
	struct slice *slice;
	struct item *item;
	uint32_t index;
	int status = progress_reserve(progress);

	status = status != 0 ? status
			     : progress_slice_make(
				       progress, offset & ~(uint64_t)(SLICE_EVENTS - 1), &slice);
	if (status != 0) {
		return status;
	}
	if (progress->item_free != 0) {
		index = progress->item_free;
		progress->item_free = item_at(progress, index)->next;
	} else {
		index = progress->item_used++;
	}
	item = item_at(progress, index);
	*item = (struct item){.offset = offset, .key_hash = key_hash, .state = ITEM_FREE};
	assert(slice->items[offset % SLICE_EVENTS] == 0);
	slice->items[offset % SLICE_EVENTS] = index;
	slice->count++;
	progress_mark(progress, slice);
	progress->item_count++;
	progress->counts[ITEM_FREE]++; /* taken back by the change of state */
	progress_set_state(progress, index, state);
	*ret = index;
	return 0;
}

void progress_item_free(struct progress *progress, uint32_t index)
{
	struct item *item = item_at(progress, index);
	struct slice *slice =
		progress_slice_find(progress, item->offset & ~(uint64_t)(SLICE_EVENTS - 1));

	if (item->chained) {
		chain_remove(progress, index);
	}
	progress_set_state(progress, index, ITEM_FREE);
	member_names_unref(progress->members, item->member);
	progress->counts[ITEM_FREE]--;
	slice->items[item->offset % SLICE_EVENTS] = 0;
	slice->count--;
	progress_mark(progress, slice);
	item->next = progress->item_free;
	progress->item_free = index;
	progress->item_count--;
}

void progress_init(struct progress *progress, const struct progress_settings *settings,
	struct member_names *members, uint64_t cursor, uint32_t epoch)
{
	memset(progress, 0, sizeof(*progress));
	progress->settings = settings;
	progress->members = members;
	progress->cursor = cursor;
	progress->active_from = cursor;
	progress->epoch = epoch;
	progress->head_dirty = true;
}

void progress_release(struct progress *progress)
{
	for (uint32_t i = 0; i < progress->slice_count; i++) {
		struct slice *slice = progress->slices[progress->slice_first + i];
		for (uint32_t k = 0; k < SLICE_EVENTS; k++) {
			const struct item *item = item_at(progress, slice->items[k]);
			if (slice->items[k] != 0 && item->state == ITEM_LEASED) {
				member_names_let_go(progress->members, item->member);
			}
			if (slice->items[k] != 0) {
				member_names_unref(progress->members, item->member);
			}
		}
		free(slice);
	}
	free(progress->slices);
	for (uint32_t i = 0; i * ITEM_CHUNK < progress->item_capacity; i++) {
		free(progress->chunks[i]);
	}
	free(progress->chunks);
	free(progress->timers.items);
	free(progress->ready.items);
	free(progress->chains);
	memset(progress, 0, sizeof(*progress));
}

size_t progress_memory_bytes(const struct progress *progress)
{
	return sizeof(*progress) + progress->item_capacity * sizeof(struct item) +
	       (progress->timers.capacity + progress->ready.capacity) * sizeof(uint32_t) +
	       progress->chain_capacity * sizeof(struct chain) +
	       progress->slice_capacity * sizeof(struct slice *) +
	       progress->slice_count * sizeof(struct slice);
}
