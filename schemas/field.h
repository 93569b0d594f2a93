/*
 * Protobuf fields, read and written by hand (protobuf encoding guide,
 * developers.google.com/protocol-buffers/docs/encoding). Private to schemas. Pure; any thread;
 * nothing is allocated; recursion happens nowhere.
 *
 * Stricter than the guide in two places: groups (wire types 3 and 4, gone since proto3) are
 * refused, and a tag takes at most 5 bytes.
 */
#ifndef SCHEMAS_FIELD_H
#define SCHEMAS_FIELD_H

#include <annals/bytes.h>
#include <annals/macros.h>
#include <annals/parse.h>
#include <annals/status.h>
#include <annals/varint.h>

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

#define FIELD_TAG(number, type) ((uint32_t)(number) << 3 | (type))
#define FIELD_NUMBER(tag) ((tag) >> 3)
#define FIELD_NUMBER_MAX 0x1fffffffu

struct field {
	uint32_t tag;       /* number and wire type */
	uint64_t value;     /* varint, fixed32, fixed64 */
	struct bytes bytes; /* WIRE_BYTES, borrowed */
};

/* Reads one varint at *cursor and moves it. 0 or ANNALS_E_MALFORMED. */
static inline int field_varint(struct bytes in, size_t *cursor, uint64_t *ret_value)
{
	const uint8_t *p = in.data + *cursor;
	size_t left = in.size - *cursor;
	if (ANNALS_LIKELY(left >= 2)) {
		if (p[0] < 0x80) {
			*ret_value = p[0];
			*cursor += 1;
			return 0;
		}
		if (p[1] < 0x80) {
			*ret_value = (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
			*cursor += 2;
			return 0;
		}
	}
	size_t used = left == 0 ? 0 : varint_get(p, left, ret_value);
	*cursor += used;
	return used == 0 ? ANNALS_E_MALFORMED : 0;
}

/* Reads a length and the bytes after it. 0 or ANNALS_E_MALFORMED. */
static inline int field_length_delimited(struct bytes in, size_t *cursor, struct bytes *ret_bytes)
{
	uint64_t length;
	if (field_varint(in, cursor, &length) < 0 || length > in.size - *cursor) {
		return ANNALS_E_MALFORMED;
	}
	*ret_bytes = bytes_of(in.data + *cursor, (size_t)length);
	*cursor += (size_t)length;
	return 0;
}

/* *cursor starts at 0. 1 with the next field, 0 exactly at the end, ANNALS_E_MALFORMED. Always
 * inlined: decoders live off it. */
static inline __attribute__((always_inline)) int field_next(
	struct bytes in, size_t *cursor, struct field *ret)
{
	if (*cursor >= in.size) {
		return 0;
	}
	uint64_t tag = in.data[*cursor];
	if (ANNALS_LIKELY(tag < 0x80)) {
		*cursor += 1;
	} else {
		size_t start = *cursor;
		if (field_varint(in, cursor, &tag) < 0 || *cursor - start > 5 || tag > UINT32_MAX) {
			return ANNALS_E_MALFORMED;
		}
	}
	if (FIELD_NUMBER(tag) == 0) {
		return ANNALS_E_MALFORMED;
	}
	*ret = (struct field){.tag = (uint32_t)tag};
	switch (tag & 7) {
	case WIRE_BYTES:
		return field_length_delimited(in, cursor, &ret->bytes) < 0 ? ANNALS_E_MALFORMED : 1;
	case WIRE_VARINT:
		return field_varint(in, cursor, &ret->value) < 0 ? ANNALS_E_MALFORMED : 1;
	case WIRE_FIXED64:
		if (in.size - *cursor < 8) {
			return ANNALS_E_MALFORMED;
		}
		ret->value = load_u64(in.data + *cursor);
		*cursor += 8;
		return 1;
	case WIRE_FIXED32:
		if (in.size - *cursor < 4) {
			return ANNALS_E_MALFORMED;
		}
		ret->value = load_u32(in.data + *cursor);
		*cursor += 4;
		return 1;
	default:
		return ANNALS_E_MALFORMED;
	}
}

/* True when all bytes are below 0x80. */
static inline bool field_is_ascii(struct bytes text)
{
	const uint64_t high = 0x8080808080808080u;
	const uint8_t *p = text.data;
	size_t size = text.size;
	uint64_t seen = 0;
	if (size >= 8) {
		for (size_t i = 0; i + 8 < size; i += 8) {
			seen |= load_u64(p + i);
		}
		seen |= load_u64(p + size - 8);
	} else if (size >= 4) {
		seen = load_u32(p) | load_u32(p + size - 4);
	} else {
		for (size_t i = 0; i < size; i++) {
			seen |= p[i];
		}
	}
	return (seen & high) == 0;
}

/* Well-formed UTF-8; most text is ASCII and found so eight bytes at a time. */
static inline bool field_is_utf8(struct bytes text)
{
	return field_is_ascii(text) || utf8_is_valid(text);
}

/* Writers: into room that the caller has measured; each returns where the next byte goes. */
static inline uint8_t *field_put_varint(uint8_t *out, uint64_t value)
{
	while (value >= 0x80) {
		*out++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*out++ = (uint8_t)value;
	return out;
}
static inline uint8_t *field_put_number(uint8_t *out, uint32_t number, uint64_t value)
{
	out = field_put_varint(out, FIELD_TAG(number, WIRE_VARINT));
	return field_put_varint(out, value);
}
static inline uint8_t *field_put_fixed64(uint8_t *out, uint32_t number, uint64_t value)
{
	out = field_put_varint(out, FIELD_TAG(number, WIRE_FIXED64));
	store_u64(out, value);
	return out + 8;
}
static inline uint8_t *field_put_bytes(uint8_t *out, uint32_t number, struct bytes bytes)
{
	out = field_put_varint(out, FIELD_TAG(number, WIRE_BYTES));
	out = field_put_varint(out, bytes.size);
	if (bytes.size > 0) {
		memcpy(out, bytes.data, bytes.size);
	}
	return out + bytes.size;
}

/* Sizes of the same, for field numbers below 16, whose tag is one byte. */
static inline size_t field_number_size(uint64_t value)
{
	return 1 + varint_size(value);
}
static inline size_t field_bytes_size(size_t bytes)
{
	return 1 + varint_size(bytes) + bytes;
}

#endif
