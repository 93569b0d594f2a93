/*
 * Growable bytes.
 *
 * Invariants: data[0..size) is initialised; capacity >= size; data may be NULL while capacity is 0.
 * The buffer is not NUL-terminated unless buf_text() was called last. A zeroed structure is a valid
 * empty buffer. Growth doubles, so n appends cost O(n). Not thread-safe.
 *
 * Functions that grow return 0 or ANNALS_E_NO_MEMORY and leave the buffer as it was. The `_u8`...
 * writers are for code that reserved room first.
 */
#ifndef ANNALS_BUF_H
#define ANNALS_BUF_H

#include <annals/bytes.h>
#include <annals/macros.h>
#include <annals/status.h>
#include <stdarg.h>

struct buf {
	uint8_t *data;
	size_t size;
	size_t capacity;
};

#define BUF_INIT ((struct buf){NULL, 0, 0})

void buf_init(struct buf *buf);
/* Frees the memory and leaves an empty buffer. NULL is a no-op. Usable with ANNALS_CLEANUP. */
void buf_release(struct buf *buf);
/* Empties without freeing. */
static inline void buf_reset(struct buf *buf)
{
	buf->size = 0;
}
/* Empties, and frees when the capacity is above keep_bytes. */
void buf_trim(struct buf *buf, size_t keep_bytes);
/* Hands the memory to the caller (free() it) and leaves an empty buffer. */
uint8_t *buf_detach(struct buf *buf, size_t *ret_size);
/* Makes room for `extra` bytes past size; data + size is then writable for that many. */
int buf_reserve(struct buf *buf, size_t extra) ANNALS_MUST_CHECK;
int buf_add(struct buf *buf, const void *data, size_t size) ANNALS_MUST_CHECK;
int buf_add_text(struct buf *buf, const char *text) ANNALS_MUST_CHECK;
int buf_add_byte(struct buf *buf, uint8_t byte) ANNALS_MUST_CHECK;
/* Appends `count` zero bytes. */
int buf_add_zeros(struct buf *buf, size_t count) ANNALS_MUST_CHECK;
int buf_printf(struct buf *buf, const char *format, ...) ANNALS_PRINTF(2, 3) ANNALS_MUST_CHECK;
int buf_vprintf(struct buf *buf, const char *format, va_list args)
	ANNALS_PRINTF(2, 0) ANNALS_MUST_CHECK;
/* Removes the first `count` bytes by moving the rest down. count <= size. */
void buf_consume(struct buf *buf, size_t count);
/* Terminates with NUL (not counted in size) and returns the text, valid until the next change; NULL
 * without memory. */
const char *buf_text(struct buf *buf);

static inline struct bytes buf_bytes(const struct buf *buf)
{
	return bytes_of(buf->data, buf->size);
}

#endif
