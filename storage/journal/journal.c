#include "journal.h"

#include <annals/fault.h>
#include <assert.h>

const struct journal_ops *const journal_implementations[] = {
	&journal_file_ops,
	&journal_memory_ops,
	&journal_fault_ops,
	NULL,
};

static const struct journal_ops *simulated;

void journal_set_simulated(const struct journal_ops *ops)
{
	simulated = ops;
}

static const struct journal_ops *find_implementation(const char *name)
{
	if (simulated != NULL && strcmp(simulated->name, name) == 0) {
		return simulated;
	}
	for (size_t i = 0; journal_implementations[i] != NULL; i++) {
		if (strcmp(journal_implementations[i]->name, name) == 0) {
			return journal_implementations[i];
		}
	}
	return NULL;
}

enum journal_result journal_open(const char *name, const struct journal_options *options,
	struct journal **ret, struct error *err)
{
	const struct journal_ops *ops = find_implementation(name);
	if (ops == NULL) {
		error_fail(err, ANNALS_E_INVALID, "no journal is called '%s'", name);
		return JOURNAL_FAILED;
	}
	assert(ops->open && ops->write_block && ops->sync && ops->read_block && ops->trim &&
		ops->stats && ops->close);
	struct journal *journal = NULL;
	ANNALS_FAULT("journal.before_open");
	enum journal_result result = ops->open(options, &journal, err);
	if (result != JOURNAL_OK) {
		return result;
	}
	assert(journal->ops == ops);
	if (journal->first_block > journal->last_block) { /* what is stored says so, not a caller */
		error_fail(err, ANNALS_E_CORRUPT_DATA,
			"the journal begins with block %llu, behind its last one, %llu",
			(unsigned long long)journal->first_block,
			(unsigned long long)journal->last_block);
		ops->close(journal);
		return JOURNAL_CORRUPT;
	}
	journal->failed = false;
	ANNALS_FAULT("journal.after_open");
	*ret = journal;
	return JOURNAL_OK;
}

static enum journal_result refuse(struct error *err)
{
	error_fail(err, ANNALS_E_OUTCOME_UNKNOWN,
		"the journal failed before and must be opened again to be written");
	return JOURNAL_UNKNOWN;
}

enum journal_result journal_write_block(struct journal *journal, uint64_t prev, struct bytes block,
	uint64_t *ret_number, struct error *err)
{
	assert(block.size > 0);
	if (journal->failed) {
		return refuse(err);
	}
	ANNALS_FAULT("journal.before_write");
	uint64_t number = 0;
	enum journal_result result = journal->ops->write_block(journal, prev, block, &number, err);
	if (result == JOURNAL_UNKNOWN) {
		journal->failed = true;
	}
	ANNALS_FAULT("journal.after_write");
	if (result != JOURNAL_OK) {
		return result;
	}
	assert(number > prev);
	*ret_number = number;
	return JOURNAL_OK;
}

enum journal_result journal_sync(struct journal *journal, struct error *err)
{
	if (journal->failed) {
		return refuse(err);
	}
	ANNALS_FAULT("journal.before_sync");
	enum journal_result result = journal->ops->sync(journal, err);
	assert(result == JOURNAL_OK || result == JOURNAL_UNKNOWN);
	if (result == JOURNAL_UNKNOWN) {
		journal->failed = true;
	}
	ANNALS_FAULT("journal.after_sync");
	return result;
}

enum journal_result journal_read_block(struct journal *journal, uint64_t from, struct buf *out,
	uint64_t *ret_number, struct error *err)
{
	uint64_t number = 0;
	enum journal_result result = journal->ops->read_block(journal, from, out, &number, err);
	if (result != JOURNAL_OK) {
		return result;
	}
	assert(number == 0 || number >= from);
	*ret_number = number;
	return JOURNAL_OK;
}

enum journal_result journal_trim(struct journal *journal, uint64_t keep, struct error *err)
{
	ANNALS_FAULT("journal.before_trim");
	enum journal_result result = journal->ops->trim(journal, keep, err);
	ANNALS_FAULT("journal.after_trim");
	return result;
}

void journal_stats(struct journal *journal, struct journal_stats *ret)
{
	journal->ops->stats(journal, ret);
}

void journal_close(struct journal *journal)
{
	if (journal != NULL) {
		journal->ops->close(journal);
	}
}
