#include <annals/log.h>

#include <annals/clock.h>
#include <annals/parse.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Atomic(enum log_level) log_level_max = LOG_LEVEL_INFO;
static _Atomic(enum log_format) log_format_now = LOG_FORMAT_TEXT;
static const char *const level_names[] = {"error", "warning", "info", "debug"};

#define LINE_BYTES_MAX 2048
/* What the end of a cut line takes: `..."}`. */
#define END_BYTES 5

struct line {
	char text[LINE_BYTES_MAX];
	size_t size;
};

void log_configure(enum log_level level, enum log_format format)
{
	atomic_store_explicit(&log_level_max, level, memory_order_relaxed);
	atomic_store_explicit(&log_format_now, format, memory_order_relaxed);
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
static size_t room(const struct line *line)
{
	return sizeof(line->text) - 1 - line->size;
}

static void put(struct line *line, const char *bytes, size_t size)
{
	size = ANNALS_MIN(size, room(line));
	memcpy(line->text + line->size, bytes, size);
	line->size += size;
}

static void put_text(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

/* How many bytes the character at the start takes; 0 when they are not UTF-8. */
static size_t character_size(const char *text)
{
	size_t left = strnlen(text, 4);

	for (size_t size = 1; size <= left; size++) {
		if (utf8_is_valid(bytes_of(text, size))) {
			return size;
		}
	}
	return 0;
}

/* ASCII's, and U+0080 to U+009F. */
static bool is_control(const char *text)
{
	unsigned char c = (unsigned char)text[0];

	return c < ' ' || c == 0x7f || (c == 0xc2 && (unsigned char)text[1] < 0xa0);
}

static bool needs_quotes(const char *text)
{
	if (*text == 0 || !utf8_is_valid(bytes_text(text))) {
		return true;
	}
	for (; *text != 0; text++) {
		if (is_control(text) || strchr(" \"\\=", *text) != NULL) {
			return true;
		}
	}
	return false;
}

/*
 * As a JSON string, so that neither format can be forged by a value. What does not fit is cut
 * between characters and marked, and the line stays well-formed.
 */
static void put_quoted(struct line *line, const char *text)
{
	put(line, "\"", 1);
	while (*text != 0) {
		size_t size = character_size(text);
		char piece[8];

		if (size == 0) {
			(void)strcpy(piece, "\\ufffd");
			size = 1;
		} else if (is_control(text)) {
			(void)snprintf(
				piece, sizeof(piece), "\\u%04x", (unsigned char)text[size - 1]);
		} else {
			(void)snprintf(piece, sizeof(piece), "%s%.*s",
				*text == '"' || *text == '\\' ? "\\" : "", (int)size, text);
		}
		if (strlen(piece) + END_BYTES > room(line)) {
			put_text(line, "...");
			break;
		}
		put_text(line, piece);
		text += size;
	}
	put(line, "\"", 1);
}

static void put_pair(struct line *line, const char *key, const char *value)
{
	value = value != NULL ? value : "-";
	if (strlen(key) + sizeof(",\"\":\"\"") + END_BYTES > room(line)) {
		return;
	}
	if (atomic_load_explicit(&log_format_now, memory_order_relaxed) == LOG_FORMAT_JSON) {
		put(line, ",", 1);
		put_quoted(line, key);
		put(line, ":", 1);
		put_quoted(line, value);
		return;
	}
	put(line, " ", 1);
	put_text(line, key);
	put(line, "=", 1);
	if (needs_quotes(value) || strlen(value) > room(line)) {
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

	if (level > atomic_load_explicit(&log_level_max, memory_order_relaxed)) {
		return;
	}
	(void)format_rfc3339_ns(time, (int64_t)(clock_wall_us() / 1000 * 1000000));
	if (atomic_load_explicit(&log_format_now, memory_order_relaxed) == LOG_FORMAT_JSON) {
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
	if (atomic_load_explicit(&log_format_now, memory_order_relaxed) == LOG_FORMAT_JSON) {
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
