/*
 * Strict parsing of numbers and sizes that people and protocols write. Nothing is skipped: leading
 * blanks, signs where none belong and trailing characters are errors. All pure, any thread; 0 or
 * ANNALS_E_INVALID, results written on success only.
 */
#ifndef ANNALS_PARSE_H
#define ANNALS_PARSE_H

#include <annals/bytes.h>
#include <annals/macros.h>

/* Decimal digits only, at most 20; leading zeros allowed. */
int parse_u64(struct bytes text, uint64_t *ret_value) ANNALS_MUST_CHECK;
/* "4096", "64KiB", "64MiB", "1GiB", "1TiB" (powers of 1024), "64KB", "64MB" ... (powers of 1000).
 */
int parse_size(struct bytes text, uint64_t *ret_bytes) ANNALS_MUST_CHECK;
/* "250us", "250ms", "15s", "10m", "24h", "7d"; a bare number counts seconds. */
int parse_duration_us(struct bytes text, uint64_t *ret_us) ANNALS_MUST_CHECK;
/* "true"/"yes"/"on"/"1" and "false"/"no"/"off"/"0". */
int parse_bool(struct bytes text, bool *ret_value) ANNALS_MUST_CHECK;
/* "host:port", "[v6]:port", ":port" (any address). host gets at most 255 characters + NUL. */
int parse_host_port(struct bytes text, char ret_host[256], uint16_t *ret_port) ANNALS_MUST_CHECK;

/* RFC 3339 date-time with any offset, to nanoseconds since 1970 UTC. Years 1678 to 2261; more than
 * 9 fraction digits are an error. Second 60 is an error. */
int parse_rfc3339_ns(struct bytes text, int64_t *ret_ns) ANNALS_MUST_CHECK;
/* Writes "2018-01-31T01:49:59.650Z": UTC, 0, 3, 6 or 9 fraction digits, as few as hold the value.
 * Returns the length (at most 30). */
size_t format_rfc3339_ns(char out[32], int64_t ns);

/* The same for every year from 0000 to 9999, as whole seconds, rounded down, and nanoseconds below
 * 10^9. An offset may carry the result past either end. */
int parse_rfc3339(struct bytes text, int64_t *ret_seconds, uint32_t *ret_ns) ANNALS_MUST_CHECK;
/* Writes as above; seconds within the years 0000 to 9999, ns below 10^9. */
size_t format_rfc3339(char out[32], int64_t seconds, uint32_t ns);

/* True when the bytes are well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
 */
bool utf8_is_valid(struct bytes text);

/* RFC 4648 base64 with padding; `url` selects the URL-safe alphabet without padding. Output room:
 * (size + 2) / 3 * 4 bytes. Returns the length. */
size_t base64_encode(char *out, struct bytes data, bool url);
/* Strict: right alphabet, right padding (none when url), zero left-over bits. Output room: size / 4
 * * 3 + 3 bytes. */
int base64_decode(uint8_t *out, struct bytes text, bool url, size_t *ret_size) ANNALS_MUST_CHECK;

#endif
