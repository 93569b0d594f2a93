#include "io.h"

#include <annals/macros.h>
#include <stdlib.h>
#include <string.h>

/* Pages of a full-speed reader differ little in size: rounded up, one spare fits the next. */
#define ROOM_STEP_BYTES ((size_t)64 << 10)
#define SPARE_ROOM_BYTES_MAX ((size_t)1 << 20)

void pages_init(struct pages *pages)
{
	(void)pthread_mutex_init(&pages->lock, NULL);
	list_init(&pages->spares);
	pages->spare_count = 0;
}

void pages_release(struct pages *pages)
{
	struct list_node *node;
	while ((node = list_pop(&pages->spares))) {
		free(LIST_ENTRY(node, struct page, node));
	}
	pthread_mutex_destroy(&pages->lock);
}

/* The last spare that came back, if it is large enough: its memory is still in the caches. */
static struct page *take_spare(struct pages *pages, size_t capacity)
{
	struct page *page = NULL;
	pthread_mutex_lock(&pages->lock);
	if (!list_is_empty(&pages->spares)) {
		struct page *first = LIST_ENTRY(pages->spares.next, struct page, node);
		if (first->room >= capacity) {
			list_remove(&first->node);
			pages->spare_count--;
			page = first;
		}
	}
	pthread_mutex_unlock(&pages->lock);
	return page;
}

struct page *page_new(struct pages *pages, size_t capacity)
{
	struct page *page = take_spare(pages, capacity);
	size_t room = page ? page->room : capacity;
	if (!page) {
		if (capacity <= SPARE_ROOM_BYTES_MAX) {
			room = ANNALS_ROUND_UP(capacity + sizeof(*page), ROOM_STEP_BYTES) -
			       sizeof(*page);
		}
		page = malloc(sizeof(*page) + room);
	}
	if (page) {
		memset(page, 0, sizeof(*page));
		list_init(&page->node);
		page->capacity = capacity;
		page->room = room;
	}
	return page;
}

void page_free(struct pages *pages, struct page *page)
{
	bool kept = false;
	if (!page) {
		return;
	}
	pthread_mutex_lock(&pages->lock);
	if (pages->spare_count < PAGES_SPARE_MAX && page->room <= SPARE_ROOM_BYTES_MAX) {
		list_add_head(&pages->spares, &page->node);
		pages->spare_count++;
		kept = true;
	}
	pthread_mutex_unlock(&pages->lock);
	if (!kept) {
		free(page);
	}
}
