/*
 * CRC32C (Castagnoli polynomial 0x1EDC6F41, reflected 0x82F63B78, initial and final value
 * 0xFFFFFFFF), as in iSCSI (RFC 3720, appendix B.4) and SSE4.2's crc32 instruction, which is used
 * where the processor has it (three interleaved lanes), with a table otherwise. Check value:
 * crc32c(0, "123456789", 9) = 0xE3069283. Any thread.
 */
#ifndef ANNALS_CRC32C_H
#define ANNALS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues a checksum; start with crc = 0. crc32c(crc32c(0, a), b) == crc32c(0, a followed by b).
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);
/* The portable version, for tests of the other. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size);

#endif
