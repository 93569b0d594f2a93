/* Lookups within messages, enums and files. */
#include <annals/descriptor.h>

const struct descriptor_field *descriptor_field_search(
	const struct descriptor_message *message, uint32_t number)
{
	size_t low = 0;
	size_t high = message->field_count;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (message->fields[middle].number < number) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	const bool found = low < message->field_count && message->fields[low].number == number;
	return found ? &message->fields[low] : NULL;
}

/* As memcmp orders: sorted tables of names are ordered so. */
static int compare_name(const char *name, struct bytes wanted)
{
	const size_t size = strlen(name);
	const size_t common = ANNALS_MIN(size, wanted.size);
	const int order = common == 0 ? 0 : memcmp(name, wanted.data, common);
	return order != 0 ? order : (size > wanted.size) - (size < wanted.size);
}

const struct descriptor_field *descriptor_field_by_name(
	const struct descriptor_message *message, struct bytes name)
{
	size_t low = 0;
	size_t high = message->field_count;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const int order = compare_name(message->by_name[middle]->name, name);
		if (order == 0) {
			return message->by_name[middle];
		}
		if (order < 0) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return NULL;
}

/* Two fields of proto2 may share a JSON name: the first of them in the table counts. */
const struct descriptor_field *descriptor_field_by_json_name(
	const struct descriptor_message *message, struct bytes json_name)
{
	size_t low = 0;
	size_t high = message->field_count;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (compare_name(message->by_json_name[middle]->json_name, json_name) < 0) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	const bool found = low < message->field_count &&
			   compare_name(message->by_json_name[low]->json_name, json_name) == 0;
	return found ? message->by_json_name[low] : NULL;
}

const struct descriptor_enum_value *descriptor_enum_value_by_number(
	const struct descriptor_enum *enumeration, int32_t number)
{
	size_t low = 0;
	size_t high = enumeration->value_count;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (enumeration->by_number[middle]->number < number) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	const bool found =
		low < enumeration->value_count && enumeration->by_number[low]->number == number;
	return found ? enumeration->by_number[low] : NULL;
}

const struct descriptor_enum_value *descriptor_enum_value_by_name(
	const struct descriptor_enum *enumeration, struct bytes name)
{
	size_t low = 0;
	size_t high = enumeration->value_count;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const int order = compare_name(enumeration->by_name[middle]->name, name);
		if (order == 0) {
			return enumeration->by_name[middle];
		}
		if (order < 0) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return NULL;
}

const struct descriptor_oneof *descriptor_oneof_by_name(
	const struct descriptor_message *message, struct bytes name)
{
	for (size_t i = 0; i < message->oneof_count; i++) {
		if (bytes_is(name, message->oneofs[i].name)) {
			return &message->oneofs[i];
		}
	}
	return NULL;
}

size_t descriptor_message_path(const struct descriptor_message *message, uint32_t *ret_path)
{
	const size_t count = (size_t)message->nesting + 1;
	for (size_t i = count; i > 0; i--) {
		ret_path[i - 1] = message->index;
		message = message->parent;
	}
	return count;
}

const struct descriptor_message *descriptor_message_at(
	const struct descriptor_file *file, const uint32_t *path, size_t count)
{
	const struct descriptor_message *message = NULL;
	for (size_t i = 0; i < count; i++) {
		const size_t limit = message == NULL ? file->message_count : message->message_count;
		if (path[i] >= limit) {
			return NULL;
		}
		message = message == NULL ? file->messages[path[i]] : message->messages[path[i]];
	}
	return message;
}

const char *descriptor_type_name(int type)
{
	static const char *const names[] = {"unknown type", "double", "float", "int64", "uint64",
		"int32", "fixed64", "fixed32", "bool", "string", "group", "message", "bytes",
		"uint32", "enum", "sfixed32", "sfixed64", "sint32", "sint64"};
	return type >= 0 && (size_t)type < ANNALS_COUNT_OF(names) ? names[type] : names[0];
}
