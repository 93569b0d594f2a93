/* A borrowed run of bytes. The owner is whoever the function that hands it out says. */
#ifndef ANNALS_BYTES_H
#define ANNALS_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	const uint8_t *data;
	size_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size)
{
	return (struct bytes){(const uint8_t *)data, size};
}
static inline struct bytes bytes_text(const char *text)
{
	return (struct bytes){(const uint8_t *)text, strlen(text)};
}
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
static inline bool bytes_is(struct bytes a, const char *text)
{
	return bytes_equal(a, bytes_text(text));
}

/* Little-endian loads and stores at any alignment: every fixed number on Annals' disk and wire is
 * little-endian. */
static inline uint16_t load_u16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}
static inline uint32_t load_u32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}
static inline uint64_t load_u64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}
static inline void store_u16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}
static inline void store_u32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}
static inline void store_u64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the load and store helpers need byte swaps on this machine"
#endif

/* Big-endian stores for keys that must sort as numbers under memcmp. */
static inline void store_u32_be(void *p, uint32_t v)
{
	store_u32(p, __builtin_bswap32(v));
}
static inline void store_u64_be(void *p, uint64_t v)
{
	store_u64(p, __builtin_bswap64(v));
}
static inline uint32_t load_u32_be(const void *p)
{
	return __builtin_bswap32(load_u32(p));
}
static inline uint64_t load_u64_be(const void *p)
{
	return __builtin_bswap64(load_u64(p));
}

#endif
