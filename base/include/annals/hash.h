/* Hashes that are part of formats or tables, and random bytes. Pure unless said, any thread. */
#ifndef ANNALS_HASH_H
#define ANNALS_HASH_H

#include <annals/bytes.h>

/*
 * murmur2, 32 bits, seed 0x9747b28c: the hash Apache Kafka's Java client partitions by (Austin
 * Appleby's MurmurHash2; the seed is Kafka's). Vectors: "21" -> -973932308, "foobar" -> -790332482,
 * "a-little-bit-long-string" -> -985981536 (as signed 32-bit).
 */
uint32_t hash_murmur2(struct bytes data);

/*
 * 64-bit hash for in-memory tables only. It is keyed with random bytes drawn once per process, so
 * that nobody can choose names that collide; it must never reach the disk, the wire or an order
 * that anyone sees.
 */
uint64_t hash_table64(struct bytes data);
/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) under a given key:
 * what hash_table64 uses, for its test. */
uint64_t hash_siphash13(const uint64_t key[2], struct bytes data);

/* Fills with bytes from the system's generator; aborts if there is none. */
void random_bytes(void *out, size_t size);

/* A seeded generator for tests and workloads (SplitMix64, Steele, Lea and Flood 2014): the same
 * seed gives the same numbers everywhere. */
struct random {
	uint64_t state;
};
uint64_t random_next(struct random *random);
/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);

/* A version 4 UUID (RFC 9562) as 16 bytes, and as its 36 characters + NUL. */
void uuid_new(uint8_t ret_uuid[16]);
void uuid_format(char out[37], const uint8_t uuid[16]);

#endif
