/* Waits for data. One mutex; the number of watches is known without it, so that nobody pays who has
 * none. */
#ifndef ANNALS_STORAGE_WATCH_H
#define ANNALS_STORAGE_WATCH_H

#include "catalog.h"

struct watch_registry {
	pthread_mutex_t mutex;
	_Atomic uint64_t count;
	bool closed;
};

int watch_registry_init(struct watch_registry *registry) ANNALS_MUST_CHECK;
void watch_registry_release(struct watch_registry *registry);
/* As store_watch(), for a topic that was looked up, and a partition of it or NULL for all. */
int watch_register(struct watch_registry *registry, struct topic_state *state,
	struct partition *partition, struct watch_request *watch) ANNALS_MUST_CHECK;
bool watch_cancel(struct watch_registry *registry, struct watch_request *watch);
/* Hands out the watches that the partition's new end satisfies, and the topic's. Call after the end
 * was published. */
void watch_fire(struct watch_registry *registry, struct partition *partition);
/* Hands out all of the topic's with this status. */
void watch_fail_topic(struct watch_registry *registry, struct topic_state *state, int status);
/* From now on watch_register() answers ANNALS_E_UNAVAILABLE. */
void watch_close(struct watch_registry *registry);

#endif
