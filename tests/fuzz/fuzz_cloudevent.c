/* CloudEvents in JSON: what is accepted becomes an event that the store accepts, and comes out as
 * JSON that is read again. */
#include <annals/cloudevents.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t uuid[16];
	const struct cloudevent_place place = {
		.topic = "t", .topic_uuid = uuid, .version = VERSION_NONE};
	struct cloudevent event;
	struct record record;
	struct error err = {0};
	struct buf encoded = BUF_INIT;
	struct buf json = BUF_INIT;
	cloudevent_init(&event);
	int status = cloudevent_from_json(&event, bytes_of(data, size), &err);
	FUZZ_REQUIRE(status == 0 || err.text[0] != '\0');
	if (status == 0) {
		FUZZ_REQUIRE(record_encode(&event.record, &encoded) == 0);
		status = record_decode(buf_bytes(&encoded), &record, &err);
		FUZZ_REQUIRE(status == 0);
		FUZZ_REQUIRE(cloudevent_to_json(&json, &record, &place) == 0);
		FUZZ_REQUIRE(json_is_valid(buf_bytes(&json)));
		FUZZ_REQUIRE(memchr(json.data, '\n', json.size) == NULL);
		FUZZ_REQUIRE(cloudevent_from_json(&event, buf_bytes(&json), &err) == 0);
	}
	buf_release(&encoded);
	buf_release(&json);
	cloudevent_release(&event);
	return 0;
}
