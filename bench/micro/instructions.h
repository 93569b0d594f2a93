/* Instructions that this thread executed in user space, where the kernel lets us count them
 * (perf_event_open(2)). */
#ifndef BENCH_MICRO_INSTRUCTIONS_H
#define BENCH_MICRO_INSTRUCTIONS_H

#include <stdint.h>

/* The descriptor of a counter, or -1 where it is not allowed or not there (containers, virtual
 * machines). */
int instructions_open(void);
void instructions_close(int fd);
/* Instructions since it was opened; 0 for fd -1. */
uint64_t instructions_read(int fd);

#endif
