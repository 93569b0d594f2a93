/* What was stored before: receipts of whole requests, producers' sequences, event ids. */
#include "admission.h"
#include "completion.h"
#include "receipts.h"
#include "rows.h"

#include <annals/fault.h>
#include <annals/hash.h>
#include <stdlib.h>

static enum admission_step answer_replay(struct admission *admission, enum stored_by stored_by)
{
	struct append_request *request = admission->request;

	admission->stored_by = stored_by;
	for (size_t i = 0; i < request->run_count; i++) {
		const struct append_run *run = &request->runs[i];
		struct append_part *part = &request->parts[run->part];
		if (run->first_event == 0) {
			part->base_offset = run->offset;
			part->base_position = run->position;
			part->first_version = run->version;
			part->replayed = true;
		}
	}
	request->replayed = true;
	admission->shard->counters.replayed_appends++;
	request->durability = DURABILITY_FSYNC;
	request->base.status = 0;
	completion_push(&request->base);
	return ADMISSION_ANSWERED;
}

/* ---- Receipts: a request that was answered before ---- */

static enum admission_step use_receipt(struct admission *admission, struct bytes row)
{
	struct append_request *request = admission->request;
	int status;

	if (row.size < RECEIPT_HEADER_BYTES) {
		return admission_refuse(
			admission, ANNALS_E_CORRUPT_DATA, "a stored receipt cannot be read");
	}
	if (memcmp(row.data + 8, request->receipt_hash, 16) != 0) {
		return admission_refuse(admission, ANNALS_E_IDEMPOTENCY,
			"the Idempotency-Key was used for another request");
	}
	status = receipt_row_read(request, row);
	if (status != 0) {
		return admission_refuse(admission, status, "a stored receipt cannot be read");
	}
	request->recorded_us = load_u64(row.data);
	return answer_replay(admission, STORED_BY_RECEIPT);
}

enum admission_step admission_check_receipt(struct admission *admission)
{
	struct append_request *request = admission->request;
	uint8_t bytes[ROW_KEY_BYTES_MAX];
	struct buf row = BUF_INIT;
	enum admission_step step = ADMISSION_GO_ON;
	struct bytes whole;
	int found;

	if (request->receipt_key.size == 0) {
		return ADMISSION_GO_ON;
	}
	if (request->receipt_key.size > RECEIPT_KEY_BYTES_MAX) {
		return admission_refuse(admission, ANNALS_E_TOO_LARGE,
			"an Idempotency-Key with its scope has %zu bytes: the limit is %u",
			request->receipt_key.size, RECEIPT_KEY_BYTES_MAX);
	}
	whole = bytes_of(bytes, receipt_row_key(bytes, request));
	if (staged_keys_have(&admission->shard->draft.staged_rows, whole)) {
		return admission_commit_first(admission);
	}
	found = row_get(admission->shard, whole, &row, &request->base.error);
	if (found < 0) {
		step = admission_refuse(admission, found, "%s", request->base.error.text);
	} else if (found == 1 &&
		   load_u64(row.data) + RECEIPT_AGE_US > admission->shard->last_recorded_us) {
		step = use_receipt(admission, buf_bytes(&row));
	}
	buf_release(&row);
	return step;
}

/* ---- Producers ---- */

void producer_key(uint8_t out[PRODUCER_KEY_BYTES], uint64_t producer_id, uint32_t topic_id,
	uint32_t partition)
{
	out[0] = ROW_PRODUCER;
	out[1] = 's';
	store_u32_be(out + 2, topic_id);
	store_u32_be(out + 6, partition);
	store_u64_be(out + 10, producer_id);
}

/* Row: epoch u16, zero u16, count u32, then per batch first sequence u32, count u32, base offset
 * u64, base position u64, first version u64. */
size_t producer_row_write(uint8_t out[PRODUCER_ROW_BYTES_MAX], const struct producer_state *state)
{
	size_t at = 8;

	memset(out, 0, 8);
	store_u16(out, state->epoch);
	store_u32(out + 4, state->count);
	for (uint32_t i = 0; i < state->count; i++, at += 32) {
		store_u32(out + at, state->last[i].first_sequence);
		store_u32(out + at + 4, state->last[i].count);
		store_u64(out + at + 8, state->last[i].base_offset);
		store_u64(out + at + 16, state->last[i].base_position);
		store_u64(out + at + 24, state->last[i].first_version);
	}
	return at;
}

int producer_row_parse(struct bytes value, struct producer_state *ret)
{
	if (value.size < 8) {
		return ANNALS_E_CORRUPT_DATA;
	}
	ret->epoch = load_u16(value.data);
	ret->count = load_u32(value.data + 4);
	if (ret->count > ANNALS_COUNT_OF(ret->last) || value.size != 8 + (size_t)ret->count * 32) {
		return ANNALS_E_CORRUPT_DATA;
	}
	for (uint32_t i = 0; i < ret->count; i++) {
		const uint8_t *in = value.data + 8 + (size_t)i * 32;
		ret->last[i] = (struct producer_batch){load_u32(in), load_u32(in + 4),
			load_u64(in + 8), load_u64(in + 16), load_u64(in + 24)};
	}
	return 0;
}

/* The state that the next batch is judged by. *ret_drafted: the draft changed it. */
static int load_producer(struct admission *admission, const struct append_part *part,
	struct producer_state *ret, bool *ret_drafted)
{
	uint8_t key[PRODUCER_KEY_BYTES];
	struct buf row = BUF_INIT;
	const struct bytes *drafted;
	int found;

	producer_key(key, part->producer_id, admission->request->topic_id, part->partition);
	drafted = staged_values_get(
		&admission->shard->draft.staged_producers, bytes_of(key, sizeof(key)));
	*ret_drafted = drafted != NULL;
	*ret = (struct producer_state){.epoch = part->producer_epoch};
	if (drafted != NULL) {
		return producer_row_parse(*drafted, ret);
	}
	found = row_get(admission->shard, bytes_of(key, sizeof(key)), &row,
		&admission->request->base.error);
	if (found == 1) {
		found = producer_row_parse(buf_bytes(&row), ret);
	}
	buf_release(&row);
	return found < 0 ? found : 0;
}

int admission_note_producer(struct admission *admission, const struct append_part *part)
{
	struct producer_state state;
	uint8_t key[PRODUCER_KEY_BYTES], row[PRODUCER_ROW_BYTES_MAX];
	struct draft *draft = &admission->shard->draft;
	struct bytes whole_key, whole_row;
	uint8_t *room;
	bool drafted;
	int status = load_producer(admission, part, &state, &drafted);

	if (status != 0) {
		return status;
	}
	if (state.epoch != part->producer_epoch) {
		state = (struct producer_state){.epoch = part->producer_epoch};
	}
	if (state.count == ANNALS_COUNT_OF(state.last)) {
		memmove(state.last, state.last + 1, sizeof(state.last) - sizeof(state.last[0]));
		state.count--;
	}
	state.last[state.count++] = (struct producer_batch){part->first_sequence,
		part->summary.count, part->base_offset, part->base_position, part->first_version};
	producer_key(key, part->producer_id, admission->request->topic_id, part->partition);
	whole_key = bytes_of(key, sizeof(key));
	whole_row = bytes_of(row, producer_row_write(row, &state));
	status = staged_values_put(&draft->staged_producers, whole_key, whole_row);
	status = status != 0 ? status : staged_keys_add(&draft->staged_rows, whole_key);
	status = status != 0 ? status
			     : block_add(&draft->bytes, BLOCK_ROWS,
				       row_change_size(whole_key, whole_row), &room);
	if (status == 0) {
		(void)row_change_write(room, whole_key, whole_row);
		draft->command_count++;
	}
	return status;
}

/* 0: it is new; 1: it was stored, *ret says where; negative: it is refused. */
static int judge_batch(const struct admission *admission, const struct append_part *part,
	const struct producer_state *state, struct producer_batch *ret)
{
	struct error *err = &admission->request->base.error;
	uint32_t next = 0;

	if (part->producer_epoch < state->epoch) {
		return error_fail(err, ANNALS_E_FENCED,
			"producer %llu has epoch %u: a newer one with epoch %u took over",
			(unsigned long long)part->producer_id, part->producer_epoch, state->epoch);
	}
	if (part->producer_epoch == state->epoch) {
		for (uint32_t i = 0; i < state->count; i++) {
			if (state->last[i].first_sequence == part->first_sequence &&
				state->last[i].count == part->summary.count) {
				*ret = state->last[i];
				return 1;
			}
			next = state->last[i].first_sequence + state->last[i].count;
		}
	}
	if (part->first_sequence != next) {
		return error_fail(err, ANNALS_E_SEQUENCE,
			"producer %llu sent sequence %u to partition %u: %u comes next",
			(unsigned long long)part->producer_id, part->first_sequence,
			part->partition, next);
	}
	return 0;
}

/* The epoch that the producer's name stands for fences it in every partition at once. */
static int check_epoch(struct admission *admission, const struct append_part *part)
{
	uint8_t key[10] = {ROW_PRODUCER, 'e'};
	struct buf row = BUF_INIT;
	struct error *err = &admission->request->base.error;
	int found;

	store_u64_be(key + 2, part->producer_id);
	found = row_get(admission->shard, bytes_of(key, sizeof(key)), &row, err);
	if (found == 0) {
		found = error_fail(err, ANNALS_E_FENCED, "producer id %llu was never given out",
			(unsigned long long)part->producer_id);
	} else if (found == 1 && (row.size < 2 || load_u16(row.data) != part->producer_epoch)) {
		found = error_fail(err, ANNALS_E_FENCED,
			"producer %llu has epoch %u: the current one is %u",
			(unsigned long long)part->producer_id, part->producer_epoch,
			row.size < 2 ? 0 : load_u16(row.data));
	}
	buf_release(&row);
	return found < 0 ? found : 0;
}

enum admission_step admission_check_producers(struct admission *admission)
{
	struct append_request *request = admission->request;
	size_t repeated = 0, with_producer = 0;
	bool any_drafted = false;

	append_request_release(request);
	for (size_t i = 0; i < request->part_count; i++) {
		struct append_part *part = &request->parts[i];
		struct producer_state state;
		struct producer_batch stored = {0};
		bool drafted;
		int status;
		if (part->producer_id == 0) {
			continue;
		}
		with_producer++;
		status = check_epoch(admission, part);
		status = status != 0 ? status : load_producer(admission, part, &state, &drafted);
		status = status != 0 ? status : judge_batch(admission, part, &state, &stored);
		if (status < 0) {
			return admission_refuse(admission, status, "%s", request->base.error.text);
		}
		any_drafted |= drafted;
		if (status == 1) {
			struct append_run run = {.part = (uint32_t)i,
				.count = stored.count,
				.partition = part->partition,
				.offset = stored.base_offset,
				.position = stored.base_position,
				.version = stored.first_version,
				.replayed = true};
			repeated++;
			if (admission_add_run(request, &run) != 0) {
				return admission_refuse(admission, ANNALS_E_NO_MEMORY,
					"no memory to answer a repeat");
			}
		}
	}
	if (repeated == 0) {
		return ADMISSION_GO_ON;
	}
	if (repeated < request->part_count || repeated < with_producer) {
		append_request_release(request);
		return admission_refuse(admission, ANNALS_E_SEQUENCE,
			"%zu of %zu batches were stored before", repeated, request->part_count);
	}
	if (any_drafted) {
		append_request_release(request);
		return admission_commit_first(admission);
	}
	return answer_replay(admission, STORED_BY_SEQUENCE);
}

/* ---- Event ids ---- */

/* The part that holds event `index` of the request. */
static uint32_t part_of(const struct append_request *request, uint32_t *index)
{
	uint32_t part = 0;

	while (*index >= request->parts[part].summary.count) {
		*index -= request->parts[part].summary.count;
		part++;
	}
	return part;
}

/* Event `index` of a part's body, or of a stored batch's, in scratch or borrowed. */
static int find_event(struct bytes body, uint32_t index, struct record *ret)
{
	struct bytes encoded;
	size_t cursor = 0;

	for (uint32_t i = 0;; i++) {
		if (batch_next_event(body, &cursor, &encoded) != 1) {
			return ANNALS_E_CORRUPT_DATA;
		}
		if (i == index) {
			return record_decode_trusted(encoded, ret);
		}
	}
}

/*
 * Compares what is stored at an id's place with the event that came. 1 the same, 0 another content,
 * 2 another id (a hash met twice), 3 gone by retention; negative. *ret_position is set when read.
 */
static int compare_stored(struct admission *admission, const struct index_entry *entry,
	uint32_t index, uint64_t *ret_position)
{
	struct append_request *request = admission->request;
	struct read_request read = {.topic_id = request->topic_id,
		.partition = index_place_partition(entry->place),
		.offset = index_place_offset(entry->place),
		.one_batch = true};
	struct buf stored_scratch = BUF_INIT, own_scratch = BUF_INIT;
	struct append_part *part = &request->parts[part_of(request, &index)];
	struct bytes stored_body, own_body = part->body;
	struct record stored, own;
	struct batch batch;
	int status;

	(void)log_read(admission->shard, &read, true);
	status = read.base.status;
	if (status == ANNALS_E_OFFSET_GONE || (status == 0 && read.batches.size == 0)) {
		buf_release(&read.batches);
		return 3;
	}
	status = status != 0 ? status : batch_view(buf_bytes(&read.batches), &batch);
	status = status != 0 ? status : batch_plain_body(&batch, &stored_scratch, &stored_body);
	if (status == 0) {
		*ret_position = batch.stamp.base_position + (read.offset - batch.stamp.base_offset);
		status = find_event(
			stored_body, (uint32_t)(read.offset - batch.stamp.base_offset), &stored);
	}
	if (status == 0 && part->codec != BATCH_PLAIN) {
		status = batch_decompress(
			part->body, part->codec, BATCH_BODY_BYTES_MAX, &own_scratch);
		own_body = buf_bytes(&own_scratch);
	}
	status = status != 0 ? status : find_event(own_body, index, &own);
	if (status == 0 &&
		(!bytes_equal(own.id, stored.id) || !bytes_equal(own.source, stored.source))) {
		status = 2;
	} else if (status == 0) {
		status = facts_same_event(&own, &stored) ? 1 : 0;
	} else {
		(void)error_fail(&request->base.error, status,
			"the event at partition %u offset %llu cannot be read to compare",
			read.partition, (unsigned long long)read.offset);
	}
	buf_release(&read.batches);
	buf_release(&stored_scratch);
	buf_release(&own_scratch);
	return status;
}

static enum admission_step note_known(
	struct admission *admission, uint32_t index, const struct index_entry *entry)
{
	struct append_request *request = admission->request;
	uint64_t position = 0;
	int same;

	index_view_release(&admission->view); /* reading takes a snapshot of its own */
	same = compare_stored(admission, entry, index, &position);
	if (same < 0) {
		return admission_refuse(admission, same, "%s", request->base.error.text);
	}
	if (same == 2) {
		return ADMISSION_GO_ON;
	}
	if (same == 0) {
		request->conflict_event = index;
		request->conflict_part = part_of(request, &request->conflict_event);
		return admission_refuse(admission, ANNALS_E_DUPLICATE_ID,
			"event %u has the source and id of the event at partition %u offset %llu, "
			"but other content",
			index, index_place_partition(entry->place),
			(unsigned long long)index_place_offset(entry->place));
	}
	if (admission->known == NULL) {
		admission->known = calloc(admission->facts->event_count, sizeof(*admission->known));
		if (admission->known == NULL) {
			return admission_refuse(
				admission, ANNALS_E_NO_MEMORY, "no memory to compare ids");
		}
	}
	admission->known[index] = (struct known_event){true, entry->place, entry->extra, position};
	admission->known_count++;
	request->recorded_us = ANNALS_MAX(request->recorded_us, entry->order);
	return ADMISSION_GO_ON;
}

/* Two events of one request with one id: the second could get no answer of its own. */
static bool repeats_itself(struct admission *admission, struct staged_keys *seen, uint32_t *ret)
{
	const struct append_facts *facts = admission->facts;

	for (uint32_t i = 0; i < facts->event_count && facts->event_count > 1; i++) {
		uint64_t hash = facts->events[i].id.low | 1;
		if (!facts->events[i].has_id) {
			continue;
		}
		if (staged_hash_have(seen, hash)) {
			*ret = i;
			return true;
		}
		if (staged_hash_add(seen, hash) != 0) {
			return false; /* the index would still hold both: only the answer is less
					 exact */
		}
	}
	return false;
}

static enum admission_step check_id(struct admission *admission, uint32_t index)
{
	const struct event_facts *event = &admission->facts->events[index];
	const struct topic_config *config = &admission->state->topic->config;
	struct index_entry entry;
	int found;

	if (!event->has_id || ANNALS_MUTATION("forget_ids")) {
		return ADMISSION_GO_ON;
	}
	if (staged_hash_have(&admission->shard->draft.staged_facts,
		    admission_mix(admission->state, event->id))) {
		return admission_commit_first(admission);
	}
	found = index_newest(
		&admission->view, INDEX_ID, event->id, &entry, &admission->request->base.error);
	if (found < 0) {
		return admission_refuse(
			admission, found, "%s", admission->request->base.error.text);
	}
	/* Expired by recorded time, or the index keeps it longer than it must. */
	if (found == 0 ||
		entry.order + config->dedupe_age_us < admission->shard->last_recorded_us) {
		return ADMISSION_GO_ON;
	}
	return note_known(admission, index, &entry);
}

enum admission_step admission_answer_known(struct admission *admission)
{
	struct append_request *request = admission->request;
	uint32_t index = 0;

	append_request_release(request);
	for (uint32_t part = 0; part < request->part_count; part++) {
		for (uint32_t i = 0; i < request->parts[part].summary.count; i++, index++) {
			const struct known_event *known = &admission->known[index];
			struct append_run run = {.part = part,
				.first_event = i,
				.count = 1,
				.partition = index_place_partition(known->place),
				.offset = index_place_offset(known->place),
				.position = known->position,
				.version = known->version,
				.replayed = true};
			if (admission_add_run(request, &run) != 0) {
				return admission_refuse(admission, ANNALS_E_NO_MEMORY,
					"no memory to answer a repeat");
			}
		}
	}
	return answer_replay(admission, STORED_BY_IDS);
}

enum admission_step admission_check_ids(struct admission *admission)
{
	struct append_request *request = admission->request;
	enum admission_step step = ADMISSION_GO_ON;
	struct staged_keys seen = {0};
	uint32_t repeat = 0;
	bool repeats;

	if (admission->facts == NULL || admission->state->topic->config.dedupe_age_us == 0) {
		return ADMISSION_GO_ON;
	}
	repeats = repeats_itself(admission, &seen, &repeat);
	staged_keys_release(&seen);
	if (repeats) {
		request->conflict_event = repeat;
		request->conflict_part = part_of(request, &request->conflict_event);
		return admission_refuse(admission, ANNALS_E_DUPLICATE_ID,
			"event %u of the request repeats the source and id of an earlier one",
			repeat);
	}
	for (uint32_t i = 0; i < admission->facts->event_count && step == ADMISSION_GO_ON; i++) {
		step = check_id(admission, i);
	}
	if (step != ADMISSION_GO_ON || admission->known_count == 0) {
		return step;
	}
	if (admission->known_count == admission->facts->event_count) {
		return admission_answer_known(admission);
	}
	if (request->stream_condition_count > 0 || request->query != NULL) {
		while (!admission->known[repeat].known) {
			repeat++;
		}
		request->conflict_event = repeat;
		request->conflict_part = part_of(request, &request->conflict_event);
		return admission_refuse(admission, ANNALS_E_PARTIAL_DUPLICATE,
			"%u of %u events are stored already, the first of them is event %u",
			admission->known_count, admission->facts->event_count, repeat);
	}
	return ADMISSION_GO_ON;
}
