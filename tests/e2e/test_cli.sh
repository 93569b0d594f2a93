#!/usr/bin/env bash
# The tool against the built server: every command, its output and its exit codes.
. "$(dirname "$0")/lib.sh"
quakes=$SOURCE_ROOT/examples/data/earthquakes.ndjson

# --- help and usage need no server
export ANNALS_SERVER=127.0.0.1:1
runs 0 --help && shows out 'exit codes'
runs 0 --version && shows out 'annals '
for command in 'append' 'read' 'topic create' 'topic list' 'topic show' 'topic update' 'topic delete' 'offsets show' \
	'offsets commit' 'offsets list' 'dump' 'load' 'status'; do
	# shellcheck disable=SC2086
	runs 0 $command --help && shows out 'examples' && shows out "annals $command"
done
runs 2
runs 2 nonsense && shows err "no command 'nonsense'"
runs 2 topic && shows err 'topic create'
runs 2 topic create && shows err 'arguments are missing'
runs 2 topic create a b
runs 2 topic create a --nonsense && shows err "no option '--nonsense'"
runs 2 topic create a --partitions x && shows err "--partitions does not take 'x'"
runs 2 topic create a --durability maybe
runs 2 topic update a
runs 2 topic delete a && shows err '--yes'
runs 2 read a --output xml && shows err 'ndjson, table or raw'
runs 2 read a --from yesterday && shows err 'no start'
runs 2 read a --from 5 && shows err '--partition'
runs 2 append a --data x && shows err '--type'
runs 2 append a --type t --time noon
runs 2 offsets commit g a x 0 && shows err "'x' is no partition"
runs 2 status --server nowhere
runs 5 status --timeout 200ms && shows err 'is annalsd running'

start_server
runs 0 status && shows out 'protocol 1'

# --- topics
runs 0 topic create t --partitions 4 && shows out "created topic 't' with 4 partitions"
runs 0 topic create t --partitions 4 && shows out 'there was already'
runs 4 topic create t --partitions 5
runs 7 topic create 'no/slash'
runs 0 topic update t --retention-age 7d && shows out '7d'
runs 3 topic update none --retention-age 7d
runs 0 topic show t && shows out 'retention-age     7d'
runs 3 topic show none && shows err "'none'"
runs 0 topic list && same 'topics' "$(cut -f1,2 "$work/out" | tr '\n\t' ' ,')" 'topic,partitions t,4 '
runs 0 topic list x && same 'no topic begins with x' "$(wc -l <"$work/out")" 1

# --- appending events from arguments
runs 2 append t --json --type a --source /s --data 2 3 && shows err 'one --data'
runs 2 read t --schema-version 1 && shows err '--schema-version'
runs 2 read t --json --output raw && shows err 'ndjson'
runs 5 append t --json --http 127.0.0.1:1 --type a --source /s --data 2
runs 0 append t --type a --source /s --key k --data '{"n":1}' && shows out 'partition 0 offset 0'
runs 0 append t --type a --source /s --key k --data 2 3 4
same 'one event per data' "$(tr '\n' ' ' <"$work/out")" 'partition 0 offset 1 partition 0 offset 2 partition 0 offset 3 '
runs 0 append t --type b --source /s --partition 3 --data x --quiet && same 'quiet' "$(cat "$work/out")" ''
runs 3 append t --type b --partition 9 --data x
runs 3 append none --type b --data x
runs 0 read t --partition 0 --output raw && same 'raw' "$(tr '\n' ' ' <"$work/out")" '{"n":1} 2 3 4 '
runs 0 read t --partition 0 --from 2 --output raw && same 'from an offset' "$(tr '\n' ' ' <"$work/out")" '3 4 '
runs 0 read t --partition 0 --from 4 && same 'from the end' "$(cat "$work/out")" ''
runs 3 read t --partition 0 --from 5
runs 3 read t --partition 9
runs 3 read none
runs 0 read t --from latest && same 'latest' "$(cat "$work/out")" ''
runs 0 read t --from -1h --limit 2 && same 'limit' "$(wc -l <"$work/out")" 2
runs 0 read t --from 2001-01-01T00:00:00Z --type b --output raw && same 'type' "$(cat "$work/out")" x
runs 0 read t --type-prefix b --output raw && same 'type prefix' "$(cat "$work/out")" x
# From the end: the same events in falling order of positions, all of them, by partition, by filter, cut anywhere.
by_position() { sed 's/.*"annalsposition":\([0-9]*\).*/\1 &/' | sort -n | cut -d' ' -f2-; }
runs 0 topic create many --partitions 3
for n in $(seq 700); do echo "{\"specversion\":\"1.0\",\"id\":\"m$n\",\"source\":\"/s\",\"type\":\"t$((n % 3))\",\"partitionkey\":\"k$((n % 11))\"}"; done >"$work/many"
"$ANNALS" append many "$work/many" >/dev/null 2>&1 || fail 'append many'
runs 0 read many && by_position <"$work/out" >"$work/forwards"
runs 0 read many --backwards && tac "$work/out" >"$work/got" && same 'backwards' "$(cmp "$work/got" "$work/forwards" 2>&1)" ''
for count in 0 1 57 699 700 5000; do
	runs 0 read many --last $count && same "the last $count" "$(cmp "$work/out" <(tail -n $count "$work/forwards") 2>&1)" ''
done
grep '"type":"t1"' "$work/forwards" | grep '"annalspartition":2' >"$work/some"
runs 0 read many --partition 2 --type t1 --last 20 && same 'the last of a type' "$(cmp "$work/out" <(tail -n 20 "$work/some") 2>&1)" ''
runs 0 read many --partition 2 --backwards --from 9 --limit 4 && same 'backwards from an offset' "$(grep -o '"annalsoffset":[0-9]*' "$work/out" | cut -d: -f2 | tr '\n' ' ')" '9 8 7 6 '
runs 2 read many --last 3 --follow
runs 2 read many --backwards --from earliest
runs 2 read many --last 100001
runs 0 read t --tag none --output raw && same 'no such tag' "$(cat "$work/out")" ''
runs 2 read t --tag "$(seq -s, 33)" && shows err 'at most 32 tags'
runs 0 read t --key k --output table && same 'a table elsewhere than on a terminal' "$(head -n 2 "$work/out" | cut -f1,2,4- | tr '\t\n' ',;')" \
	'partition,offset,type,key,data;0,0,a,k,{"n":1};'
grep -q "$(printf '\033')" "$work/out" && fail 'colours elsewhere than on a terminal'

# --- NDJSON
runs 0 topic create q --partitions 4
runs 0 append q "$quakes" && shows out "appended 1,707 events to 'q'"
runs 0 read q && plain <"$work/out" | sort >"$work/got"
plain <"$quakes" | sort | cmp - "$work/got" || fail 'the events read differ from those appended'
runs 0 topic create bad
{ head -n 3 "$quakes"; echo '{"specversion":"1.0","id":"x"'; head -n 3 "$quakes"; } >"$work/bad"
runs 7 append bad "$work/bad" && shows err "$work/bad line 4" && shows err 'appended only 3 events'
runs 0 read bad && same 'lines before the bad one are stored' "$(wc -l <"$work/out")" 3
head -n 5 "$quakes" | "$ANNALS" append bad >"$work/out" || fail 'append from stdin'
shows out 'appended 5 events'
runs 1 append bad "$work/none" && shows err 'cannot open'
printf '%s\n' '{"specversion":"1.0","id":"due","source":"/e2e","type":"t","annalsdue":"2200-01-01T00:00:00Z"}' >"$work/due"
runs 0 append bad "$work/due" --http "$http" && shows out "appended 1 event to 'bad'" && shows out '1 of them wait until due'
runs 0 append bad "$work/due" --http "$http" # a repeat: it waits already
sed -i 's/2200/2201/' "$work/due"
runs 4 append bad "$work/due" --http "$http" && shows err 'line 1' && shows err 'waits already'
runs 5 append bad "$work/due" --http 127.0.0.1:1
runs 0 read q --limit 10
"$ANNALS" append bad "$work/out" >/dev/null || fail 'what was read cannot be appended again'

# --- following
"$ANNALS" read bad --follow --limit 2 --output raw >"$work/followed" &
follower=$!
sleep 1
runs 0 append bad --type t --data one two
wait $follower || fail 'read --follow'
same 'followed' "$(tr '\n' ' ' <"$work/followed")" 'one two '

# --- offsets
runs 3 offsets show g && shows err "'g'"
runs 0 offsets commit g q 0 100 --metadata 'half way'
runs 0 offsets show g q && same 'committed' "$(tail -n 1 "$work/out" | cut -f1-3,7)" "$(printf 'q\t0\t100\thalf way')"
runs 0 offsets list && shows out g
runs 3 offsets commit g q 9 0
runs 3 offsets commit g none 0 0
runs 3 offsets commit g q 0 999999

# --- dump and load
# same_dump A B: the same events in the same order in each partition; partitions may be interleaved differently.
same_dump() {
	checks=$((checks + 1))
	python3 - "$1" "$2" <<'PY' || fail "dumps $1 and $2 differ"
import struct, sys
def read(name):
    content, at, partitions = open(name, "rb").read(), 16, {}
    while at < len(content):
        _, size, partition, _, offset = struct.unpack_from("<IIIIQ", content, at)
        partitions.setdefault(partition, []).append((offset, content[at + 24:at + 24 + size]))
        at += 24 + size
    return partitions
a, b = map(read, sys.argv[1:])
assert a == b and sum(map(len, a.values())) == 1707
PY
}
runs 0 dump q "$work/q.dump" && runs 4 dump q "$work/q.dump"
runs 0 load copy "$work/q.dump" && shows out 'loaded 1,707 events'
runs 0 dump copy "$work/copy.dump"
same_dump "$work/q.dump" "$work/copy.dump"
runs 4 load copy "$work/q.dump" && runs 0 load copy "$work/q.dump" --resume && shows out 'skipped 1,707'
head -c 300000 "$work/q.dump" >"$work/part.dump"
runs 0 load part "$work/part.dump" && runs 0 load part "$work/q.dump" --resume
runs 0 dump part "$work/part2.dump" && same_dump "$work/q.dump" "$work/part2.dump"
runs 0 dump q "$work/part.dump" --resume && same_dump "$work/q.dump" "$work/part.dump"
python3 - "$work/q.dump" "$work/hurt.dump" <<'PY'
import sys
content = bytearray(open(sys.argv[1], "rb").read())
content[len(content) // 2] ^= 1
open(sys.argv[2], "wb").write(content)
PY
runs 7 load hurt "$work/hurt.dump" && shows err 'is damaged at byte'
runs 0 dump q --format ndjson && mv "$work/out" "$work/q.ndjson" && runs 0 load from-json "$work/q.ndjson"
runs 0 read from-json && plain <"$work/out" | sort | cmp - "$work/got" || fail 'NDJSON dump and load lost something'
runs 7 load plain-json "$quakes" && shows err 'annals append'

# --- on a terminal: colours, aligned tables, and neither with NO_COLOR
on_terminal() {
	python3 - "$@" >"$work/out" <<'PY'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(os.environ["ANNALS"], [os.environ["ANNALS"]] + sys.argv[1:])
shown = b""
while True:
    try:
        part = os.read(fd, 65536)
    except OSError:
        break
    if not part:
        break
    shown += part
os.write(1, shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PY
}
export ANNALS TERM=xterm
on_terminal topic list || fail 'topic list on a terminal'
shows out "$(printf '\033[1mtopic')"
on_terminal read q --limit 2 && shows out "$(printf '\033[1mpartition')" && shows out '  gov.usgs.earthquake '
NO_COLOR=1 on_terminal topic list && shows out 'topic ' && grep -q "$(printf '\033')" "$work/out" && fail 'colours with NO_COLOR'
on_terminal append bad "$quakes" && shows out 'appended 1,707 events'
python3 -c 'for i in range(100000): print("{\"specversion\":\"1.0\",\"id\":\"%d\",\"source\":\"/e2e\",\"type\":\"n\"}" % i)' >"$work/many"
on_terminal append bad "$work/many" && shows out 'appending [' && shows out '/s, '

# --- torture
runs 3 torture --annalsd /nonexistent
runs 2 torture --rounds many
runs 0 torture --annalsd "$ANNALSD" --dir "$work" --rounds 1 --seed 1 && shows out 'PASSED'
[ -z "$(find "$work" -name 'annals-torture-*')" ] || fail 'a run that passed left its directory'

# --- the end
runs 0 topic delete bad --yes && runs 3 topic show bad
stop_server TERM
same 'the server stops with' "$stopped" 0
done_testing
