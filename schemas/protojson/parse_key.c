/* The keys of the maps that are being read, so that one that repeats is found: an open-addressing
 * table whose entries carry the serial number of their map and are never taken out. */
#include "field.h"
#include "model.h"
#include "parse.h"
#include <annals/hash.h>
#include <stdlib.h>

static int grow(struct parser *parser)
{
	const size_t room = parser->key_room == 0 ? 64 : parser->key_room * 2;
	struct parse_key *keys = calloc(room, sizeof(*keys));
	if (keys == NULL) {
		return parse_fail_memory(parser);
	}
	for (size_t i = 0; i < parser->key_room; i++) {
		const struct parse_key *key = &parser->keys[i];
		if (key->serial == 0) {
			continue;
		}
		size_t at = key->hash & (room - 1);
		while (keys[at].serial != 0) {
			at = (at + 1) & (room - 1);
		}
		keys[at] = *key;
	}
	free(parser->keys);
	parser->keys = keys;
	parser->key_room = room;
	return 0;
}

/* Both are of text and have the same hash. */
static bool same_text(struct parser *parser, const struct parse_key *key, struct bytes text)
{
	const struct json_value value = {
		JSON_STRING, key->escaped, bytes_of(key->raw, key->raw_size)};
	struct bytes other;
	buf_reset(&parser->other);
	return json_string(&value, &parser->other, &other) == 0 && bytes_equal(other, text);
}

/* 1 when the key is new, 0 when its map has it, or an error. */
static int remember(struct parser *parser, const struct json_value *name, uint32_t serial,
	struct bytes text, bool is_text, uint64_t number)
{
	if (parser->key_count >= parser->key_room / 2) {
		const int status = grow(parser);
		if (status != 0) {
			return status;
		}
	}
	const uint64_t spread = (uint64_t)serial * UINT64_C(0x9e3779b97f4a7c15);
	const uint64_t hash =
		spread ^ hash_table64(is_text ? text : bytes_of(&number, sizeof(number)));
	const size_t mask = parser->key_room - 1;
	size_t at = hash & mask;
	for (; parser->keys[at].serial != 0; at = (at + 1) & mask) {
		const struct parse_key *key = &parser->keys[at];
		if (key->hash == hash && key->serial == serial &&
			(is_text ? same_text(parser, key, text) : key->number == number)) {
			return 0;
		}
	}
	parser->keys[at] = (struct parse_key){
		hash, number, name->raw.data, (uint32_t)name->raw.size, serial, name->escaped};
	parser->key_count++;
	return 1;
}

static int finish(struct parser *parser, const struct json_value *name, int remembered)
{
	if (remembered == 0) {
		return parse_fail(
			parser, ANNALS_E_VALIDATION, "a key that repeats", name->raw.data);
	}
	return remembered > 0 ? 0 : remembered;
}

int parse_map_key(struct parser *parser, const struct descriptor_field *field,
	const struct json_value *name, uint32_t serial)
{
	struct json_value value = *name;
	struct bytes text;
	int status;
	if (field->type == DESCRIPTOR_STRING) {
		status = parse_text(parser, name, &text);
		status = status == 0 ? finish(parser, name,
					       remember(parser, name, serial, text, true, 0))
				     : status;
		return status == 0 ? parse_scalar(parser, field, name, true, false) : status;
	}
	if (field->type == DESCRIPTOR_BOOL) {
		value.type = json_string_is(name, "true")    ? JSON_TRUE
			     : json_string_is(name, "false") ? JSON_FALSE
							     : JSON_STRING;
	}
	const size_t before = parser->out->size;
	status = parse_scalar(parser, field, &value, true, false);
	if (status != 0) {
		return status;
	}
	/* Different spellings of a number are the same bytes, behind a tag of one. */
	const struct bytes encoded =
		bytes_of(parser->out->data + before + 1, parser->out->size - before - 1);
	uint64_t number = 0;
	if (field->wire_type == WIRE_VARINT) {
		(void)varint_get(encoded.data, encoded.size, &number);
	} else {
		memcpy(&number, encoded.data, encoded.size);
	}
	return finish(
		parser, name, remember(parser, name, serial, bytes_of(NULL, 0), false, number));
}
