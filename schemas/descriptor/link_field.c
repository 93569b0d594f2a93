/* The rules about one field, and what its options say. */
#include <annals/parse.h>

#include "build.h"
#include "field.h"

/* Numbers of annals/options.proto. */
enum { OPTION_KEY = 60210, OPTION_TAG = 60211, OPTION_TIME = 60212, OPTION_SUBJECT = 60213 };

static const uint8_t wire_types[] = {0, 1, 5, 0, 0, 0, 1, 5, 0, 2, 3, 2, 2, 0, 0, 5, 1, 0, 0};

static int fail(struct builder *builder, const struct descriptor_field *field, const char *text)
{
	return builder_fail(
		builder, ANNALS_E_VALIDATION, field->parent->file, field->full_name, "%s", text);
}

/* protoc's: underscores go, and the letter after one is a capital. */
static void default_json_name(char *name)
{
	char *out = name;
	bool capital = false;
	for (; *name != '\0'; name++) {
		if (*name == '_') {
			capital = true;
		} else {
			const bool lower = *name >= 'a' && *name <= 'z';
			*out++ = (char)(capital && lower ? *name - 'a' + 'A' : *name);
			capital = false;
		}
	}
	*out = '\0';
}

static int set_json_name(
	struct builder *builder, struct descriptor_field *field, const struct raw_field *raw)
{
	char *name = arena_text(&builder->pool->arena,
		raw->has_json_name ? raw->json_name : bytes_text(field->name));
	if (name == NULL) {
		return builder_no_memory(builder);
	}
	if (!raw->has_json_name) {
		default_json_name(name);
	} else if (strlen(name) != raw->json_name.size || !utf8_is_valid(raw->json_name)) {
		return fail(builder, field, "the JSON name is not UTF-8 or contains a zero byte");
	}
	field->json_name = name;
	return 0;
}

static bool is_key_type(const struct descriptor_field *field)
{
	return field->type != DESCRIPTOR_MESSAGE && field->type != DESCRIPTOR_GROUP &&
	       field->type != DESCRIPTOR_DOUBLE && field->type != DESCRIPTOR_FLOAT;
}

static int check_annals_options(struct builder *builder, const struct descriptor_field *field)
{
	if ((field->is_key || field->is_subject || field->is_time) && field->repeated) {
		return fail(
			builder, field, "a repeated field can be neither key, time nor subject");
	}
	if ((field->is_key && !is_key_type(field)) ||
		((field->tag != NULL || field->is_subject) &&
			(!is_key_type(field) ||
				(field->is_subject && field->type == DESCRIPTOR_BYTES)))) {
		return fail(builder, field,
			"a key, tag or subject must be a string, an integer, a bool or an enum; "
			"key "
			"and tag also bytes");
	}
	const bool is_timestamp =
		field->message != NULL &&
		strcmp(field->message->full_name, "google.protobuf.Timestamp") == 0;
	if (field->is_time && !is_timestamp && field->type != DESCRIPTOR_STRING &&
		field->type != DESCRIPTOR_INT64 && field->type != DESCRIPTOR_UINT64) {
		return fail(builder, field,
			"a time must be a google.protobuf.Timestamp, a string, int64 or uint64");
	}
	return 0;
}

static int set_tag(
	struct builder *builder, struct descriptor_field *field, const struct bytes *name)
{
	if (name->size == 0) {
		field->tag = field->name;
		return 0;
	}
	field->tag = arena_text(&builder->pool->arena, *name);
	if (field->tag == NULL) {
		return builder_no_memory(builder);
	}
	const bool good =
		strlen(field->tag) == name->size && name->size <= 64 && utf8_is_valid(*name);
	return good ? 0 : fail(builder, field, "the tag's name is no text of 1 to 64 bytes");
}

static int read_options(struct builder *builder, struct descriptor_field *field,
	const struct raw_field *raw, bool annals_options)
{
	struct field option;
	size_t cursor = 0;
	int more;
	int status = 0;
	bool packed_given = false;
	field->options = raw->options;
	field->packed = field->parent->file->proto3 && field->repeated &&
			descriptor_type_packable(field->type);
	while (status == 0 && (more = field_next(raw->options, &cursor, &option)) != 0) {
		if (more < 0) {
			return builder_malformed(
				builder, field->parent->file, field->full_name, "FieldOptions");
		}
		const uint32_t number = FIELD_NUMBER(option.tag);
		if (option.tag == FIELD_TAG(2, WIRE_VARINT)) {
			field->packed = option.value != 0;
			packed_given = field->packed;
		} else if (option.tag == FIELD_TAG(3, WIRE_VARINT)) {
			field->deprecated = option.value != 0;
		} else if (annals_options && (option.tag & 7) == WIRE_VARINT) {
			field->is_key = number == OPTION_KEY ? option.value != 0 : field->is_key;
			field->is_time = number == OPTION_TIME ? option.value != 0 : field->is_time;
			field->is_subject =
				number == OPTION_SUBJECT ? option.value != 0 : field->is_subject;
		} else if (annals_options && option.tag == FIELD_TAG(OPTION_TAG, WIRE_BYTES)) {
			status = set_tag(builder, field, &option.bytes);
		}
	}
	if (status == 0 && packed_given &&
		(!field->repeated || !descriptor_type_packable(field->type))) {
		return fail(builder, field, "only repeated numbers, bools and enums can be packed");
	}
	return status == 0 ? check_annals_options(builder, field) : status;
}

static bool equal_without_underscores(const char *entry, const char *name)
{
	bool capital = true;
	for (; *name != '\0'; name++) {
		if (*name == '_') {
			capital = true;
			continue;
		}
		const bool lower = *name >= 'a' && *name <= 'z';
		const char expected = (char)(capital && lower ? *name - 'a' + 'A' : *name);
		if (*entry++ != expected) {
			return false;
		}
		capital = false;
	}
	return strcmp(entry, "Entry") == 0;
}

/* A map entry is what protoc makes of map<K, V>: nested beside its field and used by it alone. */
static int check_map(struct builder *builder, const struct descriptor_field *field)
{
	const struct descriptor_message *entry = field->message;
	if (entry == NULL || !entry->map_entry) {
		return 0;
	}
	if (!field->map || entry->parent != field->parent || entry->field_count != 2 ||
		entry->fields[0].number != 1 || entry->fields[1].number != 2 ||
		strcmp(entry->fields[0].name, "key") != 0 ||
		strcmp(entry->fields[1].name, "value") != 0 || entry->message_count != 0 ||
		entry->enum_count != 0 || entry->extension_count != 0 ||
		!equal_without_underscores(entry->name, field->name)) {
		return fail(builder, field, "the map entry is not what map<key, value> stands for");
	}
	return 0;
}

static int check_entry_field(struct builder *builder, const struct descriptor_field *field)
{
	const bool bad_key = field->number == 1 &&
			     (field->type == DESCRIPTOR_DOUBLE || field->type == DESCRIPTOR_FLOAT ||
				     field->type == DESCRIPTOR_BYTES ||
				     field->type == DESCRIPTOR_ENUM || field->message != NULL);
	if (field->enumeration != NULL && field->enumeration->values[0].number != 0) {
		return fail(builder, field, "the first value of an enum in a map must be 0");
	}
	if (bad_key || field->repeated || field->required || field->type == DESCRIPTOR_GROUP) {
		return fail(builder, field, "the type is not allowed in a map");
	}
	return 0;
}

static int check_proto3(
	struct builder *builder, const struct descriptor_field *field, const struct raw_field *raw)
{
	if (field->required || field->type == DESCRIPTOR_GROUP || raw->has_default) {
		return fail(builder, field,
			"required fields, groups and default values are not allowed in proto3");
	}
	if (field->enumeration != NULL && field->enumeration->closed) {
		return fail(builder, field, "a proto3 message cannot use an enum of proto2");
	}
	return 0;
}

int builder_check_field(struct builder *builder, struct descriptor_field *field,
	const struct raw_field *raw, bool annals_options)
{
	const bool proto3 = field->parent->file->proto3;
	field->wire_type = wire_types[field->type];
	field->utf8 = proto3 && field->type == DESCRIPTOR_STRING;
	field->has_presence = !field->repeated &&
			      (!proto3 || raw->has_oneof || field->type == DESCRIPTOR_MESSAGE);
	int status = set_json_name(builder, field, raw);
	status = status == 0 ? read_options(builder, field, raw, annals_options) : status;
	status = status == 0 ? check_map(builder, field) : status;
	if (status == 0 && field->parent->map_entry) {
		status = check_entry_field(builder, field);
	}
	if (status == 0 && proto3) {
		status = check_proto3(builder, field, raw);
	}
	return status == 0 ? builder_default(builder, field, raw) : status;
}
