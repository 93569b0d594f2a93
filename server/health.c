#include "health.h"
#include <string.h>

static bool line(struct buf *lines, bool ok, const char *check, const char *why)
{
	if (lines != NULL) {
		/* Without memory the line is missing; the result is not. */
		int status = ok ? buf_printf(lines, "[+]%s ok\n", check)
				: buf_printf(lines, "[-]%s: %s\n", check, why);
		(void)status;
	}
	return ok;
}

static bool server_is_ready(struct server *server, struct buf *lines)
{
	static const char *const why[] = {
		[SERVER_STARTING] = "starting",
		[SERVER_READY] = "",
		[SERVER_DRAINING] = "stopping",
		[SERVER_STOPPED] = "stopped",
	};
	enum server_state state = server_state(server);
	return line(lines, state == SERVER_READY, "server", why[state]);
}

static bool storage_is_ready(struct server *server, struct buf *lines)
{
	struct store_stats stats;
	store_stats(server->store, &stats);
	return line(lines, stats.state == STORE_OPEN, "storage", stats.state_reason);
}

bool health_ready(struct server *server, const char *exclude, struct buf *lines)
{
	bool ready = true;
	if (exclude == NULL || strcmp(exclude, "server") != 0) {
		ready = server_is_ready(server, lines) && ready;
	}
	if (exclude == NULL || strcmp(exclude, "storage") != 0) {
		ready = storage_is_ready(server, lines) && ready;
	}
	return ready;
}
