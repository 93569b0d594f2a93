#!/bin/sh
# What the linker and the compiler were asked for must be in the programs: position independent, all relocations read-only
# before main(), no executable stack, stack protector, checked libc calls, and control-flow protection on x86-64.
# usage: hardening.sh PROGRAM ...
set -eu
failed=0
miss() {
	echo "$1: $2" >&2
	failed=1
}
for program; do
	name=${program##*/}
	headers=$(LC_ALL=C readelf -hWl "$program")
	dynamic=$(LC_ALL=C readelf -dW "$program")
	symbols=$(LC_ALL=C readelf -W --dyn-syms "$program")
	echo "$headers" | grep -q 'Type:.*DYN' || miss "$name" 'is not position independent'
	echo "$headers" | grep -q 'GNU_RELRO' || miss "$name" 'has no RELRO segment'
	echo "$headers" | grep 'GNU_STACK' | grep -q 'RW ' || miss "$name" 'has an executable stack'
	echo "$headers" | grep ' LOAD ' | grep -q 'RWE' && miss "$name" 'has memory that is writable and executable'
	echo "$dynamic" | grep -Eq 'BIND_NOW|FLAGS_1.*NOW' || miss "$name" 'binds lazily'
	echo "$dynamic" | grep -q 'TEXTREL' && miss "$name" 'has text relocations'
	echo "$symbols" | grep -q '__stack_chk_fail' || miss "$name" 'has no stack protector'
	echo "$symbols" | grep -q '_chk' || miss "$name" 'calls no checked libc functions'
	case $(uname -m) in
	x86_64)
		# The property note is no measure: the C library's start files may lack it, and the linker then drops it.
		[ "$(objdump -d "$program" | grep -c endbr64)" -ge 50 ] || miss "$name" 'has no control-flow protection'
		;;
	esac
done
exit $failed
