/* What of a message's bytes counts, in the order it is printed; and the entries of maps. */
#include "field.h"
#include "model.h"
#include "print.h"
#include <stdlib.h>

static int no_memory(struct printer *printer)
{
	return error_fail(printer->err, ANNALS_E_NO_MEMORY, "out of memory");
}

static int malformed(struct printer *printer, struct bytes in, size_t at)
{
	printer->at = in.data + at;
	return print_fail(printer, ANNALS_E_MALFORMED, "malformed message");
}

/* A field on the wire that the descriptor does not expect so is unknown, as parsers see it. */
static bool is_expected(const struct descriptor_field *field, const struct wire_field *wire)
{
	const unsigned type = field->wire_type;
	if (wire->type != type) {
		return wire->type == WIRE_BYTES && field->repeated && type != WIRE_GROUP;
	}
	if (field->type != DESCRIPTOR_ENUM || field->repeated) {
		return true;
	}
	return print_enum_known(field, wire->value);
}

static struct print_oneof *oneof_of(
	const struct printer *printer, const struct print_frame *frame, int oneof)
{
	return (struct print_oneof *)(void *)printer->oneofs.data + frame->oneof_first + oneof;
}

static int add_oneofs(struct printer *printer, struct print_frame *frame)
{
	const size_t count = frame->type->oneof_count;
	frame->oneof_first = printer->oneofs.size / sizeof(struct print_oneof);
	if (buf_reserve(&printer->oneofs, count * sizeof(struct print_oneof)) != 0) {
		return no_memory(printer);
	}
	printer->oneofs.size += count * sizeof(struct print_oneof);
	for (size_t i = 0; i < count; i++) {
		*oneof_of(printer, frame, (int)i) = (struct print_oneof){UINT32_MAX, 0};
	}
	return 0;
}

static int compare_entries(const void *a, const void *b)
{
	const uint64_t x = load_u64(a);
	const uint64_t y = load_u64(b);
	return (x > y) - (x < y);
}

static void store_entry(struct printer *printer, size_t index, uint64_t entry)
{
	store_u64(printer->entries.data + index * sizeof(entry), entry);
}

/* Takes out what a later member of its oneof has displaced. */
static void resolve_oneofs(struct printer *printer, struct print_frame *frame)
{
	size_t kept = frame->entry_first;
	for (size_t i = frame->entry_first; i < frame->entry_end; i++) {
		const uint64_t entry = print_entry(printer, i);
		const uint32_t order = (uint32_t)(entry >> 32);
		const int oneof = model_oneof(frame->type, &frame->type->fields[order]);
		if (oneof >= 0) {
			const struct print_oneof *set = oneof_of(printer, frame, oneof);
			if (set->field != order || (uint32_t)entry < set->start) {
				continue;
			}
		}
		store_entry(printer, kept++, entry);
	}
	frame->entry_end = kept;
	printer->entries.size = kept * sizeof(uint64_t);
}

static int add_entry(struct printer *printer, struct print_frame *frame,
	const struct descriptor_field *field, size_t at)
{
	const uint32_t order = model_order(frame->type, field);
	const uint64_t entry = (uint64_t)order << 32 | at;
	const int oneof = model_oneof(frame->type, field);
	if (oneof >= 0) {
		struct print_oneof *set = oneof_of(printer, frame, oneof);
		if (set->field != order) {
			*set = (struct print_oneof){order, (uint32_t)at};
		}
	}
	if (ANNALS_UNLIKELY(printer->entries.capacity - printer->entries.size < sizeof(entry)) &&
		buf_reserve(&printer->entries, sizeof(entry)) != 0) {
		return no_memory(printer);
	}
	store_u64(printer->entries.data + printer->entries.size, entry);
	printer->entries.size += sizeof(entry);
	return 0;
}

int print_index(struct printer *printer, struct print_frame *frame)
{
	struct wire_field wire;
	size_t cursor = 0;
	size_t at = 0;
	uint32_t last = 0;
	bool sorted = true;
	int more;
	frame->entry_first = printer->entries.size / sizeof(uint64_t);
	int status = add_oneofs(printer, frame);
	if (status != 0) {
		return status;
	}
	while ((more = wire_field_next(frame->in, &cursor, &wire)) == 1) {
		const struct descriptor_field *field =
			descriptor_field_by_number(frame->type, wire.number);
		if (field != NULL && is_expected(field, &wire)) {
			status = add_entry(printer, frame, field, at);
			if (status != 0) {
				return status;
			}
			sorted = sorted && model_order(frame->type, field) >= last;
			last = model_order(frame->type, field);
		} else if (printer->options->refuse_unknown) {
			printer->at = frame->in.data + at;
			return print_fail(printer, ANNALS_E_VALIDATION, "unknown field");
		}
		at = cursor;
	}
	if (more < 0) {
		return malformed(printer, frame->in, cursor);
	}
	frame->entry_next = frame->entry_first;
	frame->entry_end = printer->entries.size / sizeof(uint64_t);
	if (!sorted) {
		qsort(printer->entries.data + frame->entry_first * sizeof(uint64_t),
			frame->entry_end - frame->entry_first, sizeof(uint64_t), compare_entries);
	}
	if (frame->type->oneof_count > 0) {
		resolve_oneofs(printer, frame);
	}
	return 0;
}

int print_map_read(struct printer *printer, const struct descriptor_field *field, struct bytes in,
	struct map_entry *ret)
{
	const struct descriptor_field *key = &field->message->fields[0];
	const struct descriptor_field *value = &field->message->fields[1];
	struct wire_field wire;
	size_t cursor = 0;
	bool seen = false;
	int more;
	/* Only of an enum is a value that is missing not 0. */
	*ret = (struct map_entry){
		.value = value->type == DESCRIPTOR_ENUM ? value->default_value : 0};
	while ((more = wire_field_next(in, &cursor, &wire)) == 1) {
		if (wire.number == 1 && wire.type == key->wire_type) {
			ret->key_number = model_normal_value(key, wire.value);
			ret->key_text = wire.bytes;
		} else if (wire.number == 2 && wire.type == value->wire_type) {
			if (value->type == DESCRIPTOR_ENUM &&
				!print_enum_known(value, wire.value)) {
				return 0;
			}
			ret->in_pieces = seen;
			seen = true;
			ret->value = wire.value;
			ret->value_bytes = wire.bytes;
		}
	}
	return more < 0 ? malformed(printer, in, cursor) : 1;
}

/* A key and which entry has it. */
struct map_key {
	struct bytes text;
	uint64_t number;
	size_t entry;
};

static int compare_keys(const void *a, const void *b)
{
	const struct map_key *x = a;
	const struct map_key *y = b;
	if (x->number != y->number) {
		return x->number < y->number ? -1 : 1;
	}
	if (x->text.size != y->text.size) {
		return x->text.size < y->text.size ? -1 : 1;
	}
	const int order = x->text.size > 0 ? memcmp(x->text.data, y->text.data, x->text.size) : 0;
	return order != 0 ? order : (x->entry > y->entry) - (x->entry < y->entry);
}

int print_map_unique(struct printer *printer, struct print_frame *frame)
{
	struct buf *keys = &printer->map_keys;
	size_t count = 0;
	buf_reset(keys);
	if (buf_reserve(keys, (frame->run_end - frame->entry_next) * sizeof(struct map_key)) != 0) {
		return no_memory(printer);
	}
	struct map_key *all = (struct map_key *)(void *)keys->data;
	for (size_t i = frame->entry_next; i < frame->run_end; i++) {
		struct wire_field wire;
		struct map_entry entry;
		size_t cursor = (uint32_t)print_entry(printer, i);
		if (wire_field_next(frame->in, &cursor, &wire) != 1) {
			return malformed(printer, frame->in, cursor);
		}
		const int counts = print_map_read(printer, frame->field, wire.bytes, &entry);
		if (counts < 0) {
			return counts;
		}
		if (counts == 0) {
			store_entry(printer, i, PRINT_ENTRY_DROPPED);
			continue;
		}
		all[count++] = (struct map_key){entry.key_text, entry.key_number, i};
	}
	qsort(all, count, sizeof(*all), compare_keys);
	for (size_t i = 1; i < count; i++) {
		if (all[i].number == all[i - 1].number &&
			bytes_equal(all[i].text, all[i - 1].text)) {
			store_entry(printer, all[i - 1].entry, PRINT_ENTRY_DROPPED);
		}
	}
	return 0;
}
