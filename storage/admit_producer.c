/*
 * Admission of STORE_PRODUCER_OPEN. Rows: 'p' 'n' name -> id u64, epoch u16; 'p' 'e' id -> epoch
 * u16, which is what appends are checked against; 'p' 'c' -> the last id given out.
 */
#include "admission.h"
#include "rows.h"

struct producer_rows {
	uint8_t count_key[2], count[8];
	uint8_t name_key[2 + GROUP_NAME_MAX], name[10];
	uint8_t epoch_key[10], epoch[2];
	struct row_change changes[3];
	size_t change_count;
};

static int read_row(
	struct shard *shard, struct bytes key, uint8_t *out, size_t size, struct error *err)
{
	struct buf row = BUF_INIT;
	int found = row_get(shard, key, &row, err);

	if (found == 1 && row.size != size) {
		found = error_fail(err, ANNALS_E_CORRUPT_DATA, "a producer's row cannot be read");
	} else if (found == 1) {
		memcpy(out, row.data, size);
	}
	buf_release(&row);
	return found;
}

static int new_id(struct shard *shard, struct producer_rows *rows, uint64_t *ret, struct error *err)
{
	struct bytes key = bytes_of(rows->count_key, sizeof(rows->count_key));
	int found;

	memcpy(rows->count_key, "pc", 2);
	found = read_row(shard, key, rows->count, sizeof(rows->count), err);
	if (found < 0) {
		return found;
	}
	*ret = (found == 1 ? load_u64(rows->count) : 0) + 1;
	store_u64(rows->count, *ret);
	rows->changes[rows->change_count++] = (struct row_change){
		.key = key, .value = bytes_of(rows->count, sizeof(rows->count))};
	return 0;
}

static int open_producer(struct shard *shard, struct producer_request *request,
	struct producer_rows *rows, struct error *err)
{
	struct bytes name = bytes_text(request->name), key;
	int found = 0, status = 0;

	memcpy(rows->name_key, "pn", 2);
	memcpy(rows->name_key + 2, name.data, name.size);
	key = bytes_of(rows->name_key, 2 + name.size);
	request->epoch = 0;
	if (name.size > 0) {
		found = read_row(shard, key, rows->name, sizeof(rows->name), err);
	}
	if (found == 1) {
		request->producer_id = load_u64(rows->name);
		request->epoch = (uint16_t)(load_u16(rows->name + 8) + 1);
	}
	/* An epoch that ran out gets a new id, so that none comes again. */
	if (found == 0 || (found == 1 && request->epoch == UINT16_MAX)) {
		request->epoch = 0;
		status = new_id(shard, rows, &request->producer_id, err);
	}
	if (found < 0 || status != 0) {
		return found < 0 ? found : status;
	}
	if (name.size > 0) {
		store_u64(rows->name, request->producer_id);
		store_u16(rows->name + 8, request->epoch);
		rows->changes[rows->change_count++] = (struct row_change){
			.key = key, .value = bytes_of(rows->name, sizeof(rows->name))};
	}
	memcpy(rows->epoch_key, "pe", 2);
	store_u64_be(rows->epoch_key + 2, request->producer_id);
	store_u16(rows->epoch, request->epoch);
	rows->changes[rows->change_count++] =
		(struct row_change){.key = bytes_of(rows->epoch_key, sizeof(rows->epoch_key)),
			.value = bytes_of(rows->epoch, sizeof(rows->epoch))};
	return 0;
}

void admit_producer(struct shard *shard, struct producer_request *request)
{
	struct store_request *base = &request->base;
	struct producer_rows rows = {0};
	int status;

	if (request->name[0] != 0 && group_name_check(bytes_text(request->name), NULL) != 0) {
		admit_refusef(
			base, ANNALS_E_INVALID, "'%s' cannot be a producer's name", request->name);
		return;
	}
	/* Counts on from what is published. */
	writer_commit(shard);
	status = open_producer(shard, request, &rows, &base->error);
	if (status != 0) {
		admit_refusef(base, status, "%s", base->error.text);
		return;
	}
	if (!admit_open_draft(shard, base, admit_rows_bytes(rows.changes, rows.change_count))) {
		return;
	}
	if (admit_rows_place(shard, rows.changes, rows.change_count) != 0) {
		admit_refusef(base, ANNALS_E_NO_MEMORY, "no memory to open a producer");
		return;
	}
	base->status = 0;
	list_add_tail(&shard->draft.requests, &base->node);
	writer_commit(shard);
}
