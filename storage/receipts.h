/*
 * Receipts of requests with an idempotency key: what the request's answer said, for a day.
 *
 * Rows of ROW_RECEIPT: 'i', topic id u32, key -> recorded time u64, request hash 16 bytes, then
 * runs of 48 bytes: part u32, first event u32, count u32, partition u32, offset u64, position u64,
 * version u64, zero u64. And 'i', 0xffffffff, recorded time u64, hash of that row's key 16 bytes ->
 * that key: by which the expired are found. Numbers in keys are big-endian.
 */
#ifndef ANNALS_STORAGE_RECEIPTS_H
#define ANNALS_STORAGE_RECEIPTS_H

#include "shard.h"

#define RECEIPT_AGE_US (UINT64_C(24) * 3600 * 1000000)
#define RECEIPT_HEADER_BYTES 24u
#define RECEIPT_RUN_BYTES 48u
#define RECEIPT_TIME_KEY_BYTES 29u

/* The row of a request's receipt; its runs are known. Pure. */
size_t receipt_row_key(uint8_t out[ROW_KEY_BYTES_MAX], const struct append_request *request);
size_t receipt_row_size(const struct append_request *request);
void receipt_row_write(uint8_t *out, const struct append_request *request, uint64_t recorded_us);
/* Fills request->runs from a row. ANNALS_E_CORRUPT_DATA, ANNALS_E_NO_MEMORY. */
int receipt_row_read(struct append_request *request, struct bytes row) ANNALS_MUST_CHECK;
/* The key of the row that finds it by its time. */
void receipt_time_key(uint8_t out[RECEIPT_TIME_KEY_BYTES], const uint8_t store_uuid[16],
	uint64_t recorded_us, struct bytes row_key);

/* Deletes expired receipts, some at a time, through the writer. The settler's thread, by the clock;
 * the age counts in recorded time. */
void receipts_run(struct shard *shard);
void receipts_release(struct shard *shard);

#endif
