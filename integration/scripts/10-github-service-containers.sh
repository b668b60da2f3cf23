#!/usr/bin/env bash
# What the runner of GitHub Actions does for a job with `container:` and `services:`.
#   JOB_IMAGE REDIS_IMAGE
set -euo pipefail

hash="$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')"
label="${hash:0:6}"
network="github_network_$hash"
run_id="${hash:6:8}"
trap 'docker rm --force $(docker ps --all --quiet --no-trunc --filter "label=$label") >/dev/null 2>&1 || true; docker network prune --force --filter "label=$label" >/dev/null 2>&1 || true' EXIT

docker version --format '{{.Server.APIVersion}}'
docker version --format '{{.Client.APIVersion}}'
docker ps --all --quiet --no-trunc --filter "label=$label"
docker network prune --force --filter "label=$label"
docker network create --label "$label" "$network"

# service
docker image inspect "$REDIS_IMAGE" >/dev/null || docker pull "$REDIS_IMAGE"
redis="$(docker create --name "redis_${run_id}" --label "$label" --network "$network" --network-alias redis \
  -p 6379 --health-cmd "redis-cli ping" --health-interval 500ms --health-timeout 5s --health-retries 10 \
  -e "ALLOW_EMPTY_PASSWORD=yes" -e GITHUB_ACTIONS=true -e CI=true "$REDIS_IMAGE")"
docker start "$redis"
docker ps --all --filter id="$redis" --filter status=running --no-trunc --format "{{.ID}} {{.Status}}" | grep -q "^$redis Up"
docker port "$redis"
port="$(docker port "$redis" | sed -n 's/^6379\/tcp -> .*:\([0-9]*\)$/\1/p' | head -1)"

# job
mkdir -p work _temp/_github_home
echo "echo hello >\"\$GITHUB_WORKSPACE/out\"" >_temp/step.sh
job="$(docker create --name "job_${run_id}" --label "$label" --workdir /__w/repo/repo --network "$network" \
  -e "HOME=/github/home" -e GITHUB_ACTIONS=true -e CI=true -e GITHUB_WORKSPACE=/__w \
  -v "$PWD/work":"/__w" -v "$PWD/_temp":"/__w/_temp" -v "$PWD/_temp/_github_home":"/github/home" \
  --entrypoint "tail" "$JOB_IMAGE" "-f" "/dev/null")"
docker start "$job"
docker ps --all --filter id="$job" --filter status=running --no-trunc --format "{{.ID}} {{.Status}}"
docker inspect "$job" --format '{{range .Config.Env}}{{println .}}{{end}}' | grep '^PATH='

# health
for _ in $(seq 300); do
  health="$(docker inspect --format="{{if .Config.Healthcheck}}{{print .State.Health.Status}}{{end}}" "$redis")"
  [ "$health" = starting ] || break
  sleep 0.1
done
[ "$health" = healthy ] || { docker logs --details "$redis"; exit 1; }
[ -z "$(docker inspect --format="{{if .Config.Healthcheck}}{{print .State.Health.Status}}{{end}}" "$job")" ]

# steps
docker exec -i --workdir /__w -e GITHUB_JOB=test "$job" sh -e /__w/_temp/step.sh
[ "$(cat work/out)" = hello ]
docker exec -i "$job" bash --noprofile --norc -e -o pipefail <<'EOF'
exec 3<>/dev/tcp/redis/6379
printf 'PING\r\n' >&3
read -r answer <&3
test "${answer%$'\r'}" = +PONG
EOF
exec 3<>"/dev/tcp/127.0.0.1/$port"; printf 'PING\r\n' >&3; read -r answer <&3; exec 3>&-
[ "${answer%$'\r'}" = +PONG ]
code=0; docker exec -i "$job" bash -c 'exit 7' || code=$?
[ "$code" = 7 ]

# stop containers
docker logs --details "$redis" | tail -n 3
docker rm --force "$job"
docker rm --force "$redis"
docker ps --all --quiet --no-trunc --filter "label=$label" | { ! grep .; }
docker network rm "$network"
docker network prune --force --filter "label=$label"
rm -rf work _temp
