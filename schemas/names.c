#include <annals/names.h>

static bool is_name_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

static int name_check(struct bytes name, size_t size_max, const char *what, struct error *err)
{
	if (name.size == 0) {
		return error_fail(err, ANNALS_E_INVALID, "the %s name is empty", what);
	}
	if (name.size > size_max) {
		return error_fail(err, ANNALS_E_INVALID,
			"the %s name has %zu characters, the limit is %zu", what, name.size,
			size_max);
	}
	for (size_t i = 0; i < name.size; i++) {
		if (!is_name_byte(name.data[i])) {
			return error_fail(err, ANNALS_E_INVALID,
				"the %s name has a character outside [A-Za-z0-9._-] at byte %zu",
				what, i);
		}
	}
	if (bytes_is(name, ".") || bytes_is(name, "..")) {
		return error_fail(err, ANNALS_E_INVALID, "the %s name '%.*s' is reserved", what,
			(int)name.size, (const char *)name.data);
	}
	if (name.size >= 2 && name.data[0] == '_' && name.data[1] == '_') {
		return error_fail(err, ANNALS_E_INVALID,
			"the %s name '%.*s' starts with '__', which is reserved", what,
			(int)name.size, (const char *)name.data);
	}
	return 0;
}

int topic_name_check(struct bytes name, struct error *err)
{
	return name_check(name, TOPIC_NAME_MAX, "topic", err);
}

int group_name_check(struct bytes name, struct error *err)
{
	return name_check(name, GROUP_NAME_MAX, "group", err);
}
