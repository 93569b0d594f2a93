/* A message against its type: the verdict does not depend on whether losses are counted; what the
 * strict options accept, the lax ones accept too; what is valid can be printed as JSON, read by the
 * options of its fields, and projected to its own type without loss, where it is valid again. The
 * first byte chooses the type and the options. */
#include <annals/extract.h>
#include <annals/project.h>
#include <annals/protojson.h>
#include <annals/validate.h>

#include "../schema/quake_sets.h"
#include "../schema/sample_set.h"
#include "fuzz.h"

#define OUTPUT_BYTES_MAX (1u << 20)
#define TYPES 8

static struct descriptor_pool *pools[2];
static const struct descriptor_message *types[TYPES];

static void load_types(void)
{
	static const char *const names[TYPES] = {"sample.All", "sample.Old", "sample.Quake",
		"google.protobuf.Any", "google.protobuf.Struct", "google.protobuf.Value",
		"google.protobuf.FieldMask", "quake.Event"};
	const struct bytes sets[2] = {
		bytes_of(sample_set, sizeof(sample_set)), bytes_of(quake_set3, sizeof(quake_set3))};
	struct descriptor_pool *builtin;
	struct error err;
	FUZZ_REQUIRE(descriptor_pool_builtin(&builtin, &err) == 0);
	for (int i = 0; i < 2; i++) {
		FUZZ_REQUIRE(descriptor_pool_build(builtin, sets[i], &pools[i], &err) == 0);
	}
	descriptor_pool_unref(builtin);
	for (int i = 0; i < TYPES; i++) {
		types[i] =
			descriptor_pool_find_message(pools[i == TYPES - 1], bytes_text(names[i]));
		FUZZ_REQUIRE(types[i] != NULL);
	}
}

/* A valid message without anything that its type does not know. */
static void require_lossless(const struct descriptor_message *type, struct bytes encoded)
{
	static struct project_report report;
	struct buf out = BUF_INIT;
	struct error err;
	const int status =
		project_message(type, type, encoded, OUTPUT_BYTES_MAX, &out, &report, &err);
	FUZZ_REQUIRE(status == 0 || status == ANNALS_E_TOO_LARGE);
	if (status == 0) {
		struct validate_result result;
		for (size_t i = 0; i < report.mark_count; i++) {
			FUZZ_REQUIRE(report.marks[i].loss == PROJECT_CARDINALITY);
		}
		FUZZ_REQUIRE(validate_message(type, buf_bytes(&out), NULL, &result, &err) == 0);
		FUZZ_REQUIRE(result.unknown_fields == 0);
	}
	buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct extract extract;
	struct error err;
	if (pools[0] == NULL) {
		load_types();
	}
	if (size == 0) {
		return 0;
	}
	const struct descriptor_message *type = types[data[0] & 7];
	const struct validate_options options = {.depth_max = (data[0] & 8) != 0 ? 3 : 0,
		.refuse_unknown_fields = (data[0] & 16) != 0,
		.refuse_unknown_enums = (data[0] & 32) != 0,
		.allow_wire_mismatch = (data[0] & 64) != 0,
		.allow_missing_required = (data[0] & 128) != 0};
	static const struct validate_options lax = {
		.allow_wire_mismatch = true, .allow_missing_required = true};
	/* A copy of its own: a read past the end is seen. */
	struct buf copy = BUF_INIT;
	FUZZ_REQUIRE(buf_add(&copy, data + 1, size - 1) == 0);
	const struct bytes encoded = buf_bytes(&copy);
	struct validate_result result, strict;
	const int status = validate_message(type, encoded, &options, &result, &err);
	FUZZ_REQUIRE(validate_message(type, encoded, &options, NULL, NULL) == status);
	FUZZ_REQUIRE(status == 0 || status == ANNALS_E_MALFORMED || status == ANNALS_E_VALIDATION ||
		     status == ANNALS_E_TOO_LARGE);
	if (status == 0) {
		FUZZ_REQUIRE(validate_message(type, encoded, &lax, NULL, NULL) == 0);
		FUZZ_REQUIRE(!options.refuse_unknown_fields || result.unknown_fields == 0);
		FUZZ_REQUIRE(!options.refuse_unknown_enums || result.unknown_enums == 0);
	}
	if (validate_message(type, encoded, NULL, &strict, &err) == 0 &&
		strict.unknown_fields == 0 && strict.unknown_enums == 0) {
		require_lossless(type, encoded);
	}
	const int extracted = extract_message(type, encoded, &extract, &err);
	FUZZ_REQUIRE(status != 0 || extracted != ANNALS_E_MALFORMED);
	buf_release(&copy);
	return 0;
}
