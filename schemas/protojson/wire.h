/*
 * Reading protobuf's wire format with groups, which field.h refuses: a group comes out as the bytes
 * between its tags. Private to schemas. Pure, any thread.
 */
#ifndef SCHEMAS_PROTOJSON_WIRE_H
#define SCHEMAS_PROTOJSON_WIRE_H

#include <annals/bytes.h>
#include <annals/macros.h>

enum { WIRE_GROUP = 3, WIRE_GROUP_END = 4 };

struct wire_field {
	uint32_t number;
	uint8_t type;       /* enum wire_type or WIRE_GROUP */
	uint64_t value;     /* of varint and fixed types */
	struct bytes bytes; /* of WIRE_BYTES and WIRE_GROUP, borrowed */
};

/* *cursor starts at 0. 1 with the next field, 0 exactly at the end, ANNALS_E_MALFORMED with the
 * cursor at what is wrong. Groups nest at most PROTOJSON_DEPTH_MAX levels. */
int wire_field_next(
	struct bytes in, size_t *cursor, struct wire_field *ret_field) ANNALS_MUST_CHECK;

#endif
