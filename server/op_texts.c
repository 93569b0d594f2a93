/* Copies of what requests borrow: keys, types, tags. */
#include "ops_internal.h"
#include <stdlib.h>

int op_texts_copy(struct op_texts **list, struct bytes text, struct bytes *ret)
{
	struct op_texts *copy = malloc(sizeof(*copy) + text.size + 1);

	if (copy == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	if (text.size > 0) {
		memcpy(copy->bytes, text.data, text.size);
	}
	copy->next = *list;
	*list = copy;
	*ret = bytes_of(copy->bytes, text.size);
	return 0;
}

void op_texts_free(struct op_texts *list)
{
	while (list != NULL) {
		struct op_texts *next = list->next;
		free(list);
		list = next;
	}
}

/* An array of texts, in one piece of the list. */
static int copy_terms(struct op_texts **list, const struct bytes *from, uint32_t count,
	const struct bytes **ret, struct error *err)
{
	struct bytes array;
	struct bytes *terms;
	int status;

	if (count > QUERY_TERMS_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"an item of a query names at most %u types and tags, not %u",
			QUERY_TERMS_MAX, count);
	}
	/* malloc aligns the piece for pointers, and `bytes` lies behind one. */
	status =
		op_texts_copy(list, bytes_of((const uint8_t *)from, count * sizeof(*from)), &array);
	if (status != 0) {
		return error_fail(err, status, "no memory for a query");
	}
	terms = (struct bytes *)(void *)(*list)->bytes;
	*ret = terms;
	for (uint32_t i = 0; i < count && status == 0; i++) {
		status = op_texts_copy(list, from[i], &terms[i]);
	}
	return status == 0 ? 0 : error_fail(err, status, "no memory for a query");
}

int op_texts_copy_query(struct op_texts **list, const struct query_condition *query,
	struct query_condition *ret, struct query_item **ret_items, struct error *err)
{
	struct query_item *items;
	int status = 0;

	if (query->item_count == 0 || query->item_count > QUERY_ITEMS_MAX) {
		return error_fail(err, ANNALS_E_INVALID, "a query has 1 to %u items, not %u",
			QUERY_ITEMS_MAX, query->item_count);
	}
	items = calloc(query->item_count, sizeof(*items));
	if (items == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a query");
	}
	for (uint32_t i = 0; i < query->item_count && status == 0; i++) {
		const struct query_item *from = &query->items[i];
		items[i].type_count = from->type_count;
		items[i].tag_count = from->tag_count;
		status = copy_terms(list, from->types, from->type_count, &items[i].types, err);
		status = status != 0 ? status
				     : copy_terms(list, from->tags, from->tag_count, &items[i].tags,
					       err);
	}
	*ret_items = items;
	*ret = (struct query_condition){items, query->item_count, query->after};
	return status;
}
