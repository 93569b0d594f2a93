/* A data.mdb made of the input: the check of its pages must come to an end, with a text if it
 * refuses. Checksums there are none, so every byte counts. */
#include "fuzz.h"
#include "lmdb/pages.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	int fd = memfd_create("data.mdb", MFD_CLOEXEC);
	if (fd < 0 || (size > 0 && write(fd, data, size) != (ssize_t)size)) {
		abort();
	}
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (int deep = 0; deep < 2; deep++) {
		struct error err = {0};
		int status = pages_check(path, deep == 1, NULL, &err);
		FUZZ_REQUIRE(status == 0 || err.text[0] != 0);
	}
	(void)close(fd);
	return 0;
}
