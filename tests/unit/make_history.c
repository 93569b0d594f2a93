/* Writes a generated history, to measure the checker: make_history SEED OPERATIONS FILE */
#include "history_sim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 4) {
		(void)fprintf(stderr, "usage: make_history SEED OPERATIONS FILE\n");
		return 2;
	}
	int fd = open(argv[3], O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0) {
		perror(argv[3]);
		return 1;
	}
	history_simulate(strtoull(argv[1], NULL, 10), (unsigned)strtoul(argv[2], NULL, 10), fd);
	return close(fd) == 0 ? 0 : 1;
}
