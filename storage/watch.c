#include "watch.h"

#include "completion.h"

int watch_registry_init(struct watch_registry *registry)
{
	memset(registry, 0, sizeof(*registry));
	return pthread_mutex_init(&registry->mutex, NULL) == 0 ? 0 : ANNALS_E_NO_MEMORY;
}

void watch_registry_release(struct watch_registry *registry)
{
	(void)pthread_mutex_destroy(&registry->mutex);
}

static bool is_satisfied(const struct topic_state *state, const struct watch_request *watch)
{
	const struct partition *partition = watch->target;

	return partition == NULL ? state->last_position >= watch->offset
				 : partition->end_offset > watch->offset;
}

int watch_register(struct watch_registry *registry, struct topic_state *state,
	struct partition *partition, struct watch_request *watch)
{
	int result = 0;

	watch->target = partition;
	(void)pthread_mutex_lock(&registry->mutex);
	if (registry->closed) {
		result = ANNALS_E_UNAVAILABLE;
	} else {
		/* Registered first and looked at afterwards: a publisher that missed the count has
		 * published before. */
		list_add_tail(partition == NULL ? &state->watches : &partition->watches,
			&watch->registered);
		registry->count++;
		if (state->deleted) {
			result = ANNALS_E_UNKNOWN_TOPIC;
		} else if (is_satisfied(state, watch)) {
			result = 1;
		}
		if (result != 0) {
			list_remove(&watch->registered);
			registry->count--;
		}
	}
	watch->state = result == 0;
	(void)pthread_mutex_unlock(&registry->mutex);
	return result;
}

bool watch_cancel(struct watch_registry *registry, struct watch_request *watch)
{
	bool was_registered;

	(void)pthread_mutex_lock(&registry->mutex);
	was_registered = watch->state == 1;
	if (was_registered) {
		list_remove(&watch->registered);
		registry->count--;
		watch->state = 0;
	}
	(void)pthread_mutex_unlock(&registry->mutex);
	return was_registered;
}

/* Moves watches of `list` that are due to `due`; all of them when state is NULL. */
static void detach(struct watch_registry *registry, const struct topic_state *state,
	struct list_node *list, struct list_node *due)
{
	struct list_node *node, *following;

	LIST_FOR_EACH_SAFE (node, following, list) {
		struct watch_request *watch = LIST_ENTRY(node, struct watch_request, registered);
		if (state == NULL || is_satisfied(state, watch)) {
			list_remove(node);
			list_add_tail(due, node);
			registry->count--;
			watch->state = 0;
		}
	}
}

static void hand_out(struct list_node *due, int status)
{
	struct list_node *node;

	while ((node = list_pop(due)) != NULL) {
		struct watch_request *watch = LIST_ENTRY(node, struct watch_request, registered);
		watch->base.status = status;
		if (status != 0) {
			(void)error_fail(&watch->base.error, status, "the wait was given up: %s",
				annals_status_text(status));
		}
		completion_push(&watch->base);
	}
}

void watch_fire(struct watch_registry *registry, struct partition *partition)
{
	struct list_node due;

	if (registry->count == 0) {
		return;
	}
	list_init(&due);
	(void)pthread_mutex_lock(&registry->mutex);
	detach(registry, partition->topic, &partition->watches, &due);
	detach(registry, partition->topic, &partition->topic->watches, &due);
	(void)pthread_mutex_unlock(&registry->mutex);
	hand_out(&due, 0);
}

void watch_fail_topic(struct watch_registry *registry, struct topic_state *state, int status)
{
	struct list_node due;

	list_init(&due);
	(void)pthread_mutex_lock(&registry->mutex);
	detach(registry, NULL, &state->watches, &due);
	for (uint32_t i = 0; i < state->partition_count; i++) {
		detach(registry, NULL, &state->partitions[i]->watches, &due);
	}
	(void)pthread_mutex_unlock(&registry->mutex);
	hand_out(&due, status);
}

void watch_close(struct watch_registry *registry)
{
	(void)pthread_mutex_lock(&registry->mutex);
	registry->closed = true;
	(void)pthread_mutex_unlock(&registry->mutex);
}
