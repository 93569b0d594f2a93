#include "io.h"

#include <annals/macros.h>
#include <annals/parse.h>
#include <stdio.h>
#include <stdlib.h>

struct option_def {
	const char *name;
	uint64_t standard, min, max;
};

static const struct option_def option_defs[ANNALS_OPTION_COUNT_] = {
#define OPTION_DEF(id, name, standard, min, max, text) {name, standard, min, max},
	ANNALS_OPTION_LIST(OPTION_DEF)
#undef OPTION_DEF
};

struct annals_options *annals_options_new(void)
{
	struct annals_options *options = calloc(1, sizeof(*options));
	if (!options) {
		return NULL;
	}
	for (size_t i = 0; i < ANNALS_OPTION_COUNT_; i++) {
		options->numbers[i] = option_defs[i].standard;
	}
	return options;
}

void annals_options_free(struct annals_options *options)
{
	if (!options) {
		return;
	}
	free(options->servers);
	free(options->client_name);
	free(options->token);
	free(options->producer_name);
	free(options);
}

const char *annals_option_name(enum annals_option option)
{
	return (unsigned)option < ANNALS_OPTION_COUNT_ ? option_defs[option].name : NULL;
}

int annals_options_set(struct annals_options *options, enum annals_option option, uint64_t value,
	struct annals_error *error)
{
	if ((unsigned)option >= ANNALS_OPTION_COUNT_) {
		return client_error(
			error, ANNALS_E_INVALID, "there is no option number %u", (unsigned)option);
	}
	const struct option_def *def = &option_defs[option];
	if (value < def->min || value > def->max) {
		return client_error(error, ANNALS_E_INVALID,
			"'%s' must be from %llu to %llu, not %llu", def->name,
			(unsigned long long)def->min, (unsigned long long)def->max,
			(unsigned long long)value);
	}
	options->numbers[option] = value;
	return ANNALS_OK;
}

uint64_t annals_options_get(const struct annals_options *options, enum annals_option option)
{
	return (unsigned)option < ANNALS_OPTION_COUNT_ ? options->numbers[option] : 0;
}

static int set_text(char **field, const char *text, size_t size_max)
{
	if (text && strlen(text) > size_max) {
		return ANNALS_E_INVALID;
	}
	char *copy = text ? strdup(text) : NULL;
	if (text && !copy) {
		return ANNALS_E_NO_MEMORY;
	}
	free(*field);
	*field = copy;
	return ANNALS_OK;
}

int annals_options_set_servers(
	struct annals_options *options, const char *servers, struct annals_error *error)
{
	size_t count = 0;
	for (const char *at = servers; at;) {
		const char *comma = strchr(at, ',');
		struct bytes part = bytes_of(at, comma ? (size_t)(comma - at) : strlen(at));
		char host[256];
		uint16_t port;
		if (parse_host_port(part, host, &port) != ANNALS_OK || !host[0] || port == 0) {
			return client_error(error, ANNALS_E_INVALID,
				"'%.*s' is no server address; HOST:PORT is expected",
				(int)part.size, (const char *)part.data);
		}
		if (++count > SERVERS_MAX) {
			return client_error(error, ANNALS_E_INVALID,
				"more than %d server addresses", SERVERS_MAX);
		}
		at = comma ? comma + 1 : NULL;
	}
	int status = set_text(&options->servers, servers, SERVERS_MAX * 264);
	return status == ANNALS_OK
		       ? status
		       : client_error(error, status, "cannot keep the server addresses");
}

int annals_options_set_client_name(struct annals_options *options, const char *name)
{
	return set_text(&options->client_name, name, 255);
}

int annals_options_set_producer_name(struct annals_options *options, const char *name)
{
	return set_text(&options->producer_name, name, 249);
}

int annals_options_set_token(struct annals_options *options, const char *token)
{
	return set_text(&options->token, token, 4096);
}

void annals_options_on_state(struct annals_options *options, annals_state_fn *function, void *arg)
{
	options->on_state = function;
	options->on_state_arg = arg;
}

void annals_options_on_delivery(
	struct annals_options *options, annals_delivery_fn *function, void *arg)
{
	options->on_delivery = function;
	options->on_delivery_arg = arg;
}

int options_copy(const struct annals_options *options, struct annals_options **ret)
{
	struct annals_options *copy = annals_options_new();
	if (!copy) {
		return ANNALS_E_NO_MEMORY;
	}
	if (options) {
		*copy = *options;
		copy->servers = copy->client_name = copy->token = copy->producer_name = NULL;
		if (set_text(&copy->servers, options->servers, SIZE_MAX) != ANNALS_OK ||
			set_text(&copy->client_name, options->client_name, SIZE_MAX) != ANNALS_OK ||
			set_text(&copy->token, options->token, SIZE_MAX) != ANNALS_OK ||
			set_text(&copy->producer_name, options->producer_name, SIZE_MAX) !=
				ANNALS_OK) {
			annals_options_free(copy);
			return ANNALS_E_NO_MEMORY;
		}
	}
	*ret = copy;
	return ANNALS_OK;
}
