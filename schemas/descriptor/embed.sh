#!/bin/sh
# embed.sh PROTOC SOURCE_DIR OUTPUT_C: the files that every schema may import, compiled to a FileDescriptorSet, as an array in C.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1" --include_imports --descriptor_set_out="$work/set" --proto_path="$2" \
	google/protobuf/any.proto google/protobuf/api.proto google/protobuf/descriptor.proto google/protobuf/duration.proto \
	google/protobuf/empty.proto google/protobuf/field_mask.proto google/protobuf/source_context.proto google/protobuf/struct.proto \
	google/protobuf/timestamp.proto google/protobuf/type.proto google/protobuf/wrappers.proto annals/options.proto
{
	echo '#include "descriptor/pool.h"'
	echo 'const uint8_t descriptor_builtin_set[] = {'
	od -An -v -tu1 "$work/set" | sed 's/  */ /g; s/^ //; s/ /,/g; s/$/,/'
	echo '};'
	echo 'const size_t descriptor_builtin_set_bytes = sizeof(descriptor_builtin_set);'
} >"$3"
