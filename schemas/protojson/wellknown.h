/*
 * Which messages the mapping prints in a way of their own. Private to protojson.
 */
#ifndef SCHEMAS_PROTOJSON_WELLKNOWN_H
#define SCHEMAS_PROTOJSON_WELLKNOWN_H

#include <annals/descriptor.h>

enum wellknown {
	WELLKNOWN_NONE,
	WELLKNOWN_ANY,
	WELLKNOWN_DURATION,
	WELLKNOWN_FIELD_MASK,
	WELLKNOWN_LIST_VALUE,
	WELLKNOWN_STRUCT,
	WELLKNOWN_TIMESTAMP,
	WELLKNOWN_VALUE,
	WELLKNOWN_WRAPPER
};

/* By full name and by the fields that the mapping relies on: a message that only bears the name is
 * an ordinary one. */
enum wellknown wellknown_of(const struct descriptor_message *type);

#endif
