#!/usr/bin/env bash
# The work queue through the tool: a command per event, failures, parking, replay, seeking. Then kill -9 of
# server and workers while they consume, produce and acknowledge in one commit. ANNALS_TEST_KILLS=100: so often.
. "$(dirname "$0")/lib.sh"

start_server
runs 0 topic create orders --partitions 2
for i in $(seq 20); do printf '{"specversion":"1.0","id":"%d","source":"/e2e","type":"order","partitionkey":"k%d","data":%d}\n' "$i" $((i % 5)) "$i"; done |
	"$ANNALS" append orders >/dev/null || fail 'append'
runs 0 group create billing orders --attempts 2 --no-backoff && shows out 'created'
runs 0 group list && shows out billing
# Number 7 fails; what comes after it in key k2 waits: 12, 17.
runs 0 consume orders --group billing --drain --exec "tee -a '$work/seen' | grep -vq '\"data\":7,\|\"data\":7}'"
runs 0 group show billing && shows out 'parked 1'
same 'handed out' "$(wc -l <"$work/seen")" 19
runs 0 group parked billing && shows out 'the command ended with 1'
runs 0 group parked billing replay --dry-run && shows out 'would replay 1'
stop_server KILL
start_server
runs 0 group show billing && shows out 'parked 1'
runs 0 group parked billing replay && shows out 'replay 1'
runs 0 consume orders --group billing --drain --exec "cat >>'$work/seen'"
same 'everything once, and 7 three times' "$(wc -l <"$work/seen")" 22
runs 0 group show billing && shows out 'lag 0'
python3 - "$work/seen" <<'PY' || fail 'events of a key came out of order'
import json, sys
last = {}
for event in map(json.loads, open(sys.argv[1])):
    key = event["partitionkey"]
    assert event["data"] >= last.get(key, 0), event
    last[key] = event["data"]
assert len(last) == 5
PY
runs 0 group seek billing earliest --dry-run && shows out '20 events come again'
runs 0 group seek billing earliest
runs 0 consume orders --group billing --limit 20 && same 'again' "$(wc -l <"$work/out")" 20
# What happened to number 7 is known, after a restart too.
runs 0 group explain billing orders "$(sed -n 's/.*"annalspartition":\([0-9]*\).*"data":7[,}].*/\1/p' "$work/out")" \
	"$(sed -n 's/.*"annalsoffset":\([0-9]*\).*"data":7[,}].*/\1/p' "$work/out")" && shows out finished && shows out acknowledged
runs 3 group explain nobody orders 0 0
runs 0 group leave billing somebody && shows out '0 leases'
# Partitions in order, two members one after the other, and an event that fails: nothing is lost, nothing repeated.
runs 0 consume orders --group search --by-offset --drain --limit 8 --exec "cat >>'$work/ordered'"
runs 7 consume orders --group search --by-offset --drain --exec "grep -v '\"data\":1[2-9]' >>'$work/ordered'"
runs 0 consume orders --group search --by-offset --drain --exec "cat >>'$work/ordered'"
same 'each once' "$(sort "$work/ordered" | uniq | wc -l) $(wc -l <"$work/ordered")" '20 20'
runs 0 group show search && shows out 'by offset'
# Commands that take longer than the lease, and than the session, while another would like to have the event; an
# event that does not fit into a pipe, for a command that does not read.
runs 0 topic create slow --partitions 1
head -c 300000 /dev/zero | tr '\0' x >"$work/large"
for i in 1 2; do printf '{"specversion":"1.0","id":"%d","source":"/e2e","type":"order","partitionkey":"k","data":"%s"}\n' "$i" "$(cat "$work/large")"; done |
	"$ANNALS" append slow >/dev/null || fail 'append slow'
runs 0 group create patient slow --lease 1s --unlimited
"$ANNALS" consume slow --group patient --lease 1s --limit 1 --exec "sleep 3; echo late >>'$work/patient'" 2>"$work/patient.err" &
slow=$!
"$ANNALS" consume slow --group ordered --by-offset --member one --lease 1s --limit 1 --exec "sleep 3; echo one >>'$work/slow'" 2>"$work/ordered.err" &
steady=$!
sleep 0.5
"$ANNALS" consume slow --group ordered --by-offset --member two --lease 1s --limit 1 --exec "echo two >>'$work/slow'" 2>"$work/two.err" &
second=$!
wait "$slow" || fail "the patient worker: $(cat "$work/patient.err")"
wait "$steady" || fail "the first member: $(cat "$work/ordered.err")"
wait "$second" || fail "the second member: $(cat "$work/two.err")"
same 'acknowledged after three leases' "$(cat "$work/patient.err")" 'annals: 1 acknowledged, 0 refused'
runs 0 group explain patient slow 0 0 && shows out finished && same 'one delivery' "$(grep -c acknowledged "$work/out")" 1
same 'nothing was handled by both' "$(cat "$work/slow")" "one
two"
same 'the first member stayed one' "$(cat "$work/ordered.err")" 'annals: 1 acknowledged, 0 refused'
# One that has lost its event says so: the server was told to give it to others.
(sleep 1 && "$ANNALS" group seek patient latest >/dev/null) &
seeker=$!
"$ANNALS" consume slow --group patient --lease 1s --drain --exec "cat >/dev/null; sleep 3" 2>"$work/patient.err"
grep -q 'was lost while the command ran' "$work/patient.err" || fail "not told of the loss: $(cat "$work/patient.err")"
checks=$((checks + 1))
wait "$seeker"
runs 3 group show nobody
runs 2 group delete billing
runs 0 group delete billing --yes
runs 3 group show billing

# --- consume, produce, acknowledge
runs 0 topic create inputs --partitions 2
runs 0 topic create outputs --partitions 2
kills=${ANNALS_TEST_KILLS:-5}
count=$((kills * 800))
python3 -c '
import sys
for i in range(1, int(sys.argv[1]) + 1):
    print("{\"specversion\":\"1.0\",\"id\":\"%d\",\"source\":\"/e2e\",\"type\":\"n\",\"partitionkey\":\"%d\",\"data\":%d}" % (i, i % 50, i))' "$count" |
	"$ANNALS" append inputs >/dev/null || fail 'append inputs'
runs 0 group create copy inputs --lease 1s --unlimited
cat >"$work/worker.py" <<'PY'
import http.client, json, sys, time
address, member = open(sys.argv[1]).read().strip(), sys.argv[2]
def post(path, body):
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("POST", "/v1/groups/copy/" + path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or "{}")
while True:
    try:
        address = open(sys.argv[1]).read().strip()
        status, polled = post("poll", {"member": member, "max": 10, "waitMs": 200})
        time.sleep(0.01)
        if status != 200 or not polled["events"]:
            time.sleep(0.01)
            continue
        events = [dict(e["event"], type="copy") for e in polled["events"]]
        post("transactions", {"leases": [e["lease"] for e in polled["events"]], "topic": "outputs", "events": events})
    except (OSError, http.client.HTTPException, ValueError):
        time.sleep(0.02)
PY
echo "$http" >"$work/address"
workers=()
worker() { python3 "$work/worker.py" "$work/address" "w$1" & workers[$1]=$!; }
for i in 0 1 2; do worker $i; done
busy=0
for kill in $(seq "$kills"); do
	sleep 0.$((RANDOM % 4 + 1))
	"$ANNALS" group show copy | grep -q 'lag 0 ' || busy=$((busy + 1))
	stop_server KILL
	kill -9 "${workers[$((kill % 3))]}" && wait "${workers[$((kill % 3))]}" 2>/dev/null
	start_server
	echo "$http" >"$work/address"
	worker $((kill % 3))
done
[ "$busy" -ge $((kills * 3 / 4)) ] || fail "only $busy of $kills kills came while there was work"
for _ in $(seq 600); do
	runs 0 group show copy
	grep -q 'lag 0 ' "$work/out" && break
	sleep 0.1
done
kill -9 "${workers[@]}" && wait "${workers[@]}" 2>/dev/null
shows out 'lag 0 '
runs 0 read outputs
python3 - "$work/out" $count <<'PY' || fail 'the outputs are not the inputs'
import json, sys
got = [json.loads(line)["data"] for line in open(sys.argv[1])]
assert sorted(got) == list(range(1, int(sys.argv[2]) + 1)), (len(got), len(set(got)))
PY
checks=$((checks + 1))
stop_server TERM
printf '%d of %d kills came while there was work, %d events\n' "$busy" "$kills" "$count"
done_testing
