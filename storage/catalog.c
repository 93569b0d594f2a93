#include "catalog.h"

#include "topic_index.h"

#include <annals/hash.h>
#include <assert.h>
#include <stdlib.h>

#define CATALOG_SLOTS_MIN 64

struct topic *topic_ref(struct topic *topic)
{
	(void)atomic_fetch_add_explicit(&topic->references, 1, memory_order_relaxed);
	return topic;
}

void topic_unref(struct topic *topic)
{
	if (topic != NULL &&
		atomic_fetch_sub_explicit(&topic->references, 1, memory_order_acq_rel) == 1) {
		free(topic);
	}
}

struct topic_state *topic_state_ref(struct topic_state *state)
{
	(void)atomic_fetch_add_explicit(&state->references, 1, memory_order_relaxed);
	return state;
}

void topic_state_unref(struct topic_state *state)
{
	if (state == NULL ||
		atomic_fetch_sub_explicit(&state->references, 1, memory_order_acq_rel) != 1) {
		return;
	}
	for (uint32_t i = 0; i < state->partition_count; i++) {
		partition_tail_release(&state->partitions[i]->tail);
		free(state->partitions[i]);
	}
	free(state->partitions);
	topic_index_free(state->index);
	topic_unref(state->topic);
	free(state);
}

int catalog_init(struct catalog *catalog)
{
	memset(catalog, 0, sizeof(*catalog));
	catalog->next_topic_id = 1;
	catalog->slots = CATALOG_SLOTS_MIN;
	catalog->by_name = calloc(catalog->slots, sizeof(*catalog->by_name));
	catalog->by_id = calloc(catalog->slots, sizeof(*catalog->by_id));
	if (catalog->by_name == NULL || catalog->by_id == NULL ||
		pthread_rwlock_init(&catalog->lock, NULL) != 0) {
		free(catalog->by_name);
		free(catalog->by_id);
		return ANNALS_E_NO_MEMORY;
	}
	return 0;
}

void catalog_release(struct catalog *catalog)
{
	for (size_t i = 0; i < catalog->slots; i++) {
		topic_state_unref(catalog->by_id[i]);
	}
	free(catalog->by_name);
	free(catalog->by_id);
	(void)pthread_rwlock_destroy(&catalog->lock);
}

static uint64_t hash_id(uint32_t id)
{
	return id * 0x9e3779b97f4a7c15u >> 20;
}

/* The slot of this name (id), or the empty one where it would go. */
static size_t slot_of_name(const struct catalog *catalog, struct bytes name)
{
	size_t slot = hash_table64(name) & (catalog->slots - 1);

	while (catalog->by_name[slot] != NULL &&
		!bytes_is(name, catalog->by_name[slot]->topic->name)) {
		slot = (slot + 1) & (catalog->slots - 1);
	}
	return slot;
}

static size_t slot_of_id(const struct catalog *catalog, uint32_t id)
{
	size_t slot = hash_id(id) & (catalog->slots - 1);

	while (catalog->by_id[slot] != NULL && catalog->by_id[slot]->id != id) {
		slot = (slot + 1) & (catalog->slots - 1);
	}
	return slot;
}

struct topic_state *catalog_peek_id(struct catalog *catalog, uint32_t id)
{
	return catalog->by_id[slot_of_id(catalog, id)];
}

struct topic_state *catalog_peek_name(struct catalog *catalog, struct bytes name)
{
	return catalog->by_name[slot_of_name(catalog, name)];
}

struct topic_state *catalog_find_name(struct catalog *catalog, struct bytes name)
{
	struct topic_state *state;

	(void)pthread_rwlock_rdlock(&catalog->lock);
	state = catalog_peek_name(catalog, name);
	if (state != NULL) {
		(void)topic_state_ref(state);
	}
	(void)pthread_rwlock_unlock(&catalog->lock);
	return state;
}

struct topic_state *catalog_find_id(struct catalog *catalog, uint32_t id)
{
	struct topic_state *state;

	(void)pthread_rwlock_rdlock(&catalog->lock);
	state = catalog_peek_id(catalog, id);
	if (state != NULL) {
		(void)topic_state_ref(state);
	}
	(void)pthread_rwlock_unlock(&catalog->lock);
	return state;
}

struct topic *catalog_topic(struct catalog *catalog, struct topic_state *state)
{
	struct topic *topic;

	(void)pthread_rwlock_rdlock(&catalog->lock);
	topic = topic_ref(state->topic);
	(void)pthread_rwlock_unlock(&catalog->lock);
	return topic;
}

struct topic_state *catalog_find_partition(struct catalog *catalog, uint32_t id, uint32_t index,
	struct partition **ret, int *ret_status)
{
	struct topic_state *state;

	(void)pthread_rwlock_rdlock(&catalog->lock);
	state = catalog_peek_id(catalog, id);
	if (state == NULL) {
		*ret_status = ANNALS_E_UNKNOWN_TOPIC;
	} else if (index >= state->partition_count) {
		*ret_status = ANNALS_E_UNKNOWN_PARTITION;
		state = NULL;
	} else {
		*ret = state->partitions[index];
		(void)topic_state_ref(state);
	}
	(void)pthread_rwlock_unlock(&catalog->lock);
	return state;
}

static struct partition *partition_new(struct topic_state *state, uint32_t index)
{
	struct partition *partition = calloc(1, sizeof(*partition));

	if (partition != NULL) {
		partition->topic = state;
		partition->index = index;
		partition->gap_at = UINT64_MAX;
		partition_tail_init(&partition->tail);
		list_init(&partition->trim_node);
		list_init(&partition->watches);
	}
	return partition;
}

/* A copy of the state's partitions, enlarged to `count`; the old array stays. */
static struct partition **grow_partitions(struct topic_state *state, uint32_t count)
{
	struct partition **partitions = calloc(count, sizeof(struct partition *));

	if (partitions == NULL) {
		return NULL;
	}
	for (uint32_t i = 0; i < count; i++) {
		partitions[i] =
			i < state->partition_count ? state->partitions[i] : partition_new(state, i);
		if (partitions[i] == NULL) {
			while (i-- > state->partition_count) {
				free(partitions[i]);
			}
			free(partitions);
			return NULL;
		}
	}
	return partitions;
}

/* Both tables in a new size; the caller holds the write lock or is alone. */
static int grow_tables(struct catalog *catalog)
{
	struct catalog larger = {.slots = catalog->slots * 2};

	larger.by_name = calloc(larger.slots, sizeof(*larger.by_name));
	larger.by_id = calloc(larger.slots, sizeof(*larger.by_id));
	if (larger.by_name == NULL || larger.by_id == NULL) {
		free(larger.by_name);
		free(larger.by_id);
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < catalog->slots; i++) {
		struct topic_state *state = catalog->by_id[i];
		if (state != NULL) {
			larger.by_id[slot_of_id(&larger, state->id)] = state;
			larger.by_name[slot_of_name(&larger, bytes_text(state->topic->name))] =
				state;
		}
	}
	free(catalog->by_name);
	free(catalog->by_id);
	catalog->by_name = larger.by_name;
	catalog->by_id = larger.by_id;
	catalog->slots = larger.slots;
	return 0;
}

int catalog_add(struct catalog *catalog, struct topic *topic)
{
	struct topic_state *state = calloc(1, sizeof(*state));
	int status = 0;

	if (state == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	state->references = 1;
	state->id = topic->id;
	list_init(&state->watches);
	state->partitions = grow_partitions(state, topic->config.partitions);
	if (state->partitions == NULL) {
		free(state);
		return ANNALS_E_NO_MEMORY;
	}
	state->partition_count = topic->config.partitions;
	state->topic = topic;
	(void)pthread_rwlock_wrlock(&catalog->lock);
	if ((catalog->count + 1) * 2 > catalog->slots) {
		status = grow_tables(catalog);
	}
	if (status == 0) {
		catalog->by_name[slot_of_name(catalog, bytes_text(topic->name))] = state;
		catalog->by_id[slot_of_id(catalog, topic->id)] = state;
		catalog->count++;
		catalog->partition_count += state->partition_count;
	}
	(void)pthread_rwlock_unlock(&catalog->lock);
	if (status != 0) {
		state->topic = NULL;
		topic_state_unref(state);
	}
	return status;
}

int catalog_replace(struct catalog *catalog, struct topic_state *state, struct topic *topic)
{
	struct partition **partitions = NULL, **old_partitions = NULL;
	struct topic *old = state->topic;
	uint32_t count = topic->config.partitions;

	if (count > state->partition_count) {
		partitions = grow_partitions(state, count);
		if (partitions == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
	}
	(void)pthread_rwlock_wrlock(&catalog->lock);
	if (partitions != NULL) {
		catalog->partition_count += count - state->partition_count;
		old_partitions = state->partitions;
		state->partitions = partitions;
		state->partition_count = count;
	}
	state->topic = topic;
	(void)pthread_rwlock_unlock(&catalog->lock);
	/* Others look into the array under the lock only. */
	free(old_partitions);
	topic_unref(old);
	return 0;
}

/* Empties a slot and moves those behind it up, so that no search stops early. */
static void empty_slot(
	struct catalog *catalog, struct topic_state **table, size_t slot, bool by_name)
{
	size_t mask = catalog->slots - 1;

	table[slot] = NULL;
	for (size_t next = (slot + 1) & mask; table[next] != NULL; next = (next + 1) & mask) {
		struct topic_state *state = table[next];
		table[next] = NULL;
		table[by_name ? slot_of_name(catalog, bytes_text(state->topic->name))
			      : slot_of_id(catalog, state->id)] = state;
	}
}

void catalog_remove(struct catalog *catalog, struct topic_state *state)
{
	(void)pthread_rwlock_wrlock(&catalog->lock);
	empty_slot(catalog, catalog->by_name, slot_of_name(catalog, bytes_text(state->topic->name)),
		true);
	empty_slot(catalog, catalog->by_id, slot_of_id(catalog, state->id), false);
	catalog->count--;
	catalog->partition_count -= state->partition_count;
	state->deleted = true;
	(void)pthread_rwlock_unlock(&catalog->lock);
	catalog->removed++;
	topic_state_unref(state);
}
