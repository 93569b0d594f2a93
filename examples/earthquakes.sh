#!/usr/bin/env bash
# The main job on real input: 1,707 seismic events of one week (USGS all-week feed, 31 January to 6 February 2018, public domain)
# go into Annals, half over HTTP and half over the binary protocol; one consumer group stops half-way; then the whole history is
# replayed to a new group and the rest to the first. Everything is compared with the input.
#
# usage: examples/earthquakes.sh [--once] [--data-dir DIR] [--http HOST:PORT] [--binary HOST:PORT]
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

once=0 data_dir= http=127.0.0.1:7480 binary=127.0.0.1:7450
while [ $# -gt 0 ]; do
	case $1 in
	--once) once=1 ;;
	--data-dir) data_dir=$2 && shift ;;
	--http) http=$2 && shift ;;
	--binary) binary=$2 && shift ;;
	*)
		printf 'usage: %s [--once] [--data-dir DIR] [--http HOST:PORT] [--binary HOST:PORT]\n' "$0" >&2
		exit 2
		;;
	esac
	shift
done

input=examples/data/earthquakes.ndjson
annals=build/client/annals
work=$(mktemp -d)
server_pid=
# --once leaves nothing behind and works beside a server that runs already: its own directory and free ports.
if [ $once -eq 1 ]; then
	data_dir=${data_dir:-$work/data}
	http=127.0.0.1:0 binary=127.0.0.1:0
fi
data_dir=${data_dir:-annals-data}

say() { printf '%s\n' "$*"; }
fail() {
	printf 'FAILED: %s\n' "$*" >&2
	[ -f "$work/annalsd.log" ] && tail -n 20 "$work/annalsd.log" >&2
	exit 1
}
cleanup() {
	if [ -n "$server_pid" ]; then
		kill "$server_pid" 2>/dev/null || true
		wait "$server_pid" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap cleanup EXIT

start_server() {
	build/server/annalsd --data-dir "$data_dir" --http "$http" --binary "$binary" 2>>"$work/annalsd.log" &
	server_pid=$!
	local tries
	for tries in $(seq 100); do
		http_address=$(sed -n 's/.*listening.*protocol=http.*address=\([^ ]*\).*/\1/p' "$work/annalsd.log" | tail -n 1)
		binary_address=$(sed -n 's/.*listening.*protocol=binary.*address=\([^ ]*\).*/\1/p' "$work/annalsd.log" | tail -n 1)
		if [ -n "$http_address" ] && curl -fsS "http://$http_address/readyz" >/dev/null 2>&1; then
			url=http://$http_address
			export ANNALS_SERVER=$binary_address
			return
		fi
		kill -0 "$server_pid" 2>/dev/null || fail "annalsd did not start"
		sleep 0.1
	done
	fail "annalsd was not ready within 10 s (after $tries tries)"
}

# The event as it was sent: without what Annals adds, keys sorted. A time is a moment: 08.000Z comes back as 08Z.
plain() {
	jq -cS 'del(.annalspartition, .annalsoffset, .annalsposition, .annalsversion, .recordedtime) |
		.time |= sub("[.]000Z$"; "Z")'
}

# read_partition PARTITION OFFSET: NDJSON from the offset to the end, over HTTP.
read_partition() {
	local partition=$1 offset=$2 page=$work/page
	while :; do
		curl -fsS "$url/v1/topics/earthquakes/partitions/$partition/events?offset=$offset&limit=500" >"$page" || return 1
		[ -s "$page" ] || break
		cat "$page"
		offset=$(($(tail -n 1 "$page" | jq .annalsoffset) + 1))
	done
}

# committed GROUP PARTITION
committed() { curl -fsS "$url/v1/groups/$1/offsets/earthquakes/$2" | jq .offset; }

start_server
say "annalsd runs as process $server_pid on $url (HTTP) and $binary_address (binary), data in $data_dir"

if curl -fsS "$url/v1/topics/earthquakes" >/dev/null 2>&1; then
	say "topic earthquakes is there already: leaving it as it is; to do the whole job again, remove $data_dir"
else
	total=$(wc -l <"$input")
	half=$((total / 2))
	curl -fsS -X PUT -H 'Content-Type: application/json' -d '{"partitions":4}' "$url/v1/topics/earthquakes" >/dev/null
	say "created topic earthquakes with 4 partitions; the key is the seismic network, so each network keeps its order"

	head -n $half "$input" |
		curl -fsS -H 'Content-Type: application/x-ndjson' --data-binary @- "$url/v1/topics/earthquakes/events" >"$work/receipt"
	say "appended $half events over HTTP in one request; first receipt: $(jq -c 'if type == "array" then .[0] elif .results then .results[0] else . end' "$work/receipt")"
	tail -n +$((half + 1)) "$input" | "$annals" append earthquakes
	say "appended $((total - half)) events over the binary protocol with: annals append earthquakes"

	# The first group reads half of each partition and commits how far it came.
	ends=()
	for partition in 0 1 2 3; do
		ends[partition]=$(curl -fsS "$url/v1/topics/earthquakes" | jq ".partitions[] | select(.partition == $partition) | .endOffset")
		"$annals" offsets commit dashboards earthquakes "$partition" $((ends[partition] / 2)) >/dev/null
	done
	say "group dashboards handled half of each partition and committed its offsets"

	kill -9 "$server_pid" && wait "$server_pid" 2>/dev/null || true
	start_server
	say "killed annalsd with SIGKILL and started it again as process $server_pid"

	"$annals" read earthquakes --from earliest --output ndjson >"$work/all"
	[ "$(wc -l <"$work/all")" -eq "$total" ] || fail "the replay has $(wc -l <"$work/all") events, not $total"
	plain <"$input" | sort >"$work/expected"
	plain <"$work/all" | sort | cmp - "$work/expected" || fail "the replayed events differ from the input"
	for network in $(jq -r .partitionkey "$input" | sort -u); do
		cmp -s <(jq -c "select(.partitionkey == \"$network\") | .id" "$input") \
			<(jq -c "select(.partitionkey == \"$network\") | .id" "$work/all") || fail "network $network lost its order"
	done
	for partition in 0 1 2 3; do
		"$annals" offsets commit newcomer earthquakes "$partition" "${ends[partition]}" >/dev/null
	done
	say "replayed all $total events to the new group newcomer: every one equals the input, each network in order"

	rest=0 expected_rest=0
	for partition in 0 1 2 3; do
		from=$(committed dashboards "$partition")
		[ "$from" -eq $((ends[partition] / 2)) ] || fail "partition $partition: dashboards' offset is $from"
		read_partition "$partition" "$from" >"$work/rest.$partition"
		jq -c "select(.annalspartition == $partition and .annalsoffset >= $from)" "$work/all" | plain >"$work/want.$partition"
		plain <"$work/rest.$partition" | cmp - "$work/want.$partition" || fail "partition $partition: the second half differs"
		rest=$((rest + $(wc -l <"$work/rest.$partition")))
		expected_rest=$((expected_rest + ends[partition] - from))
	done
	[ $rest -eq $expected_rest ] || fail "group dashboards got $rest events, not $expected_rest"
	say "group dashboards went on where it had stopped: $rest events, as many as were left"
fi

if [ $once -eq 1 ]; then
	kill "$server_pid"
	wait "$server_pid" || fail "annalsd did not stop cleanly"
	server_pid=
	build/server/annalsd verify "$data_dir" || fail "annalsd verify found problems"
	say "annalsd stopped cleanly and its store passes annalsd verify: everything agrees"
	exit 0
fi

cat <<TXT

Try next (in another terminal, here):
  curl $url/                                                             what this server is and its limits
  curl '$url/v1/topics/earthquakes/partitions/0/events?offset=0&limit=3'  read from an offset
  curl -N -H 'Accept: text/event-stream' '$url/v1/topics/earthquakes/events?from=earliest'  tail over SSE
  build/client/annals read earthquakes --limit 10 --output table          the same with the command line tool
  build/client/annals read earthquakes --follow                           wait for new events
  curl $url/v1/groups/dashboards/offsets                                 how far the group has come
  build/client/annals status                                             the server at a glance

Serving until you press Ctrl-C.
TXT
wait "$server_pid"
