/* Liveness and readiness. Any thread; no I/O. */
#ifndef SERVER_HEALTH_H
#define SERVER_HEALTH_H

#include "server.h"
#include <annals/buf.h>

/*
 * Ready to take work: started, not draining, the store open. A full disk is not ready (appends are
 * refused). Fills `lines`, unless NULL, with
 * "[+]server ok" or "[-]storage: disk full ..." lines. exclude names a check to skip ("server",
 * "storage"), NULL for none.
 */
bool health_ready(struct server *server, const char *exclude, struct buf *lines);

#endif
