/*
 * The file journal: segments of a fixed size, overwritten in place. Formats are in journal_frame.h,
 * opening in journal_scan.c, the coming and going of segments in journal_prepare.c.
 *
 * A write is one pwritev of header, block and padding into space that exists and holds real blocks
 * of data on the disk already, so the fdatasync that follows has no metadata to write. A frame
 * begins on a page of its own: writing it touches no byte of an earlier block.
 *
 * What a failure leaves behind: a frame counts only when all of it is there (its CRC) and it
 * follows the one before it (number and chain). A write that failed before its first byte is
 * JOURNAL_FULL or JOURNAL_FAILED and changed nothing. After a first byte it is JOURNAL_UNKNOWN,
 * whatever the error: perhaps only padding is missing.
 */
#include "journal_file.h"
#include "journal_witness.h"

#include <annals/fault.h>
#include <annals/hash.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

int journal_testify(struct journal_file *journal, struct error *err)
{
	struct journal_witness witness = {.number = journal->last};
	const struct segment *segment = journal->current;
	if (journal->durable != journal->last || journal->base.failed) {
		return 0;
	}
	if (journal->last > 0) {
		/* A segment that was just begun holds no block: then it is in the one before. */
		while (segment->count == 0 && segment->node.prev != &journal->segments) {
			segment = LIST_ENTRY(segment->node.prev, struct segment, node);
		}
		if (segment->count == 0) {
			return 0;
		}
		witness.sequence = segment->sequence;
		witness.offset = (uint64_t)segment->pages[segment->count - 1] * JOURNAL_PAGE_BYTES;
		witness.crc = journal->chain;
	}
	return journal_witness_write(journal->dir_fd, journal->uuid, &witness, err);
}

static void file_close(struct journal *base)
{
	struct journal_file *journal = (struct journal_file *)base;
	journal_preparer_stop(journal);
	if (journal->is_open) {
		/* Best effort: without it the newest blocks have no witness, as after a kill. */
		struct error err;
		int r = journal_testify(journal, &err);
		(void)r;
	}
	while (!list_is_empty(&journal->segments)) {
		struct segment *segment =
			LIST_ENTRY(list_pop(&journal->segments), struct segment, node);
		assert(segment->references == 1);
		segment_free(segment);
	}
	if (journal->dir_fd >= 0) {
		(void)close(journal->dir_fd);
	}
	pthread_cond_destroy(&journal->changed);
	pthread_mutex_destroy(&journal->mutex);
	free(journal->zeros);
	free(journal);
}

static enum journal_result check_options(const struct journal_options *options, struct error *err)
{
	if (!options->read_only && (options->segment_bytes < SEGMENT_BYTES_MIN ||
					   options->segment_bytes > SEGMENT_BYTES_MAX ||
					   options->segment_bytes % JOURNAL_PAGE_BYTES != 0)) {
		error_fail(err, ANNALS_E_INVALID,
			"the journal's segment size must be a multiple of %u from %u to %" PRIu64
			" bytes, not %" PRIu64,
			JOURNAL_PAGE_BYTES, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX,
			options->segment_bytes);
		return JOURNAL_FAILED;
	}
	return JOURNAL_OK;
}

/* The first segment of a new journal is made at once, so that a directory that cannot be written is
 * found now; a full disk is not an error. */
static enum journal_result start_writing(struct journal_file *journal, struct error *err)
{
	enum journal_result result = JOURNAL_OK;
	if (journal->current == NULL) {
		result = journal_prepare(journal, err);
		if (result == JOURNAL_FULL) {
			result = JOURNAL_OK;
		} else if (result == JOURNAL_OK) {
			journal->current = LIST_ENTRY(journal->segments.next, struct segment, node);
		}
	}
	return result == JOURNAL_OK ? journal_preparer_start(journal, err) : result;
}

static enum journal_result file_open(
	const struct journal_options *options, struct journal **ret, struct error *err)
{
	enum journal_result result = check_options(options, err);
	if (result != JOURNAL_OK) {
		return result;
	}
	struct journal_file *journal = calloc(1, sizeof(*journal));
	uint8_t *zeros = calloc(1, JOURNAL_PAGE_BYTES);
	if (journal == NULL || zeros == NULL) {
		free(journal);
		free(zeros);
		error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the journal");
		return JOURNAL_FAILED;
	}
	journal->base.ops = &journal_file_ops;
	journal->zeros = zeros;
	journal->segment_bytes = options->segment_bytes;
	journal->read_only = options->read_only;
	memcpy(journal->uuid, options->store_uuid, sizeof(journal->uuid));
	random_bytes(&journal->opening, sizeof(journal->opening));
	list_init(&journal->segments);
	pthread_mutex_init(&journal->mutex, NULL);
	pthread_cond_init(&journal->changed, NULL);
	journal->dir_fd = open(options->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (journal->dir_fd < 0) {
		error_errno(err, ANNALS_E_IO, errno, "cannot open journal directory '%s'",
			options->dir);
		result = JOURNAL_FAILED;
	}
	if (result == JOURNAL_OK) {
		result = journal_scan(journal, err);
		journal->is_open = result == JOURNAL_OK && !journal->read_only;
	}
	if (result == JOURNAL_OK && !journal->read_only) {
		result = start_writing(journal, err);
	}
	if (result != JOURNAL_OK) {
		file_close(&journal->base);
		return result;
	}
	*ret = &journal->base;
	return JOURNAL_OK;
}

/* Syncs the current segment. JOURNAL_OK or JOURNAL_UNKNOWN. */
static enum journal_result sync_current(struct journal_file *journal, struct error *err)
{
	if (!journal->dirty) {
		return JOURNAL_OK;
	}
	int injected = ANNALS_FAULT_ERRNO("journal.sync");
	if (injected != 0 || (!ANNALS_MUTATION("no_sync") && fdatasync(journal->current->fd) < 0)) {
		error_errno(err, ANNALS_E_OUTCOME_UNKNOWN, injected != 0 ? injected : errno,
			"cannot sync journal segment %" PRIu64, journal->current->sequence);
		return JOURNAL_UNKNOWN;
	}
	journal->dirty = false;
	pthread_mutex_lock(&journal->mutex);
	journal->durable = journal->last;
	pthread_mutex_unlock(&journal->mutex);
	return JOURNAL_OK;
}

/* Drops `count` bytes from the front of the vector. */
static void advance(struct iovec **vector, int *vector_count, size_t count)
{
	while (count > 0) {
		size_t part = ANNALS_MIN(count, (*vector)->iov_len);
		(*vector)->iov_base = (uint8_t *)(*vector)->iov_base + part;
		(*vector)->iov_len -= part;
		count -= part;
		while (*vector_count > 0 && (*vector)->iov_len == 0) {
			(*vector)++;
			(*vector_count)--;
		}
	}
}

/* The fault points of a write: an error before the first byte, and one in the middle. */
static ssize_t write_some(int fd, const struct iovec *vector, int count, uint64_t offset)
{
	int injected = ANNALS_FAULT_ERRNO("journal.write");
	if (injected != 0) {
		errno = injected;
		return -1;
	}
	if (ANNALS_FAULT_ERRNO("journal.short_write") != 0) {
		return pwrite(fd, vector->iov_base, vector->iov_len, (off_t)offset);
	}
	return pwritev(fd, vector, count, (off_t)offset);
}

static enum journal_result write_failed(
	const struct segment *segment, int errno_value, bool begun, struct error *err)
{
	bool full = errno_value == ENOSPC || errno_value == EDQUOT;
	enum journal_result result = !begun && full ? JOURNAL_FULL : JOURNAL_UNKNOWN;
	error_errno(err, result == JOURNAL_FULL ? ANNALS_E_STORAGE_FULL : ANNALS_E_OUTCOME_UNKNOWN,
		errno_value, "cannot write journal segment %" PRIu64 " at byte %" PRIu64,
		segment->sequence, segment->end);
	return result;
}

static enum journal_result write_frame(struct journal_file *journal, struct segment *segment,
	uint8_t header[JOURNAL_HEADER_BYTES], struct bytes block, struct error *err)
{
	size_t used = JOURNAL_HEADER_BYTES + block.size;
	struct iovec vectors[3] = {
		{header, JOURNAL_HEADER_BYTES},
		{(void *)(uintptr_t)block.data, block.size},
		{journal->zeros, (size_t)journal_frame_size(block.size) - used},
	};
	struct iovec *vector = vectors;
	int count = vectors[2].iov_len > 0 ? 3 : 2;
	uint64_t offset = segment->end;
	while (count > 0) {
		ssize_t n = write_some(segment->fd, vector, count, offset);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return write_failed(
				segment, n < 0 ? errno : EIO, offset != segment->end, err);
		}
		offset += (uint64_t)n;
		advance(&vector, &count, (size_t)n);
	}
	return JOURNAL_OK;
}

/* Makes the current segment one that has room for `size` bytes. */
static enum journal_result make_room(struct journal_file *journal, uint64_t size, struct error *err)
{
	const struct segment *current = journal->current;
	if (current != NULL && size <= current->bytes - current->end) {
		return JOURNAL_OK;
	}
	enum journal_result result = sync_current(journal, err);
	return result == JOURNAL_OK ? journal_next_segment(journal, err) : result;
}

static enum journal_result file_write_block(struct journal *base, uint64_t prev, struct bytes block,
	uint64_t *ret_number, struct error *err)
{
	struct journal_file *journal = (struct journal_file *)base;
	if (journal->read_only) {
		error_fail(err, ANNALS_E_INVALID, "the journal was opened for reading only");
		return JOURNAL_FAILED;
	}
	if (prev != journal->last) {
		error_fail(err, ANNALS_E_CONFLICT,
			"the journal's last block is %" PRIu64 ", not %" PRIu64, journal->last,
			prev);
		return JOURNAL_CONFLICT;
	}
	if (block.size > UINT32_MAX ||
		journal_frame_size(block.size) > journal->segment_bytes - JOURNAL_PAGE_BYTES) {
		error_fail(err, ANNALS_E_INVALID,
			"a block of %zu bytes does not fit into a journal segment of %" PRIu64
			" bytes",
			block.size, journal->segment_bytes);
		return JOURNAL_FAILED;
	}
	enum journal_result result = make_room(journal, journal_frame_size(block.size), err);
	if (result != JOURNAL_OK) {
		return result;
	}
	struct segment *segment = journal->current;
	uint8_t header[JOURNAL_HEADER_BYTES];
	struct journal_frame frame = {
		.salt = segment->salt,
		.sequence = segment->sequence,
		.number = prev + 1,
		.durable = journal->durable,
		.chain = journal->chain,
		.length = (uint32_t)block.size,
		.opening = journal->opening,
		.uuid_part = load_u32(journal->uuid),
	};
	journal_frame_write(header, &frame, block);
	result = write_frame(journal, segment, header, block, err);
	if (result != JOURNAL_OK) {
		return result;
	}
	journal->dirty = true;
	journal->chain = frame.crc;
	pthread_mutex_lock(&journal->mutex);
	segment_note(segment, frame.number, frame.length);
	journal->last = frame.number;
	pthread_mutex_unlock(&journal->mutex);
	*ret_number = frame.number;
	return JOURNAL_OK;
}

static enum journal_result file_sync(struct journal *base, struct error *err)
{
	return sync_current((struct journal_file *)base, err);
}

/* Under the mutex: the segment that holds block `from` or, below the first one, the first. NULL:
 * there is none. */
static struct segment *find_segment(const struct journal_file *journal, uint64_t from)
{
	struct list_node *node;
	LIST_FOR_EACH (node, &journal->segments) {
		struct segment *segment = LIST_ENTRY(node, struct segment, node);
		if (segment->count > 0 && segment_last(segment) >= from) {
			return segment;
		}
	}
	return NULL;
}

static enum journal_result damaged(
	const struct segment *segment, uint64_t number, uint64_t offset, struct error *err)
{
	error_fail(err, ANNALS_E_CORRUPT_DATA,
		"block %" PRIu64 " at byte %" PRIu64 " of journal segment %" PRIu64
		" fails its checksum",
		number, offset, segment->sequence);
	return JOURNAL_CORRUPT;
}

static enum journal_result file_read_block(struct journal *base, uint64_t from, struct buf *out,
	uint64_t *ret_number, struct error *err)
{
	struct journal_file *journal = (struct journal_file *)base;
	pthread_mutex_lock(&journal->mutex);
	struct segment *segment = find_segment(journal, from);
	if (segment == NULL) {
		pthread_mutex_unlock(&journal->mutex);
		buf_reset(out);
		*ret_number = 0;
		return JOURNAL_OK;
	}
	uint64_t number = ANNALS_MAX(from, segment->first_number);
	uint64_t offset =
		(uint64_t)segment->pages[number - segment->first_number] * JOURNAL_PAGE_BYTES;
	segment->references++;
	pthread_mutex_unlock(&journal->mutex);

	struct journal_frame frame;
	enum journal_check check;
	enum journal_result result = JOURNAL_FAILED;
	if (segment_read_frame(segment, offset, &frame, out, &check, err) == 0) {
		bool good = check == JOURNAL_CHECK_OK && frame.number == number;
		result = good ? JOURNAL_OK : damaged(segment, number, offset, err);
	}
	pthread_mutex_lock(&journal->mutex);
	bool unused = --segment->references == 0;
	pthread_mutex_unlock(&journal->mutex);
	if (unused) {
		segment_free(segment);
	}
	if (result == JOURNAL_OK) {
		*ret_number = number;
	}
	return result;
}

static enum journal_result file_trim(struct journal *base, uint64_t keep, struct error *err)
{
	struct journal_file *journal = (struct journal_file *)base;
	if (journal->read_only) {
		error_fail(err, ANNALS_E_INVALID, "the journal was opened for reading only");
		return JOURNAL_FAILED;
	}
	return journal_recycle(journal, keep, err);
}

static void file_stats(struct journal *base, struct journal_stats *ret)
{
	struct journal_file *journal = (struct journal_file *)base;
	*ret = (struct journal_stats){.segments = 0};
	pthread_mutex_lock(&journal->mutex);
	struct list_node *node;
	LIST_FOR_EACH (node, &journal->segments) {
		const struct segment *segment = LIST_ENTRY(node, struct segment, node);
		ret->segments++;
		ret->bytes += segment->bytes;
		if (ret->first_block == 0) {
			ret->first_block = segment->first_number;
		}
	}
	ret->bytes += journal->spare_count * journal->segment_bytes;
	ret->last_block = journal->last;
	pthread_mutex_unlock(&journal->mutex);
}

const struct journal_ops journal_file_ops = {
	.name = "file",
	.caps = 0,
	.open = file_open,
	.write_block = file_write_block,
	.sync = file_sync,
	.read_block = file_read_block,
	.trim = file_trim,
	.stats = file_stats,
	.close = file_close,
};
