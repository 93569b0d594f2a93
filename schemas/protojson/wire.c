#include "wire.h"
#include "field.h"

#define GROUP_DEPTH_MAX 100

/* A tag, or ANNALS_E_MALFORMED. */
static int read_tag(struct bytes in, size_t *cursor, uint32_t *ret_tag)
{
	const size_t start = *cursor;
	uint64_t tag;
	if (field_varint(in, cursor, &tag) < 0 || *cursor - start > 5 || tag > UINT32_MAX ||
		FIELD_NUMBER(tag) == 0) {
		*cursor = start;
		return ANNALS_E_MALFORMED;
	}
	*ret_tag = (uint32_t)tag;
	return 0;
}

/* Everything up to the end tag of the group whose start tag was just read. */
static int read_group(struct bytes in, size_t *cursor, uint32_t number, struct bytes *ret)
{
	uint32_t open[GROUP_DEPTH_MAX];
	unsigned depth = 1;
	const size_t start = *cursor;
	open[0] = number;
	for (;;) {
		const size_t at = *cursor;
		size_t after = at;
		uint32_t tag;
		if (read_tag(in, &after, &tag) < 0) {
			return ANNALS_E_MALFORMED;
		}
		if ((tag & 7) == WIRE_GROUP) {
			if (depth == GROUP_DEPTH_MAX) {
				return ANNALS_E_MALFORMED;
			}
			open[depth++] = FIELD_NUMBER(tag);
			*cursor = after;
		} else if ((tag & 7) == WIRE_GROUP_END) {
			if (open[--depth] != FIELD_NUMBER(tag)) {
				return ANNALS_E_MALFORMED;
			}
			*cursor = after;
			if (depth == 0) {
				*ret = bytes_of(in.data + start, at - start);
				return 0;
			}
		} else {
			struct field skipped;
			if (field_next(in, cursor, &skipped) != 1) {
				return ANNALS_E_MALFORMED;
			}
		}
	}
}

int wire_field_next(struct bytes in, size_t *cursor, struct wire_field *ret_field)
{
	struct field field;
	if (*cursor == in.size) {
		return 0;
	}
	size_t at = *cursor;
	uint32_t tag;
	if (ANNALS_UNLIKELY((in.data[at] & 7) == WIRE_GROUP)) {
		struct bytes content;
		if (read_tag(in, &at, &tag) < 0 ||
			read_group(in, &at, FIELD_NUMBER(tag), &content) < 0) {
			*cursor = at;
			return ANNALS_E_MALFORMED;
		}
		*cursor = at;
		*ret_field = (struct wire_field){
			.number = FIELD_NUMBER(tag), .type = WIRE_GROUP, .bytes = content};
		return 1;
	}
	const int status = field_next(in, &at, &field);
	if (status != 1) {
		return ANNALS_E_MALFORMED;
	}
	*cursor = at;
	*ret_field = (struct wire_field){.number = FIELD_NUMBER(field.tag),
		.type = field.tag & 7,
		.value = field.value,
		.bytes = field.bytes};
	return 1;
}
