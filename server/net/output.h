/* Bytes on their way out: a queue of chunks that writev() takes as they are. Loop thread only. */
#ifndef SERVER_NET_OUTPUT_H
#define SERVER_NET_OUTPUT_H

#include <annals/buf.h>
#include <annals/list.h>
#include <sys/uio.h>

struct output_pool; /* spare chunks of a loop */

struct output {
	struct list_node chunks;
	size_t size_bytes; /* all that waits */
};

void output_init(struct output *output);
/* Gives the chunks back. */
void output_release(struct output *output, struct output_pool *pool);
/* 0 or ANNALS_E_NO_MEMORY, then nothing was added. */
int output_add(struct output *output, struct output_pool *pool, const void *data,
	size_t size) ANNALS_MUST_CHECK;
/* Takes the memory of `data` (small contents are copied) and leaves it empty. On ANNALS_E_NO_MEMORY
 * it keeps it. */
int output_add_buf(
	struct output *output, struct output_pool *pool, struct buf *data) ANNALS_MUST_CHECK;
/* Moves everything from `from` to the end of `to`. */
void output_move(struct output *to, struct output *from);
/* Fills at most `max` pieces, of bytes_max bytes in all, with what comes first; returns how many.
 */
int output_pieces(const struct output *output, size_t bytes_max, struct iovec *pieces, int max);
/* Drops the first `size` bytes. size <= size_bytes. */
void output_consume(struct output *output, struct output_pool *pool, size_t size);

struct output_pool *output_pool_new(void);
void output_pool_free(struct output_pool *pool);

#endif
