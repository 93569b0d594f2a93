/* Messages and files: what was added, removed, reserved; the walk over pairs. */
#include <annals/compat.h>
#include <annals/hash.h>
#include <stdio.h>
#include <stdlib.h>

#include "build.h"
#include "compare.h"

void compare_report(struct compare *compare, enum compat_rule rule, unsigned breaks,
	const char *path, const char *old_text, const char *new_text, const char *sentence)
{
	struct compat_finding finding = {.rule = rule, .breaks = breaks, .path = path};
	compare->breaks |= breaks;
	if (compare->findings.size / sizeof(finding) == COMPAT_FINDINGS_MAX) {
		compare->truncated = true;
		return;
	}
	snprintf(finding.old_text, sizeof(finding.old_text), "%s", old_text);
	snprintf(finding.new_text, sizeof(finding.new_text), "%s", new_text);
	snprintf(finding.sentence, sizeof(finding.sentence), "%s", sentence);
	if (buf_add(&compare->findings, &finding, sizeof(finding)) != 0) {
		compare->status = ANNALS_E_NO_MEMORY;
	}
}

static struct message_pair *pairs_of(const struct compare *compare, size_t *ret_count)
{
	*ret_count = compare->pairs.size / sizeof(struct message_pair);
	return (struct message_pair *)(void *)compare->pairs.data;
}

static size_t *slot_of(const struct compare *compare, const struct message_pair *pair)
{
	size_t count;
	const struct message_pair *pairs = pairs_of(compare, &count);
	size_t i = hash_table64(bytes_of(pair, sizeof(*pair))) & (compare->slot_count - 1);
	while (compare->slots[i] != 0 &&
		memcmp(&pairs[compare->slots[i] - 1], pair, sizeof(*pair)) != 0) {
		i = (i + 1) & (compare->slot_count - 1);
	}
	return &compare->slots[i];
}

static int grow(struct compare *compare)
{
	size_t count;
	const struct message_pair *pairs = pairs_of(compare, &count);
	const size_t slot_count = compare->slot_count == 0 ? 64 : compare->slot_count * 2;
	size_t *slots = calloc(slot_count, sizeof(*slots));
	if (slots == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	free(compare->slots);
	compare->slots = slots;
	compare->slot_count = slot_count;
	for (size_t i = 0; i < count; i++) {
		*slot_of(compare, &pairs[i]) = i + 1;
	}
	return 0;
}

void compare_add_pair(struct compare *compare, const struct descriptor_message *old_type,
	const struct descriptor_message *new_type)
{
	const struct message_pair pair = {old_type, new_type};
	size_t count;
	(void)pairs_of(compare, &count);
	if (old_type == new_type || compare->status != 0) {
		return;
	}
	if (count * 2 >= compare->slot_count && grow(compare) != 0) {
		compare->status = ANNALS_E_NO_MEMORY;
		return;
	}
	size_t *slot = slot_of(compare, &pair);
	if (*slot != 0) {
		return;
	}
	if (count == COMPAT_PAIRS_MAX) {
		compare->status = ANNALS_E_TOO_LARGE;
	} else if (buf_add(&compare->pairs, &pair, sizeof(pair)) != 0) {
		compare->status = ANNALS_E_NO_MEMORY;
	} else {
		*slot = count + 1;
	}
}

static void field_removed(struct compare *compare, const struct descriptor_field *field,
	const struct descriptor_message *new_type)
{
	char text[64];
	compare_field_text(text, field);
	const struct descriptor_field *same_name =
		descriptor_field_by_name(new_type, bytes_text(field->name));
	if (same_name != NULL &&
		descriptor_field_by_number(field->parent, same_name->number) == NULL) {
		char new_text[64];
		compare_field_text(new_text, same_name);
		compare_report(compare, COMPAT_FIELD_RENUMBERED, COMPAT_FULL, field->full_name,
			text, new_text, "the field has another number; its values are not found");
		return;
	}
	if (field->required) {
		compare_report(compare, COMPAT_REQUIRED_REMOVED, COMPAT_FORWARD, field->full_name,
			text, "", "old readers require the field that new data has no more");
	}
	if (field->oneof != NULL) {
		compare_report(compare, COMPAT_ONEOF_FIELD_REMOVED, COMPAT_BACKWARD,
			field->full_name, text, "",
			"new readers see the oneof empty where old data chose this field");
	}
	const bool reserved =
		ranges_hold(new_type->reserved, new_type->reserved_count, (int32_t)field->number);
	compare_report(compare, reserved ? COMPAT_FIELD_REMOVED : COMPAT_FIELD_REMOVED_UNRESERVED,
		0, field->full_name, text, "",
		reserved ? "new readers skip the field in old data"
			 : "the number is free to be used for something else; reserve it");
}

static void field_added(struct compare *compare, const struct descriptor_field *field,
	const struct descriptor_message *old_type)
{
	char text[64];
	compare_field_text(text, field);
	if (ranges_hold(old_type->reserved, old_type->reserved_count, (int32_t)field->number) ||
		names_hold(old_type->reserved_names, old_type->reserved_name_count, field->name)) {
		compare_report(compare, COMPAT_RESERVED_USED, COMPAT_FULL, field->full_name, "",
			text, "the number or the name was reserved; older data may use it");
	}
	if (field->required) {
		compare_report(compare, COMPAT_REQUIRED_ADDED, COMPAT_BACKWARD, field->full_name,
			"", text, "new readers require a field that old data does not have");
	}
	if (field->oneof != NULL &&
		descriptor_oneof_by_name(old_type, bytes_text(field->oneof->name)) != NULL) {
		compare_report(compare, COMPAT_ONEOF_FIELD_ADDED, COMPAT_FORWARD, field->full_name,
			"", text,
			"old readers see the oneof empty where new data chose this field");
	}
	compare_report(compare, COMPAT_FIELD_ADDED, 0, field->full_name, "", text,
		"old readers skip the field in new data");
}

static bool same_ranges(const struct descriptor_range *a, size_t a_count,
	const struct descriptor_range *b, size_t b_count)
{
	for (size_t i = 0; i < a_count; i++) {
		size_t k = 0;
		while (k < b_count && (b[k].first > a[i].first || b[k].last < a[i].last)) {
			k++;
		}
		if (k == b_count) {
			return false;
		}
	}
	return true;
}

/* What was reserved or open to extensions should stay so, or become a finding of its own. */
static void compare_ranges(struct compare *compare, const struct message_pair *pair)
{
	const struct descriptor_message *a = pair->old_type;
	const struct descriptor_message *b = pair->new_type;
	bool kept = same_ranges(a->reserved, a->reserved_count, b->reserved, b->reserved_count);
	for (size_t i = 0; i < a->reserved_name_count; i++) {
		kept &= names_hold(b->reserved_names, b->reserved_name_count, a->reserved_names[i]);
	}
	if (!kept) {
		compare_report(compare, COMPAT_RESERVED_REMOVED, 0, b->full_name, "", "",
			"numbers or names that were reserved are no more");
	}
	if (!same_ranges(a->extensions, a->extension_count, b->extensions, b->extension_count)) {
		compare_report(compare, COMPAT_EXTENSION_RANGE_REMOVED, 0, b->full_name, "", "",
			"an extension range became smaller; extensions in old data are not found");
	}
}

static void compare_messages(struct compare *compare, const struct message_pair *pair)
{
	const struct descriptor_message *a = pair->old_type;
	const struct descriptor_message *b = pair->new_type;
	size_t i = 0;
	size_t k = 0;
	while (i < a->field_count || k < b->field_count) {
		if (k == b->field_count ||
			(i < a->field_count && a->fields[i].number < b->fields[k].number)) {
			field_removed(compare, &a->fields[i++], b);
		} else if (i == a->field_count || b->fields[k].number < a->fields[i].number) {
			field_added(compare, &b->fields[k++], a);
		} else {
			compare_fields(compare, &a->fields[i++], &b->fields[k++]);
		}
	}
	compare_ranges(compare, pair);
	/* Nested types that no field uses are found by their names. */
	for (i = 0; i < a->message_count; i++) {
		for (k = 0; k < b->message_count; k++) {
			if (strcmp(a->messages[i]->name, b->messages[k]->name) == 0) {
				compare_add_pair(compare, a->messages[i], b->messages[k]);
				break;
			}
		}
		if (k == b->message_count && !a->messages[i]->map_entry) {
			compare_report(compare, COMPAT_MESSAGE_REMOVED, COMPAT_BACKWARD,
				a->messages[i]->full_name, a->messages[i]->name, "",
				"the message is gone");
		}
	}
}

static int finish(struct compare *compare, struct compat_report *ret_report, struct error *err)
{
	size_t count;
	for (size_t i = 0; compare->status == 0; i++) {
		const struct message_pair *pairs = pairs_of(compare, &count);
		if (i == count) {
			break;
		}
		const struct message_pair pair = pairs[i];
		compare_messages(compare, &pair);
	}
	free(compare->slots);
	buf_release(&compare->pairs);
	if (compare->status != 0) {
		buf_release(&compare->findings);
		*ret_report = (struct compat_report){0};
		return compare->status == ANNALS_E_TOO_LARGE
			       ? error_fail(err, ANNALS_E_TOO_LARGE,
					 "more than %u messages to compare", COMPAT_PAIRS_MAX)
			       : error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	size_t size = 0;
	ret_report->findings = (void *)buf_detach(&compare->findings, &size);
	ret_report->count = size / sizeof(struct compat_finding);
	ret_report->truncated = compare->truncated;
	ret_report->breaks = compare->breaks;
	return 0;
}

int compat_compare_messages(const struct descriptor_message *old_type,
	const struct descriptor_message *new_type, struct compat_report *ret_report,
	struct error *err)
{
	struct compare compare = {0};
	compare_add_pair(&compare, old_type, new_type);
	return finish(&compare, ret_report, err);
}

int compat_compare_files(const struct descriptor_file *old_file,
	const struct descriptor_file *new_file, struct compat_report *ret_report, struct error *err)
{
	struct compare compare = {0};
	if (strcmp(old_file->package, new_file->package) != 0) {
		compare_report(&compare, COMPAT_PACKAGE_CHANGED, COMPAT_FULL, new_file->name,
			old_file->package, new_file->package, "every type has another full name");
	}
	for (size_t i = 0; i < old_file->message_count; i++) {
		const struct descriptor_message *old_type = old_file->messages[i];
		size_t k = 0;
		while (k < new_file->message_count &&
			strcmp(new_file->messages[k]->name, old_type->name) != 0) {
			k++;
		}
		if (k < new_file->message_count) {
			compare_add_pair(&compare, old_type, new_file->messages[k]);
		} else {
			compare_report(&compare, COMPAT_MESSAGE_REMOVED, COMPAT_BACKWARD,
				old_type->full_name, old_type->name, "", "the message is gone");
		}
	}
	return finish(&compare, ret_report, err);
}

void compat_report_release(struct compat_report *report)
{
	if (report != NULL) {
		free(report->findings);
		*report = (struct compat_report){0};
	}
}

const char *compat_rule_name(enum compat_rule rule)
{
	static const char *const names[] = {
#define COMPAT_RULE_NAME_(id, name) name,
		COMPAT_RULES(COMPAT_RULE_NAME_)
#undef COMPAT_RULE_NAME_
	};
	return (unsigned)rule < COMPAT_RULE_COUNT ? names[rule] : "unknown-rule";
}
