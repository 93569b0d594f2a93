/*
 * Damage to the data file under the running server. Every read checks the checksums of what it
 * reads, and answers that it is corrupt; but LMDB's own pages have none: a file that is cut short,
 * a disk that fails, or structure that rots makes an access raise SIGBUS or SIGSEGV, or an
 * assertion of LMDB fail. Then the process says so in a sentence and ends: going on would mean to
 * answer from what nobody can trust, and what was acknowledged is safe in the journal and in the
 * parts that are intact.
 */
#ifndef SERVER_DAMAGE_H
#define SERVER_DAMAGE_H

#include <annals/storage.h>

/* The exit status for it: EX_IOERR of sysexits.h. */
#define DAMAGE_STATUS 74

/* Handles SIGBUS and SIGSEGV where they come from the store's file; others do what they did before.
 * Once, before the loops start. */
void damage_watch(struct store *store, const char *data_dir);
/* store_options.damaged. Does not return. */
void damage_stop(const char *what);

#endif
