#!/usr/bin/env bash
# What libraries and editors ask of an engine before and while they use it: testcontainers without
# a socket, dev containers, act, pre-commit.
#   BASE_IMAGE REDIS_IMAGE
set -euo pipefail

session="$(cat /proc/sys/kernel/random/uuid)"
trap 'docker rm -f $(docker ps -aq --filter "label=org.testcontainers.session-id=$session") >/dev/null 2>&1 || true; docker network prune -f --filter label=org.testcontainers=true >/dev/null; docker rmi -f vsc-app >/dev/null 2>&1 || true; rm -rf workspace' EXIT

# Is there an engine, and which one?
docker ps >/dev/null
docker version --format '{{.Server.APIVersion}}' | grep -Eqx '1\.[0-9]+'
docker version --format '{{.Server.Os}}/{{.Server.Arch}}' | grep -q '^linux/'
docker version --format '{{json .Server}}' | jq -e '.Version and .ApiVersion and .MinAPIVersion' >/dev/null
docker info --format '{{.OSType}}/{{.Architecture}}' | grep -q '^linux/'
docker info --format '{{.ServerVersion}} {{.NCPU}} {{.MemTotal}}' | grep -Eq '^[0-9.]+ [0-9]+ [0-9]+$'
docker info -f '{{json .SecurityOptions}}' | jq -e 'type == "array"' >/dev/null
[ "$(docker info -f '{{println .SecurityOptions | len}}' 2>/dev/null || docker info -f '{{len .SecurityOptions}}')" -ge 0 ]
docker context inspect --format '{{.Endpoints.docker.Host}}' | grep -q '^unix://'
docker context show | grep -qx default
docker info -f '{{range .Plugins.Network}}{{println .}}{{end}}' | grep -qx bridge

# Containers with random ports, labels, and a readiness by log or port
network="$(docker network create --label org.testcontainers=true "tc-$session")"
id="$(docker run -d --label org.testcontainers=true --label "org.testcontainers.session-id=$session" \
  --label org.testcontainers.lang=bash --network "$network" -P "$REDIS_IMAGE")"
for _ in $(seq 300); do docker logs "$id" 2>&1 | grep -q 'Ready to accept connections' && break; sleep 0.1; done
mapped="$(docker inspect "$id" | jq -r '.[0].NetworkSettings.Ports["6379/tcp"][] | select(.HostIp == "0.0.0.0") | .HostPort')"
timeout 10 bash -c "until </dev/tcp/127.0.0.1/$mapped; do sleep 0.1; done" 2>/dev/null
[ "$(docker exec "$id" redis-cli set key value)" = OK ]
[ "$(docker exec "$id" redis-cli get key)" = value ]
docker inspect --type container --format '{{.State.Running}} {{.State.Pid}}' "$id" | grep -Eq '^true [1-9]'
docker inspect "$id" | jq -e '.[0] | .Created and .State.StartedAt and (.State.FinishedAt | startswith("0001-01-01")) and .Config.Labels["org.testcontainers"] == "true" and .NetworkSettings.Networks' >/dev/null
if docker inspect --type image "$id" >/dev/null 2>&1; then exit 1; fi
[ "$(docker inspect --type image --format '{{.Config.ExposedPorts}}' "$REDIS_IMAGE")" = 'map[6379/tcp:{}]' ]

# Dev containers: find it by its labels or build and start it, keep it alive, exec as a user
mkdir -p workspace
folder="$PWD/workspace"
[ -z "$(docker ps -q -a --filter "label=devcontainer.local_folder=$folder" --filter "label=org.testcontainers.session-id=$session")" ]
printf 'FROM %s\nLABEL devcontainer.metadata=%s\n' "$BASE_IMAGE" "'[{\"remoteUser\":\"root\"}]'" >workspace/Dockerfile
docker build -f workspace/Dockerfile -t vsc-app --build-arg BUILDKIT_INLINE_CACHE=1 workspace >/dev/null 2>&1
docker inspect --type image vsc-app | jq -r '.[0].Config.Labels["devcontainer.metadata"]' | jq -e '.[0].remoteUser == "root"' >/dev/null
docker run --sig-proxy=false -a STDOUT -a STDERR --mount "type=bind,source=$folder,target=/workspaces/app,consistency=cached" \
  -l "devcontainer.local_folder=$folder" -l "org.testcontainers.session-id=$session" --entrypoint /bin/sh vsc-app \
  -c 'echo Container started; trap "exit 0" 15; while sleep 1 & wait $!; do :; done' - >started 2>&1 &
attached=$!
for _ in $(seq 300); do grep -q 'Container started' started && break; sleep 0.1; done
dev="$(docker ps -q -a --filter "label=devcontainer.local_folder=$folder")"
docker inspect --type container "$dev" | jq -e '.[0].Mounts[0] | .Type == "bind" and .Destination == "/workspaces/app" and .RW' >/dev/null
docker exec -i -u root -w /workspaces/app "$dev" /bin/sh -c 'echo from-inside >made; cat' <<<'typed' | grep -qx typed
[ "$(cat workspace/made)" = from-inside ]
docker exec -i -u 1000:1000 -e REMOTE=1 "$dev" sh -c 'echo "$(id -u) $REMOTE"' | grep -qx '1000 1'
docker events --since 1m --until 0s --filter event=start --format '{{json .}}' | jq -rs '.[].id // .[].Actor.ID' | grep -q "^$dev"
docker stop "$dev" >/dev/null
wait "$attached"
docker start "$dev" >/dev/null && docker stop -t 3 "$dev" >/dev/null
[ "$(docker inspect -f '{{.State.ExitCode}}' "$dev")" = 0 ]
rm started

# pre-commit, act
docker run --rm -v "$PWD/workspace:/src:rw,Z" --workdir /src -u "$(id -u):$(id -g)" "$BASE_IMAGE" pwd | grep -qx /src
docker run --rm --tty=false --platform linux/amd64 --pull=never --init --log-driver none "$BASE_IMAGE" true
docker stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}}' "$id" | grep -q '%'
docker image ls --format json | jq -se 'map(.Repository) | index("vsc-app") != null' >/dev/null
docker container ls -a --no-trunc --format json | jq -se 'length == 2' >/dev/null
docker rm -fv "$id" "$dev" >/dev/null
docker network rm "$network" >/dev/null
echo OK
