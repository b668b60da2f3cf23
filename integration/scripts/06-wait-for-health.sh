#!/usr/bin/env bash
# Waits for services by their health checks.
#   BASE_IMAGE
set -euo pipefail

wait_for_healthy() {
  local container=$1 deadline=$((SECONDS + ${2:-60})) status
  while :; do
    status="$(docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}' "$container")"
    case "$status" in
      healthy) return 0 ;;
      unhealthy)
        echo "$container is unhealthy:" >&2
        docker inspect -f '{{range .State.Health.Log}}{{.ExitCode}}: {{.Output}}{{end}}' "$container" >&2
        return 2 ;;
      none) echo "$container has no health check" >&2; return 3 ;;
    esac
    (( SECONDS < deadline )) || { echo "$container: still $status" >&2; return 1; }
    sleep 0.2
  done
}
trap 'docker rm -f good bad plain slow >/dev/null 2>&1 || true; docker rmi -f health-app >/dev/null 2>&1 || true' EXIT

docker build -q -t health-app - >/dev/null <<EOF
FROM $BASE_IMAGE
HEALTHCHECK --interval=300ms --timeout=2s --start-period=1s --retries=2 CMD test -f /ready && echo fine || { echo "not ready"; exit 1; }
CMD ["sh", "-c", "sleep 0.3; touch /ready; exec sleep 600"]
EOF
[ "$(docker inspect -f '{{.Config.Healthcheck.Retries}}' health-app)" = 2 ]

docker run -d --name good health-app >/dev/null
docker run -d --name bad --health-start-period 0s health-app sleep 600 >/dev/null
docker run -d --name plain --no-healthcheck health-app sleep 600 >/dev/null

wait_for_healthy good
code=0; wait_for_healthy bad 2>bad.log || code=$?
[ "$code" = 2 ] && grep -q 'not ready' bad.log && rm bad.log
code=0; wait_for_healthy plain 2>/dev/null || code=$?
[ "$code" = 3 ]

docker ps --filter health=healthy --format '{{.Names}}' | grep -qx good
docker ps --filter health=unhealthy --format '{{.Names}}: {{.Status}}' | grep -q '^bad: Up .* (unhealthy)$'
docker ps --filter health=none -q --no-trunc | grep -qx "$(docker inspect -f '{{.Id}}' plain)"
[ "$(docker inspect good | jq -r '.[0].State.Health.Log[-1].ExitCode')" = 0 ]
[ "$(docker inspect --format='{{json .State.Health.FailingStreak}}' good)" = 0 ]

# It recovers when what it checks does.
docker exec bad touch /ready
wait_until=$((SECONDS + 60))
until [ "$(docker inspect --format "{{json .State.Health.Status }}" bad)" = '"healthy"' ]; do
  (( SECONDS < wait_until )); sleep 0.2
done

# From the command line only, with timeout(1) around the usual one-liner.
docker run -d --name slow --health-cmd 'test -e /tmp/up || exit 1' --health-interval=200ms --health-retries=50 "$BASE_IMAGE" sh -c 'sleep 1; touch /tmp/up; sleep 600' >/dev/null
[ "$(docker inspect -f {{.State.Health.Status}} slow)" = starting ]
timeout 60 bash -c 'until [[ "`docker inspect -f {{.State.Health.Status}} slow`" == "healthy" ]]; do sleep 0.1; done'
docker logs good 2>&1 | { ! grep .; }
docker stop -t 0 good bad plain slow >/dev/null
[ "$(docker ps -a --format '{{.State}}' | sort -u)" = exited ]
echo OK
