/* Reserved numbers and names, extension ranges. */
#include <stdlib.h>

#include "build.h"
#include "field.h"

/* ExtensionRange, ReservedRange and EnumReservedRange: start = 1, end = 2. */
static int parse_range(struct bytes encoded, bool inclusive, int64_t *ret_first, int64_t *ret_last)
{
	struct field field;
	size_t cursor = 0;
	int64_t start = 0;
	int64_t end = 0;
	int more;
	while ((more = field_next(encoded, &cursor, &field)) == 1) {
		if (field.tag == FIELD_TAG(1, WIRE_VARINT)) {
			start = (int32_t)(uint32_t)field.value;
		} else if (field.tag == FIELD_TAG(2, WIRE_VARINT)) {
			end = (int32_t)(uint32_t)field.value;
		}
	}
	*ret_first = start;
	*ret_last = inclusive ? end : end - 1;
	return more;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct descriptor_range *x = a;
	const struct descriptor_range *y = b;
	return (x->first > y->first) - (x->first < y->first);
}

int builder_ranges(struct builder *builder, const struct descriptor_file *file,
	const char *full_name, struct bytes encoded, const struct range_numbers *numbers,
	const struct descriptor_range **ret_ranges, size_t *ret_range_count,
	const char *const **ret_names, size_t *ret_name_count)
{
	struct arena *arena = &builder->pool->arena;
	struct field field;
	size_t cursor = 0;
	size_t range_count = 0;
	size_t name_count = 0;
	while (field_next(encoded, &cursor, &field) == 1) {
		range_count += field.tag == FIELD_TAG(numbers->ranges, WIRE_BYTES);
		name_count += field.tag == FIELD_TAG(numbers->names, WIRE_BYTES);
	}
	*ret_range_count = range_count;
	struct descriptor_range *ranges = arena_alloc(arena, range_count, sizeof(*ranges));
	const char **names = arena_alloc(arena, name_count, sizeof(*names));
	if (ranges == NULL || names == NULL) {
		return builder_no_memory(builder);
	}
	range_count = name_count = cursor = 0;
	while (field_next(encoded, &cursor, &field) == 1) {
		if (field.tag == FIELD_TAG(numbers->ranges, WIRE_BYTES)) {
			int64_t first;
			int64_t last;
			if (parse_range(field.bytes, numbers->inclusive, &first, &last) < 0) {
				return builder_malformed(builder, file, full_name, "range");
			}
			if (first < numbers->first_min || first > last ||
				last > numbers->last_max) {
				return builder_fail(builder, ANNALS_E_VALIDATION, file, full_name,
					"the range %lld to %lld is empty or outside what is "
					"allowed",
					(long long)first, (long long)last);
			}
			ranges[range_count++] =
				(struct descriptor_range){(int32_t)first, (int32_t)last};
		} else if (field.tag == FIELD_TAG(numbers->names, WIRE_BYTES)) {
			names[name_count] = arena_text(arena, field.bytes);
			if (names[name_count++] == NULL) {
				return builder_no_memory(builder);
			}
		}
	}
	qsort(ranges, range_count, sizeof(*ranges), compare_ranges);
	for (size_t i = 1; i < range_count; i++) {
		if (ranges[i].first <= ranges[i - 1].last) {
			return builder_fail(builder, ANNALS_E_VALIDATION, file, full_name,
				"the ranges %d to %d and %d to %d overlap", ranges[i - 1].first,
				ranges[i - 1].last, ranges[i].first, ranges[i].last);
		}
	}
	*ret_ranges = ranges;
	if (ret_names != NULL) {
		*ret_names = names;
		*ret_name_count = name_count;
	}
	return 0;
}

/* Ranges are sorted and apart. */
bool ranges_hold(const struct descriptor_range *ranges, size_t count, int32_t number)
{
	size_t low = 0;
	size_t high = count;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (ranges[middle].last < number) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low < count && ranges[low].first <= number;
}

bool names_hold(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(names[i], name) == 0) {
			return true;
		}
	}
	return false;
}
