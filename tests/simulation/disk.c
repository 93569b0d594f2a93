#include "disk.h"

#include <assert.h>
#include <stdlib.h>

#define BLOCKS_MAX 4096u

struct block {
	uint8_t *data;
	size_t size;
};

static struct {
	struct block blocks[BLOCKS_MAX]; /* the block n is blocks[n] */
	uint64_t first, last, synced;    /* last 0: empty */
	enum disk_fault fault;
	unsigned countdown;
	bool armed;
} disk;

static struct journal open_journal;

static bool strikes(enum disk_fault fault)
{
	if (!disk.armed || disk.fault != fault) {
		return false;
	}
	if (disk.countdown > 0) {
		disk.countdown--;
		return false;
	}
	disk.armed = false;
	return true;
}

static enum journal_result unknown(struct error *err)
{
	(void)error_fail(err, ANNALS_E_OUTCOME_UNKNOWN, "the simulated disk failed");
	return JOURNAL_UNKNOWN;
}

static void forget(uint64_t from, uint64_t to)
{
	for (uint64_t number = from; number < to; number++) {
		free(disk.blocks[number].data);
		disk.blocks[number] = (struct block){NULL, 0};
	}
}

static enum journal_result disk_open(
	const struct journal_options *options, struct journal **ret, struct error *err)
{
	extern const struct journal_ops disk_ops;

	(void)options;
	(void)err;
	/* What was read has been synced when open returns. */
	disk.synced = disk.last;
	open_journal = (struct journal){.ops = &disk_ops,
		.first_block = disk.last == 0 ? 0 : disk.first,
		.last_block = disk.last};
	*ret = &open_journal;
	return JOURNAL_OK;
}

static enum journal_result disk_write(struct journal *journal, uint64_t prev, struct bytes block,
	uint64_t *ret_number, struct error *err)
{
	struct block *to;

	(void)journal;
	if (strikes(DISK_WRITE_FULL)) {
		(void)error_fail(err, ANNALS_E_STORAGE_FULL, "the simulated disk is full");
		return JOURNAL_FULL;
	}
	if (strikes(DISK_WRITE_LOST)) {
		return unknown(err);
	}
	if (prev != disk.last) {
		(void)error_fail(err, ANNALS_E_CONFLICT, "not the last block");
		return JOURNAL_CONFLICT;
	}
	assert(disk.last + 1 < BLOCKS_MAX);
	to = &disk.blocks[++disk.last];
	to->data = malloc(block.size);
	assert(to->data != NULL);
	memcpy(to->data, block.data, block.size);
	to->size = block.size;
	if (disk.first == 0) {
		disk.first = disk.last;
	}
	if (strikes(DISK_WRITE_ANSWER)) {
		return unknown(err);
	}
	*ret_number = disk.last;
	return JOURNAL_OK;
}

static enum journal_result disk_sync(struct journal *journal, struct error *err)
{
	(void)journal;
	if (strikes(DISK_SYNC_LOST)) {
		return unknown(err);
	}
	disk.synced = disk.last;
	return strikes(DISK_SYNC_ANSWER) ? unknown(err) : JOURNAL_OK;
}

static enum journal_result disk_read(struct journal *journal, uint64_t from, struct buf *out,
	uint64_t *ret_number, struct error *err)
{
	uint64_t number = from < disk.first ? disk.first : from;

	(void)journal;
	buf_reset(out);
	*ret_number = 0;
	if (disk.last == 0 || number > disk.last) {
		return JOURNAL_OK;
	}
	if (buf_add(out, disk.blocks[number].data, disk.blocks[number].size) != 0) {
		(void)error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a block");
		return JOURNAL_FAILED;
	}
	*ret_number = number;
	return JOURNAL_OK;
}

static enum journal_result disk_trim(struct journal *journal, uint64_t keep, struct error *err)
{
	bool is_lost = strikes(DISK_TRIM_LOST);

	(void)journal;
	if (!is_lost && disk.last != 0) {
		uint64_t first = keep > disk.last ? disk.last : keep;
		if (first > disk.first) {
			forget(disk.first, first);
			disk.first = first;
		}
	}
	if (is_lost || strikes(DISK_TRIM_ANSWER)) {
		(void)error_fail(err, ANNALS_E_IO, "the simulated disk failed to trim");
		return JOURNAL_FAILED;
	}
	return JOURNAL_OK;
}

static void disk_stats(struct journal *journal, struct journal_stats *ret)
{
	(void)journal;
	*ret = (struct journal_stats){
		.segments = 1, .first_block = disk.first, .last_block = disk.last};
}

static void disk_close(struct journal *journal)
{
	(void)journal;
}

extern const struct journal_ops disk_ops;
const struct journal_ops disk_ops = {
	.name = "simulated",
	.open = disk_open,
	.write_block = disk_write,
	.sync = disk_sync,
	.read_block = disk_read,
	.trim = disk_trim,
	.stats = disk_stats,
	.close = disk_close,
};

void disk_init(void)
{
	disk_release();
	journal_set_simulated(&disk_ops);
}

void disk_release(void)
{
	forget(0, BLOCKS_MAX);
	disk.first = disk.last = disk.synced = 0;
	disk.armed = false;
}

void disk_strike(enum disk_fault fault, unsigned countdown)
{
	disk.fault = fault;
	disk.countdown = countdown;
	disk.armed = true;
}

void disk_cut(uint64_t kept)
{
	uint64_t last = disk.synced + kept < disk.last ? disk.synced + kept : disk.last;

	disk.armed = false;
	forget(last + 1, disk.last + 1);
	disk.last = last;
	if (last == 0) {
		disk.first = 0;
	}
}
