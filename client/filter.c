#include "filter.h"

#include "io.h"

static struct bytes wanted_text(const char *text)
{
	return text && text[0] ? bytes_text(text) : bytes_of(NULL, 0);
}

int filter_read(
	const struct annals_filter *from, struct event_filter *ret, struct annals_error *error)
{
	*ret = (struct event_filter){.tag_count = 0};
	if (!from) {
		return ANNALS_OK;
	}
	if (from->tag_count > EVENT_FILTER_TAGS_MAX) {
		return client_error(error, ANNALS_E_LIMIT, "a filter has at most %u tags",
			EVENT_FILTER_TAGS_MAX);
	}
	ret->type = wanted_text(from->type);
	ret->type_prefix = wanted_text(from->type_prefix);
	ret->subject = wanted_text(from->subject);
	if (from->has_key) {
		ret->key = bytes_of(from->key.size ? from->key.data : "", from->key.size);
	}
	for (size_t i = 0; i < from->tag_count; i++) {
		ret->tags[ret->tag_count++] = bytes_text(from->tags[i]);
	}
	return ANNALS_OK;
}

void filter_message(
	const struct event_filter *filter, Annals__V1__EventFilter *message, char **tags)
{
	annals__v1__event_filter__init(message);
	if (filter->type.data) {
		message->type = (char *)(uintptr_t)filter->type.data;
	}
	if (filter->type_prefix.data) {
		message->type_prefix = (char *)(uintptr_t)filter->type_prefix.data;
	}
	if (filter->subject.data) {
		message->subject = (char *)(uintptr_t)filter->subject.data;
	}
	message->has_key = filter->key.data != NULL;
	message->key.data = (uint8_t *)(uintptr_t)filter->key.data;
	message->key.len = filter->key.size;
	for (size_t i = 0; i < filter->tag_count; i++) {
		tags[i] = (char *)(uintptr_t)filter->tags[i].data;
	}
	message->tag = tags;
	message->n_tag = filter->tag_count;
}
