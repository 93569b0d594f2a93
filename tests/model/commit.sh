#!/bin/sh
# Checks commit.pml exhaustively with spin, and that each bug on purpose makes the check fail.
#
#   commit.sh [CLIENTS BATCHES]     default 2 2; 3 2 takes a minute and 1 GiB
#
# The bugs are looked for with 2 clients and 1 batch each: less is harder for the model to find.
#
# Exit code 77 (skipped) without spin.
set -u
here=$(cd "$(dirname "$0")" && pwd)
clients=${1:-2}
batches=${2:-2}
command -v spin >/dev/null || { echo "spin is not installed: skipped"; exit 77; }
dir=$(mktemp -d /tmp/annals-model-XXXXXX)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
bad=0

# check NAME [MUTATION]: sets $errors and $states.
check() {
	spin -DCLIENTS="$clients" -DBATCHES="$batches" ${2:+-D"$2"} -a "$here/commit.pml" >spin.out 2>&1 &&
		cc -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=3000 -o pan pan.c >cc.out 2>&1 ||
		{ cat spin.out cc.out 2>/dev/null; exit 1; }
	./pan -m2000000 -w$([ "$clients$batches" -gt 22 ] && echo 25 || echo 20) >pan.out 2>&1
	errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.out)
	states=$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1/p' pan.out)
	if grep -qE 'max search depth too small|out of memory|aborting|not exhaustive' pan.out; then
		[ -z "${2:-}" ] && errors="not exhaustive"
	fi
}

printf '%-34s %-10s %14s\n' "$clients clients, $batches batches each" result states
check commit
if [ "$errors" = 0 ]; then
	printf '%-34s %-10s %14s\n' 'as it is' holds "$states"
else
	printf '%-34s %-10s %14s\n' 'as it is' "FAILS ($errors)" "$states"
	cat pan.out
	bad=1
fi
clients=2
batches=1
for mutation in ACK_BEFORE_SYNC PUBLISH_BEFORE_SYNC RETRY_SYNC NO_FAIL_STOP UNKNOWN_IS_REFUSED NO_DEDUPE KEEP_STAGED \
	OPEN_WITHOUT_SYNC OPEN_WITHOUT_REWRITE; do
	check commit MUTATION_$mutation
	if [ "${errors:-0}" != 0 ] && grep -q 'assertion violated' pan.out; then
		printf '%-34s %-10s %14s\n' $mutation caught "$states"
	else
		printf '%-34s %-10s %14s\n' $mutation MISSED "$states"
		bad=1
	fi
done
exit $bad
