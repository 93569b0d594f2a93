/* Random valid events, the same for the same seed, as a struct record and as protobuf-c's Event. */
#ifndef TESTS_RANDOM_RECORD_H
#define TESTS_RANDOM_RECORD_H

#include <annals/hash.h>
#include <annals/record.h>

#include "event.pb-c.h"

#define RANDOM_RECORD_ITEMS_MAX 8

struct random_record {
	struct record record; /* borrows from the rest of this structure */
	struct attribute extensions[RANDOM_RECORD_ITEMS_MAX];
	struct record_header headers[RANDOM_RECORD_ITEMS_MAX];
	struct bytes tags[RANDOM_RECORD_ITEMS_MAX];
	uint8_t pool[32768]; /* texts, each followed by a NUL */
	size_t pool_used;
};

void random_record_make(struct random_record *made, struct random *random);

/* The same event for protobuf-c; borrows from `made`. */
struct random_record_event {
	Annals__V1__Event event;
	Annals__V1__Attribute attributes[RANDOM_RECORD_ITEMS_MAX];
	Annals__V1__Attribute *attribute_pointers[RANDOM_RECORD_ITEMS_MAX];
	Annals__V1__Header headers[RANDOM_RECORD_ITEMS_MAX];
	Annals__V1__Header *header_pointers[RANDOM_RECORD_ITEMS_MAX];
	char *tag_pointers[RANDOM_RECORD_ITEMS_MAX];
};
void random_record_event(const struct random_record *made, struct random_record_event *ret);

#endif
