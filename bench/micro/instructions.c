#include "instructions.h"

#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int instructions_open(void)
{
	struct perf_event_attr attributes;
	memset(&attributes, 0, sizeof(attributes));
	attributes.type = PERF_TYPE_HARDWARE;
	attributes.size = sizeof(attributes);
	attributes.config = PERF_COUNT_HW_INSTRUCTIONS;
	attributes.exclude_kernel = 1;
	attributes.exclude_hv = 1;
	return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
}

void instructions_close(int fd)
{
	if (fd >= 0) {
		(void)close(fd);
	}
}

uint64_t instructions_read(int fd)
{
	uint64_t value = 0;
	if (fd < 0 || read(fd, &value, sizeof(value)) != (ssize_t)sizeof(value)) {
		return 0;
	}
	return value;
}
