#include "random_record.h"

#include <assert.h>
#include <stdio.h>

static struct bytes pool_bytes(struct random_record *made, struct random *random, size_t size)
{
	assert(made->pool_used + size + 1 <= sizeof(made->pool));
	uint8_t *data = made->pool + made->pool_used;
	for (size_t i = 0; i < size; i++) {
		data[i] = (uint8_t)random_next(random);
	}
	data[size] = 0;
	made->pool_used += size + 1;
	return bytes_of(data, size);
}

/* Text of up to `characters` characters, mostly ASCII, without NUL. */
static struct bytes pool_text(struct random_record *made, struct random *random, size_t characters)
{
	static const char *const wide[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8c\x8b",
		"\xef\xbf\xbd", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
	size_t count = random_below(random, characters + 1);
	uint8_t *data = made->pool + made->pool_used;
	size_t size = 0;
	bool is_ascii = random_below(random, 4) != 0;
	for (size_t i = 0; i < count; i++) {
		if (!is_ascii && random_below(random, 3) == 0) {
			const char *text = wide[random_below(random, ANNALS_COUNT_OF(wide))];
			memcpy(data + size, text, strlen(text));
			size += strlen(text);
		} else {
			data[size++] = (uint8_t)(1 + random_below(random, 127));
		}
	}
	data[size] = 0;
	made->pool_used += size + 1;
	assert(made->pool_used <= sizeof(made->pool));
	return bytes_of(data, size);
}

static int64_t random_time_ns(struct random *random)
{
	switch (random_below(random, 4)) {
	case 0:
		return RECORD_TIME_NS_MIN;
	case 1:
		return RECORD_TIME_NS_MAX;
	default:
		return (int64_t)(random_next(random) >> 4);
	}
}

static void make_extension(
	struct random_record *made, struct random *random, struct attribute *ret, size_t index)
{
	static const enum attribute_kind kinds[] = {ATTRIBUTE_NONE, ATTRIBUTE_BOOLEAN,
		ATTRIBUTE_INTEGER, ATTRIBUTE_TEXT, ATTRIBUTE_BINARY, ATTRIBUTE_URI,
		ATTRIBUTE_URI_REFERENCE, ATTRIBUTE_TIMESTAMP};
	static const int32_t integers[] = {0, 1, -1, INT32_MAX, INT32_MIN, 64, -65};
	char name[RECORD_ATTRIBUTE_NAME_MAX + 1];
	int length = snprintf(name, sizeof(name), "x%zu%llu", index,
		(unsigned long long)random_below(random, 1000000000));
	uint8_t *copy = made->pool + made->pool_used;
	memcpy(copy, name, (size_t)length + 1);
	made->pool_used += (size_t)length + 1;
	*ret = (struct attribute){.name = bytes_of(copy, (size_t)length),
		.kind = kinds[random_below(random, ANNALS_COUNT_OF(kinds))]};
	switch (ret->kind) {
	case ATTRIBUTE_NONE:
		break;
	case ATTRIBUTE_BOOLEAN:
		ret->boolean = random_below(random, 2) == 1;
		break;
	case ATTRIBUTE_INTEGER:
		ret->integer = integers[random_below(random, ANNALS_COUNT_OF(integers))];
		break;
	case ATTRIBUTE_TIMESTAMP:
		ret->timestamp_ns = random_time_ns(random);
		break;
	case ATTRIBUTE_BINARY:
		ret->value = pool_bytes(made, random, random_below(random, 40));
		break;
	case ATTRIBUTE_TEXT:
	case ATTRIBUTE_URI:
	case ATTRIBUTE_URI_REFERENCE:
		ret->value = pool_text(made, random, 40);
		break;
	}
}

static void make_repeated(struct random_record *made, struct random *random)
{
	struct record *record = &made->record;
	record->extension_count = (uint32_t)random_below(random, RANDOM_RECORD_ITEMS_MAX + 1);
	for (uint32_t i = 0; i < record->extension_count; i++) {
		make_extension(made, random, &made->extensions[i], i);
	}
	record->header_count = (uint32_t)random_below(random, RANDOM_RECORD_ITEMS_MAX + 1);
	for (uint32_t i = 0; i < record->header_count; i++) {
		made->headers[i] = (struct record_header){.name = pool_text(made, random, 20),
			.has_value = random_below(random, 3) != 0};
		if (made->headers[i].has_value) {
			made->headers[i].value = pool_bytes(made, random, random_below(random, 40));
		}
	}
	record->tag_count = (uint32_t)random_below(random, RANDOM_RECORD_ITEMS_MAX + 1);
	for (uint32_t i = 0; i < record->tag_count; i++) {
		made->tags[i] = pool_text(made, random, 20);
	}
	record->extensions = made->extensions;
	record->headers = made->headers;
	record->tags = made->tags;
}

void random_record_make(struct random_record *made, struct random *random)
{
	struct record *record = &made->record;
	*record = (struct record){.has_time = random_below(random, 4) != 0};
	made->pool_used = 0;
	record->id = pool_text(made, random, 40);
	record->source = pool_text(made, random, 150);
	record->type = pool_text(made, random, 30);
	record->subject = pool_text(made, random, 30);
	record->datacontenttype = pool_text(made, random, 20);
	record->dataschema = pool_text(made, random, 60);
	if (record->has_time) {
		record->time_ns = random_time_ns(random);
	}
	record->has_due = random_below(random, 4) == 0;
	if (record->has_due) {
		record->due_ns = random_time_ns(random);
	}
	record->has_key = random_below(random, 2) == 0;
	if (record->has_key) {
		record->key = pool_bytes(made, random, random_below(random, 3) * 512);
	}
	record->has_data = random_below(random, 8) != 0;
	if (record->has_data) {
		record->data = pool_bytes(made, random, random_below(random, 400) * 7);
	}
	record->schema_version = random_below(random, 2) == 0 ? 0 : (uint32_t)random_next(random);
	make_repeated(made, random);
}

static char *text_of(struct bytes bytes)
{
	/* Texts of the pool end in NUL. protobuf-c reads them only; its structures are without
	 * const. */
	union {
		const uint8_t *in;
		char *out;
	} text = {.in = bytes.data};
	return bytes.size == 0 ? NULL : text.out;
}

static ProtobufCBinaryData binary_of(struct bytes bytes)
{
	union {
		const uint8_t *in;
		uint8_t *out;
	} data = {.in = bytes.data};
	return (ProtobufCBinaryData){.len = bytes.size, .data = data.out};
}

static char *text_or_empty(struct bytes bytes)
{
	union {
		const uint8_t *in;
		char *out;
	} text = {.in = bytes.data};
	return text.out;
}

static void set_attribute(const struct attribute *from, Annals__V1__Attribute *to)
{
	annals__v1__attribute__init(to);
	to->name = text_of(from->name);
	to->value_case = (Annals__V1__Attribute__ValueCase)from->kind;
	switch (from->kind) {
	case ATTRIBUTE_NONE:
		break;
	case ATTRIBUTE_BOOLEAN:
		to->boolean = from->boolean;
		break;
	case ATTRIBUTE_INTEGER:
		to->integer = from->integer;
		break;
	case ATTRIBUTE_TIMESTAMP:
		to->timestamp_ns = from->timestamp_ns;
		break;
	case ATTRIBUTE_BINARY:
		to->binary = binary_of(from->value);
		break;
	case ATTRIBUTE_TEXT:
		to->text = text_or_empty(from->value);
		break;
	case ATTRIBUTE_URI:
		to->uri = text_or_empty(from->value);
		break;
	case ATTRIBUTE_URI_REFERENCE:
		to->uri_reference = text_or_empty(from->value);
		break;
	}
}

void random_record_event(const struct random_record *made, struct random_record_event *ret)
{
	const struct record *record = &made->record;
	Annals__V1__Event *event = &ret->event;
	annals__v1__event__init(event);
	event->id = text_of(record->id);
	event->source = text_of(record->source);
	event->type = text_of(record->type);
	event->subject = text_of(record->subject);
	event->datacontenttype = text_of(record->datacontenttype);
	event->dataschema = text_of(record->dataschema);
	event->schema_version = record->schema_version;
	if (record->has_time) {
		event->time_presence_case = ANNALS__V1__EVENT__TIME_PRESENCE_TIME_NS;
		event->time_ns = record->time_ns;
	}
	if (record->has_due) {
		event->due_presence_case = ANNALS__V1__EVENT__DUE_PRESENCE_DUE_NS;
		event->due_ns = record->due_ns;
	}
	if (record->has_key) {
		event->key_presence_case = ANNALS__V1__EVENT__KEY_PRESENCE_KEY;
		event->key = binary_of(record->key);
	}
	if (record->has_data) {
		event->data_presence_case = ANNALS__V1__EVENT__DATA_PRESENCE_DATA;
		event->data = binary_of(record->data);
	}
	for (uint32_t i = 0; i < record->extension_count; i++) {
		set_attribute(&made->extensions[i], &ret->attributes[i]);
		ret->attribute_pointers[i] = &ret->attributes[i];
	}
	for (uint32_t i = 0; i < record->header_count; i++) {
		Annals__V1__Header *header = &ret->headers[i];
		annals__v1__header__init(header);
		header->name = text_of(made->headers[i].name);
		if (made->headers[i].has_value) {
			header->value_presence_case = ANNALS__V1__HEADER__VALUE_PRESENCE_VALUE;
			header->value = binary_of(made->headers[i].value);
		}
		ret->header_pointers[i] = header;
	}
	for (uint32_t i = 0; i < record->tag_count; i++) {
		ret->tag_pointers[i] = text_or_empty(made->tags[i]);
	}
	event->n_extension = record->extension_count;
	event->extension = ret->attribute_pointers;
	event->n_header = record->header_count;
	event->header = ret->header_pointers;
	event->n_tag = record->tag_count;
	event->tag = ret->tag_pointers;
}
