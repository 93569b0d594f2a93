/* The steps that turn a FileDescriptorSet into a pool. Private to schemas/descriptor. */
#ifndef SCHEMAS_DESCRIPTOR_BUILD_H
#define SCHEMAS_DESCRIPTOR_BUILD_H

#include <annals/buf.h>

#include "pool.h"

/* A file being built; the array is in builder.files. */
struct file_build {
	struct descriptor_file *file;
	const struct descriptor_file **imports; /* file->imports, while it is filled */
	const uint8_t *import_public;           /* per import */
	uint32_t next;                          /* while ordering: import to look at */
	enum { FILE_NEW, FILE_OPEN, FILE_DONE } state;
	bool annals_options; /* sees annals/options.proto */
};

/* A message being built; the array is in builder.messages. */
struct message_build {
	struct descriptor_message *message;
	struct descriptor_field *fields; /* message->fields, writable */
	struct bytes *encoded_fields;    /* FieldDescriptorProto of each of fields */
	struct bytes encoded;            /* DescriptorProto */
	struct descriptor_oneof *oneofs;
	int32_t *oneof_places; /* by oneof index: place in oneofs, or -1 for proto3 optional */
	size_t oneof_declared;
};

struct builder {
	struct descriptor_pool *pool;
	struct error *err;
	struct buf files;      /* struct file_build */
	struct buf messages;   /* struct message_build, outer before inner */
	struct buf extensions; /* struct extension_build */
	struct buf scratch;
	size_t fields_total, types_total;
};

struct extension_build {
	const struct descriptor_file *file;
	const char *scope; /* full name of the message or package around it */
	struct bytes encoded;
};

/* FieldDescriptorProto as it stands. */
struct raw_field {
	struct bytes name, extendee, type_name, default_value, json_name, options;
	int32_t number, label, type, oneof_index;
	bool has_number, has_default, has_json_name, has_oneof, has_type_name, proto3_optional;
};

static inline struct file_build *builder_files(const struct builder *builder, size_t *ret_count)
{
	*ret_count = builder->files.size / sizeof(struct file_build);
	return (struct file_build *)(void *)builder->files.data;
}
static inline struct message_build *builder_messages(
	const struct builder *builder, size_t *ret_count)
{
	*ret_count = builder->messages.size / sizeof(struct message_build);
	return (struct message_build *)(void *)builder->messages.data;
}

/* Sets err to "file: name: text" (name may be NULL) and returns status. */
int builder_fail(struct builder *builder, int status, const struct descriptor_file *file,
	const char *name, const char *format, ...) ANNALS_PRINTF(5, 6);
/* After an allocation returned NULL. */
int builder_no_memory(struct builder *builder);
int builder_malformed(struct builder *builder, const struct descriptor_file *file, const char *name,
	const char *message);

/* Checks the identifier and makes "scope.name" in the arena; scope may be "". what: "field"... */
int builder_full_name(struct builder *builder, const struct descriptor_file *file,
	const char *scope, struct bytes name, const char *what,
	const char **ret_full_name) ANNALS_MUST_CHECK;
/* Enters a name that nothing else may have. */
int builder_declare(struct builder *builder, const struct descriptor_file *file,
	const char *full_name, enum symbol_kind kind, const void *object) ANNALS_MUST_CHECK;
/* The next field of an encoded message that a descriptor consists of. As field_next(). */
int raw_field_parse(struct bytes encoded, struct raw_field *ret_field) ANNALS_MUST_CHECK;

/* load.c: splits the set into files, resolves imports, orders them. */
int builder_load(struct builder *builder, struct bytes set) ANNALS_MUST_CHECK;
/* declare.c: makes the messages and fields and enters every name. */
int builder_declare_files(struct builder *builder) ANNALS_MUST_CHECK;
/* enums.c: encoded is an EnumDescriptorProto. */
int builder_declare_enum(struct builder *builder, const struct descriptor_file *file,
	const struct descriptor_message *parent, struct bytes encoded,
	const struct descriptor_enum **ret_enum) ANNALS_MUST_CHECK;
/* ranges.c: collects reserved ranges, reserved names and extension ranges. */
struct range_numbers {
	uint32_t ranges, names; /* numbers of the fields that hold them */
	bool inclusive;         /* whether `end` belongs to the range */
	int32_t first_min, last_max;
};
int builder_ranges(struct builder *builder, const struct descriptor_file *file,
	const char *full_name, struct bytes encoded, const struct range_numbers *numbers,
	const struct descriptor_range **ret_ranges, size_t *ret_range_count,
	const char *const **ret_names, size_t *ret_name_count) ANNALS_MUST_CHECK;
bool ranges_hold(const struct descriptor_range *ranges, size_t count, int32_t number);
bool names_hold(const char *const *names, size_t count, const char *name);

/* link.c: resolves types of fields, extensions and services; applies the rules about them. */
int builder_link(struct builder *builder) ANNALS_MUST_CHECK;
/* link_field.c: one field, whose types are resolved. */
int builder_check_field(struct builder *builder, struct descriptor_field *field,
	const struct raw_field *raw, bool annals_options) ANNALS_MUST_CHECK;
/* default.c: reads [default = ...], or sets what holds without it. */
int builder_default(struct builder *builder, struct descriptor_field *field,
	const struct raw_field *raw) ANNALS_MUST_CHECK;

#endif
