#include <annals/extract_event.h>

#include <string.h>

void extract_event_release(struct extract_event *event)
{
	if (event != NULL) {
		buf_release(&event->texts);
	}
}

static bool has_tag(const struct extract_event *event, uint32_t count, struct bytes tag)
{
	for (uint32_t i = 0; i < count; i++) {
		if (bytes_equal(event->tags[i], tag)) {
			return true;
		}
	}
	return false;
}

static int add_tags(struct extract_event *event, struct record *record, struct error *err)
{
	const struct extract *extract = &event->found;
	size_t size = 0;

	for (size_t i = 0; i < extract->tag_count; i++) {
		size += strlen(extract->tags[i].name) + 1 + extract->tags[i].value.size;
	}
	buf_reset(&event->texts);
	if (buf_reserve(&event->texts, size + 1) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	for (uint32_t i = 0; i < record->tag_count; i++) {
		event->tags[i] = record->tags[i];
	}
	for (size_t i = 0; i < extract->tag_count; i++) {
		const size_t start = event->texts.size;
		if (buf_add_text(&event->texts, extract->tags[i].name) != 0 ||
			buf_add_byte(&event->texts, ':') != 0 ||
			buf_add(&event->texts, extract->tags[i].value.data,
				extract->tags[i].value.size) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
		const struct bytes tag =
			bytes_of(event->texts.data + start, event->texts.size - start);
		if (has_tag(event, record->tag_count, tag)) {
			continue;
		}
		if (record->tag_count == RECORD_TAGS_MAX) {
			return error_fail(err, ANNALS_E_TOO_LARGE, "an event has more than %d tags",
				RECORD_TAGS_MAX);
		}
		event->tags[record->tag_count++] = tag;
	}
	record->tags = event->tags;
	return 0;
}

int extract_event_fill(struct extract_event *event, const struct descriptor_message *type,
	struct record *record, struct error *err)
{
	const struct extract *found = &event->found;
	const int status = extract_message(type, record->data, &event->found, err);

	if (status != 0) {
		return status;
	}
	if (found->has_key) {
		record->has_key = true;
		record->key = found->key;
	}
	if (found->has_subject) {
		record->subject = found->subject;
	}
	if (found->has_time) {
		record->has_time = true;
		record->time_ns = found->time_ns;
	}
	return found->tag_count > 0 ? add_tags(event, record, err) : 0;
}

/* Whole or not at all: a sentence must stay UTF-8. */
static struct bytes shown(struct bytes text)
{
	return text.size <= 80 ? text : bytes_text("...");
}

static bool carries_tag(const struct record *record, const struct extract_tag *wanted)
{
	const size_t name_size = strlen(wanted->name);
	struct bytes tag;
	size_t cursor = 0;

	while (record_next_tag(record, &cursor, &tag) == 1) {
		if (tag.size == name_size + 1 + wanted->value.size &&
			memcmp(tag.data, wanted->name, name_size) == 0 &&
			tag.data[name_size] == ':' &&
			bytes_equal(bytes_of(tag.data + name_size + 1, wanted->value.size),
				wanted->value)) {
			return true;
		}
	}
	return false;
}

static int differs(struct error *err, const char *what)
{
	return error_fail(
		err, ANNALS_E_VALIDATION, "the event's %s is not what its data say", what);
}

int extract_event_check(
	const struct descriptor_message *type, const struct record *record, struct error *err)
{
	struct extract found;
	const int status = extract_message(type, record->data, &found, err);

	if (status != 0) {
		return status;
	}
	if (found.has_key && !(record->has_key && bytes_equal(record->key, found.key))) {
		return differs(err, "key");
	}
	if (found.has_subject && !bytes_equal(record->subject, found.subject)) {
		return differs(err, "subject");
	}
	if (found.has_time && !(record->has_time && record->time_ns == found.time_ns)) {
		return differs(err, "time");
	}
	for (size_t i = 0; i < found.tag_count; i++) {
		if (!carries_tag(record, &found.tags[i])) {
			const struct bytes value = shown(found.tags[i].value);
			return error_fail(err, ANNALS_E_VALIDATION,
				"the event lacks the tag '%s:%.*s' that its data say",
				found.tags[i].name, (int)value.size,
				value.size > 0 ? (const char *)value.data : "");
		}
	}
	return 0;
}
