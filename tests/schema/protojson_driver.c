/*
 * The JSON mapping as a program, for the test that compares it with another implementation.
 * protojson_driver SET: loads a FileDescriptorSet, then answers lines on standard input:
 *
 *	print OPTIONS TYPE HEX    a message's bytes       -> "ok HEX" (the text) or "error CODE
 *TEXT" parse OPTIONS TYPE HEX    a text                  -> "ok HEX" (the bytes) or "error CODE
 *TEXT"
 *
 * OPTIONS: letters, or "-": n original names, e enums as numbers, d defaults, u refuse (print) or
 * ignore (parse) unknown fields, p partial.
 */
#include <annals/jsonschema.h>
#include <annals/protojson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_BYTES_MAX (64u << 20)

static int read_file(const char *path, struct buf *out)
{
	FILE *file = fopen(path, "rb");
	size_t got = 0;
	if (file == NULL) {
		return -1;
	}
	do {
		out->size += got;
		if (buf_reserve(out, 65536) != 0) {
			fclose(file);
			return -1;
		}
		got = fread(out->data + out->size, 1, 65536, file);
	} while (got > 0);
	fclose(file);
	return 0;
}

static int from_hex(const char *text, struct buf *out)
{
	unsigned byte;
	buf_reset(out);
	if (strcmp(text, "-") == 0) {
		return 0;
	}
	for (; text[0] != 0 && text[1] != 0; text += 2) {
		if (sscanf(text, "%2x", &byte) != 1 || buf_add_byte(out, (uint8_t)byte) != 0) {
			return -1;
		}
	}
	return 0;
}

static bool has(const char *options, char letter)
{
	return strchr(options, letter) != NULL;
}

static void answer(int status, const struct buf *out, const struct error *err)
{
	if (status != 0) {
		printf("error %s %s\n", annals_status_name(status), err->text);
		return;
	}
	fputs("ok ", stdout);
	for (size_t i = 0; i < out->size; i++) {
		printf("%02x", out->data[i]);
	}
	putchar('\n');
}

static int serve(const struct descriptor_pool *pool)
{
	struct buf in = BUF_INIT, out = BUF_INIT;
	struct error err = {0};
	char *line = NULL;
	size_t room = 0;
	ssize_t size;
	while ((size = getline(&line, &room, stdin)) > 0) {
		line[size - 1] = 0;
		char *save = NULL;
		const char *verb = strtok_r(line, " ", &save);
		const char *options = strtok_r(NULL, " ", &save);
		const char *name = strtok_r(NULL, " ", &save);
		const char *hex = strtok_r(NULL, " ", &save);
		if (verb == NULL || options == NULL || name == NULL || hex == NULL ||
			from_hex(hex, &in) != 0) {
			fprintf(stderr, "protojson_driver: a line that is none\n");
			return 1;
		}
		const struct descriptor_message *type =
			descriptor_pool_find_message(pool, bytes_text(name));
		if (type == NULL) {
			fprintf(stderr, "protojson_driver: no type '%s'\n", name);
			return 1;
		}
		buf_reset(&out);
		if (strcmp(verb, "print") == 0) {
			const struct protojson_print_options print = {OUTPUT_BYTES_MAX,
				has(options, 'n'), has(options, 'e'), has(options, 'd'),
				has(options, 'u')};
			answer(protojson_print(pool, type, buf_bytes(&in), &print, &out, &err),
				&out, &err);
		} else if (strcmp(verb, "schema") == 0) {
			answer(jsonschema_print(type, OUTPUT_BYTES_MAX, &out, &err), &out, &err);
		} else {
			const struct protojson_parse_options parse = {
				OUTPUT_BYTES_MAX, has(options, 'u'), has(options, 'p')};
			answer(protojson_parse(pool, type, buf_bytes(&in), &parse, &out, &err),
				&out, &err);
		}
		fflush(stdout);
	}
	free(line);
	buf_release(&in);
	buf_release(&out);
	return 0;
}

int main(int argc, char **argv)
{
	struct buf set = BUF_INIT;
	struct error err = {0};
	if (argc != 2 || read_file(argv[1], &set) != 0) {
		fprintf(stderr, "usage: protojson_driver SET\n");
		return 1;
	}
	struct descriptor_pool *pool;
	if (descriptor_pool_build(NULL, buf_bytes(&set), &pool, &err) != 0) {
		fprintf(stderr, "protojson_driver: %s\n", err.text);
		return 1;
	}
	const int result = serve(pool);
	descriptor_pool_unref(pool);
	buf_release(&set);
	return result;
}
