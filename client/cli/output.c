#include "cli.h"

#include <annals/clock.h>
#include <annals/parse.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Characters, not bytes: what a terminal shows. */
static size_t width(const char *text)
{
	size_t count = 0;
	for (; *text; text++) {
		count += ((unsigned char)*text & 0xc0) != 0x80;
	}
	return count;
}

static void add_cell(struct table *table, const char *text)
{
	if (buf_add(&table->text, text, strlen(text) + 1) == ANNALS_OK) {
		table->cells++;
	}
}

void table_init(struct table *table, const struct cli *cli, size_t columns, ...)
{
	memset(table, 0, sizeof(*table));
	table->cli = cli;
	table->columns = columns;
	va_list args;
	va_start(args, columns);
	for (size_t i = 0; i < columns; i++) {
		const char *name = va_arg(args, const char *);
		table->right[i] = name[0] == '>';
		add_cell(table, name + (name[0] == '>'));
	}
	va_end(args);
}

void table_add(struct table *table, const char *format, ...)
{
	char cell[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(cell, sizeof(cell), format, args);
	va_end(args);
	for (char *at = cell; *at; at++) {
		if ((unsigned char)*at < 0x20 || *at == 0x7f) {
			*at = ' ';
		}
	}
	add_cell(table, cell);
}

void table_print(struct table *table, FILE *file)
{
	size_t widths[16] = {0};
	bool pretty = table->cli->stdout_is_terminal;
	const char *cell = (const char *)table->text.data;
	for (size_t i = 0; pretty && i < table->cells; i++, cell += strlen(cell) + 1) {
		widths[i % table->columns] = ANNALS_MAX(widths[i % table->columns], width(cell));
	}
	cell = (const char *)table->text.data;
	for (size_t i = 0; i < table->cells; i++, cell += strlen(cell) + 1) {
		size_t column = i % table->columns;
		bool last = column + 1 == table->columns;
		bool bold = table->cli->colour && i < table->columns;
		int pad = pretty ? (int)(widths[column] - width(cell)) : 0;
		fprintf(file, "%*s%s%s%s%*s%s", table->right[column] ? pad : 0, "",
			bold ? "\033[1m" : "", cell, bold ? "\033[0m" : "",
			table->right[column] || last ? 0 : pad, "",
			last     ? "\n"
			: pretty ? "  "
				 : "\t");
	}
	buf_release(&table->text);
}

static char *ring_next(void)
{
	static char ring[16][40];
	static unsigned next;
	return ring[next++ % 16];
}

const char *text_count(uint64_t number)
{
	char digits[24], *out = ring_next(), *at = out;
	int size = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
	for (int i = 0; i < size; i++) {
		if (i > 0 && (size - i) % 3 == 0) {
			*at++ = ',';
		}
		*at++ = digits[i];
	}
	*at = '\0';
	return out;
}

const char *text_size(uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = (double)bytes;
	size_t unit = 0;
	while (value >= 1024 && unit + 1 < ANNALS_COUNT_OF(units)) {
		value /= 1024;
		unit++;
	}
	char *out = ring_next();
	snprintf(out, 40, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return out;
}

const char *text_time_us(uint64_t time_us)
{
	char *out = ring_next();
	if (time_us > INT64_MAX / 1000) {
		return "-";
	}
	out[format_rfc3339_ns(out, (int64_t)time_us * 1000)] = '\0';
	return out;
}

const char *text_duration_us(uint64_t duration_us)
{
	static const struct {
		uint64_t us;
		const char *name;
	} units[] = {{86400000000u, "d"}, {3600000000u, "h"}, {60000000u, "m"}, {1000000u, "s"},
		{1000u, "ms"}, {1u, "us"}};
	char *out = ring_next();
	for (size_t i = 0; i < ANNALS_COUNT_OF(units); i++) {
		if (duration_us % units[i].us == 0 && duration_us > 0) {
			snprintf(out, 40, "%llu%s", (unsigned long long)(duration_us / units[i].us),
				units[i].name);
			return out;
		}
	}
	return "0s";
}

void progress_init(
	struct progress *progress, const struct cli *cli, const char *what, uint64_t total_bytes)
{
	*progress = (struct progress){cli, what, total_bytes, clock_monotonic_ns(), 0, false};
}

void progress_show(struct progress *progress, uint64_t events, uint64_t bytes)
{
	uint64_t now_ns = clock_monotonic_ns();
	if (!progress->cli->stderr_is_terminal || progress->cli->quiet ||
		now_ns - progress->shown_ns < 100000000u) {
		return;
	}
	progress->shown_ns = now_ns;
	progress->shown = true;
	double seconds = (double)(now_ns - progress->started_ns) / 1e9;
	double rate = seconds > 0 ? (double)events / seconds : 0;
	if (progress->total_bytes == 0) {
		fprintf(stderr, "\r\033[K%s %s events, %s/s", progress->what, text_count(events),
			text_count((uint64_t)rate));
		return;
	}
	double part =
		(double)ANNALS_MIN(bytes, progress->total_bytes) / (double)progress->total_bytes;
	char bar[31];
	for (int i = 0; i < 30; i++) {
		bar[i] = i < (int)(part * 30) ? '#' : '.';
	}
	bar[30] = '\0';
	fprintf(stderr, "\r\033[K%s [%s] %3.0f %%  %s events, %s/s, %.0f s left", progress->what,
		bar, part * 100, text_count(events), text_count((uint64_t)rate),
		part > 0 ? seconds / part - seconds : 0);
}

void progress_end(struct progress *progress)
{
	if (progress->shown) {
		fprintf(stderr, "\r\033[K");
	}
}
