/* .proto texts to descriptors, by the compiler `protoc` as a child process. */
#ifndef SERVER_PROTOC_H
#define SERVER_PROTOC_H

#include <annals/registry.h>

#define PROTOC_TIME_MS_MAX 5000u
#define PROTOC_MEMORY_BYTES_MAX (1024ull << 20)
#define PROTOC_OUTPUT_BYTES_MAX (16u << 10)     /* of what it says */
#define PROTOC_DESCRIPTOR_BYTES_MAX (16u << 20) /* of what it writes */
#define PROTOC_FILE_NAME_BYTES_MAX 200u

/*
 * For registry_options.compile; arg is not used. Runs `protoc` of the PATH without a shell, in a
 * directory of its own below $TMPDIR or /tmp that is removed afterwards, with the limits above;
 * waits for it, so not for event loops. File names are relative, of [A-Za-z0-9._/-], without "..".
 * Statuses as registry_options says; ANNALS_E_INVALID: the file's name.
 */
int protoc_compile(void *arg, const struct registry_source *source, struct buf *ret_set,
	struct buf *ret_output, struct error *err) ANNALS_MUST_CHECK;

#endif
