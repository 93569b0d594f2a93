/*
 * Segments come and go here: the preparer thread makes the next one ahead of the writer, the
 * settler's trim turns old ones into spares.
 */
#include "journal_file.h"

#include <annals/fault.h>
#include <annals/hash.h>
#include <annals/thread.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Hands out the newest spare of the right size; the others of a wrong size are removed. False:
 * there is none. */
static bool take_spare(struct journal_file *journal, char ret_name[SEGMENT_NAME_BYTES])
{
	for (;;) {
		pthread_mutex_lock(&journal->mutex);
		uint64_t sequence =
			journal->spare_count == 0 ? 0 : journal->spares[--journal->spare_count];
		pthread_mutex_unlock(&journal->mutex);
		if (sequence == 0) {
			return false;
		}
		struct stat stat;
		segment_name(ret_name, SEGMENT_NAME_SPARE, sequence);
		if (fstatat(journal->dir_fd, ret_name, &stat, 0) == 0 &&
			(uint64_t)stat.st_size == journal->segment_bytes) {
			return true;
		}
		(void)unlinkat(journal->dir_fd, ret_name, 0);
	}
}

enum journal_result journal_prepare(struct journal_file *journal, struct error *err)
{
	char name[SEGMENT_NAME_BYTES];
	if (!take_spare(journal, name)) {
		(void)snprintf(name, sizeof(name), "%s", SEGMENT_CREATING_NAME);
		enum journal_result result =
			segment_create_file(journal->dir_fd, name, journal->segment_bytes, err);
		if (result != JOURNAL_OK) {
			return result;
		}
	}
	struct journal_segment_header header = {.segment_bytes = journal->segment_bytes};
	memcpy(header.uuid, journal->uuid, sizeof(header.uuid));
	random_bytes(&header.salt, sizeof(header.salt));
	pthread_mutex_lock(&journal->mutex);
	header.sequence = journal->next_sequence;
	header.after = journal->durable;
	pthread_mutex_unlock(&journal->mutex);
	struct segment *segment;
	enum journal_result result = segment_begin(journal->dir_fd, name, &header, &segment, err);
	if (result != JOURNAL_OK) {
		(void)unlinkat(journal->dir_fd, name, 0);
		return result;
	}
	pthread_mutex_lock(&journal->mutex);
	journal->next_sequence++;
	list_add_tail(&journal->segments, &segment->node);
	pthread_mutex_unlock(&journal->mutex);
	return JOURNAL_OK;
}

static void *preparer_main(void *arg)
{
	struct journal_file *journal = arg;
	thread_set_name("annals-journal");
	pthread_mutex_lock(&journal->mutex);
	for (;;) {
		while (!journal->wanted && !journal->stopping) {
			pthread_cond_wait(&journal->changed, &journal->mutex);
		}
		if (journal->stopping) {
			break;
		}
		journal->wanted = false;
		journal->busy = true;
		pthread_mutex_unlock(&journal->mutex);
		struct error error = {0, ""};
		enum journal_result result = journal_prepare(journal, &error);
		pthread_mutex_lock(&journal->mutex);
		journal->busy = false;
		journal->prepare_result = result;
		journal->prepare_error = error;
		pthread_cond_broadcast(&journal->changed);
	}
	pthread_mutex_unlock(&journal->mutex);
	return NULL;
}

/* Under the mutex: the segment after the current one, or NULL. */
static struct segment *prepared(const struct journal_file *journal)
{
	struct list_node *node =
		journal->current == NULL ? journal->segments.next : journal->current->node.next;
	return node == &journal->segments ? NULL : LIST_ENTRY(node, struct segment, node);
}

static void want_segment(struct journal_file *journal)
{
	journal->wanted = true;
	pthread_cond_broadcast(&journal->changed);
}

enum journal_result journal_preparer_start(struct journal_file *journal, struct error *err)
{
	/* Signals are the program's business, not this thread's. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = pthread_create(&journal->preparer, NULL, preparer_main, journal);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) {
		error_errno(err, ANNALS_E_NO_MEMORY, r, "cannot start the journal's thread");
		return JOURNAL_FAILED;
	}
	pthread_mutex_lock(&journal->mutex);
	journal->has_preparer = true;
	if (prepared(journal) == NULL) {
		want_segment(journal);
	}
	pthread_mutex_unlock(&journal->mutex);
	return JOURNAL_OK;
}

void journal_preparer_stop(struct journal_file *journal)
{
	pthread_mutex_lock(&journal->mutex);
	bool running = journal->has_preparer;
	journal->has_preparer = false;
	journal->stopping = true;
	pthread_cond_broadcast(&journal->changed);
	pthread_mutex_unlock(&journal->mutex);
	if (running) {
		pthread_join(journal->preparer, NULL);
	}
}

enum journal_result journal_next_segment(struct journal_file *journal, struct error *err)
{
	enum journal_result result = JOURNAL_OK;
	pthread_mutex_lock(&journal->mutex);
	struct segment *next = prepared(journal);
	if (next == NULL) {
		if (!journal->busy && !journal->wanted) {
			want_segment(journal);
		}
		while (journal->busy || journal->wanted) {
			pthread_cond_wait(&journal->changed, &journal->mutex);
		}
		next = prepared(journal);
	}
	if (next != NULL) {
		journal->current = next;
		if (prepared(journal) == NULL) {
			want_segment(journal);
		}
	} else {
		result = journal->prepare_result;
		if (err != NULL) {
			*err = journal->prepare_error;
		}
	}
	pthread_mutex_unlock(&journal->mutex);
	ANNALS_FAULT("journal.segment_switch");
	return result;
}

/* Under the mutex: the oldest segment if all its blocks lie below `keep` and it is not the current
 * one. */
static struct segment *find_old(const struct journal_file *journal, uint64_t keep)
{
	if (journal->current == NULL || journal->segments.next == &journal->current->node) {
		return NULL;
	}
	struct segment *segment = LIST_ENTRY(journal->segments.next, struct segment, node);
	return segment_last(segment) < keep ? segment : NULL;
}

/*
 * One at a time and the directory synced after each: after a crash the sequence has no hole, and a
 * file's header is not written anew while a crash could still bring its old name back.
 */
static enum journal_result recycle_one(
	struct journal_file *journal, struct segment *segment, struct error *err)
{
	char name[SEGMENT_NAME_BYTES], spare[SEGMENT_NAME_BYTES];
	segment_name(name, SEGMENT_NAME_SEGMENT, segment->sequence);
	segment_name(spare, SEGMENT_NAME_SPARE, segment->sequence);
	ANNALS_FAULT("journal.segment_recycle");
	int injected = ANNALS_FAULT_ERRNO("journal.segment_recycle");
	if (injected != 0 || renameat(journal->dir_fd, name, journal->dir_fd, spare) < 0) {
		error_errno(err, ANNALS_E_IO, injected != 0 ? injected : errno,
			"cannot rename journal segment '%s'", name);
		return JOURNAL_FAILED;
	}
	pthread_mutex_lock(&journal->mutex);
	list_remove(&segment->node);
	bool unread = --segment->references == 0;
	pthread_mutex_unlock(&journal->mutex);
	bool keep = unread && segment->bytes == journal->segment_bytes;
	uint64_t sequence = segment->sequence;
	if (unread) {
		segment_free(segment);
	}
	if (segment_sync_dir(journal->dir_fd, err) < 0) {
		return JOURNAL_FAILED;
	}
	pthread_mutex_lock(&journal->mutex);
	keep = keep && journal->spare_count < JOURNAL_SPARES_MAX;
	if (keep) {
		journal->spares[journal->spare_count++] = sequence;
	}
	pthread_mutex_unlock(&journal->mutex);
	if (!keep) {
		/* A reader may still be at it: its bytes stay as long as its descriptor, but nobody
		 * may write over them. */
		ANNALS_FAULT("journal.segment_unlink");
		(void)unlinkat(journal->dir_fd, spare, 0);
	}
	return JOURNAL_OK;
}

enum journal_result journal_recycle(struct journal_file *journal, uint64_t keep, struct error *err)
{
	enum journal_result result = JOURNAL_OK;
	for (;;) {
		pthread_mutex_lock(&journal->mutex);
		struct segment *segment = find_old(journal, keep);
		pthread_mutex_unlock(&journal->mutex);
		if (segment == NULL || result != JOURNAL_OK) {
			return result;
		}
		result = recycle_one(journal, segment, err);
	}
}
