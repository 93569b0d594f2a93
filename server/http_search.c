/* Pages of a partition that hold what passes a filter, or that go backwards. */
#include "http_read.h"
#include <string.h>

#define PAGE_BYTES (512u << 10)
#define SLICES_MAX 16u

/* An event in http_read.text. */
struct mark {
	uint64_t offset;
	size_t start;
};

static bool is_full(const struct http_read *read)
{
	return read->count >= read->limit || read->out.size >= PAGE_BYTES;
}

static int encode(
	const struct http_read *read, struct buf *out, const struct http_walked_event *event)
{
	return read->format == HTTP_FORMAT_PROTOBUF
		       ? buf_add(out, event->element.data, event->element.size)
		       : http_event_write_json(out, event);
}

/* Adds what encode() made to the page. */
static int add(struct http_read *read, struct bytes text)
{
	int status = 0;
	if (read->format == HTTP_FORMAT_ARRAY) {
		status = buf_add(&read->out, read->count > 0 ? ",\n" : "[\n", 2);
	}
	status = status != 0 ? status : buf_add(&read->out, text.data, text.size);
	if (status == 0 && read->format == HTTP_FORMAT_LINES) {
		status = buf_add_byte(&read->out, '\n');
	}
	read->count++;
	return status;
}

static bool is_wanted(const struct http_read *read, const struct http_walked_event *event)
{
	return event_filter_passes(&read->filter.terms, event->encoded);
}

static int fill_forwards(struct http_read *read)
{
	struct http_walked_event event;
	int more, status = 0;
	http_event_walk_set(&read->walk, buf_bytes(&read->batches));
	while (status == 0 && !is_full(read)) {
		more = http_event_walk_next(&read->walk, &event);
		if (more <= 0) {
			read->offset = ANNALS_MAX(read->offset, read->next_offset);
			return more;
		}
		if (event.place.offset < read->offset) {
			continue;
		}
		if (is_wanted(read, &event)) {
			buf_reset(&read->text);
			status = encode(read, &read->text, &event);
			status = status != 0 ? status : add(read, buf_bytes(&read->text));
		}
		read->offset = event.place.offset + 1;
	}
	return status;
}

/* The events of the batch below read->offset, encoded in rising order. */
static int gather(struct http_read *read, struct bytes batch, struct buf *marks)
{
	struct http_walked_event event;
	int more, status = 0;
	buf_reset(&read->text);
	http_event_walk_set(&read->walk, batch);
	while (status == 0 && (more = http_event_walk_next(&read->walk, &event)) != 0) {
		if (more < 0) {
			return more;
		}
		if (event.place.offset < read->offset && event.place.offset >= read->first_offset &&
			is_wanted(read, &event)) {
			const struct mark mark = {event.place.offset, read->text.size};
			status = buf_add(marks, &mark, sizeof(mark));
			status = status != 0 ? status : encode(read, &read->text, &event);
		}
	}
	return status;
}

/* One batch, from its last event to its first. */
static int fill_from_batch(struct http_read *read, struct bytes stored, uint64_t base_offset)
{
	ANNALS_CLEANUP(buf_release) struct buf marks = BUF_INIT;
	int status = gather(read, stored, &marks);
	size_t end = read->text.size;
	for (size_t at = marks.size; status == 0 && at > 0; at -= sizeof(struct mark)) {
		struct mark mark;
		if (is_full(read)) {
			return 0;
		}
		memcpy(&mark, marks.data + at - sizeof(mark), sizeof(mark));
		status = add(read, bytes_of(read->text.data + mark.start, end - mark.start));
		end = mark.start;
		read->offset = mark.offset;
	}
	if (status == 0 && !is_full(read)) {
		read->offset = ANNALS_MIN(read->offset, base_offset);
	}
	return status;
}

static int fill_backwards(struct http_read *read)
{
	ANNALS_CLEANUP(buf_release) struct buf starts = BUF_INIT;
	const uint64_t down_to = read->next_offset;
	struct batch batch;
	size_t at = 0, start;
	int status = 0;
	while (at < read->batches.size && status == 0) {
		if (batch_view(bytes_of(read->batches.data + at, read->batches.size - at),
			    &batch) != 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		status = buf_add(&starts, &at, sizeof(at));
		at += batch.stored.size;
	}
	for (size_t i = starts.size; status == 0 && i > 0 && !is_full(read); i -= sizeof(start)) {
		memcpy(&start, starts.data + i - sizeof(start), sizeof(start));
		status = batch_view(
			bytes_of(read->batches.data + start, read->batches.size - start), &batch);
		status = status != 0 ? status
				     : fill_from_batch(read, batch.stored, batch.stamp.base_offset);
	}
	if (status == 0 && !is_full(read)) {
		read->offset = ANNALS_MIN(read->offset, down_to);
	}
	return status;
}

static bool is_through(const struct http_read *read)
{
	return read->backwards ? read->offset <= read->first_offset
			       : read->offset >= read->end_offset;
}

/* Where the next page begins. Backwards there is none before the first event. */
static void send_link(struct http_request *request)
{
	const struct http_read *read = request->work;
	const uint64_t next = read->backwards ? read->offset - 1 : read->offset;
	if (read->backwards && is_through(read)) {
		return;
	}
	http_header(request, "Annals-Next-Offset", "%llu", (unsigned long long)next);
	http_header(request, "Link",
		"</v1/topics/%s/partitions/%u/events?%.*soffset=%llu&limit=%llu%s>; rel=\"next\"",
		read->topic->name, read->partition, (int)read->filter.link.size,
		(const char *)read->filter.link.data, (unsigned long long)next,
		(unsigned long long)read->limit, read->backwards ? "&backwards=true" : "");
}

static void send_page(struct http_request *request)
{
	struct http_read *read = request->work;
	struct buf body;
	if (read->format == HTTP_FORMAT_ARRAY &&
		buf_add_text(&read->out, read->count > 0 ? "\n]\n" : "[]\n") != 0) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	body = read->out;
	read->out = BUF_INIT;
	http_begin(request, 200, read->content_type);
	http_header(request, "Annals-First-Offset", "%llu", (unsigned long long)read->first_offset);
	http_header(request, "Annals-End-Offset", "%llu", (unsigned long long)read->end_offset);
	send_link(request);
	http_header(request, "Vary", "Accept");
	http_header(request, "Cache-Control", "no-store");
	http_send(request, &body);
}

/* One slice in a turn of the loop: its events may be many. */
static void slice_done(struct op *op)
{
	struct http_request *request = op->arg;
	struct http_read *read = request->work;
	int status;
	if (op->status != 0 && read->slices > 0) {
		/* The next page meets it at its beginning, and says what it is. */
		request->op = NULL;
		op_release(op);
		send_page(request);
		return;
	}
	if (op->status != 0) {
		http_op_problem(request, op);
		return;
	}
	read->first_offset = ((const struct op_read *)op)->request.first_offset;
	read->end_offset = ((const struct op_read *)op)->request.end_offset;
	http_read_take(request);
	status = read->backwards ? fill_backwards(read) : fill_forwards(read);
	if (status != 0) {
		http_problem(request, status, NULL, NULL);
	} else if (is_full(read) || is_through(read) || ++read->slices >= SLICES_MAX) {
		send_page(request);
	} else {
		loop_defer(http_loop(request), &read->again);
	}
}

static void ask_again(struct loop_task *task)
{
	struct http_read *read = ANNALS_CONTAINER_OF(task, struct http_read, again);
	struct http_request *request = read->request;
	if (http_read_ask(request, slice_done, HTTP_READ_SLICE_BYTES, 0) == 1) {
		slice_done(request->op);
	}
}

void http_search_start(struct http_request *request)
{
	struct http_read *read = request->work;
	read->request = request;
	loop_task_init(&read->again, ask_again);
	if (http_read_ask(request, slice_done, HTTP_READ_SLICE_BYTES, read->wait_us) == 1) {
		slice_done(request->op);
	}
}

void http_search_stop(struct http_read *read)
{
	if (read->request != NULL) {
		loop_task_cancel(&read->again);
	}
}
