#include "retention_plan.h"

#include <assert.h>
#include <stdlib.h>

/* The oldest piece that a partition still has, as an element of a binary heap with the oldest one
 * on top. */
struct candidate {
	struct retention_piece piece;
	uint32_t partition;
	size_t trim; /* index of the partition's trim in the answer + 1; 0: none yet */
};

struct heap {
	struct candidate *items;
	size_t count;
};

static bool is_older(const struct candidate *a, const struct candidate *b)
{
	return a->piece.last_recorded_us != b->piece.last_recorded_us
		       ? a->piece.last_recorded_us < b->piece.last_recorded_us
		       : a->partition < b->partition;
}

static void sift_up(struct heap *heap, size_t i)
{
	while (i > 0 && is_older(&heap->items[i], &heap->items[(i - 1) / 2])) {
		struct candidate swapped = heap->items[i];
		heap->items[i] = heap->items[(i - 1) / 2];
		heap->items[(i - 1) / 2] = swapped;
		i = (i - 1) / 2;
	}
}

static void sift_down(struct heap *heap, size_t i)
{
	for (;;) {
		size_t oldest = i;
		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < heap->count; child++) {
			if (is_older(&heap->items[child], &heap->items[oldest])) {
				oldest = child;
			}
		}
		if (oldest == i) {
			return;
		}
		struct candidate swapped = heap->items[i];
		heap->items[i] = heap->items[oldest];
		heap->items[oldest] = swapped;
		i = oldest;
	}
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Would the topic still hold `limit` without the piece? */
static bool exceeds(uint64_t limit, uint64_t total, uint64_t piece)
{
	return limit > 0 && total >= piece && total - piece >= limit;
}

bool retention_exceeded(const struct topic_config *config, uint64_t bytes, uint64_t events)
{
	return exceeds(config->retention_bytes, bytes, 1) ||
	       exceeds(config->retention_events, events, 1);
}

static bool should_go(const struct retention_input *input, const struct retention_piece *piece,
	uint64_t bytes, uint64_t events)
{
	const struct topic_config *config = input->config;
	bool too_old =
		config->retention_age_us > 0 &&
		add_capped(piece->last_recorded_us, config->retention_age_us) < input->now_us;
	return too_old || exceeds(config->retention_bytes, bytes, piece->bytes) ||
	       exceeds(config->retention_events, events, piece->events);
}

static int fill_heap(const struct retention_input *input, struct heap *heap)
{
	for (uint32_t partition = 0; partition < input->config->partitions; partition++) {
		struct candidate *item = &heap->items[heap->count];
		int r = input->next_piece(
			input->arg, partition, input->first_offsets[partition], &item->piece);
		if (r < 0) {
			return r;
		}
		if (r == 1) {
			assert(item->piece.end_offset > input->first_offsets[partition]);
			item->partition = partition;
			item->trim = 0;
			sift_up(heap, heap->count++);
		}
	}
	return 0;
}

/* Replaces the heap's top by the partition's next piece. */
static int advance_top(const struct retention_input *input, struct heap *heap)
{
	struct candidate *top = &heap->items[0];
	uint64_t from = top->piece.end_offset;
	int r = input->next_piece(input->arg, top->partition, from, &top->piece);
	if (r < 0) {
		return r;
	}
	if (r == 0) {
		*top = heap->items[--heap->count];
	} else {
		assert(top->piece.end_offset > from);
	}
	sift_down(heap, 0);
	return 0;
}

static int drop_pieces(
	const struct retention_input *input, struct heap *heap, struct retention_answer *answer)
{
	uint64_t bytes = input->bytes, events = input->events;
	for (size_t pieces = 0; heap->count > 0; pieces++) {
		struct candidate *top = &heap->items[0];
		if (!should_go(input, &top->piece, bytes, events)) {
			return 0;
		}
		if (pieces == input->pieces_max ||
			(top->trim == 0 && answer->trim_count == input->trims_max)) {
			answer->more = true;
			return 0;
		}
		if (top->trim == 0) {
			answer->trims[answer->trim_count++].partition = top->partition;
			top->trim = answer->trim_count;
		}
		answer->trims[top->trim - 1].first_offset = top->piece.end_offset;
		bytes -= ANNALS_MIN(bytes, top->piece.bytes);
		events -= ANNALS_MIN(events, top->piece.events);
		int r = advance_top(input, heap);
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

int retention_plan(const struct retention_input *input, struct retention_answer *answer)
{
	struct heap heap = {NULL, 0};
	answer->trim_count = 0;
	answer->more = false;
	answer->next_due_us = UINT64_MAX;
	assert(input->config->partitions > 0);
	heap.items = calloc(input->config->partitions, sizeof(*heap.items));
	if (heap.items == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	int r = fill_heap(input, &heap);
	if (r == 0) {
		r = drop_pieces(input, &heap, answer);
	}
	uint64_t age_us = input->config->retention_age_us;
	if (r == 0 && age_us > 0) {
		/* What is appended later is recorded later than now. */
		uint64_t oldest_us =
			heap.count > 0 ? heap.items[0].piece.last_recorded_us : input->now_us;
		answer->next_due_us = add_capped(ANNALS_MIN(oldest_us, input->now_us), age_us);
	}
	free(heap.items);
	return r;
}
