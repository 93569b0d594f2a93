/*
 * Real time: all beginnings and ends of operations in their order, and what was known of each log
 * at that moment. At the same instant a beginning comes first, so that such operations count as
 * concurrent.
 */
#include "checker_state.h"

#include <inttypes.h>
#include <stdlib.h>

/* A claim of the end that lies before what was known when it was asked for. */
struct stale {
	uint64_t known_end;
	uint32_t claim, known_by, log;
};

struct sweep {
	struct checker *checker;
	LIST(struct sort_item) items; /* key: time * 2 + is_return; index: the part */
	LIST(struct stale) stale;
};

static int add_point(struct sweep *sweep, uint64_t time_ns, uint32_t part, bool is_return)
{
	if (LIST_GROW(&sweep->items) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	sweep->items.at[sweep->items.count++] = (struct sort_item){
		(time_ns - sweep->checker->first_ns) * 2 + (is_return ? 1 : 0), part};
	return 0;
}

/* When an append began: that of its first attempt, unless this attempt's own answer is certain. */
static uint64_t effective_invoke(
	const struct checker *checker, const struct op *op, const struct part *part)
{
	const struct request *request = &checker->requests.at[op->request];

	if (op->outcome == HISTORY_DONE && !request->idempotent &&
		(part->mask & HISTORY_PART_REPLAYED) == 0) {
		return op->invoke_ns;
	}
	return ANNALS_MIN(request->first_invoke_ns, op->invoke_ns);
}

static int add_points(struct sweep *sweep)
{
	const struct checker *checker = sweep->checker;

	for (uint32_t i = 0; i < checker->parts.count; i++) {
		const struct part *part = &checker->parts.at[i];
		const struct op *op = op_of(checker, part);
		uint64_t invoke_ns = op->invoke_ns;
		int status;
		if (op->kind == HISTORY_APPEND) {
			bool conflict = op->outcome == HISTORY_CONFLICT &&
					(part->mask & HISTORY_PART_VERSION) != 0;
			if (!conflict && part->place == PLACE_NONE &&
				part->version_place == PLACE_NONE) {
				continue;
			}
			invoke_ns = effective_invoke(checker, op, part);
		} else if (op->kind != HISTORY_READ && op->kind != HISTORY_DELIVER &&
			   op->kind != HISTORY_TRIM) {
			continue;
		}
		status = add_point(sweep, invoke_ns, i, false);
		if (status == 0) {
			status = add_point(sweep, op->return_ns, i, true);
		}
		if (status != 0) {
			return status;
		}
	}
	return 0;
}

static void learn_end(
	struct checker *checker, uint32_t log_index, uint64_t end, uint32_t part, bool is_conflict)
{
	struct log *log = &checker->logs.at[log_index];

	if (end > log->known_end) {
		log->known_end = end;
		log->known_end_by = part;
	}
	if (!is_conflict && end > log->largest_end) {
		log->largest_end = end;
	}
}

static void append_begins(struct checker *checker, uint32_t index)
{
	const struct part *part = &checker->parts.at[index];
	const struct op *op = op_of(checker, part);
	const struct log *log = &checker->logs.at[part->log];

	if (op->outcome == HISTORY_CONFLICT) {
		const struct log *stream = part->stream_log != CHECKER_NONE
						   ? &checker->logs.at[part->stream_log]
						   : NULL;
		if (stream != NULL && part->version < stream->known_end) {
			checker_violation(checker, CHECKER_I9, stream->known_end_by, index,
				"a conflict named the next version %" PRIu64 " when %" PRIu64
				" was known already",
				part->version, stream->known_end);
		}
		return;
	}
	if (part->mask & HISTORY_PART_REPLAYED) {
		return;
	}
	if (part->place != PLACE_NONE && part->place < log->known_end) {
		checker_violation(checker, CHECKER_I8, log->known_end_by, index,
			"an append got offset %" PRIu64 " although %" PRIu64
			" was taken before it began",
			part->place, log->known_end - 1);
	}
	if (part->version_place != PLACE_NONE && part->stream_log != CHECKER_NONE &&
		part->version_place < checker->logs.at[part->stream_log].known_end) {
		checker_violation(checker, CHECKER_I8,
			checker->logs.at[part->stream_log].known_end_by, index,
			"an append got version %" PRIu64 " although %" PRIu64
			" was taken before it began",
			part->version_place, checker->logs.at[part->stream_log].known_end - 1);
	}
}

static void append_returns(struct checker *checker, uint32_t index)
{
	const struct part *part = &checker->parts.at[index];
	const struct op *op = op_of(checker, part);

	if (op->outcome == HISTORY_CONFLICT) {
		if (part->stream_log != CHECKER_NONE) {
			learn_end(checker, part->stream_log, part->version, index, true);
		}
		return;
	}
	/* Acknowledged before the flush, or before it is due: readers may not see it yet. */
	if (op->outcome != HISTORY_DONE || (op->mask & (HISTORY_OP_OS | HISTORY_OP_DELAYED)) != 0) {
		return;
	}
	if (part->place != PLACE_NONE) {
		learn_end(checker, part->log, part->place + part->count, index, false);
	}
	if (part->version_place != PLACE_NONE && part->stream_log != CHECKER_NONE) {
		learn_end(
			checker, part->stream_log, part->version_place + part->count, index, false);
	}
}

static int read_begins(struct sweep *sweep, uint32_t index)
{
	struct checker *checker = sweep->checker;
	const struct part *part = &checker->parts.at[index];
	const struct op *op = op_of(checker, part);
	uint64_t place;
	uint32_t log_index = subject_of(part, &place);
	struct log *log = &checker->logs.at[log_index];

	if ((part->mask & HISTORY_PART_START) != 0 && part->start < log->known_start) {
		checker_violation(checker, CHECKER_I12, log->known_start_by, index,
			"the first kept offset went back from %" PRIu64 " to %" PRIu64,
			log->known_start, part->start);
	}
	if (op->outcome != HISTORY_DONE) {
		return 0;
	}
	if (part->count > 0 && place < log->known_start) {
		checker_violation(checker, CHECKER_I12, log->known_start_by, index,
			"offset %" PRIu64 " was served although the first kept one was %" PRIu64
			" already",
			place, log->known_start);
	}
	if ((part->mask & HISTORY_PART_END) == 0) {
		return 0;
	}
	log->last_claim = index;
	log->last_claim_ns = op->invoke_ns;
	if (part->end < log->known_end) {
		if (LIST_GROW(&sweep->stale) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
		sweep->stale.at[sweep->stale.count++] =
			(struct stale){log->known_end, index, log->known_end_by, log_index};
	}
	return 0;
}

static void read_returns(struct checker *checker, uint32_t index)
{
	const struct part *part = &checker->parts.at[index];
	const struct op *op = op_of(checker, part);
	uint64_t place;
	uint32_t log_index = subject_of(part, &place);
	struct log *log = &checker->logs.at[log_index];

	if (part->mask & HISTORY_PART_START) {
		if (log->trim_only && part->start > log->trimmed) {
			checker_violation(checker, CHECKER_I12, index, CHECKER_NONE,
				"the first kept offset is %" PRIu64
				", but nobody asked for more than %" PRIu64 " to be removed",
				part->start, log->trimmed);
		}
		if (part->start > log->known_start) {
			log->known_start = part->start;
			log->known_start_by = index;
		}
		if (op->outcome == HISTORY_REFUSED && (part->mask & HISTORY_PART_OFFSET) != 0 &&
			place >= part->start) {
			checker_violation(checker, CHECKER_I12, index, CHECKER_NONE,
				"offset %" PRIu64 " was refused as removed, but the first kept "
				"one is %" PRIu64,
				place, part->start);
		}
	}
	if (op->outcome != HISTORY_DONE) {
		return;
	}
	if (part->count > 0) {
		learn_end(checker, log_index, place + part->count, index, false);
	}
	if (part->mask & HISTORY_PART_END) {
		learn_end(checker, log_index, part->end, index, false);
	}
}

static int visit(struct sweep *sweep, uint32_t index, bool is_return)
{
	struct checker *checker = sweep->checker;
	const struct part *part = &checker->parts.at[index];

	switch (op_of(checker, part)->kind) {
	case HISTORY_APPEND:
		(is_return ? append_returns : append_begins)(checker, index);
		return 0;
	case HISTORY_READ:
		if (!is_return) {
			return read_begins(sweep, index);
		}
		read_returns(checker, index);
		return 0;
	case HISTORY_DELIVER:
		if (is_return) {
			read_returns(checker, index);
		}
		return 0;
	default: /* a trim may work from its beginning on */
		if (!is_return && op_of(checker, part)->outcome != HISTORY_REFUSED) {
			struct log *log = &checker->logs.at[part->log];
			log->trimmed = ANNALS_MAX(log->trimmed, part->offset);
		}
		return 0;
	}
}

/* Lost for good (I1), or only not seen by one reader (I8)? */
static void report_stale(struct checker *checker, const struct stale *stale)
{
	const struct log *log = &checker->logs.at[stale->log];
	const char *place = log->is_stream ? "version" : "offset";
	const struct part *known = &checker->parts.at[stale->known_by];
	const struct part *last = &checker->parts.at[log->last_claim];

	if (op_of(checker, known)->kind == HISTORY_APPEND && last->end < stale->known_end) {
		checker_violation(checker, CHECKER_I1, stale->known_by, stale->claim,
			"the event acknowledged at %s %" PRIu64
			" is lost: a later read found the end at %" PRIu64,
			place, stale->known_end - 1, checker->parts.at[stale->claim].end);
	} else {
		checker_violation(checker, CHECKER_I8, stale->known_by, stale->claim,
			"a read found the end at %" PRIu64 " although %s %" PRIu64
			" was known before it began",
			checker->parts.at[stale->claim].end, place, stale->known_end - 1);
	}
}

/* What may still be there although nobody saw it; and appends acknowledged before the flush, which
 * must be there once the log was looked at long after. */
#define FLUSH_GRACE_NS UINT64_C(2000000000)
static void check_unseen(struct checker *checker)
{
	for (uint32_t i = 0; i < checker->parts.count; i++) {
		const struct part *part = &checker->parts.at[i];
		const struct op *op = op_of(checker, part);
		struct log *log = &checker->logs.at[part->log];
		if (op->kind != HISTORY_APPEND || !was_submitted(op)) {
			continue;
		}
		if (part->place == PLACE_NONE) {
			log->unresolved += part->count;
		}
		if (part->stream_log != CHECKER_NONE) {
			struct log *stream = &checker->logs.at[part->stream_log];
			if (part->version_place == PLACE_NONE) {
				stream->unresolved += part->count;
			} else { /* found, though nobody read as far as its end */
				stream->largest_end = ANNALS_MAX(
					stream->largest_end, part->version_place + part->count);
			}
		}
		if (op->outcome == HISTORY_DONE && (op->mask & HISTORY_OP_OS) != 0 &&
			part->place != PLACE_NONE && log->last_claim != CHECKER_NONE &&
			log->last_claim_ns > op->return_ns + FLUSH_GRACE_NS &&
			checker->parts.at[log->last_claim].end < part->place + part->count) {
			checker_violation(checker, CHECKER_I1, i, log->last_claim,
				"the event acknowledged at offset %" PRIu64
				" is lost: a later read found the end at %" PRIu64,
				part->place + part->count - 1,
				checker->parts.at[log->last_claim].end);
		}
	}
}

int checker_sweep(struct checker *checker)
{
	struct sweep sweep = {.checker = checker};
	int status = add_points(&sweep);

	if (status == 0) {
		status = sort_items(sweep.items.at, sweep.items.count);
	}
	for (size_t i = 0; status == 0 && i < sweep.items.count; i++) {
		status = visit(&sweep, sweep.items.at[i].index, (sweep.items.at[i].key & 1) != 0);
	}
	for (size_t i = 0; status == 0 && i < sweep.stale.count; i++) {
		report_stale(checker, &sweep.stale.at[i]);
	}
	if (status == 0) {
		check_unseen(checker);
	}
	free(sweep.items.at);
	free(sweep.stale.at);
	return status;
}
