#!/bin/sh
# A short run of everything, below ten minutes: sh bench/short.sh BUILD_DIR. bench/README.md says how to read it. Peers that are not
# installed are left out by name; Kafka, which takes minutes, is only in `./dev bench compare`.
set -e
build=${1:-build}
here=$(dirname "$0")
bench() { "$build/bench/annals-bench" "$@" --runs 1 --duration 2s --warm-up 500ms; }
bench append --connections 64 --in-flight 1
bench append --connections 1 --in-flight 8 --batch 500
bench append --partitions 1000
bench append --streams 200000 --expected-versions 1
bench http-append --event-bytes 1024
bench http-append --batch 1000 --connections 4
bench produce
bench replay --events 3000000
bench tail --rate 1000
bench deliver --events 500000
bench deliver-tail --rate 1000
bench sse-tail --rate 1000
bench leases
bench mixed --events 1000000
bench connections --idle 5000
bench recovery --events 2000000
bench retention
"$build/bench/bench-micro"
"$here/sweep.py" --build "$build" --runs 1 --seconds 1 >"$build/sweep.json"
"$here/compare/compare.py" --build "$build" --runs 1 --seconds 1 --peers redis,nats,postgres --output "$build/compare.json"
"$here/report.py" "$build/compare.json" "$build/sweep.json" >"$build/report.html"
if command -v valgrind >/dev/null; then
	"$here/micro/instructions.py" check --build "$build"
else
	echo "instructions per event: not counted, valgrind is not installed"
fi
echo "plots: $build/report.html"
