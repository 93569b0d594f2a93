#!/usr/bin/env bash
# The main job: real events, kill -9, replay; then kill -9 while a producer is at work.
. "$(dirname "$0")/lib.sh"
quakes=$SOURCE_ROOT/examples/data/earthquakes.ndjson

start_server
runs 0 topic create quakes --partitions 4
head -n 900 "$quakes" | "$ANNALS" append quakes >/dev/null || fail 'append'
runs 0 offsets commit dashboards quakes 0 50
stop_server KILL
start_server
runs 0 offsets show dashboards && same 'the offset survives kill -9' "$(tail -n 1 "$work/out" | cut -f3)" 50
runs 0 read quakes && plain <"$work/out" | sort >"$work/got"
head -n 900 "$quakes" | plain | sort | cmp - "$work/got" || { head -n 900 "$quakes" | plain | sort | diff - "$work/got" | head -6; fail "kill -9 lost or changed events"; }
tail -n +901 "$quakes" | "$ANNALS" append quakes >/dev/null || fail 'append after the restart'
runs 0 read quakes && mv "$work/out" "$work/all"
plain <"$work/all" | sort >"$work/got"
plain <"$quakes" | sort | cmp - "$work/got" || fail 'the replay differs from the input'
python3 - "$quakes" "$work/all" <<'PY' || fail 'order or offsets are wrong'
import json, sys
sent, got = ([json.loads(line) for line in open(name)] for name in sys.argv[1:])
for key in {event["partitionkey"] for event in sent}:
    order = [[e["id"] for e in events if e["partitionkey"] == key] for events in (sent, got)]
    assert order[0] == order[1], key
for partition in range(4):
    offsets = [int(e["annalsoffset"]) for e in got if e["annalspartition"] == partition]
    assert offsets == list(range(len(offsets))), partition
PY
checks=$((checks + 3))

# --- a producer that keeps going while the server is killed under it, again and again
runs 0 topic create load --partitions 2
python3 -c '
import time
for i in range(30000):
    print("{\"specversion\":\"1.0\",\"id\":\"%d\",\"source\":\"/e2e\",\"type\":\"n\",\"partitionkey\":\"%d\"}" % (i, i % 7), flush=i % 100 == 0)
    if i % 100 == 0: time.sleep(0.01)' | "$ANNALS" append load --timeout 60s >"$work/appended" 2>&1 &
producer=$!
for round in 1 2 3; do
	sleep 0.8
	stop_server KILL
	start_server "$binary"
	checks=$((checks + 1))
	kill -0 $producer 2>/dev/null || { [ "$round" -gt 1 ] || fail "the producer gave up: $(cat "$work/appended")"; }
done
wait $producer || fail "the producer failed: $(cat "$work/appended")"
runs 0 read load && mv "$work/out" "$work/all"
python3 - "$work/all" <<'PY' || fail 'an acknowledged event is missing or out of order'
import json, sys
first = {}
for line in open(sys.argv[1]):
    event = json.loads(line)
    first.setdefault(event["partitionkey"], {}).setdefault(int(event["id"]), None)
assert sum(map(len, first.values())) == 30000, sum(map(len, first.values()))
for ids in first.values():
    assert list(ids) == sorted(ids)
PY
checks=$((checks + 1))
stop_server TERM
same 'the server stops with' "$stopped" 0
done_testing
