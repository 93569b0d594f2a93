#include "model.h"
#include <annals/parse.h>
#include <stdio.h>

uint64_t model_normal_value(const struct descriptor_field *field, uint64_t value)
{
	switch (field->type) {
	case DESCRIPTOR_BOOL:
		return value != 0;
	case DESCRIPTOR_INT32:
	case DESCRIPTOR_UINT32:
	case DESCRIPTOR_SINT32:
	case DESCRIPTOR_ENUM:
		return (uint32_t)value;
	default:
		return value;
	}
}

const struct descriptor_field *model_field_by_member(
	const struct descriptor_message *message, struct bytes name)
{
	const struct descriptor_field *field = descriptor_field_by_json_name(message, name);
	return field != NULL ? field : descriptor_field_by_name(message, name);
}

const struct descriptor_message *model_any_type(
	const struct descriptor_pool *pool, struct bytes type_url)
{
	const uint8_t *slash =
		type_url.size > 0 ? memrchr(type_url.data, '/', type_url.size) : NULL;
	if (slash == NULL) {
		return NULL;
	}
	const size_t skip = (size_t)(slash + 1 - type_url.data);
	return descriptor_pool_find_message(pool, bytes_of(slash + 1, type_url.size - skip));
}

void model_path_init(struct model_path *path)
{
	path->size = 0;
}

/* Makes room by dropping the start: the end of a path says most. */
static void add(struct model_path *path, struct bytes text)
{
	const size_t room = sizeof(path->text);
	if (text.size > room / 4) {
		text.size = room / 4;
	}
	if (path->size + text.size > room) {
		const size_t drop = path->size + text.size - room;
		memmove(path->text, path->text + drop, path->size - drop);
		path->size -= drop;
	}
	if (text.size > 0) {
		memcpy(path->text + path->size, text.data, text.size);
		path->size += text.size;
	}
}

void model_path_add_name(struct model_path *path, struct bytes name)
{
	if (path->size > 0) {
		add(path, bytes_text("."));
	}
	add(path, name);
}

void model_path_add_index(struct model_path *path, uint32_t index)
{
	char text[16];
	const int size = snprintf(text, sizeof(text), "[%u]", index);
	add(path, bytes_of(text, (size_t)size));
}

void model_path_add_key(struct model_path *path, struct bytes key)
{
	add(path, bytes_text("[\""));
	add(path, key);
	add(path, bytes_text("\"]"));
}

const char *model_path_text(struct model_path *path)
{
	if (path->size == 0) {
		return "(root)";
	}
	const size_t room = sizeof(path->shown) - 4;
	size_t skip = path->size > room ? path->size - room : 0;
	char *out = path->shown;
	if (skip > 0) {
		memcpy(out, "...", 3);
		out += 3;
		/* Not from the middle of a character. */
		while (skip < path->size && (path->text[skip] & 0xc0) == 0x80) {
			skip++;
		}
	}
	memcpy(out, path->text + skip, path->size - skip);
	out[path->size - skip] = 0;
	if (!utf8_is_valid(bytes_text(path->shown))) {
		/* Keys may be anything. */
		for (out = path->shown; *out != 0; out++) {
			*out = (*out & 0x80) != 0 ? '?' : *out;
		}
	}
	return path->shown;
}
