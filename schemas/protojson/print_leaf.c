/* Well-known types that are printed as one value. Their fields are read by number: the type was
 * found to have them. */
#include "field.h"
#include "model.h"
#include "print.h"
#include "scalar.h"

/* Seconds and nanoseconds of Timestamp and Duration. */
static int read_time(
	struct printer *printer, struct bytes in, int64_t *ret_seconds, int32_t *ret_nanos)
{
	struct wire_field field;
	size_t cursor = 0;
	int more;
	*ret_seconds = 0;
	*ret_nanos = 0;
	while ((more = wire_field_next(in, &cursor, &field)) == 1) {
		if (field.type == WIRE_VARINT && field.number == 1) {
			*ret_seconds = (int64_t)field.value;
		} else if (field.type == WIRE_VARINT && field.number == 2) {
			*ret_nanos = (int32_t)field.value;
		}
	}
	return more < 0 ? print_fail(printer, more, "malformed message") : 0;
}

static int print_time(struct printer *printer, enum wellknown kind, struct bytes in)
{
	char text[SCALAR_TEXT_MAX + 2];
	int64_t seconds;
	int32_t nanos;
	size_t size;
	int status = read_time(printer, in, &seconds, &nanos);
	if (status != 0) {
		return status;
	}
	status = kind == WELLKNOWN_TIMESTAMP
			 ? scalar_format_timestamp(text + 1, seconds, nanos, &size)
			 : scalar_format_duration(text + 1, seconds, nanos, &size);
	if (status != 0) {
		return print_fail(printer, ANNALS_E_VALIDATION,
			kind == WELLKNOWN_TIMESTAMP ? "Timestamp out of range"
						    : "Duration out of range");
	}
	text[0] = '"';
	text[size + 1] = '"';
	return print_raw(printer, text, size + 2);
}

static int print_mask(struct printer *printer, struct bytes in)
{
	ANNALS_CLEANUP(buf_release) struct buf joined = BUF_INIT;
	struct wire_field field;
	size_t cursor = 0;
	size_t size;
	bool first = true;
	int more;
	while ((more = wire_field_next(in, &cursor, &field)) == 1) {
		if (field.type != WIRE_BYTES || field.number != 1) {
			continue;
		}
		if (buf_reserve(&joined, field.bytes.size + 1) != 0) {
			return error_fail(printer->err, ANNALS_E_NO_MEMORY, "out of memory");
		}
		if (!first) {
			joined.data[joined.size++] = ',';
		}
		first = false;
		if (scalar_mask_to_camel(joined.data + joined.size, field.bytes, &size) != 0) {
			return print_fail(printer, ANNALS_E_VALIDATION,
				"FieldMask path without a camelCase form");
		}
		joined.size += size;
	}
	return more < 0 ? print_fail(printer, more, "malformed message")
			: print_string(printer, buf_bytes(&joined));
}

static int print_wrapper(
	struct printer *printer, const struct descriptor_message *type, struct bytes in)
{
	const struct descriptor_field *value_field = descriptor_field_by_number(type, 1);
	struct wire_field field;
	struct bytes text = {NULL, 0};
	uint64_t value = 0;
	size_t cursor = 0;
	int more;
	while ((more = wire_field_next(in, &cursor, &field)) == 1) {
		if (field.number == 1 && field.type == value_field->wire_type) {
			value = field.value;
			text = field.bytes;
		}
	}
	return more < 0 ? print_fail(printer, more, "malformed message")
			: print_scalar(printer, value_field, value, text);
}

int print_leaf(struct printer *printer, enum wellknown kind, const struct descriptor_message *type,
	struct bytes in)
{
	switch (kind) {
	case WELLKNOWN_FIELD_MASK:
		return print_mask(printer, in);
	case WELLKNOWN_WRAPPER:
		return print_wrapper(printer, type, in);
	default:
		return print_time(printer, kind, in);
	}
}
