/* What the files of the printer share. Pure. */
#ifndef SCHEMAS_DESCRIPTOR_PRINT_H
#define SCHEMAS_DESCRIPTOR_PRINT_H

#include "field.h"

#include <annals/buf.h>
#include <annals/descriptor.h>

/* The parts of one kind in a descriptor, as declared: its length-delimited fields of one number. */
struct parts {
	struct bytes *parts;
	size_t count;
};
int parts_gather(struct bytes in, uint32_t number, struct parts *ret) ANNALS_MUST_CHECK;
void parts_release(struct parts *parts);
/* The last field of this number; false: there is none. The bytes were checked when the pool was
 * built. */
bool part_find(struct bytes in, uint32_t number, struct field *ret);
/* Its text, or "". */
struct bytes part_text(struct bytes in, uint32_t number);
/* Its number, or 0. */
uint64_t part_number(struct bytes in, uint32_t number);

struct printer {
	const struct descriptor_file *file;
	struct buf *out;
	unsigned indent;
	int status; /* the first that failed; nothing is added after it */
};
void print_text(struct printer *printer, const char *format, ...) ANNALS_PRINTF(2, 3);
/* A new line at the current depth. */
void print_indent(struct printer *printer);
/* A text in quotes. */
void print_quoted(struct printer *printer, struct bytes text);

/* `option name = value;` lines of a file, message, enum, service ...; type: of the options,
 * "google.protobuf.MessageOptions". */
void print_option_lines(struct printer *printer, const char *type, struct bytes options);
/* The same as a list in brackets, with what stands in front of it in `first` ("" or
 * "default = 1"), or nothing when there is nothing. */
void print_option_list(
	struct printer *printer, const char *type, struct bytes options, struct bytes first);

#endif
