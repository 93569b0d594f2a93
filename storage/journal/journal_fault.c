#include "journal_fault.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct journal_faulty {
	struct journal base;
	struct journal *inner;
	pthread_mutex_t mutex; /* everything below */
	struct journal_fault faults[JOURNAL_FAULTS_MAX];
	size_t fault_count;
	uint64_t written, synced;
	bool cut; /* blocks above `synced` do not exist any more */
};

/* Counts a call; true and a copy of the fault when one strikes. */
static bool strikes(
	struct journal_faulty *journal, enum journal_fault_call call, struct journal_fault *ret)
{
	bool struck = false;
	pthread_mutex_lock(&journal->mutex);
	for (size_t i = 0; i < journal->fault_count; i++) {
		struct journal_fault *fault = &journal->faults[i];
		if (fault->call != call || fault->repeat == 0) {
			continue;
		}
		if (fault->countdown > 0) {
			fault->countdown--;
		} else if (!struck) {
			struck = true;
			*ret = *fault;
			if (fault->repeat > 0) {
				fault->repeat--;
			}
		}
	}
	if (struck && ret->effect == JOURNAL_FAULT_CUT) {
		journal->cut = true;
	}
	pthread_mutex_unlock(&journal->mutex);
	if (struck && ret->effect == JOURNAL_FAULT_DELAY) {
		struct timespec wait = {
			ret->delay_ms / 1000, (long)(ret->delay_ms % 1000) * 1000000};
		(void)nanosleep(&wait, NULL);
		return false;
	}
	return struck;
}

static enum journal_result injected(enum journal_result result, struct error *err)
{
	static const int codes[] = {ANNALS_OK, ANNALS_E_CONFLICT, ANNALS_E_OUTCOME_UNKNOWN,
		ANNALS_E_STORAGE_FULL, ANNALS_E_CORRUPT_DATA, ANNALS_E_IO};
	if (result != JOURNAL_OK) {
		error_fail(err, codes[-(int)result], "injected fault");
	}
	return result;
}

enum journal_result journal_fault_open(const char *inner, const struct journal_options *options,
	struct journal **ret, struct error *err)
{
	struct journal_faulty *journal = calloc(1, sizeof(*journal));
	if (journal == NULL) {
		error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the journal");
		return JOURNAL_FAILED;
	}
	enum journal_result result = journal_open(inner, options, &journal->inner, err);
	if (result != JOURNAL_OK) {
		free(journal);
		return result;
	}
	journal->base.ops = &journal_fault_ops;
	journal->base.first_block = journal->inner->first_block;
	journal->base.last_block = journal->inner->last_block;
	journal->written = journal->synced = journal->inner->last_block;
	pthread_mutex_init(&journal->mutex, NULL);
	*ret = &journal->base;
	return JOURNAL_OK;
}

void journal_fault_add(struct journal *base, const struct journal_fault *fault)
{
	struct journal_faulty *journal = (struct journal_faulty *)base;
	assert(base->ops == &journal_fault_ops);
	pthread_mutex_lock(&journal->mutex);
	assert(journal->fault_count < JOURNAL_FAULTS_MAX);
	journal->faults[journal->fault_count++] = *fault;
	pthread_mutex_unlock(&journal->mutex);
}

void journal_fault_clear(struct journal *base)
{
	struct journal_faulty *journal = (struct journal_faulty *)base;
	assert(base->ops == &journal_fault_ops);
	pthread_mutex_lock(&journal->mutex);
	journal->fault_count = 0;
	pthread_mutex_unlock(&journal->mutex);
}

static enum journal_result fault_open(
	const struct journal_options *options, struct journal **ret, struct error *err)
{
	return journal_fault_open("memory", options, ret, err);
}

static enum journal_result fault_write_block(struct journal *base, uint64_t prev,
	struct bytes block, uint64_t *ret_number, struct error *err)
{
	struct journal_faulty *journal = (struct journal_faulty *)base;
	struct journal_fault fault = {0};
	bool struck = strikes(journal, JOURNAL_FAULT_WRITE, &fault);
	if (struck && fault.effect == JOURNAL_FAULT_FAIL) {
		return injected(fault.result, err);
	}
	if (struck && fault.effect == JOURNAL_FAULT_CUT) {
		return injected(JOURNAL_UNKNOWN, err);
	}
	enum journal_result result =
		journal_write_block(journal->inner, prev, block, ret_number, err);
	if (result == JOURNAL_OK) {
		pthread_mutex_lock(&journal->mutex);
		journal->written = *ret_number;
		pthread_mutex_unlock(&journal->mutex);
	}
	return struck ? injected(fault.result, err) : result;
}

static enum journal_result fault_sync(struct journal *base, struct error *err)
{
	struct journal_faulty *journal = (struct journal_faulty *)base;
	struct journal_fault fault = {0};
	bool struck = strikes(journal, JOURNAL_FAULT_SYNC, &fault);
	if (struck && fault.effect != JOURNAL_FAULT_AFTER) {
		return injected(JOURNAL_UNKNOWN, err);
	}
	enum journal_result result = journal_sync(journal->inner, err);
	if (result == JOURNAL_OK) {
		pthread_mutex_lock(&journal->mutex);
		journal->synced = journal->written;
		pthread_mutex_unlock(&journal->mutex);
	}
	return struck ? injected(JOURNAL_UNKNOWN, err) : result;
}

static enum journal_result fault_read_block(struct journal *base, uint64_t from, struct buf *out,
	uint64_t *ret_number, struct error *err)
{
	struct journal_faulty *journal = (struct journal_faulty *)base;
	struct journal_fault fault = {0};
	if (strikes(journal, JOURNAL_FAULT_READ, &fault)) {
		return injected(fault.result, err);
	}
	pthread_mutex_lock(&journal->mutex);
	bool gone = journal->cut && from > journal->synced;
	pthread_mutex_unlock(&journal->mutex);
	if (gone) {
		buf_reset(out);
		*ret_number = 0;
		return JOURNAL_OK;
	}
	return journal_read_block(journal->inner, from, out, ret_number, err);
}

static enum journal_result fault_trim(struct journal *base, uint64_t keep, struct error *err)
{
	struct journal_faulty *journal = (struct journal_faulty *)base;
	struct journal_fault fault = {0};
	if (strikes(journal, JOURNAL_FAULT_TRIM, &fault)) {
		return injected(fault.result, err);
	}
	return journal_trim(journal->inner, keep, err);
}

static void fault_stats(struct journal *base, struct journal_stats *ret)
{
	struct journal_faulty *journal = (struct journal_faulty *)base;
	journal_stats(journal->inner, ret);
}

static void fault_close(struct journal *base)
{
	struct journal_faulty *journal = (struct journal_faulty *)base;
	journal_close(journal->inner);
	pthread_mutex_destroy(&journal->mutex);
	free(journal);
}

const struct journal_ops journal_fault_ops = {
	.name = "fault",
	.caps = JOURNAL_CAP_VOLATILE,
	.open = fault_open,
	.write_block = fault_write_block,
	.sync = fault_sync,
	.read_block = fault_read_block,
	.trim = fault_trim,
	.stats = fault_stats,
	.close = fault_close,
};
