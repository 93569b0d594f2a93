#include "checker_state.h"

#include <inttypes.h>
#include <stdlib.h>

static const struct {
	const char *name, *text;
} invariants[] = {
#define CHECKER_INVARIANT_ROW_(id, text) {#id, text},
	CHECKER_INVARIANT_LIST(CHECKER_INVARIANT_ROW_)
#undef CHECKER_INVARIANT_ROW_
};

const char *checker_invariant_name(enum checker_invariant invariant)
{
	return invariants[invariant].name;
}

const char *checker_invariant_text(enum checker_invariant invariant)
{
	return invariants[invariant].text;
}

/* A text of fixed size; what does not fit is left out. */
struct text {
	char *at;
	size_t size, used;
};

static void add(struct text *text, const char *format, ...) ANNALS_PRINTF(2, 3);
static void add(struct text *text, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text->at + text->used, text->size - text->used, format, args);
	va_end(args);
	if (length > 0) {
		text->used = ANNALS_MIN(text->used + (size_t)length, text->size - 1);
	}
}

static void add_where(const struct checker *checker, struct text *text, const struct part *part)
{
	const struct log *log = &checker->logs.at[part->log];
	uint32_t topic = map_find(&checker->topic_map, log->topic, 0);

	if (topic != CHECKER_NONE) {
		struct bytes name = checker->topics.at[topic].name;
		add(text, " '%.*s'", (int)ANNALS_MIN(name.size, 64), (const char *)name.data);
	} else {
		add(text, " topic %u", log->topic);
	}
	if (log->partition != HISTORY_NO_PARTITION) {
		add(text, " partition %u", log->partition);
	}
	if (part->stream_log != CHECKER_NONE) {
		add(text, " stream %016" PRIx64, checker->logs.at[part->stream_log].stream);
	}
}

static void add_places(struct text *text, const char *what, uint64_t first, uint32_t count)
{
	if (count > 1) {
		add(text, " %ss %" PRIu64 "-%" PRIu64, what, first, first + count - 1);
	} else {
		add(text, " %s %" PRIu64, what, first);
	}
}

static void add_append(const struct checker *checker, struct text *text, const struct op *op,
	const struct part *part)
{
	add(text, "appended %u event%s to", part->count, part->count == 1 ? "" : "s");
	add_where(checker, text, part);
	if (op->attempt > 1) {
		add(text, ", attempt %u", op->attempt);
	}
	if (op->mask & HISTORY_OP_TRANSACTION) {
		add(text, ", with acknowledgements");
	}
	if (op->mask & HISTORY_OP_DELAYED) {
		add(text, ", due at %" PRIu64 " ms",
			part->start > checker->first_ns
				? (part->start - checker->first_ns) / 1000000
				: 0);
	}
	if (part->mask & HISTORY_PART_EXPECTED) {
		add(text, ", expecting the next version %" PRIu64, part->expected);
	}
	switch (op->outcome) {
	case HISTORY_DONE:
		add(text, ": %s",
			part->mask & HISTORY_PART_REPLAYED ? "answered again" : "acknowledged");
		add(text, "%s", op->mask & HISTORY_OP_OS ? " before the flush" : "");
		if (part->place != PLACE_NONE) {
			add_places(text, "offset", part->place, part->count);
		}
		if (part->version_place != PLACE_NONE) {
			add_places(text, "version", part->version_place, part->count);
		}
		break;
	case HISTORY_CONFLICT:
		add(text, ": conflict, the next version is %" PRIu64, part->version);
		break;
	case HISTORY_REFUSED:
		add(text, ": refused");
		break;
	default:
		add(text, ": outcome unknown");
		if (part->place != PLACE_NONE) {
			add(text, ", seen at");
			add_places(text, "offset", part->place, part->count);
		}
		break;
	}
}

static void add_read(const struct checker *checker, struct text *text, const struct op *op,
	const struct part *part)
{
	uint64_t place;
	uint32_t log = subject_of(part, &place);
	const char *what = checker->logs.at[log].is_stream ? "version" : "offset";

	add(text, "%s", op->kind == HISTORY_DELIVER ? "was handed from" : "read");
	add_where(checker, text, part);
	if (op->outcome != HISTORY_DONE) {
		add(text, " at %" PRIu64 ": refused", place);
	} else if (part->count > 0) {
		add_places(text, what, place, part->count);
	} else if (part->mask & (HISTORY_PART_OFFSET | HISTORY_PART_VERSION)) {
		add(text, " at %s %" PRIu64 ": nothing", what, place);
	} else {
		add(text, "'s ends");
	}
	if (part->mask & HISTORY_PART_START) {
		add(text, ", first kept %" PRIu64, part->start);
	}
	if (part->mask & HISTORY_PART_END) {
		add(text, ", end %" PRIu64, part->end);
	}
}

static void add_group(const struct checker *checker, struct text *text, const struct op *op,
	const struct part *part)
{
	static const char *const verbs[] = {[HISTORY_COMMIT] = "committed",
		[HISTORY_FETCH] = "fetched the offset",
		[HISTORY_ACKNOWLEDGE] = "acknowledged",
		[HISTORY_REFUSE] = "refused",
		[HISTORY_PARK] = "saw parked",
		[HISTORY_TRIM] = "asked to remove what is below"};
	static const char *const outcomes[] = {"", ": conflict", ": refused", ": outcome unknown"};

	add(text, "%s", op->kind < ANNALS_COUNT_OF(verbs) ? verbs[op->kind] : "did something with");
	if (part->mask & HISTORY_PART_OFFSET) {
		add(text, " %" PRIu64, part->offset);
	} else {
		add(text, " (none)");
	}
	add(text, " of");
	add_where(checker, text, part);
	if (op->mask & HISTORY_OP_GROUP) {
		add(text, " for group %016" PRIx64, extra_of(checker, op)->group);
	}
	add(text, "%s", outcomes[op->outcome]);
}

static double seconds(const struct checker *checker, uint64_t ns)
{
	return (double)(ns - checker->first_ns) / 1e9;
}

static void add_part(const struct checker *checker, struct text *text, uint32_t index)
{
	const struct part *part = &checker->parts.at[index];
	const struct op *op = op_of(checker, part);

	add(text, "\n    %.6f-%.6f s  client %u ", seconds(checker, op->invoke_ns),
		seconds(checker, op->return_ns), op->client);
	switch (op->kind) {
	case HISTORY_APPEND:
		add_append(checker, text, op, part);
		break;
	case HISTORY_READ:
	case HISTORY_DELIVER:
		add_read(checker, text, op, part);
		break;
	default:
		add_group(checker, text, op, part);
		break;
	}
}

/* What was done to the server between the two. */
static void add_server(
	const struct checker *checker, struct text *text, uint64_t from_ns, uint64_t to_ns)
{
	unsigned shown = 0;

	for (size_t i = 0; i < checker->server_ops.count; i++) {
		const struct op *op = &checker->ops.at[checker->server_ops.at[i]];
		struct bytes what = extra_of(checker, op)->text;
		if (op->invoke_ns < from_ns || op->invoke_ns > to_ns) {
			continue;
		}
		if (++shown > 6) {
			add(text, "\n    ...");
			return;
		}
		add(text, "\n    %.6f s  the server: %.*s", seconds(checker, op->invoke_ns),
			(int)ANNALS_MIN(what.size, 100), (const char *)what.data);
	}
}

/* Fewer operations first, then those nearest to each other in time. */
static uint64_t score_of(const struct checker *checker, uint32_t first, uint32_t second)
{
	uint64_t a, b;

	if (second == CHECKER_NONE) {
		return 1;
	}
	a = op_of(checker, &checker->parts.at[first])->invoke_ns;
	b = op_of(checker, &checker->parts.at[second])->invoke_ns;
	return (a > b ? a - b : b - a) + 2;
}

void checker_violation(struct checker *checker, enum checker_invariant invariant, uint32_t first,
	uint32_t second, const char *format, ...)
{
	struct checker_report *report = checker->report;
	uint64_t score;
	va_list args;

	if (first == CHECKER_NONE) {
		first = second;
		second = CHECKER_NONE;
	}
	score = score_of(checker, first, second);
	report->violations++;
	if (report->invariants[invariant].violations++ > 0 && score >= checker->scores[invariant]) {
		return;
	}
	checker->scores[invariant] = score;
	struct text text = {
		report->invariants[invariant].example, sizeof(report->invariants[0].example), 0};
	va_start(args, format);
	int length = vsnprintf(text.at, text.size, format, args);
	va_end(args);
	text.used = length > 0 ? ANNALS_MIN((size_t)length, text.size - 1) : 0;
	add_part(checker, &text, first);
	if (second != CHECKER_NONE) {
		const struct op *a = op_of(checker, &checker->parts.at[first]);
		const struct op *b = op_of(checker, &checker->parts.at[second]);
		add_server(checker, &text, ANNALS_MIN(a->invoke_ns, b->invoke_ns),
			ANNALS_MAX(a->return_ns, b->return_ns));
		add_part(checker, &text, second);
	}
}

static int print_counts(const struct checker_report *report, struct buf *out)
{
	int status = buf_printf(out,
		"%" PRIu64 " operations: %" PRIu64 " appends (%" PRIu64 " done, %" PRIu64
		" in conflict, %" PRIu64 " refused, %" PRIu64 " unknown), %" PRIu64
		" reads, %" PRIu64 " commits, %" PRIu64 " fetches, %" PRIu64 " deliveries, %" PRIu64
		" settlements\n"
		"%" PRIu64 " events acknowledged, %" PRIu64 " read by clients, %" PRIu64
		" places known in %" PRIu64 " partitions and %" PRIu64 " streams, %" PRIu64
		" actions on the server\n",
		report->records, report->appends, report->appends_done, report->appends_conflict,
		report->appends_refused, report->appends_unknown, report->reads, report->commits,
		report->fetches, report->deliveries, report->settlements,
		report->events_acknowledged, report->events_read, report->events_known,
		report->partitions, report->streams, report->server_actions);

	if (status == 0 && report->cut_bytes > 0) {
		status = buf_printf(out,
			"the last block is cut off: %" PRIu64 " bytes were left out\n",
			report->cut_bytes);
	}
	return status;
}

int checker_print(const struct checker_report *report, struct buf *out)
{
	int status = print_counts(report, out);

	for (unsigned i = 0; status == 0 && i < CHECKER_INVARIANT_COUNT; i++) {
		if (report->invariants[i].violations > 0) {
			status = buf_printf(out,
				"\n%s VIOLATED, %" PRIu64
				" time%s (%s). The smallest case:\n  %s\n",
				invariants[i].name, report->invariants[i].violations,
				report->invariants[i].violations == 1 ? "" : "s",
				invariants[i].text, report->invariants[i].example);
		}
	}
	if (status == 0) {
		status = buf_printf(out,
			report->violations == 0 ? "%u invariants hold\n"
						: "\n%u invariants judged, %" PRIu64
						  " violations\n",
			(unsigned)CHECKER_INVARIANT_COUNT, report->violations);
	}
	return status;
}
