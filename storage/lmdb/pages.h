/*
 * Checks the pages of a data.mdb before LMDB trusts them.
 *
 * LMDB has no checksums: it follows whatever a page says, through a map. One flipped bit in a page
 * of its B-trees can crash the process, hide rows, or give a page in use to the next commit. So
 * every branch and leaf page that the newest meta page reaches is read once (with pread, which
 * cannot raise SIGBUS) before the file is opened:
 *
 * - the two meta pages belong together, the file is as long as they say;
 * - each page bears its own number and the right kind, its nodes lie inside it and do not overlap,
 *   keys rise and lie between those of the page above;
 * - no page is used twice, none in use is in the free list, and the numbers of pages and entries
 *   are those that the table's record gives.
 *
 * What values say is not looked at: rows and chunks have checks of their own. Overflow pages hold
 * nothing but values, so only `deep` reads their headers. Layout: LMDB 0.9's mdb.c, 64 bits, little
 * endian. Reads about 0.1 % of a log of full chunks; needs a bit per page of memory.
 */
#ifndef ANNALS_STORAGE_PAGES_H
#define ANNALS_STORAGE_PAGES_H

#include <annals/error.h>
#include <stdbool.h>
#include <stdint.h>

struct pages_report {
	uint64_t tree_pages, value_pages, free_pages;
};

/*
 * 0: sound, or empty, or there is no such file. ANNALS_E_CORRUPT_DATA: the text names the file, the
 * page, its byte and what is wrong. ANNALS_E_IO, ANNALS_E_NO_MEMORY. ret_report may be NULL. Any
 * thread; nobody may write meanwhile.
 */
int pages_check(const char *path, bool deep, struct pages_report *ret_report,
	struct error *err) ANNALS_MUST_CHECK;

#endif
