/* Two fields of one number, and two enums. */
#include <stdio.h>

#include "compare.h"

void compare_field_text(char out[64], const struct descriptor_field *field)
{
	const char *label = field->map        ? "map "
			    : field->repeated ? "repeated "
			    : field->required ? "required "
					      : "";
	const char *type = field->enumeration != NULL ? field->enumeration->name
			   : field->message != NULL   ? field->message->name
						      : descriptor_type_name(field->type);
	snprintf(out, 64, "%s%.24s %.20s = %u", label, type, field->name, field->number);
}

int compare_type_class(const struct descriptor_field *field)
{
	switch (field->type) {
	case DESCRIPTOR_INT32:
	case DESCRIPTOR_INT64:
	case DESCRIPTOR_UINT32:
	case DESCRIPTOR_UINT64:
	case DESCRIPTOR_BOOL:
	case DESCRIPTOR_ENUM:
		return DESCRIPTOR_INT64;
	case DESCRIPTOR_SINT32:
	case DESCRIPTOR_SINT64:
		return DESCRIPTOR_SINT64;
	case DESCRIPTOR_FIXED32:
	case DESCRIPTOR_SFIXED32:
		return DESCRIPTOR_FIXED32;
	case DESCRIPTOR_FIXED64:
	case DESCRIPTOR_SFIXED64:
		return DESCRIPTOR_FIXED64;
	case DESCRIPTOR_STRING:
	case DESCRIPTOR_BYTES:
		return DESCRIPTOR_BYTES;
	default:
		return field->type;
	}
}

/* By number; aliases count once. */
static void compare_enums(struct compare *compare, const char *path,
	const struct descriptor_enum *a, const struct descriptor_enum *b)
{
	if (a == b) {
		return;
	}
	if (a->closed != b->closed) {
		compare_report(compare, COMPAT_ENUM_CLOSED_CHANGED, 0, path,
			a->closed ? "closed" : "open", b->closed ? "closed" : "open",
			"numbers without a name are treated otherwise");
	}
	for (size_t i = 0; i < a->value_count; i++) {
		const struct descriptor_enum_value *was = &a->values[i];
		const struct descriptor_enum_value *by_name =
			descriptor_enum_value_by_name(b, bytes_text(was->name));
		const struct descriptor_enum_value *by_number =
			descriptor_enum_value_by_number(b, was->number);
		char text[64];
		snprintf(text, sizeof(text), "%.40s = %d", was->name, was->number);
		if (by_name != NULL && by_name->number != was->number) {
			char now[64];
			snprintf(now, sizeof(now), "%.40s = %d", by_name->name, by_name->number);
			compare_report(compare, COMPAT_ENUM_VALUE_RENUMBERED, COMPAT_FULL, path,
				text, now, "the value has another number");
		} else if (by_number == NULL) {
			compare_report(compare, COMPAT_ENUM_VALUE_REMOVED,
				b->closed ? COMPAT_BACKWARD : 0, path, text, "",
				"new readers do not know the number in old data");
		} else if (by_name == NULL) {
			compare_report(compare, COMPAT_ENUM_VALUE_RENAMED, 0, path, text,
				by_number->name, "JSON shows another name");
		}
	}
	for (size_t i = 0; i < b->value_count; i++) {
		char text[64];
		if (descriptor_enum_value_by_number(a, b->values[i].number) == NULL &&
			descriptor_enum_value_by_name(a, bytes_text(b->values[i].name)) == NULL) {
			snprintf(text, sizeof(text), "%.40s = %d", b->values[i].name,
				b->values[i].number);
			compare_report(compare, COMPAT_ENUM_VALUE_ADDED,
				a->closed ? COMPAT_FORWARD : 0, path, "", text,
				"old readers do not know the number in new data");
		}
	}
}

/* Returns false when values cannot be read at all, so that nothing else matters. */
static bool compare_types(struct compare *compare, const struct descriptor_field *a,
	const struct descriptor_field *b, const char *old_text, const char *new_text)
{
	const char *path = b->full_name;
	if (a->map != b->map) {
		compare_report(compare, COMPAT_MAP_CHANGED, COMPAT_FULL, path, old_text, new_text,
			"a map became something else, or something else a map");
		return false;
	}
	if (compare_type_class(a) != compare_type_class(b)) {
		compare_report(compare, COMPAT_FIELD_TYPE_CHANGED, COMPAT_FULL, path, old_text,
			new_text, "the types are encoded differently");
		return false;
	}
	if (a->message != NULL) {
		if (strcmp(a->message->full_name, b->message->full_name) != 0) {
			compare_report(compare, COMPAT_MESSAGE_TYPE_CHANGED, 0, path,
				a->message->full_name, b->message->full_name,
				"another message type; its fields decide");
		}
		compare_add_pair(compare, a->message, b->message);
	} else if (a->enumeration != NULL && b->enumeration != NULL) {
		compare_enums(compare, path, a->enumeration, b->enumeration);
	} else if (compare_type_class(a) == DESCRIPTOR_BYTES) {
		if (a->utf8 != b->utf8) {
			compare_report(compare, COMPAT_FIELD_TEXT_CHANGED,
				b->utf8 ? COMPAT_BACKWARD : COMPAT_FORWARD, path, old_text,
				new_text, "one side takes only UTF-8 and the other any bytes");
		} else if (a->type != b->type) {
			compare_report(compare, COMPAT_FIELD_TEXT_CHANGED, 0, path, old_text,
				new_text, "text became bytes or bytes text");
		}
	} else if (a->type != b->type) {
		compare_report(compare, COMPAT_FIELD_RANGE_CHANGED, 0, path, old_text, new_text,
			"values outside the range of both types are read as others");
	}
	return true;
}

static void compare_cardinality(struct compare *compare, const struct descriptor_field *a,
	const struct descriptor_field *b, const char *old_text, const char *new_text)
{
	const char *path = b->full_name;
	if (!a->repeated && b->repeated) {
		compare_report(compare, COMPAT_FIELD_BECAME_REPEATED,
			b->packed ? COMPAT_FORWARD : 0, path, old_text, new_text,
			"old readers take the last value, and none that is packed");
	} else if (a->repeated && !b->repeated) {
		compare_report(compare, COMPAT_FIELD_BECAME_SINGULAR,
			a->packed ? COMPAT_BACKWARD : 0, path, old_text, new_text,
			"new readers take the last value, and none that is packed");
	} else if (a->packed != b->packed) {
		compare_report(compare, COMPAT_PACKED_CHANGED, 0, path, old_text, new_text,
			"values are written another way; readers take both");
	}
	if (!a->required && b->required) {
		compare_report(compare, COMPAT_REQUIRED_ADDED, COMPAT_BACKWARD, path, old_text,
			new_text, "new readers require a field that old data may lack");
	} else if (a->required && !b->required) {
		compare_report(compare, COMPAT_REQUIRED_REMOVED, COMPAT_FORWARD, path, old_text,
			new_text, "old readers require a field that new data may lack");
	} else if (a->repeated == b->repeated && a->has_presence != b->has_presence) {
		compare_report(compare, COMPAT_PRESENCE_CHANGED, 0, path, old_text, new_text,
			"unset and default are told apart on one side only");
	}
}

/* Members of the oneof of `field` that the other version has outside of its like. */
static bool joins_others(
	const struct descriptor_field *field, const struct descriptor_message *other)
{
	const struct descriptor_message *message = field->parent;
	for (size_t i = 0; i < message->field_count; i++) {
		const struct descriptor_field *member = &message->fields[i];
		if (member->oneof == field->oneof && member != field &&
			descriptor_field_by_number(other, member->number) != NULL) {
			return true;
		}
	}
	return false;
}

static void compare_oneofs(struct compare *compare, const struct descriptor_field *a,
	const struct descriptor_field *b, const char *old_text, const char *new_text)
{
	const char *path = b->full_name;
	if (a->oneof == NULL && b->oneof != NULL) {
		compare_report(compare, COMPAT_FIELD_MOVED_INTO_ONEOF,
			joins_others(b, a->parent) ? COMPAT_BACKWARD : 0, path, old_text, new_text,
			"old data may set several fields of the oneof; one is kept");
	} else if (a->oneof != NULL && b->oneof == NULL) {
		compare_report(compare, COMPAT_FIELD_MOVED_OUT_OF_ONEOF,
			joins_others(a, b->parent) ? COMPAT_FORWARD : 0, path, old_text, new_text,
			"new data may set several fields of the old oneof; one is kept");
	} else if (a->oneof != NULL && strcmp(a->oneof->name, b->oneof->name) != 0 &&
		   (joins_others(a, b->parent) || joins_others(b, a->parent))) {
		compare_report(compare, COMPAT_FIELD_MOVED_INTO_ONEOF, COMPAT_FULL, path,
			a->oneof->name, b->oneof->name, "the field is in another oneof");
	}
}

static bool same_tag(const struct descriptor_field *a, const struct descriptor_field *b)
{
	return (a->tag == NULL) == (b->tag == NULL) &&
	       (a->tag == NULL || strcmp(a->tag, b->tag) == 0);
}

void compare_fields(struct compare *compare, const struct descriptor_field *old_field,
	const struct descriptor_field *new_field)
{
	const struct descriptor_field *a = old_field;
	const struct descriptor_field *b = new_field;
	char old_text[64];
	char new_text[64];
	compare_field_text(old_text, a);
	compare_field_text(new_text, b);
	if (strcmp(a->name, b->name) != 0) {
		compare_report(compare, COMPAT_FIELD_RENAMED, 0, b->full_name, a->name, b->name,
			"the encoding is the same; code and JSON see another name");
	} else if (strcmp(a->json_name, b->json_name) != 0) {
		compare_report(compare, COMPAT_JSON_NAME_CHANGED, 0, b->full_name, a->json_name,
			b->json_name, "JSON has another name");
	}
	if (!compare_types(compare, a, b, old_text, new_text)) {
		return;
	}
	compare_cardinality(compare, a, b, old_text, new_text);
	compare_oneofs(compare, a, b, old_text, new_text);
	if (!a->repeated && !b->repeated && a->type == b->type &&
		(a->has_default || b->has_default) &&
		(a->default_value != b->default_value ||
			!bytes_equal(a->default_bytes, b->default_bytes))) {
		compare_report(compare, COMPAT_DEFAULT_CHANGED, 0, b->full_name, old_text, new_text,
			"an unset field reads as another value");
	}
	if (a->is_key != b->is_key || a->is_time != b->is_time || a->is_subject != b->is_subject ||
		!same_tag(a, b)) {
		compare_report(compare, COMPAT_EXTRACTION_CHANGED, 0, b->full_name, old_text,
			new_text, "events get their key, tags, time or subject from other fields");
	}
}
