#!/usr/bin/env bash
# Collects the logs of services and watches what happens to them.
#   BASE_IMAGE
set -euo pipefail

out=$(mktemp -d)
begin="$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)"
trap 'kill $(jobs -p) 2>/dev/null || true; docker rm -f logger noisy crash >/dev/null 2>&1 || true; rm -rf "$out"' EXIT

docker events --filter type=container --filter 'event=die' --filter event=start --format '{{.Time}} {{.Action}} {{.Actor.Attributes.name}} {{index .Actor.Attributes "exitCode"}}' >"$out/events" &
watcher=$!
docker events -f label=team=a --format '{{json .}}' >"$out/events.json" &
json=$!
sleep 0.3

docker run -d --name logger --label team=a "$BASE_IMAGE" sh -c 'for i in 1 2 3; do echo "out $i"; echo "err $i" >&2; sleep 0.1; done; touch /mark; while [ ! -e /go ]; do sleep 0.05; done; echo last' >/dev/null
docker run --name crash "$BASE_IMAGE" sh -c 'exit 12' || [ $? = 12 ]
until docker exec logger test -e /mark; do sleep 0.05; done

# streams, tails, times
[ "$(docker logs logger 2>/dev/null | wc -l)" = 3 ]
[ "$(docker logs logger 2>&1 >/dev/null | tail -n 1)" = 'err 3' ]
[ "$(docker logs --tail 1 logger 2>/dev/null)$(docker logs -n 1 logger 2>&1 >/dev/null)" = 'err 3' ]
[[ "$(docker logs -t logger 2>/dev/null)" =~ ^[0-9-]{10}T[0-9:]{8}\.[0-9]{9}Z\ out\ 1 ]]
second="$(docker logs --timestamps logger 2>/dev/null | sed -n '2s/ .*//p')"
[ "$(docker logs --since "$second" logger 2>/dev/null | head -n 1)" = 'out 2' ]
[ "$(docker logs --until "$second" logger 2>/dev/null | tail -n 1)" = 'out 2' ] || [ "$(docker logs --until "$second" logger 2>/dev/null | tail -n 1)" = 'out 1' ]
[ "$(docker logs --since 10m logger 2>&1 | wc -l)" = 6 ]
[ -z "$(docker logs --since "$(date -d '+1 hour' +%s)" logger 2>&1)" ]

# following ends with the container
docker logs -f --tail 0 logger >"$out/follow" 2>&1 &
follow=$!
sleep 0.3
docker exec logger touch /go
[ "$(docker wait logger)" = 0 ]
wait "$follow"
[ "$(cat "$out/follow")" = last ]

# rotation
docker run --name noisy --log-driver json-file --log-opt max-size=10k --log-opt max-file=2 "$BASE_IMAGE" seq 1 5000 >/dev/null
docker logs noisy >"$out/noisy"
[ "$(tail -n 1 "$out/noisy")" = 5000 ]
(( $(wc -l <"$out/noisy") < 5000 ))
[ "$(docker inspect -f '{{.HostConfig.LogConfig.Type}} {{index .HostConfig.LogConfig.Config "max-size"}}' noisy)" = 'json-file 10k' ]
file="$(docker inspect --format='{{.LogPath}}' noisy)"
if [ -r "$file" ]; then tail -n 1 "$file" | jq -je .log | grep -qx 5000; fi

for c in $(docker ps -a --format '{{.Names}}'); do docker logs "$c" >"$out/$c.log" 2>&1; done
[ "$(wc -l <"$out/logger.log")" = 7 ]

# what was watched
for _ in $(seq 300); do grep -q ' die noisy 0' "$out/events" && break; sleep 0.1; done
kill "$watcher"; wait "$watcher" 2>/dev/null || true
awk '{ print $2, $3, $4 }' "$out/events" | sed 's/ *$//; s/ <no value>//' | sort >"$out/seen"
printf '%s\n' 'die crash 12' 'die logger 0' 'die noisy 0' 'start crash' 'start logger' 'start noisy' | diff - "$out/seen"
docker events --since "$begin" --until "$(date +%s)" -f container=crash -f event=create -f event=die --format '{{.Action}}' | tr '\n' ' ' | grep -qx 'create die '
docker events --since 5m --until 0s --filter 'label=team=a' --filter event=start | grep -Eq ' container start [0-9a-f]{64} \(.*image=.*, name=logger, team=a.*\)$'
kill "$json" 2>/dev/null || true; wait "$json" 2>/dev/null || true
jq -r '.Action' "$out/events.json" | grep -qx start
jq -e -s 'all(.Actor.Attributes.name == "logger" and .Type == "container" and (.timeNano | type) == "number")' "$out/events.json" >/dev/null
echo OK
