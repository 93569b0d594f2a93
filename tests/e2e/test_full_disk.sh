#!/bin/bash
# A disk that is really full: appends are refused with 507, reads and commits go on, the server starts on it, and appends resume by themselves when there is
# room. Needs a mount of its own; skipped (77) where that is not allowed.
set -u
if [ "${IN_NAMESPACE:-}" != yes ]; then
	IN_NAMESPACE=yes unshare -m true 2>/dev/null || exit 77
	IN_NAMESPACE=yes exec unshare -m "$0" "$@"
fi
work=$(mktemp -d)
pid=
cleanup() {
	[ -n "$pid" ] && kill -9 "$pid" 2>/dev/null
	umount "$work" 2>/dev/null
	rmdir "$work"
}
trap cleanup EXIT
mount -t tmpfs -o size=260m tmpfs "$work" 2>/dev/null || exit 77

fail() {
	printf 'FAILED: %s\n' "$*" >&2
	cat "$work/log" >&2
	exit 1
}
start() {
	"$ANNALSD" --data-dir "$work/data" --http 127.0.0.1:0 --binary 127.0.0.1:0 2>"$work/log" &
	pid=$!
	for _ in $(seq 200); do
		grep -q ' info ready ' "$work/log" && break
		sleep 0.1
	done
	url=http://$(sed -n 's/.*protocol=http address=\([^ ]*\).*/\1/p' "$work/log")
	ANNALS_SERVER=$(sed -n 's/.*protocol=binary address=\([^ ]*\).*/\1/p' "$work/log")
	export ANNALS_SERVER
	[ -n "$ANNALS_SERVER" ] || fail "the server did not start"
}
append() { # prints the HTTP status
	curl -s -o "$work/answer" -w '%{http_code}' -H 'Content-Type: text/plain' --data-binary "$1" "$url/v1/topics/t/events?type=x"
}
# retry SECONDS STATUS: appends until this is the answer.
retry() {
	for _ in $(seq $(($1 * 5))); do
		[ "$(append again)" = "$2" ] && return 0
		sleep 0.2
	done
	return 1
}

start
"$ANNALS" topic create t --partitions 1 >/dev/null || fail "no topic"
[ "$(append first)" = 200 ] || fail "the first append was refused"
# Fill the disk beside the store: less than disk-reserve (64 MiB) stays free.
free_kib=$(df -k --output=avail "$work" | tail -n 1)
fallocate -l $(((free_kib - 20000) * 1024)) "$work/ballast" || fail "cannot fill the disk"
retry 5 507 || fail "no 507 within 5 s: $(cat "$work/answer")"
grep -q '"type":"urn:annals:problem:storage-full"' "$work/answer" || fail "not a storage-full problem"
[ "$(curl -s -o "$work/answer" -w '%{http_code}' "$url/readyz")" = 503 ] || fail "ready on a full disk"
"$ANNALS" read t --limit 1 >/dev/null || fail "reading failed"
"$ANNALS" offsets commit g t 0 1 >/dev/null || fail "committing an offset failed"

kill -9 "$pid"
wait "$pid" 2>/dev/null
start
[ "$("$ANNALS" read t --limit 1 --output raw)" = first ] || fail "the event is gone after a start on a full disk"
retry 5 507 || fail "appends are taken on a full disk after a start"
rm "$work/ballast"
retry 5 200 || fail "appends did not resume within 5 s: $(cat "$work/answer")"
kill "$pid"
wait "$pid" || fail "the server did not stop cleanly"
pid=
"$ANNALSD" verify "$work/data" || fail "verify found problems"
