/* Keys of delivery's rows, and rows gathered for a commit. */
#include "delivery_internal.h"

#include <stdlib.h>

void row_batch_release(struct row_batch *batch)
{
	buf_release(&batch->bytes);
	free(batch->places);
	memset(batch, 0, sizeof(*batch));
}

void row_batch_reset(struct row_batch *batch)
{
	buf_trim(&batch->bytes, 1u << 20);
	batch->count = 0;
}

int row_batch_add(struct row_batch *batch, struct bytes key, struct bytes value)
{
	struct row_place *place;
	int status;

	if (batch->count == batch->capacity) {
		size_t capacity = batch->capacity == 0 ? 64 : batch->capacity * 2;
		struct row_place *larger = realloc(batch->places, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		batch->places = larger;
		batch->capacity = capacity;
	}
	status = buf_reserve(&batch->bytes, key.size + value.size);
	if (status != 0) {
		return status;
	}
	place = &batch->places[batch->count++];
	*place = (struct row_place){batch->bytes.size, key.size, batch->bytes.size + key.size,
		value.size, value.data == NULL};
	status = buf_add(&batch->bytes, key.data, key.size);
	return status != 0 ? status : buf_add(&batch->bytes, value.data, value.size);
}

int row_batch_changes(const struct row_batch *batch, struct row_change **ret)
{
	struct row_change *changes = calloc(batch->count, sizeof(*changes));

	if (changes == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < batch->count; i++) {
		const struct row_place *place = &batch->places[i];
		changes[i].key = bytes_of(batch->bytes.data + place->key_at, place->key_size);
		changes[i].value = place->deleted ? bytes_of(NULL, 0)
						  : bytes_of(batch->bytes.data + place->value_at,
							    place->value_size);
	}
	*ret = changes;
	return 0;
}

struct row_key row_key_group(enum row_kind kind, uint32_t group_id, struct bytes rest)
{
	struct row_key key = {.size = 2};

	key.bytes[0] = ROW_GROUP;
	key.bytes[1] = (uint8_t)kind;
	if (kind != ROW_CONFIG && kind != ROW_NEXT_ID) {
		store_u32_be(key.bytes + 2, group_id);
		key.size = 6;
	}
	if (rest.size > 0) {
		memcpy(key.bytes + key.size, rest.data, rest.size);
		key.size += rest.size;
	}
	return key;
}

struct row_key row_key_head(const struct group_partition *at)
{
	uint8_t place[8];

	store_u32_be(place, at->topic_id);
	store_u32_be(place + 4, at->partition);
	return row_key_group(ROW_HEAD, at->group->id, bytes_of(place, sizeof(place)));
}

struct row_key row_key_place(
	enum row_kind kind, const struct group_partition *at, uint64_t place, uint32_t part)
{
	struct row_key key = row_key_head(at);

	key.bytes[1] = (uint8_t)kind;
	store_u64_be(key.bytes + key.size, place);
	key.bytes[key.size + 8] = (uint8_t)(part >> 8);
	key.bytes[key.size + 9] = (uint8_t)part;
	key.size += 10;
	return key;
}
