#include "map.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* One line of the file: where, what may be done there, which inode of which device, its name. */
struct region {
	uint64_t from, to, inode;
	unsigned major, minor;
	bool has_code;
	char path[sizeof(((struct store_map *)NULL)->path)];
};

static bool parse_region(const char *line, struct region *ret)
{
	char rights[5];
	int path_at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %x:%x %" SCNu64 " %n", &ret->from,
		    &ret->to, rights, &ret->major, &ret->minor, &ret->inode, &path_at) != 6 ||
		path_at == 0) {
		return false;
	}
	ret->has_code = rights[2] == 'x';
	(void)snprintf(ret->path, sizeof(ret->path), "%.*s", (int)strcspn(line + path_at, "\n"),
		line + path_at);
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
