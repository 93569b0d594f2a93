#include "receipts.h"

#include "admission.h"
#include "completion.h"
#include "index/entry.h"
#include "rows.h"

#include <annals/clock.h>
#include <stdlib.h>

#define EXPIRE_INTERVAL_NS UINT64_C(10000000000)
#define EXPIRE_ROWS 500u

size_t receipt_row_key(uint8_t out[ROW_KEY_BYTES_MAX], const struct append_request *request)
{
	out[0] = ROW_RECEIPT;
	store_u32_be(out + 1, request->topic_id);
	memcpy(out + 5, request->receipt_key.data, request->receipt_key.size);
	return 5 + request->receipt_key.size;
}

size_t receipt_row_size(const struct append_request *request)
{
	return RECEIPT_HEADER_BYTES + request->run_count * RECEIPT_RUN_BYTES;
}

void receipt_row_write(uint8_t *out, const struct append_request *request, uint64_t recorded_us)
{
	store_u64(out, recorded_us);
	memcpy(out + 8, request->receipt_hash, 16);
	out += RECEIPT_HEADER_BYTES;
	for (size_t i = 0; i < request->run_count; i++, out += RECEIPT_RUN_BYTES) {
		const struct append_run *run = &request->runs[i];
		store_u32(out, run->part);
		store_u32(out + 4, run->first_event);
		store_u32(out + 8, run->count);
		store_u32(out + 12, run->partition);
		store_u64(out + 16, run->offset);
		store_u64(out + 24, run->position);
		store_u64(out + 32, run->version);
		store_u64(out + 40, 0);
	}
}

int receipt_row_read(struct append_request *request, struct bytes row)
{
	for (size_t at = RECEIPT_HEADER_BYTES; at + RECEIPT_RUN_BYTES <= row.size;
		at += RECEIPT_RUN_BYTES) {
		const uint8_t *in = row.data + at;
		struct append_run run = {
			.part = load_u32(in),
			.first_event = load_u32(in + 4),
			.count = load_u32(in + 8),
			.partition = load_u32(in + 12),
			.offset = load_u64(in + 16),
			.position = load_u64(in + 24),
			.version = load_u64(in + 32),
			.replayed = true,
		};
		if (run.part >= request->part_count) {
			/* The same request may be cut into fewer batches this time. */
			run.part = (uint32_t)request->part_count - 1;
		}
		if (admission_add_run(request, &run) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
	}
	return 0;
}

void receipt_time_key(uint8_t out[RECEIPT_TIME_KEY_BYTES], const uint8_t store_uuid[16],
	uint64_t recorded_us, struct bytes row_key)
{
	struct index_hash hash = index_hash(store_uuid, 'r', row_key);

	out[0] = ROW_RECEIPT;
	store_u32_be(out + 1, UINT32_MAX);
	store_u64_be(out + 5, recorded_us);
	store_u64_be(out + 13, hash.high);
	store_u64_be(out + 21, hash.low);
}

/* ---- Expiry ---- */

struct expiry {
	struct completion_queue queue;
	struct rows_request request;
	struct row_change *changes; /* 2 * EXPIRE_ROWS */
	struct buf bytes;           /* their keys */
	size_t *places;             /* of the keys in bytes: start, size */
	size_t count;
	uint64_t below_us, next_ns;
	bool in_flight;
	struct shard *shard;
};

static int note_key(struct expiry *expiry, struct bytes key)
{
	expiry->places[2 * expiry->count] = expiry->bytes.size;
	expiry->places[2 * expiry->count + 1] = key.size;
	expiry->count++;
	return buf_add(&expiry->bytes, key.data, key.size);
}

/* A row of times: both go, unless the receipt was made anew since. */
static int note_expired(void *arg, struct bytes key, struct bytes value)
{
	struct expiry *expiry = arg;
	struct buf row = BUF_INIT;
	int found, status;

	if (key.size != RECEIPT_TIME_KEY_BYTES || load_u64_be(key.data + 5) >= expiry->below_us) {
		return 1;
	}
	status = note_key(expiry, key);
	found = row_get(expiry->shard, value, &row, NULL);
	if (status == 0 && found == 1 && row.size >= 8 &&
		load_u64(row.data) == load_u64_be(key.data + 5)) {
		status = note_key(expiry, value);
	}
	buf_release(&row);
	return status;
}

static struct expiry *expiry_of(struct shard *shard)
{
	struct expiry *expiry = shard->expiry;

	if (expiry == NULL) {
		expiry = calloc(1, sizeof(*expiry));
		if (expiry == NULL) {
			return NULL;
		}
		expiry->changes = calloc(2 * EXPIRE_ROWS, sizeof(*expiry->changes));
		expiry->places = calloc(4 * EXPIRE_ROWS, sizeof(*expiry->places));
		if (expiry->changes == NULL || expiry->places == NULL) {
			free(expiry->changes);
			free(expiry->places);
			free(expiry);
			return NULL;
		}
		expiry->shard = shard;
		completion_queue_init(&expiry->queue, NULL, NULL);
		shard->expiry = expiry;
	}
	return expiry;
}

static void collect_answer(struct expiry *expiry)
{
	struct list_node answers;

	list_init(&answers);
	completion_queue_take(&expiry->queue, &answers);
	if (list_pop(&answers) != NULL) {
		expiry->in_flight = false;
	}
}

void receipts_run(struct shard *shard)
{
	static const uint8_t prefix[5] = {ROW_RECEIPT, 0xff, 0xff, 0xff, 0xff};
	struct expiry *expiry = expiry_of(shard);
	uint64_t now = clock_monotonic_ns(), newest_us = shard->last_recorded_us;

	if (expiry == NULL) {
		return;
	}
	collect_answer(expiry);
	if (expiry->in_flight || shard->state == STORE_READ_ONLY || now < expiry->next_ns ||
		newest_us < RECEIPT_AGE_US) {
		return;
	}
	expiry->below_us = newest_us - RECEIPT_AGE_US;
	expiry->count = 0;
	buf_reset(&expiry->bytes);
	if (row_scan(shard, bytes_of(prefix, sizeof(prefix)), bytes_of(NULL, 0), EXPIRE_ROWS,
		    note_expired, expiry, NULL) < 0 ||
		expiry->count == 0) {
		expiry->next_ns = now + EXPIRE_INTERVAL_NS;
		return;
	}
	for (size_t i = 0; i < expiry->count; i++) {
		expiry->changes[i] = (struct row_change){
			.key = bytes_of(expiry->bytes.data + expiry->places[2 * i],
				expiry->places[2 * i + 1])};
	}
	expiry->request =
		(struct rows_request){.base = {.operation = STORE_ROWS, .queue = &expiry->queue},
			.changes = expiry->changes,
			.change_count = expiry->count};
	expiry->in_flight = writer_submit(shard, &expiry->request.base, true, NULL) == 0;
}

void receipts_release(struct shard *shard)
{
	struct expiry *expiry = shard->expiry;

	if (expiry != NULL) {
		collect_answer(expiry);
		completion_queue_release(&expiry->queue);
		buf_release(&expiry->bytes);
		free(expiry->changes);
		free(expiry->places);
		free(expiry);
		shard->expiry = NULL;
	}
}
