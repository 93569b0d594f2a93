#include "map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* One line of the file: where, what may be done there, which inode of which device, its name. */
struct region {
	uint64_t from, to, inode, major, minor;
	bool has_code;
	char path[sizeof(((struct store_map *)NULL)->path)];
};

/* A number and what ends it. */
static bool take(const char **at, int base, char end, uint64_t *ret)
{
	char *stop;

	errno = 0;
	*ret = strtoull(*at, &stop, base);
	if (errno != 0 || stop == *at || *stop != end) {
		return false;
	}
	*at = stop + 1;
	return true;
}

/* "from-to rwxp offset major:minor inode   path" */
static bool parse_region(const char *line, struct region *ret)
{
	const char *at = line;
	uint64_t offset;

	if (!take(&at, 16, '-', &ret->from) || !take(&at, 16, ' ', &ret->to) ||
		strnlen(at, 5) < 5 || at[4] != ' ') {
		return false;
	}
	ret->has_code = at[2] == 'x';
	at += 5;
	if (!take(&at, 16, ' ', &offset) || !take(&at, 16, ':', &ret->major) ||
		!take(&at, 16, ' ', &ret->minor) || !take(&at, 10, ' ', &ret->inode)) {
		return false;
	}
	at += strspn(at, " ");
	(void)snprintf(ret->path, sizeof(ret->path), "%.*s", (int)strcspn(at, "\n"), at);
	return true;
}

/* The largest region of the file is its map; the library is the code around one of its functions.
 */
static void look_at(const struct region *region, const struct stat *file, struct store_map *map)
{
	uint64_t function = (uint64_t)(uintptr_t)mdb_cursor_get;

	if (region->inode == file->st_ino && region->major == major(file->st_dev) &&
		region->minor == minor(file->st_dev) &&
		region->to - region->from > map->data_bytes) {
		map->data = region->from;
		map->data_bytes = region->to - region->from;
		memcpy(map->path, region->path, sizeof(map->path));
	}
	if (region->has_code && function >= region->from && function < region->to &&
		strstr(region->path, "lmdb") != NULL) {
		map->code = region->from;
		map->code_bytes = region->to - region->from;
	}
}

int env_find_map(const struct env *env, struct store_map *ret)
{
	static const struct store_map none;
	struct region region;
	struct stat file;
	char line[sizeof(region.path) + 128];
	mdb_filehandle_t fd;
	FILE *maps;

	*ret = none;
	if (mdb_env_get_fd(env->mdb, &fd) != 0 || fstat(fd, &file) != 0) {
		return ANNALS_E_NOT_FOUND;
	}
	maps = fopen("/proc/self/maps", "re");
	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
		if (parse_region(line, &region)) {
			look_at(&region, &file, ret);
		}
	}
	if (maps != NULL) {
		(void)fclose(maps);
	}
	return ret->data_bytes != 0 ? 0 : ANNALS_E_NOT_FOUND;
}
