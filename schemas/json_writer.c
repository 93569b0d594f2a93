#include <annals/json.h>
#include <annals/parse.h>

/* Bytes that need no escape: everything from a blank up but quote, backslash and non-ASCII, which
 * is checked. */
static size_t plain_run(const uint8_t *at, const uint8_t *end)
{
	const uint8_t *start = at;
	while (at < end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\') {
		at++;
	}
	return (size_t)(at - start);
}

static void put(struct json_writer *writer, const void *data, size_t size)
{
	if (writer->status == 0) {
		writer->status = buf_add(writer->out, data, size);
	}
}

static void put_comma(struct json_writer *writer)
{
	if (writer->comma) {
		put(writer, ",", 1);
	}
	writer->comma = true;
}

void json_writer_init(struct json_writer *writer, struct buf *out)
{
	*writer = (struct json_writer){out, 0, false};
}

static void begin(struct json_writer *writer, const char *bracket)
{
	put_comma(writer);
	put(writer, bracket, 1);
	writer->comma = false;
}

static void end(struct json_writer *writer, const char *bracket)
{
	put(writer, bracket, 1);
	writer->comma = true;
}

void json_begin_object(struct json_writer *writer)
{
	begin(writer, "{");
}

void json_end_object(struct json_writer *writer)
{
	end(writer, "}");
}

void json_begin_array(struct json_writer *writer)
{
	begin(writer, "[");
}

void json_end_array(struct json_writer *writer)
{
	end(writer, "]");
}

void json_name_bytes(struct json_writer *writer, struct bytes name)
{
	put_comma(writer);
	put(writer, "\"", 1);
	put(writer, name.data, name.size);
	put(writer, "\":", 2);
	writer->comma = false;
}

void json_name(struct json_writer *writer, const char *name)
{
	json_name_bytes(writer, bytes_text(name));
}

static void put_escape(struct json_writer *writer, uint8_t byte)
{
	static const char hex[] = "0123456789abcdef";
	char text[6] = {'\\', 0, '0', '0', hex[byte >> 4], hex[byte & 15]};
	switch (byte) {
	case '"':
	case '\\':
		text[1] = (char)byte;
		break;
	case '\n':
		text[1] = 'n';
		break;
	case '\r':
		text[1] = 'r';
		break;
	case '\t':
		text[1] = 't';
		break;
	default:
		text[1] = 'u';
		break;
	}
	put(writer, text, text[1] == 'u' ? 6 : 2);
}

/* Length of the valid UTF-8 sequence that starts here, or 0. */
static size_t sequence(const uint8_t *at, const uint8_t *end)
{
	for (size_t size = 2; size <= 4 && size <= (size_t)(end - at); size++) {
		if (utf8_is_valid(bytes_of(at, size))) {
			return size;
		}
	}
	return 0;
}

void json_write_text(struct json_writer *writer, struct bytes text)
{
	put_comma(writer);
	if (writer->status == 0) {
		writer->status = buf_reserve(writer->out, text.size + 2);
	}
	put(writer, "\"", 1);
	const uint8_t *at = text.data;
	const uint8_t *end_of_text = text.size > 0 ? at + text.size : at;
	while (at < end_of_text && writer->status == 0) {
		const size_t plain = plain_run(at, end_of_text);
		put(writer, at, plain);
		at += plain;
		if (at == end_of_text) {
			break;
		}
		if (*at < 0x80) {
			put_escape(writer, *at++);
			continue;
		}
		const size_t size = sequence(at, end_of_text);
		if (size > 0) {
			put(writer, at, size);
			at += size;
		} else {
			put(writer, "\xef\xbf\xbd", 3);
			at++;
		}
	}
	put(writer, "\"", 1);
}

void json_write_u64(struct json_writer *writer, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);
	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	put_comma(writer);
	put(writer, digits + at, sizeof(digits) - at);
}

void json_write_i64(struct json_writer *writer, int64_t value)
{
	if (value >= 0) {
		json_write_u64(writer, (uint64_t)value);
		return;
	}
	put_comma(writer);
	put(writer, "-", 1);
	writer->comma = false;
	json_write_u64(writer, 0 - (uint64_t)value);
}

void json_write_bool(struct json_writer *writer, bool value)
{
	put_comma(writer);
	put(writer, value ? "true" : "false", value ? 4 : 5);
}

void json_write_null(struct json_writer *writer)
{
	put_comma(writer);
	put(writer, "null", 4);
}

void json_write_raw(struct json_writer *writer, struct bytes value)
{
	put_comma(writer);
	if (writer->status != 0 || value.size == 0) {
		return;
	}
	const size_t start = writer->out->size;
	put(writer, value.data, value.size);
	if (writer->status == 0 && (memchr(value.data, '\n', value.size) != NULL ||
					   memchr(value.data, '\r', value.size) != NULL)) {
		for (size_t i = start; i < writer->out->size; i++) {
			uint8_t *byte = &writer->out->data[i];
			*byte = *byte == '\n' || *byte == '\r' ? ' ' : *byte;
		}
	}
}

void json_write_base64(struct json_writer *writer, struct bytes data, bool url)
{
	put_comma(writer);
	put(writer, "\"", 1);
	if (writer->status == 0) {
		writer->status = buf_reserve(writer->out, (data.size + 2) / 3 * 4);
	}
	if (writer->status == 0) {
		writer->out->size +=
			base64_encode((char *)writer->out->data + writer->out->size, data, url);
	}
	put(writer, "\"", 1);
}

void json_member_text(struct json_writer *writer, const char *name, struct bytes value)
{
	json_name(writer, name);
	json_write_text(writer, value);
}

void json_member_cstring(struct json_writer *writer, const char *name, const char *value)
{
	json_member_text(writer, name, bytes_text(value));
}

void json_member_u64(struct json_writer *writer, const char *name, uint64_t value)
{
	json_name(writer, name);
	json_write_u64(writer, value);
}

void json_member_bool(struct json_writer *writer, const char *name, bool value)
{
	json_name(writer, name);
	json_write_bool(writer, value);
}
