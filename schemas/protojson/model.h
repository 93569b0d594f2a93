/*
 * What the mapping asks of the descriptors, and the path of a field for errors. Private to
 * protojson.
 */
#ifndef SCHEMAS_PROTOJSON_MODEL_H
#define SCHEMAS_PROTOJSON_MODEL_H

#include <annals/descriptor.h>

/* Where the field stands among those of its message, which are ordered by number. */
static inline uint32_t model_order(
	const struct descriptor_message *message, const struct descriptor_field *field)
{
	return (uint32_t)(field - message->fields);
}
/* The same for its oneof, or -1. */
static inline int model_oneof(
	const struct descriptor_message *message, const struct descriptor_field *field)
{
	return field->oneof != NULL ? (int)(field->oneof - message->oneofs) : -1;
}
static inline bool model_is_null_value(const struct descriptor_field *field)
{
	return field->enumeration != NULL &&
	       strcmp(field->enumeration->full_name, "google.protobuf.NullValue") == 0;
}
/* By either of a member's spellings: json_name first. */
const struct descriptor_field *model_field_by_member(
	const struct descriptor_message *message, struct bytes name);
/* What parsers keep of a varint: 32 bits, one bit or all. */
uint64_t model_normal_value(const struct descriptor_field *field, uint64_t value);
/* The type an Any names: what follows the last slash. NULL when it is not known. */
const struct descriptor_message *model_any_type(
	const struct descriptor_pool *pool, struct bytes type_url);

/* "a.b[3].c[\"key\"]", of a long one the end. */
struct model_path {
	char text[512];
	size_t size;
	char shown[124];
};
void model_path_init(struct model_path *path);
void model_path_add_name(struct model_path *path, struct bytes name);
void model_path_add_index(struct model_path *path, uint32_t index);
void model_path_add_key(struct model_path *path, struct bytes key);
/* Valid as long as the path; "(root)" for the message itself. */
const char *model_path_text(struct model_path *path);

#endif
