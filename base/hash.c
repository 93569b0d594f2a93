#include <annals/hash.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

uint32_t hash_murmur2(struct bytes data)
{
	const uint32_t multiplier = 0x5bd1e995;
	uint32_t hash = 0x9747b28cu ^ (uint32_t)data.size;
	const uint8_t *next = data.data;
	size_t left = data.size;

	for (; left >= 4; left -= 4, next += 4) {
		uint32_t word = load_u32(next) * multiplier;
		word ^= word >> 24;
		hash = hash * multiplier ^ word * multiplier;
	}
	if (left == 3) {
		hash ^= (uint32_t)next[2] << 16;
	}
	if (left >= 2) {
		hash ^= (uint32_t)next[1] << 8;
	}
	if (left >= 1) {
		hash = (hash ^ next[0]) * multiplier;
	}
	hash = (hash ^ hash >> 13) * multiplier;
	return hash ^ hash >> 15;
}

static uint64_t mix64(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
	value = (value ^ value >> 27) * 0x94d049bb133111ebu;
	return value ^ value >> 31;
}

uint64_t hash_table64(struct bytes data)
{
	uint64_t hash = data.size * 0x9e3779b97f4a7c15u;
	const uint8_t *next = data.data;
	size_t left = data.size;

	for (; left >= 8; left -= 8, next += 8) {
		hash = mix64(hash ^ load_u64(next)) + 0x9e3779b97f4a7c15u;
	}
	if (left > 0) {
		uint64_t word = 0;
		memcpy(&word, next, left);
		hash ^= word;
	}
	return mix64(hash);
}

void random_bytes(void *out, size_t size)
{
	uint8_t *next = out;

	while (size > 0) {
		ssize_t got = getrandom(next, size, 0);
		if (got < 0) {
			if (errno == EINTR) {
				continue;
			}
			abort();
		}
		next += got;
		size -= (size_t)got;
	}
}

uint64_t random_next(struct random *random)
{
	random->state += 0x9e3779b97f4a7c15u;
	return mix64(random->state);
}

uint64_t random_below(struct random *random, uint64_t bound)
{
	/* Lemire's multiply-shift; the bias of at most bound / 2^64 does not matter here. */
	__extension__ typedef unsigned __int128 product;

	return (uint64_t)(((product)random_next(random) * bound) >> 64);
}

void uuid_new(uint8_t ret_uuid[16])
{
	random_bytes(ret_uuid, 16);
	ret_uuid[6] = (uint8_t)((ret_uuid[6] & 0x0f) | 0x40);
	ret_uuid[8] = (uint8_t)((ret_uuid[8] & 0x3f) | 0x80);
}

void uuid_format(char out[37], const uint8_t uuid[16])
{
	static const char digits[] = "0123456789abcdef";
	char *next = out;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10) {
			*next++ = '-';
		}
		*next++ = digits[uuid[i] >> 4];
		*next++ = digits[uuid[i] & 15];
	}
	*next = 0;
}
