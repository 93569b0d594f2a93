/* How requests go back to their owners: one push for each queue and commit. */
#ifndef ANNALS_STORAGE_COMPLETION_H
#define ANNALS_STORAGE_COMPLETION_H

#include <annals/storage.h>

/* Hands back a whole list (of store_request.node), keeping the order for each queue, locking and
 * notifying each queue once. Empties the list. */
void completion_push_all(struct list_node *requests);

#endif
