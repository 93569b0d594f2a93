/*
 * bench-micro: what the operations of the hot path cost, one by one, in nanoseconds and, where the
 * kernel lets us count them, instructions.
 *
 * Each case runs for ROUNDS rounds of about ROUND_MS; the fastest round counts, because everything
 * that disturbs a round makes it slower. Inputs are hot in the caches: these are costs of code, not
 * of memory.
 */
#include <annals/clock.h>
#include <annals/status.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cases.h"
#include "instructions.h"

#define ROUNDS 7
#define ROUND_NS UINT64_C(30000000)

struct result {
	double ns;           /* of one operation */
	double instructions; /* of one operation; 0 = not counted */
	double mb_per_s;     /* 0 = makes no sense */
};

static struct result measure(const struct micro_case *c, int counter)
{
	struct result best = {0};
	uint64_t repeat = 1;
	for (int round = 0; round < ROUNDS;) {
		uint64_t operations = 0;
		uint64_t instructions = instructions_read(counter);
		uint64_t start = clock_monotonic_ns();
		for (uint64_t i = 0; i < repeat; i++) {
			operations += c->run(c);
		}
		uint64_t ns = clock_monotonic_ns() - start;
		instructions = instructions_read(counter) - instructions;
		if (ns < ROUND_NS / 2) {
			repeat *= 2; /* too short to count */
			continue;
		}
		round++;
		if (best.ns == 0 || (double)ns / (double)operations < best.ns) {
			best.ns = (double)ns / (double)operations;
			best.instructions = (double)instructions / (double)operations;
			best.mb_per_s = (double)c->bytes * (double)repeat * 1000.0 / (double)ns;
		}
	}
	return best;
}

static void print_row(const struct micro_case *c, const struct result *result)
{
	char instructions[32] = "-";
	char rate[32] = "-";
	if (result->instructions > 0) {
		snprintf(instructions, sizeof(instructions), "%.1f", result->instructions);
	}
	if (result->mb_per_s > 0) {
		snprintf(rate, sizeof(rate), "%.0f", result->mb_per_s);
	}
	printf("%-34s %10.1f %13s %10s  %s\n", c->name, result->ns, instructions, rate, c->unit);
}

static void print_json(const struct micro_case *c, const struct result *result, bool first)
{
	printf("%s\n  {\"name\": \"%s\", \"unit\": \"%s\", \"ns\": %.2f", first ? "" : ",", c->name,
		c->unit, result->ns);
	if (result->instructions > 0) {
		printf(", \"instructions\": %.1f", result->instructions);
	}
	if (result->mb_per_s > 0) {
		printf(", \"mb_per_s\": %.1f", result->mb_per_s);
	}
	printf("}");
}

static int usage(void)
{
	fprintf(stderr, "usage: bench-micro [--json] [PART OF A NAME]\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *filter = "";
	bool json = false;
	size_t count;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (argv[i][0] == '-' || filter[0] != '\0') {
			return usage();
		} else {
			filter = argv[i];
		}
	}
	struct micro_case *cases = cases_all(&count);
	int status = cases_prepare();
	if (status != 0) {
		fprintf(stderr, "bench-micro: %s\n", annals_status_text(status));
		cases_release();
		return 1;
	}
	int counter = instructions_open();
	if (json) {
		printf("[");
	} else {
		printf("%-34s %10s %13s %10s  per\n", "", "ns", "instructions", "MB/s");
	}
	bool first = true;
	for (size_t i = 0; i < count; i++) {
		if (strstr(cases[i].name, filter) == NULL) {
			continue;
		}
		struct result result = measure(&cases[i], counter);
		if (json) {
			print_json(&cases[i], &result, first);
		} else {
			print_row(&cases[i], &result);
		}
		first = false;
	}
	if (json) {
		printf("\n]\n");
	} else if (counter < 0) {
		printf("instructions are not counted: perf_event_open is not allowed here\n");
	}
	instructions_close(counter);
	cases_release();
	return 0;
}
