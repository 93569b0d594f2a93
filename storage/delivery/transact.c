/*
 * Acknowledging, appending and keeping a checkpoint in one commit.
 *
 * The rows of such a commit are the slices of its leases, written as if the events were finished
 * already. Until it came back nothing else is committed, so that no other row says they are; then
 * either they are finished, or they are leased as before and their slices are written again.
 */
#include "completion.h"
#include "delivery_internal.h"

#include <annals/fault.h>
#include <stdlib.h>

static void answer_lost(
	struct delivery *delivery, struct transact_request *request, size_t index, int status)
{
	request->entries[index].status = status;
	delivery_answer(delivery, &request->delivery, status,
		"the lease of offset %llu, partition %u, is not held any more: nothing was done",
		(unsigned long long)request->entries[index].offset,
		request->entries[index].partition);
}

static void undo(struct group *group, struct transact_request *request, size_t count, bool done)
{
	for (size_t i = 0; i < count; i++) {
		const struct settle_entry *entry = &request->entries[i];
		struct group_partition *at =
			group_partition_find(group, entry->topic_id, entry->partition);
		progress_finish_end(&at->progress, entry->offset, done);
		at->transacting = false;
		delivery_mark(at);
	}
}

void delivery_transact(struct delivery *delivery, struct transact_request *request)
{
	struct group *group = group_find(delivery, bytes_text(request->delivery.group));

	if (group == NULL) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_UNKNOWN_GROUP,
			"there is no group '%s'", request->delivery.group);
	} else if (group->config.mode != GROUP_BY_EVENT) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_GROUP_MODE,
			"the group '%s' delivers by offset: it has no leases",
			request->delivery.group);
	} else if (request->entry_count == 0 || request->entry_count > SETTLE_ENTRIES_MAX) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_INVALID,
			"a commit acknowledges 1 to %u leases", SETTLE_ENTRIES_MAX);
	} else if (request->checkpoint.size > CHECKPOINT_BYTES_MAX ||
		   request->checkpoint_name.size > CHECKPOINT_NAME_MAX) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_TOO_LARGE,
			"a checkpoint has at most %u bytes, its name %u", CHECKPOINT_BYTES_MAX,
			CHECKPOINT_NAME_MAX);
	} else {
		list_add_tail(&delivery->transactions, &request->delivery.base.node);
	}
}

struct slice_writer {
	struct group_partition *at;
	struct row_batch *rows;
};

static int add_slice(void *arg, uint64_t base, struct bytes row)
{
	struct slice_writer *writer = arg;
	struct row_key key = row_key_place(ROW_SLICE, writer->at, base, 0);

	return row_batch_add(
		writer->rows, row_key_bytes(&key), row.size == 0 ? bytes_of(NULL, 0) : row);
}

/* The rows of the commit: each slice once, and the checkpoint. */
static int write_rows(struct group *group, struct transact_request *request, struct row_batch *rows)
{
	struct group_partition *last = NULL;
	uint64_t last_base = UINT64_MAX;
	int status = 0;

	for (size_t i = 0; i < request->entry_count && status == 0; i++) {
		const struct settle_entry *entry = &request->entries[i];
		struct slice_writer writer = {
			group_partition_find(group, entry->topic_id, entry->partition), rows};
		uint64_t base = entry->offset - entry->offset % SLICE_EVENTS;
		if (writer.at != last || base != last_base) {
			status = progress_write_slice(
				&writer.at->progress, entry->offset, add_slice, &writer);
		}
		last = writer.at;
		last_base = base;
	}
	if (status == 0 && request->checkpoint_name.size > 0) {
		struct row_key key =
			row_key_group(ROW_CHECKPOINT, group->id, request->checkpoint_name);
		status = row_batch_add(rows, row_key_bytes(&key),
			request->checkpoint.data == NULL ? bytes_of("", 0) : request->checkpoint);
	}
	return status;
}

static struct store_request *base_of(struct transact_request *request)
{
	return request->append != NULL && !request->rows_alone ? &request->append->base
							       : &request->rows.base;
}

static int pass_on(struct delivery *delivery, struct transact_request *request, struct error *err)
{
	struct store_request *base = base_of(request);
	int status;

	if (base == &request->rows.base) {
		request->rows = (struct rows_request){.base = {.operation = STORE_ROWS},
			.changes = request->changes,
			.change_count = request->change_count};
	} else {
		base->operation = STORE_APPEND;
		request->append->rows = request->changes;
		request->append->row_count = request->change_count;
	}
	list_init(&base->node);
	base->queue = &delivery->completions;
	base->arg = request;
	base->status = 0;
	ANNALS_FAULT("transact.before_commit");
	status = store_submit(delivery->store, base, err);
	if (status == 0) {
		delivery->transactions_in_flight++;
	}
	return status;
}

static int submit(struct delivery *delivery, struct transact_request *request,
	struct row_batch *rows, struct error *err)
{
	int status = row_batch_changes(rows, &request->changes);

	if (status != 0) {
		return error_fail(err, status, "no memory for a commit");
	}
	request->bytes = rows->bytes; /* the changes lie in it */
	rows->bytes = BUF_INIT;
	request->change_count = rows->count;
	request->rows_alone = false;
	return pass_on(delivery, request, err);
}

static void forget(struct transact_request *request)
{
	free(request->changes);
	request->changes = NULL;
	buf_release(&request->bytes);
	if (request->append != NULL) {
		request->append->rows = NULL;
		request->append->row_count = 0;
	}
}

static void start(struct delivery *delivery, struct transact_request *request)
{
	struct group *group = group_find(delivery, bytes_text(request->delivery.group));
	struct row_batch rows = {0};
	struct error err = {0, ""};
	size_t i;
	int status = group == NULL ? ANNALS_E_UNKNOWN_GROUP : 0;

	for (i = 0; i < request->entry_count && status == 0; i++) {
		const struct settle_entry *entry = &request->entries[i];
		struct group_partition *at =
			group_partition_find(group, entry->topic_id, entry->partition);
		status = at == NULL ? ANNALS_E_LEASE_LOST
				    : progress_finish_begin(
					      &at->progress, entry->offset, entry->lease);
		if (status == 0) {
			at->transacting = true;
		}
	}
	if (status != 0) {
		if (group != NULL) {
			undo(group, request, i - 1, false);
		}
		answer_lost(delivery, request, i == 0 ? 0 : i - 1, status);
		return;
	}
	status = write_rows(group, request, &rows);
	status = status != 0 ? error_fail(&err, status, "no memory for a commit")
			     : submit(delivery, request, &rows, &err);
	row_batch_release(&rows);
	if (status != 0) {
		forget(request);
		undo(group, request, request->entry_count, false);
		delivery_answer(delivery, &request->delivery, status, "%s", err.text);
	}
}

/* Those that wait go when nothing else does: each alone in its partitions, several at a time. */
static bool may_start(struct delivery *delivery, struct transact_request *request)
{
	struct group *group = group_find(delivery, bytes_text(request->delivery.group));

	for (size_t i = 0; i < request->entry_count && group != NULL; i++) {
		struct group_partition *at = group_partition_find(
			group, request->entries[i].topic_id, request->entries[i].partition);
		if (at != NULL && at->transacting) {
			return false;
		}
	}
	return true;
}

void delivery_start_transactions(struct delivery *delivery)
{
	/* Other answers must not starve. */
	bool others = !list_is_empty(&delivery->answers) || delivery->rows.count > 0 ||
		      !list_is_empty(&delivery->dirty);

	if (delivery->commit_in_flight || delivery->commit_refused ||
		(delivery->commit_is_next && others)) {
		return;
	}
	while (!list_is_empty(&delivery->transactions) && !delivery->failed) {
		struct transact_request *request = LIST_ENTRY(
			delivery->transactions.next, struct transact_request, delivery.base.node);
		if (!may_start(delivery, request)) {
			return;
		}
		list_remove(&request->delivery.base.node);
		delivery->commit_is_next = true;
		start(delivery, request);
	}
}

void delivery_transaction_done(struct delivery *delivery, struct transact_request *request)
{
	struct group *group = group_find(delivery, bytes_text(request->delivery.group));
	struct store_request *base = base_of(request);
	struct list_node one;
	bool stored;

	ANNALS_FAULT("transact.after_commit");
	delivery->transactions_in_flight--;
	if (base->status == 0 && base != &request->rows.base && request->append->replayed) {
		/* All of its events were stored before, and nothing was now. */
		struct error err = {0, ""};
		int status;
		request->rows_alone = true;
		status = pass_on(delivery, request, &err);
		if (status == 0) {
			return;
		}
		base = base_of(request);
		base->status = status;
		base->error = err;
	}
	stored = base->status == 0;
	forget(request);
	if (base->status == ANNALS_E_OUTCOME_UNKNOWN || base->status == ANNALS_E_UNAVAILABLE) {
		(void)pthread_mutex_lock(&delivery->mutex);
		delivery->failed = true;
		(void)pthread_mutex_unlock(&delivery->mutex);
	}
	undo(group, request, request->entry_count, base->status == 0);
	request->delivery.base.status = base->status;
	request->delivery.base.error = base->error;
	/* It says nothing that is not in its own commit. */
	list_init(&one);
	list_add_tail(&one, &request->delivery.base.node);
	completion_push_all(&one);
	/* The request is its owner's again. */
	if (stored) {
		group_serve_polls(group);
	}
}

void delivery_checkpoint_get(struct delivery *delivery, struct checkpoint_request *request)
{
	struct group *group = group_find(delivery, bytes_text(request->delivery.group));
	struct row_key key;
	int found;

	if (group == NULL) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_UNKNOWN_GROUP,
			"there is no group '%s'", request->delivery.group);
		return;
	}
	if (request->name.size == 0 || request->name.size > CHECKPOINT_NAME_MAX) {
		delivery_answer(delivery, &request->delivery, ANNALS_E_INVALID,
			"a checkpoint's name has 1 to %u bytes", CHECKPOINT_NAME_MAX);
		return;
	}
	key = row_key_group(ROW_CHECKPOINT, group->id, request->name);
	found = delivery_row_get(delivery, &key, &request->value);
	delivery_answer(delivery, &request->delivery,
		found == 1   ? 0
		: found == 0 ? ANNALS_E_NOT_FOUND
			     : found,
		"the group '%s' has no such checkpoint", request->delivery.group);
}
