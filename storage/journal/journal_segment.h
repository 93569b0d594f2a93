/*
 * One segment file: creating, opening, reading frames. Every file-system call of the file journal
 * except the writer's is here. For journal_*.c only.
 *
 * Names in the journal's directory: "%016x.segment" (by sequence, hexadecimal), "%016x.spare" (an
 * old segment waiting to be used again; the number is the one it had) and "creating" (a file that
 * is still being zeroed; removed by open).
 *
 * A file becomes a segment in this order: contents (real zeros, or an older segment's frames) ->
 * header -> fdatasync -> rename to its name -> fsync of the directory. So a file that has a
 * segment's name always has a whole header and its full size.
 */
#ifndef ANNALS_JOURNAL_SEGMENT_H
#define ANNALS_JOURNAL_SEGMENT_H

#include "journal.h"
#include "journal_frame.h"

#include <annals/list.h>

#define SEGMENT_NAME_BYTES 32
#define SEGMENT_CREATING_NAME "creating"
#define SEGMENT_BYTES_MIN (4u * JOURNAL_PAGE_BYTES)
#define SEGMENT_BYTES_MAX (UINT64_C(64) << 30)

struct segment {
	struct list_node node;
	int fd;
	unsigned references; /* under the journal's mutex: the list's one and each reader's */
	uint64_t sequence, salt, bytes, after;
	uint64_t first_number; /* of its first block; 0 while it holds none */
	uint64_t end;          /* where the next frame goes */
	uint32_t count;        /* blocks; they are numbered from first_number without a gap */
	uint32_t *pages; /* frame i begins at pages[i] * JOURNAL_PAGE_BYTES; as large as it can ever
			    get */
};

enum segment_name { SEGMENT_NAME_OTHER, SEGMENT_NAME_SEGMENT, SEGMENT_NAME_SPARE };
void segment_name(char out[SEGMENT_NAME_BYTES], enum segment_name kind, uint64_t sequence);
enum segment_name segment_name_parse(const char *name, uint64_t *ret_sequence);

/* Number of the last block, 0 if there is none. */
static inline uint64_t segment_last(const struct segment *segment)
{
	return segment->count == 0 ? 0 : segment->first_number + segment->count - 1;
}

/*
 * Makes the file `name` of `bytes` bytes of real zeros, synced. What was made is removed on
 * failure. JOURNAL_FULL (no space, quota or file size limit), JOURNAL_FAILED.
 */
enum journal_result segment_create_file(
	int dir_fd, const char *name, uint64_t bytes, struct error *err) ANNALS_MUST_CHECK;
/*
 * Turns a file (zeros, or a spare) into the segment `header->sequence` of header->segment_bytes
 * bytes and opens it. The rename is durable on return. JOURNAL_FULL, JOURNAL_FAILED.
 */
enum journal_result segment_begin(int dir_fd, const char *name,
	const struct journal_segment_header *header, struct segment **ret,
	struct error *err) ANNALS_MUST_CHECK;
/*
 * Opens an existing segment and checks its header: JOURNAL_CORRUPT (header, size), JOURNAL_FAILED
 * (another store's: ANNALS_E_INVALID; a newer format: ANNALS_E_FORMAT_NEWER; cannot open).
 */
enum journal_result segment_open(int dir_fd, uint64_t sequence, const uint8_t uuid[16],
	bool read_only, struct segment **ret, struct error *err) ANNALS_MUST_CHECK;
void segment_free(struct segment *segment); /* closes the file; NULL is a no-op */

/* Reads all `size` bytes at `offset`. ANNALS_E_IO (also when the file ends before). */
int segment_read(const struct segment *segment, uint64_t offset, void *out, size_t size,
	struct error *err) ANNALS_MUST_CHECK;
/*
 * Reads and checks the frame at `offset` of this segment; `out` receives the block. *ret_check: OK,
 * ABSENT (no frame of this segment's), DAMAGED, NEWER. 0, ANNALS_E_IO or ANNALS_E_NO_MEMORY.
 */
int segment_read_frame(const struct segment *segment, uint64_t offset, struct journal_frame *ret,
	struct buf *out, enum journal_check *ret_check, struct error *err) ANNALS_MUST_CHECK;
/* Notes a block at `end` and moves `end` past it. */
void segment_note(struct segment *segment, uint64_t number, uint32_t length);

/* fsync of the directory. ANNALS_E_IO. */
int segment_sync_dir(int dir_fd, struct error *err) ANNALS_MUST_CHECK;

#endif
