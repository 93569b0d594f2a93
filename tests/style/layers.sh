#!/bin/sh
# Layer rules that include paths cannot enforce. Prints every breach; exits 1 if there was one.
cd "$(dirname "$0")/../.." || exit 2
status=0

# forbid WHAT PATTERN PATH ...: no source file below the paths may match.
forbid() {
	what=$1 pattern=$2
	shift 2
	found=$(git ls-files -- "$@" | grep -E '\.[ch]$' | xargs -r grep -nE "$pattern" /dev/null)
	if [ -n "$found" ]; then
		echo "$found"
		echo "layers: $what" >&2
		status=1
	fi
}

forbid 'a relative include leaves its folder' '#include "\.\./' base schemas storage server client bench
forbid 'libevent belongs to server/ and the client adapter' '#include <event2/' base schemas storage
forbid 'libevent belongs to server/ and the client adapter' '#include <event2/' client/*.c client/cli
forbid 'LMDB belongs to storage/' '#include <lmdb\.h>' base schemas server client
forbid 'the client does not see storage' '#include <annals/storage\.h>' client
forbid 'libraries do not log' '\blog_(error|warning|info|debug|line)\(' schemas storage client/*.c
forbid 'libraries do not exit' '\b(exit|_exit)\(' schemas storage client/*.c
forbid 'open work belongs in docs, not in comments' '\b(TODO|FIXME|XXX)\b' base schemas storage server client bench tests
exit $status
