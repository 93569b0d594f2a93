/* Which addresses webhooks may connect to. Pure; any thread. */
#ifndef SERVER_WEBHOOKS_ADDRESS_H
#define SERVER_WEBHOOKS_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/*
 * True for an address of the public Internet. False for what the IANA's registries of
 * special-purpose IPv4 and IPv6 addresses (RFC 6890) keep for other ends: this host, private and
 * shared networks, link-local (where clouds keep credentials: 169.254.169.254), documentation,
 * benchmarking, multicast, reserved; and for every family but IPv4 and IPv6. An IPv4 address inside
 * an IPv6 one (mapped, 6to4, NAT64) is judged for itself.
 */
bool webhook_address_is_public(const struct sockaddr *address, socklen_t size);

#endif
