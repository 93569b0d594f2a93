/* Enums and their values. */
#include <stdlib.h>

#include "build.h"
#include "field.h"

/* EnumValueDescriptorProto, and the name it has among its enum's siblings. */
static int parse_value(struct builder *builder, const struct descriptor_enum *enumeration,
	struct bytes encoded, struct descriptor_enum_value *ret)
{
	struct bytes name = {NULL, 0};
	struct bytes options = {NULL, 0};
	struct field field;
	size_t cursor = 0;
	int more;
	while ((more = field_next(encoded, &cursor, &field)) == 1) {
		if (field.tag == FIELD_TAG(1, WIRE_BYTES)) {
			name = field.bytes;
		} else if (field.tag == FIELD_TAG(2, WIRE_VARINT)) {
			ret->number = (int32_t)(uint32_t)field.value;
		} else if (field.tag == FIELD_TAG(3, WIRE_BYTES)) {
			options = field.bytes;
		}
	}
	if (more < 0) {
		return builder_malformed(builder, enumeration->file, enumeration->full_name,
			"EnumValueDescriptorProto");
	}
	cursor = 0;
	while ((more = field_next(options, &cursor, &field)) == 1) {
		if (field.tag == FIELD_TAG(1, WIRE_VARINT)) {
			ret->deprecated = field.value != 0;
		}
	}
	if (more < 0) {
		return builder_malformed(
			builder, enumeration->file, enumeration->full_name, "EnumValueOptions");
	}
	const char *scope = enumeration->parent != NULL ? enumeration->parent->full_name
							: enumeration->file->package;
	const char *full_name;
	int status = builder_full_name(
		builder, enumeration->file, scope, name, "enum value", &full_name);
	status = status == 0 ? builder_declare(builder, enumeration->file, full_name,
				       SYMBOL_ENUM_VALUE, NULL)
			     : status;
	ret->name = status == 0 ? full_name + strlen(full_name) - name.size : NULL;
	return status;
}

static int compare_numbers(const void *a, const void *b)
{
	const struct descriptor_enum_value *x = *(const struct descriptor_enum_value *const *)a;
	const struct descriptor_enum_value *y = *(const struct descriptor_enum_value *const *)b;
	const int order = (x->number > y->number) - (x->number < y->number);
	return order != 0 ? order : (x > y) - (x < y);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp((*(const struct descriptor_enum_value *const *)a)->name,
		(*(const struct descriptor_enum_value *const *)b)->name);
}

static int index_values(struct builder *builder, struct descriptor_enum *enumeration)
{
	const size_t count = enumeration->value_count;
	const struct descriptor_enum_value **by_number =
		arena_alloc(&builder->pool->arena, count, sizeof(*by_number));
	const struct descriptor_enum_value **by_name =
		arena_alloc(&builder->pool->arena, count, sizeof(*by_name));
	if (by_number == NULL || by_name == NULL) {
		return builder_no_memory(builder);
	}
	for (size_t i = 0; i < count; i++) {
		by_number[i] = by_name[i] = &enumeration->values[i];
	}
	qsort(by_number, count, sizeof(*by_number), compare_numbers);
	qsort(by_name, count, sizeof(*by_name), compare_names);
	enumeration->by_number = by_number;
	enumeration->by_name = by_name;
	for (size_t i = 0; i < count; i++) {
		if (by_number[i]->number == (int32_t)enumeration->dense_count) {
			enumeration->dense_count++;
		}
		if (i > 0 && by_number[i]->number == by_number[i - 1]->number &&
			!enumeration->allow_alias) {
			return builder_fail(builder, ANNALS_E_VALIDATION, enumeration->file,
				enumeration->full_name,
				"'%.60s' and '%.60s' have the number %d; allow_alias is not set",
				by_number[i - 1]->name, by_number[i]->name, by_number[i]->number);
		}
	}
	return 0;
}

static int check_values(struct builder *builder, const struct descriptor_enum *enumeration)
{
	if (enumeration->file->proto3 && enumeration->values[0].number != 0) {
		return builder_fail(builder, ANNALS_E_VALIDATION, enumeration->file,
			enumeration->full_name, "the first value of a proto3 enum must be 0");
	}
	for (size_t i = 0; i < enumeration->value_count; i++) {
		const struct descriptor_enum_value *value = &enumeration->values[i];
		if (ranges_hold(
			    enumeration->reserved, enumeration->reserved_count, value->number) ||
			names_hold(enumeration->reserved_names, enumeration->reserved_name_count,
				value->name)) {
			return builder_fail(builder, ANNALS_E_VALIDATION, enumeration->file,
				enumeration->full_name,
				"the value '%.60s' uses a reserved number or name", value->name);
		}
	}
	return 0;
}

/* Name, values as bytes, options. */
static int parse_enum(struct builder *builder, struct descriptor_enum *enumeration,
	struct bytes encoded, struct bytes *ret_name, size_t *ret_values)
{
	struct bytes options = {NULL, 0};
	struct field field;
	size_t cursor = 0;
	size_t values = 0;
	int more;
	while ((more = field_next(encoded, &cursor, &field)) == 1) {
		if (field.tag == FIELD_TAG(1, WIRE_BYTES)) {
			*ret_name = field.bytes;
		} else if (field.tag == FIELD_TAG(2, WIRE_BYTES)) {
			values++;
		} else if (field.tag == FIELD_TAG(3, WIRE_BYTES)) {
			options = field.bytes;
		}
	}
	*ret_values = values;
	cursor = 0;
	while (more == 0 && (more = field_next(options, &cursor, &field)) == 1) {
		if (field.tag == FIELD_TAG(2, WIRE_VARINT)) {
			enumeration->allow_alias = field.value != 0;
		}
		more = 0;
	}
	return more < 0 ? builder_malformed(builder, enumeration->file, NULL, "EnumDescriptorProto")
			: 0;
}

static int add_values(struct builder *builder, struct descriptor_enum *enumeration,
	struct bytes encoded, size_t count)
{
	struct descriptor_enum_value *values =
		arena_alloc(&builder->pool->arena, count, sizeof(*values));
	struct field field;
	size_t cursor = 0;
	int status = values == NULL ? builder_no_memory(builder) : 0;
	while (status == 0 && field_next(encoded, &cursor, &field) == 1) {
		if (field.tag == FIELD_TAG(2, WIRE_BYTES)) {
			status = parse_value(builder, enumeration, field.bytes,
				&values[enumeration->value_count++]);
		}
	}
	enumeration->values = values;
	return status;
}

int builder_declare_enum(struct builder *builder, const struct descriptor_file *file,
	const struct descriptor_message *parent, struct bytes encoded,
	const struct descriptor_enum **ret_enum)
{
	static const struct range_numbers reserved = {4, 5, true, INT32_MIN, INT32_MAX};
	struct descriptor_enum *enumeration =
		arena_alloc(&builder->pool->arena, 1, sizeof(*enumeration));
	struct bytes name = {NULL, 0};
	size_t values = 0;
	if (enumeration == NULL) {
		return builder_no_memory(builder);
	}
	enumeration->file = file;
	enumeration->parent = parent;
	enumeration->closed = !file->proto3;
	int status = parse_enum(builder, enumeration, encoded, &name, &values);
	status = status == 0 ? builder_full_name(builder, file,
				       parent != NULL ? parent->full_name : file->package, name,
				       "enum", &enumeration->full_name)
			     : status;
	if (status != 0) {
		return status;
	}
	const char *full_name = enumeration->full_name;
	enumeration->name = full_name + strlen(full_name) - name.size;
	builder->fields_total += values;
	if (values > DESCRIPTOR_FIELDS_MAX || ++builder->types_total > DESCRIPTOR_MESSAGES_MAX ||
		builder->fields_total > DESCRIPTOR_FIELDS_TOTAL_MAX) {
		return builder_fail(builder, ANNALS_E_TOO_LARGE, file, full_name,
			"more than %u values in an enum, or %u fields and values or %u types in "
			"the set",
			DESCRIPTOR_FIELDS_MAX, DESCRIPTOR_FIELDS_TOTAL_MAX,
			DESCRIPTOR_MESSAGES_MAX);
	}
	if (values == 0) {
		return builder_fail(
			builder, ANNALS_E_VALIDATION, file, full_name, "an enum must have a value");
	}
	status = builder_declare(builder, file, full_name, SYMBOL_ENUM, enumeration);
	status = status == 0
			 ? builder_ranges(builder, file, full_name, encoded, &reserved,
				   &enumeration->reserved, &enumeration->reserved_count,
				   &enumeration->reserved_names, &enumeration->reserved_name_count)
			 : status;
	status = status == 0 ? add_values(builder, enumeration, encoded, values) : status;
	status = status == 0 ? index_values(builder, enumeration) : status;
	status = status == 0 ? check_values(builder, enumeration) : status;
	if (status == 0) {
		*ret_enum = enumeration;
	}
	return status;
}
