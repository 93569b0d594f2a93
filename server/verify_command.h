/* `annalsd verify DIR` and `annalsd repair --salvage NEW_DIR DIR`. */
#ifndef SERVER_VERIFY_COMMAND_H
#define SERVER_VERIFY_COMMAND_H

#include "options.h"

/* Checks the directory and prints what it found; a progress bar when stderr is a terminal. The exit
 * code. */
int verify_command(const char *data_dir, const struct options *options);
/* Writes what is intact to new_dir and prints what was lost. The exit code: 0 also with losses. */
int salvage_command(const char *data_dir, const char *new_dir, const struct options *options);

#endif
