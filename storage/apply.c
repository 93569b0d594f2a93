#include "apply.h"

#include "meta.pb-c.h"

#include <stdlib.h>

/* The length of a string field as protobuf-c holds it; names have no NUL inside, they were checked
 * on the way in. */
static struct bytes text_of(const char *text)
{
	return bytes_text(text);
}

int topic_decode(struct bytes encoded, struct topic **ret, struct error *err)
{
	Annals__V1__TopicRecord *record =
		annals__v1__topic_record__unpack(NULL, encoded.size, encoded.data);
	struct topic *topic;

	if (record == NULL) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA, "a topic record cannot be read");
	}
	if (record->uuid.len != 16 || strlen(record->name) > TOPIC_NAME_MAX ||
		record->partitions == 0 || record->validation > VALIDATION_ENFORCE) {
		annals__v1__topic_record__free_unpacked(record, NULL);
		return error_fail(
			err, ANNALS_E_CORRUPT_DATA, "a topic record holds impossible values");
	}
	topic = calloc(1, sizeof(*topic));
	if (topic == NULL) {
		annals__v1__topic_record__free_unpacked(record, NULL);
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a topic");
	}
	topic->references = 1;
	topic->id = record->id;
	memcpy(topic->uuid, record->uuid.data, 16);
	memcpy(topic->name, record->name, strlen(record->name) + 1);
	topic->created_us = record->created_us;
	topic->config = (struct topic_config){
		.partitions = record->partitions,
		.retention_age_us = record->retention_age_us,
		.retention_bytes = record->retention_bytes,
		.retention_events = record->retention_events,
		.durability = (enum durability)record->durability,
		.streams = record->streams,
		.event_bytes_max = record->event_bytes_max,
		.dedupe_age_us = record->dedupe_age_us,
		.dedupe_events = record->dedupe_events,
		.query_index = record->query_index,
		.validation = (enum validation)record->validation,
	};
	annals__v1__topic_record__free_unpacked(record, NULL);
	*ret = topic;
	return 0;
}

int topic_encode(const struct topic *topic, struct buf *out)
{
	Annals__V1__TopicRecord record;
	int status;

	annals__v1__topic_record__init(&record);
	record.id = topic->id;
	record.uuid.data = (uint8_t *)(uintptr_t)topic->uuid;
	record.uuid.len = sizeof(topic->uuid);
	record.name = (char *)(uintptr_t)topic->name;
	record.partitions = topic->config.partitions;
	record.created_us = topic->created_us;
	record.retention_age_us = topic->config.retention_age_us;
	record.retention_bytes = topic->config.retention_bytes;
	record.retention_events = topic->config.retention_events;
	record.durability = topic->config.durability;
	record.streams = topic->config.streams;
	record.event_bytes_max = topic->config.event_bytes_max;
	record.dedupe_age_us = topic->config.dedupe_age_us;
	record.dedupe_events = topic->config.dedupe_events;
	record.query_index = topic->config.query_index;
	record.validation = topic->config.validation;
	status = buf_reserve(out, annals__v1__topic_record__get_packed_size(&record));
	if (status == 0) {
		out->size += annals__v1__topic_record__pack(&record, out->data + out->size);
	}
	return status;
}

int offset_encode(struct bytes group, const struct offset_entry *entry, struct buf *out)
{
	Annals__V1__OffsetRecord record;
	char name[GROUP_NAME_MAX + 1], *metadata = malloc(entry->metadata.size + 1);
	int status;

	if (metadata == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	memcpy(name, group.data, group.size);
	name[group.size] = 0;
	if (entry->metadata.size > 0) {
		memcpy(metadata, entry->metadata.data, entry->metadata.size);
	}
	metadata[entry->metadata.size] = 0;
	annals__v1__offset_record__init(&record);
	record.group = name;
	record.topic_id = entry->topic_id;
	record.partition = entry->partition;
	record.offset = entry->offset;
	record.metadata = metadata;
	record.leader_epoch = entry->leader_epoch;
	record.committed_us = entry->committed_us;
	status = buf_reserve(out, annals__v1__offset_record__get_packed_size(&record));
	if (status == 0) {
		out->size += annals__v1__offset_record__pack(&record, out->data + out->size);
	}
	free(metadata);
	return status;
}

int offset_decode(struct bytes encoded, struct offset_entry *ret, struct buf *ret_metadata)
{
	Annals__V1__OffsetRecord *record =
		annals__v1__offset_record__unpack(NULL, encoded.size, encoded.data);
	int status = 0;

	if (record == NULL) {
		return ANNALS_E_CORRUPT_DATA;
	}
	*ret = (struct offset_entry){
		.topic_id = record->topic_id,
		.partition = record->partition,
		.offset = record->offset,
		.leader_epoch = record->leader_epoch,
		.committed_us = record->committed_us,
	};
	if (ret_metadata != NULL) {
		buf_reset(ret_metadata);
		status = buf_add_text(ret_metadata, record->metadata);
		ret->metadata = buf_bytes(ret_metadata);
	}
	annals__v1__offset_record__free_unpacked(record, NULL);
	return status;
}

static int apply_append(
	struct bytes block, struct bytes data, const struct apply_sink *sink, struct error *err)
{
	struct batch batch;

	if (batch_view(data, &batch) != 0 || batch.stored.size != data.size) {
		return error_fail(
			err, ANNALS_E_CORRUPT_DATA, "a block holds a batch that cannot be read");
	}
	return sink->append(sink->arg, &batch, (size_t)(data.data - block.data), err);
}

static int apply_topic(
	bool created, struct bytes data, const struct apply_sink *sink, struct error *err)
{
	struct topic *topic;
	int status = topic_decode(data, &topic, err);

	if (status == 0) {
		status = sink->topic(sink->arg, created, topic, data, err);
		if (status != 0) {
			topic_unref(topic);
		}
	}
	return status;
}

static int apply_offset(struct bytes data, const struct apply_sink *sink, struct error *err)
{
	Annals__V1__OffsetRecord *record =
		annals__v1__offset_record__unpack(NULL, data.size, data.data);
	struct offset_row row;
	int status;

	if (record == NULL) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA, "an offset record cannot be read");
	}
	row = (struct offset_row){
		text_of(record->group), record->topic_id, record->partition, data};
	status = row.group.size == 0 || row.group.size > GROUP_NAME_MAX
			 ? error_fail(err, ANNALS_E_CORRUPT_DATA, "an offset record names no group")
			 : sink->offset(sink->arg, &row, err);
	annals__v1__offset_record__free_unpacked(record, NULL);
	return status;
}

/* u16 name size, name, u32 count, then count times topic id u32, partition u32. */
static int apply_group_delete(struct bytes data, const struct apply_sink *sink, struct error *err)
{
	struct bytes group;
	size_t name_size, count;
	const uint8_t *next;

	if (data.size < 6) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA, "a group deletion is cut short");
	}
	name_size = load_u16(data.data);
	if (name_size > GROUP_NAME_MAX || data.size < 6 + name_size) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA, "a group deletion is cut short");
	}
	group = bytes_of(data.data + 2, name_size);
	count = load_u32(data.data + 2 + name_size);
	next = data.data + 6 + name_size;
	if (data.size != 6 + name_size + count * 8) {
		return error_fail(
			err, ANNALS_E_CORRUPT_DATA, "a group deletion has the wrong size");
	}
	for (; count > 0; count--, next += 8) {
		int status = sink->offset_delete(
			sink->arg, group, load_u32(next), load_u32(next + 4), err);
		if (status != 0) {
			return status;
		}
	}
	return 0;
}

static int apply_rows(struct bytes data, const struct apply_sink *sink, struct error *err)
{
	size_t at = 0;

	while (at < data.size) {
		struct bytes key, value = {0};
		size_t key_size, value_size;
		int status;
		if (data.size - at < ROW_CHANGE_HEADER_BYTES) {
			return error_fail(err, ANNALS_E_CORRUPT_DATA, "a row change is cut short");
		}
		key_size = load_u16(data.data + at);
		value_size = load_u32(data.data + at + 4);
		at += ROW_CHANGE_HEADER_BYTES;
		if (key_size == 0 || key_size > ROW_KEY_BYTES_MAX || key_size > data.size - at ||
			(value_size != ROW_DELETED &&
				(value_size > ROW_VALUE_BYTES_MAX ||
					value_size > data.size - at - key_size))) {
			return error_fail(
				err, ANNALS_E_CORRUPT_DATA, "a row change has impossible sizes");
		}
		key = bytes_of(data.data + at, key_size);
		at += key_size;
		if (value_size != ROW_DELETED) {
			value = bytes_of(data.data + at, value_size);
			at += value_size;
		}
		status = sink->row(sink->arg, key, value, err);
		if (status != 0) {
			return status;
		}
	}
	return 0;
}

size_t row_change_size(struct bytes key, struct bytes value)
{
	return ROW_CHANGE_HEADER_BYTES + key.size + (value.data == NULL ? 0 : value.size);
}

uint8_t *row_change_write(uint8_t *out, struct bytes key, struct bytes value)
{
	store_u16(out, (uint16_t)key.size);
	store_u16(out + 2, 0);
	store_u32(out + 4, value.data == NULL ? ROW_DELETED : (uint32_t)value.size);
	out += ROW_CHANGE_HEADER_BYTES;
	memcpy(out, key.data, key.size);
	out += key.size;
	if (value.data != NULL && value.size > 0) {
		memcpy(out, value.data, value.size);
		out += value.size;
	}
	return out;
}

static int apply_command(struct bytes block, uint16_t type, struct bytes data,
	const struct apply_sink *sink, struct error *err)
{
	switch (type) {
	case BLOCK_APPEND:
		return apply_append(block, data, sink, err);
	case BLOCK_TOPIC_CREATE:
		return apply_topic(true, data, sink, err);
	case BLOCK_TOPIC_UPDATE:
		return apply_topic(false, data, sink, err);
	case BLOCK_TOPIC_DELETE:
		return data.size < 4 ? error_fail(err, ANNALS_E_CORRUPT_DATA,
					       "a topic deletion is cut short")
				     : sink->topic_delete(sink->arg, load_u32(data.data), err);
	case BLOCK_OFFSET_COMMIT:
		return apply_offset(data, sink, err);
	case BLOCK_TRIM:
		return data.size < 16
			       ? error_fail(err, ANNALS_E_CORRUPT_DATA, "a trim is cut short")
			       : sink->trim(sink->arg, load_u32(data.data), load_u32(data.data + 4),
					 load_u64(data.data + 8),
					 data.size >= 24 ? load_u64(data.data + 16) : 0, err);
	case BLOCK_GROUP_DELETE:
		return apply_group_delete(data, sink, err);
	case BLOCK_ROWS:
		return apply_rows(data, sink, err);
	default:
		return error_fail(err, ANNALS_E_FORMAT_NEWER,
			"a block holds command %u, which this version does not know", type);
	}
}

int apply_block(struct bytes block, const struct apply_sink *sink, struct error *err)
{
	struct block_header header;
	size_t cursor = BLOCK_HEADER_BYTES;
	struct bytes data;
	uint16_t type;
	int status = block_view(block, &header, err);

	while (status == 0) {
		int more = block_next(block, &cursor, &type, &data);
		if (more == 0) {
			return 0;
		}
		status = more < 0 ? error_fail(err, more, "a block's commands do not add up")
				  : apply_command(block, type, data, sink, err);
	}
	return status;
}
