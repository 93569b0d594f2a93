/* Signals as values: they are blocked in every thread and taken from a descriptor by the main
 * thread. */
#ifndef SERVER_SIGNALS_H
#define SERVER_SIGNALS_H

#include <annals/error.h>

enum signals_event { SIGNALS_STOP, SIGNALS_RELOAD };

/* Blocks SIGTERM, SIGINT and SIGHUP, ignores SIGPIPE. Before any thread starts. ANNALS_E_IO. */
int signals_open(struct error *err) ANNALS_MUST_CHECK;
/* Waits for the next one. */
enum signals_event signals_wait(void);

#endif
