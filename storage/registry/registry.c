/* The registry's thread: requests in, answers out, one at a time. */
#include "registry_internal.h"

#include "completion.h"
#include <stdlib.h>

static void wake(void *arg)
{
	struct registry *registry = arg;
	(void)pthread_mutex_lock(&registry->mutex);
	registry->committed = true;
	(void)pthread_cond_signal(&registry->wake);
	(void)pthread_mutex_unlock(&registry->mutex);
}

int registry_add_schema(struct registry *registry, struct registry_schema *schema)
{
	if (registry->schema_count == registry->schema_capacity) {
		const size_t capacity =
			registry->schema_capacity == 0 ? 64 : 2 * registry->schema_capacity;
		struct registry_schema **larger =
			realloc(registry->schemas, capacity * sizeof(struct registry_schema *));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		registry->schemas = larger;
		registry->schema_capacity = capacity;
	}
	registry->schemas[registry->schema_count++] = schema;
	registry->memory_bytes += registry_schema_memory(schema);
	return 0;
}

int registry_submit(struct registry *registry, struct registry_request *request, struct error *err)
{
	int status = 0;
	list_init(&request->base.node);
	request->base.status = 0;
	request->base.error = (struct error){0, ""};
	(void)pthread_mutex_lock(&registry->mutex);
	if (registry->stopping) {
		status = error_fail(err, ANNALS_E_UNAVAILABLE, "the schema registry is closing");
	} else if (registry->inbox_count >= REGISTRY_QUEUE_MAX) {
		status = error_fail(err, ANNALS_E_OVERLOADED,
			"%u requests wait for the schema registry: that is the limit",
			REGISTRY_QUEUE_MAX);
	} else {
		list_add_tail(&registry->inbox, &request->base.node);
		registry->inbox_count++;
		(void)pthread_cond_signal(&registry->wake);
	}
	(void)pthread_mutex_unlock(&registry->mutex);
	return status;
}

static struct registry_request *take(struct registry *registry, bool *ret_stopping)
{
	struct list_node *node;
	(void)pthread_mutex_lock(&registry->mutex);
	while ((node = list_pop(&registry->inbox)) == NULL && !registry->stopping) {
		(void)pthread_cond_wait(&registry->wake, &registry->mutex);
	}
	registry->inbox_count -= node != NULL;
	*ret_stopping = registry->stopping;
	(void)pthread_mutex_unlock(&registry->mutex);
	return node == NULL ? NULL : LIST_ENTRY(node, struct registry_request, base.node);
}

static void *run(void *arg)
{
	struct registry *registry = arg;
	struct registry_request *request;
	bool stopping;
	while ((request = take(registry, &stopping)) != NULL) {
		struct error error = {0};
		const int status = stopping ? error_fail(&error, ANNALS_E_UNAVAILABLE,
						      "the schema registry is closing")
					    : registry_run(registry, request, &error);
		request->base.status = status;
		request->base.error = error;
		completion_push(&request->base);
	}
	return NULL;
}

static void release(struct registry *registry)
{
	registry_snapshot_unref(registry->current);
	for (size_t i = 0; i < registry->schema_count; i++) {
		registry_schema_free(registry->schemas[i]);
	}
	free(registry->schemas);
	descriptor_pool_unref(registry->builtin);
	completion_queue_release(&registry->completions);
	(void)pthread_cond_destroy(&registry->wake);
	(void)pthread_mutex_destroy(&registry->mutex);
	free(registry);
}

int registry_open(struct store *store, const struct registry_options *options,
	struct registry **ret, struct error *err)
{
	struct registry *registry = calloc(1, sizeof(*registry));
	if (registry == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the schema registry");
	}
	registry->store = store;
	if (options != NULL) {
		registry->options = *options;
	}
	atomic_init(&registry->generation, 0);
	(void)pthread_mutex_init(&registry->mutex, NULL);
	(void)pthread_cond_init(&registry->wake, NULL);
	list_init(&registry->inbox);
	completion_queue_init(&registry->completions, wake, registry);
	int status = descriptor_pool_builtin(&registry->builtin, err);
	if (status == 0) {
		status = registry_load(registry, err);
	}
	if (status == 0 && pthread_create(&registry->thread, NULL, run, registry) != 0) {
		status = error_fail(err, ANNALS_E_IO, "cannot start the schema registry's thread");
	}
	if (status != 0) {
		release(registry);
		return status;
	}
	*ret = registry;
	return 0;
}

void registry_close(struct registry *registry)
{
	if (registry == NULL) {
		return;
	}
	(void)pthread_mutex_lock(&registry->mutex);
	registry->stopping = true;
	(void)pthread_cond_broadcast(&registry->wake);
	(void)pthread_mutex_unlock(&registry->mutex);
	(void)pthread_join(registry->thread, NULL);
	release(registry);
}

void registry_request_release(struct registry_request *request)
{
	for (size_t i = 0; i < request->problem_count; i++) {
		free(request->problems[i].memory);
	}
	free(request->problems);
	free(request->versions);
	buf_release(&request->output);
	request->problems = NULL;
	request->problem_count = 0;
	request->versions = NULL;
	request->version_count = 0;
}
