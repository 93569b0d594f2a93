/* `annalsd verify DIR`. */
#ifndef SERVER_VERIFY_COMMAND_H
#define SERVER_VERIFY_COMMAND_H

#include "options.h"

/* Checks the directory and prints what it found; a progress bar when stderr is a terminal. The exit
 * code. */
int verify_command(const char *data_dir, const struct options *options);

#endif
