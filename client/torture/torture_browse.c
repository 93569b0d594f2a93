/*
 * Readers over HTTP that do not just follow: pages backwards from anywhere, and pages that are
 * filtered by type, which must hold exactly what a page of everything holds of that type.
 */
#include "torture_clients.h"
#include "torture_http.h"

#include <annals/clock.h>
#include <inttypes.h>
#include <stdlib.h>

#define LINES_MAX 200u
#define PAGES_MAX 12u
#define FILTER "torture.some"

struct page {
	uint64_t offsets[LINES_MAX], values[LINES_MAX];
	bool matches[LINES_MAX];
	size_t count;
	uint64_t next;
	bool is_whole; /* every line could be read, and there is a next */
};
struct browser {
	struct worker *worker;
	struct http_connection http;
	struct page all, some;
	struct buf data, scratch;
	uint64_t session;
};

/* Takes the lines of an answer apart, which lie in the connection's buffer. */
static void take_lines(struct browser *browser, char *body, struct page *page)
{
	while (*body != 0 && page->count < LINES_MAX) {
		char *end = body + strcspn(body, "\n");
		struct annals_bytes type;
		bool is_last = *end == 0;
		*end = 0;
		type = http_json_text(body, "type");
		page->matches[page->count] =
			type.size == strlen(FILTER) && memcmp(type.data, FILTER, type.size) == 0;
		if (!http_json_number(body, "annalsoffset", &page->offsets[page->count]) ||
			!torture_json_value(body, &browser->data, &browser->scratch,
				&page->values[page->count])) {
			page->is_whole = false;
			return;
		}
		page->count++;
		body = is_last ? end : end + 1;
	}
}

/* One page of a partition; false: there was none. */
static bool get_page(struct browser *browser, uint32_t partition, const char *query,
	uint64_t offset, struct page *page)
{
	const char *body = "";
	char path[160];

	page->count = 0;
	(void)snprintf(path, sizeof(path),
		"/v1/topics/%s/partitions/%u/events?offset=%" PRIu64 "&limit=%u&%s",
		browser->worker->torture->topic, partition, offset, LINES_MAX, query);
	if (http_ask(&browser->http, "GET", path, "", bytes_of(NULL, 0), &body) != 200) {
		return false;
	}
	page->is_whole = http_header_number(&browser->http, "Annals-Next-Offset", &page->next);
	take_lines(browser,
		(char *)browser->http.answer.data + (body - (char *)browser->http.answer.data),
		page);
	return true;
}

/* Records [first, end) of a page as one run, the lowest offset first. */
static void record_run(struct browser *browser, struct history_op *op, uint32_t partition,
	const struct page *page, size_t first, size_t end)
{
	bool backward = (op->mask & HISTORY_OP_BACKWARD) != 0;
	uint8_t values[LINES_MAX * 8];
	struct history_part part = {.partition = partition,
		.offset = page->offsets[backward ? end - 1 : first],
		.count = (uint32_t)(end - first),
		.values = values,
		.mask = HISTORY_PART_OFFSET | HISTORY_PART_COUNT | HISTORY_PART_VALUES};

	for (size_t i = first; i < end; i++) {
		size_t place = backward ? end - 1 - i : i - first;
		store_u64(values + place * 8, page->values[i]);
	}
	op->parts = &part;
	op->part_count = 1;
	torture_record(browser->worker->torture, op);
	op->parts = NULL;
}

/* A page without a filter has no gaps, in its direction. */
static bool is_dense(const struct page *page, bool backward)
{
	for (size_t i = 1; i < page->count; i++) {
		if (backward ? page->offsets[i] + 1 != page->offsets[i - 1]
			     : page->offsets[i] != page->offsets[i - 1] + 1) {
			return false;
		}
	}
	return true;
}

static void browse_backwards(struct browser *browser, uint32_t partition, uint64_t from)
{
	browser->session++;
	for (unsigned i = 0; i < PAGES_MAX; i++) {
		struct history_op op =
			worker_begin(browser->worker, HISTORY_READ, browser->session);
		if (!get_page(browser, partition, "backwards=true", from, &browser->all)) {
			return;
		}
		op.return_ns = clock_monotonic_ns();
		op.mask = HISTORY_OP_BACKWARD;
		if (browser->all.count == 0) {
			return;
		}
		if (browser->all.offsets[0] != from || !is_dense(&browser->all, true)) {
			torture_problem(browser->worker->torture,
				"client %u: a page backwards from offset %" PRIu64
				" of partition %u begins at %" PRIu64 " or has a gap",
				browser->worker->number, from, partition, browser->all.offsets[0]);
			return;
		}
		record_run(browser, &op, partition, &browser->all, 0, browser->all.count);
		from = browser->all.offsets[browser->all.count - 1];
		if (from == 0 || !browser->all.is_whole) {
			return;
		}
		from--;
	}
}

/* Both pages up to where both looked: the same events of the type. */
static void compare_pages(struct browser *browser, uint32_t partition, uint64_t from)
{
	const struct page *all = &browser->all, *some = &browser->some;
	uint64_t end = ANNALS_MIN(all->next, some->next);
	size_t at = 0;

	if (!all->is_whole || !some->is_whole) {
		return;
	}
	for (size_t i = 0; i < all->count && all->offsets[i] < end; i++) {
		if (!all->matches[i]) {
			continue;
		}
		if (at == some->count || some->offsets[at] != all->offsets[i] ||
			some->values[at] != all->values[i]) {
			torture_problem(browser->worker->torture,
				"client %u: a page from offset %" PRIu64
				" of partition %u filtered by type does not have the event at "
				"offset %" PRIu64,
				browser->worker->number, from, partition, all->offsets[i]);
			return;
		}
		at++;
	}
	if (at < some->count && some->offsets[at] < end) {
		torture_problem(browser->worker->torture,
			"client %u: a page from offset %" PRIu64
			" of partition %u filtered by type has offset %" PRIu64 " besides",
			browser->worker->number, from, partition, some->offsets[at]);
	}
}

static void browse_filtered(struct browser *browser, uint32_t partition, uint64_t from)
{
	struct history_op op = worker_begin(browser->worker, HISTORY_READ, ++browser->session);

	if (!get_page(browser, partition, "typePrefix=torture", from, &browser->all)) {
		return;
	}
	op.return_ns = clock_monotonic_ns();
	if (!is_dense(&browser->all, false) ||
		(browser->all.count > 0 && browser->all.offsets[0] != from)) {
		torture_problem(browser->worker->torture,
			"client %u: a page from offset %" PRIu64
			" of partition %u that lets everything pass has a gap",
			browser->worker->number, from, partition);
		return;
	}
	if (browser->all.count > 0) {
		record_run(browser, &op, partition, &browser->all, 0, browser->all.count);
	}
	op = worker_begin(browser->worker, HISTORY_READ, ++browser->session);
	if (!get_page(browser, partition, "type=" FILTER, from, &browser->some)) {
		return;
	}
	op.return_ns = clock_monotonic_ns();
	for (size_t i = 0; i < browser->some.count; i++) {
		op.mask = HISTORY_OP_SEEK;
		record_run(browser, &op, partition, &browser->some, i, i + 1);
	}
	compare_pages(browser, partition, from);
}

void browser_run(struct worker *worker)
{
	struct browser *browser = calloc(1, sizeof(*browser));

	if (browser == NULL) {
		torture_problem(worker->torture, "no memory for a reader");
		return;
	}
	browser->worker = worker;
	http_connection_init(&browser->http, worker->torture->server.http);
	while (worker_gate(worker)) {
		uint64_t first[TORTURE_PARTITIONS], ends[TORTURE_PARTITIONS];
		uint32_t partition = (uint32_t)random_below(&worker->random, TORTURE_PARTITIONS);
		if (torture_describe(worker, 0, first, ends, TORTURE_CALL_MS) != 0 ||
			ends[partition] == 0) {
			torture_sleep_ms(10);
			continue;
		}
		uint64_t from = random_below(&worker->random, ends[partition]);
		if (random_below(&worker->random, 2) == 0) {
			browse_backwards(browser, partition, from);
		} else {
			browse_filtered(browser, partition, from);
		}
	}
	http_connection_release(&browser->http);
	buf_release(&browser->data);
	buf_release(&browser->scratch);
	free(browser);
}
