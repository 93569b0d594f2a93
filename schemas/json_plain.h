/* The scan of JSON strings that reading and writing share. Private to schemas. */
#ifndef SCHEMAS_JSON_PLAIN_H
#define SCHEMAS_JSON_PLAIN_H

#include <annals/bytes.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define JSON_PLAIN_ONES 0x0101010101010101ull
#define JSON_PLAIN_HIGHS 0x8080808080808080ull

/*
 * The first byte at or after `at` that a string cannot take as it is: a quote, a backslash, a
 * control character or the start of a non-ASCII sequence; `end` if there is none. Sixteen bytes a
 * step where SSE2 is there, else eight: as signed bytes, controls and non-ASCII are all below 0x20.
 */
static inline const uint8_t *json_skip_plain(const uint8_t *at, const uint8_t *end)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"');
	const __m128i backslash = _mm_set1_epi8('\\');
	const __m128i blank = _mm_set1_epi8(0x20);
	while (end - at >= 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)at);
		const __m128i hit = _mm_or_si128(_mm_cmplt_epi8(v, blank),
			_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)));
		const int mask = _mm_movemask_epi8(hit);
		if (mask != 0) {
			return at + __builtin_ctz((unsigned)mask);
		}
		at += 16;
	}
#endif
	while (end - at >= 8) {
		const uint64_t v = load_u64(at);
		const uint64_t quotes = v ^ (JSON_PLAIN_ONES * '"');
		const uint64_t slashes = v ^ (JSON_PLAIN_ONES * '\\');
		/* A borrow can mark a byte above the first hit, never one below it. */
		const uint64_t hit =
			(v | (v - JSON_PLAIN_ONES * 0x20) | (quotes - JSON_PLAIN_ONES) |
				(slashes - JSON_PLAIN_ONES)) &
			JSON_PLAIN_HIGHS;
		if (hit != 0) {
			return at + __builtin_ctzll(hit) / 8;
		}
		at += 8;
	}
	while (at < end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\') {
		at++;
	}
	return at;
}

#endif
