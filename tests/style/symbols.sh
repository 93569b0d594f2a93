#!/bin/sh
# libannals exports annals_* and nothing else, and everything that client.h declares.
# usage: symbols.sh libannals.so HEADER ...
library=$1
shift
status=0
exported=$(nm -D --defined-only "$library" | awk '{print $3}')
foreign=$(printf '%s\n' "$exported" | grep -v '^annals_')
if [ -n "$foreign" ]; then
	printf 'symbols: foreign names are exported:\n%s\n' "$foreign" >&2
	status=1
fi
for name in $(cat "$@" | tr '\n' ' ' | grep -o 'ANNALS_API [^;]*;' | sed 's/(.*//' | grep -o 'annals_[a-z_]*$'); do
	printf '%s\n' "$exported" | grep -qx "$name" || {
		printf 'symbols: %s is declared and not exported\n' "$name" >&2
		status=1
	}
done
exit $status
