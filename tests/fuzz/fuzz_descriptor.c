/* A FileDescriptorSet: what is accepted can be found by its names and numbers, and the files that
 * the pool keeps make the same pool again. */
#include <annals/buf.h>
#include <annals/descriptor.h>
#include <annals/varint.h>
#include <string.h>

#include "fuzz.h"

#define FILE_FIELD_TAG 0x0a /* FileDescriptorSet.file */

static void require_fields(const struct descriptor_message *message)
{
	uint32_t path[DESCRIPTOR_NESTING_MAX + 1];
	for (size_t i = 0; i < message->field_count; i++) {
		const struct descriptor_field *field = &message->fields[i];
		FUZZ_REQUIRE(field->number >= 1 && field->number <= DESCRIPTOR_FIELD_NUMBER_MAX);
		FUZZ_REQUIRE(i == 0 || field->number > message->fields[i - 1].number);
		FUZZ_REQUIRE(descriptor_field_by_number(message, field->number) == field);
		FUZZ_REQUIRE(descriptor_field_by_name(message, bytes_text(field->name)) == field);
		FUZZ_REQUIRE((field->message != NULL) == (field->type == DESCRIPTOR_MESSAGE ||
								 field->type == DESCRIPTOR_GROUP));
		FUZZ_REQUIRE((field->enumeration != NULL) == (field->type == DESCRIPTOR_ENUM));
		FUZZ_REQUIRE(field->parent == message);
	}
	const size_t count = descriptor_message_path(message, path);
	FUZZ_REQUIRE(count == message->nesting + 1);
	FUZZ_REQUIRE(descriptor_message_at(message->file, path, count) == message);
}

/* The file's messages and those within them. */
static void require_messages(const struct descriptor_pool *pool, const struct descriptor_file *file)
{
	const struct descriptor_message *const *list[DESCRIPTOR_NESTING_MAX + 2] = {file->messages};
	size_t left[DESCRIPTOR_NESTING_MAX + 2] = {file->message_count};
	size_t depth = 0;
	for (;;) {
		if (left[depth] == 0) {
			if (depth-- == 0) {
				return;
			}
			continue;
		}
		const struct descriptor_message *message = *list[depth]++;
		left[depth]--;
		FUZZ_REQUIRE(descriptor_pool_find_message(pool, bytes_text(message->full_name)) ==
			     message);
		FUZZ_REQUIRE(message->nesting == depth);
		require_fields(message);
		depth++;
		FUZZ_REQUIRE(depth < DESCRIPTOR_NESTING_MAX + 2);
		list[depth] = message->messages;
		left[depth] = message->message_count;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct descriptor_pool *builtin;
	struct descriptor_pool *pool, *second;
	struct error err;
	if (builtin == NULL) {
		FUZZ_REQUIRE(descriptor_pool_builtin(&builtin, &err) == 0);
	}
	const int status = descriptor_pool_build(builtin, bytes_of(data, size), &pool, &err);
	if (status != 0) {
		FUZZ_REQUIRE(status == ANNALS_E_MALFORMED || status == ANNALS_E_VALIDATION ||
			     status == ANNALS_E_TOO_LARGE);
		FUZZ_REQUIRE(strlen(err.text) > 0);
		return 0;
	}
	struct buf set = BUF_INIT;
	for (size_t i = 0; i < descriptor_pool_file_count(pool); i++) {
		const struct descriptor_file *file = descriptor_pool_file(pool, i);
		FUZZ_REQUIRE(descriptor_pool_find_file(pool, bytes_text(file->name)) == file);
		require_messages(pool, file);
		uint8_t head[1 + 10] = {FILE_FIELD_TAG};
		const size_t head_bytes = 1 + varint_put(head + 1, file->encoded.size);
		FUZZ_REQUIRE(buf_add(&set, head, head_bytes) == 0);
		FUZZ_REQUIRE(buf_add(&set, file->encoded.data, file->encoded.size) == 0);
	}
	/* Without files of its own (all are the base's) there is no set to build again. */
	if (set.size > 0) {
		FUZZ_REQUIRE(descriptor_pool_build(builtin, buf_bytes(&set), &second, &err) == 0);
		FUZZ_REQUIRE(
			descriptor_pool_file_count(second) == descriptor_pool_file_count(pool));
		descriptor_pool_unref(second);
	}
	descriptor_pool_unref(pool);
	buf_release(&set);
	return 0;
}
