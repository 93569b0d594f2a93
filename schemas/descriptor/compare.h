/* The comparison's state. Private to schemas/descriptor. */
#ifndef SCHEMAS_DESCRIPTOR_COMPARE_H
#define SCHEMAS_DESCRIPTOR_COMPARE_H

#include <annals/buf.h>
#include <annals/compat.h>

struct message_pair {
	const struct descriptor_message *old_type, *new_type;
};

struct compare {
	struct buf findings; /* struct compat_finding */
	struct buf pairs;    /* struct message_pair, to be compared in turn */
	size_t *slots;       /* hash table of pairs: place + 1 */
	size_t slot_count;
	unsigned breaks;
	bool truncated;
	int status; /* the first failure */
};

/* Adds a finding. Failures stay in compare->status. */
void compare_report(struct compare *compare, enum compat_rule rule, unsigned breaks,
	const char *path, const char *old_text, const char *new_text, const char *sentence);
/* Has two messages compared, once. */
void compare_add_pair(struct compare *compare, const struct descriptor_message *old_type,
	const struct descriptor_message *new_type);

/* compare_field.c: two fields of one number. */
void compare_fields(struct compare *compare, const struct descriptor_field *old_field,
	const struct descriptor_field *new_field);
/* Types of one class have the same encoding: a number that stands for the class. */
int compare_type_class(const struct descriptor_field *field);
/* "repeated int32 depth = 4" */
void compare_field_text(char out[64], const struct descriptor_field *field);

#endif
