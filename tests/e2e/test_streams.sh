#!/usr/bin/env bash
# Streams from outside: the tool, and a program with libannals.
. "$(dirname "$0")/lib.sh"

# same WHAT EXPECTED
same() {
	checks=$((checks + 1))
	[ "$1" = "$2" ] || fail "'$1' is not '$2'"
}

start_server
runs 0 topic create orders --streams --query-index --partitions 4
"$STREAMS_CLIENT" "$binary" orders || fail 'the program with libannals'
runs 0 stream show orders order-1
same "$(wc -l <"$work/out")" 2
runs 0 stream show orders order-1 --backwards --limit 1
same "$(jq .annalsversion "$work/out")" 1
runs 0 stream show orders order-1 --from 1
same "$(jq -r .id "$work/out")" o2
runs 0 stream show orders race
same "$(jq -s 'map(.annalsversion) == [range(50)]' "$work/out")" true
runs 0 query orders --tag seat:7
same "$(jq -r .annalstags "$work/out")" seat:7
runs 3 stream show orders nobody
runs 2 query orders && shows err '--type or --tag'
runs 0 topic show orders && shows out 'query-index       on' && shows out 'dedupe            1d'
stop_server TERM
"$ANNALSD" verify "$data" | grep -q 'all correct' || fail 'verify'
done_testing
