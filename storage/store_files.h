/*
 * What lies at the top of a data directory: the lock and the format file.
 *
 *   DIR/lock      flock(2) of whoever uses the directory
 *   DIR/format    three lines: "annals store", "format 1", "uuid <36 characters>"
 *   DIR/shards/0  journal/ and lmdb/
 */
#ifndef ANNALS_STORAGE_STORE_FILES_H
#define ANNALS_STORAGE_STORE_FILES_H

#include <annals/error.h>
#include <stdbool.h>
#include <stdint.h>

#define STORE_FORMAT 1u

/* Takes the lock; *ret_fd is closed to give it back. ANNALS_E_LOCKED, ANNALS_E_IO. */
int store_files_lock(
	const char *dir, bool create, int *ret_fd, struct error *err) ANNALS_MUST_CHECK;
/* Reads the format file, or writes a new one with a new uuid when `create` and there is none.
 * ANNALS_E_NOT_FOUND, ANNALS_E_FORMAT_NEWER, ANNALS_E_CORRUPT_DATA, ANNALS_E_IO. */
int store_files_format(
	const char *dir, bool create, uint8_t ret_uuid[16], struct error *err) ANNALS_MUST_CHECK;
/* fsync of a directory. */
int store_files_sync_dir(const char *dir, struct error *err) ANNALS_MUST_CHECK;

#endif
