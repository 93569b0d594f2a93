/* The parser's state, shared by its files. Private to protojson. */
#ifndef SCHEMAS_PROTOJSON_PARSE_H
#define SCHEMAS_PROTOJSON_PARSE_H

#include <annals/json.h>
#include <annals/protojson.h>

#include "wellknown.h"

enum parse_mode {
	PARSE_OBJECT,   /* the members of a message */
	PARSE_EMBEDDED, /* the same inside an Any: "@type" is not a member */
	PARSE_ANY,      /* "@type" and "value", for the well-known types */
	PARSE_BARE      /* Struct and ListValue: only the value of their field */
};

struct parse_frame {
	const struct descriptor_message *type;
	enum parse_mode mode;
	bool type_seen, value_seen; /* of an Any */
	unsigned level;             /* of messages, the root's is 1 */
	unsigned open_base;         /* lengths that stay open when the message ends */
	size_t seen_at;             /* bits in parser.seen: fields, then oneofs */
	uint32_t next_order;        /* the field that is expected next */
	/* the list or map being read, and for errors the field; NULL between fields */
	const struct descriptor_field *field;
	bool in_run, started; /* in it; at an element of it */
	uint32_t count;       /* elements read */
	uint32_t serial;      /* whose keys these are */
	struct json_value key;
};

/* A length that is not known yet: one byte is kept for it at `at`. */
struct parse_open {
	size_t at;
	size_t empty_at; /* where the output ends again if nothing is put in; SIZE_MAX: it stays */
	uint32_t group;  /* instead of a length: the number of the end tag */
};

#define PARSE_OPEN_MAX (4 * PROTOJSON_DEPTH_MAX)

/* A member name of a map that was seen. */
struct parse_key {
	uint64_t hash;
	uint64_t number; /* of keys that are no text */
	const uint8_t *raw;
	uint32_t raw_size;
	uint32_t serial; /* 0: free */
	bool escaped;
};

struct parser {
	const struct descriptor_pool *pool;
	const struct protojson_parse_options *options;
	struct buf *out;
	size_t out_start, out_limit;
	struct error *err;
	struct json_scanner scanner;
	struct buf seen;    /* bits of the messages that are open */
	struct buf scratch; /* text without its escapes */
	struct buf other;   /* the same for a second text, and base64 */
	struct parse_key *keys;
	size_t key_count, key_room; /* room is a power of two */
	uint32_t serial;
	unsigned depth, open_count;
	struct parse_open open[PARSE_OPEN_MAX];
	struct parse_frame frames[PROTOJSON_DEPTH_MAX];
};

static inline struct parse_frame *parse_top(struct parser *parser)
{
	return &parser->frames[parser->depth - 1];
}

/* "problem at 'path', byte N", N being where the value or name starts; returns status. */
int parse_fail(struct parser *parser, int status, const char *problem, const uint8_t *at);
/* The scanner's error. */
int parse_fail_syntax(struct parser *parser);
int parse_fail_memory(struct parser *parser);

/* Output within the limit. */
int parse_put(struct parser *parser, const void *data, size_t size) ANNALS_MUST_CHECK;
int parse_put_varint(struct parser *parser, uint64_t value) ANNALS_MUST_CHECK;
int parse_put_tag(struct parser *parser, const struct descriptor_field *field,
	unsigned wire_type) ANNALS_MUST_CHECK;
int parse_put_bytes(struct parser *parser, struct bytes bytes) ANNALS_MUST_CHECK;
/* Begins what has a length (or, for a group, an end tag) and ends the innermost. */
int parse_open(struct parser *parser, size_t empty_at, uint32_t group) ANNALS_MUST_CHECK;
int parse_close(struct parser *parser) ANNALS_MUST_CHECK;

/* A text without escapes, valid until the next one. */
int parse_text(
	struct parser *parser, const struct json_value *value, struct bytes *ret) ANNALS_MUST_CHECK;
/*
 * Writes a value that is no message, with its tag unless it is packed. With skip_zero nothing is
 * written for the default.
 */
int parse_scalar(struct parser *parser, const struct descriptor_field *field,
	const struct json_value *value, bool tagged, bool skip_zero) ANNALS_MUST_CHECK;
/* Writes a map's key with its tag and remembers it; a key that repeats is refused. */
int parse_map_key(struct parser *parser, const struct descriptor_field *field,
	const struct json_value *name, uint32_t serial) ANNALS_MUST_CHECK;
/* The well-known types that hold no other message. */
int parse_leaf(struct parser *parser, enum wellknown kind, const struct descriptor_message *type,
	const struct json_value *value) ANNALS_MUST_CHECK;

#endif
