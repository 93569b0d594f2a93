/*
 * Speed of the JSON mapping on an event as a sensor network sends it: build/bench/bench-protojson
 * [SECONDS]. Rates are those of the JSON text, in both directions.
 */
#include <annals/clock.h>
#include <annals/protojson.h>
#include <stdio.h>
#include <stdlib.h>

#include "sample_set.h"

#define OUTPUT_BYTES_MAX 65536
#define CALLS 1000

static const char json[] =
	"{\"id\":\"ak018aap2cqu\",\"time\":\"2018-01-31T01:49:59.650Z\",\"latitude\":64.3115,"
	"\"longitude\":-149.2103,\"depthKm\":17.4,\"magnitude\":2.1,\"magnitudeType\":\"ml\","
	"\"place\":\"5 km NNW of North Nenana, Alaska\",\"network\":\"ak\","
	"\"updatedMs\":\"1525208863045\",\"stations\":31,\"reviewed\":true,"
	"\"sources\":[\"ak\",\"us\"],\"tags\":{\"region\":\"alaska\",\"kind\":\"earthquake\"},"
	"\"intensities\":[1,2,2,1]}";

struct bench {
	struct descriptor_pool *pool;
	const struct descriptor_message *type;
	struct buf encoded, out;
};

static int run(struct bench *bench, bool print)
{
	static const struct protojson_print_options print_options = {
		.output_bytes_max = OUTPUT_BYTES_MAX};
	static const struct protojson_parse_options parse_options = {
		.output_bytes_max = OUTPUT_BYTES_MAX};
	buf_reset(&bench->out);
	return print ? protojson_print(bench->pool, bench->type, buf_bytes(&bench->encoded),
			       &print_options, &bench->out, NULL)
		     : protojson_parse(bench->pool, bench->type, bytes_text(json), &parse_options,
			       &bench->out, NULL);
}

static int measure(struct bench *bench, bool print, double seconds)
{
	const uint64_t start_ns = clock_monotonic_ns();
	uint64_t calls = 0;
	uint64_t elapsed_us = 0;
	while ((double)elapsed_us < seconds * 1e6) {
		for (int i = 0; i < CALLS; i++) {
			if (run(bench, print) != 0) {
				return -1;
			}
		}
		calls += CALLS;
		elapsed_us = (clock_monotonic_ns() - start_ns) / 1000;
	}
	printf("%s: %.0f ns a message of %zu bytes of JSON and %zu encoded, %.0f MB/s\n",
		print ? "print" : "parse", (double)elapsed_us * 1e3 / (double)calls,
		sizeof(json) - 1, bench->encoded.size,
		(double)calls * (sizeof(json) - 1) / (double)elapsed_us);
	return 0;
}

int main(int argc, char **argv)
{
	const double seconds = argc > 1 ? atof(argv[1]) : 1;
	struct bench bench = {0};
	struct error err = {0};
	if (descriptor_pool_build(
		    NULL, bytes_of(sample_set, sizeof(sample_set)), &bench.pool, &err) != 0) {
		fprintf(stderr, "bench-protojson: %s\n", err.text);
		return 1;
	}
	bench.type = descriptor_pool_find_message(bench.pool, bytes_text("sample.Quake"));
	int status = run(&bench, false);
	if (status == 0) {
		bench.encoded = bench.out;
		bench.out = BUF_INIT;
		status = measure(&bench, true, seconds);
	}
	status = status == 0 ? measure(&bench, false, seconds) : status;
	buf_release(&bench.encoded);
	buf_release(&bench.out);
	descriptor_pool_unref(bench.pool);
	return status == 0 ? 0 : 1;
}
