#include "journal_segment.h"

#include <annals/fault.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZERO_BYTES (1u << 20)
/* Zeros are synced in pieces, so that a long flush does not stand in the way of the writer's. */
#define ZERO_SYNC_BYTES (4u << 20)

void segment_name(char out[SEGMENT_NAME_BYTES], enum segment_name kind, uint64_t sequence)
{
	(void)snprintf(out, SEGMENT_NAME_BYTES, "%016" PRIx64 ".%s", sequence,
		kind == SEGMENT_NAME_SPARE ? "spare" : "segment");
}

enum segment_name segment_name_parse(const char *name, uint64_t *ret_sequence)
{
	uint64_t sequence = 0;
	for (int i = 0; i < 16; i++) {
		char c = name[i];
		if (c >= '0' && c <= '9') {
			sequence = sequence << 4 | (uint64_t)(c - '0');
		} else if (c >= 'a' && c <= 'f') {
			sequence = sequence << 4 | (uint64_t)(c - 'a' + 10);
		} else {
			return SEGMENT_NAME_OTHER;
		}
	}
	enum segment_name kind = strcmp(name + 16, ".segment") == 0 ? SEGMENT_NAME_SEGMENT
				 : strcmp(name + 16, ".spare") == 0 ? SEGMENT_NAME_SPARE
								    : SEGMENT_NAME_OTHER;
	if (kind != SEGMENT_NAME_OTHER) {
		*ret_sequence = sequence;
	}
	return kind;
}

static enum journal_result fail_errno(
	int errno_value, const char *what, const char *name, struct error *err)
{
	bool full = errno_value == ENOSPC || errno_value == EDQUOT || errno_value == EFBIG;
	error_errno(err, full ? ANNALS_E_STORAGE_FULL : ANNALS_E_IO, errno_value,
		"cannot %s journal file '%s'", what, name);
	return full ? JOURNAL_FULL : JOURNAL_FAILED;
}

int segment_sync_dir(int dir_fd, struct error *err)
{
	ANNALS_FAULT("journal.directory_sync");
	int injected = ANNALS_FAULT_ERRNO("journal.directory_sync");
	if (injected != 0 || (!ANNALS_MUTATION("no_directory_sync") && fsync(dir_fd) < 0)) {
		return error_errno(err, ANNALS_E_IO, injected != 0 ? injected : errno,
			"cannot sync the journal's directory");
	}
	return 0;
}

/* 0 or an errno. */
static int write_all(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
	while (size > 0) {
		ssize_t n = pwrite(fd, data, size, (off_t)offset);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return n < 0 ? errno : EIO;
		}
		data += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int write_zeros(int fd, uint64_t bytes)
{
	uint8_t *zeros = calloc(1, ZERO_BYTES);
	int errno_value = zeros == NULL ? ENOMEM : 0;
	for (uint64_t at = 0; at < bytes && errno_value == 0; at += ZERO_BYTES) {
		ANNALS_FAULT("journal.segment_zero");
		errno_value = ANNALS_FAULT_ERRNO("journal.segment_zero");
		if (errno_value == 0) {
			errno_value = write_all(
				fd, zeros, (size_t)ANNALS_MIN(ZERO_BYTES, bytes - at), at);
		}
		if (errno_value == 0 && (at + ZERO_BYTES) % ZERO_SYNC_BYTES == 0 &&
			fdatasync(fd) < 0) {
			errno_value = errno;
		}
	}
	free(zeros);
	return errno_value;
}

enum journal_result segment_create_file(
	int dir_fd, const char *name, uint64_t bytes, struct error *err)
{
	ANNALS_FAULT("journal.segment_create");
	int errno_value = ANNALS_FAULT_ERRNO("journal.segment_create");
	if (errno_value != 0) {
		return fail_errno(errno_value, "create", name, err);
	}
	int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0) {
		return fail_errno(errno, "create", name, err);
	}
	/* All the space first: a disk that is nearly full is found before anything is written. */
	if (fallocate(fd, 0, 0, (off_t)bytes) < 0 && errno != EOPNOTSUPP) {
		errno_value = errno;
	}
	if (errno_value == 0) {
		errno_value = write_zeros(fd, bytes);
	}
	if (errno_value == 0 && fsync(fd) < 0) {
		errno_value = errno;
	}
	(void)close(fd);
	if (errno_value != 0) {
		(void)unlinkat(dir_fd, name, 0);
		return fail_errno(errno_value, "preallocate", name, err);
	}
	return JOURNAL_OK;
}

static struct segment *segment_new(int fd, const struct journal_segment_header *header)
{
	struct segment *segment = calloc(1, sizeof(*segment));
	uint32_t *pages =
		calloc((size_t)(header->segment_bytes / JOURNAL_PAGE_BYTES), sizeof(*pages));
	if (segment == NULL || pages == NULL) {
		free(segment);
		free(pages);
		return NULL;
	}
	list_init(&segment->node);
	segment->fd = fd;
	segment->references = 1;
	segment->sequence = header->sequence;
	segment->salt = header->salt;
	segment->bytes = header->segment_bytes;
	segment->after = header->after;
	segment->end = JOURNAL_PAGE_BYTES;
	segment->pages = pages;
	return segment;
}

void segment_free(struct segment *segment)
{
	if (segment != NULL) {
		(void)close(segment->fd);
		free(segment->pages);
		free(segment);
	}
}

/* Writes and syncs the header. 0 or an errno. */
static int write_header(int fd, const struct journal_segment_header *header)
{
	uint8_t page[JOURNAL_PAGE_BYTES] = {0};
	journal_segment_header_write(page, header);
	ANNALS_FAULT("journal.segment_header");
	int errno_value = ANNALS_FAULT_ERRNO("journal.segment_header");
	if (errno_value == 0) {
		errno_value = write_all(fd, page, sizeof(page), 0);
	}
	if (errno_value == 0 && fdatasync(fd) < 0) {
		errno_value = errno;
	}
	return errno_value;
}

enum journal_result segment_begin(int dir_fd, const char *name,
	const struct journal_segment_header *header, struct segment **ret, struct error *err)
{
	char final_name[SEGMENT_NAME_BYTES];
	segment_name(final_name, SEGMENT_NAME_SEGMENT, header->sequence);
	int fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		return fail_errno(errno, "open", name, err);
	}
	struct segment *segment = segment_new(fd, header);
	if (segment == NULL) {
		(void)close(fd);
		error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a journal segment");
		return JOURNAL_FAILED;
	}
	int errno_value = write_header(fd, header);
	if (errno_value != 0) {
		segment_free(segment);
		return fail_errno(errno_value, "write the header of", name, err);
	}
	ANNALS_FAULT("journal.segment_rename");
	errno_value = ANNALS_FAULT_ERRNO("journal.segment_rename");
	if (errno_value != 0 || renameat(dir_fd, name, dir_fd, final_name) < 0) {
		errno_value = errno_value != 0 ? errno_value : errno;
		segment_free(segment);
		return fail_errno(errno_value, "rename", name, err);
	}
	if (segment_sync_dir(dir_fd, err) < 0) {
		/* Under this name it would be taken for the next segment; nothing is in it yet. */
		(void)unlinkat(dir_fd, final_name, 0);
		segment_free(segment);
		return JOURNAL_FAILED;
	}
	*ret = segment;
	return JOURNAL_OK;
}

/* Compares a segment's header with what it must say. */
static enum journal_result check_header(const char *name, enum journal_check check,
	const struct journal_segment_header *header, uint64_t sequence, const uint8_t uuid[16],
	uint64_t file_bytes, struct error *err)
{
	if (check == JOURNAL_CHECK_NEWER) {
		error_fail(err, ANNALS_E_FORMAT_NEWER,
			"journal segment '%s' was written by a newer version of Annals", name);
		return JOURNAL_FAILED;
	}
	if (check != JOURNAL_CHECK_OK) {
		error_fail(err, ANNALS_E_CORRUPT_DATA,
			"journal segment '%s' has a damaged header at byte 0", name);
		return JOURNAL_CORRUPT;
	}
	if (memcmp(header->uuid, uuid, sizeof(header->uuid)) != 0) {
		error_fail(err, ANNALS_E_INVALID, "journal segment '%s' belongs to another store",
			name);
		return JOURNAL_FAILED;
	}
	if (header->sequence != sequence) {
		error_fail(err, ANNALS_E_CORRUPT_DATA,
			"journal segment '%s' says that it is segment %" PRIu64, name,
			header->sequence);
		return JOURNAL_CORRUPT;
	}
	if (header->segment_bytes < SEGMENT_BYTES_MIN ||
		header->segment_bytes > SEGMENT_BYTES_MAX ||
		header->segment_bytes % JOURNAL_PAGE_BYTES != 0 ||
		header->segment_bytes != file_bytes) {
		error_fail(err, ANNALS_E_CORRUPT_DATA,
			"journal segment '%s' has %" PRIu64 " bytes where its header says %" PRIu64,
			name, file_bytes, header->segment_bytes);
		return JOURNAL_CORRUPT;
	}
	return JOURNAL_OK;
}

enum journal_result segment_open(int dir_fd, uint64_t sequence, const uint8_t uuid[16],
	bool read_only, struct segment **ret, struct error *err)
{
	char name[SEGMENT_NAME_BYTES];
	segment_name(name, SEGMENT_NAME_SEGMENT, sequence);
	int fd = openat(dir_fd, name, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0) {
		return fail_errno(errno, "open", name, err);
	}
	struct stat stat;
	uint8_t bytes[JOURNAL_HEADER_BYTES] = {0};
	struct journal_segment_header header = {.sequence = 0};
	enum journal_result result = JOURNAL_OK;
	if (fstat(fd, &stat) < 0 || pread(fd, bytes, sizeof(bytes), 0) < 0) {
		result = fail_errno(errno, "read", name, err);
	} else {
		enum journal_check check = journal_segment_header_read(bytes, &header);
		result = check_header(
			name, check, &header, sequence, uuid, (uint64_t)stat.st_size, err);
	}
	struct segment *segment = NULL;
	if (result == JOURNAL_OK) {
		segment = segment_new(fd, &header);
		if (segment == NULL) {
			error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a journal segment");
			result = JOURNAL_FAILED;
		}
	}
	if (segment == NULL) {
		(void)close(fd);
		return result;
	}
	*ret = segment;
	return JOURNAL_OK;
}

int segment_read(
	const struct segment *segment, uint64_t offset, void *out, size_t size, struct error *err)
{
	uint8_t *at = out;
	ANNALS_FAULT("journal.read");
	int injected = ANNALS_FAULT_ERRNO("journal.read");
	while (size > 0) {
		ssize_t n = injected != 0 ? -1 : pread(segment->fd, at, size, (off_t)offset);
		if (n < 0 && injected == 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return error_errno(err, ANNALS_E_IO,
				injected != 0 ? injected
				: n < 0       ? errno
					      : EIO,
				"cannot read journal segment %" PRIu64 " at byte %" PRIu64,
				segment->sequence, offset);
		}
		at += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int segment_read_frame(const struct segment *segment, uint64_t offset, struct journal_frame *ret,
	struct buf *out, enum journal_check *ret_check, struct error *err)
{
	uint8_t header[JOURNAL_HEADER_BYTES];
	buf_reset(out);
	*ret_check = JOURNAL_CHECK_ABSENT;
	if (offset > segment->bytes - JOURNAL_PAGE_BYTES) {
		return 0;
	}
	int r = segment_read(segment, offset, header, sizeof(header), err);
	if (r < 0) {
		return r;
	}
	enum journal_check check = journal_frame_read(header, ret);
	if (check != JOURNAL_CHECK_OK) {
		*ret_check = check;
		return 0;
	}
	if (ret->salt != segment->salt || ret->sequence != segment->sequence || ret->length == 0 ||
		journal_frame_size(ret->length) > segment->bytes - offset) {
		return 0;
	}
	if (buf_reserve(out, ret->length) < 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY,
			"no memory for a block of %" PRIu32 " bytes", ret->length);
	}
	r = segment_read(segment, offset + JOURNAL_HEADER_BYTES, out->data, ret->length, err);
	if (r < 0) {
		return r;
	}
	out->size = ret->length;
	*ret_check = ANNALS_MUTATION("accept_torn_tail")
			     ? JOURNAL_CHECK_OK
			     : journal_frame_check(header, buf_bytes(out));
	return 0;
}

void segment_note(struct segment *segment, uint64_t number, uint32_t length)
{
	if (segment->count == 0) {
		segment->first_number = number;
	}
	assert(number == segment->first_number + segment->count);
	segment->pages[segment->count++] = (uint32_t)(segment->end / JOURNAL_PAGE_BYTES);
	segment->end += journal_frame_size(length);
}
