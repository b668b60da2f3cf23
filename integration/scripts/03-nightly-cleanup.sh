#!/usr/bin/env bash
# The cron job that keeps a build machine's disk free. First it makes some rubbish, so that there
# is something to remove; "keep" and what it uses must survive.
#   BASE_IMAGE
set -euo pipefail

# --- what a day of builds leaves
docker run -d --name keep --label keep=true -v keep-data:/data "$BASE_IMAGE" sleep 600 >/dev/null
for i in 1 2 3; do docker run --name "job-$i" "$BASE_IMAGE" sh -c "exit $i" || true; done
docker create --name never-started "$BASE_IMAGE" true >/dev/null
docker run --name with-volume -v /scratch "$BASE_IMAGE" touch /scratch/x
docker volume create old-cache >/dev/null
docker network create old-net >/dev/null
for i in 1 2; do
  printf 'FROM %s\nRUN echo %s > /release\n' "$BASE_IMAGE" "$i" | docker build -q -t nightly:latest - >/dev/null
done
docker tag nightly:latest nightly:unused

# --- the job
echo "before:"
docker system df
docker system df --format '{{.Type}}: {{.TotalCount}} ({{.Size}}, {{.Reclaimable}})'

echo "exited containers:"
docker ps -a --filter status=exited --format 'table {{.Names}}\t{{.Status}}'
[ "$(docker ps -aq -f status=exited -f exited=2 | wc -l)" = 1 ]
docker ps -aq -f status=exited | xargs -r docker rm
docker ps --filter status=created -q | xargs --no-run-if-empty docker rm
docker ps --all --quiet --filter "status=created" | xargs -r docker rm
docker ps -aq -f status=dead | xargs -r docker rm
[ "$(docker ps -a --format '{{.Names}}')" = keep ]

echo "dangling images:"
test -n "$(docker images -f dangling=true -q)"
docker images -f dangling=true -q | xargs -r docker rmi
test -z "$(docker images --filter "dangling=true" -q --no-trunc)"
docker rmi $(docker images --filter dangling=true -q) 2>/dev/null || true

echo "old tags:"
docker images --format '{{.Repository}}:{{.Tag}}' | grep '^nightly:' | grep -v ':latest$' | xargs -r docker rmi
docker images | awk '$1 == "nightly" { print $2 }' | grep -qx latest

echo "dangling volumes:"
# The anonymous volume of with-volume and old-cache.
[ "$(docker volume ls -qf dangling=true | wc -l)" = 2 ]
docker volume ls -qf dangling=true | grep -E '^[0-9a-f]{64}$' | xargs -r docker volume rm >/dev/null
docker volume prune --force --all --filter 'label!=keep' | grep -q 'old-cache'
[ "$(docker volume ls -q)" = keep-data ]

docker network prune -f | grep -q old-net
docker container prune --force --filter "until=24h"

# Everything is young, so this must remove nothing …
docker system prune -af --filter "until=240h"
docker image inspect nightly:latest >/dev/null
# … and this everything that is not in use.
docker system prune --all --force --volumes | tail -n 1 | grep -q '^Total reclaimed space: '
docker builder prune -af >/dev/null
if docker image inspect nightly:latest >/dev/null 2>&1; then echo "nightly should be gone" >&2; exit 1; fi

[ "$(docker ps -q | wc -l)" -eq 1 ]
[ "$(docker inspect -f '{{.State.Running}}' keep)" = true ]
docker image inspect "$BASE_IMAGE" >/dev/null
docker volume inspect keep-data >/dev/null

docker rm -f $(docker ps -aq --filter label=keep=true) >/dev/null
docker volume rm keep-data >/dev/null
[ -z "$(docker ps -aq)" ] && [ -z "$(docker volume ls -q)" ]
docker system df --format '{{json .}}' | while read -r row; do echo "$row" | jq -e .Type >/dev/null; done
echo OK
