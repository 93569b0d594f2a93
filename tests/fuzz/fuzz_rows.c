/* What LMDB's tables hold: keys, rows, chunk headers, records, and a block's commands. The first
 * byte says which. */
#include "apply.h"
#include "chunk.h"
#include "fuzz.h"
#include "lmdb/tables.h"

static int on_append(void *arg, const struct batch *batch, size_t at, struct error *err)
{
	const struct bytes *block = arg;
	(void)err;
	FUZZ_REQUIRE(at <= block->size && batch->stored.size <= block->size - at);
	return 0;
}

static int on_topic(
	void *arg, bool created, struct topic *topic, struct bytes encoded, struct error *err)
{
	(void)arg;
	(void)created;
	(void)encoded;
	(void)err;
	topic_unref(topic);
	return 0;
}

static int on_topic_delete(void *arg, uint32_t topic_id, struct error *err)
{
	(void)arg;
	(void)topic_id;
	(void)err;
	return 0;
}

static int on_offset(void *arg, const struct offset_row *row, struct error *err)
{
	uint8_t key[OFFSET_KEY_BYTES_MAX];
	(void)arg;
	(void)err;
	FUZZ_REQUIRE(offset_key(key, row->group, row->topic_id, row->partition) <= sizeof(key));
	return 0;
}

static int on_offset_delete(
	void *arg, struct bytes group, uint32_t topic_id, uint32_t partition, struct error *err)
{
	(void)arg;
	(void)topic_id;
	(void)partition;
	(void)err;
	FUZZ_REQUIRE(group.size <= GROUP_NAME_MAX);
	return 0;
}

static int on_trim(void *arg, uint32_t topic_id, uint32_t partition, uint64_t first_offset,
	uint64_t position, struct error *err)
{
	(void)arg;
	(void)topic_id;
	(void)partition;
	(void)first_offset;
	(void)position;
	(void)err;
	return 0;
}

static int on_row(void *arg, struct bytes key, struct bytes value, struct error *err)
{
	const struct bytes *block = arg;
	(void)err;
	FUZZ_REQUIRE(key.size + value.size <= block->size);
	return 0;
}

static void apply(struct bytes block)
{
	struct apply_sink sink = {
		.arg = &block,
		.append = on_append,
		.topic = on_topic,
		.topic_delete = on_topic_delete,
		.offset = on_offset,
		.offset_delete = on_offset_delete,
		.trim = on_trim,
		.row = on_row,
	};
	int status = apply_block(block, &sink, NULL);
	FUZZ_REQUIRE(status <= 0);
}

static void parse_keys(struct bytes key)
{
	uint8_t again[OFFSET_KEY_BYTES_MAX];
	uint32_t topic_id, partition;
	uint64_t base;
	uint16_t part;
	struct bytes group;
	if (log_key_parse(key, &topic_id, &partition, &base, &part)) {
		log_key(again, topic_id, partition, base, part);
		FUZZ_REQUIRE(memcmp(again, key.data, LOG_KEY_BYTES) == 0);
	}
	if (offset_key_parse(key, &group, &topic_id, &partition) && group.size <= GROUP_NAME_MAX) {
		FUZZ_REQUIRE(offset_key(again, group, topic_id, partition) == key.size);
		FUZZ_REQUIRE(memcmp(again, key.data, key.size) == 0);
	}
}

static void parse_records(struct bytes value)
{
	struct topic *topic;
	struct offset_entry entry;
	struct buf metadata = BUF_INIT;
	if (topic_decode(value, &topic, NULL) == 0) {
		topic_unref(topic);
	}
	if (offset_decode(value, &entry, &metadata) == 0) {
		FUZZ_REQUIRE(metadata.size <= value.size);
	}
	buf_release(&metadata);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes rest = bytes_of(data + 1, size > 0 ? size - 1 : 0);
	struct chunk_header header;
	struct meta_row meta;
	struct partition_row partition;
	if (size == 0) {
		return 0;
	}
	switch (data[0] % 4) {
	case 0:
		apply(rest);
		break;
	case 1:
		parse_keys(rest);
		break;
	case 2:
		parse_records(rest);
		break;
	default:
		FUZZ_REQUIRE(chunk_header_parse(rest, &header) <= 0);
		FUZZ_REQUIRE(meta_row_parse(rest, &meta) <= 0);
		FUZZ_REQUIRE(partition_row_parse(rest, &partition) <= 0);
	}
	return 0;
}
