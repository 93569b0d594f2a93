/* What the validator does with a field whose tag is one byte. Private to schemas/descriptor. */
#ifndef SCHEMAS_DESCRIPTOR_ACTIONS_H
#define SCHEMAS_DESCRIPTOR_ACTIONS_H

enum action {
	ACTION_ASK, /* look the field up and see */
	ACTION_VARINT,
	ACTION_ENUM,
	ACTION_FIXED32,
	ACTION_FIXED64,
	ACTION_BYTES,
	ACTION_TEXT, /* bytes that must be UTF-8 */
	ACTION_MESSAGE
};

#endif
