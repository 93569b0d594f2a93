#include "proto_http_parse.h"
#include <annals/parse.h>
#include <strings.h>

/* tchar of RFC 9110, section 5.6.2. */
static bool is_token_char(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c != 0 && c < 0x80 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static int malformed(struct error *err, const char *problem)
{
	return error_fail(err, ANNALS_E_MALFORMED, "%s", problem);
}

static int too_long(const struct http_head_scan *scan, size_t head_bytes_max, struct error *err)
{
	if (scan->lines == 0) {
		return error_fail(err, ANNALS_E_URI_TOO_LONG,
			"the request line is longer than %d bytes", HTTP_REQUEST_LINE_BYTES_MAX);
	}
	return error_fail(err, ANNALS_E_HEADERS_TOO_LARGE,
		"the header block is larger than %zu bytes", head_bytes_max);
}

int http_head_scan(struct http_head_scan *scan, struct bytes input, size_t head_bytes_max,
	size_t *ret_head_bytes, struct error *err)
{
	for (; scan->at < input.size; scan->at++) {
		const uint8_t c = input.data[scan->at];
		const size_t line_bytes = scan->at - scan->line_start;
		if (scan->at >= head_bytes_max ||
			(scan->lines == 0 && line_bytes >= HTTP_REQUEST_LINE_BYTES_MAX)) {
			return too_long(scan, head_bytes_max, err);
		}
		const bool after_cr = line_bytes > 0 && input.data[scan->at - 1] == '\r';
		if (c == '\n') {
			if (!after_cr) {
				return malformed(err, "a line ends in a bare LF");
			}
			if (line_bytes > 1) {
				scan->lines++;
			} else if (scan->lines > 0) {
				*ret_head_bytes = ++scan->at;
				return 1;
			} else if (scan->line_start > 0) {
				return malformed(err, "empty lines before the request line");
			}
			scan->line_start = scan->at + 1;
			if (scan->lines > HTTP_HEADERS_MAX + 1) {
				return error_fail(err, ANNALS_E_HEADERS_TOO_LARGE,
					"more than %d headers", HTTP_HEADERS_MAX);
			}
		} else if (after_cr) {
			return malformed(err, "a bare CR");
		} else if ((c < 0x20 && c != '\r' && c != '\t') || c == 0x7f) {
			return malformed(err, "a control character in the request head");
		}
	}
	return 0;
}

/* Cuts the next line, without its CRLF, off the front. The scan has made sure that there is one. */
static struct bytes take_line(struct bytes *text)
{
	const uint8_t *lf = memchr(text->data, '\n', text->size);
	const size_t size = (size_t)(lf - text->data);
	const struct bytes line = bytes_of(text->data, size - 1);
	*text = bytes_of(lf + 1, text->size - size - 1);
	return line;
}

static int parse_target(struct bytes target, struct http_head *head, struct error *err)
{
	for (size_t i = 0; i < target.size; i++) {
		if (target.data[i] <= 0x20 || target.data[i] >= 0x7f || target.data[i] == '#') {
			return malformed(
				err, "a character in the request target that must be encoded");
		}
	}
	head->target = target;
	if (bytes_is(target, "*")) {
		head->path = target;
		return 0;
	}
	for (unsigned i = 0; i < 2; i++) {
		const char *scheme = i == 0 ? "http://" : "https://";
		const size_t size = strlen(scheme);
		if (target.size > size &&
			strncasecmp((const char *)target.data, scheme, size) == 0) {
			const uint8_t *path = memchr(target.data + size, '/', target.size - size);
			if (path == NULL || path == target.data + size) {
				return malformed(err, "the request target has no host or no path");
			}
			target = bytes_of(path, target.size - (size_t)(path - target.data));
			break;
		}
	}
	if (target.size == 0 || target.data[0] != '/') {
		return malformed(err, "the request target does not start with '/'");
	}
	const uint8_t *mark = memchr(target.data, '?', target.size);
	head->path = target;
	if (mark != NULL) {
		head->path.size = (size_t)(mark - target.data);
		head->query = bytes_of(mark + 1, target.size - head->path.size - 1);
	}
	return 0;
}

static int parse_request_line(struct bytes line, struct http_head *head, struct error *err)
{
	const uint8_t *end = line.data + line.size;
	const uint8_t *first = memchr(line.data, ' ', line.size);
	if (first == NULL || first == line.data) {
		return malformed(err, "the request line has no method");
	}
	head->method = bytes_of(line.data, (size_t)(first - line.data));
	if (head->method.size > HTTP_METHOD_BYTES_MAX) {
		return malformed(err, "the method is longer than 16 characters");
	}
	for (size_t i = 0; i < head->method.size; i++) {
		if (!is_token_char(head->method.data[i])) {
			return malformed(err, "a character in the method that is not allowed");
		}
	}
	const uint8_t *second = memchr(first + 1, ' ', (size_t)(end - first - 1));
	if (second == NULL) {
		return malformed(err, "the request line has no HTTP version");
	}
	const struct bytes version = bytes_of(second + 1, (size_t)(end - second - 1));
	if (bytes_is(version, "HTTP/1.1")) {
		head->minor = 1;
	} else if (!bytes_is(version, "HTTP/1.0")) {
		const bool other = version.size == 8 && memcmp(version.data, "HTTP/", 5) == 0;
		return other ? error_fail(err, ANNALS_E_UNSUPPORTED_VERSION,
				       "only HTTP/1.1 and HTTP/1.0 are spoken here")
			     : malformed(err, "the request line has no HTTP version");
	}
	return parse_target(bytes_of(first + 1, (size_t)(second - first - 1)), head, err);
}

static struct bytes trim(struct bytes text)
{
	while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
		text.data++;
		text.size--;
	}
	while (text.size > 0 &&
		(text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t')) {
		text.size--;
	}
	return text;
}

static bool equals_nocase(struct bytes text, const char *other)
{
	return text.size == strlen(other) &&
	       strncasecmp((const char *)text.data, other, text.size) == 0;
}

static int parse_header(struct bytes line, struct http_head *head, struct error *err)
{
	if (line.data[0] == ' ' || line.data[0] == '\t') {
		return malformed(err, "a header line is folded");
	}
	const uint8_t *colon = memchr(line.data, ':', line.size);
	if (colon == NULL || colon == line.data) {
		return malformed(err, "a header line has no name");
	}
	const struct bytes name = bytes_of(line.data, (size_t)(colon - line.data));
	for (size_t i = 0; i < name.size; i++) {
		if (!is_token_char(name.data[i])) {
			return malformed(err, "a character in a header name that is not allowed");
		}
	}
	if (head->header_count == HTTP_HEADERS_MAX) {
		return error_fail(
			err, ANNALS_E_HEADERS_TOO_LARGE, "more than %d headers", HTTP_HEADERS_MAX);
	}
	head->headers[head->header_count++] =
		(struct http_header){name, trim(bytes_of(colon + 1, line.size - name.size - 1))};
	return 0;
}

static int read_content_length(struct http_head *head, struct bytes value, struct error *err)
{
	if (head->has_content_length) {
		return malformed(err, "more than one Content-Length");
	}
	if (value.size > 18 || parse_u64(value, &head->content_length) != 0) {
		return malformed(err, "the Content-Length is no number");
	}
	head->has_content_length = true;
	return 0;
}

static int read_transfer_encoding(struct http_head *head, struct bytes value, struct error *err)
{
	if (head->chunked) {
		return malformed(err, "more than one Transfer-Encoding");
	}
	if (!equals_nocase(value, "chunked")) {
		return malformed(err, "a Transfer-Encoding other than 'chunked'");
	}
	head->chunked = true;
	return 0;
}

/* Connection is a list of tokens; only two matter. */
static void read_connection(struct http_head *head, struct bytes value)
{
	while (value.size > 0) {
		const uint8_t *comma = memchr(value.data, ',', value.size);
		const size_t size = comma != NULL ? (size_t)(comma - value.data) : value.size;
		const struct bytes token = trim(bytes_of(value.data, size));
		if (equals_nocase(token, "close")) {
			head->keep_alive = false;
		} else if (equals_nocase(token, "keep-alive") && head->minor == 0) {
			head->keep_alive = true;
		}
		value = comma != NULL ? bytes_of(comma + 1, value.size - size - 1)
				      : bytes_of(NULL, 0);
	}
}

static int check_host(struct bytes host, struct error *err)
{
	for (size_t i = 0; i < host.size; i++) {
		if (host.data[i] <= 0x20 || host.data[i] >= 0x7f ||
			strchr(",/?#@\\\"<>", host.data[i]) != NULL) {
			return malformed(err, "a character in the Host that is not allowed");
		}
	}
	return 0;
}

static int interpret_headers(struct http_head *head, struct error *err)
{
	unsigned hosts = 0;
	for (unsigned i = 0; i < head->header_count; i++) {
		const struct http_header *header = &head->headers[i];
		int status = 0;
		if (equals_nocase(header->name, "Content-Length")) {
			status = read_content_length(head, header->value, err);
		} else if (equals_nocase(header->name, "Transfer-Encoding")) {
			status = read_transfer_encoding(head, header->value, err);
		} else if (equals_nocase(header->name, "Connection")) {
			read_connection(head, header->value);
		} else if (equals_nocase(header->name, "Host")) {
			hosts++;
			status = check_host(header->value, err);
		} else if (equals_nocase(header->name, "Expect")) {
			if (!equals_nocase(header->value, "100-continue")) {
				status = malformed(err, "an Expect other than '100-continue'");
			}
			head->expect_continue = head->minor == 1;
		}
		if (status != 0) {
			return status;
		}
	}
	if (head->chunked && head->has_content_length) {
		return malformed(err, "both Transfer-Encoding and Content-Length");
	}
	if (head->chunked && head->minor == 0) {
		return malformed(err, "a Transfer-Encoding in HTTP/1.0");
	}
	if (hosts > 1 || (hosts == 0 && head->minor == 1)) {
		return malformed(
			err, hosts == 0 ? "the Host header is missing" : "more than one Host");
	}
	head->has_body = head->chunked || head->content_length > 0;
	return 0;
}

int http_head_parse(struct bytes text, struct http_head *ret, struct error *err)
{
	if (text.size >= 2 && memcmp(text.data, "\r\n", 2) == 0) {
		text = bytes_of(text.data + 2, text.size - 2);
	}
	/* Only what is filled in is cleared: the header array is the bulk. */
	memset(ret, 0, offsetof(struct http_head, headers));
	ret->header_count = 0;
	int status = parse_request_line(take_line(&text), ret, err);
	if (status != 0) {
		return status;
	}
	ret->keep_alive = ret->minor == 1;
	for (;;) {
		const struct bytes line = take_line(&text);
		if (line.size == 0) {
			break;
		}
		status = parse_header(line, ret, err);
		if (status != 0) {
			return status;
		}
	}
	return interpret_headers(ret, err);
}

const struct http_header *http_head_find(const struct http_head *head, const char *name)
{
	for (unsigned i = 0; i < head->header_count; i++) {
		if (equals_nocase(head->headers[i].name, name)) {
			return &head->headers[i];
		}
	}
	return NULL;
}

struct bytes http_head_value(const struct http_head *head, const char *name)
{
	const struct http_header *header = http_head_find(head, name);
	return header != NULL ? header->value : bytes_of(NULL, 0);
}

void http_body_init(struct http_body *body, const struct http_head *head)
{
	*body = (struct http_body){.state = HTTP_BODY_DONE};
	if (head->chunked) {
		body->state = HTTP_BODY_SIZE;
	} else if (head->content_length > 0) {
		body->state = HTTP_BODY_LENGTH;
		body->left = head->content_length;
	}
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A byte of the framing, that is of anything but data. */
static int take_framing(struct http_body *body, uint8_t c, struct error *err)
{
	switch (body->state) {
	case HTTP_BODY_SIZE: {
		const int digit = hex_digit(c);
		if (digit >= 0 && body->digits < 8) {
			body->left = body->left << 4 | (unsigned)digit;
			body->digits++;
			return 0;
		}
		if (c != '\r' || body->digits == 0) {
			return malformed(err, "a chunk size is not 1 to 8 hexadecimal digits");
		}
		body->state = HTTP_BODY_SIZE_LF;
		return 0;
	}
	case HTTP_BODY_SIZE_LF:
		body->state = body->left > 0 ? HTTP_BODY_CHUNK : HTTP_BODY_TRAILER;
		body->digits = 0;
		return c == '\n' ? 0 : malformed(err, "a bare CR after a chunk size");
	case HTTP_BODY_CHUNK_CR:
		body->state = HTTP_BODY_CHUNK_LF;
		return c == '\r' ? 0 : malformed(err, "a chunk does not end where its size says");
	case HTTP_BODY_CHUNK_LF:
		body->state = HTTP_BODY_SIZE;
		return c == '\n' ? 0 : malformed(err, "a chunk does not end where its size says");
	case HTTP_BODY_TRAILER:
		if (++body->trailer_bytes > HTTP_TRAILER_BYTES_MAX) {
			return error_fail(err, ANNALS_E_HEADERS_TOO_LARGE,
				"the trailers are larger than %d bytes", HTTP_TRAILER_BYTES_MAX);
		}
		if (c == '\r') {
			body->state = HTTP_BODY_TRAILER_LF;
			return 0;
		}
		if ((body->line_bytes == 0 && !is_token_char(c)) || (c < 0x20 && c != '\t') ||
			c == 0x7f) {
			return malformed(err, "a trailer is malformed");
		}
		body->line_bytes++;
		return 0;
	case HTTP_BODY_TRAILER_LF:
		if (c != '\n') {
			return malformed(err, "a bare CR in a trailer");
		}
		body->state = body->line_bytes == 0 ? HTTP_BODY_DONE : HTTP_BODY_TRAILER;
		body->line_bytes = 0;
		return 0;
	case HTTP_BODY_DONE:
	case HTTP_BODY_LENGTH:
	case HTTP_BODY_CHUNK:
		break;
	}
	return ANNALS_E_INTERNAL;
}

int http_body_next(struct http_body *body, struct bytes input, size_t *ret_consumed,
	struct bytes *ret_data, struct error *err)
{
	size_t at = 0;
	for (;;) {
		if (body->state == HTTP_BODY_DONE) {
			*ret_consumed = at;
			return HTTP_BODY_END;
		}
		if (at == input.size) {
			*ret_consumed = at;
			return HTTP_BODY_NEED_MORE;
		}
		if (body->state == HTTP_BODY_LENGTH || body->state == HTTP_BODY_CHUNK) {
			const size_t size =
				(size_t)ANNALS_MIN((uint64_t)(input.size - at), body->left);
			*ret_data = bytes_of(input.data + at, size);
			*ret_consumed = at + size;
			body->left -= size;
			body->total += size;
			if (body->left == 0) {
				body->state = body->state == HTTP_BODY_LENGTH ? HTTP_BODY_DONE
									      : HTTP_BODY_CHUNK_CR;
			}
			return HTTP_BODY_DATA;
		}
		const int status = take_framing(body, input.data[at], err);
		if (status != 0) {
			*ret_consumed = at;
			return status;
		}
		at++;
	}
}
