/*
 * Structured log lines to one sink, stderr by default: `2026-11-23T04:08:14.120Z info annalsd
 * listening protocol=http address=127.0.0.1:7480`.
 *
 * Only server/ and client/cli/ log; library layers return errors instead. One call is one line and
 * one write(2), from any thread. Values are quoted when they hold blanks, quotes or control
 * characters, so a line cannot be forged by data. A line has at most 2,048 bytes and is always
 * well-formed (UTF-8, JSON): a value that does not fit is cut and ends in "...", and pairs that do
 * not fit after it are left out.
 */
#ifndef ANNALS_LOG_H
#define ANNALS_LOG_H

#include <annals/macros.h>
#include <annals/status.h>
#include <stdatomic.h>
#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level cost one branch. */
extern _Atomic(enum log_level) log_level_max;
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

void log_configure(enum log_level level, enum log_format format);
/* "error", "warning", "info", "debug"; 0 or ANNALS_E_INVALID. */
int log_level_parse(const char *name, enum log_level *ret_level) ANNALS_MUST_CHECK;

/*
 * message is a short constant text. The pairs after it are alternating key and value strings, ended
 * by NULL; a NULL value prints as "-". Numbers: use log_u64() etc. in the argument list, which
 * format into a small per-thread ring of 16 buffers, valid until 16 more are made.
 */
void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));
const char *log_u64(unsigned long long value);
const char *log_i64(long long value);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__, NULL)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__, NULL)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__, NULL)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (atomic_load_explicit(&log_level_max, memory_order_relaxed) >=                  \
			LOG_LEVEL_DEBUG) {                                                         \
			log_line(LOG_LEVEL_DEBUG, __VA_ARGS__, NULL);                              \
		}                                                                                  \
	} while (0)

#endif
