#include <annals/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_fail(struct error *err, int code, const char *format, ...)
{
	va_list args;

	if (err != NULL) {
		err->code = code;
		va_start(args, format);
		(void)vsnprintf(err->text, sizeof(err->text), format, args);
		va_end(args);
	}
	return code;
}

int error_errno(struct error *err, int code, int errno_value, const char *format, ...)
{
	char reason[96];
	va_list args;
	int length;

	if (err == NULL) {
		return code;
	}
	err->code = code;
	va_start(args, format);
	length = vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	if (length >= 0 && (size_t)length < sizeof(err->text)) {
		(void)snprintf(err->text + length, sizeof(err->text) - (size_t)length, ": %s",
			strerror_r(errno_value, reason, sizeof(reason)));
	}
	return code;
}

int error_wrap(struct error *err, const char *format, ...)
{
	char inner[sizeof(err->text)];
	va_list args;
	int length;

	if (err == NULL) {
		return ANNALS_E_INTERNAL;
	}
	memcpy(inner, err->text, sizeof(inner));
	va_start(args, format);
	length = vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	if (length >= 0 && (size_t)length < sizeof(err->text)) {
		(void)snprintf(
			err->text + length, sizeof(err->text) - (size_t)length, ": %s", inner);
	}
	return err->code;
}
