/*
 * HTTP/1.1 requests (RFC 9112), parsed strictly. Pure: bytes in, structure out; no connection, no
 * memory of its own, no clock.
 *
 * Strict means: what could be read in two ways is an error, because a proxy in front may read it
 * the other way (request smuggling). Lines end in CRLF and nothing else; no folded lines; no blank
 * before a header's colon; no control characters; one Host; at most one Content-Length, digits
 * only; Transfer-Encoding is exactly `chunked` and never together with Content-Length; chunk sizes
 * are 1 to 8 hexadecimal digits without extensions. After any error the connection must be closed:
 * where the next request starts is not known.
 *
 * Use: http_head_scan() until it finds the end of the head, copy the head to where it stays,
 * http_head_parse() it, then feed what follows to http_body_next().
 */
#ifndef ANNALS_SERVER_PROTO_HTTP_PARSE_H
#define ANNALS_SERVER_PROTO_HTTP_PARSE_H

#include <annals/bytes.h>
#include <annals/error.h>

#define HTTP_REQUEST_LINE_BYTES_MAX 8192
#define HTTP_HEADERS_MAX 100
#define HTTP_METHOD_BYTES_MAX 16
#define HTTP_TRAILER_BYTES_MAX 4096

struct http_header {
	struct bytes name;
	struct bytes value; /* without blanks around it */
};

/* One request head; every slice borrows from the bytes that were parsed. */
struct http_head {
	struct bytes method; /* "GET"; case matters */
	struct bytes target; /* as sent */
	struct bytes path;   /* raw, starts with '/', or "*" */
	struct bytes query;  /* raw, without '?'; empty if none */
	unsigned minor;      /* HTTP/1.0 or HTTP/1.1 */
	bool keep_alive;     /* what the client asks for */
	bool expect_continue;
	bool has_body; /* chunked, or a Content-Length above 0 */
	bool chunked;
	bool has_content_length;
	uint64_t content_length;
	struct http_header headers[HTTP_HEADERS_MAX];
	unsigned header_count;
};

/* How far the search for the end of the head has come. Zero it before each request. */
struct http_head_scan {
	size_t at;         /* bytes looked at */
	size_t line_start; /* of the current line */
	unsigned lines;
};

/*
 * Looks for the end of the head at the start of `input`, which must be the same bytes and more at
 * each call. Returns 1 with the head's size (its empty last line included), 0 when more bytes are
 * needed, ANNALS_E_MALFORMED, ANNALS_E_URI_TOO_LONG (request line above
 * HTTP_REQUEST_LINE_BYTES_MAX), ANNALS_E_HEADERS_TOO_LARGE (more than head_bytes_max bytes or
 * HTTP_HEADERS_MAX headers). One empty line before the request line is let pass.
 */
int http_head_scan(struct http_head_scan *scan, struct bytes input, size_t head_bytes_max,
	size_t *ret_head_bytes, struct error *err) ANNALS_MUST_CHECK;
/* Parses a head that http_head_scan() found. 0, ANNALS_E_MALFORMED, ANNALS_E_UNSUPPORTED_VERSION.
 */
int http_head_parse(struct bytes head, struct http_head *ret, struct error *err) ANNALS_MUST_CHECK;

/* The first header of this name (any case), or NULL. */
const struct http_header *http_head_find(const struct http_head *head, const char *name);
/* Its value; empty when there is none. */
struct bytes http_head_value(const struct http_head *head, const char *name);

enum http_body_state {
	HTTP_BODY_DONE,
	HTTP_BODY_LENGTH,
	HTTP_BODY_SIZE,
	HTTP_BODY_SIZE_LF,
	HTTP_BODY_CHUNK,
	HTTP_BODY_CHUNK_CR,
	HTTP_BODY_CHUNK_LF,
	HTTP_BODY_TRAILER,
	HTTP_BODY_TRAILER_LF,
};

/* A body being read. */
struct http_body {
	enum http_body_state state;
	uint64_t left;  /* bytes of the body or of the current chunk */
	uint64_t total; /* bytes of data handed out */
	unsigned digits;
	size_t trailer_bytes, line_bytes;
};

void http_body_init(struct http_body *body, const struct http_head *head);

enum http_body_result { HTTP_BODY_NEED_MORE, HTTP_BODY_DATA, HTTP_BODY_END };
/*
 * Takes bytes from the start of `input`; *ret_consumed says how many, whatever the result.
 * HTTP_BODY_DATA with a piece of data that borrows from the input, HTTP_BODY_NEED_MORE (everything
 * was consumed), HTTP_BODY_END, ANNALS_E_MALFORMED, ANNALS_E_HEADERS_TOO_LARGE (trailers). Trailers
 * are checked and dropped.
 */
int http_body_next(struct http_body *body, struct bytes input, size_t *ret_consumed,
	struct bytes *ret_data, struct error *err) ANNALS_MUST_CHECK;

#endif
