#!/bin/sh
# Bugs on purpose (a build with -Dfault_injection=true): the simulation must find each as a problem
# that it names, and nothing without one.
#   mutations.sh SIMULATE
set -u
simulate=$1
bad=0

"$simulate" --seeds 100 || bad=1
for bug in acknowledge_before_sync acknowledge_before_write publish_before_sync keep_staged_effects forget_ids \
	forget_rows trim_unsettled watermark_outside forget_leases answer_before_commit drop_refused_commits park_without_reason \
	believe_old_leases forget_acknowledgements; do
	if output=$(ANNALS_MUTATION=$bug "$simulate" --seeds 300); then
		echo "$bug: NOT FOUND"
		bad=1
	elif line=$(printf '%s\n' "$output" | grep -m 1 '^PROBLEM: seed .* I[0-9]*: '); then
		echo "$bug: found: $line"
	else
		echo "$bug: failed otherwise: $output"
		bad=1
	fi
done
exit $bad
