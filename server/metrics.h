/* Metrics in the Prometheus text format (version 0.0.4), from store_stats() and the loops'
 * counters. Any thread. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "server.h"
#include <annals/buf.h>

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends everything. ANNALS_E_NO_MEMORY. */
int metrics_write(struct server *server, struct buf *out) ANNALS_MUST_CHECK;

#endif
