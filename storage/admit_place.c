/* Placing an admitted append in the draft: offsets, positions, versions, columns. */
#include "admission.h"
#include "receipts.h"
#include "rows.h"

#include <annals/crc32c.h>
#include <stdlib.h>

/* A body with the events that are not known yet; batches without known events are stored as they
 * came. */
struct placed_part {
	struct bytes body;
	uint32_t body_crc, plain_bytes, count;
	enum batch_codec codec;
};

static size_t columns_bytes_max(const struct admission *admission, uint32_t events)
{
	const struct topic_config *config = &admission->state->topic->config;
	size_t bytes = 0;

	if (admission->facts == NULL) {
		return 0;
	}
	bytes += config->streams ? column_size((size_t)events * COLUMN_STREAM_ENTRY_BYTES) : 0;
	bytes +=
		config->dedupe_age_us > 0 ? column_size((size_t)events * COLUMN_ID_ENTRY_BYTES) : 0;
	bytes += config->query_index ? column_size((size_t)admission->facts->query_count *
						   COLUMN_QUERY_ENTRY_BYTES)
				     : 0;
	return bytes;
}

uint64_t admission_bytes(const struct admission *admission)
{
	const struct append_request *request = admission->request;
	const bool stored = admission->stored_by != STORED_BY_NOTHING;
	uint64_t bytes = admit_rows_bytes(request->rows, request->row_count);
	uint64_t events = 0;

	for (size_t i = 0; i < request->part_count; i++) {
		const struct append_part *part = &request->parts[i];
		events += part->summary.count;
		if (stored) {
			continue;
		}
		/* A body that is stored without its known events is stored plain. */
		size_t body = admission->known_count > 0
				      ? ANNALS_MAX(part->body.size, part->summary.plain_bytes)
				      : part->body.size;
		bytes += admit_command_bytes(
			batch_stored_size(body, columns_bytes_max(admission, part->summary.count)));
		if (part->producer_id != 0) {
			bytes += admit_command_bytes(ROW_CHANGE_HEADER_BYTES + PRODUCER_KEY_BYTES +
						     PRODUCER_ROW_BYTES_MAX);
		}
	}
	if (request->receipt_key.size > 0) {
		bytes += admit_command_bytes(
			2 * (size_t)ROW_CHANGE_HEADER_BYTES + 2 * (size_t)ROW_KEY_BYTES_MAX +
			RECEIPT_TIME_KEY_BYTES + ANNALS_MIN(64 + events * 48, ROW_VALUE_BYTES_MAX));
	}
	return bytes;
}

static bool remember_touched(struct draft *draft, struct partition *partition)
{
	if (draft->touched_count > 0 && draft->touched[draft->touched_count - 1] == partition) {
		return true;
	}
	if (draft->touched_count == draft->touched_capacity) {
		size_t capacity = draft->touched_capacity == 0 ? 256 : draft->touched_capacity * 2;
		struct partition **larger =
			realloc(draft->touched, capacity * sizeof(struct partition *));
		if (larger == NULL) {
			return false;
		}
		draft->touched = larger;
		draft->touched_capacity = capacity;
	}
	draft->touched[draft->touched_count++] = partition;
	return true;
}

/* What will be stored of a part whose first event is number `first` of the request. */
static int choose_body(struct admission *admission, const struct append_part *part, uint32_t first,
	struct placed_part *ret)
{
	struct bytes plain = part->body, encoded;
	struct buf scratch = BUF_INIT;
	uint32_t known = 0;
	size_t cursor = 0;
	int status = 0;

	for (uint32_t i = 0; i < part->summary.count && admission->known_count > 0; i++) {
		known += admission->known[first + i].known ? 1 : 0;
	}
	*ret = (struct placed_part){part->body, part->body_crc, part->summary.plain_bytes,
		part->summary.count - known, part->codec};
	if (known == 0) {
		return 0;
	}
	buf_reset(&admission->body);
	if (part->codec != BATCH_PLAIN) {
		status = batch_decompress(part->body, part->codec, BATCH_BODY_BYTES_MAX, &scratch);
		plain = buf_bytes(&scratch);
	}
	for (uint32_t i = 0; status == 0 && i < part->summary.count; i++) {
		size_t start = cursor;
		if (batch_next_event(plain, &cursor, &encoded) != 1) {
			status = ANNALS_E_CORRUPT_BATCH;
		} else if (!admission->known[first + i].known) {
			status = buf_add(&admission->body, plain.data + start, cursor - start);
		}
	}
	buf_release(&scratch);
	ret->body = buf_bytes(&admission->body);
	ret->body_crc = crc32c(0, ret->body.data, ret->body.size);
	ret->plain_bytes = (uint32_t)ret->body.size;
	ret->codec = BATCH_PLAIN;
	return status;
}

static bool is_new(const struct admission *admission, uint32_t event)
{
	return admission->known_count == 0 || !admission->known[event].known;
}

static void write_hash(uint8_t *out, struct index_hash hash)
{
	store_u64(out, hash.high);
	store_u64(out + 8, hash.low);
}

/* One event's version, noted in the draft. */
static int assign_version(
	struct admission *admission, const struct event_facts *event, uint64_t *ret)
{
	struct index_entry entry = {
		.hash = {event->key.high ^ admission->state->id, event->key.low}};
	bool drafted;
	int status;

	*ret = VERSION_NONE;
	if (!event->has_key) {
		return 0;
	}
	status = admission_next_version(admission, event->key, ret, &drafted);
	entry.order = *ret;
	return status != 0 ? status : memtable_add(&admission->shard->draft.staged_streams, &entry);
}

/* The stream column of a part's new events; their results go to the request's runs. */
static int add_stream_column(struct admission *admission, const struct append_part *part,
	uint32_t part_index, uint32_t first)
{
	struct buf *columns = &admission->columns;
	struct index_hash last = {0};
	uint64_t last_version = 0;
	uint8_t *room, *entry = NULL;
	size_t start = columns->size, header;
	uint32_t entries = 0, placed = 0;
	int status = column_add(columns, COLUMN_STREAM,
		(size_t)part->summary.count * COLUMN_STREAM_ENTRY_BYTES, &room);

	header = start + column_size(0) - 8;
	for (uint32_t i = 0; status == 0 && i < part->summary.count; i++) {
		const struct event_facts *event = &admission->facts->events[first + i];
		struct append_run run = {.part = part_index,
			.first_event = i,
			.count = 1,
			.partition = part->partition,
			.offset = part->base_offset + placed,
			.position = part->base_position + placed};
		if (!is_new(admission, first + i)) {
			continue;
		}
		status = assign_version(admission, event, &run.version);
		if (status != 0) {
			break;
		}
		if (entry == NULL || event->key.high != last.high || event->key.low != last.low ||
			(run.version != VERSION_NONE && run.version != last_version + 1)) {
			entry = room + (size_t)entries++ * COLUMN_STREAM_ENTRY_BYTES;
			write_hash(entry, event->key);
			store_u64(entry + 16, run.version);
		}
		store_u32(entry + 24, load_u32(entry + 24) + 1);
		last = event->key;
		last_version = run.version;
		placed++;
		status = admission_add_run(admission->request, &run);
	}
	if (status == 0) {
		size_t bytes = (size_t)entries * COLUMN_STREAM_ENTRY_BYTES;
		columns->size = start + column_size(bytes);
		store_u32(columns->data + header + 4, (uint32_t)bytes);
	}
	return status;
}

static int add_id_column(
	struct admission *admission, const struct append_part *part, uint32_t first, uint32_t count)
{
	uint8_t *room;
	int status = column_add(
		&admission->columns, COLUMN_ID, (size_t)count * COLUMN_ID_ENTRY_BYTES, &room);

	for (uint32_t i = 0; status == 0 && i < part->summary.count; i++) {
		const struct event_facts *event = &admission->facts->events[first + i];
		if (!is_new(admission, first + i)) {
			continue;
		}
		if (event->has_id) {
			write_hash(room, event->id);
			status = staged_hash_add(&admission->shard->draft.staged_facts,
				admission_mix(admission->state, event->id));
		}
		room += COLUMN_ID_ENTRY_BYTES;
	}
	return status;
}

static int add_query_column(
	struct admission *admission, const struct append_part *part, uint32_t first)
{
	uint32_t entries = 0, placed = 0;
	uint8_t *room;
	int status;

	for (uint32_t i = 0; i < part->summary.count; i++) {
		entries += is_new(admission, first + i)
				   ? admission->facts->events[first + i].query_count
				   : 0;
	}
	status = entries == 0 ? 0
			      : column_add(&admission->columns, COLUMN_QUERY,
					(size_t)entries * COLUMN_QUERY_ENTRY_BYTES, &room);
	for (uint32_t i = 0; status == 0 && entries > 0 && i < part->summary.count; i++) {
		const struct event_facts *event = &admission->facts->events[first + i];
		if (!is_new(admission, first + i)) {
			continue;
		}
		for (uint32_t q = 0; status == 0 && q < event->query_count; q++) {
			struct index_hash hash = admission->facts->query[event->query_first + q];
			store_u32(room, placed);
			write_hash(room + 8, hash);
			room += COLUMN_QUERY_ENTRY_BYTES;
			status = staged_hash_add(&admission->shard->draft.staged_facts,
				admission_mix(admission->state, hash));
		}
		placed++;
	}
	return status;
}

static int add_columns(struct admission *admission, const struct append_part *part,
	uint32_t part_index, uint32_t first, uint32_t count)
{
	const struct topic_config *config = &admission->state->topic->config;
	int status = 0;

	buf_reset(&admission->columns);
	if (admission->facts == NULL) {
		return 0;
	}
	if (config->streams) {
		status = add_stream_column(admission, part, part_index, first);
	}
	if (status == 0 && config->dedupe_age_us > 0) {
		status = add_id_column(admission, part, first, count);
	}
	if (status == 0 && config->query_index) {
		status = add_query_column(admission, part, first);
	}
	return status;
}

/* Without streams: where a part's new events went. Known ones are told either way. */
static int add_runs(struct admission *admission, const struct append_part *part,
	uint32_t part_index, uint32_t first, bool with_new)
{
	uint32_t placed = 0;
	int status = 0;

	for (uint32_t i = 0; status == 0 && i < part->summary.count; i++) {
		struct append_run run = {.part = part_index,
			.first_event = i,
			.count = 1,
			.partition = part->partition,
			.offset = part->base_offset + placed,
			.position = part->base_position + placed,
			.version = VERSION_NONE};
		if (!is_new(admission, first + i)) {
			const struct known_event *known = &admission->known[first + i];
			run.partition = index_place_partition(known->place);
			run.offset = index_place_offset(known->place);
			run.position = known->position;
			run.version = known->version;
			run.replayed = true;
			status = admission_add_run(admission->request, &run);
		} else {
			placed++;
			status = with_new ? admission_add_run(admission->request, &run) : 0;
		}
	}
	return status;
}

static int place_part(struct admission *admission, uint32_t part_index, uint32_t first)
{
	struct draft *draft = &admission->shard->draft;
	struct append_part *part = &admission->request->parts[part_index];
	struct partition *partition = admission->state->partitions[part->partition];
	struct placed_part placed;
	struct stamp stamp;
	struct bytes columns;
	uint8_t *room;
	int status = choose_body(admission, part, first, &placed);

	if (status != 0) {
		return status;
	}
	part->base_offset = partition->next_offset;
	part->base_position = draft->next_position;
	part->first_version = VERSION_NONE;
	part->replayed = placed.count == 0;
	if (placed.count > 0) {
		status = add_columns(admission, part, part_index, first, placed.count);
	}
	if (status == 0 && admission->facts != NULL) {
		bool streams = admission->state->topic->config.streams;
		if (!streams || admission->known_count > 0) {
			status = add_runs(admission, part, part_index, first, !streams);
		}
	}
	if (status != 0 || placed.count == 0) {
		return status;
	}
	stamp = (struct stamp){
		.codec = (uint8_t)placed.codec,
		.body_format = BATCH_FORMAT_EVENTS,
		.kind = BATCH_DATA,
		.body_bytes = (uint32_t)placed.body.size,
		.body_crc = placed.body_crc,
		.plain_bytes = placed.plain_bytes,
		.count = placed.count,
		.topic_id = admission->state->id,
		.partition = part->partition,
		.base_offset = part->base_offset,
		.base_position = part->base_position,
		.recorded_us = draft->time_us,
		.first_time_ns = part->summary.first_time_ns,
		.last_time_ns = part->summary.last_time_ns,
		.producer_id = part->producer_id,
		.producer_epoch = part->producer_epoch,
		.first_sequence = part->first_sequence,
	};
	columns = buf_bytes(&admission->columns);
	status = block_add(&draft->bytes, BLOCK_APPEND,
		batch_stored_size(placed.body.size, columns.size), &room);
	if (status != 0) {
		return status;
	}
	batch_write(room, &stamp, columns, placed.body);
	if (columns.size > 0) {
		struct batch batch;
		if (batch_view(bytes_of(room, batch_stored_size(placed.body.size, columns.size)),
			    &batch) == 0) {
			part->first_version = batch_version(&batch, 0);
		}
	}
	draft->command_count++;
	partition->next_offset += stamp.count;
	draft->next_position += stamp.count;
	draft->events += stamp.count;
	admission->shard->counters.appended_bytes += placed.body.size;
	return part->producer_id != 0 ? admission_note_producer(admission, part) : 0;
}

/* What the answer said, for a repeat of the request. */
static int place_receipt(struct admission *admission)
{
	struct append_request *request = admission->request;
	struct draft *draft = &admission->shard->draft;
	uint8_t key[ROW_KEY_BYTES_MAX], time_key[RECEIPT_TIME_KEY_BYTES], *value;
	struct row_change changes[2];
	size_t key_size, value_size;
	int status = 0;

	for (uint32_t i = 0; status == 0 && i < request->part_count && admission->facts == NULL;
		i++) {
		const struct append_part *part = &request->parts[i];
		struct append_run run = {.part = i,
			.count = part->summary.count,
			.partition = part->partition,
			.offset = part->base_offset,
			.position = part->base_position,
			.version = VERSION_NONE};
		status = admission_add_run(request, &run);
	}
	value_size = receipt_row_size(request);
	if (status != 0 || value_size > ROW_VALUE_BYTES_MAX) {
		return status != 0 ? status : ANNALS_E_TOO_LARGE;
	}
	key_size = receipt_row_key(key, request);
	value = malloc(value_size);
	if (value == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	receipt_row_write(value, request, draft->time_us);
	receipt_time_key(time_key, admission->shard->uuid, draft->time_us, bytes_of(key, key_size));
	changes[0] = (struct row_change){
		.key = bytes_of(key, key_size), .value = bytes_of(value, value_size)};
	changes[1] = (struct row_change){
		.key = bytes_of(time_key, sizeof(time_key)), .value = bytes_of(key, key_size)};
	status = admit_rows_place(admission->shard, changes, ANNALS_COUNT_OF(changes));
	free(value);
	return status;
}

static int compare_runs(const void *a, const void *b)
{
	const struct append_run *left = a, *right = b;

	if (left->part != right->part) {
		return left->part < right->part ? -1 : 1;
	}
	return (left->first_event > right->first_event) - (left->first_event < right->first_event);
}

/* Notes what the parts' partitions would lose again. */
static bool remember_parts(struct admission *admission)
{
	struct append_request *request = admission->request;

	if (admission->stored_by != STORED_BY_NOTHING) {
		return true;
	}
	for (size_t i = 0; i < request->part_count; i++) {
		struct partition *partition =
			admission->state->partitions[request->parts[i].partition];
		if (!remember_touched(&admission->shard->draft, partition)) {
			return false;
		}
		request->parts[i].base_offset = partition->next_offset;
	}
	return true;
}

static int place_request(struct admission *admission)
{
	struct append_request *request = admission->request;
	uint32_t first = 0;
	int status = 0;

	if (admission->stored_by == STORED_BY_NOTHING) {
		append_request_release(request);
	}
	for (uint32_t i = 0;
		status == 0 && i < request->part_count && admission->stored_by == STORED_BY_NOTHING;
		i++) {
		status = place_part(admission, i, first);
		first += request->parts[i].summary.count;
	}
	if (status == 0) {
		status = admit_rows_place(admission->shard, request->rows, request->row_count);
	}
	return status == 0 && request->receipt_key.size > 0 ? place_receipt(admission) : status;
}

static void take_back(struct admission *admission)
{
	struct append_request *request = admission->request;
	const bool stored = admission->stored_by != STORED_BY_NOTHING;

	for (size_t i = 0; i < request->part_count && !stored; i++) {
		struct partition *partition =
			admission->state->partitions[request->parts[i].partition];
		partition->next_offset =
			ANNALS_MIN(partition->next_offset, request->parts[i].base_offset);
	}
	append_request_release(request);
}

int admission_place(struct admission *const *admissions, size_t count)
{
	struct shard *shard = admissions[0]->shard;
	struct draft *draft = &shard->draft;
	const struct draft before = *draft;
	int status = 0;

	for (size_t i = 0; i < count; i++) {
		if (!remember_parts(admissions[i])) {
			return ANNALS_E_NO_MEMORY;
		}
	}
	for (size_t i = 0; i < count && status == 0; i++) {
		status = place_request(admissions[i]);
	}
	if (status != 0) {
		/* Versions that were noted for nothing would leave holes: what was drafted before
		 * is committed, which empties the notes. */
		draft->bytes.size = before.bytes.size;
		draft->command_count = before.command_count;
		draft->next_position = before.next_position;
		draft->events = before.events;
		for (size_t i = 0; i < count; i++) {
			take_back(admissions[i]);
		}
		writer_discard_notes(shard);
		return status;
	}
	for (size_t i = 0; i < count; i++) {
		struct append_request *request = admissions[i]->request;
		if (admissions[i]->known_count > 0) {
			qsort(request->runs, request->run_count, sizeof(*request->runs),
				compare_runs);
		}
	}
	return 0;
}
