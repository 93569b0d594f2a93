/*
 * Insides of the file journal, for journal_file.c (the operations), journal_scan.c (opening) and
 * journal_prepare.c (the background thread).
 *
 * Threads: the writer owns `chain`, `dirty` and the end of the current segment; everything else is
 * under `mutex`. `segments` is in order of sequence: those before `current` are full, those after
 * it are prepared and empty. The preparer keeps one prepared segment ahead, so that the writer
 * neither zeroes nor touches the directory.
 */
#ifndef ANNALS_JOURNAL_FILE_H
#define ANNALS_JOURNAL_FILE_H

#include "journal_segment.h"

#include <pthread.h>

#define JOURNAL_SPARES_MAX 2

struct journal_file {
	struct journal base;
	int dir_fd;
	uint8_t uuid[16];
	uint64_t segment_bytes;
	uint32_t opening;
	bool read_only;

	/* Writer only. */
	uint32_t chain; /* CRC of the last frame */
	bool dirty;     /* something was written since the last sync */
	uint8_t *zeros; /* one page, for padding */

	pthread_mutex_t mutex;
	pthread_cond_t changed; /* of everything below that the preparer or the writer waits for */
	struct list_node segments;
	struct segment *current; /* NULL until the first segment exists */
	uint64_t last;           /* last written block */
	uint64_t durable;        /* last synced block */
	bool is_open;            /* journal_scan() succeeded, and not for reading only */
	uint64_t next_sequence;  /* of the next segment to prepare */
	uint64_t spares[JOURNAL_SPARES_MAX];
	size_t spare_count;

	pthread_t preparer;
	bool has_preparer, stopping;
	bool wanted;                        /* a segment should be prepared */
	bool busy;                          /* the preparer is at it */
	enum journal_result prepare_result; /* of the last attempt */
	struct error prepare_error;
};

/*
 * journal_scan.c: lists the directory, opens all segments, walks the chain, looks for damage behind
 * its end, and unless read_only makes what was read durable. Sets segments, current, last, durable,
 * chain, next_sequence, spares, base.first_block and base.last_block.
 */
enum journal_result journal_scan(struct journal_file *journal, struct error *err) ANNALS_MUST_CHECK;

/*
 * journal_file.c: writes the witness of the last block (journal_witness.h) if all blocks are
 * durable; otherwise does nothing. Writer only. ANNALS_E_STORAGE_FULL, ANNALS_E_IO.
 */
int journal_testify(struct journal_file *journal, struct error *err) ANNALS_MUST_CHECK;

/* journal_prepare.c */
enum journal_result journal_preparer_start(
	struct journal_file *journal, struct error *err) ANNALS_MUST_CHECK;
void journal_preparer_stop(struct journal_file *journal);
/* Prepares one segment on the calling thread and adds it to the list. JOURNAL_FULL, JOURNAL_FAILED.
 */
enum journal_result journal_prepare(
	struct journal_file *journal, struct error *err) ANNALS_MUST_CHECK;
/*
 * Makes the segment after the current one current and asks for another. Waits for the preparer if
 * it is still at work; asks it once more if there is none (so a caller that was told FULL can
 * simply try again). Writer only. JOURNAL_FULL, JOURNAL_FAILED: nothing changed.
 */
enum journal_result journal_next_segment(
	struct journal_file *journal, struct error *err) ANNALS_MUST_CHECK;
/* Takes the segments that lie wholly below `keep` out of the list and turns them into spares, or
 * removes them. */
enum journal_result journal_recycle(
	struct journal_file *journal, uint64_t keep, struct error *err) ANNALS_MUST_CHECK;

#endif
