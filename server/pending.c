/* Stands in for what is not merged yet, so that the program links: HTTP answers nothing, verify
 * says so. */
#include "protocol.h"
#include <annals/storage.h>

static ssize_t no_input(struct conn *conn ANNALS_UNUSED, struct bytes input ANNALS_UNUSED)
{
	return PROTOCOL_CLOSE;
}

__attribute__((weak)) const struct protocol_ops protocol_http = {
	.name = "http", .request_size = 256, .ordered = true, .input = no_input};

__attribute__((weak)) int store_verify(const struct verify_options *options ANNALS_UNUSED,
	struct verify_report *ret ANNALS_UNUSED, struct error *err)
{
	return error_fail(err, ANNALS_E_UNSUPPORTED_OPERATION, "verify is not built in");
}
