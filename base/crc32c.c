/*
 * The hardware version runs three crc32 instructions side by side (the instruction takes three
 * cycles but one starts each cycle) over lanes of LANE bytes and joins them by multiplying with
 * x^(8 * LANE) modulo the polynomial, as tables of four bytes; the method is Mark Adler's,
 * described in "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction" (Gopal et al.,
 * Intel, 2011).
 */
#include <annals/crc32c.h>

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u
#define LANE 1024u

static uint32_t slicing[8][256];
static uint32_t shift_one[4][256]; /* appends LANE zero bytes */
static uint32_t shift_two[4][256]; /* appends 2 * LANE zero bytes */
static bool has_instruction;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t append_zeros(uint32_t state, size_t count)
{
	while (count-- > 0) {
		state = slicing[0][state & 0xff] ^ (state >> 8);
	}
	return state;
}

static void build_shift(uint32_t table[4][256], size_t zeros)
{
	uint32_t basis[32];

	for (unsigned bit = 0; bit < 32; bit++) {
		basis[bit] = append_zeros((uint32_t)1 << bit, zeros);
	}
	for (unsigned byte = 0; byte < 4; byte++) {
		for (unsigned value = 0; value < 256; value++) {
			uint32_t sum = 0;
			for (unsigned bit = 0; bit < 8; bit++) {
				sum ^= (value >> bit & 1) != 0 ? basis[byte * 8 + bit] : 0;
			}
			table[byte][value] = sum;
		}
	}
}

static void build_tables(void)
{
	for (uint32_t value = 0; value < 256; value++) {
		uint32_t crc = value;
		for (int bit = 0; bit < 8; bit++) {
			crc = (crc & 1) != 0 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
		}
		slicing[0][value] = crc;
	}
	for (unsigned value = 0; value < 256; value++) {
		for (unsigned slice = 1; slice < 8; slice++) {
			uint32_t before = slicing[slice - 1][value];
			slicing[slice][value] = slicing[0][before & 0xff] ^ (before >> 8);
		}
	}
	build_shift(shift_one, LANE);
	build_shift(shift_two, 2 * LANE);
#ifdef __x86_64__
	has_instruction = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *next = data;
	uint32_t state = ~crc;

	(void)pthread_once(&once, build_tables);
	for (; size >= 8; size -= 8, next += 8) {
		uint64_t word;
		memcpy(&word, next, sizeof(word));
		word ^= state;
		state = slicing[7][word & 0xff] ^ slicing[6][word >> 8 & 0xff] ^
			slicing[5][word >> 16 & 0xff] ^ slicing[4][word >> 24 & 0xff] ^
			slicing[3][word >> 32 & 0xff] ^ slicing[2][word >> 40 & 0xff] ^
			slicing[1][word >> 48 & 0xff] ^ slicing[0][word >> 56];
	}
	for (; size > 0; size--, next++) {
		state = slicing[0][(state ^ *next) & 0xff] ^ (state >> 8);
	}
	return ~state;
}

#ifdef __x86_64__
static uint32_t shift(uint32_t table[4][256], uint32_t state)
{
	return table[0][state & 0xff] ^ table[1][state >> 8 & 0xff] ^ table[2][state >> 16 & 0xff] ^
	       table[3][state >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(
	uint32_t crc, const uint8_t *next, size_t size)
{
	uint64_t state = (uint32_t)~crc;

	while (size >= 3 * LANE) {
		uint64_t second = 0, third = 0;
		for (size_t i = 0; i < LANE; i += 8) {
			uint64_t a, b, c;
			memcpy(&a, next + i, sizeof(a));
			memcpy(&b, next + LANE + i, sizeof(b));
			memcpy(&c, next + 2 * LANE + i, sizeof(c));
			state = __builtin_ia32_crc32di(state, a);
			second = __builtin_ia32_crc32di(second, b);
			third = __builtin_ia32_crc32di(third, c);
		}
		state = shift(shift_two, (uint32_t)state) ^ shift(shift_one, (uint32_t)second) ^
			third;
		next += (size_t)3 * LANE;
		size -= (size_t)3 * LANE;
	}
	for (; size >= 8; size -= 8, next += 8) {
		uint64_t word;
		memcpy(&word, next, sizeof(word));
		state = __builtin_ia32_crc32di(state, word);
	}
	for (; size > 0; size--, next++) {
		state = __builtin_ia32_crc32qi((uint32_t)state, *next);
	}
	return ~(uint32_t)state;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
	(void)pthread_once(&once, build_tables);
#ifdef __x86_64__
	if (has_instruction) {
		return crc32c_instruction(crc, data, size);
	}
#endif
	return crc32c_portable(crc, data, size);
}
