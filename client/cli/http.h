/* Requests over HTTP/1.1, for what the binary protocol has no operation for: one connection each,
 * plain, without redirects. */
#ifndef ANNALS_CLI_HTTP_H
#define ANNALS_CLI_HTTP_H

#include "cli.h"
#include <annals/json.h>

struct cli_http {
	const char *address; /* --http; NULL: $ANNALS_HTTP, else 127.0.0.1:7480 */
	struct buf path;     /* with its query */
	struct buf answer;
	int status;        /* of the answer */
	struct bytes body; /* in answer */
};
void cli_http_release(struct cli_http *http);
/* Appends to the path, percent-encoded but for the format's own text: "/v1/schemas/", name. */
int cli_http_path(struct cli_http *http, const char *text, const char *encoded) ANNALS_MUST_CHECK;
/*
 * Sends and waits for the whole answer, at most 32 MiB. content_type and body may be NULL and
 * empty. CLI_OK whatever the answer's status is, or CLI_UNREACHABLE, CLI_FAILED after a message.
 */
int cli_http_exchange(struct cli *cli, struct cli_http *http, const char *method,
	const char *content_type, struct bytes body) ANNALS_MUST_CHECK;
/* Says what a problem document says, with its violations; returns the exit code for it. */
int cli_http_problem(const struct cli_http *http, const char *what);
/* A member of a JSON object; false: there is none. */
bool cli_json_member(struct bytes object, const char *name, struct json_value *ret);
/* Its text, or "" ; borrowed from out, which is replaced. */
const char *cli_json_text(struct bytes object, const char *name, struct buf *out);
/* Prints the violations of an answer as a table. */
void cli_print_violations(const struct cli *cli, struct bytes object, FILE *file);

#endif
