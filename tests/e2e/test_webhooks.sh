#!/usr/bin/env bash
# Webhooks against a receiver (webhooks.py), with kill -9 of the server in between (ANNALS_TEST_KILLS=40: so often); then
# through the tool.
. "$(dirname "$0")/lib.sh"

mkdir "$work/py"
python3 "$(dirname "$0")/webhooks.py" "$ANNALSD" "$work/py" || fail 'webhooks'

# The tool.
export ANNALS_WEBHOOK_PRIVATE_ADDRESSES=allow
start_server
export ANNALS_HTTP=$http
runs 0 topic create orders
runs 0 webhook list
printf 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n' >"$work/secret"
runs 0 webhook create ship http://127.0.0.1:9/h orders --secret-file "$work/secret" --type-prefix order. --attempts 2 --backoff 0ms \
	--no-handshake --timeout-each 2s --concurrency 2 --rate 6000 --backoff-max 1s && shows out "webhook 'ship' created, enabled"
runs 0 webhook create ship http://127.0.0.1:9/h orders --type order.placed --attempts 2 --backoff 0ms --no-handshake && shows out 'changed'
runs 0 webhook show ship && shows out '"signatures":1' && shows out '"type":"order.placed"' && shows out '"attemptsMax":2'
runs 0 append orders --type order.placed --key k --data 1
for _ in $(seq 100); do
	runs 0 group show webhook.ship
	grep -q 'parked 1' "$work/out" && break
	sleep 0.1
done
shows out 'parked 1'
runs 0 group parked webhook.ship && shows out 'no answer'
runs 0 webhook list && shows out 'ship' && shows out 'no answer'
runs 1 webhook test ship && shows out 'no answer'
runs 3 webhook test other
runs 0 webhook pause ship && shows out 'disabled'
runs 0 webhook list && shows out 'paused'
runs 0 webhook resume ship && shows out 'enabled'
runs 3 webhook create other http://127.0.0.1:9/h --group nobody && shows err "there is no group 'nobody'"
runs 7 webhook create other ftp://127.0.0.1/h orders && shows err 'https://'
runs 7 webhook create other http://127.0.0.1:9/h orders --secret-file "$work/none" && shows err 'cannot open'
runs 3 webhook show other
runs 2 webhook delete ship
runs 0 webhook delete ship --yes
runs 3 webhook delete ship --yes
runs 3 group show webhook.ship
stop_server TERM
done_testing
