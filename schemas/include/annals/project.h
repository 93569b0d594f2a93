/*
 * An encoded message of one version of a schema, for readers of another.
 *
 * What the other version does not know is left out, and so is what it cannot read: a value whose
 * type is encoded differently there, or an unknown number of a closed enum. A single field that was
 * repeated keeps the last value. Required fields that are missing get their default. Everything
 * else is copied as it is, in its order; unset fields stay unset, since readers fill in the
 * defaults themselves.
 *
 * Pure, any thread; no recursion, PROJECT_DEPTH_MAX levels. The cost is linear but for the lengths
 * of nested messages, whose bytes move by up to 9 once per level.
 */
#ifndef ANNALS_PROJECT_H
#define ANNALS_PROJECT_H

#include <annals/buf.h>
#include <annals/descriptor.h>

#define PROJECT_DEPTH_MAX 100u /* messages and groups within the outermost one */
#define PROJECT_MARKS_MAX 32u

enum project_loss {
	PROJECT_UNKNOWN,     /* the other version has no such field */
	PROJECT_UNREADABLE,  /* it has, with a type that is encoded differently */
	PROJECT_ENUM,        /* a closed enum there has no such number */
	PROJECT_CARDINALITY, /* several values where one is taken */
	PROJECT_REQUIRED,    /* was missing and got its default */
	PROJECT_LOSS_COUNT
};

/* What could not be kept. Each field is marked once. */
struct project_mark {
	enum project_loss loss;
	uint32_t number;
	const char *message; /* full name of the message the field is in, in the new version */
	const char *field;   /* its full name in the version that has it; NULL when neither does */
};

struct project_report {
	struct project_mark marks[PROJECT_MARKS_MAX];
	size_t mark_count;
	bool truncated; /* there were more */
};

/*
 * Appends to out. On failure out is as before and the report undefined.
 *
 * ANNALS_E_MALFORMED: not protobuf; ANNALS_E_TOO_LARGE: PROJECT_DEPTH_MAX, or more than
 * output_bytes_max; ANNALS_E_NO_MEMORY.
 */
int project_message(const struct descriptor_message *old_type,
	const struct descriptor_message *new_type, struct bytes encoded, size_t output_bytes_max,
	struct buf *out, struct project_report *ret_report, struct error *err) ANNALS_MUST_CHECK;
/* "unknown-field", "unreadable-field", "unknown-enum-value", "one-of-many", "required-default". */
const char *project_loss_name(enum project_loss loss);

/* "required-default 536870911," for each of PROJECT_MARKS_MAX, and "..." */
#define PROJECT_REPORT_TEXT_BYTES 1024u
/* The marks as kind and number, "unknown-field 8,unknown-field 9", with ",..." when there were
 * more; "" without any. */
void project_report_text(const struct project_report *report, char out[PROJECT_REPORT_TEXT_BYTES]);

#endif
