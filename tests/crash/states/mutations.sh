#!/bin/sh
# Every bug on purpose (ANNALS_MUTATION, <annals/fault.h>) must be found by the crash states within 60 s;
# without one nothing may be found. Prints a table. Needs a build with fault injection.
#
#   mutations.sh build/tests/crash/states
set -u
states=$1
out=$(mktemp /tmp/annals-mutations-XXXXXX)
trap 'rm -f "$out"' EXIT
missed=0

printf '%-28s %-8s %6s  %s\n' mutation result seconds 'first thing found'
for mutation in acknowledge_before_sync publish_before_sync no_sync no_directory_sync recycle_before_lmdb_sync \
	watermark_outside accept_torn_tail keep_staged_effects none; do
	begun=$(date +%s)
	ANNALS_MUTATION=$mutation timeout 90 "$states" --states "$([ $mutation = none ] && echo 3000 || echo 20000)" --seconds 60 --no-trace >"$out" 2>&1
	code=$?
	took=$(($(date +%s) - begun))
	result=MISSED
	if [ "$mutation" = none ]; then
		[ $code -eq 0 ] && result=clean
	elif [ $code -eq 1 ] && grep -q '^PROBLEM' "$out"; then
		result=caught
	fi
	[ $result = MISSED ] && missed=$((missed + 1))
	printf '%-28s %-8s %6s  %s\n' "$mutation" $result "$took" "$(grep -m 1 '^PROBLEM' "$out" | cut -c 10-180)"
	if [ $result = MISSED ]; then
		tail -n 5 "$out"
	fi
done
[ $missed -eq 0 ]
