#!/usr/bin/env python3
"""quake_events.py VERSION < earthquakes.ndjson: the sample's events as quake.Event of this version, for `annals append --json`."""
import json
import sys

version = int(sys.argv[1])
for line in sys.stdin:
    event = json.loads(line)
    data = event["data"]
    place = {name: data[name] for name in ("latitude", "longitude", "depthKm")}
    quake = {"quakeId": event["id"], "originTime": event["time"], "magnitude": data["magnitude"], "place": data["place"]}
    if version >= 2:
        quake.update(status="STATUS_" + data["status"].upper(), networks=[event["partitionkey"]])
    quake.update({"origin": place} if version >= 3 else place)
    print(json.dumps({"specversion": "1.0", "id": event["id"], "source": event["source"], "type": "quake.Event",
                      "schemaversion": version, "data": {k: v for k, v in quake.items() if v is not None}}))
