#!/usr/bin/env bash
# Runs every command of docs/http.md and of the guides against a fresh annalsd: http_examples.sh ANNALSD SOURCE_DIR
set -euo pipefail
annalsd=$(realpath "$1")
cd "$2"
work=$(mktemp -d /tmp/annals-http-examples-XXXXXX)
"$annalsd" --data-dir "$work/data" --http 127.0.0.1:0 --binary 127.0.0.1:0 2>"$work/log" &
pid=$!
trap 'kill $pid 2>/dev/null || true; wait $pid 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do
	address=$(sed -n 's/.*listening.*protocol=http.*address=\([^ ]*\).*/\1/p' "$work/log" | tail -n 1)
	[ -n "$address" ] && curl -fsS "http://$address/readyz" >/dev/null 2>&1 && break
	sleep 0.1
done
{
	echo 'set -euo pipefail'
	# The fenced sh blocks, with the real address and each command's text before its output.
	cat docs/http.md docs/guide-event-sourcing.md docs/guide-queues.md | sed -n '/^```sh$/,/^```$/p' | grep -v '^```' | sed -e "s#^URL=.*#URL=http://$address#" -e "s#-o receipt.json#-o $work/receipt.json#" \
		-e "s#polled.json#$work/polled.json#" -e '/^annals /d' # test_consume.sh has the tool's
} >"$work/commands"
[ "$(grep -c curl "$work/commands")" -ge 30 ] || { echo "too few commands found in docs/http.md"; exit 1; }
bash -x "$work/commands" >"$work/output" 2>"$work/trace" || {
	tail -n 5 "$work/trace"
	exit 1
}
expect() { grep -q "$1" "$work/output" || { echo "the output lacks: $1"; exit 1; }; }
expect '"partitionCount":4'
expect '"durability":"os"'
expect '"committedLine":1707,"count":1707'
expect '"id":"ak18247005"'
expect '^event: caught-up'
expect '"metadata":"worker 1"'
expect '"groups":\["billing"\]'
expect '"annalsversion":1'
expect '"replayed":true'
expect '^412'
expect '"annalstags":"seat:7,show:1"'
expect '"reason":"no such customer"'
expect '"checkpoint":"12"'
expect '"member":"a","generation":1,"pending":0,"assigned":\[{"topic":"orders","partition":0}'
kill "$pid"
wait "$pid" || { echo "annalsd did not stop cleanly"; exit 1; }
pid=
trap 'rm -rf "$work"' EXIT
