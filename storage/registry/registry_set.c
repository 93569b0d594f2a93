/* FileDescriptorSets as bytes: files are moved between sets without being decoded. */
#include "registry_internal.h"

#include <annals/varint.h>

/* Numbers of google/protobuf/descriptor.proto. */
#define SET_FILE 1
#define FILE_NAME 1
#define FILE_SOURCE_CODE_INFO 9

/* One field at the cursor: 1, 0 at the end, ANNALS_E_MALFORMED. Groups are malformed: there are
 * none in descriptors. */
static int next_field(struct bytes message, size_t *cursor, uint64_t *ret_number,
	struct bytes *ret_field, struct bytes *ret_value)
{
	const size_t start = *cursor;
	uint64_t tag, size = 0;
	size_t used;
	if (start == message.size) {
		return 0;
	}
	used = varint_get(message.data + start, message.size - start, &tag);
	if (used == 0 || tag > UINT32_MAX || tag >> 3 == 0) {
		return ANNALS_E_MALFORMED;
	}
	size_t at = start + used;
	switch (tag & 7) {
	case 0:
		used = varint_get(message.data + at, message.size - at, &size);
		if (used == 0) {
			return ANNALS_E_MALFORMED;
		}
		size = used;
		break;
	case 1:
		size = 8;
		break;
	case 2:
		used = varint_get(message.data + at, message.size - at, &size);
		if (used == 0) {
			return ANNALS_E_MALFORMED;
		}
		at += used;
		break;
	case 5:
		size = 4;
		break;
	default:
		return ANNALS_E_MALFORMED;
	}
	if (size > message.size - at) {
		return ANNALS_E_MALFORMED;
	}
	*ret_number = (tag & 7) == 2 ? tag >> 3 : 0;
	*ret_value = bytes_of(message.data + at, (size_t)size);
	*cursor = at + (size_t)size;
	*ret_field = bytes_of(message.data + start, *cursor - start);
	return 1;
}

int registry_set_next(struct bytes set, size_t *cursor, struct bytes *ret_file)
{
	struct bytes field;
	uint64_t number;
	int more;
	while ((more = next_field(set, cursor, &number, &field, ret_file)) == 1) {
		if (number == SET_FILE) {
			return 1;
		}
	}
	return more;
}

int registry_file_name(struct bytes file, struct bytes *ret_name)
{
	struct bytes field, value;
	uint64_t number;
	size_t cursor = 0;
	int more;
	*ret_name = bytes_of(NULL, 0);
	while ((more = next_field(file, &cursor, &number, &field, &value)) == 1) {
		if (number == FILE_NAME) {
			*ret_name = value;
		}
	}
	return more;
}

static int add_length_field(struct buf *out, unsigned number, size_t size)
{
	uint8_t head[1 + VARINT_BYTES_MAX];
	head[0] = (uint8_t)(number << 3 | 2);
	return buf_add(out, head, 1 + varint_put(head + 1, size));
}

int registry_set_add(struct buf *set, struct bytes file, struct bytes name)
{
	ANNALS_CLEANUP(buf_release) struct buf copy = BUF_INIT;
	struct bytes field, value;
	uint64_t number;
	size_t cursor = 0;
	int more, status = 0;
	if (name.size > 0) {
		status = add_length_field(&copy, FILE_NAME, name.size);
		status = status != 0 ? status : buf_add(&copy, name.data, name.size);
	}
	while (status == 0 && (more = next_field(file, &cursor, &number, &field, &value)) != 0) {
		if (more < 0) {
			return more;
		}
		if (number == FILE_SOURCE_CODE_INFO || (number == FILE_NAME && name.size > 0)) {
			continue;
		}
		status = buf_add(&copy, field.data, field.size);
	}
	status = status != 0 ? status : add_length_field(set, SET_FILE, copy.size);
	return status != 0 || copy.size == 0 ? status : buf_add(set, copy.data, copy.size);
}

int registry_set_has(struct bytes set, struct bytes name)
{
	struct bytes file, found;
	size_t cursor = 0;
	int more;
	while ((more = registry_set_next(set, &cursor, &file)) == 1) {
		if (registry_file_name(file, &found) == 0 && bytes_equal(found, name)) {
			return 1;
		}
	}
	return more;
}

int registry_set_with(struct bytes imports, const struct descriptor_pool *pool, struct buf *out)
{
	int status = imports.size == 0 ? 0 : buf_add(out, imports.data, imports.size);
	for (size_t i = 0; i < descriptor_pool_file_count(pool) && status == 0; i++) {
		const struct descriptor_file *file = descriptor_pool_file(pool, i);
		const int has = registry_set_has(imports, bytes_text(file->name));
		if (has < 0) {
			return has;
		}
		if (has == 0) {
			status = registry_set_add(out, file->encoded, bytes_of(NULL, 0));
		}
	}
	return status;
}
