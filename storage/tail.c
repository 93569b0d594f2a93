#include "tail.h"

#include <assert.h>
#include <stdlib.h>

int tail_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attributes;
	int status;

	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	status = pthread_cond_init(cond, &attributes) == 0 ? 0 : ANNALS_E_NO_MEMORY;
	(void)pthread_condattr_destroy(&attributes);
	return status;
}

int tail_init(struct tail *tail, uint64_t bytes_max)
{
	memset(tail, 0, sizeof(*tail));
	list_init(&tail->blocks);
	list_init(&tail->ready);
	list_init(&tail->waiting);
	tail->bytes_max = bytes_max;
	if (pthread_mutex_init(&tail->mutex, NULL) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	if (tail_cond_init(&tail->less) != 0) {
		(void)pthread_mutex_destroy(&tail->mutex);
		return ANNALS_E_NO_MEMORY;
	}
	return 0;
}

void tail_release(struct tail *tail)
{
	struct list_node *node;

	while ((node = list_pop(&tail->blocks)) != NULL) {
		tail_block_unref(LIST_ENTRY(node, struct tail_block, node));
	}
	(void)pthread_cond_destroy(&tail->less);
	(void)pthread_mutex_destroy(&tail->mutex);
}

void partition_tail_init(struct partition_tail *tail)
{
	memset(tail, 0, sizeof(*tail));
	list_init(&tail->ready);
	list_init(&tail->waiting);
}

void partition_tail_release(struct partition_tail *tail)
{
	free(tail->entries);
	tail->entries = NULL;
}

struct tail_block *tail_block_new(uint64_t number, struct bytes bytes)
{
	struct tail_block *block = malloc(sizeof(*block) + bytes.size);

	if (block == NULL) {
		return NULL;
	}
	memset(block, 0, sizeof(*block));
	list_init(&block->node);
	block->references = 1;
	block->number = number;
	block->size = bytes.size;
	memcpy(block->data, bytes.data, bytes.size);
	return block;
}

void tail_block_unref(struct tail_block *block)
{
	if (block != NULL &&
		atomic_fetch_sub_explicit(&block->references, 1, memory_order_acq_rel) == 1) {
		free(block);
	}
}

int tail_reserve_entry(struct partition_tail *partition)
{
	uint32_t capacity = partition->capacity == 0 ? 8 : partition->capacity * 2;
	struct tail_entry *entries;

	if (partition->count < partition->capacity) {
		return 0;
	}
	if (capacity < partition->capacity) {
		return ANNALS_E_NO_MEMORY;
	}
	entries = malloc(capacity * sizeof(*entries));
	if (entries == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (uint32_t i = 0; i < partition->count; i++) {
		entries[i] = *tail_entry_at(partition, i);
	}
	free(partition->entries);
	partition->entries = entries;
	partition->head = 0;
	partition->capacity = capacity;
	return 0;
}

static uint64_t block_cost(const struct tail_block *block)
{
	return sizeof(*block) + block->size;
}

void tail_add_entry(
	struct tail *tail, struct partition_tail *partition, const struct tail_entry *entry)
{
	assert(partition->count < partition->capacity);
	*tail_entry_at(partition, partition->count) = *entry;
	partition->count++;
	partition->pending_bytes += entry->bytes;
	entry->block->pending++;
	tail->bytes += sizeof(*entry);
	if (partition->count == 1) {
		list_add_tail(&tail->waiting, &partition->waiting);
	}
	if (!list_is_empty(&partition->ready)) {
		tail->ready_bytes += entry->bytes;
	} else if (partition->pending_bytes >= TAIL_READY_BYTES) {
		list_add_tail(&tail->ready, &partition->ready);
		tail->ready_bytes += partition->pending_bytes;
		tail->ready_partitions++;
	}
}

void tail_add_block(struct tail *tail, struct tail_block *block)
{
	if (block->pending == 0) {
		tail_block_unref(block);
		return;
	}
	list_add_tail(&tail->blocks, &block->node);
	tail->bytes += block_cost(block);
	tail->block_count++;
}

void tail_unpin(struct tail *tail, struct tail_block *block)
{
	assert(block->pending > 0);
	if (--block->pending > 0) {
		return;
	}
	list_remove(&block->node);
	tail->bytes -= block_cost(block);
	tail->block_count--;
	tail_block_unref(block);
	(void)pthread_cond_signal(&tail->less);
}

void tail_drop_entries(struct tail *tail, struct partition_tail *partition, uint32_t count)
{
	uint64_t dropped = 0;

	assert(count <= partition->count);
	for (uint32_t i = 0; i < count; i++) {
		struct tail_entry *entry = tail_entry_at(partition, i);
		dropped += entry->bytes;
		tail_unpin(tail, entry->block);
	}
	partition->head = (partition->head + count) & (partition->capacity - 1);
	partition->count -= count;
	partition->pending_bytes -= dropped;
	tail->bytes -= count * sizeof(struct tail_entry);
	if (!list_is_empty(&partition->ready)) {
		tail->ready_bytes -= dropped;
		if (partition->pending_bytes < TAIL_READY_BYTES) {
			list_remove(&partition->ready);
			tail->ready_bytes -= partition->pending_bytes;
			tail->ready_partitions--;
		}
	}
	if (partition->count == 0) {
		list_remove(&partition->waiting);
		/* An idle partition keeps no large ring. */
		if (partition->capacity > 1024) {
			partition_tail_release(partition);
			partition->capacity = partition->head = 0;
		}
	}
}

uint64_t tail_oldest_block(const struct tail *tail)
{
	return list_is_empty(&tail->blocks)
		       ? 0
		       : LIST_ENTRY(tail->blocks.next, struct tail_block, node)->number;
}

uint64_t tail_journal_span(const struct tail *tail)
{
	return list_is_empty(&tail->blocks) ? 0
					    : tail->journal_bytes - LIST_ENTRY(tail->blocks.next,
									    struct tail_block, node)
									    ->written_before;
}

uint32_t tail_find(const struct partition_tail *partition, uint64_t offset)
{
	uint32_t low = 0, high = partition->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct tail_entry *entry = tail_entry_at(partition, middle);
		if (entry->base_offset + entry->count <= offset) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}
