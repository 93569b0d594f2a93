#include "journal_witness.h"

#include "journal_segment.h"

#include <annals/crc32c.h>
#include <annals/fault.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define WITNESS_MAGIC 0x31574a41u
#define WITNESS_FORMAT 1u
#define WITNESS_BYTES 64u
#define WITNESS_SLOTS 2
#define WHOLE_BYTES ((off_t)WITNESS_SLOTS * JOURNAL_PAGE_BYTES)

static void encode(
	uint8_t out[WITNESS_BYTES], const uint8_t uuid[16], const struct journal_witness *witness)
{
	memset(out, 0, WITNESS_BYTES);
	store_u32(out, WITNESS_MAGIC);
	store_u32(out + 4, WITNESS_FORMAT);
	memcpy(out + 8, uuid, 16);
	store_u64(out + 24, witness->number);
	store_u64(out + 32, witness->sequence);
	store_u64(out + 40, witness->offset);
	store_u32(out + 48, witness->crc);
	store_u32(out + 60, crc32c(0, out, 60));
}

/* 1: a slot of this store's, 0: none, ANNALS_E_FORMAT_NEWER. */
static int decode(const uint8_t in[WITNESS_BYTES], const uint8_t uuid[16],
	struct journal_witness *ret, struct error *err)
{
	if (load_u32(in) != WITNESS_MAGIC || load_u32(in + 60) != crc32c(0, in, 60) ||
		memcmp(in + 8, uuid, 16) != 0) {
		return 0;
	}
	if (load_u32(in + 4) != WITNESS_FORMAT) {
		return error_fail(err, ANNALS_E_FORMAT_NEWER,
			"the journal's '%s' was written by a newer version of Annals",
			JOURNAL_WITNESS_NAME);
	}
	ret->number = load_u64(in + 24);
	ret->sequence = load_u64(in + 32);
	ret->offset = load_u64(in + 40);
	ret->crc = load_u32(in + 48);
	return 1;
}

static int read_slot(int fd, int slot, uint8_t out[WITNESS_BYTES], struct error *err)
{
	size_t done = 0;

	memset(out, 0, WITNESS_BYTES);
	while (done < WITNESS_BYTES) {
		ssize_t n = pread(fd, out + done, WITNESS_BYTES - done,
			(off_t)slot * JOURNAL_PAGE_BYTES + (off_t)done);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return error_errno(err, ANNALS_E_IO, errno,
				"cannot read the journal's '%s'", JOURNAL_WITNESS_NAME);
		}
		if (n == 0) {
			break; /* a file cut short: its first writing was */
		}
		done += (size_t)n;
	}
	return 0;
}

/* What counts of an open file. */
static int read_slots(int fd, const uint8_t uuid[16], struct journal_witness *ret, int *ret_slot,
	struct error *err)
{
	struct journal_witness best = {.number = 0}, found = best;
	uint8_t bytes[WITNESS_BYTES];
	int best_slot = -1;

	for (int slot = 0; slot < WITNESS_SLOTS; slot++) {
		int status = read_slot(fd, slot, bytes, err);
		status = status != 0 ? status : decode(bytes, uuid, &found, err);
		if (status < 0) {
			return status;
		}
		if (status == 1 && (best_slot < 0 || found.number > best.number)) {
			best = found;
			best_slot = slot;
		}
	}
	*ret = best;
	*ret_slot = best_slot;
	return 0;
}

int journal_witness_read(int dir_fd, const uint8_t uuid[16], struct journal_witness *ret,
	int *ret_slot, struct error *err)
{
	int fd = openat(dir_fd, JOURNAL_WITNESS_NAME, O_RDONLY | O_CLOEXEC);
	int status;

	if (fd < 0 && errno == ENOENT) {
		*ret = (struct journal_witness){.number = 0};
		*ret_slot = -1;
		return 0;
	}
	if (fd < 0) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot open the journal's '%s'",
			JOURNAL_WITNESS_NAME);
	}
	status = read_slots(fd, uuid, ret, ret_slot, err);
	(void)close(fd);
	return status;
}

/* 0 or an errno. */
static int write_page(int fd, int slot, const uint8_t page[JOURNAL_PAGE_BYTES])
{
	size_t done = 0;

	while (done < JOURNAL_PAGE_BYTES) {
		ssize_t n = pwrite(fd, page + done, JOURNAL_PAGE_BYTES - done,
			(off_t)slot * JOURNAL_PAGE_BYTES + (off_t)done);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return n < 0 ? errno : EIO;
		}
		done += (size_t)n;
	}
	return 0;
}

/* Writes a slot; a file that is too short gets its whole size first, so that a full disk is met
 * once and not at each writing. 0 or an errno. */
static int write_slot(int fd, int slot, const uint8_t header[WITNESS_BYTES])
{
	uint8_t page[JOURNAL_PAGE_BYTES] = {0};
	struct stat st;
	int failure = ANNALS_FAULT_ERRNO("journal.witness");

	if (failure == 0 && fstat(fd, &st) != 0) {
		failure = errno;
	}
	if (failure == 0 && st.st_size < WHOLE_BYTES && fallocate(fd, 0, 0, WHOLE_BYTES) != 0 &&
		errno != EOPNOTSUPP) {
		failure = errno;
	}
	memcpy(page, header, WITNESS_BYTES);
	failure = failure != 0 ? failure : write_page(fd, slot, page);
	ANNALS_FAULT("journal.witness_sync");
	return failure == 0 && fdatasync(fd) != 0 ? errno : failure;
}

static bool is_same(const struct journal_witness *a, const struct journal_witness *b)
{
	return a->number == b->number && a->sequence == b->sequence && a->offset == b->offset &&
	       a->crc == b->crc;
}

int journal_witness_write(int dir_fd, const uint8_t uuid[16], const struct journal_witness *witness,
	struct error *err)
{
	struct journal_witness before;
	uint8_t header[WITNESS_BYTES];
	int slot, failure, status;
	int fd = openat(dir_fd, JOURNAL_WITNESS_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0640);

	if (fd < 0) {
		failure = errno;
	} else {
		status = read_slots(fd, uuid, &before, &slot, err);
		if (status != 0 || (slot >= 0 && is_same(&before, witness))) {
			(void)close(fd);
			return status;
		}
		encode(header, uuid, witness);
		failure = write_slot(fd, slot == 0 ? 1 : 0, header);
		(void)close(fd);
		/* The name is new where nothing counted before. */
		if (failure == 0 && slot < 0) {
			return segment_sync_dir(dir_fd, err);
		}
	}
	if (failure == 0) {
		return 0;
	}
	status = failure == ENOSPC || failure == EDQUOT || failure == EFBIG ? ANNALS_E_STORAGE_FULL
									    : ANNALS_E_IO;
	return error_errno(
		err, status, failure, "cannot write the journal's '%s'", JOURNAL_WITNESS_NAME);
}
