/*
 * What changes from one version of a schema to the next, and whom it breaks.
 *
 * Backward: readers with the new version understand data written with the old one. Forward: readers
 * with the old version understand data written with the new one. Full: both. The transitive forms
 * are a loop over versions and belong to the caller.
 *
 * Every difference is a finding; each says which of the two it breaks. One that breaks neither is
 * worth knowing all the same: another JSON name, a narrower integer. Fields are compared by number
 * and types as far as fields lead, whatever their names. docs/schemas.md explains each rule.
 *
 * Sources: "Updating A Message Type" (protobuf.dev/programming-guides/proto3) and, where a choice
 * is left (oneofs), what the Confluent schema registry answers.
 */
#ifndef ANNALS_COMPAT_H
#define ANNALS_COMPAT_H

#include <annals/descriptor.h>

/* X(identifier, id in reports) */
#define COMPAT_RULES(X)                                                                            \
	X(PACKAGE_CHANGED, "package-changed")                                                      \
	X(MESSAGE_REMOVED, "message-removed")                                                      \
	X(MESSAGE_TYPE_CHANGED, "message-type-changed")                                            \
	X(FIELD_ADDED, "field-added")                                                              \
	X(FIELD_REMOVED, "field-removed")                                                          \
	X(FIELD_REMOVED_UNRESERVED, "field-removed-unreserved")                                    \
	X(FIELD_RENUMBERED, "field-renumbered")                                                    \
	X(FIELD_RENAMED, "field-renamed")                                                          \
	X(JSON_NAME_CHANGED, "json-name-changed")                                                  \
	X(FIELD_TYPE_CHANGED, "field-type-changed")                                                \
	X(FIELD_RANGE_CHANGED, "field-range-changed")                                              \
	X(FIELD_TEXT_CHANGED, "field-text-changed")                                                \
	X(FIELD_BECAME_REPEATED, "field-became-repeated")                                          \
	X(FIELD_BECAME_SINGULAR, "field-became-singular")                                          \
	X(PACKED_CHANGED, "packed-changed")                                                        \
	X(MAP_CHANGED, "map-changed")                                                              \
	X(PRESENCE_CHANGED, "presence-changed")                                                    \
	X(DEFAULT_CHANGED, "default-changed")                                                      \
	X(REQUIRED_ADDED, "required-added")                                                        \
	X(REQUIRED_REMOVED, "required-removed")                                                    \
	X(RESERVED_USED, "reserved-used")                                                          \
	X(RESERVED_REMOVED, "reserved-removed")                                                    \
	X(EXTENSION_RANGE_REMOVED, "extension-range-removed")                                      \
	X(FIELD_MOVED_INTO_ONEOF, "field-moved-into-oneof")                                        \
	X(FIELD_MOVED_OUT_OF_ONEOF, "field-moved-out-of-oneof")                                    \
	X(ONEOF_FIELD_ADDED, "oneof-field-added")                                                  \
	X(ONEOF_FIELD_REMOVED, "oneof-field-removed")                                              \
	X(ENUM_VALUE_ADDED, "enum-value-added")                                                    \
	X(ENUM_VALUE_REMOVED, "enum-value-removed")                                                \
	X(ENUM_VALUE_RENUMBERED, "enum-value-renumbered")                                          \
	X(ENUM_VALUE_RENAMED, "enum-value-renamed")                                                \
	X(ENUM_CLOSED_CHANGED, "enum-closed-changed")                                              \
	X(EXTRACTION_CHANGED, "extraction-changed")

enum compat_rule {
#define COMPAT_RULE_ENUM_(id, name) COMPAT_##id,
	COMPAT_RULES(COMPAT_RULE_ENUM_)
#undef COMPAT_RULE_ENUM_
		COMPAT_RULE_COUNT
};

enum compat_mode {
	COMPAT_NONE = 0,
	COMPAT_BACKWARD = 1,
	COMPAT_FORWARD = 2,
	COMPAT_FULL = COMPAT_BACKWARD | COMPAT_FORWARD
};

#define COMPAT_FINDINGS_MAX 1000u
#define COMPAT_PAIRS_MAX 100000u /* of messages compared */

struct compat_finding {
	enum compat_rule rule;
	unsigned breaks;   /* of COMPAT_BACKWARD and COMPAT_FORWARD; 0: neither */
	const char *path;  /* full name of the field, message or enum; borrowed from a pool */
	char old_text[64]; /* "int32 = 4"; "" when there was nothing */
	char new_text[64];
	char sentence[160];
};

/* Paths live as long as the two pools. A zeroed structure is a valid empty report. */
struct compat_report {
	struct compat_finding *findings;
	size_t count;
	bool truncated;  /* there were more than COMPAT_FINDINGS_MAX */
	unsigned breaks; /* of all, the ones left out too */
};

/*
 * Compares all that the old file declares with the new file, types that fields lead to in other
 * files too. 0; ANNALS_E_TOO_LARGE: COMPAT_PAIRS_MAX; ANNALS_E_NO_MEMORY. The report is the
 * caller's to release; on failure it is empty.
 */
int compat_compare_files(const struct descriptor_file *old_file,
	const struct descriptor_file *new_file, struct compat_report *ret_report,
	struct error *err) ANNALS_MUST_CHECK;
/* The same of two messages and what they hold. */
int compat_compare_messages(const struct descriptor_message *old_type,
	const struct descriptor_message *new_type, struct compat_report *ret_report,
	struct error *err) ANNALS_MUST_CHECK;
void compat_report_release(struct compat_report *report);
static inline bool compat_is_compatible(const struct compat_report *report, enum compat_mode mode)
{
	return (report->breaks & (unsigned)mode) == 0;
}
/* "field-removed". */
const char *compat_rule_name(enum compat_rule rule);

#endif
