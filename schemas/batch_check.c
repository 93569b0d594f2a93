/* The one look into a body on its way in. */
#include <annals/batch.h>

#include <annals/macros.h>

static uint32_t limit_or(uint32_t limit, uint32_t otherwise)
{
	return limit == 0 ? otherwise : ANNALS_MIN(limit, otherwise);
}

static void set_problem(
	const struct batch_limits *limits, enum batch_limit limit, bool has_index, uint32_t index)
{
	if (limits->problem != NULL) {
		*limits->problem = (struct batch_problem){limit, has_index, index};
	}
}

/* Decodes one event and adds it to the summary. */
static int check_event(struct bytes event, const struct batch_limits *limits,
	struct batch_summary *summary, struct error *err)
{
	struct record record;
	int status = record_decode(event, &record, err);
	if (ANNALS_UNLIKELY(status < 0)) {
		return status;
	}
	if (event.size > summary->largest_event_bytes) {
		summary->largest_event_bytes = (uint32_t)event.size;
	}
	if (record.has_time) {
		summary->first_time_ns = ANNALS_MIN(summary->first_time_ns, record.time_ns);
		summary->last_time_ns = ANNALS_MAX(summary->last_time_ns, record.time_ns);
	}
	if (record.has_due) {
		summary->last_due_ns = ANNALS_MAX(summary->last_due_ns, record.due_ns);
	}
	if (record.has_key) {
		summary->any_key = true;
		if (limits->partitions > 0) {
			uint32_t partition = record_partition(record.key, limits->partitions);
			if (partition != limits->partition) {
				return error_fail(err, ANNALS_E_WRONG_PARTITION,
					"its key belongs to partition %u of %u, not %u", partition,
					limits->partitions, limits->partition);
			}
		}
	}
	return 0;
}

static int walk(struct bytes plain, const struct batch_limits *limits,
	struct batch_summary *summary, struct error *err)
{
	uint32_t event_bytes_max = limit_or(limits->event_bytes_max, BATCH_BODY_BYTES_MAX);
	uint32_t events_max = limit_or(limits->events_max, BATCH_BODY_BYTES_MAX);
	struct bytes event;
	size_t cursor = 0;
	int more;
	while ((more = batch_next_event(plain, &cursor, &event)) > 0) {
		int status = 0;
		if (ANNALS_UNLIKELY(summary->count == events_max)) {
			set_problem(limits, BATCH_LIMIT_EVENTS, false, 0);
			return error_fail(err, ANNALS_E_TOO_LARGE,
				"the batch has more events than the limit, %u", events_max);
		}
		if (ANNALS_UNLIKELY(event.size > event_bytes_max)) {
			status = error_fail(err, ANNALS_E_TOO_LARGE,
				"it has %zu bytes, the limit is %u", event.size, event_bytes_max);
		} else {
			status = check_event(event, limits, summary, err);
		}
		if (ANNALS_UNLIKELY(status < 0)) {
			bool is_large = event.size > event_bytes_max;
			set_problem(limits, is_large ? BATCH_LIMIT_EVENT : BATCH_LIMIT_NONE, true,
				summary->count);
			(void)error_wrap(err, "event %u", summary->count);
			return status;
		}
		summary->count++;
	}
	if (more < 0) {
		set_problem(limits, BATCH_LIMIT_NONE, true, summary->count);
		return error_fail(err, ANNALS_E_MALFORMED,
			"event %u: the batch is malformed at byte %zu", summary->count, cursor);
	}
	return 0;
}

static int decompress(struct bytes body, enum batch_codec codec, uint32_t body_bytes_max,
	struct buf *scratch, struct error *err)
{
	buf_reset(scratch);
	int status = batch_decompress(body, codec, body_bytes_max, scratch);
	switch (status) {
	case 0:
		return 0;
	case ANNALS_E_TOO_LARGE:
		return error_fail(err, status,
			"the body decompresses to more than the limit, %u bytes", body_bytes_max);
	case ANNALS_E_INVALID:
		return error_fail(err, status, "codec %u is unknown", (unsigned)codec);
	case ANNALS_E_NO_MEMORY:
		return error_fail(err, status, "no memory to decompress the body");
	default:
		return error_fail(err, status, "the body is not one whole frame of codec '%s'",
			batch_codec_name(codec));
	}
}

int batch_check_body(struct bytes body, enum batch_codec codec, const struct batch_limits *limits,
	struct buf *scratch, struct batch_summary *ret, struct error *err)
{
	uint32_t body_bytes_max = limit_or(limits->body_bytes_max, BATCH_BODY_BYTES_MAX);
	set_problem(limits, BATCH_LIMIT_NONE, false, 0);
	if (body.size > body_bytes_max) {
		set_problem(limits, BATCH_LIMIT_BODY, false, 0);
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"the body has %zu bytes, the limit is %u", body.size, body_bytes_max);
	}
	struct bytes plain = body;
	if (codec != BATCH_PLAIN) {
		int status = decompress(body, codec, body_bytes_max, scratch, err);
		if (status < 0) {
			bool is_large = status == ANNALS_E_TOO_LARGE;
			set_problem(
				limits, is_large ? BATCH_LIMIT_BODY : BATCH_LIMIT_NONE, false, 0);
			return status;
		}
		plain = buf_bytes(scratch);
	}
	if (plain.size == 0) {
		return error_fail(err, ANNALS_E_MALFORMED, "the body holds no event");
	}
	struct batch_summary summary = {
		.plain_bytes = (uint32_t)plain.size,
		.last_due_ns = INT64_MIN,
		.first_time_ns = INT64_MAX,
		.last_time_ns = INT64_MIN,
	};
	int status = walk(plain, limits, &summary, err);
	if (status == 0) {
		*ret = summary;
	}
	return status;
}
