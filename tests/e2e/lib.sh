# Shared by the end-to-end tests: a server on free ports and a directory of its own, and short checks.
# shellcheck shell=bash disable=SC2034
set -uo pipefail
: "${ANNALSD:?}" "${ANNALS:?}" "${SOURCE_ROOT:?}"
work=$(mktemp -d "${TMPDIR:-/tmp}/annals-e2e-XXXXXX")
data=$work/data
server_pid=
checks=0
unset NO_COLOR ANNALS_TOKEN

cleanup() {
	if [ -n "$server_pid" ]; then
		kill -9 "$server_pid" 2>/dev/null
		wait "$server_pid" 2>/dev/null
	fi
	rm -rf "$work"
}
trap cleanup EXIT

fail() {
	printf 'FAILED: %s\n' "$*" >&2
	[ -f "$work/log" ] && tail -n 20 "$work/log" >&2
	exit 1
}

# start_server [BINARY ADDRESS]: waits until it listens; sets http, binary and ANNALS_SERVER.
start_server() {
	: >"$work/log"
	"$ANNALSD" --data-dir "$data" --http 127.0.0.1:0 --binary "${1:-127.0.0.1:0}" 2>>"$work/log" &
	server_pid=$!
	local tries
	for tries in $(seq 300); do
		http=$(sed -n 's/.*listening.*protocol=http.*address=\([^ ]*\).*/\1/p' "$work/log")
		binary=$(sed -n 's/.*listening.*protocol=binary.*address=\([^ ]*\).*/\1/p' "$work/log")
		if [ -n "$binary" ] && [ -n "$http" ] && ANNALS_SERVER=$binary "$ANNALS" status >/dev/null 2>&1; then
			export ANNALS_SERVER=$binary
			return
		fi
		kill -0 "$server_pid" 2>/dev/null || fail 'the server did not start'
		sleep 0.1
	done
	fail "the server did not listen ($tries tries)"
}

stop_server() { # SIGNAL
	kill "-$1" "$server_pid"
	wait "$server_pid" 2>/dev/null
	stopped=$?
	server_pid=
}

# runs CODE ARGUMENT ...: the tool with these arguments ends with the exit code; output in $work/out and $work/err.
runs() {
	local expected=$1 got
	shift
	"$ANNALS" "$@" >"$work/out" 2>"$work/err" </dev/null
	got=$?
	checks=$((checks + 1))
	[ $got -eq "$expected" ] || fail "annals $*: exit code $got, not $expected; stdout: $(head -c 500 "$work/out"); stderr: $(head -c 500 "$work/err")"
}
# shows FILE TEXT: the output holds the text.
shows() {
	checks=$((checks + 1))
	grep -qF -- "$2" "$work/$1" || fail "std$1 does not show '$2': $(head -c 500 "$work/$1")"
}
same() { # WHAT GOT EXPECTED
	checks=$((checks + 1))
	[ "$2" = "$3" ] || fail "$1: '$2', not '$3'"
}
# Events as they were sent: without what Annals adds, members sorted, times without needless zeros (the stored form is a number).
plain() {
	python3 -c '
import json, sys
drop = ("annalspartition", "annalsoffset", "annalsposition", "annalsversion", "recordedtime")
for line in sys.stdin:
    event = {k: v for k, v in json.loads(line).items() if k not in drop}
    event["time"] = event["time"].replace(".000Z", "Z")
    print(json.dumps(event, sort_keys=True))'
}
done_testing() { printf '%d checks passed\n' $checks; }
