/*
 * JSON (RFC 8259), read without a tree and written without one.
 *
 * Reading is a pull parser over borrowed bytes: it allocates nothing, keeps one bit per level and
 * hands out slices of the input, so that a value nobody looks into keeps its bytes. It is strict:
 * UTF-8 is validated, escapes too, a lone surrogate escape is an error (RFC 7493), no comments, no
 * trailing commas, nothing after the value, at most JSON_DEPTH_MAX levels (a value skipped as a
 * whole: never more). Member names may repeat;
 * whoever must not accept that checks it. A slice in a struct json_value was validated as a whole,
 * so it can be scanned again without surprises.
 *
 * Pure; a scanner and a writer belong to one thread.
 */
#ifndef ANNALS_JSON_H
#define ANNALS_JSON_H

#include <annals/buf.h>
#include <annals/error.h>

#define JSON_DEPTH_MAX 64

enum json_type {
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

/* One value, borrowed from the input. */
struct json_value {
	enum json_type type;
	bool escaped;     /* a string that holds escapes: its text is not its bytes */
	struct bytes raw; /* as written, quotes and brackets included, no blanks around it */
};

/*
 * Where reading is. After an error `problem` is a constant text and `at` the place; every later
 * call returns the same error. Private but for those two.
 */
struct json_scanner {
	const uint8_t *start, *at, *end;
	unsigned depth;     /* levels entered */
	unsigned depth_max; /* JSON_DEPTH_MAX unless raised after init */
	bool first;         /* nothing was read yet on this level */
	const char *problem;
};

void json_scanner_init(struct json_scanner *scanner, struct bytes text);
/* Reads the whole value at the cursor and validates it. 0 or ANNALS_E_MALFORMED. */
int json_scan(struct json_scanner *scanner, struct json_value *ret) ANNALS_MUST_CHECK;
/* Enters the object (array) at the cursor. ANNALS_E_MALFORMED also when something else stands
 * there. */
int json_enter_object(struct json_scanner *scanner) ANNALS_MUST_CHECK;
int json_enter_array(struct json_scanner *scanner) ANNALS_MUST_CHECK;
/*
 * Moves to the next member: 1 with its name and the cursor at its value, which the caller must then
 * read with json_scan() or enter; 0 when the object ended and has been left; ANNALS_E_MALFORMED.
 */
int json_next_name(struct json_scanner *scanner, struct json_value *ret_name) ANNALS_MUST_CHECK;
/* Moves to the next element: 1 with the cursor at it, 0 when the array ended and has been left,
 * ANNALS_E_MALFORMED. */
int json_next_element(struct json_scanner *scanner) ANNALS_MUST_CHECK;
/* Checks that only blanks are left. */
int json_finish(struct json_scanner *scanner) ANNALS_MUST_CHECK;
/* Bytes from the start of the text to the cursor; after an error, to the first byte that is wrong.
 */
size_t json_position(const struct json_scanner *scanner);
/* Puts "problem at byte N" into err and returns ANNALS_E_MALFORMED. */
int json_fail(const struct json_scanner *scanner, struct error *err);

/* True when the bytes are one JSON value and blanks around it. */
bool json_is_valid(struct bytes text);
/* json_scan() and json_finish() in one. ANNALS_E_MALFORMED with the position in err. */
int json_read(struct bytes text, struct json_value *ret, struct error *err) ANNALS_MUST_CHECK;

/*
 * The text of a string. Without escapes it borrows from the input; with escapes it is appended to
 * scratch, which moves when it grows: reserve raw.size bytes per string first when several results
 * must stay valid. ANNALS_E_INVALID when it is not a string, ANNALS_E_NO_MEMORY.
 */
int json_string(
	const struct json_value *value, struct buf *scratch, struct bytes *ret) ANNALS_MUST_CHECK;
/* Integers: no fraction, no exponent, in range. ANNALS_E_INVALID. */
int json_u64(const struct json_value *value, uint64_t *ret) ANNALS_MUST_CHECK;
int json_i64(const struct json_value *value, int64_t *ret) ANNALS_MUST_CHECK;
int json_bool(const struct json_value *value, bool *ret) ANNALS_MUST_CHECK;
/* True when a string's text equals `text`; escapes are understood. */
bool json_string_is(const struct json_value *value, const char *text);

/*
 * Writing appends to a buffer, on one line, with commas and colons set by the writer. A failure to
 * grow is remembered: the calls return nothing, and json_writer_status() says 0 or
 * ANNALS_E_NO_MEMORY at the end.
 */
struct json_writer {
	struct buf *out;
	int status;
	bool comma; /* the next value or name needs one before it */
};

void json_writer_init(struct json_writer *writer, struct buf *out);
static inline int json_writer_status(const struct json_writer *writer)
{
	return writer->status;
}
void json_begin_object(struct json_writer *writer);
void json_end_object(struct json_writer *writer);
void json_begin_array(struct json_writer *writer);
void json_end_array(struct json_writer *writer);
/* name must need no escape; the value comes next. */
void json_name(struct json_writer *writer, const char *name);
void json_name_bytes(struct json_writer *writer, struct bytes name);
/* Escapes what JSON demands; bytes that are no UTF-8 become U+FFFD, so the output is always valid.
 */
void json_write_text(struct json_writer *writer, struct bytes text);
void json_write_u64(struct json_writer *writer, uint64_t value);
void json_write_i64(struct json_writer *writer, int64_t value);
void json_write_bool(struct json_writer *writer, bool value);
void json_write_null(struct json_writer *writer);
/* One valid JSON value as it is, except that CR and LF, which can only be blanks between tokens,
 * become spaces: the output stays on one line. */
void json_write_raw(struct json_writer *writer, struct bytes value);
/* A string of base64 (RFC 4648, padded; `url`: URL-safe without padding). */
void json_write_base64(struct json_writer *writer, struct bytes data, bool url);

/* name and value in one call. */
void json_member_text(struct json_writer *writer, const char *name, struct bytes value);
void json_member_cstring(struct json_writer *writer, const char *name, const char *value);
void json_member_u64(struct json_writer *writer, const char *name, uint64_t value);
void json_member_bool(struct json_writer *writer, const char *name, bool value);

#endif
