#!/bin/sh
# make_sample_set.sh > sample_set.h: the descriptors of the sample schemas, for the tests. Needs protoc and xxd; run it when one of them changes.
set -eu
cd "$(dirname "$0")"
printf '/* FileDescriptorSet of sample3.proto, sample2.proto and what they import, as make_sample_set.sh made it. */\n'
printf '#ifndef TESTS_SAMPLE_SET_H\n#define TESTS_SAMPLE_SET_H\n\n#include <stdint.h>\n\n/* clang-format off */\n'
printf 'static const uint8_t sample_set[] = {\n'
protoc --include_imports --descriptor_set_out=/dev/stdout sample3.proto sample2.proto | xxd -i
printf '};\n/* clang-format on */\n\n#endif\n'
