/* Stands in for what is not merged yet, so that the program links: verify says so. */
#include <annals/storage.h>

__attribute__((weak)) int store_verify(const struct verify_options *options ANNALS_UNUSED,
	struct verify_report *ret ANNALS_UNUSED, struct error *err)
{
	return error_fail(err, ANNALS_E_UNSUPPORTED_OPERATION, "verify is not built in");
}
