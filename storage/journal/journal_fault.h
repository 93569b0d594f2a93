/*
 * A decorator for tests: passes every call to another journal until a countdown makes one fail,
 * answer wrongly, wait or lose what was not synced. Set the faults from the thread that drives the
 * journal; the countdowns are under a mutex, so calls may come from any thread.
 */
#ifndef ANNALS_JOURNAL_FAULT_H
#define ANNALS_JOURNAL_FAULT_H

#include "journal.h"

enum journal_fault_call { /* which calls a fault counts */
	JOURNAL_FAULT_WRITE,
	JOURNAL_FAULT_SYNC,
	JOURNAL_FAULT_READ,
	JOURNAL_FAULT_TRIM,
};

enum journal_fault_effect {
	JOURNAL_FAULT_FAIL,  /* answers `result` without making the call */
	JOURNAL_FAULT_AFTER, /* makes the call, then answers `result`: the answer was lost */
	JOURNAL_FAULT_DELAY, /* waits delay_ms, then makes the call */
	JOURNAL_FAULT_CUT,   /* as a power cut: blocks written since the last sync are gone, the
				answer is UNKNOWN */
};

struct journal_fault {
	enum journal_fault_call call;
	enum journal_fault_effect effect;
	enum journal_result result; /* FAIL and AFTER */
	unsigned delay_ms;          /* DELAY */
	int countdown;              /* calls that pass before it strikes: 0 = the next one */
	int repeat;                 /* how often it strikes: 1, 2, ...; -1 = for ever */
};

#define JOURNAL_FAULTS_MAX 8

/*
 * Opens the journal called `inner` behind the decorator. journal_open("fault", ...) does the same
 * over the memory journal. Results as journal_open().
 */
enum journal_result journal_fault_open(const char *inner, const struct journal_options *options,
	struct journal **ret, struct error *err) ANNALS_MUST_CHECK;
/* Adds a fault to a decorated journal. At most JOURNAL_FAULTS_MAX at a time (asserted). */
void journal_fault_add(struct journal *journal, const struct journal_fault *fault);
/* Forgets all faults that are still waiting. */
void journal_fault_clear(struct journal *journal);

#endif
