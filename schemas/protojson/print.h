/* The printer's state, shared by its files. Private to protojson. */
#ifndef SCHEMAS_PROTOJSON_PRINT_H
#define SCHEMAS_PROTOJSON_PRINT_H

#include <annals/protojson.h>

#include "wellknown.h"
#include "wire.h"

/*
 * How a message becomes text. A frame's message is indexed first: one entry per field on the wire
 * that counts, ordered by field number and then by place, so that fields that come in pieces are
 * printed as one.
 */
enum print_mode {
	PRINT_OBJECT, /* {"name":value,...} */
	PRINT_BARE, /* the value of the only field, which the mapping puts in the message's place */
	PRINT_ANY   /* behind "@type" and "value": nothing is left but the closing brace */
};

struct print_frame {
	const struct descriptor_message *type;
	struct bytes in;
	enum print_mode mode;
	bool comma; /* the next member needs one */
	/* entries of printer.entries: first, the one to print next, one past the last */
	size_t entry_first, entry_next, entry_end;
	size_t oneof_first;
	/* the field that is being printed; NULL between fields */
	const struct descriptor_field *field;
	size_t run_end;      /* its last entry plus one */
	size_t mark;         /* size of the output before its name */
	bool run_comma;      /* frame->comma before its name */
	uint32_t count;      /* elements printed */
	uint32_t default_at; /* fields before this one have been printed or given defaults */
	struct bytes key;    /* of the map entry being printed */
	struct buf merged;   /* the message's bytes when they came in pieces */
};

struct print_oneof {
	uint32_t field; /* order of the member that is set, UINT32_MAX: none */
	uint32_t start; /* entries before this place do not count */
};

struct printer {
	const struct descriptor_pool *pool;
	const struct protojson_print_options *options;
	struct buf *out;
	size_t out_start, out_limit;
	struct error *err;
	struct bytes input;
	struct buf entries;  /* uint64_t: order << 32 | place */
	struct buf oneofs;   /* struct print_oneof */
	struct buf map_keys; /* scratch of print_map_unique() */
	const uint8_t *at;   /* for errors: what is being read */
	unsigned depth;
	struct print_frame frames[PROTOJSON_DEPTH_MAX];
};

static inline struct print_frame *print_top(struct printer *printer)
{
	return &printer->frames[printer->depth - 1];
}

/* Sets err to "problem at 'path', byte N" and returns status. */
int print_fail(struct printer *printer, int status, const char *problem);

/* Output, each within the limit: 0, ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY. */
int print_raw(struct printer *printer, const void *text, size_t size) ANNALS_MUST_CHECK;
int print_string(struct printer *printer, struct bytes text) ANNALS_MUST_CHECK;
/* A decimal in quotes. */
int print_quoted_i64(struct printer *printer, int64_t value) ANNALS_MUST_CHECK;
int print_quoted_u64(struct printer *printer, uint64_t value) ANNALS_MUST_CHECK;
int print_double(struct printer *printer, double value) ANNALS_MUST_CHECK;

/* A value that is no message. `value` is as on the wire; text for string and bytes. */
int print_scalar(struct printer *printer, const struct descriptor_field *field, uint64_t value,
	struct bytes text) ANNALS_MUST_CHECK;
/* The same as a member name. */
int print_map_key(struct printer *printer, const struct descriptor_field *field, uint64_t value,
	struct bytes text) ANNALS_MUST_CHECK;
/* The well-known types that hold no other message: one value. */
int print_leaf(struct printer *printer, enum wellknown kind, const struct descriptor_message *type,
	struct bytes in) ANNALS_MUST_CHECK;

/* The number of an enum on the wire; false if its enum is closed and does not know it. */
bool print_enum_known(const struct descriptor_field *field, uint64_t value);
/* Reads the next element of packed bytes. 1, 0 at the end, ANNALS_E_MALFORMED. */
int print_packed_next(const struct descriptor_field *field, struct bytes in, size_t *cursor,
	uint64_t *ret_value) ANNALS_MUST_CHECK;

/* Fills frame->entry_* from frame->in. */
int print_index(struct printer *printer, struct print_frame *frame) ANNALS_MUST_CHECK;
static inline uint64_t print_entry(const struct printer *printer, size_t index)
{
	return load_u64(printer->entries.data + index * sizeof(uint64_t));
}
/* An entry that is not to be printed: a map entry that a later one replaces. */
#define PRINT_ENTRY_DROPPED UINT64_MAX

struct map_entry {
	uint64_t key_number, value;
	struct bytes key_text, value_bytes;
	bool in_pieces; /* a message value came more than once: use print_merge() */
};
/* Reads one map entry. 1, 0 when it does not count (unknown number of a closed enum),
 * ANNALS_E_MALFORMED. */
int print_map_read(struct printer *printer, const struct descriptor_field *field, struct bytes in,
	struct map_entry *ret) ANNALS_MUST_CHECK;
/* Drops the entries of a map's run that a later entry with the same key replaces. */
int print_map_unique(struct printer *printer, struct print_frame *frame) ANNALS_MUST_CHECK;

#endif
