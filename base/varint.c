#include <annals/varint.h>

size_t varint_size(uint64_t value)
{
	size_t bits = 64u - (size_t)__builtin_clzll(value | 1);

	return (bits + 6) / 7;
}

size_t varint_put(uint8_t *out, uint64_t value)
{
	size_t used = 0;

	while (value >= 0x80) {
		out[used++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	out[used++] = (uint8_t)value;
	return used;
}
