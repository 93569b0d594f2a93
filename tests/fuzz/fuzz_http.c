/* HTTP requests on one connection: heads and bodies, in one piece and byte by byte, which must come
 * to the same. */
#include "fuzz.h"
#include "proto_http_parse.h"

#define HEAD_BYTES_MAX 16384

struct outcome {
	int status;
	size_t requests, body_bytes, at;
};

static bool lies_within(struct bytes part, struct bytes whole)
{
	return part.size == 0 ||
	       (part.data >= whole.data && part.size <= whole.size &&
		       part.data - whole.data <= (ptrdiff_t)(whole.size - part.size));
}

static void check_head(const struct http_head *head, struct bytes bytes)
{
	FUZZ_REQUIRE(lies_within(head->method, bytes) && head->method.size > 0);
	FUZZ_REQUIRE(lies_within(head->target, bytes));
	FUZZ_REQUIRE(lies_within(head->path, head->target) || bytes_is(head->path, "/"));
	FUZZ_REQUIRE(lies_within(head->query, head->target));
	FUZZ_REQUIRE(head->header_count <= HTTP_HEADERS_MAX && head->minor <= 1);
	FUZZ_REQUIRE(!(head->chunked && head->has_content_length));
	for (unsigned i = 0; i < head->header_count; i++) {
		struct bytes value = head->headers[i].value;
		FUZZ_REQUIRE(lies_within(head->headers[i].name, bytes));
		FUZZ_REQUIRE(lies_within(value, bytes));
		for (size_t j = 0; j < value.size; j++) {
			FUZZ_REQUIRE(value.data[j] >= 0x20 || value.data[j] == '\t');
		}
	}
}

/* Reads one head whose bytes come `step` at a time. 1 with the head, 0 when they end, negative on
 * errors. */
static int read_head(struct bytes input, size_t step, struct http_head *head, size_t *ret_size)
{
	struct http_head_scan scan = {0};
	struct error err;
	size_t have = 0;
	for (;;) {
		have += step < input.size - have ? step : input.size - have;
		int status = http_head_scan(
			&scan, bytes_of(input.data, have), HEAD_BYTES_MAX, ret_size, &err);
		if (status == 1) {
			FUZZ_REQUIRE(*ret_size <= have && *ret_size <= HEAD_BYTES_MAX);
			struct bytes bytes = bytes_of(input.data, *ret_size);
			status = http_head_parse(bytes, head, &err);
			if (status == 0) {
				check_head(head, bytes);
				return 1;
			}
		}
		if (status < 0 || have == input.size) {
			return status;
		}
	}
}

/* Reads a body the same way. 1 at its end. */
static int read_body(struct bytes input, size_t step, const struct http_head *head,
	size_t *ret_size, size_t *ret_body_bytes)
{
	struct http_body body;
	struct error err;
	size_t have = 0;
	size_t at = 0;
	http_body_init(&body, head);
	for (;;) {
		size_t consumed = 0;
		struct bytes data = {NULL, 0};
		struct bytes piece = bytes_of(input.data + at, have - at);
		int status = http_body_next(&body, piece, &consumed, &data, &err);
		FUZZ_REQUIRE(consumed <= piece.size);
		at += consumed;
		if (status == HTTP_BODY_DATA) {
			FUZZ_REQUIRE(data.size > 0 && lies_within(data, piece));
			*ret_body_bytes += data.size;
			continue;
		}
		if (status != HTTP_BODY_NEED_MORE) {
			*ret_size = at;
			return status < 0 ? status : 1;
		}
		FUZZ_REQUIRE(at == have);
		if (have == input.size) {
			return 0;
		}
		have += step < input.size - have ? step : input.size - have;
	}
}

static struct outcome run(struct bytes input, size_t step)
{
	struct outcome outcome = {0};
	static struct http_head head;
	for (;;) {
		struct bytes rest = bytes_of(input.data + outcome.at, input.size - outcome.at);
		size_t size = 0;
		outcome.status = read_head(rest, step, &head, &size);
		if (outcome.status <= 0) {
			return outcome;
		}
		outcome.requests++;
		outcome.at += size;
		rest = bytes_of(input.data + outcome.at, input.size - outcome.at);
		size = 0;
		outcome.status = read_body(rest, step, &head, &size, &outcome.body_bytes);
		if (outcome.status <= 0) {
			return outcome;
		}
		outcome.at += size;
		if (outcome.at == input.size) {
			return outcome;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = bytes_of(data, size);
	struct outcome whole = run(input, SIZE_MAX);
	struct outcome bytewise = run(input, 1);
	FUZZ_REQUIRE(whole.status == bytewise.status && whole.requests == bytewise.requests);
	FUZZ_REQUIRE(whole.body_bytes == bytewise.body_bytes && whole.at == bytewise.at);
	return 0;
}
