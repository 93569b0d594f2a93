/* Protobuf base-128 varints (protobuf encoding guide, "Base 128 Varints"). Pure, any thread. */
#ifndef ANNALS_VARINT_H
#define ANNALS_VARINT_H

#include <stddef.h>
#include <stdint.h>

#define VARINT_BYTES_MAX 10

/* Bytes that varint_put will write for value: 1 to 10. */
size_t varint_size(uint64_t value);
/* Writes at most 10 bytes to out; returns how many. */
size_t varint_put(uint8_t *out, uint64_t value);
/* Reads one varint from [data, data + size). Returns the bytes used, or 0 when it is cut short,
 * longer than 10 bytes or above 2^64 - 1. */
static inline size_t varint_get(const uint8_t *data, size_t size, uint64_t *ret_value)
{
	uint64_t value = 0;
	if (size > 0 && data[0] < 0x80) {
		*ret_value = data[0];
		return 1;
	}
	for (size_t i = 0; i < size && i < VARINT_BYTES_MAX; i++) {
		if (i == 9 && data[i] > 1) {
			return 0;
		}
		value |= (uint64_t)(data[i] & 0x7f) << (7 * i);
		if (data[i] < 0x80) {
			*ret_value = value;
			return i + 1;
		}
	}
	return 0;
}

#endif
