#!/usr/bin/env bash
# Installs below a directory of its own, builds programs against the result as strict C and C++, and runs the examples.
. "$(dirname "$0")/lib.sh"
: "${BUILD_ROOT:?}" "${MESON:?}"
root=$work/root
"$MESON" install -C "$BUILD_ROOT" --no-rebuild --quiet --destdir "$root" >"$work/log" 2>&1 || fail 'meson install'
pc=$(find "$root" -name annals.pc)
[ -n "$pc" ] || fail 'no annals.pc was installed'
export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root
library=$(dirname "$(find "$root" -name libannals.so)")
export LD_LIBRARY_PATH=$library
for file in bin/annals bin/annals-check bin/annalsd share/man/man1/annals.1 share/man/man1/annals-check.1 share/man/man3/libannals.3 share/bash-completion/completions/annals \
	include/annals/client.h include/annals/client_libevent.h include/annals/status.h; do
	checks=$((checks + 1))
	[ -e "$root/usr/local/$file" ] || [ -n "$(find "$root" -path "*/$file")" ] || fail "$file was not installed"
done
[ -z "$(find "$root" -name 'libannals.a' -o -name 'libbase.a')" ] || fail 'a static library was installed'

cat >"$work/ten.c" <<'C'
#include <annals/client.h>
#include <stdio.h>
int main(void)
{
	struct annals_options *options = annals_options_new();
	struct annals_error error;
	int status = annals_options_set(options, ANNALS_OPTION_LINGER_US, 99999999999u, &error);
	printf("%s %s: %s\n", annals_version(), annals_status_name(status), error.text);
	annals_options_free(options);
	return status == ANNALS_E_INVALID ? 0 : 1;
}
C
flags=$(pkg-config --cflags --libs annals)
# shellcheck disable=SC2086
{
	${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror "$work/ten.c" $flags -o "$work/ten-c" || fail 'C11'
	cp "$work/ten.c" "$work/ten.cc"
	${CXX:-c++} -std=c++11 -Wall -Wextra -Wpedantic -Werror "$work/ten.cc" $flags -o "$work/ten-cc" || fail 'C++11'
	printf '#include <annals/client_libevent.h>\nint main() { return 0; }\n' >"$work/glue.cc"
	${CXX:-c++} -std=c++11 -Wall -Wextra -Werror "$work/glue.cc" $flags -levent_core -o "$work/glue" || fail 'client_libevent.h as C++'
}
"$work/ten-c" | grep -q "invalid-argument: 'linger-us' must be from" || fail 'the C program'
"$work/ten-cc" >/dev/null || fail 'the C++ program'
checks=$((checks + 5))

cp "$SOURCE_ROOT"/examples/producer.c "$SOURCE_ROOT"/examples/consumer.c "$SOURCE_ROOT"/examples/Makefile "$work"
make -C "$work" -s CFLAGS='-O2 -Wall -Wextra -Werror -std=c11' >/dev/null || fail 'the examples do not build'
start_server
"$work/producer" "$ANNALS_SERVER" >"$work/produced" || fail 'producer'
"$work/consumer" "$ANNALS_SERVER" >"$work/consumed" || fail 'consumer'
same 'the consumer reads everything' "$(wc -l <"$work/consumed")" 300
"$work/consumer" "$ANNALS_SERVER" >"$work/consumed" || fail 'consumer'
same 'the consumer goes on where it stopped' "$(wc -l <"$work/consumed")" 0
stop_server TERM
done_testing
