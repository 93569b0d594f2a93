#include "torture_clients.h"
#include "torture_http.h"

#include <annals/clock.h>
#include <annals/parse.h>
#include <time.h>

uint64_t torture_value(const struct annals_event *event, struct buf *scratch)
{
	const struct annals_bytes fields[] = {event->id, event->type, event->key, event->data};
	uint8_t sizes[4 * 4];

	buf_reset(scratch);
	for (size_t i = 0; i < ANNALS_COUNT_OF(fields); i++) {
		store_u32(sizes + i * 4, (uint32_t)fields[i].size);
		if (buf_add(scratch, fields[i].data, fields[i].size) != 0) {
			return 0; /* a value that nobody submitted: the history will say so */
		}
	}
	if (buf_add(scratch, sizes, sizeof(sizes)) != 0) {
		return 0;
	}
	return history_value(scratch->data, scratch->size);
}

bool torture_json_value(const char *json, struct buf *data, struct buf *scratch, uint64_t *ret)
{
	struct annals_bytes encoded = http_json_text(json, "data_base64");
	struct annals_event event = {.id = http_json_text(json, "id"),
		.type = http_json_text(json, "type"),
		.key = http_json_text(json, "partitionkey"),
		.data = http_json_text(json, "data")};
	size_t size = 0;

	if (encoded.size > 0) {
		buf_reset(data);
		if (buf_reserve(data, encoded.size + 3) != 0 ||
			base64_decode(data->data, bytes_of(encoded.data, encoded.size), false,
				&size) != 0) {
			return false;
		}
		event.data = (struct annals_bytes){data->data, size};
	}
	*ret = torture_value(&event, scratch);
	return event.data.size > 0;
}

void torture_record(struct torture *torture, const struct history_op *op)
{
	struct error err = {0};

	if (history_write(&torture->writer, op, &err) != 0) {
		torture_problem(torture, "the history cannot be written: %s", err.text);
	}
}

void torture_record_server(struct torture *torture, const char *format, ...)
{
	char text[160];
	va_list args;
	struct history_op op = {.kind = HISTORY_SERVER, .mask = HISTORY_OP_TEXT, .client = 0};

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	op.invoke_ns = op.return_ns = clock_monotonic_ns();
	op.text = bytes_text(text);
	torture_record(torture, &op);
}

enum history_outcome torture_outcome(int status)
{
	switch (status) {
	case ANNALS_OK:
		return HISTORY_DONE;
	case ANNALS_E_CONFLICT:
	case ANNALS_E_PRECONDITION_FAILED:
		return HISTORY_CONFLICT;
	case ANNALS_E_TIMEOUT:
	case ANNALS_E_DISCONNECTED:
	case ANNALS_E_OUTCOME_UNKNOWN:
	case ANNALS_E_CLOSED:
	case ANNALS_E_NO_MEMORY:
	case ANNALS_E_INTERNAL:
	case ANNALS_E_IO:
		return HISTORY_UNKNOWN;
	default:
		return HISTORY_REFUSED;
	}
}

void torture_problem(struct torture *torture, const char *format, ...)
{
	struct torture_report *report = torture->report;
	va_list args;

	(void)pthread_mutex_lock(&torture->mutex);
	if (report->problem_count < TORTURE_PROBLEMS_MAX) {
		va_start(args, format);
		(void)vsnprintf(report->problems[report->problem_count],
			sizeof(report->problems[0]), format, args);
		va_end(args);
	}
	report->problem_count++;
	(void)pthread_mutex_unlock(&torture->mutex);
}

void torture_sleep_ms(unsigned ms)
{
	struct timespec wait = {ms / 1000, (long)(ms % 1000) * 1000000};

	(void)nanosleep(&wait, NULL);
}
