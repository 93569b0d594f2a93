/*
 * A journal whose blocks outlive the store that wrote them, on a disk that fails when it is told to
 * and forgets what was not synced. One disk at a time; one thread.
 */
#ifndef ANNALS_TEST_SIMULATION_DISK_H
#define ANNALS_TEST_SIMULATION_DISK_H

#include "journal/journal.h"

/* What happens at the call that is struck. The store has to be opened again after all but the last.
 */
enum disk_fault {
	DISK_WRITE_LOST,   /* nothing was written; UNKNOWN */
	DISK_WRITE_ANSWER, /* it was written; UNKNOWN */
	DISK_SYNC_LOST,    /* nothing was synced; UNKNOWN */
	DISK_SYNC_ANSWER,  /* it was synced; UNKNOWN */
	DISK_TRIM_LOST, /* nothing was trimmed; FAILED: LMDB has committed, the journal is whole */
	DISK_TRIM_ANSWER, /* it was trimmed; FAILED */
	DISK_WRITE_FULL,  /* FULL, once */
	DISK_FAULTS
};

/* The journal called "simulated"; everything is forgotten. */
void disk_init(void);
void disk_release(void);
/* The call of this fault's kind after `countdown` more is struck. One at a time. */
void disk_strike(enum disk_fault fault, unsigned countdown);
/* As a power cut: blocks that were not synced are gone but for the first `kept`. The journal must
 * be closed. */
void disk_cut(uint64_t kept);

#endif
