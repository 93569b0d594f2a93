/* Admission of row changes. */
#include "admit.h"

#include "completion.h"
#include "rows.h"

/* Whether what the expectations speak of is changed by the draft itself. */
static bool depends_on_draft(
	const struct draft *draft, const struct row_change *changes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (changes[i].expect != ROW_EXPECT_ANYTHING &&
			staged_keys_have(&draft->staged_rows, changes[i].key)) {
			return true;
		}
	}
	return false;
}

int admit_rows_check(struct shard *shard, struct store_request *base,
	const struct row_change *changes, size_t count, size_t *ret_index)
{
	int status = row_changes_check(changes, count, &base->error);

	if (status != 0 || count == 0) {
		return status;
	}
	/* An answer must not depend on what is not durable yet. */
	if (depends_on_draft(&shard->draft, changes, count)) {
		writer_commit(shard);
	}
	return row_changes_expected(shard, changes, count, ret_index, &base->error);
}

size_t admit_rows_bytes(const struct row_change *changes, size_t count)
{
	size_t bytes = row_changes_size(changes, count);

	return bytes == 0 ? 0 : admit_command_bytes(bytes);
}

int admit_rows_place(struct shard *shard, const struct row_change *changes, size_t count)
{
	struct draft *draft = &shard->draft;
	size_t bytes = row_changes_size(changes, count);
	uint8_t *room;

	if (bytes == 0) {
		return 0;
	}
	for (size_t i = 0; i < count; i++) {
		if (!changes[i].keep && staged_keys_add(&draft->staged_rows, changes[i].key) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
	}
	if (block_add(&draft->bytes, BLOCK_ROWS, bytes, &room) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	row_changes_write(room, changes, count);
	draft->command_count++;
	return 0;
}

void admit_rows(struct shard *shard, struct rows_request *request)
{
	struct store_request *base = &request->base;
	int status = admit_rows_check(
		shard, base, request->changes, request->change_count, &request->conflict_index);

	if (status != 0) {
		admit_refusef(base, status, "%s", base->error.text);
		return;
	}
	if (request->change_count == 0) {
		admit_refusef(base, ANNALS_E_INVALID, "a request needs at least one row");
		return;
	}
	if (row_changes_size(request->changes, request->change_count) == 0) {
		base->status = 0; /* expectations only: they hold */
		completion_push(base);
		return;
	}
	if (!admit_open_draft(
		    shard, base, admit_rows_bytes(request->changes, request->change_count))) {
		return;
	}
	if (admit_rows_place(shard, request->changes, request->change_count) != 0) {
		admit_refusef(base, ANNALS_E_NO_MEMORY, "no memory for the rows");
		return;
	}
	base->status = 0;
	list_add_tail(&shard->draft.requests, &base->node);
}
