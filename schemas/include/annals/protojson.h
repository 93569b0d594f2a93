/*
 * Protobuf messages as JSON and back: the canonical mapping
 * (protobuf.dev/programming-guides/json), driven by the descriptors of a pool.
 *
 * Everything of the mapping is there: 64-bit integers as strings, shortest decimals, "NaN" and
 * "Infinity", base64, enum names, maps with every key type, oneofs, groups, json_name and original
 * names, and the well-known types Any, Duration, FieldMask, ListValue, Struct, Timestamp, Value and
 * the wrappers, Any by looking its type up in the same pool. docs/schemas.md lists where the
 * mapping leaves a choice and what was chosen.
 *
 * Limits: PROTOJSON_DEPTH_MAX levels of messages, the root included; 4 GiB of input; output as the
 * caller says. Nothing recurses; memory is a small multiple of the input. Pure; any thread, the
 * pool must not change meanwhile.
 *
 * Errors name the problem, the path of the field and the byte of the input, for instance
 * "not an integer at 'items[3].count', byte 118".
 */
#ifndef ANNALS_PROTOJSON_H
#define ANNALS_PROTOJSON_H

#include <annals/buf.h>
#include <annals/descriptor.h>
#include <annals/error.h>

#define PROTOJSON_DEPTH_MAX 100

struct protojson_print_options {
	size_t output_bytes_max; /* the most that is appended; 0 appends nothing and fails */
	bool original_names;     /* "field_name" as in the .proto, not json_name */
	bool enum_numbers;       /* 1 instead of "NAME" */
	bool print_defaults;     /* fields without presence are printed when unset: 0, "", [], {} */
	bool refuse_unknown;     /* else what the type does not know is left out */
};

/*
 * Appends the message as one line of JSON. Fields come in the order of their numbers, map entries
 * in that of their last appearance. On failure out is as before.
 *
 * ANNALS_E_MALFORMED: the bytes are no protobuf message of any type; ANNALS_E_VALIDATION: a value
 * has no JSON form (text that is not UTF-8, a Timestamp out of range, an Any of unknown type, a
 * Value that is not finite) or an unknown field is refused; ANNALS_E_TOO_LARGE: a limit, named in
 * err; ANNALS_E_NO_MEMORY.
 */
int protojson_print(const struct descriptor_pool *pool, const struct descriptor_message *type,
	struct bytes encoded, const struct protojson_print_options *options, struct buf *out,
	struct error *err) ANNALS_MUST_CHECK;

struct protojson_parse_options {
	size_t output_bytes_max; /* as above */
	bool ignore_unknown;     /* skip members that the type does not know */
	bool partial;            /* required fields of proto2 may be missing */
};

/*
 * Appends the message in protobuf's encoding, its fields in the order of the text. A member that
 * repeats, in whichever spelling, two members of one oneof and a map key that repeats are refused.
 * On failure out is as before.
 *
 * ANNALS_E_MALFORMED: the text is not JSON; ANNALS_E_VALIDATION: it is not JSON of this type;
 * ANNALS_E_TOO_LARGE: a limit, named in err; ANNALS_E_NO_MEMORY.
 */
int protojson_parse(const struct descriptor_pool *pool, const struct descriptor_message *type,
	struct bytes text, const struct protojson_parse_options *options, struct buf *out,
	struct error *err) ANNALS_MUST_CHECK;

#endif
