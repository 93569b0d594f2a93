/* The schema registry from rows that were damaged: a list of key size (1 byte), key, value size (2
 * bytes), value, in key order as LMDB gives them. What is no registry is refused. */
#include "fuzz.h"
#include "registry/registry_internal.h"

#define ROWS_MAX 256u

struct rows {
	struct bytes keys[ROWS_MAX], values[ROWS_MAX];
	size_t count;
};

static int compare(struct bytes a, struct bytes b)
{
	const size_t common = a.size < b.size ? a.size : b.size;
	const int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
	return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static int scan(void *arg, struct bytes prefix,
	int (*fn)(void *arg, struct bytes key, struct bytes value), void *fn_arg, struct error *err)
{
	const struct rows *rows = arg;
	int status = 0;

	(void)err;
	for (size_t i = 0; i < rows->count && status == 0; i++) {
		const struct bytes key = rows->keys[i];
		if (key.size >= prefix.size && memcmp(key.data, prefix.data, prefix.size) == 0) {
			status = fn(fn_arg, key, rows->values[i]);
		}
	}
	return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rows rows;
	struct error err = {0};
	size_t at = 0;

	rows.count = 0;
	while (size - at >= 1 && rows.count < ROWS_MAX) {
		const struct bytes key = bytes_of(data + at + 1, data[at]);
		at += 1;
		if (size - at < key.size + 2) {
			break;
		}
		at += key.size;
		const struct bytes value = bytes_of(data + at + 2, load_u16(data + at));
		at += 2;
		if (size - at < value.size) {
			break;
		}
		at += value.size;
		if (rows.count > 0 && compare(rows.keys[rows.count - 1], key) >= 0) {
			continue;
		}
		rows.keys[rows.count] = key;
		rows.values[rows.count++] = value;
	}
	const int status = registry_rows_check(scan, &rows, &err);
	FUZZ_REQUIRE(status == 0 || status == ANNALS_E_CORRUPT_DATA);
	FUZZ_REQUIRE(status == 0 || err.text[0] != 0);
	return 0;
}
