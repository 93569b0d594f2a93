/* The logs, put together from what was acknowledged and what was read. */
#include "checker_state.h"

#include <inttypes.h>
#include <stdlib.h>

static int add_run(struct checker *checker, uint32_t part_index, uint32_t log, uint64_t offset)
{
	const struct part *part = &checker->parts.at[part_index];
	bool hole = (part->mask & HISTORY_PART_HOLE) != 0;

	if (part->count == 0 || (part->values == NULL && !hole)) {
		return 0;
	}
	if (LIST_GROW(&checker->runs) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	checker->runs.at[checker->runs.count++] = (struct run){.offset = offset,
		.values = hole ? NULL : part->values,
		.count = part->count,
		.part = part_index,
		.log = log,
		.acknowledged = op_of(checker, part)->kind == HISTORY_APPEND};
	checker->logs.at[log].run_count++;
	return 0;
}

static int collect_runs(struct checker *checker)
{
	for (uint32_t i = 0; i < checker->parts.count; i++) {
		const struct part *part = &checker->parts.at[i];
		const struct op *op = op_of(checker, part);
		int status = 0;
		if (op->outcome != HISTORY_DONE ||
			(op->kind != HISTORY_APPEND && op->kind != HISTORY_READ &&
				op->kind != HISTORY_DELIVER)) {
			continue;
		}
		if (part->mask & HISTORY_PART_OFFSET) {
			status = add_run(checker, i, part->log, part->offset);
		}
		if (status == 0 && part->stream_log != CHECKER_NONE &&
			(part->mask & HISTORY_PART_VERSION) != 0) {
			status = add_run(checker, i, part->stream_log, part->version);
		}
		if (status != 0) {
			return status;
		}
	}
	return 0;
}

/* Runs in the order of logs, offsets, and then of the history. */
static int sort_runs(struct checker *checker)
{
	size_t count = checker->runs.count, place = 0, widest = 0;
	struct run *sorted = malloc((count + 1) * sizeof(*sorted));
	struct sort_item *items = NULL;
	int status = sorted != NULL ? 0 : ANNALS_E_NO_MEMORY;

	for (size_t i = 0; i < checker->logs.count; i++) {
		checker->logs.at[i].first_run = place;
		place += checker->logs.at[i].run_count;
		widest = ANNALS_MAX(widest, checker->logs.at[i].run_count);
		checker->logs.at[i].run_count = 0;
	}
	items = malloc((widest + 1) * sizeof(*items));
	if (items == NULL) {
		status = ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; status == 0 && i < count; i++) {
		struct log *log = &checker->logs.at[checker->runs.at[i].log];
		sorted[log->first_run + log->run_count++] = checker->runs.at[i];
	}
	for (size_t i = 0; status == 0 && i < checker->logs.count; i++) {
		const struct log *log = &checker->logs.at[i];
		for (size_t k = 0; k < log->run_count; k++) {
			items[k] =
				(struct sort_item){sorted[log->first_run + k].offset, (uint32_t)k};
		}
		status = sort_items(items, log->run_count);
		for (size_t k = 0; status == 0 && k < log->run_count; k++) {
			checker->runs.at[log->first_run + k] =
				sorted[log->first_run + items[k].index];
		}
	}
	free(items);
	free(sorted);
	return status;
}

/* One place, two values: an append's against a read's is I1, otherwise I2. */
static void report_difference(
	struct checker *checker, const struct run *run, const struct slot *slot, uint64_t offset)
{
	bool against_owner = slot->owner != CHECKER_NONE;
	uint32_t other = against_owner ? slot->owner : slot->witness;
	const struct log *log = &checker->logs.at[run->log];
	const char *what = log->is_stream ? "version" : "offset";

	if (run->acknowledged && against_owner && log->is_stream &&
		((checker->parts.at[run->part].mask | checker->parts.at[other].mask) &
			HISTORY_PART_EXPECTED) != 0) {
		checker_violation(checker, CHECKER_I9, other, run->part,
			"two appends were told that they won %s %" PRIu64, what, offset);
	} else if (run->acknowledged != against_owner) {
		checker_violation(checker, CHECKER_I1, run->acknowledged ? run->part : other,
			run->acknowledged ? other : run->part,
			"the event acknowledged at %s %" PRIu64 " was read with other bytes", what,
			offset);
	} else if (run->acknowledged) {
		checker_violation(checker, CHECKER_I2, other, run->part,
			"two events were acknowledged at %s %" PRIu64, what, offset);
	} else {
		checker_violation(checker, CHECKER_I2, other, run->part,
			"two readers saw different events at %s %" PRIu64, what, offset);
	}
}

/* Two acknowledgements of one place belong together only as attempts of one request. */
static void own(struct checker *checker, const struct run *run, struct slot *slot, uint64_t offset)
{
	if (slot->owner == CHECKER_NONE) {
		slot->owner = run->part;
	} else if (op_of(checker, &checker->parts.at[slot->owner])->request !=
		   op_of(checker, &checker->parts.at[run->part])->request) {
		checker_violation(checker, CHECKER_I2, slot->owner, run->part,
			"two appends were acknowledged at %s %" PRIu64,
			checker->logs.at[run->log].is_stream ? "version" : "offset", offset);
	}
}

static void merge_run(
	struct checker *checker, const struct run *run, struct slot *slots, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (slots[i].value != value_of(run->values, i)) {
			report_difference(checker, run, &slots[i], run->offset + i);
		} else if (run->acknowledged) {
			own(checker, run, &slots[i], run->offset + i);
		} else if (slots[i].witness == CHECKER_NONE) {
			slots[i].witness = run->part;
		}
	}
}

static int extend(struct checker *checker, const struct run *run, uint32_t from)
{
	size_t need = checker->slots.count + (run->count - from);

	while (checker->slots.capacity < need) {
		void *grown = list_grow_(checker->slots.at, need, &checker->slots.capacity,
			sizeof(*checker->slots.at));
		if (grown == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		checker->slots.at = grown;
	}
	for (uint32_t i = from; i < run->count; i++) {
		checker->slots.at[checker->slots.count++] =
			(struct slot){.value = value_of(run->values, i),
				.owner = run->acknowledged ? run->part : CHECKER_NONE,
				.witness = run->acknowledged ? CHECKER_NONE : run->part};
	}
	return 0;
}

static int build_log(struct checker *checker, struct log *log)
{
	struct segment *segment = NULL;

	log->first_segment = checker->segments.count;
	for (size_t i = 0; i < log->run_count; i++) {
		const struct run *run = &checker->runs.at[log->first_run + i];
		uint32_t overlap = 0;
		if (run->values == NULL) {
			continue;
		}
		if (segment == NULL || run->offset > segment->offset + segment->count) {
			if (LIST_GROW(&checker->segments) != 0) {
				return ANNALS_E_NO_MEMORY;
			}
			segment = &checker->segments.at[checker->segments.count++];
			*segment = (struct segment){run->offset, checker->slots.count, 0};
			log->segment_count++;
		}
		uint64_t known = segment->offset + segment->count - run->offset;
		overlap = (uint32_t)ANNALS_MIN(known, run->count);
		merge_run(checker, run,
			checker->slots.at + segment->first_slot + (run->offset - segment->offset),
			overlap);
		if (extend(checker, run, overlap) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
		segment->count += run->count - overlap;
	}
	return 0;
}

/* An acknowledged event that a reader was told is unreadable by design. */
static void check_holes(struct checker *checker, uint32_t log_index)
{
	const struct log *log = &checker->logs.at[log_index];

	for (size_t i = 0; i < log->run_count; i++) {
		const struct run *run = &checker->runs.at[log->first_run + i];
		for (uint32_t k = 0; run->values == NULL && k < run->count; k++) {
			const struct slot *slot = checker_slot(checker, log_index, run->offset + k);
			if (slot != NULL && slot->owner != CHECKER_NONE) {
				checker_violation(checker, CHECKER_I1, slot->owner, run->part,
					"the event acknowledged at offset %" PRIu64
					" was left out of a read as unreadable",
					run->offset + k);
				break;
			}
			if (slot == NULL && k > 4096) {
				break;
			}
		}
	}
}

int checker_build_logs(struct checker *checker)
{
	int status = collect_runs(checker);

	if (status == 0) {
		status = sort_runs(checker);
	}
	for (uint32_t i = 0; status == 0 && i < checker->logs.count; i++) {
		status = build_log(checker, &checker->logs.at[i]);
		if (status == 0) {
			check_holes(checker, i);
		}
	}
	return status;
}
