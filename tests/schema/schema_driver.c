/*
 * Answers questions about schemas for oracle.py, over stdin and stdout.
 *
 * A case is one verb byte and three parts, each a 32-bit little-endian length and that many bytes.
 * An answer is a 32-bit little-endian status and one part: a result, or the error's text.
 *
 *   D set -    -        build a pool on what is built in; it is used by all later cases
 *   O set -    -        build the "old" pool for C and P
 *   V type bytes flags  validate; flags: bits 0 unknown fields, 1 unknown enums, 2 wire mismatch
 *                       allowed, 3 required may be missing
 *   P type bytes -      project a message of the old pool to the new one
 *   C file -    -       compare the file of the old pool with that of the new; a line per finding:
 *                       rule, breaks, path
 *   T file -    -       print a file of the new pool as .proto source
 */
#include <annals/buf.h>
#include <annals/compat.h>
#include <annals/descriptor.h>
#include <annals/project.h>
#include <annals/validate.h>
#include <stdio.h>
#include <stdlib.h>

struct driver {
	struct descriptor_pool *builtin, *pool, *old;
	struct buf parts[3];
	struct buf out;
	struct error err;
};

static int build(struct driver *driver, struct descriptor_pool **pool)
{
	descriptor_pool_unref(*pool);
	*pool = NULL;
	return descriptor_pool_build(
		driver->builtin, buf_bytes(&driver->parts[0]), pool, &driver->err);
}

static const struct descriptor_message *type_of(
	struct driver *driver, const struct descriptor_pool *pool)
{
	const struct descriptor_message *type =
		pool == NULL ? NULL
			     : descriptor_pool_find_message(pool, buf_bytes(&driver->parts[0]));
	if (type == NULL) {
		(void)error_fail(&driver->err, ANNALS_E_NOT_FOUND, "there is no such type");
	}
	return type;
}

/* Copied to the exact size, so that sanitizers see a read past the end. */
static int validate(struct driver *driver)
{
	const struct descriptor_message *type = type_of(driver, driver->pool);
	const struct buf *in = &driver->parts[1];
	const unsigned flags = driver->parts[2].size > 0 ? driver->parts[2].data[0] : 0;
	const struct validate_options options = {.refuse_unknown_fields = (flags & 1) != 0,
		.refuse_unknown_enums = (flags & 2) != 0,
		.allow_wire_mismatch = (flags & 4) != 0,
		.allow_missing_required = (flags & 8) != 0};
	struct validate_result result;
	uint8_t *exact = malloc(in->size + 1);
	if (type == NULL || exact == NULL) {
		free(exact);
		return ANNALS_E_NOT_FOUND;
	}
	if (in->size > 0) {
		memcpy(exact + 1, in->data, in->size);
	}
	int status = validate_message(
		type, bytes_of(exact + 1, in->size), &options, &result, &driver->err);
	free(exact);
	return status == 0 ? buf_add(&driver->out, &result, sizeof(result)) : status;
}

static int project(struct driver *driver)
{
	const struct descriptor_message *old_type = type_of(driver, driver->old);
	const struct descriptor_message *new_type = type_of(driver, driver->pool);
	struct project_report report;
	if (old_type == NULL || new_type == NULL) {
		return ANNALS_E_NOT_FOUND;
	}
	return project_message(old_type, new_type, buf_bytes(&driver->parts[1]), 1u << 20,
		&driver->out, &report, &driver->err);
}

static int compare(struct driver *driver)
{
	const struct bytes name = buf_bytes(&driver->parts[0]);
	const struct descriptor_file *old_file = descriptor_pool_find_file(driver->old, name);
	const struct descriptor_file *new_file = descriptor_pool_find_file(driver->pool, name);
	struct compat_report report = {0};
	if (old_file == NULL || new_file == NULL) {
		return error_fail(&driver->err, ANNALS_E_NOT_FOUND, "there is no such file");
	}
	int status = compat_compare_files(old_file, new_file, &report, &driver->err);
	for (size_t i = 0; status == 0 && i < report.count; i++) {
		const struct compat_finding *finding = &report.findings[i];
		status = buf_printf(&driver->out, "%s %u %s\n", compat_rule_name(finding->rule),
			finding->breaks, finding->path);
	}
	compat_report_release(&report);
	return status;
}

static int print(struct driver *driver)
{
	const struct descriptor_file *file =
		driver->pool == NULL
			? NULL
			: descriptor_pool_find_file(driver->pool, buf_bytes(&driver->parts[0]));
	if (file == NULL) {
		return error_fail(&driver->err, ANNALS_E_NOT_FOUND, "there is no such file");
	}
	return descriptor_print(file, &driver->out);
}

struct verb {
	char name;
	int (*run)(struct driver *driver);
};

static int build_new(struct driver *driver)
{
	return build(driver, &driver->pool);
}

static int build_old(struct driver *driver)
{
	return build(driver, &driver->old);
}

static const struct verb verbs[] = {{'C', compare}, {'D', build_new}, {'O', build_old},
	{'P', project}, {'T', print}, {'V', validate}};

static int read_part(struct buf *part)
{
	uint8_t size[4];
	part->size = 0;
	if (fread(size, 1, sizeof(size), stdin) != sizeof(size) ||
		buf_reserve(part, load_u32(size)) != 0 ||
		fread(part->data, 1, load_u32(size), stdin) != load_u32(size)) {
		return -1;
	}
	part->size = load_u32(size);
	return 0;
}

static void answer(struct driver *driver, int status)
{
	const struct bytes text = status == 0
					  ? buf_bytes(&driver->out)
					  : bytes_of(driver->err.text, strlen(driver->err.text));
	uint8_t head[8];
	store_u32(head, (uint32_t)status);
	store_u32(head + 4, (uint32_t)text.size);
	fwrite(head, 1, sizeof(head), stdout);
	if (text.size > 0) {
		fwrite(text.data, 1, text.size, stdout);
	}
	fflush(stdout);
}

int main(void)
{
	static struct driver driver;
	if (descriptor_pool_builtin(&driver.builtin, &driver.err) != 0) {
		fprintf(stderr, "%s\n", driver.err.text);
		return 1;
	}
	int verb;
	while ((verb = getchar()) != EOF) {
		int status = ANNALS_E_UNSUPPORTED_OPERATION;
		for (size_t i = 0; i < ANNALS_COUNT_OF(driver.parts); i++) {
			if (read_part(&driver.parts[i]) != 0) {
				return 1;
			}
		}
		driver.out.size = 0;
		for (size_t i = 0; i < ANNALS_COUNT_OF(verbs); i++) {
			if (verbs[i].name == verb) {
				status = verbs[i].run(&driver);
			}
		}
		answer(&driver, status);
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(driver.parts); i++) {
		buf_release(&driver.parts[i]);
	}
	buf_release(&driver.out);
	descriptor_pool_unref(driver.pool);
	descriptor_pool_unref(driver.old);
	descriptor_pool_unref(driver.builtin);
	return 0;
}
