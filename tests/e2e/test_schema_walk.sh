#!/bin/bash
# The walk through the earthquake schema in docs/schemas.md, command by command; then the same over HTTP after a kill, the well-known types and descriptor.proto itself.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v protoc >/dev/null || exit 77
cd "$SOURCE_ROOT" || exit 1
mkdir "$work/bin"
ln -s "$(realpath "$ANNALS")" "$work/bin/annals"
export PATH=$work/bin:$PATH

get() { # PATH WHAT: the answer to a GET holds this text
	checks=$((checks + 1))
	curl -sS "http://$http$1" >"$work/out" || fail "GET $1"
	grep -qF -- "$2" "$work/out" || fail "GET $1 does not show '$2': $(head -c 2000 "$work/out")"
}
post() { # TYPE CONTENT_TYPE DATA STATUS: one event in binary mode
	checks=$((checks + 1))
	local status
	status=$(curl -sS -o "$work/out" -w '%{http_code}' -H 'ce-specversion: 1.0' -H "ce-id: $checks" -H "ce-type: $1" -H 'ce-source: /s' \
		-H "Content-Type: $2" --data-binary "$3" "http://$http/v1/topics/quakes/events")
	[ "$status" = "$4" ] || fail "$1: $status: $(cat "$work/out")"
}

start_server
export ANNALS_HTTP=$http
python3 tests/e2e/walk.py docs/schemas.md 'A walk through versions' || fail 'the walk through docs/schemas.md'

# The registry and what is stored outlive a kill, and HTTP shows the same.
stop_server KILL
start_server
export ANNALS_HTTP=$http
get '/v1/topics/quakes/partitions/0/events/0?data=json' '"data":{"quakeId":"uw61345682","originTime":"2018-01-31T01:49:59.650Z","latitude":46.2035'
get '/v1/topics/quakes/partitions/0/events/3?data=json&schemaVersion=1' '"annalslost":"unknown-field 8,unknown-field 9,unknown-field 10"'
get '/v1/topics/quakes/events?data=json&schemaVersion=3' '"origin":{"latitude":36.8543,"longitude":-104.8072,"depthKm":4.1}'

# All of the sample in each version, read back as each version.
for version in 1 2 3; do
	python3 examples/schemas/quake_events.py $version <examples/data/earthquakes.ndjson >"$work/v$version"
	runs 0 topic create "v$version" --validation enforce
	runs 0 append "v$version" --json "$work/v$version"
	for as in 1 2 3; do
		runs 0 read "v$version" --json --schema-version $as
		same "events of version $version as $as" "$(wc -l <"$work/out")" "$(wc -l <"$work/v$version")"
	done
	# As its own version nothing is lost, and the data is what was sent (defaults are not printed).
	runs 0 read "v$version" --json --schema-version $version
	grep -q annalslost "$work/out" && fail "version $version loses something as itself"
	checks=$((checks + 1))
	python3 - "$work/v$version" "$work/out" <<'PYTHON' || fail "version $version comes back as something else"
import json, sys
def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v != 0}
    return value.replace(".000Z", "Z") if isinstance(value, str) else value
sent, got = ([plain(json.loads(line)["data"]) for line in open(path)] for path in sys.argv[1:])
sys.exit(sent != got)
PYTHON
done

# What was read can be appended again, tags included.
runs 0 topic create copy
"$ANNALS" read v2 >"$work/v2"
runs 0 append copy "$work/v2"
runs 0 read copy
same 'tags of the copy' "$(grep -c '"annalstags":"status:STATUS_' "$work/out")" "$(wc -l <"$work/v2")"

# descriptor.proto is a schema like others, and a message of it an event like others.
protoc --include_imports --descriptor_set_out="$work/descriptor.pb" google/protobuf/descriptor.proto
runs 0 schema register google.protobuf.FileDescriptorSet "$work/descriptor.pb"
post google.protobuf.FileDescriptorSet application/protobuf "@$work/descriptor.pb" 200
runs 0 read quakes --json --type google.protobuf.FileDescriptorSet
checks=$((checks + 1))
python3 -c '
import json, sys
files = json.load(open(sys.argv[1]))["data"]["file"]
names = {field["name"]: field["type"] for field in files[0]["messageType"][0]["field"]}
assert files[0]["name"] == "google/protobuf/descriptor.proto" and names["file"] == "TYPE_MESSAGE"' "$work/out" || fail 'descriptor.proto as JSON'

stop_server TERM
start_server
export ANNALS_HTTP=$http
runs 0 read quakes --json --type google.protobuf.FileDescriptorSet
shows out '"TYPE_MESSAGE"'

# The well-known types, in and out.
cat >"$work/all.proto" <<'PROTO'
syntax = "proto3";
package wkt;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message All {
  google.protobuf.Any any = 1;
  google.protobuf.Duration duration = 2;
  google.protobuf.Empty empty = 3;
  google.protobuf.FieldMask mask = 4;
  google.protobuf.Struct struct = 5;
  google.protobuf.Timestamp time = 6;
  google.protobuf.Int64Value number = 7;
}
PROTO
runs 0 schema register wkt.All "$work/all.proto"
json='{"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1.500s"},"duration":"-3s","empty":{},"mask":"fooBar,b.c","struct":{"a":[1,null,"x"]},"time":"2018-01-31T01:49:59.650Z","number":"9007199254740993"}'
post wkt.All application/json "$json" 200
runs 0 read quakes --json --type wkt.All
shows out "\"data\":$json"
post wkt.All application/json '{"time":"yesterday"}' 422
grep -qF "'time'" "$work/out" || fail "no path: $(cat "$work/out")"

# Verification reads the registry too.
stop_server TERM
checks=$((checks + 1))
"$ANNALSD" verify "$data" >"$work/out" 2>"$work/err" || fail "verify: $(cat "$work/out" "$work/err")"
done_testing
