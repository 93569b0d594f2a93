/* What SIGHUP does. Main thread. */
#ifndef SERVER_RELOAD_H
#define SERVER_RELOAD_H

#include "server.h"

/*
 * Reads all options again from the same sources. What may change takes effect, with a log line for
 * each; for what may not, a line says that it needs a restart. On errors everything stays as it
 * was. *current is replaced; the old one is freed once no loop uses it.
 */
void reload_options(struct server *server, int argc, char *const *argv, char *const *environment,
	struct options **current);
/* Applies log-level and log-format. */
void reload_logging(const struct options *options);

#endif
