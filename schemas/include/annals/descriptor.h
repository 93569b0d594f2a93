/*
 * Protobuf descriptors: what the types of a schema look like, linked and checked.
 *
 * A pool is built from the bytes of a google.protobuf.FileDescriptorSet, as
 * `protoc --include_imports --descriptor_set_out` writes it, on top of another pool whose files it
 * may import: usually that of descriptor_pool_builtin(), which holds the well-known types,
 * google/protobuf/descriptor.proto and annals/options.proto. Building resolves every import and
 * every type and applies the rules that protoc applies, since nobody vouches for the bytes.
 *
 * A pool never changes once it is built, so any thread may read it. It is counted: whoever keeps a
 * pointer into it keeps a reference. All structures below live as long as their pool and so do
 * those of the pool it was built on. Texts are NUL-terminated UTF-8 and never NULL, unless said.
 *
 * Understood: proto2 and proto3, with proto3 optional; groups. Extensions are checked and have
 * names, but messages do not gain fields by them: on the wire they are unknown fields. Refused:
 * editions and message_set_wire_format.
 *
 * Sources: google/protobuf/descriptor.proto and the language guides (protobuf.dev).
 */
#ifndef ANNALS_DESCRIPTOR_H
#define ANNALS_DESCRIPTOR_H

#include <annals/bytes.h>
#include <annals/error.h>
#include <annals/macros.h>

#define DESCRIPTOR_SET_BYTES_MAX (10u * 1024 * 1024)
#define DESCRIPTOR_FILES_MAX 1000u             /* in one set */
#define DESCRIPTOR_FIELDS_MAX 10000u           /* in one message; also values in one enum */
#define DESCRIPTOR_FIELDS_TOTAL_MAX 100000u    /* in one set; also enum values */
#define DESCRIPTOR_MESSAGES_MAX 50000u         /* in one set, enums included */
#define DESCRIPTOR_REQUIRED_MAX 64u            /* required fields in one message */
#define DESCRIPTOR_NESTING_MAX 32u             /* of messages inside messages */
#define DESCRIPTOR_NAME_BYTES_MAX 512u         /* of a full name or a file name */
#define DESCRIPTOR_FIELD_NUMBER_MAX 536870911u /* 2^29 - 1 */

/* Numbers as in FieldDescriptorProto.Type. */
enum descriptor_type {
	DESCRIPTOR_DOUBLE = 1,
	DESCRIPTOR_FLOAT = 2,
	DESCRIPTOR_INT64 = 3,
	DESCRIPTOR_UINT64 = 4,
	DESCRIPTOR_INT32 = 5,
	DESCRIPTOR_FIXED64 = 6,
	DESCRIPTOR_FIXED32 = 7,
	DESCRIPTOR_BOOL = 8,
	DESCRIPTOR_STRING = 9,
	DESCRIPTOR_GROUP = 10,
	DESCRIPTOR_MESSAGE = 11,
	DESCRIPTOR_BYTES = 12,
	DESCRIPTOR_UINT32 = 13,
	DESCRIPTOR_ENUM = 14,
	DESCRIPTOR_SFIXED32 = 15,
	DESCRIPTOR_SFIXED64 = 16,
	DESCRIPTOR_SINT32 = 17,
	DESCRIPTOR_SINT64 = 18
};

/* A reserved or extension range: first..last, both included. */
struct descriptor_range {
	int32_t first, last;
};

struct descriptor_file {
	const char *name;    /* "google/protobuf/any.proto" */
	const char *package; /* "" without one */
	bool proto3;
	const struct descriptor_file *const *imports; /* in the order of the file */
	const uint8_t *import_public;                 /* per import: 1 for `import public` */
	size_t import_count;
	const struct descriptor_message *const *messages; /* of the top level, as declared */
	size_t message_count;
	const struct descriptor_enum *const *enums; /* of the top level, as declared */
	size_t enum_count;
	struct bytes options; /* encoded FileOptions; size 0 without any */
	struct bytes encoded; /* the FileDescriptorProto, as it was given */
	uint32_t id;          /* private to the pool */
};

struct descriptor_enum_value {
	const char *name;
	int32_t number;
	bool deprecated;
};

struct descriptor_enum {
	const char *name;
	const char *full_name;
	const struct descriptor_file *file;
	const struct descriptor_message *parent; /* NULL at the top level */
	/* As declared; the first is the default. At least one. */
	const struct descriptor_enum_value *values;
	size_t value_count;
	/* Private: the same by number (of aliases the first declared comes first) and by name. */
	const struct descriptor_enum_value *const *by_number;
	const struct descriptor_enum_value *const *by_name;
	/* 0..dense_count-1 are all values. */
	uint32_t dense_count;
	bool closed; /* declared in proto2: a number that has no name is no value */
	bool allow_alias;
	const struct descriptor_range *reserved;
	size_t reserved_count;
	const char *const *reserved_names;
	size_t reserved_name_count;
};

/* A oneof that a person wrote; those that stand for proto3 `optional` are left out. */
struct descriptor_oneof {
	const char *name;
	const struct descriptor_message *parent;
	size_t field_count;
};

struct descriptor_field {
	uint32_t number;
	uint8_t type;      /* enum descriptor_type */
	uint8_t wire_type; /* of one value, unpacked: 0, 1, 2, 3 (group), 5 */
	bool repeated;     /* maps too */
	bool required;
	bool packed;       /* is written packed; readers take both */
	bool map;          /* message is the map entry: fields[0] the key, fields[1] the value */
	bool has_presence; /* "unset" differs from the default value */
	bool utf8;         /* a string of proto3: must be UTF-8 */
	bool proto3_optional;
	bool deprecated;
	bool has_default; /* proto2 [default = ...] */
	/* (annals.key), (annals.time), (annals.subject) */
	bool is_key, is_time, is_subject;
	/* (annals.tag): the tag's name, the field's if the option is ""; NULL: no tag */
	const char *tag;
	const char *name;
	const char *full_name;
	const char *json_name;
	const struct descriptor_message *parent;
	const struct descriptor_message *message;  /* of message, group and map; else NULL */
	const struct descriptor_enum *enumeration; /* of enum; else NULL */
	const struct descriptor_oneof *oneof;      /* NULL outside; NULL for proto3 optional */
	/* The default, written or not: enum as its number, signed values sign-extended, float and
	 * double as the bits of a double. */
	uint64_t default_value;
	struct bytes default_bytes; /* of string and bytes */
	struct bytes options;       /* encoded FieldOptions; size 0 without any */
	uint32_t declared;          /* place in the .proto, from 0 */
	uint32_t required_index;    /* private: place among the required fields */
};

struct descriptor_message {
	const char *name;
	const char *full_name; /* "package.Outer.Inner" */
	const struct descriptor_file *file;
	const struct descriptor_message *parent; /* NULL at the top level */
	uint32_t index;                          /* place in its parent or file */
	uint32_t nesting;                        /* 0 at the top level */
	bool map_entry;
	bool extracts; /* a field has an option of annals/options.proto */
	bool deprecated;
	/* By number, rising. */
	const struct descriptor_field *fields;
	size_t field_count;
	size_t required_count;
	/* As declared. */
	const struct descriptor_oneof *oneofs;
	size_t oneof_count;
	const struct descriptor_message *const *messages; /* nested, as declared; map entries too */
	size_t message_count;
	const struct descriptor_enum *const *enums;
	size_t enum_count;
	const struct descriptor_range *reserved;
	size_t reserved_count;
	const char *const *reserved_names;
	size_t reserved_name_count;
	const struct descriptor_range *extensions; /* extension ranges */
	size_t extension_count;
	struct bytes options; /* encoded MessageOptions; size 0 without any */
	/* Private: place + 1 in fields of each number below dense_count; fields by name and by
	 * JSON name. */
	const uint16_t *dense;
	const uint8_t *actions; /* by tag, of tags below 128 */
	uint32_t dense_count;
	const struct descriptor_field *const *by_name;
	const struct descriptor_field *const *by_json_name;
};

struct descriptor_pool;

/*
 * Builds a pool. `base` is borrowed during the call and referenced by the result; NULL: nothing
 * can be imported that is not in the set. `set` is borrowed during the call only.
 *
 * A file of the set that the base has too, byte for byte but for source_code_info, is taken from
 * there; another file of the same name takes its place for the files of this set. (Except
 * annals/options.proto: the base's stays.) Files may come in any order.
 *
 * ANNALS_E_MALFORMED: the bytes are no FileDescriptorSet; ANNALS_E_VALIDATION: a rule is broken, an
 * import or a type is missing; err begins with the path, "quake.proto: quake.Event.depth: ...";
 * ANNALS_E_TOO_LARGE: a limit above, named in err; ANNALS_E_NO_MEMORY.
 */
int descriptor_pool_build(struct descriptor_pool *base, struct bytes set,
	struct descriptor_pool **ret_pool, struct error *err) ANNALS_MUST_CHECK;
/* The pool of what is built in, with one reference for the caller. Keep one and build on it: each
 * call makes another. ANNALS_E_NO_MEMORY. */
int descriptor_pool_builtin(struct descriptor_pool **ret_pool, struct error *err) ANNALS_MUST_CHECK;
/* Any thread. */
struct descriptor_pool *descriptor_pool_ref(struct descriptor_pool *pool);
/* Frees the pool with its last reference. NULL is a no-op. Any thread. */
void descriptor_pool_unref(struct descriptor_pool *pool);

/* Files of the pool itself, not of its base, in the order of their imports: each after those it
 * imports. */
size_t descriptor_pool_file_count(const struct descriptor_pool *pool);
const struct descriptor_file *descriptor_pool_file(const struct descriptor_pool *pool, size_t i);
/* Bytes of memory that the pool holds, without its base. */
size_t descriptor_pool_memory_bytes(const struct descriptor_pool *pool);
/* By name, in the pool and then in its base; NULL when there is none. Full names have no leading
 * dot. */
const struct descriptor_file *descriptor_pool_find_file(
	const struct descriptor_pool *pool, struct bytes name);
const struct descriptor_message *descriptor_pool_find_message(
	const struct descriptor_pool *pool, struct bytes full_name);
const struct descriptor_enum *descriptor_pool_find_enum(
	const struct descriptor_pool *pool, struct bytes full_name);

/* Lookups within a type; NULL when there is none. O(1) by number for compact numbers, else
 * O(log n). */
const struct descriptor_field *descriptor_field_search(
	const struct descriptor_message *message, uint32_t number);
static inline const struct descriptor_field *descriptor_field_by_number(
	const struct descriptor_message *message, uint32_t number)
{
	if (ANNALS_LIKELY(number < message->dense_count)) {
		const unsigned place = message->dense[number];
		return place == 0 ? NULL : &message->fields[place - 1];
	}
	return descriptor_field_search(message, number);
}
const struct descriptor_field *descriptor_field_by_name(
	const struct descriptor_message *message, struct bytes name);
const struct descriptor_field *descriptor_field_by_json_name(
	const struct descriptor_message *message, struct bytes json_name);
/* Of aliases, the one declared first. */
const struct descriptor_enum_value *descriptor_enum_value_by_number(
	const struct descriptor_enum *enumeration, int32_t number);
const struct descriptor_enum_value *descriptor_enum_value_by_name(
	const struct descriptor_enum *enumeration, struct bytes name);
const struct descriptor_oneof *descriptor_oneof_by_name(
	const struct descriptor_message *message, struct bytes name);

/* The message index of the Confluent wire format: places from the file's top level down. Writes
 * message->nesting + 1 numbers, which ret_path has room for (DESCRIPTOR_NESTING_MAX + 1 always
 * suffices), and returns how many. */
size_t descriptor_message_path(const struct descriptor_message *message, uint32_t *ret_path);
/* The other way; NULL when the path leads nowhere. count >= 1. */
const struct descriptor_message *descriptor_message_at(
	const struct descriptor_file *file, const uint32_t *path, size_t count);

struct buf;
/*
 * Appends the file as .proto source that compiles to the same descriptor (without comments; names
 * of types in full). ANNALS_E_UNSUPPORTED_OPERATION: it has groups, or options that are messages or
 * that nobody declares; ANNALS_E_NO_MEMORY; nothing is appended then.
 */
int descriptor_print(const struct descriptor_file *file, struct buf *out) ANNALS_MUST_CHECK;

/* "int32", "string", "message"... */
const char *descriptor_type_name(int type);
/* True for the types that can be packed. */
static inline bool descriptor_type_packable(int type)
{
	return type != DESCRIPTOR_STRING && type != DESCRIPTOR_BYTES &&
	       type != DESCRIPTOR_MESSAGE && type != DESCRIPTOR_GROUP;
}

#endif
