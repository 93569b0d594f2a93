#include "webhooks/address.h"
#include <annals/bytes.h>
#include <annals/macros.h>
#include <netinet/in.h>

static bool is_public_v4(uint32_t address)
{
	static const struct {
		uint32_t network;
		unsigned bits;
	} special[] = {
		{0x00000000, 8},  /* this network */
		{0x0a000000, 8},  /* private */
		{0x64400000, 10}, /* shared by carriers */
		{0x7f000000, 8},  /* loopback */
		{0xa9fe0000, 16}, /* link-local */
		{0xac100000, 12}, /* private */
		{0xc0000000, 24}, /* protocol assignments */
		{0xc0000200, 24}, /* documentation */
		{0xc0586300, 24}, /* 6to4 relays */
		{0xc0a80000, 16}, /* private */
		{0xc6120000, 15}, /* benchmarking */
		{0xc6336400, 24}, /* documentation */
		{0xcb007100, 24}, /* documentation */
		{0xe0000000, 4},  /* multicast */
		{0xf0000000, 4},  /* reserved, broadcast */
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(special); i++) {
		if ((address ^ special[i].network) >> (32 - special[i].bits) == 0) {
			return false;
		}
	}
	return true;
}

static bool begins_with(const uint8_t address[16], const void *prefix, size_t size)
{
	return memcmp(address, prefix, size) == 0;
}

static bool is_public_v6(const uint8_t address[16])
{
	if (begins_with(address, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) ||
		begins_with(address, "\0\x64\xff\x9b\0\0\0\0\0\0\0\0", 12)) {
		return is_public_v4(load_u32_be(address + 12));
	}
	if (begins_with(address, "\x20\x02", 2)) {
		return is_public_v4(load_u32_be(address + 2));
	}
	/* Only 2000::/3 is assigned for use; in it 2001::/23 is for protocols (Teredo among them),
	 * 2001:db8::/32 and 3fff::/20 are for documentation. */
	if ((address[0] & 0xe0) != 0x20) {
		return false;
	}
	return !(begins_with(address, "\x20\x01", 2) && (address[2] & 0xfe) == 0) &&
	       !begins_with(address, "\x20\x01\x0d\xb8", 4) &&
	       !(begins_with(address, "\x3f\xff", 2) && (address[2] & 0xf0) == 0);
}

bool webhook_address_is_public(const struct sockaddr *address, socklen_t size)
{
	if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in v4;
		memcpy(&v4, address, sizeof(v4));
		return is_public_v4(ntohl(v4.sin_addr.s_addr));
	}
	if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 v6;
		memcpy(&v6, address, sizeof(v6));
		return is_public_v6(v6.sin6_addr.s6_addr);
	}
	return false;
}
