/* The delivery thread: requests in, commits out, answers after them. */
#include "completion.h"
#include "delivery_internal.h"
#include "shard.h"

#include <annals/clock.h>
#include <annals/fault.h>
#include <annals/thread.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define INBOX_MAX 65536u
#define DIRTY_SLICES_MAX 2000u /* of one commit, about: each row has at most a kilobyte */
#define RETRY_US 20000u
#define CHECK_US 500000u

uint64_t delivery_now_us(const struct delivery *delivery)
{
	/* Deadlines are wall clock, so that they survive restarts, but do not jump with it. */
	return delivery->wall_base_us + (clock_monotonic_ns() - delivery->monotonic_base_ns) / 1000;
}

static void wake(void *arg)
{
	struct delivery *delivery = arg;

	(void)pthread_mutex_lock(&delivery->mutex);
	delivery->woken = true;
	(void)pthread_cond_signal(&delivery->wake);
	(void)pthread_mutex_unlock(&delivery->mutex);
}

int delivery_submit(struct delivery *delivery, struct delivery_request *request, struct error *err)
{
	int status = 0;

	list_init(&request->base.node);
	list_init(&request->waiting);
	request->is_cancelled = false;
	request->base.status = 0;
	request->base.error = (struct error){0, ""};
	(void)pthread_mutex_lock(&delivery->mutex);
	if (delivery->stopping || delivery->failed) {
		status = error_fail(err, ANNALS_E_UNAVAILABLE, "delivery is %s",
			delivery->stopping ? "closing" : "stopped: storage failed");
	} else if (delivery->inbox_count >= INBOX_MAX) {
		status = error_fail(err, ANNALS_E_OVERLOADED,
			"%u requests wait for delivery: that is the limit", INBOX_MAX);
	} else {
		list_add_tail(&delivery->inbox, &request->base.node);
		delivery->inbox_count++;
		delivery->woken = true;
		(void)pthread_cond_signal(&delivery->wake);
	}
	(void)pthread_mutex_unlock(&delivery->mutex);
	return status;
}

bool delivery_cancel(struct delivery *delivery, struct delivery_request *request)
{
	bool taken;

	/* A poll that waits is in a list of the mutex's, never touched otherwise. */
	(void)pthread_mutex_lock(&delivery->mutex);
	taken = !list_is_empty(&request->waiting);
	list_remove(&request->waiting);
	request->is_cancelled = !taken;
	(void)pthread_mutex_unlock(&delivery->mutex);
	return taken;
}

void delivery_answer(struct delivery *delivery, struct delivery_request *request, int status,
	const char *format, ...)
{
	request->base.status = status;
	if (status != 0) {
		va_list args;
		va_start(args, format);
		request->base.error.code = status;
		(void)vsnprintf(
			request->base.error.text, sizeof(request->base.error.text), format, args);
		va_end(args);
	}
	list_add_tail(&delivery->answers, &request->base.node);
}

void delivery_mark(struct group_partition *at)
{
	if (!at->dirty) {
		at->dirty = true;
		list_add_tail(&at->group->delivery->dirty, &at->dirty_node);
	}
	at->group->delivery->next_timer_us =
		ANNALS_MIN(at->group->delivery->next_timer_us, progress_next_timer(&at->progress));
}

static int pending_get(const struct row_batch *batch, struct bytes key, struct buf *ret_value)
{
	for (size_t i = batch->count; i > 0; i--) {
		const struct row_place *place = &batch->places[i - 1];
		if (bytes_equal(
			    key, bytes_of(batch->bytes.data + place->key_at, place->key_size))) {
			return place->deleted ? 0
			       : buf_add(ret_value, batch->bytes.data + place->value_at,
					 place->value_size) == 0
				       ? 1
				       : ANNALS_E_NO_MEMORY;
		}
	}
	return ANNALS_E_NOT_FOUND;
}

int delivery_row_get(struct delivery *delivery, const struct row_key *key, struct buf *ret_value)
{
	int found = pending_get(&delivery->rows, row_key_bytes(key), ret_value);

	found = found != ANNALS_E_NOT_FOUND
			? found
			: pending_get(&delivery->committing, row_key_bytes(key), ret_value);
	return found != ANNALS_E_NOT_FOUND
		       ? found
		       : store_row_get(delivery->store, row_key_bytes(key), ret_value, NULL);
}

/* ---- Committing ---- */

static void fail_all(struct list_node *requests, int status, const char *text)
{
	struct list_node *node;

	LIST_FOR_EACH (node, requests) {
		struct store_request *request = LIST_ENTRY(node, struct store_request, node);
		request->status = status;
		request->error.code = status;
		(void)snprintf(request->error.text, sizeof(request->error.text), "%s", text);
	}
	completion_push_all(requests);
}

/* After it nothing is accepted until the store is opened anew. */
static void fail_stop(struct delivery *delivery, int status, const char *text)
{
	(void)pthread_mutex_lock(&delivery->mutex);
	delivery->failed = true;
	(void)pthread_mutex_unlock(&delivery->mutex);
	fail_all(&delivery->committing_answers, ANNALS_E_OUTCOME_UNKNOWN, text);
	fail_all(&delivery->answers, status, text);
	fail_all(&delivery->requests, ANNALS_E_UNAVAILABLE, text);
	fail_all(&delivery->transactions, ANNALS_E_UNAVAILABLE, text);
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

static int gather(struct delivery *delivery)
{
	struct buf head = BUF_INIT;
	int status = 0;

	while (!list_is_empty(&delivery->dirty) && status == 0) {
		struct group_partition *at =
			LIST_ENTRY(delivery->dirty.next, struct group_partition, dirty_node);
		struct slice_writer writer = {at, &delivery->rows};
		status = progress_write_slices(&at->progress, add_slice, &writer);
		if (status == 0 && at->progress.head_dirty) {
			struct row_key key = row_key_head(at);
			buf_reset(&head);
			status = progress_write_head(&at->progress, &head);
			status = status != 0 ? status
					     : row_batch_add(&delivery->rows, row_key_bytes(&key),
						       buf_bytes(&head));
			at->progress.head_dirty = status != 0;
		}
		status = status != 0 ? status : finished_write(at->group);
		if (status == 0) {
			at->dirty = false;
			list_remove(&at->dirty_node);
		}
	}
	buf_release(&head);
	return status;
}

static void submit_commit(struct delivery *delivery)
{
	struct error err = {0, ""};
	int status;

	delivery->commit = (struct rows_request){
		.base = {.operation = STORE_ROWS, .queue = &delivery->completions},
		.changes = delivery->committing_changes,
		.change_count = delivery->committing.count};
	list_init(&delivery->commit.base.node);
	ANNALS_FAULT("delivery.before_commit");
	status = store_submit(delivery->store, &delivery->commit.base, &err);
	delivery->commit_in_flight = status == 0;
	delivery->commit_refused = status != 0;
	if (status == ANNALS_E_UNAVAILABLE) {
		fail_stop(delivery, status, err.text);
	} else if (status != 0) {
		delivery->commit_retry_us = delivery_now_us(delivery) + RETRY_US;
	}
}

static void commit(struct delivery *delivery)
{
	struct row_batch spare;

	if (delivery->failed || delivery->commit_in_flight ||
		delivery->transactions_in_flight > 0) {
		return;
	}
	if (delivery->commit_refused) {
		if (delivery_now_us(delivery) >= delivery->commit_retry_us) {
			submit_commit(delivery);
		}
		return;
	}
	delivery->commit_is_next = false;
	if (ANNALS_MUTATION("answer_before_commit")) {
		completion_push_all(&delivery->answers);
	}
	if (gather(delivery) != 0) {
		return; /* memory is short: what is marked stays marked */
	}
	if (delivery->rows.count == 0) {
		completion_push_all(&delivery->answers);
		return;
	}
	if (row_batch_changes(&delivery->rows, &delivery->committing_changes) != 0) {
		return;
	}
	spare = delivery->committing;
	delivery->committing = delivery->rows;
	delivery->rows = spare;
	row_batch_reset(&delivery->rows);
	list_splice(&delivery->committing_answers, &delivery->answers);
	submit_commit(delivery);
}

static void commit_returned(struct delivery *delivery, int status)
{
	delivery->commit_in_flight = false;
	ANNALS_FAULT("delivery.after_commit");
	if (ANNALS_MUTATION("drop_refused_commits") && status == ANNALS_E_STORAGE_FULL) {
		status = 0;
	}
	if (status == ANNALS_E_OVERLOADED || status == ANNALS_E_STORAGE_FULL ||
		status == ANNALS_E_NO_MEMORY) {
		delivery->commit_refused = true;
		delivery->commit_retry_us = delivery_now_us(delivery) + RETRY_US;
		return;
	}
	free(delivery->committing_changes);
	delivery->committing_changes = NULL;
	row_batch_reset(&delivery->committing);
	if (status != 0) {
		fail_stop(delivery, status, delivery->commit.base.error.text);
		return;
	}
	ANNALS_FAULT("delivery.before_answer");
	completion_push_all(&delivery->committing_answers);
}

/* ---- What comes back, and what comes in ---- */

static void take_completions(struct delivery *delivery)
{
	struct list_node list, *node;

	list_init(&list);
	completion_queue_take(&delivery->completions, &list);
	while ((node = list_pop(&list)) != NULL) {
		struct store_request *request = LIST_ENTRY(node, struct store_request, node);
		if (request == &delivery->commit.base) {
			commit_returned(delivery, request->status);
		} else if (request->operation == STORE_WATCH) {
			struct group_partition *at =
				LIST_ENTRY(request, struct group_partition, watch.base);
			at->is_watched = false;
			delivery->watches--;
			if (at->is_removed) {
				group_partition_free(at);
			} else if (request->status == 0) {
				group_serve_polls(at->group);
			}
		} else if (request->operation == STORE_READ) {
			struct group_partition *at =
				LIST_ENTRY(request, struct group_partition, read.base);
			at->is_reading = false;
			at->has_read = true;
			delivery->reads--;
			if (at->is_removed) {
				group_partition_free(at);
			} else {
				at->group->reads--;
				group_serve_polls(at->group);
			}
		} else if (request->operation == STORE_OFFSET_COMMIT) {
			struct member_commit_request *commit = request->arg;
			delivery->passed_on--;
			delivery_answer(delivery, &commit->delivery, request->status, "%s",
				request->error.text);
		} else {
			delivery_transaction_done(delivery, request->arg);
		}
	}
}

static void run_request(struct delivery *delivery, struct delivery_request *request)
{
	switch (request->operation) {
	case DELIVERY_GROUP_PUT:
		group_put(delivery, LIST_ENTRY(request, struct group_put_request, delivery));
		break;
	case DELIVERY_GROUP_DELETE:
		group_delete(
			delivery, LIST_ENTRY(request, struct group_describe_request, delivery));
		break;
	case DELIVERY_GROUP_DESCRIBE:
	case DELIVERY_GROUP_LIST:
		group_describe(
			delivery, LIST_ENTRY(request, struct group_describe_request, delivery));
		break;
	case DELIVERY_POLL:
		delivery_poll(delivery, LIST_ENTRY(request, struct poll_request, delivery));
		break;
	case DELIVERY_SETTLE:
		delivery_settle(delivery, LIST_ENTRY(request, struct settle_request, delivery));
		break;
	case DELIVERY_TRANSACT:
		delivery_transact(delivery, LIST_ENTRY(request, struct transact_request, delivery));
		break;
	case DELIVERY_SEEK:
		delivery_seek(delivery, LIST_ENTRY(request, struct seek_request, delivery));
		break;
	case DELIVERY_PARKED_LIST:
	case DELIVERY_PARKED_REPLAY:
	case DELIVERY_PARKED_DROP:
		delivery_parked(delivery, LIST_ENTRY(request, struct parked_request, delivery));
		break;
	case DELIVERY_EXPLAIN:
		delivery_explain(delivery, LIST_ENTRY(request, struct explain_request, delivery));
		break;
	case DELIVERY_CHECKPOINT_GET:
		delivery_checkpoint_get(
			delivery, LIST_ENTRY(request, struct checkpoint_request, delivery));
		break;
	case DELIVERY_JOIN:
	case DELIVERY_HEARTBEAT:
	case DELIVERY_LEAVE:
		delivery_member(delivery, LIST_ENTRY(request, struct member_request, delivery));
		break;
	case DELIVERY_COMMIT:
		delivery_member_commit(
			delivery, LIST_ENTRY(request, struct member_commit_request, delivery));
		break;
	default:
		delivery_answer(delivery, request, ANNALS_E_UNSUPPORTED_OPERATION,
			"delivery knows no operation %d", (int)request->operation);
		break;
	}
}

static uint32_t dirty_slices(const struct delivery *delivery)
{
	struct list_node *node;
	uint32_t count = 0;

	LIST_FOR_EACH (node, &delivery->dirty) {
		count += LIST_ENTRY(node, struct group_partition, dirty_node)->progress.dirty_count;
	}
	return count;
}

/* Deleting and seeking leave no leases, so they wait until no transaction builds on one. */
static bool must_wait(const struct delivery *delivery, const struct delivery_request *request)
{
	return delivery->transactions_in_flight > 0 &&
	       (request->operation == DELIVERY_SEEK || request->operation == DELIVERY_GROUP_DELETE);
}

static void run_requests(struct delivery *delivery)
{
	unsigned turns = 0;

	while (!list_is_empty(&delivery->requests) && !delivery->failed) {
		struct delivery_request *request =
			LIST_ENTRY(delivery->requests.next, struct delivery_request, base.node);
		if (must_wait(delivery, request) ||
			(++turns % 16 == 0 && dirty_slices(delivery) > DIRTY_SLICES_MAX)) {
			return;
		}
		list_remove(&request->base.node);
		run_request(delivery, request);
	}
}

/* ---- The thread ---- */

static void sleep_until(struct delivery *delivery, uint64_t until_us)
{
	uint64_t now_us = delivery_now_us(delivery);
	struct timespec at;

	(void)pthread_mutex_lock(&delivery->mutex);
	if (!delivery->woken && !delivery->stopping && until_us > now_us) {
		uint64_t wait_us = ANNALS_MIN(until_us - now_us, CHECK_US);
		(void)clock_gettime(CLOCK_MONOTONIC, &at);
		at.tv_sec += (time_t)(wait_us / 1000000);
		at.tv_nsec += (long)(wait_us % 1000000) * 1000;
		at.tv_sec += at.tv_nsec / 1000000000;
		at.tv_nsec %= 1000000000;
		(void)pthread_cond_timedwait(&delivery->wake, &delivery->mutex, &at);
	}
	delivery->woken = false;
	list_splice(&delivery->requests, &delivery->inbox);
	delivery->inbox_count = 0;
	(void)pthread_mutex_unlock(&delivery->mutex);
}

/* What waits is answered, what storage has is waited for. */
static void wind_up(struct delivery *delivery)
{
	static const char text[] = "delivery is closing";
	struct list_node *node, *inner;

	fail_all(&delivery->requests, ANNALS_E_UNAVAILABLE, text);
	fail_all(&delivery->transactions, ANNALS_E_UNAVAILABLE, text);
	LIST_FOR_EACH (node, &delivery->groups) {
		struct group *group = LIST_ENTRY(node, struct group, node);
		LIST_FOR_EACH (inner, &group->partitions) {
			struct group_partition *at =
				LIST_ENTRY(inner, struct group_partition, node);
			if (at->is_watched && store_watch_cancel(delivery->store, &at->watch)) {
				at->is_watched = false;
				delivery->watches--;
			}
		}
		for (;;) {
			struct poll_request *poll;
			struct list_node one;
			(void)pthread_mutex_lock(&delivery->mutex);
			inner = list_pop(&group->polls);
			(void)pthread_mutex_unlock(&delivery->mutex);
			if (inner == NULL) {
				break;
			}
			poll = LIST_ENTRY(inner, struct poll_request, delivery.waiting);
			list_init(&one);
			list_add_tail(&one, &poll->delivery.base.node);
			fail_all(&one, ANNALS_E_UNAVAILABLE, text);
		}
	}
}

static bool is_idle(const struct delivery *delivery)
{
	return !delivery->commit_in_flight && delivery->transactions_in_flight == 0 &&
	       delivery->watches == 0 && delivery->reads == 0 && delivery->passed_on == 0;
}

/* One turn; false when it is closing and nothing is left to wait for. */
static bool turn(struct delivery *delivery, uint64_t *ret_next_us)
{
	bool stopping, checked;

	(void)pthread_mutex_lock(&delivery->mutex);
	stopping = delivery->stopping;
	(void)pthread_mutex_unlock(&delivery->mutex);
	take_completions(delivery);
	if (stopping) {
		wind_up(delivery);
		*ret_next_us = delivery_now_us(delivery) + RETRY_US;
		return !is_idle(delivery);
	}
	if (delivery->failed) {
		static const char text[] = "delivery is stopped: storage failed";
		fail_all(&delivery->requests, ANNALS_E_UNAVAILABLE, text);
		fail_all(&delivery->answers, ANNALS_E_UNAVAILABLE, text);
		*ret_next_us = delivery_now_us(delivery) + CHECK_US;
		return true;
	}
	checked = groups_check(delivery);
	(void)delivery_run_timers(delivery);
	if (checked) {
		run_requests(delivery);
		delivery_start_transactions(delivery);
	}
	commit(delivery);
	*ret_next_us = delivery->next_timer_us; /* the requests may have brought it nearer */
	groups_publish(delivery);
	groups_look_at_lag(delivery);
	if (delivery->commit_refused) {
		*ret_next_us = ANNALS_MIN(*ret_next_us, delivery->commit_retry_us);
	}
	return true;
}

static void finish(struct delivery *delivery)
{
	fail_all(&delivery->committing_answers, ANNALS_E_OUTCOME_UNKNOWN, "delivery is closing");
	fail_all(&delivery->answers, ANNALS_E_UNAVAILABLE, "delivery is closing");
}

static void *run(void *arg)
{
	struct delivery *delivery = arg;
	uint64_t next_us = 0;

	thread_set_name("annals-deliver");
	do {
		sleep_until(delivery, next_us);
	} while (turn(delivery, &next_us));
	finish(delivery);
	return NULL;
}

bool delivery_turn(struct delivery *delivery)
{
	uint64_t next_us;

	sleep_until(delivery, 0);
	return turn(delivery, &next_us);
}

static void release(struct delivery *delivery)
{
	groups_release(delivery);
	row_batch_release(&delivery->rows);
	row_batch_release(&delivery->committing);
	free(delivery->committing_changes);
	batch_reader_release(&delivery->again);
	free(delivery->published);
	free(delivery->lags);
	completion_queue_release(&delivery->completions);
	(void)pthread_cond_destroy(&delivery->wake);
	(void)pthread_mutex_destroy(&delivery->mutex);
	free(delivery);
}

int delivery_open(struct store *store, struct delivery **ret, struct error *err)
{
	struct delivery *delivery = calloc(1, sizeof(*delivery));
	pthread_condattr_t attributes;
	int status;

	if (delivery == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for delivery");
	}
	delivery->store = store;
	delivery->wall_base_us = clock_wall_us();
	delivery->monotonic_base_ns = clock_monotonic_ns();
	(void)pthread_mutex_init(&delivery->mutex, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&delivery->wake, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	completion_queue_init(&delivery->completions, wake, delivery);
	list_init(&delivery->inbox);
	list_init(&delivery->groups);
	list_init(&delivery->requests);
	list_init(&delivery->answers);
	list_init(&delivery->transactions);
	list_init(&delivery->dirty);
	list_init(&delivery->committing_answers);
	batch_reader_reset(&delivery->again);
	status = groups_load(delivery, err);
	delivery->stepped = store_shard(store)->options.stepped;
	if (status == 0 && !delivery->stepped &&
		pthread_create(&delivery->thread, NULL, run, delivery) != 0) {
		status = error_fail(err, ANNALS_E_IO, "cannot start the delivery thread");
	}
	if (status != 0) {
		release(delivery);
		return status;
	}
	*ret = delivery;
	return 0;
}

void delivery_close(struct delivery *delivery)
{
	if (delivery == NULL) {
		return;
	}
	(void)pthread_mutex_lock(&delivery->mutex);
	delivery->stopping = true;
	(void)pthread_cond_signal(&delivery->wake);
	(void)pthread_mutex_unlock(&delivery->mutex);
	if (delivery->stepped) {
		while (delivery_turn(delivery)) {
			(void)writer_turn(store_shard(delivery->store));
		}
		finish(delivery);
	} else {
		(void)pthread_join(delivery->thread, NULL);
	}
	release(delivery);
}
