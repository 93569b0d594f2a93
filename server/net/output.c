#include "net/output.h"
#include <assert.h>
#include <stdlib.h>

/* Small answers share chunks of this size; contents from OWN_BYTES on keep their own memory. */
#define CHUNK_BYTES (4096u - sizeof(struct chunk))
#define OWN_BYTES 1024u
#define SPARE_CHUNKS_MAX 1024u

struct chunk {
	struct list_node node;
	uint8_t *data;
	size_t start, size, capacity;
	bool pooled; /* data lies behind the structure */
};

struct output_pool {
	struct list_node spare;
	unsigned count;
};

struct output_pool *output_pool_new(void)
{
	struct output_pool *pool = calloc(1, sizeof(*pool));
	if (pool != NULL) {
		list_init(&pool->spare);
	}
	return pool;
}

void output_pool_free(struct output_pool *pool)
{
	struct list_node *node;
	if (pool == NULL) {
		return;
	}
	while ((node = list_pop(&pool->spare)) != NULL) {
		free(LIST_ENTRY(node, struct chunk, node));
	}
	free(pool);
}

static struct chunk *chunk_new(struct output_pool *pool)
{
	struct list_node *node = list_pop(&pool->spare);
	struct chunk *chunk;
	if (node != NULL) {
		pool->count--;
		chunk = LIST_ENTRY(node, struct chunk, node);
	} else {
		chunk = malloc(sizeof(*chunk) + CHUNK_BYTES);
		if (chunk == NULL) {
			return NULL;
		}
		list_init(&chunk->node);
	}
	chunk->data = (uint8_t *)(chunk + 1);
	chunk->capacity = CHUNK_BYTES;
	chunk->start = chunk->size = 0;
	chunk->pooled = true;
	return chunk;
}

static void chunk_free(struct chunk *chunk, struct output_pool *pool)
{
	list_remove(&chunk->node);
	if (!chunk->pooled) {
		free(chunk->data);
		free(chunk);
	} else if (pool->count < SPARE_CHUNKS_MAX) {
		pool->count++;
		list_add_head(&pool->spare, &chunk->node);
	} else {
		free(chunk);
	}
}

void output_init(struct output *output)
{
	list_init(&output->chunks);
	output->size_bytes = 0;
}

void output_release(struct output *output, struct output_pool *pool)
{
	while (!list_is_empty(&output->chunks)) {
		chunk_free(LIST_ENTRY(output->chunks.next, struct chunk, node), pool);
	}
	output->size_bytes = 0;
}

static struct chunk *last_with_room(const struct output *output)
{
	struct chunk *chunk;
	if (list_is_empty(&output->chunks)) {
		return NULL;
	}
	chunk = LIST_ENTRY(output->chunks.prev, struct chunk, node);
	return chunk->pooled && chunk->size < chunk->capacity ? chunk : NULL;
}

int output_add(struct output *output, struct output_pool *pool, const void *data, size_t size)
{
	struct chunk *chunk = last_with_room(output);
	const uint8_t *from = data;
	size_t room = chunk != NULL ? chunk->capacity - chunk->size : 0;
	struct list_node fresh;
	size_t taken = ANNALS_MIN(room, size);

	/* All or nothing: first find the memory, then fill it. */
	list_init(&fresh);
	for (size_t left = size - taken; left > 0; left -= ANNALS_MIN(left, CHUNK_BYTES)) {
		struct chunk *more = chunk_new(pool);
		if (more == NULL) {
			while (!list_is_empty(&fresh)) {
				chunk_free(LIST_ENTRY(fresh.next, struct chunk, node), pool);
			}
			return ANNALS_E_NO_MEMORY;
		}
		list_add_tail(&fresh, &more->node);
	}
	if (taken > 0) {
		memcpy(chunk->data + chunk->size, from, taken);
		chunk->size += taken;
	}
	while (taken < size) {
		struct chunk *more = LIST_ENTRY(list_pop(&fresh), struct chunk, node);
		more->size = ANNALS_MIN(size - taken, CHUNK_BYTES);
		memcpy(more->data, from + taken, more->size);
		taken += more->size;
		list_add_tail(&output->chunks, &more->node);
	}
	output->size_bytes += size;
	return 0;
}

int output_add_buf(struct output *output, struct output_pool *pool, struct buf *data)
{
	struct chunk *chunk;
	size_t size = data->size;
	if (size < OWN_BYTES) {
		int status = size > 0 ? output_add(output, pool, data->data, size) : 0;
		if (status == 0) {
			buf_release(data);
		}
		return status;
	}
	chunk = malloc(sizeof(*chunk));
	if (chunk == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	chunk->data = buf_detach(data, &chunk->size);
	chunk->start = 0;
	chunk->capacity = chunk->size;
	chunk->pooled = false;
	list_add_tail(&output->chunks, &chunk->node);
	output->size_bytes += size;
	return 0;
}

void output_move(struct output *to, struct output *from)
{
	list_splice(&to->chunks, &from->chunks);
	to->size_bytes += from->size_bytes;
	from->size_bytes = 0;
}

int output_pieces(const struct output *output, size_t bytes_max, struct iovec *pieces, int max)
{
	struct list_node *node;
	int count = 0;
	LIST_FOR_EACH (node, &output->chunks) {
		struct chunk *chunk = LIST_ENTRY(node, struct chunk, node);
		if (count == max || bytes_max == 0) {
			break;
		}
		pieces[count].iov_base = chunk->data + chunk->start;
		pieces[count].iov_len = ANNALS_MIN(chunk->size - chunk->start, bytes_max);
		bytes_max -= pieces[count].iov_len;
		count++;
	}
	return count;
}

void output_consume(struct output *output, struct output_pool *pool, size_t size)
{
	assert(size <= output->size_bytes);
	output->size_bytes -= size;
	while (size > 0) {
		struct chunk *chunk = LIST_ENTRY(output->chunks.next, struct chunk, node);
		size_t have = chunk->size - chunk->start;
		if (size < have) {
			chunk->start += size;
			return;
		}
		size -= have;
		chunk_free(chunk, pool);
	}
}
