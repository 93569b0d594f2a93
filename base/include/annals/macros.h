/* Compiler helpers. Macros have no scope, so each carries the project's prefix. */
#ifndef ANNALS_MACROS_H
#define ANNALS_MACROS_H

#include <stddef.h>

#define ANNALS_MUST_CHECK __attribute__((warn_unused_result))
#define ANNALS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ANNALS_NORETURN __attribute__((noreturn))
#define ANNALS_UNUSED __attribute__((unused))

/* Runs fn(&variable) when the variable leaves its scope. */
#define ANNALS_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Yields the pointer and leaves NULL behind: hands ownership to the caller. */
#define ANNALS_TAKE(ptr)                                                                           \
	__extension__({                                                                            \
		__typeof__(ptr) taken_ = (ptr);                                                    \
		(ptr) = NULL;                                                                      \
		taken_;                                                                            \
	})

/* Yields the descriptor and leaves -1 behind. */
#define ANNALS_STEAL_FD(fd)                                                                        \
	__extension__({                                                                            \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})

#define ANNALS_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ANNALS_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define ANNALS_MIN(a, b) ((a) < (b) ? (a) : (b))
#define ANNALS_MAX(a, b) ((a) > (b) ? (a) : (b))
#define ANNALS_LIKELY(x) __builtin_expect(!!(x), 1)
#define ANNALS_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Rounds up to a multiple of `to`, a power of two. */
#define ANNALS_ROUND_UP(n, to) (((n) + ((to)-1)) & ~((__typeof__(n))(to)-1))

#endif
