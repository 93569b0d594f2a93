/*
 * Speed of the validator on one core, over messages of 200 bytes to 1 KiB as a sensor network sends
 * them: build/bench/bench-validate [SECONDS]. Each length is measured for that long, without and
 * with the count of what the type does not know.
 */
#include <annals/clock.h>
#include <annals/protojson.h>
#include <annals/validate.h>
#include <stdio.h>
#include <stdlib.h>

#include "sample_set.h"

#define MESSAGES 64 /* different ones, so that branches are not learnt by heart */
#define ROUNDS 200

struct bench {
	struct descriptor_pool *pool;
	const struct descriptor_message *type;
	struct buf messages[MESSAGES];
	uint64_t bytes; /* of all messages */
};

/* One event with as many intensities, sources and tags as make it about so long. */
static int make_message(struct bench *bench, unsigned seed, size_t bytes, struct buf *out)
{
	static const struct protojson_parse_options options = {.output_bytes_max = 65536};
	static const char *const places[] = {"5 km NNW of North Nenana, Alaska",
		"118 km SSW of Ōfunato, Japan", "9 km W of Cobb, California"};
	char json[8192];
	for (unsigned tags = 0;; tags++) {
		int used = snprintf(json, sizeof(json),
			"{\"id\":\"ak%010u\",\"time\":\"2018-01-31T01:49:%02u.650Z\","
			"\"latitude\":64.3%u,\"longitude\":-149.2%u,\"depthKm\":%u.4,"
			"\"magnitude\":2.%u,\"magnitudeType\":\"ml\",\"place\":\"%s\","
			"\"network\":\"ak\",\"updatedMs\":\"1525208%06u\",\"stations\":%u,"
			"\"reviewed\":%s,\"sources\":[\"ak\",\"us\"],\"intensities\":[1,2,%u,1],"
			"\"tags\":{",
			seed * 7919, seed % 60, seed, seed * 3, seed % 70, seed % 10,
			places[seed % 3], seed * 4099, seed * 37, seed % 2 != 0 ? "true" : "false",
			seed % 12);
		for (unsigned i = 0; i < tags; i++) {
			used += snprintf(json + used, sizeof(json) - (size_t)used,
				"%s\"sensor%u\":\"value %u of a reading\"", i > 0 ? "," : "", i,
				seed * i);
		}
		used += snprintf(json + used, sizeof(json) - (size_t)used, "}}");
		buf_reset(out);
		const int status = protojson_parse(bench->pool, bench->type,
			bytes_of(json, (size_t)used), &options, out, NULL);
		if (status != 0 || out->size >= bytes || used > 7000) {
			return status;
		}
	}
}

static int measure(struct bench *bench, struct validate_result *result, double seconds)
{
	const uint64_t start_ns = clock_monotonic_ns();
	uint64_t rounds = 0, elapsed_ns = 0;
	while ((double)elapsed_ns < seconds * 1e9) {
		for (int i = 0; i < ROUNDS * MESSAGES; i++) {
			const int status = validate_message(bench->type,
				buf_bytes(&bench->messages[i % MESSAGES]), NULL, result, NULL);
			if (status != 0) {
				return status;
			}
		}
		rounds += ROUNDS;
		elapsed_ns = clock_monotonic_ns() - start_ns;
	}
	printf("validate%s: %.0f ns a message of %.0f bytes, %.0f MB/s\n",
		result != NULL ? " and count" : "",
		(double)elapsed_ns / (double)(rounds * MESSAGES), (double)bench->bytes / MESSAGES,
		(double)(rounds * bench->bytes) * 1e3 / (double)elapsed_ns);
	return 0;
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {200, 400, 700, 1000};
	const double seconds = argc > 1 ? atof(argv[1]) : 1;
	struct bench bench = {0};
	struct error err = {0};
	if (descriptor_pool_build(
		    NULL, bytes_of(sample_set, sizeof(sample_set)), &bench.pool, &err) != 0) {
		fprintf(stderr, "bench-validate: %s\n", err.text);
		return 1;
	}
	bench.type = descriptor_pool_find_message(bench.pool, bytes_text("sample.Quake"));
	int status = 0;
	for (size_t i = 0; status == 0 && i < ANNALS_COUNT_OF(sizes); i++) {
		bench.bytes = 0;
		for (unsigned k = 0; status == 0 && k < MESSAGES; k++) {
			status = make_message(&bench, k, sizes[i], &bench.messages[k]);
			bench.bytes += bench.messages[k].size;
		}
		struct validate_result result;
		status = status == 0 ? measure(&bench, NULL, seconds) : status;
		status = status == 0 ? measure(&bench, &result, seconds) : status;
	}
	for (int i = 0; i < MESSAGES; i++) {
		buf_release(&bench.messages[i]);
	}
	descriptor_pool_unref(bench.pool);
	return status == 0 ? 0 : 1;
}
