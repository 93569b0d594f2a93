/*
 * What a schema says about an event's own fields: (annals.key), (annals.tag), (annals.time) and
 * (annals.subject) of annals/options.proto, read from an encoded message.
 *
 * Only fields of the outermost message count. Numbers become decimals, bools "true" and "false",
 * enums the name of the value or, without one, the number. As in any protobuf reader the last
 * value of a single field counts, and of a oneof the last member. A field that is not on the wire
 * yields nothing, so a proto3 field at its default has no value unless it is `optional`.
 *
 * It reads, it does not validate: see validate.h. Pure, any thread; nothing is allocated, the cost
 * is linear.
 */
#ifndef ANNALS_EXTRACT_H
#define ANNALS_EXTRACT_H

#include <annals/descriptor.h>

#define EXTRACT_VALUES_MAX 64u /* keys, tags, times and subjects of one message together */

struct extract_tag {
	const char *name; /* lives as long as the pool */
	struct bytes value;
};

/* Values point into the encoded message, into the pool or into the structure itself, which must
 * therefore stay where it is. */
struct extract {
	bool has_key, has_time, has_subject;
	struct bytes key, subject;
	int64_t time_ns; /* since 1970 UTC */
	struct extract_tag tags[EXTRACT_VALUES_MAX];
	size_t tag_count;
	char text[EXTRACT_VALUES_MAX][24];
};

/* True when the type has any of the options, so that extract_message() can find something. */
static inline bool extract_wanted(const struct descriptor_message *type)
{
	return type->extracts;
}
/*
 * ANNALS_E_MALFORMED: not protobuf; ANNALS_E_VALIDATION: the time is no RFC 3339 text, outside the
 * years 1678 to 2261, or a Timestamp with nanos outside 0 to 999,999,999; ANNALS_E_TOO_LARGE:
 * EXTRACT_VALUES_MAX. On failure *ret_extract is undefined.
 */
int extract_message(const struct descriptor_message *type, struct bytes encoded,
	struct extract *ret_extract, struct error *err) ANNALS_MUST_CHECK;

#endif
