/* Events that are kept aside until they are due: not before (I8), and not never (I1). */
#include "checker_state.h"

#include <inttypes.h>
#include <stdlib.h>

/* The server's clock is the wall's, the records' is not: they may drift that far apart while an
 * event waits. */
#define EARLY_NS UINT64_C(100000000)
/* So long after it was due whoever asks for the ends has let it be appended (torture waits until
 * the server says that nothing waits). */
#define LATE_NS UINT64_C(1000000000)

/* `stored`: of each request, whether any of its attempts is known to be. */
static void check_delay(struct checker *checker, const bool *stored, uint32_t index)
{
	const struct part *part = &checker->parts.at[index];
	const struct op *op = op_of(checker, part);
	const struct log *log = &checker->logs.at[part->log];
	uint32_t by = CHECKER_NONE;
	uint64_t seen_ns = checker_seen_ns(checker, part, &by);

	if (seen_ns > 0 && seen_ns + EARLY_NS < part->start) {
		checker_violation(checker, CHECKER_I8, index, by,
			"an event was read %" PRIu64 " ms before it was due",
			(part->start - seen_ns) / 1000000);
	}
	if (op->outcome == HISTORY_DONE && !stored[op->request] && log->known_start == 0 &&
		checker_is_fully_known(checker, log) &&
		log->last_claim_ns > ANNALS_MAX(part->start, op->return_ns) + LATE_NS) {
		checker_violation(checker, CHECKER_I1, index, log->last_claim,
			"an event that was taken to be stored later is lost: all of the log was "
			"read %" PRIu64 " ms after it was due",
			(log->last_claim_ns - part->start) / 1000000);
	}
}

int checker_delays(struct checker *checker)
{
	bool *stored = calloc(checker->requests.count + 1, sizeof(*stored));

	if (stored == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < checker->parts.count; i++) {
		const struct part *part = &checker->parts.at[i];
		if (op_of(checker, part)->kind == HISTORY_APPEND && part->place != PLACE_NONE) {
			stored[op_of(checker, part)->request] = true;
		}
	}
	for (uint32_t i = 0; i < checker->parts.count; i++) {
		const struct op *op = op_of(checker, &checker->parts.at[i]);
		if (op->kind == HISTORY_APPEND && (op->mask & HISTORY_OP_DELAYED) != 0 &&
			was_submitted(op)) {
			check_delay(checker, stored, i);
		}
	}
	free(stored);
	return 0;
}
