#!/bin/sh
# Deliberate bugs, compiled in for tests: annals torture must find each, or this test fails.
# usage: torture_mutations.sh ANNALS ANNALSD [SEEDS]
set -u
annals=$1 annalsd=$2 seeds=${3:-1} failed=0
dir=$(mktemp -d /tmp/annals-mutations-XXXXXX) || exit 1
trap 'rm -rf "$dir"' EXIT
for mutation in acknowledge_before_write acknowledge_before_sync commit_other_offsets forget_ids ignore_conditions \
	overlook_drafted_versions forget_acknowledgements; do
	seed=1
	while [ "$seed" -le "$seeds" ]; do
		ANNALS_MUTATION=$mutation "$annals" torture --annalsd "$annalsd" --dir "$dir" --seed "$seed" --rounds 40 >"$dir/out" 2>&1
		if [ $? -eq 1 ] && grep -q '^PROBLEM' "$dir/out"; then
			printf '%-26s seed %s: %s\n' "$mutation" "$seed" "$(grep -m 1 '^PROBLEM' "$dir/out")"
		else
			echo "FAIL: $mutation was not found with seed $seed: $(tail -n 1 "$dir/out")"
			failed=1
		fi
		rm -rf "$dir"/annals-torture-*
		seed=$((seed + 1))
	done
done
exit $failed
