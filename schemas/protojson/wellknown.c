#include "wellknown.h"
#include "model.h"

/* A field of this number and type, not repeated. */
static bool has(const struct descriptor_message *type, uint32_t number, unsigned field_type)
{
	const struct descriptor_field *field = descriptor_field_by_number(type, number);
	return field != NULL && !field->repeated && field->type == field_type;
}

static bool is_named(const struct descriptor_field *field, const char *full_name)
{
	return field->message != NULL && bytes_is(bytes_text(field->message->full_name), full_name);
}

static bool is_struct(const struct descriptor_message *type)
{
	const struct descriptor_field *fields = descriptor_field_by_number(type, 1);
	return type->field_count == 1 && fields != NULL && fields->map &&
	       fields->message->fields[0].type == DESCRIPTOR_STRING &&
	       is_named(&fields->message->fields[1], "google.protobuf.Value");
}

static bool is_list(const struct descriptor_message *type)
{
	const struct descriptor_field *values = descriptor_field_by_number(type, 1);
	return type->field_count == 1 && values != NULL && values->repeated && !values->map &&
	       is_named(values, "google.protobuf.Value");
}

static bool is_value(const struct descriptor_message *type)
{
	if (type->field_count != 6 || !has(type, 1, DESCRIPTOR_ENUM) ||
		!has(type, 2, DESCRIPTOR_DOUBLE) || !has(type, 3, DESCRIPTOR_STRING) ||
		!has(type, 4, DESCRIPTOR_BOOL) || !has(type, 5, DESCRIPTOR_MESSAGE) ||
		!has(type, 6, DESCRIPTOR_MESSAGE)) {
		return false;
	}
	for (uint32_t i = 0; i < 6; i++) {
		if (type->fields[i].oneof != type->oneofs) {
			return false;
		}
	}
	const struct descriptor_field *object = descriptor_field_by_number(type, 5);
	const struct descriptor_field *array = descriptor_field_by_number(type, 6);
	return is_named(object, "google.protobuf.Struct") && is_struct(object->message) &&
	       is_named(array, "google.protobuf.ListValue") && is_list(array->message);
}

static bool is_mask(const struct descriptor_message *type)
{
	const struct descriptor_field *paths = descriptor_field_by_number(type, 1);
	return type->field_count == 1 && paths != NULL && paths->repeated &&
	       paths->type == DESCRIPTOR_STRING;
}

static const struct {
	const char *name;
	enum wellknown kind;
	unsigned first, second; /* the types of fields 1 and 2 where that says all */
} table[] = {
	{"Any", WELLKNOWN_ANY, DESCRIPTOR_STRING, DESCRIPTOR_BYTES},
	{"BoolValue", WELLKNOWN_WRAPPER, DESCRIPTOR_BOOL, 0},
	{"BytesValue", WELLKNOWN_WRAPPER, DESCRIPTOR_BYTES, 0},
	{"DoubleValue", WELLKNOWN_WRAPPER, DESCRIPTOR_DOUBLE, 0},
	{"Duration", WELLKNOWN_DURATION, DESCRIPTOR_INT64, DESCRIPTOR_INT32},
	{"FieldMask", WELLKNOWN_FIELD_MASK, 0, 0},
	{"FloatValue", WELLKNOWN_WRAPPER, DESCRIPTOR_FLOAT, 0},
	{"Int32Value", WELLKNOWN_WRAPPER, DESCRIPTOR_INT32, 0},
	{"Int64Value", WELLKNOWN_WRAPPER, DESCRIPTOR_INT64, 0},
	{"ListValue", WELLKNOWN_LIST_VALUE, 0, 0},
	{"StringValue", WELLKNOWN_WRAPPER, DESCRIPTOR_STRING, 0},
	{"Struct", WELLKNOWN_STRUCT, 0, 0},
	{"Timestamp", WELLKNOWN_TIMESTAMP, DESCRIPTOR_INT64, DESCRIPTOR_INT32},
	{"UInt32Value", WELLKNOWN_WRAPPER, DESCRIPTOR_UINT32, 0},
	{"UInt64Value", WELLKNOWN_WRAPPER, DESCRIPTOR_UINT64, 0},
	{"Value", WELLKNOWN_VALUE, 0, 0},
};

static bool has_shape(const struct descriptor_message *type, size_t row)
{
	switch (table[row].kind) {
	case WELLKNOWN_STRUCT:
		return is_struct(type) && is_value(type->fields[0].message->fields[1].message);
	case WELLKNOWN_LIST_VALUE:
		return is_list(type) && is_value(descriptor_field_by_number(type, 1)->message);
	case WELLKNOWN_VALUE:
		return is_value(type);
	case WELLKNOWN_FIELD_MASK:
		return is_mask(type);
	default:
		return type->field_count == (table[row].second != 0 ? 2 : 1) &&
		       has(type, 1, table[row].first) &&
		       (table[row].second == 0 || has(type, 2, table[row].second));
	}
}

enum wellknown wellknown_of(const struct descriptor_message *type)
{
	static const char package[] = "google.protobuf.";
	const size_t prefix = sizeof(package) - 1;
	struct bytes name = bytes_text(type->full_name);
	if (name.size <= prefix || memcmp(name.data, package, prefix) != 0) {
		return WELLKNOWN_NONE;
	}
	name = bytes_of(name.data + prefix, name.size - prefix);
	for (size_t i = 0; i < ANNALS_COUNT_OF(table); i++) {
		if (bytes_is(name, table[i].name)) {
			return has_shape(type, i) ? table[i].kind : WELLKNOWN_NONE;
		}
	}
	return WELLKNOWN_NONE;
}
