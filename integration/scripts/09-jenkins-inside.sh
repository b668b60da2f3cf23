#!/usr/bin/env bash
# The calls of Jenkins' docker-workflow plugin: docker.image(IMAGE).inside(ARGS) { sh '…' }
#   BUILD_IMAGE INSIDE_ARGS
set -euo pipefail

WORKSPACE="${WORKSPACE:-$PWD}"
TMP="${WORKSPACE}@tmp"
mkdir -p "$TMP"
uid="$(id -u)"; gid="$(id -g)"

docker version --format '{{.Server.Version}}' | grep -E '^[0-9]+\.[0-9]+'
docker -v | grep -Eq '^Docker version [0-9.]+, build'
docker inspect -f . "$BUILD_IMAGE" || docker pull "$BUILD_IMAGE"

container="$(docker run -t -d -u "$uid:$gid" \
  $INSIDE_ARGS -w "$WORKSPACE" -v "$WORKSPACE:$WORKSPACE:rw,z" -v "$TMP:$TMP:rw,z" \
  -e '********' -e BUILD_NUMBER=17 -e "JOB_NAME=shop/main" -e 'PATH+MAVEN=/opt/maven/bin' \
  "$BUILD_IMAGE" cat)"
trap 'docker rm -f --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$TMP"' EXIT
[[ "$container" =~ ^[0-9a-f]{64}$ ]]

# The plugin checks that its command is what runs.
docker top "$container" -eo pid,comm
docker top "$container" -eo pid,comm | awk 'NR > 1 { print $2 }' | grep -qx cat
docker top "$container" | grep -q 'cat'

# A durable task: a script in the workspace, started detached, watched by its files.
mkdir -p "$TMP/durable-1"
cat >"$TMP/durable-1/script.sh" <<'EOF'
#!/bin/sh -xe
echo "build $BUILD_NUMBER of $JOB_NAME as $(id -u)"
echo content >result.txt
EOF
docker exec -d --env HUDSON_COOKIE=abc --env JENKINS_SERVER_COOKIE=durable-1 "$container" \
  sh -c "(sh -xe '$TMP/durable-1/script.sh' >'$TMP/durable-1/log.txt' 2>'$TMP/durable-1/err.txt'; echo \$? >'$TMP/durable-1/result.tmp'; mv '$TMP/durable-1/result.tmp' '$TMP/durable-1/result') &"
for _ in $(seq 300); do [ -s "$TMP/durable-1/result" ] && break; sleep 0.1; done
[ "$(cat "$TMP/durable-1/result")" = 0 ] || { cat "$TMP"/durable-1/*.txt >&2; exit 1; }
cat "$TMP/durable-1/log.txt"
[ "$(cat result.txt)" = content ]
[ "$(docker exec "$container" env | sed -n 's/^BUILD_NUMBER=//p' | tr -d '\r')" = 17 ]
docker exec "$container" sh -c 'exit 3' || [ $? = 3 ]
[ "$(docker exec -w /tmp "$container" pwd)" = /tmp ]

# Fingerprints
docker inspect -f '{{.Image}}' "$container" | grep -qx "$(docker inspect -f '{{.Id}}' "$BUILD_IMAGE")"
[ "$(docker inspect -f '{{.Config.Image}}' "$container")" = "$BUILD_IMAGE" ]

start=$SECONDS
docker stop --time=1 "$container"
docker rm -f --volumes "$container"
(( SECONDS - start < 10 ))
[ -z "$(docker ps -aq)" ]
rm result.txt
echo OK
