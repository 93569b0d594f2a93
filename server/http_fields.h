/* Flat JSON objects into structures, by a table. Pure. */
#ifndef SERVER_HTTP_FIELDS_H
#define SERVER_HTTP_FIELDS_H

#include <annals/json.h>

enum http_field_kind {
	HTTP_FIELD_TEXT,  /* struct bytes, in the scratch or the body */
	HTTP_FIELD_U64,   /* uint64_t, at most max */
	HTTP_FIELD_MS,    /* uint64_t of microseconds; a number of milliseconds or "15s" */
	HTTP_FIELD_BOOL,  /* bool */
	HTTP_FIELD_VALUE, /* struct json_value, not looked into */
	HTTP_FIELD_IGNORED,
};
struct http_field {
	const char *name;
	enum http_field_kind kind;
	size_t offset;
	uint64_t max;
};
/*
 * Reads an object; an empty text is one without members. Members that no field names are
 * ANNALS_E_INVALID, like values of another kind; ANNALS_E_MALFORMED, ANNALS_E_NO_MEMORY. scratch
 * must live as long as the texts; it gets its room here and may not be shared with another call.
 */
int http_fields_read(struct bytes text, const struct http_field *fields, size_t count, void *out,
	struct buf *scratch, struct error *err) ANNALS_MUST_CHECK;
/* Calls fn with each element of an array. What fn returns but 0 ends it. */
int http_fields_each(const struct json_value *array, const char *name,
	int (*fn)(void *arg, const struct json_value *element, struct error *err), void *arg,
	struct error *err) ANNALS_MUST_CHECK;

#endif
