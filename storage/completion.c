#include "completion.h"

#include <assert.h>
#include <sched.h>
#include <stdatomic.h>

void completion_queue_init(struct completion_queue *queue, void (*notify)(void *arg), void *arg)
{
	(void)pthread_mutex_init(&queue->mutex, NULL);
	list_init(&queue->requests);
	queue->notify = notify;
	queue->arg = arg;
	atomic_init(&queue->notifying, 0);
}

void completion_queue_release(struct completion_queue *queue)
{
	assert(list_is_empty(&queue->requests));
	/* What was pushed last may have been taken before its owner was told of it. */
	while (atomic_load(&queue->notifying) > 0) {
		(void)sched_yield();
	}
	(void)pthread_mutex_destroy(&queue->mutex);
}

void completion_queue_take(struct completion_queue *queue, struct list_node *requests)
{
	(void)pthread_mutex_lock(&queue->mutex);
	list_splice(requests, &queue->requests);
	(void)pthread_mutex_unlock(&queue->mutex);
}

static void push_list(struct completion_queue *queue, struct list_node *requests)
{
	bool was_empty;
	void (*notify)(void *arg) = queue->notify;
	void *arg = queue->arg;

	(void)pthread_mutex_lock(&queue->mutex);
	was_empty = list_is_empty(&queue->requests);
	list_splice(&queue->requests, requests);
	if (was_empty) {
		(void)atomic_fetch_add(&queue->notifying, 1);
	}
	(void)pthread_mutex_unlock(&queue->mutex);
	if (was_empty && notify != NULL) {
		notify(arg);
	}
	if (was_empty) {
		(void)atomic_fetch_sub(&queue->notifying, 1); /* the queue may go now */
	}
}

void completion_push(struct store_request *request)
{
	struct list_node one;

	list_init(&one);
	list_add_tail(&one, &request->node);
	push_list(request->queue, &one);
}

void completion_push_all(struct list_node *requests)
{
	struct list_node *node, *following, same;

	while (!list_is_empty(requests)) {
		struct completion_queue *queue =
			LIST_ENTRY(requests->next, struct store_request, node)->queue;
		list_init(&same);
		LIST_FOR_EACH_SAFE (node, following, requests) {
			if (LIST_ENTRY(node, struct store_request, node)->queue == queue) {
				list_remove(node);
				list_add_tail(&same, node);
			}
		}
		push_list(queue, &same);
	}
}
