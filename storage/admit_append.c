/*
 * Admission of appends, in the order that the semantics demand: Idempotency-Key, producer sequence,
 * event ids, conditions, validation; so a repeat of what was stored gets its first answer and not a
 * conflict.
 */
#include "admission.h"
#include "completion.h"
#include "rows.h"

#include <annals/hash.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum admission_step admission_refuse(
	struct admission *admission, int status, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (status == ANNALS_E_PRECONDITION_FAILED) {
		admission->shard->counters.conflicts++;
	}
	admit_refuse(&admission->request->base, status, text);
	return ADMISSION_ANSWERED;
}

enum admission_step admission_commit_first(struct admission *admission)
{
	index_view_release(&admission->view); /* no snapshot is kept across a sync */
	writer_commit(admission->shard);
	return ADMISSION_AGAIN;
}

uint64_t admission_mix(const struct topic_state *state, struct index_hash hash)
{
	return (hash.low ^ (uint64_t)state->id * 0x9e3779b97f4a7c15u) | 1;
}

int admission_add_run(struct append_request *request, const struct append_run *run)
{
	struct append_run *last =
		request->run_count > 0 ? &request->runs[request->run_count - 1] : NULL;

	if (last != NULL && last->part == run->part && last->partition == run->partition &&
		last->replayed == run->replayed &&
		last->first_event + last->count == run->first_event &&
		last->offset + last->count == run->offset &&
		last->position + last->count == run->position &&
		(last->version == VERSION_NONE ? run->version == VERSION_NONE
					       : last->version + last->count == run->version)) {
		last->count += run->count;
		return 0;
	}
	/* Doubles at the powers of two. */
	if ((request->run_count & (request->run_count - 1)) == 0) {
		size_t capacity = request->run_count == 0 ? 1 : request->run_count * 2;
		struct append_run *larger = realloc(request->runs, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		request->runs = larger;
	}
	request->runs[request->run_count++] = *run;
	return 0;
}

void append_request_release(struct append_request *request)
{
	free(request->runs);
	request->runs = NULL;
	request->run_count = 0;
}

/* What would make a block that cannot be read again must not get into one. */
static bool check_part(
	struct store_request *base, const struct topic_state *state, const struct append_part *part)
{
	if (part->partition >= state->partition_count) {
		admit_refusef(base, ANNALS_E_UNKNOWN_PARTITION,
			"topic '%s' has no partition %u, only 0 to %u", state->topic->name,
			part->partition, state->partition_count - 1);
		return false;
	}
	if (part->body.size == 0 || part->body.size > BATCH_BODY_BYTES_MAX ||
		part->summary.count == 0 || part->summary.plain_bytes > BATCH_BODY_BYTES_MAX ||
		(unsigned)part->codec >= BATCH_CODECS) {
		admit_refusef(base, ANNALS_E_INVALID,
			"a batch of %u events in %zu bytes with codec %d was not checked",
			part->summary.count, part->body.size, (int)part->codec);
		return false;
	}
	return true;
}

static bool check_parts(struct admission *admission)
{
	struct append_request *request = admission->request;
	struct shard *shard = admission->shard;
	uint64_t body_bytes = 0;

	for (size_t i = 0; i < request->part_count; i++) {
		if (!check_part(&request->base, admission->state, &request->parts[i])) {
			return false;
		}
		body_bytes += request->parts[i].body.size;
	}
	if (request->part_count == 0) {
		admit_refusef(
			&request->base, ANNALS_E_INVALID, "an append needs at least one batch");
		return false;
	}
	if (body_bytes > shard->options.block_bytes_max) {
		admit_refusef(&request->base, ANNALS_E_TOO_LARGE,
			"an append has %llu bytes: the limit is %llu",
			(unsigned long long)body_bytes,
			(unsigned long long)shard->options.block_bytes_max);
		return false;
	}
	if (shard->disk_is_low || (shard->tail_is_stuck && shard->settling_is_blocked)) {
		admit_refusef(&request->base, ANNALS_E_STORAGE_FULL,
			"the disk is full: nothing was stored; free some space");
		return false;
	}
	return true;
}

static enum admission_step check_rows(struct admission *admission)
{
	struct append_request *request = admission->request;
	int status;

	if (request->row_count == 0) {
		return ADMISSION_GO_ON;
	}
	index_view_release(&admission->view);
	status = admit_rows_check(admission->shard, &request->base, request->rows,
		request->row_count, &request->conflict_row);
	return status == 0 ? ADMISSION_GO_ON
			   : admission_refuse(admission, status, "%s", request->base.error.text);
}

/* Last, so that a repeat of what was stored gets its first answer whatever the rules are now. */
static enum admission_step check_refusal(struct admission *admission)
{
	const struct append_request *request = admission->request;

	return request->refusal == 0
		       ? ADMISSION_GO_ON
		       : admission_refuse(admission, request->refusal, "%s", request->refusal_text);
}

enum admission_step admission_check(struct admission *admission)
{
	static enum admission_step (*const checks[])(struct admission * admission) = {
		admission_check_receipt,
		admission_check_producers,
		admission_check_ids,
		admission_check_conditions,
		check_rows,
		check_refusal,
	};
	enum admission_step step = check_parts(admission) ? ADMISSION_GO_ON : ADMISSION_ANSWERED;

	for (size_t i = 0; i < ANNALS_COUNT_OF(checks) && step == ADMISSION_GO_ON; i++) {
		step = checks[i](admission);
	}
	return step;
}

void admission_forget(struct admission *admission)
{
	index_view_release(&admission->view);
	free(admission->known);
	admission->known = NULL;
	admission->known_count = 0;
	admission->stored_by = STORED_BY_NOTHING;
}

/* The checks hold for the draft as it is; making room may commit it, and that may fail: then they
 * are made again. */
static bool check_and_open(struct admission *admission)
{
	struct draft *draft = &admission->shard->draft;

	for (;;) {
		uint64_t generation = draft->generation;
		enum admission_step step = admission_check(admission);
		if (step == ADMISSION_ANSWERED) {
			return false;
		}
		index_view_release(&admission->view);
		if (step == ADMISSION_GO_ON) {
			if (!admit_open_draft(admission->shard, &admission->request->base,
				    admission_bytes(admission))) {
				return false;
			}
			if (draft->generation == generation) {
				return true;
			}
		}
		admission_forget(admission);
	}
}

static void admit(struct admission *admission)
{
	struct append_request *request = admission->request;
	struct draft *draft = &admission->shard->draft;
	int status;

	if (!check_and_open(admission)) {
		return;
	}
	status = admission_place(&admission, 1);
	if (status != 0) {
		(void)admission_refuse(admission, status, "no memory to admit an append");
		return;
	}
	if (request->durability == DURABILITY_DEFAULT) {
		request->durability = admission->state->topic->config.durability;
	}
	if (request->durability != DURABILITY_OS) {
		request->durability = DURABILITY_FSYNC;
	}
	draft->any_os |= request->durability == DURABILITY_OS;
	request->recorded_us = draft->time_us;
	request->base.status = 0;
	admission->shard->counters.append_requests++;
	list_add_tail(&draft->requests, &request->base.node);
}

/* Without memory for it lookups are slower. */
static struct run_cache *lookup_cache(struct shard *shard)
{
	if (shard->index.cache == NULL) {
		shard->index.cache = run_cache_new();
	}
	return shard->index.cache;
}

bool admission_begin(
	struct admission *admission, struct shard *shard, struct append_request *request)
{
	*admission = (struct admission){
		.shard = shard, .request = request, .columns = BUF_INIT, .body = BUF_INIT};
	/* Once it is answered the request is its owner's. */
	admission->facts = request->facts;
	request->facts = NULL;
	admission->state = catalog_peek_id(&shard->catalog, request->topic_id);
	if (admission->state == NULL) {
		admit_refusef(&request->base, ANNALS_E_UNKNOWN_TOPIC,
			"there is no topic with id %u", request->topic_id);
		return false;
	}
	index_view_init(&admission->view, shard, admission->state);
	admission->view.cache = lookup_cache(shard);
	return true;
}

void admission_end(struct admission *admission)
{
	if (admission->state != NULL) {
		admission_forget(admission);
	}
	facts_free(admission->facts);
	buf_release(&admission->columns);
	buf_release(&admission->body);
}

void admit_append(struct shard *shard, struct append_request *request)
{
	struct admission admission;

	if (request->next != NULL) {
		admit_chain(shard, request);
		return;
	}
	if (admission_begin(&admission, shard, request)) {
		admit(&admission);
	}
	admission_end(&admission);
}
