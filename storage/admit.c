/* Admission: the draft, and which kind of request goes where. */
#include "admit.h"

#include "completion.h"

#include <annals/clock.h>
#include <stdarg.h>
#include <stdio.h>

void admit_refuse(struct store_request *request, int status, const char *text)
{
	request->status = status;
	(void)error_fail(&request->error, status, "%s", text);
	completion_push(request);
}

void admit_refusef(struct store_request *request, int status, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	admit_refuse(request, status, text);
}

static int begin_draft(struct shard *shard)
{
	struct draft *draft = &shard->draft;
	uint64_t now = clock_wall_us();

	if (draft->command_count > 0) {
		return 0;
	}
	buf_reset(&draft->bytes);
	draft->time_us = now > shard->last_recorded_us ? now : shard->last_recorded_us;
	draft->first_position = shard->next_position;
	draft->next_position = draft->first_position;
	return block_begin(&draft->bytes);
}

/* Makes room for one command of so many bytes, committing what is there first if it does not fit.
 * False: the request was refused. */
bool admit_open_draft(struct shard *shard, struct store_request *request, uint64_t bytes)
{
	struct draft *draft = &shard->draft;

	if (bytes > BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES) {
		admit_refusef(request, ANNALS_E_TOO_LARGE,
			"the request takes %llu bytes when stored: the limit is %u",
			(unsigned long long)bytes, BLOCK_BYTES_MAX);
		return false;
	}
	if (draft->command_count > 0 &&
		draft->bytes.size + bytes > shard->options.block_bytes_max) {
		writer_commit(shard);
	}
	if (shard->state == STORE_READ_ONLY) {
		char reason[256];
		(void)shard_state(shard, reason);
		admit_refusef(request, ANNALS_E_UNAVAILABLE, "the store is read-only: %s", reason);
		return false;
	}
	if (begin_draft(shard) != 0 || buf_reserve(&draft->bytes, bytes) != 0) {
		admit_refusef(request, ANNALS_E_NO_MEMORY, "no memory for %llu bytes",
			(unsigned long long)bytes);
		return false;
	}
	return true;
}

size_t admit_command_bytes(size_t data_bytes)
{
	return 8 + ANNALS_ROUND_UP(data_bytes, (size_t)8);
}

/* One command in a block of its own: commits what is there, then this. */
void admit_alone(struct shard *shard, struct store_request *request, enum block_command type,
	struct bytes data)
{
	struct draft *draft = &shard->draft;
	uint8_t *room;

	writer_commit(shard);
	if (!admit_open_draft(shard, request, admit_command_bytes(data.size))) {
		return;
	}
	if (block_add(&draft->bytes, type, data.size, &room) != 0) {
		admit_refusef(request, ANNALS_E_NO_MEMORY, "no memory for a command");
		return;
	}
	memcpy(room, data.data, data.size);
	draft->command_count++;
	request->status = 0;
	list_add_tail(&draft->requests, &request->node);
	writer_commit(shard);
}

void admit_request(struct shard *shard, struct store_request *request)
{
	switch (request->operation) {
	case STORE_APPEND:
		admit_append(shard, (struct append_request *)request);
		return;
	case STORE_OFFSET_COMMIT:
		admit_offsets(shard, (struct offset_request *)request);
		return;
	case STORE_TOPIC_CREATE:
		admit_topic_create(shard, (struct topic_request *)request);
		return;
	case STORE_TOPIC_UPDATE:
		admit_topic_update(shard, (struct topic_request *)request);
		return;
	case STORE_TOPIC_DELETE:
		admit_topic_delete(shard, (struct topic_request *)request);
		return;
	case STORE_GROUP_DELETE:
		admit_group_delete(shard, (struct offset_request *)request);
		return;
	case STORE_ROWS:
		admit_rows(shard, (struct rows_request *)request);
		return;
	case STORE_TRIM:
		admit_trim(shard, (struct trim_request *)request);
		return;
	case STORE_PRODUCER_OPEN:
		admit_producer(shard, (struct producer_request *)request);
		return;
	case STORE_READ:
	case STORE_FIND_TIME:
	case STORE_WATCH:
	case STORE_STREAM_READ:
	case STORE_QUERY:
	case STORE_OPERATIONS:
		break;
	}
	admit_refuse(request, ANNALS_E_INVALID, "this operation does not write");
}
