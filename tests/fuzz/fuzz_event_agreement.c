/* The two ways in agree on what a valid event is: a record that the binary protocol accepts comes
 * out as JSON that the HTTP side accepts, and becomes an event again that the binary side accepts,
 * with the same parts. */
#include <annals/cloudevents.h>

#include "fuzz.h"

static bool same(struct bytes a, struct bytes b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t uuid[16];
	const struct cloudevent_place place = {
		.topic = "t", .topic_uuid = uuid, .version = VERSION_NONE};
	struct record record, again;
	struct cloudevent event;
	struct error err = {0};
	struct buf json = BUF_INIT;
	struct buf encoded = BUF_INIT;
	if (record_decode(bytes_of(data, size), &record, &err) != 0) {
		FUZZ_REQUIRE(err.text[0] != '\0');
		return 0;
	}
	cloudevent_init(&event);
	FUZZ_REQUIRE(cloudevent_to_json(&json, &record, &place) == 0);
	FUZZ_REQUIRE(json_is_valid(buf_bytes(&json)));
	FUZZ_REQUIRE(cloudevent_from_json(&event, buf_bytes(&json), &err) == 0);
	FUZZ_REQUIRE(record_encode(&event.record, &encoded) == 0);
	FUZZ_REQUIRE(record_decode(buf_bytes(&encoded), &again, &err) == 0);
	FUZZ_REQUIRE(record.id.size == 0 || same(record.id, again.id));
	FUZZ_REQUIRE(record.type.size == 0 || same(record.type, again.type));
	FUZZ_REQUIRE(same(record.subject, again.subject));
	FUZZ_REQUIRE(same(record.key, again.key));
	buf_release(&json);
	buf_release(&encoded);
	cloudevent_release(&event);
	return 0;
}
