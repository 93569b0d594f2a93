/*
 * An error for people: a status code and one sentence that gains context on its way up.
 *
 * Texts have no capital and no full stop, name what failed first and put the subject in single
 * quotes: "cannot open '/data/lock': permission denied". Functions that take a struct error leave
 * it untouched on success, and every such parameter may be NULL.
 */
#ifndef ANNALS_ERROR_H
#define ANNALS_ERROR_H

#include <annals/macros.h>
#include <annals/status.h>

struct error {
	int code; /* enum annals_status */
	char text[256];
};

/* Sets code and text, returns code. err may be NULL. Longer texts are cut. */
int error_fail(struct error *err, int code, const char *format, ...) ANNALS_PRINTF(3, 4);
/* As error_fail, and appends ": <strerror(errno_value)>". */
int error_errno(struct error *err, int code, int errno_value, const char *format, ...)
	ANNALS_PRINTF(4, 5);
/* Puts "context: " before the text and returns err->code (ANNALS_E_INTERNAL if err is NULL). */
int error_wrap(struct error *err, const char *format, ...) ANNALS_PRINTF(2, 3);

#endif
