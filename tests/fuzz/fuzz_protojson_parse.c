/* A text as a message: what is parsed prints, and what is printed parses to the same bytes. The
 * first byte chooses the type and the options. */
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
	const struct protojson_parse_options parse = {.output_bytes_max = OUTPUT_BYTES_MAX,
		.ignore_unknown = (data[0] & 8) != 0,
		.partial = (data[0] & 16) != 0};
	const struct protojson_print_options print = {.output_bytes_max = 8 * OUTPUT_BYTES_MAX};
	struct buf encoded = BUF_INIT, text = BUF_INIT, again = BUF_INIT, second = BUF_INIT;
	if (protojson_parse(pool, type, bytes_of(data + 1, size - 1), &parse, &encoded, &err) ==
		0) {
		FUZZ_REQUIRE(
			protojson_print(pool, type, buf_bytes(&encoded), &print, &text, &err) == 0);
		FUZZ_REQUIRE(
			protojson_parse(pool, type, buf_bytes(&text), &parse, &again, &err) == 0);
		FUZZ_REQUIRE(
			protojson_print(pool, type, buf_bytes(&again), &print, &second, &err) == 0);
		FUZZ_REQUIRE(bytes_equal(buf_bytes(&text), buf_bytes(&second)));
	} else {
		FUZZ_REQUIRE(encoded.size == 0);
	}
	buf_release(&encoded);
	buf_release(&text);
	buf_release(&again);
	buf_release(&second);
	return 0;
}
