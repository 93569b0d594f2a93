#include <annals/status.h>

struct status_row {
	const char *name;
	const char *text;
	int http;
	int retryable;
};

static const struct status_row *status_row(int status)
{
	static const struct status_row ok = {"ok", "done", 200, 0};
	static const struct status_row unknown = {
		"unknown-status", "a status this version does not know", 500, 0};
	static const struct status_row rows[] = {
#define STATUS_ROW(id, number, name, http, retryable, text)                                        \
	[number] = {name, text, http, retryable},
		ANNALS_STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
	};

	if (status == 0) {
		return &ok;
	}
	if (status > 0 || status <= -(int)(sizeof(rows) / sizeof(rows[0]))) {
		return &unknown;
	}
	return rows[-status].name != 0 ? &rows[-status] : &unknown;
}

const char *annals_status_name(int status)
{
	return status_row(status)->name;
}

const char *annals_status_text(int status)
{
	return status_row(status)->text;
}

int annals_status_http(int status)
{
	return status_row(status)->http;
}

int annals_status_retryable(int status)
{
	return status_row(status)->retryable;
}
