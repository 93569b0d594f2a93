/*
 * Data of typed topics in the tool: JSON made protobuf before it is appended, and protobuf shown as
 * JSON, by schemas that are fetched over HTTP once per command and type, the latest one too.
 */
#ifndef ANNALS_CLI_TYPED_H
#define ANNALS_CLI_TYPED_H

#include "http.h"
#include <annals/extract_event.h>
#include <annals/project.h>
#include <annals/record.h>

#define TYPED_SCHEMAS_MAX 64u
#define TYPED_LOST_BYTES PROJECT_REPORT_TEXT_BYTES

struct typed_schema {
	struct buf type;
	uint32_t version;
	struct descriptor_pool *pool; /* NULL: the server has no such schema */
	const struct descriptor_message *message;
};

/* Zeroed, with cli and perhaps http_address and version. */
struct typed {
	struct cli *cli;
	const char *http_address;
	uint32_t version; /* as which events are shown; 0: as what they are */
	struct descriptor_pool *builtin;
	struct typed_schema schemas[TYPED_SCHEMAS_MAX];
	size_t schema_count, replaced;
	struct buf data, projected;
	struct extract_event extract;
};
void typed_release(struct typed *typed);

/*
 * An event with JSON data becomes one with protobuf, its key, subject, time and tags what the
 * schema's options take from the data. Protobuf data is left as it is but for those. The record
 * points into *typed until its next use.
 *
 * CLI_OK or an exit code after a message, which begins with `what`: no schema, not JSON of it,
 * no server.
 */
int typed_take(struct typed *typed, struct record *record, const char *what) ANNALS_MUST_CHECK;
/*
 * Protobuf data becomes JSON, projected to typed->version if its type has that one; what could not
 * be kept is listed in lost, else it is empty. What has no schema or no JSON form stays as it is.
 * ANNALS_OK, ANNALS_E_NO_MEMORY, or ANNALS_E_DISCONNECTED after a message.
 */
int typed_show(
	struct typed *typed, struct record *record, char lost[TYPED_LOST_BYTES]) ANNALS_MUST_CHECK;

#endif
