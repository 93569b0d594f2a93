#include "reload.h"
#include <annals/log.h>
#include <stdlib.h>
#include <string.h>

void reload_logging(const struct options *options)
{
	enum log_level level = LOG_LEVEL_INFO;
	/* The table allows known names only. */
	(void)!log_level_parse(options->log_level, &level);
	log_configure(level,
		strcmp(options->log_format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
}

/* Puts the old value back where a restart is needed. Returns whether something was put back or has
 * changed. */
static void settle(const struct option_def *def, struct options *fresh, const struct options *old)
{
	struct buf before = BUF_INIT;
	struct buf after = BUF_INIT;
	if (option_format(old, def, &before) != 0 || option_format(fresh, def, &after) != 0) {
		log_warning("out of memory while comparing options, ignoring", "option", def->name);
	} else if (!bytes_equal(buf_bytes(&before), buf_bytes(&after))) {
		if (def->reloadable) {
			log_info("option changed", "option", def->name, "from", buf_text(&before),
				"to", buf_text(&after));
		} else {
			log_warning("option needs a restart to change", "option", def->name, "is",
				buf_text(&before), "wanted", buf_text(&after));
		}
	}
	buf_release(&before);
	buf_release(&after);
	if (!def->reloadable) {
		void *to = (char *)fresh + def->place;
		const void *from = (const char *)old + def->place;
		if (def->type == OPTION_TEXT || def->type == OPTION_CHOICE) {
			char *copy = strdup(*(char *const *)from);
			if (copy != NULL) {
				free(*(char **)to);
				*(char **)to = copy;
			}
		} else {
			memcpy(to, from, sizeof(uint64_t));
		}
	}
}

void reload_options(struct server *server, int argc, char *const *argv, char *const *environment,
	struct options **current)
{
	struct options_request request;
	struct error err = {0};
	struct options *fresh = calloc(1, sizeof(*fresh));
	const struct option_def *defs;
	size_t count;
	if (fresh == NULL) {
		log_error("cannot reload the options: out of memory");
		return;
	}
	if (options_load(argc, argv, environment, fresh, &request, &err) != 0) {
		log_error("cannot reload the options, keeping the old ones", "error", err.text);
		free(fresh);
		return;
	}
	defs = option_defs(&count);
	for (size_t i = 0; i < count; i++) {
		settle(&defs[i], fresh, *current);
	}
	reload_logging(fresh);
	server_publish_options(server, fresh);
	/* Every loop has answered that it uses the new ones. */
	options_release(*current);
	free(*current);
	*current = fresh;
	log_info("options reloaded");
}
