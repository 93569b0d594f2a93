/* Good histories from a seed: a store in memory that keeps every promise, clients whose operations
 * overlap, whose answers get lost, who retry, whose requests are carried out late, and kills. */
#ifndef TESTS_HISTORY_SIM_H
#define TESTS_HISTORY_SIM_H

#include <stdint.h>

/* Writes `operations` operations (and a closing read of everything) to fd. */
void history_simulate(uint64_t seed, unsigned operations, int fd);

#endif
