#include <annals/hash.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
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

static uint64_t rotate(uint64_t value, unsigned bits)
{
	return value << bits | value >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
}

uint64_t hash_siphash13(const uint64_t key[2], struct bytes data)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
		key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
	uint64_t last = (uint64_t)data.size << 56;
	const uint8_t *next = data.data;
	size_t left = data.size;

	for (; left >= 8; left -= 8, next += 8) {
		sip_word(v, load_u64(next));
	}
	for (size_t i = 0; i < left; i++) {
		last |= (uint64_t)next[i] << (8 * i);
	}
	sip_word(v, last);
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t table_key[2];
static pthread_once_t table_key_once = PTHREAD_ONCE_INIT;

static void draw_table_key(void)
{
	random_bytes(table_key, sizeof(table_key));
}

uint64_t hash_table64(struct bytes data)
{
	(void)pthread_once(&table_key_once, draw_table_key);
	return hash_siphash13(table_key, data);
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

static uint64_t mix64(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
	value = (value ^ value >> 27) * 0x94d049bb133111ebu;
	return value ^ value >> 31;
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

	assert(bound > 0);
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
