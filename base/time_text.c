/* RFC 3339 date-times. Days are counted with Howard Hinnant's days_from_civil and civil_from_days
 * ("chrono-Compatible Low-Level Date Algorithms"). */
#include <annals/parse.h>
#include <annals/status.h>

static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
	int64_t era;
	unsigned year_of_era, day_of_year, day_of_era;

	year -= month <= 2;
	era = (year >= 0 ? year : year - 399) / 400;
	year_of_era = (unsigned)(year - era * 400);
	day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
	day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
	return era * 146097 + (int64_t)day_of_era - 719468;
}

static void civil_from_days(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
	int64_t era;
	unsigned day_of_era, year_of_era, day_of_year, shifted;

	days += 719468;
	era = (days >= 0 ? days : days - 146096) / 146097;
	day_of_era = (unsigned)(days - era * 146097);
	year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	shifted = (5 * day_of_year + 2) / 153;
	*day = day_of_year - (153 * shifted + 2) / 5 + 1;
	*month = shifted < 10 ? shifted + 3 : shifted - 9;
	*year = (int64_t)year_of_era + era * 400 + (*month <= 2);
}

/* Reads exactly `count` digits and moves on. */
static bool take_number(struct bytes *text, unsigned count, unsigned *ret_value)
{
	unsigned value = 0;

	if (text->size < count) {
		return false;
	}
	for (unsigned i = 0; i < count; i++) {
		unsigned digit = (unsigned)text->data[i] - '0';
		if (digit > 9) {
			return false;
		}
		value = value * 10 + digit;
	}
	*text = bytes_of(text->data + count, text->size - count);
	*ret_value = value;
	return true;
}

static bool take_char(struct bytes *text, char upper)
{
	if (text->size == 0 || (text->data[0] & ~(upper >= 'A' ? 0x20 : 0)) != upper) {
		return false;
	}
	*text = bytes_of(text->data + 1, text->size - 1);
	return true;
}

static bool take_fraction(struct bytes *text, unsigned *ret_ns)
{
	unsigned value = 0, scale = 1000000000, digits = 0;

	while (digits < text->size && text->data[digits] >= '0' && text->data[digits] <= '9') {
		if (digits == 9) {
			return false;
		}
		scale /= 10;
		value += (unsigned)(text->data[digits] - '0') * scale;
		digits++;
	}
	*text = bytes_of(text->data + digits, text->size - digits);
	*ret_ns = value;
	return digits > 0;
}

static bool take_offset(struct bytes *text, int64_t *ret_seconds)
{
	unsigned hours, minutes;
	int sign;

	if (take_char(text, 'Z')) {
		*ret_seconds = 0;
		return true;
	}
	if (take_char(text, '+')) {
		sign = 1;
	} else if (take_char(text, '-')) {
		sign = -1;
	} else {
		return false;
	}
	if (!take_number(text, 2, &hours) || !take_char(text, ':') ||
		!take_number(text, 2, &minutes) || hours > 23 || minutes > 59) {
		return false;
	}
	*ret_seconds = sign * ((int64_t)hours * 3600 + (int64_t)minutes * 60);
	return true;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return month == 2 && leap ? 29 : days[month - 1];
}

int parse_rfc3339(struct bytes text, int64_t *ret_seconds, uint32_t *ret_ns)
{
	unsigned year, month, day, hour, minute, second, fraction = 0;
	int64_t offset;

	if (!take_number(&text, 4, &year) || !take_char(&text, '-') ||
		!take_number(&text, 2, &month) || !take_char(&text, '-') ||
		!take_number(&text, 2, &day) || !(take_char(&text, 'T') || take_char(&text, ' ')) ||
		!take_number(&text, 2, &hour) || !take_char(&text, ':') ||
		!take_number(&text, 2, &minute) || !take_char(&text, ':') ||
		!take_number(&text, 2, &second)) {
		return ANNALS_E_INVALID;
	}
	if (take_char(&text, '.') && !take_fraction(&text, &fraction)) {
		return ANNALS_E_INVALID;
	}
	if (!take_offset(&text, &offset) || text.size != 0) {
		return ANNALS_E_INVALID;
	}
	if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 ||
		minute > 59 || second > 59) {
		return ANNALS_E_INVALID;
	}
	*ret_seconds = days_from_civil(year, month, day) * 86400 + (int64_t)hour * 3600 +
		       (int64_t)minute * 60 + second - offset;
	*ret_ns = fraction;
	return 0;
}

int parse_rfc3339_ns(struct bytes text, int64_t *ret_ns)
{
	unsigned year;
	uint32_t fraction;
	int64_t seconds;
	struct bytes digits = text;

	if (!take_number(&digits, 4, &year) || year < 1678 || year > 2261 ||
		parse_rfc3339(text, &seconds, &fraction) != 0) {
		return ANNALS_E_INVALID;
	}
	*ret_ns = seconds * 1000000000 + fraction;
	return 0;
}

static char *put_number(char *out, unsigned value, unsigned digits)
{
	for (unsigned i = digits; i > 0; i--) {
		out[i - 1] = (char)('0' + value % 10);
		value /= 10;
	}
	return out + digits;
}

size_t format_rfc3339_ns(char out[32], int64_t ns)
{
	int64_t seconds = ns / 1000000000, fraction_ns = ns % 1000000000;

	if (fraction_ns < 0) {
		seconds--;
		fraction_ns += 1000000000;
	}
	return format_rfc3339(out, seconds, (uint32_t)fraction_ns);
}

size_t format_rfc3339(char out[32], int64_t seconds, uint32_t fraction)
{
	int64_t days, year;
	unsigned second_of_day, month, day;
	char *next = out;

	days = seconds / 86400 - (seconds % 86400 < 0);
	second_of_day = (unsigned)(seconds - days * 86400);
	civil_from_days(days, &year, &month, &day);
	next = put_number(next, (unsigned)year, 4);
	*next++ = '-';
	next = put_number(next, month, 2);
	*next++ = '-';
	next = put_number(next, day, 2);
	*next++ = 'T';
	next = put_number(next, second_of_day / 3600, 2);
	*next++ = ':';
	next = put_number(next, second_of_day / 60 % 60, 2);
	*next++ = ':';
	next = put_number(next, second_of_day % 60, 2);
	if (fraction != 0) {
		*next++ = '.';
		if (fraction % 1000000 == 0) {
			next = put_number(next, fraction / 1000000, 3);
		} else if (fraction % 1000 == 0) {
			next = put_number(next, fraction / 1000, 6);
		} else {
			next = put_number(next, fraction, 9);
		}
	}
	*next++ = 'Z';
	*next = 0;
	return (size_t)(next - out);
}
