#!/bin/sh
# make_quake_sets.sh > quake_sets.h: the descriptors of the examples' earthquake schema, for the tests. Needs protoc and xxd; run it when one of them changes.
set -eu
cd "$(dirname "$0")/../../examples/schemas"
printf '/* FileDescriptorSets of examples/schemas/quake1.proto to quake3.proto, as make_quake_sets.sh\n * made them. */\n'
printf '#ifndef TESTS_QUAKE_SETS_H\n#define TESTS_QUAKE_SETS_H\n\n#include <stdint.h>\n\n/* clang-format off */\n'
for version in 1 2 3; do
	printf 'static const uint8_t quake_set%s[] = {\n' "$version"
	protoc --proto_path=. --proto_path=../../schemas --descriptor_set_out=/dev/stdout "quake$version.proto" | xxd -i
	printf '};\n'
done
printf '/* clang-format on */\n\n#endif\n'
