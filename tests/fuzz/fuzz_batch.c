/* The first byte says what the rest is: a body of a codec on its way in, or a stored batch. */
#include <annals/batch.h>
#include <annals/crc32c.h>

#include "fuzz.h"

/* A body that was accepted can be walked, counted and decoded again. */
static void check_accepted(struct bytes plain, const struct batch_summary *summary)
{
	struct bytes event;
	struct record record;
	size_t cursor = 0;
	uint32_t count = 0;
	while (batch_next_event(plain, &cursor, &event) == 1) {
		FUZZ_REQUIRE(event.size <= summary->largest_event_bytes);
		FUZZ_REQUIRE(record_decode_trusted(event, &record) == 0);
		count++;
	}
	FUZZ_REQUIRE(cursor == plain.size);
	FUZZ_REQUIRE(count == summary->count && count > 0);
	FUZZ_REQUIRE(plain.size == summary->plain_bytes);
}

static void fuzz_body(struct bytes body, enum batch_codec codec)
{
	const struct batch_limits limits = {
		.body_bytes_max = 256u << 10, .event_bytes_max = 64u << 10, .events_max = 10000};
	struct buf scratch = BUF_INIT;
	struct batch_summary summary;
	struct error err;
	int status = batch_check_body(body, codec, &limits, &scratch, &summary, &err);
	FUZZ_REQUIRE(scratch.size <= limits.body_bytes_max);
	FUZZ_REQUIRE(scratch.capacity <= 4 * limits.body_bytes_max);
	if (status == 0) {
		check_accepted(codec == BATCH_PLAIN ? body : buf_bytes(&scratch), &summary);
	}
	buf_release(&scratch);
}

/* Makes both checksums and the padding right, so that the fuzzer gets past them. */
static void make_right(uint8_t *stored, const struct batch *batch)
{
	size_t stamp_bytes = BATCH_STAMP_BYTES + batch->columns.size;
	size_t end = stamp_bytes + batch->body.size;
	store_u32(stored + 20, crc32c(0, batch->body.data, batch->body.size));
	store_u32(stored + 4, crc32c(0, stored + 8, stamp_bytes - 8));
	memset(stored + end, 0, batch->stored.size - end);
}

static void fuzz_stored(struct bytes stored)
{
	struct batch batch;
	struct error err;
	if (batch_view(stored, &batch) != 0) {
		return;
	}
	FUZZ_REQUIRE(batch.stored.size <= stored.size && batch.stored.size % 8 == 0);
	FUZZ_REQUIRE(batch.stored.size == batch_stored_size(batch.body.size, batch.columns.size));
	(void)!batch_verify(&batch, &err);
	uint8_t *copy = malloc(batch.stored.size);
	uint8_t *again = malloc(batch.stored.size);
	FUZZ_REQUIRE(copy != NULL && again != NULL);
	memcpy(copy, batch.stored.data, batch.stored.size);
	make_right(copy, &batch);
	FUZZ_REQUIRE(batch_view(bytes_of(copy, batch.stored.size), &batch) == 0);
	FUZZ_REQUIRE(batch_verify(&batch, &err) == 0);
	batch_write(again, &batch.stamp, batch.columns, batch.body);
	FUZZ_REQUIRE(memcmp(copy, again, batch.stored.size) == 0);
	struct buf scratch = BUF_INIT;
	struct bytes plain;
	if (batch_plain_body(&batch, &scratch, &plain) == 0) {
		FUZZ_REQUIRE(plain.size == batch.stamp.plain_bytes);
	}
	buf_release(&scratch);
	free(copy);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0) {
		return 0;
	}
	struct bytes rest = bytes_of(data + 1, size - 1);
	if (data[0] < BATCH_CODECS + 1) {
		fuzz_body(rest, (enum batch_codec)data[0]);
	} else {
		fuzz_stored(rest);
	}
	return 0;
}
