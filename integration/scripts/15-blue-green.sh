#!/usr/bin/env bash
# Replaces a running service by its next version, and goes back if that one does not work.
#   BASE_IMAGE
set -euo pipefail

PORT="${PORT:-8099}"
trap 'docker rm -f web web-old web-new >/dev/null 2>&1 || true; docker images -q acme/web | sort -u | xargs -r docker rmi -f >/dev/null' EXIT

for version in 1 2; do
  docker build -q -t "acme/web:$version" - >/dev/null <<EOF
FROM $BASE_IMAGE
RUN mkdir /www && echo "version $version" >/www/index.html
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
EOF
done
docker build -q -t acme/web:3 - >/dev/null <<EOF
FROM acme/web:2
CMD ["sh", "-c", "echo 'cannot bind' >&2; exit 1"]
EOF

answers() { curl --silent --fail --max-time 2 "http://127.0.0.1:$1/"; }
wait_for() { # port container
  local i
  for i in $(seq 300); do
    answers "$1" >/dev/null && return
    [ "$(docker inspect -f '{{.State.Status}}' "$2")" != exited ] || return 1
    sleep 0.1
  done
  return 1
}

deploy() {
  local image=$1
  docker rm -f web-new >/dev/null 2>&1 || true
  docker run -d --name web-new --restart on-failure:2 -p 127.0.0.1::80 "$image" >/dev/null
  local port
  port="$(docker port web-new 80 2>/dev/null | cut -d: -f2)" || true
  if [ -z "$port" ] || ! wait_for "$port" web-new; then
    echo "$image does not answer, $(docker inspect -f 'state {{.State.Status}}, code {{.State.ExitCode}}' web-new):"
    docker logs --tail 1 web-new
    docker rm -f web-new >/dev/null
    return 1
  fi
  docker rm -f web-new >/dev/null
  # switch
  docker rename web web-old 2>/dev/null && docker stop -t 2 web-old >/dev/null || true
  if docker run -d --name web --restart always -p "$PORT:80" --stop-timeout 1 "$image" >/dev/null && wait_for "$PORT" web; then
    docker rm -f web-old >/dev/null 2>&1 || true
  else
    docker rm -f web; docker rename web-old web; docker start web; return 1
  fi
}

deploy acme/web:1
[ "$(answers "$PORT")" = 'version 1' ]
first="$(docker inspect --format '{{.Id}}' web)"
deploy acme/web:2
[ "$(answers "$PORT")" = 'version 2' ]
[ "$(docker inspect --format '{{.Id}}' web)" != "$first" ]
if deploy acme/web:3 >deploy.log 2>&1; then exit 1; fi
grep -q 'cannot bind' deploy.log
rm deploy.log
[ "$(answers "$PORT")" = 'version 2' ]

# The port is taken: the old one comes back.
docker rename web web-old
if docker run -d --name web -p "127.0.0.1:$PORT:80" acme/web:1 2>error.log; then exit 1; fi
grep -Eiq 'port|address' error.log; rm error.log
docker rm -f web >/dev/null 2>&1 || true
docker rename web-old web
[ "$(docker ps --filter name='^/?web$' --format '{{.Names}} {{.Image}}')" = 'web acme/web:2' ]
docker ps --format '{{.Ports}}' | grep -q "0.0.0.0:$PORT->80/tcp"

# Killed from inside, `always` brings it back; a stop by hand does not.
docker exec web kill 1 || true
wait_for "$PORT" web
for _ in $(seq 300); do [ "$(docker inspect -f '{{.RestartCount}}' web)" -ge 1 ] && break; sleep 0.1; done
docker update --restart=no web >/dev/null
[ "$(docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' web)" = no ]
docker stop web >/dev/null
[ -z "$(docker ps -q)" ]
docker ps -a --format '{{.Names}}|{{.Status}}' | grep -Eq '^web\|Exited \([0-9]+\) '
echo OK
