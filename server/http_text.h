/* The small texts inside HTTP requests: percent-encoding, queries, paths, Accept, Prefer. Pure; any
 * thread. */
#ifndef ANNALS_SERVER_HTTP_TEXT_H
#define ANNALS_SERVER_HTTP_TEXT_H

#include <annals/buf.h>
#include <annals/error.h>

/*
 * Undoes percent-encoding once (RFC 3986, section 2.1) and appends the result to out. '+' stays
 * '+'. ANNALS_E_MALFORMED: an escape is cut or not hexadecimal, or the result holds NUL;
 * ANNALS_E_NO_MEMORY.
 */
int http_percent_decode(struct bytes text, struct buf *out) ANNALS_MUST_CHECK;
/* Appends text with everything but the unreserved characters [A-Za-z0-9._~-] encoded.
 * ANNALS_E_NO_MEMORY. */
int http_percent_encode(struct bytes text, struct buf *out) ANNALS_MUST_CHECK;

/* Walks "a=1&b": *cursor starts at 0; 1 with the raw name and value (empty without '='), 0 at the
 * end. */
int http_query_next(
	struct bytes query, size_t *cursor, struct bytes *ret_name, struct bytes *ret_value);
/*
 * The decoded value of the parameter, appended to scratch (which must not move: reserve query.size
 * first when several results are kept). 1 found, 0 not, ANNALS_E_MALFORMED (bad escape, no UTF-8),
 * ANNALS_E_INVALID (given twice).
 */
int http_query_get(struct bytes query, const char *name, struct buf *scratch, struct bytes *ret,
	struct error *err) ANNALS_MUST_CHECK;

/* Takes the next raw segment: "/v1/topics" gives "v1", then "topics". 1, or 0 at the end. *cursor
 * starts at 0. */
int http_path_next(struct bytes path, size_t *cursor, struct bytes *ret_segment);

/*
 * Which of `count` media types an Accept header prefers (RFC 9110, section 12.5.1): highest quality
 * of the most specific range that fits, then the order offered. An empty header accepts everything.
 * -1 when none fits; malformed parts of the header are passed over.
 */
int http_accept(struct bytes accept, const char *const *types, size_t count);

/* The seconds of `wait=15` in a Prefer header (RFC 7240), as text; false if there is none. */
bool http_prefer_wait(struct bytes prefer, struct bytes *ret_seconds);

#endif
