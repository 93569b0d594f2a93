/*
 * Opening a file journal: which blocks are there, and is what follows them a torn tail or damage?
 *
 * The chain is walked from the first frame of the first segment; it ends at the first place where
 * neither this segment nor the next one goes on with number + 1 and the right chain value. Behind
 * that end every page is looked at: a frame header of this segment that says that a block above the
 * end was once durable (`durable`, journal_frame.h) proves damage, and so does a segment whose
 * header says so (`after`). Whatever else lies there was never acknowledged as synced, and is
 * overwritten in time.
 *
 * For the last block itself, behind which nothing was written, the witness of the last closing or
 * opening vouches (journal_witness.h). One that was written since, before the process was killed,
 * has none until the journal is opened again: if its bytes rot meanwhile, it looks like a torn
 * write. The shard above notices when LMDB already holds more than the journal.
 */
#include "journal_file.h"
#include "journal_witness.h"

#include <annals/fault.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define SCAN_BYTES (1u << 20)

struct sequences {
	uint64_t *values;
	size_t count, capacity;
};

static int compare_sequences(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;
	return (*left > *right) - (*left < *right);
}

static int add_sequence(struct sequences *list, uint64_t sequence)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
		uint64_t *values = realloc(list->values, capacity * sizeof(*values));
		if (values == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		list->values = values;
		list->capacity = capacity;
	}
	list->values[list->count++] = sequence;
	return 0;
}

static void note_spare(struct journal_file *journal, const char *name, uint64_t sequence)
{
	if (journal->read_only) {
		return;
	}
	if (journal->spare_count < JOURNAL_SPARES_MAX && sequence != 0) {
		journal->spares[journal->spare_count++] = sequence;
	} else {
		(void)unlinkat(journal->dir_fd, name, 0);
	}
}

/* Finds the segments, in order; notes spares and removes what a crash left half made. */
static enum journal_result list_directory(
	struct journal_file *journal, struct sequences *ret, struct error *err)
{
	int fd = openat(journal->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		error_errno(err, ANNALS_E_IO, errno, "cannot list the journal's directory");
		if (fd >= 0) {
			(void)close(fd);
		}
		return JOURNAL_FAILED;
	}
	int r = 0;
	struct dirent *entry;
	errno = 0;
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		uint64_t sequence = 0;
		switch (segment_name_parse(entry->d_name, &sequence)) {
		case SEGMENT_NAME_SEGMENT:
			r = add_sequence(ret, sequence);
			break;
		case SEGMENT_NAME_SPARE:
			note_spare(journal, entry->d_name, sequence);
			break;
		case SEGMENT_NAME_OTHER:
			if (strcmp(entry->d_name, SEGMENT_CREATING_NAME) == 0 &&
				!journal->read_only) {
				(void)unlinkat(journal->dir_fd, entry->d_name, 0);
			}
			break;
		}
	}
	(void)closedir(dir);
	if (r < 0) {
		error_fail(err, r, "no memory to list the journal's directory");
		return JOURNAL_FAILED;
	}
	if (ret->count > 0) {
		qsort(ret->values, ret->count, sizeof(ret->values[0]), compare_sequences);
	}
	return JOURNAL_OK;
}

static enum journal_result open_segments(struct journal_file *journal, struct error *err)
{
	struct sequences list = {NULL, 0, 0};
	enum journal_result result = list_directory(journal, &list, err);
	for (size_t i = 0; i < list.count && result == JOURNAL_OK; i++) {
		if (i > 0 && list.values[i] != list.values[i - 1] + 1) {
			error_fail(err, ANNALS_E_CORRUPT_DATA,
				"journal segment %" PRIu64 " is missing: %" PRIu64
				" follows %" PRIu64,
				list.values[i - 1] + 1, list.values[i], list.values[i - 1]);
			result = JOURNAL_CORRUPT;
			break;
		}
		struct segment *segment;
		result = segment_open(journal->dir_fd, list.values[i], journal->uuid,
			journal->read_only, &segment, err);
		if (result == JOURNAL_OK) {
			list_add_tail(&journal->segments, &segment->node);
		}
	}
	if (result == JOURNAL_OK) {
		journal->next_sequence = list.count == 0 ? 1 : list.values[list.count - 1] + 1;
	}
	free(list.values);
	return result;
}

/* What the walk along the chain knows. */
struct walk {
	bool started;
	uint64_t last, durable; /* last block; what its frame says was durable before it */
	uint32_t chain;
	struct segment *end; /* where the chain ends */
	struct buf block;
};

static enum journal_result result_of(int status)
{
	return status == ANNALS_E_CORRUPT_DATA ? JOURNAL_CORRUPT : JOURNAL_FAILED;
}

/* Reads the frame at the end of `segment`: 1 if it continues the chain (and is noted), 0 if not, or
 * an error. */
static int walk_frame(struct walk *walk, struct segment *segment, struct error *err)
{
	struct journal_frame frame;
	enum journal_check check;
	int r = segment_read_frame(segment, segment->end, &frame, &walk->block, &check, err);
	if (r < 0) {
		return r;
	}
	if (check == JOURNAL_CHECK_NEWER) {
		return error_fail(err, ANNALS_E_FORMAT_NEWER,
			"the block at byte %" PRIu64 " of journal segment %" PRIu64
			" was written by a newer version of Annals",
			segment->end, segment->sequence);
	}
	if (check != JOURNAL_CHECK_OK) {
		return 0;
	}
	bool follows = walk->started ? frame.number == walk->last + 1 && frame.chain == walk->chain
				     : frame.number > segment->after &&
					       (segment->sequence > 1 ||
						       (frame.number == 1 && frame.chain == 0));
	if (!follows || frame.durable >= frame.number) {
		return 0;
	}
	walk->started = true;
	walk->last = frame.number;
	walk->durable = frame.durable;
	walk->chain = frame.crc;
	walk->end = segment;
	segment_note(segment, frame.number, frame.length);
	return 1;
}

static int walk_chain(struct journal_file *journal, struct walk *walk, struct error *err)
{
	struct list_node *node;
	LIST_FOR_EACH (node, &journal->segments) {
		struct segment *segment = LIST_ENTRY(node, struct segment, node);
		int r = 1;
		while (r == 1) {
			r = walk_frame(walk, segment, err);
		}
		if (r < 0) {
			return r;
		}
		if (segment->count == 0) {
			break;
		}
	}
	if (walk->end == NULL && !list_is_empty(&journal->segments)) {
		walk->end = LIST_ENTRY(journal->segments.next, struct segment, node);
	}
	return 0;
}

/* A page behind the end of the chain: does it prove that a block is missing? */
static int check_page(const struct walk *walk, const struct segment *segment, uint64_t offset,
	const uint8_t *page, struct error *err)
{
	struct journal_frame frame;
	if (load_u32(page) != JOURNAL_FRAME_MAGIC || load_u64(page + 8) != segment->salt ||
		journal_frame_read(page, &frame) != JOURNAL_CHECK_OK ||
		frame.sequence != segment->sequence || frame.durable <= walk->last) {
		return 0;
	}
	char end[SEGMENT_NAME_BYTES], found[SEGMENT_NAME_BYTES];
	segment_name(end, SEGMENT_NAME_SEGMENT, walk->end->sequence);
	segment_name(found, SEGMENT_NAME_SEGMENT, segment->sequence);
	return error_fail(err, ANNALS_E_CORRUPT_DATA,
		"the journal is damaged: block %" PRIu64 " should be at byte %" PRIu64
		" of '%s', but is not; block %" PRIu64 " at byte %" PRIu64
		" of '%s' shows that blocks up to %" PRIu64 " were stored",
		walk->last + 1, walk->end->end, end, frame.number, offset, found, frame.durable);
}

/* Looks at every page of a segment behind its last block. */
static int check_rest(
	const struct walk *walk, const struct segment *segment, uint8_t *scratch, struct error *err)
{
	if (segment->after > walk->last) {
		char end[SEGMENT_NAME_BYTES];
		segment_name(end, SEGMENT_NAME_SEGMENT, walk->end->sequence);
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"the journal is damaged: block %" PRIu64 " should be at byte %" PRIu64
			" of '%s', but is not; segment %" PRIu64 " shows that blocks up to %" PRIu64
			" were stored",
			walk->last + 1, walk->end->end, end, segment->sequence, segment->after);
	}
	for (uint64_t at = segment->end; at < segment->bytes; at += SCAN_BYTES) {
		size_t size = (size_t)ANNALS_MIN((uint64_t)SCAN_BYTES, segment->bytes - at);
		int r = segment_read(segment, at, scratch, size, err);
		for (size_t i = 0; i < size && r == 0; i += JOURNAL_PAGE_BYTES) {
			r = check_page(walk, segment, at + i, scratch + i, err);
		}
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

/* Is the block there that was the last one when the journal was closed, or opened, last? */
static int check_witness(
	const struct journal_file *journal, const struct walk *walk, struct error *err)
{
	struct journal_witness witness;
	char name[SEGMENT_NAME_BYTES];
	int slot;
	int r = journal_witness_read(journal->dir_fd, journal->uuid, &witness, &slot, err);

	if (r < 0 || walk->last > witness.number ||
		(walk->last == witness.number && walk->chain == witness.crc)) {
		return r;
	}
	segment_name(name, SEGMENT_NAME_SEGMENT, witness.sequence);
	return error_fail(err, ANNALS_E_CORRUPT_DATA,
		"the journal is damaged: it ends with block %" PRIu64 ", but '%s' shows that block "
		"%" PRIu64 " was stored at byte %" PRIu64 " of '%s'%s",
		walk->last, JOURNAL_WITNESS_NAME, witness.number, witness.offset, name,
		walk->last == witness.number ? ", and another one is there" : "");
}

static int check_behind(struct journal_file *journal, const struct walk *walk, struct error *err)
{
	if (walk->end == NULL) {
		return 0;
	}
	const struct segment *first = LIST_ENTRY(journal->segments.next, struct segment, node);
	if (!walk->started && first->sequence > 1) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"the journal is damaged: segment %" PRIu64
			", the oldest one, should begin with a block but does not",
			first->sequence);
	}
	uint8_t *scratch = malloc(SCAN_BYTES);
	if (scratch == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to check the journal");
	}
	int r = 0;
	for (struct list_node *node = &walk->end->node; node != &journal->segments && r == 0;
		node = node->next) {
		r = check_rest(walk, LIST_ENTRY(node, struct segment, node), scratch, err);
	}
	free(scratch);
	return r;
}

/* Writes one frame again, byte for byte. 0 or ANNALS_E_*. */
static int rewrite_frame(
	const struct segment *segment, uint64_t number, struct buf *scratch, struct error *err)
{
	uint64_t index = number - segment->first_number;
	uint64_t begin = (uint64_t)segment->pages[index] * JOURNAL_PAGE_BYTES;
	uint64_t end = index + 1 < segment->count
			       ? (uint64_t)segment->pages[index + 1] * JOURNAL_PAGE_BYTES
			       : segment->end;
	buf_reset(scratch);
	if (buf_reserve(scratch, (size_t)(end - begin)) < 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to open the journal");
	}
	int r = segment_read(segment, begin, scratch->data, (size_t)(end - begin), err);
	if (r < 0) {
		return r;
	}
	ANNALS_FAULT("journal.open_rewrite");
	for (uint64_t done = 0; done < end - begin;) {
		ssize_t n = pwrite(segment->fd, scratch->data + done, (size_t)(end - begin - done),
			(off_t)(begin + done));
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return error_errno(err, ANNALS_E_IO, n < 0 ? errno : EIO,
				"cannot write block %" PRIu64 " of the journal again", number);
		}
		done += (uint64_t)n;
	}
	return 0;
}

/*
 * Makes what was read durable. A sync alone is not enough: after a failed one Linux marks the pages
 * clean, so a block may be readable and not be on the disk, and the next sync says nothing.
 * Therefore every block that its successor does not vouch for (mostly one) is written again.
 */
static int make_durable(struct journal_file *journal, struct walk *walk, struct error *err)
{
	struct list_node *node;
	LIST_FOR_EACH (node, &journal->segments) {
		struct segment *segment = LIST_ENTRY(node, struct segment, node);
		int r = 0;
		for (uint32_t i = 0; i < segment->count && r == 0; i++) {
			if (segment->first_number + i > walk->durable) {
				r = rewrite_frame(
					segment, segment->first_number + i, &walk->block, err);
			}
		}
		if (r < 0) {
			return r;
		}
		ANNALS_FAULT("journal.open_sync");
		int injected = ANNALS_FAULT_ERRNO("journal.open_sync");
		if (injected != 0 || fdatasync(segment->fd) < 0) {
			return error_errno(err, ANNALS_E_IO, injected != 0 ? injected : errno,
				"cannot sync journal segment %" PRIu64, segment->sequence);
		}
	}
	return segment_sync_dir(journal->dir_fd, err);
}

/* Prepared segments of another size (the option changed) go, from the last one down, so that no
 * hole appears. */
static int drop_misfits(struct journal_file *journal, struct error *err)
{
	struct list_node *keep = &journal->current->node;
	while (keep->next != &journal->segments &&
		LIST_ENTRY(keep->next, struct segment, node)->bytes == journal->segment_bytes) {
		keep = keep->next;
	}
	bool dropped = false;
	while (journal->segments.prev != keep) {
		struct segment *segment = LIST_ENTRY(journal->segments.prev, struct segment, node);
		char name[SEGMENT_NAME_BYTES];
		segment_name(name, SEGMENT_NAME_SEGMENT, segment->sequence);
		list_remove(&segment->node);
		journal->next_sequence = segment->sequence;
		segment_free(segment);
		(void)unlinkat(journal->dir_fd, name, 0);
		dropped = true;
	}
	return dropped ? segment_sync_dir(journal->dir_fd, err) : 0;
}

enum journal_result journal_scan(struct journal_file *journal, struct error *err)
{
	ANNALS_FAULT("journal.open_scan");
	enum journal_result result = open_segments(journal, err);
	if (result != JOURNAL_OK) {
		return result;
	}
	struct walk walk = {.started = false};
	int r = walk_chain(journal, &walk, err);
	if (r == 0) {
		r = check_behind(journal, &walk, err);
	}
	if (r == 0) {
		r = check_witness(journal, &walk, err);
	}
	if (r == 0 && !journal->read_only) {
		r = make_durable(journal, &walk, err);
	}
	if (r == 0) {
		journal->current = walk.end;
		journal->last = walk.last;
		journal->durable = walk.last;
		journal->chain = walk.chain;
		journal->base.last_block = walk.last;
		journal->base.first_block =
			walk.started ? LIST_ENTRY(journal->segments.next, struct segment, node)
					       ->first_number
				     : 0;
	}
	if (r == 0 && !journal->read_only && journal->current != NULL) {
		r = drop_misfits(journal, err);
	}
	if (r == 0 && !journal->read_only) {
		r = journal_testify(journal, err);
		r = r == ANNALS_E_STORAGE_FULL ? 0 : r; /* a full disk still opens */
	}
	buf_release(&walk.block);
	return r == 0 ? JOURNAL_OK : result_of(r);
}
