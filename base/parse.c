#include <annals/parse.h>

#include <annals/status.h>

int parse_u64(struct bytes text, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (text.size == 0 || text.size > 20) {
		return ANNALS_E_INVALID;
	}
	for (size_t i = 0; i < text.size; i++) {
		unsigned digit = (unsigned)text.data[i] - '0';
		if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, digit, &value)) {
			return ANNALS_E_INVALID;
		}
	}
	*ret_value = value;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* Digits, then the name of one of `units`. */
static int parse_with_unit(
	struct bytes text, const struct unit *units, size_t unit_count, uint64_t *ret_value)
{
	size_t digits = 0;
	uint64_t value;
	struct bytes name;

	while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') {
		digits++;
	}
	if (parse_u64(bytes_of(text.data, digits), &value) != 0) {
		return ANNALS_E_INVALID;
	}
	name = bytes_of(text.data + digits, text.size - digits);
	for (size_t i = 0; i < unit_count; i++) {
		if (bytes_is(name, units[i].name)) {
			return __builtin_mul_overflow(value, units[i].factor, ret_value)
				       ? ANNALS_E_INVALID
				       : 0;
		}
	}
	return ANNALS_E_INVALID;
}

int parse_size(struct bytes text, uint64_t *ret_bytes)
{
	static const struct unit units[] = {
		{"", 1},
		{"B", 1},
		{"KiB", 1024},
		{"MiB", 1024 * 1024},
		{"GiB", 1024 * 1024 * 1024},
		{"TiB", 1024ull * 1024 * 1024 * 1024},
		{"KB", 1000},
		{"MB", 1000 * 1000},
		{"GB", 1000 * 1000 * 1000},
		{"TB", 1000ull * 1000 * 1000 * 1000},
	};
	uint64_t value;

	if (parse_with_unit(text, units, ANNALS_COUNT_OF(units), &value) != 0) {
		return ANNALS_E_INVALID;
	}
	*ret_bytes = value;
	return 0;
}

int parse_duration_us(struct bytes text, uint64_t *ret_us)
{
	static const struct unit units[] = {
		{"", 1000000},
		{"us", 1},
		{"ms", 1000},
		{"s", 1000000},
		{"m", 60ull * 1000000},
		{"h", 3600ull * 1000000},
		{"d", 86400ull * 1000000},
	};
	uint64_t value;

	if (parse_with_unit(text, units, ANNALS_COUNT_OF(units), &value) != 0) {
		return ANNALS_E_INVALID;
	}
	*ret_us = value;
	return 0;
}

int parse_bool(struct bytes text, bool *ret_value)
{
	static const char *const yes[] = {"true", "yes", "on", "1"};
	static const char *const no[] = {"false", "no", "off", "0"};

	for (size_t i = 0; i < ANNALS_COUNT_OF(yes); i++) {
		if (bytes_is(text, yes[i])) {
			*ret_value = true;
			return 0;
		}
		if (bytes_is(text, no[i])) {
			*ret_value = false;
			return 0;
		}
	}
	return ANNALS_E_INVALID;
}

int parse_host_port(struct bytes text, char ret_host[256], uint16_t *ret_port)
{
	const uint8_t *colon = NULL;
	struct bytes host, digits;
	uint64_t port;

	for (size_t i = text.size; i > 0 && colon == NULL; i--) {
		if (text.data[i - 1] == ':') {
			colon = text.data + i - 1;
		}
	}
	if (colon == NULL) {
		return ANNALS_E_INVALID;
	}
	host = bytes_of(text.data, (size_t)(colon - text.data));
	digits = bytes_of(colon + 1, text.size - host.size - 1);
	if (digits.size > 5 || parse_u64(digits, &port) != 0 || port > UINT16_MAX) {
		return ANNALS_E_INVALID;
	}
	if (host.size >= 2 && host.data[0] == '[' && host.data[host.size - 1] == ']') {
		host = bytes_of(host.data + 1, host.size - 2);
	} else if (memchr(host.data, ':', host.size) != NULL) {
		return ANNALS_E_INVALID;
	}
	if (host.size > 255 || memchr(host.data, 0, host.size) != NULL) {
		return ANNALS_E_INVALID;
	}
	memcpy(ret_host, host.data, host.size);
	ret_host[host.size] = 0;
	*ret_port = (uint16_t)port;
	return 0;
}
