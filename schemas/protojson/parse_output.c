/* The encoded bytes and the lengths that are filled in behind them. */
#include "field.h"
#include "model.h"
#include "parse.h"
#include "wire.h"
#include <assert.h>

int parse_fail_memory(struct parser *parser)
{
	return error_fail(parser->err, ANNALS_E_NO_MEMORY, "out of memory");
}

static int reserve(struct parser *parser, size_t size)
{
	struct buf *out = parser->out;
	if (ANNALS_UNLIKELY(size > parser->out_limit - out->size)) {
		return error_fail(parser->err, ANNALS_E_TOO_LARGE,
			"the message would take more than %zu bytes",
			parser->out_limit - parser->out_start);
	}
	if (ANNALS_LIKELY(size <= out->capacity - out->size)) {
		return 0;
	}
	return buf_reserve(out, size) == 0 ? 0 : parse_fail_memory(parser);
}

int parse_put(struct parser *parser, const void *data, size_t size)
{
	const int status = reserve(parser, size);
	if (status == 0 && size > 0) {
		memcpy(parser->out->data + parser->out->size, data, size);
		parser->out->size += size;
	}
	return status;
}

int parse_put_varint(struct parser *parser, uint64_t value)
{
	uint8_t bytes[VARINT_BYTES_MAX];
	return parse_put(parser, bytes, (size_t)(field_put_varint(bytes, value) - bytes));
}

int parse_put_tag(struct parser *parser, const struct descriptor_field *field, unsigned wire_type)
{
	return parse_put_varint(parser, FIELD_TAG(field->number, wire_type));
}

int parse_put_bytes(struct parser *parser, struct bytes bytes)
{
	const int status = parse_put_varint(parser, bytes.size);
	return status == 0 ? parse_put(parser, bytes.data, bytes.size) : status;
}

int parse_open(struct parser *parser, size_t empty_at, uint32_t group)
{
	assert(parser->open_count < PARSE_OPEN_MAX);
	parser->open[parser->open_count++] =
		(struct parse_open){parser->out->size, empty_at, group};
	return group == 0 ? parse_put(parser, "", 1) : 0;
}

int parse_close(struct parser *parser)
{
	struct buf *out = parser->out;
	const struct parse_open *open = &parser->open[--parser->open_count];
	if (open->group != 0) {
		return parse_put_varint(parser, FIELD_TAG(open->group, WIRE_GROUP_END));
	}
	const size_t length = out->size - open->at - 1;
	if (length == 0 && open->empty_at != SIZE_MAX) {
		out->size = open->empty_at;
		return 0;
	}
	const size_t more = varint_size(length) - 1;
	if (more > 0) {
		const int status = reserve(parser, more);
		if (status != 0) {
			return status;
		}
		memmove(out->data + open->at + 1 + more, out->data + open->at + 1, length);
		out->size += more;
	}
	(void)field_put_varint(out->data + open->at, length);
	return 0;
}
