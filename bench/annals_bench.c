/* annals-bench: options, runs, and what is printed. */
#include "annals_bench.h"

#include <annals/macros.h>
#include <annals/parse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct scenario {
	const char *name, *help;
	int (*run)(const struct bench_options *, struct bench_result *);
	struct bench_options standard;
} scenarios[] = {
	{"append",
		"raw connections append; a request is answered after the flush (or --durability "
		"os)",
		bench_append, {.connections = 64, .in_flight = 1, .batch = 1}},
	{"produce", "one background producer of the C client", bench_produce,
		{.connections = 1, .in_flight = 1, .batch = 1}},
	{"replay", "one consumer of the C client reads everything, checksums verified",
		bench_replay, {.connections = 1, .in_flight = 8, .batch = 500, .events = 3000000}},
	{"cold", "replay with nothing in memory, beside a plain read and a connection that pings",
		bench_cold, {.connections = 1, .in_flight = 8, .batch = 500, .events = 3000000}},
	{"tail", "time from when an append was due to its delivery to a consumer", bench_tail,
		{.connections = 4, .in_flight = 16, .batch = 1, .rate = 1000}},
	{"deliver", "workers lease events of a group in polls of --batch and acknowledge them",
		bench_deliver,
		{.connections = 16, .in_flight = 8, .batch = 100, .events = 1000000}},
	{"deliver-tail", "time from when an append was due to its delivery to a worker of a group",
		bench_deliver_tail, {.connections = 4, .in_flight = 16, .batch = 1, .rate = 1000}},
	{"sse-tail", "time from when an append was due to its delivery as a server-sent event",
		bench_sse_tail, {.connections = 4, .in_flight = 16, .batch = 1, .rate = 1000}},
	{"leases", "what an event in flight costs in memory", bench_leases,
		{.connections = 1, .in_flight = 8, .batch = 500, .events = 100000}},
	{"mixed", "append while a consumer replays an old topic again and again, at full speed",
		bench_mixed,
		{.connections = 4, .in_flight = 16, .batch = 1, .rate = 5000, .events = 2000000}},
	{"connections", "append beside idle subscribers; what one of those costs in memory",
		bench_connections,
		{.connections = 16, .in_flight = 1, .batch = 1, .rate = 5000, .idle = 10000}},
	{"recovery", "kill -9 after so many events; how long until the server listens again",
		bench_recovery,
		{.connections = 1, .in_flight = 8, .batch = 500, .events = 3000000}},
	{"retention", "append into a topic that keeps few bytes; what the file grows to",
		bench_retention,
		{.connections = 1, .in_flight = 8, .batch = 500, .retention_bytes = 64u << 20}},
	{"http-append", "one CloudEvent a request (--batch 1), or NDJSON of so many lines",
		bench_http_append, {.connections = 64, .in_flight = 1, .batch = 1}},
};

enum option_kind { TEXT, NUMBER, SIZE, DURATION };
static const struct option_def {
	const char *name;
	enum option_kind kind;
	size_t at;
	const char *help;
} option_defs[] = {
#define AT(field) offsetof(struct bench_options, field)
	{"server", TEXT, AT(server), "a running server, numeric HOST:PORT (else one is started)"},
	{"annalsd", TEXT, AT(annalsd),
		"the server to start (build/server/annalsd beside this program)"},
	{"data-dir", TEXT, AT(data_dir), "where its temporary directory goes ($TMPDIR, /tmp)"},
	{"connections", NUMBER, AT(connections), "append, tail: connections"},
	{"in-flight", NUMBER, AT(in_flight),
		"requests in flight per connection (produce: per partition)"},
	{"batch", NUMBER, AT(batch), "append: events per request"},
	{"event-bytes", SIZE, AT(event_bytes), "bytes of data per event (100)"},
	{"partitions", NUMBER, AT(partitions), "partitions of the topic (1)"},
	{"keys", NUMBER, AT(keys), "distinct keys; 0: events have none (0)"},
	{"durability", TEXT, AT(durability_name), "fsync or os (fsync)"},
	{"streams", NUMBER, AT(streams),
		"append: the topic has streams, and so many are made first (0: no streams)"},
	{"expected-versions", NUMBER, AT(expected_versions),
		"append: 1: every event goes to one of the streams and expects its version (0)"},
	{"idle", NUMBER, AT(idle), "connections: idle subscribers (10000)"},
	{"retention-bytes", SIZE, AT(retention_bytes), "retention: what the topic keeps (64MiB)"},
	{"rate", NUMBER, AT(rate),
		"requests a second, open loop: latency counts from when each was due; 0: closed "
		"loop"},
	{"events", NUMBER, AT(events),
		"append, replay, mixed, cold, recovery: how many are stored first"},
	{"duration", DURATION, AT(duration_us), "of each run (3s)"},
	{"warm-up", DURATION, AT(warm_up_us), "before it, not counted (1s)"},
	{"runs", NUMBER, AT(runs), "how many runs (3)"},
	{"output", TEXT, AT(output), "table, json or csv (table)"},
#undef AT
};

static void usage(FILE *file)
{
	fputs("usage: annals-bench SCENARIO [--OPTION VALUE ...]\n\nscenarios\n", file);
	for (size_t i = 0; i < ANNALS_COUNT_OF(scenarios); i++) {
		fprintf(file, "  %-10s %s\n", scenarios[i].name, scenarios[i].help);
	}
	fputs("\noptions\n", file);
	for (size_t i = 0; i < ANNALS_COUNT_OF(option_defs); i++) {
		fprintf(file, "  --%-14s %s\n", option_defs[i].name, option_defs[i].help);
	}
	fputs("\nexamples\n"
	      "  annals-bench append --connections 64\n"
	      "  annals-bench append --connections 1 --in-flight 8 --batch 500\n"
	      "  annals-bench append --rate 20000 --output json\n"
	      "  annals-bench append --streams 1000000 --expected-versions 1\n"
	      "  annals-bench append --partitions 1000\n"
	      "  annals-bench replay --events 5000000\n"
	      "  annals-bench http-append --batch 1000 --connections 4\n"
	      "\nhow to read it\n"
	      "  Without --rate the loop is closed: a connection sends its next request when it\n"
	      "  has an answer, so the rate is what the server can do with so many waiting.\n"
	      "  With --rate it is open: requests are due at fixed times and latency counts from\n"
	      "  then, so a stall shows in every request it delayed. Ask for latency at a rate\n"
	      "  well below the closed loop's. The median run is by events per second; the range\n"
	      "  beside it says how far to trust it.\n",
		file);
}

static int set_option(struct bench_options *options, const struct option_def *def, const char *text)
{
	uint8_t *field = (uint8_t *)options + def->at;
	struct bytes value = bytes_text(text);
	switch (def->kind) {
	case TEXT:
		memcpy(field, &text, sizeof(text));
		return ANNALS_OK;
	case NUMBER:
		return parse_u64(value, (uint64_t *)(void *)field);
	case SIZE:
		return parse_size(value, (uint64_t *)(void *)field);
	case DURATION:
		return parse_duration_us(value, (uint64_t *)(void *)field);
	}
	return ANNALS_E_INVALID;
}

static bool check_options(struct bench_options *options)
{
	static const char *const outputs[] = {"table", "json", "csv"};
	bool known = false;
	for (size_t i = 0; i < ANNALS_COUNT_OF(outputs); i++) {
		known |= strcmp(options->output, outputs[i]) == 0;
	}
	options->durability = strcmp(options->durability_name, "os") == 0 ? 2 : 1;
	return known &&
	       (options->durability == 2 || strcmp(options->durability_name, "fsync") == 0) &&
	       options->connections >= 1 && options->connections <= 10000 &&
	       options->in_flight >= 1 && options->in_flight <= 1024 && options->batch >= 1 &&
	       options->batch <= 100000 && options->event_bytes >= 8 &&
	       options->event_bytes <= (1u << 20) &&
	       options->batch * (options->event_bytes + 64) < (4u << 20) &&
	       options->partitions >= 1 && options->partitions <= 10000 && options->runs >= 1 &&
	       options->runs <= BENCH_RUNS_MAX && options->rate <= 10000000 &&
	       options->streams <= 10000000 && options->idle <= 50000 &&
	       (options->expected_versions == 0 ||
		       (options->streams > options->connections * options->in_flight &&
			       options->partitions == 1 && options->batch == 1)) &&
	       (strcmp(options->scenario, "http-append") != 0 || options->in_flight == 1) &&
	       options->duration_us > 0;
}

static const struct scenario *parse(int argc, char **argv, struct bench_options *options)
{
	const struct scenario *scenario = NULL;
	for (size_t i = 0; argc > 1 && i < ANNALS_COUNT_OF(scenarios); i++) {
		scenario = strcmp(argv[1], scenarios[i].name) == 0 ? &scenarios[i] : scenario;
	}
	if (!scenario) {
		return NULL;
	}
	*options = scenario->standard;
	options->scenario = scenario->name;
	options->event_bytes = 100;
	options->partitions = 1;
	options->duration_us = 3000000;
	options->warm_up_us = 1000000;
	options->runs = 3;
	options->output = "table";
	options->durability_name = "fsync";
	for (int i = 2; i < argc; i += 2) {
		const struct option_def *def = NULL;
		for (size_t at = 0; at < ANNALS_COUNT_OF(option_defs); at++) {
			def = strncmp(argv[i], "--", 2) == 0 &&
					      strcmp(argv[i] + 2, option_defs[at].name) == 0
				      ? &option_defs[at]
				      : def;
		}
		if (!def || i + 1 >= argc || set_option(options, def, argv[i + 1]) != ANNALS_OK) {
			fprintf(stderr,
				"annals-bench: '%s' is no option, or its value is missing or "
				"wrong\n",
				argv[i]);
			return NULL;
		}
	}
	if (!check_options(options)) {
		fprintf(stderr, "annals-bench: an option is outside its range\n");
		return NULL;
	}
	if (scenario->standard.events == 0) {
		options->events = 0;
	}
	return scenario;
}

/* --- output */

void bench_note(struct bench_result *result, const char *name, double value)
{
	if (result->note_count < BENCH_NOTES_MAX) {
		result->notes[result->note_count++] = (struct bench_note){name, value};
	}
}

static bool progress_shown;

void bench_progress(
	const struct bench_options *options, const char *what, double seconds, uint64_t events)
{
	if (isatty(STDERR_FILENO)) {
		progress_shown = true;
		fprintf(stderr, "\r\033[Krun %llu/%llu: %s, %.1f s, %.0f events/s",
			(unsigned long long)options->run, (unsigned long long)options->runs, what,
			seconds, seconds > 0 ? (double)events / seconds : 0);
	}
}

void bench_progress_end(void)
{
	if (progress_shown) {
		fprintf(stderr, "\r\033[K");
		progress_shown = false;
	}
}

static double rate(const struct bench_result *result)
{
	return result->seconds > 0 ? (double)result->events / result->seconds : 0;
}

static double percentile_ms(const struct bench_result *result, double percent)
{
	return (double)histogram_percentile(&result->latency, percent) / 1e6;
}

static void print_one(const struct bench_options *options, const struct bench_result *result)
{
	double seconds = result->seconds > 0 ? result->seconds : 1;
	const double values[] = {rate(result), (double)result->requests / seconds,
		(double)result->bytes / seconds / 1e6, percentile_ms(result, 50),
		percentile_ms(result, 90), percentile_ms(result, 99), percentile_ms(result, 99.9),
		percentile_ms(result, 99.99), (double)result->latency.max_ns / 1e6,
		(double)result->rss_bytes / 1048576, (double)result->rss_anonymous_bytes / 1048576};
	static const char *const names[] = {"events_per_second", "requests_per_second",
		"megabytes_per_second", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "p9999_ms",
		"max_ms", "server_rss_mib", "server_anonymous_mib"};
	if (strcmp(options->output, "json") == 0) {
		printf("{\"scenario\":\"%s\",\"run\":%llu,\"connections\":%llu,\"in_flight\":%llu,"
		       "\"batch\":%llu,\"event_bytes\":%llu,\"partitions\":%llu,\"durability\":\"%"
		       "s\",\"rate\":%llu",
			options->scenario, (unsigned long long)options->run,
			(unsigned long long)options->connections,
			(unsigned long long)options->in_flight, (unsigned long long)options->batch,
			(unsigned long long)options->event_bytes,
			(unsigned long long)options->partitions, options->durability_name,
			(unsigned long long)options->rate);
		for (size_t i = 0; i < ANNALS_COUNT_OF(values); i++) {
			printf(",\"%s\":%.3f", names[i], values[i]);
		}
		for (size_t i = 0; i < result->note_count; i++) {
			printf(",\"%s\":%.3f", result->notes[i].name, result->notes[i].value);
		}
		printf(",\"failed\":%llu}\n", (unsigned long long)result->failed);
	} else if (strcmp(options->output, "csv") == 0) {
		if (options->run == 1) {
			printf("scenario,run,connections,in_flight,batch,event_bytes,partitions,"
			       "durability,rate");
			for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
				printf(",%s", names[i]);
			}
			for (size_t i = 0; i < result->note_count; i++) {
				printf(",%s", result->notes[i].name);
			}
			printf(",failed\n");
		}
		printf("%s,%llu,%llu,%llu,%llu,%llu,%llu,%s,%llu", options->scenario,
			(unsigned long long)options->run, (unsigned long long)options->connections,
			(unsigned long long)options->in_flight, (unsigned long long)options->batch,
			(unsigned long long)options->event_bytes,
			(unsigned long long)options->partitions, options->durability_name,
			(unsigned long long)options->rate);
		for (size_t i = 0; i < ANNALS_COUNT_OF(values); i++) {
			printf(",%.3f", values[i]);
		}
		for (size_t i = 0; i < result->note_count; i++) {
			printf(",%.3f", result->notes[i].value);
		}
		printf(",%llu\n", (unsigned long long)result->failed);
	} else {
		printf("  run %-3llu %12.0f %12.0f %9.1f", (unsigned long long)options->run,
			values[0], values[1], values[2]);
		for (size_t i = 3; i < 9; i++) {
			printf(" %9.3f", values[i]);
		}
		printf(" %10.1f %10.1f%s\n", values[9], values[10],
			result->failed ? "  FAILURES" : "");
		for (size_t i = 0; i < result->note_count; i++) {
			printf("%s%s %.3f", i == 0 ? "          " : ", ", result->notes[i].name,
				result->notes[i].value);
		}
		printf("%s", result->note_count > 0 ? "\n" : "");
	}
	(void)fflush(stdout);
}

static int compare_rates(const void *a, const void *b)
{
	double x = rate(*(const struct bench_result *const *)a),
	       y = rate(*(const struct bench_result *const *)b);
	return x < y ? -1 : x > y;
}

static void print_head(const struct bench_options *options)
{
	if (strcmp(options->output, "table") == 0) {
		printf("%s: %llu connections, %llu in flight, %llu events a request, %llu bytes of "
		       "data, %llu partitions, durability %s",
			options->scenario, (unsigned long long)options->connections,
			(unsigned long long)options->in_flight, (unsigned long long)options->batch,
			(unsigned long long)options->event_bytes,
			(unsigned long long)options->partitions, options->durability_name);
		printf(options->rate ? ", open loop\n" : ", closed loop\n");
		printf("  %-7s %12s %12s %9s %9s %9s %9s %9s %9s %9s %10s %10s\n", "", "events/s",
			"requests/s", "MB/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "p99.99 ms",
			"max ms", "RSS MiB", "anon MiB");
	}
}

static void print_summary(
	const struct bench_options *options, const struct bench_result *results, size_t count)
{
	const struct bench_result *sorted[BENCH_RUNS_MAX];
	for (size_t i = 0; i < count; i++) {
		sorted[i] = &results[i];
	}
	qsort(sorted, count, sizeof(sorted[0]), compare_rates);
	if (strcmp(options->output, "table") == 0 && count > 0) {
		const struct bench_result *median = sorted[count / 2];
		printf("  median  %12.0f   (%.0f to %.0f)   p50 %.3f ms   p99 %.3f ms\n",
			rate(median), rate(sorted[0]), rate(sorted[count - 1]),
			percentile_ms(median, 50), percentile_ms(median, 99));
	}
}

static void default_annalsd(struct bench_options *options, const char *program)
{
	static char path[1024];
	const char *slash = strrchr(program, '/');
	snprintf(path, sizeof(path), "%.*s/../server/annalsd", slash ? (int)(slash - program) : 1,
		slash ? program : ".");
	if (!options->annalsd) {
		options->annalsd = path;
	}
}

static void on_interrupt(int number)
{
	(void)number;
	bench_server_stop();
	_exit(130);
}

int main(int argc, char **argv)
{
	static struct bench_result results[BENCH_RUNS_MAX];
	struct bench_options options;
	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		usage(stdout);
		return 0;
	}
	const struct scenario *scenario = parse(argc, argv, &options);
	if (!scenario) {
		usage(stderr);
		return 2;
	}
	default_annalsd(&options, argv[0]);
	/* The server takes the limit over. */
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
	bench_server_start(&options);
	int status = bench_prepare(&options);
	size_t done = 0;
	print_head(&options);
	for (; status == 0 && done < options.runs; done++) {
		options.run = done + 1;
		status = scenario->run(&options, &results[done]);
		bench_server_memory(&results[done].rss_bytes, &results[done].rss_anonymous_bytes);
		if (status == 0) {
			print_one(&options, &results[done]);
		}
	}
	if (status == 0) {
		print_summary(&options, results, done);
	}
	bench_server_stop();
	return status == 0 ? 0 : 1;
}
