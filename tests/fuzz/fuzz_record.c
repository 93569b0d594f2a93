/* One event: against its own encoder and against protobuf-c. */
#include <annals/record.h>

#include "event.pb-c.h"
#include "fuzz.h"

struct copies {
	struct attribute extensions[RECORD_EXTENSIONS_MAX];
	struct record_header headers[RECORD_HEADERS_MAX];
	struct bytes tags[RECORD_TAGS_MAX];
};

/* Fills the arrays that the encoder wants from the walks of a decoded record. */
static void copy_repeated(struct record *record, struct copies *copies)
{
	size_t cursor = 0;
	for (uint32_t i = 0; i < record->extension_count; i++) {
		FUZZ_REQUIRE(record_next_extension(record, &cursor, &copies->extensions[i]) == 1);
	}
	FUZZ_REQUIRE(record_next_extension(record, &cursor, &copies->extensions[0]) == 0);
	cursor = 0;
	for (uint32_t i = 0; i < record->header_count; i++) {
		FUZZ_REQUIRE(record_next_header(record, &cursor, &copies->headers[i]) == 1);
	}
	FUZZ_REQUIRE(record_next_header(record, &cursor, &copies->headers[0]) == 0);
	cursor = 0;
	for (uint32_t i = 0; i < record->tag_count; i++) {
		FUZZ_REQUIRE(record_next_tag(record, &cursor, &copies->tags[i]) == 1);
	}
	FUZZ_REQUIRE(record_next_tag(record, &cursor, &copies->tags[0]) == 0);
	record->extensions = copies->extensions;
	record->headers = copies->headers;
	record->tags = copies->tags;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct copies copies;
	struct bytes encoded = bytes_of(data, size);
	struct record record, trusted, again;
	struct error err;
	int status = record_decode(encoded, &record, &err);
	int trusted_status = record_decode_trusted(encoded, &trusted);
	if (status != 0) {
		/* Syntax is refused by both, rules by one. */
		FUZZ_REQUIRE(status != ANNALS_E_MALFORMED || trusted_status == ANNALS_E_MALFORMED);
		return 0;
	}
	FUZZ_REQUIRE(trusted_status == 0);
	FUZZ_REQUIRE(memcmp(&record, &trusted, sizeof(record)) == 0);
	Annals__V1__Event *event =
		annals__v1__event__unpack(NULL, size, size == 0 ? (const uint8_t *)"" : data);
	FUZZ_REQUIRE(event != NULL);
	FUZZ_REQUIRE(event->n_extension == record.extension_count &&
		     event->n_header == record.header_count && event->n_tag == record.tag_count);
	FUZZ_REQUIRE(event->schema_version == record.schema_version);
	FUZZ_REQUIRE((event->key_presence_case != 0) == record.has_key);
	annals__v1__event__free_unpacked(event, NULL);

	struct buf first = BUF_INIT;
	struct buf second = BUF_INIT;
	copy_repeated(&record, &copies);
	FUZZ_REQUIRE(record_encode(&record, &first) == 0);
	FUZZ_REQUIRE(first.size == record_encoded_size(&record));
	FUZZ_REQUIRE(record_decode(buf_bytes(&first), &again, &err) == 0);
	copy_repeated(&again, &copies);
	FUZZ_REQUIRE(record_encode(&again, &second) == 0);
	FUZZ_REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
	buf_release(&first);
	buf_release(&second);
	return 0;
}
