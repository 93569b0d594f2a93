/* A message as JSON: what is printed is JSON and parses again; and what that prints parses and
 * prints the same. (The first need not: a NullValue with another number than 0 is null, which is
 * read as 0.) The first byte chooses the type and the options. */
#include <annals/json.h>
#include <annals/protojson.h>

#include "../schema/sample_set.h"
#include "fuzz.h"

#define OUTPUT_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"sample.All", "sample.Old", "sample.Quake",
		"google.protobuf.Any", "google.protobuf.Struct", "google.protobuf.Value",
		"google.protobuf.ListValue", "google.protobuf.FieldMask"};
	static struct descriptor_pool *pool;
	struct error err;
	if (pool == NULL) {
		FUZZ_REQUIRE(descriptor_pool_build(NULL, bytes_of(sample_set, sizeof(sample_set)),
				     &pool, &err) == 0);
	}
	if (size == 0) {
		return 0;
	}
	const struct descriptor_message *type =
		descriptor_pool_find_message(pool, bytes_text(names[data[0] & 7]));
	const struct protojson_print_options print = {.output_bytes_max = OUTPUT_BYTES_MAX,
		.original_names = (data[0] & 8) != 0,
		.enum_numbers = (data[0] & 16) != 0,
		.print_defaults = (data[0] & 32) != 0,
		.refuse_unknown = (data[0] & 64) != 0};
	const struct protojson_parse_options parse = {
		.output_bytes_max = OUTPUT_BYTES_MAX, .partial = true};
	struct buf text = BUF_INIT, again = BUF_INIT, encoded = BUF_INIT;
	if (protojson_print(pool, type, bytes_of(data + 1, size - 1), &print, &text, &err) == 0) {
		struct json_scanner scanner;
		struct json_value value;
		json_scanner_init(&scanner, buf_bytes(&text));
		/* Deeper than the scanner skips at once, it is read by the parser below. */
		if (json_scan(&scanner, &value) == 0) {
			FUZZ_REQUIRE(json_finish(&scanner) == 0);
		}
		const int status =
			protojson_parse(pool, type, buf_bytes(&text), &parse, &encoded, &err);
		FUZZ_REQUIRE(status == 0 || status == ANNALS_E_TOO_LARGE);
		if (status == 0) {
			FUZZ_REQUIRE(protojson_print(pool, type, buf_bytes(&encoded), &print,
					     &again, &err) == 0);
			buf_reset(&encoded);
			buf_reset(&text);
			FUZZ_REQUIRE(protojson_parse(pool, type, buf_bytes(&again), &parse,
					     &encoded, &err) == 0);
			FUZZ_REQUIRE(protojson_print(pool, type, buf_bytes(&encoded), &print, &text,
					     &err) == 0);
			FUZZ_REQUIRE(bytes_equal(buf_bytes(&text), buf_bytes(&again)));
		}
	} else {
		FUZZ_REQUIRE(text.size == 0);
	}
	buf_release(&text);
	buf_release(&again);
	buf_release(&encoded);
	return 0;
}
