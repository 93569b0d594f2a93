/*
 * Stands before the calls with which LMDB changes its file, so that a process can end between any
 * two of them: from a chosen call on, nothing reaches the file any more and every call fails. The
 * disk's flushes do nothing (what an unsynced page may become is the subject of tests/crash/states)
 * and space is never reserved. One thread.
 */
#ifndef ANNALS_TEST_SIMULATION_LMDB_CUT_H
#define ANNALS_TEST_SIMULATION_LMDB_CUT_H

#include <stdbool.h>

/* After `countdown` more calls (writes and flushes). is_done: the first one that fails has been
 * carried out all the same. */
void lmdb_cut_arm(unsigned countdown, bool is_done);
/* Before the store is opened again. */
void lmdb_cut_disarm(void);
/* Since the cut even reads of the file may fail: LMDB gives up for good when its meta page cannot
 * be written. */
bool lmdb_cut_is_dead(void);

#endif
