#include "dumpfile.h"

#include <annals/crc32c.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DUMP_FORMAT 1u
#define DUMP_HEADER_BYTES 16u
#define DUMP_RECORD_BYTES 24u
#define DUMP_EVENT_BYTES_MAX (8u << 20)

static const uint8_t dump_magic[8] = {'A', 'N', 'N', 'A', 'L', 'D', 'M', 'P'};

int dumpfile_open(struct dumpfile *dump, const char *name)
{
	uint8_t header[DUMP_HEADER_BYTES];
	memset(dump, 0, sizeof(*dump));
	cloudevent_init(&dump->parsed);
	dump->name = name;
	dump->file = fopen(name, "rb");
	if (!dump->file) {
		return cli_fail(ANNALS_E_IO, "cannot open '%s': %s", name, strerror(errno));
	}
	size_t got = fread(header, 1, sizeof(header), dump->file);
	if (got == sizeof(header) && memcmp(header, dump_magic, sizeof(dump_magic)) == 0) {
		if (load_u32(header + 8) != DUMP_FORMAT) {
			return cli_fail(ANNALS_E_FORMAT_NEWER,
				"'%s' has dump format %u; this version reads %u", name,
				load_u32(header + 8), DUMP_FORMAT);
		}
		dump->binary = true;
		dump->partitions = load_u32(header + 12);
		dump->bytes = sizeof(header);
		return CLI_OK;
	}
	rewind(dump->file);
	return CLI_OK;
}

void dumpfile_close(struct dumpfile *dump)
{
	if (dump->file) {
		(void)fclose(dump->file);
	}
	cloudevent_release(&dump->parsed);
	buf_release(&dump->content);
	free(dump->text);
}

static int next_binary(struct dumpfile *dump, struct annals_event *ret)
{
	uint8_t head[DUMP_RECORD_BYTES];
	struct annals_error error;
	if (fread(head, 1, sizeof(head), dump->file) != sizeof(head)) {
		return 0;
	}
	uint32_t size = load_u32(head + 4);
	buf_reset(&dump->content);
	if (size > DUMP_EVENT_BYTES_MAX) {
		return cli_fail(ANNALS_E_MALFORMED, "'%s' is damaged at byte %llu", dump->name,
			       (unsigned long long)dump->bytes),
		       ANNALS_E_MALFORMED;
	}
	if (buf_reserve(&dump->content, size + 1) != ANNALS_OK) {
		return cli_fail(ANNALS_E_NO_MEMORY, "no memory"), ANNALS_E_NO_MEMORY;
	}
	if (fread(dump->content.data, 1, size, dump->file) != size) {
		return 0;
	}
	dump->content.size = size;
	if (crc32c(crc32c(0, head + 4, sizeof(head) - 4), dump->content.data, size) !=
		load_u32(head)) {
		return cli_fail(ANNALS_E_MALFORMED, "'%s' is damaged at byte %llu: wrong checksum",
			       dump->name, (unsigned long long)dump->bytes),
		       ANNALS_E_MALFORMED;
	}
	int status = annals_event_decode(dump->content.data, size, ret, &error);
	if (status != ANNALS_OK) {
		return cli_fail(status, "'%s' byte %llu: %s", dump->name,
			       (unsigned long long)dump->bytes, error.text),
		       status;
	}
	ret->partition = load_u32(head + 8);
	ret->offset = load_u64(head + 16);
	dump->bytes += sizeof(head) + size;
	return 1;
}

/* Annals' own attributes, which cloudevent_from_json() drops. */
static int read_place(struct bytes line, uint32_t *ret_partition, uint64_t *ret_offset)
{
	struct json_scanner scanner;
	struct json_value name, value;
	uint64_t partition = UINT64_MAX, offset = UINT64_MAX;
	int got;
	json_scanner_init(&scanner, line);
	if (json_enter_object(&scanner) != ANNALS_OK) {
		return ANNALS_E_MALFORMED;
	}
	while ((got = json_next_name(&scanner, &name)) > 0) {
		if (json_scan(&scanner, &value) != ANNALS_OK) {
			return ANNALS_E_MALFORMED;
		}
		if (json_string_is(&name, "annalspartition")) {
			got = json_u64(&value, &partition);
		} else if (json_string_is(&name, "annalsoffset")) {
			/* CloudEvents integers have 32 bits, so a large offset may be written as a
			 * text. */
			struct bytes digits = bytes_of(
				value.raw.data + 1, value.raw.size >= 2 ? value.raw.size - 2 : 0);
			struct json_value inner = {JSON_NUMBER, false, digits};
			got = json_u64(value.type == JSON_STRING ? &inner : &value, &offset);
		}
		if (got < 0) {
			return got;
		}
	}
	if (got < 0 || partition > UINT32_MAX || offset == UINT64_MAX) {
		return ANNALS_E_MALFORMED;
	}
	*ret_partition = (uint32_t)partition;
	*ret_offset = offset;
	return ANNALS_OK;
}

static int next_json(struct dumpfile *dump, struct annals_event *ret)
{
	struct error err = {0, ""};
	uint32_t partition = 0;
	uint64_t offset = 0;
	ssize_t size = getline(&dump->text, &dump->text_capacity, dump->file);
	if (size <= 0 || dump->text[size - 1] != '\n') {
		return 0;
	}
	dump->line++;
	struct bytes line = bytes_of(dump->text, (size_t)size - 1);
	int status = cloudevent_from_json(&dump->parsed, line, &err);
	if (status == ANNALS_OK && read_place(line, &partition, &offset) != ANNALS_OK) {
		status = error_fail(&err, ANNALS_E_MALFORMED,
			"annalspartition and annalsoffset are missing; to append plain events use "
			"'annals append'");
	}
	if (status != ANNALS_OK) {
		return cli_fail(status, "'%s' line %llu: %s", dump->name,
			       (unsigned long long)dump->line, err.text),
		       status;
	}
	event_of_record(&dump->parsed.record, &dump->room, ret);
	ret->partition = partition;
	ret->offset = offset;
	dump->bytes += (uint64_t)size;
	return 1;
}

int dumpfile_next(struct dumpfile *dump, struct annals_event *ret)
{
	return dump->binary ? next_binary(dump, ret) : next_json(dump, ret);
}

int dumpfile_write_header(FILE *file, uint32_t partitions)
{
	uint8_t header[DUMP_HEADER_BYTES];
	memcpy(header, dump_magic, sizeof(dump_magic));
	store_u32(header + 8, DUMP_FORMAT);
	store_u32(header + 12, partitions);
	return fwrite(header, 1, sizeof(header), file) == sizeof(header) ? ANNALS_OK : ANNALS_E_IO;
}

int dumpfile_write(FILE *file, const struct annals_event *event)
{
	uint8_t head[DUMP_RECORD_BYTES];
	store_u32(head + 4, (uint32_t)event->encoded.size);
	store_u32(head + 8, event->partition);
	store_u32(head + 12, 0);
	store_u64(head + 16, event->offset);
	store_u32(head, crc32c(crc32c(0, head + 4, sizeof(head) - 4), event->encoded.data,
				event->encoded.size));
	bool written =
		fwrite(head, 1, sizeof(head), file) == sizeof(head) &&
		fwrite(event->encoded.data, 1, event->encoded.size, file) == event->encoded.size;
	return written ? ANNALS_OK : ANNALS_E_IO;
}
