#!/bin/bash
# The schema registry through the tool: register, list, show, check, delete; a restart and a kill.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v protoc >/dev/null || exit 77
cd "$work" || exit 1

says() { # TEXT: the last run's output has it
	grep -qF -- "$1" out err || fail "nothing says '$1': $(cat out err)"
}

cat >quake.proto <<'PROTO'
syntax = "proto3";
package quake;
import "annals/options.proto";
message Event { string id = 1 [(annals.key) = true]; double depth = 2; }
PROTO
sed 's/double depth = 2;/double depth = 2; string place = 3;/' quake.proto >quake2.proto
sed 's/double depth = 2;/string depth = 2;/' quake.proto >bad.proto
sed 's/double depth = 2;/no depth = 2;/' quake.proto >wrong.proto

start_server
export ANNALS_HTTP=$http
runs 0 schema list
runs 0 schema register quake.Event quake.proto
says "registered version 1 of 'quake.Event', schema id 1"
runs 0 schema register quake.Event quake.proto
says 'there was already version 1'
runs 0 schema check quake.Event quake2.proto
says 'field-added'
runs 4 schema check quake.Event bad.proto
says 'quake.Event.depth'
runs 0 schema check quake.Event bad.proto --level none
runs 4 schema register quake.Event bad.proto
says 'field-type-changed'
runs 7 schema register quake.Event wrong.proto
says 'wrong.proto:4'
runs 7 schema register quake.Event missing.proto
runs 0 schema register quake.Event quake2.proto --file quake.proto
runs 0 schema show quake.Event
says 'quake.Event'
[ "$(wc -l <out)" -eq 3 ] || fail "versions: $(cat out)"
runs 0 schema show quake.Event 1 --format proto
cmp -s out quake.proto || fail 'the text is another one'
runs 0 schema show quake.Event latest --format set
cp out quake.pb
runs 0 schema register quakes-value quake.pb
says 'schema id 3'
runs 0 schema show quake.Event latest --format jsonschema
says '"place"'
runs 3 schema show quake.Event 9
runs 3 schema show none

# Against stored events: the second has a field that version 1 does not know.
runs 0 topic create quakes
runs 0 append quakes --type quake.Event --source /q --content-type application/x-protobuf --data $'\n\002us'
runs 0 append quakes --type quake.Event --source /q --content-type application/x-protobuf --data $'\n\002us\032\001x'
runs 4 schema check quake.Event quake.proto --topic quakes
says 'loses-fields'
runs 0 schema check quake.Event quake2.proto --topic quakes

# Acknowledged is durable.
stop_server KILL
start_server
export ANNALS_HTTP=$http
runs 0 schema list quake.
says '2'
runs 0 schema show quake.Event 1 --format proto
cmp -s out quake.proto || fail 'the text is another one after a kill'
runs 0 schema register quake.Event quake.proto
says 'there was already version 1'

runs 2 schema delete quake.Event
runs 4 schema delete quake.Event 1 --yes --permanent
runs 0 schema delete quake.Event 1 --yes
runs 0 schema delete quake.Event --yes
says 'deleted versions [2]'
runs 0 schema delete quake.Event --yes --permanent
runs 0 schema register quake.Event quake.proto
says 'registered version 3'
says 'schema id 1'
stop_server TERM
[ "$stopped" -eq 0 ] || fail "the server ended with $stopped"
ANNALS_HTTP=127.0.0.1:1 runs 5 schema list
echo "schema: $checks checks passed"
