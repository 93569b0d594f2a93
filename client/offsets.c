/* Committed offsets, groups, and offsets by time. */
#include "control.h"

#include <stdlib.h>

int annals_offsets_commit(struct annals_client *client, const char *group,
	const struct annals_offset *offsets, size_t count, int timeout_ms,
	struct annals_error *error)
{
	return annals_offsets_commit_as(client, group, NULL, 0, offsets, count, timeout_ms, error);
}

int annals_offsets_commit_as(struct annals_client *client, const char *group, const char *member,
	uint32_t generation, const struct annals_offset *offsets, size_t count, int timeout_ms,
	struct annals_error *error)
{
	Annals__V1__OffsetCommitRequest request = ANNALS__V1__OFFSET_COMMIT_REQUEST__INIT;
	Annals__V1__OffsetEntry *entries = calloc(count + 1, sizeof(*entries));
	Annals__V1__OffsetEntry **list = calloc(count + 1, sizeof(Annals__V1__OffsetEntry *));
	int status = entries && list ? ANNALS_OK
				     : client_error(error, ANNALS_E_NO_MEMORY,
					       "no memory for %zu offsets", count);
	for (size_t i = 0; status == ANNALS_OK && i < count; i++) {
		annals__v1__offset_entry__init(&entries[i]);
		entries[i].topic = control_text(offsets[i].topic);
		entries[i].partition = offsets[i].partition;
		entries[i].offset = offsets[i].offset;
		entries[i].metadata = control_text(offsets[i].metadata);
		list[i] = &entries[i];
	}
	request.group = control_text(group);
	request.member = control_text(member);
	request.generation = generation;
	request.offset = list;
	request.n_offset = count;
	ProtobufCMessage *answer;
	if (status == ANNALS_OK) {
		status = control_call(client, FRAME_OFFSET_COMMIT, &request.base,
			&annals__v1__offset_commit_response__descriptor, timeout_ms, &answer,
			error);
	}
	if (status == ANNALS_OK) {
		protobuf_c_message_free_unpacked(answer, NULL);
	}
	free(list);
	free(entries);
	return status;
}

void annals_offsets_free(struct annals_offset *offsets, size_t count)
{
	for (size_t i = 0; offsets && i < count; i++) {
		free((void *)(uintptr_t)offsets[i].topic);
		free((void *)(uintptr_t)offsets[i].metadata);
	}
	free(offsets);
}

static struct annals_offset *offsets_from(const Annals__V1__OffsetFetchResponse *response)
{
	struct annals_offset *offsets = calloc(response->n_offset + 1, sizeof(*offsets));
	for (size_t i = 0; offsets && i < response->n_offset; i++) {
		const Annals__V1__OffsetEntry *from = response->offset[i];
		offsets[i] = (struct annals_offset){strdup(from->topic), from->partition,
			from->offset, strdup(from->metadata), from->committed_us,
			from->first_offset, from->end_offset};
		if (!offsets[i].topic || !offsets[i].metadata) {
			annals_offsets_free(offsets, response->n_offset);
			return NULL;
		}
	}
	return offsets;
}

int annals_offsets_fetch(struct annals_client *client, const char *group, const char *topic,
	int timeout_ms, struct annals_offset **ret_offsets, size_t *ret_count,
	struct annals_error *error)
{
	Annals__V1__OffsetFetchRequest request = ANNALS__V1__OFFSET_FETCH_REQUEST__INIT;
	request.group = control_text(group);
	request.topic = control_text(topic);
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_OFFSET_FETCH, &request.base,
		&annals__v1__offset_fetch_response__descriptor, timeout_ms, &answer, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__OffsetFetchResponse *response = (const void *)answer;
	struct annals_offset *offsets = offsets_from(response);
	if (offsets) {
		*ret_offsets = offsets;
		*ret_count = response->n_offset;
	} else {
		status = client_error(error, ANNALS_E_NO_MEMORY, "no memory for the offsets");
	}
	protobuf_c_message_free_unpacked(answer, NULL);
	return status;
}

void annals_groups_free(char **groups, size_t count)
{
	for (size_t i = 0; groups && i < count; i++) {
		free(groups[i]);
	}
	free(groups);
}

int annals_groups_list(struct annals_client *client, int timeout_ms, char ***ret_groups,
	size_t *ret_count, struct annals_error *error)
{
	Annals__V1__GroupListRequest request = ANNALS__V1__GROUP_LIST_REQUEST__INIT;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_GROUP_LIST, &request.base,
		&annals__v1__group_list_response__descriptor, timeout_ms, &answer, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__GroupListResponse *response = (const void *)answer;
	char **groups = calloc(response->n_group + 1, sizeof(char *));
	bool whole = groups != NULL;
	for (size_t i = 0; whole && i < response->n_group; i++) {
		groups[i] = strdup(response->group[i]);
		whole = groups[i] != NULL;
	}
	if (whole) {
		*ret_groups = groups;
		*ret_count = response->n_group;
	} else {
		annals_groups_free(groups, groups ? response->n_group : 0);
		status = client_error(error, ANNALS_E_NO_MEMORY, "no memory for the groups");
	}
	protobuf_c_message_free_unpacked(answer, NULL);
	return status;
}

int annals_offset_for_time(struct annals_client *client, const char *topic, uint32_t partition,
	uint64_t time_us, int timeout_ms, uint64_t *ret_offset, struct annals_error *error)
{
	Annals__V1__OffsetForTimeRequest request = ANNALS__V1__OFFSET_FOR_TIME_REQUEST__INIT;
	request.topic = control_text(topic);
	request.partition = partition;
	request.time_us = time_us;
	ProtobufCMessage *answer;
	int status = control_call(client, FRAME_OFFSET_FOR_TIME, &request.base,
		&annals__v1__offset_for_time_response__descriptor, timeout_ms, &answer, error);
	if (status == ANNALS_OK) {
		*ret_offset =
			((const Annals__V1__OffsetForTimeResponse *)(const void *)answer)->offset;
		protobuf_c_message_free_unpacked(answer, NULL);
	}
	return status;
}
