#!/bin/bash
# Readers of every kind beside concurrent appenders: no gap, no repeat, no event of another filter.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
/usr/bin/python3 "$SOURCE_ROOT/tests/e2e/tailing.py" "$ANNALSD" "$ANNALS" "$work" "${TAILING_SEED:-}" || fail 'tailing'
