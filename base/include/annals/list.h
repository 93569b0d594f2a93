/* Intrusive doubly linked list. A node is in at most one list; a removed node points to itself. Not
 * thread-safe. */
#ifndef ANNALS_LIST_H
#define ANNALS_LIST_H

#include <annals/macros.h>
#include <stdbool.h>

struct list_node {
	struct list_node *next;
	struct list_node *prev;
};

static inline void list_init(struct list_node *head)
{
	head->next = head;
	head->prev = head;
}
static inline bool list_is_empty(const struct list_node *head)
{
	return head->next == head;
}
static inline void list_add_tail(struct list_node *head, struct list_node *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}
static inline void list_add_head(struct list_node *head, struct list_node *node)
{
	node->next = head->next;
	node->prev = head;
	head->next->prev = node;
	head->next = node;
}
static inline void list_remove(struct list_node *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}
/* Moves every node of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice(struct list_node *to, struct list_node *from)
{
	if (list_is_empty(from)) {
		return;
	}
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}
static inline struct list_node *list_pop(struct list_node *head)
{
	struct list_node *node = head->next;
	if (node == head) {
		return NULL;
	}
	list_remove(node);
	return node;
}

#define LIST_ENTRY(node, type, member) ANNALS_CONTAINER_OF(node, type, member)
#define LIST_FOR_EACH(node, head) for (node = (head)->next; node != (head); node = node->next)
/* The body may remove `node`. */
#define LIST_FOR_EACH_SAFE(node, following, head)                                                  \
	for (node = (head)->next, following = node->next; node != (head);                          \
		node = following, following = node->next)

#endif
