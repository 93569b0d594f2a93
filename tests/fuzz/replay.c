/* Runs a fuzz target over files and the files of directories, one by one: a corpus as an ordinary
 * test. */
#include <annals/buf.h>
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fuzz.h"

static int run_file(const char *path)
{
	struct buf bytes = BUF_INIT;
	FILE *file = fopen(path, "rb");
	size_t got = 0;
	if (file == NULL) {
		perror(path);
		return -1;
	}
	do {
		bytes.size += got;
		if (buf_reserve(&bytes, 65536) != 0) {
			fclose(file);
			return -1;
		}
		got = fread(bytes.data + bytes.size, 1, 65536, file);
	} while (got > 0);
	fclose(file);
	/* An exact copy, so that sanitizers see a read past the end. */
	uint8_t *exact = malloc(bytes.size + 1);
	if (exact == NULL) {
		buf_release(&bytes);
		return -1;
	}
	memcpy(exact + 1, bytes.data, bytes.size);
	fprintf(stderr, "%s\n", path);
	(void)LLVMFuzzerTestOneInput(exact + 1, bytes.size);
	free(exact);
	buf_release(&bytes);
	return 0;
}

static int run(const char *path, unsigned *count)
{
	struct dirent *entry;
	struct stat status;
	if (stat(path, &status) != 0) {
		perror(path);
		return -1;
	}
	if (!S_ISDIR(status.st_mode)) {
		*count += 1;
		return run_file(path);
	}
	DIR *dir = opendir(path);
	if (dir == NULL) {
		perror(path);
		return -1;
	}
	int result = 0;
	while (result == 0 && (entry = readdir(dir)) != NULL) {
		char name[4096];
		if (entry->d_name[0] == '.') {
			continue;
		}
		if (snprintf(name, sizeof(name), "%s/%s", path, entry->d_name) >=
			(int)sizeof(name)) {
			result = -1;
			break;
		}
		*count += 1;
		result = run_file(name);
	}
	closedir(dir);
	return result;
}

int main(int argc, char **argv)
{
	unsigned count = 0;
	for (int i = 1; i < argc; i++) {
		if (run(argv[i], &count) != 0) {
			return 1;
		}
	}
	printf("%u inputs\n", count);
	return count == 0; /* an empty corpus tests nothing */
}
