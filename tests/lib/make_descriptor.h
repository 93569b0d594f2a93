/* A FileDescriptorSet of one proto3 file with one message, for tests without a compiler. */
#ifndef TESTS_MAKE_DESCRIPTOR_H
#define TESTS_MAKE_DESCRIPTOR_H

#include <annals/buf.h>
#include <annals/varint.h>
#include <check.h>

struct make_field {
	const char *name;
	uint32_t number;
	int type;              /* enum descriptor_type; 0 ends a list */
	const char *type_name; /* ".package.Message", or NULL */
};

static inline void make_varint(struct buf *out, uint64_t value)
{
	uint8_t bytes[VARINT_BYTES_MAX];
	ck_assert_int_eq(buf_add(out, bytes, varint_put(bytes, value)), 0);
}

static inline void make_bytes(struct buf *out, uint32_t number, struct bytes bytes)
{
	make_varint(out, number << 3 | 2);
	make_varint(out, bytes.size);
	ck_assert_int_eq(buf_add(out, bytes.data, bytes.size), 0);
}

static inline void make_number(struct buf *out, uint32_t number, uint64_t value)
{
	make_varint(out, number << 3);
	make_varint(out, value);
}

/* Appends one field of a message. */
static inline void make_field(struct buf *message, const struct make_field *field)
{
	struct buf one = BUF_INIT;
	make_bytes(&one, 1, bytes_text(field->name));
	make_number(&one, 3, field->number);
	make_number(&one, 4, 1);
	make_number(&one, 5, (uint64_t)field->type);
	if (field->type_name != NULL) {
		make_bytes(&one, 6, bytes_text(field->type_name));
	}
	make_bytes(message, 2, buf_bytes(&one));
	buf_release(&one);
}

/* Appends a FileDescriptorProto; import may be NULL. */
static inline void make_file(struct buf *out, const char *name, const char *import,
	const char *package, const char *message, const struct make_field *fields)
{
	struct buf type = BUF_INIT;
	make_bytes(out, 1, bytes_text(name));
	make_bytes(out, 2, bytes_text(package));
	if (import != NULL) {
		make_bytes(out, 3, bytes_text(import));
	}
	make_bytes(&type, 1, bytes_text(message));
	for (; fields != NULL && fields->type != 0; fields++) {
		make_field(&type, fields);
	}
	make_bytes(out, 4, buf_bytes(&type));
	make_bytes(out, 12, bytes_text("proto3"));
	buf_release(&type);
}

/* Appends a file to a FileDescriptorSet. */
static inline void make_set(struct buf *set, const char *name, const char *import,
	const char *package, const char *message, const struct make_field *fields)
{
	struct buf file = BUF_INIT;
	make_file(&file, name, import, package, message, fields);
	make_bytes(set, 1, buf_bytes(&file));
	buf_release(&file);
}

#endif
