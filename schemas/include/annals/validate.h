/*
 * Is this an encoded message of that type? A walk over protobuf's wire format
 * (protobuf.dev/programming-guides/encoding) by the tables of a descriptor.
 *
 * Always checked: tags and varints are whole, at most 10 bytes and in range; lengths end within
 * their message; groups close with their number; levels of nesting; packed values are whole; a
 * field has the wire type of its type (repeated numbers packed or not, whatever is declared);
 * strings of proto3 are UTF-8. By the options: fields and enum numbers that the type does not know,
 * required fields of proto2.
 *
 * Stricter than protobuf's own parsers: a field with another wire type is an error and no unknown
 * field, unless allowed; a varint above 2^64 - 1 and a tag above 2^32 - 1 are errors and not cut; a
 * message field that comes in several pieces must have its required fields in each.
 *
 * Pure, any thread; nothing is allocated; the walk has its own stack of fixed size and does not
 * recurse. The cost is linear in the size of the message.
 */
#ifndef ANNALS_VALIDATE_H
#define ANNALS_VALIDATE_H

#include <annals/descriptor.h>

/* Messages and groups within the outermost one; what protobuf's own parsers allow. */
#define VALIDATE_DEPTH_MAX 100u

struct validate_options {
	unsigned depth_max; /* at most VALIDATE_DEPTH_MAX, which 0 stands for */
	bool refuse_unknown_fields;
	bool refuse_unknown_enums; /* numbers without a name, of open enums too */
	bool allow_wire_mismatch;  /* another wire type makes the field an unknown one */
	bool allow_missing_required;
};

/* What was accepted although the type does not know it: it would be lost on projection. */
struct validate_result {
	uint32_t unknown_fields; /* wire mismatches too */
	uint32_t unknown_enums;
};

/*
 * options may be NULL: all zero. ret_result may be NULL, which is faster; else it is written on
 * success. Errors name the path and the byte: "'items[3].name', byte 118: not UTF-8". Messages have
 * their place in a repeated field, other values only their byte.
 *
 * ANNALS_E_MALFORMED: no message of any type; ANNALS_E_VALIDATION: none of this one;
 * ANNALS_E_TOO_LARGE: nested too deep.
 */
int validate_message(const struct descriptor_message *type, struct bytes encoded,
	const struct validate_options *options, struct validate_result *ret_result,
	struct error *err) ANNALS_MUST_CHECK;

#endif
