#!/bin/sh
# generate.sh PROTOC_C PROTO_DIR OUTPUT_DIR NAME: generates NAME.pb-c.c and .h from PROTO_DIR/NAME.proto. The macros X__INIT in the header would warn
# wherever they are used: gcc is told that it is a system header, clang that the cast is meant.
set -eu
"$1" --c_out="$3" --proto_path="$2" "$2/$4.proto"
{
	printf '#pragma GCC system_header\n'
	sed 's/(char \*)protobuf_c_empty_string/(char *)(uintptr_t)protobuf_c_empty_string/g' "$3/$4.pb-c.h"
} >"$3/$4.pb-c.h.new"
mv "$3/$4.pb-c.h.new" "$3/$4.pb-c.h"
