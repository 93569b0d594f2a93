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

# One commit over two topics: all or none, under conditions, repeated with its key.
runs 0 topic create ledger --streams
event() { echo "{\"specversion\":\"1.0\",\"id\":\"$1\",\"source\":\"/t\",\"type\":\"moved\",\"partitionkey\":\"$2\",\"time\":\"2026-01-31T00:00:00Z\"}"; }
event t1 acc-1 >"$work/one"
{ event t2 acc-1; event t3 acc-2; } >"$work/two"
runs 0 transact orders="$work/one" ledger="$work/two" --expect orders/acc-1=none,ledger/acc-2=none --idempotency-key k1
same "$(grep -c '^ledger partition' "$work/out")" 2
same "$(grep -c '^orders .* version 0$' "$work/out")" 1
cp "$work/out" "$work/first"
runs 0 transact orders="$work/one" ledger="$work/two" --expect orders/acc-1=none,ledger/acc-2=none --idempotency-key k1
same "$(sed 's/ replayed$//' "$work/out")" "$(cat "$work/first")"
event t4 acc-1 >"$work/one"
event t5 acc-2 >"$work/two"
runs 4 transact orders="$work/one" ledger="$work/two" --expect orders/acc-1=0,ledger/acc-2=none && shows err 'ledger'
runs 0 stream show orders acc-1 && same "$(wc -l <"$work/out")" 1
runs 0 transact orders="$work/one" ledger="$work/two" --expect orders/acc-1=0,ledger/acc-2=exists --quiet && same "$(cat "$work/out")" ''
runs 0 stream show ledger acc-2 && same "$(wc -l <"$work/out")" 2
runs 2 transact orders && shows err 'TOPIC=FILE'
runs 2 transact orders="$work/one" --expect other/x=1 && shows err "'other'"
runs 2 transact orders="$work/one" --expect orders/x=many && shows err "'many'"
runs 7 transact orders=/dev/null && shows err 'no event'
runs 1 transact orders=/nowhere
runs 3 transact none="$work/one"
runs 0 topic show orders && shows out 'query-index       on' && shows out 'dedupe            1d'
stop_server TERM
"$ANNALSD" verify "$data" | grep -q 'all correct' || fail 'verify'
done_testing
