#include "store_files.h"

#include <annals/fault.h>
#include <annals/hash.h>
#include <annals/parse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

int store_files_sync_dir(const char *dir, struct error *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = 0;

	if (fd < 0) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot open '%s'", dir);
	}
	if (fsync(fd) != 0) {
		status = error_errno(err, ANNALS_E_IO, errno, "cannot sync '%s'", dir);
	}
	(void)close(fd);
	return status;
}

int store_files_lock(const char *dir, bool create, int *ret_fd, struct error *err)
{
	char path[4096];
	int fd;

	if ((size_t)snprintf(path, sizeof(path), "%s/lock", dir) >= sizeof(path)) {
		return error_fail(
			err, ANNALS_E_INVALID, "the path of the data directory is too long");
	}
	fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0640);
	if (fd < 0) {
		if (errno == ENOENT) {
			return error_fail(
				err, ANNALS_E_NOT_FOUND, "there is no store in '%s'", dir);
		}
		return error_errno(err, ANNALS_E_IO, errno, "cannot open '%s'", path);
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int failure = errno;
		(void)close(fd);
		return failure == EWOULDBLOCK
			       ? error_fail(err, ANNALS_E_LOCKED,
					 "another process uses '%s': stop it or choose another "
					 "data directory",
					 dir)
			       : error_errno(err, ANNALS_E_IO, failure, "cannot lock '%s'", path);
	}
	*ret_fd = fd;
	return 0;
}

static int hex_value(char digit)
{
	if (digit >= '0' && digit <= '9') {
		return digit - '0';
	}
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static int parse_uuid(const char *text, uint8_t ret_uuid[16])
{
	size_t digits = 0;

	memset(ret_uuid, 0, 16);
	for (; *text != 0 && *text != '\n'; text++) {
		int value = hex_value(*text);
		if (*text == '-') {
			continue;
		}
		if (value < 0 || digits == 32) {
			return ANNALS_E_CORRUPT_DATA;
		}
		ret_uuid[digits / 2] = (uint8_t)(ret_uuid[digits / 2] << 4 | value);
		digits++;
	}
	return digits == 32 ? 0 : ANNALS_E_CORRUPT_DATA;
}

static int parse_format(const char *path, const char *text, uint8_t ret_uuid[16], struct error *err)
{
	static const char first[] = "annals store\nformat ";
	char *end;
	unsigned long format;

	if (strncmp(text, first, sizeof(first) - 1) != 0) {
		return error_fail(
			err, ANNALS_E_CORRUPT_DATA, "'%s' is not the format file of a store", path);
	}
	format = strtoul(text + sizeof(first) - 1, &end, 10);
	if (format > STORE_FORMAT) {
		return error_fail(err, ANNALS_E_FORMAT_NEWER,
			"'%s' says format %lu, this version reads up to %u: use a newer annalsd",
			path, format, STORE_FORMAT);
	}
	if (format == 0 || strncmp(end, "\nuuid ", 6) != 0 || parse_uuid(end + 6, ret_uuid) != 0) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA, "'%s' is damaged", path);
	}
	return 0;
}

static int write_all(int fd, const char *text, size_t size)
{
	while (size > 0) {
		ssize_t written = write(fd, text, size);
		if (written < 0 && errno == EINTR) {
			continue;
		}
		if (written <= 0) {
			return -1;
		}
		text += written;
		size -= (size_t)written;
	}
	return 0;
}

/* Whole or not at all: written beside, synced, renamed, directory synced. */
static int write_format(const char *dir, const char *path, uint8_t ret_uuid[16], struct error *err)
{
	char beside[4104], text[128], uuid[37];
	int fd, size, status = 0;

	uuid_new(ret_uuid);
	uuid_format(uuid, ret_uuid);
	size = snprintf(
		text, sizeof(text), "annals store\nformat %u\nuuid %s\n", STORE_FORMAT, uuid);
	(void)snprintf(beside, sizeof(beside), "%s.new", path);
	fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot create '%s'", beside);
	}
	ANNALS_FAULT("store.before_format");
	if (write_all(fd, text, (size_t)size) != 0 || fsync(fd) != 0) {
		status = error_errno(err, ANNALS_E_IO, errno, "cannot write '%s'", beside);
	}
	(void)close(fd);
	if (status == 0 && rename(beside, path) != 0) {
		status = error_errno(err, ANNALS_E_IO, errno, "cannot rename '%s'", beside);
	}
	ANNALS_FAULT("store.after_format");
	return status != 0 ? status : store_files_sync_dir(dir, err);
}

int store_files_format(const char *dir, bool create, uint8_t ret_uuid[16], struct error *err)
{
	char path[4096], text[256];
	ssize_t size;
	int fd;

	if ((size_t)snprintf(path, sizeof(path), "%s/format", dir) >= sizeof(path)) {
		return error_fail(
			err, ANNALS_E_INVALID, "the path of the data directory is too long");
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		if (errno == ENOENT && create) {
			return write_format(dir, path, ret_uuid, err);
		}
		return errno == ENOENT
			       ? error_fail(
					 err, ANNALS_E_NOT_FOUND, "there is no store in '%s'", dir)
			       : error_errno(err, ANNALS_E_IO, errno, "cannot open '%s'", path);
	}
	size = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	if (size < 0) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot read '%s'", path);
	}
	text[size] = 0;
	return parse_format(path, text, ret_uuid, err);
}
