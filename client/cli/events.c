#include "cli.h"
#include "typed.h"

#include <annals/cloudevents.h>
#include <stdlib.h>
#include <string.h>

static struct annals_bytes public_bytes(struct bytes bytes)
{
	return (struct annals_bytes){bytes.data, bytes.size};
}

void event_of_record(const struct record *record, struct event_room *room, struct annals_event *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->id = public_bytes(record->id);
	ret->source = public_bytes(record->source);
	ret->type = public_bytes(record->type);
	ret->subject = public_bytes(record->subject);
	ret->datacontenttype = public_bytes(record->datacontenttype);
	ret->dataschema = public_bytes(record->dataschema);
	ret->key = public_bytes(record->key);
	ret->data = public_bytes(record->data);
	ret->has_key = record->has_key;
	ret->has_data = record->has_data;
	ret->has_time = record->has_time;
	ret->time_ns = record->time_ns;
	ret->schema_version = record->schema_version;
	for (uint32_t i = 0; i < record->extension_count; i++) {
		const struct attribute *from = &record->extensions[i];
		room->extensions[i] = (struct annals_attribute){public_bytes(from->name),
			(enum annals_attribute_kind)from->kind, from->boolean, from->integer,
			from->timestamp_ns, public_bytes(from->value)};
	}
	for (uint32_t i = 0; i < record->tag_count; i++) {
		room->tags[i] = public_bytes(record->tags[i]);
	}
	ret->extensions = room->extensions;
	ret->extension_count = record->extension_count;
	ret->tags = room->tags;
	ret->tag_count = record->tag_count;
}

/* 32 hexadecimal digits with dashes. */
static void parse_uuid(const char *text, uint8_t uuid[16])
{
	size_t digits = 0;
	memset(uuid, 0, 16);
	for (; *text && digits < 32; text++) {
		int c = (unsigned char)*text;
		int value = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;
		if (value >= 0) {
			uuid[digits / 2] = (uint8_t)(uuid[digits / 2] << 4 | value);
			digits++;
		}
	}
}

int event_to_json(struct buf *out, const struct annals_topic *topic,
	const struct annals_event *event, struct typed *typed)
{
	struct record record;
	uint8_t uuid[16];
	char lost[TYPED_LOST_BYTES] = "";
	int status =
		record_decode_trusted(bytes_of(event->encoded.data, event->encoded.size), &record);
	if (status != ANNALS_OK) {
		return status;
	}
	parse_uuid(topic->uuid, uuid);
	struct cloudevent_place place = {.topic = topic->name,
		.topic_uuid = uuid,
		.partition = event->partition,
		.offset = event->offset,
		.position = event->position,
		.recorded_us = event->recorded_us,
		.version = event->version};
	status = typed != NULL ? typed_show(typed, &record, lost) : ANNALS_OK;
	status = status != ANNALS_OK ? status : cloudevent_to_json(out, &record, &place);
	/* One more member of the object: the mark of a projection. */
	if (status == ANNALS_OK && lost[0] != 0) {
		out->size--;
		status = buf_printf(out, ",\"annalslost\":\"%s\"}", lost);
	}
	return status;
}

/* --- reading up to the end */

static void check_done(struct reading *reading, uint32_t partition)
{
	uint64_t position;
	if (!reading->follow && !reading->done[partition] &&
		(annals_consumer_position(reading->consumer, partition, &position) != ANNALS_OK ||
			position >= reading->topic->partitions[partition].end_offset)) {
		reading->done[partition] = true;
		reading->left--;
	}
}

int reading_open(struct reading *reading, struct cli *cli, const char *topic,
	const struct annals_start *start, bool follow)
{
	struct annals_error error;
	memset(reading, 0, sizeof(*reading));
	reading->follow = follow;
	int status =
		annals_topic_describe(cli->client, topic, cli->timeout_ms, &reading->topic, &error);
	if (status == ANNALS_OK) {
		status = annals_consumer_open(cli->client, topic, start, cli->options,
			cli->timeout_ms, &reading->consumer, &error);
	}
	if (status != ANNALS_OK) {
		return cli_fail(status, "cannot read topic '%s': %s", topic, error.text);
	}
	reading->left = reading->topic->partition_count;
	reading->done = calloc(reading->left + 1, sizeof(*reading->done));
	if (!reading->done) {
		return cli_fail(ANNALS_E_NO_MEMORY, "no memory");
	}
	for (uint32_t i = 0; i < reading->topic->partition_count; i++) {
		uint64_t position;
		if (annals_consumer_position(reading->consumer, i, &position) == ANNALS_OK &&
			reading->topic->partitions[i].end_offset > position) {
			reading->total_events +=
				reading->topic->partitions[i].end_offset - position;
		}
		check_done(reading, i);
	}
	return CLI_OK;
}

int reading_next(struct reading *reading, struct annals_event *events, size_t max,
	size_t *ret_count, struct annals_error *error)
{
	while (!cli_interrupted() && (reading->follow || reading->left > 0)) {
		size_t count;
		int status =
			annals_consumer_poll(reading->consumer, 200, events, max, &count, error);
		if (status != ANNALS_OK) {
			return status;
		}
		if (count == 0) {
			/* Holes at the end of a partition move the position without an event. */
			for (uint32_t i = 0; i < reading->topic->partition_count; i++) {
				check_done(reading, i);
			}
			continue;
		}
		if (events[count - 1].partition < reading->topic->partition_count) {
			check_done(reading, events[count - 1].partition);
		}
		*ret_count = count;
		return 1;
	}
	return 0;
}

void reading_close(struct reading *reading)
{
	annals_consumer_close(reading->consumer);
	annals_topic_free(reading->topic);
	free(reading->done);
}
