/* The smallest correct journal: a growing array of blocks behind a mutex. Nothing survives close;
 * sync has nothing to do. */
#include "journal.h"

#include <pthread.h>
#include <stdlib.h>

struct memory_block {
	uint8_t *data;
	size_t size;
};

struct journal_memory {
	struct journal base;
	pthread_mutex_t mutex; /* everything below */
	struct memory_block
		*blocks; /* blocks[i] has the number first + i; first = last + 1 when empty */
	size_t capacity;
	uint64_t first, last, bytes;
};

static enum journal_result memory_open(
	const struct journal_options *options, struct journal **ret, struct error *err)
{
	(void)options;
	struct journal_memory *journal = calloc(1, sizeof(*journal));
	if (journal == NULL) {
		error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the journal");
		return JOURNAL_FAILED;
	}
	journal->base.ops = &journal_memory_ops;
	journal->first = 1;
	pthread_mutex_init(&journal->mutex, NULL);
	*ret = &journal->base;
	return JOURNAL_OK;
}

static bool make_room(struct journal_memory *journal)
{
	size_t count = (size_t)(journal->last + 1 - journal->first);
	if (count < journal->capacity) {
		return true;
	}
	size_t capacity = journal->capacity == 0 ? 64 : journal->capacity * 2;
	struct memory_block *blocks = realloc(journal->blocks, capacity * sizeof(*blocks));
	if (blocks == NULL) {
		return false;
	}
	journal->blocks = blocks;
	journal->capacity = capacity;
	return true;
}

static enum journal_result memory_write_block(struct journal *base, uint64_t prev,
	struct bytes block, uint64_t *ret_number, struct error *err)
{
	struct journal_memory *journal = (struct journal_memory *)base;
	enum journal_result result = JOURNAL_OK;
	uint8_t *copy = malloc(block.size);
	pthread_mutex_lock(&journal->mutex);
	if (prev != journal->last) {
		error_fail(err, ANNALS_E_CONFLICT, "the journal's last block is %llu, not %llu",
			(unsigned long long)journal->last, (unsigned long long)prev);
		result = JOURNAL_CONFLICT;
	} else if (copy == NULL || !make_room(journal)) {
		error_fail(
			err, ANNALS_E_NO_MEMORY, "no memory for a block of %zu bytes", block.size);
		result = JOURNAL_FAILED;
	} else {
		memcpy(copy, block.data, block.size);
		journal->last++;
		journal->blocks[journal->last - journal->first] =
			(struct memory_block){copy, block.size};
		/* cppcheck-suppress memleak ; the block owns it now */
		copy = NULL;
		journal->bytes += block.size;
		*ret_number = journal->last;
	}
	pthread_mutex_unlock(&journal->mutex);
	free(copy);
	return result;
}

static enum journal_result memory_sync(struct journal *base, struct error *err)
{
	(void)base;
	(void)err;
	return JOURNAL_OK;
}

static enum journal_result memory_read_block(struct journal *base, uint64_t from, struct buf *out,
	uint64_t *ret_number, struct error *err)
{
	struct journal_memory *journal = (struct journal_memory *)base;
	enum journal_result result = JOURNAL_OK;
	buf_reset(out);
	pthread_mutex_lock(&journal->mutex);
	uint64_t number = ANNALS_MAX(from, journal->first);
	if (number > journal->last) {
		*ret_number = 0;
	} else {
		const struct memory_block *block = &journal->blocks[number - journal->first];
		if (buf_add(out, block->data, block->size) < 0) {
			error_fail(err, ANNALS_E_NO_MEMORY, "no memory to read block %llu",
				(unsigned long long)number);
			result = JOURNAL_FAILED;
		} else {
			*ret_number = number;
		}
	}
	pthread_mutex_unlock(&journal->mutex);
	return result;
}

static enum journal_result memory_trim(struct journal *base, uint64_t keep, struct error *err)
{
	struct journal_memory *journal = (struct journal_memory *)base;
	(void)err;
	pthread_mutex_lock(&journal->mutex);
	uint64_t end = ANNALS_MIN(keep, journal->last);
	if (end > journal->first) {
		size_t gone = (size_t)(end - journal->first);
		for (size_t i = 0; i < gone; i++) {
			journal->bytes -= journal->blocks[i].size;
			free(journal->blocks[i].data);
		}
		memmove(journal->blocks, journal->blocks + gone,
			(size_t)(journal->last + 1 - end) * sizeof(*journal->blocks));
		journal->first = end;
	}
	pthread_mutex_unlock(&journal->mutex);
	return JOURNAL_OK;
}

static void memory_stats(struct journal *base, struct journal_stats *ret)
{
	struct journal_memory *journal = (struct journal_memory *)base;
	pthread_mutex_lock(&journal->mutex);
	bool empty = journal->last < journal->first;
	*ret = (struct journal_stats){
		.segments = empty ? 0 : 1,
		.bytes = journal->bytes,
		.first_block = empty ? 0 : journal->first,
		.last_block = journal->last,
	};
	pthread_mutex_unlock(&journal->mutex);
}

static void memory_close(struct journal *base)
{
	struct journal_memory *journal = (struct journal_memory *)base;
	for (uint64_t number = journal->first; number <= journal->last; number++) {
		free(journal->blocks[number - journal->first].data);
	}
	free(journal->blocks);
	pthread_mutex_destroy(&journal->mutex);
	free(journal);
}

const struct journal_ops journal_memory_ops = {
	.name = "memory",
	.caps = JOURNAL_CAP_VOLATILE,
	.open = memory_open,
	.write_block = memory_write_block,
	.sync = memory_sync,
	.read_block = memory_read_block,
	.trim = memory_trim,
	.stats = memory_stats,
	.close = memory_close,
};
