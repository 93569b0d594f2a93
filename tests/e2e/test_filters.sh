#!/bin/bash
# Filters of merged pages and of SSE, answered through an index and from the log, against a model.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
/usr/bin/python3 "$SOURCE_ROOT/tests/e2e/filters.py" "$ANNALSD" "$work" "${FILTERS_SEED:-}" || fail 'filters'
