/* Bytes in hexadecimal for golden vectors: blanks in the text are skipped. */
#ifndef TESTS_HEX_H
#define TESTS_HEX_H

#include <annals/buf.h>
#include <assert.h>
#include <stdio.h>

static inline int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Appends the bytes that `text` spells. */
static inline void hex_parse(const char *text, struct buf *out)
{
	int high = -1;
	for (const char *c = text; *c != '\0'; c++) {
		int digit = hex_digit(*c);
		if (digit < 0) {
			assert(*c == ' ' || *c == '\n' || *c == '\t');
		} else if (high < 0) {
			high = digit;
		} else {
			int status = buf_add_byte(out, (uint8_t)(high << 4 | digit));
			assert(status == 0);
			(void)status;
			high = -1;
		}
	}
	assert(high < 0);
}

/* True when the bytes are those that `text` spells; prints both otherwise. */
static inline bool hex_is(struct bytes bytes, const char *text)
{
	struct buf expected = BUF_INIT;
	hex_parse(text, &expected);
	bool same = bytes_equal(bytes, buf_bytes(&expected));
	if (!same) {
		fprintf(stderr, "bytes differ; found:");
		for (size_t i = 0; i < bytes.size; i++) {
			fprintf(stderr, "%s%02x", i % 16 == 0 ? "\n" : " ", bytes.data[i]);
		}
		fprintf(stderr, "\n");
	}
	buf_release(&expected);
	return same;
}

#endif
