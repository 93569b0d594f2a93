#include "damage.h"
#include "options.h"
#include "reload.h"
#include "server.h"
#include "signals.h"
#include "verify_command.h"
#include <annals/build.h>
#include <annals/log.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

static int print(int (*fill)(struct buf *out))
{
	struct buf out = BUF_INIT;
	int failed = fill(&out) != 0 || fwrite(out.data, 1, out.size, stdout) != out.size ||
		     fflush(stdout) != 0;
	buf_release(&out);
	return failed ? 1 : 0;
}

static int run_print(const char *format)
{
	if (strcmp(format, "markdown") == 0) {
		return print(options_print_markdown);
	}
	if (strcmp(format, "man") == 0) {
		return print(options_print_man);
	}
	(void)fprintf(stderr, "annalsd: --print-options=markdown or --print-options=man\n");
	return 2;
}

/* As many descriptors as the system lets us have, up to what connections-max needs. */
static void raise_file_limit(const struct options *options)
{
	struct rlimit limit;
	rlim_t wanted = options->connections_max + 1024;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
		return;
	}
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
		log_info("fewer open files are allowed than connections-max needs", "allowed",
			log_u64(limit.rlim_cur), "wanted", log_u64(wanted), "hint",
			"raise ulimit -n");
	}
}

static int write_pid_file(const char *path)
{
	FILE *file;
	if (path[0] == 0) {
		return 0;
	}
	file = fopen(path, "we");
	if (file == NULL || fprintf(file, "%ld\n", (long)getpid()) < 0) {
		log_error("cannot write the pid file", "file", path, "error", strerror(errno));
		if (file != NULL) {
			(void)fclose(file);
		}
		return -1;
	}
	return fclose(file);
}

static void serve(struct server *server, int argc, char **argv, struct options **options)
{
	while (signals_wait() == SIGNALS_RELOAD) {
		reload_options(server, argc, argv, environ, options);
	}
	log_info("stopping", "connections", log_u64(atomic_load(&server->connections)));
	(void)server_drain(server);
}

static int run(int argc, char **argv, struct options **options)
{
	struct server server;
	struct error err = {0};
	char pid_file[4096];

	reload_logging(*options);
	if (signals_open(&err) != 0) {
		log_error("cannot start", "error", err.text);
		return 1;
	}
	raise_file_limit(*options);
	(void)snprintf(pid_file, sizeof(pid_file), "%s", (*options)->pid_file);
	log_info("starting", "version", ANNALS_VERSION, "data-dir", (*options)->data_dir, "journal",
		(*options)->journal, "loops", log_u64((*options)->loops));
	if (server_start(&server, *options, &err) != 0) {
		log_error("cannot start", "error", err.text);
		return 1;
	}
	damage_watch(server.store, (*options)->data_dir);
	if (write_pid_file(pid_file) != 0) {
		server_stop(&server);
		return 1;
	}
	log_info("ready", "store", server.uuid, "http-port", log_u64(server.http_port),
		"binary-port", log_u64(server.binary_port));
	serve(&server, argc, argv, options);
	server_stop(&server);
	if (pid_file[0] != 0) {
		(void)unlink(pid_file);
	}
	log_info("stopped");
	return 0;
}

int main(int argc, char **argv)
{
	struct options_request request;
	struct error err = {0};
	struct options *options = calloc(1, sizeof(*options));
	int code = 2;

	if (options == NULL || options_load(argc, argv, environ, options, &request, &err) != 0) {
		(void)fprintf(
			stderr, "annalsd: %s\n", options == NULL ? "out of memory" : err.text);
		free(options);
		return code;
	}
	switch (request.command) {
	case OPTIONS_HELP:
		code = print(options_print_help);
		break;
	case OPTIONS_VERSION:
		code = printf("annalsd %s\n", ANNALS_VERSION) < 0;
		break;
	case OPTIONS_PRINT:
		code = run_print(request.argument);
		break;
	case OPTIONS_VERIFY:
		code = verify_command(request.argument, options);
		break;
	case OPTIONS_SALVAGE:
		code = salvage_command(request.argument, request.second, options);
		break;
	case OPTIONS_RUN:
		code = run(argc, argv, &options);
		break;
	}
	options_release(options);
	free(options);
	return code;
}
