/* One page of a topic's events over all partitions, in the order of positions, with a token for the
 * next one. */
#include "http_tail.h"
#include <annals/parse.h>
#include <stdlib.h>

#define LIMIT_INITIAL 1000u
#define LIMIT_MAX 100000u
/* A page ends when it has so many bytes: it is made whole, so that its head can hold the token for
 * the next one. */
#define PAGE_BYTES (512u << 10)

struct http_merged {
	struct http_tail tail;
	enum http_event_format format;
	const char *content_type;
	uint64_t limit, count, position;
	struct buf out;
};

static void free_merged(void *work)
{
	struct http_merged *page = work;
	buf_release(&page->out);
	http_tail_release(&page->tail);
	free(page);
}

static int write_event(struct http_merged *page, const struct http_walked_event *event)
{
	const bool array = page->format == HTTP_FORMAT_ARRAY;
	int status = array ? buf_add(&page->out, page->count > 0 ? ",\n" : "[\n", 2) : 0;
	status = status != 0 ? status : http_event_write_json(&page->out, event);
	page->count++;
	page->position = event->place.position;
	return status != 0 || array ? status : buf_add_byte(&page->out, '\n');
}

static void send_page(struct http_request *request)
{
	struct http_merged *page = request->work;
	struct buf body = BUF_INIT;
	if (page->format == HTTP_FORMAT_ARRAY &&
		buf_add_text(&page->out, page->count > 0 ? "\n]\n" : "[]\n") != 0) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	body = page->out;
	page->out = BUF_INIT;
	http_begin(request, 200, page->content_type);
	http_header(request, "Annals-Next-Token", "%u.%llu", page->tail.topic->id,
		(unsigned long long)page->position);
	http_header(request, "Link",
		"</v1/topics/%s/events?%.*safter=%u.%llu&limit=%llu>; rel=\"next\"",
		page->tail.topic->name, (int)page->tail.filter.link.size,
		(const char *)page->tail.filter.link.data, page->tail.topic->id,
		(unsigned long long)page->position, (unsigned long long)page->limit);
	http_header(request, "Vary", "Accept");
	http_header(request, "Cache-Control", "no-store");
	http_send(request, &body);
}

static void collect(struct http_request *request)
{
	struct http_merged *page = request->work;
	struct http_walked_event event;
	while (page->count < page->limit && page->out.size < PAGE_BYTES) {
		const int more = http_tail_next(&page->tail, &event);
		if (more < 0) {
			if (request->op != NULL && request->op->status != 0) {
				http_op_problem(request, request->op);
			} else {
				http_problem(request, more, NULL, NULL);
			}
			return;
		}
		if (more == HTTP_TAIL_YIELD) {
			/* A filtered page says how far it looked, even when nothing passed. */
			page->position = page->tail.seen;
			break;
		}
		if (more == 0) {
			if (http_tail_is_busy(&page->tail)) {
				return;
			}
			page->position =
				ANNALS_MAX(page->position, http_tail_position(&page->tail));
			break;
		}
		const int status = write_event(page, &event);
		if (status != 0) {
			http_problem(request, status, NULL, NULL);
			return;
		}
	}
	send_page(request);
}

static void tail_changed(struct http_request *request)
{
	struct http_merged *page = request->work;
	if (request->op->status != 0) {
		http_op_problem(request, request->op);
		return;
	}
	if (page->position == 0 && page->tail.start != TAIL_EARLIEST &&
		page->tail.start != TAIL_TIME) {
		page->position = http_tail_position(&page->tail);
	}
	collect(request);
}

static void start(struct http_request *request)
{
	struct http_merged *page = request->work;
	http_tail_start(&page->tail, request, tail_changed);
}

void http_get_merged(struct http_request *request, struct topic *topic, const char *content_type,
	enum http_event_format format)
{
	struct http_merged *page = calloc(1, sizeof(*page));
	if (page == NULL) {
		topic_unref(topic);
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	page->format = format;
	page->content_type = content_type;
	http_tail_init(&page->tail, topic);
	request->work = page;
	request->free_work = free_merged;
	if (http_tail_read_params(&page->tail, request, TAIL_EARLIEST) &&
		http_param_u64(request, "limit", LIMIT_INITIAL, 1, LIMIT_MAX, &page->limit)) {
		http_when_first(request, start);
	}
}

void http_get_events(struct http_request *request)
{
	static const char *const types[] = {"application/x-ndjson", "text/event-stream",
		"application/cloudevents-batch+json", "application/json"};
	struct topic *topic = http_topic(request, 0);
	if (topic == NULL) {
		return;
	}
	const int choice = http_choose(request, types, ANNALS_COUNT_OF(types));
	if (choice < 0) {
		topic_unref(topic);
	} else if (choice == 1) {
		http_get_sse(request, topic);
	} else {
		http_get_merged(request, topic, types[choice],
			choice == 0 ? HTTP_FORMAT_LINES : HTTP_FORMAT_ARRAY);
	}
}
