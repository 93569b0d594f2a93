#!/bin/sh
# A short run of everything: sh bench/short.sh BUILD_DIR. bench/README.md says how to read it.
set -e
bench=${1:-build}/bench/annals-bench
"$bench" append --connections 64 --in-flight 1 --runs 3
"$bench" append --connections 1 --in-flight 8 --batch 500 --runs 3
"$bench" produce --runs 3
"$bench" replay --events 3000000 --runs 3
"$bench" tail --rate 1000 --runs 1
