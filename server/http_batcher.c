#include "http_batcher.h"

#include "http_typed.h"
#include <annals/varint.h>
#include <stdlib.h>

void http_batcher_init(struct http_batcher *batcher, struct loop *loop, struct topic *topic)
{
	*batcher = (struct http_batcher){.loop = loop, .topic = topic};
	const uint64_t limit = loop->options->event_bytes_max;
	batcher->event_bytes_max = topic->config.event_bytes_max > 0
					   ? topic->config.event_bytes_max
					   : (uint32_t)ANNALS_MIN(limit, (uint64_t)UINT32_MAX);
}

void http_batcher_reset(struct http_batcher *batcher)
{
	for (size_t i = 0; i < batcher->part_count; i++) {
		buf_release(&batcher->parts[i].body);
		batcher->slots[batcher->parts[i].partition] = 0;
	}
	batcher->part_count = 0;
	batcher->run_count = 0;
	batcher->count = 0;
	batcher->size_bytes = 0;
}

void http_batcher_release(struct http_batcher *batcher)
{
	http_batcher_reset(batcher);
	free(batcher->parts);
	free(batcher->slots);
	free(batcher->runs);
	http_typed_event_free(batcher->typed);
	topic_unref(batcher->topic);
	*batcher = (struct http_batcher){0};
}

/* Makes room for one more element of `size` bytes; NULL without memory. */
static void *grow(void *array, size_t count, size_t *capacity, size_t size)
{
	if (count < *capacity) {
		return array;
	}
	const size_t wanted = *capacity > 0 ? *capacity * 2 : 4;
	void *grown = reallocarray(array, wanted, size);
	if (grown != NULL) {
		*capacity = wanted;
	}
	return grown;
}

static struct http_batcher_part *find_part(struct http_batcher *batcher, uint32_t partition)
{
	if (batcher->slots == NULL) {
		batcher->slots =
			calloc((size_t)ANNALS_MAX(batcher->topic->config.partitions, partition + 1),
				sizeof(*batcher->slots));
		if (batcher->slots == NULL) {
			return NULL;
		}
	}
	if (batcher->slots[partition] != 0) {
		return &batcher->parts[batcher->slots[partition] - 1];
	}
	struct http_batcher_part *parts =
		grow(batcher->parts, batcher->part_count, &batcher->part_capacity, sizeof(*parts));
	if (parts == NULL) {
		return NULL;
	}
	batcher->parts = parts;
	struct http_batcher_part *part = &parts[batcher->part_count++];
	*part = (struct http_batcher_part){.partition = partition, .body = BUF_INIT};
	batcher->slots[partition] = (uint32_t)batcher->part_count;
	return part;
}

static int extend_runs(struct http_batcher *batcher, uint32_t part)
{
	if (batcher->run_count > 0 && batcher->runs[batcher->run_count - 1].part == part) {
		batcher->runs[batcher->run_count - 1].count++;
		return 0;
	}
	struct http_batcher_run *runs =
		grow(batcher->runs, batcher->run_count, &batcher->run_capacity, sizeof(*runs));
	if (runs == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	batcher->runs = runs;
	runs[batcher->run_count++] = (struct http_batcher_run){part, 1};
	return 0;
}

/* The element of a Batch that holds these bytes: field 1, length-delimited. */
static int add_element(struct buf *body, struct bytes encoded)
{
	uint8_t head[1 + VARINT_BYTES_MAX] = {0x0a};
	const size_t size = 1 + varint_put(head + 1, encoded.size);
	const int status = buf_reserve(body, size + encoded.size);
	if (status != 0) {
		return status;
	}
	return buf_add(body, head, size) != 0 || buf_add(body, encoded.data, encoded.size) != 0
		       ? ANNALS_E_NO_MEMORY
		       : 0;
}

static int add(struct http_batcher *batcher, const struct record *record, size_t size,
	const struct bytes *encoded, struct error *err)
{
	if (size > batcher->event_bytes_max) {
		batcher->too_large = true;
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"the event has %zu bytes, more than event-bytes-max, %u", size,
			batcher->event_bytes_max);
	}
	const uint32_t partition =
		batcher->fixed ? batcher->partition
			       : op_append_partition(batcher->loop, batcher->topic, record);
	struct http_batcher_part *part = find_part(batcher, partition);
	if (part == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	const size_t before = part->body.size;
	const int status = encoded != NULL ? add_element(&part->body, *encoded)
					   : record_encode_in_batch(record, &part->body);
	if (status != 0 || extend_runs(batcher, (uint32_t)(part - batcher->parts)) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	part->count++;
	batcher->count++;
	batcher->size_bytes += part->body.size - before;
	return 0;
}

/* The stream that the request names is the event's, or the event is refused. */
static int check_key(
	const struct http_batcher *batcher, const struct record *record, struct error *err)
{
	if (batcher->has_key && record->has_key && !bytes_equal(batcher->key, record->key)) {
		return error_fail(err, ANNALS_E_VALIDATION,
			"the event has another key than the stream it is appended to");
	}
	return 0;
}

int http_batcher_add(struct http_batcher *batcher, const struct record *record, struct error *err)
{
	struct record keyed = *record;
	int status = 0;
	if (batcher->topic->config.validation != VALIDATION_OFF) {
		status = http_typed_take(
			&batcher->typed, batcher->loop, batcher->topic, &keyed, err);
	}
	status = status != 0 ? status : check_key(batcher, &keyed, err);
	if (status != 0) {
		return status;
	}
	if (batcher->has_key) {
		keyed.has_key = true;
		keyed.key = batcher->key;
	}
	return add(batcher, &keyed, record_encoded_size(&keyed), NULL, err);
}

int http_batcher_add_encoded(struct http_batcher *batcher, const struct record *record,
	struct bytes encoded, struct error *err)
{
	if (batcher->has_key && !record->has_key) {
		return error_fail(err, ANNALS_E_VALIDATION,
			"an encoded event must have the stream's key in it");
	}
	const int status = check_key(batcher, record, err);
	return status != 0 ? status : add(batcher, record, encoded.size, &encoded, err);
}

int http_batcher_fill(struct http_batcher *batcher, struct op_append *append)
{
	for (size_t i = 0; i < batcher->part_count; i++) {
		struct http_batcher_part *part = &batcher->parts[i];
		const size_t size = part->body.size;
		int status = 0;
		if (batcher->part_count == 1) {
			buf_release(&append->body);
			append->body = part->body;
			part->body = BUF_INIT;
		} else {
			status = buf_add(&append->body, part->body.data, size);
			buf_release(&part->body);
		}
		status = status != 0 ? status
				     : op_append_add_part(append, part->partition, BATCH_PLAIN,
					       size, part->count, NULL);
		if (status != 0) {
			return status;
		}
	}
	return 0;
}

static void write_run(struct json_writer *writer, const struct append_run *run)
{
	json_begin_object(writer);
	json_member_u64(writer, "partition", run->partition);
	json_member_u64(writer, "offset", run->offset);
	json_member_u64(writer, "count", run->count);
	if (run->position > 0) {
		json_member_u64(writer, "position", run->position);
	}
	if (run->version != VERSION_NONE) {
		json_member_u64(writer, "version", run->version);
	}
	if (run->replayed) {
		json_member_bool(writer, "replayed", true);
	}
	json_end_object(writer);
}

/* Storage's runs lie part by part; the request's events took turns between parts. */
static void write_indexed_runs(const struct http_batcher *batcher,
	const struct append_request *request, struct json_writer *writer)
{
	size_t *next = calloc(batcher->part_count + 1, sizeof(*next));
	uint32_t *taken = calloc(batcher->part_count + 1, sizeof(*taken));
	if (next == NULL || taken == NULL) {
		writer->status = ANNALS_E_NO_MEMORY;
	}
	for (size_t i = request->run_count; i > 0 && writer->status == 0; i--) {
		if (request->runs[i - 1].part < batcher->part_count) {
			next[request->runs[i - 1].part] = i - 1;
		}
	}
	json_begin_array(writer);
	for (size_t i = 0; i < batcher->run_count && writer->status == 0; i++) {
		const uint32_t part = batcher->runs[i].part;
		uint32_t left = batcher->runs[i].count;
		while (left > 0 && next[part] < request->run_count &&
			request->runs[next[part]].part == part) {
			struct append_run run = request->runs[next[part]];
			const uint32_t skip = taken[part] - run.first_event;
			run.offset += skip;
			run.position += run.position > 0 ? skip : 0;
			run.version += run.version != VERSION_NONE ? skip : 0;
			run.count = ANNALS_MIN(run.count - skip, left);
			write_run(writer, &run);
			taken[part] += run.count;
			left -= run.count;
			if (taken[part] >= request->runs[next[part]].first_event +
						   request->runs[next[part]].count) {
				next[part]++;
			}
		}
		if (left > 0) {
			break; /* a receipt of a request that was cut into other parts */
		}
	}
	json_end_array(writer);
	free(next);
	free(taken);
}

void http_batcher_write_runs(const struct http_batcher *batcher, const struct op_append *append,
	struct json_writer *writer)
{
	if (append->request.runs != NULL) {
		write_indexed_runs(batcher, &append->request, writer);
		return;
	}
	/* How many events of each part the runs so far took. */
	uint64_t *taken = calloc(batcher->part_count > 0 ? batcher->part_count : 1, sizeof(*taken));
	if (taken == NULL) {
		writer->status = ANNALS_E_NO_MEMORY;
		return;
	}
	json_begin_array(writer);
	for (size_t i = 0; i < batcher->run_count; i++) {
		const struct http_batcher_run *run = &batcher->runs[i];
		const struct append_part *part = &append->request.parts[run->part];
		json_begin_object(writer);
		json_member_u64(writer, "partition", part->partition);
		json_member_u64(writer, "offset", part->base_offset + taken[run->part]);
		json_member_u64(writer, "count", run->count);
		json_member_u64(writer, "position", part->base_position + taken[run->part]);
		json_end_object(writer);
		taken[run->part] += run->count;
	}
	json_end_array(writer);
	free(taken);
}
