#include <annals/log.h>

#include <annals/clock.h>
#include <annals/parse.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum log_level log_level_max = LOG_LEVEL_INFO;
static enum log_format log_format_now = LOG_FORMAT_TEXT;
static const char *const level_names[] = {"error", "warning", "info", "debug"};

#define LINE_BYTES_MAX 2048

struct line {
	char text[LINE_BYTES_MAX];
	size_t size;
};

void log_configure(enum log_level level, enum log_format format)
{
	log_level_max = level;
	log_format_now = format;
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(level_names); i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return ANNALS_E_INVALID;
}

/* One byte is kept for the newline. */
static void put(struct line *line, const char *bytes, size_t size)
{
	size_t room = sizeof(line->text) - 1 - line->size;

	size = size < room ? size : room;
	memcpy(line->text + line->size, bytes, size);
	line->size += size;
}

static void put_text(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

static bool needs_quotes(const char *text)
{
	if (*text == 0) {
		return true;
	}
	for (; *text != 0; text++) {
		unsigned char c = (unsigned char)*text;
		if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c == 0x7f) {
			return true;
		}
	}
	return false;
}

/* As a JSON string, so that neither format can be forged by a value. */
static void put_quoted(struct line *line, const char *text)
{
	put(line, "\"", 1);
	for (; *text != 0; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\') {
			put(line, "\\", 1);
			put(line, text, 1);
		} else if (c < ' ' || c == 0x7f) {
			char escape[8];
			(void)snprintf(escape, sizeof(escape), "\\u%04x", c);
			put_text(line, escape);
		} else {
			put(line, text, 1);
		}
	}
	put(line, "\"", 1);
}

static void put_pair(struct line *line, const char *key, const char *value)
{
	value = value != NULL ? value : "-";
	if (log_format_now == LOG_FORMAT_JSON) {
		put(line, ",", 1);
		put_quoted(line, key);
		put(line, ":", 1);
		put_quoted(line, value);
		return;
	}
	put(line, " ", 1);
	put_text(line, key);
	put(line, "=", 1);
	if (needs_quotes(value)) {
		put_quoted(line, value);
	} else {
		put_text(line, value);
	}
}

void log_line(enum log_level level, const char *message, ...)
{
	struct line line = {.size = 0};
	char time[32];
	const char *key;
	va_list pairs;

	if (level > log_level_max) {
		return;
	}
	(void)format_rfc3339_ns(time, (int64_t)(clock_wall_us() / 1000 * 1000000));
	if (log_format_now == LOG_FORMAT_JSON) {
		put_text(&line, "{\"time\":\"");
		put_text(&line, time);
		put_text(&line, "\",\"level\":\"");
		put_text(&line, level_names[level]);
		put_text(&line, "\",\"message\":");
		put_quoted(&line, message);
	} else {
		put_text(&line, time);
		put(&line, " ", 1);
		put_text(&line, level_names[level]);
		put(&line, " ", 1);
		put_text(&line, message);
	}
	va_start(pairs, message);
	while ((key = va_arg(pairs, const char *)) != NULL) {
		put_pair(&line, key, va_arg(pairs, const char *));
	}
	va_end(pairs);
	if (log_format_now == LOG_FORMAT_JSON) {
		put(&line, "}", 1);
	}
	line.text[line.size++] = '\n';
	/* A log that cannot be written must not stop the server. */
	if (write(STDERR_FILENO, line.text, line.size) < 0) {
		return;
	}
}

static char *next_number(void)
{
	static _Thread_local char ring[16][24];
	static _Thread_local unsigned next;

	return ring[next++ % 16];
}

const char *log_u64(unsigned long long value)
{
	char *text = next_number();

	(void)snprintf(text, 24, "%llu", value);
	return text;
}

const char *log_i64(long long value)
{
	char *text = next_number();

	(void)snprintf(text, 24, "%lld", value);
	return text;
}
