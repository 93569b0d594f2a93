#include "http_filter.h"
#include "http_text.h"

void http_filter_release(struct http_filter *filter)
{
	buf_release(&filter->link);
}

/* True: the parameter is one of the filter's. */
static bool is_own(struct bytes name)
{
	static const char *const names[] = {"type", "typePrefix", "subject", "key", "tag",
		"partition", "data", "schemaVersion"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
		if (bytes_is(name, names[i])) {
			return true;
		}
	}
	return false;
}

static int keep_for_link(struct http_filter *filter, struct bytes name, struct bytes value)
{
	int status = buf_add(&filter->link, name.data, name.size);
	status = status != 0 ? status : buf_add_byte(&filter->link, '=');
	status = status != 0 ? status : buf_add(&filter->link, value.data, value.size);
	return status != 0 ? status : buf_add_byte(&filter->link, '&');
}

/* The tags, of which there may be several, and the texts for the link. */
static bool read_terms(struct http_filter *filter, struct http_request *request)
{
	struct bytes name, value;
	size_t cursor = 0;
	while (http_query_next(request->query, &cursor, &name, &value) == 1) {
		if (is_own(name) && keep_for_link(filter, name, value) != 0) {
			http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
			return false;
		}
		if (!bytes_is(name, "tag")) {
			continue;
		}
		const size_t start = request->texts.size;
		if (filter->terms.tag_count == EVENT_FILTER_TAGS_MAX ||
			http_percent_decode(value, &request->texts) != 0) {
			http_problem(request, ANNALS_E_INVALID,
				"at most 32 tags, percent-encoded, can be given", NULL);
			return false;
		}
		filter->terms.tags[filter->terms.tag_count++] =
			bytes_of(request->texts.data + start, request->texts.size - start);
	}
	return true;
}

bool http_filter_read_terms(struct http_filter *filter, struct http_request *request)
{
	return http_param(request, "type", &filter->terms.type) &&
	       http_param(request, "typePrefix", &filter->terms.type_prefix) &&
	       http_param(request, "subject", &filter->terms.subject) &&
	       http_param(request, "key", &filter->terms.key) && read_terms(filter, request);
}

bool http_filter_read(
	struct http_filter *filter, struct http_request *request, const struct topic *topic)
{
	const uint32_t partitions = topic->config.partitions;
	uint64_t partition = UINT64_MAX;
	if (!http_filter_read_terms(filter, request) ||
		!http_param_u64(request, "partition", UINT64_MAX, 0, UINT32_MAX, &partition)) {
		return false;
	}
	if (partition != UINT64_MAX && partition >= partitions) {
		struct op_detail detail = {.has_partition = true, .partition = (uint32_t)partition};
		memcpy(detail.topic, topic->name, sizeof(detail.topic));
		http_problem(request, ANNALS_E_UNKNOWN_PARTITION, NULL, &detail);
		return false;
	}
	filter->has_partition = partition != UINT64_MAX;
	filter->partition = (uint32_t)partition;
	if (filter->terms.key.data != NULL && !filter->has_partition && topic->config.streams) {
		/* Where there are streams, a key's events are all in its partition. */
		filter->has_partition = true;
		filter->partition = record_partition(filter->terms.key, partitions);
	}
	return true;
}
