/* Vectors: RFC 3720 appendix B.4; the check value of the CRC catalogue. */
#include <annals/crc32c.h>
#include <annals/hash.h>

#include "suite.h"
#include <stdlib.h>

START_TEST(test_crc32c_published_vectors)
{
	uint8_t bytes[32];

	ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283u);
	memset(bytes, 0, sizeof(bytes));
	ck_assert_uint_eq(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aau);
	memset(bytes, 0xff, sizeof(bytes));
	ck_assert_uint_eq(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43u);
	for (int i = 0; i < 32; i++) {
		bytes[i] = (uint8_t)i;
	}
	ck_assert_uint_eq(crc32c(0, bytes, sizeof(bytes)), 0x46dd794eu);
	ck_assert_uint_eq(crc32c_portable(0, bytes, sizeof(bytes)), 0x46dd794eu);
	ck_assert_uint_eq(crc32c(7, NULL, 0), 7);
}
END_TEST

START_TEST(test_crc32c_instruction_equals_portable_at_every_length_and_alignment)
{
	struct random random = {42};
	static uint8_t bytes[20000];

	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)random_next(&random);
	}
	for (int round = 0; round < 3000; round++) {
		size_t at = random_below(&random, 64);
		size_t size =
			round < 1000 ? (size_t)round : random_below(&random, sizeof(bytes) - 64);
		uint32_t seed = (uint32_t)random_next(&random);
		ck_assert_uint_eq(
			crc32c(seed, bytes + at, size), crc32c_portable(seed, bytes + at, size));
	}
}
END_TEST

START_TEST(test_crc32c_continues)
{
	static const char text[] = "the quick brown fox jumps over the lazy dog";

	for (size_t cut = 0; cut < sizeof(text); cut++) {
		uint32_t first = crc32c(0, text, cut);
		ck_assert_uint_eq(crc32c(first, text + cut, sizeof(text) - cut),
			crc32c(0, text, sizeof(text)));
	}
}
END_TEST

SUITE_MAIN("crc32c", NULL, NULL, test_crc32c_published_vectors,
	test_crc32c_instruction_equals_portable_at_every_length_and_alignment,
	test_crc32c_continues)
