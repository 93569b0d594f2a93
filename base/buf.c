#include <annals/buf.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *buf)
{
	*buf = BUF_INIT;
}

void buf_release(struct buf *buf)
{
	if (buf != NULL) {
		free(buf->data);
		*buf = BUF_INIT;
	}
}

void buf_trim(struct buf *buf, size_t keep_bytes)
{
	buf->size = 0;
	if (buf->capacity > keep_bytes) {
		buf_release(buf);
	}
}

uint8_t *buf_detach(struct buf *buf, size_t *ret_size)
{
	uint8_t *data = buf->data;

	if (ret_size != NULL) {
		*ret_size = buf->size;
	}
	*buf = BUF_INIT;
	return data;
}

int buf_reserve(struct buf *buf, size_t extra)
{
	size_t needed, capacity;
	uint8_t *data;

	if (extra <= buf->capacity - buf->size) {
		return 0;
	}
	if (extra > SIZE_MAX / 2 - buf->size) {
		return ANNALS_E_NO_MEMORY;
	}
	needed = buf->size + extra;
	capacity = buf->capacity < 64 ? 64 : buf->capacity;
	while (capacity < needed) {
		capacity *= 2;
	}
	data = realloc(buf->data, capacity);
	if (data == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	buf->data = data;
	buf->capacity = capacity;
	return 0;
}

int buf_add(struct buf *buf, const void *data, size_t size)
{
	int status = buf_reserve(buf, size);

	if (status == 0 && size > 0) {
		memcpy(buf->data + buf->size, data, size);
		buf->size += size;
	}
	return status;
}

int buf_add_text(struct buf *buf, const char *text)
{
	return buf_add(buf, text, strlen(text));
}

int buf_add_byte(struct buf *buf, uint8_t byte)
{
	return buf_add(buf, &byte, 1);
}

int buf_add_zeros(struct buf *buf, size_t count)
{
	int status = buf_reserve(buf, count);

	if (status == 0 && count > 0) {
		memset(buf->data + buf->size, 0, count);
		buf->size += count;
	}
	return status;
}

int buf_vprintf(struct buf *buf, const char *format, va_list args)
{
	va_list again;
	int length, status;

	va_copy(again, args);
	length = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (length < 0) {
		return ANNALS_E_INVALID;
	}
	status = buf_reserve(buf, (size_t)length + 1);
	if (status != 0) {
		return status;
	}
	(void)vsnprintf((char *)buf->data + buf->size, (size_t)length + 1, format, args);
	buf->size += (size_t)length;
	return 0;
}

int buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;
	int status;

	va_start(args, format);
	status = buf_vprintf(buf, format, args);
	va_end(args);
	return status;
}

void buf_consume(struct buf *buf, size_t count)
{
	assert(count <= buf->size);
	if (count > 0) {
		memmove(buf->data, buf->data + count, buf->size - count);
		buf->size -= count;
	}
}

const char *buf_text(struct buf *buf)
{
	if (buf_reserve(buf, 1) != 0) {
		return NULL;
	}
	buf->data[buf->size] = 0;
	return (const char *)buf->data;
}
