#!/bin/bash
# A registry client that others wrote, as it is. Skipped where it is not installed: SCHEMA_CLIENT_PYTHON names a Python that has it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
python=${SCHEMA_CLIENT_PYTHON:-python3}
command -v "$python" >/dev/null && command -v protoc >/dev/null || exit 77
"$python" -c 'import confluent_kafka.schema_registry.protobuf' 2>/dev/null || exit 77

mkdir "$work/proto"
cat >"$work/proto/common.proto" <<'PROTO'
syntax = "proto3";
package quake;
message Place { string name = 1; double latitude = 2; double longitude = 3; }
PROTO
cat >"$work/proto/quake.proto" <<'PROTO'
syntax = "proto3";
package quake;
import "common.proto";
import "google/protobuf/timestamp.proto";
message Head { string id = 1; }
message Event { Head head = 1; Place place = 2; google.protobuf.Timestamp at = 3; }
PROTO
protoc -I"$work/proto" --python_out="$work/proto" common.proto quake.proto || fail 'protoc'
start_server
"$python" "$(dirname "$0")/schema_client.py" "http://$http/schema-registry" "$work/proto" >"$work/out" 2>&1 || fail "the session: $(cat "$work/out")"
stop_server TERM
[ "$stopped" -eq 0 ] || fail "the server ended with $stopped"
# What was registered is there after a restart.
start_server
curl -sf "http://$http/schema-registry/subjects/quakes-value/versions" | grep -qx '\[1\]' || fail 'the subject is gone'
echo 'schema client: ok'
