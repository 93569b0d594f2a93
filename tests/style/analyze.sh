#!/bin/sh
# What gcc's -fanalyzer finds in the programs and libraries, less what was looked at: analyze.sh BUILD_DIR [--review].
# analyze.reviewed holds each finding that is none, under the reason why; --review prints what is there now in its form.
# gcc 12's analyzer does not follow memory that is reached through a structure it did not see being made, hence most of them.
set -e
here=$(dirname "$0")
build=$1
found=$(mktemp)
trap 'rm -f "$found"' EXIT
CCACHE_DISABLE=1 ninja -C "$build" -t clean >/dev/null
CCACHE_DISABLE=1 ninja -C "$build" 2>&1 | grep -E 'warning: .*\[-Wanalyzer-' | sed -E 's#^(\.\./)*##; s#:[0-9]+:[0-9]+: warning: #: #; s# \[CWE-[0-9]+\]##' |
	LC_ALL=C sort -u >"$found" || true
if [ "${2:-}" = --review ]; then
	cat "$found"
	exit 0
fi
new=$(grep -vxF -f "$here/analyze.reviewed" "$found" || true)
if [ -n "$new" ]; then
	printf '%s\n' "$new"
	echo "analyze: the findings above are new: mend them, or add them to tests/style/analyze.reviewed with the reason why they are none" >&2
	exit 1
fi
echo "analyze: $(wc -l <"$found") findings, all reviewed"
