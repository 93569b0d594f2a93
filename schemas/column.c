#include <annals/column.h>

#include <annals/macros.h>

#define COLUMN_HEADER_BYTES 8u

struct bytes batch_column(const struct batch *batch, enum batch_column type)
{
	struct bytes columns = batch->columns;
	size_t at = 0;

	while (columns.size - at >= COLUMN_HEADER_BYTES) {
		uint32_t bytes = load_u32(columns.data + at + 4);
		if (load_u16(columns.data + at) == type) {
			return bytes_of(columns.data + at + COLUMN_HEADER_BYTES, bytes);
		}
		at += COLUMN_HEADER_BYTES + ANNALS_ROUND_UP((size_t)bytes, (size_t)8);
	}
	return bytes_of(NULL, 0);
}

uint64_t batch_version(const struct batch *batch, uint32_t index)
{
	struct bytes column = batch_column(batch, COLUMN_STREAM);

	for (size_t at = 0; at + COLUMN_STREAM_ENTRY_BYTES <= column.size;
		at += COLUMN_STREAM_ENTRY_BYTES) {
		uint64_t first = load_u64(column.data + at + 16);
		uint32_t count = load_u32(column.data + at + 24);
		if (index < count) {
			return first == VERSION_NONE ? VERSION_NONE : first + index;
		}
		index -= count;
	}
	return VERSION_NONE;
}

void batch_versions_init(struct batch_versions *versions, const struct batch *batch)
{
	*versions = (struct batch_versions){
		.column = batch_column(batch, COLUMN_STREAM), .next = VERSION_NONE};
}

uint64_t batch_versions_next(struct batch_versions *versions)
{
	while (versions->left == 0) {
		if (versions->column.size < COLUMN_STREAM_ENTRY_BYTES) {
			return VERSION_NONE;
		}
		versions->next = load_u64(versions->column.data + 16);
		versions->left = load_u32(versions->column.data + 24);
		versions->column = bytes_of(versions->column.data + COLUMN_STREAM_ENTRY_BYTES,
			versions->column.size - COLUMN_STREAM_ENTRY_BYTES);
	}
	versions->left--;
	return versions->next == VERSION_NONE ? VERSION_NONE : versions->next++;
}

int batch_columns_check(const struct batch *batch)
{
	struct bytes stream = batch_column(batch, COLUMN_STREAM);
	struct bytes id = batch_column(batch, COLUMN_ID);
	struct bytes query = batch_column(batch, COLUMN_QUERY);
	uint64_t covered = 0;

	if (stream.size % COLUMN_STREAM_ENTRY_BYTES != 0 ||
		query.size % COLUMN_QUERY_ENTRY_BYTES != 0 ||
		(id.size != 0 && id.size != (uint64_t)batch->stamp.count * COLUMN_ID_ENTRY_BYTES)) {
		return ANNALS_E_CORRUPT_DATA;
	}
	for (size_t at = 0; at < stream.size; at += COLUMN_STREAM_ENTRY_BYTES) {
		uint64_t first = load_u64(stream.data + at + 16);
		uint32_t count = load_u32(stream.data + at + 24);
		if (count == 0 || (first != VERSION_NONE && first + count < first)) {
			return ANNALS_E_CORRUPT_DATA;
		}
		covered += count;
	}
	if (stream.size > 0 && covered != batch->stamp.count) {
		return ANNALS_E_CORRUPT_DATA;
	}
	for (size_t at = 0; at < query.size; at += COLUMN_QUERY_ENTRY_BYTES) {
		if (load_u32(query.data + at) >= batch->stamp.count) {
			return ANNALS_E_CORRUPT_DATA;
		}
	}
	return 0;
}

size_t column_size(size_t bytes)
{
	return COLUMN_HEADER_BYTES + ANNALS_ROUND_UP(bytes, (size_t)8);
}

int column_add(struct buf *out, enum batch_column type, size_t bytes, uint8_t **ret_room)
{
	size_t at = out->size;
	int status = buf_add_zeros(out, column_size(bytes));

	if (status == 0) {
		store_u16(out->data + at, (uint16_t)type);
		store_u32(out->data + at + 4, (uint32_t)bytes);
		*ret_room = out->data + at + COLUMN_HEADER_BYTES;
	}
	return status;
}
