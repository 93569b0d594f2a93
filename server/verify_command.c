#include "verify_command.h"
#include <annals/storage.h>
#include <stdio.h>
#include <unistd.h>

#define BAR_WIDTH 40

struct printer {
	bool terminal;
	bool bar_drawn;
};

static void clear_bar(struct printer *printer)
{
	if (printer->bar_drawn) {
		(void)fprintf(stderr, "\r\033[K");
		printer->bar_drawn = false;
	}
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct printer *printer = arg;
	char bar[BAR_WIDTH + 1];
	unsigned percent = total == 0 ? 100 : (unsigned)((double)done * 100 / (double)total);
	unsigned filled = ANNALS_MIN(percent, 100u) * BAR_WIDTH / 100;
	if (!printer->terminal) {
		return;
	}
	for (unsigned i = 0; i < BAR_WIDTH; i++) {
		bar[i] = i < filled ? '#' : '.';
	}
	bar[BAR_WIDTH] = 0;
	(void)fprintf(stderr, "\r[%s] %3u%%  %.1f of %.1f MiB", bar, percent,
		(double)done / (1 << 20), (double)total / (1 << 20));
	printer->bar_drawn = true;
}

static void on_problem(void *arg, const char *text)
{
	clear_bar(arg);
	(void)fprintf(stderr, "problem: %s\n", text);
}

int verify_command(const char *data_dir, const struct options *options)
{
	struct printer printer = {.terminal = isatty(STDERR_FILENO) == 1};
	struct verify_options verify = {
		.data_dir = data_dir,
		.map_bytes = options->map_bytes,
		.progress = on_progress,
		.problem = on_problem,
		.arg = &printer,
	};
	struct verify_report report = {0};
	struct error err = {0};
	int status = store_verify(&verify, &report, &err);
	clear_bar(&printer);
	if (status != 0) {
		(void)fprintf(stderr, "annalsd: cannot verify '%s': %s\n", data_dir, err.text);
		return 1;
	}
	printf("%s: %llu events in %llu batches, %llu chunks, %llu journal blocks in %llu "
	       "segments, %llu index runs, %.1f MiB: %s\n",
		data_dir, (unsigned long long)report.events, (unsigned long long)report.batches,
		(unsigned long long)report.chunks, (unsigned long long)report.journal_blocks,
		(unsigned long long)report.journal_segments, (unsigned long long)report.index_runs,
		(double)report.bytes / (1 << 20),
		report.problems == 0 ? "all correct" : "PROBLEMS FOUND");
	if (report.problems > 0) {
		printf("%llu problems, named above\n", (unsigned long long)report.problems);
	}
	return report.problems == 0 ? 0 : 1;
}

static void on_lost(void *arg, const char *text)
{
	clear_bar(arg);
	(void)fprintf(stderr, "lost: %s\n", text);
}

int salvage_command(const char *data_dir, const char *new_dir, const struct options *options)
{
	struct printer printer = {.terminal = isatty(STDERR_FILENO) == 1};
	struct salvage_options salvage = {
		.data_dir = data_dir,
		.new_dir = new_dir,
		.map_bytes = options->map_bytes,
		.progress = on_progress,
		.lost = on_lost,
		.arg = &printer,
	};
	struct salvage_report report = {0};
	struct error err = {0};
	int status = store_salvage(&salvage, &report, &err);
	clear_bar(&printer);
	if (status != 0) {
		(void)fprintf(stderr, "annalsd: cannot salvage '%s': %s\n", data_dir, err.text);
		return 1;
	}
	printf("%s: %llu topics, %llu events in %llu batches, %llu committed offsets\n", new_dir,
		(unsigned long long)report.topics, (unsigned long long)report.events,
		(unsigned long long)report.batches, (unsigned long long)report.offsets);
	if (report.database_is_damaged) {
		printf("LMDB's tree was damaged: its pages were searched one by one\n");
	}
	printf("%llu events in %llu ranges of offsets are lost, named above\n",
		(unsigned long long)report.lost_events, (unsigned long long)report.lost_ranges);
	return 0;
}
