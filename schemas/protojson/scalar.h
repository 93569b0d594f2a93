/*
 * Texts of single values in the canonical JSON mapping of protobuf
 * (protobuf.dev/programming-guides/json, and the comments of the well-known types' own files).
 * Private to schemas. Pure, any thread; results are written on success only.
 */
#ifndef SCHEMAS_PROTOJSON_SCALAR_H
#define SCHEMAS_PROTOJSON_SCALAR_H

#include <annals/buf.h>

/* Longest number that is read; no value of any type needs as much. */
#define SCALAR_NUMBER_BYTES_MAX 1024
/* Room that every formatter below needs at most, with the NUL it sets. */
#define SCALAR_TEXT_MAX 40

/*
 * The shortest decimal that reads back as the same value: as ECMAScript prints it, but for "-0.0".
 * Finite values only. Returns the length. The C locale's decimal point is relied on: no program of
 * this tree sets another.
 */
size_t scalar_format_double(char *out, double value);
size_t scalar_format_float(char *out, float value);
size_t scalar_format_u64(char *out, uint64_t value);
size_t scalar_format_i64(char *out, int64_t value);

/* True for what RFC 8259 calls a number, nothing around it. */
bool scalar_is_number(struct bytes text);
/* Reads such a number, rounded to nearest. ANNALS_E_INVALID above the largest finite value or
 * longer than SCALAR_NUMBER_BYTES_MAX. */
int scalar_parse_double(struct bytes number, double *ret) ANNALS_MUST_CHECK;
/* The same for a float: rounded once, from the text. */
int scalar_parse_float(struct bytes number, float *ret) ANNALS_MUST_CHECK;
/*
 * Reads such a number as an exact integer: "1e3" and "1.0" are integers, "1.5" is not.
 * ANNALS_E_MALFORMED when it is none, ANNALS_E_INVALID outside [minimum, maximum]; minimum <= 0.
 */
int scalar_parse_integer(
	struct bytes number, int64_t minimum, uint64_t maximum, uint64_t *ret) ANNALS_MUST_CHECK;

/* google.protobuf.Timestamp: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z, upper-case
 * letters only, any offset when read. ANNALS_E_INVALID. */
int scalar_format_timestamp(
	char *out, int64_t seconds, int32_t nanos, size_t *ret_size) ANNALS_MUST_CHECK;
int scalar_parse_timestamp(
	struct bytes text, int64_t *ret_seconds, int32_t *ret_nanos) ANNALS_MUST_CHECK;
/* google.protobuf.Duration: "-3.100s", at most 315,576,000,000 s either way, signs alike.
 * ANNALS_E_INVALID. */
int scalar_format_duration(
	char *out, int64_t seconds, int32_t nanos, size_t *ret_size) ANNALS_MUST_CHECK;
int scalar_parse_duration(
	struct bytes text, int64_t *ret_seconds, int32_t *ret_nanos) ANNALS_MUST_CHECK;

/*
 * One path of a google.protobuf.FieldMask between snake_case and camelCase. The output needs
 * 2 * path.size bytes; ret_size may be 0. ANNALS_E_INVALID when the path would not come back the
 * same: upper case, a comma, or an underscore without a lower-case letter after it in snake_case;
 * an underscore in camelCase.
 */
int scalar_mask_to_camel(uint8_t *out, struct bytes path, size_t *ret_size) ANNALS_MUST_CHECK;
int scalar_mask_to_snake(uint8_t *out, struct bytes path, size_t *ret_size) ANNALS_MUST_CHECK;

/*
 * Base64 as the mapping wants it read: the standard or the URL-safe alphabet, not both in one text,
 * with padding or without, left-over bits zero. Output room: size / 4 * 3 + 3 bytes.
 * ANNALS_E_INVALID with the place of the first byte that is wrong.
 */
int scalar_parse_base64(
	uint8_t *out, struct bytes text, size_t *ret_size, size_t *ret_wrong_at) ANNALS_MUST_CHECK;

#endif
